// SPDX-License-Identifier: MIT
#include "tests/faults/client.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "tests/faults/board.h"
#include "tests/faults/chance.h"
#include "tests/faults/load.h"
#include "tests/faults/memo.h"

#define SILENCE_MS                                                                                 \
    300    // connections are given up sooner than by default: there are many to give up
#define TURN_MS 20
#define SEND_MS 200
#define BURST_MS 200    // what was not sent in time is made up for as far as this

struct load_client {
    tally_client_t *client;
    tally_history_t *history;
    tally_board_t *board;
    tally_slot_t *slot;
    tally_memo_t *memo;
    tally_load_t load;
    uint64_t seed;
    uint32_t number;
    uint32_t again;    // the next of those to be repeated; memo->next: none is left
    uint64_t epoch;
    double rate_per_ms, tokens;
    int64_t tokens_at_ms;
};

static volatile sig_atomic_t told_to_end;

static void
end(int signal_number)
{
    (void)signal_number;
    told_to_end = 1;
}

//  ---- telling ----------------------------------------------------------------------------------

static void
note_epoch(struct load_client *self)
{
    uint64_t epoch = tally_client_broker_epoch(self->client);
    if (epoch != self->epoch) {
        self->epoch = epoch;
        tally_history_add(self->history,
                          &(tally_history_record_t){.kind = TALLY_TOLD_WELCOME, .epoch = epoch});
    }
}

static void
take_confirm(struct load_client *self, const tally_event_t *event)
{
    uint32_t sequence = (uint32_t)event->sequence;
    bool was_open = tally_memo_has(self->memo, sequence)
                    && !self->memo->sends[sequence % TALLY_MEMO_WINDOW].answered;
    unsigned stored = 0;
    for (unsigned i = 0; i < event->count; i++) {
        bool duplicate = event->ids != NULL && event->ids[i] == 0;
        stored += duplicate ? 0 : 1;
        tally_history_add(self->history, &(tally_history_record_t){
                                             .kind = TALLY_TOLD_CONFIRMED,
                                             .number = tally_load_number(self->number, sequence, i),
                                             .id = event->ids != NULL ? event->ids[i] : 0,
                                             .epoch = self->epoch,
                                             .code = event->repeated ? TALLY_CONFIRM_REPEATED
                                                     : duplicate     ? TALLY_CONFIRM_DUPLICATE
                                                                     : 0,
                                         });
    }
    tally_memo_answer(self->memo, sequence, false);
    if (was_open) {
        tally_board_add(&self->slot->confirmed, stored);
    }
}

static void
take_refusal(struct load_client *self, const tally_event_t *event)
{
    uint32_t sequence = (uint32_t)event->sequence;
    tally_log_warn("send %u was refused: %s: %s", sequence, tally_client_code_name(event->code),
                   event->text);
    tally_load_make(&self->load, self->seed, self->number, sequence);
    for (size_t i = 0; i < self->load.count; i++) {
        tally_history_add(self->history, &(tally_history_record_t){
                                             .kind = TALLY_TOLD_REFUSED,
                                             .number = self->load.records[i].number,
                                             .code = (uint16_t)event->code,
                                         });
    }
    tally_memo_answer(self->memo, sequence, true);
    tally_board_add(&self->slot->refused, self->load.count);
}

static void
take_event(struct load_client *self, const tally_event_t *event)
{
    if (event->kind == TALLY_EVENT_CONFIRMED) {
        take_confirm(self, event);
    } else if (event->kind == TALLY_EVENT_REFUSED) {
        take_refusal(self, event);
    } else if (event->kind == TALLY_EVENT_RESULT) {
        uint32_t sequence = (uint32_t)event->sequence;
        unsigned item = (unsigned)event->index;
        uint64_t answered = 0;
        if (event->outcome == TALLY_OUTCOME_DONE && event->body_bytes == sizeof answered) {
            memcpy(&answered, event->body, sizeof answered);
        }
        tally_history_add(self->history,
                          &(tally_history_record_t){
                              .kind = TALLY_TOLD_RESULT,
                              .number = tally_load_number(self->number, sequence, item),
                              .code = (uint16_t)event->outcome,
                              .answered = answered,
                          });
        (void)tally_memo_result(self->memo, sequence, item);
    }
}

//  ---- trying -----------------------------------------------------------------------------------

//  Records and hands over the send of that number.  False when the library does not take it now.
static bool
send_one(struct load_client *self, uint32_t sequence, bool is_new)
{
    tally_load_t *load = &self->load;
    tally_load_make(load, self->seed, self->number, sequence);
    uint32_t results = 0;
    for (size_t i = 0; i < load->count; i++) {
        tally_history_add(self->history, &load->records[i]);
        results |= (load->records[i].code & TALLY_SENT_ASK) != 0 ? (uint32_t)1 << i : 0;
    }
    if (is_new) {
        tally_memo_take(self->memo, results);
    }
    uint64_t given;
    int rc = tally_client_send(self->client, tally_load_policy(load->queue)->name,
                               tally_load_tenant(load->tenant), load->messages, load->count,
                               SEND_MS, &given);
    if (rc == -1) {
        return false;
    }
    assert(given == sequence);
    self->tokens -= (double)load->count;
    return true;
}

