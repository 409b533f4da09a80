/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A plot as SVG: linear or logarithmic axes with round ticks, marks that carry their tooltip as
 * <title>, and labels that keep clear of marks and of each other.  Colours are classes; the page's
 * style sheet (or that of the picture alone) gives them.  One unit is one CSS pixel: pictures are
 * drawn once for wide and once for narrow windows instead of being scaled.
 */
#include "emit/report_private.h"

#include <stdio.h>
#include <string.h>

void bl_svg_open(bl_page *page, const char *class, double width, double height, const char *label)
{
    bl_page_put(page,
                "<svg class=\"%s\" viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"%s\">\n",
                class, width, height, label);
}

void bl_svg_close(bl_page *page)
{
    bl_page_raw(page, "</svg>\n");
}

/* ------------------------------------------------------------------ scales */

void bl_plot_pad(double *lo, double *hi, double share, bool logarithmic)
{
    if (logarithmic) {
        double a = log10(*lo), b = log10(*hi), room = fmax((b - a) * share, 0.1);
        *lo = pow(10, fmax(a - room, -300));
        *hi = pow(10, fmin(b + room, 300));
        return;
    }
    double room = (*hi - *lo) * share;
    if (!(room > 1e-9 * fmax(fabs(*lo), fabs(*hi)))) room = fmax(fabs(*hi) * 0.1, 1e-3);
    *lo -= room;
    *hi += room;
}

static double part(double v, double lo, double hi, bool logarithmic)
{
    double at = logarithmic ? log(v / lo) / log(hi / lo) : (v - lo) / (hi - lo);
    return at >= -1 && at <= 2 ? at : at > 2 ? 2 : -1; /* also what is no number */
}

double bl_plot_x(const bl_plot *p, double v)
{
    return p->left + (p->right - p->left) * part(v, p->x_lo, p->x_hi, p->logarithmic || p->x_logarithmic);
}

double bl_plot_y(const bl_plot *p, double v)
{
    return p->bottom - (p->bottom - p->top) * part(v, p->y_lo, p->y_hi, p->logarithmic);
}

/* ------------------------------------------------------------------ ticks and axes */

enum { TICKS_MAX = 24 };

typedef struct ticks {
    int n;
    double at[TICKS_MAX];
    char text[TICKS_MAX][24];
} ticks;

static void linear_ticks(ticks *t, double lo, double hi, int wanted)
{
    double raw = (hi - lo) / wanted, unit = pow(10, floor(log10(raw)));
    double step = raw <= unit       ? unit
                  : raw <= 2 * unit ? 2 * unit
                  : raw <= 5 * unit ? 5 * unit
                                    : 10 * unit;
    int decimals = (int)fmin(fmax(-floor(log10(step) + 1e-9), 0), 9);
    for (double k = ceil(lo / step - 1e-9); k * step <= hi + 1e-9 * step && t->n < TICKS_MAX; k++) {
        double v = k == 0 ? 0 : k * step; /* no minus zero */
        t->at[t->n] = v;
        if (fabs(v) < 1e7)
            snprintf(t->text[t->n++], sizeof t->text[0], "%.*f", decimals, v);
        else
            snprintf(t->text[t->n++], sizeof t->text[0], "%.3g", v);
    }
}

/* Decades; 2 and 5 too where few decades are in sight. */
static void decade_ticks(ticks *t, double lo, double hi, int wanted)
{
    static const double steps[] = {1, 2, 5};
    double decades = log10(hi / lo);
    int every = (int)fmax(1, ceil(decades / wanted));
    size_t n_steps = decades < wanted / 2.5 ? 3 : 1;
    for (int e = (int)floor(log10(lo)); e <= (int)ceil(log10(hi)); e++)
        for (size_t s = 0; s < n_steps; s++) {
            double v = steps[s] * pow(10, e);
            if (v < lo || v > hi || t->n == TICKS_MAX || e % every) continue;
            t->at[t->n] = v;
            if (v < 1e5 && v > 1e-4)
                snprintf(t->text[t->n++], sizeof t->text[0], "%g", v);
            else
                snprintf(t->text[t->n++], sizeof t->text[0], "%ge%d", steps[s], e);
        }
}

static ticks ticks_make(double lo, double hi, double pixels, double apart, bool logarithmic)
{
    ticks t = {0};
    int wanted = (int)fmin(fmax(pixels / apart, 2), TICKS_MAX / 3);
    if (logarithmic)
        decade_ticks(&t, lo, hi, wanted);
    else
        linear_ticks(&t, lo, hi, wanted);
    return t;
}

void bl_plot_axes(bl_plot *p, const char *x_label, const char *y_label)
{
    bl_page *o = p->page;
    ticks x = ticks_make(p->x_lo, p->x_hi, p->right - p->left, 64, p->logarithmic || p->x_logarithmic);
    ticks y = ticks_make(p->y_lo, p->y_hi, p->bottom - p->top, 44, p->logarithmic);
    for (int i = 0; i < y.n; i++) {
        double at = bl_plot_y(p, y.at[i]);
        bl_page_put(o, "<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/>", p->left, at, p->right);
        bl_page_put(o, "<text class=\"tick end\" x=\"%.1f\" y=\"%.1f\">%s</text>\n", p->left - 6,
                    at + 4, y.text[i]);
    }
    for (int i = 0; i < x.n; i++) {
        double at = bl_plot_x(p, x.at[i]);
        bl_page_put(o, "<path class=\"grid\" d=\"M%.1f %.1fV%.1f\"/>", at, p->top, p->bottom);
        double room = p->right + 12 - 3.4 * (double)strlen(x.text[i]); /* a long one would leave the picture */
        bl_page_put(o, "<text class=\"tick mid\" x=\"%.1f\" y=\"%.1f\">%s</text>\n", fmin(at, room),
                    p->bottom + 17, x.text[i]);
    }
    bl_page_put(o, "<path class=\"axis\" d=\"M%.1f %.1fV%.1fH%.1f\"/>\n", p->left, p->top,
                p->bottom, p->right);
    bl_page_put(o, "<text class=\"name end\" x=\"%.1f\" y=\"%.1f\">%s</text>", p->right,
                p->bottom + 36, x_label);
    bl_page_put(o, "<text class=\"name\" x=\"%.1f\" y=\"%.1f\">%s</text>\n", p->left - 34,
                p->top - 11, y_label);
}

