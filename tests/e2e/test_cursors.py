# SPDX-License-Identifier: Apache-2.0
"""api.md "Paging": cursors go on exactly where a page ended, are bound to what made them, and say when they are over."""
import random
from urllib.parse import quote

import pytest

from wire import Wire, get
from world import World, running

SEED = 20261125
KEYS = [{"id": "a", "token": "key-a", "tenant": "ta", "endpoints": ["list", "sums", "wide", "free"]},
        {"id": "b", "token": "key-b", "tenant": "tb", "endpoints": ["list", "sums", "wide", "free"]}]


def rows(stamp, n=400):
    rng = random.Random(SEED)
    return [(t, f"{t}-{i:04d}", rng.choice([None, 1, 2, 3]), stamp, rng.choice([None, 0.5, -2.25, 1e10]), "z" * (i % 7)) for i in range(n) for t in ("ta", "tb")]


def build(base):
    w = World(base / "project", auth="required")
    w.dataset("d", [("tenant", "VARCHAR"), ("id", "VARCHAR"), ("v", "INTEGER"), ("stamp", "BIGINT"), ("x", "DOUBLE"), ("txt", "VARCHAR")], tenant_column="tenant")
    w.publish("d", "s1", rows(1))
    common = dict(params=[{"name": "v", "type": "integer"}, {"name": "low", "type": "number", "default": -5}], filters=[("v", "eq", "v"), ("x", "gte", "low")], tenant="tenant")
    w.endpoint("list", "d", ["id", "v", "stamp"], order_by=[("v", "desc")], **common)
    w.endpoint("wide", "d", ["id", "x", "txt", "v"], order_by=[("x", "asc"), ("txt", "desc"), ("v", "asc")], cache={"policy": "snapshot"}, tenant="tenant")
    w.endpoint("free", "d", ["id", "stamp"], tenant="tenant", pagination={"default_limit": 3, "max_limit": 1000},
               params=[{"name": "id", "type": "string", "required": True}, {"name": "t", "type": "string"}], combinations=[["id"]], filters=[("id", "gte", "id"), ("txt", "eq", "t")])
    w.endpoint("sums", "d", ["txt", ("n", "id", "count"), ("s", "stamp", "sum"), ("top", "x", "max")], group_by=["txt"], order_by=[("top", "desc")], tenant="tenant")
    w.keys(KEYS)
    return w


@pytest.fixture
def place(tmp_path):
    w = build(tmp_path)
    with running(w.path, tmp_path / "cache") as s:
        yield w, s


def fetch(s, path, key="key-a", **headers):
    return s.get("/v1/endpoints/" + path, key, {k.replace("_", "-"): v for k, v in headers.items()})


def next_of(r):
    return quote(r.meta["page"]["next_cursor"], safe="")


def test_walks_equal_the_whole(place):
    _, s = place
    for first in ("list?limit=7", "list?limit=7&v=2", "list?limit=11&columns=id", "wide?limit=13", "sums?limit=1", "list?limit=1&v=3&low=0.5", "free?id=ta-0390&limit=4",
                  "list?offset=5&limit=9"):
        name = first.split("?")[0]
        start = 5 if "offset" in first else 0
        whole = fetch(s, first.replace(first[first.index("limit="):].split("&")[0], "limit=1000")).rows
        got, r = [], fetch(s, first, Prefer="count=exact")
        total = r.meta["page"]["total"]
        while True:
            assert r.status == 200, r.body
            assert r.meta["page"]["offset"] == len(got) + start
            got += r.rows
            if not r.meta["page"]["has_more"]:
                assert "next_cursor" not in r.meta["page"]
                break
            r = fetch(s, f"{name}?cursor={next_of(r)}", Prefer="count=exact")
            assert r.meta["page"]["total"] == total
        assert got == whole and len(got) + start == total, first


