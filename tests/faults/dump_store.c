// SPDX-License-Identifier: MIT
//  dump: rows of the database as records.

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "tests/faults/dump.h"
#include "tests/faults/history_set.h"

#define DUMP_PROCESS TALLY_HISTORY_PROCESS_MAX
#define COLUMNS_MAX 12

//  Names of the run as numbers of the database and back: index is the database's, value the run's.
struct dump {
    tally_db_t *db;
    tally_history_set_t *set;
    tally_history_t *history;
    uint16_t *tenants;    // by the database's number
    uint16_t *queues;
    size_t tenant_count, queue_count;
    char *why;
};

//  One row: numbers, each column one.  NULL is 0.
typedef void take_t(struct dump *self, const int64_t *columns);

tally_db_outcome_t
tally_dump_create(tally_db_t *db)
{
    return tally_db_script(db, "create schema faults;"
                               "create table faults.effect ("
                               "    serial bigint generated always as identity,"
                               "    number bigint not null,"
                               "    id bigint not null,"
                               "    lease bigint not null,"
                               "    epoch bigint not null,"
                               "    process integer not null,"
                               "    tenant integer not null,"
                               "    queue integer not null,"
                               "    key bigint not null);"
                               "grant usage on schema faults to public;"
                               "grant insert, select on faults.effect to public;");
}

//  Splits a line of COPY's text form; false when it is not `count` numbers.
static bool
parse_line(const char *line, int64_t *columns, int count)
{
    for (int i = 0; i < count; i++) {
        char *end;
        if (line[0] == '\\' && line[1] == 'N') {
            columns[i] = 0;
            end = (char *)line + 2;
        } else {
            columns[i] = (int64_t)strtoll(line, &end, 10);
            if (end == line) {
                return false;
            }
        }
        if (*end != (i + 1 < count ? '\t' : '\n')) {
            return false;
        }
        line = end + 1;
    }
    return true;
}

//  Streams the rows of `copy` (COPY (...) TO STDOUT, `count` numbers each) to `take`.
static void
stream_rows(struct dump *self, const char *copy, int count, take_t *take)
{
    if (self->why != NULL) {
        return;
    }
    PGconn *connection = tally_db_handle(self->db);
    PGresult *result = PQexec(connection, copy);
    bool fine = PQresultStatus(result) == PGRES_COPY_OUT;
    PQclear(result);
    char *line = NULL;
    int64_t columns[COLUMNS_MAX];
    while (fine && PQgetCopyData(connection, &line, 0) > 0) {
        fine = parse_line(line, columns, count);
        if (fine) {
            take(self, columns);
        }
        PQfreemem(line);
    }
    while ((result = PQgetResult(connection)) != NULL) {
        fine = fine && PQresultStatus(result) == PGRES_COMMAND_OK;
        PQclear(result);
    }
    if (!fine) {
        self->why = tally_format("could not read rows: %s", PQerrorMessage(connection));
    }
}

static uint16_t
find(const uint16_t *numbers, size_t count, int64_t of_database)
{
    return of_database > 0 && (size_t)of_database < count ? numbers[of_database] : 0;
}

static uint8_t
clamp(int64_t value)
{
    return (uint8_t)(value > 255 ? 255 : value);
}

static void
take_effect(struct dump *self, const int64_t *c)
{
    tally_history_add(self->history, &(tally_history_record_t){
                                         .kind = TALLY_ROW_EFFECT,
                                         .serial = (uint32_t)c[0],
                                         .number = (uint64_t)c[1],
                                         .id = (uint64_t)c[2],
                                         .lease = (uint64_t)c[3],
                                         .epoch = (uint64_t)c[4],
                                         .process = (uint32_t)c[5],
                                         .tenant = (uint16_t)c[6],
                                         .queue = (uint16_t)c[7],
                                         .key = (uint32_t)c[8],
                                     });
}

//  number, id, tenant, queue, deliveries, failures, crashes; of queues and tenants of the run alone.
static void
add_message(struct dump *self, tally_did_t kind, const int64_t *c)
{
    uint16_t tenant = find(self->tenants, self->tenant_count, c[2]);
    uint16_t queue = find(self->queues, self->queue_count, c[3]);
    if (tenant == 0 || queue == 0) {
        return;
    }
    tally_history_add(self->history, &(tally_history_record_t){
                                         .kind = (uint16_t)kind,
                                         .number = (uint64_t)c[0],
                                         .id = (uint64_t)c[1],
                                         .tenant = tenant,
                                         .queue = queue,
                                         .counts = {clamp(c[4]), clamp(c[5]), clamp(c[6]), 0},
                                     });
}

static void
take_message(struct dump *self, const int64_t *columns)
{
    add_message(self, TALLY_ROW_MESSAGE, columns);
}

