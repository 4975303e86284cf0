# SPDX-License-Identifier: Apache-2.0
"""Servers that make bench loads: ours, and those it is compared with. Each is pinned to one CPU, listens
on loopback, has its data in the work directory, and tells the CPU time of all its processes."""
import glob
import http.client
import json
import os
import socket
import subprocess
import time

import trial

SERVER_CPU, CLIENT_CPU = "0", "1"
BENCH = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(BENCH)
NODE_MODULES = os.path.join(ROOT, ".deps", "bench", "node_modules")
POSTGRES = "/usr/lib/postgresql/15/bin"
ADMIN_TOKEN = "an-admin-token-of-the-bench"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(condition, what, deadline_s=180):
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"bench: {what} did not come true in {deadline_s} s")
        time.sleep(0.01)


def children(pid):
    found = [pid]
    for task in glob.glob(f"/proc/{pid}/task/*/children"):
        try:
            with open(task, encoding="ascii") as f:
                for child in f.read().split():
                    found += children(int(child))
        except OSError:
            pass
    return found


def cpu_by_thread(pids):
    """On-CPU time in ns of every thread of these processes, from the scheduler's own accounting."""
    found = {}
    for pid in pids:
        for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
            try:
                with open(path, encoding="ascii") as f:
                    found[path] = int(f.read().split()[0])
            except OSError:
                pass
    return found


def cpu_between(before, after):
    """What was used in between, in ns; a thread that has ended takes its share with it."""
    return sum(ns - before.get(path, 0) for path, ns in after.items())


def fetch(port, path, headers=None, method="GET", body=None):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        c.request(method, path, headers=headers or {}, body=body)
        r = c.getresponse()
        return r.status, r.read(), dict((k.lower(), v) for k, v in r.getheaders())
    finally:
        c.close()


class Peer:
    name, headers = "", {}

    def __init__(self, work):
        self.work, self.port, self.process = work, free_port(), None

    def spawn(self, command, env=None, cpu=SERVER_CPU):
        with open(os.path.join(self.work, f"{self.name}.log"), "ab") as log:
            pinned = ["taskset", "-c", cpu] + command
            self.process = subprocess.Popen(pinned, stdout=log, stderr=log, env=env)

    def listening(self):
        if self.process.poll() is not None:
            raise SystemExit(f"bench: {self.name} ended; see {self.work}/{self.name}.log")
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            return True
        except OSError:
            return False

    def pids(self):
        return children(self.process.pid)

    def used(self):
        return cpu_by_thread(self.pids())

    def rss_kib(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))

    def get(self, path):
        return fetch(self.port, path, self.headers)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)


class Offloader(Peer):
    def __init__(self, work, binary, project, name="offloader", cpu=SERVER_CPU, key=trial.TOKEN):
        super().__init__(work)
        self.name, self.binary, self.project, self.cpu = name, binary, project, cpu
        self.admin_port = free_port()
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.ready_ms = 0
        self.waits_for = None  # a path that answers 200; None: /ready

    def start(self):
        env = {k: v for k, v in os.environ.items() if not k.startswith("OFFLOADER_")}
        env.update(OFFLOADER_CONFIG=self.project, OFFLOADER_SECRET_KEY_BASE="0123456789abcdef" * 2,
                   OFFLOADER_CACHE_DIR=os.path.join(self.work, f"cache-{self.name}"),
                   OFFLOADER_API_PORT=str(self.port), OFFLOADER_ADMIN_PORT=str(self.admin_port),
                   OFFLOADER_BIND="127.0.0.1", OFFLOADER_ADMIN_TOKEN=ADMIN_TOKEN,
                   OFFLOADER_REFRESH_INTERVAL="0", OFFLOADER_HTTP_THREADS="1", OFFLOADER_DRAIN_SECONDS="0")
        start = time.monotonic()
        self.spawn([self.binary, "serve"], env, self.cpu)
        wait_for(self.settled, f"{self.name}'s readiness")
        self.ready_ms = (time.monotonic() - start) * 1000
        return self

    def settled(self):
        if self.process.poll() is not None:
            raise SystemExit(f"bench: {self.name} ended; see {self.work}/{self.name}.log")
        try:
            if self.waits_for:
                return self.get(self.waits_for)[0] == 200
            return fetch(self.admin_port, "/ready")[0] == 200
        except OSError:
            return False

    def admin(self, path, method="GET", body=None):
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}", "Content-Type": "application/json"}
        status, text, _ = fetch(self.admin_port, path, headers, method, body)
        return status, json.loads(text)

    def dataset(self, name):
        return next(d for d in self.admin("/diagnostics")[1]["datasets"] if d["dataset"] == name)

    def store_bytes(self, name):
        paths = glob.glob(os.path.join(self.work, f"cache-{self.name}", "snapshots", name, "*", "data.store"))
        return sum(os.path.getsize(p) for p in paths)


