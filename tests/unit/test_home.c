// SPDX-License-Identifier: MIT
//  home: an instance's directory is made once, found again, and held by one process at a time.
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "clients/cmd/home.h"
#include "lib/alloc.h"

struct fixture {
    char *base, *dir;
    tally_home_t *home;
    pid_t holder;
    int kept_stderr;
};

static int
remove_entry(const char *path, const struct stat *info, int type, struct FTW *place)
{
    (void)info;
    (void)type;
    (void)place;
    return remove(path);
}

static int
setup(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    const char *tmp = getenv("TMPDIR");
    f->base = tally_format("%s/tally-home-XXXXXX", tmp == NULL ? "/tmp" : tmp);
    if (mkdtemp(f->base) == NULL) {
        return -1;
    }
    f->dir = tally_format("%s/a/b", f->base);
    //  What it says about mistakes is not part of a test's output.
    f->kept_stderr = dup(STDERR_FILENO);
    if (freopen("/dev/null", "w", stderr) == NULL) {
        return -1;
    }
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    fflush(stderr);
    dup2(f->kept_stderr, STDERR_FILENO);
    close(f->kept_stderr);
    if (f->holder > 0) {
        kill(f->holder, SIGKILL);
        waitpid(f->holder, NULL, 0);
    }
    if (f->home != NULL && strncmp(f->home->run, f->home->dir, strlen(f->home->dir)) != 0) {
        rmdir(f->home->run);
    }
    tally_home_destroy(&f->home);
    nftw(f->base, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    free(f->dir);
    free(f->base);
    free(f);
    return 0;
}

static void
a_home_is_made_with_its_rooms_and_found_again(void **state)
{
    struct fixture *f = *state;
    assert_null(tally_home_open(f->dir));
    f->home = tally_home_make(f->dir, NULL, 0);
    assert_non_null(f->home);
    assert_string_equal(f->home->dir, f->dir);
    assert_true(f->home->private_db);

    static const char *const rooms[] = {"log", "pid", "exports", "run"};
    for (size_t i = 0; i < sizeof rooms / sizeof rooms[0]; i++) {
        struct stat info;
        char *room = tally_home_file(f->home, rooms[i]);
        assert_int_equal(stat(room, &info), 0);
        assert_int_equal(info.st_mode & 0777, 0700);
        free(room);
    }
    tally_home_t *again = tally_home_open(f->dir);
    assert_non_null(again);
    assert_string_equal(again->front, f->home->front);
    assert_string_equal(again->db, f->home->db);
    tally_home_destroy(&again);
}

static void
making_it_again_changes_nothing(void **state)
{
    struct fixture *f = *state;
    f->home = tally_home_make(f->dir, NULL, 0);
    assert_non_null(f->home);
    char *conf = tally_home_file(f->home, "tally.conf");
    FILE *file = fopen(conf, "a");
    fputs("\n# mine\n", file);
    fclose(file);
    struct stat before, after;
    assert_int_equal(stat(conf, &before), 0);
    tally_home_t *again = tally_home_make(f->dir, NULL, 0);
    assert_non_null(again);
    tally_home_destroy(&again);
    assert_int_equal(stat(conf, &after), 0);
    assert_int_equal(before.st_size, after.st_size);
    assert_int_equal(before.st_ino, after.st_ino);
    free(conf);
}

static void
another_database_is_kept_and_not_changed_silently(void **state)
{
    struct fixture *f = *state;
    static const char db[] = "host=/run/x dbname=t password='a\"b\\\\c # d'";
    f->home = tally_home_make(f->dir, db, 0);
    assert_non_null(f->home);
    assert_string_equal(f->home->db, db);
    assert_false(f->home->private_db);
    assert_null(tally_home_make(f->dir, "host=/other", 0));
    tally_home_t *again = tally_home_make(f->dir, NULL, 0);
    assert_non_null(again);
    tally_home_destroy(&again);
}

static void
a_path_too_long_for_sockets_gets_a_short_one_and_keeps_it(void **state)
{
    struct fixture *f = *state;
    char *deep = tally_format("%s/%080d", f->base, 0);
    f->home = tally_home_make(deep, NULL, 0);
    free(deep);
    assert_non_null(f->home);
    assert_int_equal(strncmp(f->home->run, "/tmp/tally-", 11), 0);
    assert_non_null(strstr(f->home->front, f->home->run));

    //  /tmp is emptied at a boot: the same place is made again
    assert_int_equal(rmdir(f->home->run), 0);
    tally_home_t *again = tally_home_make(f->home->dir, NULL, 0);
    assert_non_null(again);
    assert_string_equal(again->run, f->home->run);
    tally_home_destroy(&again);
    assert_int_equal(access(f->home->run, F_OK), 0);
}

static void
a_run_directory_open_to_others_is_refused(void **state)
{
    struct fixture *f = *state;
    f->home = tally_home_make(f->dir, NULL, 0);
    assert_non_null(f->home);
    assert_int_equal(chmod(f->home->run, 0755), 0);
    assert_null(tally_home_make(f->dir, NULL, 0));
    assert_int_equal(rmdir(f->home->run), 0);
    assert_int_equal(symlink("/", f->home->run), 0);
    assert_null(tally_home_make(f->dir, NULL, 0));
}

static void
hostile_paths_are_quoted(void **state)
{
    struct fixture *f = *state;
    char *dir = tally_format("%s/a \"b\" # 'c'", f->base);
    f->home = tally_home_make(dir, NULL, 0);
    assert_non_null(f->home);
    assert_string_equal(f->home->dir, dir);
    assert_true(f->home->private_db);
    char *host = tally_format("host='%s/a \"b\" # \\'c\\'/run' ", f->base);
    assert_int_equal(strncmp(f->home->db, host, strlen(host)), 0);
    free(host);
    free(dir);
}

static void
a_percent_in_the_path_stays_out_of_lane_names(void **state)
{
    struct fixture *f = *state;
    char *dir = tally_format("%s/100%%", f->base);
    f->home = tally_home_make(dir, NULL, 0);
    free(dir);
    assert_non_null(f->home);
    assert_ptr_equal(strchr(f->home->lanes, '%'), strrchr(f->home->lanes, '%'));
}

//  A child that holds the home (ready or not) until it is killed.
static void
hold_in_child(struct fixture *f, bool ready)
{
    int ends[2];
    char byte = 0;
    assert_int_equal(pipe(ends), 0);
    f->holder = fork();
    if (f->holder == 0) {
        tally_home_t *home = tally_home_open(f->dir);
        byte = home != NULL && tally_home_hold(home) ? 'y' : 'n';
        if (ready) {
            tally_home_set_ready(home, true);
        }
        _exit(write(ends[1], &byte, 1) == 1 ? pause() : 1);
    }
    assert_int_equal(read(ends[0], &byte, 1), 1);
    close(ends[0]);
    close(ends[1]);
    assert_int_equal(byte, 'y');
}

static void
a_held_home_names_its_holder_and_refuses_another(void **state)
{
    struct fixture *f = *state;
    f->home = tally_home_make(f->dir, NULL, 0);
    assert_non_null(f->home);
    assert_int_equal(tally_home_holder(f->home), 0);
    hold_in_child(f, false);
    assert_int_equal(tally_home_holder(f->home), f->holder);
    assert_false(tally_home_ready(f->home));
    assert_false(tally_home_hold(f->home));
}

static void
a_holder_that_dies_leaves_nothing_stale(void **state)
{
    struct fixture *f = *state;
    f->home = tally_home_make(f->dir, NULL, 0);
    assert_non_null(f->home);
    hold_in_child(f, true);
    assert_true(tally_home_ready(f->home));
    kill(f->holder, SIGKILL);
    waitpid(f->holder, NULL, 0);
    f->holder = 0;
    assert_int_equal(tally_home_holder(f->home), 0);
    assert_false(tally_home_ready(f->home));
    assert_true(tally_home_hold(f->home));
}

static void
the_path_follows_flag_then_environment(void **state)
{
    (void)state;
    setenv("TALLY_DIR", "/from/environment", 1);
    setenv("XDG_STATE_HOME", "/state", 1);
    char *paths[4];
    paths[0] = tally_home_path("/given");
    paths[1] = tally_home_path(NULL);
    unsetenv("TALLY_DIR");
    paths[2] = tally_home_path(NULL);
    paths[3] = tally_home_path("relative");
    unsetenv("XDG_STATE_HOME");
    assert_string_equal(paths[0], "/given");
    assert_string_equal(paths[1], "/from/environment");
    assert_string_equal(paths[2], "/state/tally");
    assert_int_equal(paths[3][0], '/');
    for (size_t i = 0; i < 4; i++) {
        free(paths[i]);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        TEST(a_home_is_made_with_its_rooms_and_found_again),
        TEST(making_it_again_changes_nothing),
        TEST(another_database_is_kept_and_not_changed_silently),
        TEST(a_path_too_long_for_sockets_gets_a_short_one_and_keeps_it),
        TEST(a_run_directory_open_to_others_is_refused),
        TEST(hostile_paths_are_quoted),
        TEST(a_percent_in_the_path_stays_out_of_lane_names),
        TEST(a_held_home_names_its_holder_and_refuses_another),
        TEST(a_holder_that_dies_leaves_nothing_stale),
        TEST(the_path_follows_flag_then_environment),
    };
    return cmocka_run_group_tests_name("home", tests, NULL, NULL);
}
