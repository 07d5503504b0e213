"""A network for each node, and a switch between them that does harm.

Each node gets a network namespace without a name, which is gone when nobody is in it any more, with one TUN device.
A process of ours reads what one device sends and writes it to another: late, twice, in another order, or not at
all, by the rule for that pair in that direction. Needs root and /dev/net/tun; no bridge, no tc, nothing to tidy up."""
import contextlib
import ctypes
import fcntl
import heapq
import multiprocessing
import os
import random
import select
import signal
import struct
import subprocess
import threading
import time

CLONE_NEWNET, TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x40000000, 0x400454CA, 0x0001, 0x1000
LIBC = ctypes.CDLL(None, use_errno=True)
PACKETS_HELD_MAX = 20000  # beyond: lost, as in any switch


def checked(result, what):
    if result < 0:
        raise OSError(ctypes.get_errno(), what)


class Rule:
    """What happens to packets from one node to another."""

    def __init__(self, blocked=False, loss=0.0, delay_s=0.0, jitter_s=0.0, twice=0.0):
        self.blocked, self.loss, self.delay_s, self.jitter_s, self.twice = blocked, loss, delay_s, jitter_s, twice


class Namespaces:
    port, gossip_port, apart = 6379, 16379, True

    def __init__(self, nodes, seed):
        self.home = os.open('/proc/self/ns/net', os.O_RDONLY)
        self.spaces, devices, failures = [], [], []

        def make():
            try:
                for i in range(nodes):
                    space, device = new_space(self.host(i))
                    self.spaces.append(space)
                    devices.append(device)
            except OSError as e:
                failures.append(e)

        maker = threading.Thread(target=make)  # its end takes us out of the last namespace
        maker.start()
        maker.join()
        if failures:
            raise failures[0]
        self.rules = {}
        self.orders, theirs = multiprocessing.Pipe()
        self.switch = multiprocessing.get_context('fork').Process(target=switch, args=(devices, theirs, self.orders, seed), daemon=True)
        self.switch.start()
        theirs.close()
        for device in devices:
            os.close(device)

    def host(self, i):
        return f'10.77.0.{i + 1}'

    @contextlib.contextmanager
    def inside(self, i):
        """This thread, and what it starts, is in the namespace of that node."""
        self.enter(i)
        try:
            yield
        finally:
            checked(LIBC.setns(self.home, CLONE_NEWNET), 'setns')

    def enter(self, i):
        checked(LIBC.setns(self.spaces[i], CLONE_NEWNET), 'setns')

    def set_rules(self, rules):
        """{(from, to): Rule}; pairs that are not named have none."""
        self.orders.send(rules)

    def close(self):
        self.orders.close()
        self.switch.join(5)
        for space in self.spaces + [self.home]:
            os.close(space)
        self.spaces = []


def new_space(address):
    checked(LIBC.unshare(CLONE_NEWNET), 'unshare')
    device = os.open('/dev/net/tun', os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack('16sH22x', b'node0', IFF_TUN | IFF_NO_PI))
    for words in ('link set lo up', f'addr add {address}/24 dev node0', 'link set node0 mtu 9000 txqueuelen 2000 up'):
        if subprocess.run(['ip'] + words.split()).returncode:
            raise OSError('ip ' + words)
    return os.open(f'/proc/self/task/{threading.get_native_id()}/ns/net', os.O_RDONLY), device


def switch(devices, orders, not_ours, seed):
    """Until its owner is gone."""
    not_ours.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    rng, rules, held, count = random.Random(seed), {}, [], 0
    poll = select.poll()
    for fd in devices + [orders.fileno()]:
        poll.register(fd, select.POLLIN)
    while True:
        wait_s = held[0][0] - time.monotonic() if held else 1.0
        for fd, _ in poll.poll(max(0, wait_s * 1000)):
            if fd == orders.fileno():
                try:
                    rules = orders.recv()
                except (EOFError, KeyboardInterrupt):
                    return
                continue
            from_, now = devices.index(fd), time.monotonic()
            for packet in packets(fd):
                to = packet[19] - 1 if packet[0] >> 4 == 4 else len(devices)
                if to >= len(devices):
                    continue
                rule = rules.get((from_, to))
                if not rule:
                    deliver(devices[to], packet)
                    continue
                for _ in range(1 + (rng.random() < rule.twice)):
                    if not rule.blocked and rng.random() >= rule.loss and len(held) < PACKETS_HELD_MAX:
                        count += 1
                        heapq.heappush(held, (now + rule.delay_s + rng.random() * rule.jitter_s, count, to, packet))
        while held and held[0][0] <= time.monotonic():
            _, _, to, packet = heapq.heappop(held)
            deliver(devices[to], packet)


def packets(fd):
    for _ in range(64):  # then the others' turn
        try:
            yield os.read(fd, 65536)
        except BlockingIOError:
            return


def deliver(fd, packet):
    try:
        os.write(fd, packet)
    except OSError:
        pass  # its queue is full: lost


class Loopback:
    """All nodes on this machine's loopback: no faults of the network."""
    apart = False

    def __init__(self, nodes, seed):
        pass

    def host(self, _):
        return '127.0.0.1'

    @contextlib.contextmanager
    def inside(self, _):
        yield

    def enter(self, _):
        pass

    def close(self):
        pass


def make_network(nodes, seed):
    """(network, why it can do no harm or None)"""
    try:
        return Namespaces(nodes, seed), None
    except (OSError, AttributeError) as e:
        return Loopback(nodes, seed), str(e)
