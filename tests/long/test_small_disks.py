# SPDX-License-Identifier: Apache-2.0
"""R-05: a refresh into a file system that is too small until it has grown."""
import pytest


@pytest.mark.parametrize("start_kib", [160, 176, 192])
def test_r05_small_disks(tmp_path, start_kib):
    from test_cache import in_mount_namespace
    in_mount_namespace("grow", str(tmp_path / "full"), start_kib, 64, 65536)
