# SPDX-License-Identifier: Apache-2.0
"""R-02: power is lost at any moment. strace logs what a server does to its cache directory through a
boot, swaps, a rollback, a keyed action and a cutover. From the log we build disks as they may be found
afterwards, and boot on each.

The model is strict: a write to a file lasts only after an fsync of that file; a change of a directory
(create, rename, unlink, mkdir) only after an fsync of that directory. Whatever had not lasted when the
power went is kept or lost one by one, by dice, and a kept write may be torn at a 512-byte sector. A
rename is one change: it never leaves both names or none. A removal that was not yet synced may be kept
or lost like any other change.

What was acknowledged before the power went must be there: the snapshot of a refresh that was answered
200 (or a newer one), also when its source is gone; a rollback with its quarantine; the answer of a keyed
action. strace stamps each call with the time it began, the test each answer with the time it came."""
import concurrent.futures
import os
import random
import re
import shutil
import time

from conftest import BIN, Server, wait_for
from stamped import TENANTS, Stamped, token

SHARE = float(os.environ.get("OFFLOADER_LONG_SHARE", "1"))
STATES = max(4, int(2000 * SHARE))
SEED = int(os.environ.get("OFFLOADER_TEST_SEED", "1"))
WORKERS = 4
KEY = {"Idempotency-Key": "k"}
CALLS = "openat,open,write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat,rmdir,ftruncate"


def text(hexed):
    return bytes.fromhex(hexed.replace("\\x", "")).decode()


def lines(path):
    """(when it began, the call) of whole calls in the order of their ends."""
    begun = {}
    for line in open(path, encoding="ascii", errors="replace"):
        pid, at_s, rest = line.rstrip("\n").split(None, 2)
        if rest.endswith("<unfinished ...>"):
            begun[pid] = float(at_s), rest[:-len("<unfinished ...>")].rstrip()
            continue
        resumed = re.match(r"<\.\.\. \w+ resumed>(.*)", rest)
        if resumed:
            began_s, first = begun.pop(pid, (float(at_s), ""))
            yield began_s, first + resumed.group(1)
        else:
            yield float(at_s), rest


def read_log(path, root):
    """(when it began, (kind, …)) of each change below root; names are relative to it."""
    def inside(name):
        name = os.path.normpath(name)
        return os.path.relpath(name, root) if (name + "/").startswith(root + "/") else None

    def at(directory, name):
        base = re.search(r"<([^>]*)>", directory)
        return inside(os.path.join(text(base.group(1)), text(name)) if base else text(name))

    offsets = {}
    for at_s, line in lines(path):
        call = re.match(r"(\w+)\((.*)\)\s+= (-?\d+|\?)", line)
        if not call or call.group(3).startswith(("-", "?")):
            continue
        name, arguments, result = call.groups()
        if name in ("open", "openat"):
            parts = re.match(r'(?:([^,"]*), )?"([^"]*)", ([A-Z_|]+)', arguments)
            file = at(parts.group(1) or "", parts.group(2))
            if file and "O_CREAT" in parts.group(3):
                yield at_s, ("create", file, "O_TRUNC" in parts.group(3))
            offsets[file] = 0
        elif name in ("write", "pwrite64"):
            parts = re.match(r'\d+<([^>]*)>, "([^"]*)"', arguments)
            file = inside(text(parts.group(1))) if parts and "\\x2f" in parts.group(1) else None
            if file:
                data = bytes.fromhex(parts.group(2).replace("\\x", ""))[:int(result)]
                where = int(arguments.rsplit(", ", 1)[1]) if name == "pwrite64" else offsets.get(file, 0)
                offsets[file] = where + len(data)
                yield at_s, ("write", file, where, data)
        elif name in ("fsync", "fdatasync"):
            file = inside(text(re.search(r"<([^>]*)>", arguments).group(1)))
            if file:
                yield at_s, ("sync", file)
        elif name == "ftruncate":
            file = inside(text(re.search(r"<([^>]*)>", arguments).group(1)))
            if file:
                yield at_s, ("cut", file, int(arguments.rsplit(", ", 1)[1]))
        elif name.startswith("rename"):
            names = re.findall(r'(?:(\w+(?:<[^>]*>)?), )?"([^"]*)"', arguments)
            old, new = (at(d, n) for d, n in names[:2])
            if old and new:
                yield at_s, ("rename", old, new)
        elif name.startswith("mkdir"):
            parts = re.match(r'(?:([^,"]*), )?"([^"]*)"', arguments)
            file = at(parts.group(1) or "", parts.group(2))
            if file:
                yield at_s, ("mkdir", file)
        elif name.startswith(("unlink", "rmdir")):
            parts = re.match(r'(?:([^,"]*), )?"([^"]*)"', arguments)
            file = at(parts.group(1) or "", parts.group(2))
            if file:
                yield at_s, ("unlink", file)


