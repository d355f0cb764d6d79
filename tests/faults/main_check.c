// SPDX-License-Identifier: MIT
//  check: the checker as a program.  Exit codes: 0 valid, 1 broken, 2 proves nothing, 64 usage, 66 no histories.

#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>

#include "tests/faults/check.h"
#include "tests/faults/dump.h"

static const char usage[] =
    "usage: check DIRECTORY [--db CONNINFO] [--json] [--strict] [--drain-ms N] [--confirmed-min "
    "N]\n"
    "       check DIRECTORY --message NUMBER | --slow MS\n"
    "\n"
    "Joins the histories in DIRECTORY (NAME.NUMBER.history) and says which promises held.\n"
    "  --db CONNINFO       first write the rows of this database into DIRECTORY, as a history\n"
    "  --drain-ms N        all must be done so long after the last fault (30000)\n"
    "  --confirmed-min N   fewer confirmed messages prove nothing (1000)\n"
    "  --strict            a rule with nothing to check, a danger that never came, prove nothing\n"
    "  --message NUMBER    the life of this message, nothing else\n"
    "  --slow MS           lives of messages whose worker was hit and that waited so long\n"
    "exit code: 0 valid, 1 a promise was broken, 2 the run proves nothing\n";

struct arguments {
    const char *directory, *conninfo;
    bool json;
    uint64_t message, slow_ms;
    tally_check_options_t options;
};

static bool
parse_number(const char *text, uint64_t *number)
{
    char *end;
    *number = strtoull(text, &end, 10);
    return end != text && *end == '\0' && text[0] != '-';
}

static bool
parse_arguments(int argc, char **argv, struct arguments *arguments)
{
    static const struct option options[] = {{"db", required_argument, NULL, 'd'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"drain-ms", required_argument, NULL, 'r'},
                                            {"confirmed-min", required_argument, NULL, 'c'},
                                            {"strict", no_argument, NULL, 's'},
                                            {"message", required_argument, NULL, 'm'},
                                            {"slow", required_argument, NULL, 'w'},
                                            {NULL, 0, NULL, 0}};
    bool fine = true;
    uint64_t drain_ms = 0;
    for (int option; fine && (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'd':
            arguments->conninfo = optarg;
            break;
        case 'j':
            arguments->json = true;
            break;
        case 'r':
            fine = parse_number(optarg, &drain_ms) && drain_ms <= INT64_MAX;
            break;
        case 'c':
            fine = parse_number(optarg, &arguments->options.confirmed_min);
            break;
        case 's':
            arguments->options.strict = true;
            break;
        case 'm':
            fine = parse_number(optarg, &arguments->message);
            break;
        case 'w':
            fine = parse_number(optarg, &arguments->slow_ms) && arguments->slow_ms <= INT32_MAX;
            break;
        default:
            fine = false;
            break;
        }
    }
    arguments->options.drain_ms = (int64_t)drain_ms;
    arguments->directory = argv[optind];
    return fine && optind + 1 == argc;
}

static int
report(const struct arguments *arguments, const tally_history_set_t *set)
{
    tally_check_t *check = tally_check_new(set, &arguments->options);
    int code = (int)tally_check_verdict(check);
    if (arguments->message != 0) {
        tally_check_print_life(check, arguments->message, stdout);
        code = 0;
    } else if (arguments->slow_ms != 0) {
        tally_check_print_slow(check, (int64_t)arguments->slow_ms, stdout);
        code = 0;
    } else if (arguments->json) {
        tally_check_print_json(check, stdout);
    } else {
        tally_check_print(check, stdout);
    }
    tally_check_destroy(&check);
    return code;
}

int
main(int argc, char **argv)
{
    struct arguments arguments = {0};
    if (!parse_arguments(argc, argv, &arguments)) {
        fputs(usage, stderr);
        return 64;
    }
    char *why = NULL;
    if (arguments.conninfo != NULL
        && tally_dump_write(arguments.conninfo, arguments.directory, &why) == -1) {
        fprintf(stderr, "check: %s\n", why);
        free(why);
        return 66;
    }
    tally_history_set_t *set = tally_history_set_open(arguments.directory, &why);
    if (set == NULL) {
        fprintf(stderr, "check: %s\n", why);
        free(why);
        return 66;
    }
    int code = report(&arguments, set);
    tally_history_set_close(&set);
    return code;
}
