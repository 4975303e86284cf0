# SPDX-License-Identifier: Apache-2.0
"""api.md: keys and grants, rate limits, CORS, pins: who is let in, from where, and to which revision."""
import json
import time
from urllib.parse import quote

import pytest

from conftest import wait_for
from wire import Wire, get
from world import World, running

EXPOSED = {"etag", "server-timing", "traceresponse", "x-request-id", "x-snapshot-id", "x-row-count", "x-watermark", "x-cache", "x-has-more", "x-next-cursor", "x-total",
           "x-schema-rev", "x-index-hash", "x-model-tag", "x-release"}


def public(base):
    w = World(base / "project")
    w.dataset("d", [("id", "VARCHAR"), ("n", "BIGINT")])
    w.publish("d", "d1", [("a", 1), ("b", 2)])
    w.endpoint("d", "d", version=3)
    return w


def keyed(base):
    w = World(base / "project", "required")
    w.dataset("d", [("t", "VARCHAR"), ("n", "BIGINT")], tenant_column="t")
    w.publish("d", "d1", [("ta", 1), ("tb", 2), ("t' OR '1'='1", 3), (None, 4), ("7", 5)])
    w.dataset("i", [("t", "INTEGER"), ("n", "BIGINT")], tenant_column="t")
    w.publish("i", "i1", [(7, 1), (8, 2), (None, 3)])
    w.dataset("open", [("n", "BIGINT")])
    w.publish("open", "o1", [(9,)])
    w.dataset("cold", [("n", "BIGINT")])
    w.write("data/cold.json", {})
    w.endpoint("mine", "d", ["n"], tenant="t", params=[{"name": "n", "type": "integer"}], filters=[("n", "eq", "n")])
    w.endpoint("mine_cached", "d", ["n"], tenant="t", cache={"policy": "snapshot"})
    w.endpoint("numbers", "i", ["n"], tenant="t")
    w.endpoint("open", "open")
    w.endpoint("cold", "cold")
    every = ["mine", "mine_cached", "numbers", "open", "cold"]
    w.keys([{"id": "a", "token": "token-a", "tenant": "ta", "endpoints": every}, {"id": "b", "token": "token-b", "tenant": "tb", "endpoints": ["mine", "mine_cached"]},
            {"id": "quoted", "token": "token-q", "tenant": "t' OR '1'='1", "endpoints": every}, {"id": "seven", "token": "token-7", "tenant": "7", "endpoints": every},
            {"id": "zero_seven", "token": "token-07", "tenant": "07", "endpoints": every}, {"id": "nobody", "token": "token-n", "tenant": "nobody", "endpoints": every},
            {"id": "openonly", "token": "token-o", "endpoints": ["open"]}, {"id": "gone", "token": "token-g", "tenant": "ta", "endpoints": every, "status": "revoked"},
            {"id": "past", "token": "token-p", "tenant": "ta", "endpoints": every, "expires_at": "2026-01-01T00:00:00Z"},
            {"id": "future", "token": "token-f", "tenant": "ta", "endpoints": every, "expires_at": "2099-01-01T00:00:00+02:00"},
            {"id": "slow", "token": "token-s", "tenant": "ta", "endpoints": ["mine"], "rate_limit": {"requests_per_second": 2, "burst": 3}},
            {"id": "slower", "token": "token-s2", "tenant": "ta", "endpoints": ["mine"], "rate_limit": {"requests_per_second": 0.001, "burst": 1}}])
    return w


@pytest.fixture
def place(tmp_path):
    w = keyed(tmp_path)
    with running(w.path, tmp_path / "cache", ready=False) as s:
        wait_for(lambda: all(s.get(f"/v1/endpoints/{e}", "token-a").status == 200 for e in ("mine", "numbers", "open")), "the snapshots")
        yield w, s


def ns(s, endpoint, token):
    r = s.get(f"/v1/endpoints/{endpoint}", token)
    assert r.status == 200, r.body
    return sorted(x["n"] for x in r.rows)


