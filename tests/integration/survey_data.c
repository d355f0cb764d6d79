// SPDX-License-Identifier: MIT
//  survey_data - see survey_data.h.

#include "tests/integration/survey_data.h"

#include <assert.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "tests/integration/marker.h"

#define RANGE_MAX 5

static const char *const plans[] = {"free", "team", "large, with \"quotes\"", "größer"};
static const char *const likes[] = {"speed", "price", "care", "other; or none"};
#define PLANS (sizeof plans / sizeof plans[0])
#define LIKES (sizeof likes / sizeof likes[0])

//  What the responses say, counted as they are made.
struct counts {
    size_t plan[PLANS], like[LIKES], score[RANGE_MAX + 1];
    size_t planned, liked, scored, commented;
};

static unsigned
roll(uint64_t *random, unsigned below)
{
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(*random >> 33) % below;
}

static json_t *
strings(const char *const *texts, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(array, json_string(texts[i]));
    }
    return array;
}

static void
write_definition(const survey_data_t *data)
{
    json_t *json = json_pack(
        "{s:s, s:s, s:[{s:s,s:s,s:s,s:o},{s:s,s:s,s:s,s:o},{s:s,s:s,s:s,s:i,s:i},{s:s,s:s,s:s}]}",
        "slug", data->slug, "title", "generated", "questions", "id", "plan", "type", "choice",
        "text", "Which plan?", "choices", strings(plans, PLANS), "id", "like", "type", "multi",
        "text", "What do you like?", "choices", strings(likes, LIKES), "id", "score", "type",
        "range", "text", "How much?", "min", 1, "max", RANGE_MAX, "id", "comment", "type", "text",
        "text", "Anything else?");
    assert(json != NULL);
    int rc = json_dump_file(json, data->definition, JSON_INDENT(1));
    assert(rc == 0);
    json_decref(json);
}

static json_t *
make_response(const survey_data_t *data, size_t number, uint64_t *random, struct counts *counts)
{
    char id[40];
    snprintf(id, sizeof id, "r-%zu", number);
    json_t *answers = json_object();
    if (roll(random, 10) > 0) {
        size_t pick = roll(random, PLANS);
        counts->plan[pick]++;
        counts->planned++;
        json_object_set_new(answers, "plan", json_string(plans[pick]));
    }
    json_t *liked = json_array();
    for (size_t i = 0; i < LIKES; i++) {
        if (roll(random, 3) == 0) {
            counts->like[i]++;
            json_array_append_new(liked, json_string(likes[i]));
        }
    }
    if (json_array_size(liked) > 0) {
        counts->liked++;
        json_object_set(answers, "like", liked);
    }
    json_decref(liked);
    if (roll(random, 5) > 0) {
        unsigned score = 1 + roll(random, RANGE_MAX);
        counts->score[score]++;
        counts->scored++;
        json_object_set_new(answers, "score", json_integer(score));
    }
    if (roll(random, 4) == 0) {
        counts->commented++;
        json_object_set_new(answers, "comment",
                            json_string(TALLY_MARKER "\nline \"two\", with a comma"));
    }
    return json_pack("{s:s, s:s, s:o}", "response_id", id, "survey", data->slug, "answers",
                     answers);
}

static json_t *
histogram(const char *const *names, const size_t *counts, size_t count)
{
    json_t *object = json_object();
    for (size_t i = 0; i < count; i++) {
        if (counts[i] > 0) {
            json_object_set_new(object, names[i], json_integer((json_int_t)counts[i]));
        }
    }
    return object;
}

static json_t *
expect_score(const struct counts *counts)
{
    double sum = 0;
    double squares = 0;
    int min = RANGE_MAX;
    int max = 1;
    json_t *object = json_object();
    for (int score = 1; score <= RANGE_MAX; score++) {
        double n = (double)counts->score[score];
        sum += n * score;
        squares += n * score * score;
        if (counts->score[score] > 0) {
            min = score < min ? score : min;
            max = score > max ? score : max;
            char name[4];
            snprintf(name, sizeof name, "%d", score);
            json_object_set_new(object, name, json_integer((json_int_t)counts->score[score]));
        }
    }
    double n = (double)counts->scored;
    double mean = sum / n;
    return json_pack("{s:s, s:I, s:I, s:i, s:i, s:o, s:f, s:f}", "type", "range", "answered",
                     (json_int_t)counts->scored, "sum", (json_int_t)sum, "min", min, "max", max,
                     "histogram", object, "mean", mean, "stddev", sqrt(squares / n - mean * mean));
}

