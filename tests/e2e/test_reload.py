# SPDX-License-Identifier: Apache-2.0
"""Reload of the project (snapshots.md): triggers, what applies at once, what waits, what is refused."""
import os
import shutil
import signal
import threading

import pytest
from bucket_world import endpoint, tree, write_tree
from conftest import ADMIN_TOKEN, wait_for
from observe import events, metric, served, stop_child
from stamped import TENANTS, Stamped, token
from world import World


def sync(s):
    return s.admin("/diagnostics", token=ADMIN_TOKEN).json["config_sync"]


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    temporary = path.with_suffix(".new")
    temporary.write_text(text.replace(old, new))
    os.replace(temporary, path)


def test_sighup_reloads_and_checks(serve, project):
    p = project()
    p.publish("r1", [("a", 1)])
    s = serve(p.path)
    assert sync(s)["result"] == "init" and not sync(s)["enabled"] and sync(s)["last_applied"] is None
    replace(p.path / "endpoints/kv.yml", "version: 1", "version: 2")
    p.publish("r2", [("a", 2)])
    s.process.send_signal(signal.SIGHUP)
    wait_for(lambda: served(s) == "r2" and sync(s)["result"] == "applied", "both")
    assert sync(s)["last_applied"] and events(s, "reload")[0]["revision"] == sync(s)["revision"]


def counted(s):
    return {r: metric(s, f'offloader_config_sync_total{{result="{r}"}}') for r in ("unchanged", "applied", "error")}


def test_looks_at_the_project_are_counted_without_an_interval(serve, project):
    """A SIGHUP that was refused shows in Prometheus, though no gauge of config sync is there."""
    p = project()
    p.publish("r1", [("a", 1)])
    s = serve(p.path)
    assert counted(s) == {"unchanged": 0, "applied": 0, "error": 0}
    s.post("/reload")
    replace(p.path / "endpoints/kv.yml", "version: 1", "version: 2")
    s.post("/reload")
    replace(p.path / "endpoints/kv.yml", "version: 2", "version: two")
    s.process.send_signal(signal.SIGHUP)
    wait_for(lambda: counted(s) == {"unchanged": 1, "applied": 1, "error": 1}, "the refusal")
    assert metric(s, "offloader_config_sync_ok") is None


def test_sync_by_interval_and_a_bad_revision(serve, project):
    p = project()
    p.publish("r1", [("a", 1)])
    s = serve(p.path, OFFLOADER_CONFIG_SYNC_INTERVAL="1")
    assert sync(s)["enabled"] and metric(s, "offloader_config_sync_ok") == 1
    wait_for(lambda: sync(s)["result"] == "unchanged", "a look that finds nothing")
    before = sync(s)["revision"]
    replace(p.path / "endpoints/kv.yml", "default_limit: 100", "default_limit: 1")
    wait_for(lambda: sync(s)["result"] == "applied", "the new revision")
    assert sync(s)["revision"] != before
    replace(p.path / "endpoints/kv.yml", "default_limit: 1,", "default_limit: none,")
    wait_for(lambda: sync(s)["result"] == "error", "the refusal")
    assert sync(s)["error"] == "invalid" and metric(s, "offloader_config_sync_ok") == 0
    assert s.get("/v1/endpoints/kv").status == 200
    checked, n, errors = sync(s)["last_checked"], len(events(s, "reload")), counted(s)["error"]
    wait_for(lambda: sync(s)["last_checked"] > checked and counted(s)["error"] > errors, "another look")
    assert sync(s)["result"] == "error" and len(events(s, "reload")) == n  # said once, still an error
    replace(p.path / "endpoints/kv.yml", "default_limit: none,", "default_limit: 2,")
    wait_for(lambda: sync(s)["result"] == "applied" and sync(s)["error"] is None, "the repair")


