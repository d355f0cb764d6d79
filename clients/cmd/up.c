// SPDX-License-Identifier: MIT
#include "clients/cmd/up.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clients/cmd/command.h"
#include "clients/cmd/keeper.h"
#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/version.h"

#define LOOK_MS 20
#define DOWN_MS_MAX 180000
#define READY_MS_MAX 180000
#define WINDOW_SECONDS_MAX (366LL * 24 * 3600)
#define BROKERS_MAX 8
#define CREWS_DEFAULT "responses=2,statistics=2,export=1,heartbeat=1"

static const char up_help[] =
    "usage: tally up [--dir DIR] [--db CONNINFO] [--workers ROLE=N,...] [--brokers N]\n"
    "                [--statistics-window SECONDS] [--foreground]\n\n"
    "Starts an instance: a private PostgreSQL cluster (unless --db names a database), the broker "
    "and workers,\n"
    "and waits until all of them are ready.  What dies is started again.  An instance that is up "
    "already is\n"
    "left as it is.\n\n"
    "  --dir DIR                where the instance lives (or TALLY_DIR)\n"
    "  --db CONNINFO            use this database instead of a private cluster\n"
    "  --workers ROLE=N,...     default " CREWS_DEFAULT "\n"
    "  --brokers N              of a new instance: one is active, the others stand by (1)\n"
    "  --statistics-window S    seconds that responses wait before they are counted (600 in a new "
    "instance)\n"
    "  --foreground             stay, and stop everything on Ctrl-C or SIGTERM\n";

static const char down_help[] =
    "usage: tally down [--dir DIR]\n\n"
    "Stops what `tally up` started: workers, broker, private PostgreSQL.  Nothing that was\n"
    "confirmed is lost; `tally up` goes on where this left off.\n";

//  One `tally up`.
struct launch {
    const char *dir, *db, *crews;
    size_t brokers;    // 0: as it is
    bool foreground;
    char *programs;
    int64_t started_at_ms;
    tally_keeper_options_t keeper;
};

//  ---- the command line -------------------------------------------------------------------------

static int
parse_window(const char *text, int64_t *window_ms)
{
    char *end;
    errno = 0;
    long long seconds = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || errno == ERANGE || seconds < 0
        || seconds > WINDOW_SECONDS_MAX) {
        fprintf(stderr,
                "tally up: --statistics-window is a number of seconds from 0 to %lld, not \"%s\"\n",
                WINDOW_SECONDS_MAX, text);
        return -1;
    }
    *window_ms = seconds * 1000;
    return 0;
}

static int
parse_brokers(const char *text, size_t *brokers)
{
    char *end;
    long count = strtol(text, &end, 10);
    if (end == text || *end != '\0' || count < 1 || count > BROKERS_MAX) {
        fprintf(stderr, "tally up: --brokers is a number from 1 to %d, not \"%s\"\n", BROKERS_MAX,
                text);
        return -1;
    }
    *brokers = (size_t)count;
    return 0;
}

