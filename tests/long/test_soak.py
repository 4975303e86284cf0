# SPDX-License-Identifier: Apache-2.0
"""R-13: a thousand swaps, one after the other."""
import os

from rows import count, descriptors, memory_kib
from stamped import Stamped


def test_r13_a_thousand_swaps(serve, tmp_path):
    p = Stamped(tmp_path / "project", rows=2000)
    p.publish(1)
    s = serve(p.path)
    n, marks = count(1000), []
    for stamp in range(2, n + 2):
        p.publish(stamp)
        assert s.post("/datasets/kv/refresh").status == 200
        (p.path / f"data/{stamp - 1}-0.csv").unlink()
        if stamp % max(1, n // 10) == 0:
            used = sum(os.path.getsize(os.path.join(d, f)) for d, _, fs in os.walk(s.cache) for f in fs)
            marks.append((memory_kib(s), descriptors(s), used // 1024))
    print(f"R-13: {n} swaps; (memory KiB, descriptors, disk KiB) on the way: {marks}")
    assert marks[-1][1] <= marks[0][1] + 2 and marks[-1][2] <= marks[0][2] * 1.5 + 1024
