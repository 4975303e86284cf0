# SPDX-License-Identifier: Apache-2.0
"""A store file that is damaged while it is served: 503, a rebuild by itself, and the process lives."""
import glob
import os

import pytest
from conftest import ROOT, wait_for

PROJECT = os.path.join(ROOT, "examples", "customer-analytics")
PATH = "/v1/endpoints/usage_daily?account_id=acct_acme_03&limit=3"
OTHER = "/v1/endpoints/open_invoices?limit=2"


def store_file(server):
    (found,) = glob.glob(os.path.join(server.cache, "snapshots", "usage", "*", "data.store"))
    return found


def truncate(path):
    os.truncate(path, 0)


def overwrite(path):
    """Every block; the header and the directory were read when it was opened."""
    size = os.path.getsize(path)
    with open(path, "r+b") as f:
        f.seek(256)
        f.write(b"\xff" * (size // 2))


@pytest.mark.parametrize("damage", [truncate, overwrite])
def test_damage_under_the_map_is_contained(serve, damage):
    server = serve(PROJECT)
    pid, broken = server.process.pid, store_file(server)
    damage(broken)  # before the first query: no block has been verified yet
    seen = []

    def answered():
        a = server.get(PATH, key="demo-acme-key")
        seen.append(a.status)
        return a if a.status == 200 else None

    answer = wait_for(answered, "the rebuilt dataset")
    assert len(answer.rows) == 3 and set(seen[:-1]) <= {503} and len(seen) > 1, seen
    assert store_file(server) != broken
    assert server.get(OTHER, key="demo-acme-key").status == 200
    assert server.process.pid == pid and server.process.poll() is None
