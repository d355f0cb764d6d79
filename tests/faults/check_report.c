// SPDX-License-Identifier: MIT
//  check_report: what was found, for people and for programs.

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>

#include "tests/faults/check_state.h"

#define LIFE_RECORDS_MAX 60

static const char *const verdict_names[] =
    {[TALLY_RUN_VALID] = "valid", [TALLY_RUN_BROKEN] = "broken", [TALLY_RUN_INVALID] = "invalid"};

static const char *const after_names[TALLY_AFTER_COUNT] = {
    [TALLY_AFTER_FIRST] = "to next settle",
    [TALLY_AFTER_ALL] = "to last settle",
    [TALLY_AFTER_TERM] = "to next term's",
    [TALLY_AFTER_CONFIRM] = "healed to confirm",
};

//  ---- lives --------------------------------------------------------------------------------------------------

static double
seconds(const tally_check_t *self, int64_t at_ns)
{
    return (double)(at_ns - self->start_ns) / 1e9;
}

static void
print_lease(const tally_history_record_t *record, FILE *out)
{
    fprintf(out, "  id=%" PRIu64 " lease=%" PRIu64, record->id, record->lease);
    if (record->epoch != 0) {
        fprintf(out, " term=%" PRIu64, record->epoch);
    }
}

static void
print_counts(const tally_history_record_t *record, FILE *out)
{
    fprintf(out, " deliveries=%u failures=%u crashes=%u", record->counts.deliveries,
            record->counts.failures, record->counts.crashes);
}

static void
print_fields(const tally_check_t *self, const tally_history_record_t *record, FILE *out)
{
    switch (record->kind) {
    case TALLY_DID_SEND:
        fprintf(out, "  sequence=%" PRIu64 " item=%u key=%u", record->sequence, record->item,
                record->key);
        break;
    case TALLY_TOLD_CONFIRMED:
        fprintf(out, "  id=%" PRIu64 " broker=%" PRIu64 "%s%s", record->id, record->epoch,
                (record->code & TALLY_CONFIRM_REPEATED) != 0 ? " repeated" : "",
                (record->code & TALLY_CONFIRM_DUPLICATE) != 0 ? " duplicate" : "");
        break;
    case TALLY_TOLD_DELIVERED:
        print_lease(record, out);
        print_counts(record, out);
        break;
    case TALLY_ROW_EFFECT:
        print_lease(record, out);
        fprintf(out, " process=%u serial=%u", record->process, record->serial);
        break;
    case TALLY_ROW_MESSAGE:
    case TALLY_ROW_DEAD:
        fprintf(out, "  id=%" PRIu64, record->id);
        print_counts(record, out);
        break;
    case TALLY_TOLD_REFUSED:
    case TALLY_TOLD_RESULT:
        fprintf(out, "  code=%u", record->code);
        break;
    default:
        if (record->lease != 0) {
            fprintf(out, "  lease=%" PRIu64 " code=%u", record->lease, record->code);
        }
        break;
    }
    if (record->queue != 0) {
        fprintf(out, " queue=%s tenant=%s", tally_history_set_queue(self->set, record->queue),
                tally_history_set_tenant(self->set, record->tenant));
    }
}

static void
print_moment(const tally_check_t *self, const tally_moment_t *moment, FILE *out)
{
    if (moment->file->writer == TALLY_WRITER_DATABASE) {
        fprintf(out, "        %12s  %-12s %6s  %-18s", "in the end", "database", "",
                tally_did_name(moment->record->kind));
    } else {
        fprintf(out, "        %10.6f s  %-12s %6u  %-18s", seconds(self, moment->record->at_ns),
                moment->file->name, moment->file->process, tally_did_name(moment->record->kind));
    }
    print_fields(self, moment->record, out);
    fputc('\n', out);
}

//  Faults that began within the life stand between its records.
static void
print_faults(const tally_check_t *self, int64_t after_ns, int64_t until_ns, FILE *out)
{
    for (size_t i = 0; i < self->set->fault_count; i++) {
        const tally_set_fault_t *fault = &self->set->faults[i];
        if (fault->began_ns > after_ns && fault->began_ns <= until_ns) {
            fprintf(out, "        %10.6f s  %-12s %6u  fault: %s\n", seconds(self, fault->began_ns),
                    tally_victim_name(fault->victim), fault->process,
                    tally_history_set_fault(self->set, fault->kind));
        }
    }
}

void
tally_check_print_life(const tally_check_t *self, uint64_t number, FILE *out)
{
    tally_life_t life;
    tally_check_life(self, number, &life);
    fprintf(out, "      message %" PRIu64 " (process %" PRIu64 ", its %" PRIu64 "th)\n", number,
            number >> 40, number & (((uint64_t)1 << 40) - 1));
    for (size_t i = 0; i < life.count && i < LIFE_RECORDS_MAX; i++) {
        const tally_moment_t *moment = &life.moments[i];
        if (i > 0 && moment->file->writer != TALLY_WRITER_DATABASE) {
            print_faults(self, life.moments[i - 1].record->at_ns, moment->record->at_ns, out);
        }
        print_moment(self, moment, out);
    }
    if (life.count > LIFE_RECORDS_MAX) {
        fprintf(out, "        and %zu more\n", life.count - LIFE_RECORDS_MAX);
    }
    free(life.moments);
}