class Floor(Peer):
    name = "floor"

    def start(self, n_body):
        program = os.path.join(self.work, "floor")
        subprocess.run(["cc", "-O2", "-o", program, os.path.join(BENCH, "peers", "floor.c")], check=True)
        self.spawn([program, str(self.port), str(n_body)])
        wait_for(self.listening, "the floor server")
        return self


class Nginx(Peer):
    name = "nginx"

    def start(self, files, returned):
        """@files: name -> bytes under /f/; @returned: the text of /return."""
        root = os.path.join(self.work, "nginx")
        os.makedirs(os.path.join(root, "f"), exist_ok=True)
        for name, data in files.items():
            with open(os.path.join(root, "f", name), "wb") as f:
                f.write(data)
        quoted = returned.replace("\\", "\\\\").replace("'", "\\'").replace("$", "")
        conf = os.path.join(root, "nginx.conf")
        with open(conf, "w", encoding="utf-8") as f:
            f.write(f"""daemon off; master_process off; worker_processes 1; error_log stderr; pid {root}/pid;
user root;
events {{ worker_connections 4096; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 10000000; default_type application/json;
  client_body_temp_path {root}/a; proxy_temp_path {root}/b; fastcgi_temp_path {root}/c;
  uwsgi_temp_path {root}/d; scgi_temp_path {root}/e;
  server {{ listen 127.0.0.1:{self.port} backlog=4096; root {root};
    location = /return {{ return 200 '{quoted}'; }} }}
}}""")
        self.spawn(["nginx", "-c", conf, "-p", root])
        wait_for(self.listening, "nginx")
        return self


def as_postgres(command):
    if os.getuid() != 0:
        return command
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] + command


class Postgres(Peer):
    name = "postgres"

    def start(self, csv):
        data = os.path.join(self.work, "postgres")
        fresh = not os.path.exists(os.path.join(data, "loaded"))
        os.makedirs(data, exist_ok=True)
        if os.getuid() == 0:
            subprocess.run(["chown", "postgres", data], check=True)
        if fresh:
            subprocess.run(as_postgres([f"{POSTGRES}/initdb", "-D", f"{data}/db", "-U", "bench", "-A", "trust"]),
                           check=True, stdout=subprocess.DEVNULL)
        self.directory = data
        self.spawn(as_postgres([f"{POSTGRES}/postgres", "-D", f"{data}/db", "-p", str(self.port), "-k", data,
                                "-c", "listen_addresses=127.0.0.1", "-c", "shared_buffers=1GB",
                                "-c", "jit=off", "-c", "autovacuum=off"]))
        wait_for(self.listening, "PostgreSQL")
        if fresh:
            self.load(csv)
        return self

    def sql(self, text, database="trial"):
        subprocess.run(["psql", "-q", "-h", self.directory, "-p", str(self.port), "-U", "bench", "-d", database,
                        "-v", "ON_ERROR_STOP=1", "-c", text], check=True, stdout=subprocess.DEVNULL)

    def load(self, csv):
        self.sql("CREATE DATABASE trial", "postgres")
        self.sql("CREATE TABLE usage (tenant_id text, account_id text, day date, region text, calls bigint,"
                 " errors integer, cost float8)")
        self.sql(f"\\copy usage FROM '{csv}' CSV")
        self.sql("CREATE INDEX covering ON usage (tenant_id, account_id, day) INCLUDE (calls, errors, cost)")
        self.sql("VACUUM ANALYZE usage")
        with open(os.path.join(self.directory, "loaded"), "w", encoding="ascii"):
            pass


class Node(Peer):
    def __init__(self, work, engine):
        super().__init__(work)
        self.name, self.engine, self.beside = f"node_{engine}", engine, None

    def start(self, where, beside=None):
        """@beside: the PostgreSQL that works for it; its CPU counts too."""
        self.beside = beside
        env = dict(os.environ, NODE_PATH=NODE_MODULES, PGPORT=str(beside.port) if beside else "")
        self.spawn(["node", os.path.join(BENCH, "peers", "server.js"), self.engine, str(self.port), where], env)
        wait_for(self.listening, self.name)
        return self

    def used(self):
        return super().used() | (self.beside.used() if self.beside else {})
