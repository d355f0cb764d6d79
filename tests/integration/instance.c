// SPDX-License-Identifier: MIT
#include "tests/integration/instance.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "clients/cmd/home.h"
#include "lib/alloc.h"
#include "lib/clock.h"
#include "tests/integration/marker.h"

#define WORDS_MAX 64
#define COMMAND_MS_MAX 180000
#define DOWN_MS_MAX 60000
#define KILL_MS_MAX 10000
#define LOOK_MS 5

struct tally_instance {
    char *dir;
    char *program;         // the tally command
    tally_home_t *home;    // NULL until it was up once
    tally_output_t output;
    char *out, *err;    // of output; owned
    pid_t guard;
    int guard_end;    // closing it sets the guard to work
};

bool
tally_wait_until(bool (*condition)(void *argument), void *argument, int timeout_ms)
{
    int64_t deadline_at_ms = tally_clock_now_ms() + timeout_ms;
    while (!condition(argument)) {
        if (tally_clock_now_ms() >= deadline_at_ms) {
            return false;
        }
        poll(NULL, 0, LOOK_MS);
    }
    return true;
}

static bool
was_up(const tally_instance_t *self)
{
    char *conf = tally_format("%s/tally.conf", self->dir);
    bool is_there = access(conf, F_OK) == 0;
    free(conf);
    return is_there;
}

//  ---- commands ---------------------------------------------------------------------------------

//  A child that becomes the command, with its output in two files.
static pid_t
start_command(const tally_instance_t *self, const char *const *words, const char *out,
              const char *err)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid != 0) {
        return pid;
    }
    int files[3] = {open("/dev/null", O_RDONLY), open(out, O_WRONLY | O_CREAT | O_TRUNC, 0600),
                    open(err, O_WRONLY | O_CREAT | O_TRUNC, 0600)};
    for (int i = 0; i < 3; i++) {
        if (files[i] == -1 || dup2(files[i], i) == -1) {
            _exit(126);
        }
    }
    close_range(3, ~0U, 0);
    setpgid(0, 0);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setenv("TALLY_DIR", self->dir, 1);
    setenv("NO_COLOR", "1", 1);
    unsetenv("TALLY_BROKER");
    unsetenv("TALLY_TENANT");
    const char *line[WORDS_MAX + 2] = {self->program};
    for (size_t i = 0; words[i] != NULL && i < WORDS_MAX; i++) {
        line[i + 1] = words[i];
    }
    execv(self->program, (char *const *)(uintptr_t)line);
    _exit(127);
}

struct ending {
    pid_t pid;
    int status;
};

static bool
has_ended(void *argument)
{
    struct ending *ending = argument;
    pid_t got = waitpid(ending->pid, &ending->status, WNOHANG);
    return got == ending->pid || (got == -1 && errno == ECHILD);
}

//  The exit code, -1 when ended by a signal; killed with its group when the time is over.
static int
end_command(pid_t pid, int timeout_ms)
{
    struct ending ending = {.pid = pid};
    if (!tally_wait_until(has_ended, &ending, timeout_ms)) {
        kill(-pid, SIGKILL);
        kill(pid, SIGKILL);
        waitpid(pid, &ending.status, 0);
    }
    return WIFEXITED(ending.status) ? WEXITSTATUS(ending.status) : -1;
}

//  The whole file, NUL-terminated, owned by the caller.
static char *
read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "r");
    char *text = tally_strdup("");
    *size = 0;
    if (file != NULL) {
        struct stat info;
        fstat(fileno(file), &info);
        text = tally_realloc(text, (size_t)info.st_size + 1);
        *size = fread(text, 1, (size_t)info.st_size, file);
        text[*size] = '\0';
        fclose(file);
    }
    return text;
}

static const tally_output_t *
run_words(tally_instance_t *self, const char *const *words)
{
    char *out = tally_format("%s/command.out", self->dir);
    char *err = tally_format("%s/command.err", self->dir);
    size_t err_size;
    self->output.code = end_command(start_command(self, words, out, err), COMMAND_MS_MAX);
    free(self->out);
    free(self->err);
    self->out = read_file(out, &self->output.out_size);
    self->err = read_file(err, &err_size);
    self->output.out = self->out;
    self->output.err = self->err;
    free(out);
    free(err);
    return &self->output;
}

static void
take_words(const char **words, const char *word, va_list more)
{
    size_t count = 0;
    for (; word != NULL; word = va_arg(more, const char *)) {
        assert_true(count < WORDS_MAX - 1);
        words[count++] = word;
    }
    words[count] = NULL;
}

