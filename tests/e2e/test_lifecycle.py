# SPDX-License-Identifier: Apache-2.0
"""Refresh, rollback, gates, warm restart, corruption, reload, drain."""
import glob
import os
import signal
import socket
import threading

from conftest import Server, wait_for


def served(s):
    return s.get("/v1/endpoints/kv").meta["snapshot_id"]


def test_refresh_swap_and_rollback(serve, project):
    p = project()
    p.publish("r1", [("a", 1)])
    s = serve(p.path)
    p.publish("r2", [("a", 2)])
    r = s.post("/datasets/kv/refresh")
    assert (r.status, r.json["snapshot_id"]) == (200, "r2") and served(s) == "r2"
    assert s.post("/datasets/kv/rollback").status == 200 and served(s) == "r1"
    assert s.post("/datasets/kv/rollback").status == 409
    assert s.dataset("kv")["quarantined"] == "r2"
    s.process.send_signal(signal.SIGHUP)
    wait_for(lambda: s.dataset("kv")["last_attempted"]["status"] == "unchanged", "the check after SIGHUP")
    assert served(s) == "r1"
    p.publish("r3", [("a", 3)])
    assert s.post("/datasets/kv/refresh").status == 200
    assert served(s) == "r3" and s.dataset("kv")["quarantined"] is None


def test_a_bad_snapshot_never_serves(serve, project):
    p = project(extra_dataset="checks: { min_rows: 2, unique: [[id]], max_row_drop_ratio: 0.5 }\n")
    p.publish("good", [("a", 1), ("b", 2), ("c", 3), ("d", 4)])
    s = serve(p.path)
    for name, rows, code in (("few", [("a", 1)], "check_failed"), ("twice", [("a", 1), ("a", 2), ("b", 1)], "check_failed"),
                             ("typed", [("a", "x"), ("b", 2)], "cast_failed")):
        p.publish(name, rows)
        r = s.post("/datasets/kv/refresh")
        assert r.status == 409 and r.json["attempt"]["error"]["code"] == code, (name, r.body)
        assert served(s) == "good"
    p.publish("short", [("a", 1), ("b", 2)], row_count=3)
    assert s.post("/datasets/kv/refresh").json["attempt"]["error"]["code"] == "row_count_mismatch"
    p.publish("forced", [("a", 1)])
    assert s.post("/datasets/kv/refresh", {"override_checks": True}).status == 200 and served(s) == "forced"


def test_warm_restart_and_corruption(serve, project, tmp_path):
    p = project()
    p.publish("r1", [(f"k{i}", i) for i in range(500)])
    cache = tmp_path / "kept"
    s = serve(p.path, cache)
    want = s.get("/v1/endpoints/kv").rows
    s.stop()
    os.remove(p.path / "data/manifest.json")  # a warm start needs no source
    s = serve(p.path, cache)
    assert s.get("/v1/endpoints/kv").rows == want
    s.stop()
    p.publish("r1", [(f"k{i}", i) for i in range(500)])
    store = glob.glob(f"{cache}/snapshots/kv/*/data.store")[0]
    data = bytearray(open(store, "rb").read())
    data[100] ^= 1
    open(store, "wb").write(data)
    s = serve(p.path, cache)
    assert s.get("/v1/endpoints/kv").rows == want
    assert os.listdir(cache / "quarantine")


def test_a_block_that_rots_is_rebuilt(serve, project, tmp_path):
    p = project()
    p.publish("r1", [(f"k{i}", i) for i in range(500)])
    cache = tmp_path / "kept"
    serve(p.path, cache).stop()
    store = glob.glob(f"{cache}/snapshots/kv/*/data.store")[0]
    data = bytearray(open(store, "rb").read())
    data[300] ^= 1  # inside the first chunk: found on first touch, not at the start
    open(store, "wb").write(data)
    s = serve(p.path, cache)
    first = s.get("/v1/endpoints/kv")
    assert first.status in (200, 503)
    wait_for(lambda: s.get("/v1/endpoints/kv").status == 200, "the rebuild")
    assert len(s.get("/v1/endpoints/kv").rows) == 100


