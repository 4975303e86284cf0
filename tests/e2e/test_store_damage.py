# SPDX-License-Identifier: Apache-2.0
"""A store file that is damaged while it is served: 503, a rebuild by itself, and the process lives."""
import glob
import os
import signal
import struct

import pytest
from checked import forget_checksum
from conftest import ROOT, wait_for
from observe import metric, served, stop_child
from world import World, running

PROJECT = os.path.join(ROOT, "examples", "customer-analytics")
PATH = "/v1/endpoints/usage_daily?account_id=acct_acme_03&limit=3"
OTHER = "/v1/endpoints/open_invoices?limit=2"
REJECTED = 'offloader_refresh_total{dataset="kv",status="rejected"}'


def store_file(server):
    (found,) = glob.glob(os.path.join(server.cache, "snapshots", "usage", "*", "data.store"))
    return found


def truncate(path):
    os.truncate(path, 0)


def overwrite(path):
    """Every block; the header and, behind the blocks, the directory verify when it is opened (format.h)."""
    with open(path, "r+b") as f:
        (directory_at,) = struct.unpack_from("=Q", f.read(256), 40)
        f.seek(256)
        f.write(b"\xff" * (directory_at - 256))


@pytest.mark.parametrize("damage", [truncate, overwrite])
def test_damage_under_the_map_is_contained(serve, damage):
    server = serve(PROJECT)
    pid, broken = server.process.pid, store_file(server)
    damage(broken)  # before the first query: no block has been verified yet
    seen = []

    def answered():
        a = server.get(PATH, key="demo-acme-key")
        seen.append(a.status)
        return a if a.status == 200 else None

    answer = wait_for(answered, "the rebuilt dataset")
    assert len(answer.rows) == 3 and set(seen[:-1]) <= {503} and len(seen) > 1, seen
    wait_for(lambda: not os.path.exists(broken), "what broke to be moved away")
    assert server.get(OTHER, key="demo-acme-key").status == 200
    assert server.process.pid == pid and server.process.poll() is None


def store_of(server, snapshot):
    (found,) = glob.glob(os.path.join(server.cache, "snapshots", "kv", f"{snapshot}-*", "data.store"))
    return found


def serves(server, snapshot):
    return server.get("/v1/endpoints/kv").status == 200 and served(server) == snapshot


@pytest.mark.parametrize("underway", [False, True])
def test_what_broke_is_no_rollback_target(serve, project, underway):
    """The newer snapshot is found by the rebuild, or is being built already when the damage is found."""
    p = project()
    p.publish("r0", [("a", 0)])
    server = serve(p.path)
    p.publish("r1", [("a", 1)])
    assert server.post("/datasets/kv/refresh").status == 200 and served(server) == "r1"
    p.publish("r2", [("a", 2)])
    if underway:
        assert server.post("/datasets/kv/refresh", headers={"Prefer": "respond-async"}).status == 202
        child = stop_child(server)
    truncate(store_of(server, "r1"))
    assert server.get("/v1/endpoints/kv").status == 503
    if underway:
        os.kill(child, signal.SIGCONT)
    wait_for(lambda: serves(server, "r2"), "the newer snapshot")
    assert server.dataset("kv")["previous_snapshot"]["snapshot_id"] == "r0"
    assert server.post("/datasets/kv/rollback").status == 200 and serves(server, "r0")
    wait_for(lambda: any("-r1-" in d for d in os.listdir(os.path.join(server.cache, "quarantine"))), "what broke in quarantine")


@pytest.mark.parametrize("known", [False, True])
def test_a_check_against_what_broke_passes(serve, tmp_path, known):
    """min_tenant_ratio reads the tenants of what serves, also where nobody knows yet that they cannot be read."""
    w = World(tmp_path / "project", auth="required")
    w.dataset("kv", [("tenant", "VARCHAR"), ("n", "BIGINT")], tenant_column="tenant", checks={"min_tenant_ratio": 1})
    w.endpoint("kv", "kv", tenant="tenant")
    w.keys([{"id": "k", "token": "a-token-of-t1", "tenant": "t1", "endpoints": ["kv"]}])
    rows = [(f"t{i % 3}", i) for i in range(900)]
    w.publish("kv", "r0", rows)
    server = serve(w.path)
    w.publish("kv", "r1", rows)
    assert server.post("/datasets/kv/refresh").status == 200
    w.publish("kv", "r2", rows)
    overwrite(store_of(server, "r1"))
    if known:
        assert server.get("/v1/endpoints/kv", "a-token-of-t1").status == 503
    else:
        r = server.post("/datasets/kv/refresh")
        assert (r.status, r.json.get("snapshot_id")) == (200, "r2"), r.body
    wait_for(lambda: server.get("/v1/endpoints/kv", "a-token-of-t1").status == 200, "the newer snapshot")
    kv = server.dataset("kv")
    assert (kv["last_good"], kv["previous_snapshot"]["snapshot_id"]) == ("r2", "r0")


