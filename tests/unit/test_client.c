// SPDX-License-Identifier: MIT
//  client: what libtally promises of a send, against a front that confirms, refuses, loses and
//  forgets.

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "clients/tally.h"
#include "lib/alloc.h"
#include "lib/clock.h"
#include "tests/unit/fake_front.h"

#define WAIT_MS 5000    // for what must happen
#define SILENCE_MS 100

struct fixture {
    char dir[64];
    fake_front_t front;
    tally_client_t *client;
};

static int
setup(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    snprintf(f->dir, sizeof f->dir, "/tmp/tally-client-XXXXXX");
    if (mkdtemp(f->dir) == NULL) {
        return -1;
    }
    fake_front_init(&f->front, f->dir, "front");
    fake_front_start(&f->front);
    f->client = tally_client_new(f->front.endpoint);
    tally_client_set_silence(f->client, SILENCE_MS);
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    tally_client_destroy(&f->client);
    fake_front_stop(&f->front);
    unlink(f->front.endpoint + strlen("ipc://"));
    rmdir(f->dir);
    free(f);
    return 0;
}

static const tally_message_t hello = {.body = "hello", .body_bytes = 5};

static uint64_t
send_one(struct fixture *f)
{
    uint64_t sequence = 0;
    int rc = tally_client_send(f->client, "mail", "acme", &hello, 1, WAIT_MS, &sequence);
    assert_int_equal(rc, 0);
    return sequence;
}

static tally_event_t
take_event(struct fixture *f, tally_event_kind_t kind)
{
    tally_event_t event = {0};
    int rc = tally_client_next(f->client, WAIT_MS, &event);
    assert_int_equal(rc, 0);
    assert_int_equal(event.kind, kind);
    return event;
}

//  ---- confirms ----------------------------------------------------------------------------------

static void
a_send_is_confirmed_with_the_ids_of_its_messages(void **state)
{
    struct fixture *f = *state;
    tally_message_t three[] = {hello, hello, hello};
    tally_event_t event;
    int rc = tally_client_send_wait(f->client, "mail", "acme", three, 3, WAIT_MS, &event);
    assert_int_equal(rc, 0);
    assert_int_equal(event.kind, TALLY_EVENT_CONFIRMED);
    assert_int_equal(event.count, 3);
    assert_false(event.repeated);
    assert_int_equal(event.ids[0], event.sequence * 10000);
    assert_int_equal(event.ids[2], event.sequence * 10000 + 2);
    assert_int_equal(tally_client_unconfirmed(f->client), 0);
}

static void
sends_are_numbered_on_from_what_the_broker_has(void **state)
{
    struct fixture *f = *state;
    atomic_store(&f->front.last_sequence, 41);
    assert_int_equal(send_one(f), 42);
    assert_int_equal(send_one(f), 43);
}

static void
a_program_that_comes_back_repeats_under_the_same_numbers(void **state)
{
    struct fixture *f = *state;
    uint8_t sender[TALLY_CLIENT_SENDER_BYTES] = "comes back";
    tally_client_set_sender(f->client, sender);
    assert_int_equal(send_one(f), 1);
    assert_int_equal(send_one(f), 2);
    assert_int_equal(tally_client_flush(f->client, WAIT_MS), 0);
    atomic_store(&f->front.last_sequence, 2);
    tally_client_destroy(&f->client);

    f->client = tally_client_new(f->front.endpoint);
    tally_client_set_sender(f->client, sender);
    tally_client_set_first(f->client, 2);
    assert_int_equal(send_one(f), 2);
    assert_true(take_event(f, TALLY_EVENT_CONFIRMED).repeated);
    assert_int_equal(send_one(f), 3);
    assert_false(take_event(f, TALLY_EVENT_CONFIRMED).repeated);
    assert_int_equal(atomic_load(&f->front.stored[2]), 1);
}

static void
many_sends_are_each_confirmed_once_and_in_order(void **state)
{
    struct fixture *f = *state;
    const uint64_t count = 1000;
    uint64_t sent = 0;
    for (uint64_t confirmed = 1; confirmed <= count; confirmed++) {
        while (sent < count && tally_client_unconfirmed(f->client) < 100) {
            send_one(f);
            sent++;
        }
        assert_int_equal(take_event(f, TALLY_EVENT_CONFIRMED).sequence, confirmed);
    }
    tally_event_t event;
    assert_int_equal(tally_client_next(f->client, 0, &event), -1);
    assert_int_equal(tally_client_code(f->client), TALLY_CODE_TIMEOUT);
}

