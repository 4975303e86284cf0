# SPDX-License-Identifier: Apache-2.0
"""R-10: caches with a bit flipped; warm restarts with 1 GiB of store files."""
import glob
import json
import math
import os
import shutil
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import parquet
from conftest import Server
from rows import again, count

FLIPS, FLIP_SHARDS = 6000, 3
RESTARTS, DATASETS, ROWS, STORE_BYTES = 200, 4, 5_000_000, 1 << 30
COLD_EVERY = 4  # so many restarts find the files gone from memory
TARGET_MS = 300
COLUMNS = (("id", "BIGINT"), ("a", "BIGINT"), ("b", "BIGINT"), ("x", "DOUBLE"), ("s", "VARCHAR"))
SELECT = (f"SELECT i AS id, CAST(hash(i + {{0}}) >> 1 AS BIGINT) AS a, CAST(hash(i * 3 + {{0}}) >> 1 AS BIGINT) AS b, "
          f"hash(i * 7 + {{0}}) / 3.0 AS x, md5(CAST(i + {{0}} AS VARCHAR)) AS s FROM range({ROWS}) t(i)")


def test_r10_flips():
    """The first shard starts at 0; from number 1,000 on every byte of each header has its turn."""
    n = count(FLIPS)
    edges = [n * i // FLIP_SHARDS for i in range(FLIP_SHARDS + 1)]
    with ThreadPoolExecutor(FLIP_SHARDS) as pool:
        list(pool.map(lambda i: again("test_cache.py", "r10", OFFLOADER_TEST_FLIPS=f"{edges[i]}:{edges[i + 1]}"), range(FLIP_SHARDS)))
    print(f"R-10: {n} flips in all")


def write_project(path):
    """Four public datasets of random rows, which hardly compress."""
    for d in ("datasets", "endpoints", "data"):
        (path / d).mkdir(parents=True)
    (path / "offloader.yml").write_text("version: 1\nauth: none\n")
    names = ", ".join(n for n, _ in COLUMNS)
    for i in range(DATASETS):
        data = path / f"data/d{i}.parquet"
        parquet.write(data, SELECT.format(i * ROWS))
        (path / f"data/d{i}.json").write_text(json.dumps({
            "dataset_id": f"d{i}", "snapshot_id": f"d{i}-1", "created_at": "2026-11-01T00:00:00Z", "watermark": "2026-11-01T00:00:00Z",
            "schema": [{"name": n, "type": t} for n, t in COLUMNS], "files": [{"path": data.name, "format": "parquet"}],
            "partition_columns": [], "sort_columns": ["id"], "row_count": ROWS, "size_bytes": data.stat().st_size, "producer": "tests",
            "upstream_run_id": "r1", "schema_version": 1, "data_quality_status": "passed", "compatibility_policy": "exact"}))
        (path / f"datasets/d{i}.yml").write_text(
            f"id: d{i}\nmanifest: data/d{i}.json\nschema:\n" + "".join(f"  - {{ name: {n}, type: {t} }}\n" for n, t in COLUMNS))
        (path / f"endpoints/d{i}.yml").write_text(
            f"name: d{i}\nversion: 1\ndataset: d{i}\nparams:\n  - {{ name: id, type: integer }}\nquery:\n  select:\n"
            + "".join(f"    - {{ as: {n}, column: {n} }}\n" for n, _ in COLUMNS)
            + f"  filters:\n    - {{ column: id, op: eq, param: id }}\ncolumns: [{names}]\n")


def is_ready(port):
    """One look, as cheap as it gets."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as c:
            c.sendall(b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return c.recv(4096).startswith(b"HTTP/1.1 200 ")
    except OSError:
        return False


def restart(s):
    """Milliseconds from the start of the process to the first 200 of /ready."""
    began = time.monotonic()
    s.launch()
    while not is_ready(s.admin_port):
        assert time.monotonic() < began + 60 and s.process.poll() is None, s.log()
        time.sleep(0.001)
    return (time.monotonic() - began) * 1000


def drop_from_memory(files):
    for path in files:
        fd = os.open(path, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def check_point_answers(s, n):
    for i in range(DATASETS):
        row = (n * 7919 + i) % ROWS
        answer = s.get(f"/v1/endpoints/d{i}?id={row}")
        assert answer.status == 200 and [r["id"] for r in answer.rows] == [row], answer.body


def figures(times):
    times = sorted(times)
    return f"{times[len(times) // 2]:.0f} ms (median), {times[math.ceil(len(times) * .99) - 1]:.0f} ms (p99), {times[-1]:.0f} ms (slowest)"


def test_r10_warm_restarts(tmp_path):
    p = tmp_path / "project"
    write_project(p)
    s = Server(p, tmp_path / "cache")
    times = {"memory": [], "disk": []}
    try:
        s.start(deadline_s=500)  # four ingests
        stores = glob.glob(f"{s.cache}/snapshots/*/*/data.store")
        size = sum(map(os.path.getsize, stores))
        assert len(stores) == DATASETS and size >= STORE_BYTES, size
        for i in range(count(RESTARTS)):
            s.stop(signal.SIGKILL if i % 2 else signal.SIGTERM)
            is_cold = i // 2 % COLD_EVERY == 0
            if is_cold:
                drop_from_memory(stores)
            times["disk" if is_cold else "memory"].append(restart(s))
            check_point_answers(s, i)
        assert sorted(glob.glob(f"{s.cache}/snapshots/*/*/data.store")) == sorted(stores) and not os.listdir(tmp_path / "cache/quarantine")
        print(f"R-10: {count(RESTARTS)} warm restarts, after SIGTERM and kill -9 by turns, with {size / STORE_BYTES:.2f} GiB of store files; "
              f"ready after {figures(times['memory'] + times['disk'])} (target {TARGET_MS}); files in memory: {figures(times['memory'])}; "
              f"files on disk only: {figures(times['disk'])}")
    finally:
        s.stop()
        shutil.rmtree(tmp_path)  # 2 GiB
