// SPDX-License-Identifier: MIT
//  pg - the keeper process, the template cluster, and databases made from it.

#include "tests/integration/pg.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/migrations.h"
#include "tests/integration/marker.h"

#define START_MS_MAX 30000
#define SOCKET_DIR_BYTES_MAX 80    // sockaddr_un takes 108; the names below need the rest

enum order { ORDER_STOP = 'S', ORDER_START = 'G', ORDER_DONE = '.' };

struct tally_pg {
    char *dir;         // data, socket and log
    char *conninfo;    // of the database made last
    int database;      // its number
    pid_t keeper;
    int orders;     // to the keeper; its end makes the keeper clean up
    int answers;    // from the keeper
    const char *const *settings;
};

static void fail(const char *format, ...) TALLY_PRINTF(1, 2) __attribute__((noreturn));

static void
fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "test server: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(EXIT_FAILURE);
}

static const char *
environment(const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    return value == NULL || value[0] == '\0' ? otherwise : value;
}

//  ---- programs ----------------------------------------------------------------------------------

static char *
program_path(const char *name)
{
    return tally_format("%s/%s", environment("TALLY_PG_BIN", "/usr/lib/postgresql/15/bin"), name);
}

//  PostgreSQL refuses to run as root, so it gets the user that Debian made for it.
static void
drop_root(void)
{
    if (geteuid() != 0) {
        return;
    }
    const struct passwd *user = getpwnam("postgres");
    if (user == NULL || setgroups(0, NULL) != 0 || setgid(user->pw_gid) != 0
        || setuid(user->pw_uid) != 0) {
        _exit(126);
    }
}

//  Starts a program with its output in DIR/log; args[0] is its path or name.
static pid_t
start_program(const char *dir, bool as_server, const char *const *args)
{
    pid_t pid = fork();
    if (pid < 0) {
        fail("fork: %s", strerror(errno));
    }
    if (pid > 0) {
        return pid;
    }
    char *log_path = tally_format("%s/log", dir);
    int log = open(log_path, O_WRONLY | O_CREAT | O_APPEND, 0666);
    int nothing = open("/dev/null", O_RDONLY);
    if (log < 0 || nothing < 0 || dup2(nothing, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0) {
        _exit(126);
    }
    if (as_server) {
        drop_root();
        if (chdir(dir) != 0) {
            _exit(126);
        }
    }
    execvp(args[0], (char *const *)(uintptr_t)args);
    _exit(127);
}

static bool
run_program(const char *dir, bool as_server, const char *const *args)
{
    pid_t pid = start_program(dir, as_server, args);
    int status;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) {
            return false;
        }
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void
print_log(const char *dir)
{
    char *path = tally_format("%s/log", dir);
    FILE *file = fopen(path, "r");
    char line[512];
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        fprintf(stderr, "  %s", line);
    }
    if (file != NULL) {
        fclose(file);
    }
    free(path);
}

static int
remove_entry(const char *path, const struct stat *info, int type, struct FTW *place)
{
    (void)info;
    (void)type;
    (void)place;
    return remove(path);
}

static void
remove_tree(const char *dir)
{
    nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

//  ---- the server, in the keeper -----------------------------------------------------------------

static pid_t
start_server(const tally_pg_t *self)
{
    const char *fixed[] = {
        "listen_addresses=",
        "unix_socket_permissions=0700",
        "fsync=off",
        "shared_buffers=64MB",
        "max_connections=60",
        "max_wal_size=256MB",
        "log_min_messages=warning",
        "log_error_verbosity=terse",
        "log_parameter_max_length=0",
        "log_parameter_max_length_on_error=0",
        "timezone=UTC",
    };
    const char *args[64];
    size_t count = 0;
    args[count++] = program_path("postgres");
    args[count++] = "-D";
    args[count++] = tally_format("%s/data", self->dir);
    args[count++] = "-k";
    args[count++] = self->dir;
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++) {
        args[count++] = "-c";
        args[count++] = fixed[i];
    }
    for (size_t i = 0; self->settings != NULL && self->settings[i] != NULL && count < 60; i++) {
        args[count++] = "-c";
        args[count++] = self->settings[i];
    }
    args[count] = NULL;
    return start_program(self->dir, true, args);
}

