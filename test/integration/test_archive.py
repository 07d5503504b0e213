"""An object store outlives the machines: what is there comes back, whatever was lost, and nothing else is judged here.

On a directory here; test_archive_s3.py goes through HTTP."""
import bisect
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time

import pytest
import redis

from servers import SERVER, Cluster, Server, agree, connected, digest, free_port
from stores import (SLOW_S, Refused, checkpointed, client_of, connect, contents, fill, flushed, objects, on_directory, store_info, until,
                    wipe)


@pytest.fixture
def store(tmp_path):
    return str(tmp_path / "store")


# ------------------------------------------------------------------------------------------ all machines are lost


@pytest.mark.parametrize("kill", [False, True])
def test_all_machines_are_lost(store, kill):
    """kill: once each has said that nothing is behind; a clean stop needs no such care."""
    with Cluster(3, *on_directory(store)) as cluster:
        clients = [connect(cluster, i) for i in range(3)]
        connected(clients)
        for i, client in enumerate(clients):
            fill(client, f"n{i}")
        agree(clients)
        clients[1].flushall()
        agree(clients)
        for i, client in enumerate(clients):
            fill(client, f"n{i}")
        agree(clients)
        if kill:
            flushed(*clients)
        before, seen = digest(clients[0]), contents(clients[0])
        for i, node in enumerate(cluster.nodes):
            if kill:
                node.kill()
            else:
                assert node.stop() == 0
            wipe(cluster, i)
        for i in range(3):
            cluster.start(i, "--join", "")  # each has nothing but the store
        clients = [connect(cluster, i) for i in range(3)]
        for client in clients:
            assert digest(client) == before
            assert contents(client) == seen
            assert client.get("shared") == b"180"
        clients[2].incr("shared")  # and it goes on
        flushed(clients[2])
        for i in range(3):
            cluster.nodes[i].kill()
            wipe(cluster, i)
        cluster.start(1)
        assert connect(cluster, 1).get("shared") == b"181"


def test_a_clean_stop_alone_needs_no_peer_and_no_interval(store):
    with Cluster(1, *on_directory(store, interval_ms=3600000)) as cluster:
        for n in range(3):
            a = connect(cluster, 0)
            assert int(a.get("n") or 0) == n
            a.set("other", n)  # the first write of a start is on its way at once; this one and the next may wait for an hour
            time.sleep(0.05)
            a.incr("n")
            assert cluster.nodes[0].stop() == 0
            wipe(cluster, 0)
            cluster.start(0)
        connect(cluster, 0)


def test_one_machine_is_lost_with_its_peers_cut_off(store):
    """What it had stored comes to the others by way of its next start, which has nothing but the store."""
    with Cluster(2, *on_directory(store)) as cluster:
        a, b = connect(cluster, 0), connect(cluster, 1)
        connected([a, b])
        os.kill(cluster.nodes[1].pid(), signal.SIGSTOP)
        try:
            fill(a, "unheard")
            flushed(a)
            before = contents(a)
            cluster.nodes[0].kill()
        finally:
            os.kill(cluster.nodes[1].pid(), signal.SIGCONT)
        wipe(cluster, 0)
        b.incr("shared")
        cluster.start(0)
        a = connect(cluster, 0)
        agree([a, b])
        assert {k: v for k, v in contents(b).items() if k != b"shared"} == {k: v for k, v in before.items() if k != b"shared"}
        assert b.get("shared") == b"61"


def test_a_new_region_starts_from_the_store_alone_and_catches_up(store):
    with Cluster(3, *on_directory(store)) as cluster:
        a, b = connect(cluster, 0), connect(cluster, 1)
        cluster.nodes[2].kill()
        wipe(cluster, 2)
        fill(a, "a")
        fill(b, "b")
        agree([a, b])
        checkpointed(a)
        fill(a, "later")
        flushed(a, b)
        before = contents(a)
        cluster.start(2, "--join", "", "--gossip-port", str(free_port()))  # nobody tells it anything
        c = connect(cluster, 2)
        assert contents(c) == before
        info = store_info(c)
        assert info["read_images"] > 0 and info["read_messages"] > 0 and info["read_gaps"] == info["read_damaged"] == 0
        assert cluster.nodes[2].stop() == 0
        cluster.start(2)
        c = connect(cluster, 2)
        fill(b, "meanwhile")
        c.incr("shared")
        agree([a, b, c])
        assert contents(c) == contents(a)


