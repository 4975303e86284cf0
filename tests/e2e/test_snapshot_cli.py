# SPDX-License-Identifier: Apache-2.0
"""offloader snapshot status | refresh | rollback against a running server."""
import json
import os
import subprocess

from conftest import ADMIN_TOKEN, BIN, free_port


def snapshot(s, *arguments, token=ADMIN_TOKEN, env=None):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("OFFLOADER_")}
    given = ["--admin-token", token] if token else []
    url = s if isinstance(s, str) else f"http://127.0.0.1:{s.admin_port}"
    return subprocess.run([BIN, "snapshot", *arguments, "--admin-url", url, *given], capture_output=True,
                          text=True, env={**clean, **(env or {})}, timeout=60)


def test_status_refresh_and_rollback(serve, project):
    p = project()
    p.publish("r1", [("a", 1)])
    s = serve(p.path)
    p.publish("r2", [("a", 2), ("b", 3)])
    r = snapshot(s, "refresh", "--dataset", "kv")
    assert (r.returncode, r.stdout) == (0, "kv: r2 serves (ok)\n"), r
    line = snapshot(s, "status").stdout.splitlines()[1].split()
    assert line[:3] == ["kv", "r2", "2"] and "r1" in line and line[-1] == "ok"
    r = snapshot(s, "rollback", "--dataset", "kv", "--json")
    assert r.returncode == 0 and json.loads(r.stdout)["snapshot_id"] == "r1"
    r = snapshot(s, "rollback", "--dataset", "kv")
    assert r.returncode == 1 and "no previous snapshot" in r.stderr and not r.stdout
    assert "rolled back from r2" in snapshot(s, "status", "--dataset", "kv").stdout
    assert json.loads(snapshot(s, "status", "--json").stdout)["datasets"][0]["quarantined"] == "r2"


def test_a_rejected_refresh_says_why(serve, project):
    p = project(extra_dataset="checks: { min_rows: 1 }\n")
    p.publish("r1", [("a", 1)])
    s = serve(p.path)
    p.publish("r2", [])
    r = snapshot(s, "refresh", "--dataset", "kv")
    assert r.returncode == 1 and "rejected: check_failed: min_rows" in r.stderr
    assert "rejected" in snapshot(s, "status").stdout
    assert snapshot(s, "refresh", "--dataset", "kv", "--override-checks").returncode == 0


def test_an_idempotency_key_is_passed_on(serve, project):
    p = project()
    p.publish("r1", [("a", 1)])
    s = serve(p.path)
    assert "answered before" not in snapshot(s, "refresh", "--dataset", "kv", "--idempotency-key", "k").stdout
    assert "answered before" in snapshot(s, "refresh", "--dataset", "kv", "--idempotency-key", "k").stdout
    assert snapshot(s, "rollback", "--dataset", "kv", "--idempotency-key", "k").returncode == 1


def test_the_token_comes_from_a_file_or_the_environment_and_is_never_printed(serve, project, tmp_path):
    p = project()
    p.publish("r1", [("a", 1)])
    s = serve(p.path)
    (tmp_path / "token").write_text(ADMIN_TOKEN + "\n")
    assert snapshot(s, "status", token=f"@{tmp_path}/token").returncode == 0
    assert snapshot(s, "status", token=None, env={"OFFLOADER_ADMIN_TOKEN": ADMIN_TOKEN}).returncode == 0
    wrong = snapshot(s, "status", token="a-wrong-token-of-the-tests")
    assert wrong.returncode == 1 and "a-wrong-token" not in wrong.stdout + wrong.stderr
    assert snapshot(s, "status", token=f"@{tmp_path}/absent").returncode == 2
    assert snapshot(s, "status", token=None).returncode == 2


def test_what_cannot_be_done_is_said(serve, project):
    p = project()
    p.publish("r1", [("a", 1)])
    s = serve(p.path)
    for arguments, status, word in ((("refresh",), 2, "--dataset"), (("go",), 2, "say what to do"), ((), 2, "say what to do"),
                                    (("refresh", "--dataset", "../x"), 2, "must be a name"),
                                    (("rollback", "--dataset", "kv", "--override-checks"), 2, "snapshot refresh"),
                                    (("refresh", "--dataset", "other"), 1, "no such dataset"),
                                    (("status", "--dataset", "other"), 1, "no such dataset")):
        r = snapshot(s, *arguments)
        assert r.returncode == status and word in r.stderr, (arguments, r)
    r = snapshot(f"http://127.0.0.1:{free_port()}", "status")
    assert r.returncode == 1 and r.stderr.startswith("offloader snapshot: ")
    assert snapshot("ftp://x", "status").returncode == 2
    r = snapshot(f"http://127.0.0.1:{s.api_port}", "status")
    assert r.returncode == 1 and not r.stdout
