// SPDX-License-Identifier: MIT
//  bars - the statistics of a survey on a terminal.

#ifndef TALLY_CMD_BARS_H
#define TALLY_CMD_BARS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

//  `statistics` in the form of `tally statistics show --json`; `definition` of the survey, or NULL,
//  gives texts and the order of choices.
void tally_bars_print(FILE *out, const json_t *statistics, const json_t *definition, bool color);

#endif
