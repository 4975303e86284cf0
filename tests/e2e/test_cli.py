# SPDX-License-Identifier: Apache-2.0
"""What all commands share, and the small ones: help, version, completion, keys, endpoint test, serve PROJECT."""
import contextlib
import json
import os
import re
import signal
import socket
import subprocess

import pytest
from conftest import BIN, free_port, wait_for
from world import World, running

COMMANDS = re.findall(r"^  (\S+) ", subprocess.run([BIN, "--help"], capture_output=True, text=True, check=True).stdout,
                      re.M)


def run(*args, given=None):
    return subprocess.run([BIN, *map(str, args)], capture_output=True, text=True, input=given, timeout=60, check=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_flags_and_an_example(command):
    done = run(command, "--help")
    assert done.returncode == 0 and done.stderr == ""
    assert f"Usage: offloader {command}" in done.stdout and f"\nExample:\n  offloader {command}" in done.stdout
    wrong = run(command, "--no-such-flag")
    assert wrong.returncode == 2 and wrong.stdout == "" and "no-such-flag" in wrong.stderr
    wrong = run(command, "-v")
    assert wrong.returncode == 2 and wrong.stdout == "" and "no flag -v" in wrong.stderr, "not a file of that name"


def test_version():
    done = run("version")
    for word in ("offloader ", "commit ", "duckdb 1.4.4", "libuv ", "libcurl/", "OpenSSL/", "zstd/", "brotli/"):
        assert word in done.stdout
    assert run("--version").stdout == done.stdout
    assert json.loads(run("version", "--json").stdout)["duckdb"] == "1.4.4"


def test_output_that_does_not_arrive_is_a_failure(example, tmp_path):
    project, keys = example("public-metrics"), tmp_path / "keys.yml"
    asks = [("--help",), ("version",), ("validate", "--help"), ("validate", "--config", project, "--json"),
            ("query", "--config", project, "--endpoint", "champion", "--format", "csv"),
            ("keys", "create", "--endpoints", "a", "--append", keys)]
    for ask in asks:
        with open("/dev/full", "w", encoding="utf-8") as full:
            done = subprocess.run([BIN, *map(str, ask)], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        assert done.returncode == 1 and "standard output" in done.stderr, (ask, done)
    assert f"take the key `key1` out of '{keys}'" in done.stderr, "its token was never seen"
    with open("/dev/full", "w", encoding="utf-8") as full:
        assert subprocess.run([BIN, "validate", "--config", "/nowhere"], stdout=full, stderr=subprocess.PIPE,
                              check=False).returncode == 1
    closed = subprocess.run(f"exec '{BIN}' version >&-", shell=True, capture_output=True, text=True, check=False)
    assert closed.returncode == 1 and "standard output" in closed.stderr


def test_standard_descriptors_that_are_closed(example, tmp_path):
    """Nothing else may get their numbers: a log line would go into it."""
    server = subprocess.Popen(["sh", "-c", f"exec '{BIN}' serve '{example('public-metrics')}' --api-port 0 --admin-port 0 "
                               f"--cache-dir '{tmp_path / 'cache'}' <&- >&- 2>&-"])
    try:
        def numbers():
            with contextlib.suppress(OSError):
                return {n: os.readlink(f"/proc/{server.pid}/fd/{n}") for n in os.listdir(f"/proc/{server.pid}/fd")}
        numbers = wait_for(lambda: (n := numbers()) and any(x.startswith("socket:") for x in n.values()) and n, "its sockets")
        assert [numbers[n] for n in "012"] == ["/dev/null", "/dev/full", "/dev/null"]
    finally:
        server.kill()
        server.wait()


def test_completion_of_bash():
    script = run("completion", "bash").stdout
    ask = 'COMP_WORDS=(offloader %s); COMP_CWORD=%d; _offloader; echo "${COMPREPLY[@]}"'
    for words, n, want in (('""', 1, set(COMMANDS)), ('keys ""', 2, {"create", "hash", "--tenant"}),
                           ("validate --", 2, {"--config", "--json", "--strict", "--help"}), ("va", 1, {"validate"})):
        done = subprocess.run(["bash", "-c", script + ask % (words, n)], capture_output=True, text=True, check=True)
        assert want <= set(done.stdout.split()), done.stdout
    for shell in ("zsh", "fish"):
        text = run("completion", shell).stdout
        assert all(c in text for c in COMMANDS)
    assert run("completion").returncode == run("completion", "tcsh").returncode == 2


def test_keys_that_were_minted_work(tmp_path):
    w = World(tmp_path, auth="required")
    w.dataset("kv", [("tenant", "VARCHAR"), ("n", "BIGINT")], tenant_column="tenant")
    w.publish("kv", "s1", [('t "1"', 7), ("other", 8)])
    w.endpoint("kv", "kv", tenant="tenant")
    (tmp_path / "keys/keys.yml").unlink()
    minted = [run("keys", "create", "--id", ("k", "true", "null")[i], "--tenant", 't "1"', "--endpoints", "kv", "--append",
                  tmp_path / "keys/keys.yml", *more, "--json") for i, more in
              enumerate(((), ("--expires-at", "2099-01-01T00:00:00Z"), ("--expires-at", "2001-01-01T00:00:00Z")))]
    tokens = [json.loads(m.stdout)["token"] for m in minted]
    assert all(re.fullmatch("offl_[0-9a-f]{48}", t) for t in tokens) and len(set(tokens)) == 3
    assert run("keys", "hash", given=tokens[0] + "\n").stdout.strip() == json.loads(minted[0].stdout)["hash"]
    assert not any(t in (tmp_path / "keys/keys.yml").read_text() for t in tokens)
    with running(tmp_path, tmp_path / "cache") as s:
        assert [s.get("/v1/endpoints/kv", t).status for t in tokens] == [200, 200, 401]
        assert s.get("/v1/endpoints/kv", tokens[0]).rows == [{"tenant": 't "1"', "n": 7}]
        url = f"http://127.0.0.1:{s.api_port}"
        ask = ("endpoint", "test", "--url", url, "--endpoint", "kv")
        done = run(*ask, "--key", tokens[0], "--json")
        assert done.returncode == 0 and json.loads(done.stdout)["snapshot_id"] == "s1"
        (tmp_path / "token").write_text(tokens[0] + "\n")
        assert run(*ask, "--key", f"@{tmp_path / 'token'}").returncode == 0
        assert run(*ask).returncode == 1 and run(*ask, "--expect-status", 401).returncode == 0
        assert run(*ask, "--key", tokens[0], "--params", "nope=1", "--expect-status", "422").returncode == 0
    refused = run(*ask, "--key", tokens[0])
    assert refused.returncode == 1 and refused.stdout == "" and tokens[0] not in refused.stderr


@pytest.mark.parametrize("args, word", [
    ((), "create"), (("create",), "--endpoints"), (("create", "--endpoints", "A"), "--endpoints"),
    (("create", "--endpoints", "a", "--id", "A"), "--id"),
    (("create", "--endpoints", "a", "--expires-at", "tomorrow"), "--expires-at"),
    (("create", "--endpoints", "a", "--tenant", "a\nb"), "--tenant"), (("mint",), "create")])
def test_wrong_use_of_keys(args, word):
    done = run("keys", *args)
    assert done.returncode == 2 and word in done.stderr and done.stdout == ""


def test_a_keys_file_that_cannot_be_added_to_stays_as_it_is(tmp_path):
    file = tmp_path / "keys.yml"
    file.write_text("keys: []\n")
    done = run("keys", "create", "--endpoints", "a", "--append", file)
    assert done.returncode == 1 and "by hand" in done.stderr and "offl_" not in done.stdout
    assert file.read_text() == "keys: []\n"


def test_a_key_that_is_added_changes_nothing_else(tmp_path):
    file, link = tmp_path / "keys.yml", tmp_path / "mounted.yml"
    ask = ("keys", "create", "--endpoints", "a", "--append")
    link.symlink_to("keys.yml")
    done = run(*ask, link)
    assert done.returncode == 1 and "link to nothing" in done.stderr and not file.exists()
    assert run(*ask, file).returncode == 0 and file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o646)
    if os.geteuid() == 0:
        os.chown(file, 1, 2)
    before = file.stat()
    assert run(*ask, link, "--id", "second").returncode == 0
    after = file.stat()
    assert link.is_symlink() and (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    text = file.read_text()
    assert "id: key1\n" in text and "id: second\n" in text
    for taken in ("key1", "second"):
        done = run(*ask, file, "--id", taken)
        assert done.returncode == 1 and f"`{taken}`" in done.stderr and "--id" in done.stderr and done.stdout == ""
    assert file.read_text() == text and {f.name for f in tmp_path.iterdir()} == {"keys.yml", "mounted.yml"}


class Trial:
    def __init__(self, project, *flags):
        self.process = subprocess.Popen([BIN, "serve", str(project), *map(str, flags)], stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True)
        self.lines = []
        for line in self.process.stdout:
            self.lines.append(line)
            if "Ctrl-C" in line:
                break

    def ports(self):
        return [int(p) for p in re.findall(r"http://127\.0\.0\.1:(\d+)/", "".join(self.lines))]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        self.process.send_signal(signal.SIGINT)
        self.process.stdout.close()
        self.process.wait(30)


def test_a_trial_takes_the_next_free_port_and_prints_lines_that_work(example):
    project = example("public-metrics")
    with socket.socket() as busy:
        busy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        with Trial(project, "--api-port", port, "--admin-port", 0) as t:
            assert t.ports()[0] != port and port not in t.ports()
            curl = next(line for line in t.lines if "curl" in line)
            wait_for(lambda: '"data":[{' in subprocess.run(curl, shell=True, capture_output=True, text=True,
                                                           check=False).stdout, "the printed line")


def test_a_trial_of_the_file_prints_its_lines_too(example, monkeypatch):
    monkeypatch.chdir(example("public-metrics"))
    with Trial("offloader.yml", "--api-port", 0, "--admin-port", 0) as t:
        assert any(f"curl 'http://127.0.0.1:{t.ports()[0]}/" in line for line in t.lines), t.lines


@pytest.mark.parametrize("flag, value", [("--bind", "127.0.0.1"), ("--api-port", "0"), ("--admin-port", "0"),
                                         ("--cache-dir", "/nowhere")])
def test_flags_of_a_trial_are_refused_without_a_project(flag, value):
    done = run("serve", flag, value)
    variable = "OFFLOADER_" + flag[2:].upper().replace("-", "_")
    assert done.returncode == 2 and flag in done.stderr and f"set {variable}" in done.stderr, done


def test_a_trial_checks_first(example):
    project = example("public-metrics")
    (project / "endpoints/champion.yml").write_text("name: A\n")
    done = run("serve", project, "--api-port", free_port(), "--admin-port", 0)
    assert done.returncode == 1 and "unsafe_identifier" in done.stderr and done.stdout == ""


def test_a_port_of_a_trial_that_is_none(example):
    project = example("public-metrics")
    for flag in ("--api-port", "--admin-port"):
        done = run("serve", project, flag, "many")
        assert done.returncode == 2 and f"{flag} must be a port" in done.stderr and done.stdout == ""
