// SPDX-License-Identifier: MIT
//  key - who may come in: makes keys, lists and revokes them; and what operators did.
//
//  These verbs speak to the database, not to the broker: rights are not given over its sockets.

#include "clients/cmd/call.h"
#include "clients/cmd/door_store.h"
#include "clients/cmd/fields.h"
#include "clients/cmd/grid.h"
#include "clients/cmd/home.h"
#include "clients/cmd/verbs.h"

#include "lib/alloc.h"
#include "lib/json.h"
#include "lib/key_file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#define WORDS_MAX 64    // of one list
#define DAYS_MAX 36500
#define AUDITS_MAX 10000

#define FLAG_DB                                                                                    \
    {                                                                                              \
        "db", 0, "CONNINFO", "the database (or TALLY_DB); without it the instance's"               \
    }

static const tally_flag_t new_flags[] = {
    {"role", 0, "ROLE", "client, worker, operator or monitor"},
    {"tenant", 't', "TENANT,...", "of a client: whose; all for the other roles"},
    {"queue", 0, "QUEUE,...", "these alone; without it all"},
    {"right", 0, "RIGHT,...", "send, ask, work, read, admin; without it those of the role"},
    {"days", 0, "N", "so long; without it until it is revoked"},
    {"out", 0, "FILE", "where the key pair goes; NAME.key without"},
    {"public", 0, "FILE", "a public key that was made elsewhere; no file is written"},
    FLAG_DB,
    TALLY_FLAGS_END,
};

static const tally_flag_t server_flags[] = {
    {"out", 0, "FILE", "where the key pair goes; server.key without"},
    {"public", 0, "FILE", "where the public key goes, for everybody; server.pub without"},
    TALLY_FLAGS_END,
};

static const tally_flag_t db_flags[] = {FLAG_DB, TALLY_FLAGS_END};

static const tally_flag_t audit_flags[] = {
    {"limit", 0, "N", "so many, the newest; 100 without"},
    FLAG_DB,
    TALLY_FLAGS_END,
};

static const tally_flag_t prune_flags[] = {
    {"days", 0, "N", "keep so many; must be given"},
    FLAG_DB,
    TALLY_FLAGS_END,
};

//  What a role may do unless --right says something else.
static const struct {
    const char *role, *rights;
} defaults[] = {
    {"client", "send,ask"},
    {"worker", "work,send"},    // send: for its pings
    {"operator", "send,ask,read,admin"},
    {"monitor", "read"},
};

//  ---- the database --------------------------------------------------------------------------------

//  A connection, the caller's; NULL after saying why not (*code).
static tally_db_t *
open_database(const tally_call_t *call, int *code)
{
    const char *given = tally_call_value(call, "db");
    if (given == NULL && tally_call_value(call, "dir") == NULL) {
        given = getenv("TALLY_DB");
    }
    char *conninfo = given != NULL && *given != '\0' ? tally_strdup(given) : NULL;
    if (conninfo == NULL) {
        char *dir = tally_home_path(tally_call_value(call, "dir"));
        tally_home_t *home = dir == NULL ? NULL : tally_home_open(dir);
        conninfo = home == NULL ? NULL : tally_strdup(home->db);
        tally_home_destroy(&home);
        free(dir);
    }
    *code = TALLY_EXIT_CONFIG;
    if (conninfo == NULL) {
        return NULL;
    }
    tally_db_t *db = tally_db_new(conninfo, "tally-key");
    free(conninfo);
    if (tally_db_connect(db) != TALLY_DB_DONE) {
        *code = tally_call_fail(call, TALLY_EXIT_UNAVAILABLE, "could not reach the database: %s",
                                tally_db_error(db));
        tally_db_destroy(&db);
    }
    return db;
}

