# SPDX-License-Identifier: Apache-2.0
"""What the long runs share: counts that can be cut, runs of tests/e2e at other counts, what a process uses."""
import os
import subprocess
import sys

from conftest import BIN, ROOT

SHARE = float(os.environ.get("OFFLOADER_LONG_SHARE", "1"))


def count(n):
    return max(2, int(n * SHARE))


def again(file, select, **env):
    """A test of tests/e2e with other counts, in a process of its own; its printed lines are shown."""
    r = subprocess.run([sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", os.path.join(ROOT, "tests/e2e", file), "-k", select],
                       env={**os.environ, "OFFLOADER_BIN": BIN, **env}, capture_output=True, text=True)
    print("\n".join(x.lstrip(".") for x in r.stdout.splitlines() if "R-" in x))
    assert r.returncode == 0, r.stdout[-4000:]


def memory_kib(s):
    return int(next(x for x in open(f"/proc/{s.process.pid}/status") if x.startswith("VmRSS")).split()[1])


def descriptors(s):
    return len(os.listdir(f"/proc/{s.process.pid}/fd"))
