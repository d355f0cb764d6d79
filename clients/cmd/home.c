// SPDX-License-Identifier: MIT
#include "clients/cmd/home.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "lib/config.h"
#include "lib/endpoints.h"

//  The longest name of a socket in the run directory: "/lane-" and a number of 20 digits.
#define SOCKET_NAME_BYTES_MAX 26
#define LOCK_ALIVE 0
#define LOCK_READY 1

static const tally_config_key_t instance_keys[] = {{.name = "run"}, {.name = NULL}};

static const tally_config_key_t conf_keys[] = {
    {.name = "front"}, {.name = "sink"}, {.name = "feed"},       {.name = "lanes"},
    {.name = "db"},    {.name = "key"},  {.name = "server-key"}, {.name = NULL},
};

//  ---- paths ------------------------------------------------------------------------------------

static char *
absolute_path(const char *path)
{
    if (path[0] == '/') {
        return tally_strdup(path);
    }
    char *here = getcwd(NULL, 0);
    if (here == NULL) {
        fprintf(stderr, "tally: the working directory is gone: %s\n", strerror(errno));
        return NULL;
    }
    char *whole = tally_format("%s/%s", here, path);
    free(here);
    return whole;
}

static const char *
environment(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

char *
tally_home_path(const char *given)
{
    const char *dir = given != NULL ? given : environment("TALLY_DIR");
    if (dir != NULL) {
        return absolute_path(dir);
    }
    const char *state = environment("XDG_STATE_HOME");
    if (state != NULL) {
        return tally_format("%s/tally", state);
    }
    //  PostgreSQL does not run as root, and whoever it runs as cannot look into root's home.
    if (geteuid() == 0) {
        return tally_strdup("/var/lib/tally");
    }
    const char *home = environment("HOME");
    if (home == NULL) {
        fprintf(
            stderr,
            "tally: no place for the instance: neither --dir nor TALLY_DIR nor HOME is given\n");
        return NULL;
    }
    return tally_format("%s/.local/state/tally", home);
}

char *
tally_home_file(const tally_home_t *self, const char *name)
{
    return tally_format("%s/%s", self->dir, name);
}

static int
refuse(const char *path)
{
    fprintf(stderr, "tally: cannot make %s: %s\n", path, strerror(errno));
    return -1;
}

//  The directory and those above it that are missing; existing ones are left as they are.
static int
make_directories(const char *path, mode_t mode)
{
    char *part = tally_strdup(path);
    int result = 0;
    for (char *slash = part; result == 0 && slash != NULL;) {
        slash = strchr(slash + 1, '/');
        if (slash != NULL) {
            *slash = '\0';
        }
        if (mkdir(part, slash == NULL ? mode : 0755) == -1 && errno != EEXIST) {
            result = refuse(part);
        }
        if (slash != NULL) {
            *slash = '/';
        }
    }
    free(part);
    return result;
}

//  Writes a file that is not there yet: whole or not at all, and never over another's.
static int
write_new_file(const char *path, const char *text)
{
    char *draft = tally_format("%s.%d", path, (int)getpid());
    int result = 0;
    FILE *file = fopen(draft, "wxe");
    if (file == NULL) {
        result = refuse(draft);
    } else {
        int written = fputs(text, file);
        int synced = fflush(file) == 0 ? fsync(fileno(file)) : -1;
        if (fclose(file) != 0 || written == EOF || synced == -1) {
            result = refuse(draft);
        } else if (link(draft, path) == -1 && errno != EEXIST) {
            result = refuse(path);
        }
        unlink(draft);
    }
    free(draft);
    return result;
}

//  ---- where the sockets are --------------------------------------------------------------------

//  A % would be taken for the worker's number in a lane's name.
static bool
fits_a_socket(const char *run)
{
    return strchr(run, '%') == NULL
           && strlen(run) + SOCKET_NAME_BYTES_MAX < sizeof((struct sockaddr_un *)0)->sun_path;
}

//  The directory named in DIR/instance, or DIR/run; owned by the caller.  NULL: DIR/instance is damaged.
static char *
read_run(const char *dir)
{
    char *path = tally_format("%s/instance", dir);
    char *run = NULL;
    if (access(path, F_OK) == -1) {
        run = tally_format("%s/run", dir);
    } else {
        tally_config_t *config = tally_config_new("instance", instance_keys);
        if (tally_config_load(config, path) == -1) {
            fprintf(stderr, "%s", tally_config_errors(config));
        } else if (tally_config_get(config, "run") == NULL) {
            fprintf(stderr, "tally: %s does not say where the sockets are (run = PATH)\n", path);
        } else {
            run = tally_strdup(tally_config_get(config, "run"));
        }
        tally_config_destroy(&config);
    }
    free(path);
    return run;
}

//  A short directory in /tmp, recorded in DIR/instance.
static int
record_short_run(const char *dir)
{
    char place[] = "/tmp/tally-XXXXXX";
    if (mkdtemp(place) == NULL) {
        return refuse(place);
    }
    char *path = tally_format("%s/instance", dir);
    char *text = tally_format(
        "# Sockets: their path in this directory would not do for the kernel.\nrun = %s\n", place);
    int result = write_new_file(path, text);
    free(text);
    free(path);
    char *run = result == 0 ? read_run(dir) : NULL;
    if (run == NULL || strcmp(run, place) != 0) {
        rmdir(place);    // another process was first
    }
    result = run == NULL ? -1 : 0;
    free(run);
    return result;
}

//  Root's sockets are in a directory of the user that its cluster runs as.
static bool
may_own_run(uid_t uid)
{
    const struct passwd *server = geteuid() == 0 ? getpwnam("postgres") : NULL;
    return uid == geteuid() || (server != NULL && uid == server->pw_uid);
}

//  /tmp is everybody's, and is emptied at a boot: what is there must be ours alone.
static int
check_run(const char *run)
{
    struct stat info;
    if (mkdir(run, 0700) == -1 && errno != EEXIST) {
        return refuse(run);
    }
    if (lstat(run, &info) == -1 || !S_ISDIR(info.st_mode)) {
        fprintf(stderr, "tally: %s must be a directory\n", run);
        return -1;
    }
    if ((info.st_mode & 0077) != 0 || !may_own_run(info.st_uid)) {
        fprintf(stderr,
                "tally: %s belongs to somebody else or is open to others; remove it or mend its "
                "rights\n",
                run);
        return -1;
    }
    return 0;
}

//  ---- opening and making -----------------------------------------------------------------------

//  `text` with a backslash before each of its `marks` and backslashes; owned by the caller.
static char *
escape(const char *text, char mark)
{
    char *escaped = tally_alloc(2 * strlen(text) + 1);
    char *out = escaped;
    for (; *text != '\0'; text++) {
        if (*text == mark || *text == '\\') {
            *out++ = '\\';
        }
        *out++ = *text;
    }
    return escaped;
}

static char *
private_conninfo(const char *run)
{
    if (strpbrk(run, " '\\\t") == NULL) {
        return tally_format("host=%s port=5432 dbname=tally user=tally", run);
    }
    char *host = escape(run, '\'');
    char *conninfo = tally_format("host='%s' port=5432 dbname=tally user=tally", host);
    free(host);
    return conninfo;
}

static int
read_conf(tally_home_t *self, const char *path)
{
    tally_config_t *config = tally_config_new("tally", conf_keys);
    int result = tally_config_load(config, path);
    fprintf(stderr, "%s", tally_config_errors(config));
    struct {
        const char *name;
        char **value;
    } const wanted[] = {
        {"front", &self->front}, {"sink", &self->sink}, {"feed", &self->feed},
        {"lanes", &self->lanes}, {"db", &self->db},
    };
    for (size_t i = 0; result == 0 && i < sizeof wanted / sizeof wanted[0]; i++) {
        const char *value = tally_config_get(config, wanted[i].name);
        if (value == NULL) {
            fprintf(stderr, "tally: %s does not set \"%s\"\n", path, wanted[i].name);
            result = -1;
        } else {
            *wanted[i].value = tally_strdup(value);
        }
    }
    const char *key = tally_config_get(config, "key");
    const char *server_key = tally_config_get(config, "server-key");
    self->key = key != NULL ? tally_strdup(key) : NULL;
    self->server_key = server_key != NULL ? tally_strdup(server_key) : NULL;
    tally_config_destroy(&config);
    return result;
}

tally_home_t *
tally_home_open(const char *dir)
{
    char *conf = tally_format("%s/tally.conf", dir);
    tally_home_t *self = NULL;
    if (access(conf, R_OK) == -1) {
        fprintf(stderr, "tally: there is no instance in %s%s%s\n    start one: tally up --dir %s\n",
                dir, errno == ENOENT || errno == ENOTDIR ? "" : ": ",
                errno == ENOENT || errno == ENOTDIR ? "" : strerror(errno), dir);
    } else {
        self = tally_alloc(sizeof *self);
        self->lock = -1;
        self->dir = realpath(dir, NULL);
        self->run = self->dir == NULL ? NULL : read_run(self->dir);
        if (self->run == NULL || read_conf(self, conf) == -1) {
            tally_home_destroy(&self);
        } else {
            char *own = private_conninfo(self->run);
            self->private_db = strcmp(own, self->db) == 0;
            free(own);
        }
    }
    free(conf);
    return self;
}

//  "ipc://RUN/NAME", and for more brokers "ipc://RUN/NAME-2"..., separated by commas; owned by the caller.
static char *
endpoint_list(const char *run, const char *name, size_t brokers)
{
    char *list = tally_format("ipc://%s/%s", run, name);
    for (size_t seat = 2; seat <= brokers; seat++) {
        char *longer = tally_format("%s,ipc://%s/%s-%zu", list, run, name, seat);
        free(list);
        list = longer;
    }
    return list;
}

static int
write_conf(const char *dir, const char *run, const char *db, size_t brokers)
{
    char *conf = tally_format("%s/tally.conf", dir);
    if (access(conf, F_OK) == 0) {
        free(conf);
        return 0;
    }
    char *own = private_conninfo(run);
    char *quoted_db = escape(db == NULL ? own : db, '"');
    char *quoted_run = escape(run, '"');
    char *quoted_dir = escape(dir, '"');
    char *front = endpoint_list(quoted_run, "front", brokers);
    char *sink = endpoint_list(quoted_run, "sink", brokers);
    char *feed = endpoint_list(quoted_run, "feed", brokers);
    char *text = tally_format(
        "# This instance of Tally.  Written once by \"tally up\"; yours to edit while it is down.\n"
        "# Keys of single programs go into sections: [tallyd], [responses], [export]...\n\n"
        "%s"
        "front = \"%s\"\n"
        "sink = \"%s\"\n"
        "feed = \"%s\"\n"
        "lanes = \"ipc://%s/lane-%%\"\n"
        "db = \"%s\"\n\n"
        "[export]\n"
        "out = \"%s/exports\"\n"
        "out-any = yes              # whoever reaches the sockets is you\n",
        brokers < 2 ? "" : "# Each broker has its place in these lists.\n", front, sink, feed,
        quoted_run, quoted_db, quoted_dir);
    int result = write_new_file(conf, text);
    free(text);
    free(front);
    free(sink);
    free(feed);
    free(quoted_dir);
    free(quoted_run);
    free(quoted_db);
    free(own);
    free(conf);
    return result;
}

//  DIR, what is in it, and its files; all of it may be there already.
static int
furnish(const char *dir, const char *db, size_t brokers)
{
    static const char *const rooms[] = {"log", "pid", "exports"};
    for (size_t i = 0; i < sizeof rooms / sizeof rooms[0]; i++) {
        char *room = tally_format("%s/%s", dir, rooms[i]);
        int made = mkdir(room, 0700) == 0 || errno == EEXIST ? 0 : refuse(room);
        free(room);
        if (made == -1) {
            return -1;
        }
    }
    char *run = read_run(dir);
    if (run != NULL && !fits_a_socket(run)) {
        free(run);
        run = record_short_run(dir) == 0 ? read_run(dir) : NULL;
    }
    int result = run != NULL && check_run(run) == 0 ? write_conf(dir, run, db, brokers) : -1;
    free(run);
    return result;
}

tally_home_t *
tally_home_make(const char *dir, const char *db, size_t brokers)
{
    mode_t old_mask = umask(0077);
    //  As root the cluster's user must be able to pass through, though not to look.
    mode_t mode = geteuid() == 0 ? 0711 : 0700;
    umask(0022);
    int made = make_directories(dir, mode);
    umask(0077);
    char *whole = made == 0 ? realpath(dir, NULL) : NULL;
    struct stat info;
    if (whole != NULL && geteuid() == 0 && stat(whole, &info) == 0 && (info.st_mode & 0001) == 0) {
        made = chmod(whole, (info.st_mode & 07777) | 0011);
    }
    tally_home_t *self = whole != NULL && made == 0 && furnish(whole, db, brokers) == 0
                             ? tally_home_open(whole)
                             : NULL;
    if (self != NULL && db != NULL && strcmp(db, self->db) != 0) {
        fprintf(stderr,
                "tally: this instance uses another database (%s)\n    edit db in %s/tally.conf, or "
                "use another --dir\n",
                self->private_db ? "its own" : self->db, whole);
        tally_home_destroy(&self);
    }
    if (self != NULL && brokers != 0 && brokers != tally_home_brokers(self)) {
        fprintf(
            stderr,
            "tally: this instance has another number of brokers (%zu)\n    edit the lists front, "
            "sink and feed in %s/tally.conf, or use another --dir\n",
            tally_home_brokers(self), whole);
        tally_home_destroy(&self);
    }
    free(whole);
    umask(old_mask);
    return self;
}

size_t
tally_home_brokers(const tally_home_t *self)
{
    return tally_endpoints_count(self->front);
}

void
tally_home_destroy(tally_home_t **self_p)
{
    tally_home_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    free(self->dir);
    free(self->run);
    free(self->front);
    free(self->sink);
    free(self->feed);
    free(self->lanes);
    free(self->key);
    free(self->server_key);
    free(self->db);
    if (self->lock != -1) {
        close(self->lock);
    }
    free(self);
    *self_p = NULL;
}

//  ---- locks ------------------------------------------------------------------------------------

static int
lock_descriptor(tally_home_t *self)
{
    if (self->lock == -1) {
        char *path = tally_home_file(self, "lock");
        self->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (self->lock == -1) {
            refuse(path);
        }
        free(path);
    }
    return self->lock;
}

static pid_t
holder_of(tally_home_t *self, off_t byte)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    int fd = lock_descriptor(self);
    if (fd == -1 || fcntl(fd, F_GETLK, &lock) == -1) {
        return -1;
    }
    return lock.l_type == F_UNLCK ? 0 : lock.l_pid;
}

pid_t
tally_home_holder(tally_home_t *self)
{
    return holder_of(self, LOCK_ALIVE);
}

bool
tally_home_ready(tally_home_t *self)
{
    return holder_of(self, LOCK_READY) > 0;
}

static bool
set_lock(tally_home_t *self, off_t byte, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    int fd = lock_descriptor(self);
    return fd != -1 && fcntl(fd, F_SETLK, &lock) == 0;
}

bool
tally_home_hold(tally_home_t *self)
{
    return set_lock(self, LOCK_ALIVE, F_WRLCK);
}

void
tally_home_set_ready(tally_home_t *self, bool ready)
{
    bool set = set_lock(self, LOCK_READY, ready ? F_WRLCK : F_UNLCK);
    assert(set);    // nobody else may hold it while we hold the instance
}
