# SPDX-License-Identifier: Apache-2.0
"""R-08: reloads every 50 to 100 ms under load: valid ones, invalid ones, cutovers of schema and tenant
column, superseded and cancelled ones. After a warm-up of the same mixture, as many again and more must
leave memory and descriptors where they were."""
import os
import random
import time

from rows import INVALID, Producer, count, settled, stamped_server
from stamped import Load, check_report

RELOADS, REQUESTS, WARM_UP = 1000, 5_000_000, 400
SEED = int(os.environ.get("OFFLOADER_TEST_SEED", "1"))
PAGE = 20


class Reloads(Producer):
    def __init__(self, project, server, dice):
        super().__init__(project, server)
        self.dice = dice
        self.done = dict.fromkeys(("valid", "invalid", "cutover", "superseded", "cancelled"), 0)

    def reload(self, kind, *results):
        self.done[kind] += 1
        answer = self.s.post("/reload")
        assert answer.status == (409 if kind == "invalid" else 200) and (not results or answer.json["result"] in results), (kind, answer.body)

    def round(self, i):
        p, kind = self.p, i % 10
        if kind in (2, 5):
            name, text = INVALID[i // 10 % len(INVALID)]
            (p.path / name).write_text(text)
            self.reload("invalid")
            p.configure(p.contract)
        elif kind == 4:
            p.configure(p.contract + 1)
            self.reload("cutover", "applied")
            assert self.s.dataset("kv")["cutover_pending"]
            self.swap()
        elif kind == 7:
            home = p.contract
            p.configure(home + 1)
            self.reload("superseded")
            p.configure(home + 2)
            self.reload("superseded")
            p.configure(home)
            self.reload("cancelled")
            assert not self.s.dataset("kv")["cutover_pending"]
        elif kind == 9:
            p.configure(p.contract + 1)
            self.reload("superseded")
            p.configure(p.contract + 1)
            self.reload("cutover", "applied")
            self.swap()
        else:
            p.configure(p.contract, description=f"revision {i}")
            self.reload("valid", "applied")

    def run(self, n, goes_on=lambda: False):
        """Rounds until there were n reloads; goes_on asks for more."""
        i, target = 0, sum(self.done.values()) + n
        while sum(self.done.values()) < target or i % 80 or goes_on():  # to the same contract modulo 4
            next_s = time.monotonic() + 0.05 + 0.05 * self.dice.random()
            self.round(i)
            i += 1
            time.sleep(max(0, next_s - time.monotonic()))


def test_r08(serve, tmp_path):
    p, s = stamped_server(serve, tmp_path, rows=200)
    reloads = Reloads(p, s, random.Random(SEED))
    options = {"rows": PAGE, "query": f"?limit={PAGE}", "connections": 32}
    with Load(s, p, **options) as load:
        reloads.run(count(WARM_UP))
    check_report(load.end(), p.history)
    rss, own, n_descriptors = settled(s)
    warm_up, began = dict(reloads.done), time.monotonic()
    with Load(s, p, requests=count(REQUESTS), **options) as load:
        reloads.run(count(RELOADS), lambda: load.process.poll() is None)
    report, seconds = load.end(), time.monotonic() - began
    done = {k: n - warm_up[k] for k, n in reloads.done.items()}
    rss_after, own_after, n_after = settled(s)
    change = abs(rss_after / rss - 1) * 100
    print(f"R-08: {sum(done.values())} reloads in {seconds:.0f} s ({done}), {report['requests']} requests, bad {report['bad']}, seed {SEED}; "
          f"before and after, settled: descriptors {n_descriptors} and {n_after}, RSS {rss} and {rss_after} KiB, "
          f"{change:.2f} % (target 1); anonymous memory {own} and {own_after} KiB")
    check_report(report, p.history)
    assert n_after == n_descriptors
    assert change <= 1
