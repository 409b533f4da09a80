/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The plans that the line of best plans joins: what each point of the picture leads to.  One is on the
 * page at a time, the one that the address names (:target), so that it works without a script.
 */
#include "emit/report_private.h"

#include <stdio.h>
#include <string.h>

bool bl_report_plan_known(const json_t *front)
{
    size_t n = json_array_size(bl_figure_at(front, "w_bits"));
    return n > 0 && n == json_array_size(bl_figure_at(front, "a_in_bits")) && bl_figure_num(front, "size_bytes") > 0;
}

/* The run's own command with another budget.  Words are cut at spaces, as they were joined. */
static void put_command(bl_report *r, const char *command, double share)
{
    static const char *const dropped[] = {"--budget", "--floor", "--minimize", "-o", "--output"};
    bl_page *o = &r->page;
    size_t word = 0;
    bool drop = false;
    bl_page_raw(o, "<pre>");
    for (const char *at = command; *at; word++) {
        size_t n = strcspn(at, " ");
        bool was = drop;
        drop = false;
        for (size_t i = 0; i < BL_COUNTOF(dropped); i++) {
            size_t k = strlen(dropped[i]);
            if (n >= k && !strncmp(at, dropped[i], k) && (n == k || at[k] == '=')) {
                drop = n == k;
                was = true;
            }
        }
        char *text = was ? NULL : bl_format(o->arena, "%s%.*s", word ? " " : "", (int)n, at);
        if (text) bl_page_put(o, "%s", text);
        else if (!was) o->failed = true;
        at += n;
        at += strspn(at, " ");
    }
    bl_page_put(o, " --budget size=%.4f -o RUN</pre>\n", share);
}

static int bits_at(const json_t *front, const char *key, size_t i)
{
    return (int)json_integer_value(json_array_get(bl_figure_at(front, key), i));
}

/* A table would be as wide as the network is deep: small boxes, as many in a row as there is room for. */
static void put_layers(bl_report *r, const json_t *front)
{
    bl_page *o = &r->page;
    size_t n = json_array_size(bl_figure_at(front, "w_bits"));
    bl_page_raw(o, "<ol class=\"strip\">");
    for (size_t i = 0; i < n; i++) {
        int w = bits_at(front, "w_bits", i), a = bits_at(front, "a_in_bits", i);
        bool layer = i < r->n_layers && n == r->n_layers;
        bool moved = layer && (w != r->layers[i].w_bits || a != r->layers[i].a_in_bits);
        bl_page_put(o, "<li class=\"%s\" title=\"%s\">", moved ? "moved" : "same", layer ? r->layers[i].name : "");
        if (w) bl_page_put(o, "<b>W%d</b>", w);
        bl_page_put(o, "<span>A%d</span></li>", a);
    }
    bl_page_raw(o, "</ol>\n");
}

static void put_plan(bl_report *r, size_t number, const json_t *front)
{
    bl_page *o = &r->page;
    const char *command = bl_figure_text(r->in.summary, "command");
    double bytes = bl_figure_num(front, "size_bytes"), ms = bl_figure_num(front, "latency_ns") * 1e-6;
    double db = bl_figure_num(front, "sqnr_db"), base = r->int8 ? r->int8->size_bytes : NAN;
    char text[BL_SHOW];
    bl_page_put(o, "<div class=\"plan\" id=\"plan%zu\"><h3>The best plan of %s</h3>\n<p>", number + 1,
                bl_show_bytes(bytes, text));
    if (base > 0) bl_page_put(o, "%.2f of int8's size; ", bytes / base);
    if (isfinite(db)) bl_page_put(o, "predicted %.1f dB", db);
    if (ms > 0) bl_page_put(o, "%spredicted %s", isfinite(db) ? ", " : "", bl_show_ms(ms, text));
    bl_page_raw(o, ". Bits of weights (W) and inputs (A), layer by layer in network order; framed: "
                   "other than in the chosen plan.</p>\n");
    put_layers(r, front);
    /* Rounded up, so that this plan itself is within the budget. */
    if (command && base > 0) put_command(r, command, ceil(bytes / base * 1e4) / 1e4);
    bl_page_raw(o, "</div>\n");
}

void bl_report_plans(bl_report *r)
{
    const json_t *front = bl_figure_at(r->in.summary, "front");
    bool any = false;
    for (size_t i = 0; i < json_array_size(front); i++) any |= bl_report_plan_known(json_array_get(front, i));
    if (!any) return;
    bl_page_raw(&r->page, "<div class=\"plans\"><p class=\"hint\">A click on a point of the line shows its plan here, "
                          "and the command that makes it.</p>\n");
    for (size_t i = 0; i < json_array_size(front); i++) {
        const json_t *o = json_array_get(front, i);
        if (bl_report_plan_known(o)) put_plan(r, i, o);
    }
    bl_page_raw(&r->page, "</div>\n");
}
