"""What outlives the machine, and what it costs: logs and object stores under load, restarts, space, checkpoints.

Systems take turns within one run (a, b, a, b ...), so that ratios hold on a machine that others use too."""
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time

import latency
import loads
import report
import servers

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "integration"))
import radosgw  # noqa: E402

BOUND_S = 1800
LOG = ["--appendonly", "yes"]
OVERWRITTEN, OVERWRITES = 10000, 1000000
RATE = 5000  # SETs a second, by 50 clients
LATENCY_S = 6


def say(text):
    print("%s %s" % (time.strftime("%H:%M:%S"), text), flush=True)


def ask(server, *words):
    """The text of a status, a number or a bulk."""
    with loads.connect(server) as s:
        s.settimeout(60)
        s.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w.encode()) for w in words))
        head = b""
        while not head.endswith(b"\r\n"):
            head += loads.receive(s, 1)
        return head[1:-2].decode() if head[:1] != b"$" else loads.receive(s, int(head[1:]) + 2)[:-2].decode()


def info(server):
    return dict(line.split(":", 1) for line in ask(server, "INFO", "persistence").splitlines() if ":" in line)


def until(condition, what, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError("%s: not within %d s" % (what, seconds))
        time.sleep(0.05)


class Loaded(servers.Server):
    """It has started once it shows a key that it had, and says LOADING no more."""

    def probe(self):
        return b"GET key:000000000000\r\n", b"$64\r\n"


def streamed(server):
    state = info(server)
    return state.get("object_store_enabled") != "1" or (state["object_store_state"] == "streaming" and state["object_store_behind_ms"] == "0")


def checkpoint(server):
    """A checkpoint on the disk, and in the store if there is one, from begin to end."""
    before = info(server)
    until(lambda: ask(server, "BGSAVE").startswith("Background"), "the end of a checkpoint before")

    def over():
        now = info(server)
        if now["rdb_bgsave_in_progress"] != "0":
            return False
        if before.get("object_store_enabled") != "1":
            return True
        return int(now["object_store_checkpoints"]) > int(before["object_store_checkpoints"]) and now["object_store_checkpoint_in_progress"] == "0"
    until(over, "a checkpoint")


# ------------------------------------------------------------------- stores

class Stores:
    """Object stores to be used once each: folders, and prefixes of one bucket."""

    def __init__(self):
        self.root, self.count = tempfile.mkdtemp(prefix="anneal-bench-store-"), 0
        self.gateway = None
        missing = radosgw.missing_programs()
        if missing:
            say("radosgw is left out: there is no %s" % " ".join(missing))
        else:
            self.gateway = radosgw.Gateway().__enter__()
        self.kinds = ["file", "radosgw"] if self.gateway else ["file"]

    def fresh(self, kind):
        """Options of an empty one."""
        self.count += 1
        if kind == "file":
            return ["--object-store", "file://%s/%d" % (self.root, self.count)]
        g = self.gateway
        return ["--object-store", "s3://%s/%d" % (g.bucket, self.count), "--object-store-endpoint", g.endpoint,
                "--object-store-access-key-id", g.access_key, "--object-store-secret-access-key", g.secret_key]

    def close(self):
        if self.gateway:
            self.gateway.__exit__()
        shutil.rmtree(self.root, ignore_errors=True)


# ------------------------------------------------------------------- figures

class Judged(report.Figures):
    """Lines of two systems side by side, with a target for their ratio."""

    def line(self, figure, a, b, least=None, most=None):
        ratio = self.ratio(figure, a, b)
        values = ["%s %s %s" % (s, report.number(statistics.median(self.samples[figure][s])), self.units[figure]) for s in (a, b)]
        text = "%s: %s, ratio %.2f (spread %.2f-%.2f)" % ((figure, ", ".join(values)) + ratio)
        if least is not None:
            text += ", target >= %g: %s" % (least, "ok" if ratio[0] >= least else "MISSED")
        if most is not None:
            text += ", target <= %g: %s" % (most, "ok" if ratio[0] <= most else "MISSED")
        say(text)


def add_load(figures, server, system, ops_of):
    for pipeline, ops in ops_of.items():
        result = loads.measure(server, "set", pipeline, ops)
        for rank, unit in ("ops", "/s"), ("cpu", "us"), ("p50", "ms"), ("p99", "ms"), ("p99.9", "ms"):
            figures.add("SET P%d %s" % (pipeline, rank), unit, system, result[rank])


def compare_loads(rounds, systems, ops_of, pairs, least):
    """Fresh servers each round; `systems` name server and options."""
    figures = Judged()
    for _ in range(rounds):
        for system, (name, options) in systems.items():
            server = servers.Server(name, options=options())
            try:
                add_load(figures, server, system, ops_of)
            finally:
                server.stop()
    for pipeline in ops_of:
        for a, b in pairs:
            figures.line("SET P%d ops" % pipeline, a, b, least=least)
            for rank in "cpu", "p50", "p99", "p99.9":
                figures.line("SET P%d %s" % (pipeline, rank), a, b)


# ------------------------------------------------------------------ measured

def measure_store(rounds, stores):
    say("-- SET, 50 clients, 64-byte values, appendfsync everysec: with an object store, and without")
    systems = {kind: ("anneal", lambda kind=kind: LOG + stores.fresh(kind)) for kind in stores.kinds}
    systems["without"] = ("anneal", lambda: LOG)
    compare_loads(rounds, systems, {1: 200000, 16: 1500000}, [(kind, "without") for kind in stores.kinds], 0.9)


def measure_always(rounds, stores):
    say("-- SET, 50 clients, 64-byte values, appendonly yes, appendfsync always: anneal and redis-server")
    options = LOG + ["--appendfsync", "always"]
    systems = {"anneal": ("anneal", lambda: options), "redis": ("redis", lambda: options)}
    compare_loads(rounds, systems, {1: 30000, 16: 300000}, [("anneal", "redis")], 1.0)


def prepared(name, options, folder, after):
    """A folder, or a store, with a million keys in it."""
    server = servers.Server(name, options=options, folder=folder)
    try:
        loads.fill(server)
        after(server)
    finally:
        server.stop()


def save_and_go_on(server):
    checkpoint(server)
    loads.fill(server, 100000)
    until(lambda: streamed(server), "streaming")


def measure_restart(rounds, stores):
    say("-- from start to the first reply that is not LOADING: 1,000,000 keys of 16 bytes, 64-byte values; -tail: a tenth written again after"
        " the checkpoint")
    figures, ways, folders = Judged(), {}, []

    def way(system, name, options, after, empty):
        folder = tempfile.mkdtemp(prefix="anneal-bench-")
        folders.append(folder)
        prepared(name, options, folder, after)
        ways[system] = (name, options, None if empty else folder)
        say("   %s is prepared" % system)
    try:
        way("redis-rdb", "redis", [], lambda server: ask(server, "SAVE"), False)
        way("local", "anneal", LOG, checkpoint, False)
        way("local-tail", "anneal", LOG, save_and_go_on, False)
        for kind in stores.kinds:
            way(kind + "-tail", "anneal", LOG + stores.fresh(kind), save_and_go_on, True)
        for _ in range(rounds):
            for system, (name, options, folder) in ways.items():
                server = Loaded(name, options=options, folder=folder, patience_s=120)
                try:
                    figures.add("restart", "s", system, server.start_ms / 1e3)
                    figures.add("restart cpu", "s", system, server.cpu_us() / 1e6)
                    size = ask(server, "DBSIZE")
                    if size != "1000000":
                        raise RuntimeError("%s has %s keys" % (system, size))
                finally:
                    server.stop()
    finally:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
    for system in ways:
        if system != "redis-rdb":
            figures.line("restart", system, "redis-rdb", most=1.0 if system.startswith("local") else None)
            figures.line("restart cpu", system, "redis-rdb")


def overwrite(server):
    """Values that do not compress; whatever is asked for is answered +OK."""
    with loads.connect(server) as s:
        s.settimeout(60)
        for first in range(0, OVERWRITES, 1000):
            s.sendall(b"".join(b"*3\r\n$3\r\nSET\r\n$16\r\nkey:%012d\r\n$64\r\n%s\r\n" % ((first + i) * 7919 % OVERWRITTEN, os.urandom(64))
                               for i in range(1000)))
            if loads.receive(s, 5000) != b"+OK\r\n" * 1000:
                raise RuntimeError("a SET is refused")


def usage(folder):
    sizes = [os.path.getsize(os.path.join(path, name)) for path, _, names in os.walk(folder) for name in names]
    return sum(sizes), len(sizes)


def space_line(server, store, what, live, fresh=0):
    """With the bytes of one checkpoint that was just made, it is judged."""
    local, store_ = usage(server.folder), usage(store)
    text = "%s: dir %d bytes in %d files, store %d bytes in %d objects; of live data %.2f and %.2f" % (
        (what,) + local + store_ + (local[0] / live, store_[0] / live))
    if fresh:
        text += "; of one fresh checkpoint %.2f and %.2f, target < 2 of live data: %s" % (
            local[0] / fresh, store_[0] / fresh, "ok" if max(local[0], store_[0]) < 2 * live else "MISSED")
    say(text)


def measure_space(rounds, stores):
    live = OVERWRITTEN * 80
    say("-- %d overwrites of %d keys, values that do not compress; live data: %d bytes" % (OVERWRITES, OVERWRITTEN, live))
    for options in [], ["--auto-aof-rewrite-min-size", "1mb"], ["--object-store-checkpoints", "1"]:
        store = stores.fresh("file")
        path = store[1][len("file://"):]
        server = servers.Server("anneal", options=LOG + store + options)
        try:
            overwrite(server)
            until(lambda: streamed(server), "streaming")
            what = " ".join(options) or "defaults"
            space_line(server, path, "%s, just written" % what, live)
            time.sleep(25)  # the store is looked at every 10 s, and again after 3
            space_line(server, path, "%s, 25 s later" % what, live)
            for count in 1, 2:
                before = int(info(server)["object_store_checkpoint_bytes"])
                checkpoint(server)
                time.sleep(3)  # garbage
                fresh = int(info(server)["object_store_checkpoint_bytes"]) - before
                space_line(server, path, "%s, after %d BGSAVE" % (what, count), live, fresh)
        finally:
            server.stop()


def measure_latency(rounds, stores):
    say("-- SET by 50 clients at %d/s, 1,000,000 keys: replies while BGSAVE after BGSAVE runs, and without" % RATE)
    figures = Judged()
    systems = {"disk": servers.Server("anneal", options=LOG), "store": servers.Server("anneal", options=LOG + stores.fresh("file")),
               "redis": servers.Server("redis", options=LOG)}
    try:
        for server in systems.values():
            loads.fill(server)
            until(lambda: streamed(server), "streaming")
            if server.name == "anneal":
                checkpoint(server)
        for _ in range(rounds):
            for system, server in systems.items():
                for saving in False, True:
                    ranks, saves = latency.measure(server, RATE, LATENCY_S, saving)
                    for rank, ms in ranks.items():
                        figures.add("%s %s" % (system, rank), "ms", "saving" if saving else "quiet", ms)
                    if saving:
                        figures.add("%s BGSAVEs in %d s" % (system, LATENCY_S), "", "saving", saves)
                until(lambda: info(server)["rdb_bgsave_in_progress"] == "0", "the last BGSAVE")
                until(lambda: streamed(server), "streaming")
    finally:
        for server in systems.values():
            server.stop()
    for system in systems:
        for rank in "p50", "p99", "p99.9", "max":
            figures.line("%s %s" % (system, rank), "saving", "quiet")
        quiet, saving = figures.samples[system + " p99.9"]["quiet"], figures.samples[system + " p99.9"]["saving"]
        added = [b - a for a, b in zip(quiet, saving)]
        say("%s: %.2f ms added at p99.9 (spread %.2f-%.2f), %g BGSAVEs a time%s" % (
            system, statistics.median(added), min(added), max(added),
            statistics.median(figures.samples["%s BGSAVEs in %d s" % (system, LATENCY_S)]["saving"]),
            "" if system == "redis" else ", target <= 5: %s" % ("ok" if statistics.median(added) <= 5 else "MISSED")))


PARTS = {"store": measure_store, "always": measure_always, "restart": measure_restart, "space": measure_space, "latency": measure_latency}


def give_up(number, frame):
    raise SystemExit("bench: ended by signal %d" % number)


def main():
    only = [x for x in os.environ.get("ONLY", "").split(",") if x] or list(PARTS)
    unknown = [x for x in only if x not in PARTS]
    if unknown:
        sys.exit("unknown: %s; ONLY=%s" % (" ".join(unknown), ",".join(PARTS)))
    signal.signal(signal.SIGALRM, give_up)
    signal.signal(signal.SIGTERM, give_up)
    signal.alarm(BOUND_S)
    os.sched_setaffinity(0, {int(servers.CLIENT_CPU)})  # loads and S3 servers; the servers that are measured move away
    say("servers on CPU %s, loads and radosgw on CPU %s; cpu is the server's a command; load of the machine before: %.1f %.1f %.1f"
        % ((servers.SERVER_CPU, servers.CLIENT_CPU) + os.getloadavg()))
    stores = Stores()
    try:
        for part in only:
            try:
                PARTS[part](int(os.environ.get("ROUNDS") or 3), stores)
            except Exception as error:  # one that fails does not end the others
                say("FAILED %s: %s" % (part, error))
    finally:
        stores.close()


main()