@pytest.mark.parametrize("how", ["joins", "is not told", "comes while the first is down"])
def test_the_second_node_does_not_end_the_first(store, how):
    """What it reads is of a node that it has not met: that may live, and what it has not streamed is on its disk."""
    with Cluster(2, "--appendonly", "yes", "--appendfsync", "always", *on_directory(store, interval_ms=1000)) as cluster:
        b = connect(cluster, 1)
        b.config_get("port")
        assert cluster.nodes[1].stop() == 0
        cluster.nodes[0].kill()
        for i in range(2):
            wipe(cluster, i)
        shutil.rmtree(store)
        cluster.start(0, "--join", "")
        a = connect(cluster, 0)
        for i in range(500):
            a.set(f"first{i}", i)
        flushed(a)
        for i in range(500):
            a.set(f"late{i}", i)
        if how == "comes while the first is down":
            cluster.nodes[0].kill()
        cluster.start(1, *(["--join", ""] if how == "is not told" else []))
        b = connect(cluster, 1)
        if how == "comes while the first is down":
            cluster.start(0)
            a = connect(cluster, 0)
        for i in range(500):
            a.set(f"then{i}", i)
        if how != "is not told":
            agree([a, b])
        time.sleep(1)
        assert a.dbsize() == 1500
        assert a.info("gossip")["gossip_resets"] == 0


def test_the_store_itself_is_lost(store):
    """Whoever starts then with data of its own makes it whole again."""
    with Cluster(1, *on_directory(store), "--appendonly", "yes") as cluster:
        a = connect(cluster, 0)
        fill(a, "x")
        flushed(a)
        before = contents(a)
        cluster.nodes[0].kill()
        shutil.rmtree(store)
        cluster.start(0)
        a = connect(cluster, 0)
        assert contents(a) == before
        flushed(a)
        cluster.nodes[0].kill()
        wipe(cluster, 0)
        cluster.start(0)
        assert contents(connect(cluster, 0)) == before
        cluster.nodes[0].kill()
        shutil.rmtree(store)
        wipe(cluster, 0)
        cluster.start(0)
        assert contents(connect(cluster, 0)) == {}


@pytest.mark.parametrize("what", ["itself", "all", "manifests"])
def test_the_store_is_emptied_under_a_node_that_lives(store, what):
    """It goes on, and its next checkpoint makes the store whole, though what was streamed before is gone."""
    with Cluster(1, *on_directory(store)) as cluster:
        a = connect(cluster, 0)
        fill(a, "x")
        for _ in range(3):
            a.incr("n")
            checkpointed(a)
        while what == "itself" and os.path.exists(os.path.join(store, "manifest")):
            shutil.rmtree(store, ignore_errors=True)
        for name in os.listdir(store) if what != "itself" else []:
            if name == "manifest" or what == "all":
                while os.path.exists(os.path.join(store, name)):  # the node deletes garbage there as well
                    shutil.rmtree(os.path.join(store, name), ignore_errors=True)
        os.makedirs(os.path.join(store, "manifest"), exist_ok=True)
        with open(os.path.join(store, "manifest", "zzz"), "w") as f:
            f.write("somebody else's")
        checkpointed(a)
        a.incr("n")
        checkpointed(a)
        assert "has lost manifest 3" in cluster.nodes[0].output() and store_info(a)["state"] == "streaming"
        before = contents(a)
        cluster.nodes[0].kill()
        wipe(cluster, 0)
        cluster.start(0)
        assert contents(connect(cluster, 0)) == before


def test_all_make_checkpoints_at_once(store):
    """Whoever comes second merges or gives up; nobody takes away what the others named."""
    with Cluster(3, *on_directory(store), "--auto-aof-rewrite-min-size", "1mb") as cluster:
        clients = [connect(cluster, i) for i in range(3)]
        connected(clients)
        for n in range(8):
            for i, client in enumerate(clients):
                fill(client, f"{n}.{i}", 15)
                client.bgsave()
            fill(clients[n % 3], "same", 15)
            victim = n % 3
            flushed(clients[victim])
            cluster.nodes[victim].kill()
            wipe(cluster, victim)
            cluster.start(victim)
            clients[victim] = connect(cluster, victim)
        agree(clients)
        flushed(*clients)
        before = digest(clients[0])
        for i in range(3):
            cluster.nodes[i].kill()
            wipe(cluster, i)
        cluster.start(0, "--join", "")
        a = connect(cluster, 0)
        assert digest(a) == before and a.get("shared") == str(8 * 4 * 15).encode()
        assert store_info(a)["read_damaged"] == store_info(a)["read_gaps"] == store_info(a)["read_missing"] == 0


