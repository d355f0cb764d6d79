// SPDX-License-Identifier: MIT
//  gate - see gate.h.

#include "broker/gate.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "broker/greeting.h"
#include "broker/newcomers.h"
#include "broker/subscriber.h"
#include "lib/clock.h"
#include "lib/limits.h"

#define DESCRIPTORS_MAX 65536
#define RESERVE 64             // descriptors that no stranger gets
#define RESERVE_SHARE_MAX 8    // but no more than an eighth of all

//  A connection that was accepted, by its descriptor.  What is not atomic is libzmq's I/O thread's.
struct connection {
    atomic_bool open;
    atomic_bool feeds;              // a listener, and who comes to it subscribes
    atomic_uint_fast64_t unread;    // bytes received since one of its messages was taken
    atomic_bool heard;              // one was
    tally_greeting_t *greeting;     // until it is in
    tally_subscriber_t *subscriber;
    size_t topics;                      // bytes of them that its listener has counted
    int listener;                       // where it came in
    atomic_uint_fast64_t subscribed;    // of a listener: bytes of topics of those who are there
    tally_newcomer_t newcomer;          // under the lock
};

static struct connection connections[DESCRIPTORS_MAX];
static atomic_uint_fast64_t all_unread;
static atomic_uint_fast64_t refused, ended;
static atomic_size_t subscribers;
static atomic_bool started;
static _Thread_local bool listens_for_subscribers;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;    // of what follows
static tally_newcomers_t newcomers;
static uint8_t address_key[crypto_shorthash_KEYBYTES];

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

//  ---- newcomers -----------------------------------------------------------------------------------

//  The machine that somebody comes from.  Of IPv6 it has all that begin alike; on this one all sockets are one address.
static uint64_t
hash_address(const struct sockaddr_storage *address)
{
    const void *bytes = "";
    size_t size = 0;
    if (address->ss_family == AF_INET) {
        bytes = &((const struct sockaddr_in *)(const void *)address)->sin_addr;
        size = 4;
    } else if (address->ss_family == AF_INET6) {
        bytes = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
        size = 8;
    }
    uint64_t hash = 0;
    crypto_shorthash((uint8_t *)&hash, bytes, size, address_key);
    return hash == 0 ? 1 : hash;
}

//  Ends the oldest newcomer when there are too many: it is shut down, and closed by who reads it.
static void
expel(bool need)
{
    tally_newcomer_t *oldest = tally_newcomers_expel(&newcomers, need);
    if (oldest != NULL) {
        const struct connection *connection = TALLY_OF(oldest, struct connection, newcomer);
        shutdown((int)(connection - connections), SHUT_RDWR);
        atomic_fetch_add(&ended, 1);
    }
}

//  False when it must not come in.
static bool
enter(int fd, const struct sockaddr_storage *address)
{
    uint64_t hash = hash_address(address);
    bool is_few = fd < highest_allowed();
    pthread_mutex_lock(&lock);
    bool entered = is_few
                   && tally_newcomers_enter(&newcomers, &connections[fd].newcomer, hash,
                                            tally_clock_now_ms());
    expel(!is_few);
    pthread_mutex_unlock(&lock);
    return entered;
}

static void
prove(struct connection *connection)
{
    tally_greeting_destroy(&connection->greeting);
    pthread_mutex_lock(&lock);
    tally_newcomers_prove(&newcomers, &connection->newcomer);
    pthread_mutex_unlock(&lock);
}

//  ---- in the place of the C library's ------------------------------------------------------------

int
listen(int fd, int backlog)
{
    if (listens_for_subscribers && fd >= 0 && fd < DESCRIPTORS_MAX) {
        atomic_store(&connections[fd].feeds, true);
    }
    return (int)syscall(SYS_listen, fd, backlog);
}

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
    struct sockaddr_storage peer = {.ss_family = AF_UNSPEC};
    socklen_t peer_size = sizeof peer;
    (void)getpeername((int)accepted, (struct sockaddr *)&peer, &peer_size);    // gone: no address
    if (accepted >= DESCRIPTORS_MAX || !enter((int)accepted, &peer)) {
        syscall(SYS_close, accepted);
        atomic_fetch_add(&refused, 1);
        errno = ECONNABORTED;
        return -1;
    }
    struct connection *connection = &connections[accepted];
    connection->greeting = tally_greeting_new();
    if (fd >= 0 && fd < DESCRIPTORS_MAX && atomic_load(&connections[fd].feeds)) {
        connection->subscriber = tally_subscriber_new();
        connection->listener = fd;
        atomic_fetch_add(&subscribers, 1);
    }
    atomic_store(&connection->heard, false);
    atomic_store(&connection->open, true);
    return (int)accepted;
}

