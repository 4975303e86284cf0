# SPDX-License-Identifier: Apache-2.0
"""api.md "Response": values in each form, negotiation, codings, headers of every answer."""
import csv
import gzip
import io
import json
import subprocess

import pytest

from world import World, running

TEXTS = ["", "plain", 'a "quoted", b', "comma,semi;", "line\nfeed", "cr\rcr", "tab\t", "\u2028\u2029", "\U0001F642 é", "</script>", "=1+1", "\x01\x1f\x7f", "x" * 3000, None]
DOUBLES = {0.1: "0.1", 1e21: "1e+21", 1e20: "100000000000000000000", 1e-6: "0.000001", 1e-7: "1e-7", -0.0: "0", 5e-324: "5e-324", 1.7976931348623157e308: "1.7976931348623157e+308",
           123456789.125: "123456789.125", -2.5e-10: "-2.5e-10", 1e5: "100000", 100.0: "100", 1 / 3: "0.3333333333333333", 2**53: "9007199254740992"}


def unpack(coding, body):
    if coding == "gzip":
        return gzip.decompress(body)
    program = {"zstd": ["zstd", "-dcq"], "br": ["brotli", "-dc"]}[coding]
    return subprocess.run(program, input=body, capture_output=True, check=True).stdout


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    base = tmp_path_factory.mktemp("forms")
    w = World(base / "project")
    w.dataset("t", [("id", "BIGINT"), ("txt", "VARCHAR"), ("doc", "JSON"), ("day", "DATE"), ("at", "TIMESTAMP"), ("ok", "BOOLEAN")])
    path = base / "project/data/t.csv"
    with open(path, "w", encoding="utf-8", newline="") as f:
        f.write("id,txt,doc,day,at,ok\n")
        for i, text in enumerate(TEXTS):
            cells = io.StringIO()
            csv.writer(cells, lineterminator="", quoting=csv.QUOTE_ALL).writerow([text])
            doc = '"{""a"": [1, 2.50, null], ""é"": ""\\u0041""}"' if i % 2 else ""
            f.write(f'{i},{"" if text is None else cells.getvalue()},{doc},2026-06-{i + 1:02d},2026-06-01T12:00:0{i % 10}.5Z,{"true" if i % 2 else "false"}\n')
    w.write("data/t.json", {
        "dataset_id": "t", "snapshot_id": "s:1", "created_at": "2026-11-01T00:00:00Z", "watermark": "2026-11-01T00:00:00Z",
        "schema": [{"name": n, "type": t} for n, t in w.schemas["t"]], "files": [{"path": "t.csv", "format": "csv"}], "partition_columns": [], "sort_columns": [],
        "row_count": len(TEXTS), "size_bytes": path.stat().st_size, "producer": "tests", "upstream_run_id": "run7", "schema_version": 1,
        "data_quality_status": "passed", "compatibility_policy": "additive_only"})
    w.endpoint("t", "t", order_by=[("id", "asc")], params=[{"name": "id", "type": "integer"}], filters=[("id", "eq", "id")])
    w.endpoint("tc", "t", order_by=[("id", "asc")], params=[{"name": "id", "type": "integer"}], filters=[("id", "eq", "id")], cache={"policy": "snapshot"})
    w.dataset("n", [("g", "VARCHAR"), ("big", "BIGINT"), ("small", "INTEGER"), ("x", "DOUBLE")])
    w.publish("n", "n1", [("a", 2**63 - 1, 1, repr(d)) for d in DOUBLES] + [("b", -2**63, 2, None), ("b", -2**63, 2, None), ("c", None, None, None)])
    w.endpoint("n", "n", order_by=[("g", "asc")])
    w.endpoint("ns", "n", order_by=[("g", "asc")], integers="string")
    for name, more in (("sum", {}), ("sums", {"integers": "string"})):
        w.endpoint(name, "n", ["g", ("total", "big", "sum"), ("little", "small", "sum"), ("most", "big", "max"), ("n", "big", "count"), ("mean", "small", "avg"), ("xs", "x", "sum")],
                   group_by=["g"], **more)
    w.endpoint("nobody", "n", ["g", ("n", "big", "count")], group_by=["g"], params=[{"name": "g", "type": "string"}], filters=[("g", "eq", "g")])
    with running(w.path, base / "cache", OFFLOADER_RELEASE_ID="r-42") as s:
        yield s