void
tally_check_print_slow(const tally_check_t *self, int64_t slow_ms, FILE *out)
{
    for (size_t i = 0; i < self->set->fault_count; i++) {
        const tally_set_fault_t *fault = &self->set->faults[i];
        const tally_outcome_of_fault_t *outcome = &self->outcomes[i];
        if (outcome->first != 0 && outcome->first_ns - fault->began_ns >= slow_ms * 1000000) {
            fprintf(out, "%.6f s  %s of %s %u: next settle after %.1f ms\n",
                    seconds(self, fault->began_ns), tally_history_set_fault(self->set, fault->kind),
                    tally_victim_name(fault->victim), fault->process,
                    (double)(outcome->first_ns - fault->began_ns) / 1e6);
            tally_check_print_life(self, outcome->first, out);
        }
    }
}

//  ---- for people ---------------------------------------------------------------------------------------------

static void
print_rules(const tally_check_t *self, FILE *out)
{
    fprintf(out, "%-4s %-18s %14s %12s\n", "rule", "", "checked", "violations");
    for (size_t i = 0; i < TALLY_RULE_COUNT; i++) {
        const tally_check_rule_t *rule = &self->rules[i];
        if (rule->checked == 0 && rule->violations == 0) {
            fprintf(out, "%-4s %-18s %14s\n", rule->code, rule->name, "nothing");
        } else {
            fprintf(out, "%-4s %-18s %14" PRIu64 " %12" PRIu64 "\n", rule->code, rule->name,
                    rule->checked, rule->violations);
        }
    }
}

static void
print_examples(const tally_check_t *self, FILE *out)
{
    for (size_t i = 0; i < TALLY_RULE_COUNT; i++) {
        const tally_check_rule_t *rule = &self->rules[i];
        for (size_t k = 0; k < TALLY_CHECK_EXAMPLES_MAX && k < rule->violations; k++) {
            fprintf(out, "\n%s %s violated: %s\n", rule->code, rule->name, rule->examples[k].text);
            for (size_t n = 0; n < 2; n++) {
                if (rule->examples[k].numbers[n] != 0) {
                    tally_check_print_life(self, rule->examples[k].numbers[n], out);
                }
            }
        }
    }
}

static void
print_figures(const tally_check_t *self, FILE *out)
{
    const tally_check_figures_t *f = &self->figures;
    fprintf(out,
            "%" PRIu64 " records of %zu processes, %" PRIu64 " messages%s\n"
            "sent %" PRIu64 ", confirmed %" PRIu64 " (%" PRIu64 " again), refused %" PRIu64
            ", without an answer %" PRIu64 "\n"
            "delivered %" PRIu64 ", again %" PRIu64 ", settled %" PRIu64 ", effects %" PRIu64
            ", returned %" PRIu64 ", buried %" PRIu64 ", results %" PRIu64 "\n"
            "settles refused as stale %" PRIu64 ", rolled back %" PRIu64
            ", without an answer %" PRIu64 " (%" PRIu64 " of them done)\n"
            "terms %" PRIu64 ", broker epochs %" PRIu64 "\n",
            f->records, self->set->file_count, f->messages,
            self->set->torn_count > 0 ? ", last records torn by kills" : "", f->sent, f->confirmed,
            f->repeated, f->refused, f->unanswered, f->delivered, f->redelivered, f->settled,
            f->effects, f->returned, f->buried, f->results, f->stale, f->rolled_back, f->unknown,
            f->unknown_done, f->terms, f->broker_epochs);
}

static bool
has_fault(const tally_check_t *self, unsigned kind, tally_check_fault_t *fault)
{
    tally_check_fault(self, kind, fault);
    return fault->began > 0 || self->set->fault_names[kind][0] != '\0';
}

static void
print_fault_kinds(const tally_check_t *self, FILE *out)
{
    if (self->set->fault_count > 0) {
        fprintf(out, "\n%-28s %6s %6s %6s  %-18s %7s %9s %9s %9s\n", "faults", "began", "ended",
                "idle", "", "samples", "p50 ms", "p99 ms", "max ms");
    }
    for (unsigned kind = 0; kind <= TALLY_HISTORY_NUMBER_MAX; kind++) {
        tally_check_fault_t fault;
        if (!has_fault(self, kind, &fault)) {
            continue;
        }
        fprintf(out, "%-28s %6" PRIu64 " %6" PRIu64 " %6" PRIu64,
                tally_history_set_fault(self->set, kind), fault.began, fault.ended, fault.idle);
        const char *indent = "  ";
        for (size_t after = 0; after < TALLY_AFTER_COUNT; after++) {
            if (fault.after[after].samples > 0) {
                fprintf(out, "%s%-18s %7" PRIu64 " %9.1f %9.1f %9.1f\n", indent, after_names[after],
                        fault.after[after].samples, fault.after[after].p50_ms,
                        fault.after[after].p99_ms, fault.after[after].max_ms);
                indent = "                                                   ";
            }
        }
        if (indent[2] == '\0') {
            fputc('\n', out);
        }
    }
}

