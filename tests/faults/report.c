// SPDX-License-Identifier: MIT
#include "tests/faults/report.h"

#include <assert.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/faults/check.h"
#include "tests/faults/dump.h"

void
tally_report_progress(tally_report_t *self, const tally_nemesis_t *nemesis,
                      const tally_scene_sums_t *sums, uint64_t pending, int64_t elapsed_ms)
{
    unsigned faults = 0;
    for (tally_fault_kind_t i = 1; i < TALLY_FAULT_KINDS; i++) {
        faults += tally_nemesis_count(nemesis, i);
    }
    int64_t since_ms = elapsed_ms - self->shown_before_ms;
    printf("%5.0f s  %6.0f confirmed/s  confirmed %" PRIu64 "  settled %" PRIu64
           "  pending %" PRIu64 "  stale %" PRIu64 "  unknown %" PRIu64 "  faults %u\n",
           (double)elapsed_ms / 1000,
           1000.0 * (double)(sums->confirmed - self->confirmed_before) / (double)since_ms,
           sums->confirmed, sums->settled, pending, sums->stale, sums->unknown, faults);
    fflush(stdout);
    self->confirmed_before = sums->confirmed;
    self->shown_before_ms = elapsed_ms;
}

//  False when a kind of this run never did anything: then the run proves nothing.
static bool
all_bit(const tally_nemesis_t *nemesis)
{
    bool all = true;
    for (tally_fault_kind_t i = 1; i < TALLY_FAULT_KINDS; i++) {
        if (tally_nemesis_uses(nemesis, i) && tally_nemesis_bites(nemesis, i) == 0) {
            fprintf(stderr, "faults: %s never happened: the run proves nothing\n",
                    tally_fault_name(i));
            all = false;
        }
    }
    return all;
}

static void
print_faults(const tally_nemesis_t *nemesis)
{
    printf("%-16s %7s %7s %10s\n", "fault", "count", "bit", "mean ms");
    for (tally_fault_kind_t i = 1; i < TALLY_FAULT_KINDS; i++) {
        unsigned count = tally_nemesis_count(nemesis, i);
        if (tally_nemesis_uses(nemesis, i)) {
            printf("%-16s %7u %7u %10.0f\n", tally_fault_name(i), count,
                   tally_nemesis_bites(nemesis, i),
                   count == 0 ? 0 : (double)tally_nemesis_lasted_ms(nemesis, i) / (double)count);
        } else if (tally_nemesis_lacks(nemesis, i)) {
            printf("%-16s cannot be here\n", tally_fault_name(i));
        }
    }
}

static void
print_sums(const tally_report_t *self)
{
    const tally_scene_sums_t *sums = &self->sums;
    printf("\nconfirmed %" PRIu64 " (%.0f/s)  delivered %" PRIu64 "  settled %" PRIu64
           "  stale %" PRIu64 "  unknown %" PRIu64 "  refused %" PRIu64 "\n",
           sums->confirmed, 1000.0 * (double)sums->confirmed / (double)self->sent_ms,
           sums->delivered, sums->settled, sums->stale, sums->unknown, sums->refused);
    printf("%s, %s in %" PRId64 " ms\n", self->healed ? "healed" : "NOT HEALED",
           self->drained ? "drained" : "NOT DRAINED", self->drain_ms);
    if (!self->drained) {
        printf("still pending: %" PRId64 "\n", self->pending);
    }
}

//  The checker's report with what only the harness knows; takes `report`.
static void
print_json(const tally_report_t *self, const tally_scene_t *scene, const tally_nemesis_t *nemesis,
           const char *findings, json_t *report, int code)
{
    json_t *struck = json_object();
    for (tally_fault_kind_t i = 1; i < TALLY_FAULT_KINDS; i++) {
        if (tally_nemesis_uses(nemesis, i)) {
            json_object_set_new(struck, tally_fault_name(i),
                                json_pack("{s:i, s:i}", "count",
                                          (int)tally_nemesis_count(nemesis, i), "bit",
                                          (int)tally_nemesis_bites(nemesis, i)));
        }
    }
    json_t *whole = json_pack("{s:I, s:i, s:b, s:b, s:I, s:I, s:I, s:I, s:s, s:o, s:o}", "seed",
                              (json_int_t)scene->options.seed, "code", code, "healed", self->healed,
                              "drained", self->drained, "drain_ms", (json_int_t)self->drain_ms,
                              "sent_ms", (json_int_t)self->sent_ms, "confirmed",
                              (json_int_t)self->sums.confirmed, "settled",
                              (json_int_t)self->sums.settled, "findings", findings, "struck",
                              struck, "check", report);
    json_dumpf(whole, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(whole);
}

//  The checker's report as JSON, owned by the caller.
static json_t *
take_json(const tally_check_t *check)
{
    char *text = NULL;
    size_t size;
    FILE *memory = open_memstream(&text, &size);
    assert(memory != NULL);
    tally_check_print_json(check, memory);
    fclose(memory);
    json_t *report = json_loads(text, 0, NULL);
    free(text);
    return report;
}

//  What the checker says of the run; -1 when it could not be asked.  *report: as JSON; NULL: it is printed.
static int
judge(const tally_scene_t *scene, json_t **report)
{
    char *histories = tally_room_file(scene->room, "history");
    char *why = NULL;
    int code = -1;
    tally_history_set_t *set = NULL;
    if (tally_dump_write(scene->conninfo, histories, &why) == 0) {
        set = tally_history_set_open(histories, &why);
    }
    if (set != NULL) {
        tally_check_t *check = tally_check_new(set, &(tally_check_options_t){0});
        code = (int)tally_check_verdict(check);
        if (report != NULL) {
            *report = take_json(check);
        } else {
            tally_check_print(check, stdout);
        }
        tally_check_destroy(&check);
        tally_history_set_close(&set);
    } else {
        fprintf(stderr, "faults: no verdict: %s\n", why);
    }
    free(why);
    free(histories);
    return code;
}

int
tally_report_conclude(tally_report_t *self, tally_scene_t *scene, const tally_nemesis_t *nemesis,
                      bool json)
{
    json_t *report = NULL;
    if (!json) {
        print_faults(nemesis);
        print_sums(self);
    }
    int code = judge(scene, json ? &report : NULL);
    if (code == 0 && !all_bit(nemesis)) {
        code = 2;
    }
    const char *findings = tally_crew_findings(scene->crew);
    fputs(findings, stderr);
    if (code == 0 && (!self->healed || !self->drained || *findings != '\0')) {
        code = 1;
    }
    if (report != NULL) {
        print_json(self, scene, nemesis, findings, report, code);
    }
    return code == -1 ? 70 : code;
}
