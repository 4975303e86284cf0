# SPDX-License-Identifier: Apache-2.0
"""Snapshots from buckets: remote files, sources by URL, Databricks exports; whose fault what is."""
import hashlib
import json
import os
import signal
import time

import pytest
from bucket_world import FAST, SYNC, csv_of, dataset, endpoint, everything_said, gauge, manifest, sourced, sync_of, \
    write_tree
from conftest import wait_for
from parquet import parquet

from gcs import Gcs
from s3 import S3

KEYS = {"AKIDEXAMPLE": ("s3/secret+of-the-tests==", None)}
POLL = {"OFFLOADER_REFRESH_INTERVAL": "1", **FAST}


@pytest.fixture
def gcs():
    with Gcs() as store:
        yield store


def remote(tmp_path, files, rows, snapshot="r1", **over):
    """A project on disk whose static manifest names remote files."""
    project = sourced("data/kv.json") | {"data/kv.json": manifest("kv", snapshot, files, rows, **over)}
    return write_tree(tmp_path / "project", project)


def ids(server, name="kv"):
    return [r["id"] for r in server.get(f"/v1/endpoints/{name}").rows]


def attempt(server, name="kv"):
    """Status and code of the last attempt."""
    d = server.dataset(name)
    return d["last_attempted"] and d["last_attempted"]["status"], d["refresh_error"] and d["refresh_error"]["code"]


def left_over(server):
    directory = os.path.join(server.cache, "temporary")
    return [f for _, _, names in os.walk(directory) for f in names]


# ---- a manifest with remote files ----

def test_files_in_three_kinds_of_stores(gcs, serve, tmp_path):
    with S3(KEYS) as s3:
        gcs.put("g", "d x/a+1.csv", csv_of([("a", 1)]))
        s3.put("s", "d x/b%2.parquet", parquet("SELECT 'b' AS id, 2::BIGINT AS n"))
        gcs.put("web", "x", "")
        files = [{"path": "gs://g/d x/a+1.csv", "format": "csv", "row_count": 1},
                 {"path": "s3://s/d x/b%2.parquet", "format": "parquet"}]
        server = serve(remote(tmp_path, files, 2), **FAST, **gcs.env(), **s3.env("AKIDEXAMPLE"))
        assert ids(server) == ["a", "b"]
        assert s3.auth_errors == [] and left_over(server) == []
        assert KEYS["AKIDEXAMPLE"][0] not in everything_said(server)


def test_a_large_file_in_parallel_ranges(gcs, serve, tmp_path):
    body = parquet("SELECT lpad(i::VARCHAR, 9, '0') AS id, i AS n FROM range(3000000) t(i)",
                   ", COMPRESSION uncompressed")
    gcs.put("g", "big.parquet", body)
    file = {"path": "gs://g/big.parquet", "format": "parquet", "size_bytes": len(body),
            "sha256": hashlib.sha256(body).hexdigest()}
    server = serve(remote(tmp_path, [file], 3000000), **FAST, **gcs.env())
    assert server.get("/v1/endpoints/kv?id=002999999").rows[0]["id"] == "002999999"
    ranges = [r for r in gcs.seen("get") if "range" in r.headers]
    assert len(ranges) > 1 and len({r.query["ifGenerationMatch"] for r in ranges}) == 1
    assert left_over(server) == []


@pytest.mark.parametrize("promise, code", [
    ({"size_bytes": 1}, "size_mismatch"),
    ({"sha256": "0" * 64}, "checksum_mismatch"),
    ({"row_count": 9}, "row_count_mismatch"),
])
def test_a_file_that_is_not_as_promised_is_rejected(gcs, serve, tmp_path, promise, code):
    gcs.put("g", "a.csv", csv_of([("a", 1)]))
    server = serve(remote(tmp_path, [{"path": "gs://g/a.csv", "format": "csv", **promise}], 1), ready=False, **FAST,
                   **gcs.env())
    wait_for(lambda: attempt(server) == ("rejected", code), code)
    assert server.dataset("kv")["source_reachable"] is True and left_over(server) == []


def test_a_file_that_is_not_there_is_rejected_until_it_is(gcs, serve, tmp_path):
    gcs.put("g", "other", "x")
    server = serve(remote(tmp_path, [{"path": "gs://g/a.csv", "format": "csv"}], 1), ready=False, **POLL, **gcs.env())
    wait_for(lambda: attempt(server) == ("rejected", "missing_file"), "the missing file")
    assert gauge(server, "offloader_source_reachable", dataset="kv") == 0
    gcs.put("g", "a.csv", csv_of([("a", 1)]))
    wait_for(lambda: server.get("/v1/endpoints/kv").status == 200, "the file")
    assert gauge(server, "offloader_source_reachable", dataset="kv") == 1