def test_reload_and_cutover_under_load(serve, project):
    p = project()
    p.publish("v1", [("a", 1)])
    s = serve(p.path)
    stop, bad = threading.Event(), []

    def load():
        while not stop.is_set():
            r = s.get("/v1/endpoints/kv")
            if r.status != 200 or list(r.rows[0]) not in (["id", "n"], ["id", "n", "x"]):
                bad.append((r.status, r.body))
    threads = [threading.Thread(target=load) for _ in range(2)]
    for t in threads:
        t.start()
    try:
        wider = type(p)(p.path, schema=(("id", "VARCHAR"), ("n", "BIGINT"), ("x", "DOUBLE")))
        assert s.post("/reload").json["result"] == "applied"
        assert list(s.get("/v1/endpoints/kv").rows[0]) == ["id", "n"]  # the old contract serves on
        wider.publish("v2", [("a", 1, 2.5)])
        s.post("/datasets/kv/refresh")
        wait_for(lambda: "x" in s.get("/v1/endpoints/kv").rows[0], "the cutover")
        (p.path / "offloader.yml").write_text("version: 2\n")
        assert s.post("/reload").status == 409
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert not bad, bad[:2]


def test_swaps_under_load_lose_nothing(serve, project):
    p = project()
    p.publish("g0", [(f"k{i}", 0) for i in range(50)])
    s = serve(p.path)
    stop, bad, count = threading.Event(), [], [0]

    def load():
        while not stop.is_set():
            r = s.get("/v1/endpoints/kv")
            count[0] += 1
            if r.status != 200 or {f"g{x['n']}" for x in r.rows} != {r.meta["snapshot_id"]}:
                bad.append((r.status, r.body[:200]))
    threads = [threading.Thread(target=load) for _ in range(3)]
    for t in threads:
        t.start()
    try:
        for g in range(1, 16):
            p.publish(f"g{g}", [(f"k{i}", g) for i in range(50)])
            assert s.post("/datasets/kv/refresh").status == 200
            if g % 5 == 0:
                assert s.post("/datasets/kv/rollback").status == 200
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert not bad, bad[:2]
    assert count[0] > 100
    assert len(glob.glob(f"{s.cache}/snapshots/kv/*/")) <= 3


def test_idempotency_keys(serve, project):
    p = project()
    p.publish("r1", [("a", 1)])
    s = serve(p.path)
    first = s.post("/datasets/kv/refresh", headers={"Idempotency-Key": "k1"})
    again = s.post("/datasets/kv/refresh", headers={"Idempotency-Key": "k1"})
    assert again.headers["idempotent-replay"] == "true" and again.json == first.json
    assert s.post("/datasets/kv/rollback", headers={"Idempotency-Key": "k1"}).status == 422
    assert s.admin("/datasets/kv/refresh", "POST").status == 401


def test_a_second_process_is_refused(serve, project):
    p = project()
    p.publish("r1", [("a", 1)])
    s = serve(p.path)
    two = Server(p.path, s.cache)
    try:
        two.start()
    except AssertionError:
        pass
    assert two.process.wait(30) == 1
    assert "in use by another offloader" in two.log()
    assert s.get("/v1/endpoints/kv").status == 200


def test_drain_answers_what_is_open(serve, project):
    p = project()
    p.publish("r1", [("a", 1)])
    s = serve(p.path, OFFLOADER_DRAIN_SECONDS="10")
    with socket.create_connection(("127.0.0.1", s.api_port), timeout=10) as half:
        half.sendall(b"GET /v1/endpoints/kv HTTP/1.1\r\n")
        s.process.send_signal(signal.SIGTERM)
        wait_for(lambda: s.admin("/ready").status == 503, "the drain")
        half.sendall(b"Host: x\r\n\r\n")
        out = b""
        while part := half.recv(65536):
            out += part
    assert out.startswith(b"HTTP/1.1 200 OK") and b"Connection: close" in out
    assert s.process.wait(30) == 0


def test_environment_is_checked(project, tmp_path):
    p = project()
    p.publish("r1", [("a", 1)])
    s = Server(p.path, tmp_path / "c", {"OFFLOADER_CACHE_MAX_BYTES": "lots"})
    try:
        s.start()
    except AssertionError:
        pass
    assert s.process.wait(30) == 1 and "OFFLOADER_CACHE_MAX_BYTES" in s.log()
