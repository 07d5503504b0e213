"""The archive through HTTP: Ceph's radosgw as it is, killed and started again, and behind a proxy that does harm."""
import os
import threading

import pytest
import redis

from proxy import Proxy
from servers import Cluster, agree, connected, digest
from stores import (Refused, checkpointed, client_of, connect, contents, fill, flushed, on_s3, start_gateway, store_info,
                    until, wipe)

numbers = iter(range(1, 1000))


@pytest.fixture(scope="module")
def s3():
    with start_gateway() as gateway:
        yield gateway


@pytest.fixture
def proxy(s3):
    with Proxy(s3.port) as proxy:
        yield proxy


@pytest.fixture
def prefix():
    return f"test{next(numbers)}"


# ------------------------------------------------------------------------------------------ as it is


def test_all_machines_are_lost(s3, prefix):
    with Cluster(3, *on_s3(s3, prefix)) as cluster:
        clients = [connect(cluster, i) for i in range(3)]
        connected(clients)
        for i, client in enumerate(clients):
            fill(client, f"n{i}")
        checkpointed(clients[0])
        for i, client in enumerate(clients):
            fill(client, f"n{i + 1}")
        agree(clients)
        flushed(*clients)
        before, seen = digest(clients[0]), contents(clients[0])
        for i, node in enumerate(cluster.nodes):
            node.kill()
            wipe(cluster, i)
        for i in range(3):
            cluster.start(i, "--join", "")
            client = connect(cluster, i)
            assert digest(client) == before and contents(client) == seen
            info = store_info(client)
            assert info["read_images"] > 0 and info["read_messages"] > 0 and info["read_damaged"] == 0
        client.incr("shared")  # alone, and without a word to anybody
        assert cluster.nodes[2].stop() == 0
        wipe(cluster, 2)
        cluster.start(2, "--join", "")
        assert int(connect(cluster, 2).get("shared")) == 361


def test_clients_are_told_to_wait_while_a_new_node_reads(s3, proxy, prefix):
    with Cluster(1, *on_s3(s3, prefix)) as cluster:
        a = connect(cluster, 0)
        fill(a, "x")
        flushed(a)
        checkpointed(a)
        fill(a, "y")
        flushed(a)
        before = digest(a)
        cluster.nodes[0].kill()
        for hold, state in (("", "probing the store"), (".*claim", "making sure that nobody else is this node"), ("GET .*/checkpoint/", "reading"),
                            ("GET .*/segment/", "reading")):
            for killed in (True, False):  # in the midst of it
                proxy.fault(hold, "hold", times=1 << 30)
                wipe(cluster, 0)
                cluster.start(0, *on_s3(s3, prefix, proxy.endpoint), loaded=False)
                a = client_of(cluster.ports[0])
                until(state, lambda: store_info(a).get("state") == state and (state != "reading" or store_info(a)["to_read"] > 0))
                assert a.info("persistence")["loading"] == 1
                for write in (lambda: a.set("k", 1), lambda: a.incr("shared"), lambda: a.get("shared")):
                    with pytest.raises(redis.BusyLoadingError):
                        write()
                if killed:
                    cluster.nodes[0].kill()
                proxy.clear()
                if killed:
                    cluster.start(0, *on_s3(s3, prefix, proxy.endpoint))
                a = connect(cluster, 0)
                assert digest(a) == before
                assert a.info("persistence")["loading"] == store_info(a)["to_read"] == 0
                assert cluster.nodes[0].stop() == 0
        cluster.start(0)
        connect(cluster, 0)


def test_who_is_told_to_stop_while_it_loads_stops(s3, proxy, prefix):
    """With clients that ask about it."""
    proxy.fault("", "hold", times=1 << 30)
    with Cluster(1) as cluster:
        assert cluster.nodes[0].stop() == 0
        ended = threading.Event()

        def knock():
            client = redis.Redis("127.0.0.1", cluster.ports[0], socket_timeout=5, retry=None)
            while not ended.is_set():
                try:
                    client.info("persistence")
                except (redis.ConnectionError, redis.TimeoutError):
                    pass

        threads = [threading.Thread(target=knock) for _ in range(3)]
        [t.start() for t in threads]
        try:
            for _ in range(5):
                cluster.start(0, *on_s3(s3, prefix, proxy.endpoint), loaded=False)
                a = client_of(cluster.ports[0])
                until("it waits", lambda: store_info(a).get("state") == "probing the store")
                assert cluster.nodes[0].stop() == 0, cluster.nodes[0].output()
        finally:
            ended.set()
            [t.join() for t in threads]


# ------------------------------------------------------------------------------------------ away


