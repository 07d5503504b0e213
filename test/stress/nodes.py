"""Nodes of a cluster as processes that come and go; every life of one is a judge.Start."""
import os
import shutil
import signal
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'integration'))
import servers
from judge import Error, Start

TAINTS = ('audit:', 'Sanitizer', 'runtime error:', 'assert', 'Assert')  # of a log


class Broken(Exception):
    """The connection is: what was asked and not answered may have been done."""


class Connection:
    def __init__(self, port, timeout_s):
        try:
            self.socket = socket.create_connection(('127.0.0.1', port), timeout_s)
        except OSError as e:
            raise Broken(str(e))
        self.file = self.socket.makefile('rb')

    def close(self):
        self.file.close()
        self.socket.close()

    def send(self, commands):
        out = bytearray()
        for words in commands:
            words = [w if isinstance(w, bytes) else str(w).encode() for w in words]
            out += b'*%d\r\n' % len(words) + b''.join(b'$%d\r\n%s\r\n' % (len(w), w) for w in words)
        try:
            self.socket.sendall(out)
        except OSError as e:
            raise Broken(str(e))

    def reply(self):
        try:
            line = self.file.readline()
            if not line.endswith(b'\r\n'):
                raise Broken('closed')
            kind, rest = line[:1], line[1:-2]
            if kind == b'-':
                return Error(rest.decode())
            if kind == b':':
                return int(rest)
            if kind == b'+':
                return rest.decode()
            size = int(rest)
            if kind == b'*':
                return [self.reply() for _ in range(size)]
            if size < 0:
                return None
            data = self.file.read(size + 2)
        except OSError as e:
            raise Broken(str(e))
        if len(data) < size + 2:
            raise Broken('closed')
        return data[:-2].decode()

    def ask(self, *words):
        self.send([words])
        return self.reply()


class Node:
    def __init__(self, cluster, i, policy):
        """`policy` of appendfsync; None: nothing is kept."""
        self.cluster, self.i, self.name, self.policy = cluster, i, f'n{i}', policy
        self.dir = os.path.join(cluster.dir, self.name)
        self.data = os.path.join(self.dir, 'data')
        os.makedirs(self.data)
        network = cluster.network
        self.port = network.port if network.apart else servers.free_port()
        self.gossip_port = network.gossip_port if network.apart else servers.free_port()
        self.server, self.start_, self.starts, self.paused = None, None, [], False

    def address(self):
        return f'{self.cluster.network.host(self.i)}:{self.gossip_port}'

    def command(self):
        words = [servers.SERVER, '--port', str(self.port), '--gossip-bind', self.cluster.network.host(self.i), '--gossip-port', str(self.gossip_port),
                 '--gossip-advertise', self.address(), '--cluster-key-file', self.cluster.key, '--dir', self.data, '--threads', '2',
                 '--join', ','.join(n.address() for n in self.cluster.nodes if n is not self), '--enable-debug-command', 'local',
                 '--gossip-log-bytes', self.cluster.log_bytes, '--shards', str(self.cluster.shards), '--auto-aof-rewrite-min-size', '1mb']
        return words + (['--appendonly', 'yes', '--appendfsync', self.policy] if self.policy else [])

    def start(self):
        life = Start(self.name, len(self.starts), self.policy is not None, time.monotonic())
        self.starts.append(life)
        with self.cluster.network.inside(self.i):
            self.server = servers.Server(self.command(), self.port, self.dir)
        self.start_ = life

    def signal(self, number):
        os.kill(self.server.pid(), number)

    def pause(self):
        self.paused = True
        self.signal(signal.SIGSTOP)

    def resume(self):
        self.paused = False
        self.signal(signal.SIGCONT)

    def kill(self):
        life, self.start_, self.paused = self.start_, None, False
        self.server.kill()
        life.ended, life.how = time.monotonic(), 'kill'

    def stop(self):
        life, self.start_ = self.start_, None
        code = self.server.stop()
        life.ended, life.how = time.monotonic(), 'stop'
        if code:
            self.cluster.complaints.append(f'{life} stopped with exit code {code}')

    def wipe(self):
        """While it is down: what it had is gone."""
        shutil.rmtree(self.data)
        os.makedirs(self.data)
        for life in self.starts:
            life.wiped = True

    def gossip(self, word):
        """DEBUG GOSSIP PAUSE or RESUME."""
        self.ask('DEBUG', 'GOSSIP', word)

    def ask(self, *words, timeout_s=20):
        with self.cluster.network.inside(self.i):
            connection = Connection(self.port, timeout_s)
        try:
            return connection.ask(*words)
        finally:
            connection.close()

    def ask_all(self, commands, timeout_s=60):
        """The replies of many, in pipelines."""
        with self.cluster.network.inside(self.i):
            connection = Connection(self.port, timeout_s)
        try:
            replies = []
            for at in range(0, len(commands), 500):
                some = commands[at:at + 500]
                connection.send(some)
                replies += [connection.reply() for _ in some]
            return replies
        finally:
            connection.close()

    def died(self):
        return self.start_ is not None and self.server.process.poll() is not None

    def taints(self):
        with open(os.path.join(self.dir, 'log'), errors='replace') as f:
            return [f'{self.name}: {line.strip()}' for line in f if any(t in line for t in TAINTS)][:10]

    def end(self):
        """However things stand."""
        if self.server and self.server.process.poll() is None:
            try:
                self.signal(signal.SIGCONT)
                self.signal(signal.SIGKILL)
            except (OSError, IndexError):
                self.server.process.kill()
            self.server.process.wait(10)


class Cluster:
    def __init__(self, directory, network, policies, log_bytes, shards, lifetime_s):
        servers.LIFETIME_S = str(int(lifetime_s))
        self.dir, self.network, self.complaints, self.nodes = directory, network, [], []
        self.log_bytes, self.shards = log_bytes, shards
        self.key = os.path.join(directory, 'key')
        with open(self.key, 'w') as f:
            f.write(os.urandom(32).hex() + '\n')
        for i, policy in enumerate(policies):
            self.nodes.append(Node(self, i, policy))

    def starts(self):
        return [life for node in self.nodes for life in node.starts]

    def end(self):
        for node in self.nodes:
            node.end()
