"""Random commands: right ones by a grammar, and ones that a mutation made wrong.

A line of GRAMMAR is one command. Words in capitals are said as they are, those in small letters are
taken from a pool; `x+` is one to four of x, and `[a|b c]` none to three of the alternatives.
Three of four keys come from those of a type of their own, so that most commands find what they are for.
"""
from itertools import count

KEYS = {
    "ks": [b"s0", b"s1", b"s2", b"{t}s"],
    "km": [b"m0", b"m1", b"m2", b"{t}m"],
    "kh": [b"h0", b"h1", b"h2", b"{t}h"],
    "k": [b"bin\x00\xff\r\n", b"", b"k*", b"none"],
}
ALL_KEYS = [k for group in KEYS.values() for k in group]
MAX, MIN = b"9223372036854775807", b"-9223372036854775808"
NUMBERS = [b"0", b"1", b"-1", b"2", b"3", b"10", b"-7", b"100", MAX, MIN, b"9223372036854775808", b"+1", b"01", b" 1", b"1 ", b"1.5", b"abc",
           b"", b"-0", b"-", b"-01", b"1\x00"]
MEMBERS = [b"a", b"b", b"c", b"d", b"e", b"f", b"", b"\x00\x01", b"7", b"-7", b"07"]
VALUES = MEMBERS + NUMBERS + [b"x" * 44, b"x" * 45, b"ohmytext", b"mynewtext", b"hello world", b"\xff\r\n\x00", b"0.1", b"1e2", b"abab" * 8]
POOLS = {
    "m": MEMBERS,
    "v": VALUES,
    "n": NUMBERS,
    "f": [b"0.5", b"-1.25", b"3", b"0.1", b"1e3", b"-2.5e-3", b"x", b"", b"100", b"inf", b"-inf", b"nan", b" 1", b"1 ", b"1e", b"1e400", b"+2", b".5",
          b"5.", b"-", b"1\x00"],
    "sec": [b"100000", b"5000000", b"100000", b"5000000", b"0", b"-1", b"x", b"", MAX, b"9223372036854775"],
    "at": [b"9999999999", b"8888888888", b"0", b"-1", b"x", b"9223372036854775808"],
    "atms": [b"9999999999999", b"8888888888888", b"0", b"-1", b"x", b"9223372036854775808"],
    "off": [b"0", b"1", b"3", b"10", b"70", b"-1", b"x", b"99999999999", b"536870912", MAX],
    "all": [b"0", b"1000", b"-1", b"x", b"", MAX, MIN],  # counts that leave nothing to chance
    "many": [b"1000"],
    "two": [b"2", b"2", b"2", b"1", b"3", b"0", b"-1", b"x", MAX],
    "lim": [b"0", b"1", b"2", b"100", b"-1", b"x"],
    "cur": [b"0", b"0", b"0", b"0", b"x", b"0x", b" 0", b"18446744073709551616"],
    "type": [b"string", b"set", b"hash", b"zset", b"SET", b"no"],
    "db": [b"0", b"0", b"x"],
    "junk": [b"", b"x", b"0", b"-1", MAX, b"NX", b"XX", b"GET", b"EX", b"LIMIT", b"COUNT", b"MATCH", b"\x00\r\n", b"WITHVALUES", b"REPLACE"],
}
SET_OPTIONS = "EX sec|PX sec|EXAT at|PXAT atms"
GRAMMAR = f"""
GET ks
SET ks v [NX|XX|GET|KEEPTTL|{SET_OPTIONS}]
SET ks v
SETNX ks v
SETEX ks sec v
PSETEX ks sec v
GETSET ks v
GETDEL ks
GETEX ks [PERSIST|KEEPTTL|{SET_OPTIONS}]
MGET ks+
MSET ks v ks v
MSET ks v
MSETNX ks v ks v
APPEND ks v
STRLEN ks
INCR ks
DECR ks
INCRBY ks n
DECRBY ks n
INCRBYFLOAT ks f
GETRANGE ks n n
SUBSTR ks n n
SETRANGE ks off v
LCS ks ks [LEN|IDX|WITHMATCHLEN|MINMATCHLEN n]
SADD km m+
SADD km m+
SREM km m+
SMEMBERS km
SISMEMBER km m
SMISMEMBER km m+
SCARD km
SMOVE km km m
SPOP km all
SRANDMEMBER km all
SINTER km+
SUNION km+
SDIFF km+
SINTERSTORE km km+
SUNIONSTORE km km+
SDIFFSTORE km km+
SINTERCARD two km km [LIMIT lim]
SSCAN km cur COUNT many [MATCH glob|COUNT n]
HSET kh m v m v
HSET kh m v
HMSET kh m v m v
HSETNX kh m v
HGET kh m
HMGET kh m+
HDEL kh m+
HGETALL kh
HKEYS kh
HVALS kh
HLEN kh
HEXISTS kh m
HSTRLEN kh m
HINCRBY kh m n
HINCRBYFLOAT kh m f
HRANDFIELD kh all [WITHVALUES]
HSCAN kh cur COUNT many [MATCH glob|COUNT n]
DEL k+
UNLINK k+
EXISTS k+
TOUCH k+
TYPE k
EXPIRE k later [NX|XX|GT|LT]
PEXPIRE k later [NX|XX|GT|LT]
EXPIREAT k at [NX|XX|GT|LT]
PEXPIREAT k atms [NX|XX|GT|LT]
PERSIST k
TTL k
PTTL k
EXPIRETIME k
PEXPIRETIME k
DBSIZE
FLUSHALL
FLUSHALL
FLUSHDB [SYNC|ASYNC|NX]
KEYS glob
SCAN cur COUNT many [MATCH glob|TYPE type|COUNT n]
RENAME k k
RENAMENX k k
COPY k k [REPLACE|DB db]
COPY km km REPLACE
COPY kh kh REPLACE
OBJECT ENCODING k
OBJECT ENCODING ks
OBJECT FREQ k
OBJECT IDLETIME k
OBJECT REFCOUNT k
OBJECT junk k
PING [v]
ECHO v
SELECT db
NOSUCH v v
"""
RARE = {b"FLUSHALL": 0.02, b"FLUSHDB": 0.02}
GLOB_PIECES = [b"*", b"?", b"[", b"]", b"^", b"-", b"\\", b"s", b"m", b"a", b"0", b"1", b"2", b"[0-2]", b"[^s]", b"{t}", b"\xff", b"\x00"]


