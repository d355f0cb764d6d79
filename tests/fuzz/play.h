// SPDX-License-Identifier: MIT
//  play - a history of the core as an input tells it: what fuzz_core.c and play_others.c share.

#ifndef FUZZ_PLAY_H
#define FUZZ_PLAY_H

#include "broker/core.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/fake_store.h"

#define PLAY_QUEUES 4
#define PLAY_TENANTS 3
#define PLAY_MESSAGES_MAX 300    // pending at once
#define LEASES_REMEMBERED 16
#define IDS_REMEMBERED 8
#define SENDERS 2

extern const char *const play_queue_names[PLAY_QUEUES];
extern const char *const play_tenant_names[PLAY_TENANTS];

struct play_lease {
    uint64_t id;
    uint64_t messages[IDS_REMEMBERED];
    size_t count;
};

struct play {
    const uint8_t *at, *end;    // of the input
    tally_core_t *core;
    fake_store_t *store;
    tally_plan_t *plan;    // out, between seal and commit
    const tally_tick_result_t *result;
    int64_t now_ms;
    uint64_t epoch;
    uint64_t sequences[SENDERS];
    struct play_lease leases[LEASES_REMEMBERED];
    size_t lease_count;    // ever; the ring's next is this modulo its size
    tally_wire_t wire;
};

//  ---- the input: zeros behind its end ------------------------------------------------------------

uint8_t play_draw(struct play *play);
tally_bytes_t play_draw_bytes(struct play *play, size_t size);
int64_t play_draw_ms(struct play *play);    // mostly short, now and then beyond every deadline
//  One that is connected; when there is none, a number that is nobody's.
uint64_t play_draw_worker(struct play *play);
//  One that was told lately, maybe over since.
const struct play_lease *play_draw_lease(struct play *play);

//  ---- what others do ----------------------------------------------------------------------------

void play_put_queues(struct play *play);
void play_operate(struct play *play);      // an operator
void play_elsewhere(struct play *play);    // another session of the database

#endif
