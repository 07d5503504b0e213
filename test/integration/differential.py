"""Random commands to anneal and to a real redis-server: the replies must be the same, byte for byte.

    differential.py [COMMANDS] [SEED]

Replies whose order is nobody's promise are sorted first. Accepted differences, each with its reason,
are in ACCEPTED; everything else is a bug of ours. The seed of a run is printed.
"""
import itertools
import random
import socket
import sys
import time

from servers import Cluster

BATCH = 100
KEYS = [b"k%d" % i for i in range(12)] + [b"{t}a", b"{t}b", b"bin\x00\xff\r\n", b""]
MEMBERS = [b"m%d" % i for i in range(8)] + [b"", b"\x00\x01", b"7"]
NUMBERS = [b"0", b"1", b"-1", b"3", b"10", b"-7", b"100", b"9223372036854775807", b"-9223372036854775808", b"9223372036854775808",
           b"+1", b"01", b" 1", b"1.5", b"abc", b"", b"-0"]
FLOATS = [b"0.5", b"-1.25", b"3", b"0.1", b"1e3", b"-2.5e-3", b"x", b"", b"100"]
VALUES = MEMBERS + NUMBERS + [b"x" * 44, b"x" * 45, b"ohmytext", b"mynewtext", b"hello world"]
UNORDERED = {b"SMEMBERS", b"SINTER", b"SUNION", b"SDIFF", b"HKEYS", b"HVALS", b"KEYS", b"SSCAN", b"SCAN", b"COMMAND"}
PAIRED = {b"HGETALL", b"HSCAN"}
FAR = [b"100000", b"5000000"]


