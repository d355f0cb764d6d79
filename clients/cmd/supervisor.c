// SPDX-License-Identifier: MIT
#include "clients/cmd/supervisor.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/log.h"

#define HEALTHY_MS 3000    // who ran that long did not fail at its start
#define DELAY_MS_MIN 50
#define DELAY_MS_MAX 5000
#define FAILING_DEATHS 6    // at its start, one after another

struct process {
    char *name;
    int stage, stop_signal;
    void (*exec)(void *argument);
    void *argument;
    pid_t pid;    // 0: not running
    bool wanted;
    int early_deaths;
    int64_t started_at_ms;
    int64_t start_at_ms;    // when wanted and not running
};

struct tally_supervisor {
    char *pid_dir, *log_dir;
    struct process *processes;
    size_t count, room;
    int signals;    // descriptor
};

tally_supervisor_t *
tally_supervisor_new(const char *pid_dir, const char *log_dir)
{
    tally_supervisor_t *self = tally_alloc(sizeof *self);
    self->pid_dir = tally_strdup(pid_dir);
    self->log_dir = tally_strdup(log_dir);

    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    int rc = sigprocmask(SIG_BLOCK, &set, NULL);
    assert(rc == 0);
    signal(SIGPIPE, SIG_IGN);
    self->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    assert(self->signals != -1);
    return self;
}

static char *
pid_path(const tally_supervisor_t *self, const struct process *process)
{
    return tally_format("%s/%s.pid", self->pid_dir, process->name);
}

static void
remove_pid_file(const tally_supervisor_t *self, const struct process *process)
{
    char *path = pid_path(self, process);
    unlink(path);
    free(path);
}

void
tally_supervisor_destroy(tally_supervisor_t **self_p)
{
    tally_supervisor_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    for (size_t i = 0; i < self->count; i++) {
        free(self->processes[i].name);
    }
    free(self->processes);
    free(self->pid_dir);
    free(self->log_dir);
    close(self->signals);
    free(self);
    *self_p = NULL;
}

void
tally_supervisor_add(tally_supervisor_t *self, const char *name, int stage, int stop_signal,
                     void (*exec)(void *argument), void *argument)
{
    if (self->count == self->room) {
        self->room = self->room == 0 ? 16 : 2 * self->room;
        self->processes = tally_realloc_array(self->processes, self->room, sizeof *self->processes);
    }
    self->processes[self->count++] = (struct process){
        .name = tally_strdup(name),
        .stage = stage,
        .stop_signal = stop_signal,
        .exec = exec,
        .argument = argument,
    };
}

//  ---- one process ------------------------------------------------------------------------------

static void
prepare_child(const char *log_path)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    //  A group of its own: Ctrl-C on a terminal is for the supervisor, which stops in order.
    setpgid(0, 0);
    int nothing = open("/dev/null", O_RDONLY);
    int log = open(log_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (nothing == -1 || log == -1 || dup2(nothing, STDIN_FILENO) == -1
        || dup2(log, STDOUT_FILENO) == -1 || dup2(log, STDERR_FILENO) == -1) {
        _exit(73);
    }
    close_range(STDERR_FILENO + 1, ~0U, 0);
}

//  Whole or not at all: readers see a pid or no file.
static void
write_pid_file(const tally_supervisor_t *self, const struct process *process)
{
    char *path = pid_path(self, process);
    char *draft = tally_format("%s.new", path);
    FILE *file = fopen(draft, "we");
    bool written = file != NULL && fprintf(file, "%d\n", (int)process->pid) > 0;
    if (file != NULL && fclose(file) != 0) {
        written = false;
    }
    if (!written || rename(draft, path) == -1) {
        tally_log_warn("could not write %s: %s", path, strerror(errno));
    }
    free(draft);
    free(path);
}

static int
back_off_ms(int deaths)
{
    int delay = DELAY_MS_MIN;
    for (int i = 1; i < deaths && delay < DELAY_MS_MAX; i++) {
        delay *= 2;
    }
    return deaths == 0 ? 0 : delay < DELAY_MS_MAX ? delay : DELAY_MS_MAX;
}

static void
start(tally_supervisor_t *self, struct process *process, int64_t now_ms)
{
    char *log_path = tally_format("%s/%s.log", self->log_dir, process->name);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        prepare_child(log_path);
        process->exec(process->argument);
        _exit(71);
    }
    free(log_path);
    process->started_at_ms = now_ms;
    if (pid == -1) {
        process->early_deaths++;
        process->start_at_ms = now_ms + back_off_ms(process->early_deaths);
        tally_log_error("could not start %s: %s", process->name, strerror(errno));
        return;
    }
    process->pid = pid;
    write_pid_file(self, process);
    tally_log_info("started %s  pid=%d", process->name, (int)pid);
}

