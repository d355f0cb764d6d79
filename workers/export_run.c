// SPDX-License-Identifier: MIT
#include "workers/export_run.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/log.h"
#include "workers/survey.h"

#define NEWS_MS 200           // progress is told at most so often
#define TAKE_OVER_SHARE 10    // a slice lasts that many times as long as taking over did

struct tally_export_run {
    const tally_export_tools_t *tools;
    char *tenant;
    tally_export_request_t request;
    tally_export_key_t key;
    tally_export_policy_t policy;
    int64_t survey_number;
    tally_survey_t *survey;    // as it was when the export began; the columns' names are its
    tally_columns_t columns;
    tally_column_t *column_list;
    tally_export_sink_t *sink;
    tally_export_row_t row;    // as it will be at the next checkpoint
    tally_wire_t definition;
    bool published;     // the table, by an earlier lease
    bool told;          // that it runs
    int64_t horizon;    // pages are looked for up to this number
    int64_t slice_ends_ms, extended_ms, checkpoint_at_ms, told_ms;
    int64_t checkpoint_rows;    // row.rows_done when the last was written
    const char *code;           // of a refusal
    tally_problem_t problem;
};

//  ---- the run -----------------------------------------------------------------------------------

tally_export_run_t *
tally_export_run_new(const tally_export_tools_t *tools, const char *tenant, uint64_t id,
                     tally_export_request_t *request)
{
    tally_export_run_t *self = tally_alloc(sizeof *self);
    self->tools = tools;
    self->tenant = tally_strdup(tenant);
    self->key = (tally_export_key_t){.tenant = self->tenant, .id = id};
    self->request = *request;
    *request = (tally_export_request_t){.verb = TALLY_ASKS_EXPORT};
    tally_export_subject_t subject = {.tenant = self->tenant,
                                      .id = id,
                                      .request = &self->request,
                                      .columns = &self->columns};
    self->sink = tally_export_sink_new(&tools->outlet, &subject);
    return self;
}

void
tally_export_run_destroy(tally_export_run_t **self_p)
{
    tally_export_run_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    tally_export_sink_destroy(&self->sink);
    tally_survey_destroy(&self->survey);
    tally_export_request_free(&self->request);
    tally_wire_free(&self->definition);
    free(self->column_list);
    free(self->tenant);
    free(self);
    *self_p = NULL;
}

bool
tally_export_run_goes_on(const tally_export_run_t *self)
{
    return self->sink != NULL;
}

const char *
tally_export_run_why(const tally_export_run_t *self)
{
    return self->problem.text;
}

const char *
tally_export_run_tenant(const tally_export_run_t *self)
{
    return self->tenant;
}

uint64_t
tally_export_run_id(const tally_export_run_t *self)
{
    return self->key.id;
}

static int64_t
now_ms(const tally_export_run_t *self)
{
    return self->tools->now_ms(self->tools->context);
}

static void
pass(const tally_export_run_t *self, tally_export_point_t point)
{
    if (self->tools->passed != NULL) {
        self->tools->passed(self->tools->context, point);
    }
}

//  An answer of our own database, with its words kept.
static tally_export_answer_t
of_store(tally_export_run_t *self, tally_export_answer_t answer)
{
    if (answer == TALLY_EXPORT_FAULT || answer == TALLY_EXPORT_AWAY) {
        tally_problem_set(&self->problem, "%s", tally_db_error(self->tools->db));
    }
    return answer;
}

static tally_export_answer_t
of_sink(tally_export_run_t *self, tally_export_answer_t answer)
{
    if (answer != TALLY_EXPORT_OK && answer != TALLY_EXPORT_STALE) {
        self->code = "REFUSED";
        tally_problem_set(&self->problem, "%s", tally_export_sink_why(self->sink));
    }
    return answer;
}

//  ---- telling -----------------------------------------------------------------------------------

static void
tell(tally_export_run_t *self, const char *state)
{
    char id[24];
    snprintf(id, sizeof id, "%" PRIu64, self->key.id);
    json_t *news = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I}", "tenant", self->tenant,
                             "export", id, "survey", self->request.survey, "format",
                             tally_export_format_name(self->request.format), "state", state,
                             "rows_done", (json_int_t)self->row.rows_done, "rows_total",
                             (json_int_t)self->row.rows_total);
    assert(news != NULL);
    char *text = tally_json_print(news);
    char *topic = tally_format("export.%s", self->tenant);
    self->tools->publish(self->tools->context, topic, tally_bytes_of(text));
    self->told_ms = now_ms(self);
    free(topic);
    free(text);
    json_decref(news);
}

static void
tell_progress(tally_export_run_t *self)
{
    if (!self->told || now_ms(self) - self->told_ms >= NEWS_MS) {
        self->told = true;
        tell(self, "running");
    }
}

