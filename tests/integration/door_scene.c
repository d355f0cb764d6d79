// SPDX-License-Identifier: MIT
//  door_scene - see door_scene.h.

#include "tests/integration/door_scene.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#include "lib/alloc.h"
#include "lib/clock.h"

#define READY_MS 20000
#define SETTINGS_MAX 40

static void
die(const char *what, const char *why)
{
    fprintf(stderr, "door_scene: %s: %s\n", what, why);
    abort();
}

//  ---- SQL -------------------------------------------------------------------------------------------------

void
door_scene_sql(door_scene_t *self, const char *sql)
{
    if (tally_db_connect(self->db) != TALLY_DB_DONE
        || tally_db_script(self->db, sql) != TALLY_DB_DONE) {
        die(sql, tally_db_error(self->db));
    }
}

int64_t
door_scene_number(door_scene_t *self, const char *sql)
{
    PGresult *result = PQexec(tally_db_handle(self->db), sql);
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) {
        die(sql, PQresultErrorMessage(result));
    }
    int64_t number = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    PQclear(result);
    return number;
}

tally_key_pair_t
door_scene_key(door_scene_t *self, const char *name, const char *role, const char *tenants,
               const char *queues, const char *rights)
{
    tally_key_pair_t pair;
    int rc = tally_key_pair_make(&pair);
    assert(rc == 0);
    char *sql =
        tally_format("insert into tally.principal (name, key, role, tenants, queues, rights) "
                     "values ('%s', $k$%s$k$, '%s', '%s', '%s', '%s')",
                     name, pair.public_key, role, tenants, queues, rights);
    door_scene_sql(self, sql);
    free(sql);
    return pair;
}

//  ---- the broker ------------------------------------------------------------------------------------------

static char *
in_dir(const door_scene_t *self, const char *prefix, const char *name)
{
    return tally_format("%s%s/%s", prefix, self->dir, name);
}

//  Flags of tallyd: ours, then those of the test, which win.
static void
exec_broker(const door_scene_t *self, const char *const *settings)
{
    const char *bin = getenv("TALLY_BIN_DIR");
    char *program = tally_format("%s/tallyd", bin != NULL ? bin : "build/bin");
    char *key = in_dir(self, "", "server.key");
    char *lanes = in_dir(self, "ipc://", "lane-%");
    char *feeds = in_dir(self, "ipc://", "feed-%");
    const char *argv[SETTINGS_MAX] = {program,
                                      "--front",
                                      self->front,
                                      "--sink",
                                      self->sink,
                                      "--feed",
                                      self->feed,
                                      "--lanes",
                                      lanes,
                                      "--feeds",
                                      feeds,
                                      "--curve",
                                      "yes",
                                      "--key",
                                      key,
                                      "--allow-unsafe",
                                      "yes",
                                      "--standby",
                                      "no",
                                      "--db",
                                      tally_pg_conninfo(self->pg)};
    size_t count = 21;
    for (size_t i = 0; settings != NULL && settings[i] != NULL; i++) {
        assert(count < SETTINGS_MAX - 1);
        argv[count++] = settings[i];
    }
    char *log = in_dir(self, "", "log");
    int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(fd, STDERR_FILENO);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execv(program, (char **)(uintptr_t)argv);
    _exit(127);
}

static bool
log_has(const door_scene_t *self, const char *text)
{
    static char bytes[1 << 16];
    char *path = in_dir(self, "", "log");
    int fd = open(path, O_RDONLY);
    free(path);
    ssize_t size = fd == -1 ? 0 : read(fd, bytes, sizeof bytes - 1);
    if (fd != -1) {
        close(fd);
    }
    bytes[size > 0 ? size : 0] = '\0';
    return strstr(bytes, text) != NULL;
}

