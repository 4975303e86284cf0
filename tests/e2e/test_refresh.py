# SPDX-License-Identifier: Apache-2.0
"""When data refreshes: detection, sources, backoff, independence, hold, quarantine, healing (snapshots.md)."""
import datetime
import glob
import json
import os
import shutil
import signal
import threading
import time

from conftest import Server, wait_for
from observe import events, metric, served, stop_child


def two_datasets(p):
    """A second dataset `other` beside kv, of the same form."""
    (p.path / "other").mkdir(exist_ok=True)
    text = (p.path / "datasets/kv.yml").read_text()
    (p.path / "datasets/other.yml").write_text(text.replace("id: kv", "id: other").replace("data/", "other/"))
    text = (p.path / "endpoints/kv.yml").read_text()
    (p.path / "endpoints/other.yml").write_text(text.replace("name: kv", "name: other").replace("dataset: kv", "dataset: other"))
    publish_other(p)


def publish_other(p, snapshot=None):
    for f in glob.glob(str(p.path / "data/*")):
        shutil.copy(f, p.path / "other")
    document = json.loads((p.path / "data/manifest.json").read_text())
    document.update(dataset_id="other", **({"snapshot_id": snapshot} if snapshot else {}))
    (p.path / "other/manifest.json").write_text(json.dumps(document))


def test_a_static_manifest_is_taken_by_its_interval(serve, project):
    p = project()
    p.publish("r1", [("a", 1)])
    s = serve(p.path, OFFLOADER_REFRESH_INTERVAL="1")
    p.publish("r2", [("a", 2)])
    wait_for(lambda: served(s) == "r2", "the interval")
    n = metric(s, 'offloader_refresh_total{dataset="kv",status="unchanged"}')
    wait_for(lambda: metric(s, 'offloader_refresh_total{dataset="kv",status="unchanged"}') > n, "a look that finds nothing")
    d = s.dataset("kv")
    assert d["last_attempted"]["status"] == "unchanged" and d["next_refresh_at"] and d["refresh_error"] is None
    assert d["previous_snapshot"]["snapshot_id"] == "r1"


