# SPDX-License-Identifier: Apache-2.0
"""R-03 and R-04: the n-th system call or allocation fails, and nobody who reads notices.

Each of the scenarios of scenarios.py is counted first; its plan is every call of every kind with every
error that fits it, once and for good. A share of the plan is tried, spread over all of it:
OFFLOADER_FAULT_TRIALS is how many of a scenario, or `all` (make test-long), OFFLOADER_FAULT_PART=1/3 one
third of that, OFFLOADER_TEST_SEED another choice, OFFLOADER_FAULT_ONLY=open:12:EIO:once one trial."""
import os
import random
import shutil
import time
import traceback

import pytest
from control import ERRNOS, SITES, errno_of
from scenarios import SCENARIOS, Start

SEED = int(os.environ.get("OFFLOADER_TEST_SEED", "1"))
TRIALS = os.environ.get("OFFLOADER_FAULT_TRIALS", "")
PART, PARTS = map(int, os.environ.get("OFFLOADER_FAULT_PART", "1/1").split("/"))
ONLY = os.environ.get("OFFLOADER_FAULT_ONLY")
NO_CALLS = ("any", "alloc", "heap", "x_alloc")
LIMIT_FAILURES = 5
MEMORY_KIB = 16 << 10  # what a server that leaks nothing may grow by, pools and all


def system_calls(counts):
    for site in SITES:
        for n in range(1, counts[site] + 1) if site not in NO_CALLS else ():
            for name in ERRNOS[site]:
                yield site, n, name, "once"
                if name != "EINTR":  # a call interrupted for ever is no fault that exists
                    yield site, n, name, "always"


def allocations(counts):
    for n in range(1, counts["alloc"] + 1):
        yield "alloc", n, "ENOMEM", "once"
        if n % 4 == 0:  # these wait for time-outs
            yield "alloc", n, "ENOMEM", "always"


def chosen(plan, n):
    """One at random of each n-th part of the plan, then our part of those."""
    if ONLY:
        return [p for p in plan if ":".join(map(str, p)) == ONLY]
    if TRIALS != "all":
        n, chance = min(int(TRIALS or n), len(plan)), random.Random(SEED)
        plan = [plan[chance.randrange(i * len(plan) // n, (i + 1) * len(plan) // n)] for i in range(n)]
    return plan[PART - 1::PARTS]


class Trials:
    def __init__(self, kind, tmp_path, control):
        self.kind, self.tmp_path, self.control = kind, tmp_path, control
        self.failures, self.n_made, self.scenario = [], 0, None
        self.slowest_s, self.slowest = 0, None
        self.renew()

    def renew(self):
        """A new world: the first, and after a trial that failed."""
        if self.scenario:
            self.scenario.close()
        self.control.clear()
        self.n_made += 1
        directory = self.tmp_path / f"world{self.n_made}"
        directory.mkdir()
        self.scenario = self.kind(directory, self.control)
        self.marks = None

    def counts(self):
        """The calls of an undisturbed trial. Threads of the background count too, so of two trials the
        most when all calls are tried, and the least when a few are: most of those have to hit."""
        seen = []
        for _ in range(2):
            self.scenario.prepare()
            before = {site: self.control.calls(site) for site in SITES}
            self.scenario.act()
            seen.append({site: self.control.calls(site) - before[site] for site in SITES})
            self.scenario.settle()
        pick = max if TRIALS == "all" else min
        return {site: pick(s[site] for s in seen) for site in SITES}

    def one(self, site, n, name, how):
        s = self.scenario
        s.prepare()
        before = self.control.failed(site)
        self.control.fail(site, nth=n, always=how == "always", number=errno_of(name))
        s.is_unharmed = s.serves_from_memory and site != "alloc"
        s.server.timeout_s = 1 if how == "always" else 30  # without memory a connection waits for some
        try:
            s.act()
        finally:
            hit = self.control.failed(site) > before
            self.control.clear()
            s.server.timeout_s = 30
        s.settle()
        s.tidied()
        return hit

    def look(self):
        return self.scenario.server.descriptors(), self.scenario.server.memory_kib()

    def run(self, plan):
        hits = 0
        for i, trial in enumerate(plan):
            began = time.monotonic()
            try:
                hits += self.one(*trial)
            except Exception:
                self.failures.append(f"OFFLOADER_FAULT_ONLY={':'.join(map(str, trial))}: {traceback.format_exc()[-2500:]}")
                print(self.failures[-1], flush=True)
                if len(self.failures) == LIMIT_FAILURES:
                    break
                self.renew()
                continue
            took_s = time.monotonic() - began
            if took_s > self.slowest_s:
                self.slowest_s, self.slowest = took_s, ":".join(map(str, trial))
            if self.marks is None and i > 10:
                self.marks = self.look()
        return hits

    def finish(self):
        """Descriptors and memory as they were, and a last start that finds all in order."""
        before, after = self.marks or self.look(), self.look()
        if not issubclass(self.kind, Start):
            assert after[0] <= before[0] + 2, f"descriptors: {before[0]}, then {after[0]}"
            assert after[1] <= before[1] + MEMORY_KIB, f"memory: {before[1]} KiB, then {after[1]}"
        self.scenario.end()
        return before, after


def try_all(row, name, what, few, tmp_path, control):
    trials = Trials(SCENARIOS[name], tmp_path, control)
    try:
        counts = trials.counts()
        whole = list(what(counts))
        plan = chosen(whole, few)
        began = time.monotonic()
        hits = trials.run(plan)
        if not trials.failures:
            before, after = trials.finish()
            print(f"{row}: {name}: {len(plan)} trials of {len(whole)}, {hits} met their fault, 0 wrong, seed {SEED}; "
                  f"{time.monotonic() - began:.0f} s, the slowest {trials.slowest_s:.1f} s ({trials.slowest}); "
                  f"descriptors {before[0]} and {after[0]}, memory {before[1] >> 10} and {after[1] >> 10} MiB")
        assert not trials.failures, "\n".join(trials.failures)
        assert ONLY or hits >= len(plan) // 2, f"{hits} of {len(plan)} trials met their fault"
    finally:
        trials.scenario.close()
        shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.mark.parametrize("name", SCENARIOS)
def test_r03(name, tmp_path, control):
    try_all("R-03", name, system_calls, 13, tmp_path, control)


@pytest.mark.parametrize("name", SCENARIOS)
def test_r04(name, tmp_path, control):
    try_all("R-04", name, allocations, 25, tmp_path, control)