def test_keys_and_tenants(place):
    w, s = place
    for _ in range(2):  # and from the cache
        for token, want in (("token-a", [1]), ("token-b", [2]), ("token-q", [3]), ("token-n", []), ("token-f", [1]), ("token-7", [5]), ("token-07", [])):
            assert ns(s, "mine", token) == want and ns(s, "mine_cached", token) == want, token
    for token, want in (("token-7", [1]), ("token-07", []), ("token-a", [])):  # by canonical text
        assert ns(s, "numbers", token) == want
    assert ns(s, "open", "token-o") == [9]
    refusals = set()
    with Wire(s.api_port) as wire:
        for value in ("Bearer token-g", "Bearer token-p", "Bearer nope", "Bearer", "Bearer ", "token-a", "Basic dG9rZW4tYQ==", "Bearer token-a,", "Bearer token-a x", "bearertoken-a",
                      "Bearer TOKEN-A", "Bearer token-a" + "a" * 5000, "Bearer \xfc", "", "Bearer token-a\t", "Bearertoken-a", 'Bearer "token-a"', None):
            header = [] if value is None else [f"Authorization: {value}"]
            r, = wire.ask([get("/v1/endpoints/mine?zzz=1", "X-Request-Id: the-same-id", *header)])
            if value == "Bearer token-a\t":  # white space around a header's value is no part of it
                assert r.status == 422
                continue
            assert r.status == 401 and r.header("www-authenticate") == "Bearer", value
            refusals.add(r.body)
    assert len(refusals) == 1 and b'"family":"unauthorized"' in refusals.pop()
    for spelled in ("bearer token-a", "BEARER token-a", "Bearer  token-a"):
        assert s.get("/v1/endpoints/mine", headers={"Authorization": spelled}).status == 200
    assert s.get("/v1/endpoints/cold", "token-a").status == 503 and s.get("/v1/endpoints/cold").status == 401 and s.get("/v1/endpoints/cold", "token-b").status == 404
    assert s.get("/v1/endpoints/cold?x=1", "token-a").status == 422 and s.get("/v1/endpoints/cold?x=1", "token-a", {"Accept": "text/html"}).status == 406
    assert s.get("/v1/endpoints/mine", "an-admin-token-of-the-tests").status == 401
    assert s.admin("/v1/endpoints/mine", token="an-admin-token-of-the-tests").status == 401  # the admin token is no consumer key
    assert s.admin("/v1/endpoints/mine", token="token-a").rows == [{"n": 1}]
    # a key that moves, and one that is revoked: from the first request after the reload, on an open connection too
    with Wire(s.api_port) as wire:
        assert [r.status for r in wire.ask([get("/v1/endpoints/mine", key="token-a"), get("/v1/endpoints/mine", key="token-b")])] == [200, 200]
        w.keys([{"id": "a", "token": "token-a", "tenant": "tb", "endpoints": ["mine", "mine_cached"]}])
        assert s.post("/reload").json["result"] == "applied"
        a, b, c = wire.ask([get("/v1/endpoints/mine_cached", key="token-a"), get("/v1/endpoints/mine", key="token-b"), get("/v1/endpoints/open", key="token-a")])
        assert b'"data":[{"n":2}]' in a.body and (b.status, c.status) == (401, 404)


