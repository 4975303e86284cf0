#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""make bench: ourselves and our peers in one go, interleaved; see docs/guide/performance.md.

    /usr/bin/python3 bench/run.py [--rounds 42] [--slice 1] [--work DIR] [--out bench/results] [--binary build/offloader]
"""
import argparse
import ctypes
import os
import platform
import random
import shutil
import socket
import subprocess
import time

import also
import report
import trial
from load import Client, checked, machine_ticks
from peers import ROOT, SERVER_CPU, Floor, Nginx, Node, Offloader, Postgres, cpu_between, fetch

FOREIGN_LIMIT = 0.10  # of one CPU, in a slice: such a round proves nothing
PUBLIC = {"document_cached": ("documents", False, trial.DOCUMENT_BODY + trial.CACHED)}
PAYLOADS = (("1 row", "account_rows_cached", 1), ("50 rows", "account_rows_cached", 50),
            ("500 rows", "account_rows_cached", 500))


def data_part(body):
    """What of our answer is the same every time: up to meta, which names the request and the time."""
    return body[:body.index(b',"meta":')]


class Duck:
    """DuckDB's C interface: statements prepared once, timed by this process's own CPU time."""

    def __init__(self, path, threads):
        self.lib = ctypes.CDLL(os.path.join(ROOT, ".deps/duckdb/lib/libduckdb.so"))
        self.lib.duckdb_result_error.restype = ctypes.c_char_p
        self.db, self.con = ctypes.c_void_p(), ctypes.c_void_p()
        if self.lib.duckdb_open(path.encode(), ctypes.byref(self.db)) or self.lib.duckdb_connect(
                self.db, ctypes.byref(self.con)):
            raise SystemExit("bench: DuckDB does not open")
        self.run(f"SET threads={threads}")

    def run(self, sql):
        result = ctypes.create_string_buffer(256)
        if self.lib.duckdb_query(self.con, sql.encode(), result):
            raise SystemExit(self.lib.duckdb_result_error(result).decode())
        self.lib.duckdb_destroy_result(result)

    def cpu_us(self, sql, seconds):
        n, start, cpu = 0, time.monotonic(), time.process_time()
        while time.monotonic() - start < seconds:
            self.run(sql)
            n += 1
        return (time.process_time() - cpu) * 1e6 / n

    def close(self):
        self.lib.duckdb_disconnect(ctypes.byref(self.con))
        self.lib.duckdb_close(ctypes.byref(self.db))


class Bench:
    def __init__(self, given):
        self.given, self.work, self.binary = given, given.work, os.path.abspath(given.binary)
        self.client = Client(self.binary, self.work)
        self.n_run, self.rounds, self.n_foreign, self.peers, self.latency, self.also = 0, [], 0, [], [], []

    # ---- set-up ----

    def prepare_data(self):
        self.trial_dir = os.path.join(self.work, "trial")
        if not os.path.exists(os.path.join(self.trial_dir, "data", "documents", "documents.json")):
            trial.make(self.trial_dir)
        self.parquet = os.path.join(self.trial_dir, "data", "usage", "usage.parquet")
        self.duck_file = os.path.join(self.work, "trial.duckdb")
        csv = os.path.join(self.work, "usage.csv")
        if os.path.exists(self.duck_file):
            os.unlink(self.duck_file)
        duck = Duck(self.duck_file, os.cpu_count())
        start = time.monotonic()
        duck.run(f"CREATE TABLE usage AS SELECT * FROM read_parquet('{self.parquet}') ORDER BY tenant_id, account_id, day")
        duck.run("CHECKPOINT")
        self.duck_seconds = time.monotonic() - start
        if not os.path.exists(csv):
            duck.run(f"COPY usage TO '{csv}' (HEADER false)")
        duck.close()
        self.csv = csv

    def public_project(self):
        directory = os.path.join(self.work, "public")
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(os.path.join(self.trial_dir, "data"), os.path.join(directory, "data"))
        trial.project(directory, ["document_cached", "all_groups"], ["documents", "usage_all"])
        os.unlink(os.path.join(directory, "data", "usage", "usage_all.json"))
        trial.write(os.path.join(directory, "offloader.yml"),
                    "version: 1\ndatasets_dir: datasets\nendpoints_dir: endpoints\nauth: none\n")
        return directory

    def start(self, kind, *args, **start):
        peer = kind(self.work, *args)
        self.peers.append(peer)
        return peer.start(**start)

    def start_peers(self):
        for cache in ("offloader", "again", "public"):
            shutil.rmtree(os.path.join(self.work, f"cache-{cache}"), ignore_errors=True)
        self.ours = self.start(Offloader, self.binary, self.trial_dir)
        self.again = self.start(Offloader, self.binary, self.trial_dir, "again")
        # One of its datasets has nothing published, for the 503: it is never ready as a whole.
        self.public = Offloader(self.work, self.binary, self.public_project(), "public", SERVER_CPU, None)
        self.public.waits_for = "/v1/endpoints/document_cached?id=1"
        self.peers.append(self.public)
        self.public.start()
        self.make_targets()
        self.floor = self.start(Floor, n_body=len(self.hit_body))
        self.nginx = self.start(Nginx, files=self.files, returned=self.hit_body.decode())
        self.postgres = self.start(Postgres, csv=self.csv)
        self.node_pg = self.start(Node, "pg", where="127.0.0.1", beside=self.postgres)
        self.node_duckdb = self.start(Node, "duckdb", where=self.duck_file)
        self.duck = Duck(":memory:", 1)
        self.duck.run(f"ATTACH '{self.duck_file}' AS t (READ_ONLY)")
        self.node_targets()

    def targets_of(self, paths):
        return [(p, data_part(self.ours.get(p)[1])) for p in paths]

    def make_targets(self):
        query = [f"account_id={a}&from={f}&to={t}" for a, f, t in trial.windows()]
        self.sums = self.targets_of([f"/v1/endpoints/account_sum?{q}" for q in query])
        self.hits = self.targets_of([f"/v1/endpoints/account_sum_cached?{q}" for q in query[:16]])
        self.hit_body = self.ours.get(self.hits[0][0])[1]
        self.pages = self.targets_of([f"/v1/endpoints/account_rows?account_id={a}&limit=200" for a in trial.accounts()])
        self.payloads = {name: self.targets_of([f"/v1/endpoints/{e}?account_id={a}&limit={n}"
                                                for a in trial.accounts()[:8]]) for name, e, n in PAYLOADS}
        self.payloads["50 KB document"] = self.targets_of([f"/v1/endpoints/document_cached?id={i}" for i in range(8)])
        self.files, self.file_targets = {}, {}
        for kind, targets in [("miss", self.sums)] + list(self.payloads.items()):
            self.file_targets[kind] = []
            for i, (path, _) in enumerate(targets):
                name = f"{kind.replace(' ', '_')}_{i}"
                self.files[name] = self.ours.get(path)[1]
                self.file_targets[kind].append((f"/f/{name}", self.files[name]))

    def node_targets(self):
        query = [f"account_id={a}&from={f}&to={t}" for a, f, t in trial.windows()]
        self.node_sums, self.node_pages = {}, {}
        for peer in (self.node_pg, self.node_duckdb):
            self.node_sums[peer.name] = [(f"/sum?{q}", peer.get(f"/sum?{q}")[1]) for q in query[::8]]
            self.node_pages[peer.name] = [(p, peer.get(p)[1]) for p in
                                          (f"/rows?account_id={a}&limit=200" for a in trial.accounts())]
            self.same_answers(peer, query[::8])

    def same_answers(self, peer, query):
        """The peers must answer the same question: counts and sums agree with ours."""
        import json
        for q, (_, body) in list(zip(query, self.node_sums[peer.name]))[:20]:
            mine = json.loads(self.ours.get(f"/v1/endpoints/account_sum?{q}")[1])["data"][0]
            theirs = json.loads(body)["data"][0]
            for key in ("calls", "errors", "days"):
                if int(theirs[key]) != mine[key]:
                    raise SystemExit(f"bench: {peer.name} answers {theirs}, we answer {mine}")

    # ---- rounds ----

    def slices(self):
        """name -> function that runs one slice and returns CPU µs a request."""
        s, c = self.given.slice, self.client

        def load(peer, targets, what, **more):
            return lambda: checked(c.run(peer, targets, s, **more), what)["cpu_us"]
        tag = fetch(self.public.port, "/v1/endpoints/document_cached?id=7")[2]["etag"]
        found = [("/v1/endpoints/document_cached?id=7", b"")]
        absent = [("/v1/endpoints/all_groups", b'{"error":{"family":"not_ready"')]
        one, all_rows = "calls", "FROM t.usage"
        groups = f"SELECT {{}}, sum({one}), max(errors), count(day) {all_rows} {{}} GROUP BY ALL ORDER BY ALL"
        pieces = {
            "offloader hit": load(self.ours, self.hits, "hit"),
            "offloader hit (control)": load(self.again, self.hits, "hit"),
            "floor (fixed answer)": load(self.floor, [("/", b"x")], "floor"),
            "nginx return": load(self.nginx, [("/return", b'{"data":')], "nginx"),
            "offloader 304": load(self.public, found, "304", status=304, header=f"If-None-Match: {tag}"),
            "offloader 503": load(self.public, absent, "503", status=503),
            "offloader miss": load(self.ours, self.sums, "miss"),
            "nginx file": load(self.nginx, self.file_targets["miss"], "nginx file"),
            "node + postgres": load(self.node_pg, self.node_sums["node_pg"], "node + postgres"),
            "node + duckdb": load(self.node_duckdb, self.node_sums["node_duckdb"], "node + duckdb"),
            "offloader 200 rows": load(self.ours, self.pages, "200 rows"),
            "node + postgres 200 rows": load(self.node_pg, self.node_pages["node_pg"], "200 rows"),
            "offloader groups 1 %": load(self.ours, self.targets_of(["/v1/endpoints/tenant_groups"]), "groups"),
            "offloader groups 100 %": load(self.ours, self.targets_of(["/v1/endpoints/all_groups"]), "groups",
                                           connections=2),
            "duckdb groups 1 %": lambda: self.duck.cpu_us(
                groups.format("account_id", f"WHERE tenant_id = '{trial.TENANT}'"), s),
            "duckdb groups 100 %": lambda: self.duck.cpu_us(groups.format("region", ""), s),
            "postgres alone": self.postgres_alone,
        }
        return pieces

    def payload_slices(self):
        s, c, pieces = self.given.slice, self.client, {}
        for kind, targets in self.payloads.items():
            pieces[f"offloader {kind}"] = lambda t=targets: checked(c.run(self.ours, t, s), "payload")["cpu_us"]
            pieces[f"nginx file {kind}"] = lambda t=self.file_targets[kind]: checked(
                c.run(self.nginx, t, s), "payload")["cpu_us"]
        return pieces

    def postgres_alone(self):
        """The share of PostgreSQL's own processes in a slice of node + postgres."""
        before = self.postgres.used()
        r = checked(self.client.run(self.node_pg, self.node_sums["node_pg"], self.given.slice), "postgres")
        return cpu_between(before, self.postgres.used()) / 1000 / r["requests"]

    def servers_cpu(self):
        return {path: ns for p in self.peers if p.process.poll() is None for path, ns in p.used().items()}

    def run_rounds(self):
        rng = random.Random(self.given.seed)
        pieces, payloads = self.slices(), self.payload_slices()
        end = time.monotonic() + self.given.minutes * 60
        for i in range(self.given.rounds):
            if time.monotonic() > end:
                break
            self.n_run = i + 1
            order = list(pieces.items()) + (list(payloads.items()) if i % 4 == 2 else [])
            rng.shuffle(order)
            round_, foreign = {}, 0.0
            for name, run in order:
                ticks, servers = machine_ticks(), self.servers_cpu()
                start = time.monotonic()
                round_[name] = run()
                now, took = machine_ticks(), time.monotonic() - start
                own = now["own"] - ticks["own"] + cpu_between(servers, self.servers_cpu()) / 1e9
                other = now["busy"] - ticks["busy"] - own + now["steal"] - ticks["steal"]
                foreign = max(foreign, other / took)
            kept = i >= 2 and foreign <= FOREIGN_LIMIT
            self.n_foreign += i >= 2 and not kept
            if kept or (i >= 2 and self.given.keep_foreign):
                self.rounds.append(round_)
            print(f"round {i + 1}/{self.given.rounds}: foreign {foreign:.0%}"
                  f"{'' if kept else ', dropped'}; hit {round_['offloader hit']:.2f} miss {round_['offloader miss']:.2f}"
                  f" nginx {round_['nginx return']:.2f}", flush=True)

    # ---- results ----

    def ratios(self):
        table = [("hit / nginx return", "offloader hit", "nginx return", 1.0),
                 ("hit / floor", "offloader hit", "floor (fixed answer)", None),
                 ("control: ourselves / ourselves", "offloader hit (control)", "offloader hit", None),
                 ("304 / hit", "offloader 304", "offloader hit", 1.0),
                 ("503 / hit", "offloader 503", "offloader hit", 1.0),
                 ("miss / nginx file", "offloader miss", "nginx file", 1.2),
                 ("miss / PostgreSQL's own", "offloader miss", "postgres alone", 0.2),
                 ("miss / node + postgres", "offloader miss", "node + postgres", 0.1),
                 ("miss / node + duckdb", "offloader miss", "node + duckdb", 0.002),
                 ("200 rows / node + postgres", "offloader 200 rows", "node + postgres 200 rows", 0.1),
                 ("groups 1 % / duckdb", "offloader groups 1 %", "duckdb groups 1 %", 0.2),
                 ("groups 100 % / duckdb", "offloader groups 100 %", "duckdb groups 100 %", 1.0)]
        table += [(f"{k} / nginx file", f"offloader {k}", f"nginx file {k}", None) for k in self.payloads]
        found = [(what, report.ratio(self.rounds, a, b), limit) for what, a, b, limit in table]
        return [report.row_of(what, m, limit) for what, m, limit in found if m]

    def result(self):
        names = sorted({n for r in self.rounds for n in r})
        cpu = {n: report.interval([r[n] for r in self.rounds if n in r]) + (sum(n in r for r in self.rounds),)
               for n in names}
        return {"machine": machine(self.binary), "slice_s": self.given.slice, "rounds_run": self.n_run,
                "rounds_kept": len(self.rounds), "rounds_foreign": self.n_foreign, "seed": self.given.seed,
                "cpu_us": cpu, "ratios": self.ratios(), "latency": self.latency, "also": self.also,
                "rounds": self.rounds}


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT).stdout.strip()


