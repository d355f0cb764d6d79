// SPDX-License-Identifier: MIT
//  principal - who is behind a key: a role, rights, and the tenants and queues they hold for.
//
//  A value of the configuration in PostgreSQL (tally.principal), decoded; nothing here changes or decides.

#ifndef TALLY_PRINCIPAL_H
#define TALLY_PRINCIPAL_H

#include "lib/bytes.h"
#include "lib/key_file.h"
#include "lib/limits.h"

typedef enum {
    TALLY_PRINCIPAL_CLIENT = 1,
    TALLY_PRINCIPAL_WORKER,
    TALLY_PRINCIPAL_OPERATOR,
    TALLY_PRINCIPAL_MONITOR,
} tally_principal_role_t;

typedef enum {
    TALLY_RIGHT_SEND = 0x01,
    TALLY_RIGHT_ASK = 0x02,
    TALLY_RIGHT_WORK = 0x04,
    TALLY_RIGHT_READ = 0x08,
    TALLY_RIGHT_ADMIN = 0x10,
} tally_right_t;

#define TALLY_RIGHTS_ALL                                                                           \
    (TALLY_RIGHT_SEND | TALLY_RIGHT_ASK | TALLY_RIGHT_WORK | TALLY_RIGHT_READ | TALLY_RIGHT_ADMIN)

//  Names of queues or tenants.  "*" in the database is `all`, and then there are no names.
typedef struct {
    bool all;
    char (*names)[TALLY_NAME_BYTES_MAX + 1];    // owned, ascending
    size_t count;
} tally_scope_t;

#define TALLY_SCOPE_MARK_BYTES 32    // hexadecimal digits: which set of tenants a scope is

typedef struct {
    char key[TALLY_KEY_TEXT_BYTES + 1];    // public; what ZAP hands to libzmq as the User-Id
    char name[TALLY_NAME_BYTES_MAX + 1];
    tally_principal_role_t role;
    unsigned rights;    // tally_right_t, ored
    tally_scope_t tenants, queues;
    char mark[TALLY_SCOPE_MARK_BYTES + 1];    // of `tenants`; equal sets have equal marks
    int64_t dies_at_ms;                       // monotonic; INT64_MAX: never
} tally_principal_t;

//  Whoever reaches a listener without CURVE: the socket's rights are the machine's, and so all of ours.
const tally_principal_t *tally_principal_local(void);

bool tally_scope_has(const tally_scope_t *self, tally_bytes_t name);
//  Takes the names as they come, "*" among them; sorts, drops doubles.
void tally_scope_set(tally_scope_t *self, const tally_bytes_t *names, size_t count);
void tally_scope_free(tally_scope_t *self);

//  Fills in `mark`; to be called when `tenants` is set.
void tally_principal_seal(tally_principal_t *self);
void tally_principal_free(tally_principal_t *self);    // what it owns

//  0 for a word that is not one.
tally_principal_role_t tally_principal_role(tally_bytes_t word);
unsigned tally_principal_right(tally_bytes_t word);

#endif
