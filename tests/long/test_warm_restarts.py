# SPDX-License-Identifier: Apache-2.0
"""R-10: warm restarts, and caches with a bit flipped."""
import signal
import time

from rows import again, count
from stamped import Stamped


def test_r10_flips():
    again("test_cache.py", "r10", OFFLOADER_TEST_FLIPS=str(count(6000)))


def test_r10_warm_restarts(serve, tmp_path):
    p = Stamped(tmp_path / "project", rows=20_000)
    p.publish(1)
    s = serve(p.path)
    times = []
    for _ in range(count(200)):
        s.stop(signal.SIGKILL)
        began = time.monotonic()
        s.start()
        times.append((time.monotonic() - began) * 1000)
    times.sort()
    print(f"R-10: {len(times)} warm restarts, ready after {times[len(times) // 2]:.0f} ms (median), {times[int(len(times) * .99) - 1]:.0f} ms (p99)")
