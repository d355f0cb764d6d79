// SPDX-License-Identifier: MIT
//  The broker's gate: connections that would take its memory, its descriptors or a name that is not theirs.  Whatever
//  they do, those it knows are served by the same process.

#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/limits.h"
#include "tests/integration/broker_scene.h"
#include "tests/integration/raw_zmtp.h"

//  ---- memory ------------------------------------------------------------------------------------

//  A connection whose greeting and READY bring that name.
static int
greet_as(broker_scene_t *f, const char *name, size_t size)
{
    int fd = broker_scene_connect(f, tally_instance_endpoint(f->instance));
    assert_true(raw_zmtp_greet(fd, "DEALER", name, size));
    return fd;
}

static int
greet_as_nobody(broker_scene_t *f)
{
    int fd = greet_as(f, "", 0);
    assert_true(raw_zmtp_hear_greeting(fd));
    return fd;
}

static void
hear_the_end(int fd)
{
    assert_true(raw_zmtp_ends(fd, 2000));
}

static long
resident_mib(pid_t pid)
{
    char path[40];
    long pages = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%*d %ld", &pages), 1);
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024) / 1024;
}

//  Frame after frame of one message that never ends, behind what was said: libzmq keeps them all and counts none.
static void
speak_endlessly(broker_scene_t *f, tally_bytes_t first, int most)
{
    enum { FRAME = 1024 * 1024, FRAMES = 1024, SLACK = 50 };
    pid_t broker = tally_instance_pid(f->instance, "tallyd");
    long before = broker_scene_number(f, "connections_ended");
    long before_mib = resident_mib(broker);
    int fd = greet_as_nobody(f);
    assert_true(raw_zmtp_write(fd, first.data, first.size));
    broker_scene_serves(f, BROKER_SCENE_MS);                                 // and so it was heard
    static char frame[9 + FRAME] = {3, 0, 0, 0, 0, 0, FRAME >> 16, 0, 0};    // long, more to come
    int sent = 0;
    while (sent < FRAMES && raw_zmtp_write(fd, frame, sizeof frame)) {
        sent++;
    }
    long most_mib = resident_mib(broker) - before_mib;
    print_message("ended after %d MiB, which took %ld MiB\n", sent, most_mib);
    assert_in_range(sent, most - 1, most + 2);    // the kernel's own buffers are beyond
    assert_true(most_mib < most + SLACK);
    assert_int_equal(broker_scene_number(f, "connections_ended"), before + 1);
    broker_scene_serves(f, BROKER_SCENE_MS);
    assert_int_equal(tally_instance_pid(f->instance, "tallyd"), broker);
}

static void
a_multipart_that_never_ends_is_ended(void **state)
{
    static const char request[] = {0, 12, 'T', 'Y', 1, TALLY_ADMIN, 0, 0, 0, 0, 0, 0, 0, 1};
    broker_scene_t *f = *state;
    broker_scene_serves(f, BROKER_SCENE_MS);
    speak_endlessly(f, tally_bytes_of(""), TALLY_UNREAD_BYTES_FIRST_MAX / (1024 * 1024));
    speak_endlessly(f, (tally_bytes_t){request, sizeof request},
                    TALLY_UNREAD_BYTES_MAX / (1024 * 1024));
}

struct lost {
    broker_scene_t *f;
    long before;
};

static bool
has_lost_replies(void *argument)
{
    struct lost *lost = argument;
    return broker_scene_number(lost->f, "replies_lost") > lost->before;
}

//  Its answers fill its pipe up to the high-water mark; the rest are lost, as to one that is gone.
static void
a_peer_that_does_not_read_its_answers_loses_them(void **state)
{
    enum { REQUESTS = 32 * TALLY_FRONT_FRAMES_MAX };
    static const char hello[] = {0, 12, 'T', 'Y', 1, TALLY_ADMIN, 0, 0, 0, 0, 0, 0, 0, 1};
    broker_scene_t *f = *state;
    pid_t broker = tally_instance_pid(f->instance, "tallyd");
    broker_scene_serves(f, BROKER_SCENE_MS);
    long lost = broker_scene_number(f, "replies_lost");
    int fd = greet_as_nobody(f);
    int few = 4096;    // of the kernel's
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &few, sizeof few), 0);
    long before_mib = resident_mib(broker);
    for (int i = 0; i < REQUESTS; i++) {
        assert_true(raw_zmtp_write(fd, hello, sizeof hello));
        if (i % 1000 == 0) {
            broker_scene_serves(f, 1000);
        }
    }
    assert_true(tally_wait_until(has_lost_replies, &(struct lost){f, lost}, 5000));
    assert_true(resident_mib(broker) - before_mib < 20);
    broker_scene_serves(f, 1000);
}

