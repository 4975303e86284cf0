# SPDX-License-Identifier: Apache-2.0
"""What tests look at on a running server, and how they stop its ingest child."""
import glob
import os
import re
import signal

from conftest import ADMIN_TOKEN, wait_for


def served(s):
    return s.get("/v1/endpoints/kv").meta["snapshot_id"]


def metric(s, line):
    found = re.search(rf"^{re.escape(line)} (\S+)$", s.admin("/metrics").body.decode(), re.M)
    return float(found.group(1)) if found else None


def events(s, kind):
    return [e for e in s.admin("/events", token=ADMIN_TOKEN).json["events"] if e["type"] == kind]


def stop_child(s):
    """Stops the process that materializes, once there is one; returns its pid."""
    def find():
        for path in glob.glob(f"/proc/{s.process.pid}/task/*/children"):
            try:
                children = open(path).read().split()
                for pid in children:
                    if b"__ingest" in open(f"/proc/{pid}/cmdline", "rb").read():
                        os.kill(int(pid), signal.SIGSTOP)
                        return int(pid)
            except OSError:
                pass
        return None
    return wait_for(find, "an ingest child")
