// SPDX-License-Identifier: MIT
//  list - doubly linked list whose links live inside the elements.
//
//  An element is in a list exactly when its link says so, and leaves in constant time.  The list
//  owns nothing.

#ifndef TALLY_LIST_H
#define TALLY_LIST_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct tally_link {
    struct tally_link *next, *prev;    // NULL: in no list
} tally_link_t;

typedef struct {
    tally_link_t head;
    size_t count;
} tally_list_t;

//  The element around a link or heap node.
#define TALLY_OF(pointer, type, field) ((type *)(void *)((char *)(pointer)-offsetof(type, field)))

static inline void
tally_list_init(tally_list_t *self)
{
    self->head.next = self->head.prev = &self->head;
    self->count = 0;
}

static inline bool
tally_link_in(const tally_link_t *link)
{
    return link->next != NULL;
}

static inline void
tally_list_append(tally_list_t *self, tally_link_t *link)
{
    assert(!tally_link_in(link));
    link->next = &self->head;
    link->prev = self->head.prev;
    link->prev->next = link;
    self->head.prev = link;
    self->count++;
}

static inline void
tally_list_remove(tally_list_t *self, tally_link_t *link)
{
    assert(tally_link_in(link));
    assert(self->count > 0);
    link->prev->next = link->next;
    link->next->prev = link->prev;
    link->next = link->prev = NULL;
    self->count--;
}

//  NULL when empty.
static inline tally_link_t *
tally_list_first(const tally_list_t *self)
{
    return self->count == 0 ? NULL : self->head.next;
}

//  The one behind `link`, NULL at the end.
static inline tally_link_t *
tally_list_next(const tally_list_t *self, const tally_link_t *link)
{
    return link->next == &self->head ? NULL : link->next;
}

//  The first becomes the last.
static inline void
tally_list_rotate(tally_list_t *self)
{
    tally_link_t *link = tally_list_first(self);
    if (link != NULL) {
        tally_list_remove(self, link);
        tally_list_append(self, link);
    }
}

#endif
