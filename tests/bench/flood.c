// SPDX-License-Identifier: MIT
//  flood - see flood.h.

#include "tests/bench/flood.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "lib/clock.h"
#include "tests/bench/scene.h"
#include "tests/integration/descriptors.h"
#include "tests/integration/raw_curve.h"

#define THREADS_MAX 8
#define SOURCES 2000    // addresses; the system gives each some 28 000 ports
#define WAIT_MS 1000    // for an answer
#define LOOK_MS 10

#define AGAIN_PER_S 1000    // of those who are silent and were thrown out
#define MULTIPARTS 8
#define PIECE_BYTES (64 * 1024)
#define FRAME_BYTES (1024 * 1024)
#define HEADERS_PER_S 1000
#define TOPICS_EACH 1000    // of one subscriber: below what ends it
#define TOPIC_BYTES 14

struct bench_flood {
    bench_flood_options_t options;
    pthread_t threads[THREADS_MAX];
    size_t count;
    atomic_bool over;
    atomic_uint source;
    atomic_uint_fast64_t connected, ended, said;
};

static bool
is_over(const bench_flood_t *self)
{
    return atomic_load(&self->over);
}

static void
pause_us(int64_t us)
{
    const struct timespec time = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
    (void)ppoll(NULL, 0, &time, NULL);
}

static void
pause_ms(int ms)
{
    pause_us(ms * INT64_C(1000));
}

//  ---- connections --------------------------------------------------------------------------------------------

static int
connect_by_path(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    assert(strlen(path) < sizeof address.sun_path);
    memcpy(address.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd != -1 && connect(fd, (const struct sockaddr *)&address, sizeof address) == -1) {
        close(fd);
        fd = -1;
    }
    return fd;
}

//  From the next of our addresses, with a reset at the end: so no port is kept.
static int
connect_by_port(bench_flood_t *self, const char *port)
{
    const struct linger at_once = {.l_onoff = 1};
    struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET};
    unsigned source = atomic_fetch_add(&self->source, 1) % SOURCES;
    from.sin_addr.s_addr = htonl(0x7f010001 + source);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons((uint16_t)strtol(port, NULL, 10));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd != -1
        && (setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == -1
            || bind(fd, (const struct sockaddr *)&from, sizeof from) == -1
            || connect(fd, (const struct sockaddr *)&to, sizeof to) == -1)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

//  -1 when it was not taken.
static int
connect_to(bench_flood_t *self)
{
    const char *endpoint = self->options.endpoint;
    bool by_path = strncmp(endpoint, "ipc://", 6) == 0;
    int fd = by_path ? connect_by_path(endpoint + 6)
                     : connect_by_port(self, strrchr(endpoint, ':') + 1);
    const struct timeval limit = {.tv_sec = WAIT_MS / 1000};
    if (fd != -1 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0
        && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0) {
        atomic_fetch_add(&self->connected, 1);
    }
    return fd;
}

//  By us, or because the other side has.
static void
end_connection(bench_flood_t *self, int *fd, bool by_other)
{
    if (*fd != -1) {
        close(*fd);
        atomic_fetch_add(&self->ended, by_other);
    }
    *fd = -1;
}

static bool
write_all(int fd, const void *bytes, size_t size)
{
    const char *at = bytes;
    while (size > 0) {
        ssize_t wrote = send(fd, at, size, MSG_NOSIGNAL);
        if (wrote <= 0) {
            return false;
        }
        at += wrote;
        size -= (size_t)wrote;
    }
    return true;
}

//  Connected, greeted without a key, and the answer read; -1 when that was not taken.
static int
greet(bench_flood_t *self, const char *type)
{
    uint8_t hello[64 + 2 + 64] = {0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0, 'N', 'U', 'L', 'L'};
    size_t length = strlen(type);
    size_t size = 6 + 1 + strlen("Socket-Type") + 4 + length;
    hello[64] = 4;
    hello[65] = (uint8_t)size;
    memcpy(hello + 66, "\5READY\13Socket-Type\0\0\0", 21);
    hello[66 + 21] = (uint8_t)length;
    memcpy(hello + 66 + 22, type, length);
    int fd = connect_to(self);
    if (fd != -1) {
        uint8_t answer[64 + 2];
        bool there = write_all(fd, hello, 66 + size)
                     && recv(fd, answer, sizeof answer, MSG_WAITALL) == sizeof answer;
        uint8_t rest[255];
        if (!there || recv(fd, rest, answer[65], MSG_WAITALL) != answer[65]) {
            end_connection(self, &fd, true);
        }
    }
    return fd;
}

