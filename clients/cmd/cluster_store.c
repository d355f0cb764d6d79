// SPDX-License-Identifier: MIT
#include "clients/cmd/cluster_store.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"

#define CONNECT_SECONDS "2"

//  "create database" takes no part in a transaction, so lib/db is not for it.
static int
create(PGconn *handle)
{
    PGresult *result = PQexec(handle, "select 1 from pg_database where datname = 'tally'");
    bool is_there = PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1;
    PQclear(result);
    if (is_there) {
        return 0;
    }
    result = PQexec(handle, "create database tally owner tally template template0");
    int rc = PQresultStatus(result) == PGRES_COMMAND_OK ? 0 : -1;
    if (rc == -1) {
        fprintf(stderr, "tally: could not create the database: %s", PQerrorMessage(handle));
    }
    PQclear(result);
    return rc;
}

int
tally_cluster_store_ensure(const char *conninfo)
{
    //  The later dbname wins.
    char *maintenance = tally_format("%s dbname=postgres connect_timeout=" CONNECT_SECONDS,
                                     conninfo);
    PGconn *handle = PQconnectdb(maintenance);
    int rc = PQstatus(handle) == CONNECTION_OK ? create(handle) : 1;
    PQfinish(handle);
    free(maintenance);
    return rc;
}
