"""The servers compared: one table says how each starts; processes, memory and CPU by pid."""
import os
import shutil
import socket
import subprocess
import tempfile
import time

SERVER_CPU, CLIENT_CPU = "0", "1"
TICK_US = 1e6 / os.sysconf("SC_CLK_TCK")
REDIS = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"]


def redis_like(binary):
    def command(port, folder, join):
        replica = ["--replicaof", "127.0.0.1 %d" % join[0]] if join else []
        return [binary, "--port", str(port), "--dir", folder] + REDIS + replica
    return command


def anneal(binary):
    def command(port, folder, join):
        peers = ["--join", ",".join("127.0.0.1:%d" % (p + 1) for p in join)] if join else []
        return [binary, "--port", str(port), "--bind", "127.0.0.1", "--threads", "1",
                "--dir", folder, "--gossip-port", str(port + 1)] + peers
    return command


def memcached(binary):
    def command(port, folder, join):
        user = ["-u", "root"] if os.getuid() == 0 else []
        return [binary, "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-t", "1", "-m", "2048"] + user
    return command


# name: binary, command line, protocol; a name is a peer of PEERS=
TABLE = {
    "anneal": (["build/anneal-server"], anneal, "resp"),
    "redis": (["redis-server"], redis_like, "resp"),
    "redis-again": (["redis-server"], redis_like, "resp"),
    "valkey": (["valkey-server", "build/valkey/usr/bin/valkey-server"], redis_like, "resp"),
    "memcached": (["memcached"], memcached, "memcache"),
}


def find(name):
    return next((path for path in map(shutil.which, TABLE[name][0]) if path), None)


def free_port():
    """A port whose successor is free as well (gossip listens there)."""
    while True:
        with socket.socket() as a, socket.socket() as b:
            a.bind(("127.0.0.1", 0))
            try:
                b.bind(("127.0.0.1", a.getsockname()[1] + 1))
                return a.getsockname()[1]
            except (OSError, OverflowError):
                continue


class Server:
    def __init__(self, name, join=(), options=(), folder=None, patience_s=10):
        """In a folder that is removed with it, unless it is given one."""
        _, make, self.protocol = TABLE[name]
        self.name, self.port, self.process = name, free_port(), None
        self.kept = folder is not None
        self.folder = folder or tempfile.mkdtemp(prefix="anneal-bench-")
        command = ["setpriv", "--pdeathsig", "TERM", "taskset", "-c", SERVER_CPU] + make(find(name))(self.port, self.folder, join) + list(options)
        began = time.monotonic()
        try:
            self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.await_answer(began + patience_s)
        except BaseException:
            self.stop()
            raise
        self.start_ms = (time.monotonic() - began) * 1e3

    def probe(self):
        """What is asked until it answers, and how the answer begins."""
        return (b"version\r\n", b"V") if self.protocol == "memcache" else (b"PING\r\n", b"+")

    def await_answer(self, until):
        question, answer = self.probe()
        while time.monotonic() < until:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as s:
                    s.sendall(question)
                    if s.recv(64).startswith(answer):
                        return
            except OSError:
                pass
            if self.process.poll() is not None:
                break
            time.sleep(0.001)
        raise RuntimeError("%s does not answer" % self.name)

    def cpu_us(self):
        """User and system time so far; the clock ticks every 10 ms."""
        with open("/proc/%d/stat" % self.process.pid) as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) * TICK_US

    def rss(self):
        with open("/proc/%d/statm" % self.process.pid) as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if not self.kept:
            shutil.rmtree(self.folder, ignore_errors=True)
