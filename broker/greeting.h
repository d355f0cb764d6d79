// SPDX-License-Identifier: MIT
//  greeting - reads how a connection begins, lets nobody in who brings a name of its own, and tells when one is in.
//
//  ROUTER numbers peers that have no name; one that claims a number not yet given ends the process when that number's
//  turn comes (libzmq 4.3.4: assertion in add_out_pipe), and its API cannot refuse names.  Tally's peers have none.  So
//  the first bytes are looked at before libzmq has the last of them: ZMTP 3 or later, and with the mechanism NULL a
//  READY without an Identity.  With CURVE what follows is encrypted: there a key decides who comes so far, and who is
//  in is seen by our own READY, which libzmq says to nobody else.  Before that nobody has anything to say but
//  TALLY_HANDSHAKE_BYTES_MAX.  No input or output here.

#ifndef TALLY_GREETING_H
#define TALLY_GREETING_H

#include "lib/bytes.h"

typedef struct tally_greeting tally_greeting_t;

tally_greeting_t *tally_greeting_new(void);
void tally_greeting_destroy(tally_greeting_t **self_p);

typedef enum {
    TALLY_GREETING_MORE,
    TALLY_GREETING_GOOD,    // it is in
    TALLY_GREETING_BAD
} tally_greeting_verdict_t;

//  What was received next, and what was sent.  Not to be called again once it is GOOD or BAD.
tally_greeting_verdict_t tally_greeting_take(tally_greeting_t *self, tally_bytes_t bytes);
tally_greeting_verdict_t tally_greeting_said(tally_greeting_t *self, tally_bytes_t bytes);

#endif
