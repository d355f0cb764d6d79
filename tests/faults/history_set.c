// SPDX-License-Identifier: MIT
//  history_set: opening all files of a directory; names, phases, faults.

#include <assert.h>
#include <dirent.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "tests/faults/history_set.h"

static int
is_history(const struct dirent *entry)
{
    static const char ending[] = ".history";
    size_t length = strlen(entry->d_name);
    return length >= sizeof ending
           && strcmp(entry->d_name + length - (sizeof ending - 1), ending) == 0;
}

static void
copy_text(char out[TALLY_HISTORY_TEXT_BYTES + 1], const tally_history_record_t *record)
{
    memcpy(out, record->text, sizeof record->text);
    out[sizeof record->text] = '\0';
}

static void
take_name(tally_history_set_t *self, const tally_history_record_t *record)
{
    uint32_t number = record->item;
    bool small = number <= TALLY_HISTORY_NUMBER_MAX;
    if (record->code == TALLY_NAMED_TENANT && number <= TALLY_HISTORY_TENANT_MAX) {
        copy_text(self->tenant_names[number], record);
    } else if (record->code == TALLY_NAMED_QUEUE && small) {
        copy_text(self->queue_names[number], record);
        self->queues[number].named = true;
    } else if (record->code == TALLY_NAMED_FAULT && small) {
        copy_text(self->fault_names[number], record);
    }
}

static void
take_queue(tally_history_set_t *self, const tally_history_record_t *record)
{
    if (record->queue <= TALLY_HISTORY_NUMBER_MAX) {
        tally_set_queue_t *queue = &self->queues[record->queue];
        queue->flags = record->code;
        queue->visible_ms = (int64_t)record->epoch;
        queue->failures_max = record->counts.failures;
        queue->crashes_max = record->counts.crashes;
    }
}

static void
take_fault(tally_history_set_t *self, const tally_history_record_t *record)
{
    if (self->fault_count == self->fault_room) {
        self->fault_room = self->fault_room * 2 + 64;
        self->faults = tally_realloc_array(self->faults, self->fault_room, sizeof *self->faults);
    }
    self->faults[self->fault_count++] = (tally_set_fault_t){
        .id = record->id,
        .kind = record->code,
        .victim = record->item,
        .process = record->process,
        .queue = record->queue,
        .tenant = record->tenant,
        .began_ns = record->at_ns,
    };
}

//  Of its file alone: the last one of that number that began.
static void
end_fault(tally_history_set_t *self, const tally_history_record_t *record, size_t first)
{
    for (size_t i = self->fault_count; i > first; i--) {
        tally_set_fault_t *fault = &self->faults[i - 1];
        if (fault->id == record->id && fault->ended_ns == 0) {
            fault->ended_ns = record->at_ns;
            return;
        }
    }
}

//  What the few say; clients and workers write no such records but the first and names.
static void
look_into(tally_history_set_t *self, const tally_history_file_t *file)
{
    size_t first_fault = self->fault_count;
    bool all = file->writer != TALLY_WRITER_CLIENT && file->writer != TALLY_WRITER_WORKER;
    for (size_t i = 1; i < file->count && (all || i < 64); i++) {
        const tally_history_record_t *record = &file->records[i];
        switch (record->kind) {
        case TALLY_DID_NAME:
            take_name(self, record);
            break;
        case TALLY_DID_QUEUE:
            take_queue(self, record);
            break;
        case TALLY_DID_PHASE:
            if (record->code <= TALLY_PHASE_DRAINED) {
                self->phase_ns[record->code] = record->at_ns;
            }
            break;
        case TALLY_FAULT_BEGAN:
            take_fault(self, record);
            break;
        case TALLY_FAULT_ENDED:
            end_fault(self, record, first_fault);
            break;
        case TALLY_ROWS_COMPLETE:
            self->has_rows = i + 1 == file->count;
            break;
        default:
            break;
        }
    }
}

