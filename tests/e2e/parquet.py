# SPDX-License-Identifier: Apache-2.0
"""Parquet files for tests, written by the DuckDB library that the engine uses."""
import ctypes
import functools
import os
import tempfile

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))


class _Database:
    def __init__(self):
        self.lib = ctypes.CDLL(os.path.join(ROOT, ".deps", "duckdb", "lib", "libduckdb.so"))
        database, self.connection = ctypes.c_void_p(), ctypes.c_void_p()
        assert self.lib.duckdb_open(None, ctypes.byref(database)) == 0
        assert self.lib.duckdb_connect(database, ctypes.byref(self.connection)) == 0
        self.lib.duckdb_result_error.restype = ctypes.c_char_p

    def run(self, sql):
        result = ctypes.create_string_buffer(256)
        state = self.lib.duckdb_query(self.connection, sql.encode(), result)
        error = self.lib.duckdb_result_error(result)
        self.lib.duckdb_destroy_result(result)
        assert state == 0, error


@functools.cache
def _database():
    return _Database()


def write(path, select, options=""):
    _database().run(f"COPY ({select}) TO '{path}' (FORMAT parquet{options})")


@functools.cache
def parquet(select, options=""):
    """The bytes of a Parquet file with the rows of @select."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "f.parquet")
        write(path, select, options)
        with open(path, "rb") as f:
            return f.read()
