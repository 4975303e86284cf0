# SPDX-License-Identifier: Apache-2.0
"""What the documentation says is what happens: docs/README.md, "How these pages are kept true", has the rules."""
import glob
import os
import re
import shlex
import subprocess

import pytest
from conftest import BIN, ROOT, wait_for

PAGES = sorted(p for p in glob.glob(os.path.join(ROOT, "**/*.md"), recursive=True)
               if not re.search(r"/(\.deps|node_modules|build[^/]*|\.pytest_cache)/", p))
FENCE = re.compile(r"(?:<!-- (file|run|manual)(?:: ([^>]*?))? -->\n)?^```(\w*)\n(.*?)^```$", re.S | re.M)


def read(page):
    with open(page, encoding="utf-8") as f:
        return f.read()


RUN = [p for p in PAGES if any(kind for kind, *_ in FENCE.findall(read(p)))]


def name(path):
    return os.path.relpath(path, ROOT)


def steps(text):
    """(command, expected output) of each `$ ` line of a block; a `\\` at its end continues it."""
    parts = re.split(r"^\$ ", text, flags=re.M)
    assert parts[0] == "", f"text before the first command: {parts[0]!r}"
    return [re.match(r"((?:.*\\\n)*.*)\n((?s:.*))", p).groups() for p in parts[1:]]


def matches(expected, printed):
    pattern = ".*".join(re.escape(part) for part in expected.strip().split("…"))
    return re.fullmatch(pattern, printed.strip(), re.S)


class Trial:
    """`offloader serve PROJECT`; @what is the marker's text, `[NAME=VALUE ]serve PROJECT`."""

    def __init__(self, what, directory, env):
        settings, _, project = what.rpartition("serve ")
        self.settings = dict(word.split("=", 1) for word in settings.split())
        env = dict(env, **self.settings)
        self.log_path = directory / "trial.log"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [BIN, "serve", project, "--api-port", "0", "--admin-port", "0", "--cache-dir", directory / "cache"],
                cwd=directory, env=env, stdout=log, stderr=log)
        wait_for(lambda: "Ctrl-C" in self.text(), "the banner")
        self.api, self.admin = (re.search(rf"{word}\s+http://127\.0\.0\.1:(\d+)/", self.text()).group(1)
                                for word in ("API", "admin"))
        wait_for(lambda: subprocess.run(["curl", "-fs", f"http://127.0.0.1:{self.admin}/ready"],
                                        capture_output=True, check=False).returncode == 0, "readiness")

    def text(self):
        return self.log_path.read_text(encoding="utf-8")

    def stop(self):
        self.process.terminate()
        assert self.process.wait(30) == 0


class Page:
    """Does what a page says, in a scratch directory."""

    def __init__(self, directory):
        (directory / "bin").mkdir()
        os.symlink(BIN, directory / "bin/offloader")
        os.symlink(os.path.join(ROOT, "examples"), directory / "examples")
        self.directory, self.trial = directory, None
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("OFFLOADER_")}
        self.env["PATH"] = f"{directory}/bin:{os.environ['PATH']}"

    def write(self, path, text):
        target = self.directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def run(self, command, expected):
        env = dict(self.env, **(self.trial.settings if self.trial else {}))
        if self.trial:
            command = re.sub(r"\bcurl\b", "curl -sS", command)
            command = re.sub(r":4000\b", f":{self.trial.api}", command)
            command = re.sub(r":4001\b", f":{self.trial.admin}", command)
        done = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=self.directory, env=env,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
        printed = done.stdout
        if self.trial:
            printed = printed.replace(f":{self.trial.api}", ":4000").replace(f":{self.trial.admin}", ":4001")
        assert matches(expected, printed), f"{command}\nprinted:\n{printed}\nexpected:\n{expected}"

    def try_usage(self, command):
        """A command for another machine is at least no wrong usage (exit status 2), though nobody answers it here."""
        words = shlex.split(command)
        if words[0] != "offloader" or words[1] == "serve":
            return
        self.write("token", "sixteen-bytes-and-more")
        words = [re.sub(r"^@.*", "@token", word) for word in words]
        if "--admin-url URL" in self.output([BIN, words[1], "--help"])[1]:
            words += ["--admin-url", "http://127.0.0.1:1"]
        status, printed = self.output([BIN, *words[1:]], OFFLOADER_ADMIN_TOKEN="sixteen-bytes-and-more")
        assert status in (0, 1), f"{command}\nprinted:\n{printed}"

    def output(self, command, **settings):
        done = subprocess.run(command, cwd=self.directory, env=dict(self.env, **settings), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
        return done.returncode, done.stdout

    def block(self, kind, what, text):
        if kind == "file":
            self.write(what, text)
        elif kind == "manual":
            for command, _ in steps(text):
                subprocess.run(["bash", "-n"], input=command, text=True, check=True)
                self.try_usage(command)
        elif kind == "run":
            if what:
                self.close()
                self.trial = Trial(what, self.directory, self.env)
            for command, expected in steps(text):
                self.run(command, expected)

    def close(self):
        if self.trial:
            self.trial.stop()


@pytest.mark.parametrize("page", RUN, ids=name)
def test_documented_commands(page, tmp_path):
    reader = Page(tmp_path)
    try:
        for kind, what, _, text in FENCE.findall(read(page)):
            reader.block(kind, what, text)
    finally:
        reader.close()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_command_escapes_the_tests(page):
    for kind, _, language, text in FENCE.findall(read(page)):
        assert kind or language not in ("console", "sh", "bash", "shell"), f"a block without a marker:\n{text}"
        assert kind or not re.search(r"^\$ ", text, re.M), f"commands in a block without a marker:\n{text}"


def anchors(page):
    text = FENCE.sub("", read(page))
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
            for heading in re.findall(r"^#+ (.*)$", text, re.M)}


def links(page):
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", FENCE.sub("", read(page))))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_resolve(page):
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
        assert os.path.exists(target), f"{link} leads nowhere"
        assert not anchor or anchor in anchors(target), f"{link}: there is no such heading"


def test_the_index_lists_every_page():
    docs = os.path.join(ROOT, "docs")
    listed = {os.path.normpath(os.path.join(docs, link.split("#")[0])) for link in links(os.path.join(docs, "README.md"))}
    pages = [p for p in PAGES if p.startswith(docs + os.sep) and p != os.path.join(docs, "README.md")]
    assert [name(p) for p in pages if p not in listed] == []
