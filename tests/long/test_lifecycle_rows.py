# SPDX-License-Identifier: Apache-2.0
"""The rows of the promises about the life cycle, at the counts of tier N."""
import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import BIN, ROOT, wait_for
from stamped import Load, Stamped, check_report

SHARE = float(os.environ.get("OFFLOADER_LONG_SHARE", "1"))


def count(n):
    return max(2, int(n * SHARE))


def again(file, select, **env):
    """A test of tests/e2e with other counts, in a process of its own; its printed lines are shown."""
    r = subprocess.run([sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", os.path.join(ROOT, "tests/e2e", file), "-k", select],
                       env={**os.environ, "OFFLOADER_BIN": BIN, **env}, capture_output=True, text=True)
    print("\n".join(x.lstrip(".") for x in r.stdout.splitlines() if "R-" in x))
    assert r.returncode == 0, r.stdout[-4000:]


def test_r01_every_step():
    again("test_crash.py", "r01", OFFLOADER_TEST_CRASHES="0" if SHARE == 1 else "200")


def test_r01_kills_at_random_under_load(serve, tmp_path):
    """kill -9 at any time while swaps go on under load; each restart serves what was served last or newer."""
    import random
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


@pytest.mark.parametrize("start_kib", [160, 176, 192])
def test_r05_small_disks(tmp_path, start_kib):
    from test_cache import in_mount_namespace
    in_mount_namespace("grow", str(tmp_path / "full"), start_kib, 64, 65536)


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


def memory_kib(s):
    return int(next(x for x in open(f"/proc/{s.process.pid}/status") if x.startswith("VmRSS")).split()[1])


def descriptors(s):
    return len(os.listdir(f"/proc/{s.process.pid}/fd"))


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


def test_r09():
    for _ in range(count(20)):
        again("test_daemon.py", "drain")
    print(f"R-09: {count(20)} times 5 drains")


def test_r10_flips():
    again("test_cache.py", "r10", OFFLOADER_TEST_FLIPS=str(count(6000)))


def test_r11_seeds():
    r = subprocess.run([os.path.join(os.path.dirname(BIN), "tests/unit/refresh/unit-refresh-decide")],
                       env={**os.environ, "OFFLOADER_TEST_RUNS": str(count(200_000))}, capture_output=True, text=True)
    print("R-11:", next(x for x in r.stdout.splitlines() if "seeds" in x))
    assert r.returncode == 0, r.stdout + r.stderr


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
