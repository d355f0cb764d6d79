// SPDX-License-Identifier: MIT
//  front_answer - how answers leave by the ROUTER.
//
//  Answers never wait for a peer: who is gone or does not read loses them and asks again.

#include <assert.h>

#include "broker/broker.h"
#include "lib/failpoint.h"

void
tally_front_answer(tally_broker_t *self, uint64_t route)
{
    tally_owner_require(&self->owner);
    if (TALLY_FAILPOINT_FAILS(ANSWER_SEND)) {
        self->counters.replies_lost++;
        return;
    }
    uint8_t identity[TALLY_ROUTE_BYTES] = {0};
    for (size_t i = 1; i < TALLY_ROUTE_BYTES; i++) {
        identity[i] = (uint8_t)(route >> (8 * (TALLY_ROUTE_BYTES - 1 - i)));
    }
    void *front = zsock_resolve(self->front);
    self->looks.front = true;
    if (zmq_send(front, identity, sizeof identity, ZMQ_SNDMORE | ZMQ_DONTWAIT) == -1) {
        self->counters.replies_lost++;
        if (errno == EHOSTUNREACH) {
            tally_front_gone(self, route);
        }
        return;
    }
    if (zmq_send(front, self->wire.data, self->wire.size, ZMQ_DONTWAIT) == -1) {
        self->counters.replies_lost++;
    }
}

void
tally_front_gone(tally_broker_t *self, uint64_t route)
{
    tally_caller_t *caller = tally_callers_find(self->callers, route);
    if (caller != NULL && caller->worker == 0) {    // a worker's lane says when it is gone
        tally_core_forget_sender(self->core, caller->sender);
        tally_callers_remove(self->callers, route);
    }
}

void
tally_front_refuse(tally_broker_t *self, uint64_t route, uint64_t request, tally_fault_t fault,
                   uint32_t retry_after_ms)
{
    self->counters.frames_refused++;
    const tally_error_t error = {.code = (uint16_t)fault.code,
                                 .index = fault.index,
                                 .retry_after_ms = retry_after_ms,
                                 .text = tally_bytes_of(fault.text)};
    tally_error_write(&self->wire, request, &error);
    tally_front_answer(self, route);
}

void
tally_front_reply(tally_broker_t *self, uint64_t route, uint64_t request, json_t *reply)
{
    char *text = json_dumps(reply, JSON_COMPACT);
    json_decref(reply);
    assert(text != NULL);
    tally_wire_start(&self->wire, TALLY_REPLY, request);
    tally_wire_put_raw(&self->wire, tally_bytes_of(text));
    free(text);
    tally_front_answer(self, route);
}

void
tally_front_result(tally_broker_t *self, const tally_asker_t *asker, uint8_t outcome,
                   tally_bytes_t body)
{
    tally_caller_t *caller = tally_callers_find_sender(self->callers, asker->sender);
    if (caller == NULL) {
        return;    // kept in the database for when it comes back
    }
    tally_caller_answered(caller, asker);
    const tally_result_t result = {.index = asker->item, .outcome = outcome, .body = body};
    tally_result_write(&self->wire, asker->sequence, &result);
    tally_front_answer(self, caller->route);
}

void
tally_front_look_for_result(tally_broker_t *self, const tally_asker_t *asker)
{
    tally_read_t *read = tally_read_new(TALLY_READ_RESULT);
    read->asker = *asker;
    if (tally_reader_ask(self->reader, &read) == -1) {
        tally_read_destroy(&read);    // the client asks again
        self->counters.replies_lost++;
    }
}
