/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What accuracy costs: plans as points, quality upwards, size or time to the right, both relative
 * to uniform int8 where that is known.  The line joins the best plans that the solver found;
 * networks with one width for all and the chosen plan are marks beside it.
 */
#include "emit/report_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum x_axis { X_SIZE, X_TIME, X_CLOCK } x_axis; /* X_CLOCK: time as measured */
/* Y_HARM: what the solver added up where that is no noise (divergence, traces): -10 log10 of it, of the front alone. */
typedef enum y_axis { Y_SQNR, Y_TOP1, Y_HARM } y_axis;

typedef struct point {
    double x, y;
    const bl_row *row; /* NULL: on the front */
    const json_t *front;
    size_t plan; /* its number on the front, as recorded */
} point;

typedef struct picture {
    bl_report *r;
    bl_arena *arena;
    x_axis across;
    y_axis up;
    double unit;   /* x is in these: int8's bytes or milliseconds, or a KiB or millisecond */
    bool relative; /* to int8 */
    point *points; /* the front first, from left to right */
    size_t n, n_front;
    bool linked;   /* points of the front lead to their plans, which are on the same page */
    double float_y; /* NAN: not known */
} picture;

/* ------------------------------------------------------------------ collecting */

static double row_cost(const picture *pic, const bl_row *row)
{
    return pic->across == X_SIZE   ? row->size_bytes
           : pic->across == X_TIME ? row->predicted_ms
                                   : row->latency_ms;
}

static double front_x(const picture *pic, const json_t *o)
{
    if (pic->across == X_CLOCK) return NAN;
    return (pic->across == X_SIZE ? bl_figure_num(o, "size_bytes")
                                  : bl_figure_num(o, "latency_ns") * 1e-6) /
           pic->unit;
}

static double row_y(const picture *pic, const bl_row *row)
{
    return pic->up == Y_SQNR ? row->sqnr_db : pic->up == Y_TOP1 ? row->top1 * 100 : NAN;
}

static double front_y(const picture *pic, const json_t *o)
{
    if (pic->up == Y_HARM) return isfinite(bl_figure_num(o, "sqnr_db")) ? NAN : -10 * log10(bl_figure_num(o, "objective"));
    return pic->up == Y_SQNR ? bl_figure_num(o, "sqnr_db") : bl_figure_num(o, "top1") * 100;
}

static void add(picture *pic, point p)
{
    if (p.x > 0 && isfinite(p.x) && isfinite(p.y)) pic->points[pic->n++] = p;
}

static int by_x(const void *pa, const void *pb)
{
    const point *a = pa, *b = pb;
    return a->x != b->x ? (a->x < b->x ? -1 : 1) : a->y < b->y ? -1 : a->y > b->y;
}

/* The chosen plan has no quality of its own where only the front was predicted: the front's plan of
 * the same size, to a thousandth, lends it. */
static double borrowed_y(const picture *pic, double x)
{
    double best = NAN, away = 1e-3 * x;
    for (size_t i = 0; i < pic->n_front; i++)
        if (fabs(pic->points[i].x - x) <= away) {
            away = fabs(pic->points[i].x - x);
            best = pic->points[i].y;
        }
    return best;
}

static bool collect(picture *pic)
{
    const bl_report *r = pic->r;
    const json_t *front = bl_figure_at(r->in.summary, "front");
    double base = r->int8 ? row_cost(pic, r->int8) : NAN;
    pic->relative = base > 0;
    pic->unit = pic->relative ? base : pic->across == X_SIZE ? 1024 : 1;
    pic->float_y = r->flt ? row_y(pic, r->flt) : NAN;
    pic->points = BL_NEW(pic->arena, point, json_array_size(front) + r->n_rows);
    if (!pic->points) {
        pic->r->page.failed = true;
        return false;
    }
    for (size_t i = 0; i < json_array_size(front); i++) {
        const json_t *o = json_array_get(front, i);
        add(pic, (point){front_x(pic, o), front_y(pic, o), NULL, o, i});
    }
    pic->n_front = pic->n;
    qsort(pic->points, pic->n, sizeof *pic->points, by_x);
    for (size_t i = 0; i < r->n_rows; i++) {
        const bl_row *row = &r->rows[i];
        double x = row_cost(pic, row) / pic->unit, y = row_y(pic, row);
        if (row->kind == BL_ROW_FLOAT) continue; /* far to the right: a line instead */
        if (row->kind == BL_ROW_CHOSEN && isnan(y)) y = borrowed_y(pic, x);
        add(pic, (point){x, y, row, NULL, 0});
    }
    return pic->n >= 2;
}