def test_a_manifest_rewritten_in_place_with_its_old_times(serve, project):
    """As `cp -p` and `rsync --inplace --times` do: of the same size, in the same inode, with the same time."""
    p = project()
    p.publish("r2", [("a", 2)])
    manifest = p.path / "data/manifest.json"
    text = manifest.read_text()
    p.publish("r1", [("a", 1)])
    s = serve(p.path, OFFLOADER_REFRESH_INTERVAL="1")
    looks = lambda: metric(s, 'offloader_refresh_total{dataset="kv",status="unchanged"}') or 0  # noqa: E731
    wait_for(looks, "a look that finds nothing")
    before = manifest.stat()
    with open(manifest, "r+") as f:
        f.write(text)
    os.utime(manifest, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = manifest.stat()
    assert (after.st_size, after.st_ino, after.st_mtime_ns) == (before.st_size, before.st_ino, before.st_mtime_ns)
    wait_for(lambda: served(s) == "r2", "the interval", 20)


def test_a_manifest_at_an_absolute_path(serve, project, tmp_path):
    p = project()
    p.publish("r1", [("a", 1)])
    outside = tmp_path / "outside"
    (p.path / "data").rename(outside)
    kv = p.path / "datasets/kv.yml"
    kv.write_text(kv.read_text().replace("manifest: data/manifest.json",
                                         f"source: {{ type: manifest, url: {outside}/manifest.json, interval_seconds: 1 }}"))
    s = serve(p.path)
    assert s.dataset("kv")["source"] == "manifest"
    (p.path / "data").symlink_to(outside)
    p.publish("r2", [("a", 2)])
    wait_for(lambda: served(s) == "r2", "its interval")


def test_an_interval_of_nothing_still_retries_a_failed_boot(serve, project):
    p = project()
    p.publish("r1", [("a", 1)])
    manifest = p.path / "data/manifest.json"
    kept = manifest.read_bytes()
    manifest.unlink()
    s = serve(p.path, ready=False)
    wait_for(lambda: s.dataset("kv")["last_attempted"], "the first attempt")
    r = s.admin("/ready")
    assert r.status == 503 and r.json["waiting_for"] == ["kv"] and r.json["ready"] is False
    assert s.get("/v1/endpoints/kv").status == 503
    d = s.dataset("kv")
    assert d["refresh_error"]["code"] == "missing_file" and d["active_snapshot"] is None and not d["source_reachable"]
    manifest.write_bytes(kept)
    s.process.send_signal(signal.SIGHUP)
    wait_for(lambda: s.admin("/ready").status == 200, "the check after SIGHUP")


def test_files_that_come_after_their_manifest_are_found(serve, project):
    p = project()
    p.publish("r1", [("a", 1)])
    s = serve(p.path, OFFLOADER_REFRESH_INTERVAL="1")
    p.publish("r2", [("a", 2), ("b", 3)])
    name = json.loads((p.path / "data/manifest.json").read_text())["files"][0]["path"]
    whole = (p.path / "data" / name).read_bytes()
    for early, code in ((None, "missing_file"), (whole[:-4], "row_count_mismatch")):
        p.publish(f"r3{code}", [("a", 2), ("b", 3)])
        late = p.path / "data" / json.loads((p.path / "data/manifest.json").read_text())["files"][0]["path"]
        late.unlink() if early is None else late.write_bytes(early)
        wait_for(lambda: (s.dataset("kv")["refresh_error"] or {}).get("code") == code, code)
        assert served(s) != f"r3{code}"
        late.write_bytes(whole)
        wait_for(lambda: served(s) == f"r3{code}", f"{code} to heal without a new manifest")


def test_a_rejected_snapshot_is_not_built_again_and_again(serve, project):
    p = project(extra_dataset="checks: { min_rows: 1 }\n")
    p.publish("r1", [("a", 1)])
    s = serve(p.path, OFFLOADER_REFRESH_INTERVAL="1")
    p.publish("r2", [])
    wait_for(lambda: s.dataset("kv")["last_attempted"]["status"] == "rejected", "the rejection")
    looks = lambda: metric(s, 'offloader_refresh_total{dataset="kv",status="unchanged"}') or 0  # noqa: E731
    before = looks()
    wait_for(lambda: looks() > before, "file times to be old enough to be trusted")
    n, before = metric(s, 'offloader_refresh_total{dataset="kv",status="rejected"}'), looks()
    wait_for(lambda: looks() >= before + 2, "two looks")
    assert metric(s, 'offloader_refresh_total{dataset="kv",status="rejected"}') == n
    assert s.dataset("kv")["refresh_error"]["code"] == "check_failed"  # what was wrong still is
    assert metric(s, 'offloader_refresh_ok{dataset="kv"}') == 0


def break_builds(s):
    """Nothing can be built until the file that this returns is gone."""
    temporary = os.path.join(s.cache, "temporary")
    shutil.rmtree(temporary)
    open(temporary, "w").close()
    return temporary


def test_failures_back_off_up_to_the_interval(serve, project):
    p = project()
    p.publish("r1", [("a", 1)])
    s = serve(p.path, OFFLOADER_REFRESH_INTERVAL="3")
    temporary = break_builds(s)
    p.publish("r2", [("a", 2)])
    at, pauses = datetime.datetime.fromisoformat, {}  # by attempt: from its end to the next, as planned

    def four_failed():
        d = s.dataset("kv")
        last = d["last_attempted"]
        if last["status"] == "failed":
            assert last["snapshot_id"] == "r2"
            pause = (at(d["next_refresh_at"]) - at(last["at"])).total_seconds() - last["duration_ms"] / 1000
            pauses[last["at"]] = max(pause, pauses.get(last["at"], 0))  # less where the answer took its time
        return len(pauses) >= 4

    wait_for(four_failed, "retries")
    planned = list(pauses.values())  # 1 s, 2 s, 3 s, 3 s, each less up to a quarter
    assert planned[0] < 2.01 and 2.05 < planned[-1] < 3.01 and max(planned) < 3.01, planned
    assert served(s) == "r1"
    os.unlink(temporary)
    wait_for(lambda: served(s) == "r2", "recovery by itself")
    assert s.dataset("kv")["refresh_error"] is None


def test_ticks_of_config_sync_do_not_bypass_the_backoff(serve, project):
    """They look at the manifest, and leave what failed to its retry; SIGHUP does not."""
    p = project()
    p.publish("r1", [("a", 1)])
    s = serve(p.path, OFFLOADER_REFRESH_INTERVAL="600", OFFLOADER_CONFIG_SYNC_INTERVAL="1")
    temporary = break_builds(s)
    p.publish("r2", [("a", 2)])
    wait_for(lambda: s.dataset("kv")["last_attempted"]["status"] == "failed", "a failure")
    looks = lambda: metric(s, 'offloader_refresh_total{dataset="kv",status="unchanged"}') or 0  # noqa: E731
    before = looks()
    wait_for(lambda: looks() >= before + 4, "looks between the tries", 30)
    assert s.dataset("kv")["last_attempted"]["status"] == "failed"  # what was wrong still is
    os.unlink(temporary)
    s.process.send_signal(signal.SIGHUP)
    wait_for(lambda: served(s) == "r2", "an operator's try")


def test_a_hanging_build_delays_no_other_dataset(serve, project):
    p = project()
    p.publish("r1", [("a", 1)])
    two_datasets(p)
    s = serve(p.path, OFFLOADER_INGEST_STALL_SECONDS="5")
    p.publish("r2", [(f"k{i}", i) for i in range(100_000)])
    r = s.post("/datasets/kv/refresh", headers={"Prefer": "respond-async"})
    assert r.status == 202
    stop_child(s)
    progress = s.dataset("kv")["progress"]
    assert set(progress) == {"phase", "files_done", "files_total", "rows_done", "rows_total", "bytes_done", "bytes_total"}
    assert progress["rows_total"] == 100_000
    publish_other(p, "o2")
    assert s.post("/datasets/other/refresh").json["status"] == "ok"  # while kv hangs
    wait_for(lambda: s.dataset("kv")["last_attempted"]["status"] == "failed", "the stall to be noticed")
    assert served(s) == "r1" and s.dataset("kv")["progress"] is None


def test_no_more_builds_than_allowed_run_at_once(serve, project):
    p = project()
    p.publish("r1", [("a", 1)])
    two_datasets(p)
    s = serve(p.path, OFFLOADER_REFRESH_CONCURRENCY="1")
    p.publish("r2", [(f"k{i}", i) for i in range(100_000)])
    publish_other(p, "o2")
    s.post("/datasets/kv/refresh", headers={"Prefer": "respond-async"})
    child = stop_child(s)
    s.post("/datasets/other/refresh", headers={"Prefer": "respond-async"})
    wait_for(lambda: events(s, "action") and len(events(s, "action")) == 2, "both to be asked for")
    wait_for(lambda: s.dataset("other")["progress"], "the other to get as far as its build")
    assert s.dataset("other")["progress"]["phase"] == "waiting" and s.dataset("other")["last_good"] == "r1"
    os.kill(child, signal.SIGCONT)
    wait_for(lambda: s.dataset("other")["last_good"] == "o2" and served(s) == "r2", "one after the other")


def test_hold_and_release(serve, project):
    p = project()
    p.publish("r1", [("a", 1)])
    s = serve(p.path, OFFLOADER_REFRESH_INTERVAL="1")
    assert s.post("/hold").json == {"held": True}
    wait_for(lambda: s.dataset("kv")["next_refresh_at"] is None, "no time of a next refresh")
    p.publish("r2", [("a", 2)])
    s.process.send_signal(signal.SIGHUP)
    at = s.dataset("kv")["last_attempted"]["at"]
    time.sleep(1.5)  # an interval passes
    assert served(s) == "r1" and s.dataset("kv")["last_attempted"]["at"] == at
    assert s.post("/datasets/kv/refresh").json["snapshot_id"] == "r2"  # asked for by a person
    p.publish("r3", [("a", 3)])
    assert s.post("/release").json == {"held": False}
    wait_for(lambda: served(s) == "r3", "automatic refreshes to go on")


def test_what_is_asked_for_during_a_build_is_not_held_back(serve, project):
    """It joins the build, which may have read the source before: a look follows, held or not."""
    p = project()
    p.publish("r1", [("a", 1)])
    s = serve(p.path)
    s.post("/hold")
    p.publish("r2", [(f"k{i}", i) for i in range(100_000)])
    ask = lambda: s.post("/datasets/kv/refresh", headers={"Prefer": "respond-async"})  # noqa: E731
    ask()
    child = stop_child(s)
    p.publish("r3", [("a", 3)])
    ask()
    wait_for(lambda: sum("refresh asked for" in e["message"] for e in events(s, "action")) == 2, "both to be asked for")
    os.kill(child, signal.SIGCONT)
    wait_for(lambda: served(s) == "r3", "what was published before it was asked for")


def test_quarantine_outlives_a_restart(serve, project, tmp_path):
    p = project()
    p.publish("r1", [("a", 1)])
    cache = tmp_path / "kept"
    s = serve(p.path, cache, OFFLOADER_REFRESH_INTERVAL="1")
    p.publish("r2", [("a", 2)])
    assert s.post("/datasets/kv/refresh").status == 200
    assert s.post("/datasets/kv/rollback").json == {"dataset": "kv", "snapshot_id": "r1", "status": "ok"}
    wait_for(lambda: len(glob.glob(f"{cache}/snapshots/kv/*/")) == 1, "the directory that was left to go")
    s.stop()
    s = serve(p.path, cache, OFFLOADER_REFRESH_INTERVAL="1")
    n = metric(s, 'offloader_refresh_total{dataset="kv",status="unchanged"}') or 0
    wait_for(lambda: (metric(s, 'offloader_refresh_total{dataset="kv",status="unchanged"}') or 0) > n + 1, "automatic checks")
    assert served(s) == "r1" and s.dataset("kv")["quarantined"] == "r2"
    assert s.post("/datasets/kv/rollback").status == 409
    assert s.post("/datasets/kv/refresh").json["snapshot_id"] == "r2"  # forced
    assert s.dataset("kv")["quarantined"] is None and s.dataset("kv")["previous_snapshot"]["snapshot_id"] == "r1"


def test_a_cold_start_onto_a_quarantined_snapshot_says_what_to_do(serve, project, tmp_path):
    p = project()
    p.publish("r1", [("a", 1)])
    cache = tmp_path / "kept"
    s = serve(p.path, cache)
    p.publish("r2", [("a", 2)])
    s.post("/datasets/kv/refresh")
    s.post("/datasets/kv/rollback")
    s.stop()
    store = glob.glob(f"{cache}/snapshots/kv/*/data.store")[0]
    os.truncate(store, 100)
    s = serve(p.path, cache, ready=False)
    wait_for(lambda: s.dataset("kv")["refresh_error"], "the first check")
    error = s.dataset("kv")["refresh_error"]
    assert error["code"] == "quarantined" and "r2" in error["message"] and s.admin("/ready").status == 503
    assert s.post("/datasets/kv/refresh").status == 200 and s.admin("/ready").status == 200


def test_a_forced_refresh_of_the_active_id_keeps_the_target(serve, project):
    p = project()
    p.publish("r1", [("a", 1)])
    s = serve(p.path)
    p.publish("r2", [("a", 2)])
    s.post("/datasets/kv/refresh")
    before = s.dataset("kv")["active_snapshot"]["index_hash"]
    assert s.post("/datasets/kv/refresh").json == {"dataset": "kv", "snapshot_id": "r2", "status": "ok"}
    assert s.dataset("kv")["previous_snapshot"]["snapshot_id"] == "r1"
    assert s.dataset("kv")["active_snapshot"]["index_hash"] == before  # the same data has the same hash
    assert s.post("/datasets/kv/rollback").json["snapshot_id"] == "r1"


def test_a_manifest_replaced_while_it_is_read(serve, project):
    """By renames and in place, without a pause, while refreshes read it: a torn one is rejected, and what serves is
    always one that was published whole."""
    p = project()
    p.publish("r0", [("a", 0)])
    s = serve(p.path)
    manifest, ended = p.path / "data/manifest.json", threading.Event()

    def publish():
        i = 0
        while not ended.is_set():
            i += 1
            p.publish(f"r{i}", [("a", i)])
            text = manifest.read_text()
            with open(manifest, "r+") as f:
                f.truncate(0)
                for at in range(0, len(text), 100):  # torn for most of the time
                    f.write(text[at:at + 100])
                    f.flush()

    writer = threading.Thread(target=publish)
    writer.start()
    statuses = []

    def refresh():
        r = s.post("/datasets/kv/refresh")
        statuses.append(r.status)
        assert r.status == 200 or r.json["attempt"]["status"] == "rejected", r.body
        answer = s.get("/v1/endpoints/kv")
        assert answer.status == 200 and answer.meta["snapshot_id"] == f"r{answer.rows[0]['n']}"
        return len(statuses) >= 40 and {200, 409} <= set(statuses)

    try:
        wait_for(refresh, "whole manifests and torn ones")
    finally:
        ended.set()
        writer.join()
    assert s.post("/datasets/kv/refresh").status == 200
    assert served(s) == json.loads(manifest.read_text())["snapshot_id"]


def test_a_data_file_cut_between_check_and_read(serve, project):
    p = project()
    p.publish("r1", [("a", 1)])
    s = serve(p.path, OFFLOADER_REFRESH_CONCURRENCY="1")
    p.publish("r2", [(f"k{i}", i) for i in range(200_000)])
    name = json.loads((p.path / "data/manifest.json").read_text())["files"][0]["path"]
    s.post("/datasets/kv/refresh", headers={"Prefer": "respond-async"})
    child = stop_child(s)
    os.truncate(p.path / "data" / name, 100_000)
    os.kill(child, signal.SIGCONT)
    wait_for(lambda: s.dataset("kv")["last_attempted"]["status"] in ("rejected", "failed", "ok")
             and s.dataset("kv")["last_attempted"]["snapshot_id"] == "r2", "the attempt's end")
    d = s.dataset("kv")
    whole = d["active_snapshot"]["rows"] == 200_000  # it had been read already
    assert (d["last_attempted"]["status"] == "ok") == whole and (whole or served(s) == "r1")
    assert s.get("/v1/endpoints/kv").status == 200


def test_a_manifest_that_never_ends_is_no_manifest(serve, project):
    p = project()
    p.publish("r1", [("a", 1)])
    s = serve(p.path)
    os.unlink(p.path / "data/manifest.json")
    os.mkfifo(p.path / "data/manifest.json")
    r = s.post("/datasets/kv/refresh")
    assert r.status == 409 and served(s) == "r1"
    os.unlink(p.path / "data/manifest.json")
    p.publish("r2", [("a", 2)])
    assert s.post("/datasets/kv/refresh").status == 200


def test_progress_of_a_long_build_is_logged(project, tmp_path):
    p = project()
    p.publish("r1", [("a", 1)])
    s = Server(p.path, tmp_path / "c", {"OFFLOADER_INGEST_STALL_SECONDS": "60"}).start()
    try:
        p.publish("r2", [(f"k{i}", i) for i in range(400_000)])
        s.post("/datasets/kv/refresh", headers={"Prefer": "respond-async"})
        child = stop_child(s)
        time.sleep(5.2)  # progress is logged every 5 s
        os.kill(child, signal.SIGCONT)
        wait_for(lambda: served(s) == "r2", "the build")
        lines = [json.loads(x) for x in s.log().splitlines() if '"event":"progress"' in x]
        assert lines and lines[0]["dataset"] == "kv" and lines[0]["rows_total"] == 400_000
    finally:
        s.stop()
