# SPDX-License-Identifier: Apache-2.0
"""What is measured once a run: latency at fixed rates, a swap under load, memory, restart, keys, overload."""
import os
import shutil
import socket
import subprocess
import threading
import time

import report
import trial
from load import checked
from peers import Offloader

IDLE_CONNECTIONS = 1000
SECONDS = 4


def add(bench, what, value, limit, unit, digits=1):
    text = f"{value:.{digits}f} {unit}"
    limit_text = f"{limit:g} {unit}" if limit is not None else ""
    verdict = report.verdict(value, limit) if limit is not None else "recorded"
    bench.also.append({"what": what, "value": value, "text": text, "limit_text": limit_text, "verdict": verdict})
    print(f"{what}: {text} {verdict}", flush=True)


def open_loop(bench, peer, targets, work, rate, seconds=SECONDS):
    r = bench.client.run(peer, targets, seconds, connections=64, rate=round(rate))
    r.update(server=peer.name, work=work, rate=round(rate))
    bench.latency.append(r)
    print(f"{peer.name} {work} at {rate:.0f}/s: p99 {r['latency_us']['p99']:.0f} us", flush=True)
    return r


def latencies(bench):
    peak = checked(bench.client.run(bench.ours, bench.sums, 2), "peak")["requests"] / 2
    for rate in (1000, 4000):
        open_loop(bench, bench.ours, bench.sums, "miss", rate)
        open_loop(bench, bench.nginx, bench.file_targets["miss"], "file", rate)
        open_loop(bench, bench.node_pg, bench.node_sums["node_pg"], "miss", rate)
    open_loop(bench, bench.node_duckdb, bench.node_sums["node_duckdb"], "miss", 100)
    quiet = open_loop(bench, bench.ours, bench.sums, "miss, half the peak", peak / 2)
    open_loop(bench, bench.nginx, bench.file_targets["miss"], "file, the same rate", peak / 2)
    add(bench, "p99 at half the peak rate, miss", quiet["latency_us"]["p99"], 1000, "µs", 0)
    add(bench, "p99.9 at half the peak rate, miss", quiet["latency_us"]["p99.9"], 2000, "µs", 0)
    for n in (1, 4, 16, 64):
        r = checked(bench.client.run(bench.ours, bench.sums, 1, connections=n), "connections")
        add(bench, f"miss, {n} connections", r["cpu_us"], None, "µs CPU a request", 2)


def force_refresh(server):
    status, body = server.admin("/datasets/usage/refresh", "POST", '{}')
    if status != 200:
        raise SystemExit(f"bench: the refresh answered {status}: {body}")


def swap(bench):
    """A forced refresh under load; the ingest may use both CPUs, as it would in production."""
    server = Offloader(bench.work, bench.binary, bench.trial_dir, "swapping", "0,1")
    shutil.rmtree(os.path.join(bench.work, "cache-swapping"), ignore_errors=True)
    server.start()
    bench.peers.append(server)
    force_refresh(server)
    seconds = server.dataset("usage")["last_attempted"]["duration_ms"] / 1000
    add(bench, "refresh of 3M rows / DuckDB's CREATE TABLE … ORDER BY", seconds / bench.duck_seconds, 1.5, "×", 2)
    add(bench, "refresh of 3M rows", seconds, None, "s", 2)
    quiet = bench.client.run(server, bench.sums, 6, connections=64, rate=10000)
    refresher = threading.Thread(target=lambda: (time.sleep(0.5), force_refresh(server)))
    refresher.start()
    during = open_loop(bench, server, bench.sums, "miss, during a swap", 10000, 6)
    refresher.join()
    errors = during["failed"] + during["wrong_status"] + during["wrong_body"] + during["unanswered"]
    add(bench, "errors during a swap at 10,000 requests/s", errors, 0, "errors", 0)
    add(bench, "p99 during a swap / quiet", during["latency_us"]["p99"] / quiet["latency_us"]["p99"], 1.5, "×", 2)
    server.stop()
    server.start()
    add(bench, "warm restart to /ready", server.ready_ms, 300, "ms", 0)
    time.sleep(1)
    add_memory(bench, server)
    server.stop()


