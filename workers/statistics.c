// SPDX-License-Identifier: MIT
//  statistics - see statistics.h.

#include "workers/statistics.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "workers/statistics_count.h"

#define LETTERS_MAX 100                 // longer rows of letters are written as label:count
#define WHOLE_MAX 9007199254740992.0    // 2^53: whole numbers up to here are exact in a double
#define RESPONSES_MAX (1ULL << 53)      // far from where sums of counts would leave 64 bits

struct counted {
    char *id;
    tally_question_type_t type;
    uint64_t answered;
    tally_counts_t counts;    // unused by text
};

struct tally_statistics {
    char *slug;
    uint64_t responses;
    struct counted *questions;
    size_t count, room;
};

//  ---- making ------------------------------------------------------------------------------------

static struct counted *
append_question(tally_statistics_t *self, const char *id, tally_question_type_t type)
{
    if (self->count == self->room) {
        self->room = self->room == 0 ? 16 : self->room * 2;
        self->questions = tally_realloc_array(self->questions, self->room, sizeof *self->questions);
    }
    struct counted *added = &self->questions[self->count++];
    *added = (struct counted){.id = tally_strdup(id), .type = type};
    return added;
}

tally_statistics_t *
tally_statistics_empty(const char *slug)
{
    tally_statistics_t *self = tally_alloc(sizeof *self);
    self->slug = tally_strdup(slug);
    return self;
}

tally_statistics_t *
tally_statistics_new(const tally_survey_t *survey)
{
    tally_statistics_t *self = tally_statistics_empty(tally_survey_slug(survey));
    for (size_t i = 0; i < tally_survey_count(survey); i++) {
        const tally_question_t *question = tally_survey_question(survey, i);
        append_question(self, question->id, question->type);
    }
    return self;
}

void
tally_statistics_destroy(tally_statistics_t **self_p)
{
    assert(self_p != NULL);
    tally_statistics_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    for (size_t i = 0; i < self->count; i++) {
        free(self->questions[i].id);
        tally_counts_free(&self->questions[i].counts);
    }
    free(self->questions);
    free(self->slug);
    free(self);
    *self_p = NULL;
}

//  `hint` is where it is when both sides come from the same survey, which is the rule.
static struct counted *
find_question(const tally_statistics_t *self, const char *id, size_t hint)
{
    if (hint < self->count && strcmp(self->questions[hint].id, id) == 0) {
        return &self->questions[hint];
    }
    for (size_t i = 0; i < self->count; i++) {
        if (strcmp(self->questions[i].id, id) == 0) {
            return &self->questions[i];
        }
    }
    return NULL;
}

//  ---- counting ----------------------------------------------------------------------------------

static void
count_answer(struct counted *counted, const json_t *answer)
{
    counted->answered++;
    switch (counted->type) {
    case TALLY_QUESTION_CHOICE:
        tally_counts_add_label(&counted->counts, json_string_value(answer), 1);
        break;
    case TALLY_QUESTION_MULTI:
        for (size_t i = 0; i < json_array_size(answer); i++) {
            tally_counts_add_label(&counted->counts, json_string_value(json_array_get(answer, i)),
                                   1);
        }
        break;
    case TALLY_QUESTION_RANGE:
        tally_counts_add_value(&counted->counts, json_number_value(answer), 1);
        break;
    case TALLY_QUESTION_TEXT:
        break;
    }
}

void
tally_statistics_add(tally_statistics_t *self, const tally_survey_t *survey,
                     const tally_response_t *response)
{
    assert(strcmp(self->slug, tally_survey_slug(survey)) == 0);
    const char *id;
    json_t *answer;
    self->responses++;
    json_object_foreach((json_t *)(uintptr_t)response->answers, id, answer) {
        const tally_question_t *question = tally_survey_find(survey, id);
        assert(question != NULL);
        size_t index = (size_t)(question - tally_survey_question(survey, 0));
        struct counted *counted = find_question(self, id, index);
        if (counted == NULL) {
            counted = append_question(self, id, question->type);
        }
        assert(counted->type == question->type);
        count_answer(counted, answer);
    }
}

int
tally_statistics_merge(tally_statistics_t *self, const tally_statistics_t *other,
                       tally_problem_t *problem)
{
    if (strcmp(self->slug, other->slug) != 0) {
        return tally_problem_set(problem, "statistics of survey \"%s\" cannot join those of \"%s\"",
                                 other->slug, self->slug);
    }
    if (self->responses + other->responses > RESPONSES_MAX) {
        return tally_problem_set(problem, "survey \"%s\" has more responses than can be counted",
                                 self->slug);
    }
    for (size_t i = 0; i < other->count; i++) {
        const struct counted *theirs = &other->questions[i];
        const struct counted *ours = find_question(self, theirs->id, i);
        if (ours != NULL && ours->type != theirs->type) {
            return tally_problem_set(problem,
                                     "question \"%s\" of survey \"%s\" was counted as %s "
                                     "and as %s",
                                     ours->id, self->slug, tally_question_type_name(ours->type),
                                     tally_question_type_name(theirs->type));
        }
    }
    self->responses += other->responses;
    for (size_t i = 0; i < other->count; i++) {
        const struct counted *theirs = &other->questions[i];
        struct counted *ours = find_question(self, theirs->id, i);
        if (ours == NULL) {
            ours = append_question(self, theirs->id, theirs->type);
        }
        ours->answered += theirs->answered;
        tally_counts_merge(&ours->counts, &theirs->counts);
    }
    return 0;
}

