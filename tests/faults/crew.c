// SPDX-License-Identifier: MIT
#include "tests/faults/crew.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "lib/clock.h"

#define AGAIN_MS 50    // what ends right after its start is started again so much later
#define PATIENCE_MS 5000
#define LOOK_MS 5

struct tally_crew {
    char *log_dir;
    int signals;
    tally_process_t **all;
    size_t count;
    char *findings;
};

tally_crew_t *
tally_crew_new(const char *log_dir)
{
    tally_crew_t *self = tally_alloc(sizeof *self);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    int rc = sigprocmask(SIG_BLOCK, &set, NULL);
    assert(rc == 0);
    self->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    assert(self->signals != -1);
    self->log_dir = tally_strdup(log_dir);
    self->findings = tally_strdup("");
    return self;
}

void
tally_crew_destroy(tally_crew_t **self_p)
{
    tally_crew_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    for (size_t i = 0; i < self->count; i++) {
        tally_crew_end(self, self->all[i], SIGKILL);
    }
    for (size_t i = 0; i < self->count; i++) {    // while one ended, all were looked at
        free(self->all[i]->name);
        free(self->all[i]->directory);
        free(self->all[i]);
    }
    close(self->signals);
    free(self->all);
    free(self->log_dir);
    free(self->findings);
    free(self);
    *self_p = NULL;
}

tally_process_t *
tally_crew_add(tally_crew_t *self, const char *name, const char *directory,
               void (*exec)(void *argument), void *argument)
{
    tally_process_t *process = tally_alloc(sizeof *process);
    process->name = tally_strdup(name);
    process->directory = tally_strdup(directory);
    process->exec = exec;
    process->argument = argument;
    self->all = tally_realloc_array(self->all, self->count + 1, sizeof(tally_process_t *));
    self->all[self->count++] = process;
    return process;
}

void
tally_crew_exec(void *argv)
{
    char **words = argv;
    execv(words[0], words);
    perror(words[0]);
}

static void __attribute__((noreturn))
become(const tally_crew_t *self, const tally_process_t *process, pid_t parent)
{
    char *log = tally_format("%s/%s.log", self->log_dir, process->name);
    int files[2] = {open("/dev/null", O_RDONLY), open(log, O_WRONLY | O_CREAT | O_APPEND, 0600)};
    if (files[0] == -1 || files[1] == -1 || dup2(files[0], STDIN_FILENO) == -1
        || dup2(files[1], STDOUT_FILENO) == -1 || dup2(files[1], STDERR_FILENO) == -1) {
        _exit(126);
    }
    close_range(3, ~0U, 0);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == parent && chdir(process->directory) == 0) {
        process->exec(process->argument);
    }
    _exit(127);
}

void
tally_crew_start(tally_crew_t *self, tally_process_t *process)
{
    process->wanted = true;
    if (process->pid != 0) {
        return;
    }
    process->started_at_ms = tally_clock_now_ms();
    process->killed = process->stopped = false;
    process->starts++;
    pid_t parent = getpid();
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        become(self, process, parent);
    }
    if (pid == -1) {
        process->start_at_ms = process->started_at_ms + AGAIN_MS;    // no room for it now
        return;
    }
    process->pid = pid;
}

void
tally_crew_kill(tally_process_t *process, int signal_number, int64_t pause_ms)
{
    if (process->pid == 0) {
        return;
    }
    process->killed = true;
    process->start_at_ms = tally_clock_now_ms() + pause_ms;
    kill(process->pid, signal_number);
}

void
tally_crew_stop(tally_process_t *process)
{
    if (process->pid != 0) {
        process->stopped = true;
        kill(process->pid, SIGSTOP);
    }
}

void
tally_crew_continue(tally_process_t *process)
{
    process->stopped = false;
    if (process->pid != 0) {
        kill(process->pid, SIGCONT);
    }
}

//  ---- endings ----------------------------------------------------------------------------------

static void
note_finding(tally_crew_t *self, const tally_process_t *process, int status)
{
    char *more = WIFSIGNALED(status)
                     ? tally_format("%s%s ended by signal %d (start %u)\n", self->findings,
                                    process->name, WTERMSIG(status), process->starts)
                     : tally_format("%s%s ended with code %d (start %u)\n", self->findings,
                                    process->name, WEXITSTATUS(status), process->starts);
    free(self->findings);
    self->findings = more;
}

static void
take_end(tally_crew_t *self, tally_process_t *process, int status)
{
    int64_t now_ms = tally_clock_now_ms();
    process->pid = 0;
    process->stopped = false;
    process->ended_at_ms = now_ms;
    bool by_itself = !process->killed && process->wanted;
    bool excused = process->may_fail && WIFEXITED(status);
    bool suicide = process->mortal && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    if (by_itself && !excused && !suicide) {
        note_finding(self, process, status);
    }
    int64_t soonest_ms = by_itself || excused ? process->started_at_ms + AGAIN_MS : now_ms;
    process->start_at_ms = process->start_at_ms > soonest_ms ? process->start_at_ms : soonest_ms;
}

static void
reap(tally_crew_t *self)
{
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        for (size_t i = 0; i < self->count; i++) {
            if (self->all[i]->pid == pid) {
                take_end(self, self->all[i], status);
            }
        }
    }
}

bool
tally_crew_turn(tally_crew_t *self, int64_t until_ms)
{
    int64_t due_at_ms = until_ms;
    for (size_t i = 0; i < self->count; i++) {
        const tally_process_t *process = self->all[i];
        if (process->wanted && process->pid == 0 && process->start_at_ms < due_at_ms) {
            due_at_ms = process->start_at_ms;
        }
    }
    int64_t wait_ms = due_at_ms - tally_clock_now_ms();
    struct pollfd item = {.fd = self->signals, .events = POLLIN};
    poll(&item, 1, wait_ms > 0 ? (int)wait_ms : 0);
    bool goes_on = true;
    struct signalfd_siginfo info;
    while (read(self->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        goes_on = goes_on && info.ssi_signo == SIGCHLD;
    }
    reap(self);
    int64_t now_ms = tally_clock_now_ms();
    for (size_t i = 0; i < self->count; i++) {
        tally_process_t *process = self->all[i];
        if (process->wanted && process->pid == 0 && now_ms >= process->start_at_ms) {
            tally_crew_start(self, process);
        }
    }
    return goes_on;
}

bool
tally_crew_all_run(const tally_crew_t *self)
{
    for (size_t i = 0; i < self->count; i++) {
        if (self->all[i]->wanted && (self->all[i]->pid == 0 || self->all[i]->killed)) {
            return false;
        }
    }
    return true;
}

void
tally_crew_end(tally_crew_t *self, tally_process_t *process, int signal_number)
{
    process->wanted = false;
    if (process->pid == 0) {
        return;
    }
    kill(process->pid, SIGCONT);
    kill(process->pid, signal_number);
    int64_t deadline_at_ms = tally_clock_now_ms() + PATIENCE_MS;
    while (process->pid != 0) {
        if (tally_clock_now_ms() >= deadline_at_ms) {
            kill(process->pid, SIGKILL);
        }
        poll(NULL, 0, LOOK_MS);
        reap(self);
    }
}

const char *
tally_crew_findings(const tally_crew_t *self)
{
    return self->findings;
}
