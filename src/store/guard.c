/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leaving an execution from deep inside, and the SIGBUS of a file that was truncated under its map:
 * the handler looks whether this thread is executing on a store whose map holds the address, and
 * leaves that execution; any other SIGBUS is a bug and takes its default course.
 */
#include <signal.h>

#include "base/mem.h"
#include "base/timeutil.h"
#include "store/store_int.h"

#define DOUBLED_BYTES (8u << 20) /* an array grows to twice its size up to this */

static _Thread_local struct store_scratch *guarded;

void guard_enter(struct store_scratch *x)
{
    guarded = x;
}

void guard_leave(void)
{
    guarded = NULL;
}

_Noreturn void store_escape(struct store_scratch *x, enum rc rc)
{
    x->escape_rc = (int)rc;
    siglongjmp(x->escape, 1);
}

_Noreturn void store_mark_broken(struct store_scratch *x)
{
    atomic_store(&x->store->broken, true);
    store_escape(x, RC_CORRUPT);
}

void scratch_expect(struct store_scratch *x, uint64_t at, uint64_t n_bytes)
{
    if (x->only_in_memory && !store_is_in_memory(x->store, at, n_bytes))
        store_escape(x, RC_BUSY);
}

static void on_bus_error(int signal_number, siginfo_t *info, void *context)
{
    struct store_scratch *x = guarded;
    const uint8_t *at = info->si_addr;
    (void)context;
    if (x && x->store && at >= x->store->map && at < x->store->map + x->store->n_map)
        store_mark_broken(x);
    (void)signal(signal_number,
                 SIG_DFL); /* returning runs into it again, with the default action */
}

void store_install_bus_handler(void)
{
    struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_NODEFER};
    (void)sigemptyset(&action.sa_mask);     /* cannot fail */
    (void)sigaction(SIGBUS, &action, NULL); /* fails only on a bad number */
}

/* What is large leaves no copy behind in malloc's keeping, and past DOUBLED_BYTES it grows in
 * smaller steps. */
static void grow_large(struct store_scratch *x, struct array *a, size_t n_bytes)
{
    size_t grown, more = n_bytes < DOUBLED_BYTES ? n_bytes : n_bytes / 4;
    if (__builtin_add_overflow(n_bytes, more, &grown))
        store_escape(x, RC_NO_MEMORY);
    void *p = try_alloc(grown);
    if (!p)
        store_escape(x, RC_NO_MEMORY);
    if (a->n_bytes)
        memcpy(p, a->p, a->n_bytes);
    mem_free_pages(a->p, a->n_bytes);
    *a = (struct array){p, grown};
    x->is_large = true;
}

void *scratch_array(struct store_scratch *x, struct array *a, size_t n, size_t item_bytes)
{
    size_t n_bytes;
    if (__builtin_mul_overflow(n, item_bytes, &n_bytes))
        store_escape(x, RC_NO_MEMORY);
    if (n_bytes <= a->n_bytes && a->p)
        return a->p;
    size_t grown = a->n_bytes * 2 > n_bytes ? a->n_bytes * 2 : n_bytes + 64;
    if (grown > SCRATCH_KEPT_BYTES) {
        grow_large(x, a, n_bytes);
        return a->p;
    }
    void *p = try_realloc(a->p, grown);
    if (!p)
        store_escape(x, RC_NO_MEMORY);
    a->p = p;
    a->n_bytes = grown;
    return p;
}

void scratch_drop_large(struct array *a)
{
    if (a->n_bytes <= SCRATCH_KEPT_BYTES)
        return;
    mem_free_pages(a->p, a->n_bytes);
    *a = (struct array){NULL, 0};
}

void scratch_trim(struct store_scratch *x)
{
    struct array *const arrays[] = {&x->entries, &x->groups, &x->table, &x->dense,
                                    &x->states,  &x->order,  &x->values};
    for (size_t i = 0; i < ARRAY_LEN(arrays); i++)
        scratch_drop_large(arrays[i]);
    x->is_large = false;
}

void scratch_poll(struct store_scratch *x, size_t n_rows)
{
    x->rows_since_poll += n_rows;
    x->stats.rows_touched += n_rows;
    if (LIKELY(x->rows_since_poll < POLL_EVERY_ROWS) || !x->control)
        return;
    x->rows_since_poll = 0;
    if (x->control->cancelled && atomic_load_explicit(x->control->cancelled, memory_order_relaxed))
        store_escape(x, RC_CANCELLED);
    if (x->control->deadline_us && monotonic_us() > x->control->deadline_us)
        store_escape(x, RC_TIMEOUT);
}

struct store_scratch *store_scratch_new(void)
{
    return x_alloc0(sizeof(struct store_scratch));
}

void store_scratch_free(struct store_scratch *x)
{
    if (!x)
        return;
    struct array *const arrays[] = {&x->views_memory, &x->view_blocks_memory,
                                    &x->entries,      &x->groups,
                                    &x->table,        &x->dense,
                                    &x->states,       &x->order,
                                    &x->values,       &x->position};
    for (size_t i = 0; i < ARRAY_LEN(arrays); i++)
        mem_free(arrays[i]->p);
    mem_free(x);
}