@pytest.mark.parametrize("where", ["/secrets/keys.yml", "/secrets/token-hashes", "keys/plain", ".keys/keys.yml"])
def test_a_key_revoked_anywhere_stops_working(serve, tmp_path, where):
    """Nobody asks for a reload: the interval's look finds the keys file wherever it is and whatever its name."""
    p = Stamped(tmp_path / "project")
    p.publish(1)
    text = (p.path / "keys/keys.yml").read_text()
    (p.path / "keys/keys.yml").unlink()
    keys = tmp_path / where[1:] if where[0] == "/" else p.path / where
    keys.parent.mkdir(exist_ok=True)
    keys.write_text(text)
    replace(p.path / "offloader.yml", "keys/keys.yml", str(keys) if where[0] == "/" else where)
    s = serve(p.path, OFFLOADER_CONFIG_SYNC_INTERVAL="1")
    assert s.get("/v1/endpoints/kv", token("acme")).status == 200
    revoked = text.replace("tenant: acme, endpoints: [kv], status: active", "tenant: acme, endpoints: [kv], status: revoked")
    keys.write_text("keys: none of your business\n")
    assert s.post("/reload").status == 409
    keys.write_text(revoked)
    wait_for(lambda: s.get("/v1/endpoints/kv", token("acme")).status == 401, "the repaired file")
    keys.write_text(text)
    wait_for(lambda: s.get("/v1/endpoints/kv", token("acme")).status == 200, "the key is back")
    keys.write_text(revoked)
    wait_for(lambda: s.get("/v1/endpoints/kv", token("acme")).status == 401, "the revoked key")
    assert s.get("/v1/endpoints/kv", token("globex")).status == 200


def test_a_project_that_vanishes_is_unreachable(serve, project):
    p = project()
    p.publish("r1", [("a", 1)])
    s = serve(p.path)
    (p.path / "offloader.yml").rename(p.path / "away")
    assert s.post("/reload").status == 409
    assert sync(s)["result"] == "error" and sync(s)["error"] == "not_found" and served(s) == "r1"


def test_endpoints_keys_and_descriptions_apply_at_once(serve, tmp_path):
    p = Stamped(tmp_path / "project")
    p.publish(1)
    s = serve(p.path)
    acme = token("acme")
    assert s.get("/v1/endpoints/kv", acme).status == 200
    replace(p.path / "endpoints/kv.yml", "default_limit: 100", "default_limit: 3")
    s.post("/reload")
    assert len(s.get("/v1/endpoints/kv", acme).rows) == 3
    replace(p.path / "keys/keys.yml", f"tenant: acme, endpoints: [kv], status: active", "tenant: acme, endpoints: [kv], status: revoked")
    s.post("/reload")
    assert s.get("/v1/endpoints/kv", acme).status == 401  # the first request after it
    replace(p.path / "keys/keys.yml", "tenant: globex", "tenant: initech")
    s.post("/reload")
    assert {r["tenant"] for r in s.get("/v1/endpoints/kv", token("globex")).rows} == {"initech"}  # nothing of the old tenant cached


def builds(s):
    return {x for x in os.listdir(os.path.join(s.cache, "snapshots/kv")) if not x.startswith("index")}


def turn(link, target):
    """As a release tool and a kubelet do it: one rename."""
    temporary = link.with_name("turning")
    temporary.symlink_to(target)
    os.replace(temporary, link)


def lay_out(layout, root, first):
    """What OFFLOADER_CONFIG names, and the link that is turned."""
    if layout == "release":
        (root / "current").symlink_to(first)
        return root / "current", root / "current"
    config = root / "config"  # a ConfigMap: links to what one link leads to
    config.mkdir()
    (config / "..data").symlink_to(first)
    for name in os.listdir(first):
        (config / name).symlink_to(f"..data/{name}")
    return config, config / "..data"


@pytest.mark.parametrize("layout", ["release", "configmap"])
@pytest.mark.parametrize("asks", [True, False])
def test_a_link_turned_to_the_same_yaml_brings_its_data(serve, tmp_path, layout, asks):
    scan = {"endpoints/scan.yml": endpoint("scan", "kv", mode="remote_scan")}
    write_tree(tmp_path / "1", tree(**scan))
    write_tree(tmp_path / "2", tree(rows=[("z", 9)], snapshot="r2", **scan))
    write_tree(tmp_path / "3", tree(rows=[("z", 9)], snapshot="r2", **scan))
    config, link = lay_out(layout, tmp_path, tmp_path / "1")
    s = serve(config, OFFLOADER_CONFIG_SYNC_INTERVAL="0" if asks else "1")
    revision = sync(s)["revision"]
    assert served(s) == "r1"
    turn(link, tmp_path / "2")
    if asks:
        assert s.post("/reload").json == {"result": "applied", "revision": revision}
        assert s.post("/reload").json["result"] == "unchanged"
    wait_for(lambda: served(s) == "r2", "the snapshot of the other directory")
    assert s.get("/v1/endpoints/kv").rows == [{"id": "z", "n": 9}]
    before = builds(s)
    turn(link, tmp_path / "3")  # the same snapshot: what reads its files in place reads those that are there now
    if asks:
        assert s.post("/reload").json["result"] == "applied"
    wait_for(lambda: len(builds(s)) == 2 and builds(s) != before, "the same snapshot, built again")
    shutil.rmtree(tmp_path / "1")
    shutil.rmtree(tmp_path / "2")
    assert s.get("/v1/endpoints/scan").rows == [{"id": "z", "n": 9}]