# ------------------------------------------------------------------------------------------ kill -9, again and again

KILLS = int(os.environ.get("KILLS", "28"))  # of all modes together; 200 take a minute and a half
MODES = [(policy, with_store) for policy in ("always", "everysec", "no", None) for with_store in (True, False)][:-1]
PUT_S = 5  # no PUT into a directory takes longer


class Writer(threading.Thread):
    """Counts in one key until its connection breaks. Knows what was acknowledged, and when."""

    def __init__(self, port, name):
        super().__init__()
        self.client = client_of(port)
        self.key, self.acked, self.sent, self.log = name, 0, 0, []
        self.start()

    def run(self):
        try:
            while True:
                self.sent += 1
                pipe = self.client.pipeline(transaction=False)
                pipe.set(f"last:{self.key}", self.sent)
                pipe.sadd(f"all:{self.key}", self.sent)
                pipe.incr(f"count:{self.key}")
                pipe.execute()
                self.acked = self.sent
                self.log.append(time.monotonic())
        except (redis.ConnectionError, redis.TimeoutError):
            pass

    def check(self, client, least):
        count, last = int(client.get(f"count:{self.key}") or 0), int(client.get(f"last:{self.key}") or 0)
        assert least <= count <= self.sent, (least, count, self.sent, self.acked)
        assert least <= last <= self.sent
        assert client.scard(f"all:{self.key}") >= least


class Judge:
    """What INFO says of the store while others write: all that is older than behind_ms is stored."""

    def __init__(self, control, writers):
        self.control, self.writers, self.least = control, writers, [0] * len(writers)

    def look(self):
        asked = time.monotonic()
        info = store_info(self.control)
        if info["state"] == "streaming":
            self.least = [bisect.bisect_left(w.log, asked - info["behind_ms"] / 1000) for w in self.writers]