static int
fail_database(const tally_call_t *call, tally_db_t *db, tally_db_outcome_t outcome)
{
    return tally_call_fail(call,
                           outcome == TALLY_DB_REJECT ? TALLY_EXIT_DATA : TALLY_EXIT_UNAVAILABLE,
                           "%s", tally_db_error(db));
}

//  A column with a JSON array, the caller's; NULL after saying why not (*code).
static json_t *
take_list(const tally_call_t *call, tally_db_t *db, tally_db_outcome_t outcome,
          const tally_rows_t *rows, int *code)
{
    if (outcome != TALLY_DB_DONE) {
        *code = fail_database(call, db, outcome);
        return NULL;
    }
    tally_bytes_t text = tally_rows_bytes(rows, 0, 0);
    json_t *list = tally_json_load(text, text.size, TALLY_JSON_MADE, NULL);
    *code = list != NULL ? TALLY_EXIT_OK
                         : tally_call_fail(call, TALLY_EXIT_BUG, "the list cannot be read");
    return list;
}

//  ---- key new -------------------------------------------------------------------------------------

//  Cuts a copy of `list` at its commas; the words are in it.  -1 when there are too many.
static int
cut(char *list, tally_bytes_t words[WORDS_MAX], size_t *count)
{
    *count = 0;
    char *rest = list;
    for (char *word; (word = strsep(&rest, ",")) != NULL;) {
        if (*count == WORDS_MAX) {
            return -1;
        }
        words[(*count)++] = tally_bytes_of(word);
    }
    return 0;
}

struct lists {
    char *texts[3];    // tenants, queues, rights
    tally_bytes_t words[3][WORDS_MAX];
    size_t counts[3];
};

//  What may be is the database's to say; here is only what goes by itself.  0, or an exit code.
static int
take_lists(const tally_call_t *call, const char *role, struct lists *lists)
{
    const char *rights = tally_call_value(call, "right");
    for (size_t i = 0; rights == NULL && i < sizeof defaults / sizeof defaults[0]; i++) {
        if (strcmp(defaults[i].role, role) == 0) {
            rights = defaults[i].rights;
        }
    }
    const char *tenants = tally_call_value(call, "tenant");
    if (rights == NULL) {
        return tally_call_fail_usage(call, "--role is client, worker, operator or monitor");
    }
    if (tenants == NULL && strcmp(role, "client") == 0) {
        return tally_call_fail_usage(call, "say whose the client is: --tenant TENANT, or "
                                           "--tenant '*' for all");
    }
    if (tenants != NULL && strcmp(tenants, "*") != 0 && strcmp(role, "worker") == 0) {
        return tally_call_fail_usage(
            call, "a worker sees all tenants of its queues, because a lease may be of any; give "
                  "tenants that are to be apart queues of their own, and say --queue");
    }
    const char *queues = tally_call_value(call, "queue");
    lists->texts[0] = tally_strdup(tenants != NULL ? tenants : "*");
    lists->texts[1] = tally_strdup(queues != NULL ? queues : "*");
    lists->texts[2] = tally_strdup(rights);
    for (size_t i = 0; i < 3; i++) {
        if (cut(lists->texts[i], lists->words[i], &lists->counts[i]) == -1) {
            return tally_call_fail_usage(call, "a list has at most %d words", WORDS_MAX);
        }
    }
    return 0;
}

//  Reads the public key that was made elsewhere, or makes a pair and writes it.  *path, the caller's, names the file
//  that was written.
static int
make_pair(const tally_call_t *call, const char *name, tally_key_pair_t *pair, char **path)
{
    const char *foreign = tally_call_value(call, "public");
    const char *out = tally_call_value(call, "out");
    char *error = NULL;
    int rc;
    if (foreign != NULL) {
        rc = tally_key_file_read(foreign, TALLY_KEY_PUBLIC, pair, &error);
    } else if (tally_key_pair_make(pair) == -1) {
        return tally_call_fail(call, TALLY_EXIT_UNAVAILABLE, "this libzmq has no CURVE");
    } else {
        *path = out != NULL ? tally_strdup(out) : tally_format("%s.key", name);
        rc = tally_key_file_write(*path, TALLY_KEY_SECRET, pair, name, &error);
        if (rc == -1) {
            free(*path);
            *path = NULL;
        }
    }
    int code = rc == 0 ? 0 : tally_call_fail(call, TALLY_EXIT_CANNOT_CREATE, "%s", error);
    free(error);
    return code;
}

