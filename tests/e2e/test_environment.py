# SPDX-License-Identifier: Apache-2.0
"""Every variable: a malformed value stops the start and is named; unknown ones are warned of; the page lists all."""
import os
import pathlib
import re
import subprocess

import pytest
from conftest import BIN, ROOT, SECRET
from world import World, running

SOURCE = pathlib.Path(ROOT, "src/daemon/settings.c").read_text(encoding="utf-8")
VARIABLES = re.findall(r'\{"(OFFLOADER_\w+)", (\w+),', SOURCE)
WRONG = {"INTEGER": ("x", "-1", "1.5", " 1", "99999999999999999999"), "PORT": ("x", "-1", "65536"),
         "SIZE": ("x", "0", "-1MB", "1XB", "99999999999GiB"), "SWITCH": ("yes", "2"), "LEVEL": ("loud",),
         "FORMAT": ("xml",), "ENGINE": ("sqlite",), "ACCESS": ("sample:2", "sample:", "yes"),
         "ADDRESS": ("localhost", "1.2.3", "::g"), "ORIGINS": ("example.com", "https://a.example/path", "https://a, b"),
         "LABEL": ("a\r\nX-Evil: 1", "a b", "a" * 201)}


def start(**over):
    env = {k: v for k, v in os.environ.items() if not k.startswith("OFFLOADER_")}
    env.update(OFFLOADER_CONFIG="/nowhere", OFFLOADER_SECRET_KEY_BASE=SECRET)
    env.update({k: v for k, v in over.items() if v is not None})
    for name in [k for k, v in over.items() if v is None]:
        env.pop(name)
    return subprocess.run([BIN, "serve"], env=env, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("name, kind", VARIABLES, ids=[n for n, _ in VARIABLES])
def test_a_malformed_value_stops_the_start_by_name(name, kind):
    for value in WRONG.get(kind, ()):
        done = start(**{name: value})
        assert done.returncode != 0 and re.search(rf"\b{name} must ", done.stderr), (name, value, done.stderr)
        assert "/nowhere" not in done.stderr, "nothing else is tried"


def test_required_ones_are_all_named_at_once():
    done = start(OFFLOADER_CONFIG=None, OFFLOADER_SECRET_KEY_BASE=None)
    assert done.returncode == 1
    assert "OFFLOADER_CONFIG is required" in done.stderr and "OFFLOADER_SECRET_KEY_BASE is required" in done.stderr
    done = start(OFFLOADER_SECRET_KEY_BASE="0123456789abcdef0123456789abcde", OFFLOADER_ADMIN_TOKEN="fifteen-bytes--")
    assert "OFFLOADER_SECRET_KEY_BASE must have at least 32 bytes" in done.stderr
    assert "OFFLOADER_ADMIN_TOKEN must have at least 16 bytes" in done.stderr
    assert "abcdef" not in done.stderr and "fifteen" not in done.stderr


@pytest.mark.parametrize("token", ["has a space in the middle", "comma,comma,comma,comma", "line\nfeed-line-feed",
                                   "\u00e9-is-not-of-ascii-", "x" * 4097])
def test_a_token_that_nobody_could_send_is_refused(token):
    done = start(OFFLOADER_ADMIN_TOKEN=token)
    assert done.returncode == 1 and "OFFLOADER_ADMIN_TOKEN must be at most 4096 visible" in done.stderr
    assert token not in done.stderr


def test_a_switch_says_what_it_takes():
    assert "OFFLOADER_ALLOW_LOOPBACK must be on or off" in start(OFFLOADER_ALLOW_LOOPBACK="yes").stderr


def test_one_port_cannot_be_both():
    assert "OFFLOADER_ADMIN_PORT must differ" in start(OFFLOADER_API_PORT="4000", OFFLOADER_ADMIN_PORT="4000").stderr


def test_an_unknown_one_is_a_warning_with_the_nearest_name(tmp_path):
    w = World(tmp_path)
    w.dataset("kv", [("id", "VARCHAR")])
    w.endpoint("kv", "kv")
    w.publish("kv", "s1", [("a",)])
    with running(tmp_path, tmp_path / "cache", OFFLOADER_POOLSIZE="4", OFFLOADER_LOG_LEVEL="") as s:
        assert "OFFLOADER_POOLSIZE is not known; did you mean OFFLOADER_POOL_SIZE?" in s.log()
        assert s.get("/v1/endpoints/kv").status == 200


def test_the_page_lists_them_all_and_no_others():
    page = pathlib.Path(ROOT, "docs/reference/environment.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(OFFLOADER_\w+)` \| (?:`([^`]*)`)? ?\|", page, re.M)
    assert [n for n, _ in rows] == [n for n, _ in VARIABLES]
    stores = pathlib.Path(ROOT, "docs/reference/object-stores.md").read_text(encoding="utf-8")
    for name in re.findall(r'"(OFFLOADER_(?:S3|GCS)_\w+)"', SOURCE):
        assert name in stores, name


def test_the_page_of_codes_lists_all_that_the_sources_give():
    page = pathlib.Path(ROOT, "docs/reference/errors.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"`([a-z_]+)`", page))
    given = set()
    for room in ("project", "manifest", "markup"):
        for path in pathlib.Path(ROOT, "src", room).glob("*.c"):
            text = path.read_text(encoding="utf-8")
            given |= set(re.findall(r'(?:read_finding|read_warning|manifest_finding|errlist_add)\([^;]*?, "([a-z]+(?:_[a-z]+)*)",',
                                    text))
    codes = {c for c in given if "_" in c or c == "missing"} - {
        "tenant_column", "data_quality_status", "compatibility_policy", "snapshot_id", "dataset_id"}
    assert len(codes) > 30 and codes - listed == set()
