// SPDX-License-Identifier: MIT
//  responses - the worker that judges and stores responses, and keeps the surveys.
//
//  Queue `responses`: a message's body is one response, as a blob or inline.  Those that fit are stored, once
//  per response id, and announced to `statistics`, in one transaction with the end of their messages; the
//  others are buried with the reason.  Queue `survey`: asks (survey_desk.h).
//
//  Counting is not done here.

#ifndef TALLY_RESPONSES_H
#define TALLY_RESPONSES_H

#include "workers/runtime.h"

extern const tally_worker_role_t tally_responses_role;

#endif