//  The file first: a key that is in the database and nowhere else would be of no use.
static int
add_principal(tally_call_t *call, tally_db_t *db, tally_new_principal_t *principal)
{
    tally_key_pair_t pair = {0};
    char *path = NULL;
    int code = make_pair(call, principal->name, &pair, &path);
    if (code == 0) {
        principal->key = pair.public_key;
        tally_db_outcome_t outcome = tally_door_store_add(db, principal);
        if (outcome != TALLY_DB_DONE) {
            code = fail_database(call, db, outcome);
            if (path != NULL && outcome != TALLY_DB_UNKNOWN) {
                unlink(path);
            }
        }
    }
    if (code == 0 && tally_call_wants_json(call)) {
        json_t *object = json_pack("{s:b, s:s, s:s, s:s*}", "ok", 1, "name", principal->name, "key",
                                   pair.public_key, "file", path);
        tally_call_print_json(object);
        json_decref(object);
    } else if (code == 0 && path != NULL) {
        tally_call_say(call, "%s is in %s; the broker knows it within 1 s", principal->name, path);
    } else if (code == 0) {
        tally_call_say(call, "the broker knows %s within 1 s", principal->name);
    }
    principal->key = NULL;
    tally_key_pair_forget(&pair);
    free(path);
    return code;
}

static int
run_new(tally_call_t *call)
{
    const char *role = tally_call_value(call, "role");
    struct lists *lists = tally_alloc(sizeof *lists);
    int64_t days = 0;
    int code = TALLY_EXIT_USAGE;
    if (tally_call_number(call, "days", 1, DAYS_MAX, 0, &days) == 0) {
        code = take_lists(call, role != NULL ? role : "", lists);
    }
    tally_db_t *db = code == 0 ? open_database(call, &code) : NULL;
    if (db != NULL) {
        tally_new_principal_t principal = {.name = tally_call_argument(call, 0),
                                           .role = role,
                                           .tenants = lists->words[0],
                                           .tenant_count = lists->counts[0],
                                           .queues = lists->words[1],
                                           .queue_count = lists->counts[1],
                                           .rights = lists->words[2],
                                           .right_count = lists->counts[2],
                                           .days = days};
        code = add_principal(call, db, &principal);
    }
    tally_db_destroy(&db);
    for (size_t i = 0; i < 3; i++) {
        free(lists->texts[i]);
    }
    free(lists);
    return code;
}

//  ---- key server ----------------------------------------------------------------------------------

static int
run_server(tally_call_t *call)
{
    const char *out = tally_call_value(call, "out");
    const char *public = tally_call_value(call, "public");
    out = out != NULL ? out : "server.key";
    public = public != NULL ? public : "server.pub";
    tally_key_pair_t pair;
    if (tally_key_pair_make(&pair) == -1) {
        return tally_call_fail(call, TALLY_EXIT_UNAVAILABLE, "this libzmq has no CURVE");
    }
    char *error = NULL;
    int rc = tally_key_file_write(out, TALLY_KEY_SECRET, &pair, "server", &error);
    if (rc == 0) {
        rc = tally_key_file_write(public, TALLY_KEY_PUBLIC, &pair, "server", &error);
        if (rc == -1) {
            unlink(out);
        }
    }
    int code = TALLY_EXIT_OK;
    if (rc == -1) {
        code = tally_call_fail(call, TALLY_EXIT_CANNOT_CREATE, "%s", error);
    } else if (tally_call_wants_json(call)) {
        json_t *object = json_pack("{s:b, s:s, s:s, s:s}", "ok", 1, "key", pair.public_key, "file",
                                   out, "public", public);
        tally_call_print_json(object);
        json_decref(object);
    } else {
        tally_call_say(call, "%s is the broker's alone, %s is for its clients and workers", out,
                       public);
    }
    tally_key_pair_forget(&pair);
    free(error);
    return code;
}

