/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Many plans of one network on one page: for each target accuracy against latency, size and energy, and all figures in a
 * table; then accuracy against effective bit operations, which depend on no target.  Points that no other beats in both
 * are joined by the front.
 */
#include "emit/report_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SERIES_MAX = 8, POINTS_MAX = 512, WIDTH = 560, NARROW = 340, HEIGHT = 380 };
#define WIDE 8.0                /* times as dear as the cheapest is the dearest: the axis is a logarithm */
#define FAR 3.0                 /* times as far below the best as three quarters of the plans are: below the picture */

typedef struct spot { double x, y; int series; const char *tip; } spot;

typedef struct view {
    bl_report *r;
    const json_t *points;
    const char *target;         /* NULL: all of them */
    const char *series[SERIES_MAX];
    int n_series;
    bool accuracy;              /* top-1; else SQNR */
    double flt;                 /* top-1 of the float network, %; NaN: not known */
} view;

#define SERIES_RULES(c0, c1, c2, c3, c4, c5, c6, c7)                                              \
    "main{--s0:" c0 ";--s1:" c1 ";--s2:" c2 ";--s3:" c3 ";--s4:" c4 ";--s5:" c5 ";--s6:" c6 ";--s7:" c7 "}"
#define SERIES(n) ".mark.s" n ",.key.s" n ",.fill.s" n "{fill:var(--s" n ");background:var(--s" n ")}.way.s" n "{stroke:var(--s" n ")}"
static const char style[] =
    SERIES_RULES("#0068a8", "#b86e00", "#bf3a00", "#007a5e", "#a0509c", "#4b6bd6", "#7a7a00", "#808790") "\n"
    "@media(prefers-color-scheme:dark){" SERIES_RULES("#5ab3f0", "#f0b24a", "#ff8058", "#3fc79f", "#d690d2", "#93a9ff", "#c9c94e", "#a9b0b8") "}\n"
    SERIES("0") SERIES("1") SERIES("2") SERIES("3") SERIES("4") SERIES("5") SERIES("6") SERIES("7") "\n"
    ".way{fill:none;stroke-width:1.8;opacity:.75}.front{stroke-dasharray:2 4;stroke-width:1.4}\n"
    ".kinds td{text-align:left}.kinds small{display:block}\n";

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
        if ((v->target && strcmp(text_of(point, "target"), v->target)) || !isfinite(x) || !isfinite(y) || n == POINTS_MAX) continue;
        if (json_is_false(json_object_get(point, "feasible"))) continue; /* the table says so */
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
        if (!(s[i].y > best) || s[i].y < p->y_lo) continue;
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