class Disk:
    """Inodes: directories are dicts of names, files are bytearrays. Changes are bound to inodes as the
    live system saw them; a crash state replays the ones that lasted. A moment is a number of operations."""

    def __init__(self):
        self.root, self.changes, self.n = {}, [], 0

    def find(self, path):
        node = self.root
        for part in path.split("/") if path not in ("", ".") else []:
            node = node.get(part) if isinstance(node, dict) else None
            if node is None:
                return None
        return node

    def parent(self, path):
        return self.find(os.path.dirname(path)), os.path.basename(path)

    def note(self, kind, owner, **more):
        self.changes.append({"kind": kind, "owner": owner, "lasts": None, "at": self.n, **more})

    def run(self, operation):
        self.n += 1
        kind, path, *rest = operation
        where, name = self.parent(path)
        if kind == "sync":
            node = self.find(path)
            for c in self.changes:
                if c["owner"] is node and c["lasts"] is None:
                    c["lasts"] = self.n
            return
        if where is None:
            return
        if kind == "create":
            if name not in where:
                where[name] = bytearray()
                self.note("link", where, name=name, node=where[name])
            elif rest[0]:
                self.note("cut", where[name], size=0)
                del where[name][:]
        elif kind == "mkdir":
            where[name] = {}
            self.note("link", where, name=name, node=where[name])
        elif kind == "unlink" and name in where:
            self.note("unlink", where, name=name, node=where.pop(name))
        elif kind == "rename":
            to, new = self.parent(rest[0])
            node = where.pop(name, None)
            if node is None or to is None:
                return
            to[new] = node
            self.note("rename", to, name=name, node=node, out_of=where, new=new)
        elif kind == "write" and isinstance(where.get(name), bytearray):
            at, data = rest
            self.note("write", where[name], offset=at, data=data)
            put(where[name], at, data)
        elif kind == "cut" and isinstance(where.get(name), bytearray):
            self.note("cut", where[name], size=rest[0])
            del where[name][rest[0]:]

    def after_loss(self, moment, dice, target):
        """Writes the disk that may be found when power goes after @moment operations."""
        directories, files = {}, {}
        entries = lambda node: directories.setdefault(id(node), {})  # noqa: E731
        content = lambda node: files.setdefault(id(node), bytearray())  # noqa: E731
        keeps = dice.random()  # a run of luck or of bad luck
        for c in self.changes:
            if c["at"] > moment:
                break
            lasted = c["lasts"] is not None and c["lasts"] <= moment
            if not lasted and dice.random() > keeps:
                continue
            if c["kind"] == "link":
                entries(c["owner"])[c["name"]] = c["node"]
            elif c["kind"] == "unlink":
                if entries(c["owner"]).get(c["name"]) is c["node"]:
                    del entries(c["owner"])[c["name"]]
            elif c["kind"] == "rename":
                if entries(c["out_of"]).get(c["name"]) is c["node"]:
                    del entries(c["out_of"])[c["name"]]
                entries(c["owner"])[c["new"]] = c["node"]
            elif c["kind"] == "write":
                data = c["data"]
                if not lasted and dice.random() < 0.3:
                    data = data[:dice.randrange(len(data) // 512 + 1) * 512]
                put(content(c["owner"]), c["offset"], data)
            elif c["kind"] == "cut":
                del content(c["owner"])[c["size"]:]

        def build(node, path):
            os.makedirs(path, exist_ok=True)
            for name, child in entries(node).items():
                if isinstance(child, dict):
                    build(child, os.path.join(path, name))
                else:
                    with open(os.path.join(path, name), "wb") as f:
                        f.write(content(child))
        build(self.root, target)


def put(into, at, data):
    if len(into) < at:
        into.extend(bytes(at - len(into)))
    into[at:at + len(data)] = data


class Step:
    """Something asked of the server: the project as it was then, when it was asked and answered."""

    def __init__(self, p, number, stamp):
        self.stamp, self.contract, self.snapshot_id = stamp, p.contract, p.snapshot_id(stamp)
        self.project = p.path.parent / f"project-{number}"
        shutil.copytree(p.path, self.project)
        self.asked_s, self.answered_s = time.time(), None


def record(tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    wrapper = tmp_path / "wrapper"
    wrapper.write_text(f'#!/bin/sh\nexec strace -ttt -D -f -y -xx -s 4194304 -o {tmp_path}/log -e trace={CALLS} "{BIN}" "$@"\n')
    wrapper.chmod(0o755)
    p = Stamped(tmp_path / "project", rows=40)
    s = Server(p.path, cache, binary=str(wrapper))
    steps = []

    def step(stamp, act):
        steps.append(Step(p, len(steps), stamp))
        act()
        steps[-1].answered_s = time.time()

    def act(path, headers=None, ids=()):
        answer = s.post(path, headers=headers)
        assert answer.status == 200 and (not ids or answer.json["snapshot_id"] in ids), answer.body

    p.publish(1)
    step(1, s.start)
    try:
        p.publish(2)
        step(2, lambda: act("/datasets/kv/refresh"))
        step(1, lambda: act("/datasets/kv/rollback", ids=("g1-c0",)))
        p.publish(3)
        step(3, lambda: act("/datasets/kv/refresh", KEY))
        p.publish(4)
        step(4, lambda: act("/datasets/kv/refresh"))
        p.configure(3)
        p.publish(5)
        step(5, lambda: (act("/reload"), act("/datasets/kv/refresh")))
        p.publish(6)
        step(6, lambda: act("/datasets/kv/refresh"))
    finally:
        s.stop()
    return steps, list(read_log(tmp_path / "log", str(cache)))


ROLLBACK, KEYED = 2, 3  # steps


class State:
    """What must hold on a disk of this moment."""

    def __init__(self, steps, now_s):
        self.step = max(i for i, x in enumerate(steps) if i == 0 or x.asked_s < now_s)
        now = steps[self.step]
        answered = [i for i, x in enumerate(steps) if x.answered_s <= now_s]
        self.project, self.contract = now.project, now.contract
        self.acknowledged = answered[-1] if answered and steps[answered[-1]].contract == now.contract else None
        self.is_rolled_back = self.step == self.acknowledged == ROLLBACK
        self.has_record = KEYED in answered
        self.stamps = {x.stamp for x in steps[self.acknowledged or 0:self.step + 1]}
        if self.acknowledged is None:
            self.stamps = {now.stamp}


def check_rows(s, contract, stamps):
    seen = set()
    for tenant in TENANTS:
        answer = s.get("/v1/endpoints/kv", token(tenant))
        assert answer.status == 200, answer.body
        stamp = int(answer.meta["snapshot_id"][1:].split("-")[0])
        account = "tenant" if contract % 4 < 2 else "account"
        assert {(r[account], r["stamp"]) for r in answer.rows} == {(tenant, stamp)} and len(answer.rows) == 40
        seen.add(stamp)
    assert len(seen) == 1 and seen <= stamps, f"{seen} serves; acknowledged or newer: {stamps}"


def check(state, directory, without_source):
    """Boots on the disk of that moment."""
    project, cache = directory / "project", directory / "found"
    shutil.copytree(state.project, project)
    if without_source:
        for file in (project / "data").glob("*.csv"):
            file.unlink()
    s = Server(project, cache)
    s.log_path = str(directory / "log")
    began = time.monotonic()
    try:
        s.start()
        ready_ms = (time.monotonic() - began) * 1000
        check_rows(s, state.contract, state.stamps)
        if state.is_rolled_back:
            wait_for(lambda: (s.dataset("kv")["last_attempted"] or {}).get("at"), "the first look at the source")
            check_rows(s, state.contract, state.stamps)
            assert s.dataset("kv")["quarantined"] == "g2-c0", "the quarantine is gone"
        if state.has_record:
            keyed = s.post("/datasets/kv/refresh", headers=KEY)
            assert keyed.headers.get("idempotent-replay") == "true" and keyed.json["snapshot_id"] == "g3-c0", keyed.body
        if not without_source:
            assert s.post("/datasets/kv/refresh").status == 200
        assert not os.listdir(cache / "temporary")
        assert '"level":"bug"' not in s.log()
    except AssertionError as e:
        raise AssertionError(f"{e}; {s.log()[-1500:]}") from e
    finally:
        if s.process:
            s.process.kill()
            s.process.wait()
    return ready_ms


def test_r02_power_loss(tmp_path):
    steps, log = record(tmp_path)
    times_s, operations = [t for t, _ in log], [o for _, o in log]
    for i in range(1, len(times_s)):  # calls of several threads end in another order than they begin
        times_s[i] = max(times_s[i], times_s[i - 1])
    disk = Disk()
    for operation in operations:
        disk.run(operation)
    n = len(operations)
    kinds = {k: sum(o[0] == k for o in operations) for k in {o[0] for o in operations}}
    print(f"R-02: {n} operations {kinds}, {len(disk.changes)} changes, seed {SEED}")
    assert kinds["sync"] > 10 and kinds["rename"] > 10 and len(disk.changes) > 100

    def trial(i):
        if i % 4 == 3:  # right after an answer
            now_s = steps[i // 4 % len(steps)].answered_s
            moment = sum(t <= now_s for t in times_s)
        else:  # while a call runs
            moment = 1 + i * (n - 1) // max(1, STATES - 1)
            now_s = times_s[moment] if moment < n else float("inf")
        state = State(steps, now_s)
        directory, dice = tmp_path / f"state-{i}", random.Random(f"{SEED}-{i}")
        directory.mkdir()
        disk.after_loss(moment, dice, directory / "found")
        without_source = state.acknowledged is not None and dice.random() < 0.5
        try:
            ready_ms = check(state, directory, without_source)
        except AssertionError as e:
            raise AssertionError(f"OFFLOADER_TEST_SEED={SEED}: state {i}, power lost after operation {moment} of {n}, in step "
                                 f"{state.step}, acknowledged {state.acknowledged}, without source {without_source}: {e}") from e
        quarantined = len(os.listdir(directory / "found/quarantine"))
        shutil.rmtree(directory)
        return ready_ms, quarantined, without_source, state

    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        done = list(pool.map(trial, range(STATES)))
    ready_ms = sorted(d[0] for d in done)
    print(f"R-02: {STATES} states, {sum(d[1] for d in done)} things quarantined on the way; after an acknowledgement "
          f"{sum(d[3].acknowledged is not None for d in done)}, of them without the source {sum(d[2] for d in done)}, rolled back "
          f"{sum(d[3].is_rolled_back for d in done)}, with a keyed answer {sum(d[3].has_record for d in done)}; "
          f"ready p99 {ready_ms[len(ready_ms) * 99 // 100]:.0f} ms, max {ready_ms[-1]:.0f} ms (target 1000)")
