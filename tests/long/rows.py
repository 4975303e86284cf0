# SPDX-License-Identifier: Apache-2.0
"""What the long runs share: counts that can be cut, runs of tests/e2e at other counts, a producer that
cleans up behind itself, what a process uses."""
import os
import re
import subprocess
import sys
import time

from conftest import BIN, ROOT, wait_for

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


def memory_kib(s):
    return int(next(x for x in open(f"/proc/{s.process.pid}/status") if x.startswith("VmRSS")).split()[1])


def descriptors(s):
    return len(os.listdir(f"/proc/{s.process.pid}/fd"))


def anonymous_kib(s):
    """Memory of its own: PSS would tell of whoever else runs the same binary."""
    return int(re.search(r"^Anonymous:\s+(\d+)", open(f"/proc/{s.process.pid}/smaps_rollup").read(), re.M).group(1))


def settled(s):
    """(RSS KiB, anonymous KiB, descriptors) once they no longer change; nobody should be connected."""
    seen = []

    def is_still():
        seen.append((memory_kib(s), anonymous_kib(s), descriptors(s)))
        time.sleep(0.25)
        return len(seen) > 20 and len(set(seen[-20:])) == 1
    wait_for(is_still, "memory to settle", 120)
    return seen[-1]
