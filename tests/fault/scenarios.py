# SPDX-License-Identifier: Apache-2.0
"""What a server is doing while a call fails: the eight scenarios of R-03 and R-04.

Each prepares a trial, acts with the fault armed, and then, with the fault gone, must be whole again:
what was served last is served, and what is asked for now is done. `check` says what a reader may see
at any moment."""
import http.client
import json
import os
import re
import signal
import subprocess
import sys

from conftest import HERE, whole_program

sys.path.insert(0, os.path.join(HERE, "..", "e2e"))
from bucket_world import FAST, csv_of, endpoint, manifest, tree  # noqa: E402  (the path has to be there first)

from s3 import S3  # noqa: E402

wait_for, comes_true, Server = whole_program.wait_for, whole_program.comes_true, whole_program.Server
BROKEN = (OSError, http.client.HTTPException)
ROWS = 20
CUTOVER_DEADLINE_S = 1
TIDY_DEADLINE_S = 10
LOOK_EVERY_S = 0.05
BOOT_DEADLINE_S = 3  # an undisturbed one takes a tenth of a second


def attempt(call):
    """The answer, or None when the connection failed: a fault may hit that very request."""
    try:
        return call()
    except BROKEN:
        return None


class Scenario:
    """A project on disk with one dataset, and a server that lives through all trials."""

    path, env = "/v1/endpoints/kv", {}
    is_unharmed = False  # by the trial at hand
    serves_from_memory = True

    def __init__(self, tmp_path, control):
        self.control, self.tmp_path = control, tmp_path
        self.number, self.published = 0, {}
        self.make()
        self.server = Server(self.location(), tmp_path / "cache", {**control.env, **self.env})
        self.server.start()
        assert self.read() == self.current
        self.settle()

    def make(self):
        self.project = whole_program.Project(self.tmp_path / "project")
        self.publish()

    def location(self):
        return self.project.path

    def rows(self):
        return [{"id": f"row{i:02}", "n": self.number} for i in range(ROWS)]

    def publish(self, **over):
        self.number += 1
        self.current = f"s{self.number}"
        self.published[self.current] = self.rows()
        self.project.publish(self.current, [(r["id"], r["n"]) for r in self.rows()], **over)
        self.tidy()

    def tidy(self):
        """Data files of earlier trials go."""
        data = self.project.path / "data"
        wanted = json.loads((data / "manifest.json").read_text())["files"][0]["path"]
        for old in data.glob("*.csv"):
            if old.name != wanted:
                old.unlink()

    def check(self, answer, strict=True):
        """The snapshot of an answer. Not strict: None for an error that says it is ours."""
        if answer is None or (answer.status in (500, 503) and not strict):
            assert not strict
            return None
        assert answer.status == 200, answer.body
        snapshot = answer.meta["snapshot_id"]
        assert answer.rows == self.published[snapshot], f"{snapshot}: {answer.body}"
        return snapshot

    def read(self):
        return self.check(self.server.get(self.path))

    def read_if_possible(self):
        """While the fault lasts. What serves from memory of its own makes no call that could fail."""
        answer = attempt(lambda: self.server.get(self.path))
        assert answer or not self.is_unharmed
        if answer is not None:
            if answer.status != 200:
                assert not self.is_unharmed, answer.body
                assert not answer.body or answer.json["error"]["family"] in ("internal", "not_ready"), answer.body
            return self.check(answer, strict=False)
        return None

    def post(self, path, **more):
        """With the fault armed: an answer, if there is one, is whole."""
        answer = attempt(lambda: self.server.post(path, **more))
        assert answer is None or not answer.body or answer.json
        return answer

    def shows(self, pattern):
        """To be looked at sparingly: the page makes calls of its own."""
        answer = attempt(lambda: self.server.admin("/metrics"))
        return answer is not None and re.search(pattern, answer.body) is not None

    # ---- a trial ----

    def prepare(self):
        self.publish()

    def act(self):
        self.post("/datasets/kv/refresh")
        self.read_if_possible()

    def settle(self):
        """The fault is gone."""
        assert self.server.process.poll() is None, self.server.log()[-3000:]
        if self.read() != self.current:
            answer = self.server.post("/datasets/kv/refresh")
            # One that runs already, for a caller who gave up, is joined: it may have met the fault, and
            # a look of its own follows.
            if answer.status == 409:
                answer = self.server.post("/datasets/kv/refresh")
            assert answer.status == 200, answer.body
            wait_for(lambda: self.read() == self.current, f"{self.current} after {answer.body}")

    def tidied(self):
        """What could not be removed is removed when the dataset is built next."""
        if not self.left_over():
            return
        self.prepare()
        self.server.post("/datasets/kv/refresh")
        self.settle()
        wait_for(lambda: not self.left_over(), f"{self.left_over()} to go", TIDY_DEADLINE_S)

    # ---- what may be left over ----

    def left_over(self):
        """Files of builds that are no more, children that nobody waits for."""
        temporary = os.path.join(self.server.cache, "temporary")
        return [n for n in os.listdir(temporary) if not n.startswith("query")] + self.server.children("__ingest")

    def snapshots(self):
        return [n for n in os.listdir(os.path.join(self.server.cache, "snapshots", "kv")) if not n.endswith(".json")]

    def end(self):
        """A last start finds what was served, and tidies up."""
        served = self.read()
        self.server.stop()
        self.server.start()
        assert self.read() == served
        wait_for(lambda: not self.left_over(), "the left-overs to go")
        assert len(self.snapshots()) <= 2, self.snapshots()
        assert self.server.stop() == 0

    def close(self):
        if self.server.process and self.server.process.poll() is None:
            self.server.process.kill()
            self.server.process.wait()


