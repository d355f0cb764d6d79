// SPDX-License-Identifier: MIT
//  door - who is there: the server's key, the ZAP handler, the principals, and which of them a frame is from.
//
//  Without CURVE everybody who reaches a listener is tally_principal_local().  With it the principal of a frame is that
//  of the key its connection proved, looked up anew for each frame, so that a revoked key is refused on connections
//  that are there already.  Nothing that a peer says of itself counts: no name, no routing id, no metadata but the
//  User-Id, which our ZAP handler sets.  What a principal may do is rights.c's.

#ifndef TALLY_DOOR_H
#define TALLY_DOOR_H

#include <zmq.h>

#include "broker/door_store.h"
#include "broker/keyring.h"
#include "broker/reader.h"
#include "lib/socket.h"
#include "lib/wire.h"

typedef struct tally_door tally_door_t;

typedef struct {
    bool curve;
    const char *key;    // file of our key pair; NULL: systemd's credential "tally-server-key"
    const char *db;
} tally_door_options_t;

//  Reads the server's key and starts the ZAP handler: before any listener is bound.  NULL with an exit code in *code.
tally_door_t *tally_door_new(const tally_door_options_t *options, int *code);
void tally_door_destroy(tally_door_t **self_p);
//  False: it waits for PostgreSQL, and destroying it would, too.
bool tally_door_rest(tally_door_t *self, int timeout_ms) TALLY_MUST_CHECK;
//  Reads the principals, and whose the leases are, waiting for PostgreSQL.  0, or an exit code (the log says why).
int tally_door_load(tally_door_t *self, int64_t now_ms) TALLY_MUST_CHECK;

bool tally_door_locked(const tally_door_t *self);    // CURVE
//  May a listener be bound there?  Told: peers hear this endpoint from us, so it must be one they can connect to.
bool tally_door_may_listen(const tally_door_t *self, const char *endpoint, bool told);
//  For a listener of that domain; NULL without CURVE.  Valid until the next call.
const tally_socket_curve_t *
tally_door_curve(tally_door_t *self, const char *domain, const char *rest);
//  Connects to the front as nobody must be able to.  0, or an exit code: then the door is open to somebody.
int tally_door_test(tally_door_t *self, const char *front) TALLY_MUST_CHECK;

//  NULL: nobody.  Valid until the next answer of the reader.
const tally_principal_t *
tally_door_of_frame(const tally_door_t *self, zmq_msg_t *frame, int64_t now_ms);
//  "" is the key of whoever comes without CURVE.
const tally_principal_t *
tally_door_of_key(const tally_door_t *self, const char *key, int64_t now_ms);
//  A sender as the core knows it: each key has senders of its own, whatever they are called on the wire.
void tally_door_sender(const tally_principal_t *who, const uint8_t wire[TALLY_SENDER_BYTES],
                       uint8_t own[TALLY_SENDER_BYTES]);

//  The key that this worker's number was given to by a broker before us; NULL: not known, or it held nothing.
const char *tally_door_former(const tally_door_t *self, uint64_t number);

//  The reader of the door alone: nothing that takes long is asked of it.
tally_reader_t *tally_door_reader(tally_door_t *self);
//  Asks whether principals have changed, when it is time.
void tally_door_look(tally_door_t *self, int64_t now_ms);
//  The answer.
void tally_door_take(tally_door_t *self, tally_read_t *read, int64_t now_ms);
//  Grows with whatever took somebody's rights away, see keyring.h.
uint64_t tally_door_losses(const tally_door_t *self, int64_t now_ms);

int tally_door_fd(const tally_door_t *self);    // -1 without CURVE; readable: see tally_door_stands
bool tally_door_stands(tally_door_t *self);     // false: the ZAP handler has ended
//  Handshakes since the start.
void tally_door_count(const tally_door_t *self, uint64_t *admitted, uint64_t *refused);

#endif
