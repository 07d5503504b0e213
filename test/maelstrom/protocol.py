"""What one node says to each request, and to what is none: `check` yields whether each check holds."""
import json
import random
import subprocess
import tempfile
import time

import network

INIT = {'type': 'init', 'node_id': 'n0', 'node_ids': ['n0', 'n1']}
ANY = object()
EMPTY = {'broadcast': {'messages': []}, 'g-set': {'value': []}, 'g-counter': {'value': 0}, 'pn-counter': {'value': 0}}


def line(body, src='c0', dest='n0'):
    return json.dumps({'id': 7, 'src': src, 'dest': dest, 'body': body})


class Talk:
    """What a node says to lines that end; then it must end itself, with 0."""

    def __init__(self, binary, lines, *options):
        data = b'\n'.join(t if isinstance(t, bytes) else t.encode() for t in lines) + b'\n'
        done = subprocess.run([binary, *options], input=data, capture_output=True, timeout=20)
        self.code, self.errors = done.returncode, done.stderr.decode(errors='replace')
        said = [json.loads(t) for t in done.stdout.splitlines()]
        self.bodies = [m['body'] for m in said if m['dest'] == 'c0' and m['src'] == 'n0']


def says(binary, pairs, *options):
    """pairs: requests, and what must be said to each; None for nothing. Numbers them."""
    lines, want = [line({**INIT, 'msg_id': 0})], [{'type': 'init_ok', 'in_reply_to': 0}]
    for i, (request, reply) in enumerate(pairs, 1):
        lines.append(request if isinstance(request, (str, bytes)) else line({**request, 'msg_id': i}))
        if reply is not None:
            want.append({**reply, 'in_reply_to': i})
    talk = Talk(binary, lines, *options)
    got = [{k: ANY if k == 'text' else v for k, v in b.items()} for b in talk.bodies]
    if talk.code or got != want:
        print(f'    exit {talk.code}, expected and said:')
        for a, b in zip(want + [None] * len(got), got + [None] * (len(want) - len(got))):
            if a != b:
                print(f'    {a}\n    {b}')
    return talk.code == 0 and got == want


def error(code):
    return {'type': 'error', 'code': code, 'text': ANY}


def replies_have_the_fields_of_their_schemas(binary):
    odd = {'b': [1, 2.5, None, True, 'ü"\\\n\u2603'], 'a': {}, '': -(1 << 63)}
    return says(binary, [
        ({'type': 'echo', 'echo': odd}, {'type': 'echo_ok', 'echo': odd}),
        ({'type': 'echo', 'echo': None}, {'type': 'echo_ok', 'echo': None}),
        ({'type': 'topology', 'topology': {'n0': []}}, {'type': 'topology_ok'}),
        ({'type': 'read'}, {'type': 'read_ok', 'messages': []}),
        ({'type': 'broadcast', 'message': odd}, {'type': 'broadcast_ok'}),
        ({'type': 'broadcast', 'message': dict(reversed(odd.items()))}, {'type': 'broadcast_ok'}),
        ({'type': 'read'}, {'type': 'read_ok', 'messages': [odd]}),
        ({'type': 'add', 'element': 4}, {'type': 'add_ok'}),
        ({'type': 'read'}, {'type': 'read_ok', 'value': [4]}),
        ({'type': 'add', 'delta': 4}, {'type': 'add_ok'}),
        ({'type': 'add', 'delta': -6}, {'type': 'add_ok'}),
        ({'type': 'read'}, {'type': 'read_ok', 'value': -2}),
        ({'type': 'read', 'key': 'k'}, error(20)),
        ({'type': 'write', 'key': 'k', 'value': odd}, {'type': 'write_ok'}),
        ({'type': 'read', 'key': 'k'}, {'type': 'read_ok', 'value': odd}),
        ({'type': 'write', 'key': 1, 'value': 5}, {'type': 'write_ok'}),
        ({'type': 'read', 'key': '1'}, error(20)),
        ({'type': 'cas', 'key': 1, 'from': 5, 'to': 6}, error(10)),
        ({'type': 'read', 'key': 1}, {'type': 'read_ok', 'value': 5}),
    ])


