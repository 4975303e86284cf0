# SPDX-License-Identifier: Apache-2.0
"""A tenant-scoped dataset whose every row says which snapshot, contract and tenant it belongs to, and
the load client (tests/tools/load.c) that checks every row of every answer."""
import hashlib
import json
import os
import subprocess
import tempfile

from conftest import BIN

TENANTS = ("acme", "globex", "initech")
ROWS_PER_TENANT = 20
LOAD = os.path.join(os.path.dirname(BIN), "tests", "tools", "offloader-load")


def token(tenant):
    return f"a-token-of-{tenant}-0123456789"


class Stamped:
    """Contract k has a column `extra` when k is odd and one named mark<k % 4>; its tenant column is
    `tenant` when k % 4 is 0 or 1, else `account`. Snapshot g<stamp>-c<k>, which no other contract takes."""

    def __init__(self, path, contract=0, rows=ROWS_PER_TENANT, public=False):
        """public: no keys and no tenant column, so that answers have ETags that a 304 can confirm."""
        self.path, self.rows, self.public, self.history = path, rows, public, []
        for d in ("datasets", "endpoints", "data", "keys"):
            (path / d).mkdir(parents=True, exist_ok=True)
        self.configure(contract)

    def columns(self):
        columns = [("tenant", "VARCHAR"), ("account", "VARCHAR"), ("id", "BIGINT"), ("stamp", "BIGINT"),
                   (f"mark{self.contract % 4}", "BIGINT")]
        return columns + ([("extra", "BIGINT")] if self.contract % 2 else [])

    def configure(self, contract, description="rows with a stamp"):
        """Writes the project of this contract; a reload takes it."""
        self.contract = contract
        tenant = "tenant" if contract % 4 < 2 else "account"
        columns = "".join(f"  - {{ name: {n}, type: {t} }}\n" for n, t in self.columns())
        select = "".join(f"    - {{ as: {n}, column: {n} }}\n" for n, _ in self.columns())
        names = ", ".join(n for n, _ in self.columns())
        keys = "".join(
            f"  - {{ id: {t}, hash: {hashlib.sha256(token(t).encode()).hexdigest()}, tenant: {t}, endpoints: [kv], status: active }}\n"
            for t in TENANTS)
        scoped = f"tenant: {{ column: {tenant} }}\n"
        column = f"tenant_column: {tenant}\n"
        if self.public:
            scoped = column = ""
            self._write("offloader.yml", "version: 1\nauth: none\n")
        else:
            self._write("offloader.yml", "version: 1\nauth: required\nkeys: keys/keys.yml\n")
            self._write("keys/keys.yml", "keys:\n" + keys)
        self._write("datasets/kv.yml", f"id: kv\nmanifest: data/manifest.json\n{column}schema:\n{columns}")
        self._write("endpoints/kv.yml",
                    f"name: kv\nversion: {contract + 1}\ndescription: {description}\ndataset: kv\n"
                    f"{scoped}query:\n  select:\n{select}"
                    f"columns: [{names}]\ncache: {{ policy: snapshot }}\npagination: {{ default_limit: 100, max_limit: 1000 }}\n")

    def _write(self, name, text):
        temporary = self.path / (name + ".new")
        temporary.write_text(text)
        os.replace(temporary, self.path / name)

    def snapshot_id(self, stamp):
        return f"g{stamp}-c{self.contract}"

    def publish(self, stamp, **over):
        names = [n for n, _ in self.columns()]
        lines = [",".join(names)]
        for i in range(self.rows):
            for at, tenant in enumerate(TENANTS):
                # Under the other tenant column the same row belongs to somebody else.
                row = [tenant, TENANTS[(at + 1) % len(TENANTS)], str(i), str(stamp), "1"]
                lines.append(",".join(row + (["7"] if self.contract % 2 else [])))
        text = "\n".join(lines) + "\n"
        (self.path / "data" / f"{stamp}-{self.contract}.csv").write_text(text)
        self._write("data/manifest.json", json.dumps({
            "dataset_id": "kv", "snapshot_id": self.snapshot_id(stamp), "created_at": "2026-11-01T00:00:00Z",
            "watermark": "2026-11-01T00:00:00Z", "schema": [{"name": n, "type": t} for n, t in self.columns()],
            "files": [{"path": f"{stamp}-{self.contract}.csv", "format": "csv"}], "partition_columns": [],
            "sort_columns": [], "row_count": len(lines) - 1, "size_bytes": len(text), "producer": "tests",
            "upstream_run_id": "r1", "schema_version": 1, "data_quality_status": "passed",
            "compatibility_policy": "exact", **over}))

    def swap(self, server, stamp):
        self.publish(stamp)
        self.history.append(stamp)  # before: the client may see it before we hear of it
        answer = server.post("/datasets/kv/refresh")
        assert answer.status == 200 and answer.json["snapshot_id"] == self.snapshot_id(stamp), answer.body
        return answer

    def rollback(self, server):
        self.history.append(int(server.dataset("kv")["previous_snapshot"]["snapshot_id"][1:].split("-")[0]))
        answer = server.post("/datasets/kv/rollback")
        assert answer.status == 200, answer.body
        return answer


class Load:
    """The load client beside a server. `report` is there once it has ended."""

    def __init__(self, server, project, connections=24, rate=0, requests=0, rows=0, query="", reconnect=False):
        """rows: of each answer; 0: all that the tenant has."""
        rows = rows or project.rows * (len(TENANTS) if project.public else 1)
        arguments = [LOAD, "--port", str(server.api_port), "--path", "/v1/endpoints/kv" + query, "--rows", str(rows),
                     "--connections", str(connections), "--rate", str(rate), "--requests", str(requests), "--reconnect", str(int(reconnect))]
        for tenant in () if project.public else TENANTS:
            arguments += ["--as", f"{token(tenant)}:{tenant}"]
        self.said = tempfile.TemporaryFile("w+")  # a pipe would hold up a client with a long report
        self.process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=self.said, text=True)
        self.report = None

    def phase(self, number, rate=None):
        """Latencies go to this histogram from now on; a rate replaces the one that was (0: as fast as answers come)."""
        self.process.stdin.write(f"phase {number}\n" if rate is None else f"phase {number} {rate}\n")
        self.process.stdin.flush()

    def end(self):
        if self.report is None:
            self.process.communicate(timeout=120)
            self.said.seek(0)
            self.report = json.load(self.said)
        return self.report

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if exception[0] is None:
            self.end()
        else:
            self.process.kill()
            self.process.wait()


def walks_along(walk, history):
    """Can these observations be made, in this order, by someone who only ever moves forward?"""
    at = 0
    for stamp in walk:
        while at < len(history) and history[at] != stamp:
            at += 1
        if at == len(history):
            return False
    return True


def check_report(report, history):
    assert report["bad"] == 0, report["complaints"]
    wrong = [w for w in report["walks"] if not walks_along(w, history)]
    assert not wrong, f"a connection saw snapshots go back: {wrong[:2]}; published: {history}"
