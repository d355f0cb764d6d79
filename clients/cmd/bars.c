// SPDX-License-Identifier: MIT
//  bars - see bars.h.

#include "clients/cmd/bars.h"

#include "clients/cmd/fields.h"
#include "clients/cmd/grid.h"

#include "lib/alloc.h"
#include "lib/log.h"

#include <inttypes.h>
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#define BAR_CELLS 30
#define LABEL_CELLS_MAX 44
#define TEXT_CELLS_MAX 100
#define EIGHTHS 8
#define ENTRIES_MAX 20    // of a question; the rest is summed up

struct entry {
    char label[4 * LABEL_CELLS_MAX + 8];
    double order;    // ascending
    int64_t count;
};

struct style {
    const char *bold, *bar, *faint, *plain;
    bool utf8;
};

static struct style
make_style(bool color)
{
    setlocale(LC_CTYPE, "");
    bool utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    if (!color) {
        return (struct style){"", "", "", "", utf8};
    }
    return (struct style){"\033[1m", "\033[36m", "\033[2m", "\033[0m", utf8};
}

//  Escapes a text and cuts it to `cells` characters.
static void
cut_text(char *out, size_t room, const char *text, size_t cells, bool utf8)
{
    size_t bytes = tally_log_escape(out, room, tally_bytes_of(text));
    if (tally_grid_width(out) <= cells) {
        return;
    }
    size_t width = 0;
    size_t at = 0;
    while (at < bytes && width < cells - (utf8 ? 1 : 3)) {
        at++;
        while (at < bytes && ((unsigned char)out[at] & 0xc0) == 0x80) {
            at++;
        }
        width++;
    }
    snprintf(out + at, room - at, "%s", utf8 ? "…" : "...");
}

//  ---- entries -----------------------------------------------------------------------------------

static int
compare_entries(const void *left, const void *right)
{
    const struct entry *a = left;
    const struct entry *b = right;
    if (a->order != b->order) {
        return a->order < b->order ? -1 : 1;
    }
    return strcmp(a->label, b->label);
}

//  The place of a choice in the definition, or -1.
static int
place_of_choice(const json_t *question, const char *choice)
{
    size_t index;
    json_t *one;
    json_array_foreach(json_object_get(question, "choices"), index, one) {
        const char *text = json_string_value(one);
        if (text != NULL && strcmp(text, choice) == 0) {
            return (int)index;
        }
    }
    return -1;
}

//  Numbers in their order, choices in that of the definition, others by how many they are.
static double
order_of(const json_t *question, bool is_range, const char *label, int64_t count)
{
    if (is_range) {
        return strtod(label, NULL);
    }
    int place = place_of_choice(question, label);
    return place >= 0 ? (double)place : 1e9 - (double)count;
}

static size_t
read_entries(const json_t *statistic, const json_t *question, bool is_range, bool utf8,
             struct entry **entries)
{
    json_t *histogram = json_object_get(statistic, "histogram");
    size_t count = 0;
    *entries = tally_alloc_array(json_object_size(histogram) + 1, sizeof **entries);
    const char *label;
    json_t *value;
    json_object_foreach(histogram, label, value) {
        struct entry *entry = &(*entries)[count++];
        entry->count = json_integer_value(value);
        entry->order = order_of(question, is_range, label, entry->count);
        cut_text(entry->label, sizeof entry->label, label, LABEL_CELLS_MAX, utf8);
    }
    qsort(*entries, count, sizeof **entries, compare_entries);
    return count;
}

//  ---- drawing -----------------------------------------------------------------------------------

static void
draw_bar(FILE *out, const struct style *style, double share)
{
    static const char *const parts[EIGHTHS] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    int eighths = (int)(share * BAR_CELLS * EIGHTHS + 0.5);
    int cells = eighths / EIGHTHS;
    int drawn = cells;
    fputs(style->bar, out);
    for (int i = 0; i < cells; i++) {
        fputs(style->utf8 ? "█" : "#", out);
    }
    if (style->utf8 && eighths % EIGHTHS != 0) {
        fputs(parts[eighths % EIGHTHS], out);
        drawn++;
    }
    fprintf(out, "%s%*s", style->plain, BAR_CELLS - drawn, "");
}

