// SPDX-License-Identifier: MIT
//  proxy - the proxy as a program: commands are its arguments, then lines of standard input or of its control socket.
//
//      proxy [--seed N] [--control PATH] 'link db ipc:///tmp/p/.s.PGSQL.5432 ipc:///run/pg/.s.PGSQL.5432' ...
//
//  Answers are lines of standard output.  Ends when standard input does, or by `quit`.

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/bytes.h"
#include "tests/faults/proxy_child.h"

//  Whole lines of standard input; false at its end.
static bool
read_line(char *line, size_t room)
{
    if (fgets(line, (int)room, stdin) == NULL) {
        return false;
    }
    line[strcspn(line, "\n")] = '\0';
    return true;
}

int
main(int argc, char **argv)
{
    uint64_t seed = 1;
    const char *control = NULL;
    int at = 1;
    for (; at + 1 < argc && argv[at][0] == '-'; at += 2) {
        if (strcmp(argv[at], "--seed") == 0) {
            seed = strtoull(argv[at + 1], NULL, 10);
        } else if (strcmp(argv[at], "--control") == 0) {
            control = argv[at + 1];
        } else {
            break;
        }
    }
    if (at < argc && argv[at][0] == '-') {
        fprintf(stderr, "usage: proxy [--seed N] [--control PATH] [COMMAND]...\n");
        return 64;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    tally_proxy_child_t *proxy = tally_proxy_child_start(seed, control);
    for (; at < argc; at++) {
        puts(tally_proxy_child_ask(proxy, "%s", argv[at]));
    }
    char line[1024];
    while (read_line(line, sizeof line)) {
        puts(tally_proxy_child_ask(proxy, "%s", line));
        if (strcmp(line, "quit") == 0) {
            break;
        }
    }
    return tally_proxy_child_stop(&proxy) == 0 ? 0 : 1;
}
