/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bits of each layer in network order: weights upwards, activations downwards, as wide as the
 * layer's share of the predicted time (of the weights where no time is known); then the same as a
 * table.
 */
#include "emit/report_private.h"

#include <stdio.h>
#include <string.h>

typedef enum width_by { BY_TIME, BY_WEIGHTS, BY_NOTHING } width_by;

enum { NAMES_MOST = 48 }; /* more layers are numbered */

typedef struct bars {
    bl_report *r;
    width_by by;
    double total; /* of the shares */
    double left, right, axis, per_bit;
    int bits_most;
    bool names;
} bars;

static int activation_bits(const bl_layer *l)
{
    return l->a_in_bits ? l->a_in_bits : l->a_out_bits;
}

static double weight_of(const bl_layer *l, width_by by)
{
    double v = by == BY_TIME ? l->predicted_us : by == BY_WEIGHTS ? l->weights : 1;
    return isfinite(v) ? v : 0;
}

static width_by choose_width(const bl_report *r, double *total)
{
    for (width_by by = BY_TIME; by <= BY_WEIGHTS; by++) {
        *total = 0;
        for (size_t i = 0; i < r->n_layers; i++) *total += weight_of(&r->layers[i], by);
        if (*total > 0 && isfinite(*total)) return by;
    }
    *total = (double)r->n_layers;
    return BY_NOTHING;
}

/* ------------------------------------------------------------------ the picture */

static void draw_scale(const bars *b)
{
    bl_page *o = &b->r->page;
    for (int bits = 2; bits <= b->bits_most; bits *= 2)
        for (int side = -1; side <= 1; side += 2) {
            double y = b->axis + side * bits * b->per_bit;
            bl_page_put(o, "<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/>", b->left, y, b->right);
            bl_page_put(o, "<text class=\"tick end\" x=\"%.1f\" y=\"%.1f\">%d</text>\n",
                        b->left - 6, y + 4, bits);
        }
    for (int side = -1; side <= 1; side += 2)
        bl_page_put(
            o,
            "<text class=\"name mid\" transform=\"translate(%.1f %.1f) rotate(-90)\">%s</text>\n",
            b->left - 26, b->axis + side * b->bits_most * b->per_bit / 2,
            side < 0 ? "weight bits" : "activation bits");
}

static void tip(bl_page *o, const bl_layer *l, size_t number)
{
    char text[BL_SHOW];
    bl_page_put(o, "<title>#%zu %s", number, l->name);
    if (*l->op || *l->shape) bl_page_put(o, "\n%s %s", l->op, l->shape);
    if (l->w_bits) bl_page_put(o, "\nweights %d bits", l->w_bits);
    if (l->a_in_bits) bl_page_put(o, "\ninput %d bits", l->a_in_bits);
    if (*l->range_why) bl_page_put(o, "\nrange of the input by %s: %s", l->range, l->range_why);
    if (l->a_out_bits) bl_page_put(o, "\noutput %d bits", l->a_out_bits);
    if (isfinite(l->size_bytes)) bl_page_put(o, "\n%s", bl_show_bytes(l->size_bytes, text));
    if (*l->side) bl_page_put(o, "\nbound by %s", !strcmp(l->side, "moving") ? "moving data" : l->side);
    if (isfinite(l->predicted_us))
        bl_page_put(o, "\npredicted %s", bl_show_ms(l->predicted_us / 1000, text));
    if (isfinite(l->measured_us))
        bl_page_put(o, "\nmeasured %s", bl_show_ms(l->measured_us / 1000, text));
    bl_page_raw(o, "</title>");
}

/* side -1: upwards.  Widths below eight are drawn full, the others pale. */
static void draw_bar(const bars *b, int side, int bits, const char *class, double x, double width)
{
    bl_page *o = &b->r->page;
    double tall = BL_MIN(bits, b->bits_most) * b->per_bit, y = side < 0 ? b->axis - tall : b->axis;
    if (bits == 0) return;
    bl_page_put(o, "<rect class=\"%s%s\" x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%.1f\"/>",
                class, bits < 8 ? "" : " pale", x, y, width, tall);
    if (width >= (bits < 10 ? 9 : 16))
        bl_page_put(o, "<text class=\"count mid\" x=\"%.1f\" y=\"%.1f\">%d</text>", x + width / 2,
                    side < 0 ? y + 12 : y + tall - 4, bits);
}

