/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The top of the page: which network, the result in one sentence, what is wrong with it said
 * loudly, and its four main figures.
 */
#include "emit/report_private.h"

#include <stdio.h>
#include <string.h>

static const char *recipe(const bl_report *r)
{
    const char *name = bl_figure_text(r->in.summary, "recipe");
    return name ? name : bl_figure_text(r->in.plan, "recipe");
}

/* ------------------------------------------------------------------ the sentence */

/* The network that the page is about: int8 itself where that is the plan. */
static const bl_row *result(const bl_report *r)
{
    return r->chosen ? r->chosen : r->int8;
}

static const char *subject(const bl_report *r)
{
    if (!r->chosen) return "Uniform int8";
    if (bl_figure_text(r->in.summary, "refused")) return "The refused plan";
    if (bl_report_infeasible(r)) return "The nearest plan";
    if (recipe(r) && !strcmp(recipe(r), "uniform")) return "The uniform plan";
    return bl_report_narrow(r) || !r->n_layers ? "Mixed precision"
                                               : "The plan, 8 bits or more everywhere,";
}

/* " keeps 93.1 % top-1 (-0.1 points against float)", or another metric; false: none was taken. */
static bool say_quality(bl_report *r)
{
    const bl_row *c = result(r), *f = r->flt;
    char change[BL_SHOW];
    if (isfinite(c->top1)) {
        bl_page_put(&r->page, " keeps <b>%.1f&nbsp;%%</b> top-1", c->top1 * 100);
        if (f && isfinite(f->top1))
            bl_page_put(&r->page, " (%s points against float)",
                        bl_show_signed((c->top1 - f->top1) * 100, 1, change));
    } else if (isfinite(c->auc)) {
        bl_page_put(&r->page, " keeps an area under the curve of <b>%.3f</b>", c->auc);
        if (f && isfinite(f->auc))
            bl_page_put(&r->page, " (%s against float)",
                        bl_show_signed(c->auc - f->auc, 3, change));
    } else if (isfinite(c->sqnr_db)) {
        bl_page_put(&r->page, " keeps a signal-to-noise ratio of <b>%.1f&nbsp;dB</b> at the output",
                    c->sqnr_db);
    } else
        return false;
    return true;
}

static bool say_size(bl_report *r, bool quality)
{
    const bl_row *c = result(r);
    char size[BL_SHOW];
    if (isnan(c->size_bytes)) return false;
    bl_page_raw(&r->page, quality ? " in " : " takes ");
    bl_show_bytes(c->size_bytes, size);
    if (r->chosen && r->int8 && r->int8->size_bytes > 0)
        bl_page_put(&r->page, "<b>%.2f</b> of the int8 size (%s)",
                    c->size_bytes / r->int8->size_bytes, size);
    else
        bl_page_put(&r->page, "<b>%s</b>", size);
    return true;
}

static void say_time(bl_report *r, bool before)
{
    const bl_row *c = result(r);
    bool measured;
    double ratio = bl_report_time_ratio(r, &measured);
    double ms = isfinite(c->latency_ms) ? c->latency_ms : c->predicted_ms;
    char time[BL_SHOW];
    if (isnan(ms)) return;
    bl_page_put(&r->page, "%s <b>%s</b>", before ? "; latency" : " has a latency of",
                bl_show_ms(ms, time));
    /* A measured time beside a predicted int8 is no ratio of like with like. */
    if (isfinite(ratio) && measured == isfinite(c->latency_ms))
        bl_page_put(&r->page, ", %.2f of int8's", ratio);
    bl_page_raw(&r->page, isfinite(c->latency_ms) ? ", measured" : ", predicted");
}

static void sentence(bl_report *r)
{
    if (!result(r)) {
        if (r->in.plan)
            bl_page_raw(&r->page,
                        "<p class=\"lead\">A plan that has not been evaluated yet.</p>\n");
        return;
    }
    bl_page_put(&r->page, "<p class=\"lead\">%s", subject(r));
    bool quality = say_quality(r), size = say_size(r, quality);
    say_time(r, quality || size);
    bl_page_raw(&r->page, ".</p>\n");
}

/* ------------------------------------------------------------------ what is wrong */

static void say_exceeded(bl_report *r)
{
    const json_t *budgets = bl_figure_at(r->in.summary, "budgets");
    const char *between = " Over its limit: ";
    for (size_t i = 0; i < json_array_size(budgets); i++) {
        const json_t *b = json_array_get(budgets, i);
        const char *name = bl_figure_text(b, "name");
        double limit = bl_figure_num(b, "limit"), achieved = bl_figure_num(b, "achieved");
        if (!name || !(achieved > limit * (1 + 1e-12))) continue;
        bl_page_put(&r->page, "%s%s", between, name);
        if (limit > 0 && achieved < 100 * limit)
            bl_page_put(&r->page, ", by %.1f&nbsp;%%", (achieved / limit - 1) * 100);
        between = "; ";
    }
    if (*between == ';') bl_page_raw(&r->page, ".");
}

/* Says so where narrow widths bought no time; judged by lower quartiles, which other programs on
 * the machine disturb least, where they are known. */
