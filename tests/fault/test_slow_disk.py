# SPDX-License-Identifier: Apache-2.0
"""A disk that is slow to sync delays the action that waits for it, and nobody else. Each fsync of a
refresh and of a rollback is held in turn; while it lasts, everything else must answer."""
import ctypes
import glob
import json
import mmap
import os
import tempfile
import threading

from conftest import whole_program

ACTIONS = ("refresh", "rollback")
READS_TO_OPEN = 2  # of a store: its header and its directory


class World:
    def __init__(self, serve, project, control):
        self.control, self.number = control, 0
        self.project = project()
        for kind in ("datasets", "endpoints"):
            text = (self.project.path / kind / "kv.yml").read_text()
            (self.project.path / kind / "other.yml").write_text(
                text.replace("manifest.json", "other.json").replace("kv", "other"))
        self.publish()
        self.server = serve(self.project.path, **control.env)
        # The first record has one fsync more than those after it.
        assert self.server.post("/datasets/kv/refresh", headers={"Idempotency-Key": "first"}).status == 200

    def publish(self):
        """A new snapshot of both."""
        self.number += 1
        self.project.publish(f"s{self.number}", [("a", self.number)])
        data = self.project.path / "data"
        (data / "other.json").write_text(
            json.dumps({**json.loads((data / "manifest.json").read_text()), "dataset_id": "other"}))

    def act(self, action):
        """A refresh that swaps, or a rollback of one; keyed, so that its record is written too."""
        self.publish()
        if action == "rollback":
            assert self.server.post("/datasets/kv/refresh").status == 200
        return lambda: self.server.post(f"/datasets/kv/{action}", headers={"Idempotency-Key": f"k{self.number}"})

    def everything_else_answers(self):
        for path in ("/live", "/ready", "/status", "/metrics"):
            assert self.server.admin(path).status == 200, path
        assert self.server.dataset("kv")
        for name in ("kv", "other"):
            assert self.server.get(f"/v1/endpoints/{name}").status == 200
        answer = self.server.post("/datasets/other/refresh")
        assert answer.status == 200 and answer.json["snapshot_id"] == f"s{self.number}", answer.body


def test_an_fsync_that_lasts_holds_up_nobody_else(serve, project, control):
    world = World(serve, project, control)
    held = dict.fromkeys(ACTIONS, 0)
    for action in ACTIONS:
        act = world.act(action)
        before = control.calls("fsync")
        assert act().status == 200
        n = control.calls("fsync") - before
        for nth in range(1, n + 1):
            act, answers = world.act(action), []
            control.hold("fsync", nth)
            caller = threading.Thread(target=lambda: answers.append(act()))
            caller.start()
            try:
                whole_program.wait_for(lambda: control.holds, f"fsync {nth} of {n} of a {action}")
                world.everything_else_answers()
                assert not answers, "it was answered before it was on disk"
                held[action] += 1
            finally:
                control.clear()
                caller.join()
            assert answers[0].status == 200, answers[0].body
    print(f"held: {held}")
    assert held["refresh"] >= 4 and held["rollback"] >= 2


def cold(server):
    found = [x for x in server.admin("/metrics").body.decode().splitlines() if x.startswith('offloader_cold_requests_total{endpoint="kv"')]
    return int(found[0].split()[-1]) if found else 0


def pages_left(path):
    """Of a file in memory, after asking the kernel to drop it."""
    with open(path, "rb") as f:
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        with mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_COPY) as m:
            pages = ctypes.create_string_buffer((len(m) + mmap.PAGESIZE - 1) // mmap.PAGESIZE)
            first = ctypes.c_char.from_buffer(m)
            assert ctypes.CDLL(None).mincore(ctypes.c_void_p(ctypes.addressof(first)), ctypes.c_size_t(len(m)), pages) == 0
            del first
            return sum(page & 1 for page in pages.raw)


def test_a_warm_up_that_lasts_holds_up_no_caller(project, control):
    """The store is on a disk that does not answer the warm-up: callers are answered, and counted as cold."""
    p = project(schema=(("id", "VARCHAR"), ("n", "BIGINT"), ("x", "VARCHAR")))
    # More than the kernel reads along with the header: some are set to 8 MiB.
    p.publish("s1", [(f"k{i}", i, os.urandom(150).hex()) for i in range(100_000)])
    with tempfile.TemporaryDirectory(dir=os.path.dirname(whole_program.BIN)) as cache:  # /tmp may be memory itself
        server = whole_program.Server(p.path, cache, control.env).start()
        try:
            assert server.get("/v1/endpoints/kv?columns=n&id=k7").rows == [{"n": 7}] and cold(server) == 0, "a swap is warm"
            server.stop()
            (p.path / "data" / "manifest.json").unlink()  # nobody else reads a file then
            (store,) = glob.glob(os.path.join(cache, "snapshots/kv/*/data.store"))
            whole_program.wait_for(lambda: pages_left(store) == 0, "the store to leave memory")
            control.hold("pread", READS_TO_OPEN + 1)
            server.start()
            whole_program.wait_for(lambda: control.holds, "the warm-up to meet its disk")
            for i in range(20):
                assert server.get(f"/v1/endpoints/kv?columns=n&id=k{i}").rows == [{"n": i}]
            assert server.get("/healthz").status == 200 and cold(server) == 20
            control.clear()

            def is_warm():
                before = cold(server)
                return server.get("/v1/endpoints/kv?id=k7").status == 200 and cold(server) == before
            whole_program.wait_for(is_warm, "the end of the warm-up")
        finally:
            control.clear()
            server.stop()
