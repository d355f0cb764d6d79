// SPDX-License-Identifier: MIT
//  call_broker - see call.h: finding the broker, talking to it, and saying what went wrong.

#include "clients/cmd/call_self.h"
#include "clients/cmd/home.h"

#include "lib/alloc.h"
#include "lib/json.h"
#include "lib/log.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#define LINE_BYTES_MAX 2048

//  ---- speaking ----------------------------------------------------------------------------------

static void
print_failure(const char *format, va_list arguments)
{
    char *text = NULL;
    int length = vasprintf(&text, format, arguments);
    assert(length >= 0);
    char line[LINE_BYTES_MAX];
    tally_log_escape(line, sizeof line, (tally_bytes_t){text, (size_t)length});
    free(text);
    fprintf(stderr, "tally: %s\n", line);
}

int
tally_call_fail(const tally_call_t *self, int code, const char *format, ...)
{
    (void)self;
    va_list arguments;
    va_start(arguments, format);
    print_failure(format, arguments);
    va_end(arguments);
    return code;
}

int
tally_call_fail_usage(const tally_call_t *self, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_failure(format, arguments);
    va_end(arguments);
    const char *name = self->command != NULL ? self->command->name : NULL;
    fprintf(stderr, "    see: tally %s%s--help\n", name != NULL ? name : "",
            name != NULL ? " " : "");
    return TALLY_EXIT_USAGE;
}

static int
exit_of_code(int code)
{
    switch (code) {
    case TALLY_CODE_UNREACHABLE:
    case TALLY_CODE_VERSION:
        return TALLY_EXIT_UNAVAILABLE;
    case TALLY_CODE_BUSY:
    case TALLY_CODE_AWAY:
    case TALLY_CODE_TIMEOUT:
        return TALLY_EXIT_TRY_AGAIN;
    case TALLY_CODE_NAME:
    case TALLY_CODE_LIMIT:
    case TALLY_CODE_OPTION:
    case TALLY_CODE_JSON:
        return TALLY_EXIT_DATA;
    case TALLY_CODE_UNKNOWN:
    case TALLY_CODE_STALE:
        return TALLY_EXIT_NO;
    case TALLY_CODE_REFUSED:
        return TALLY_EXIT_DENIED;
    case TALLY_CODE_ENDPOINT:
    case TALLY_CODE_KEYS:
        return TALLY_EXIT_USAGE;
    default:
        return TALLY_EXIT_BUG;
    }
}

static const char *
hint_of_code(int code)
{
    switch (code) {
    case TALLY_CODE_UNREACHABLE:
        return "start one: tally up      or say where it is: --broker ENDPOINT, TALLY_BROKER, "
               "--dir DIR";
    case TALLY_CODE_KEYS:
        return "say both --key and --server-key (or TALLY_KEY and TALLY_SERVER_KEY); tally key new "
               "makes keys";
    case TALLY_CODE_AWAY:
        return "the broker waits for PostgreSQL and goes on by itself: tally status";
    case TALLY_CODE_BUSY:
        return "a limit of the tenant or the broker is reached: tally status";
    case TALLY_CODE_VERSION:
        return "broker and command are of different versions: tally --version";
    default:
        return NULL;
    }
}

//  Who is not let in hears nothing of the broker, not even that.
static void
print_hint(const tally_call_t *self, int code)
{
    if (hint_of_code(code) != NULL) {
        fprintf(stderr, "    %s\n", hint_of_code(code));
    }
    if (code == TALLY_CODE_UNREACHABLE && tally_call_has_keys(self)) {
        fputs("    or the key is not let in (tally key ls), or the broker has another one\n",
              stderr);
    }
}

int
tally_call_fail_client(const tally_call_t *self, const tally_client_t *client)
{
    int code = tally_client_code(client);
    tally_call_fail(self, 0, "%s: %s", tally_client_code_name(code), tally_client_text(client));
    print_hint(self, code);
    return exit_of_code(code);
}

