# SPDX-License-Identifier: Apache-2.0
"""assurance.md design 3 and R-04: after warm-up a request allocates nothing, and where memory ends a request ends cleanly.

Runs build/offloader-fault, which counts every allocation of the process (docs/design/faults.md).
"""
import csv
import gzip
import io
import json
import os
import sys

import pytest

from conftest import ADMIN_TOKEN, BIN, ROOT, wait_for
from test_caching import metric
from wire import Wire, get
from world import World, running

sys.path.insert(0, os.path.join(ROOT, "tests", "fault"))
from control import Control  # noqa: E402

FAULT_BIN = os.path.join(os.path.dirname(BIN), "offloader-fault")


@pytest.fixture
def place(tmp_path):
    control = Control(tmp_path / "control")
    w = World(tmp_path / "project", "required")
    w.dataset("d", [("t", "VARCHAR"), ("id", "VARCHAR"), ("n", "BIGINT"), ("x", "DOUBLE")], tenant_column="t")
    w.publish("d", "s1", [("ta", f"k{i}", i, i / 3) for i in range(500)] + [("tb", "other", 1, 1)])
    more = dict(params=[{"name": "id", "type": "string"}, {"name": "n", "type": "integer"}], filters=[("id", "eq", "id"), ("n", "gte", "n")], tenant="t")
    w.endpoint("miss", "d", ["id", "n", "x"], **more)
    w.endpoint("hit", "d", ["id", "n", "x"], cache={"policy": "snapshot"}, **more)
    w.endpoint("sums", "d", ["n", ("s", "x", "sum")], group_by=["n"], **more)
    w.endpoint("sorted", "d", ["id", "x"], order_by=[("x", "desc")], pagination={"default_limit": 50, "max_limit": 500}, **more)
    w.dataset("texts", [("txt", "VARCHAR")])
    w.publish("texts", "t1", [(f"{i:04} " + "x" * 4000,) for i in range(400)])
    w.endpoint("large", "texts")
    w.keys([{"id": "a", "token": "key-a", "tenant": "ta", "endpoints": ["miss", "hit", "sums", "sorted", "large"]},
            {"id": "slow", "token": "key-s", "tenant": "ta", "endpoints": ["miss"], "rate_limit": {"requests_per_second": 0.001, "burst": 1}}])
    with running(w.path, tmp_path / "cache", binary=FAULT_BIN, OFFLOADER_HTTP_THREADS="1", OFFLOADER_REFRESH_INTERVAL="0", **control.env) as s:
        yield w, s, control
    control.close()


REQUESTS = {
    "hit": get("/v1/endpoints/hit?n=3", key="key-a"), "hit as CSV": get("/v1/endpoints/hit?n=3", "Accept: text/csv", key="key-a"), "miss": get("/v1/endpoints/miss?n=400", key="key-a"),
    "a miss by one id": get("/v1/endpoints/miss?id=k77&columns=id", key="key-a"), "miss as lines": get("/v1/endpoints/miss?limit=20", "Accept: application/x-ndjson", key="key-a"),
    "sums": get("/v1/endpoints/sums?n=400&limit=10", key="key-a"), "500 groups": get("/v1/endpoints/sums?limit=100", key="key-a"),
    "500 rows in order": get("/v1/endpoints/sorted?limit=400", key="key-a"), "401": get("/v1/endpoints/hit", key="nope"), "404": get("/v1/endpoints/nope", key="key-a"), "422": get("/v1/endpoints/hit?zzz=1", key="key-a"),
    "406": get("/v1/endpoints/hit", "Accept: image/png", key="key-a"), "409": get("/v1/endpoints/hit", "X-Schema-Rev: 9", key="key-a"), "429": get("/v1/endpoints/miss", key="key-s"),
    "405": get("/v1/endpoints/hit", method="BREW"), "healthz": get("/healthz"), "options": get("/", method="OPTIONS"),
}


