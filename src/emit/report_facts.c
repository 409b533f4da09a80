/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The plain facts at the end of the page: memory, budgets and how the solver closed, the machine,
 * the time each stage took, what repeats the run, and what the words mean.
 */
#include "emit/report_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------------ memory */

static void memory_bars(bl_report *r, const char *title, size_t at)
{
    double most = 0;
    char text[BL_SHOW];
    for (size_t i = 0; i < r->n_rows; i++)
        most = fmax(most, *(const double *)((const char *)&r->rows[i] + at));
    if (!(most > 0)) return;
    bl_page_put(&r->page, "<div><h3>%s</h3>\n<div class=\"bars\">\n", title);
    for (size_t i = 0; i < r->n_rows; i++) {
        const bl_row *row = &r->rows[i];
        double v = *(const double *)((const char *)row + at);
        if (isnan(v)) continue;
        bl_part_bar(r, row->kind == BL_ROW_CHOSEN ? bl_report_chosen_name(r) : row->name, v / most,
                    row->kind == BL_ROW_CHOSEN ? "fill strong" : "fill", bl_show_bytes(v, text));
    }
    bl_page_raw(&r->page, "</div></div>\n");
}

void bl_part_memory(bl_report *r)
{
    double peak = bl_figure_num(r->in.summary, "peak_rss_bytes");
    bool any = peak > 0;
    char text[BL_SHOW];
    for (size_t i = 0; i < r->n_rows; i++)
        any |= r->rows[i].size_bytes > 0 || r->rows[i].memory_bytes > 0;
    if (!any) return;
    bl_part_open(r, "memory", "Memory");
    bl_page_raw(&r->page, "<div class=\"pair\">\n");
    memory_bars(r, "Weights as packed", offsetof(bl_row, size_bytes));
    memory_bars(r, "While running", offsetof(bl_row, memory_bytes));
    bl_page_raw(&r->page, "</div>\n<p class=\"caption\">Bytes of the weights of each network, "
                          "and of its working memory for what flows between layers.");
    if (peak > 0)
        bl_page_put(&r->page, " Making this plan took at most %s of memory.",
                    bl_show_bytes(peak, text));
    bl_page_raw(&r->page, "</p>\n");
    bl_part_close(r);
}

/* ------------------------------------------------------------------ budgets and solver */

/* Budgets are in bytes, nanoseconds or plain numbers, as their name says. */
static char *show_cost(const char *name, double v, char *buf)
{
    if (!strcmp(name, "size") || !strcmp(name, "memory")) return bl_show_bytes(v, buf);
    if (!strcmp(name, "latency")) return bl_show_ms(v * 1e-6, buf);
    return bl_show_count(v, buf);
}

static void budget_row(bl_report *r, const json_t *b)
{
    const char *name = bl_figure_text(b, "name");
    double limit = bl_figure_num(b, "limit"), base = bl_figure_num(b, "baseline");
    double achieved = bl_figure_num(b, "achieved"), relative = bl_figure_num(b, "relative");
    char text[BL_SHOW], more[BL_SHOW] = "";
    const json_t *binding = bl_figure_at(b, "binding");
    if (!name) return;
    bool over = achieved > limit * (1 + 1e-12);
    bl_page_put(&r->page, "<tr><th scope=\"row\">%s</th>", name);
    if (isfinite(relative)) snprintf(more, sizeof more, "\xC3\x97%.4g of int8", relative);
    bl_part_cell(r, limit, show_cost(name, limit, text), more);
    bl_part_cell(r, base, show_cost(name, base, text), "");
    bl_part_cell(r, achieved, show_cost(name, achieved, text), "");
    if (limit > 0 && achieved >= 0) {
        double share = fmin(achieved / limit, 1e6);
        bl_page_put(&r->page,
                    "<td data-v=\"%.17g\"><span class=\"track\"><span class=\"fill%s\" "
                    "style=\"width:%.1f%%\"></span></span> %.1f&nbsp;%%</td>",
                    share, over ? " over" : "", fmin(share, 1) * 100, share * 100);
    } else
        bl_part_cell(r, NAN, "", "");
    bl_page_put(&r->page, "<td class=\"text\">%s</td></tr>\n",
                over                    ? "exceeded"
                : json_is_true(binding) ? "binding"
                : achieved <= limit     ? "met"
                                        : "");
}

