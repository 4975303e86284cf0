# SPDX-License-Identifier: Apache-2.0
"""S3 as far as Offloader speaks it. Every signature is recomputed by botocore, an independent signer.

    with S3(keys={"AKID": ("secret", None)}) as store:
        store.put("bucket", "key", b"bytes")
        env = store.env("AKID")

`keys=None`: unsigned requests only. A key's second item is the session token it must come with. The same server
plays STS (POST /sts), the container agent (GET /container) and instance metadata (PUT and GET /latest/...).
"""
import base64
import datetime
import hashlib
import json
import re
import urllib.parse
import zlib
from xml.sax.saxutils import escape

import botocore.auth
import botocore.awsrequest
import botocore.credentials

from fake import Fake, Response, ranged

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


class Object:
    def __init__(self, body, updated, checksums):
        self.body, self.updated, self.checksums = body, updated, checksums
        self.etag = f'"{hashlib.md5(body).hexdigest()}"'


def checksums_of(body, kinds):
    known = {"sha256": lambda b: hashlib.sha256(b).digest(), "sha1": lambda b: hashlib.sha1(b).digest(),
             "crc32": lambda b: zlib.crc32(b).to_bytes(4, "big")}
    return {kind: base64.b64encode(known[kind](body)).decode() for kind in kinds}


