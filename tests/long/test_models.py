# SPDX-License-Identifier: Apache-2.0
"""R-11 and R-12: the decisions of a refresh simulated; the store beside DuckDB."""
import os
import subprocess

from conftest import BIN
from rows import count


def test_r11_seeds():
    r = subprocess.run([os.path.join(os.path.dirname(BIN), "tests/unit/refresh/unit-refresh-decide")],
                       env={**os.environ, "OFFLOADER_TEST_RUNS": str(count(200_000))}, capture_output=True, text=True)
    print("R-11:", next(x for x in r.stdout.splitlines() if "seeds" in x))
    assert r.returncode == 0, r.stdout + r.stderr


def test_r12_pairs():
    n = count(1_000_000)
    r = subprocess.run([os.path.join(os.path.dirname(BIN), "tests/differential/differential"), "--pairs", str(n)],
                       capture_output=True, text=True)
    print("R-12:", "; ".join(r.stdout.strip().splitlines()[-2:]))
    assert r.returncode == 0, r.stdout[-4000:] + r.stderr[-4000:]
