// SPDX-License-Identifier: MIT
//  json - see json.h.

#include "lib/json.h"

#include <assert.h>

#include "lib/alloc.h"
#include "lib/json_build.h"

struct scan {
    const uint8_t *start, *at, *end;
    tally_json_source_t source;
    tally_json_fault_t *fault;
    const uint8_t *token;    // where the string or number begins that was read last
    size_t values;
    tally_json_build_t build;    // and with it what is open
};

//  ---- faults ------------------------------------------------------------------------------------

const char *
tally_json_code_name(tally_json_code_t code)
{
    static const char *const names[] = {
        [TALLY_JSON_FINE] = "FINE",     [TALLY_JSON_SIZE] = "SIZE",
        [TALLY_JSON_SYNTAX] = "SYNTAX", [TALLY_JSON_UTF8] = "UTF8",
        [TALLY_JSON_NUL] = "NUL",       [TALLY_JSON_SURROGATE] = "SURROGATE",
        [TALLY_JSON_DEPTH] = "DEPTH",   [TALLY_JSON_DUPLICATE] = "DUPLICATE",
        [TALLY_JSON_KEYS] = "KEYS",     [TALLY_JSON_VALUES] = "VALUES",
        [TALLY_JSON_STRING] = "STRING", [TALLY_JSON_NUMBER] = "NUMBER",
        [TALLY_JSON_RANGE] = "RANGE",
    };
    assert((size_t)code < sizeof names / sizeof names[0]);
    return names[code];
}

char *
tally_json_fault_print(const tally_json_fault_t *fault)
{
    return tally_format("%s: %s (line %zu, column %zu, byte %zu)",
                        tally_json_code_name(fault->code), fault->text, fault->line, fault->column,
                        fault->offset);
}

static void
set_fault(const struct scan *scan, tally_json_code_t code, const uint8_t *place, const char *text)
{
    tally_json_fault_t fault = {.code = code,
                                .offset = (size_t)(place - scan->start),
                                .line = 1,
                                .column = 1,
                                .text = text};
    for (const uint8_t *at = scan->start; at < place; at++) {
        if (*at == '\n') {
            fault.line++;
            fault.column = 1;
        } else if ((*at & 0xc0) != 0x80) {
            fault.column++;
        }
    }
    *scan->fault = fault;
}

static bool
refuse(const struct scan *scan, tally_json_code_t code, const uint8_t *place, const char *text)
{
    set_fault(scan, code, place, text);
    return false;
}

//  ---- strings -----------------------------------------------------------------------------------

//  Four hex digits; -1 when they are not.
static int32_t
read_hex(const uint8_t *at, const uint8_t *end)
{
    return end - at < 4 ? -1 : tally_json_hex(at);
}

//  \uXXXX, or the pair that makes one character.  Adds to *bytes what it takes in UTF-8.
static bool
scan_unicode(struct scan *scan, size_t *bytes)
{
    const uint8_t *place = scan->at;    // the backslash
    int32_t unit = read_hex(place + 2, scan->end);
    if (unit == -1) {
        return refuse(scan, TALLY_JSON_SYNTAX, place, "\\u needs four hex digits");
    }
    if (unit == 0) {
        return refuse(scan, TALLY_JSON_NUL, place, "NUL is not allowed in a string");
    }
    scan->at += 6;
    if (unit < 0xd800 || unit > 0xdfff) {
        *bytes += unit < 0x80 ? 1 : unit < 0x800 ? 2 : 3;
        return true;
    }
    bool is_followed = scan->end - scan->at >= 6 && scan->at[0] == '\\' && scan->at[1] == 'u';
    int32_t low = is_followed ? read_hex(scan->at + 2, scan->end) : -1;
    if (unit > 0xdbff || low < 0xdc00 || low > 0xdfff) {
        return refuse(scan, TALLY_JSON_SURROGATE, place,
                      "half of a surrogate pair stands alone, which is no character");
    }
    scan->at += 6;
    *bytes += 4;
    return true;
}

static bool
scan_escape(struct scan *scan, size_t *bytes)
{
    if (scan->end - scan->at < 2) {
        return refuse(scan, TALLY_JSON_SYNTAX, scan->end, "it ends inside a string");
    }
    if (scan->at[1] == 'u') {
        return scan_unicode(scan, bytes);
    }
    if (scan->at[1] == '\0' || strchr("\"\\/bfnrt", scan->at[1]) == NULL) {
        return refuse(scan, TALLY_JSON_SYNTAX, scan->at,
                      "only \\\" \\\\ \\/ \\b \\f \\n \\r \\t and \\u have a meaning");
    }
    scan->at += 2;
    *bytes += 1;
    return true;
}

