# SPDX-License-Identifier: Apache-2.0
"""R-07: swaps and rollbacks under load; every row of every answer is checked."""
from rows import count
from stamped import Load, Stamped, check_report


def test_r07(serve, tmp_path):
    requests, swaps = count(10_000_000), count(1000)
    p = Stamped(tmp_path / "project", public=True)
    p.publish(1)
    p.history.append(1)
    s = serve(p.path)
    stamp = 1
    with Load(s, p, requests=requests) as load:
        load.phase(1)
        while stamp <= swaps or load.process.poll() is None:
            stamp += 1
            p.swap(s, stamp)
            if stamp % 5 == 0:
                p.rollback(s)
    report = load.end()
    print(f"R-07: {report['requests']} requests, {report['not_modified']} of them 304, {len(p.history)} changes, bad {report['bad']}, p99 {report['phases'][1]['p99_ms']} ms")
    check_report(report, p.history)
