// SPDX-License-Identifier: MIT
//  proxy_child - see proxy_child.h.

#include "tests/faults/proxy_child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "tests/faults/proxy.h"

#define ANSWER_BYTES_MAX 32768
#define CONTROL_BACKLOG 16

struct tally_proxy_child {
    pid_t pid;
    int fd;    // stream: lines there, answers back
    size_t size;
    char answer[ANSWER_BYTES_MAX];
};

static void __attribute__((noreturn)) give_up(const char *what)
{
    fprintf(stderr, "proxy: %s: %s\n", what, strerror(errno));
    abort();
}

static int
open_control(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        give_up(path);
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    unlink(path);
    if (fd == -1 || bind(fd, (const struct sockaddr *)&address, sizeof address) == -1
        || listen(fd, CONTROL_BACKLOG) == -1) {
        give_up(path);
    }
    return fd;
}

static void __attribute__((noreturn))
be_proxy(uint64_t seed, const char *control, int end_fd, int control_fd)
{
    //  Nothing of whoever started us stays open, and what ends its group must not end us before it.
    int first = STDERR_FILENO + 1;
    int own_end = fcntl(end_fd, F_DUPFD_CLOEXEC, 64);
    int own_control = control_fd == -1 ? -1 : fcntl(control_fd, F_DUPFD_CLOEXEC, 64);
    int top = own_control == -1 ? first + 1 : first + 2;
    dup2(own_end, first);
    if (own_control != -1) {
        dup2(own_control, first + 1);
    }
    close_range((unsigned)top, ~0U, 0);
    setpgid(0, 0);
    signal(SIGINT, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    tally_proxy_t *proxy = tally_proxy_new(seed);
    tally_proxy_serve(proxy, first, own_control == -1 ? -1 : first + 1);
    tally_proxy_destroy(&proxy);
    if (control != NULL) {
        unlink(control);
    }
    _exit(0);
}

tally_proxy_child_t *
tally_proxy_child_start(uint64_t seed, const char *control)
{
    tally_proxy_child_t *self = tally_alloc(sizeof *self);
    int control_fd = control == NULL ? -1 : open_control(control);
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == -1) {
        give_up("socketpair");
    }
    fflush(NULL);
    self->pid = fork();
    if (self->pid == 0) {
        be_proxy(seed, control, ends[1], control_fd);
    }
    if (self->pid == -1) {
        give_up("fork");
    }
    close(ends[1]);
    if (control_fd != -1) {
        close(control_fd);
    }
    self->fd = ends[0];
    return self;
}

int
tally_proxy_child_stop(tally_proxy_child_t **self_p)
{
    tally_proxy_child_t *self = *self_p;
    if (self == NULL) {
        return 0;
    }
    int status = 0;
    close(self->fd);
    while (waitpid(self->pid, &status, 0) == -1 && errno == EINTR) {
    }
    free(self);
    *self_p = NULL;
    return status == 0 ? 0 : -1;
}

pid_t
tally_proxy_child_pid(const tally_proxy_child_t *self)
{
    return self->pid;
}

static const char *
exchange(tally_proxy_child_t *self, const char *line)
{
    char *command = tally_format("%s\n", line);
    size_t size = strlen(command);
    if (send(self->fd, command, size, MSG_NOSIGNAL) != (ssize_t)size) {
        give_up(line);
    }
    free(command);
    self->size = 0;
    do {
        ssize_t got = recv(self->fd, self->answer + self->size, sizeof self->answer - self->size,
                           0);
        if (got <= 0 && !(got == -1 && errno == EINTR)) {
            give_up(line);
        }
        self->size += got > 0 ? (size_t)got : 0;
    } while (self->answer[self->size - 1] != '\n');
    self->answer[self->size - 1] = '\0';
    return self->answer;
}

const char *
tally_proxy_child_ask(tally_proxy_child_t *self, const char *format, ...)
{
    va_list more;
    char line[1024];
    va_start(more, format);
    vsnprintf(line, sizeof line, format, more);
    va_end(more);
    return exchange(self, line);
}

const char *
tally_proxy_child_tell(tally_proxy_child_t *self, const char *format, ...)
{
    va_list more;
    char line[1024];
    va_start(more, format);
    vsnprintf(line, sizeof line, format, more);
    va_end(more);
    const char *answer = exchange(self, line);
    if (strncmp(answer, "ok", 2) != 0) {
        fprintf(stderr, "proxy: %s: %s\n", line, answer);
        abort();
    }
    return answer[2] == ' ' ? answer + 3 : answer + 2;
}

uint64_t
tally_proxy_child_count(tally_proxy_child_t *self, const char *where, const char *counter)
{
    const char *answer = tally_proxy_child_tell(self, "counters %s", where);
    char *wanted = tally_format(" %s=", counter);
    char *text = tally_format(" %s", answer);
    const char *found = strstr(text, wanted);
    if (found == NULL) {
        fprintf(stderr, "proxy: there is no counter %s in: %s\n", counter, answer);
        abort();
    }
    uint64_t value = strtoull(found + strlen(wanted), NULL, 10);
    free(text);
    free(wanted);
    return value;
}
