# SPDX-License-Identifier: Apache-2.0
"""A project from a bucket: boot, limits, names, sync, and the copy that is kept for a bucket that is away."""
import json
import os
import signal
import subprocess
import threading

import pytest
from bucket_world import FAST, SYNC, dataset, endpoint, everything_said, gauge, sync_of, tree
from conftest import ADMIN_TOKEN, BIN, SECRET, Server, free_port, wait_for

from gcs import Gcs
from s3 import S3

KEYS = {"AKIDEXAMPLE": ("s3/secret+of-the-tests==", None)}
MIB = 1 << 20


@pytest.fixture
def gcs():
    with Gcs() as store:
        yield store


def refuses(tmp_path, url, env, cache=None):
    """The start must end by itself with an error; returns what it said."""
    server = Server(url, cache or tmp_path / "refused", {**FAST, **env})
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OFFLOADER_")}
    environment.update(OFFLOADER_CONFIG=url, OFFLOADER_SECRET_KEY_BASE=SECRET, OFFLOADER_CACHE_DIR=server.cache,
                       OFFLOADER_API_PORT=str(server.api_port), OFFLOADER_ADMIN_PORT=str(server.admin_port),
                       OFFLOADER_BIND="127.0.0.1", **server.extra)
    done = subprocess.run([BIN, "serve"], env=environment, capture_output=True, timeout=60, check=False)
    said = done.stdout.decode() + done.stderr.decode()
    assert done.returncode == 1, said
    return said


def ids(server):
    return [r["id"] for r in server.get("/v1/endpoints/kv").rows]


# ---- boot ----

@pytest.mark.parametrize("prefix, url", [("", "gs://cfg"), ("", "gs://cfg/"), ("p/q/", "gs://cfg/p/q"),
                                         ("p/q/", "gs://cfg/p/q/"), ("odd é+ %20/", "gs://cfg/odd é+ %20/")])
def test_everything_under_the_prefix_and_nothing_else(gcs, serve, prefix, url):
    gcs.put_tree("cfg", prefix, tree())
    if prefix:
        gcs.put("cfg", prefix[:-1] + "2/endpoints/other.yml", endpoint("other", "kv"))
        gcs.put("cfg", prefix[:-1] + ".yml", "not: ours")
    server = serve(url, **FAST, **gcs.env())
    assert ids(server) == ["a", "b"]
    assert server.get("/v1/endpoints/other").status == 404
    sync = sync_of(server)
    assert sync["result"] == "init" and sync["error"] is None and sync["serves_kept_copy"] is False
    directory = os.path.join(server.cache, "config", sync["revision"])
    found = {os.path.relpath(os.path.join(d, f), directory) for d, _, names in os.walk(directory) for f in names}
    assert found == set(tree())
    assert gcs.count("list") == 2, "once before and once after the fetch"


def test_s3_signed(serve):
    with S3(KEYS) as store:
        for name, text in tree().items():
            store.put("cfg", "offl/p/" + name, text)
        server = serve("s3://cfg/offl/p", **FAST, **store.env("AKIDEXAMPLE"))
        assert ids(server) == ["a", "b"]
        assert store.auth_errors == []
        assert KEYS["AKIDEXAMPLE"][0] not in everything_said(server)


def test_each_object_is_asked_for_as_it_was_listed(gcs, serve):
    gcs.put_tree("cfg", "p/", tree())
    serve("gs://cfg/p/", **FAST, **gcs.env())
    generations = {n: str(o.generation) for n, o in gcs.buckets["cfg"].items()}
    assert {r.name: r.query.get("ifGenerationMatch") for r in gcs.seen("get")} == generations


def test_placeholders_are_passed_over(gcs, serve):
    gcs.put_tree("cfg", "p/", tree())
    for name in ("p/", "p/datasets/", "p/empty/", "p/empty/below/"):
        gcs.put("cfg", name, "")
    server = serve("gs://cfg/p/", **FAST, **gcs.env())
    assert ids(server) == ["a", "b"]
    assert not [r for r in gcs.seen("get") if r.name.endswith("/")]


