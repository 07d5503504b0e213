"""Real nodes, real clients, real harm, and a judge: run.py --help.

Everything random follows from one seed, but not when threads and processes come to run: the same seed does the same
harm in the same order, and finds the same fault often, not always."""
import argparse
import collections
import heapq
import os
import random
import shutil
import signal
import sys
import tempfile
import time

import judge
from clients import Client
from network import Loopback, Rule, make_network
from nodes import Broken, Cluster

SLOW = bool(os.environ.get('SAN'))
HEAL_S = 180 if SLOW else 60
POLICIES = ('always', None, 'everysec', None, 'no')


class Nemesis:
    """Does harm, and undoes each after a while: a queue of (when, what)."""

    def __init__(self, cluster, rng):
        self.cluster, self.rng = cluster, rng
        self.due, self.count = [], 0
        self.busy = set()  # nodes whose process has been harmed, and 'network'
        self.done = collections.Counter()

    def run(self, until):
        while time.monotonic() < until:
            self.harm()
            self.wait(min(until, time.monotonic() + self.rng.uniform(0.2, 1.5)))
        while self.due:
            self.wait(self.due[0][0])

    def wait(self, until):
        while time.monotonic() < until or (self.due and self.due[0][0] <= until):
            if self.due and self.due[0][0] <= time.monotonic():
                heapq.heappop(self.due)[2]()
            else:
                time.sleep(max(0, min([until] + [d[0] for d in self.due[:1]]) - time.monotonic()))
            for node in self.cluster.nodes:
                if node.died():
                    raise RuntimeError(f'{node.start_} died by itself: {node.server.output()[-1500:]}')

    def harm(self):
        kinds = ['kill', 'kill', 'kill', 'stop', 'pause', 'pause', 'gossip', 'leave', 'rewrite', 'blackout']
        kinds += ['cut', 'cut', 'cut', 'weather', 'weather'] if self.cluster.network.apart else []
        kind = self.rng.choice(kinds)
        node = self.rng.choice(self.cluster.nodes)
        targets = {'network'} if kind in ('cut', 'weather') else set(self.cluster.nodes) if kind == 'blackout' else {node}
        seconds = self.rng.uniform(0.1, 4)
        if not targets & self.busy:
            undo = getattr(self, kind)(node)
            self.done[kind] += 1
            self.busy |= targets
            self.later(seconds, lambda: (undo(), self.busy.difference_update(targets)))

    def later(self, seconds, what):
        self.count += 1
        heapq.heappush(self.due, (time.monotonic() + seconds, self.count, what))

    # Each returns how it is undone.

    def kill(self, node):
        node.kill()
        return node.start

    def blackout(self, _):
        for node in self.cluster.nodes:
            node.kill()
        return lambda: [node.start() for node in self.cluster.nodes]

    def stop(self, node):
        node.stop()
        return node.start

    def leave(self, node):
        """For good; later one joins that has its address and nothing else."""
        node.stop()
        node.wipe()
        return node.start

    def pause(self, node):
        node.pause()
        return node.resume

    def gossip(self, node):
        node.gossip('PAUSE')
        return lambda: node.gossip('RESUME')

    def rewrite(self, node):
        node.ask('BGREWRITEAOF')
        return lambda: None

    def cut(self, _):
        """Halves, one alone, one that hears nobody, one that nobody hears, one connection."""
        ids = [node.i for node in self.cluster.nodes]
        self.rng.shuffle(ids)
        some = set(ids[:self.rng.choice((1, 1, 1, len(ids) // 2))])
        there = [(a, b) for a in ids for b in ids if a in some and b not in some]
        back = [(b, a) for a, b in there]
        pairs = self.rng.choice((there + back, there + back, there, back, there[:1]))
        self.cluster.network.set_rules({pair: Rule(blocked=True) for pair in pairs})
        return lambda: self.cluster.network.set_rules({})

    def weather(self, _):
        ids, rng = [node.i for node in self.cluster.nodes], self.rng
        rule = lambda: Rule(False, rng.choice((0, 0.01, 0.1, 0.3)), rng.choice((0, 0.01, 0.1)), rng.choice((0, 0.005, 0.05)), rng.choice((0, 0.1)))
        self.cluster.network.set_rules({(a, b): rule() for a in ids for b in ids if a != b})
        return lambda: self.cluster.network.set_rules({})


def until(seconds, what, why):
    """Waits for a true answer, and returns it."""
    end = time.monotonic() + seconds
    while True:
        try:
            answer = what()
            if answer:
                return answer
        except Broken:
            pass
        if time.monotonic() > end:
            raise RuntimeError(f'after {seconds} s: {why()}')
        time.sleep(0.05)


def digests(cluster):
    return {node.name: node.ask('ANNEAL', 'DIGEST') for node in cluster.nodes}


def info(node):
    return dict(line.split(':', 1) for line in node.ask('INFO').splitlines() if ':' in line)


def settle(cluster):
    """The digest that all have; or after a while, what each has: the judge says what that means."""
    try:
        until(HEAL_S, lambda: len(set(digests(cluster).values())) == 1, lambda: '')
    except RuntimeError:
        pass
    return digests(cluster)


def rss_max(ops):
    """Bytes that a node may hold: 64 MiB for a process that has done nothing, buffers, allocators, which keep what was freed,
    and up to 4 MiB of deltas; and for all that was ever written 1 KiB, though most has been overwritten. Does not depend on how long
    nodes were away, how much was lost, or how many deltas were made: a leak of such shows in a long run."""
    names = len({(op.name, op.value if op.kind == 'put' else None) for op in ops})
    return ((64 << 20) + (names << 10)) * (10 if SLOW else 1)


def read_finals(node, ops):
    """What the node says of every name; None for nothing."""
    kinds = {op.name: op.kind for op in ops if op.kind != 'wait'}
    names, commands = list(kinds), []
    for name in names:
        key, _, field = name.partition('/')
        commands.append(['SMEMBERS', key] if kinds[name] in ('put', 'cut', 'has') else ['HGET', key, field] if field else ['GET', key])
    values = {}
    for name, reply in zip(names, node.ask_all(commands)):
        if isinstance(reply, judge.Error):
            raise RuntimeError(f'{node.name} answers {name} with {reply}')
        if reply is not None:
            values[name] = set(reply) if isinstance(reply, list) else int(reply) if kinds[name] in ('add', 'sum') else reply
    return values


def harm_and_heal(cluster, args, rng, clients):
    cluster.began = time.monotonic()
    for node in cluster.nodes:
        node.start()
    per_node = max(1, args.clients // len(cluster.nodes))
    clients += [Client(i, cluster.nodes[i % len(cluster.nodes)], args.seed, 8 if SLOW else 2) for i in range(per_node * len(cluster.nodes))]
    nemesis = Nemesis(cluster, rng)
    nemesis.run(time.monotonic() + args.seconds)
    for client in clients:
        client.stopping.set()
    for client in clients:
        client.join(30)
        if client.failure or client.is_alive():
            raise RuntimeError(f'a client failed: {client.failure}')
    return nemesis


def gather(cluster, clients):
    ops = [op for client in clients for op in client.ops]
    until(HEAL_S, lambda: all(node.ask('PING') == 'PONG' for node in cluster.nodes), lambda: 'nodes do not come back')
    digest = settle(cluster)
    nodes = {}
    for node in cluster.nodes:
        said = info(node)
        nodes[node.name] = judge.Node(digest[node.name], read_finals(node, ops), int(said['gossip_audit_mismatches']),
                                      int(said['used_memory_rss']), rss_max(ops))
    starts = [life for life in cluster.starts()]
    ended = [(life, life.ended, life.how) for life in starts]
    for node in cluster.nodes:  # sanitizers speak at the end
        node.stop()
        cluster.complaints += node.taints()
    for life, when, how in ended:
        life.ended, life.how = when, how
    return judge.History(ops, starts, nodes, cluster.complaints)


def parse():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--seconds', type=float, default=60, help='of harm; healing and judging come on top (%(default)s)')
    p.add_argument('--seed', type=int, default=random.SystemRandom().randrange(1 << 32), help='printed if not given')
    p.add_argument('--nodes', type=int, help='3 to 5; by the seed if not given')
    p.add_argument('--clients', type=int, default=10, help='about so many (%(default)s)')
    p.add_argument('--loopback', action='store_true', help='all nodes in one network, even where they could have their own')
    p.add_argument('--keep', action='store_true', help='keep the directory of logs and data')
    return p.parse_args()


def report(history, nemesis, args):
    kinds, starts = collections.Counter(), len(history.starts)
    for op in history.ops:
        kinds['unknown' if op.done is None else 'refused' if judge.refused(op) else 'answered'] += 1
    print('  %d operations answered, %d unknown, %d refused while loading; %d starts of %d nodes' %
          (kinds['answered'], kinds['unknown'], kinds['refused'], starts, len(history.nodes)))
    print('  harm: ' + ', '.join(f'{n} {kind}' for kind, n in sorted(nemesis.done.items())))
    print('  memory: ' + ', '.join(f'{name} {n.rss >> 20} MiB' for name, n in history.nodes.items()) +
          ' of %d' % (max(n.rss_max for n in history.nodes.values()) >> 20))


def main():
    args = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    rng = random.Random(args.seed)
    count = args.nodes or rng.randint(3, 5)
    policies = list(POLICIES[:count])
    rng.shuffle(policies)
    network, why = (Loopback(count, args.seed), 'as asked') if args.loopback else make_network(count, args.seed)
    print(f'stress: seed {args.seed}, {args.seconds:.0f} s, {count} nodes, logs: {", ".join(str(p) for p in policies)}' +
          (f'; no harm to the network: {why}' if why else ''), flush=True)
    directory, clients, passed, keep = tempfile.mkdtemp(prefix='anneal-stress-'), [], False, args.keep
    try:
        cluster = Cluster(directory, network, policies, rng.choice(('1mb', '4mb')), rng.choice((4, 32, 256)), args.seconds + 3 * HEAL_S + 120)
        try:
            nemesis = harm_and_heal(cluster, args, rng, clients)
            history = gather(cluster, clients)
        finally:
            for client in clients:
                client.stopping.set()
            cluster.end()
            network.close()
        faults = judge.judge(history)
        report(history, nemesis, args)
        for kind, text in faults[:20]:
            print(f'  FAULT {kind}: {text[:1500]}')
        passed = not faults
        keep = keep or not passed
        print(f'stress: {int(passed)} passed, {int(not passed)} failed' + (f' with {len(faults)} faults' if faults else ''))
    except (RuntimeError, Broken, OSError) as e:
        keep = True
        print(f'  FAULT {type(e).__name__}: {e}\nstress: 0 passed, 1 failed')
    finally:
        if not keep:
            shutil.rmtree(directory)
        else:
            print(f'  logs and data: {directory}; again: make stress TIME={args.seconds:.0f} SEED={args.seed}')
    return not passed


if __name__ == '__main__':
    sys.exit(main())
