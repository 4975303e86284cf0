# SPDX-License-Identifier: Apache-2.0
"""api.md "Caching": tags, conditional requests, the server's own cache, coalescing, what a swap drops."""
import json
import threading

import pytest

from conftest import wait_for
from test_forms import unpack
from wire import Wire, get
from world import World, running


def metric(s, name, **labels):
    total = 0
    for line in s.admin("/metrics").body.decode().splitlines():
        if line.startswith(name + "{") and all(f'{k}="{v}"' in line for k, v in labels.items()) or line.startswith(name + " "):
            total += float(line.rsplit(" ", 1)[1])
    return total


def build(base, auth="none"):
    w = World(base / "project", auth)
    for d in ("d", "e"):
        w.dataset(d, [("id", "VARCHAR"), ("n", "BIGINT"), ("pad", "VARCHAR")])
        w.publish(d, f"{d}1", [(f"k{i}", i, "p" * 40) for i in range(60)])
    more = dict(params=[{"name": "id", "type": "string", "aliases": {"first": "k0"}}, {"name": "low", "type": "integer", "default": 0}], filters=[("id", "eq", "id"), ("n", "gte", "low")],
                order_by=[("n", "asc")])
    w.endpoint("d", "d", cache={"policy": "snapshot"}, freshness={"max_staleness_minutes": 5}, **more)
    w.endpoint("e", "e", cache={"policy": "snapshot"}, freshness={"max_staleness_minutes": 10000000}, **more)
    w.endpoint("off", "d", **more)
    if auth == "required":
        w.keys([{"id": "k", "token": "key", "endpoints": ["d", "e", "off"]}])
    return w


@pytest.fixture
def place(tmp_path):
    w = build(tmp_path)
    with running(w.path, tmp_path / "cache") as s:
        yield w, s


def fetch(s, path, **headers):
    return s.get("/v1/endpoints/" + path, headers={k.replace("_", "-"): v for k, v in headers.items()})


def test_tags_and_conditional_requests(place):
    w, s = place
    for path, age in (("d", 300), ("e", 3600), ("off", 60)):
        r = fetch(s, path)
        assert r.headers["cache-control"] == f"public, max-age={age}, stale-while-revalidate=60"
    tags = set()
    for path in ("d", "d?limit=2", "d?columns=id", "d?low=1", "d?id=k1", "d?offset=1", "e", "off"):
        for accept in ("application/json", "application/x-ndjson", "text/csv"):
            for coding in ("identity", "gzip", "br", "zstd"):
                tag = fetch(s, path, Accept=accept, Accept_Encoding=coding).headers["etag"]
                assert tag.startswith('W/"') == (accept == "application/json") and tag.endswith('"')
                is_new = tag not in tags
                assert is_new or path in ("d?id=k1", "d?limit=2", "d?columns=id") , (path, accept, coding)  # below 1 KiB: one coding
                tags.add(tag)
    assert fetch(s, "d").headers["etag"] == fetch(s, "d?low=0").headers["etag"] == fetch(s, "d?limit=50&offset=0&columns=pad,n,id").headers["etag"]
    assert fetch(s, "d", Prefer="count=exact").headers["etag"] != fetch(s, "d").headers["etag"]
    r = fetch(s, "d")
    tag = r.headers["etag"]
    for sent in (tag, tag[2:], f'"x", {tag}', f'W/"y",{tag[2:]} , "z"', "*", " * "):
        n = fetch(s, "d", If_None_Match=sent)
        assert n.status == 304 and n.body == b"" and n.headers["etag"] == tag, sent
        for name in ("cache-control", "vary", "x-schema-rev", "x-index-hash", "x-model-tag"):
            assert n.headers[name] == r.headers[name]
        assert "server-timing" in n.headers and "content-length" not in n.headers and "content-type" not in n.headers
    for sent in ('"x"', tag.strip('W/"'), tag + "x", "", "W/", '""', tag[2:-1]):
        assert fetch(s, "d", If_None_Match=sent).status == 200, sent
    assert fetch(s, "d", If_None_Match=tag, Accept="text/csv").status == 200
    assert fetch(s, "d?zzz=1", If_None_Match="*").status == 422 and fetch(s, "nothere", If_None_Match="*").status == 404
    before = metric(s, "offloader_query_duration_ms_count")
    assert fetch(s, "off", If_None_Match="*").status == 304
    assert metric(s, "offloader_query_duration_ms_count") == before  # no query ran
    with Wire(s.api_port) as wire:  # the connection goes on after it; two header lines are one list
        a, b, c = wire.ask([get("/v1/endpoints/d", f"If-None-Match: {tag}"), get("/healthz"), get("/v1/endpoints/d", 'If-None-Match: "q"', f"If-None-Match: {tag}")])
        assert (a.status, b.status, c.status) == (304, 200, 304)
    w.publish("d", "d2", [("k0", 1, "")])
    assert s.post("/datasets/d/refresh").status == 200
    assert fetch(s, "d", If_None_Match=tag).status == 200  # an old tag never matches a new snapshot
    assert s.post("/datasets/d/rollback").status == 200
    assert fetch(s, "d", If_None_Match=tag).status == 304  # and the old one is back