def test_a_rebuild_of_the_same_rows_is_not_checked_again(serve, project):
    """They were let in once; others under their id were not."""
    p = project(extra_dataset="checks: { min_rows: 2 }\n")
    p.publish("r1", [("a", 1), ("b", 1)])
    server = serve(p.path)
    p.publish("r2", [("a", 2)])
    assert server.post("/datasets/kv/refresh", {"override_checks": True}).status == 200
    broken = store_of(server, "r2")
    truncate(broken)
    assert server.get("/v1/endpoints/kv").status == 503
    wait_for(lambda: serves(server, "r2") and not os.path.exists(broken), "the rebuild")
    assert server.post("/datasets/kv/refresh").status == 409, "who asks for a refresh asks for its checks"
    rejected = metric(server, REJECTED)
    p.publish("r2", [("a", 3)])
    truncate(store_of(server, "r2"))
    assert server.get("/v1/endpoints/kv").status == 503
    wait_for(lambda: metric(server, REJECTED) > rejected, "the rebuild to be refused")
    assert server.dataset("kv")["refresh_error"]["code"] == "check_failed"
    assert server.get("/v1/endpoints/kv").status == 503


WIDE = (("id", "BIGINT"), ("name", "VARCHAR"), ("n", "BIGINT"))
SWAPS = {  # contract of a, of b; do their facts have the checksum that releases write now?
    "of the same contract": (WIDE, WIDE, True),
    "with fewer columns, and more": (WIDE[:1], WIDE, False),
    "with numbers for texts": ((("id", "BIGINT"),), (("id", "VARCHAR"),), False),
    "with another tenant column": (WIDE, WIDE, False),
}


@pytest.mark.parametrize("swap", SWAPS)
def test_a_whole_store_of_another_dataset_is_not_served(tmp_path, swap):
    """As many rows, and every checksum in it is right: only facts and contract tell. It never reaches a reader."""
    schemas = dict(zip("ab", SWAPS[swap]))
    keyed = swap == "with another tenant column"
    key = "a-token-of-tests-0123456789" if keyed else None
    w = World(tmp_path / "project", auth="required" if keyed else "none")
    for d, schema in schemas.items():
        tenant = {"a": "name", "b": "id"}[d] if keyed else None
        w.dataset(d, schema, **({"tenant_column": tenant} if keyed else {}))
        cell = 7 if keyed or d == "a" else 8  # of the same contract the files must differ
        w.publish(d, d, [[cell if t == "BIGINT" else str(cell) for _, t in schema]] * 3)
        w.endpoint(d, d, tenant=tenant)
    if keyed:
        w.keys([{"id": "k", "token": key, "tenant": "7", "endpoints": ["a", "b"]}])
    with running(w.path, tmp_path / "cache") as s:
        want = {d: s.get(f"/v1/endpoints/{d}", key).rows for d in "ab"}
        assert [len(rows) for rows in want.values()] == [3, 3]
    a, b = (glob.glob(f"{tmp_path}/cache/snapshots/{d}/*/")[0] for d in "ab")
    for source, target in ((f"{a}data.store", f"{a}kept"), (f"{b}data.store", f"{a}data.store"), (f"{a}kept", f"{b}data.store")):
        os.rename(source, target)
    for directory in (a, b):
        if not SWAPS[swap][2]:
            forget_checksum(f"{directory}snapshot.json")
    with running(w.path, tmp_path / "cache") as s:
        assert {d: s.get(f"/v1/endpoints/{d}", key).rows for d in "ab"} == want
        assert s.log().count("does not verify and is rebuilt") == len(os.listdir(tmp_path / "cache/quarantine")) == 2


def test_what_a_start_finds_broken_is_not_checked_again(serve, project, tmp_path):
    p = project(extra_dataset="checks: { min_rows: 2 }\n")
    p.publish("r1", [("a", 1), ("b", 1)])
    server = serve(p.path, tmp_path / "kept")
    p.publish("r2", [("a", 2)])
    assert server.post("/datasets/kv/refresh", {"override_checks": True}).status == 200
    server.stop()
    truncate(store_of(server, "r2"))
    server = serve(p.path, tmp_path / "kept")
    wait_for(lambda: serves(server, "r2"), "the rebuild")
    p.publish("r3", [("a", 3)])
    r = server.post("/datasets/kv/refresh")
    assert r.status == 409 and r.json["attempt"]["error"]["code"] == "check_failed"
