# SPDX-License-Identifier: Apache-2.0
"""The cache directory (snapshots.md, Warm start): what a changed bit, a lost file, a full or read-only
disk costs. R-10 P: 36 flips spread by a printed seed; tests/long does 6,000."""
import errno
import glob
import json
import os
import random
import shutil
import struct
import subprocess
import sys

import pytest
from conftest import BIN, Server, wait_for
from observe import events, metric
from stamped import TENANTS, Stamped, token

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fault"))
from control import Control  # noqa: E402

FIRST_FLIP, END_OF_FLIPS = (int(x) for x in os.environ.get("OFFLOADER_TEST_FLIPS", "0:36").split(":"))
MANY_FLIPS = 1000  # from here on every byte of each header has its turn
SEED = int(os.environ.get("OFFLOADER_TEST_SEED", "1"))


@pytest.fixture
def warm(tmp_path):
    """A cache with an active and a previous snapshot, and the project beside it."""
    p = Stamped(tmp_path / "project", rows=300)
    p.publish(1)
    s = Server(p.path, tmp_path / "cache").start()
    p.swap(s, 2)
    s.post("/hold", headers={"Idempotency-Key": "k"})
    s.stop()
    p.cache = tmp_path / "cache"
    return p


def check_rows(s, rows, stamps):
    for tenant in TENANTS:
        answer = s.get("/v1/endpoints/kv?limit=1000", token(tenant))
        assert answer.status == 200, answer.body
        stamp = int(answer.meta["snapshot_id"][1:].split("-")[0])
        assert stamp in stamps and len(answer.rows) == rows
        assert {(r["tenant"], r["stamp"]) for r in answer.rows} == {(tenant, stamp)}


def files_of(cache):
    active = next(s for s in glob.glob(f"{cache}/snapshots/kv/*/") if '"g2-c0"' in open(f"{s}/snapshot.json").read())
    return {"facts": f"{active}/snapshot.json", "index": f"{cache}/snapshots/kv/index.json", "store": f"{active}/data.store",
            "record": glob.glob(f"{cache}/idempotency/*.json")[0]}


def checked_ranges(store):
    """Bytes of a store file that mean something; between them are at most 7 zeros of alignment (format.h)."""
    d = open(store, "rb").read()
    _, _, _, _, _, n_columns, n_blocks, directory, n_directory = struct.unpack_from("=QIIQQIIQQ", d)
    ranges = [(0, 256), (directory, directory + n_directory)]
    for c in range(n_columns + 1):
        e = struct.unpack_from("=64sIIQqqQQIIQQII", d, directory + 144 * c)
        ranges += [(at, at + n) for at, n in ((e[6], e[7]), (e[10], e[11])) if n]
        for b in range(n_blocks):
            at, n = struct.unpack_from("=QI", d, directory + 144 * (n_columns + 1) + 48 * (c * n_blocks + b))
            ranges.append((at, at + n))
    return ranges


def flip(path, at, bit):
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 1 << bit]))


def place_of(number, paths, dice):
    """(kind, byte): by dice; a long run goes through the store's header and the small files byte by byte first."""
    small = [(kind, at) for kind in ("facts", "index", "record") for at in range(os.path.getsize(paths[kind]))]
    every = [("store", at) for at in range(256)] + small
    if MANY_FLIPS <= number < MANY_FLIPS + len(every):
        return every[number - MANY_FLIPS]
    kind = ("facts", "index", "store", "store", "store", "record")[number % 6]
    size = os.path.getsize(paths[kind])
    at = dice.randrange(min(size, 4096)) if number % 6 == 2 else dice.randrange(size)  # header, or anywhere
    while kind == "store" and not any(a <= at < b for a, b in checked_ranges(paths[kind])):
        at = dice.randrange(size)
    return kind, at


