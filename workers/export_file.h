// SPDX-License-Identifier: MIT
//  export_file - an export's file while it grows: written aside, hashed as it goes, renamed when
//  complete.
//
//  Each lease writes a part of its own, NAME.LEASE.part, made new: a worker that lost its lease and
//  does not know yet cannot reach the file of its successor, and since the successor removes all
//  other parts before it goes on, the late one finds nothing to rename either.  What a successor
//  takes over it copies, which also gives it the hash of what is there.  Readers see NAME complete
//  or not at all.
//
//  Calls that touch the disk return 0, or -1 with the problem told, for the person who must help.

#ifndef TALLY_EXPORT_FILE_H
#define TALLY_EXPORT_FILE_H

#include "workers/export_place.h"
#include "workers/json.h"

#define TALLY_SHA256_HEX_SIZE 65

typedef struct tally_export_file tally_export_file_t;

//  An empty part of `lease` in the directory, which is borrowed for the call.
tally_export_file_t *
tally_export_file_new(const tally_place_t *place, const char *name, uint64_t lease,
                      tally_problem_t *problem) TALLY_MUST_CHECK;
//  Leaves the part where it is.
void tally_export_file_destroy(tally_export_file_t **self_p);
//  Removes the part as well.
void tally_export_file_discard(tally_export_file_t **self_p);

//  Prepares to take over the first `bytes` of an earlier lease's part.  False when there is no such
//  part of that size: begin from nothing.
bool tally_export_file_inherit(tally_export_file_t *self, uint64_t lease,
                               uint64_t bytes) TALLY_MUST_CHECK;
//  Copies at most `bytes_max` of it; *left is how much there still is; 0 as well when nothing is
//  taken over.  In pieces, since a long copy must let its lease be extended.
int tally_export_file_copy(tally_export_file_t *self, uint64_t bytes_max, uint64_t *left,
                           tally_problem_t *problem) TALLY_MUST_CHECK;
//  Removes the parts of all other leases.
int tally_export_file_remove_others(tally_export_file_t *self,
                                    tally_problem_t *problem) TALLY_MUST_CHECK;

int tally_export_file_write(tally_export_file_t *self, tally_bytes_t bytes,
                            tally_problem_t *problem) TALLY_MUST_CHECK;
//  What was written survives a power cut from here on.
int tally_export_file_sync(tally_export_file_t *self, tally_problem_t *problem) TALLY_MUST_CHECK;
//  After a sync: what was written so far is worth going back to.
void tally_export_file_mark(tally_export_file_t *self);
//  Goes back to the mark, also after a write that failed half way.
int tally_export_file_rewind(tally_export_file_t *self, tally_problem_t *problem) TALLY_MUST_CHECK;
uint64_t tally_export_file_bytes(const tally_export_file_t *self);    // written so far
uint64_t tally_export_file_lease(const tally_export_file_t *self);    // whose part it is
//  Of what was written so far.
void tally_export_file_sha256(const tally_export_file_t *self, char hex[TALLY_SHA256_HEX_SIZE]);
//  The part becomes the file, durably.  To be called inside the transaction that proves the lease.
int tally_export_file_publish(tally_export_file_t *self, tally_problem_t *problem) TALLY_MUST_CHECK;

#endif
