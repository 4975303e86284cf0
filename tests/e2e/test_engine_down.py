# SPDX-License-Identifier: Apache-2.0
"""DuckDB's module is away, broken, or its memory short: what serves goes on, and what is said of it is true."""
import json
import os
import pathlib
import shutil
import signal
import subprocess

import pytest
from bucket_world import gauge
from conftest import ADMIN_TOKEN, BIN, Server, wait_for

MODULE = "offloader-engine.so"
ENDS = "DuckDB's processes end as they start: the log says why"
REPLACED = "the program was replaced while it ran: restart it"
AWAY = f"{MODULE} is not beside the program, or may not be read: install it again"


class Installed:
    """The program in a directory of its own, whose module can be spoilt."""

    def __init__(self, path, project):
        path.mkdir()
        self.path, self.project = path, project
        self.module = path / MODULE
        shutil.copy2(BIN, path / "offloader")
        self.mend()

    def mend(self):
        temporary = self.path / "new"
        shutil.copy2(os.path.join(os.path.dirname(BIN), MODULE), temporary)
        os.replace(temporary, self.module)

    def spoil(self, how):
        self.module.unlink()
        if how == "no module at all":
            self.module.write_bytes(b"this is no shared object")
        elif how == "another build's":
            self.write_other_build(self.module)
        elif how == "another module":
            shutil.copy2(os.path.realpath(find_library("libm.so.6")), self.module)

    def write_other_build(self, path):
        """The module as another commit would have built it."""
        commit = subprocess.run([BIN, "version", "--json"], capture_output=True, check=True).stdout
        name = f"{json.loads(commit)['offloader']} {json.loads(commit)['commit']}".encode()
        content = pathlib.Path(BIN).with_name(MODULE).read_bytes()
        assert content.count(name + b"\0") == 1
        path.write_bytes(content.replace(name + b"\0", name[:-1] + b"?\0"))

    def upgrade(self):
        """Another release is laid over this one, as a package manager does it."""
        for name in ("offloader", MODULE):
            (self.path / "new").write_bytes((self.path / name).read_bytes())
            os.chmod(self.path / "new", 0o755)
            os.replace(self.path / "new", self.path / name)
        self.spoil("another build's")

    def server(self, cache, **env):
        return Server(self.project.path, cache, env, self.path / "offloader")


def find_library(name):
    for folder in ("/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu", "/lib64", "/usr/lib"):
        if os.path.exists(os.path.join(folder, name)):
            return os.path.join(folder, name)
    raise AssertionError(f"{name} is nowhere")


@pytest.fixture
def installed(tmp_path, project):
    p = project()
    p.publish("s1", [("a", 1)])
    return Installed(tmp_path / "bin", p)


def says(server):
    """The gauge and the word of diagnostics, which must be of one mind."""
    word = server.admin("/diagnostics", token=ADMIN_TOKEN).json["duckdb_status"]
    up = gauge(server, "offloader_duckdb_up")
    return (up, word)


@pytest.mark.parametrize("how, why", [("away", AWAY), ("no module at all", ENDS), ("another module", ENDS),
                                      ("another build's", ENDS)])
def test_an_ingest_that_cannot_start(installed, tmp_path, how, why):
    server = installed.server(tmp_path / "cache").start()
    try:
        assert says(server) == (1, "ok")
        installed.spoil(how)
        assert says(server) == (1, "ok"), "nothing needs it"
        installed.project.publish("s2", [("b", 2)])
        answer = server.post("/datasets/kv/refresh")
        assert answer.status == 409 and answer.json["attempt"]["status"] == "failed"
        if how == "away":
            assert answer.json["error"]["message"] == AWAY
        wait_for(lambda: says(server) == (0, why), "the truth")
        assert server.get("/v1/endpoints/kv").meta["snapshot_id"] == "s1"
        assert server.admin("/ready").status == 200 and gauge(server, "offloader_refresh_ok", dataset="kv") == 0
        wait_for(lambda: server.children("__query") == [], "the process that was asked to go: none is kept for asking")
        installed.mend()
        wait_for(lambda: says(server) == (1, "ok"), "its return")
        assert server.post("/datasets/kv/refresh").status == 200
        assert server.get("/v1/endpoints/kv").meta["snapshot_id"] == "s2" and says(server) == (1, "ok")
    finally:
        server.stop()


