// SPDX-License-Identifier: MIT
//  config - a program's settings: flag > TALLY_* environment > file > default.
//
//  A program declares a table of its keys; help, checks and precedence come from it.  The file is
//
//      # comment
//      front = ipc:///run/tally/front          # the value goes to the end of the line or to a " #"
//      [statistics]                            # for tally-statistics alone
//      credit = 4
//      db = "host=/run/tally dbname=tally"     # quoted: \" and \\ inside
//
//  One file serves a whole instance: keys above the first section are those of every program
//  (front, sink, feed, lanes, db, see tally_config_common) or of this one; sections of other programs are
//  skipped.  Every mistake in a file is reported, not the first alone, as file:line:col with the nearest known
//  word.  Nothing is read again later; no includes, no expansion.

#ifndef TALLY_CONFIG_H
#define TALLY_CONFIG_H

#include "lib/bytes.h"

typedef enum { TALLY_CONFIG_TEXT, TALLY_CONFIG_NUMBER } tally_config_kind_t;

typedef struct {
    const char *
        name;    // [a-z0-9-]+; flag --name, environment TALLY_NAME (- becomes _); NULL ends the table
    const char *help;        // a line for --help
    const char *fallback;    // the default, NULL: no value
    tally_config_kind_t kind;
    int64_t min, max;    // NUMBER only
} tally_config_key_t;

typedef struct tally_config tally_config_t;

//  `program` is the name in --help and --version, and without "tally-" our section; both arguments are borrowed
//  for the life of the object.
tally_config_t *tally_config_new(const char *program, const tally_config_key_t *keys);
void tally_config_destroy(tally_config_t **self_p);

//  For main(): flags (--key VALUE, --key=VALUE, --config FILE, --help, --version), the environment and the file of
//  --config or TALLY_CONFIG.  Returns -1 to go on, or the exit code to end with: 0 after --help or --version,
//  64 after bad usage, 78 after a bad file; what was wrong is on standard error.
int tally_config_start(tally_config_t *self, int argc, char **argv,
                       const char *summary) TALLY_MUST_CHECK;

//  The pieces of it.  0, or -1 with tally_config_errors() saying why, a line each.  Files may be loaded one after
//  another; the later wins.
int tally_config_load(tally_config_t *self, const char *path) TALLY_MUST_CHECK;
int tally_config_load_environment(tally_config_t *self) TALLY_MUST_CHECK;
//  As a flag would.  A name that is not in the table is an error like any other.
int tally_config_set(tally_config_t *self, const char *name, const char *value) TALLY_MUST_CHECK;
const char *tally_config_errors(const tally_config_t *self);

//  Borrowed from self.  Names that are not in the table are our own mistake.
const char *tally_config_get(const tally_config_t *self, const char *name);    // NULL: no value
int64_t tally_config_number(const tally_config_t *self, const char *name);     // 0: no value
//  Where the value comes from: "flag", "TALLY_FRONT", "path:line" or "default".
const char *tally_config_origin(const tally_config_t *self, const char *name);

#endif
