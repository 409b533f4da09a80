/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Predicted against measured time: layer by layer and in total; and what the chip gains from narrow
 * widths, operator shape by operator shape, as the cost record has it.
 */
#include "emit/report_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool timed(const bl_layer *l)
{
    return l->predicted_us > 0 && l->measured_us > 0;
}

/* ------------------------------------------------------------------ layers */

static void fit(const bl_report *r, bl_plot *p)
{
    double lo = INFINITY, hi = 0;
    for (size_t i = 0; i < r->n_layers; i++) {
        const bl_layer *l = &r->layers[i];
        if (!timed(l)) continue;
        lo = fmin(lo, fmin(l->predicted_us, l->measured_us));
        hi = fmax(hi, fmax(l->predicted_us, l->measured_us));
    }
    lo = fmax(lo, 1e-6);
    hi = fmin(fmax(hi, lo), 1e15);
    bl_plot_pad(&lo, &hi, 0.06, true);
    p->x_lo = p->y_lo = lo;
    p->x_hi = p->y_hi = hi;
}

/* The diagonal, and a band of a quarter of the value on either side of it. */
static void draw_diagonal(const bl_plot *p)
{
    double lo = p->x_lo, hi = p->x_hi, off = 1.25;
    bl_page_put(p->page,
                "<path class=\"band\" d=\"M%.1f %.1fL%.1f %.1fL%.1f %.1fL%.1f %.1fL%.1f %.1fL%.1f "
                "%.1fz\"/>",
                bl_plot_x(p, lo), bl_plot_y(p, lo), bl_plot_x(p, lo), bl_plot_y(p, lo * off),
                bl_plot_x(p, hi / off), bl_plot_y(p, hi), bl_plot_x(p, hi), bl_plot_y(p, hi),
                bl_plot_x(p, hi), bl_plot_y(p, hi / off), bl_plot_x(p, lo * off), bl_plot_y(p, lo));
    bl_page_put(p->page, "<path class=\"guide\" d=\"M%.1f %.1fL%.1f %.1f\"/>\n", bl_plot_x(p, lo),
                bl_plot_y(p, lo), bl_plot_x(p, hi), bl_plot_y(p, hi));
}

static void scatter(bl_report *r, const char *class, double width, double height)
{
    bl_plot p = {.page = &r->page,
                 .left = 46,
                 .right = width - 12,
                 .top = 26,
                 .bottom = height - 46,
                 .logarithmic = true};
    if (!bl_plot_reserve(&p, r->page.arena, 2 * r->n_layers)) r->page.failed = true;
    if (r->page.failed) return;
    fit(r, &p);
    bl_svg_open(&r->page, class, width, height, "Measured against predicted time of each layer");
    bl_plot_axes(&p, "predicted, \xC2\xB5s", "measured, \xC2\xB5s");
    draw_diagonal(&p);
    for (size_t i = 0; i < r->n_layers; i++) {
        const bl_layer *l = &r->layers[i];
        char was[BL_SHOW], is[BL_SHOW], off[BL_SHOW];
        if (!timed(l)) continue;
        char *tip = bl_format(r->page.arena, "#%zu %s\npredicted %s\nmeasured %s (%s %%)", i + 1,
                              l->name, bl_show_ms(l->predicted_us / 1000, was),
                              bl_show_ms(l->measured_us / 1000, is),
                              bl_show_signed((l->measured_us / l->predicted_us - 1) * 100, 1, off));
        if (tip)
            bl_plot_mark(&p, BL_DOT, "best", bl_plot_x(&p, l->predicted_us),
                         bl_plot_y(&p, l->measured_us), tip);
        else
            r->page.failed = true;
    }
    bl_svg_close(&r->page);
}

