// SPDX-License-Identifier: MIT
//  rights - what a principal may do: every verb and every admin op, in one table.
//
//  Pure.  Whoever has not got a right hears REFUSED whatever it asked about; whoever has it and names a tenant or a
//  queue that is not its own hears what it would hear of one that does not exist.  A verb or an op that is not in the
//  table is refused.  That a lease belongs to who speaks of it is looked up in the broker (door.c), not here.

#ifndef TALLY_RIGHTS_H
#define TALLY_RIGHTS_H

#include <jansson.h>

#include "broker/principal.h"
#include "lib/wire.h"

//  code 0: it may.
tally_fault_t tally_rights_hello(const tally_principal_t *who, const tally_hello_t *hello);
tally_fault_t tally_rights_send(const tally_principal_t *who, const tally_send_t *send);
//  The rest of the front's and the sink's verbs, which name no tenant or queue.
tally_fault_t tally_rights_verb(const tally_principal_t *who, uint8_t verb);
//  `body`: the request, with "op" and perhaps "tenant".
tally_fault_t tally_rights_op(const tally_principal_t *who, const char *op, const json_t *body);

#endif