const char *
tally_statistics_survey(const tally_statistics_t *self)
{
    return self->slug;
}

uint64_t
tally_statistics_responses(const tally_statistics_t *self)
{
    return self->responses;
}

//  ---- writing -----------------------------------------------------------------------------------

static json_t *
number_of(double value)
{
    if (value == floor(value) && fabs(value) <= WHOLE_MAX) {
        return json_integer((json_int_t)value);
    }
    return json_real(value);
}

//  The shortest text that reads back as the same number.
static void
print_value(char out[32], double value)
{
    if (value == floor(value) && fabs(value) <= WHOLE_MAX) {
        snprintf(out, 32, "%.0f", value);
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(out, 32, "%.*g", digits, value);
        if (strtod(out, NULL) == value) {
            return;
        }
    }
}

static json_t *
encode_histogram(const tally_counts_t *counts)
{
    json_t *histogram = json_object();
    for (size_t i = 0; i < counts->size; i++) {
        const tally_count_t *item = &counts->items[i];
        char text[32];
        if (item->label == NULL) {
            print_value(text, item->value);
        }
        json_object_set_new(histogram, item->label == NULL ? text : item->label,
                            json_integer((json_int_t)item->count));
    }
    return histogram;
}

//  What follows from a histogram of numbers.  In extended precision and always in the order of the numbers.
struct moments {
    long double sum, mean, stddev;
};

static struct moments
work_out(const tally_counts_t *counts, uint64_t answered)
{
    struct moments result = {0};
    for (size_t i = 0; i < counts->size; i++) {
        result.sum += (long double)counts->items[i].value * (long double)counts->items[i].count;
    }
    result.mean = result.sum / (long double)answered;
    long double squares = 0;
    for (size_t i = 0; i < counts->size; i++) {
        long double off = (long double)counts->items[i].value - result.mean;
        squares += off * off * (long double)counts->items[i].count;
    }
    result.stddev = sqrtl(squares / (long double)answered);
    return result;
}

static void
encode_range(json_t *object, const struct counted *question)
{
    const tally_counts_t *counts = &question->counts;
    if (counts->size == 0) {
        json_object_set_new(object, "sum", json_integer(0));
        json_object_set_new(object, "min", json_null());
        json_object_set_new(object, "max", json_null());
        json_object_set_new(object, "histogram", json_object());
        json_object_set_new(object, "mean", json_null());
        json_object_set_new(object, "stddev", json_null());
        return;
    }
    struct moments moments = work_out(counts, question->answered);
    json_object_set_new(object, "sum", number_of((double)moments.sum));
    json_object_set_new(object, "min", number_of(counts->items[0].value));
    json_object_set_new(object, "max", number_of(counts->items[counts->size - 1].value));
    json_object_set_new(object, "histogram", encode_histogram(counts));
    json_object_set_new(object, "mean", number_of((double)moments.mean));
    json_object_set_new(object, "stddev", number_of((double)moments.stddev));
}

static json_t *
encode_question(struct counted *question)
{
    json_t *object = json_object();
    json_object_set_new(object, "type", json_string(tally_question_type_name(question->type)));
    json_object_set_new(object, "answered", json_integer((json_int_t)question->answered));
    tally_counts_sort(&question->counts);
    if (question->type == TALLY_QUESTION_RANGE) {
        encode_range(object, question);
    } else if (question->type != TALLY_QUESTION_TEXT) {
        json_object_set_new(object, "histogram", encode_histogram(&question->counts));
    }
    return object;
}

json_t *
tally_statistics_encode(tally_statistics_t *self)
{
    json_t *questions = json_object();
    for (size_t i = 0; i < self->count; i++) {
        struct counted *question = &self->questions[i];
        json_object_set_new(questions, question->id, encode_question(question));
    }
    json_t *object = json_object();
    json_object_set_new(object, "survey", json_string(self->slug));
    json_object_set_new(object, "responses", json_integer((json_int_t)self->responses));
    json_object_set_new(object, "questions", questions);
    return object;
}

//  ---- reading -----------------------------------------------------------------------------------

//  A count in JSON; false when it is not one, or more than there can be.
static bool
read_count(const json_t *value, uint64_t max, uint64_t *count)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0
        || (uint64_t)json_integer_value(value) > max) {
        return false;
    }
    *count = (uint64_t)json_integer_value(value);
    return true;
}