def test_r10_single_bit_flips(warm, tmp_path):
    """Each is found before a caller sees it, what was found is in quarantine, and everything is rebuilt."""
    found = dict.fromkeys(files_of(warm.cache), 0)
    for i in range(FIRST_FLIP, END_OF_FLIPS):
        dice = random.Random(f"{SEED} {i}")
        cache = tmp_path / "flipped"
        shutil.rmtree(cache, ignore_errors=True)
        shutil.copytree(warm.cache, cache)
        paths = files_of(cache)
        kind, at = place_of(i, paths, dice)
        flip(paths[kind], at, bit := dice.randrange(8))
        where = f"OFFLOADER_TEST_SEED={SEED} OFFLOADER_TEST_FLIPS={i}:{i + 1}: {kind}, byte {at}, bit {bit}"
        s = Server(warm.path, cache).start()
        try:
            if kind == "record":
                r = s.post("/hold", headers={"Idempotency-Key": "k"})
                assert r.status == 200 and "idempotent-replay" not in r.headers
            else:
                wait_for(lambda: os.listdir(cache / "quarantine"), "what does not verify to be quarantined")
                wait_for(lambda: s.dataset("kv")["last_good"] == "g2-c0" and s.get("/v1/endpoints/kv", token("acme")).status == 200,
                         "the rebuild")
                check_rows(s, 300, {2})
            found[kind] += 1
        except AssertionError as e:
            raise AssertionError(f"{where}: {e}") from e
        finally:
            s.stop()
    assert sum(found.values()) == END_OF_FLIPS - FIRST_FLIP > 0
    print(f"R-10: flips {FIRST_FLIP} to {END_OF_FLIPS - 1}, seed {SEED}, each found, quarantined and rebuilt: {found}")


def test_the_previous_snapshot_serves_while_the_active_one_is_rebuilt(warm):
    flip(files_of(warm.cache)["facts"], 10, 0)
    manifest = warm.path / "data/manifest.json"
    kept = manifest.read_bytes()
    manifest.unlink()
    s = Server(warm.path, warm.cache).start()  # ready, from the previous one
    try:
        check_rows(s, 300, {1})
        manifest.write_bytes(kept)
        assert s.post("/datasets/kv/refresh").json["snapshot_id"] == "g2-c0"
        check_rows(s, 300, {2})
    finally:
        s.stop()


