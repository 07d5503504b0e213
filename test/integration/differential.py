"""Random commands to anneal and to a real redis-server: the replies must be the same, byte for byte.

    differential.py [COMMANDS] [SEED]

Commands come from grammar.py in batches. Replies whose order is nobody's promise are sorted first.
What hangs on chance (SPOP, SRANDMEMBER, HRANDFIELD, RANDOMKEY) or takes several calls (the SCANs) is
asked between the batches, and judged by what it may say. ACCEPTED lists the differences that are none,
each with its reason; everything else is a bug of ours. The seed of a run is printed, and replays it.
"""
import random
import socket
import sys
import time

from grammar import ALL_KEYS, MAX, Generator
from servers import Cluster

BATCH = 100
UNORDERED = {b"SMEMBERS", b"SINTER", b"SUNION", b"SDIFF", b"HKEYS", b"HVALS", b"KEYS", b"SPOP", b"SRANDMEMBER"}
PAIRED = {b"HGETALL"}
SCANS = {b"SCAN": 1, b"SSCAN": 2, b"HSCAN": 2}  # where the cursor is
TIMES = {b"TTL": 2, b"PTTL": 2000, b"EXPIRETIME": 2, b"PEXPIRETIME": 2000}  # how far the clocks of two processes may be apart


class Error(bytes):
    """So that a value that begins with a minus is none."""

    def __eq__(self, other):
        return isinstance(other, Error) and bytes(self) == bytes(other)

    __hash__ = bytes.__hash__


class Connection:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        self.file = self.socket.makefile("rb", 1 << 20)

    def send(self, commands):
        self.socket.sendall(b"".join(b"*%d\r\n" % len(c) + b"".join(b"$%d\r\n%s\r\n" % (len(a), a) for a in c) for c in commands))

    def reply(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise EOFError("the connection was closed")
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self.reply() for _ in range(int(rest))]
        return Error(rest) if kind == b"-" else line[:-2]

    def ask(self, *command):
        self.send([command])
        return self.reply()


def key_of(item):
    return repr(item)


def pairs(reply):
    return sorted(zip(reply[::2], reply[1::2]), key=key_of)


def normal(command, reply):
    name = command[0].upper()
    if not isinstance(reply, list):
        return reply
    if name in SCANS:
        return [reply[0], pairs(reply[1]) if name == b"HSCAN" else sorted(reply[1], key=key_of)]
    if name in PAIRED or (name == b"HRANDFIELD" and len(command) == 4):
        return pairs(reply)
    if name in UNORDERED or name == b"HRANDFIELD":
        return sorted(reply, key=key_of)
    return reply


# ------------------------------------------------------------------- what may differ

def is_error(*replies):
    return all(isinstance(r, Error) for r in replies)


def none_is_error(*replies):
    return not any(isinstance(r, Error) for r in replies)


def floats(ours, theirs):
    return abs(float(ours) - float(theirs)) <= 1e-6 * max(1, abs(float(theirs)))


def times_are_near(c, a, b):
    return c[0] in TIMES and none_is_error(a, b) and int(a[1:]) > 0 < int(b[1:]) and abs(int(a[1:]) - int(b[1:])) <= TIMES[c[0]]


def named(c, reply):
    """What was found, without the empty name."""
    found = reply[1] if c[0] in SCANS else reply
    return [f for f in found if (f[0] if isinstance(f, tuple) else f) != b""]


