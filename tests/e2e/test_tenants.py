# SPDX-License-Identifier: Apache-2.0
"""assurance.md S-07: every cell carries its tenant; no answer ever shows another's, whatever is asked and whatever changes.

Shown to fail with a defence removed: with the tenant blanked in cache_key_build() a moved key saw its old tenant's
rows (t7 for t0); with the tenant predicate left out of build_filters() one answer held all eight tenants; with
is_public no longer asked in answer_if_unmodified() 55 answers were 304 with a key.
"""
import os
import random
import re
import threading

from wire import Wire, get
from world import World, running

SEED = int(os.environ.get("SEED", "20261125"))
ANSWERS = int(os.environ.get("S07_ANSWERS", "100000"))
TENANTS = [f"t{i}" for i in range(8)]
ENDPOINTS = ["plain", "cached", "sums", "pooled", "numbers"]
CELL = re.compile(rb"t\d(?=#)")
FORMS = ["", "Accept: text/csv", "Accept: application/x-ndjson", "Accept-Encoding: identity"]


def rows(stamp):
    return [(t, f"{t}#{i}", i % 5, f"{t}#{stamp}") for i in range(120) for t in TENANTS]


def build(base):
    w = World(base / "project", "required")
    w.dataset("d", [("tenant", "VARCHAR"), ("id", "VARCHAR"), ("v", "INTEGER"), ("stamp", "VARCHAR")], tenant_column="tenant")
    w.dataset("n", [("tenant", "BIGINT"), ("id", "VARCHAR"), ("v", "INTEGER"), ("stamp", "VARCHAR")], tenant_column="tenant")
    w.publish("d", "s0", rows(0))
    w.publish("n", "s0", [(int(t[1]), a, v, s) for t, a, v, s in rows(0)])
    params = [{"name": "v", "type": "integer"}, {"name": "id", "type": "string"}]
    filters = [("v", "eq", "v"), ("id", "gte", "id")]
    more = dict(params=params, filters=filters, tenant="tenant", pagination={"default_limit": 4, "max_limit": 50})
    w.endpoint("plain", "d", ["id", "v", "stamp"], **more)
    w.endpoint("cached", "d", ["id", "v", "stamp"], cache={"policy": "snapshot"}, order_by=[("v", "desc")], **more)
    w.endpoint("sums", "d", ["v", ("lo", "id", "min"), ("hi", "id", "max"), ("n", "id", "count")], group_by=["v"], cache={"policy": "snapshot"}, **more)
    w.endpoint("pooled", "d", ["stamp", ("hi", "id", "max")], group_by=["stamp"], cache={"policy": "snapshot"}, **more)
    w.endpoint("numbers", "n", ["id", "stamp"], cache={"policy": "snapshot"}, **more)
    return w


def keys(turn):
    """One token a slot; which tenant it stands for moves with @turn. The `n` dataset's tenants are the digits."""
    out = []
    for i, t in enumerate(TENANTS):
        moved = TENANTS[(i + (turn if i >= 6 else 0)) % 8]  # the last two tokens move
        out.append({"id": f"k{i}", "token": f"token-{i}", "tenant": moved, "endpoints": ["plain", "cached", "sums", "pooled"]})
        out.append({"id": f"m{i}", "token": f"digit-{i}", "tenant": moved[1:], "endpoints": ["numbers"]})
    return out


