// SPDX-License-Identifier: MIT
//  recover_store - what the broker reads outside its ticks: everything at start, and single things for the front.
//
//  A second connection, blocking, used at start, after a reconnect, and for lookups that answer a person or a client.
//  It writes the broker's new epoch and the fate of a lost tick, nothing else.

#ifndef TALLY_RECOVER_STORE_H
#define TALLY_RECOVER_STORE_H

#include "broker/rows.h"
#include "lib/db.h"

typedef struct tally_recover_store tally_recover_store_t;

tally_recover_store_t *tally_recover_store_new(const char *conninfo);
void tally_recover_store_destroy(tally_recover_store_t **self_p);

//  Connects when needed.  Every call below does so, too; RETRY means PostgreSQL is away.
tally_db_outcome_t tally_recover_store_connect(tally_recover_store_t *self) TALLY_MUST_CHECK;
void tally_recover_store_disconnect(tally_recover_store_t *self);
const char *tally_recover_store_error(const tally_recover_store_t *self);
//  For place_store, which speaks on the same connection; borrowed.
tally_db_t *tally_recover_store_db(tally_recover_store_t *self);

//  REJECT when the schema is older or newer than this build, see error: it names the command to run.
tally_db_outcome_t tally_recover_store_check_schema(tally_recover_store_t *self) TALLY_MUST_CHECK;

//  Takes the next epoch for this broker: exclusive advisory lock (waits for a tick of an older broker to end), then
//  epoch + 1.  Afterwards no broker with an older epoch can commit a tick.
tally_db_outcome_t tally_recover_store_take_epoch(tally_recover_store_t *self, const char *instance,
                                                  uint64_t *epoch) TALLY_MUST_CHECK;
//  The current epoch, to see whether somebody else took over.
tally_db_outcome_t
tally_recover_store_read_epoch(tally_recover_store_t *self, uint64_t *epoch) TALLY_MUST_CHECK;

//  Did this tick commit?  Not found means that it did not and never will: its number is taken, so that statements which
//  are still under way fail.  RETRY while its COMMIT is still going on.
tally_db_outcome_t tally_recover_store_find_tick(tally_recover_store_t *self, uint64_t epoch,
                                                 uint64_t number, bool *found) TALLY_MUST_CHECK;

//  Streams rows to the callbacks in the order of these members, all in one REPEATABLE READ snapshot; messages by
//  tenant, in ascending id within each, without bodies.  Members may be NULL.
typedef struct {
    void *context;
    void (*began)(void *context);    // rows count their times from now, or a moment ago
    void (*queue)(void *context, const tally_queue_row_t *row);
    void (*tenant)(void *context, const tally_tenant_row_t *row);
    void (*term)(void *context, const tally_term_row_t *row);
    void (*lease)(void *context, const tally_lease_row_t *row);
    void (*message)(void *context, const tally_message_row_t *row);
} tally_recover_sink_t;

tally_db_outcome_t tally_recover_store_load(tally_recover_store_t *self,
                                            const tally_recover_sink_t *sink) TALLY_MUST_CHECK;

//  found false: nobody of that id.  row->missing is borrowed until the next call.
tally_db_outcome_t
tally_recover_store_sender(tally_recover_store_t *self, const uint8_t id[TALLY_SENDER_BYTES],
                           bool *found, tally_sender_row_t *row) TALLY_MUST_CHECK;

//  body is borrowed until the next call.
tally_db_outcome_t
tally_recover_store_result(tally_recover_store_t *self, const tally_asker_t *asker, bool *found,
                           tally_result_t *result) TALLY_MUST_CHECK;
tally_db_outcome_t
tally_recover_store_blob(tally_recover_store_t *self, uint32_t tenant, uint64_t message,
                         bool *found, tally_bytes_t *body) TALLY_MUST_CHECK;

//  Dead letters, newest first.  Texts are borrowed during the call.
typedef struct {
    uint64_t id;
    uint32_t tenant, queue;
    uint8_t priority;
    bool is_blob;
    tally_bytes_t created_at, buried_at;    // RFC 3339, UTC
    tally_bytes_t reason;
    tally_bytes_t history;    // JSON array of texts
    int32_t deliveries, failures, crashes;
    tally_bytes_t key, body;    // of a blob: its bytes
} tally_dead_row_t;
typedef void tally_dead_fn(void *context, const tally_dead_row_t *row);

//  queue 0: all.  id 0: all, else that one alone.
tally_db_outcome_t
tally_recover_store_dead(tally_recover_store_t *self, uint32_t tenant, uint32_t queue, uint64_t id,
                         size_t limit, tally_dead_fn *fn, void *context) TALLY_MUST_CHECK;
//  How many dead letters each queue has (queue id, count).
typedef void tally_dead_count_fn(void *context, uint32_t queue, uint64_t count);
tally_db_outcome_t
tally_recover_store_dead_counts(tally_recover_store_t *self, tally_dead_count_fn *fn,
                                void *context) TALLY_MUST_CHECK;

//  The session that has held its snapshot for longest: as long as it does, nothing that ended since can be cleaned
//  away.
typedef struct {
    int32_t pid;    // 0: there is none
    char application[64];
    int64_t age_ms;
} tally_snapshot_holder_t;
tally_db_outcome_t
tally_recover_store_oldest_snapshot(tally_recover_store_t *self,
                                    tally_snapshot_holder_t *holder) TALLY_MUST_CHECK;

#endif
