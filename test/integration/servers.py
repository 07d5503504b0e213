"""Servers under test: started on loopback on free ports, ended by their process id."""
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SERVER = os.environ.get("ANNEAL_SERVER", os.path.join(ROOT, os.environ.get("BUILD", "build"), "anneal-server"))
# The detector of lock orders gives up beyond 64 locks at once, which one MGET may hold; shards are locked in the order of indexes.
os.environ.setdefault("TSAN_OPTIONS", "detect_deadlocks=0")
LIFETIME_S = "600"  # whatever happens to the test


def ports_to_choose_from():
    """Not from those that the system gives outgoing connections: one of them may take it before the server does."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as f:
        first = int(f.read().split()[0])
    return range(10000, first) if first > 20000 else range(1024, 65536)


given = set()


def free_port():
    """One that was not given before."""
    while True:
        port = random.choice([p for p in ports_to_choose_from() if p not in given])
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
        given.add(port)
        return port


def until(what, seconds=20):
    """Waits for what() to be true, and fails if it does not become so."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if what():
            return
        time.sleep(0.02)
    assert what()


def digest(client):
    return client.execute_command("ANNEAL", "DIGEST")


def connected(clients):
    """All nodes hear all others; clients: one of each."""
    until(lambda: all(c.info("replication")["peers_up"] == len(clients) - 1 for c in clients))


def agree(clients, seconds=30):
    until(lambda: len({digest(c) for c in clients}) == 1, seconds)


class Server:
    """A process that listens for RESP clients."""

    def __init__(self, command, port, directory):
        self.port = port
        self.dir = directory
        self.log = open(os.path.join(directory, "log"), "ab")
        self.process = subprocess.Popen(["timeout", "-k", "5", LIFETIME_S] + command, stdout=self.log, stderr=self.log)
        self._wait()

    def _wait(self):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError("server ended: " + self.output()[-2000:])
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise RuntimeError("server does not listen: " + self.output()[-2000:])

    def has_loaded(self):
        """What it had; it answers LOADING before."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as s:
            s.sendall(b"PING\r\n")
            return not s.recv(100).startswith(b"-LOADING")

    def output(self):
        with open(os.path.join(self.dir, "log"), errors="replace") as f:
            return f.read()

    def pid(self):
        """Of the server itself: the child of `timeout`."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as f:
            return int(f.read().split()[0])

    killed = False

    def kill(self):
        self.killed = True
        os.kill(self.pid(), signal.SIGKILL)
        self.process.wait(10)

    def stop(self):
        """Ends it as an operator would; its exit code."""
        if self.process.poll() is None:
            os.kill(self.pid(), signal.SIGTERM)
        code = self.process.wait(20)
        self.log.close()
        return code


class Cluster:
    """Nodes of anneal that know each other; `with` ends them and removes their directories."""

    def __init__(self, nodes, *options, redis=False):
        self.dir = tempfile.mkdtemp(prefix="anneal-test-")
        self.ports = [free_port() for _ in range(nodes)]
        self.gossip = [free_port() for _ in range(nodes)]
        self.options = list(options)
        self.nodes = [None] * nodes
        for i in range(nodes):
            self.start(i)
        self.redis = None
        if redis:
            port = free_port()
            directory = os.path.join(self.dir, "redis")
            os.mkdir(directory)
            self.redis = Server(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                                 "--dir", directory], port, directory)

    def start(self, i, *options, loaded=True):
        """loaded: comes back once it has what it had."""
        directory = os.path.join(self.dir, f"n{i}")
        os.makedirs(directory, exist_ok=True)
        join = ",".join(f"127.0.0.1:{p}" for p in self.gossip)
        command = [SERVER, "--port", str(self.ports[i]), "--gossip-port", str(self.gossip[i]), "--dir", directory, "--join", join,
                   "--enable-debug-command", "local"] + self.options + list(options)
        self.nodes[i] = Server(command, self.ports[i], directory)
        if loaded:
            until(self.nodes[i].has_loaded)
        return self.nodes[i]

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        killed = [n for n in self.nodes if n and n.killed]
        codes = [n.stop() for n in self.nodes if n not in killed]
        if self.redis:
            self.redis.stop()
        if kind or any(codes):
            for i, node in enumerate(self.nodes):
                print(f"--- log of node {i}\n{node.output()[-4000:]}")
        shutil.rmtree(self.dir)
        assert all(code == 0 for code in codes), f"exit codes {codes}"
