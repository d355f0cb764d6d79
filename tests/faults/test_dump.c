// SPDX-License-Identifier: MIT
//  dump: rows of a real database become records, of the run's queues, tenants and senders alone.

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/alloc.h"
#include "tests/faults/dump.h"
#include "tests/faults/history_set.h"
#include "tests/integration/pg.h"

#define SENDER "0123456789abcdef0123456789abcdef"

struct fixture {
    char directory[64];
    tally_pg_t *pg;
    const char *conninfo;
    tally_db_t *db;
    tally_history_t *client;
    tally_history_set_t *set;
    const tally_history_file_t *rows;    // the dump
    char *why;
};

//  Bodies as tally_history_body_write() makes them, as far as the dump looks.
static const char *const scene_sql =
    "create function body(number bigint) returns bytea language sql return"
    " '\\x54464831'::bytea || decode(lpad(to_hex(number), 16, '0'), 'hex') || decode(repeat('00', "
    "20), 'hex');"
    "insert into tally.tenant (id, name) values (7, 'acme'), (8, 'stranger');"
    "insert into tally.queue (id, name) overriding system value values (101, 'orders'), (102, "
    "'elsewhere');"
    "insert into tally.message (tenant, id, queue, is_blob, body, failures) values"
    " (7, 11, 101, false, body(1099511627777), 300), (7, 12, 101, true, '', 1),"
    " (7, 13, 101, false, 'short', 0), (8, 14, 101, false, body(14), 0), (7, 15, 102, false, "
    "body(15), 0);"
    "insert into tally.blob (tenant, id, body) values (7, 12, body(-2));"
    "insert into tally.dead_letter (tenant, id, queue, priority, is_blob, created_at, reason, "
    "history,"
    " deliveries, failures, crashes, body) values (7, 16, 101, 1, false, now(), 'why', '{}', 3, 1, "
    "2, body(16));"
    "insert into tally.inbox (tenant, queue, priority, body) values (7, 101, 1, body(17)), (8, "
    "101, 1, body(18));"
    "insert into tally.lease (id, tenant, queue, worker, deadline, messages) values"
    " (500, 7, 101, 1, now(), '{11}'), (501, 7, 102, 1, now(), '{15}');"
    "insert into tally.term (queue, tenant, epoch, worker, worker_name) values (101, 7, 9, 1, 'w');"
    "insert into tally.sender (id, last, missing) values ('" SENDER
    "', 40, '{3,5}'), (gen_random_uuid(), 9, '{1}');"
    "insert into tally.result (sender, sequence, item, tenant, outcome, body, until) values"
    " ('" SENDER "', 6, 2, 7, 1, '', now());"
    "update tally.broker set epoch = 77;"
    "insert into faults.effect (number, id, lease, epoch, process, tenant, queue, key) values"
    " (1099511627777, 11, 500, 9, 4, 1, 2, 3), (1099511627777, 11, 500, 9, 4, 1, 2, 3);";

static int
setup(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    *state = f;
    const char *tmp = getenv("TMPDIR");
    snprintf(f->directory, sizeof f->directory, "%s/tally-dump-XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(f->directory) == NULL) {
        return -1;
    }
    f->client = tally_history_open(f->directory, "client", 5, TALLY_WRITER_CLIENT);
    tally_history_name(f->client, TALLY_NAMED_SENDER, 5, SENDER);
    tally_history_name(f->client, TALLY_NAMED_TENANT, 1, "acme");
    tally_history_name(f->client, TALLY_NAMED_QUEUE, 2, "orders");
    f->pg = tally_pg_new(NULL);
    f->conninfo = tally_pg_fresh(f->pg);
    f->db = tally_db_new(f->conninfo, "test");
    bool ready = tally_dump_create(f->db) == TALLY_DB_DONE
                 && tally_db_script(f->db, scene_sql) == TALLY_DB_DONE;
    if (!ready) {
        print_error("%s\n", tally_db_error(f->db));
    }
    return ready ? 0 : -1;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    tally_history_close(&f->client);
    tally_history_set_close(&f->set);
    tally_db_destroy(&f->db);
    tally_pg_destroy(&f->pg);
    DIR *listing = opendir(f->directory);
    for (struct dirent *entry; listing != NULL && (entry = readdir(listing)) != NULL;) {
        unlinkat(dirfd(listing), entry->d_name, 0);
    }
    closedir(listing);
    rmdir(f->directory);
    free(f->why);
    free(f);
    return 0;
}

