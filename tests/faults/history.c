// SPDX-License-Identifier: MIT
//  history: appending to a mapped file, reading one, bodies that say whose they are.

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "tests/faults/history.h"
#include "tests/integration/marker.h"

#define BLOCK_RECORDS 8192    // reserved and mapped at once: half a megabyte
#define BLOCK_BYTES (BLOCK_RECORDS * sizeof(tally_history_record_t))

struct tally_history {
    int file;
    tally_history_record_t *block;    // mapped; NULL before the first
    off_t block_at;                   // its place in the file
    size_t used;                      // records in it
};

static _Noreturn void
die(const char *what, const char *path)
{
    fprintf(stderr, "history: could not %s: %s  path=%s\n", what, strerror(errno), path);
    exit(70);
}

//  Never 0, so that a record is never taken for the reserved room behind it.
static uint32_t
checksum(const tally_history_record_t *record)
{
    uint64_t words[sizeof *record / 8];
    memcpy(words, record, sizeof words);
    words[7] &= ~(uint64_t)0 >> 32;    // without the check itself
    uint64_t sum = 0x9e3779b97f4a7c15u;
    for (size_t i = 0; i < 8; i++) {
        sum = (sum ^ words[i]) * 0xff51afd7ed558ccdu;
        sum ^= sum >> 32;
    }
    return (uint32_t)sum != 0 ? (uint32_t)sum : 1;
}

static void
next_block(tally_history_t *self)
{
    if (self->block != NULL) {
        munmap(self->block, BLOCK_BYTES);
        self->block_at += (off_t)BLOCK_BYTES;
    }
    //  Reserved, not only made longer: a store into a hole of a full disk would be SIGBUS.
    int code = posix_fallocate(self->file, self->block_at, (off_t)BLOCK_BYTES);
    if (code != 0) {
        errno = code;
        die("reserve room", "(open file)");
    }
    self->block = mmap(NULL, BLOCK_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, self->file,
                       self->block_at);
    if (self->block == MAP_FAILED) {
        die("map", "(open file)");
    }
    self->used = 0;
}

tally_history_t *
tally_history_open(const char *directory, const char *name, uint32_t process, tally_writer_t writer)
{
    assert(process > 0 && process <= TALLY_HISTORY_PROCESS_MAX);
    char *path = tally_format("%s/%s.%u.history", directory, name, process);
    tally_history_t *self = tally_alloc(sizeof *self);
    self->file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (self->file == -1) {
        die("make the file", path);
    }
    free(path);
    next_block(self);
    tally_history_record_t begin = {.kind = TALLY_DID_BEGIN,
                                    .code = (uint16_t)writer,
                                    .process = process};
    memcpy(begin.text, name, strnlen(name, sizeof begin.text));
    tally_history_add(self, &begin);
    return self;
}

void
tally_history_close(tally_history_t **self_p)
{
    tally_history_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    munmap(self->block, BLOCK_BYTES);
    off_t length = self->block_at + (off_t)(self->used * sizeof(tally_history_record_t));
    if (ftruncate(self->file, length) == -1) {
        die("cut the file", "(open file)");
    }
    close(self->file);
    free(self);
    *self_p = NULL;
}

void
tally_history_add(tally_history_t *self, const tally_history_record_t *record)
{
    if (self->used == BLOCK_RECORDS) {
        next_block(self);
    }
    tally_history_record_t copy = *record;
    if (copy.at_ns == 0) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        copy.at_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    }
    copy.check = 0;
    uint32_t check = checksum(&copy);
    tally_history_record_t *place = &self->block[self->used++];
    *place = copy;
    //  Last, and before anything the caller does next: a kill finds the whole record or a torn one.
    atomic_signal_fence(memory_order_seq_cst);
    *(volatile uint32_t *)&place->check = check;
    atomic_signal_fence(memory_order_seq_cst);
}

