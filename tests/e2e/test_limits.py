# SPDX-License-Identifier: Apache-2.0
"""assurance.md "Limits" and design 2: what happens at each limit and past it, one test a limit."""
import json
import os
import re
import resource
import signal
import socket
import struct
import threading
import time

import pytest

from conftest import wait_for
from test_caching import metric
from wire import Wire, get, raise_descriptor_limit, replies
from world import World, running


def tiny(base):
    w = World(base / "project")
    w.dataset("kv", [("id", "VARCHAR"), ("n", "BIGINT")])
    w.publish("kv", "s1", [("a", 1), ("b", 2)])
    w.endpoint("kv", "kv")
    return w


def scans(base, n=400000):
    """An endpoint whose scan takes a good part of a second, and a quick one."""
    w = tiny(base)
    w.dataset("big", [("id", "BIGINT"), ("grp", "VARCHAR"), ("v", "DOUBLE")])
    w.publish("big", "b1", [((i * 7919) % 1000003, f"g{i % 50021}", i / 7) for i in range(n)])
    w.endpoint("scan", "big", ["grp", ("s", "v", "sum"), ("m", "v", "avg"), ("lo", "id", "min")], group_by=["grp"], order_by=[("s", "desc")],
               params=[{"name": "x", "type": "number"}], filters=[("v", "gte", "x")], pagination={"default_limit": 5, "max_limit": 100000})
    return w


@pytest.fixture(scope="module")
def heavy(tmp_path_factory):
    base = tmp_path_factory.mktemp("heavy")
    w = scans(base)
    with running(w.path, base / "cache", OFFLOADER_POOL_SIZE="1", OFFLOADER_INLINE_ROWS="1000", OFFLOADER_QUEUE_TIMEOUT_MS="30", OFFLOADER_ACCESS_LOG="on") as s:
        yield s


def status_of(data):
    got, _ = replies(data)
    return [r.status for r in got]


def test_a_slow_head_gets_408_and_an_idle_connection_goes(tmp_path):
    w = tiny(tmp_path)
    with running(w.path, tmp_path / "cache", OFFLOADER_REQUEST_TIMEOUT_MS="1000", OFFLOADER_IDLE_TIMEOUT_MS="1500") as s:
        began = time.monotonic()
        with Wire(s.api_port) as slow, Wire(s.api_port) as head, Wire(s.api_port) as idle, Wire(s.api_port) as new, Wire(s.api_port) as busy:
            slow.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: ")
            head.send(b"HEAD /healthz HTTP/1.1\r\nHost: x\r\nX: ")
            idle.ask([get("/healthz")])
            for _ in range(45):  # never idle long enough, and each head in time although one byte of the next is always there
                busy.send(get("/healthz")[1:] + b"G" if _ else get("/healthz") + b"G")
                assert busy.read().status == 200
                slow_byte = b"a"
                try:
                    slow.send(slow_byte)
                except OSError:
                    pass
                time.sleep(0.05)
            got, _ = replies(slow.rest())
            assert [r.status for r in got] == [408] and got[0].header("connection") == "close"
            assert json.loads(got[0].body)["error"]["family"] == "bad_request"
            got, left = replies(head.rest(), is_head=True)
            assert [r.status for r in got] == [408] and not left  # HEAD gets no body
            assert metric(s, "offloader_requests_total", endpoint="_unknown", status="client_error") == 2
            assert metric(s, "offloader_request_duration_ms_sum", endpoint="_unknown") > 2 * 500  # they took the time-out each
            assert idle.rest() == b"" and new.rest() == b""
            assert time.monotonic() - began >= 1.5
            busy.send(get("/healthz")[1:])
            assert busy.read().status == 200