def test_transient_errors_are_tried_again(gcs, serve):
    gcs.put_tree("cfg", "p/", tree())
    gcs.fault("status", 500, kind="list")
    gcs.fault("truncate", kind="get", name="kv.csv")
    gcs.fault("drop", kind="get", name="offloader.yml")
    gcs.fault("corrupt", kind="get", name="endpoints/kv.yml")
    assert ids(serve("gs://cfg/p/", **FAST, **gcs.env())) == ["a", "b"]


def test_one_401_fetches_one_new_token(serve):
    with Gcs(tokens=["fresh-token-of-the-tests"]) as store:
        store.metadata_tokens = [("stale-token-of-the-tests", 3600), ("fresh-token-of-the-tests", 3600)]
        store.put_tree("cfg", "p/", tree())
        server = serve("gs://cfg/p/", **FAST, **store.env("bearer", OFFLOADER_GCS_METADATA_URL=store.url))
        assert ids(server) == ["a", "b"]
        assert store.count("metadata") == 2
        said = everything_said(server)
        assert "fresh-token" not in said and "stale-token" not in said


# ---- what is refused, before anything is downloaded ----

@pytest.mark.parametrize("name", ["p/../up.yml", "p/a/../../../up.yml", "p//tmp/up.yml", "p/./here.yml", "p/a//b.yml",
                                  "p/..", "p/new\nline.yml", "p/full/"])
def test_a_name_that_is_no_path_refuses_the_revision(gcs, tmp_path, name):
    gcs.put_tree("cfg", "p/", tree())
    gcs.put("cfg", name, "pwned: true\n")
    said = refuses(tmp_path, "gs://cfg/p/", gcs.env())
    assert "unsafe_name" in said or "name" in said
    assert gcs.count("get") == 0
    assert not [f for _, _, names in os.walk(tmp_path) for f in names if f == "up.yml"]


def test_500_objects_fit_and_501_do_not(gcs, serve, tmp_path):
    files = tree()
    files.update({f"data/x{i:03}.txt": "x" for i in range(500 - len(files))})
    gcs.put_tree("cfg", "p/", files)
    gcs.put("cfg", "p/data/", "")
    assert ids(serve("gs://cfg/p/", **FAST, **gcs.env())) == ["a", "b"]
    gcs.put("cfg", "p/data/one-more.txt", "x")
    n = gcs.count("get")
    assert "500" in refuses(tmp_path, "gs://cfg/p/", gcs.env())
    assert gcs.count("get") == n


def test_32_mib_fit_besides_the_keys_file_and_more_do_not(gcs, serve, tmp_path):
    files = tree()
    files["offloader.yml"] = json.dumps({"version": 1, "auth": "none", "keys": "secrets/k.yml"})
    files["secrets/k.yml"] = "keys: []\n" + "#" * (2 * MIB)
    used = sum(len(t.encode()) for n, t in files.items() if n != "secrets/k.yml")
    files["data/big.bin"] = b"x" * (32 * MIB - used)
    gcs.put_tree("cfg", "p/", files)
    assert ids(serve("gs://cfg/p/", **FAST, **gcs.env())) == ["a", "b"]
    gcs.put("cfg", "p/data/one-byte.bin", "x")
    n = gcs.count("get")
    assert "32 MiB" in refuses(tmp_path, "gs://cfg/p/", gcs.env())
    assert gcs.count("get") == n


@pytest.mark.parametrize("files, word", [({}, "nothing"), ({"p/readme.txt": "x"}, "YAML"), ({"p/": ""}, "nothing")])
def test_an_empty_or_yamlless_prefix_is_an_error(gcs, tmp_path, files, word):
    gcs.put("cfg", "elsewhere/offloader.yml", "version: 1")
    for name, text in files.items():
        gcs.put("cfg", name, text)
    assert word in refuses(tmp_path, "gs://cfg/p/", gcs.env())


