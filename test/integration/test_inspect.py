"""anneal-inspect: what is stored, whether it is whole, and what it costs where it is not."""
import base64
import json
import os
import random
import re
import shutil
import subprocess
import time

import pytest
import redis
from servers import ROOT, SERVER, Cluster, Server, free_port
from test_store import s3  # a fixture

INSPECT = os.path.join(ROOT, os.environ.get("BUILD", "build"), "anneal-inspect")
KEY = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n"
SHARDS = 4


def inspect(*arguments):
    p = subprocess.run([INSPECT, *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert p.returncode in (0, 1, 2) and "Sanitizer" not in p.stderr and "runtime error" not in p.stderr, p.stderr
    assert (p.returncode == 2) == p.stderr.startswith("anneal-inspect: "), p.stderr
    return p


def lines(*arguments, code=0):
    p = inspect(*arguments)
    assert p.returncode == code, p.stdout[-2000:] + p.stderr
    return [json.loads(line) for line in p.stdout.splitlines()]


def bytes_of(value):
    return base64.b64decode(value["base64"]) if isinstance(value, dict) else value.encode()


def state_of(dumped):
    """As state_in: by key its type, its value, when it expires."""
    state = {}
    for line in dumped:
        value = line["value"]
        if line["type"] == "string":
            value = bytes_of(value)
        elif line["type"] == "set":
            value = {bytes_of(m) for m in value}
            assert len(value) == len(line["value"])
        else:
            value = {bytes_of(f): bytes_of(v) for f, v in value}
        key = bytes_of(line["key"])
        assert key not in state
        state[key] = (line["type"], value, line.get("expires_at_ms"))
    return state


def state_in(client):
    read = {"string": client.get, "set": client.smembers, "hash": client.hgetall}
    state = {}
    for key in client.keys("*"):
        kind = client.type(key).decode()
        at = client.execute_command("PEXPIRETIME", key)
        state[key] = (kind, read[kind](key), at if at >= 0 else None)
    return state


def fill(client, batch):
    pipe = client.pipeline(transaction=False)
    for n in range(20):
        pipe.set(f"s{batch}.{n}", f"value {n}")
    pipe.incrby("count", 7)
    pipe.sadd("members", f"m{batch}", b"\xff\x00\xfe" + bytes([batch]))
    pipe.hset("hash", f"f{batch}", "ä")
    pipe.hincrby("hash", b"\x80", batch)
    pipe.set(b"\xc3\x28", b"\x00\xff")
    pipe.set("soon", "x", px=1)
    pipe.set("later", "x", ex=10000)
    pipe.set("", "the empty key")
    pipe.delete(f"s{batch}.3")
    pipe.execute()


def flip(path, at=None, bit=None):
    with open(path, "r+b") as f:
        content = bytearray(f.read())
        content[random.randrange(len(content)) if at is None else at] ^= 1 << (random.randrange(8) if bit is None else bit)
        f.seek(0)
        f.write(content)


def tree(top):
    """All that is in it: what only reads leaves it as it is."""
    return {os.path.join(d, f): open(os.path.join(d, f), "rb").read() for d, _, names in os.walk(top) for f in names}


# ------------------------------------------------------------ object stores


class Stored:
    """A store that a node filled: some batches, a checkpoint, twice, then some more batches."""

    def __init__(self, top, *options):
        self.dir, self.states = os.path.join(top, "store"), {}
        with Cluster(1, "--object-store", self.url, "--segment-interval-ms", "250", "--shards", str(SHARDS), *options) as cluster:
            client = redis.Redis("127.0.0.1", cluster.ports[0], socket_timeout=20)
            for batch in range(9):
                self.write(client, batch)
                if batch in (2, 5):
                    self.checkpoint(client)
            self.state = state_in(client)
            assert cluster.nodes[0].stop() == 0

    @property
    def url(self):
        return "file://" + self.dir

    def write(self, client, batch):
        """A segment goes at once after some quiet; what comes in its interval makes one more."""
        before = len(self.keys("segment"))
        client.incr("small")
        self.until(lambda: len(self.keys("segment")) > before)
        fill(client, batch)
        self.until(lambda: len(self.keys("segment")) > before + 1)
        time.sleep(0.4)
        assert b"soon" not in client.keys("*")

    def checkpoint(self, client):
        before = self.keys("manifest")
        client.save()
        self.until(lambda: self.keys("manifest") != before)
        time.sleep(0.3)  # what it covers goes
        self.states[len(self.states) + 1] = state_in(client)

    @staticmethod
    def until(true):
        deadline = time.monotonic() + 20
        while not true():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def keys(self, kind):
        top = os.path.join(self.dir, kind)
        return sorted(os.path.relpath(os.path.join(d, f), self.dir) for d, _, names in os.walk(top) for f in names)

    def path(self, key):
        return os.path.join(self.dir, key)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return Stored(str(tmp_path_factory.mktemp("inspect")))


@pytest.fixture(scope="module")
def made_sealed(tmp_path_factory):
    top = str(tmp_path_factory.mktemp("sealed"))
    with open(os.path.join(top, "key"), "w") as f:
        f.write(KEY)
    return Stored(top, "--object-store-key-file", os.path.join(top, "key"))


def copy_of(made, tmp_path):
    copy = object.__new__(Stored)
    copy.__dict__ = dict(made.__dict__, dir=str(tmp_path / "store"))
    shutil.copytree(made.dir, copy.dir)
    return copy


@pytest.fixture
def store(made, tmp_path):
    return copy_of(made, tmp_path)


@pytest.fixture
def sealed(made_sealed, tmp_path):
    return copy_of(made_sealed, tmp_path)


def segments(store, code=0):
    """By key, those that have mutations; the newest manifest covers all but those after it."""
    listed = lines(store.url, "list", "--json", code=code)
    manifest = max((o for o in listed if o["what"] == "manifest"), key=lambda o: o["number"])
    return {o["key"]: o | {"covered": o["time"] < manifest["time"]} for o in listed if o["what"] == "segment" and o.get("last_mutation")}


def uncovered(store):
    """Own mutations, in order, that only segments have."""
    found = [o for o in segments(store).values() if not o["covered"] and "first_mutation" in o]
    assert len(found) >= 3
    return found


def in_the_middle(store):
    """Of those one that is not the last and has mutations in all shards, the last mutation before it, those after it."""
    own = uncovered(store)
    n = next(n for n, o in enumerate(own[:-1]) if o["last_mutation"] - o["first_mutation"] > 20)
    return own[n], own[n]["first_mutation"] - 1, own[n + 1:]


def verdict(store, *options, code=1):
    """What is damaged by name: (problem, cost), and the summary."""
    said = lines(store.url, "verify", "--json", *options, code=code)
    assert said[-1]["what"] == "summary"
    problems = {o["object"]: (o["problem"], o["cost"]) for o in said if o["what"] == "problem"}
    assert said[-1]["found"] == len(problems) > 0 or code == 0
    return problems, said[-1]


def only(problems, key):
    assert list(problems) == [key]
    return problems[key]


def test_a_healthy_store(store):
    shutil.rmtree(store.path(".tmp"))  # nothing is made here by who only reads
    before, names = tree(store.dir), os.listdir(store.dir)
    listed = lines(store.url, "list", "--json")
    kinds = {kind: [o for o in listed if o["what"] == kind] for kind in ("segment", "checkpoint", "manifest", "claim", "verdict")}
    for kind, objects in kinds.items():
        assert [o["key"] for o in objects] == store.keys(kind)
        assert [o["bytes"] for o in objects] == [os.path.getsize(store.path(o["key"])) for o in objects]
        assert listed[-1][kind] == {"objects": len(objects), "bytes": sum(o["bytes"] for o in objects)}
    assert [o["number"] for o in kinds["manifest"]] == [1, 2]
    assert all(o["shards"] == SHARDS for o in kinds["manifest"])
    assert kinds["verdict"][0]["text"] == "taken"
    with_own = [o for o in kinds["segment"] if "first_mutation" in o]
    assert all(a["last_mutation"] + 1 == b["first_mutation"] for a, b in zip(with_own, with_own[1:]))
    summary = verdict(store, code=0)[1]
    assert summary["found"] == summary["lost_mutations"] == summary["unopened"] == 0
    assert summary["objects"] == len(before)
    assert summary["bytes"] == sum(len(b) for b in before.values())
    assert summary["keys"] == len(store.state)
    assert state_of(lines(store.url, "dump")) == store.state
    assert tree(store.dir) == before and os.listdir(store.dir) == names


def test_text_for_people(store):
    listed = inspect(store.url).stdout
    for key in tree(store.dir):
        assert os.path.relpath(key, store.dir) + " " in listed
    assert re.search(r"mutations \d+\.\.\d+, compressed from \d+", listed)
    assert "2 objects" in re.search("manifest .*objects.*", listed).group()
    good = inspect(store.url, "verify")
    assert good.returncode == 0 and "0 damaged or missing" in good.stdout and f"{len(store.state)} keys in {SHARDS} shards" in good.stdout
    flip(store.path(store.keys("manifest")[1]), 100)
    bad = inspect(store.url, "verify")
    assert bad.returncode == 1
    assert "00000000000000000002: damaged" in bad.stdout and "nothing is lost" in bad.stdout


def test_the_past(store):
    assert state_of(lines(store.url, "dump", "--manifest", 1)) == store.states[1]
    assert state_of(lines(store.url, "dump", "--manifest", 2)) == store.states[2]
    assert store.states[1] != store.states[2] != store.state
    small, *_, last = uncovered(store)
    assert small["first_mutation"] == small["last_mutation"]
    assert state_of(lines(store.url, "dump", "--until", small["time"])) == store.states[2] | {b"small": ("string", b"7", None)}
    assert state_of(lines(store.url, "dump", "--until", last["time"])) == store.state
    flip(store.path(last["key"]), -10)
    assert only(verdict(store, "--until", small["time"])[0], last["key"])[1] == "nothing is lost by then: it is newer"
    assert inspect(store.url, "dump", "--manifest", 3).returncode == 2
    assert inspect(store.url, "dump", "--until", "yesterday").returncode == 2


def test_expired_keys_are_dumped_if_asked_for(store):
    everything = state_of(lines(store.url, "dump", "--expired"))
    assert store.state.items() <= everything.items()
    assert set(everything) - set(store.state) <= {b"soon"}


def test_one_object_says_what_it_is(store):
    segment = uncovered(store)[0]
    (one,) = lines(store.url, "dump", segment["key"])
    assert one["head"]["shards"] == SHARDS == len(one["head"]["upto"])
    assert sum(one["head"]["upto"]) == segment["last_mutation"]
    assert one["head"]["writer"] == segment["writer"]
    assert [r["kind"] for r in one["records"]] == ["deltas"]
    (one,) = lines(store.url, "dump", store.keys("manifest")[1])
    assert one["body"]["number"] == 2
    part = one["body"]["parts"][0]
    assert part["key"] in store.keys("checkpoint")
    assert part["bytes"] == os.path.getsize(store.path(part["key"]))
    assert [list(v) for v in part["applied"]] == [[segment["writer"]]] * SHARDS
    (one,) = lines(store.url, "dump", store.keys("claim")[0])
    assert one["text"].startswith("boot ")
    flip(store.path(segment["key"]), -10)
    (one,) = lines(store.url, "dump", segment["key"], code=1)
    assert sum(one["head"]["upto"]) == segment["last_mutation"]  # the head is still good
    assert inspect(store.url, "dump", "segment/none").returncode == 2


def test_no_flipped_bit_is_overlooked(made, tmp_path):
    for n, key in enumerate(k for kind in ("segment", "checkpoint", "manifest", "claim", "verdict") for k in made.keys(kind)):
        for again in range(3):
            store = copy_of(made, tmp_path / f"{n}.{again}")
            flip(store.path(key))
            problem, cost = only(verdict(store)[0], key)
            assert problem and cost
            assert inspect(store.url, "list").returncode in (0, 1)
            assert inspect(store.url, "dump").returncode in (0, 1)
            shutil.rmtree(store.dir)


def test_no_cut_is_overlooked(made, tmp_path):
    for n, key in enumerate(k for kind in ("segment", "checkpoint", "manifest") for k in made.keys(kind)):
        store = copy_of(made, tmp_path / str(n))
        os.truncate(store.path(key), random.randrange(os.path.getsize(store.path(key))))
        assert "damaged" in only(verdict(store)[0], key)[0]


def test_a_damaged_segment_that_the_manifest_covers_costs_nothing(store):
    key = next(k for k, o in segments(store).items() if o["covered"])
    for at in (-10, 70):  # its body; its head as well
        flip(store.path(key), at, 0)
        problems, summary = verdict(store)
        assert only(problems, key)[1] == "nothing is lost: manifest 2 covers it"
        assert summary["lost_mutations"] == 0
        assert state_of(lines(store.url, "dump", code=1)) == store.state


@pytest.mark.parametrize("at,exact", [(-10, True), (70, False)])
def test_a_damaged_segment_costs_what_was_in_it_and_what_follows(store, at, exact):
    hit, before, later = in_the_middle(store)
    flip(store.path(hit["key"]), at)
    problems, summary = verdict(store)
    cost = only(problems, hit["key"])[1]
    lost = hit["last_mutation"] - hit["first_mutation"] + 1
    if exact:
        assert f"{lost} mutations in {SHARDS} shards are not to be had from here" in cost
    else:  # the next head bounds it
        assert f"at most {later[0]['last_mutation'] - before} mutations in {SHARDS} shards" in cost
    assert "of the stream" in cost and "follow" in cost
    assert summary["lost_mutations"] == later[-1]["last_mutation"] - before  # nothing of all the shards goes on
    p = inspect(store.url, "dump")
    assert p.returncode == 1 and hit["key"] in p.stderr
    left = state_of(map(json.loads, p.stdout.splitlines()))
    assert 0 < len(left) < len(store.state)


def test_each_damaged_segment_costs_its_own(store):
    hit, before, later = in_the_middle(store)
    hits = [hit, next(o for o in later if o["last_mutation"] - o["first_mutation"] > 20)]
    for o in hits:
        flip(store.path(o["key"]), -10)
    problems, summary = verdict(store)
    assert set(problems) == {o["key"] for o in hits}
    for o in hits:
        assert problems[o["key"]][1].startswith(f"{o['last_mutation'] - o['first_mutation'] + 1} mutations in {SHARDS} shards")
    assert summary["lost_mutations"] == later[-1]["last_mutation"] - before


def test_a_missing_segment_costs_as_much(store):
    hit, before, later = in_the_middle(store)
    os.remove(store.path(hit["key"]))
    problems, summary = verdict(store)
    problem, cost = only(problems, hit["key"])
    assert problem == "missing"
    assert "mutations in" in cost and "follows the gap" in cost
    assert summary["lost_mutations"] == later[-1]["last_mutation"] - before


def test_the_last_segment_is_damaged(store):
    own = [k for k, o in segments(store).items()]
    with_own = uncovered(store)[-1]
    for key in own:  # without what came after it, as who is in the cluster
        if segments(store, code=0)[key]["number"] > with_own["number"]:
            os.remove(store.path(key))
    flip(store.path(with_own["key"]), -10)
    problems, summary = verdict(store)
    lost = with_own["last_mutation"] - with_own["first_mutation"] + 1
    assert only(problems, with_own["key"])[1].startswith(f"{lost} mutations")
    assert summary["lost_mutations"] == lost
    flip(store.path(with_own["key"]), 70)
    problems, summary = verdict(store)
    assert "the last of its stream" in only(problems, with_own["key"])[1]


@pytest.mark.parametrize("harm", [flip, os.remove])
def test_a_part_is_damaged_or_missing(store, harm):
    old, new = store.keys("checkpoint")
    harm(store.path(new))
    problems, summary = verdict(store)
    problem, cost = only(problems, new)
    assert problem.startswith("damaged" if harm is flip else "missing, and named by manifest 2")
    assert cost.startswith(f"of shards 0 to {SHARDS - 1} nothing is lost")
    assert summary["lost_mutations"] == 0
    p = inspect(store.url, "dump")
    assert p.returncode == 1
    assert state_of(map(json.loads, p.stdout.splitlines())) == store.state  # from the manifest before
    problems, summary = verdict(store, "--manifest", 2)  # which has nothing else
    assert f"{summary['lost_mutations']} mutations in {SHARDS} shards" in only(problems, new)[1] and summary["lost_mutations"] > 0
    harm(store.path(old))
    problems, summary = verdict(store)
    assert set(problems) == {old, new}
    assert "only older manifests name it, as 1" in problems[old][1]
    lost = int(re.search(f"of shards 0 to {SHARDS - 1} (\\d+) mutations", problems[new][1]).group(1))
    assert 0 < lost <= summary["lost_mutations"] <= uncovered_last(store)


def uncovered_last(store):
    return max(o["last_mutation"] for o in segments(store, code=inspect(store.url, "list").returncode).values())


def test_an_older_part_is_damaged(store):
    old, new = store.keys("checkpoint")
    flip(store.path(old))
    problems, summary = verdict(store)
    assert "nothing is lost" in only(problems, old)[1]
    assert state_of(lines(store.url, "dump")) == store.state


def test_a_manifest_is_damaged(store):
    one, two = store.keys("manifest")
    flip(store.path(two))
    problems, summary = verdict(store)
    assert only(problems, two)[1] == "manifest 1 takes its place, with the segments since: nothing is lost"
    assert summary["manifest"] == 1
    assert summary["lost_mutations"] == 0
    assert inspect(store.url, "dump", "--manifest", 2).returncode == 2
    flip(store.path(one))
    problems, summary = verdict(store)
    assert problems[two][1].startswith("there is no other")
    assert summary["lost_mutations"] > 0
    assert any(o.startswith("segment/") and p.startswith("missing") for o, (p, _) in problems.items())  # nothing covers the first ones now
    os.remove(store.path(one))
    os.remove(store.path(two))
    assert verdict(store)[1]["lost_mutations"] == summary["lost_mutations"]


def test_an_older_manifest_is_damaged(store):
    flip(store.path(store.keys("manifest")[0]))
    problems, summary = verdict(store)
    assert "manifest 2 is newer" in only(problems, store.keys("manifest")[0])[1]
    assert summary["lost_mutations"] == 0


def test_objects_that_took_anothers_place(store):
    first, second, *_ = uncovered(store)
    shutil.copy(store.path(first["key"]), store.path(second["key"]))
    assert "of another segment" in only(verdict(store)[0], second["key"])[0]
    shutil.copy(store.path(store.keys("claim")[0]), store.path(second["key"]))
    assert "it is a claim" in only(verdict(store)[0], second["key"])[0]


def test_objects_of_others(store):
    os.mkdir(store.path("a"))
    for n in range(2100):  # more than two pages
        with open(store.path(f"a/{n}"), "w") as f:
            f.write("not ours")
    listed = lines(store.url, "list", "--json")
    assert listed[-1]["other"] == {"objects": 2100, "bytes": 2100 * 8}
    assert listed[-1]["segment"]["objects"] == len(store.keys("segment"))
    assert "not ours       2100 objects" in inspect(store.url).stdout
    assert inspect(store.url, "verify").returncode == 0
    assert inspect(store.url, "verify", "--cluster-name", "anneal").returncode == 0
    wrong = inspect(store.url, "verify", "--cluster-name", "another")
    assert wrong.returncode == 2 and "another" in wrong.stderr


def test_sealed(sealed, tmp_path):
    key = tmp_path / "key"
    key.write_text("f" + KEY[1:] + KEY)  # any of them opens
    assert all(o["sealed"] for o in lines(sealed.url, "list", "--json") if o["what"] == "segment")
    assert uncovered_sealed(sealed)  # heads can be read
    problems, summary = verdict(sealed, code=0)
    assert summary["unopened"] == len(tree(sealed.dir)) and summary["keys"] is None
    p = inspect(sealed.url, "dump")
    assert p.returncode == 2 and "--key-file" in p.stderr
    for option in ("--key-file", "--object-store-key-file"):
        assert verdict(sealed, option, key, code=0)[1]["keys"] == len(sealed.state)
        assert state_of(lines(sealed.url, "dump", option, key)) == sealed.state
    key.write_text("e" + KEY[1:])
    p = inspect(sealed.url, "verify", "--key-file", key)
    assert p.returncode == 2 and "opened by no key" in p.stderr
    key.write_text("short")
    assert inspect(sealed.url, "verify", "--key-file", key).returncode == 2
    assert inspect(sealed.url, "verify", "--key-file", tmp_path / "none").returncode == 2


def uncovered_sealed(store):
    return [o for o in lines(store.url, "list", "--json") if o["what"] == "segment" and "first_mutation" in o]


def test_sealed_and_damaged(sealed, tmp_path):
    key = tmp_path / "key"
    key.write_text(KEY)
    hit = uncovered_sealed(sealed)[-2]
    flip(sealed.path(hit["key"]), -10)
    problem, cost = only(verdict(sealed)[0], hit["key"])
    assert "damaged" in problem and "cannot be told without --key-file" in cost
    problem, cost = only(verdict(sealed, "--key-file", key)[0], hit["key"])
    assert f"{hit['last_mutation'] - hit['first_mutation'] + 1} mutations" in cost


def test_two_writers(tmp_path):
    """What is damaged of one costs nothing of the other's."""
    url = "file://" + str(tmp_path / "store")
    with Cluster(2, "--object-store", url, "--shards", str(SHARDS)) as cluster:
        clients = [redis.Redis("127.0.0.1", port, socket_timeout=20) for port in cluster.ports]
        for name, client in zip("ab", clients):
            client.mset({f"{name}{n}": n for n in range(50)})
        Stored.until(lambda: all(c.dbsize() == 100 for c in clients))
        time.sleep(1.5)  # segments of both
    own = [o for o in lines(url, "list", "--json") if o["what"] == "segment" and "first_mutation" in o]
    writers = sorted({o["writer"] for o in own})
    assert len(writers) == 2
    for o in own:
        if o["writer"] == writers[0]:
            flip(str(tmp_path / "store" / o["key"]), -10)
    said = lines(url, "verify", "--json", code=1)
    assert [o for o in said if o["what"] == "loss"] == [{"what": "loss", "writer": writers[0], "mutations": 50, "shards": SHARDS}]
    p = inspect(url, "dump")
    assert p.returncode == 1
    left = state_of(map(json.loads, p.stdout.splitlines()))
    assert left in ({b"%c%d" % (name, n): ("string", b"%d" % n, None) for n in range(50)} for name in b"ab")


def test_s3(s3):
    options = ["--object-store-endpoint", s3.endpoint, "--object-store-access-key-id", s3.access_key, "--object-store-secret-access-key", s3.secret_key]
    url = f"s3://{s3.bucket}/inspected"
    with Cluster(1, "--object-store", url, "--shards", str(SHARDS), *options) as cluster:
        client = redis.Redis("127.0.0.1", cluster.ports[0], socket_timeout=60)
        fill(client, 0)
        client.save()
        Stored.until(lambda: [o for o in lines(url, "list", "--json", *options) if o["what"] == "manifest"])
        fill(client, 1)
        time.sleep(0.1)
        state = state_in(client)
    assert state_of(lines(url, "dump", *options)) == state
    summary = lines(url, "verify", "--json", *options)[-1]
    assert summary["manifest"] == 1 and summary["keys"] == len(state) and summary["segments"] >= 2
    assert lines("--object-store", url, "--json", *options) == lines(url, "list", "--json", *options)
    refused = inspect(url, *options[:-1], "wrong")
    assert refused.returncode == 2 and "cannot be listed" in refused.stderr


# ------------------------------------------------------------- directories


class Kept:
    """The directory of a node: a checkpoint, then a log."""

    def __init__(self, top):
        self.dir = os.path.join(top, "node")
        with Cluster(1, "--appendonly", "yes", "--shards", str(SHARDS)) as cluster:
            client = redis.Redis("127.0.0.1", cluster.ports[0], socket_timeout=20)
            fill(client, 0)
            client.save()
            for batch in range(1, 5):
                fill(client, batch)
            time.sleep(0.05)
            self.state = state_in(client)
            assert cluster.nodes[0].stop() == 0
            shutil.copytree(cluster.nodes[0].dir, self.dir)

    def path(self, start):
        (name,) = [f for f in os.listdir(self.dir) if f.startswith("anneal-" + start)]
        return os.path.join(self.dir, name)

    url = property(lambda self: self.dir)

    def records(self, start, code=0):
        return lines(self.dir, "dump", os.path.basename(self.path(start)), code=code)


@pytest.fixture(scope="module")
def made_kept(tmp_path_factory):
    return Kept(str(tmp_path_factory.mktemp("kept")))


@pytest.fixture
def kept(made_kept, tmp_path):
    copy = object.__new__(Kept)
    copy.__dict__ = dict(made_kept.__dict__, dir=str(tmp_path / "node"))
    shutil.copytree(made_kept.dir, copy.dir)
    return copy


def test_a_healthy_directory(kept):
    before = tree(kept.dir)
    checkpoint, log, total = lines(kept.dir, "list", "--json")
    assert checkpoint["records"]["image"] == SHARDS and checkpoint["records"]["end"] == 1
    assert log["records"]["deltas"] > 1
    assert log["header"] == total["header"] == f"anneal 1, cluster anneal, {SHARDS} shards"
    assert total["bytes"] == sum(os.path.getsize(kept.path(f)) for f in ("checkpoint", "log"))
    assert "2 files" in inspect(kept.dir).stdout
    summary = verdict(kept, code=0)[1]
    assert summary["found"] == summary["lost_mutations"] == 0 and summary["keys"] == len(kept.state)
    assert state_of(lines(kept.dir, "dump")) == kept.state
    assert inspect(kept.dir, "verify", "--cluster-name", "anneal").returncode == 0
    assert inspect(kept.dir, "verify", "--cluster-name", "other").returncode == 2
    assert tree(kept.dir) == before


def test_no_flipped_bit_of_a_file_is_overlooked(kept):
    for start in ("checkpoint", "log"):
        whole = open(kept.path(start), "rb").read()
        for _ in range(25):
            flip(kept.path(start))
            problem, cost = only(verdict(kept)[0], os.path.basename(kept.path(start)))
            assert problem and cost
            with open(kept.path(start), "wb") as f:
                f.write(whole)


def test_a_damaged_record_of_the_log(kept):
    name = os.path.basename(kept.path("log"))
    records = [r for r in kept.records("log") if r["kind"] == "deltas"]
    hit = records[0]
    flip(kept.path("log"), hit["offset"] + 20)
    problems, summary = verdict(kept)
    problem, cost = only(problems, name)
    assert problem == f"damaged: at {hit['offset']} ({hit['bytes'] + 16} bytes)"
    assert re.search(r"\d+ later deltas follow what is missing.* of this node's own \d+ mutations in \d shards", cost)
    assert summary["lost_own_mutations"] == summary["lost_mutations"] > 0
    assert {"offset": hit["offset"], "kind": "damage", "bytes": hit["bytes"] + 16} in kept.records("log", code=1)
    p = inspect(kept.dir, "dump")
    assert p.returncode == 1 and name in p.stderr
    assert 0 < len(p.stdout.splitlines()) < len(kept.state)


def test_a_torn_tail(kept):
    last = kept.records("log")[-1]
    with open(kept.path("log"), "r+b") as f:
        f.truncate(last["offset"] + 17)
    problem, cost = only(verdict(kept)[0], os.path.basename(kept.path("log")))
    assert problem == "damaged: 17 bytes at its end"
    assert "a write that never ended" in cost


def test_a_damaged_image_of_the_checkpoint(kept):
    hit = [r for r in kept.records("checkpoint") if r["kind"] == "image"][2]
    assert hit["shard"] == 2
    flip(kept.path("checkpoint"), hit["offset"] + 30)
    problem, cost = only(verdict(kept)[0], os.path.basename(kept.path("checkpoint")))
    assert problem == f"damaged: at {hit['offset']} ({hit['bytes'] + 16} bytes)"
    assert cost.startswith("the images of 1 shards (2) are lost")


def test_a_checkpoint_that_ends_early(kept):
    end = kept.records("checkpoint")[-1]
    assert end["kind"] == "end"
    os.truncate(kept.path("checkpoint"), end["offset"])
    problem, cost = only(verdict(kept)[0], os.path.basename(kept.path("checkpoint")))
    assert problem == "it ends early"


def test_a_log_that_a_checkpoint_covers_costs_nothing(kept):
    older = kept.path("log")[:-1] + "1"
    shutil.copy(kept.path("log"), older)
    flip(older, 120)
    problem, cost = only(verdict(kept)[0], os.path.basename(older))
    assert "nothing is lost if anneal-checkpoint" in cost
    assert "covered by a checkpoint" in inspect(kept.dir).stdout


def test_a_disk_that_had_failed(kept):
    open(os.path.join(kept.dir, "anneal-doubt"), "w").close()
    problem, cost = only(verdict(kept)[0], "anneal-doubt")
    assert "sync had failed" in problem and "takes no writes until" in cost
    p = inspect(kept.dir)
    assert p.returncode == 1 and "anneal-doubt" in p.stdout
    p = inspect(kept.dir, "dump", "anneal-doubt")
    assert p.returncode == 2 and "no log or checkpoint" in p.stderr


def test_a_missing_checkpoint(kept):
    os.remove(kept.path("checkpoint"))
    problems, summary = verdict(kept)
    assert "missing" in problems[kept.dir][0] and summary["lost_own_mutations"] > 0


def test_headers(kept):
    flip(kept.path("log"), 20)
    assert "damaged: at 0" in only(verdict(kept)[0], os.path.basename(kept.path("log")))[0]
    flip(kept.path("checkpoint"), 20)
    problems, summary = verdict(kept)
    assert len(problems) == 2 and summary["keys"] is None
    assert inspect(kept.dir, "dump").returncode == 2
    assert state_of(lines(kept.dir, "dump", "--shards", SHARDS, code=1)) == kept.state


def test_a_name_of_a_cluster_that_is_no_text(kept, tmp_path):
    os.makedirs(tmp_path / "other")
    port = free_port()
    other = Server([SERVER, "--port", str(port), "--gossip-port", str(free_port()), "--dir", str(tmp_path / "other"), "--appendonly", "yes",
                    "--cluster-name", b"a\xffb", "--shards", str(SHARDS)], port, str(tmp_path / "other"))
    other.stop()
    log = tmp_path / "other" / "anneal-log.00000000000000000001"
    header = {"base64": base64.b64encode(b"anneal 1, cluster a\xffb, %d shards" % SHARDS).decode()}
    assert [line["header"] for line in lines(log.parent, "list", "--json")] == [header, header]
    shutil.copy(log, kept.path("log")[:-1] + "9")
    problems = [line for line in lines(kept.dir, "verify", "--json", code=1) if line["what"] == "problem"]
    assert len(problems) == 1 and b"a\xffb" in base64.b64decode(problems[0]["problem"]["base64"])


def test_nodes_that_hear_each_other():
    """Deltas of peers that were missing when they were logged are no damage."""
    with Cluster(3, "--appendonly", "yes", "--shards", str(SHARDS)) as cluster:
        clients = [redis.Redis("127.0.0.1", port, socket_timeout=20) for port in cluster.ports]
        for batch in range(5):
            for client in clients:
                fill(client, batch)
        Stored.until(lambda: len({c.execute_command("ANNEAL", "DIGEST") for c in clients}) == 1)
        clients[1].delete("count")
        for node in cluster.nodes[1:]:
            node.kill()
        cluster.start(1)  # another incarnation
        for node in cluster.nodes:
            summary = lines(node.dir, "verify", "--json")[-1]
            assert summary["found"] == summary["lost_own_mutations"] == 0 < summary["keys"]
        assert b"count" not in state_of(lines(cluster.nodes[1].dir, "dump"))


# ------------------------------------------------------------------- asking


def test_what_cannot_be_read(store, tmp_path):
    for asked, why in [
        ([], "which URL"),
        ([tmp_path / "none"], "No such file"),
        ([tmp_path], "there is no anneal-log"),
        ([store.dir], "is an object store: file:///"),
        (["file://" + str(tmp_path / "none")], "No such file or directory"),
        (["ftp://x/y"], "want file:///path or s3://bucket/prefix"),
        (["file://" + str(tmp_path)], "nothing of anneal's"),
        ([store.url, "frobnicate"], "none of list, verify, dump"),
        ([store.url, "list", "x"], "only dump"),
        ([store.url, "dump", "x", "y"], "one word too many"),
        ([store.url, "--frob", "1"], "frob"),
        ([store.url, "--manifest"], "manifest"),
        ([store.url, "--manifest", "x"], "manifest"),
        ([store.url, "dump", "--manifest", "1", "--until", "1"], "want one of them"),
        (["s3://bucket", "--object-store-endpoint", "http://127.0.0.1:1", "--object-store-timeout-ms", "500", "--object-store-access-key-id", "a",
          "--object-store-secret-access-key", "b"], "cannot be listed"),
    ]:
        p = inspect(*asked)
        assert p.returncode == 2 and why in p.stderr and not p.stdout, (asked, p.stderr, p.stdout)
    assert not os.path.exists(tmp_path / "none")


def test_help():
    p = inspect("--help")
    assert p.returncode == 0
    for word in ("verify", "dump", "--expired", "object-store-endpoint", "base64", "Exit status"):
        assert word in p.stdout