static void say_total(bl_report *r)
{
    double predicted = 0, measured = 0, worst = 0;
    const bl_layer *missed = NULL;
    char was[BL_SHOW], is[BL_SHOW], off[BL_SHOW];
    for (size_t i = 0; i < r->n_layers; i++) {
        const bl_layer *l = &r->layers[i];
        if (!timed(l)) continue;
        predicted += l->predicted_us / 1000;
        measured += l->measured_us / 1000;
        if (fabs(l->measured_us - l->predicted_us) <= worst) continue;
        worst = fabs(l->measured_us - l->predicted_us);
        missed = l;
    }
    bl_page_put(&r->page,
                "<figcaption>A dot on the line was predicted exactly; above it the layer is "
                "slower than predicted. The band is a quarter of the value on either side. The "
                "layers shown add up to %s predicted",
                bl_show_ms(predicted, was));
    bl_page_put(&r->page, " and %s measured: <b>%s&nbsp;%%</b>.", bl_show_ms(measured, is),
                bl_show_signed((measured / predicted - 1) * 100, 1, off));
    if (missed)
        bl_page_put(&r->page, " The largest difference is %s: %s predicted, %s measured.",
                    missed->name, bl_show_ms(missed->predicted_us / 1000, was),
                    bl_show_ms(missed->measured_us / 1000, is));
    bl_page_raw(&r->page, "</figcaption>\n");
}

/* ------------------------------------------------------------------ whole networks */

static bool has_both(const bl_row *row)
{
    return row->predicted_ms > 0 && row->latency_ms > 0;
}

static void error_cell(bl_report *r, double predicted, double measured)
{
    char text[BL_SHOW];
    double off = (predicted / measured - 1) * 100;
    bl_show_signed(off, 1, text);
    bl_part_cell(r, off, strcat(text, "\xC2\xA0%"), "");
}

static void totals(bl_report *r)
{
    static const char *const columns[] = {
        "whole network",  "predicted", "measured median", "error", "p10 \xE2\x80\x93 p90",
        "lower quartile", "error"};
    bl_page_raw(&r->page, "<div class=\"scroll\"><table class=\"sort\">\n<thead><tr>");
    for (size_t c = 0; c < BL_COUNTOF(columns); c++)
        bl_page_put(&r->page, "<th scope=\"col\">%s</th>", columns[c]);
    bl_page_raw(&r->page, "</tr></thead>\n<tbody>\n");
    for (size_t i = 0; i < r->n_rows; i++) {
        const bl_row *row = &r->rows[i];
        char text[BL_SHOW], high[BL_SHOW];
        if (!has_both(row)) continue;
        bl_part_row(r, row);
        bl_part_cell(r, row->predicted_ms, bl_show_ms(row->predicted_ms, text), "");
        bl_part_cell(r, row->latency_ms, bl_show_ms(row->latency_ms, text), "");
        error_cell(r, row->predicted_ms, row->latency_ms);
        if (isfinite(row->latency_p10_ms) && isfinite(row->latency_p90_ms))
            bl_page_put(&r->page, "<td data-v=\"%.17g\">%s \xE2\x80\x93 %s</td>",
                        row->latency_p10_ms, bl_show_ms(row->latency_p10_ms, text),
                        bl_show_ms(row->latency_p90_ms, high));
        else
            bl_part_cell(r, NAN, "", "");
        bl_part_cell(r, row->latency_q1_ms, bl_show_ms(row->latency_q1_ms, text), "");
        error_cell(r, row->predicted_ms, row->latency_q1_ms);
        bl_page_raw(&r->page, "</tr>\n");
    }
    bl_page_raw(&r->page,
                "</tbody></table></div>\n<p class=\"caption\">The prediction for the whole "
                "network beside the clock: an error is how far the prediction lies above (+) or "
                "below (\xE2\x88\x92) the measurement. Predictions add up lower quartiles of "
                "single operators, so the last error compares like with like; the first one also "
                "holds what other programs on the machine took.</p>\n");
}

/* ------------------------------------------------------------------ shapes and widths */

typedef struct shape {
    const char *key;
    double ns8, ns; /* at 8 bits, and the least at narrower widths; NAN: not measured */
    double tie;     /* relative difference that the clock cannot tell apart for this shape */
    double wait;    /* at 8 bits: time with weights where the network's are, to that with weights in L2; NAN: none */
    int w_bits, a_bits;
} shape;

