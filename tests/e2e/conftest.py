# SPDX-License-Identifier: Apache-2.0
"""A real server on free loopback ports, spoken to over HTTP. Waits are for conditions with a deadline."""
import hashlib
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time

import pytest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
BIN = os.environ.get("OFFLOADER_BIN", os.path.join(ROOT, "build", "offloader"))
ADMIN_TOKEN = "an-admin-token-of-the-tests"
SECRET = "0123456789abcdef0123456789abcdef"
DEADLINE_S = 60


def comes_true(condition, deadline_s, every_s=0.02):
    """The condition's value once it is true, looked at every @every_s; its last one when time is up."""
    end = time.monotonic() + deadline_s
    while not (value := condition()) and time.monotonic() < end:
        time.sleep(every_s)
    return value


def wait_for(condition, what, deadline_s=DEADLINE_S, every_s=0.02):
    value = comes_true(condition, deadline_s, every_s)
    assert value, f"{what} did not come true in {deadline_s} s"
    return value


def free_port():
    """One that no outgoing connection is given: a client that tries again and again to reach a server
    that is down would in the end be given its port, connect to itself, and keep the server from coming back."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as f:
        first_outgoing = int(f.read().split()[0])
    while True:
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", random.randrange(10240, first_outgoing) if first_outgoing > 12000 else 0))
            except OSError:
                continue
            return s.getsockname()[1]


class Answer:
    def __init__(self, response):
        self.status, self.body = response.status, response.read()
        self.headers = {k.lower(): v for k, v in response.getheaders()}

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def rows(self):
        return self.json["data"]

    @property
    def meta(self):
        return self.json["meta"]


class Server:
    def __init__(self, project, cache, env=None, binary=BIN):
        self.project, self.cache, self.extra, self.binary = str(project), str(cache), env or {}, binary
        self.api_port = self.admin_port = free_port()
        while self.admin_port == self.api_port:  # a port that was let go may be given again
            self.admin_port = free_port()
        self.log_path = self.cache + ".log"
        self.process, self.timeout_s = None, 30

    def launch(self):
        """Starts the process and waits for nothing."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("OFFLOADER_")}
        env.update(OFFLOADER_CONFIG=self.project, OFFLOADER_SECRET_KEY_BASE=SECRET,
                   OFFLOADER_CACHE_DIR=self.cache, OFFLOADER_API_PORT=str(self.api_port),
                   OFFLOADER_ADMIN_PORT=str(self.admin_port), OFFLOADER_BIND="127.0.0.1",
                   OFFLOADER_ADMIN_TOKEN=ADMIN_TOKEN, OFFLOADER_REFRESH_INTERVAL="0",
                   OFFLOADER_DRAIN_SECONDS="0", OFFLOADER_POOL_SIZE="4")
        env.update(self.extra)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([self.binary, "serve"], env=env, stdout=log, stderr=log)

    def start(self, ready=True, deadline_s=DEADLINE_S):
        self.launch()
        wait_for(self.is_live, "the admin port")
        if ready:
            wait_for(lambda: self.admin("/ready").status == 200, "readiness", deadline_s)
        return self

    def is_live(self):
        assert self.process.poll() is None, self.log()
        try:
            return self.admin("/live").status == 200
        except OSError:
            return False

    def request(self, port, path, method="GET", headers=None, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=self.timeout_s)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def get(self, path, key=None, headers=None, method="GET"):
        headers = dict(headers or {})
        if key:
            headers["Authorization"] = f"Bearer {key}"
        return self.request(self.api_port, path, method, headers)

    def admin(self, path, method="GET", token=None, headers=None, body=None):
        headers = dict(headers or {})
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return self.request(self.admin_port, path, method, headers, body)

    def post(self, path, body=None, headers=None):
        return self.admin(path, "POST", ADMIN_TOKEN, headers, json.dumps(body) if body is not None else None)

    def dataset(self, name):
        document = self.admin("/diagnostics", token=ADMIN_TOKEN).json
        return next(d for d in document["datasets"] if d["dataset"] == name)

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def memory_kib(self):
        """Resident."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as f:
            return int(next(x for x in f if x.startswith("VmRSS")).split()[1])

    def children(self, kind):
        """Process numbers of the server's children of this kind: `__ingest`, `__query`."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
                    parent = int(f.read().rsplit(")", 1)[1].split()[1])
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    command = f.read().split(b"\0")
            except OSError:
                continue
            if parent == self.process.pid and kind.encode() in command:
                found.append(int(pid))
        return found

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def raw(self, data, shutdown=False):
        """Everything the API port answers to these bytes until it closes or falls silent."""
        with socket.create_connection(("127.0.0.1", self.api_port), timeout=10) as s:
            s.sendall(data)
            if shutdown:
                s.shutdown(socket.SHUT_WR)
            s.settimeout(0.5)
            out = b""
            try:
                while part := s.recv(65536):
                    out += part
            except (TimeoutError, ConnectionResetError):
                pass
            return out

    def stop(self, sig=signal.SIGTERM):
        if self.process and self.process.poll() is None:
            self.process.send_signal(sig)
            self.process.wait(30)
        log = self.log()
        for never in ('"level":"bug"', "Sanitizer", "runtime error:", "Assertion"):
            assert never not in log, log
        return self.process.returncode if self.process else None


