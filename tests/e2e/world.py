# SPDX-License-Identifier: Apache-2.0
"""Projects for tests of the API port, written as JSON (which is YAML), and servers that a whole file shares."""
import contextlib
import csv
import hashlib
import io
import json
import os
import pathlib

from conftest import BIN, Server

PAGES = {"default_limit": 50, "max_limit": 1000}


def digest(token):
    return hashlib.sha256(token.encode()).hexdigest()


class World:
    def __init__(self, path, auth="none"):
        self.path = pathlib.Path(path)
        for d in ("datasets", "endpoints", "keys", "data"):
            (self.path / d).mkdir(parents=True, exist_ok=True)
        self.schemas = {}
        top = {"version": 1, "auth": auth}
        if auth == "required":
            top["keys"] = "keys/keys.yml"
            self.keys([])
        self.write("offloader.yml", top)

    def write(self, name, document):
        temporary = self.path / (name + ".new")
        temporary.write_text(json.dumps(document))
        os.replace(temporary, self.path / name)

    def dataset(self, name, schema, **more):
        self.schemas[name] = schema
        self.write(f"datasets/{name}.yml", {
            "id": name, "manifest": f"data/{name}.json",
            "schema": [{"name": n, "type": t} for n, t in schema], **more})

    def publish(self, name, snapshot, rows, **over):
        """@rows: cells as Python values; None is NULL."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_MINIMAL)
        writer.writerow([n for n, _ in self.schemas[name]])
        for row in rows:
            writer.writerow(["" if v is None else str(v).lower() if isinstance(v, bool) else v for v in row])
        body = text.getvalue().encode()
        file = f"{name}-{hashlib.sha256(snapshot.encode() + body).hexdigest()[:12]}.csv"
        (self.path / "data" / file).write_bytes(body)
        self.write(f"data/{name}.json", {
            "dataset_id": name, "snapshot_id": snapshot, "created_at": "2026-11-01T00:00:00Z",
            "watermark": "2026-11-01T00:00:00Z", "schema": [{"name": n, "type": t} for n, t in self.schemas[name]],
            "files": [{"path": file, "format": "csv"}], "partition_columns": [], "sort_columns": [],
            "row_count": len(rows), "size_bytes": len(body), "producer": "tests", "upstream_run_id": "run7",
            "schema_version": 1, "data_quality_status": "passed", "compatibility_policy": "additive_only", **over})

    def endpoint(self, name, dataset, select=None, params=(), filters=(), order_by=(), tenant=None, **more):
        """@select: names, or (as, column, agg). @filters: (column, op, param)."""
        select = select or [n for n, _ in self.schemas[dataset]]
        outputs = [{"as": s, "column": s} if isinstance(s, str) else
                   {"as": s[0], "column": s[1], **({"agg": s[2]} if len(s) > 2 else {})} for s in select]
        query = {"select": outputs}
        if filters:
            query["filters"] = [{"column": c, "op": o, "param": p} for c, o, p in filters]
        if order_by:
            query["order_by"] = [{"column": c, "dir": d} for c, d in order_by]
        if "group_by" in more:
            query["group_by"] = more.pop("group_by")
        document = {"name": name, "version": more.pop("version", 1), "dataset": dataset, "query": query,
                    "columns": [o["as"] for o in outputs], "pagination": more.pop("pagination", PAGES), **more}
        if params:
            document["params"] = list(params)
        if tenant:
            document["tenant"] = {"column": tenant}
        self.write(f"endpoints/{name}.yml", document)

    def keys(self, keys):
        """@keys: dicts with `token` instead of `hash`."""
        out = []
        for k in keys:
            k = dict(k)
            out.append({"status": "active", "hash": digest(k.pop("token")), **k})
        self.write("keys/keys.yml", {"keys": out})


@contextlib.contextmanager
def running(path, cache, ready=True, binary=BIN, **env):
    server = Server(path, cache, env, binary)
    try:
        yield server.start(ready)
    finally:
        server.stop()
