// SPDX-License-Identifier: MIT
//  check_scan: every record once, file by file.  What can be judged within a file is judged here; the rest is
//  gathered.

#include "tests/faults/check_state.h"

//  Of one file, from record to record.
struct reading {
    const tally_history_file_t *file;
    uint64_t file_index;
    int64_t last_ns;
    bool back;              // time went back in it
    tally_run_t run;        // of deliveries, the last one
    uint64_t term_epoch;    // told last
    uint32_t term_stream;
    uint64_t confirm_epoch;    // the highest yet
};

static void
take_term(tally_check_t *self, struct reading *reading, const tally_history_record_t *record)
{
    uint32_t stream = tally_stream_of(record);
    if (reading->term_stream == stream && reading->term_epoch == record->epoch) {
        return;
    }
    reading->term_stream = stream;
    reading->term_epoch = record->epoch;
    tally_told_term_t *term = tally_series_add(&self->terms);
    *term = (tally_told_term_t){.stream = stream,
                                .process = reading->file->process,
                                .epoch = record->epoch,
                                .told_ns = record->at_ns,
                                .settled_ns = TALLY_NEVER};
}

//  Records of one lease stand together; when it comes again later its token was used twice.
static void
take_delivery(tally_check_t *self, struct reading *reading, const tally_history_record_t *record)
{
    uint32_t stream = tally_stream_of(record);
    tally_check_told_epoch(self, EPOCH_OF(record->id), record->at_ns, false);
    tally_check_told_epoch(self, EPOCH_OF(record->lease), record->at_ns, false);
    if (record->epoch != 0) {
        take_term(self, reading, record);
    }
    tally_run_t *run = &reading->run;
    if (run->lease == record->lease && run->stream == stream) {
        return;
    }
    self->rules[TALLY_RULE_TOKEN].checked++;
    if (record->lease < run->lease) {
        tally_check_violated(self, TALLY_RULE_TOKEN, record->number, run->number,
                             "%s (process %u) gets lease %llu after lease %llu",
                             reading->file->name, reading->file->process,
                             (unsigned long long)record->lease, (unsigned long long)run->lease);
    }
    *run = (tally_run_t){record->lease, stream, reading->file->process, record->number};
    *(tally_run_t *)tally_series_add(&self->runs) = *run;
}

static void
take_confirm(tally_check_t *self, struct reading *reading, const tally_history_record_t *record)
{
    tally_check_recovery_confirm(self, record->at_ns);
    if ((record->code & TALLY_CONFIRM_REPEATED) != 0) {
        self->figures.repeated++;
        return;
    }
    if (record->id != 0) {
        tally_check_told_epoch(self, EPOCH_OF(record->id), record->at_ns, false);
    }
    //  What was stored before may be confirmed by whoever knows; what is new only by the newest broker.
    if (record->epoch < reading->confirm_epoch) {
        tally_check_violated(
            self, TALLY_RULE_WRITER, record->number, 0,
            "%s (process %u) gets a confirm of broker epoch %llu after one of %llu",
            reading->file->name, reading->file->process, (unsigned long long)record->epoch,
            (unsigned long long)reading->confirm_epoch);
        return;
    }
    reading->confirm_epoch = record->epoch;
}

static void
take_missing(tally_check_t *self, const tally_history_record_t *record)
{
    tally_missing_t *missing = tally_series_add(&self->missing);
    *missing = (tally_missing_t){record->process, record->sequence};
}

static void
take_sender(tally_check_t *self, const tally_history_record_t *record, bool named)
{
    uint32_t process = named ? record->item : record->process;
    if (process > TALLY_HISTORY_PROCESS_MAX) {
        return;
    }
    tally_sender_state_t *sender = &self->senders[process];
    if (named) {
        sender->named = true;
        memcpy(sender->text, record->text, sizeof sender->text);
    } else {
        sender->known = true;
        sender->last = record->sequence;
    }
}

//  What is not about one message; also what has a number that cannot be.
static void
take_other(tally_check_t *self, struct reading *reading, const tally_history_record_t *record)
{
    switch (record->kind) {
    case TALLY_DID_NAME:
        if (record->code == TALLY_NAMED_SENDER) {
            take_sender(self, record, true);
        }
        break;
    case TALLY_TOLD_WELCOME:
        tally_check_told_epoch(self, record->epoch, record->at_ns, false);
        break;
    case TALLY_TOLD_TERM:
        take_term(self, reading, record);
        break;
    case TALLY_ROW_SENDER:
        take_sender(self, record, false);
        break;
    case TALLY_ROW_MISSING:
        take_missing(self, record);
        break;
    case TALLY_ROW_LEASE:
        self->lease_rows++;
        break;
    default:
        break;
    }
}

