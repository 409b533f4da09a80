/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of the terminal: one line for each way to run the network, then the bits of each layer,
 * one character a layer.  Text from records is cut to what a terminal may show.
 */
#include "emit/report_private.h"

#include <stdio.h>
#include <string.h>

enum { NAME_MOST = 18, COLUMNS_LEAST = 24, LABEL = 13 };

typedef enum beside { ITSELF, POINTS_OF_FLOAT, RATIO_OF_INT8 } beside;

static char *show_percent(double v, char *buf)
{
    snprintf(buf, BL_SHOW, "%.2f %%", fmin(v, 1e6) * 100);
    return buf;
}

static char *show_points(double v, char *buf)
{
    snprintf(buf, BL_SHOW, "%+.2f", fmax(fmin(v, 1e6), -1e6) * 100);
    return buf;
}

static char *show_plain(double v, char *buf)
{
    if (fabs(v) < 1e-3 || fabs(v) >= 1e6)
        snprintf(buf, BL_SHOW, "%.3g", v);
    else
        snprintf(buf, BL_SHOW, "%.*f", fabs(v) < 10 ? 3 : 1, v);
    return buf;
}

static char *show_ratio(double v, char *buf)
{
    snprintf(buf, BL_SHOW, "%.2f", fmin(v, 1e6));
    return buf;
}

/* clang-format off */
static const struct column {
    const char *title;
    int keep; /* those of the least number stay where the lines are short */
    size_t at; /* in bl_row */
    char *(*show)(double v, char *buf);
    beside beside;
} columns[] = {
    {"top-1",        0, offsetof(bl_row, top1),         show_percent,  ITSELF},
    {"vs float",     3, offsetof(bl_row, top1),         show_points,   POINTS_OF_FLOAT},
    {"AUC",          2, offsetof(bl_row, auc),          show_plain,    ITSELF},
    {"SQNR dB",      7, offsetof(bl_row, sqnr_db),      show_plain,    ITSELF},
    {"size",         1, offsetof(bl_row, size_bytes),   bl_show_bytes, ITSELF},
    {"of int8",      5, offsetof(bl_row, size_bytes),   show_ratio,    RATIO_OF_INT8},
    {"ms measured",  2, offsetof(bl_row, latency_ms),   show_plain,    ITSELF},
    {"of int8",      6, offsetof(bl_row, latency_ms),   show_ratio,    RATIO_OF_INT8},
    {"ms predicted", 4, offsetof(bl_row, predicted_ms), show_plain,    ITSELF},
    {"BOPs",         8, offsetof(bl_row, bops),         bl_show_count, ITSELF},
};
/* clang-format on */

static double value_of(const bl_report *r, const bl_row *row, const struct column *c)
{
    const bl_row *base = c->beside == POINTS_OF_FLOAT ? r->flt : r->int8;
    double v = *(const double *)((const char *)row + c->at);
    if (c->beside == ITSELF) return v;
    if (!base || row == base) return NAN;
    double of = *(const double *)((const char *)base + c->at);
    if (c->beside == POINTS_OF_FLOAT) return v - of;
    return of > 0 ? v / of : NAN;
}

/* ASCII without control characters; the rest becomes '?'. */
static char *plain(const char *text, size_t most, char *buf)
{
    size_t n = 0;
    bool shown;
    for (; *text && n + 1 < most; text += bl_page_character(text, &shown))
        buf[n++] = *text >= ' ' && *text < 0x7F ? *text : '?';
    buf[n] = '\0';
    return buf;
}

static char *row_name(const bl_report *r, const bl_row *row, char *buf)
{
    char name[NAME_MOST + 1];
    if (row->kind == BL_ROW_FLOAT) return strcpy(buf, "float");
    if (row->kind == BL_ROW_INT8) return strcpy(buf, "uniform int8");
    if (row->kind == BL_ROW_CHOSEN) return strcpy(buf, bl_report_chosen_name(r));
    snprintf(buf, BL_SHOW, "uniform %s", plain(row->name, NAME_MOST - 7, name));
    return buf;
}

/* ------------------------------------------------------------------ the table */

typedef struct layout {
    size_t name, width[BL_COUNTOF(columns)]; /* 0: left out */
    size_t line;
} layout;

