// SPDX-License-Identifier: MIT
//  survey_store - tally.survey: definitions, who changes them, who holds them.
//
//  A survey is changed under FOR UPDATE and written by under FOR KEY SHARE (tally_survey_store_hold), so no
//  response is stored by a definition that is being replaced.

#ifndef TALLY_SURVEY_STORE_H
#define TALLY_SURVEY_STORE_H

#include "workers/catalog.h"

//  Calls `take` for each of the slugs that there is.  definition.data is NULL when its hash is the one given.
typedef void tally_survey_take_t(void *context, const char *slug, int32_t id, const char *hash,
                                 tally_bytes_t definition);
tally_effect_t
tally_survey_store_load(tally_db_t *db, const char *tenant, const tally_bytes_t *slugs,
                        const tally_bytes_t *hashes, size_t count, tally_survey_take_t *take,
                        void *context) TALLY_MUST_CHECK;

//  In a transaction: keeps these surveys as they are until it ends.  CHANGED when one of them is not any more.
tally_effect_t
tally_survey_store_hold(tally_db_t *db, const char *tenant, const tally_entry_t *const *entries,
                        size_t count) TALLY_MUST_CHECK;

//  In a transaction: the survey of that name, locked for a change; *definition (owned by the caller, NULL when
//  there is no such survey) and whether it has responses.
tally_effect_t
tally_survey_store_lock(tally_db_t *db, const char *tenant, const char *slug, char **definition,
                        size_t *size, bool *has_responses) TALLY_MUST_CHECK;
//  In a transaction.  CHANGED when another put came first.
tally_effect_t tally_survey_store_insert(tally_db_t *db, const char *tenant, const char *slug,
                                         tally_bytes_t definition) TALLY_MUST_CHECK;
tally_effect_t tally_survey_store_update(tally_db_t *db, const char *tenant, const char *slug,
                                         tally_bytes_t definition) TALLY_MUST_CHECK;

//  Appends {"slug", "title", "questions": N, "responses": N, "put_at"} to `list`, up to `limit`,
//  after the slug `after`.
tally_effect_t tally_survey_store_list(tally_db_t *db, const char *tenant, const char *after,
                                       int32_t limit, json_t *list) TALLY_MUST_CHECK;

#endif
