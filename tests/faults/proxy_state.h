// SPDX-License-Identifier: MIT
//  proxy_state - what the files of the proxy share; nobody else includes it.
//
//  A link owns its doors (listening sockets) and its connections; a connection has two sides and a flow each way.  What
//  is over is marked doomed, closed at once, and freed when the turn ends: events of this turn may still name it.

#ifndef TALLY_PROXY_STATE_H
#define TALLY_PROXY_STATE_H

#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/faults/proxy.h"

#define TALLY_PROXY_NAME_MAX 64

//  Whatever epoll tells; `ready` gets the object the watch is in.
typedef struct tally_proxy_watch {
    void (*ready)(struct tally_proxy_watch *self, uint32_t events);
    int fd;           // -1: closed
    uint32_t mask;    // as registered; 0: not registered
} tally_proxy_watch_t;

//  What a watch called `watch` is in.
#define TALLY_PROXY_OF(pointer, type) ((type *)(void *)((char *)(pointer)-offsetof(type, watch)))

typedef struct {
    struct sockaddr_storage storage;
    socklen_t size;
    char text[sizeof "ipc://" + sizeof((struct sockaddr_un *)NULL)->sun_path];
} tally_proxy_address_t;

enum { TALLY_PROXY_UP, TALLY_PROXY_DOWN };    // from who connected; to who connected

typedef enum {
    TALLY_PROXY_FLOW,
    TALLY_PROXY_STALL,      // not read: the sender's buffers fill up
    TALLY_PROXY_SWALLOW,    // read and thrown away
} tally_proxy_mode_t;

typedef struct {
    tally_proxy_mode_t mode;
    int64_t delay_us, jitter_us;
    uint64_t bytes_per_s;    // 0: as fast as it goes
    bool cut;                // after cut_bytes more
    bool cut_resets, cut_every;
    uint64_t cut_bytes;
    uint64_t cut_number;    // of the command that armed it
} tally_proxy_faults_t;

typedef struct tally_proxy_segment {
    struct tally_proxy_segment *next;
    int64_t due_us;
    size_t at, size;
    char data[];
} tally_proxy_segment_t;

//  One direction of a connection.
typedef struct {
    tally_proxy_faults_t faults;
    tally_proxy_segment_t *first, *last;
    size_t queued;
    int64_t due_us;         // of the last segment: order is kept
    int64_t write_at_us;    // not before, when throttled
    bool ended;             // its source said all
    bool broken;            // its source reset
    bool passed;            // and its target was told
    bool deaf;              // its target is gone, which its source must not hear
    bool holed;             // bytes were swallowed: it can never go on
    bool counted;           // its stall has bitten
} tally_proxy_flow_t;

typedef struct {
    tally_proxy_watch_t watch;
    struct tally_proxy_connection *connection;
    bool connecting;
    bool silenced;    // says what nobody may hear now; not watched
} tally_proxy_side_t;

typedef struct tally_proxy_connection {
    struct tally_proxy_connection *next;
    struct tally_proxy_link *link;
    struct tally_proxy_door *door;    // NULL: closed since
    uint64_t id;
    bool doomed;
    tally_proxy_side_t sides[2];    // flow UP goes from sides[0] to sides[1]
    tally_proxy_flow_t flows[2];
} tally_proxy_connection_t;

//  A listening socket.
typedef struct tally_proxy_door {
    tally_proxy_watch_t watch;
    struct tally_proxy_door *next;
    struct tally_proxy_link *link;
    tally_proxy_address_t listen, target;
    int keeper_fd;    // bound and never listening: the port stays ours while refusing
    bool doomed;
} tally_proxy_door_t;

#define TALLY_PROXY_COUNTERS(X)                                                                    \
    X(accepted)                                                                                    \
    X(unreachable)                                                                                 \
    X(up_bytes)                                                                                    \
    X(down_bytes)                                                                                  \
    X(delayed)                                                                                     \
    X(throttled)                                                                                   \
    X(cuts)                                                                                        \
    X(swallowed_bytes)                                                                             \
    X(stalled)                                                                                     \
    X(resets)                                                                                      \
    X(closes)                                                                                      \
    X(rejected)                                                                                    \
    X(paused)

typedef struct {
#define TALLY_PROXY_FIELD(name) uint64_t name;
    TALLY_PROXY_COUNTERS(TALLY_PROXY_FIELD)
#undef TALLY_PROXY_FIELD
} tally_proxy_counters_t;

typedef enum {
    TALLY_PROXY_ACCEPT,
    TALLY_PROXY_PAUSE,     // leaves them in the kernel's queue
    TALLY_PROXY_REFUSE,    // does not listen
    TALLY_PROXY_REJECT,    // accepts and resets
} tally_proxy_entry_t;

typedef struct tally_proxy_link {
    tally_proxy_watch_t watch;    // inotify of the target's directory; fd -1: one fixed door
    struct tally_proxy_link *next;
    struct tally_proxy *proxy;
    char name[TALLY_PROXY_NAME_MAX + 1];
    char *listen, *target;    // as given
    tally_proxy_door_t *doors;
    tally_proxy_connection_t *connections;
    tally_proxy_faults_t faults[2];    // of connections to come
    tally_proxy_entry_t entry;
    tally_proxy_counters_t counters;
} tally_proxy_link_t;

struct tally_proxy {
    int epoll;
    uint64_t random;
    int64_t now_us;
    tally_proxy_link_t *links;
    uint64_t last_connection, last_cut;
    bool ended;    // `quit` came
};

//  ---- proxy.c ----
//  Registers, changes or (0) removes what is watched.
void tally_proxy_watch(tally_proxy_t *self, tally_proxy_watch_t *watch, uint32_t mask);
int64_t tally_proxy_jitter_us(tally_proxy_t *self, int64_t jitter_us);
void tally_proxy_mirror(tally_proxy_t *self);    // every link that mirrors is up to date then

//  ---- proxy_connection.c ----
//  Takes fd, a fresh client of the door.
void tally_proxy_connection_open(tally_proxy_door_t *door, int fd);
//  Moves what may move now; also sets what is watched.
void tally_proxy_connection_move(tally_proxy_connection_t *self);
//  When it must be moved again though nothing happens; INT64_MAX: never.
int64_t tally_proxy_connection_next_us(const tally_proxy_connection_t *self);
void tally_proxy_connection_close(tally_proxy_connection_t *self, bool reset);
void tally_proxy_connection_free(tally_proxy_connection_t *self);

//  ---- proxy_link.c ----
//  NULL with *error (the caller's) when it cannot be.
tally_proxy_link_t *tally_proxy_link_new(tally_proxy_t *proxy, const char *name, const char *listen,
                                         const char *target, char **error);
void tally_proxy_link_free(tally_proxy_link_t *self);
//  0, or -1 when it cannot listen again.
int tally_proxy_link_enter(tally_proxy_link_t *self, tally_proxy_entry_t entry);
//  Opens and closes doors as the targets came and went.
void tally_proxy_link_mirror(tally_proxy_link_t *self);
//  Nobody listens behind this door: a mirrored one goes.
void tally_proxy_door_failed(tally_proxy_door_t *self);
void tally_proxy_link_sweep(tally_proxy_link_t *self);    // frees the doomed

#endif