@pytest.mark.parametrize("break_it, mend, code", [
    (lambda g: g.fault("status", 503, times=10 ** 6), lambda g: g.clear_faults(), "source_unreachable"),
    (lambda g: setattr(g, "deny", True), lambda g: setattr(g, "deny", False), "source_denied"),
    (lambda g: g.fault("truncate", times=10 ** 6, kind="get"), lambda g: g.clear_faults(), "source_unreachable"),
])
def test_trouble_on_the_way_is_a_failure_and_tried_again(gcs, serve, tmp_path, break_it, mend, code):
    gcs.put("g", "a.csv", csv_of([("a", 1)]))
    break_it(gcs)
    server = serve(remote(tmp_path, [{"path": "gs://g/a.csv", "format": "csv"}], 1), ready=False, **POLL, **gcs.env())
    wait_for(lambda: attempt(server) == ("failed", code), code)
    assert gauge(server, "offloader_source_reachable", dataset="kv") == 0
    assert left_over(server) == []
    mend(gcs)
    wait_for(lambda: server.get("/v1/endpoints/kv").status == 200, "another try")
    assert gauge(server, "offloader_source_reachable", dataset="kv") == 1


def test_a_stop_does_not_wait_for_a_download(gcs, serve, tmp_path):
    gcs.put("g", "a.csv", csv_of([("a", 1)]))
    gcs.fault("hang_body", times=10 ** 6, kind="get")
    server = serve(remote(tmp_path, [{"path": "gs://g/a.csv", "format": "csv"}], 1), ready=False, **FAST, **gcs.env())
    wait_for(lambda: gcs.count("get") > 0, "the download")
    wait_for(lambda: (server.dataset("kv")["progress"] or {}).get("phase") == "downloading", "progress")
    started = time.monotonic()
    server.stop(signal.SIGTERM)
    assert time.monotonic() - started < 20, "the stall time-out is 30 s"


def test_a_slow_store_delays_nobody_else(gcs, serve, tmp_path):
    """Three datasets hang in their download; the fourth builds although only one may build at a time."""
    gcs.put("g", "a.csv", csv_of([("a", 1)]))
    gcs.fault("hang_body", times=10 ** 6, kind="get", name="a.csv")
    files = {"offloader.yml": json.dumps({"version": 1, "auth": "none"}),
             "datasets/kv.yml": dataset("kv", "data/kv.json"), "endpoints/kv.yml": endpoint("kv", "kv"),
             "data/kv.json": manifest("kv", "r1", [{"path": "kv.csv", "format": "csv"}], 1),
             "data/kv.csv": csv_of([("z", 1)])}
    for name in ("slow1", "slow2", "slow3"):
        files[f"datasets/{name}.yml"] = dataset(name, f"data/{name}.json")
        files[f"data/{name}.json"] = manifest(name, "r1", [{"path": "gs://g/a.csv", "format": "csv"}], 1)
    server = serve(write_tree(tmp_path / "project", files), ready=False, OFFLOADER_REFRESH_CONCURRENCY="1", **FAST,
                   **gcs.env())
    wait_for(lambda: gcs.count("get", "a.csv") >= 3, "three downloads that hang")
    wait_for(lambda: server.get("/v1/endpoints/kv").status == 200, "the one that does not", 20)


def test_disk_full_is_an_ordinary_failure(gcs, serve, tmp_path):
    """The cache is on a file system of its own that has no room for the download."""
    gcs.put("g", "a.csv", csv_of([("a", 1)]) * 200000)
    small = tmp_path / "small"
    small.mkdir()
    assert os.system(f"mount -t tmpfs -o size=1m offloader-test {small}") == 0
    try:
        server = serve(remote(tmp_path, [{"path": "gs://g/a.csv", "format": "csv"}], 1), cache=small,
                       ready=False, **FAST, **gcs.env())
        wait_for(lambda: attempt(server)[0] == "failed", "the full disk")
        assert server.dataset("kv")["source_reachable"] is True
        assert left_over(server) == []
        server.stop()
    finally:
        assert os.system(f"umount -l {small}") == 0


# ---- sources by URL ----

def by_url(tmp_path, url, **more):
    return write_tree(tmp_path / "project", sourced({"type": "manifest", "url": url, "interval_seconds": 1, **more}))


