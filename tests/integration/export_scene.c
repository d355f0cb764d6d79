// SPDX-License-Identifier: MIT
#include "tests/integration/export_scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "lib/clock.h"
#include "tests/integration/survey_data.h"

#define CRASHED 9
#define FIRST_ID ((uint64_t)1 << 40)

static const char definition[] =
    "{\"slug\":\"odd\",\"title\":\"Odd\",\"questions\":["
    "{\"id\":\"color\",\"type\":\"choice\",\"choices\":[\"red, or so\",\"\\\"blue\\\"\"]},"
    "{\"id\":\"many, "
    "of\",\"type\":\"multi\",\"choices\":[\"a\",\"b\\\"c\\\\\",\"{d,e}\",\"\\u00fc\"]},"
    "{\"id\":\"ctid\",\"type\":\"range\",\"min\":-1000,\"max\":1000},"
    "{\"id\":\"say\",\"type\":\"text\"}]}";

static const char *const says[] = {
    "plain",
    "",
    "two\nlines",
    "carriage\r\nreturn",
    "comma, and \"quotes\"",
    "\xc3\xbc\xf0\x9f\x98\x80",
    " blanks ",
    "\ttab",
    "=1+1",
    "\\.",
    "\\N",
    "NULL",
    "'",
    "{\"a\":1}",
    "$1",
    "\xe2\x80\xa8",
};

static void
must(tally_db_outcome_t outcome, const tally_db_t *db)
{
    if (outcome != TALLY_DB_DONE) {
        fail_msg("%s", tally_db_error(db));
    }
}

//  ---- the tools ---------------------------------------------------------------------------------

static int64_t
now_ms(void *context)
{
    (void)context;
    return tally_clock_now_ms();
}

static void
extend(void *context, uint32_t visible_ms)
{
    export_scene_t *self = context;
    assert(visible_ms == 30000);
    self->extended++;
}

static void
publish(void *context, const char *topic, tally_bytes_t json)
{
    export_scene_t *self = context;
    assert(strcmp(topic, "export.acme") == 0);
    free(self->last_news);
    self->last_news = tally_strndup(json.data, json.size);
    self->told++;
}

static bool
interrupted(void *context)
{
    (void)context;
    return false;
}

static void
passed(void *context, tally_export_point_t point)
{
    export_scene_t *self = context;
    if (point == self->crash_at && self->crash_skip-- == 0) {
        _exit(CRASHED);
    }
    if (self->at != NULL) {
        self->at(self, point);
    }
}

static void
open_tools(export_scene_t *self)
{
    self->tools = (tally_export_tools_t){.db = tally_db_new(self->conninfo, "test-export"),
                                         .slice_ms = 60000,
                                         .checkpoint_ms = 60000,
                                         .checkpoint_rows = 2000,
                                         .context = self,
                                         .now_ms = now_ms,
                                         .extend = extend,
                                         .publish = publish,
                                         .interrupted = interrupted,
                                         .passed = passed};
    self->tools.outlet.target = tally_db_new(self->conninfo, "test-target");
    self->tools.outlet.place.base = self->dir;
}

//  ---- the scene ---------------------------------------------------------------------------------

export_scene_t *
export_scene_new(const char *conninfo)
{
    export_scene_t *self = tally_alloc(sizeof *self);
    const char *tmp = getenv("TMPDIR");
    self->conninfo = conninfo;
    self->crash_at = TALLY_AT_COUNT;
    self->message = FIRST_ID;
    self->lease = FIRST_ID + 1000000;
    self->broker = tally_db_new(conninfo, "test-broker");
    self->dir = tally_format("%s/tally-export-XXXXXX", tmp == NULL ? "/tmp" : tmp);
    self->responses = json_object();
    self->last_news = tally_strdup("");
    if (mkdtemp(self->dir) == NULL) {
        abort();
    }
    open_tools(self);
    export_scene_sql(self, "insert into tally.tenant (id, name) values (7, 'acme')");
    return self;
}

//  Tests make no directories deeper than one.
static void
remove_tree(const char *path)
{
    DIR *listing = opendir(path);
    const struct dirent *entry;
    while (listing != NULL && (entry = readdir(listing)) != NULL) {
        char *inner = tally_format("%s/%s", path, entry->d_name);
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0
            && unlink(inner) == -1) {
            remove_tree(inner);
        }
        free(inner);
    }
    if (listing != NULL) {
        closedir(listing);
    }
    rmdir(path);
}

void
export_scene_destroy(export_scene_t **self_p)
{
    export_scene_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    tally_export_run_destroy(&self->run);
    tally_db_destroy(&self->tools.outlet.target);
    tally_db_destroy(&self->tools.db);
    tally_db_destroy(&self->broker);
    json_decref(self->responses);
    remove_tree(self->dir);
    free(self->dir);
    free(self->survey);
    free(self->last_news);
    free(self);
    *self_p = NULL;
}

void
export_scene_sql(export_scene_t *self, const char *sql)
{
    must(tally_db_script(self->broker, sql), self->broker);
}

