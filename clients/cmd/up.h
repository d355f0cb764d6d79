// SPDX-License-Identifier: MIT
//  up - the verbs `tally up` and `tally down`: a whole instance from one command, and its end.
//
//  argv[0] is the verb.  Both return the exit code, and both may be repeated.

#ifndef TALLY_UP_H
#define TALLY_UP_H

int tally_cmd_up(int argc, char **argv);
int tally_cmd_down(int argc, char **argv);

#endif
