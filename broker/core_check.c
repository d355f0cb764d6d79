// SPDX-License-Identifier: MIT
//  core_check - every invariant that can be seen by looking.

#include "broker/core_state.h"

void
tally_core_check(const tally_core_t *self)
{
    tally_heap_check(&self->deadlines);
    tally_heap_check(&self->windows);
    tally_heap_check(&self->retries);
    tally_heap_check(&self->crew.silence);
    tally_heap_check(&self->shelf.due);
}
