// SPDX-License-Identifier: MIT
//  keyring: whose key it is, until when, and which listeners it opens.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "broker/keyring.h"
#include "lib/alloc.h"

//  Keys are texts here: the keyring does not decode them.
#define KEY_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define KEY_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define KEY_C "cccccccccccccccccccccccccccccccccccccccc"

static int
set_up(void **state)
{
    *state = tally_keyring_new();
    return 0;
}

static int
tear_down(void **state)
{
    tally_keyring_destroy((tally_keyring_t **)state);
    return 0;
}

static tally_principal_t
principal(const char *key, unsigned rights, const char *tenant, int64_t dies_at_ms)
{
    tally_principal_t one = {.role = TALLY_PRINCIPAL_CLIENT,
                             .rights = rights,
                             .queues = {.all = true},
                             .dies_at_ms = dies_at_ms};
    memcpy(one.key, key, sizeof one.key);
    const tally_bytes_t name = tally_bytes_of(tenant);
    tally_scope_set(&one.tenants, &name, 1);
    tally_principal_seal(&one);
    return one;
}

static void
put(tally_keyring_t *ring, const tally_principal_t *principals, size_t count, int64_t now_ms)
{
    tally_principal_t *list = tally_alloc_array(count, sizeof *list);
    for (size_t i = 0; i < count; i++) {
        list[i] = principals[i];
    }
    tally_keyring_replace(ring, list, count, now_ms);
}

static bool
admits(tally_keyring_t *ring, const char *key, const char *domain)
{
    return tally_keyring_admits(ring, key, tally_bytes_of(domain), 0);
}

static void
an_empty_keyring_admits_nobody_anywhere(void **state)
{
    static const char *const domains[] = {"front", "sink", "feed", ("lane:" KEY_A),
                                          "feed:", "",     "x"};
    for (size_t i = 0; i < sizeof domains / sizeof domains[0]; i++) {
        assert_false(admits(*state, KEY_A, domains[i]));
    }
    assert_null(tally_keyring_find(*state, KEY_A, 0));
    assert_null(tally_keyring_find(*state, "", 0));
}