int
tally_call_fail_reply(const tally_call_t *self, const json_t *reply)
{
    const json_t *error = json_object_get(reply, "error");
    const char *name = json_string_value(json_object_get(error, "code"));
    const char *text = json_string_value(json_object_get(error, "text"));
    if (name == NULL || text == NULL) {
        return tally_call_fail(self, TALLY_EXIT_BUG, "ANSWER: neither \"ok\" nor an \"error\"");
    }
    tally_call_fail(self, 0, "%s: %s", name, text);
    for (int code = TALLY_CODE_FRAME; code <= TALLY_CODE_INTERNAL; code++) {
        if (strcmp(tally_client_code_name(code), name) == 0) {
            print_hint(self, code);
            return exit_of_code(code);
        }
    }
    return TALLY_EXIT_NO;    // a code of a worker's own
}

void
tally_call_say(const tally_call_t *self, const char *format, ...)
{
    if (tally_call_is_quiet(self)) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
}

void
tally_call_print_json(const json_t *value)
{
    json_dumpf(value, stdout, JSON_COMPACT | JSON_ENCODE_ANY);
    putchar('\n');
}

bool
tally_call_wants_color(const tally_call_t *self, FILE *file)
{
    const char *no_color = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    return !tally_call_has(self, "no-color") && (no_color == NULL || *no_color == '\0')
           && (term == NULL || strcmp(term, "dumb") != 0) && isatty(fileno(file)) == 1;
}

bool
tally_call_wants_progress(const tally_call_t *self)
{
    return !tally_call_is_quiet(self) && isatty(STDERR_FILENO) == 1;
}

//  ---- the broker --------------------------------------------------------------------------------

//  The front of the instance in its directory, or NULL after saying what is wrong.
static char *
find_instance(tally_call_t *self, int *code)
{
    char *dir = tally_home_path(tally_call_value(self, "dir"));
    if (dir == NULL) {
        *code = TALLY_EXIT_USAGE;
        return NULL;
    }
    char *path = tally_format("%s/tally.conf", dir);
    char *front = NULL;
    if (access(path, F_OK) == -1 && errno != EACCES) {
        *code = tally_call_fail(self, TALLY_EXIT_UNAVAILABLE, "there is no instance in %s", dir);
        fprintf(stderr, "    %s\n", hint_of_code(TALLY_CODE_UNREACHABLE));
    } else if (access(path, R_OK) == -1) {
        *code = tally_call_fail(self, TALLY_EXIT_DENIED, "%s may not be read: %s", path,
                                strerror(errno));
    } else {
        tally_home_t *home = tally_home_open(dir);
        if (home == NULL) {
            *code = TALLY_EXIT_CONFIG;
        } else {
            front = tally_strdup(home->front);
            self->key = home->key != NULL ? tally_strdup(home->key) : NULL;
            self->server_key = home->server_key != NULL ? tally_strdup(home->server_key) : NULL;
        }
        tally_home_destroy(&home);
    }
    free(path);
    free(dir);
    return front;
}

const char *
tally_call_endpoint(tally_call_t *self, int *code)
{
    if (self->endpoint != NULL) {
        return self->endpoint;
    }
    const char *given = tally_call_value(self, "broker");
    if (given == NULL && tally_call_value(self, "dir") == NULL) {
        given = getenv("TALLY_BROKER");
    }
    if (given != NULL && *given != '\0') {
        self->endpoint = tally_strdup(given);
    } else {
        self->endpoint = find_instance(self, code);
    }
    return self->endpoint;
}

//  What was said, else what the environment or the instance says.
static const char *
find_key(const tally_call_t *self, const char *flag, const char *variable, const char *of_instance)
{
    const char *value = tally_call_value(self, flag);
    if (value == NULL) {
        value = getenv(variable);
    }
    return value != NULL && *value != '\0' ? value : of_instance;
}

bool
tally_call_has_keys(const tally_call_t *self)
{
    return find_key(self, "key", "TALLY_KEY", self->key) != NULL;
}

