/* SPDX-License-Identifier: Apache-2.0 */
/*
 * YAML and everything above it: the tree, then the readers of offloader.yml's parts. The input is
 * read as a dataset, an endpoint and a keys file in turn, next to a small valid project; every
 * finding has a code, a message and a place within the file.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "project/read.h"

#define LIMIT_BYTES ((size_t)64 << 20)

static void check_findings(const struct errlist *findings)
{
    for (size_t i = 0; i < findings->n_items; i++) {
        const struct finding *f = &findings->items[i];
        assert(f->code && f->message[0] && f->line >= 0 && f->column >= 0);
    }
}

/* Calls @read with the tree, as project_load does around its readers. */
static void with_reader(struct str text, void (*read)(struct reader *r, const struct node *root))
{
    struct errlist findings = ERRLIST_INIT;
    struct arena arena, trees;
    jmp_buf no_memory;
    arena_init(&arena, LIMIT_BYTES);
    arena_init(&trees, LIMIT_BYTES);
    struct reader r = {"file.yml", &findings, &arena, &no_memory};
    const struct node *root = yaml_parse(text, "file.yml", &trees, &findings);
    assert(root || findings.n_errors == 1);
    if (root && setjmp(no_memory) == 0)
        read(&r, root);
    check_findings(&findings);
    errlist_done(&findings);
    arena_done(&trees);
    arena_done(&arena);
}

static char kv[] = "kv", id[] = "id", number[] = "n", document[] = "doc";
static struct column columns[] = {{id, TYPE_VARCHAR}, {number, TYPE_BIGINT}, {document, TYPE_JSON}};
static struct dataset dataset = {.id = kv, .schema = {columns, 3}, .tenant_column = 0};
static struct endpoint endpoint = {.name = kv, .tenant_scoped = true};

static void read_dataset(struct reader *r, const struct node *root)
{
    struct dataset d = {0};
    dataset_read(r, root, &d);
}

static void read_endpoint(struct reader *r, const struct node *root)
{
    struct project p = {.datasets = &dataset, .n_datasets = 1};
    struct endpoint e = {0};
    endpoint_read(r, root, &p, &e);
}

static void read_keys(struct reader *r, const struct node *root)
{
    struct project p = {.endpoints = &endpoint, .n_endpoints = 1, .n_endpoint_words = 1};
    if (map_put(&p.endpoint_by_name, STR("kv"), &endpoint, NULL))
        keys_read(r, root, &p);
    map_done(&p.endpoint_by_name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str text = {(const char *)data, n};
    with_reader(text, read_dataset);
    with_reader(text, read_endpoint);
    with_reader(text, read_keys);
    return 0;
}
