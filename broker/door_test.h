// SPDX-License-Identifier: MIT
//  door_test - tries the front as nobody must be able to, before the broker serves.
//
//  Without a key, with another server's key, with a key that nobody knows: none may get through the handshake.  And a
//  key made for this test must, or the three refusals would prove nothing.  What stays undecided within its time counts
//  as failed.

#ifndef TALLY_DOOR_TEST_H
#define TALLY_DOOR_TEST_H

#include "broker/keyring.h"

//  0, or an exit code (the log says what failed).
int tally_door_test_run(const char *front, const char *server_key, tally_keyring_t *keyring);

#endif
