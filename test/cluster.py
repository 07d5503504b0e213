#!/usr/bin/python3
"""Three nodes on loopback, for people: `cluster.py run [FOLDER]` and `cluster.py demo`."""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SERVER = os.path.join(ROOT, "build", "anneal-server")
PORTS = [7001, 7002, 7003]


def cli(port, *args, check=True):
    done = subprocess.run(["redis-cli", "-p", str(port), *args], capture_output=True, text=True, timeout=20)
    if check and done.returncode:
        raise RuntimeError(done.stderr.strip())
    return done.stdout.strip()


def start(base, nodes):
    """Into `nodes`. Each has a folder of its own in base; the object store that they share is a folder there, too."""
    for port in PORTS:
        if info(port):
            sys.exit(f"something answers on port {port} already: end it, or use it")
    nodes.clear()
    for port in PORTS:
        directory = os.path.join(base, str(port))
        os.makedirs(directory, exist_ok=True)
        join = ",".join(f"127.0.0.1:{p + 10000}" for p in PORTS)
        nodes.append(subprocess.Popen([SERVER, "--port", str(port), "--dir", directory, "--join", join, "--logfile",
                                       os.path.join(directory, "log"), "--enable-debug-command", "local", "--appendonly", "yes",
                                       "--object-store", "file://" + os.path.join(base, "store")],
                                      start_new_session=True))
    deadline = time.monotonic() + 15
    for node, port in zip(nodes, PORTS):
        while info(port).get("peers_up") != str(len(PORTS) - 1):
            if node.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"the node on port {port} did not start; see {base}/{port}/log")
            time.sleep(0.05)


def stop(nodes):
    for node in nodes:
        if node.poll() is None:
            node.send_signal(signal.SIGTERM)
    for node in nodes:
        try:
            node.wait(10)
        except subprocess.TimeoutExpired:
            node.kill()


def info(port):
    try:
        lines = cli(port, "info", check=False).splitlines()
    except subprocess.TimeoutExpired:
        return {}
    return dict(line.split(":", 1) for line in lines if ":" in line)


def status(infos, seconds, before):
    """keys, ops/s, peers and lag of every node, in one line."""
    parts = []
    for port, now, old in zip(PORTS, infos, before):
        if not now:
            parts.append(f"{port}: no answer")
            continue
        keys = now.get("db0", "keys=0").split("=")[1].split(",")[0]
        rate = (int(now["total_commands_processed"]) - int(old.get("total_commands_processed", now["total_commands_processed"]))) / seconds
        lags = [int(part.split("=")[1]) for name, value in now.items() if name.startswith("peer") and "=" in value
                for part in value.split(",") if part.startswith("ack_us=")]
        lag = f"{max(lags) / 1000:.1f} ms" if lags else "-"
        parts.append(f"{port}: {keys} keys, {max(0, rate - 1):.0f} ops/s, {now['peers_up']} peers, lag {lag}")
    return "   ".join(parts)


def run(base=os.path.join(ROOT, "build", "run")):
    nodes = []
    try:
        start(base, nodes)
        greet(base)
        watch(nodes)
        print("\na node ended; see its log. What it held is there again after the next `make run`", flush=True)
    except KeyboardInterrupt:
        print("\nstopping")
    finally:
        stop(nodes)


def greet(base):
    print("Three nodes of one cluster answer on ports 7001, 7002 and 7003. In another terminal:\n"
          "    redis-cli -p 7001 SET greeting hello\n"
          "    redis-cli -p 7003 GET greeting\n"
          "    redis-cli -p 7002 ANNEAL NODES\n"
          "`make demo` shows what happens when the nodes cannot hear each other. Ctrl-C stops them.\n"
          f"What they hold is kept in {base}: it is there again after the next `make run`, even if you kill -9 them all,\n"
          "or remove the folders of all nodes: then it comes back from the object store in the folder store.\n"
          f"This time {cli(PORTS[0], 'DBSIZE')} keys were there.\n"
          f"Logs: {base}/<port>/log. Lag: how long a node takes to know that a peer has all it wrote.\n", flush=True)


def watch(nodes):
    """A line of status now and then, until a node ends."""
    before, last = [{}] * len(PORTS), time.monotonic()
    while all(node.poll() is None for node in nodes):
        infos, now = [info(port) for port in PORTS], time.monotonic()
        line = status(infos, max(now - last, 0.1), before)
        print("\r" + line + "\x1b[K" if sys.stdout.isatty() else line, end="" if sys.stdout.isatty() else "\n", flush=True)
        before, last = infos, now
        time.sleep(1 if sys.stdout.isatty() else 5)


