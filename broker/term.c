// SPDX-License-Identifier: MIT
//  term - see term.h.

#include "broker/term.h"

#include <stdlib.h>

#include "broker/planted.h"
#include "broker/queue.h"
#include "lib/alloc.h"

#define BACKOFF_MS 20
#define BACKOFF_MS_MAX 250

bool
tally_term_vacant(const tally_stream_t *stream)
{
    const tally_term_t *term = &stream->term;
    if (term->electing || tally_heap_holds(&term->retry)) {
        return false;
    }
    if (term->holder == NULL) {
        return stream->stats.ready > 0 || term->vacated;
    }
    return term->holder->worker->draining && stream->leases == 0;
}

void
tally_term_hold(tally_stream_t *stream, tally_member_t *member)
{
    tally_term_t *term = &stream->term;
    assert(term->holder == NULL);
    term->holder = member;
    term->vacated = false;
    tally_list_append(&member->worker->terms, &term->of_worker);
    tally_crew_weigh(member->worker);
    tally_queue_place(stream);
}

void
tally_term_vacate(tally_stream_t *stream)
{
    tally_term_t *term = &stream->term;
    tally_member_t *holder = term->holder;
    assert(holder != NULL);
    tally_list_remove(&holder->worker->terms, &term->of_worker);
    term->holder = NULL;
    term->vacated = true;
    tally_queue_place(stream);
    tally_member_place(holder);
    tally_crew_weigh(holder->worker);
}

void
tally_term_free(tally_term_t *self)
{
    free(self->worker_name);
    free(self->elected_name);
}

void
tally_term_load(tally_term_t *self, const tally_term_row_t *row)
{
    assert(self->holder == NULL);
    self->epoch = row->epoch;
    self->worker = row->worker;
    free(self->worker_name);
    self->worker_name = tally_strdup(row->worker_name);
}

void
tally_term_elect(tally_stream_t *stream, tally_member_t *member, tally_plan_t *plan)
{
    tally_term_t *term = &stream->term;
    assert(tally_term_vacant(stream));
    //  The worker may be gone before the plan is written; its name goes with the plan.
    tally_chunk_t *name = tally_chunk_new(
        (tally_bytes_t){member->worker->name, sizeof member->worker->name});
    *TALLY_PUSH(&plan->chunks) = name;
    *TALLY_PUSH(&plan->terms) = (tally_plan_term_t){
        .queue = stream->queue->row.id,
        .tenant = stream->tenant->row.id,
        .epoch = term->epoch + 1,
        .worker = member->worker->number,
        .worker_name = (const char *)name->data,
    };
    term->electing = true;
    term->granted = false;
    term->elected = member->worker->number;
    free(term->elected_name);
    term->elected_name = tally_strdup(member->worker->name);
    member->worker->electing++;
    tally_crew_weigh(member->worker);
    tally_queue_place(stream);
}

static void
notify(tally_plan_t *plan, const tally_stream_t *stream, uint64_t worker, tally_notice_kind_t kind,
       uint64_t epoch)
{
    *TALLY_PUSH(&plan->notices) = (tally_plan_notice_t){
        .worker = worker,
        .kind = kind,
        .queue = stream->queue->row.id,
        .tenant = stream->tenant->row.id,
        .epoch = epoch,
    };
}

//  The row says so now: who had the term hears it, and who has it.
static void
grant(tally_stream_t *stream, tally_crew_worker_t *winner, tally_plan_t *plan)
{
    tally_term_t *term = &stream->term;
    if (term->holder != NULL) {
        notify(plan, stream, term->worker, TALLY_NOTICE_TERM_LOST, term->epoch);
        tally_term_vacate(stream);
    }
    term->epoch++;
    term->worker = term->elected;
    free(term->worker_name);
    term->worker_name = term->elected_name;
    term->elected_name = NULL;
    term->backoff_ms = 0;
    *TALLY_PUSH(&plan->events) = (tally_plan_event_t){
        .kind = TALLY_EVENT_TERM,
        .queue = stream->queue->row.id,
        .tenant = stream->tenant->row.id,
        .worker = term->worker,
        .epoch = term->epoch,
    };
    tally_member_t *member = winner == NULL ? NULL : tally_crew_member(winner, stream->queue);
    if (member == NULL) {
        term->vacated = true;    // gone meanwhile
        return;
    }
    notify(plan, stream, term->worker, TALLY_NOTICE_TERM, term->epoch);
    tally_term_hold(stream, member);
}

void
tally_term_decide(tally_stream_t *stream, const tally_crew_t *crew, tally_heap_t *retries,
                  tally_plan_t *plan, int64_t now_ms)
{
    tally_term_t *term = &stream->term;
    assert(term->electing);
    tally_crew_worker_t *winner = tally_crew_find(crew, term->elected);
    if (winner != NULL) {
        winner->electing--;
        tally_crew_weigh(winner);
    }
    if (term->granted || TALLY_PLANTED(TERM_UNGRANTED)) {
        grant(stream, winner, plan);
    } else {
        term->backoff_ms = term->backoff_ms == 0 ? BACKOFF_MS : term->backoff_ms * 2;
        if (term->backoff_ms > BACKOFF_MS_MAX) {
            term->backoff_ms = BACKOFF_MS_MAX;
        }
        tally_heap_put(retries, &term->retry, now_ms + term->backoff_ms, stream->number);
    }
    term->electing = false;
    tally_queue_place(stream);
}
