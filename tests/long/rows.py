# SPDX-License-Identifier: Apache-2.0
"""What the long runs share: counts that can be cut, runs of tests/e2e at other counts, a producer that
cleans up behind itself, what a process uses."""
import os
import re
import subprocess
import sys

from conftest import BIN, ROOT, wait_for
from stamped import Stamped

SHARE = float(os.environ.get("OFFLOADER_LONG_SHARE", "1"))


def count(n):
    return max(2, int(n * SHARE))


def again(file, select, **env):
    """A test of tests/e2e with other counts, in a process of its own; its printed lines are shown."""
    r = subprocess.run([sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", os.path.join(ROOT, "tests/e2e", file), "-k", select],
                       env={**os.environ, "OFFLOADER_BIN": BIN, **env}, capture_output=True, text=True)
    print("\n".join(x.lstrip(".") for x in r.stdout.splitlines() if re.search(r"[RS]-\d\d:", x)))
    assert r.returncode == 0, r.stdout[-4000:]


class Producer:
    """Publishes to a server again and again, and keeps only the files that may still be read."""

    def __init__(self, project, server):
        self.p, self.s, self.stamp = project, server, 1

    def next(self):
        self.stamp += 1
        for old in (self.p.path / "data").glob("*.csv"):
            if int(old.name.split("-")[0]) < self.stamp - 3:
                old.unlink()
        return self.stamp

    def swap(self):
        self.p.swap(self.s, self.next())


# Files that no revision may have: each reload with one of them is refused.
INVALID = (
    ("endpoints/kv.yml", "name: ["),
    ("endpoints/kv.yml", "name: kv\nversion: 1\ndataset: nowhere\n"),
    ("endpoints/kv.yml", "name: kv\nversion: 1\ndataset: kv\nquery: { select: [{ as: x, column: no_such }] }\ncolumns: [x]\n"),
    ("datasets/kv.yml", "id: kv\nmanifest: data/manifest.json\nschema:\n  - { name: id, type: NO_SUCH }\n"),
    ("offloader.yml", "version: 1\nauth: sometimes\n"),
    ("keys/keys.yml", "keys:\n  - { id: x, hash: short, status: active }\n"),
)


def disk_kib(s):
    total = 0
    for directory, _, files in os.walk(s.cache):
        for file in files:
            try:
                total += os.path.getsize(os.path.join(directory, file))
            except FileNotFoundError:
                pass  # an old snapshot went between the listing and the look
    return total // 1024


def anonymous_kib(s):
    """Memory of its own: PSS would tell of whoever else runs the same binary."""
    return int(re.search(r"^Anonymous:\s+(\d+)", open(f"/proc/{s.process.pid}/smaps_rollup").read(), re.M).group(1))


def still(look, n, every_s, what):
    """What @look gives once it has given the same @n times in a row."""
    seen = []

    def is_still():
        seen.append(look())
        return len(seen) >= n and len(set(seen[-n:])) == 1
    wait_for(is_still, what, 120, every_s)
    return seen[-1]


def settled(s):
    """(RSS KiB, anonymous KiB, descriptors) once they no longer change; nobody should be connected."""
    return still(lambda: (s.memory_kib(), anonymous_kib(s), s.descriptors()), 20, 0.25, "memory to settle")


def answered(s):
    """Requests, as the server's metrics count them."""
    return int(sum(float(x.split()[-1]) for x in s.admin("/metrics").body.decode().splitlines() if x.startswith("offloader_requests_total{")))


def stretch(s, requests, rate):
    """Until a load at @rate a second has had so many answers more."""
    goal = answered(s) + requests
    wait_for(lambda: answered(s) >= goal, f"{requests} answers", 60 + 4 * requests / rate, every_s=0.5)


def stamped_server(serve, tmp_path, env=None, **options):
    """A Stamped project and a server of its snapshot 1."""
    p = Stamped(tmp_path / "project", **options)
    p.publish(1)
    p.history.append(1)
    s = serve(p.path, **(env or {}))
    s.timeout_s = 120  # on a machine that others load too
    return p, s