/* ------------------------------------------------------------------ marks and labels */

bool bl_plot_reserve(bl_plot *p, bl_arena *arena, size_t n)
{
    p->room = n;
    p->boxes = BL_NEW(arena, bl_box, n);
    return p->boxes != NULL;
}

void bl_plot_take(bl_plot *p, bl_box box)
{
    if (p->n_boxes < p->room) p->boxes[p->n_boxes++] = box;
}

void bl_plot_mark(bl_plot *p, bl_mark_kind kind, const char *class, double x, double y,
                  const char *tip)
{
    bl_page *o = p->page;
    bl_page_put(o, "<g class=\"mark %s\"><title>%s</title>", class, tip);
    bl_page_put(o, "<circle class=\"hit\" cx=\"%.1f\" cy=\"%.1f\" r=\"10\"/>", x, y);
    if (kind == BL_DOT) bl_page_put(o, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\"/>", x, y);
    if (kind == BL_SQUARE)
        bl_page_put(o, "<rect x=\"%.1f\" y=\"%.1f\" width=\"9\" height=\"9\"/>", x - 4.5, y - 4.5);
    if (kind == BL_DIAMOND)
        bl_page_put(o, "<path d=\"M%.1f %.1fl5.5 5.5l-5.5 5.5l-5.5 -5.5z\"/>", x, y - 5.5);
    if (kind == BL_RING)
        bl_page_put(o,
                    "<circle class=\"ring\" cx=\"%.1f\" cy=\"%.1f\" r=\"8\"/><circle cx=\"%.1f\" "
                    "cy=\"%.1f\" r=\"4\"/>",
                    x, y, x, y);
    bl_page_raw(o, "</g>\n");
    double r = kind == BL_RING ? 10 : kind == BL_DOT ? 3 : 6;
    bl_plot_take(p, (bl_box){x - r, y - r, x + r, y + r, false});
}

double bl_text_width(const char *text)
{
    double width = 0;
    bool shown;
    for (; *text; text += bl_page_character(text, &shown))
        width += *text & 0x80                         ? 9
                 : strchr("iljtf.,:;|!' ()[]", *text) ? 4
                 : strchr("mwMW%", *text)             ? 10.5
                 : *text >= 'A' && *text <= 'Z'       ? 8.5
                                                      : 7;
    return width;
}

static bool is_free(const bl_plot *p, bl_box b, bool cross)
{
    if (b.x0 < p->left + 2 || b.x1 > p->right + 4 || b.y0 < p->top - 2 || b.y1 > p->bottom - 2)
        return false;
    for (size_t i = 0; i < p->n_boxes; i++) {
        const bl_box *t = &p->boxes[i];
        if (cross && t->thin) continue;
        if (b.x0 < t->x1 && t->x0 < b.x1 && b.y0 < t->y1 && t->y0 < b.y1) return false;
    }
    return true;
}

enum { BESIDE = 4 };

static bool write_label(bl_plot *p, const char *class, double left, double top, const char *text,
                        bool cross)
{
    /* Bold text is a tenth wider. */
    double width = bl_text_width(text) * (strcmp(class, "strong") ? 1 : 1.1);
    bl_box b = {left, top, left + width, top + BL_LABEL_HEIGHT, false};
    if (!is_free(p, b, cross)) return false;
    bl_plot_take(p, (bl_box){b.x0 - BESIDE, b.y0, b.x1 + BESIDE, b.y1, false}); /* two on one line do not read as one */
    bl_page_put(p->page, "<text class=\"label %s\" x=\"%.1f\" y=\"%.1f\">%s</text>\n", class, b.x0,
                b.y1 - 2.5, text);
    return true;
}

bool bl_plot_write(bl_plot *p, const char *class, double left, double top, const char *text)
{
    return write_label(p, class, left, top, text, false);
}

bool bl_plot_label(bl_plot *p, const char *class, double x, double y, const char *text)
{
    /* Where the text's box starts from the mark, in parts of its size: right, left, above, below,
     * then the corners; later rounds stand further off, the second half across guide lines. */
    static const struct {
        double across, down;
    } sides[] = {{0, -0.5}, {-1, -0.5}, {-0.5, -1}, {-0.5, 0}, {0, -1}, {0, 0}, {-1, -1}, {-1, 0}};
    double width = bl_text_width(text) * (strcmp(class, "strong") ? 1 : 1.1);
    const size_t n = BL_COUNTOF(sides), rounds = 6 * n;
    for (size_t i = 0; i < 2 * rounds; i++) {
        size_t s = i % n;
        double far = 1 + 0.5 * (double)(i % rounds / n);
        double off_x = sides[s].across == -0.5 ? 0 : sides[s].across < 0 ? -9 : 9;
        double off_y = sides[s].down == -0.5 ? 0 : sides[s].down < 0 ? -6 : 6;
        if (write_label(p, class, x + off_x * far + sides[s].across * width,
                        y + off_y * far + sides[s].down * BL_LABEL_HEIGHT, text, i >= rounds))
            return true;
    }
    return false;
}
