#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""make bench-check: instructions per answer, counted by callgrind, against bench/instructions.json.

Counted from the bytes of a request being there to its answer being written (connection_process), as
the difference of two runs, so that starting up and warming the cache fall out. The counts are those of
this binary and input, whatever else the machine does. A rise over 3 % fails; --record writes new ones.

    /usr/bin/python3 bench/instructions.py [--record] [--binary build/offloader] [--profile DIR]
"""
import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time

from peers import ROOT, free_port

FILE = os.path.join(ROOT, "bench", "instructions.json")
LIMIT = 1.03
FEW, MANY = 200, 1200
SUMMARY = "/v1/endpoints/usage_summary?from=2026-08-04&to=2026-08-31"
DAILY = "/v1/endpoints/usage_daily?account_id=acct_acme_03&limit=3"
# name -> project, path, status, headers
CASES = {
    "cached hit": ("customer-analytics", SUMMARY, 200, {"Authorization": "Bearer demo-acme-key"}),
    "miss, 3 rows": ("customer-analytics", DAILY, 200, {"Authorization": "Bearer demo-acme-key"}),
    "401": ("customer-analytics", DAILY, 401, {"Authorization": "Bearer nobody"}),
}
PARTS = {"http": ["http_parse_head", "http_answer", "answer_flush"], "auth": ["token_authenticate"],
         "plan": ["plan_request"], "execute": ["store_execute", "store_estimate"],
         "encode and envelope": ["answer_rows"], "cache": ["cache_get"]}


def ready(process, port):
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if process.poll() is not None:
            raise SystemExit("bench-check: the server ended")
        try:
            c = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            c.request("GET", "/ready")
            if c.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise SystemExit("bench-check: the server was not ready in 120 s")


def count(binary, case, n, out):
    project, path, status, headers = case
    api, admin = free_port(), free_port()
    with tempfile.TemporaryDirectory() as cache:
        env = {k: v for k, v in os.environ.items() if not k.startswith("OFFLOADER_")}
        env.update(OFFLOADER_CONFIG=os.path.join(ROOT, "examples", project), OFFLOADER_SECRET_KEY_BASE="0" * 32,
                   OFFLOADER_CACHE_DIR=cache, OFFLOADER_API_PORT=str(api), OFFLOADER_ADMIN_PORT=str(admin),
                   OFFLOADER_BIND="127.0.0.1", OFFLOADER_REFRESH_INTERVAL="0", OFFLOADER_HTTP_THREADS="1",
                   OFFLOADER_POOL_SIZE="1", OFFLOADER_DRAIN_SECONDS="0")
        # An ingest child can't run under valgrind: the snapshots are made before, and start warm.
        native = subprocess.Popen([binary, "serve"], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ready(native, admin)
        native.terminate()
        native.wait(60)
        command = ["valgrind", "--tool=callgrind", "--toggle-collect=connection_process",
                   f"--callgrind-out-file={out}", binary, "serve"]
        process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            ready(process, admin)
            c = http.client.HTTPConnection("127.0.0.1", api, timeout=60)
            for _ in range(n):
                c.request("GET", path, headers=headers)
                r = c.getresponse()
                r.read()
                if r.status != status:
                    raise SystemExit(f"bench-check: {path} answered {r.status}, not {status}")
            c.close()
        finally:
            process.terminate()
            process.wait(60)
    with open(out, encoding="utf-8", errors="replace") as f:
        return next(int(line.split()[1]) for line in f if line.startswith(("summary:", "totals:")))


def shares(out):
    """Inclusive share of the steps a request goes through, in the larger run."""
    text = subprocess.run(["callgrind_annotate", "--inclusive=yes", "--threshold=100", out], capture_output=True,
                          text=True, check=False).stdout
    total, found = 0, {}
    for line in text.splitlines():
        words = line.split()
        if "PROGRAM TOTALS" in line:
            total = int(words[0].replace(",", ""))
        for names in PARTS.values():
            for name in names:
                if f":{name} " in line + " " and name not in found and words[0].replace(",", "").isdigit():
                    found[name] = int(words[0].replace(",", ""))
    return {part: round(sum(found.get(n, 0) for n in names) / total, 3) for part, names in PARTS.items()} if total else {}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--binary", default=os.path.join(ROOT, "build", "offloader"))
    parser.add_argument("--profile", help="keep callgrind's files here and tell the share of each step")
    given = parser.parse_args()
    counts, failed = {}, False
    with open(FILE, encoding="utf-8") as f:
        recorded = json.load(f)
    with tempfile.TemporaryDirectory() as scratch:
        keep = given.profile or scratch
        os.makedirs(keep, exist_ok=True)
        for name, case in CASES.items():
            files = [os.path.join(keep, f"{name.split(',')[0].replace(' ', '_')}.{n}") for n in (FEW, MANY)]
            few, many = (count(given.binary, case, n, f) for n, f in zip((FEW, MANY), files))
            counts[name] = round((many - few) / (MANY - FEW))
            before = recorded.get(name)
            worse = before is not None and counts[name] > before * LIMIT
            failed |= worse
            print(f"{name:16} {counts[name]:8d} instructions, recorded {before}{': ROSE' if worse else ''}", flush=True)
            if given.profile:
                print("   ", shares(files[1]))
    if given.record:
        with open(FILE, "w", encoding="utf-8") as f:
            json.dump(counts, f, indent=2)
            f.write("\n")
    elif failed:
        sys.exit("bench-check: an answer costs over 3 % more instructions than recorded; find out why, or "
                 "record the new count with --record and say why in the commit")


if __name__ == "__main__":
    main()
