// SPDX-License-Identifier: MIT
//  cast - see cast.h.

#include "tests/faults/cast.h"

#include <assert.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "lib/clock.h"

#define WORDS_MAX 32
#define LOOK_MS 5

struct tally_cast {
    tally_room_t *room;
    tally_crew_t *crew;
    char *bin_dir;
    char ***argvs;    // owned, for as long as the crew may start them again
    size_t argv_count;
};

tally_cast_t *
tally_cast_new(const char *bin_dir)
{
    tally_room_t *room = tally_room_new();
    if (room == NULL) {
        return NULL;
    }
    tally_cast_t *self = tally_alloc(sizeof *self);
    self->room = room;
    self->crew = tally_crew_new(tally_room_dir(room));
    self->bin_dir = tally_strdup(bin_dir);
    return self;
}

static void
free_words(char **words)
{
    for (char **word = words; *word != NULL; word++) {
        free(*word);
    }
    free(words);
}

int
tally_cast_destroy(tally_cast_t **self_p)
{
    tally_cast_t *self = *self_p;
    if (self == NULL) {
        return 0;
    }
    tally_crew_destroy(&self->crew);
    if (getenv("TALLY_TEST_KEEP") != NULL) {
        tally_room_keep(self->room);
        fprintf(stderr, "cast: kept %s\n", tally_room_dir(self->room));
    }
    int rc = tally_room_destroy(&self->room);
    for (size_t i = 0; i < self->argv_count; i++) {
        free_words(self->argvs[i]);
    }
    free(self->argvs);
    free(self->bin_dir);
    free(self);
    *self_p = NULL;
    return rc;
}

const char *
tally_cast_dir(const tally_cast_t *self)
{
    return tally_room_dir(self->room);
}

tally_crew_t *
tally_cast_crew(tally_cast_t *self)
{
    return self->crew;
}

static char **
take_words(const tally_cast_t *self, const char *program, va_list more)
{
    char **words = tally_alloc_array(WORDS_MAX + 1, sizeof *words);
    size_t count = 0;
    words[count++] = tally_format("%s/%s", self->bin_dir, program);
    for (const char *word = va_arg(more, const char *); word != NULL;
         word = va_arg(more, const char *)) {
        assert(count < WORDS_MAX);
        words[count++] = tally_strdup(word);
    }
    return words;
}

tally_process_t *
tally_cast_start(tally_cast_t *self, const char *name, const char *program, ...)
{
    va_list more;
    va_start(more, program);
    char **words = take_words(self, program, more);
    va_end(more);
    self->argvs = tally_realloc_array(self->argvs, self->argv_count + 1, sizeof *self->argvs);
    self->argvs[self->argv_count++] = words;
    tally_process_t *process = tally_crew_add(self->crew, name, tally_room_dir(self->room),
                                              tally_crew_exec, words);
    process->may_fail = true;
    process->mortal = true;
    tally_crew_start(self->crew, process);
    return process;
}

int
tally_cast_run(tally_cast_t *self, int timeout_ms, const char *program, ...)
{
    va_list more;
    va_start(more, program);
    char **words = take_words(self, program, more);
    va_end(more);
    char *out = tally_room_file(self->room, "out");
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        int fd = open(out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        if (fd != -1 && dup2(fd, STDOUT_FILENO) != -1) {
            execv(words[0], words);
        }
        _exit(127);
    }
    int status = pid == -1 ? -1 : 0;
    int64_t deadline_at_ms = tally_clock_now_ms() + timeout_ms;
    while (pid != -1 && waitpid(pid, &status, WNOHANG) == 0) {
        if (tally_clock_now_ms() >= deadline_at_ms) {
            kill(pid, SIGKILL);
        }
        poll(NULL, 0, LOOK_MS);
    }
    free(out);
    free_words(words);
    return status;
}

bool
tally_cast_until(tally_cast_t *self, bool (*condition)(void *argument), void *argument,
                 int timeout_ms)
{
    int64_t deadline_at_ms = tally_clock_now_ms() + timeout_ms;
    while (!condition(argument)) {
        int64_t now_ms = tally_clock_now_ms();
        if (now_ms >= deadline_at_ms) {
            return false;
        }
        tally_crew_turn(self->crew, now_ms + LOOK_MS);
    }
    return true;
}

bool
tally_cast_is_stopped(const tally_process_t *process)
{
    //  The state is the letter behind the name of /proc/PID/stat.
    char path[64];
    char text[256] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)process->pid);
    FILE *file = fopen(path, "r");
    if (file != NULL) {
        text[fread(text, 1, sizeof text - 1, file)] = '\0';
        fclose(file);
    }
    const char *name_end = strrchr(text, ')');
    return name_end != NULL && name_end[2] == 'T';
}