def publish(store, snapshot, rows, path="m/a.csv", **over):
    store.put("g", "m/a.csv", csv_of(rows))
    store.put("g", "m/latest.json", manifest("kv", snapshot, [{"path": path if path != "m/a.csv" else "a.csv",
                                                             "format": "csv"}], len(rows), **over))


def test_a_manifest_by_url_is_asked_for_conditionally(gcs, serve, tmp_path):
    publish(gcs, "r1", [("a", 1)])
    server = serve(by_url(tmp_path, "gs://g/m/latest.json"), **FAST, **gcs.env())
    assert ids(server) == ["a"] and server.dataset("kv")["source"] == "manifest"
    asked = gcs.count("get", "latest.json")
    wait_for(lambda: gcs.count("get", "latest.json") >= asked + 2, "polls")
    assert {r.status for r in gcs.seen("get", "latest.json")[1:]} == {304}
    assert attempt(server) == ("unchanged", None) and gcs.count("get", "a.csv") == 1
    publish(gcs, "r2", [("b", 2)])
    wait_for(lambda: ids(server) == ["b"], "the next snapshot")
    publish(gcs, "r3", [("c", 3)], data_quality_status="failed")
    wait_for(lambda: attempt(server) == ("rejected", "data_quality_failed"), "a bad one")
    asked = gcs.count("get", "latest.json")
    wait_for(lambda: gcs.count("get", "latest.json") >= asked + 2, "polls")
    assert attempt(server) == ("rejected", "data_quality_failed"), "what was wrong still is"
    assert ids(server) == ["b"]


def test_a_manifest_by_url_on_s3(serve, tmp_path):
    with S3(KEYS) as s3:
        s3.put("g", "m/a.csv", csv_of([("a", 1)]))
        s3.put("g", "m/latest.json", manifest("kv", "r1", [{"path": "a.csv", "format": "csv"}], 1))
        server = serve(by_url(tmp_path, "s3://g/m/latest.json"), **FAST, **s3.env("AKIDEXAMPLE"))
        assert ids(server) == ["a"]
        wait_for(lambda: s3.count("get", "latest.json") >= 3, "polls")
        assert {r.status for r in s3.seen("get", "latest.json")[1:]} == {304} and s3.auth_errors == []


@pytest.mark.parametrize("path, allow, code", [
    ("gs://other/a.csv", [], "unsafe_path"),
    ("s3://g/a.csv", [], "unsafe_path"),
    ("../a.csv", [], "unsafe_path"),
    ("/a.csv", [], "unsafe_path"),
    ("gs://g/../other/a.csv", [], "unsafe_path"),
    ("gs://other/a.csv", ["elsewhere"], "unsafe_path"),
    ("gs://other/a.csv", ["elsewhere", "other"], None),
    ("gs://g/deep/a.csv", [], None),
])
def test_files_of_a_bucket_manifest_stay_in_its_bucket(gcs, serve, tmp_path, path, allow, code):
    for bucket, name in (("other", "a.csv"), ("g", "deep/a.csv"), ("g", "a.csv")):
        gcs.put(bucket, name, csv_of([("a", 1)]))
    publish(gcs, "r1", [("x", 1)], path=path)
    more = {"allow": allow} if allow else {}
    server = serve(by_url(tmp_path, "gs://g/m/latest.json", **more), ready=False, **FAST, **gcs.env())
    if code:
        wait_for(lambda: attempt(server) == ("rejected", code), code)
        assert {r.name for r in gcs.seen("get")} == {"m/latest.json"}
    else:
        wait_for(lambda: server.get("/v1/endpoints/kv").status == 200, "rows")


@pytest.mark.parametrize("url", ["http://169.254.169.254/latest/meta-data/", "https://[fe80::1]/m.json",
                                 "http://127.0.0.1:1/m.json"])
def test_link_local_and_loopback_are_refused(serve, tmp_path, url):
    server = serve(by_url(tmp_path, url), ready=False)
    wait_for(lambda: attempt(server)[0] == "rejected", "the refusal")
    assert server.dataset("kv")["refresh_error"]["code"] == "source_refused"