int
tally_call_set_keys(const tally_call_t *self, tally_client_t *client)
{
    return tally_client_set_keys(client, find_key(self, "key", "TALLY_KEY", self->key),
                                 find_key(self, "server-key", "TALLY_SERVER_KEY",
                                          self->server_key));
}

tally_client_t *
tally_call_client(tally_call_t *self, int *code)
{
    if (self->client != NULL) {
        return self->client;
    }
    const char *endpoint = tally_call_endpoint(self, code);
    if (endpoint == NULL) {
        return NULL;
    }
    tally_client_t *client = tally_client_new(endpoint);
    if (client == NULL) {
        *code = tally_call_fail(self, TALLY_EXIT_TRY_AGAIN, "could not connect: %s",
                                strerror(errno));
        return NULL;
    }
    int rc = tally_client_set_name(client, "tally-command");
    assert(rc == 0);
    if (tally_call_set_keys(self, client) == -1
        || tally_client_connect(client, tally_call_timeout_ms(self)) == -1) {
        *code = tally_call_fail_client(self, client);
        tally_client_destroy(&client);
        return NULL;
    }
    self->client = client;
    return client;
}

//  A reply's JSON: 0 when it is "ok", else the exit code.
static int
take_reply(const tally_call_t *self, tally_bytes_t text, json_t **reply)
{
    tally_json_fault_t fault;
    json_t *value = tally_json_load(text, TALLY_FRAME_BYTES_MAX, TALLY_JSON_MADE, &fault);
    if (!json_is_object(value)) {
        json_decref(value);
        return tally_call_fail(self, TALLY_EXIT_BUG, "ANSWER: not a JSON object%s%s",
                               fault.code == TALLY_JSON_FINE ? "" : ": ",
                               fault.code == TALLY_JSON_FINE ? "" : fault.text);
    }
    if (!json_is_true(json_object_get(value, "ok"))) {
        int code = tally_call_fail_reply(self, value);
        json_decref(value);
        return code;
    }
    *reply = value;
    return 0;
}

int
tally_call_admin(tally_call_t *self, json_t *request, json_t **reply)
{
    *reply = NULL;
    int code = 0;
    char *text = json_dumps(request, JSON_COMPACT);
    json_decref(request);
    tally_client_t *client = tally_call_client(self, &code);
    if (client != NULL) {
        const char *answer = tally_client_admin(client, text, tally_call_timeout_ms(self));
        code = answer != NULL ? take_reply(self, tally_bytes_of(answer), reply)
                              : tally_call_fail_client(self, client);
    }
    free(text);
    return code;
}

int
tally_call_ask(tally_call_t *self, const char *queue, const char *tenant, json_t *body,
               unsigned message_flags, int timeout_ms, json_t **reply)
{
    *reply = NULL;
    int code = 0;
    char *text = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    tally_client_t *client = tally_call_client(self, &code);
    if (client == NULL) {
        free(text);
        return code;
    }
    tally_message_t message = {.body = text, .body_bytes = strlen(text), .flags = message_flags};
    if (message.body_bytes > tally_client_body_inline_max(client)) {
        message.flags |= TALLY_MESSAGE_BLOB;
    }
    tally_event_t event;
    if (tally_client_ask(client, queue, tenant, &message, timeout_ms, &event) == -1) {
        code = tally_call_fail_client(self, client);
        if (tally_client_code(client) == TALLY_CODE_TIMEOUT) {
            fprintf(stderr, "    is there a worker for queue %s? tally worker ls\n", queue);
        }
    } else if (event.outcome == TALLY_OUTCOME_BURIED) {
        code = tally_call_fail(self, TALLY_EXIT_NO, "buried: %.*s", (int)event.body_bytes,
                               (const char *)event.body);
    } else if (event.outcome == TALLY_OUTCOME_DROPPED) {
        code = tally_call_fail(self, TALLY_EXIT_NO, "dropped by an operator");
    } else {
        code = take_reply(self, (tally_bytes_t){event.body, event.body_bytes}, reply);
    }
    free(text);
    return code;
}