char *
export_scene_value(export_scene_t *self, const char *sql)
{
    must(tally_db_connect(self->broker), self->broker);
    PGresult *result = PQexec(tally_db_handle(self->broker), sql);
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) == 0) {
        fail_msg("%s gave nothing: %s", sql, PQresultErrorMessage(result));
    }
    char *value = tally_strdup(PQgetvalue(result, 0, 0));
    PQclear(result);
    return value;
}

void
export_scene_assert_value(export_scene_t *self, const char *sql, const char *wanted)
{
    char *value = export_scene_value(self, sql);
    if (strcmp(value, wanted) != 0) {
        fail_msg("%s: wanted %s, got %s", sql, wanted, value);
    }
    free(value);
}

//  ---- data --------------------------------------------------------------------------------------

static void
put_survey(export_scene_t *self, const char *slug, tally_bytes_t text)
{
    tally_params_t params = {0};
    self->survey = tally_strdup(slug);
    tally_params_text(&params, tally_bytes_of(slug));
    tally_params_bytea(&params, text);
    must(tally_db_run(self->broker,
                      "insert into tally.survey (tenant, slug, definition) values (7, $1, $2)",
                      &params, NULL),
         self->broker);
    tally_params_free(&params);
}

//  Stores what is in `responses` and not stored yet.
static void
put_responses(export_scene_t *self)
{
    size_t count = json_object_size(self->responses), at = 0;
    tally_bytes_t *ids = tally_alloc_array(count, sizeof *ids);
    tally_bytes_t *bodies = tally_alloc_array(count, sizeof *bodies);
    const char *id;
    json_t *response;
    json_object_foreach(self->responses, id, response) {
        ids[at] = tally_bytes_of(id);
        //  As people send them: some in one line, some not.
        bodies[at] = tally_bytes_of(
            json_dumps(response, at % 3 == 0 ? JSON_INDENT(2) : JSON_COMPACT));
        at++;
    }
    tally_params_t params = {0};
    tally_params_text(&params, tally_bytes_of(self->survey));
    tally_params_texts(&params, ids, count);
    tally_params_byteas(&params, bodies, count);
    must(tally_db_run(self->broker,
                      "insert into tally.response (tenant, survey, response_id, body)"
                      " select 7, (select id from tally.survey where tenant = 7 and slug = $1), r.*"
                      " from unnest($2, $3) r on conflict do nothing",
                      &params, NULL),
         self->broker);
    tally_params_free(&params);
    for (size_t i = 0; i < count; i++) {
        free((char *)(uintptr_t)bodies[i].data);
    }
    free(ids);
    free(bodies);
}

static json_t *
odd_response(const char *id, size_t i)
{
    json_t *answers = json_object();
    if (i % 5 != 0) {
        json_object_set_new(answers, "color", json_string(i % 2 == 0 ? "red, or so" : "\"blue\""));
    }
    if (i % 3 != 0) {
        json_t *list = json_array();
        if (i % 4 != 0) {
            json_array_append_new(list, json_string("b\"c\\"));
            json_array_append_new(list, json_string("{d,e}"));
            json_array_append_new(list, json_string("\xc3\xbc"));
        }
        json_object_set_new(answers, "many, of", list);
    }
    if (i % 7 != 0) {
        json_object_set_new(answers, "ctid",
                            i % 2 == 0 ? json_integer((json_int_t)i % 2000 - 1000)
                                       : json_real((double)(i % 1000) / 7));
    }
    if (i % 11 != 0) {
        json_object_set_new(answers, "say", json_string(says[i % (sizeof says / sizeof says[0])]));
    }
    return json_pack("{s:s, s:s, s:o}", "response_id", id, "survey", "odd", "answers", answers);
}

void
export_scene_fill(export_scene_t *self, size_t count)
{
    put_survey(self, "odd", tally_bytes_of(definition));
    for (size_t i = 0; i < count; i++) {
        char id[64];
        snprintf(id, sizeof id, i % 10 == 0 ? "r-%zu, \"odd\"" : "r-%zu", i);
        json_object_set_new(self->responses, id, odd_response(id, i));
    }
    put_responses(self);
}

void
export_scene_add(export_scene_t *self, const char *response_id)
{
    json_object_set_new(self->responses, response_id, odd_response(response_id, 8));
    put_responses(self);
}

bool
export_scene_fill_real(export_scene_t *self, const char *slug)
{
    survey_data_t data;
    if (!survey_data_read(&data, slug)) {
        return false;
    }
    json_t *survey = json_load_file(data.definition, 0, NULL);
    char *text = json_dumps(survey, 0);
    put_survey(self, slug, tally_bytes_of(text));
    free(text);
    json_decref(survey);
    FILE *file = fopen(data.responses, "r");
    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, file) > 0) {
        json_t *response = json_loads(line, 0, NULL);
        json_object_set_new(self->responses,
                            json_string_value(json_object_get(response, "response_id")), response);
    }
    free(line);
    fclose(file);
    put_responses(self);
    survey_data_free(&data);
    return true;
}

//  ---- messages and leases -----------------------------------------------------------------------

