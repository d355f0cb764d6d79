// SPDX-License-Identifier: MIT
//  call - one run of the tally command: its parsed line, its connection, and how it speaks.
//
//  Results go to standard output, everything else to standard error.  Whoever fails says so once,
//  through tally_call_fail and its likes, which return the exit code.  Text from outside reaches a
//  terminal only escaped.

#ifndef TALLY_CMD_CALL_H
#define TALLY_CMD_CALL_H

#include "clients/cmd/command.h"
#include "clients/tally.h"

#include <jansson.h>
#include <stdio.h>

tally_call_t *tally_call_new(void);
void tally_call_destroy(tally_call_t **self_p);

//  Parses global flags up to the first word: the index of that word in argv, or -1 after a mistake,
//  which was said.
int tally_call_parse_global(tally_call_t *self, int argc, char **argv);
//  Parses the flags and arguments behind the command's words; argv[0] is the last of these.
int tally_call_parse(tally_call_t *self, const tally_command_t *command, int argc, char **argv);

//  ---- what was said -----------------------------------------------------------------------------

extern const tally_flag_t tally_call_global_flags[];

bool tally_call_has(const tally_call_t *self, const char *flag);
//  NULL when not given.
const char *tally_call_value(const tally_call_t *self, const char *flag);
//  -1 after saying that it is not a number from min to max.
int tally_call_number(const tally_call_t *self, const char *flag, int64_t min, int64_t max,
                      int64_t fallback, int64_t *value) TALLY_MUST_CHECK;
//  A time as 500ms, 90s, 5m, 2h, 3d, or seconds without unit.
int tally_call_duration(const tally_call_t *self, const char *flag, int64_t max_ms,
                        int64_t fallback_ms, int64_t *value_ms) TALLY_MUST_CHECK;
size_t tally_call_argument_count(const tally_call_t *self);
const char *tally_call_argument(const tally_call_t *self, size_t index);
//  The tenant of -t or TALLY_TENANT, or NULL after saying that one is needed.
const char *tally_call_tenant(const tally_call_t *self);
bool tally_call_wants_json(const tally_call_t *self);
bool tally_call_is_quiet(const tally_call_t *self);
int tally_call_timeout_ms(const tally_call_t *self);
//  The time limit of calls that wait for work to be done; only --timeout ends them.
int tally_call_work_timeout_ms(const tally_call_t *self);

//  ---- the broker --------------------------------------------------------------------------------

//  The endpoint of --broker, TALLY_BROKER or the instance's tally.conf; NULL after saying what is
//  missing (*code).
const char *tally_call_endpoint(tally_call_t *self, int *code);
//  The keys of --key and --server-key, of the environment or of the instance; after tally_call_endpoint.  As
//  tally_client_set_keys.
int tally_call_set_keys(const tally_call_t *self, tally_client_t *client) TALLY_MUST_CHECK;
bool tally_call_has_keys(const tally_call_t *self);
//  A connected client, owned by the call; NULL after saying why not (*code).
tally_client_t *tally_call_client(tally_call_t *self, int *code);
//  Sends {"op": ...}; takes `request`.  0 with a reply that is "ok" (the caller's), or the exit
//  code.
int tally_call_admin(tally_call_t *self, json_t *request, json_t **reply) TALLY_MUST_CHECK;
//  Asks a worker; takes `body`.  As above.
int tally_call_ask(tally_call_t *self, const char *queue, const char *tenant, json_t *body,
                   unsigned message_flags, int timeout_ms, json_t **reply) TALLY_MUST_CHECK;

//  ---- speaking ----------------------------------------------------------------------------------

//  "tally: ..." on standard error; returns `code`.
int tally_call_fail(const tally_call_t *self, int code, const char *format, ...) TALLY_PRINTF(3, 4);
//  The client's last failure; with what to do about it.
int tally_call_fail_client(const tally_call_t *self, const tally_client_t *client);
//  A usage mistake, with where to look.
int tally_call_fail_usage(const tally_call_t *self, const char *format, ...) TALLY_PRINTF(2, 3);
//  {"ok": false, "error": {...}} as an exit code, said.
int tally_call_fail_reply(const tally_call_t *self, const json_t *reply);

//  A line on standard output, unless --quiet.
void tally_call_say(const tally_call_t *self, const char *format, ...) TALLY_PRINTF(2, 3);
//  One line of JSON on standard output.
void tally_call_print_json(const json_t *value);
//  True when escape sequences may go to `file`: a terminal, no NO_COLOR, no --no-color.
bool tally_call_wants_color(const tally_call_t *self, FILE *file);
//  True when progress may be drawn on standard error.
bool tally_call_wants_progress(const tally_call_t *self);

#endif
