# SPDX-License-Identifier: Apache-2.0
"""Quality gates: each passes at its limit and fails past it, says what was found, and can be overridden."""
import contextlib
import datetime
import os
import signal

import pytest
from conftest import wait_for
from observe import stop_child
from world import World, running

SCHEMA = [("tenant", "VARCHAR"), ("id", "VARCHAR"), ("n", "BIGINT")]


def world(path, **dataset):
    w = World(path, auth="required")
    w.dataset("kv", SCHEMA, tenant_column="tenant", **dataset)
    w.endpoint("kv", "kv", tenant="tenant")
    w.keys([{"id": "k", "token": "t0-token", "tenant": "t0", "endpoints": ["kv"]}])
    return w


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    path = tmp_path_factory.mktemp("gates")
    w = world(path)
    w.publish("kv", "first", rows(1))
    with running(path, path / "cache") as s:
        yield w, s


def rows(n, tenants=1):
    return [(f"t{i % tenants}", f"i{i}", i) for i in range(n)]


NUMBER = iter(range(1, 10000))


def replace(served, checks, old, new, **over):
    """Publishes @old without checks, then @new under @checks: None, or the message of its rejection."""
    w, s = served
    w.dataset("kv", SCHEMA, tenant_column="tenant")
    assert s.post("/reload").status == 200
    for data, gates in ((old, None), (new, checks)):
        if gates:
            w.dataset("kv", SCHEMA, tenant_column="tenant", checks=gates)
            assert s.post("/reload").status == 200
        if data is None:
            continue
        w.publish("kv", f"s{next(NUMBER)}", data, **(over if gates else {}))
        r = s.post("/datasets/kv/refresh")
        if r.status != 200:
            error = r.json["attempt"]["error"]
            assert gates and r.json["attempt"]["status"] == "rejected" and error["code"] == "check_failed", r.body
            return error["message"]
    return None


def nulls(n, total):
    return [("t0", f"i{i}", None if i < n else i) for i in range(total)]


# check, old rows, new rows, passes, part of the message
LIMITS = [
    ({"min_rows": 10}, rows(1), rows(10), True, None),
    ({"min_rows": 10}, rows(1), rows(9), False, "min_rows: found 9 row(s), the limit is 10"),
    *[({"max_row_drop_ratio": limit}, rows(100), rows(100 - round(100 * limit)), True, None) for limit in (0.3, 0.07, 0.29, 1)],
    ({"max_row_drop_ratio": 0.3}, rows(100), rows(69), False, "max_row_drop_ratio: found 0.31, the limit is 0.3"),
    ({"max_row_drop_ratio": 0}, rows(5), rows(5), True, None),
    ({"max_row_drop_ratio": 0}, rows(5), rows(4), False, "max_row_drop_ratio"),
    *[({"max_row_growth_ratio": limit}, rows(100), rows(100 + round(100 * limit)), True, None) for limit in (0.1, 0.57, 1.1)],
    ({"max_row_growth_ratio": 0.1}, rows(100), rows(111), False, "max_row_growth_ratio: found 0.11, the limit is 0.1"),
    ({"not_null": ["id", "n"]}, rows(1), nulls(0, 3), True, None),
    ({"not_null": ["id", "n"]}, rows(1), nulls(2, 3), False, "not_null `n`: found 2 NULL(s), the limit is 0"),
    ({"max_null_ratio": {"n": 0.7}}, rows(1), nulls(7, 10), True, None),
    ({"max_null_ratio": {"n": 0.7}}, rows(1), nulls(71, 100), False, "max_null_ratio `n`: found 0.71, the limit is 0.7"),
    ({"max_null_ratio": {"n": 0}}, rows(1), [], True, None),
    ({"unique": [["tenant", "id"]]}, rows(1), [("t0", "a", 1), ("t1", "a", 1), ("t0", "b", 1)], True, None),
    ({"unique": [["n"], ["tenant", "id"]]}, rows(1), [("t0", "a", 1), ("t0", "a", 2)], False,
     "unique [tenant, id]: found 1 repeated row(s)"),
    ({"unique": [["id", "n"]]}, rows(1), [("t0", "a", None), ("t0", "a", None)], True, None),
    ({"min_tenant_ratio": 0.7}, rows(20, 10), rows(14, 7), True, None),
    ({"min_tenant_ratio": 0.7}, rows(20, 10), rows(12, 6), False, "min_tenant_ratio: found 0.6, the limit is 0.7"),
    ({"min_tenant_ratio": 1}, rows(2, 2), rows(9, 3), True, None),
]