def fetch(s, path, accept=None, encoding=None, method="GET", **headers):
    h = {k.replace("_", "-"): v for k, v in headers.items()}
    if accept is not None:
        h["Accept"] = accept
    if encoding is not None:
        h["Accept-Encoding"] = encoding
    return s.get("/v1/endpoints/" + path, headers=h, method=method)


def test_envelope(server):
    r = fetch(server, "t?limit=2")
    assert list(r.json) == ["data", "meta"]
    assert list(r.meta) == ["request_id", "endpoint", "version", "snapshot_id", "generated_at", "row_count", "serving_mode", "cache", "freshness", "page"]
    assert list(r.meta["freshness"]) == ["watermark", "age_seconds", "max_staleness_minutes", "stale"]
    assert r.meta["freshness"]["max_staleness_minutes"] is None and r.meta["freshness"]["stale"] is False
    assert r.meta["freshness"]["watermark"] == "2026-11-01T00:00:00Z" and r.meta["freshness"]["age_seconds"] > 0
    assert (r.meta["endpoint"], r.meta["version"], r.meta["snapshot_id"], r.meta["row_count"], r.meta["serving_mode"], r.meta["cache"]) == ("t", 1, "s:1", 2, "local_table", "off")
    assert r.headers["content-type"] == "application/json" and r.meta["request_id"] == r.headers["x-request-id"]


def test_json_values(server):
    rows = fetch(server, "t?limit=100").rows
    assert [x["txt"] for x in rows] == TEXTS
    assert rows[1]["doc"] == {"a": [1, 2.5, None], "é": "A"} and rows[0]["doc"] is None
    assert rows[0]["day"] == "2026-06-01" and rows[1]["at"] == "2026-06-01T12:00:01.500000" and rows[1]["ok"] is True
    body = fetch(server, "t?limit=100").body
    assert "\u2028\u2029".encode() in body and not any(b < 32 for b in body)


def test_numbers(server):
    text = fetch(server, "n").body.decode()
    for value, want in DOUBLES.items():
        assert f'"x":{want}}}' in text, (value, want)
    rows = json.loads(text)["data"]
    assert [r["x"] for r in rows[-3:]] == [None, None, None] and rows[0]["big"] == 2**63 - 1 and rows[-2]["big"] == -2**63
    r = fetch(server, "ns").rows[0]
    assert (r["big"], r["small"]) == (str(2**63 - 1), 1)
    sums = {r["g"]: r for r in fetch(server, "sum").rows}
    assert sums["a"]["total"] == len(DOUBLES) * (2**63 - 1) and sums["b"]["total"] == -2**64 and sums["c"]["total"] is None
    assert (sums["c"]["n"], sums["c"]["mean"], sums["b"]["mean"]) == (0, None, 2) and sums["b"]["xs"] is None
    strings = {r["g"]: r for r in fetch(server, "sums").rows}
    assert (strings["a"]["total"], strings["a"]["little"], strings["a"]["most"], strings["a"]["n"]) == (str(len(DOUBLES) * (2**63 - 1)), str(len(DOUBLES)), str(2**63 - 1), len(DOUBLES))
    assert fetch(server, "nobody?g=x").rows == []


def test_ndjson_and_csv_agree_with_json(server):
    want = fetch(server, "t?limit=100")
    lines = fetch(server, "t?limit=100", "application/x-ndjson")
    assert [json.loads(x) for x in lines.body.split(b"\n")[:-1]] == want.rows and lines.body.endswith(b"\n")
    table = fetch(server, "t?limit=100", "text/csv")
    rows = list(csv.reader(io.StringIO(table.body.decode(), newline="")))
    assert rows[0] == ["id", "txt", "doc", "day", "at", "ok"] and len(rows) == len(TEXTS) + 1
    for got, w in zip(rows[1:], want.rows):
        assert got[1] == (w["txt"] or "") and got[3] == w["day"] and got[4] == w["at"] and got[5] == str(w["ok"]).lower()
        assert got[2] == "" if w["doc"] is None else json.loads(got[2]) == w["doc"]
    assert b'\r\n0,"",,' in table.body and b"\r\n13,,{" not in table.body and b"\r\n13,," in table.body  # empty text, NULL
    assert table.headers["content-type"].startswith("text/csv") and lines.headers["content-type"] == "application/x-ndjson"
    numbers = list(csv.reader(io.StringIO(fetch(server, "n", "text/csv").body.decode())))
    assert [x[3] for x in numbers[-3:]] == ["", "", ""] and numbers[1][1] == str(2**63 - 1)
    assert fetch(server, "ns", "text/csv").body == fetch(server, "n", "text/csv").body  # text has no precision to lose
    for r in (lines, table):
        assert (r.headers["x-snapshot-id"], r.headers["x-row-count"], r.headers["x-watermark"], r.headers["x-cache"], r.headers["x-has-more"]) == (
            "s:1", str(len(TEXTS)), "2026-11-01T00:00:00Z", "off", "false")
        assert "x-next-cursor" not in r.headers and "x-total" not in r.headers
    more = fetch(server, "t?limit=3", "text/csv", Prefer="count=exact")
    assert more.headers["x-has-more"] == "true" and more.headers["x-total"] == str(len(TEXTS))
    on = fetch(server, "t?cursor=" + more.headers["x-next-cursor"], "application/x-ndjson")
    assert [json.loads(x)["id"] for x in on.body.splitlines()] == [3, 4, 5]
    assert fetch(server, "nobody?g=x", "text/csv").body == b"g,n\r\n" and fetch(server, "nobody?g=x", "application/x-ndjson").body == b""


