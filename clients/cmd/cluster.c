// SPDX-License-Identifier: MIT
#include "clients/cmd/cluster.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/alloc.h"

#define SERVERS "/usr/lib/postgresql"
#define SERVER_USER "postgres"
#define CANNOT_REACH 2    // exit code of the child that looks

struct tally_cluster {
    char *data, *run, *log;
    char *programs;    // directory of initdb and postgres
    char *version;
    bool drops;    // we are root; the server is not
    uid_t uid;
    gid_t gid;
};

//  For two cores and much writing.  Appended to postgresql.conf once; yours to edit afterwards.
static const char settings[] =
    "\n# ---- set by Tally for a machine of two cores and a load of many writes\n"
    "listen_addresses = ''\n"
    "port = 5432\n"
    "unix_socket_permissions = 0700\n"
    "max_connections = 200\n"
    "shared_buffers = 256MB\n"
    "effective_cache_size = 1GB\n"
    "work_mem = 16MB\n"
    "maintenance_work_mem = 128MB\n"
    "wal_buffers = 16MB\n"
    "min_wal_size = 512MB\n"
    "max_wal_size = 4GB\n"
    "checkpoint_timeout = 15min\n"
    "checkpoint_completion_target = 0.9\n"
    "fsync = on\n"
    "synchronous_commit = on\n"
    "full_page_writes = on\n"
    "random_page_cost = 1.1\n"
    "jit = off\n"
    "autovacuum = on\n"
    "autovacuum_naptime = 10s\n"
    "autovacuum_max_workers = 3\n"
    "autovacuum_vacuum_cost_limit = 2000\n"
    "log_line_prefix = '%m [%p] %a  '\n"
    "log_error_verbosity = terse\n"    // details quote rows
    "log_parameter_max_length = 0\n"
    "log_parameter_max_length_on_error = 0\n"
    "log_checkpoints = off\n"
    "log_timezone = 'UTC'\n"
    "timezone = 'UTC'\n"
    "cluster_name = 'tally'\n";

//  ---- the server's programs --------------------------------------------------------------------

//  The one line of DATA/PG_VERSION, owned by the caller; NULL when there is no cluster.
static char *
read_cluster_version(const char *data)
{
    char *path = tally_format("%s/PG_VERSION", data);
    FILE *file = fopen(path, "re");
    char line[16] = "";
    bool got = file != NULL && fgets(line, sizeof line, file) != NULL;
    if (file != NULL) {
        fclose(file);
    }
    free(path);
    line[strcspn(line, "\n")] = '\0';
    return got && line[0] != '\0' ? tally_strdup(line) : NULL;
}

static bool
has_server(const char *version)
{
    char *path = tally_format(SERVERS "/%s/bin/initdb", version);
    bool has = access(path, X_OK) == 0;
    free(path);
    return has;
}

//  The newest version installed, owned by the caller; NULL: none.
static char *
find_newest(void)
{
    DIR *dir = opendir(SERVERS);
    double best = 0;
    char *newest = NULL;
    struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        double number = strtod(entry->d_name, NULL);
        if (number > best && has_server(entry->d_name)) {
            best = number;
            free(newest);
            newest = tally_strdup(entry->d_name);
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return newest;
}

//  "15.20" from `postgres --version`, owned by the caller.
static char *
read_server_version(const char *programs, const char *otherwise)
{
    char *command[] = {tally_format("%s/postgres", programs), "--version", NULL};
    int ends[2];
    char line[128] = "";
    pid_t child = pipe2(ends, O_CLOEXEC) == -1 ? -1 : fork();
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        execv(command[0], command);
        _exit(127);
    }
    free(command[0]);
    if (child == -1) {
        return tally_strdup(otherwise);
    }
    close(ends[1]);
    ssize_t size = read(ends[0], line, sizeof line - 1);
    close(ends[0]);
    waitpid(child, NULL, 0);
    char version[16];
    bool understood = size > 0 && sscanf(line, "postgres (PostgreSQL) %15s", version) == 1;
    return tally_strdup(understood ? version : otherwise);
}

tally_cluster_t *
tally_cluster_new(const char *data, const char *run, const char *log)
{
    char *made_by = read_cluster_version(data);
    char *version = made_by != NULL ? made_by : find_newest();
    if (version == NULL || !has_server(version)) {
        fprintf(stderr,
                "tally: PostgreSQL's server%s%s is not installed in " SERVERS
                "\n    install it: sudo apt-get install postgresql%s%s\n",
                made_by == NULL ? "" : " ", made_by == NULL ? "" : made_by,
                made_by == NULL ? "" : "-", made_by == NULL ? "" : made_by);
        free(version);
        return NULL;
    }
    const struct passwd *user = geteuid() == 0 ? getpwnam(SERVER_USER) : NULL;
    if (geteuid() == 0 && user == NULL) {
        fprintf(stderr, "tally: PostgreSQL does not run as root, and there is no user " SERVER_USER
                        " for it\n    make it: adduser --system --group " SERVER_USER "\n");
        free(version);
        return NULL;
    }
    tally_cluster_t *self = tally_alloc(sizeof *self);
    self->data = tally_strdup(data);
    self->run = tally_strdup(run);
    self->log = tally_strdup(log);
    self->programs = tally_format(SERVERS "/%s/bin", version);
    self->version = read_server_version(self->programs, version);
    free(version);
    if (user != NULL) {
        self->drops = true;
        self->uid = user->pw_uid;
        self->gid = user->pw_gid;
    }
    return self;
}