char *
tally_export_error_json(const char *code, const char *text)
{
    json_t *refusal = tally_json_refusal(code, text);
    char *json = tally_json_print(refusal);
    json_decref(refusal);
    return json;
}

static char *
result_json(const tally_export_run_t *self)
{
    char id[24];
    snprintf(id, sizeof id, "%" PRIu64, self->key.id);
    json_t *result = json_pack("{s:b, s:s, s:s, s:I, s:I, s:s?}", "ok", 1, "export", id, "target",
                               tally_export_sink_target(self->sink), "rows",
                               (json_int_t)self->row.rows_done, "bytes",
                               (json_int_t)tally_export_sink_bytes(self->sink), "sha256",
                               tally_export_sink_sha256(self->sink));
    assert(result != NULL);
    char *text = tally_json_print(result);
    json_decref(result);
    return text;
}

//  ---- before the first row ----------------------------------------------------------------------

static void
keep_lease(tally_export_run_t *self)
{
    if (now_ms(self) - self->extended_ms >= self->policy.visible_ms / 4) {
        self->extended_ms = now_ms(self);
        self->tools->extend(self->tools->context, (uint32_t)self->policy.visible_ms);
    }
}

static tally_export_answer_t
read_columns(tally_export_run_t *self)
{
    if (self->survey != NULL) {
        return TALLY_EXPORT_OK;
    }
    tally_bytes_t definition = {self->definition.data, self->definition.size};
    self->survey = tally_survey_parse(definition, &self->problem);
    if (self->survey == NULL) {
        return TALLY_EXPORT_FAULT;
    }
    size_t count = tally_survey_count(self->survey);
    self->column_list = tally_alloc_array(count, sizeof *self->column_list);
    for (size_t i = 0; i < count; i++) {
        const tally_question_t *question = tally_survey_question(self->survey, i);
        self->column_list[i].question = question->id;
        self->column_list[i].kind = question->type == TALLY_QUESTION_MULTI   ? TALLY_COLUMN_LIST
                                    : question->type == TALLY_QUESTION_RANGE ? TALLY_COLUMN_NUMBER
                                                                             : TALLY_COLUMN_TEXT;
    }
    self->columns = (tally_columns_t){.columns = self->column_list, .count = count};
    return TALLY_EXPORT_OK;
}

static tally_export_answer_t
find_survey(tally_export_run_t *self)
{
    tally_export_answer_t answer = of_store(self,
                                            tally_export_store_survey(self->tools->db, &self->key,
                                                                      self->request.survey,
                                                                      &self->survey_number));
    if (answer == TALLY_EXPORT_OK && self->survey_number == 0) {
        self->code = "UNKNOWN";
        tally_problem_set(&self->problem, "there is no survey \"%s\"", self->request.survey);
        answer = TALLY_EXPORT_REFUSED;
    }
    return answer;
}

static tally_export_answer_t
open_row(tally_export_run_t *self)
{
    tally_export_answer_t answer = find_survey(self);
    if (answer == TALLY_EXPORT_OK) {
        answer = of_sink(self, tally_export_sink_locate(self->sink));
    }
    if (answer == TALLY_EXPORT_OK) {
        answer = of_store(self,
                          tally_export_store_open(self->tools->db, &self->key, self->request.survey,
                                                  tally_export_format_name(self->request.format),
                                                  tally_export_sink_target(self->sink), &self->row,
                                                  &self->definition));
    }
    return answer == TALLY_EXPORT_OK ? read_columns(self) : answer;
}

//  ---- rows --------------------------------------------------------------------------------------

static tally_export_answer_t
checkpoint(tally_export_run_t *self)
{
    tally_export_answer_t answer = of_sink(self, tally_export_sink_sync(self->sink));
    if (answer != TALLY_EXPORT_OK) {
        return answer;
    }
    pass(self, TALLY_AT_SYNCED);
    answer = of_store(self, tally_export_store_checkpoint(self->tools->db, &self->key, &self->row));
    if (answer == TALLY_EXPORT_OK) {
        tally_export_sink_mark(self->sink, &self->row);
        self->checkpoint_at_ms = now_ms(self) + self->tools->checkpoint_ms;
        self->checkpoint_rows = self->row.rows_done;
        pass(self, TALLY_AT_CHECKPOINTED);
    }
    return answer;
}