# reason, whether the states may differ from there on, and when it holds of (command, ours, theirs)
ACCEPTED = [
    ("two clocks", False, times_are_near),
    ("stars match the empty name too here", False,
     lambda c, a, b: (c[0] == b"KEYS" or c[0] in SCANS) and none_is_error(a, b) and any(set(w) == {42} for w in c if len(w) > 1) and named(c, a) == named(c, b)),
    ("bytes beyond 127 are in order here, negative there (on x86)", False,
     lambda c, a, b: (c[0] == b"KEYS" or c[0] in SCANS) and none_is_error(a, b) and any(b"[" in w and b"-" in w and b"\xff" in w for w in c)),
    ("a scan that is not over after one call", False,
     lambda c, a, b: c[0] in SCANS and none_is_error(a, b) and (a[0] != b"0" or b[0] != b"0")),
    ("sets and hashes have one encoding here", False,
     lambda c, a, b: c[:2] == [b"OBJECT", b"ENCODING"] and a == b"hashtable" and b in (b"listpack", b"intset")),
    ("a string's encoding goes by its value here, by its history there", False,
     lambda c, a, b: c[:2] == [b"OBJECT", b"ENCODING"] and {a, b} <= {b"int", b"embstr", b"raw"}),
    ("small numbers are one shared object there", False,
     lambda c, a, b: c[:2] == [b"OBJECT", b"REFCOUNT"] and a == b":1" and b == b":2147483647"),
    ("when a key was accessed is not kept here", False,
     lambda c, a, b: c[:2] == [b"OBJECT", b"IDLETIME"] and is_error(a) and b"does not track" in a and none_is_error(b)),
    ("how much of an unknown command is quoted", False,
     lambda c, a, b: is_error(a, b) and b"args beginning with" in a and a.split()[:2] == b.split()[:2]),
    ("subcommands are not looked at by GETKEYS here", False,
     lambda c, a, b: c[0] == b"COMMAND" and c[1] == b"GETKEYS" and c[2].upper() == b"OBJECT" and is_error(b)),
    ("a cursor that no scan gave", False, lambda c, a, b: c[0] in SCANS and none_is_error(a, b) and c[SCANS[c[0]]].strip(b"0")),
    ("a cursor may not hold a zero byte here", False, lambda c, a, b: c[0] in SCANS and a == Error(b"ERR invalid cursor") and b"\0" in c[SCANS[c[0]]]),
    ("the last millisecond of 64 bits is no expiry here", True,
     lambda c, a, b: is_error(a) and b"invalid expire time" in a and none_is_error(b) and MAX in c),
    ("what is beyond long double is no number there", False,
     lambda c, a, b: is_error(a, b) and b"would produce NaN or Infinity" in a and b.endswith((b"is not a valid float", b"is not a float"))),
    ("exact decimals here, long double there", True,
     lambda c, a, b: c[0] in (b"INCRBYFLOAT", b"HINCRBYFLOAT") and none_is_error(a, b) and floats(a, b)),
    ("counters reach to 1.7e21 here", True,
     lambda c, a, b: c[0] in (b"INCRBYFLOAT", b"HINCRBYFLOAT") and is_error(a) and none_is_error(b) and abs(float(b)) > 1e20),
]


def accepted(command, ours, theirs):
    """(reason, whether the states may differ now), or None."""
    folded = [a.upper() for a in command[:2]] + command[2:]
    return next(((why, apart) for why, apart, holds in ACCEPTED if holds(folded, ours, theirs)), None)


# ------------------------------------------------------- what hangs on chance, or goes on

class Difference(Exception):
    pass


def must(condition, *what):
    if not condition:
        raise Difference(what)


def repeats(r, key, command, ours, theirs, population):
    """SRANDMEMBER, HRANDFIELD: as many as asked for, of those there, without repeats unless asked for."""
    count = r.choice([1, 2, 3, 5, 100, -1, -3, -20])
    ask = [command, key, b"%d" % count]
    a, b = ours.ask(*ask), theirs.ask(*ask)
    if is_error(b):
        must(a == b, ask, a, b)
    else:
        must(len(a) == len(b) and set(a) <= population and (count < 0 or len(set(a)) == len(a)), ask, a, b)


def check_random_members(r, ours, theirs):
    key = r.choice(ALL_KEYS)
    for command, listing in ((b"SRANDMEMBER", b"SMEMBERS"), (b"HRANDFIELD", b"HKEYS")):
        there = theirs.ask(listing, key)
        a, b = ours.ask(command, key), theirs.ask(command, key)
        must((a == b) if is_error(b) or b is None else a in there, command, key, a, b)
        repeats(r, key, command, ours, theirs, set() if is_error(there) else set(there))


def check_random_values(r, ours, theirs):
    key, count = r.choice(ALL_KEYS), r.choice([b"2", b"100", b"-9"])
    there, a = theirs.ask(b"HGETALL", key), ours.ask(b"HRANDFIELD", key, count, b"WITHVALUES")
    b = theirs.ask(b"HRANDFIELD", key, count, b"WITHVALUES")
    must((a == b) if is_error(b) else len(a) == len(b) and set(pairs(a)) <= set(pairs(there)), b"HRANDFIELD WITHVALUES", key, a, b)


def check_random_key(r, ours, theirs):
    key = ours.ask(b"RANDOMKEY")
    must((theirs.ask(b"DBSIZE") == b":0") if key is None else theirs.ask(b"EXISTS", key) == b":1", b"RANDOMKEY", key)


