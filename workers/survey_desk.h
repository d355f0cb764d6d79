// SPDX-License-Identifier: MIT
//  survey_desk - answers asks about surveys: queue `survey`.
//
//      {"do": "put", "definition": {...}}      {"ok": true, "survey": slug, "change": "created", "changed" or "none"}
//      {"do": "ls", "after": slug}             {"ok": true, "surveys": [{"slug", "title", "questions": N,
//                                               "responses": N, "put_at"}], "more": false}     "after" may be missing
//      {"do": "get", "survey": slug}           {"ok": true, "definition": {...}}
//
//  or {"ok": false, "error": {"code", "text"}}, codes as on the wire: JSON, OPTION, UNKNOWN, REFUSED.  A put that is
//  repeated changes nothing.  A survey that has responses takes only changes that its responses fit.

#ifndef TALLY_SURVEY_DESK_H
#define TALLY_SURVEY_DESK_H

#include "workers/catalog.h"

void
tally_survey_desk_work(tally_worker_t *worker, tally_catalog_t *catalog, const tally_work_t *work);

#endif