static void
dump(struct fixture *f)
{
    if (tally_dump_write(f->conninfo, f->directory, &f->why) == -1) {
        fail_msg("%s", f->why);
    }
    f->set = tally_history_set_open(f->directory, &f->why);
    if (f->set == NULL) {
        fail_msg("%s", f->why);
    }
    f->rows = tally_history_set_of(f->set, TALLY_HISTORY_PROCESS_MAX);
    assert_non_null(f->rows);
}

//  How many there are; *record the last of them.
static int
count(const struct fixture *f, tally_did_t kind, const tally_history_record_t **record)
{
    int found = 0;
    for (size_t i = 0; i < f->rows->count; i++) {
        if (f->rows->records[i].kind == kind) {
            *record = &f->rows->records[i];
            found++;
        }
    }
    return found;
}

static void
messages_are_known_by_the_number_in_their_body(void **state)
{
    struct fixture *f = *state;
    dump(f);
    const tally_history_record_t *row = NULL;
    assert_int_equal(count(f, TALLY_ROW_MESSAGE, &row), 3);
    for (size_t i = 0; i < f->rows->count; i++) {
        row = &f->rows->records[i];
        if (row->kind == TALLY_ROW_MESSAGE) {
            assert_int_equal(row->tenant, 1);
            assert_int_equal(row->queue, 2);
            assert_int_equal(row->number, row->id == 11   ? 1099511627777
                                          : row->id == 12 ? (uint64_t)-2
                                                          : 0);
            assert_int_equal(row->counts.failures, row->id == 11 ? 255 : row->id == 12 ? 1 : 0);
        }
    }
    assert_int_equal(count(f, TALLY_ROW_DEAD, &row), 1);
    assert_int_equal(row->number, 16);
    assert_int_equal(row->counts.deliveries, 3);
    assert_int_equal(row->counts.crashes, 2);
    assert_int_equal(count(f, TALLY_ROW_INBOX, &row), 1);
    assert_int_equal(row->number, 17);
}

static void
effects_leases_terms_and_the_broker_are_there(void **state)
{
    struct fixture *f = *state;
    dump(f);
    const tally_history_record_t *row = NULL;
    assert_int_equal(count(f, TALLY_ROW_EFFECT, &row), 2);
    assert_int_equal(row->number, 1099511627777);
    assert_int_equal(row->lease, 500);
    assert_int_equal(row->epoch, 9);
    assert_int_equal(row->process, 4);
    assert_int_equal(row->key, 3);
    assert_int_equal(row->serial, 2);
    assert_int_equal(count(f, TALLY_ROW_LEASE, &row), 1);
    assert_int_equal(row->lease, 500);
    assert_int_equal(count(f, TALLY_ROW_TERM, &row), 1);
    assert_int_equal(row->epoch, 9);
    assert_int_equal(count(f, TALLY_ROW_BROKER, &row), 1);
    assert_int_equal(row->epoch, 77);
    assert_true(f->set->has_rows);
}

static void
what_senders_had_accepted_is_there_by_process(void **state)
{
    struct fixture *f = *state;
    dump(f);
    const tally_history_record_t *row = NULL;
    assert_int_equal(count(f, TALLY_ROW_SENDER, &row), 1);
    assert_int_equal(row->process, 5);
    assert_int_equal(row->sequence, 40);
    assert_int_equal(count(f, TALLY_ROW_MISSING, &row), 2);
    assert_int_equal(row->sequence, 5);
    assert_int_equal(count(f, TALLY_ROW_RESULT, &row), 1);
    assert_int_equal(row->sequence, 6);
    assert_int_equal(row->item, 2);
    assert_int_equal(row->code, 1);
}

static void
a_second_dump_is_refused(void **state)
{
    struct fixture *f = *state;
    dump(f);
    assert_int_equal(tally_dump_write(f->conninfo, f->directory, &f->why), -1);
    assert_non_null(strstr(f->why, "already"));
}

static void
a_dump_that_fails_leaves_no_file(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(tally_db_script(f->db, "drop table tally.result"), TALLY_DB_DONE);
    assert_int_equal(tally_dump_write(f->conninfo, f->directory, &f->why), -1);
    free(f->why);
    f->set = tally_history_set_open(f->directory, &f->why);
    assert_non_null(f->set);
    assert_int_equal(f->set->file_count, 1);
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    alarm(60);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(messages_are_known_by_the_number_in_their_body, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(effects_leases_terms_and_the_broker_are_there, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_senders_had_accepted_is_there_by_process, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_second_dump_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_dump_that_fails_leaves_no_file, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
