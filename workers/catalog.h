// SPDX-License-Identifier: MIT
//  catalog - definitions of surveys as they are in the database, parsed and kept.
//
//  A look costs one read by key and brings over what is new or changed, so what a lease is judged by is as
//  current as that lease.  Whoever writes by it proves in the same transaction that it still is
//  (tally_survey_store_hold).  Definitions were checked when they were put; one that cannot be read is
//  somebody's hand in the table, and there is no survey then.

#ifndef TALLY_CATALOG_H
#define TALLY_CATALOG_H

#include "workers/effect.h"
#include "workers/survey.h"

#define TALLY_HASH_BYTES 32    // of a definition: hexadecimal MD5, made by PostgreSQL

typedef struct {
    int32_t id;    // tally.survey.id
    char hash[TALLY_HASH_BYTES + 1];
    tally_survey_t *survey;    // never NULL
} tally_entry_t;

typedef struct tally_catalog tally_catalog_t;

tally_catalog_t *tally_catalog_new(void);
void tally_catalog_destroy(tally_catalog_t **self_p);

//  Brings these surveys of the tenant up to date.  What was found before may be gone afterwards.
tally_effect_t tally_catalog_look(tally_catalog_t *self, tally_db_t *db, const char *tenant,
                                  const char *const *slugs, size_t count) TALLY_MUST_CHECK;
//  As of the last look; NULL when there is no such survey.  Valid until the next look.
const tally_entry_t *
tally_catalog_find(const tally_catalog_t *self, const char *tenant, const char *slug);

#endif
