// SPDX-License-Identifier: MIT
//  export_scene - a survey with stored responses, an export's message under a lease, and what must
//  come out.
//
//  Plays the broker's part by SQL: leases are given and taken away by hand, so a test decides who
//  is late.

#ifndef TALLY_EXPORT_SCENE_H
#define TALLY_EXPORT_SCENE_H

#include <jansson.h>

#include "workers/export_run.h"

typedef struct export_scene export_scene_t;

struct export_scene {
    const char *conninfo;
    tally_db_t *broker;    // and whoever looks
    char *dir;             // of the files
    char *survey;
    json_t *responses;    // id to response
    uint64_t message, lease;
    tally_export_tools_t tools;
    //  what the tools were asked for
    size_t extended, told;
    char *last_news;
    void (*at)(export_scene_t *scene, tally_export_point_t point);
    tally_export_point_t crash_at;    // a child ends there,
    int crash_skip;                   // after it came by so often
    tally_export_run_t *run;          // a test's own
};

export_scene_t *export_scene_new(const char *conninfo);
void export_scene_destroy(export_scene_t **self_p);

//  Stores a survey of every kind of question with `count` responses full of what breaks formats.
void export_scene_fill(export_scene_t *self, size_t count);
//  One of the real surveys; false when they are not there.
bool export_scene_fill_real(export_scene_t *self, const char *slug);
//  One more response to the first kind of survey, stored.
void export_scene_add(export_scene_t *self, const char *response_id);

void export_scene_sql(export_scene_t *self, const char *sql);
//  The first value of the first row as text; freed by the caller.
char *export_scene_value(export_scene_t *self, const char *sql);

//  A request's message, leased; asked for, so there will be a result.
void export_scene_request(export_scene_t *self, const char *format, const char *out);
void export_scene_send(export_scene_t *self, const char *body);
//  As after a deadline.  False when the message is settled.
bool export_scene_lease_again(export_scene_t *self);
//  A new run of the message in hand.
tally_export_run_t *export_scene_run(export_scene_t *self);
//  Runs slice after slice, each under a new lease, until there is another end; destroys the run.
tally_run_end_t export_scene_finish(export_scene_t *self, tally_export_run_t **run_p);
//  In a process of its own, which dies at that point, after it came by `skip` times; false when it
//  never did.
bool export_scene_crash(export_scene_t *self, tally_export_point_t point, int skip);
void export_scene_assert_value(export_scene_t *self, const char *sql, const char *wanted);

//  The result that was stored for who asked; a new reference.
json_t *export_scene_result(export_scene_t *self);
//  The whole of the export's file; freed by the caller.
char *export_scene_file(export_scene_t *self, const char *extension, size_t *size);
//  Entries in the directory.
size_t export_scene_entries(export_scene_t *self);

//  Every response is there once, value by value; else the test fails, telling what differs.
void export_scene_check(export_scene_t *self, const char *format);

#endif
