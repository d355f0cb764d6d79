// SPDX-License-Identifier: MIT
//  help - what the command table says, for people.

#ifndef TALLY_CMD_HELP_H
#define TALLY_CMD_HELP_H

#include "clients/cmd/command.h"

#include <stdio.h>

//  `commands` ends with NULL and is grouped by section already.
void tally_help_overview(FILE *out, const tally_command_t *const *commands);
//  The commands whose first word this is.
void tally_help_group(FILE *out, const tally_command_t *const *commands, const char *word);
void tally_help_command(FILE *out, const tally_command_t *command);
void tally_help_version(FILE *out);

#endif