static void
take_dead(struct dump *self, const int64_t *columns)
{
    add_message(self, TALLY_ROW_DEAD, columns);
}

static void
take_inbox(struct dump *self, const int64_t *c)
{
    const int64_t columns[] = {c[0], 0, c[1], c[2], 0, 0, 0};
    add_message(self, TALLY_ROW_INBOX, columns);
}

static void
take_lease(struct dump *self, const int64_t *c)
{
    uint16_t tenant = find(self->tenants, self->tenant_count, c[1]);
    uint16_t queue = find(self->queues, self->queue_count, c[2]);
    if (tenant != 0 && queue != 0) {
        tally_history_add(self->history, &(tally_history_record_t){.kind = TALLY_ROW_LEASE,
                                                                   .lease = (uint64_t)c[0],
                                                                   .tenant = tenant,
                                                                   .queue = queue});
    }
}

static void
take_term(struct dump *self, const int64_t *c)
{
    uint16_t tenant = find(self->tenants, self->tenant_count, c[1]);
    uint16_t queue = find(self->queues, self->queue_count, c[0]);
    if (tenant != 0 && queue != 0) {
        tally_history_add(self->history, &(tally_history_record_t){.kind = TALLY_ROW_TERM,
                                                                   .epoch = (uint64_t)c[2],
                                                                   .tenant = tenant,
                                                                   .queue = queue});
    }
}

static void
take_broker(struct dump *self, const int64_t *c)
{
    tally_history_add(self->history,
                      &(tally_history_record_t){.kind = TALLY_ROW_BROKER, .epoch = (uint64_t)c[0]});
}

static void
take_sender(struct dump *self, const int64_t *c)
{
    tally_history_add(self->history, &(tally_history_record_t){.kind = TALLY_ROW_SENDER,
                                                               .process = (uint32_t)c[0],
                                                               .sequence = (uint64_t)c[1]});
}

static void
take_missing(struct dump *self, const int64_t *c)
{
    tally_history_add(self->history, &(tally_history_record_t){.kind = TALLY_ROW_MISSING,
                                                               .process = (uint32_t)c[0],
                                                               .sequence = (uint64_t)c[1]});
}

static void
take_result(struct dump *self, const int64_t *c)
{
    tally_history_add(self->history, &(tally_history_record_t){.kind = TALLY_ROW_RESULT,
                                                               .process = (uint32_t)c[0],
                                                               .sequence = (uint64_t)c[1],
                                                               .item = (uint32_t)c[2],
                                                               .code = (uint16_t)c[3]});
}

//  ---- names --------------------------------------------------------------------------------------------------

static bool
must_run(struct dump *self, const char *sql, const tally_params_t *params, tally_rows_t *rows)
{
    if (self->why == NULL && tally_db_run(self->db, sql, params, rows) != TALLY_DB_DONE) {
        self->why = tally_format("could not read names: %s", tally_db_error(self->db));
    }
    return self->why == NULL;
}

//  The run's number of a name of the database; 0 when the run does not know it.
static uint16_t
number_of(const tally_history_set_t *set, bool tenants, tally_bytes_t name)
{
    unsigned count = tenants ? TALLY_HISTORY_TENANT_MAX : TALLY_HISTORY_NUMBER_MAX;
    for (unsigned i = 1; i <= count; i++) {
        const char *known = tenants ? set->tenant_names[i] : set->queue_names[i];
        if (known[0] != '\0' && tally_bytes_equal(name, tally_bytes_of(known))) {
            return (uint16_t)i;
        }
    }
    return 0;
}

static uint16_t *
load_numbers(struct dump *self, bool tenants, size_t *count)
{
    const char *sql = tenants ? "select id::bigint, name from tally.tenant order by id"
                              : "select id::bigint, name from tally.queue order by id";
    tally_params_t none = {0};
    tally_rows_t rows;
    if (!must_run(self, sql, &none, &rows)) {
        return NULL;
    }
    *count = rows.rows == 0 ? 1 : (size_t)tally_rows_int8(&rows, rows.rows - 1, 0) + 1;
    uint16_t *numbers = tally_alloc_array(*count, sizeof *numbers);
    for (int i = 0; i < rows.rows; i++) {
        numbers[tally_rows_int8(&rows, i, 0)] = number_of(self->set, tenants,
                                                          tally_rows_bytes(&rows, i, 1));
    }
    return numbers;
}