def test_connection_limit(tmp_path):
    """The one that has waited longest makes room; who still does not fit gets 503. Shown to fail without the read in finish():
    the refused connection was reset."""
    w = tiny(tmp_path)
    w.endpoint("scan", "kv", serving_mode="remote_scan")
    with running(w.path, tmp_path / "cache", OFFLOADER_MAX_CONNECTIONS="70", OFFLOADER_POOL_SIZE="1", OFFLOADER_QUEUE_TIMEOUT_MS="30000",
                 OFFLOADER_QUERY_TIMEOUT_MS="30000") as s:  # 6 for the API port
        wires = [Wire(s.api_port) for _ in range(6)]
        for i, x in enumerate(wires):
            x.ask([get("/healthz")])
            if i == 2:
                time.sleep(0.02)  # the first three wait longer than the others, by more than a tick of the clock
        wait_for(lambda: metric(s, "offloader_http_connections") == 6, "six connections")
        more = []
        for _ in range(3):  # one after the other: a loop that is asked for room twice at once closes two of its own
            more.append(Wire(s.api_port))
            assert more[-1].ask([get("/healthz")])[0].status == 200
            wait_for(lambda: metric(s, "offloader_http_connections") <= 6, "the oldest to go")
        assert all(x.ask([get("/healthz")])[0].status == 200 for x in more)
        assert [x.rest() for x in wires[:3]] == [b""] * 3  # the oldest, on whatever loop they were
        for x in wires:
            x.close()
        wait_for(lambda: metric(s, "offloader_http_connections") <= 3, "their connections to go")
        assert s.get("/v1/endpoints/scan").status == 200
        queries = wait_for(lambda: s.children("__query"), "the query process")
        for child in queries:  # whoever asks now is at work until it goes on
            os.kill(child, signal.SIGSTOP)
        busy = [Wire(s.api_port) for _ in range(6)]
        for x in busy:
            x.send(get("/v1/endpoints/scan"))
        wait_for(lambda: metric(s, "offloader_pool_busy") + metric(s, "offloader_pool_queue") == 6, "work in all of them")
        late = Wire(s.api_port)
        late.send(get("/healthz"))  # read and dropped: with it unread, closing would reset the connection and could take the answer with it
        got, _ = replies(late.rest())
        assert [r.status for r in got] == [503] and got[0].header("retry-after") == "1" and got[0].header("connection") == "close"
        assert metric(s, "offloader_shed_total", reason="connections") >= 1
        wait_for(lambda: metric(s, "offloader_http_connections") == 6, "the refused one to be let go")
        assert late.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        assert s.admin("/live").status == 200
        for child in queries:
            os.kill(child, signal.SIGCONT)
        assert all(x.read().status == 200 for x in busy)
        for x in busy + more + [late]:
            x.close()


