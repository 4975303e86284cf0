# SPDX-License-Identifier: Apache-2.0
"""The process (operations.md, Signals and life cycle): drain (R-09), signals, supervisor, lock, labels."""
import contextlib
import json
import os
import re
import signal
import socket
import threading
import time

import pytest
from conftest import ADMIN_TOKEN, Server, wait_for
from observe import events, metric, served, stop_child


@pytest.fixture
def p(project):
    made = project()
    made.publish("r1", [(f"k{i}", i) for i in range(200)])
    return made


def connect(s):
    return socket.create_connection(("127.0.0.1", s.api_port), timeout=10)


def read_all(sock):
    out = b""
    while part := sock.recv(65536):
        out += part
    return out


GET = b"GET /v1/endpoints/kv HTTP/1.1\r\nHost: x\r\n\r\n"


def read_answer(sock):
    out = b""
    while b"\r\n\r\n" not in out:
        out += sock.recv(65536)
    head, body = out.split(b"\r\n\r\n", 1)
    n = int(re.search(rb"Content-Length: (\d+)", head).group(1))
    while len(body) < n:
        body += sock.recv(65536)
    return head, body


def test_drain_in_flight_idle_half_sent_stalled_and_new(serve, p):
    """R-09: every complete request is answered, with Connection: close, and the process leaves in time."""
    s = serve(p.path, OFFLOADER_DRAIN_SECONDS="10")
    idle, used, half, late, stalled = (connect(s) for _ in range(5))
    used.sendall(GET)
    head, _ = read_answer(used)
    assert b"Connection: close" not in head
    half.sendall(GET[:20])
    stalled.sendall(GET[:10])
    began = time.monotonic()
    s.process.send_signal(signal.SIGTERM)
    wait_for(lambda: s.admin("/ready").status == 503, "/ready")
    r = s.admin("/ready").json
    assert r == {"status": "unavailable", "ready": False, "waiting_for": [], "draining": True}
    assert metric(s, "offloader_draining") == 1 and metric(s, "offloader_ready") == 0
    assert s.admin("/diagnostics", token=ADMIN_TOKEN).json["draining"] and events(s, "drain")
    fresh = s.get("/v1/endpoints/kv")  # a new connection is served too
    assert fresh.status == 200 and fresh.headers["connection"] == "close"
    late.sendall(GET)
    half.sendall(GET[20:])
    for sock in (late, half):
        answer = read_all(sock)
        assert answer.startswith(b"HTTP/1.1 200 OK") and b"Connection: close" in answer and answer.count(b'"id":') == 100
    assert read_all(idle) == b"" and read_all(used) == b""  # closed after the grace
    stalled.close()
    assert s.process.wait(20) == 0
    print(f"drained in {time.monotonic() - began:.1f} s")
    assert '"level":"bug"' not in s.log()


def test_a_stalled_half_request_does_not_hold_the_drain_for_ever(serve, p):
    s = serve(p.path, OFFLOADER_DRAIN_SECONDS="2", OFFLOADER_REQUEST_TIMEOUT_MS="60000")
    stalled = connect(s)
    stalled.sendall(GET[:10])
    s.process.send_signal(signal.SIGTERM)
    assert s.process.wait(20) == 0
    stalled.close()


def test_the_admin_port_holds_nothing_up(serve, p):
    s = serve(p.path, OFFLOADER_DRAIN_SECONDS="60")
    with socket.create_connection(("127.0.0.1", s.admin_port), timeout=10):
        s.process.send_signal(signal.SIGTERM)
        assert s.process.wait(20) == 0


def test_no_drain_at_all(serve, p):
    s = serve(p.path, OFFLOADER_DRAIN_SECONDS="0")
    with connect(s):
        s.process.send_signal(signal.SIGTERM)
        assert s.process.wait(20) == 0


def test_a_second_signal_exits_at_once(serve, p):
    s = serve(p.path, OFFLOADER_DRAIN_SECONDS="600")
    with connect(s) as half:
        half.sendall(GET[:10])
        s.process.send_signal(signal.SIGTERM)
        wait_for(lambda: s.admin("/ready").status == 503, "the drain")
        s.process.send_signal(signal.SIGINT)
        assert s.process.wait(10) == 0


