# SPDX-License-Identifier: Apache-2.0
"""R-05: a refresh into a file system that grows by 64 KiB steps until it fits, for three kinds of data.

Nobody asks for anything: the server looks by itself, each second. At each step what was served serves
on, the attempt has failed and says that the disk is full, the metrics that alerts look at say so, and
nothing is left over. A first pass finds out how large the file system has to be, so that the second
takes 64 steps."""
import hashlib
import json
import os
import pathlib
import subprocess
import time

import pytest
from bucket_world import FAST, csv_of, gauge, manifest, sourced, write_tree
from conftest import Server, wait_for
from rows import count
from test_cache import in_mount_namespace, mount

STEP_KIB, ROWS = 64, 150_000
SMALL_KIB, LARGE_KIB = 640, 64 << 10


def select(n):
    """Text that does not compress, so that the store takes megabytes."""
    return f"SELECT sha256(i::VARCHAR) AS id, i AS n FROM range({n}) t(i)"


class World:
    """Snapshot `one` has a single row, `two` is large."""

    def __init__(self, kind, root):
        from s3 import S3
        self.kind, self.root, self.store, self.env = kind, root, S3(None), {}
        self.store.__enter__()
        if kind == "databricks":
            source = {"type": "databricks", "bucket": "bkt", "prefix": "x", "store": "s3", "interval_seconds": 1}
            self.env = {**FAST, **self.store.env()}
            write_tree(root / "project", sourced(source))
        else:
            write_tree(root / "project", sourced("data/kv.json"))
        self.publish("one", 1)

    def publish(self, name, n):
        from parquet import parquet
        if self.kind == "csv":
            data = csv_of([(hashlib.sha256(str(i).encode()).hexdigest(), i) for i in range(n)]).encode()
        else:
            data = parquet(select(n))
        if self.kind == "databricks":
            self.store.put("bkt", f"x/part-0-{name}.parquet", data)
            self.store.put("bkt", f"x/_committed_{name}", json.dumps({"added": [f"part-0-{name}.parquet"], "removed": []}))
            return
        project = self.root / "project"
        write_tree(project, {f"data/{name}.{self.kind}": data, "data/new.json": manifest(
            "kv", name, [{"path": f"{name}.{self.kind}", "format": self.kind}], n)})
        os.replace(project / "data/new.json", project / "data/kv.json")


def served(server):
    answer = server.get("/v1/endpoints/kv?limit=1")
    assert answer.status == 200, answer.body
    return answer.meta["snapshot_id"].removeprefix("tid_")


def used_kib(path):
    return sum(os.path.getsize(os.path.join(d, f)) for d, _, names in os.walk(path) for f in names) >> 10


class Disk:
    def __init__(self, path, kib):
        path.mkdir(parents=True)
        self.path, self.kib = path, kib
        mount("-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(path))

    def grow(self, kib):
        self.kib += kib
        mount("-o", f"remount,size={self.kib}k", str(self.path))

    def gone(self):
        subprocess.run(["umount", str(self.path)], check=True)


def start(world, disk, interval):
    server = Server(world.root / "project", disk.path, {"OFFLOADER_REFRESH_INTERVAL": interval, **world.env})
    server.log_path = str(world.root / "log")
    return server.start()


def size_that_fits(world):
    """In KiB, by steps of eight, with refreshes that are asked for."""
    disk = Disk(world.root / "first", SMALL_KIB)
    server = start(world, disk, "0")
    world.publish("two", ROWS)
    while server.post("/datasets/kv/refresh").status != 200:
        disk.grow(8 * STEP_KIB)
        assert disk.kib < LARGE_KIB
    server.stop()
    disk.gone()
    return disk.kib


class Failed:
    """Failed attempts of the dataset so far."""

    def __init__(self, server):
        self.server = server
        self.seen = self.now()

    def now(self):
        return gauge(self.server, "offloader_refresh_total", dataset="kv", status="failed") or 0

    def another(self):
        return self.now() > self.seen


def expect_refused(server, disk, failed):
    """An attempt that began after the disk had this size."""
    world_is_good = wait_for(lambda: failed.another() or served(server) == "two", "an attempt by itself")
    if served(server) == "two":
        return False
    assert world_is_good
    d = server.dataset("kv")
    error = d["refresh_error"]
    assert d["last_attempted"]["status"] == "failed" and error, d
    assert "No space left" in error["message"] or "disk" in error["message"].lower(), error
    assert gauge(server, "offloader_refresh_ok", dataset="kv") == 0
    assert gauge(server, "offloader_cache_disk_free_bytes") <= disk.kib << 10
    return True


def grow_by_itself(directory, kind, steps):
    root = pathlib.Path(directory)
    world = World(kind, root)
    fits_kib = size_that_fits(world)
    world.publish("one", 1)
    disk = Disk(root / "cache", fits_kib - (steps + 4) * STEP_KIB)
    server = start(world, disk, "1")
    began, refused = time.monotonic(), 0
    try:
        world.publish("two", ROWS)
        failed = Failed(server)
        while expect_refused(server, disk, failed):
            refused += 1
            wait_for(lambda: not [n for n in os.listdir(disk.path / "temporary") if not n.startswith("query")]
                     or failed.another(), "the failed build to go")
            assert used_kib(disk.path / "snapshots") + used_kib(disk.path / "quarantine") < SMALL_KIB, "something is left over"
            disk.grow(STEP_KIB)
            assert disk.kib <= fits_kib + 8 * STEP_KIB
            failed = Failed(server)
        assert gauge(server, "offloader_refresh_ok", dataset="kv") == 1 and server.dataset("kv")["refresh_error"] is None
        assert refused >= steps - 4
        print(f"R-05: {kind}: {refused} attempts refused on {disk.kib - refused * STEP_KIB} KiB and more in steps of {STEP_KIB} KiB, "
              f"taken by itself at {disk.kib} KiB, {time.monotonic() - began:.0f} s")
    finally:
        server.stop()
        world.store.__exit__(None, None, None)


@pytest.mark.parametrize("kind", ["csv", "parquet", "databricks"])
def test_r05(tmp_path, kind):
    in_mount_namespace("grow_by_itself", str(tmp_path / "full"), kind, count(64), module="test_small_disks", timeout_s=900)