def show(port, *args):
    """The command and its reply, as one would see them."""
    reply = cli(port, *args)
    print(f"  {port}> {' '.join(args):34} {', '.join(reply.splitlines()) or '(nothing)'}", flush=True)
    return reply


def everywhere(*args):
    replies = [show(port, *args) for port in PORTS]
    return len({tuple(sorted(reply.splitlines())) for reply in replies}) == 1


def lose(base, nodes, title, disks):
    """Whether all that was there is there again."""
    before = cli(PORTS[0], "anneal", "digest")
    print("\n" + title)
    if disks:
        stop(nodes)
    for node in nodes:
        node.kill()
        node.wait()
    for port in disks:
        shutil.rmtree(os.path.join(base, str(port)))
    start(base, nodes)
    agreed()
    return everywhere("GET", "visits") and everywhere("HGETALL", "user") and cli(PORTS[1], "anneal", "digest") == before


def agreed():
    deadline = time.monotonic() + 20
    while len({cli(port, "anneal", "digest") for port in PORTS}) > 1 and time.monotonic() < deadline:
        time.sleep(0.02)


def demo():
    base, nodes = tempfile.mkdtemp(prefix="anneal-demo-"), []
    try:
        ours = not info(PORTS[0])
        if ours:
            start(base, nodes)
        print("1. Three nodes, one state.")
        for key in ("visits", "cart", "user", "greeting"):
            cli(PORTS[0], "del", key)
        show(7001, "SET", "visits", "10")
        show(7002, "SADD", "cart", "apple", "pear")
        show(7003, "HSET", "user", "name", "Ada", "logins", "1")
        agreed()
        print("\n2. The nodes stop hearing each other; each goes on answering, and takes writes to the same keys.")
        for port in PORTS:
            show(port, "DEBUG", "GOSSIP", "PAUSE")
        show(7001, "INCRBY", "visits", "1")
        show(7002, "INCRBY", "visits", "20")
        show(7003, "INCRBY", "visits", "300")
        show(7001, "SADD", "cart", "plum")
        show(7002, "SREM", "cart", "apple")
        show(7003, "SADD", "cart", "apple")
        show(7001, "HINCRBY", "user", "logins", "1")
        show(7002, "HSET", "user", "city", "London")
        show(7003, "HINCRBY", "user", "logins", "1")
        show(7001, "SET", "greeting", "hello")
        time.sleep(0.01)
        show(7003, "SET", "greeting", "hallo")
        print("\n   They differ:")
        everywhere("GET", "visits")
        print("\n3. They hear each other again.")
        for port in PORTS:
            show(port, "DEBUG", "GOSSIP", "RESUME")
        agreed()
        print("\n   Every increment counts; the added apple wins over the removal it had not seen;\n"
              "   fields merge one by one; of two concurrent SETs the later one is read:")
        agree = [everywhere("GET", "visits"), everywhere("SMEMBERS", "cart"), everywhere("HGETALL", "user"),
                 everywhere("GET", "greeting"), everywhere("ANNEAL", "DIGEST")]
        right = cli(7001, "get", "visits") == "331" and cli(7002, "hget", "user", "logins") == "3"
        if ours:
            agree += [lose(base, nodes, "4. All nodes are killed (kill -9), and started again.", []),
                      lose(base, nodes, "5. All nodes are stopped, and their disks are lost. The object store is left.", PORTS)]
        print("\nAll three agree, and nothing is lost." if all(agree) and right else "\nTHEY DO NOT AGREE, or something is lost: this is a bug.")
        return 0 if all(agree) and right else 1
    finally:
        stop(nodes)
        shutil.rmtree(base, ignore_errors=True)


def take_signals():
    """The nodes are in sessions of their own: they end when we end them, also if our terminal is closed (but under nohup)."""
    for number in signal.SIGTERM, signal.SIGHUP:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


if __name__ == "__main__":
    take_signals()
    if sys.argv[1:2] == ["run"] and len(sys.argv) <= 3:
        run(*sys.argv[2:])
    elif sys.argv[1:] == ["demo"]:
        sys.exit(demo())
    else:
        sys.exit(__doc__)
