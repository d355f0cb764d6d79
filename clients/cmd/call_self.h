// SPDX-License-Identifier: MIT
//  call_self - what a call consists of; private to call*.c.

#ifndef TALLY_CMD_CALL_SELF_H
#define TALLY_CMD_CALL_SELF_H

#include "clients/cmd/call.h"

#define FLAG_VALUES_MAX (2 * TALLY_FLAGS_MAX)

struct given {
    const char *name;
    const char *value;    // "" for one without a value
};

struct tally_call {
    const tally_command_t *command;    // NULL until the command's words are known
    struct given given[FLAG_VALUES_MAX];
    size_t given_count;
    char **arguments;    // borrowed from argv
    size_t argument_count;
    int timeout_ms;            // -1: the default of the kind of wait
    char *endpoint;            // owned
    char *key, *server_key;    // files, of the instance's configuration; owned, or NULL
    tally_client_t *client;    // owned
};

#endif