class Refused(Scenario):
    """The data is built, counted and found wanting."""

    def prepare(self):
        self.serving = self.read()
        self.publish(row_count=ROWS + 1)

    def settle(self):
        super_current, self.current = self.current, getattr(self, "serving", self.current)
        assert self.read() == self.current
        if super_current != self.current:
            answer = self.server.post("/datasets/kv/refresh")
            if answer.json["attempt"]["status"] == "failed":  # joined, as above
                answer = self.server.post("/datasets/kv/refresh")
            assert answer.status == 409 and answer.json["attempt"]["error"]["code"] == "row_count_mismatch", answer.body
            assert self.read() == self.current


class Rollback(Scenario):
    """A rollback with a key, asked for twice."""

    def prepare(self):
        self.publish()
        assert self.server.post("/datasets/kv/refresh").status == 200

    def act(self):
        for _ in range(2):
            self.post("/datasets/kv/rollback", headers={"Idempotency-Key": self.current})
            self.read_if_possible()

    def settle(self):
        assert self.read() in list(self.published)[-2:]
        self.publish()
        super().settle()


class Cutover(Scenario):
    """A reload after which the dataset has another schema: blue-green."""

    def make(self):
        self.extra = False
        self.change()

    def change(self):
        self.extra = not self.extra
        schema = [("id", "VARCHAR"), ("n", "BIGINT")] + [("extra", "BIGINT")] * self.extra
        self.project = whole_program.Project(self.tmp_path / "project", schema=schema)
        self.number += 1
        self.current = f"s{self.number}"
        self.published[self.current] = [dict(zip([n for n, _ in schema], (f"row{i:02}", self.number, 7))) for i in range(ROWS)]
        self.project.publish(self.current, [tuple(r.values()) for r in self.published[self.current]], compatibility_policy="exact")
        self.tidy()

    def prepare(self):
        self.change()

    def act(self):
        """A reload is answered before the new build has ended."""
        self.post("/reload")
        comes_true(lambda: self.read_if_possible() == self.current or self.shows(rb'offloader_refresh_ok\{dataset="kv"\} 0'),
                   CUTOVER_DEADLINE_S, LOOK_EVERY_S)

    def settle(self):
        assert self.server.process.poll() is None, self.server.log()[-3000:]
        if self.read() == self.current:
            return
        wait_for(lambda: self.server.post("/reload").status == 200, "a reload")
        if self.read() != self.current:  # the build that failed waits for its next try
            self.server.post("/datasets/kv/refresh")
        wait_for(lambda: self.read() == self.current, self.current)


