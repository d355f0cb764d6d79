// SPDX-License-Identifier: MIT
//  check: the course of it, and the life of a message.

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "tests/faults/check_state.h"

#define DRAIN_MS 30000
#define CONFIRMED_MIN 1000

static const char *const rule_names[TALLY_RULE_COUNT][2] = {
    [TALLY_RULE_LOSS] = {"I1", "no loss"},
    [TALLY_RULE_GHOST] = {"I2", "no ghost"},
    [TALLY_RULE_IDENTITY] = {"I3", "stored once"},
    [TALLY_RULE_END] = {"I4", "ended once"},
    [TALLY_RULE_EFFECT] = {"I5", "effect once"},
    [TALLY_RULE_FENCE] = {"I6", "fence"},
    [TALLY_RULE_TOKEN] = {"I7", "tokens"},
    [TALLY_RULE_LEASE] = {"I8", "one lease"},
    [TALLY_RULE_WRITER] = {"I9", "one writer"},
    [TALLY_RULE_CONFIRM] = {"I10", "truth of answers"},
    [TALLY_RULE_ATTEMPTS] = {"I11", "attempts"},
    [TALLY_RULE_EARLY] = {"I12", "never early"},
    [TALLY_RULE_ORDER] = {"I13", "key order"},
    [TALLY_RULE_MIXED] = {"I14", "isolation"},
    [TALLY_RULE_TERM] = {"I15", "terms"},
    [TALLY_RULE_DRAIN] = {"I20", "drained"},
};

void
tally_check_violated(tally_check_t *self, tally_rule_t rule, uint64_t one, uint64_t other,
                     const char *format, ...)
{
    tally_check_rule_t *found = &self->rules[rule];
    uint64_t n = found->violations++;
    if (n < TALLY_CHECK_EXAMPLES_MAX) {
        char text[400];
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(text, sizeof text, format, arguments);
        va_end(arguments);
        found->examples[n].text = tally_strdup(text);
        found->examples[n].numbers[0] = one;
        found->examples[n].numbers[1] = other;
    }
}

