# SPDX-License-Identifier: Apache-2.0
"""S-13: what a decoder taken over by a crafted file would try, from inside both kinds of child."""
import os
import subprocess

import pytest
from conftest import BIN


def attempts(kind, directory, *abi):
    done = subprocess.run([BIN, "__sandbox-test", kind, str(directory), *abi], capture_output=True, text=True,
                          timeout=60, start_new_session=True)
    for name in ("test", "link"):  # what `bare` may leave
        path = f"/tmp/offloader-sandbox-{name}"
        if os.path.lexists(path):
            os.unlink(path)
    lines = done.stdout.splitlines()
    return done, [line for line in lines if line.startswith("denied")], [line for line in lines if line.startswith("ALLOWED")]


@pytest.mark.parametrize("abi", ["", "2"], ids=["this kernel", "debian 12"])
@pytest.mark.parametrize("kind", ["ingest", "query"])
def test_every_attempt_is_denied(kind, abi, tmp_path):
    """Debian 12's kernel has Landlock's ABI 2, which knows nothing of cutting files."""
    done, denied, allowed = attempts(kind, tmp_path, *abi)
    print(f"{kind}: {len(denied)} attempts denied")
    assert allowed == [] and done.returncode == 0, done.stdout + done.stderr
    assert len(denied) >= 40
    assert (tmp_path / "beside" / "victim").read_text() == "x"


def test_without_the_sandbox_they_would_work(tmp_path):
    """The same attempts with the defence removed: a test that passes without it would prove nothing."""
    _, denied, allowed = attempts("bare", tmp_path)
    print(f"bare: {len(allowed)} attempts work, {len(denied)} do not")
    assert len(allowed) >= 40
