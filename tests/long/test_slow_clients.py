# SPDX-License-Identifier: Apache-2.0
"""S-05: thousands of slow clients from many loopback addresses, in four ways, alone and mixed.

They come all at once, which for those that read slowly is thousands of large answers to begin with: the
good client's p99 is told for the first seconds, and for the time in which they are held. They are a
process of their own, so that the good client is not held up by them here."""
import collections
import multiprocessing
import selectors
import socket
import time

from conftest import wait_for
from observe import metric
from open_loop import OpenLoop, quantile, take_short_turns
from rows import SHARE, count
from test_limits import tiny
from wire import get, raise_descriptor_limit
from world import running

HALF = b"GET /v1/endpoints/kv HTTP/1.1\r\nHost: x\r\nX: y"
PAGES = get("/v1/endpoints/kv?limit=1000") * 40  # far more than the kernel takes
ARRIVAL_S = 3
MODES = ("half a head", "a byte at a time", "reads nothing", "reads slowly")


class Attack:
    """Clients of these modes. step() does what is due, and sees who was closed."""

    def __init__(self, port, modes, n):
        self.selector, self.n = selectors.DefaultSelector(), n
        self.began_s = time.monotonic()
        self.open, self.at, self.stepped_s = {}, 0, time.monotonic()
        for i in range(n):
            mode = modes[i % len(modes)]
            s = socket.socket()
            if mode.startswith("reads"):
                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            s.bind((f"127.{1 + i // 60000}.{i // 250 % 250}.{i % 250 + 1}", 0))
            s.settimeout(30)
            s.connect(("127.0.0.1", port))
            s.sendall(HALF if not mode.startswith("reads") else PAGES)
            s.setblocking(False)
            if not mode.startswith("reads"):
                self.selector.register(s, selectors.EVENT_READ, mode)
            self.open[s] = (mode, time.monotonic())
        self.ready_s = time.monotonic()
        self.lives = collections.defaultdict(list)
        self.order = list(self.open)

    def gone(self, s):
        mode, since_s = self.open.pop(s)
        self.lives[mode].append(time.monotonic() - since_s)
        if not mode.startswith("reads"):
            self.selector.unregister(s)
        s.close()

    def step(self):
        for key, _ in self.selector.select(0.005):
            try:
                if not key.fileobj.recv(65536):
                    self.gone(key.fileobj)
            except OSError:
                self.gone(key.fileobj)
        # Each has its turn once a second, and they do not march in step.
        elapsed_s = time.monotonic() - self.stepped_s
        self.stepped_s += elapsed_s
        for _ in range(min(self.n, int(self.n * elapsed_s) + 1)):
            client = self.order[self.at]
            self.at = (self.at + 1) % self.n
            if client in self.open:
                self.turn(client, self.open[client][0])

    def turn(self, s, mode):
        try:
            if mode == "a byte at a time":
                s.send(b"z")
            elif s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) != b"\x01":  # established
                self.gone(s)
            elif mode == "reads slowly":
                s.recv(1000)
        except BlockingIOError:
            pass
        except OSError:
            self.gone(s)


def be_slow(port, modes, n, pipe):
    """The attacking process: says how long it took to connect, and at the end (lives by mode, how many are left)."""
    a = Attack(port, modes, n)
    pipe.send(a.ready_s - a.began_s)
    while a.open and time.monotonic() < a.ready_s + 120:
        a.step()
    pipe.send((dict(a.lives), len(a.open)))


def attack(s, name, modes, n, quiet):
    before_kib = s.memory_kib()
    pipe, theirs = multiprocessing.Pipe()
    attacker = multiprocessing.Process(target=be_slow, args=(s.api_port, modes, n, theirs))
    attacker.start()
    theirs.close()
    connecting_s = pipe.recv()
    heads = s.memory_kib() - before_kib
    held = metric(s, "offloader_http_connections")
    good = OpenLoop(s.api_port, lambda k: get("/v1/endpoints/kv?limit=1"))
    phases = good.run(200, ARRIVAL_S), []
    while not pipe.poll():
        phases[1].append(good.run(200, 1))
    good.finish()
    lives, left = pipe.recv()
    attacker.join()
    first_ms, held_ms = phases[0].p99_ms, quantile([v for p in phases[1] for v in p.accepted], 0.99) * 1000
    lost = sum(p.lost for p in (phases[0], *phases[1]))
    statuses = sum((p.statuses for p in phases[1]), phases[0].statuses)
    gone = ", ".join(f"{m}: {len(v)} gone, the last after {max(v):.1f} s" for m, v in sorted(lives.items()))
    wait_for(lambda: metric(s, "offloader_http_connections") == 0, "all to be gone")
    print(f"S-05: {n} x {name}: held {held:.0f} after {connecting_s:.1f} s, {heads / n:.1f} KiB each (at most 24); {gone} (at most 10), {left} left; "
          f"good client {sum(statuses.values())} requests, {dict(statuses)}, lost {lost}, p99 {held_ms:.2f} ms = "
          f"{held_ms / quiet.p99_ms:.1f} x quiet {quiet.p99_ms:.2f} (at most 2), and {first_ms:.2f} ms in the {ARRIVAL_S} s in which they come")
    assert set(statuses) == {200} and lost == 0 and left == 0


def test_s05(tmp_path):
    raise_descriptor_limit()
    w = tiny(tmp_path)
    w.publish("kv", "s2", [("x" * 200, i) for i in range(1000)])
    with running(w.path, tmp_path / "cache", OFFLOADER_MAX_CONNECTIONS="18000") as s:
        client = OpenLoop(s.api_port, lambda k: get("/v1/endpoints/kv?limit=1"))
        take_short_turns()
        client.run(200, 1)
        quiet = client.run(200, max(2, 10 * SHARE))
        client.finish()
        for mode in MODES:
            attack(s, mode, (mode,), count(5000), quiet)
        attack(s, "mixed", MODES, count(15000), quiet)
