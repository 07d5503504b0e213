"""What was acknowledged comes back: kill -9, full disks, damage, restarts of all nodes."""
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import pytest
import redis
from servers import SERVER, Cluster, Server, agree, connected, digest, free_port, until

LOG = ["--appendonly", "yes"]


def connect(cluster, i):
    return redis.Redis("127.0.0.1", cluster.ports[i], socket_timeout=20, single_connection_client=True)


def files(cluster, i, start):
    return sorted(f for f in os.listdir(cluster.nodes[i].dir) if f.startswith(start))


def fill(client, keys=500):
    pipe = client.pipeline(transaction=False)
    for n in range(keys):
        pipe.set(f"s{n}", "v" * (n % 90))
        pipe.incrby(f"c{n % 50}", n)
        pipe.hset(f"h{n % 30}", f"f{n}", n)
        pipe.sadd(f"m{n % 20}", n)
        pipe.set(f"t{n}", "x", ex=1000 + n)
        if n % 3 == 0:
            pipe.delete(f"s{n - 1}", f"t{n - 2}")
            pipe.srem(f"m{n % 20}", n)
    pipe.execute()


def test_a_restart_finds_everything():
    with Cluster(1, *LOG) as cluster:
        a = connect(cluster, 0)
        fill(a)
        before, ttl = digest(a), a.ttl("t499")
        assert cluster.nodes[0].stop() == 0
        cluster.start(0)
        a = connect(cluster, 0)
        assert digest(a) == before
        assert ttl - 30 < a.ttl("t499") <= ttl
        fill(a, 100)  # and it goes on
        before = digest(a)
        cluster.nodes[0].kill()
        cluster.start(0)
        assert digest(connect(cluster, 0)) == before


class Writer(threading.Thread):
    """Counts and sets until its connection breaks; knows what was acknowledged, and what may have been done."""

    def __init__(self, port, name):
        super().__init__()
        self.client = redis.Redis("127.0.0.1", port, socket_timeout=10, single_connection_client=True, retry=None)
        self.name_, self.acked, self.sent = name, 0, 0
        self.start()

    def run(self):
        try:
            while True:
                self.sent += 1
                pipe = self.client.pipeline(transaction=False)
                pipe.incr(f"count:{self.name_}")
                pipe.set(f"last:{self.name_}", self.sent)
                pipe.sadd(f"all:{self.name_}", self.sent)
                pipe.execute()
                self.acked = self.sent
        except (redis.ConnectionError, redis.TimeoutError):
            pass


@pytest.mark.parametrize("policy", ["always", "everysec", "no"])
def test_kill_9_loses_nothing_acknowledged(policy):
    """The process, not the machine: so under every policy."""
    with Cluster(1, *LOG, "--appendfsync", policy, "--threads", "2", "--auto-aof-rewrite-min-size", "1mb") as cluster:
        for round_ in range(8):
            connect(cluster, 0)
            writers = [Writer(cluster.ports[0], f"{round_}.{n}") for n in range(4)]
            time.sleep(random.uniform(0.1, 0.5))
            cluster.nodes[0].kill()
            for writer in writers:
                writer.join()
            cluster.start(0)
            a = connect(cluster, 0)
            for w in writers:
                count, last = int(a.get(f"count:{w.name_}") or 0), int(a.get(f"last:{w.name_}") or 0)
                assert w.acked <= count <= w.sent
                assert w.acked <= last <= w.sent
                assert a.scard(f"all:{w.name_}") in (w.acked, w.sent)
            assert a.info("persistence")["recovery_gaps"] == 0


def test_all_nodes_die_and_come_back():
    with Cluster(3, *LOG) as cluster:
        clients = [connect(cluster, i) for i in range(3)]
        connected(clients)
        for client in clients:
            fill(client, 200)
            client.incrby("shared", 7)
        agree(clients)
        time.sleep(0.3)  # what came from peers is written within 0.1 s
        before = digest(clients[0])
        for node in cluster.nodes:
            node.kill()
        for i in range(3):
            cluster.start(i)
        clients = [connect(cluster, i) for i in range(3)]
        assert [digest(c) for c in clients] == [before] * 3
        assert clients[0].get("shared") == b"21"
        clients[1].incr("shared")
        agree(clients)
        assert clients[2].get("shared") == b"22"


