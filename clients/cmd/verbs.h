// SPDX-License-Identifier: MIT
//  verbs - the commands that main.c lists, each defined in the file of its noun.

#ifndef TALLY_CMD_VERBS_H
#define TALLY_CMD_VERBS_H

#include "clients/cmd/command.h"

extern const tally_command_t tally_verb_status;
extern const tally_command_t tally_verb_send;
extern const tally_command_t tally_verb_survey_put;
extern const tally_command_t tally_verb_survey_ls;
extern const tally_command_t tally_verb_submit;
extern const tally_command_t tally_verb_statistics_refresh;
extern const tally_command_t tally_verb_statistics_show;
extern const tally_command_t tally_verb_statistics_ls;
extern const tally_command_t tally_verb_statistics_recompute;
extern const tally_command_t tally_verb_export;
extern const tally_command_t tally_verb_export_ls;
extern const tally_command_t tally_verb_export_cancel;
extern const tally_command_t tally_verb_queue_ls;
extern const tally_command_t tally_verb_tenant_ls;
extern const tally_command_t tally_verb_worker_ls;
extern const tally_command_t tally_verb_dead_ls;
extern const tally_command_t tally_verb_dead_show;
extern const tally_command_t tally_verb_feed;
extern const tally_command_t tally_verb_bench;
extern const tally_command_t tally_verb_queue_put;
extern const tally_command_t tally_verb_tenant_put;
extern const tally_command_t tally_verb_key_new;
extern const tally_command_t tally_verb_key_server;
extern const tally_command_t tally_verb_key_ls;
extern const tally_command_t tally_verb_key_revoke;
extern const tally_command_t tally_verb_audit;
extern const tally_command_t tally_verb_audit_prune;
extern const tally_command_t tally_verb_dead_retry;
extern const tally_command_t tally_verb_dead_drop;

#endif
