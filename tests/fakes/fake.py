# SPDX-License-Identifier: Apache-2.0
"""What the fakes of object stores share: an HTTP server on a free loopback port, a log of requests, faults.

A subclass answers in `answer(request)`. Faults are set by tests and taken in order of their setting:

    store.fault("status", 429, times=2, kind="get", name="a.csv", headers=[("Retry-After", "1")])

    status ARG      answers ARG instead                 drop            closes without an answer
    hang            never answers                       hang_body       half of the body, then nothing
    truncate        half of the body, then closes       wrong_length    announces ARG bytes more, then closes
    corrupt         one byte of the body is flipped     body ARG        answers 200 with these bytes
    delay ARG       waits ARG seconds first             call ARG        calls ARG(request) first
    flood ARG       ARG MiB in chunks, of no announced length; request.n_flooded of them went out
"""
import http.server
import socket
import ssl
import threading
import time
import urllib.parse

HOST = "127.0.0.1"


class Request:
    def __init__(self, handler):
        parts = urllib.parse.urlsplit(handler.path)
        self.method, self.target, self.raw_path, self.raw_query = handler.command, handler.path, parts.path, parts.query
        self.query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        self.headers = {k.lower(): v for k, v in handler.headers.items()}
        n = int(self.headers.get("content-length") or 0)
        self.body = handler.rfile.read(n) if n else b""
        self.kind, self.bucket, self.name, self.status = "other", None, None, None
        self.n_flooded = 0
        self.connection = handler.client_address[1]
        self.time = time.monotonic()


class Response:
    def __init__(self, status=200, body=b"", headers=(), content_type="application/octet-stream"):
        self.status, self.headers, self.content_type = status, list(headers), content_type
        self.body = body.encode() if isinstance(body, str) else body


class Fault:
    def __init__(self, action, arg, times, kind, name, headers):
        self.action, self.arg, self.times, self.kind, self.name, self.headers = action, arg, times, kind, name, headers

    def matches(self, request):
        return self.times > 0 and (self.kind is None or self.kind == request.kind) and \
            (self.name is None or self.name in (request.name or ""))


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256
    tls = None

    def finish_request(self, request, client_address):
        if self.tls:  # in the connection's own thread: a handshake that hangs holds up nobody
            request = self.tls.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)

    def handle_error(self, request, client_address):
        """Clients hang up on purpose here."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 60
    fake = None

    def log_message(self, *_):
        pass

    def serve(self):
        try:
            self.fake.serve(self)
        except (ConnectionError, ssl.SSLError, TimeoutError):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = serve

    def send(self, response, cut=None, n_more=0):
        body = response.body
        self.send_response_only(response.status)
        if not any(k.lower() == "content-length" for k, _ in response.headers):
            self.send_header("Content-Length", str(len(body) + n_more))
        if response.status != 304:
            self.send_header("Content-Type", response.content_type)
        for k, v in response.headers:
            self.send_header(k, v)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body if cut is None else body[:cut])
            self.wfile.flush()


    def flood(self, request, n_mib):
        self.send_response_only(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for _ in range(n_mib):
            self.wfile.write(b"100000\r\n" + bytes(1 << 20) + b"\r\n")
            request.n_flooded += 1
        self.wfile.write(b"0\r\n\r\n")


class Fake:
    def __init__(self, tls=None):
        self.requests, self.faults, self.lock = [], [], threading.RLock()
        self.stopped = threading.Event()
        self.in_flight = self.most_in_flight = 0
        handler = type("BoundHandler", (Handler,), {"fake": self})
        self.server = Server((HOST, 0), handler)
        self.server.tls = tls
        self.port = self.server.server_address[1]
        self.url = f"{'https' if tls else 'http'}://{HOST}:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def close(self):
        self.stopped.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- what tests set and ask ----

    def fault(self, action, arg=None, times=1, kind=None, name=None, headers=()):
        with self.lock:
            self.faults.append(Fault(action, arg, times, kind, name, list(headers)))

    def clear_faults(self):
        with self.lock:
            self.faults.clear()

    def seen(self, kind=None, name=None):
        with self.lock:
            return [r for r in self.requests if (kind is None or r.kind == kind) and
                    (name is None or name in (r.name or ""))]

    def count(self, kind=None, name=None):
        return len(self.seen(kind, name))

    # ---- serving ----

    def classify(self, request):
        """Sets kind, bucket and name."""

    def answer(self, request):
        raise NotImplementedError

    def take_fault(self, request):
        with self.lock:
            for fault in self.faults:
                if fault.matches(request):
                    fault.times -= 1
                    return fault
        return None

    def serve(self, handler):
        request = Request(handler)
        self.classify(request)
        with self.lock:
            self.requests.append(request)
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            self.serve_one(handler, request, self.take_fault(request))
        finally:
            with self.lock:
                self.in_flight -= 1

    def serve_one(self, handler, request, fault):
        action = fault.action if fault else None
        if action == "delay":
            self.stopped.wait(fault.arg)
        elif action == "call":
            fault.arg(request)
        elif action == "drop":
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        elif action == "hang":
            self.stopped.wait(60)
            handler.close_connection = True
            return
        elif action == "flood":
            handler.flood(request, fault.arg)
            return
        if action == "status":
            response = Response(fault.arg, '{"error":{"message":"injected"}}', fault.headers)
        elif action == "body":
            response = Response(200, fault.arg, fault.headers)
        else:
            response = self.answer(request)
        request.status = response.status
        self.send(handler, response, action, fault)

    def send(self, handler, response, action, fault):
        if action == "corrupt" and response.body:
            at = len(response.body) // 2
            response.body = response.body[:at] + bytes([response.body[at] ^ 1]) + response.body[at + 1:]
        if action in ("truncate", "hang_body"):
            handler.send(response, cut=len(response.body) // 2)
            if action == "hang_body":
                self.stopped.wait(60)
            handler.close_connection = True
        elif action == "wrong_length":
            handler.send(response, n_more=fault.arg)
            handler.close_connection = True
        else:
            handler.send(response)


def ranged(request, body, headers):
    """The whole or the asked part of @body, as RFC 9110 says."""
    spec = request.headers.get("range", "")
    if not spec.startswith("bytes=") or request.method == "HEAD":
        return Response(200, body, headers)
    first, _, last = spec[6:].partition("-")
    if first:
        lo, hi = int(first), min(int(last) if last else len(body) - 1, len(body) - 1)
    else:
        lo, hi = max(0, len(body) - int(last)), len(body) - 1
    if lo >= len(body) or lo > hi:
        return Response(416, b"", [("Content-Range", f"bytes */{len(body)}")])
    return Response(206, body[lo:hi + 1], headers + [("Content-Range", f"bytes {lo}-{hi}/{len(body)}")])
