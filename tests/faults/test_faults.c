// SPDX-License-Identifier: MIT
//  A short run of the whole harness: every kind of fault strikes, and nothing is found.  And what is left of a run that
//  is killed: nothing.

#include <dirent.h>
#include <ftw.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/alloc.h"
#include "lib/clock.h"

#define SECONDS "12"
#define START_MS 60000
#define GONE_MS 30000
#define LOOK_MS 20

struct fixture {
    char dir[64];    // rooms of runs are made in here
    char *bin_dir, *program;
    pid_t pid;    // a run; 0: none
};

static int
setup(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    *state = f;
    const char *programs = getenv("TALLY_FAILPOINT_BIN_DIR");
    f->bin_dir = tally_strdup(programs == NULL ? "build/faults/bin" : programs);
    f->program = tally_format("%s/../tests/faults/faults", f->bin_dir);
    if (access(f->program, X_OK) == -1) {
        return -1;    // before there is anything to remove: cmocka does not tear down what was not set up
    }
    snprintf(f->dir, sizeof f->dir, "/tmp/tally-test-faults-XXXXXX");
    return mkdtemp(f->dir) != NULL && chmod(f->dir, 0711) == 0 ? 0 : -1;
}

static int
remove_entry(const char *path, const struct stat *info, int type, struct FTW *place)
{
    (void)info;
    (void)type;
    (void)place;
    return remove(path);
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    if (f->pid > 0) {
        kill(f->pid, SIGTERM);
        waitpid(f->pid, NULL, 0);
    }
    nftw(f->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    free(f->bin_dir);
    free(f->program);
    free(f);
    return 0;
}

//  Its words go where ours go.
static void
start_run(struct fixture *f, const char *seconds)
{
    fflush(NULL);
    f->pid = fork();
    if (f->pid == 0) {
        setenv("TMPDIR", f->dir, 1);
        setenv("TALLY_BIN_DIR", f->bin_dir, 1);
        execl(f->program, f->program, "--seconds", seconds, "--seed", "1", (char *)NULL);
        _exit(127);
    }
    assert_true(f->pid > 0);
}

static void
nothing_is_found_whatever_breaks(void **state)
{
    struct fixture *f = *state;
    start_run(f, SECONDS);
    int status = 0;
    assert_int_equal(waitpid(f->pid, &status, 0), f->pid);
    f->pid = 0;
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

//  The room of the run, owned by the caller; NULL when there is none.
static char *
find_room(const struct fixture *f)
{
    DIR *dir = opendir(f->dir);
    assert_non_null(dir);
    char *room = NULL;
    struct dirent *entry;
    while (room == NULL && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] != '.') {
            room = tally_format("%s/%s", f->dir, entry->d_name);
        }
    }
    closedir(dir);
    return room;
}

static bool
has_worker(const struct fixture *f)
{
    char *room = find_room(f);
    char *log = room == NULL ? NULL : tally_format("%s/log/main-1.log", room);
    bool has = log != NULL && access(log, F_OK) == 0;
    free(log);
    free(room);
    return has;
}

static bool
has_no_room(const struct fixture *f)
{
    char *room = find_room(f);
    free(room);
    return room == NULL;
}

static void
await(const struct fixture *f, bool (*condition)(const struct fixture *f), int timeout_ms)
{
    int64_t give_up_at_ms = tally_clock_now_ms() + timeout_ms;
    while (!condition(f)) {
        assert_true(tally_clock_now_ms() < give_up_at_ms);
        poll(NULL, 0, LOOK_MS);
    }
}

//  Whether any process speaks of our directory.
static bool
is_spoken_of(const char *dir)
{
    DIR *processes = opendir("/proc");
    struct dirent *entry;
    bool found = false;
    while (!found && processes != NULL && (entry = readdir(processes)) != NULL) {
        char path[64], text[8192];
        snprintf(path, sizeof path, "/proc/%.20s/cmdline", entry->d_name);
        FILE *file = strtol(entry->d_name, NULL, 10) > 0 ? fopen(path, "re") : NULL;
        size_t size = file == NULL ? 0 : fread(text, 1, sizeof text, file);
        found = size > 0 && memmem(text, size, dir, strlen(dir)) != NULL;
        if (file != NULL) {
            fclose(file);
        }
    }
    if (processes != NULL) {
        closedir(processes);
    }
    return found;
}

static void
a_run_that_is_killed_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    start_run(f, "60");
    await(f, has_worker, START_MS);
    assert_int_equal(kill(f->pid, SIGKILL), 0);
    waitpid(f->pid, NULL, 0);
    f->pid = 0;
    await(f, has_no_room, GONE_MS);
    assert_false(is_spoken_of(f->dir));
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_is_found_whatever_breaks, setup, teardown),
        cmocka_unit_test_setup_teardown(a_run_that_is_killed_leaves_nothing, setup, teardown),
    };
    return cmocka_run_group_tests_name("faults", tests, NULL, NULL);
}