def add_dataset(p, name):
    for kind, old in (("datasets", "id: kv"), ("endpoints", "name: kv")):
        text = (p.path / kind / "kv.yml").read_text().replace(old, old.replace("kv", name)).replace("dataset: kv", f"dataset: {name}")
        (p.path / kind / f"{name}.yml").write_text(text.replace("data/manifest", f"{name}/manifest"))
    (p.path / name).mkdir(exist_ok=True)


def threads(s, name):
    found = []
    for task in os.listdir(f"/proc/{s.process.pid}/task"):
        try:
            with open(f"/proc/{s.process.pid}/task/{task}/comm", encoding="ascii") as f:
                found += [task] if f.read().strip() == name else []
        except OSError:  # it has just ended
            pass
    return found


def test_a_new_dataset_loads_and_a_removed_one_goes(serve, project):
    p = project()
    p.publish("r1", [("a", 1)])
    s = serve(p.path)
    add_dataset(p, "more")
    assert s.post("/reload").json["result"] == "applied"
    r = s.admin("/ready")
    assert r.status == 200 and r.json["loading"] == ["more"] and "waiting_for" not in r.json
    assert s.get("/v1/endpoints/more").status == 503
    for f in (p.path / "data").iterdir():
        (p.path / "more" / f.name).write_bytes(f.read_bytes())
    replace(p.path / "more/manifest.json", '"dataset_id": "kv"', '"dataset_id": "more"')
    assert s.post("/datasets/more/refresh").status == 200 and s.get("/v1/endpoints/more").status == 200
    assert s.admin("/ready").json == {"status": "ok", "ready": True}
    directory = os.path.join(s.cache, "snapshots/more")
    assert [d for d in os.listdir(directory) if d != "index.json"]
    for kind in ("datasets", "endpoints"):
        (p.path / kind / "more.yml").unlink()
    s.post("/reload")
    assert s.get("/v1/endpoints/more").status == 404 and s.post("/datasets/more/refresh").status == 404
    wait_for(lambda: not os.listdir(directory), "its directories to go")
    wait_for(lambda: 'dataset="more"' not in s.admin("/metrics").body.decode(), "its last series to go, without another reload")
    assert len(threads(s, "refresh")) == 1
    add_dataset(p, "more")
    s.post("/reload")
    wait_for(lambda: s.get("/v1/endpoints/more").status == 200, "it to load again")


def test_removing_a_dataset_of_the_boot_stops_waiting_for_it(serve, project):
    p = project()
    p.publish("r1", [("a", 1)])
    add_dataset(p, "never")
    s = serve(p.path, ready=False)
    wait_for(lambda: s.get("/v1/endpoints/kv").status == 200, "the other one")
    assert s.admin("/ready").json["waiting_for"] == ["never"]
    for kind in ("datasets", "endpoints"):
        (p.path / kind / "never.yml").unlink()
    s.post("/reload")
    assert s.admin("/ready").status == 200


def test_another_origin_is_refreshed_in_place(serve, project):
    p = project()
    p.publish("r1", [("a", 1)])
    s = serve(p.path)
    add_dataset(p, "moved")
    for kind in ("datasets", "endpoints"):
        (p.path / kind / "moved.yml").unlink()
    p.publish("r2", [("a", 2)])
    for f in (p.path / "data").iterdir():
        (p.path / "moved" / f.name).write_bytes(f.read_bytes())
    p.publish("r3", [("a", 3)])
    replace(p.path / "datasets/kv.yml", "data/manifest", "moved/manifest")
    assert s.post("/reload").json["result"] == "applied"
    wait_for(lambda: served(s) == "r2", "the new origin's snapshot")
    assert s.dataset("kv")["previous_snapshot"]["snapshot_id"] == "r1"