static void
require_success(const tally_instance_t *self, const char *const *words)
{
    if (self->output.code == 0) {
        return;
    }
    fprintf(stderr, "command failed with code %d: tally", self->output.code);
    for (size_t i = 0; words[i] != NULL; i++) {
        fprintf(stderr, " %s", words[i]);
    }
    fprintf(stderr, "\n%s%s", self->out, self->err);
    fail();
}

const tally_output_t *
tally_instance_run(tally_instance_t *self, const char *word, ...)
{
    const char *words[WORDS_MAX];
    va_list more;
    va_start(more, word);
    take_words(words, word, more);
    va_end(more);
    return run_words(self, words);
}

const tally_output_t *
tally_instance_must(tally_instance_t *self, const char *word, ...)
{
    const char *words[WORDS_MAX];
    va_list more;
    va_start(more, word);
    take_words(words, word, more);
    va_end(more);
    run_words(self, words);
    require_success(self, words);
    return &self->output;
}

json_t *
tally_instance_json(tally_instance_t *self, const char *word, ...)
{
    const char *words[WORDS_MAX];
    va_list more;
    va_start(more, word);
    take_words(words, word, more);
    va_end(more);
    run_words(self, words);
    require_success(self, words);
    json_error_t error;
    json_t *value = json_loadb(self->out, self->output.out_size, 0, &error);
    if (value == NULL) {
        fprintf(stderr, "not JSON (%s): %s\n", error.text, self->out);
        fail();
    }
    return value;
}

pid_t
tally_instance_spawn(tally_instance_t *self, const char *name, const char *word, ...)
{
    const char *words[WORDS_MAX];
    va_list more;
    va_start(more, word);
    take_words(words, word, more);
    va_end(more);
    char *out = tally_format("%s/%s.out", self->dir, name);
    char *err = tally_format("%s/%s.err", self->dir, name);
    pid_t pid = start_command(self, words, out, err);
    free(out);
    free(err);
    assert_true(pid > 0);
    return pid;
}

int
tally_instance_join(tally_instance_t *self, pid_t pid, int timeout_ms)
{
    (void)self;
    return end_command(pid, timeout_ms);
}

//  ---- the guard --------------------------------------------------------------------------------

static int
remove_entry(const char *path, const struct stat *info, int type, struct FTW *place)
{
    (void)info;
    (void)type;
    (void)place;
    return remove(path);
}

//  Whether /proc/PID/FILE (of NUL-separated words) speaks of `dir`.
static bool
mentions(const char *pid, const char *file, const char *dir)
{
    char path[64];
    char text[16384];
    snprintf(path, sizeof path, "/proc/%.20s/%s", pid, file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd == -1 ? -1 : read(fd, text, sizeof text);
    if (fd != -1) {
        close(fd);
    }
    return size > 0 && memmem(text, (size_t)size, dir, strlen(dir)) != NULL;
}

static bool
works_in(const char *pid, const char *dir)
{
    char path[64];
    char place[512] = "";
    snprintf(path, sizeof path, "/proc/%.20s/cwd", pid);
    return readlink(path, place, sizeof place - 1) > 0 && strncmp(place, dir, strlen(dir)) == 0;
}

//  Whether /proc/PID is a process that was started for this directory.
static bool
belongs_to(const char *pid, const char *dir)
{
    return mentions(pid, "cmdline", dir) || mentions(pid, "environ", dir) || works_in(pid, dir);
}

//  Kills every process that was started for this directory; how many there were.
static int
kill_by_dir(const char *dir)
{
    DIR *processes = opendir("/proc");
    struct dirent *entry;
    int killed = 0;
    while (processes != NULL && (entry = readdir(processes)) != NULL) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (pid <= 1 || pid == getpid() || pid == getppid()) {
            continue;
        }
        if (belongs_to(entry->d_name, dir)) {
            fprintf(stderr, "instance: process %d had to be killed\n", (int)pid);
            kill(pid, SIGKILL);
            killed++;
        }
    }
    if (processes != NULL) {
        closedir(processes);
    }
    return killed;
}

static bool
nobody_is_left(void *dir)
{
    return kill_by_dir(dir) == 0;
}