class Load(threading.Thread):
    """Asks as all keys at once over one connection, pipelined; judges every answer."""

    def __init__(self, port, seed, share, swapped):
        super().__init__(daemon=True)
        self.port, self.rng, self.share, self.swapped = port, random.Random(seed), share, swapped
        self.bad, self.answers, self.cells, self.cursors, self.statuses = [], 0, 0, [], {}

    def one(self):
        rng = self.rng
        name = rng.choice(ENDPOINTS)
        slot = rng.randrange(8)
        query = []
        cursor = rng.choice(self.cursors) if self.cursors and rng.random() < 0.15 else None
        if cursor:
            name, foreign = cursor[0], cursor[1] != slot and cursor[1] < 6  # of a key that stays
            query.append("cursor=" + cursor[2])
        else:
            foreign = False
            if rng.random() < 0.6:
                query.append(f"v={rng.randrange(6)}")
            if rng.random() < 0.4:
                query.append(f"id={rng.choice(TENANTS)}%23{rng.randrange(120)}")
            if rng.random() < 0.3:
                query.append(f"limit={rng.randrange(1, 9)}")
            if rng.random() < 0.2:
                query.append("columns=" + {"plain": "id", "cached": "stamp,id", "sums": "hi", "pooled": "hi", "numbers": "stamp"}[name])
            if rng.random() < 0.2:
                query.append(f"offset={rng.randrange(20)}")
        key = f"{'digit' if name == 'numbers' else 'token'}-{slot}"
        headers = [h for h in (rng.choice(FORMS), rng.choice(["", "", "If-None-Match: *", 'If-None-Match: "x"']), rng.choice(["", "", "Prefer: count=exact"])) if h]
        method = "HEAD" if rng.random() < 0.1 else "GET"
        return get(f"/v1/endpoints/{name}?{'&'.join(query)}", *headers, key=key, method=method), (name, slot, method, foreign, "Accept: " in " ".join(headers))

    def judge(self, what, r):
        name, slot, method, foreign, is_rows_only = what
        self.answers += 1
        self.statuses[r.status] = self.statuses.get(r.status, 0) + 1
        allowed = {TENANTS[slot]} if slot < 6 else set(TENANTS)  # moved keys: see below
        found = {m.decode() for m in CELL.findall(r.body)}
        self.cells += r.body.count(b"#")
        if r.status == 304 or not found <= allowed or len(found) > 1 or (foreign and slot < 6 and r.status == 200) or r.status >= 500:
            self.bad.append((what, r.status, r.body[:300]))
        if r.header("etag") or r.status == 200 and r.header("cache-control") != "private, no-store":
            self.bad.append((what, r.head))
        if method == "GET" and r.status == 200 and not is_rows_only and len(self.cursors) < 4000:
            more = re.search(rb'"next_cursor":"([^"]+)"', r.body)
            if more:
                self.cursors.append((name, slot, more.group(1).decode()))

    def is_done(self):
        return self.bad or (self.answers >= self.share and self.swapped.is_set())

    def run(self):
        try:
            while not self.is_done():
                self.one_connection()
        except (OSError, AssertionError) as e:  # a lost connection is a lost answer
            self.bad.append(repr(e))

    def one_connection(self):
        with Wire(self.port) as wire:
            for _ in range(150):
                batch = [self.one() for _ in range(60)]
                heads = {i for i, (_, what) in enumerate(batch) if what[2] == "HEAD"}
                for (_, what), reply in zip(batch, wire.ask([b for b, _ in batch], heads=heads)):
                    self.judge(what, reply)
                if self.is_done():
                    return


def test_no_foreign_cell(tmp_path):
    """A moved key may see its old or new tenant in one answer, never two at once, and exactly the new one after the reload."""
    w = build(tmp_path)
    w.keys(keys(0))
    with running(w.path, tmp_path / "cache", OFFLOADER_QUEUE_TIMEOUT_MS="60000", OFFLOADER_INLINE_ROWS="100") as s:
        swapped = threading.Event()
        loads = [Load(s.api_port, SEED + i, ANSWERS // 4, swapped) for i in range(4)]
        for load in loads:
            load.start()
        turn = 0
        while any(load.is_alive() for load in loads):
            turn += 1
            w.publish("d", f"s{turn}", rows(turn))
            w.publish("n", f"s{turn}", [(int(t[1]), a, v, s_) for t, a, v, s_ in rows(turn)])
            for d in ("d", "n"):
                assert s.post(f"/datasets/{d}/refresh").status == 200
            if turn % 4 == 0:
                assert s.post("/datasets/d/rollback").status == 200
            w.keys(keys(turn))
            assert s.post("/reload").json["result"] == "applied"
            for slot in (6, 7):  # from the first request after it
                mine = TENANTS[(slot + turn) % 8]
                for name in ("cached", "plain", "sums"):
                    r = s.get(f"/v1/endpoints/{name}?limit=9", f"token-{slot}")
                    assert {m.decode() for m in CELL.findall(r.body)} == {mine}, (turn, slot, name, r.body[:200])
            if turn >= 4:
                swapped.set()
        for load in loads:
            load.join()
        bad = [b for load in loads for b in load.bad]
        assert not bad, f"{len(bad)}, SEED={SEED}: {bad[:2]}"
        counted = {}
        for load in loads:
            for status, n in load.statuses.items():
                counted[status] = counted.get(status, 0) + n
        print(f"S-07: {sum(x.answers for x in loads)} answers, {sum(x.cells for x in loads)} cells, {turn} swaps and reloads, {counted}, SEED={SEED}")
        assert sum(x.cells for x in loads) >= ANSWERS and counted[200] > ANSWERS / 2 and turn >= 3
        assert counted.get(410, 0) + counted.get(422, 0) > 0  # expired and foreign cursors were among them
