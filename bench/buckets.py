# SPDX-License-Identifier: Apache-2.0
"""A large snapshot from a store, and a selective remote_scan, with what each costs.

    OFFLOADER_BIN=build/offloader /usr/bin/python3 bench/buckets.py [--mb 1000] [--scan-mb 100] [--out FILE]

nginx serves the objects on loopback. The download is timed beside `curl` on the same object, in turns; resident
memory of the serving process and of its children is sampled the whole time. Bytes and requests of the scan are
nginx's own count.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))
import parquet  # noqa: E402
from bucket_world import endpoint, manifest, sourced, write_tree  # noqa: E402
from conftest import ADMIN_TOKEN, Server, free_port, wait_for  # noqa: E402

BIG = (("id", "VARCHAR"), ("n", "BIGINT"), ("x", "DOUBLE"), ("day", "DATE"))
SCAN = (("account", "VARCHAR"), ("day", "DATE"), ("calls", "BIGINT"), ("gb", "DOUBLE"), ("note", "VARCHAR"))
ROUNDS = 3


class Nginx:
    def __init__(self, directory):
        self.directory, self.port = directory, free_port()
        (directory / "www").mkdir()
        temporary = "".join(f"{k}_temp_path {directory}/t-{k}; " for k in
                            ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (directory / "nginx.conf").write_text(
            f"worker_processes 1; daemon off; pid {directory}/pid; error_log {directory}/error.log;\n"
            "events { worker_connections 512; }\n"
            f"http {{ {temporary} sendfile on; log_format b '$body_bytes_sent $http_range'; "
            f"access_log {directory}/access.log b; "
            f"server {{ listen 127.0.0.1:{self.port}; root {directory}/www; }} }}\n")
        (directory / "access.log").write_text("")
        self.process = subprocess.Popen(["nginx", "-c", str(directory / "nginx.conf")])
        wait_for(lambda: (directory / "pid").exists(), "nginx")

    def url(self, name):
        return f"http://127.0.0.1:{self.port}/{name}"

    def served(self):
        """Requests and bytes so far."""
        lines = (self.directory / "access.log").read_text().splitlines()
        return len(lines), sum(int(line.split()[0]) for line in lines)

    def close(self):
        self.process.terminate()
        self.process.wait(10)


def status_kib(pid, key):
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            return int(re.search(rf"{key}:\s+(\d+)", f.read()).group(1))
    except (OSError, AttributeError):
        return 0


def children_of(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
            here = [int(p) for p in f.read().split()]
    except OSError:
        return []
    threads = [int(t) for t in os.listdir(f"/proc/{pid}/task")] if os.path.exists(f"/proc/{pid}/task") else []
    for t in threads:
        try:
            with open(f"/proc/{pid}/task/{t}/children", encoding="ascii") as f:
                here += [int(p) for p in f.read().split()]
        except OSError:
            pass
    return sorted(set(here))


class Watch:
    """Largest resident memory of the server and of one child, and when which phase was seen, by sampling."""

    def __init__(self, server):
        self.server, self.stop = server, threading.Event()
        self.serving = self.child = 0
        self.phases = {}
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stop.wait(0.02):
            pid = self.server.process.pid
            self.serving = max(self.serving, status_kib(pid, "VmRSS"))
            for c in children_of(pid):
                self.child = max(self.child, status_kib(c, "VmRSS"))
            try:
                d = self.server.dataset("big")
            except (OSError, KeyError, StopIteration, ValueError):
                continue
            phase = (d["progress"] or {}).get("phase")
            if phase:
                first, _ = self.phases.get(phase, (time.monotonic(), 0))
                self.phases[phase] = (first, time.monotonic())

    def close(self):
        self.stop.set()
        self.thread.join()
        return self


def curl_seconds(url, target):
    started = time.monotonic()
    subprocess.run(["curl", "-sf", "-o", target, url], check=True)
    return time.monotonic() - started


def one_download(nginx, work, n, rows, size):
    project = sourced("data/big.json", "big", BIG) | {
        "data/big.json": manifest("big", "r1", [{"path": nginx.url("big.parquet"), "format": "parquet"}], rows, BIG)}
    path = write_tree(work / f"project{n}", project)
    server = Server(path, work / f"cache{n}", {"OFFLOADER_ALLOW_LOOPBACK": "1"})
    started = time.monotonic()
    server.start(ready=False)
    watch = Watch(server)
    wait_for(lambda: server.admin("/ready").status == 200, "the snapshot", 600)
    whole = time.monotonic() - started
    watch.close()
    first, last = watch.phases["downloading"]
    store = server.dataset("big")["active_snapshot"]["bytes"]
    server.stop()
    shutil.rmtree(work / f"cache{n}")
    return {"download_s": last - first, "download_mb_s": size / 1e6 / (last - first), "ready_s": whole,
            "serving_rss_mib": watch.serving / 1024, "child_rss_mib": watch.child / 1024, "store_bytes": store}


def download(nginx, work, mb):
    rows = mb * 11700
    parquet.write(str(work / "www" / "big.parquet"),
                  "SELECT md5(i::VARCHAR)||md5((i*7)::VARCHAR) AS id, (hash(i)%1000000)::BIGINT AS n, "
                  f"(hash(i*3)%100000)/7.0 AS x, DATE '2026-01-01' + (i%365)::INTEGER AS day FROM range({rows}) t(i)",
                  ", COMPRESSION uncompressed")
    size = os.path.getsize(work / "www" / "big.parquet")
    ours, curls = [], []
    for n in range(ROUNDS):
        curls.append(size / 1e6 / curl_seconds(nginx.url("big.parquet"), str(work / "curl.out")))
        ours.append(one_download(nginx, work, n, rows, size))
    median = {k: statistics.median(o[k] for o in ours) for k in ours[0]}
    return {"bytes": size, "rows": rows, "rounds": ROUNDS, "curl_mb_s": statistics.median(curls), **median,
            "worst_serving_rss_mib": max(o["serving_rss_mib"] for o in ours),
            "worst_child_rss_mib": max(o["child_rss_mib"] for o in ours)}


def scan(nginx, work, mb):
    rows = mb * 42000
    parquet.write(str(work / "www" / "scan.parquet"),
                  "SELECT lpad((i//30)::VARCHAR,8,'0') AS account, DATE '2026-01-01' + (i%30)::INTEGER AS day, "
                  "(hash(i)%1000000)::BIGINT AS calls, (hash(i*3)%100000)/7.0 AS gb, md5(i::VARCHAR) AS note "
                  f"FROM range({rows}) t(i)", ", COMPRESSION zstd, ROW_GROUP_SIZE 122880")
    size = os.path.getsize(work / "www" / "scan.parquet")
    project = sourced("data/s.json", "s", SCAN, "remote_scan") | {
        "data/s.json": manifest("s", "r1", [{"path": nginx.url("scan.parquet"), "format": "parquet"}], rows, SCAN)}
    narrow = json.loads(endpoint("s", "s", SCAN[:3], "remote_scan"))
    project["endpoints/s.yml"] = json.dumps(narrow)
    server = Server(write_tree(work / "scan", project), work / "scan-cache", {"OFFLOADER_ALLOW_LOOPBACK": "1"})
    server.start()
    steps, (requests, sent) = {"file_bytes": size}, nginx.served()
    steps["boot"] = {"requests": requests, "bytes": sent}
    for name, account in (("cold", rows // 60), ("warm", rows // 60), ("other_row_group", rows // 300)):
        started = time.monotonic()
        answer = server.get(f"/v1/endpoints/s?account={account:08}")
        elapsed = time.monotonic() - started
        assert answer.status == 200 and len(answer.rows) == 30, answer.body
        r, b = nginx.served()
        steps[name] = {"requests": r - requests, "bytes": b - sent, "share": (b - sent) / size, "ms": elapsed * 1e3}
        requests, sent = r, b
    server.stop()
    return steps


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=1000)
    parser.add_argument("--scan-mb", type=int, default=100)
    parser.add_argument("--out")
    options = parser.parse_args()
    assert ADMIN_TOKEN
    with tempfile.TemporaryDirectory() as directory:
        work = pathlib.Path(directory)
        work.chmod(0o755)  # nginx's worker is another user
        nginx = Nginx(work)
        try:
            result = {"scan": scan(nginx, work, options.scan_mb)}
            (work / "access.log").write_text("")
            result["download"] = download(nginx, work, options.mb)
        finally:
            nginx.close()
    text = json.dumps(result, indent=1)
    print(text)
    if options.out:
        with open(options.out, "w", encoding="utf-8") as f:
            f.write(text + "\n")


if __name__ == "__main__":
    main()
