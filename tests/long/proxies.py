# SPDX-License-Identifier: Apache-2.0
"""Debian's nginx, HAProxy and varnish in front of a server, each with how many requests it says it forwarded, at least
and at most: when a caller went away, or its body ended early, it does not know whether its request was answered."""
import contextlib
import csv
import socket
import subprocess

from conftest import free_port, wait_for

NGINX = """daemon off; worker_processes 1; pid {dir}/pid; error_log {dir}/error.log crit;
events {{ worker_connections 8192; }}
http {{
  log_format forwarded '$upstream_header_time $upstream_bytes_sent'; access_log {dir}/forwarded.log forwarded;
  client_body_temp_path {dir}/a; proxy_temp_path {dir}/b; fastcgi_temp_path {dir}/c; uwsgi_temp_path {dir}/d; scgi_temp_path {dir}/e;
  client_header_timeout 1s; client_body_timeout 1s; send_timeout 2s; keepalive_timeout 1s; underscores_in_headers on; ignore_invalid_headers off;
  upstream u {{ server 127.0.0.1:{api}; keepalive 16; }}
  server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection "";
    proxy_next_upstream off; proxy_request_buffering off; proxy_read_timeout 5s; }} }}
}}
"""
HAPROXY = """global
  maxconn 8192
  stats socket {dir}/s level admin
defaults
  mode http
  timeout connect 2s
  timeout client 1s
  timeout http-request 1s
  timeout http-keep-alive 1s
  timeout server 5s
  retries 0
  option accept-invalid-http-request
  http-reuse always
frontend f
  bind 127.0.0.1:{port} backlog 4096
  default_backend b
backend b
  server s 127.0.0.1:{api}
"""
VARNISH = """vcl 4.1;
backend default {{ .host = "127.0.0.1"; .port = "{api}"; }}
sub vcl_recv {{ return (pass); }}
"""


class Proxy:
    """As a context: runs in front of the API port @api. Its files are in @directory."""

    def __init__(self, directory, api):
        directory.mkdir()
        self.directory, self.port = directory, free_port()
        self.names = {"dir": directory, "api": api, "port": self.port}

    def write(self, name, text):
        (self.directory / name).write_text(text.format(**self.names))
        return str(self.directory / name)

    def __enter__(self):
        with open(self.directory / "out.log", "wb") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        wait_for(self.listens, f"{self.command()[0]}")
        return self

    def listens(self):
        assert self.process.poll() is None, (self.directory / "out.log").read_text()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            return True
        return False

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(20)


class Nginx(Proxy):
    def command(self):
        return ["/usr/sbin/nginx", "-e", str(self.directory / "error.log"), "-c", self.write("nginx.conf", NGINX)]

    def forwarded(self):
        with open(self.directory / "forwarded.log", encoding="ascii") as f:
            lines = [line.split() for line in f]
        return sum(head not in ("-", "") for head, _ in lines), sum(sent not in ("-", "0") for _, sent in lines)


class Haproxy(Proxy):
    def command(self):
        return ["/usr/sbin/haproxy", "-db", "-f", self.write("haproxy.cfg", HAPROXY)]

    def forwarded(self):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(self.directory / "s"))
            s.sendall(b"show stat\n")
            text = b"".join(iter(lambda: s.recv(65536), b"")).decode()
        rows = csv.DictReader(text.lstrip("# ").splitlines())
        server = next(r for r in rows if r["svname"] == "s")
        n = int(server["lbtot"])
        return n, n


class Varnish(Proxy):
    def command(self):
        return ["/usr/sbin/varnishd", "-F", "-j", "none", "-n", str(self.directory / "n"), "-f", self.write("v.vcl", VARNISH),
                "-a", f"127.0.0.1:{self.port}", "-s", "malloc,64m", "-T", "none", "-p", "timeout_idle=1", "-p", "thread_pool_max=2000",
                "-p", "thread_pool_min=200", "-p", "listen_depth=4096", "-p", "vsl_mask=-VCL_trace", "-l", "16m"]

    def forwarded(self):
        out = subprocess.run(["varnishstat", "-1", "-n", str(self.directory / "n"), "-f", "MAIN.backend_req", "-f", "VBE.*.req"],
                             capture_output=True, text=True, check=True)
        return tuple(sorted(int(line.split()[1]) for line in out.stdout.splitlines()))


PROXIES = {"nginx": Nginx, "haproxy": Haproxy, "varnish": Varnish}
