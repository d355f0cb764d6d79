// SPDX-License-Identifier: MIT
#include "workers/export_file.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/alloc.h"

#define FILE_MODE 0640
#define COPY_BYTES (1024 * 1024)
#define PART_ENDING ".part"

struct tally_export_file {
    int directory;
    int fd;
    int source;    // an earlier lease's part while it is copied; -1
    uint64_t source_left;
    char *name;
    char *part;
    uint64_t lease;
    uint64_t bytes;
    bool published;
    crypto_hash_sha256_state hash;
    uint64_t marked_bytes;
    crypto_hash_sha256_state marked_hash;
};

static int
blame(const char *what, const char *name, tally_problem_t *problem)
{
    if (errno == ENOSPC || errno == EDQUOT) {
        tally_problem_set(problem, "the disk is full: could not %s %s", what, name);
    } else {
        tally_problem_set(problem, "could not %s %s: %s", what, name, strerror(errno));
    }
    return -1;
}

static char *
part_name(const char *name, uint64_t lease)
{
    return tally_format("%s.%llu" PART_ENDING, name, (unsigned long long)lease);
}

tally_export_file_t *
tally_export_file_new(const tally_place_t *place, const char *name, uint64_t lease,
                      tally_problem_t *problem)
{
    tally_export_file_t *self = tally_alloc(sizeof *self);
    self->source = -1;
    self->lease = lease;
    self->name = tally_strdup(name);
    self->part = part_name(name, lease);
    crypto_hash_sha256_init(&self->hash);
    self->marked_hash = self->hash;
    self->fd = -1;
    self->directory = fcntl(place->fd, F_DUPFD_CLOEXEC, 0);
    if (self->directory == -1) {
        goto fail;
    }
    //  One of this lease can only be our own, from before we lost track of it.
    if (unlinkat(self->directory, self->part, 0) == -1 && errno != ENOENT) {
        goto fail;
    }
    self->fd = openat(self->directory, self->part,
                      O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, FILE_MODE);
    if (self->fd == -1) {
        goto fail;
    }
    return self;

fail:
    blame("create", self->part, problem);
    tally_export_file_destroy(&self);
    return NULL;
}

void
tally_export_file_destroy(tally_export_file_t **self_p)
{
    tally_export_file_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    if (self->fd != -1) {
        close(self->fd);
    }
    if (self->source != -1) {
        close(self->source);
    }
    if (self->directory != -1) {
        close(self->directory);
    }
    free(self->name);
    free(self->part);
    free(self);
    *self_p = NULL;
}

void
tally_export_file_discard(tally_export_file_t **self_p)
{
    tally_export_file_t *self = *self_p;
    if (self != NULL && !self->published) {
        unlinkat(self->directory, self->part, 0);    // gone already is as good
    }
    tally_export_file_destroy(self_p);
}

//  ---- taking over -------------------------------------------------------------------------------