static const char *proof_text(const char *proof)
{
    if (!strcmp(proof, "root"))
        return "root: the multipliers alone prove that no plan is better by more than the gap";
    if (!strcmp(proof, "search")) return "search: every plan that could be better was ruled out";
    if (!strcmp(proof, "limit"))
        return "limit: a limit of time or work ended the search; bound and gap hold";
    if (!strcmp(proof, "none"))
        return "none: by the solver's prices, which are upper bounds, no plan keeps the budgets; by exact ones this one does";
    return proof;
}

static void multiplier(bl_report *r, const char *budget, const json_t *value)
{
    char label[128], text[BL_SHOW];
    if (!budget || !json_is_number(value)) return;
    snprintf(label, sizeof label, "multiplier of %.100s", budget);
    bl_part_fact(r, label, bl_show_number(json_number_value(value), text));
}

/* By name, or a list in the order of the budgets. */
static void multipliers(bl_report *r, const json_t *all)
{
    const json_t *budgets = bl_figure_at(r->in.summary, "budgets");
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)all, name, value) multiplier(r, name, value);
    for (size_t i = 0; i < json_array_size(all); i++)
        multiplier(r, bl_figure_text(json_array_get(budgets, i), "name"), json_array_get(all, i));
}

static void solver(bl_report *r, const json_t *s)
{
    static const char *const figures[][2] = {{"objective (noise to signal)", "objective"},
                                             {"bound: no plan is below", "bound"}};
    const char *status = bl_figure_text(s, "status"), *proof = bl_figure_text(s, "proof");
    char text[BL_SHOW];
    double gap = bl_figure_num(s, "gap");
    bl_page_raw(&r->page, "<h3>How the solver closed</h3>\n<dl class=\"facts\">\n");
    bl_part_fact(r, "status", status);
    for (size_t i = 0; i < BL_COUNTOF(figures); i++) {
        double v = bl_figure_num(s, figures[i][1]);
        if (isfinite(v)) bl_part_fact(r, figures[i][0], bl_show_number(v, text));
    }
    if (isfinite(gap)) {
        snprintf(text, sizeof text, "%.3g\xC2\xA0%%", gap < 1e-12 ? 0 : gap * 100);
        bl_part_fact(r, "gap", text);
    }
    if (proof) bl_part_fact(r, "proof", proof_text(proof));
    multipliers(r, bl_figure_at(s, "multipliers"));
    bl_page_raw(&r->page, "</dl>\n<p class=\"caption\">The objective is the noise that the units "
                          "add up to; a gap of 0 means that this plan is proven best under the "
                          "tables it was given. A multiplier is what one more unit of that "
                          "budget would be worth.</p>\n");
}

void bl_part_budgets(bl_report *r)
{
    const json_t *budgets = bl_figure_at(r->in.summary, "budgets"),
                 *s = bl_figure_at(r->in.summary, "solver");
    const char *in_place = bl_figure_text(r->in.summary, "in_place");
    if (!json_is_object(s)) s = bl_figure_at(r->in.plan, "solver");
    bool solved = bl_figure_text(s, "status") || bl_figure_text(s, "proof") ||
                  isfinite(bl_figure_num(s, "objective"));
    if (json_array_size(budgets) == 0 && !solved) return;
    bl_part_open(r, "budgets", "Budgets and solver");
    if (json_array_size(budgets)) {
        bl_page_raw(&r->page, "<div class=\"scroll\"><table>\n<thead><tr><th "
                              "scope=\"col\">budget</th><th scope=\"col\">limit</th><th "
                              "scope=\"col\">int8 takes</th><th scope=\"col\">");
        bl_page_raw(&r->page, in_place && !strcmp(in_place, "int8") ? "int8, in the plan's place" : "this plan");
        bl_page_raw(&r->page, "</th><th scope=\"col\">used</th><th scope=\"col\"></th></tr></thead>\n<tbody>\n");
        for (size_t i = 0; i < json_array_size(budgets); i++)
            budget_row(r, json_array_get(budgets, i));
        bl_page_raw(&r->page,
                    "</tbody></table></div>\n<p class=\"caption\">What was allowed and what the "
                    "plan uses; a binding budget is the one that keeps the plan from being more "
                    "accurate.</p>\n");
    }
    if (solved) solver(r, s);
    bl_part_close(r);
}