def test_an_invalid_project_ends_the_start_and_is_not_retried(gcs, tmp_path):
    gcs.put_tree("cfg", "p/", tree() | {"endpoints/kv.yml": endpoint("kv", "nobody")})
    said = refuses(tmp_path, "gs://cfg/p/", gcs.env())
    assert "unknown_dataset" in said and "endpoints/kv.yml" in said
    assert gcs.count("list") == 2


def test_keys_stay_inside(gcs, tmp_path):
    outside = tmp_path / "keys.yml"
    outside.write_text("keys: []\n")
    gcs.put_tree("cfg", "p/", tree() | {"offloader.yml": json.dumps({"version": 1, "auth": "none", "keys": str(outside)})})
    assert "unsafe_path" in refuses(tmp_path, "gs://cfg/p/", gcs.env())


def test_refused_credentials_end_the_start(tmp_path):
    with Gcs(tokens=["right"]) as store:
        store.put_tree("cfg", "p/", tree())
        said = refuses(tmp_path, "gs://cfg/p/", store.env("bearer", OFFLOADER_GCS_TOKEN="wrong-secret-token"))
        assert "wrong-secret-token" not in said
        assert store.count("list") <= 2


# ---- the kept copy ----

def test_the_bucket_away_at_boot_serves_the_kept_copy_loudly(gcs, serve, tmp_path):
    cache = tmp_path / "kept"
    gcs.put_tree("cfg", "p/", tree())
    first = serve("gs://cfg/p/", cache=cache, **FAST, **gcs.env())
    revision = sync_of(first)["revision"]
    first.stop()
    gcs.fault("status", 503, times=10 ** 6)
    server = serve("gs://cfg/p/", cache=cache, **SYNC, **gcs.env())
    assert ids(server) == ["a", "b"]
    sync = sync_of(server)
    assert sync["serves_kept_copy"] and sync["result"] == "error" and sync["error"] == "unreachable"
    assert sync["revision"] == revision
    assert gauge(server, "offloader_config_kept_copy") == 1 and gauge(server, "offloader_config_sync_ok") == 0
    assert "copy" in server.log()
    events = server.admin("/events", token=ADMIN_TOKEN).body.decode()
    assert "copy kept on disk" in events and "cfg/p" not in events
    gcs.clear_faults()
    wait_for(lambda: gauge(server, "offloader_config_kept_copy") == 0, "the bucket is read again")
    assert sync_of(server)["result"] == "unchanged" and gauge(server, "offloader_config_sync_ok") == 1


def test_a_bucket_that_hangs_at_boot_is_not_waited_for_long(gcs, serve, tmp_path):
    cache = tmp_path / "kept"
    gcs.put_tree("cfg", "p/", tree())
    serve("gs://cfg/p/", cache=cache, **FAST, **gcs.env()).stop()
    gcs.fault("hang", times=10 ** 6)
    server = serve("gs://cfg/p/", cache=cache, **FAST, **gcs.env())
    assert ids(server) == ["a", "b"] and sync_of(server)["error"] == "unreachable"
    assert gcs.count("list") <= 3, "ended by the patience of the start, before the stall time-out's retries"


@pytest.fixture
def waiting(gcs, tmp_path):
    """A server whose bucket has failed four times and then keeps it waiting, and what lets the bucket answer."""
    gate = threading.Event()
    gcs.put_tree("cfg", "p/", tree())
    gcs.fault("status", 503, times=4)
    gcs.fault("call", lambda request: gate.wait(60), times=10 ** 6)
    server = Server("gs://cfg/p/", tmp_path / "waiting", {**SYNC, **gcs.env()}).start(ready=False)
    yield server, gate
    gate.set()
    server.stop()


