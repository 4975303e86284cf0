# SPDX-License-Identifier: Apache-2.0
"""A client that asks at fixed times, whether or not answers came: what overloads a server as callers do."""
import collections
import ctypes
import platform
import selectors
import socket
import struct
import time

from wire import take_reply

LIMIT_CONNECTIONS = 3000


SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
TURN_NS = 100_000


def take_short_turns():
    """This thread shares the CPUs with the server's work: it asks the scheduler for what the server's loops ask for,
    so that its own waiting for a CPU is not taken for the server's. Before Linux 6.12 nothing changes."""
    attributes = struct.pack("=IIQiIQQQ", 48, 0, 0, 0, 0, TURN_NS, 0, 0)
    ctypes.CDLL(None, use_errno=True).syscall(SCHED_SETATTR[platform.machine()], 0, attributes, 0)


def quantile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


class Phase:
    """What became of the requests that were due in one phase. Times in seconds; a latency runs from when its
    request was due."""

    def __init__(self):
        self.due, self.statuses, self.accepted, self.lost = 0, collections.Counter(), [], 0
        self.last_shed_s = self.seconds = 0.0

    @property
    def p99_ms(self):
        return quantile(self.accepted, 0.99) * 1000

    @property
    def goodput(self):
        return len(self.accepted) / self.seconds


class OpenLoop:
    """One request in flight a connection; as many connections as that takes. @make(n): the n-th request."""

    def __init__(self, port, make):
        self.port, self.make, self.n = port, make, 0
        self.selector, self.free, self.busy = selectors.DefaultSelector(), [], {}

    def send(self, phase, due_s, began_s):
        s = self.free.pop() if self.free else None
        if s is None:
            if len(self.busy) >= LIMIT_CONNECTIONS:
                phase.lost += 1
                return
            s = socket.create_connection(("127.0.0.1", self.port), timeout=10)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            s.setblocking(False)
            self.selector.register(s, selectors.EVENT_READ)
        s.send(self.make(self.n))
        self.n += 1
        self.busy[s] = (phase, due_s, began_s, bytearray())

    def drop(self, s):
        self.selector.unregister(s)
        s.close()
        if s in self.busy:
            self.busy.pop(s)[0].lost += 1
        else:
            self.free.remove(s)

    def receive(self, wait_s):
        for key, _ in self.selector.select(max(0.0, wait_s)):
            s = key.fileobj
            try:
                part = s.recv(1 << 20)
            except OSError:
                part = b""
            if not part or s not in self.busy:
                self.drop(s)
                continue
            phase, due_s, began_s, data = self.busy[s]
            data += part
            reply, _ = take_reply(data, 0)
            if reply is None:
                continue
            now_s = time.monotonic()
            phase.statuses[reply.status] += 1
            if reply.status == 200:
                phase.accepted.append(now_s - due_s)
            else:
                phase.last_shed_s = now_s - began_s
            del self.busy[s]
            self.free.append(s)
            if reply.header("connection") == "close":
                self.drop(s)

    def run(self, rate, seconds):
        phase = Phase()
        phase.seconds = seconds
        began_s = time.monotonic()
        n = int(rate * seconds)
        while phase.due < n:
            due_s = began_s + phase.due / rate
            wait_s = due_s - time.monotonic()
            if wait_s > 0:
                self.receive(wait_s)
                continue
            self.send(phase, due_s, began_s)
            phase.due += 1
            if phase.due % 8 == 0:
                self.receive(0)
        return phase

    def finish(self):
        """Waits for what is under way."""
        end = time.monotonic() + 30
        while self.busy and time.monotonic() < end:
            self.receive(0.1)
        for s in list(self.busy) + list(self.free):
            self.drop(s)
