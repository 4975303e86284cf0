# SPDX-License-Identifier: Apache-2.0
"""R-13: a thousand swaps, one after the other; twenty minutes of everything that can happen, under load.
Memory, descriptors and disk stay as they are once everything that has a limit has reached it."""
import os
import time
from concurrent.futures import ThreadPoolExecutor

from rows import INVALID, SHARE, Producer, count, disk_kib, settled, stamped_server
from stamped import Load, check_report

SWAPS = 1000
SOAK_S = float(os.environ.get("OFFLOADER_SOAK_MINUTES", "20")) * 60 * SHARE
WARM_UP_S, SAMPLE_EVERY_S, ROUND_EVERY_S = 180 * SHARE, 10, 0.5
KEYED_ANSWERS = 10_000  # LIMIT_RECORDS of src/admin/idempotency.h
RATE, PAGE = 1500, 20
LIMIT_KIB_AN_HOUR = 1024


def test_r13_a_thousand_swaps(serve, tmp_path):
    p, s = stamped_server(serve, tmp_path, rows=2000)
    producer, n, marks = Producer(p, s), count(SWAPS), []
    for i in range(1, n + 1):
        producer.swap()
        if i % max(1, n // 10) == 0:
            marks.append((s.memory_kib(), s.descriptors(), disk_kib(s)))
    print(f"R-13: {n} swaps; (memory KiB, descriptors, disk KiB) after each tenth of them: {marks}")
    assert settled(s)[2] <= min(m[1] for m in marks) and marks[-1][2] <= marks[1][2] + 64
    assert marks[-1][0] <= marks[1][0] + LIMIT_KIB_AN_HOUR  # in a few minutes


def slope(samples):
    """(KiB an hour, its standard error) of (seconds, KiB), by least squares."""
    n = len(samples)
    mean_t, mean_m = (sum(x[i] for x in samples) / n for i in (0, 1))
    spread = sum((t - mean_t) ** 2 for t, _ in samples)
    rise = sum((t - mean_t) * (m - mean_m) for t, m in samples) / spread
    rest = sum((m - mean_m - rise * (t - mean_t)) ** 2 for t, m in samples)
    return rise * 3600, (rest / max(1, n - 2) / spread) ** 0.5 * 3600


class Everything(Producer):
    KINDS = ("swap", "rollback", "swap", "reload", "swap", "refused reload", "swap", "replayed refresh",
             "swap", "refused row count", "cutover", "refused quality")

    def __init__(self, project, server):
        super().__init__(project, server)
        self.done, self.n = dict.fromkeys(self.KINDS, 0), 0

    def round(self):
        kind = self.KINDS[self.n % len(self.KINDS)]
        self.n += 1
        getattr(self, kind.replace(" ", "_"))()
        self.done[kind] += 1

    def rollback(self):
        self.p.rollback(self.s)

    def reload(self):
        self.p.configure(self.p.contract, description=f"revision {self.n}")
        assert self.s.post("/reload").json["result"] == "applied"

    def refused_reload(self):
        name, text = INVALID[self.n // len(self.KINDS) % len(INVALID)]
        (self.p.path / name).write_text(text)
        assert self.s.post("/reload").status == 409
        self.p.configure(self.p.contract)

    def replayed_refresh(self):
        self.p.publish(self.next())
        self.p.history.append(self.stamp)
        first, second = (self.s.post("/datasets/kv/refresh", headers={"Idempotency-Key": f"soak-{self.stamp}"}) for _ in range(2))
        assert first.status == 200 and first.body == second.body and "idempotent-replay" in second.headers, second.headers

    def cutover(self):
        self.p.configure(self.p.contract + 1)
        assert self.s.post("/reload").json["result"] == "applied"
        self.swap()

    def refused(self, **over):
        self.p.publish(self.next(), **over)
        assert self.s.post("/datasets/kv/refresh").status == 409

    def refused_row_count(self):
        self.refused(row_count=1)

    def refused_quality(self):
        self.refused(data_quality_status="failed")

    def run(self, seconds):
        """Samples of memory on the way."""
        began = time.monotonic()
        samples, sample_at, round_at = [], began, began
        while time.monotonic() < began + seconds or self.n % (4 * len(self.KINDS)):  # to the same contract modulo 4
            if time.monotonic() >= sample_at:
                samples.append((sample_at - began, self.s.memory_kib()))
                sample_at += SAMPLE_EVERY_S
            self.round()
            round_at += ROUND_EVERY_S
            time.sleep(max(0, round_at - time.monotonic()))
        return samples


def test_r13_soak(serve, tmp_path):
    p, s = stamped_server(serve, tmp_path, rows=1000)
    with ThreadPoolExecutor(4) as pool:  # so that no answer is kept on top of others: their number has a limit
        filled = list(pool.map(lambda i: s.post("/release", headers={"Idempotency-Key": f"fill-{i}"}).status, range(count(KEYED_ANSWERS))))
    assert set(filled) == {200}
    everything = Everything(p, s)
    options = {"rate": RATE, "rows": PAGE, "query": f"?limit={PAGE}", "connections": 32}
    with Load(s, p, **options) as load:
        everything.run(WARM_UP_S)
    check_report(load.end(), p.history)
    before, disk, warm_up = settled(s), disk_kib(s), dict(everything.done)
    began = time.monotonic()
    with Load(s, p, **options) as load:
        samples = everything.run(SOAK_S)
    report, minutes = load.end(), (time.monotonic() - began) / 60
    after, disk_after = settled(s), disk_kib(s)
    rise, error = slope(samples)
    done = {k: n - warm_up[k] for k, n in everything.done.items()}
    print(f"R-13: soak of {minutes:.1f} min after a warm-up: {done}, {report['requests']} requests, bad {report['bad']}; memory under load "
          f"{samples[0][1]} to {samples[-1][1]} KiB, {len(samples)} samples, slope {rise:.0f} +- {error:.0f} KiB/h (target {LIMIT_KIB_AN_HOUR}); "
          f"(RSS, anonymous KiB, descriptors) at rest {before} and {after}; disk {disk} and {disk_after} KiB")
    check_report(report, p.history)
    assert after[2] == before[2] and disk_after <= disk + 64
    assert SHARE < 1 or rise - 2 * error <= LIMIT_KIB_AN_HOUR  # the slope of a short run says nothing