def test_a_steady_request_allocates_nothing(place):
    """Shown to fail: with every buffer given back in trim() each answer allocated, and with qsort_r each
    sort of more than 1 KiB of keys."""
    _, s, control = place
    assert control.calls("heap") > 100  # it counts
    found = {}
    with Wire(s.api_port) as wire:
        cursor = wire.ask([get("/v1/endpoints/miss?limit=3", key="key-a")])[0].body.split(b'"next_cursor":"')[1].split(b'"')[0].decode()
        requests = dict(REQUESTS, cursor=get(f"/v1/endpoints/miss?cursor={cursor}", key="key-a"))
        for name, request in requests.items():
            wire.ask([request] * 5)  # warm
            for _ in range(3):  # housekeeping may come between: the least of three
                before = control.calls("heap")
                wire.ask([request] * 50)
                found[name] = min(found.get(name, 10**9), control.calls("heap") - before)
            for _ in range(20):
                wire.ask([request])  # one by one: the head buffer comes from the pool and goes back
        before = control.calls("heap")
        for _ in range(100):
            wire.ask([requests["hit"]])
        found["hit, one by one"] = control.calls("heap") - before
    assert not {k: v for k, v in found.items() if v >= 10}, found
    print(f"R-04: allocations in 50 requests each: {found}")


def test_the_last_answer_of_a_connection_allocates_nothing(tmp_path):
    """Also one that is shed for want of room: what a connection costs is its own memory, taken at accept. Shown to fail with
    uv_shutdown_t on the heap: two a connection."""
    control = Control(tmp_path / "control")
    w = World(tmp_path / "project")
    w.dataset("d", [("txt", "VARCHAR")])
    w.publish("d", "s1", [("x" * 8000,) for _ in range(1000)])
    w.endpoint("d", "d")
    with running(w.path, tmp_path / "cache", binary=FAULT_BIN, OFFLOADER_HTTP_THREADS="1", OFFLOADER_SEND_BUFFER_BYTES="4MiB", **control.env) as s:
        def fewest(status):
            """Allocations in 50 connections of one request each: the least of three."""
            counts = []
            for _ in range(4):  # the first warms
                before = control.calls("heap")
                for _ in range(50):
                    with Wire(s.api_port) as wire:
                        wire.send(get("/healthz", "Connection: close"))
                        assert wire.read().status == status and wire.read() is None
                counts.append(control.calls("heap") - before)
            return min(counts[1:])
        found = {"200": fewest(200)}
        readers = [Wire(s.api_port, receive_bytes=2048) for _ in range(4)]
        for x in readers:
            x.send(get("/v1/endpoints/d?limit=1000") * 20)
        wait_for(lambda: s.get("/healthz").status == 503, "the send buffer to be full", 10)
        found["503"] = fewest(503)
        for x in readers:
            x.close()
    control.close()
    assert all(n < 60 for n in found.values()), found
    print(f"R-04: allocations in 50 connections each: {found}")


def test_public_304s_allocate_nothing(place):
    w, s, control = place
    w.dataset("p", [("id", "VARCHAR")])
    w.publish("p", "p1", [("a",)])
    for name in ("miss", "hit", "sums", "sorted"):
        os.remove(w.path / f"endpoints/{name}.yml")
    w.write("offloader.yml", {"version": 1, "auth": "none"})
    os.remove(w.path / "datasets/d.yml")
    w.endpoint("p", "p", cache={"policy": "snapshot"})
    assert s.post("/reload").status == 200
    tag = wait_for(lambda: s.get("/v1/endpoints/p").headers.get("etag"), "the new endpoint")
    with Wire(s.api_port) as wire:
        request = get("/v1/endpoints/p", f"If-None-Match: {tag}")
        assert {r.status for r in wire.ask([request] * 5)} == {304}
        counts = []
        for _ in range(3):
            before = control.calls("heap")
            wire.ask([request] * 50)
            counts.append(control.calls("heap") - before)
    assert min(counts) < 10, counts


def is_whole(reply, n_rows):
    """All rows, or the envelope of an error; a bare 500 is for what there was no memory to say."""
    body = gzip.decompress(reply.body) if reply.header("content-encoding") == "gzip" else reply.body
    if reply.status == 500 and not body:
        return True
    if reply.status == 200 and reply.header("content-type").startswith("text/csv"):
        return len(list(csv.reader(io.StringIO(body.decode())))) == n_rows + 1
    try:
        document = json.loads(body)
    except ValueError:
        return False
    return len(document["data"]) == n_rows if reply.status == 200 else bool(document["error"]["family"])