static void
insert_lease(export_scene_t *self)
{
    tally_params_t params = {0};
    tally_params_int8(&params, (int64_t)++self->lease);
    tally_params_int8(&params, (int64_t)self->message);
    must(tally_db_run(self->broker,
                      "insert into tally.lease (id, tenant, queue, worker, deadline, messages)"
                      " select $1, 7, q.id, 1, now() + interval '30 s', array[$2]"
                      " from tally.queue q where q.name = 'export'",
                      &params, NULL),
         self->broker);
    tally_params_free(&params);
}

void
export_scene_send(export_scene_t *self, const char *body)
{
    tally_params_t params = {0};
    tally_params_int8(&params, (int64_t)++self->message);
    tally_params_bytea(&params, tally_bytes_of(body));
    must(tally_db_run(self->broker,
                      "insert into tally.message (tenant, id, queue, body, sender, sequence, item)"
                      " select 7, $1, q.id, $2, '00000000-0000-0000-0000-00000000000a', $1, 0"
                      " from tally.queue q where q.name = 'export'",
                      &params, NULL),
         self->broker);
    tally_params_free(&params);
    insert_lease(self);
}

void
export_scene_request(export_scene_t *self, const char *format, const char *out)
{
    json_t *json = json_pack("{s:s, s:s, s:s, s:s*}", "do", "export", "survey", self->survey,
                             "format", format, "out", out);
    char *body = json_dumps(json, 0);
    export_scene_send(self, body);
    free(body);
    json_decref(json);
}

bool
export_scene_lease_again(export_scene_t *self)
{
    tally_params_t params = {0};
    tally_rows_t rows;
    //  Waits for the transaction of a session that has died.
    export_scene_sql(self, "delete from tally.lease");
    tally_params_int8(&params, (int64_t)self->message);
    must(tally_db_run(self->broker, "select from tally.message where tenant = 7 and id = $1",
                      &params, &rows),
         self->broker);
    tally_params_free(&params);
    bool there = rows.rows == 1;
    if (there) {
        insert_lease(self);
    }
    return there;
}

tally_export_run_t *
export_scene_run(export_scene_t *self)
{
    char *body = tally_format("select convert_from(body, 'UTF8') from tally.message"
                              " where tenant = 7 and id = %" PRIu64,
                              self->message);
    char *text = export_scene_value(self, body);
    tally_export_request_t request;
    tally_problem_t problem;
    if (tally_export_request_read(&request, tally_bytes_of(text), &problem) == -1) {
        fail_msg("%s", problem.text);
    }
    free(text);
    free(body);
    return tally_export_run_new(&self->tools, "acme", self->message, &request);
}

tally_run_end_t
export_scene_finish(export_scene_t *self, tally_export_run_t **run_p)
{
    tally_run_end_t end;
    while ((end = tally_export_run_work(*run_p, self->lease, 0)) == TALLY_RUN_SLICE) {
        export_scene_lease_again(self);
    }
    tally_export_run_destroy(run_p);
    return end;
}

bool
export_scene_crash(export_scene_t *self, tally_export_point_t point, int skip)
{
    tally_export_run_t *run = export_scene_run(self);
    pid_t child = fork();
    if (child == 0) {
        //  Connections of its own; those of the parent are left alone.
        self->broker = tally_db_new(self->conninfo, "test-crash");
        open_tools(self);
        self->crash_at = point;
        self->crash_skip = skip;
        tally_run_end_t end = tally_export_run_work(run, self->lease, 0);
        _exit(end == TALLY_RUN_SETTLED ? 0 : 1);
    }
    tally_export_run_destroy(&run);
    int status;
    if (child == -1 || waitpid(child, &status, 0) != child || !WIFEXITED(status)
        || WEXITSTATUS(status) == 1) {
        fail_msg("the export neither crashed nor came to its end");
    }
    return WEXITSTATUS(status) == CRASHED;
}

json_t *
export_scene_result(export_scene_t *self)
{
    char *sql = tally_format("select coalesce((select convert_from(body, 'UTF8') from tally.result "
                             "where sequence = %" PRIu64 "), 'null')",
                             self->message);
    char *text = export_scene_value(self, sql);
    json_t *result = json_loads(text, JSON_DECODE_ANY, NULL);
    free(text);
    free(sql);
    return result;
}

size_t
export_scene_entries(export_scene_t *self)
{
    size_t count = 0;
    DIR *listing = opendir(self->dir);
    const struct dirent *entry;
    while ((entry = readdir(listing)) != NULL) {
        count += entry->d_name[0] != '.';
    }
    closedir(listing);
    return count;
}

char *
export_scene_file(export_scene_t *self, const char *extension, size_t *size)
{
    char *path = tally_format("%s/acme.%s.%" PRIu64 ".%s", self->dir, self->survey, self->message,
                              extension);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (fd == -1 || fstat(fd, &status) == -1) {
        fail_msg("there is no %s", path);
    }
    char *text = tally_alloc((size_t)status.st_size + 1);
    *size = (size_t)read(fd, text, (size_t)status.st_size);
    close(fd);
    free(path);
    return text;
}
