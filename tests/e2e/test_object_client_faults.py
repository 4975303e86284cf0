# SPDX-License-Identifier: Apache-2.0
"""What goes wrong on the way to an object store, and what the client makes of it."""
import os
import socket
import time

import pytest
from object_client import client

from gcs import Gcs
from s3 import S3
from web import Authority, Web

KEYS = {"AKIDEXAMPLE": ("wJalr/XUtnFEMI+K7MDENG==", None)}
BODY = bytes(range(256)) * 64


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def gcs():
    with Gcs() as store:
        store.put("b", "k", BODY)
        yield store


@pytest.fixture
def s3():
    with S3(KEYS) as store:
        store.put("b", "k", BODY)
        yield store


def closed_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


# ---- no connection ----

def test_connection_refused():
    env = {"OFFLOADER_GCS_ENDPOINT": f"http://127.0.0.1:{closed_port()}", "OFFLOADER_GCS_AUTH": "none"}
    result = client(env, "--metrics", "get", "gs://b/k")
    assert "unavailable - " in result.err
    assert result.metric("offloader_object_store_requests_total", store="gs", code_class="error") == 4
    assert result.metric("offloader_object_store_retries_total", store="gs") == 3


def test_dns_failure():
    env = {"OFFLOADER_S3_ENDPOINT": "no-such-host.invalid"}
    result = client(env, "get", "s3://b/k")
    assert result.failure == "unavailable" and "no-such-host.invalid" in result.err


def test_connect_timeout():
    # A listener whose queue is full answers no SYN.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        others = []
        try:
            for _ in range(4):
                s = socket.socket()
                s.setblocking(False)
                s.connect_ex(listener.getsockname())
                others.append(s)
            env = {"OFFLOADER_GCS_ENDPOINT": f"http://127.0.0.1:{listener.getsockname()[1]}", "OFFLOADER_GCS_AUTH": "none"}
            assert client(env, "--connect-ms", 200, "--stall-ms", 300, "get", "gs://b/k").failure == "unavailable"
        finally:
            for s in others:
                s.close()


def test_tls_unknown_authority(authority):
    with Web(authority.context()) as web:
        web.files["/k"] = b"x"
        result = client({"OFFLOADER_ALLOW_LOOPBACK": "1"}, "--metrics", "get", web.url + "/k")
        assert "unavailable - " in result.err and "certificate does not verify" in result.err
        assert web.requests == [] and result.metric("offloader_object_store_retries_total", store="https") == 0


def test_tls_wrong_name(authority):
    env = {"OFFLOADER_ALLOW_LOOPBACK": "1", "CURL_CA_BUNDLE": authority.ca}
    with Web(authority.context("DNS:elsewhere.example")) as web:
        web.files["/k"] = b"x"
        result = client(env, "get", web.url + "/k")
        assert result.failure == "unavailable" and "certificate does not verify" in result.err
        assert web.requests == []


def test_no_tls_where_tls_is_spoken(gcs):
    result = client({"OFFLOADER_ALLOW_LOOPBACK": "1"}, "get", gcs.url.replace("http:", "https:") + "/k")
    assert result.failure == "unavailable" and gcs.requests == []


# ---- statuses ----

@pytest.mark.parametrize("status, failure", [
    (400, "invalid"), (401, "denied"), (403, "denied"), (404, "not_found"), (410, "not_found"), (412, "conflict"),
    (409, "invalid"), (416, "corrupt"), (300, "invalid"), (304, "invalid"), (418, "invalid"),
])
def test_never_retried(gcs, status, failure):
    gcs.fault("status", status, times=99, kind="get")
    assert client(gcs.env(), "get", "gs://b/k").failure == failure
    assert gcs.count("get") == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
@pytest.mark.parametrize("times", [3, 4])
def test_retried_three_times(gcs, status, times):
    gcs.fault("status", status, times=times, kind="get")
    result = client(gcs.env(), "--metrics", "get", "gs://b/k")
    assert gcs.count("get") == 4
    assert result.metric("offloader_object_store_retries_total", store="gs") == 3
    class_ = f"{status // 100}xx"
    assert result.metric("offloader_object_store_requests_total", store="gs", code_class=class_) == times
    if times == 3:
        assert result.ok and result.out == BODY
        assert result.metric("offloader_object_store_requests_total", store="gs", code_class="2xx") == 1
    else:
        assert "unavailable - " in result.err and str(status) in result.err


def test_retry_after_is_waited_for(gcs):
    gcs.fault("status", 429, kind="get", headers=[("Retry-After", "1")])
    assert client(gcs.env(), "get", "gs://b/k").out == BODY
    first, second = gcs.seen("get")
    assert second.time - first.time >= 0.9


