// SPDX-License-Identifier: MIT
//  limits - every bound of Tally, in one place.
//
//  Each is tested at the limit and one beyond.  The broker tells clients those that concern them in its
//  welcome, so a client in another language needs none of these numbers.  Sizes are bytes, times are
//  milliseconds; the unit stands last in the name.

#ifndef TALLY_LIMITS_H
#define TALLY_LIMITS_H

#ifdef NDEBUG
#error "Tally's assertions are part of its promises; build without NDEBUG"
#endif

//  Names and texts
#define TALLY_NAME_BYTES_MAX 64       // queue, tenant, worker: [a-z0-9._-], first a letter or digit
#define TALLY_KEY_BYTES_MAX 200       // ordering key, any bytes
#define TALLY_DEDUPE_BYTES_MAX 200    // dedupe key, any bytes
#define TALLY_TOPIC_BYTES_MAX 200     // libzmq 4.3.4 corrupts topics of 246 to 255 bytes
#define TALLY_TEXT_BYTES_MAX 1000     // error and reason texts; longer ones are cut, never refused
#define TALLY_ENDPOINT_BYTES_MAX 255

//  Bodies and frames
#define TALLY_BODY_INLINE_BYTES_MAX (64 * 1024)
#define TALLY_BLOB_BYTES_MAX                                                                       \
    (16 * 1024 * 1024 - 64 * 1024)    // a blob's frame stays below the frame limit
#define TALLY_FRAME_BYTES_MAX (16 * 1024 * 1024)
#define TALLY_BATCH_MESSAGES_MAX 1000    // messages per send, records' ids, messages per delivery
#define TALLY_RECORDS_MAX 1000           // records per sink frame
#define TALLY_ADMIN_BYTES_MAX (64 * 1024)
#define TALLY_WORKER_QUEUES_MAX 16    // queues that one worker may take

//  JSON that clients give (see lib/json.h)
#define TALLY_JSON_DEPTH_MAX 32
#define TALLY_JSON_KEYS_MAX 1024       // of one object
#define TALLY_JSON_VALUES_MAX 65536    // of one text
#define TALLY_JSON_KEY_BYTES_MAX 255
#define TALLY_JSON_STRING_BYTES_MAX (64 * 1024)    // without escapes, as UTF-8
#define TALLY_JSON_NUMBER_BYTES_MAX 100
#define TALLY_JSON_DIGITS_MAX 17    // from the first digit of a real that is not 0 to the last
#define TALLY_JSON_MAGNITUDE_MIN (-307)    // of a real, as a power of ten: smaller ones lose digits
#define TALLY_JSON_MAGNITUDE_MAX 308

//  Of texts that a worker keeps parsed at once; the values take up to 70 times as much.
#define TALLY_PARSED_BYTES_MAX (1024 * 1024)

//  Message options
#define TALLY_PRIORITY_LEVELS 4    // 0 lowest .. 3 highest
#define TALLY_PRIORITY_DEFAULT 1
#define TALLY_DELAY_MS_MAX (366LL * 24 * 3600 * 1000)

//  Flow
#define TALLY_SEND_WINDOW 1024    // sends of one sender that may be unconfirmed at once
#define TALLY_CREDIT_MAX 1000     // messages leased to one worker
//  What waits in front of a worker waits for that one alone, and again should it die: so no more leases than it ends in
//  this time, and two at least, that it need not wait for the broker.
#define TALLY_AHEAD_MS 100
#define TALLY_AHEAD_LEASES_MIN 2
#define TALLY_DELIVERY_BYTES_MAX (1024 * 1024)    // a delivery of more than one message stays below
#define TALLY_WORKERS_MAX 4096
#define TALLY_CLIENTS_MAX 65536    // senders known to the broker's memory
#define TALLY_TENANTS_MAX 100000
#define TALLY_QUEUES_MAX 1000
#define TALLY_FEEDS_MAX 1000    // sets of tenants with a feed of their own
#define TALLY_PLAN_MESSAGES_MAX                                                                    \
    1024    // messages in one tick; what comes more waits for the next, which starts sooner
//  libpq moves all that it could not send yet with every piece that it sends: twice as much costs four times as much.
#define TALLY_PLAN_BYTES_MAX (4 * 1024 * 1024)
#define TALLY_PLAN_SHARED_MESSAGES                                                                 \
    (TALLY_PLAN_MESSAGES_MAX / 16)    // of a tenant in a tick, by weight, when it has company
#define TALLY_PLAN_COMPANY_MS 1000    // so long after another tenant's send it has
#define TALLY_PLAN_PRESSED_MS 5000    // so long after it had to wait a tenant is no company

