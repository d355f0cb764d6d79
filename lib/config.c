// SPDX-License-Identifier: MIT
#include "lib/config.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/nearest.h"
#include "lib/version.h"

#define EXIT_BAD_USAGE 64
#define EXIT_BAD_CONFIG 78
#define FILE_BYTES_MAX (1024 * 1024)

//  Later ones win, whatever order they are read in.
typedef enum { FROM_DEFAULT, FROM_FILE, FROM_ENVIRONMENT, FROM_FLAG } source_t;

struct setting {
    char *value;     // owned; NULL: the table's default
    char *origin;    // owned; NULL with value
    source_t source;
};

struct tally_config {
    const char *program;
    const char *section;    // the program's name without "tally-"
    const tally_config_key_t *keys;
    size_t key_count;
    struct setting *settings;    // one per key
    char *errors;                // a line each
};

//  Keys of an instance that more than one program reads: known to all, used by those that declare them.
static const char *const common_keys[] = {"front", "sink", "feed",      "lanes",
                                          "db",    "key",  "server-key"};
#define COMMON_COUNT (sizeof common_keys / sizeof common_keys[0])

tally_config_t *
tally_config_new(const char *program, const tally_config_key_t *keys)
{
    tally_config_t *self = tally_alloc(sizeof *self);
    self->program = program;
    self->section = strncmp(program, "tally-", 6) == 0 ? program + 6 : program;
    self->keys = keys;
    while (keys[self->key_count].name != NULL) {
        self->key_count++;
    }
    self->settings = tally_alloc_array(self->key_count, sizeof *self->settings);
    self->errors = tally_strdup("");
    return self;
}

void
tally_config_destroy(tally_config_t **self_p)
{
    tally_config_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    for (size_t i = 0; i < self->key_count; i++) {
        free(self->settings[i].value);
        free(self->settings[i].origin);
    }
    free(self->settings);
    free(self->errors);
    free(self);
    *self_p = NULL;
}

const char *
tally_config_errors(const tally_config_t *self)
{
    return self->errors;
}

//  Adds "where: what" to the errors.  Always -1, for the caller to return.
static int
    TALLY_PRINTF(3, 4) report(tally_config_t *self, const char *where, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *what = NULL;
    int printed = vasprintf(&what, format, args);
    va_end(args);
    assert(printed >= 0);

    char *all = tally_format("%s%s: %s\n", self->errors, where, what);
    free(what);
    free(self->errors);
    self->errors = all;
    return -1;
}

static size_t
find_key(const tally_config_t *self, tally_bytes_t name)
{
    size_t i = 0;
    while (i < self->key_count && !tally_bytes_equal(name, tally_bytes_of(self->keys[i].name))) {
        i++;
    }
    return i;
}

static size_t
require_key(const tally_config_t *self, const char *name)
{
    size_t i = find_key(self, tally_bytes_of(name));
    assert(i < self->key_count);
    return i;
}

static bool
is_common(tally_bytes_t name)
{
    for (size_t i = 0; i < COMMON_COUNT; i++) {
        if (tally_bytes_equal(name, tally_bytes_of(common_keys[i]))) {
            return true;
        }
    }
    return false;
}

static int
report_unknown(tally_config_t *self, const char *where, tally_bytes_t name)
{
    const char **known = tally_alloc_array(self->key_count + COMMON_COUNT, sizeof *known);
    for (size_t i = 0; i < self->key_count; i++) {
        known[i] = self->keys[i].name;
    }
    memcpy(known + self->key_count, common_keys, sizeof common_keys);
    const char *nearest = tally_nearest(name, known, self->key_count + COMMON_COUNT);
    free(known);
    if (nearest == NULL) {
        return report(self, where, "unknown key \"%.*s\" (--help lists them)", (int)name.size,
                      (const char *)name.data);
    }
    return report(self, where, "unknown key \"%.*s\"; did you mean \"%s\"?", (int)name.size,
                  (const char *)name.data, nearest);
}

static int
check_value(tally_config_t *self, const char *where, const tally_config_key_t *key,
            const char *value)
{
    for (const char *at = value; *at != '\0'; at++) {
        if (iscntrl((unsigned char)*at)) {
            return report(self, where, "value of \"%s\" has a control character", key->name);
        }
    }
    if (key->kind == TALLY_CONFIG_TEXT) {
        return 0;
    }
    char *end;
    errno = 0;
    long long number = strtoll(value, &end, 10);
    if (end == value || *end != '\0' || isspace((unsigned char)*value)) {
        return report(self, where, "value of \"%s\" must be a number, not \"%s\"", key->name,
                      value);
    }
    if (errno == ERANGE || number < key->min || number > key->max) {
        return report(self, where,
                      "value of \"%s\" must be from %" PRId64 " to %" PRId64 ", not %s", key->name,
                      key->min, key->max, value);
    }
    return 0;
}

