# SPDX-License-Identifier: Apache-2.0
"""Google Cloud Storage as far as Offloader speaks it: JSON API, metadata server, OAuth token service.

    with Gcs(tokens=["t1"]) as store:
        generation = store.put("bucket", "name", b"bytes")
        env = store.env(auth="bearer", OFFLOADER_GCS_TOKEN="t1")

`tokens=None` lets everybody in; a list lets in these bearer tokens; an empty list nobody. `deny` answers 403.
"""
import base64
import datetime
import hashlib
import json
import re
import urllib.parse

from fake import Fake, Response, ranged

TABLE = []
for byte in range(256):
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    TABLE.append(byte)


def crc32c(data):
    crc = 0xFFFFFFFF
    for b in data:
        crc = TABLE[(crc ^ b) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


class Object:
    def __init__(self, body, generation, updated, with_crc):
        self.body, self.generation, self.updated = body, generation, updated
        self.md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
        # Python is slow at it: left out of large objects, whose md5 is enough.
        self.crc32c = base64.b64encode(crc32c(body).to_bytes(4, "big")).decode() if with_crc else None


class Gcs(Fake):
    def __init__(self, tokens=None, page_size=1000, tls=None):
        self.buckets, self.tokens, self.page_size, self.deny = {}, tokens, page_size, False
        self.metadata_tokens = []  # (token, expires_in) in order, the last one for good
        self.metadata_path = "/computeMetadata/v1/instance/service-accounts/default/token"
        self.on_token = None       # form fields -> (status, JSON) of POST /token
        self.generation = 1700000000000000
        self.clock = datetime.datetime(2026, 7, 1, tzinfo=datetime.timezone.utc)
        self.auth_errors = []
        super().__init__(tls)

    # ---- content ----

    def put(self, bucket, name, body, updated=None):
        body = body.encode() if isinstance(body, str) else body
        with self.lock:
            self.generation += 1
            self.clock += datetime.timedelta(seconds=60)
            stamp = updated or self.clock.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
            self.buckets.setdefault(bucket, {})[name] = Object(body, self.generation, stamp, len(body) <= 1 << 20)
            return str(self.generation)

    def put_tree(self, bucket, prefix, files):
        """@files: relative name -> text or bytes; objects under @prefix that are not in it go."""
        with self.lock:
            here = self.buckets.setdefault(bucket, {})
            for name in [n for n in here if n.startswith(prefix) and n[len(prefix):] not in files]:
                del here[name]
            for name, body in files.items():
                body = body.encode() if isinstance(body, str) else body
                if prefix + name not in here or here[prefix + name].body != body:
                    self.put(bucket, prefix + name, body)

    def delete(self, bucket, name):
        with self.lock:
            self.buckets[bucket].pop(name, None)

    def env(self, auth="none", **more):
        return {"OFFLOADER_GCS_ENDPOINT": self.url, "OFFLOADER_GCS_AUTH": auth, **more}

    # ---- answers ----

    def classify(self, request):
        match = re.fullmatch(r"/storage/v1/b/([^/]+)/o(?:/([^/]*))?", request.raw_path)
        if match:
            request.bucket = urllib.parse.unquote(match.group(1))
            request.kind = "list" if match.group(2) is None else "get" if request.query.get("alt") == "media" else "stat"
            request.name = request.query.get("prefix", "") if match.group(2) is None else \
                urllib.parse.unquote(match.group(2))
        elif request.raw_path == self.metadata_path:
            request.kind = "metadata"
        elif request.raw_path == "/token" and request.method == "POST":
            request.kind = "token"

    def answer(self, request):
        if request.kind == "metadata":
            return self.answer_metadata(request)
        if request.kind == "token":
            fields = dict(urllib.parse.parse_qsl(request.body.decode()))
            status, document = self.on_token(fields) if self.on_token else (404, {})
            return self.json(document, status)
        refused = self.refuses(request)
        if refused:
            return refused
        if request.kind == "list":
            return self.answer_list(request)
        if request.kind in ("get", "stat"):
            return self.answer_object(request)
        return self.error(404, "no such route")

    @staticmethod
    def json(document, status=200):
        return Response(status, json.dumps(document), content_type="application/json")

    def error(self, status, message):
        return self.json({"error": {"code": status, "message": message}}, status)

    def refuses(self, request):
        authorization = request.headers.get("authorization")
        if self.deny:
            return self.error(403, "denied")
        if self.tokens is None:
            return None
        if authorization and authorization.startswith("Bearer ") and authorization[7:] in self.tokens:
            return None
        with self.lock:
            self.auth_errors.append(authorization)
        return self.error(401, "bad credentials")

    def answer_metadata(self, request):
        if request.headers.get("metadata-flavor") != "Google":
            return self.error(403, "Metadata-Flavor is missing")
        with self.lock:
            n = self.count("metadata")
            if not self.metadata_tokens:
                return self.error(404, "no service account")
            token, seconds = self.metadata_tokens[min(n, len(self.metadata_tokens)) - 1]
        return self.json({"access_token": token, "token_type": "Bearer", "expires_in": seconds})

    def resource(self, bucket, name, o):
        document = {"kind": "storage#object", "bucket": bucket, "name": name, "generation": str(o.generation),
                    "size": str(len(o.body)), "updated": o.updated, "md5Hash": o.md5}
        if o.crc32c:
            document["crc32c"] = o.crc32c
        return document

    def answer_list(self, request):
        with self.lock:
            bucket = self.buckets.get(request.bucket)
            if bucket is None:
                return self.error(404, "no such bucket")
            names = sorted((n for n in bucket if n.startswith(request.name)), key=str.encode)
            limit = min(self.page_size, int(request.query.get("maxResults", 1000)))
            after = base64.b64decode(request.query["pageToken"]).decode() if "pageToken" in request.query else None
            left = [n for n in names if after is None or n.encode() > after.encode()]
            document = {"kind": "storage#objects"}
            if left:
                document["items"] = [self.resource(request.bucket, n, bucket[n]) for n in left[:limit]]
            if len(left) > limit:
                document["nextPageToken"] = base64.b64encode(left[limit - 1].encode()).decode()
        return self.json(document)

    def answer_object(self, request):
        with self.lock:
            o = self.buckets.get(request.bucket, {}).get(request.name)
        if o is None:
            return self.error(404, "no such object")
        match, unless = request.query.get("ifGenerationMatch"), request.query.get("ifGenerationNotMatch")
        if match is not None and match != str(o.generation):
            return self.error(412, "conditionNotMet")
        if unless is not None and unless == str(o.generation):
            return Response(304)
        if request.kind == "stat":
            return self.json(self.resource(request.bucket, request.name, o))
        headers = [("ETag", f'"{hashlib.md5(o.body).hexdigest()}"'), ("x-goog-generation", str(o.generation)),
                   ("x-goog-stored-content-length", str(len(o.body)))]
        if o.crc32c:
            headers.append(("x-goog-hash", f"crc32c={o.crc32c}"))
        headers.append(("x-goog-hash", f"md5={o.md5}"))
        return ranged(request, o.body, headers)