def test_accept(server):
    j, n, c = "application/json", "application/x-ndjson", "text/csv"
    table = [(None, j), ("", j), ("*/*", j), ("application/*", j), ("text/*", c), (c, c), (n, n), ("TEXT/CSV", c), (f"{c};charset=utf-8", c), (f"{j}, {c}", j), (f"{c}, {j}", j),
             (f"{j};q=0.5, {c}", c), (f"{j};q=0.5, {c};q=0.501", c), (f"*/*;q=1, {c};q=0.9", j), (f"*/*, {c}", c), (f"{j};q=0, */*", n), (f"{j};q=0, application/*", n),
             (f"application/*;q=0, */*", c), (f"text/html, {n};q=0.1", n), (f" {c} ; q=1 ", c), (f"text/*, {j}", j), (f"text/html,application/xhtml+xml,*/*;q=0.8", j),
             (f"{n};q=1.000, {c};q=0.999", n), (f"{j};q=0.0,{n};q=0.001", n)]
    for accept, want in table:
        r = fetch(server, "t?limit=1", accept)
        assert r.status == 200 and r.headers["content-type"].split(";")[0] == want, (accept, r.status, r.headers.get("content-type"))
    for accept in ("text/html", "image/png, text/plain", f"{j};q=0", "*/*;q=0", "application/xml;q=1, text/csv;q=0", "json", "application"):
        r = fetch(server, "t?limit=1&zzz=1", accept)  # before params
        assert (r.status, r.json["error"]["family"], r.headers["content-type"]) == (406, "bad_request", "application/json"), accept
    assert fetch(server, "nothere", "text/html").status == 404


def test_codings(server):
    plain = fetch(server, "t?limit=100")
    assert "content-encoding" not in plain.headers and len(plain.body) > 1024
    table = [("gzip", "gzip"), ("br", "br"), ("zstd", "zstd"), ("gzip, br, zstd", "br"), ("gzip, zstd", "zstd"), ("gzip;q=1, br;q=0.5", "gzip"), ("*", "br"), ("*, br;q=0", "zstd"),
             ("identity", None), ("", None), ("deflate", None), ("gzip;q=0", None), ("identity;q=1, gzip;q=0.5", None), ("identity;q=0.5, gzip", "gzip"), ("x-gzip", "gzip"), ("GZIP", "gzip"),
             ("br;q=0, gzip;q=0, zstd;q=0", None), ("gzip; q=0.001", "gzip")]
    for path in ("t?limit=100", "tc?limit=100", "tc?limit=100"):
        for form in ("application/json", "application/x-ndjson", "text/csv"):
            for encoding, want in table:
                r = fetch(server, path, form, encoding)
                assert r.headers.get("content-encoding") == want, (path, form, encoding)
                assert int(r.headers["content-length"]) == len(r.body)
                body = unpack(want, r.body) if want else r.body
                if form == "application/json":
                    assert json.loads(body)["data"] == plain.rows
                else:
                    assert body == fetch(server, "t?limit=100", form).body
    for encoding in ("gzip", "br", "zstd"):  # 1 KiB and less stays as it is
        small = fetch(server, "t?id=0", None, encoding)
        assert "content-encoding" not in small.headers and small.rows[0]["id"] == 0


