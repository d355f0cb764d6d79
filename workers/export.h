// SPDX-License-Identifier: MIT
//  export - the role of tally-export: exports of survey responses, and what people ask about them.
//
//      queue export        {"do":"export","survey":S,"format":"table|csv|ndjson","out":DIRECTORY}
//      queue export-read   {"do":"ls"}   {"do":"cancel","export":ID}
//
//  An export holds every response that was confirmed before its request, and each once.  It is
//  worked on in slices (export_run.h), so one worker serves both queues.  Here stands what the
//  message's life asks for: answers, returns and burials; how an export is made stands in
//  export_run.

#ifndef TALLY_EXPORT_H
#define TALLY_EXPORT_H

#include "workers/runtime.h"

extern const tally_worker_role_t tally_export_role;

#endif
