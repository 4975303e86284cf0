# SPDX-License-Identifier: Apache-2.0
"""assurance.md design 2, S-01, S-02 and S-06: what is no request is refused, once, and nothing after it is read.

Shown to fail with the defence removed: without the check for a bare LF in find_end() two vectors were left
open, waiting for more of the head; with Transfer-Encoding let pass in check_framing() 110 vectors were answered
200; without `Connection: close` on refusals all 1,768 were; without clear() in http_parse_head() a refusal
echoed the X-Request-Id of another connection; without asks_by_head() 15 vectors by HEAD were answered with a body.
"""
import collections
import itertools
import json
import os
import random

import pytest

import framing
from conftest import ADMIN_TOKEN
from test_limits import is_sanitized
from wire import Wire, exchange_many, get, replies
from world import World, running

SEED = int(os.environ.get("SEED", "20261125"))
CANARY = get("/v1/endpoints/kv?id=canary")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    base = tmp_path_factory.mktemp("framing")
    w = World(base / "project")
    w.dataset("kv", [("id", "VARCHAR"), ("n", "BIGINT")])
    w.publish("kv", "s1", [("canary", 1), ("other", 2)])
    w.endpoint("kv", "kv", params=[{"name": "id", "type": "string"}], filters=[("id", "eq", "id")])
    with running(w.path, base / "cache") as s:
        yield s


def judge(name, vector, data, is_open):
    """None when the vector was refused as promised, else what happened."""
    is_head = vector.startswith(b"HEAD ")
    got, left = replies(data, is_head)
    if left:
        return f"{name}: {vector[:60]!r}: half an answer, or a body for HEAD: {left[:60]!r}"
    if len(got) != 1 or not 400 <= got[0].status < 500 or is_open:
        return f"{name}: {vector[:60]!r}: {[r.status for r in got]} {'left open' if is_open else ''}"
    if got[0].header("connection") != "close" or not is_head and b'"family":"bad_request"' not in got[0].body:
        return f"{name}: {vector[:60]!r}: {got[0].head!r} {got[0].body!r}"
    if b"canary" in data:
        return f"{name}: {vector[:60]!r}: the canary ran"
    return None


def test_every_vector_alone_and_with_a_canary(server):
    vectors = framing.refused()
    assert len(vectors) >= 520
    counts = collections.Counter(name for name, _ in vectors)
    print(f"S-01: {len(vectors)} vectors x 2: {dict(counts)}")
    bad = []
    for tail in (b"", CANARY):
        out = exchange_many(server.api_port, [[v + tail] for _, v in vectors])
        bad += [b for (n, v), (data, is_open) in zip(vectors, out) if (b := judge(n, v, data, is_open))]
    assert not bad, f"{len(bad)}: " + "\n".join(bad[:8])


def some_splits(n):
    rng = random.Random(SEED)
    vectors = framing.refused()
    for i in range(n):
        name, vector = vectors[i % len(vectors)]
        whole = vector[-400:] if len(vector) > 400 and rng.random() < 0.5 else vector  # long ones: mostly near the end
        yield name, vector, len(vector) - len(whole) + rng.randrange(1, len(whole))


def all_splits():
    for name, vector in framing.refused():
        for at in range(1, len(vector)):
            yield name, vector, at


def test_a_split_changes_nothing(server):
    """S-02: 10,000 splits of the vectors, or all of them, each part read by itself."""
    splits = all_splits() if os.environ.get("S02_ALL") else some_splits(10000)
    n, bad = 0, []
    while cases := list(itertools.islice(splits, 5000)):
        n += len(cases)
        out = exchange_many(server.api_port, [[v[:at], v[at:] + CANARY] for _, v, at in cases], at_once=250)
        bad += [b for (name, v, _), (data, is_open) in zip(cases, out) if (b := judge(name, v, data, is_open))]
    print(f"S-02: {n} splits, SEED={SEED}")
    assert n >= 10000 and not bad, f"{len(bad)}: " + "\n".join(bad[:8])


def test_what_is_well_formed_is_answered(server):
    for vector in framing.accepted():
        with Wire(server.api_port) as wire:
            for reply in wire.ask([vector, CANARY]):
                assert reply.status in (200, 204), (vector[:80], reply.status, reply.body)
            assert reply.body.count(b"canary") == 1
            wire.send(CANARY[:10])  # and once more on the same connection, byte by byte
            for byte in CANARY[10:]:
                wire.send(bytes([byte]))
            assert wire.read().status == 200