void
tally_check_print(const tally_check_t *self, FILE *out)
{
    print_rules(self, out);
    fputc('\n', out);
    print_figures(self, out);
    print_fault_kinds(self, out);
    print_examples(self, out);
    for (size_t i = 0; i < self->reason_count; i++) {
        fprintf(out, "\nproves nothing: %s", self->reasons[i]);
    }
    fprintf(out, "%s\nverdict: %s\n", self->reason_count > 0 ? "\n" : "",
            verdict_names[tally_check_verdict(self)]);
}

//  ---- for programs -------------------------------------------------------------------------------------------

static json_t *
rules_as_json(const tally_check_t *self)
{
    json_t *rules = json_array();
    for (size_t i = 0; i < TALLY_RULE_COUNT; i++) {
        const tally_check_rule_t *rule = &self->rules[i];
        json_t *examples = json_array();
        for (size_t k = 0; k < TALLY_CHECK_EXAMPLES_MAX && k < rule->violations; k++) {
            json_array_append_new(examples,
                                  json_pack("{s:s, s:I}", "text", rule->examples[k].text, "message",
                                            (json_int_t)rule->examples[k].numbers[0]));
        }
        json_array_append_new(rules, json_pack("{s:s, s:s, s:I, s:I, s:o}", "rule", rule->code,
                                               "name", rule->name, "checked",
                                               (json_int_t)rule->checked, "violations",
                                               (json_int_t)rule->violations, "examples", examples));
    }
    return rules;
}

static json_t *
figures_as_json(const tally_check_t *self)
{
    const tally_check_figures_t *f = &self->figures;
    const struct {
        const char *name;
        uint64_t value;
    } all[] = {
        {"processes", self->set->file_count},
        {"records", f->records},
        {"torn", self->set->torn_count},
        {"messages", f->messages},
        {"sent", f->sent},
        {"confirmed", f->confirmed},
        {"repeated", f->repeated},
        {"refused", f->refused},
        {"unanswered", f->unanswered},
        {"delivered", f->delivered},
        {"redelivered", f->redelivered},
        {"settled", f->settled},
        {"effects", f->effects},
        {"stale", f->stale},
        {"rolled_back", f->rolled_back},
        {"unknown", f->unknown},
        {"unknown_done", f->unknown_done},
        {"returned", f->returned},
        {"buried", f->buried},
        {"results", f->results},
        {"terms", f->terms},
        {"broker_epochs", f->broker_epochs},
    };
    json_t *figures = json_object();
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        json_object_set_new(figures, all[i].name, json_integer((json_int_t)all[i].value));
    }
    return figures;
}

static json_t *
faults_as_json(const tally_check_t *self)
{
    static const char *const names[TALLY_AFTER_COUNT] = {"to_next_settle", "to_last_settle",
                                                         "to_next_term", "healed_to_confirm"};
    json_t *faults = json_array();
    for (unsigned kind = 0; kind <= TALLY_HISTORY_NUMBER_MAX; kind++) {
        tally_check_fault_t fault;
        if (!has_fault(self, kind, &fault)) {
            continue;
        }
        json_t *one = json_pack("{s:s, s:I, s:I, s:I}", "fault",
                                tally_history_set_fault(self->set, kind), "began",
                                (json_int_t)fault.began, "ended", (json_int_t)fault.ended, "idle",
                                (json_int_t)fault.idle);
        for (size_t after = 0; after < TALLY_AFTER_COUNT; after++) {
            if (fault.after[after].samples > 0) {
                json_object_set_new(one, names[after],
                                    json_pack("{s:I, s:f, s:f, s:f}", "samples",
                                              (json_int_t)fault.after[after].samples, "p50_ms",
                                              fault.after[after].p50_ms, "p99_ms",
                                              fault.after[after].p99_ms, "max_ms",
                                              fault.after[after].max_ms));
            }
        }
        json_array_append_new(faults, one);
    }
    return faults;
}

void
tally_check_print_json(const tally_check_t *self, FILE *out)
{
    json_t *reasons = json_array();
    for (size_t i = 0; i < self->reason_count; i++) {
        json_array_append_new(reasons, json_string(self->reasons[i]));
    }
    json_t *report = json_pack("{s:s, s:o, s:o, s:o, s:o}", "verdict",
                               verdict_names[tally_check_verdict(self)], "proves_nothing", reasons,
                               "rules", rules_as_json(self), "figures", figures_as_json(self),
                               "faults", faults_as_json(self));
    json_dumpf(report, out, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    fputc('\n', out);
    json_decref(report);
}
