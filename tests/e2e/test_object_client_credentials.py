# SPDX-License-Identifier: Apache-2.0
"""Where credentials come from, when they are fetched anew, and that nothing ever prints them."""
import base64
import json
import os
import stat
import subprocess
import time

import object_client
import pytest
from object_client import client

from gcs import Gcs
from s3 import S3

SECRETS = ["SECRET-token-one", "SECRET-token-two", "SECRET/aws+key==", "SECRET-session/+=", "SECRET-web-identity",
           "SECRET-refresh", "SECRET-container"]


@pytest.fixture(autouse=True)
def nothing_is_printed():
    del object_client.OUTPUTS[:]
    yield
    for output in object_client.OUTPUTS:
        for secret in SECRETS:
            assert secret.encode() not in output
            assert base64.b64encode(secret.encode())[:-4] not in output
        assert b"PRIVATE KEY" not in output and b"eyJ" not in output  # a JWT begins so


@pytest.fixture
def gcs():
    with Gcs(tokens=["SECRET-token-one"]) as store:
        store.put("b", "k", "x")
        yield store


def metadata(store, **more):
    return store.env("bearer", OFFLOADER_GCS_METADATA_URL=store.url, **more)


# ---- Google ----

def test_token_of_the_variable(gcs):
    env = gcs.env("bearer", OFFLOADER_GCS_TOKEN="SECRET-token-one")
    assert client(env, "get", "gs://b/k").out == b"x"
    assert client(env, "source", "gs://b/k").out == b"OFFLOADER_GCS_TOKEN\n"
    assert gcs.auth_errors == [] and gcs.count("metadata") == 0


def test_bearer_is_what_production_does(gcs):
    env = metadata(gcs)
    del env["OFFLOADER_GCS_AUTH"]
    gcs.metadata_tokens = [("SECRET-token-one", 3600)]
    assert client(env, "get", "gs://b/k").out == b"x"
    n = gcs.count("metadata")
    assert client(env, "--anonymous", "get", "gs://b/k").failure == "denied"
    assert gcs.count("metadata") == n


def test_metadata_server_is_asked_once_for_all(gcs):
    gcs.metadata_tokens = [("SECRET-token-one", 3600)]
    gcs.fault("delay", 0.2, kind="metadata")
    assert client(metadata(gcs), "many", 40, "gs://b/k").ok
    assert gcs.count("metadata") == 1 and gcs.count("get") == 40
    assert client(metadata(gcs), "source", "gs://b/k").out == b"metadata server\n"


def test_metadata_url_may_be_whole(gcs):
    gcs.metadata_tokens, gcs.metadata_path = [("SECRET-token-one", 3600)], "/token/of/mine"
    env = gcs.env("bearer", OFFLOADER_GCS_METADATA_URL=gcs.url + "/token/of/mine")
    assert client(env, "get", "gs://b/k").out == b"x"


def test_a_failure_too_is_shared(gcs):
    env = metadata(gcs, PATH="/nonexistent")
    gcs.fault("delay", 0.3, kind="metadata")
    result = client(env, "many", 20, "gs://b/k")
    assert result.failure == "denied" and gcs.count("metadata") <= 3 and gcs.count("get") == 0


@pytest.mark.parametrize("seconds, n", [(301 + 60, 1), (299, 4)])
def test_fetched_anew_five_minutes_before_the_end(gcs, seconds, n):
    """Forty objects a page of ten: four requests, each with a token that lasts."""
    gcs.page_size = 10
    for i in range(40):
        gcs.put("b", f"p/{i}", "x")
    gcs.metadata_tokens = [("SECRET-token-one", seconds)]
    assert client(metadata(gcs), "list", "gs://b/p/", 100).ok
    assert gcs.count("metadata") == n


def test_401_forces_one_refetch_and_one_retry(gcs):
    gcs.metadata_tokens = [("SECRET-token-two", 3600), ("SECRET-token-one", 3600)]
    assert client(metadata(gcs), "get", "gs://b/k").out == b"x"
    assert gcs.count("metadata") == 2 and gcs.count("get") == 2


def test_401_for_good(gcs):
    gcs.metadata_tokens = [("SECRET-token-two", 3600)]
    assert client(metadata(gcs), "get", "gs://b/k").failure == "denied"
    assert gcs.count("metadata") == 2 and gcs.count("get") == 2


