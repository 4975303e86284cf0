# SPDX-License-Identifier: Apache-2.0
"""Request forgery (S-12): what a URL, a redirect or a name server leads to is refused before a byte is sent.

Spelled-out addresses are a unit test (tests/unit/net/test_url.c); here the program meets listeners that must
stay untouched.
"""
import socket

import pytest
from object_client import client

from web import Authority, Web


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def listener():
    """A port nobody may connect to."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(8)
        s.settimeout(0)
        yield s.getsockname()[1], lambda: pytest.raises(BlockingIOError, s.accept)


SPELLINGS = ["https://127.0.0.1:{port}/k", "https://localhost:{port}/k", "https://127.1:{port}/k", "https://2130706433:{port}/k",
             "https://0x7f000001:{port}/k", "https://0177.0.0.1:{port}/k", "https://[::ffff:127.0.0.1]:{port}/k",
             "https://[::1]:{port}/k", "https://0.0.0.0:{port}/k", "https://[::]:{port}/k", "http://127.0.0.1:{port}/k",
             "https://LOCALHOST:{port}/k", "https://foo.localhost:{port}/k",
             "https://%31%32%37.0.0.1:{port}/k"]


@pytest.mark.parametrize("url", SPELLINGS)
def test_loopback_is_refused(listener, url):
    port, untouched = listener
    assert client({}, "get", url.format(port=port)).failure == "invalid"
    untouched()


@pytest.mark.parametrize("url", [
    "https://169.254.169.254/latest/meta-data/", "https://[fe80::1]/", "https://[::ffff:169.254.169.254]/", "https://2852039166/",
    "https://0xa9fea9fe/", "https://0251.0376.0251.0376/", "https://[fd00:ec2::254]/", "https://100.100.100.200/",
    "http://169.254.169.254/computeMetadata/v1/", "http://192.0.2.1/k"])
def test_link_local_is_refused_even_in_a_trial(url):
    assert client({"OFFLOADER_ALLOW_LOOPBACK": "1"}, "get", url).failure == "invalid"


def test_the_endpoint_variable_names_one_origin(listener):
    """Loopback through the store's own variable is fine, another port on it is not."""
    port, untouched = listener
    with Web() as web:
        web.files["/b/k"] = web.files["/x/k"] = b"x"
        env = {"OFFLOADER_S3_ENDPOINT": web.url}
        assert client(env, "get", "s3://b/k").out == b"x"
        assert client(env, "get", web.url + "/x/k").out == b"x"
        assert client(env, "get", f"http://127.0.0.1:{port}/k").failure == "invalid"
        assert client(env, "get", f"https://127.0.0.1:{port}/k").failure == "invalid"
    untouched()


@pytest.mark.parametrize("location", [
    "http://127.0.0.1:{port}/k", "https://127.0.0.1:{port}/k", "https://localhost:{port}/k", "//127.0.0.1:{port}/k",
    "https://169.254.169.254/", "http://169.254.169.254/latest/meta-data/", "https://[::ffff:127.0.0.1]:{port}/", "file:///etc/passwd",
    "gopher://127.0.0.1:{port}/_x", "ftp://127.0.0.1:{port}/x", "https://user:pw@127.0.0.1:{port}/", "data:text/plain,x"])
def test_redirects_to_such_places(authority, listener, location):
    """The endpoint itself is named and local; where it redirects to is not."""
    port, untouched = listener
    with Web(authority.context()) as web:
        web.redirects["/b/k"] = (302, location.format(port=port))
        env = {"OFFLOADER_S3_ENDPOINT": web.url, "SSL_CERT_FILE": authority.ca}
        result = client(env, "get", "s3://b/k")
        assert result.failure == "invalid" and "pw" not in result.err
        assert web.count() == 1
    untouched()
