// SPDX-License-Identifier: MIT
//  ask - a request in JSON and its answer, as all roles of the survey pipeline speak them.
//
//  {"do": WORD, ...} is answered by {"ok": true, ...} or {"ok": false, "error": {"code", "text"}}.  A request is
//  checked for keys that nobody reads, so that a misspelt one is told and not passed over.

#ifndef TALLY_ASK_H
#define TALLY_ASK_H

#include "workers/bodies.h"
#include "workers/json.h"

//  The request in a body: an object with a text "do".  A new reference, or NULL with *refusal (a new reference)
//  saying why.
json_t *tally_ask_read(const tally_body_t *body, size_t bytes_max, json_t **refusal);

//  NULL, or the refusal (a new reference): a key beside `do` that is not among `known`.
json_t *tally_ask_check(const json_t *request, const char *const *known);

//  The text of a key, or NULL with *refusal saying that it is missing or no text.
const char *tally_ask_text(const json_t *request, const char *key, json_t **refusal);

//  {"ok": true}
json_t *tally_ask_ok(void);

//  Settles the message with the answer and takes the reference.
void tally_ask_answer(tally_worker_t *worker, const tally_work_t *work,
                      const tally_delivered_t *item, json_t *answer);

#endif