int
door_scene_start(door_scene_t *self, const char *const *settings)
{
    char *log = in_dir(self, "", "log");
    unlink(log);
    free(log);
    pid_t pid = fork();
    assert(pid != -1);
    if (pid == 0) {
        exec_broker(self, settings);
    }
    int64_t deadline_at_ms = tally_clock_now_ms() + READY_MS;
    for (;;) {
        int status;
        if (waitpid(pid, &status, WNOHANG) == pid) {
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
        if (log_has(self, "ready  front=")) {
            self->broker = pid;
            return -1;
        }
        if (tally_clock_now_ms() > deadline_at_ms) {
            kill(pid, SIGKILL);
            waitpid(pid, NULL, 0);
            die("tallyd", "neither ready nor ended in time");
        }
        poll(NULL, 0, 10);
    }
}

void
door_scene_stop(door_scene_t *self)
{
    if (self->broker != 0) {
        kill(self->broker, SIGTERM);
        waitpid(self->broker, NULL, 0);
        self->broker = 0;
    }
}

//  ---- making ----------------------------------------------------------------------------------------------

static void
write_server_key(door_scene_t *self)
{
    char *path = in_dir(self, "", "server.key");
    char *error = NULL;
    int rc = tally_key_pair_make(&self->server);
    assert(rc == 0);
    if (tally_key_file_write(path, TALLY_KEY_SECRET, &self->server, "server", &error) == -1) {
        die(path, error);
    }
    free(path);
}

//  In the server's directory, whose keeper removes it whatever becomes of us.
static void
make_dir(door_scene_t *self)
{
    const char *host = tally_pg_conninfo(self->pg) + strlen("host=");
    int size = snprintf(self->dir, sizeof self->dir, "%.*s/door", (int)strcspn(host, " "), host);
    if (size < 0 || (size_t)size >= sizeof self->dir || mkdir(self->dir, 0700) == -1) {
        die(self->dir, strerror(errno));
    }
}

door_scene_t *
door_scene_new(void)
{
    door_scene_t *self = tally_alloc(sizeof *self);
    self->pg = tally_pg_new(NULL);
    self->db = tally_db_new(tally_pg_fresh(self->pg), "scene");
    make_dir(self);
    self->front = in_dir(self, "ipc://", "front");
    self->sink = in_dir(self, "ipc://", "sink");
    self->feed = in_dir(self, "ipc://", "feed");
    self->context = zmq_ctx_new();
    write_server_key(self);
    door_scene_sql(self, "insert into tally.tenant (id, name) values (11, 'acme'), (12, 'beta');"
                         "insert into tally.queue (name, visibility_ms) "
                         "values ('mail', 10000), ('one', 10000), ('two', 10000), ('three', "
                         "10000), ('four', 60000)");
    self->operator_key = door_scene_key(self, "root", "operator", "{*}", "{*}",
                                        "{send,ask,read,admin}");
    int code = door_scene_start(self, NULL);
    if (code != -1) {
        die("tallyd", "did not start");
    }
    return self;
}

void
door_scene_destroy(door_scene_t **self_p)
{
    door_scene_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    zmq_ctx_shutdown(self->context);
    zmq_ctx_term(self->context);
    door_scene_stop(self);
    tally_db_destroy(&self->db);
    tally_pg_destroy(&self->pg);
    tally_wire_free(&self->wire);
    free(self->front);
    free(self->sink);
    free(self->feed);
    free(self);
    *self_p = NULL;
}

//  ---- peers -----------------------------------------------------------------------------------------------

static int
connect_keyed(void *socket, const char *endpoint, const tally_key_pair_t *key,
              const char *server_key)
{
    const tally_socket_curve_t curve = {.public_key = key != NULL ? key->public_key : NULL,
                                        .secret_key = key != NULL ? key->secret_key : NULL,
                                        .server_key = server_key};
    const tally_socket_options_t options = {.send_max = 1000,
                                            .receive_max = 1000,
                                            .frame_bytes_max = TALLY_FRAME_BYTES_MAX,
                                            .curve = key != NULL ? &curve : NULL};
    return tally_socket_connect(socket, endpoint, &options);
}

void *
door_scene_connect(door_scene_t *self, int type, const char *endpoint, const tally_key_pair_t *key,
                   const char *server_key)
{
    void *socket = zmq_socket(self->context, type);
    if (socket == NULL || connect_keyed(socket, endpoint, key, server_key) == -1) {
        die(endpoint, zmq_strerror(errno));
    }
    return socket;
}

void
door_scene_close(void **socket_p)
{
    if (*socket_p != NULL) {
        zmq_close(*socket_p);
        *socket_p = NULL;
    }
}

static door_verdict_t
read_verdict(void *monitor)
{
    int64_t deadline_at_ms = tally_clock_now_ms() + 5000;
    for (;;) {
        int64_t left_ms = deadline_at_ms - tally_clock_now_ms();
        zmq_pollitem_t item = {monitor, 0, ZMQ_POLLIN, 0};
        if (left_ms <= 0 || zmq_poll(&item, 1, (long)left_ms) <= 0) {
            return DOOR_UNDECIDED;
        }
        uint8_t head[6];
        uint16_t event;
        zmq_recv(monitor, head, sizeof head, 0);
        zmq_recv(monitor, NULL, 0, 0);
        memcpy(&event, head, sizeof event);
        if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
            return DOOR_IN;
        }
        if (event != ZMQ_EVENT_CONNECTED && event != ZMQ_EVENT_CONNECT_DELAYED) {
            return DOOR_REFUSED;
        }
    }
}