def test_ports_are_open_while_the_project_is_fetched(waiting):
    server, gate = waiting
    ready = server.admin("/ready")
    assert ready.status == 503
    assert ready.json == {"status": "unavailable", "ready": False, "waiting_for": [], "loading_project": True}
    assert server.admin("/status").json["ready"] is False
    assert server.get("/healthz").status == 200
    answer = server.get("/v1/endpoints/kv", key="anything")
    assert answer.status == 503 and answer.json["error"]["family"] == "not_ready" and "retry-after" in answer.headers
    for action in ("/datasets/kv/refresh", "/datasets/kv/rollback", "/reload"):
        answer = server.post(action, headers={"Idempotency-Key": "k"})
        assert answer.status == 503 and answer.json["error"]["message"] == "starting"
    server.process.send_signal(signal.SIGHUP)
    assert gauge(server, "offloader_up") == 1 and gauge(server, "offloader_ready") == 0
    wait_for(lambda: sync_of(server)["error"] == "unreachable", "word of the first try")
    document = server.admin("/diagnostics", token=ADMIN_TOKEN).json
    assert document["config_version"] is None and document["datasets"] == []
    assert document["config_sync"]["result"] == "init" and document["config_sync"]["revision"] is None
    assert gauge(server, "offloader_config_sync_ok") == 0
    gate.set()
    wait_for(lambda: server.admin("/ready").status == 200, "readiness")
    assert server.admin("/ready").json == {"status": "ok", "ready": True} and ids(server) == ["a", "b"]
    assert sync_of(server)["error"] is None and gauge(server, "offloader_config_sync_ok") == 1
    assert server.post("/reload").json["result"] == "unchanged"


@pytest.mark.parametrize("n", [1, 2])
def test_a_stop_does_not_wait_for_the_project(waiting, n):
    server, _ = waiting
    for _ in range(n):
        server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(20) == 0


def test_a_project_that_turns_out_invalid_ends_the_process(gcs, tmp_path):
    """Its port was open already."""
    gate = threading.Event()
    gcs.put_tree("cfg", "p/", tree(**{"endpoints/kv.yml": "name: kv\n"}))
    gcs.fault("call", lambda request: gate.wait(60), times=1)
    server = Server("gs://cfg/p/", tmp_path / "invalid", {**FAST, **gcs.env()}).start(ready=False)
    assert server.admin("/ready").status == 503
    gate.set()
    assert server.process.wait(20) == 1 and "endpoints/kv.yml" in server.log()


def test_an_expired_credential_at_boot_serves_the_kept_copy(serve, tmp_path):
    cache = tmp_path / "kept"
    with Gcs(tokens=["good-token-of-the-tests"]) as store:
        env = store.env("bearer", OFFLOADER_GCS_TOKEN="good-token-of-the-tests")
        store.put_tree("cfg", "p/", tree())
        serve("gs://cfg/p/", cache=cache, **FAST, **env).stop()
        store.tokens = []
        server = serve("gs://cfg/p/", cache=cache, **FAST, **env)
        assert ids(server) == ["a", "b"] and sync_of(server)["error"] == "denied"


def with_many_objects(files):
    return files | {f"data/x{i:03}.txt": "x" for i in range(501)}


@pytest.mark.parametrize("files, error, said", [
    (tree(**{"endpoints/kv.yml": endpoint("kv", "nobody")}), "invalid", "unknown_dataset"),
    (tree(**{"../up.yml": "a: 1"}), "unsafe_name", "`..`"),
    (with_many_objects(tree()), "limit", "at most 500"),
    ({}, "empty", "nothing under the prefix")])
