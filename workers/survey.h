// SPDX-License-Identifier: MIT
//  survey - a survey's definition, and whether a response fits it.
//
//      {"slug": "lunch", "title": "Lunch", "questions": [
//          {"id": "q1", "type": "choice", "text": "...", "choices": ["Yes", "No"]},
//          {"id": "q2", "type": "multi", "choices": ["a", "b"]},           any number of different choices
//          {"id": "q3", "type": "range", "min": 1, "max": 5},
//          {"id": "q4", "type": "text"}]}
//
//      {"response_id": "r-1", "survey": "lunch", "answers": {"q1": "Yes", "q2": ["a"], "q3": 4, "q4": "..."}}
//
//  Pure and strict: unknown keys, other types, null, what is not among the choices are refused, with question
//  and reason.  Questions may be left out.  No input makes it crash.  Counting is not done here.

#ifndef TALLY_SURVEY_H
#define TALLY_SURVEY_H

#include "workers/json.h"

#define TALLY_SURVEY_BYTES_MAX (1024 * 1024)
#define TALLY_SURVEY_QUESTIONS_MAX 1000
#define TALLY_SURVEY_CHOICES_MAX 1000       // of one question
#define TALLY_SURVEY_TEXT_BYTES_MAX 4000    // title, question, choice
#define TALLY_QUESTION_ID_BYTES_MAX 63
#define TALLY_RESPONSE_BYTES_MAX (256 * 1024)
#define TALLY_RESPONSE_ID_BYTES_MAX 200
#define TALLY_RANGE_MAX 1e15    // of min and max, either sign: sums stay finite

typedef enum {
    TALLY_QUESTION_CHOICE,
    TALLY_QUESTION_MULTI,
    TALLY_QUESTION_RANGE,
    TALLY_QUESTION_TEXT,
} tally_question_type_t;

const char *tally_question_type_name(tally_question_type_t type);
//  -1 when there is no such type.
int tally_question_type_of(const char *name);

//  Borrowed from its survey.
typedef struct {
    const char *id;
    const char *text;    // "" when the definition has none
    tally_question_type_t type;
    double min, max;         // range
    size_t choice_count;     // choice, multi
    const char **choices;    // in the definition's order
    const char **sorted;     // the same, by bytes
} tally_question_t;

typedef struct tally_survey tally_survey_t;

//  NULL with the problem told.
tally_survey_t *tally_survey_parse(tally_bytes_t json, tally_problem_t *problem);
//  Takes a reference of the definition.
tally_survey_t *tally_survey_read(json_t *definition, tally_problem_t *problem);
void tally_survey_destroy(tally_survey_t **self_p);

const char *tally_survey_slug(const tally_survey_t *self);
const char *tally_survey_title(const tally_survey_t *self);
const json_t *tally_survey_definition(const tally_survey_t *self);
size_t tally_survey_count(const tally_survey_t *self);
const tally_question_t *tally_survey_question(const tally_survey_t *self, size_t index);
//  NULL when there is no such question.
const tally_question_t *tally_survey_find(const tally_survey_t *self, const char *id);

//  0 when every response that fits `self` fits `next` as well: questions and choices may be added, ranges
//  widened, texts changed.  Else -1 with the problem told.
int tally_survey_accepts(const tally_survey_t *self, const tally_survey_t *next,
                         tally_problem_t *problem) TALLY_MUST_CHECK;

//  A response in its outer form; which survey it answers is known then, not yet whether it fits.
typedef struct {
    json_t *root;      // owned
    const char *id;    // these are borrowed from it
    const char *survey;
    const json_t *answers;
} tally_response_t;

//  0, or -1 with the problem told and nothing to free.
int tally_response_read(tally_response_t *response, tally_bytes_t json,
                        tally_problem_t *problem) TALLY_MUST_CHECK;
void tally_response_free(tally_response_t *response);

//  0 when the response fits, else -1 with the question and the reason.
int tally_survey_check(const tally_survey_t *self, const tally_response_t *response,
                       tally_problem_t *problem) TALLY_MUST_CHECK;

#endif