@pytest.mark.parametrize("leave", [False, True])
def test_all_nodes_are_stopped_and_come_back(leave):
    """They do not all tell each other to throw away what they kept, though each has seen the others go."""
    with Cluster(3, *LOG) as cluster:
        clients = [connect(cluster, i) for i in range(3)]
        connected(clients)
        for client in clients:
            fill(client, 100)
        agree(clients)
        before = digest(clients[0])
        for client in clients if leave else []:
            client.execute_command("ANNEAL", "LEAVE")
        for node in cluster.nodes:
            assert node.stop() == 0
        for i in range(3):
            cluster.start(i)
        clients = [connect(cluster, i) for i in range(3)]
        connected(clients)
        time.sleep(1)
        agree(clients)
        assert digest(clients[0]) == before
        if not leave:
            assert [c.info("gossip")["gossip_resets"] for c in clients] == [0] * 3


def test_a_node_with_a_checkpoint_alone_is_expected_back():
    """It keeps no log, was saved once, and is stopped well: what it comes back with is not thrown away under its clients."""
    with Cluster(2) as cluster:
        a, b = connect(cluster, 0), connect(cluster, 1)
        connected([a, b])
        b.incr("n", 5)
        b.incr("reset", 5)
        b.save()
        b.incr("n", 5)
        a.wait(1, 1000)
        agree([a, b])
        assert cluster.nodes[1].stop() == 0
        a.delete("reset")
        cluster.start(1)
        b = connect(cluster, 1)
        last = 0
        for _ in range(200):
            now = int(b.get("n") or 0)
            assert now >= max(last, 5)
            last = now
            time.sleep(0.01)
        agree([a, b])
        assert b.get("n") == b"10" and b.get("reset") is None
        assert b.info("gossip")["gossip_resets"] == 0


def test_a_node_with_an_old_log_is_expected_back():
    """It keeps none any more; the next start reads the old one all the same."""
    with Cluster(2) as cluster:
        cluster.nodes[1].stop()
        cluster.start(1, *LOG)
        a, b = connect(cluster, 0), connect(cluster, 1)
        connected([a, b])
        b.incr("n", 5)
        agree([a, b])
        for _ in range(2):
            assert cluster.nodes[1].stop() == 0
            cluster.start(1)
            b = connect(cluster, 1)
            connected([a, b])
            agree([a, b])
            assert b.get("n") == b"5" and b.info("gossip")["gossip_resets"] == 0


def test_what_came_from_peers_is_kept_too():
    """By deltas, and by pulls of a node that was away."""
    with Cluster(2, *LOG) as cluster:
        a, b = connect(cluster, 0), connect(cluster, 1)
        fill(a, 100)
        agree([a, b])
        cluster.nodes[1].kill()
        fill(a, 300)
        cluster.start(1)
        b = connect(cluster, 1)
        agree([a, b])
        time.sleep(1.5)  # what was pulled is imaged within a second
        before = digest(b)
        for node in cluster.nodes:
            node.kill()
        cluster.start(1, "--join", "")
        assert digest(connect(cluster, 1)) == before


def kept_bytes(cluster):
    """Of logs and checkpoints; some may go while they are counted."""
    total = 0
    for name in files(cluster, 0, "anneal-log.") + files(cluster, 0, "anneal-checkpoint."):
        try:
            total += os.path.getsize(os.path.join(cluster.nodes[0].dir, name))
        except FileNotFoundError:
            pass
    return total


def test_checkpoints_replace_logs():
    with Cluster(1, *LOG, "--auto-aof-rewrite-min-size", "1mb") as cluster:
        a = connect(cluster, 0)
        value = "v" * 1000
        for _ in range(20):
            pipe = a.pipeline(transaction=False)
            for n in range(500):
                pipe.set(f"k{n}", value)
            pipe.execute()
        deadline = time.monotonic() + 10
        while not files(cluster, 0, "anneal-checkpoint.") or kept_bytes(cluster) > 3 << 20:
            assert time.monotonic() < deadline
            time.sleep(0.05)
            a.set("more", value)
        before = digest(a)
        cluster.nodes[0].kill()
        cluster.start(0)
        assert digest(connect(cluster, 0)) == before


def test_save_and_its_kin():
    with Cluster(1) as cluster:  # without a log
        a = connect(cluster, 0)
        fill(a, 50)
        began = int(time.time())
        assert a.save()
        assert a.execute_command("LASTSAVE").timestamp() >= began
        before = digest(a)
        a.set("after", "the checkpoint")
        with pytest.raises(redis.ResponseError, match="appendonly is disabled"):
            a.execute_command("WAITAOF", 1, 0, 0)
        assert a.execute_command("WAITAOF", 0, 0, 0) == [0, 0]
        cluster.nodes[0].kill()
        cluster.start(0)
        a = connect(cluster, 0)
        assert digest(a) == before
        assert a.bgsave()
        until(lambda: a.info("persistence")["rdb_saves"] >= 1)
        assert a.info("persistence")["rdb_last_bgsave_status"] == "ok"
        assert a.execute_command("BGREWRITEAOF") in (b"Background append only file rewriting started", True)
        a.set("x", 1)
        with pytest.raises(redis.ConnectionError):
            a.execute_command("SHUTDOWN", "SAVE")
        cluster.nodes[0].process.wait(10)
        cluster.start(0)
        assert connect(cluster, 0).get("x") == b"1"