static void
wait_takes_the_event_of_its_send_and_leaves_the_others(void **state)
{
    struct fixture *f = *state;
    uint64_t first = send_one(f);
    uint64_t second = send_one(f);
    tally_event_t event;
    assert_int_equal(tally_client_wait(f->client, second, WAIT_MS, &event), 0);
    assert_int_equal(event.sequence, second);
    assert_int_equal(take_event(f, TALLY_EVENT_CONFIRMED).sequence, first);
    assert_int_equal(tally_client_wait(f->client, second, WAIT_MS, &event), -1);
    assert_int_equal(tally_client_code(f->client), TALLY_CODE_UNKNOWN);
}

static void
flush_waits_until_nothing_is_unconfirmed(void **state)
{
    struct fixture *f = *state;
    send_one(f);
    send_one(f);
    assert_int_equal(tally_client_flush(f->client, WAIT_MS), 0);
    assert_int_equal(tally_client_unconfirmed(f->client), 0);
    take_event(f, TALLY_EVENT_CONFIRMED);
    take_event(f, TALLY_EVENT_CONFIRMED);
}

//  ---- refusals ----------------------------------------------------------------------------------

static void
a_refused_send_is_an_event_with_its_reason(void **state)
{
    struct fixture *f = *state;
    atomic_store(&f->front.refuse_code, TALLY_E_UNKNOWN);
    atomic_store(&f->front.refuse, 1);
    tally_event_t event;
    assert_int_equal(tally_client_send_wait(f->client, "mail", "acme", &hello, 1, WAIT_MS, &event),
                     -1);
    assert_int_equal(tally_client_code(f->client), TALLY_CODE_UNKNOWN);
    assert_string_equal(tally_client_text(f->client), "as the test says");
    assert_int_equal(event.kind, TALLY_EVENT_REFUSED);
    assert_string_equal(event.text, "as the test says");
    assert_int_equal(tally_client_unconfirmed(f->client), 0);
    assert_int_equal(tally_client_send_wait(f->client, "mail", "acme", &hello, 1, WAIT_MS, NULL),
                     0);
}

static void
a_busy_broker_is_asked_again_under_the_same_number(void **state)
{
    struct fixture *f = *state;
    atomic_store(&f->front.refuse_code, TALLY_E_BUSY);
    atomic_store(&f->front.refuse, 3);
    uint64_t sequence = send_one(f);
    assert_int_equal(tally_client_wait(f->client, sequence, WAIT_MS, NULL), 0);
    assert_int_equal(atomic_load(&f->front.sends), 4);
    assert_int_equal(f->front.order[3], sequence);
}

//  The broker sends all of them away for the same time; they were sent in their order, and do not come back in it.
static void
those_who_were_refused_together_do_not_come_back_together(void **state)
{
    enum { SENDS = 200, REFUSED_MS = 300 };
    struct fixture *f = *state;
    tally_client_set_silence(f->client, WAIT_MS);    // nothing is repeated but by the refusal
    atomic_store(&f->front.refuse_code, TALLY_E_BUSY);
    atomic_store(&f->front.refuse_for_ms, REFUSED_MS);
    atomic_store(&f->front.refuse, SENDS);
    for (int i = 0; i < SENDS; i++) {
        send_one(f);
    }
    assert_int_equal(tally_client_flush(f->client, WAIT_MS), 0);
    assert_int_equal(atomic_load(&f->front.sends), 2 * SENDS);
    int turns_back = 0;
    for (int i = SENDS + 1; i < 2 * SENDS; i++) {
        turns_back += f->front.order[i] < f->front.order[i - 1];
    }
    assert_true(turns_back >= 5);
}

static void
a_busy_broker_is_an_event_when_told_not_to_retry(void **state)
{
    struct fixture *f = *state;
    tally_client_set_retry(f->client, false);
    atomic_store(&f->front.refuse_code, TALLY_E_BUSY);
    atomic_store(&f->front.refuse, 1);
    send_one(f);
    tally_event_t event = take_event(f, TALLY_EVENT_REFUSED);
    assert_int_equal(event.code, TALLY_CODE_BUSY);
    assert_int_equal(event.retry_after_ms, 20);
}