//  One character of more than one byte, as Unicode's table of well-formed sequences has it.
static bool
scan_utf8(struct scan *scan, size_t *bytes)
{
    uint8_t lead = scan->at[0];
    size_t more = lead >= 0xc2 && lead <= 0xdf   ? 1
                  : lead >= 0xe0 && lead <= 0xef ? 2
                  : lead >= 0xf0 && lead <= 0xf4 ? 3
                                                 : 0;
    uint8_t least = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    uint8_t most = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    bool valid = more > 0 && (size_t)(scan->end - scan->at) > more && scan->at[1] >= least
                 && scan->at[1] <= most;
    for (size_t i = 2; valid && i <= more; i++) {
        valid = (scan->at[i] & 0xc0) == 0x80;
    }
    if (!valid) {
        return refuse(scan, TALLY_JSON_UTF8, scan->at, "these bytes are not UTF-8");
    }
    scan->at += more + 1;
    *bytes += more + 1;
    return true;
}

static bool
check_string_bytes(const struct scan *scan, size_t bytes, bool is_key)
{
    if (scan->source == TALLY_JSON_MADE
        || bytes <= (is_key ? TALLY_JSON_KEY_BYTES_MAX : TALLY_JSON_STRING_BYTES_MAX)) {
        return true;
    }
    return refuse(scan, TALLY_JSON_STRING, scan->token,
                  is_key ? "this key is longer than allowed" : "this text is longer than allowed");
}

//  Behind the closing quote.
static bool
take_string(struct scan *scan, size_t bytes, bool is_key)
{
    const uint8_t *first = scan->token + 1;
    tally_bytes_t raw = {first, (size_t)(scan->at - 1 - first)};
    if (!check_string_bytes(scan, bytes, is_key)) {
        return false;
    }
    if (!is_key) {
        tally_json_build_string(&scan->build, raw, bytes);
        return true;
    }
    return tally_json_build_key(&scan->build, raw, bytes)
           || refuse(scan, TALLY_JSON_DUPLICATE, scan->token,
                     "this key stands twice in its object");
}

//  From its opening quote to behind its closing one.
static bool
scan_string(struct scan *scan, bool is_key)
{
    size_t bytes = 0;    // as the reader will see it
    scan->token = scan->at++;
    while (scan->at < scan->end) {
        uint8_t byte = *scan->at;
        bool goes_on = true;
        if (byte == '"') {
            scan->at++;
            return take_string(scan, bytes, is_key);
        }
        if (byte == '\\') {
            goes_on = scan_escape(scan, &bytes);
        } else if (byte >= 0x80) {
            goes_on = scan_utf8(scan, &bytes);
        } else if (byte >= 0x20) {
            scan->at++;
            bytes++;
        } else if (byte == 0) {
            goes_on = refuse(scan, TALLY_JSON_NUL, scan->at, "NUL is not allowed");
        } else {
            goes_on = refuse(scan, TALLY_JSON_SYNTAX, scan->at,
                             "a control character in a string must be escaped");
        }
        if (!goes_on) {
            return false;
        }
    }
    return refuse(scan, TALLY_JSON_SYNTAX, scan->end, "it ends inside a string");
}

//  ---- numbers -----------------------------------------------------------------------------------

static bool
is_digit(const struct scan *scan)
{
    return scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9';
}

static bool
skip_digits(struct scan *scan)
{
    if (!is_digit(scan)) {
        return refuse(scan, TALLY_JSON_SYNTAX, scan->at, "a digit is missing in this number");
    }
    while (is_digit(scan)) {
        scan->at++;
    }
    return true;
}

static bool
next_is(const struct scan *scan, uint8_t one, uint8_t other)
{
    return scan->at < scan->end && (*scan->at == one || *scan->at == other);
}

//  `digits` have no sign.
static bool
check_integer(const struct scan *scan, const uint8_t *digits, bool is_negative)
{
    const char *most = is_negative ? "9223372036854775808" : "9223372036854775807";
    size_t size = (size_t)(scan->at - digits);
    if (size < strlen(most) || (size == strlen(most) && memcmp(digits, most, size) <= 0)) {
        return true;
    }
    return refuse(scan, TALLY_JSON_RANGE, scan->token, "this number does not fit 64 bits");
}

