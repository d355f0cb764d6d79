// SPDX-License-Identifier: MIT
//  gate - see gate.h.

#include "broker/gate.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "broker/greeting.h"
#include "lib/limits.h"

#define DESCRIPTORS_MAX 65536
#define RESERVE 64             // descriptors that no stranger gets
#define RESERVE_SHARE_MAX 8    // but no more than an eighth of all

//  A connection that was accepted, by its descriptor.
struct connection {
    atomic_bool open;
    atomic_uint_fast64_t unread;    // bytes received since one of its messages was taken
    tally_greeting_t *greeting;     // while it says hello; of who reads, libzmq's I/O thread
};

static struct connection connections[DESCRIPTORS_MAX];
static atomic_uint_fast64_t all_unread;
static atomic_uint_fast64_t refused, ended;
static atomic_bool started;

//  Descriptors are given lowest first, so a high one says that few are left.
static long
highest_allowed(void)
{
    struct rlimit files;
    long limit = DESCRIPTORS_MAX;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < DESCRIPTORS_MAX) {
        limit = (long)files.rlim_cur;
    }
    long share = limit / RESERVE_SHARE_MAX;
    return limit - (share < RESERVE ? share : RESERVE);
}

static void
forget_unread(struct connection *connection)
{
    atomic_fetch_sub(&all_unread, atomic_exchange(&connection->unread, 0));
}

static struct connection *
find(int fd)
{
    bool known = fd >= 0 && fd < DESCRIPTORS_MAX && atomic_load(&connections[fd].open);
    return known ? &connections[fd] : NULL;
}

//  ---- in the place of the C library's ------------------------------------------------------------

//  Every error it gives by itself is one that libzmq's listeners take for the fault of who connects.
int
accept4(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
    long accepted = syscall(SYS_accept4, fd, address, size, flags);
    if (!atomic_load(&started)) {
        return (int)accepted;
    }
    if (accepted == -1) {
        errno = errno == EMFILE ? ENFILE : errno;    // EMFILE ends the process
        return -1;
    }
    if (accepted >= highest_allowed()) {
        syscall(SYS_close, accepted);
        atomic_fetch_add(&refused, 1);
        errno = ECONNABORTED;
        return -1;
    }
    connections[accepted].greeting = tally_greeting_new();
    atomic_store(&connections[accepted].open, true);
    return (int)accepted;
}

static bool
is_too_much(const struct connection *connection)
{
    uint64_t unread = atomic_load(&connection->unread);
    return unread > TALLY_UNREAD_BYTES_MAX
           || (unread > 2 * TALLY_FRAME_BYTES_MAX
               && atomic_load(&all_unread) > TALLY_UNREAD_BYTES_ALL_MAX);
}

//  False when it must not come in.
static bool
greet(struct connection *connection, const void *bytes, size_t size)
{
    tally_greeting_verdict_t verdict = tally_greeting_take(connection->greeting,
                                                           (tally_bytes_t){bytes, size});
    if (verdict != TALLY_GREETING_MORE) {
        tally_greeting_destroy(&connection->greeting);
    }
    return verdict != TALLY_GREETING_BAD;
}

static ssize_t
end(struct connection *connection)
{
    atomic_fetch_add(&ended, 1);
    forget_unread(connection);
    errno = ECONNRESET;
    return -1;
}

ssize_t
recv(int fd, void *buffer, size_t room, int flags)
{
    struct connection *connection = find(fd);
    if (connection != NULL && is_too_much(connection)) {
        return end(connection);
    }
    ssize_t got = syscall(SYS_recvfrom, fd, buffer, room, flags, NULL, NULL);
    if (connection != NULL && got > 0) {
        if (connection->greeting != NULL && !greet(connection, buffer, (size_t)got)) {
            return end(connection);
        }
        atomic_fetch_add(&connection->unread, (uint64_t)got);
        atomic_fetch_add(&all_unread, (uint64_t)got);
    }
    return got;
}

int
close(int fd)
{
    struct connection *connection = find(fd);
    if (connection != NULL) {
        atomic_store(&connection->open, false);
        tally_greeting_destroy(&connection->greeting);
        forget_unread(connection);
    }
    return (int)syscall(SYS_close, fd);
}

//  ---- for the loop -------------------------------------------------------------------------------

void
tally_gate_start(void)
{
    atomic_store(&started, true);
}

void
tally_gate_taken(zmq_msg_t *message)
{
    struct connection *connection = find(zmq_msg_get(message, ZMQ_SRCFD));
    if (connection != NULL) {
        forget_unread(connection);
    }
}

uint64_t
tally_gate_refused(void)
{
    return atomic_load(&refused);
}

uint64_t
tally_gate_ended(void)
{
    return atomic_load(&ended);
}