def test_a_rewrite_that_ends_while_the_node_leaves():
    """Clients are gone by then, and must not be told. A peer that does not answer makes leaving last."""
    with Cluster(2, *LOG) as cluster:
        a, b = connect(cluster, 0), connect(cluster, 1)
        for _ in range(20):
            pipe = a.pipeline(transaction=False)
            for n in range(2000):
                pipe.set(f"k{n}", os.urandom(1000))
            pipe.execute()
        agree([a, b])
        os.kill(cluster.nodes[1].pid(), signal.SIGSTOP)
        try:
            for n in range(8):
                a = connect(cluster, 0)
                a.set("unheard", n)
                a.execute_command("BGREWRITEAOF")
                time.sleep(random.uniform(0, 0.02))
                assert cluster.nodes[0].stop() == 0
                cluster.start(0)
        finally:
            os.kill(cluster.nodes[1].pid(), signal.SIGCONT)
        agree([connect(cluster, 0), b])


def test_clients_that_ask_while_a_node_loads():
    with Cluster(1, *LOG, "--threads", "2") as cluster:
        fill(connect(cluster, 0), 20000)
        before = digest(connect(cluster, 0))
        cluster.nodes[0].stop()
        done = threading.Event()

        def knock():
            while not done.is_set():
                try:
                    client = redis.Redis("127.0.0.1", cluster.ports[0], retry=None)
                    while not done.is_set():
                        client.info()
                        try:
                            client.srem("nothing", "there")
                        except redis.BusyLoadingError:
                            pass
                except redis.ConnectionError:
                    pass

        threads = [threading.Thread(target=knock) for _ in range(4)]
        [t.start() for t in threads]
        try:
            for _ in range(3):
                cluster.start(0)
                assert digest(connect(cluster, 0)) == before
                assert cluster.nodes[0].stop() == 0  # with clients in the midst of it
        finally:
            done.set()
            [t.join() for t in threads]
        cluster.start(0)


def test_waitaof_syncs():
    with Cluster(1, *LOG, "--appendfsync", "no") as cluster:
        a = connect(cluster, 0)
        a.set("k", "v")
        assert a.execute_command("WAITAOF", 1, 0, 0) == [1, 0]
        began = time.monotonic()
        assert a.execute_command("WAITAOF", 1, 1, 200) == [1, 0]
        assert time.monotonic() - began >= 0.2
        for bad in (["2", "0", "0"], ["x", "0", "0"], ["1", "-1", "0"], ["1", "0", "-1"]):
            with pytest.raises(redis.ResponseError):
                a.execute_command("WAITAOF", *bad)


