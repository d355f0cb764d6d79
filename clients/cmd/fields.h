// SPDX-License-Identifier: MIT
//  fields - members of JSON replies, with a harmless value when they are missing or of another
//  type.
//
//  For showing things to people only; what a decision hangs on is read strictly where it is
//  decided.

#ifndef TALLY_CMD_FIELDS_H
#define TALLY_CMD_FIELDS_H

#include <jansson.h>
#include <stdint.h>

static inline int64_t
tally_field_number(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

static inline double
tally_field_real(const json_t *object, const char *name)
{
    return json_number_value(json_object_get(object, name));
}

static inline const char *
tally_field_text(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : "";
}

#endif
