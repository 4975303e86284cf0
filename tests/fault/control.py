# SPDX-License-Identifier: Apache-2.0
"""Steers build/offloader-fault while it runs: see docs/design/faults.md. The layout is lane.c's."""
import errno
import mmap
import os
import re
import struct
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PAGE_BYTES = 4096
N_HEADER, N_SITE = 8, 5
SERVER, STEPS, CRASH_AT, ENV_TAKEN, WALL_SHIFT, HELD_SITE, HELD_CALL = 1, 2, 3, 4, 5, 6, 7
CALLS, FROM, UNTIL, ERRNO, FAILED = range(5)
FOR_GOOD = 2**64 - 1
SHORT = 2**64 - 1

with open(os.path.join(HERE, "sites.h"), encoding="utf-8") as f:
    ERRNOS = {site: [n for n in names.split(", ") if n != "0"] for site, names in re.findall(r"^SITE\((\w+), (.*)\)", f.read(), re.M)}
SITES = list(ERRNOS)


def errno_of(name):
    return SHORT if name == "SHORT" else getattr(errno, name)


class Control:
    """One page of counters and orders, shared with every process that was started with .env."""

    def __init__(self, path):
        self.path = str(path)
        with open(self.path, "wb") as f:
            f.write(bytes(PAGE_BYTES))
        self.file = open(self.path, "r+b")
        self.page = mmap.mmap(self.file.fileno(), PAGE_BYTES)

    @property
    def env(self):
        return {"OFFLOADER_FAULT_CONTROL": self.path}

    def close(self):
        self.page.close()
        self.file.close()

    def _get(self, at):
        return struct.unpack_from("=Q", self.page, 8 * at)[0]

    def _set(self, at, value):
        struct.pack_into("=Q", self.page, 8 * at, value)

    def _site(self, site, field):
        return N_HEADER + N_SITE * SITES.index(site) + field

    def calls(self, site):
        return self._get(self._site(site, CALLS))

    def failed(self, site):
        return self._get(self._site(site, FAILED))

    @property
    def steps(self):
        """Changes of the disk so far, of the server and its children."""
        return self._get(STEPS)

    def fail(self, site, nth=1, always=False, number=0):
        """The nth call of @site from now fails, once or from then on. number 0: a fitting errno."""
        first = self.calls(site) + nth
        self._set(self._site(site, ERRNO), number)
        self._set(self._site(site, UNTIL), FOR_GOOD if always else first)
        self._set(self._site(site, FROM), first)

    def crash(self, nth):
        """kill -9 of the server (and the child that made it) right after the nth step from now."""
        self._set(CRASH_AT, self.steps + nth)

    def shift(self, seconds):
        """The server's wall clock is this much ahead of the machine's (behind: negative)."""
        self._set(WALL_SHIFT, int(seconds) % 2**64)

    def wall(self):
        """What the server's wall clock shows now, in seconds."""
        return time.time() + struct.unpack_from("=q", self.page, 8 * WALL_SHIFT)[0]

    def hold(self, site, nth):
        """The nth call of @site from now lasts until clear()."""
        self._set(HELD_CALL, self.calls(site) + nth)
        self._set(HELD_SITE, SITES.index(site) + 1)

    @property
    def holds(self):
        """Is a call being held?"""
        return self._get(HELD_SITE) != 0 and self._get(HELD_CALL) == 0

    def clear(self):
        self._set(CRASH_AT, 0)
        self._set(HELD_SITE, 0)
        for site in SITES:
            self._set(self._site(site, FROM), 0)
