// SPDX-License-Identifier: MIT
//  history_set - all histories of a run: the files, and what the run is.
//
//  Maps every file of a directory; records stay where they are.  What there are few of (names, queues, phases,
//  faults) is gathered here, what there are many of is not looked at.  No judgement here.

#ifndef TALLY_TEST_HISTORY_SET_H
#define TALLY_TEST_HISTORY_SET_H

#include "tests/faults/history.h"

#define TALLY_SET_FILES_MAX 65535

typedef struct {
    bool named;
    unsigned flags;    // tally_queue_flag_t
    int64_t visible_ms;
    unsigned failures_max, crashes_max;    // 0: not said
} tally_set_queue_t;

//  One fault, from its beginning to its end.
typedef struct {
    uint64_t id;
    unsigned kind, victim;
    uint32_t process;
    uint16_t queue, tenant;
    int64_t began_ns, ended_ns;    // 0: did not end
} tally_set_fault_t;

typedef struct {
    tally_history_file_t *files;    // in the order of their names
    size_t file_count;
    size_t record_count, torn_count;
    uint32_t *file_of_process;    // by process number: index + 1 of its file, 0: none
    tally_set_queue_t queues[TALLY_HISTORY_NUMBER_MAX + 1];
    char (*tenant_names)[TALLY_HISTORY_TEXT_BYTES + 1];    // TALLY_HISTORY_TENANT_MAX + 1
    char queue_names[TALLY_HISTORY_NUMBER_MAX + 1][TALLY_HISTORY_TEXT_BYTES + 1];
    char fault_names[TALLY_HISTORY_NUMBER_MAX + 1][TALLY_HISTORY_TEXT_BYTES + 1];
    int64_t phase_ns[TALLY_PHASE_DRAINED + 1];    // 0: never marked
    tally_set_fault_t *faults;                    // by the time they began
    size_t fault_count, fault_room;
    bool has_rows;    // a whole dump of the database is there
} tally_history_set_t;

//  NULL with *why (the caller's to free) when a file cannot be read, is no history, or two are of one process.
tally_history_set_t *tally_history_set_open(const char *directory, char **why);
void tally_history_set_close(tally_history_set_t **self_p);

//  NUL-terminated; "queue 3" for one without a name is not made up: "?".
const char *tally_history_set_queue(const tally_history_set_t *self, unsigned queue);
const char *tally_history_set_tenant(const tally_history_set_t *self, unsigned tenant);
const char *tally_history_set_fault(const tally_history_set_t *self, unsigned kind);

//  The file of a process; NULL when it left none.
const tally_history_file_t *tally_history_set_of(const tally_history_set_t *self, uint32_t process);

#endif