/* A picture of time is no use where no plan's time can be told from another one's. */
static bool spreads(const picture *pic)
{
    double lo = INFINITY, hi = 0;
    for (size_t i = 0; i < pic->n; i++) {
        lo = fmin(lo, pic->points[i].x);
        hi = fmax(hi, pic->points[i].x);
    }
    return hi > lo * (1 + BL_REPORT_TIE);
}

/* ------------------------------------------------------------------ drawing */

static char *tip(const picture *pic, const point *p)
{
    char size[BL_SHOW], time[BL_SHOW], at[BL_SHOW] = "";
    double bytes = p->row ? p->row->size_bytes : bl_figure_num(p->front, "size_bytes");
    double ms = p->row ? p->row->predicted_ms : bl_figure_num(p->front, "latency_ns") * 1e-6;
    bool clock = pic->across == X_CLOCK;
    if (clock) ms = p->row->latency_ms;
    const char *name = !p->row                         ? "a best plan"
                       : p->row->kind == BL_ROW_CHOSEN ? bl_report_chosen_name(pic->r)
                       : p->row->kind == BL_ROW_INT8   ? "int8: 8 bits everywhere"
                                                       : p->row->name;
    if (pic->relative) snprintf(at, sizeof at, ", %.3g of int8's", p->x);
    return bl_format(pic->arena, "%s\n%.*f %s%s%s%s%s%s%s", name, pic->up == Y_TOP1 ? 2 : 1, p->y,
                     pic->up == Y_TOP1 ? "% top-1" : pic->up == Y_HARM ? "dB of sensitivity avoided" : "dB", bytes >= 0 ? "\nsize " : "",
                     bytes >= 0 ? bl_show_bytes(bytes, size) : "", pic->across == X_SIZE ? at : "",
                     ms < 0 || isnan(ms) ? ""
                     : clock             ? "\nmeasured latency "
                                         : "\npredicted latency ",
                     ms >= 0 ? bl_show_ms(ms, time) : "", pic->across == X_SIZE ? "" : at);
}

static void draw_front(const picture *pic, bl_plot *plot)
{
    bl_page *o = plot->page;
    if (pic->n_front < 2 || pic->across != X_SIZE) return; /* a front of size, not of time */
    bl_page_raw(o, "<path class=\"front\" d=\"");
    for (size_t i = 0; i < pic->n_front; i++)
        bl_page_put(o, "%c%.1f %.1f", i ? 'L' : 'M', bl_plot_x(plot, pic->points[i].x),
                    bl_plot_y(plot, pic->points[i].y));
    bl_page_raw(o, "\"/>\n");
    /* Labels keep off the line, too: a box every few pixels. */
    for (size_t i = 0; i + 1 < pic->n_front; i++) {
        double x = bl_plot_x(plot, pic->points[i].x), y = bl_plot_y(plot, pic->points[i].y);
        double dx = bl_plot_x(plot, pic->points[i + 1].x) - x,
               dy = bl_plot_y(plot, pic->points[i + 1].y) - y;
        int steps = (int)(fmax(fabs(dx), fabs(dy)) / 5);
        for (int s = 1; s < steps; s++) {
            double at = (double)s / steps;
            bl_plot_take(plot, (bl_box){x + dx * at - 2, y + dy * at - 2, x + dx * at + 2,
                                        y + dy * at + 2, false});
        }
    }
}

/* A dashed line over the whole frame; its name comes when the marks stand. */
static void draw_guide(bl_plot *p, bool upright, double at)
{
    double x = bl_plot_x(p, at), y = bl_plot_y(p, at);
    if (upright ? !(at >= p->x_lo && at <= p->x_hi) : !(at >= p->y_lo && at <= p->y_hi)) return;
    bl_box line = {upright ? x : p->left, upright ? p->top : y, upright ? x : p->right,
                   upright ? p->bottom : y, true};
    bl_page_put(p->page, "<path class=\"guide\" d=\"M%.1f %.1fL%.1f %.1f\"/>\n", line.x0, line.y0,
                line.x1, line.y1);
    bl_plot_take(p, (bl_box){line.x0 - 1, line.y0 - 1, line.x1 + 1, line.y1 + 1, true});
}