static bool
is_too_much(const struct connection *connection)
{
    uint64_t unread = atomic_load(&connection->unread);
    bool heard = atomic_load(&connection->heard);
    return unread > (heard ? TALLY_UNREAD_BYTES_MAX : TALLY_UNREAD_BYTES_FIRST_MAX)
           || (unread > 2 * TALLY_FRAME_BYTES_MAX
               && atomic_load(&all_unread) > TALLY_UNREAD_BYTES_ALL_MAX);
}

//  False when it must not come in.
static bool
greet(struct connection *connection, tally_bytes_t bytes)
{
    tally_greeting_verdict_t verdict = tally_greeting_take(connection->greeting, bytes);
    if (verdict == TALLY_GREETING_GOOD) {
        prove(connection);
    }
    return verdict != TALLY_GREETING_BAD;
}

//  False when it subscribes to too much, by itself or with the others of its feed.  Strangers count for nobody.
static bool
count_subscriptions(struct connection *connection, tally_bytes_t bytes)
{
    bool fine = tally_subscriber_take(connection->subscriber, bytes);
    if (connection->greeting != NULL) {
        return fine;
    }
    size_t more = tally_subscriber_bytes(connection->subscriber) - connection->topics;
    connection->topics += more;
    atomic_uint_fast64_t *feed = &connections[connection->listener].subscribed;
    uint64_t all = atomic_fetch_add(feed, more) + more;
    return fine && (more == 0 || all <= TALLY_FEED_BYTES_MAX);
}

static bool
count_unread(struct connection *connection, tally_bytes_t bytes)
{
    atomic_fetch_add(&connection->unread, bytes.size);
    atomic_fetch_add(&all_unread, bytes.size);
    return true;
}

//  False when the connection is to end.
static bool
hear(struct connection *connection, tally_bytes_t bytes)
{
    if (connection->greeting != NULL && !greet(connection, bytes)) {
        return false;
    }
    return connection->subscriber != NULL ? count_subscriptions(connection, bytes)
                                          : count_unread(connection, bytes);
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
    if (connection != NULL && got > 0 && !hear(connection, (tally_bytes_t){buffer, (size_t)got})) {
        return end(connection);
    }
    return got;
}

ssize_t
send(int fd, const void *buffer, size_t size, int flags)
{
    ssize_t sent = syscall(SYS_sendto, fd, buffer, size, flags, NULL, 0);
    struct connection *connection = find(fd);
    if (connection != NULL && connection->greeting != NULL && sent > 0
        && tally_greeting_said(connection->greeting, (tally_bytes_t){buffer, (size_t)sent})
               == TALLY_GREETING_GOOD) {
        prove(connection);
    }
    return sent;
}

static void
forget(struct connection *connection)
{
    atomic_store(&connection->open, false);
    pthread_mutex_lock(&lock);
    tally_newcomers_leave(&newcomers, &connection->newcomer);
    pthread_mutex_unlock(&lock);
    tally_greeting_destroy(&connection->greeting);
    if (connection->subscriber != NULL) {
        atomic_fetch_sub(&connections[connection->listener].subscribed, connection->topics);
        connection->topics = 0;
        tally_subscriber_destroy(&connection->subscriber);
        atomic_fetch_sub(&subscribers, 1);
    }
    forget_unread(connection);
}

int
close(int fd)
{
    struct connection *connection = find(fd);
    if (connection != NULL) {
        forget(connection);
    } else if (fd >= 0 && fd < DESCRIPTORS_MAX) {
        atomic_store(&connections[fd].feeds, false);
    }
    return (int)syscall(SYS_close, fd);
}

//  ---- for the loop -------------------------------------------------------------------------------

void
tally_gate_start(void)
{
    ssize_t got = getrandom(address_key, sizeof address_key, 0);
    assert(got == (ssize_t)sizeof address_key);
    tally_newcomers_init(&newcomers, tally_clock_now_ms());
    atomic_store(&started, true);
}

void
tally_gate_for_subscribers(bool yes)
{
    listens_for_subscribers = yes;
}

void
tally_gate_taken(zmq_msg_t *message)
{
    struct connection *connection = find(zmq_msg_get(message, ZMQ_SRCFD));
    if (connection != NULL) {
        atomic_store(&connection->heard, true);
        forget_unread(connection);
    }
}

size_t
tally_gate_newcomers(void)
{
    pthread_mutex_lock(&lock);
    size_t count = newcomers.waiting.count;
    pthread_mutex_unlock(&lock);
    return count;
}

size_t
tally_gate_subscribers(void)
{
    return atomic_load(&subscribers);
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
