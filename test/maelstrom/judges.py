"""Judges of histories. Each returns faults, (kind, why): none for a history that is allowed.

A history is a list of Op in the order in which they were asked. Every node has one client, which asks
one thing at a time: what a node has shown or acknowledged before an operation is asked, it must know."""
import json


class Op:
    def __init__(self, node, request, asked, final=False):
        self.node, self.request, self.asked, self.final = node, request, asked, final
        self.answered = None
        self.body = None # of the reply; None: none came

    @property
    def ok(self):
        return self.body is not None and self.body.get('type') != 'error'


def canonical(value):
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def last_reads(history):
    """The final read of every node; a node that has none is missing."""
    return {op.node: op for op in history if op.final and op.ok}


def disagreements(values, what):
    if len(set(values.values())) > 1:
        return [('disagree', f'{what}: {sorted(values.items())}'[:600])]
    return []


# ---------------------------------------------------------------- echo, ids

def echo(history):
    return [('echo', f'{op.request} came back as {op.body}') for op in history
            if op.ok and canonical(op.request['echo']) != canonical(op.body['echo'])]


def unique_ids(history):
    seen, faults = set(), []
    for op in history:
        if not op.ok:
            continue
        id_ = canonical(op.body['id'])
        if id_ in seen:
            faults.append(('repeated', f'{op.node} gives {id_}, which was given before'))
        seen.add(id_)
    return faults


# --------------------------------------------------------------------- sets

def grow_only_set(history, add, field, answer):
    faults, attempted, acked, known = [], {}, set(), {}
    for op in history:
        if op.request['type'] == add:
            attempted[canonical(op.request[field])] = op.asked
            if op.ok:
                acked.add(canonical(op.request[field]))
                known.setdefault(op.node, set()).add(canonical(op.request[field]))
        elif op.ok and op.request['type'] == 'read':
            faults += set_read(op, answer, attempted, known.setdefault(op.node, set()), history)
    for node, op in last_reads(history).items():
        lost = acked - {canonical(v) for v in op.body[answer]}
        if lost:
            faults.append(('lost', f'{node} in the end lacks {len(lost)} of {len(acked)}: {sorted(lost)[:5]}'))
    finals = {node: canonical(sorted(canonical(v) for v in op.body[answer])) for node, op in last_reads(history).items()}
    return faults + disagreements(finals, 'sets in the end')


def set_read(op, answer, attempted, known, history):
    faults, shown = [], [canonical(v) for v in op.body[answer]]
    members = set(shown)
    if len(members) != len(shown):
        faults.append(('repeated', f'{op.node} shows a member twice'))
    for member in known - members:
        faults.append(('forgotten', f'{op.node} shows {member} no more'))
    later = {canonical(o.request.get('message', o.request.get('element'))) for o in history
             if o.asked <= op.answered} if members - set(attempted) else set()
    for member in members - set(attempted) - later:
        faults.append(('invented', f'{op.node} shows {member}, which nobody added'))
    known |= members
    return faults


# ----------------------------------------------------------------- counters

def counter(history):
    """Anything between: all that this node knows of, and all that others may have added or taken."""
    faults, own, total = [], {}, 0
    adds = [op for op in history if op.request['type'] == 'add']
    grows = all(op.request['delta'] >= 0 for op in adds)
    shown = {}
    for op in history:
        if op.request['type'] == 'add' and op.ok:
            own[op.node] = own.get(op.node, 0) + op.request['delta']
            total += op.request['delta']
        elif op.request['type'] == 'read' and op.ok:
            value, base = op.body['value'], own.get(op.node, 0)
            others = [o.request['delta'] for o in adds if o.node != op.node and o.asked <= op.answered]
            least, most = base + sum(d for d in others if d < 0), base + sum(d for d in others if d > 0)
            if not least <= value <= most:
                faults.append(('sum', f'{op.node} shows {value}, which is not in [{least}, {most}]'))
            if grows and value < shown.get(op.node, 0):
                faults.append(('forgotten', f'{op.node} shows {value} after {shown[op.node]}'))
            shown[op.node] = value
    for node, op in last_reads(history).items():
        if op.body['value'] != total:
            faults.append(('sum', f'{node} shows {op.body["value"]} in the end, not {total}'))
    return faults + disagreements({n: op.body['value'] for n, op in last_reads(history).items()}, 'counters in the end')


# ---------------------------------------------------------------- registers

class Versions:
    """Which value came after which, as far as anybody can tell: who has seen one and writes another
    puts it behind. Also what each node showed last, and what it must not show again."""

    def __init__(self):
        self.now = {}    # (node, key): the value seen last
        self.over = {}   # (node, key): values that it saw give way
        self.after = {}  # (key, value): values written by those who had seen it

    def see(self, node, key, value):
        """False: the node had seen it give way to another."""
        at = (node, key)
        if value in self.over.setdefault(at, set()):
            return False
        if at in self.now and self.now[at] != value:
            self.over[at].add(self.now[at])
        self.now[at] = value
        return True

    def write(self, node, key, value):
        before = self.now.get((node, key))
        if before is not None:
            self.after.setdefault((key, before), set()).add(value)
        self.see(node, key, value)
        return before


def registers(history):
    faults, versions, written = [], Versions(), {}
    for op in history:
        if op.request['type'] == 'write':
            written[(op.request['key'], op.request['value'])] = op
    for op in history:
        key, node = op.request['key'], op.node
        if op.request['type'] == 'write' and op.ok:
            versions.write(node, key, op.request['value'])
        elif op.request['type'] == 'read' and op.ok:
            value = op.body['value']
            writer = written.get((key, value)) if isinstance(value, int) else None
            if not writer or writer.asked > op.answered:
                faults.append(('invented', f'{node} shows {value!r} for {key}, which nobody wrote'))
            elif not versions.see(node, key, value):
                faults.append(('stale', f'{node} shows {value} for {key} again, which it had seen overwritten'))
        elif op.request['type'] == 'read' and op.body and (node, key) in versions.now:
            faults.append(('forgotten', f'{node} has no {key} any more'))
    return faults + registers_final(history, versions)


