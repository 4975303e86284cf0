# SPDX-License-Identifier: Apache-2.0
"""R-03 and R-04: the n-th system call or allocation fails, and nobody who reads notices.

One server serves every trial: a control page arms the fault while it runs. A trial publishes a
snapshot, refreshes, reads, rolls back and reloads with the fault armed; then the fault is cleared and
everything must work. OFFLOADER_FAULT_TRIALS asks for more trials (make test-long), OFFLOADER_TEST_SEED
for others.
"""
import http.client
import os
import random

import pytest
from conftest import whole_program

SEED = int(os.environ.get("OFFLOADER_TEST_SEED", "1"))
TRIALS = int(os.environ.get("OFFLOADER_FAULT_TRIALS", "0"))
BROKEN = (OSError, http.client.HTTPException)


def attempt(call):
    """The answer, or None when the connection failed: a fault may hit the admin port's own calls."""
    try:
        return call()
    except BROKEN:
        return None


class Trials:
    def __init__(self, serve, project, control):
        self.control, self.number = control, 0
        self.project = project()
        self.published = {}
        self.publish()
        self.server = serve(self.project.path, **control.env)
        self.publish()
        assert self.server.post("/datasets/kv/refresh").status == 200
        self.expect_current()

    def publish(self):
        self.number += 1
        name = f"s{self.number}"
        self.published[name] = [{"id": f"row{i}", "n": self.number} for i in range(20)]
        self.project.publish(name, [(r["id"], r["n"]) for r in self.published[name]])
        self.current = name

    def read(self, strict=False):
        """What a reader sees: always 200, always one published snapshot, whole; or, when the fault hit
        this very request, an error that says so."""
        answer = self.server.get("/v1/endpoints/kv")
        if answer.status in (500, 503) and not strict:
            assert answer.json["error"]["family"] in ("internal", "not_ready")
            return None
        assert answer.status == 200, answer.body
        assert answer.rows == self.published[answer.meta["snapshot_id"]]
        return answer.meta["snapshot_id"]

    def expect_current(self):
        assert self.read(strict=True) == self.current

    def scenario(self):
        self.publish()
        for action in ("/datasets/kv/refresh", "/datasets/kv/rollback", "/reload"):
            answer = attempt(lambda path=action: self.server.post(path))
            assert answer is None or not answer.body or answer.json, "an answer is whole JSON"
            attempt(self.read)
        attempt(lambda: self.server.admin("/ready"))

    def recover(self, by_refresh=True):
        self.control.clear()
        self.read(strict=True)
        if not by_refresh:
            return
        self.publish()
        answer = self.server.post("/datasets/kv/refresh")
        assert answer.status == 200, answer.body
        self.expect_current()
        assert self.server.admin("/ready").status == 200

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.server.process.pid}/fd"))

    def count(self, site):
        before = self.control.calls(site)
        self.scenario()
        total = self.control.calls(site) - before
        self.recover()
        return total

    def run(self, site, trials, always):
        """@trials of the calls of one scenario, spread over all of them, at random within each part."""
        chance = random.Random(SEED)
        total, hit = self.count(site), 0
        descriptors = self.descriptors()
        for i in range(trials):
            first = i * total // trials + 1
            nth = chance.randint(first, max((i + 1) * total // trials, first))
            failed = self.control.failed(site)
            self.control.fail(site, nth, always=always(i))
            self.server.timeout_s = 1 if always(i) else 30 # without memory a connection waits for some
            try:
                self.scenario()
                self.server.timeout_s = 30
                self.recover(by_refresh=i % 8 == 7)
            except BaseException:
                print(f"seed {SEED}: {site} {nth} of {total}, always={always(i)}")
                raise
            hit += self.control.failed(site) > failed
        print(f"seed {SEED}: {trials} trials over {total} calls of {site}, {hit} met a fault")
        assert hit >= trials * 2 // 3
        assert self.descriptors() <= descriptors + 2, "descriptors leak"


@pytest.fixture
def trials(serve, project, control):
    return Trials(serve, project, control)


def test_the_nth_system_call_fails(trials):
    trials.run("any", TRIALS or 70, always=lambda i: False)


def test_system_calls_fail_from_the_nth_on(trials):
    trials.run("any", TRIALS or 30, always=lambda i: True)


def test_the_nth_allocation_fails(trials):
    trials.run("alloc", TRIALS or 200, always=lambda i: i % 200 == 100)


@pytest.mark.parametrize("site", ["any", "alloc"])
def test_a_fault_at_boot(site, serve, project, control):
    """It ends with a message and a status, or it serves; never by a signal."""
    p = project()
    p.publish("s1", [("a", 1)])
    server = serve(p.path, **control.env)
    total = control.calls(site)
    server.stop()
    chance = random.Random(SEED)
    for i in range(TRIALS or 10):
        nth = chance.randint(1, total)
        control.fail(site, nth)
        try:
            server.start(ready=False)
            whole_program.wait_for(
                lambda: server.process.poll() is not None or attempt(lambda: server.admin("/live")), "an end")
            if server.process.poll() is None:
                control.clear()
                attempt(lambda: server.post("/datasets/kv/refresh"))
                whole_program.wait_for(lambda: server.get("/v1/endpoints/kv").status == 200, "service")
        except AssertionError:
            assert server.process.poll() not in (None, 0), f"seed {SEED}: {site} {nth}"
        control.clear()
        if server.process.poll() is not None:
            assert server.process.returncode > 0, f"seed {SEED}: {site} {nth}: {server.log()[-2000:]}"
        server.stop()
    server.start()
    assert server.get("/v1/endpoints/kv").status == 200
