# SPDX-License-Identifier: Apache-2.0
"""POST actions (admin.md): idempotency, joined refreshes, async, webhook events, bodies, order of checks."""
import contextlib
import glob
import hashlib
import http.client
import json
import os
import signal
import threading

import pytest
from checked import write_checked
from conftest import ADMIN_TOKEN, wait_for
from observe import events, metric, served, stop_child

REFRESH, ROLLBACK = "/datasets/kv/refresh", "/datasets/kv/rollback"
MANY = [(f"k{i}", i) for i in range(100_000)]


@pytest.fixture
def s(serve, project):
    p = project()
    p.publish("r1", [("a", 1)])
    server = serve(p.path)
    server.p = p
    return server


def keyed(key, **more):
    return {"Idempotency-Key": key, **more}


def in_background(call):
    box = []
    thread = threading.Thread(target=lambda: box.append(call()))
    thread.start()

    def result():
        thread.join(60)
        return box[0]
    return result


def test_the_first_answer_is_given_again_whatever_it_was(s):
    first = s.post(ROLLBACK, headers=keyed("k409"))
    missing = s.post("/datasets/none/refresh", headers=keyed("k404"))
    bad = s.post(REFRESH, {"override_checks": "yes"}, headers=keyed("k400"))
    assert (first.status, missing.status, bad.status) == (409, 404, 400)
    s.p.publish("r2", [("a", 2)])
    assert s.post(REFRESH).status == 200  # now a rollback would work
    for path, body, key, want in ((ROLLBACK, None, "k409", first), ("/datasets/none/refresh", None, "k404", missing),
                                  (REFRESH, {"override_checks": "yes"}, "k400", bad)):
        again = s.post(path, body, headers=keyed(key))
        assert (again.status, again.body) == (want.status, want.body)
        assert again.headers["idempotent-replay"] == "true" and "idempotent-replay" not in want.headers
    assert served(s) == "r2" and metric(s, "offloader_idempotent_replays_total") == 3


def test_a_wrong_token_is_neither_stored_nor_replayed(s):
    assert s.admin(REFRESH, "POST", "a-wrong-token-entirely", keyed("k")).status == 401
    assert s.post(REFRESH, headers=keyed("k")).status == 200
    assert s.admin(REFRESH, "POST", "a-wrong-token-entirely", keyed("k")).status == 401


def test_another_request_with_the_same_key_is_422(s):
    s.post(REFRESH, headers=keyed("k"))
    for path, body in ((ROLLBACK, None), (REFRESH, {"override_checks": True}), ("/reload", None), ("/datasets/none/refresh", None)):
        r = s.post(path, body, headers=keyed("k"))
        assert r.status == 422 and r.json["error"]["family"], path
    assert s.admin(REFRESH, "POST", ADMIN_TOKEN, keyed("k"), "\0").status == 422
    assert s.post(REFRESH, headers=keyed("k")).headers["idempotent-replay"] == "true"


def test_keys_are_1_to_200_visible_characters(s):
    for key, fine in (("!", True), ("~" * 200, True), ("x" * 201, False), ("", False), ("a b", False), ("\x80", False)):
        r = s.admin("/hold", "POST", ADMIN_TOKEN, {"Idempotency-Key": key})
        assert (r.status == 200) == fine and r.status in (200, 400), key


def test_a_key_that_stands_twice_acts_on_nothing(s):
    connection = http.client.HTTPConnection("127.0.0.1", s.admin_port, timeout=30)
    with contextlib.closing(connection):
        connection.putrequest("POST", "/hold")
        for name, value in (("Authorization", f"Bearer {ADMIN_TOKEN}"), ("Idempotency-Key", "k-1"), ("idempotency-key", "k-2")):
            connection.putheader(name, value)
        connection.endheaders()
        assert connection.getresponse().status == 400
    assert s.admin("/diagnostics", token=ADMIN_TOKEN).json["held"] is False


@pytest.mark.parametrize("prefer, status", [
    ("respond-async", 202), ("wait=5, Respond-Async", 202), ("respond-async; x=1", 202),
    ("respond-asynchronous", 200), ("no-respond-async", 200), ("", 200)])
def test_a_preference_is_a_word(s, prefer, status):
    assert s.post(REFRESH, headers={"Prefer": prefer}).status == status