def test_an_expired_credential_shows_and_the_snapshot_serves_on(serve, tmp_path):
    with Gcs(tokens=["token-of-the-tests"]) as store:
        publish(store, "r1", [("a", 1)])
        env = store.env("bearer", OFFLOADER_GCS_TOKEN="token-of-the-tests")
        server = serve(by_url(tmp_path, "gs://g/m/latest.json"), **FAST, **env)
        assert gauge(server, "offloader_source_reachable", dataset="kv") == 1
        store.tokens = []
        wait_for(lambda: gauge(server, "offloader_source_reachable", dataset="kv") == 0, "the truth")
        assert attempt(server) == ("failed", "source_denied") and ids(server) == ["a"]
        assert gauge(server, "offloader_refresh_ok", dataset="kv") == 0
        store.tokens = ["token-of-the-tests"]
        wait_for(lambda: gauge(server, "offloader_source_reachable", dataset="kv") == 1, "the way back")
        assert "token-of-the-tests" not in everything_said(server)


def test_a_config_sync_does_not_ask_sources_that_have_an_interval(gcs, serve, tmp_path):
    publish(gcs, "r1", [("a", 1)])
    project = by_url(tmp_path, "gs://g/m/latest.json")
    (project / "datasets" / "kv.yml").write_text(
        dataset("kv", {"type": "manifest", "url": "gs://g/m/latest.json", "interval_seconds": 3600}))
    server = serve(project, **SYNC, **gcs.env())
    first = wait_for(lambda: sync_of(server)["last_checked"], "a look")
    wait_for(lambda: sync_of(server)["last_checked"] > first[:19] + "Z" and sync_of(server)["result"] == "unchanged", "looks")
    assert gcs.count("get", "latest.json") == 1


def test_an_expired_credential_shows_where_queries_read_in_place(serve, tmp_path):
    """The manifest is on this disk and unchanged; only its files are in the store."""
    with Gcs(tokens=["token-of-the-tests"]) as store:
        store.put("g", "a.parquet", parquet("SELECT 'a' AS id, 1::BIGINT AS n"))
        project = sourced("data/kv.json", mode="remote_scan") | {
            "data/kv.json": manifest("kv", "r1", [{"path": "gs://g/a.parquet", "format": "parquet"}], 1)}
        server = serve(write_tree(tmp_path / "project", project), **POLL,
                       **store.env("bearer", OFFLOADER_GCS_TOKEN="token-of-the-tests"))
        assert ids(server) == ["a"] and gauge(server, "offloader_source_reachable", dataset="kv") == 1
        store.tokens = []
        wait_for(lambda: gauge(server, "offloader_source_reachable", dataset="kv") == 0, "the truth")
        store.tokens = ["token-of-the-tests"]
        wait_for(lambda: gauge(server, "offloader_source_reachable", dataset="kv") == 1, "the way back")


# ---- Databricks exports ----

GEN = (("id", "VARCHAR"), ("n", "BIGINT"))


def export(store, tid, n, prefix="prod/g/", added=None, updated=None):
    name = f"part-00000-tid-{tid}.c000.snappy.parquet"
    store.put("bkt", prefix + name, parquet(f"SELECT 'gen{n}' AS id, {n}::BIGINT AS n"))
    store.put("bkt", f"{prefix}_started_{tid}", "")
    marker = json.dumps({"added": [name] if added is None else added, "removed": []})
    extra = {"updated": updated} if updated else {}
    store.put("bkt", f"{prefix}_committed_{tid}", marker, **extra)


def databricks(tmp_path, **more):
    source = {"type": "databricks", "bucket": "bkt", "prefix": "prod/g", "interval_seconds": 1, **more}
    return write_tree(tmp_path / "project", sourced(source, schema=GEN))


def test_the_newest_commit_serves(gcs, serve, tmp_path):
    export(gcs, "9", 1, updated="2026-07-01T00:00:00.250Z")
    export(gcs, "8", 2, updated="2026-07-02T03:04:05.500Z")
    gcs.put("bkt", "prod/g/_committed_vacuum99", "no json at all")
    gcs.put("bkt", "prod/g_committed_7", '{"added":["x"]}')
    server = serve(databricks(tmp_path), **FAST, **gcs.env())
    answer = server.get("/v1/endpoints/kv")
    assert [r["id"] for r in answer.rows] == ["gen2"]
    assert answer.meta["snapshot_id"] == "tid_8"
    d = server.dataset("kv")
    assert d["source"] == "databricks" and d["active_snapshot"]["watermark"].startswith("2026-07-02T03:04:05.5")
    assert answer.headers["x-model-tag"] == "databricks/8" if "x-model-tag" in answer.headers else True
    part = gcs.buckets["bkt"]["prod/g/part-00000-tid-8.c000.snappy.parquet"]
    assert {r.query.get("ifGenerationMatch") for r in gcs.seen("get", "part-")} == {str(part.generation)}
    export(gcs, "7", 3)
    wait_for(lambda: ids(server) == ["gen3"] or attempt(server)[0] == "unchanged", "a poll")
    export(gcs, "10", 4, updated="2027-01-01T00:00:00Z")
    wait_for(lambda: ids(server) == ["gen4"], "the next commit")