static int falling(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* Where the picture begins: one plan that has lost everything does not press the others together. */
static double lowest(const bl_plot *p, const spot *s, int n, double *sorted)
{
    double low = s[0].y;
    for (int i = 0; i < n; i++) {
        sorted[i] = s[i].y;
        low = fmin(low, s[i].y);
    }
    qsort(sorted, (size_t)n, sizeof *sorted, falling);
    return fmax(low, p->y_hi - FAR * (p->y_hi - sorted[3 * (n - 1) / 4]));
}

/* In the frame, or at its foot. */
static double foot(const bl_plot *p, double y)
{
    return fmin(bl_plot_y(p, y), p->bottom - 4);
}

/* What a recipe reaches as its budget grows. */
static void draw_way(bl_plot *p, const spot *s, int n, int series)
{
    int drawn = 0;
    for (int i = 0; i < n; i++) {
        if (s[i].series != series) continue;
        if (!drawn++) bl_page_put(p->page, "<path class=\"way s%d\" d=\"M", series);
        else bl_page_raw(p->page, "L");
        bl_page_put(p->page, "%.1f %.1f", bl_plot_x(p, s[i].x), foot(p, s[i].y));
    }
    if (drawn) bl_page_raw(p->page, "\"/>\n");
}

static void draw_float(bl_plot *p, double accuracy)
{
    double y = bl_plot_y(p, accuracy);
    bl_page_put(p->page, "<path class=\"guide\" d=\"M%.1f %.1fH%.1f\"/>\n", p->left, y, p->right);
    bl_plot_take(p, (bl_box){ p->left, y - 2, p->right, y + 2, true });
    bl_plot_write(p, "dim", p->left + 4, y - BL_LABEL_HEIGHT - 2, "float network");
}

static bool picture(view *v, const char *class, double width, const char *title, const char *axis, const char *cost, double scale)
{
    static const bl_mark_kind kinds[] = { BL_DOT, BL_SQUARE, BL_DIAMOND };
    bl_page *o = &v->r->page;
    spot *s = BL_NEW(o->arena, spot, POINTS_MAX);
    double *sorted = BL_NEW(o->arena, double, POINTS_MAX);
    int n = s && sorted ? gather(v, cost, scale, s) : 0;
    if (n < 2) return false;
    qsort(s, (size_t)n, sizeof *s, by_x);
    bl_plot p = { .page = o, .left = 52, .right = width - 14, .top = 30, .bottom = HEIGHT - 46, .x_lo = s[0].x, .x_hi = s[n - 1].x,
                  .y_lo = s[0].y, .y_hi = s[0].y };
    if (v->accuracy && isfinite(v->flt)) p.y_hi = v->flt;
    for (int i = 0; i < n; i++) p.y_hi = fmax(p.y_hi, s[i].y);
    p.y_lo = lowest(&p, s, n, sorted);
    p.x_logarithmic = p.x_lo > 0 && p.x_hi > WIDE * p.x_lo;
    bl_plot_pad(&p.x_lo, &p.x_hi, 0.06, p.x_logarithmic);
    bl_plot_pad(&p.y_lo, &p.y_hi, 0.08, false);
    if (!bl_plot_reserve(&p, o->arena, 10 * (size_t)n + 32)) return false;
    bl_svg_open(o, class, width, HEIGHT, title);
    bl_plot_axes(&p, axis, v->accuracy ? "top-1, %" : "SQNR, dB");
    if (v->accuracy && isfinite(v->flt)) draw_float(&p, v->flt);
    draw_front(&p, s, n);
    for (int k = 0; k < v->n_series; k++) draw_way(&p, s, n, k);
    for (int i = 0; i < n; i++) {
        char mark[16];
        snprintf(mark, sizeof mark, "s%d", s[i].series);
        bl_plot_mark(&p, kinds[s[i].series % 3], mark, bl_plot_x(&p, s[i].x), foot(&p, s[i].y), s[i].tip);
        if (s[i].y < p.y_lo) {
            char below[BL_SHOW];
            snprintf(below, sizeof below, "\xE2\x86\x93 %.4g", s[i].y);
            bl_plot_label(&p, "dim", bl_plot_x(&p, s[i].x), foot(&p, s[i].y), below);
        }
    }
    for (int k = 0; k < v->n_series; k++) /* one label a series, at its cheapest point: there they lie furthest apart */
        for (int i = 0; i < n; i++)
            if (s[i].series == k && s[i].y >= p.y_lo) {
                bl_plot_label(&p, "dim", bl_plot_x(&p, s[i].x), foot(&p, s[i].y), v->series[k]);
                break;
            }
    bl_svg_close(o);
    return true;
}

static bool plot(view *v, const char *title, const char *axis, const char *cost, double scale)
{
    bl_page *o = &v->r->page;
    spot *s = BL_NEW(o->arena, spot, POINTS_MAX);
    if (!s || gather(v, cost, scale, s) < 2) return false;
    bl_page_put(o, "<figure><h3>%s</h3>", title);
    bool drawn = picture(v, "wide", WIDTH, title, axis, cost, scale) && picture(v, "narrow", NARROW, title, axis, cost, scale);
    bl_page_raw(o, "</figure>\n");
    return drawn;
}

/* ---- how long each took */

static double seconds_of(const view *v, int series)
{
    const json_t *point;
    size_t i;
    double sum = 0;
    json_array_foreach(v->points, i, point)
        if (!strcmp(text_of(point, "target"), v->target) && !strcmp(text_of(point, "series"), v->series[series]))
            sum += fmax(bl_figure_num(point, "seconds"), 0);
    return sum;
}

static void times(view *v)
{
    bl_page *o = &v->r->page;
    double most = 0;
    for (int k = 0; k < v->n_series; k++) most = fmax(most, seconds_of(v, k));
    if (!(most > 0)) return;
    bl_page_raw(o, "<figure><h3>Time each took, all its plans together</h3><div class=\"bars\">\n");
    for (int k = 0; k < v->n_series; k++) {
        char class[32], text[BL_SHOW];
        double seconds = seconds_of(v, k);
        if (!(seconds > 0)) continue;
        snprintf(class, sizeof class, "fill s%d", k);
        snprintf(text, sizeof text, "%.1f s", seconds);
        bl_part_bar(v->r, v->series[k], seconds / most, class, text);
    }
    bl_page_raw(o, "</div></figure>\n");
}

/* ---- what each does with which layers */

static const json_t *kind_of(const json_t *point, const char *name)
{
    const json_t *kinds = json_object_get(point, "kinds"), *o;
    size_t i;
    json_array_foreach(kinds, i, o)
        if (!strcmp(text_of(o, "kind"), name)) return o;
    return NULL;
}

static void kind_cell(bl_page *o, const json_t *kind)
{
    double w = bl_figure_num(kind, "w_bits"), computing = bl_figure_num(kind, "computing"), moving = bl_figure_num(kind, "moving");
    if (!kind) {
        bl_page_raw(o, "<td class=\"none\">\xE2\x80\x93</td>");
        return;
    }
    bl_page_raw(o, "<td>");
    if (isfinite(w)) bl_page_put(o, "W%.1f ", w);
    bl_page_put(o, "A%.1f", bl_figure_num(kind, "a_bits"));
    if (computing + moving > 0) bl_page_put(o, "<small>%.0f of %.0f compute</small>", computing, computing + moving);
    bl_page_raw(o, "</td>");
}

static void kinds_table(view *v)
{
    static const char *const names[] = { "first", "convolution", "depthwise", "pointwise", "fully connected", "product", "last" };
    bl_page *o = &v->r->page;
    const json_t *point;
    size_t i;
    bool has[BL_COUNTOF(names)] = { false }, any = false;
    json_array_foreach(v->points, i, point)
        for (size_t k = 0; k < BL_COUNTOF(names); k++)
            if (!strcmp(text_of(point, "target"), v->target) && kind_of(point, names[k])) has[k] = any = true;
    if (!any) return;
    bl_page_raw(o, "<h3>Bits by kind of layer</h3>\n<div class=\"scroll\"><table class=\"kinds\"><thead><tr><th>recipe</th><th class=\"text\">budget</th>");
    for (size_t k = 0; k < BL_COUNTOF(names); k++)
        if (has[k]) bl_page_put(o, "<th class=\"text\">%s</th>", names[k]);
    bl_page_raw(o, "</tr></thead><tbody>\n");
    json_array_foreach(v->points, i, point) {
        if (strcmp(text_of(point, "target"), v->target) || !json_object_get(point, "kinds")) continue;
        bl_page_put(o, "<tr><th scope=\"row\"><span class=\"key s%d\"></span>%s</th><td>%s</td>", series_of(v, text_of(point, "series")),
                    text_of(point, "series"), text_of(point, "budget"));
        for (size_t k = 0; k < BL_COUNTOF(names); k++)
            if (has[k]) kind_cell(o, kind_of(point, names[k]));
        bl_page_raw(o, "</tr>\n");
    }
    bl_page_raw(o, "</tbody></table></div>\n<p class=\"caption\">Mean bits of weights (W) and of the values read (A); below them how many of the "
                   "layers are bound by computing, the others by moving data.</p>\n");
}

const bl_contest_column bl_contest_columns[BL_CONTEST_COLUMNS] = {
    { "top1", "top-1, %", 100, 2 },          { "sqnr_db", "SQNR, dB", 1, 2 }, { "size_bytes", "KiB", 1.0 / 1024, 1 },
    { "ebops", "EBOPs, thousands", 1e-3, 1 }, { "latency_ms", "ms", 1, 4 },    { "energy_mj", "mJ", 1, 4 },
    { "seconds", "seconds", 1, 1 },
};

/* Every plan for the target; a column that no plan has a number for is left out. */
static void table(view *v)
{
    bl_report *r = v->r;
    const json_t *point;
    size_t i;
    bool known[BL_CONTEST_COLUMNS] = { false };
    json_array_foreach(v->points, i, point)
        for (size_t c = 0; c < BL_CONTEST_COLUMNS; c++)
            known[c] |= !strcmp(text_of(point, "target"), v->target) && isfinite(bl_figure_num(point, bl_contest_columns[c].key));
    bl_page_raw(&r->page, "<div class=\"scroll\"><table><thead><tr><th>recipe</th><th>budget</th>");
    for (size_t c = 0; c < BL_CONTEST_COLUMNS; c++)
        if (known[c]) bl_page_put(&r->page, "<th>%s</th>", bl_contest_columns[c].head);
    bl_page_raw(&r->page, "</tr></thead><tbody>\n");
    json_array_foreach(v->points, i, point) {
        if (strcmp(text_of(point, "target"), v->target)) continue;
        bl_page_put(&r->page, "<tr><th scope=\"row\"><span class=\"key s%d\"></span>%s</th><td>%s%s</td>", series_of(v, text_of(point, "series")),
                    text_of(point, "series"), text_of(point, "budget"), json_is_false(json_object_get(point, "feasible")) ? ", not kept" : "");
        for (size_t c = 0; c < BL_CONTEST_COLUMNS; c++) {
            const bl_contest_column *k = &bl_contest_columns[c];
            char text[BL_SHOW];
            double number = k->scale * bl_figure_num(point, k->key);
            if (!known[c]) continue;
            snprintf(text, sizeof text, "%.*f", k->decimals, number);
            bl_part_cell(r, number, text, "");
        }
        bl_page_raw(&r->page, "</tr>\n");
    }
    bl_page_raw(&r->page, "</tbody></table></div>\n");
}

static bool any_has(const view *v, const char *key)
{
    const json_t *point;
    size_t i;
    json_array_foreach(v->points, i, point)
        if (!strcmp(text_of(point, "target"), v->target) && isfinite(bl_figure_num(point, key))) return true;
    return false;
}

/* Networks that were trained at every width cost EBOPs alone, which have their picture already. */
static bool costs_more(const view *v)
{
    return any_has(v, "latency_ms") || any_has(v, "energy_mj") || any_has(v, "size_bytes");
}

static void target_part(view *v)
{
    bl_page *o = &v->r->page;
    bl_page_put(o, "<section><h2>%s</h2>\n<div class=\"pair\">", v->target);
    bool any = plot(v, "Accuracy against latency", "latency, ms", "latency_ms", 1);
    any |= plot(v, "Accuracy against energy", "energy, mJ", "energy_mj", 1);
    any |= plot(v, "Accuracy against size", "weights, KiB", "size_bytes", 1.0 / 1024);
    if (!any && costs_more(v)) bl_page_raw(o, "<p>Too few figures for a picture.</p>");
    times(v);
    bl_page_raw(o, "</div>\n");
    table(v);
    kinds_table(v);
    bl_page_raw(o, "</section>\n");
}

/* One picture for all targets, where there is any trade to see. */
static void ebops_part(view *v)
{
    v->target = NULL;
    const json_t *point;
    size_t i;
    int n = 0;
    json_array_foreach(v->points, i, point) n += isfinite(bl_figure_num(point, "ebops")) && isfinite(quality(v, point));
    if (n < 2) return;
    bl_page_raw(&v->r->page, "<section><h2>Effective bit operations</h2>\n<p class=\"caption\">Bits of an input times bits of the "
                             "weight it meets, summed over all products.</p>\n<div class=\"pair\">");
    plot(v, "Accuracy against EBOPs", "EBOPs, thousands", "ebops", 1e-3);
    bl_page_raw(&v->r->page, "</div>\n</section>\n");
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
    view v = { .r = &r, .points = points, .flt = 100 * bl_figure_num(contest, "float_top1") };
    bool priced = false; /* by a target; else EBOPs are what there is to see */
    json_array_foreach(points, i, point) {
        v.accuracy |= isfinite(bl_figure_num(point, "top1"));
        priced |= isfinite(bl_figure_num(point, "latency_ms")) || isfinite(bl_figure_num(point, "size_bytes"));
    }
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
    bl_page_raw(o, "<p class=\"caption\">Each point is a plan, a line joins the plans of a recipe; the dotted steps join those that no other plan beats in both; "
                   "a figure behind an arrow lies below the picture, plans that keep no budget stand in the table alone. Seconds: from the model "
                   "to the tuned plan, less where an earlier budget left its records.</p>\n");
    if (!priced) ebops_part(&v);
    json_array_foreach(points, i, point)
        if (!seen_before(points, i, text_of(point, "target"))) {
            v.target = text_of(point, "target");
            target_part(&v);
        }
    if (priced) ebops_part(&v);
    bl_page_raw(o, "</main>\n</body>\n</html>\n");
    return bl_report_end(&r, path, true);
}