def test_the_order_of_checks(s):
    """token, idempotency, dataset, body"""
    bad_key, bad_body = "x" * 201, b"{"
    call = lambda path, token, key, body: s.admin(path, "POST", token, keyed(key), body).status  # noqa: E731
    assert call("/datasets/none/refresh", "wrong", bad_key, bad_body) == 401
    assert call("/datasets/none/refresh", ADMIN_TOKEN, bad_key, bad_body) == 400
    assert call("/datasets/none/refresh", ADMIN_TOKEN, "fine", bad_body) == 404
    assert call(REFRESH, ADMIN_TOKEN, "fine2", bad_body) == 400


@pytest.mark.parametrize("body, why", [
    ("{", "broken"), ("{}\0", "a NUL behind it"), ("{}\0junk", "more behind a NUL"), ("\0", "a NUL"), ("[]", "no object"),
    ('"x"', "no object"), ('{"override_checks":1}', "no boolean"), ('{"other":1}', "unknown"),
    ('{"source_id":"a"}', "half an event"), ('{"event_rev":"a"}', "half an event"), ('{"source_id":"","event_rev":"a"}', "empty"),
    ('{"source_id":"a b","event_rev":"a"}', "a space"), ('{"source_id":7,"event_rev":"a"}', "a number"),
    ('{"source_id":"%s","event_rev":"a"}' % ("x" * 201), "too long"), ('{"source_id":"a","source_id":"a","event_rev":"b"}', "twice"),
])
def test_a_malformed_body_acts_on_nothing(s, body, why):
    s.p.publish("r2", [("a", 2)])
    r = s.admin(REFRESH, "POST", ADMIN_TOKEN, {}, body)
    assert r.status == 400 and r.json["error"]["message"], why
    assert served(s) == "r1" and not events(s, "action")


def test_a_body_of_at_most_64_kib(s):
    padding = " " * (65536 - len('{"override_checks":false}'))
    assert s.admin(REFRESH, "POST", ADMIN_TOKEN, {}, '{"override_checks":false}' + padding).status == 200
    assert s.admin(REFRESH, "POST", ADMIN_TOKEN, {}, '{"override_checks":false}' + padding + " ").status in (400, 413)


def test_while_the_first_is_in_flight_a_repeat_is_409(s):
    s.p.publish("r2", MANY)
    first = in_background(lambda: s.post(REFRESH, headers=keyed("k")))
    child = stop_child(s)
    for _ in range(2):
        r = s.post(REFRESH, headers=keyed("k"))
        assert r.status == 409 and int(r.headers["retry-after"]) >= 1 and "idempotent-replay" not in r.headers
    assert s.post(ROLLBACK, headers=keyed("k")).status == 422
    os.kill(child, signal.SIGCONT)
    assert first().status == 200
    again = s.post(REFRESH, headers=keyed("k"))  # the 409 was not stored
    assert again.json == first().json and again.headers["idempotent-replay"] == "true"


def test_a_running_refresh_is_joined(s):
    s.p.publish("r2", MANY)
    calls = [in_background(lambda: s.post(REFRESH))]
    child = stop_child(s)
    calls += [in_background(lambda: s.post(REFRESH)) for _ in range(3)]
    wait_for(lambda: len(events(s, "action")) == 4, "all four to be asked for")
    os.kill(child, signal.SIGCONT)
    assert [c().json["snapshot_id"] for c in calls] == ["r2"] * 4
    wait_for(lambda: s.dataset("kv")["last_attempted"]["status"] == "unchanged", "the look that follows")
    assert metric(s, 'offloader_refresh_total{dataset="kv",status="ok"}') == 2  # boot and this one
    assert s.post(ROLLBACK).json["snapshot_id"] == "r1"


def test_refreshes_that_wait_leave_room_for_other_actions(s):
    s.p.publish("r2", [("a", 2)])
    assert s.post(REFRESH).status == 200
    s.p.publish("r3", MANY)
    event = lambda i: {"source_id": "wh", "event_rev": str(i)}  # noqa: E731
    first = s.post(REFRESH, event(0), headers={"Prefer": "respond-async"})
    child = stop_child(s)
    rest = [s.post(REFRESH, event(i), headers={"Prefer": "respond-async"}) for i in range(1, 33)]
    assert [r.status for r in (first, *rest)] == [202] * 24 + [503] * 9
    assert rest[-1].headers["retry-after"] and rest[-1].json["error"]["family"] == "not_ready"
    assert [s.post(path).status for path in (ROLLBACK, "/hold", "/release", "/reload")] == [200] * 4
    os.kill(child, signal.SIGCONT)
    wait_for(lambda: s.post(REFRESH, event(32)).status == 200, "a place to be free again")
    assert served(s) == "r3"


