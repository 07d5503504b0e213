"""The S3 driver against Ceph's radosgw, as it is and through a proxy that does harm."""
import collections
import os
import random
import subprocess
import time

import pytest

import radosgw
from proxy import Proxy
from servers import ROOT

BUILD = os.path.join(ROOT, os.environ.get("BUILD", "build"))
SUITE = os.path.join(BUILD, "test/unit/persist_store")
CLIENT = os.path.join(BUILD, "test/integration/store")
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("AWS_") and not k.lower().endswith("_proxy")}
TIMEOUT_MS = 9000  # of a request; a try takes a third of it
BYTES_MAX = 1 << 20  # of a GET; lengthens it by 4 s at most


@pytest.fixture(scope="module")
def s3():
    missing = radosgw.missing_programs()
    if missing and subprocess.run(["apt-cache", "show", "radosgw"], capture_output=True).returncode != 0:
        pytest.skip("S3 SKIPPED: this architecture has no radosgw")
    assert not missing, f"S3 NOT TESTED: {', '.join(missing)} not installed (make test-deps)"
    with radosgw.Gateway() as gateway:
        yield gateway


@pytest.fixture(scope="module")
def proxied(s3):
    with Proxy(s3.port) as proxy:
        yield proxy


@pytest.fixture
def proxy(proxied):
    proxied.clear()
    yield proxied
    proxied.clear()


def arguments(s3, endpoint, **options):
    given = {"object-store": f"s3://{s3.bucket}/some/prefix", "object-store-endpoint": endpoint, "object-store-access-key-id": s3.access_key,
             "object-store-secret-access-key": s3.secret_key, "object-store-timeout-ms": str(TIMEOUT_MS)}
    given.update({k.replace("_", "-"): v for k, v in options.items()})
    return [word for name, value in given.items() if value is not None for word in ("--" + name, str(value))]


class Answer:
    def __init__(self, line, seconds):
        words = line.rstrip("\n").split(" ", 5)
        self.result, self.unsure, self.tries, self.size, self.hash, self.why = words
        self.unsure, self.tries, self.size, self.seconds = self.unsure == "1", int(self.tries), int(self.size), seconds

    def __repr__(self):
        return f"{self.result} unsure={self.unsure} tries={self.tries} size={self.size} {self.seconds:.1f} s: {self.why}"


class Client:
    def __init__(self, s3, endpoint=None, env=None, **options):
        self.seconds_max = 1.5 * options.get("object_store_timeout_ms", TIMEOUT_MS) / 1000 + 4
        self.process = subprocess.Popen([CLIENT] + arguments(s3, endpoint or s3.endpoint, **options), stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, bufsize=1, env=dict(ENVIRONMENT, **(env or {})))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        code = self.process.wait(10)
        self.process.stdout.close()
        assert code == 0

    def ask(self, *words):
        began = time.monotonic()
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        answer = Answer(self.process.stdout.readline(), time.monotonic() - began)
        assert answer.seconds < self.seconds_max, answer
        return answer


@pytest.fixture
def client(s3, proxy):
    with Client(s3, proxy.endpoint, bytes_max=BYTES_MAX) as c:
        yield c


def test_the_suite_of_stores(s3):
    options = arguments(s3, s3.endpoint, object_store_timeout_ms=60000)
    done = subprocess.run([SUITE] + options, capture_output=True, text=True, timeout=120, env=ENVIRONMENT)
    print(done.stdout, done.stderr)
    assert done.returncode == 0


# ------------------------------------------------------------------------------------------ who and where


def test_credentials_come_from_options_a_file_or_the_environment(s3, tmp_path):
    path = tmp_path / "credentials"
    path.write_text(f"[other]\naws_access_key_id = x\naws_secret_access_key = y\n\n[default]\naws_access_key_id = {s3.access_key}\n"
                    f"aws_secret_access_key={s3.secret_key}\n")
    none = dict(object_store_access_key_id=None, object_store_secret_access_key=None)
    with Client(s3, object_store_credentials_file=path, **none) as c:
        assert c.ask("put", "who/file", 10, 1).result == "DONE"
    with Client(s3, env={"AWS_ACCESS_KEY_ID": s3.access_key, "AWS_SECRET_ACCESS_KEY": s3.secret_key}, **none) as c:
        assert c.ask("head", "who/file").size == 10


