// SPDX-License-Identifier: MIT
//  raw_zmtp - a connection that speaks ZMTP 3 without keys byte by byte, to say what libzmq would not let it say.
//
//  A descriptor is the caller's.  Nothing fails a test here: what did not work is returned.

#ifndef TALLY_TEST_RAW_ZMTP_H
#define TALLY_TEST_RAW_ZMTP_H

#include <stdbool.h>
#include <stddef.h>

//  Connected to an ipc:// endpoint, nothing said; -1 when that was not taken.
int raw_zmtp_connect(const char *endpoint);

//  The greeting and READY of a socket of that type and name (at most 200 bytes).
bool raw_zmtp_greet(int fd, const char *type, const void *name, size_t size);
//  The other side's, before which nothing may be said.
bool raw_zmtp_hear_greeting(int fd);

//  False when the other side ended the connection.
bool raw_zmtp_write(int fd, const void *bytes, size_t size);
//  The other side ends the connection in time, whatever it says before.
bool raw_zmtp_ends(int fd, int timeout_ms);

#endif