static void
the_reason_for_waiting_is_told_when_the_time_is_over(void **state)
{
    struct fixture *f = *state;
    atomic_store(&f->front.refuse_code, TALLY_E_AWAY);
    atomic_store(&f->front.refuse, 1000000);
    assert_int_equal(tally_client_send_wait(f->client, "mail", "acme", &hello, 1, 200, NULL), -1);
    assert_int_equal(tally_client_code(f->client), TALLY_CODE_AWAY);
    assert_int_equal(tally_client_retry_after_ms(f->client), 20);
}

static void
what_breaks_a_limit_is_refused_before_it_is_sent(void **state)
{
    struct fixture *f = *state;
    static char large[TALLY_BODY_INLINE_BYTES_MAX + 1];
    tally_message_t message = {.body = large, .body_bytes = TALLY_BODY_INLINE_BYTES_MAX};
    assert_int_equal(tally_client_send_wait(f->client, "mail", "acme", &message, 1, WAIT_MS, NULL),
                     0);
    message.body_bytes++;
    assert_int_equal(tally_client_send_wait(f->client, "mail", "acme", &message, 1, WAIT_MS, NULL),
                     -1);
    assert_int_equal(tally_client_code(f->client), TALLY_CODE_LIMIT);
    message.flags = TALLY_MESSAGE_BLOB;
    assert_int_equal(tally_client_send_wait(f->client, "mail", "acme", &message, 1, WAIT_MS, NULL),
                     0);
    assert_int_equal(tally_client_send_wait(f->client, "Mail", "acme", &hello, 1, WAIT_MS, NULL),
                     -1);
    assert_int_equal(tally_client_code(f->client), TALLY_CODE_NAME);
    message = hello;
    message.flags = TALLY_MESSAGE_PRIORITY;
    message.priority = 256;
    assert_int_equal(tally_client_send_wait(f->client, "mail", "acme", &message, 1, WAIT_MS, NULL),
                     -1);
    assert_int_equal(tally_client_code(f->client), TALLY_CODE_OPTION);
    assert_int_equal(tally_client_send_wait(f->client, "mail", "acme", &hello, 0, WAIT_MS, NULL),
                     -1);
    assert_int_equal(tally_client_code(f->client), TALLY_CODE_LIMIT);
    assert_int_equal(atomic_load(&f->front.sends), 2);
}

static void
the_window_is_a_limit_and_events_make_room(void **state)
{
    struct fixture *f = *state;
    tally_client_set_window(f->client, 4);
    atomic_store(&f->front.mute, true);
    uint64_t sequence;
    assert_int_equal(tally_client_connect(f->client, 0), -1);
    atomic_store(&f->front.mute, false);
    assert_int_equal(tally_client_connect(f->client, WAIT_MS), 0);
    atomic_store(&f->front.swallow, 4);
    for (int i = 0; i < 4; i++) {
        send_one(f);
    }
    assert_int_equal(tally_client_send(f->client, "mail", "acme", &hello, 1, WAIT_MS, &sequence),
                     -1);
    assert_int_equal(tally_client_code(f->client), TALLY_CODE_WINDOW);
    assert_int_equal(take_event(f, TALLY_EVENT_CONFIRMED).sequence, 1);
    assert_int_equal(send_one(f), 5);
}

//  ---- lost connections --------------------------------------------------------------------------

static void
what_is_not_confirmed_is_repeated_in_order_over_a_new_connection(void **state)
{
    struct fixture *f = *state;
    atomic_store(&f->front.swallow, 3);
    for (int i = 0; i < 3; i++) {
        send_one(f);
    }
    for (uint64_t i = 1; i <= 3; i++) {
        assert_int_equal(take_event(f, TALLY_EVENT_CONFIRMED).sequence, i);
        assert_int_equal(atomic_load(&f->front.stored[i]), 1);
    }
    assert_int_equal(f->front.order[3], 1);
    assert_int_equal(f->front.order[4], 2);
    assert_int_equal(f->front.order[5], 3);
    assert_int_equal(atomic_load(&f->front.hellos), 2);
    assert_memory_equal(f->front.sender, tally_client_sender(f->client), TALLY_SENDER_BYTES);
    assert_int_equal(tally_client_reconnects(f->client), 1);
}

