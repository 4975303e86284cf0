# SPDX-License-Identifier: Apache-2.0
"""Each bundled project validates and serves; every row of the failure lab answers what its table says."""
import glob
import json
import os
import shutil
import subprocess

import pytest
from conftest import BIN, ROOT

EXAMPLES = sorted(os.path.dirname(p) for p in glob.glob(os.path.join(ROOT, "examples/*/offloader.yml")))
LAB = os.path.join(ROOT, "examples/failure-lab")
with open(os.path.join(LAB, "failures.json"), encoding="utf-8") as _f:
    TABLE = json.load(_f)


@pytest.mark.parametrize("path", EXAMPLES, ids=os.path.basename)
def test_example_is_valid(path):
    done = subprocess.run([BIN, "validate", "--strict", "--config", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_lab_table_is_whole():
    assert {c["case"] for c in TABLE["snapshots"]} == set(os.listdir(os.path.join(LAB, "broken")))
    assert len(TABLE["snapshots"]) >= 15 and len(TABLE["requests"]) >= 15


def test_broken_snapshots_never_serve(serve, example):
    p = example("failure-lab")
    s = serve(p)
    good = s.get("/v1/endpoints/orders", "lab-acme-key")
    assert good.status == 200 and good.meta["snapshot_id"] == "good_1" and len(good.rows) == 2
    wrong = []
    for case in TABLE["snapshots"]:
        for name in ("orders.csv", "manifest.json"):
            shutil.copy(p / "broken" / case["case"] / name, p / "data" / name)
        r = s.post("/datasets/orders/refresh")
        error = r.json.get("attempt", {}).get("error") or {}
        if r.status != 409 or r.json["attempt"]["status"] != "rejected" or error.get("code") != case["code"] \
                or case["message_says"] not in error["message"]:
            wrong.append((case["case"], r.status, r.json))
        served = s.get("/v1/endpoints/orders", "lab-acme-key")
        assert served.status == 200 and served.rows == good.rows, case["case"]
        assert served.meta["snapshot_id"] == "good_1", case["case"]
    assert not wrong, wrong


def test_wrong_requests_are_answered_as_the_table_says(serve, example):
    s = serve(example("failure-lab"))
    for case in TABLE["requests"]:
        r = s.get(case["path"], case["key"], case["headers"])
        assert r.status == case["status"], (case, r.body)
        if case["family"]:
            assert r.json["error"]["family"] == case["family"], case
            assert case["message_says"] in r.json["error"]["message"], (case, r.body)
