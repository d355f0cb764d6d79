// SPDX-License-Identifier: MIT
//  survey - see survey.h.

#include "workers/survey.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/wire.h"

struct tally_survey {
    json_t *definition;
    const char *slug, *title;
    size_t count;
    tally_question_t *questions;
    const tally_question_t **by_id;    // sorted
};

static const char *const type_names[] = {"choice", "multi", "range", "text"};
#define TYPE_COUNT (sizeof type_names / sizeof type_names[0])

const char *
tally_question_type_name(tally_question_type_t type)
{
    assert(type < TYPE_COUNT);
    return type_names[type];
}

int
tally_question_type_of(const char *name)
{
    for (size_t i = 0; i < TYPE_COUNT; i++) {
        if (strcmp(name, type_names[i]) == 0) {
            return (int)i;
        }
    }
    return -1;
}

//  ---- definition --------------------------------------------------------------------------------

static int
compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int
compare_questions(const void *a, const void *b)
{
    const tally_question_t *const *left = a, *const *right = b;
    return strcmp((*left)->id, (*right)->id);
}

//  `value` as a text of 1 (or 0, when it may be empty) to bytes_max bytes; NULL with the problem told.
static const char *
read_text(const json_t *value, const char *what, size_t bytes_max, tally_problem_t *problem)
{
    if (!json_is_string(value)) {
        tally_problem_set(problem, "%s is %s", what, value == NULL ? "missing" : "not a text");
        return NULL;
    }
    size_t size = json_string_length(value);
    if (size == 0 || size > bytes_max) {
        tally_problem_set(problem, "%s has %zu bytes; it must have 1 to %zu", what, size,
                          bytes_max);
        return NULL;
    }
    return json_string_value(value);
}

static int
read_choices(tally_question_t *question, const json_t *choices, tally_problem_t *problem)
{
    size_t count = json_array_size(choices);
    if (!json_is_array(choices) || count == 0 || count > TALLY_SURVEY_CHOICES_MAX) {
        return tally_problem_set(problem,
                                 "question \"%s\": choices must be a list of 1 to %d texts",
                                 question->id, TALLY_SURVEY_CHOICES_MAX);
    }
    question->choices = tally_alloc_array(count, sizeof *question->choices);
    question->sorted = tally_alloc_array(count, sizeof *question->sorted);
    for (size_t i = 0; i < count; i++) {
        tally_problem_t inner;
        const char *choice = read_text(json_array_get(choices, i), "it",
                                       TALLY_SURVEY_TEXT_BYTES_MAX, &inner);
        if (choice == NULL) {
            return tally_problem_set(problem, "question \"%s\", choice %zu: %s", question->id,
                                     i + 1, inner.text);
        }
        question->choices[i] = question->sorted[i] = choice;
        question->choice_count++;
    }
    qsort(question->sorted, count, sizeof *question->sorted, compare_texts);
    for (size_t i = 1; i < count; i++) {
        if (strcmp(question->sorted[i - 1], question->sorted[i]) == 0) {
            return tally_problem_set(problem, "question \"%s\": the choice \"%s\" is there twice",
                                     question->id, question->sorted[i]);
        }
    }
    return 0;
}

static int
read_range(tally_question_t *question, const json_t *object, tally_problem_t *problem)
{
    const json_t *min = json_object_get(object, "min"), *max = json_object_get(object, "max");
    if (!json_is_number(min) || !json_is_number(max)) {
        return tally_problem_set(problem, "question \"%s\": min and max must be numbers",
                                 question->id);
    }
    question->min = json_number_value(min);
    question->max = json_number_value(max);
    if (fabs(question->min) > TALLY_RANGE_MAX || fabs(question->max) > TALLY_RANGE_MAX) {
        return tally_problem_set(problem, "question \"%s\": min and max must lie within %g and %g",
                                 question->id, -TALLY_RANGE_MAX, TALLY_RANGE_MAX);
    }
    if (question->min > question->max) {
        return tally_problem_set(problem, "question \"%s\": min is above max", question->id);
    }
    return 0;
}