static json_t *
expect(const survey_data_t *data, const struct counts *counts)
{
    return json_pack("{s:s, s:I, s:{s:{s:s, s:I, s:o}, s:{s:s, s:I, s:o}, s:o, s:{s:s, s:I}}}",
                     "survey", data->slug, "responses", (json_int_t)data->count, "questions",
                     "plan", "type", "choice", "answered", (json_int_t)counts->planned, "histogram",
                     histogram(plans, counts->plan, PLANS), "like", "type", "multi", "answered",
                     (json_int_t)counts->liked, "histogram", histogram(likes, counts->like, LIKES),
                     "score", expect_score(counts), "comment", "type", "text", "answered",
                     (json_int_t)counts->commented);
}

void
survey_data_generate(survey_data_t *data, const char *dir, const char *slug, size_t count,
                     unsigned seed)
{
    assert(count >= 100);    // enough for every answer to occur
    *data = (survey_data_t){.count = count};
    snprintf(data->slug, sizeof data->slug, "%s", slug);
    data->definition = tally_format("%s/%s.survey.json", dir, slug);
    data->responses = tally_format("%s/%s.responses.ndjson", dir, slug);
    write_definition(data);
    FILE *file = fopen(data->responses, "w");
    assert(file != NULL);
    uint64_t random = seed;
    struct counts counts = {0};
    for (size_t i = 0; i < count; i++) {
        json_t *response = make_response(data, i, &random, &counts);
        int rc = json_dumpf(response, file, JSON_COMPACT);
        assert(rc == 0);
        fputc('\n', file);
        json_decref(response);
    }
    int rc = fclose(file);
    assert(rc == 0);
    data->expected = expect(data, &counts);
    assert(data->expected != NULL);
}

static size_t
count_lines(const char *path)
{
    FILE *file = fopen(path, "r");
    assert(file != NULL);
    size_t lines = 0;
    for (int c = fgetc(file); c != EOF; c = fgetc(file)) {
        lines += c == '\n';
    }
    fclose(file);
    return lines;
}

bool
survey_data_read(survey_data_t *data, const char *slug)
{
    const char *dir = getenv("TALLY_DATA_DIR");
    dir = dir != NULL ? dir : "../shared/data";
    *data = (survey_data_t){0};
    snprintf(data->slug, sizeof data->slug, "%s", slug);
    char *path = tally_format("%s/%s.expected.json", dir, slug);
    data->expected = json_load_file(path, 0, NULL);
    free(path);
    if (data->expected == NULL) {
        return false;
    }
    data->definition = tally_format("%s/%s.survey.json", dir, slug);
    data->responses = tally_format("%s/%s.responses.ndjson", dir, slug);
    data->count = count_lines(data->responses);
    return true;
}

void
survey_data_free(survey_data_t *data)
{
    free(data->definition);
    free(data->responses);
    json_decref(data->expected);
    *data = (survey_data_t){0};
}

//  ---- comparing --------------------------------------------------------------------------------------------

static bool
numbers_equal(double a, double b)
{
    double scale = fmax(fabs(a), fabs(b));
    return fabs(a - b) <= 1e-9 * scale;
}

static char *differ(const char *path, const json_t *expected, const json_t *actual);

static char *
differ_objects(const char *path, const json_t *expected, const json_t *actual)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)expected, name, value) {
        char *inner = tally_format("%s/%s", path, name);
        char *difference = differ(inner, value, json_object_get(actual, name));
        free(inner);
        if (difference != NULL) {
            return difference;
        }
    }
    if (json_object_size(actual) != json_object_size(expected)) {
        return tally_format("%s: %zu members where %zu are expected", path,
                            json_object_size(actual), json_object_size(expected));
    }
    return NULL;
}

static char *
differ(const char *path, const json_t *expected, const json_t *actual)
{
    if (json_is_object(expected) && json_is_object(actual)) {
        return differ_objects(path, expected, actual);
    }
    bool equal = json_is_number(expected) && json_is_number(actual)
                     ? numbers_equal(json_number_value(expected), json_number_value(actual))
                     : json_equal(expected, actual) != 0;
    if (equal) {
        return NULL;
    }
    char *wanted = json_dumps(expected, JSON_ENCODE_ANY | JSON_COMPACT);
    char *found = actual != NULL ? json_dumps(actual, JSON_ENCODE_ANY | JSON_COMPACT)
                                 : tally_strdup("nothing");
    char *text = tally_format("%s: %s where %s is expected", path, found, wanted);
    free(wanted);
    free(found);
    return text;
}

char *
survey_data_difference(const json_t *expected, const json_t *actual)
{
    return differ("", expected, actual);
}
