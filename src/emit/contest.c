/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Many plans of one network on one page: for each target accuracy against latency, size and energy, a line a
 * recipe, and all figures in a table.  Points that no other beats in both are joined by the front.
 */
#include "emit/report_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SERIES_MAX = 8, POINTS_MAX = 512, WIDTH = 560, HEIGHT = 380 };

typedef struct spot { double x, y; int series; const char *tip; } spot;

typedef struct view {
    bl_report *r;
    const json_t *points;
    const char *target;
    const char *series[SERIES_MAX];
    int n_series;
    bool accuracy;              /* top-1; else SQNR */
} view;

static const char style[] =
    ".mark.s0,.key.s0{fill:#0068a8;background:#0068a8}.mark.s1,.key.s1{fill:#c27400;background:#c27400}"
    ".mark.s2,.key.s2{fill:#bf3a00;background:#bf3a00}.mark.s3,.key.s3{fill:#007a5e;background:#007a5e}"
    ".mark.s4,.key.s4{fill:#a0509c;background:#a0509c}.mark.s5,.key.s5{fill:#4b6bd6;background:#4b6bd6}"
    ".mark.s6,.key.s6{fill:#7a7a00;background:#7a7a00}.mark.s7,.key.s7{fill:#808790;background:#808790}\n";

static int series_of(view *v, const char *name)
{
    for (int i = 0; i < v->n_series; i++)
        if (!strcmp(v->series[i], name)) return i;
    if (v->n_series == SERIES_MAX) return SERIES_MAX - 1;
    v->series[v->n_series] = name;
    return v->n_series++;
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *t = bl_figure_text(o, key);
    return t ? t : "";
}

static double quality(const view *v, const json_t *point)
{
    return v->accuracy ? 100 * bl_figure_num(point, "top1") : bl_figure_num(point, "sqnr_db");
}

static int gather(view *v, const char *cost, double scale, spot *out)
{
    const json_t *point;
    size_t i;
    int n = 0;
    json_array_foreach(v->points, i, point) {
        double x = scale * bl_figure_num(point, cost), y = quality(v, point);
        if (strcmp(text_of(point, "target"), v->target) || !isfinite(x) || !isfinite(y) || n == POINTS_MAX) continue;
        char *tip = bl_format(v->r->page.arena, "%s %s: %.4g, %.2f", text_of(point, "series"), text_of(point, "budget"), x, y);
        out[n++] = (spot){ x, y, series_of(v, text_of(point, "series")), tip ? tip : "" };
    }
    return n;
}

static int by_x(const void *a, const void *b)
{
    const spot *s = a, *t = b;
    if (s->x != t->x) return s->x < t->x ? -1 : 1;
    return (s->y < t->y) - (s->y > t->y);
}

static void draw_front(bl_plot *p, const spot *s, int n)
{
    double best = -INFINITY;
    bool open = false;
    double last_x = 0, last_y = 0;
    for (int i = 0; i < n; i++) {
        if (!(s[i].y > best)) continue;
        double x = bl_plot_x(p, s[i].x), y = bl_plot_y(p, s[i].y);
        if (!open) bl_page_put(p->page, "<path class=\"front\" d=\"M%.1f %.1f", x, y);
        else bl_page_put(p->page, "H%.1fV%.1f", x, y);
        if (open) { /* labels keep off the line where they can */
            bl_plot_take(p, (bl_box){ last_x, last_y - 2, x, last_y + 2, true });
            bl_plot_take(p, (bl_box){ x - 2, y, x + 2, last_y, true });
        }
        last_x = x;
        last_y = y;
        open = true;
        best = s[i].y;
    }
    if (open) {
        bl_page_put(p->page, "H%.1f\"/>\n", p->right);
        bl_plot_take(p, (bl_box){ last_x, last_y - 2, p->right, last_y + 2, true });
    }
}

static bool plot(view *v, const char *title, const char *axis, const char *cost, double scale)
{
    static const bl_mark_kind kinds[] = { BL_DOT, BL_SQUARE, BL_DIAMOND };
    bl_page *o = &v->r->page;
    spot *s = BL_NEW(o->arena, spot, POINTS_MAX);
    int n = s ? gather(v, cost, scale, s) : 0;
    if (n < 2) return false;
    qsort(s, (size_t)n, sizeof *s, by_x);
    bl_plot p = { .page = o, .left = 52, .right = WIDTH - 14, .top = 30, .bottom = HEIGHT - 46, .x_lo = s[0].x, .x_hi = s[n - 1].x,
                  .y_lo = s[0].y, .y_hi = s[0].y };
    for (int i = 0; i < n; i++) {
        p.y_lo = fmin(p.y_lo, s[i].y);
        p.y_hi = fmax(p.y_hi, s[i].y);
    }
    bl_plot_pad(&p.x_lo, &p.x_hi, 0.06, false);
    bl_plot_pad(&p.y_lo, &p.y_hi, 0.08, false);
    if (!bl_plot_reserve(&p, o->arena, 8 * (size_t)n + 16)) return false;
    bl_page_put(o, "<figure><h3>%s</h3>", title);
    bl_svg_open(o, "", WIDTH, HEIGHT, title);
    bl_plot_axes(&p, axis, v->accuracy ? "top-1, %" : "SQNR, dB");
    draw_front(&p, s, n);
    for (int i = 0; i < n; i++) {
        char class[8];
        snprintf(class, sizeof class, "s%d", s[i].series);
        bl_plot_mark(&p, kinds[s[i].series % 3], class, bl_plot_x(&p, s[i].x), bl_plot_y(&p, s[i].y), s[i].tip);
    }
    for (int k = 0; k < v->n_series; k++) /* one label a series, at its best point */
        for (int i = n - 1; i >= 0; i--)
            if (s[i].series == k) {
                bl_plot_label(&p, "dim", bl_plot_x(&p, s[i].x), bl_plot_y(&p, s[i].y), v->series[k]);
                break;
            }
    bl_svg_close(o);
    bl_page_raw(o, "</figure>\n");
    return true;
}