def test_out_of_scope_and_unknown_look_the_same(place):
    """S-08: 10,000 pairs. Shown to fail when find_endpoint() says which it is: the first pair differed."""
    _, s = place
    pairs = 10000
    for base in range(0, pairs, 100):
        batch = []
        for i in range(base, base + 100):
            tail = ("", "?zzz=1", "?limit=0", "?n=1")[i % 4]
            extra = [f"X-Request-Id: pair-{i:08d}"] + ([], ["Accept: text/html"], ["If-None-Match: *"], ["X-Schema-Rev: 9"])[i // 4 % 4]
            method = "HEAD" if i % 16 == 15 else "GET"
            batch += [get(f"/v1/endpoints/{name}{tail}", *extra, key="token-b", method=method) for name in (("open", "cold", "numbers")[i % 3], ("opeo", "nope", "a_nother")[i % 3])]
        with Wire(s.api_port) as wire:
            got = wire.ask(batch, heads={2 * i + k for i in range(100) if (base + i) % 16 == 15 for k in (0, 1)})
        for i in range(0, 200, 2):
            one, two = (r.head[r.head.index(b"\r\n"):] + r.body for r in got[i:i + 2])  # Date, the first line, may tick between
            assert got[i].status == 404 and one == two, (one, two)
    print(f"S-08: {pairs} pairs")


def test_rate_limits(place):
    _, s = place
    began = time.monotonic()
    got = [s.get(("/v1/endpoints/mine", "/v1/endpoints/nope", "/v1/endpoints/mine?zzz=1")[i % 3], "token-s") for i in range(12)]
    spent = time.monotonic() - began
    refused = [r for r in got if r.status == 429]
    assert [r.status for r in got[:3]] == [200, 404, 422]  # every authenticated request counts
    assert 12 - len(refused) <= 3 + 2 * spent + 1 and refused
    for r in refused:
        assert r.json["error"]["family"] == "rate_limited" and int(r.headers["retry-after"]) >= 1 and r.headers["cache-control"] == "no-store"
    assert all(s.get("/v1/endpoints/mine", "token-a").status == 200 for _ in range(20))
    assert s.get("/v1/endpoints/mine", "token-s2").status == 200
    r = s.get("/v1/endpoints/mine", "token-s2")
    assert r.status == 429 and 900 < int(r.headers["retry-after"]) <= 1000
    assert s.post("/reload").status == 200 and s.get("/v1/endpoints/mine", "token-s2").status == 429  # a reload forgives nothing
    wait_for(lambda: s.get("/v1/endpoints/mine", "token-s").status == 200, "tokens to come back", 5)


def test_cors_forms(tmp_path):
    w = public(tmp_path)
    requests = (("/v1/endpoints/d", "GET", 200), ("/v1/endpoints/d?zzz", "GET", 422), ("/x", "GET", 404), ("/healthz", "GET", 200), ("/v1/endpoints/d", "HEAD", 200),
                ("/v1/endpoints/d", "DELETE", 405), ("/v1/endpoints/d", "OPTIONS", 204), ("/nowhere", "OPTIONS", 204))
    listed, unlisted = "https://app.example.com", ("https://evil.example.com", "https://app.example.com.evil.com", "http://app.example.com", "null", "*", "https://APP.example.com", "")
    with running(w.path, tmp_path / "cache") as s:  # unset
        for path, method, status in requests:
            r = s.get(path, method=method, headers={"Origin": listed})
            assert r.status == status and not [h for h in r.headers if h.startswith("access-control")] and "Origin" not in r.headers["vary"]
    with running(w.path, tmp_path / "cache", OFFLOADER_CORS_ORIGINS="*") as s:
        for path, method, status in requests:
            for headers in ({"Origin": unlisted[0]}, {}):
                r = s.get(path, method=method, headers=headers)
                assert r.status == status and r.headers["access-control-allow-origin"] == "*" and "access-control-allow-credentials" not in r.headers
                assert ("access-control-allow-methods" in r.headers) == (method == "OPTIONS")
        seen = {h for path, method, _ in requests for h in s.get(path, method=method, headers={"Accept": "text/csv", "Prefer": "count=exact"}).headers if h.startswith("x-")}
        exposed = {x.strip().lower() for x in s.get("/v1/endpoints/d").headers["access-control-expose-headers"].split(",")}
        assert EXPOSED <= exposed and seen <= exposed
    with running(w.path, tmp_path / "cache", OFFLOADER_CORS_ORIGINS=f"https://other.example.com, {listed}") as s:
        tag = s.get("/v1/endpoints/d").headers["etag"]
        for path, method, status in requests:
            r = s.get(path, method=method, headers={"Origin": listed})
            assert r.status == status and r.headers["access-control-allow-origin"] == listed and r.headers["access-control-allow-credentials"] == "true"
            for origin in unlisted:
                r = s.get(path, method=method, headers={"Origin": origin})
                assert r.status == status and not [h for h in r.headers if h.startswith("access-control")], (path, origin)
                assert r.headers["vary"].endswith(", Origin")
            assert s.get(path, method=method).headers["vary"].endswith(", Origin")
        assert s.get("/v1/endpoints/d", headers={"If-None-Match": tag, "Origin": listed}).headers["access-control-allow-origin"] == listed
        r = s.get("/v1/endpoints/d", method="OPTIONS", headers={"Origin": listed, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"})
        assert r.headers["access-control-allow-methods"] == "GET, HEAD, OPTIONS" and r.headers["access-control-max-age"] == "600"
        assert r.headers["access-control-allow-headers"] == "authorization, content-type, if-none-match, prefer, traceparent, x-request-id, x-schema-rev, x-index-hash, x-model-tag"
        assert r.body == b"" and "content-length" not in r.headers
        with Wire(s.api_port) as wire:  # a refusal of the layer below has them too
            wire.send(get("/v1/endpoints/d", f"Origin: {listed}", "Transfer-Encoding: chunked"))
            r = wire.read()
            assert r.status == 400 and r.header("access-control-allow-origin") == listed


def test_pins_and_releases(tmp_path):
    w = public(tmp_path)
    with running(w.path, tmp_path / "cache", OFFLOADER_RELEASE_ID="2026.11-rc1") as s:
        r = s.get("/v1/endpoints/d")
        mine = {k: r.headers[k] for k in ("x-schema-rev", "x-index-hash", "x-model-tag")}
        assert mine["x-schema-rev"] == "3" and mine["x-model-tag"] == "tests/run7" and len(mine["x-index-hash"]) == 16
        assert s.dataset("d")["active_snapshot"]["index_hash"] == mine["x-index-hash"]
        assert s.get("/v1/endpoints/d", headers=mine).status == 200
        for name, value in mine.items():
            assert s.get("/v1/endpoints/d", headers={name: value}).status == 200
            for other in (value + "x", value[:-1], "", "0", value.swapcase() if value.swapcase() != value else "4"):
                r = s.get("/v1/endpoints/d", headers={**mine, name: other, "If-None-Match": "*"})
                assert (r.status, r.json["error"]["family"]) == (409, "revision_mismatch") and "data" not in r.json and r.headers["x-release"] == "2026.11-rc1", (name, other)
        with Wire(s.api_port) as wire:  # the last of two does not win
            assert [r.status for r in wire.ask([get("/v1/endpoints/d", f"X-Schema-Rev: {a}", f"X-Schema-Rev: {b}") for a, b in ((3, 3), (2, 3), (3, 2))])] == [200, 409, 409]
        assert s.get("/v1/endpoints/d?zzz=1", headers={"X-Schema-Rev": "9"}).status == 422
        cursor = s.get("/v1/endpoints/d?limit=1").meta["page"]["next_cursor"]
        w.publish("d", "d2", [("a", 7)])
        assert s.post("/datasets/d/refresh").status == 200
        assert s.get("/v1/endpoints/d", headers=mine).status == 409
        assert s.get(f"/v1/endpoints/d?cursor={quote(cursor)}", headers=mine).rows == [{"id": "b", "n": 2}]  # its snapshot is the pinned one
        assert s.get(f"/v1/endpoints/d?cursor={quote(cursor)}x", headers={"X-Index-Hash": "0"}).status == 422
        for path in ("/healthz", "/x", "/v1/endpoints/nope"):
            assert s.get(path).headers["x-release"] == "2026.11-rc1" and "x-index-hash" not in s.get(path).headers
        assert s.admin("/status").headers["x-release"] == "2026.11-rc1"
    with running(w.path, tmp_path / "cache2") as s:  # the same on every instance
        assert s.get("/v1/endpoints/d").headers["x-index-hash"] != mine["x-index-hash"] and "x-release" not in s.get("/v1/endpoints/d").headers
        w.publish("d", "d1", [("a", 1), ("b", 2)])
        assert s.post("/datasets/d/refresh").status == 200 and s.get("/v1/endpoints/d").headers["x-index-hash"] == mine["x-index-hash"]


def test_a_public_project_ignores_keys(tmp_path):
    w = public(tmp_path)
    with running(w.path, tmp_path / "cache") as s:
        for value in ("Bearer x", "Basic x", "nonsense", ""):
            r = s.get("/v1/endpoints/d", headers={"Authorization": value})
            assert r.status == 200 and r.headers["cache-control"].startswith("public")
        assert s.get("/v1/endpoints/nope").status == 404 and s.get("/v1/endpoints/nope").json["error"]["family"] == "not_found"


def test_access_log(tmp_path):
    """One line an answer, with key and trace, never a token or a value; off unless asked for; sampled by request id."""
    w = keyed(tmp_path)
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"

    def lines(s):
        found = (json.loads(line) for line in s.log().splitlines() if line.startswith("{"))
        return {x["request_id"]: x for x in found if x.get("event") == "request"}
    with running(w.path, tmp_path / "cache", ready=False, OFFLOADER_ACCESS_LOG="on") as s:
        wait_for(lambda: s.get("/v1/endpoints/mine", "token-a").status == 200, "the snapshot")
        asked = (("/v1/endpoints/mine?n=123456", "token-a", 200), ("/v1/endpoints/mine?n=x", "token-a", 422), ("/v1/endpoints/nope", "token-a", 404), ("/v1/endpoints/mine", None, 401),
                 ("/nowhere", None, 404))
        for i, (path, key, status) in enumerate(asked):
            assert s.get(path, key, {"X-Request-Id": f"logged-{i}", "traceparent": f"00-{trace}-00f067aa0ba902b7-01"}).status == status
        with Wire(s.api_port) as wire:
            wire.send(get("/", "X-Request-Id: refused-1", "Transfer-Encoding: chunked"))
            assert wire.read().status == 400
        wait_for(lambda: "refused-1" in lines(s), "the last line")
        log = lines(s)
        for i, (path, key, status) in enumerate(asked):
            line = log[f"logged-{i}"]
            assert line["status"] == status and line["trace"] == trace and line["ms"] >= 0
            assert line["key"] == ("a" if key else "") and line["endpoint"] == ("mine" if status in (200, 422) else "_unknown")
        assert log["refused-1"]["status"] == 400 and "123456" not in s.log().replace('"time"', "").split("ms")[0]
    for setting, least, most in (("off", 0, 0), ("sample:0", 0, 0), ("sample:1", 400, 400), ("sample:0.5", 120, 280)):
        with running(w.path, tmp_path / setting.replace(":", "-"), ready=False, OFFLOADER_ACCESS_LOG=setting) as s:
            with Wire(s.api_port) as wire:
                wire.ask([get("/nowhere", f"X-Request-Id: sampled-{i:04d}") for i in range(400)])
            s.stop()
            assert least <= len([x for x in lines(s) if x.startswith("sampled-")]) <= most, setting