class Busy(threading.Thread):
    """Counts, without a pause; every reply must be right."""

    def __init__(self, port):
        super().__init__()
        self.client, self.ending, self.acked, self.failure = client_of(port), False, 0, None
        self.start()

    def run(self):
        try:
            while not self.ending:
                n = self.client.incr("busy")
                assert n == self.acked + 1
                self.acked = n
        except Exception as e:  # noqa: the test says what it was
            self.failure = e

    def end(self):
        self.ending = True
        self.join()
        assert self.failure is None, self.failure
        return self.acked


def rss(client):
    return client.info("memory")["used_memory_rss"]


def test_the_store_dies_under_load(s3, prefix):
    """Clients do not notice; memory holds what is live, not what was written; all is there afterwards."""
    with Cluster(1, *on_s3(s3, prefix)) as cluster:
        a = connect(cluster, 0)
        busy = Busy(cluster.ports[0])
        value = "v" * 1000
        for n in range(2):  # all that is live, twice over
            pipe = a.pipeline(transaction=False)
            for k in range(1000):
                pipe.set(f"k{k}", value)
            pipe.execute()
        before = rss(a)
        s3.kill()
        for n in range(200):
            pipe = a.pipeline(transaction=False)
            for k in range(1000):
                pipe.set(f"k{k}", f"{n}{value}")
            assert all(pipe.execute())
        until("it notices", lambda: store_info(a)["failures"] > 0 or store_info(a)["behind_ms"] > 1000)
        behind = store_info(a)["behind_ms"]
        until("it falls behind", lambda: store_info(a)["behind_ms"] > behind)
        growth = rss(a) - before
        print(f"RSS grew by {growth / 1e6:.1f} MB while 200 MB were written")
        assert growth < 100 << 20  # of which 64 MB may be the log for peers
        noticed = busy.acked
        s3.revive()
        until("clients go on", lambda: busy.acked > noticed)
        acked = busy.end()
        flushed(a)
        seen = contents(a)
        cluster.nodes[0].kill()
        wipe(cluster, 0)
        cluster.start(0)
        a = connect(cluster, 0)
        assert int(a.get("busy")) == acked and contents(a) == seen and a.get("k999") == f"199{value}".encode()


def test_a_store_that_is_away_at_the_start(s3, proxy, prefix):
    """Who has data serves them, and streams them once it can; who has none says that it is loading, and stops when told to."""
    away = on_s3(s3, prefix, proxy.endpoint) + ["--object-store-patience-ms", "100", "--object-store-timeout-ms", "300"]
    with Cluster(1, "--appendonly", "yes") as cluster:
        a = connect(cluster, 0)
        fill(a, "disk")
        cluster.nodes[0].kill()
        proxy.fault("", "reset", times=1 << 30)
        cluster.start(0, *away)
        a = connect(cluster, 0)
        info = store_info(a)
        assert info["state"] == "probing the store" and info["failures"] > 0 and info["last_error"]
        a.incr("shared")
        fill(a, "more")
        cluster.nodes[0].kill()  # and again: what the disk has is still not in the store
        cluster.start(0, *away)
        a = connect(cluster, 0)
        a.incr("shared")
        before = contents(a)
        proxy.clear()
        until("it streams", lambda: store_info(a)["state"] == "streaming")
        flushed(a)
        assert contents(a) == before and a.get("shared") == b"122"
        cluster.nodes[0].kill()
        wipe(cluster, 0)
        proxy.fault("", "reset", times=1 << 30)
        cluster.start(0, *away, "--appendonly", "no", loaded=False)
        a = client_of(cluster.ports[0])
        until("it has tried", lambda: store_info(a).get("failures", 0) > 2)
        with pytest.raises(redis.BusyLoadingError):
            a.incr("shared")
        assert cluster.nodes[0].stop() == 0
        proxy.clear()
        wipe(cluster, 0)
        cluster.start(0, *away)
        assert contents(connect(cluster, 0)) == before


def test_a_machine_that_is_stopped_and_lost_while_the_store_is_away(s3, proxy, prefix):
    """It ends all the same, and says what it could not do. What was stored before is there."""
    with Cluster(1, *on_s3(s3, prefix, proxy.endpoint)) as cluster:
        a = connect(cluster, 0)
        fill(a, "x")
        flushed(a)
        before = contents(a)
        proxy.fault("", "reset", times=1 << 30)
        a.set("lost", 1)
        assert cluster.nodes[0].stop() == 0
        assert "the last writes are not in the object store" in cluster.nodes[0].output()
        proxy.clear()
        wipe(cluster, 0)
        cluster.start(0)
        assert contents(connect(cluster, 0)) == before


# ------------------------------------------------------------------------------------------ harm