//  A body without a number cannot be joined with what was sent.
static void
take_nameless(tally_check_t *self, const struct reading *reading,
              const tally_history_record_t *record)
{
    if (record->kind == TALLY_TOLD_DELIVERED) {
        tally_check_violated(self, TALLY_RULE_ATTEMPTS, 0, 0,
                             "%s (process %u) gets message id %llu with a body that nobody sent",
                             reading->file->name, reading->file->process,
                             (unsigned long long)record->id);
    } else {
        tally_check_violated(self, TALLY_RULE_GHOST, 0, 0,
                             "%s with id %llu has a body that nobody sent",
                             tally_did_name(record->kind), (unsigned long long)record->id);
    }
}

static void
take_message(tally_check_t *self, struct reading *reading, const tally_history_record_t *record,
             uint64_t index)
{
    switch (record->kind) {
    case TALLY_TOLD_DELIVERED:
        take_delivery(self, reading, record);
        break;
    case TALLY_TOLD_CONFIRMED:
        take_confirm(self, reading, record);
        break;
    case TALLY_TOLD_SETTLED:
        tally_check_told_epoch(self, EPOCH_OF(record->lease), record->at_ns, true);
        break;
    case TALLY_ROW_MESSAGE:
    case TALLY_ROW_INBOX:
        self->pending_rows++;
        break;
    default:
        break;
    }
    if (record->number == 0) {
        take_nameless(self, reading, record);
        return;
    }
    tally_entry_t *entry = tally_series_add(&self->entries);
    *entry = (tally_entry_t){record->number, reading->file_index << 40 | index};
}

static bool
is_about_message(unsigned kind)
{
    return (kind >= TALLY_DID_SEND && kind < TALLY_TOLD_WELCOME)
           || (kind >= TALLY_TOLD_DELIVERED && kind <= TALLY_DID_BURY)
           || (kind >= TALLY_ROW_EFFECT && kind <= TALLY_ROW_INBOX);
}

static void
count_kinds(tally_check_t *self, const uint64_t *kinds)
{
    tally_check_figures_t *figures = &self->figures;
    figures->results = kinds[TALLY_TOLD_RESULT];
    figures->delivered = kinds[TALLY_TOLD_DELIVERED];
    figures->settled = kinds[TALLY_TOLD_SETTLED];
    figures->effects = kinds[TALLY_ROW_EFFECT];
    figures->stale = kinds[TALLY_TOLD_STALE];
    figures->rolled_back = kinds[TALLY_TOLD_FAILED];
    figures->returned = kinds[TALLY_DID_RETURN];
    figures->buried = kinds[TALLY_ROW_DEAD];
}

static void
scan_file(tally_check_t *self, struct reading *reading, uint64_t *kinds)
{
    const tally_history_file_t *file = reading->file;
    bool rows = file->writer == TALLY_WRITER_DATABASE;
    for (uint64_t i = 0; i < file->count; i++) {
        const tally_history_record_t *record = &file->records[i];
        kinds[record->kind < 128 ? record->kind : 0]++;
        if (record->at_ns < reading->last_ns && !reading->back) {
            reading->back = true;
            tally_check_doubt(self, "time goes back in the history of %s (process %u), record %llu",
                              file->name, file->process, (unsigned long long)i);
        }
        reading->last_ns = record->at_ns;
        if (!rows && (self->start_ns == 0 || record->at_ns < self->start_ns)) {
            self->start_ns = record->at_ns;
        }
        if (is_about_message(record->kind)) {
            take_message(self, reading, record, i);
        } else {
            take_other(self, reading, record);
        }
    }
}

bool
tally_check_same_sender(const tally_check_t *self, uint32_t one, uint32_t other)
{
    const tally_sender_state_t *a = &self->senders[one], *b = &self->senders[other];
    return one == other || (a->named && b->named && memcmp(a->text, b->text, sizeof a->text) == 0);
}

int
tally_check_compare_missing(const void *a, const void *b)
{
    const tally_missing_t *left = a, *right = b;
    if (left->process != right->process) {
        return left->process < right->process ? -1 : 1;
    }
    return (left->sequence > right->sequence) - (left->sequence < right->sequence);
}

void
tally_check_scan(tally_check_t *self)
{
    uint64_t kinds[128] = {0};
    tally_series_reserve(&self->entries, self->set->record_count);
    for (size_t i = 0; i < self->set->file_count; i++) {
        struct reading reading = {.file = &self->set->files[i], .file_index = i};
        scan_file(self, &reading, kinds);
    }
    tally_series_sort(&self->missing, tally_check_compare_missing);
    self->figures.records = self->set->record_count;
    count_kinds(self, kinds);
}