def test_a_refused_revision_at_boot_serves_the_kept_copy_loudly(gcs, serve, tmp_path, files, error, said):
    """Twice: what was refused is not taken for what was applied."""
    cache = tmp_path / "kept"
    gcs.put_tree("cfg", "p/", tree())
    first = serve("gs://cfg/p/", cache=cache, **FAST, **gcs.env())
    revision = sync_of(first)["revision"]
    first.stop()
    gcs.put_tree("cfg", "p/", files)
    serve("gs://cfg/p/", cache=cache, **FAST, **gcs.env()).stop()
    server = serve("gs://cfg/p/", cache=cache, **SYNC, **gcs.env())
    assert ids(server) == ["a", "b"]
    sync = sync_of(server)
    assert sync["serves_kept_copy"] and sync["result"] == "error" and sync["error"] == error
    assert sync["revision"] == revision
    assert gauge(server, "offloader_config_kept_copy") == 1 and gauge(server, "offloader_config_sync_ok") == 0
    assert said in server.log() and gauge(server, "offloader_config_sync_total", result="error") >= 1
    checked = sync["last_checked"]
    wait_for(lambda: sync_of(server)["last_checked"] > checked, "another look")
    assert sync_of(server)["serves_kept_copy"] and sync_of(server)["error"] == error
    gcs.put_tree("cfg", "p/", tree(rows=[("z", 9)], snapshot="r2"))
    wait_for(lambda: ids(server) == ["z"], "the repaired revision")
    assert gauge(server, "offloader_config_kept_copy") == 0 and gauge(server, "offloader_config_sync_ok") == 1


def test_the_bucket_away_at_boot_without_a_copy_ends_the_start(gcs, tmp_path):
    gcs.put_tree("cfg", "p/", tree())
    gcs.fault("status", 503, times=10 ** 6)
    refuses(tmp_path, "gs://cfg/p/", gcs.env())
    assert 2 <= gcs.count("list") <= 12


def test_a_copy_that_was_touched_or_is_of_another_bucket_is_not_used(gcs, serve, tmp_path):
    cache = tmp_path / "kept"
    gcs.put_tree("cfg", "p/", tree())
    gcs.put_tree("cfg", "q/", tree())
    first = serve("gs://cfg/p/", cache=cache, **FAST, **gcs.env())
    copy = cache / "config" / sync_of(first)["revision"]
    first.stop()
    gcs.deny = True
    refuses(tmp_path, "gs://cfg/q/", gcs.env(), cache)
    (copy / "endpoints" / "planted.yml").write_text(endpoint("planted", "kv"))
    refuses(tmp_path, "gs://cfg/p/", gcs.env(), cache)
    (copy / "endpoints" / "planted.yml").unlink()
    (copy / "endpoints" / "kv.yml").write_text(endpoint("kv", "kv") + " ")
    refuses(tmp_path, "gs://cfg/p/", gcs.env(), cache)


@pytest.mark.parametrize("file", ["applied.json", "offloader.yml", "endpoints/kv.yml", "data/kv.csv"])
def test_a_flipped_bit_in_the_copy_is_found(gcs, serve, tmp_path, file):
    """With the bucket there it is fetched anew; without it there is no copy."""
    cache = tmp_path / "kept"
    gcs.put_tree("cfg", "p/", tree())
    first = serve("gs://cfg/p/", cache=cache, **FAST, **gcs.env())
    path = cache / "config" / file if file == "applied.json" else cache / "config" / sync_of(first)["revision"] / file
    first.stop()
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 4
    path.write_bytes(body)
    gets = gcs.count("get")
    gcs.deny = True
    refuses(tmp_path, "gs://cfg/p/", gcs.env(), cache)
    gcs.deny = False
    server = serve("gs://cfg/p/", cache=cache, **FAST, **gcs.env())
    assert ids(server) == ["a", "b"] and gcs.count("get") > gets and sync_of(server)["error"] is None
    assert path.read_bytes() != body


def test_a_restart_without_changes_downloads_nothing(gcs, serve, tmp_path):
    cache = tmp_path / "kept"
    gcs.put_tree("cfg", "p/", tree())
    serve("gs://cfg/p/", cache=cache, **FAST, **gcs.env()).stop()
    lists, gets = gcs.count("list"), gcs.count("get")
    assert ids(serve("gs://cfg/p/", cache=cache, **FAST, **gcs.env())) == ["a", "b"]
    assert (gcs.count("list"), gcs.count("get")) == (lists + 1, gets)


