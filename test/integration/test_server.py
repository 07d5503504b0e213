"""One node, as its clients and its operator meet it."""
import os
import socket
import subprocess
import time

import pytest
import redis

from servers import SERVER, Cluster, free_port, until


@pytest.fixture(scope="module")
def node():
    with Cluster(1) as cluster:
        yield cluster


@pytest.fixture
def client(node):
    c = redis.Redis("127.0.0.1", port=node.ports[0], socket_timeout=10)
    c.flushall()
    return c


def raw(port, data, timeout=5):
    """What comes back for bytes, until the server closes or says nothing more for a while."""
    with socket.create_connection(("127.0.0.1", port), timeout) as s:
        s.sendall(data)
        s.settimeout(1)
        out = b""
        try:
            while chunk := s.recv(65536):
                out += chunk
            return out + b"<closed>"
        except socket.timeout:
            return out


def test_redis_py_works(client):
    assert client.set("k", b"\x00\xff\r\n") and client.get("k") == b"\x00\xff\r\n"
    assert client.incrby("n", 5) == 5
    assert client.hset("h", mapping={"a": 1, "b": 2}) == 2 and client.hgetall("h") == {b"a": b"1", b"b": b"2"}
    assert client.sadd("s", "x", "y") == 2 and client.smembers("s") == {b"x", b"y"}
    with client.pipeline(transaction=False) as p:
        for i in range(1000):
            p.set(f"p{i}", i)
        assert all(p.execute())
    assert set(client.scan_iter("p*", count=7)) == {b"p%d" % i for i in range(1000)}
    assert client.expire("k", 100) and 98 <= client.ttl("k") <= 100
    assert client.info()["server_name"] == "anneal"
    assert client.client_list()[0]["cmd"] == "client"
    assert client.config_get("tcp-backlog") == {"tcp-backlog": "511"}


def test_redis_cli_works(node):
    run = lambda *args: subprocess.run(["redis-cli", "-p", str(node.ports[0]), *args], capture_output=True, text=True, timeout=10).stdout.strip()
    assert run("set", "cli", "1") == "OK" and run("incr", "cli") == "2"
    assert "unknown command" in run("nosuch")
    assert "summary" in run("command", "docs", "get")


@pytest.mark.parametrize("sent, reply", [
    (b"PING\r\n", b"+PONG\r\n"),
    (b"SET inline 'a b'\r\nGET inline\r\n", b"+OK\r\n$3\r\na b\r\n"),
    (b"\r\n\r\nPING\r\n", b"+PONG\r\n"),
    (b"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n", b"+PONG\r\n+PONG\r\n"),
    (b"*-2\r\nPING\r\n", b"+PONG\r\n"),
    (b"*0\r\nPING\r\n", b"+PONG\r\n"),
    (b"*1048577\r\n", b"-ERR Protocol error: invalid multibulk length\r\n<closed>"),
    (b"*1\r\n$-5\r\n", b"-ERR Protocol error: invalid bulk length\r\n<closed>"),
    (b"*1\r\n$99999999999\r\n", b"-ERR Protocol error: invalid bulk length\r\n<closed>"),
    (b"*1\r\nPING\r\n", b"-ERR Protocol error: expected '$', got 'P'\r\n<closed>"),
    (b"SET 'a\r\n", b"-ERR Protocol error: unbalanced quotes in request\r\n<closed>"),
    (b"QUIT\r\n", b"+OK\r\n<closed>"),
])
def test_bytes_on_the_wire(node, sent, reply):
    assert raw(node.ports[0], sent) == reply
    assert redis.Redis("127.0.0.1", port=node.ports[0]).ping()


def test_any_fragmentation(node):
    command = b"*3\r\n$3\r\nSET\r\n$4\r\nfrag\r\n$5\r\nhello\r\n"
    with socket.create_connection(("127.0.0.1", node.ports[0]), 5) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(len(command)):
            s.sendall(command[i:i + 1])
        assert s.recv(100) == b"+OK\r\n"


def test_random_bytes_do_no_harm(node):
    for seed in range(50):
        junk = os.urandom(2000)
        try:
            with socket.create_connection(("127.0.0.1", node.ports[0]), 5) as s:
                s.sendall(junk)
        except OSError:
            pass
    assert redis.Redis("127.0.0.1", port=node.ports[0]).ping()
    assert redis.Redis("127.0.0.1", port=node.ports[0]).info("stats")["protocol_errors"] > 0


def test_a_thousand_connections(node):
    clients = [socket.create_connection(("127.0.0.1", node.ports[0]), 5) for _ in range(1000)]
    for c in clients:
        c.sendall(b"PING\r\n")
    assert all(c.recv(100) == b"+PONG\r\n" for c in clients)
    for c in clients:
        c.close()


