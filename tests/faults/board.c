// SPDX-License-Identifier: MIT
#include "tests/faults/board.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

tally_board_t *
tally_board_open(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    void *memory = MAP_FAILED;
    if (fd != -1 && ftruncate(fd, sizeof(tally_board_t)) == 0) {
        memory = mmap(NULL, sizeof(tally_board_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    if (memory == MAP_FAILED) {
        perror(path);
    }
    if (fd != -1) {
        close(fd);
    }
    return memory == MAP_FAILED ? NULL : memory;
}

void
tally_board_close(tally_board_t **self_p)
{
    if (*self_p != NULL) {
        munmap(*self_p, sizeof **self_p);
        *self_p = NULL;
    }
}
