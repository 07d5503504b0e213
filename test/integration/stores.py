"""Nodes with an object store: what their options are, and how to tell that all is stored and all is back."""
import os
import shutil
import subprocess
import time

import pytest
import redis

import radosgw
from servers import SERVER, free_port

SLOW_S = 60  # no answer is judged by its time; what never comes ends here


def start_gateway():
    missing = radosgw.missing_programs()
    if missing and subprocess.run(["apt-cache", "show", "radosgw"], capture_output=True).returncode != 0:
        pytest.skip("S3 SKIPPED: this architecture has no radosgw")
    assert not missing, f"S3 NOT TESTED: {', '.join(missing)} not installed (make test-deps)"
    return radosgw.Gateway()


def on_directory(path, interval_ms=50):
    return ["--object-store", f"file://{path}", "--segment-interval-ms", str(interval_ms)]


def on_s3(s3, prefix, endpoint=None, interval_ms=50):
    return ["--object-store", f"s3://{s3.bucket}/{prefix}", "--object-store-endpoint", endpoint or s3.endpoint, "--object-store-access-key-id",
            s3.access_key, "--object-store-secret-access-key", s3.secret_key, "--segment-interval-ms", str(interval_ms)]


def until(what, condition, seconds=SLOW_S):
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)


def client_of(port):
    return redis.Redis("127.0.0.1", port, socket_timeout=SLOW_S, single_connection_client=True)


def connect(cluster, i):
    """A client of a node that has read what there was."""
    client = client_of(cluster.ports[i])

    def answers():
        assert cluster.nodes[i].process.poll() is None, cluster.nodes[i].output()[-2000:]
        try:
            return client.ping()
        except (redis.BusyLoadingError, redis.ConnectionError):
            return False

    until("the node has loaded", answers)
    return client


def store_info(client):
    info = client.info("persistence")
    return {k[len("object_store_"):]: v for k, v in info.items() if k.startswith("object_store_")}


def is_flushed(client):
    info = store_info(client)
    return info["state"] == "streaming" and info["behind_ms"] == 0


def flushed(*clients):
    for client in clients:
        until("everything is stored", lambda: is_flushed(client))


def checkpointed(client):
    """A checkpoint that holds all that was written until now, and the garbage is gone."""
    before = store_info(client)["checkpoints"]
    client.bgsave()
    until("a checkpoint in the store", lambda: store_info(client)["checkpoints"] > before)


def wipe(cluster, i):
    """The machine is lost: what starts here next is a new node."""
    directory = os.path.join(cluster.dir, f"n{i}")
    for name in os.listdir(directory):
        if name != "log":
            path = os.path.join(directory, name)
            shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)


def fill(client, name, keys=60):
    """Every type, with what removes and overwrites."""
    pipe = client.pipeline(transaction=False)
    for n in range(keys):
        pipe.set(f"{name}:s{n}", bytes(range(256)) * (n % 3) + f"{n}".encode())
        pipe.incrby(f"{name}:c{n % 9}", n)
        pipe.incrbyfloat(f"{name}:f{n % 7}", f"{n}.25")
        pipe.hset(f"{name}:h{n % 8}", f"f{n}", n)
        pipe.hincrby(f"{name}:h{n % 8}", "sum", n)
        pipe.sadd(f"{name}:m{n % 6}", n, f"x{n}")
        pipe.set(f"{name}:t{n}", "x", ex=1000 + n)
        pipe.incrby("shared", 1)
        if n % 3 == 2:
            pipe.delete(f"{name}:s{n - 1}", f"{name}:t{n - 2}")
            pipe.srem(f"{name}:m{n % 6}", n)
            pipe.hdel(f"{name}:h{n % 8}", f"f{n}")
            pipe.persist(f"{name}:t{n}")
    pipe.execute()


def contents(client):
    """All that clients see."""
    seen = {}
    for key in client.scan_iter(count=1000):
        kind = client.type(key)
        value = {b"string": client.get, b"set": lambda k: sorted(client.smembers(k)), b"hash": lambda k: sorted(client.hgetall(k).items())}[kind](key)
        seen[key] = (kind, value, client.execute_command("PEXPIRETIME", key))
    return seen


class Refused:
    """A server that ends by itself: its exit code and what it said."""

    def __init__(self, directory, *options, seconds=SLOW_S):
        os.makedirs(directory, exist_ok=True)
        done = subprocess.run([SERVER, "--port", str(free_port()), "--gossip-port", str(free_port()), "--dir", str(directory)] + [str(o) for o in options], capture_output=True, text=True,
                              timeout=seconds)
        self.code, self.text = done.returncode, done.stdout + done.stderr


def objects(path):
    """Sizes of all objects in a directory store, by kind."""
    sizes = {}
    for folder, folders, names in os.walk(path):
        folders[:] = [f for f in folders if f != ".tmp"]
        for name in names:
            kind = os.path.relpath(folder, path).split(os.sep)[0]
            try:
                sizes.setdefault(kind, []).append(os.path.getsize(os.path.join(folder, name)))
            except FileNotFoundError:
                pass
    return sizes
