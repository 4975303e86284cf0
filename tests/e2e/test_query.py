# SPDX-License-Identifier: Apache-2.0
"""`offloader query` and `offloader explain`: what a server would answer, and how it would run."""
import glob
import json
import os
import subprocess

from conftest import BIN, ROOT

CUSTOMER = os.path.join(ROOT, "examples/customer-analytics")
PUBLIC = os.path.join(ROOT, "examples/public-metrics")
SUMMARY = "from=2026-08-04&to=2026-09-04"


def run(*arguments):
    return subprocess.run([BIN, *arguments], capture_output=True, text=True, timeout=60)


def test_query_answers_as_the_server_does(serve):
    s = serve(CUSTOMER)
    for form, accept in (("json", "application/json"), ("ndjson", "application/x-ndjson"), ("csv", "text/csv")):
        served = s.get(f"/v1/endpoints/usage_summary?{SUMMARY}", "demo-acme-key", {"Accept": accept})
        for engine in ("store", "duckdb"):
            local = run("query", "--config", CUSTOMER, "--endpoint", "usage_summary", "--tenant", "t_acme",
                        "--params", SUMMARY, "--format", form, "--engine", engine)
            assert local.returncode == 0, local.stderr
            if form == "json":
                document = json.loads(local.stdout)
                assert document["data"] == served.rows and document["meta"]["row_count"] == len(served.rows)
                assert document["meta"]["snapshot_id"] == served.meta["snapshot_id"]
            else:
                assert local.stdout.replace("\r\n", "\n") == served.body.decode().replace("\r\n", "\n")
    assert not glob.glob("/tmp/offloader-query-*/lock"), "a temporary cache directory stayed"


def test_explain_counts_what_it_touches():
    one = run("explain", "--json", "--config", CUSTOMER, "--endpoint", "usage_summary", "--tenant", "t_acme",
              "--params", SUMMARY)
    assert one.returncode == 0, one.stderr
    e = json.loads(one.stdout)
    assert e["executor"] == "store" and e["rows"] == 10530 and e["sort_columns"][0] == "tenant_id"
    assert e["prefix_columns"] == 2 and e["rows_in_range"] == e["rows_matched"] == 1248 and e["rows_returned"] == 13
    narrow = json.loads(run("explain", "--json", "--config", CUSTOMER, "--endpoint", "usage_summary", "--tenant",
                            "t_acme", "--params", "from=2026-08-04&to=2026-08-04").stdout)
    assert narrow["rows_in_range"] == 39
    text = run("explain", "--config", PUBLIC, "--endpoint", "champion", "--params", "champion_id=7")
    assert text.returncode == 0 and "serving store" in text.stdout and "sorted by  champion_id" in text.stdout


def test_wrong_requests_say_what_to_do(project):
    cases = (
        (("query", "--config", CUSTOMER), 2, "--endpoint"),
        (("query", "--config", CUSTOMER, "--endpoint", "nothing"), 1, "no endpoint `nothing`"),
        (("query", "--config", CUSTOMER, "--endpoint", "usage_summary", "--params", SUMMARY), 1, "--tenant"),
        (("query", "--config", PUBLIC, "--endpoint", "champion", "--tenant", "x"), 1, "has no tenant"),
        (("query", "--config", CUSTOMER, "--endpoint", "usage_summary", "--tenant", "t_acme", "--params",
          "from=SECRET&to=2026-09-04"), 1, "from"),
        (("query", "--config", PUBLIC, "--endpoint", "champion", "--format", "xml"), 2, "--format"),
        (("explain", "--config", PUBLIC, "--endpoint", "champion", "--engine", "x"), 2, "--engine"),
        (("explain", "--config", "/nowhere", "--endpoint", "x"), 1, "/nowhere"),
    )
    for arguments, status, says in cases:
        done = run(*arguments)
        assert done.returncode == status and says in done.stderr, (arguments, done)
        assert "SECRET" not in done.stderr
    p = project()
    p.publish("r1", [("a", "many")])
    refused = run("query", "--config", p.path, "--endpoint", "kv")
    assert refused.returncode == 1 and "cast_failed" in refused.stderr
    (p.path / "endpoints/kv.yml").write_text("name: [")
    for command in ("query", "explain"):
        refused = run(command, "--config", p.path, "--endpoint", "kv")
        assert refused.returncode == 1 and "yaml_error" in refused.stderr and refused.stdout == ""
