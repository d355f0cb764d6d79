// SPDX-License-Identifier: MIT
//  main - the tally command: finds the verb in its table, parses by the table, runs it.
//
//  A new verb is a line here and a file of its own.  Nothing else belongs here.

#include "clients/cmd/call.h"
#include "clients/cmd/db.h"
#include "clients/cmd/help.h"
#include "clients/cmd/up.h"
#include "clients/cmd/verbs.h"

#include "lib/nearest.h"
#include "lib/process.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const tally_command_t up = {
    .name = "up",
    .section = "RUN",
    .arguments = "",
    .summary = "start a private instance: PostgreSQL, broker, workers",
    .own = tally_cmd_up,
};

static const tally_command_t down = {
    .name = "down",
    .section = "RUN",
    .arguments = "",
    .summary = "stop it",
    .own = tally_cmd_down,
};

static const tally_command_t db = {
    .name = "db",
    .section = "ADMIN",
    .arguments = "migrate|status|roles",
    .summary = "the schema of the database, and who may do what in it",
    .own = tally_cmd_db,
};

static const tally_command_t *const commands[] = {
    &up,
    &down,
    &tally_verb_status,
    &tally_verb_send,
    &tally_verb_survey_put,
    &tally_verb_survey_ls,
    &tally_verb_submit,
    &tally_verb_statistics_refresh,
    &tally_verb_statistics_show,
    &tally_verb_statistics_ls,
    &tally_verb_statistics_recompute,
    &tally_verb_export,
    &tally_verb_export_ls,
    &tally_verb_export_cancel,
    &tally_verb_queue_ls,
    &tally_verb_tenant_ls,
    &tally_verb_worker_ls,
    &tally_verb_dead_ls,
    &tally_verb_dead_show,
    &tally_verb_feed,
    &tally_verb_bench,
    &tally_verb_queue_put,
    &tally_verb_tenant_put,
    &tally_verb_dead_retry,
    &tally_verb_dead_drop,
    &tally_verb_key_new,
    &tally_verb_key_server,
    &tally_verb_key_ls,
    &tally_verb_key_revoke,
    &tally_verb_audit,
    &tally_verb_audit_prune,
    &db,
    NULL,
};

//  The command of the one or two words at argv[0]; *words says how many.  Two go before one.
static const tally_command_t *
find_command(int argc, char **argv, int *words)
{
    const tally_command_t *single = NULL;
    for (size_t i = 0; commands[i] != NULL; i++) {
        const char *name = commands[i]->name;
        size_t first = strcspn(name, " ");
        if (strlen(argv[0]) != first || strncmp(argv[0], name, first) != 0) {
            continue;
        }
        if (name[first] == '\0') {
            single = commands[i];
        } else if (argc > 1 && strcmp(argv[1], name + first + 1) == 0) {
            *words = 2;
            return commands[i];
        }
    }
    *words = 1;
    return single;
}

//  Says that there is no such command, and what there is.
static int
fail_command(const tally_call_t *call, int argc, char **argv)
{
    const char *names[64];
    size_t count = 0;
    size_t length = strlen(argv[0]);
    bool is_group = false;
    for (size_t i = 0; commands[i] != NULL; i++) {
        const char *name = commands[i]->name;
        is_group = is_group || (strncmp(name, argv[0], length) == 0 && name[length] == ' ');
        names[count++] = name;
    }
    if (is_group) {
        fprintf(stderr, "tally: %s %s; there is:\n", argv[0],
                argc > 1 && argv[1][0] != '-' ? "does not do that" : "needs a second word");
        tally_help_group(stderr, commands, argv[0]);
        return TALLY_EXIT_USAGE;
    }
    char words[128];
    snprintf(words, sizeof words, "%s%s%s", argv[0], argc > 1 ? " " : "", argc > 1 ? argv[1] : "");
    const char *near = tally_nearest(tally_bytes_of(words), names, count);
    if (near == NULL) {
        near = tally_nearest(tally_bytes_of(argv[0]), names, count);
    }
    return tally_call_fail_usage(call, "there is no command \"%s\"%s%s%s", argv[0],
                                 near != NULL ? "; did you mean \"" : "", near != NULL ? near : "",
                                 near != NULL ? "\"?" : "");
}

static int
run_command(tally_call_t *call, const tally_command_t *command, int argc, char **argv)
{
    if (command->own != NULL && tally_call_has(call, "help")) {
        char help[] = "--help";
        return command->own(2, (char *[]){argv[0], help, NULL});
    }
    if (command->own != NULL) {
        if (tally_call_value(call, "dir") != NULL) {
            setenv("TALLY_DIR", tally_call_value(call, "dir"), 1);
        }
        return command->own(argc, argv);
    }
    if (tally_call_parse(call, command, argc, argv) == -1) {
        return TALLY_EXIT_USAGE;
    }
    if (tally_call_has(call, "help")) {
        tally_help_command(stdout, command);
        return TALLY_EXIT_OK;
    }
    return command->run(call);
}

static int
run(tally_call_t *call, int argc, char **argv)
{
    int first = tally_call_parse_global(call, argc, argv);
    if (first == -1) {
        return TALLY_EXIT_USAGE;
    }
    if (tally_call_has(call, "version")) {
        tally_help_version(stdout);
        return TALLY_EXIT_OK;
    }
    if (first == argc) {
        bool asked = tally_call_has(call, "help");
        tally_help_overview(asked ? stdout : stderr, commands);
        return asked ? TALLY_EXIT_OK : TALLY_EXIT_USAGE;
    }
    int words;
    const tally_command_t *command = find_command(argc - first, argv + first, &words);
    if (command == NULL) {
        return fail_command(call, argc - first, argv + first);
    }
    if (tally_call_has(call, "help") && command->own == NULL) {
        tally_help_command(stdout, command);
        return TALLY_EXIT_OK;
    }
    int last = first + words - 1;
    return run_command(call, command, argc - last, argv + last);
}

int
main(int argc, char **argv)
{
    tally_process_seclude();
    signal(SIGPIPE, SIG_IGN);    // a closed pipe is a failed write, seen at the end
    tally_call_t *call = tally_call_new();
    int code = run(call, argc, argv);
    tally_call_destroy(&call);
    if (fflush(stdout) != 0 || ferror(stdout) != 0) {
        code = code == TALLY_EXIT_OK ? TALLY_EXIT_NO : code;
    }
    return code;
}
