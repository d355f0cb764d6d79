// SPDX-License-Identifier: MIT
//  instance - a whole Tally for one test: `tally up` in a directory of its own, and nothing left of it afterwards.
//
//  A guard process takes everything down and removes the directory when tally_instance_destroy() is called, and
//  just the same when the test program dies in whatever way.  Programs are those in TALLY_BIN_DIR (default
//  build/bin).  What goes wrong in starting fails the test (cmocka's fail()).  With TALLY_TEST_KEEP set the directory
//  stays, for looking at logs.

#ifndef TALLY_TEST_INSTANCE_H
#define TALLY_TEST_INSTANCE_H

#include <jansson.h>
#include <sys/types.h>

#include "lib/bytes.h"

typedef struct tally_instance tally_instance_t;

//  What a command said; borrowed until the next command of the same instance.
typedef struct {
    int code;                 // exit code; -1: ended by a signal or out of time
    const char *out, *err;    // NUL-terminated
    size_t out_size;
} tally_output_t;

//  A directory; nothing runs yet.
tally_instance_t *tally_instance_new(void);
//  0, or -1 when something had to be killed or removed by force: then `tally down` is not what it should be.
int tally_instance_destroy(tally_instance_t **self_p);

const char *tally_instance_dir(const tally_instance_t *self);
//  From DIR/tally.conf, so once it was up.
const char *tally_instance_endpoint(tally_instance_t *self);
const char *tally_instance_conninfo(tally_instance_t *self);

//  Runs `tally WORDS...` (NULL ends them) with TALLY_DIR set, standard input empty, at most 180 s.
const tally_output_t *
tally_instance_run(tally_instance_t *self, const char *word, ...) __attribute__((sentinel));
//  The same, which must succeed; fails the test with what was said otherwise.
const tally_output_t *
tally_instance_must(tally_instance_t *self, const char *word, ...) __attribute__((sentinel));
//  The same, and its output is one JSON value, the caller's.
json_t *
tally_instance_json(tally_instance_t *self, const char *word, ...) __attribute__((sentinel));
//  Starts it in the background; its output goes to DIR/NAME.out and DIR/NAME.err, where `name` is chosen by the
//  test.  The guard ends it in the end.
pid_t tally_instance_spawn(tally_instance_t *self, const char *name, const char *word, ...)
    __attribute__((sentinel));
//  Its exit code; -1 when ended by a signal, and killed when not ended in time.
int tally_instance_join(tally_instance_t *self, pid_t pid, int timeout_ms);

//  Processes by name: "postgres", "tallyd", "statistics-1"...; 0 when it does not run.
pid_t tally_instance_pid(const tally_instance_t *self, const char *name);
pid_t tally_instance_supervisor(const tally_instance_t *self);
//  Whether the process is one of this instance's and not yet at its end, whoever is its parent by now.
bool tally_instance_owns(const tally_instance_t *self, pid_t pid);
//  Sends a signal to a process that must be running; returns its pid.
pid_t tally_instance_signal(const tally_instance_t *self, const char *name, int signal_number);
//  Waits until `name` runs as a process other than `before`; fails the test when it does not in time.
void tally_instance_await_another(const tally_instance_t *self, const char *name, pid_t before,
                                  int timeout_ms);

//  Waits until the condition holds; false when the time is over.  Looks every few milliseconds.
bool tally_wait_until(bool (*condition)(void *argument), void *argument,
                      int timeout_ms) TALLY_MUST_CHECK;

#endif
