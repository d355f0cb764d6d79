// SPDX-License-Identifier: MIT
//  db - the verbs `tally db migrate` and `tally db status`.  argv[0] is "db"; returns the exit code.

#ifndef TALLY_CMD_DB_H
#define TALLY_CMD_DB_H

int tally_cmd_db(int argc, char **argv);

#endif
