# SPDX-License-Identifier: Apache-2.0
"""The object store client: list, get, download, stat and read over gs://, s3:// and https://."""
import hashlib
import os
import random

import pytest
from object_client import client

from gcs import Gcs
from s3 import S3
from web import Authority, Web

KEYS = {"AKIDEXAMPLE": ("wJalr/XUtnFEMI+K7MDENG==", None)}

# Every kind of byte that may stand in a key, and what URLs, XML and signatures stumble over.
ODD_KEYS = [
    "plain.csv", "a b+c%20d.csv", "q?x=1&y=2#z.csv", "é/ü/漢字.csv", "~tilde_-.csv", "semi;colon,comma.csv",
    "quote'\"<&>.csv", "back\\slash.csv", "a//b.csv", "a/../b.csv", "../up.csv", "./dot.csv", "[brackets]{braces}|.csv",
    "star*()!@$:.csv", "%00.csv", "%2e%2e%2f.csv", "=equals=.csv", "trailing space ", "x" * (1024 - len("odd/")),
]


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def gcs():
    with Gcs() as store:
        yield store


@pytest.fixture
def s3():
    with S3(KEYS) as store:
        yield store


# ---- listing ----

def test_gs_list_follows_pages(gcs):
    gcs.page_size = 100
    for i in range(1000):
        gcs.put("b", f"p/{i:04d}.csv", "x" * (i % 7))
    gcs.put("b", "p2/other.csv", "x")
    items = client(gcs.env(), "list", "gs://b/p/", 1000).json
    assert [i[0] for i in items] == [f"{i:04d}.csv" for i in range(1000)]
    assert [i[1] for i in items] == [i % 7 for i in range(1000)]
    assert all(i[2].isdigit() and i[3] > 0 for i in items)
    assert gcs.count("list") == 10


def test_s3_list_follows_pages(s3):
    s3.page_size = 100
    for i in range(1000):
        s3.put("b", f"p/{i:04d}.csv", "x" * (i % 7))
    s3.put("b", "p2/other.csv", "x")
    items = client(s3.env("AKIDEXAMPLE"), "list", "s3://b/p/", 1000).json
    assert [i[0] for i in items] == [f"{i:04d}.csv" for i in range(1000)]
    assert [i[1] for i in items] == [i % 7 for i in range(1000)]
    assert s3.count("list") == 10 and s3.auth_errors == []


def test_a_thousand_pages(gcs):
    gcs.page_size = 1
    for i in range(1000):
        gcs.put("b", f"p/{i:04d}", "x")
    assert len(client(gcs.env(), "list", "gs://b/p/", 1000).json) == 1000
    assert gcs.count("list") == 1000


@pytest.mark.parametrize("n, fits", [(10, True), (11, False)])
def test_list_limit(gcs, n, fits):
    for i in range(n):
        gcs.put("b", f"p/{i}", "x")
    result = client(gcs.env(), "list", "gs://b/p/", 10)
    assert result.ok if fits else result.failure == "limit"


def test_list_leaves_out_the_prefix_itself(gcs, s3):
    for store, env, scheme in ((gcs, gcs.env(), "gs"), (s3, s3.env("AKIDEXAMPLE"), "s3")):
        store.put("b", "p/", "")
        store.put("b", "p/a", "x")
        store.put("b", "p/dir/", "")
        assert [i[0] for i in client(env, "list", f"{scheme}://b/p/", 10).json] == ["a", "dir/"]


def test_list_of_a_whole_bucket_and_of_nothing(gcs, s3):
    for store, env, scheme in ((gcs, gcs.env(), "gs"), (s3, s3.env("AKIDEXAMPLE"), "s3")):
        store.put("b", "a", "x")
        assert [i[0] for i in client(env, "list", f"{scheme}://b/", 10).json] == ["a"]
        assert client(env, "list", f"{scheme}://b/none/", 10).json == []
        assert client(env, "list", f"{scheme}://other/", 10).failure == "not_found"


