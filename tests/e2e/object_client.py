# SPDX-License-Identifier: Apache-2.0
"""Runs build/tests/tools/objectstore_cli: the object store client on its own, with an environment of its own."""
import json
import os
import subprocess
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "tests", "fakes"))
CLI = os.path.join(os.path.dirname(os.environ.get("OFFLOADER_BIN", os.path.join(ROOT, "build", "offloader"))),
                   "tests", "tools", "objectstore_cli")

# Everything the client ever said in this test run, searched for secrets at the end of each test.
OUTPUTS = []


class Result:
    def __init__(self, process):
        self.status, self.out, self.err = process.returncode, process.stdout, process.stderr.decode(errors="replace")

    @property
    def ok(self):
        return self.status == 0

    @property
    def json(self):
        assert self.ok, self.err
        return json.loads(self.out)

    @property
    def failure(self):
        """Class and code of the error, as "denied" or "corrupt checksum_mismatch"."""
        assert self.status == 1, (self.status, self.out[:200], self.err)
        line = self.err.splitlines()[-1]
        rc, code, _ = line.split(" ", 2)
        return rc if code == "-" else f"{rc} {code}"

    def metric(self, name, **labels):
        wanted = ",".join(f'{k}="{v}"' for k, v in labels.items())
        for line in self.err.splitlines():
            if line.startswith(f"{name}{{{wanted}}} "):
                return float(line.rsplit(" ", 1)[1])
        return 0.0


def client(env, *args, timeout=60):
    """Options first. Backoff is shortened, so that a test of three retries is quick."""
    clean = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **env}
    process = subprocess.run([CLI, "--backoff-ms", "20", *[str(a) for a in args]], env=clean, capture_output=True,
                             timeout=timeout, check=False)
    OUTPUTS.append(process.stdout[:1 << 16] + process.stderr)
    assert process.returncode in (0, 1), (process.returncode, process.stderr)
    return Result(process)
