"""A small node that does Maelstrom's workloads right, unless told to break: broken.py WORKLOAD [FAULT].

It exists so that the judges can be judged. Its state is a lattice that is sent whole, again and
again: a set, a counter for each node, registers under Lamport clocks."""
import json
import os
import select
import sys
import time

# For each workload, what a node may do wrong, and what its judge must find then.
FAULTS = {
    'echo': [('turns-to-text', 'echo'), ('adds-a-field', 'schema')],
    'unique-ids': [('counts-alone', 'repeated'), ('goes-by-the-clock', 'repeated')],
    'broadcast': [('tells-once', 'lost'), ('shows-twice', 'repeated'), ('falls-silent', 'final')],
    'g-set': [('drops-some', 'lost'), ('waits-for-all', 'unanswered'), ('makes-up', 'invented'), ('shows-at-times', 'forgotten')],
    'g-counter': [('counts-again', 'sum'), ('last-sum-wins', 'sum'), ('dies', 'exit')],
    'pn-counter': [('keeps-what-it-takes', 'sum'), ('answers-in-text', 'schema')],
    'lww-register': [('last-to-arrive-wins', 'stale'), ('trusts-its-clock', 'stale'), ('does-cas', 'schema')],
    'txn-rw-register': [('writes-twice', 'G1b'), ('does-half', 'G1a'), ('mixes', 'G0'), ('reads-late', 'G1c'),
                        ('reads-before-it-writes', 'internal'), ('keeps-to-itself', 'disagree')],
}
WORKLOAD = sys.argv[1] if len(sys.argv) > 1 else ''
FAULT = sys.argv[2] if len(sys.argv) > 2 else ''
TELL_S, LATE_S = 0.04, 0.05


def text(value):
    return json.dumps(value, sort_keys=True)