@pytest.mark.parametrize("encodes", [True, False])
def test_s3_odd_keys(s3, encodes):
    s3.encodes = encodes
    for i, key in enumerate(ODD_KEYS):
        s3.put("b", "odd/" + key, f"{i}")
    env = s3.env("AKIDEXAMPLE")
    listed = client(env, "list", "s3://b/odd/", 100).json
    assert sorted(i[0] for i in listed) == sorted(ODD_KEYS)
    for i, key in enumerate(ODD_KEYS):
        assert client(env, "get", "s3://b/odd/" + key).out == str(i).encode(), key
    assert s3.auth_errors == []


def test_gs_odd_keys(gcs):
    for i, key in enumerate(ODD_KEYS):
        gcs.put("b", "odd/" + key, f"{i}")
    listed = client(gcs.env(), "list", "gs://b/odd/", 100).json
    assert sorted(i[0] for i in listed) == sorted(ODD_KEYS)
    for i, key in enumerate(ODD_KEYS):
        assert client(gcs.env(), "get", "gs://b/odd/" + key).out == str(i).encode(), key


@pytest.mark.parametrize("url", [
    "gs://", "gs:///a", "gs://.b/a", "gs://b../a", "gs://b%2f/a", "gs://b:80/a", "gs://u@b/a", "s3://b?x/a", "s3://b#/a",
    "s3://" + "b" * 223 + "/a", "gs://b/" + "k" * 1025, "ftp://b/a", "file:///etc/passwd", "gs://b\n/a", "",
])
def test_no_such_url(gcs, url):
    assert client(gcs.env(), "get", url).failure == "invalid"
    assert gcs.requests == []


# ---- whole objects and ranges ----

def everything(env, url, body, tmp_path):
    """One object by every call."""
    assert client(env, "get", url).out == body
    meta = client(env, "stat", url).json
    assert meta["size"] == len(body)
    tag = meta["tag"]
    target = tmp_path / "file"
    digest = hashlib.sha256(body).hexdigest()
    got = client(env, "--size", len(body), "--sha256", digest, "download", url, target).json
    assert (got["size"], got["tag"]) == (len(body), tag) and target.read_bytes() == body
    assert os.listdir(tmp_path) == ["file"]
    assert client(env, "--tag", tag, "read", url, 1, 3).out == body[1:4]
    assert client(env, "read", url, 0, len(body)).out == body
    assert client(env, "read", url, len(body) - 1, 1).out == body[-1:]
    assert client(env, "read", url, len(body) - 1, 2).failure == "corrupt"
    assert client(env, "read", url, len(body), 1).failure == "corrupt"
    assert client(env, "--unless", tag, "get", url).out == b"unchanged"
    assert client(env, "--unless", tag, "download", url, tmp_path / "none").json["unchanged"]
    assert os.listdir(tmp_path) == ["file"]
    return tag


def replaced(env, url, tag, tmp_path):
    for args in (["get", url], ["stat", url], ["download", url, tmp_path / "x"], ["read", url, 0, 1]):
        assert client(env, "--tag", tag, *args).failure == "conflict", args
    assert client(env, "--unless", tag, "get", url).out != b"unchanged"
    assert not (tmp_path / "x").exists()


def test_gs_objects(gcs, tmp_path):
    gcs.put("b", "k", b"0123456789")
    tag = everything(gcs.env(), "gs://b/k", b"0123456789", tmp_path)
    gcs.put("b", "k", b"new")
    replaced(gcs.env(), "gs://b/k", tag, tmp_path)


def test_s3_objects(s3, tmp_path):
    env = s3.env("AKIDEXAMPLE")
    s3.put("b", "k", b"0123456789", checksums=["sha256"])
    tag = everything(env, "s3://b/k", b"0123456789", tmp_path)
    s3.put("b", "k", b"new")
    replaced(env, "s3://b/k", tag, tmp_path)
    assert s3.auth_errors == []