def test_all_of_a_crowd_are_killed():
    with Cluster(1, "--threads", "1") as cluster:
        c = redis.Redis("127.0.0.1", port=cluster.ports[0], socket_timeout=10)
        c.ping()
        crowd = [socket.create_connection(("127.0.0.1", cluster.ports[0]), 5) for _ in range(1500)]
        until(lambda: c.info("clients")["connected_clients"] == 1501)
        assert c.execute_command("CLIENT KILL", "TYPE", "normal") == 1500
        until(lambda: c.info("clients")["connected_clients"] == 1)
        for s in crowd:
            s.close()


def test_scan_under_change(client):
    stays = {b"stay%d" % i for i in range(3000)}
    client.mset({k: 1 for k in stays})
    seen, cursor, i = set(), 0, 0
    while True:
        cursor, keys = client.scan(cursor, count=50)
        seen.update(keys)
        client.mset({f"new{i}-{k}": 1 for k in range(50)})
        client.delete(*[f"new{i - 1}-{k}" for k in range(50)])
        i += 1
        if cursor == 0:
            break
    assert stays <= seen


def test_expiry_hides_and_removes(client):
    client.set("e", 1, px=150)
    client.hset("eh", "f", 1)
    client.pexpire("eh", 150)
    assert client.get("e") == b"1" and client.dbsize() == 2
    time.sleep(0.2)
    assert client.get("e") is None and client.exists("eh") == 0 and client.ttl("e") == -2
    until(lambda: client.dbsize() == 0)


def test_client_commands(node, client):
    other = redis.Redis("127.0.0.1", port=node.ports[0], client_name="victim", single_connection_client=True)
    other.ping()
    victim = next(c for c in client.client_list() if c["name"] == "victim")
    assert client.client_kill_filter(_id=victim["id"]) == 1
    time.sleep(0.3)
    assert not [c for c in client.client_list() if c["name"] == "victim"]
    with pytest.raises(redis.ResponseError, match="unknown subcommand"):
        client.execute_command("CLIENT", "NOSUCH")
    assert raw(node.ports[0], b"CLIENT REPLY OFF\r\nPING\r\nCLIENT REPLY ON\r\nPING\r\n") == b"+OK\r\n+PONG\r\n"
    assert raw(node.ports[0], b"CLIENT REPLY SKIP\r\nPING\r\nECHO a\r\n") == b"$1\r\na\r\n"


def test_client_pause_holds_writes(client, node):
    other = redis.Redis("127.0.0.1", port=node.ports[0])
    client.execute_command("CLIENT", "PAUSE", 600, "WRITE")
    started = time.monotonic()
    other.get("x")
    assert time.monotonic() - started < 0.5
    other.set("x", 1)
    assert time.monotonic() - started >= 0.5


def test_config_set_is_all_or_nothing(client):
    with pytest.raises(redis.ResponseError, match="CONFIG SET failed"):
        client.execute_command("CONFIG", "SET", "loglevel", "debug", "protected-mode", "perhaps")
    assert client.config_get("loglevel")["loglevel"] == "notice"
    with pytest.raises(redis.ResponseError, match="immutable"):
        client.config_set("port", 1)
    with pytest.raises(redis.ResponseError, match="Unknown option"):
        client.config_set("colour", 1)


def test_hello(node):
    assert raw(node.ports[0], b"HELLO 3\r\n").startswith(b"-NOPROTO")
    assert b"proto\r\n:2" in raw(node.ports[0], b"HELLO 2\r\n")


def test_password():
    with Cluster(1, "--requirepass", "secret") as cluster:
        port = cluster.ports[0]
        assert raw(port, b"GET a\r\n").startswith(b"-NOAUTH")
        assert raw(port, b"AUTH wrong\r\n").startswith(b"-WRONGPASS")
        assert raw(port, b"*2\r\n$4\r\nAUTH\r\n$20000\r\n").startswith(b"-ERR Protocol error: unauthenticated bulk length")
        assert redis.Redis("127.0.0.1", port=port, password="secret").ping()
        assert redis.Redis("127.0.0.1", port=port, username="default", password="secret").ping()
        assert raw(port, b"HELLO 2 AUTH default secret SETNAME me\r\nCLIENT GETNAME\r\n").endswith(b"$2\r\nme\r\n")


def test_clients_are_not_told_the_key_of_the_object_store():
    with Cluster(1, "--object-store-access-key-id", "who", "--object-store-secret-access-key", "hush") as cluster:
        c = redis.Redis("127.0.0.1", port=cluster.ports[0], socket_timeout=10)
        said = c.config_get("object-store-*")
        assert said["object-store-access-key-id"] == "who" and said["object-store-secret-access-key"] == "(secret)"
        assert "hush" not in str(c.config_get("*"))