void
tally_check_doubt(tally_check_t *self, const char *format, ...)
{
    char text[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    self->reasons = tally_realloc_array(self->reasons, self->reason_count + 1,
                                        sizeof *self->reasons);
    self->reasons[self->reason_count++] = tally_strdup(text);
}

//  ---- the life of a message ----------------------------------------------------------------------------------

static int
compare_moments(const void *a, const void *b)
{
    const tally_moment_t *left = a, *right = b;
    int64_t l = left->record->at_ns, r = right->record->at_ns;
    if (l != r) {
        return l < r ? -1 : 1;
    }
    //  Of one file in its order; else by file, so that the order is always the same.
    return left->record < right->record ? -1 : left->record > right->record;
}

static void
sort_moments(tally_moment_t *moments, size_t count)
{
    if (count > 32) {
        qsort(moments, count, sizeof *moments, compare_moments);
        return;
    }
    for (size_t i = 1; i < count; i++) {
        tally_moment_t moment = moments[i];
        size_t k = i;
        while (k > 0 && moments[k - 1].record->at_ns > moment.record->at_ns) {
            moments[k] = moments[k - 1];
            k--;
        }
        moments[k] = moment;
    }
}

static void
count_row(tally_life_t *life, const tally_history_record_t *record)
{
    switch (record->kind) {
    case TALLY_ROW_EFFECT:
        life->effects++;
        life->effect = record;
        break;
    case TALLY_ROW_MESSAGE:
        life->messages++;
        life->pending = record;
        break;
    case TALLY_ROW_DEAD:
        life->dead_letters++;
        life->dead = record;
        break;
    default:
        life->inboxes++;
        life->pending = record;
        break;
    }
}

static void
count_moment(tally_life_t *life, const tally_moment_t *moment)
{
    const tally_history_record_t *record = moment->record;
    switch (record->kind) {
    case TALLY_DID_SEND:
        life->send = life->sends++ == 0 ? moment : life->send;
        break;
    case TALLY_TOLD_CONFIRMED:
        life->confirms++;
        life->duplicate = life->duplicate || (record->code & TALLY_CONFIRM_DUPLICATE) != 0;
        break;
    case TALLY_TOLD_REFUSED:
        life->refusals++;
        break;
    case TALLY_TOLD_NOTHING:
        life->given_up++;
        break;
    case TALLY_TOLD_DELIVERED:
        life->deliveries++;
        break;
    case TALLY_DID_SETTLE:
        life->settles++;
        break;
    case TALLY_DID_RETURN:
        life->returns_counted += record->code == 1;
        break;
    case TALLY_DID_BURY:
        life->buries++;
        break;
    case TALLY_ROW_EFFECT:
    case TALLY_ROW_MESSAGE:
    case TALLY_ROW_DEAD:
    case TALLY_ROW_INBOX:
        count_row(life, record);
        break;
    default:
        break;
    }
}

//  From entries of one number.
static void
gather(const tally_check_t *self, const tally_entry_t *entries, size_t count, tally_life_t *life)
{
    tally_moment_t *moments = life->moments;
    size_t room = life->room;
    if (room < count) {
        room = count * 2;
        moments = tally_realloc_array(moments, room, sizeof *moments);
    }
    *life = (tally_life_t){.number = entries[0].number, .moments = moments, .room = room};
    life->count = count;
    for (size_t i = 0; i < count; i++) {
        const tally_history_file_t *file = &self->set->files[entries[i].place >> 40];
        uint64_t index = entries[i].place & (((uint64_t)1 << 40) - 1);
        moments[i] = (tally_moment_t){&file->records[index], file};
    }
    sort_moments(moments, count);
    unsigned queue = 0;
    for (size_t i = 0; i < count; i++) {
        count_moment(life, &moments[i]);
        queue = queue == 0 ? moments[i].record->queue : queue;
    }
    queue = life->send != NULL ? life->send->record->queue : queue;
    life->transactional = queue <= TALLY_HISTORY_NUMBER_MAX
                          && (self->set->queues[queue].flags & TALLY_QUEUE_TRANSACTIONAL) != 0;
}

void
tally_check_life(const tally_check_t *self, uint64_t number, tally_life_t *life)
{
    const tally_entry_t *entries = self->entries.items;
    size_t low = 0, high = self->entries.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (entries[middle].number < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    size_t end = low;
    while (end < self->entries.count && entries[end].number == number) {
        end++;
    }
    *life = (tally_life_t){.number = number};
    if (end > low) {
        gather(self, entries + low, end - low, life);
    }
}

static void
check_messages(tally_check_t *self)
{
    const tally_entry_t *entries = self->entries.items;
    size_t count = self->entries.count;
    tally_life_t life = {0};
    for (size_t i = 0, end; i < count; i = end) {
        for (end = i + 1; end < count && entries[end].number == entries[i].number; end++) {
        }
        gather(self, entries + i, end - i, &life);
        self->figures.messages++;
        tally_check_message(self, &life);
        tally_check_deliveries(self, &life);
        tally_check_recovery_message(self, &life);
    }
    free(life.moments);
}

//  ---- the run as a whole -------------------------------------------------------------------------------------

static void
check_drain(tally_check_t *self)
{
    const int64_t *phase_ns = self->set->phase_ns;
    tally_check_rule_t *rule = &self->rules[TALLY_RULE_DRAIN];
    if (phase_ns[TALLY_PHASE_HEALED] == 0 || phase_ns[TALLY_PHASE_DRAIN] == 0
        || phase_ns[TALLY_PHASE_DRAINED] == 0) {
        tally_check_doubt(self, "the run has no marks of its end (healed, drain, drained)");
        return;
    }
    rule->checked = self->figures.confirmed;
    int64_t from_ns = phase_ns[TALLY_PHASE_HEALED] > phase_ns[TALLY_PHASE_DRAIN]
                          ? phase_ns[TALLY_PHASE_HEALED]
                          : phase_ns[TALLY_PHASE_DRAIN];
    int64_t took_ms = (phase_ns[TALLY_PHASE_DRAINED] - from_ns) / 1000000;
    if (took_ms > self->options.drain_ms) {
        tally_check_violated(self, TALLY_RULE_DRAIN, 0, 0,
                             "it took %lld ms to drain after the last fault, at most %lld",
                             (long long)took_ms, (long long)self->options.drain_ms);
    }
    if (self->lease_rows > 0) {
        tally_check_violated(self, TALLY_RULE_DRAIN, 0, 0, "%llu leases are left in the end",
                             (unsigned long long)self->lease_rows);
    }
}

//  What a long run must have seen.
static void
check_bites(tally_check_t *self)
{
    const tally_check_figures_t *figures = &self->figures;
    const struct {
        uint64_t count;
        const char *what;
    } all[] = {
        {figures->stale, "settle was refused as stale"},
        {figures->unknown_done, "settle without an answer was done"},
        {figures->unknown - figures->unknown_done, "settle without an answer was not done"},
        {figures->repeated, "confirm was repeated"},
        {figures->returned, "message was returned"},
        {figures->buried, "message was buried"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (all[i].count == 0) {
            tally_check_doubt(self, "no %s", all[i].what);
        }
    }
    for (size_t i = 0; i < TALLY_RULE_COUNT; i++) {
        if (self->rules[i].checked == 0) {
            tally_check_doubt(self, "rule %s had nothing to check", self->rules[i].code);
        }
    }
}

//  What makes a run prove nothing.
static void
check_worth(tally_check_t *self)
{
    uint64_t began[TALLY_HISTORY_NUMBER_MAX + 1] = {0};
    bool workers_fail = false;
    for (size_t i = 0; i < self->set->fault_count; i++) {
        const tally_set_fault_t *fault = &self->set->faults[i];
        workers_fail = workers_fail || fault->victim == TALLY_VICTIM_WORKER
                       || fault->victim == TALLY_VICTIM_TERM_HOLDER;
        if (fault->kind <= TALLY_HISTORY_NUMBER_MAX) {
            began[fault->kind]++;
        }
    }
    for (unsigned kind = 1; kind <= TALLY_HISTORY_NUMBER_MAX; kind++) {
        if (self->set->fault_names[kind][0] != '\0' && began[kind] == 0) {
            tally_check_doubt(self, "fault \"%s\" never happened", self->set->fault_names[kind]);
        }
    }
    if (!self->set->has_rows) {
        tally_check_doubt(self, "there is no whole dump of the database");
    }
    if (self->figures.confirmed < self->options.confirmed_min) {
        tally_check_doubt(self, "only %llu messages were confirmed, at least %llu prove something",
                          (unsigned long long)self->figures.confirmed,
                          (unsigned long long)self->options.confirmed_min);
    }
    if (workers_fail && self->figures.redelivered == 0) {
        tally_check_doubt(self, "workers failed, and yet no message was delivered again");
    }
}

tally_check_t *
tally_check_new(const tally_history_set_t *set, const tally_check_options_t *options)
{
    tally_check_t *self = tally_alloc(sizeof *self);
    self->set = set;
    self->options = *options;
    self->options.drain_ms = options->drain_ms != 0 ? options->drain_ms : DRAIN_MS;
    self->options.confirmed_min = options->confirmed_min != 0 ? options->confirmed_min
                                                              : CONFIRMED_MIN;
    for (size_t i = 0; i < TALLY_RULE_COUNT; i++) {
        assert(rule_names[i][0] != NULL);
        self->rules[i] = (tally_check_rule_t){.code = rule_names[i][0], .name = rule_names[i][1]};
    }
    self->entries.size = sizeof(tally_entry_t);
    self->runs.size = sizeof(tally_run_t);
    self->epochs.size = sizeof(tally_epoch_t);
    self->terms.size = sizeof(tally_told_term_t);
    self->keyed.size = sizeof(tally_keyed_t);
    self->termed.size = sizeof(tally_termed_t);
    self->deduped.size = sizeof(tally_deduped_t);
    self->missing.size = sizeof(tally_missing_t);
    self->fault_ends.size = sizeof(tally_fault_end_t);
    self->turned.size = sizeof(tally_turned_t);
    self->senders = tally_alloc_array(TALLY_HISTORY_PROCESS_MAX + 1, sizeof *self->senders);

    tally_check_recovery_begin(self);
    tally_check_scan(self);
    tally_check_close_epochs(self);
    tally_series_sort_by_number(&self->entries);
    check_messages(self);
    tally_check_orders(self);
    tally_check_recovery_end(self);
    check_drain(self);
    check_worth(self);
    if (self->options.strict) {
        check_bites(self);
    }
    return self;
}

void
tally_check_destroy(tally_check_t **self_p)
{
    tally_check_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    for (size_t i = 0; i < TALLY_RULE_COUNT; i++) {
        for (size_t k = 0; k < TALLY_CHECK_EXAMPLES_MAX; k++) {
            free(self->rules[i].examples[k].text);
        }
    }
    for (size_t i = 0; i < self->reason_count; i++) {
        free(self->reasons[i]);
    }
    tally_series_t *all[] = {&self->entries,    &self->runs,   &self->epochs,  &self->terms,
                             &self->keyed,      &self->termed, &self->deduped, &self->missing,
                             &self->fault_ends, &self->turned};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        tally_series_free(all[i]);
    }
    free(self->reasons);
    free(self->senders);
    free(self->faults_from);
    free(self->faults_of);
    free(self->outcomes);
    free(self);
    *self_p = NULL;
}

tally_run_verdict_t
tally_check_verdict(const tally_check_t *self)
{
    for (size_t i = 0; i < TALLY_RULE_COUNT; i++) {
        if (self->rules[i].violations > 0) {
            return TALLY_RUN_BROKEN;
        }
    }
    return self->reason_count > 0 ? TALLY_RUN_INVALID : TALLY_RUN_VALID;
}

const tally_check_rule_t *
tally_check_rule(const tally_check_t *self, tally_rule_t rule)
{
    assert(rule < TALLY_RULE_COUNT);
    return &self->rules[rule];
}

const tally_check_figures_t *
tally_check_figures(const tally_check_t *self)
{
    return &self->figures;
}

const char *
tally_check_reason(const tally_check_t *self, size_t n)
{
    return n < self->reason_count ? self->reasons[n] : NULL;
}
