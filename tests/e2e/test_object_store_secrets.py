# SPDX-License-Identifier: Apache-2.0
"""A server whose store fails in every way: no credential in anything it says, searched byte by byte."""
import base64
import json
import urllib.parse

import pytest
from bucket_world import FAST, everything_said, sourced, write_tree
from conftest import wait_for

from gcs import Gcs
from s3 import S3

TOKEN = "ya29.SECRET-of-the-tests"
KEY_ID, SECRET, SESSION = "AKIDSECRETEXAMPLE", "SECRET/of+the-tests==", "SESSION/of+the-tests=="
FAULTS = [("status", 401), ("status", 403), ("status", 418), ("truncate", None), ("drop", None),
          ("body", b"not json"), ("body", f'{{"dataset_id":"{TOKEN}"}}'.encode()), ("body", SECRET.encode())]


def spellings(secret):
    raw = secret.encode()
    return {raw, urllib.parse.quote(secret, safe="").encode(), base64.b64encode(raw).rstrip(b"=")[:-1],
            json.dumps(secret)[1:-1].encode(), raw.hex().encode()}


@pytest.mark.parametrize("scheme", ["gs", "s3"])
def test_no_credential_is_said(serve, tmp_path, scheme):
    with Gcs(tokens=[TOKEN]) as gcs, S3({KEY_ID: (SECRET, SESSION)}) as s3:
        store = gcs if scheme == "gs" else s3
        env = {**FAST, **gcs.env("bearer", OFFLOADER_GCS_TOKEN=TOKEN), **s3.env(KEY_ID), "OFFLOADER_LOG_LEVEL": "debug"}
        source = {"type": "manifest", "url": f"{scheme}://g/m/latest.json", "interval_seconds": 1}
        server = serve(write_tree(tmp_path / "project", sourced(source)), ready=False, **env)
        for action, arg in FAULTS:
            n, log_at = store.count("get"), len(server.log())
            store.clear_faults()
            store.fault(action, arg, times=10 ** 6)
            wait_for(lambda: store.count("get") > n and '"refresh"' in server.log()[log_at:], f"an attempt with {action} {arg}")
        said = everything_said(server).encode()
        server.stop()
        said += server.log().encode()
        assert b"refresh" in said
        # What a store sends in its place is data like any other; what we hold is not to be repeated.
        for secret in (TOKEN, SECRET, SESSION):
            for spelling in spellings(secret):
                assert spelling not in said, spelling
        authorizations = {r.headers["authorization"].encode() for r in store.requests if "authorization" in r.headers}
        assert authorizations and not any(a in said or a.rsplit(b"=", 1)[-1] in said for a in authorizations)