//  "role=2": adds it to the crews.
static int
parse_crew(struct launch *launch, const char *text)
{
    const char *equals = strchr(text, '=');
    char *end = NULL;
    long count = equals == NULL ? -1 : strtol(equals + 1, &end, 10);
    if (equals == NULL || equals == text || end == equals + 1 || *end != '\0' || count < 0
        || count > TALLY_CREW_WORKERS_MAX) {
        fprintf(stderr, "tally up: --workers wants ROLE=N with N from 0 to %d, not \"%s\"\n",
                TALLY_CREW_WORKERS_MAX, text);
        return -1;
    }
    if (launch->keeper.crew_count == TALLY_CREWS_MAX) {
        fprintf(stderr, "tally up: no more than %d roles\n", TALLY_CREWS_MAX);
        return -1;
    }
    char *role = tally_strndup(text, (size_t)(equals - text));
    char *program = tally_format("%s/tally-%s", launch->programs, role);
    bool known = strspn(role, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(role)
                 && access(program, X_OK) == 0;
    if (known) {
        launch->keeper.crews[launch->keeper.crew_count++] = (tally_crew_t){role, (int)count};
    } else {
        fprintf(stderr, "tally up: there is no worker \"%s\": %s is missing\n", role, program);
        free(role);
    }
    free(program);
    return known ? 0 : -1;
}

static int
parse_crews(struct launch *launch)
{
    char *list = tally_strdup(launch->crews);
    char *rest = list;
    char *item;
    int result = 0;
    while (result == 0 && (item = strsep(&rest, ",")) != NULL) {
        result = parse_crew(launch, item);
    }
    free(list);
    return result;
}

//  -1 to go on, or the exit code.
static int
parse_up(struct launch *launch, int argc, char **argv)
{
    static const struct option options[] = {
        {"dir", required_argument, NULL, 'd'},
        {"db", required_argument, NULL, 'b'},
        {"workers", required_argument, NULL, 'w'},
        {"brokers", required_argument, NULL, 'n'},
        {"statistics-window", required_argument, NULL, 's'},
        {"foreground", no_argument, NULL, 'f'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    optind = 0;
    for (int letter; (letter = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        switch (letter) {
        case 'd':
            launch->dir = optarg;
            break;
        case 'b':
            launch->db = optarg;
            break;
        case 'w':
            launch->crews = optarg;
            break;
        case 'n':
            if (parse_brokers(optarg, &launch->brokers) == -1) {
                return TALLY_EXIT_USAGE;
            }
            break;
        case 's':
            if (parse_window(optarg, &launch->keeper.window_ms) == -1) {
                return TALLY_EXIT_USAGE;
            }
            break;
        case 'f':
            launch->foreground = true;
            break;
        case 'h':
            fputs(up_help, stdout);
            return TALLY_EXIT_OK;
        default:
            fputs("    see: tally up --help\n", stderr);
            return TALLY_EXIT_USAGE;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "tally up: what is \"%s\"?\n    see: tally up --help\n", argv[optind]);
        return TALLY_EXIT_USAGE;
    }
    return -1;
}

//  The directory of this program, owned by the caller: the others are beside it.
static char *
find_programs(void)
{
    char *self = realpath("/proc/self/exe", NULL);
    if (self == NULL) {
        return tally_strdup(".");
    }
    *strrchr(self, '/') = '\0';
    return self;
}

static int
check_programs(const struct launch *launch)
{
    char *broker = tally_format("%s/tallyd", launch->programs);
    int rc = access(broker, X_OK);
    if (rc == -1) {
        fprintf(stderr, "tally up: %s is missing\n", broker);
    }
    free(broker);
    return rc;
}

//  ---- speaking ---------------------------------------------------------------------------------

static void
print_crews(const struct launch *launch)
{
    printf("  workers   ");
    for (size_t i = 0; i < launch->keeper.crew_count; i++) {
        printf("%s%s x%d", i == 0 ? "" : "  ", launch->keeper.crews[i].role,
               launch->keeper.crews[i].count);
    }
    printf("\n");
}

static void
print_places(const tally_home_t *home)
{
    char *usual = tally_home_path(NULL);
    printf("  broker    %s\n  feed      %s\n", home->front, home->feed);
    if (home->private_db) {
        printf("  database  %s\n", home->db);
    }
    printf("  files     %s\nnext:\n", home->dir);
    if (usual == NULL || strcmp(usual, home->dir) != 0) {
        printf("  export TALLY_DIR=%s\n", home->dir);
    }
    printf("  tally survey put FILE -t TENANT     tally submit FILE -t TENANT     tally status\n");
    free(usual);
}

static void
print_up(void *argument)
{
    const struct launch *launch = argument;
    const tally_cluster_t *cluster = launch->keeper.cluster;
    printf("tally %s  PostgreSQL %s%s  ready in %.1f s\n", TALLY_VERSION,
           cluster == NULL ? "of --db" : tally_cluster_version(cluster),
           cluster == NULL ? "" : " (private, durable)",
           (double)(tally_clock_now_ms() - launch->started_at_ms) / 1000.0);
    print_crews(launch);
    print_places(launch->keeper.home);
    fflush(stdout);
}

//  What the supervisor wrote about its failure, behind `from`.
static void
show_failure(const tally_home_t *home, long from)
{
    char *path = tally_home_file(home, "log/up.log");
    FILE *file = fopen(path, "re");
    char line[4096];
    bool seeked = file != NULL && fseek(file, from, SEEK_SET) == 0;
    while (seeked && fgets(line, sizeof line, file) != NULL) {
        if (strstr(line, "  info  ") == NULL) {
            fputs(line, stderr);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    fprintf(stderr,
            "tally up: could not bring everything up; nothing was left running\n    more in %s\n",
            path);
    free(path);
}

//  ---- launching --------------------------------------------------------------------------------

//  Another `tally up` has it: wait until it is ready, or gone.
static int
join(tally_home_t *home)
{
    int64_t deadline_at_ms = tally_clock_now_ms() + READY_MS_MAX;
    while (!tally_home_ready(home)) {
        if (tally_home_holder(home) <= 0 || tally_clock_now_ms() >= deadline_at_ms) {
            fprintf(
                stderr,
                "tally up: another tally up has %s and did not get ready\n    see: %s/log/up.log\n",
                home->dir, home->dir);
            return TALLY_EXIT_UNAVAILABLE;
        }
        poll(NULL, 0, LOOK_MS);
    }
    printf("tally %s is already up\n", TALLY_VERSION);
    print_places(home);
    return TALLY_EXIT_OK;
}

//  Becomes the supervisor's process.
static void __attribute__((noreturn)) run_detached(struct launch *launch, int log)
{
    int nothing = open("/dev/null", O_RDONLY);
    if (setsid() == -1 || nothing == -1 || dup2(nothing, STDIN_FILENO) == -1
        || dup2(log, STDOUT_FILENO) == -1 || dup2(log, STDERR_FILENO) == -1 || chdir("/") == -1) {
        _exit(TALLY_EXIT_BUG);
    }
    setenv("TALLY_LOG_TIME", "1", 1);
    unsetenv("JOURNAL_STREAM");
    //  What we inherited is the launcher's: a pipe somebody reads to its end must not stay open in us.
    close(launch->keeper.home->lock);
    launch->keeper.home->lock = -1;
    close_range(STDERR_FILENO + 1, ~0U, 0);
    if (!tally_home_hold(launch->keeper.home)) {
        _exit(TALLY_EXIT_OK);    // another was faster; the launcher joins that one
    }
    _exit(tally_keeper_run(&launch->keeper));
}

static int
wait_for_supervisor(struct launch *launch, pid_t child, long log_from)
{
    tally_home_t *home = launch->keeper.home;
    for (;;) {
        int status = 0;
        if (tally_home_ready(home)) {
            if (tally_home_holder(home) != child) {
                return join(home);
            }
            print_up(launch);
            return TALLY_EXIT_OK;
        }
        if (waitpid(child, &status, WNOHANG) == child) {
            if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
                return join(home);
            }
            show_failure(home, log_from);
            return WIFEXITED(status) ? WEXITSTATUS(status) : TALLY_EXIT_BUG;
        }
        poll(NULL, 0, LOOK_MS);
    }
}

static int
launch_detached(struct launch *launch)
{
    char *path = tally_home_file(launch->keeper.home, "log/up.log");
    int log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int code = TALLY_EXIT_CANNOT_CREATE;
    if (log == -1) {
        fprintf(stderr, "tally up: cannot write %s: %s\n", path, strerror(errno));
    } else {
        long log_from = (long)lseek(log, 0, SEEK_END);
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
            run_detached(launch, log);
        }
        close(log);
        if (child == -1) {
            fprintf(stderr, "tally up: %s\n", strerror(errno));
            code = TALLY_EXIT_TRY_AGAIN;
        } else {
            code = wait_for_supervisor(launch, child, log_from);
        }
    }
    free(path);
    return code;
}

static int
run_foreground(struct launch *launch)
{
    if (!tally_home_hold(launch->keeper.home)) {
        return join(launch->keeper.home);
    }
    launch->keeper.ready = print_up;
    launch->keeper.argument = launch;
    return tally_keeper_run(&launch->keeper);
}

static int
bring_up(struct launch *launch)
{
    tally_home_t *home = launch->keeper.home;
    if (tally_home_holder(home) > 0) {
        return join(home);
    }
    if (check_programs(launch) == -1) {
        return TALLY_EXIT_UNAVAILABLE;
    }
    if (home->private_db) {
        char *data = tally_home_file(home, "pg");
        char *log = tally_home_file(home, "log/initdb.log");
        launch->keeper.cluster = tally_cluster_new(data, home->run, log);
        free(data);
        free(log);
        if (launch->keeper.cluster == NULL) {
            return TALLY_EXIT_UNAVAILABLE;
        }
    }
    return launch->foreground ? run_foreground(launch) : launch_detached(launch);
}

int
tally_cmd_up(int argc, char **argv)
{
    struct launch launch = {.crews = CREWS_DEFAULT, .started_at_ms = tally_clock_now_ms()};
    launch.keeper.window_ms = -1;
    int code = parse_up(&launch, argc, argv);
    if (code != -1) {
        return code;
    }
    umask(0077);
    launch.programs = find_programs();
    launch.keeper.programs = launch.programs;
    if (parse_crews(&launch) == -1) {
        code = TALLY_EXIT_USAGE;
    } else {
        char *dir = tally_home_path(launch.dir);
        launch.keeper.home = dir == NULL ? NULL : tally_home_make(dir, launch.db, launch.brokers);
        code = launch.keeper.home == NULL ? TALLY_EXIT_CANNOT_CREATE : bring_up(&launch);
        free(dir);
    }
    for (size_t i = 0; i < launch.keeper.crew_count; i++) {
        free(launch.keeper.crews[i].role);
    }
    tally_cluster_destroy(&launch.keeper.cluster);
    tally_home_destroy(&launch.keeper.home);
    free(launch.programs);
    return code;
}

//  ---- down -------------------------------------------------------------------------------------

static int
take_down(tally_home_t *home)
{
    pid_t holder = tally_home_holder(home);
    if (holder <= 0) {
        printf("tally is not up in %s\n", home->dir);
        return TALLY_EXIT_OK;
    }
    if (kill(holder, SIGTERM) == -1 && errno != ESRCH) {
        fprintf(stderr, "tally down: cannot stop process %d: %s\n", (int)holder, strerror(errno));
        return TALLY_EXIT_DENIED;
    }
    int64_t deadline_at_ms = tally_clock_now_ms() + DOWN_MS_MAX;
    while (tally_home_holder(home) == holder) {
        if (tally_clock_now_ms() >= deadline_at_ms) {
            fprintf(stderr,
                    "tally down: process %d has not ended after %d s\n    see: %s/log/up.log\n",
                    (int)holder, DOWN_MS_MAX / 1000, home->dir);
            return TALLY_EXIT_TRY_AGAIN;
        }
        poll(NULL, 0, LOOK_MS);
    }
    printf("tally is down; everything confirmed is in %s\n",
           home->private_db ? home->dir : "the database");
    return TALLY_EXIT_OK;
}

int
tally_cmd_down(int argc, char **argv)
{
    static const struct option options[] = {{"dir", required_argument, NULL, 'd'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    const char *given = NULL;
    optind = 0;
    for (int letter; (letter = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (letter == 'h') {
            fputs(down_help, stdout);
            return TALLY_EXIT_OK;
        }
        if (letter != 'd') {
            fputs("    see: tally down --help\n", stderr);
            return TALLY_EXIT_USAGE;
        }
        given = optarg;
    }
    if (optind < argc) {
        fprintf(stderr, "tally down: what is \"%s\"?\n    see: tally down --help\n", argv[optind]);
        return TALLY_EXIT_USAGE;
    }
    char *dir = tally_home_path(given);
    tally_home_t *home = dir == NULL ? NULL : tally_home_open(dir);
    int code = home == NULL ? TALLY_EXIT_UNAVAILABLE : take_down(home);
    tally_home_destroy(&home);
    free(dir);
    return code;
}
