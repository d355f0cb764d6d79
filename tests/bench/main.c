// SPDX-License-Identifier: MIT
//  bench - the figures of Tally on this machine, as ratios taken in one run: make bench [B=messages,latency]
//
//  Each scenario has a private instance of its own, durable, removed afterwards.

#include <errno.h>
#include <getopt.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <zmq.h>

#include <cmocka.h>

#include "lib/version.h"
#include "tests/bench/scene.h"

static const struct {
    const char *name;
    void (*run)(bench_scene_t *scene);
    const char *about;
    bool is_default;
} scenarios[] = {
    {"floor", bench_floor, "what PostgreSQL can do here without a broker", false},
    {"messages", bench_messages, "settled messages against the floor of the same statements", true},
    {"latency", bench_latency, "one message at a time, and 1 000 a second, against single commits",
     true},
    {"backlog", bench_backlog, "1 and 5 million messages pending: start, throughput, memory",
     false},
    {"held", bench_held, "a snapshot held open elsewhere for more than a minute", false},
    {"fairness", bench_fairness, "1000 tenants while one of them floods", true},
    {"quota", bench_quota, "1000 tenants while one sends 20 times its quota", true},
    {"fan", bench_fan, "500 workers and 2000 clients that do nothing", true},
    {"pipeline", bench_pipeline, "survey responses from send to counted, exports, recomputation",
     true},
    {"comparison", bench_comparison, "the same messages through queues in SQL: SKIP LOCKED, pgmq",
     true},
    {"strangers", bench_strangers,
     "floods of peers that nobody knows, and what known clients notice", false},
    {"matrix", bench_matrix, "the same with other batches, bodies, producers and workers", false},
};

#define SCENARIOS (sizeof scenarios / sizeof scenarios[0])

static void
print_help(void)
{
    printf("usage: bench [--seconds N] [--rounds N] [--json FILE] [SCENARIO ...]\n\n");
    for (size_t i = 0; i < SCENARIOS; i++) {
        printf("  %-11s %s%s\n", scenarios[i].name, scenarios[i].about,
               scenarios[i].is_default ? "" : " (only when named)");
    }
}

static int
parse_number(const char *text, int max)
{
    char *end;
    long number = strtol(text, &end, 10);
    if (end == text || *end != '\0' || number < 1 || number > max) {
        fprintf(stderr, "bench: a number from 1 to %d, not \"%s\"\n", max, text);
        exit(64);
    }
    return (int)number;
}

static size_t
find_scenario(const char *name)
{
    size_t index = 0;
    while (index < SCENARIOS && strcmp(scenarios[index].name, name) != 0) {
        index++;
    }
    if (index == SCENARIOS) {
        fprintf(stderr, "bench: there is no scenario \"%s\"\n", name);
        print_help();
        exit(64);
    }
    return index;
}

//  The first line of a file that begins so, behind its colon; "" when there is none.
static void
read_line(const char *path, const char *begin, char *out, size_t room)
{
    char line[512];
    out[0] = '\0';
    FILE *file = fopen(path, "r");
    while (file != NULL && out[0] == '\0' && fgets(line, sizeof line, file) != NULL) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, begin, strlen(begin)) == 0 && colon != NULL) {
            snprintf(out, room, "%s", colon + 1 + strspn(colon + 1, " \t"));
            out[strcspn(out, "\n")] = '\0';
        }
    }
    if (file != NULL) {
        fclose(file);
    }
}

static void
note_machine(bench_report_t *report, const bench_scene_t *scene)
{
    struct utsname system;
    char cpu[128], memory[64], zeromq[24];
    int major, minor, patch;
    uname(&system);
    read_line("/proc/cpuinfo", "model name", cpu, sizeof cpu);
    read_line("/proc/meminfo", "MemTotal", memory, sizeof memory);
    zmq_version(&major, &minor, &patch);
    snprintf(zeromq, sizeof zeromq, "%d.%d.%d", major, minor, patch);
    bench_report_note(report, "machine",
                      json_pack("{s:s, s:i, s:s, s:s}", "cpu", cpu, "cores",
                                (int)sysconf(_SC_NPROCESSORS_ONLN), "memory", memory, "kernel",
                                system.release));
    bench_report_note(report, "versions",
                      json_pack("{s:s, s:s}", "tally", TALLY_VERSION, "libzmq", zeromq));
    bench_report_note(report, "settings",
                      json_pack("{s:i, s:i}", "seconds", scene->seconds, "rounds", scene->rounds));
    printf("%s, %s cores %ld, Linux %s, Tally %s, libzmq %s\n", cpu, memory,
           sysconf(_SC_NPROCESSORS_ONLN), system.release, TALLY_VERSION, zeromq);
}

int
main(int argc, char **argv)
{
    static const struct option options[] = {{"seconds", required_argument, NULL, 's'},
                                            {"rounds", required_argument, NULL, 'r'},
                                            {"json", required_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    bench_scene_t scene = {.seconds = 2, .rounds = 3};
    const char *path = NULL;
    for (int option = getopt_long(argc, argv, "h", options, NULL); option != -1;
         option = getopt_long(argc, argv, "h", options, NULL)) {
        switch (option) {
        case 's':
            scene.seconds = parse_number(optarg, 600);
            break;
        case 'r':
            scene.rounds = parse_number(optarg, BENCH_SAMPLES_MAX);
            break;
        case 'j':
            path = optarg;
            break;
        default:
            print_help();
            return option == 'h' ? 0 : 64;
        }
    }
    bool wanted[SCENARIOS] = {false};
    for (size_t i = 0; i < SCENARIOS; i++) {
        wanted[i] = optind == argc && scenarios[i].is_default;
    }
    for (int i = optind; i < argc; i++) {
        wanted[find_scenario(argv[i])] = true;
    }
    scene.report = bench_report_new();
    note_machine(scene.report, &scene);
    scene.notes_server = true;
    for (size_t i = 0; i < SCENARIOS; i++) {
        if (wanted[i]) {
            scenarios[i].run(&scene);
        }
    }
    bench_report_print(scene.report);
    int rc = path != NULL ? bench_report_write(scene.report, path) : 0;
    if (rc == -1) {
        fprintf(stderr, "bench: could not write %s: %s\n", path, strerror(errno));
    }
    bench_report_destroy(&scene.report);
    return rc == 0 ? 0 : 73;
}