/* ------------------------------------------------------------------ machine */

static const struct {
    const char *key, *name;
} machine_words[] = {{"cpu", "processor"},
                     {"isa", "instruction set"},
                     {"isa_best", "best instruction set here"},
                     {"l1d_bytes", "L1 data cache"},
                     {"l2_bytes", "L2 cache"},
                     {"l3_bytes", "L3 cache"},
                     {"float", "float kernels"},
                     {"tool", "bitlathe"}};

static void machine_fact(bl_report *r, const char *key, const json_t *value)
{
    const char *name = key;
    char text[BL_SHOW];
    size_t n = strlen(key);
    for (size_t i = 0; i < BL_COUNTOF(machine_words); i++)
        if (!strcmp(key, machine_words[i].key)) name = machine_words[i].name;
    if (json_is_string(value))
        bl_part_fact(r, name, json_string_value(value));
    else if (json_is_number(value)) {
        double v = json_number_value(value);
        bool bytes = n > 6 && !strcmp(key + n - 6, "_bytes");
        bl_part_fact(r, name, bytes ? bl_show_bytes(v, text) : bl_show_number(v, text));
    }
}

void bl_part_machine(bl_report *r)
{
    const json_t *machine = bl_figure_at(r->in.summary, "machine");
    const char *key;
    json_t *value;
    if (json_object_size(machine) == 0) machine = bl_figure_at(r->in.cost, "machine");
    if (json_object_size(machine) == 0) return;
    bl_part_open(r, "machine", "Machine");
    bl_page_raw(&r->page, "<dl class=\"facts\">\n");
    json_object_foreach((json_t *)machine, key, value) machine_fact(r, key, value);
    bl_page_raw(&r->page, "</dl>\n<p class=\"caption\">Times on this page hold for this machine "
                          "only; accuracy, sizes and bit operations are the same "
                          "everywhere.</p>\n");
    bl_part_close(r);
}

/* ------------------------------------------------------------------ stages */

void bl_part_stages(bl_report *r)
{
    const json_t *seconds = bl_figure_at(r->in.summary, "seconds");
    const char *key;
    json_t *value;
    double most = 0, total = 0;
    char text[BL_SHOW];
    json_object_foreach((json_t *)seconds, key, value)
    {
        double v = json_number_value(value);
        most = fmax(most, v);
        total += v;
    }
    if (!(most > 0)) return;
    bl_part_open(r, "stages", "Time of each stage");
    bl_page_raw(&r->page, "<div class=\"bars\">\n");
    json_object_foreach((json_t *)seconds, key, value) if (json_is_number(value))
        bl_part_bar(r, key, json_number_value(value) / most, "fill",
                    bl_show_ms(json_number_value(value) * 1e3, text));
    bl_page_put(&r->page,
                "</div>\n<p class=\"caption\">How long this program took to make the plan, stage "
                "by stage; %s in all.</p>\n",
                bl_show_ms(total * 1e3, text));
    bl_part_close(r);
}

/* ------------------------------------------------------------------ repeating the run */

static void list_facts(bl_report *r, const char *what, const json_t *object)
{
    const char *key;
    json_t *value;
    char label[128], text[BL_SHOW];
    json_object_foreach((json_t *)object, key, value)
    {
        snprintf(label, sizeof label, "%s %.100s", what, key);
        if (json_is_string(value)) bl_part_fact(r, label, json_string_value(value));
        if (json_is_integer(value)) {
            snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
            bl_part_fact(r, label, text);
        }
    }
}

static const json_t *first_of(const bl_report *r, const char *key)
{
    const json_t *o = bl_figure_at(r->in.summary, key);
    if (!o) o = bl_figure_at(r->in.plan, key);
    if (!o) o = bl_figure_at(r->in.sens, key);
    return o ? o : bl_figure_at(r->in.cost, key);
}

