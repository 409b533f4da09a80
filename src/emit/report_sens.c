/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sensitivity as a coloured table, units down and candidates across: the picture is its own
 * accessible table.  Colour is the logarithm of the objective in eight steps over at most six
 * decades; step 0 is the baseline, which costs nothing.  Then the units that the chosen plan's
 * noise comes from.
 */
#include "emit/report_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS = 8, BLAMED_MOST = 8 };

typedef struct map {
    bl_report *r;
    const json_t *units;
    const char *unit; /* of the values: "dB" */
    json_t *choice;   /* unit name -> chosen candidate's name */
    const char **columns;
    size_t n_columns;
    double lo, hi; /* range of the colours; lo <= hi, both 0 where nothing costs anything */
} map;

/* ------------------------------------------------------------------ collecting */

/* "W4A8" -> 4, 8; "A8" -> 0, 8. */
static void widths(const char *name, int *w, int *a)
{
    *w = *a = 0;
    if (sscanf(name, "W%dA%d", w, a) != 2) *w = 0;
    if (*w == 0 && sscanf(name, "A%d", a) != 1) *a = 0;
}

/* Wider first; units without weights behind those with. */
static int by_width(const void *pa, const void *pb)
{
    const char *const *a = pa, *const *b = pb;
    int wa, aa, wb, ab;
    widths(*a, &wa, &aa);
    widths(*b, &wb, &ab);
    return wa != wb ? wb - wa : aa != ab ? ab - aa : strcmp(*a, *b);
}

static bool collect_columns(map *m)
{
    json_t *seen = json_object();
    size_t room = 0;
    for (size_t u = 0; u < json_array_size(m->units); u++)
        room += json_array_size(bl_figure_at(json_array_get(m->units, u), "candidates"));
    m->columns = BL_NEW(m->r->page.arena, const char *, room);
    if (!m->columns || !seen) m->r->page.failed = true;
    for (size_t u = 0; u < json_array_size(m->units) && !m->r->page.failed; u++) {
        const json_t *cells = bl_figure_at(json_array_get(m->units, u), "candidates");
        for (size_t c = 0; c < json_array_size(cells); c++) {
            const json_t *cell = json_array_get(cells, c);
            const char *name = bl_figure_text(cell, "candidate");
            if (!name || json_object_get(seen, name)) continue;
            json_object_set_new(seen, name, json_true());
            m->columns[m->n_columns++] = name;
        }
    }
    json_decref(seen);
    if (m->n_columns) qsort(m->columns, m->n_columns, sizeof *m->columns, by_width);
    return m->n_columns > 0;
}

static void find_range(map *m)
{
    double lo = INFINITY, hi = 0;
    for (size_t u = 0; u < json_array_size(m->units); u++) {
        const json_t *cells = bl_figure_at(json_array_get(m->units, u), "candidates");
        for (size_t c = 0; c < json_array_size(cells); c++) {
            double v = bl_figure_num(json_array_get(cells, c), "objective");
            if (!(v > 0)) continue;
            lo = fmin(lo, v);
            hi = fmax(hi, v);
        }
    }
    m->hi = hi;
    m->lo = fmax(fmin(lo, hi), hi * 1e-6);
}

static bool collect_choice(map *m)
{
    const json_t *units = bl_figure_at(m->r->in.plan, "units");
    m->choice = json_object();
    if (!m->choice) m->r->page.failed = true;
    for (size_t u = 0; u < json_array_size(units) && m->choice; u++) {
        const json_t *o = json_array_get(units, u);
        const char *name = bl_figure_text(o, "name");
        double w = bl_figure_num(o, "w_bits"), a = bl_figure_num(o, "a_bits");
        char candidate[BL_SHOW];
        if (!name || !(a >= 1 && a <= 64) || !(w >= 0 && w <= 64)) continue;
        if (w > 0)
            snprintf(candidate, sizeof candidate, "W%.0fA%.0f", w, a);
        else
            snprintf(candidate, sizeof candidate, "A%.0f", a);
        json_object_set_new(m->choice, name, json_string(candidate));
    }
    return m->choice != NULL;
}

