// SPDX-License-Identifier: MIT
//  failpoints - the orders of a run: who shall die, stop, wait or fail at which named point, and what came of it.
//
//  A page in a file, mapped by us and by every process whose TALLY_FAILPOINTS names it and that was built with
//  FAILPOINTS=1 (lib/failpoint.h has the points).  An order is for whichever process reaches the point, once.

#ifndef TALLY_TEST_FAILPOINTS_H
#define TALLY_TEST_FAILPOINTS_H

#include "lib/failpoint.h"

typedef struct tally_failpoints tally_failpoints_t;

//  Opens the page, which is made when it is not there.  NULL with errno when that cannot be, or when it is another
//  build's (EINVAL).
tally_failpoints_t *tally_failpoints_open(const char *path);
void tally_failpoints_close(tally_failpoints_t **self_p);

//  Fires when the point was reached `after` times more (0: the next time).  ms: of a delay, up to 16 777 215.
//  False when the point does not understand an error.
bool tally_failpoints_arm(tally_failpoints_t *self, tally_failpoint_t point,
                          tally_failpoint_action_t action, uint32_t after, uint32_t ms);
//  True when it had not fired.
bool tally_failpoints_disarm(tally_failpoints_t *self, tally_failpoint_t point);
bool tally_failpoints_armed(const tally_failpoints_t *self, tally_failpoint_t point);
//  Since the page was made, of all processes.
uint64_t tally_failpoints_reached(const tally_failpoints_t *self, tally_failpoint_t point);
uint64_t tally_failpoints_fired(const tally_failpoints_t *self, tally_failpoint_t point);

const char *tally_failpoints_name(tally_failpoint_t point);
const char *tally_failpoints_text(tally_failpoint_t point);
bool tally_failpoints_may_fail(tally_failpoint_t point);
//  A point of the broker, else of a worker.
bool tally_failpoints_of_broker(tally_failpoint_t point);
//  False when there is none of that name.
bool tally_failpoints_find(const char *name, tally_failpoint_t *point);
//  "kill", "stop", "delay", "error".
bool tally_failpoints_action(const char *name, tally_failpoint_action_t *action);

#endif
