// SPDX-License-Identifier: MIT
//  marker - bytes that tests put into bodies, and that nothing but a body may ever show.
//
//  Whoever takes a test's instance or server down looks for them first: in every log and what commands said on standard
//  error, as they are and as PostgreSQL writes bytes; in the command lines of all processes; and for cores.  What is
//  found is told on standard error and, when TALLY_LEAKS names a file, there as well; tests/run.sh ends with it.

#ifndef TALLY_TEST_MARKER_H
#define TALLY_TEST_MARKER_H

#define TALLY_MARKER "wren-in-the-larder"

//  How often it was found below `dir`; databases themselves (folders with a PG_VERSION) are left out.
int tally_marker_search(const char *dir);

#endif
