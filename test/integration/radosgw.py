"""Ceph's S3 server with a monitor and one store in memory: unprivileged, on loopback, in a temporary directory.

    with Gateway() as s3: s3.endpoint, s3.access_key, s3.secret_key, s3.bucket
    python3 radosgw.py     runs one until Ctrl-C, and prints what to connect to
"""
import base64
import hashlib
import hmac
import http.client
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid

from servers import free_port

PROGRAMS = ["radosgw", "radosgw-admin", "ceph", "ceph-mon", "ceph-osd", "ceph-authtool", "monmaptool"]
START_S = 60
CONF = """[global]
fsid = {fsid}
mon host = 127.0.0.1:{mon_port}
ms bind ipv4 = true
ms bind ipv6 = false
public addr = 127.0.0.1
cluster addr = 127.0.0.1
keyring = {dir}/keyring
run dir = {dir}
log file = {dir}/$name.log
crash dir = {dir}
admin socket =
pid file = {dir}/$name.pid
mon cluster log file = {dir}/cluster.log
auth allow insecure global id reclaim = false
mon allow pool size one = true
mon allow pool delete = true
mon warn on pool no redundancy = false
paxos propose interval = 0.05
paxos min wait = 0.01
mon osd min down reporters = 1
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 2147483648
osd data = {dir}/osd
mon data = {dir}/mon
mgr data = {dir}/mgr
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw data = {dir}/rgw
rgw dns name = localhost
rgw thread pool size = 32
rgw enable usage log = false
rgw run sync thread = false
rgw enable gc threads = false
rgw enable lc threads = false
"""


def missing_programs():
    return [p for p in PROGRAMS if not shutil.which(p)]


class Gateway:
    def __init__(self, bucket="anneal"):
        self.bucket = bucket
        self.dir = tempfile.mkdtemp(prefix="anneal-rgw-")
        self.port, self.mon_port = free_port(), free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.access_key = "ANNEALTESTACCESSKEY0"
        self.secret_key = "annealtest/secret+key0000000000000000000"
        self.fsid = str(uuid.uuid4())
        self.processes = []
        self.env = dict(os.environ, CEPH_ARGS=f"-c {self.dir}/ceph.conf")

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.kill()
            process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def _run(self, *command):
        done = subprocess.run(command, env=self.env, cwd=self.dir, capture_output=True, timeout=START_S)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.decode(errors='replace')[-2000:]}")
        return done.stdout

    def _daemon(self, *command):
        """Dies with us, whatever happens to us."""
        log = open(os.path.join(self.dir, "daemons.log"), "ab")
        command = ("setpriv", "--pdeathsig", "KILL", "--") + command
        self.processes.append(subprocess.Popen(command, env=self.env, cwd=self.dir, stdout=log, stderr=log))

    def _start(self):
        d = self.dir
        with open(f"{d}/ceph.conf", "w") as f:
            f.write(CONF.format(dir=d, fsid=self.fsid, port=self.port, mon_port=self.mon_port))
        for folder in ("mon", "osd", "mgr", "rgw"):
            os.mkdir(f"{d}/{folder}")
        keyring = f"{d}/keyring"
        self._run("ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
        self._run("ceph-authtool", keyring, "--gen-key", "-n", "client.admin", "--cap", "mon", "allow *", "--cap", "osd", "allow *",
                  "--cap", "mgr", "allow *")
        self._run("ceph-authtool", keyring, "--gen-key", "-n", "osd.0", "--cap", "mon", "allow *", "--cap", "osd", "allow *")
        self._run("monmaptool", "--create", "--fsid", self.fsid, "--addv", "a", f"[v2:127.0.0.1:{self.mon_port}]", f"{d}/monmap")
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", f"{d}/monmap", "--keyring", keyring)
        self._daemon("ceph-mon", "-i", "a", "-f")
        osd = str(uuid.uuid4())
        self._run("ceph", "--connect-timeout", "2", "osd", "new", osd, "0")
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd, "--no-mon-config")
        self._daemon("ceph-osd", "-i", "0", "-f")
        self._run("radosgw-admin", "user", "create", "--uid", "anneal", "--display-name", "anneal", "--access-key", self.access_key,
                  "--secret-key", self.secret_key)
        self.revive()

    def revive(self):
        self._daemon("radosgw", "-n", "client.admin", "-f")
        self._wait()

    def kill(self):
        """What is stored stays, behind it."""
        process = self.processes.pop()
        process.kill()
        process.wait()

    def _wait(self):
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            dead = [p.args[4] for p in self.processes if p.poll() is not None]
            if dead:
                raise RuntimeError(f"{dead} ended: {self.log()}")
            try:
                if self.ask("PUT", f"/{self.bucket}")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise RuntimeError(f"radosgw does not answer: {self.log()}")

    def log(self):
        with open(os.path.join(self.dir, "daemons.log"), errors="replace") as f:
            return f.read()[-2000:]

    def uploads(self):
        """How many uploads in parts are neither completed nor aborted."""
        return self.ask("GET", f"/{self.bucket}?uploads")[1].count(b"<UploadId>")

    def ask(self, method, path):
        """Status and body of a request without one, signed with Signature V2: not by the code under test."""
        date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
        text = f"{method}\n\n\n{date}\n{path}"
        mac = base64.b64encode(hmac.new(self.secret_key.encode(), text.encode(), hashlib.sha1).digest()).decode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, headers={"Date": date, "Authorization": f"AWS {self.access_key}:{mac}", "Content-Length": "0"})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


if __name__ == "__main__":
    began = time.monotonic()
    with Gateway() as gateway:
        print(f"--object-store s3://{gateway.bucket}/test --object-store-endpoint {gateway.endpoint} "
              f"--object-store-access-key-id {gateway.access_key} --object-store-secret-access-key {gateway.secret_key}", flush=True)
        print(f"started in {time.monotonic() - began:.1f} s, in {gateway.dir}", file=sys.stderr)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            pass
