"""The judge, judged: histories that are allowed, and each with one thing wrong, which it must see."""
import copy
import sys

import pytest

sys.dont_write_bytecode = True
from judge import Error, History, Node, Op, Start, judge


class Tale:
    """Three nodes: `a` keeps a log, `b` and `c` do not. Requests follow each other, one a second."""

    def __init__(self):
        self.now, self.ops, self.starts, self.said = 0.0, [], [], {}
        self.life = {name: self.begin(name, 0) for name in 'abc'}
        self.digests, self.finals = dict.fromkeys('abc', 'd'), {}

    def begin(self, name, number):
        life = Start(name, number, name == 'a', self.now)
        self.starts.append(life)
        return life

    def ask(self, node, kind, name='', value=None, reply=1, client=None, answered=True):
        self.now += 1
        client = client or 'at ' + node
        op = Op(client, (client, self.life[node].number), self.life[node], kind, name, value, self.now)
        if answered:
            op.done, op.reply = self.now + 0.5, reply
        self.ops.append(op)
        return op

    def restart(self, node, how='kill', wiped=False):
        self.now += 1
        life = self.life[node]
        life.ended, life.how = self.now, how
        for s in self.starts:
            s.wiped = s.wiped or (wiped and s.node == node)
        self.life[node] = self.begin(node, life.number + 1)

    def judge(self, **finals):
        nodes = {n: Node(self.digests[n], dict(finals)) for n in 'abc'}
        return {kind for kind, _ in judge(History(self.ops, self.starts, nodes, self.finals.get('log', ())))}


@pytest.fixture
def tale():
    return Tale()


# ------------------------------------------------------------------- counters

def count(tale):
    tale.ask('a', 'add', 'n', 5, reply=5)
    tale.ask('b', 'add', 'n', 7, reply=12)
    tale.ask('c', 'add', 'n', -2, reply=10)


def test_a_counter_is_its_sum(tale):
    count(tale)
    assert not tale.judge(n=10)
    for wrong in (9, 11, 0, 12):
        assert tale.judge(n=wrong) == {'sum'}


def test_what_was_not_answered_may_count(tale):
    count(tale)
    tale.ask('a', 'add', 'n', 100, answered=False)
    assert not tale.judge(n=10) and not tale.judge(n=110)
    assert tale.judge(n=9) == tale.judge(n=111) == {'sum'}


def test_kill_9_takes_what_has_no_log(tale):
    count(tale)
    tale.restart('b')
    assert not tale.judge(n=10) and not tale.judge(n=3)
    assert tale.judge(n=2) == {'sum'}


def test_kill_9_takes_nothing_from_a_log(tale):
    count(tale)
    tale.restart('a')
    assert not tale.judge(n=10)
    assert tale.judge(n=5) == {'sum'}


def test_what_is_gone_from_the_disk_may_be_lost(tale):
    count(tale)
    tale.restart('a', 'stop', wiped=True)
    assert not tale.judge(n=5)


def test_wait_counts_nodes_that_stay(tale):
    count(tale)
    tale.ask('b', 'wait', '1', 200, reply=2)
    tale.restart('b')
    assert tale.judge(n=3) == {'sum'}


def test_wait_does_not_count_nodes_that_forget(tale):
    count(tale)
    tale.ask('b', 'wait', '1', 200, reply=1)
    tale.restart('c')
    tale.restart('b')
    assert not tale.judge(n=3)


def test_a_wait_of_another_connection_confirms_nothing(tale):
    count(tale)
    tale.ask('b', 'wait', '1', 200, reply=2, client='another')
    tale.restart('b')
    assert not tale.judge(n=3)


def test_a_counter_that_grows_does_not_shrink(tale):
    tale.ask('a', 'add', 'n', 5, reply=5)
    tale.ask('a', 'sum', 'n', reply=5)
    assert not tale.judge(n=5)
    low = copy.deepcopy(tale)
    low.ask('a', 'sum', 'n', reply=4)
    assert low.judge(n=5) == {'backwards'}
    low = copy.deepcopy(tale)
    low.ask('a', 'add', 'n', 2, reply=6)
    assert low.judge(n=7) == {'backwards'}
    tale.ask('b', 'sum', 'n', reply=4)  # another node may be behind
    assert not tale.judge(n=5)
    tale.ask('b', 'sum', 'n', reply=6)
    assert tale.judge(n=5) == {'invented'}


def test_a_restarted_node_may_be_behind_itself(tale):
    tale.ask('b', 'add', 'n', 5, reply=5)
    tale.restart('b')
    tale.ask('b', 'sum', 'n', reply=0)
    assert not tale.judge(n=5)


# ----------------------------------------------------------------------- sets

