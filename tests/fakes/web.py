# SPDX-License-Identifier: Apache-2.0
"""A plain web server over https, with a test authority made by openssl, and redirects."""
import hashlib
import os
import ssl
import subprocess
import urllib.parse

from fake import Fake, Response, ranged


class Authority:
    """A certificate authority for one test run; `context(names)` is a server's TLS with these names."""

    def __init__(self, directory):
        self.directory = str(directory)
        self.ca = os.path.join(self.directory, "ca.pem")
        self.key = os.path.join(self.directory, "ca.key")
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                     "-subj", "/CN=Offloader test authority", "-keyout", self.key, "-out", self.ca)
        self.n = 0

    @staticmethod
    def openssl(*args):
        subprocess.run(["openssl", *args], check=True, capture_output=True)

    def certificate(self, names="IP:127.0.0.1,DNS:localhost,DNS:*.localhost"):
        """Paths of a new server's certificate and key."""
        self.n += 1
        base = os.path.join(self.directory, f"server{self.n}")
        with open(base + ".ext", "w", encoding="utf-8") as f:
            f.write(f"subjectAltName={names}\n")
        self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=server",
                     "-keyout", base + ".key", "-out", base + ".csr")
        self.openssl("x509", "-req", "-in", base + ".csr", "-CA", self.ca, "-CAkey", self.key, "-CAcreateserial", "-days",
                     "2", "-extfile", base + ".ext", "-out", base + ".pem")
        return base + ".pem", base + ".key"

    def context(self, *names):
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*self.certificate(*names))
        return tls


class Web(Fake):
    def __init__(self, tls=None):
        self.files, self.redirects = {}, {}  # path -> bytes; path -> (status, location)
        self.etags = self.ranges = self.knows_head = True
        self.last_modified = self.etag = None  # one ETag for whatever a file holds, instead of its own
        super().__init__(tls)

    def classify(self, request):
        request.kind, request.name = request.method.lower(), urllib.parse.unquote(request.raw_path)

    def answer(self, request):
        if request.name in self.redirects:
            status, location = self.redirects[request.name]
            return Response(status, b"", [("Location", location)])
        if request.method == "HEAD" and not self.knows_head:
            return Response(405)
        body = self.files.get(request.name)
        if body is None:
            return Response(404, b"nothing here")
        etag = self.etag or f'"{hashlib.md5(body).hexdigest()}"'
        headers = [("Accept-Ranges", "bytes")] if self.ranges else []
        if self.etags:
            headers.append(("ETag", etag))
            if request.headers.get("if-match", etag) != etag:
                return Response(412)
            if request.headers.get("if-none-match") == etag:
                return Response(304, b"", headers)
        if self.last_modified:
            headers.append(("Last-Modified", self.last_modified))
            if request.headers.get("if-modified-since") == self.last_modified:
                return Response(304, b"", headers)
        return ranged(request, body, headers) if self.ranges else Response(200, body, headers)