def machine(binary):
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        cpu = next(line.split(":", 1)[1].strip() for line in f if line.startswith("model name"))
    nginx = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=False).stderr.split("/")[-1].strip()
    versions = (f"{output(binary, '--version')}; nginx {nginx}; {output('/usr/lib/postgresql/15/bin/postgres', '--version')}; "
                f"node {output('node', '--version')}; DuckDB 1.4.4")
    return {"date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), "cpu": cpu, "cpus": os.cpu_count(),
            "kernel": platform.release(), "commit": output("git", "rev-parse", "--short", "HEAD"),
            "versions": versions.replace("\n", ", "), "host": socket.gethostname()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=int(os.environ.get("ROUNDS", "42")))
    parser.add_argument("--slice", type=float, default=1.0)
    parser.add_argument("--minutes", type=float, default=60, help="no new round after so many")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--work", default="/tmp/offloader-bench")
    parser.add_argument("--out", default=os.path.join(ROOT, "bench", "results"))
    parser.add_argument("--binary", default=os.path.join(ROOT, "build", "offloader"))
    parser.add_argument("--keep-foreign", action="store_true", help="a trial on a busy machine")
    parser.add_argument("--skip-also", action="store_true")
    given = parser.parse_args()
    os.makedirs(given.work, exist_ok=True)
    bench = Bench(given)
    try:
        bench.prepare_data()
        bench.start_peers()
        print(f"seed {given.seed}; {len(bench.peers)} servers are up", flush=True)
        if not given.skip_also:
            also.measure(bench)
        bench.run_rounds()
        if not bench.rounds:
            raise SystemExit("bench: every round was disturbed; is the machine quiet? (--keep-foreign for a trial)")
        report.write(given.out, bench.result())
        print(f"written to {given.out}")
    finally:
        for peer in bench.peers:
            peer.stop()


if __name__ == "__main__":
    main()
