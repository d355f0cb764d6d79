// SPDX-License-Identifier: MIT
#include "workers/export_place.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/alloc.h"

#define DIRECTORY_MODE 0750

//  Calls for each step of a path: "a//b/" has two.  False when there is none left.
static bool
next_step(const char **at, char step[NAME_MAX + 1], bool *too_long)
{
    *at += strspn(*at, "/");
    size_t size = strcspn(*at, "/");
    if (size == 0) {
        return false;
    }
    *too_long = size > NAME_MAX;
    if (!*too_long) {
        memcpy(step, *at, size);
        step[size] = '\0';
    }
    *at += size;
    return true;
}

static bool
climbs(const char *path)
{
    char step[NAME_MAX + 1];
    bool too_long;
    while (next_step(&path, step, &too_long)) {
        if (!too_long && strcmp(step, "..") == 0) {
            return true;
        }
    }
    return false;
}

//  `path` behind `base`, without what changes nothing: "a//./b/" is "a/b".
static char *
join(const char *base, const char *path)
{
    char step[NAME_MAX + 1];
    bool too_long;
    size_t size = strcmp(base, "/") == 0 ? 0 : strlen(base);
    char *out = tally_alloc(size + strlen(path) + 2);
    memcpy(out, base, size);
    while (next_step(&path, step, &too_long)) {
        if (!too_long && strcmp(step, ".") != 0) {
            out[size++] = '/';
            memcpy(out + size, step, strlen(step));
            size += strlen(step);
        }
    }
    if (size == 0) {
        out[0] = '/';
    }
    return out;
}

//  Opens a directory inside `fd`; makes it when it is missing.  -1 with errno.
static int
open_step(int fd, const char *step, bool follow)
{
    int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | (follow ? 0 : O_NOFOLLOW);
    int next = openat(fd, step, flags);
    if (next != -1 || errno != ENOENT) {
        return next;
    }
    if (mkdirat(fd, step, DIRECTORY_MODE) == -1 && errno != EEXIST) {
        return -1;
    }
    if (fsync(fd) == -1) {
        return -1;
    }
    return openat(fd, step, flags);
}

//  Goes on from `fd`, which it takes.  -1 with errno.
static int
walk(int fd, const char *path, bool follow)
{
    char step[NAME_MAX + 1];
    bool too_long;
    while (fd != -1 && next_step(&path, step, &too_long)) {
        int next = -1;
        if (too_long) {
            errno = ENAMETOOLONG;
        } else {
            next = open_step(fd, step, follow);
        }
        int kept = errno;
        close(fd);
        errno = kept;
        fd = next;
    }
    return fd;
}

//  What of an absolute path lies behind `base`, or NULL when it does not lie there.
static const char *
inside(const char *base, const char *path)
{
    size_t size = strlen(base);
    while (size > 0 && base[size - 1] == '/') {
        size--;
    }
    if (strncmp(path, base, size) != 0 || (path[size] != '/' && path[size] != '\0')) {
        return NULL;
    }
    return path + size;
}

static tally_place_outcome_t
blame(const char *path, tally_problem_t *problem)
{
    if (errno == ELOOP || errno == ENOTDIR) {
        tally_problem_set(problem, "\"%s\" leads over a symbolic link or a file; name a directory",
                          path);
        return TALLY_PLACE_REFUSED;
    }
    if (errno == ENAMETOOLONG) {
        tally_problem_set(problem, "\"%s\" is too long a path", path);
        return TALLY_PLACE_REFUSED;
    }
    tally_problem_set(problem, "could not open directory \"%s\": %s", path, strerror(errno));
    return TALLY_PLACE_FAILED;
}

//  A path outside of the worker's own directory; the operator allowed these, links and all.
static tally_place_outcome_t
open_any(const char *wanted, tally_place_t *place, tally_problem_t *problem)
{
    place->fd = walk(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC), wanted, true);
    if (place->fd == -1) {
        return blame(wanted, problem);
    }
    place->path = join("", wanted);
    return TALLY_PLACE_OPEN;
}

//  `rest` is relative to the worker's own directory, whose own path may have links.
static tally_place_outcome_t
open_inside(const char *base, const char *rest, tally_place_t *place, tally_problem_t *problem)
{
    char *real = realpath(base, NULL);
    if (real == NULL) {
        return blame(base, problem);
    }
    char *path = join(real, rest);
    place->fd = walk(open(real, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rest, false);
    free(real);
    if (place->fd == -1) {
        tally_place_outcome_t outcome = blame(path, problem);
        free(path);
        return outcome;
    }
    place->path = path;
    return TALLY_PLACE_OPEN;
}

tally_place_outcome_t
tally_export_place_open(const tally_place_rule_t *rule, const char *wanted, tally_place_t *place,
                        tally_problem_t *problem)
{
    *place = (tally_place_t){.fd = -1};
    if (wanted != NULL && (wanted[0] == '\0' || strlen(wanted) >= PATH_MAX || climbs(wanted))) {
        tally_problem_set(problem, "\"out\" must be a directory's path without \"..\"");
        return TALLY_PLACE_REFUSED;
    }
    if (rule->any && wanted != NULL && wanted[0] == '/') {
        return open_any(wanted, place, problem);
    }
    if (rule->base == NULL) {
        tally_problem_set(problem, "this worker writes no files; start it with --out DIRECTORY");
        return TALLY_PLACE_REFUSED;
    }
    if (wanted == NULL || wanted[0] != '/') {
        return open_inside(rule->base, wanted == NULL ? "" : wanted, place, problem);
    }
    const char *rest = inside(rule->base, wanted);
    if (rest == NULL) {
        char *real = realpath(rule->base, NULL);
        rest = real == NULL ? NULL : inside(real, wanted);
        free(real);
    }
    if (rest == NULL) {
        tally_problem_set(problem, "\"%s\" is not inside this worker's directory \"%s\"", wanted,
                          rule->base);
        return TALLY_PLACE_REFUSED;
    }
    return open_inside(rule->base, rest, place, problem);
}

void
tally_export_place_close(tally_place_t *place)
{
    if (place->path != NULL) {
        close(place->fd);
        free(place->path);
    }
    *place = (tally_place_t){.fd = -1};
}
