// SPDX-License-Identifier: MIT
#include "tests/faults/report.h"

#include <inttypes.h>
#include <stdio.h>

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

static void
print_faults(const tally_nemesis_t *nemesis)
{
    printf("%-16s %7s %10s\n", "fault", "count", "mean ms");
    for (tally_fault_kind_t i = 1; i < TALLY_FAULT_KINDS; i++) {
        unsigned count = tally_nemesis_count(nemesis, i);
        if (tally_nemesis_uses(nemesis, i)) {
            printf("%-16s %7u %10.0f\n", tally_fault_name(i), count,
                   count == 0 ? 0 : (double)tally_nemesis_lasted_ms(nemesis, i) / (double)count);
        }
    }
}

int
tally_report_conclude(tally_report_t *self, tally_scene_t *scene, const tally_nemesis_t *nemesis,
                      bool json)
{
    (void)json;
    print_faults(nemesis);
    const tally_scene_sums_t *sums = &self->sums;
    printf("confirmed %" PRIu64 " (%.0f/s)  delivered %" PRIu64 "  settled %" PRIu64
           "  stale %" PRIu64 "  unknown %" PRIu64 "  refused %" PRIu64 "\n",
           sums->confirmed, 1000.0 * (double)sums->confirmed / (double)self->sent_ms,
           sums->delivered, sums->settled, sums->stale, sums->unknown, sums->refused);
    printf("healed %s  drained %s in %" PRId64 " ms  pending %" PRId64 "\n",
           self->healed ? "yes" : "NO", self->drained ? "yes" : "NO", self->drain_ms,
           self->pending);
    const char *findings = tally_crew_findings(scene->crew);
    fputs(findings, stdout);
    return self->healed && self->drained && *findings == '\0' ? 0 : 1;
}