static void
a_loop_of_ones_own_waits_on_the_descriptor(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(tally_client_wait(f->client, send_one(f), WAIT_MS, NULL), 0);
    for (uint64_t sequence = 2; sequence < 50; sequence++) {
        assert_int_equal(send_one(f), sequence);
        tally_event_t event;
        while (tally_client_next(f->client, 0, &event) == -1) {
            assert_int_equal(tally_client_code(f->client), TALLY_CODE_TIMEOUT);
            struct pollfd item = {.fd = tally_client_fd(f->client), .events = POLLIN};
            assert_int_equal(poll(&item, 1, WAIT_MS), 1);
        }
        assert_int_equal(event.sequence, sequence);
    }
}

static void
a_lost_confirm_comes_as_repeated_and_is_stored_once(void **state)
{
    struct fixture *f = *state;
    atomic_store(&f->front.lose_confirms, 1);
    uint64_t sequence = send_one(f);
    tally_event_t event = take_event(f, TALLY_EVENT_CONFIRMED);
    assert_true(event.repeated);
    assert_null(event.ids);
    assert_int_equal(event.count, 1);
    assert_int_equal(atomic_load(&f->front.stored[sequence]), 1);
}

static void
a_confirm_lost_alone_is_asked_for_while_others_come(void **state)
{
    struct fixture *f = *state;
    atomic_store(&f->front.lose_confirms, 1);
    uint64_t lost = send_one(f);
    int64_t until_ms = tally_clock_now_ms() + WAIT_MS;
    bool found = false;
    while (!found && tally_clock_now_ms() < until_ms) {
        assert_int_equal(tally_client_wait(f->client, send_one(f), WAIT_MS, NULL), 0);
        tally_event_t event;
        found = tally_client_next(f->client, SILENCE_MS / 10, &event) == 0;
        assert_true(!found || event.sequence == lost);
    }
    assert_true(found);
    assert_int_equal(tally_client_reconnects(f->client), 0);
    assert_int_equal(atomic_load(&f->front.stored[lost]), 1);
}

static void
a_restarted_broker_is_greeted_and_told_again(void **state)
{
    struct fixture *f = *state;
    uint64_t first = send_one(f);
    assert_int_equal(tally_client_wait(f->client, first, WAIT_MS, NULL), 0);
    fake_front_stop(&f->front);
    uint64_t second = send_one(f);
    atomic_store(&f->front.epoch, 2);
    fake_front_start(&f->front);
    assert_int_equal(tally_client_wait(f->client, second, WAIT_MS, NULL), 0);
    assert_int_equal(atomic_load(&f->front.stored[second]), 1);
    assert_int_equal(tally_client_broker_epoch(f->client), 2);
}

static void
a_front_that_forgot_us_is_greeted_once_over_the_same_connection(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(tally_client_connect(f->client, WAIT_MS), 0);
    tally_client_set_silence(f->client, 10 * WAIT_MS);
    atomic_store(&f->front.forget, 1);
    for (int i = 0; i < 5; i++) {
        send_one(f);
    }
    for (uint64_t i = 1; i <= 5; i++) {
        assert_int_equal(take_event(f, TALLY_EVENT_CONFIRMED).sequence, i);
    }
    assert_int_equal(atomic_load(&f->front.hellos), 2);
}

static void
endpoints_are_tried_in_turn(void **state)
{
    struct fixture *f = *state;
    tally_client_destroy(&f->client);
    char *both = tally_format("ipc://%s/nobody, %s", f->dir, f->front.endpoint);
    f->client = tally_client_new(both);
    free(both);
    tally_client_set_silence(f->client, SILENCE_MS);
    assert_int_equal(tally_client_send_wait(f->client, "mail", "acme", &hello, 1, WAIT_MS, NULL),
                     0);
}

static void
nobody_there_is_unreachable_in_time(void **state)
{
    struct fixture *f = *state;
    fake_front_stop(&f->front);
    int64_t begin_ms = tally_clock_now_ms();
    assert_int_equal(tally_client_connect(f->client, 250), -1);
    assert_int_equal(tally_client_code(f->client), TALLY_CODE_UNREACHABLE);
    assert_in_range(tally_clock_now_ms() - begin_ms, 250, 250 + WAIT_MS);
}

static void
what_is_not_an_endpoint_is_said_at_once(void **state)
{
    struct fixture *f = *state;
    tally_client_destroy(&f->client);
    f->client = tally_client_new("localhost:5770");
    assert_int_equal(tally_client_connect(f->client, -1), -1);
    assert_int_equal(tally_client_code(f->client), TALLY_CODE_ENDPOINT);
}