/* The name beside its line, at the first of eleven places along it where there is room. */
static void name_guide(bl_plot *p, bool upright, double at, const char *text)
{
    double x = bl_plot_x(p, at), y = bl_plot_y(p, at), width = bl_text_width(text),
           tall = BL_LABEL_HEIGHT;
    if (upright ? !(at >= p->x_lo && at <= p->x_hi) : !(at >= p->y_lo && at <= p->y_hi)) return;
    for (int i = 0; i < 22; i++) {
        double along = i / 2 / 10.0, left = x + 4, top = y + 2;
        if (upright) {
            if (i % 2) left = x - 4 - width;
            top = p->top + 1 + along * (p->bottom - p->top - tall - 5);
        } else {
            left = p->left + 5 + along * (p->right - p->left - width - 10);
            if (i % 2) top = y - tall - 2;
        }
        if (bl_plot_write(p, "dim", left, top, text)) return;
    }
}

/* The size or latency budget as a share of int8's; NAN where there is none. */
static double budget(const picture *pic)
{
    const json_t *budgets = bl_figure_at(pic->r->in.summary, "budgets");
    const char *wanted = pic->across == X_SIZE ? "size" : "latency";
    for (size_t i = 0; i < json_array_size(budgets) && pic->relative; i++) {
        const json_t *b = json_array_get(budgets, i);
        const char *name = bl_figure_text(b, "name");
        if (name && !strcmp(name, wanted))
            return bl_figure_num(b, "limit") / bl_figure_num(b, "baseline");
    }
    return NAN;
}

static void draw_legend(bl_plot *plot, double y, bool front)
{
    static const struct {
        bl_mark_kind kind;
        const char *class, *text;
    } items[] = {{BL_DOT, "best", "best plans"},
                 {BL_DIAMOND, "uniform", "one width for all"},
                 {BL_RING, "chosen", "chosen plan"}};
    double x = plot->left - 30;
    for (size_t i = front ? 0 : 1; i < BL_COUNTOF(items); i++) {
        bl_plot_mark(plot, items[i].kind, items[i].class, x + 4, y - 4, items[i].text);
        bl_page_put(plot->page, "<text class=\"label dim\" x=\"%.1f\" y=\"%.1f\">%s</text>\n",
                    x + 17, y, items[i].text);
        x += 17 + bl_text_width(items[i].text) + 10;
    }
}

static int falling(const void *pa, const void *pb)
{
    double a = *(const double *)pa, b = *(const double *)pb;
    return a < b ? 1 : a > b ? -1 : 0;
}

/* A network that has broken down would press all others into one line: an accuracy that makes the
 * range more than 2.5 times as long lies outside the frame and is said in words.  The chosen plan
 * and two more points always stay in. */
static double window_floor(const picture *pic, double best)
{
    double *y = BL_NEW(pic->arena, double, pic->n), chosen = INFINITY;
    if (!y) return -INFINITY; /* the page fails by what is asked for next */
    for (size_t i = 0; i < pic->n; i++) {
        y[i] = pic->points[i].y;
        if (pic->points[i].row && pic->points[i].row->kind == BL_ROW_CHOSEN) chosen = y[i];
    }
    qsort(y, pic->n, sizeof *y, falling);
    size_t n = pic->n;
    while (n > 3 && y[n - 1] < chosen && best - y[n - 1] > 2.5 * (best - y[n - 2])) n--;
    return n < pic->n ? y[n - 1] - 0.15 * (best - y[n - 1]) : y[n - 1];
}

static void fit(const picture *pic, bl_plot *plot)
{
    plot->x_lo = plot->y_lo = INFINITY;
    plot->x_hi = plot->y_hi = -INFINITY;
    for (size_t i = 0; i < pic->n; i++) {
        plot->x_lo = fmin(plot->x_lo, pic->points[i].x);
        plot->x_hi = fmax(plot->x_hi, pic->points[i].x);
        plot->y_lo = fmin(plot->y_lo, pic->points[i].y);
        plot->y_hi = fmax(plot->y_hi, pic->points[i].y);
    }
    double lowest = plot->y_lo;
    if (pic->up == Y_TOP1) {
        if (isfinite(pic->float_y)) plot->y_hi = fmax(plot->y_hi, pic->float_y);
        plot->y_lo = fmax(lowest, window_floor(pic, plot->y_hi));
    }
    bl_plot_pad(&plot->x_lo, &plot->x_hi, 0.06, false);
    double edge = plot->y_lo;
    bl_plot_pad(&plot->y_lo, &plot->y_hi, 0.08, false);
    if (lowest < edge) plot->y_lo = edge;
    plot->x_lo = fmax(plot->x_lo, 0);
}

/* Points below the frame stand on its lower edge. */
static double shown_y(const bl_plot *plot, const point *p)
{
    return fmin(bl_plot_y(plot, p->y), plot->bottom);
}

