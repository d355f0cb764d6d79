// SPDX-License-Identifier: MIT
//  counting - pointers of a lease into the statistics of their tenant.
//
//  Responses are read and counted outside of any transaction (they never change); then one transaction proves
//  the term, writes the new states and settles the pointers.  While a recomputation of a survey runs, what is
//  counted goes into its `since` as well.

#ifndef TALLY_COUNTING_H
#define TALLY_COUNTING_H

#include "workers/counter.h"

//  Counts the pointers among the lease's messages: requests[i] is the body of message i when it is one
//  (pointers[i]), else not looked at.  Buries what is not a pointer or points at nothing.  False when the rest
//  of the lease must be left alone: its term or lease is over.
bool tally_counting_work(tally_counter_t *self, json_t *const *requests, const bool *pointers);

//  Publishes the summary of a survey on the feed: statistics.TENANT.SURVEY.
void tally_counting_publish(tally_counter_t *self, const char *slug, tally_bytes_t statistics);

#endif