door_verdict_t
door_scene_knock(door_scene_t *self, int type, const char *endpoint, const tally_key_pair_t *key,
                 const char *server_key)
{
    static unsigned count;
    char where[64];    // libzmq gives a monitor's name up some time after the socket
    snprintf(where, sizeof where, "inproc://knock-%u", count++);
    void *socket = zmq_socket(self->context, type);
    void *monitor = zmq_socket(self->context, ZMQ_PAIR);
    int linger = 0;
    zmq_setsockopt(monitor, ZMQ_LINGER, &linger, sizeof linger);
    int rc = zmq_socket_monitor(socket, where, ZMQ_EVENT_ALL);
    rc |= zmq_connect(monitor, where);
    rc |= connect_keyed(socket, endpoint, key, server_key);
    if (rc != 0) {
        die(endpoint, zmq_strerror(errno));
    }
    if (self->wire.size > 0 && (type == ZMQ_DEALER || type == ZMQ_PUSH)) {
        rc = zmq_send(socket, self->wire.data, self->wire.size, ZMQ_DONTWAIT);
        assert(rc != -1);
    }
    door_verdict_t verdict = read_verdict(monitor);
    zmq_socket_monitor(socket, NULL, 0);
    zmq_close(monitor);
    zmq_close(socket);
    return verdict;
}

//  ---- frames ----------------------------------------------------------------------------------------------

static tally_bytes_t
text_of(const char *text)
{
    return tally_bytes_of(text);
}

void
door_write_hello(door_scene_t *self, const char *queue, const uint8_t *sender)
{
    tally_hello_t hello = {.role = queue != NULL ? TALLY_ROLE_WORKER : TALLY_ROLE_CLIENT,
                           .version_min = 1,
                           .version_max = 1,
                           .name = text_of("peer")};
    if (queue != NULL) {
        hello.credit = 10;
        hello.queue_count = 1;
        hello.queues[0] = text_of(queue);
    }
    if (sender != NULL) {
        memcpy(hello.sender, sender, TALLY_SENDER_BYTES);
    }
    tally_hello_write(&self->wire, ++self->request, &hello);
}

void
door_write_send(door_scene_t *self, const char *queue, const char *tenant, unsigned options)
{
    const tally_item_t item = {.options = (uint8_t)options,
                               .priority = TALLY_PRIORITY_DEFAULT,
                               .body = text_of("body")};
    tally_send_start(&self->wire, ++self->request, text_of(queue), text_of(tenant));
    tally_send_add(&self->wire, &item);
}

void
door_write_admin(door_scene_t *self, const char *json)
{
    tally_wire_start(&self->wire, TALLY_ADMIN, ++self->request);
    tally_wire_put_raw(&self->wire, text_of(json));
}

void
door_write_fetch(door_scene_t *self, uint64_t lease, uint64_t message)
{
    const tally_fetch_t fetch = {lease, message};
    tally_fetch_write(&self->wire, ++self->request, &fetch);
}

void
door_write_record(door_scene_t *self, uint8_t kind, uint64_t worker, uint64_t lease)
{
    const bool whole = kind != TALLY_RECORD_RESULT;
    tally_record_t record = {.kind = kind, .lease = lease, .delay_ms = 1000};
    const uint64_t ids[1] = {1};
    record.count = whole ? 0 : 1;
    if (kind == TALLY_RECORD_EXTEND) {
        record.delay_ms = 60000;
    }
    if (kind == TALLY_RECORD_BURY) {
        record.text = text_of("forged");
    }
    if (kind == TALLY_RECORD_PUBLISH) {
        record.text = text_of("forged");
        record.body = text_of("{}");
    }
    tally_records_start(&self->wire, worker);
    tally_records_add(&self->wire, &record, ids);
}

