# SPDX-License-Identifier: Apache-2.0
"""R-06: the ingest child killed, crashed, hung, or short of memory. What serves goes on serving."""
import contextlib
import itertools
import os
import signal
import threading
import time

from conftest import wait_for
from observe import stop_child
from parquet import write

TRIALS = 20
N_ROWS = 60000
SLOW_FOR_S, RUN_S, PAUSE_S = 4.5, 0.01, 0.25


class Caller:
    """Asks without a pause; every answer has to be a good one."""

    def __init__(self, server):
        self.server, self.n, self.bad, self.end = server, 0, [], threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.end.is_set():
            answer = self.server.get("/v1/endpoints/kv?id=k1")
            self.n += 1
            if answer.status != 200 or len(answer.rows) != 1:
                self.bad.append((answer.status, answer.body[:200]))
            time.sleep(0.002)

    def stop(self):
        self.end.set()
        self.thread.join(30)
        assert self.bad == [] and self.n > 100


def post_refresh(server):
    """In the background: the request is answered when the attempt has ended."""
    thread = threading.Thread(target=lambda: server.post("/datasets/kv/refresh"))
    thread.start()
    return thread


def test_twenty_ways_to_lose_an_ingest(serve, project):
    p = project()
    p.publish("good", [(f"k{i}", i) for i in range(100)])
    server = serve(p.path, OFFLOADER_INGEST_STALL_SECONDS="1", OFFLOADER_REFRESH_INTERVAL="3600")
    ways = itertools.cycle([signal.SIGKILL, signal.SIGXCPU, signal.SIGABRT, signal.SIGKILL, signal.SIGSTOP])
    caller = Caller(server)
    hit = 0
    for trial in range(TRIALS):
        p.publish(f"s{trial}", [(f"k{i}", i + trial) for i in range(N_ROWS)])
        refresh = post_refresh(server)
        child = wait_for(lambda: server.children("__ingest") or not refresh.is_alive(), "the ingest child")
        if child is not True:
            os.kill(child[0], next(ways))
            hit += 1
        refresh.join(60)
        attempt = server.dataset("kv")["last_attempted"]
        if child is not True and attempt["status"] != "ok":
            assert attempt["status"] == "failed", attempt
        assert server.children("__ingest") == []
    # Undisturbed, the last one comes in: nothing of the failures is left in the way.
    server.post("/datasets/kv/refresh")
    assert wait_for(lambda: server.get("/v1/endpoints/kv?id=k1").rows[0]["n"] == 1 + TRIALS - 1, "the last snapshot")
    caller.stop()
    print(f"{hit} ingests hit, {caller.n} requests answered meanwhile")
    assert hit == TRIALS
    temporary = os.path.join(server.cache, "temporary")
    assert [n for n in os.listdir(temporary) if not n.startswith("query")] == []


def test_a_slow_ingest_is_no_hung_one(serve, project):
    """A process that gets little of the CPU sorts for longer than the limit, without a row to report."""
    p = project(schema=(("id", "BIGINT"), ("n", "VARCHAR")))
    p.publish("good", [(1, "one")])
    server = serve(p.path, OFFLOADER_INGEST_STALL_SECONDS="2", OFFLOADER_REFRESH_INTERVAL="3600")
    write(p.path / "data/large.parquet", f"SELECT i AS id, 'x' || hash(i) AS n FROM range({N_ROWS * 10}) t(i)")
    p.publish("large", [], files=[{"path": "large.parquet", "format": "parquet"}], row_count=N_ROWS * 10)
    refresh = post_refresh(server)
    child = stop_child(server)
    end = time.monotonic() + SLOW_FOR_S
    with contextlib.suppress(ProcessLookupError):  # it may be done before
        while refresh.is_alive() and time.monotonic() < end:
            os.kill(child, signal.SIGCONT)
            refresh.join(RUN_S)
            os.kill(child, signal.SIGSTOP)
            refresh.join(PAUSE_S)
        os.kill(child, signal.SIGCONT)
    refresh.join(60)
    assert server.dataset("kv")["last_attempted"]["status"] == "ok", server.log()[-2000:]


def test_an_ingest_short_of_memory_fails_alone(serve, project, tmp_path):
    p = project()
    p.publish("good", [("k1", 1)])
    serve(p.path, cache=tmp_path / "cache").stop()
    server = serve(p.path, cache=tmp_path / "cache", OFFLOADER_DUCKDB_MEMORY_LIMIT="1MiB")
    p.publish("large", [(f"key number {i} " * 8, i) for i in range(N_ROWS)])
    server.post("/datasets/kv/refresh")
    assert server.dataset("kv")["last_attempted"]["status"] == "failed"
    assert "memory" in server.log().lower()
    assert server.get("/v1/endpoints/kv?id=k1").rows == [{"id": "k1", "n": 1}]


def test_an_ingest_takes_the_cpu_that_serving_leaves(serve, project):
    """From its first instruction on: linking the engine takes a while, too."""
    p = project()
    p.publish("good", [("k1", 1)])
    server = serve(p.path)
    p.publish("next", [(f"k{i}", i) for i in range(N_ROWS)])
    refresh = post_refresh(server)
    child = stop_child(server)
    niceness = os.getpriority(os.PRIO_PROCESS, child)
    os.kill(child, signal.SIGCONT)
    refresh.join(60)
    assert niceness == os.getpriority(os.PRIO_PROCESS, server.process.pid) + 10
