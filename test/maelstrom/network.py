"""Maelstrom's network (its doc/protocol.md), in one thread: node processes, clients, faults.

One loop serves any number of clusters at once. Messages between nodes are delayed, lost, repeated,
and dropped at a partition; they overtake each other. Those between clients and nodes are not touched."""
import heapq
import itertools
import json
import os
import selectors
import subprocess
import time

LINE_BYTES_MAX = 4 << 20


class Loop:
    def __init__(self):
        self.selector = selectors.DefaultSelector()
        self.timers = []
        self.order = itertools.count()

    def at(self, when, call):
        heapq.heappush(self.timers, (when, next(self.order), call))

    def after(self, seconds, call):
        self.at(time.monotonic() + seconds, call)

    def run(self, is_done):
        while not is_done():
            now = time.monotonic()
            while self.timers and self.timers[0][0] <= now:
                heapq.heappop(self.timers)[2]()
                now = time.monotonic()
            wait = min(0.1, max(0.0, self.timers[0][0] - now)) if self.timers else 0.1
            for key, mask in self.selector.select(wait):
                key.data(mask)


class Process:
    """One node: lines in, lines out, neither of which may block us."""

    def __init__(self, loop, name, argv, env, log, on_line):
        self.loop, self.name, self.on_line = loop, name, on_line
        self.pipe = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=env)
        self.out, self.in_ = self.pipe.stdin.fileno(), self.pipe.stdout.fileno()
        self.unread, self.unwritten = b'', bytearray()
        self.ended = False
        for fd in (self.in_, self.out):
            os.set_blocking(fd, False)
        loop.selector.register(self.in_, selectors.EVENT_READ, self.readable)

    def readable(self, _mask):
        if self.ended:
            return
        try:
            data = os.read(self.in_, 1 << 18)
        except BlockingIOError:
            return
        if not data:
            self.loop.selector.unregister(self.in_)
            self.ended = True
            return
        *lines, self.unread = (self.unread + data).split(b'\n')
        for line in lines:
            self.on_line(self.name, line)

    def write(self, line):
        if self.ended or self.pipe.stdin.closed:
            return
        if not self.unwritten:
            self.loop.selector.register(self.out, selectors.EVENT_WRITE, self.writable)
        self.unwritten += line + b'\n'
        self.writable(0)

    def writable(self, _mask):
        if not self.unwritten: # written since the selector said so
            return
        try:
            del self.unwritten[:os.write(self.out, self.unwritten)]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self.unwritten.clear()
        if not self.unwritten:
            self.loop.selector.unregister(self.out)

    def close(self):
        """The exit code: 0 for a node that ends when its input does."""
        if self.unwritten:
            self.loop.selector.unregister(self.out)
        self.pipe.stdin.close()
        if not self.ended:
            self.loop.selector.unregister(self.in_)
        try:
            return self.pipe.wait(10)
        except subprocess.TimeoutExpired:
            self.pipe.kill()
            return self.pipe.wait()
        finally:
            self.pipe.stdout.close()


class Faults:
    def __init__(self, latency_ms=0.0, loss=0.0, repeat=0.0):
        self.latency_ms, self.loss, self.repeat = latency_ms, loss, repeat


class Cluster:
    """Nodes n0.., and whoever registers as a client. `wrong` collects what no node may do."""

    def __init__(self, loop, rng, count, argv, env, log, faults):
        self.loop, self.rng, self.faults = loop, rng, faults
        self.names = [f'n{i}' for i in range(count)]
        self.kinds = []
        self.cut = set()       # (from, to): dropped when it would arrive
        self.clients = {}      # name: what takes its messages
        self.wrong = []
        self.sent = self.dropped = 0
        self.processes = {name: Process(loop, name, argv, env, log, self.from_node) for name in self.names}

    def from_node(self, name, line):
        try:
            message = json.loads(line)
            src, dest, body = message['src'], message['dest'], message['body']
            if src != name or not isinstance(dest, str) or not isinstance(body['type'], str):
                raise ValueError('src, dest, body')
        except (ValueError, KeyError, TypeError) as error:
            self.wrong.append(('protocol', f'{name} says what is no message ({error!r}): {line[:200]!r}'))
            return
        if dest in self.clients:
            self.clients[dest](message)
        elif dest in self.processes:
            self.between_nodes(src, dest, line)
        else:
            self.wrong.append(('protocol', f'{name} writes to {dest!r}, who is nobody'))

    def between_nodes(self, src, dest, line):
        self.sent += 1
        if self.rng.random() < self.faults.loss:
            self.dropped += 1
            return
        for _ in range(2 if self.rng.random() < self.faults.repeat else 1):
            if self.faults.latency_ms:
                delay = self.rng.expovariate(1000 / self.faults.latency_ms)
                self.loop.after(delay, lambda: self.arrive(src, dest, line))
            else:
                self.arrive(src, dest, line)

    def arrive(self, src, dest, line):
        if (src, dest) in self.cut:
            self.dropped += 1
        else:
            self.processes[dest].write(line)

    def from_client(self, client, dest, body):
        message = {'id': self.sent, 'src': client, 'dest': dest, 'body': body}
        self.processes[dest].write(json.dumps(message).encode())

    # -- the nemesis

    def partition(self):
        """One of: a minority, one alone, one that hears but is not heard, a ring of neighbours."""
        nodes = self.names[:]
        self.rng.shuffle(nodes)
        if not self.kinds: # each has its turn
            self.kinds = ['halves', 'alone', 'mute'] + ['ring'] * (len(nodes) > 3)
            self.rng.shuffle(self.kinds)
        kind = self.kinds.pop()
        if kind == 'halves':
            side = set(nodes[:len(nodes) // 2])
            self.cut = {(a, b) for a in nodes for b in nodes if (a in side) != (b in side)}
        elif kind == 'alone':
            self.cut = {(a, b) for a in nodes for b in nodes if a != b and nodes[0] in (a, b)}
        elif kind == 'mute':
            self.cut = {(nodes[0], b) for b in nodes[1:]}
        else:
            near = {(i, (i + d) % len(nodes)) for i in range(len(nodes)) for d in (1, -1)}
            self.cut = {(a, b) for i, a in enumerate(nodes) for k, b in enumerate(nodes) if i != k and (i, k) not in near}

    def heal(self):
        self.cut = set()

    def close(self):
        for name, process in self.processes.items():
            if process.ended:
                self.wrong.append(('exit', f'{name} ended before its input did'))
        for name, process in self.processes.items():
            code = process.close()
            if code:
                self.wrong.append(('exit', f'{name} ended with {code}'))
