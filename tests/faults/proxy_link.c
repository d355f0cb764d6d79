// SPDX-License-Identifier: MIT
//  proxy_link - who listens where for whom: fixed doors, and those that follow the sockets of a directory.
//
//  Endpoints are written as libzmq writes them: tcp://127.0.0.1:PORT (0: any) and ipc:///PATH.  In a mirrored link both
//  have a % that stands for digits: whenever a socket appears at such a target, a door opens, before any byte that was
//  sent afterwards is passed on.

#include <arpa/inet.h>
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "tests/faults/proxy_state.h"

#define BACKLOG 1024

//  ---- addresses ----------------------------------------------------------------------------------

static int
read_tcp(tally_proxy_address_t *self, const char *place)
{
    struct sockaddr_in *in = (struct sockaddr_in *)(void *)&self->storage;
    char host[INET_ADDRSTRLEN];
    const char *colon = strrchr(place, ':');
    char *end = NULL;
    if (colon == NULL || (size_t)(colon - place) >= sizeof host) {
        return -1;
    }
    memcpy(host, place, (size_t)(colon - place));
    host[colon - place] = '\0';
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (inet_pton(AF_INET, host, &in->sin_addr) != 1 || end == colon + 1 || *end != '\0'
        || port > UINT16_MAX) {
        return -1;
    }
    in->sin_family = AF_INET;
    in->sin_port = htons((uint16_t)port);
    self->size = sizeof *in;
    return 0;
}

static int
read_address(tally_proxy_address_t *self, const char *text)
{
    *self = (tally_proxy_address_t){.size = 0};
    if (strlen(text) >= sizeof self->text) {
        return -1;
    }
    memcpy(self->text, text, strlen(text) + 1);
    if (strncmp(text, "tcp://", 6) == 0) {
        return read_tcp(self, text + 6);
    }
    struct sockaddr_un *un = (struct sockaddr_un *)(void *)&self->storage;
    if (strncmp(text, "ipc:///", 7) != 0 || strlen(text + 6) >= sizeof un->sun_path) {
        return -1;
    }
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, text + 6, strlen(text + 6) + 1);
    self->size = sizeof *un;
    return 0;
}

static const char *
path_of(const tally_proxy_address_t *self)
{
    return self->storage.ss_family == AF_UNIX ? self->text + 6 : NULL;
}

//  ---- doors --------------------------------------------------------------------------------------

static void
door_ready(tally_proxy_watch_t *watch, uint32_t events)
{
    (void)events;
    tally_proxy_door_t *self = TALLY_PROXY_OF(watch, tally_proxy_door_t);
    tally_proxy_link_t *link = self->link;
    if (link->entry == TALLY_PROXY_PAUSE) {
        link->counters.paused++;
        tally_proxy_watch(link->proxy, &self->watch, 0);    // seen; once is enough
        return;
    }
    int fd = accept4(watch->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd == -1) {
        return;    // gone again, or no descriptor left: it stays in the queue
    }
    if (link->entry == TALLY_PROXY_REJECT) {
        const struct linger now = {.l_onoff = 1, .l_linger = 0};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        close(fd);
        link->counters.rejected++;
        return;
    }
    tally_proxy_connection_open(self, fd);
}