void
tally_cluster_destroy(tally_cluster_t **self_p)
{
    tally_cluster_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    free(self->data);
    free(self->run);
    free(self->log);
    free(self->programs);
    free(self->version);
    free(self);
    *self_p = NULL;
}

const char *
tally_cluster_version(const tally_cluster_t *self)
{
    return self->version;
}

//  ---- in forked children -----------------------------------------------------------------------

//  For good: a root that only changed its effective user could come back.
static void
drop_root(const tally_cluster_t *self)
{
    if (!self->drops) {
        return;
    }
    if (setgroups(1, &self->gid) == -1 || setresgid(self->gid, self->gid, self->gid) == -1
        || setresuid(self->uid, self->uid, self->uid) == -1 || setuid(0) == 0) {
        perror("tally: could not become user " SERVER_USER);
        _exit(70);
    }
}

//  PGPORT and the like would come before the configuration file.
static void
forget_environment(void)
{
    static const char *const names[] =
        {"PGPORT",           "PGDATA",     "PGHOST", "PGDATABASE",
         "PGUSER",           "PGOPTIONS",  "PGTZ",   "PG_OOM_ADJUST_FILE",
         "PGCLIENTENCODING", "PGDATESTYLE"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        unsetenv(names[i]);
    }
}

void
tally_cluster_exec(void *cluster)
{
    tally_cluster_t *self = cluster;
    pid_t parent = getppid();
    char *program = tally_format("%s/postgres", self->programs);
    //  No TCP and no other place for the socket, whatever the configuration file says.
    char *command[] = {program, "-D", self->data, "-k", self->run, "-c", "listen_addresses=", NULL};
    forget_environment();
    drop_root(self);
    //  After the change of user, which clears it: without its supervisor the server stops by itself.
    prctl(PR_SET_PDEATHSIG, SIGINT);
    if (getppid() == parent && chdir(self->data) == 0) {
        execv(program, command);
    }
    perror("tally: could not start postgres");
}

