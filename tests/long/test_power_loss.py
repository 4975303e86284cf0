# SPDX-License-Identifier: Apache-2.0
"""R-02: power is lost at any moment. strace logs what a server does to its cache directory through a
boot, swaps, a rollback, a keyed action and a cutover. From the log we build disks as they may be found
afterwards, and boot on each.

The model is strict: a write to a file lasts only after an fsync of that file; a change of a directory
(create, rename, unlink, mkdir) only after an fsync of that directory. Whatever had not lasted when the
power went is kept or lost one by one, by dice, and a kept write may be torn at a 512-byte sector. A
rename is one change: it never leaves both names or none. A removal that was not yet synced may be kept
or lost like any other change."""
import os
import random
import re
import shutil

from conftest import BIN, Server
from stamped import TENANTS, Stamped, token

SHARE = float(os.environ.get("OFFLOADER_LONG_SHARE", "1"))
STATES = max(4, int(2000 * SHARE))
SEED = int(os.environ.get("OFFLOADER_TEST_SEED", "1"))
CALLS = "openat,open,write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat,rmdir,ftruncate"


def text(hexed):
    return bytes.fromhex(hexed.replace("\\x", "")).decode()


def lines(path):
    """Whole calls in the order of their ends."""
    begun = {}
    for line in open(path, encoding="ascii", errors="replace"):
        pid, rest = line.rstrip("\n").split(None, 1)
        if rest.endswith("<unfinished ...>"):
            begun[pid] = rest[:-len("<unfinished ...>")].rstrip()
            continue
        resumed = re.match(r"<\.\.\. \w+ resumed>(.*)", rest)
        yield begun.pop(pid, "") + resumed.group(1) if resumed else rest


def read_log(path, root):
    """(kind, …) of each change below root; names are relative to it."""
    def inside(name):
        name = os.path.normpath(name)
        return os.path.relpath(name, root) if name.startswith(root + "/") else None

    def at(directory, name):
        base = re.search(r"<([^>]*)>", directory)
        return inside(os.path.join(text(base.group(1)), text(name)) if base else text(name))

    offsets = {}
    for line in lines(path):
        call = re.match(r"(\w+)\((.*)\)\s+= (-?\d+|\?)", line)
        if not call or call.group(3).startswith(("-", "?")):
            continue
        name, arguments, result = call.groups()
        if name in ("open", "openat"):
            parts = re.match(r'(?:([^,"]*), )?"([^"]*)", ([A-Z_|]+)', arguments)
            file = at(parts.group(1) or "", parts.group(2))
            if file and "O_CREAT" in parts.group(3):
                yield ("create", file, "O_TRUNC" in parts.group(3))
            offsets[file] = 0
        elif name in ("write", "pwrite64"):
            parts = re.match(r'\d+<([^>]*)>, "([^"]*)"', arguments)
            file = inside(text(parts.group(1))) if parts and "\\x2f" in parts.group(1) else None
            if file:
                data = bytes.fromhex(parts.group(2).replace("\\x", ""))[:int(result)]
                where = int(arguments.rsplit(", ", 1)[1]) if name == "pwrite64" else offsets.get(file, 0)
                offsets[file] = where + len(data)
                yield ("write", file, where, data)
        elif name in ("fsync", "fdatasync"):
            file = inside(text(re.search(r"<([^>]*)>", arguments).group(1)))
            if file:
                yield ("sync", file)
        elif name == "ftruncate":
            file = inside(text(re.search(r"<([^>]*)>", arguments).group(1)))
            if file:
                yield ("cut", file, int(arguments.rsplit(", ", 1)[1]))
        elif name.startswith("rename"):
            names = re.findall(r'(?:(\w+(?:<[^>]*>)?), )?"([^"]*)"', arguments)
            old, new = (at(d, n) for d, n in names[:2])
            if old and new:
                yield ("rename", old, new)
        elif name.startswith("mkdir"):
            parts = re.match(r'(?:([^,"]*), )?"([^"]*)"', arguments)
            file = at(parts.group(1) or "", parts.group(2))
            if file:
                yield ("mkdir", file)
        elif name.startswith(("unlink", "rmdir")):
            parts = re.match(r'(?:([^,"]*), )?"([^"]*)"', arguments)
            file = at(parts.group(1) or "", parts.group(2))
            if file:
                yield ("unlink", file)