@pytest.mark.parametrize("value", ["soon", "-5", "", "Thu, 01 Jan 1970 00:00:00 GMT"])
def test_a_senseless_retry_after_is_passed_over(gcs, value):
    gcs.fault("status", 503, kind="get", headers=[("Retry-After", value)])
    assert client(gcs.env(), "get", "gs://b/k").out == BODY


def test_s3_names_the_stores_own_code(s3):
    result = client(s3.env("AKIDEXAMPLE"), "get", "s3://b/none")
    assert result.failure == "not_found" and "NoSuchKey" in result.err
    env = {**s3.env("AKIDEXAMPLE"), "OFFLOADER_S3_SECRET": "WRONG-SECRET"}
    result = client(env, "get", "s3://b/k")
    assert result.failure == "denied" and "SignatureDoesNotMatch" in result.err
    assert s3.count("get") == 2


def test_advice(s3, gcs):
    result = client(s3.env(), "get", "s3://b/k")
    assert result.failure == "denied" and "set OFFLOADER_S3_KEY_ID" in result.err
    gcs.deny = True
    result = client(gcs.env(), "get", "gs://b/k")
    assert result.failure == "denied" and "OFFLOADER_GCS_AUTH=bearer" in result.err
    s3.fault("status", 301)
    assert "OFFLOADER_S3_REGION" in client(s3.env("AKIDEXAMPLE"), "get", "s3://b/k").err


# ---- bodies ----

CALLS = [["get", "gs://b/k"], ["download", "gs://b/k", "{tmp}/f"], ["read", "gs://b/k", "0", str(len(BODY))]]


def calls(tmp_path, index):
    return [a.format(tmp=tmp_path) for a in CALLS[index]]


BROKEN = [("truncate", index) for index in range(3)] + [("wrong_length", index) for index in range(3)] + \
    [("drop", index) for index in range(3)] + [("hang", 0), ("hang_body", 1)]
WORDS = {"truncate": "ended before its announced length", "wrong_length": "ended before its announced length",
         "hang": "no byte came", "hang_body": "no byte came", "drop": "127.0.0.1"}


@pytest.mark.parametrize("action, index", BROKEN)
def test_a_broken_answer_is_asked_for_again(gcs, tmp_path, action, index):
    gcs.fault(action, 10, kind="get")
    result = client(gcs.env(), "--stall-ms", 700, *calls(tmp_path, index))
    assert result.ok, result.err
    assert (tmp_path / "f").read_bytes() == BODY if index == 1 else result.out == BODY
    assert gcs.count("get") == 2


@pytest.mark.parametrize("action, index", BROKEN)
def test_an_answer_that_stays_broken(gcs, tmp_path, action, index):
    gcs.fault(action, 10, times=99, kind="get")
    result = client(gcs.env(), "--stall-ms", 150, *calls(tmp_path, index))
    assert result.failure == "unavailable" and WORDS[action] in result.err
    # libcurl itself asks once more when a kept connection turns out to be closed.
    assert gcs.count("get") == 4 or (action == "drop" and gcs.count("get") == 5)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("index", [0, 1])
def test_gs_checksum(gcs, tmp_path, index):
    gcs.fault("corrupt", times=99, kind="get")
    assert client(gcs.env(), *calls(tmp_path, index)).failure == "corrupt checksum_mismatch"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", ["sha256", "sha1", "crc32"])
@pytest.mark.parametrize("index", [0, 1])
def test_s3_checksum(s3, tmp_path, index, kind):
    s3.put("b", "k", BODY, checksums=[kind])
    args = [a.replace("gs://", "s3://") for a in calls(tmp_path, index)]
    assert client(s3.env("AKIDEXAMPLE"), *args).ok
    s3.fault("corrupt", times=99)
    result = client(s3.env("AKIDEXAMPLE"), *args)
    assert result.failure == "corrupt checksum_mismatch" and kind in result.err


def test_a_multipart_checksum_is_of_no_use(s3):
    s3.put("b", "k", BODY)
    s3.buckets["b"]["k"].checksums["sha256"] = "AAAA-3"
    assert client(s3.env("AKIDEXAMPLE"), "get", "s3://b/k").out == BODY


def test_a_large_object_with_a_flipped_byte(gcs, tmp_path):
    gcs.put("b", "k", bytes(17 << 20))
    gcs.fault("corrupt", kind="get")
    assert client(gcs.env(), "download", "gs://b/k", tmp_path / "f").failure == "corrupt checksum_mismatch"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("index", [0, 1])