//  A number as it is written here and in no other way, within what a range can be.
static bool
read_number(const char *label, double *number)
{
    char canonical[32];
    *number = strtod(label, NULL);
    if (!isfinite(*number) || fabs(*number) > TALLY_RANGE_MAX) {
        return false;
    }
    print_value(canonical, *number == 0 ? 0 : *number);
    return strcmp(label, canonical) == 0;
}

static int
decode_histogram(struct counted *question, const json_t *histogram, tally_problem_t *problem)
{
    if (!json_is_object(histogram)) {
        return tally_problem_set(problem, "question \"%s\" has no histogram", question->id);
    }
    const char *label;
    json_t *value;
    uint64_t total = 0;
    json_object_foreach((json_t *)(uintptr_t)histogram, label, value) {
        uint64_t count;
        double number = 0;
        if (!read_count(value, question->answered, &count)
            || (question->type == TALLY_QUESTION_RANGE && !read_number(label, &number))) {
            return tally_problem_set(problem, "question \"%s\": \"%.200s\" is not a count of it",
                                     question->id, label);
        }
        if (question->type == TALLY_QUESTION_RANGE) {
            tally_counts_add_value(&question->counts, number, count);
        } else {
            tally_counts_add_label(&question->counts, label, count);
        }
        total += count;
    }
    //  One each, but any number of a multi question's.
    if (question->type != TALLY_QUESTION_MULTI && total != question->answered) {
        return tally_problem_set(problem, "question \"%s\" has another histogram than answers",
                                 question->id);
    }
    return 0;
}

static int
decode_question(tally_statistics_t *self, const char *id, const json_t *object,
                tally_problem_t *problem)
{
    const char *name = json_string_value(json_object_get(object, "type"));
    int type = name == NULL ? -1 : tally_question_type_of(name);
    uint64_t answered;
    if (type == -1
        || !read_count(json_object_get(object, "answered"), self->responses, &answered)) {
        return tally_problem_set(problem, "question \"%.200s\" is not counted in a form known", id);
    }
    struct counted *question = append_question(self, id, (tally_question_type_t)type);
    question->answered = answered;
    if (question->type == TALLY_QUESTION_TEXT) {
        return 0;
    }
    return decode_histogram(question, json_object_get(object, "histogram"), problem);
}

tally_statistics_t *
tally_statistics_decode(const json_t *json, tally_problem_t *problem)
{
    const char *slug = json_string_value(json_object_get(json, "survey"));
    const json_t *questions = json_object_get(json, "questions");
    uint64_t responses;
    if (slug == NULL || !json_is_object(questions)
        || !read_count(json_object_get(json, "responses"), RESPONSES_MAX, &responses)) {
        tally_problem_set(problem, "it is not the statistics of a survey");
        return NULL;
    }
    tally_statistics_t *self = tally_statistics_empty(slug);
    self->responses = responses;
    const char *id;
    json_t *object;
    json_object_foreach((json_t *)(uintptr_t)questions, id, object) {
        if (decode_question(self, id, object, problem) == -1) {
            tally_statistics_destroy(&self);
            return NULL;
        }
    }
    return self;
}

//  ---- trace -------------------------------------------------------------------------------------

static struct counted *
first_of(const tally_statistics_t *self, tally_question_type_t type)
{
    for (size_t i = 0; i < self->count; i++) {
        if (self->questions[i].type == type) {
            return &self->questions[i];
        }
    }
    return NULL;
}

static bool
fits_letters(const tally_counts_t *counts)
{
    uint64_t total = 0;
    for (size_t i = 0; i < counts->size; i++) {
        total += counts->items[i].count;
        if (strlen(counts->items[i].label) != 1 || total > LETTERS_MAX) {
            return false;
        }
    }
    return true;
}

static char *
print_letters(const tally_counts_t *counts)
{
    char *text = tally_alloc(LETTERS_MAX + 1);
    char *end = text;
    for (size_t i = 0; i < counts->size; i++) {
        for (uint64_t n = 0; n < counts->items[i].count; n++) {
            *end++ = counts->items[i].label[0];
        }
    }
    return text;
}

static char *
print_list(const tally_counts_t *counts)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert(out != NULL);
    for (size_t i = 0; i < counts->size; i++) {
        fprintf(out, "%s%s:%llu", i == 0 ? "" : ", ", counts->items[i].label,
                (unsigned long long)counts->items[i].count);
    }
    int rc = fclose(out);
    assert(rc == 0);    // only memory could be missing, and that ends the process
    return text;
}

char *
tally_statistics_letters(tally_statistics_t *self)
{
    struct counted *question = first_of(self, TALLY_QUESTION_CHOICE);
    if (question == NULL) {
        return NULL;
    }
    tally_counts_sort(&question->counts);
    return fits_letters(&question->counts) ? print_letters(&question->counts)
                                           : print_list(&question->counts);
}

json_t *
tally_statistics_first_mean(tally_statistics_t *self)
{
    struct counted *question = first_of(self, TALLY_QUESTION_RANGE);
    if (question == NULL || question->answered == 0) {
        return json_null();
    }
    tally_counts_sort(&question->counts);
    return number_of((double)work_out(&question->counts, question->answered).mean);
}
