// SPDX-License-Identifier: MIT
//  patience - see patience.h.

#include "workers/patience.h"

#include <assert.h>

tally_wait_t *
tally_patience_require(tally_patience_t *self, uint64_t message)
{
    assert(message != 0);
    tally_wait_t *found = &self->waits[self->next];
    for (unsigned i = 0; i < TALLY_PATIENCE_ROOM; i++) {
        if (self->waits[i].message == message) {
            return &self->waits[i];
        }
        if (self->waits[i].message == 0) {
            found = &self->waits[i];
        }
    }
    if (found == &self->waits[self->next]) {
        self->next = (self->next + 1) % TALLY_PATIENCE_ROOM;
    }
    *found = (tally_wait_t){.message = message};
    return found;
}

void
tally_patience_forget(tally_patience_t *self, uint64_t message)
{
    for (unsigned i = 0; i < TALLY_PATIENCE_ROOM; i++) {
        if (self->waits[i].message == message) {
            self->waits[i] = (tally_wait_t){0};
        }
    }
}

int64_t
tally_wait_longer(tally_wait_t *wait, int64_t first_ms, int64_t last_ms)
{
    int64_t longer_ms = wait->delay_ms + wait->delay_ms / 2 + 1;
    wait->delay_ms = longer_ms < first_ms ? first_ms : longer_ms < last_ms ? longer_ms : last_ms;
    return wait->delay_ms;
}
