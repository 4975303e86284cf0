# SPDX-License-Identifier: Apache-2.0
"""assurance.md S-09 to S-11: tokens that are nearly right, secrets that must not show anywhere, bytes that must not
split a header.

Shown to fail with the defence removed: with the connection's token memo taken without comparing its SipHash every
mutated token was let in; with a param's value put into plan messages the planted secrets stood in answers; with
is_request_id() letting any byte through a caller's text came back as header.
"""
import os
import random
import re
import string
from urllib.parse import quote

import pytest

from conftest import ADMIN_TOKEN, SECRET
from wire import Wire, exchange_many, get, replies
from world import World, digest, running

SEED = int(os.environ.get("SEED", "20261125"))
TOKEN = "offl_9fK2mQ7xT4vB1nZ8cR5wY3hL6jD0sGpA"
MUTATIONS = 100000


def build(base, auth):
    w = World(base / "project", auth)
    w.dataset("d", [("t", "VARCHAR"), ("id", "VARCHAR"), ("n", "BIGINT")], **({"tenant_column": "t"} if auth == "required" else {}))
    w.publish("d", "s1", [("ta", "a", 1)])
    params = [{"name": "id", "type": "string"}, {"name": "n", "type": "integer", "max": 5}, {"name": "e", "type": "enum", "enum": ["x"]}, {"name": "day", "type": "date"},
              {"name": "ts", "type": "timestamp"}, {"name": "num", "type": "number"}, {"name": "b", "type": "boolean"}]
    w.endpoint("d", "d", ["id", "n"], params=params, filters=[("id", "eq", "id")], cache={"policy": "snapshot"}, **({"tenant": "t"} if auth == "required" else {}))
    w.dataset("cold", [("n", "BIGINT")])
    w.write("data/cold.json", {})
    w.endpoint("cold", "cold")
    if auth == "required":
        w.keys([{"id": "k", "token": TOKEN, "tenant": "ta", "endpoints": ["d", "cold"]}])
    return w


def mutations(rng):
    visible = string.ascii_letters + string.digits + "_-.~+/="
    n = len(TOKEN)
    while True:
        kind = rng.randrange(8)
        at = rng.randrange(n)
        if kind == 0:
            out = TOKEN[:at] + rng.choice(visible) + TOKEN[at + 1:]
        elif kind == 1:
            out = TOKEN[:at] + TOKEN[at + 1:]
        elif kind == 2:
            out = TOKEN[:at] + rng.choice(visible) + TOKEN[at:]
        elif kind == 3:
            out = TOKEN[:at] + TOKEN[at].swapcase() + TOKEN[at + 1:]
        elif kind == 4:
            out = TOKEN[:at] + TOKEN[at:][::-1]
        elif kind == 5:
            out = "".join(rng.choice(visible) for _ in range(n))
        elif kind == 6:
            out = TOKEN + rng.choice(visible) * rng.randrange(1, 40)
        else:
            out = digest(TOKEN)[:rng.randrange(1, 65)]
        if out != TOKEN:
            yield out


def test_mutated_tokens_are_refused(tmp_path):
    """S-09, on connections that remember the right token too."""
    w = build(tmp_path, "required")
    rng = random.Random(SEED)
    tokens = mutations(rng)
    with running(w.path, tmp_path / "cache", ready=False) as s:
        from conftest import wait_for
        wait_for(lambda: s.get("/v1/endpoints/d", TOKEN).status == 200, "the snapshot")
        n = 0
        while n < MUTATIONS:
            with Wire(s.api_port) as wire:
                for _ in range(50):
                    got = wire.ask([get("/v1/endpoints/d", key=TOKEN if i % 20 == 0 else next(tokens)) for i in range(100)])
                    assert [r.status for r in got] == [200 if i % 20 == 0 else 401 for i in range(100)]
                    n += 95
        print(f"S-09: {n} mutated tokens, 0 accepted, SEED={SEED}")
        with Wire(s.api_port) as wire:  # revocation reaches an open connection with its first request
            assert wire.ask([get("/v1/endpoints/d", key=TOKEN)])[0].status == 200
            w.keys([{"id": "k", "token": TOKEN, "tenant": "ta", "endpoints": ["d"], "status": "revoked"}])
            assert s.post("/reload").status == 200
            assert wire.ask([get("/v1/endpoints/d", key=TOKEN)])[0].status == 401