//  ---- key ls, key revoke --------------------------------------------------------------------------

static void
add_words(tally_grid_t *grid, const json_t *list)
{
    char text[256] = "";
    size_t index, size = 0;
    json_t *word;
    json_array_foreach(list, index, word) {
        int more = snprintf(text + size, sizeof text - size, "%s%s", index > 0 ? "," : "",
                            json_string_value(word));
        if (more < 0 || (size_t)more >= sizeof text - size) {
            break;    // the rest is in --json
        }
        size += (size_t)more;
    }
    tally_grid_add(grid, text);
}

static void
print_keys(const json_t *list)
{
    static const char *const headings[] = {"NAME",   "ROLE",   "STATE", "TENANTS",
                                           "QUEUES", "RIGHTS", "UNTIL", "KEY"};
    tally_grid_t *grid = tally_grid_new(headings, sizeof headings / sizeof headings[0]);
    size_t index;
    json_t *one;
    json_array_foreach(list, index, one) {
        const char *until = tally_field_text(one, "not_after");
        tally_grid_add(grid, tally_field_text(one, "name"));
        tally_grid_add(grid, tally_field_text(one, "role"));
        tally_grid_add(grid, tally_field_text(one, "state"));
        add_words(grid, json_object_get(one, "tenants"));
        add_words(grid, json_object_get(one, "queues"));
        add_words(grid, json_object_get(one, "rights"));
        tally_grid_add(grid, *until != '\0' ? until : "-");
        tally_grid_add(grid, tally_field_text(one, "key"));
    }
    tally_grid_print(grid, stdout);
    tally_grid_destroy(&grid);
}

static int
run_ls(tally_call_t *call)
{
    int code = 0;
    tally_db_t *db = open_database(call, &code);
    if (db == NULL) {
        return code;
    }
    tally_rows_t rows;
    tally_db_outcome_t outcome = tally_door_store_list(db, &rows);
    json_t *list = take_list(call, db, outcome, &rows, &code);
    if (list != NULL && tally_call_wants_json(call)) {
        tally_call_print_json(list);
    } else if (list != NULL && json_array_size(list) == 0) {
        tally_call_say(call, "no keys");
    } else if (list != NULL) {
        print_keys(list);
    }
    json_decref(list);
    tally_db_destroy(&db);
    return code;
}

static int
run_revoke(tally_call_t *call)
{
    int code = 0;
    tally_db_t *db = open_database(call, &code);
    if (db == NULL) {
        return code;
    }
    const char *name = tally_call_argument(call, 0);
    bool found;
    tally_db_outcome_t outcome = tally_door_store_revoke(db, name, &found);
    if (outcome != TALLY_DB_DONE) {
        code = fail_database(call, db, outcome);
    } else if (!found) {
        code = tally_call_fail(call, TALLY_EXIT_NO, "there is no live key %s: tally key ls", name);
    } else {
        tally_call_say(call, "%s is refused within 5 s, on connections that are there too", name);
        code = TALLY_EXIT_OK;
    }
    tally_db_destroy(&db);
    return code;
}

//  ---- audit ---------------------------------------------------------------------------------------

