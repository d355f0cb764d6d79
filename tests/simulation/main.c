// SPDX-License-Identifier: MIT
//  simulate - runs many seeds on all cores, or tells one.
//
//    simulate [--seeds N] [--first SEED] [--jobs N]    as many seeds, from the first on
//    simulate --seed SEED [--trace]                    one; --trace prints every event
//
//  Exits 0 when every rule held and every fault struck, 1 when not, 64 for wrong arguments.

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/clock.h"
#include "tests/simulation/world.h"

#define SEEDS_FOR_ALL_FAULTS 300    // so many runs show every fault, or something is wrong
#define JOBS_MAX 64
#define PART_SEEDS 32    // a job reports after so many

typedef struct {
    uint64_t seeds, first, jobs;
    bool one, trace, quiet;
} options_t;

typedef struct {
    uint64_t seeds, events, ticks, messages, leases, effects, virtual_ms;
    uint64_t bites[SIM_FAULTS];
} sums_t;

//  ---- jobs --------------------------------------------------------------------------------------

static void
add_outcome(sums_t *sums, const sim_outcome_t *outcome)
{
    sums->seeds++;
    sums->events += outcome->events;
    sums->ticks += outcome->ticks;
    sums->messages += outcome->messages;
    sums->leases += outcome->leases;
    sums->effects += outcome->effects;
    sums->virtual_ms += (uint64_t)outcome->virtual_ms;
    for (unsigned i = 0; i < SIM_FAULTS; i++) {
        sums->bites[i] += outcome->bites[i];
    }
}

static void
add_sums(sums_t *sums, const sums_t *part)
{
    sums->seeds += part->seeds;
    sums->events += part->events;
    sums->ticks += part->ticks;
    sums->messages += part->messages;
    sums->leases += part->leases;
    sums->effects += part->effects;
    sums->virtual_ms += part->virtual_ms;
    for (unsigned i = 0; i < SIM_FAULTS; i++) {
        sums->bites[i] += part->bites[i];
    }
}

static void
put_part(int fd, const sums_t *part)
{
    if (write(fd, part, sizeof *part) != (ssize_t)sizeof *part) {
        _exit(70);    // nobody listens any more
    }
}

//  A process: every jobs-th seed.
static void
run_job(const options_t *options, uint64_t job, int fd)
{
    sums_t part = {0};
    for (uint64_t i = job; i < options->seeds; i += options->jobs) {
        sim_outcome_t outcome;
        sim_world_run(options->first + i, false, &outcome);
        add_outcome(&part, &outcome);
        if (part.seeds == PART_SEEDS) {
            put_part(fd, &part);
            part = (sums_t){0};
        }
    }
    put_part(fd, &part);
    _exit(0);
}

//  Starts the jobs; returns where their parts come in.
static int
start_jobs(const options_t *options, pid_t *pids)
{
    int ends[2];
    if (pipe(ends) == -1) {
        perror("pipe");
        exit(71);
    }
    for (uint64_t job = 0; job < options->jobs; job++) {
        pids[job] = fork();
        if (pids[job] == -1) {
            perror("fork");
            exit(71);
        }
        if (pids[job] == 0) {
            close(ends[0]);
            run_job(options, job, ends[1]);
        }
    }
    close(ends[1]);
    return ends[0];
}

//  False when one of them broke a rule; the others are ended then.
static bool
wait_for_jobs(const options_t *options, const pid_t *pids, int fd, sums_t *sums)
{
    sums_t part;
    size_t have = 0;
    ssize_t got;
    while ((got = read(fd, (char *)&part + have, sizeof part - have)) > 0
           || (got == -1 && errno == EINTR)) {
        have += got > 0 ? (size_t)got : 0;
        if (have == sizeof part) {
            add_sums(sums, &part);
            have = 0;
        }
    }
    bool good = true;
    for (uint64_t job = 0; job < options->jobs; job++) {
        int status = 0;
        waitpid(pids[job], &status, 0);
        good = good && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }
    return good;
}