def test_what_may_be_sent_along(place):
    _, s = place
    r = fetch(s, "list?v=2&limit=5&columns=id,v")
    cursor = next_of(r)
    want = fetch(s, f"list?cursor={cursor}").rows
    assert len(want) == 5 and list(want[0]) == ["id", "v"]
    for query in ("v=2&limit=5&columns=v,id", "v=2", "limit=5", "columns=id,v", "v=2&low=-5"):  # the same, or the default spelled out
        assert fetch(s, f"list?{query}&cursor={cursor}").rows == want, query
    for query in ("v=3", "v=2&low=0", "limit=6", "columns=id", "offset=0", "offset=5", "zzz=1", "v=2&v=2", f"cursor={cursor}", "v=x"):
        r = fetch(s, f"list?cursor={cursor}&{query}")
        assert (r.status, r.json["error"]["family"]) == (422, "invalid_param"), (query, r.body)
    free = fetch(s, "free?id=ta-01")
    assert fetch(s, f"free?cursor={next_of(free)}").status == 200  # past a required param and the combinations
    assert fetch(s, f"free?t=x&cursor={next_of(free)}").status == 422


def test_forged_and_foreign(place):
    """Shown to fail without the MAC's comparison in cursor_open(): another tenant's cursor was 200."""
    _, s = place
    token = fetch(s, "list?v=2&limit=5").meta["page"]["next_cursor"]
    assert fetch(s, f"list?cursor={token}", "key-b").status == 422  # another tenant
    assert fetch(s, f"sums?cursor={token}").status == 422 and fetch(s, f"wide?cursor={token}").status == 422
    rng = random.Random(SEED)
    bad = ["", "A", "AAAA", "=", token[:-1], token + "A", token * 2, token[1:], "a" * 7000, token.swapcase(), "%00", "..", token + "="]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for i in range(len(token) - 1):  # each character changed; the last one may hold unused bits only
        bad.append(token[:i] + rng.choice([c for c in alphabet if c != token[i]]) + token[i + 1:])
    with Wire(s.api_port) as wire:
        for b, reply in zip(bad, wire.ask([get(f"/v1/endpoints/list?cursor={b}", key="key-a") for b in bad])):
            assert reply.status == 422 and b"invalid_param" in reply.body, (b, reply.status, reply.body)
    print(f"{len(bad)} forged cursors, SEED={SEED}")


def test_over_swaps_rollbacks_restarts_and_cutovers(place):
    w, s = place
    first = fetch(s, "list?limit=5")
    one = next_of(first)
    second = fetch(s, f"list?cursor={one}").rows
    s.stop()
    s.start()  # the same secret
    assert fetch(s, f"list?cursor={one}").rows == second
    w.publish("d", "s2", rows(2))
    assert s.post("/datasets/d/refresh").status == 200
    assert fetch(s, "list?limit=1").rows[0]["stamp"] == 2
    r = fetch(s, f"list?cursor={one}")
    assert r.status == 200 and r.rows == second and r.meta["snapshot_id"] == "s1"
    two = next_of(fetch(s, "list?limit=5"))
    deeper = next_of(r)
    assert fetch(s, f"list?cursor={deeper}").meta["snapshot_id"] == "s1"
    csv = fetch(s, f"list?cursor={deeper}", Accept="text/csv")
    assert csv.headers["x-snapshot-id"] == "s1" and csv.headers["x-next-cursor"]
    w.publish("d", "s3", rows(3))
    assert s.post("/datasets/d/refresh").status == 200
    r = fetch(s, f"list?cursor={one}")
    assert (r.status, r.json["error"]["family"]) == (410, "cursor_expired")
    assert fetch(s, f"list?cursor={two}").meta["snapshot_id"] == "s2"
    three = next_of(fetch(s, "list?limit=5"))
    assert s.post("/datasets/d/rollback").status == 200
    assert fetch(s, f"list?cursor={three}").status == 410  # rolled back
    assert fetch(s, f"list?cursor={two}").meta["snapshot_id"] == "s2"
    w.endpoint("list", "d", ["id", "v", "stamp"], order_by=[("v", "asc")], version=2, tenant="tenant")
    assert s.post("/reload").json["result"] == "applied"
    assert fetch(s, f"list?cursor={two}").status == 410  # another contract
    s.stop()
    s.extra["OFFLOADER_SECRET_KEY_BASE"] = "another secret of at least 32 bytes!"
    s.start()
    assert fetch(s, f"list?cursor={two}").status == 422