static void draw_bars(const bars *b)
{
    const bl_report *r = b->r;
    bl_page *o = &b->r->page;
    size_t n = r->n_layers;
    double room = b->right - b->left, least = fmin(b->names ? 8 : 5, 0.55 * room / (double)n);
    double spare = room - least * (double)n, x = b->left, next_label = 0;
    double top = b->axis - b->bits_most * b->per_bit, bottom = b->axis + b->bits_most * b->per_bit;
    for (size_t i = 0; i < n; i++) {
        const bl_layer *l = &r->layers[i];
        double pitch = least + spare * weight_of(l, b->by) / b->total, gap = fmin(1.5, 0.2 * pitch);
        double middle = x + pitch / 2;
        char text[BL_SHOW];
        bl_page_raw(o, "<g class=\"mark\">");
        tip(o, l, i + 1);
        bl_page_put(o, "<rect class=\"hit\" x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%.1f\"/>",
                    x, top, pitch, bottom - top);
        draw_bar(b, -1, l->w_bits, "w", x, pitch - gap);
        draw_bar(b, 1, activation_bits(l), "a", x, pitch - gap);
        bl_page_raw(o, "</g>\n");
        if (middle >= next_label && b->names) {
            bl_page_put(o,
                        "<text class=\"tick end\" transform=\"translate(%.1f %.1f) "
                        "rotate(-50)\">%s</text>\n",
                        middle + 4, bottom + 12, bl_show_short(l->name, 14, text));
            next_label = middle + 15;
        } else if (middle >= next_label) {
            bl_page_put(o, "<text class=\"tick mid\" x=\"%.1f\" y=\"%.1f\">%zu</text>\n",
                        fmin(middle, b->right - 7), bottom + 16, i + 1);
            next_label = middle + 28;
        }
        x += pitch;
    }
    bl_page_put(o, "<path class=\"axis\" d=\"M%.1f %.1fH%.1f\"/>\n", b->left, b->axis, b->right);
}

static void picture(bl_report *r, const char *class, double width, bool names)
{
    bars b = {.r = r, .left = names ? 66 : 40, .right = width - 4, .bits_most = 8, .names = names};
    for (size_t i = 0; i < r->n_layers; i++)
        if (BL_MAX(r->layers[i].w_bits, activation_bits(&r->layers[i])) > 8) b.bits_most = 16;
    b.right = fmin(b.right, b.left + 120.0 * (double)r->n_layers);
    b.by = choose_width(r, &b.total);
    b.per_bit = (names ? 104.0 : 88.0) / b.bits_most;
    b.axis = 10 + b.bits_most * b.per_bit;
    double height = b.axis + b.bits_most * b.per_bit + (names ? 92 : 26);
    bl_svg_open(&r->page, class, width, height,
                "Bits of the weights and activations of each layer");
    draw_scale(&b);
    draw_bars(&b);
    bl_svg_close(&r->page);
}

static void caption(bl_report *r)
{
    double total;
    width_by by = choose_width(r, &total);
    bl_page_raw(
        &r->page,
        "<figcaption><span class=\"key w\"></span>weights, upwards, and <span class=\"key "
        "a\"></span>activations read by the layer, downwards; pale where they keep 8 bits or "
        "more. From left to right as the network runs");
    bl_page_raw(&r->page,
                by == BY_TIME
                    ? "; a bar is the wider the more of the predicted time the layer takes"
                : by == BY_WEIGHTS ? "; a bar is the wider the more weights the layer has"
                                   : "");
    bl_page_put(&r->page,
                ".<span class=\"%s\"> The numbers below count the layers, as in the "
                "table.</span></figcaption></figure>\n",
                r->n_layers > NAMES_MOST ? "" : "narrow");
}

/* ------------------------------------------------------------------ the table */

typedef struct has {
    bool op, kind, side, range, range_why, shape, macs, weights, size, predicted, measured, out;
} has;