def test_a_member_stays_until_it_is_removed(tale):
    tale.ask('a', 'put', 's', 'm')
    assert not tale.judge(s={'m'})
    assert tale.judge() == {'lost'}
    tale.ask('a', 'cut', 's', 'm')
    assert not tale.judge()
    assert tale.judge(s={'m'}) == {'resurrected'}
    tale.ask('a', 'put', 's', 'm')
    assert tale.judge() == {'lost'}


def test_members_that_nobody_added(tale):
    tale.ask('a', 'put', 's', 'm')
    assert tale.judge(s={'m', 'x'}) == {'invented'}


def test_a_lost_remove_is_no_resurrection(tale):
    tale.ask('b', 'put', 's', 'm')
    tale.ask('b', 'cut', 's', 'm')
    tale.restart('b')
    assert not tale.judge(s={'m'}) and not tale.judge()


def test_a_remove_that_did_not_see_the_add(tale):
    """The add is lost here, and kept where it was heard: the remove knows nothing of it."""
    tale.ask('b', 'put', 's', 'm')
    tale.restart('b')
    tale.ask('b', 'cut', 's', 'm', reply=0)
    assert not tale.judge(s={'m'}) and not tale.judge()


def test_a_remove_that_found_nothing_hides_none_before_it(tale):
    tale.ask('a', 'put', 's', 'm')
    tale.ask('a', 'cut', 's', 'm')
    tale.ask('a', 'cut', 's', 'm', reply=0)
    tale.restart('a')
    assert not tale.judge()
    assert tale.judge(s={'m'}) == {'resurrected'}


def test_an_unanswered_remove_that_was_seen_to_be_done(tale):
    tale.ask('a', 'put', 's', 'm')
    tale.ask('a', 'cut', 's', 'm', answered=False)
    tale.ask('a', 'cut', 's', 'm', reply=0)
    assert tale.judge(s={'m'}) == {'resurrected'}
    tale.restart('a')
    tale.ask('a', 'has', 's', 'm', reply=1)
    assert not tale.judge(s={'m'}) and not tale.judge()


def test_a_log_remembers_adds_and_removes(tale):
    tale.ask('a', 'put', 's', 'm')
    tale.ask('a', 'put', 's', 'k')
    tale.restart('a')
    tale.ask('a', 'cut', 's', 'm')
    tale.restart('a')
    assert not tale.judge(s={'k'})
    assert tale.judge(s={'k', 'm'}) == {'resurrected'}
    assert tale.judge(s=set()) == {'lost'}


def test_unanswered_adds_and_removes_leave_it_open(tale):
    tale.ask('a', 'put', 's', 'm')
    tale.ask('a', 'cut', 's', 'm', answered=False)
    tale.ask('a', 'put', 's', 'k', answered=False)
    tale.ask('a', 'cut', 's', 'k')
    for value in (set(), {'m'}, {'k'}, {'m', 'k'}):
        assert not tale.judge(s=value)


def test_a_client_sees_its_own_members(tale):
    tale.ask('b', 'put', 's', 'm')
    good, bad = copy.deepcopy(tale), copy.deepcopy(tale)
    good.ask('b', 'has', 's', 'm', reply=1)
    assert not good.judge(s={'m'})
    bad.ask('b', 'has', 's', 'm', reply=0)
    assert bad.judge(s={'m'}) == {'own'}
    tale.restart('b')
    tale.ask('b', 'has', 's', 'm', reply=0)
    assert not tale.judge(s={'m'})
    tale.ask('b', 'put', 's', 'm')
    tale.ask('b', 'cut', 's', 'm')
    tale.ask('b', 'has', 's', 'm', reply=1)  # what was lost and came back from another node
    assert not tale.judge(s={'m'})


# ------------------------------------------------------------------ registers

def test_a_register_holds_what_was_written_last_on_some_node(tale):
    tale.ask('a', 'set', 'r', 'a1', reply='OK')
    tale.ask('b', 'set', 'r', 'b1', reply='OK')
    tale.ask('a', 'set', 'r', 'a2', reply='OK')
    assert not tale.judge(r='a2') and not tale.judge(r='b1')
    assert tale.judge(r='a1') == {'overwritten'}
    assert tale.judge(r='c1') == {'invented'}
    assert tale.judge() == {'lost'}


def test_an_overwrite_that_may_be_lost_proves_nothing(tale):
    tale.ask('b', 'set', 'r', 'b1', reply='OK')
    tale.ask('b', 'set', 'r', 'b2', reply='OK')
    tale.restart('b')
    assert not tale.judge(r='b1') and not tale.judge(r='b2') and not tale.judge()


