// SPDX-License-Identifier: MIT
//  loop - one turn after another: hear, tick, tell.
//
//  epoll over libzmq's descriptors, which are edge-triggered (zmq_getsockopt(3), ZMQ_FD): so every turn looks at
//  front, sink and reader themselves, whatever woke it.  Lanes' monitors are looked at when their descriptor says so.
//  Nothing here blocks but epoll_wait; each turn takes a bounded number of frames, so that no socket starves another.

#include <assert.h>
#include <errno.h>
#include <sys/epoll.h>

#include "broker/broker.h"
#include "lib/clock.h"
#include "lib/failpoint.h"
#include "lib/log.h"

#define FRAMES_PER_TURN 256
#define EVENTS_PER_TURN 64
#define SNAPSHOT_MS 1000       // from the end of one round to the next
#define SNAPSHOT_STEP_MS 10    // within a round
#define INBOX_POLL_MS 1000     // notes tell at once; this is for senders that are no workers
#define HOUSEKEEP_MS 1000

void
tally_broker_watch(tally_broker_t *self, int fd, void *what)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = what};
    int rc = epoll_ctl(self->epoll, EPOLL_CTL_ADD, fd, &event);
    assert(rc == 0 || errno == EEXIST);
}

void
tally_broker_unwatch(tally_broker_t *self, int fd)
{
    epoll_ctl(self->epoll, EPOLL_CTL_DEL, fd, NULL);    // gone already: as good
}

void
tally_broker_keep_send(tally_broker_t *self, const uint8_t *sender, tally_chunk_t *chunk)
{
    tally_input_t *input = TALLY_PUSH(&self->collecting);
    *input = (tally_input_t){.is_send = true, .chunk = tally_chunk_hold(chunk)};
    memcpy(input->sender, sender, TALLY_SENDER_BYTES);
}

void
tally_broker_keep_records(tally_broker_t *self, bool ends, tally_chunk_t *chunk)
{
    *TALLY_PUSH(&self->collecting) = (tally_input_t){.ends = ends,
                                                     .chunk = tally_chunk_hold(chunk)};
}

void
tally_inputs_clear(tally_inputs_t *inputs, size_t from)
{
    for (size_t i = from; i < inputs->count; i++) {
        tally_chunk_drop(&inputs->items[i].chunk);
    }
    inputs->count = 0;
}

//  What was collected goes with the plan that was just sealed.
static void
swap_inputs(tally_broker_t *self)
{
    tally_inputs_t inputs = self->under_way;
    self->under_way = self->collecting;
    self->collecting = inputs;
    tally_asked_list_t asked = self->asked_under_way;
    self->asked_under_way = self->asked_collecting;
    self->asked_collecting = asked;
    assert(self->collecting.count == 0 && self->asked_collecting.count == 0);
    self->lobby_moves = true;
}

//  The tick's inputs are done with, but for records that left something to a later plan.
static void
forget_inputs(tally_broker_t *self)
{
    if (!tally_core_owes(self->core)) {
        tally_inputs_clear(&self->owed, 0);
        tally_inputs_clear(&self->under_way, 0);
        return;
    }
    tally_inputs_t *owed = &self->owed;
    size_t kept = 0;
    for (size_t i = 0; i < owed->count; i++) {
        if (tally_sink_awaits(self, owed->items[i].chunk)) {
            owed->items[kept++] = owed->items[i];
        } else {
            tally_chunk_drop(&owed->items[i].chunk);
        }
    }
    owed->count = kept;
    for (size_t i = 0; i < self->under_way.count; i++) {
        const tally_input_t *input = &self->under_way.items[i];
        if (input->ends && tally_sink_awaits(self, input->chunk)) {
            tally_input_t *moved = TALLY_PUSH(owed);
            *moved = *input;
            tally_chunk_hold(moved->chunk);
        }
    }
    tally_inputs_clear(&self->under_way, 0);
}

static void
finish_tick(tally_broker_t *self, const tally_tick_result_t *result)
{
    tally_plan_t *plan = self->plan;
    self->plan = NULL;
    TALLY_FAILPOINT(TICK_COMMITTED);
    tally_core_commit(self->core, plan, result, self->now_ms);
    tally_publish(self, plan);
    tally_admin_committed(self, result);
    TALLY_FAILPOINT(TICK_TOLD);
    tally_core_published(self->core, &plan);
    forget_inputs(self);
    self->lobby_moves = true;     // who owes may go while nothing is under way
    self->feed_again_max *= 2;    // 0, all of them, stays 0
    self->reconnect_attempt = 0;
}

//  The phase of the tick that is going on ends here, and the next begins.
static void
pass_phase(tally_broker_t *self, tally_meter_series_t phase)
{
    int64_t now_ns = tally_clock_now_ns();
    tally_meter_add(self->meter, phase, (uint64_t)(now_ns - self->passed_ns));
    self->passed_ns = now_ns;
}

