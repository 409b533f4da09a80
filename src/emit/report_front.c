/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The page of a training that leaves a front: accuracy against EBOPs, and each point with its figures.
 * It is written again at the end of every cycle, so a browser that reloads it watches.
 */
#include "emit/report_private.h"

#include <stdio.h>
#include <string.h>

typedef struct front {
    bl_report *r;
    const json_t *record, *points;
    size_t n;
    double flt;                 /* accuracy without quantizers, percent; NAN */
    bool tested;                /* else held-out accuracy alone */
    long chosen;                /* -1: none yet */
} front;

static double number(const front *f, size_t p, const char *key)
{
    return bl_figure_num(json_array_get(f->points, p), key);
}

static double height_of(const front *f, size_t p)
{
    return 100 * number(f, p, f->tested ? "test_top1" : "held_out_top1");
}

static void bounds(const front *f, bl_plot *plot)
{
    plot->x_lo = plot->y_lo = INFINITY;
    plot->x_hi = plot->y_hi = -INFINITY;
    for (size_t p = 0; p < f->n; p++) {
        double x = number(f, p, "ebops1") / 1000, y = height_of(f, p);
        plot->x_lo = fmin(plot->x_lo, x);
        plot->x_hi = fmax(plot->x_hi, x);
        plot->y_lo = fmin(plot->y_lo, y);
        plot->y_hi = fmax(plot->y_hi, y);
    }
    if (isfinite(f->flt)) {
        plot->y_hi = fmax(plot->y_hi, f->flt);
        plot->y_lo = fmin(plot->y_lo, f->flt);
    }
    bl_plot_pad(&plot->x_lo, &plot->x_hi, 0.06, false);
    bl_plot_pad(&plot->y_lo, &plot->y_hi, 0.08, false);
    plot->x_lo = fmax(plot->x_lo, 0);
}

static void marks(const front *f, bl_plot *plot)
{
    for (size_t p = 0; p < f->n; p++) {
        bool chosen = (long)p == f->chosen;
        char *tip = bl_format(f->r->page.arena, "%.0f EBOPs\nheld out %.2f %%\n%.0f weights\nepoch %.0f", number(f, p, "ebops1"),
                              100 * number(f, p, "held_out_top1"), number(f, p, "weights_left"), number(f, p, "epoch"));
        if (!tip) {
            plot->page->failed = true;
            return;
        }
        bl_plot_mark(plot, chosen ? BL_RING : BL_DOT, chosen ? "chosen" : "best", bl_plot_x(plot, number(f, p, "ebops1") / 1000),
                     bl_plot_y(plot, height_of(f, p)), tip);
    }
}

static void draw(const front *f, double width, double height)
{
    bl_plot plot = { .page = &f->r->page, .left = 46, .right = width - 12, .top = 26, .bottom = height - 44 };
    bounds(f, &plot);
    if (!bl_plot_reserve(&plot, f->r->page.arena, 3 * f->n + 16)) f->r->page.failed = true;
    if (f->r->page.failed) return;
    bl_plot_axes(&plot, "EBOPs, thousands", f->tested ? "test accuracy, %" : "held-out accuracy, %");
    if (isfinite(f->flt)) {
        double y = bl_plot_y(&plot, f->flt);
        bl_page_put(plot.page, "<path class=\"guide\" d=\"M%.1f %.1fL%.1f %.1f\"/>\n", plot.left, y, plot.right, y);
    }
    bl_page_raw(plot.page, "<path class=\"front\" d=\"");
    for (size_t p = 0; p < f->n; p++)
        bl_page_put(plot.page, "%c%.1f %.1f", p ? 'L' : 'M', bl_plot_x(&plot, number(f, p, "ebops1") / 1000),
                    bl_plot_y(&plot, height_of(f, p)));
    bl_page_raw(plot.page, "\"/>\n");
    marks(f, &plot);
    if (isfinite(f->flt)) bl_plot_write(&plot, "dim", plot.left + 5, bl_plot_y(&plot, f->flt) + 2, "float");
}

static void picture(const front *f)
{
    static const struct {
        const char *class;
        double width, height;
    } sizes[] = { { "wide", 620, 380 }, { "narrow", 330, 320 } };
    bl_page *o = &f->r->page;
    bl_part_open(f->r, "front", "Accuracy against effective bit operations");
    bl_page_raw(o, "<figure>\n");
    for (size_t i = 0; i < BL_COUNTOF(sizes); i++) {
        bl_svg_open(o, sizes[i].class, sizes[i].width, sizes[i].height, "Accuracy against EBOPs");
        draw(f, sizes[i].width, sizes[i].height);
        bl_svg_close(o);
    }
    bl_page_raw(o, "<figcaption>Each dot is the end of a cycle that no other beats in held-out accuracy and EBOPs; the dashed "
                   "line is the float network. Test rows chose nothing.</figcaption></figure>\n");
    bl_part_close(f->r);
}

