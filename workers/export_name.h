// SPDX-License-Identifier: MIT
//  export_name - what an export's files, tables and columns are called.
//
//  Names are made of what clients chose, so each is bounded, and two different inputs never get the
//  same name: whatever is too long or not plain ends in `~` and a hash, and plain names contain no
//  `~`.  Nothing here is quoted for SQL; that is the store's.  Pure.

#ifndef TALLY_EXPORT_NAME_H
#define TALLY_EXPORT_NAME_H

#include "lib/bytes.h"

#define TALLY_IDENTIFIER_BYTES_MAX 63    // PostgreSQL's NAMEDATALEN - 1

//  TENANT.SURVEY.ID.EXTENSION; the id makes it unique.  A new string.
char *
tally_export_file_name(const char *tenant, const char *survey, uint64_t id, const char *extension);

//  TENANT/SURVEY.
void tally_export_table_name(char out[TALLY_IDENTIFIER_BYTES_MAX + 1], const char *tenant,
                             const char *survey);
//  The question's id, except where PostgreSQL or our own first column (response_id) would not allow
//  it.
void tally_export_column_name(char out[TALLY_IDENTIFIER_BYTES_MAX + 1], const char *question);

#endif
