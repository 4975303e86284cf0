# SPDX-License-Identifier: Apache-2.0
"""R-07: swaps and rollbacks under load; every row of every answer is checked.

One server whose answers are public (they have ETags, and 304s) and one with keys and tenants share the
counts. Each is asked at a steady rate: quiet, through swaps at the pace of a busy production (two a
second), quiet again, through swaps one straight after the other. What is left of the requests is then
done as fast as the two cores allow, with more swaps on the way."""
import time

import pytest
from rows import SHARE, Producer, count, stamped_server, stretch
from stamped import Load, check_report

REQUESTS, SWAPS, ROLLBACKS = 5_000_000, 500, 100  # of each of the two
RATE, PAGE, ROWS_PER_TENANT = 5000, 20, 2000
QUIET_S, PACED_SWAPS, EVERY_S, STRAIGHT_SWAPS = 25, 350, 0.5, 150
QUIET, PACED, STRAIGHT, FLAT_OUT = range(4)
TARGET = 1.5


class Changes(Producer):
    """Swaps, every fifth followed by a rollback."""

    def __init__(self, project, server):
        super().__init__(project, server)
        self.swaps, self.rollbacks = 0, 0

    def one(self):
        self.swap()
        self.swaps += 1
        if self.swaps % 5 == 0:
            self.p.rollback(self.s)
            self.rollbacks += 1


@pytest.mark.parametrize("public", [True, False], ids=["public", "keyed"])
def test_r07(serve, tmp_path, public):
    p, s = stamped_server(serve, tmp_path, public=public, rows=ROWS_PER_TENANT)
    changes, pace = Changes(p, s), {}
    with Load(s, p, rate=RATE, requests=count(REQUESTS), rows=PAGE, query=f"?limit={PAGE}", connections=32) as load:
        load.phase(QUIET)
        stretch(s, RATE * QUIET_S * SHARE, RATE)
        for phase, swaps, every_s in ((PACED, PACED_SWAPS, EVERY_S), (STRAIGHT, STRAIGHT_SWAPS, 0)):
            load.phase(phase)
            began = time.monotonic()
            for i in range(count(swaps)):
                time.sleep(max(0, began + i * every_s - time.monotonic()))
                changes.one()
            pace[phase] = count(swaps) / (time.monotonic() - began)
            load.phase(QUIET)
            stretch(s, RATE * QUIET_S / 2 * SHARE, RATE)
        load.phase(FLAT_OUT, rate=0)
        while load.process.poll() is None or changes.swaps < count(SWAPS) or changes.rollbacks < count(ROLLBACKS):
            changes.one()
    report = load.end()
    p99 = [x["p99_ms"] for x in report["phases"]]
    print(f"R-07: {'public' if public else 'keyed'}: {report['requests']} requests in {report['seconds']:.0f} s, "
          f"{report['not_modified']} of them 304, {changes.swaps} swaps, {changes.rollbacks} rollbacks, bad {report['bad']}; "
          f"at {RATE}/s p99 quiet {p99[QUIET]:.2f} ms, with {pace[PACED]:.1f} swaps/s {p99[PACED]:.2f} ms = "
          f"{p99[PACED] / p99[QUIET]:.2f} times (target {TARGET}), with swaps without a pause ({pace[STRAIGHT]:.1f}/s) "
          f"{p99[STRAIGHT]:.2f} ms = {p99[STRAIGHT] / p99[QUIET]:.2f} times; "
          f"slowest {max(x['max_ms'] for x in report['phases'][:3]):.0f} ms; flat out {report['phases'][FLAT_OUT]['n']} requests")
    check_report(report, p.history)
    assert report["requests"] >= count(REQUESTS) and changes.swaps >= count(SWAPS) and changes.rollbacks >= count(ROLLBACKS)
    assert (report["not_modified"] > 0) == public  # with a key there is never a 304