def test_the_manifests_word(gcs, tmp_path, index):
    args = calls(tmp_path, index)
    assert client(gcs.env(), "--size", len(BODY) - 1, *args).failure == "corrupt size_mismatch"
    assert client(gcs.env(), "--sha256", "00" * 32, *args).failure == "corrupt checksum_mismatch"
    assert os.listdir(tmp_path) == []


def test_no_more_is_read_than_promised(gcs, tmp_path):
    # Announced: nothing of it is waited for.
    gcs.fault("hang_body", times=99, kind="get")
    result = client(gcs.env(), "--size", 10, "--stall-ms", 500, "download", "gs://b/k", tmp_path / "f")
    assert result.failure == "corrupt size_mismatch" and gcs.count("get") == 1
    # Not announced: it ends where it is too much, and the rest never comes.
    gcs.clear_faults()
    gcs.fault("flood", 200, kind="get")
    result = client(gcs.env(), "--size", 10, "download", "gs://b/k", tmp_path / "f")
    assert result.failure == "corrupt size_mismatch" and gcs.count("get") == 2
    assert gcs.requests[-1].n_flooded < 100
    assert os.listdir(tmp_path) == []


def test_a_failed_download_leaves_the_old_file(gcs, tmp_path):
    (tmp_path / "f").write_bytes(b"old")
    gcs.fault("status", 404, times=99, kind="get")
    assert client(gcs.env(), "--size", len(BODY), "download", "gs://b/k", tmp_path / "f").failure == "not_found"
    assert (tmp_path / "f").read_bytes() == b"old" and os.listdir(tmp_path) == ["f"]


def test_a_directory_that_is_not_there(gcs, tmp_path):
    assert client(gcs.env(), "download", "gs://b/k", tmp_path / "none" / "f").failure == "not_found"
    assert gcs.requests == []


# ---- listings ----

@pytest.mark.parametrize("body", [
    b"", b'{"items": [', b"[]", b"null", b'{"items":{}}', b'{"items":[1]}', b'{"items":[{"name":"p/a"}]}',
    b'{"items":[{"name":"p/a","size":"-1"}]}', b'{"items":[{"name":"p/a","size":"1","updated":"yesterday"}]}',
    b'{"items":[{"name":"q/a","size":"1"}]}', b'{"items":[{"name":"p/a\\u0000b","size":"1"}]}', b'{"nextPageToken":7}',
])
def test_malformed_gs_listing(gcs, body):
    gcs.fault("body", body, kind="list")
    gcs.put("b", "p/a", "x")
    assert [i[0] for i in client(gcs.env(), "list", "gs://b/p/", 9).json] == ["a"]
    gcs.fault("body", body, times=99, kind="list")
    assert client(gcs.env(), "list", "gs://b/p/", 9).failure == "corrupt malformed_listing"
    assert gcs.count("list") == 2 + 4


RESULT = '<ListBucketResult>{}</ListBucketResult>'


@pytest.mark.parametrize("body", [
    "", "<a/>", "<ListBucketResult>", "no xml", RESULT.format("<Contents><Key>p/a</Key></Contents>"),
    RESULT.format("<Contents><Size>1</Size></Contents>"), RESULT.format("<IsTruncated>true</IsTruncated>"),
    RESULT.format("<Contents><Key>q/a</Key><Size>1</Size></Contents>"),
    RESULT.format("<Contents><Key>p/a</Key><Size>x</Size></Contents>"),
    RESULT.format("<EncodingType>url</EncodingType><Contents><Key>p/a%00b</Key><Size>1</Size></Contents>"),
    '<!DOCTYPE x [<!ENTITY a "b">]>' + RESULT.format("<Contents><Key>p/&a;</Key><Size>1</Size></Contents>"),
    '<!DOCTYPE x SYSTEM "file:///etc/passwd">' + RESULT.format(""), "<a>" * 40,
])
def test_malformed_s3_listing(s3, body):
    s3.fault("body", body.encode(), kind="list")
    s3.put("b", "p/a", "x")
    env = s3.env("AKIDEXAMPLE")
    assert [i[0] for i in client(env, "list", "s3://b/p/", 9).json] == ["a"]
    s3.fault("body", body.encode(), times=99, kind="list")
    assert client(env, "list", "s3://b/p/", 9).failure == "corrupt malformed_listing"


def test_a_listing_without_end(gcs):
    gcs.fault("body", b'{"nextPageToken":"again"}', times=99, kind="list")
    assert client(gcs.env(), "list", "gs://b/p/", 9).failure == "corrupt"
    assert gcs.count("list") == 2