//  Runs `act` in a child as the server's user; its exit code, or -1.
static int
run_as_server(const tally_cluster_t *self, int (*act)(const tally_cluster_t *self))
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        drop_root(self);
        _exit(act(self));
    }
    int status = 0;
    if (child == -1 || waitpid(child, &status, 0) == -1) {
        return -1;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int
exec_initdb(const tally_cluster_t *self)
{
    char *command[] = {tally_format("%s/initdb", self->programs),
                       "--pgdata",
                       tally_format("%s.new", self->data),
                       "--username",
                       "tally",
                       "--auth",
                       "trust",
                       "--encoding",
                       "UTF8",
                       "--locale",
                       "C",
                       "--data-checksums",
                       "--no-instructions",
                       NULL};
    forget_environment();
    execv(command[0], command);
    perror("tally: could not start initdb");
    return 70;
}

static int
look(const tally_cluster_t *self)
{
    return chdir(self->data) == 0 && access(self->run, W_OK | X_OK) == 0 ? 0 : CANNOT_REACH;
}

//  ---- creating ---------------------------------------------------------------------------------

static int
remove_entry(const char *path, const struct stat *info, int type, struct FTW *place)
{
    (void)info;
    (void)type;
    (void)place;
    return remove(path);
}

//  What a killed initdb left is removed with all that is in it.
static int
clear_draft(const char *draft)
{
    if (access(draft, F_OK) == -1) {
        return 0;
    }
    return nftw(draft, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

static int
append_settings(const char *draft)
{
    char *path = tally_format("%s/postgresql.conf", draft);
    FILE *file = fopen(path, "ae");
    int result = -1;
    if (file != NULL) {
        int written = fputs(settings, file);
        int synced = fflush(file) == 0 ? fsync(fileno(file)) : -1;
        result = fclose(file) == 0 && written != EOF && synced == 0 ? 0 : -1;
    }
    free(path);
    return result;
}

//  The new name must be on the disk before anything is confirmed: a cluster that comes back from a power cut under
//  its draft's name would be taken for a draft.
static int
publish_draft(const tally_cluster_t *self, const char *draft)
{
    if (rename(draft, self->data) == -1) {
        return -1;
    }
    char *parent = tally_format("%s/..", self->data);
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int result = fd == -1 ? -1 : fsync(fd);
    if (fd != -1) {
        close(fd);
    }
    free(parent);
    return result;
}

static void
show_log(const tally_cluster_t *self)
{
    FILE *file = fopen(self->log, "re");
    char line[512];
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        fprintf(stderr, "    %s", line);
    }
    if (file != NULL) {
        fclose(file);
    }
}

static int
run_initdb(const tally_cluster_t *self)
{
    int log = open(self->log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int kept[2] = {dup(STDOUT_FILENO), dup(STDERR_FILENO)};
    if (log == -1 || kept[0] == -1 || kept[1] == -1) {
        fprintf(stderr, "tally: cannot write %s: %s\n", self->log, strerror(errno));
        return -1;
    }
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    int code = run_as_server(self, exec_initdb);
    dup2(kept[0], STDOUT_FILENO);
    dup2(kept[1], STDERR_FILENO);
    close(log);
    close(kept[0]);
    close(kept[1]);
    if (code != 0) {
        fprintf(stderr, "tally: could not make the database cluster; initdb said:\n");
        show_log(self);
        return -1;
    }
    return 0;
}

//  The first directory on the way to `path` that the server's user cannot pass, for the error text.
static void
blame(const tally_cluster_t *self, const char *path)
{
    char *part = tally_strdup(path);
    for (char *slash = strchr(part + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        struct stat info;
        *slash = '\0';
        mode_t need = stat(part, &info) == -1    ? 0
                      : info.st_uid == self->uid ? S_IXUSR
                      : info.st_gid == self->gid ? S_IXGRP
                                                 : S_IXOTH;
        if (need != 0 && (info.st_mode & need) == 0) {
            fprintf(stderr,
                    "    it cannot pass %s; choose another place: tally up --dir /var/lib/tally\n",
                    part);
            break;
        }
        *slash = '/';
    }
    free(part);
}

static int
check_reach(const tally_cluster_t *self)
{
    if (run_as_server(self, look) == 0) {
        return 0;
    }
    fprintf(stderr, "tally: the database server (user %s) cannot reach %s\n",
            self->drops ? SERVER_USER : "you", self->data);
    blame(self, self->data);
    return -1;
}

//  A directory of the server's user, closed to others.
static int
make_own(const tally_cluster_t *self, const char *path)
{
    if ((mkdir(path, 0700) == -1 && errno != EEXIST)
        || (self->drops && chown(path, self->uid, self->gid) == -1)) {
        fprintf(stderr, "tally: cannot make %s: %s\n", path, strerror(errno));
        return -1;
    }
    return 0;
}

int
tally_cluster_create(tally_cluster_t *self)
{
    if (make_own(self, self->run) == -1) {
        return -1;
    }
    if (access(self->data, F_OK) == 0) {
        return check_reach(self);
    }
    char *draft = tally_format("%s.new", self->data);
    int result = clear_draft(draft) == 0 ? make_own(self, draft) : -1;
    if (result == 0) {
        //  Before initdb, which would only say that permission was denied.
        char *data = self->data;
        self->data = draft;
        result = check_reach(self);
        self->data = data;
    }
    if (result == 0) {
        result = run_initdb(self);
    }
    if (result == 0 && (append_settings(draft) == -1 || publish_draft(self, draft) == -1)) {
        fprintf(stderr, "tally: cannot finish %s: %s\n", self->data, strerror(errno));
        result = -1;
    }
    free(draft);
    return result;
}

//  ---- stale postmaster.pid ---------------------------------------------------------------------

//  Every process of a server works in its data directory, backends too.
static bool
works_in(pid_t pid, const char *data)
{
    char link[64];
    char *place = tally_alloc(strlen(data) + 2);
    snprintf(link, sizeof link, "/proc/%d/cwd", (int)pid);
    ssize_t size = readlink(link, place, strlen(data) + 1);
    bool works = size == (ssize_t)strlen(data) && memcmp(place, data, (size_t)size) == 0;
    free(place);
    return works;
}

static bool
anybody_works_in(const char *data)
{
    DIR *processes = opendir("/proc");
    bool found = processes == NULL;    // unknown: leave everything as it is
    struct dirent *entry;
    while (!found && (entry = readdir(processes)) != NULL) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        found = pid > 0 && works_in(pid, data);
    }
    if (processes != NULL) {
        closedir(processes);
    }
    return found;
}

void
tally_cluster_clear_stale(tally_cluster_t *self)
{
    char *path = tally_format("%s/postmaster.pid", self->data);
    char *data = realpath(self->data, NULL);
    FILE *file = fopen(path, "re");
    long pid = 0;
    bool named = file != NULL && fscanf(file, "%ld", &pid) == 1 && pid > 0;
    if (file != NULL) {
        fclose(file);
    }
    //  A dead one is PostgreSQL's own to see.
    if (named && data != NULL && kill((pid_t)pid, 0) == 0 && !anybody_works_in(data)) {
        fprintf(stderr, "tally: removed %s: process %ld is another's by now\n", path, pid);
        unlink(path);
    }
    free(data);
    free(path);
}
