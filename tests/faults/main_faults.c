// SPDX-License-Identifier: MIT
//  faults - the harness: real processes, real faults, a verdict.  Its own clients and workers are this program, too.

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "lib/log.h"
#include "tests/faults/client.h"
#include "tests/faults/run.h"
#include "tests/faults/worker.h"

#define MEASURE_WORK_MS 10
#define MEASURE_RATE 600

static const char help[] =
    "usage: faults [--seconds N] [--seed N] [--profile NAME] [--pace X] "
    "[--rate N] [--json] [--keep]\n\n"
    "Runs PostgreSQL, tallyd, clients and workers, breaks them for so many "
    "seconds, lets everything\n"
    "drain, and checks what became of each message.  Exit code: 0 nothing "
    "found, 1 something found.\n\n"
    "  --seconds N      how long faults happen (60)\n"
    "  --seed N         what decides about load and faults (1)\n"
    "  --profile NAME   mixed, broker, worker, database, network or takeover (mixed)\n"
    "  --pace X         faults come X times as often (1)\n"
    "  --rate N         messages a second that clients send at most (4000)\n"
    "  --clients N --workers N   how many (4 and 4)\n"
    "  --standby        a second tallyd stands by\n"
    "  --plain          no proxies, failpoints, clocks, small disk\n"
    "  --measure N      kills worker, term holder and broker N times each, one after the other, "
    "with\n"
    "                   a standby and all deadlines as shipped, and says how long work stood "
    "still\n"
    "  --json           one JSON object at the end\n"
    "  --keep           the directory of the run stays\n";

//  -1 when it is not a number in range.
static int
parse(const char *text, double low, double high, double *value)
{
    char *end;
    errno = 0;
    *value = strtod(text, &end);
    if (end == text || *end != '\0' || errno == ERANGE || !(*value >= low && *value <= high)) {
        fprintf(stderr, "faults: \"%s\" is not a number from %g to %g\n", text, low, high);
        return -1;
    }
    return 0;
}

//  Every worker has a lease in its hands nearly all of the time.
static void
set_measure(tally_run_options_t *options, unsigned kills)
{
    options->kills = kills;
    options->profile = "takeover";
    options->scene.brokers = 2;
    options->scene.plain = true;
    options->scene.shipped = true;
    options->scene.work_ms = MEASURE_WORK_MS;
    options->scene.rate = MEASURE_RATE;
}

static int
parse_options(int argc, char **argv, tally_run_options_t *options)
{
    static const struct option table[] = {
        {"seconds", required_argument, NULL, 's'}, {"seed", required_argument, NULL, 'e'},
        {"profile", required_argument, NULL, 'p'}, {"pace", required_argument, NULL, 'a'},
        {"rate", required_argument, NULL, 'r'},    {"clients", required_argument, NULL, 'c'},
        {"workers", required_argument, NULL, 'w'}, {"json", no_argument, NULL, 'j'},
        {"standby", no_argument, NULL, 'y'},       {"plain", no_argument, NULL, 'n'},
        {"measure", required_argument, NULL, 'm'}, {"keep", no_argument, NULL, 'k'},
        {"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0},
    };
    double value = 0;
    int rc = 0;
    for (int letter; rc == 0 && (letter = getopt_long(argc, argv, "h", table, NULL)) != -1;) {
        switch (letter) {
        case 's':
            rc = parse(optarg, 1, 86400, &value);
            options->faults_ms = (int64_t)(value * 1000);
            break;
        case 'e':
            rc = parse(optarg, 0, 9e15, &value);
            options->scene.seed = (uint64_t)value;
            break;
        case 'p':
            options->profile = optarg;
            break;
        case 'a':
            rc = parse(optarg, 0.01, 100, &options->pace);
            break;
        case 'r':
            rc = parse(optarg, 1, 1e6, &options->scene.rate);
            break;
        case 'c':
            rc = parse(optarg, 1, 16, &value);
            options->scene.clients = (unsigned)value;
            break;
        case 'w':
            rc = parse(optarg, 1, 16, &value);
            options->scene.mains = (unsigned)value;
            break;
        case 'y':
            options->scene.brokers = 2;
            break;
        case 'n':
            options->scene.plain = true;
            break;
        case 'm':
            rc = parse(optarg, 1, 100000, &value);
            set_measure(options, (unsigned)value);
            break;
        case 'j':
            options->json = true;
            break;
        case 'k':
            options->keep = true;
            break;
        default:
            fputs(help, letter == 'h' ? stdout : stderr);
            exit(letter == 'h' ? 0 : 64);
        }
    }
    return rc == 0 && optind == argc ? 0 : -1;
}

int
main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "client") == 0) {
        return tally_faults_client(argc - 1, argv + 1);
    }
    if (argc > 1 && strncmp(argv[1], "worker-", 7) == 0) {
        return tally_faults_worker(argv[1] + 7, argc - 1, argv + 1);
    }
    const char *programs = getenv("TALLY_BIN_DIR");
    char *bin_dir = realpath(programs == NULL ? "build/bin" : programs, NULL);
    char *program = realpath("/proc/self/exe", NULL);
    if (bin_dir == NULL || program == NULL) {
        perror("faults: programs");
        return 70;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    tally_log_set_level(TALLY_LOG_ERROR);    // that sessions end is what we are here for
    tally_run_options_t options = {
        .scene = {.seed = 1,
                  .brokers = 1,
                  .clients = 4,
                  .mains = 4,
                  .looses = 1,
                  .poisons = 1,
                  .rate = 4000,
                  .bin_dir = bin_dir,
                  .program = program},
        .profile = "mixed",
        .pace = 1,
        .faults_ms = 60000,
    };
    int code = parse_options(argc, argv, &options) == 0 ? tally_run(&options) : 64;
    free(bin_dir);
    free(program);
    return code;
}