//  ---- what they do -------------------------------------------------------------------------------------------

static void *
be_silent(void *argument)
{
    bench_flood_t *self = argument;
    struct pollfd *items = tally_alloc_array(BENCH_FLOOD_SILENT, sizeof *items);
    for (size_t i = 0; i < BENCH_FLOOD_SILENT; i++) {
        items[i] = (struct pollfd){.fd = connect_to(self), .events = POLLIN};
    }
    while (!is_over(self)) {
        unsigned again = AGAIN_PER_S * LOOK_MS / 1000;
        pause_ms(LOOK_MS);
        (void)poll(items, BENCH_FLOOD_SILENT, 0);
        for (size_t i = 0; i < BENCH_FLOOD_SILENT && again > 0; i++) {
            char byte;
            if (items[i].fd != -1 && items[i].revents != 0
                && recv(items[i].fd, &byte, 1, MSG_DONTWAIT) <= 0 && errno != EAGAIN) {
                end_connection(self, &items[i].fd, true);
            }
            if (items[i].fd == -1) {
                items[i].fd = connect_to(self);
                again--;
            }
        }
    }
    for (size_t i = 0; i < BENCH_FLOOD_SILENT; i++) {
        end_connection(self, &items[i].fd, false);
    }
    free(items);
    return NULL;
}

static void *
shake_hands(void *argument)
{
    static const char *const no_properties[] = {NULL};
    bench_flood_t *self = argument;
    const int64_t each_us = 1000000 * THREADS_MAX / BENCH_FLOOD_HANDSHAKES_PER_S;
    tally_key_pair_t key;
    int rc = tally_key_pair_make(&key);
    assert(rc == 0);
    for (int64_t next_us = tally_clock_now_us(); !is_over(self); next_us += each_us) {
        int64_t early_us = next_us - tally_clock_now_us();
        if (early_us > 0) {
            pause_us(early_us);
        }
        raw_curve_t raw;
        bool in = raw_curve_open_on(&raw, connect_to(self), &key, self->options.server_key,
                                    no_properties);
        assert(!in);
        atomic_fetch_add(&self->said, raw.refused);
        end_connection(self, &raw.fd, !raw.refused);
    }
    return NULL;
}

typedef struct {
    int fd;
    size_t at;    // within its frame
} speaker_t;