def test_a_cold_start_without_it(installed, tmp_path):
    installed.spoil("away")
    server = installed.server(tmp_path / "cache").start(ready=False)
    try:
        wait_for(lambda: says(server) == (0, AWAY), "the truth")
        ready = server.admin("/ready")
        assert ready.status == 503 and ready.json["waiting_for"] == ["kv"]
        assert server.get("/v1/endpoints/kv").status == 503
        installed.mend()
        wait_for(lambda: server.admin("/ready").status == 200, "readiness, by itself")
        assert says(server) == (1, "ok")
    finally:
        server.stop()


def test_an_upgrade_in_place(installed, tmp_path):
    """What is loaded serves on; what needs the module says what to do, and a restart does it."""
    server = installed.server(tmp_path / "cache").start()
    try:
        installed.upgrade()
        installed.project.publish("s2", [("b", 2)])
        answer = server.post("/datasets/kv/refresh")
        assert answer.status == 409 and answer.json["error"]["message"] == REPLACED
        assert "is of another build" in server.log()
        wait_for(lambda: says(server) == (0, REPLACED), "the truth")
        assert server.get("/v1/endpoints/kv").meta["snapshot_id"] == "s1"
        server.stop()
        installed.mend()
        server.start()
        wait_for(lambda: server.get("/v1/endpoints/kv").meta["snapshot_id"] == "s2", "the new snapshot")
        assert says(server) == (1, "ok")
    finally:
        server.stop()


def test_queries_that_need_it(installed, tmp_path):
    server = installed.server(tmp_path / "cache", OFFLOADER_ENGINE="duckdb").start()
    try:
        assert len(server.get("/v1/endpoints/kv").rows) == 1 and says(server) == (1, "ok")
        installed.spoil("away")
        for pid in server.children("__query"):
            os.kill(pid, 9)
        answer = server.get("/v1/endpoints/kv")
        assert answer.status == 500 and answer.json["error"]["family"] == "internal"
        assert MODULE not in answer.body.decode()
        wait_for(lambda: says(server) == (0, AWAY), "the truth")
        installed.mend()
        wait_for(lambda: server.get("/v1/endpoints/kv").status == 200, "its return")
        wait_for(lambda: says(server) == (1, "ok"), "the truth again")
    finally:
        server.stop()


def test_a_process_that_hangs_holds_no_page_up(installed, tmp_path):
    """The pages answer while it is still there: that DuckDB is asked, and given up, is another thread's matter."""
    server = installed.server(tmp_path / "cache", OFFLOADER_ENGINE="duckdb").start()
    try:
        assert server.get("/v1/endpoints/kv").status == 200
        hung = server.children("__query")
        for pid in hung:
            os.kill(pid, signal.SIGSTOP)
        assert says(server) == (1, "ok"), "as it was found last"
        assert server.admin("/live").status == 200 and server.children("__query") == hung
        wait_for(lambda: says(server)[0] == 0, "the truth")
        assert server.get("/v1/endpoints/kv").status == 200
        wait_for(lambda: says(server) == (1, "ok"), "the truth again")
    finally:
        server.stop()


def test_too_little_memory_for_one_ingest_is_not_down(installed, tmp_path):
    """DuckDB answers: it is that ingest, and its error says which variable to raise."""
    installed.server(tmp_path / "cache").start().stop()
    server = installed.server(tmp_path / "cache", OFFLOADER_DUCKDB_MEMORY_LIMIT="1MiB").start()
    try:
        installed.project.publish("large", [(f"key number {i} " * 8, i) for i in range(100_000)])
        answer = server.post("/datasets/kv/refresh")
        assert answer.status == 409 and "OFFLOADER_DUCKDB_MEMORY_LIMIT" in answer.json["error"]["message"]
        assert says(server) == (1, "ok") and server.get("/v1/endpoints/kv").meta["snapshot_id"] == "s1"
    finally:
        server.stop()
