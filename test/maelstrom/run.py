"""Runs Maelstrom's workloads against a node, under partitions, and judges them at least as strictly.

  init -> load, while the nemesis cuts and heals -> heal -> until all nodes show the same -> final reads

Then the judges are judged: each must fail nodes that are broken on purpose, for what is broken (broken.py),
and pass the same nodes when they are not. Ends with one line: N passed, N failed."""
import argparse
import math
import os
import random
import sys
import tempfile
import time

import broken
import judges
import network
import protocol
import workloads

HERE = os.path.dirname(os.path.abspath(__file__))
TOGETHER_S = 0.01       # clients act at multiples of it: at the same millisecond, where clocks tie
LOAD_MORE_S = 10        # that a load may last longer for its least number of operations
PROBE_S = 0.1           # between looks whether all nodes show the same
AT_ONCE_NODES = 60      # that run beside each other


class Run:
    """One workload on one cluster."""

    def __init__(self, loop, title, workload, count, argv, seed, options, env=None):
        self.loop, self.title, self.options, self.argv = loop, title, options, argv
        self.workload_class, self.count, self.seed, self.env = workload, count, seed, env
        self.history, self.faults, self.pending = [], [], {}
        self.messages = 0
        self.weight = count
        self.healed = self.settled_s = None
        self.done = False

    def start(self):
        self.rng = random.Random(f'{self.seed} {self.title}')
        self.log = tempfile.TemporaryFile()
        o = self.options
        faults = network.Faults(o.latency, o.loss / 100, o.repeat / 100)
        self.cluster = network.Cluster(self.loop, self.rng, self.count, self.argv, self.env, self.log, faults)
        self.names = self.cluster.names
        self.workload = self.workload_class(self.rng, self.names)
        for i, name in enumerate(self.names):
            self.cluster.clients[f'c{i}'] = self.reply
        self.todo = len(self.names)
        for name in self.names: # not at once: peers speak to nodes that have no name yet
            self.loop.after(self.rng.random() * 0.15, lambda name=name: self.send_init(name))

    # -- asking

    def send_init(self, name):
        self.ask(name, {'type': 'init', 'node_id': name, 'node_ids': self.names}, self.init_answered)

    def ask(self, node, request, then, final=False):
        op = judges.Op(node, request, time.monotonic(), final)
        client = 'c' + node[1:]
        self.messages += 1
        key = (client, self.messages)
        self.pending[key] = (op, then)
        if request['type'] not in ('init', 'topology'):
            self.history.append(op)
        self.cluster.from_client(client, node, {**request, 'msg_id': self.messages})
        self.loop.after(self.options.answer, lambda: self.give_up(key))

    def give_up(self, key):
        op, then = self.pending.pop(key, (None, None))
        if op:
            op.answered = time.monotonic()
            self.faults.append(('unanswered', f'{op.node}: {op.request}'))
            then(op)

    def reply(self, message):
        body = message['body']
        op, then = self.pending.pop((message['dest'], body.get('in_reply_to')), (None, None))
        if not op:
            self.faults.append(('protocol', f'a reply to nothing that was asked: {message}'))
            return
        op.answered, op.body = time.monotonic(), body
        fault = self.reply_fault(op.request, body)
        if fault:
            self.faults.append(fault)
            op.body = None # no judge reads what has no form
        then(op)

    def reply_fault(self, request, body):
        if request['type'] == 'init':
            return None if set(body) - {'msg_id'} == {'type', 'in_reply_to'} and body['type'] == 'init_ok' else ('schema', str(body))
        return self.workload.reply_fault(request, body)

    # -- phases

    def all_done(self, _op, then):
        self.todo -= 1
        if self.todo == 0:
            then()

    def init_answered(self, op):
        if self.workload.setup:
            self.ask(op.node, self.workload.setup(), lambda op: self.all_done(op, self.load))
        else:
            self.all_done(op, self.load)

    def load(self):
        self.load_ends = time.monotonic() + self.options.seconds
        self.todo = len(self.names)
        for name in self.names:
            self.next_op(name)
        if self.count > 1:
            self.loop.after(self.rng.random() * self.options.cut / 2, self.nemesis)

    def next_op(self, name):
        pause = self.rng.expovariate(self.options.rate / len(self.names))
        when = math.ceil((time.monotonic() + pause) / TOGETHER_S) * TOGETHER_S
        if when > self.load_ends and (len(self.history) >= self.options.least or when > self.load_ends + LOAD_MORE_S):
            self.loop.at(when, lambda: self.all_done(None, self.heal))
        else:
            self.loop.at(when, lambda: self.ask(name, self.workload.next(), lambda op: self.next_op(name)))

    def nemesis(self):
        if self.healed:
            return
        if self.cluster.cut:
            self.cluster.heal()
        else:
            self.cluster.partition()
        self.loop.after((0.3 + self.rng.random()) * self.options.cut, self.nemesis)

    def heal(self):
        self.cluster.heal()
        self.healed = time.monotonic()
        self.equal = 0
        self.probe()

    def read_all(self, then, final):
        requests = [(name, request) for name in self.names for request in self.workload.finals()]
        answers = {}
        self.todo = len(requests)

        def answered(op):
            answers.setdefault(op.node, []).append(op)
            self.all_done(op, lambda: then(answers))
        for name, request in requests:
            self.ask(name, request, answered, final)

    def probe(self):
        self.read_all(self.probed, False)

    def probed(self, answers):
        shown = {str([shown_by(op) for op in ops]) for ops in answers.values()}
        free = self.workload.name in ('echo', 'unique-ids')
        done = free or (len(shown) == 1 and self.workload.may_be_done(self.history, answers))
        self.equal = self.equal + 1 if done else 0
        if self.equal and self.settled_s is None:
            self.settled_s = time.monotonic() - self.healed
        if self.equal >= 3 or time.monotonic() - self.healed > self.options.settle:
            self.read_all(lambda answers: self.loop.after(0, lambda: self.finish(answers)), True)
        else:
            self.loop.after(PROBE_S, self.probe)

    def finish(self, answers):
        for name, ops in answers.items():
            if any(op.body is None for op in ops):
                self.faults.append(('final', f'{name} has no final read'))
        self.faults += self.workload.judge(self.history)
        self.cluster.close()
        self.faults += self.cluster.wrong
        self.done = True


