// SPDX-License-Identifier: MIT
//  bench_producer - a thread that sends, and marks what is confirmed.
//
//  Without a rate it keeps its window full.  Under a rate each send has a time at which it should leave, whatever the
//  broker does meanwhile; its latency counts from that time, also when it had to wait for the window or for this
//  thread, so that a broker that stalls is not flattered by a load that stalls with it.

#include "clients/cmd/bench.h"

#include "lib/alloc.h"
#include "lib/clock.h"

#include <assert.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>

#define STEP_MS 100
#define DRAIN_MS 30000

struct producer {
    tally_bench_t *bench;
    tally_bench_thread_t *thread;
    unsigned index;
    tally_client_t *client;
    tally_message_t *messages;    // of one batch; their bodies stand in text
    char *text;
    uint64_t next;                            // number of the next message
    uint64_t first_sequence;                  // of the send with number 0; 0: none yet
    unsigned tenant;                          // of the next send
    int64_t sent_at_us[TALLY_SEND_WINDOW];    // of each send that may be outstanding, by its number
    int64_t started_us;                       // under a rate: send k leaves at started + k * step
    double step_us;
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
send_batch(struct producer *p, int64_t sent_at_us)
{
    const tally_bench_t *bench = p->bench;
    tally_bench_stamp_t stamp = {.run = bench->run, .producer = p->index, .sent_at_us = sent_at_us};
    for (size_t i = 0; i < bench->batch; i++) {
        stamp.number = p->next + i;
        memcpy(p->text + i * bench->body_bytes, &stamp, sizeof stamp);
    }
    char tenant[TALLY_BENCH_NAME_BYTES];
    tally_bench_tenant(bench, p->tenant, tenant);
    uint64_t sequence;
    if (tally_client_send(p->client, TALLY_BENCH_QUEUE, tenant, p->messages, bench->batch, STEP_MS,
                          &sequence)
        == -1) {
        return may_pass(p) ? 1 : fail(p);
    }
    if (p->first_sequence == 0) {
        p->first_sequence = sequence;
    }
    assert(bench->batch > 0);
    assert(sequence == p->first_sequence + p->next / bench->batch);
    p->sent_at_us[p->next / bench->batch % TALLY_SEND_WINDOW] = sent_at_us;
    p->next += bench->batch;
    p->tenant = (p->tenant + bench->producers) % bench->tenants;
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
    uint64_t sent = event.sequence - p->first_sequence;
    int64_t sent_at_us = p->sent_at_us[sent % TALLY_SEND_WINDOW];
    if (tally_bench_counts(bench, sent_at_us)) {
        tally_histogram_add(p->thread->latency_us, (uint64_t)(tally_clock_now_us() - sent_at_us),
                            bench->batch);
    }
    uint64_t number = sent * bench->batch;
    for (unsigned i = 0; i < bench->batch; i++) {
        tally_marks_add(bench->confirmed_marks[p->index], number + i);
    }
    atomic_fetch_add(&bench->confirmed, bench->batch);
    return 0;
}

static bool
goes_on(const struct producer *p)
{
    return atomic_load(&p->bench->phase) < TALLY_BENCH_DRAIN && !atomic_load(&p->bench->failed);
}

static int
send_freely(struct producer *p)
{
    while (goes_on(p)) {
        int sent = 0;
        while (sent == 0 && tally_client_unconfirmed(p->client) < p->bench->window) {
            sent = send_batch(p, tally_clock_now_us());
        }
        if (sent == -1 || take_event(p, STEP_MS) == -1) {
            return -1;
        }
    }
    return 0;
}

//  Takes what comes until then; -1 after a failure.
static int
wait_until_us(struct producer *p, int64_t at_us)
{
    int64_t left_us = at_us - tally_clock_now_us();
    while (left_us > 0 && goes_on(p)) {
        int taken = take_event(p, 0);
        if (taken == -1) {
            return -1;
        }
        left_us = at_us - tally_clock_now_us();
        if (taken == 1 && left_us > 0) {
            struct pollfd client = {.fd = tally_client_fd(p->client), .events = POLLIN};
            int64_t wait_us = left_us < STEP_MS * 1000 ? left_us : STEP_MS * 1000;
            struct timespec wait = {.tv_nsec = wait_us * 1000};
            ppoll(&client, 1, &wait, NULL);
        }
        left_us = at_us - tally_clock_now_us();
    }
    return 0;
}

static int
send_by_rate(struct producer *p)
{
    const tally_bench_t *bench = p->bench;
    //  Linux lets a sleeping thread oversleep by 50 us unless told otherwise: each send would leave that late.
    int rc = prctl(PR_SET_TIMERSLACK, 1UL);
    assert(rc == 0);
    p->step_us = 1e6 * bench->batch * bench->producers / bench->rate;
    p->started_us = tally_clock_now_us() + (int64_t)(p->step_us * p->index / bench->producers);
    uint64_t number = 0;
    while (goes_on(p)) {
        int64_t at_us = p->started_us + (int64_t)(p->step_us * (double)number);
        if (wait_until_us(p, at_us) == -1) {
            return -1;
        }
        bool has_room = tally_client_unconfirmed(p->client) < TALLY_SEND_WINDOW;
        int sent = has_room ? send_batch(p, at_us) : 1;
        number += sent == 0;
        if (sent == -1 || take_event(p, sent == 1 ? STEP_MS : 0) == -1) {
            return -1;
        }
    }
    return 0;
}

static int
produce(struct producer *p)
{
    if ((p->bench->rate > 0 ? send_by_rate(p) : send_freely(p)) == -1) {
        return -1;
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
    struct producer p = {.bench = thread->bench,
                         .thread = thread,
                         .index = thread->index,
                         .tenant = thread->index % thread->bench->tenants};
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