/* A fifth of the time is waiting for weights, as `measure` has it. */
#define WAITS 1.25

/* Key of the times in the state that the network's weights are in: "l3", "dram"; NULL: L2 or not said. */
static const char *far_key(const json_t *cost)
{
    const char *state = bl_figure_text(json_array_get(bl_figure_at(cost, "checks"), 0), "state");
    return !state ? NULL : !strcmp(state, "L3") ? "l3" : !strcmp(state, "DRAM") ? "dram" : NULL;
}

static void shape_see(shape *s, const json_t *cell, const char *far)
{
    double q1 = bl_figure_num(cell, "q1_ns"), ns = q1 > 0 ? q1 : bl_figure_num(cell, "median_ns");
    int w = (int)fmin(fmax(bl_figure_num(cell, "w_bits"), 0), 64);
    int a = (int)fmin(fmax(bl_figure_num(cell, "a_in_bits"), 0), 64);
    bool narrow = (w > 0 && w < 8) || (a > 0 && a < 8);
    if (!(ns > 0) || w > 8 || a > 8) return;
    if (narrow && !(s->ns <= ns)) {
        s->ns = ns;
        s->w_bits = w;
        s->a_bits = a;
    }
    if (narrow || bl_figure_num(cell, "a_out_bits") < 8) return;
    if (!(s->ns8 <= ns)) {
        double there = far ? bl_figure_num(bl_figure_at(cell, far), "q1_ns") : NAN;
        s->wait = w > 0 ? (there > 0 ? there / ns : 1) : NAN;
        s->ns8 = ns;
    }
}

/* Shapes in the order of the record; NULL when none or out of memory. */
static shape *shapes_gather(bl_report *r, size_t *n)
{
    const json_t *cells = bl_figure_at(r->in.cost, "cells");
    const char *far = far_key(r->in.cost);
    json_t *index = json_object();
    shape *list = BL_NEW(r->page.arena, shape, json_array_size(cells));
    if (!list || !index) r->page.failed = true;
    *n = 0;
    for (size_t i = 0; i < json_array_size(cells) && !r->page.failed; i++) {
        const json_t *cell = json_array_get(cells, i);
        const char *key = bl_figure_text(cell, "key");
        if (!key) continue;
        const json_t *known = json_object_get(index, key);
        size_t at = known ? (size_t)json_integer_value(known) : *n;
        if (!known) {
            list[(*n)++] = (shape){.key = key, .ns8 = NAN, .ns = NAN, .wait = NAN, .tie = BL_REPORT_TIE};
            json_object_set_new(index, key, json_integer((json_int_t)at));
        }
        shape_see(&list[at], cell, far);
    }
    const json_t *groups = bl_figure_at(r->in.cost, "groups");
    for (size_t i = 0; i < json_array_size(groups) && !r->page.failed; i++) {
        const json_t *o = json_array_get(groups, i);
        const char *key = bl_figure_text(o, "key");
        const json_t *known = key ? json_object_get(index, key) : NULL;
        shape *s = known ? &list[json_integer_value(known)] : NULL;
        if (s) s->tie = fmax(s->tie, bl_figure_num(o, "aa_spread"));
    }
    json_decref(index);
    return r->page.failed ? NULL : list;
}

static bool comparable(const shape *s)
{
    return isfinite(s->ns / s->ns8);
}