def secrets():
    """50 of them, by where they are planted; the admin token and the key base are two more."""
    return [f"SeCrEt{i:02d}{digest(str(i))[:20]}" for i in range(50)]


def error_paths(planted):
    """A request for every way to fail, each with secrets in it."""
    it = iter(planted * 4)
    endpoint = "/v1/endpoints/d"
    for name in ("id", "n", "e", "day", "ts", "num", "b", "limit", "offset", "columns", "cursor"):
        yield get(f"{endpoint}?{name}={next(it)}", key=TOKEN)
        yield get(f"{endpoint}?{name}={next(it)}&{name}={next(it)}", key=TOKEN)
    yield get(f"{endpoint}?Not-A-Name-{next(it)}=1", key=TOKEN)
    yield get(f"{endpoint}?zzz={next(it)}", key=TOKEN)
    yield get(f"{endpoint}?n=6&id={next(it)}", key=TOKEN)
    yield get(f"{endpoint}?id=%zz{next(it)}", key=TOKEN)
    yield get(f"{endpoint}?" + "&".join(f"p{i}={next(it)}" for i in range(70)), key=TOKEN)
    yield get(endpoint, key=next(it))
    yield get(endpoint, f"Authorization: Basic {next(it)}")
    yield get(endpoint, f"Authorization: {next(it)}")
    yield get(endpoint, f"Cookie: session={next(it)}", f"X-Api-Key: {next(it)}", f"X-Index-Hash: {next(it)}", key=TOKEN)
    yield get(endpoint, f"Accept: {next(it)}/x", key=TOKEN)
    yield get(f"/v1/endpoints/{next(it)}", key=TOKEN)
    yield get(f"/v1/endpoints/cold?id={next(it)}", key=TOKEN)
    yield get("/v1/endpoints/cold", f"X-Schema-Rev: {next(it)}", key=TOKEN)
    yield get(f"/{next(it)}/%zz", key=TOKEN)
    yield get(f"/{next(it)}")
    yield get(endpoint, key=TOKEN, method=next(it)[:20])
    yield get(endpoint, f"Expect: {next(it)}", key=TOKEN)
    yield get(endpoint, f"Transfer-Encoding: {next(it)}", key=TOKEN)
    yield get(endpoint, f"Content-Length: {next(it)}", key=TOKEN)
    yield get(endpoint, f"{next(it)} : x", key=TOKEN)
    yield get(endpoint, f"X-A: {next(it)}" + "a" * 17000, key=TOKEN)
    yield f"GET {next(it)} HTTP/1.1\r\nHost: {next(it)}\r\n\r\n".encode()
    yield f"GET / HTTP/{next(it)}\r\nHost: x\r\n\r\n".encode()
    yield f"{next(it)}\r\n\r\n".encode()
    yield get(endpoint, f"If-None-Match: \"{next(it)}\"", f"Prefer: {next(it)}", f"traceparent: {next(it)}", key=TOKEN)


def test_planted_secrets_show_nowhere(tmp_path):
    """S-10. The caller's own X-Request-Id and a valid undeclared param name are shown by design and are not planted."""
    planted = secrets()
    assert len(planted) == 50
    w = build(tmp_path, "required")
    with running(w.path, tmp_path / "cache", ready=False, OFFLOADER_LOG_LEVEL="debug", OFFLOADER_ACCESS_LOG="on") as s:
        from conftest import wait_for
        wait_for(lambda: s.get("/v1/endpoints/d", TOKEN).status == 200, "the snapshot")
        requests = list(error_paths(planted))
        answers = b"".join(data for data, _ in exchange_many(s.api_port, [[r] for r in requests], silence_s=0.3))
        for path, token in (("/diagnostics", planted[0]), ("/events", planted[1]), ("/x" + planted[2], None)):
            answers += s.admin(path, token=token).body
        for path, body in ((f"/datasets/{planted[3]}/refresh", None), ("/datasets/d/refresh", '{"override_checks":"' + planted[4]), ("/reload", planted[5])):
            answers += s.admin(path, "POST", ADMIN_TOKEN, {"Idempotency-Key": planted[6]}, body).body
        for name in ("offloader.yml", "endpoints/d.yml"):  # a project that is refused: its findings hold keys of the file
            good = (w.path / name).read_text()
            (w.path / name).write_text(good[:-1] + f', "x": "{planted[7]}"}}')
            answers += s.post("/reload").body
            (w.path / name).write_text(good)
        pages = {p: s.admin(p, token=ADMIN_TOKEN).body for p in ("/live", "/ready", "/status", "/metrics", "/diagnostics", "/events", "/schema", "/docs", "/openapi.json")}
        with open(f"/proc/{s.process.pid}/cmdline", "rb") as f:
            pages["process list"] = f.read()
        with open(f"/proc/{s.process.pid}/comm", "rb") as f:
            pages["comm"] = f.read()
        s.stop()
        pages["log"] = s.log().encode()
        pages["answers"] = answers
        hits = [(where, what) for where, text in pages.items() for what in planted + [TOKEN, digest(TOKEN), ADMIN_TOKEN, SECRET] if what.encode() in text]
        assert not hits, hits
        print(f"S-10: {len(planted)} secrets over {len(requests)} error paths and {len(pages)} outputs, 0 hits")