bool
tally_export_file_inherit(tally_export_file_t *self, uint64_t lease, uint64_t bytes)
{
    assert(self->bytes == 0);
    assert(self->source == -1);
    if (lease == self->lease) {
        return false;
    }
    char *part = part_name(self->name, lease);
    int fd = openat(self->directory, part, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    free(part);
    struct stat status;
    if (fd == -1) {
        return false;
    }
    if (fstat(fd, &status) == -1 || !S_ISREG(status.st_mode) || (uint64_t)status.st_size < bytes) {
        close(fd);
        return false;
    }
    self->source = fd;
    self->source_left = bytes;
    return true;
}

int
tally_export_file_copy(tally_export_file_t *self, uint64_t bytes_max, uint64_t *left,
                       tally_problem_t *problem)
{
    *left = 0;
    if (self->source == -1) {
        return 0;
    }
    unsigned char *block = tally_alloc(COPY_BYTES);
    int outcome = 0;
    while (outcome == 0 && bytes_max > 0 && self->source_left > 0) {
        uint64_t wanted = self->source_left < bytes_max ? self->source_left : bytes_max;
        ssize_t got = read(self->source, block, wanted < COPY_BYTES ? wanted : COPY_BYTES);
        if (got == -1 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            errno = got == 0 ? EIO : errno;
            outcome = blame("read what is there of", self->name, problem);
            break;
        }
        outcome = tally_export_file_write(self, (tally_bytes_t){block, (size_t)got}, problem);
        self->source_left -= (uint64_t)got;
        bytes_max -= (uint64_t)got;
    }
    free(block);
    *left = self->source_left;
    if (self->source_left == 0) {
        close(self->source);
        self->source = -1;
    }
    return outcome;
}

//  NAME.LEASE.part of another lease?
static bool
is_other_part(const tally_export_file_t *self, const char *entry)
{
    size_t name = strlen(self->name);
    size_t size = strlen(entry);
    return strncmp(entry, self->name, name) == 0 && entry[name] == '.'
           && size > name + sizeof PART_ENDING
           && strcmp(entry + size - (sizeof PART_ENDING - 1), PART_ENDING) == 0
           && strcmp(entry, self->part) != 0;
}

int
tally_export_file_remove_others(tally_export_file_t *self, tally_problem_t *problem)
{
    int fd = openat(self->directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *listing = fd == -1 ? NULL : fdopendir(fd);
    if (listing == NULL) {
        int outcome = blame("list the directory of", self->name, problem);
        if (fd != -1) {
            close(fd);
        }
        return outcome;
    }
    int outcome = 0;
    const struct dirent *entry;
    while (outcome == 0 && (entry = readdir(listing)) != NULL) {
        if (is_other_part(self, entry->d_name) && unlinkat(self->directory, entry->d_name, 0) == -1
            && errno != ENOENT) {
            outcome = blame("remove", entry->d_name, problem);
        }
    }
    closedir(listing);
    return outcome;
}

//  ---- growing -----------------------------------------------------------------------------------

int
tally_export_file_write(tally_export_file_t *self, tally_bytes_t bytes, tally_problem_t *problem)
{
    const unsigned char *at = bytes.data;
    size_t left = bytes.size;
    while (left > 0) {
        ssize_t written = write(self->fd, at, left);
        if (written == -1 && errno == EINTR) {
            continue;
        }
        if (written == -1) {
            return blame("write", self->part, problem);
        }
        at += written;
        left -= (size_t)written;
    }
    crypto_hash_sha256_update(&self->hash, bytes.data, bytes.size);
    self->bytes += bytes.size;
    return 0;
}

int
tally_export_file_sync(tally_export_file_t *self, tally_problem_t *problem)
{
    return fsync(self->fd) == -1 ? blame("write", self->part, problem) : 0;
}

void
tally_export_file_mark(tally_export_file_t *self)
{
    self->marked_bytes = self->bytes;
    self->marked_hash = self->hash;
}

int
tally_export_file_rewind(tally_export_file_t *self, tally_problem_t *problem)
{
    if (ftruncate(self->fd, (off_t)self->marked_bytes) == -1
        || lseek(self->fd, (off_t)self->marked_bytes, SEEK_SET) == -1) {
        return blame("rewind", self->part, problem);
    }
    self->bytes = self->marked_bytes;
    self->hash = self->marked_hash;
    return 0;
}

uint64_t
tally_export_file_bytes(const tally_export_file_t *self)
{
    return self->bytes;
}

uint64_t
tally_export_file_lease(const tally_export_file_t *self)
{
    return self->lease;
}

void
tally_export_file_sha256(const tally_export_file_t *self, char hex[TALLY_SHA256_HEX_SIZE])
{
    unsigned char hash[crypto_hash_sha256_BYTES];
    crypto_hash_sha256_state state = self->hash;    // final() would end the running one
    crypto_hash_sha256_final(&state, hash);
    sodium_bin2hex(hex, TALLY_SHA256_HEX_SIZE, hash, sizeof hash);
}

int
tally_export_file_publish(tally_export_file_t *self, tally_problem_t *problem)
{
    if (renameat(self->directory, self->part, self->directory, self->name) == -1) {
        return blame("rename the complete part to", self->name, problem);
    }
    self->published = true;
    return fsync(self->directory) == -1 ? blame("write", self->name, problem) : 0;
}
