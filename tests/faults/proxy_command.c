// SPDX-License-Identifier: MIT
//  proxy_command - one line, one deed, one line of answer.  The table at the end is the whole language.

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "tests/faults/proxy_state.h"

#define WORDS_MAX 8
#define ANSWER_MAX 16384

//  Where a fault goes: links, connections of them, and whether those to come have it as well.
struct where {
    tally_proxy_link_t *link;    // NULL: all
    uint64_t connection;         // 0: all
    bool open, to_come;          // connections that are there; those to come
};

struct request {
    tally_proxy_t *proxy;
    struct where where;
    bool ways[2];    // of a fault
    const char *words[WORDS_MAX];
    size_t count;
    char *answer;    // set by the deed: an error, or what is more than "ok"
};

static int
refuse(struct request *request, char *why)
{
    free(request->answer);
    request->answer = why;
    return -1;
}

static int
read_number(struct request *request, size_t word, uint64_t max, uint64_t *number)
{
    char *end = NULL;
    errno = 0;
    const char *text = word < request->count ? request->words[word] : "";
    *number = strtoull(text, &end, 10);
    if (errno != 0 || *text < '0' || *text > '9' || *end != '\0' || *number > max) {
        return refuse(request, tally_format("\"%s\" is no number up to %" PRIu64, text, max));
    }
    return 0;
}

static tally_proxy_link_t *
find_link(const tally_proxy_t *proxy, const char *name, size_t size)
{
    for (tally_proxy_link_t *link = proxy->links; link != NULL; link = link->next) {
        if (strlen(link->name) == size && memcmp(link->name, name, size) == 0) {
            return link;
        }
    }
    return NULL;
}

//  NAME, NAME/ID, NAME/new, NAME/open or *.
static int
read_where(struct request *request)
{
    const char *text = request->count > 1 ? request->words[1] : "";
    const char *slash = strchr(text, '/');
    struct where *where = &request->where;
    *where = (struct where){.open = true, .to_come = true};
    if (strcmp(text, "*") == 0) {
        return 0;
    }
    where->link = find_link(request->proxy, text,
                            slash == NULL ? strlen(text) : (size_t)(slash - text));
    if (where->link == NULL) {
        return refuse(request, tally_format("there is no link \"%s\"", text));
    }
    if (slash == NULL) {
        return 0;
    }
    where->open = strcmp(slash + 1, "new") != 0;
    where->to_come = !where->open;
    if (where->to_come || strcmp(slash + 1, "open") == 0) {
        return 0;
    }
    char *end = NULL;
    where->connection = strtoull(slash + 1, &end, 10);
    if (where->connection == 0 || *end != '\0') {
        return refuse(request, tally_format("\"%s\" is no connection", slash + 1));
    }
    for (const tally_proxy_connection_t *c = where->link->connections; c != NULL; c = c->next) {
        if (c->id == where->connection && !c->doomed) {
            return 0;
        }
    }
    return refuse(request, tally_format("there is no connection %s", text));
}

static int
read_ways(struct request *request)
{
    const char *text = request->count > 2 ? request->words[2] : "";
    bool both = strcmp(text, "both") == 0;
    request->ways[TALLY_PROXY_UP] = both || strcmp(text, "up") == 0;
    request->ways[TALLY_PROXY_DOWN] = both || strcmp(text, "down") == 0;
    if (!request->ways[0] && !request->ways[1]) {
        return refuse(request, tally_format("\"%s\" is not up, down or both", text));
    }
    return 0;
}

//  ---- who is meant -------------------------------------------------------------------------------

static bool
means_link(const struct where *where, const tally_proxy_link_t *link)
{
    return where->link == NULL || where->link == link;
}

static bool
means(const struct where *where, const tally_proxy_connection_t *connection)
{
    return !connection->doomed && where->open
           && (where->connection == 0 || where->connection == connection->id);
}

