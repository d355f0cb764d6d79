// SPDX-License-Identifier: MIT
#include "tests/faults/memo.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

tally_memo_t *
tally_memo_open(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    void *memory = MAP_FAILED;
    if (fd != -1 && ftruncate(fd, sizeof(tally_memo_t)) == 0) {
        memory = mmap(NULL, sizeof(tally_memo_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    if (memory == MAP_FAILED) {
        perror(path);
    }
    if (fd != -1) {
        close(fd);
    }
    if (memory == MAP_FAILED) {
        return NULL;
    }
    tally_memo_t *self = memory;
    if (self->next == 0) {
        self->lowest = 1;
        self->next = 1;
    }
    return self;
}

void
tally_memo_close(tally_memo_t **self_p)
{
    if (*self_p != NULL) {
        munmap(*self_p, sizeof **self_p);
        *self_p = NULL;
    }
}

bool
tally_memo_full(const tally_memo_t *self)
{
    return self->next - self->lowest >= TALLY_MEMO_WINDOW;
}

void
tally_memo_take(tally_memo_t *self, uint32_t results)
{
    assert(!tally_memo_full(self));
    self->sends[self->next % TALLY_MEMO_WINDOW].answered = false;
    self->sends[self->next % TALLY_MEMO_WINDOW].results = results;
    self->next++;
}

bool
tally_memo_has(const tally_memo_t *self, uint32_t sequence)
{
    return sequence >= self->lowest && sequence < self->next;
}

static void
move_lowest(tally_memo_t *self)
{
    while (self->lowest < self->next && self->sends[self->lowest % TALLY_MEMO_WINDOW].answered
           && self->sends[self->lowest % TALLY_MEMO_WINDOW].results == 0) {
        self->lowest++;
    }
}

void
tally_memo_answer(tally_memo_t *self, uint32_t sequence, bool refused)
{
    if (!tally_memo_has(self, sequence)) {
        return;
    }
    self->sends[sequence % TALLY_MEMO_WINDOW].answered = true;
    if (refused) {
        self->sends[sequence % TALLY_MEMO_WINDOW].results = 0;
    }
    move_lowest(self);
}

bool
tally_memo_result(tally_memo_t *self, uint32_t sequence, unsigned item)
{
    assert(item < 32);
    if (!tally_memo_has(self, sequence)) {
        return false;
    }
    uint32_t *results = &self->sends[sequence % TALLY_MEMO_WINDOW].results;
    bool is_new = (*results >> item & 1) != 0;
    *results &= ~((uint32_t)1 << item);
    move_lowest(self);
    return is_new;
}

uint32_t
tally_memo_open_count(const tally_memo_t *self)
{
    uint32_t count = 0;
    for (uint32_t i = self->lowest; i < self->next; i++) {
        const uint32_t at = i % TALLY_MEMO_WINDOW;
        count += !self->sends[at].answered || self->sends[at].results != 0 ? 1 : 0;
    }
    return count;
}
