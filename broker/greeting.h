// SPDX-License-Identifier: MIT
//  greeting - reads how a connection begins, and lets nobody in who brings a name of its own.
//
//  ROUTER numbers peers that have no name; one that claims a number not yet given ends the process when that number's
//  turn comes (libzmq 4.3.4: assertion in add_out_pipe), and its API cannot refuse names.  Tally's peers have none.  So
//  the first bytes are looked at before libzmq has the last of them: ZMTP 3 or later, and with the mechanism NULL a
//  READY without an Identity.  With CURVE what follows is encrypted: there a key decides who comes so far.  No input
//  or output here.

#ifndef TALLY_GREETING_H
#define TALLY_GREETING_H

#include "lib/bytes.h"

typedef struct tally_greeting tally_greeting_t;

tally_greeting_t *tally_greeting_new(void);
void tally_greeting_destroy(tally_greeting_t **self_p);

typedef enum {
    TALLY_GREETING_MORE,
    TALLY_GREETING_GOOD,
    TALLY_GREETING_BAD
} tally_greeting_verdict_t;

//  What was received next.  Not to be called again once it is GOOD or BAD.
tally_greeting_verdict_t tally_greeting_take(tally_greeting_t *self, tally_bytes_t bytes);

#endif
