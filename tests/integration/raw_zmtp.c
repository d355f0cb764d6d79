// SPDX-License-Identifier: MIT
//  raw_zmtp - see raw_zmtp.h.

#include "tests/integration/raw_zmtp.h"

#include <assert.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/clock.h"

#define GREETING_BYTES 64
#define NAME_BYTES_MAX 200

int
raw_zmtp_connect(const char *endpoint)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    assert(strncmp(endpoint, "ipc://", 6) == 0 && strlen(endpoint + 6) < sizeof address.sun_path);
    memcpy(address.sun_path, endpoint + 6, strlen(endpoint + 6));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd != -1 && connect(fd, (const struct sockaddr *)&address, sizeof address) == -1) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static size_t
put_property(uint8_t *at, const char *name, const void *value, size_t size)
{
    size_t length = strlen(name);
    *at++ = (uint8_t)length;
    memcpy(at, name, length);
    at += length;
    memset(at, 0, 3);
    at[3] = (uint8_t)size;
    memcpy(at + 4, value, size);
    return 1 + length + 4 + size;
}

bool
raw_zmtp_greet(int fd, const char *type, const void *name, size_t size)
{
    static const char ready[] = "\5READY";
    uint8_t hello[GREETING_BYTES + 2 + UINT8_MAX] = {0xff, 0,    0, 0, 0,   0,   0,   0,
                                                     1,    0x7f, 3, 0, 'N', 'U', 'L', 'L'};
    assert(size <= NAME_BYTES_MAX);
    uint8_t *command = hello + GREETING_BYTES;
    size_t length = sizeof ready - 1;
    memcpy(command + 2, ready, length);
    length += put_property(command + 2 + length, "Socket-Type", type, strlen(type));
    length += put_property(command + 2 + length, "Identity", name, size);
    command[0] = 4;
    command[1] = (uint8_t)length;
    return raw_zmtp_write(fd, hello, GREETING_BYTES + 2 + length);
}

bool
raw_zmtp_hear_greeting(int fd)
{
    uint8_t answer[GREETING_BYTES + 2 + UINT8_MAX];
    size_t wanted = GREETING_BYTES + 2;
    for (size_t size = 0; size < wanted;) {
        ssize_t got = recv(fd, answer + size, wanted - size, 0);
        if (got <= 0) {
            return false;
        }
        size += (size_t)got;
        wanted = size < GREETING_BYTES + 2
                     ? wanted
                     : (size_t)GREETING_BYTES + 2 + answer[GREETING_BYTES + 1];
    }
    return true;
}

bool
raw_zmtp_write(int fd, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
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

bool
raw_zmtp_ends(int fd, int timeout_ms)
{
    int64_t deadline_at_ms = tally_clock_now_ms() + timeout_ms;
    ssize_t got = 1;
    while (got > 0) {
        char rest[4096];
        int64_t left_ms = deadline_at_ms - tally_clock_now_ms();
        struct pollfd item = {.fd = fd, .events = POLLIN};
        if (left_ms <= 0 || poll(&item, 1, (int)left_ms) != 1) {
            return false;
        }
        got = recv(fd, rest, sizeof rest, 0);
    }
    return true;
}
