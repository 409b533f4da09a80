/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of results: every way that the network was run, a column for each figure taken. */
#include "emit/report_private.h"

#include <stdio.h>

typedef enum beside { ALONE, POINTS_OF_FLOAT, RATIO_OF_INT8 } beside;

static char *show_percent(double v, char *buf)
{
    snprintf(buf, BL_SHOW, "%.2f\xC2\xA0%%", fmin(v, 1e6) * 100);
    return buf;
}

static char *show_share(double v, char *buf)
{
    snprintf(buf, BL_SHOW, "%.3f", fmin(v, 1e6));
    return buf;
}

static char *show_db(double v, char *buf)
{
    snprintf(buf, BL_SHOW,
             "%.1f\xC2\xA0"
             "dB",
             fmax(fmin(v, 1e6), -1e6));
    return buf;
}

/* clang-format off */
static const struct column {
    const char *title, *help;
    size_t at; /* in bl_row */
    char *(*show)(double v, char *buf);
    beside beside;
} columns[] = {
    {"top-1", "share of samples whose first answer is right; in small print against float",
     offsetof(bl_row, top1), show_percent, POINTS_OF_FLOAT},
    {"top-5", "share of samples whose first five answers hold the right one",
     offsetof(bl_row, top5), show_percent, ALONE},
    {"AUC", "area under the curve of detection",
     offsetof(bl_row, auc), show_share, ALONE},
    {"SQNR", "signal to quantization noise at the output",
     offsetof(bl_row, sqnr_db), show_db, ALONE},
    {"size", "bytes of the weights as packed; in small print as a share of int8",
     offsetof(bl_row, size_bytes), bl_show_bytes, RATIO_OF_INT8},
    {"file", "bytes of the file",
     offsetof(bl_row, file_bytes), bl_show_bytes, ALONE},
    {"latency", "median time of one sample, measured; in small print as a share of int8",
     offsetof(bl_row, latency_ms), bl_show_ms, RATIO_OF_INT8},
    {"predicted", "time of one sample as the target predicts it",
     offsetof(bl_row, predicted_ms), bl_show_ms, RATIO_OF_INT8},
    {"BOPs", "bit operations: multiplications weighted by both widths",
     offsetof(bl_row, bops), bl_show_count, RATIO_OF_INT8},
    {"memory", "working memory for what flows while the network runs",
     offsetof(bl_row, memory_bytes), bl_show_bytes, ALONE},
};
/* clang-format on */

static double value_of(const bl_row *row, size_t at)
{
    return row ? *(const double *)((const char *)row + at) : NAN;
}

static void cell(bl_report *r, const bl_row *row, const struct column *c)
{
    char text[BL_SHOW] = "", more[BL_SHOW] = "";
    double v = value_of(row, c->at), flt = value_of(r->flt, c->at), int8 = value_of(r->int8, c->at);
    if (isfinite(v)) c->show(v, text);
    if (c->beside == POINTS_OF_FLOAT && row != r->flt && isfinite(v - flt))
        bl_show_signed((v - flt) * 100, 2, more);
    if (c->beside == RATIO_OF_INT8 && row != r->int8 && isfinite(v) && int8 > 0)
        snprintf(more, sizeof more, "\xC3\x97%.*f", v / int8 < 10 ? 2 : 1, fmin(v / int8, 1e6));
    bl_part_cell(r, v, text, more);
}

static void table(bl_report *r)
{
    bl_page_raw(&r->page, "<div class=\"scroll\"><table class=\"sort results\">\n"
                          "<thead><tr><th scope=\"col\">network</th>");
    bool shown[BL_COUNTOF(columns)];
    for (size_t c = 0; c < BL_COUNTOF(columns); c++) {
        shown[c] = false;
        for (size_t i = 0; i < r->n_rows; i++)
            shown[c] |= isfinite(value_of(&r->rows[i], columns[c].at));
        if (shown[c])
            bl_page_put(&r->page, "<th scope=\"col\" title=\"%s\">%s</th>", columns[c].help,
                        columns[c].title);
    }
    bl_page_raw(&r->page, "</tr></thead>\n<tbody>\n");
    for (size_t i = 0; i < r->n_rows; i++) {
        bl_part_row(r, &r->rows[i]);
        for (size_t c = 0; c < BL_COUNTOF(columns); c++)
            if (shown[c]) cell(r, &r->rows[i], &columns[c]);
        bl_page_raw(&r->page, "</tr>\n");
    }
    bl_page_raw(&r->page, "</tbody></table></div>\n");
}

void bl_part_results(bl_report *r)
{
    if (r->n_rows == 0) return;
    bl_part_open(r, "results", "Results");
    table(r);
    bl_page_raw(&r->page,
                "<p class=\"caption\">The same network run in several ways; small print compares "
                "top-1 with float, in points, and costs with int8, eight bits everywhere.</p>\n");
    bl_part_close(r);
}
