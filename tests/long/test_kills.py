# SPDX-License-Identifier: Apache-2.0
"""R-01: kill -9 after every durable step, then at random times under load."""
import concurrent.futures
import http.client
import os
import random
import subprocess
import sys
import threading
import time

from conftest import BIN, ROOT, Server, wait_for
from rows import SHARE
from stamped import TENANTS, Load, Stamped, check_report, token
from test_crash import settled_leftovers

SEED = int(os.environ.get("OFFLOADER_TEST_SEED", "1"))
STATES = ("cold", "one", "two", "rolled_back")
KILLS = max(8, int(5000 * SHARE))
SERVERS = 4
RATE = 150  # requests a second, to each server


def test_r01_every_step(tmp_path):
    """The test of tests/e2e with every step, a process for each state."""
    env = {**os.environ, "OFFLOADER_BIN": BIN, "OFFLOADER_TEST_CRASHES": "0" if SHARE == 1 else str(max(28, int(1600 * SHARE)))}
    runs = [subprocess.Popen([sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", f"--basetemp={tmp_path}/{state}",
                              f"{ROOT}/tests/e2e/test_crash.py", "-k", f"[{state}]"],
                             env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for state in STATES]
    with concurrent.futures.ThreadPoolExecutor(len(runs)) as readers:
        said = list(readers.map(lambda run: run.communicate()[0], runs))
    print("\n" + "\n".join(x.lstrip(".") for text in said for x in text.splitlines() if "R-01:" in x))
    for run, text in zip(runs, said):
        assert run.returncode == 0, text[-6000:]


class Producer:
    """One server that is killed again and again while its dataset is published, rolled back and recut."""

    def __init__(self, path, number):
        path.mkdir()
        self.dice = random.Random(f"{SEED}-{number}")
        self.project, self.stamp = Stamped(path / "project"), 1
        self.project.publish(1)
        self.project.history.append(1)
        self.server = Server(self.project.path, path / "cache")
        self.ready_ms, self.done = [], dict.fromkeys(("swap", "keyed", "rollback", "reload", "cutover"), 0)

    def start(self):
        began = time.monotonic()
        self.server.start()
        self.ready_ms.append((time.monotonic() - began) * 1000)
        # The first look may find what a kill kept from being taken: afterwards only we change what serves.
        wait_for(lambda: (self.server.dataset("kv")["last_attempted"] or {}).get("at"), "the first look at the source")

    def active(self):
        """The stamp that serves, after a look at whole answers of one snapshot and contract."""
        seen = set()
        for tenant in TENANTS:
            answer = self.server.get("/v1/endpoints/kv", token(tenant))
            assert answer.status == 200, answer.body
            stamp, contract = map(int, answer.meta["snapshot_id"][1:].split("-c"))
            assert {r["stamp"] for r in answer.rows} == {stamp} and len(answer.rows) == 20
            assert {r["tenant" if contract % 4 < 2 else "account"] for r in answer.rows} == {tenant}
            seen.add((stamp, contract))
        assert len(seen) == 1, seen
        return seen.pop()[0]

    def plan(self, before):
        """(the requests of an action, their key, the stamps that may serve after it was cut)"""
        kind = self.dice.choices(list(self.done), (50, 15, 15, 10, 10))[0]
        previous = self.server.dataset("kv")["previous_snapshot"]
        if kind == "rollback" and not previous:
            kind = "swap"
        self.done[kind] += 1
        if kind == "rollback":
            back = int(previous["snapshot_id"][1:].split("-")[0])
            self.project.history.append(back)
            return ["/datasets/kv/rollback"], None, {before, back}
        if kind == "reload":
            self.project.configure(self.project.contract, description=f"revision {sum(self.done.values())}")
            return ["/reload"], None, {before}
        self.stamp += 1
        if kind == "cutover":
            self.project.configure(self.project.contract + 1)
        self.project.publish(self.stamp)
        self.project.history.append(self.stamp)
        requests = ["/reload"] * (kind == "cutover") + ["/datasets/kv/refresh"]
        return requests, f"key-{self.stamp}" if kind == "keyed" else None, {before, self.stamp}

    def send(self, requests, key):
        try:
            for path in requests:
                self.server.post(path, headers={"Idempotency-Key": key} if key else None)
        except (OSError, http.client.HTTPException):
            pass  # cut by the kill

    def kill(self):
        if self.server.process.poll() is None:
            self.server.process.kill()
            self.server.process.wait()

    def run(self, kills):
        self.start()
        with Load(self.server, self.project, connections=8, rate=RATE, reconnect=True) as load:
            before = self.active()
            for _ in range(kills):
                requests, key, allowed = self.plan(before)
                caller = threading.Thread(target=self.send, args=(requests, key))
                caller.start()
                caller.join(self.dice.random() * 0.15)  # the kill falls in the action, or right after it
                self.kill()
                caller.join()
                self.start()
                before = self.active()
                assert before in allowed, f"{before} serves after {requests}; {allowed} may; {self.server.log()[-2000:]}"
            self.stamp += 1
            self.project.swap(self.server, self.stamp)
            wait_for(lambda: settled_leftovers(self.server) == [], "nothing to be left over")
        self.server.stop()
        check_report(load.report, self.project.history)
        return load.report


def test_r01_kills_at_random_under_load(tmp_path):
    producers = [Producer(tmp_path / str(i), i) for i in range(SERVERS)]

    def run(p):
        try:
            return p.run(KILLS // SERVERS)
        except AssertionError as e:
            raise AssertionError(f"OFFLOADER_TEST_SEED={SEED}: {e}") from e
        finally:
            p.kill()

    with concurrent.futures.ThreadPoolExecutor(SERVERS) as pool:
        reports = list(pool.map(run, producers))
    ready_ms = sorted(t for p in producers for t in p.ready_ms[1:])
    done = {k: sum(p.done[k] for p in producers) for k in producers[0].done}
    total = {k: sum(r[k] for r in reports) for k in ("requests", "cut", "not_ready", "bad")}
    print(f"R-01: {len(ready_ms)} kills at random under load, seed {SEED}, {SERVERS} servers, in {done}; "
          f"{total['requests']} answers, bad {total['bad']}, {total['cut']} cut by a kill, {total['not_ready']} before it was ready; "
          f"ready median {ready_ms[len(ready_ms) // 2]:.0f} ms, p99 {ready_ms[len(ready_ms) * 99 // 100]:.0f} ms, "
          f"max {ready_ms[-1]:.0f} ms (target 1000)")