def test_http_1_0_is_answered_and_closed(server):
    for head in (b"GET /healthz HTTP/1.0\r\n\r\n", b"GET /healthz HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n"):
        with Wire(server.api_port) as wire:
            wire.send(head + CANARY)
            got, left = replies(wire.rest())
            assert [r.status for r in got] == [200] and not left and got[0].header("connection") == "close"


def test_statuses_of_framing_errors(server):
    x = framing.with_header
    for status, vector in (
            (400, x(b"Content-Length: 5", body=b"abcde")), (400, x(b"Content-Length: 5", line=b"HEAD /healthz HTTP/1.1", body=b"abcde")),
            (417, x(b"Expect: 100-continue", line=b"HEAD /healthz HTTP/1.1")), (414, framing.request(line=b"HEAD /" + b"a" * 8192 + b" HTTP/1.1")), (405, x(b"Content-Length: 5", line=b"POST /healthz HTTP/1.1", body=b"abcde")),
            (414, framing.request(line=b"GET /" + b"a" * 8192 + b" HTTP/1.1")), (417, x(b"Expect: 100-continue")),
            (431, x(b"X: " + b"a" * 17000)), (431, x(*[b"X-%d: v" % i for i in range(64)])), (400, x(b"Transfer-Encoding: chunked"))):
        (data, is_open), = exchange_many(server.api_port, [[vector]])
        is_head = vector.startswith(b"HEAD ")
        (reply,), left = replies(data, is_head)
        assert reply.status == status and not is_open and not left, (vector[:60], reply.status, left)
        assert int(reply.header("content-length")) > 0 and (is_head or json.loads(reply.body)["error"]["family"] == "bad_request")
        assert reply.header("x-request-id") and reply.header("x-content-type-options") == "nosniff"
        assert reply.header("cache-control") == "no-store" and "Accept-Encoding" in reply.header("vary")
        assert (reply.header("allow") == "GET, HEAD, OPTIONS") == (status == 405)
    exactly = framing.request(line=b"GET /" + b"a" * 8191 + b" HTTP/1.1")
    room = 16384 - len(x(b"X: "))
    with Wire(server.api_port) as wire:  # the limits themselves are fine
        assert [r.status for r in wire.ask([exactly, x(b"X: " + b"a" * room), x(*[b"X-%d: v" % i for i in range(63)])])] == [404, 200, 200]


def test_a_refusal_shows_nothing_of_other_requests(server):
    """The parser's struct is the loop's: an early refusal once echoed the request id before it."""
    with Wire(server.api_port) as first:
        for i in range(200):
            first.ask([get("/healthz", f"X-Request-Id: somebody-else-{i}")])
            (data, _), = exchange_many(server.api_port, [[b"\r\nGET / HTTP/1.1\r\n\r\n"]])
            assert b"somebody-else" not in data


def test_pipelining_keeps_order_and_sizes(server):
    """More than the depth of 32, of large and small answers, to a reader that begins late."""
    paths = ["/healthz", "/v1/endpoints/kv", "/v1/endpoints/kv?id=canary", "/nowhere"]
    with Wire(server.api_port, receive_bytes=4096) as wire:
        batch = [get(paths[i % 4], f"X-Request-Id: request-{i:06d}", method="HEAD" if i % 7 == 3 else "GET") for i in range(500)]
        for i, reply in enumerate(wire.ask(batch, heads={i for i in range(500) if i % 7 == 3})):
            assert reply.header("x-request-id") == f"request-{i:06d}"
            assert reply.status == (404 if i % 4 == 3 else 200)
    with Wire(server.api_port) as wire:  # half-closed behind many requests: all are answered, then the end
        wire.send(get("/v1/endpoints/kv") * 300)
        wire.socket.shutdown(1)
        got, left = replies(wire.rest())
        assert len(got) == 300 and not left


def test_ten_thousand_requests_a_connection(server):
    with Wire(server.api_port) as wire:
        n, last = 0, None
        for _ in range(99):
            wire.ask([get("/healthz")] * 100)
        wire.send(get("/healthz") * 150)
        got, left = replies(wire.rest())
    assert len(got) == 100 and not left
    assert got[-1].header("connection") == "close" and got[-2].header("connection") is None