HARM = [("delay", dict(seconds=0.1)), ("status", dict(status=500)), ("status", dict(status=503, code="SlowDown")), ("status", dict(status=409)),
        ("status", dict(status=412, code="PreconditionFailed")), ("drop-before", {}), ("drop-after", {}), ("reset", {}), ("cut", {}), ("work-status", dict(status=500)),
        ("work-status", dict(status=503))]


ROUNDS = int(os.environ.get("ROUNDS", "2"))


def test_a_storm_stops_nobody_and_loses_nothing(s3, proxy, prefix):
    """Three nodes, each other harm at any time; what was flushed is there whenever one is lost, and in the end everything."""
    with Cluster(3, *on_s3(s3, prefix, proxy.endpoint), "--auto-aof-rewrite-min-size", "1mb", "--object-store-timeout-ms", "3000") as cluster:
        clients = [connect(cluster, i) for i in range(3)]
        connected(clients)
        for kind, options in HARM:
            pattern = "PUT " if options.get("status") == 412 else ""  # 412 to others makes no sense
            proxy.fault(pattern, kind, times=1 << 30, chance=0.04, **options)
        for n in range(ROUNDS):
            for i, client in enumerate(clients):
                fill(client, f"{i}.{n}", 20)
                client.incr("sum")
            checkpointed(clients[n % 3])
            victim = n % 3
            flushed(clients[victim])
            cluster.nodes[victim].kill()
            wipe(cluster, victim)
            cluster.start(victim, "--join", "", "--gossip-port", str(cluster.gossip[victim]))
            alone = connect(cluster, victim)
            assert int(alone.get(f"{victim}.{n}:c0")) == 9 + 18
            assert cluster.nodes[victim].stop() == 0
            cluster.start(victim)
            clients[victim] = connect(cluster, victim)
        agree(clients)
        flushed(*clients)
        before = contents(clients[0])
        harmed = sum((1 << 30) - fault.times for fault in proxy.faults)
        assert harmed > 20 * ROUNDS and all(node.process.poll() is None for node in cluster.nodes)
        assert clients[0].get("sum") == str(3 * ROUNDS).encode()
        for i in range(3):
            cluster.nodes[i].kill()
            wipe(cluster, i)
        cluster.start(0, "--join", "")
        assert contents(connect(cluster, 0)) == before
        proxy.clear()


@pytest.mark.parametrize("pattern", ["PUT .*/segment/", "PUT .*/checkpoint/", "PUT .*/manifest/", "GET .*list-type.*", "DELETE ", "PUT .*/(claim|verdict)/"])
def test_each_request_survives_each_harm(s3, proxy, prefix, pattern):
    with Cluster(1, *on_s3(s3, prefix, proxy.endpoint), "--object-store-timeout-ms", "3000") as cluster:
        a = connect(cluster, 0)
        for n in range(2):  # so that there is garbage from the next one on
            a.set("n", n)
            checkpointed(a)
        for n, (kind, options) in enumerate(HARM):
            if options.get("status") == 412 and not pattern.startswith("PUT"):
                continue
            proxy.clear()
            proxy.fault(pattern, kind, times=1, **options)
            if "claim" in pattern:
                assert cluster.nodes[0].stop() == 0
                cluster.start(0)
                a = connect(cluster, 0)
            a.set(f"k{n}", n)
            flushed(a)
            if "segment" not in pattern and "claim" not in pattern:
                checkpointed(a)
            until("the harm is done", lambda: not any(f.times for f in proxy.faults))
        proxy.clear()
        a.set("end", 1)
        flushed(a)
        before = contents(a)
        cluster.nodes[0].kill()
        wipe(cluster, 0)
        cluster.start(0)
        assert contents(connect(cluster, 0)) == before


# ------------------------------------------------------------------------------------------ no conditions


@pytest.mark.parametrize("kind, options", [("believe", {}), ("status", dict(status=501, code="NotImplemented"))])
def test_a_store_without_conditions_is_refused_unless_the_operator_says_so(s3, proxy, prefix, tmp_path, kind, options):
    proxy.fault("PUT ", kind, times=1 << 30, **options)
    refused = Refused(tmp_path / "d", *on_s3(s3, prefix, proxy.endpoint))
    assert refused.code == 1 and "If-None-Match" in refused.text and "object-store-unconditional" in refused.text, refused.text
    if kind != "believe":
        return
    with Cluster(1, *on_s3(s3, prefix, proxy.endpoint), "--object-store-unconditional", "yes") as cluster:
        for n in range(3):
            a = connect(cluster, 0)
            assert int(a.get("n") or 0) == n
            a.incr("n")
            flushed(a)
            checkpointed(a)
            cluster.nodes[0].kill()
            cluster.start(0)
        connect(cluster, 0)