//  Senders of the run go into a temporary table, so that rows are joined where they are.
static void
load_senders(struct dump *self)
{
    static const char insert[] = "insert into run_sender values ($1::int, $2::text::uuid)";
    if (tally_db_script(self->db, "create temporary table run_sender (process int, id uuid)")
        != TALLY_DB_DONE) {
        self->why = tally_format("could not keep senders: %s", tally_db_error(self->db));
    }
    for (size_t i = 0; i < self->set->file_count; i++) {
        const tally_history_file_t *file = &self->set->files[i];
        for (size_t k = 1; k < file->count && k < 64; k++) {
            const tally_history_record_t *record = &file->records[k];
            if (record->kind == TALLY_DID_NAME && record->code == TALLY_NAMED_SENDER) {
                tally_params_t params = {0};
                tally_params_int4(&params, (int32_t)record->item);
                tally_params_text(&params, (tally_bytes_t){record->text, sizeof record->text});
                must_run(self, insert, &params, NULL);
                tally_params_free(&params);
            }
        }
    }
}

//  The number in a body: eight bytes behind the magic.  A body that is none of the run's has number 0.
#define NUMBER(body)                                                                               \
    "case when octet_length(" body ") >= 32 and substring(" body " from 1 for 4) = '\\x54464831'"  \
    " then ('x' || encode(substring(" body " from 5 for 8), 'hex'))::bit(64)::bigint else 0 end"

static void
write_rows(struct dump *self)
{
    stream_rows(self,
                "copy (select serial, number, id, lease, epoch, process, tenant, queue, key "
                "from faults.effect) to stdout",
                9, take_effect);
    stream_rows(self,
                "copy (select " NUMBER(
                    "x.body") ", m.id, m.tenant, m.queue, m.deliveries, "
                              "m.failures, m.crashes from tally.message m "
                              "left join tally.blob b on m.is_blob and b.tenant = m.tenant and "
                              "b.id = m.id, "
                              "lateral (select coalesce(b.body, m.body) as body) x) to stdout",
                7, take_message);
    stream_rows(self,
                "copy (select " NUMBER(
                    "x.body") ", m.id, m.tenant, m.queue, m.deliveries, "
                              "m.failures, m.crashes from tally.dead_letter m "
                              "left join tally.blob b on m.is_blob and b.tenant = m.tenant and "
                              "b.id = m.id, "
                              "lateral (select coalesce(b.body, m.body) as body) x) to stdout",
                7, take_dead);
    stream_rows(self,
                "copy (select " NUMBER(
                    "i.body") ", i.tenant, i.queue from tally.inbox i) to stdout",
                3, take_inbox);
    stream_rows(self, "copy (select id, tenant, queue from tally.lease) to stdout", 3, take_lease);
    stream_rows(self, "copy (select queue, tenant, epoch from tally.term) to stdout", 3, take_term);
    stream_rows(self, "copy (select epoch from tally.broker) to stdout", 1, take_broker);
    stream_rows(self,
                "copy (select r.process, s.last from tally.sender s join run_sender r using (id)) "
                "to stdout",
                2, take_sender);
    stream_rows(self,
                "copy (select r.process, unnest(s.missing) from tally.sender s "
                "join run_sender r using (id)) to stdout",
                2, take_missing);
    stream_rows(self,
                "copy (select r.process, t.sequence, t.item, t.outcome from tally.result t "
                "join run_sender r on r.id = t.sender) to stdout",
                4, take_result);
}

//  All rows are of one snapshot.
static void
dump(struct dump *self, const char *directory)
{
    if (tally_db_connect(self->db) != TALLY_DB_DONE
        || tally_db_begin(self->db, TALLY_DB_REPEATABLE_READ) != TALLY_DB_DONE) {
        self->why = tally_format("could not reach the database: %s", tally_db_error(self->db));
        return;
    }
    self->tenants = load_numbers(self, true, &self->tenant_count);
    self->queues = load_numbers(self, false, &self->queue_count);
    load_senders(self);
    if (self->why != NULL) {
        return;
    }
    self->history = tally_history_open(directory, "database", DUMP_PROCESS, TALLY_WRITER_DATABASE);
    write_rows(self);
    if (self->why == NULL) {
        tally_history_add(self->history, &(tally_history_record_t){.kind = TALLY_ROWS_COMPLETE});
    }
    tally_history_close(&self->history);
    if (self->why != NULL) {
        char *path = tally_format("%s/database.%d.history", directory, DUMP_PROCESS);
        unlink(path);
        free(path);
    }
    tally_db_rollback(self->db);
}

int
tally_dump_write(const char *conninfo, const char *directory, char **why)
{
    struct dump self = {.set = tally_history_set_open(directory, why)};
    if (self.set == NULL) {
        return -1;
    }
    if (tally_history_set_of(self.set, DUMP_PROCESS) != NULL) {
        self.why = tally_format("%s has rows of a database already", directory);
    } else {
        self.db = tally_db_new(conninfo, "tally-check");
        dump(&self, directory);
        tally_db_destroy(&self.db);
    }
    tally_history_set_close(&self.set);
    free(self.tenants);
    free(self.queues);
    *why = self.why;
    return self.why == NULL ? 0 : -1;
}
