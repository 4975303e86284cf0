# SPDX-License-Identifier: Apache-2.0
"""The examples served: rows, tenants, paging, forms, caching, errors."""
import csv
import gzip
import io
import json
import os
import re
import subprocess

from conftest import BIN, ROOT

DATA = os.path.join(ROOT, "examples/customer-analytics/data/usage/usage.csv")


def usage_rows(tenant):
    with open(DATA, newline="") as f:
        return [r for r in csv.DictReader(f) if r["tenant_id"] == tenant]


def test_a_grouped_answer_is_what_the_file_says(serve, example):
    s = serve(example("customer-analytics"))
    r = s.get("/v1/endpoints/usage_summary?from=2026-08-10&to=2026-09-01&product=api", "demo-acme-key")
    assert r.status == 200
    want = {}
    for row in usage_rows("t_acme"):
        if "2026-08-10" <= row["day"] <= "2026-09-01" and row["product"] == "api":
            want[row["account_id"]] = want.get(row["account_id"], 0) + int(row["calls"])
    expected = sorted(want.items(), key=lambda kv: (-kv[1], kv[0]))
    assert [(x["account_id"], x["calls_total"]) for x in r.rows] == expected
    assert r.meta["cache"] == "miss" and r.meta["snapshot_id"] == "2026-11-01_r1"
    again = s.get("/v1/endpoints/usage_summary?to=2026-09-01&product=api&from=2026-08-10", "demo-acme-key")
    assert again.meta["cache"] == "hit" and again.rows == r.rows


def test_a_key_sees_its_tenant_only(serve, example):
    s = serve(example("customer-analytics"))
    q = "/v1/endpoints/usage_summary?from=2026-01-01&to=2026-12-31"
    acme, globex = s.get(q, "demo-acme-key").rows, s.get(q, "demo-globex-key").rows
    assert acme and all(x["account_id"].startswith("acct_acme_") for x in acme)
    assert globex and all(x["account_id"].startswith("acct_globex_") for x in globex)


def test_out_of_scope_and_unknown_are_the_same_bytes(serve, example):
    s = serve(example("customer-analytics"))
    headers = {"X-Request-Id": "same-request-id"}
    a = s.get("/v1/endpoints/open_invoices", "demo-globex-key", headers)
    b = s.get("/v1/endpoints/no_such_endpoint", "demo-globex-key", headers)
    assert a.status == b.status == 404 and a.body == b.body
    assert {k: v for k, v in a.headers.items() if k != "date"} == {k: v for k, v in b.headers.items() if k != "date"}
    assert s.get("/v1/endpoints/usage_summary", "wrong").status == 401


def test_cursors_walk_every_row_once(serve, example):
    s = serve(example("customer-analytics"))
    base = "/v1/endpoints/usage_daily?account_id=acct_acme_03"
    want = s.get(base + "&limit=500", "demo-acme-key").rows
    seen, r = [], s.get(base + "&limit=7", "demo-acme-key")
    while True:
        assert r.status == 200, r.body
        assert r.meta["page"]["offset"] == len(seen)
        seen += r.rows
        if not r.meta["page"]["has_more"]:
            break
        r = s.get("/v1/endpoints/usage_daily?cursor=" + r.meta["page"]["next_cursor"], "demo-acme-key")
    assert seen == want and len(seen) == 270
    cursor = s.get(base + "&limit=7", "demo-acme-key").meta["page"]["next_cursor"]
    forged = cursor[:-2] + ("AA" if cursor[-2:] != "AA" else "BB")
    assert s.get("/v1/endpoints/usage_daily?cursor=" + forged, "demo-acme-key").status == 422
    assert s.get(base + "&offset=1&cursor=" + cursor, "demo-acme-key").status == 422


def test_exact_totals(serve, example):
    s = serve(example("customer-analytics"))
    r = s.get("/v1/endpoints/usage_daily?account_id=acct_acme_03&limit=2", "demo-acme-key", {"Prefer": "count=exact"})
    assert r.meta["page"]["total"] == 270


