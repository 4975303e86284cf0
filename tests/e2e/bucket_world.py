# SPDX-License-Identifier: Apache-2.0
"""Projects and snapshots for tests with buckets: trees of files (name -> text) and what is published of them."""
import json
import os
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "tests", "fakes"))

KV = (("id", "VARCHAR"), ("n", "BIGINT"))
# What a poll needs to be quick, and loopback to be a place.
FAST = {"OFFLOADER_ALLOW_LOOPBACK": "1"}
SYNC = {**FAST, "OFFLOADER_CONFIG_SYNC_INTERVAL": "1"}


def csv_of(rows, schema=KV):
    return ",".join(n for n, _ in schema) + "\n" + "".join(",".join(map(str, r)) + "\n" for r in rows)


def manifest(dataset, snapshot, files, rows=None, schema=KV, **over):
    return json.dumps({
        "dataset_id": dataset, "snapshot_id": snapshot, "created_at": "2026-11-01T00:00:00Z",
        "watermark": "2026-11-01T00:00:00Z", "schema": [{"name": n, "type": t} for n, t in schema],
        "files": files, "partition_columns": [], "sort_columns": [], "row_count": rows, "size_bytes": 1,
        "producer": "tests", "upstream_run_id": "r1", "schema_version": 1, "data_quality_status": "passed",
        "compatibility_policy": "additive_only", **over})


def dataset(name, origin, schema=KV):
    """@origin: the `manifest` path, or the `source` mapping."""
    document = {"id": name, "schema": [{"name": n, "type": t} for n, t in schema]}
    document["manifest" if isinstance(origin, str) else "source"] = origin
    return json.dumps(document)


def endpoint(name, of, schema=KV, mode="local_table"):
    first = schema[0][0]
    return json.dumps({
        "name": name, "version": 1, "dataset": of, "serving_mode": mode,
        "params": [{"name": first, "type": "string"}],
        "query": {"select": [{"as": n, "column": n} for n, _ in schema],
                  "filters": [{"column": first, "op": "eq", "param": first}],
                  "order_by": [{"column": first, "dir": "asc"}]},
        "columns": [n for n, _ in schema], "pagination": {"default_limit": 100, "max_limit": 1000}})


def tree(rows=(("a", 1), ("b", 2)), snapshot="r1", **more):
    """A whole project with one static dataset `kv`, its manifest and its CSV file."""
    return {
        "offloader.yml": json.dumps({"version": 1, "auth": "none"}),
        "datasets/kv.yml": dataset("kv", "data/kv.json"),
        "endpoints/kv.yml": endpoint("kv", "kv"),
        "data/kv.json": manifest("kv", snapshot, [{"path": "kv.csv", "format": "csv"}], len(rows)),
        "data/kv.csv": csv_of(rows), **more}


def sourced(origin, name="kv", schema=KV, mode="local_table"):
    """A project whose one dataset comes from @origin."""
    return {"offloader.yml": json.dumps({"version": 1, "auth": "none"}),
            f"datasets/{name}.yml": dataset(name, origin, schema),
            f"endpoints/{name}.yml": endpoint(name, name, schema, mode)}


def write_tree(path, files):
    for name, text in files.items():
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def sync_of(server):
    from conftest import ADMIN_TOKEN
    return server.admin("/diagnostics", token=ADMIN_TOKEN).json["config_sync"]


def gauge(server, name, **labels):
    wanted = ",".join(f'{k}="{v}"' for k, v in labels.items())
    head = f"{name}{{{wanted}}} " if labels else f"{name} "
    for line in server.admin("/metrics").body.decode().splitlines():
        if line.startswith(head):
            return float(line[len(head):])
    return None


def everything_said(server):
    """Every byte an operator can get at: log, diagnostics, events, metrics."""
    from conftest import ADMIN_TOKEN
    pages = [server.admin(p, token=ADMIN_TOKEN).body.decode() for p in ("/diagnostics", "/events", "/metrics", "/status")]
    return "\n".join([server.log(), *pages])