//  A frame's length is believed by nobody: beyond the limit the connection ends, and nothing is allocated.
static void
a_frame_that_says_it_is_a_gibibyte_ends_its_connection(void **state)
{
    broker_scene_t *f = *state;
    static const char gibibyte[] = {2, 0, 0, 0, 0, 0x40, 0, 0, 0};
    int fd = greet_as_nobody(f);
    assert_true(raw_zmtp_write(fd, gibibyte, sizeof gibibyte));
    hear_the_end(fd);
    broker_scene_serves(f, BROKER_SCENE_MS);
}

//  It may be the number that the front gives next: libzmq would abort.
static void
a_peer_that_brings_a_name_does_not_come_in(void **state)
{
    broker_scene_t *f = *state;
    static const char number[] = {0, 0x6b, 0x7b, 0x45, 0x67};
    broker_scene_serves(f, BROKER_SCENE_MS);
    long before = broker_scene_number(f, "connections_ended");
    hear_the_end(greet_as(f, number, sizeof number));
    hear_the_end(greet_as(f, "name", 4));
    assert_int_equal(broker_scene_number(f, "connections_ended"), before + 2);
    broker_scene_serves(f, BROKER_SCENE_MS);
}

//  ---- descriptors -------------------------------------------------------------------------------

static size_t
count_files(pid_t pid)
{
    char path[40];
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *folder = opendir(path);
    if (folder == NULL && geteuid() != 0) {
        print_message("only root may look into the broker\n");
        skip();
    }
    assert_non_null(folder);
    size_t count = 0;
    while (readdir(folder) != NULL) {
        count++;
    }
    closedir(folder);
    return count;
}

static bool
has_refused(void *argument)
{
    broker_scene_t *f = argument;
    return broker_scene_number(f, "connections_refused") > 0;
}

//  A lane needs descriptors, and so does whoever connects; both are refused or wait, and those who are there go on.
static void
without_descriptors_the_broker_serves_those_it_knows(void **state)
{
    broker_scene_t *f = *state;
    f->one = broker_scene_stranger(f);
    tally_stranger_hello(f->one);
    broker_scene_serves(f, BROKER_SCENE_MS);
    pid_t broker = tally_instance_pid(f->instance, "tallyd");
    struct rlimit before;
    assert_int_equal(prlimit(broker, RLIMIT_NOFILE, NULL, &before), 0);
    //  Four for whoever comes; the reserve is an eighth.
    size_t files = (count_files(broker) + 4) * 8 / 7;
    struct rlimit few = {.rlim_cur = files, .rlim_max = before.rlim_max};
    assert_int_equal(prlimit(broker, RLIMIT_NOFILE, &few, NULL), 0);
    f->limited = broker;
    f->limit = before;
    broker_scene_connect_silently(f, BROKER_SCENE_SILENT);
    assert_true(tally_wait_until(has_refused, f, 5000));
    const tally_hello_t hello = {.role = TALLY_ROLE_WORKER,
                                 .version_min = TALLY_WIRE_VERSION,
                                 .version_max = TALLY_WIRE_VERSION,
                                 .name = tally_bytes_of("stranger"),
                                 .credit = 1,
                                 .queue_count = 1,
                                 .queues = {tally_bytes_of("guards")}};
    //  None at all for its lane, whoever of the silent goes meanwhile.
    const struct rlimit none = {.rlim_cur = 3, .rlim_max = before.rlim_max};
    assert_int_equal(prlimit(broker, RLIMIT_NOFILE, &none, NULL), 0);
    tally_hello_write(&f->one->wire, 7, &hello);
    tally_stranger_say(f->one);
    tally_heard_t heard;
    assert_true(tally_stranger_hear(f->one, BROKER_SCENE_MS, &heard));
    assert_int_equal(heard.head.verb, TALLY_ERROR);
    assert_int_equal(prlimit(broker, RLIMIT_NOFILE, &few, NULL), 0);
    for (int i = 0; i < 20; i++) {
        broker_scene_serves(f, 1000);
    }
    broker_scene_close_connections(f);
    f->two = broker_scene_stranger(f);
    tally_stranger_hello(f->two);
    tally_stranger_destroy(&f->two);
    f->two = broker_scene_stranger(f);
    tally_stranger_join(f->two, "guards", 1);
    assert_int_equal(tally_instance_pid(f->instance, "tallyd"), broker);
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    zsys_handler_set(NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_multipart_that_never_ends_is_ended, broker_scene_undo),
        cmocka_unit_test_teardown(a_peer_that_does_not_read_its_answers_loses_them,
                                  broker_scene_undo),
        cmocka_unit_test_teardown(a_frame_that_says_it_is_a_gibibyte_ends_its_connection,
                                  broker_scene_undo),
        cmocka_unit_test_teardown(a_peer_that_brings_a_name_does_not_come_in, broker_scene_undo),
        cmocka_unit_test_teardown(without_descriptors_the_broker_serves_those_it_knows,
                                  broker_scene_undo),
    };
    return cmocka_run_group_tests(tests, broker_scene_set_up, broker_scene_tear_down);
}
