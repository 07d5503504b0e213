"""Clients beside a node, one thread each: they ask at random and write down what came of it."""
import os
import random
import threading
import time

from judge import Error, Op, refused
from nodes import Broken, Connection

REGISTERS_CHANGE_S = 2.0  # how long a register is written: the judge compares all writes of one with all reads


def words(op):
    """The command of an operation. A name with a slash is a field of a hash."""
    key, _, field = op.name.partition('/')
    if op.kind == 'add' and not field and op.value < 0:
        return ['DECRBY', key, -op.value]
    command = {'add': 'INCRBY', 'sum': 'GET', 'put': 'SADD', 'cut': 'SREM', 'has': 'SISMEMBER', 'set': 'SET', 'get': 'GET',
               'del': 'DEL', 'wait': 'WAIT'}[op.kind]
    if field:
        return ['HDEL' if command == 'DEL' else 'H' + command, key, field] + ([op.value] if op.value is not None else [])
    return [command, key] + ([op.value] if op.value is not None else [])


def meaning(op, reply):
    if op.kind == 'sum' and not isinstance(reply, Error):
        return int(reply or 0)
    return reply


class Client(threading.Thread):
    def __init__(self, number, node, seed, timeout_s):
        super().__init__(daemon=True)
        self.name_, self.node, self.timeout_s = f'c{number}', node, timeout_s
        self.rng = random.Random(f'{seed} {number}')
        self.began = time.monotonic()
        self.stopping = threading.Event()
        self.ops, self.mine, self.count, self.connections = [], [], 0, 0
        self.failure = None
        self.start()

    def run(self):
        self.node.cluster.network.enter(self.node.i)
        os.nice(5)
        try:
            while not self.stopping.is_set():
                self.connect()
        except Exception as e:  # ours, not theirs: the run must not pass
            self.failure = repr(e)
            raise

    def connect(self):
        life = self.node.start_
        try:
            connection = Connection(self.node.port, self.timeout_s)
        except Broken:
            self.stopping.wait(0.05)
            return
        if life is None or life is not self.node.start_:
            return connection.close()
        self.connections += 1
        try:
            while not self.stopping.is_set():
                batch = [self.choose(life) for _ in range(self.rng.choice((1, 1, 1, 4, 20)))]
                if not self.exchange(connection, batch):
                    self.stopping.wait(0.02)
                if self.rng.random() < 0.03:
                    peers = self.rng.randrange(1, len(self.node.cluster.nodes))
                    self.exchange(connection, [self.op(life, 'wait', str(peers), 200)])
                self.stopping.wait(self.rng.random() * 0.01)
        except Broken:
            pass
        finally:
            connection.close()

    def exchange(self, connection, batch):
        """True unless something was refused."""
        now = time.monotonic()
        for op in batch:
            op.sent = now
        self.ops += batch
        connection.send([words(op) for op in batch])
        replies = [connection.reply() for _ in batch]
        now = time.monotonic()
        for op, reply in zip(batch, replies):
            op.reply, op.done = meaning(op, reply), now
        return not any(refused(op) for op in batch)

    def op(self, life, kind, name, value=None):
        return Op(self.name_, (self.name_, self.connections), life, kind, name, value, 0)

    def choose(self, life):
        rng = self.rng
        what = rng.random()
        if what < 0.40:
            kind = rng.choice(('add', 'add', 'sum'))
            grows, name = rng.random() < 0.5, rng.randrange(8)
            by = None if kind == 'sum' else rng.randint(1, 100) if grows else rng.choice((-1, 1)) * rng.randint(1, 100)
            return self.op(life, kind, ('up' if grows else 'pn') + (f'h/{name}' if rng.random() < 0.5 else str(name)), by)
        if what < 0.70:
            return self.choose_member(life)
        kind = rng.choice(('set', 'set', 'set', 'get', 'get', 'del'))
        epoch = int((time.monotonic() - self.node.cluster.began) / REGISTERS_CHANGE_S)
        name = f'h{epoch}/{rng.randrange(16)}' if rng.random() < 0.4 else f'r{epoch}.{rng.randrange(16)}'
        self.count += 1
        return self.op(life, kind, name, f'{self.name_}-{self.count}' if kind == 'set' else None)

    def choose_member(self, life):
        kind = self.rng.choice(('put', 'put', 'put', 'again', 'cut', 'has', 'has'))
        if kind == 'put' or not self.mine:
            self.count += 1
            self.mine = self.mine[-200:] + [(f's{self.name_}.{self.count // 2000}', f'm{self.count}')]
            return self.op(life, 'put', *self.mine[-1])
        name, member = self.rng.choice(self.mine)
        return self.op(life, 'put' if kind == 'again' else kind, name, member)
