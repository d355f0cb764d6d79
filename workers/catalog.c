// SPDX-License-Identifier: MIT
//  catalog - see catalog.h.

#include "workers/catalog.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/log.h"
#include "workers/survey_store.h"

#define KEPT_MAX 256    // surveys kept beyond those of the present look

struct kept {
    char tenant[TALLY_NAME_BYTES_MAX + 1];
    tally_entry_t entry;
    bool seen;    // in the present look
};

struct tally_catalog {
    struct kept *kept;
    size_t count, room;
    const char *tenant;    // of the present look
};

tally_catalog_t *
tally_catalog_new(void)
{
    return tally_alloc(sizeof(tally_catalog_t));
}

void
tally_catalog_destroy(tally_catalog_t **self_p)
{
    assert(self_p != NULL);
    tally_catalog_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    for (size_t i = 0; i < self->count; i++) {
        tally_survey_destroy(&self->kept[i].entry.survey);
    }
    free(self->kept);
    free(self);
    *self_p = NULL;
}

static struct kept *
find(const tally_catalog_t *self, const char *tenant, const char *slug)
{
    for (size_t i = 0; i < self->count; i++) {
        struct kept *kept = &self->kept[i];
        if (strcmp(tally_survey_slug(kept->entry.survey), slug) == 0
            && strcmp(kept->tenant, tenant) == 0) {
            return kept;
        }
    }
    return NULL;
}

const tally_entry_t *
tally_catalog_find(const tally_catalog_t *self, const char *tenant, const char *slug)
{
    const struct kept *kept = find(self, tenant, slug);
    return kept == NULL ? NULL : &kept->entry;
}

static void
take(void *context, const char *slug, int32_t id, const char *hash, tally_bytes_t definition)
{
    tally_catalog_t *self = context;
    struct kept *kept = find(self, self->tenant, slug);
    if (definition.data != NULL) {
        tally_problem_t problem;
        tally_survey_t *survey = tally_survey_parse(definition, &problem);
        if (survey == NULL || strcmp(tally_survey_slug(survey), slug) != 0) {
            tally_log_error("could not read the definition of a survey: %s  tenant=%s survey=%s",
                            survey == NULL ? "it is not one" : "it has another slug", self->tenant,
                            slug);
            tally_survey_destroy(&survey);
            return;
        }
        if (kept == NULL) {
            if (self->count == self->room) {
                self->room = self->room == 0 ? 16 : self->room * 2;
                self->kept = tally_realloc_array(self->kept, self->room, sizeof *self->kept);
            }
            kept = &self->kept[self->count++];
            *kept = (struct kept){.seen = false};
            snprintf(kept->tenant, sizeof kept->tenant, "%s", self->tenant);
        }
        tally_survey_destroy(&kept->entry.survey);
        kept->entry.survey = survey;
    }
    assert(kept != NULL);
    kept->entry.id = id;
    snprintf(kept->entry.hash, sizeof kept->entry.hash, "%s", hash);
    kept->seen = true;
}

static void
remove_at(tally_catalog_t *self, size_t at)
{
    tally_survey_destroy(&self->kept[at].entry.survey);
    self->kept[at] = self->kept[--self->count];
}

tally_effect_t
tally_catalog_look(tally_catalog_t *self, tally_db_t *db, const char *tenant,
                   const char *const *slugs, size_t count)
{
    if (count == 0) {
        return TALLY_EFFECT_DONE;
    }
    while (self->count > KEPT_MAX) {
        remove_at(self, 0);
    }
    tally_bytes_t *names = tally_alloc_array(count, sizeof *names);
    tally_bytes_t *hashes = tally_alloc_array(count, sizeof *hashes);
    for (size_t i = 0; i < count; i++) {
        struct kept *kept = find(self, tenant, slugs[i]);
        names[i] = tally_bytes_of(slugs[i]);
        hashes[i] = tally_bytes_of(kept == NULL ? "" : kept->entry.hash);
        if (kept != NULL) {
            kept->seen = false;
        }
    }
    self->tenant = tenant;
    tally_effect_t effect = tally_survey_store_load(db, tenant, names, hashes, count, take, self);
    //  Asked for and not found: it was taken away.
    for (size_t i = 0; effect == TALLY_EFFECT_DONE && i < count; i++) {
        struct kept *kept = find(self, tenant, slugs[i]);
        if (kept != NULL && !kept->seen) {
            remove_at(self, (size_t)(kept - self->kept));
        }
    }
    free(names);
    free(hashes);
    return effect;
}