# ---- sync ----

def test_an_unchanged_bucket_costs_one_list_a_look(gcs, serve):
    gcs.put_tree("cfg", "p/", tree())
    server = serve("gs://cfg/p/", **SYNC, **gcs.env())
    gets, lists = gcs.count("get"), gcs.count("list")
    wait_for(lambda: gcs.count("list") >= lists + 3, "looks")
    assert gcs.count("get") == gets
    assert sync_of(server)["result"] == "unchanged"


def test_a_push_is_applied_with_its_data(gcs, serve):
    gcs.put_tree("cfg", "p/", tree())
    server = serve("gs://cfg/p/", **SYNC, **gcs.env())
    old = sync_of(server)["revision"]
    gcs.put_tree("cfg", "p/", tree(rows=[("z", 9)], snapshot="r2") | {"endpoints/two.yml": endpoint("two", "kv")})
    wait_for(lambda: server.get("/v1/endpoints/two").status == 200, "the new endpoint")
    wait_for(lambda: ids(server) == ["z"], "the new snapshot")
    sync = sync_of(server)
    assert sync["result"] in ("applied", "unchanged") and sync["last_applied"] and sync["revision"] != old
    for i in range(3):  # only the revision in use and the one before stay on disk
        gcs.put("cfg", "p/readme.md", str(i))
        answer = server.post("/reload").json
        assert answer["result"] == "applied" and answer["revision"] == sync_of(server)["revision"]
    kept = [n for n in os.listdir(os.path.join(server.cache, "config")) if n != "applied.json"]
    assert len(kept) == 2 and sync_of(server)["revision"] in kept


def test_the_same_bytes_again_are_no_change(gcs, serve):
    gcs.put_tree("cfg", "p/", tree())
    server = serve("gs://cfg/p/", **FAST, **gcs.env())
    revision = sync_of(server)["revision"]
    for name, text in tree().items():
        gcs.put("cfg", "p/" + name, text)
    assert server.post("/reload").json == {"result": "unchanged", "revision": revision}


def test_a_push_in_progress_is_not_taken_half(gcs, serve):
    gcs.put_tree("cfg", "p/", tree())
    server = serve("gs://cfg/p/", **FAST, **gcs.env())
    new = tree(rows=[("z", 9)], snapshot="r2") | {"endpoints/two.yml": endpoint("two", "kv")}
    gcs.put("cfg", "p/endpoints/two.yml", new["endpoints/two.yml"])
    gcs.fault("call", lambda _: gcs.put_tree("cfg", "p/", new), kind="get", name="endpoints/two.yml")
    assert server.post("/reload").json["result"] == "applied"
    wait_for(lambda: ids(server) == ["z"], "the whole push")
    assert server.get("/v1/endpoints/two").status == 200


def test_a_bucket_that_never_rests_is_left_for_later(gcs, serve):
    gcs.put_tree("cfg", "p/", tree())
    server = serve("gs://cfg/p/", **FAST, **gcs.env())
    lists = gcs.count("list")
    gcs.put("cfg", "p/x.txt", "0")
    gcs.fault("call", lambda r: gcs.put("cfg", "p/x.txt", r.target), times=10 ** 6, kind="get", name="offloader.yml")
    answer = server.post("/reload")
    assert answer.status == 503 and "changing" in answer.body.decode()
    assert sync_of(server)["error"] == "changing"
    assert gcs.count("list") == lists + 5, "one, and one after each of four fetches"
    assert ids(server) == ["a", "b"]