static void
a_refused_hello_is_told_and_one_for_now_is_tried_again(void **state)
{
    struct fixture *f = *state;
    atomic_store(&f->front.refuse_code, TALLY_E_REFUSED);
    atomic_store(&f->front.refuse_hellos, 1);
    assert_int_equal(tally_client_connect(f->client, WAIT_MS), -1);
    assert_int_equal(tally_client_code(f->client), TALLY_CODE_REFUSED);
    atomic_store(&f->front.refuse_code, TALLY_E_AWAY);
    atomic_store(&f->front.refuse_hellos, 2);
    assert_int_equal(tally_client_connect(f->client, WAIT_MS), 0);
    assert_int_equal(atomic_load(&f->front.hellos), 4);
}

static void
a_deadline_leaves_the_send_on_its_way(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(tally_client_connect(f->client, WAIT_MS), 0);
    atomic_store(&f->front.swallow, 1);
    uint64_t sequence = send_one(f);
    assert_int_equal(tally_client_wait(f->client, sequence, 20, NULL), -1);
    assert_int_equal(tally_client_code(f->client), TALLY_CODE_TIMEOUT);
    assert_int_equal(tally_client_wait(f->client, sequence, WAIT_MS, NULL), 0);
}

static void
a_forgotten_send_has_no_event(void **state)
{
    struct fixture *f = *state;
    uint64_t first = send_one(f);
    uint64_t second = send_one(f);
    tally_client_forget(f->client, first);
    assert_int_equal(take_event(f, TALLY_EVENT_CONFIRMED).sequence, second);
    tally_event_t event;
    assert_int_equal(tally_client_next(f->client, 50, &event), -1);
}

//  ---- asks --------------------------------------------------------------------------------------

static void
an_ask_waits_for_its_result(void **state)
{
    struct fixture *f = *state;
    tally_event_t event;
    assert_int_equal(tally_client_ask(f->client, "mail", "acme", &hello, WAIT_MS, &event), 0);
    assert_int_equal(event.kind, TALLY_EVENT_RESULT);
    assert_int_equal(event.outcome, TALLY_OUTCOME_DONE);
    assert_int_equal(event.body_bytes, strlen("result of 1"));
    assert_memory_equal(event.body, "result of 1", event.body_bytes);
    assert_int_equal(tally_client_unanswered(f->client), 0);
}

static void
an_ask_survives_a_restart_of_the_broker(void **state)
{
    struct fixture *f = *state;
    atomic_store(&f->front.hold_results, true);
    tally_message_t ask = {.body = "?", .body_bytes = 1, .flags = TALLY_MESSAGE_ASK};
    uint64_t sequence;
    assert_int_equal(tally_client_send(f->client, "mail", "acme", &ask, 1, WAIT_MS, &sequence), 0);
    assert_int_equal(take_event(f, TALLY_EVENT_CONFIRMED).sequence, sequence);
    assert_int_equal(tally_client_unanswered(f->client), 1);
    fake_front_stop(&f->front);
    atomic_store(&f->front.asked, 0);
    atomic_store(&f->front.epoch, 2);
    atomic_store(&f->front.hold_results, false);
    fake_front_start(&f->front);
    //  Nothing is unconfirmed; that the broker went away shows only because the client asks for a
    //  sign.
    tally_event_t event = take_event(f, TALLY_EVENT_RESULT);
    assert_int_equal(event.sequence, sequence);
    assert_int_equal(atomic_load(&f->front.stored[sequence]), 1);
}

static void
a_result_that_comes_twice_is_given_once(void **state)
{
    struct fixture *f = *state;
    atomic_store(&f->front.lose_confirms, 1);
    tally_message_t ask = {.body = "?", .body_bytes = 1, .flags = TALLY_MESSAGE_ASK};
    assert_int_equal(tally_client_send(f->client, "mail", "acme", &ask, 1, WAIT_MS, NULL), 0);
    bool confirmed = false;
    bool answered = false;
    while (!confirmed || !answered) {
        tally_event_t event;
        assert_int_equal(tally_client_next(f->client, WAIT_MS, &event), 0);
        bool *seen = event.kind == TALLY_EVENT_RESULT ? &answered : &confirmed;
        assert_false(*seen);
        *seen = true;
    }
    tally_event_t event;
    assert_int_equal(tally_client_next(f->client, 50, &event), -1);
}

