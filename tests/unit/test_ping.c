// SPDX-License-Identifier: MIT
//  Pings: read as the runtime writes them, and nothing else.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "lib/alloc.h"
#include "workers/ping.h"

static void
reads_time(const char *text, int64_t wanted)
{
    int64_t us;
    assert_int_equal(tally_ping_time(text, &us), 0);
    assert_int_equal(us, wanted);
}

static void
times_are_read_to_the_microsecond(void **state)
{
    (void)state;
    reads_time("1970-01-01T00:00:00Z", 0);
    reads_time("1970-01-01T00:00:00.1Z", 100000);
    reads_time("1970-01-01T00:00:00.000001Z", 1);
    reads_time("2024-02-29T12:34:56.789Z", 1709210096789000);
    reads_time("9999-12-31T23:59:59.999999Z", 253402300799999999);
}

static void
what_is_no_time_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "Z",
        "2026-01-31",
        "2026-01-31T23:59:59",
        "2026-01-31 23:59:59Z",
        "2026-01-31T23:59:59+01:00",
        "2026-02-30T00:00:00Z",
        "2025-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-01-31T24:00:00Z",
        "2026-01-31T23:60:00Z",
        "2026-01-31T23:59:60Z",
        "2026-01-31T23:59:59.Z",
        "2026-01-31T23:59:59.1234567Z",
        "2026-01-31T23:59:59.1Zx",
        "1969-12-31T23:59:59Z",
        "+026-01-31T23:59:59Z",
        "infinity",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        int64_t us;
        assert_int_equal(tally_ping_time(texts[i], &us), -1);
    }
}

#define PING(name, pid, at)                                                                        \
    "{\"name\":" name ",\"role\":\"export\",\"pid\":" pid ",\"host\":\"h\","                       \
    "\"started_at\":\"2026-01-31T00:00:00.000Z\",\"at\":" at "}"
#define AT "\"2026-01-31T00:01:00.000Z\""

static void
ping_is_read_with_all_it_says(void **state)
{
    (void)state;
    tally_ping_t ping;
    tally_problem_t problem;
    tally_bytes_t body = tally_bytes_of(PING("\"export-1\"", "42", AT));
    assert_int_equal(tally_ping_read(&ping, body, &problem), 0);
    assert_string_equal(ping.name, "export-1");
    assert_string_equal(ping.role, "export");
    assert_string_equal(ping.host, "h");
    assert_int_equal(ping.pid, 42);
    assert_int_equal(ping.at_us - ping.started_at_us, 60000000);
    assert_false(ping.stopped);
}

static void
last_ping_and_what_later_versions_say_is_read(void **state)
{
    (void)state;
    tally_ping_t ping;
    tally_problem_t problem;
    tally_bytes_t body = tally_bytes_of(
        "{\"stopped\":true,\"mood\":[1],\"name\":\"w\",\"role\":\"\",\"pid\":1,\"host\":\"\","
        "\"started_at\":" AT ",\"at\":" AT "}");
    assert_int_equal(tally_ping_read(&ping, body, &problem), 0);
    assert_true(ping.stopped);
}

static void
garbage_is_refused_with_a_reason(void **state)
{
    (void)state;
    static const char *const bodies[][2] = {
        {"", "JSON"},
        {"[]", "\"name\""},
        {"{}", "\"name\""},
        {PING("7", "1", AT), "\"name\""},
        {PING("\"No Name\"", "1", AT), "not a worker's name"},
        {PING("\"w\"", "0", AT), "\"pid\""},
        {PING("\"w\"", "2147483648", AT), "\"pid\""},
        {PING("\"w\"", "\"1\"", AT), "\"pid\""},
        {PING("\"w\"", "1", "\"yesterday\""), "\"at\""},
        {PING("\"w\"", "1", "null"), "\"at\""},
    };
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        tally_ping_t ping;
        tally_problem_t problem = {""};
        assert_int_equal(tally_ping_read(&ping, tally_bytes_of(bodies[i][0]), &problem), -1);
        assert_non_null(strstr(problem.text, bodies[i][1]));
    }
}

static void
host_of_255_bytes_is_read_and_of_256_refused(void **state)
{
    (void)state;
    for (int size = 255; size <= 256; size++) {
        tally_ping_t ping;
        tally_problem_t problem;
        char *body = tally_format("{\"name\":\"w\",\"role\":\"r\",\"pid\":1,\"host\":\"%0*d\","
                                  "\"started_at\":" AT ",\"at\":" AT "}",
                                  size, 0);
        int rc = tally_ping_read(&ping, tally_bytes_of(body), &problem);
        free(body);
        assert_int_equal(rc, size == 255 ? 0 : -1);
    }
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_read_to_the_microsecond),
        cmocka_unit_test(what_is_no_time_is_refused),
        cmocka_unit_test(ping_is_read_with_all_it_says),
        cmocka_unit_test(last_ping_and_what_later_versions_say_is_read),
        cmocka_unit_test(garbage_is_refused_with_a_reason),
        cmocka_unit_test(host_of_255_bytes_is_read_and_of_256_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
