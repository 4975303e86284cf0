# SPDX-License-Identifier: Apache-2.0
"""R-08: reloads every 50 to 100 ms under load."""
import time

from conftest import wait_for
from rows import count, descriptors, memory_kib
from stamped import Load, Stamped, check_report


def test_r08(serve, tmp_path):
    """Reloads every 50 to 100 ms, every tenth a cutover that another supersedes."""
    p = Stamped(tmp_path / "project")
    p.publish(1)
    p.history.append(1)
    s = serve(p.path)
    n, stamp, before = count(1000), 1, None
    with Load(s, p, rate=4000) as load:
        for i in range(n):
            if i == n // 5:
                before = (descriptors(s), memory_kib(s))
            if i % 10 == 9:
                p.configure(p.contract + 2)
                s.post("/reload")
                p.configure(p.contract - 1)
                s.post("/reload")
                stamp += 1
                p.swap(s, stamp)
            else:
                p.configure(p.contract, description=f"revision {i}")
                assert s.post("/reload").status == 200
            time.sleep(0.05)
    report = load.end()
    wait_for(lambda: descriptors(s) <= before[0], "descriptors to go back")
    print(f"R-08: {n} rounds, {report['requests']} requests, bad {report['bad']}, descriptors {before[0]} and {descriptors(s)}, "
          f"memory {before[1]} and {memory_kib(s)} KiB")
    check_report(report, p.history)
