// SPDX-License-Identifier: MIT
//  pointer - see pointer.h.

#include "workers/pointer.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/wire.h"

char *
tally_pointer_print(int32_t survey, const char *slug, const int64_t *numbers, size_t count,
                    size_t *taken)
{
    char *text = tally_alloc(TALLY_POINTER_BYTES_MAX);
    int length = snprintf(text, TALLY_POINTER_BYTES_MAX,
                          "{\"survey\":%d,\"slug\":\"%s\",\"responses\":[", survey, slug);
    size_t i = 0;
    for (; i < count && length < TALLY_POINTER_BYTES_MAX - 32; i++) {
        length += snprintf(text + length, (size_t)(TALLY_POINTER_BYTES_MAX - length), "%s%lld",
                           i == 0 ? "" : ",", (long long)numbers[i]);
    }
    snprintf(text + length, (size_t)(TALLY_POINTER_BYTES_MAX - length), "]}");
    *taken = i;
    return text;
}

int64_t *
tally_numbers_read(const json_t *list, size_t *count)
{
    *count = json_array_size(list);
    if (*count == 0) {
        return NULL;
    }
    int64_t *numbers = tally_alloc_array(*count, sizeof *numbers);
    int64_t last = 0;
    for (size_t i = 0; i < *count; i++) {
        const json_t *one = json_array_get(list, i);
        int64_t number = json_is_integer(one) ? json_integer_value(one) : 0;
        if (number <= last) {
            free(numbers);
            return NULL;
        }
        numbers[i] = last = number;
    }
    return numbers;
}

int
tally_pointer_read(tally_pointer_t *pointer, const json_t *json, tally_problem_t *problem)
{
    *pointer = (tally_pointer_t){0};
    const json_t *survey = json_object_get(json, "survey");
    const char *slug = json_string_value(json_object_get(json, "slug"));
    json_int_t id = json_is_integer(survey) ? json_integer_value(survey) : 0;
    if (id < 1 || id > INT32_MAX || slug == NULL || !tally_name_valid(tally_bytes_of(slug))) {
        return tally_problem_set(problem, "it names no survey");
    }
    pointer->numbers = tally_numbers_read(json_object_get(json, "responses"), &pointer->count);
    if (pointer->numbers == NULL) {
        return tally_problem_set(problem, "its responses are not a list of growing numbers");
    }
    pointer->survey = (int32_t)id;
    snprintf(pointer->slug, sizeof pointer->slug, "%s", slug);
    return 0;
}

void
tally_pointer_free(tally_pointer_t *pointer)
{
    free(pointer->numbers);
    *pointer = (tally_pointer_t){0};
}