static void
start_tick(tally_broker_t *self)
{
    self->tick_since_ms = self->now_ms;
    tally_meter_seal(self->meter);
    self->passed_ns = tally_clock_now_ns();
    self->plan = tally_core_seal(self->core, self->now_ms);
    if (self->plan == NULL) {
        return;
    }
    self->plan_since_ms = self->now_ms;
    swap_inputs(self);
    if (tally_plan_silent(self->plan)) {
        self->counters.silent++;
        finish_tick(self, NULL);
        return;
    }
    pass_phase(self, TALLY_METER_PLAN);
    TALLY_FAILPOINT(PLAN_SEALED);
    tally_tick_store_start(self->ticks, self->epoch, self->plan);
    pass_phase(self, TALLY_METER_ENCODE);
}

static void
end_tick(tally_broker_t *self, const tally_tick_result_t *result)
{
    pass_phase(self, TALLY_METER_DATABASE);
    tally_meter_add(self->meter, TALLY_METER_MESSAGES, self->plan->messages.count);
    tally_meter_add(self->meter, TALLY_METER_LEASES, self->plan->leases.count);
    finish_tick(self, result);
    pass_phase(self, TALLY_METER_PUBLISH);
    tally_meter_finish(self->meter, self->passed_ns);
}

//  True when a plan was sealed or ended: there is room for frames again.
static bool
turn_tick(tally_broker_t *self)
{
    bool moved = false;
    tally_db_outcome_t outcome;
    const tally_tick_result_t *result = NULL;
    if (self->plan != NULL && tally_tick_store_advance(self->ticks, &outcome, &result)) {
        if (outcome == TALLY_DB_DONE) {
            end_tick(self, result);
            if (!tally_tick_store_connected(self->ticks)) {
                tally_recovery_cut(self);    // behind the answer to the sync
                return true;
            }
        } else {
            tally_recovery_lost(self, outcome);
            return true;
        }
        moved = true;
    } else if (self->plan != NULL && self->now_ms - self->plan_since_ms > TALLY_TICK_MS_MAX) {
        tally_tick_store_give_up(
            self->ticks);    // nobody hears anything as long as it is under way
        tally_recovery_lost(self, TALLY_DB_UNKNOWN);
        return true;
    }
    if (self->plan == NULL && !tally_tick_store_connected(self->ticks)) {
        tally_recovery_cut(self);    // behind the last sync
        return true;
    }
    if (self->plan == NULL && tally_core_next_ms(self->core, self->now_ms) <= self->now_ms) {
        if (self->now_ms - self->listened_ms > TALLY_BEAT_MS) {
            tally_core_pardon(self->core, self->now_ms);
        }
        start_tick(self);
        moved = true;
    }
    return moved;
}

//  Watches the tick's connection, for writing as well while something waits to be written.
static void
watch_ticks(tally_broker_t *self)
{
    int fd = tally_tick_store_fd(self->ticks);
    if (fd == -1) {
        return;
    }
    bool writing = tally_tick_store_wants_write(self->ticks);
    struct epoll_event event = {.events = writing ? EPOLLIN | EPOLLOUT : EPOLLIN,
                                .data.ptr = self->ticks};
    if (epoll_ctl(self->epoll, EPOLL_CTL_MOD, fd, &event) == -1) {
        assert(errno
               == ENOENT);    // a new connection: libpq closed the old descriptor, epoll forgot it
        int rc = epoll_ctl(self->epoll, EPOLL_CTL_ADD, fd, &event);
        assert(rc == 0);
    }
}

//  Whoever lost its rights is forgotten, and thrown out of the feed; workers are seen to by the sweep.
static void
turn_door(tally_broker_t *self)
{
    tally_door_look(self->door, self->now_ms);
    uint64_t losses = tally_door_losses(self->door, self->now_ms);
    if (losses != self->door_losses) {
        self->door_losses = losses;
        tally_front_sweep(self);
        tally_broadcast_restart(self->feed);
    }
    if (!tally_door_stands(self->door)) {
        tally_log_error("the ZAP handler has ended; not serving without it");
        self->fatal = true;
    }
}

static void
turn_timers(tally_broker_t *self)
{
    turn_door(self);
    if (self->now_ms >= self->beat_at_ms) {
        tally_peers_beat(self);
        tally_peers_sweep(self);
        self->beat_at_ms = self->now_ms + TALLY_BEAT_MS;
    }
    if (self->now_ms >= self->snapshot_at_ms) {
        bool more = tally_snapshot_publish(self);
        self->snapshot_at_ms = self->now_ms + (more ? SNAPSHOT_STEP_MS : SNAPSHOT_MS);
    }
    if (self->now_ms >= self->inbox_at_ms) {
        tally_core_look_in_inbox(self->core);
        self->inbox_at_ms = self->now_ms + INBOX_POLL_MS;
    }
    if (self->now_ms >= self->housekeep_at_ms) {
        tally_core_housekeep(self->core);
        self->housekeep_at_ms = self->now_ms + HOUSEKEEP_MS;
    }
    if (self->plan != NULL) {
        self->place_at_ms = self->now_ms + TALLY_PLACE_BEAT_MS;
    } else if (self->now_ms >= self->place_at_ms && self->state == TALLY_SERVING
               && tally_tick_store_connected(self->ticks)) {    // or the next turn sees to that
        tally_tick_store_beat(self->ticks);
        self->place_at_ms = self->now_ms + TALLY_PLACE_BEAT_MS;
    }
}