static void
stop_server(pid_t *server)
{
    if (*server > 0) {
        kill(*server, SIGQUIT);
        while (waitpid(*server, NULL, 0) < 0 && errno == EINTR) {
        }
        *server = 0;
    }
}

//  The keeper's whole life; its exit code.  Reading the end of `orders` means that the test program is gone.
static int
keep(const tally_pg_t *self, int orders, int answers)
{
    pid_t server = 0;
    char order;
    for (;;) {
        ssize_t got = read(orders, &order, 1);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            break;
        }
        if (order == ORDER_STOP) {
            stop_server(&server);
        } else if (server == 0) {
            server = start_server(self);
        }
        order = ORDER_DONE;
        if (write(answers, &order, 1) != 1) {
            break;
        }
    }
    stop_server(&server);
    int leaks = tally_marker_search(self->dir);
    remove_tree(self->dir);
    return leaks == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static void
start_keeper(tally_pg_t *self)
{
    int orders[2], answers[2];
    if (pipe2(orders, O_CLOEXEC) != 0 || pipe2(answers, O_CLOEXEC) != 0) {
        fail("pipe: %s", strerror(errno));
    }
    fflush(NULL);
    self->keeper = fork();
    if (self->keeper < 0) {
        fail("fork: %s", strerror(errno));
    }
    if (self->keeper == 0) {
        setsid();    // a Ctrl-C is for the test program; the keeper sees its end
        signal(SIGPIPE, SIG_IGN);
        close(orders[1]);
        close(answers[0]);
        _exit(keep(self, orders[0], answers[1]));
    }
    close(orders[0]);
    close(answers[1]);
    self->orders = orders[1];
    self->answers = answers[0];
}

static void
give_order(tally_pg_t *self, char order)
{
    char answer = 0;
    ssize_t got = -1;
    if (write(self->orders, &order, 1) == 1) {
        do {
            got = read(self->answers, &answer, 1);
        } while (got < 0 && errno == EINTR);
    }
    if (got != 1 || answer != ORDER_DONE) {
        fail("its keeper died");
    }
}

//  ---- databases ---------------------------------------------------------------------------------

static PGconn *
connect_to(const tally_pg_t *self, const char *database)
{
    char *conninfo = tally_format("host=%s user=tally dbname=%s", self->dir, database);
    int64_t give_up_at_ms = tally_clock_now_ms() + START_MS_MAX;
    for (;;) {
        PGconn *handle = PQconnectdb(conninfo);
        if (PQstatus(handle) == CONNECTION_OK) {
            free(conninfo);
            return handle;
        }
        if (tally_clock_now_ms() > give_up_at_ms) {
            print_log(self->dir);
            fail("%s", PQerrorMessage(handle));
        }
        PQfinish(handle);
        poll(NULL, 0, 10);    // nobody tells us when it listens; the deadline is above
    }
}

static void
execute(PGconn *handle, const char *sql)
{
    PGresult *result = PQexec(handle, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
        fail("%s", PQresultErrorMessage(result));
    }
    PQclear(result);
}

void
tally_pg_stop(tally_pg_t *self)
{
    give_order(self, ORDER_STOP);
}

void
tally_pg_start(tally_pg_t *self)
{
    give_order(self, ORDER_START);
    PQfinish(connect_to(self, "postgres"));
}

const char *
tally_pg_conninfo(const tally_pg_t *self)
{
    return self->conninfo;
}

const char *
tally_pg_fresh(tally_pg_t *self)
{
    PGconn *handle = connect_to(self, "postgres");
    if (self->database > 0) {
        char *drop = tally_format("drop database test%d with (force)", self->database);
        execute(handle, drop);
        free(drop);
    }
    self->database++;
    char *create = tally_format("create database test%d template tally", self->database);
    execute(handle, create);
    free(create);
    PQfinish(handle);
    free(self->conninfo);
    self->conninfo = tally_format("host=%s user=tally dbname=test%d", self->dir, self->database);
    return self->conninfo;
}

//  ---- the template ------------------------------------------------------------------------------

//  FNV-1a: only to tell one schema from another.
static uint64_t
hash_schema(void)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < tally_migration_count; i++) {
        for (const char *at = tally_migrations[i].sql; *at != '\0'; at++) {
            hash = (hash ^ (uint8_t)*at) * UINT64_C(1099511628211);
        }
    }
    return hash;
}

