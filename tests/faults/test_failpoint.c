// SPDX-License-Identifier: MIT
//  Every failpoint is reached and fires: tallyd and workers die at each of them while responses are submitted, fail at
//  each that can fail, and in the end the statistics are exact.

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/alloc.h"
#include "lib/clock.h"
#include "tests/faults/chance.h"
#include "tests/faults/crew.h"
#include "tests/faults/failpoints.h"
#include "tests/faults/room.h"
#include "tests/integration/pg.h"
#include "tests/integration/survey_data.h"

#define RESPONSES 400
#define FIRES_MS 20000
#define REST_MS 60000
#define NUDGE_MS 150
#define WORDS_MAX 24

static const char *const tenants[] = {"one", "two"};

struct fixture {
    tally_room_t *room;
    tally_pg_t *pg;
    tally_crew_t *crew;
    tally_failpoints_t *points;
    tally_chance_t chance;
    survey_data_t data;
    char *bin_dir, *front;
    tally_process_t *tallyd, *worker, *clients[4];
    size_t client_count;
    char **argvs[32];    // of the crew; owned
    size_t argv_count;
};

//  ---- programs -----------------------------------------------------------------------------------

//  Words up to NULL, the first a program of the failpoint build; kept until the end.
static char **
words_of(struct fixture *f, const char *program, ...)
{
    char **words = tally_alloc_array(WORDS_MAX + 1, sizeof *words);
    size_t count = 0;
    words[count++] = tally_format("%s/%s", f->bin_dir, program);
    va_list more;
    va_start(more, program);
    for (const char *word = va_arg(more, const char *); word != NULL;
         word = va_arg(more, const char *)) {
        assert_true(count < WORDS_MAX);
        words[count++] = tally_strdup(word);
    }
    va_end(more);
    assert_true(f->argv_count < sizeof f->argvs / sizeof f->argvs[0]);
    f->argvs[f->argv_count++] = words;
    return words;
}

//  What ends is started again; it may end with any code, and kill itself.
static tally_process_t *
start(struct fixture *f, const char *name, char **words)
{
    tally_process_t *process = tally_crew_add(f->crew, name, tally_room_dir(f->room),
                                              tally_crew_exec, words);
    process->may_fail = true;
    process->mortal = true;
    tally_crew_start(f->crew, process);
    return process;
}

static bool
turn_until(struct fixture *f, bool (*condition)(void *argument), void *argument, int timeout_ms)
{
    int64_t deadline_at_ms = tally_clock_now_ms() + timeout_ms;
    while (!condition(argument)) {
        int64_t now_ms = tally_clock_now_ms();
        if (now_ms >= deadline_at_ms) {
            return false;
        }
        tally_crew_turn(f->crew, now_ms + 5);
    }
    return true;
}

//  Runs `tally WORDS` to its end, which must be a good one; its output goes to DIR/out.  Nobody is started again
//  meanwhile.
static void
must(struct fixture *f, char **words)
{
    char *out = tally_room_file(f->room, "out");
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        int fd = open(out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        if (fd != -1 && dup2(fd, STDOUT_FILENO) != -1) {
            execv(words[0], words);
        }
        _exit(127);
    }
    free(out);
    int status = 0;
    int64_t deadline_at_ms = tally_clock_now_ms() + REST_MS;
    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (tally_clock_now_ms() >= deadline_at_ms) {
            kill(pid, SIGKILL);
        }
        poll(NULL, 0, 5);
    }
    if (status != 0) {
        fail_msg("tally %s ended with status %x", words[1], (unsigned)status);
    }
}

//  ---- scene --------------------------------------------------------------------------------------

static void
start_tallyd(struct fixture *f, const char *conninfo)
{
    const char *dir = tally_room_dir(f->room);
    char *places[3] = {tally_format("ipc://%s/sink", dir), tally_format("ipc://%s/feed", dir),
                       tally_format("ipc://%s/lane-%%", dir)};
    f->tallyd = start(f, "tallyd",
                      words_of(f, "tallyd", "--front", f->front, "--sink", places[0], "--feed",
                               places[1], "--lanes", places[2], "--db", conninfo, "--allow-unsafe",
                               "yes", NULL));
    for (size_t i = 0; i < 3; i++) {
        free(places[i]);
    }
}

