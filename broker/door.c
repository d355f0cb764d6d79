// SPDX-License-Identifier: MIT
//  door - see door.h.

#include "broker/door.h"

#include <assert.h>
#include <czmq.h>
#include <sodium.h>

#include "broker/door_test.h"
#include "broker/table.h"
#include "broker/zap.h"
#include "lib/alloc.h"
#include "lib/key_file.h"
#include "lib/log.h"

#define CREDENTIAL "tally-server-key"
#define LOOK_MS 1000    // revocation takes effect in that, and what PostgreSQL needs to answer

struct tally_door {
    bool locked;
    tally_key_pair_t server;    // in memory that is not swapped
    tally_keyring_t *keyring;
    tally_zap_t *zap;    // NULL without CURVE
    tally_reader_t *reader;
    const char *db;
    int64_t version;    // of the principals we have
    bool looking;
    int64_t look_at_ms;
    tally_table_t former;          // by worker: its key; owned
    tally_socket_curve_t curve;    // lent last
    char domain[TALLY_DOMAIN_BYTES_MAX + 1];
};

//  ---- making --------------------------------------------------------------------------------------

//  The file of the server's key, owned by the caller; NULL when there is none to be found.
static char *
find_server_key(const char *given)
{
    const char *credentials = getenv("CREDENTIALS_DIRECTORY");
    if (given != NULL) {
        return tally_strdup(given);
    }
    return credentials == NULL ? NULL : tally_format("%s/" CREDENTIAL, credentials);
}

//  0, or an exit code.
static int
read_server_key(tally_door_t *self, const char *given)
{
    char *path = find_server_key(given);
    if (path == NULL) {
        tally_log_error("CURVE needs the server's key: set key to its file, or give systemd "
                        "the credential " CREDENTIAL "; tally key server makes one");
        return 78;
    }
    char *error = NULL;
    int rc = tally_key_file_read(path, TALLY_KEY_SECRET, &self->server, &error);
    if (rc == -1) {
        tally_log_error("could not read the server's key: %s", error);
    }
    free(error);
    free(path);
    return rc == -1 ? 78 : 0;
}

static int
lock(tally_door_t *self, const char *server_key)
{
    if (zsys_has_curve() == false) {
        tally_log_error("this libzmq has no CURVE");
        return 78;
    }
    if (sodium_mlock(&self->server, sizeof self->server) == -1) {
        tally_log_warn("could not lock the server's key in memory: %s", strerror(errno));
    }
    int rc = read_server_key(self, server_key);
    if (rc != 0) {
        return rc;
    }
    self->zap = tally_zap_new(self->keyring);
    if (self->zap == NULL) {
        tally_log_error("could not start the ZAP handler");
        return 70;
    }
    self->locked = true;
    return 0;
}

tally_door_t *
tally_door_new(const tally_door_options_t *options, int *code)
{
    tally_door_t *self = tally_alloc(sizeof *self);
    self->db = options->db;
    self->keyring = tally_keyring_new();
    *code = options->curve ? lock(self, options->key) : 0;
    if (*code == 0) {
        self->reader = tally_reader_new(options->db);
    } else {
        tally_door_destroy(&self);
    }
    return self;
}

bool
tally_door_rest(tally_door_t *self, int timeout_ms)
{
    return self->reader == NULL || tally_reader_rest(self->reader, timeout_ms);
}

void
tally_door_destroy(tally_door_t **self_p)
{
    tally_door_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    tally_reader_destroy(&self->reader);
    tally_zap_destroy(&self->zap);
    tally_keyring_destroy(&self->keyring);
    size_t at = 0;
    for (void *key = tally_table_each(&self->former, &at); key != NULL;
         key = tally_table_each(&self->former, &at)) {
        free(key);
    }
    tally_table_free(&self->former);
    sodium_munlock(&self->server, sizeof self->server);    // zeroes it
    free(self);
    *self_p = NULL;
}

//  ---- listeners -----------------------------------------------------------------------------------

bool
tally_door_locked(const tally_door_t *self)
{
    return self->locked;
}

static bool
begins_with_any(const char *text, const char *const *prefixes)
{
    for (; *prefixes != NULL; prefixes++) {
        if (strncmp(text, *prefixes, strlen(*prefixes)) == 0) {
            return true;
        }
    }
    return false;
}

bool
tally_door_may_listen(const tally_door_t *self, const char *endpoint, bool told)
{
    static const char *const own[] = {"ipc://", "tcp://127.",
                                      "tcp://localhost:", "tcp://[::1]:", NULL};
    static const char *const any[] = {"tcp://*:", "tcp://0.0.0.0:", "tcp://[::]:", NULL};
    if (!self->locked && !begins_with_any(endpoint, own)) {
        tally_log_error("cannot listen on %s: only ipc:// and loopback are allowed without CURVE",
                        endpoint);
        return false;
    }
    if (told && begins_with_any(endpoint, any)) {
        tally_log_error(
            "cannot listen on %s: peers are told this address; name one that they reach", endpoint);
        return false;
    }
    return true;
}