def test_spelling_variants_share_an_entry_and_nothing_else_does(place):
    w, s = place
    assert [fetch(s, "d?id=k0").meta["cache"] for _ in range(2)] == ["miss", "hit"]
    for same in ("d?id=first", "d?low=0&id=k0", "d?id=%6B0&limit=50", "d?columns=id,n,pad&id=k0", "d?id=k0&offset=%2B0", "d?low=-0&id=k0&"):
        r = fetch(s, same)
        assert r.meta["cache"] == "hit" and r.rows == [{"id": "k0", "n": 0, "pad": "p" * 40}], same
    for other in ("d?id=k0+", "d?id=K0", "d?id=k0&low=1", "d?id=k0&limit=49", "d?id=k0&offset=1", "d?id=k0&columns=n", "d?id=k0%01", "e?id=k0"):
        assert fetch(s, other).meta["cache"] == "miss", other
    a = fetch(s, "d?id=k0")
    b = fetch(s, "d?id=k0")
    assert a.meta["request_id"] != b.meta["request_id"] and a.rows == b.rows and a.meta["generated_at"] <= b.meta["generated_at"]
    assert fetch(s, "off").meta["cache"] == fetch(s, "off").meta["cache"] == "off"
    assert fetch(s, "d?id=k0", Accept="text/csv").headers["x-cache"] == "miss" and fetch(s, "d?id=k0", Accept="text/csv").headers["x-cache"] == "hit"
    w.publish("d", "d2", [("k0", 7, "")])
    entries = metric(s, "offloader_response_cache_entries")
    assert fetch(s, "e?id=k0").meta["cache"] == "hit"
    assert s.post("/datasets/d/refresh").status == 200
    assert fetch(s, "d?id=k0").rows == [{"id": "k0", "n": 7, "pad": None}] and fetch(s, "e?id=k0").meta["cache"] == "hit"  # that dataset's only
    assert metric(s, "offloader_response_cache_entries") <= entries + 1


def test_limits_of_the_cache(tmp_path):
    w = build(tmp_path)
    with running(w.path, tmp_path / "cache", OFFLOADER_CACHE_MAX_ENTRIES="10") as s:
        with Wire(s.api_port) as wire:
            wire.ask([get(f"/v1/endpoints/d?id=q{i}") for i in range(500)])
        assert metric(s, "offloader_response_cache_entries") <= 10 and metric(s, "offloader_response_cache_evictions_total") >= 490
    with running(w.path, tmp_path / "cache", OFFLOADER_CACHE_MAX_ENTRIES="0") as s:
        assert [fetch(s, "d").meta["cache"] for _ in range(2)] == ["miss", "miss"]
    with running(w.path, tmp_path / "cache", OFFLOADER_CACHE_MAX_BYTES="8KiB") as s:
        for i in range(40):
            fetch(s, f"d?id=k{i}")
        assert 0 < metric(s, "offloader_response_cache_bytes") <= 8192


