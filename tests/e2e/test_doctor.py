# SPDX-License-Identifier: Apache-2.0
"""offloader doctor: what it finds, in words that help, and never a secret."""
import json
import os
import socket
import subprocess

import pytest
from bucket_world import FAST, sourced, tree, write_tree
from conftest import ADMIN_TOKEN, BIN, SECRET, free_port

from gcs import Gcs
from s3 import S3
from web import Web

KEYS = {"AKIDEXAMPLE": ("s3/secret+of-the-tests==", None)}


@pytest.fixture
def doctor(tmp_path):
    def run(config, *args, **env):
        clean = {"PATH": os.environ["PATH"], "OFFLOADER_SECRET_KEY_BASE": SECRET, "OFFLOADER_BIND": "127.0.0.1",
                 "OFFLOADER_CACHE_DIR": str(tmp_path / "doctor-cache"), "OFFLOADER_CONFIG": str(config),
                 "OFFLOADER_API_PORT": str(free_port()), "OFFLOADER_ADMIN_PORT": str(free_port()), **FAST, **env}
        done = subprocess.run([BIN, "doctor", "--json", *map(str, args)], env=clean, capture_output=True, timeout=60,
                              check=False)
        said = done.stdout.decode() + done.stderr.decode()
        for secret in (SECRET, ADMIN_TOKEN, "of-the-tests"):
            assert secret not in said
        assert done.returncode in (0, 1), said
        document = json.loads(done.stdout)
        assert document["ok"] == (done.returncode == 0)
        return document
    return run


def failures(document):
    return [f'{c["area"]}: {c["message"]}' for c in document["checks"] if c["status"] == "fail"]


def messages(document, area):
    return " | ".join(c["message"] for c in document["checks"] if c["area"] == area)


@pytest.fixture
def project(tmp_path):
    return write_tree(tmp_path / "project", tree())


def test_a_healthy_machine(doctor, project):
    document = doctor(project)
    assert document["ok"], failures(document)
    assert "1 dataset(s)" in messages(document, "project") and "no object store" in messages(document, "store")
    assert {c["area"] for c in document["checks"]} == {"environment", "project", "ports", "cache", "store"}