def test_another_origin_with_the_same_id(serve, project, tmp_path):
    """An id names a snapshot of one origin: the other one's is taken, also when it was moved while nothing ran."""
    p, cache = project(), tmp_path / "kept"
    p.publish("r1", [("a", 1)])
    s = serve(p.path, cache)
    shows = lambda n: s.get("/v1/endpoints/kv").rows == [{"id": "a", "n": n}]  # noqa: E731
    p.publish("r1", [("a", 2)])
    shutil.copytree(p.path / "data", p.path / "moved")
    replace(p.path / "datasets/kv.yml", "data/manifest", "moved/manifest")
    assert s.post("/reload").json["result"] == "applied"
    wait_for(lambda: shows(2), "the new origin's snapshot")
    assert served(s) == "r1" and s.dataset("kv")["previous_snapshot"] is None
    s.stop()
    p.publish("r1", [("a", 3)])
    replace(p.path / "datasets/kv.yml", "moved/manifest", "data/manifest")
    s = serve(p.path, cache)
    wait_for(lambda: shows(3), "the first origin's snapshot")


def test_a_cutover_waits_fails_is_retried_and_flips(serve, tmp_path):
    p = Stamped(tmp_path / "project")
    p.publish(1)
    s = serve(p.path, OFFLOADER_REFRESH_INTERVAL="1")
    p.swap(s, 2)
    p.configure(1)
    assert s.post("/reload").json["result"] == "applied"
    wait_for(lambda: s.dataset("kv")["refresh_error"], "the first try on data of the old contract")
    d = s.dataset("kv")
    assert d["cutover_pending"] and d["refresh_error"]["code"] == "incompatible_schema"
    assert d["active_snapshot"]["snapshot_id"] == "g2-c0"
    p.publish(3)  # nobody forces it: the interval's look finds the new manifest
    wait_for(lambda: not s.dataset("kv")["cutover_pending"], "the cutover")
    d = s.dataset("kv")
    assert d["active_snapshot"]["snapshot_id"] == "g3-c1" and d["previous_snapshot"] is None
    assert s.post("/datasets/kv/rollback").status == 409  # a schema cutover clears the target
    assert "extra" in s.get("/v1/endpoints/kv", token("acme")).rows[0]


def test_an_endpoint_moved_to_a_dataset_under_cutover_answers_all_the_time(serve, tmp_path):
    w = World(tmp_path / "project")
    w.dataset("stays", [("id", "BIGINT")])
    w.dataset("turns", [("id", "BIGINT")])
    w.publish("stays", "s1", [(1,)])
    w.publish("turns", "t1", [(2,)])
    w.endpoint("moves", "stays")
    s = serve(w.path)
    w.dataset("turns", [("id", "BIGINT"), ("extra", "BIGINT")])
    w.endpoint("moves", "turns", version=2)
    assert s.post("/reload").json["result"] == "applied"
    a = s.get("/v1/endpoints/moves")
    assert (a.status, a.rows, a.meta["version"]) == (200, [{"id": 1}], 1)
    assert s.dataset("turns")["cutover_pending"]
    w.publish("turns", "t2", [(3, 4)])
    assert s.post("/datasets/turns/refresh").status == 200
    a = s.get("/v1/endpoints/moves")
    assert (a.rows, a.meta["version"]) == ([{"id": 3, "extra": 4}], 2)


def test_a_waiting_cutover_is_not_built_at_each_look(serve, tmp_path):
    p = Stamped(tmp_path / "project")
    p.publish(1)
    s = serve(p.path, OFFLOADER_REFRESH_INTERVAL="1")
    p.configure(1)
    p.publish(2)
    late = p.path / "data/2-1.csv"
    kept = late.read_bytes()
    late.unlink()
    s.post("/reload")
    wait_for(lambda: (s.dataset("kv")["refresh_error"] or {}).get("code") == "missing_file", "the first try")
    count = lambda status: metric(s, f'offloader_refresh_total{{dataset="kv",status="{status}"}}') or 0  # noqa: E731
    tries, looks = count("rejected"), count("unchanged")
    wait_for(lambda: count("unchanged") >= looks + 2, "looks between the tries", 30)
    assert count("rejected") == tries and s.dataset("kv")["cutover_pending"]
    late.write_bytes(kept)
    s.process.send_signal(signal.SIGHUP)
    wait_for(lambda: not s.dataset("kv")["cutover_pending"], "an operator's try")