static void table_cell(bl_report *r, double v, const char *format)
{
    char text[BL_SHOW];
    snprintf(text, sizeof text, format, v);
    bl_part_cell(r, v, text, "");
}

static void table(view *v)
{
    bl_report *r = v->r;
    const json_t *point;
    size_t i;
    bl_page_raw(&r->page, "<div class=\"scroll\"><table><thead><tr><th>recipe</th><th>budget</th><th>top-1, %</th><th>SQNR, dB</th>"
                          "<th>KiB</th><th>ms</th><th>mJ</th><th>seconds</th></tr></thead><tbody>\n");
    json_array_foreach(v->points, i, point) {
        if (strcmp(text_of(point, "target"), v->target)) continue;
        bl_page_put(&r->page, "<tr><th scope=\"row\"><span class=\"key s%d\"></span>%s</th><td>%s%s</td>", series_of(v, text_of(point, "series")),
                    text_of(point, "series"), text_of(point, "budget"), json_is_false(json_object_get(point, "feasible")) ? ", not kept" : "");
        table_cell(r, 100 * bl_figure_num(point, "top1"), "%.2f");
        table_cell(r, bl_figure_num(point, "sqnr_db"), "%.2f");
        table_cell(r, bl_figure_num(point, "size_bytes") / 1024, "%.1f");
        table_cell(r, bl_figure_num(point, "latency_ms"), "%.4g");
        table_cell(r, bl_figure_num(point, "energy_mj"), "%.4g");
        table_cell(r, bl_figure_num(point, "seconds"), "%.1f");
        bl_page_raw(&r->page, "</tr>\n");
    }
    bl_page_raw(&r->page, "</tbody></table></div>\n");
}

static void target_part(view *v)
{
    bl_page *o = &v->r->page;
    bl_page_put(o, "<section><h2>%s</h2>\n<div class=\"pair\">", v->target);
    bool any = plot(v, "Accuracy against latency", "latency, ms", "latency_ms", 1);
    any |= plot(v, "Accuracy against energy", "energy, mJ", "energy_mj", 1);
    any |= plot(v, "Accuracy against size", "weights, KiB", "size_bytes", 1.0 / 1024);
    if (!any) bl_page_raw(o, "<p>Too few figures for a picture.</p>");
    bl_page_raw(o, "</div>\n");
    table(v);
    bl_page_raw(o, "</section>\n");
}

static bool seen_before(const json_t *points, size_t at, const char *target)
{
    for (size_t i = 0; i < at; i++)
        if (!strcmp(text_of(json_array_get(points, i), "target"), target)) return true;
    return false;
}

bl_status bl_contest_page(bl_ctx *ctx, const json_t *contest, const char *path)
{
    bl_report_input in = { .summary = contest };
    bl_report r;
    const json_t *points = json_object_get(contest, "points"), *point;
    size_t i;
    BL_TRY(bl_report_begin(ctx, &in, &r));
    view v = { .r = &r, .points = points };
    json_array_foreach(points, i, point) v.accuracy |= isfinite(bl_figure_num(point, "top1"));
    bl_page *o = &r.page;
    const char *model = text_of(contest, "model");
    bl_page_raw(o, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                   "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                   "<meta name=\"color-scheme\" content=\"light dark\">\n"
                   "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
                   "form-action 'none'\">\n");
    bl_page_put(o, "<title>%s \xC2\xB7 bitlathe compare</title>\n<style>\n", model);
    bl_page_raw(o, bl_report_style);
    bl_page_raw(o, style);
    bl_page_put(o, "</style>\n</head>\n<body>\n<main>\n<h1>%s: recipes beside each other</h1>\n", model);
    double flt = bl_figure_num(contest, "float_top1");
    if (isfinite(flt)) bl_page_put(o, "<p>The float network has %.2f %% of these samples right.</p>\n", 100 * flt);
    bl_page_raw(o, "<p class=\"caption\">Each point is a plan; the line joins those that no other beats in both. Seconds: from the model "
                   "to the tuned plan, less where an earlier budget left its records.</p>\n");
    json_array_foreach(points, i, point)
        if (!seen_before(points, i, text_of(point, "target"))) {
            v.target = text_of(point, "target");
            target_part(&v);
        }
    bl_page_raw(o, "</main>\n</body>\n</html>\n");
    return bl_report_end(&r, path, true);
}
