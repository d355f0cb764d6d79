// SPDX-License-Identifier: MIT
#include "clients/cmd/db.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "clients/cmd/command.h"
#include "clients/cmd/home.h"
#include "clients/cmd/roles_store.h"
#include "lib/alloc.h"
#include "lib/migrations.h"
#include "lib/nearest.h"

static const char help[] =
    "usage: tally db migrate|status|roles [--db CONNINFO] [--dir DIR] [--json]\n\n"
    "  migrate    bring the schema of the database to this build's version (forward only)\n"
    "  status     show both versions\n"
    "  roles      as a superuser: roles for broker, workers and readers, each with its least "
    "rights;\n"
    "             again after each migration\n\n"
    "The database is the one of --db, else TALLY_DB, else of the instance in --dir or TALLY_DIR.\n";

struct request {
    const char *dir, *db, *verb;
    bool json;
};

//  -1 to go on, or the exit code.
static int
parse(struct request *request, int argc, char **argv)
{
    static const struct option options[] = {
        {"dir", required_argument, NULL, 'd'},
        {"db", required_argument, NULL, 'b'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    static const char *const verbs[] = {"migrate", "status", "roles"};
    optind = 0;
    for (int letter; (letter = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        switch (letter) {
        case 'd':
            request->dir = optarg;
            break;
        case 'b':
            request->db = optarg;
            break;
        case 'j':
            request->json = true;
            break;
        case 'h':
            fputs(help, stdout);
            return TALLY_EXIT_OK;
        default:
            fputs("    see: tally db --help\n", stderr);
            return TALLY_EXIT_USAGE;
        }
    }
    request->verb = optind + 1 == argc ? argv[optind] : "";
    bool known = false;
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        known = known || strcmp(request->verb, verbs[i]) == 0;
    }
    if (!known) {
        const char *nearest = tally_nearest(tally_bytes_of(request->verb), verbs,
                                            sizeof verbs / sizeof verbs[0]);
        fprintf(stderr, "tally db: say migrate, status or roles%s%s%s\n    see: tally db --help\n",
                nearest == NULL ? "" : "; did you mean \"", nearest == NULL ? "" : nearest,
                nearest == NULL ? "" : "\"?");
        return TALLY_EXIT_USAGE;
    }
    return -1;
}

//  Owned by the caller; NULL when no database is named (said).
static char *
find_conninfo(const struct request *request)
{
    const char *named = request->db != NULL    ? request->db
                        : request->dir == NULL ? getenv("TALLY_DB")
                                               : NULL;
    if (named != NULL && named[0] != '\0') {
        return tally_strdup(named);
    }
    char *dir = tally_home_path(request->dir);
    tally_home_t *home = dir == NULL ? NULL : tally_home_open(dir);
    char *conninfo = home == NULL ? NULL : tally_strdup(home->db);
    tally_home_destroy(&home);
    free(dir);
    return conninfo;
}

static int
fail(const char *error)
{
    fprintf(stderr, "tally db: %s\n", error);
    return TALLY_EXIT_UNAVAILABLE;
}

static int
run_status(tally_db_t *db, bool json)
{
    char *error = NULL;
    int version = tally_migrations_version(db, &error);
    int code = version == -1 ? fail(error) : TALLY_EXIT_OK;
    int known = (int)tally_migration_count;
    free(error);
    if (version == -1) {
        return code;
    }
    if (json) {
        printf("{\"version\": %d, \"known\": %d}\n", version, known);
    } else {
        printf("schema version %d, this build has %d%s\n", version, known,
               version == known  ? ": up to date"
               : version < known ? "\n    bring it up to date: tally db migrate"
                                 : "\n    use a newer build");
    }
    return version == known ? TALLY_EXIT_OK : TALLY_EXIT_NO;
}

static int
run_migrate(tally_db_t *db)
{
    char *error = NULL;
    int code = tally_migrate(db, &error) == 0 ? TALLY_EXIT_OK : fail(error);
    free(error);
    return code;
}

static int
run_roles(tally_db_t *db)
{
    tally_db_outcome_t outcome = tally_db_connect(db);
    if (outcome == TALLY_DB_DONE) {
        outcome = tally_roles_store_apply(db);
    }
    if (outcome != TALLY_DB_DONE) {
        int code = fail(tally_db_error(db));
        tally_db_rollback(db);
        return outcome == TALLY_DB_REJECT ? TALLY_EXIT_DENIED : code;
    }
    puts("roles tally_owner, tally_broker, tally_worker and tally_reader have their rights");
    return TALLY_EXIT_OK;
}

int
tally_cmd_db(int argc, char **argv)
{
    struct request request = {.verb = ""};
    int code = parse(&request, argc, argv);
    if (code != -1) {
        return code;
    }
    char *conninfo = find_conninfo(&request);
    if (conninfo == NULL) {
        return TALLY_EXIT_CONFIG;
    }
    tally_db_t *db = tally_db_new(conninfo, "tally db");
    bool roles = strcmp(request.verb, "roles") == 0;
    bool migrates = strcmp(request.verb, "migrate") == 0;
    code = migrates ? run_migrate(db) : roles ? run_roles(db) : TALLY_EXIT_OK;
    if (code == TALLY_EXIT_OK && !roles) {
        code = run_status(db, request.json);
    }
    tally_db_destroy(&db);
    free(conninfo);
    return code;
}