//  ---- asking ----------------------------------------------------------------------------------------------

static void
copy(char *out, size_t room, tally_bytes_t text)
{
    size_t size = text.size < room - 1 ? text.size : room - 1;
    if (size > 0) {
        memcpy(out, text.data, size);
    }
    out[size] = '\0';
}

static void
read_reply(door_answer_t *answer, tally_bytes_t text)
{
    copy(answer->text, sizeof answer->text, text);
    static const char mark[] = "\"code\":\"";
    const char *code = strstr(answer->text, mark);
    for (int i = TALLY_E_FRAME; code != NULL && i <= TALLY_E_INTERNAL; i++) {
        const char *name = tally_code_name(i);
        if (name[0] != '?' && strncmp(code + sizeof mark - 1, name, strlen(name)) == 0) {
            answer->code = i;
        }
    }
}

static void
read_answer(door_answer_t *answer, const tally_head_t *head, tally_cursor_t cursor)
{
    answer->verb = head->verb;
    if (head->verb == TALLY_ERROR) {
        tally_error_t error;
        tally_fault_t fault = tally_error_read(cursor, &error);
        assert(fault.code == 0);
        answer->code = error.code;
        answer->retry_after_ms = error.retry_after_ms;
        copy(answer->text, sizeof answer->text, error.text);
    } else if (head->verb == TALLY_REPLY) {
        read_reply(answer, tally_cursor_rest(&cursor));
    } else if (head->verb == TALLY_WELCOME) {
        tally_fault_t fault = tally_welcome_read(cursor, &answer->welcome);
        assert(fault.code == 0);
        copy(answer->lane, sizeof answer->lane, answer->welcome.lane);
        copy(answer->sink, sizeof answer->sink, answer->welcome.sink);
        copy(answer->feed, sizeof answer->feed, answer->welcome.feed);
    }
}

door_answer_t
door_scene_read(tally_bytes_t frame)
{
    door_answer_t answer = {0};
    tally_head_t head;
    tally_cursor_t cursor;
    tally_fault_t fault = tally_head_read(frame, &head, &cursor);
    assert(fault.code == 0);
    read_answer(&answer, &head, cursor);
    return answer;
}

door_answer_t
door_scene_ask(door_scene_t *self, void *dealer, int timeout_ms)
{
    tally_head_t sent, head;
    tally_cursor_t cursor;
    tally_fault_t fault = tally_head_read((tally_bytes_t){self->wire.data, self->wire.size}, &sent,
                                          &cursor);
    assert(fault.code == 0);
    door_answer_t answer = {0};
    zmq_send(dealer, self->wire.data, self->wire.size, ZMQ_DONTWAIT);
    int64_t deadline_at_ms = tally_clock_now_ms() + timeout_ms;
    while (answer.verb == 0) {
        int64_t left_ms = deadline_at_ms - tally_clock_now_ms();
        zmq_pollitem_t item = {dealer, 0, ZMQ_POLLIN, 0};
        if (left_ms <= 0 || zmq_poll(&item, 1, (long)left_ms) <= 0) {
            break;
        }
        zmq_msg_t frame;
        zmq_msg_init(&frame);
        if (zmq_msg_recv(&frame, dealer, ZMQ_DONTWAIT) != -1) {
            fault = tally_head_read((tally_bytes_t){zmq_msg_data(&frame), zmq_msg_size(&frame)},
                                    &head, &cursor);
            if (fault.code == 0 && head.request == sent.request && head.verb != TALLY_RESULT) {
                read_answer(&answer, &head, cursor);
            }
        }
        zmq_msg_close(&frame);
    }
    return answer;
}

door_answer_t
door_scene_hello(door_scene_t *self, void *dealer, const char *queue)
{
    door_write_hello(self, queue, NULL);
    return door_scene_ask(self, dealer, 5000);
}

void *
door_scene_client(door_scene_t *self, const tally_key_pair_t *key)
{
    void *dealer = door_scene_connect(self, ZMQ_DEALER, self->front, key, self->server.public_key);
    door_answer_t answer = door_scene_hello(self, dealer, NULL);
    if (answer.verb != TALLY_WELCOME) {
        die("hello", answer.verb == TALLY_ERROR ? answer.text : "no welcome");
    }
    self->request = answer.welcome.last_sequence;    // so that a send may be what it says next
    return dealer;
}