static const json_t *find_cell(const json_t *unit, const char *candidate)
{
    const json_t *cells = bl_figure_at(unit, "candidates");
    for (size_t c = 0; c < json_array_size(cells); c++) {
        const char *name = bl_figure_text(json_array_get(cells, c), "candidate");
        if (name && !strcmp(name, candidate)) return json_array_get(cells, c);
    }
    return NULL;
}

/* ------------------------------------------------------------------ the coloured table */

static int step_of(const map *m, double objective)
{
    if (!(objective > 0) || !(m->hi > 0)) return 0;
    if (!(m->hi > m->lo)) return STEPS;
    double at = log(objective / m->lo) / log(m->hi / m->lo);
    return 1 + (int)fmin(fmax(at * STEPS, 0), STEPS - 1);
}

static void cell(const map *m, const char *unit, const json_t *o, const char *candidate,
                 bool chosen)
{
    bl_page *page = &m->r->page;
    double value = bl_figure_num(o, "value"), error = bl_figure_num(o, "standard_error");
    double objective = bl_figure_num(o, "objective");
    char text[BL_SHOW];
    if (!o) {
        bl_page_raw(page, "<td></td>");
        return;
    }
    bl_page_put(page, "<td class=\"h%d%s\" title=\"%s, %s", step_of(m, objective),
                chosen ? " pick" : "", unit, candidate);
    if (isfinite(value)) bl_page_put(page, "\n%s %s", bl_show_number(value, text), m->unit);
    if (isfinite(value) && error > 0)
        bl_page_put(page, " \xC2\xB1 %s", bl_show_number(error, text));
    if (isfinite(objective)) bl_page_put(page, "\nnoise %s", bl_show_number(objective, text));
    bl_page_put(page, "%s\">", chosen ? "\nchosen" : "");
    bool db = !strcmp(m->unit, "dB");
    if (isfinite(value) && db && fabs(value) < 1e6)
        bl_page_put(page, "%.1f", value);
    else if (isfinite(value))
        bl_page_put(page, "%.2g", value);
    else
        bl_page_raw(page, objective == 0 ? "\xE2\x88\x9E" : "\xC2\xB7"); /* no noise at all */
    bl_page_raw(page, chosen ? "<span class=\"sr\"> chosen</span></td>" : "</td>");
}

static char *show_level(double v, char *buf)
{
    snprintf(buf, BL_SHOW, "%.2g", v);
    return buf;
}

static void legend(const map *m)
{
    bl_page *o = &m->r->page;
    char text[BL_SHOW];
    bl_page_put(o, "<p class=\"legend\"><span>noise added: none</span>");
    for (int i = 0; i <= STEPS; i++) bl_page_put(o, "<span class=\"swatch h%d\"></span>", i);
    if (m->hi > 0)
        bl_page_put(o, "<span>%s and more</span>",
                    show_level(m->hi * pow(m->lo / m->hi, 1.0 / STEPS), text));
    if (json_object_size(m->choice))
        bl_page_raw(o, "<span class=\"swatch pick\"></span><span>chosen</span>");
    bl_page_raw(o, "</p>\n");
}