def alternatives(text):
    return [a.split() for a in text.split("|")]


def parse(line):
    """[(kind, what)] with kind of word, some, options."""
    head, _, options = line.partition("[")
    pieces = [("some", w[:-1]) if w.endswith("+") else ("word", w) for w in head.split()]
    return pieces + ([("options", alternatives(options.rstrip("]")))] if options else [])


class Generator:
    def __init__(self, r):
        self.r = r
        self.lines = [parse(line) for line in GRAMMAR.strip().splitlines()]
        self.times = count(10**9, 1000)  # never equal ones: GT and LT would hang on the millisecond
        self.names = {line[0][1].encode() for line in self.lines}

    def word(self, w):
        if w.isupper():
            return w.encode()
        if w in KEYS:
            return self.r.choice(KEYS[w] if w != "k" and self.r.random() < 0.75 else ALL_KEYS)
        if w == "later":
            return b"%d" % next(self.times) if self.r.random() < 0.8 else self.r.choice([b"-1", b"0", b"x", MAX, MIN])
        if w == "glob":
            return b"".join(self.r.choices(GLOB_PIECES, k=self.r.randint(1, 5)))
        return self.r.choice(POOLS[w])

    def valid(self, line):
        command = []
        for kind, what in line:
            if kind == "word":
                command.append(self.word(what))
            elif kind == "some":
                command += [self.word(what) for _ in range(self.r.randint(1, 4))]
            else:
                for _ in range(self.r.choice((0, 0, 1, 1, 2, 3))):
                    command += [self.word(w) for w in self.r.choice(what)]
        return command

    def mutate(self, command):
        kind, at = self.r.randrange(5), self.r.randrange(1, len(command) + 1)
        if kind == 0:
            return command[:at]
        if kind == 1:
            return command[:at] + [self.r.choice(POOLS["junk"])] + command[at:]
        if kind == 2 and at < len(command):
            return command[:at] + [self.r.choice(POOLS["junk"])] + command[at + 1:]
        if kind == 3:
            return command + command[at:]
        return [a.swapcase() if a.isupper() else a for a in command]

    def command(self):
        while True:
            command = self.valid(self.r.choice(self.lines))
            if self.r.random() >= RARE.get(command[0], 1):
                continue
            if self.r.random() < 0.15:
                command = self.mutate(command)
            if self.r.random() < 0.01 and len(command) > 1:
                command = [b"COMMAND", b"GETKEYS"] + command
            if not hangs_on_chance(command) and not hangs_on_time(command):
                return command


def number(text):
    try:
        return int(text)
    except ValueError:
        return None


def hangs_on_chance(command):
    name, counted = command[0].upper(), number(command[2]) if len(command) > 2 else None
    if name in (b"SPOP", b"SRANDMEMBER", b"HRANDFIELD"):
        return len(command) == 2 or (counted is not None and counted != 0 and not (name == b"SPOP" and counted < 0)
                                     and not 1000 <= counted and counted >= -2**63 + 1)
    return name == b"RANDOMKEY"


def hangs_on_time(command):
    """What expires soon, or has at once: when it is gone is nobody's promise."""
    words = [a.upper() for a in command]
    for i, word in enumerate(words[:-1]):
        value = number(words[i + 1])
        if value is not None and word in (b"EX", b"PX", b"EXAT", b"PXAT") and 0 < value < 10000:
            return True
    value = number(words[2]) if len(words) > 2 and words[0] in (b"SETEX", b"PSETEX", b"EXPIRE", b"PEXPIRE") else None
    return value is not None and 0 < value < 10000