def add_memory(bench, server):
    empty_dir = os.path.join(bench.work, "empty")
    trial.project(empty_dir, [], [])
    for name in ("datasets", "endpoints"):
        os.makedirs(os.path.join(empty_dir, name), exist_ok=True)
    trial.write(os.path.join(empty_dir, "offloader.yml"),
                "version: 1\ndatasets_dir: datasets\nendpoints_dir: endpoints\nauth: none\n")
    empty = Offloader(bench.work, bench.binary, empty_dir, "empty", key=None)
    empty.start()
    before = empty.rss_kib()
    add(bench, "resident memory idle, above an empty server", (server.rss_kib() - before) / 1024, 120, "MiB")
    open_connections = []
    for _ in range(IDLE_CONNECTIONS):
        s = socket.create_connection(("127.0.0.1", empty.port))
        s.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        s.recv(4096)
        open_connections.append(s)
    add(bench, "per idle connection", (empty.rss_kib() - before) / IDLE_CONNECTIONS, 4, "KiB", 2)
    for s in open_connections:
        s.close()
    empty.stop()


def sizes(bench):
    store, rows = bench.ours.store_bytes("usage"), trial.ROWS
    duck, parquet = os.path.getsize(bench.duck_file), os.path.getsize(bench.parquet)
    add(bench, "size on disk / DuckDB's file", store / duck, 1.5, "×", 2)
    for what, n in (("the serving store", store), ("DuckDB's file", duck), ("the Parquet input", parquet)):
        add(bench, f"bytes a row, {what}", n / rows, None, "B", 2)


def keys(bench):
    """The same hit with 1, 10,000 and 200,000 keys, interleaved."""
    servers = []
    for n in (1, 10000, 200000):
        directory = os.path.join(bench.work, f"keys-{n}")
        if not os.path.exists(directory):
            shutil.copytree(os.path.join(bench.trial_dir, "data"), os.path.join(directory, "data"))
        trial.project(directory, ["document", "document_cached"], ["documents"], n)
        servers.append(Offloader(bench.work, bench.binary, directory, f"keys-{n}").start())
        bench.peers.append(servers[-1])
    targets = [("/v1/endpoints/document_cached?id=3&columns=id", b'{"data":[{"id":3}]')]
    rounds = [[checked(bench.client.run(s, targets, 0.5), "keys")["cpu_us"] for s in servers] for _ in range(9)]
    for i, n in ((1, "10,000"), (2, "200,000")):
        middle, _, _ = report.interval([r[i] / r[0] for r in rounds])
        add(bench, f"hit with {n} keys / with 1", middle, 1.1, "×", 3)
    for s in servers:
        s.stop()


def overload(bench):
    targets = bench.targets_of(["/v1/endpoints/all_groups"])
    peak = checked(bench.client.run(bench.ours, targets, 3, connections=4), "overload")["requests"] / 3
    r = bench.client.run(bench.ours, targets, 5, connections=256, rate=max(1, round(peak * 5)))
    good = (r["requests"] - r["wrong_status"] - r["wrong_body"]) / r["seconds"]
    text = f"{good / peak:.0%} of the peak of {peak:.0f}/s"
    bench.also.append({"what": "goodput at 5× overload, scans of all rows", "value": good / peak, "text": text,
                       "limit_text": "at least 90 %", "verdict": "met" if good >= 0.9 * peak else "missed"})
    print(f"overload: {text}", flush=True)


def measure(bench):
    swap(bench)
    sizes(bench)
    latencies(bench)
    overload(bench)
    keys(bench)
    subprocess.run(["sync"], check=False)
