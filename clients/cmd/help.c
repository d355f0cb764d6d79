// SPDX-License-Identifier: MIT
//  help - see help.h.

#include "clients/cmd/help.h"

#include "clients/cmd/call.h"
#include "lib/version.h"
#include "lib/wire.h"

#include <string.h>
#include <zmq.h>

static void
print_line(FILE *out, const tally_command_t *command)
{
    char usage[80];
    snprintf(usage, sizeof usage, "%s%s%s", command->name, command->arguments[0] != '\0' ? " " : "",
             command->arguments);
    fprintf(out, "  %-30s %s\n", usage, command->summary);
}

void
tally_help_overview(FILE *out, const tally_command_t *const *commands)
{
    fprintf(out, "tally - durable multi-tenant work broker\n\n"
                 "usage: tally COMMAND [FLAGS] [ARGUMENTS]        tally COMMAND --help\n");
    const char *section = "";
    for (size_t i = 0; commands[i] != NULL; i++) {
        if (strcmp(section, commands[i]->section) != 0) {
            section = commands[i]->section;
            fprintf(out, "\n%s\n", section);
        }
        print_line(out, commands[i]);
    }
    fprintf(out,
            "\nflags of all commands: --broker ENDPOINT --dir DIR --json --timeout TIME --quiet "
            "--no-color --help --version\n"
            "exit codes: 0 done, 1 refused, 64 usage, 65 bad data, 69 no broker, 70 bug, "
            "73 cannot create,\n"
            "            75 try again, 77 denied, 78 configuration\n");
}

void
tally_help_group(FILE *out, const tally_command_t *const *commands, const char *word)
{
    size_t length = strlen(word);
    for (size_t i = 0; commands[i] != NULL; i++) {
        const char *name = commands[i]->name;
        if (strncmp(name, word, length) == 0 && name[length] == ' ') {
            print_line(out, commands[i]);
        }
    }
}

static void
print_flags(FILE *out, const tally_flag_t *flags)
{
    for (size_t i = 0; flags != NULL && flags[i].name != NULL; i++) {
        char letter[8] = "    ";
        if (flags[i].letter != 0) {
            snprintf(letter, sizeof letter, "-%c, ", flags[i].letter);
        }
        char name[64];
        snprintf(name, sizeof name, "%s--%s%s%s", letter, flags[i].name,
                 flags[i].argument != NULL ? " " : "",
                 flags[i].argument != NULL ? flags[i].argument : "");
        fprintf(out, "  %-30s %s\n", name, flags[i].help);
    }
}

void
tally_help_command(FILE *out, const tally_command_t *command)
{
    fprintf(out, "tally %s - %s\n\nusage: tally %s [FLAGS]%s%s\n", command->name, command->summary,
            command->name, command->arguments[0] != '\0' ? " " : "", command->arguments);
    if (command->flags != NULL) {
        fprintf(out, "\n");
        print_flags(out, command->flags);
    }
    fprintf(out, "\n");
    print_flags(out, tally_call_global_flags);
    if (command->examples != NULL) {
        fprintf(out, "\n%s", command->examples);
    }
}

void
tally_help_version(FILE *out)
{
    int major, minor, patch;
    zmq_version(&major, &minor, &patch);
    fprintf(out, "tally %s  protocol %d  libzmq %d.%d.%d\n", TALLY_VERSION, TALLY_WIRE_VERSION,
            major, minor, patch);
}