static void
an_ask_dropped_as_a_duplicate_does_not_wait(void **state)
{
    struct fixture *f = *state;
    atomic_store(&f->front.drop_duplicates, true);
    tally_message_t ask = hello;
    ask.dedupe = "d";
    ask.dedupe_bytes = 1;
    tally_event_t event;
    assert_int_equal(tally_client_ask(f->client, "mail", "acme", &ask, -1, &event), -1);
    assert_int_equal(tally_client_code(f->client), TALLY_CODE_REFUSED);
    assert_int_equal(tally_client_unanswered(f->client), 0);
}

static void
an_ask_without_result_ends_at_its_deadline(void **state)
{
    struct fixture *f = *state;
    atomic_store(&f->front.hold_results, true);
    tally_event_t event;
    //  Longer than the silence: a broker that answers probes is not given up.
    assert_int_equal(tally_client_ask(f->client, "mail", "acme", &hello, 4 * SILENCE_MS, &event),
                     -1);
    assert_int_equal(tally_client_code(f->client), TALLY_CODE_TIMEOUT);
    assert_int_equal(tally_client_unanswered(f->client), 0);
    assert_int_equal(tally_client_reconnects(f->client), 0);
    assert_true(atomic_load(&f->front.hellos) >= 2);
}

//  ---- admin -------------------------------------------------------------------------------------

static void
an_admin_request_has_its_reply(void **state)
{
    struct fixture *f = *state;
    const char *reply = tally_client_admin(f->client, "{\"op\":\"status\"}", WAIT_MS);
    assert_non_null(reply);
    assert_string_equal(reply, "{\"op\":\"status\"}");
}

static void
an_admin_request_is_repeated_to_a_restarted_broker(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(tally_client_connect(f->client, WAIT_MS), 0);
    fake_front_stop(&f->front);
    fake_front_start(&f->front);
    assert_non_null(tally_client_admin(f->client, "{\"op\":\"status\"}", WAIT_MS));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        TEST(a_send_is_confirmed_with_the_ids_of_its_messages),
        TEST(sends_are_numbered_on_from_what_the_broker_has),
        TEST(a_program_that_comes_back_repeats_under_the_same_numbers),
        TEST(many_sends_are_each_confirmed_once_and_in_order),
        TEST(wait_takes_the_event_of_its_send_and_leaves_the_others),
        TEST(flush_waits_until_nothing_is_unconfirmed),
        TEST(a_refused_send_is_an_event_with_its_reason),
        TEST(a_busy_broker_is_asked_again_under_the_same_number),
        TEST(those_who_were_refused_together_do_not_come_back_together),
        TEST(a_busy_broker_is_an_event_when_told_not_to_retry),
        TEST(the_reason_for_waiting_is_told_when_the_time_is_over),
        TEST(what_breaks_a_limit_is_refused_before_it_is_sent),
        TEST(the_window_is_a_limit_and_events_make_room),
        TEST(what_is_not_confirmed_is_repeated_in_order_over_a_new_connection),
        TEST(a_loop_of_ones_own_waits_on_the_descriptor),
        TEST(a_lost_confirm_comes_as_repeated_and_is_stored_once),
        TEST(a_confirm_lost_alone_is_asked_for_while_others_come),
        TEST(a_restarted_broker_is_greeted_and_told_again),
        TEST(a_front_that_forgot_us_is_greeted_once_over_the_same_connection),
        TEST(endpoints_are_tried_in_turn),
        TEST(nobody_there_is_unreachable_in_time),
        TEST(what_is_not_an_endpoint_is_said_at_once),
        TEST(a_refused_hello_is_told_and_one_for_now_is_tried_again),
        TEST(a_deadline_leaves_the_send_on_its_way),
        TEST(a_forgotten_send_has_no_event),
        TEST(an_ask_waits_for_its_result),
        TEST(an_ask_survives_a_restart_of_the_broker),
        TEST(a_result_that_comes_twice_is_given_once),
        TEST(an_ask_dropped_as_a_duplicate_does_not_wait),
        TEST(an_ask_without_result_ends_at_its_deadline),
        TEST(an_admin_request_has_its_reply),
        TEST(an_admin_request_is_repeated_to_a_restarted_broker),
    };
    return cmocka_run_group_tests_name("client", tests, NULL, NULL);
}
