// SPDX-License-Identifier: MIT
//  ask - see ask.h.

#include "workers/ask.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"

static json_t *
refuse(const char *code, const char *text)
{
    return tally_json_refusal(code, text);
}

json_t *
tally_ask_read(const tally_body_t *body, size_t bytes_max, json_t **refusal)
{
    tally_problem_t problem;
    *refusal = NULL;
    if (body->state != TALLY_BODY_HERE) {
        *refusal = body->state == TALLY_BODY_LARGE
                       ? refuse("LIMIT", "the request is too large")
                       : refuse("UNKNOWN", "the request's body is gone");
        return NULL;
    }
    json_t *request = tally_json_parse(body->bytes, bytes_max, &problem);
    if (request == NULL) {
        *refusal = refuse("JSON", problem.text);
        return NULL;
    }
    if (!json_is_string(json_object_get(request, "do"))) {
        *refusal = refuse("JSON", "a request is an object with a text \"do\"");
        json_decref(request);
        return NULL;
    }
    return request;
}

json_t *
tally_ask_check(const json_t *request, const char *const *known)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)request, key, value) {
        bool found = strcmp(key, "do") == 0;
        for (size_t i = 0; known[i] != NULL && !found; i++) {
            found = strcmp(key, known[i]) == 0;
        }
        if (!found) {
            tally_problem_t problem;
            tally_problem_set(&problem, "\"%.100s\" has no \"%.100s\"",
                              json_string_value(json_object_get(request, "do")), key);
            return refuse("OPTION", problem.text);
        }
    }
    return NULL;
}

const char *
tally_ask_text(const json_t *request, const char *key, json_t **refusal)
{
    const char *text = json_string_value(json_object_get(request, key));
    *refusal = NULL;
    if (text == NULL) {
        tally_problem_t problem;
        tally_problem_set(&problem, "\"%s\" is missing or not a text", key);
        *refusal = refuse("JSON", problem.text);
    }
    return text;
}

json_t *
tally_ask_ok(void)
{
    json_t *answer = json_object();
    json_object_set_new(answer, "ok", json_true());
    return answer;
}

void
tally_ask_answer(tally_worker_t *worker, const tally_work_t *work, const tally_delivered_t *item,
                 json_t *answer)
{
    if ((item->options & TALLY_WANTS_RESULT) != 0) {
        char *text = tally_json_print(answer);
        tally_worker_settle_result(worker, work, item->id, tally_bytes_of(text));
        free(text);
    } else {
        tally_worker_settle(worker, work, &item->id, 1);
    }
    json_decref(answer);
}