static void shape_rows(bl_report *r, const shape *list, size_t n)
{
    static const char *const columns[] = {"operator shape", "8 bits", "fastest below", "ratio",
                                          "at", "bound by"};
    bl_page_raw(&r->page, "<div class=\"scroll tall\"><table class=\"sort\">\n<thead><tr>");
    for (size_t c = 0; c < BL_COUNTOF(columns); c++)
        bl_page_put(&r->page, "<th scope=\"col\">%s</th>", columns[c]);
    bl_page_raw(&r->page, "</tr></thead>\n<tbody>\n");
    for (size_t i = 0; i < n; i++) {
        const shape *s = &list[i];
        char text[BL_SHOW];
        if (!comparable(s)) continue;
        bl_page_put(&r->page, "<tr><th scope=\"row\" title=\"%s\">%s</th>", s->key, s->key);
        bl_part_cell(r, s->ns8, bl_show_ms(s->ns8 * 1e-6, text), "");
        bl_part_cell(r, s->ns, bl_show_ms(s->ns * 1e-6, text), "");
        snprintf(text, sizeof text, "%.2f", fmin(s->ns / s->ns8, 1e6));
        bl_part_cell(r, s->ns / s->ns8, text, "");
        if (s->w_bits)
            bl_page_put(&r->page, "<td>W%dA%d</td>", s->w_bits, s->a_bits);
        else
            bl_page_put(&r->page, "<td>A%d</td>", s->a_bits);
        bl_page_put(&r->page, "<td>%s</td></tr>\n",
                    isnan(s->wait) ? "" : s->wait > WAITS ? "weights" : "computing");
    }
    bl_page_raw(
        &r->page,
        "</tbody></table></div>\n<p class=\"caption\">Time of one operator by itself, with 8 "
        "bits and with the fewer bits that are fastest; a ratio below 1 is a gain. Bound by weights: at 8 "
        "bits a fifth of the time or more is waiting for weights from where the network's are, so that fewer "
        "bits of them can help whatever the kernel; bound by computing: only a kernel that computes faster on "
        "narrow widths can.</p></div>\n");
}

static void shapes(bl_report *r, const shape *list, size_t n)
{
    size_t both = 0, gain = 0, computing = 0, weights = 0;
    for (size_t i = 0; i < n; i++) {
        bool gains = list[i].ns < list[i].ns8 * (1 - list[i].tie);
        if (!comparable(&list[i])) continue;
        both++;
        gain += gains;
        computing += !gains && list[i].wait <= WAITS;
        weights += !gains && list[i].wait > WAITS;
    }
    bl_page_raw(&r->page, "<div><h3>What narrow widths gain on this target</h3>\n<p>");
    if (gain)
        bl_page_put(&r->page, "%zu of %zu operator shapes run", gain, both);
    else
        bl_page_put(&r->page, "None of the %zu operator shapes runs", both);
    bl_page_put(&r->page,
                " faster with fewer than 8 bits by more than the clock leaves open (%.0f&nbsp;%%, "
                "or the difference of two equal runs).%s",
                BL_REPORT_TIE * 100, gain ? "" : " Fewer bits save bytes here, not time.");
    if (computing + weights)
        bl_page_put(&r->page, " Of the layers that gain none, %zu are bound by computing, %zu by streaming weights.",
                    computing, weights);
    bl_page_raw(&r->page, "</p>\n");
    shape_rows(r, list, n);
}

void bl_part_latency(bl_report *r)
{
    size_t n = 0;
    const shape *list = shapes_gather(r, &n);
    bool layers = false, rows = false, widths = false;
    for (size_t i = 0; i < r->n_layers; i++) layers |= timed(&r->layers[i]);
    for (size_t i = 0; i < r->n_rows; i++) rows |= has_both(&r->rows[i]);
    for (size_t i = 0; i < n; i++) widths |= comparable(&list[i]);
    if (!layers && !rows && !widths) return;
    bl_part_open(r, "latency", "Time: predicted and measured");
    if (rows) totals(r);
    bl_page_raw(&r->page, "<div class=\"pair\">\n");
    if (layers) {
        bl_page_raw(&r->page, "<figure><h3>Layer by layer</h3>\n");
        scatter(r, "wide", 470, 410);
        scatter(r, "narrow", 330, 330);
        say_total(r);
        bl_page_raw(&r->page, "</figure>\n");
    }
    if (widths) shapes(r, list, n);
    bl_page_raw(&r->page, "</div>\n");
    bl_part_close(r);
}
