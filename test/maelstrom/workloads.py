"""Maelstrom's workloads (its doc/workloads.md): what clients ask, and what the reply must look like.

A workload names the next operation of a client and reads the replies' bodies; who may say what is
judged in judges.py. `finals` are the reads that every node must answer in the end."""
import json

import judges

NOT_SUPPORTED, MALFORMED, ABORT, NO_KEY = 10, 12, 14, 20
DEFINITE = {1, 10, 11, 12, 14, 20, 21, 22, 30}


def canonical(value):
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def is_int(value):
    return isinstance(value, int) and not isinstance(value, bool)


def is_any(_value):
    return True


class Workload:
    name = None
    replies = {}       # type of request: (type of reply, {field: judge of its value})
    errors = {}        # type of request: codes that are answers as well
    setup = None       # a request to every node before all else

    def __init__(self, rng, names):
        self.rng, self.names, self.count = rng, names, 0

    def next(self):
        self.count += 1
        return self.op()

    def finals(self):
        return [{'type': 'read'}]

    def may_be_done(self, _history, _answers):
        """All nodes show the same: may that be the end?"""
        return True

    def reply_fault(self, request, body):
        """None, or (kind, why): the reply has all fields of its schema, and no other."""
        kind, fields = self.replies[request['type']]
        if body.get('type') == 'error':
            return self.error_fault(request, body)
        want = {'type', 'in_reply_to'} | set(fields)
        if body.get('type') != kind or set(body) - {'msg_id'} != want:
            return 'schema', f'{request} is answered by {body}'
        if 'msg_id' in body and not is_int(body['msg_id']):
            return 'schema', f'{request} is answered by {body}'
        for field, judge in fields.items():
            if not judge(body[field]):
                return 'schema', f'{request} is answered by {body}'
        return None

    def error_fault(self, request, body):
        if body.get('code') not in self.errors.get(request['type'], ()):
            return 'unavailable', f'{request} is refused: {body}'
        return None


def stagger_values(number):
    """Mostly numbers, as Maelstrom's are; its schemas allow anything."""
    if number % 7 == 3:
        return {'b': [number, None, 'ü"\\\n'], 'a': True}
    if number % 7 == 5:
        return f'text {number} \u2603'
    return number


class Echo(Workload):
    name = 'echo'
    replies = {'echo': ('echo_ok', {'echo': is_any})}

    def op(self):
        return {'type': 'echo', 'echo': [stagger_values(self.count), 0.1 * self.count, -(1 << 62), None, {}, []]}

    def finals(self):
        return [{'type': 'echo', 'echo': 'the end'}]

    def judge(self, history):
        return judges.echo(history)


class UniqueIds(Workload):
    name = 'unique-ids'
    replies = {'generate': ('generate_ok', {'id': is_any})}

    def op(self):
        return {'type': 'generate'}

    def finals(self):
        return [{'type': 'generate'}]

    def judge(self, history):
        return judges.unique_ids(history)


class Broadcast(Workload):
    name = 'broadcast'
    replies = {'topology': ('topology_ok', {}), 'broadcast': ('broadcast_ok', {}),
               'read': ('read_ok', {'messages': lambda v: isinstance(v, list)})}

    def setup(self):
        return {'type': 'topology', 'topology': {a: [b for b in self.names if b != a][:2] for a in self.names}}

    def op(self):
        if self.rng.random() < 0.5:
            return {'type': 'read'}
        return {'type': 'broadcast', 'message': stagger_values(self.count)}

    def judge(self, history):
        return judges.grow_only_set(history, 'broadcast', 'message', 'messages')


class GSet(Workload):
    name = 'g-set'
    replies = {'add': ('add_ok', {}), 'read': ('read_ok', {'value': lambda v: isinstance(v, list)})}

    def op(self):
        if self.rng.random() < 0.5:
            return {'type': 'read'}
        return {'type': 'add', 'element': stagger_values(self.count)}

    def judge(self, history):
        return judges.grow_only_set(history, 'add', 'element', 'value')


class PnCounter(Workload):
    name = 'pn-counter'
    least = -5
    replies = {'add': ('add_ok', {}), 'read': ('read_ok', {'value': is_int})}

    def op(self):
        if self.rng.random() < 0.5:
            return {'type': 'read'}
        return {'type': 'add', 'delta': self.rng.randint(self.least, 5)}

    def may_be_done(self, history, answers):
        """Nodes may lack different increments of the same sum."""
        total = sum(op.request['delta'] for op in history if op.ok and op.request['type'] == 'add')
        return all(op.ok and op.body['value'] == total for ops in answers.values() for op in ops)

    def judge(self, history):
        return judges.counter(history)


class GCounter(PnCounter):
    name = 'g-counter'
    least = 0


class LwwRegister(Workload):
    name = 'lww-register'
    keys = (1, 2, 'drei', 4)
    replies = {'read': ('read_ok', {'value': is_any}), 'write': ('write_ok', {}), 'cas': ('', {})}
    errors = {'read': {NO_KEY}, 'cas': {NOT_SUPPORTED}}

    def op(self):
        key, chance = self.rng.choice(self.keys), self.rng.random()
        if chance < 0.45:
            return {'type': 'read', 'key': key}
        if chance < 0.9:
            return {'type': 'write', 'key': key, 'value': self.count}
        return {'type': 'cas', 'key': key, 'from': self.count - 1, 'to': -self.count}

    def error_fault(self, request, body):
        fault = super().error_fault(request, body)
        if not fault and request['type'] == 'cas' and 'unsupported' not in body.get('text', ''):
            return 'schema', f'cas is refused without saying that it is unsupported: {body}'
        return fault

    def finals(self):
        return [{'type': 'read', 'key': key} for key in self.keys]

    def judge(self, history):
        return judges.registers(history)


class TxnRwRegister(Workload):
    """All write to a few keys for a while, then to others: what the last of them did to each set of
    keys is seen in the end, and who came last must have come last in all of them."""
    name = 'txn-rw-register'
    keys, era_txns = 4, 24
    replies = {'txn': ('txn_ok', {'txn': lambda v: isinstance(v, list)})}

    def op(self):
        txn = []
        for _ in range(self.rng.randint(1, 5)):
            key = self.count // self.era_txns * self.keys + self.rng.randrange(self.keys)
            if self.rng.random() < 0.4:
                txn.append(['r', key, None])
            else:
                txn.append(['w', key, self.count * 8 + len(txn)])
        if self.rng.random() < 0.05: # no node may do the half of it
            txn.append(['explode', 0, 0])
        return {'type': 'txn', 'txn': txn}

    @staticmethod
    def must_fail(request):
        return any(op[0] not in 'rw' for op in request['txn'])

    def reply_fault(self, request, body):
        if self.must_fail(request):
            refused = body.get('type') == 'error' and body.get('code') in DEFINITE
            return None if refused else ('schema', f'{request} is answered by {body}')
        return super().reply_fault(request, body)

    def finals(self):
        return [{'type': 'txn', 'txn': [['r', key, None] for key in range((self.count // self.era_txns + 1) * self.keys)]}]

    def judge(self, history):
        return judges.transactions(history, self.must_fail)


ALL = {w.name: w for w in (Echo, UniqueIds, Broadcast, GSet, GCounter, PnCounter, LwwRegister, TxnRwRegister)}
