// SPDX-License-Identifier: MIT
//  command - one verb of the tally command, as the table in main.c lists it.
//
//  The table drives parsing, help and suggestions, so that these cannot say different things.

#ifndef TALLY_CMD_COMMAND_H
#define TALLY_CMD_COMMAND_H

#include "lib/bytes.h"

//  Exit codes: those of sysexits.h that apply, and 1 for a broker or worker that said no.
typedef enum {
    TALLY_EXIT_OK = 0,
    TALLY_EXIT_NO = 1,
    TALLY_EXIT_USAGE = 64,
    TALLY_EXIT_DATA = 65,
    TALLY_EXIT_UNAVAILABLE = 69,
    TALLY_EXIT_BUG = 70,
    TALLY_EXIT_CANNOT_CREATE = 73,
    TALLY_EXIT_TRY_AGAIN = 75,
    TALLY_EXIT_DENIED = 77,
    TALLY_EXIT_CONFIG = 78,
} tally_exit_t;

typedef struct {
    const char *name;        // --name; NULL ends a list
    char letter;             // -l, 0: none
    const char *argument;    // what stands for its value in help; NULL: it has none
    const char *help;
} tally_flag_t;

#define TALLY_FLAGS_MAX 16    // of one command

typedef struct tally_call tally_call_t;

typedef struct {
    const char *name;             // "survey put": one word or two
    const char *section;          // of the overview
    const char *arguments;        // "FILE"
    const char *summary;          // a line
    const tally_flag_t *flags;    // beside the global ones; NULL: none
    size_t arguments_min, arguments_max;
    int (*run)(tally_call_t *call);    // returns the exit code
    int (*own)(int argc,
               char **argv);    // instead of run: parses its own line, argv[0] is the verb
    const char *examples;       // lines; NULL: none
} tally_command_t;

#define TALLY_ANY_NUMBER ((size_t)1 << 20)

#define TALLY_FLAG_TENANT                                                                          \
    {                                                                                              \
        "tenant", 't', "TENANT", "whose (or TALLY_TENANT)"                                         \
    }
#define TALLY_FLAGS_END                                                                            \
    {                                                                                              \
        NULL, 0, NULL, NULL                                                                        \
    }

#endif