void
tally_history_name(tally_history_t *self, tally_named_t what, uint32_t number, const char *name)
{
    tally_history_record_t record = {.kind = TALLY_DID_NAME,
                                     .code = (uint16_t)what,
                                     .item = number};
    assert(strlen(name) <= sizeof record.text);
    memcpy(record.text, name, strlen(name));
    tally_history_add(self, &record);
}

uint64_t
tally_history_number(uint32_t process, uint64_t n)
{
    assert(n > 0 && n < (uint64_t)1 << 40);
    return (uint64_t)process << 40 | n;
}

//  ---- bodies -------------------------------------------------------------------------------------------------

#define BODY_MAGIC 0x54464831u    // "TFH1"
#define FILLING_AT 24U            // up to there: who sent what

static void
put(uint8_t *at, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        at[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
    }
}

static uint64_t
get(const uint8_t *at, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++) {
        value = value << 8 | at[i];
    }
    return value;
}

//  First the marker, which nothing but a body may show.
static uint8_t
filling(uint64_t number, size_t at)
{
    static const char marker[] = TALLY_MARKER;
    return at - FILLING_AT < strlen(marker) ? (uint8_t)marker[at - FILLING_AT]
                                            : (uint8_t)((number * 31 + at * 7) % 251);
}

void
tally_history_body_write(uint8_t *body, size_t bytes, const tally_history_record_t *send)
{
    assert(bytes >= TALLY_HISTORY_BODY_BYTES_MIN && bytes <= UINT32_MAX);
    put(body, BODY_MAGIC, 4);
    put(body + TALLY_HISTORY_BODY_NUMBER_AT, send->number, 8);
    put(body + 12, send->tenant, 2);
    put(body + 14, send->queue, 2);
    put(body + 16, send->key, 4);
    put(body + 20, bytes, 4);
    for (size_t i = FILLING_AT; i < bytes; i++) {
        body[i] = filling(send->number, i);
    }
}

void
tally_history_body_read(tally_bytes_t body, tally_history_record_t *delivered)
{
    const uint8_t *at = body.data;
    delivered->code = TALLY_BODY_CHANGED;
    delivered->number = 0;
    delivered->key = 0;
    if (body.size < TALLY_HISTORY_BODY_BYTES_MIN || get(at, 4) != BODY_MAGIC) {
        return;
    }
    delivered->number = get(at + TALLY_HISTORY_BODY_NUMBER_AT, 8);
    delivered->key = (uint32_t)get(at + 16, 4);
    if (get(at + 12, 2) != delivered->tenant || get(at + 14, 2) != delivered->queue
        || get(at + 20, 4) != body.size) {
        return;
    }
    for (size_t i = FILLING_AT; i < body.size; i++) {
        if (at[i] != filling(delivered->number, i)) {
            return;
        }
    }
    delivered->code = TALLY_BODY_INTACT;
}

//  ---- reading ------------------------------------------------------------------------------------------------

static bool
is_zero(const uint8_t *bytes, size_t count)
{
    return count == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, count - 1) == 0);
}

//  Counts the whole records; what stands behind them may be one piece of a record and zeros.
static const char *
count_records(tally_history_file_t *self)
{
    const tally_history_record_t *records = self->map;
    size_t whole = self->map_bytes / sizeof *records;
    size_t count = 0;
    while (count < whole && records[count].check == checksum(&records[count])) {
        count++;
    }
    self->records = records;
    self->count = count;
    size_t end = count * sizeof *records;
    size_t piece = self->map_bytes - end;
    piece = piece < sizeof *records ? piece : sizeof *records;
    const uint8_t *bytes = self->map;
    self->torn = !is_zero(bytes + end, piece);
    if (!is_zero(bytes + end + piece, self->map_bytes - end - piece)) {
        return "something stands behind a record that is broken";
    }
    if (count == 0 && !self->torn) {
        return NULL;    // killed before it could begin
    }
    if (count == 0 || records[0].kind != TALLY_DID_BEGIN) {
        return "it does not begin as a history does";
    }
    for (size_t i = 1; i < count; i++) {
        if (records[i].kind == TALLY_DID_BEGIN) {
            return "two processes wrote into it";
        }
    }
    return NULL;
}

