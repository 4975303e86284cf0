# SPDX-License-Identifier: Apache-2.0
"""offloader bench against a running server."""
import json
import os
import subprocess

from conftest import BIN, ROOT

PROJECT = os.path.join(ROOT, "examples", "customer-analytics")
PARAMS = "from=2026-08-04&to=2026-08-31"


def bench(server, *flags, endpoint="usage_summary", token="demo-acme-key"):
    url = f"http://127.0.0.1:{server.api_port}"
    command = [BIN, "bench", "--url", url, "--key", token, "--connections", "2", "--seconds", "0.3", *flags]
    if endpoint:
        command += ["--endpoint", endpoint, "--params", PARAMS]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_closed_loop_counts_and_measures(serve):
    done = bench(serve(PROJECT), "--json")
    result = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert result["requests"] > 10 and result["failed"] == result["wrong_status"] == 0
    latency = result["latency_us"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"]


def test_open_loop_keeps_its_rate(serve):
    result = json.loads(bench(serve(PROJECT), "--json", "--rate", "100").stdout)
    assert result["requests"] + result["unanswered"] == 30


def test_text_tells_the_percentiles(serve):
    done = bench(serve(PROJECT))
    assert "requests in 0.3 s" in done.stdout and "p99.9" in done.stdout


def test_another_status_is_a_finding(serve):
    done = bench(serve(PROJECT), token="offl_nobody")
    assert done.returncode == 1 and "unexpected status: HTTP/1.1 401" in done.stdout


def test_bodies_are_compared(serve, tmp_path):
    server = serve(PROJECT)
    targets = tmp_path / "targets"
    path = f"/v1/endpoints/usage_summary?{PARAMS}"
    targets.write_text(f'{path}\t{{"data":[{{"account_id"\n')
    assert bench(server, "--targets", str(targets), endpoint=None).returncode == 0
    targets.write_text(f'{path}\t{{"data":[{{"other"\n')
    done = bench(server, "--targets", str(targets), endpoint=None)
    assert done.returncode == 1 and "unexpected body" in done.stdout


def test_nothing_listens_there(serve):
    server = serve(PROJECT)
    server.stop()
    done = bench(server)
    assert done.returncode == 1 and "cannot connect" in done.stderr


def test_flags_are_checked():
    for flags in (["--endpoint", "a", "--url", "https://x"], [], ["--endpoint", "a", "--connections", "0"],
                  ["--endpoint", "a", "--seconds", "x"], ["--endpoint", "a", "--rate", "0"]):
        done = subprocess.run([BIN, "bench", *flags], capture_output=True, text=True, check=False)
        assert done.returncode == 2 and "offloader bench:" in done.stderr, flags
