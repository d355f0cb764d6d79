// SPDX-License-Identifier: MIT
//  statistics - what a survey's responses say together: mergeable, exact, independent of order.
//
//  The state is counts alone; sum, mean, deviation are worked out from the ordered histogram when they are
//  written, so the same responses give the same text, however they were cut, merged and ordered.  One JSON
//  form serves as result, as state in the database and as partial result of a recomputation:
//
//      {"survey": slug, "responses": N, "questions": {
//          "q1": {"type": "choice", "answered": N, "histogram": {label: N, ...}},         multi alike
//          "q3": {"type": "range", "answered": N, "sum": S, "min": A, "max": B, "histogram": {"3": N, ...},
//                 "mean": M, "stddev": D},                                               of the population
//          "q4": {"type": "text", "answered": N}}}
//
//  A histogram has what was chosen at least once.  A question that nobody answered has answered 0, an empty
//  histogram, sum 0, and null for min, max, mean and stddev.  An answer to a multi question counts once for
//  each choice in it, and once in `answered`, an empty list as well.  Numbers that are whole print as integers.
//
//  Pure.  Do not keep anything here that depends on the order of responses.

#ifndef TALLY_STATISTICS_H
#define TALLY_STATISTICS_H

#include "workers/survey.h"

typedef struct tally_statistics tally_statistics_t;

//  Of no responses: with all questions of the survey.
tally_statistics_t *tally_statistics_new(const tally_survey_t *survey);
//  Of no responses and not a question, yet; they come by merging.
tally_statistics_t *tally_statistics_empty(const char *slug);
void tally_statistics_destroy(tally_statistics_t **self_p);

//  Counts a response that was checked against `survey`, whose statistics these are.
void tally_statistics_add(tally_statistics_t *self, const tally_survey_t *survey,
                          const tally_response_t *response);
//  0, or -1 with the problem told and self unchanged: another survey, or a question of another type.
int tally_statistics_merge(tally_statistics_t *self, const tally_statistics_t *other,
                           tally_problem_t *problem) TALLY_MUST_CHECK;

const char *tally_statistics_survey(const tally_statistics_t *self);
uint64_t tally_statistics_responses(const tally_statistics_t *self);

//  A new reference.
json_t *tally_statistics_encode(tally_statistics_t *self);
//  NULL with the problem told.
tally_statistics_t *tally_statistics_decode(const json_t *json, tally_problem_t *problem);

//  For the trace of a recomputation.  The histogram of the first choice question: its labels in order, each
//  as often as it was chosen, when all are single characters ("CCD"); else "label:count" and commas; NULL when
//  there is no such question.  The caller frees it.
char *tally_statistics_letters(tally_statistics_t *self);
//  The mean of the first range question, a JSON number, null when it has no answer or there is none.
json_t *tally_statistics_first_mean(tally_statistics_t *self);

#endif