def transactions_are_whole(binary):
    return says(binary, [
        ({'type': 'txn', 'txn': []}, {'type': 'txn_ok', 'txn': []}),
        ({'type': 'txn', 'txn': [['r', 1, None], ['w', 1, 6], ['r', 1, None], ['w', 1, 7], ['w', 2, [9]], ['r', 1, None]]},
         {'type': 'txn_ok', 'txn': [['r', 1, None], ['w', 1, 6], ['r', 1, 6], ['w', 1, 7], ['w', 2, [9]], ['r', 1, 7]]}),
        ({'type': 'txn', 'txn': [['w', 1, 8], ['append', 1, 9]]}, error(12)),
        ({'type': 'txn', 'txn': [['w', 1, 8], ['r', 1]]}, error(12)),
        ({'type': 'txn', 'txn': [['w', 1, 8]] * 1025}, error(12)),
        ({'type': 'txn', 'txn': [['r', 1, None], ['r', 2, None], ['r', '1', None]]},
         {'type': 'txn_ok', 'txn': [['r', 1, 7], ['r', 2, [9]], ['r', '1', None]]}),
    ])


REFUSED = [
    {'type': 'echo'}, {'type': 'broadcast'}, {'type': 'topology'}, {'type': 'topology', 'topology': 1}, {'type': 'add'},
    {'type': 'add', 'delta': 1.5}, {'type': 'add', 'delta': '1'}, {'type': 'add', 'delta': 1, 'element': 1},
    {'type': 'write', 'key': 1}, {'type': 'write', 'value': 1}, {'type': 'txn'}, {'type': 'txn', 'txn': {}},
    {'type': 'txn', 'txn': [1]}, {'type': 7}, INIT]
ECHO = {'type': 'echo', 'echo': 1}
# Nobody to answer, or nothing that wants an answer.
UNANSWERED = [
    b'', b'   ', b'foo', b'[]', b'7', b'"x"', b'{', b'{}', b'\xff\xfe\x00', b'[' * 3000, b'{"src":"c0","dest":"n0"}',
    b'{"src":1,"dest":"n0","body":{}}', b'x' * (3 << 20), line(ECHO), line({**ECHO, 'msg_id': 1}, dest='n9'),
    line({**ECHO, 'msg_id': 'a'}), line({'type': 'error', 'msg_id': 1}), line({'type': 'read_ok', 'msg_id': 1, 'in_reply_to': 1}),
    line({'type': 'echo', 'echo': 123, 'msg_id': 1}).replace('123', '9' * 20)]
FRAMES = [line({'type': 'anneal', **frame}, src=src) for src in ('c0', 'n0', 'n1', 'n7')
          for frame in ({}, {'frame': 1}, {'frame': '*'}, {'frame': 'AAAA'}, {'frame': 'A' * 100000})]
HELLOS = [line({'type': 'anneal_hello'}, src=src) for src in ('n1', 'n1', 'c0')]


def what_is_wrong_is_refused(binary):
    return says(binary, [(request, error(12)) for request in REFUSED] +
                [({'type': 'none'}, error(10)), ({'type': ''}, error(10)),
                 ({'type': 'add', 'delta': (1 << 63) - 1}, {'type': 'add_ok'}), ({'type': 'add', 'delta': 1}, error(14))] +
                [(t, None) for t in UNANSWERED + FRAMES + HELLOS] + [(ECHO, {'type': 'echo_ok', 'echo': 1})])


def mutated_lines_do_no_harm(binary):
    """What the alphabet of JSON gives when the dice are thrown; the last question is answered."""
    rng, lines = random.Random(7), [line({**INIT, 'msg_id': 1})]
    seeds = [t if isinstance(t, bytes) else t.encode() for t in UNANSWERED[:-1] + FRAMES + HELLOS if len(t) < 500]
    seeds += [line({**request, 'msg_id': 2}).encode() for request in REFUSED + [ECHO, {'type': 'txn', 'txn': [['w', 1, [2]], ['r', 1, None]]}]]
    for _ in range(20000):
        text = bytearray(rng.choice(seeds) or b'0')
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(text) or 1)
            text[at:at + rng.randrange(4)] = rng.choice((b'', b'"', b'{', b'[', b']', b'}', b',', b':', b'null', b'-1', b'\\u0000', b'\x00', b'\xc3'))
        lines.append(bytes(text))
    talk = Talk(binary, lines + ['', line({'type': 'echo', 'echo': 'still here', 'msg_id': 3})])
    return talk.code == 0 and {'type': 'echo_ok', 'echo': 'still here', 'in_reply_to': 3} in talk.bodies


def counters_are_on_standard_error(binary):
    talk = Talk(binary, ['foo', line({**INIT, 'msg_id': 1}), line({'type': 'none', 'msg_id': 2})] + ['bar'] * 100)
    lines = talk.errors.splitlines()
    return '101 lines that are no message' in talk.errors and '1 requests of an unknown type' in talk.errors and len(lines) < 20


