// SPDX-License-Identifier: MIT
//  rota - fair turns between the tenants of a queue: deficit round robin by weight.
//
//  Each stream at the front of the list is served while its deficit is positive; when it is used
//  up, it gets weight * TALLY_QUANTUM more and goes to the end.  A lease may take more than is
//  left: that debt is paid with the turns that follow, so shares are exact in the long run whatever
//  the size of leases, and a tenant that floods delays another one by at most a lease and a
//  quantum.  What is left of either outlives an empty stream: nobody gains by being empty.

#ifndef TALLY_ROTA_H
#define TALLY_ROTA_H

#include "broker/stream.h"

#define TALLY_QUANTUM 32    // messages per unit of weight and turn

//  Whose turn it is; NULL when the list is empty.
tally_stream_t *tally_rota_next(tally_list_t *rota);
//  It was served.
void tally_rota_charge(tally_stream_t *stream, uint32_t messages);

#endif