def test_identical_misses_run_once(tmp_path):
    """Scans of more than OFFLOADER_INLINE_ROWS rows go to the pool: callers that come meanwhile wait for the first, in the
    queue as Server-Timing has it. Shown to fail without started_us in on_landed(): all of them `encode`."""
    w = World(tmp_path / "project")
    w.dataset("d", [("id", "BIGINT"), ("v", "DOUBLE")])
    w.publish("d", "s1", [((i * 7919) % 300007, i / 3) for i in range(300000)])
    w.endpoint("d", "d", ["id", ("s", "v", "sum")], group_by=["id"], order_by=[("s", "desc")], cache={"policy": "snapshot"}, params=[{"name": "x", "type": "number"}], filters=[("v", "gte", "x")])
    with running(w.path, tmp_path / "cache", OFFLOADER_INLINE_ROWS="1", OFFLOADER_POOL_SIZE="2", OFFLOADER_QUEUE_TIMEOUT_MS="30000") as s:
        for turn in range(3):
            before = metric(s, "offloader_query_duration_ms_count")
            coalesced, lookups = metric(s, "offloader_response_cache_total", result="coalesced"), metric(s, "offloader_response_cache_total")
            out, threads = [], []
            for _ in range(12):
                threads.append(threading.Thread(target=lambda: out.append(s.get(f"/v1/endpoints/d?x={turn}&limit=3"))))
            with Wire(s.api_port) as first:  # the leader goes away at once: one of the others takes over
                first.send(get(f"/v1/endpoints/d?x={turn}&limit=3"))
                for t in threads:
                    t.start()
            for t in threads:
                t.join()
            assert all(r.status == 200 for r in out) and len({str(r.rows) for r in out}) == 1
            assert metric(s, "offloader_query_duration_ms_count") - before <= 2
            coalesced = metric(s, "offloader_response_cache_total", result="coalesced") - coalesced
            timings = [dict(part.split(";dur=") for part in r.headers["server-timing"].split(", ")) for r in out]
            waited = [t for t in timings if float(t["query"]) == 0 < float(t["queue"])]  # one or two of them led in the end
            assert len(waited) >= coalesced - 2, (coalesced, timings)
            assert metric(s, "offloader_response_cache_total") - lookups <= 13  # each counts once, also one that waits and then leads
        assert metric(s, "offloader_response_cache_total", result="coalesced") >= 6
        wait_for(lambda: metric(s, "offloader_pool_busy") == 0, "the pool to be free")


def test_large_bodies_are_compressed_by_a_worker(tmp_path):
    """More than PACK_ON_LOOP_BYTES: the loop goes on; the compressed form is kept; a busy pool sends it plain."""
    w = World(tmp_path / "project")
    w.dataset("d", [("id", "BIGINT"), ("txt", "VARCHAR")])
    w.publish("d", "s1", [(i, f"text number {i * 7919 % 1000003} " * 5) for i in range(4000)])
    for name, more in (("d", {}), ("kept", {"cache": {"policy": "snapshot"}})):
        w.endpoint(name, "d", pagination={"default_limit": 4000, "max_limit": 4000}, **more)
    with running(w.path, tmp_path / "cache") as s:
        want = fetch(s, "d").rows
        for name in ("d", "kept", "kept", "kept"):
            for coding in ("gzip", "br", "zstd"):
                r = fetch(s, name, Accept_Encoding=coding)
                assert r.headers["content-encoding"] == coding and len(r.body) < 300000
                assert json.loads(unpack(coding, r.body))["data"] == want
        assert metric(s, "offloader_queue_wait_ms_count") == 6  # the kept forms were not made again
        lines = fetch(s, "kept", Accept="application/x-ndjson", Accept_Encoding="gzip")
        assert [json.loads(x) for x in unpack("gzip", lines.body).splitlines()] == want
        with Wire(s.api_port) as wire:  # behind it, in order
            a, b, c = wire.ask([get("/v1/endpoints/d", "Accept-Encoding: gzip"), get("/healthz"), get("/v1/endpoints/d?limit=1")])
            assert a.header("content-encoding") == "gzip" and b.body == b'{"status":"ok"}' and b'"row_count":1' in c.body


def test_answers_with_a_key_are_private(tmp_path):
    w = build(tmp_path, "required")
    with running(w.path, tmp_path / "cache") as s:
        for path in ("d", "off"):
            r = s.get(f"/v1/endpoints/{path}", "key", {"If-None-Match": "*"})
            assert r.status == 200 and r.headers["cache-control"] == "private, no-store" and "etag" not in r.headers
        assert s.get("/v1/endpoints/d", "key").meta["cache"] == "hit"
