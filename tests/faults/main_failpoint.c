// SPDX-License-Identifier: MIT
//  failpoint - gives orders by hand, and says what came of them.
//
//      failpoint --list                               every point and what is true there
//      failpoint PAGE                                 reached, fired and armed, a line each
//      failpoint PAGE NAME ACTION [AFTER] [MS]        ACTION: kill stop delay error off

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/faults/failpoints.h"

static void
list(void)
{
    for (tally_failpoint_t point = 0; point < TALLY_FAILPOINTS_COUNT; point++) {
        printf("%-18s %s\n", tally_failpoints_name(point), tally_failpoints_text(point));
    }
}

static void
show(const tally_failpoints_t *self)
{
    for (tally_failpoint_t point = 0; point < TALLY_FAILPOINTS_COUNT; point++) {
        printf("%-18s reached=%" PRIu64 " fired=%" PRIu64 "%s\n", tally_failpoints_name(point),
               tally_failpoints_reached(self, point), tally_failpoints_fired(self, point),
               tally_failpoints_armed(self, point) ? " armed" : "");
    }
}

static int
order(tally_failpoints_t *self, int argc, char **argv)
{
    tally_failpoint_t point;
    tally_failpoint_action_t action;
    if (!tally_failpoints_find(argv[2], &point)) {
        fprintf(stderr, "failpoint: there is no point \"%s\"; see --list\n", argv[2]);
        return 64;
    }
    if (strcmp(argv[3], "off") == 0) {
        tally_failpoints_disarm(self, point);
        return 0;
    }
    uint64_t after = argc > 4 ? strtoull(argv[4], NULL, 10) : 0;
    uint64_t ms = argc > 5 ? strtoull(argv[5], NULL, 10) : 0;
    if (!tally_failpoints_action(argv[3], &action) || after > UINT32_MAX || ms > 0xffffff
        || !tally_failpoints_arm(self, point, action, (uint32_t)after, (uint32_t)ms)) {
        fprintf(stderr, "failpoint: %s cannot %s\n", argv[2], argv[3]);
        return 64;
    }
    return 0;
}

int
main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        list();
        return 0;
    }
    if (argc < 2 || argc == 3 || argc > 6) {
        fprintf(stderr, "usage: failpoint --list | PAGE [NAME ACTION [AFTER] [MS]]\n");
        return 64;
    }
    tally_failpoints_t *self = tally_failpoints_open(argv[1]);
    if (self == NULL) {
        fprintf(stderr, "failpoint: %s: %s\n", argv[1], strerror(errno));
        return 73;
    }
    int code = 0;
    if (argc == 2) {
        show(self);
    } else {
        code = order(self, argc, argv);
    }
    tally_failpoints_close(&self);
    return code;
}
