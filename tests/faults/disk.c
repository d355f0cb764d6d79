// SPDX-License-Identifier: MIT
#include "tests/faults/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/alloc.h"

#define IMAGE_BYTES (6LL << 30)    // sparse
#define PIECE_BYTES 4096

struct tally_disk {
    char *place;
    char *filler;
};

//  True when the program ended with 0; nothing of what it says is of interest.
static bool
succeeds(char *const *words)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        execvp(words[0], words);
        _exit(127);
    }
    int status = 0;
    return pid != -1 && waitpid(pid, &status, 0) == pid && WIFEXITED(status)
           && WEXITSTATUS(status) == 0;
}

tally_disk_t *
tally_disk_new(const char *dir)
{
    char *image = tally_format("%s/disk.image", dir);
    char *place = tally_format("%s/disk", dir);
    char *make[] = {"/sbin/mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", image, NULL};
    char *mount[] = {"mount", "-o", "loop", image, place, NULL};
    int fd = geteuid() == 0 ? open(image, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;
    bool good = fd != -1 && ftruncate(fd, IMAGE_BYTES) == 0 && mkdir(place, 0711) == 0
                && succeeds(make) && succeeds(mount);
    if (fd != -1) {
        close(fd);
    }
    tally_disk_t *self = NULL;
    if (good && chmod(place, 0711) == 0) {
        self = tally_alloc(sizeof *self);
        self->place = tally_strdup(place);
        self->filler = tally_format("%s/filler", place);
    }
    free(image);
    free(place);
    return self;
}

void
tally_disk_destroy(tally_disk_t **self_p)
{
    tally_disk_t *self = *self_p;
    if (self != NULL) {
        tally_disk_clear(self);
        free(self->place);
        free(self->filler);
        free(self);
        *self_p = NULL;
    }
}

bool
tally_disk_fill(tally_disk_t *self)
{
    static const char piece[PIECE_BYTES];
    struct statvfs info;
    int fd = open(self->filler, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd == -1 || statvfs(self->place, &info) == -1) {
        return false;
    }
    off_t most = (off_t)info.f_bavail * (off_t)info.f_frsize;
    off_t at = 0;
    //  Room in large pieces first: who writes meanwhile takes some of it.
    for (off_t size = most; size >= PIECE_BYTES; size /= 2) {
        while (fallocate(fd, 0, at, size) == 0) {
            at += size;
        }
    }
    ssize_t written;
    do {
        written = pwrite(fd, piece, sizeof piece, at);
        at += written > 0 ? written : 0;
    } while (written > 0);
    bool is_full = errno == ENOSPC;
    close(fd);
    return is_full;
}

void
tally_disk_clear(tally_disk_t *self)
{
    unlink(self->filler);
}