//  Writes a change into every flow that is meant; flow is NULL for connections to come.
static void
change(struct request *request,
       void (*one)(tally_proxy_faults_t *faults, tally_proxy_flow_t *flow, const void *argument),
       const void *argument)
{
    for (tally_proxy_link_t *link = request->proxy->links; link != NULL; link = link->next) {
        if (!means_link(&request->where, link)) {
            continue;
        }
        for (int way = 0; way < 2; way++) {
            if (request->where.to_come && request->ways[way]) {
                one(&link->faults[way], NULL, argument);
            }
        }
        for (tally_proxy_connection_t *c = link->connections; c != NULL; c = c->next) {
            for (int way = 0; way < 2 && means(&request->where, c); way++) {
                if (request->ways[way]) {
                    one(&c->flows[way].faults, &c->flows[way], argument);
                }
            }
            if (means(&request->where, c)) {
                tally_proxy_connection_move(c);
            }
        }
    }
}

//  ---- faults -------------------------------------------------------------------------------------

static void
set_delay(tally_proxy_faults_t *faults, tally_proxy_flow_t *flow, const void *argument)
{
    (void)flow;
    const uint64_t *ms = argument;
    faults->delay_us = (int64_t)ms[0] * 1000;
    faults->jitter_us = (int64_t)ms[1] * 1000;
}

static int
do_delay(struct request *request)
{
    uint64_t ms[2] = {0, 0};
    if (read_number(request, 3, 3600000, &ms[0]) == -1
        || (request->count > 4 && read_number(request, 4, 3600000, &ms[1]) == -1)) {
        return -1;
    }
    change(request, set_delay, ms);
    return 0;
}

static void
set_throttle(tally_proxy_faults_t *faults, tally_proxy_flow_t *flow, const void *argument)
{
    faults->bytes_per_s = *(const uint64_t *)argument;
    if (flow != NULL) {
        flow->write_at_us = 0;
    }
}

static int
do_throttle(struct request *request)
{
    uint64_t bytes_per_s;
    if (read_number(request, 3, UINT32_MAX, &bytes_per_s) == -1) {
        return -1;
    }
    change(request, set_throttle, &bytes_per_s);
    return 0;
}

static void
set_cut(tally_proxy_faults_t *faults, tally_proxy_flow_t *flow, const void *argument)
{
    (void)flow;
    const tally_proxy_faults_t *cut = argument;
    faults->cut = true;
    faults->cut_bytes = cut->cut_bytes;
    faults->cut_resets = cut->cut_resets;
    faults->cut_every = cut->cut_every;
    faults->cut_number = cut->cut_number;
}

static int
do_cut(struct request *request)
{
    tally_proxy_faults_t cut = {.cut_number = ++request->proxy->last_cut};
    if (read_number(request, 3, UINT64_MAX - 1, &cut.cut_bytes) == -1) {
        return -1;
    }
    for (size_t i = 4; i < request->count; i++) {
        if (strcmp(request->words[i], "reset") == 0) {
            cut.cut_resets = true;
        } else if (strcmp(request->words[i], "every") == 0) {
            cut.cut_every = true;
        } else {
            return refuse(request, tally_format("a cut is not \"%s\"", request->words[i]));
        }
    }
    change(request, set_cut, &cut);
    return 0;
}

static void
set_mode(tally_proxy_faults_t *faults, tally_proxy_flow_t *flow, const void *argument)
{
    faults->mode = *(const tally_proxy_mode_t *)argument;
    if (flow != NULL) {
        flow->counted = false;
    }
}

static int
do_stall(struct request *request)
{
    const tally_proxy_mode_t mode = TALLY_PROXY_STALL;
    change(request, set_mode, &mode);
    return 0;
}

static int
do_swallow(struct request *request)
{
    const tally_proxy_mode_t mode = TALLY_PROXY_SWALLOW;
    change(request, set_mode, &mode);
    return 0;
}

//  ---- connections ----------------------------------------------------------------------------------

static void
end_connections(struct request *request, bool reset)
{
    for (tally_proxy_link_t *link = request->proxy->links; link != NULL; link = link->next) {
        for (tally_proxy_connection_t *c = link->connections; c != NULL; c = c->next) {
            if (means_link(&request->where, link) && means(&request->where, c)) {
                tally_proxy_connection_close(c, reset);
                *(reset ? &link->counters.resets : &link->counters.closes) += 1;
            }
        }
    }
}