static int
compare_faults(const void *a, const void *b)
{
    const tally_set_fault_t *left = a, *right = b;
    return (left->began_ns > right->began_ns) - (left->began_ns < right->began_ns);
}

//  Takes one file; NULL, or what is wrong with it.
static char *
take_file(tally_history_set_t *self, const char *directory, const char *name)
{
    char *path = tally_format("%s/%s", directory, name);
    tally_history_file_t *file = &self->files[self->file_count];
    const char *why = NULL;
    char *wrong = NULL;
    if (tally_history_file_open(file, path, &why) == -1) {
        wrong = tally_format("could not read %s: %s", path, why);
    } else if (file->count > 0) {
        self->file_count++;
        self->record_count += file->count;
        self->torn_count += file->torn;
        if (file->process == 0 || file->process > TALLY_HISTORY_PROCESS_MAX
            || self->file_of_process[file->process] != 0) {
            wrong = tally_format("%s: process %u has a history already, or is none", path,
                                 file->process);
        } else {
            self->file_of_process[file->process] = (uint32_t)self->file_count;
            look_into(self, file);
        }
    }
    free(path);
    return wrong;
}

tally_history_set_t *
tally_history_set_open(const char *directory, char **why)
{
    struct dirent **entries = NULL;
    int found = scandir(directory, &entries, is_history, alphasort);
    *why = NULL;
    if (found <= 0 || found > TALLY_SET_FILES_MAX) {
        *why = tally_format("%s in %s", found > 0 ? "too many histories" : "there are no histories",
                            directory);
    }
    size_t count = found > 0 ? (size_t)found : 0;
    tally_history_set_t *self = tally_alloc(sizeof *self);
    self->files = tally_alloc_array(count, sizeof *self->files);
    self->file_of_process = tally_alloc_array(TALLY_HISTORY_PROCESS_MAX + 1,
                                              sizeof *self->file_of_process);
    self->tenant_names = tally_alloc_array(TALLY_HISTORY_TENANT_MAX + 1,
                                           sizeof *self->tenant_names);
    for (size_t i = 0; i < count; i++) {
        if (*why == NULL) {
            *why = take_file(self, directory, entries[i]->d_name);
        }
        free(entries[i]);
    }
    free(entries);
    if (*why != NULL) {
        tally_history_set_close(&self);
        return NULL;
    }
    if (self->fault_count > 0) {
        qsort(self->faults, self->fault_count, sizeof *self->faults, compare_faults);
    }
    return self;
}

void
tally_history_set_close(tally_history_set_t **self_p)
{
    tally_history_set_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    for (size_t i = 0; i < self->file_count; i++) {
        tally_history_file_close(&self->files[i]);
    }
    free(self->files);
    free(self->file_of_process);
    free(self->tenant_names);
    free(self->faults);
    free(self);
    *self_p = NULL;
}

static const char *
name_or_unknown(const char *name)
{
    return name[0] != '\0' ? name : "?";
}

const char *
tally_history_set_queue(const tally_history_set_t *self, unsigned queue)
{
    return queue <= TALLY_HISTORY_NUMBER_MAX ? name_or_unknown(self->queue_names[queue]) : "?";
}

const char *
tally_history_set_tenant(const tally_history_set_t *self, unsigned tenant)
{
    return tenant <= TALLY_HISTORY_TENANT_MAX ? name_or_unknown(self->tenant_names[tenant]) : "?";
}

const char *
tally_history_set_fault(const tally_history_set_t *self, unsigned kind)
{
    return kind <= TALLY_HISTORY_NUMBER_MAX ? name_or_unknown(self->fault_names[kind]) : "?";
}

const tally_history_file_t *
tally_history_set_of(const tally_history_set_t *self, uint32_t process)
{
    uint32_t index = process <= TALLY_HISTORY_PROCESS_MAX ? self->file_of_process[process] : 0;
    return index != 0 ? &self->files[index - 1] : NULL;
}