static int64_t
earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int
wait_ms(const tally_broker_t *self, bool more)
{
    if (more) {
        return 0;
    }
    int64_t at = earlier(self->beat_at_ms, self->snapshot_at_ms);
    if (self->state == TALLY_AWAY) {
        at = earlier(at, self->reconnect_at_ms);
    } else if (self->plan == NULL) {
        at = earlier(at, earlier(self->inbox_at_ms, self->housekeep_at_ms));
        at = earlier(at, self->place_at_ms);
        at = earlier(at, tally_core_next_ms(self->core, self->now_ms));
    }
    return at <= self->now_ms ? 0 : (int)earlier(at - self->now_ms, SNAPSHOT_MS);
}

//  Between ticks PostgreSQL says nothing but that it is gone.
static void
look_at_ticks(tally_broker_t *self)
{
    if (self->state == TALLY_SERVING && self->plan == NULL
        && tally_tick_store_connected(self->ticks) && !tally_tick_store_rest(self->ticks)) {
        tally_recovery_cut(self);
    }
}

static void
take_reads(tally_broker_t *self, tally_reader_t *reader)
{
    for (tally_read_t *read = tally_reader_take(reader); read != NULL;
         read = tally_reader_take(reader)) {
        tally_front_read(self, &read);
    }
}

//  What epoll said of the sockets that are looked at in a turn.
static void
note_looks(tally_broker_t *self, const struct epoll_event *events, int count)
{
    bool all = count == EVENTS_PER_TURN;    // there may be more than were told
    self->looks.front = self->looks.front || all;
    self->looks.sink = self->looks.sink || all;
    self->looks.readers = self->looks.readers || all;
    for (int i = 0; i < count; i++) {
        const void *what = events[i].data.ptr;
        self->looks.front = self->looks.front || what == self->front;
        self->looks.sink = self->looks.sink || what == self->sink;
        self->looks.readers = self->looks.readers || what == self->reader;
    }
}

//  True when the frames' sockets may hold more than this turn took.
static bool
turn_sockets(tally_broker_t *self)
{
    tally_reader_t *others = tally_door_reader(self->door);
    if (self->looks.readers || tally_reader_asked(self->reader) || tally_reader_asked(others)) {
        take_reads(self, self->reader);
        take_reads(self, others);
        self->looks.readers = false;
    }
    if (self->state == TALLY_SERVING && !tally_recovery_feed(self)) {
        return false;    // inputs of a lost tick come first
    }
    bool more = tally_sink_turn(self, FRAMES_PER_TURN);
    bool front = tally_front_turn(self, FRAMES_PER_TURN);
    return more || front;
}

int
tally_broker_run(tally_broker_t *self, int stop_fd)
{
    tally_broker_watch(self, stop_fd, &stop_fd);
    tally_broker_watch(self, (int)zsock_fd(self->front), self->front);
    tally_broker_watch(self, (int)zsock_fd(self->sink), self->sink);
    tally_broker_watch(self, tally_reader_fd(self->reader), self->reader);
    tally_broker_watch(self, tally_reader_fd(tally_door_reader(self->door)), self->reader);
    if (tally_door_fd(self->door) != -1) {
        tally_broker_watch(self, tally_door_fd(self->door), self->reader);    // looked at each turn
    }
    bool more = true;
    self->looks.front = self->looks.sink = self->looks.readers = true;
    while (!self->fatal) {
        watch_ticks(self);
        struct epoll_event events[EVENTS_PER_TURN];
        int count = epoll_wait(self->epoll, events, EVENTS_PER_TURN, wait_ms(self, more));
        int64_t woken_ns = tally_clock_now_ns();
        self->now_ms = woken_ns / 1000000;
        note_looks(self, events, count);
        for (int i = 0; i < count; i++) {
            void *what = events[i].data.ptr;
            if (what == &stop_fd) {
                tally_log_info("stopping  epoch=%llu", (unsigned long long)self->epoch);
                return 0;
            }
            if (what == self->ticks) {
                look_at_ticks(self);
            } else if (what != self->front && what != self->sink && what != self->reader) {
                tally_peers_look(self, what);
            }
        }
        more = turn_sockets(self);
        tally_meter_collect(self->meter, tally_clock_now_ns() - woken_ns);
        if (self->state == TALLY_SERVING) {
            more = turn_tick(self) || more;
        } else if (self->now_ms >= self->reconnect_at_ms || tally_tick_store_opening(self->ticks)) {
            tally_recovery_try(self);
        }
        turn_timers(self);
    }
    return self->state == TALLY_REPLACED ? 75 : 70;
}