static void
start_workers(struct fixture *f, const char *conninfo)
{
    static const char *const names[] = {"responses-1", "responses-2", "statistics-1"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char *program = tally_format("tally-%.*s", (int)strcspn(names[i], "-"), names[i]);
        tally_process_t *worker = start(f, names[i],
                                        words_of(f, program, "--front", f->front, "--db", conninfo,
                                                 "--name", names[i], NULL));
        f->worker = i == 0 ? worker : f->worker;
        free(program);
    }
}

static int
set_up(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    *state = f;
    const char *bin_dir = getenv("TALLY_FAILPOINT_BIN_DIR");
    f->bin_dir = tally_strdup(bin_dir == NULL ? "build/faults/bin" : bin_dir);
    const char *seed = getenv("TALLY_FAULTS_SEED");
    f->chance = tally_chance_of(seed == NULL ? 1 : strtoull(seed, NULL, 10), 1, 2, 3);
    f->pg = tally_pg_new(NULL);
    f->room = tally_room_new();
    assert_non_null(f->room);
    char *page = tally_room_file(f->room, "failpoints");
    f->points = tally_failpoints_open(page);
    assert_non_null(f->points);
    f->front = tally_format("ipc://%s/front", tally_room_dir(f->room));
    setenv("TALLY_FAILPOINTS", page, 1);
    setenv("TALLY_BROKER", f->front, 1);
    free(page);
    f->crew = tally_crew_new(tally_room_dir(f->room));
    survey_data_generate(&f->data, tally_room_dir(f->room), "generated", RESPONSES, 3);
    const char *conninfo = tally_pg_fresh(f->pg);
    start_tallyd(f, conninfo);
    start_workers(f, conninfo);
    for (size_t i = 0; i < 2; i++) {
        must(f, words_of(f, "tally", "survey", "put", f->data.definition, "-t", tenants[i], NULL));
        f->clients[f->client_count] = start(f, tenants[i],
                                            words_of(f, "tally", "submit", f->data.responses, "-t",
                                                     tenants[i], NULL));
        f->client_count++;
    }
    f->clients[f->client_count++] = start(f, "asks",
                                          words_of(f, "tally", "survey", "ls", "-t", "one", NULL));
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    tally_crew_destroy(&f->crew);
    tally_failpoints_close(&f->points);
    survey_data_free(&f->data);
    int rc = tally_room_destroy(&f->room);
    tally_pg_destroy(&f->pg);
    for (size_t i = 0; i < f->argv_count; i++) {
        for (char **word = f->argvs[i]; *word != NULL; word++) {
            free(*word);
        }
        free(f->argvs[i]);
    }
    free(f->bin_dir);
    free(f->front);
    free(f);
    return rc;
}

//  ---- reaching them ------------------------------------------------------------------------------

struct aim {
    struct fixture *f;
    tally_failpoint_t point;
    uint64_t fired;    // before
    int64_t nudge_at_ms;
};

//  What must happen for some points to be reached.
static void
nudge(struct fixture *f, tally_failpoint_t point)
{
    switch (point) {
    case TALLY_AT_WORKER_HELLO:
    case TALLY_AT_WORKER_WELCOMED:
    case TALLY_AT_WORKER_JOINED:
    case TALLY_AT_WORKER_GONE:
        tally_crew_kill(f->worker, SIGKILL, 0);
        break;
    case TALLY_AT_PLACE_TAKEN:
    case TALLY_AT_EPOCH_TAKEN:
    case TALLY_AT_LOADING:
    case TALLY_AT_LOADED:
        tally_crew_kill(f->tallyd, SIGKILL, 0);
        break;
    case TALLY_AT_TICK_LOST:
    case TALLY_AT_TICK_FOUND:
    case TALLY_AT_FED_AGAIN:
        tally_failpoints_arm(f->points, TALLY_AT_TICK_SENT, TALLY_FAILPOINT_ERROR, 0, 0);
        break;
    case TALLY_AT_TICK_VOID:
        tally_failpoints_arm(f->points, TALLY_AT_TICK_SENDS, TALLY_FAILPOINT_ERROR, 0, 0);
        break;
    default:
        break;
    }
}

static bool
has_fired(void *argument)
{
    struct aim *aim = argument;
    int64_t now_ms = tally_clock_now_ms();
    if (now_ms >= aim->nudge_at_ms) {
        nudge(aim->f, aim->point);
        aim->nudge_at_ms = now_ms + NUDGE_MS * 4;
    }
    return tally_failpoints_fired(aim->f->points, aim->point) > aim->fired;
}