//  Keys beside these are mistakes: choices of a range, a misspelt word.
static const char *const *
keys_of(tally_question_type_t type)
{
    static const char *const of_choices[] = {"id", "type", "text", "choices", NULL};
    static const char *const of_range[] = {"id", "type", "text", "min", "max", NULL};
    static const char *const of_text[] = {"id", "type", "text", NULL};
    switch (type) {
    case TALLY_QUESTION_CHOICE:
    case TALLY_QUESTION_MULTI:
        return of_choices;
    case TALLY_QUESTION_RANGE:
        return of_range;
    case TALLY_QUESTION_TEXT:
        return of_text;
    }
    assert(false);
    return of_text;
}

static int
read_question(tally_question_t *question, const json_t *object, size_t number,
              tally_problem_t *problem)
{
    tally_problem_t inner;
    question->id = read_text(json_object_get(object, "id"), "its id", TALLY_QUESTION_ID_BYTES_MAX,
                             &inner);
    if (question->id == NULL) {
        return tally_problem_set(problem, "question %zu: %s", number, inner.text);
    }
    const json_t *type = json_object_get(object, "type");
    int known = json_is_string(type) ? tally_question_type_of(json_string_value(type)) : -1;
    if (known == -1) {
        return tally_problem_set(problem,
                                 "question \"%s\": type must be choice, multi, range or text",
                                 question->id);
    }
    question->type = (tally_question_type_t)known;
    const char *unknown = tally_json_unknown_key(object, keys_of(question->type));
    if (unknown != NULL) {
        return tally_problem_set(problem, "question \"%s\": a %s question has no \"%s\"",
                                 question->id, type_names[known], unknown);
    }
    question->text = "";
    const json_t *text = json_object_get(object, "text");
    if (text != NULL) {
        if (!json_is_string(text) || json_string_length(text) > TALLY_SURVEY_TEXT_BYTES_MAX) {
            return tally_problem_set(problem,
                                     "question \"%s\": text must be a text of at most %d bytes",
                                     question->id, TALLY_SURVEY_TEXT_BYTES_MAX);
        }
        question->text = json_string_value(text);
    }
    if (question->type == TALLY_QUESTION_RANGE) {
        return read_range(question, object, problem);
    }
    if (question->type == TALLY_QUESTION_TEXT) {
        return 0;
    }
    return read_choices(question, json_object_get(object, "choices"), problem);
}

static int
read_questions(tally_survey_t *self, const json_t *questions, tally_problem_t *problem)
{
    size_t count = json_array_size(questions);
    if (!json_is_array(questions) || count == 0 || count > TALLY_SURVEY_QUESTIONS_MAX) {
        return tally_problem_set(problem, "questions must be a list of 1 to %d questions",
                                 TALLY_SURVEY_QUESTIONS_MAX);
    }
    self->questions = tally_alloc_array(count, sizeof *self->questions);
    self->by_id = tally_alloc_array(count, sizeof *self->by_id);
    self->count = count;
    for (size_t i = 0; i < count; i++) {
        const json_t *object = json_array_get(questions, i);
        if (!json_is_object(object)) {
            return tally_problem_set(problem, "question %zu is not an object", i + 1);
        }
        if (read_question(&self->questions[i], object, i + 1, problem) == -1) {
            return -1;
        }
        self->by_id[i] = &self->questions[i];
    }
    qsort(self->by_id, count, sizeof *self->by_id, compare_questions);
    for (size_t i = 1; i < count; i++) {
        if (strcmp(self->by_id[i - 1]->id, self->by_id[i]->id) == 0) {
            return tally_problem_set(problem, "question \"%s\" is there twice", self->by_id[i]->id);
        }
    }
    return 0;
}

static int
read_definition(tally_survey_t *self, tally_problem_t *problem)
{
    static const char *const known[] = {"slug", "title", "questions", NULL};
    const json_t *definition = self->definition;
    if (!json_is_object(definition)) {
        return tally_problem_set(problem, "a survey's definition is an object");
    }
    const char *unknown = tally_json_unknown_key(definition, known);
    if (unknown != NULL) {
        return tally_problem_set(problem, "a survey has no \"%s\"", unknown);
    }
    self->slug = read_text(json_object_get(definition, "slug"), "slug", TALLY_NAME_BYTES_MAX,
                           problem);
    if (self->slug == NULL) {
        return -1;
    }
    if (!tally_name_valid(tally_bytes_of(self->slug))) {
        return tally_problem_set(problem,
                                 "slug \"%s\" is not a name: a-z 0-9 . _ -, and first a "
                                 "letter or digit",
                                 self->slug);
    }
    self->title = read_text(json_object_get(definition, "title"), "title",
                            TALLY_SURVEY_TEXT_BYTES_MAX, problem);
    if (self->title == NULL) {
        return -1;
    }
    return read_questions(self, json_object_get(definition, "questions"), problem);
}