//  Of `digits` ([0-9.]) up to `digits_end`, times ten to the `exponent`: nothing of it may be lost but what a double
//  always loses.  The largest doubles are told apart where the value is made.
static bool
check_real(const struct scan *scan, const uint8_t *digits, const uint8_t *digits_end, int exponent)
{
    const uint8_t *point = memchr(digits, '.', (size_t)(digits_end - digits));
    int whole = (int)((point == NULL ? digits_end : point) - digits);    // digits before the point
    int count = 0, first = -1, last = -1;
    for (const uint8_t *at = digits; at < digits_end; at++) {
        if (*at == '.') {
            continue;
        }
        if (*at != '0') {
            first = first == -1 ? count : first;
            last = count;
        }
        count++;
    }
    if (first == -1) {
        return true;    // it is 0
    }
    int magnitude = whole - 1 - first + exponent;
    if (magnitude > TALLY_JSON_MAGNITUDE_MAX) {
        return refuse(scan, TALLY_JSON_RANGE, scan->token, "this number is too large for a double");
    }
    if (scan->source == TALLY_JSON_MADE) {
        return true;
    }
    if (magnitude < TALLY_JSON_MAGNITUDE_MIN) {
        return refuse(scan, TALLY_JSON_RANGE, scan->token, "this number is too small for a double");
    }
    if (last - first + 1 > TALLY_JSON_DIGITS_MAX) {
        return refuse(scan, TALLY_JSON_NUMBER, scan->token,
                      "this number has more digits than a double keeps");
    }
    return true;
}

//  The digits behind e or E; so large that it is out of any range when it is very large.
static bool
scan_exponent(struct scan *scan, int *exponent)
{
    scan->at++;
    bool is_negative = next_is(scan, '-', '-');
    scan->at += next_is(scan, '-', '+') ? 1 : 0;
    const uint8_t *digits = scan->at;
    if (!skip_digits(scan)) {
        return false;
    }
    for (const uint8_t *at = digits; at < scan->at && *exponent < 100000; at++) {
        *exponent = *exponent * 10 + (*at - '0');
    }
    *exponent = is_negative ? -*exponent : *exponent;
    return true;
}

static bool
take_real(struct scan *scan, const uint8_t *digits, const uint8_t *digits_end, int exponent)
{
    tally_bytes_t number = {scan->token, (size_t)(scan->at - scan->token)};
    return check_real(scan, digits, digits_end, exponent)
           && (tally_json_build_real(&scan->build, number)
               || refuse(scan, TALLY_JSON_RANGE, scan->token,
                         "this number is too large for a double"));
}

static bool
take_integer(struct scan *scan, const uint8_t *digits, bool is_negative)
{
    if (!check_integer(scan, digits, is_negative)) {
        return false;
    }
    tally_json_build_integer(&scan->build,
                             (tally_bytes_t){scan->token, (size_t)(scan->at - scan->token)});
    return true;
}

static bool
scan_number(struct scan *scan)
{
    scan->token = scan->at;
    bool is_negative = *scan->at == '-', is_real = false;
    scan->at += is_negative ? 1 : 0;
    const uint8_t *digits = scan->at;
    int exponent = 0;
    if (next_is(scan, '0', '0')) {
        scan->at++;
        if (is_digit(scan)) {
            return refuse(scan, TALLY_JSON_SYNTAX, digits, "a number does not begin with 0");
        }
    } else if (!skip_digits(scan)) {
        return false;
    }
    if (next_is(scan, '.', '.')) {
        is_real = true;
        scan->at++;
        if (!skip_digits(scan)) {
            return false;
        }
    }
    const uint8_t *digits_end = scan->at;
    if (next_is(scan, 'e', 'E')) {
        is_real = true;
        if (!scan_exponent(scan, &exponent)) {
            return false;
        }
    }
    if (scan->at - scan->token > TALLY_JSON_NUMBER_BYTES_MAX) {
        return refuse(scan, TALLY_JSON_NUMBER, scan->token, "this number is longer than allowed");
    }
    return is_real ? take_real(scan, digits, digits_end, exponent)
                   : take_integer(scan, digits, is_negative);
}

//  ---- values ------------------------------------------------------------------------------------

static void
skip_blanks(struct scan *scan)
{
    while (scan->at < scan->end
           && (*scan->at == ' ' || *scan->at == '\n' || *scan->at == '\t' || *scan->at == '\r')) {
        scan->at++;
    }
}

//  What stands where something else is needed.
static bool
refuse_here(const struct scan *scan, const char *wanted)
{
    if (scan->at == scan->end) {
        return refuse(scan, TALLY_JSON_SYNTAX, scan->end, "it ends before the value is complete");
    }
    if (*scan->at == 0) {
        return refuse(scan, TALLY_JSON_NUL, scan->at, "NUL is not allowed");
    }
    return refuse(scan, TALLY_JSON_SYNTAX, scan->at, wanted);
}

static bool
scan_word(struct scan *scan)
{
    static const char *const words[] = {"true", "false", "null"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        size_t size = strlen(words[i]);
        if ((size_t)(scan->end - scan->at) >= size && memcmp(scan->at, words[i], size) == 0) {
            tally_json_build_word(&scan->build, *scan->at);
            scan->at += size;
            return true;
        }
    }
    return refuse_here(scan, "a value is missing here");
}