static int
bind_one(tally_proxy_address_t *address)
{
    const char *path = path_of(address);
    int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;
    if (fd == -1) {
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (path != NULL) {
        unlink(path);
    }
    if (bind(fd, (const struct sockaddr *)&address->storage, address->size) == -1) {
        close(fd);
        return -1;
    }
    if (path != NULL) {
        chmod(path, 0666);    // PostgreSQL's own are open to all, and so may their folders decide
        return fd;
    }
    struct sockaddr_in *in = (struct sockaddr_in *)(void *)&address->storage;
    socklen_t size = sizeof *in;
    char host[INET_ADDRSTRLEN];
    getsockname(fd, (struct sockaddr *)&address->storage, &size);
    inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
    snprintf(address->text, sizeof address->text, "tcp://%s:%d", host, ntohs(in->sin_port));
    return fd;
}

//  Listens; 0 or -1 with errno.
static int
open_door(tally_proxy_door_t *self)
{
    if (self->watch.fd != -1) {
        return 0;
    }
    if (self->keeper_fd == -1 && path_of(&self->listen) == NULL) {
        self->keeper_fd = bind_one(&self->listen);
        if (self->keeper_fd == -1) {
            return -1;
        }
    }
    int fd = bind_one(&self->listen);
    if (fd == -1 || listen(fd, BACKLOG) == -1) {
        int error = errno;
        if (fd != -1) {
            close(fd);
        }
        errno = error;
        return -1;
    }
    self->watch.fd = fd;
    tally_proxy_watch(self->link->proxy, &self->watch, EPOLLIN);
    return 0;
}

//  Who connects is refused: the path stays, and so does the port.
static void
shut_door(tally_proxy_door_t *self)
{
    if (self->watch.fd != -1) {
        tally_proxy_watch(self->link->proxy, &self->watch, 0);
        close(self->watch.fd);
        self->watch.fd = -1;
    }
}

static void
remove_door(tally_proxy_door_t *self)
{
    if (self->doomed) {
        return;
    }
    self->doomed = true;
    shut_door(self);
    if (self->keeper_fd != -1) {
        close(self->keeper_fd);
    }
    if (path_of(&self->listen) != NULL) {
        unlink(path_of(&self->listen));
    }
    for (tally_proxy_connection_t *c = self->link->connections; c != NULL; c = c->next) {
        c->door = c->door == self ? NULL : c->door;
    }
}

//  0, or -1 with errno; then there is no such door.
static int
add_door(tally_proxy_link_t *link, const tally_proxy_address_t *listen_at,
         const tally_proxy_address_t *target)
{
    tally_proxy_door_t *self = tally_alloc(sizeof *self);
    *self = (tally_proxy_door_t){.watch = {door_ready, -1, 0},
                                 .link = link,
                                 .listen = *listen_at,
                                 .target = *target,
                                 .keeper_fd = -1};
    self->next = link->doors;
    link->doors = self;
    int rc = link->entry == TALLY_PROXY_REFUSE ? 0 : open_door(self);
    if (rc == -1) {
        int error = errno;
        remove_door(self);
        errno = error;
    }
    return rc;
}

//  ---- mirrored links -----------------------------------------------------------------------------

static bool
is_mirror(const tally_proxy_link_t *self)
{
    return strchr(self->target, '%') != NULL;
}

//  The address of a pattern with digits for its %.
static int
fill(tally_proxy_address_t *address, const char *pattern, const char *digits, size_t digits_size)
{
    const char *mark = strchr(pattern, '%');
    char *text = tally_format("%.*s%.*s%s", (int)(mark - pattern), pattern, (int)digits_size,
                              digits, mark + 1);
    int rc = read_address(address, text);
    free(text);
    return rc;
}

//  The digits in a file's name that match the target's pattern; 0: it does not.
static size_t
match(const tally_proxy_link_t *self, const char *name, const char **digits)
{
    const char *pattern = strrchr(self->target, '/') + 1;
    const char *mark = strchr(pattern, '%');
    size_t before = (size_t)(mark - pattern);
    if (strncmp(name, pattern, before) != 0) {
        return 0;
    }
    *digits = name + before;
    size_t size = strspn(*digits, "0123456789");
    return strcmp(*digits + size, mark + 1) == 0 ? size : 0;
}

static tally_proxy_door_t *
find_door(const tally_proxy_link_t *self, const char *target)
{
    for (tally_proxy_door_t *door = self->doors; door != NULL; door = door->next) {
        if (!door->doomed && strcmp(door->target.text, target) == 0) {
            return door;
        }
    }
    return NULL;
}

static void
follow(tally_proxy_link_t *self, const char *name, bool is_there)
{
    const char *digits = NULL;
    size_t size = match(self, name, &digits);
    tally_proxy_address_t listen_at;
    tally_proxy_address_t target;
    if (size == 0 || fill(&target, self->target, digits, size) == -1
        || fill(&listen_at, self->listen, digits, size) == -1) {
        return;
    }
    tally_proxy_door_t *door = find_door(self, target.text);
    if (is_there && door == NULL && add_door(self, &listen_at, &target) == -1) {
        fprintf(stderr, "proxy: cannot listen on %s: %s\n", listen_at.text, strerror(errno));
    } else if (!is_there && door != NULL) {
        remove_door(door);
    }
}

void
tally_proxy_link_mirror(tally_proxy_link_t *self)
{
    if (self->watch.fd == -1) {
        return;
    }
    _Alignas(struct inotify_event) char buffer[16384];
    ssize_t size;
    while ((size = read(self->watch.fd, buffer, sizeof buffer)) > 0) {
        for (ssize_t at = 0; at < size;) {
            const struct inotify_event *event = (const struct inotify_event *)(void *)(buffer + at);
            if (event->len > 0) {
                follow(self, event->name, (event->mask & (IN_CREATE | IN_MOVED_TO)) != 0);
            }
            at += (ssize_t)(sizeof *event + event->len);
        }
    }
}

static void
mirror_ready(tally_proxy_watch_t *watch, uint32_t events)
{
    (void)events;
    tally_proxy_link_mirror(TALLY_PROXY_OF(watch, tally_proxy_link_t));
}

static int
start_mirror(tally_proxy_link_t *self)
{
    const char *slash = strrchr(self->target, '/');
    const char *mark = strchr(self->target, '%');
    const char *listen_mark = strchr(self->listen, '%');
    if (mark < slash || strchr(mark + 1, '%') != NULL || listen_mark == NULL
        || strncmp(self->target, "ipc:///", 7) != 0 || strncmp(self->listen, "ipc:///", 7) != 0) {
        errno = EINVAL;
        return -1;
    }
    char *folder = tally_format("%.*s", (int)(slash - self->target - 6), self->target + 6);
    self->watch.fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    int rc = self->watch.fd == -1 ? -1
                                  : inotify_add_watch(self->watch.fd, folder,
                                                      IN_CREATE | IN_DELETE | IN_MOVED_TO
                                                          | IN_MOVED_FROM | IN_ONLYDIR);
    DIR *entries = rc == -1 ? NULL : opendir(folder);
    int error = errno;
    if (entries != NULL) {
        tally_proxy_watch(self->proxy, &self->watch, EPOLLIN);
        const struct dirent *entry;
        while ((entry = readdir(entries)) != NULL) {
            follow(self, entry->d_name, true);
        }
        closedir(entries);
    }
    free(folder);
    errno = error;
    return entries == NULL ? -1 : 0;
}

void
tally_proxy_door_failed(tally_proxy_door_t *self)
{
    if (is_mirror(self->link)) {
        remove_door(self);
    }
}

//  ---- links --------------------------------------------------------------------------------------

static int
start_fixed(tally_proxy_link_t *self)
{
    tally_proxy_address_t listen_at;
    tally_proxy_address_t target;
    if (strchr(self->listen, '%') != NULL || read_address(&listen_at, self->listen) == -1
        || read_address(&target, self->target) == -1) {
        errno = EINVAL;
        return -1;
    }
    return add_door(self, &listen_at, &target);
}

tally_proxy_link_t *
tally_proxy_link_new(tally_proxy_t *proxy, const char *name, const char *listen_at,
                     const char *target, char **error)
{
    tally_proxy_link_t *self = tally_alloc(sizeof *self);
    self->proxy = proxy;
    self->watch = (tally_proxy_watch_t){mirror_ready, -1, 0};
    self->entry = TALLY_PROXY_ACCEPT;
    snprintf(self->name, sizeof self->name, "%s", name);
    self->listen = tally_strdup(listen_at);
    self->target = tally_strdup(target);
    int rc = is_mirror(self) ? start_mirror(self) : start_fixed(self);
    if (rc == -1) {
        *error = tally_format("cannot listen on %s for %s: %s", listen_at, target, strerror(errno));
        tally_proxy_link_free(self);
        return NULL;
    }
    self->next = proxy->links;
    proxy->links = self;
    return self;
}

void
tally_proxy_link_sweep(tally_proxy_link_t *self)
{
    tally_proxy_connection_t **connection = &self->connections;
    while (*connection != NULL) {
        tally_proxy_connection_t *c = *connection;
        if (c->doomed) {
            *connection = c->next;
            tally_proxy_connection_free(c);
        } else {
            connection = &c->next;
        }
    }
    tally_proxy_door_t **door_p = &self->doors;
    while (*door_p != NULL) {
        tally_proxy_door_t *door = *door_p;
        if (door->doomed) {
            *door_p = door->next;
            free(door);
        } else {
            door_p = &door->next;
        }
    }
}

void
tally_proxy_link_free(tally_proxy_link_t *self)
{
    for (tally_proxy_connection_t *c = self->connections; c != NULL; c = c->next) {
        tally_proxy_connection_close(c, false);
    }
    for (tally_proxy_door_t *door = self->doors; door != NULL; door = door->next) {
        remove_door(door);
    }
    tally_proxy_link_sweep(self);
    if (self->watch.fd != -1) {
        tally_proxy_watch(self->proxy, &self->watch, 0);
        close(self->watch.fd);
    }
    free(self->listen);
    free(self->target);
    free(self);
}

int
tally_proxy_link_enter(tally_proxy_link_t *self, tally_proxy_entry_t entry)
{
    int rc = 0;
    self->entry = entry;
    for (tally_proxy_door_t *door = self->doors; door != NULL; door = door->next) {
        if (door->doomed) {
            continue;
        }
        if (entry == TALLY_PROXY_REFUSE) {
            shut_door(door);
        } else if (open_door(door) == -1) {
            rc = -1;
        } else {
            tally_proxy_watch(self->proxy, &door->watch, EPOLLIN);
        }
    }
    return rc;
}