def test_a_stop_ends_a_running_build(serve, p, tmp_path):
    cache = tmp_path / "kept"
    s = serve(p.path, cache, OFFLOADER_INGEST_STALL_SECONDS="600")
    p.publish("r2", [(f"k{i}", i) for i in range(100_000)])
    s.post("/datasets/kv/refresh", headers={"Prefer": "respond-async"})
    child = stop_child(s)
    s.process.send_signal(signal.SIGTERM)
    assert s.process.wait(20) == 0
    wait_for(lambda: not os.path.exists(f"/proc/{child}"), "the stopped child to go with its parent")
    s = serve(p.path, cache)
    assert os.listdir(f"{cache}/temporary") == [] or served(s)


@pytest.fixture
def held_in_load(p, tmp_path):
    """A server that is at the words of warning about its project, and goes on when the pipe they go to is read."""
    (p.path / "offloader.yml").write_text("version: 1\n")  # keys are required and there are none
    s = Server(p.path, tmp_path / "c")
    pipe, log = str(tmp_path / "pipe"), s.log_path
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    filler = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    for size in (4096, 1):
        with contextlib.suppress(BlockingIOError):
            while os.write(filler, b"\n" * size):
                pass
    s.log_path = pipe
    s.launch()
    s.log_path = log

    def blocked():
        with open(f"/proc/{s.process.pid}/status", encoding="ascii") as f:
            return int(re.search(r"SigBlk:\s*(\w+)", f.read()).group(1), 16)

    def read_on():
        os.set_blocking(reader, True)
        os.close(filler)

        def copy():
            with open(log, "wb") as f:
                while part := os.read(reader, 65536):
                    f.write(part)
                    f.flush()
        thread = threading.Thread(target=copy)
        thread.start()
        return thread
    s.read_on = read_on
    try:
        wait_for(lambda: blocked() >> (signal.SIGHUP - 1) & 1, "signals to wait while the project is read")
        yield s
    finally:
        s.process.kill()
        s.process.wait(30)
        os.close(reader)


def test_signals_while_the_project_is_read_wait(held_in_load):
    s = held_in_load
    for number in (signal.SIGHUP, signal.SIGUSR1):
        s.process.send_signal(number)
    copying = s.read_on()
    wait_for(s.is_live, "the admin port")
    wait_for(lambda: '"event":"diagnostics"' in s.log(), "the dump that was asked for")
    wait_for(lambda: s.admin("/diagnostics", token=ADMIN_TOKEN).json["config_sync"]["last_checked"], "the look at the project")
    assert s.stop() == 0
    copying.join(30)


def test_a_stop_while_the_project_is_read_is_an_exit(held_in_load):
    held_in_load.process.send_signal(signal.SIGTERM)
    assert held_in_load.process.wait(20) == 0


def test_sigusr1_dumps_diagnostics_to_the_log(serve, p):
    s = serve(p.path)
    s.process.send_signal(signal.SIGUSR1)
    line = wait_for(lambda: next((x for x in s.log().splitlines() if '"event":"diagnostics"' in x), None), "the dump")
    document = json.loads(json.loads(line)["document"])
    assert document["datasets"][0]["dataset"] == "kv" and ADMIN_TOKEN not in line
    assert s.get("/v1/endpoints/kv").status == 200


