// SPDX-License-Identifier: MIT
//  keyring - the principals of all keys, in memory: who gets in, and who a frame is from.
//
//  One thread, the broker's loop, puts principals in and finds them; the ZAP thread asks whether a key is admitted to a
//  listener.  A key that is not here, or past its time, is nobody's: nothing is ever admitted by default.  No I/O here;
//  what PostgreSQL says comes in whole, as a list.

#ifndef TALLY_KEYRING_H
#define TALLY_KEYRING_H

#include "broker/principal.h"

typedef struct tally_keyring tally_keyring_t;

tally_keyring_t *tally_keyring_new(void);
void tally_keyring_destroy(tally_keyring_t **self_p);

//  Takes the list: from now on these are all.  A key that comes twice belongs to nobody.
void tally_keyring_replace(tally_keyring_t *self, tally_principal_t *principals, size_t count,
                           int64_t now_ms);
size_t tally_keyring_count(const tally_keyring_t *self);

//  The principal of a User-Id; NULL: nobody's.  For the loop's thread, valid until the next replace.
const tally_principal_t *
tally_keyring_find(const tally_keyring_t *self, const char *key, int64_t now_ms);

//  Grows whenever somebody who had been let in is not any more, or not as before: revoked, changed, or past its time.
uint64_t tally_keyring_losses(tally_keyring_t *self, int64_t now_ms);

//  The domains of our listeners.  A lane is one key's, a tenants' feed that of one set of tenants.
#define TALLY_DOMAIN_FRONT "front"
#define TALLY_DOMAIN_SINK "sink"
#define TALLY_DOMAIN_FEED "feed"
#define TALLY_DOMAIN_LANE "lane:"     // and the worker's key
#define TALLY_DOMAIN_FEEDS "feed:"    // and the mark of the tenants
#define TALLY_DOMAIN_BYTES_MAX 64

//  May this key connect to a listener of that domain?  For any thread.
bool
tally_keyring_admits(tally_keyring_t *self, const char *key, tally_bytes_t domain, int64_t now_ms);

//  A key that is let into the front and has no principal, for the self-test; NULL: none any more.
void tally_keyring_set_probe(tally_keyring_t *self, const char *key);

#endif