@pytest.mark.parametrize("spoil, error", [
    (lambda g: g.put("cfg", "secretprefix/endpoints/kv.yml", endpoint("kv", "nobody")), "invalid"),
    (lambda g: g.put("cfg", "secretprefix/../x.yml", "x: 1"), "unsafe_name"),
    (lambda g: g.put_tree("cfg", "secretprefix/", {}), "empty"),
    (lambda g: g.buckets.pop("cfg"), "not_found"),
    (lambda g: setattr(g, "deny", True), "denied"),
    (lambda g: g.fault("status", 503, times=10 ** 6), "unreachable"),
])
def test_a_bad_revision_leaves_the_running_one(serve, spoil, error):
    with Gcs() as store:
        store.put_tree("cfg", "secretprefix/", tree())
        server = serve("gs://cfg/secretprefix/", **SYNC, **store.env())
        spoil(store)
        wait_for(lambda: sync_of(server)["result"] == "error", "the error", 30)
        sync = sync_of(server)
        assert sync["error"] == error and gauge(server, "offloader_config_sync_ok") == 0
        for page in ("/diagnostics", "/events"):
            assert "secretprefix" not in server.admin(page, token=ADMIN_TOKEN).body.decode()
        assert ids(server) == ["a", "b"]


def test_a_refused_revision_is_not_fetched_again_until_it_changes(gcs, serve):
    gcs.put_tree("cfg", "p/", tree())
    server = serve("gs://cfg/p/", **SYNC, **gcs.env())
    gcs.put("cfg", "p/endpoints/kv.yml", endpoint("kv", "nobody"))
    wait_for(lambda: sync_of(server)["result"] == "error", "the error")
    gets, lists = gcs.count("get"), gcs.count("list")
    wait_for(lambda: gcs.count("list") >= lists + 2, "looks")
    assert gcs.count("get") == gets and sync_of(server)["error"] == "invalid"
    events = server.admin("/events", token=ADMIN_TOKEN).json["events"]
    assert len([e for e in events if "was not reloaded" in e["message"]]) == 1, "told once"
    gcs.put("cfg", "p/endpoints/kv.yml", tree()["endpoints/kv.yml"])
    wait_for(lambda: sync_of(server)["result"] == "unchanged", "the way back")


def test_remote_scan_reads_the_tree_it_was_built_from(gcs, serve):
    """Endpoints that read files of a fetched tree keep it on disk, however many revisions come."""
    files = tree() | {"endpoints/scan.yml": endpoint("scan", "kv", mode="remote_scan")}
    gcs.put_tree("cfg", "p/", files)
    server = serve("gs://cfg/p/", **FAST, **gcs.env())
    for i in range(3):
        gcs.put("cfg", "p/readme.md", str(i))
        assert server.post("/reload").json["result"] == "applied"
    assert [r["id"] for r in server.get("/v1/endpoints/scan").rows] == ["a", "b"]


# ---- the local trial ----

def test_trial_of_a_bucket_is_anonymous(tmp_path):
    with Gcs() as store:
        store.put_tree("cfg", "p/", tree())
        port, admin = free_port(), free_port()
        environment = {k: v for k, v in os.environ.items() if not k.startswith("OFFLOADER_")}
        environment.update(OFFLOADER_GCS_ENDPOINT=store.url, OFFLOADER_ALLOW_LOOPBACK="1")
        process = subprocess.Popen(
            [BIN, "serve", "gs://cfg/p/", "--api-port", str(port), "--admin-port", str(admin), "--cache-dir",
             str(tmp_path / "cache")], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        lines = []
        reader = threading.Thread(target=lambda: lines.extend(process.stdout), daemon=True)
        reader.start()
        try:
            wait_for(lambda: any(f":{port}/v1/endpoints" in line for line in lines), "the banner")
            probe = Server("", tmp_path / "probe")
            probe.api_port = port
            wait_for(lambda: probe.get("/v1/endpoints/kv").status == 200, "rows")
            assert all("authorization" not in r.headers for r in store.requests)
        finally:
            process.terminate()
            process.wait(30)