//  The one place a setting changes.
static void
assign(struct setting *setting, source_t source, const char *origin, const char *value)
{
    if (source < setting->source) {
        return;
    }
    free(setting->value);
    free(setting->origin);
    setting->value = tally_strdup(value);
    setting->origin = tally_strdup(origin);
    setting->source = source;
}

int
tally_config_set(tally_config_t *self, const char *name, const char *value)
{
    char *where = tally_format("--%s", name);
    size_t i = find_key(self, tally_bytes_of(name));
    int result = i == self->key_count ? report_unknown(self, where, tally_bytes_of(name))
                                      : check_value(self, where, &self->keys[i], value);
    if (result == 0) {
        assign(&self->settings[i], FROM_FLAG, "flag", value);
    }
    free(where);
    return result;
}

static char *
environment_name(const char *name)
{
    char *variable = tally_format("TALLY_%s", name);
    for (char *at = variable; *at != '\0'; at++) {
        *at = *at == '-' ? '_' : (char)toupper((unsigned char)*at);
    }
    return variable;
}

int
tally_config_load_environment(tally_config_t *self)
{
    int result = 0;
    for (size_t i = 0; i < self->key_count; i++) {
        char *variable = environment_name(self->keys[i].name);
        const char *value = getenv(variable);
        if (value != NULL && *value != '\0') {
            if (check_value(self, variable, &self->keys[i], value) == 0) {
                assign(&self->settings[i], FROM_ENVIRONMENT, variable, value);
            } else {
                result = -1;
            }
        }
        free(variable);
    }
    return result;
}

//  ---- the file ---------------------------------------------------------------------------------

typedef enum { SECTION_NONE, SECTION_OURS, SECTION_OTHER } section_t;

struct reader {
    tally_config_t *config;
    const char *path;
    int line;
    section_t section;
    int *lines[2];    // where each key was seen, before any section and in ours
    bool failed;
};

static void
    TALLY_PRINTF(3, 4) complain(struct reader *reader, size_t column, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *what = NULL;
    int printed = vasprintf(&what, format, args);
    va_end(args);
    assert(printed >= 0);
    char *where = tally_format("%s:%d:%zu", reader->path, reader->line, column + 1);
    report(reader->config, where, "%s", what);
    reader->failed = true;
    free(where);
    free(what);
}

static size_t
skip_blanks(const char *line, size_t at)
{
    while (line[at] == ' ' || line[at] == '\t' || line[at] == '\r') {
        at++;
    }
    return at;
}

static size_t
skip_word(const char *line, size_t at)
{
    while (isalnum((unsigned char)line[at]) || line[at] == '-' || line[at] == '_'
           || line[at] == '.') {
        at++;
    }
    return at;
}

static bool
line_ends(const char *line, size_t at)
{
    at = skip_blanks(line, at);
    return line[at] == '\0' || line[at] == '#';
}

//  Sections of programs that are there: none of them is a misspelt other.
static bool
is_known(const char *name, size_t size)
{
    static const char *const known[] = {"tally",      "tallyd", "responses",
                                        "statistics", "export", "heartbeat"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strlen(known[i]) == size && memcmp(known[i], name, size) == 0) {
            return true;
        }
    }
    return false;
}

static void
read_section(struct reader *reader, const char *line, size_t at)
{
    const char *section = reader->config->section;
    size_t start = skip_blanks(line, at + 1);
    size_t end = skip_word(line, start);
    size_t close = skip_blanks(line, end);
    reader->section = SECTION_OTHER;
    if (end == start) {
        complain(reader, start, "a section needs a name: [%s]", section);
    } else if (line[close] != ']') {
        complain(reader, close, "\"]\" is missing");
    } else if (!line_ends(line, close + 1)) {
        complain(reader, skip_blanks(line, close + 1), "nothing may follow a section's name");
    } else if (end - start == strlen(section) && memcmp(line + start, section, end - start) == 0) {
        reader->section = SECTION_OURS;
    } else if (!is_known(line + start, end - start)
               && tally_nearest((tally_bytes_t){line + start, end - start}, &section, 1) != NULL) {
        complain(reader, start, "unknown section \"%.*s\"; did you mean \"%s\"?",
                 (int)(end - start), line + start, section);
    }
}