def test_a_credentials_file_is_read_again_when_its_key_is_refused(s3, tmp_path):
    path = tmp_path / "credentials"
    old = f"aws_access_key_id = {s3.access_key}\naws_secret_access_key = old\n"
    path.write_text(old)
    with Client(s3, object_store_credentials_file=path, object_store_access_key_id=None, object_store_secret_access_key=None) as c:
        answer = c.ask("put", "who/renewed", 10, 1)
        assert answer.result == "REFUSED" and answer.tries == 1, answer
        path.write_text(old.replace("old", s3.secret_key))
        answer = c.ask("put", "who/renewed", 10, 1)
        assert answer.result == "DONE" and answer.tries == 2, answer
        assert c.ask("head", "who/renewed").tries == 1


@pytest.mark.parametrize("options, said", [
    (dict(object_store_secret_access_key="wrong"), "SignatureDoesNotMatch"),
    (dict(object_store_access_key_id="nobody"), "InvalidAccessKeyId"),
    (dict(object_store="s3://no-such-bucket/x"), "NoSuchBucket"),
    (dict(skew_ms=3600000), " s ahead of the store's"),
    (dict(skew_ms=-3600000), " s behind the store's"),
])
def test_what_somebody_must_change_is_refused_at_once_and_explained(s3, options, said):
    with Client(s3, **options) as c:
        for words in (("put", "refused", 10, 1), ("create", "refused", 10, 1), ("get", "refused"), ("list", "-", "-", 10), ("put", "refused", 17 << 20, 1)):
            answer = c.ask(*words)
            assert answer.result == "REFUSED" and answer.tries == 1 and answer.seconds < 3, answer
            assert said in answer.why, answer


def test_nobody_there_is_transient(s3):
    with Client(s3, "http://127.0.0.1:1", object_store_timeout_ms=1500) as c:
        answer = c.ask("put", "x", 10, 1)
        assert answer.result == "TRANSIENT" and not answer.unsure and answer.tries > 1 and "connect" in answer.why, answer
    with Client(s3, "http://no-such-host.invalid", object_store_timeout_ms=1500) as c:
        assert c.ask("put", "x", 10, 1).result == "TRANSIENT"


def test_the_bucket_may_be_in_the_host_name(s3, proxy):
    with Client(s3, f"http://localhost:{proxy.port}", object_store_addressing="virtual") as c:
        assert c.ask("create", "virtual/a b".replace(" ", "+"), 100, 1).result == "DONE"
        assert c.ask("list", "virtual/", "-", 10).size == 1
    assert [line.split("?")[0] for line in proxy.clear()] == ["PUT /some/prefix/virtual/a%2Bb", "GET /"]
    with Client(s3) as c:
        assert c.ask("head", "virtual/a+b").size == 100