def test_replies_to_strangers_do_not_pile_up():
    with Cluster(1, "--requirepass", "secret") as cluster:
        port = cluster.ports[0]
        with socket.create_connection(("127.0.0.1", port), 5) as s:
            s.settimeout(1)
            sent = 0
            try:
                while sent < 60e6:
                    sent += s.send(b"PING\r\n" * 10000)
            except OSError:
                pass
            assert sent < 60e6
        c = redis.Redis("127.0.0.1", port=port, password="secret", socket_timeout=10)
        c.set("a", "v" * 1000000)
        with socket.create_connection(("127.0.0.1", port), 5) as s:  # one who then says who he is has no such limit
            s.sendall(b"PING\r\nAUTH secret\r\n" + b"GET a\r\n" * 10 + b"RESET\r\n" + b"PING\r\n" * 10000 + b"QUIT\r\n")
            with s.makefile("rb") as f:
                assert [f.readline() for _ in range(2)] == [b"-NOAUTH Authentication required.\r\n", b"+OK\r\n"]
                assert len(f.read()) == 10 * 1000012 + len("+RESET\r\n") + 10000 * len("-NOAUTH Authentication required.\r\n") + len("+OK\r\n")


def test_config_file_and_rewrite(tmp_path):
    file = tmp_path / "anneal.conf"
    port, gossip = free_port(), free_port()
    file.write_text(f"# mine\nport {port}\ngossip-port {gossip}\ndir {tmp_path}\nloglevel notice\n")
    p = subprocess.Popen([SERVER, str(file)])
    try:
        c = redis.Redis("127.0.0.1", port=port)
        deadline = time.monotonic() + 10
        while True:
            try:
                c.ping()
                break
            except redis.ConnectionError:
                assert p.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
        c.config_set("loglevel", "verbose")
        c.config_rewrite()
        assert file.read_text().startswith(f"# mine\nport {port}\n") and "loglevel verbose" in file.read_text()
        with pytest.raises(redis.ConnectionError):
            c.connection_pool.disconnect()
            redis.Redis("127.0.0.1", port=port).execute_command("SHUTDOWN")
        assert p.wait(10) == 0
    finally:
        p.kill()


@pytest.mark.parametrize("args, words", [
    (["--colour", "red"], "unknown option 'colour'"),
    (["--port", "99999"], "'port': argument must be between 0 and 65535 inclusive"),
    (["--port"], "has no value"),
    (["/no/such/file.conf"], "cannot read /no/such/file.conf"),
    (["--cluster-key-file", "/no/such/key"], "cannot read /no/such/key"),
    (["--gossip-bind", "0.0.0.0", "--gossip-advertise", "10.1.2.3:7"], "needs a key"),
    (["--gossip-bind", "0.0.0.0"], "gossip-advertise"),
    (["--node-id", "xyz"], "node-id must be 16 hex digits"),
    (["--bind", "localhost"], "bind: 'localhost' is not a numeric address"),
    (["--bind", "127.0.0.1 ::1"], "bind: '127.0.0.1 ::1' is not a numeric address"),
    (["--join", "127.0.0.1:7,other"], "join: 'other' is not host:port"),
    (["--join", "other:99999"], "join: 'other:99999' is not host:port"),
    (["--gossip-advertise", "127.0.0.1"], "gossip-advertise: '127.0.0.1' is not host:port"),
])
def test_what_is_wrong_at_start_ends_it_with_one_line(tmp_path, args, words):
    before = [] if args[0].startswith("/") else ["--port", "0", "--dir", str(tmp_path)]
    done = subprocess.run([SERVER] + before + args, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and words in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("anneal-server:")]) == 1


@pytest.mark.parametrize("option, words", [("--port", "Address already in use"), ("--gossip-port", "something listens there already")])
def test_a_port_that_is_taken_is_said_to_be(tmp_path, option, words):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = {"--port": "0", "--gossip-port": str(free_port()), option: str(taken.getsockname()[1])}
        args = [word for pair in ports.items() for word in pair]
        done = subprocess.run([SERVER, *args, "--dir", str(tmp_path)], capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and words in done.stderr


def test_bad_key_file(tmp_path):
    key = tmp_path / "key"
    key.write_text("abc\n")
    done = subprocess.run([SERVER, "--port", "0", "--dir", str(tmp_path), "--cluster-key-file", str(key)], capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and "line 1: a key is 64 hex digits" in done.stderr


def test_two_processes_do_not_share_a_directory(tmp_path):
    with Cluster(1) as cluster:
        done = subprocess.run([SERVER, "--port", "0", "--dir", cluster.nodes[0].dir], capture_output=True, text=True, timeout=20)
        assert done.returncode == 1 and "another process uses the directory" in done.stderr


def test_help():
    done = subprocess.run([SERVER, "--help"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0 and "--cluster-key-file" in done.stdout