static void draw_whisker(const picture *pic, bl_plot *plot, const point *p)
{
    if (pic->across != X_CLOCK || !(p->row->latency_p10_ms > 0) || !(p->row->latency_p90_ms > 0))
        return;
    double y = shown_y(plot, p), from = bl_plot_x(plot, p->row->latency_p10_ms / pic->unit);
    double to = bl_plot_x(plot, p->row->latency_p90_ms / pic->unit);
    bl_box b = {fmax(from, plot->left), y - 1, fmin(to, plot->right), y + 1, false};
    bl_page_put(plot->page, "<path class=\"whisker\" d=\"M%.1f %.1fH%.1f\"/>\n", b.x0, y, b.x1);
    bl_plot_take(plot, b);
}

static void draw_points(const picture *pic, bl_plot *plot)
{
    for (size_t i = 0; i < pic->n; i++)
        if (pic->points[i].row) draw_whisker(pic, plot, &pic->points[i]);
    for (size_t i = 0; i < pic->n; i++) {
        const point *p = &pic->points[i];
        bl_row_kind kind = p->row ? p->row->kind : BL_ROW_FLOAT;
        bool chosen = kind == BL_ROW_CHOSEN, int8 = kind == BL_ROW_INT8;
        char *text = tip(pic, p);
        if (!text) plot->page->failed = true;
        if (!text) return;
        bool link = pic->linked && p->front && bl_report_plan_known(p->front);
        if (link) bl_page_put(plot->page, "<a href=\"#plan%zu\">", p->plan + 1);
        bl_plot_mark(plot,
                     chosen   ? BL_RING
                     : int8   ? BL_SQUARE
                     : p->row ? BL_DIAMOND
                              : BL_DOT,
                     chosen   ? "chosen"
                     : int8   ? "int8"
                     : p->row ? "uniform"
                              : "best",
                     bl_plot_x(plot, p->x), shown_y(plot, p), text);
        if (link) bl_page_raw(plot->page, "</a>\n");
    }
}

/* The chosen plan, the last row, is named first. */
static void name_points(const picture *pic, bl_plot *plot)
{
    for (size_t i = pic->n; i-- > pic->n_front;) {
        const point *p = &pic->points[i];
        bool chosen = p->row->kind == BL_ROW_CHOSEN;
        char text[2 * BL_SHOW];
        bl_show_short(p->row->name, 12, text);
        if (p->y < plot->y_lo) snprintf(text + strlen(text), BL_SHOW, " \xE2\x86\x93 %.1f", p->y);
        bl_plot_label(plot, chosen ? "strong" : "", bl_plot_x(plot, p->x), shown_y(plot, p),
                      chosen ? "chosen" : text);
    }
}

static void draw(const picture *pic, bl_page *page, double width, double height)
{
    static const char *const x_names[2][3] = {
        {"size, KiB", "predicted latency, ms", "measured latency, ms"},
        {"size, int8 = 1", "predicted latency, int8 = 1", "measured latency, int8 = 1"}};
    static const char *const y_names[] = {"signal to noise at the output, dB", "top-1 measured, %",
                                          "sensitivity avoided, dB"};
    bl_plot plot = {
        .page = page, .left = 46, .right = width - 12, .top = 26, .bottom = height - 66};
    double limit = budget(pic), flt = pic->up == Y_TOP1 ? pic->float_y : NAN;
    fit(pic, &plot);
    size_t along = (size_t)((width + height) / 5) * 2; /* boxes on a rising line */
    if (!bl_plot_reserve(&plot, pic->arena, 3 * pic->n + along + 16)) page->failed = true;
    if (page->failed) return;
    bl_plot_axes(&plot, x_names[pic->relative][pic->across], y_names[pic->up]);
    draw_guide(&plot, true, limit);
    draw_guide(&plot, false, flt);
    draw_front(pic, &plot);
    draw_points(pic, &plot);
    name_points(pic, &plot);
    name_guide(&plot, true, limit, "budget");
    name_guide(&plot, false, flt, "float");
    if (pic->n > pic->n_front) draw_legend(&plot, height - 8, pic->n_front > 0);
}

/* ------------------------------------------------------------------ on the page */

static const char *caption(const picture *pic)
{
    if (pic->across == X_CLOCK)
        return "Up is more samples answered correctly, left is faster under the clock; a whisker "
               "spans the middle four fifths of the runs, the dashed line is float. An arrow names what lies "
               "below the picture.";
    if (pic->across == X_TIME)
        return "Up is less noise in the answer, left is predicted to be faster on this target; "
               "dots are the best plans for their size.";
    if (pic->up == Y_HARM)
        return "Up is less harm by the recipe's own sensitivity, summed over the layers (-10 log10), left is smaller. "
               "The line is what the solver finds best for each size.";
    if (pic->up == Y_TOP1)
        return "Up is more samples answered correctly, as counted by running each network; left "
               "is smaller. The dashed line is float; an arrow names what lies below the picture.";
    if (!pic->n_front)
        return "Up is less noise in the answer, left is smaller. All marks were run; diamonds give every layer the same width.";
    return "Up is less noise in the answer, left is smaller. The line is what the solver predicts "
           "for the best plans, on top of the noise that int8 has; the other marks were run. A "
           "good choice lies above the diamonds, which give every layer the same width.";
}