def test_no_header_is_split(tmp_path):
    """S-11: CR, LF and NUL, raw and encoded, into everything that is reflected."""
    w = build(tmp_path, "none")
    breaks = [b"\r\n", b"\n", b"\r", b"\0", b"\r\n ", b"\n\t", b"\r\r\n", b"\n\r", b"\x0b", b"\x0c", b"\x1c", b"\x85", b"\xe5\x98\x8a\xe5\x98\x8d", b"\xc4\x8d\xc4\x8a"]
    inject = b"X-Injected: yes"
    values = [prefix + b + inject + suffix for b in breaks for prefix in (b"", b"abcdefgh", b"https://a.example.com") for suffix in (b"", b"\r\n\r\n<b>")]
    encoded = [quote(v).encode() for v in values] + [v.replace(b"\r", b"%0d").replace(b"\n", b"%0a") for v in values if b"\0" not in v]
    names = [b"X-Request-Id", b"Origin", b"traceparent", b"If-None-Match", b"X-Schema-Rev", b"Accept"]
    vectors = [b"GET /v1/endpoints/d HTTP/1.1\r\nHost: x\r\n" + n + b": " + v + b"\r\n\r\n" for n in names for v in values]
    vectors += [b"GET /v1/endpoints/d HTTP/1.1\r\nHost: x\r\n" + n + b": " + v + b"\r\n\r\n" for n in names for v in encoded[::5] if b"\n" not in v and b"\r" not in v]
    for at in (b"/v1/endpoints/d?id=", b"/v1/endpoints/d?", b"/v1/endpoints/d?columns=", b"/v1/endpoints/", b"/"):
        vectors += [b"GET " + at + v + b" HTTP/1.1\r\nHost: x\r\n\r\n" for v in encoded if not re.search(rb"[\s\0<]", v)]
    assert len(vectors) >= 500
    known = {b"date", b"content-type", b"cache-control", b"x-request-id", b"x-content-type-options", b"vary", b"access-control-allow-origin", b"access-control-allow-credentials",
             b"access-control-expose-headers", b"etag", b"x-schema-rev", b"x-index-hash", b"x-model-tag", b"server-timing", b"content-length", b"connection", b"traceresponse",
             b"retry-after"}
    for origins in ("*", "https://a.example.com"):
        with running(w.path, tmp_path / "cache", ready=False, OFFLOADER_CORS_ORIGINS=origins) as s:
            out = exchange_many(s.api_port, [[v] for v in vectors], at_once=200, silence_s=0.3)
            for vector, (data, _) in zip(vectors, out):
                got, left = replies(data)
                assert got and not left, (vector, data)
                assert all(g.status >= 400 for g in got[1:]), (vector, data)  # what followed a raw CRLF CRLF is no request
                for g in got:
                    for line in g.head.split(b"\r\n")[:-1]:
                        name = line.split(b":")[0].lower()
                        assert name in known and not re.search(rb"[\r\n\0]", line) and b"X-Injected" not in line, (vector, line)
    print(f"S-11: {len(vectors)} x 2 vectors, 0 splits")


