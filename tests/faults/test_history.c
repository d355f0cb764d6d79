// SPDX-License-Identifier: MIT
//  history: what survives a kill, what a torn end looks like, bodies.

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/alloc.h"
#include "tests/faults/history.h"

#define MANY 20000    // more than fits into one mapping

struct fixture {
    char directory[64];
    char *path;    // of this process's own file
    tally_history_t *history;
    tally_history_file_t file;
};

static int
setup(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    const char *tmp = getenv("TMPDIR");
    snprintf(f->directory, sizeof f->directory, "%s/tally-history-XXXXXX",
             tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(f->directory) == NULL) {
        return -1;
    }
    f->path = tally_format("%s/client.7.history", f->directory);
    f->history = tally_history_open(f->directory, "client", 7, TALLY_WRITER_CLIENT);
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    tally_history_close(&f->history);
    tally_history_file_close(&f->file);
    DIR *listing = opendir(f->directory);
    for (struct dirent *entry; listing != NULL && (entry = readdir(listing)) != NULL;) {
        unlinkat(dirfd(listing), entry->d_name, 0);
    }
    closedir(listing);
    rmdir(f->directory);
    free(f->path);
    free(f);
    return 0;
}

static void
add_sends(tally_history_t *history, uint64_t count)
{
    for (uint64_t n = 1; n <= count; n++) {
        tally_history_add(history, &(tally_history_record_t){.kind = TALLY_DID_SEND,
                                                             .number = tally_history_number(7, n),
                                                             .queue = 3});
    }
}

static void
must_open(struct fixture *f, const char *path)
{
    const char *why = NULL;
    if (tally_history_file_open(&f->file, path, &why) == -1) {
        fail_msg("%s: %s", path, why);
    }
}

static void
must_refuse(struct fixture *f, const char *text)
{
    const char *why = NULL;
    assert_int_equal(tally_history_file_open(&f->file, f->path, &why), -1);
    assert_string_equal(why, text);
}

//  Overwrites a part of the closed file.
static void
spoil(struct fixture *f, off_t at, const void *bytes, size_t count)
{
    int file = open(f->path, O_RDWR);
    assert_int_not_equal(file, -1);
    assert_int_equal(pwrite(file, bytes, count, at), (ssize_t)count);
    close(file);
}

static void
what_was_added_is_read_in_order_with_its_times(void **state)
{
    struct fixture *f = *state;
    add_sends(f->history, MANY);
    tally_history_close(&f->history);
    must_open(f, f->path);
    assert_int_equal(f->file.count, MANY + 1);
    assert_int_equal(f->file.process, 7);
    assert_int_equal(f->file.writer, TALLY_WRITER_CLIENT);
    assert_string_equal(f->file.name, "client");
    assert_false(f->file.torn);
    for (size_t n = 1; n <= MANY; n++) {
        const tally_history_record_t *record = &f->file.records[n];
        assert_int_equal(record->number, tally_history_number(7, n));
        assert_int_equal(record->queue, 3);
        assert_true(record->at_ns >= record[-1].at_ns);
    }
}