int
tally_history_file_open(tally_history_file_t *self, const char *path, const char **why)
{
    *self = (tally_history_file_t){0};
    int file = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (file == -1 || fstat(file, &status) == -1) {
        *why = "it cannot be opened";
        if (file != -1) {
            close(file);
        }
        return -1;
    }
    *why = NULL;
    if (status.st_size > 0) {
        self->map_bytes = (size_t)status.st_size;
        self->map = mmap(NULL, self->map_bytes, PROT_READ, MAP_SHARED, file, 0);
        *why = self->map == MAP_FAILED ? "it cannot be mapped" : count_records(self);
    }
    close(file);
    if (*why != NULL || self->count == 0) {
        tally_history_file_close(self);
        return *why != NULL ? -1 : 0;
    }
    const tally_history_record_t *begin = self->records;
    self->process = begin->process;
    self->writer = (tally_writer_t)begin->code;
    memcpy(self->name, begin->text, sizeof begin->text);
    return 0;
}

void
tally_history_file_close(tally_history_file_t *self)
{
    if (self->map != NULL && self->map != MAP_FAILED) {
        munmap(self->map, self->map_bytes);
    }
    *self = (tally_history_file_t){0};
}

const char *
tally_did_name(unsigned kind)
{
    static const char *const names[] = {
        [TALLY_DID_BEGIN] = "begin",
        [TALLY_DID_NAME] = "name",
        [TALLY_DID_QUEUE] = "queue",
        [TALLY_DID_PHASE] = "phase",
        [TALLY_DID_SEND] = "send",
        [TALLY_TOLD_CONFIRMED] = "confirmed",
        [TALLY_TOLD_REFUSED] = "refused",
        [TALLY_TOLD_NOTHING] = "given up",
        [TALLY_TOLD_RESULT] = "result",
        [TALLY_TOLD_WELCOME] = "welcome",
        [TALLY_TOLD_DELIVERED] = "delivered",
        [TALLY_DID_SETTLE] = "settle",
        [TALLY_TOLD_SETTLED] = "settled",
        [TALLY_TOLD_STALE] = "refused as stale",
        [TALLY_TOLD_FAILED] = "rolled back",
        [TALLY_TOLD_UNKNOWN] = "outcome unknown",
        [TALLY_DID_RETURN] = "return",
        [TALLY_DID_BURY] = "bury",
        [TALLY_TOLD_TERM] = "elected",
        [TALLY_TOLD_TERM_LOST] = "term lost",
        [TALLY_TOLD_GONE] = "taken for dead",
        [TALLY_FAULT_BEGAN] = "fault began",
        [TALLY_FAULT_ENDED] = "fault ended",
        [TALLY_ROW_EFFECT] = "row of effects",
        [TALLY_ROW_MESSAGE] = "row of message",
        [TALLY_ROW_DEAD] = "row of dead_letter",
        [TALLY_ROW_INBOX] = "row of inbox",
        [TALLY_ROW_LEASE] = "row of lease",
        [TALLY_ROW_RESULT] = "row of result",
        [TALLY_ROW_SENDER] = "row of sender",
        [TALLY_ROW_MISSING] = "missing of sender",
        [TALLY_ROW_TERM] = "row of term",
        [TALLY_ROW_BROKER] = "row of broker",
        [TALLY_ROWS_COMPLETE] = "rows complete",
    };
    bool known = kind < sizeof names / sizeof *names && names[kind] != NULL;
    return known ? names[kind] : "?";
}

const char *
tally_victim_name(unsigned victim)
{
    static const char *const names[] = {"none",     "client",  "worker", "term holder", "broker",
                                        "database", "network", "disk",   "clock"};
    return victim < sizeof names / sizeof *names ? names[victim] : "?";
}
