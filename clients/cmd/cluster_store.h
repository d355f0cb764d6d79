// SPDX-License-Identifier: MIT
//  cluster_store - the first words with a new cluster.

#ifndef TALLY_CLUSTER_STORE_H
#define TALLY_CLUSTER_STORE_H

#include "lib/bytes.h"

//  Makes the database that `conninfo` names unless it is there.  0 when it is; 1 when the server does not answer
//  yet; -1 when it refuses (said on standard error).
int tally_cluster_store_ensure(const char *conninfo) TALLY_MUST_CHECK;

#endif
