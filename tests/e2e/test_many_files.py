# SPDX-License-Identifier: Apache-2.0
"""Snapshots of many files, more than DuckDB takes in one statement; columns that differ from file to file, and more
text columns than an ingest may have files open."""
import os
import random

import pytest
from parquet import write
from world import World, running

MODES = ("local_table", "remote_scan")


def make(path, name, selects, order, **over):
    """A dataset `name` of len(order) files that are links of as many Parquet files as there are @selects, which
    have two rows each; an endpoint in each mode."""
    world = World(path)
    world.dataset(name, [("id", "BIGINT"), ("at", "TIMESTAMP")])
    for mode in MODES:
        world.endpoint(f"{name}_{mode}", name, serving_mode=mode)
    for i, select in enumerate(selects):
        write(world.path / f"data/{name}-{i}.parquet", select)
    for n, which in enumerate(order):
        os.link(world.path / f"data/{name}-{which}.parquet", world.path / f"data/{name}.{n}.parquet")
    world.publish(name, "s1", [], row_count=2 * len(order), files=[
        {"path": f"{name}.{n}.parquet", "format": "parquet", "row_count": 2} for n in range(len(order))], **over)
    return world


def first_id(i):
    """Too large for INTEGER where @i is even."""
    return 10 * i + (0 if i % 2 else 1 << 40)


def rows(i, type_of_id="BIGINT", more=""):
    return (f"SELECT CAST({first_id(i)} + n AS {type_of_id}) AS id, TIMESTAMP '2026-01-01' AS at{more} "
            "FROM (VALUES (0), (1)) t(n) ORDER BY n")


def check_order(server, name, order):
    """All rows, in the order of the manifest's files, in both modes."""
    want = [first_id(which) + n for which in order for n in (0, 1)]
    for mode in MODES:
        got = []
        for offset in range(0, len(want), 1000):
            r = server.get(f"/v1/endpoints/{name}_{mode}?limit=1000&offset={offset}")
            assert r.status == 200, (mode, r.body)
            got += [row["id"] for row in r.rows]
        assert got == want, mode


@pytest.fixture
def seeded():
    seed = random.SystemRandom().randrange(2 ** 32)
    print(f"seed {seed}")
    return random.Random(seed)


def test_twelve_hundred_files(tmp_path, seeded):
    order = [seeded.randrange(3) for _ in range(1200)]
    make(tmp_path, "many", [rows(i) for i in range(3)], order)
    with running(tmp_path, tmp_path / "cache") as server:
        check_order(server, "many", order)


def test_columns_that_differ_from_file_to_file(tmp_path, seeded):
    """More changes than files that may be open at once; names that the engine uses itself."""
    kinds = [rows(0), rows(1, "INTEGER"), rows(2, more=", 7 AS file_index"), rows(3, more=", 8 AS also"),
             rows(4, more=", 8.5 AS also"), rows(5, more=", {'a': 1, 'b': [2]} AS also"),
             rows(6, more=", {'a': 1, 'B': [2]} AS also")]
    order = [seeded.randrange(len(kinds)) for _ in range(1300)]
    make(tmp_path, "mixed", kinds, order)
    with running(tmp_path, tmp_path / "cache") as server:
        check_order(server, "mixed", order)


def test_a_finding_names_the_file_among_many(tmp_path):
    bad = ("SELECT CAST(n AS BIGINT) AS id, CASE WHEN n = 1 THEN TIMESTAMP 'infinity' ELSE TIMESTAMP '2026-01-01' END AS at "
           "FROM (VALUES (0), (1)) t(n) ORDER BY n")
    order = [0] * 7 + [1] + [0] * 4
    make(tmp_path, "one", [rows(0), bad], order)
    with running(tmp_path, tmp_path / "cache", ready=False) as server:
        attempt = server.post("/datasets/one/refresh").json["attempt"]
        assert attempt["error"]["code"] == "cast_failed"
        assert "one.7.parquet: column `at`, data row 2" in attempt["error"]["message"]


def test_eleven_hundred_text_columns(tmp_path):
    world = World(tmp_path)
    names = [f"c{i}" for i in range(1100)]
    world.dataset("wide", [(n, "VARCHAR") for n in names])
    world.endpoint("wide", "wide", ["c0", "c1099"])
    world.publish("wide", "s1", [[f"{n} in row {i}" for n in names] for i in range(2)])
    with running(tmp_path, tmp_path / "cache") as server:
        assert server.get("/v1/endpoints/wide").rows == [
            {n: f"{n} in row {i}" for n in ("c0", "c1099")} for i in range(2)]