static void cell(const front *f, size_t p, const char *key, double by, const char *format)
{
    char text[BL_SHOW];
    double v = by * number(f, p, key);
    snprintf(text, sizeof text, strcmp(format, "%.2f") ? (strcmp(format, "%.0f") ? "%.3g" : "%.0f") : "%.2f", v);
    bl_part_cell(f->r, v, text, "");
}

static void table(const front *f)
{
    bl_page *o = &f->r->page;
    bl_part_open(f->r, "points", "Points");
    bl_page_raw(o, "<div class=\"scroll\"><table class=\"sortable\"><thead><tr><th scope=\"col\">cycle</th><th scope=\"col\">EBOPs</th>"
                   "<th scope=\"col\">version 2</th><th scope=\"col\">held out, %</th><th scope=\"col\">test, %</th>"
                   "<th scope=\"col\">weights left</th><th scope=\"col\">widest sum, bits</th><th scope=\"col\">price</th>"
                   "</tr></thead>\n<tbody>\n");
    for (size_t p = 0; p < f->n; p++) {
        bl_page_put(o, "<tr class=\"%s\"><th scope=\"row\">%.0f</th>", (long)p == f->chosen ? "chosen" : "", number(f, p, "cycle"));
        cell(f, p, "ebops1", 1, "%.0f");
        cell(f, p, "ebops2", 1, "%.0f");
        cell(f, p, "held_out_top1", 100, "%.2f");
        cell(f, p, "test_top1", 100, "%.2f");
        cell(f, p, "weights_left", 1, "%.0f");
        cell(f, p, "sum_bits", 1, "%.0f");
        cell(f, p, "beta", 1, "%.3g");
        bl_page_raw(o, "</tr>\n");
    }
    bl_page_raw(o, "</tbody></table></div>\n");
    bl_part_close(f->r);
}

static void integers(const front *f)
{
    static const char *const parts[] = { "held_out", "test" }, *const names[] = { "held-out rows", "test rows" };
    if (!bl_figure_at(f->record, "integers")) return;
    bl_part_open(f->r, "integers", "The chosen network on integers alone");
    bl_page_raw(&f->r->page, "<dl class=\"facts\">\n");
    for (size_t i = 0; i < BL_COUNTOF(parts); i++) {
        const json_t *a = bl_figure_at(bl_figure_at(f->record, "integers"), parts[i]);
        char text[160];
        if (!(bl_figure_num(a, "rows") > 0)) continue;
        snprintf(text, sizeof text, "%.0f of %.0f outputs differ from the training's forward pass; %.2f %% right", bl_figure_num(a, "differ"),
                 bl_figure_num(a, "outputs"), 100 * bl_figure_num(a, "right") / bl_figure_num(a, "rows"));
        bl_part_fact(f->r, names[i], text);
    }
    bl_page_raw(&f->r->page, "</dl>\n");
    bl_part_close(f->r);
}

static void write_page(const front *f)
{
    bl_page *o = &f->r->page;
    const char *model = bl_figure_text(f->record, "model");
    bl_page_raw(o, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n");
    bl_page_raw(o, bl_report_meta);
    bl_page_put(o, "<title>%s \xC2\xB7 bitlathe</title>\n<style>\n", model ? model : "a front");
    bl_page_raw(o, bl_report_style);
    bl_page_raw(o, "</style>\n</head>\n<body>\n<main>\n");
    bl_page_put(o, "<header><h1>%s</h1>\n<p>Bits learned by gradient, recipe %s: %zu points on the front%s.", model ? model : "",
                bl_figure_text(f->record, "recipe") ? bl_figure_text(f->record, "recipe") : "", f->n,
                json_is_true(bl_figure_at(f->record, "done")) ? "" : " so far");
    if (isfinite(f->flt)) bl_page_put(o, " Float: %.2f %%.", f->flt);
    bl_page_raw(o, "</p></header>\n");
    picture(f);
    table(f);
    integers(f);
    bl_page_raw(o, "</main>\n<script>\n");
    bl_page_raw(o, bl_report_script);
    bl_page_raw(o, "</script>\n</body>\n</html>\n");
}

bl_status bl_front_write(bl_ctx *ctx, const json_t *record, const char *path)
{
    bl_report r;
    front f = { .r = &r, .record = record, .points = bl_figure_at(record, "points") };
    f.n = json_array_size(f.points);
    if (!f.n) return bl_fail(ctx, BL_DATA, path, "give the front.json of a training", "there is no point to show");
    BL_TRY(bl_report_begin(ctx, &(bl_report_input){ 0 }, &r));
    f.tested = isfinite(number(&f, 0, "test_top1"));
    f.flt = 100 * bl_figure_num(record, f.tested ? "float.test_top1" : "float.held_out_top1");
    f.chosen = isfinite(bl_figure_num(record, "chosen")) ? (long)bl_figure_num(record, "chosen") : -1;
    write_page(&f);
    return bl_report_end(&r, path, true);
}
