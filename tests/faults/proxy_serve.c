// SPDX-License-Identifier: MIT
//  proxy_serve - who tells the proxy what to do: lines come, answers go, one at a time.
//
//  Commands are done between two turns, never within one.  Who tells is trusted and few: answers are written blocking.

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "tests/faults/proxy_state.h"

#define LINE_BYTES_MAX 1024

struct teller {
    tally_proxy_watch_t watch;
    struct teller *next;
    size_t size;
    char line[LINE_BYTES_MAX];
};

struct reception {
    tally_proxy_watch_t watch;    // listening; fd -1: none
    tally_proxy_t *proxy;
    struct teller *tellers;
};

//  What there is to read is read between turns.
static void
teller_ready(tally_proxy_watch_t *watch, uint32_t events)
{
    (void)watch;
    (void)events;
}

static struct teller *
admit(struct reception *self, int fd)
{
    struct teller *teller = tally_alloc(sizeof *teller);
    teller->watch = (tally_proxy_watch_t){teller_ready, fd, 0};
    teller->next = self->tellers;
    self->tellers = teller;
    tally_proxy_watch(self->proxy, &teller->watch, EPOLLIN);
    return teller;
}

static void
reception_ready(tally_proxy_watch_t *watch, uint32_t events)
{
    (void)events;
    struct reception *self = TALLY_PROXY_OF(watch, struct reception);
    int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd != -1) {
        admit(self, fd);
    }
}

//  0, or -1 when nobody takes the answer.
static int
answer(const struct teller *teller, const char *text)
{
    char *line = tally_format("%s\n", text);
    size_t size = strlen(line);
    size_t at = 0;
    while (at < size) {
        ssize_t sent = send(teller->watch.fd, line + at, size - at, MSG_NOSIGNAL);
        if (sent == -1 && errno != EINTR) {
            break;
        }
        at += sent == -1 ? 0 : (size_t)sent;
    }
    free(line);
    return at == size ? 0 : -1;
}

//  Does the whole lines that are there; -1: this teller is gone.
static int
hear(struct reception *self, struct teller *teller)
{
    ssize_t size = recv(teller->watch.fd, teller->line + teller->size,
                        sizeof teller->line - teller->size, MSG_DONTWAIT);
    if (size <= 0) {
        return size == -1 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
    }
    teller->size += (size_t)size;
    char *end;
    while ((end = memchr(teller->line, '\n', teller->size)) != NULL) {
        *end = '\0';
        char *text = tally_proxy_command(self->proxy, teller->line);
        size_t used = (size_t)(end + 1 - teller->line);
        memmove(teller->line, end + 1, teller->size - used);
        teller->size -= used;
        int rc = answer(teller, text);
        free(text);
        if (rc == -1) {
            return -1;
        }
    }
    return teller->size == sizeof teller->line ? -1 : 0;    // no line is that long
}

static void
dismiss(struct reception *self, struct teller *teller)
{
    tally_proxy_watch(self->proxy, &teller->watch, 0);
    close(teller->watch.fd);
    free(teller);
}

//  False when the first one, whose fd is `end_fd`, is gone.
static bool
hear_all(struct reception *self, int end_fd)
{
    bool goes_on = true;
    for (struct teller **teller_p = &self->tellers; *teller_p != NULL;) {
        struct teller *teller = *teller_p;
        if (hear(self, teller) == -1) {
            goes_on = goes_on && teller->watch.fd != end_fd;
            *teller_p = teller->next;
            dismiss(self, teller);
        } else {
            teller_p = &teller->next;
        }
    }
    return goes_on;
}

void
tally_proxy_serve(tally_proxy_t *self, int end_fd, int listen_fd)
{
    struct reception reception = {.watch = {reception_ready, listen_fd, 0}, .proxy = self};
    if (listen_fd != -1) {
        tally_proxy_watch(self, &reception.watch, EPOLLIN);
    }
    admit(&reception, end_fd);
    do {
        tally_proxy_turn(self, -1);
    } while (hear_all(&reception, end_fd) && !self->ended);
    while (reception.tellers != NULL) {
        struct teller *teller = reception.tellers;
        reception.tellers = teller->next;
        dismiss(&reception, teller);
    }
    if (listen_fd != -1) {
        tally_proxy_watch(self, &reception.watch, 0);
        close(listen_fd);
    }
}