def registers_final(history, versions):
    faults, finals = [], {}
    for op in history:
        if op.final and op.request['type'] == 'read' and op.body:
            finals.setdefault(op.request['key'], {})[op.node] = canonical(op.body.get('value'))
            if op.ok and versions.after.get((op.request['key'], op.body['value'])):
                faults.append(('stale', f'{op.node} in the end shows {op.body["value"]} for {op.request["key"]}, '
                                        'which one that had seen it overwrote'))
    for key, values in finals.items():
        faults += disagreements(values, f'register {key} in the end')
    return faults


# -------------------------------------------------------------- transactions

class Txns:
    """Adya's phenomena, on what can be known of the order of versions."""

    def __init__(self, history, must_fail):
        self.txns = [op for op in history if op.request['type'] == 'txn']
        self.must_fail = must_fail
        self.writer, self.last = {}, {} # (key, value): its transaction; (transaction, key): its last value
        self.ww, self.wr, self.faults = {}, {}, []
        for i, op in enumerate(self.txns):
            for f, key, value in op.request['txn']:
                if f == 'w':
                    self.writer[(key, value)] = i
                    self.last[(i, key)] = value

    def fault(self, kind, why):
        self.faults.append((kind, why))

    def read(self, i, key, value):
        """A read of what others wrote."""
        op, by = self.txns[i], self.writer.get((key, value))
        if by is None or self.txns[by].asked > op.answered:
            self.fault('invented', f'{op.node} shows {value!r} for {key}, which nobody wrote')
        elif self.must_fail(self.txns[by].request):
            self.fault('G1a', f'{op.node} shows {value} for {key}, of a transaction that was refused')
        elif self.last[(by, key)] != value:
            self.fault('G1b', f'{op.node} shows {value} for {key}, which its own transaction overwrote')
        else:
            self.wr.setdefault(by, set()).add(i)
            return True
        return False

    def replay(self, i, versions):
        op, mine, seen = self.txns[i], {}, {}
        if canonical([[f, k, v if f == 'w' else None] for f, k, v in op.body['txn']]) != canonical(op.request['txn']):
            self.fault('schema', f'{op.request} is answered by {op.body}')
            return
        for f, key, value in op.body['txn']:
            if f == 'w':
                mine[key] = value
            elif key in mine or key in seen:
                if mine.get(key, seen.get(key)) != value:
                    self.fault('internal', f'{op.node}: {op.body["txn"]}')
            else:
                seen[key] = value
                if value is None:
                    if (op.node, key) in versions.now:
                        self.fault('forgotten', f'{op.node} has no {key} any more')
                elif self.read(i, key, value) and not versions.see(op.node, key, value):
                    self.fault('stale', f'{op.node} shows {value} for {key} again, which it had seen overwritten')
        for key, value in mine.items():
            before = versions.write(op.node, key, value)
            if before is not None:
                self.ww.setdefault(self.writer[(key, before)], set()).add(i)

    def order_by_finals(self):
        """What is there in the end came after all else."""
        for op in self.txns:
            if not op.final or not op.ok:
                continue
            for _, key, value in op.body['txn']:
                last = self.writer.get((key, value))
                for (other_key, _), i in self.writer.items():
                    if other_key == key and last is not None and i != last and not self.must_fail(self.txns[i].request):
                        self.ww.setdefault(i, set()).add(last)

    def judge(self):
        versions = Versions()
        for i, op in enumerate(self.txns):
            if op.ok:
                self.replay(i, versions)
        self.order_by_finals()
        finals = {op.node: canonical(op.body['txn']) for op in self.txns if op.final and op.ok}
        self.faults += disagreements(finals, 'registers in the end')
        for kind, cycle in (('G0', find_cycle([self.ww])), ('G1c', self.circular_read())):
            if cycle:
                self.fault(kind, ' -> '.join(str(self.txns[i].request['txn']) for i in cycle)[:600])
        return self.faults

    def circular_read(self):
        """A cycle with a read in it, or None."""
        if not find_cycle([self.ww, self.wr]):
            return None
        reads = ((a, b) for a, targets in self.wr.items() for b in targets if a != b)
        return next((path for a, b in reads if (path := find_path([self.ww, self.wr], b, a))), None)


def find_cycle(graphs):
    """Some cycle, or None: depth first, without recursion."""
    edges = {}
    for graph in graphs:
        for a, targets in graph.items():
            edges.setdefault(a, set()).update(b for b in targets if b != a)
    state = {} # 1: on the path, 2: done
    for start in edges:
        if start in state:
            continue
        path, todo = [start], [iter(edges[start])]
        state[start] = 1
        while path:
            for b in todo[-1]:
                if state.get(b) == 1:
                    return path[path.index(b):] + [b]
                if b not in state:
                    state[b] = 1
                    path.append(b)
                    todo.append(iter(edges.get(b, ())))
                    break
            else:
                state[path.pop()] = 2
                todo.pop()
    return None


def find_path(graphs, start, end):
    came, todo = {start: None}, [start]
    while todo and end not in came:
        a = todo.pop()
        for b in (b for graph in graphs for b in graph.get(a, ())):
            if b not in came:
                came[b] = a
                todo.append(b)
    path, at = [], end if end in came else None
    while at is not None:
        path.append(at)
        at = came[at]
    return path[::-1]


def transactions(history, must_fail):
    return Txns(history, must_fail).judge()
