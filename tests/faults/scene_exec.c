// SPDX-License-Identifier: MIT
//  scene_exec: what runs, as the programs' command lines.

#include <assert.h>
#include <dirent.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "tests/faults/scene.h"

#define LIVES_MAX 10000    // of one member; its processes are numbered on from slot * LIVES_MAX

void
tally_scene_exec_postgres(void *scene)
{
    const tally_scene_t *self = scene;
    tally_clocks_enter(self->clocks, "postgres");
    tally_cluster_clear_stale(self->cluster);
    tally_cluster_exec(self->cluster);
}

//  Lanes of the life before are nobody's.
static void
remove_lanes(unsigned seat)
{
    char *prefix = tally_format("lane-%u-", seat);
    DIR *sockets = opendir(".");
    struct dirent *entry;
    while (sockets != NULL && (entry = readdir(sockets)) != NULL) {
        if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0) {
            unlink(entry->d_name);
        }
    }
    if (sockets != NULL) {
        closedir(sockets);
    }
    free(prefix);
}

void
tally_scene_exec_tallyd(void *tallyd)
{
    const tally_tallyd_t *self = tallyd;
    tally_clocks_enter(self->scene->clocks, "tallyd");
    remove_lanes(self->seat);
    char *words[] = {tally_format("%s/tallyd", self->scene->options.bin_dir),
                     "--seat",
                     tally_format("%u", self->seat),
                     "--front",
                     "ipc://front-1,ipc://front-2",
                     "--sink",
                     "ipc://sink-1,ipc://sink-2",
                     "--feed",
                     "ipc://feed-1,ipc://feed-2",
                     "--lanes",
                     "ipc://lane-1-%,ipc://lane-2-%",
                     "--db",
                     self->conninfo,
                     NULL};
    tally_crew_exec(words);
}

uint32_t
tally_member_process(const tally_member_t *self)
{
    assert(self->process->starts < LIVES_MAX);
    return self->slot * LIVES_MAX + self->process->starts;
}

void
tally_scene_exec_client(void *member)
{
    const tally_member_t *self = member;
    const tally_scene_options_t *options = &self->scene->options;
    char *program = tally_strdup(options->program);
    char *words[] = {program,
                     "client",
                     tally_strdup(tally_room_dir(self->scene->room)),
                     tally_format("%u", self->slot),
                     tally_format("%u", tally_member_process(self)),
                     tally_format("%" PRIu64, options->seed),
                     self->scene->fronts,
                     tally_format("%.1f", options->rate / options->clients),
                     options->shipped ? "1000" : "300",
                     NULL};
    tally_crew_exec(words);
}

void
tally_scene_exec_worker(void *member)
{
    const tally_member_t *self = member;
    tally_clocks_enter(self->scene->clocks, "worker");
    char *words[] = {tally_strdup(self->scene->options.program),
                     tally_format("worker-%s", self->role),
                     "--front",
                     self->scene->fronts,
                     "--db",
                     self->conninfo,
                     "--name",
                     self->process->name,
                     "--room",
                     tally_strdup(tally_room_dir(self->scene->room)),
                     "--slot",
                     tally_format("%u", self->slot),
                     "--process",
                     tally_format("%u", tally_member_process(self)),
                     "--work-ms",
                     tally_format("%d", self->scene->options.work_ms),
                     NULL};
    tally_crew_exec(words);
}
