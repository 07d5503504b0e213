"""Compares servers in one run, in rounds (A B C A B C ...): bench.py, with ROUNDS, ONLY and PEERS from make."""
import os
import signal
import statistics
import sys
import time

import loads
import report
import servers

ONLY = ["set", "get", "mix", "incr", "hset", "sadd", "ttl", "memory", "counters", "start", "replication"]
OPS = {1: 60000, 16: 500000}
RESULTS = "test/bench/results"
BOUND_S = 1500  # a run that takes longer has hung
NOTES = [
    "servers pinned to CPU %s, load generators to CPU %s, everything on loopback" % (servers.SERVER_CPU,
                                                                                    servers.CLIENT_CPU),
    "64-byte values, 16-byte keys, 1,000,000 of them, 50 clients; cpu is user and system time of the server a command",
    "servers have one thread for clients; RESP is driven by redis-benchmark, latencies are its own",
    "memcached is driven by a Python client with ready batches of set, mg (meta get) and incr: its cpu compares,"
    " its ops/s and latencies are bounded by that client",
    "mix: 80 % GET and 20 % SET, by two load generators side by side; its latencies are those of the GETs",
    "replication: 3 nodes (anneal), a primary with 1 and 2 asynchronous replicas (redis); cpu of the node that"
    " the clients use, and of one of the others (receiver)",
    "wire: bytes sent on lo a SET, less those of the same load on a lone server; TCP and IP headers count,"
    " and any other traffic on lo",
    "seen: the time from a write's ack from which on half (99 %) of the GETs sent elsewhere show it, at 500 writes/s",
    "seen busy: the same while another client writes so much, 20 SETs each millisecond",
    "lag: from the last ack of 100,000 pipelined SETs until DBSIZE elsewhere counts all",
    "spread: least and greatest ratio within one round",
]


def progress(text):
    print("%s %s" % (time.strftime("%H:%M:%S"), text), file=sys.stderr, flush=True)


def start_and_fill(figures, name, only):
    server = servers.Server(name)
    try:
        if "start" in only:
            figures.add("start", "ms", name, server.start_ms)
        empty = server.rss()
        loads.fill(server)
        if "memory" in only:
            figures.add("memory", "B/key", name, (server.rss() - empty) / loads.KEYS)
        if "incr" in only:
            loads.fill(server, prefix="ctr:", value="0")  # memcached's incr makes no keys
        return server
    except BaseException:
        server.stop()
        raise


def measure_commands(figures, server, only):
    able = loads.MEMCACHE if server.protocol == "memcache" else [*loads.RESP, "mix"]
    for op in [op for op in able if op in only]:
        for pipeline, ops in OPS.items():
            result = loads.measure(server, op, pipeline, ops)
            figure = "%s P%d " % (op.upper(), pipeline)
            figures.add(figure + "cpu", "us", server.name, result["cpu"])
            figures.add(figure + "ops", "/s", server.name, result["ops"])
            for rank in ("p50", "p99", "p99.9"):
                figures.add(figure + rank, "ms", server.name, result[rank])


def measure_ttl(figures, name):
    """GET where every key has a TTL, beside GET where none has, on fresh servers."""
    for ttl_s, what in (0, "without"), (100000, "with"):
        server = servers.Server(name)
        try:
            empty = server.rss()
            loads.fill(server, ttl_s=ttl_s)
            if ttl_s:
                figures.add("memory with TTLs", "B/key", name, (server.rss() - empty) / loads.KEYS)
            for pipeline, ops in OPS.items():
                result = loads.measure(server, "get", pipeline, ops)
                figures.add("GET P%d %s TTLs cpu" % (pipeline, what), "us", name, result["cpu"])
        finally:
            server.stop()


def measure_counters(figures, name):
    server = servers.Server(name)
    try:
        empty = server.rss()
        loads.fill_counters(server)
        figures.add("memory of counters", "B/key", name, (server.rss() - empty) / loads.KEYS)
    finally:
        server.stop()


def measure_alone(figures, peers, only):
    """Each server alone on its CPU, started and filled anew in every round."""
    for name in peers:
        progress("  %s" % name)
        server = start_and_fill(figures, name, only)
        try:
            measure_commands(figures, server, only)
        finally:
            server.stop()
        if "ttl" in only and server.protocol == "resp":
            measure_ttl(figures, name)
        if "counters" in only and server.protocol == "resp":
            measure_counters(figures, name)