@pytest.mark.parametrize("etags, modified", [(True, None), (False, "Wed, 01 Jul 2026 00:00:00 GMT")])
def test_https_objects(authority, tmp_path, etags, modified):
    env = {"SSL_CERT_FILE": authority.ca, "OFFLOADER_ALLOW_LOOPBACK": "1"}
    with Web(authority.context()) as web:
        web.etags, web.last_modified = etags, modified
        web.files["/d/k"] = b"0123456789"
        tag = everything(env, web.url + "/d/k", b"0123456789", tmp_path)
        web.files["/d/k"] = b"new"
        if etags:
            replaced(env, web.url + "/d/k", tag, tmp_path)


def test_https_without_ranges_and_head(authority, tmp_path):
    env = {"SSL_CERT_FILE": authority.ca, "OFFLOADER_ALLOW_LOOPBACK": "1"}
    with Web(authority.context()) as web:
        web.ranges = web.knows_head = False
        web.files["/k"] = bytes(range(256)) * 70000  # 17 MiB
        assert client(env, "read", web.url + "/k", 1000, 4).out == web.files["/k"][1000:1004]
        assert client(env, "download", web.url + "/k", tmp_path / "f").ok
        assert (tmp_path / "f").read_bytes() == web.files["/k"]


def test_local_files(tmp_path):
    path = tmp_path / "in" / "k"
    path.parent.mkdir()
    path.write_bytes(b"0123456789")
    (tmp_path / "out").mkdir()
    tag = everything({}, str(path), b"0123456789", tmp_path / "out")
    path.write_bytes(b"new")
    replaced({}, str(path), tag, tmp_path / "out")
    assert client({}, "get", tmp_path / "none").failure == "not_found"
    assert client({}, "get", tmp_path).failure == "invalid"
    os.mkfifo(tmp_path / "fifo")
    assert client({}, "get", tmp_path / "fifo").failure == "invalid"


def test_empty_objects(gcs, s3, tmp_path):
    for store, env, scheme in ((gcs, gcs.env(), "gs"), (s3, s3.env("AKIDEXAMPLE"), "s3")):
        store.put("b", "k", b"")
        assert client(env, "get", f"{scheme}://b/k").out == b""
        assert client(env, "download", f"{scheme}://b/k", tmp_path / scheme).json["size"] == 0
        assert (tmp_path / scheme).read_bytes() == b""


# ---- large objects in parallel parts ----