static void
print_audits(const json_t *list)
{
    static const char *const headings[] = {"AT", "WHO", "ACTION", "RESULT", "REQUEST"};
    tally_grid_t *grid = tally_grid_new(headings, sizeof headings / sizeof headings[0]);
    size_t index;
    json_t *one;
    json_array_foreach(list, index, one) {
        const char *result = tally_field_text(one, "result");
        char request[121];
        snprintf(request, sizeof request, "%s", tally_field_text(one, "request"));
        tally_grid_add(grid, tally_field_text(one, "at"));
        tally_grid_add(grid, tally_field_text(one, "who"));
        tally_grid_add(grid, tally_field_text(one, "action"));
        tally_grid_add(grid, *result != '\0' ? result : "not known");
        tally_grid_add(grid, request);
    }
    tally_grid_print(grid, stdout);
    tally_grid_destroy(&grid);
}

static int
run_audit(tally_call_t *call)
{
    int64_t limit;
    if (tally_call_number(call, "limit", 1, AUDITS_MAX, 100, &limit) == -1) {
        return TALLY_EXIT_USAGE;
    }
    int code = 0;
    tally_db_t *db = open_database(call, &code);
    if (db == NULL) {
        return code;
    }
    tally_rows_t rows;
    tally_db_outcome_t outcome = tally_door_store_audits(db, limit, &rows);
    json_t *list = take_list(call, db, outcome, &rows, &code);
    if (list != NULL && tally_call_wants_json(call)) {
        tally_call_print_json(list);
    } else if (list != NULL) {
        print_audits(list);
    }
    json_decref(list);
    tally_db_destroy(&db);
    return code;
}

static int
run_prune(tally_call_t *call)
{
    int64_t days = 0, pruned = 0;
    if (tally_call_number(call, "days", 1, DAYS_MAX, 0, &days) == -1) {
        return TALLY_EXIT_USAGE;
    }
    if (days == 0) {
        return tally_call_fail_usage(call, "say how much to keep: --days N");
    }
    int code = 0;
    tally_db_t *db = open_database(call, &code);
    if (db == NULL) {
        return code;
    }
    tally_db_outcome_t outcome = tally_door_store_prune(db, days, &pruned);
    if (outcome != TALLY_DB_DONE) {
        code = fail_database(call, db, outcome);
    } else {
        tally_call_say(call, "took out %" PRId64 " records older than %" PRId64 " days", pruned,
                       days);
        code = TALLY_EXIT_OK;
    }
    tally_db_destroy(&db);
    return code;
}

//  ---- the verbs -----------------------------------------------------------------------------------

const tally_command_t tally_verb_key_new = {
    .name = "key new",
    .section = "ADMIN",
    .arguments = "NAME",
    .summary = "a key for a client, a worker, an operator or a monitor",
    .flags = new_flags,
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run_new,
    .examples = "  tally key new acme-web --role client --tenant acme --out acme-web.key\n"
                "  tally key new worker-1 --role worker --queue responses,heartbeat\n"
                "  tally key new ada --role operator --days 90\n",
};

const tally_command_t tally_verb_key_server = {
    .name = "key server",
    .section = "ADMIN",
    .arguments = "",
    .summary = "a key pair for the broker itself",
    .flags = server_flags,
    .run = run_server,
};

const tally_command_t tally_verb_key_ls = {
    .name = "key ls",
    .section = "ADMIN",
    .arguments = "",
    .summary = "the keys, and what they may do",
    .flags = db_flags,
    .run = run_ls,
};

const tally_command_t tally_verb_key_revoke = {
    .name = "key revoke",
    .section = "ADMIN",
    .arguments = "NAME",
    .summary = "end a key, for good",
    .flags = db_flags,
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run_revoke,
};

const tally_command_t tally_verb_audit = {
    .name = "audit",
    .section = "ADMIN",
    .arguments = "",
    .summary = "what operators did",
    .flags = audit_flags,
    .run = run_audit,
};

const tally_command_t tally_verb_audit_prune = {
    .name = "audit prune",
    .section = "ADMIN",
    .arguments = "",
    .summary = "take old records out; for who owns the tables",
    .flags = prune_flags,
    .run = run_prune,
    .examples = "  tally audit prune --days 365\n",
};