class Node:
    def __init__(self):
        self.name, self.peers = None, []
        self.set, self.counts, self.registers = {}, {}, {}
        self.clock = self.generated = self.added = 0
        self.heard = {}     # peer: when
        self.later = []     # (when, call)

    def send(self, dest, body):
        os.write(1, (json.dumps({'src': self.name, 'dest': dest, 'body': body}) + '\n').encode())

    def reply(self, message, **body):
        if FAULT == 'adds-a-field':
            body['node'] = self.name
        self.send(message['src'], {**body, 'in_reply_to': message['body']['msg_id']})

    # -- gossip

    def tell(self):
        if FAULT == 'keeps-to-itself':
            return
        state = {'type': 'state', 'set': [] if FAULT == 'tells-once' else list(self.set.values()), 'counts': self.counts, 'clock': self.clock,
                 'registers': list(self.registers.items())}
        for peer in self.peers:
            self.send(peer, state)

    def on_state(self, message):
        body = message['body']
        self.heard[message['src']] = time.monotonic()
        self.clock = max(self.clock, body['clock'])
        for value in body['set']:
            self.set[text(value)] = value
        for node, (up, down) in body['counts'].items():
            mine = self.counts.get(node, [0, 0])
            if FAULT == 'counts-again' and up > mine[0]:
                up += 1
            if FAULT == 'keeps-what-it-takes':
                down = mine[1]
            self.counts[node] = [max(up, mine[0]), max(down, mine[1])]
        for key, (clock, by, value) in body['registers']:
            if FAULT == 'last-to-arrive-wins' or [clock, by] > (self.registers.get(key) or [0, ''])[:2]:
                self.registers[key] = [clock, by, value]

    # -- requests

    def on_init(self, message):
        body = message['body']
        self.name, self.born = body['node_id'], time.monotonic()
        self.peers = [n for n in body['node_ids'] if n != self.name]
        self.reply(message, type='init_ok')

    def on_echo(self, message):
        value = message['body']['echo']
        self.reply(message, type='echo_ok', echo=text(value) if FAULT == 'turns-to-text' else value)

    def on_generate(self, message):
        self.generated += 1
        ids = {'counts-alone': self.generated, 'goes-by-the-clock': int(time.time() * 100)}
        self.reply(message, type='generate_ok', id=ids.get(FAULT, f'{self.name} {self.generated}'))

    def on_topology(self, message):
        self.reply(message, type='topology_ok')

    def on_broadcast(self, message):
        value = message['body']['message']
        self.set[text(value)] = value
        if FAULT == 'tells-once':
            for peer in self.peers:
                self.send(peer, {'type': 'state', 'set': [value], 'counts': {}, 'clock': 0, 'registers': []})
        self.reply(message, type='broadcast_ok')

    def on_add(self, message):
        body = message['body']
        self.added += 1
        if 'element' in body and not (FAULT == 'drops-some' and self.added % 10 == 0):
            self.set[text(body['element'])] = body['element']
        if 'delta' in body:
            mine = self.counts.setdefault(self.name, [0, 0])
            mine[body['delta'] < 0] += abs(body['delta'])
        if FAULT == 'dies' and self.added == 4 and self.name == 'n1':
            sys.exit(3)
        self.reply(message, type='add_ok')

    def on_read(self, message):
        body = message['body']
        if 'key' in body:
            self.read_register(message)
        elif WORKLOAD == 'broadcast':
            shown = list(self.set.values())
            self.reply(message, type='read_ok', messages=shown + shown[:1] if FAULT == 'shows-twice' else shown)
        elif WORKLOAD == 'g-set':
            shown = list(self.set.values()) + (['mine'] if FAULT == 'makes-up' and self.added > 3 else [])
            if FAULT == 'shows-at-times' and self.added % 8 == 5:
                shown = shown[1:]
            self.reply(message, type='read_ok', value=shown)
        else:
            sums = [up - down for up, down in self.counts.values()]
            value = max(sums, default=0) if FAULT == 'last-sum-wins' else sum(sums)
            self.reply(message, type='read_ok', value=str(value) if FAULT == 'answers-in-text' else value)

    # -- registers

    def put(self, key, value, clock):
        if FAULT == 'trusts-its-clock': # each its own, and the others' count for more
            clock = int(time.time() * 1000) + 5000 * int(self.name[1:])
            if [clock, self.name] <= (self.registers.get(text(key)) or [0, ''])[:2]:
                return
        if FAULT == 'mixes':
            clock += os.urandom(1)[0] % 16
        self.registers[text(key)] = [clock, self.name, value]

    def get(self, key):
        return self.registers.get(text(key), [0, '', None])[2]

    def read_register(self, message):
        key = message['body']['key']
        if text(key) in self.registers:
            self.reply(message, type='read_ok', value=self.get(key))
        else:
            self.reply(message, type='error', code=20, text='no such key')

    def on_write(self, message):
        self.clock += 1
        self.put(message['body']['key'], message['body']['value'], self.clock)
        self.reply(message, type='write_ok')

    def on_cas(self, message):
        if FAULT == 'does-cas':
            self.reply(message, type='cas_ok')
        else:
            self.reply(message, type='error', code=10, text='unsupported')

    def on_txn(self, message):
        ops, mine = message['body']['txn'], {}
        self.clock += 1
        if FAULT == 'reads-late':
            for f, key, value in ops:
                if f == 'w':
                    self.put(key, value, self.clock)
            self.tell()
            self.later.append((time.monotonic() + LATE_S, lambda: self.finish_txn(message, ops, {})))
            return
        if any(f not in 'rw' for f, _, _ in ops):
            if FAULT == 'does-half':
                for f, key, value in ops:
                    if f == 'w':
                        self.put(key, value, self.clock)
            self.reply(message, type='error', code=12, text='no such operation')
            return
        self.finish_txn(message, ops, mine)

    def finish_txn(self, message, ops, mine):
        done = []
        for f, key, value in ops:
            if f == 'r':
                value = mine.get(key, self.get(key)) if FAULT != 'reads-before-it-writes' else self.get(key)
            elif f == 'w':
                if FAULT == 'writes-twice' and key in mine: # what is overwritten is seen for a while
                    self.put(key, mine[key], self.clock)
                    self.later.append((time.monotonic() + LATE_S, lambda k=key, v=value, c=self.clock + 1: self.put(k, v, c)))
                    self.clock += 1
                mine[key] = value
            done.append([f, key, value])
        if FAULT not in ('reads-late', 'writes-twice'):
            for key, value in mine.items():
                self.put(key, value, self.clock)
        elif FAULT == 'writes-twice':
            for key, value in mine.items():
                if sum(f == 'w' and k == key for f, k, _ in ops) == 1:
                    self.put(key, value, self.clock)
        if any(f not in 'rw' for f, _, _ in ops):
            self.reply(message, type='error', code=12, text='no such operation')
        else:
            self.reply(message, type='txn_ok', txn=done)

    # -- the loop

    def on_line(self, line):
        message = json.loads(line)
        body = message['body']
        if self.name is None and body['type'] != 'init':
            return
        if body['type'] not in ('state', 'init') and not self.is_willing():
            return
        getattr(self, 'on_' + body['type'])(message)

    def is_willing(self):
        if FAULT == 'falls-silent':
            return time.monotonic() - self.born < 1.2 or self.name != 'n1'
        if FAULT == 'waits-for-all':
            return all(time.monotonic() - self.heard.get(p, self.born) < 0.15 for p in self.peers)
        return True

    def run(self):
        rest, told = b'', 0.0
        while True:
            now = time.monotonic()
            due = [call for when, call in self.later if when <= now]
            self.later = [(when, call) for when, call in self.later if when > now]
            for call in due:
                call()
            if self.name and now - told >= TELL_S:
                told = now
                self.tell()
            if not select.select([0], [], [], 0.01)[0]:
                continue
            data = os.read(0, 1 << 20)
            if not data:
                return
            *lines, rest = (rest + data).split(b'\n')
            for line in lines:
                self.on_line(line)


if __name__ == '__main__':
    Node().run()