static void
draw_entries(FILE *out, const struct style *style, const struct entry *entries, size_t count,
             int64_t answered)
{
    size_t width = 0;
    int64_t most = 1;
    size_t shown = count <= ENTRIES_MAX ? count : ENTRIES_MAX - 1;
    for (size_t i = 0; i < shown; i++) {
        size_t cells = tally_grid_width(entries[i].label);
        width = cells > width ? cells : width;
        most = entries[i].count > most ? entries[i].count : most;
    }
    for (size_t i = 0; i < shown; i++) {
        fprintf(out, "    %s%*s  ", entries[i].label,
                (int)(width - tally_grid_width(entries[i].label)), "");
        draw_bar(out, style, (double)entries[i].count / (double)most);
        fprintf(out, " %6" PRId64 "  %5.1f %%\n", entries[i].count,
                answered > 0 ? 100.0 * (double)entries[i].count / (double)answered : 0.0);
    }
    int64_t rest = 0;
    for (size_t i = shown; i < count; i++) {
        rest += entries[i].count;
    }
    if (shown < count) {
        fprintf(out, "    %sand %zu more with %" PRId64 " together%s\n", style->faint,
                count - shown, rest, style->plain);
    }
}

static const json_t *
find_question(const json_t *definition, const char *id)
{
    size_t index;
    json_t *question;
    json_array_foreach(json_object_get(definition, "questions"), index, question) {
        if (strcmp(tally_field_text(question, "id"), id) == 0) {
            return question;
        }
    }
    return NULL;
}

static void
print_question(FILE *out, const struct style *style, const char *id, const json_t *statistic,
               const json_t *question)
{
    const char *type = tally_field_text(statistic, "type");
    bool is_range = strcmp(type, "range") == 0;
    int64_t answered = tally_field_number(statistic, "answered");
    char name[4 * TEXT_CELLS_MAX + 8];
    char text[4 * TEXT_CELLS_MAX + 8];
    cut_text(name, sizeof name, id, TEXT_CELLS_MAX, style->utf8);
    cut_text(text, sizeof text, tally_field_text(question, "text"), TEXT_CELLS_MAX, style->utf8);
    fprintf(out, "\n%s%s%s  %s\n    %s%s, %" PRId64 " answered%s", style->bold, name, style->plain,
            text, style->faint, type, answered, style->plain);
    if (is_range && answered > 0) {
        fprintf(out, "    mean %.2f   deviation %.2f   from %g to %g   sum %g",
                tally_field_real(statistic, "mean"), tally_field_real(statistic, "stddev"),
                tally_field_real(statistic, "min"), tally_field_real(statistic, "max"),
                tally_field_real(statistic, "sum"));
    }
    fputc('\n', out);
    struct entry *entries;
    size_t count = read_entries(statistic, question, is_range, style->utf8, &entries);
    draw_entries(out, style, entries, count, answered);
    free(entries);
}

void
tally_bars_print(FILE *out, const json_t *statistics, const json_t *definition, bool color)
{
    struct style style = make_style(color);
    char title[4 * TEXT_CELLS_MAX + 8];
    const char *slug = tally_field_text(statistics, "survey");
    const char *text = tally_field_text(definition, "title");
    cut_text(title, sizeof title, *text != '\0' ? text : slug, TEXT_CELLS_MAX, style.utf8);
    fprintf(out, "%s%s%s  %" PRId64 " responses\n", style.bold, title, style.plain,
            tally_field_number(statistics, "responses"));
    json_t *questions = json_object_get(statistics, "questions");
    const char *id;
    json_t *statistic;
    json_object_foreach(questions, id, statistic) {
        print_question(out, &style, id, statistic, find_question(definition, id));
    }
}