def test_the_default_connection_limit_uses_the_hard_descriptor_limit(tmp_path):
    raise_descriptor_limit()
    w = tiny(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        with running(w.path, tmp_path / "cache") as s:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            wires = [Wire(s.api_port) for _ in range(400)]
            assert all(x.ask([get("/healthz")])[0].status == 200 for x in wires)
            assert metric(s, "process_max_fds") == hard
            for x in wires:
                x.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def is_sanitized(s):
    """A sanitizer's shadow memory says nothing about ours."""
    with open(f"/proc/{s.process.pid}/maps", encoding="ascii", errors="replace") as f:
        return "libasan" in (maps := f.read()) or "libtsan" in maps


def test_a_thousand_slow_clients(tmp_path):
    """S-05 in small: slow heads and slow readers from many addresses; a good client notices nothing, memory a client is
    bounded, and they are gone in time. Shown to fail without the time-out of LIST_HEAD: the slow heads stayed."""
    raise_descriptor_limit()
    w = tiny(tmp_path)
    w.publish("kv", "s2", [("x" * 200, i) for i in range(1000)])
    with running(w.path, tmp_path / "cache", OFFLOADER_REQUEST_TIMEOUT_MS="2500") as s:
        warm = [Wire(s.api_port) for _ in range(50)]
        for x in warm:
            x.ask([get("/v1/endpoints/kv")])
        before = s.memory_kib() * 1024
        began = time.monotonic()
        slow = []
        for i in range(900):
            x = Wire(s.api_port, source=f"127.0.{i // 250}.{i % 250 + 1}")
            x.send(b"GET /v1/endpoints/kv HTTP/1.1\r\nHost: x\r\nX: y")
            slow.append(x)
        readers = []
        for i in range(100):
            x = Wire(s.api_port, source=f"127.1.0.{i + 1}", receive_bytes=2048)
            x.send(get("/v1/endpoints/kv?limit=1000") * (3 if i >= 10 else 40))  # 3 are more than the kernel takes ahead
            readers.append(x)
        wait_for(lambda: metric(s, "offloader_http_connections") >= 1050, "all of them", 10)
        a_head = (s.memory_kib() * 1024 - before) / 1000
        good, bad = 0, []
        while time.monotonic() - began < 4:
            with Wire(s.api_port) as client:
                for _ in range(100):
                    r, = client.ask([get("/v1/endpoints/kv?limit=1")])
                    good += 1
                    if r.status != 200:
                        bad.append(r.status)
        assert not bad and good > 100
        assert is_sanitized(s) or a_head <= 24 * 1024 + 300 * 1024 * 100 / 1000, a_head  # readers hold an answer of 200 KiB each besides
        for x in slow:
            assert status_of(x.rest()) == [408]
        assert time.monotonic() - began < 10
        wait_for(lambda: metric(s, "offloader_http_connections") <= len(warm), "readers that take nothing to be closed", 15)
        for x in readers:  # by a reset: nothing of theirs stays in the kernel
            with pytest.raises(ConnectionResetError):
                while x.socket.recv(65536):
                    pass
        print(f"S-05: 1,000 slow clients, {good} good requests, {a_head / 1024:.1f} KiB each")
        for x in slow + readers + warm:
            x.close()
        wait_for(lambda: metric(s, "offloader_http_connections") == 0, "all to be gone")


def test_answers_that_wait_for_readers_are_bounded(tmp_path):
    w = tiny(tmp_path)
    w.publish("kv", "s2", [("x" * 8000, i) for i in range(1000)])  # far more than the kernel holds
    w.endpoint("other", "kv")
    with running(w.path, tmp_path / "cache", OFFLOADER_SEND_BUFFER_BYTES="4MiB") as s:
        readers = [Wire(s.api_port, receive_bytes=2048) for _ in range(4)]
        for x in readers:
            x.send(get("/v1/endpoints/kv?limit=1000") * 20)
        def shed():
            r = s.get("/healthz")
            return r.status == 503 and r
        r = wait_for(shed, "the send buffer to be full", 10)
        assert r.json["error"]["family"] == "not_ready" and r.headers["retry-after"] == "1"
        with Wire(s.api_port) as wire:
            wire.send(get("/healthz", method="HEAD"))
            got, left = replies(wire.rest(), is_head=True)
            assert [r.status for r in got] == [503] and not left
        r = s.get("/v1/endpoints/other")  # counted as its endpoint's, whose name was read
        assert r.status == 503 and metric(s, "offloader_requests_total", endpoint="other", status="not_ready") == 1
        assert metric(s, "offloader_shed_total", reason="memory") >= 1
        for x in readers:
            x.close()
        wait_for(lambda: s.get("/healthz").status == 200, "room again", 10)


def test_keep_alive_ends_before_requests_are_refused(tmp_path):
    w = tiny(tmp_path)
    w.publish("kv", "s2", [("x" * 4000, i) for i in range(1000)])
    with running(w.path, tmp_path / "cache", OFFLOADER_SEND_BUFFER_BYTES="1GiB") as s:
        with Wire(s.api_port) as wire:
            assert wire.ask([get("/healthz")] * 2)[1].header("connection") is None
    with running(w.path, tmp_path / "cache", OFFLOADER_SEND_BUFFER_BYTES="12MiB") as s:
        readers = []
        def pressed():
            """One more reader of 4 MB that takes nothing, until it shows."""
            if len(readers) < 8:
                readers.append(Wire(s.api_port, receive_bytes=2048))
                readers[-1].send(get("/v1/endpoints/kv?limit=1000"))
            with Wire(s.api_port) as wire:
                r = wire.ask([get("/healthz")])[0]
            return r.header("connection") == "close" and r
        assert wait_for(pressed, "pressure", 10).status == 200
        assert metric(s, "offloader_shed_total", reason="memory") == 0
        for x in readers:
            x.close()
        wait_for(lambda: s.get("/healthz").headers.get("connection") is None, "no pressure", 10)


def test_answers_over_32_mib(tmp_path):
    w = World(tmp_path / "project")
    w.dataset("wide", [("id", "BIGINT"), ("a", "VARCHAR"), ("b", "VARCHAR")])
    w.publish("wide", "s1", [(i, "a" * 10000, "b" * 10000) for i in range(2000)])
    w.endpoint("wide", "wide", pagination={"default_limit": 2000, "max_limit": 2000})
    w.endpoint("cached", "wide", pagination={"default_limit": 2000, "max_limit": 2000}, cache={"policy": "snapshot"})
    with running(w.path, tmp_path / "cache") as s:
        for path in ("wide", "cached", "cached"):
            for accept in ("application/json", "text/csv", "application/x-ndjson"):
                r = s.get(f"/v1/endpoints/{path}", headers={"Accept": accept})
                assert (r.status, r.json["error"]["family"]) == (422, "invalid_param") and "32 MiB" in r.json["error"]["message"]
        for query in ("limit=1500", "columns=id,a"):
            r = s.get(f"/v1/endpoints/wide?{query}", headers={"Accept-Encoding": "gzip" if query == "limit=1500" else ""})
            assert r.status == 200 and int(r.headers["content-length"]) == len(r.body)
        with Wire(s.api_port) as wire:  # pipelined large answers are not gathered in memory
            before = s.memory_kib() * 1024
            wire.send(get("/v1/endpoints/wide?columns=id,a") * 12)
            time.sleep(0.3)
            grown = s.memory_kib() * 1024 - before
            got, left = [], None
            for _ in range(12):
                got.append(wire.read().status)
            assert got == [200] * 12 and (is_sanitized(s) or grown < 120 << 20), grown >> 20


def test_a_million_groups(tmp_path):
    """One more is 422 whatever the page, and says what the limit is; those who wait for the same answer are told the same."""
    w = World(tmp_path / "project")
    w.dataset("d", [("n", "BIGINT")])
    w.publish("d", "s1", [(i,) for i in range(1000001)])
    for name, more in (("d", {}), ("cached", {"cache": {"policy": "snapshot"}})):
        w.endpoint(name, "d", ["n", ("c", "n", "count")], group_by=["n"], params=[{"name": "from", "type": "integer"}], filters=[("n", "gte", "from")], **more)
    with running(w.path, tmp_path / "cache", OFFLOADER_QUEUE_TIMEOUT_MS="30000", OFFLOADER_QUERY_TIMEOUT_MS="30000") as s:
        out = [s.get("/v1/endpoints/d?limit=1")]
        threads = [threading.Thread(target=lambda: out.append(s.get("/v1/endpoints/cached?limit=1"))) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert metric(s, "offloader_response_cache_total", result="coalesced") > 0
        for r in out:
            assert (r.status, r.json["error"]["family"]) == (422, "invalid_param") and "1,000,000 groups" in r.json["error"]["message"], r.body
        r = s.get("/v1/endpoints/d?limit=1&from=1", headers={"Prefer": "count=exact"})
        assert r.status == 200 and r.json["meta"]["page"]["total"] == 1000000


def test_a_saturated_pool_sheds(heavy):
    out = []
    threads = [threading.Thread(target=lambda i=i: out.append(heavy.get(f"/v1/endpoints/scan?x={i}"))) for i in range(24)]
    for t in threads:
        t.start()
    quick = [heavy.get("/v1/endpoints/kv").status for _ in range(20)]
    for t in threads:
        t.join()
    assert quick == [200] * 20 and {r.status for r in out} <= {200, 503} and any(r.status == 200 for r in out) and any(r.status == 503 for r in out)
    for r in out:
        if r.status == 503:
            assert r.json["error"]["family"] == "not_ready" and int(r.headers["retry-after"]) >= 1
    assert metric(heavy, "offloader_shed_total") >= sum(r.status == 503 for r in out)
    assert metric(heavy, "offloader_requests_total", endpoint="scan", status="not_ready") == sum(r.status == 503 for r in out)


def test_those_who_wait_for_one_answer_are_shed_with_it(tmp_path):
    """Each of them is a shed request; shown to fail without the count in on_landed(): one of five."""
    w = tiny(tmp_path)
    w.endpoint("scan", "kv", serving_mode="remote_scan")
    w.endpoint("same", "kv", serving_mode="remote_scan", cache={"policy": "snapshot"})
    with running(w.path, tmp_path / "cache", OFFLOADER_POOL_SIZE="1", OFFLOADER_QUEUE_TIMEOUT_MS="2000", OFFLOADER_QUERY_TIMEOUT_MS="60000") as s:
        assert s.get("/v1/endpoints/scan").status == 200
        queries = wait_for(lambda: s.children("__query"), "the query process")
        for child in queries:
            os.kill(child, signal.SIGSTOP)
        wires = [Wire(s.api_port) for _ in range(6)]
        wires[0].send(get("/v1/endpoints/scan"))
        wait_for(lambda: metric(s, "offloader_pool_busy") == 1, "the worker to be taken")
        for x in wires[1:]:
            x.send(get("/v1/endpoints/same"))
        assert [x.read().status for x in wires[1:]] == [503] * 5
        assert metric(s, "offloader_response_cache_total", endpoint="same") == 5
        assert metric(s, "offloader_response_cache_total", result="coalesced") >= 1
        assert metric(s, "offloader_shed_total") == metric(s, "offloader_requests_total", endpoint="same", status="not_ready") == 5
        for child in queries:
            os.kill(child, signal.SIGCONT)
        assert wires[0].read().status == 200
        for x in wires:
            x.close()


def test_a_query_past_its_time_is_504(tmp_path):
    w = scans(tmp_path)
    with running(w.path, tmp_path / "cache", OFFLOADER_QUERY_TIMEOUT_MS="1", OFFLOADER_INLINE_ROWS="1000") as s:
        r = s.get("/v1/endpoints/scan")
        assert (r.status, r.json["error"]["family"]) == (504, "timeout") and r.headers["cache-control"] == "no-store"
        assert metric(s, "offloader_requests_total", endpoint="scan", status="server_error") == 1
        assert s.get("/v1/endpoints/kv").status == 200


def test_a_hang_up_stops_the_query_and_is_logged_as_499(heavy):
    wait_for(lambda: metric(heavy, "offloader_pool_busy") == 0, "a quiet pool")
    before = metric(heavy, "offloader_requests_total", endpoint="scan", status="client_error")
    n = [0]

    def hang_up():
        n[0] += 1
        with Wire(heavy.api_port) as x:
            x.send(get(f"/v1/endpoints/scan?x=0.{n[0]}", f"X-Request-Id: hang-up-{n[0]:03d}"))
            time.sleep(0.005)  # time to begin, not to end
            if n[0] % 2:
                x.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wait_for(lambda: metric(heavy, "offloader_pool_busy") == 0, "the pool to be free")
        return metric(heavy, "offloader_requests_total", endpoint="scan", status="client_error") >= before + 2
    wait_for(hang_up, "them to be counted")
    assert re.search(r'"request_id":"hang-up-\d+".*"status":499', heavy.log())
    assert heavy.get("/v1/endpoints/scan?x=7").status == 200


def test_idle_connections_cost_little(tmp_path):
    """At most 4 KiB resident each while idle, whether they were answered at once or late."""
    raise_descriptor_limit()
    w = tiny(tmp_path)
    with running(w.path, tmp_path / "cache") as s:
        first = [Wire(s.api_port) for _ in range(200)]
        for x in first:
            x.ask([get("/v1/endpoints/kv")] * 2)
        before = s.memory_kib() * 1024
        wires = [Wire(s.api_port) for _ in range(3000)]
        for x in wires:
            x.ask([get("/v1/endpoints/kv")])
        each = (s.memory_kib() * 1024 - before) / len(wires)
        print(f"{each:.0f} bytes an idle connection")
        assert is_sanitized(s) or each <= 4096
        for x in first + wires:
            x.close()


def test_a_drain_loses_nothing(tmp_path):
    """R-09: SIGTERM with requests in flight, idle, half-sent, stalled, new and pipelined."""
    w = scans(tmp_path)
    with running(w.path, tmp_path / "cache", OFFLOADER_DRAIN_SECONDS="20", OFFLOADER_POOL_SIZE="1", OFFLOADER_REQUEST_TIMEOUT_MS="2000", OFFLOADER_INLINE_ROWS="1000", OFFLOADER_QUEUE_TIMEOUT_MS="30000") as s:
        idle, half, flying, second, third, late, stalled = (Wire(s.api_port) for _ in range(7))
        idle.ask([get("/healthz")])
        half.send(b"GET /healthz HTTP/1.1\r\n")
        for x in (flying, second, third):
            x.send(get("/v1/endpoints/scan") + get("/healthz"))
        stalled.send(b"GET /heal")
        wait_for(lambda: metric(s, "offloader_pool_busy") == 1, "the query")
        s.process.send_signal(signal.SIGTERM)
        wait_for(lambda: s.admin("/ready").json.get("draining"), "the drain")
        assert metric(s, "offloader_draining") == 1
        got = late.ask([get("/v1/endpoints/kv")])[0]  # opened before, first used now
        assert got.status == 200 and got.header("connection") == "close" and late.rest() == b""
        with Wire(s.api_port) as new:
            got = new.ask([get("/v1/endpoints/kv")])[0]
            assert got.status == 200 and got.header("connection") == "close"
        half.send(b"Host: x\r\n\r\n")
        assert half.read().header("connection") == "close"
        for x in (flying, second, third):
            assert x.read().status == 200  # "close" or not: it was taken before
            x.close()
        assert idle.rest() == b""
        for x in (idle, half, late):
            x.close()
        assert status_of(stalled.rest()) in ([], [408])
        assert s.process.wait(15) == 0


def test_admin_port_has_its_own_64(tmp_path):
    w = tiny(tmp_path)
    with running(w.path, tmp_path / "cache", OFFLOADER_MAX_CONNECTIONS="66") as s:  # two for the API port
        taken = [Wire(s.api_port) for _ in range(2)]
        admins = [Wire(s.admin_port) for _ in range(60)]
        assert all(x.ask([get("/live")])[0].status == 200 for x in admins)
        assert metric(s, "offloader_http_connections") <= 2
        for x in taken + admins:
            x.close()
