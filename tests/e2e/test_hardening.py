# SPDX-License-Identifier: Apache-2.0
"""S-14: what the toolchain can do against memory errors is in the binaries that are shipped."""
import os
import subprocess

import pytest
from conftest import BIN

PROGRAM = BIN
ENGINE = os.path.join(os.path.dirname(BIN), "offloader-engine.so")


def readelf(*arguments):
    return subprocess.run(["readelf", "-W", *arguments], capture_output=True, text=True, check=True).stdout


@pytest.fixture(params=[PROGRAM, ENGINE], ids=["program", "engine"])
def binary(request):
    return request.param


def imports(binary):
    return {line.split()[7].split("@")[0] for line in readelf("--dyn-syms", binary).splitlines()
            if " UND " in line and len(line.split()) > 7}


def test_position_independent():
    assert "Type:                              DYN" in readelf("-h", PROGRAM)
    assert "PIE" in readelf("-d", PROGRAM)


def test_read_only_after_relocation(binary):
    assert "GNU_RELRO" in readelf("-l", binary)
    dynamic = readelf("-d", binary)
    assert "NOW" in dynamic and "TEXTREL" not in dynamic


def test_no_executable_stack_and_no_writable_code(binary):
    for line in readelf("-l", binary).splitlines():
        words = line.split()
        if words[:1] == ["GNU_STACK"]:
            assert "E" not in words[6:-1], line
        if words[:1] == ["LOAD"]:
            assert not ("W" in words[6:-1] and "E" in words[6:-1]) and "RWE" not in line, line


def test_stack_canaries(binary):
    assert "__stack_chk_fail" in imports(binary)


def test_fortified_or_sanitized(binary):
    names = imports(binary)
    sanitized = any(n.startswith(("__asan_", "__tsan_")) for n in names)
    assert sanitized or any(n.endswith("_chk") and n != "__stack_chk_fail" for n in names)


def test_the_program_is_found_without_a_search_path():
    dynamic = readelf("-d", PROGRAM)
    assert "RPATH" not in dynamic and "RUNPATH" not in dynamic
