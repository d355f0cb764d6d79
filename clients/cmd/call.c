// SPDX-License-Identifier: MIT
//  call - see call.h: the line, its flags and arguments.

#include "clients/cmd/call_self.h"

#include "lib/alloc.h"
#include "lib/nearest.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS_DEFAULT 5000
#define TIMEOUT_MS_MAX (24LL * 3600 * 1000)
//  Long flags without a letter are told apart by numbers above all letters.
#define FLAG_VALUE_BASE 1000

const tally_flag_t tally_call_global_flags[] = {
    {"broker", 'b', "ENDPOINT", "front of the broker (or TALLY_BROKER)"},
    {"dir", 0, "DIR", "instance started by `tally up` (or TALLY_DIR)"},
    {"key", 0, "FILE", "our key pair, if the broker wants keys (or TALLY_KEY)"},
    {"server-key", 0, "FILE,...", "its public key (or TALLY_SERVER_KEY)"},
    {"json", 0, NULL, "JSON on standard output"},
    {"timeout", 0, "TIME", "give up after 500ms, 5s, 2m..."},
    {"quiet", 'q', NULL, "no progress, no lines that say that all went well"},
    {"no-color", 0, NULL, "no colour (or NO_COLOR)"},
    {"help", 'h', NULL, "this text"},
    {"version", 0, NULL, "versions"},
    TALLY_FLAGS_END,
};

tally_call_t *
tally_call_new(void)
{
    tally_call_t *self = tally_alloc(sizeof *self);
    self->timeout_ms = -1;
    return self;
}

void
tally_call_destroy(tally_call_t **self_p)
{
    assert(self_p != NULL);
    tally_call_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    tally_client_destroy(&self->client);
    free(self->endpoint);
    free(self->key);
    free(self->server_key);
    free(self);
    *self_p = NULL;
}

//  ---- parsing -----------------------------------------------------------------------------------

//  What getopt needs to know of a list of flags, and the flags behind its numbers.
struct grammar {
    const tally_flag_t *flags[2 * TALLY_FLAGS_MAX];
    size_t count;
    struct option options[2 * TALLY_FLAGS_MAX + 1];
    char letters[4 * TALLY_FLAGS_MAX + 3];
};

static void
add_flags(struct grammar *grammar, const tally_flag_t *flags)
{
    for (size_t i = 0; flags != NULL && flags[i].name != NULL; i++) {
        assert(grammar->count < 2 * TALLY_FLAGS_MAX);
        for (size_t k = 0; k < grammar->count; k++) {
            assert(strcmp(grammar->flags[k]->name, flags[i].name) != 0);
            assert(flags[i].letter == 0 || grammar->flags[k]->letter != flags[i].letter);
        }
        grammar->options[grammar->count] = (struct option){
            .name = flags[i].name,
            .has_arg = flags[i].argument != NULL ? required_argument : no_argument,
            .val = FLAG_VALUE_BASE + (int)grammar->count,
        };
        grammar->flags[grammar->count++] = &flags[i];
        if (flags[i].letter != 0) {
            size_t end = strlen(grammar->letters);
            grammar->letters[end] = flags[i].letter;
            grammar->letters[end + 1] = flags[i].argument != NULL ? ':' : '\0';
        }
    }
}

static const tally_flag_t *
flag_of(const struct grammar *grammar, int value)
{
    if (value >= FLAG_VALUE_BASE) {
        return grammar->flags[value - FLAG_VALUE_BASE];
    }
    for (size_t i = 0; i < grammar->count; i++) {
        if (grammar->flags[i]->letter == value) {
            return grammar->flags[i];
        }
    }
    return NULL;
}

static int
fail_flag(const tally_call_t *self, const struct grammar *grammar, int why, char **argv)
{
    const char *word = argv[optind - 1];
    if (why == ':') {
        return tally_call_fail_usage(self, "%s needs a value", word);
    }
    if (optopt >= FLAG_VALUE_BASE) {
        return tally_call_fail_usage(self, "%s takes no value", word);
    }
    if (optopt != 0) {
        return tally_call_fail_usage(self, "there is no flag -%c", optopt);
    }
    const char *names[2 * TALLY_FLAGS_MAX];
    for (size_t i = 0; i < grammar->count; i++) {
        names[i] = grammar->flags[i]->name;
    }
    size_t length = strcspn(word + 2, "=");
    const char *near = tally_nearest((tally_bytes_t){word + 2, length}, names, grammar->count);
    return tally_call_fail_usage(self, "there is no flag --%.*s%s%s%s", (int)length, word + 2,
                                 near != NULL ? "; did you mean --" : "", near != NULL ? near : "",
                                 near != NULL ? "?" : "");
}

//  -1 after a mistake; else optind says where the arguments begin.
static int
parse(tally_call_t *self, struct grammar *grammar, int argc, char **argv)
{
    opterr = 0;
    optind = 0;
    for (;;) {
        optopt = 0;
        int value = getopt_long(argc, argv, grammar->letters, grammar->options, NULL);
        if (value == -1) {
            return 0;
        }
        const tally_flag_t *flag = flag_of(grammar, value);
        if (flag == NULL) {
            fail_flag(self, grammar, value, argv);
            return -1;
        }
        if (self->given_count == FLAG_VALUES_MAX) {
            tally_call_fail_usage(self, "too many flags");
            return -1;
        }
        self->given[self->given_count++] = (struct given){flag->name,
                                                          flag->argument != NULL ? optarg : ""};
    }
}

