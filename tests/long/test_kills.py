# SPDX-License-Identifier: Apache-2.0
"""R-01: kill -9 at every durable step, and at any time under load."""
import os
import random
import time

from rows import SHARE, again, count
from stamped import Stamped


def test_r01_every_step():
    again("test_crash.py", "r01", OFFLOADER_TEST_CRASHES="0" if SHARE == 1 else "200")


def test_r01_kills_at_random_under_load(serve, tmp_path):
    """kill -9 at any time while swaps go on under load; each restart serves what was served last or newer."""
    seed = int(os.environ.get("OFFLOADER_TEST_SEED", "1"))
    dice, slowest_ms, n = random.Random(seed), 0, count(1000)
    p = Stamped(tmp_path / "project")
    p.publish(1)
    s = serve(p.path)
    stamp = 1
    for _ in range(n):
        stamp += 1
        p.publish(stamp)
        s.post("/datasets/kv/refresh", headers={"Prefer": "respond-async"})
        time.sleep(dice.random() * 0.08)  # where in the refresh the kill falls
        before = int(s.dataset("kv")["last_good"][1:].split("-")[0])
        s.process.kill()
        s.process.wait()
        began = time.monotonic()
        s.start()
        slowest_ms = max(slowest_ms, (time.monotonic() - began) * 1000)
        after = int(s.dataset("kv")["last_good"][1:].split("-")[0])
        assert after >= before, f"OFFLOADER_TEST_SEED={seed}: {before} was served, {after} after the kill"
    print(f"R-01: {n} kills at random, seed {seed}, slowest start to ready {slowest_ms:.0f} ms (with the test's own polling)")