def replicated_load(figures, system, group, op, pipeline, ops):
    """Bytes on lo, and CPU of the node that is written to and of all others, until they have come to rest."""
    figure = "replicated %s P%d " % (op.upper(), pipeline)
    wire, cpu = loads.lo_bytes(), [s.cpu_us() for s in group]
    loads.measure(group[0], op, pipeline, ops)
    time.sleep(0.3)
    spent = [(s.cpu_us() - before) / ops for s, before in zip(group, cpu)]
    figures.add(figure + "wire", "B", system, (loads.lo_bytes() - wire) / ops)
    figures.add(figure + "cpu", "us", system, spent[0])
    if group[1:] and op == "set":
        figures.add(figure + "receiver cpu", "us", system, statistics.mean(spent[1:]))


def await_link(group):
    """Until a write on the first node shows on each other one."""
    with loads.connect(group[0]) as a:
        a.sendall(b"SET link up\r\n")
        loads.receive(a, 5)
    for server in group[1:]:
        with loads.connect(server) as b:
            loads.await_size(b, 1)


def add_seen(figures, system, figure, seen):
    for share, rank in (.5, "p50"), (.99, "p99"):
        at_us = loads.rank_us(seen, share)
        if at_us is None:
            raise RuntimeError("%s: writes are not seen in time" % system)
        figures.add(figure + rank, "us", system, at_us)


def measure_lag(figures, system, group):
    add_seen(figures, system, "seen ", loads.glimpses(group[0], group[-1], count=3000, span_us=4000))
    with loads.writing(group[0], 20000):
        add_seen(figures, system, "seen busy ", loads.glimpses(group[0], group[-1], count=3000, span_us=8000))
    figures.add("lag", "ms", system, loads.lag_ms(group[0], group[-1], "bst:"))


def measure_group(figures, kind, nodes):
    group, system = [], "%s x%d" % (kind, nodes)
    progress("  %s" % system)
    try:
        for _ in range(nodes):
            group.append(servers.Server(kind, [s.port for s in (group if kind == "anneal" else group[:1])]))
        await_link(group)
        loads.fill(group[0])
        for op in "set", "get":
            for pipeline, ops in OPS.items():
                replicated_load(figures, system, group, op, pipeline, ops)
        if nodes > 1:
            measure_lag(figures, system, group)
    finally:
        for server in group:
            server.stop()


def less_lone(figures):
    """Takes the clients' bytes, known from the lone server, off those of a group."""
    for figure in [f for f in figures.samples if f.endswith(" wire")]:
        systems = figures.samples[figure]
        for system in [s for s in systems if not s.endswith(" x1")]:
            lone = systems.get(system.split()[0] + " x1", [])
            systems[system] = [a - b for a, b in zip(systems[system], lone)]
        for system in [s for s in systems if s.endswith(" x1") or not systems[s]]:
            del systems[system]


def options():
    only = [x for x in os.environ.get("ONLY", "").split(",") if x] or ONLY
    peers = [x for x in os.environ.get("PEERS", "").split(",") if x] or ["redis", "valkey", "memcached"]
    unknown = [x for x in only if x not in ONLY] + [x for x in peers if x not in servers.TABLE]
    if unknown:
        sys.exit("unknown: %s; ONLY=%s PEERS=%s" % (" ".join(unknown), ",".join(ONLY), ",".join(servers.TABLE)))
    base = [] if "redis-again" in peers else ["anneal"]  # PEERS=redis,redis-again shows the noise
    names = list(dict.fromkeys(base + peers))
    for name in [n for n in names if not servers.find(n)]:
        progress("%s is not on this machine: left out" % name)
    return int(os.environ.get("ROUNDS") or 3), only, [n for n in names if servers.find(n)]


def give_up(number, frame):
    raise SystemExit("bench: ended by signal %d" % number)


def attempt(figures, system, step, *arguments):
    """A server that fails is a note in the report, never the end of the others' run."""
    try:
        step(figures, *arguments)
    except Exception as error:
        progress("  FAILED %s: %s" % (system, error))
        figures.notes.append("FAILED %s: %s" % (system, error))


def main():
    rounds, only, peers = options()
    signal.signal(signal.SIGALRM, give_up)
    signal.signal(signal.SIGTERM, give_up)
    signal.alarm(BOUND_S)
    figures = report.Figures()
    figures.notes += NOTES + ["load of the machine before the run: %.1f %.1f %.1f" % os.getloadavg()]
    groups = [("anneal", 3), ("anneal", 1), ("redis", 1), ("redis", 2), ("redis", 3)]
    for number in range(rounds):
        progress("round %d of %d" % (number + 1, rounds))
        for name in peers:
            attempt(figures, name, measure_alone, [name], only)
        for kind, nodes in groups if "replication" in only else []:
            if kind in peers:
                attempt(figures, "%s x%d" % (kind, nodes), measure_group, kind, nodes)
    less_lone(figures)
    report.write(figures, RESULTS)
    with open(RESULTS + "/report.txt") as f:
        print(f.read())
    print("this table, figures.json and a plot a figure (SVG) are in " + RESULTS)


main()
