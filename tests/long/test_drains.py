# SPDX-License-Identifier: Apache-2.0
"""R-09: SIGTERM with requests in flight, idle, half-sent and stalled connections, a hundred times each.

Half of the servers have a drain during which half-sent heads are completed and idle connections ask
once more; the other half end at once. In both, each request that was sent whole is answered whole."""
import re
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

from conftest import Server, wait_for
from rows import count
from stamped import Stamped

DRAINS, EACH, AT_A_TIME = 100, 6, 3
DRAIN_S, ALLOWED_S = 2, 10  # the README of operations: the drain, then at most the writes that are under way
ROWS = 1000
GET = b"GET /v1/endpoints/kv?limit=1000 HTTP/1.1\r\nHost: x\r\n\r\n"


def connect(s):
    return socket.create_connection(("127.0.0.1", s.api_port), timeout=20)


def read_answers(sock):
    """(whole answers, whether the last one ended the connection, bytes left over) until the server closes."""
    data = b""
    try:
        while part := sock.recv(1 << 20):
            data += part
    except ConnectionResetError:
        pass
    answers, is_last = 0, False
    while head := re.match(rb"HTTP/1.1 200 OK\r\n.*?\r\n\r\n", data, re.S):
        end = head.end() + int(re.search(rb"Content-Length: (\d+)", head.group()).group(1))
        if len(data) < end:
            break
        assert data[head.end():end].count(b'"stamp":') == ROWS
        assert not is_last, "an answer after one with Connection: close"
        is_last = b"\r\nConnection: close\r\n" in head.group()
        data, answers = data[end:], answers + 1
    return answers, is_last, data


def drain(project, directory, number):
    """One server's end; how long it took, and how many of each kind there were."""
    patient = number % 2 == 0
    s = Server(project, directory, {"OFFLOADER_DRAIN_SECONDS": str(DRAIN_S if patient else 0)}).start()
    kinds = ("in flight", "pipelined", "idle", "used", "half-sent", "stalled")
    socks = {kind: [connect(s) for _ in range(EACH)] for kind in kinds}
    for c in socks["used"]:
        c.sendall(GET)
        got = b""
        while got.count(b'"stamp":') < ROWS or not got.endswith(b"}}}"):
            got += c.recv(1 << 20)
    for c in socks["half-sent"]:
        c.sendall(GET[:30])
    for c in socks["stalled"]:
        c.sendall(GET[:10])
    for c in socks["in flight"]:
        c.sendall(GET)
    for c in socks["pipelined"]:
        c.sendall(GET * 3)
    began = time.monotonic()
    s.process.send_signal(signal.SIGTERM)
    if patient:
        wait_for(lambda: s.admin("/ready").status == 503, "/ready to say that it drains")
        for c in socks["half-sent"]:
            c.sendall(GET[30:])
        for c in socks["used"]:
            c.sendall(GET)
    expected = {"in flight": 1, "pipelined": 3, "idle": 0, "used": int(patient), "half-sent": int(patient), "stalled": 0}
    for kind, group in socks.items():
        if kind == "stalled":
            continue  # it never says anything, and must hold up nobody
        for c in group:
            answers, is_last, rest = read_answers(c)
            assert rest == b"" or b" 408 " in rest, (number, kind, rest[:200])
            # HTTP's rule: nothing behind an answer with Connection: close is processed; the caller asks again elsewhere.
            assert answers == expected[kind] or kind == "pipelined" and answers and is_last, (number, kind, answers)
            assert not answers or is_last or kind in ("in flight", "pipelined"), (number, kind)
            c.close()
    code = s.process.wait(60)
    took = time.monotonic() - began
    for c in socks["stalled"]:
        c.close()
    assert code == 0 and took < ALLOWED_S + DRAIN_S * patient, (number, code, took)
    s.stop()  # looks at the log
    return took, patient


def test_r09(tmp_path):
    p = Stamped(tmp_path / "project", public=True, rows=ROWS)
    p.publish(1)
    n = 2 * count(DRAINS)
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        took = list(pool.map(lambda i: drain(p.path, tmp_path / f"cache{i}", i), range(n)))
    patient, prompt = (sorted(t for t, is_patient in took if is_patient is kind) for kind in (True, False))
    print(f"R-09: {n} drains, half of them of {DRAIN_S} s and half of none, each with {EACH} connections in flight, {EACH} with 3 pipelined "
          f"requests, {EACH} idle, {EACH} used, {EACH} half-sent, {EACH} stalled; all complete requests answered; "
          f"ended after {patient[len(patient) // 2]:.2f} s (median) and {patient[-1]:.2f} s (slowest), and {prompt[len(prompt) // 2]:.2f} and {prompt[-1]:.2f} s")
