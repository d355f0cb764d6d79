// SPDX-License-Identifier: MIT
//  feed - follows what the broker publishes, a line each.

#include "clients/cmd/call.h"
#include "clients/cmd/grid.h"
#include "clients/cmd/verbs.h"

#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/json.h"
#include "lib/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define FOR_MS_MAX (366LL * 24 * 3600 * 1000)
#define LOOK_MS 2000    // of silence, until the broker is asked where its feed is

static const tally_flag_t flags[] = {
    {"for", 0, "TIME", "stop after that long"},
    {"count", 'n', "N", "stop after so many"},
    TALLY_FLAGS_END,
};

static void
print_text(const tally_publication_t *publication)
{
    size_t room = 4 * publication->json_bytes + 8;
    char *line = tally_alloc(room);
    tally_log_escape(line, room, (tally_bytes_t){publication->json, publication->json_bytes});
    char topic[1024];
    tally_log_escape(topic, sizeof topic, tally_bytes_of(publication->topic));
    printf("%s  %s\n", topic, line);
    free(line);
}

static void
print_json(const tally_publication_t *publication)
{
    tally_bytes_t text = {publication->json, publication->json_bytes};
    json_t *object = json_pack("{s:s, s:I, s:o}", "topic", publication->topic, "lost",
                               (json_int_t)publication->lost, "body",
                               tally_json_load(text, TALLY_FRAME_BYTES_MAX, TALLY_JSON_MADE, NULL));
    tally_call_print_json(object);
    json_decref(object);
}

//  Nothing was published for a while.  Should another broker be active by now, its feed is elsewhere.
static void
look_for_broker(tally_client_t *client, tally_feed_t *feed)
{
    if (tally_client_admin(client, "{\"op\":\"limits\"}", LOOK_MS) != NULL) {
        (void)tally_feed_follow(feed, tally_client_feed_endpoint(client));
    }
}

static int
follow(const tally_call_t *call, tally_client_t *client, tally_feed_t *feed, int64_t until_ms,
       int64_t count)
{
    while (count > 0) {
        int64_t left_ms = until_ms - tally_clock_now_ms();
        if (left_ms <= 0) {
            return TALLY_EXIT_OK;
        }
        tally_publication_t publication;
        errno = 0;
        if (tally_feed_next(feed, left_ms < LOOK_MS ? (int)left_ms : LOOK_MS, &publication) == -1) {
            if (errno != EINTR) {
                look_for_broker(client, feed);
            }
            continue;
        }
        if (tally_call_wants_json(call)) {
            print_json(&publication);
        } else {
            if (publication.lost > 0) {
                fprintf(stderr, "tally: missed %" PRIu64 " of %s\n", publication.lost,
                        publication.topic);
            }
            print_text(&publication);
        }
        if (fflush(stdout) != 0) {
            return TALLY_EXIT_NO;    // whoever read us has gone
        }
        count--;
    }
    return TALLY_EXIT_OK;
}

static int
run_feed(tally_call_t *call)
{
    int64_t for_ms;
    int64_t count;
    if (tally_call_duration(call, "for", FOR_MS_MAX, FOR_MS_MAX, &for_ms) == -1
        || tally_call_number(call, "count", 1, INT64_MAX, INT64_MAX, &count) == -1) {
        return TALLY_EXIT_USAGE;
    }
    int code = 0;
    tally_client_t *client = tally_call_client(call, &code);
    if (client == NULL) {
        return code;
    }
    const char *endpoint = tally_client_feed_endpoint(client);
    tally_feed_t *feed = tally_client_open_feed(client);
    if (feed == NULL) {
        return tally_call_fail(call, TALLY_EXIT_UNAVAILABLE, "the broker has no feed (\"%s\")",
                               endpoint);
    }
    const char *topic = tally_call_argument_count(call) > 0 ? tally_call_argument(call, 0) : "";
    if (tally_feed_subscribe(feed, topic) == -1) {
        code = tally_call_fail_usage(call, "a topic has at most 200 bytes");
    } else {
        code = follow(call, client, feed, tally_clock_now_ms() + for_ms, count);
    }
    tally_feed_destroy(&feed);
    return code;
}

const tally_command_t tally_verb_feed = {
    .name = "feed",
    .section = "LOOK",
    .arguments = "[TOPIC]",
    .summary = "what the broker publishes, as it happens",
    .flags = flags,
    .arguments_max = 1,
    .run = run_feed,
    .examples = "  tally feed                      all there is\n"
                "  tally feed queue.responses      one queue, a snapshot a second\n"
                "  tally feed term. --json         elections\n",
};
