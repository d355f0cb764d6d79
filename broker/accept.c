// SPDX-License-Identifier: MIT
//  accept - see accept.h.

#include "broker/accept.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RESERVE 64             // descriptors that no stranger gets
#define RESERVE_SHARE_MAX 8    // but no more than an eighth of all

static atomic_uint_fast64_t refused;

//  Descriptors are given lowest first, so a high one says that few are left.
static int
highest_allowed(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == -1 || files.rlim_cur > INT32_MAX) {
        return INT32_MAX;
    }
    int limit = (int)files.rlim_cur;
    int reserve = limit / RESERVE_SHARE_MAX < RESERVE ? limit / RESERVE_SHARE_MAX : RESERVE;
    return limit - reserve;
}

//  In the place of the C library's.  Every error it gives by itself is one that libzmq's listeners take for the fault of
//  who connects.
int
accept4(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
    long accepted = syscall(SYS_accept4, fd, address, size, flags);
    if (accepted == -1) {
        errno = errno == EMFILE ? ENFILE : errno;    // EMFILE ends the process
        return -1;
    }
    if (accepted >= highest_allowed()) {
        close((int)accepted);
        atomic_fetch_add(&refused, 1);
        errno = ECONNABORTED;
        return -1;
    }
    return (int)accepted;
}

uint64_t
tally_accept_refused(void)
{
    return atomic_load(&refused);
}