//  Times
#define TALLY_VISIBILITY_MS_MIN 100
#define TALLY_VISIBILITY_MS_DEFAULT 30000
#define TALLY_VISIBILITY_MS_MAX (12 * 3600 * 1000)
#define TALLY_BEAT_MS 500
#define TALLY_BEATS_MISSED_MAX 3
//  For workers of the broker before to be heard; they try to connect once a second at least (TALLY_RECONNECT_MS_MAX).
#define TALLY_ORPHANS_MS (TALLY_BEAT_MS * TALLY_BEATS_MISSED_MAX)
#define TALLY_PING_MS 60000
#define TALLY_PLACE_BEAT_MS 250        // the active broker speaks to PostgreSQL at least so often
#define TALLY_PLACE_SILENCE_MS 1000    // so long it does not: a standby takes over
#define TALLY_RETRY_BASE_MS 200        // first back-off; doubles with each failure, full jitter
#define TALLY_RETRY_MS_MAX (5 * 60 * 1000)
#define TALLY_RESULT_KEPT_MS (3600 * 1000)
#define TALLY_DEDUPE_KEPT_MS (24 * 3600 * 1000)

#define TALLY_SNAPSHOT_HELD_MS 60000    // so long held in PostgreSQL it is worth a warning
#define TALLY_TICK_MS_MAX                                                                          \
    10000    // a tick that PostgreSQL has not answered by then is looked up anew

//  Connections
#define TALLY_HANDSHAKE_MS 3000    // a connection that has not said who it is by then is closed
#define TALLY_HANDSHAKE_BYTES_MAX                                                                  \
    1024    // what both sides say before the first frame, CURVE or not
//  Who has connected and not proved yet who it is: so many at once, beyond that the oldest is ended; and so many a
//  second may fail, counted apart for addresses that somebody known came from.  Beyond, who connects is turned away.
#define TALLY_NEWCOMERS_MAX 1024
#define TALLY_NEWCOMERS_FAILED_PER_S 250
#define TALLY_NEWCOMERS_FAILED_BURST 1024
#define TALLY_HEARTBEAT_MS 2000             // libzmq's own PINGs, of subscribers
#define TALLY_HEARTBEAT_TIMEOUT_MS 10000    // a PING unanswered for so long ends the connection
#define TALLY_HEARTBEAT_TTL_MS                                                                     \
    15000    // the peer does so itself after this; 65600 overflows in libzmq
#define TALLY_KEEPALIVE_IDLE_S                                                                     \
    10    // of TCP: silence before the kernel asks whether the peer is there
#define TALLY_KEEPALIVE_INTERVAL_S 5
#define TALLY_KEEPALIVE_COUNT 3
#define TALLY_TCP_UNANSWERED_MS 10000    // bytes that TCP could not deliver for so long
#define TALLY_CONNECT_MS 5000
#define TALLY_RECONNECT_MS 50    // doubles up to the next
#define TALLY_RECONNECT_MS_MAX 1000
#define TALLY_BACKLOG 1024
#define TALLY_FRONT_FRAMES_MAX                                                                     \
    (TALLY_SEND_WINDOW + 64)    // of one peer, unread; who keeps to its window never waits

//  Of one connection, received since a frame of it was last taken by the broker: before the first, and then more than
//  libtally has in flight.
//  When all connections together have more than the third, those with more than two frames are ended.
#define TALLY_UNREAD_BYTES_FIRST_MAX (3 * TALLY_FRAME_BYTES_MAX)
#define TALLY_UNREAD_BYTES_MAX (288 * 1024 * 1024)
#define TALLY_UNREAD_BYTES_ALL_MAX (1024 * 1024 * 1024)

//  Sends that wait for a place in a plan, and their bytes; of one tenant as many as are free besides.
#define TALLY_WAITING_SENDS_MAX 8192
#define TALLY_WAITING_BYTES_MAX (64 * 1024 * 1024 + TALLY_FRAME_BYTES_MAX)

//  What one subscriber says as long as its connection lasts, see broker/subscriber.h; then it has to connect again.
//  When one goes, libzmq walks through all topics of its feed, and that feed waits.
#define TALLY_SUBSCRIPTIONS_MAX 1024
#define TALLY_SUBSCRIPTION_BYTES_MAX (16 * 1024)
#define TALLY_FEED_BYTES_MAX (256 * 1024)    // of all subscribers of one feed
#define TALLY_SUBSCRIBER_BEATS_MAX 16384     // frames no longer than a PING

//  Attempts
#define TALLY_FAILURES_MAX_DEFAULT 5    // the worker said so this often: buried
#define TALLY_CRASHES_MAX_DEFAULT 10    // alone in its lease and its worker died this often: buried

#endif