//  Everything that this instance is goes away.  0 when it went by itself.
static int
clean_up(const tally_instance_t *self)
{
    char *out = tally_format("%s/down.out", self->dir);
    int result = 0;
    if (tally_marker_search(self->dir) > 0) {
        result = -1;
    }
    if (was_up(self)) {
        const char *const words[] = {"down", NULL};
        result = end_command(start_command(self, words, out, out), DOWN_MS_MAX) == 0 ? result : -1;
    }
    if (kill_by_dir(self->dir) > 0) {
        result = -1;
        if (!tally_wait_until(nobody_is_left, self->dir, KILL_MS_MAX)) {
            fprintf(stderr, "instance: processes of %s do not die\n", self->dir);
        }
    }
    free(out);
    if (getenv("TALLY_TEST_KEEP") != NULL) {
        fprintf(stderr, "instance: kept %s\n", self->dir);
        return result;
    }
    tally_home_t *home = was_up(self) ? tally_home_open(self->dir) : NULL;
    if (home != NULL && strncmp(home->run, home->dir, strlen(home->dir)) != 0) {
        nftw(home->run, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    }
    tally_home_destroy(&home);
    nftw(self->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    return result;
}

static void __attribute__((noreturn)) stand_guard(const tally_instance_t *self, int end)
{
    setsid();    // what ends the test program's group must not end us
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    //  Other instances' ends, above all: their guards wait for them to be closed.
    dup2(end, STDERR_FILENO + 1);
    close_range(STDERR_FILENO + 2, ~0U, 0);
    char byte;
    while (read(STDERR_FILENO + 1, &byte, 1) == -1 && errno == EINTR) {
    }
    _exit(clean_up(self) == 0 ? 0 : 1);
}

tally_instance_t *
tally_instance_new(void)
{
    tally_instance_t *self = tally_alloc(sizeof *self);
    const char *programs = getenv("TALLY_BIN_DIR");
    self->program = tally_format("%s/tally", programs == NULL ? "build/bin" : programs);
    self->dir = tally_strdup("/tmp/tally-test-XXXXXX");
    int ends[2];
    //  As root the server's user must be able to pass.
    if (mkdtemp(self->dir) == NULL || chmod(self->dir, 0711) == -1
        || pipe2(ends, O_CLOEXEC) == -1) {
        fail_msg("no directory or pipe for the instance: %s", strerror(errno));
    }
    fflush(NULL);
    self->guard = fork();
    if (self->guard == 0) {
        close(ends[1]);
        stand_guard(self, ends[0]);
    }
    close(ends[0]);
    self->guard_end = ends[1];
    assert_true(self->guard > 0);
    return self;
}

int
tally_instance_destroy(tally_instance_t **self_p)
{
    tally_instance_t *self = *self_p;
    if (self == NULL) {
        return 0;
    }
    int status = 0;
    close(self->guard_end);
    waitpid(self->guard, &status, 0);
    tally_home_destroy(&self->home);
    free(self->out);
    free(self->err);
    free(self->program);
    free(self->dir);
    free(self);
    *self_p = NULL;
    return status == 0 ? 0 : -1;
}

//  ---- what is where ----------------------------------------------------------------------------

static tally_home_t *
require_home(tally_instance_t *self)
{
    if (self->home == NULL) {
        self->home = tally_home_open(self->dir);
    }
    assert_non_null(self->home);
    return self->home;
}

const char *
tally_instance_dir(const tally_instance_t *self)
{
    return self->dir;
}

const char *
tally_instance_endpoint(tally_instance_t *self)
{
    return require_home(self)->front;
}

const char *
tally_instance_conninfo(tally_instance_t *self)
{
    return require_home(self)->db;
}

pid_t
tally_instance_pid(const tally_instance_t *self, const char *name)
{
    char *path = tally_format("%s/pid/%s.pid", self->dir, name);
    size_t size;
    char *text = read_file(path, &size);
    pid_t pid = (pid_t)strtol(text, NULL, 10);
    free(text);
    free(path);
    return pid > 0 && kill(pid, 0) == 0 ? pid : 0;
}

pid_t
tally_instance_supervisor(const tally_instance_t *self)
{
    tally_home_t *home = was_up(self) ? tally_home_open(self->dir) : NULL;
    pid_t pid = home == NULL ? 0 : tally_home_holder(home);
    tally_home_destroy(&home);
    return pid;
}

bool
tally_instance_owns(const tally_instance_t *self, pid_t pid)
{
    char name[16];
    snprintf(name, sizeof name, "%d", (int)pid);
    return belongs_to(name, self->dir);
}

pid_t
tally_instance_signal(const tally_instance_t *self, const char *name, int signal_number)
{
    pid_t pid = tally_instance_pid(self, name);
    assert_true(pid > 0);
    assert_int_equal(kill(pid, signal_number), 0);
    return pid;
}

struct awaited {
    const tally_instance_t *instance;
    const char *name;
    pid_t before;
};

static bool
runs_as_another(void *argument)
{
    struct awaited *awaited = argument;
    pid_t pid = tally_instance_pid(awaited->instance, awaited->name);
    return pid != 0 && pid != awaited->before;
}

void
tally_instance_await_another(const tally_instance_t *self, const char *name, pid_t before,
                             int timeout_ms)
{
    struct awaited awaited = {self, name, before};
    if (!tally_wait_until(runs_as_another, &awaited, timeout_ms)) {
        fail_msg("%s did not come back in %d ms", name, timeout_ms);
    }
}
