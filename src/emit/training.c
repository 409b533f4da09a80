/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A training on one page, written after every epoch: the loss of what is learned from and of what is only looked
 * at, and the share of right answers.  While it goes on the page loads itself again.
 */
#include "emit/report_private.h"

#include <string.h>

enum { WIDTH = 560, HEIGHT = 320, AGAIN_S = 5 };

typedef struct curve { const char *key, *class, *title; double factor; } curve;

static const char style[] = ".line{fill:none;stroke-width:2}.line.s0{stroke:#0068a8}.line.s1{stroke:#c27400}"
                            ".key.s0{background:#0068a8}.key.s1{background:#c27400}"
                            ".key{display:inline-block;width:1em;height:.2em;margin:0 .4em .2em 0}\n";

static double at(const json_t *epochs, size_t i, const curve *c)
{
    return c->factor * bl_figure_num(json_array_get(epochs, i), c->key);
}

/* Range of some curves; false: nothing to draw. */
static bool range(const json_t *epochs, const curve *c, size_t n, double *lo, double *hi)
{
    *lo = INFINITY;
    *hi = -INFINITY;
    for (size_t k = 0; k < n; k++)
        for (size_t i = 0; i < json_array_size(epochs); i++) {
            double v = at(epochs, i, &c[k]);
            if (!isfinite(v)) continue;
            *lo = fmin(*lo, v);
            *hi = fmax(*hi, v);
        }
    return *lo <= *hi;
}

static void draw(bl_report *r, const json_t *epochs, double last, const char *label, const curve *c, size_t n)
{
    bl_page *o = &r->page;
    bl_plot p = {.page = o, .left = 52, .right = WIDTH - 12, .top = 24, .bottom = HEIGHT - 36, .x_lo = 0, .x_hi = last};

    if (!range(epochs, c, n, &p.y_lo, &p.y_hi)) return;
    bl_plot_pad(&p.y_lo, &p.y_hi, 0.05, false);
    if (!bl_plot_reserve(&p, o->arena, 16)) return;
    bl_svg_open(o, "plot", WIDTH, HEIGHT, label);
    bl_plot_axes(&p, "epoch", label);
    for (size_t k = 0; k < n; k++) {
        bl_page_put(o, "<polyline class=\"line %s\" points=\"", c[k].class);
        for (size_t i = 0; i < json_array_size(epochs); i++)
            if (isfinite(at(epochs, i, &c[k]))) bl_page_put(o, "%.1f,%.1f ", bl_plot_x(&p, (double)(i + 1)), bl_plot_y(&p, at(epochs, i, &c[k])));
        bl_page_raw(o, "\"/>\n");
    }
    bl_svg_close(o);
    bl_page_raw(o, "<p class=\"caption\">");
    for (size_t k = 0; k < n; k++) {
        double v = at(epochs, json_array_size(epochs) - 1, &c[k]);
        if (isfinite(v)) bl_page_put(o, "<span class=\"key %s\"></span>%s: %.4g &nbsp; ", c[k].class, c[k].title, v);
    }
    bl_page_raw(o, "</p>\n");
}

bl_status bl_training_page(bl_ctx *ctx, const json_t *history, const char *model, int64_t all, bool live, const char *path)
{
    static const curve losses[] = {{"loss", "s0", "learned from", 1}, {"held_loss", "s1", "held out", 1}};
    static const curve right[] = {{"held_accuracy", "s1", "held out", 100}};
    const json_t *epochs = json_object_get(history, "epochs");
    bl_report_input in = {.summary = history};
    bl_report r;

    BL_TRY(bl_report_begin(ctx, &in, &r));
    bl_page *o = &r.page;
    bl_page_raw(o, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                   "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                   "<meta name=\"color-scheme\" content=\"light dark\">\n"
                   "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
                   "form-action 'none'\">\n");
    if (live) bl_page_put(o, "<meta http-equiv=\"refresh\" content=\"%d\">\n", AGAIN_S);
    bl_page_put(o, "<title>%s \xC2\xB7 bitlathe train</title>\n<style>\n", model);
    bl_page_raw(o, bl_report_style);
    bl_page_raw(o, style);
    bl_page_put(o, "</style>\n</head>\n<body>\n<main>\n<h1>%s: epoch %zu of %d</h1>\n", model, json_array_size(epochs), (int)all);
    draw(&r, epochs, (double)BL_MAX(all, 2), "loss", losses, BL_COUNTOF(losses));
    draw(&r, epochs, (double)BL_MAX(all, 2), "right answers, %", right, BL_COUNTOF(right));
    bl_page_raw(o, "</main>\n</body>\n</html>\n");
    return bl_report_end(&r, path, true);
}