static int
do_reset(struct request *request)
{
    end_connections(request, true);
    return 0;
}

static int
do_close(struct request *request)
{
    end_connections(request, false);
    return 0;
}

static int
enter(struct request *request, tally_proxy_entry_t entry)
{
    for (tally_proxy_link_t *link = request->proxy->links; link != NULL; link = link->next) {
        if (means_link(&request->where, link) && link->entry != entry
            && tally_proxy_link_enter(link, entry) == -1) {
            return refuse(request,
                          tally_format("%s cannot listen again: %s", link->name, strerror(errno)));
        }
    }
    return 0;
}

static int
do_accept(struct request *request)
{
    return enter(request, TALLY_PROXY_ACCEPT);
}

static int
do_pause(struct request *request)
{
    return enter(request, TALLY_PROXY_PAUSE);
}

static int
do_refuse(struct request *request)
{
    return enter(request, TALLY_PROXY_REFUSE);
}

static int
do_reject(struct request *request)
{
    return enter(request, TALLY_PROXY_REJECT);
}

//  What lacks bytes cannot go on.
static void
heal_connection(tally_proxy_connection_t *connection)
{
    bool holed = false;
    for (int way = 0; way < 2; way++) {
        tally_proxy_flow_t *flow = &connection->flows[way];
        flow->faults = (tally_proxy_faults_t){.mode = TALLY_PROXY_FLOW};
        flow->write_at_us = 0;
        holed = holed || flow->holed;
        if (!flow->ended) {
            connection->sides[way].silenced = false;
        }
    }
    if (holed) {
        tally_proxy_connection_close(connection, true);
        connection->link->counters.resets++;
    } else {
        tally_proxy_connection_move(connection);
    }
}

static int
do_heal(struct request *request)
{
    for (tally_proxy_link_t *link = request->proxy->links; link != NULL; link = link->next) {
        if (!means_link(&request->where, link)) {
            continue;
        }
        if (request->where.to_come) {
            link->faults[0] = link->faults[1] = (tally_proxy_faults_t){.mode = TALLY_PROXY_FLOW};
        }
        for (tally_proxy_connection_t *c = link->connections; c != NULL; c = c->next) {
            if (means(&request->where, c)) {
                heal_connection(c);
            }
        }
    }
    bool all = request->where.to_come && request->where.open;
    return all ? enter(request, TALLY_PROXY_ACCEPT) : 0;
}

//  ---- links and figures ------------------------------------------------------------------------------

static int
do_link(struct request *request)
{
    if (request->count != 4) {
        return refuse(request, tally_strdup("link NAME LISTEN TARGET"));
    }
    const char *name = request->words[1];
    size_t size = strlen(name);
    if (size > TALLY_PROXY_NAME_MAX || strpbrk(name, "/*") != NULL
        || find_link(request->proxy, name, size) != NULL) {
        return refuse(request, tally_format("\"%s\" is too long, has / or *, or is there", name));
    }
    char *error = NULL;
    const tally_proxy_link_t *link = tally_proxy_link_new(request->proxy, name, request->words[2],
                                                          request->words[3], &error);
    if (link == NULL) {
        return refuse(request, error);
    }
    //  A fixed link's door says which port it got.
    bool fixed = link->watch.fd == -1;
    request->answer = tally_strdup(fixed ? link->doors->listen.text : link->listen);
    return 0;
}

static int
do_unlink(struct request *request)
{
    for (tally_proxy_link_t **link_p = &request->proxy->links; *link_p != NULL;) {
        tally_proxy_link_t *link = *link_p;
        if (means_link(&request->where, link)) {
            *link_p = link->next;
            tally_proxy_link_free(link);
        } else {
            link_p = &link->next;
        }
    }
    return 0;
}

