# SPDX-License-Identifier: Apache-2.0
"""Snapshots that come and go without anyone noticing: at least 2,000 requests a second, every row of
every answer checked, held through swaps, rollbacks, reloads and schema and tenant-column cutovers."""
from rows import SHARE, count, stamped_server, stretch
from stamped import Load, check_report

SWAPS, ROLLBACKS, RELOADS, CUTOVERS = (count(n) for n in (200, 50, 50, 20))
RATE = 2500
STEADY, SWAPPING = 0, 1


def test_show(serve, tmp_path):
    p, s = stamped_server(serve, tmp_path, rows=2000)
    page = 100  # rows of an answer: the endpoint's default limit
    done = {"swap": 0, "rollback": 0, "reload": 0, "cutover": 0}
    stamp = 1
    with Load(s, p, rate=RATE, connections=32, rows=page) as load:
        load.phase(STEADY)
        stretch(s, RATE * 10 * SHARE, RATE)
        load.phase(SWAPPING)
        while any(done[k] < n for k, n in (("swap", SWAPS), ("rollback", ROLLBACKS), ("reload", RELOADS), ("cutover", CUTOVERS))):
            round_ = sum(done.values())
            if done["cutover"] < CUTOVERS and round_ % 16 == 15:
                p.configure(p.contract + 1)
                assert s.post("/reload").json["result"] == "applied"
                done["cutover"] += 1
            elif done["reload"] < RELOADS and round_ % 6 == 5:
                p.configure(p.contract, description=f"revision {round_}")
                assert s.post("/reload").json["result"] == "applied"
                done["reload"] += 1
            elif done["rollback"] < ROLLBACKS and round_ % 4 == 3 and s.dataset("kv")["previous_snapshot"]:
                p.rollback(s)
                done["rollback"] += 1
                continue
            stamp += 1
            p.swap(s, stamp)
            done["swap"] += 1
        load.phase(STEADY)
        stretch(s, RATE * 10 * SHARE, RATE)
    report = load.end()
    steady, swapping = report["phases"][STEADY], report["phases"][SWAPPING]
    print(f"show: {done}; {report['requests']} requests in {report['seconds']:.0f} s = "
          f"{report['requests'] / report['seconds']:.0f}/s, bad {report['bad']}; "
          f"p99 steady {steady['p99_ms']} ms, while swapping {swapping['p99_ms']} ms; "
          f"p50 {steady['p50_ms']} and {swapping['p50_ms']} ms; slowest {steady['max_ms']} and {swapping['max_ms']} ms")
    check_report(report, p.history)
    assert report["requests"] > 0