def test_text_for_people(project, tmp_path):
    env = {"PATH": os.environ["PATH"], "OFFLOADER_SECRET_KEY_BASE": SECRET, "OFFLOADER_CACHE_DIR": str(tmp_path / "c"),
           "OFFLOADER_API_PORT": str(free_port()), "OFFLOADER_ADMIN_PORT": str(free_port())}
    done = subprocess.run([BIN, "doctor", "--config", str(project)], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "Nothing is in the way." in done.stdout, done.stdout
    done = subprocess.run([BIN, "doctor", "--config", str(tmp_path / "none")], env=env, capture_output=True, text=True,
                          check=False)
    assert done.returncode == 1 and "FAIL" in done.stdout and "->" in done.stdout
    (project / "offloader.yml").write_text('version: 1\nauth: none\n"\\e[31m": 1\n')
    done = subprocess.run([BIN, "doctor", "--config", str(project)], env=env, capture_output=True, text=True, check=False)
    assert "\x1b" not in done.stdout and "\\x1b[31m: unknown_field" in done.stdout, "text of a file is shown, not obeyed"
    assert subprocess.run([BIN, "doctor", "--nope"], env=env, capture_output=True, check=False).returncode == 2


@pytest.mark.parametrize("env, words", [
    ({"OFFLOADER_SECRET_KEY_BASE": "short"}, "OFFLOADER_SECRET_KEY_BASE"),
    ({"OFFLOADER_SECRET_KEY_BASE": ""}, "OFFLOADER_SECRET_KEY_BASE"),
    ({"OFFLOADER_POOL_SIZE": "many"}, "OFFLOADER_POOL_SIZE"),
    ({"OFFLOADER_CACHE_DIR": "/proc/nowhere/cache"}, "not writable"),
    ({"OFFLOADER_S3_KEY_ID": "only-half"}, "OFFLOADER_S3_SECRET"),
])
def test_a_bad_environment(doctor, project, env, words):
    document = doctor(project, **env)
    assert not document["ok"] and any(words in f for f in failures(document)), document


def test_a_bad_project_names_file_and_code(doctor, project):
    (project / "endpoints" / "kv.yml").write_text("name: [oops\n")
    assert any("endpoints/kv.yml" in f and "yaml_error" in f for f in failures(doctor(project)))


def test_a_port_that_another_program_holds(doctor, project):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        document = doctor(project, OFFLOADER_API_PORT=str(s.getsockname()[1]))
    assert any("in use by another program" in f for f in failures(document))


def test_addresses_that_cannot_be_bound_to(doctor, project):
    document = doctor(project, OFFLOADER_BIND="203.0.113.9", OFFLOADER_ADMIN_BIND="2001:db8::1")
    api, admin = failures(document)
    assert "API 203.0.113.9:" in api and "Cannot assign requested address" in api, api
    assert "admin [2001:db8::1]:" in admin and "cannot be listened on" in admin, admin
    assert all("OFFLOADER_BIND" in c["hint"] for c in document["checks"] if c["status"] == "fail")


def test_ipv6_is_tried_too(doctor, serve, project):
    with socket.socket(socket.AF_INET6) as s:
        s.bind(("::", 0))
        s.listen()
        document = doctor(project, OFFLOADER_BIND="::", OFFLOADER_API_PORT=str(s.getsockname()[1]))
    assert any("API [::]:" in f and "in use by another program" in f for f in failures(document)), document
    server = serve(project, OFFLOADER_ADMIN_BIND="::")
    document = doctor(project, OFFLOADER_ADMIN_BIND="::", OFFLOADER_ADMIN_PORT=str(server.admin_port))
    assert document["ok"] and f"admin [::]:{server.admin_port}: an offloader runs there" in messages(document, "ports")


def test_beside_a_running_server(doctor, serve, project, tmp_path):
    server = serve(project)
    env = {"OFFLOADER_CACHE_DIR": server.cache, "OFFLOADER_API_PORT": str(server.api_port),
           "OFFLOADER_ADMIN_PORT": str(server.admin_port)}
    document = doctor(project, **env)
    assert document["ok"], failures(document)
    assert "an offloader runs there" in messages(document, "ports") and "runs here" in messages(document, "cache")
    token = tmp_path / "token"
    token.write_text(ADMIN_TOKEN + "\n")
    url = f"http://127.0.0.1:{server.admin_port}"
    document = doctor(project, "--admin-url", url, "--admin-token", f"@{token}")
    assert document["ok"] and "accepted" in messages(document, "server")
    document = doctor(project, "--admin-url", url, "--admin-token", "another-token-than-the-servers")
    assert any("401" in f for f in failures(document))
    document = doctor(project, OFFLOADER_CACHE_DIR=server.cache)
    assert any(f"process {server.process.pid} uses it" in f for f in failures(document)), "the cache's server is not on these ports"


def test_no_server(doctor, project):
    assert any("no answer" in f for f in failures(doctor(project, "--admin-url", f"http://127.0.0.1:{free_port()}")))


def test_a_server_that_is_not_ready(doctor, serve, tmp_path):
    files = tree()
    del files["data/kv.json"]
    server = serve(write_tree(tmp_path / "unready", files), ready=False)
    document = doctor(tmp_path / "unready", "--admin-url", f"http://127.0.0.1:{server.admin_port}", "--admin-token",
                      ADMIN_TOKEN)
    assert any("not ready" in f for f in failures(document)) and any("missing_file" in f for f in failures(document))


# ---- object stores ----

def test_a_bucket_that_works(doctor, tmp_path):
    with Gcs(tokens=["gcs-token-of-the-tests"]) as gcs, S3(KEYS) as s3:
        gcs.put_tree("cfg", "p/", sourced({"type": "databricks", "bucket": "exports", "prefix": "x", "store": "s3"}))
        s3.put("exports", "x/_committed_1", "{}")
        env = {**gcs.env("bearer", OFFLOADER_GCS_TOKEN="gcs-token-of-the-tests"), **s3.env("AKIDEXAMPLE")}
        document = doctor("gs://cfg/p/", **env)
        assert document["ok"], failures(document)
        said = messages(document, "store")
        assert "gs://cfg/p/: may be listed (3 objects)" in said and "may be read" in said
        assert "s3://exports/x/: may be listed (1 objects)" in said
        assert "OFFLOADER_GCS_TOKEN" in said and "OFFLOADER_S3_KEY_ID" in said
        assert "3 object(s) fetched" in messages(document, "project")


@pytest.mark.parametrize("spoil, words", [
    (lambda g: setattr(g, "deny", True), "storage.objects.list"),
    (lambda g: g.buckets.clear(), "spelling"),
    (lambda g: g.fault("drop", times=10 ** 6), "firewall"),
])
def test_a_bucket_that_does_not(doctor, tmp_path, spoil, words):
    with Gcs() as gcs:
        source = {"type": "databricks", "bucket": "exports", "prefix": "x"}
        gcs.put("exports", "x/_committed_1", "{}")
        spoil(gcs)
        document = doctor(write_tree(tmp_path / "project", sourced(source)), **gcs.env())
        hints = [c["hint"] for c in document["checks"] if c["area"] == "store" and c["status"] == "fail"]
        assert not document["ok"] and any(words in h for h in hints), document


def test_listing_is_not_reading(doctor, tmp_path):
    with Gcs() as gcs:
        gcs.put("exports", "x/_committed_1", "{}")
        gcs.fault("status", 403, times=10, kind="stat")
        source = {"type": "databricks", "bucket": "exports", "prefix": "x"}
        document = doctor(write_tree(tmp_path / "project", sourced(source)), **gcs.env())
        assert "may be listed" in messages(document, "store") and any("cannot be read" in f for f in failures(document))
        assert any("storage.objects.get" in (c["hint"] or "") for c in document["checks"])


def test_a_signed_url_is_shown_without_its_signature(doctor, tmp_path):
    with Web() as web:
        web.files["/m/"] = b"{}"
        url = f"{web.url}/m/?X-Amz-Credential=AKIDEXAMPLE&X-Amz-Signature=signature-of-the-tests/"
        said = messages(doctor(write_tree(tmp_path / "project", sourced({"type": "manifest", "url": url}))), "store")
        assert f"{web.url}/m/: may be read (2 bytes)" in said, said
        web.files.clear()
        document = doctor(tmp_path / "project")
        assert any("cannot be read" in f for f in failures(document)), document
    assert "AKIDEXAMPLE" not in said + json.dumps(document)


def test_validate_reads_a_bucket_as_the_server_does(tmp_path):
    with Gcs() as gcs:
        env = {"PATH": os.environ["PATH"], **FAST, **gcs.env()}

        def validate():
            return subprocess.run([BIN, "validate", "--config", "gs://cfg/p"], env=env, capture_output=True, text=True,
                                  check=False)
        gcs.put_tree("cfg", "p/", tree())
        done = validate()
        assert done.returncode == 0 and "1 dataset(s)" in done.stdout, done
        gcs.put("cfg", "p/endpoints/kv.yml", "name: [oops")
        done = validate()
        assert done.returncode == 1 and "endpoints/kv.yml:" in done.stdout + done.stderr, done
        gcs.put("cfg", "p/../x.yml", "a: 1")
        done = validate()
        assert done.returncode == 1 and "name" in done.stdout, done