void bl_part_again(bl_report *r)
{
    const char *tool = json_string_value(first_of(r, "tool")),
               *command = bl_figure_text(r->in.summary, "command");
    const json_t *seed = first_of(r, "seed"), *hashes = bl_figure_at(r->in.summary, "hashes");
    const char *plan_hash = bl_figure_text(r->in.plan, "hash");
    char text[BL_SHOW];
    bl_part_open(r, "again", "To repeat this run");
    if (command) bl_page_put(&r->page, "<pre>%s</pre>\n", command);
    bl_page_raw(&r->page, "<dl class=\"facts\">\n");
    bl_part_fact(r, "bitlathe", tool ? tool : BL_VERSION_STRING);
    if (json_is_integer(seed)) {
        snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, json_integer_value(seed));
        bl_part_fact(r, "seed", text);
    }
    const json_t *islands = bl_figure_at(r->in.summary, "islands");
    if (json_array_size(islands)) {
        snprintf(text, sizeof text, "%zu", json_array_size(islands));
        bl_part_fact(r, "operators in binary32", text);
    }
    for (size_t i = 0; i < json_array_size(islands); i++) {
        const char *node = bl_figure_text(json_array_get(islands, i), "node");
        const char *op = bl_figure_text(json_array_get(islands, i), "op");
        if (node && op) bl_part_fact(r, op, node);
    }
    list_facts(r, "samples for", bl_figure_at(r->in.summary, "samples"));
    if (json_object_size(hashes))
        list_facts(r, "hash of", hashes);
    else {
        list_facts(r, "hash of", bl_figure_at(r->in.plan, "made_from"));
        bl_part_fact(r, "hash of plan", plan_hash);
    }
    bl_page_raw(&r->page, "</dl>\n<p class=\"caption\">The same inputs, seed and version give "
                          "the same plan, byte for byte; the hashes tell whether the inputs are "
                          "the same.</p>\n");
    bl_part_close(r);
}

/* ------------------------------------------------------------------ words */

static const char *const words[][2] = {
    {"weights, activations",
     "Weights are the numbers that training left in a layer; activations are the numbers that "
     "flow between layers while the network runs."},
    {"bits, width", "How many binary digits a number gets. With 8 bits it has 256 possible "
                    "values, with 4 bits 16."},
    {"quantization",
     "Putting numbers on a grid of so few values that integers can stand for them. It makes the "
     "network smaller and often faster, and adds a little noise."},
    {"W4A8",
     "4 bits for weights, 8 bits for activations; A8 alone stands for a place without weights."},
    {"uniform, int8",
     "Every layer has the same widths; int8 is 8 bits everywhere, the usual choice."},
    {"mixed precision",
     "Each layer has widths of its own: few bits where that does little harm, more where it does."},
    {"unit", "Numbers that must share one decision: an activation and the weights of the layers "
             "that read it."},
    {"candidate", "One of the widths that a unit may have."},
    {"top-1, top-5",
     "Share of samples for which the right answer is the network's first, or among its first "
     "five. A point is one percent of the samples."},
    {"SQNR",
     "Signal to quantization noise ratio: how much louder the answer is than the noise that "
     "quantization adds. 10 dB more is ten times less noise."},
    {"noise, objective",
     "The inverse of that ratio, added up over units: what the solver makes as small as it can."},
    {"BOPs", "Bit operations: each multiplication counts as the product of both its widths."},
    {"predicted, measured",
     "Predicted times are added up from operators timed one by one; measured times are medians of "
     "the whole network under the clock, one sample at a time."},
    {"budget", "An upper limit that you set for size, time or operations, often relative to int8."},
    {"best plans", "Plans of which no other one found is both smaller and more accurate; "
                   "together they are called the Pareto front."},
    {"bound, gap", "The bound is a noise that no plan within the budgets can stay below; the gap "
                   "is how far this plan is from it."},
    {"island, binary32", "An operator that has no integer form: its inputs become real numbers, it runs, and "
                         "its outputs become codes again."},
    {"refused", "A plan that does not pay: worse than one width for all at the same cost, or "
                "slower where speed was asked for. The 8-bit network is kept instead."},
};

void bl_part_words(bl_report *r)
{
    bl_part_open(r, "words", "What the words mean");
    bl_page_raw(&r->page, "<dl class=\"words\">\n");
    for (size_t i = 0; i < BL_COUNTOF(words); i++)
        bl_page_put(&r->page, "<div><dt>%s</dt><dd>%s</dd></div>\n", words[i][0], words[i][1]);
    bl_page_raw(&r->page, "</dl>\n");
    bl_part_close(r);
}
