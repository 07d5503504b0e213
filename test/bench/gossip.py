"""What two nodes say to each other: a hot key, idle with a million keys, catching up after a cut."""
import time

import loads
import servers


def ask(s, *words):
    s.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
    head = b""
    while not head.endswith(b"\r\n"):
        head += loads.receive(s, 1)
    if head[:1] != b"$":
        return head[1:-2].decode()
    return loads.receive(s, int(head[1:]) + 2)[:-2].decode()


class Node(servers.Server):
    def __init__(self, join=()):
        super().__init__("anneal", join, ["--enable-debug-command", "yes"])
        self.client = loads.connect(self)

    def ask(self, *words):
        return ask(self.client, *[w.encode() for w in words])

    def sent(self):
        lines = self.ask("INFO", "gossip").splitlines()
        return next(int(line.split(":")[1]) for line in lines if line.startswith("gossip_bytes_sent:"))


def sent(nodes):
    return sum(node.sent() for node in nodes)


def settle(nodes, seconds=30):
    until = time.monotonic() + seconds
    while len({node.ask("ANNEAL", "DIGEST") for node in nodes}) > 1:
        if time.monotonic() > until:
            raise SystemExit("bench: the nodes do not agree")
        time.sleep(0.05)
    time.sleep(1.5)  # acks


def cost_of(nodes, step):
    """Bytes sent by all nodes until they agree and have said so, and how long that took."""
    before, began = sent(nodes), time.monotonic()
    step()
    settle(nodes)
    return sent(nodes) - before, time.monotonic() - began


def increments(node, count):
    request = b"*2\r\n$4\r\nINCR\r\n$3\r\nhot\r\n" * count
    node.client.sendall(request)
    got = 0
    while got < count:
        got += node.client.recv(1 << 20).count(b"\n")


def missed(nodes, count, prefix):
    for node in nodes:
        node.ask("DEBUG", "GOSSIP", "PAUSE")
    loads.fill(nodes[0], count, prefix=prefix)
    for node in nodes:
        node.ask("DEBUG", "GOSSIP", "RESUME")


def main():
    nodes = []
    try:
        nodes.append(Node())
        nodes.append(Node([nodes[0].port]))
        time.sleep(2)
        hot, _ = cost_of(nodes, lambda: increments(nodes[0], 10000))
        wide, _ = cost_of(nodes, lambda: loads.fill(nodes[0], 10000, prefix="wide"))
        print("10,000 INCRs of one key: %d bytes; 10,000 SETs of different keys: %d bytes; ratio %.4f"
              % (hot, wide, hot / wide))
        loads.fill(nodes[0])
        settle(nodes)
        before, began = sent(nodes), time.monotonic()
        time.sleep(10)
        print("idle, 1,000,000 keys: %.0f bytes a second, both ways" % ((sent(nodes) - before) / (time.monotonic() - began)))
        bytes_, took = cost_of(nodes, lambda: missed(nodes, 1000, "miss"))
        print("catching up 1,000 of 1,000,000 keys: %d bytes in %.1f s, %.2f times those keys' names and values"
              % (bytes_, took, bytes_ / 1000 / 80))
    finally:
        for node in nodes:
            node.stop()


main()
