/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Why the bits lie where they do: widths by kind of layer (first, depthwise, pointwise, ..., last), how much of the
 * time each kind takes, and how many of its layers are on which side of the target's roofline.
 */
#include "emit/report_private.h"

#include <stdio.h>
#include <string.h>

/* Ten bits fill a bar: wider ones are rare. */
static void width_cell(bl_report *r, double bits, const char *class)
{
    if (!isfinite(bits)) {
        bl_part_cell(r, NAN, "", "");
        return;
    }
    bl_page_put(&r->page, "<td data-v=\"%.4f\"><span class=\"track\"><span class=\"fill %s\" style=\"width:%.1f%%\"></span></span> %.1f</td>", bits,
                class, fmin(10 * bits, 100), bits);
}

static void side_cell(bl_report *r, int computing, int moving)
{
    bl_page_put(&r->page, "<td class=\"text\">");
    if (!computing && !moving) bl_page_raw(&r->page, "\xE2\x80\x93");
    else if (!moving) bl_page_put(&r->page, "computing");
    else if (!computing) bl_page_put(&r->page, "moving data");
    else bl_page_put(&r->page, "computing %d, moving data %d", computing, moving);
    bl_page_raw(&r->page, "</td>");
}

static int side_count(const json_t *o, const char *key)
{
    double v = bl_figure_num(o, key);
    return v >= 0 && v < 1e6 ? (int)v : 0;
}

void bl_kinds_table(bl_report *r, const json_t *kinds)
{
    double total = 0;
    size_t i;
    const json_t *o;
    char text[BL_SHOW];
    json_array_foreach(kinds, i, o) total += fmax(bl_figure_num(o, "ns"), 0); /* passes over NAN */
    bl_page_raw(&r->page, "<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">kind of layer</th><th scope=\"col\">layers</th>"
                          "<th scope=\"col\">weight bits</th><th scope=\"col\">activation bits</th><th scope=\"col\">of the time</th>"
                          "<th scope=\"col\" class=\"text\">bound by</th></tr></thead>\n<tbody>\n");
    json_array_foreach(kinds, i, o)
    {
        double n = bl_figure_num(o, "layers"), share = bl_figure_num(o, "ns") / total;
        bl_page_put(&r->page, "<tr><th scope=\"row\">%s</th>", bl_figure_text(o, "kind") ? bl_figure_text(o, "kind") : "");
        bl_part_cell(r, n, bl_show_number(n, text), "");
        width_cell(r, bl_figure_num(o, "w_bits"), "w");
        width_cell(r, bl_figure_num(o, "a_bits"), "a");
        snprintf(text, sizeof text, "%.1f\xC2\xA0%%", 100 * share);
        bl_part_cell(r, share, text, "");
        side_cell(r, side_count(o, "computing"), side_count(o, "moving"));
        bl_page_raw(&r->page, "</tr>\n");
    }
    bl_page_raw(&r->page, "</tbody></table></div>\n");
}

static const json_t *kind_named(const json_t *kinds, const char *name)
{
    size_t i;
    const json_t *o;
    json_array_foreach(kinds, i, o)
        if (bl_figure_text(o, "kind") && !strcmp(bl_figure_text(o, "kind"), name)) return o;
    return NULL;
}

static void say_kind(bl_report *r, const char *name, const json_t *o)
{
    int computing = side_count(o, "computing"), moving = side_count(o, "moving");
    bl_page_put(&r->page, "%s layers get %.1f bits for weights and %.1f for activations", name, bl_figure_num(o, "w_bits"), bl_figure_num(o, "a_bits"));
    if (computing + moving) bl_page_put(&r->page, ", and %d of %d wait for data", moving, computing + moving);
}

/* As HAQ tells its policies apart: depthwise beside pointwise. */
static void say_difference(bl_report *r, const json_t *kinds)
{
    const json_t *depth = kind_named(kinds, "depthwise"), *point = kind_named(kinds, "pointwise");
    if (!depth || !point) return;
    bl_page_raw(&r->page, "<p>");
    say_kind(r, "Depthwise", depth);
    bl_page_raw(&r->page, "; ");
    say_kind(r, "pointwise", point);
    bl_page_raw(&r->page, ".</p>\n");
}

void bl_part_kinds(bl_report *r)
{
    const json_t *kinds = bl_figure_at(r->in.summary, "kinds");
    const char *target = bl_figure_text(r->in.summary, "target");
    if (json_array_size(kinds) == 0) return;
    bl_part_open(r, "kinds", "Bits by kind of layer");
    say_difference(r, kinds);
    bl_kinds_table(r, kinds);
    bl_page_put(&r->page,
                "<p class=\"caption\">Means over the layers of a kind, as the plan has them%s%s. A layer is bound by computing "
                "where its multipliers work for at least four fifths of its time, else by moving data: there fewer bits help "
                "by what they save of the moving alone.</p>\n", target ? " for the target " : "", target ? target : "");
    bl_part_close(r);
}