def test_rollback_while_a_cutover_is_pending(serve, tmp_path):
    p = Stamped(tmp_path / "project")
    p.publish(1)
    s = serve(p.path)
    p.swap(s, 2)
    p.configure(2)
    s.post("/reload")
    assert s.post("/datasets/kv/rollback").json["snapshot_id"] == "g1-c0"
    assert {r["tenant"] for r in s.get("/v1/endpoints/kv", token("acme")).rows} == {"acme"}
    p.swap(s, 3)
    assert {r["account"] for r in s.get("/v1/endpoints/kv", token("acme")).rows} == {"acme"}


def test_a_superseded_build_leaves_nothing(serve, tmp_path):
    p = Stamped(tmp_path / "project", rows=40_000)
    p.publish(1)
    s = serve(p.path)
    p.configure(1)
    p.publish(2)
    s.post("/reload")
    child = stop_child(s)
    home = Stamped(tmp_path / "project", rows=40_000)  # contract 0 again
    s.post("/reload")
    os.kill(child, signal.SIGCONT)
    wait_for(lambda: not os.listdir(os.path.join(s.cache, "temporary")), "the cancelled build to go")
    d = s.dataset("kv")
    assert not d["cutover_pending"] and d["active_snapshot"]["snapshot_id"] == "g1-c0" and home.contract == 0
    assert len([x for x in os.listdir(os.path.join(s.cache, "snapshots/kv")) if x != "index.json"]) == 1


def test_auth_none_waits_for_the_last_tenant_endpoint(serve, tmp_path):
    """The new revision makes the dataset public; until that is cut over, keys are asked for everywhere."""
    p = Stamped(tmp_path / "project")
    p.publish(1)
    s = serve(p.path)
    public = Stamped(tmp_path / "project", contract=1, public=True)
    assert s.post("/reload").json["result"] == "applied"
    assert s.get("/v1/endpoints/kv").status == 401
    assert {r["tenant"] for r in s.get("/v1/endpoints/kv", token("acme")).rows} == {"acme"}
    public.publish(2)
    assert s.post("/datasets/kv/refresh").status == 200
    r = s.get("/v1/endpoints/kv")
    assert r.status == 200 and {x["tenant"] for x in r.rows} == set(TENANTS)


def test_a_push_in_progress_is_never_taken_half(serve, tmp_path):
    """Two files that only fit together are replaced one after the other while reloads go on: a reload
    takes the old pair or the new one, or says that the project keeps changing."""
    p = Stamped(tmp_path / "project")
    p.publish(1)
    s = serve(p.path)
    stop, statuses = threading.Event(), []

    def push():
        i = 0
        while not stop.is_set():
            i += 1
            p.configure(0, description=f"revision {i}")
    thread = threading.Thread(target=push)
    thread.start()
    try:
        for _ in range(60):
            statuses.append(s.post("/reload").status)
            assert s.get("/v1/endpoints/kv", token("acme")).status == 200
    finally:
        stop.set()
        thread.join()
    assert set(statuses) <= {200, 503}, statuses
    assert s.post("/reload").status == 200


def test_a_changed_sort_is_rebuilt_without_a_new_snapshot(serve, project):
    """Endpoints that filter by another column want another physical order: the same id is built again."""
    p = project()
    p.publish("r1", [(f"k{i}", i) for i in range(50)])
    s = serve(p.path)
    before = os.listdir(os.path.join(s.cache, "snapshots/kv"))
    replace(p.path / "endpoints/kv.yml", "{ column: id, op: eq, param: id }", "{ column: n, op: eq, param: n }")
    replace(p.path / "endpoints/kv.yml", "{ name: id, type: string }", "{ name: n, type: integer }")
    assert s.post("/reload").json["result"] == "applied"
    assert s.get("/v1/endpoints/kv?n=7").rows == [{"id": "k7", "n": 7}]  # right at once
    wait_for(lambda: os.listdir(os.path.join(s.cache, "snapshots/kv")) != before and
             len(os.listdir(os.path.join(s.cache, "snapshots/kv"))) == 2, "the rebuild")
    assert s.get("/v1/endpoints/kv?n=7").rows == [{"id": "k7", "n": 7}] and served(s) == "r1"