def test_head_has_the_headers_and_no_body(server):
    for path, accept in (("t?limit=2", None), ("t?limit=2", "text/csv"), ("tc?limit=100", None), ("nothere", None), ("t?zzz=1", None)):
        a, b = fetch(server, path, accept), fetch(server, path, accept, method="HEAD")
        assert b.body == b"" and a.status == b.status
        changing = {"x-request-id", "date", "server-timing", "x-cache", "content-length"}
        assert {k: v for k, v in a.headers.items() if k not in changing} == {k: v for k, v in b.headers.items() if k not in changing}
        assert abs(int(b.headers["content-length"]) - len(a.body)) < 16  # age_seconds and the like differ in digits


def test_headers_of_every_answer(server):
    for path, method, status in (("/healthz", "GET", 200), ("/v1/endpoints/t", "GET", 200), ("/v1/endpoints/t?zzz", "GET", 422), ("/v1/endpoints/x", "GET", 404), ("/x", "GET", 404),
                                 ("/v1/endpoints/t", "PUT", 405), ("/v1/endpoints/t", "OPTIONS", 204), ("/healthz", "HEAD", 200), ("/", "BREW", 405), ("/x%zz", "GET", 400)):
        r = server.get(path, method=method, headers={"X-Request-Id": "my-own-id.1"})
        assert r.status == status, (path, method, r.status)
        assert r.headers["x-request-id"] == "my-own-id.1" and r.headers["x-content-type-options"] == "nosniff" and r.headers["x-release"] == "r-42"
        assert r.headers["vary"] == "Accept, Accept-Encoding, Prefer" and "access-control-allow-origin" not in r.headers
        assert "date" in r.headers and (status < 400 or r.headers["cache-control"] == "no-store")
        if status >= 400 and method != "HEAD":
            assert list(r.json) == ["error", "meta"] and list(r.json["error"]) == ["family", "message"] and r.json["meta"] == {"request_id": "my-own-id.1"}
        if status == 405:
            assert r.headers["allow"] == "GET, HEAD, OPTIONS" and r.json["error"]["family"] == "bad_request"
    assert server.get("/healthz").json == {"status": "ok"}


def test_request_ids(server):
    for sent in ("abcdefgh", "A" * 128, "0.-_1234"):
        assert fetch(server, "t", X_Request_Id=sent).headers["x-request-id"] == sent
    seen = set()
    for sent in ("short", "A" * 129, "with space", "a/b/c/d/e", "", "ümlaut-id".encode().decode("latin-1"), None):
        got = fetch(server, "t", **({"X_Request_Id": sent} if sent is not None else {})).headers["x-request-id"]
        assert got != sent and len(got) >= 8 and got not in seen
        seen.add(got)


def test_trace_and_timing(server):
    trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    for sent, back in ((f"00-{trace}-{span}-01", f"00-{trace}-{span}-01"), (f"00-{trace}-{span}-00", f"00-{trace}-{span}-00"), (f"cc-{trace}-{span}-01-later", f"cc-{trace}-{span}-01"),
                       (f"00-{trace}-{span}-01-x", None), (f"ff-{trace}-{span}-01", None), (f"00-{'0' * 32}-{span}-01", None), (f"00-{trace}-{'0' * 16}-01", None),
                       (f"00-{trace.upper()}-{span}-01", None), ("x", None), ("", None), (f"00-{trace}-{span}", None), (f"cc-{trace}-{span}-01later", None)):
        r = fetch(server, "t?limit=1", traceparent=sent)
        assert r.status == 200 and r.headers.get("traceresponse") == back, sent
    assert server.get("/healthz", headers={"traceparent": f"00-{trace}-{span}-01"}).headers["traceresponse"] == f"00-{trace}-{span}-01"
    for r in (fetch(server, "t?limit=1"), server.get("/healthz")):
        timing = r.headers["server-timing"]
        assert [part.split(";dur=")[0] for part in timing.split(", ")] == ["auth", "queue", "query", "encode"]
        assert all(float(part.split(";dur=")[1]) >= 0 for part in timing.split(", "))
    assert "server-timing" not in fetch(server, "t?zzz=1").headers


def test_repeated_headers(server):
    from wire import Wire, get
    with Wire(server.api_port) as wire:
        two, prefer = wire.ask([get("/v1/endpoints/t?limit=1", "Accept: text/html", "Accept: text/csv"), get("/v1/endpoints/t?limit=1", "Prefer: x", "Prefer: count=exact")])
        assert two.header("content-type").startswith("text/csv") and b'"total":14' in prefer.body
        ids = wire.ask([get("/healthz", "X-Request-Id: first-one", "X-Request-Id: second-one")])[0].header("x-request-id")
        assert ids not in ("first-one", "second-one")
