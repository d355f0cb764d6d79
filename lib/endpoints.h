// SPDX-License-Identifier: MIT
//  endpoints - several endpoints in one text: "tcp://10.0.0.1:5770, tcp://10.0.0.2:5770".
//
//  Of several brokers on one database each has its seat: its place in the lists.  Blanks around the commas and empty
//  parts do not count.  What an endpoint may be is not known here.

#ifndef TALLY_ENDPOINTS_H
#define TALLY_ENDPOINTS_H

#include <stddef.h>

size_t tally_endpoints_count(const char *list);
//  The endpoint at `index`, owned by the caller; NULL when there are not so many.
char *tally_endpoints_at(const char *list, size_t index);

#endif