static void part_picture(bl_report *r, x_axis across, y_axis up, const char *title)
{
    picture pic = {.r = r, .arena = r->page.arena, .across = across, .up = up, .linked = true};
    if (!collect(&pic) || (across != X_SIZE && !spreads(&pic))) return;
    bl_page_put(&r->page, "<figure><h3>%s</h3>\n", title);
    static const struct {
        const char *class;
        double width, height;
    } sizes[] = {{"wide", 470, 358}, {"narrow", 330, 320}};
    for (size_t i = 0; i < BL_COUNTOF(sizes); i++) {
        bl_svg_open(&r->page, sizes[i].class, sizes[i].width, sizes[i].height, title);
        draw(&pic, &r->page, sizes[i].width, sizes[i].height);
        bl_svg_close(&r->page);
    }
    bl_page_put(&r->page, "<figcaption>%s</figcaption></figure>\n", caption(&pic));
}

void bl_part_tradeoff(bl_report *r)
{
    picture any = {.r = r, .arena = r->page.arena, .across = X_SIZE};
    picture top1 = {.r = r, .arena = r->page.arena, .across = X_SIZE, .up = Y_TOP1};
    picture harm = {.r = r, .arena = r->page.arena, .across = X_SIZE, .up = Y_HARM};
    picture time = {.r = r, .arena = r->page.arena, .across = X_TIME};
    picture clock = {.r = r, .arena = r->page.arena, .across = X_CLOCK, .up = Y_TOP1};
    if (!collect(&any) & !collect(&top1) & !collect(&harm) & !collect(&time) & !collect(&clock)) return;
    bl_part_open(r, "tradeoff", "What fewer bits cost");
    bl_page_raw(&r->page, "<div class=\"pair\">\n");
    part_picture(r, X_SIZE, Y_SQNR, "Quality against size");
    part_picture(r, X_SIZE, Y_TOP1, "Measured accuracy against size");
    part_picture(r, X_SIZE, Y_HARM, "Sensitivity against size");
    part_picture(r, X_TIME, Y_SQNR, "Quality against predicted time");
    part_picture(r, X_CLOCK, Y_TOP1, "Measured accuracy against measured time");
    bl_page_raw(&r->page, "</div>\n");
    bl_report_plans(r);
    bl_part_close(r);
}

/* ------------------------------------------------------------------ alone */

static void alone(bl_report *r, const picture *pics, size_t n)
{
    bl_page *o = &r->page;
    const char *model = bl_figure_text(r->in.summary, "model");
    double width = 470, height = 358;
    bl_page_put(o,
                "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
                "viewBox=\"0 0 %.0f %.0f\" role=\"img\">\n",
                (double)n * width + 10, height + 16, (double)n * width + 10, height + 16);
    bl_page_put(o, "<title>Accuracy against size%s%s</title>\n<style>", model ? ": " : "",
                model ? model : "");
    bl_page_raw(o, bl_svg_style);
    bl_page_raw(o, "</style>\n<rect class=\"ground\" width=\"100%\" height=\"100%\"/>\n");
    for (size_t i = 0; i < n; i++) {
        bl_page_put(o, "<g transform=\"translate(%.0f 8)\">\n", (double)i * width);
        draw(&pics[i], o, width, height);
        bl_page_raw(o, "</g>\n");
    }
    bl_page_raw(o, "</svg>\n");
}

bl_status bl_tradeoff_svg(bl_ctx *ctx, const json_t *summary, const char *path)
{
    bl_report r;
    BL_TRY(bl_report_begin(ctx, &(bl_report_input){.summary = summary}, &r));
    picture pics[2];
    size_t n = 0;
    for (y_axis up = Y_SQNR; up <= Y_TOP1; up++) {
        pics[n] = (picture){.r = &r, .arena = r.page.arena, .across = X_SIZE, .up = up};
        n += collect(&pics[n]);
    }
    if (n)
        alone(&r, pics, n);
    else if (!r.page.failed)
        bl_fail(ctx, BL_DATA, path, "evaluate more than one network",
                "the summary has fewer than two points with a size and a quality");
    return bl_report_end(&r, path, n > 0);
}