//  The value that begins at `at`, owned by the caller; NULL when it is malformed (which is reported).
static char *
read_value(struct reader *reader, const char *line, size_t at)
{
    if (line[at] != '"') {
        size_t end = at;
        for (size_t i = at; line[i] != '\0'; i++) {
            if (line[i] == '#' && (i == at || isblank((unsigned char)line[i - 1]))) {
                break;
            }
            end = isspace((unsigned char)line[i]) ? end : i + 1;
        }
        return tally_strndup(line + at, end - at);
    }
    char *value = tally_alloc(strlen(line + at));
    size_t size = 0;
    size_t i = at + 1;
    while (line[i] != '"' && line[i] != '\0') {
        if (line[i] == '\\' && line[i + 1] != '"' && line[i + 1] != '\\') {
            complain(reader, i, "only \\\" and \\\\ have a meaning here");
            free(value);
            return NULL;
        }
        i += line[i] == '\\' ? 1 : 0;
        value[size++] = line[i++];
    }
    if (line[i] == '\0') {
        complain(reader, at, "the closing \" is missing");
    } else if (!line_ends(line, i + 1)) {
        complain(reader, skip_blanks(line, i + 1),
                 "nothing but a comment may follow the closing \"");
    } else {
        return value;
    }
    free(value);
    return NULL;
}

static void
take_setting(struct reader *reader, size_t start, tally_bytes_t name, size_t value_at,
             const char *value)
{
    tally_config_t *config = reader->config;
    size_t i = find_key(config, name);
    char *where = tally_format("%s:%d:%zu", reader->path, reader->line, start + 1);
    if (i == config->key_count) {
        if (!is_common(name) && report_unknown(config, where, name) == -1) {
            reader->failed = true;
        }
        free(where);
        return;
    }
    free(where);
    int *seen = &reader->lines[reader->section == SECTION_OURS][i];
    if (*seen != 0) {
        complain(reader, start, "\"%s\" is set already in line %d", config->keys[i].name, *seen);
        return;
    }
    *seen = reader->line;
    where = tally_format("%s:%d:%zu", reader->path, reader->line, value_at + 1);
    if (check_value(config, where, &config->keys[i], value) == -1) {
        reader->failed = true;
    } else if (reader->section == SECTION_OURS || reader->lines[1][i] == 0) {
        char *origin = tally_format("%s:%d", reader->path, reader->line);
        assign(&config->settings[i], FROM_FILE, origin, value);
        free(origin);
    }
    free(where);
}

static void
read_line(struct reader *reader, const char *line)
{
    size_t start = skip_blanks(line, 0);
    if (line_ends(line, start)) {
        return;
    }
    if (line[start] == '[') {
        read_section(reader, line, start);
        return;
    }
    size_t end = skip_word(line, start);
    size_t equals = skip_blanks(line, end);
    if (end == start || line[equals] != '=') {
        complain(reader, end == start ? start : equals, "expected \"key = value\"");
        return;
    }
    size_t value_at = skip_blanks(line, equals + 1);
    char *value = read_value(reader, line, value_at);
    if (value != NULL && *value == '\0') {
        complain(reader, value_at, "\"%.*s\" has no value; leave the line out for the default",
                 (int)(end - start), line + start);
    } else if (value != NULL && reader->section != SECTION_OTHER) {
        take_setting(reader, start, (tally_bytes_t){line + start, end - start}, value_at, value);
    }
    free(value);
}

static void
read_lines(struct reader *reader, char *text, size_t size)
{
    char *end = text + size;
    for (char *line = text; line < end;) {
        char *newline = memchr(line, '\n', (size_t)(end - line));
        char *line_end = newline == NULL ? end : newline;
        *line_end = '\0';
        reader->line++;
        if (strlen(line) == (size_t)(line_end - line)) {
            read_line(reader, line);
        } else {
            complain(reader, strlen(line), "a NUL byte; this is not a text file");
        }
        line = line_end + 1;
    }
}