static void
a_key_opens_the_listeners_of_its_rights_alone(void **state)
{
    tally_keyring_t *ring = *state;
    const tally_principal_t list[] = {
        principal(KEY_A, TALLY_RIGHT_SEND, "acme", INT64_MAX),
        principal(KEY_B, TALLY_RIGHT_WORK, "*", INT64_MAX),
    };
    put(ring, list, 2, 0);
    char own[TALLY_DOMAIN_BYTES_MAX], whole[TALLY_DOMAIN_BYTES_MAX];
    snprintf(own, sizeof own, "feed:%s", tally_keyring_find(ring, KEY_A, 0)->mark);
    snprintf(whole, sizeof whole, "feed:%s", tally_keyring_find(ring, KEY_B, 0)->mark);
    const struct {
        const char *domain;
        bool a, b;
    } rows[] = {
        {"front", true, true},        {"sink", false, true},
        {"feed", false, true},        {"lane:" KEY_A, false, false},
        {"lane:" KEY_B, false, true}, {"lane:", false, false},
        {own, true, false},           {whole, false, true},
        {"feed:", false, false},      {"fron", false, false},
        {"front ", false, false},     {"", false, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(admits(ring, KEY_A, rows[i].domain), rows[i].a);
        assert_int_equal(admits(ring, KEY_B, rows[i].domain), rows[i].b);
        assert_false(admits(ring, KEY_C, rows[i].domain));
    }
}

static void
a_key_ends_at_its_time_and_not_before(void **state)
{
    tally_keyring_t *ring = *state;
    const tally_principal_t one = principal(KEY_A, TALLY_RIGHT_SEND, "acme", 1000);
    put(ring, &one, 1, 0);
    assert_non_null(tally_keyring_find(ring, KEY_A, 999));
    assert_null(tally_keyring_find(ring, KEY_A, 1000));
    assert_true(tally_keyring_admits(ring, KEY_A, tally_bytes_of("front"), 999));
    assert_false(tally_keyring_admits(ring, KEY_A, tally_bytes_of("front"), 1000));
}

static void
what_is_taken_away_counts_as_a_loss_once(void **state)
{
    tally_keyring_t *ring = *state;
    tally_principal_t list[] = {principal(KEY_A, TALLY_RIGHT_SEND, "acme", INT64_MAX),
                                principal(KEY_B, TALLY_RIGHT_SEND, "acme", 1000)};
    put(ring, list, 2, 0);
    uint64_t before = tally_keyring_losses(ring, 0);
    list[0] = principal(KEY_A, TALLY_RIGHT_SEND, "acme", INT64_MAX);
    list[1] = principal(KEY_B, TALLY_RIGHT_SEND, "acme", 1000);
    put(ring, list, 2, 10);
    assert_int_equal(tally_keyring_losses(ring, 999), before);    // the same as before
    assert_int_equal(tally_keyring_losses(ring, 1000), before + 1);
    assert_int_equal(tally_keyring_losses(ring, 2000), before + 1);
    const tally_principal_t narrower = principal(KEY_A, TALLY_RIGHT_SEND, "beta", INT64_MAX);
    put(ring, &narrower, 1, 3000);
    assert_int_equal(tally_keyring_losses(ring, 3000), before + 2);
    put(ring, NULL, 0, 4000);
    assert_int_equal(tally_keyring_losses(ring, 4000), before + 3);
    assert_null(tally_keyring_find(ring, KEY_A, 4000));
}

static void
a_key_that_comes_twice_is_nobodys(void **state)
{
    tally_keyring_t *ring = *state;
    const tally_principal_t list[] = {principal(KEY_A, TALLY_RIGHT_SEND, "acme", INT64_MAX),
                                      principal(KEY_A, TALLY_RIGHTS_ALL, "*", INT64_MAX)};
    put(ring, list, 2, 0);
    assert_null(tally_keyring_find(ring, KEY_A, 0));
    assert_false(admits(ring, KEY_A, "front"));
}

static void
a_probe_gets_into_the_front_and_is_nobody(void **state)
{
    tally_keyring_t *ring = *state;
    tally_keyring_set_probe(ring, KEY_C);
    assert_true(admits(ring, KEY_C, "front"));
    assert_false(admits(ring, KEY_C, "sink"));
    assert_false(admits(ring, KEY_C, "feed"));
    assert_null(tally_keyring_find(ring, KEY_C, 0));
    tally_keyring_set_probe(ring, NULL);
    assert_false(admits(ring, KEY_C, "front"));
    assert_false(admits(ring, "", "front"));
}

static void
a_scope_has_its_names_and_no_others(void **state)
{
    (void)state;
    tally_scope_t scope = {0};
    const tally_bytes_t names[] = {tally_bytes_of("beta"), tally_bytes_of("acme.eu"),
                                   tally_bytes_of("acme"), tally_bytes_of("acme")};
    tally_scope_set(&scope, names, 4);
    assert_int_equal(scope.count, 3);
    for (size_t i = 0; i < 4; i++) {
        assert_true(tally_scope_has(&scope, names[i]));
    }
    static const char *const others[] = {"", "acm", "acme.", "acme.eu2", "bet", "zulu", "*"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_false(tally_scope_has(&scope, tally_bytes_of(others[i])));
    }
    const tally_bytes_t with_star[] = {tally_bytes_of("acme"), tally_bytes_of("*")};
    tally_scope_set(&scope, with_star, 2);
    assert_true(scope.all);
    assert_true(tally_scope_has(&scope, tally_bytes_of("whoever")));
    tally_scope_free(&scope);
    assert_false(tally_scope_has(&scope, tally_bytes_of("")));
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_empty_keyring_admits_nobody_anywhere, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_key_opens_the_listeners_of_its_rights_alone, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_key_ends_at_its_time_and_not_before, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_taken_away_counts_as_a_loss_once, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_key_that_comes_twice_is_nobodys, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_probe_gets_into_the_front_and_is_nobody, set_up,
                                        tear_down),
        cmocka_unit_test(a_scope_has_its_names_and_no_others),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