static layout measure(const bl_report *r, size_t line_most)
{
    layout l = {.name = strlen("network")};
    char text[BL_SHOW];
    for (size_t i = 0; i < r->n_rows; i++) {
        l.name = BL_MAX(l.name, strlen(row_name(r, &r->rows[i], text)));
        for (size_t c = 0; c < BL_COUNTOF(columns); c++) {
            double v = value_of(r, &r->rows[i], &columns[c]);
            if (isnan(v)) continue;
            l.width[c] = BL_MAX(l.width[c],
                                BL_MAX(strlen(columns[c].show(v, text)), strlen(columns[c].title)));
        }
    }
    l.line = l.name;
    for (size_t c = 0; c < BL_COUNTOF(columns); c++) l.line += l.width[c] ? 2 + l.width[c] : 0;
    for (int keep = 9; keep >= 0; keep--)
        for (size_t c = 0; c < BL_COUNTOF(columns); c++) {
            if (columns[c].keep != keep || !l.width[c] || l.line <= line_most) continue;
            l.line -= 2 + l.width[c];
            l.width[c] = 0;
        }
    return l;
}

/* The text at the left or the right of its width. */
static void padded(bl_page *o, const char *text, int width)
{
    char cell[2 * BL_SHOW];
    snprintf(cell, sizeof cell, "%*s", width, text);
    bl_page_raw(o, cell);
}

static void write_table(bl_report *r, bool color, size_t line_most)
{
    bl_page *o = &r->page;
    layout l = measure(r, line_most);
    char text[BL_SHOW];
    if (color) bl_page_raw(o, "\x1b[2m");
    padded(o, "network", -(int)l.name);
    for (size_t c = 0; c < BL_COUNTOF(columns); c++)
        if (l.width[c]) padded(o, columns[c].title, (int)l.width[c] + 2);
    bl_page_raw(o, color ? "\x1b[0m\n" : "\n");
    for (size_t i = 0; i < r->n_rows; i++) {
        const bl_row *row = &r->rows[i];
        bool strong = color && row->kind == BL_ROW_CHOSEN;
        if (strong) bl_page_raw(o, "\x1b[1m");
        padded(o, row_name(r, row, text), -(int)l.name);
        for (size_t c = 0; c < BL_COUNTOF(columns); c++) {
            double v = value_of(r, row, &columns[c]);
            if (l.width[c])
                padded(o, isnan(v) ? "" : columns[c].show(v, text), (int)l.width[c] + 2);
        }
        bl_page_raw(o, strong ? "\x1b[0m\n" : "\n");
    }
}

/* ------------------------------------------------------------------ bits of each layer */

static int bits_of(const bl_layer *l, bool weights)
{
    return weights ? l->w_bits : l->a_in_bits ? l->a_in_bits : l->a_out_bits;
}

/* One line of blocks, or of digits ('.': nothing there, '+': more than nine bits). */
static void write_bits(bl_report *r, bool weights, bool color, size_t from, size_t to)
{
    static const char *const blocks[] = {"\xC2\xB7",     "\xE2\x96\x81", "\xE2\x96\x82",
                                         "\xE2\x96\x83", "\xE2\x96\x84", "\xE2\x96\x85",
                                         "\xE2\x96\x86", "\xE2\x96\x87", "\xE2\x96\x88"};
    bl_page *o = &r->page;
    const char *shade = "";
    padded(o, weights ? "weights" : "activations", -LABEL);
    for (size_t i = from; i < to; i++) {
        int bits = bits_of(&r->layers[i], weights);
        const char *want = bits == 0 || bits >= 8 ? "\x1b[0;2m"
                           : weights              ? "\x1b[0;34m"
                                                  : "\x1b[0;33m";
        char digit[2] = {bits == 0 ? '.' : bits > 9 ? '+' : (char)('0' + bits), '\0'};
        if (color && strcmp(want, shade)) bl_page_raw(o, shade = want);
        bl_page_raw(o, color ? blocks[BL_MIN(bits, 8)] : digit);
    }
    bl_page_raw(o, color ? "\x1b[0m\n" : "\n");
}

static void write_layers(bl_report *r, bool color, size_t line_most)
{
    char text[128];
    size_t room = line_most - LABEL;
    for (size_t from = 0; from < r->n_layers; from += room) {
        size_t to = BL_MIN(from + room, r->n_layers);
        snprintf(text, sizeof text, "\nbits, layers %zu-%zu\n", from + 1, to);
        bl_page_raw(&r->page, text);
        write_bits(r, true, color, from, to);
        write_bits(r, false, color, from, to);
    }
}

char *bl_table_text(bl_arena *arena, const json_t *summary, bool color, int columns_most)
{
    bl_report r;
    size_t line_most = columns_most <= 0 ? 80 : BL_MAX((size_t)columns_most, (size_t)COLUMNS_LEAST);
    bl_report_input in = {.summary = summary};
    if (bl_report_begin(bl_arena_ctx(arena), &in, &r) != BL_OK) return NULL;
    bl_page_raw(&r.page, "");
    if (r.n_rows) write_table(&r, color, line_most);
    write_layers(&r, color, line_most);
    char *text = r.page.failed ? NULL : bl_strdup(arena, r.page.text);
    bl_report_free(&r);
    return text;
}