int
tally_config_load(tally_config_t *self, const char *path)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return report(self, path, "cannot be read: %s", strerror(errno));
    }
    int result = 0;
    char *text = tally_alloc(FILE_BYTES_MAX + 2);
    size_t size = fread(text, 1, FILE_BYTES_MAX + 1, file);    // one more than allowed shows
    if (ferror(file)) {
        result = report(self, path, "cannot be read: %s", strerror(errno));
    } else if (size > FILE_BYTES_MAX) {
        result = report(self, path, "is larger than %d bytes", FILE_BYTES_MAX);
    } else {
        struct reader reader = {.config = self, .path = path};
        for (size_t i = 0; i < 2; i++) {
            reader.lines[i] = tally_alloc_array(self->key_count, sizeof *reader.lines[i]);
        }
        read_lines(&reader, text, size);
        result = reader.failed ? -1 : 0;
        free(reader.lines[0]);
        free(reader.lines[1]);
    }
    free(text);
    fclose(file);
    return result;
}

//  ---- what programs ask ------------------------------------------------------------------------

const char *
tally_config_get(const tally_config_t *self, const char *name)
{
    size_t i = require_key(self, name);
    return self->settings[i].value != NULL ? self->settings[i].value : self->keys[i].fallback;
}

int64_t
tally_config_number(const tally_config_t *self, const char *name)
{
    assert(self->keys[require_key(self, name)].kind == TALLY_CONFIG_NUMBER);
    const char *value = tally_config_get(self, name);
    return value == NULL ? 0 : strtoll(value, NULL, 10);
}

const char *
tally_config_origin(const tally_config_t *self, const char *name)
{
    const struct setting *setting = &self->settings[require_key(self, name)];
    return setting->origin == NULL ? "default" : setting->origin;
}

//  ---- main() -----------------------------------------------------------------------------------

static void
print_help(const tally_config_t *self, const char *summary)
{
    printf("%s - %s\n\nusage: %s [--config FILE] [--KEY VALUE]...\n\n", self->program, summary,
           self->program);
    for (size_t i = 0; i < self->key_count; i++) {
        const tally_config_key_t *key = &self->keys[i];
        printf("  --%-18s %s%s%s%s\n", key->name, key->help,
               key->fallback == NULL ? "" : " (default ",
               key->fallback == NULL ? "" : key->fallback, key->fallback == NULL ? "" : ")");
    }
    printf("  --%-18s %s\n  --%-18s %s\n  --%-18s %s\n\n", "config",
           "file of settings, key = value lines", "help", "this text", "version",
           "the version alone");
    printf("A flag wins over the environment (TALLY_KEY), that over the file, that over the "
           "default.\n");
}

//  Reads one flag at argv[*at] and moves behind it.  `path` gets the argument of --config.
static int
read_flag(tally_config_t *self, int argc, char **argv, int *at, const char **path)
{
    const char *flag = argv[*at];
    (*at)++;
    if (strncmp(flag, "--", 2) != 0 || flag[2] == '\0') {
        return report(self, flag, "only --key VALUE is understood here (--help)");
    }
    const char *equals = strchr(flag, '=');
    const char *value = equals == NULL ? argv[*at] : equals + 1;    // argv[argc] is NULL
    char *name = equals == NULL ? tally_strdup(flag + 2)
                                : tally_strndup(flag + 2, (size_t)(equals - flag - 2));
    int result = 0;
    if (strcmp(name, "config") != 0 && find_key(self, tally_bytes_of(name)) == self->key_count) {
        result = report_unknown(self, flag, tally_bytes_of(name));
    } else if (value == NULL) {
        result = report(self, flag, "needs a value");
    } else if (strcmp(name, "config") == 0) {
        *path = value;
    } else {
        result = tally_config_set(self, name, value);
    }
    *at += equals == NULL && *at < argc ? 1 : 0;
    free(name);
    return result;
}

int
tally_config_start(tally_config_t *self, int argc, char **argv, const char *summary)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_help(self, summary);
            return 0;
        }
        if (strcmp(argv[i], "--version") == 0 || strcmp(argv[i], "-V") == 0) {
            printf("%s %s\n", self->program, TALLY_VERSION);
            return 0;
        }
    }
    const char *path = getenv("TALLY_CONFIG");
    int failed = 0;
    for (int i = 1; i < argc;) {
        failed |= read_flag(self, argc, argv, &i, &path);
    }
    failed |= tally_config_load_environment(self);
    int code = failed != 0 ? EXIT_BAD_USAGE : -1;
    if (path != NULL && tally_config_load(self, path) == -1) {
        code = code == -1 ? EXIT_BAD_CONFIG : code;
    }
    if (code != -1) {
        fprintf(stderr, "%s", self->errors);
    }
    return code;
}