@pytest.mark.parametrize("policy, with_store", MODES)
def test_kill_9_under_load(store, policy, with_store):
    """With a log nothing that was acknowledged is lost, store or not. Without one nothing is lost that was older than INFO's
    object_store_behind_ms at any time, nor what was written an interval and a PUT ago. Each start without a log has an empty
    directory."""
    options = (["--appendonly", "yes", "--appendfsync", policy] if policy else []) + (on_directory(store) if with_store else [])
    least_of_all = 0
    with Cluster(1, *options, "--auto-aof-rewrite-min-size", "1mb") as cluster:
        past = []
        for round_ in range(max(1, KILLS // len(MODES))):
            control = connect(cluster, 0)
            for writer, count in past:  # a later start forgets nothing
                assert int(control.get(f"count:{writer.key}") or 0) == count
            writers = [Writer(cluster.ports[0], f"{round_}.{n}") for n in range(3)]
            judge = Judge(control, writers)
            end = time.monotonic() + 0.1 + 0.05 * (round_ % 7)
            if with_store and round_ % 3 == 2:
                control.bgsave()
            while time.monotonic() < end or (not policy and not all(judge.least)):
                assert time.monotonic() < end + SLOW_S, "nothing is ever stored"
                if with_store:
                    judge.look()
                time.sleep(0.005)
            cluster.nodes[0].kill()
            killed = time.monotonic()
            [w.join() for w in writers]
            if not policy:
                wipe(cluster, 0)
            cluster.start(0)
            control = connect(cluster, 0)
            past = []
            for writer, least in zip(writers, judge.least):
                old = bisect.bisect_left(writer.log, killed - 0.05 - PUT_S)
                writer.check(control, writer.acked if policy else max(old, least))
                past.append((writer, int(control.get(f"count:{writer.key}") or 0)))
                least_of_all += least
            if with_store:
                info = store_info(control)
                assert info["read_damaged"] == info["read_gaps"] == 0, info
    assert not with_store or least_of_all


# ------------------------------------------------------------------------------------------ who a node is

NODE = "00000000deadbeef"


class Asking(threading.Thread):
    """Writes to a server until it is gone, and keeps what it was told."""

    def __init__(self, port, process):
        super().__init__()
        self.port, self.process, self.answers = port, process, set()
        self.start()

    def run(self):
        client = redis.Redis("127.0.0.1", self.port, socket_timeout=SLOW_S)
        while self.process.poll() is None:
            try:
                client.set("stolen", 1)
                self.answers.add("OK")
            except redis.BusyLoadingError:
                self.answers.add("LOADING")
            except (redis.ConnectionError, redis.TimeoutError):
                pass
            time.sleep(0.02)


def test_a_second_process_of_a_node_is_refused(store, tmp_path):
    """By its node-id, and by a copy of its directory. It never serves; the first goes on."""
    with Cluster(1) as cluster:
        assert cluster.nodes[0].stop() == 0
        cluster.options = on_directory(store) + ["--node-id", NODE]
        cluster.start(0)
        a = connect(cluster, 0)
        a.incr("n")
        copy = str(tmp_path / "copy")
        shutil.copytree(cluster.nodes[0].dir, copy, ignore=shutil.ignore_patterns("log", "*lock*"))
        os.mkdir(tmp_path / "fresh")
        others = []
        for directory, more in ((str(tmp_path / "fresh"), ["--node-id", NODE]), (copy, [])):
            port = free_port()
            process = subprocess.Popen(["timeout", "60", SERVER, "--port", str(port), "--gossip-port", str(free_port()), "--dir", directory] + on_directory(store) + more,
                                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            others.append((process, Asking(port, process)))
        for process, asking in others:
            while process.poll() is None:
                a.incr("n")
                time.sleep(0.01)
            asking.join()
            text = process.stdout.read()
            process.stdout.close()
            assert process.returncode == 1 and f"another process is node {NODE}" in text, text
            assert asking.answers == {"LOADING"}
        n = a.incr("n")
        assert a.get("stolen") is None and "was refused" in cluster.nodes[0].output()
        flushed(a)
        for _ in range(3):  # who comes back to its own place does not wait, whoever was refused meanwhile
            cluster.nodes[0].kill()
            cluster.start(0)
            assert int(connect(cluster, 0).get("n")) == n
        assert "claimed from elsewhere" not in cluster.nodes[0].output()


def test_who_was_taken_for_dead_stops(store, tmp_path):
    """Another machine became this node while it was stopped: it ends, and says so by its exit code."""
    with Cluster(1, *on_directory(store), "--node-id", NODE) as cluster:
        a = connect(cluster, 0)
        a.set("k", 1)
        flushed(a)
        os.kill(cluster.nodes[0].pid(), signal.SIGSTOP)
        try:
            os.mkdir(tmp_path / "fresh")
            port = free_port()
            other = Server([SERVER, "--port", str(port), "--gossip-port", str(free_port()), "--dir", str(tmp_path / "fresh"), "--node-id", NODE] +
                           on_directory(store), port, str(tmp_path / "fresh"))
            b = client_of(port)

            def is_there():
                try:
                    return b.get("k") == b"1"
                except redis.BusyLoadingError:
                    return False

            until("it is the node now", is_there)
        finally:
            os.kill(cluster.nodes[0].pid(), signal.SIGCONT)
        assert cluster.nodes[0].process.wait(SLOW_S) == 1
        assert "another process has become node" in cluster.nodes[0].output()
        cluster.nodes[0].killed = True
        b.set("k", 2)
        assert other.stop() == 0


# ------------------------------------------------------------------------------------------ sealed objects


def holds(path, needle):
    for folder, _, names in os.walk(path):
        for name in names:
            with open(os.path.join(folder, name), "rb") as f:
                if needle in f.read():
                    return True
    return False


def test_sealed_objects_show_nothing(store, tmp_path):
    key = tmp_path / "keys"
    one, two, three = (os.urandom(32).hex() + "\n" for _ in range(3))
    value, name = os.urandom(300), os.urandom(40).hex()
    with Cluster(1) as cluster:
        cluster.nodes[0].stop()
        for keys, sealed in ((None, False), (one, True)):
            path = f"{store}.{sealed}"
            if keys:
                key.write_text(keys)
            cluster.options = on_directory(path) + (["--object-store-key-file", str(key)] if keys else [])
            wipe(cluster, 0)
            cluster.start(0)
            a = connect(cluster, 0)
            a.set(name, value)
            flushed(a)
            in_segment = holds(path, value) or holds(path, name.encode())
            checkpointed(a)
            checkpointed(a)
            assert (in_segment, holds(path, value) or holds(path, name.encode())) == (not sealed,) * 2
            cluster.nodes[0].kill()
        path = f"{store}.True"
        for text, words in ((two, "no key in object-store-key-file opens it"), ("", "object-store-key-file")):
            key.write_text(text)
            refused = Refused(tmp_path / "new", *on_directory(path), "--object-store-key-file", str(key))
            assert refused.code == 1 and words in refused.text, refused.text
        refused = Refused(tmp_path / "new", *on_directory(path))
        assert refused.code == 1 and "no key in object-store-key-file opens it" in refused.text, refused.text
        for n, text in enumerate((two + one, three + two + one)):
            key.write_text(text)
            wipe(cluster, 0)
            cluster.start(0)
            a = connect(cluster, 0)
            assert a.get(name) == value and int(a.get("n") or 0) == n
            a.incr("n")
            flushed(a)
            cluster.nodes[0].kill()
        key.write_text(one)  # the first key alone opens no longer all
        refused = Refused(tmp_path / "new", *on_directory(path), "--object-store-key-file", str(key))
        assert refused.code == 1 and "no key in object-store-key-file opens it" in refused.text, refused.text


# ------------------------------------------------------------------------------------------ the past


def clock(client):
    """The server's time, as restore-to wants it; what is written later has a later one."""
    seconds, us = client.time()
    time.sleep(0.002)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{us // 1000:03}Z"


@pytest.mark.parametrize("appendonly", ["no", "yes"])
def test_the_past_comes_back(store, appendonly):
    """By time and by manifest, into a store of its own, which then stands alone."""
    with Cluster(1, *on_directory(store), "--object-store-keep", "86400") as cluster:
        a = connect(cluster, 0)
        moments = []
        for n in range(4):
            fill(a, f"x{n % 2}", 20)
            a.set("n", n)
            if n == 2:
                a.flushall()
            flushed(a)
            if n % 2:
                checkpointed(a)
            moments.append((clock(a), contents(a)))
            if n % 2:
                moments.append((str(store_info(a)["manifest"]), contents(a)))
        flushed(a)
        cluster.nodes[0].kill()
        before = objects(store)
        for n, (moment, seen) in enumerate(moments):
            target = f"{store}.{n}"
            cluster.options = on_directory(target) + ["--appendonly", appendonly]
            wipe(cluster, 0)
            cluster.start(0, "--restore-from", f"file://{store}", "--restore-to", moment)
            a = connect(cluster, 0)
            assert contents(a) == seen, moment
            a.set("later", n)
            flushed(a)
            cluster.nodes[0].kill()
            wipe(cluster, 0)
            cluster.start(0)  # the new store is enough
            a = connect(cluster, 0)
            assert a.get("later") == str(n).encode() and a.delete("later") and contents(a) == seen
            cluster.nodes[0].kill()
        assert objects(store) == before  # nothing was written to it


def test_restoring_is_refused_where_it_would_mix_or_lose(store, tmp_path):
    past, used, empty = store + ".past", store + ".used", store + ".empty"
    with Cluster(1) as cluster:
        cluster.nodes[0].stop()
        for path in (used, past):
            wipe(cluster, 0)
            cluster.start(0, *on_directory(path))
            a = connect(cluster, 0)
            a.set("k", path)
            flushed(a)
            too_early = clock(a)
            for n in range(3):  # nothing is kept for its age
                a.set("n", n)
                flushed(a)
                checkpointed(a)
            until("garbage is gone", lambda: store_info(a)["deleted"] > 0)
            cluster.nodes[0].kill()
        wipe(cluster, 0)
        cluster.start(0, "--appendonly", "yes")
        connect(cluster, 0).set("k", 1)
        cluster.nodes[0].kill()
        with_data = str(tmp_path / "with-data")
        shutil.copytree(cluster.nodes[0].dir, with_data)

        def refused(words, *options, directory=None):
            done = Refused(directory or tmp_path / f"d{time.monotonic_ns()}", *options)
            assert done.code == 1 and words in done.text, done.text
            assert done.text.count("anneal-server:") == 1

        refused("another URL or prefix", *on_directory(past), "--restore-from", f"file://{past}")
        refused("another URL or prefix", *on_directory(past), "--restore-from", f"file://{past}/")
        refused("another URL or prefix", *on_directory(used), "--restore-from", f"file://{past}")
        refused("restore-from", *on_directory(empty), "--restore-to", "3")
        refused("object-store", "--restore-from", f"file://{past}")
        refused("without data of its own", *on_directory(empty), "--restore-from", f"file://{past}", directory=with_data)
        for text in ("yesterday", "2026-11-21", "2026-11-21T11:12:13", "2026-11-21T11:12:13.5Z", "2026-11-21T11:12:13+01:00", "-1", "0", "1e3",
                     "2026-13-21T11:12:13Z"):
            refused("restore-to", *on_directory(empty), "--restore-from", f"file://{past}", "--restore-to", text)
        refused("there is no manifest", *on_directory(empty), "--restore-from", f"file://{past}", "--restore-to", "4711")
        refused("No such file or directory", *on_directory(empty), "--restore-from", f"file://{store}.mistyped")
        assert not os.path.exists(f"{store}.mistyped")
        os.mkdir(f"{store}.nothing")
        refused("there is nothing in restore-from", *on_directory(empty), "--restore-from", f"file://{store}.nothing")
        assert not os.listdir(f"{store}.nothing")
        refused("no longer reaches back", *on_directory(empty), "--restore-from", f"file://{past}", "--restore-to", too_early)
        assert not {"segment", "manifest", "checkpoint"} & set(objects(empty))
        wipe(cluster, 0)  # and where nothing is wrong, it is done
        cluster.start(0, *on_directory(empty), "--restore-from", f"file://{past}")
        assert connect(cluster, 0).get("n") == b"2"


# ------------------------------------------------------------------------------------------ no room


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_a_full_store_is_waited_for(tmp_path):
    with tempfile.TemporaryDirectory() as mount:
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", mount]).returncode:
            pytest.skip("mount is not allowed here")
        try:
            with Cluster(1, *on_directory(f"{mount}/store")) as cluster:
                a = connect(cluster, 0)
                a.set("before", 1)
                flushed(a)
                ballast = os.path.join(mount, "ballast")
                with open(ballast, "wb", buffering=0) as f, pytest.raises(OSError):
                    while True:
                        f.write(b"x" * 4096)
                for n in range(100):
                    a.set(f"k{n}", os.urandom(10000))
                until("it says so", lambda: store_info(a)["failures"] > 1)
                info = store_info(a)
                assert "No space left" in info["last_error"] and info["behind_ms"] > 0 and info["state"] == "streaming", info
                a.incr("n")  # writes go on
                os.remove(ballast)
                flushed(a)
                before = contents(a)
                cluster.nodes[0].kill()
                wipe(cluster, 0)
                cluster.start(0)
                assert contents(connect(cluster, 0)) == before
        finally:
            subprocess.run(["umount", mount], check=True)


# ------------------------------------------------------------------------------------------ garbage

OVERWRITES = int(os.environ.get("OVERWRITES", "100000"))


def test_overwriting_leaves_little_behind(store):
    """In bytes against a checkpoint of what is live; in objects against what there is of them."""
    with Cluster(1, *on_directory(store, interval_ms=20), "--auto-aof-rewrite-min-size", "1mb") as cluster:
        a = connect(cluster, 0)
        most = 0
        for n in range(0, OVERWRITES, 1000):
            pipe = a.pipeline(transaction=False)
            for k in range(1000):
                pipe.set(f"k{k}", os.urandom(64))
            pipe.execute()
            if n % 10000 == 0:
                checkpointed(a)
            most = max(most, sum(sum(sizes) for sizes in objects(store).values()))
        flushed(a)
        checkpointed(a)
        before = store_info(a)
        checkpointed(a)
        until("garbage is gone", lambda: len(objects(store).get("manifest", [])) == 2)
        until("all of it", lambda: len(objects(store)["segment"]) < 10)
        after, left = store_info(a), objects(store)
        live = after["checkpoint_bytes"] - before["checkpoint_bytes"]
        total = sum(sum(sizes) for sizes in left.values())
        print(f"live {live}, stored {total} ({total / live:.2f}), at most {most} ({most / live:.1f}), written {after['segment_bytes'] + after['checkpoint_bytes']},"
              f" {after['segments']} segments, {after['checkpoints']} checkpoints, {after['deleted']} deleted, left { {k: len(v) for k, v in left.items()} }")
        assert total < 5 * live
        assert sum(len(sizes) for sizes in left.values()) < 30
        assert most < 40 * live
        seen = contents(a)
        cluster.nodes[0].kill()
        wipe(cluster, 0)
        cluster.start(0)
        assert contents(connect(cluster, 0)) == seen