class Bucket(Scenario):
    """Project and data come from a bucket; the trial brings a new revision of both."""

    def make(self):
        self.store = S3(None)
        self.store.__enter__()
        self.env = {**FAST, **self.store.env()}
        self.publish()

    def location(self):
        return "s3://cfg/p"

    def publish(self, **over):
        self.number += 1
        self.current = f"s{self.number}"
        self.published[self.current] = self.rows()
        rows = [(r["id"], r["n"]) for r in self.rows()]
        self.store.put("data", f"{self.current}.csv", csv_of(rows))
        source = {"data/kv.json": manifest("kv", self.current, [{"path": f"s3://data/{self.current}.csv", "format": "csv"}], ROWS)}
        files = tree(rows) | source
        del files["data/kv.csv"]
        for name, text in files.items():
            self.store.put("cfg", "p/" + name, text)

    def act(self):
        self.post("/reload")
        self.post("/datasets/kv/refresh")
        self.read_if_possible()

    def settle(self):
        assert self.server.process.poll() is None, self.server.log()[-3000:]
        self.read()
        wait_for(lambda: self.server.post("/reload").status == 200, "a reload")
        super().settle()

    def close(self):
        super().close()
        self.store.__exit__(None, None, None)


class Query(Scenario):
    """A query process is started anew and reads the snapshot's files."""

    path, serves_from_memory = "/v1/endpoints/scan", False

    def make(self):
        super().make()
        (self.project.path / "endpoints/scan.yml").write_text(endpoint("scan", "kv", mode="remote_scan"))

    def read(self):
        """The killed process costs the query that meets it; queries that callers gave up may still hold the pool."""
        return self.check(wait_for(lambda: (a := self.server.get(self.path)).status == 200 and a, "a query"))

    def prepare(self):
        for child in self.server.children("__query"):
            os.kill(child, signal.SIGKILL)
        self.publish()

    def tidy(self):
        """Not yet: a scan reads the files of what serves."""

    def settle(self):
        super().settle()
        super().tidy()


class Start(Scenario):
    """A start in a directory that is used already, and its end. It serves, or it ends with a message."""

    serves_from_memory = False

    def prepare(self):
        self.server.stop()

    def is_over(self):
        if self.server.process.poll() is not None:
            return True
        answer = attempt(lambda: self.server.admin("/ready"))
        if answer is None or answer.status != 200:
            return self.shows(rb'offloader_refresh_total\{dataset="kv",[^}]*failed[^}]*\} [1-9]')
        return True

    def act(self):
        self.spawn()
        self.server.timeout_s = 1
        comes_true(self.is_over, BOOT_DEADLINE_S, LOOK_EVERY_S)
        if self.server.process.poll() is None:
            self.read_if_possible()
            self.server.process.terminate()
            try:
                self.server.process.wait(BOOT_DEADLINE_S)
            except subprocess.TimeoutExpired:  # what fails for good may hold it: it must end with the fault
                self.control.clear()
                self.server.process.wait(30)
        assert self.server.process.returncode >= 0, f"signal {-self.server.process.returncode}: {self.server.log()[-3000:]}"

    def spawn(self):
        started = Server.is_live
        try:
            Server.is_live = lambda _: True
            self.server.start(ready=False)
        finally:
            Server.is_live = started

    def settle(self):
        if self.server.process.poll() is not None:
            self.server.start()
        super().settle()


class ColdStart(Start):
    """The same in an empty directory."""

    def prepare(self):
        super().prepare()
        subprocess.run(["rm", "-rf", self.server.cache], check=True)


SCENARIOS = {"cold_start": ColdStart, "warm_start": Start, "refresh": Scenario, "refused": Refused, "rollback": Rollback,
             "cutover": Cutover, "bucket": Bucket, "query": Query}
