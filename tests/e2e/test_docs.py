# SPDX-License-Identifier: Apache-2.0
"""What the documentation says is what happens.

Markers in Markdown, each before a fenced block:
  <!-- file: PATH -->    the block is written to PATH in an empty directory
  <!-- run -->           each `$ command` runs there and prints what follows it
  <!-- run: serve P -->  the same, beside `offloader serve P`; ports 4000 and 4001 are that server's
`…` in the printed text stands for anything. Every relative link must lead somewhere.
"""
import glob
import os
import re
import subprocess

import pytest
from conftest import BIN, ROOT, wait_for

PAGES = sorted(p for p in glob.glob(os.path.join(ROOT, "**/*.md"), recursive=True)
               if not re.search(r"/(\.deps|node_modules|build[^/]*|\.pytest_cache)/", p))
BLOCK = re.compile(r"<!-- (file|run)(?:: ([^>]*?))? -->\n```\w*\n(.*?)```", re.S)
RUN = [p for p in PAGES if BLOCK.search(open(p, encoding="utf-8").read())]


def name(path):
    return os.path.relpath(path, ROOT)


def steps(text):
    """(command, expected output) of each `$ ` line of a block."""
    parts = re.split(r"^\$ ", text, flags=re.M)
    assert parts[0] == "", f"text before the first command: {parts[0]!r}"
    return [tuple(p.split("\n", 1)) for p in parts[1:]]


def matches(expected, printed):
    pattern = ".*".join(re.escape(part) for part in expected.strip().split("…"))
    return re.fullmatch(pattern, printed.strip(), re.S)


class Trial:
    def __init__(self, project, directory):
        self.log = open(directory / "trial.log", "w+", encoding="utf-8")
        self.process = subprocess.Popen(
            [BIN, "serve", project, "--api-port", "0", "--admin-port", "0", "--cache-dir", directory / "cache"],
            cwd=directory, stdout=self.log, stderr=self.log)
        wait_for(lambda: "Ctrl-C" in self.text(), "the banner")
        self.api, self.admin = (re.search(rf"{word}\s+http://127\.0\.0\.1:(\d+)/", self.text()).group(1)
                                for word in ("API", "admin"))
        wait_for(lambda: subprocess.run(["curl", "-fs", f"http://127.0.0.1:{self.admin}/ready"],
                                        capture_output=True).returncode == 0, "readiness")

    def text(self):
        with open(self.log.name, encoding="utf-8") as f:
            return f.read()

    def stop(self):
        self.process.terminate()
        assert self.process.wait(30) == 0
        self.log.close()


@pytest.mark.parametrize("page", RUN, ids=name)
def test_documented_commands(page, tmp_path):
    (tmp_path / "bin").mkdir()
    os.symlink(BIN, tmp_path / "bin/offloader")
    os.symlink(os.path.join(ROOT, "examples"), tmp_path / "examples")
    env = dict(os.environ, PATH=f"{tmp_path}/bin:{os.environ['PATH']}")
    n = 0
    for kind, what, text in BLOCK.findall(open(page, encoding="utf-8").read()):
        if kind == "file":
            target = tmp_path / what
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
            continue
        trial = Trial(what.removeprefix("serve "), tmp_path) if what else None
        try:
            for command, expected in steps(text):
                if trial:
                    command = command.replace(":4000/", f":{trial.api}/").replace(":4001/", f":{trial.admin}/")
                done = subprocess.run(command, shell=True, cwd=tmp_path, env=env, capture_output=True,
                                      text=True, timeout=60)
                assert matches(expected, done.stdout), f"{command}\nprinted:\n{done.stdout}{done.stderr}\nexpected:\n{expected}"
                n += 1
        finally:
            if trial:
                trial.stop()
    assert n > 0


def test_links_resolve():
    broken = []
    for page in PAGES:
        text = re.sub(r"```.*?```", "", open(page, encoding="utf-8").read(), flags=re.S)
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            target = link.split("#")[0]
            if target and not re.match(r"[a-z]+:", target):
                if not os.path.exists(os.path.join(os.path.dirname(page), target)):
                    broken.append(f"{name(page)}: {link}")
    assert not broken, "\n".join(broken)
