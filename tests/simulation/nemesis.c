// SPDX-License-Identifier: MIT
//  nemesis - see nemesis.h.

#include "tests/simulation/nemesis.h"

#include "tests/simulation/client.h"
#include "tests/simulation/database.h"
#include "tests/simulation/ledger.h"
#include "tests/simulation/shell.h"
#include "tests/simulation/worker.h"

#define PAUSE_MS_MAX 4000

static sim_worker_t *
some_worker(sim_world_t *world)
{
    return world->workers[sim_draw(world, world->worker_count)];
}

static void
jump(sim_world_t *world)
{
    int64_t ms = sim_happens(world, 80) ? sim_between(world, -2000, 2000)
                                        : sim_between(world, -20000, 20000);
    if (ms != 0) {
        sim_database_jump(world->database, ms);
    }
}

static void
strike(sim_world_t *world)
{
    switch (sim_draw(world, 9)) {
    case 0:
        sim_bit(world, SIM_KILLED_IDLE);
        sim_shell_kill(world->shell);
        break;
    case 1:
        sim_shell_stop(world->shell, sim_between(world, 10, 3000));
        break;
    case 2:
        jump(world);
        break;
    case 3:
        sim_bit(world, SIM_WORKER_DIED);
        sim_worker_die(some_worker(world));
        break;
    case 4:
        sim_worker_stop(some_worker(world), sim_happens(world, 80)
                                                ? sim_between(world, 100, 5000)
                                                : sim_between(world, 100, 20000));
        break;
    case 5:
        sim_worker_leave(some_worker(world));
        break;
    case 6: {
        uint64_t number = sim_worker_number(some_worker(world));
        if (number != 0) {
            sim_shell_drain(world->shell, number);
        }
        break;
    }
    case 7:
        sim_client_die(world->clients[sim_draw(world, world->client_count)]);
        break;
    default:
        sim_ledger_retry_one(world->ledger);
        break;
    }
}

void
sim_nemesis_turn(sim_world_t *world)
{
    if (world->healing) {
        return;
    }
    strike(world);
    sim_post(world, SIM_NEMESIS, world->now_ms + sim_between(world, 50, PAUSE_MS_MAX), 0, 0, NULL);
}
