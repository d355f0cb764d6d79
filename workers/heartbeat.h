// SPDX-License-Identifier: MIT
//  heartbeat - the role of tally-heartbeat: keeps the last ping of every worker and tells of those
//  that stopped.
//
//  Pings are durable messages of tenant `tally` in queue `heartbeat` (runtime_beat.h).  A worker
//  without a ping for two and a half of them is silent: told once on the feed's topic `alert`, and
//  again when it is back.  After a day it is forgotten.  Alerts are for people; the broker decides
//  by beats who may work, never by this.

#ifndef TALLY_HEARTBEAT_H
#define TALLY_HEARTBEAT_H

#include "workers/runtime.h"

extern const tally_worker_role_t tally_heartbeat_role;

#endif