static void
refill(struct load_client *self)
{
    int64_t now_ms = tally_clock_now_ms();
    double most = self->rate_per_ms * BURST_MS;
    self->tokens += self->rate_per_ms * (double)(now_ms - self->tokens_at_ms);
    self->tokens = self->tokens > most ? most : self->tokens;
    self->tokens_at_ms = now_ms;
}

//  What was open when this program died, in order; then new ones as fast as allowed.
static void
send_some(struct load_client *self)
{
    refill(self);
    while (self->again < self->memo->next) {
        if (!send_one(self, self->again, false)) {
            return;
        }
        self->again++;
    }
    while (self->tokens > 0 && !atomic_load(&self->board->quiet) && !atomic_load(&self->board->full)
           && !tally_memo_full(self->memo)) {
        bool taken = send_one(self, self->memo->next, true);
        self->again = taken ? self->memo->next : self->memo->next - 1;
        if (!taken) {
            return;
        }
    }
}

static void
turn(struct load_client *self)
{
    send_some(self);
    tally_event_t event;
    int timeout_ms = TURN_MS;
    while (tally_client_next(self->client, timeout_ms, &event) == 0) {
        note_epoch(self);
        take_event(self, &event);
        timeout_ms = 0;
    }
    note_epoch(self);
    uint32_t open = tally_memo_open_count(self->memo);
    atomic_store(&self->slot->open, open);
    atomic_store(&self->slot->resting, open == 0 && atomic_load(&self->board->quiet));
}

//  ---- starting ---------------------------------------------------------------------------------

static bool
open_files(struct load_client *self, const char *room, uint32_t process)
{
    char *board = tally_format("%s/board", room);
    char *memo = tally_format("%s/memo-%u", room, self->number);
    char *histories = tally_format("%s/history", room);
    char *name = tally_format("client-%u", self->number);
    self->board = tally_board_open(board);
    self->memo = tally_memo_open(memo);
    self->history = tally_history_open(histories, name, process, TALLY_WRITER_CLIENT);
    free(board);
    free(memo);
    free(histories);
    free(name);
    if (self->board == NULL || self->memo == NULL) {
        return false;
    }
    assert(process > self->memo->process);
    self->memo->process = process;
    self->slot = &self->board->slots[self->number];
    return true;
}

//  The sender follows from seed and client, and is named in every life's history.
static void
introduce(struct load_client *self, uint32_t process, unsigned silence_ms)
{
    tally_chance_t chance = tally_chance_of(self->seed, self->number, 0, 4);
    uint64_t words[2] = {tally_chance_next(&chance), tally_chance_next(&chance)};
    memcpy(self->memo->sender, words, sizeof words);
    char hex[2 * sizeof words + 1];
    for (size_t i = 0; i < sizeof words; i++) {
        snprintf(hex + 2 * i, 3, "%02x", self->memo->sender[i]);
    }
    tally_history_name(self->history, TALLY_NAMED_SENDER, process, hex);
    char *name = tally_format("load-%u", self->number);
    int rc = tally_client_set_name(self->client, name);
    assert(rc == 0);
    free(name);
    tally_client_set_sender(self->client, self->memo->sender);
    tally_client_set_first(self->client, self->memo->lowest);
    tally_client_set_silence(self->client, silence_ms);
    self->again = self->memo->lowest;
}

int
tally_faults_client(int argc, char **argv)
{
    if (argc != 8) {
        fprintf(stderr, "usage: faults client ROOM NUMBER PROCESS SEED FRONTS RATE SILENCE-MS\n");
        return 64;
    }
    signal(SIGTERM, end);
    struct load_client *self = tally_alloc(sizeof *self);
    self->number = (uint32_t)strtoul(argv[2], NULL, 10);
    uint32_t process = (uint32_t)strtoul(argv[3], NULL, 10);
    self->seed = strtoull(argv[4], NULL, 10);
    self->rate_per_ms = strtod(argv[6], NULL) / 1000;
    self->tokens_at_ms = tally_clock_now_ms();
    self->client = tally_client_new(argv[5]);
    if (self->client == NULL || !open_files(self, argv[1], process)) {
        return 70;
    }
    introduce(self, process, (unsigned)strtoul(argv[7], NULL, 10));
    while (!told_to_end) {
        turn(self);
    }
    tally_client_destroy(&self->client);
    tally_history_close(&self->history);
    tally_memo_close(&self->memo);
    tally_board_close(&self->board);
    free(self);
    return 0;
}