@pytest.mark.parametrize("checks, old, new, passes, message", LIMITS,
                         ids=[f"{i}-{next(iter(row[0]))}" for i, row in enumerate(LIMITS)])
def test_a_limit_is_inclusive(served, checks, old, new, passes, message):
    found = replace(served, checks, old, new)
    assert (found is None) == passes, found
    assert message is None or found.startswith(message), found


def test_age_counts_from_the_watermark(served):
    now = datetime.datetime.now(datetime.timezone.utc)
    for minutes, passes in ((5, True), (90, False)):
        watermark = (now - datetime.timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
        found = replace(served, {"max_age_minutes": 60}, rows(1), rows(1), watermark=watermark)
        assert (found is None) == passes and (passes or found.startswith("max_age_minutes: found 9")), found


def test_a_forced_refresh_passes_the_checks_and_nothing_else(served):
    w, s = served
    assert replace(served, {"min_rows": 10}, rows(3), rows(2)) is not None
    before = s.get("/v1/endpoints/kv", "t0-token").meta["snapshot_id"]
    assert s.post("/datasets/kv/refresh").status == 409, "forced, but not overridden"
    assert s.get("/v1/endpoints/kv", "t0-token").meta["snapshot_id"] == before
    done = s.post("/datasets/kv/refresh", {"override_checks": True})
    assert done.status == 200 and s.get("/v1/endpoints/kv", "t0-token").meta["snapshot_id"] == done.json["snapshot_id"]
    events = s.admin("/events", token="an-admin-token-of-the-tests").json["events"]
    assert any("override" in str(e) for e in events), events[:5]
    w.publish("kv", "broken", rows(2), row_count=3)
    r = s.post("/datasets/kv/refresh", {"override_checks": True})
    assert r.status == 409 and r.json["attempt"]["error"]["code"] == "row_count_mismatch"


def test_checks_that_change_while_a_build_runs(tmp_path):
    """Nobody forces it: a snapshot is judged by the checks that were applied last."""
    w = world(tmp_path, checks={"min_rows": 1})
    w.publish("kv", "first", rows(1))
    with running(tmp_path, tmp_path / "cache") as s:
        current = lambda: s.get("/v1/endpoints/kv", "t0-token").meta["snapshot_id"]  # noqa: E731
        for snapshot, checks in (("tightened", {"min_rows": 200_000}), ("loosened", {"min_rows": 1})):
            w.publish("kv", snapshot, rows(100_000))
            s.process.send_signal(signal.SIGHUP)
            child = stop_child(s)
            w.dataset("kv", SCHEMA, tenant_column="tenant", checks=checks)
            assert s.post("/reload").json["result"] == "applied"
            with contextlib.suppress(ProcessLookupError):  # it may be gone already
                os.kill(child, signal.SIGCONT)
            wait_for(lambda: s.dataset("kv")["last_attempted"]["snapshot_id"] == snapshot, "the end of it")
            assert current() == {"tightened": "first", "loosened": "loosened"}[snapshot]


def test_checks_against_the_active_snapshot_pass_when_there_is_none(tmp_path):
    w = world(tmp_path, checks={"max_row_drop_ratio": 0, "max_row_growth_ratio": 0.01, "min_tenant_ratio": 1})
    w.publish("kv", "first", rows(3))
    with running(tmp_path, tmp_path / "cache") as s:
        assert s.get("/v1/endpoints/kv", "t0-token").meta["row_count"] == 3