def test_deletes_take_what_they_may_have_seen(tale):
    tale.ask('a', 'set', 'r', 'a1', reply='OK')
    tale.ask('a', 'del', 'r')
    assert not tale.judge()
    assert tale.judge(r='a1') == {'overwritten'}
    tale.ask('b', 'set', 'r', 'b1', reply='OK')
    assert tale.judge() == {'lost'}
    tale.ask('c', 'del', 'r', answered=False)
    assert not tale.judge() and not tale.judge(r='b1')


def test_a_register_is_read_as_it_was_written_here(tale):
    tale.ask('a', 'set', 'r', 'a1', reply='OK')
    tale.ask('a', 'set', 'r', 'a2', reply='OK')
    tale.ask('b', 'set', 'r', 'b1', reply='OK')
    for reply, faults in (('a2', set()), ('b1', set()), ('a1', {'overwritten'}), ('x', {'invented'}), (None, {'lost'})):
        read = copy.deepcopy(tale)
        read.ask('a', 'get', 'r', reply=reply)
        assert read.judge(r='b1') == faults
    tale.ask('c', 'get', 'r', reply='a1')  # there it may not have been overwritten yet
    tale.ask('c', 'get', 'r', reply=None)
    assert not tale.judge(r='b1')


def deleted_elsewhere(tale):
    """Node c deletes what a wrote, a hears of it, and finds nothing to delete."""
    tale.ask('a', 'set', 'r', 'a1', reply='OK')
    tale.ask('c', 'del', 'r')
    return tale.ask('a', 'del', 'r', reply=0)


def blackout(tale):
    for node in 'abc':
        tale.restart(node)


def test_a_delete_that_found_nothing_is_no_write_that_a_log_keeps(tale):
    deleted_elsewhere(tale)
    blackout(tale)
    tale.ask('a', 'get', 'r', reply='a1')
    assert not tale.judge(r='a1') and not tale.judge()


def test_a_delete_that_found_something_is_kept_by_a_log(tale):
    tale.ask('a', 'set', 'r', 'a1', reply='OK')
    tale.ask('a', 'del', 'r', reply=1)
    tale.ask('a', 'del', 'r', reply=0)
    blackout(tale)
    assert not tale.judge()
    assert tale.judge(r='a1') == {'overwritten'}
    tale.ask('a', 'get', 'r', reply='a1')
    assert tale.judge() == {'overwritten'}


def test_what_a_delete_found_lasts_as_long_as_its_process(tale):
    deleted_elsewhere(tale)
    assert not tale.judge()
    assert tale.judge(r='a1') == {'overwritten'}
    tale.ask('a', 'get', 'r', reply='a1')
    blackout(tale)
    assert tale.judge() == {'overwritten'}


@pytest.mark.parametrize('later, how', [(10, 'kill'), (0, 'stop')])
def test_what_a_delete_found_is_in_the_log_in_the_end(tale, later, how):
    deleted_elsewhere(tale)
    tale.now += later
    tale.restart('a', how)
    assert tale.judge(r='a1') == {'overwritten'}
    tale.ask('a', 'get', 'r', reply='a1')
    assert tale.judge() == {'overwritten'}


def test_wait_confirms_no_delete_that_found_nothing(tale):
    tale.ask('b', 'set', 'r', 'b1', reply='OK')
    tale.ask('c', 'del', 'r')
    tale.ask('b', 'del', 'r', reply=0)
    tale.ask('b', 'wait', '2', 200, reply=2)
    tale.restart('c')
    tale.restart('b')
    assert not tale.judge(r='b1') and not tale.judge()


# ----------------------------------------------------------------- everything

def test_diverged_digests(tale):
    tale.digests['b'] = 'e'
    assert tale.judge() == {'digest'}


def test_one_node_that_differs_though_digests_are_equal(tale):
    tale.ask('a', 'add', 'n', 5, reply=5)
    nodes = {n: Node('d', {'n': 5}) for n in 'abc'}
    nodes['b'].values['n'] = 4
    assert [kind for kind, _ in judge(History(tale.ops, tale.starts, nodes))] == ['sum']


def test_errors(tale):
    tale.ask('a', 'add', 'n', 5, reply=Error('LOADING Redis is loading the dataset in memory'))
    assert not tale.judge()
    assert tale.judge(n=5) == {'sum'}
    tale.ask('a', 'add', 'n', 5, reply=Error('MISCONF no space'))
    assert tale.judge() == {'error'}


def test_audits_logs_and_memory(tale):
    node = lambda **more: Node('d', {}, **more)
    faults = lambda history: [kind for kind, _ in judge(history)]
    assert not faults(History([], tale.starts, {'a': node(rss=9, rss_max=10)}))
    assert faults(History([], tale.starts, {'a': node(mismatches=1)})) == ['audit']
    assert faults(History([], tale.starts, {'a': node(rss=11, rss_max=10)})) == ['memory']
    assert faults(History([], tale.starts, {'a': node()}, ['a: audit: shard 3 differs'])) == ['log']
