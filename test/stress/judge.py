"""Judges what clients saw of a cluster that was done harm: a history in, faults out, (kind, why).

A history is what was asked, where, when and what came back, beside what is known of the processes that
answered (Start) and of the nodes after everything was healed (Node). Nothing here talks to a server.

What must be there in the end is what *certainly survives* (`survives`): it was acknowledged, and
- its process still runs, or has a log (kill -9 takes nothing from a log, whatever appendfsync is), or
- WAIT, asked later by the same connection, counted more nodes than there were that could lose it again.
A delete that found nothing wrote nothing that a log or WAIT could keep. It shows what its process had applied, of anybody: that is
there as long as the process is, and in the end if the process `keeps` it.
What was not answered may have happened, or may yet happen, until the end. What was refused did not happen."""
import bisect
from collections import defaultdict

SETTLE_S = 5.0  # what a node pulled from its peers is in its log within a second of its own time; it may have been stopped


class Start:
    """One life of a process. `ended` None: still there. `wiped`: what was on its disk is gone for good."""

    def __init__(self, node, number, log, began):
        self.node, self.number, self.log, self.began = node, number, log, began
        self.ended, self.how, self.wiped = None, None, False

    def __repr__(self):
        return f'{self.node}.{self.number}'


class Op:
    """One request. Kinds: add and sum (counters), put, cut and has (sets), set, del and get (registers), wait.

    What one client asks is listed in its order; requests of one pipeline have the same times."""
    __slots__ = ('client', 'conn', 'start', 'kind', 'name', 'value', 'sent', 'done', 'reply')

    def __init__(self, client, conn, start, kind, name, value, sent, done=None, reply=None):
        self.client, self.conn, self.start, self.kind, self.name, self.value = client, conn, start, kind, name, value
        self.sent, self.done, self.reply = sent, done, reply

    def __repr__(self):
        when = f'{self.sent:.3f}..' + (f'{self.done:.3f}' if self.done is not None else '?')
        return f'{self.client}@{self.start} {self.kind} {self.name} {self.value!r} -> {self.reply!r} {when}'


class Error(str):
    """A reply that is an error."""


class Node:
    """What a node says when all is healed: values maps names to what was read; a set is a set."""

    def __init__(self, digest, values, mismatches=0, rss=0, rss_max=1):
        self.digest, self.values, self.mismatches, self.rss, self.rss_max = digest, values, mismatches, rss, rss_max


class History:
    def __init__(self, ops, starts, nodes, complaints=()):
        self.ops, self.starts, self.nodes, self.complaints = ops, starts, nodes, list(complaints)


def refused(op):
    return isinstance(op.reply, Error)


def acknowledged(op):
    return op.done is not None and not refused(op)


def found_nothing(op):
    return op.kind in ('cut', 'del') and op.reply == 0


# ------------------------------------------------------------ what survives

def keeps(start, since):
    """Whether what this process had applied at that time is there in the end, whatever others do."""
    if start.wiped or start.ended is None:
        return not start.wiped
    return start.log and (start.how == 'stop' or start.ended > since + SETTLE_S)


def sees(later, earlier):
    """Whether a process knows what that one acknowledged: it is the same, or has read its log."""
    return later is earlier or (later.node == earlier.node and later.number > earlier.number and earlier.log and not earlier.wiped)


def knows(later, op):
    """Whether a process knows what that operation did, or found to be so."""
    return sees(later, op.start) and (later is op.start or not found_nothing(op) or keeps(op.start, op.done))


def frail_nodes(history, start, since, until):
    """How many other nodes had a process in that time that may have forgotten since."""
    return len({s.node for s in history.starts if s.node != start.node and s.began <= until and
                (s.ended is None or s.ended >= since) and not keeps(s, until)})


def survivors(history):
    """What was acknowledged, and must hold in the end."""
    sure, waits = set(), defaultdict(list)
    for op in history.ops:
        if op.kind == 'wait' and acknowledged(op):
            waits[op.conn].append(op)
    for op in history.ops:
        if not acknowledged(op) or op.kind not in ('add', 'put', 'cut', 'set', 'del'):
            continue
        if found_nothing(op):
            if keeps(op.start, op.done):
                sure.add(op)
            continue
        alive = not op.start.wiped and (op.start.ended is None or op.start.log)
        if alive or any(w.sent >= op.done and w.reply > frail_nodes(history, op.start, op.sent, w.done) for w in waits[op.conn]):
            sure.add(op)
    return sure


# ----------------------------------------------------------------- counters

def final_counter(ops, sure, value):
    least = sum(op.value for op in ops if op in sure or (not refused(op) and op.value < 0))
    most = sum(op.value for op in ops if op in sure or (not refused(op) and op.value > 0))
    if not least <= value <= most:
        return [('sum', f'{value} is not in [{least}, {most}]')]
    return []