static void
a_killed_process_leaves_all_that_it_recorded(void **state)
{
    struct fixture *f = *state;
    pid_t child = fork();
    if (child == 0) {
        tally_history_t *history = tally_history_open(f->directory, "victim", 8,
                                                      TALLY_WRITER_CLIENT);
        add_sends(history, MANY);
        raise(SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    char *path = tally_format("%s/victim.8.history", f->directory);
    must_open(f, path);
    free(path);
    assert_int_equal(f->file.count, MANY + 1);
    assert_false(f->file.torn);
}

static void
a_live_file_can_be_read(void **state)
{
    struct fixture *f = *state;
    add_sends(f->history, 3);
    must_open(f, f->path);
    assert_int_equal(f->file.count, 4);
    assert_false(f->file.torn);
}

static void
a_torn_last_record_is_left_out_and_said(void **state)
{
    struct fixture *f = *state;
    add_sends(f->history, 3);
    tally_history_close(&f->history);
    spoil(f, 3 * 64 + 16, "torn", 4);
    must_open(f, f->path);
    assert_int_equal(f->file.count, 3);
    assert_true(f->file.torn);
}

static void
a_last_record_without_its_end_is_torn(void **state)
{
    struct fixture *f = *state;
    add_sends(f->history, 3);
    tally_history_close(&f->history);
    assert_int_equal(truncate(f->path, 3 * 64 + 20), 0);
    must_open(f, f->path);
    assert_int_equal(f->file.count, 3);
    assert_true(f->file.torn);
}

static void
a_broken_record_in_the_middle_is_refused(void **state)
{
    struct fixture *f = *state;
    add_sends(f->history, 9);
    tally_history_close(&f->history);
    spoil(f, 3 * 64 + 16, "torn", 4);
    must_refuse(f, "something stands behind a record that is broken");
}

static void
what_is_no_history_is_refused(void **state)
{
    struct fixture *f = *state;
    tally_history_close(&f->history);
    spoil(f, 0, "nothing of that kind", 20);
    must_refuse(f, "it does not begin as a history does");
    assert_int_equal(unlink(f->path), 0);
    must_refuse(f, "it cannot be opened");
}

static void
who_was_killed_before_it_began_has_no_records(void **state)
{
    struct fixture *f = *state;
    tally_history_close(&f->history);
    for (off_t size = 0; size <= 4096; size += 4096) {
        assert_int_equal(truncate(f->path, 0), 0);
        assert_int_equal(truncate(f->path, size), 0);
        must_open(f, f->path);
        assert_int_equal(f->file.count, 0);
    }
}

static void
names_are_kept_whole_at_their_longest(void **state)
{
    struct fixture *f = *state;
    const char *longest = "0123456789abcdef0123456789abcdef";
    tally_history_name(f->history, TALLY_NAMED_SENDER, 7, longest);
    must_open(f, f->path);
    assert_int_equal(f->file.records[1].code, TALLY_NAMED_SENDER);
    assert_int_equal(f->file.records[1].item, 7);
    assert_memory_equal(f->file.records[1].text, longest, TALLY_HISTORY_TEXT_BYTES);
}

static void
a_body_says_whose_it_is_and_whether_it_was_changed(void **state)
{
    (void)state;
    uint8_t body[100];
    tally_history_record_t send = {.number = tally_history_number(7, 11),
                                   .tenant = 2,
                                   .queue = 3,
                                   .key = 4};
    tally_history_body_write(body, sizeof body, &send);
    tally_history_record_t got = {.tenant = 2, .queue = 3};
    tally_history_body_read((tally_bytes_t){body, sizeof body}, &got);
    assert_int_equal(got.number, send.number);
    assert_int_equal(got.key, 4);
    assert_int_equal(got.code, TALLY_BODY_INTACT);

    got.tenant = 1;
    tally_history_body_read((tally_bytes_t){body, sizeof body}, &got);
    assert_int_equal(got.code, TALLY_BODY_CHANGED);
    assert_int_equal(got.number, send.number);

    got.tenant = 2;
    tally_history_body_read((tally_bytes_t){body, sizeof body - 1}, &got);
    assert_int_equal(got.code, TALLY_BODY_CHANGED);
    body[99] ^= 1;
    tally_history_body_read((tally_bytes_t){body, sizeof body}, &got);
    assert_int_equal(got.code, TALLY_BODY_CHANGED);
    tally_history_body_read((tally_bytes_t){NULL, 0}, &got);
    assert_int_equal(got.code, TALLY_BODY_CHANGED);
    assert_int_equal(got.number, 0);
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    alarm(10);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_added_is_read_in_order_with_its_times, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_killed_process_leaves_all_that_it_recorded, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_live_file_can_be_read, setup, teardown),
        cmocka_unit_test_setup_teardown(a_torn_last_record_is_left_out_and_said, setup, teardown),
        cmocka_unit_test_setup_teardown(a_last_record_without_its_end_is_torn, setup, teardown),
        cmocka_unit_test_setup_teardown(a_broken_record_in_the_middle_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_history_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(who_was_killed_before_it_began_has_no_records, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(names_are_kept_whole_at_their_longest, setup, teardown),
        cmocka_unit_test_setup_teardown(a_body_says_whose_it_is_and_whether_it_was_changed, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