//  From the request to a sink that is ready for the next row, known to the database, and the only
//  one.
static tally_export_answer_t
open_sink(tally_export_run_t *self)
{
    uint64_t left;
    tally_export_answer_t answer = of_sink(self,
                                           tally_export_sink_open(self->sink, self->key.lease,
                                                                  &self->row, &self->published));
    pass(self, TALLY_AT_OPENED);
    int64_t began_ms = now_ms(self);
    do {
        if (answer == TALLY_EXPORT_OK) {
            answer = of_sink(self, tally_export_sink_take_over(self->sink, &left));
            keep_lease(self);
        }
    } while (answer == TALLY_EXPORT_OK && left > 0);
    int64_t took_ms = now_ms(self) - began_ms;
    if (answer == TALLY_EXPORT_OK) {
        answer = checkpoint(self);
    }
    if (answer == TALLY_EXPORT_OK) {
        answer = of_sink(self, tally_export_sink_tidy(self->sink));
    }
    //  Several workers may hand a run around; what taking over costs must stay small beside the
    //  work.
    int64_t slice_ms = self->tools->slice_ms;
    if (slice_ms > 0 && took_ms * TAKE_OVER_SHARE > slice_ms) {
        slice_ms = took_ms * TAKE_OVER_SHARE;
    }
    self->slice_ends_ms = now_ms(self) + slice_ms;
    return answer;
}

//  True when this slice is over: its time is, or the process wants to stop.
static bool
slice_is_over(tally_export_run_t *self)
{
    return now_ms(self) >= self->slice_ends_ms || self->tools->interrupted(self->tools->context);
}

//  Sees to it that there is something behind the last row to look at.
static tally_export_answer_t
look_further(tally_export_run_t *self)
{
    if (self->row.last_number < self->horizon || self->horizon >= self->row.until_number) {
        return TALLY_EXPORT_OK;
    }
    return of_store(self, tally_export_store_horizon(self->tools->db, &self->key, self->horizon,
                                                     self->row.until_number, &self->horizon));
}

//  Gets further with every call, be it over other surveys' responses alone.  *complete: there are
//  no more.
static tally_export_answer_t
add_page(tally_export_run_t *self, bool *complete)
{
    tally_rows_t page;
    tally_export_answer_t answer = look_further(self);
    if (answer == TALLY_EXPORT_OK) {
        answer = of_store(self,
                          tally_export_store_page(self->tools->db, &self->key, self->survey_number,
                                                  self->row.last_number, self->horizon, &page));
    }
    if (answer != TALLY_EXPORT_OK) {
        return answer;
    }
    if (page.rows == 0) {
        self->row.last_number = self->horizon;
        *complete = self->horizon >= self->row.until_number;
        return TALLY_EXPORT_OK;
    }
    answer = of_sink(self, tally_export_sink_append(self->sink, &page, &self->row));
    pass(self, TALLY_AT_ADDED);
    return answer;
}

//  *over: the slice ended before the rows did.
static tally_export_answer_t
add_rows(tally_export_run_t *self, bool *over)
{
    tally_export_answer_t answer = TALLY_EXPORT_OK;
    bool complete = self->published;
    *over = false;
    self->horizon = self->row.last_number;
    while (answer == TALLY_EXPORT_OK && !complete && !*over) {
        answer = add_page(self, &complete);
        if (answer != TALLY_EXPORT_OK || complete) {
            break;
        }
        tell_progress(self);
        keep_lease(self);
        *over = slice_is_over(self);
        if (*over || now_ms(self) >= self->checkpoint_at_ms
            || self->row.rows_done - self->checkpoint_rows >= self->tools->checkpoint_rows) {
            answer = checkpoint(self);
        }
    }
    return answer;
}

//  ---- the end -----------------------------------------------------------------------------------

//  The commit that nobody answered: was it done?
static tally_export_answer_t
find_out(tally_export_run_t *self)
{
    bool done = false;
    tally_export_answer_t answer = of_store(self, tally_export_store_is_done(self->tools->db,
                                                                             &self->key, &done));
    return answer == TALLY_EXPORT_OK && !done ? TALLY_EXPORT_AWAY : answer;
}

static tally_export_answer_t
end_done(tally_export_run_t *self)
{
    tally_export_answer_t answer = of_sink(self, tally_export_sink_sync(self->sink));
    if (answer != TALLY_EXPORT_OK) {
        return answer;
    }
    pass(self, TALLY_AT_COMPLETE);
    self->row.rows_total = self->row.rows_done;
    bool first = tally_export_sink_publishes_first(self->sink);
    if (first) {
        keep_lease(self);
        answer = of_sink(self, tally_export_sink_publish(self->sink));
        pass(self, TALLY_AT_VISIBLE);
    }
    if (answer == TALLY_EXPORT_OK) {
        char *result = result_json(self);
        tally_export_outcome_t outcome = {.rows = self->row.rows_done,
                                          .bytes = tally_export_sink_bytes(self->sink),
                                          .sha256 = tally_export_sink_sha256(self->sink),
                                          .result = result};
        answer = of_store(self, tally_export_store_end(self->tools->db, &self->key, &outcome));
        free(result);
    }
    if (answer != TALLY_EXPORT_OK) {
        return answer;
    }
    pass(self, TALLY_AT_SETTLED);
    if (!first) {
        answer = of_sink(self, tally_export_sink_publish(self->sink));
        if (answer != TALLY_EXPORT_OK) {
            tally_db_rollback(self->tools->db);
            return answer;
        }
        pass(self, TALLY_AT_VISIBLE);
    }
    answer = of_store(self, tally_export_store_commit(self->tools->db));
    return answer == TALLY_EXPORT_AWAY ? find_out(self) : answer;
}