def test_rows_of_an_export_that_is_read_in_place_are_counted(gcs, serve, tmp_path):
    """No manifest says how many there are: the footers do, for diagnostics, metrics and checks alike."""
    name = "part-00000-tid-5.parquet"
    gcs.put("bkt", f"prod/g/{name}", parquet("SELECT 'r' || i AS id, i AS n FROM range(12345) t(i)"))
    export(gcs, "5", 1, added=[name, "part-00000-tid-5.c000.snappy.parquet"])
    source = {"type": "databricks", "bucket": "bkt", "prefix": "prod/g", "interval_seconds": 1}
    project = write_tree(tmp_path / "project", sourced(source, schema=GEN, mode="remote_scan"))
    path = project / "datasets/kv.yml"
    path.write_text(json.dumps({**json.loads(path.read_text()), "checks": {"min_rows": 12346}}))
    server = serve(project, **FAST, **gcs.env())
    size = sum(len(gcs.buckets["bkt"][f"prod/g/{n}"].body) for n in (name, "part-00000-tid-5.c000.snappy.parquet"))
    active = server.dataset("kv")["active_snapshot"]
    assert (active["rows"], active["bytes"]) == (12346, size)
    assert gauge(server, "offloader_snapshot_rows", dataset="kv") == 12346
    assert gauge(server, "offloader_snapshot_bytes", dataset="kv") == size
    assert all("range" in r.headers for r in gcs.seen("get", "part-")), "nothing is downloaded"
    export(gcs, "6", 1, updated="2027-01-01T00:00:00Z")
    wait_for(lambda: attempt(server) == ("rejected", "check_failed"), "an export of one row")
    assert server.dataset("kv")["active_snapshot"]["snapshot_id"] == "tid_5"


def test_databricks_on_s3(serve, tmp_path):
    with S3(KEYS) as s3:
        export(s3, "1", 1)
        server = serve(databricks(tmp_path, store="s3"), **FAST, **s3.env("AKIDEXAMPLE"))
        assert ids(server) == ["gen1"] and s3.auth_errors == []
        etag = s3.buckets["bkt"]["prod/g/part-00000-tid-1.c000.snappy.parquet"].etag
        assert {r.headers.get("if-match") for r in s3.seen("get", "part-")} == {etag}


def test_no_commit_is_no_snapshot_and_the_first_one_makes_it(gcs, serve, tmp_path):
    gcs.put("bkt", "prod/g/part-0.parquet", "x")
    server = serve(databricks(tmp_path), ready=False, **FAST, **gcs.env())
    wait_for(lambda: attempt(server) == ("failed", "no_snapshot"), "the first look")
    assert server.get("/v1/endpoints/kv").status == 503 and server.dataset("kv")["source_reachable"] is True
    export(gcs, "1", 1)
    wait_for(lambda: server.get("/v1/endpoints/kv").status == 200, "the first commit")


def test_a_marker_that_makes_no_snapshot_leaves_the_active_one(gcs, serve, tmp_path):
    export(gcs, "1", 1)
    server = serve(databricks(tmp_path), **FAST, **gcs.env())
    rows = [
        ('{"added":["part-00', ("failed", "invalid_marker")),
        ('{"removed":[]}', ("failed", "invalid_marker")),
        ('{"added":["../other/part.parquet"]}', ("failed", "invalid_marker")),
        ('{"added":["gs://other/part.parquet"]}', ("failed", "invalid_marker")),
        ('{"added":["sub/part.parquet"]}', ("failed", "invalid_marker")),
        ('{"added":["part-that-is-gone.parquet"]}', ("rejected", "missing_file")),
    ]
    for i, (marker, status) in enumerate(rows):
        gcs.put("bkt", f"prod/g/_committed_2{i}", marker)
        answer = server.post("/datasets/kv/refresh")
        tried = answer.json["attempt"]
        assert (answer.status, tried["status"], tried["error"]["code"]) == (409, *status), marker
        assert ids(server) == ["gen1"] and server.dataset("kv")["active_snapshot"]["snapshot_id"] == "tid_1"
    gcs.put("bkt", "prod/g/_committed_30", '{"added":[],"removed":["x"]}')
    wait_for(lambda: gcs.count("get", "_committed_30") >= 1 and attempt(server) == ("unchanged", None), "nothing added")
    assert ids(server) == ["gen1"]
    export(gcs, "4", 4)
    wait_for(lambda: ids(server) == ["gen4"], "a good one")


