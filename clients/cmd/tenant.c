// SPDX-License-Identifier: MIT
//  tenant - lists tenants and sets their weights and quotas.

#include "clients/cmd/call.h"
#include "clients/cmd/fields.h"
#include "clients/cmd/grid.h"
#include "clients/cmd/verbs.h"

static const struct {
    const char *flag;
    const char *field;
    int64_t max;
} limits[] = {
    {"weight", "weight", 1000},
    {"messages-max", "messages_max", INT64_MAX},
    {"bytes-max", "bytes_max", INT64_MAX},
    {"leased-max", "leased_max", INT64_MAX},
    {"connections-max", "connections_max", INT32_MAX},
    {"requests-max", "requests_max", INT32_MAX},
};

static const tally_flag_t put_flags[] = {
    {"weight", 0, "N", "its share of the turns, 1 to 1000"},
    {"messages-max", 0, "N", "pending messages; more are refused"},
    {"bytes-max", 0, "N", "pending bytes; more are refused"},
    {"leased-max", 0, "N", "messages leased at once"},
    {"connections-max", 0, "N", "connections of its keys at once; 0: no limit"},
    {"requests-max", 0, "N", "requests a second; 0: no limit"},
    TALLY_FLAGS_END,
};

static void
print_tenants(const json_t *tenants)
{
    static const char *const headings[] =
        {"TENANT",     ">WEIGHT",     ">READY",           ">LEASED",
         ">HELD",      ">DELAYED",    ">BYTES",           ">MESSAGES MAX",
         ">BYTES MAX", ">LEASED MAX", ">CONNECTIONS MAX", ">REQUESTS MAX"};
    tally_grid_t *grid = tally_grid_new(headings, sizeof headings / sizeof headings[0]);
    size_t index;
    json_t *one;
    json_array_foreach(tenants, index, one) {
        tally_grid_add(grid, tally_field_text(one, "name"));
        tally_grid_add_number(grid, tally_field_number(one, "weight"));
        tally_grid_add_number(grid, tally_field_number(one, "ready")
                                        + tally_field_number(one, "waiting"));
        tally_grid_add_number(grid, tally_field_number(one, "leased"));
        tally_grid_add_number(grid, tally_field_number(one, "held"));
        tally_grid_add_number(grid, tally_field_number(one, "delayed"));
        tally_grid_add_number(grid, tally_field_number(one, "bytes"));
        tally_grid_add_number(grid, tally_field_number(one, "messages_max"));
        tally_grid_add_number(grid, tally_field_number(one, "bytes_max"));
        tally_grid_add_number(grid, tally_field_number(one, "leased_max"));
        tally_grid_add_number(grid, tally_field_number(one, "connections_max"));
        tally_grid_add_number(grid, tally_field_number(one, "requests_max"));
    }
    tally_grid_print(grid, stdout);
    tally_grid_destroy(&grid);
}

static int
run_ls(tally_call_t *call)
{
    json_t *reply;
    int code = tally_call_admin(call, json_pack("{s:s}", "op", "tenant.ls"), &reply);
    if (code != 0) {
        return code;
    }
    if (tally_call_wants_json(call)) {
        tally_call_print_json(json_object_get(reply, "tenants"));
    } else {
        print_tenants(json_object_get(reply, "tenants"));
    }
    json_decref(reply);
    return TALLY_EXIT_OK;
}

static int
run_put(tally_call_t *call)
{
    json_t *tenant = json_pack("{s:s}", "name", tally_call_argument(call, 0));
    if (tenant == NULL) {
        return tally_call_fail(call, TALLY_EXIT_DATA, "NAME: the name of the tenant is not UTF-8");
    }
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        int64_t value;
        if (!tally_call_has(call, limits[i].flag)) {
            continue;
        }
        if (tally_call_number(call, limits[i].flag, 0, limits[i].max, 0, &value) == -1) {
            json_decref(tenant);
            return TALLY_EXIT_USAGE;
        }
        json_object_set_new(tenant, limits[i].field, json_integer(value));
    }
    json_t *reply;
    int code = tally_call_admin(call, json_pack("{s:s, s:o}", "op", "tenant.put", "tenant", tenant),
                                &reply);
    if (code != 0) {
        return code;
    }
    if (tally_call_wants_json(call)) {
        tally_call_print_json(reply);
    } else {
        tally_call_say(call, "tenant %s is set", tally_call_argument(call, 0));
    }
    json_decref(reply);
    return TALLY_EXIT_OK;
}

const tally_command_t tally_verb_tenant_ls = {
    .name = "tenant ls",
    .section = "LOOK",
    .arguments = "",
    .summary = "the tenants, what they have pending, their quotas",
    .run = run_ls,
};

const tally_command_t tally_verb_tenant_put = {
    .name = "tenant put",
    .section = "ADMIN",
    .arguments = "TENANT",
    .summary = "make a tenant, or change its weight and quotas",
    .flags = put_flags,
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run_put,
};
