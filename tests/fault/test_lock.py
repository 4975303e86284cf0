# SPDX-License-Identifier: Apache-2.0
"""The lock of a cache directory outlives a killed server while a child that it forked has not begun its
program: the next start waits for it instead of giving up."""
import fcntl

from conftest import whole_program


def test_a_start_waits_for_a_lock_that_is_let_go(tmp_path, project, control):
    p = project()
    p.publish("s1", [("a", 1)])
    (tmp_path / "cache").mkdir()
    server = whole_program.Server(p.path, tmp_path / "cache", control.env)
    with open(tmp_path / "cache/lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        server.launch()
        whole_program.wait_for(lambda: control.calls("flock") >= 2, "a second try")
    try:
        whole_program.wait_for(server.is_live, "the start")
        whole_program.wait_for(lambda: server.admin("/ready").status == 200, "readiness")
    finally:
        server.stop()