static void
fire(struct fixture *f, tally_failpoint_t point, tally_failpoint_action_t action, uint32_t ms)
{
    struct aim aim = {f, point, tally_failpoints_fired(f->points, point), 0};
    uint32_t after = tally_chance_below(&f->chance, 3);
    //  What happens once in a start or a recovery is not waited for three times.
    bool rare = point >= TALLY_AT_WORKER_HELLO && point <= TALLY_AT_FED_AGAIN;
    assert_true(tally_failpoints_arm(f->points, point, action, rare ? 0 : after, ms));
    if (!turn_until(f, has_fired, &aim, FIRES_MS)) {
        fail_msg("%s was not reached", tally_failpoints_name(point));
    }
}

static bool
clients_have_ended(void *argument)
{
    const struct fixture *f = argument;
    for (size_t i = 0; i < f->client_count; i++) {
        if (f->clients[i]->pid != 0) {
            return false;
        }
    }
    return true;
}

//  Without faults the rest is done, and it is neither too little nor too much.
static void
statistics_are_exact(struct fixture *f)
{
    for (tally_failpoint_t point = 0; point < TALLY_FAILPOINTS_COUNT; point++) {
        tally_failpoints_disarm(f->points, point);
    }
    for (size_t i = 0; i < f->client_count; i++) {
        f->clients[i]->wanted = false;
    }
    assert_true(turn_until(f, clients_have_ended, f, REST_MS));
    for (size_t i = 0; i < sizeof tenants / sizeof tenants[0]; i++) {
        must(f, words_of(f, "tally", "submit", f->data.responses, "-t", tenants[i], NULL));
        must(f, words_of(f, "tally", "statistics", "refresh", "-t", tenants[i], "--wait",
                         "--timeout", "60s", NULL));
        must(f, words_of(f, "tally", "statistics", "show", "-t", tenants[i], "-s", f->data.slug,
                         "--json", NULL));
        char *out = tally_room_file(f->room, "out");
        json_t *shown = json_load_file(out, 0, NULL);
        free(out);
        assert_non_null(shown);
        char *difference = survey_data_difference(f->data.expected, shown);
        json_decref(shown);
        if (difference != NULL) {
            fail_msg("tenant %s: %s", tenants[i], difference);
        }
    }
    for (size_t i = 0; i < f->client_count; i++) {
        tally_crew_start(f->crew, f->clients[i]);
    }
    assert_string_equal(tally_crew_findings(f->crew), "");
}

//  ---- tests --------------------------------------------------------------------------------------

static void
every_point_is_reached_and_kills(void **state)
{
    struct fixture *f = *state;
    for (tally_failpoint_t point = 0; point < TALLY_FAILPOINTS_COUNT; point++) {
        fire(f, point, TALLY_FAILPOINT_KILL, 0);
    }
    statistics_are_exact(f);
}

static void
every_step_that_can_fail_may_fail(void **state)
{
    struct fixture *f = *state;
    for (tally_failpoint_t point = 0; point < TALLY_FAILPOINTS_COUNT; point++) {
        if (tally_failpoints_may_fail(point)) {
            fire(f, point, TALLY_FAILPOINT_ERROR, 0);
        } else {
            assert_false(tally_failpoints_arm(f->points, point, TALLY_FAILPOINT_ERROR, 0, 0));
        }
    }
    statistics_are_exact(f);
}

//  The state letter of /proc/PID/stat.
static bool
is_stopped(void *process)
{
    char path[64];
    char text[256] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)((tally_process_t *)process)->pid);
    FILE *file = fopen(path, "r");
    if (file != NULL) {
        text[fread(text, 1, sizeof text - 1, file)] = '\0';
        fclose(file);
    }
    const char *name_end = strrchr(text, ')');
    return name_end != NULL && name_end[2] == 'T';
}

static void
who_stops_or_waits_goes_on_where_it_was(void **state)
{
    struct fixture *f = *state;
    unsigned starts = f->tallyd->starts;
    fire(f, TALLY_AT_TICK_COMMITTED, TALLY_FAILPOINT_STOP, 0);
    assert_true(turn_until(f, is_stopped, f->tallyd, FIRES_MS));
    tally_crew_continue(f->tallyd);
    fire(f, TALLY_AT_TICK_SENT, TALLY_FAILPOINT_DELAY, 300);
    statistics_are_exact(f);
    assert_int_equal(f->tallyd->starts, starts);
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_point_is_reached_and_kills),
        cmocka_unit_test(every_step_that_can_fail_may_fail),
        cmocka_unit_test(who_stops_or_waits_goes_on_where_it_was),
    };
    return cmocka_run_group_tests_name("failpoint", tests, set_up, tear_down);
}
