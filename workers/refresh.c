// SPDX-License-Identifier: MIT
//  refresh - see refresh.h.

#include "workers/refresh.h"

#include "workers/counting_store.h"
#include "workers/refresh_store.h"

#define DELAY_MS_FIRST 20
#define DELAY_MS_LAST 100

//  tally_wait_t.stage: the leg that is waited for; mark: the response that was the first when last looked, then the
//  last inbox row, then the last message, that belongs to the leg.
enum { LEG_JUDGED, LEG_ANNOUNCED, LEG_COUNTED, LEGS_GONE };

//  Goes as far as it can.
static tally_effect_t
advance(tally_counter_t *self, const tally_delivered_t *item, tally_wait_t *wait)
{
    tally_pending_t pending;
    int64_t from = wait->stage == LEG_JUDGED ? wait->mark : INT64_MAX;
    tally_effect_t effect = tally_refresh_store_look(self->db, self->work->tenant, item->id, from,
                                                     &pending);
    if (effect != TALLY_EFFECT_DONE) {
        return effect;
    }
    if (wait->stage == LEG_JUDGED) {
        bool all = pending.response_first == 0;
        wait->stage = all ? LEG_ANNOUNCED : LEG_JUDGED;
        wait->mark = all ? pending.inbox_last : pending.response_first;
    }
    if (wait->stage == LEG_ANNOUNCED
        && (pending.inbox_first == 0 || pending.inbox_first > wait->mark)) {
        wait->stage = LEG_COUNTED;
        wait->mark = pending.message_last;
    }
    if (wait->stage == LEG_COUNTED) {
        bool found = false;
        effect = tally_refresh_store_pointers(self->db, self->work->tenant, wait->mark, &found);
        if (effect == TALLY_EFFECT_DONE && !found) {
            wait->stage = LEGS_GONE;
        }
    }
    return effect;
}

static void
answer_counts(tally_counter_t *self, const tally_delivered_t *item)
{
    json_t *surveys = json_object();
    tally_effect_t effect = tally_counting_store_list(self->db, self->work->tenant, surveys);
    if (effect != TALLY_EFFECT_DONE) {
        json_decref(surveys);
        tally_effect_give_back(self->worker, self->work, &item->id, 1, effect, "refresh");
        return;
    }
    json_t *answer = tally_ask_ok();
    json_object_set_new(answer, "surveys", surveys);
    tally_ask_answer(self->worker, self->work, item, answer);
    tally_patience_forget(self->patience, item->id);
}

void
tally_refresh_work(tally_counter_t *self, const tally_delivered_t *item, const json_t *request)
{
    static const char *const known[] = {NULL};
    json_t *refusal = tally_ask_check(request, known);
    if (refusal != NULL) {
        tally_ask_answer(self->worker, self->work, item, refusal);
        return;
    }
    tally_wait_t *wait = tally_patience_require(self->patience, item->id);
    tally_effect_t effect = advance(self, item, wait);
    if (effect != TALLY_EFFECT_DONE) {
        tally_effect_give_back(self->worker, self->work, &item->id, 1, effect, "refresh");
    } else if (wait->stage == LEGS_GONE) {
        answer_counts(self, item);
    } else {
        tally_worker_return(self->worker, self->work, &item->id, 1, false,
                            tally_wait_longer(wait, DELAY_MS_FIRST, DELAY_MS_LAST),
                            "not all is counted yet");
    }
}
