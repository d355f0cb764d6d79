// SPDX-License-Identifier: MIT
//  raw_curve - see raw_curve.h.

#include "tests/integration/raw_curve.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>
#include <zmq.h>

#define PLAIN_BYTES_MAX 4096
#define FRAME_BYTES_MAX (PLAIN_BYTES_MAX + 64)

static bool
write_all(const raw_curve_t *self, const uint8_t *bytes, size_t size)
{
    return send(self->fd, bytes, size, MSG_NOSIGNAL) == (ssize_t)size;
}

static bool
read_all(const raw_curve_t *self, uint8_t *bytes, size_t size)
{
    return recv(self->fd, bytes, size, MSG_WAITALL) == (ssize_t)size;
}

//  A ZMTP frame; flags: 4 for a command.
static bool
write_frame(const raw_curve_t *self, uint8_t flags, const uint8_t *body, size_t size)
{
    uint8_t frame[FRAME_BYTES_MAX + 9] = {0};
    size_t head = 2;
    frame[0] = flags;
    if (size > 255) {
        frame[0] |= 2;
        head = 9;
        for (size_t i = 0; i < 8; i++) {
            frame[1 + i] = (uint8_t)((uint64_t)size >> (8 * (7 - i)));
        }
    } else {
        frame[1] = (uint8_t)size;
    }
    memcpy(frame + head, body, size);
    return write_all(self, frame, head + size);
}

//  Commands and messages alike; -1 when the connection ended or nothing came.
static ssize_t
read_frame(const raw_curve_t *self, uint8_t body[FRAME_BYTES_MAX])
{
    uint8_t head[9];
    if (!read_all(self, head, 2)) {
        return -1;
    }
    size_t size = head[1];
    if ((head[0] & 2) != 0) {
        if (!read_all(self, head + 2, 7)) {
            return -1;
        }
        size = 0;
        for (size_t i = 0; i < 8; i++) {
            size = size << 8 | head[1 + i];
        }
    }
    return size <= FRAME_BYTES_MAX && read_all(self, body, size) ? (ssize_t)size : -1;
}

//  ---- the handshake ---------------------------------------------------------------------------------------

static void
make_nonce(uint8_t nonce[24], const char *prefix, const void *rest)
{
    size_t size = strlen(prefix);
    memcpy(nonce, prefix, size);
    memcpy(nonce + size, rest, 24 - size);
}

static void
next_short_nonce(raw_curve_t *self, uint8_t bytes[8])
{
    uint64_t number = ++self->nonce;
    for (size_t i = 0; i < 8; i++) {
        bytes[i] = (uint8_t)(number >> (8 * (7 - i)));
    }
}

static bool
greet(raw_curve_t *self)
{
    uint8_t greeting[64] = {0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0};
    memcpy(greeting + 12, "CURVE", 5);
    return write_all(self, greeting, sizeof greeting) && read_all(self, greeting, sizeof greeting);
}

//  Sends HELLO and reads WELCOME: the server's transient key and its cookie.
static bool
say_hello(raw_curve_t *self, const uint8_t transient[32], const uint8_t server[32],
          uint8_t server_transient[32], uint8_t cookie[96])
{
    uint8_t hello[200] = "\x05HELLO\x01", nonce[24];
    static const uint8_t zeros[64] = {0};
    memcpy(hello + 80, transient, 32);
    next_short_nonce(self, hello + 112);
    make_nonce(nonce, "CurveZMQHELLO---", hello + 112);
    if (crypto_box_easy(hello + 120, zeros, sizeof zeros, nonce, server, self->own_transient) != 0
        || !write_frame(self, 4, hello, sizeof hello)) {
        return false;
    }
    uint8_t welcome[FRAME_BYTES_MAX], plain[128];
    if (read_frame(self, welcome) != 168 || memcmp(welcome, "\x07WELCOME", 8) != 0) {
        return false;
    }
    make_nonce(nonce, "WELCOME-", welcome + 8);
    if (crypto_box_open_easy(plain, welcome + 24, 144, nonce, server, self->own_transient) != 0) {
        return false;
    }
    memcpy(server_transient, plain, 32);
    memcpy(cookie, plain + 32, 96);
    return true;
}

static size_t
put_property(uint8_t *at, const char *name, const char *value)
{
    size_t name_size = strlen(name), value_size = strlen(value);
    *at++ = (uint8_t)name_size;
    memcpy(at, name, name_size);
    at += name_size;
    memset(at, 0, 3);
    at[3] = (uint8_t)value_size;
    memcpy(at + 4, value, value_size);
    return 1 + name_size + 4 + value_size;
}

