# SPDX-License-Identifier: Apache-2.0
"""R-03 and R-04: every system call and every allocation of the eight scenarios of tests/fault fails."""
import concurrent.futures
import os
import re
import subprocess
import sys

from conftest import BIN, ROOT
from rows import SHARE

WORKERS = 2
# Name and in how many parts: the long ones first.
R03 = {"bucket": 4, "cold_start": 4, "query": 2, "cutover": 2, "warm_start": 2, "refresh": 1, "refused": 1, "rollback": 1}
R04 = {"cold_start": 2, "bucket": 2, "cutover": 1, "query": 1, "warm_start": 1, "refresh": 1, "refused": 1, "rollback": 1}
ASAN_BUILD = os.path.join(ROOT, "build-asan")
# A small quarantine: freed memory that AddressSanitizer keeps would be taken for growth.
SANITIZERS = {"ASAN_OPTIONS": "detect_leaks=1:quarantine_size_mb=4", "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"}


def run(row, name, part, **env):
    """(the line it prints, what went wrong)"""
    trials = "all" if SHARE == 1 else str(int(300 * SHARE))
    r = subprocess.run([sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", os.path.join(ROOT, "tests/fault/test_faults.py"),
                        "-k", f"{row} and {name}"],
                       env={**os.environ, "OFFLOADER_BIN": BIN, "OFFLOADER_FAULT_TRIALS": trials, "OFFLOADER_FAULT_PART": part, **env},
                       capture_output=True, text=True)
    line = "\n".join(x.lstrip(".") for x in r.stdout.splitlines() if x.lstrip(".").startswith("R-0"))
    wrong = "" if r.returncode == 0 else r.stdout[:6000]
    print(f"{line} (part {part}){wrong}", flush=True)
    return line, wrong


def run_all(row, parts, **env):
    jobs = [(row, name, f"{i + 1}/{n}") for name, n in parts.items() for i in range(n)]
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        done = list(pool.map(lambda job: run(*job, **env), jobs))
    tried, met = (sum(int(n) for line, _ in done for n in re.findall(pattern, line)) for pattern in (r"(\d+) trials", r"(\d+) met"))
    wrong = [text for _, text in done if text]
    print(f"R-{row[1:]}: {tried} trials in {len(parts)} scenarios, {met} met their fault, {len(wrong)} of {len(jobs)} parts with a wrong outcome")
    assert not wrong, "\n".join(wrong)


def test_r03_every_system_call():
    run_all("r03", R03)


def test_r04_every_allocation():
    """With AddressSanitizer and its leak check, in the build directory of `make test-asan`."""
    if not os.path.exists(os.path.join(ASAN_BUILD, "build.ninja")):
        subprocess.run(["meson", "setup", ASAN_BUILD, "-Db_sanitize=address,undefined", "-Db_lundef=false"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", ASAN_BUILD, "offloader", "offloader-fault", "offloader-engine.so"], check=True, stdout=subprocess.DEVNULL)
    run_all("r04", R04, OFFLOADER_BIN=os.path.join(ASAN_BUILD, "offloader"), **SANITIZERS)


def test_r04_allocations_of_a_steady_request():
    r = subprocess.run([sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", os.path.join(ROOT, "tests/fault/test_allocations.py")],
                       env={**os.environ, "OFFLOADER_BIN": BIN}, capture_output=True, text=True)
    print("R-04:", "; ".join(x.lstrip(".") for x in r.stdout.splitlines() if "allocations in" in x))
    assert r.returncode == 0, r.stdout[-4000:]