static tally_export_answer_t
end_refused(tally_export_run_t *self)
{
    char *result = tally_export_error_json(self->code, self->problem.text);
    tally_export_outcome_t outcome = {.survey = self->request.survey,
                                      .format = tally_export_format_name(self->request.format),
                                      .error = self->problem.text,
                                      .result = result};
    tally_export_answer_t answer = tally_export_store_end(self->tools->db, &self->key, &outcome);
    if (answer == TALLY_EXPORT_OK) {
        answer = tally_export_store_commit(self->tools->db);
    }
    free(result);
    return of_store(self, answer);
}

static tally_export_answer_t
end_cancelled(tally_export_run_t *self)
{
    tally_export_sink_discard(&self->sink);
    char *result = tally_export_error_json("CANCELLED", "the export was cancelled");
    tally_export_answer_t answer = tally_export_store_end_cancelled(self->tools->db, &self->key,
                                                                    result);
    if (answer == TALLY_EXPORT_OK) {
        answer = tally_export_store_commit(self->tools->db);
    }
    free(result);
    return of_store(self, answer);
}

//  ---- one slice ---------------------------------------------------------------------------------

static tally_export_answer_t
work(tally_export_run_t *self, bool *settled, bool *over)
{
    tally_db_t *db = self->tools->db;
    *over = false;
    tally_export_answer_t answer = of_store(self, tally_export_store_policy(db, &self->policy));
    if (answer == TALLY_EXPORT_OK) {
        answer = of_store(self, tally_export_store_settled(db, &self->key, settled));
    }
    if (answer != TALLY_EXPORT_OK || !*settled) {
        return answer;
    }
    answer = open_row(self);
    if (answer == TALLY_EXPORT_OK) {
        answer = open_sink(self);
    }
    if (answer == TALLY_EXPORT_OK) {
        tell_progress(self);
        answer = add_rows(self, over);
    }
    if (answer == TALLY_EXPORT_OK && !*over) {
        answer = end_done(self);
    }
    return answer;
}

//  What went wrong is what people want to read, not that it could not be written down.
static void
blame(tally_export_run_t *self, bool last)
{
    tally_export_outcome_t outcome = {.survey = self->request.survey,
                                      .format = tally_export_format_name(self->request.format),
                                      .error = self->problem.text};
    if (tally_export_store_blame(self->tools->db, &self->key, &outcome, last) != TALLY_EXPORT_OK) {
        tally_log_warn("could not note why an export failed: %s", tally_db_error(self->tools->db));
    }
}

static tally_run_end_t
fail(tally_export_run_t *self, uint32_t failures)
{
    bool last = failures + 1 >= self->policy.failures_max;
    blame(self, last);
    if (last) {
        tally_export_sink_discard(&self->sink);
        tell(self, "failed");
    }
    return TALLY_RUN_FAILED;
}

tally_run_end_t
tally_export_run_work(tally_export_run_t *self, uint64_t lease, uint32_t failures)
{
    assert(self->sink != NULL);    // an ended run is destroyed
    bool settled = false, over = false;
    const char *state = "done";
    self->key.lease = lease;
    self->extended_ms = now_ms(self);

    tally_export_answer_t answer = work(self, &settled, &over);
    if (answer == TALLY_EXPORT_OK && !settled) {
        return TALLY_RUN_LATER;
    }
    if (answer == TALLY_EXPORT_OK && over) {
        return TALLY_RUN_SLICE;
    }
    if (answer == TALLY_EXPORT_REFUSED) {
        state = "failed";
        answer = end_refused(self);
    }
    if (answer == TALLY_EXPORT_CANCELLED) {
        state = "cancelled";
        answer = end_cancelled(self);
    }
    switch (answer) {
    case TALLY_EXPORT_OK:
        tally_export_sink_destroy(&self->sink);
        tell(self, state);
        pass(self, TALLY_AT_COMMITTED);
        return TALLY_RUN_SETTLED;
    case TALLY_EXPORT_FAULT:
        return fail(self, failures);
    case TALLY_EXPORT_BLOCKED:
        blame(self, false);
        return TALLY_RUN_BLOCKED;
    case TALLY_EXPORT_AWAY:
        return TALLY_RUN_AWAY;
    case TALLY_EXPORT_STALE:
    case TALLY_EXPORT_CANCELLED:
    case TALLY_EXPORT_REFUSED:
        break;
    }
    return TALLY_RUN_STALE;
}