static int
do_counters(struct request *request)
{
    tally_proxy_counters_t sum = {0};
    uint64_t open = 0;
    for (const tally_proxy_link_t *link = request->proxy->links; link != NULL; link = link->next) {
        if (!means_link(&request->where, link)) {
            continue;
        }
#define TALLY_PROXY_ADD(name) sum.name += link->counters.name;
        TALLY_PROXY_COUNTERS(TALLY_PROXY_ADD)
#undef TALLY_PROXY_ADD
        for (const tally_proxy_connection_t *c = link->connections; c != NULL; c = c->next) {
            open += !c->doomed;
        }
    }
    char text[1024];
    int size = snprintf(text, sizeof text, "open=%" PRIu64, open);
#define TALLY_PROXY_SHOW(name)                                                                     \
    size += snprintf(text + size, sizeof text - (size_t)size, " " #name "=%" PRIu64, sum.name);
    TALLY_PROXY_COUNTERS(TALLY_PROXY_SHOW)
#undef TALLY_PROXY_SHOW
    request->answer = tally_strdup(text);
    return 0;
}

//  Ids of open connections, oldest first.
static int
do_connections(struct request *request)
{
    char text[ANSWER_MAX] = "";
    size_t at = sizeof text - 1;
    for (const tally_proxy_link_t *link = request->proxy->links; link != NULL; link = link->next) {
        for (const tally_proxy_connection_t *c = link->connections; c != NULL; c = c->next) {
            char id[24];
            size_t size = (size_t)snprintf(id, sizeof id, "%" PRIu64 " ", c->id);
            if (means_link(&request->where, link) && !c->doomed && size <= at) {
                at -= size;
                memcpy(text + at, id, size);
            }
        }
    }
    size_t size = sizeof text - 1 - at;
    request->answer = tally_strndup(text + at, size == 0 ? 0 : size - 1);
    return 0;
}

static int
do_quit(struct request *request)
{
    request->proxy->ended = true;
    return 0;
}

//  ---- the language -----------------------------------------------------------------------------------

static const struct {
    const char *word;
    int (*act)(struct request *request);
    bool somewhere, some_way;    // takes WHERE; takes up, down or both
    size_t more_max;             // words behind
} deeds[] = {
    {"link", do_link, false, false, 3},
    {"unlink", do_unlink, true, false, 0},
    {"delay", do_delay, true, true, 2},
    {"throttle", do_throttle, true, true, 1},
    {"cut", do_cut, true, true, 3},
    {"stall", do_stall, true, true, 0},
    {"swallow", do_swallow, true, true, 0},
    {"reset", do_reset, true, false, 0},
    {"close", do_close, true, false, 0},
    {"accept", do_accept, true, false, 0},
    {"pause", do_pause, true, false, 0},
    {"refuse", do_refuse, true, false, 0},
    {"reject", do_reject, true, false, 0},
    {"heal", do_heal, true, false, 0},
    {"counters", do_counters, true, false, 0},
    {"connections", do_connections, true, false, 0},
    {"quit", do_quit, false, false, 0},
};

static int
act(struct request *request)
{
    if (request->count == 0) {
        return refuse(request, tally_strdup("nothing was said"));
    }
    for (size_t i = 0; i < sizeof deeds / sizeof deeds[0]; i++) {
        if (strcmp(deeds[i].word, request->words[0]) != 0) {
            continue;
        }
        size_t fixed = 1u + deeds[i].somewhere + deeds[i].some_way;
        if (request->count > fixed + deeds[i].more_max) {
            return refuse(request, tally_format("%s takes less words", request->words[0]));
        }
        if ((deeds[i].somewhere && read_where(request) == -1)
            || (deeds[i].some_way && read_ways(request) == -1)) {
            return -1;
        }
        return deeds[i].act(request);
    }
    return refuse(request, tally_format("there is no command \"%s\"", request->words[0]));
}

char *
tally_proxy_command(tally_proxy_t *self, const char *line)
{
    tally_proxy_mirror(self);
    char *text = tally_strdup(line);
    struct request request = {.proxy = self};
    char *rest = text;
    char *word;
    while ((word = strsep(&rest, " ")) != NULL) {
        if (*word != '\0' && request.count < WORDS_MAX) {
            request.words[request.count++] = word;
        }
    }
    int rc = act(&request);
    char *answer = tally_format("%s%s%s", rc == 0 ? "ok" : "error",
                                request.answer == NULL || *request.answer == '\0' ? "" : " ",
                                request.answer == NULL ? "" : request.answer);
    free(request.answer);
    free(text);
    return answer;
}