static void heat(const map *m)
{
    bl_page *o = &m->r->page;
    bl_page_raw(o, "<div class=\"scroll tall\"><table class=\"heat\">\n"
                   "<thead><tr><th scope=\"col\">unit</th>");
    for (size_t c = 0; c < m->n_columns; c++)
        bl_page_put(o, "<th scope=\"col\">%s</th>", m->columns[c]);
    bl_page_raw(o, "</tr></thead>\n<tbody>\n");
    for (size_t u = 0; u < json_array_size(m->units); u++) {
        const json_t *unit = json_array_get(m->units, u);
        const char *name = bl_figure_text(unit, "name");
        const char *pick = name ? json_string_value(json_object_get(m->choice, name)) : NULL;
        if (!name) continue;
        bl_page_put(o, "<tr><th scope=\"row\" title=\"%s\">", name);
        bl_part_name(m->r, name);
        bl_page_raw(o, "</th>");
        for (size_t c = 0; c < m->n_columns; c++)
            cell(m, name, find_cell(unit, m->columns[c]), m->columns[c],
                 pick && !strcmp(pick, m->columns[c]));
        bl_page_raw(o, "</tr>\n");
    }
    bl_page_raw(o, "</tbody></table></div>\n");
}

/* ------------------------------------------------------------------ which unit is to blame */

typedef struct blame {
    const char *unit, *candidate;
    double objective;
} blame;

static int by_objective(const void *pa, const void *pb)
{
    const blame *a = pa, *b = pb;
    return a->objective != b->objective ? (a->objective > b->objective ? -1 : 1)
                                        : strcmp(a->unit, b->unit);
}

static void blamed(const map *m)
{
    size_t n = 0;
    double total = 0;
    blame *list = BL_NEW(m->r->page.arena, blame, json_array_size(m->units));
    if (!list) m->r->page.failed = true;
    for (size_t u = 0; u < json_array_size(m->units) && list; u++) {
        const json_t *unit = json_array_get(m->units, u);
        const char *name = bl_figure_text(unit, "name");
        const char *pick = name ? json_string_value(json_object_get(m->choice, name)) : NULL;
        double v = pick ? bl_figure_num(find_cell(unit, pick), "objective") : NAN;
        if (!(v > 0)) continue;
        list[n++] = (blame){name, pick, v};
        total += v;
    }
    if (n == 0 || !isfinite(total)) return;
    qsort(list, n, sizeof *list, by_objective);
    bl_page_raw(&m->r->page,
                "<h3>Where the chosen plan's noise comes from</h3>\n<div class=\"bars names\">\n");
    for (size_t i = 0; i < BL_MIN(n, (size_t)BLAMED_MOST); i++) {
        char *text = bl_format(m->r->page.arena, "%.1f\xC2\xA0%%, %s",
                               100 * list[i].objective / total, list[i].candidate);
        if (text)
            bl_part_bar(m->r, list[i].unit, list[i].objective / total, "fill", text);
        else
            m->r->page.failed = true;
    }
    bl_page_put(&m->r->page,
                "</div>\n<p class=\"caption\">Share of each unit in the noise that the solver "
                "adds up%s. More bits help most at the top of this list.</p>\n",
                n > BLAMED_MOST ? "; the eight largest" : "");
}

void bl_part_sens(bl_report *r)
{
    map m = {.r = r,
             .units = bl_figure_at(r->in.sens, "units"),
             .unit = bl_figure_text(r->in.sens, "unit")};
    double samples = bl_figure_num(r->in.sens, "samples");
    if (!m.unit) m.unit = "";
    if (!collect_columns(&m)) return;
    find_range(&m);
    if (!collect_choice(&m)) return;
    bl_part_open(r, "sensitivity", "What each choice costs in accuracy");
    legend(&m);
    heat(&m);
    bl_page_put(&r->page,
                "<p class=\"caption\">One unit at a time is put on fewer bits and the output "
                "compared with float: a number is %s%s, darker is worse (in the dark theme, "
                "brighter)",
                !strcmp(m.unit, "dB") ? "the signal-to-noise ratio in dB" : "the metric, in ",
                !strcmp(m.unit, "dB") ? ""
                : *m.unit             ? m.unit
                                      : "its own unit");
    if (samples > 0) bl_page_put(&r->page, "; %.0f samples", samples);
    bl_page_raw(&r->page, ".</p>\n");
    blamed(&m);
    json_decref(m.choice);
    bl_part_close(r);
}
