// SPDX-License-Identifier: MIT
//  bench_producer - a thread that keeps its window of sends full, and marks what is confirmed.

#include "clients/cmd/bench.h"

#include "lib/alloc.h"
#include "lib/clock.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define STEP_MS 100
#define DRAIN_MS 30000

struct producer {
    tally_bench_t *bench;
    unsigned index;
    tally_client_t *client;
    tally_message_t *messages;    // of one batch; their bodies stand in text
    char *text;
    uint64_t next;              // number of the next message
    uint64_t first_sequence;    // of the send with number 0; 0: none yet
};

static int
fail(struct producer *p)
{
    fprintf(stderr, "tally: producer %u: %s: %s\n", p->index,
            tally_client_code_name(tally_client_code(p->client)), tally_client_text(p->client));
    atomic_store(&p->bench->failed, true);
    return -1;
}

static bool
may_pass(const struct producer *p)
{
    int code = tally_client_code(p->client);
    return code == TALLY_CODE_TIMEOUT || code == TALLY_CODE_UNREACHABLE || code == TALLY_CODE_BUSY
           || code == TALLY_CODE_AWAY;
}

static void
make_messages(struct producer *p)
{
    const tally_bench_t *bench = p->bench;
    p->text = tally_alloc_array(bench->batch, bench->body_bytes);
    p->messages = tally_alloc_array(bench->batch, sizeof *p->messages);
    unsigned noise = 12345 + p->index;
    for (size_t i = 0; i < bench->batch * bench->body_bytes; i++) {
        noise = noise * 1103515245 + 12345;
        p->text[i] = (char)(noise >> 16);
    }
    for (size_t i = 0; i < bench->batch; i++) {
        p->messages[i].body = p->text + i * bench->body_bytes;
        p->messages[i].body_bytes = bench->body_bytes;
    }
}

//  0 when it is on its way, 1 when the connection is not there now, -1 after a failure.
static int
send_batch(struct producer *p)
{
    const tally_bench_t *bench = p->bench;
    tally_bench_stamp_t stamp = {.run = bench->run,
                                 .producer = p->index,
                                 .sent_at_us = tally_clock_now_us()};
    for (size_t i = 0; i < bench->batch; i++) {
        stamp.number = p->next + i;
        memcpy(p->text + i * bench->body_bytes, &stamp, sizeof stamp);
    }
    uint64_t sequence;
    if (tally_client_send(p->client, TALLY_BENCH_QUEUE, TALLY_BENCH_TENANT, p->messages,
                          bench->batch, STEP_MS, &sequence)
        == -1) {
        return may_pass(p) ? 1 : fail(p);
    }
    if (p->first_sequence == 0) {
        p->first_sequence = sequence;
    }
    assert(bench->batch > 0);
    assert(sequence == p->first_sequence + p->next / bench->batch);
    p->next += bench->batch;
    return 0;
}

//  Takes an event if there is one in time; 0 when it took one, 1 when not, -1 after a failure.
static int
take_event(struct producer *p, int timeout_ms)
{
    tally_bench_t *bench = p->bench;
    tally_event_t event;
    if (tally_client_next(p->client, timeout_ms, &event) == -1) {
        return may_pass(p) ? 1 : fail(p);
    }
    if (event.kind == TALLY_EVENT_REFUSED) {
        return fail(p);
    }
    uint64_t number = (event.sequence - p->first_sequence) * bench->batch;
    for (unsigned i = 0; i < bench->batch; i++) {
        tally_marks_add(bench->confirmed_marks[p->index], number + i);
    }
    atomic_fetch_add(&bench->confirmed, bench->batch);
    return 0;
}

static int
produce(struct producer *p)
{
    const tally_bench_t *bench = p->bench;
    while (atomic_load(&bench->phase) < TALLY_BENCH_DRAIN && !atomic_load(&bench->failed)) {
        int sent = 0;
        while (sent == 0 && tally_client_unconfirmed(p->client) < bench->window) {
            sent = send_batch(p);
        }
        if (sent == -1 || take_event(p, STEP_MS) == -1) {
            return -1;
        }
    }
    int64_t until_ms = tally_clock_now_ms() + DRAIN_MS;
    bool more = true;
    while (more && tally_clock_now_ms() < until_ms) {
        more = tally_client_unconfirmed(p->client) > 0;
        int taken = take_event(p, more ? STEP_MS : 0);
        if (taken == -1) {
            return -1;
        }
        more = more || taken == 0;
    }
    return 0;
}

void *
tally_bench_produce(void *argument)
{
    tally_bench_thread_t *thread = argument;
    struct producer p = {.bench = thread->bench, .index = thread->index};
    p.client = tally_client_new(p.bench->endpoint);
    if (p.client == NULL) {
        fprintf(stderr, "tally: producer %u: no resources for a connection\n", p.index);
        atomic_store(&p.bench->failed, true);
        return NULL;
    }
    char name[32];
    snprintf(name, sizeof name, "bench-producer-%u", p.index);
    int rc = tally_client_set_name(p.client, name);
    assert(rc == 0);
    make_messages(&p);
    (void)produce(&p);    // what failed was said
    tally_client_destroy(&p.client);
    free(p.messages);
    free(p.text);
    return NULL;
}
