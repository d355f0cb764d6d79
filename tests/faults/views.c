// SPDX-License-Identifier: MIT
#include "tests/faults/views.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "lib/alloc.h"

struct tally_views {
    char *run, *via;
    tally_proxy_child_t *proxy;
    tally_route_t *routes;
    size_t count;
    char **directories;
    size_t directory_count;
};

tally_views_t *
tally_views_new(const char *run, const char *via, uint64_t seed)
{
    tally_views_t *self = tally_alloc(sizeof *self);
    self->run = tally_strdup(run);
    self->via = tally_strdup(via);
    self->proxy = tally_proxy_child_start(seed, NULL);
    return self;
}

void
tally_views_destroy(tally_views_t **self_p)
{
    tally_views_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    (void)tally_proxy_child_stop(&self->proxy);
    for (size_t i = 0; i < self->count; i++) {
        free(self->routes[i].name);
    }
    for (size_t i = 0; i < self->directory_count; i++) {
        free(self->directories[i]);
    }
    free(self->directories);
    free(self->routes);
    free(self->run);
    free(self->via);
    free(self);
    *self_p = NULL;
}

//  One route: DIRECTORY/SOCKET stands for RUN/SOCKET.  Takes `socket`.
static void
add_route(tally_views_t *self, const char *who, const char *what, char *socket)
{
    self->routes = tally_realloc_array(self->routes, self->count + 1, sizeof *self->routes);
    tally_route_t *route = &self->routes[self->count++];
    *route = (tally_route_t){tally_format("%s.%s", who, what), who};
    tally_proxy_child_tell(self->proxy, "link %s ipc://%s/%s/%s ipc://%s/%s", route->name,
                           self->via, who, socket, self->run, socket);
    free(socket);
}

const char *
tally_views_add(tally_views_t *self, const char *who, unsigned brokers, bool is_worker)
{
    char *directory = tally_format("%s/%s", self->via, who);
    if (mkdir(directory, 0711) == -1) {
        perror(directory);
        abort();
    }
    self->directories = tally_realloc_array(self->directories, self->directory_count + 1,
                                            sizeof(char *));
    self->directories[self->directory_count++] = directory;
    for (unsigned seat = 1; seat <= brokers; seat++) {
        char *front = tally_format("front-%u", seat);
        add_route(self, who, front, tally_strdup(front));
        free(front);
        if (is_worker) {
            char *sink = tally_format("sink-%u", seat);
            char *lanes = tally_format("lanes-%u", seat);
            add_route(self, who, sink, tally_strdup(sink));
            add_route(self, who, lanes, tally_format("lane-%u-%%", seat));
            free(sink);
            free(lanes);
        }
    }
    if (is_worker || brokers == 0) {
        add_route(self, who, "db", tally_strdup(".s.PGSQL.5432"));
    }
    return directory;
}

size_t
tally_views_count(const tally_views_t *self)
{
    return self->count;
}

const tally_route_t *
tally_views_at(const tally_views_t *self, size_t index)
{
    return &self->routes[index];
}

tally_proxy_child_t *
tally_views_proxy(tally_views_t *self)
{
    return self->proxy;
}