tally_survey_t *
tally_survey_read(json_t *definition, tally_problem_t *problem)
{
    tally_survey_t *self = tally_alloc(sizeof *self);
    self->definition = json_incref(definition);
    if (read_definition(self, problem) == -1) {
        tally_survey_destroy(&self);
    }
    return self;
}

tally_survey_t *
tally_survey_parse(tally_bytes_t json, tally_problem_t *problem)
{
    json_t *definition = tally_json_parse(json, TALLY_SURVEY_BYTES_MAX, problem);
    if (definition == NULL) {
        return NULL;
    }
    tally_survey_t *self = tally_survey_read(definition, problem);
    json_decref(definition);
    return self;
}

void
tally_survey_destroy(tally_survey_t **self_p)
{
    assert(self_p != NULL);
    tally_survey_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    for (size_t i = 0; i < self->count; i++) {
        free(self->questions[i].choices);
        free(self->questions[i].sorted);
    }
    free(self->questions);
    free(self->by_id);
    json_decref(self->definition);
    free(self);
    *self_p = NULL;
}

const char *
tally_survey_slug(const tally_survey_t *self)
{
    return self->slug;
}

const char *
tally_survey_title(const tally_survey_t *self)
{
    return self->title;
}

const json_t *
tally_survey_definition(const tally_survey_t *self)
{
    return self->definition;
}

size_t
tally_survey_count(const tally_survey_t *self)
{
    return self->count;
}

const tally_question_t *
tally_survey_question(const tally_survey_t *self, size_t index)
{
    assert(index < self->count);
    return &self->questions[index];
}

const tally_question_t *
tally_survey_find(const tally_survey_t *self, const char *id)
{
    tally_question_t wanted = {.id = id};
    const tally_question_t *key = &wanted;
    const tally_question_t **found = bsearch(&key, self->by_id, self->count, sizeof *self->by_id,
                                             compare_questions);
    return found == NULL ? NULL : *found;
}

//  ---- changing a survey -------------------------------------------------------------------------

static bool
has_choice(const tally_question_t *question, const char *choice)
{
    return bsearch(&choice, question->sorted, question->choice_count, sizeof *question->sorted,
                   compare_texts)
           != NULL;
}

static int
check_kept(const tally_question_t *old, const tally_question_t *next, tally_problem_t *problem)
{
    if (next == NULL) {
        return tally_problem_set(problem, "question \"%s\" has answers and cannot be taken away",
                                 old->id);
    }
    if (next->type != old->type) {
        return tally_problem_set(problem,
                                 "question \"%s\" has answers of type %s and cannot become %s",
                                 old->id, type_names[old->type], type_names[next->type]);
    }
    if (old->type == TALLY_QUESTION_RANGE && (next->min > old->min || next->max < old->max)) {
        return tally_problem_set(problem,
                                 "question \"%s\" has answers within %g and %g; the range can only "
                                 "be widened",
                                 old->id, old->min, old->max);
    }
    for (size_t i = 0; i < old->choice_count; i++) {
        if (!has_choice(next, old->choices[i])) {
            return tally_problem_set(problem,
                                     "question \"%s\": the choice \"%s\" has answers and cannot be "
                                     "taken away",
                                     old->id, old->choices[i]);
        }
    }
    return 0;
}

int
tally_survey_accepts(const tally_survey_t *self, const tally_survey_t *next,
                     tally_problem_t *problem)
{
    for (size_t i = 0; i < self->count; i++) {
        const tally_question_t *old = &self->questions[i];
        if (check_kept(old, tally_survey_find(next, old->id), problem) == -1) {
            return -1;
        }
    }
    return 0;
}

//  ---- responses ---------------------------------------------------------------------------------