def forms(r):
    k, m, n, v, f = (lambda: r.choice(KEYS)), (lambda: r.choice(MEMBERS)), (lambda: r.choice(NUMBERS)), (lambda: r.choice(VALUES)), \
        (lambda: r.choice(FLOATS))
    some = lambda what, most=4: [what() for _ in range(r.randint(1, most))]
    pairs = lambda what: [x for _ in range(r.randint(1, 3)) for x in (what(), v())]
    expiry = lambda: r.choice([[], [], [b"EX", r.choice(FAR + NUMBERS[:2])], [b"PX", b"90000000"], [b"EXAT", b"9999999999"], [b"PXAT", b"9999999999999"],
                               [b"KEEPTTL"], [b"PERSIST"]])
    times = itertools.count(1000000, 1000)
    later = lambda: b"%d" % next(times)  # never equal ones: GT and LT would hang on the millisecond
    return [
        lambda: [b"GET", k()], lambda: [b"SET", k(), v()] + r.choice([[], [], [b"NX"], [b"XX"], [b"GET"], [b"XX", b"GET"], [b"NX", b"XX"], [b"zz"]]) + expiry(),
        lambda: [b"SETEX", k(), r.choice(FAR + NUMBERS[:3]), v()], lambda: [b"PSETEX", k(), b"99999999", v()], lambda: [b"SETNX", k(), v()],
        lambda: [b"GETSET", k(), v()], lambda: [b"GETDEL", k()], lambda: [b"GETEX", k()] + expiry(), lambda: [b"MGET"] + some(k),
        lambda: [b"MSET"] + pairs(k), lambda: [b"MSETNX"] + pairs(k), lambda: [b"MSET", k()], lambda: [b"APPEND", k(), v()], lambda: [b"STRLEN", k()],
        lambda: [b"GETRANGE", k(), n(), n()], lambda: [b"SUBSTR", k(), n(), n()], lambda: [b"SETRANGE", k(), r.choice([b"0", b"3", b"10", b"-1", b"x", b"99999999999"]), v()],
        lambda: [b"INCR", k()], lambda: [b"DECR", k()], lambda: [b"INCRBY", k(), n()], lambda: [b"DECRBY", k(), n()], lambda: [b"INCRBYFLOAT", k(), f()],
        lambda: [b"LCS", k(), k()] + r.choice([[], [b"LEN"], [b"IDX"], [b"IDX", b"WITHMATCHLEN"], [b"IDX", b"MINMATCHLEN", b"2"], [b"LEN", b"IDX"], [b"x"]]),
        lambda: [b"SADD", k()] + some(m), lambda: [b"SREM", k()] + some(m), lambda: [b"SMEMBERS", k()], lambda: [b"SISMEMBER", k(), m()],
        lambda: [b"SMISMEMBER", k()] + some(m), lambda: [b"SCARD", k()], lambda: [b"SMOVE", k(), k(), m()],
        lambda: [b"SINTER"] + some(k, 3), lambda: [b"SUNION"] + some(k, 3), lambda: [b"SDIFF"] + some(k, 3), lambda: [b"SINTERSTORE", k()] + some(k, 3),
        lambda: [b"SUNIONSTORE", k()] + some(k, 3), lambda: [b"SDIFFSTORE", k()] + some(k, 3),
        lambda: [b"SINTERCARD", r.choice([b"1", b"2", b"0", b"9", b"x"]), k(), k()] + r.choice([[], [b"LIMIT", b"1"], [b"LIMIT", b"-1"], [b"LIMIT"]]),
        lambda: [b"SSCAN", k(), b"0", b"COUNT", b"1000"] + r.choice([[], [b"MATCH", b"m*"], [b"MATCH"], [b"COUNT", b"0"]]),
        lambda: [b"SPOP", k(), r.choice([b"0", b"1000", b"-1", b"x"])], lambda: [b"SRANDMEMBER", k(), r.choice([b"0", b"x"])],
        lambda: [b"HSET", k()] + pairs(m), lambda: [b"HSET", k(), m()], lambda: [b"HMSET", k()] + pairs(m), lambda: [b"HSETNX", k(), m(), v()],
        lambda: [b"HGET", k(), m()], lambda: [b"HMGET", k()] + some(m), lambda: [b"HDEL", k()] + some(m), lambda: [b"HGETALL", k()], lambda: [b"HKEYS", k()],
        lambda: [b"HVALS", k()], lambda: [b"HLEN", k()], lambda: [b"HEXISTS", k(), m()], lambda: [b"HSTRLEN", k(), m()], lambda: [b"HINCRBY", k(), m(), n()],
        lambda: [b"HINCRBYFLOAT", k(), m(), f()], lambda: [b"HRANDFIELD", k(), r.choice([b"0", b"x"])], lambda: [b"HSCAN", k(), b"0", b"COUNT", b"1000"],
        lambda: [b"DEL"] + some(k, 3), lambda: [b"UNLINK"] + some(k, 2), lambda: [b"EXISTS"] + some(k), lambda: [b"TYPE", k()], lambda: [b"TOUCH"] + some(k),
        lambda: [b"KEYS", r.choice([b"*", b"k?", b"k[1-3]", b"k[^1]", b"\\k1", b"{t}*", b"k1*"])], lambda: [b"SCAN", b"0", b"COUNT", b"100000"] + r.choice([[], [b"TYPE", b"set"], [b"MATCH", b"k1*"], [b"TYPE"]]),
        lambda: [b"RENAME", k(), k()], lambda: [b"RENAMENX", k(), k()], lambda: [b"COPY", k(), k()] + r.choice([[], [b"REPLACE"], [b"x"]]),
        lambda: [r.choice([b"EXPIRE", b"PEXPIRE"]), k(), r.choice([later(), later(), b"-1", b"x", b"9223372036854775807"])] + r.choice([[], [b"NX"], [b"XX"], [b"GT"], [b"LT"], [b"NX", b"XX"], [b"GT", b"LT"], [b"y"]]),
        lambda: [b"EXPIREAT", k(), r.choice([b"9999999999", b"1", b"x"])], lambda: [b"PEXPIREAT", k(), b"9999999999999"],
        lambda: [b"EXPIRETIME", k()] if r.random() < .0 else [b"PERSIST", k()], lambda: [b"DBSIZE"], lambda: [b"OBJECT", b"REFCOUNT", b"nokey"],
        lambda: [b"PING"] + r.choice([[], [v()], [v(), v()]]), lambda: [b"ECHO", v()], lambda: [b"SELECT", r.choice([b"0", b"x"])],
        lambda: [r.choice([b"GET", b"SET", b"HSET", b"SADD", b"MSET", b"LCS", b"OBJECT", b"CLIENT", b"EXPIRE"])], lambda: [b"NOSUCH", v(), v()],
        lambda: [b"FLUSHALL"] if r.random() < .03 else [b"DBSIZE"], lambda: [b"OBJECT", b"nosuch", k()],
    ]


