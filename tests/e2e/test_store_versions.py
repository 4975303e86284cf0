# SPDX-License-Identifier: Apache-2.0
"""A cache that another release has written: an older format serves at once, a newer one is built again."""
import glob
import os
import struct

import pytest
from checked import crc32c, forget_checksum

# 256 values are whole bytes in every column: with version 1 in its header, this is a file of version 1.
ROWS = [(f"k{i:03}", i) for i in range(256)]


def set_version(path, version):
    with open(path, "r+b") as f:
        header = bytearray(f.read(252))
        assert struct.unpack_from("<I", header, 8) == (2,)
        struct.pack_into("<I", header, 8, version)
        f.seek(0)
        f.write(header + struct.pack("<I", crc32c(header)))


def stores(cache):
    return glob.glob(f"{cache}/snapshots/kv/*/data.store")


@pytest.mark.parametrize("version, serves_at_once", [(1, True), (3, False), (0, False)])
def test_a_cache_of_another_version_is_a_non_event(serve, project, tmp_path, version, serves_at_once):
    p, cache = project(), tmp_path / "kept"
    p.publish("r1", ROWS)
    s = serve(p.path, cache)
    want = s.get("/v1/endpoints/kv?limit=1000").rows
    assert want == [{"id": i, "n": n} for i, n in ROWS]
    s.stop()
    (store,) = stores(cache)
    set_version(store, version)
    forget_checksum(os.path.join(os.path.dirname(store), "snapshot.json"))  # as releases of version 1 wrote it
    s = serve(p.path, cache)  # is ready
    assert s.get("/v1/endpoints/kv?limit=1000").rows == want
    assert (stores(cache) == [store]) == serves_at_once
    assert ("does not verify and is rebuilt" in s.log()) != serves_at_once
    assert bool(os.listdir(cache / "quarantine")) != serves_at_once
