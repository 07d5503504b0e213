"""Several nodes: that they agree, whatever happens to some of them."""
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest
import redis

from servers import Cluster, agree, connected, until


def clients(cluster):
    return [redis.Redis("127.0.0.1", port=p, socket_timeout=30) for p in cluster.ports]


@pytest.fixture(scope="module")
def three():
    with Cluster(3) as cluster:
        connected(clients(cluster))
        yield cluster


def test_writes_anywhere_one_state(three):
    cs = clients(three)

    def write(i):
        c = redis.Redis("127.0.0.1", port=three.ports[i])
        with c.pipeline(transaction=False) as p:
            for n in range(3000):
                p.incr("count").sadd("set", f"{i}-{n}").hset("hash", f"f{n % 50}", f"{i}-{n}").set(f"k{n % 100}", f"{i}-{n}")
                p.hincrby("hash", "sum", 2).srem("set", f"{i}-{n - 1}").expire(f"k{n % 100}", 1000 + n)
            p.execute()

    threads = [threading.Thread(target=write, args=(i,)) for i in range(3)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    agree(cs)
    assert [c.get("count") for c in cs] == [b"9000"] * 3
    assert [c.hget("hash", "sum") for c in cs] == [b"18000"] * 3
    assert [c.smembers("set") for c in cs] == [{b"0-2999", b"1-2999", b"2-2999"}] * 3
    assert len({tuple(c.mget([f"k{n}" for n in range(100)])) for c in cs}) == 1


def test_concurrent_writes_merge(three):
    cs = clients(three)
    cs[0].flushall()
    agree(cs)
    cs[0].set("n", 10)
    cs[0].sadd("s", "a", "b")
    cs[0].hset("h", "old", 1)
    cs[0].set("gone", "x")
    agree(cs)
    for c in cs:
        c.execute_command("DEBUG", "GOSSIP", "PAUSE")
    cs[0].incrby("n", 7), cs[1].incrby("n", 3), cs[2].set("n", 100)
    cs[0].srem("s", "a"), cs[1].sadd("s", "a"), cs[2].srem("s", "b")
    cs[0].delete("h"), cs[1].hset("h", "new", 2), cs[2].hincrby("h", "old", 5)
    cs[0].delete("gone"), cs[1].expire("gone", 1000)
    for c in cs:
        c.execute_command("DEBUG", "GOSSIP", "RESUME")
    agree(cs)
    assert [c.get("n") for c in cs] == [b"110"] * 3
    assert [c.smembers("s") for c in cs] == [{b"a"}] * 3
    assert [c.hgetall("h") for c in cs] == [{b"new": b"2", b"old": b"5"}] * 3
    assert [c.exists("gone") for c in cs] == [0] * 3


def test_wait_counts_peers_that_really_have_it(three):
    cs = clients(three)
    c = redis.Redis("127.0.0.1", port=three.ports[0], single_connection_client=True)
    c.set("w", 1)
    assert c.wait(2, 5000) == 2
    os.kill(three.nodes[2].pid(), signal.SIGSTOP)
    try:
        c.set("w", 2)
        started = time.monotonic()
        assert c.wait(2, 400) == 1
        assert 0.35 < time.monotonic() - started < 2
        assert c.wait(1, 5000) == 1
    finally:
        os.kill(three.nodes[2].pid(), signal.SIGCONT)
    assert c.wait(2, 10000) == 2
    assert cs[2].get("w") == b"2"


def test_a_stopped_peer_holds_nobody_up(three):
    cs = clients(three)
    os.kill(three.nodes[1].pid(), signal.SIGSTOP)
    try:
        before = cs[0].info("memory")["used_memory_rss"]
        for _ in range(20):
            with cs[0].pipeline(transaction=False) as p:
                for i in range(2000):
                    p.set(f"big{i % 500}", os.urandom(1000))
                p.execute()
        until(lambda: cs[2].get("big499") == cs[0].get("big499"))
        bound = (150 << 20) * (1 if os.environ.get("BUILD", "build") == "build" else 4)  # sanitizers keep what was freed
        assert cs[0].info("memory")["used_memory_rss"] - before < bound
    finally:
        os.kill(three.nodes[1].pid(), signal.SIGCONT)
    agree(cs)


def test_values_of_many_sizes(three):
    cs = clients(three)
    for size in (0, 1, 65535, 65536, 262144, 1 << 20, 20 << 20):
        value = os.urandom(size)
        cs[0].set("sized", value)
        until(lambda: cs[2].get("sized") == value, 30)
    agree(cs)
    cs[0].delete("sized")


def test_expiry_is_replicated_as_a_moment(three):
    cs = clients(three)
    cs[0].set("e", 1, px=1500)
    until(lambda: cs[1].get("e") == b"1")
    assert abs(cs[0].pexpiretime("e") - cs[1].pexpiretime("e")) == 0 if hasattr(cs[0], "pexpiretime") else True
    assert cs[0].execute_command("PEXPIRETIME", "e") == cs[1].execute_command("PEXPIRETIME", "e")
    time.sleep(1.6)
    assert [c.get("e") for c in cs] == [None] * 3
    agree(cs)


def test_hostile_bytes_on_the_gossip_port(three):
    for data in (b"", b"\x00" * 8, b"\xff" * 64, b"GET / HTTP/1.1\r\n\r\n", b"\x00SP\x00\x00\x51\x00\x00" + b"\xff" * 8, b"\x00SP\x00\x00\x50\x00\x00" + b"\xff" * 8):
        for port in three.gossip:
            with socket.create_connection(("127.0.0.1", port), 5) as s:
                s.sendall(data)
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    cs = clients(three)
    with socket.create_connection(("127.0.0.1", three.gossip[0]), 5) as s:  # a push socket, as a peer has one
        s.sendall(b"\x00SP\x00\x00\x50\x00\x00" + (100).to_bytes(8, "big") + os.urandom(100))
        until(lambda: cs[0].info("gossip")["gossip_frames_malformed"] > 0)
    cs[0].set("after", "hostile")
    until(lambda: cs[1].get("after") == b"hostile")


def test_killed_nodes_come_back_and_new_ones_join():
    with Cluster(3) as cluster:
        cs = clients(cluster)
        connected(cs)
        with cs[0].pipeline(transaction=False) as p:
            for i in range(20000):
                p.set(f"k{i}", i)
            p.execute()
        agree(cs)
        cluster.nodes[1].kill()
        with cs[0].pipeline(transaction=False) as p:
            for i in range(5000):
                p.incr(f"k{i}")
            p.execute()
        cs[2].delete(*[f"k{i}" for i in range(5000, 6000)])
        cluster.start(1)
        cs = clients(cluster)
        agree(cs)
        assert cs[1].get("k7") == b"8" and cs[1].get("k5500") is None and cs[1].dbsize() == 19000
        # All but one lose their memory: the one that is left gives them everything.
        cluster.nodes[0].kill()
        cluster.nodes[2].kill()
        cluster.start(0), cluster.start(2)
        cs = clients(cluster)
        agree(cs)
        assert cs[0].dbsize() == 19000
        cs[0].set("again", 1)
        until(lambda: cs[2].get("again") == b"1")


def test_a_node_that_was_away_ends_with_the_same_state():
    # A log too short for what it misses, and shards so full that cells are cut finer.
    with Cluster(3, "--gossip-log-bytes", "1mb", "--shards", "8") as cluster:
        cs = clients(cluster)
        connected(cs)
        with cs[0].pipeline(transaction=False) as p:
            for i in range(30000):
                p.set(f"k{i}", "before")
            p.execute()
        agree(cs)
        os.kill(cluster.nodes[2].pid(), signal.SIGSTOP)
        for round_ in range(9):
            with cs[round_ % 2].pipeline(transaction=False) as p:
                for i in range(0, 30000, 2):
                    p.set(f"k{i}", f"after{round_}")
                p.execute()
        cs[1].delete(*[f"k{i}" for i in range(1, 30000, 3)])
        os.kill(cluster.nodes[2].pid(), signal.SIGCONT)
        agree(cs)
        assert cs[2].dbsize() == cs[0].dbsize() and cs[2].get("k2") == b"after8"


def test_leaving_is_known_at_once():
    with Cluster(3) as cluster:
        cs = clients(cluster)
        connected(cs)
        cs[2].set("last", "words")
        assert cluster.nodes[2].stop() == 0
        assert cs[0].get("last") == b"words"

        def left():
            nodes = [dict(zip(n[::2], n[1::2])) for n in cs[0].execute_command("ANNEAL", "NODES")]
            return sorted(n[b"state"] for n in nodes) == [b"left", b"self", b"up"]

        until(left, 5)


def test_strangers_and_other_keys_are_refused(tmp_path):
    keys = [os.urandom(32).hex() for _ in range(2)]
    for name, lines in {"a": keys[:1], "b": keys[1:], "ab": keys}.items():
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    with Cluster(2, "--cluster-key-file", str(tmp_path / "a")) as cluster:
        cs = clients(cluster)
        connected(cs)
        cluster.nodes[1].stop()
        cluster.start(1, "--cluster-key-file", str(tmp_path / "b"))
        cs[0].set("secret", 1)
        until(lambda: cs[0].info("gossip")["gossip_frames_key"] > 0)
        assert redis.Redis("127.0.0.1", port=cluster.ports[1]).get("secret") is None
        # Rotation: whoever knows both keys is understood.
        cluster.nodes[1].stop()
        cluster.start(1, "--cluster-key-file", str(tmp_path / "ab"))
        until(lambda: redis.Redis("127.0.0.1", port=cluster.ports[1]).get("secret") == b"1")


def test_another_number_of_shards_is_another_cluster():
    with Cluster(1) as cluster:
        c = clients(cluster)[0]
        with Cluster(1, "--shards", "16", "--join", f"127.0.0.1:{cluster.gossip[0]}"):
            until(lambda: c.info("gossip")["gossip_frames_cluster"] > 0)
            assert c.info("replication")["peers"] == 0


def test_debug_is_refused_unless_enabled():
    with Cluster(1, "--enable-debug-command", "no") as cluster:
        with pytest.raises(redis.ResponseError, match="DEBUG command not allowed"):
            clients(cluster)[0].execute_command("DEBUG", "GOSSIP", "PAUSE")


CLUSTER = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "test", "cluster.py")
plain_build = pytest.mark.skipif(os.environ.get("BUILD", "build") != "build", reason="`make run` and `make demo` run the plain build")