def nothing_is_done_before_init(binary):
    bad = [{}, {'node_id': 'n0'}, {'node_id': 'n0', 'node_ids': []}, {'node_id': 'n0', 'node_ids': ['n1']},
           {'node_id': 0, 'node_ids': [0]}, {'node_id': 'n0', 'node_ids': ['n0', 5]}, {'node_id': 'n0', 'node_ids': [f'n{i}' for i in range(1000)]}]
    frame = line({'type': 'anneal', 'frame': 'A' * 40000}, src='n1')
    talk = Talk(binary, [line({'type': 'echo', 'echo': 1, 'msg_id': 1})] + [line({'type': 'init', **b, 'msg_id': 2}) for b in bad] +
                [frame] * 1000 + [line({'type': 'init', 'node_id': 'n0', 'node_ids': ['n0', 'n1'], 'msg_id': 3})])
    codes = [b.get('code') for b in talk.bodies]
    return talk.code == 0 and codes == [11] + [12] * len(bad) + [None] and 'no room for a frame' in talk.errors


def an_option_tells_what_reads_ask_for(binary):
    read = {'type': 'read'}
    told = all(says(binary, [(read, {'type': 'read_ok', **fields})], '--workload', name) for name, fields in EMPTY.items())
    fixed = says(binary, [({'type': 'add', 'delta': 1}, {'type': 'add_ok'}), (read, {'type': 'read_ok', 'value': []})], '--workload', 'g-set')
    wrong = [subprocess.run([binary, *args], stdin=subprocess.DEVNULL, capture_output=True).returncode
             for args in (['--workload', 'none'], ['--none'], ['x'], ['--help'])]
    return told and fixed and wrong == [1, 1, 1, 0]


def maelstroms_own_command_line_tells_as_well(binary):
    """Its JVM is our parent; here a shell is, with the same words behind it."""
    ask = '\n'.join([line({**INIT, 'msg_id': 1}), line({'type': 'read', 'msg_id': 2})]) + '\n'
    said = {}
    for words in (['test', '-w', 'g-set', '--bin', 'x'], ['test', '--bin', 'x', '--workload', 'broadcast'], ['test', '-w', 'pn-counter']):
        done = subprocess.run(['sh', '-c', '"$0"; true', binary, *words], input=ask.encode(), capture_output=True, timeout=20)
        bodies = [json.loads(t)['body'] for t in done.stdout.splitlines()]
        said[words[-1] if words[-1] != 'x' else words[2]] = [b for b in bodies if b.get('in_reply_to') == 2]
    good = said == {name: [{'type': 'read_ok', 'in_reply_to': 2, **fields}] for name, fields in EMPTY.items() if name != 'g-counter'}
    if not good:
        print(f'    {said}')
    return good


def reads_wait_for_what_is_written(binary):
    """n1 is asked first; n0 is written to later, or never."""
    loop, answers, started = network.Loop(), {}, time.monotonic()
    clusters = []
    for name, write in (('set', {'type': 'add', 'element': 5}), ('counter', {'type': 'add', 'delta': 5}), ('nothing', None)):
        with tempfile.TemporaryFile() as log:
            cluster = network.Cluster(loop, random.Random(1), 2, [binary], None, log, network.Faults())
        clusters.append(cluster)
        cluster.clients['c0'] = lambda message: None
        cluster.clients['c1'] = lambda message, name=name: answers.setdefault(name, []).append(
            (message['body'], time.monotonic() - started))
        for node in cluster.names:
            cluster.from_client('c' + node[1:], node, {**INIT, 'node_id': node, 'node_ids': cluster.names, 'msg_id': 1})
        cluster.from_client('c1', 'n1', {'type': 'read', 'msg_id': 2})
        if write:
            loop.after(0.3, lambda cluster=cluster, write=write: cluster.from_client('c0', 'n0', {**write, 'msg_id': 2}))
    loop.run(lambda: time.monotonic() > started + 10 or (len(answers) == 3 and all(len(a) == 2 for a in answers.values())))
    for cluster in clusters:
        cluster.close()
    reads = {name: (a[1][0].get('value'), 'soon' if a[1][1] < 1.5 else 'late') for name, a in answers.items() if len(a) == 2}
    good = reads == {'set': ([5], 'soon'), 'counter': (5, 'soon'), 'nothing': (0, 'late')} and not any(c.wrong for c in clusters)
    if not good:
        print(f'    {answers}')
    return good


CHECKS = (replies_have_the_fields_of_their_schemas, transactions_are_whole, what_is_wrong_is_refused, mutated_lines_do_no_harm,
          counters_are_on_standard_error,
          nothing_is_done_before_init, an_option_tells_what_reads_ask_for,
          maelstroms_own_command_line_tells_as_well, reads_wait_for_what_is_written)


def check(binary):
    for one in CHECKS:
        good = one(binary)
        print(f'{"ok    " if good else "FAILED"} {one.__name__.replace("_", " ")}', flush=True)
        yield good
