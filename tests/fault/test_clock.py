# SPDX-License-Identifier: Apache-2.0
"""The wall clock jumps ahead and back. It is only shown: intervals, deadlines and what is kept go on as before."""
import datetime
import email.utils
import json
import os
import re
import signal
import sys
import time

import pytest
from conftest import HERE, whole_program

sys.path.insert(0, os.path.join(HERE, "..", "fakes"))
from s3 import S3  # noqa: E402  (the path has to be there first)

HOUR, DAY, YEAR = 3600, 86400, 365 * 86400
JUMPS = {"a day ahead": lambda: DAY, "a year ahead": lambda: YEAR, "an hour back": lambda: -HOUR,
         "to 1970": lambda: -time.time()}
MAX_STALENESS_MINUTES = 60
INTERVAL = {"OFFLOADER_REFRESH_INTERVAL": "1", "OFFLOADER_CONFIG_SYNC_INTERVAL": "1"}
wait_for = whole_program.wait_for


def text_of(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_of(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def metric(server, pattern):
    """The sum of the lines that begin so."""
    lines = server.admin("/metrics").body.decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if re.match(pattern, line))


def attempts(server, dataset="kv"):
    return metric(server, f'offloader_refresh_total{{dataset="{dataset}"')


def diagnostics(server):
    return server.admin("/diagnostics", token=whole_program.ADMIN_TOKEN).json


def second_dataset(p, name, origin):
    """Another dataset of @p with the rows of `kv`."""
    (p.path / f"datasets/{name}.yml").write_text(
        (p.path / "datasets/kv.yml").read_text().replace("id: kv", f"id: {name}", 1)
        .replace("manifest: data/manifest.json", origin))


class Pace:
    """Attempts from here on: as many as the interval makes due, neither a storm nor silence."""

    def __init__(self, server, dataset):
        self.server, self.dataset = server, dataset
        self.began, self.before = time.monotonic(), attempts(server, dataset)

    def made(self):
        return attempts(self.server, self.dataset) - self.before

    def expect(self):
        wait_for(lambda: self.made() >= 2, f"two more attempts of {self.dataset}")
        made = self.made()
        # A pause after a failure is half the interval at least.
        assert made <= 2 * (time.monotonic() - self.began) + 2, f"{made} attempts of {self.dataset}: a storm"


def expect_true_times(server, control, watermark, etag):
    """Everything that shows a time shows the clock as it is now; no age is negative."""
    answer = server.get("/v1/endpoints/kv")
    now = control.wall()
    age = max(0, now - watermark)
    stale = age > MAX_STALENESS_MINUTES * 60
    assert answer.status == 200
    freshness = answer.meta["freshness"]
    assert freshness["age_seconds"] >= 0 and abs(freshness["age_seconds"] - age) < 30
    assert freshness["stale"] is stale
    assert abs(seconds_of(answer.meta["generated_at"]) - now) < 30
    assert abs(email.utils.parsedate_to_datetime(answer.headers["date"]).timestamp() - now) < 30
    assert answer.headers["etag"] == etag, "a validator is of the snapshot, not of the time"
    assert server.get("/v1/endpoints/kv", headers={"If-None-Match": etag}).status == 304
    shown = next(d for d in diagnostics(server)["datasets"] if d["dataset"] == "kv")
    assert shown["active_snapshot"]["age_seconds"] >= 0 and shown["stale"] is stale
    assert -2 < seconds_of(shown["next_refresh_at"]) - control.wall() < 30
    assert metric(server, 'offloader_snapshot_age_seconds{dataset="kv"}') >= 0
    assert metric(server, 'offloader_snapshot_stale{dataset="kv"}') == stale


def test_jumps_while_serving(serve, project, control):
    """Forth and back: a dataset on its interval, one that backs off, the sync of the project."""
    p = project(extra_endpoint=f"freshness: {{ max_staleness_minutes: {MAX_STALENESS_MINUTES} }}\n"
                               "cache: { policy: snapshot }\n")
    watermark = int(time.time()) - 1800
    p.publish("s1", [("a", 1)], watermark=text_of(watermark))
    second_dataset(p, "bad", "manifest: data/bad.json")
    good = json.loads((p.path / "data/manifest.json").read_text())
    (p.path / "data/bad.json").write_text(json.dumps({**good, "dataset_id": "bad"}))
    server = serve(p.path, **INTERVAL, **control.env)
    (p.path / "data/bad.json").write_text("{")
    etag = server.get("/v1/endpoints/kv").headers["etag"]
    wait_for(lambda: metric(server, 'offloader_refresh_ok{dataset="bad"}') == 0, "the bad manifest is seen")
    for why, jump in [*JUMPS.items(), ("and back", lambda: 0)]:
        paces = [Pace(server, "kv"), Pace(server, "bad")]
        control.shift(jump())
        print(why)
        expect_true_times(server, control, watermark, etag)
        for pace in paces:
            pace.expect()
        checked = wait_for(lambda: diagnostics(server)["config_sync"]["last_checked"], "a sync")
        assert wait_for(lambda at=checked: diagnostics(server)["config_sync"]["last_checked"] != at, "another sync")
        expect_true_times(server, control, watermark, etag)
        assert server.admin("/ready").status == 200


@pytest.mark.parametrize("why", JUMPS)
def test_jump_during_a_build(why, serve, project, control):
    """The child has made no progress for an instant only: it is not ended as one that hangs, and nothing of it is
    cleaned up as old."""
    p = project()
    p.publish("s1", [("a", 1)])
    server = serve(p.path, **control.env)
    p.publish("s2", [(f"r{i}", i) for i in range(200000)])
    assert server.post("/datasets/kv/refresh", headers={"Prefer": "respond-async"}).status == 202
    child = wait_for(lambda: server.children("__ingest"), "the ingest")[0]
    os.kill(child, signal.SIGSTOP)
    control.shift(JUMPS[why]())
    looks = control.calls("poll")

    def is_told_the_time():
        served = server.get("/v1/endpoints/kv").meta["snapshot_id"]
        assert served in ("s1", "s2")
        return served == "s2" or control.calls("poll") >= looks + 3  # the parent waits for the child by poll
    wait_for(is_told_the_time, "the parent to look at its child with the new time")
    if server.get("/v1/endpoints/kv").meta["snapshot_id"] == "s1":
        assert server.children("__ingest") == [child], "it was ended by the wall clock"
        assert os.listdir(os.path.join(server.cache, "temporary"))
    os.kill(child, signal.SIGCONT)
    wait_for(lambda: server.get("/v1/endpoints/kv").meta["snapshot_id"] == "s2", "the build")
    assert server.get("/v1/endpoints/kv?id=r199999").rows == [{"id": "r199999", "n": 199999}]
    assert server.dataset("kv")["last_attempted"]["status"] == "ok"
    assert 0 <= server.dataset("kv")["last_attempted"]["duration_ms"] < 120000


class Keyed:
    """A server, and refreshes with an Idempotency-Key. A forced refresh that acts builds anew."""

    def __init__(self, serve, project, control):
        self.project, self.control = project(), control
        self.project.publish("s1", [("a", 1)])
        self.server = serve(self.project.path, OFFLOADER_IDEMPOTENCY_TTL_HOURS="48", **control.env)

    def replayed(self, key):
        answer = self.server.post("/datasets/kv/refresh", headers={"Idempotency-Key": key})
        assert answer.status == 200, answer.body
        return answer.headers.get("idempotent-replay") == "true"

    def restart(self):
        self.server.stop()
        self.server.start()


@pytest.fixture
def keyed(serve, project, control):
    return Keyed(serve, project, control)


def test_keys_are_kept_while_the_clock_jumps(keyed):
    assert not keyed.replayed("k0")
    for i, (why, jump) in enumerate(JUMPS.items()):
        keyed.control.shift(jump())
        assert keyed.replayed("k0"), why
        assert not keyed.replayed(f"k{i + 1}") and keyed.replayed(f"k{i + 1}"), why
    keyed.control.shift(0)
    for i in range(len(JUMPS) + 1):
        assert keyed.replayed(f"k{i}"), i


def test_keys_over_restarts_with_another_time(keyed):
    """Also over restarts, as long as the machine itself is not started anew (tests/unit/admin/test_moment.c)."""
    assert not keyed.replayed("k0")
    for i, (why, jump) in enumerate([*JUMPS.items(), ("and back", lambda: 0)]):
        keyed.control.shift(jump())
        keyed.restart()
        assert all(keyed.replayed(f"k{n}") for n in range(i + 1)), why
        assert not keyed.replayed(f"k{i + 1}"), why


def test_an_event_is_seen_once_whatever_the_time(keyed):
    body = {"source_id": "exporter", "event_rev": "r1"}
    assert keyed.server.post("/datasets/kv/refresh", body).headers.get("deduplicated") is None
    for why, jump in JUMPS.items():
        keyed.control.shift(jump())
        assert keyed.server.post("/datasets/kv/refresh", body).headers.get("deduplicated") == "true", why


def test_a_start_before_the_time_of_the_files(serve, project, control):
    """Warm and cold, with a clock that is behind everything on the disk; then it is set right."""
    p = project(extra_endpoint=f"freshness: {{ max_staleness_minutes: {MAX_STALENESS_MINUTES} }}\n")
    watermark = int(time.time()) - 7200
    p.publish("s1", [("a", 1)], watermark=text_of(watermark))
    server = serve(p.path, **INTERVAL, **control.env)
    for cold in (False, True):
        server.stop()
        if cold:
            server.cache += "-cold"
        control.shift(-time.time())
        server.start()
        answer = server.get("/v1/endpoints/kv")
        assert answer.status == 200 and answer.meta["snapshot_id"] == p_current(p)
        assert abs(answer.meta["freshness"]["age_seconds"] - max(0, control.wall() - watermark)) < 30
        p.publish(p_current(p) + "x", [("b", 2)], watermark=text_of(watermark))
        wait_for(lambda: server.get("/v1/endpoints/kv").meta["snapshot_id"] == p_current(p), "the next one")
        control.shift(0)
        freshness = server.get("/v1/endpoints/kv").meta["freshness"]
        assert freshness["stale"] and freshness["age_seconds"] >= 7200
        p.publish(p_current(p) + "y", [("c", 3)], watermark=text_of(watermark))
        wait_for(lambda: server.get("/v1/endpoints/kv").meta["snapshot_id"] == p_current(p), "one more")


def p_current(p):
    return json.loads((p.path / "data/manifest.json").read_text())["snapshot_id"]


def test_credentials_are_not_fetched_in_a_loop(serve, project, control):
    """Keys that last an hour by the store's clock have long expired by ours: they are used, and not asked for with
    each request."""
    role = ("ASIACHAIN", "SECRET/aws+key==", "SECRET-session/+=")
    with S3({role[0]: (role[1], role[2])}) as store:
        p = project()
        p.publish("s1", [("a", 1)])
        good = json.loads((p.path / "data/manifest.json").read_text())
        store.put("b", "far.csv", "id,n\na,1\n")
        store.put("b", "far.json", json.dumps(
            {**good, "dataset_id": "far", "files": [{"path": "far.csv", "format": "csv"}]}))
        store.role_keys = [(*role, HOUR)]
        second_dataset(p, "far", 'source: { type: manifest, url: "s3://b/far.json", interval_seconds: 1 }')
        server = serve(p.path, OFFLOADER_ALLOW_LOOPBACK="1", **control.env,
                       **store.env(OFFLOADER_S3_AUTH="chain", AWS_EC2_METADATA_DISABLED="true",
                                   AWS_CONTAINER_CREDENTIALS_FULL_URI=store.url + "/container"))
        assert store.count("container") == 1
        for why in ("a year ahead", "to 1970"):
            control.shift(JUMPS[why]())
            pace, asked = Pace(server, "far"), store.count("container")
            pace.expect()
            assert store.count("container") == asked, why
        # Keys that come when the clock is ahead.
        control.shift(YEAR)
        server.stop()
        asked = store.count("container")
        server.start()
        Pace(server, "far").expect()
        assert store.count("container") == asked + 1
        assert server.dataset("far")["source_reachable"] and store.auth_errors == []