def test_a_name_listed_twice(gcs):
    gcs.fault("body", b'{"items":[{"name":"p/a","size":"1"},{"name":"p/a","size":"2"}]}', kind="list")
    assert client(gcs.env(), "list", "gs://b/p/", 9).failure == "corrupt"


def test_replaced_between_list_and_get(gcs, s3):
    for store, env, scheme in ((gcs, gcs.env(), "gs"), (s3, s3.env("AKIDEXAMPLE"), "s3")):
        store.put("b", "p/a", "one")
        tag = client(env, "list", f"{scheme}://b/p/", 9).json[0][2]
        assert client(env, "--tag", tag, "get", f"{scheme}://b/p/a").out == b"one"
        store.put("b", "p/a", "two")
        assert client(env, "--tag", tag, "get", f"{scheme}://b/p/a").failure == "conflict"


def test_the_end_of_a_head_that_never_comes(gcs):
    gcs.fault("status", 200, kind="get", headers=[(f"x-{i}", "y" * 1000) for i in range(80)])
    assert client(gcs.env(), "get", "gs://b/k").failure == "limit"
    assert gcs.count("get") == 1


# ---- redirects ----

def test_redirects(authority):
    env = {"SSL_CERT_FILE": authority.ca, "OFFLOADER_ALLOW_LOOPBACK": "1"}
    with Web(authority.context()) as web, Web() as plain:
        web.files["/5"] = plain.files["/k"] = b"x"
        for i in range(5):
            web.redirects[f"/{i}"] = (301 + i % 2, f"/{i + 1}")
        assert client(env, "get", web.url + "/0").out == b"x"
        web.redirects["/5"] = (308, "6")
        web.files["/6"] = b"x"
        assert client(env, "get", web.url + "/1").out == b"x"
        assert client(env, "get", web.url + "/0").failure == "invalid"  # six
        web.redirects["/loop"] = (302, "/loop")
        n = web.count()
        assert client(env, "get", web.url + "/loop").failure == "invalid"
        assert web.count() - n == 6
        web.redirects["/plain"] = (302, plain.url + "/k")
        assert client(env, "get", web.url + "/plain").failure == "invalid"
        assert plain.requests == []
        web.redirects["/nowhere"] = (302, "http://")
        assert client(env, "get", web.url + "/nowhere").failure == "invalid"


def test_no_credentials_across_hosts(authority):
    env = {"SSL_CERT_FILE": authority.ca, "OFFLOADER_ALLOW_LOOPBACK": "1"}
    with Web(authority.context()) as other, Gcs(tokens=["a-secret-token"], tls=authority.context()) as gcs, \
            S3(KEYS, tls=authority.context()) as s3:
        other.files["/k"] = b"x"
        gcs.fault("status", 302, headers=[("Location", other.url + "/k")])
        s3.fault("status", 307, headers=[("Location", other.url + "/k")])
        assert client({**env, **gcs.env("bearer", OFFLOADER_GCS_TOKEN="a-secret-token")}, "get", "gs://b/k").out == b"x"
        assert client({**env, **s3.env("AKIDEXAMPLE")}, "get", "s3://b/k").out == b"x"
        assert gcs.requests[0].headers["authorization"] and s3.requests[0].headers["authorization"]
        assert other.count() == 2 and all("authorization" not in r.headers for r in other.requests)
        s3.fault("status", 307, headers=[("Location", other.url + "/denied")])
        other.fault("status", 403, name="/denied")
        result = client({**env, **s3.env("AKIDEXAMPLE")}, "get", "s3://b/k")
        assert result.failure == "denied" and "another host" in result.err


# ---- giving up ----

@pytest.mark.parametrize("action", ["hang", "hang_body"])
def test_cancelled_while_waiting(gcs, tmp_path, action):
    gcs.fault(action, times=99)
    before = time.monotonic()
    assert client(gcs.env(), "--cancel-ms", 100, "download", "gs://b/k", tmp_path / "f").failure == "cancelled"
    assert time.monotonic() - before < 20 and os.listdir(tmp_path) == []


def test_cancelled_in_a_pause(gcs):
    gcs.fault("status", 503, times=99, headers=[("Retry-After", "30")])
    assert client(gcs.env(), "--cancel-ms", 100, "get", "gs://b/k").failure == "cancelled"


def test_cancelled_in_a_large_download(gcs, tmp_path):
    gcs.put("b", "k", bytes(40 << 20))
    gcs.fault("hang_body", times=99, kind="get")
    assert client(gcs.env(), "--cancel-ms", 200, "download", "gs://b/k", tmp_path / "f").failure == "cancelled"
    assert os.listdir(tmp_path) == []