def test_bodies_of_the_admin_port(server):
    """Bodies end where Content-Length says: what follows is the next request, whoever asks and whatever the answer."""
    token = f"Authorization: Bearer {ADMIN_TOKEN}"

    def post(path, body, *headers, length=None):
        return get(path, f"Content-Length: {len(body) if length is None else length}", *headers, method="POST") + body
    inner = get("/status")
    with Wire(server.admin_port) as wire:
        batch = [post("/reload", inner), post("/reload", inner, token), get("/live"), post("/nope", inner), post("/datasets/kv/refresh", b"{}", token), post("/live", b"x" * 65536),
                 post("/reload", b""), get("/live")]
        assert [r.status for r in wire.ask(batch)] == [401, 400, 200, 404, 200, 405, 401, 200]
        assert not any(b'"service"' in r.body for r in wire.ask(batch))  # the request inside a body never ran
    whole = post("/datasets/kv/refresh", b'{"override_checks":false}') + get("/live")
    with Wire(server.admin_port) as wire:  # split at every byte
        for at in range(1, len(whole)):
            wire.send(whole[:at])
            wire.send(whole[at:])
            assert [wire.read().status, wire.read().status] == [401, 200], at
    for status, vector in ((413, post("/reload", b"", token, length=65537)), (400, post("/reload", b"abc", token, "Content-Length: 3")), (400, post("/reload", b"", token, "Transfer-Encoding: chunked")),
                           (417, post("/reload", b"", token, "Expect: 100-continue")), (400, post("/reload", b"abc", token, length="+3")), (405, get("/live", "Content-Length: 3", method="PUT") + b"abc"),
                           (400, get("/live", "Content-Length: 3") + b"abc")):
        (data, is_open), = exchange_many(server.admin_port, [[vector + get("/live")]])
        got, left = replies(data)
        assert [r.status for r in got] == [status] and not left and not is_open and got[0].header("connection") == "close", vector[:80]


def bombs():
    yield from (get("/" + p * (8000 // len(p))) for p in ("%00", "%25", "%2525", "%c0%80", "%ff", "%", "a/", "../", "%2e%2e%2f", ";", "@"))
    for piece in ("%00", "%25", "%c0%80", "%c0%af", "%e0%80%af", "%f8%88%80%80%80", "%ed%a0%80", "%ff", "%", "%4", "%zz", "%u0041", "+", "=",
                  ";", ",", "[]", "[0]", "%2f", "%0d%0a", "'", "--", "%f4%90%80%80", "%ef%bf%bf", "%f0%9f%98", "9" * 20, "-" + "9" * 20, "1e308"):
        for where in ("kv?id=", "kv?", "kv?columns=", "kv?limit=", "kv?offset=", "kv?cursor=", ""):
            yield get(f"/v1/endpoints/{where}{piece * (1 if where == 'kv?limit=' else 7000 // len(piece))}"[:8180])
    for n in (65, 200, 1000):
        yield get("/v1/endpoints/kv?" + "&".join(f"p{i}=" for i in range(n)))
        yield get("/v1/endpoints/kv?" + "&".join("id=1" for _ in range(n)))
    yield from (get("/v1/endpoints/kv", f"{name}: " + value) for name in ("Accept", "Accept-Encoding", "If-None-Match", "Prefer", "traceparent",
                                                                          "Origin", "X-Index-Hash", "Cookie")
                for value in ("," * 15000, "a," * 7000, "*;q=" + "0" * 10000, "\"" * 12000, "W/" * 6000))


def test_bombs(server):
    """S-06: a 4xx, or an answer without the data; memory stays where it was."""
    def resident():
        with open(f"/proc/{server.process.pid}/statm", encoding="ascii") as f:
            return int(f.read().split()[1]) * 4096
    all_bombs = list(bombs())
    assert len(all_bombs) >= 200
    before = resident()
    for request in all_bombs:
        with Wire(server.api_port) as wire:
            wire.send(request)
            reply = wire.read()
            assert reply.status in (200, 304) or 400 <= reply.status < 500, (request[:80], reply.status)
    assert is_sanitized(server) or resident() - before < 16 << 20
    print(f"S-06: {len(all_bombs)} bombs, {(resident() - before) >> 10} KiB more")
    assert server.get("/v1/endpoints/kv?id=canary").rows == [{"id": "canary", "n": 1}]
