# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 where the server offers it: nghttpd speaks nothing else."""
import socket
import subprocess

import pytest
from conftest import free_port, wait_for
from object_client import client

from web import Authority


@pytest.fixture
def nghttpd(tmp_path):
    authority = Authority(tmp_path)
    certificate, key = authority.certificate()
    root = tmp_path / "root"
    root.mkdir()
    port = free_port()
    process = subprocess.Popen(["nghttpd", "-a", "127.0.0.1", "-d", str(root), str(port), key, certificate],
                               stdout=subprocess.DEVNULL)

    def answers():
        assert process.poll() is None
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", port)) == 0

    wait_for(answers, "nghttpd")
    yield root, f"https://127.0.0.1:{port}", {"SSL_CERT_FILE": authority.ca, "OFFLOADER_ALLOW_LOOPBACK": "1"}
    process.terminate()
    process.wait(30)


def test_http2(nghttpd, tmp_path):
    root, url, env = nghttpd
    body = bytes(range(256)) * 40000
    (root / "k").write_bytes(body)
    assert client(env, "get", url + "/k").out == body
    assert client(env, "download", url + "/k", tmp_path / "f").ok
    assert (tmp_path / "f").read_bytes() == body
    assert client(env, "read", url + "/k", 1000, 10).out == body[1000:1010]
    assert client(env, "get", url + "/none").failure == "not_found"
    assert client(env, "many", 40, url + "/k").ok