def test_respond_async_and_a_caller_that_leaves(s):
    s.p.publish("r2", MANY)
    r = s.post(REFRESH, headers=keyed("k", Prefer="respond-async"))
    assert r.status == 202
    child = stop_child(s)
    assert s.post(REFRESH, headers=keyed("k")).status == 409  # in flight
    os.kill(child, signal.SIGCONT)
    wait_for(lambda: served(s) == "r2", "the work to go on")
    final = wait_for(lambda: (lambda a: a if a.status == 200 else None)(s.post(REFRESH, headers=keyed("k"))), "its stored answer")
    assert final.json["snapshot_id"] == "r2" and final.headers["idempotent-replay"] == "true"
    s.p.publish("r3", MANY)
    import http.client
    left = http.client.HTTPConnection("127.0.0.1", s.admin_port, timeout=30)
    left.request("POST", REFRESH, headers={"Authorization": f"Bearer {ADMIN_TOKEN}"})
    child = stop_child(s)
    left.close()
    os.kill(child, signal.SIGCONT)
    wait_for(lambda: served(s) == "r3", "the work to go on though its caller left")


def test_answers_outlive_a_restart_and_unfinished_ones_do_not(serve, project, tmp_path):
    p = project()
    p.publish("r1", [("a", 1)])
    cache = tmp_path / "kept"
    s = serve(p.path, cache)
    first = s.post(REFRESH, headers=keyed("done"))
    event = s.post(REFRESH, {"source_id": "wh", "event_rev": "1"})
    p.publish("r2", MANY)
    s.post(REFRESH, headers=keyed("unfinished", Prefer="respond-async"))
    stop_child(s)
    s.process.kill()
    s.process.wait()
    s = serve(p.path, cache)
    again = s.post(REFRESH, headers=keyed("done"))
    assert again.body == first.body and again.headers["idempotent-replay"] == "true"
    again = s.post(REFRESH, {"source_id": "wh", "event_rev": "1"})
    assert again.json == event.json and again.headers["deduplicated"] == "true"
    r = s.post(REFRESH, headers=keyed("unfinished"))
    assert r.status == 200 and "idempotent-replay" not in r.headers  # it acts
    assert s.post(ROLLBACK, headers=keyed("done")).status == 422


def test_answers_expire(serve, project, tmp_path):
    p = project()
    p.publish("r1", [("a", 1)])
    cache = tmp_path / "kept"
    s = serve(p.path, cache, OFFLOADER_IDEMPOTENCY_TTL_HOURS="1")
    s.post("/hold", headers=keyed("k"))
    s.stop()
    record, = glob.glob(f"{cache}/idempotency/*.json")
    document = json.loads(open(record).read())
    document["boot"] = "before the machine was started anew"  # within a boot its clock counts
    document["at_us"] -= 3600 * 1000000 + 1
    write_checked(record, json.dumps(document))
    s = serve(p.path, cache, OFFLOADER_IDEMPOTENCY_TTL_HOURS="1")
    assert "idempotent-replay" not in s.post("/hold", headers=keyed("k")).headers