class Disk:
    """Inodes: directories are dicts of names, files are bytearrays. Changes are bound to inodes as the
    live system saw them; a crash state replays the ones that lasted."""

    def __init__(self):
        self.root, self.changes = {}, []
        self.ids = {id(self.root): self.root}

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
        self.changes.append({"kind": kind, "owner": owner, "lasts": None, "at": len(self.changes), **more})

    def run(self, operation):
        kind, path, *rest = operation
        where, name = self.parent(path)
        if kind == "sync":
            node = self.find(path)
            for c in self.changes:
                if c["owner"] is node and c["lasts"] is None:
                    c["lasts"] = len(self.changes)
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
        """Writes the disk that may be found when power goes after @moment changes."""
        directories, files = {}, {}
        entries = lambda node: directories.setdefault(id(node), {})  # noqa: E731
        content = lambda node: files.setdefault(id(node), bytearray())  # noqa: E731
        keeps = dice.random()  # a run of luck or of bad luck
        for c in self.changes[:moment]:
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


def record(tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    wrapper = tmp_path / "wrapper"
    wrapper.write_text(f'#!/bin/sh\nexec strace -D -f -y -xx -s 4194304 -o {tmp_path}/log -e trace={CALLS} "{BIN}" "$@"\n')
    wrapper.chmod(0o755)
    p = Stamped(tmp_path / "project", rows=40)
    p.publish(1)
    s = Server(p.path, cache, binary=str(wrapper)).start()
    try:
        p.swap(s, 2)
        p.rollback(s)
        p.publish(3)
        s.post("/datasets/kv/refresh", headers={"Idempotency-Key": "k"})
        p.publish(4)
        s.post("/datasets/kv/refresh")
        p.configure(3)
        s.post("/reload")
        p.swap(s, 5)
        p.swap(s, 6)
    finally:
        s.stop()
    return p, list(read_log(tmp_path / "log", str(cache)))


def check(p, cache, log):
    s = Server(p.path, cache)
    s.log_path = str(log)
    try:
        s.start()
        for tenant in TENANTS:
            answer = s.get("/v1/endpoints/kv", token(tenant))
            assert answer.status == 200, answer.body
            stamp = int(answer.meta["snapshot_id"][1:].split("-")[0])
            assert {(r["account"], r["stamp"]) for r in answer.rows} == {(tenant, stamp)} and len(answer.rows) == 40
        assert stamp in (5, 6), "an older contract's snapshot serves"
        assert s.post("/datasets/kv/refresh").status == 200 and not os.listdir(cache / "temporary")
        assert '"level":"bug"' not in s.log()
    finally:
        if s.process:
            s.process.kill()
            s.process.wait()


def test_r02_power_loss(tmp_path):
    p, operations = record(tmp_path)
    disk = Disk()
    for operation in operations:
        disk.run(operation)
    n = len(disk.changes)
    kinds = {k: sum(o[0] == k for o in operations) for k in {o[0] for o in operations}}
    print(f"R-02: {len(operations)} operations {kinds}, {n} changes, seed {SEED}")
    assert kinds["sync"] > 10 and kinds["rename"] > 10 and n > 100
    quarantined = 0
    for i in range(STATES):
        moment = 1 + i * (n - 1) // max(1, STATES - 1)
        found = tmp_path / "found"
        shutil.rmtree(found, ignore_errors=True)
        disk.after_loss(moment, random.Random(f"{SEED}-{i}"), found)
        try:
            check(p, found, tmp_path / "log-of-the-boot")
        except AssertionError as e:
            raise AssertionError(f"OFFLOADER_TEST_SEED={SEED}: state {i}, power lost after change {moment} of {n}: {e}") from e
        quarantined += len(os.listdir(found / "quarantine"))
    print(f"R-02: {STATES} states, {quarantined} things quarantined on the way")