static int
read_outer(tally_response_t *response, tally_problem_t *problem)
{
    static const char *const known[] = {"response_id", "survey", "answers", NULL};
    const json_t *root = response->root;
    if (!json_is_object(root)) {
        return tally_problem_set(problem, "a response is an object");
    }
    const char *unknown = tally_json_unknown_key(root, known);
    if (unknown != NULL) {
        return tally_problem_set(problem, "a response has no \"%s\"", unknown);
    }
    response->id = read_text(json_object_get(root, "response_id"), "response_id",
                             TALLY_RESPONSE_ID_BYTES_MAX, problem);
    if (response->id == NULL) {
        return -1;
    }
    response->survey = read_text(json_object_get(root, "survey"), "survey", TALLY_NAME_BYTES_MAX,
                                 problem);
    if (response->survey == NULL) {
        return -1;
    }
    response->answers = json_object_get(root, "answers");
    if (!json_is_object(response->answers)) {
        return tally_problem_set(problem, "answers must be an object: question id to answer");
    }
    return 0;
}

int
tally_response_read(tally_response_t *response, tally_bytes_t json, tally_problem_t *problem)
{
    *response = (tally_response_t){
        .root = tally_json_parse(json, TALLY_RESPONSE_BYTES_MAX, problem)};
    if (response->root == NULL) {
        return -1;
    }
    if (read_outer(response, problem) == -1) {
        tally_response_free(response);
        return -1;
    }
    return 0;
}

void
tally_response_free(tally_response_t *response)
{
    json_decref(response->root);
    *response = (tally_response_t){0};
}

static int
check_choice(const tally_question_t *question, const json_t *answer, tally_problem_t *problem)
{
    if (!json_is_string(answer)) {
        return tally_problem_set(problem,
                                 "question \"%s\": the answer must be one of its choices, "
                                 "as a text",
                                 question->id);
    }
    if (!has_choice(question, json_string_value(answer))) {
        return tally_problem_set(problem, "question \"%s\": \"%.200s\" is not one of its choices",
                                 question->id, json_string_value(answer));
    }
    return 0;
}

static int
check_multi(const tally_question_t *question, const json_t *answer, tally_problem_t *problem)
{
    size_t count = json_array_size(answer);
    if (!json_is_array(answer) || count > question->choice_count) {
        return tally_problem_set(problem,
                                 "question \"%s\": the answer must be a list of different "
                                 "choices",
                                 question->id);
    }
    const char **chosen = tally_alloc_array(count, sizeof *chosen);
    int rc = 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        const json_t *one = json_array_get(answer, i);
        rc = check_choice(question, one, problem);
        chosen[i] = json_string_value(one);
    }
    if (rc == 0) {
        qsort(chosen, count, sizeof *chosen, compare_texts);
        for (size_t i = 1; i < count && rc == 0; i++) {
            if (strcmp(chosen[i - 1], chosen[i]) == 0) {
                rc = tally_problem_set(problem, "question \"%s\": \"%s\" is chosen twice",
                                       question->id, chosen[i]);
            }
        }
    }
    free(chosen);
    return rc;
}

static int
check_answer(const tally_question_t *question, const json_t *answer, tally_problem_t *problem)
{
    switch (question->type) {
    case TALLY_QUESTION_CHOICE:
        return check_choice(question, answer, problem);
    case TALLY_QUESTION_MULTI:
        return check_multi(question, answer, problem);
    case TALLY_QUESTION_RANGE:
        if (!json_is_number(answer) || json_number_value(answer) < question->min
            || json_number_value(answer) > question->max) {
            return tally_problem_set(
                problem, "question \"%s\": the answer must be a number within %g and %g",
                question->id, question->min, question->max);
        }
        return 0;
    case TALLY_QUESTION_TEXT:
        if (!json_is_string(answer)) {
            return tally_problem_set(problem, "question \"%s\": the answer must be a text",
                                     question->id);
        }
        return 0;
    }
    assert(false);
    return -1;
}

int
tally_survey_check(const tally_survey_t *self, const tally_response_t *response,
                   tally_problem_t *problem)
{
    if (strcmp(response->survey, self->slug) != 0) {
        return tally_problem_set(problem, "it answers survey \"%s\", not \"%s\"", response->survey,
                                 self->slug);
    }
    const char *id;
    json_t *answer;
    json_object_foreach((json_t *)(uintptr_t)response->answers, id, answer) {
        const tally_question_t *question = tally_survey_find(self, id);
        if (question == NULL) {
            return tally_problem_set(problem, "survey \"%s\" has no question \"%.200s\"",
                                     self->slug, id);
        }
        if (check_answer(question, answer, problem) == -1) {
            return -1;
        }
    }
    return 0;
}
