// SPDX-License-Identifier: MIT
//  key_file - see key_file.h.

#include "lib/key_file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include "lib/alloc.h"

#define FILE_BYTES_MAX 4096    // of a certificate; ours have about 250
#define KEY_BYTES 32

int
tally_key_pair_make(tally_key_pair_t *pair)
{
    return zmq_curve_keypair(pair->public_key, pair->secret_key);
}

void
tally_key_pair_forget(tally_key_pair_t *pair)
{
    sodium_memzero(pair, sizeof *pair);
}

bool
tally_key_valid(tally_bytes_t text)
{
    if (text.size != TALLY_KEY_TEXT_BYTES || memchr(text.data, '\0', text.size) != NULL) {
        return false;
    }
    char copy[TALLY_KEY_TEXT_BYTES + 1] = "";
    uint8_t bytes[KEY_BYTES];
    memcpy(copy, text.data, text.size);
    bool valid = zmq_z85_decode(bytes, copy) != NULL;
    sodium_memzero(copy, sizeof copy);
    sodium_memzero(bytes, sizeof bytes);
    return valid;
}

//  ---- reading -------------------------------------------------------------------------------------

//  The value of `name = "value"` in `line`, when it is that.
static bool
take_value(const char *line, const char *name, char value[TALLY_KEY_TEXT_BYTES + 1])
{
    line += strspn(line, " \t");
    size_t size = strlen(name);
    if (strncmp(line, name, size) != 0) {
        return false;
    }
    line += size;
    line += strspn(line, " \t");
    if (*line++ != '=') {
        return false;
    }
    line += strspn(line, " \t");
    char quote = *line == '"' || *line == '\'' ? *line++ : '\0';
    const char *end = quote != '\0' ? strchr(line, quote) : line + strcspn(line, " \t\r");
    if (end == NULL || !tally_key_valid((tally_bytes_t){line, (size_t)(end - line)})) {
        return false;
    }
    memcpy(value, line, TALLY_KEY_TEXT_BYTES);
    value[TALLY_KEY_TEXT_BYTES] = '\0';
    return true;
}

//  Keys count in the section `curve` alone; a section's name stands at the beginning of a line.
static void
parse(char *text, tally_key_kind_t kind, tally_key_pair_t *pair)
{
    bool inside = false;
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        if (*line != '\0' && *line != '#' && *line != ' ' && *line != '\t' && *line != '\r') {
            inside = strncmp(line, "curve", 5) == 0 && line[5 + strspn(line + 5, " \t\r")] == '\0';
        } else if (inside && !take_value(line, "public-key", pair->public_key)
                   && kind == TALLY_KEY_SECRET) {
            take_value(line, "secret-key", pair->secret_key);
        }
    }
}

//  NULL, or what is wrong with the keys.
static const char *
judge(const tally_key_pair_t *pair, tally_key_kind_t kind)
{
    if (pair->public_key[0] == '\0') {
        return "it has no public-key of 40 characters in a section \"curve\"";
    }
    if (kind == TALLY_KEY_PUBLIC) {
        return NULL;
    }
    if (pair->secret_key[0] == '\0') {
        return "it has no secret-key of 40 characters in its section \"curve\"";
    }
    char derived[TALLY_KEY_TEXT_BYTES + 1] = "";
    bool match = zmq_curve_public(derived, pair->secret_key) == 0
                 && strcmp(derived, pair->public_key) == 0;
    return match ? NULL : "its secret key is not that of its public key";
}

//  The file's text, NUL-terminated; NULL with *why.
static char *
read_text(const char *path, tally_key_kind_t kind, const char **why)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat info;
    if (fd == -1 || fstat(fd, &info) == -1) {
        *why = strerror(errno);
        if (fd != -1) {
            close(fd);
        }
        return NULL;
    }
    char *text = NULL;
    if (!S_ISREG(info.st_mode) || info.st_size > FILE_BYTES_MAX) {
        *why = "it is not a certificate";
    } else if (kind == TALLY_KEY_SECRET && (info.st_mode & 077) != 0) {
        *why = "others may read or write it; it holds a secret: chmod 400";
    } else {
        text = tally_alloc(FILE_BYTES_MAX + 1);
        ssize_t size = read(fd, text, FILE_BYTES_MAX);
        text[size > 0 ? size : 0] = '\0';
    }
    close(fd);
    return text;
}

int
tally_key_file_read(const char *path, tally_key_kind_t kind, tally_key_pair_t *pair, char **error)
{
    *pair = (tally_key_pair_t){0};
    *error = NULL;
    const char *why = NULL;
    char *text = read_text(path, kind, &why);
    if (text != NULL) {
        parse(text, kind, pair);
        sodium_memzero(text, FILE_BYTES_MAX);
        why = judge(pair, kind);
    }
    free(text);
    if (why == NULL) {
        return 0;
    }
    tally_key_pair_forget(pair);
    *error = tally_format("key file %s: %s", path, why);
    return -1;
}

//  ---- writing -------------------------------------------------------------------------------------

static int
write_whole(int fd, const char *text, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t written = write(fd, text + done, size - done);
        if (written == -1 && errno != EINTR) {
            return -1;
        }
        done += written > 0 ? (size_t)written : 0;
    }
    return fsync(fd);
}

int
tally_key_file_write(const char *path, tally_key_kind_t kind, const tally_key_pair_t *pair,
                     const char *name, char **error)
{
    assert(pair->public_key[0] != '\0');
    assert(kind == TALLY_KEY_PUBLIC || pair->secret_key[0] != '\0');

    bool secret = kind == TALLY_KEY_SECRET;
    *error = NULL;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, secret ? 0400 : 0444);
    if (fd == -1) {
        *error = tally_format("key file %s: %s", path, strerror(errno));
        return -1;
    }
    char *text = tally_format("# A CURVE %s of Tally, in czmq's certificate form.\n"
                              "metadata\n    name = \"%s\"\n"
                              "curve\n    public-key = \"%s\"\n%s%s%s",
                              secret ? "key pair; the secret is its owner's alone" : "public key",
                              name, pair->public_key, secret ? "    secret-key = \"" : "",
                              secret ? pair->secret_key : "", secret ? "\"\n" : "");
    int rc = write_whole(fd, text, strlen(text));
    if (rc == -1) {
        *error = tally_format("key file %s: %s", path, strerror(errno));
    }
    if (close(fd) == -1 && rc == 0) {
        *error = tally_format("key file %s: %s", path, strerror(errno));
        rc = -1;
    }
    if (rc == -1) {
        unlink(path);
    }
    sodium_memzero(text, strlen(text));
    free(text);
    return rc;
}