@pytest.fixture
def serve(tmp_path):
    servers = []

    def make(project, cache=None, ready=True, **env):
        server = Server(project, cache or tmp_path / f"cache{len(servers)}", env)
        servers.append(server)
        return server.start(ready)

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def example(tmp_path):
    """A private copy of a bundled example."""
    def copy(name):
        target = tmp_path / name
        shutil.copytree(os.path.join(ROOT, "examples", name), target)
        return target
    return copy


class Project:
    """A small public project with one CSV dataset `kv`, to be published again and again."""

    def __init__(self, path, schema=(("id", "VARCHAR"), ("n", "BIGINT")), extra_dataset="", extra_endpoint=""):
        self.path, self.schema = path, schema
        for d in ("datasets", "endpoints", "data"):
            (path / d).mkdir(parents=True, exist_ok=True)
        (path / "offloader.yml").write_text("version: 1\nauth: none\n")
        columns = "".join(f"  - {{ name: {n}, type: {t} }}\n" for n, t in schema)
        (path / "datasets/kv.yml").write_text(f"id: kv\nmanifest: data/manifest.json\nschema:\n{columns}{extra_dataset}")
        select = "".join(f"    - {{ as: {n}, column: {n} }}\n" for n, _ in schema)
        (path / "endpoints/kv.yml").write_text(
            "name: kv\nversion: 1\ndataset: kv\nparams:\n  - { name: id, type: string }\nquery:\n  select:\n"
            f"{select}  filters:\n    - {{ column: id, op: eq, param: id }}\n"
            f"columns: [{', '.join(n for n, _ in schema)}]\npagination: {{ default_limit: 100, max_limit: 1000 }}\n{extra_endpoint}")

    def publish(self, snapshot, rows, **over):
        text = ",".join(n for n, _ in self.schema) + "\n" + "".join(",".join(map(str, r)) + "\n" for r in rows)
        name = f"{hashlib.sha256((snapshot + text).encode()).hexdigest()[:12]}.csv"
        (self.path / "data" / name).write_text(text)
        document = {
            "dataset_id": "kv", "snapshot_id": snapshot, "created_at": "2026-11-01T00:00:00Z",
            "watermark": "2026-11-01T00:00:00Z", "schema": [{"name": n, "type": t} for n, t in self.schema],
            "files": [{"path": name, "format": "csv"}], "partition_columns": [], "sort_columns": [],
            "row_count": len(rows), "size_bytes": len(text), "producer": "tests", "upstream_run_id": "r1",
            "schema_version": 1, "data_quality_status": "passed", "compatibility_policy": "additive_only", **over}
        temporary = self.path / "data" / "manifest.json.new"
        temporary.write_text(json.dumps(document))
        os.replace(temporary, self.path / "data" / "manifest.json")


@pytest.fixture
def project(tmp_path):
    def make(**options):
        return Project(tmp_path / "project", **options)
    return make
