# SPDX-License-Identifier: Apache-2.0
"""R-07 and R-08, P tier: swaps, rollbacks, reloads and cutovers under a load that checks every row."""
import json
import socketserver
import subprocess
import threading

import pytest
from conftest import free_port, wait_for
from stamped import LOAD, Load, Stamped, check_report, walks_along

REQUESTS, SWAPS = 200_000, 50
RELOADS = 100


def test_the_walk_check_itself():
    assert walks_along([1, 3, 2], [1, 2, 3, 2]) and not walks_along([1, 3, 1], [1, 2, 3, 2])


def rows_of(stamp=1, n=3, **over):
    return [{"tenant": "acme", "account": "globex", "id": i, "stamp": stamp, **over} for i in range(n)]


def answer_of(rows, snapshot="g1-c0", status="200 OK"):
    body = json.dumps({"data": rows, "meta": {"snapshot_id": snapshot, "row_count": len(rows)}}, separators=(",", ":"))
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


@pytest.mark.parametrize("why,second,complaint", [
    ("the same", answer_of(rows_of()), None),
    ("a swap", answer_of(rows_of(2), "g2-c0"), None),
    ("newer rows under the old name", answer_of(rows_of(2)), "another snapshot"),
    ("the old rows under a new name", answer_of(rows_of(), "g2-c0"), "another snapshot"),
    ("one newer row", answer_of(rows_of(n=2) + rows_of(2, n=1)), "another snapshot"),
    ("a stamp that begins alike", answer_of(rows_of(11)), "another snapshot"),
    ("a row too few", answer_of(rows_of(n=2)), "number of rows"),
    ("a column of the next contract", answer_of(rows_of(extra=7)), "another contract"),
    ("the old rows under the next contract", answer_of(rows_of(), "g1-c1"), "another contract"),
    ("somebody else's rows", answer_of(rows_of(tenant="globex", account="acme")), "another tenant"),
    ("the old tenant column", answer_of(rows_of(), "g1-c2"), "another tenant"),
    ("no snapshot", answer_of([], "none"), "snapshot id"),
    ("an error", answer_of(rows_of(), status="503 Service Unavailable"), "status"),
    ("a 304 to no condition", b"HTTP/1.1 304 Not Modified\r\n\r\n", "status"),
    ("half an answer", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "lost"),
], ids=lambda x: x if isinstance(x, str) else "")
def test_the_load_client_itself(why, second, complaint):
    """What it says of a second answer, after a first one that is as it should be."""
    answers = [answer_of(rows_of()), second]

    class Fake(socketserver.StreamRequestHandler):
        def handle(self):
            while answers:
                while self.rfile.readline().strip():
                    pass
                self.wfile.write(answers.pop(0))

    with socketserver.TCPServer(("127.0.0.1", 0), Fake) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        with subprocess.Popen([LOAD, "--port", str(server.server_address[1]), "--path", "/", "--rows", "3", "--connections", "1",
                               "--requests", "2", "--as", "t:acme"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
            report = json.loads(client.stdout.read())
        thread.join()
    assert client.returncode == bool(report["bad"]) == (complaint is not None), (why, report)
    assert complaint is None or complaint in report["complaints"][0], (why, report)


def test_a_load_client_that_outlives_its_server():
    """A cut request and a 503 of a start are counted and not bad; what it saw before still counts afterwards."""
    connections = [[answer_of(rows_of(2), "g2-c0"), b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"],
                   [b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 11\r\n\r\n\"not_ready\"", answer_of(rows_of())]]

    class Fake(socketserver.StreamRequestHandler):
        def handle(self):
            for answer in connections.pop(0):
                while self.rfile.readline().strip():
                    pass
                self.wfile.write(answer)

    with socketserver.TCPServer(("127.0.0.1", free_port()), Fake, bind_and_activate=False) as server:
        server.server_bind()
        with subprocess.Popen([LOAD, "--port", str(server.server_address[1]), "--path", "/", "--rows", "3", "--connections", "1",
                               "--requests", "4", "--as", "t:acme", "--reconnect", "1"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
            server.server_activate()  # connecting may have been refused until now
            server.handle_request()
            server.handle_request()
            report = json.loads(client.stdout.read())
    assert (report["bad"], report["cut"], report["not_ready"], report["requests"]) == (0, 1, 1, 3), report
    assert report["walks"] == [[2, 1]] and not walks_along([2, 1], [1, 2])


@pytest.mark.parametrize("public", [False, True], ids=["keyed", "public"])
def test_r07_swaps_and_rollbacks_under_load(serve, tmp_path, public):
    p = Stamped(tmp_path / "project", public=public)
    p.publish(1)
    p.history.append(1)
    s = serve(p.path)
    with Load(s, p, requests=REQUESTS // 2) as load:
        stamp = 1
        while stamp <= SWAPS // 2 or load.process.poll() is None:  # swaps go on as long as the client does
            stamp += 1
            p.swap(s, stamp)
            if stamp % 5 == 0:
                p.rollback(s)
    report = load.end()
    print(f"R-07: {report['requests']} requests, {report['not_modified']} of them 304, {len(p.history) - 1} changes")
    assert report["requests"] >= REQUESTS // 2
    assert (report["not_modified"] > 0) == public  # with a key there is never a 304
    check_report(report, p.history)
    wait_for(lambda: len(list((tmp_path / "cache0/snapshots/kv").glob("*/"))) <= 2, "old directories to go")


def test_r08_reloads_under_load(serve, tmp_path):
    """Valid revisions, invalid ones, cutovers of schema and tenant column, superseded and cancelled ones."""
    p = Stamped(tmp_path / "project")
    p.publish(1)
    p.history.append(1)
    s = serve(p.path)
    before, stamp, cutovers = s.descriptors(), 1, 0
    with Load(s, p, rate=4000) as load:
        for i in range(RELOADS):
            kind = i % 10
            if kind == 3:
                (p.path / "endpoints/kv.yml").write_text("name: [")
                assert s.post("/reload").status == 409
                p.configure(p.contract)
            elif kind in (5, 9):
                stamp, cutovers = stamp + 1, cutovers + 1
                p.configure(p.contract + 1)
                assert s.post("/reload").json["result"] == "applied"
                assert s.dataset("kv")["cutover_pending"]
                p.swap(s, stamp)
                assert not s.dataset("kv")["cutover_pending"]
            elif kind == 7:
                home = p.contract
                p.configure(home + 1)
                s.post("/reload")
                p.configure(home + 2)  # supersedes
                s.post("/reload")
                p.configure(home)  # cancels
                s.post("/reload")
                assert not s.dataset("kv")["cutover_pending"]
            else:
                p.configure(p.contract, description=f"revision {i}")
                assert s.post("/reload").json["result"] == "applied"
    report = load.end()
    print(f"R-08: {RELOADS} rounds, {cutovers} cutovers, {report['requests']} requests")
    check_report(report, p.history)
    assert cutovers == RELOADS // 5 and s.get("/v1/endpoints/kv").status == 401
    wait_for(lambda: s.descriptors() <= before, "as many descriptors as before")