static void
note_end(tally_supervisor_t *self, struct process *process, int status, int64_t now_ms)
{
    bool early = now_ms - process->started_at_ms < HEALTHY_MS;
    process->early_deaths = early ? process->early_deaths + 1 : 0;
    int delay_ms = back_off_ms(process->early_deaths);
    process->start_at_ms = now_ms + delay_ms;
    if (!process->wanted) {
        tally_log_info("stopped %s  pid=%d", process->name, (int)process->pid);
    } else if (WIFSIGNALED(status)) {
        tally_log_warn("%s was ended by a signal  pid=%d signal=%d restart_in_ms=%d", process->name,
                       (int)process->pid, WTERMSIG(status), delay_ms);
    } else {
        tally_log_warn("%s ended  pid=%d code=%d restart_in_ms=%d", process->name,
                       (int)process->pid, WEXITSTATUS(status), delay_ms);
    }
    process->pid = 0;
    remove_pid_file(self, process);
}

static void
reap(tally_supervisor_t *self, int64_t now_ms)
{
    for (size_t i = 0; i < self->count; i++) {
        struct process *process = &self->processes[i];
        int status = 0;
        if (process->pid != 0 && waitpid(process->pid, &status, WNOHANG) == process->pid) {
            note_end(self, process, status, now_ms);
        }
    }
}

//  ---- all of them ------------------------------------------------------------------------------

void
tally_supervisor_exec(void *argv)
{
    char **words = argv;
    pid_t parent = getppid();
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() == parent) {
        execv(words[0], words);
        fprintf(stderr, "tally: could not start %s: %s\n", words[0], strerror(errno));
    }
}

void
tally_supervisor_start(tally_supervisor_t *self, int stage)
{
    int64_t now_ms = tally_clock_now_ms();
    for (size_t i = 0; i < self->count; i++) {
        struct process *process = &self->processes[i];
        if (process->stage == stage && !process->wanted) {
            process->wanted = true;
            start(self, process, now_ms);
        }
    }
}

static int
wait_ms(const tally_supervisor_t *self, int timeout_ms, int64_t now_ms)
{
    int64_t least = timeout_ms;
    for (size_t i = 0; i < self->count; i++) {
        const struct process *process = &self->processes[i];
        if (process->wanted && process->pid == 0) {
            int64_t left = process->start_at_ms > now_ms ? process->start_at_ms - now_ms : 0;
            least = least == -1 || left < least ? left : least;
        }
    }
    return (int)least;
}

//  True when one of the signals tells us to stop.
static bool
take_signals(tally_supervisor_t *self)
{
    struct signalfd_siginfo info;
    bool told = false;
    while (read(self->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        told = told || info.ssi_signo != SIGCHLD;
    }
    return told;
}

bool
tally_supervisor_turn(tally_supervisor_t *self, int timeout_ms)
{
    struct pollfd item = {.fd = self->signals, .events = POLLIN};
    poll(&item, 1, wait_ms(self, timeout_ms, tally_clock_now_ms()));
    bool told = take_signals(self);
    int64_t now_ms = tally_clock_now_ms();
    reap(self, now_ms);
    for (size_t i = 0; i < self->count && !told; i++) {
        struct process *process = &self->processes[i];
        if (process->wanted && process->pid == 0 && process->start_at_ms <= now_ms) {
            start(self, process, now_ms);
        }
    }
    return !told;
}

const char *
tally_supervisor_failing(const tally_supervisor_t *self)
{
    for (size_t i = 0; i < self->count; i++) {
        if (self->processes[i].early_deaths >= FAILING_DEATHS) {
            return self->processes[i].name;
        }
    }
    return NULL;
}

static size_t
count_running(const tally_supervisor_t *self, int stage)
{
    size_t running = 0;
    for (size_t i = 0; i < self->count; i++) {
        running += self->processes[i].stage == stage && self->processes[i].pid != 0 ? 1 : 0;
    }
    return running;
}

//  Sends `signal_number`, or each process's own when it is 0, to a stage.
static void
signal_stage(tally_supervisor_t *self, int stage, int signal_number)
{
    for (size_t i = 0; i < self->count; i++) {
        struct process *process = &self->processes[i];
        if (process->stage == stage && process->pid != 0) {
            kill(process->pid, signal_number == 0 ? process->stop_signal : signal_number);
            //  One that somebody stopped would never hear it.
            kill(process->pid, SIGCONT);
        }
    }
}

static void
stop_stage(tally_supervisor_t *self, int stage, int patience_ms)
{
    int64_t deadline_at_ms = tally_clock_now_ms() + patience_ms;
    bool killed = false;
    signal_stage(self, stage, 0);
    while (count_running(self, stage) > 0) {
        int64_t now_ms = tally_clock_now_ms();
        if (now_ms >= deadline_at_ms && !killed) {
            tally_log_warn("killing what did not stop  stage=%d after_ms=%d", stage, patience_ms);
            signal_stage(self, stage, SIGKILL);
            killed = true;
        }
        struct pollfd item = {.fd = self->signals, .events = POLLIN};
        poll(&item, 1, killed ? -1 : (int)(deadline_at_ms - now_ms));
        take_signals(self);    // told to stop again: we do
        reap(self, tally_clock_now_ms());
    }
}

void
tally_supervisor_stop(tally_supervisor_t *self, int patience_ms)
{
    int last = 0;
    for (size_t i = 0; i < self->count; i++) {
        self->processes[i].wanted = false;
        last = self->processes[i].stage > last ? self->processes[i].stage : last;
    }
    for (int stage = last; stage >= 0; stage--) {
        stop_stage(self, stage, patience_ms);
    }
}
