// SPDX-License-Identifier: MIT
#include "workers/ping.h"

#include <stdio.h>
#include <time.h>

#include "lib/wire.h"

#define PING_BYTES_MAX 4096
#define YEAR_MIN 1970    // what PostgreSQL can hold and somebody could mean
#define YEAR_MAX 9999

//  A fixed number of digits; -1 when there is something else.
static int
digits(const char **at, int count)
{
    int value = 0;
    for (int i = 0; i < count; i++) {
        char digit = (*at)[i];
        if (digit < '0' || digit > '9') {
            return -1;
        }
        value = value * 10 + (digit - '0');
    }
    *at += count;
    return value;
}

static int
read_part(const char **at, int count, char behind)
{
    int value = digits(at, count);
    if (value == -1 || **at != behind) {
        return -1;
    }
    (*at)++;
    return value;
}

//  Behind the seconds: "Z", or ".1Z" to ".123456Z".
static int
read_fraction(const char *at, int64_t *us)
{
    *us = 0;
    if (*at == '.') {
        int64_t unit = 100000;
        for (at++; *at >= '0' && *at <= '9' && unit > 0; at++, unit /= 10) {
            *us += (*at - '0') * unit;
        }
        if (unit == 100000) {
            return -1;
        }
    }
    return strcmp(at, "Z") == 0 ? 0 : -1;
}

int
tally_ping_time(const char *text, int64_t *us)
{
    const char *at = text;
    int year = read_part(&at, 4, '-');
    int month = year == -1 ? -1 : read_part(&at, 2, '-');
    int day = month == -1 ? -1 : read_part(&at, 2, 'T');
    int hour = day == -1 ? -1 : read_part(&at, 2, ':');
    int minute = hour == -1 ? -1 : read_part(&at, 2, ':');
    int second = minute == -1 ? -1 : digits(&at, 2);
    int64_t fraction;
    if (second == -1 || read_fraction(at, &fraction) == -1) {
        return -1;
    }
    struct tm parts = {.tm_year = year - 1900,
                       .tm_mon = month - 1,
                       .tm_mday = day,
                       .tm_hour = hour,
                       .tm_min = minute,
                       .tm_sec = second};
    struct tm asked = parts;
    time_t seconds = timegm(&parts);    // 31 April becomes 1 May
    if (year < YEAR_MIN || year > YEAR_MAX || parts.tm_mon != asked.tm_mon
        || parts.tm_mday != asked.tm_mday || parts.tm_hour != asked.tm_hour
        || parts.tm_min != asked.tm_min || parts.tm_sec != asked.tm_sec) {
        return -1;
    }
    *us = (int64_t)seconds * 1000000 + fraction;
    return 0;
}

static int
read_text(const json_t *ping, const char *member, char *out, size_t room, tally_problem_t *problem)
{
    const json_t *value = json_object_get(ping, member);
    if (!json_is_string(value)) {
        return tally_problem_set(problem, "a ping's \"%s\" is missing or not a text", member);
    }
    if (json_string_length(value) >= room) {
        return tally_problem_set(problem, "a ping's \"%s\" is longer than %zu bytes", member,
                                 room - 1);
    }
    snprintf(out, room, "%s", json_string_value(value));
    return 0;
}

static int
read_time(const json_t *ping, const char *member, int64_t *us, tally_problem_t *problem)
{
    const char *text = json_string_value(json_object_get(ping, member));
    if (text == NULL || tally_ping_time(text, us) == -1) {
        return tally_problem_set(problem,
                                 "a ping's \"%s\" must be a time like 2026-01-31T23:59:59.123Z",
                                 member);
    }
    return 0;
}

static int
read_ping(tally_ping_t *ping, const json_t *body, tally_problem_t *problem)
{
    if (read_text(body, "name", ping->name, sizeof ping->name, problem) == -1
        || read_text(body, "role", ping->role, sizeof ping->role, problem) == -1
        || read_text(body, "host", ping->host, sizeof ping->host, problem) == -1) {
        return -1;
    }
    if (!tally_name_valid(tally_bytes_of(ping->name))) {
        return tally_problem_set(problem, "\"%s\" is not a worker's name", ping->name);
    }
    const json_t *pid = json_object_get(body, "pid");
    if (!json_is_integer(pid) || json_integer_value(pid) < 1
        || json_integer_value(pid) > INT32_MAX) {
        return tally_problem_set(problem, "a ping's \"pid\" must be a process number");
    }
    ping->pid = (int32_t)json_integer_value(pid);
    ping->stopped = json_is_true(json_object_get(body, "stopped"));
    if (read_time(body, "started_at", &ping->started_at_us, problem) == -1) {
        return -1;
    }
    return read_time(body, "at", &ping->at_us, problem);
}

int
tally_ping_read(tally_ping_t *ping, tally_bytes_t body, tally_problem_t *problem)
{
    *ping = (tally_ping_t){.pid = 0};
    json_t *value = tally_json_parse(body, PING_BYTES_MAX, problem);
    if (value == NULL) {
        return -1;
    }
    int outcome = read_ping(ping, value, problem);
    json_decref(value);
    return outcome;
}