int
tally_call_parse_global(tally_call_t *self, int argc, char **argv)
{
    struct grammar grammar = {.letters = "+:"};
    add_flags(&grammar, tally_call_global_flags);
    return parse(self, &grammar, argc, argv) == -1 ? -1 : optind;
}

//  --timeout counts wherever it stands, so it is read once, here.
static int
take_timeout(tally_call_t *self)
{
    int64_t timeout_ms;
    if (tally_call_duration(self, "timeout", TIMEOUT_MS_MAX, -1, &timeout_ms) == -1) {
        return -1;
    }
    self->timeout_ms = (int)timeout_ms;
    return 0;
}

int
tally_call_parse(tally_call_t *self, const tally_command_t *command, int argc, char **argv)
{
    self->command = command;
    struct grammar grammar = {.letters = ":"};
    add_flags(&grammar, command->flags);
    add_flags(&grammar, tally_call_global_flags);
    if (parse(self, &grammar, argc, argv) == -1) {
        return -1;
    }
    self->arguments = argv + optind;
    self->argument_count = (size_t)(argc - optind);
    if (tally_call_has(self, "help")) {
        return 0;
    }
    if (self->argument_count < command->arguments_min) {
        tally_call_fail_usage(self, "%s is missing", command->arguments);
        return -1;
    }
    if (self->argument_count > command->arguments_max) {
        tally_call_fail_usage(self, "\"%s\" is more than is taken",
                              self->arguments[command->arguments_max]);
        return -1;
    }
    return take_timeout(self);
}

//  ---- what was said -----------------------------------------------------------------------------

//  The last one given counts.
const char *
tally_call_value(const tally_call_t *self, const char *flag)
{
    for (size_t i = self->given_count; i > 0; i--) {
        if (strcmp(self->given[i - 1].name, flag) == 0) {
            return self->given[i - 1].value;
        }
    }
    return NULL;
}

bool
tally_call_has(const tally_call_t *self, const char *flag)
{
    return tally_call_value(self, flag) != NULL;
}

//  Reads digits; *rest is behind them.  -1 when there are none or too many.
static int
read_digits(const char *text, int64_t *value, const char **rest)
{
    if (!isdigit((unsigned char)*text)) {
        return -1;
    }
    char *end;
    errno = 0;
    *value = strtoll(text, &end, 10);
    *rest = end;
    return errno == 0 ? 0 : -1;
}

int
tally_call_number(const tally_call_t *self, const char *flag, int64_t min, int64_t max,
                  int64_t fallback, int64_t *value)
{
    const char *text = tally_call_value(self, flag);
    const char *rest = "";
    *value = fallback;
    if (text == NULL) {
        return 0;
    }
    if (read_digits(text, value, &rest) == -1 || *rest != '\0' || *value < min || *value > max) {
        tally_call_fail_usage(self, "--%s is a number from %" PRId64 " to %" PRId64 ", not \"%s\"",
                              flag, min, max, text);
        return -1;
    }
    return 0;
}

int
tally_call_duration(const tally_call_t *self, const char *flag, int64_t max_ms, int64_t fallback_ms,
                    int64_t *value_ms)
{
    static const struct {
        const char *name;
        int64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};

    const char *text = tally_call_value(self, flag);
    *value_ms = fallback_ms;
    if (text == NULL) {
        return 0;
    }
    int64_t number;
    const char *unit;
    if (read_digits(text, &number, &unit) == 0) {
        for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
            if (strcmp(unit, units[i].name) == 0 && number <= max_ms / units[i].ms) {
                *value_ms = number * units[i].ms;
                return 0;
            }
        }
    }
    tally_call_fail_usage(self,
                          "--%s is a time as 500ms, 90s, 5m, 2h or 3d, up to %" PRId64
                          " hours, not \"%s\"",
                          flag, max_ms / 3600000, text);
    return -1;
}

size_t
tally_call_argument_count(const tally_call_t *self)
{
    return self->argument_count;
}

const char *
tally_call_argument(const tally_call_t *self, size_t index)
{
    assert(index < self->argument_count);
    return self->arguments[index];
}

const char *
tally_call_tenant(const tally_call_t *self)
{
    const char *tenant = tally_call_value(self, "tenant");
    if (tenant == NULL) {
        tenant = getenv("TALLY_TENANT");
    }
    if (tenant == NULL || *tenant == '\0') {
        tally_call_fail_usage(self, "say whose: -t TENANT (or TALLY_TENANT)");
        return NULL;
    }
    return tenant;
}

bool
tally_call_wants_json(const tally_call_t *self)
{
    return tally_call_has(self, "json");
}

bool
tally_call_is_quiet(const tally_call_t *self)
{
    return tally_call_has(self, "quiet");
}

int
tally_call_timeout_ms(const tally_call_t *self)
{
    return self->timeout_ms >= 0 ? self->timeout_ms : TIMEOUT_MS_DEFAULT;
}

int
tally_call_work_timeout_ms(const tally_call_t *self)
{
    return self->timeout_ms;
}
