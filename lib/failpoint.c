// SPDX-License-Identifier: MIT
//  failpoint - see failpoint.h.

#include "lib/failpoint.h"

#ifdef TALLY_FAILPOINTS

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/log.h"

static tally_failpoint_page_t *page;    // NULL: no orders
static pthread_once_t once = PTHREAD_ONCE_INIT;

//  A page that was asked for and is not there would make a run that proves nothing.
static void
map_page(void)
{
    const char *path = getenv("TALLY_FAILPOINTS");
    if (path == NULL || *path == '\0') {
        return;
    }
    struct stat info;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    void *mapped = MAP_FAILED;
    if (fd != -1 && fstat(fd, &info) == 0 && info.st_size == (off_t)sizeof *page) {
        mapped = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    if (fd != -1) {
        close(fd);
    }
    page = mapped == MAP_FAILED ? NULL : mapped;
    if (page == NULL || page->magic != TALLY_FAILPOINT_MAGIC
        || page->count != TALLY_FAILPOINTS_COUNT) {
        tally_log_error("could not use failpoints: not a page of this build  path=%s", path);
        abort();
    }
}

uint64_t
tally_failpoint_take(tally_failpoint_t point)
{
    pthread_once(&once, map_page);
    if (page == NULL) {
        return 0;
    }
    tally_failpoint_slot_t *slot = &page->slots[point];
    atomic_fetch_add(&slot->reached, 1);
    uint64_t order = atomic_load(&slot->order);
    while (order != 0) {
        //  Hits that pass count down in the low half; the one after them takes the order away.
        uint64_t left = (order & UINT32_MAX) == 0 ? 0 : order - 1;
        if (atomic_compare_exchange_weak(&slot->order, &order, left)) {
            if (left != 0) {
                return 0;
            }
            atomic_fetch_add(&slot->fired, 1);
            return order;
        }
    }
    return 0;
}

bool
tally_failpoint_act(uint64_t order)
{
    switch ((tally_failpoint_action_t)(order >> 56)) {
    case TALLY_FAILPOINT_NONE:
        return false;
    case TALLY_FAILPOINT_KILL:
        raise(SIGKILL);
        break;
    case TALLY_FAILPOINT_STOP:
        raise(SIGSTOP);
        break;
    case TALLY_FAILPOINT_DELAY:
        poll(NULL, 0, (int)(order >> 32 & 0xffffff));
        break;
    case TALLY_FAILPOINT_ERROR:
        return true;
    }
    return false;
}

void
tally_failpoint_hang_up(int fd)
{
    shutdown(fd, SHUT_RDWR);    // a connection that is gone already is as good
}

#endif