static bool warn_about_time(bl_report *r)
{
    bool measured;
    double ratio = bl_report_time_ratio(r, &measured), tie = BL_REPORT_TIE;
    bool quartiles = measured && r->int8->latency_q1_ms > 0 && r->chosen->latency_q1_ms > 0;
    if (quartiles) ratio = r->chosen->latency_q1_ms / r->int8->latency_q1_ms;
    if (!bl_report_narrow(r) || !(ratio >= 1 - tie)) return false;
    bool slower = ratio > 1 + tie;
    bl_page_put(&r->page, "<p class=\"alert %s\"><b>%s</b> ", slower ? "bad" : "warn",
                slower ? "Slower than int8 on this chip."
                       : "Narrow widths gain no time on this chip.");
    bl_page_put(&r->page,
                "This plan takes %.2f of the time of 8 bits everywhere (%s; differences below "
                "%.0f&nbsp;%% count as none). Its narrow layers save bytes, not time.</p>\n",
                ratio,
                quartiles  ? "lower quartiles as measured"
                : measured ? "measured"
                           : "predicted",
                tie * 100);
    return true;
}

static void notes(bl_report *r, const char *refused, bool said_time)
{
    const json_t *all = bl_figure_at(r->in.summary, "notes");
    bool open = false;
    for (size_t i = 0; i < json_array_size(all); i++) {
        const char *note = json_string_value(json_array_get(all, i));
        bool above = note && ((refused && strstr(note, refused)) ||
                              (said_time && strstr(note, "narrow widths gain no time")));
        if (!note || above) continue;
        if (!open) bl_page_raw(&r->page, "<ul class=\"notes\">\n");
        open = true;
        bl_page_put(&r->page, "<li>%s</li>\n", note);
    }
    if (open) bl_page_raw(&r->page, "</ul>\n");
}

static void say_refused(bl_report *r, const char *refused)
{
    const char *in_place = bl_figure_text(r->in.summary, "in_place");
    bl_page_put(&r->page, "<p class=\"alert bad\"><b>Refused.</b> %s.", refused);
    if (in_place && !strcmp(in_place, "int8")) {
        bl_page_raw(&r->page, " Uniform int8 is in its place.");
        if (!bl_report_infeasible(r)) say_exceeded(r);
    } else if (in_place)
        bl_page_raw(&r->page, " Nothing is in its place: the run holds no program.");
    bl_page_raw(&r->page, "</p>\n");
}

static void alerts(bl_report *r)
{
    const char *refused = bl_figure_text(r->in.summary, "refused");
    if (bl_report_infeasible(r)) {
        bl_page_raw(&r->page,
                    "<p class=\"alert bad\"><b>Not feasible.</b> No plan was found within all "
                    "budgets; this page shows the nearest one.");
        say_exceeded(r);
        bl_page_raw(&r->page, "</p>\n");
    }
    if (refused) say_refused(r, refused);
    notes(r, refused, warn_about_time(r));
}

/* ------------------------------------------------------------------ four figures */

static void tile(bl_report *r, const char *name, const char *figure, const char *more)
{
    bl_page_put(&r->page, "<div class=\"tile\"><span>%s</span><b>%s</b><small>%s</small></div>\n",
                name, figure, more);
}

static const char *ratio_text(double v, double base, char *buf)
{
    if (!(base > 0) || isnan(v)) return "";
    snprintf(buf, BL_SHOW, v / base < 100 ? "%.2f of int8" : "%.3g times int8", v / base);
    return buf;
}

static void tiles(bl_report *r)
{
    const bl_row *c = result(r), *i = r->chosen ? r->int8 : NULL;
    char figure[BL_SHOW], more[BL_SHOW];
    if (!c) return;
    bl_page_raw(&r->page, "<div class=\"tiles\">\n");
    if (isfinite(c->top1)) {
        snprintf(figure, sizeof figure, "%.2f\xC2\xA0%%", fmin(c->top1, 1e6) * 100);
        if (r->flt && isfinite(r->flt->top1))
            strcat(bl_show_signed((c->top1 - r->flt->top1) * 100, 2, more), " points vs float");
        else
            *more = '\0';
        tile(r, "top-1", figure, more);
    } else if (isfinite(c->sqnr_db)) {
        snprintf(figure, sizeof figure,
                 "%.1f\xC2\xA0"
                 "dB",
                 fmin(c->sqnr_db, 1e6));
        tile(r, "signal to noise", figure, "");
    }
    if (isfinite(c->size_bytes))
        tile(r, "size", bl_show_bytes(c->size_bytes, figure),
             ratio_text(c->size_bytes, i ? i->size_bytes : NAN, more));
    if (isfinite(c->latency_ms))
        tile(r, "latency, measured", bl_show_ms(c->latency_ms, figure),
             ratio_text(c->latency_ms, i ? i->latency_ms : NAN, more));
    else if (isfinite(c->predicted_ms))
        tile(r, "latency, predicted", bl_show_ms(c->predicted_ms, figure),
             ratio_text(c->predicted_ms, i ? i->predicted_ms : NAN, more));
    if (isfinite(c->bops))
        tile(r, "bit operations", bl_show_count(c->bops, figure),
             ratio_text(c->bops, i ? i->bops : NAN, more));
    bl_page_raw(&r->page, "</div>\n");
}

void bl_part_headline(bl_report *r)
{
    const json_t *s = r->in.summary;
    const char *model = bl_figure_text(s, "model"), *target = bl_figure_text(s, "target");
    if (!model) model = bl_figure_text(r->in.graph, "name");
    bl_page_raw(&r->page, "<header>\n<p class=\"kicker\">bitlathe report");
    if (recipe(r)) bl_page_put(&r->page, " \xC2\xB7 recipe <b>%s</b>", recipe(r));
    if (target) bl_page_put(&r->page, " \xC2\xB7 target <b>%s</b>", target);
    bl_page_put(&r->page, "</p>\n<h1>%s</h1>\n", model ? model : "A network");
    sentence(r);
    alerts(r);
    tiles(r);
    bl_page_raw(&r->page, "</header>\n");
}
