# SPDX-License-Identifier: Apache-2.0
"""R-06: the ingest child killed, limited, hung and stopped, fifty times each, beside a steady load.

The load client checks every answer. Each way has a quiet stretch of its own before it, since a machine
changes over minutes; the p99 of both is printed beside the target. Refreshes are the server's own: how
long it waits after failures in a row is read from next_refresh_at."""
import datetime
import os
import signal
import time

import pytest
from conftest import wait_for
from observe import metric, stop_child
from rows import SHARE, count, stamped_server, stretch
from stamped import Load, check_report

TRIALS, RATE, QUIET_S, PAGE, ROWS, INTERVAL_S, TARGET = 50, 1000, 10, 20, 2000, 8, 1.2
QUIET, FAULTS = 0, 1
# killed; over its limit of CPU time; alive and silent for longer than OFFLOADER_INGEST_STALL_SECONDS; crashed
WAYS = {"killed": signal.SIGKILL, "limited": signal.SIGXCPU, "hung": signal.SIGSTOP, "stopped": signal.SIGABRT}


def seconds_of(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def failed(s):
    return metric(s, 'offloader_refresh_total{dataset="kv",status="failed"}') or 0


def lose(s, sent):
    """The next ingest of the server's own is lost."""
    before = failed(s)
    child = stop_child(s)
    if sent != signal.SIGSTOP:
        os.kill(child, sent)
        os.kill(child, signal.SIGCONT)
    wait_for(lambda: failed(s) > before, "the attempt to fail")
    assert s.children("__ingest") == []
    d = s.dataset("kv")
    assert d["last_attempted"]["status"] == "failed" and d["active_snapshot"]["snapshot_id"].startswith("g1-"), d
    return seconds_of(d["next_refresh_at"]) - seconds_of(d["last_attempted"]["at"]) - d["last_attempted"]["duration_ms"] / 1000


@pytest.mark.parametrize("way", WAYS)
def test_r06(serve, tmp_path, way):
    p, s = stamped_server(serve, tmp_path, {"OFFLOADER_INGEST_STALL_SECONDS": "1", "OFFLOADER_REFRESH_INTERVAL": str(INTERVAL_S)}, rows=ROWS)
    waits, began = [], time.monotonic()
    with Load(s, p, rate=RATE, rows=PAGE, query=f"?limit={PAGE}", connections=16) as load:
        load.phase(QUIET)
        stretch(s, RATE * max(1, QUIET_S * SHARE), RATE)
        load.phase(FAULTS)
        p.publish(2)
        for i in range(count(TRIALS)):
            waits.append(lose(s, WAYS[way]))
        load.phase(QUIET)
        # Undisturbed, it comes by itself.
        p.history.append(2)
        wait_for(lambda: s.dataset("kv")["active_snapshot"]["snapshot_id"] == p.snapshot_id(2), "the snapshot")
    report = load.end()
    quiet, faults = (report["phases"][i] for i in (QUIET, FAULTS))
    late = waits[4:] or waits
    print(f"R-06: {way}: {len(waits)} ingests lost in {time.monotonic() - began:.0f} s, {report['requests']} requests, bad {report['bad']}; "
          f"p99 quiet {quiet['p99_ms']:.2f} ms, with faults {faults['p99_ms']:.2f} ms = {faults['p99_ms'] / quiet['p99_ms']:.2f} times (target {TARGET}); "
          f"waits after the first failures {', '.join(f'{w:.1f}' for w in waits[:5])} s, then {min(late):.1f} to {max(late):.1f} s (interval {INTERVAL_S} s)")
    check_report(report, p.history)
    # Doubling from a second up to the interval, less up to a quarter by dice. An answer shows whole seconds at best.
    assert all(w <= INTERVAL_S + 2 for w in waits)
    assert not waits[4:] or min(late) >= INTERVAL_S * 3 / 4 - 2
    assert [n for n in os.listdir(os.path.join(s.cache, "temporary")) if not n.startswith("query")] == []
