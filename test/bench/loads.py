"""Loads: redis-benchmark for RESP, an own pipelining client for memcached, and the probes of replication."""
import contextlib
import multiprocessing
import random
import re
import selectors
import socket
import subprocess
import time

import servers

KEYS, CLIENTS, VALUE = 1000000, 50, "v" * 64
RESP = {"set": ["SET", "key:__rand_int__", VALUE], "get": ["GET", "key:__rand_int__"],
        "incr": ["INCR", "ctr:__rand_int__"], "hset": ["HSET", "hash:__rand_int__", "field", VALUE],
        "sadd": ["SADD", "sets", "member:__rand_int__"]}
MIX = {"get": .8, "set": .2}  # of the load "mix"
MEMCACHE = {"set", "get", "incr"}


def measure(server, op, pipeline, ops):
    """CPU per op, rate and latencies of one load on one server."""
    drive = memcache_load if server.protocol == "memcache" else resp_load
    before = server.cpu_us()
    result = drive(server.port, op, pipeline, ops)
    result["cpu"] = (server.cpu_us() - before) / ops
    return result


def redis_benchmark(port, op, pipeline, ops, clients):
    return subprocess.Popen(
        ["taskset", "-c", servers.CLIENT_CPU, "redis-benchmark", "-p", str(port), "-c", str(clients),
         "-P", str(pipeline), "-n", str(ops), "-r", str(KEYS)] + RESP[op],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def resp_load(port, op, pipeline, ops):
    """The mix is two generators side by side; its rate is theirs together, its latencies those of the GETs."""
    shares = MIX if op == "mix" else {op: 1}
    began = time.perf_counter()
    running = [redis_benchmark(port, part, pipeline, int(ops * share), int(CLIENTS * share))
               for part, share in shares.items()]
    texts = [p.communicate(timeout=60)[0] for p in running]
    took = time.perf_counter() - began
    if any(p.returncode for p in running):
        raise RuntimeError("redis-benchmark failed")
    result = benchmark_result(texts[0])
    if len(texts) > 1:
        result["ops"] = ops / took
    return result


def benchmark_result(text):
    steps = [(float(p), float(ms)) for p, ms in re.findall(r"([\d.]+)% <= ([\d.]+) milliseconds \(cum", text)]
    summary = re.search(r"avg +min +p50 +p95 +p99 +max\s+([\d. ]+)", text).group(1).split()
    return {"ops": float(re.search(r"throughput summary: ([\d.]+)", text).group(1)),
            "p50": float(summary[2]), "p99": float(summary[4]),
            "p99.9": next(ms for p, ms in steps if p >= 99.9)}


def memcache_requests(op, pipeline):
    """Ready batches, so that the client costs as little as Python can.

    The meta command for GET: the old one is answered by a write of its own each."""
    key = {"set": "set key:%012d 0 0 64\r\n" + VALUE + "\r\n", "get": "mg key:%012d v\r\n",
           "incr": "incr ctr:%012d 1\r\n"}[op]
    return ["".join(key % random.randrange(KEYS) for _ in range(pipeline)).encode()
            for _ in range(100000 // pipeline)]


def memcache_load(port, op, pipeline, ops):
    """CLIENTS connections, each with one batch in flight; replies are counted by their lines."""
    lines = pipeline * {"set": 1, "get": 2, "incr": 1}[op]  # every key is there
    batches, watch, latencies = memcache_requests(op, pipeline), selectors.DefaultSelector(), []
    send, sent = iter(batches * (ops // 100000 + 1)), 0
    state = {}
    for _ in range(CLIENTS):
        s = socket.create_connection(("127.0.0.1", port), 10)
        watch.register(s, selectors.EVENT_READ)
        state[s] = [time.perf_counter(), 0]
    began = time.perf_counter()
    for s in state:
        state[s][0] = time.perf_counter()
        s.sendall(next(send))
        sent += pipeline
    done = 0
    while done < sent:
        for key, _ in watch.select(10):
            s, mine = key.fileobj, state[key.fileobj]
            mine[1] += s.recv(65536).count(b"\n")
            if mine[1] < lines:
                continue
            now = time.perf_counter()
            latencies.append((now - mine[0]) * 1e3)
            done += pipeline
            if sent < ops:
                mine[0], mine[1] = now, 0
                s.sendall(next(send))
                sent += pipeline
    took = time.perf_counter() - began
    watch.close()
    for s in state:
        s.close()
    latencies.sort()
    at = lambda share: latencies[min(len(latencies) - 1, int(len(latencies) * share))]
    return {"ops": done / took, "p50": at(.5), "p99": at(.99), "p99.9": at(.999)}


def receive(s, size):
    got = bytearray()
    while len(got) < size:
        part = s.recv(size - len(got))
        if not part:
            raise RuntimeError("the server closed the connection")
        got += part
    return bytes(got)


def fill_in_order(server, count, shape, answer):
    """In batches of 1000."""
    with socket.create_connection(("127.0.0.1", server.port), 30) as s:
        for first in range(0, count, 1000):
            s.sendall("".join([shape % n for n in range(first, first + 1000)]).encode())
            if receive(s, len(answer) * 1000) != answer * 1000:
                raise RuntimeError("%s refuses to be filled" % server.name)


def fill_counters(server):
    """By an INCR each."""
    fill_in_order(server, KEYS, "*2\r\n$4\r\nINCR\r\n$16\r\nctr:%012d\r\n", b":1\r\n")


def fill(server, count=KEYS, prefix="key:", value=VALUE, ttl_s=0):
    """COUNT keys in order."""
    memcache = server.protocol == "memcache"
    resp = "*3\r\n$3\r\nSET\r\n$%d\r\n%s%%012d\r\n$%d\r\n%s\r\n" % (len(prefix) + 12, prefix, len(value), value)
    if ttl_s:
        resp = resp.replace("*3", "*5") + "$2\r\nEX\r\n$%d\r\n%d\r\n" % (len(str(ttl_s)), ttl_s)
    shape = "set %s%%012d 0 0 %d\r\n%s\r\n" % (prefix, len(value), value) if memcache else resp
    fill_in_order(server, count, shape, b"STORED\r\n" if memcache else b"+OK\r\n")


def connect(server):
    s = socket.create_connection(("127.0.0.1", server.port), 10)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def dbsize(s):
    s.sendall(b"DBSIZE\r\n")
    return int(s.recv(64)[1:])


def await_size(s, size, seconds=20):
    until = time.perf_counter() + seconds
    while dbsize(s) != size:
        if time.perf_counter() > until:
            raise RuntimeError("the peer does not converge")


def glimpses(writer, reader, count, span_us):
    """(microseconds from a write's ack to a GET elsewhere, whether that showed it), by time.

    One GET a write, after a random pause: to ask again and again would slow what is measured."""
    seen = []
    with connect(writer) as a, connect(reader) as b:
        for n in range(count):
            a.sendall(b"SET seen %08d\r\n" % n)
            receive(a, 5)
            acked = time.perf_counter()
            pause = random.uniform(-span_us / 8, span_us) / 1e6  # one in nine at once: a sleep has a least length
            if pause > 0:
                time.sleep(pause)
            asked = time.perf_counter()
            b.sendall(b"GET seen\r\n")
            seen.append(((asked - acked) * 1e6, b.recv(64) == b"$8\r\n%08d\r\n" % n))
            time.sleep(0.001)
    return sorted(seen)


def write_on(port, per_ms):
    """SETs of a thousand keys, per_ms each millisecond, for as long as the process lives."""
    with socket.create_connection(("127.0.0.1", port), 10) as s:
        due, n = time.perf_counter(), 0
        while True:
            batch = "".join("SET paced:%d %s\r\n" % ((n + i) % 1000, VALUE) for i in range(per_ms))
            s.sendall(batch.encode())
            receive(s, 5 * per_ms)
            n, due = n + per_ms, due + .001
            time.sleep(max(0, due - time.perf_counter()))


@contextlib.contextmanager
def writing(server, per_second):
    """Somebody else writes so much meanwhile."""
    process = multiprocessing.Process(target=write_on, args=(server.port, per_second // 1000), daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def rank_us(seen, share, window=200):
    """The earliest time from which on `share` of the next `window` GETs show the write; None if none does."""
    shown = [int(hit) for _, hit in seen]
    now = sum(shown[:window])
    for i in range(len(seen) - window):
        if now >= share * window:
            return seen[i][0]
        now += shown[i + window] - shown[i]
    return None


def lag_ms(writer, reader, prefix, count=100000):
    """From the last ack of a burst until DBSIZE elsewhere counts all of it."""
    with connect(reader) as b:
        size = dbsize(b) + count
        fill(writer, count, prefix)
        acked = time.perf_counter()
        await_size(b, size)
        return (time.perf_counter() - acked) * 1e3


def lo_bytes():
    """Bytes sent on loopback so far, by anyone."""
    with open("/proc/net/dev") as f:
        line = next(line for line in f if line.strip().startswith("lo:"))
    return int(line.split(":")[1].split()[8])