def counter_reads(name, adds, reads):
    """Of a counter that only grows, a process shows no less than it has shown or acknowledged, and nobody
    shows more than was asked for."""
    if any(op.value < 0 for op in adds):
        return []
    faults, asked, total = [], [], [0]
    for op in sorted(adds, key=lambda op: op.sent):
        asked.append(op.sent)
        total.append(total[-1] + (0 if refused(op) else op.value))
    for _, ops in by(lambda op: op.start, [op for op in adds + reads if acknowledged(op)]):
        known = own = 0
        done = sorted(ops, key=lambda op: op.done)
        at = 0
        for op in sorted(ops, key=lambda op: op.sent):
            while at < len(done) and done[at].done <= op.sent:
                own += done[at].value if done[at].kind == 'add' else 0
                known = max(known, done[at].reply, own)
                at += 1
            if op.reply < known + (op.value if op.kind == 'add' else 0):
                faults.append(('backwards', f'{name} was {known} here already: {op}'))
            if op.reply > total[bisect.bisect_right(asked, op.done)]:
                faults.append(('invented', f'{name} is more than was added: {op}'))
    return faults


# --------------------------------------------------------------------- sets

def member_must(ops, stays):
    """True: must be in the set, False: must not be, None: either. `ops` are all of this member, in their
    client's order; `stays(op)`: what it did is known where we look."""
    ops = [op for op in ops if not refused(op) and (stays(op) or not found_nothing(op))]
    last_cut = max((i for i, op in enumerate(ops) if op.kind == 'cut'), default=-1)
    if any(stays(op) for op in ops[last_cut + 1:]) and all(acknowledged(op) for op in ops if op.kind == 'cut'):
        return True
    puts = [op for op in ops if op.kind == 'put']
    if not puts:
        return False
    cut = ops[-1]
    if cut.kind == 'cut' and stays(cut) and all(acknowledged(op) and sees(cut.start, op.start) for op in puts):
        return False
    return None


def final_set(name, members, sure, value):
    faults = [('invented', f'{name} has {member!r}') for member in value - set(members)]
    for member, ops in members.items():
        must = member_must(ops, lambda op: op in sure)
        if must is not None and must != (member in value):
            faults.append(('lost' if must else 'resurrected', f'{member!r} of {name}: {ops}'))
    return faults


def member_reads(ops):
    """What a client does to its own members it sees where it did it."""
    faults, past = [], []
    for op in ops:
        if op.kind != 'has':
            past.append(op)
        elif acknowledged(op):
            must = member_must(past, lambda o: acknowledged(o) and knows(op.start, o))
            if must is not None and must != bool(op.reply):
                faults.append(('own', f'{op} after {past}'))
    return faults


# ---------------------------------------------------------------- registers

def register_value(value, writes, stays):
    """Faults of a value that is shown, None for nothing, given all writes that may have been seen."""
    writes = [op for op in writes if not refused(op)]
    if value is None:
        dels = [op for op in writes if op.kind == 'del']
        for op in writes:
            if op.kind == 'set' and stays(op) and not any(d.done is None or d.done > op.sent for d in dels):
                return [('lost', f'nothing there, and nobody has deleted since {op}')]
        return []
    source = next((op for op in writes if op.kind == 'set' and op.value == value), None)
    if not source:
        return [('invented', f'{value!r}, which nobody wrote')]
    if acknowledged(source):
        for op in writes:
            if op.sent >= source.done and stays(op) and sees(op.start, source.start):
                return [('overwritten', f'{source} is shown, though there was {op}')]
    return []


def register_reads(name, writes, reads):
    faults = []
    for read in reads:
        if acknowledged(read):
            seen = [op for op in writes if op.sent <= read.done]
            stays = lambda op: acknowledged(op) and op.done <= read.sent and knows(read.start, op)
            faults += [(kind, f'{name} by {read}: {why}') for kind, why in register_value(read.reply, seen, stays)]
    return faults


# --------------------------------------------------------------- everything

def by(key, ops):
    groups = defaultdict(list)
    for op in ops:
        groups[key(op)].append(op)
    return groups.items()


def nodes_agree(history):
    faults = []
    if len({node.digest for node in history.nodes.values()}) > 1:
        faults.append(('digest', str({name: node.digest for name, node in history.nodes.items()})))
    for name, node in history.nodes.items():
        if node.mismatches:
            faults.append(('audit', f'{name} counts {node.mismatches} mismatches'))
        if node.rss > node.rss_max:
            faults.append(('memory', f'{name} holds {node.rss >> 20} MiB; {node.rss_max >> 20} are allowed'))
    return faults


def judge(history):
    faults = nodes_agree(history) + [('log', line) for line in history.complaints]
    faults += [('error', str(op)) for op in history.ops if refused(op) and not op.reply.startswith('LOADING')]
    sure = survivors(history)
    for name, ops in by(lambda op: op.name, [op for op in history.ops if op.kind != 'wait']):
        kinds = by(lambda op: op.kind, ops)
        of = defaultdict(list, kinds)
        if of['add'] or of['sum']:
            faults += counter_reads(name, of['add'], of['sum'])
            final = lambda value: final_counter(of['add'], sure, value or 0)
        elif of['put'] or of['cut'] or of['has']:
            members = {m: group for m, group in by(lambda op: op.value, ops)}
            for group in members.values():
                faults += member_reads(group)
            writes = {m: [op for op in group if op.kind != 'has'] for m, group in members.items()}
            final = lambda value: final_set(name, writes, sure, value or set())
        else:
            writes = of['set'] + of['del']
            faults += register_reads(name, writes, of['get'])
            final = lambda value: register_value(value, writes, lambda op: op in sure)
        for node, said in history.nodes.items():
            faults += [(kind, f'in the end, {node}, {name}: {why}') for kind, why in final(said.values.get(name))]
    return faults