@plain_build
def test_demo():
    done = subprocess.run(["/usr/bin/python3", CLUSTER, "demo"], capture_output=True, text=True, timeout=90)
    assert done.returncode == 0 and "All three agree, and nothing is lost." in done.stdout, done.stdout + done.stderr


@contextlib.contextmanager
def shown(base, end=signal.SIGINT):
    """`make run`, once it says that its nodes answer. Whoever runs tests in the background ignores SIGINT; a terminal does not."""
    with subprocess.Popen(["/usr/bin/python3", CLUSTER, "run", str(base)], stdout=subprocess.PIPE, text=True,
                          preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)) as process:
        try:
            said = [process.stdout.readline()]
            while "keys were there" not in said[-1]:
                assert said[-1], "".join(said)
                said.append(process.stdout.readline())
            yield process, int(said[-1].split()[2])
        finally:
            process.send_signal(end)
            process.communicate(timeout=60)


@plain_build
def test_run_keeps_what_it_had(tmp_path):
    """After Ctrl-C, after kill -9 of all nodes, and after the loss of all their disks."""
    ports = 7001, 7002, 7003
    with shown(tmp_path) as (_, kept):
        assert kept == 0
        redis.Redis("127.0.0.1", port=7001).set("before", "Ctrl-C")
    with shown(tmp_path) as (process, kept):
        assert kept == 1
        redis.Redis("127.0.0.1", port=7002).set("before", "kill -9")
        for pid in [redis.Redis("127.0.0.1", port=port).info("server")["process_id"] for port in ports]:
            os.kill(pid, signal.SIGKILL)
        assert "is there again" in process.communicate(timeout=60)[0]
    with shown(tmp_path) as (_, kept):
        assert kept == 1 and redis.Redis("127.0.0.1", port=7002).get("before") == b"kill -9"
    for port in ports:
        shutil.rmtree(tmp_path / str(port))
    with shown(tmp_path) as (_, kept):
        assert kept == 1 and redis.Redis("127.0.0.1", port=7003).get("before") == b"kill -9"


@plain_build
def test_run_leaves_no_node_behind_when_its_terminal_is_closed(tmp_path):
    with shown(tmp_path, signal.SIGHUP):
        pass
    with pytest.raises(redis.ConnectionError):
        redis.Redis("127.0.0.1", port=7001).ping()