def test_a_rotten_rollback_target_is_no_target(warm):
    target = next(s for s in glob.glob(f"{warm.cache}/snapshots/kv/*/") if '"g1-c0"' in open(f"{s}/snapshot.json").read())
    flip(f"{target}/data.store", os.path.getsize(f"{target}/data.store") // 2, 3)
    s = Server(warm.path, warm.cache).start()
    try:
        wait_for(lambda: s.dataset("kv")["previous_snapshot"] is None, "the scrub, or the start, to find it")
        assert s.post("/datasets/kv/rollback").status == 409
        wait_for(lambda: os.listdir(warm.cache / "quarantine"), "its directory in quarantine")
        check_rows(s, 300, {2})
    finally:
        s.stop()


@pytest.mark.parametrize("what", ["snapshots/kv", "snapshots", "idempotency", "quarantine", "temporary", "."])
def test_deleting_any_of_it_costs_a_cold_start_only(warm, what):
    target = warm.cache / what
    shutil.rmtree(target)
    s = Server(warm.path, warm.cache).start()
    try:
        check_rows(s, 300, {2})
        warm.swap(s, 3)
        check_rows(s, 300, {3})
    finally:
        s.stop()


def test_a_snapshot_deleted_while_it_serves(warm):
    s = Server(warm.path, warm.cache).start()
    try:
        shutil.rmtree(warm.cache / "snapshots")
        check_rows(s, 300, {2})  # open files stay
        warm.swap(s, 3)
        check_rows(s, 300, {3})
    finally:
        s.stop()
    s = Server(warm.path, warm.cache).start()
    try:
        check_rows(s, 300, {3})
    finally:
        s.stop()


def test_directories_of_datasets_that_are_gone_are_removed(warm):
    shutil.copytree(warm.cache / "snapshots/kv", warm.cache / "snapshots/gone")
    s = Server(warm.path, warm.cache).start()
    try:
        assert os.listdir(warm.cache / "snapshots") == ["kv"]
    finally:
        s.stop()


def test_another_contract_starts_cold_and_quarantines_nothing(warm):
    p = Stamped(warm.path, contract=1, rows=300)
    p.publish(5)
    s = Server(p.path, warm.cache).start()
    try:
        assert s.dataset("kv")["last_good"] == "g5-c1" and not os.listdir(warm.cache / "quarantine")
    finally:
        s.stop()


def test_a_truncated_store_under_the_map_is_rebuilt(warm):
    s = Server(warm.path, warm.cache).start()
    try:
        os.truncate(files_of(warm.cache)["store"], 4096)
        first = s.get("/v1/endpoints/kv?limit=1000", token("acme"))
        assert first.status in (200, 503)
        wait_for(lambda: s.get("/v1/endpoints/kv?limit=1000", token("acme")).status == 200, "the rebuild")
        check_rows(s, 300, {2})
    finally:
        s.stop()


def test_the_scrub_finds_what_nobody_asks_for(warm):
    path = files_of(warm.cache)["store"]
    flip(path, os.path.getsize(path) // 2, 5)
    s = Server(warm.path, warm.cache).start()
    try:
        wait_for(lambda: any("does not verify" in e["message"] for e in events(s, "refresh")) or os.listdir(warm.cache / "quarantine"),
                 "the scrub, without a request")
        wait_for(lambda: any(e.get("kind") == "rebuild" for e in events(s, "swap")) or os.listdir(warm.cache / "quarantine"), "the rebuild")
        wait_for(lambda: s.get("/v1/endpoints/kv", token("acme")).status == 200, "service")
        check_rows(s, 300, {2})
        assert s.dataset("kv")["previous_snapshot"]["snapshot_id"] == "g1-c0"  # a rebuild leaves the target alone
    finally:
        s.stop()


def test_a_cache_directory_that_cannot_be_used_is_said_at_the_start(project, tmp_path):
    p = project()
    p.publish("r1", [("a", 1)])
    (tmp_path / "file").write_text("")
    for cache, word in ((tmp_path / "file", "OFFLOADER_CACHE_DIR"), (tmp_path / "file/below", "OFFLOADER_CACHE_DIR"), ("/proc/none", "OFFLOADER_CACHE_DIR")):
        s = Server(p.path, cache)
        s.log_path = str(tmp_path / "start.log")
        with pytest.raises(AssertionError):
            s.start()
        assert s.process.wait(30) == 1 and word in s.log()


IN_NAMESPACE = """
import sys
sys.path[:0] = {places!r}
from {module} import {name}
{name}({args})
"""


def in_mount_namespace(name, *args, module="test_cache", timeout_s=280):
    """Runs a function of this file (or of another module) as root of mount (and, for users, user) namespaces of its own."""
    here = os.path.dirname(os.path.abspath(__file__))
    script = IN_NAMESPACE.format(places=[here, os.path.join(here, "..", "long")], module=module, name=name, args=", ".join(map(repr, args)))
    unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-r", "-m"]
    for propagation in ("private", "unchanged"):  # in a plain chroot / is no mount, and has no propagation to change
        r = subprocess.run([*unshare, "--propagation", propagation, sys.executable, "-c", script], capture_output=True, text=True,
                           timeout=timeout_s, env={**os.environ, "OFFLOADER_BIN": BIN})
        if "cannot change root filesystem propagation" not in r.stderr:
            break
    for line in open("/proc/self/mounts", encoding="utf-8"):  # what reached this namespace all the same goes
        if line.split()[1].startswith(args[0]):
            subprocess.run(["umount", line.split()[1]], check=True)
    assert r.returncode == 0, r.stdout + r.stderr
    print(r.stdout)


def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True)


def grow(directory, start_kib, step_kib, limit_kib):
    """R-05: a cache on a small file system refuses a refresh until it has grown enough; what serves goes on."""
    import pathlib
    root = pathlib.Path(directory)
    (root / "cache").mkdir(parents=True)
    size = start_kib
    mount("-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(root / "cache"))
    p = Stamped(root / "project", rows=20)
    p.publish(1)
    s = Server(p.path, root / "cache", {"OFFLOADER_REFRESH_INTERVAL": "1"})
    s.log_path = str(root / "log")
    s.start()
    big = Stamped(root / "project", rows=8000)
    big.publish(2)
    refused = 0
    try:
        while True:
            r = s.post("/datasets/kv/refresh")
            for tenant in TENANTS:
                a = s.get("/v1/endpoints/kv?limit=5", token(tenant))
                assert a.status == 200 and {x["stamp"] for x in a.rows} == {2 if r.status == 200 else 1}, a.body
            if r.status == 200:
                break
            refused += 1
            d = s.dataset("kv")
            assert r.json["attempt"]["status"] == "failed" and d["refresh_error"], r.body
            assert metric(s, 'offloader_refresh_ok{dataset="kv"}') == 0
            assert not os.listdir(root / "cache/temporary"), "the failed build left something"
            size += step_kib
            assert size <= limit_kib
            mount("-o", f"remount,size={size}k", str(root / "cache"))
        assert refused > 0
        print(f"R-05: {refused} refusals from {start_kib} KiB in steps of {step_kib} KiB, taken at {size} KiB")
    finally:
        s.stop()
    s = Server(p.path, root / "cache")
    s.log_path = str(root / "log")
    s.start()
    check_rows_limited(s)
    s.stop()


def check_rows_limited(s):
    a = s.get("/v1/endpoints/kv?limit=5", token("acme"))
    assert a.status == 200 and {x["stamp"] for x in a.rows} == {2}


def test_r05_a_full_disk(tmp_path):
    in_mount_namespace("grow", str(tmp_path / "full"), 192, 64, 65536)


def test_a_cache_that_turns_read_only(tmp_path):
    """It serves on, says so, and recovers: nothing can be made or renamed for a while."""
    control = Control(tmp_path / "control")
    p = Stamped(tmp_path / "project", rows=20)
    p.publish(1)
    s = Server(p.path, tmp_path / "cache", control.env, binary=BIN + "-fault").start()
    try:
        p.swap(s, 2)
        s.post("/hold")  # no attempt writes it
        for site in ("mkdir", "rename"):
            control.fail(site, always=True, number=errno.EROFS)
        p.publish(3)
        r = s.post("/datasets/kv/refresh")
        assert r.status == 409 and r.json["attempt"]["status"] == "failed", r.body
        assert "Read-only file system" in r.json["error"]["message"]
        check_rows(s, 20, {2})
        r = s.post("/datasets/kv/rollback")  # an operator who goes back gets it, and the log tells the danger
        assert r.status == 200 and "a restart now would undo this rollback" in s.log()
        check_rows(s, 20, {1})
        control.clear()

        def is_written():
            s.post("/hold")  # what happens elsewhere wakes every dataset's thread, and puts nothing off
            return '"quarantined":"g2-c0"' in (tmp_path / "cache/snapshots/kv/index.json").read_text()

        wait_for(is_written, "the index to be written after all", 20)
        p.swap(s, 4)
        check_rows(s, 20, {4})
    finally:
        s.stop()
        control.close()


def start_read_only(directory):
    """Run in a mount namespace: a start on a read-only cache directory."""
    import pathlib
    root = pathlib.Path(directory)
    (root / "cache").mkdir(parents=True)
    mount("-t", "tmpfs", "-o", "ro", "tmpfs", str(root / "cache"))
    p = Stamped(root / "project", rows=20)
    p.publish(1)
    s = Server(p.path, root / "cache")
    s.log_path = str(root / "log")
    try:
        s.start()
    except AssertionError:
        assert s.process.wait(30) == 1 and "OFFLOADER_CACHE_DIR" in s.log() and "Read-only" in s.log(), s.log()
        return
    raise SystemExit("it started on a read-only cache directory")


def test_a_start_on_a_read_only_directory_says_why(tmp_path):
    in_mount_namespace("start_read_only", str(tmp_path / "ro"))


def test_served_ids_survive_many_restarts(warm):
    for stamp in range(3, 6):
        s = Server(warm.path, warm.cache).start()
        try:
            warm.swap(s, stamp)
        finally:
            s.stop()
    index = json.loads(open(warm.cache / "snapshots/kv/index.json").read())
    assert len(glob.glob(f"{warm.cache}/snapshots/kv/*/")) == 2 and index["active"] and index["previous"]