def test_metrics_and_status_pages(tmp_path):
    """admin.md: every series of the request path, its labels and bounds; what is open and what is guarded."""
    w = build(tmp_path, "none")
    with running(w.path, tmp_path / "cache", ready=False, OFFLOADER_RELEASE_ID="rel-9") as s:
        from conftest import wait_for
        wait_for(lambda: s.get("/v1/endpoints/d").status == 200, "the snapshot")
        for path, method in (("d", "GET"), ("d?zzz", "GET"), ("cold", "GET"), ("nope", "GET"), ("a%22b%0Ac", "GET"), ("d", "HEAD")):
            s.get(f"/v1/endpoints/{path}", method=method)
        r = s.admin("/metrics")
        assert r.headers["content-type"].startswith("text/plain; version=0.0.4")
        text = r.body.decode()
        sample = {}
        for line in text.splitlines():
            assert re.fullmatch(r'# (HELP|TYPE) \w+ .+|[a-z_]+(\{(\w+="([^"\\\n]|\\.)*",?)*\})? [-+0-9.eInfa]+', line), line
            if not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                assert name not in sample, name
                sample[name] = float(value)
        ok = 'endpoint="%s",status="%s",release="rel-9",revision="%s"'
        counts = {(e, st): v for k, v in sample.items() if k.startswith("offloader_requests_total{") for e, st in [re.search(r'endpoint="(\w+)".*status="(\w+)"', k).groups()]}
        assert counts[("d", "ok")] >= 3 and counts[("d", "client_error")] >= 1 and counts[("cold", "not_ready")] == 1 and counts[("_unknown", "client_error")] >= 2, (counts, ok)
        assert all('release="rel-9"' in k and "revision=" in k for k in sample if k.startswith(("offloader_requests_total{", "offloader_request_duration_ms_bucket{")))
        bounds = sorted({float(m) for m in re.findall(r'offloader_request_duration_ms_bucket\{[^}]*endpoint="d"[^}]*le="([0-9.]+)"', text)})
        assert set([0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000]) <= set(bounds)
        assert all(b / a <= 1.1501 for a, b in zip(bounds, bounds[1:])), bounds
        for name in ("offloader_queue_wait_ms", "offloader_query_duration_ms"):
            assert f"# TYPE {name} histogram" in text
        for name in ("offloader_up", "offloader_duckdb_up", "offloader_pool_connections", "offloader_pool_busy", "offloader_pool_queue", "offloader_pool_queue_age_ms",
                     "offloader_http_connections", "offloader_draining", "offloader_response_cache_entries", "offloader_response_cache_bytes", "offloader_ready",
                     "offloader_config_sync_enabled", "process_open_fds", "process_resident_memory_bytes", "offloader_cache_disk_free_bytes"):
            assert name in sample, name
        assert sample["offloader_ready"] == 0 and "offloader_config_sync_ok" not in sample
        for path, status in (("/live", 200), ("/ready", 503), ("/status", 200), ("/diagnostics", 401), ("/events", 401), ("/favicon.ico", 404), ("/nope", 404)):
            r = s.admin(path)
            assert r.status == status and r.headers["x-request-id"] and r.headers["x-content-type-options"] == "nosniff", path
        assert s.admin("/ready").json == {"status": "unavailable", "ready": False, "waiting_for": ["cold"]} | {k: v for k, v in s.admin("/ready").json.items() if k == "loading"}
        for path in ("/live", "/ready", "/metrics", "/status", "/diagnostics", "/events", "/docs", "/schema", "/openapi.json", "/reload", "/hold", "/datasets/d/refresh"):
            assert s.get(path).status == 404, path  # nothing of it on the API port
            assert s.get(path, method="POST").status == 405
        d = s.admin("/diagnostics", token=ADMIN_TOKEN).json
        assert {"build_version", "release", "config_version", "object_store_mode", "duckdb_status", "pool", "disk", "ready", "draining", "uptime_seconds", "config_sync",
                "response_cache", "datasets"} <= set(d)
        assert set(d["pool"]) == {"connections", "busy", "saturated", "remote_cap", "queue"} and set(d["response_cache"]) == {"entries", "bytes", "hits", "misses"}


@pytest.mark.parametrize("token", ["", None])
def test_without_an_admin_token_guarded_routes_refuse(tmp_path, token):
    w = build(tmp_path, "none")
    with running(w.path, tmp_path / "cache", ready=False, OFFLOADER_ADMIN_TOKEN=token or "") as s:
        for path, method in (("/diagnostics", "GET"), ("/events", "GET"), ("/reload", "POST")):
            for sent in (None, "", "x"):
                r = s.admin(path, method, token=sent)
                assert (r.status, r.json["error"]["family"]) == (503, "not_ready")
        assert s.admin("/status").status == 200