const tally_socket_curve_t *
tally_door_curve(tally_door_t *self, const char *domain, const char *rest)
{
    if (!self->locked) {
        return NULL;
    }
    int size = snprintf(self->domain, sizeof self->domain, "%s%s", domain, rest);
    assert(size > 0 && (size_t)size < sizeof self->domain);
    self->curve = (tally_socket_curve_t){.secret_key = self->server.secret_key,
                                         .domain = self->domain};
    return &self->curve;
}

int
tally_door_test(tally_door_t *self, const char *front)
{
    return self->locked ? tally_door_test_run(front, self->server.public_key, self->keyring) : 0;
}

//  ---- who it is -----------------------------------------------------------------------------------

const tally_principal_t *
tally_door_of_key(const tally_door_t *self, const char *key, int64_t now_ms)
{
    if (!self->locked) {
        return key[0] == '\0' ? tally_principal_local() : NULL;
    }
    return key[0] == '\0' ? NULL : tally_keyring_find(self->keyring, key, now_ms);
}

//  Without CURVE a peer sets the metadata itself, so it is not even looked at.
const tally_principal_t *
tally_door_of_frame(const tally_door_t *self, zmq_msg_t *frame, int64_t now_ms)
{
    if (!self->locked) {
        return tally_principal_local();
    }
    const char *key = zmq_msg_gets(frame, "User-Id");
    return key == NULL ? NULL : tally_door_of_key(self, key, now_ms);
}

void
tally_door_sender(const tally_principal_t *who, const uint8_t wire[TALLY_SENDER_BYTES],
                  uint8_t own[TALLY_SENDER_BYTES])
{
    if (who->key[0] == '\0') {
        memcpy(own, wire, TALLY_SENDER_BYTES);
        return;
    }
    int rc = crypto_generichash(own, TALLY_SENDER_BYTES, wire, TALLY_SENDER_BYTES,
                                (const uint8_t *)who->key, TALLY_KEY_TEXT_BYTES);
    assert(rc == 0);
}

//  ---- keeping up with PostgreSQL ------------------------------------------------------------------

//  Monotonic times instead of times from now.
static void
replace(tally_door_t *self, tally_principal_list_t *list, int64_t now_ms)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->principals[i].dies_at_ms != INT64_MAX) {
            list->principals[i].dies_at_ms += now_ms;
        }
    }
    tally_keyring_replace(self->keyring, list->principals, list->count, now_ms);
    self->version = list->version;
    *list = (tally_principal_list_t){0};
    tally_log_info("read the principals  version=%lld count=%zu", (long long)self->version,
                   tally_keyring_count(self->keyring));
}

static void
add_former(void *context, uint64_t number, tally_bytes_t key)
{
    tally_door_t *self = context;
    if (tally_table_find(&self->former, number) == NULL) {
        tally_table_put(&self->former, number, tally_strndup(key.data, key.size));
    }
}

const char *
tally_door_former(const tally_door_t *self, uint64_t number)
{
    return tally_table_find(&self->former, number);
}

int
tally_door_load(tally_door_t *self, int64_t now_ms)
{
    if (!self->locked) {
        return 0;
    }
    tally_door_store_t *store = tally_door_store_new(self->db);
    tally_principal_list_t list;
    tally_db_outcome_t outcome = tally_door_store_load(store, 0, &list);
    if (outcome == TALLY_DB_DONE) {
        replace(self, &list, now_ms);
        outcome = tally_door_store_workers(store, add_former, self);
    }
    if (outcome != TALLY_DB_DONE) {
        tally_log_error("could not read the principals: %s", tally_door_store_error(store));
    }
    tally_door_store_destroy(&store);
    return outcome == TALLY_DB_DONE ? 0 : 75;
}

tally_reader_t *
tally_door_reader(tally_door_t *self)
{
    return self->reader;
}

void
tally_door_look(tally_door_t *self, int64_t now_ms)
{
    if (!self->locked || self->looking || now_ms < self->look_at_ms) {
        return;
    }
    tally_read_t *read = tally_read_new(TALLY_READ_PRINCIPALS);
    read->version = self->version;
    self->looking = tally_reader_ask(self->reader, &read) == 0;
    tally_read_destroy(&read);
    self->look_at_ms = now_ms + LOOK_MS;
}

void
tally_door_take(tally_door_t *self, tally_read_t *read, int64_t now_ms)
{
    self->looking = false;
    if (read->database == TALLY_DB_DONE && read->principals.changed) {
        replace(self, &read->principals, now_ms);
    }
}

uint64_t
tally_door_losses(const tally_door_t *self, int64_t now_ms)
{
    return tally_keyring_losses(self->keyring, now_ms);
}

//  ---- the handler ---------------------------------------------------------------------------------

int
tally_door_fd(const tally_door_t *self)
{
    return self->zap == NULL ? -1 : tally_zap_fd(self->zap);
}

bool
tally_door_stands(tally_door_t *self)
{
    return self->zap == NULL || tally_zap_lives(self->zap);
}

void
tally_door_count(const tally_door_t *self, uint64_t *admitted, uint64_t *refused)
{
    *admitted = *refused = 0;
    if (self->zap != NULL) {
        tally_zap_count(self->zap, admitted, refused);
    }
}