def test_every_allocation_of_a_request_may_fail(place):
    """The n-th allocation that data or callers size fails: a clean 5xx, 4xx or close, and the next request is 200. An answer
    is whole or none. Shown to fail without a look at the buffer of the body: 200 and no byte of `large`."""
    _, s, control = place
    coded, large = "Accept-Encoding: gzip", get("/v1/endpoints/large?limit=400", key="key-a")
    requests = [(50, get("/v1/endpoints/hit?n=1", coded, key="key-a")), (100, get("/v1/endpoints/miss?n=2&limit=100", coded, key="key-a")), (50, get("/v1/endpoints/sums", key="key-a")),
                (50, get("/v1/endpoints/hit?n=7", "Prefer: count=exact", "Prefer: x", key="key-a")), (500, get("/v1/endpoints/hit?limit=900", "Accept: text/csv", key="key-a")),
                (400, large)]
    trials, seen = 0, {}
    for i, (n_rows, request) in enumerate(requests):
        for nth in range(1, 40):
            if request is large:  # after a whole one its buffers are given back: each trial takes the same steps
                with Wire(s.api_port) as wire:
                    assert wire.ask([large])[0].status == 200
            control.fail("alloc", nth=nth)
            failed = control.failed("alloc")
            try:
                with Wire(s.api_port, timeout_s=10) as wire:
                    wire.send(request.replace(b"n=1", b"n=%d" % (nth + 100)).replace(b"n=7", b"n=%d" % (nth + 200)))
                    reply = wire.read()
                    status = reply.status if reply else None
            except ConnectionError:
                reply = status = None
            control.clear()
            trials += 1
            seen[status] = seen.get(status, 0) + 1
            assert status in (200, 500, 503, None), (i, nth, status)
            assert reply is None or is_whole(reply, n_rows), (i, nth, status, reply.head, len(reply.body), reply.body[:80])
            assert s.process.poll() is None, s.log()
            if control.failed("alloc") == failed and status == 200:
                break  # it has no more than that
        with Wire(s.api_port) as wire:
            assert wire.ask([request])[0].status == 200
    print(f"R-04: {trials} failed allocations in requests: {seen}")
    assert metric(s, "offloader_requests_total", status="server_error") >= seen[500] > 0
    assert s.admin("/diagnostics", token=ADMIN_TOKEN).status == 200


def test_the_log_tells_what_a_request_met(place):
    """Shown to fail without a fresh j->err in job_take(): the second line told the first one's error."""
    _, s, control = place
    large, long = get("/v1/endpoints/large?limit=400", key="key-a"), get("/v1/endpoints/miss?cursor=a&id=" + "x" * 7000, key="key-a")
    with Wire(s.api_port) as wire:
        assert wire.ask([large])[0].status == 200
        said = {}
        for request in (large, long):  # the next allocation is the rows' buffer, then the arena's second block
            control.fail("alloc")
            reply = wire.ask([request])[0]
            control.clear()
            assert reply.status == 500, (len(request), reply.status)
            said[reply.header("x-request-id")] = json.loads(reply.body)["error"]["message"]
    lines = [json.loads(line) for line in s.log().splitlines() if '"request_failed"' in line]
    logged = {line["request_id"]: line["message"] for line in lines}
    assert [logged[i] for i in said] == ["the query needs more memory than there is", "the request needs more memory than is allowed"]
    assert list(said.values())[1] == "the request needs more memory than is allowed"


def test_a_listener_goes_on_after_memory_was_short(place):
    """A connection that finds no memory waits in the kernel; the listener does not stand still."""
    _, s, control = place
    for _ in range(5):
        control.fail("alloc", nth=1)
        with Wire(s.api_port) as wire:
            assert wire.ask([get("/healthz")])[0].status in (200, 503)
        control.clear()
    assert all(s.get("/healthz").status == 200 for _ in range(5))
