// SPDX-License-Identifier: MIT
//  failpoints - see failpoints.h.

#include "tests/faults/failpoints.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/alloc.h"

struct tally_failpoints {
    tally_failpoint_page_t *page;
};

static const struct {
    const char *name, *text;
    bool fails;
} points[] = {
#define TALLY_FAILPOINT_ROW(point, name, fails, text) {name, text, fails},
    TALLY_FAILPOINT_LIST(TALLY_FAILPOINT_ROW)
#undef TALLY_FAILPOINT_ROW
};

//  A page whole or none: it is made aside and linked, so no other process sees half of it.
static int
make_page(const char *path)
{
    char *draft = tally_format("%s.%d", path, (int)getpid());
    const tally_failpoint_page_t page = {.magic = TALLY_FAILPOINT_MAGIC,
                                         .count = TALLY_FAILPOINTS_COUNT};
    int fd = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int rc = fd == -1 ? -1 : fchmod(fd, 0666);    // workers may run as somebody else
    rc = rc == 0 && write(fd, &page, sizeof page) == (ssize_t)sizeof page ? 0 : -1;
    if (fd != -1) {
        close(fd);
    }
    rc = rc == 0 && (link(draft, path) == 0 || errno == EEXIST) ? 0 : -1;
    unlink(draft);
    free(draft);
    return rc;
}

tally_failpoints_t *
tally_failpoints_open(const char *path)
{
    if (access(path, F_OK) == -1 && make_page(path) == -1) {
        return NULL;
    }
    struct stat info;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd == -1) {
        return NULL;
    }
    tally_failpoint_page_t *page = MAP_FAILED;
    if (fstat(fd, &info) == 0 && info.st_size == (off_t)sizeof *page) {
        page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    close(fd);
    if (page == MAP_FAILED || page->magic != TALLY_FAILPOINT_MAGIC
        || page->count != TALLY_FAILPOINTS_COUNT) {
        if (page != MAP_FAILED) {
            munmap(page, sizeof *page);
        }
        errno = EINVAL;
        return NULL;
    }
    tally_failpoints_t *self = tally_alloc(sizeof *self);
    self->page = page;
    return self;
}

void
tally_failpoints_close(tally_failpoints_t **self_p)
{
    tally_failpoints_t *self = *self_p;
    if (self != NULL) {
        munmap(self->page, sizeof *self->page);
        free(self);
        *self_p = NULL;
    }
}

bool
tally_failpoints_arm(tally_failpoints_t *self, tally_failpoint_t point,
                     tally_failpoint_action_t action, uint32_t after, uint32_t ms)
{
    assert(point < TALLY_FAILPOINTS_COUNT);
    assert(action != TALLY_FAILPOINT_NONE);
    assert(ms <= 0xffffff);
    if (action == TALLY_FAILPOINT_ERROR && !points[point].fails) {
        return false;
    }
    atomic_store(&self->page->slots[point].order,
                 (uint64_t)action << 56 | (uint64_t)ms << 32 | after);
    return true;
}

bool
tally_failpoints_disarm(tally_failpoints_t *self, tally_failpoint_t point)
{
    return atomic_exchange(&self->page->slots[point].order, 0) != 0;
}

bool
tally_failpoints_armed(const tally_failpoints_t *self, tally_failpoint_t point)
{
    return atomic_load(&self->page->slots[point].order) != 0;
}

uint64_t
tally_failpoints_reached(const tally_failpoints_t *self, tally_failpoint_t point)
{
    return atomic_load(&self->page->slots[point].reached);
}

uint64_t
tally_failpoints_fired(const tally_failpoints_t *self, tally_failpoint_t point)
{
    return atomic_load(&self->page->slots[point].fired);
}

const char *
tally_failpoints_name(tally_failpoint_t point)
{
    return points[point].name;
}

const char *
tally_failpoints_text(tally_failpoint_t point)
{
    return points[point].text;
}

bool
tally_failpoints_may_fail(tally_failpoint_t point)
{
    return points[point].fails;
}

bool
tally_failpoints_of_broker(tally_failpoint_t point)
{
    return point < TALLY_AT_WORK_RECEIVED;
}

bool
tally_failpoints_find(const char *name, tally_failpoint_t *point)
{
    for (size_t i = 0; i < TALLY_FAILPOINTS_COUNT; i++) {
        if (strcmp(points[i].name, name) == 0) {
            *point = (tally_failpoint_t)i;
            return true;
        }
    }
    return false;
}

bool
tally_failpoints_action(const char *name, tally_failpoint_action_t *action)
{
    static const char *const names[] = {"", "kill", "stop", "delay", "error"};
    for (size_t i = 1; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(names[i], name) == 0) {
            *action = (tally_failpoint_action_t)i;
            return true;
        }
    }
    return false;
}
