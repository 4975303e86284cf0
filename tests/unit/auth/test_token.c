/* SPDX-License-Identifier: Apache-2.0 */
/* Authorization headers against keys, with and without a connection's memory. */
#include "auth/token.h"
#include "base/hash.h"
#include "unit.h"

#define NOW_US 1000000

static struct project project_with(struct key *keys, size_t n, uint32_t *slots, size_t n_slots)
{
    memset(slots, 0, n_slots * sizeof *slots);
    for (size_t i = 0; i < n; i++) {
        uint64_t at;
        memcpy(&at, keys[i].digest, sizeof at);
        for (at &= n_slots - 1; slots[at]; at = (at + 1) & (n_slots - 1))
            continue;
        slots[at] = (uint32_t)i + 1;
    }
    return (struct project){.keys = keys, .n_keys = n, .key_slots = slots, .n_key_slots = n_slots};
}

static struct key key_of(const char *token, enum key_status status, int64_t expires_at_us)
{
    struct key k = {
        .status = status, .has_expiry = expires_at_us != 0, .expires_at_us = expires_at_us};
    sha256(token, strlen(token), k.digest);
    return k;
}

static void test_headers(void **state)
{
    (void)state;
    struct key keys[] = {
        key_of("good", KEY_ACTIVE, 0),      key_of("revoked", KEY_REVOKED, 0),
        key_of("past", KEY_ACTIVE, NOW_US), key_of("future", KEY_ACTIVE, NOW_US + 1),
        key_of("a,b", KEY_ACTIVE, 0),       key_of("", KEY_ACTIVE, 0)};
    uint32_t slots[16];
    struct project p = project_with(keys, ARRAY_LEN(keys), slots, ARRAY_LEN(slots));
    static const struct {
        const char *why, *header;
        int want; /* index, -1: refused */
    } rows[] = {
        {"as it should be", "Bearer good", 0},
        {"the scheme's case is free", "bEARER good", 0},
        {"spaces between are one", "Bearer   good", 0},
        {"revoked", "Bearer revoked", -1},
        {"expired to the microsecond", "Bearer past", -1},
        {"not yet expired", "Bearer future", 3},
        {"unknown", "Bearer nope", -1},
        {"the token's case is not free", "Bearer GOOD", -1},
        {"no scheme", "good", -1},
        {"another scheme", "Basic good", -1},
        {"no token", "Bearer ", -1},
        {"only the scheme", "Bearer", -1},
        {"two tokens", "Bearer good good", -1},
        {"a comma", "Bearer a,b", -1},
        {"a tab", "Bearer\tgood", -1},
        {"a byte above 126", "Bearer good\x80", -1},
        {"empty", "", -1},
    };
    struct token_memo memo = {.is_set = false};
    for (int with_memo = 0; with_memo < 2; with_memo++)
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
            const struct key *k =
                token_authenticate(&p, str_from(rows[i].header), with_memo ? &memo : NULL, NOW_US);
            CHECK_INT(rows[i].why, k ? k - keys : -1, rows[i].want);
        }
    assert_null(token_authenticate(&p, (struct str){NULL, 0}, &memo, NOW_US));
}

/* What a connection remembers saves a SHA-256 and decides nothing: every request asks the current
 * keys. */
static void test_memo(void **state)
{
    (void)state;
    struct key keys[] = {key_of("first", KEY_ACTIVE, 0), key_of("second", KEY_ACTIVE, 0)};
    uint32_t slots[8];
    struct project p = project_with(keys, 2, slots, 8),
                   empty = project_with(NULL, 0, (uint32_t[8]){0}, 8);
    struct token_memo memo = {.is_set = false};
    assert_ptr_equal(token_authenticate(&p, STR("Bearer first"), &memo, NOW_US), &keys[0]);
    assert_true(memo.is_set);
    assert_ptr_equal(token_authenticate(&p, STR("Bearer first"), &memo, NOW_US), &keys[0]);
    assert_ptr_equal(token_authenticate(&p, STR("Bearer second"), &memo, NOW_US), &keys[1]);
    assert_null(token_authenticate(&p, STR("Bearer secone"), &memo, NOW_US));
    assert_ptr_equal(token_authenticate(&p, STR("Bearer first"), &memo, NOW_US), &keys[0]);
    keys[0].status = KEY_REVOKED;
    assert_null(token_authenticate(&p, STR("Bearer first"), &memo, NOW_US));
    assert_null(token_authenticate(&empty, STR("Bearer first"), &memo, NOW_US));
}

static void test_lengths(void **state)
{
    (void)state;
    static char header[LIMIT_TOKEN_BYTES + 16] = "Bearer ";
    memset(header + 7, 'a', LIMIT_TOKEN_BYTES + 1);
    struct key k;
    memset(&k, 0, sizeof k);
    sha256(header + 7, LIMIT_TOKEN_BYTES, k.digest);
    uint32_t slots[4];
    struct project p = project_with(&k, 1, slots, 4);
    assert_ptr_equal(
        token_authenticate(&p, (struct str){header, LIMIT_TOKEN_BYTES + 7}, NULL, NOW_US), &k);
    assert_null(token_authenticate(&p, (struct str){header, LIMIT_TOKEN_BYTES + 8}, NULL, NOW_US));
}

static void test_admin_token(void **state)
{
    (void)state;
    const char *secret = "the-admin-token-0";
    assert_true(token_equals(STR("Bearer the-admin-token-0"), secret));
    assert_true(token_equals(STR("bearer the-admin-token-0"), secret));
    static const char *const wrong[] = {"Bearer the-admin-token-",
                                        "Bearer the-admin-token-01",
                                        "Bearer the-admin-token-1",
                                        "the-admin-token-0",
                                        "Bearer ",
                                        "",
                                        "Basic the-admin-token-0"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        CHECK(wrong[i], !token_equals(str_from(wrong[i]), secret));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_memo),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_admin_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