def shown_by(op):
    """What a probe shows, so that equal states are equal texts."""
    if not op.body:
        return None
    value = {k: v for k, v in op.body.items() if k not in ('in_reply_to', 'msg_id')}
    for key in ('messages', 'value'):
        if isinstance(value.get(key), list):
            value[key] = sorted(judges.canonical(v) for v in value[key])
    return judges.canonical(value)


def run_all(loop, runs):
    """As many beside each other as their nodes allow; yields them as they end."""
    waiting, going = list(runs), []
    while waiting or going:
        while waiting and (not going or sum(r.weight for r in going) + waiting[0].weight <= AT_ONCE_NODES):
            going.append(waiting.pop(0))
            going[-1].start()
        loop.run(lambda: any(r.done for r in going))
        for run in [r for r in going if r.done]:
            going.remove(run)
            yield run


# ------------------------------------------------------------------- verdicts

def print_faults(run):
    for kind, why in run.faults[:8]:
        print(f'    {kind}: {why[:500]}')
    run.log.seek(0)
    for line in run.log.read().decode(errors='replace').splitlines()[-8:]:
        print(f'    | {line}')


def describe(run):
    asked = len(run.history)
    settled = f'settled {run.settled_s:.1f} s after' if run.settled_s is not None else 'never settled after'
    return f'{asked} operations, {run.cluster.sent} messages between nodes, {run.cluster.dropped} dropped, {settled} the last heal'


def judge_run(run, expected):
    """expected: None for a node that should pass, else the fault that must be found."""
    kinds = {kind for kind, _ in run.faults}
    good = not kinds if expected is None else expected in kinds
    found = describe(run) if expected is None or not good else f'found {", ".join(sorted(kinds))}'
    print(f'{"ok    " if good else "FAILED"} {run.title}: {found}', flush=True)
    if not good:
        print_faults(run)
    return good


def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--binary', default='build/anneal-maelstrom')
    p.add_argument('--only', action='append', choices=list(workloads.ALL), help='this workload; may be repeated')
    p.add_argument('--nodes', default='3,5,9')
    p.add_argument('--seconds', type=float, default=2.5, help='of load')
    p.add_argument('--rate', type=float, default=60, help='operations a second on a cluster')
    p.add_argument('--cut', type=float, default=0.7, help='about how many seconds a partition lasts, and the peace after it')
    p.add_argument('--latency', type=float, default=2, help='ms between nodes, on average')
    p.add_argument('--loss', type=float, default=3, help='percent of messages between nodes')
    p.add_argument('--repeat', type=float, default=2, help='percent that arrive twice')
    p.add_argument('--settle', type=float, default=10, help='seconds after the last heal until all must be right')
    p.add_argument('--least', type=int, default=0, help='operations, however long they take')
    p.add_argument('--answer', type=float, default=5, help='seconds within which every request must be answered, as in Maelstrom')
    p.add_argument('--seed', type=int, default=None)
    p.add_argument('--rounds', type=int, default=1)
    p.add_argument('--no-proof', action='store_true', help='leave the broken nodes out')
    return p.parse_args()


def own_runs(loop, options, names):
    for round_ in range(options.rounds):
        for count in (int(n) for n in options.nodes.split(',')):
            for name in names:
                title = f'{name}, {count} nodes' + (f', round {round_ + 1}' if options.rounds > 1 else '')
                yield Run(loop, title, workloads.ALL[name], count, [options.binary, '--workload', name], options.seed, options)


def proof_runs(loop, options, names):
    """Three nodes each; a broken one need not be given the time in which a good one settles."""
    whole = argparse.Namespace(**{**vars(options), 'seconds': 1.4, 'rate': 170, 'cut': 0.5, 'least': 200})
    short = argparse.Namespace(**{**vars(whole), 'settle': 1.5, 'answer': 2})
    for name in names:
        for fault, expected in [(None, None)] + broken.FAULTS[name]:
            argv = [sys.executable, '-I', '-S', os.path.join(HERE, 'broken.py'), name] + ([fault] if fault else [])
            title = f'{name} by a node that is broken: {fault}' if fault else f'{name} by the same node, not broken'
            run = Run(loop, title, workloads.ALL[name], 3, argv, options.seed, short if fault else whole)
            run.expected = expected
            run.weight *= 2 # Python
            yield run


def main():
    options = parse()
    options.seed = options.seed if options.seed is not None else random.randrange(1 << 30)
    names = options.only or list(workloads.ALL)
    started, passed, failed = time.monotonic(), 0, 0
    print(f'seed {options.seed}')
    os.chdir(os.path.join(HERE, '..', '..'))
    loop = network.Loop()
    for good in protocol.check(options.binary):
        passed, failed = passed + good, failed + (not good)
    runs = list(own_runs(loop, options, names))
    if not options.no_proof:
        runs += proof_runs(loop, options, names)
    for run in run_all(loop, runs):
        good = judge_run(run, getattr(run, 'expected', None))
        passed, failed = passed + good, failed + (not good)
    print(f'maelstrom: {time.monotonic() - started:.0f} s')
    print(f'{passed} passed, {failed} failed')
    return 1 if failed or not passed else 0


if __name__ == '__main__':
    sys.exit(main())
