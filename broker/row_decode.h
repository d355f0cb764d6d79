// SPDX-License-Identifier: MIT
//  row_decode - rows of queues, messages and leases as both stores select them, into the core's values.
//
//  The column lists stand here beside what reads them; they name the table by its alias: q, m, l.

#ifndef TALLY_ROW_DECODE_H
#define TALLY_ROW_DECODE_H

#include "broker/rows.h"
#include "lib/db.h"

#define TALLY_QUEUE_COLUMNS                                                                        \
    "q.id, q.name, q.visibility_ms, q.failures_max, q.crashes_max, q.retry_ms, q.retry_ms_max, "   \
    "q.batch_max, q.window_ms, q.window_count, q.exclusive, q.keep_blobs, q.result_kept_ms, "      \
    "q.dedupe_kept_ms"

//  What most messages have at its default comes as one null: sending each by itself would be half of a start's work.
#define TALLY_MESSAGE_COLUMNS                                                                      \
    "m.id, m.tenant, m.queue, octet_length(m.body), m.due, m.created_at, now(), m.key, m.sender, " \
    "m.sequence, m.item, case when m.priority = 1 and m.deliveries = 0 and m.failures = 0 and "    \
    "m.crashes = 0 and m.batch_max = 0 and not (m.is_blob or m.releases or m.past_window) "        \
    "then null else array[m.priority, m.is_blob::integer, m.releases::integer, "                   \
    "m.past_window::integer, m.deliveries, m.failures, m.crashes, m.batch_max] end as rest"
#define TALLY_MESSAGE_FIELDS 12

#define TALLY_LEASE_COLUMNS                                                                        \
    "l.id, l.tenant, l.queue, l.worker, "                                                          \
    "(extract(epoch from l.deadline - now()) * 1000)::bigint as left_ms, l.messages"

void tally_row_decode_queue(const tally_rows_t *rows, int row, tally_queue_row_t *queue);
//  Fields of TALLY_MESSAGE_COLUMNS in binary form, data NULL when null.  key is borrowed from them.
void tally_row_decode_message(const tally_bytes_t *fields, tally_message_row_t *message);
//  The same of a row of a result.
void tally_row_decode_message_at(const tally_rows_t *rows, int row, tally_message_row_t *message);
//  lease->messages is the caller's to free.
void tally_row_decode_lease(const tally_rows_t *rows, int row, tally_lease_row_t *lease);

//  The elements of a bigint[] in binary form; *numbers is grown as needed and stays the caller's.  Returns how many.
size_t tally_row_decode_array(tally_bytes_t bytes, int64_t **numbers);
void tally_row_copy_name(char *name, size_t room, tally_bytes_t text);

#endif
