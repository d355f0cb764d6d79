// SPDX-License-Identifier: MIT
#include "tests/faults/room.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "lib/clock.h"
#include "tests/integration/marker.h"

#define KILL_MS_MAX 10000
#define LOOK_MS 20

struct tally_room {
    char *dir;
    pid_t guard;
    int guard_end;    // closing it sets the guard to work
};

//  ---- the guard --------------------------------------------------------------------------------

static int
remove_entry(const char *path, const struct stat *info, int type, struct FTW *place)
{
    (void)info;
    (void)type;
    (void)place;
    return remove(path);
}

//  Whether /proc/PID/FILE (of NUL-separated words) speaks of `dir`.
static bool
mentions(const char *pid, const char *file, const char *dir)
{
    char path[64];
    char text[16384];
    snprintf(path, sizeof path, "/proc/%.20s/%s", pid, file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd == -1 ? -1 : read(fd, text, sizeof text);
    if (fd != -1) {
        close(fd);
    }
    return size > 0 && memmem(text, (size_t)size, dir, strlen(dir)) != NULL;
}

static bool
works_in(const char *pid, const char *dir)
{
    char path[64];
    char place[512] = "";
    snprintf(path, sizeof path, "/proc/%.20s/cwd", pid);
    return readlink(path, place, sizeof place - 1) > 0 && strncmp(place, dir, strlen(dir)) == 0;
}

//  Kills every process that was started for this directory; how many there were.
static int
kill_by_dir(const char *dir)
{
    DIR *processes = opendir("/proc");
    struct dirent *entry;
    int killed = 0;
    while (processes != NULL && (entry = readdir(processes)) != NULL) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (pid <= 1 || pid == getpid() || pid == getppid()) {
            continue;
        }
        if (mentions(entry->d_name, "cmdline", dir) || mentions(entry->d_name, "environ", dir)
            || works_in(entry->d_name, dir)) {
            kill(pid, SIGKILL);
            killed++;
        }
    }
    if (processes != NULL) {
        closedir(processes);
    }
    return killed;
}

//  What a run mounts is mounted at DIR/disk.
static int
clean_up(const char *dir)
{
    int killed = kill_by_dir(dir);
    int64_t deadline_at_ms = tally_clock_now_ms() + KILL_MS_MAX;
    while (kill_by_dir(dir) > 0 && tally_clock_now_ms() < deadline_at_ms) {
        poll(NULL, 0, LOOK_MS);
    }
    char *keep = tally_format("%s/keep", dir);
    bool stays = access(keep, F_OK) == 0 || getenv("TALLY_TEST_KEEP") != NULL;
    free(keep);
    int shown = tally_marker_search(dir);
    char *disk = tally_format("%s/disk", dir);
    umount2(disk, MNT_DETACH);    // fails when there is none
    free(disk);
    if (stays) {
        return killed > 0 || shown > 0 ? -1 : 0;
    }
    int result = nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    if (result != 0) {
        fprintf(stderr, "faults: could not remove %s: %s\n", dir, strerror(errno));
    }
    return killed > 0 || shown > 0 || result != 0 ? -1 : 0;
}

static void __attribute__((noreturn)) stand_guard(const char *dir, int end)
{
    setsid();    // what ends the run's group must not end us
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    dup2(end, STDERR_FILENO + 1);
    close_range(STDERR_FILENO + 2, ~0U, 0);
    char byte;
    while (read(STDERR_FILENO + 1, &byte, 1) == -1 && errno == EINTR) {
    }
    _exit(clean_up(dir) == 0 ? 0 : 1);
}

//  ---- what runs --------------------------------------------------------------------------------

//  The file of /proc/PID, each byte that cannot be shown as a blank.
static void
copy_state(FILE *out, const char *pid, const char *file)
{
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/%.20s/%s", pid, file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd == -1 ? -1 : read(fd, text, sizeof text);
    if (fd != -1) {
        close(fd);
    }
    fprintf(out, "  %s: ", file);
    for (ssize_t i = 0; i < size; i++) {
        bool shown = text[i] == '\n'
                     || ((unsigned char)text[i] >= ' ' && (unsigned char)text[i] < 127);
        fputc(shown ? text[i] : ' ', out);
    }
    fputc('\n', out);
}

void
tally_room_write_state(const tally_room_t *self, const char *name)
{
    static const char *const files[] = {"cmdline", "stat", "wchan", "syscall", "stack"};
    char *path = tally_room_file(self, name);
    FILE *out = fopen(path, "we");
    DIR *processes = opendir("/proc");
    struct dirent *entry;
    while (out != NULL && processes != NULL && (entry = readdir(processes)) != NULL) {
        bool ours = strtol(entry->d_name, NULL, 10) > 1
                    && (mentions(entry->d_name, "cmdline", self->dir)
                        || works_in(entry->d_name, self->dir));
        if (ours) {
            fprintf(out, "%s\n", entry->d_name);
            for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
                copy_state(out, entry->d_name, files[i]);
            }
        }
    }
    if (processes != NULL) {
        closedir(processes);
    }
    if (out != NULL) {
        fclose(out);
    }
    free(path);
}

//  ---- the room ---------------------------------------------------------------------------------

tally_room_t *
tally_room_new(void)
{
    const char *where = getenv("TMPDIR");
    tally_room_t *self = tally_alloc(sizeof *self);
    self->dir = tally_format("%s/tally-faults-XXXXXX", where == NULL ? "/tmp" : where);
    int ends[2];
    if (mkdtemp(self->dir) == NULL || chmod(self->dir, 0711) == -1
        || pipe2(ends, O_CLOEXEC) == -1) {
        fprintf(stderr, "faults: no directory or pipe for the run: %s\n", strerror(errno));
        free(self->dir);
        free(self);
        return NULL;
    }
    fflush(NULL);
    self->guard = fork();
    if (self->guard == 0) {
        close(ends[1]);
        stand_guard(self->dir, ends[0]);
    }
    close(ends[0]);
    self->guard_end = ends[1];
    return self;
}

int
tally_room_destroy(tally_room_t **self_p)
{
    tally_room_t *self = *self_p;
    if (self == NULL) {
        return 0;
    }
    int status = 0;
    close(self->guard_end);
    waitpid(self->guard, &status, 0);
    free(self->dir);
    free(self);
    *self_p = NULL;
    return status == 0 ? 0 : -1;
}

const char *
tally_room_dir(const tally_room_t *self)
{
    return self->dir;
}

void
tally_room_keep(tally_room_t *self)
{
    char *path = tally_room_file(self, "keep");
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd != -1) {
        close(fd);
    }
    free(path);
}

char *
tally_room_file(const tally_room_t *self, const char *name)
{
    return tally_format("%s/%s", self->dir, name);
}

int
tally_room_make(const tally_room_t *self, const char *name)
{
    char *path = tally_room_file(self, name);
    int rc = mkdir(path, 0711);
    if (rc == -1) {
        fprintf(stderr, "faults: could not make %s: %s\n", path, strerror(errno));
    }
    free(path);
    return rc;
}