def check_pop(r, ours, theirs):
    """From a copy, so that what was popped does not show in what follows."""
    key, pop = r.choice(ALL_KEYS), [b"SPOP", b"popped"] + r.choice([[], [b"1"], [b"2"], [b"5"], [b"100"]])
    for server in (ours, theirs):
        server.ask(b"COPY", key, b"popped", b"REPLACE")
    before, a, b = theirs.ask(b"SMEMBERS", b"popped"), ours.ask(*pop), theirs.ask(*pop)
    left = ours.ask(b"SMEMBERS", b"popped")
    if is_error(b) or b is None or not before:
        must(a == b, pop, key, a, b)
    else:
        gone = [a] if len(pop) == 2 else a
        must(len(gone) == (1 if len(pop) == 2 else len(b)) and sorted(gone + left) == sorted(before), pop, key, before, a, left)
    for server in (ours, theirs):
        server.ask(b"DEL", b"popped")


def scan_all(server, head, tail):
    found, cursor = [], b"0"
    for _ in range(100000):
        cursor, page = server.ask(*head, cursor, *tail)
        found += page
        if cursor == b"0":
            return found
    raise Difference(("a scan without an end", head, tail))


def check_scans(r, ours, theirs):
    """Nothing changes meanwhile: each is found, and here exactly once."""
    tail = [b"COUNT", r.choice([b"1", b"2", b"7", b"100"])]
    must(sorted(scan_all(ours, [b"SCAN"], tail)) == sorted(theirs.ask(b"KEYS", b"*")), b"SCAN", tail)
    key = r.choice(ALL_KEYS)
    for scan, listing in ((b"SSCAN", b"SMEMBERS"), (b"HSCAN", b"HGETALL")):
        there = theirs.ask(listing, key)
        if not is_error(there):
            found = scan_all(ours, [scan, key], tail)
            must(sorted(found) == sorted(there), scan, key, tail, found, there)


CHECKS = [check_random_members, check_random_values, check_random_key, check_pop, check_scans]


# ------------------------------------------------------------------------------- runs

def start_over(batch, at, *connections):
    """The states differ from here on, for a reason: let the batch pass and begin again."""
    for c in connections:
        for _ in batch[at + 1:]:
            c.reply()
        must(c.ask(b"FLUSHALL") == b"+OK", b"FLUSHALL")


def compare(batch, ours, theirs, tally, allowed):
    """How many replies were compared."""
    ours.send(batch)
    theirs.send(batch)
    for i, command in enumerate(batch):
        a, b = normal(command, ours.reply()), normal(command, theirs.reply())
        tally[command[0].upper()] = tally.get(command[0].upper(), 0) + 1
        if a == b:
            continue
        excuse = accepted(command, a, b)
        must(excuse, command, a, b, "after", batch[max(0, i - 6):i])
        why, apart = excuse
        allowed[why] = allowed.get(why, 0) + 1
        if apart:
            start_over(batch, i, ours, theirs)
            return i + 1
    return len(batch)


def explain(seed, done, difference):
    print(f"seed {seed}, after {done} commands:")
    for label, value in zip(("command", "anneal", "redis"), difference.args[0]):
        print(f"  {label:8}{value}")
    for value in difference.args[0][3:]:
        print("         ", *(value if isinstance(value, list) else [value]), sep="\n    ")


def run(count, seed):
    r = random.Random(seed)
    generator, tally, allowed, done = Generator(r), {}, {}, 0
    with Cluster(1, redis=True) as cluster:
        ours, theirs = Connection(cluster.ports[0]), Connection(cluster.redis.port)
        started, shown = time.monotonic(), 0.0
        try:
            while done < count:
                done += compare([generator.command() for _ in range(BATCH)], ours, theirs, tally, allowed)
                r.choice(CHECKS)(r, ours, theirs)
                if sys.stdout.isatty() and time.monotonic() - shown > 1:
                    shown = time.monotonic()
                    print(f"\r{done} of {count}", end="", flush=True)
        except Difference as difference:
            explain(seed, done, difference)
            return False
    print(f"{done} commands compared, of {len(tally)} names, seed {seed}, {time.monotonic() - started:.0f} s; accepted:")
    for why, n in sorted(allowed.items(), key=lambda item: -item[1]):
        print(f"{n:10}  {why}")
    return True


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 100000
    sys.exit(0 if run(number, int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(1 << 32)) else 1)
