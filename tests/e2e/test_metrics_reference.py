# SPDX-License-Identifier: Apache-2.0
"""docs/reference/metrics.md is the program's own table of metrics, and /metrics exposes nothing else."""
import os
import re

from conftest import ROOT


def table():
    with open(os.path.join(ROOT, "src/metrics/metrics_table.h"), encoding="utf-8") as f:
        return re.findall(r'METRIC\(\w+,\s*"(\w+)",\s*METRIC_(\w+),\s*"([^"]+)"\)', f.read())


def documented():
    with open(os.path.join(ROOT, "docs/reference/metrics.md"), encoding="utf-8") as f:
        return re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \| ([^|]+) \|$", f.read(), re.M)


def test_every_metric_is_documented_as_it_is():
    rows = table()
    assert len(rows) > 40
    assert [(n, k.lower(), h) for n, k, h in rows] == [(n, k, h) for n, k, _, h in documented()]


def test_a_fresh_server_shows_every_counter_at_zero(serve, project):
    p = project()
    p.publish("r1", [("a", 1)])
    text = serve(p.path, OFFLOADER_CONFIG_SYNC_INTERVAL="600").admin("/metrics").body.decode()
    assert re.findall(r"^# TYPE (\S+) ", text, re.M) == [name for name, *_ in table()]
    for status in ("ok", "client_error", "not_ready", "server_error"):
        assert f'offloader_requests_total{{endpoint="kv",status="{status}"}} 0\n' in text
    assert 'offloader_cold_requests_total{endpoint="kv"} 0\n' in text
    assert 'offloader_object_store_requests_total{store="s3",code_class="5xx"} 0\n' in text
    assert 'offloader_request_duration_ms_count{endpoint="_unknown"} 0\n' in text


def test_labels_are_those_of_the_reference(serve, project):
    p = project()
    p.publish("r1", [("a", 1)])
    s = serve(p.path)
    s.get("/v1/endpoints/kv")
    want = {n: {x.strip() for x in labels.split(",") if x.strip()} for n, _, labels, _ in documented()}
    for line in s.admin("/metrics").body.decode().splitlines():
        sample = re.match(r"(\w+?)(_bucket|_sum|_count)?(?:\{(.*)\})? ", line)
        if line.startswith("#") or not sample:
            continue
        name = sample.group(1) if sample.group(1) in want else line.split("{")[0].split(" ")[0]
        assert name in want, line
        labels = set(re.findall(r'(\w+)="', sample.group(3) or "")) - {"le"}
        assert labels == want[name], (line, want[name])
