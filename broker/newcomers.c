// SPDX-License-Identifier: MIT
//  newcomers - see newcomers.h.

#include "broker/newcomers.h"

#include <string.h>

#include "lib/limits.h"

#define THOUSAND 1000
#define TOKENS_MAX ((int64_t)TALLY_NEWCOMERS_FAILED_BURST * THOUSAND)

enum { STRANGE, FAMILIAR };

void
tally_newcomers_init(tally_newcomers_t *self, int64_t now_ms)
{
    memset(self, 0, sizeof *self);
    tally_list_init(&self->waiting);
    self->tokens[STRANGE] = self->tokens[FAMILIAR] = TOKENS_MAX;
    self->filled_at_ms = now_ms;
}

static void
add_tokens(tally_newcomers_t *self, unsigned kind, int64_t more)
{
    int64_t room = TOKENS_MAX - self->tokens[kind];
    self->tokens[kind] += more < room ? more : room;
}

//  A token a second is a thousandth of one a millisecond.
static void
fill(tally_newcomers_t *self, int64_t now_ms)
{
    int64_t passed_ms = now_ms - self->filled_at_ms;
    if (passed_ms > THOUSAND * TALLY_NEWCOMERS_FAILED_BURST) {
        passed_ms = THOUSAND * TALLY_NEWCOMERS_FAILED_BURST;    // enough for all
    }
    add_tokens(self, STRANGE, passed_ms * TALLY_NEWCOMERS_FAILED_PER_S);
    add_tokens(self, FAMILIAR, passed_ms * TALLY_NEWCOMERS_FAILED_PER_S);
    self->filled_at_ms = now_ms;
}

static uint64_t *
place_of(tally_newcomers_t *self, uint64_t address)
{
    return &self->addresses[address % TALLY_NEWCOMERS_ADDRESSES];
}

bool
tally_newcomers_enter(tally_newcomers_t *self, tally_newcomer_t *newcomer, uint64_t address,
                      int64_t now_ms)
{
    assert(address != 0);
    assert(now_ms >= self->filled_at_ms);
    fill(self, now_ms);
    unsigned kind = *place_of(self, address) == address ? FAMILIAR : STRANGE;
    if (self->tokens[kind] < THOUSAND) {
        return false;
    }
    self->tokens[kind] -= THOUSAND;
    *newcomer = (tally_newcomer_t){.address = address, .kind = kind};
    tally_list_append(&self->waiting, &newcomer->link);
    return true;
}

tally_newcomer_t *
tally_newcomers_expel(tally_newcomers_t *self, bool need)
{
    if (!need && self->waiting.count <= TALLY_NEWCOMERS_MAX) {
        return NULL;
    }
    tally_link_t *oldest = tally_list_first(&self->waiting);
    if (oldest == NULL) {
        return NULL;
    }
    tally_list_remove(&self->waiting, oldest);
    return TALLY_OF(oldest, tally_newcomer_t, link);
}

void
tally_newcomers_prove(tally_newcomers_t *self, tally_newcomer_t *newcomer)
{
    if (tally_link_in(&newcomer->link)) {
        tally_list_remove(&self->waiting, &newcomer->link);
        add_tokens(self, newcomer->kind, THOUSAND);
        *place_of(self, newcomer->address) = newcomer->address;
    }
}

void
tally_newcomers_leave(tally_newcomers_t *self, tally_newcomer_t *newcomer)
{
    if (tally_link_in(&newcomer->link)) {
        tally_list_remove(&self->waiting, &newcomer->link);
    }
}