@pytest.mark.parametrize("size", [(16 << 20) - 1, 16 << 20, (40 << 20) + 5])
@pytest.mark.parametrize("known", [True, False])
def test_large_downloads(gcs, tmp_path, size, known):
    body = random.Random(size).randbytes(size)
    gcs.put("b", "k", body)
    options = ["--size", size] if known else []
    got = client(gcs.env(), *options, "--sha256", hashlib.sha256(body).hexdigest(), "download", "gs://b/k",
                 tmp_path / "f").json
    assert got["size"] == got["progress"] == size
    assert (tmp_path / "f").read_bytes() == body
    ranges = [r.headers["range"] for r in gcs.seen("get") if "range" in r.headers]
    assert len(ranges) == (0 if size < 16 << 20 else (size + (8 << 20) - 1) // (8 << 20))
    assert all("ifGenerationMatch" in r.query for r in gcs.seen("get") if "range" in r.headers)


def test_large_s3_download_in_parts(s3, tmp_path):
    body = random.Random(1).randbytes(20 << 20)
    s3.put("b", "k", body, checksums=["sha1"])
    assert client(s3.env("AKIDEXAMPLE"), "download", "s3://b/k", tmp_path / "f").ok
    assert (tmp_path / "f").read_bytes() == body
    assert all(r.headers["if-match"] == s3.buckets["b"]["k"].etag for r in s3.seen("get"))
    assert s3.auth_errors == []


class Restless(Web):
    """Each answer is of another version of /k, of the same size."""

    def answer(self, request):
        with self.lock:
            self.files["/k"] = bytes([self.count() % 256]) * (17 << 20)
            return super().answer(request)


@pytest.mark.parametrize("etag, modified, why", [
    (None, None, "no validator"), ('W/"1"', None, "a weak one"), (None, "Wed, 01 Jul 2026 00:00:00 GMT", "a second"),
])
def test_parts_are_of_one_version(authority, tmp_path, etag, modified, why):
    env = {"SSL_CERT_FILE": authority.ca, "OFFLOADER_ALLOW_LOOPBACK": "1"}
    with Restless(authority.context()) as web:
        web.etags, web.etag, web.last_modified = etag is not None, etag, modified
        assert client(env, "--size", 17 << 20, "download", web.url + "/k", tmp_path / "f").ok
        assert len(set((tmp_path / "f").read_bytes())) == 1, why


def test_https_download_in_parts(authority, tmp_path):
    env = {"SSL_CERT_FILE": authority.ca, "OFFLOADER_ALLOW_LOOPBACK": "1"}
    with Web(authority.context()) as web:
        web.files["/k"] = random.Random(3).randbytes(17 << 20)
        assert client(env, "download", web.url + "/k", tmp_path / "f").ok
        assert (tmp_path / "f").read_bytes() == web.files["/k"]
        assert sum("range" in r.headers and "if-match" in r.headers for r in web.seen("get")) == 3


class Astray(Web):
    """Answers a range with another one, or without saying which."""
    says = True

    def answer(self, request):
        if "range" in request.headers:
            request.headers["range"] = "bytes=0-" + str((8 << 20) - 1 if request.name == "/large" else 2)
        response = super().answer(request)
        if not self.says:
            response.headers = [h for h in response.headers if h[0] != "Content-Range"]
        return response


@pytest.mark.parametrize("says", [True, False])
def test_another_range_than_asked_for(authority, tmp_path, says):
    env = {"SSL_CERT_FILE": authority.ca, "OFFLOADER_ALLOW_LOOPBACK": "1"}
    with Astray(authority.context()) as web:
        web.says = says
        web.files["/k"], web.files["/large"] = b"0123456789", bytes(16 << 20)
        assert client(env, "read", web.url + "/k", 5, 3).failure == "corrupt"
        assert client(env, "download", web.url + "/large", tmp_path / "f").failure == "corrupt"
        assert os.listdir(tmp_path) == []


def test_a_part_is_retried(gcs, tmp_path):
    body = random.Random(2).randbytes(20 << 20)
    gcs.put("b", "k", body)
    gcs.fault("status", 500, kind="get")
    gcs.fault("truncate", kind="get")
    assert client(gcs.env(), "download", "gs://b/k", tmp_path / "f").json["progress"] == len(body)
    assert (tmp_path / "f").read_bytes() == body


def test_replaced_between_parts(gcs, tmp_path):
    gcs.put("b", "k", bytes(20 << 20))
    gcs.fault("call", lambda request: gcs.put("b", "k", b"new"), kind="get")
    assert client(gcs.env(), "download", "gs://b/k", tmp_path / "f").failure == "conflict"
    assert os.listdir(tmp_path) == []


# ---- addressing and signing of S3 ----

def test_s3_virtual_hosts(s3):
    env = s3.env("AKIDEXAMPLE", OFFLOADER_S3_ENDPOINT=f"localhost:{s3.port}", OFFLOADER_S3_USE_SSL="false",
                 OFFLOADER_S3_URL_STYLE="vhost")
    s3.put("bkt", "a b", "x")
    s3.put("dotted.bkt", "k", "y")
    assert client(env, "get", "s3://bkt/a b").out == b"x"
    assert s3.requests[-1].headers["host"] == f"bkt.localhost:{s3.port}"
    assert [i[0] for i in client(env, "list", "s3://bkt/", 10).json] == ["a b"]
    assert client(env, "get", "s3://dotted.bkt/k").out == b"y"  # no certificate has two levels: by path
    assert s3.requests[-1].headers["host"] == f"localhost:{s3.port}"
    assert s3.auth_errors == []


def test_s3_region_and_session_token():
    with S3({"ASIA": ("secret", "session/token+==")}, region="eu-west-3") as store:
        store.put("b", "k", "x")
        env = store.env("ASIA", OFFLOADER_S3_REGION="eu-west-3")
        assert client(env, "get", "s3://b/k").out == b"x"
        assert client(env, "list", "s3://b/", 9).ok
        assert store.auth_errors == []
        assert client({**env, "OFFLOADER_S3_REGION": "us-east-1"}, "get", "s3://b/k").failure == "denied"


def test_s3_unsigned_without_credentials():
    with S3(None) as store:
        store.put("b", "k", "x")
        assert client(store.env(), "get", "s3://b/k").out == b"x"
        assert client(store.env(), "list", "s3://b/", 9).ok
        assert client(store.env(), "source", "s3://b/k").out == b"anonymous\n"


def test_gs_by_hmac_wins(s3):
    s3.put("b", "p/k", "x")
    env = {**s3.env("AKIDEXAMPLE"), "OFFLOADER_S3_TYPE": "gcs", "OFFLOADER_GCS_AUTH": "bearer", "OFFLOADER_GCS_TOKEN": "t"}
    endpoint = env.pop("OFFLOADER_S3_ENDPOINT")
    for name in ("OFFLOADER_S3_ENDPOINT", "OFFLOADER_GCS_ENDPOINT"):
        both = {**env, name: endpoint}
        assert client(both, "get", "gs://b/p/k").out == b"x"
        assert [i[0] for i in client(both, "list", "gs://b/p/", 9).json] == ["k"]
    assert s3.auth_errors == []


def test_gs_by_hmac_under_conditions(s3, tmp_path):
    s3.generations = True
    env = {**s3.env("AKIDEXAMPLE"), "OFFLOADER_S3_TYPE": "gcs"}
    s3.put("b", "k", b"0123456789")
    tag = everything(env, "gs://b/k", b"0123456789", tmp_path)
    s3.put("b", "k", b"new")
    replaced(env, "gs://b/k", tag, tmp_path)
    assert s3.auth_errors == []


def test_hmac_keys_are_for_google_alone(s3):
    env = {"OFFLOADER_S3_TYPE": "gcs", "OFFLOADER_S3_KEY_ID": "GOOG1E", "OFFLOADER_S3_SECRET": "s"}
    assert client(env, "source", "gs://b/k").out == b"OFFLOADER_S3_KEY_ID\n"
    assert client(env, "source", "s3://b/k").out == b"anonymous\n"
    # At an endpoint that the operator names, s3:// is that store.
    env = {**s3.env("AKIDEXAMPLE"), "OFFLOADER_S3_TYPE": "gcs"}
    s3.put("b", "k", "x")
    assert client(env, "get", "s3://b/k").out == b"x" and s3.auth_errors == []


# ---- connections ----

def test_keep_alive_and_sixteen_in_flight(gcs):
    gcs.put("b", "k", "x")
    gcs.fault("delay", 0.05, times=10 ** 6)
    assert client(gcs.env(), "many", 60, "gs://b/k").ok
    assert gcs.count("get") == 60
    assert 2 <= gcs.most_in_flight <= 16
    assert len({r.connection for r in gcs.requests}) <= 16


def test_proxies_of_the_environment_are_not_used(gcs):
    gcs.put("b", "k", "x")
    env = gcs.env(http_proxy="http://127.0.0.1:9", https_proxy="http://127.0.0.1:9", ALL_PROXY="http://127.0.0.1:9")
    assert client(env, "get", "gs://b/k").out == b"x"