static void
apply_migrations(PGconn *handle)
{
    for (size_t i = 0; i < tally_migration_count; i++) {
        const tally_migration_t *migration = &tally_migrations[i];
        char *record = tally_format("insert into tally.migration (version, name) values (%d, '%s')",
                                    migration->version, migration->name);
        execute(handle, "begin");
        execute(handle, migration->sql);
        execute(handle, record);
        execute(handle, "commit");
        free(record);
    }
}

static void
make_cluster(tally_pg_t *self)
{
    char *data = tally_format("%s/data", self->dir);
    char *initdb = program_path("initdb");
    const char *const args[] = {
        initdb, "-D",   data,         "-U",        "tally",           "-A", "trust",
        "-E",   "UTF8", "--locale=C", "--no-sync", "--wal-segsize=4", NULL,
    };
    if (!run_program(self->dir, true, args)) {
        print_log(self->dir);
        fail("initdb failed");
    }
    tally_pg_start(self);
    PGconn *handle = connect_to(self, "postgres");
    execute(handle, "create database tally");
    PQfinish(handle);
    handle = connect_to(self, "tally");
    apply_migrations(handle);
    execute(handle, "checkpoint");
    PQfinish(handle);
    tally_pg_stop(self);
    free(initdb);
    free(data);
}

static bool
copy_tree(const tally_pg_t *self, const char *from, const char *to)
{
    const char *const args[] = {"cp", "-a", "--reflink=auto", "--", from, to, NULL};
    return run_program(self->dir, false, args);
}

//  Keeps a copy of the cluster for the next test program.  Another one may do the same at this
//  moment: the rename decides.  That it could not be kept costs time only.
static void
keep_template(const tally_pg_t *self, const char *template)
{
    char *data = tally_format("%s/data", self->dir);
    char *copy = tally_format("%s.%d", template, (int)getpid());
    if (!copy_tree(self, data, copy) || rename(copy, template) != 0) {
        remove_tree(copy);
    }
    free(copy);
    free(data);
}

static void
make_dir(tally_pg_t *self)
{
    const char *parent = environment("TMPDIR", "/tmp");
    if (strlen(parent) > SOCKET_DIR_BYTES_MAX) {
        parent = "/tmp";
    }
    self->dir = tally_format("%s/tally-pg-XXXXXX", parent);
    if (mkdtemp(self->dir) == NULL) {
        fail("%s: %s", self->dir, strerror(errno));
    }
    const struct passwd *user = geteuid() == 0 ? getpwnam("postgres") : NULL;
    if (geteuid() == 0 && (user == NULL || chown(self->dir, user->pw_uid, user->pw_gid) != 0)) {
        fail("cannot give %s to the user postgres", self->dir);
    }
}

tally_pg_t *
tally_pg_new(const char *const *settings)
{
    const char *build = environment("TALLY_BUILD_DIR", "build");
    char *template = tally_format("%s/pg-%016" PRIx64, build, hash_schema());

    tally_pg_t *self = tally_alloc(sizeof *self);
    self->settings = settings;
    make_dir(self);
    start_keeper(self);
    char *data = tally_format("%s/data", self->dir);
    if (access(template, F_OK) != 0) {
        make_cluster(self);
        mkdir(build, 0777);
        keep_template(self, template);
    } else if (!copy_tree(self, template, data)) {
        print_log(self->dir);
        fail("cannot copy %s", template);
    }
    tally_pg_start(self);
    free(data);
    free(template);
    return self;
}

void
tally_pg_destroy(tally_pg_t **self_p)
{
    tally_pg_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    close(self->orders);
    close(self->answers);
    int status = 0;
    while (waitpid(self->keeper, &status, 0) < 0 && errno == EINTR) {
    }
    if (status != 0) {
        fail("a body shows in its log");
    }
    free(self->conninfo);
    free(self->dir);
    free(self);
    *self_p = NULL;
}

//  ---- of a whole program -----------------------------------------------------------------------------------

static tally_pg_t *shared;

int
tally_pg_share(void **state)
{
    (void)state;
    shared = tally_pg_new(NULL);
    return 0;
}

int
tally_pg_unshare(void **state)
{
    (void)state;
    tally_pg_destroy(&shared);
    return 0;
}

tally_pg_t *
tally_pg_shared(void)
{
    return shared;
}