static has what_there_is(const bl_report *r)
{
    has h = {0};
    for (size_t i = 0; i < r->n_layers; i++) {
        const bl_layer *l = &r->layers[i];
        h.op |= *l->op != '\0';
        h.shape |= *l->shape != '\0';
        h.kind |= *l->kind != '\0';
        h.side |= *l->side != '\0';
        h.range |= *l->range != '\0';
        h.range_why |= *l->range_why != '\0';
        h.macs |= isfinite(l->macs);
        h.weights |= isfinite(l->weights);
        h.size |= isfinite(l->size_bytes);
        h.predicted |= isfinite(l->predicted_us);
        h.measured |= isfinite(l->measured_us);
        h.out |= l->a_out_bits != 0;
    }
    return h;
}

static void text_cell(bl_report *r, const char *text)
{
    bl_page_put(&r->page, "<td class=\"text\">%s</td>", text);
}

static void bits_cell(bl_report *r, int bits)
{
    char text[BL_SHOW];
    snprintf(text, sizeof text, "%d", bits);
    bl_part_cell(r, bits ? bits : NAN, text, "");
}

static void layer_row(bl_report *r, size_t i, has h)
{
    const bl_layer *l = &r->layers[i];
    char text[BL_SHOW];
    bl_page_put(&r->page, "<tr><td data-v=\"%zu\">%zu</td><th scope=\"row\" title=\"%s\">", i + 1,
                i + 1, l->name);
    bl_part_name(r, l->name);
    bl_page_raw(&r->page, "</th>");
    if (h.op) text_cell(r, l->op);
    if (h.kind) text_cell(r, l->kind);
    if (h.shape) text_cell(r, l->shape);
    if (h.macs) bl_part_cell(r, l->macs, bl_show_count(l->macs, text), "");
    if (h.weights) bl_part_cell(r, l->weights, bl_show_count(l->weights, text), "");
    bits_cell(r, l->w_bits);
    bits_cell(r, l->a_in_bits);
    if (h.out) bits_cell(r, l->a_out_bits);
    if (h.size) bl_part_cell(r, l->size_bytes, bl_show_bytes(l->size_bytes, text), "");
    if (h.predicted) bl_part_cell(r, l->predicted_us, bl_show_ms(l->predicted_us / 1000, text), "");
    if (h.side) text_cell(r, !strcmp(l->side, "moving") ? "moving data" : l->side);
    if (h.measured) bl_part_cell(r, l->measured_us, bl_show_ms(l->measured_us / 1000, text), "");
    if (h.range) text_cell(r, l->range);
    if (h.range_why) text_cell(r, l->range_why);
    bl_page_raw(&r->page, "</tr>\n");
}

static void table(bl_report *r)
{
    has h = what_there_is(r);
    const struct {
        const char *title;
        bool shown, text;
    } columns[] = {{"#", true, false},
                   {"layer", true, true},
                   {"operator", h.op, true},
                   {"kind", h.kind, true},
                   {"output", h.shape, true},
                   {"MACs", h.macs, false},
                   {"weights", h.weights, false},
                   {"W bits", true, false},
                   {"A bits in", true, false},
                   {"A bits out", h.out, false},
                   {"size", h.size, false},
                   {"predicted", h.predicted, false},
                   {"bound by", h.side, true},
                   {"measured", h.measured, false},
                   {"range of the input", h.range, true},
                   {"why so", h.range_why, true}};
    bl_page_put(&r->page, "<details><summary>All layers as a table (%zu)</summary>\n", r->n_layers);
    bl_page_raw(&r->page, "<div class=\"scroll tall\"><table class=\"sort\">\n<thead><tr>");
    for (size_t c = 0; c < BL_COUNTOF(columns); c++)
        if (columns[c].shown)
            bl_page_put(&r->page, "<th scope=\"col\" class=\"%s\">%s</th>",
                        columns[c].text ? "text" : "", columns[c].title);
    bl_page_raw(&r->page, "</tr></thead>\n<tbody>\n");
    for (size_t i = 0; i < r->n_layers; i++) layer_row(r, i, h);
    bl_page_raw(&r->page, "</tbody></table></div></details>\n");
}

void bl_part_bits(bl_report *r)
{
    if (r->n_layers == 0) return;
    bl_part_open(r, "bits", "Bits of each layer");
    bl_page_raw(&r->page, "<figure>\n");
    picture(r, "wide", 1000, r->n_layers <= NAMES_MOST);
    picture(r, "narrow", 330, false);
    caption(r);
    table(r);
    bl_part_close(r);
}
