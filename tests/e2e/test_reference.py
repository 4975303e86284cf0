# SPDX-License-Identifier: Apache-2.0
"""The reference pages and the code name the same things, both ways."""
import os
import re
import subprocess

from conftest import BIN, ROOT

REFERENCE = os.path.join(ROOT, "docs", "reference")


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as f:
        return f.read()


def sources(*rooms):
    for room in rooms or sorted(os.listdir(os.path.join(ROOT, "src"))):
        for name in sorted(os.listdir(os.path.join(ROOT, "src", room))):
            if name.endswith((".c", ".h")):
                yield read("src", room, name)


def literals(text):
    return set(re.findall(r'"((?:[^"\\\n]|\\.)*)"', text))


def page(name):
    path = os.path.join(REFERENCE, name)
    return read("docs", "reference", name) if os.path.exists(path) else None


def compare(what, in_code, in_docs, known_elsewhere=()):
    missing = sorted(set(in_code) - set(in_docs))
    extra = sorted(set(in_docs) - set(in_code) - set(known_elsewhere))
    assert not missing, f"{what} that the reference does not name: {missing}"
    assert not extra, f"{what} that only the reference names: {extra}"


def check_environment(text):
    table = set(re.findall(r'\{"(OFFLOADER_\w+)",\s+[A-Z]+', read("src", "daemon", "settings.c")))
    assert len(table) > 30
    anywhere = {w for t in sources() for s in literals(t) for w in re.findall(r"OFFLOADER_\w+", s)}
    compare("variables", table, set(re.findall(r"OFFLOADER_[A-Z0-9_]*[A-Z0-9]", text)), anywhere)


def check_metrics(text):
    table = set(re.findall(r'METRIC\(\w+, "(\w+)"', read("src", "metrics", "metrics_table.h")))
    assert len(table) > 30
    named = set(re.findall(r"\b(?:offloader|process)_[a-z_]*[a-z]\b", text))
    compare("metrics", table, {re.sub(r"_(bucket|sum|count)$", "", n) for n in named})


def help_of(*command):
    done = subprocess.run([BIN, *command, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_cli(text):
    commands = re.findall(r"^  (\w+) ", help_of().split("Commands:")[1], re.M)
    assert "serve" in commands and "validate" in commands
    for command in commands:
        assert re.search(rf"offloader {command}\b", text), f"cli.md does not tell of `offloader {command}`"
    assert not [c for c in commands if "(default )" in help_of(c)], "a default that is nothing"
    flags = {f for c in commands for f in re.findall(r"--([a-z][a-z-]*)", help_of(c))}
    compare("flags", flags | {"help", "version"}, set(re.findall(r"--([a-z][a-z-]*[a-z])", text)) | {"help", "version"})


def config_keys():
    keys = set()
    for source in sources("project"):
        for array in re.findall(r"known\[\] = \{(.*?)\}", source, re.S):
            keys |= literals(array)
    return keys


def check_config(text):
    keys = config_keys()
    assert {"datasets_dir", "tenant_column", "combinations", "rate_limit"} <= keys
    missing = sorted(k for k in keys if not re.search(rf"\b{k}\b", text))
    assert not missing, f"keys that config.md does not name: {missing}"
    first_column = set(re.findall(r"^\| *`(\w+)`", text, re.M))
    everything = {s for t in sources("project", "schema", "metrics") for s in literals(t)}
    extra = sorted(first_column - everything)
    assert not extra, f"keys that only config.md names: {extra}"


def check_errors(text):
    code = set()
    for source in sources("project", "manifest", "engine", "refresh", "markup"):
        code |= set(re.findall(r'err_set_code\(\s*\w+,\s*\w+,\s*"(\w+)"', source))
        code |= set(re.findall(r'manifest_finding\(\s*\w+,\s*[^,]+,\s*"(\w+)"', source))
        code |= set(re.findall(r'read_finding\(\s*\w+,\s*[^;]*?[,\s]"([a-z]+_[a-z_]+|missing)",', source))
    code -= {"invalid_project"} | config_keys()
    assert len(code) > 25, code
    missing = sorted(c for c in code if f"`{c}`" not in text)
    assert not missing, f"codes that errors.md does not name: {missing}"
    everything = {w for t in sources() for s in literals(t) for w in re.findall(r"\w+", s)}
    extra = sorted(set(re.findall(r"^\| *`([a-z_]+)`", text, re.M)) - everything)
    assert not extra, f"codes that only errors.md names: {extra}"


CHECKS = {"environment.md": check_environment, "metrics.md": check_metrics, "cli.md": check_cli,
          "config.md": check_config, "errors.md": check_errors}


def test_reference():
    for name, check in CHECKS.items():
        text = page(name)
        if text is not None:
            check(text)