//  A piece of the frame, when it is taken; false when there was no room.
static bool
speak(bench_flood_t *self, speaker_t *speaker, const uint8_t *frame)
{
    size_t whole = 9 + FRAME_BYTES;
    size_t size = whole - speaker->at < PIECE_BYTES ? whole - speaker->at : PIECE_BYTES;
    ssize_t wrote = send(speaker->fd, frame + speaker->at, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (wrote == -1 && errno != EAGAIN) {
        end_connection(self, &speaker->fd, true);
    }
    speaker->at += wrote > 0 ? (size_t)wrote : 0;
    if (speaker->at == whole) {
        speaker->at = 0;
        atomic_fetch_add(&self->said, 1);
    }
    return wrote > 0;
}

static void *
speak_endlessly(void *argument)
{
    bench_flood_t *self = argument;
    uint8_t *frame = tally_alloc(9 + FRAME_BYTES);
    frame[0] = 3;    // more to come, a long length
    frame[6] = FRAME_BYTES >> 16;
    speaker_t speakers[MULTIPARTS];
    for (size_t i = 0; i < MULTIPARTS; i++) {
        speakers[i] = (speaker_t){.fd = -1};
    }
    while (!is_over(self)) {
        bool moved = false;
        for (size_t i = 0; i < MULTIPARTS; i++) {
            if (speakers[i].fd == -1) {
                speakers[i] = (speaker_t){.fd = greet(self, "DEALER")};
            }
            moved |= speakers[i].fd != -1 && speak(self, &speakers[i], frame);
        }
        if (!moved) {
            pause_ms(1);
        }
    }
    for (size_t i = 0; i < MULTIPARTS; i++) {
        end_connection(self, &speakers[i].fd, false);
    }
    free(frame);
    return NULL;
}

static void *
announce(void *argument)
{
    static const uint8_t gibibyte[] = {2, 0, 0, 0, 0, 0x40, 0, 0, 0};
    bench_flood_t *self = argument;
    while (!is_over(self)) {
        int fd = greet(self, "DEALER");
        if (fd != -1 && write_all(fd, gibibyte, sizeof gibibyte)) {
            char byte;
            atomic_fetch_add(&self->said, 1);
            bool ended = recv(fd, &byte, 1, 0) <= 0;
            end_connection(self, &fd, ended);
        }
        end_connection(self, &fd, true);
        pause_us(1000000 / HEADERS_PER_S);
    }
    return NULL;
}

//  Each keeps what it has got; the next goes on with the next topic.
static void *
subscribe(void *argument)
{
    bench_flood_t *self = argument;
    static int fds[BENCH_FLOOD_SUBSCRIPTIONS / TOPICS_EACH];
    const size_t count = sizeof fds / sizeof fds[0];
    unsigned topic = 0;
    for (size_t i = 0; i < count; i++) {
        fds[i] = is_over(self) ? -1 : greet(self, "SUB");
        uint8_t frames[TOPICS_EACH * (3 + TOPIC_BYTES)];
        size_t size = 0;
        for (size_t k = 0; k < TOPICS_EACH; k++, topic++) {
            uint8_t frame[3 + TOPIC_BYTES + 1] = {0, 1 + TOPIC_BYTES, 1};
            //  Where they differ stands first, so that they share nothing.
            snprintf((char *)frame + 3, TOPIC_BYTES + 1, "%08x.%05u", topic * 2654435761U,
                     topic % 100000);
            memcpy(frames + size, frame, 3 + TOPIC_BYTES);
            size += 3 + TOPIC_BYTES;
        }
        if (fds[i] != -1 && write_all(fds[i], frames, size)) {
            atomic_fetch_add(&self->said, TOPICS_EACH);
        }
    }
    while (!is_over(self)) {
        pause_ms(LOOK_MS);
    }
    for (size_t i = 0; i < count; i++) {
        char byte;
        bool ended = fds[i] != -1 && recv(fds[i], &byte, 1, MSG_DONTWAIT) <= 0 && errno != EAGAIN;
        end_connection(self, &fds[i], ended);
    }
    return NULL;
}

//  ---- all of them --------------------------------------------------------------------------------------------

bench_flood_t *
bench_flood_new(const bench_flood_options_t *options)
{
    static const struct {
        void *(*run)(void *flood);
        size_t threads;
    } kinds[] = {[BENCH_FLOOD_NONE] = {NULL, 0},
                 [BENCH_FLOOD_SILENCE] = {be_silent, 1},
                 [BENCH_FLOOD_HANDSHAKE] = {shake_hands, THREADS_MAX},
                 [BENCH_FLOOD_MULTIPART] = {speak_endlessly, 1},
                 [BENCH_FLOOD_HEADER] = {announce, 1},
                 [BENCH_FLOOD_SUBSCRIBER] = {subscribe, 1}};
    bench_flood_t *self = tally_alloc(sizeof *self);
    self->options = *options;
    self->count = kinds[options->kind].threads;
    for (size_t i = 0; i < self->count; i++) {
        int rc = pthread_create(&self->threads[i], NULL, kinds[options->kind].run, self);
        assert(rc == 0);
    }
    return self;
}

bench_flood_count_t
bench_flood_destroy(bench_flood_t **self_p)
{
    bench_flood_t *self = *self_p;
    atomic_store(&self->over, true);
    for (size_t i = 0; i < self->count; i++) {
        pthread_join(self->threads[i], NULL);
    }
    const bench_flood_count_t count = {atomic_load(&self->connected), atomic_load(&self->ended),
                                       atomic_load(&self->said)};
    free(self);
    *self_p = NULL;
    return count;
}

void
bench_flood_raise_limits(void)
{
    if (!tally_descriptors_allow(BENCH_FLOOD_SILENT + 1000)) {
        bench_say("strangers: the floods are smaller than they say");
    }
}