class Supervisor:
    """systemd's side of the socket."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(10)
        self.env = {"NOTIFY_SOCKET": str(path)}

    def hear(self, word):
        end = time.monotonic() + 30
        while time.monotonic() < end:
            if self.socket.recv(4096).decode() == word:
                return True
        return False

    def is_silent(self, seconds):
        self.socket.settimeout(seconds)
        try:
            self.socket.recv(4096)
            return False
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(10)


def test_systemd_hears_ready_watchdog_and_stopping(serve, p, tmp_path):
    supervisor = Supervisor(tmp_path / "notify")
    s = serve(p.path, WATCHDOG_USEC="300000", OFFLOADER_DRAIN_SECONDS="10", **supervisor.env)
    assert supervisor.hear("READY=1")
    assert all(supervisor.hear("WATCHDOG=1") for _ in range(3))
    with connect(s) as half:  # fed through the drain, too
        half.sendall(GET[:10])
        s.process.send_signal(signal.SIGTERM)
        assert supervisor.hear("STOPPING=1") and supervisor.hear("WATCHDOG=1")
    assert s.process.wait(20) == 0


def test_the_watchdog_is_not_fed_while_the_process_hangs(serve, p, tmp_path):
    supervisor = Supervisor(tmp_path / "notify")
    s = serve(p.path, WATCHDOG_USEC="300000", **supervisor.env)
    assert supervisor.hear("READY=1") and supervisor.hear("WATCHDOG=1")
    os.kill(s.process.pid, signal.SIGSTOP)
    while not supervisor.is_silent(0.5):
        pass
    os.kill(s.process.pid, signal.SIGCONT)
    assert supervisor.hear("WATCHDOG=1")


def test_a_watchdog_of_another_process_is_not_ours(serve, p, tmp_path):
    supervisor = Supervisor(tmp_path / "notify")
    serve(p.path, WATCHDOG_USEC="100000", WATCHDOG_PID="1", **supervisor.env)
    assert supervisor.hear("READY=1") and supervisor.is_silent(0.5)


def test_the_release_labels_request_series(serve, p):
    s = serve(p.path, OFFLOADER_RELEASE_ID="2026.11-b")
    s.get("/v1/endpoints/kv")
    text = s.admin("/metrics").body.decode()
    line = next(x for x in text.splitlines() if x.startswith("offloader_requests_total{") and 'endpoint="kv"' in x and 'status="ok"' in x)
    assert 'release="2026.11-b"' in line and 'revision="1"' in line
    assert s.admin("/status").json["release"] == "2026.11-b"
    assert s.admin("/diagnostics", token=ADMIN_TOKEN).json["release"] == "2026.11-b"


def test_ports_are_open_before_anything_is_loaded(p, tmp_path):
    """With a first build that is held, /live is 200, /ready 503, endpoints 503, and the rest answers."""
    p.publish("r1", [(f"k{i}", i) for i in range(100_000)])
    s = Server(p.path, tmp_path / "c").start(ready=False)
    try:
        child = stop_child(s)
        assert s.admin("/live").status == 200
        r = s.admin("/ready")
        assert r.status == 503 and r.json == {"status": "unavailable", "ready": False, "waiting_for": ["kv"]}
        e = s.get("/v1/endpoints/kv")
        assert e.status == 503 and e.json["error"]["family"] == "not_ready" and int(e.headers["retry-after"]) >= 1
        assert s.admin("/metrics").status == 200 and s.dataset("kv")["progress"]["phase"] == "building"
        os.kill(child, signal.SIGCONT)
        wait_for(lambda: s.admin("/ready").status == 200, "readiness")
    finally:
        s.stop()


def test_a_malformed_environment_names_every_variable(p, tmp_path):
    s = Server(p.path, tmp_path / "c", {"OFFLOADER_DRAIN_SECONDS": "soon", "OFFLOADER_REFRESH_INTERVAL": "-1"})
    with pytest.raises(AssertionError):
        s.start()
    assert s.process.wait(30) != 0
    assert "OFFLOADER_DRAIN_SECONDS" in s.log() and "OFFLOADER_REFRESH_INTERVAL" in s.log()


def test_status(serve, p):
    s = serve(p.path)
    document = s.admin("/status").json
    assert set(document) == {"service", "version", "release", "ready", "uptime_seconds"}
    assert document["service"] == "offloader" and document["release"] is None and document["ready"] is True


def test_events_are_newest_first_and_logged(serve, p):
    s = serve(p.path)
    s.post("/hold")
    s.post("/release")
    document = s.admin("/events", token=ADMIN_TOKEN).json["events"]
    assert [e["type"] for e in document][:2] == ["action", "action"] and "go on" in document[0]["message"]
    assert document[-1]["type"] == "boot" and [e["at"] for e in document] == sorted((e["at"] for e in document), reverse=True)
    logged = [json.loads(x) for x in s.log().splitlines() if x.startswith("{")]
    assert {e["message"] for e in document} <= {x["message"] for x in logged}