class S3(Fake):
    def __init__(self, keys=None, region="us-east-1", page_size=1000, tls=None):
        self.buckets, self.keys, self.region, self.page_size = {}, keys, region, page_size
        self.encodes = True      # obeys encoding-type=url
        self.generations = False  # states x-goog-generation too, as Google's XML API does
        self.expired = set()     # key ids that are answered ExpiredToken
        self.auth_errors = []
        self.role, self.role_keys = "web-role", []  # (key id, secret, token, seconds), the last one for good
        self.n_role_keys = 0
        self.web_identity = None
        self.container_token = None
        self.instance_tokens = set()
        super().__init__(tls)

    def put(self, bucket, name, body, checksums=()):
        body = body.encode() if isinstance(body, str) else body
        with self.lock:
            self.buckets.setdefault(bucket, {})[name] = Object(body, datetime.datetime.now(datetime.timezone.utc),
                                                               checksums_of(body, checksums))
            return self.buckets[bucket][name].etag

    def env(self, key_id=None, **more):
        env = {"OFFLOADER_S3_TYPE": "s3", "OFFLOADER_S3_ENDPOINT": self.url}
        if key_id:
            secret, session = self.keys[key_id]
            env.update(OFFLOADER_S3_KEY_ID=key_id, OFFLOADER_S3_SECRET=secret)
            if session:
                env["OFFLOADER_S3_SESSION_TOKEN"] = session
        return {**env, **more}

    # ---- requests ----

    def classify(self, request):
        if request.raw_path == "/sts":
            request.kind = "sts"
        elif request.raw_path == "/container":
            request.kind = "container"
        elif request.raw_path.startswith("/latest/"):
            request.kind, request.name = "instance", request.raw_path
        else:
            host = request.headers.get("host", "").split(":")[0]
            path = request.raw_path[1:]
            if host.endswith(".localhost"):  # virtual-host style
                request.bucket, key = host[:-len(".localhost")], path
            else:
                request.bucket, _, key = path.partition("/")
            request.bucket, request.name = urllib.parse.unquote(request.bucket), urllib.parse.unquote(key)
            request.kind = "list" if "list-type" in request.query else "head" if request.method == "HEAD" else "get"
            if request.kind == "list":
                request.name = request.query.get("prefix", "")

    def answer(self, request):
        if request.kind in ("sts", "container", "instance"):
            return getattr(self, "answer_" + request.kind)(request)
        why = self.signature_problem(request)
        if why:
            with self.lock:
                self.auth_errors.append(why)
            return self.error(400 if why == "ExpiredToken" else 403, why)
        return self.answer_list(request) if request.kind == "list" else self.answer_object(request)

    @staticmethod
    def error(status, code):
        return Response(status, f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>no</Message></Error>',
                        content_type="application/xml")

    def signature_problem(self, request):
        authorization = request.headers.get("authorization")
        if self.keys is None:
            return "AccessDenied" if authorization else None
        match = re.fullmatch(r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/s3/aws4_request, ?"
                             r"SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})", authorization or "")
        if not match:
            return "AccessDenied"
        key_id, day, region, names, signature = match.groups()
        if key_id in self.expired:
            return "ExpiredToken"
        if key_id not in self.keys or region != self.region:
            return "InvalidAccessKeyId" if key_id not in self.keys else "AuthorizationHeaderMalformed"
        secret, session = self.keys[key_id]
        stamp = request.headers.get("x-amz-date", "")
        names = names.split(";")
        if request.headers.get("x-amz-content-sha256") != EMPTY_SHA256 or not stamp.startswith(day):
            return "InvalidRequest"
        if not {"host", "x-amz-date", "x-amz-content-sha256"} <= set(names):
            return "UnsignedHeaders"
        if session != request.headers.get("x-amz-security-token") or (session and "x-amz-security-token" not in names):
            return "InvalidToken"
        want = self.signature(request, key_id, secret, region, stamp, names)
        return None if want == signature else "SignatureDoesNotMatch"

    @staticmethod
    def signature(request, key_id, secret, region, stamp, names):
        signer = botocore.auth.S3SigV4Auth(botocore.credentials.Credentials(key_id, secret), "s3", region)
        copy = botocore.awsrequest.AWSRequest(
            method=request.method, url=f"http://{request.headers['host']}{request.target}",
            headers={name: request.headers.get(name, "") for name in names})
        copy.context["timestamp"] = stamp
        return signer.signature(signer.string_to_sign(copy, signer.canonical_request(copy)), copy)

    # ---- objects ----

    def answer_list(self, request):
        with self.lock:
            bucket = self.buckets.get(request.bucket)
            if bucket is None:
                return self.error(404, "NoSuchBucket")
            names = sorted((n for n in bucket if n.startswith(request.name)), key=str.encode)
            limit = min(self.page_size, int(request.query.get("max-keys", 1000)))
            token = request.query.get("continuation-token")
            after = base64.b64decode(token).decode() if token else None
            left = [n for n in names if after is None or n.encode() > after.encode()]
            encodes = self.encodes and request.query.get("encoding-type") == "url"
            spell = (lambda n: urllib.parse.quote_plus(n, safe="/")) if encodes else escape
            items = "".join(
                f"<Contents><Key>{spell(n)}</Key><LastModified>{bucket[n].updated.strftime('%Y-%m-%dT%H:%M:%S.000Z')}"
                f"</LastModified><ETag>{escape(bucket[n].etag, {chr(34): '&quot;'})}</ETag><Size>{len(bucket[n].body)}"
                f"</Size><Owner><ID>x</ID></Owner></Contents>" for n in left[:limit])
        more = len(left) > limit
        tail = f"<NextContinuationToken>{base64.b64encode(left[limit - 1].encode()).decode()}</NextContinuationToken>" \
            if more else ""
        kind = "<EncodingType>url</EncodingType>" if encodes else ""
        return Response(200, f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/'
                        f'2006-03-01/"><Name>b</Name>{kind}<IsTruncated>{"true" if more else "false"}</IsTruncated>{items}{tail}'
                        f'</ListBucketResult>', content_type="application/xml")

    def answer_object(self, request):
        with self.lock:
            o = self.buckets.get(request.bucket, {}).get(request.name)
        if o is None:
            return self.error(404, "NoSuchKey")
        if request.headers.get("if-match", o.etag) != o.etag:
            return self.error(412, "PreconditionFailed")
        headers = [("ETag", o.etag), ("Accept-Ranges", "bytes")]
        if self.generations:
            headers.append(("x-goog-generation", str(1700000000000000 + zlib.crc32(o.body))))
        if request.headers.get("if-none-match") == o.etag:
            return Response(304, b"", headers)
        if request.headers.get("x-amz-checksum-mode") == "ENABLED" and "range" not in request.headers:
            headers += [(f"x-amz-checksum-{kind}", value) for kind, value in o.checksums.items()]
        return ranged(request, o.body, headers)

    # ---- credentials ----

    def next_keys(self):
        with self.lock:
            keys = self.role_keys[min(self.n_role_keys, len(self.role_keys) - 1)]
            self.n_role_keys += 1
        key_id, secret, token, seconds = keys
        expires = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
        return key_id, secret, token, expires.strftime("%Y-%m-%dT%H:%M:%SZ")

    def keys_as_json(self):
        key_id, secret, token, expires = self.next_keys()
        return Response(200, json.dumps({"Code": "Success", "AccessKeyId": key_id, "SecretAccessKey": secret,
                                         "Token": token, "Expiration": expires}), content_type="application/json")

    def answer_sts(self, request):
        fields = dict(urllib.parse.parse_qsl(request.body.decode()))
        if fields.get("Action") != "AssumeRoleWithWebIdentity" or fields.get("WebIdentityToken") != self.web_identity \
                or fields.get("RoleArn") != self.role:
            return self.error(403, "AccessDenied")
        key_id, secret, token, expires = self.next_keys()
        return Response(200, '<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
                        f"<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{key_id}</AccessKeyId>"
                        f"<SecretAccessKey>{secret}</SecretAccessKey><SessionToken>{token}</SessionToken>"
                        f"<Expiration>{expires}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>"
                        "</AssumeRoleWithWebIdentityResponse>", content_type="text/xml")

    def answer_container(self, request):
        if request.headers.get("authorization") != self.container_token:
            return self.error(401, "AccessDenied")
        return self.keys_as_json()

    def answer_instance(self, request):
        if request.raw_path == "/latest/api/token":
            if request.method != "PUT" or "x-aws-ec2-metadata-token-ttl-seconds" not in request.headers:
                return self.error(400, "Bad")
            token = f"imds-token-{len(self.instance_tokens)}"
            self.instance_tokens.add(token)
            return Response(200, token, content_type="text/plain")
        if request.headers.get("x-aws-ec2-metadata-token") not in self.instance_tokens:
            return self.error(401, "Unauthorized")
        base = "/latest/meta-data/iam/security-credentials/"
        if request.raw_path == base:
            return Response(200, self.role, content_type="text/plain")
        return self.keys_as_json() if request.raw_path == base + self.role else self.error(404, "NotFound")
