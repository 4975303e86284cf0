# SPDX-License-Identifier: Apache-2.0
"""remote_scan: the rows of local_table, few bytes, deadlines, crashes, and only the snapshot's own files."""
import contextlib
import glob
import importlib.machinery
import importlib.util
import json
import os
import random
import signal
import socket
import sys
import threading

import pytest
from conftest import ROOT, wait_for
from observe import stop_child

sys.path.insert(0, os.path.join(ROOT, "tests", "fakes"))
from web import Web  # noqa: E402  (the path has to be there first)

SCHEMA = [("id", "BIGINT"), ("day", "DATE"), ("grp", "VARCHAR"), ("n", "INTEGER"), ("x", "DOUBLE"), ("doc", "JSON")]
N_ROWS, ROWS_A_DAY = 120000, 4000


@pytest.fixture(scope="module")
def parquet(tmp_path_factory):
    """About 4 MB, sorted by day, in row groups of a day's size."""
    loader = importlib.machinery.SourceFileLoader("make_examples", os.path.join(ROOT, "tools", "make-examples"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("make_examples", loader))
    loader.exec_module(module)
    path = tmp_path_factory.mktemp("data") / "rows.parquet"
    module.Duck().run(
        f"COPY (SELECT i AS id, DATE '2026-01-01' + CAST(i // {ROWS_A_DAY} AS INTEGER) AS day, "
        "'group ' || hash(i) % 50 AS grp, CAST(hash(i + 1) % 1000 AS INTEGER) AS n, "
        "CASE WHEN i % 17 = 0 THEN NULL ELSE i * 0.37 END AS x, {'a': i, 'b': [i % 3, NULL]} AS doc "
        f"FROM range({N_ROWS}) t(i)) TO '{path}' (FORMAT parquet, ROW_GROUP_SIZE 4096)")
    return path.read_bytes()


@pytest.fixture
def web(parquet):
    with Web() as fake:
        fake.files["/d/rows.parquet"] = parquet
        yield fake


ENDPOINT = """name: {name}
version: 1
dataset: d
serving_mode: {mode}
params:
  - {{ name: day, type: date }}
  - {{ name: since, type: date }}
  - {{ name: grp, type: string }}
query:
  select:
{select}
{group}  filters:
    - {{ column: day, op: eq, param: day }}
    - {{ column: day, op: gte, param: since }}
    - {{ column: grp, op: eq, param: grp }}
  order_by:
    - {{ column: n, dir: desc }}
columns: [{columns}]
pagination: {{ default_limit: 20, max_limit: 500 }}
"""


def make_project(path, location, size, modes=("local_table", "remote_scan"), snapshot="s1"):
    for d in ("datasets", "endpoints", "data"):
        (path / d).mkdir(parents=True, exist_ok=True)
    (path / "offloader.yml").write_text("version: 1\nauth: none\n")
    (path / "datasets/d.yml").write_text("id: d\nmanifest: data/manifest.json\nschema:\n" +
                                         "".join(f"  - {{ name: {n}, type: {t} }}\n" for n, t in SCHEMA))
    names = [n for n, _ in SCHEMA]
    for mode in modes:
        rows = "".join(f"    - {{ as: {n}, column: {n} }}\n" for n in names)
        (path / f"endpoints/rows_{mode}.yml").write_text(ENDPOINT.format(
            name=f"rows_{mode}", mode=mode, select=rows, group="", columns=", ".join(names)))
        sums = ("    - { as: grp, column: grp }\n    - { as: n, column: n, agg: sum }\n    - { as: x, column: x, agg: sum }\n"
                "    - { as: mean, column: x, agg: avg }\n    - { as: last, column: day, agg: max }\n")
        (path / f"endpoints/sums_{mode}.yml").write_text(ENDPOINT.format(
            name=f"sums_{mode}", mode=mode, select=sums, group="  group_by: [grp]\n", columns="grp, n, x, mean, last"))
    (path / "data/manifest.json").write_text(json.dumps({
        "dataset_id": "d", "snapshot_id": snapshot, "created_at": "2026-11-01T00:00:00Z", "watermark": "2026-11-01T00:00:00Z",
        "schema": [{"name": n, "type": t} for n, t in SCHEMA],
        "files": [{"path": location, "format": "parquet", "size_bytes": size}], "partition_columns": [], "sort_columns": [],
        "row_count": N_ROWS, "size_bytes": size, "producer": "tests", "upstream_run_id": "r1", "schema_version": 1,
        "data_quality_status": "passed", "compatibility_policy": "additive_only"}))
    return path


@pytest.fixture
def remote(serve, web, parquet, tmp_path):
    def make(modes=("local_table", "remote_scan"), **env):
        project = make_project(tmp_path / "project", web.url + "/d/rows.parquet", len(parquet), modes)
        return serve(project, OFFLOADER_ALLOW_LOOPBACK="1", **env)
    return make


def ranges(web):
    return [tuple(int(v) for v in r.headers["range"][6:].split("-")) for r in web.seen("get") if "range" in r.headers]


def bytes_read(web):
    return sum(last - first + 1 for first, last in ranges(web))


def test_the_same_rows_as_local_table(remote):
    server = remote()
    seed = random.SystemRandom().randrange(2 ** 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(60):
        params = [f"limit={rng.choice([1, 7, 500])}"]
        if rng.random() < 0.5:
            params.append(f"day=2026-01-{rng.randrange(1, 31):02}")
        if rng.random() < 0.5:
            params.append(f"since=2026-01-{rng.randrange(1, 31):02}")
        if rng.random() < 0.5:
            params.append(f"grp=group%20{rng.randrange(55)}")
        if rng.random() < 0.3:  # past 10,000 another statement finds the page
            params.append(f"offset={rng.choice([5, 9999, 10001, 11000, rng.randrange(N_ROWS)])}")
        kind, query = rng.choice(["rows", "sums"]), "&".join(params)
        pages = {mode: server.get(f"/v1/endpoints/{kind}_{mode}?{query}") for mode in ("local_table", "remote_scan")}
        for _ in range(3):
            ours, theirs = pages["local_table"], pages["remote_scan"]
            assert (ours.status, theirs.status) == (200, 200), query
            assert ours.rows == theirs.rows, query
            cursors = {mode: a.meta["page"].get("next_cursor") for mode, a in pages.items()}
            assert bool(cursors["local_table"]) == bool(cursors["remote_scan"])
            if not cursors["local_table"]:
                break
            pages = {mode: server.get(f"/v1/endpoints/{kind}_{mode}?cursor={c}") for mode, c in cursors.items()}
    assert server.get("/v1/endpoints/rows_remote_scan?limit=1").meta["serving_mode"] == "remote_scan"


def test_a_selective_query_reads_little_and_only_once(remote, web, parquet):
    server = remote(modes=("remote_scan",))
    web.requests.clear()
    assert len(server.get("/v1/endpoints/sums_remote_scan?day=2026-01-12&limit=500").rows) == 50
    cold, n_cold = bytes_read(web), len(ranges(web))
    print(f"cold: {cold} bytes in {n_cold} requests of a file of {len(parquet)}")
    assert 0 < cold < len(parquet) / 4 and n_cold <= 12
    web.requests.clear()
    assert len(server.get("/v1/endpoints/sums_remote_scan?day=2026-01-12&limit=499").rows) == 50
    assert web.count() == 0, "what was read is kept"


def test_the_block_cache_is_bounded_and_starts_empty(remote, web):
    server = remote(modes=("remote_scan",), OFFLOADER_REMOTE_CACHE_BYTES="256KiB")
    assert server.get("/v1/endpoints/sums_remote_scan?limit=1").status == 200
    blocks = os.path.join(server.cache, "remote", "blocks")
    assert 0 < os.path.getsize(blocks) <= 256 << 10
    server.stop()
    assert not os.path.exists(blocks)


def test_kept_ranges_that_rot_are_read_again(remote, web):
    server = remote(modes=("remote_scan",))
    path = "/v1/endpoints/rows_remote_scan?day=2026-01-12&limit=500"
    expected = server.get(path).rows
    for pid in server.children("__query"):  # DuckDB keeps some in memory
        os.kill(pid, signal.SIGKILL)
    with open(os.path.join(server.cache, "remote", "blocks"), "r+b") as f:
        kept = bytearray(f.read())
        for at in range(0, len(kept), 4096):
            kept[at] ^= 1
        f.seek(0)
        f.write(kept)
    web.requests.clear()
    assert server.get(path).rows == expected and web.count() > 0


def test_a_replaced_object_is_refused(remote, web, parquet):
    server = remote(modes=("remote_scan",), OFFLOADER_REMOTE_CACHE_BYTES="64KiB")
    assert server.get("/v1/endpoints/rows_remote_scan?day=2026-01-02&limit=1").status == 200
    changed = bytearray(parquet)
    changed[1000] ^= 1
    web.files["/d/rows.parquet"] = bytes(changed)
    answer = server.get("/v1/endpoints/rows_remote_scan?day=2026-01-25&limit=2")
    assert answer.status == 503 and answer.json["error"]["family"] == "not_ready"


def test_an_unreachable_object_is_503_and_comes_back(remote, web):
    server = remote(modes=("remote_scan",), OFFLOADER_QUERY_TIMEOUT_MS="20000")
    web.fault("status", 403, times=1000)
    assert server.get("/v1/endpoints/rows_remote_scan?day=2026-01-09").status == 503
    web.clear_faults()
    assert server.get("/v1/endpoints/rows_remote_scan?day=2026-01-09").status == 200


def test_a_deadline_ends_a_read_that_hangs(remote, web):
    server = remote(OFFLOADER_QUERY_TIMEOUT_MS="700")
    web.fault("hang", times=1000)
    assert server.get("/v1/endpoints/rows_remote_scan?day=2026-01-20").status == 504
    assert server.get("/v1/endpoints/rows_local_table?day=2026-01-20").status == 200
    web.clear_faults()
    wait_for(lambda: server.get("/v1/endpoints/rows_remote_scan?day=2026-01-20").status == 200, "an answer after the hang")


def test_a_caller_that_hangs_up_stops_its_query(remote, web):
    server = remote(OFFLOADER_ACCESS_LOG="on", OFFLOADER_QUERY_TIMEOUT_MS="60000")
    web.requests.clear()
    web.fault("hang", times=1000, kind="get")
    with socket.create_connection(("127.0.0.1", server.api_port)) as s:
        s.sendall(b"GET /v1/endpoints/rows_remote_scan?day=2026-01-21 HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_for(lambda: web.count("get") > 0, "the first range")
    wait_for(lambda: '"status":499' in server.log(), "the hang-up in the log")
    web.clear_faults()
    wait_for(lambda: "offloader_pool_busy 0" in server.admin("/metrics").body.decode(), "the worker to be free")
    assert server.get("/v1/endpoints/rows_remote_scan?day=2026-01-21").status == 200


def test_what_works_long_gives_way(remote):
    """Lookups come first: workers and query processes have a lower priority than the loops."""
    server = remote()
    assert server.get("/v1/endpoints/rows_remote_scan?limit=1").status == 200
    own = os.getpriority(os.PRIO_PROCESS, server.process.pid)

    def niceness():
        found = set()
        for task in glob.glob(f"/proc/{server.process.pid}/task/*"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # that of the start ends about now
                with open(f"{task}/comm") as comm:
                    found.add((comm.read().strip(), os.getpriority(os.PRIO_PROCESS, int(os.path.basename(task)))))
        return {n for n in found if n[0] in ("http", "worker")}

    wait_for(lambda: niceness() == {("http", own), ("worker", own + 5)}, "each worker to set its own")
    assert {os.getpriority(os.PRIO_PROCESS, pid) for pid in server.children("__query")} == {own + 5}


def test_a_killed_process_is_replaced(remote):
    server = remote()
    expected = server.get("/v1/endpoints/sums_local_table?limit=30").rows
    for i in range(6):
        assert server.get(f"/v1/endpoints/sums_remote_scan?limit={20 + i}").rows == expected[:20 + i]
        for pid in server.children("__query"):
            os.kill(pid, (signal.SIGKILL, signal.SIGXCPU, signal.SIGABRT)[i % 3])  # no SIGSEGV: a sanitizer would take it for its own
    assert server.get("/v1/endpoints/sums_remote_scan?limit=30").rows == expected
    assert "offloader_duckdb_up 1" in server.admin("/metrics").body.decode()


def test_processes_that_died_idle_break_no_query(remote, web):
    """Two of them: a query that met one after the other would have used up its second try."""
    server = remote(OFFLOADER_POOL_SIZE="8", OFFLOADER_QUERY_TIMEOUT_MS="60000")
    gate = threading.Event()
    web.fault("call", lambda _: gate.wait(30), times=1000, kind="get")
    callers = [threading.Thread(target=server.get, args=(f"/v1/endpoints/sums_remote_scan?day=2026-01-{i + 1:02}",)) for i in range(5)]
    for caller in callers:
        caller.start()
    idle = wait_for(lambda: len(server.children("__query")) == 2 and server.children("__query"), "a second process")
    gate.set()
    for caller in callers:
        caller.join(30)
    for pid in idle:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: all(") Z " in open(f"/proc/{pid}/stat").read() for pid in idle), "them to be dead")
    assert server.get("/v1/endpoints/sums_remote_scan?day=2026-01-20").status == 200
    assert not set(idle) & set(server.children("__query"))


def test_killed_in_the_middle_of_a_query_it_is_tried_once_more(remote, web):
    server = remote(OFFLOADER_QUERY_TIMEOUT_MS="60000")
    gate = threading.Event()
    web.requests.clear()
    web.fault("call", lambda _: gate.wait(30), times=1, kind="get")
    answers = []
    caller = threading.Thread(target=lambda: answers.append(server.get("/v1/endpoints/sums_remote_scan?day=2026-01-30")))
    caller.start()
    wait_for(lambda: web.count("get") > 0, "the query to read")
    before = server.children("__query")
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    gate.set()
    caller.join(30)
    assert answers[0].status == 200
    assert answers[0].rows == server.get("/v1/endpoints/sums_local_table?day=2026-01-30").rows
    assert not set(before) & set(server.children("__query"))


def test_a_stopped_process_costs_a_timeout_only(remote):
    server = remote(OFFLOADER_QUERY_TIMEOUT_MS="1000")
    wait_for(lambda: server.get("/v1/endpoints/rows_remote_scan?limit=1").status == 200, "the first answer")
    for pid in server.children("__query"):
        os.kill(pid, signal.SIGSTOP)
    assert server.get("/v1/endpoints/rows_remote_scan?limit=2").status == 504
    wait_for(lambda: server.get("/v1/endpoints/rows_remote_scan?limit=2").status == 200, "another process")


def test_remote_scans_leave_workers_for_local_work(remote, web):
    server = remote(OFFLOADER_POOL_SIZE="4", OFFLOADER_QUEUE_TIMEOUT_MS="100", OFFLOADER_INLINE_ROWS="1",
                    OFFLOADER_QUERY_TIMEOUT_MS="60000")
    gate = threading.Event()
    web.fault("call", lambda _: gate.wait(60), times=1000, kind="get")
    statuses = []
    callers = [threading.Thread(target=lambda i=i: statuses.append(
        server.get(f"/v1/endpoints/sums_remote_scan?day=2026-01-{i + 1:02}&limit={i + 1}"))) for i in range(8)]
    for caller in callers:
        caller.start()
    wait_for(lambda: len(statuses) == 5, "those that find no worker to be shed")
    assert all(a.status == 503 and "retry-after" in a.headers for a in statuses)
    for i in range(20):
        assert server.get(f"/v1/endpoints/sums_local_table?limit={i + 1}").status == 200
    web.clear_faults()
    gate.set()
    for caller in callers:
        caller.join(60)
    assert sorted(a.status for a in statuses) == [200] * 3 + [503] * 5


def test_a_mode_that_a_reload_adds_serves_at_once(remote, web, parquet, tmp_path):
    """Also while the files can't be read, over a restart, and from a rollback target of before."""
    server = remote(modes=("local_table",), OFFLOADER_REFRESH_INTERVAL="1")
    path = "/v1/endpoints/sums_{}?day=2026-01-12&limit=500"
    project, url, size = tmp_path / "project", web.url + "/d/rows.parquet", len(parquet)
    make_project(project, url, size, ("local_table",), "s2")
    assert server.post("/datasets/d/refresh").json["snapshot_id"] == "s2"
    expected = server.get(path.format("local_table")).rows
    web.fault("status", 403, times=10 ** 6)
    make_project(project, url, size, snapshot="s2")
    assert server.post("/reload").json["result"] == "applied"

    def serves(snapshot):
        pages = [server.get(path.format(mode)) for mode in ("local_table", "remote_scan")]
        assert [(a.status, a.meta["snapshot_id"], a.rows) for a in pages] == [(200, snapshot, expected)] * 2
    serves("s2")
    wait_for(lambda: server.dataset("d")["refresh_error"], "the rebuild to be tried")
    server.stop()
    server.start()
    serves("s2")
    assert not server.children("__query")
    web.clear_faults()
    wait_for(lambda: server.get(path.format("remote_scan")).status == 200 and server.children("__query"), "the rebuild")
    serves("s2")
    assert server.post("/datasets/d/rollback").json["snapshot_id"] == "s1"
    serves("s1")


def test_rows_that_a_reload_wants_stored_serve_before_that(remote, web, parquet, tmp_path):
    server = remote(modes=("remote_scan",))
    path = "/v1/endpoints/sums_{}?day=2026-01-12&limit=500"
    expected = server.get(path.format("remote_scan")).rows
    make_project(tmp_path / "project", web.url + "/d/rows.parquet", len(parquet))
    assert server.post("/reload").json["result"] == "applied"
    child = stop_child(server)
    assert server.get(path.format("local_table")).rows == expected
    assert not glob.glob(f"{server.cache}/snapshots/d/*/data.store")
    os.kill(child, signal.SIGCONT)
    wait_for(lambda: glob.glob(f"{server.cache}/snapshots/d/*/data.store"), "the rebuild")
    assert server.get(path.format("local_table")).rows == expected


def test_engine_duckdb_answers_local_endpoints_alike(serve, tmp_path, parquet):
    """OFFLOADER_ENGINE=duckdb runs everything on the other executor, with the same bytes of data."""
    path = tmp_path / "rows.parquet"
    path.write_bytes(parquet)
    project = make_project(tmp_path / "project", str(path), len(parquet), ("local_table",))
    manifest = project / "data" / "manifest.json"
    document = json.loads(manifest.read_text())
    document["files"][0]["path"] = "rows.parquet"
    (project / "data" / "rows.parquet").write_bytes(parquet)
    manifest.write_text(json.dumps(document))
    store, duckdb = serve(project), serve(project, OFFLOADER_ENGINE="duckdb")
    for query in ("", "?limit=3&offset=7", "?day=2026-01-03&limit=500", "?grp=group%207&columns=n,x", "?grp=nothing"):
        for kind in ("rows", "sums"):
            if kind == "sums" and "columns" in query:
                query = "?grp=group%207&columns=n,mean"
            ours, theirs = (s.get(f"/v1/endpoints/{kind}_local_table{query}", headers={"Prefer": "count=exact"})
                            for s in (store, duckdb))
            assert ours.status == theirs.status == 200
            assert ours.body.split(b'"meta"')[0] == theirs.body.split(b'"meta"')[0], query
            assert ours.meta["page"] == theirs.meta["page"], "cursors and totals too"
    assert store.children("__query") == [] and duckdb.children("__query") != []
