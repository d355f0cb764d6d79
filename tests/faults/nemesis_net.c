// SPDX-License-Identifier: MIT
//  nemesis_net: faults of connections, by the proxy between any two.

#include "tests/faults/nemesis_state.h"

#define LAST_MS_MIN 300
#define LAST_MS_MAX 4000
#define CUT_MS 2000    // a cut that nothing reached by then is called off
#define CUT_BYTES_MAX 20000
#define FIRST_CUT_BYTES_MAX 100
#define DELAY_MS_MAX 80
#define THROTTLE_BYTES_MIN 2000
#define THROTTLE_BYTES_MAX 100000

//  What another fault lasts on is left to it.
static bool
is_free(const tally_nemesis_t *self, const tally_route_t *route)
{
    for (size_t i = 0; i < TALLY_ACTIVE_MAX; i++) {
        if (self->active[i].kind != 0 && self->active[i].route == route) {
            return false;
        }
    }
    return true;
}

static bool
aim_at_route(tally_nemesis_t *self, tally_fault_t *fault)
{
    static const char *const ways[] = {"up", "down", "both"};
    size_t count = tally_views_count(self->scene->views);
    fault->route = tally_views_at(self->scene->views,
                                  tally_chance_below(&self->chance, (uint32_t)count));
    fault->way = ways[tally_chance_below(&self->chance, 3)];
    bool one_way = strstr(fault->route->name, ".sink") != NULL
                   || strstr(fault->route->name, ".lanes") != NULL;
    if (one_way) {
        fault->way = "both";    // the other way nothing ever passes
    }
    fault->end_at_ms += tally_chance_between(&self->chance, LAST_MS_MIN, LAST_MS_MAX);
    return is_free(self, fault->route);
}

static uint64_t
count_now(tally_nemesis_t *self, const tally_fault_t *fault)
{
    return tally_proxy_child_count(tally_views_proxy(self->scene->views), fault->route->name,
                                   fault->counter);
}

static void
count_from(tally_nemesis_t *self, tally_fault_t *fault, const char *counter)
{
    fault->counter = counter;
    fault->before = count_now(self, fault);
}

static bool
has_bitten(tally_nemesis_t *self, tally_fault_t *fault)
{
    return count_now(self, fault) > fault->before;
}

static bool
is_cut(tally_nemesis_t *self, tally_fault_t *fault, int64_t now_ms)
{
    (void)now_ms;
    return has_bitten(self, fault);
}

static void
heal(tally_nemesis_t *self, tally_fault_t *fault)
{
    tally_proxy_child_tell(tally_views_proxy(self->scene->views), "heal %s", fault->route->name);
}

//  Half of the cuts fall into the first bytes of a new exchange, where the answers to COMMIT are.
static void
cut(tally_nemesis_t *self, tally_fault_t *fault)
{
    uint32_t most = tally_chance_below(&self->chance, 2) == 0 ? 600 : CUT_BYTES_MAX;
    most = self->bites[fault->kind] == 0 ? FIRST_CUT_BYTES_MAX : most;    // so that one is reached
    uint32_t bytes = tally_chance_below(&self->chance, most);
    bool reset = tally_chance_below(&self->chance, 2) == 0;
    count_from(self, fault, "cuts");
    fault->end_at_ms = fault->began_ms + CUT_MS;
    tally_proxy_child_tell(tally_views_proxy(self->scene->views), "cut %s %s %u%s",
                           fault->route->name, fault->way, bytes, reset ? " reset" : "");
}

static void
stall(tally_nemesis_t *self, tally_fault_t *fault)
{
    count_from(self, fault, "stalled");
    tally_proxy_child_tell(tally_views_proxy(self->scene->views), "stall %s %s", fault->route->name,
                           fault->way);
}

static void
swallow(tally_nemesis_t *self, tally_fault_t *fault)
{
    count_from(self, fault, "swallowed_bytes");
    tally_proxy_child_tell(tally_views_proxy(self->scene->views), "swallow %s %s",
                           fault->route->name, fault->way);
}

static void
reset(tally_nemesis_t *self, tally_fault_t *fault)
{
    count_from(self, fault, "resets");
    tally_proxy_child_tell(tally_views_proxy(self->scene->views), "reset %s", fault->route->name);
}

static void
delay(tally_nemesis_t *self, tally_fault_t *fault)
{
    count_from(self, fault, "delayed");
    int ms = tally_chance_between(&self->chance, 1, DELAY_MS_MAX);
    tally_proxy_child_tell(tally_views_proxy(self->scene->views), "delay %s %s %d %d",
                           fault->route->name, fault->way, ms, ms / 2);
}

static void
throttle(tally_nemesis_t *self, tally_fault_t *fault)
{
    count_from(self, fault, "throttled");
    tally_proxy_child_tell(tally_views_proxy(self->scene->views), "throttle %s %s %d",
                           fault->route->name, fault->way,
                           tally_chance_between(&self->chance, THROTTLE_BYTES_MIN,
                                                THROTTLE_BYTES_MAX));
}

const tally_fault_way_t tally_ways_net_cut = {aim_at_route, cut, is_cut, heal, has_bitten};
const tally_fault_way_t tally_ways_net_stall = {aim_at_route, stall, tally_nemesis_lasts, heal,
                                                has_bitten};
const tally_fault_way_t tally_ways_net_swallow = {aim_at_route, swallow, tally_nemesis_lasts, heal,
                                                  has_bitten};
const tally_fault_way_t tally_ways_net_reset = {aim_at_route, reset, tally_nemesis_at_once, NULL,
                                                has_bitten};
const tally_fault_way_t tally_ways_net_delay = {aim_at_route, delay, tally_nemesis_lasts, heal,
                                                has_bitten};
const tally_fault_way_t tally_ways_net_throttle = {aim_at_route, throttle, tally_nemesis_lasts,
                                                   heal, has_bitten};
