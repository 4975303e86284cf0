# SPDX-License-Identifier: Apache-2.0
"""Bytes on the wire: raw connections, pipelining, many at once. For tests that http.client is too polite for."""
import re
import resource
import selectors
import socket
import time

HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n((?:[^\r\n]+\r\n)*)\r\n")


class Reply:
    """One answer: status, headers (lower-case names), body, and the raw head."""
    __slots__ = ("status", "head", "body")

    def __init__(self, status, head, body):
        self.status, self.head, self.body = status, head, body

    def header(self, name):
        m = re.search(rb"(?im)^" + re.escape(name.encode()) + rb":[ \t]*([^\r\n]*)", self.head)
        return m.group(1).decode("latin-1") if m else None


def take_reply(data, at, is_head=False):
    """The answer that begins at @at, and where the next begins; (None, at) when it is not all there."""
    m = HEAD.match(data, at)
    if not m:
        return None, at
    status, head = int(m.group(1)), m.group(2)
    length = re.search(rb"(?im)^content-length: (\d+)", head)
    n = 0 if is_head or status in (204, 304) or not length else int(length.group(1))
    if len(data) < m.end() + n:
        return None, at
    return Reply(status, head, bytes(data[m.end():m.end() + n])), m.end() + n


def replies(data, is_head=False):
    """All answers in @data; the bytes that are no whole answer come last, as bytes, when there are any."""
    out, at = [], 0
    while at < len(data):
        reply, after = take_reply(data, at, is_head)
        if reply is None:
            break
        out.append(reply)
        at = after
    return out, data[at:]


def get(path, *headers, key=None, method="GET"):
    lines = [f"{method} {path} HTTP/1.1", "Host: test"]
    if key:
        lines.append(f"Authorization: Bearer {key}")
    lines.extend(headers)
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Wire:
    """A kept-alive connection; ask() pipelines requests and gives their answers in order."""

    def __init__(self, port, timeout_s=30, source=None, receive_bytes=None):
        self.socket = socket.socket()
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source:
            self.socket.bind((source, 0))
        self.socket.settimeout(timeout_s)
        self.socket.connect(("127.0.0.1", port))
        self.buffer = bytearray()

    def send(self, data):
        self.socket.sendall(data)

    def read(self, is_head=False):
        """The next answer, or None at the end of the connection."""
        while True:
            reply, after = take_reply(self.buffer, 0, is_head)
            if reply:
                del self.buffer[:after]
                return reply
            part = self.socket.recv(262144)
            if not part:
                return None
            self.buffer += part

    def ask(self, requests, heads=()):
        """@heads: positions of HEAD requests."""
        self.send(b"".join(requests))
        out, at = [], 0
        while len(out) < len(requests):
            reply, after = take_reply(self.buffer, at, len(out) in heads)
            if reply:
                out.append(reply)
                at = after
                continue
            part = self.socket.recv(262144)
            assert part, f"the connection ended after {len(out)} of {len(requests)} answers"
            self.buffer += part
        del self.buffer[:at]
        return out

    def rest(self):
        """Everything until the end of the connection (or a reset)."""
        out = bytes(self.buffer)
        try:
            while part := self.socket.recv(262144):
                out += part
        except ConnectionResetError:
            pass
        return out

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def raise_descriptor_limit():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    want = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft < want:
        resource.setrlimit(resource.RLIMIT_NOFILE, (want, hard))


def exchange_many(port, pieces, at_once=64, silence_s=5.0):
    """@pieces: for each connection the list of byte strings to send one after the other, each when the
    server had time to read the one before. Returns all bytes that each connection gave until its end; a
    connection that stays open is left after @silence_s without a byte and marked by a trailing None."""
    out = [None] * len(pieces)
    for base in range(0, len(pieces), at_once):
        batch = range(base, min(base + at_once, len(pieces)))
        selector = selectors.DefaultSelector()
        sockets = {}
        for i in batch:
            s = socket.create_connection(("127.0.0.1", port), timeout=10)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sockets[i] = s
            out[i] = [bytearray(), True]
        for step in range(max(len(pieces[i]) for i in batch)):
            for i in batch:
                if step < len(pieces[i]):
                    try:
                        sockets[i].sendall(pieces[i][step])
                    except OSError:
                        pass  # it refused the first part already
            if step == 0:
                time.sleep(0.002)
        for i in batch:
            sockets[i].setblocking(False)
            selector.register(sockets[i], selectors.EVENT_READ, i)
        end = time.monotonic() + silence_s
        open_ones = len(sockets)
        while open_ones and time.monotonic() < end:
            for key, _ in selector.select(0.2):
                try:
                    part = key.fileobj.recv(262144)
                except BlockingIOError:
                    continue
                except OSError:
                    part = b""
                if part:
                    out[key.data][0] += part
                    end = time.monotonic() + silence_s
                    continue
                out[key.data][1] = False
                selector.unregister(key.fileobj)
                open_ones -= 1
        selector.close()
        for s in sockets.values():
            s.close()
    return [(bytes(data), is_open) for data, is_open in out]
