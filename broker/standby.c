// SPDX-License-Identifier: MIT
//  standby - waits until the place of the active broker is to be had.
//
//  Two signs: nobody holds the place (its process is gone), or who holds it says nothing any more (its process hangs).
//  Silence is measured by our own clock, and only while PostgreSQL answers us at once: neither a slow
//  PostgreSQL, nor a pause of our own, nor clocks that differ make an active broker look silent.  Being wrong
//  costs a takeover, never a message: the epoch decides.

#include <assert.h>
#include <inttypes.h>
#include <poll.h>
#include <sodium.h>

#include "broker/broker.h"
#include "broker/place_store.h"
#include "lib/clock.h"
#include "lib/log.h"

#define LOOK_MS 50
#define ANSWER_MS_MAX 2000    // PostgreSQL did not answer a look: connect again
#define RECONNECT_MS_MAX 500

struct standby {
    tally_watch_t *watch;
    bool asked;
    int64_t asked_ms, look_at_ms;
    bool first;           // the first look of this connection
    bool came_back;       // we had lost PostgreSQL, and so may the active one have: it goes first
    int64_t looked_ms;    // the look before
    int64_t silent_ms;    // so long nobody has moved, or nobody was there
    tally_place_t place;
    uint64_t told_epoch;    // of whom the log says that we stand by for it
};

//  True when the place may be taken.
static bool
judge(struct standby *self, const tally_place_t *place, int64_t now_ms)
{
    bool moved = self->first || place->busy || place->moved_us != self->place.moved_us
                 || (place->holders == 0) != (self->place.holders == 0);
    int64_t passed_ms = now_ms - self->looked_ms;
    if (moved) {
        self->silent_ms = 0;
    } else if (passed_ms <= 4 * LOOK_MS) {    // else we were not looking
        self->silent_ms += passed_ms;
    }
    self->place = *place;
    self->looked_ms = now_ms;
    self->first = false;
    bool free_now = place->holders == 0 && !self->came_back;
    if (place->holders > 0) {
        self->came_back = false;
    }
    return free_now || self->silent_ms >= TALLY_PLACE_SILENCE_MS;
}

static void
tell(struct standby *self)
{
    if (self->place.holders > 0 && self->place.epoch != self->told_epoch) {
        tally_log_info("standing by  active=%s epoch=%" PRIu64, self->place.instance,
                       self->place.epoch);
        self->told_epoch = self->place.epoch;
    }
}

static void
lose(struct standby *self, int64_t now_ms)
{
    tally_log_warn("could not watch the active broker: %s", tally_watch_error(self->watch));
    tally_watch_disconnect(self->watch);
    self->asked = false;
    self->came_back = true;
    self->look_at_ms = now_ms + 1 + (int64_t)randombytes_uniform(RECONNECT_MS_MAX);
}

//  Connects when needed, and asks when it is time to.
static void
look(struct standby *self, int64_t now_ms)
{
    if (self->asked && now_ms - self->asked_ms > ANSWER_MS_MAX) {
        lose(self, now_ms);
    }
    if (self->asked || now_ms < self->look_at_ms) {
        return;
    }
    if (!tally_watch_connected(self->watch)) {
        if (tally_watch_connect(self->watch) != TALLY_DB_DONE) {
            lose(self, tally_clock_now_ms());
            return;
        }
        self->first = true;
        now_ms = tally_clock_now_ms();
    }
    tally_watch_ask(self->watch);
    self->asked = true;
    self->asked_ms = now_ms;
    self->look_at_ms = now_ms + LOOK_MS;
}

//  True when the place may be taken.
static bool
hear(struct standby *self, int64_t now_ms)
{
    tally_place_t place;
    int rc = self->asked ? tally_watch_take(self->watch, &place) : 0;
    if (rc == -1) {
        lose(self, now_ms);
    }
    if (rc != 1) {
        return false;
    }
    self->asked = false;
    if (now_ms - self->asked_ms > 4 * LOOK_MS) {
        self->first = true;    // PostgreSQL was slow to us, perhaps to everybody
    }
    return judge(self, &place, now_ms);
}

//  Until something happens; true when it is the signal to stop.
static bool
sleep_until_something(const struct standby *self, int stop_fd, int64_t now_ms)
{
    int64_t until_ms = self->asked ? self->asked_ms + ANSWER_MS_MAX + 1 : self->look_at_ms;
    struct pollfd items[] = {{.fd = stop_fd, .events = POLLIN},
                             {.fd = tally_watch_fd(self->watch), .events = POLLIN}};
    poll(items, 2, until_ms > now_ms ? (int)(until_ms - now_ms) : 0);
    return (items[0].revents & POLLIN) != 0;
}

tally_standby_end_t
tally_standby_wait(const tally_broker_options_t *options, int stop_fd, uint64_t *silent)
{
    struct standby self = {.watch = tally_watch_new(options->db, options->instance)};
    int64_t began_ms = tally_clock_now_ms();
    tally_standby_end_t end = TALLY_STANDBY_GO;
    for (bool go = false; !go;) {
        int64_t now_ms = tally_clock_now_ms();
        look(&self, now_ms);
        if (sleep_until_something(&self, stop_fd, now_ms)) {
            end = TALLY_STANDBY_STOPPED;
            break;
        }
        now_ms = tally_clock_now_ms();
        go = hear(&self, now_ms);
        tell(&self);
        //  Who died a moment ago may still have its sessions: that is over when silence would be, too.
        if (!go && !options->stand_by && now_ms - began_ms > 2 * TALLY_PLACE_SILENCE_MS) {
            tally_log_error("another broker is active  active=%s epoch=%" PRIu64,
                            self.place.instance, self.place.epoch);
            end = TALLY_STANDBY_REFUSED;
            break;
        }
    }
    *silent = end == TALLY_STANDBY_GO && self.place.holders > 0 ? self.place.epoch : 0;
    if (self.told_epoch != 0 && end == TALLY_STANDBY_GO) {
        tally_log_warn("taking over: the active broker %s  active=%s epoch=%" PRIu64
                       " silent_ms=%" PRId64,
                       *silent != 0 ? "is silent" : "is gone", self.place.instance,
                       self.place.epoch, self.silent_ms);
    }
    tally_watch_destroy(&self.watch);
    return end;
}
