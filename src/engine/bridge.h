/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DuckDB's file system for the files of snapshots: paths `offl://<source>/<n>`, read-only, nothing
 * else. bridge.cpp is the one C++ file of the program, because DuckDB has no C interface for this.
 */
#ifndef OFFLOADER_ENGINE_BRIDGE_H
#define OFFLOADER_ENGINE_BRIDGE_H

#include <duckdb.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BRIDGE_SCHEME "offl://"

#ifdef __cplusplus
extern "C" {
#endif

/* Teaches the instance the scheme. False: this DuckDB's layout is not the headers'. */
bool bridge_register(duckdb_database database);

/* `offl://<source>/<file>` and nothing after it; false for anything else. */
bool bridge_parse_path(const char *path, size_t n, uint64_t *ret_source, uint32_t *ret_file);
/* What it calls (query_source.c), on the thread that runs the query. False: there is no such file
 * among those of the query's source, or it cannot be read. */
bool bridge_file_size(uint64_t source, uint32_t file, uint64_t *ret);
bool bridge_read(uint64_t source, uint32_t file, uint64_t offset, void *to, size_t n);

#ifdef __cplusplus
}
#endif

#endif
