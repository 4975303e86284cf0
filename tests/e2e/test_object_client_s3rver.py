# SPDX-License-Identifier: Apache-2.0
"""The object store client against s3rver, a server of S3's protocol that is not ours; botocore uploads."""
import os
import random
import subprocess

import botocore.config
import botocore.session
import pytest
from conftest import ROOT, free_port, wait_for
from object_client import client

PROGRAM = os.path.join(ROOT, ".deps/s3rver/node_modules/s3rver/bin/s3rver.js")
KEYS = ["plain.csv", "a b+c%20d.csv", "dir/é/漢字.csv", "q?x=1&y=2#z.csv", "~=,;:@!$'()[]{}*.csv"]


class S3rver:
    def __init__(self, directory):
        assert os.path.exists(PROGRAM), "s3rver is not installed: run tools/setup"
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        with open(directory / "log", "wb") as log:
            # Its page tokens are made with a cipher that OpenSSL 3 calls legacy.
            self.process = subprocess.Popen(
                ["node", "--openssl-legacy-provider", PROGRAM, "-d", str(directory / "data"), "-a", "127.0.0.1", "-p", str(port), "--configure-bucket", "bkt",
                 "--no-vhost-buckets"], stdout=log, stderr=log)
        self.api = botocore.session.get_session().create_client(
            "s3", endpoint_url=self.url, region_name="us-east-1", aws_access_key_id="S3RVER", aws_secret_access_key="S3RVER",
            config=botocore.config.Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}))
        wait_for(self.answers, "s3rver")

    def answers(self):
        assert self.process.poll() is None
        try:
            return self.api.list_buckets()["Buckets"]
        except botocore.exceptions.BotoCoreError:
            return False

    @property
    def env(self):
        return {"OFFLOADER_S3_ENDPOINT": self.url, "OFFLOADER_S3_KEY_ID": "S3RVER", "OFFLOADER_S3_SECRET": "S3RVER"}


@pytest.fixture(scope="module")
def s3rver(tmp_path_factory):
    server = S3rver(tmp_path_factory.mktemp("s3rver"))
    yield server
    server.process.terminate()
    server.process.wait(30)


def test_keys(s3rver):
    for key in KEYS:
        s3rver.api.put_object(Bucket="bkt", Key="odd/" + key, Body=key.encode())
    listed = client(s3rver.env, "list", "s3://bkt/odd/", 100).json
    assert sorted(i[0] for i in listed) == sorted(KEYS)
    tags = {i[0]: i[2] for i in listed}
    for key in KEYS:
        assert client(s3rver.env, "--tag", tags[key], "get", "s3://bkt/odd/" + key).out == key.encode()


def test_pages(s3rver):
    for i in range(1001):
        s3rver.api.put_object(Bucket="bkt", Key=f"pages/{i:04d}", Body=b"x")
    assert [i[0] for i in client(s3rver.env, "list", "s3://bkt/pages/", 2000).json] == [f"{i:04d}" for i in range(1001)]


def test_ranges_and_conditions(s3rver, tmp_path):
    s3rver.api.put_object(Bucket="bkt", Key="k", Body=b"0123456789")
    env, url = s3rver.env, "s3://bkt/k"
    meta = client(env, "stat", url).json
    assert meta["size"] == 10
    assert client(env, "--tag", meta["tag"], "read", url, 3, 4).out == b"3456"
    assert client(env, "read", url, 8, 4).failure == "corrupt"
    assert client(env, "--unless", meta["tag"], "get", url).out == b"unchanged"
    assert client(env, "get", "s3://bkt/none").failure == "not_found"
    assert client(env, "list", "s3://nobucket/", 9).failure == "not_found"
    assert client(env, "--size", 10, "download", url, tmp_path / "f").ok
    assert (tmp_path / "f").read_bytes() == b"0123456789"


def test_a_multipart_object(s3rver, tmp_path):
    body = random.Random(5).randbytes((17 << 20) + 3)
    upload = s3rver.api.create_multipart_upload(Bucket="bkt", Key="big")["UploadId"]
    parts = []
    for number, at in enumerate(range(0, len(body), 6 << 20), 1):
        part = s3rver.api.upload_part(Bucket="bkt", Key="big", PartNumber=number, UploadId=upload, Body=body[at:at + (6 << 20)])
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    s3rver.api.complete_multipart_upload(Bucket="bkt", Key="big", UploadId=upload, MultipartUpload={"Parts": parts})
    got = client(s3rver.env, "download", "s3://bkt/big", tmp_path / "f").json
    assert got["size"] == len(body)
    assert (tmp_path / "f").read_bytes() == body
