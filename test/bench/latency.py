"""Replies at a steady rate: 50 clients, each with at most one request on its way.

A request that is due while the one before is not answered waits for it, and that counts: a server that stops is seen by all that
should have been sent meanwhile."""
import gc
import selectors
import socket
import time

import loads

RANKS = {"p50": .5, "p99": .99, "p99.9": .999, "max": 1}
CHECK_S = 0.02


class Saver:
    """BGSAVE again and again, on a connection of its own that never waits."""

    def __init__(self, server):
        self.s, self.count, self.next, self.asked = loads.connect(server), 0, 0, False

    def step(self, now):
        if self.asked:
            try:
                reply = self.s.recv(4096, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            self.asked, self.next = False, now + CHECK_S
            self.count += reply[:1] == b"+"
        elif now >= self.next:
            self.s.sendall(b"BGSAVE\r\n")
            self.asked = True


def measure(server, rate, seconds, saving):
    """Latencies in ms by rank, and how many BGSAVEs began."""
    watch, latencies, saver = selectors.EpollSelector(), [], Saver(server) if saving else None
    gap, began = loads.CLIENTS / rate, time.perf_counter() + 0.01
    clients = []
    for i in range(loads.CLIENTS):
        s = loads.connect(server)
        s.setblocking(False)
        clients.append([s, began + i / rate, False])  # its socket, when the next is due, whether one is on its way
        watch.register(s, selectors.EVENT_READ, clients[-1])
    end, n, turn = began + seconds, 0, 0
    gc.disable()
    while True:
        now = time.perf_counter()
        if now >= end:
            break
        if saver:
            saver.step(now)
        client = clients[turn]
        while client[1] <= now and not client[2]:
            n += 1
            client[0].sendall(b"*3\r\n$3\r\nSET\r\n$16\r\nkey:%012d\r\n$64\r\n%s\r\n" % (n * 7919 % loads.KEYS, loads.VALUE.encode()))
            client[2] = True
            turn = (turn + 1) % len(clients)
            client = clients[turn]
        for key, _ in watch.select(max(0, min(client[1] - now, .002)) if not client[2] else .002):
            it = key.data
            if it[0].recv(64) != b"+OK\r\n":
                raise RuntimeError("a SET is refused")
            latencies.append((time.perf_counter() - it[1]) * 1e3)
            it[1] += gap
            it[2] = False
    gc.enable()
    watch.close()
    for client in clients:
        client[0].close()
    if saver:
        saver.s.close()
    latencies.sort()
    return {rank: latencies[min(len(latencies) - 1, int(len(latencies) * share))] for rank, share in RANKS.items()}, saver.count if saver else 0
