// SPDX-License-Identifier: MIT
//  lobby - see lobby.h.

#include "broker/lobby.h"

#include <assert.h>
#include <sodium.h>
#include <stdlib.h>

#include "broker/list.h"
#include "broker/plan.h"
#include "broker/table.h"
#include "lib/alloc.h"

typedef struct {
    tally_link_t link;                      // in the turns
    TALLY_ARRAY(tally_waiting_t) places;    // before `first` they are empty; never all of them
    size_t first, bytes;
    uint8_t name_size;
    uint8_t name[TALLY_NAME_BYTES_MAX];
} line_t;

struct tally_lobby {
    tally_names_t lines;    // by tenant; owned
    tally_list_t turns;     // all lines, whose turn it is first
    size_t count, bytes;
};

static tally_bytes_t
name_of(const line_t *line)
{
    return (tally_bytes_t){line->name, line->name_size};
}

static bool
line_is(const void *value, uint64_t group, tally_bytes_t bytes)
{
    (void)group;
    return tally_bytes_equal(name_of(value), bytes);
}

tally_lobby_t *
tally_lobby_new(void)
{
    tally_lobby_t *self = tally_alloc(sizeof *self);
    uint64_t seed;
    randombytes_buf(&seed, sizeof seed);
    tally_names_init(&self->lines, seed, line_is);
    tally_list_init(&self->turns);
    return self;
}

static size_t
sends_of(const line_t *line)
{
    return line->places.count - line->first;
}

//  The first of a line, which goes when it was the last.
static void
take_first(tally_lobby_t *self, line_t *line, tally_waiting_t *waiting)
{
    *waiting = line->places.items[line->first++];
    self->count--;
    self->bytes -= waiting->chunk->size;
    line->bytes -= waiting->chunk->size;
    size_t left = sends_of(line);
    if (left == 0) {
        tally_list_remove(&self->turns, &line->link);
        tally_names_take(&self->lines, 0, name_of(line));
        free(line->places.items);
        free(line);
    } else if (left <= line->first) {
        memcpy(line->places.items, line->places.items + line->first, left * sizeof *waiting);
        line->places.count = left;
        line->first = 0;
    }
}

void
tally_lobby_destroy(tally_lobby_t **self_p)
{
    tally_lobby_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    for (tally_link_t *link = tally_list_first(&self->turns); link != NULL;
         link = tally_list_first(&self->turns)) {
        tally_waiting_t waiting;
        take_first(self, TALLY_OF(link, line_t, link), &waiting);
        tally_chunk_drop(&waiting.chunk);
    }
    tally_names_free(&self->lines);
    free(self);
    *self_p = NULL;
}

bool
tally_lobby_has_room(const tally_lobby_t *self, tally_bytes_t tenant, size_t bytes)
{
    const line_t *line = tally_names_find(&self->lines, 0, tenant);
    size_t line_count = line == NULL ? 0 : sends_of(line);
    size_t line_bytes = line == NULL ? 0 : line->bytes;
    return line_count + self->count < TALLY_WAITING_SENDS_MAX
           && line_bytes + self->bytes + bytes <= TALLY_WAITING_BYTES_MAX;
}

bool
tally_lobby_half_full(const tally_lobby_t *self)
{
    return self->count >= TALLY_WAITING_SENDS_MAX / 2
           || 2 * self->bytes + TALLY_FRAME_BYTES_MAX > TALLY_WAITING_BYTES_MAX;
}

bool
tally_lobby_empty(const tally_lobby_t *self)
{
    return self->count == 0;
}

bool
tally_lobby_holds(const tally_lobby_t *self, tally_bytes_t tenant)
{
    return self->count > 0 && tally_names_find(&self->lines, 0, tenant) != NULL;
}

void
tally_lobby_enter(tally_lobby_t *self, const uint8_t sender[TALLY_SENDER_BYTES],
                  tally_bytes_t tenant, uint16_t messages, tally_chunk_t *chunk)
{
    assert(tenant.size <= TALLY_NAME_BYTES_MAX);
    assert(tally_lobby_has_room(self, tenant, chunk->size));
    line_t *line = tally_names_find(&self->lines, 0, tenant);
    if (line == NULL) {
        line = tally_alloc(sizeof *line);
        line->name_size = (uint8_t)tenant.size;
        memcpy(line->name, tenant.data, tenant.size);
        tally_names_put(&self->lines, 0, name_of(line), line);
        tally_list_append(&self->turns, &line->link);
    }
    tally_waiting_t *waiting = TALLY_PUSH(&line->places);
    *waiting = (tally_waiting_t){.messages = messages, .chunk = tally_chunk_hold(chunk)};
    memcpy(waiting->sender, sender, TALLY_SENDER_BYTES);
    self->count++;
    self->bytes += chunk->size;
    line->bytes += chunk->size;
}

bool
tally_lobby_leave(tally_lobby_t *self,
                  bool (*may)(void *context, tally_bytes_t tenant, const tally_waiting_t *waiting),
                  void *context, tally_waiting_t *waiting)
{
    for (size_t left = self->turns.count; left > 0; left--) {
        line_t *line = TALLY_OF(tally_list_first(&self->turns), line_t, link);
        tally_list_rotate(&self->turns);
        if (may(context, name_of(line), &line->places.items[line->first])) {
            take_first(self, line, waiting);
            return true;
        }
    }
    return false;
}