//  ---- what is said at the end -------------------------------------------------------------------

static bool
print_faults(const sums_t *sums)
{
    bool all = true;
    for (unsigned i = 0; i < SIM_FAULTS; i++) {
        printf("  %10" PRIu64 "  %s\n", sums->bites[i], sim_fault_text(i));
        all = all && sums->bites[i] > 0;
    }
    return all || sums->seeds < SEEDS_FOR_ALL_FAULTS;
}

static void
print_sums(const sums_t *sums, int64_t took_ms)
{
    double seconds = (double)(took_ms > 0 ? took_ms : 1) / 1000;
    printf("%" PRIu64 " seeds in %.1f s: %.0f seeds/s, %.1f virtual hours\n", sums->seeds, seconds,
           (double)sums->seeds / seconds, (double)sums->virtual_ms / 3600000);
    printf("%" PRIu64 " events, %" PRIu64 " ticks, %" PRIu64 " messages, %" PRIu64
           " leases, %" PRIu64 " effects\n",
           sums->events, sums->ticks, sums->messages, sums->leases, sums->effects);
}

static int
run_many(const options_t *options)
{
    pid_t pids[JOBS_MAX];
    int64_t began_ms = tally_clock_now_ms();
    int fd = start_jobs(options, pids);
    sums_t sums = {0};
    bool good = wait_for_jobs(options, pids, fd, &sums);
    int64_t took_ms = tally_clock_now_ms() - began_ms;
    close(fd);
    print_sums(&sums, took_ms);
    if (!options->quiet && good && !print_faults(&sums)) {
        printf("a fault never struck: this proves nothing\n");
        good = false;
    }
    printf("%s\n", good ? "every rule held" : "FAILED");
    return good ? 0 : 1;
}

static int
run_one(const options_t *options)
{
    sim_outcome_t outcome;
    sim_world_run(options->first, options->trace, &outcome);
    printf("seed %" PRIu64 ": every rule held; trace %016" PRIx64 ", %" PRIu64 " events, %" PRId64
           " virtual s\n",
           options->first, outcome.hash, outcome.events, outcome.virtual_ms / 1000);
    return 0;
}

static bool
read_number(const char *text, uint64_t *number)
{
    char *end = NULL;
    errno = 0;
    *number = text == NULL ? 0 : strtoull(text, &end, 10);
    return text != NULL && end != text && *end == '\0' && errno == 0;
}

static bool
read_options(int argc, char **argv, options_t *options)
{
    bool good = true;
    for (int i = 1; i < argc && good; i++) {
        const char *name = argv[i];
        uint64_t *number = strcmp(name, "--seeds") == 0   ? &options->seeds
                           : strcmp(name, "--first") == 0 ? &options->first
                           : strcmp(name, "--seed") == 0  ? &options->first
                           : strcmp(name, "--jobs") == 0  ? &options->jobs
                                                          : NULL;
        options->one = options->one || strcmp(name, "--seed") == 0;
        if (number != NULL) {
            i++;
            good = read_number(argv[i], number);
        } else if (strcmp(name, "--trace") == 0) {
            options->trace = true;
        } else if (strcmp(name, "--quiet") == 0) {
            options->quiet = true;
        } else {
            good = false;
        }
    }
    return good && options->jobs > 0 && options->jobs <= JOBS_MAX && options->seeds > 0;
}

int
main(int argc, char **argv)
{
    options_t options = {.seeds = 1000,
                         .first = 1,
                         .jobs = (uint64_t)sysconf(_SC_NPROCESSORS_ONLN)};
    if (!read_options(argc, argv, &options)) {
        fprintf(stderr, "usage: simulate [--seeds N] [--first SEED] [--jobs N] [--quiet]\n"
                        "       simulate --seed SEED [--trace]\n");
        return 64;
    }
    return options.one ? run_one(&options) : run_many(&options);
}
