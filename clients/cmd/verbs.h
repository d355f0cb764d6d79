// SPDX-License-Identifier: MIT
//  verbs - the commands that main.c lists, each defined in the file of its noun.

#ifndef TALLY_CMD_VERBS_H
#define TALLY_CMD_VERBS_H

#include "clients/cmd/command.h"

extern const tally_command_t tally_verb_status;
extern const tally_command_t tally_verb_send;
extern const tally_command_t tally_verb_queue_ls;
extern const tally_command_t tally_verb_queue_put;
extern const tally_command_t tally_verb_worker_ls;

#endif