def test_a_rotten_record_is_dropped(serve, project, tmp_path):
    p = project()
    p.publish("r1", [("a", 1)])
    cache = tmp_path / "kept"
    s = serve(p.path, cache)
    s.post("/hold", headers=keyed("k"))
    s.stop()
    record, = glob.glob(f"{cache}/idempotency/*.json")
    data = bytearray(open(record, "rb").read())
    data[len(data) // 2] ^= 1
    open(record, "wb").write(data)
    open(record + ".tmp-1", "wb").write(b"left by a crash")
    s = serve(p.path, cache)
    assert not os.listdir(f"{cache}/idempotency")
    assert "idempotent-replay" not in s.post("/hold", headers=keyed("k")).headers


def test_an_event_acts_once(s):
    event = {"source_id": "warehouse", "event_rev": "7"}
    index_hash = s.dataset("kv")["active_snapshot"]["index_hash"]
    s.p.publish("r2", [("a", 2)])
    first = s.post(REFRESH, event)
    assert first.status == 200 and first.json["snapshot_id"] == "r2" and "deduplicated" not in first.headers
    assert len(first.json["dedupe_key"]) == 64
    noted = next(e for e in events(s, "action") if "dedupe_key" in e)
    assert noted["dedupe_key"] == first.json["dedupe_key"] and index_hash
    s.p.publish("r3", [("a", 3)])
    again = s.post(REFRESH, event)
    assert again.status == 200 and again.json == first.json and again.headers["deduplicated"] == "true"
    assert served(s) == "r2" and metric(s, "offloader_dedupe_hits_total") == 1
    other = s.post(REFRESH, {**event, "event_rev": "8"})
    assert other.json["snapshot_id"] == "r3" and other.json["dedupe_key"] != first.json["dedupe_key"]


def test_an_event_that_failed_may_come_again(s):
    event = {"source_id": "warehouse", "event_rev": "7"}
    s.p.publish("r2", [("a", 2)], row_count=9)
    assert s.post(REFRESH, event).status == 409
    s.p.publish("r2", [("a", 2)])
    r = s.post(REFRESH, event)
    assert r.status == 200 and "deduplicated" not in r.headers and served(s) == "r2"


def test_a_409_carries_the_attempt(s):
    s.p.publish("r2", [("a", 2)], row_count=9)
    r = s.post(REFRESH)
    assert r.status == 409 and r.json["error"]["family"] == "conflict"
    assert r.json["attempt"]["snapshot_id"] == "r2" and r.json["attempt"]["status"] == "rejected"
    assert r.json["attempt"]["error"]["code"] == "row_count_mismatch"


def test_reload_says_what_came_of_it(s):
    assert s.post("/reload").json["result"] == "unchanged"
    (s.p.path / "offloader.yml").write_text("version: 1\nauth: none\nobject_store_mode: local\n")
    r = s.post("/reload")
    assert r.status == 200 and r.json["result"] == "applied" and len(r.json["revision"]) == 16
    (s.p.path / "offloader.yml").write_text("version: 1\nauth: maybe\n")
    r = s.post("/reload")
    assert r.status == 409 and r.json["error"]["family"] == "conflict" and "auth" in r.json["error"]["message"]
    assert s.admin("/diagnostics", token=ADMIN_TOKEN).json["object_store_mode"] == "local"


def test_other_methods_and_paths(s):
    assert s.admin(REFRESH, token=ADMIN_TOKEN).status == 405
    for path, allowed in ((REFRESH, "POST"), ("/reload", "POST"), ("/live", "GET, HEAD"), ("/events", "GET, HEAD"),
                          ("/v1/endpoints/kv", "GET, HEAD"), ("/nothing", "GET, HEAD, POST")):
        for method in {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "BREW"} - set(allowed.split(", ")):
            r = s.admin(path, method, ADMIN_TOKEN)
            assert (r.status, r.headers.get("allow")) == (405, allowed), (method, path)
    r = s.admin("/live", "PUT", body=b"{}")  # refused by its head
    assert (r.status, r.headers["allow"]) == (405, "GET, HEAD")
    assert s.post("/datasets/kv/other").status == 404 and s.post("/datasets//refresh").status == 404
    assert s.post("/datasets/a/b/refresh").status == 404
    assert s.post("/datasets/kv%2Frefresh").json["dataset"] == "kv"  # paths are compared decoded


def test_without_a_token_nothing_can_be_done(serve, project):
    p = project()
    p.publish("r1", [("a", 1)])
    s = serve(p.path, OFFLOADER_ADMIN_TOKEN="")
    for path, method in ((REFRESH, "POST"), ("/reload", "POST"), ("/diagnostics", "GET"), ("/events", "GET")):
        r = s.admin(path, method, ADMIN_TOKEN)
        assert r.status == 503 and r.json["error"]["family"] == "not_ready"
    for path in ("/live", "/ready", "/status", "/metrics"):
        assert s.admin(path).status == 200


def test_hash_of_a_dedupe_key_is_what_the_docs_say(s):
    index_hash = s.dataset("kv")["active_snapshot"]["index_hash"]
    r = s.post(REFRESH, {"source_id": "a", "event_rev": "b"})
    assert r.json["dedupe_key"] == hashlib.sha256(f"a\nb\n{index_hash}".encode()).hexdigest()