def test_401_once_with_a_token_of_the_variable(gcs):
    gcs.fault("status", 401, kind="get")
    assert client(gcs.env("bearer", OFFLOADER_GCS_TOKEN="SECRET-token-one"), "get", "gs://b/k").out == b"x"
    assert gcs.count("get") == 2


@pytest.mark.parametrize("auth", ["none", "anonymous", "public"])
@pytest.mark.parametrize("status", [401, 403])
def test_anonymous_refusals_are_reported_at_once(gcs, auth, status):
    gcs.fault("status", status, times=99)
    assert client(gcs.env(auth, OFFLOADER_GCS_TOKEN="SECRET-token-one"), "get", "gs://b/k").failure == "denied"
    assert gcs.count() == 1 and "authorization" not in gcs.requests[0].headers


@pytest.fixture(scope="module")
def rsa_key(tmp_path_factory):
    path = tmp_path_factory.mktemp("rsa") / "key.pem"
    subprocess.run(["openssl", "genrsa", "-out", str(path), "2048"], check=True, capture_output=True)
    return path


def decoded(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_service_account_key(gcs, rsa_key, tmp_path):
    claims = {}

    def on_token(fields):
        assert fields["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        head, body, signature = fields["assertion"].split(".")
        assert json.loads(decoded(head)) == {"alg": "RS256", "typ": "JWT", "kid": "key-id-7"}
        claims.update(json.loads(decoded(body)))
        (tmp_path / "signature").write_bytes(decoded(signature))
        public = subprocess.run(["openssl", "pkey", "-in", str(rsa_key), "-pubout"], check=True, capture_output=True).stdout
        (tmp_path / "public").write_bytes(public)
        subprocess.run(["openssl", "dgst", "-sha256", "-verify", str(tmp_path / "public"), "-signature",
                        str(tmp_path / "signature")], input=f"{head}.{body}".encode(), check=True, capture_output=True)
        return 200, {"access_token": "SECRET-token-one", "expires_in": 3600, "token_type": "Bearer"}

    gcs.on_token = on_token
    key = {"type": "service_account", "client_email": "svc@example.iam", "private_key": rsa_key.read_text(),
           "private_key_id": "key-id-7", "token_uri": gcs.url + "/token"}
    (tmp_path / "key.json").write_text(json.dumps(key))
    env = metadata(gcs, GOOGLE_APPLICATION_CREDENTIALS=str(tmp_path / "key.json"))
    assert client(env, "get", "gs://b/k").out == b"x"
    assert claims["iss"] == "svc@example.iam" and claims["aud"] == gcs.url + "/token"
    assert claims["scope"].endswith("devstorage.read_only") and claims["exp"] - claims["iat"] == 3600
    assert abs(claims["iat"] - time.time()) < 60
    assert client(env, "source", "gs://b/k").out == b"key file\n"


def test_authorized_user_key(gcs, tmp_path):
    def on_token(fields):
        assert fields == {"grant_type": "refresh_token", "client_id": "id", "client_secret": "SECRET-refresh",
                          "refresh_token": "SECRET-refresh"}
        return 200, {"access_token": "SECRET-token-one", "expires_in": 3600}

    gcs.on_token = on_token
    (tmp_path / "key.json").write_text(json.dumps({
        "type": "authorized_user", "client_id": "id", "client_secret": "SECRET-refresh", "refresh_token": "SECRET-refresh",
        "token_uri": gcs.url + "/token"}))
    assert client(metadata(gcs, GOOGLE_APPLICATION_CREDENTIALS=str(tmp_path / "key.json")), "get", "gs://b/k").out == b"x"


@pytest.mark.parametrize("text, words", [
    ("", "not a JSON object"), ("[]", "not a JSON object"), ("{}", "neither service_account"),
    ('{"type":"service_account"}', "no client_email"), ('{"type":"authorized_user"}', "no client_id"),
    ('{"type":"service_account","client_email":"a","private_key":"SECRET-token-two"}', "no RSA key"),
])
def test_a_bad_key_file(gcs, tmp_path, text, words):
    (tmp_path / "key.json").write_text(text)
    result = client(metadata(gcs, GOOGLE_APPLICATION_CREDENTIALS=str(tmp_path / "key.json")), "get", "gs://b/k")
    assert result.failure == "denied" and words in result.err


def gcloud(tmp_path, script):
    path = tmp_path / "bin" / "gcloud"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path.parent) + ":" + os.environ["PATH"]


def test_gcloud(gcs, tmp_path):
    script = '[ "$1 $2" = "auth print-access-token" ] && echo SECRET-token-one; echo SECRET-token-two >&2\n'
    env = metadata(gcs, PATH=gcloud(tmp_path, script))
    assert client(env, "get", "gs://b/k").out == b"x"
    assert client(env, "source", "gs://b/k").out == b"gcloud program\n"


@pytest.mark.parametrize("script, words", [("exit 3\n", "gcloud failed"), ("true\n", "printed no token"),
                                           ("echo two words\n", "printed no token")])
def test_gcloud_fails(gcs, tmp_path, script, words):
    result = client(metadata(gcs, PATH=gcloud(tmp_path, script)), "get", "gs://b/k")
    assert result.failure == "denied" and words in result.err


def test_no_source_at_all(gcs):
    result = client(metadata(gcs, PATH="/nonexistent"), "get", "gs://b/k")
    assert result.failure == "denied" and gcs.count("get") == 0
    for words in ("OFFLOADER_GCS_TOKEN is not set", "the metadata server", "GOOGLE_APPLICATION_CREDENTIALS is not set",
                  "no program gcloud"):
        assert words in result.err


# ---- AWS ----

KEY = ("AKIDCHAIN", "SECRET/aws+key==")
ROLE = ("ASIACHAIN", "SECRET/aws+key==", "SECRET-session/+=")


@pytest.fixture
def s3():
    with S3({KEY[0]: (KEY[1], None), ROLE[0]: (ROLE[1], ROLE[2])}) as store:
        store.put("b", "k", "x")
        store.role_keys = [(*ROLE, 3600)]
        yield store


def chain(store, **more):
    return store.env(OFFLOADER_S3_AUTH="chain", AWS_EC2_METADATA_DISABLED="true", **more)


def check(store, env, source):
    assert client(env, "get", "s3://b/k").out == b"x"
    assert client(env, "source", "s3://b/k").out.decode().startswith(source)
    assert store.auth_errors == []


def test_chain_environment(s3):
    check(s3, chain(s3, AWS_ACCESS_KEY_ID=KEY[0], AWS_SECRET_ACCESS_KEY=KEY[1]), "environment")
    check(s3, chain(s3, AWS_ACCESS_KEY_ID=ROLE[0], AWS_SECRET_ACCESS_KEY=ROLE[1], AWS_SESSION_TOKEN=ROLE[2]), "environment")


def test_chain_region_of_aws():
    with S3({KEY[0]: (KEY[1], None)}, region="eu-north-1") as store:
        store.put("b", "k", "x")
        check(store, chain(store, AWS_ACCESS_KEY_ID=KEY[0], AWS_SECRET_ACCESS_KEY=KEY[1], AWS_REGION="eu-north-1"),
              "environment")


PROFILES = f"""# a comment
[other]
aws_access_key_id = wrong
aws_secret_access_key = wrong
[ default ]
 ; another
aws_access_key_id={KEY[0]}
aws_secret_access_key = {KEY[1]}
s3 =
    aws_session_token = nested, of no concern
[role]
AWS_ACCESS_KEY_ID = {ROLE[0]}
aws_secret_access_key = {ROLE[1]}
aws_session_token = {ROLE[2]}
"""


def test_chain_profiles(s3, tmp_path):
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(PROFILES)
    env = chain(s3, HOME=str(tmp_path))
    check(s3, env, "profile file")
    check(s3, {**env, "AWS_PROFILE": "role"}, "profile file")
    result = client({**env, "AWS_PROFILE": "none"}, "get", "s3://b/k")
    assert result.failure == "denied" and "'none'" in result.err
    (tmp_path / ".aws" / "credentials").rename(tmp_path / "elsewhere")
    check(s3, {**env, "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "elsewhere")}, "profile file")
    (tmp_path / "config").write_text(PROFILES.replace("[role]", "[profile role]").replace("[other]", "[profile other]"))
    env["AWS_CONFIG_FILE"] = str(tmp_path / "config")
    check(s3, env, "profile file")
    check(s3, {**env, "AWS_PROFILE": "role"}, "profile file")


def test_chain_profile_that_assumes_a_role(s3, tmp_path):
    (tmp_path / "c").write_text("[default]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = base\n")
    result = client(chain(s3, AWS_CONFIG_FILE=str(tmp_path / "c")), "get", "s3://b/k")
    assert result.failure == "denied" and "assumes a role" in result.err


def test_chain_web_identity(s3, tmp_path):
    s3.web_identity, s3.role = "SECRET-web-identity", "arn:aws:iam::1:role/x"
    (tmp_path / "token").write_text("SECRET-web-identity\n")
    env = chain(s3, AWS_ROLE_ARN=s3.role, AWS_WEB_IDENTITY_TOKEN_FILE=str(tmp_path / "token"),
                AWS_ENDPOINT_URL_STS=s3.url + "/sts")
    check(s3, env, "web identity")
    (tmp_path / "c").write_text(f"[default]\nrole_arn={s3.role}\nweb_identity_token_file={tmp_path}/token\n")
    check(s3, chain(s3, AWS_CONFIG_FILE=str(tmp_path / "c"), AWS_ENDPOINT_URL_STS=s3.url + "/sts"), "web identity")
    (tmp_path / "token").write_text("SECRET-token-one")
    assert client(env, "get", "s3://b/k").failure == "denied"


def test_chain_container(s3, tmp_path):
    env = chain(s3, AWS_CONTAINER_CREDENTIALS_FULL_URI=s3.url + "/container")
    check(s3, env, "container credentials")
    s3.container_token = "SECRET-container"
    check(s3, {**env, "AWS_CONTAINER_AUTHORIZATION_TOKEN": "SECRET-container"}, "container credentials")
    (tmp_path / "t").write_text("SECRET-container\n")
    check(s3, {**env, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(tmp_path / "t")}, "container credentials")
    assert client(env, "get", "s3://b/k").failure == "denied"
    for url in ("http://example.com/", "http://localhost.example.com/", "http://u@127.0.0.1/", "file:///etc/passwd"):
        env["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = url
        assert "AWS_CONTAINER_CREDENTIALS_FULL_URI" in client(env, "get", "s3://b/k").err


def test_chain_instance_metadata(s3):
    env = s3.env(OFFLOADER_S3_AUTH="chain", AWS_EC2_METADATA_SERVICE_ENDPOINT=s3.url)
    check(s3, env, "instance metadata")
    assert [r.method for r in s3.seen("instance")][:3] == ["PUT", "GET", "GET"]


def test_chain_order(s3, tmp_path):
    """Each source is hidden by the one before it."""
    s3.web_identity, s3.role = "SECRET-web-identity", "r"
    (tmp_path / "token").write_text("SECRET-web-identity")
    (tmp_path / "credentials").write_text(PROFILES)
    env = s3.env(OFFLOADER_S3_AUTH="chain", AWS_EC2_METADATA_SERVICE_ENDPOINT=s3.url)
    for more, source in (({}, "instance"), ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": s3.url + "/container"}, "container"),
                         ({"AWS_ROLE_ARN": "r", "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
                           "AWS_ENDPOINT_URL_STS": s3.url + "/sts"}, "web identity"),
                         ({"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials")}, "profile"),
                         ({"AWS_ACCESS_KEY_ID": KEY[0], "AWS_SECRET_ACCESS_KEY": KEY[1]}, "environment"),
                         ({"OFFLOADER_S3_KEY_ID": KEY[0], "OFFLOADER_S3_SECRET": KEY[1]}, "OFFLOADER_S3_KEY_ID")):
        env.update(more)
        check(s3, env, source)


def test_chain_refreshes_ahead(s3):
    s3.page_size = 10
    for i in range(40):
        s3.put("b", f"p/{i}", "x")
    env = s3.env(OFFLOADER_S3_AUTH="chain", AWS_EC2_METADATA_SERVICE_ENDPOINT=s3.url)
    for seconds, n in ((3600, 1), (290, 4)):
        s3.role_keys, s3.n_role_keys = [(*ROLE, seconds)], 0
        assert client(env, "list", "s3://b/p/", 100).ok
        assert s3.n_role_keys == n


@pytest.mark.parametrize("name, action, arg", [
    ("api/token", "status", 503), ("api/token", "status", 429), ("api/token", "status", 404), ("api/token", "drop", None),
    ("api/token", "body", b"two words"), ("security-credentials/", "status", 404), ("security-credentials/", "status", 500),
])
def test_chain_keeps_valid_keys_while_the_instance_service_ails(s3, name, action, arg):
    """Three pages are read after it began to: with the keys of the first, though they are to be renewed."""
    s3.page_size, s3.role_keys = 10, [(*ROLE, 290)]
    for i in range(40):
        s3.put("b", f"p/{i}", "x")
    s3.fault("call", lambda _: s3.fault(action, arg, times=99, kind="instance", name=name), kind="list")
    env = s3.env(OFFLOADER_S3_AUTH="chain", AWS_EC2_METADATA_SERVICE_ENDPOINT=s3.url)
    assert len(client(env, "list", "s3://b/p/", 100).json) == 40
    assert s3.auth_errors == [] and s3.n_role_keys == 1
    assert s3.count("instance") <= 3 + 6  # tried once in that time, not with each page


@pytest.mark.parametrize("action, arg, times", [("status", 503, 1), ("status", 429, 1), ("drop", None, 1)])
def test_chain_asks_the_instance_service_again(s3, action, arg, times):
    s3.fault(action, arg, times=times, kind="instance", name="api/token")
    check(s3, s3.env(OFFLOADER_S3_AUTH="chain", AWS_EC2_METADATA_SERVICE_ENDPOINT=s3.url), "instance metadata")


@pytest.mark.parametrize("status", [500, 503, 429])
def test_chain_is_not_anonymous_where_the_instance_service_ails(s3, status):
    """It is there: transient trouble, not credentials that nobody set up."""
    s3.fault("status", status, times=99, kind="instance", name="api/token")
    result = client(s3.env(OFFLOADER_S3_AUTH="chain", AWS_EC2_METADATA_SERVICE_ENDPOINT=s3.url), "get", "s3://b/k")
    assert result.failure == "unavailable" and "instance metadata" in result.err and s3.count("get") == 0


@pytest.mark.parametrize("action, arg, name", [("status", 404, "api/token"), ("status", 403, "api/token"),
                                               ("drop", None, "api/token"), ("status", 404, "security-credentials/")])
def test_chain_on_a_machine_without_role(action, arg, name):
    """No service, another cloud's, one that is turned off, no role: nothing is set up."""
    with S3(None) as store:
        store.put("b", "k", "x")
        store.fault(action, arg, times=99, kind="instance", name=name)
        assert client(store.env(OFFLOADER_S3_AUTH="chain", AWS_EC2_METADATA_SERVICE_ENDPOINT=store.url), "get",
                      "s3://b/k").out == b"x"


def test_chain_refetches_an_expired_key(s3):
    s3.keys["ASIANEW"] = (ROLE[1], ROLE[2])
    s3.role_keys = [(*ROLE, 3600), ("ASIANEW", *ROLE[1:], 3600)]
    s3.expired.add(ROLE[0])
    env = s3.env(OFFLOADER_S3_AUTH="chain", AWS_EC2_METADATA_SERVICE_ENDPOINT=s3.url)
    assert client(env, "get", "s3://b/k").out == b"x"
    assert s3.auth_errors == ["ExpiredToken"]


def test_chain_without_any_is_unsigned():
    with S3(None) as store:
        store.put("b", "k", "x")
        env = chain(store)
        assert client(env, "get", "s3://b/k").out == b"x"
        assert client(env, "source", "s3://b/k").out.startswith(b"anonymous")


# ---- settings ----

@pytest.mark.parametrize("name, value", [
    ("OFFLOADER_GCS_AUTH", "beer"), ("OFFLOADER_GCS_ENDPOINT", "ftp://x"), ("OFFLOADER_GCS_ENDPOINT", "https://u:p@x"),
    ("OFFLOADER_GCS_ENDPOINT", "https://x?y"), ("OFFLOADER_GCS_TOKEN", "two words"), ("OFFLOADER_GCS_METADATA_URL", "file:///x"),
    ("OFFLOADER_S3_TYPE", "azure"), ("OFFLOADER_S3_URL_STYLE", "dns"), ("OFFLOADER_S3_USE_SSL", "maybe"),
    ("OFFLOADER_S3_AUTH", "magic"), ("OFFLOADER_S3_REGION", "eu west"), ("OFFLOADER_S3_KEY_ID", "alone"),
    ("OFFLOADER_S3_SECRET", "SECRET/aws+key=="), ("OFFLOADER_S3_ENDPOINT", "a b"),
])
def test_malformed_variables(name, value):
    result = client({name: value}, "get", "gs://b/k")
    assert result.failure == "invalid" and name.rsplit("_", 1)[0] in result.err