def encode(command):
    return b"*%d\r\n" % len(command) + b"".join(b"$%d\r\n%s\r\n" % (len(a), a) for a in command)


class Connection:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        self.file = self.socket.makefile("rb", 1 << 20)

    def send(self, commands):
        self.socket.sendall(b"".join(map(encode, commands)))

    def reply(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise EOFError("the connection was closed")
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self.reply() for _ in range(int(rest))]
        return Error(line[1:-2]) if kind == b"-" else line[:-2]


class Error(bytes):
    """So that a value that begins with a minus is none."""

    def __eq__(self, other):
        return isinstance(other, Error) and bytes(self) == bytes(other)

    __hash__ = bytes.__hash__


def key_of(item):
    return repr(item)


def normal(command, reply):
    name = command[0].upper()
    if not isinstance(reply, list):
        return reply
    if name in (b"SCAN", b"SSCAN") and len(reply) == 2:
        return [reply[0], sorted(reply[1], key=key_of)]
    if name == b"HSCAN" and len(reply) == 2:
        reply = reply[1]
    if name in PAIRED:
        return sorted(zip(reply[::2], reply[1::2]), key=key_of)
    if name in UNORDERED or name == b"SPOP":
        return sorted(reply, key=key_of)
    return reply


def is_error(reply):
    return isinstance(reply, Error)


def accepted(command, ours, theirs):
    """Why a difference is none, or None."""
    name = command[0].upper()
    if is_error(ours) and is_error(theirs) and ours.split()[:2] == theirs.split()[:2] and b"args beginning with" in ours:
        return "how much of an unknown command is quoted"
    if name in (b"INCRBYFLOAT", b"HINCRBYFLOAT") and not is_error(ours) and not is_error(theirs):
        if abs(float(ours) - float(theirs)) <= 1e-6 * max(1, abs(float(theirs))):
            return "exact decimals here, long double there"
    if name in (b"INCRBYFLOAT", b"HINCRBYFLOAT") and is_error(ours) and not is_error(theirs) and abs(float(theirs)) > 1e20:
        return "counters reach to 1.7e21 here"
    return None


def drain(batch, at, *connections):
    """The states differ from here on, for a reason: let the batch pass and start over."""
    for c in connections:
        for _ in batch[at + 1:]:
            c.reply()
        c.send([[b"FLUSHALL"]])
        c.reply()


def run(count, seed):
    r = random.Random(seed)
    make = forms(r)
    tally, allowed = {}, {}
    with Cluster(1, redis=True) as cluster:
        ours, theirs = Connection(cluster.ports[0]), Connection(cluster.redis.port)
        done, started, shown = 0, time.monotonic(), 0.0
        while done < count:
            batch = [r.choice(make)() for _ in range(BATCH)]
            ours.send(batch)
            theirs.send(batch)
            for i, command in enumerate(batch):
                a, b = normal(command, ours.reply()), normal(command, theirs.reply())
                tally[command[0]] = tally.get(command[0], 0) + 1
                if a == b:
                    continue
                why = accepted(command, a, b)
                if not why:
                    print(f"seed {seed}, command {done + i}: {command}\n  anneal {a}\n  redis  {b}")
                    for before in batch[max(0, i - 6):i]:
                        print("  after", before)
                    return False
                allowed[why] = allowed.get(why, 0) + 1
                drain(batch, i, ours, theirs)
                break
            done += BATCH
            if sys.stdout.isatty() and time.monotonic() - shown > 1:
                shown = time.monotonic()
                print(f"\r{done} of {count}", end="", flush=True)
    print(f"{done} commands of {len(tally)} kinds, seed {seed}, {time.monotonic() - started:.0f} s: no difference but "
          + (", ".join(f"{n} times {why}" for why, n in allowed.items()) or "none"))
    return True


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 100000
    sys.exit(0 if run(number, int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(1 << 32)) else 1)