def test_damage_is_put_aside():
    with Cluster(1, *LOG) as cluster:
        a = connect(cluster, 0)
        for n in range(200):
            a.set(f"k{n}", "v" * 100)
        directory = cluster.nodes[0].dir
        cluster.nodes[0].kill()
        log = os.path.join(directory, files(cluster, 0, "anneal-log.")[0])
        with open(log, "r+b") as f:
            f.seek(os.path.getsize(log) // 2)
            f.write(b"\xff" * 8)
        cluster.start(0)
        a = connect(cluster, 0)
        info = a.info("persistence")
        assert info["recovery_damaged"] == 1
        assert files(cluster, 0, "anneal-damage.")
        assert 195 <= a.dbsize() < 200 or info["recovery_gaps"] > 0
        assert "left out" in cluster.nodes[0].output()
        a.set("k", "v")


def test_a_torn_tail_is_no_damage():
    with Cluster(1, *LOG) as cluster:
        a = connect(cluster, 0)
        a.set("k", "v")
        cluster.nodes[0].kill()
        log = os.path.join(cluster.nodes[0].dir, files(cluster, 0, "anneal-log.")[0])
        with open(log, "ab") as f:
            f.write(b"ANRL\x40\x00\x00\x00half a record")
        cluster.start(0)
        a = connect(cluster, 0)
        assert a.get("k") == b"v"
        assert a.info("persistence")["recovery_damaged"] == 0
        assert a.info("persistence")["recovery_torn_bytes"] > 0


def test_many_starts_leave_few_files():
    with Cluster(1, *LOG) as cluster:
        connect(cluster, 0).set("k", "v")
        for _ in range(4):
            cluster.nodes[0].stop()
            cluster.start(0)
            assert connect(cluster, 0).get("k") == b"v"
        assert len(files(cluster, 0, "anneal-log.")) == 2


def test_files_of_another_cluster_end_the_start():
    with Cluster(1, *LOG) as cluster:
        connect(cluster, 0).set("k", "v")
        cluster.nodes[0].stop()
        cluster.nodes[0].killed = True
        done = subprocess.run([SERVER, "--port", "0", "--dir", cluster.nodes[0].dir, "--appendonly", "yes", "--shards", "16"],
                              capture_output=True, text=True, timeout=20)
        assert done.returncode == 1
        assert "256 shards" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
@pytest.mark.parametrize("policy", ["always", "everysec"])
def test_a_full_disk_refuses_writes_until_there_is_room(policy):
    with tempfile.TemporaryDirectory() as mount:
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", mount]).returncode:
            pytest.skip("mount is not allowed here")
        try:
            with Cluster(1, *LOG, "--appendfsync", policy) as cluster:
                cluster.nodes[0].stop()
                cluster.start(0, "--dir", mount)
                full_disk(cluster, mount)
        finally:
            subprocess.run(["umount", mount], check=True)


def test_a_file_that_may_not_grow_is_a_full_disk():
    with Cluster(1, *LOG, "--appendfsync", "always") as cluster:
        a = connect(cluster, 0)
        a.set("before", "1")
        pid = cluster.nodes[0].pid()
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
        acked = 0
        with pytest.raises(redis.ResponseError, match="MISCONF.*no space"):
            for acked in range(5000):
                a.set(f"k{acked}", "v" * 1000)
        assert a.get("before") == b"1"
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        until(lambda: a.info("persistence")["aof_last_write_status"] == "ok")
        cluster.nodes[0].kill()
        cluster.start(0)
        assert connect(cluster, 0).exists("before", *(f"k{n}" for n in range(acked))) == acked + 1


@pytest.mark.skipif(not shutil.which("prlimit"), reason="there is no prlimit")
@pytest.mark.parametrize("most", [64, 4096])
def test_clients_that_only_sit_there_leave_files_to_the_log_and_the_store(most):
    with tempfile.TemporaryDirectory() as base:
        port = free_port()
        command = [SERVER, "--port", str(port), "--gossip-port", str(free_port()), "--dir", base, *LOG, "--object-store", f"file://{base}/store",
                   "--segment-interval-ms", "50"]
        node = Server(["prlimit", f"--nofile=64:{most}"] + command, port, base)
        until(node.has_loaded)
        a = redis.Redis("127.0.0.1", port, socket_timeout=20, single_connection_client=True)
        idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
        until(lambda: a.info("stats")["total_connections_received"] + a.info("stats")["rejected_connections"] >= 101)
        assert a.config_get("maxclients")["maxclients"] == str(a.info("clients")["maxclients"])
        assert a.info("clients")["connected_clients"] < 64 if most == 64 else a.info("clients")["connected_clients"] >= 101
        a.set("k", "v")
        assert a.save()
        until(lambda: a.info("persistence")["object_store_behind_ms"] == 0)
        for s in idle:
            s.close()
        assert node.stop() == 0
        assert ("maxclients is 32, not 10000" in node.output()) == (most == 64)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_that_end_a_node_let_it_write_what_it_has(number):
    with tempfile.TemporaryDirectory() as store, Cluster(1, "--object-store", f"file://{store}", "--segment-interval-ms", "3600000") as cluster:
        connect(cluster, 0).set("k", "v")
        os.kill(cluster.nodes[0].pid(), number)
        assert cluster.nodes[0].process.wait(20) == 0
        cluster.start(0)
        assert connect(cluster, 0).get("k") == b"v"


def full_disk(cluster, mount):
    a = connect(cluster, 0)
    a.set("before", "1")
    ballast = os.path.join(mount, "ballast")
    with open(ballast, "wb") as f:
        f.write(b"x" * (3 << 20))
    acked = {}
    with pytest.raises(redis.ResponseError, match="MISCONF"):
        for n in range(5000):
            a.set(f"k{n}", "v" * 1000)
            acked[f"k{n}"] = True
    assert a.get("before") == b"1"  # reads go on
    with pytest.raises(redis.ResponseError, match="MISCONF.*no space"):
        a.set("refused", "1")
    assert a.info("persistence")["aof_last_write_status"] == "err"
    os.remove(ballast)
    deadline = time.monotonic() + 10
    while True:
        try:
            a.set("after", "1")
            break
        except redis.ResponseError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert a.info("persistence")["aof_last_write_status"] == "ok"
    cluster.nodes[0].kill()
    cluster.start(0, "--dir", mount)
    a = connect(cluster, 0)
    assert a.get("after") == b"1"
    assert all(v is not None for v in a.mget(list(acked)))