def test_forms_and_codings(serve, example):
    s = serve(example("customer-analytics"))
    q, key = "/v1/endpoints/usage_daily?account_id=acct_acme_03&limit=200", "demo-acme-key"
    plain = s.get(q, key)
    packed = s.get(q, key, {"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip" and len(packed.body) < len(plain.body)
    assert json.loads(gzip.decompress(packed.body))["data"] == plain.rows
    for coding, program in (("zstd", ["zstd", "-dcq"]), ("br", ["brotli", "-dc"])):
        r = s.get(q, key, {"Accept-Encoding": coding})
        assert r.headers["content-encoding"] == coding
        out = subprocess.run(program, input=r.body, capture_output=True, check=True).stdout
        assert json.loads(out)["data"] == plain.rows
    lines = s.get(q, key, {"Accept": "application/x-ndjson"})
    assert [json.loads(x) for x in lines.body.splitlines()] == plain.rows
    table = list(csv.reader(io.StringIO(s.get(q, key, {"Accept": "text/csv"}).body.decode())))
    assert table[0] == ["day", "product", "calls", "errors", "cost"] and len(table) == 201
    assert s.get(q, key, {"Accept": "image/png"}).status == 406


def test_public_answers_have_tags(serve, example):
    s = serve(example("public-metrics"))
    r = s.get("/v1/endpoints/champion?champion_id=7")
    assert r.rows[0]["stats"]["lanes"] == {"top": 0, "mid": 2} and r.rows[0]["stats"]["tags"] == ["tag_3", "all"]
    tag = r.headers["etag"]
    assert tag.startswith('W/"')
    again = s.get("/v1/endpoints/champion?champion_id=7", headers={"If-None-Match": tag})
    assert again.status == 304 and again.body == b""
    assert s.get("/v1/endpoints/champion?champion_id=8", headers={"If-None-Match": tag}).status == 200


def test_wrong_params_are_named_and_never_echoed(serve, example):
    s = serve(example("customer-analytics"))
    base = "/v1/endpoints/usage_summary"
    for query, names in (("", "from"), ("?from=junk&to=2026-09-01", "from"), ("?from=2026-08-04&to=2026-09-01&x=SECRET", "x"),
                         ("?from=2026-08-04&to=2026-09-01&limit=0", "limit"), ("?from=2026-08-04&to=2026-09-01&product=SECRET", "product")):
        r = s.get(base + query, "demo-acme-key")
        assert r.status == 422 and names in r.json["error"]["message"], query
        assert b"SECRET" not in r.body and b"junk" not in r.body


def test_framing(serve, example):
    s = serve(example("public-metrics"))
    canary = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    vectors = [b"GET / HTTP/1.1\nHost: x\n\n", b"GET /healthz HTTP/1.1\r\n\r\n", b"GET /healthz HTTP/2.0\r\nHost: x\r\n\r\n",
               b"GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", b"GET /healthz HTTP/1.1\r\nHost : x\r\n\r\n",
               b"GET /healthz HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", b"GET  /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
               b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 000\r\n\r\n",
               b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
               b"GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
               b"\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /healthz HTTP/1.1\r\nHost:\r\n\r\n",
               b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n", b"GET /h\x80 HTTP/1.1\r\nHost: x\r\n\r\n",
               b"GET /healthz HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n"]
    for vector in vectors:
        out = s.raw(vector + canary)
        assert out.startswith(b"HTTP/1.1 4"), (vector, out[:60])
        assert len(re.findall(rb"(?:^|\n)HTTP/1\.1 \d\d\d ", out)) == 1, vector
    piped = s.raw(canary * 5)
    assert piped.count(b"HTTP/1.1 200 OK") == 5


def test_validate_tells_everything(tmp_path, example):
    p = example("customer-analytics")
    path = p / "endpoints/usage_daily.yml"
    path.write_text(path.read_text().replace("op: gte", "op: like").replace("version: 1", "version: 0"))
    r = subprocess.run([BIN, "validate", "--config", p / "offloader.yml"], capture_output=True, text=True)
    assert r.returncode == 1
    assert "endpoints/usage_daily.yml:2:10: version: invalid_value" in r.stdout
    assert "query.filters[1].op: invalid_value" in r.stdout
    assert subprocess.run([BIN, "validate", "--config", os.path.join(ROOT, "examples/public-metrics")]).returncode == 0


def test_a_token_never_reaches_the_log(serve, example):
    s = serve(example("customer-analytics"), OFFLOADER_ACCESS_LOG="on", OFFLOADER_LOG_LEVEL="debug")
    s.get("/v1/endpoints/usage_summary?from=2026-08-04&to=2026-09-01", "demo-acme-key")
    s.get("/v1/endpoints/usage_summary", "a-mistaken-secret-token")
    s.stop()
    assert "demo-acme-key" not in s.log() and "a-mistaken-secret-token" not in s.log()
