// SPDX-License-Identifier: MIT
//  refresh_store - see refresh_store.h.

#include "workers/refresh_store.h"

#define TENANT "(select t.id from tally.tenant t where t.name = $1)"
#define RESPONSES "(select q.id from tally.queue q where q.name = 'responses')"
#define STATISTICS "(select q.id from tally.queue q where q.name = 'statistics')"

tally_effect_t
tally_refresh_store_look(tally_db_t *db, const char *tenant, uint64_t message, int64_t from,
                         tally_pending_t *pending)
{
    //  Ids grow in the order of acceptance.  A message that was sent to be worked much later is not waited for.
    static const char sql[] =
        "select (select m.id from tally.message m where m.tenant = " TENANT
        "  and m.id >= $3 and m.id < $2 and m.queue = " RESPONSES
        "  and (m.due is null or m.due < clock_timestamp() + interval '1 hour' or m.deliveries > 0)"
        "  order by m.id limit 1),"
        " i.first, i.last,"
        " (select max(m.id) from tally.message m where m.tenant = " TENANT ")"
        " from (select min(i.id) as first, max(i.id) as last from tally.inbox i"
        "  where i.tenant = " TENANT " and i.queue = " STATISTICS " and not i.releases) i";
    tally_params_t params = {0};
    tally_rows_t rows;
    tally_params_text(&params, tally_bytes_of(tenant));
    tally_params_int8(&params, (int64_t)message);
    tally_params_int8(&params, from);
    tally_effect_t effect = tally_effect_of(db, tally_db_run(db, sql, &params, &rows));
    if (effect == TALLY_EFFECT_DONE) {
        pending->response_first = tally_rows_int8(&rows, 0, 0);
        pending->inbox_first = tally_rows_int8(&rows, 0, 1);
        pending->inbox_last = tally_rows_int8(&rows, 0, 2);
        pending->message_last = tally_rows_int8(&rows, 0, 3);
    }
    tally_params_free(&params);
    return effect;
}

tally_effect_t
tally_refresh_store_pointers(tally_db_t *db, const char *tenant, int64_t last, bool *found)
{
    //  Requests say what to do, pointers do not.
    static const char sql[] = "select exists (select from tally.message m where m.tenant = " TENANT
                              " and m.id <= $2 and m.queue = " STATISTICS
                              " and tally.json_or_null(m.body) ->> 'do' is null)";
    tally_params_t params = {0};
    tally_rows_t rows;
    tally_params_text(&params, tally_bytes_of(tenant));
    tally_params_int8(&params, last);
    tally_effect_t effect = tally_effect_of(db, tally_db_run(db, sql, &params, &rows));
    if (effect == TALLY_EFFECT_DONE) {
        *found = tally_rows_bool(&rows, 0, 0);
    }
    tally_params_free(&params);
    return effect;
}
