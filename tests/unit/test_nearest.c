// SPDX-License-Identifier: MIT
//  nearest: finds the word that was meant, and says nothing when it cannot know.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/limits.h"
#include "lib/nearest.h"

static const char *const words[] = {"front", "sink", "feed", "lanes", "statistics", "db"};

static const char *
nearest(const char *word)
{
    return tally_nearest(tally_bytes_of(word), words, sizeof words / sizeof words[0]);
}

static void
one_or_two_edits_are_forgiven(void **state)
{
    (void)state;
    assert_string_equal(nearest("frnt"), "front");
    assert_string_equal(nearest("fornt"), "front");
    assert_string_equal(nearest("statistcs"), "statistics");
    assert_string_equal(nearest("statisticss"), "statistics");
    assert_string_equal(nearest("sttaistisc"), "statistics");
    assert_string_equal(nearest("sink"), "sink");
}

static void
more_than_two_edits_or_half_the_word_are_not(void **state)
{
    (void)state;
    assert_null(nearest("statis"));
    assert_null(nearest("fr"));
    assert_null(nearest("xb"));
    assert_null(nearest(""));
}

static void
the_nearer_word_wins_over_the_earlier(void **state)
{
    (void)state;
    static const char *const two[] = {"queues", "queue"};
    assert_string_equal(tally_nearest(tally_bytes_of("queu"), two, 2), "queue");
}

static void
words_longer_than_a_name_are_left_alone(void **state)
{
    (void)state;
    char name[TALLY_NAME_BYTES_MAX + 2];
    memset(name, 'a', sizeof name);
    name[sizeof name - 1] = '\0';
    const char *known = name;
    const char *limit = name + 1;    // one byte shorter: at the limit
    assert_null(tally_nearest(tally_bytes_of(name), &known, 1));
    assert_ptr_equal(tally_nearest(tally_bytes_of(limit), &limit, 1), limit);
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_or_two_edits_are_forgiven),
        cmocka_unit_test(more_than_two_edits_or_half_the_word_are_not),
        cmocka_unit_test(the_nearer_word_wins_over_the_earlier),
        cmocka_unit_test(words_longer_than_a_name_are_left_alone),
    };
    return cmocka_run_group_tests_name("nearest", tests, NULL, NULL);
}
