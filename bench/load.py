# SPDX-License-Identifier: Apache-2.0
"""One slice of load by `offloader bench`, on the client's CPU, with the CPU it cost the server."""
import json
import os
import resource
import subprocess

from peers import CLIENT_CPU, cpu_between


class Client:
    def __init__(self, binary, work):
        self.binary, self.work, self.files = binary, work, {}

    def targets_file(self, targets):
        key = hash(tuple(targets))
        if key not in self.files:
            path = os.path.join(self.work, f"targets-{len(self.files)}")
            with open(path, "wb") as f:
                f.writelines(path_text.encode() + b"\t" + expect + b"\n" for path_text, expect in targets)
            self.files[key] = path
        return self.files[key]

    def run(self, peer, targets, seconds, connections=16, rate=None, status=200, header=None):
        command = ["taskset", "-c", CLIENT_CPU, self.binary, "bench", "--json",
                   "--url", f"http://127.0.0.1:{peer.port}", "--targets", self.targets_file(targets),
                   "--connections", str(connections), "--seconds", str(seconds), "--expect-status", str(status)]
        if rate:
            command += ["--rate", str(rate)]
        token = peer.headers.get("Authorization", "")
        if token:
            command += ["--key", token.split()[1]]
        if header:
            command += ["--header", header]
        before = peer.used()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        used_ns = cpu_between(before, peer.used())
        if not done.stdout:
            raise SystemExit(f"bench: {peer.name}: {done.stderr}")
        result = json.loads(done.stdout)
        result["cpu_us"] = used_ns / 1000 / max(1, result["requests"])
        return result


def machine_ticks():
    """Busy and stolen time of all CPUs, and what this process and its children used, in seconds."""
    with open("/proc/stat", encoding="ascii") as f:
        t = [int(v) for v in f.readline().split()[1:9]]
    hz = os.sysconf("SC_CLK_TCK")
    own = sum(getattr(resource.getrusage(who), k) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
              for k in ("ru_utime", "ru_stime"))
    return {"busy": (t[0] + t[1] + t[2] + t[5] + t[6]) / hz, "steal": t[7] / hz, "own": own}


def checked(result, what):
    """A slice whose answers were not all right proves nothing."""
    if result["failed"] or result["wrong_status"] or result["wrong_body"] or not result["requests"]:
        raise SystemExit(f"bench: {what}: {json.dumps(result)}")
    return result
