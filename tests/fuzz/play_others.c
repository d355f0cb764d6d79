// SPDX-License-Identifier: MIT
//  play_others - see play.h: what an input's bytes mean, and what operators and other sessions do.

#include "tests/fuzz/play.h"

#include <stdio.h>

#include "tests/unit/fake_store_state.h"

const char *const play_queue_names[] = {"plain", "alone", "window", "small"};
const char *const play_tenant_names[] = {"acme", "blue", "coal"};

//  ---- the input ---------------------------------------------------------------------------------

uint8_t
play_draw(struct play *play)
{
    return play->at < play->end ? *play->at++ : 0;
}

tally_bytes_t
play_draw_bytes(struct play *play, size_t size)
{
    size_t left = (size_t)(play->end - play->at);
    tally_bytes_t bytes = {play->at, size < left ? size : left};
    play->at += bytes.size;
    return bytes;
}

//  Mostly short, now and then beyond every deadline.
int64_t
play_draw_ms(struct play *play)
{
    static const int32_t table[] = {0, 1, 2, 10, 100, 500, 1500, 10000, 60000, 600000, 43200000};
    return table[play_draw(play) % (sizeof table / sizeof table[0])];
}

uint64_t
play_draw_worker(struct play *play)
{
    tally_worker_info_t info = {0};
    size_t count = tally_core_worker_count(play->core);
    if (count == 0
        || !tally_core_worker_at(play->core, play_draw(play) % count, play->now_ms, &info)) {
        return play_draw(play);
    }
    return info.number;
}

const struct play_lease *
play_draw_lease(struct play *play)
{
    static const struct play_lease none = {.id = 77};
    size_t known = play->lease_count < LEASES_REMEMBERED ? play->lease_count : LEASES_REMEMBERED;
    return known == 0 ? &none : &play->leases[play_draw(play) % known];
}

//  ---- operators and other transactions ----------------------------------------------------------

static void
act_policy(struct play *play)
{
    tally_queue_row_t row = *tally_core_queue_at(play->core, play_draw(play) % PLAY_QUEUES);
    uint8_t how = play_draw(play);
    row.visibility_ms = TALLY_VISIBILITY_MS_MIN + how * 100;
    row.failures_max = 1 + how % 3;
    row.crashes_max = 1 + how % 2;
    row.retry_ms = how;
    row.retry_ms_max = how * 2;
    row.batch_max = 1 + how % 7;
    row.exclusive = (how & 1) != 0;
    row.keep_blobs = (how & 2) != 0;
    row.window_ms = (how & 4) != 0 ? play_draw_ms(play) : 0;
    row.window_count = (how & 8) != 0 ? 1 + how % 5 : 0;
    row.dedupe_kept_ms = 1 + play_draw_ms(play);
    tally_core_put_queue(play->core, &row);
}

static void
act_quota(struct play *play)
{
    tally_tenant_row_t row = {.weight = 1 + play_draw(play) % 20};
    const char *name = play_tenant_names[play_draw(play) % PLAY_TENANTS];
    const tally_tenant_row_t *old = tally_core_tenant_find(play->core, tally_bytes_of(name));
    row.id = old == NULL ? 0 : old->id;
    snprintf(row.name, sizeof row.name, "%s", name);
    row.messages_max = play_draw(play);
    row.bytes_max = play_draw(play) * 16;
    row.leased_max = play_draw(play);
    tally_core_put_tenant(play->core, &row);
}

void
play_operate(struct play *play)
{
    uint8_t how = play_draw(play);
    size_t tenants = tally_core_tenant_count(play->core);
    uint32_t tenant = tenants == 0
                          ? 1
                          : tally_core_tenant_at(play->core, play_draw(play) % tenants)->id;
    uint32_t queue = tally_core_queue_at(play->core, play_draw(play) % PLAY_QUEUES)->id;
    const struct play_lease *lease = play_draw_lease(play);
    uint64_t message = lease->count > 0 ? lease->messages[play_draw(play) % lease->count] : 7;
    switch (how % 7) {
    case 0:
        act_policy(play);
        break;
    case 1:
        act_quota(play);
        break;
    case 2:
        tally_core_release_window(play->core, queue, tenant, play->now_ms);
        break;
    case 3:
        tally_core_retry_dead(play->core, tenant, message);
        break;
    case 4:
        tally_core_drop_dead(play->core, tenant, message);
        break;
    case 5:
        tally_core_look_in_inbox(play->core);
        break;
    default:
        tally_core_housekeep(play->core);
        break;
    }
}

void
play_elsewhere(struct play *play)
{
    uint8_t how = play_draw(play);
    const struct play_lease *lease = play_draw_lease(play);
    size_t tenants = tally_core_tenant_count(play->core);
    uint32_t queue = tally_core_queue_at(play->core, play_draw(play) % PLAY_QUEUES)->id;
    uint32_t tenant = tenants == 0
                          ? 0
                          : tally_core_tenant_at(play->core, play_draw(play) % tenants)->id;
    bool locks = (how & 0x80) != 0;
    switch (how % 4) {
    case 0:
        if (lease->count > 0 && play_draw(play) % 2 == 1) {
            (void)fake_store_settle(play->store, lease->id, lease->messages, 1);
        } else {
            (void)fake_store_settle(play->store, lease->id, NULL, 0);    // all that are left
        }
        break;
    case 1:
        if (fake_store_find_tenant(play->store, tenant) != NULL    // known, and committed
            && fake_store_inbox_count(play->store) < PLAY_MESSAGES_MAX) {
            fake_store_send(play->store, queue, tenant, "inbox", locks ? "k" : "");
        }
        break;
    case 2:
        if (fake_store_lease(play->store, lease->id) != NULL) {
            fake_store_lock_lease(play->store, lease->id, locks);
        }
        break;
    default:
        if (tenant != 0 && fake_store_term(play->store, queue, tenant) != NULL) {
            fake_store_lock_term(play->store, queue, tenant, locks);
        }
        break;
    }
}

//  ---- the beginning ---------------------------------------------------------------------------

void
play_put_queues(struct play *play)
{
    for (size_t i = 0; i < PLAY_QUEUES; i++) {
        tally_queue_row_t row = {.visibility_ms = 1000,
                                 .failures_max = 3,
                                 .crashes_max = 2,
                                 .retry_ms = 10,
                                 .retry_ms_max = 1000,
                                 .batch_max = i == 3 ? 1 : 8,
                                 .window_ms = i == 2 ? 1000 : 0,
                                 .window_count = i == 2 ? 5 : 0,
                                 .exclusive = i == 1,
                                 .result_kept_ms = 1000,
                                 .dedupe_kept_ms = 1000};
        snprintf(row.name, sizeof row.name, "%s", play_queue_names[i]);
        fake_store_put_queue(play->store, &row);
    }
}