//  A key and its colon.
static bool
scan_key(struct scan *scan)
{
    if (!next_is(scan, '"', '"')) {
        return refuse_here(scan, "a key in quotes is missing here");
    }
    if (scan->source == TALLY_JSON_GIVEN
        && json_object_size(tally_json_build_open_value(&scan->build)) == TALLY_JSON_KEYS_MAX) {
        return refuse(scan, TALLY_JSON_KEYS, scan->at, "an object has too many keys");
    }
    if (!scan_string(scan, true)) {
        return false;
    }
    skip_blanks(scan);
    if (!next_is(scan, ':', ':')) {
        return refuse_here(scan, "a colon is missing here");
    }
    scan->at++;
    skip_blanks(scan);
    return true;
}

static void
close_level(struct scan *scan)
{
    scan->at++;
    tally_json_build_close(&scan->build);
}

//  Behind the opening bracket.  *closed: it was an empty one.
static bool
open_level(struct scan *scan, bool *closed)
{
    bool is_object = *scan->at == '{';
    if (scan->build.depth == TALLY_JSON_DEPTH_MAX) {
        return refuse(scan, TALLY_JSON_DEPTH, scan->at, "it is nested deeper than allowed");
    }
    scan->at++;
    tally_json_build_open(&scan->build, is_object);
    skip_blanks(scan);
    *closed = is_object ? next_is(scan, '}', '}') : next_is(scan, ']', ']');
    if (*closed) {
        close_level(scan);
        return true;
    }
    return !is_object || scan_key(scan);
}

//  What begins here, up to where another value must begin (*opened) or to its end.
static bool
scan_value(struct scan *scan, bool *opened)
{
    *opened = false;
    if (scan->source == TALLY_JSON_GIVEN && ++scan->values > TALLY_JSON_VALUES_MAX) {
        return refuse(scan, TALLY_JSON_VALUES, scan->at, "it has too many values");
    }
    if (scan->at == scan->end) {
        return refuse_here(scan, "");
    }
    bool closed = false;
    switch (*scan->at) {
    case '{':
    case '[':
        if (!open_level(scan, &closed)) {
            return false;
        }
        *opened = !closed;
        return true;
    case '"':
        return scan_string(scan, false);
    case '-':
        return scan_number(scan);
    default:
        return is_digit(scan) ? scan_number(scan) : scan_word(scan);
    }
}

//  Behind a value: closes what ends here and stops where the next value begins (*more), or at the end of all.
static bool
scan_behind(struct scan *scan, bool *more)
{
    skip_blanks(scan);
    for (; scan->build.depth > 0; skip_blanks(scan)) {
        bool is_object = json_is_object(tally_json_build_open_value(&scan->build));
        if (next_is(scan, ',', ',')) {
            scan->at++;
            skip_blanks(scan);
            *more = true;
            return !is_object || scan_key(scan);
        }
        if (!(is_object ? next_is(scan, '}', '}') : next_is(scan, ']', ']'))) {
            return refuse_here(scan, is_object ? "a comma or } is missing here"
                                               : "a comma or ] is missing here");
        }
        close_level(scan);
    }
    *more = false;
    return scan->at == scan->end || refuse_here(scan, "nothing may follow the value");
}

static bool
scan_text(struct scan *scan)
{
    if (scan->end - scan->start >= 3 && memcmp(scan->start, "\xef\xbb\xbf", 3) == 0) {
        return refuse(scan, TALLY_JSON_SYNTAX, scan->start, "a byte order mark is not allowed");
    }
    skip_blanks(scan);
    for (bool more = true; more;) {
        bool opened;
        if (!scan_value(scan, &opened)) {
            return false;
        }
        skip_blanks(scan);
        if (!opened && !scan_behind(scan, &more)) {
            return false;
        }
    }
    return true;
}

//  ---- loading -----------------------------------------------------------------------------------

json_t *
tally_json_load(tally_bytes_t text, size_t bytes_max, tally_json_source_t source,
                tally_json_fault_t *fault)
{
    tally_json_fault_t ignored;
    fault = fault == NULL ? &ignored : fault;
    text.data = text.size == 0 ? "" : text.data;
    struct scan scan = {.start = text.data, .at = text.data, .source = source, .fault = fault};
    if (text.size > bytes_max) {
        set_fault(&scan, TALLY_JSON_SIZE, scan.start + bytes_max, "it is longer than allowed");
        return NULL;
    }
    scan.end = scan.start + text.size;
    if (!scan_text(&scan)) {
        tally_json_build_drop(&scan.build);
        return NULL;
    }
    *fault = (tally_json_fault_t){0};
    return tally_json_build_take(&scan.build);
}