def test_a_part_replaced_between_list_and_get_is_not_mixed(gcs, serve, tmp_path):
    export(gcs, "1", 1)
    server = serve(databricks(tmp_path), **FAST, **gcs.env())
    name = "prod/g/part-00000-tid-2.c000.snappy.parquet"
    gcs.fault("call", lambda _: gcs.put("bkt", name, parquet("SELECT 'other' AS id, 9::BIGINT AS n")), kind="get",
              name="part-00000-tid-2")
    gcs.fault("call", lambda _: gcs.put("bkt", name, parquet("SELECT 'other' AS id, 9::BIGINT AS n")), kind="stat",
              name="part-00000-tid-2")
    export(gcs, "2", 2)
    wait_for(lambda: attempt(server) == ("failed", "source_changed"), "the refusal")
    assert ids(server) == ["gen1"] and left_over(server) == []


# ---- remote_scan alone ----

def test_remote_scan_alone_stores_and_downloads_nothing(gcs, serve, tmp_path):
    body = parquet("SELECT lpad(i::VARCHAR, 6, '0') AS id, i AS n FROM range(200000) t(i) ORDER BY 1",
                   ", ROW_GROUP_SIZE 20000, COMPRESSION uncompressed")
    gcs.put("g", "a.parquet", body)
    project = sourced("data/kv.json", mode="remote_scan") | {
        "data/kv.json": manifest("kv", "r1", [{"path": "gs://g/a.parquet", "format": "parquet"}], 200000)}
    cache = tmp_path / "cache"
    server = serve(write_tree(tmp_path / "project", project), cache=cache, **FAST, **gcs.env())
    assert server.get("/v1/endpoints/kv?id=123456").rows == [{"id": "123456", "n": 123456}]
    sent = sum(int(r.headers["range"].split("-")[1]) - int(r.headers["range"].split("=")[1].split("-")[0]) + 1
               for r in gcs.seen("get") if "range" in r.headers)
    assert all("range" in r.headers for r in gcs.seen("get")) and sent < len(body) / 2
    assert not [f for _, _, names in os.walk(cache / "snapshots") for f in names if f == "data.store"]
    assert server.dataset("kv")["active_snapshot"]["rows"] == 200000
    server.stop()
    gcs.fault("status", 503, times=10 ** 6)
    again = serve(tmp_path / "project", cache=cache, **FAST, **gcs.env())
    assert again.dataset("kv")["active_snapshot"]["snapshot_id"] == "r1", "a warm start asks nobody"


def test_remote_scan_never_reads_another_version(gcs, serve, tmp_path):
    gcs.put("g", "a.parquet", parquet("SELECT 'a' AS id, 1::BIGINT AS n"))
    project = sourced("data/kv.json", mode="remote_scan") | {
        "data/kv.json": manifest("kv", "r1", [{"path": "gs://g/a.parquet", "format": "parquet"}], 1)}
    server = serve(write_tree(tmp_path / "project", project), OFFLOADER_REMOTE_CACHE_BYTES="1B", **FAST, **gcs.env())
    gcs.put("g", "a.parquet", parquet("SELECT 'b' AS id, 2::BIGINT AS n"))
    answer = server.get("/v1/endpoints/kv")
    assert answer.status in (500, 503) or ids(server) == ["a"]


@pytest.mark.parametrize("columns, rows, code", [
    ("'a' AS id, 'x' AS n", 1, "schema_data_mismatch"),
    ("'a' AS id", 1, "schema_data_mismatch"),
    ("'a' AS id, 1::BIGINT AS n", 2, "row_count_mismatch"),
])
def test_remote_scan_checks_the_schema_before_it_serves(gcs, serve, tmp_path, columns, rows, code):
    gcs.put("g", "a.parquet", parquet(f"SELECT {columns}"))
    project = sourced("data/kv.json", mode="remote_scan") | {
        "data/kv.json": manifest("kv", "r1", [{"path": "gs://g/a.parquet", "format": "parquet"}], rows)}
    server = serve(write_tree(tmp_path / "project", project), ready=False, **FAST, **gcs.env())
    wait_for(lambda: attempt(server) == ("rejected", code), code)