def make_certificate(folder):
    """Of its own authority, for localhost."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost", "-keyout", folder / "key", "-out", folder / "cert"], check=True, capture_output=True)
    return folder / "cert", folder / "key"


def test_a_certificate_is_checked(s3, tmp_path):
    cert, key = make_certificate(tmp_path)
    with Proxy(s3.port, tls=(cert, key)) as proxy:
        for host, ca, said in (("localhost", cert, ""), ("localhost", None, "certificate"), ("127.0.0.1", cert, "127.0.0.1"), ("localhost", key, "key")):
            with Client(s3, f"https://{host}:{proxy.port}", object_store_ca_file=ca) as c:
                answer = c.ask("create", f"tls/{time.monotonic_ns()}", 100000, 1)
                assert answer.result == ("REFUSED" if said else "DONE") and answer.tries == 1 and said in answer.why, answer


# ------------------------------------------------------------------------------------------ harm that passes

PASSING = [
    ("status", dict(status=503, code="SlowDown")),
    ("status", dict(status=503, code="ServiceUnavailable")),
    ("status", dict(status=429)),
    ("status", dict(status=409, code="OperationAborted")),
    ("status", dict(status=400, code="RequestTimeout")),
    ("reset", {}),
    ("drop-before", {}),
    ("hang", dict(seconds=20)),
    ("delay", dict(seconds=0.4)),
]
UNSURE = [
    ("status", dict(status=500, code="InternalError")),
    ("status", dict(status=502)),
    ("work-status", dict(status=504)),
    ("drop-after", {}),
]


@pytest.mark.parametrize("kind, options", PASSING + UNSURE)
def test_requests_that_may_be_repeated_are(client, proxy, kind, options):
    key = f"repeat/{time.monotonic_ns()}"
    assert client.ask("put", key, 1000, 1).result == "DONE"
    for method, words in (("PUT", ("put", key, 1000, 1)), ("GET", ("get", key)), ("HEAD", ("head", key)), ("GET", ("list", key, "-", 10)),
                          ("DELETE", ("delete", key))):
        if method == "HEAD" and options.get("status") == 400:
            continue  # it has no body that could say why
        if kind == "hang" and words[0] != "get":
            continue  # it takes its time
        proxy.fault(method, kind, **options)
        answer = client.ask(*words)
        assert answer.result == "DONE" and not answer.unsure, answer
        assert answer.tries == (1 if kind == "delay" else 2), answer
        proxy.clear()
    client.ask("delete", key)
    assert client.ask("get", key).result == "MISSING"


@pytest.mark.parametrize("kind, options", PASSING)
def test_a_create_that_was_surely_not_carried_out_is_repeated(client, proxy, kind, options):
    key = f"create/{time.monotonic_ns()}"
    proxy.fault("PUT ", kind, **options)
    answer = client.ask("create", key, 1000, 1)
    assert answer.result == "DONE" and not answer.unsure, answer
    assert client.ask("create", key, 1000, 2).result == "EXISTS"
    assert client.ask("get", key).hash == client.ask("put", "same", 1000, 1).hash


def test_a_retry_waits_as_long_as_it_was_told(client, proxy):
    proxy.fault("PUT", "status", status=503, code="SlowDown", headers={"Retry-After": "1"})
    answer = client.ask("put", "later", 10, 1)
    assert answer.result == "DONE" and answer.tries == 2 and answer.seconds >= 1, answer


@pytest.mark.parametrize("connection", ["new", "kept"])
def test_a_create_whose_reply_was_lost_finds_itself_and_says_so(client, proxy, connection):
    """On a connection that was kept libcurl repeats by itself, without a word."""
    if connection == "kept":
        assert client.ask("head", "lost").result == "MISSING"
    proxy.fault("PUT ", "drop-after")
    answer = client.ask("create", f"lost/{connection}", 1000, 1)
    assert answer.result == "EXISTS" and answer.unsure and answer.tries == 2, answer
    answer = client.ask("create", f"lost/{connection}", 1000, 1)
    assert answer.result == "EXISTS" and not answer.unsure, answer


@pytest.mark.parametrize("status", [500, 502, 504])
def test_a_create_whose_fate_is_unknown_is_not_judged(client, proxy, status):
    key = f"fate/{time.monotonic_ns()}"
    proxy.fault("PUT ", "work-status", status=status)
    answer = client.ask("create", key, 1000, 1)
    assert answer.result == "TRANSIENT" and answer.unsure and answer.tries == 1, answer
    assert client.ask("get", key).size == 1000
    proxy.fault("PUT ", "status", status=status)
    answer = client.ask("create", key + "x", 1000, 1)
    assert answer.result == "TRANSIENT" and answer.unsure, answer
    assert client.ask("get", key + "x").result == "MISSING"


def test_a_412_says_that_it_exists(client, proxy):
    proxy.fault("PUT ", "status", status=412, code="PreconditionFailed")
    answer = client.ask("create", "told", 1000, 1)
    assert answer.result == "EXISTS" and not answer.unsure, answer


# ------------------------------------------------------------------------------------------ bodies


@pytest.mark.parametrize("kind, options", [("cut", {}), ("stall", dict(seconds=20))])
def test_a_body_that_ends_too_early_is_never_taken_for_whole(client, proxy, kind, options):
    put = client.ask("put", "cut", BYTES_MAX, 1)
    proxy.fault("GET ", kind, **options)
    answer = client.ask("get", "cut")
    assert answer.result == "DONE" and answer.tries == 2 and answer.hash == put.hash, answer
    if kind == "stall":
        return
    proxy.fault("GET ", kind, **options)
    answer = client.ask("get", "cut", 1000, BYTES_MAX // 2)
    assert answer.result == "DONE" and answer.tries == 2 and answer.size == BYTES_MAX // 2, answer
    proxy.fault("GET ", kind, **options)
    answer = client.ask("list", "cut", "-", 10)
    assert answer.result == "DONE" and answer.size == 1 and answer.tries == 2, answer


def test_a_range_that_was_ignored_is_no_answer(client, proxy):
    proxy.fault("GET ", "status", status=200, body_text="x" * 100)
    assert client.ask("get", "x", 10, 20).result == "MALFORMED"
    proxy.fault("GET ", "status", status=206, body_text="x" * 20, headers={"Content-Range": "bytes 0-19/100"})
    assert client.ask("get", "x", 10, 20).result == "MALFORMED"
    proxy.fault("GET ", "status", status=206, body_text="x" * 19, headers={"Content-Range": "bytes 10-28/100"})
    assert client.ask("get", "x", 10, 20).result == "MALFORMED"
    proxy.fault("GET ", "status", status=206, body_text="x" * 20, headers={"Content-Range": "bytes 10-29/100"})
    assert client.ask("get", "x", 10, 20).result == "DONE"
    proxy.fault("GET ", "status", status=200, body_text="x" * 20)
    assert client.ask("get", "x", 0, 20).result == "DONE"


def test_a_body_without_end_is_not_kept(s3, proxy):
    with Client(s3, proxy.endpoint, bytes_max=100000) as c:
        proxy.fault("GET ", "status", status=200, body_text="x" * 10000000)
        assert c.ask("get", "x").result == "TOO_LARGE"
        proxy.fault("GET ", "status", status=403, body_text="x" * 10000000)
        assert c.ask("get", "x").result == "REFUSED"


PAGE = ("<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>{more}</IsTruncated>{keys}</ListBucketResult>")


def page(*keys, more="false"):
    return PAGE.format(more=more, keys="".join(f"<Contents><Key>some%2Fprefix%2F{k}</Key><Size>1</Size></Contents>" for k in keys))


@pytest.mark.parametrize("body", ["", "x", "<a/>", page("b", "a"), page("a", "a"), page("a")[:-5], page("%zz"), page(more="true"), page("other"),
                                  page("a").replace("some", "else"), page(*(f"a{i:02}" for i in range(11))), page("a").replace(">1<", ">-1<"),
                                  "<!DOCTYPE x [<!ENTITY a 'b'>]>" + page("a"), "<ListBucketResult>" * 100])
def test_a_listing_that_makes_no_sense_is_none(client, proxy, body):
    proxy.fault("GET ", "status", status=200, body_text=body)
    answer = client.ask("list", "a", "-", 10)
    assert answer.result == "MALFORMED" and answer.size == 0, answer


def test_strange_names_in_a_listing_are_passed_over(client, proxy):
    proxy.fault("GET ", "status", status=200, body_text=page("a%2F", "a%2F%2Fb", "a%0A", more="true"))
    proxy.fault("GET .*start-after=some%2Fprefix%2Fa%0A", "status", status=200, body_text=page("a%2Bb", "a+%3C", "a&amp;", "a&#x20AC;"))
    answer = client.ask("list", "a", "-", 10)
    assert answer.result == "MALFORMED", answer  # "a+%3C" is "a <", which comes before "a+b"
    proxy.clear()
    proxy.fault("GET ", "status", status=200, body_text=page("a%01", more="true"))
    proxy.fault("GET .*start-after=some%2Fprefix%2Fa%01", "status", status=200, body_text=page("a+%3C", "a&amp;", "a%2Bb", "a&#x20AC;"))
    answer = client.ask("list", "a", "-", 10)
    assert answer.result == "DONE" and answer.size == 4, answer


# ------------------------------------------------------------------------------------------ parts

SIZE = 6 << 20  # parts of 5 MiB


@pytest.fixture
def parts(s3, proxy):
    with Client(s3, proxy.endpoint, part_bytes=5 << 20, object_store_timeout_ms=10000) as c:
        yield c


@pytest.mark.parametrize("pattern", [r"POST .*\?uploads=", r"PUT .*partNumber=1&", r"PUT .*partNumber=2&", r"POST .*uploadId="])
@pytest.mark.parametrize("kind, options", [("status", dict(status=503, code="SlowDown")), ("status", dict(status=500)), ("drop-after", {}),
                                           ("reset", {}), ("work-status", dict(status=500))])
def test_an_upload_in_parts_survives_harm_to_each_exchange(s3, parts, proxy, pattern, kind, options):
    key = f"parts/{time.monotonic_ns()}"
    proxy.fault(pattern, kind, **options)
    put = parts.ask("put", key, SIZE, 7)
    assert put.result == "DONE" and not put.unsure, put
    got = parts.ask("get", key)
    assert got.size == SIZE and got.hash == put.hash, got
    assert parts.ask("delete", key).result == "DONE"


def test_an_error_after_200_is_one(parts, proxy):
    error = " \n<?xml version='1.0'?><Error><Code>InternalError</Code></Error>"
    proxy.fault(r"POST .*uploadId=", "status", status=200, body_text=error.strip())
    put = parts.ask("put", "parts/late", SIZE, 7)
    assert put.result == "DONE", put
    proxy.fault(r"POST .*uploadId=", "status", times=99, status=200, body_text=error.strip())
    put = parts.ask("put", "parts/late", SIZE, 7)
    assert put.result == "TRANSIENT" and put.unsure, put


def test_an_upload_that_fails_is_removed(s3, parts, proxy):
    before = s3.uploads()
    proxy.fault(r"PUT .*partNumber=2&", "status", status=403, code="AccessDenied")
    put = parts.ask("put", "parts/refused", SIZE, 7)
    assert put.result == "REFUSED", put
    assert parts.ask("head", "parts/refused").result == "MISSING"
    deadline = time.monotonic() + 5
    while s3.uploads() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert s3.uploads() == before
    assert any(line.startswith("DELETE ") and "uploadId=" in line for line in proxy.clear())


# ------------------------------------------------------------------------------------------ harm that stays


@pytest.mark.parametrize("kind, options", [("status", dict(status=503, code="SlowDown")), ("status", dict(status=500)), ("reset", {}),
                                           ("hang", dict(seconds=20)), ("status", dict(status=503, headers={"Retry-After": "3600"}))])
def test_harm_that_stays_ends_in_time(s3, proxy, kind, options):
    proxy.fault("", kind, times=99, **options)
    with Client(s3, proxy.endpoint, object_store_timeout_ms=1500, bytes_max=1000) as c:
        for words in (("put", "stays", 1000, 1), ("get", "stays")):
            answer = c.ask(*words)
            assert answer.result == "TRANSIENT" and answer.seconds < 3, answer
            if "headers" in options:
                assert answer.seconds < 1 and answer.tries == 1


NOTHING = "nothing"


def test_a_storm_leaves_nothing_but_what_was_asked_for(client, proxy):
    """Of each key we know what may be there: what is read must be among it, and every answer narrows or widens it."""
    for kind, options in (("status", dict(status=503)), ("status", dict(status=500)), ("work-status", dict(status=502)), ("drop-before", {}),
                          ("drop-after", {}), ("reset", {}), ("cut", {}), ("status", dict(status=409))):
        proxy.fault("", kind, times=1 << 30, chance=0.06, **options)
    chance = random.Random(5)
    may_be = {f"storm/{i}": {NOTHING} for i in range(5)}
    results = collections.Counter()
    for step in range(400):
        key = chance.choice(list(may_be))
        op = chance.choice(["put", "create", "create", "get", "get", "delete"])
        answer = client.ask(op, key, 500, step) if op in ("put", "create") else client.ask(op, key)
        results[op, answer.result] += 1
        before = may_be[key]
        if op == "get":
            found = {"DONE": answer.hash, "MISSING": NOTHING}.get(answer.result)
            assert answer.result == "TRANSIENT" or found in before, (answer, before)
            may_be[key] = {found} if found else before
        elif answer.result == "DONE":
            assert op != "create" or NOTHING in before, (answer, before)
            may_be[key] = {NOTHING if op == "delete" else answer.hash}
        elif answer.result == "EXISTS":
            after = (before | ({answer.hash} if answer.unsure else set())) - {NOTHING}
            assert after, (answer, before)
            may_be[key] = after
        else:
            assert answer.result == "TRANSIENT", answer
            if answer.unsure:
                may_be[key] = before | {NOTHING if op == "delete" else answer.hash}
    assert results["create", "DONE"] > 5 and results["create", "EXISTS"] > 5 and results["create", "TRANSIENT"] > 5, results


def test_the_probe_finds_stores_without_conditions(client, proxy):
    assert client.ask("probe", "probe/1").result == "DONE"
    proxy.fault("PUT ", "status", status=501, code="NotImplemented")
    assert client.ask("probe", "probe/2").result == "UNCONDITIONAL"
    proxy.clear()
    proxy.fault("PUT ", "delay", seconds=0)
    proxy.fault("PUT ", "status", status=200)
    answer = client.ask("probe", "probe/3")
    assert answer.result == "UNCONDITIONAL" and "If-None-Match" in answer.why, answer
    assert client.ask("list", "probe/", "-", 10).size == 0
