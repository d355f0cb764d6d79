// SPDX-License-Identifier: MIT
//  marker - see marker.h.

#include "tests/integration/marker.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/alloc.h"

struct search {
    int found;
    int files;
    long long bytes;
    const char *journal;    // of what was searched and found; NULL: nobody reads it
};

static void note(const struct search *self, const char *format, ...) TALLY_PRINTF(2, 3);

static void
note(const struct search *self, const char *format, ...)
{
    FILE *file = self->journal == NULL ? NULL : fopen(self->journal, "a");
    if (file != NULL) {
        va_list args;
        va_start(args, format);
        vfprintf(file, format, args);
        va_end(args);
        fclose(file);
    }
}

static void
tell(struct search *self, const char *where)
{
    self->found++;
    fprintf(stderr, "marker: a body shows in %s\n", where);
    note(self, "leak %s\n", where);
}

//  As it is, or as hex digits.
static bool
shows(const char *text, size_t size)
{
    static const char marker[] = TALLY_MARKER;
    char digits[2 * sizeof marker] = "";
    for (size_t i = 0; i + 1 < sizeof marker; i++) {
        snprintf(digits + 2 * i, 3, "%02x", (unsigned char)marker[i]);
    }
    return memmem(text, size, marker, strlen(marker)) != NULL
           || memmem(text, size, digits, strlen(digits)) != NULL;
}

static void
search_file(struct search *self, const char *path, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd == -1 || size == 0) {
        if (fd != -1) {
            close(fd);
        }
        return;
    }
    char *text = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (text == MAP_FAILED) {
        return;
    }
    self->files++;
    self->bytes += (long long)size;
    if (shows(text, size)) {
        tell(self, path);
    }
    munmap(text, size);
}

static bool
ends_with(const char *name, const char *end)
{
    size_t size = strlen(name), end_size = strlen(end);
    return size >= end_size && strcmp(name + size - end_size, end) == 0;
}

static bool
is_database(const char *path)
{
    char *version = tally_format("%s/PG_VERSION", path);
    bool is_there = access(version, F_OK) == 0;
    free(version);
    return is_there;
}

static void
search_tree(struct search *self, const char *dir)
{
    char *root = tally_strdup(dir);
    char *roots[] = {root, NULL};
    FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    for (FTSENT *entry; tree != NULL && (entry = fts_read(tree)) != NULL;) {
        if (entry->fts_info == FTS_D && is_database(entry->fts_accpath)) {
            fts_set(tree, entry, FTS_SKIP);
        } else if (entry->fts_info == FTS_F) {
            if (strncmp(entry->fts_name, "core", 4) == 0) {
                tell(self, entry->fts_path);
            } else if (ends_with(entry->fts_name, "log") || ends_with(entry->fts_name, ".err")) {
                search_file(self, entry->fts_accpath, (size_t)entry->fts_statp->st_size);
            }
        }
    }
    if (tree != NULL) {
        fts_close(tree);
    }
    free(root);
}

//  Tests never give a body as an argument, so that it stands in no command line.
static void
search_command_lines(struct search *self)
{
    DIR *processes = opendir("/proc");
    struct dirent *entry;
    while (processes != NULL && (entry = readdir(processes)) != NULL) {
        char path[64];
        char text[16384];
        snprintf(path, sizeof path, "/proc/%.20s/cmdline", entry->d_name);
        int fd = strtol(entry->d_name, NULL, 10) > 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        ssize_t size = fd == -1 ? -1 : read(fd, text, sizeof text);
        if (fd != -1) {
            close(fd);
        }
        if (size > 0 && shows(text, (size_t)size)) {
            tell(self, path);
        }
    }
    if (processes != NULL) {
        closedir(processes);
    }
}

int
tally_marker_search(const char *dir)
{
    struct search search = {.journal = getenv("TALLY_LEAKS")};
    search_tree(&search, dir);
    search_command_lines(&search);
    note(&search, "searched %d %lld\n", search.files, search.bytes);
    return search.found;
}