//  The key, the vouch that it is behind the transient one, and the metadata.
static size_t
write_initiate(uint8_t *plain, const uint8_t key[32], const uint8_t secret[32],
               const uint8_t transient[32], const uint8_t server[32],
               const uint8_t server_transient[32])
{
    uint8_t vouch[64], nonce[24];
    memcpy(vouch, transient, 32);
    memcpy(vouch + 32, server, 32);
    memcpy(plain, key, 32);
    randombytes_buf(plain + 32, 16);
    make_nonce(nonce, "VOUCH---", plain + 32);
    int rc = crypto_box_easy(plain + 48, vouch, sizeof vouch, nonce, server_transient, secret);
    assert(rc == 0);
    return 128;
}

static bool
initiate(raw_curve_t *self, const uint8_t cookie[96], const uint8_t *plain, size_t size,
         const uint8_t server_transient[32])
{
    uint8_t frame[FRAME_BYTES_MAX] = "\x08INITIATE", nonce[24];
    memcpy(frame + 9, cookie, 96);
    next_short_nonce(self, frame + 105);
    make_nonce(nonce, "CurveZMQINITIATE", frame + 105);
    if (crypto_box_easy(frame + 113, plain, size, nonce, server_transient, self->own_transient) != 0
        || !write_frame(self, 4, frame, 113 + size + 16)) {
        return false;
    }
    ssize_t got = read_frame(self, frame);
    self->refused = got >= 6 && memcmp(frame, "\005ERROR", 6) == 0;
    return got > 14 && memcmp(frame, "\x05READY", 6) == 0
           && crypto_box_beforenm(self->shared, server_transient, self->own_transient) == 0;
}

static int
connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const struct timeval limit = {.tv_sec = 5};
    assert(strlen(path) < sizeof address.sun_path);
    memcpy(address.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd != -1
        && (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == -1
            || connect(fd, (const struct sockaddr *)&address, sizeof address) == -1)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

bool
raw_curve_open_on(raw_curve_t *self, int fd, const tally_key_pair_t *key, const char *server_key,
                  const char *const *properties)
{
    *self = (raw_curve_t){.fd = fd};
    uint8_t own[32], secret[32], server[32], transient[32], server_transient[32], cookie[96];
    zmq_z85_decode(own, key->public_key);
    zmq_z85_decode(secret, key->secret_key);
    zmq_z85_decode(server, server_key);
    crypto_box_keypair(transient, self->own_transient);
    if (fd == -1 || !greet(self) || !say_hello(self, transient, server, server_transient, cookie)) {
        return false;
    }
    uint8_t plain[PLAIN_BYTES_MAX];
    size_t size = write_initiate(plain, own, secret, transient, server, server_transient);
    if (*properties == NULL || strcmp(*properties, "Socket-Type") != 0) {
        size += put_property(plain + size, "Socket-Type", "DEALER");
    }
    for (; *properties != NULL; properties += 2) {
        size += put_property(plain + size, properties[0], properties[1]);
    }
    return initiate(self, cookie, plain, size, server_transient);
}

bool
raw_curve_open(raw_curve_t *self, const char *path, const tally_key_pair_t *key,
               const char *server_key, const char *const *properties)
{
    return raw_curve_open_on(self, connect_to(path), key, server_key, properties);
}

void
raw_curve_close(raw_curve_t *self)
{
    if (self->fd != -1) {
        close(self->fd);
        self->fd = -1;
    }
}

//  ---- messages --------------------------------------------------------------------------------------------

bool
raw_curve_send(raw_curve_t *self, tally_bytes_t frame)
{
    uint8_t plain[PLAIN_BYTES_MAX] = {0}, message[FRAME_BYTES_MAX] = "\x07MESSAGE", nonce[24];
    assert(frame.size < sizeof plain);
    memcpy(plain + 1, frame.data, frame.size);    // behind its flags: the last part
    next_short_nonce(self, message + 8);
    make_nonce(nonce, "CurveZMQMESSAGEC", message + 8);
    return crypto_box_easy_afternm(message + 16, plain, frame.size + 1, nonce, self->shared) == 0
           && write_frame(self, 0, message, 16 + frame.size + 1 + 16);
}

ssize_t
raw_curve_receive(raw_curve_t *self, uint8_t *frame, size_t room)
{
    uint8_t message[FRAME_BYTES_MAX], plain[FRAME_BYTES_MAX], nonce[24];
    for (;;) {
        ssize_t size = read_frame(self, message);
        if (size == -1) {
            return -1;
        }
        if (size < 33 || memcmp(message, "\x07MESSAGE", 8) != 0) {
            continue;
        }
        make_nonce(nonce, "CurveZMQMESSAGES", message + 8);
        if (crypto_box_open_easy_afternm(plain, message + 16, (size_t)size - 16, nonce,
                                         self->shared)
            != 0) {
            return -1;
        }
        size_t body = (size_t)size - 33;
        if ((plain[0] & 4) != 0 || body > room) {
            continue;    // a command: a PING
        }
        memcpy(frame, plain + 1, body);
        return (ssize_t)body;
    }
}
