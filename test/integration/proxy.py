"""Stands between a client and an HTTP server and does what networks and servers do to requests.

    with Proxy(server_port) as proxy:
        proxy.fault("PUT .*key", "drop-after")       the next request that matches, and only that one
        proxy.fault("GET", "status", times=3, status=503, code="SlowDown", headers={"Retry-After": "1"})
        proxy.fault("", "reset", times=1000, chance=0.1)

    delay       waits `seconds`, then all is well
    status      answers `status` with an <Error> of `code`, or with `body`; the server sees nothing
    work-status the server works, but the answer is as above
    hold        waits until clear(), then all is well
    believe     200 instead of 412, as of a store that knows no conditions
    hang        says nothing for `seconds`, then closes
    drop-before closes; the server has seen nothing
    drop-after  the server works, then closes without an answer
    cut         half of the answer's body, then closes
    stall       half of the answer's body, then nothing for `seconds`, then closes
    reset       as drop-before, but with a reset
"""
import http.client
import random
import re
import socket
import ssl
import struct
import threading


class Fault:
    def __init__(self, pattern, kind, times, chance, options):
        self.pattern, self.kind, self.times, self.chance, self.options = re.compile(pattern), kind, times, chance, options


class Proxy:
    def __init__(self, server_port, tls=None):
        """tls: the files of a certificate and its key, for the client's side."""
        self.server_port = server_port
        self.tls = None
        if tls:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(*tls)
        self.faults, self.seen = [], []
        self.random = random.Random(1)
        self.lock = threading.Lock()
        self.stopped, self.cleared = threading.Event(), threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.cleared.set()
        self.listener.close()

    def fault(self, pattern, kind, times=1, chance=1, **options):
        with self.lock:
            if kind == "hold":
                options["until"] = self.cleared
            self.faults.append(Fault(pattern, kind, times, chance, options))

    def clear(self):
        """The requests seen since the last time, as "METHOD target"."""
        with self.lock:
            seen, self.seen, self.faults = self.seen, [], []
            self.cleared.set()
            self.cleared = threading.Event()
            return seen

    def _take(self, line):
        with self.lock:
            self.seen.append(line)
            for fault in self.faults:
                if fault.times > 0 and fault.pattern.match(line) and self.random.random() < fault.chance:
                    fault.times -= 1
                    return fault
        return None

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        try:
            if self.tls:
                client = self.tls.wrap_socket(client, server_side=True)
            with client, client.makefile("rb") as stream:
                while self._request(client, stream):
                    pass
        except OSError:
            client.close()

    def _request(self, client, stream):
        head = []
        while not head or head[-1] not in (b"\r\n", b""):
            head.append(stream.readline(65536))
        if head[-1] == b"":
            return False
        lengths = [int(line.split(b":")[1]) for line in head if line.lower().startswith(b"content-length:")]
        body = stream.read(lengths[0]) if lengths else b""
        if lengths and len(body) < lengths[0]:
            return False
        method, target = head[0].decode().split()[:2]
        fault = self._take(f"{method} {target}")
        if not fault:
            return self._answer(client, method, self._forward(head, body, method))
        return getattr(self, "_" + fault.kind.replace("-", "_"))(client, head, body, method, **fault.options)

    def _forward(self, head, body, method):
        with socket.create_connection(("127.0.0.1", self.server_port), 30) as server:
            server.sendall(b"".join(head) + body)
            response = http.client.HTTPResponse(server, method=method)
            response.begin()
            skip = {"transfer-encoding", "connection"} | (set() if method == "HEAD" else {"content-length"})
            headers = [(k, v) for k, v in response.getheaders() if k.lower() not in skip]
            return response.status, headers, response.read()

    def _answer(self, client, method, answer, part=1.0):
        status, headers, body = answer
        if method != "HEAD" and status != 204:
            headers = headers + [("Content-Length", str(len(body)))]
        text = f"HTTP/1.1 {status} x\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers) + "\r\n"
        client.sendall(text.encode() + body[: int(len(body) * part)])
        return part == 1.0

    def _delay(self, client, head, body, method, seconds):
        self.stopped.wait(seconds)
        return self._answer(client, method, self._forward(head, body, method))

    def _hold(self, client, head, body, method, until):
        until.wait()
        return self._answer(client, method, self._forward(head, body, method))

    def _believe(self, client, head, body, method):
        status, headers, text = self._forward(head, body, method)
        return self._answer(client, method, (200 if status == 412 else status, headers, text))

    def _status(self, client, head, body, method, status, code="", headers=None, body_text=None):
        text = f"<Error><Code>{code}</Code><Message>the proxy says so</Message></Error>" if body_text is None else body_text
        return self._answer(client, method, (status, list((headers or {}).items()), text.encode()))

    def _work_status(self, client, head, body, method, **options):
        self._forward(head, body, method)
        return self._status(client, head, body, method, **options)

    def _hang(self, client, head, body, method, seconds):
        self.stopped.wait(seconds)
        return False

    def _drop_before(self, client, head, body, method):
        return False

    def _drop_after(self, client, head, body, method):
        self._forward(head, body, method)
        return False

    def _cut(self, client, head, body, method):
        return self._answer(client, method, self._forward(head, body, method), part=0.5)

    def _stall(self, client, head, body, method, seconds):
        self._answer(client, method, self._forward(head, body, method), part=0.5)
        self.stopped.wait(seconds)
        return False

    def _reset(self, client, head, body, method):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False
