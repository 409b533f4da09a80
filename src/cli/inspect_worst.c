/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bitlathe inspect --worst: which units of a run's plan lose most at the output, by its SENS record, and
 * which wider candidate of the record takes most of that back.  Nothing is measured here.  What a
 * metric gives for one unit quantized alone is added up, as the searches do.
 */
#include "cli/cli.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUCH 0.5 /* part of a unit's harm that a remedy should take: the cheapest that does is named */
#define SOME 0.1 /* one that takes less is none */

typedef struct line {
    const char *unit;
    int w_bits, a_bits, number; /* number: of the unit in the menu, -1: not found */
    double harm;                /* noise to signal, or what the metric counts */
    double helped;              /* harm that a wider candidate leaves; NAN: none helps */
    int help_w, help_a;
    int64_t weights, more_bytes;
} line;

typedef struct worst {
    bl_cli *cli;
    json_t *plan, *sens;
    bl_graph *graph;
    bl_menu *menu;
    line *lines;
    size_t n, n_units;          /* units with a choice; all of the plan */
    double total;
    bool noise;
    const char *metric;
} worst;

/* "W4A8"; a unit without weights has "A8". */
static bool parse_candidate(const char *text, int *w, int *a)
{
    *w = 0;
    return sscanf(text, "W%dA%d", w, a) == 2 || sscanf(text, "A%d", a) == 1;
}

static double harm_of(const worst *s, const json_t *cell)
{
    double v = json_number_value(json_object_get(cell, "value"));
    return s->noise ? pow(10, -v / 10) : fmax(v, 0);
}

static void find_weights(worst *s, line *l)
{
    l->number = -1;
    for (int u = 0; u < s->menu->n_units && l->number < 0; u++)
        if (!strcmp(s->menu->units[u].name, l->unit)) l->number = u;
    if (l->number < 0) return;
    const bl_unit *unit = &s->menu->units[l->number];
    for (int i = 0; i < unit->n_layers; i++) {
        int w = bl_layer_weight(s->graph, unit->layers[i]);
        if (w >= 0) l->weights += bl_tensor_count(&s->graph->values[w].t);
    }
}

static int64_t more_bytes(const line *l, int w_bits)
{
    if (w_bits <= l->w_bits) return 0;
    return (int64_t)(bl_packed_bytes((size_t)l->weights, w_bits) - bl_packed_bytes((size_t)l->weights, l->w_bits));
}

/* The cheapest candidate that is wider somewhere, narrower nowhere and takes MUCH of the harm; where
 * none does, the one that takes most, if that is SOME. */
static void find_help(const worst *s, const json_t *cells, line *l)
{
    const json_t *cell;
    size_t i;
    l->helped = NAN;
    json_array_foreach(cells, i, cell) {
        int w, a;
        const char *name = json_string_value(json_object_get(cell, "candidate"));
        if (!name || !parse_candidate(name, &w, &a)) continue;
        if (w < l->w_bits || a < l->a_bits || (w == l->w_bits && a == l->a_bits)) continue;
        double harm = harm_of(s, cell);
        int64_t bytes = more_bytes(l, w);
        if (!(harm <= (1 - SOME) * l->harm)) continue;
        bool much = harm <= (1 - MUCH) * l->harm, had = l->helped <= (1 - MUCH) * l->harm;
        bool better = isnan(l->helped) || (much != had ? much : much && bytes != l->more_bytes ? bytes < l->more_bytes : harm < l->helped);
        if (!better) continue;
        l->helped = harm;
        l->help_w = w;
        l->help_a = a;
        l->more_bytes = bytes;
    }
}

static const json_t *find_named(const json_t *array, const char *key, const char *name)
{
    const json_t *o;
    size_t i;
    json_array_foreach(array, i, o) {
        const char *own = json_string_value(json_object_get(o, key));
        if (own && !strcmp(own, name)) return o;
    }
    return NULL;
}

static int harmful_first(const void *pa, const void *pb)
{
    const line *a = pa, *b = pb;
    return a->harm != b->harm ? (a->harm > b->harm ? -1 : 1) : strcmp(a->unit, b->unit);
}

/* A plan's unit that the SENS record does not know was made by another menu. */
static bl_status gather(worst *s, const char *sens_path, const char *plan_path)
{
    bl_ctx *ctx = s->cli->ctx;
    json_t *units, *known, *o;
    size_t i;
    BL_TRY(bl_json_array(ctx, s->plan, "units", plan_path, 1 << 20, &units));
    BL_TRY(bl_json_array(ctx, s->sens, "units", sens_path, 1 << 20, &known));
    s->n_units = json_array_size(units);
    BL_ALLOC_TRY(ctx, s->lines = BL_NEW(s->cli->arena, line, BL_MAX(s->n_units, 1)));
    json_array_foreach(units, i, o) {
        line l = { 0 };
        int64_t w, a;
        char name[32];
        BL_TRY(bl_json_str(ctx, o, "name", plan_path, &l.unit));
        BL_TRY(bl_json_i64(ctx, o, "w_bits", plan_path, 0, 32, &w));
        BL_TRY(bl_json_i64(ctx, o, "a_bits", plan_path, 0, 32, &a));
        l.w_bits = (int)w;
        l.a_bits = (int)a;
        const json_t *unit = find_named(known, "name", l.unit);
        const json_t *cells = unit ? json_object_get(unit, "candidates") : NULL;
        if (!cells) continue; /* no choice, hence not measured */
        if (l.w_bits) snprintf(name, sizeof name, "W%dA%d", l.w_bits, l.a_bits);
        else snprintf(name, sizeof name, "A%d", l.a_bits);
        const json_t *cell = find_named(cells, "candidate", name);
        if (!cell)
            return bl_fail(ctx, BL_DATA, sens_path, "run bitlathe sense with the menu that the plan was made with",
                           "%s has no candidate %s, which the plan chose", l.unit, name);
        l.harm = harm_of(s, cell);
        find_weights(s, &l);
        find_help(s, cells, &l);
        s->total += l.harm;
        s->lines[s->n++] = l;
    }
    qsort(s->lines, s->n, sizeof *s->lines, harmful_first);
    return BL_OK;
}

/* ------------------------------------------------------------------ saying it */

static const char *layer_name(const worst *s, const line *l)
{
    const bl_unit *unit = l->number < 0 ? NULL : &s->menu->units[l->number];
    return unit && unit->n_layers ? s->graph->nodes[unit->layers[0]].name : l->unit;
}

static double share(const worst *s, double harm) { return s->total > 0 ? harm / s->total : 0; }

static char *advice(const worst *s, const line *l)
{
    char size[32], width[32];
    if (isnan(l->helped))
        return bl_format(s->cli->arena, l->w_bits && l->w_bits <= 4 ? "no wider candidate helps alone; --tune adaround rounds better"
                                        : l->a_bits <= 8            ? "the menu ends here; --act-bits 8,16 widens it"
                                                                    : "already as wide as it gets");
    if (l->w_bits) snprintf(width, sizeof width, "W%d A%d", l->help_w, l->help_a);
    else snprintf(width, sizeof width, "A%d", l->help_a);
    return bl_format(s->cli->arena, "%s leaves %.1f %%%s%s%s", width, 100 * share(s, l->helped), l->more_bytes ? ", +" : "",
                     l->more_bytes ? bl_human_bytes((uint64_t)l->more_bytes, size) : "",
                     l->w_bits && l->w_bits <= 4 && l->help_w > l->w_bits ? "; or --tune adaround" : "");
}

static json_t *as_json(const worst *s)
{
    json_t *units = json_array();
    for (size_t i = 0; i < s->n; i++) {
        const line *l = &s->lines[i];
        json_t *o = json_pack("{s:s, s:s, s:i, s:i, s:f, s:f}", "unit", l->unit, "layer", layer_name(s, l), "w_bits", l->w_bits,
                              "a_bits", l->a_bits, "harm", l->harm, "share", share(s, l->harm));
        if (!isnan(l->helped))
            json_object_set_new(o, "help", json_pack("{s:i, s:i, s:f, s:I}", "w_bits", l->help_w, "a_bits", l->help_a, "share",
                                                     share(s, l->helped), "more_bytes", (json_int_t)l->more_bytes));
        json_array_append_new(units, o);
    }
    return json_pack("{s:s, s:s, s:f, s:o}", "run", s->cli->args[0], "metric", s->metric, "harm", s->total, "units", units);
}

static bl_status say(worst *s)
{
    bool text;
    double sum = 0;
    size_t half = 0, most = 0;
    json_t *answer = as_json(s);
    if (!answer) return bl_fail(s->cli->ctx, BL_UNAVAILABLE, "answer", "", "the system has no memory left");
    BL_TRY(bl_cli_answer(s->cli, answer, &text));
    if (!text) return BL_OK;
    for (size_t i = 0; i < s->n; i++) { /* the last hundredth only with -v */
        if (sum < 0.5 * s->total) half++;
        if (sum < 0.99 * s->total || s->cli->verbose) most++;
        sum += s->lines[i].harm;
    }
    printf("%s: %zu of %zu units carry half of what the plan loses", s->cli->args[0], half, s->n);
    if (s->noise && s->total > 0) printf(", %.1f dB of signal to noise by the sum", -10 * log10(s->total));
    printf(" (%s)\n%7s  %-8s %-36s %s\n", s->metric, "share", "bits", "layer", "what would help");
    for (size_t i = 0; i < most; i++) {
        const line *l = &s->lines[i];
        char bits[32];
        char *help = advice(s, l);
        if (!help) return bl_pending(s->cli->ctx);
        if (l->w_bits) snprintf(bits, sizeof bits, "W%d A%d", l->w_bits, l->a_bits);
        else snprintf(bits, sizeof bits, "A%d", l->a_bits);
        printf("%5.1f %%  %-8s %-36s %s\n", 100 * share(s, l->harm), bits, layer_name(s, l), help);
    }
    if (most < s->n) printf("%zu more, less than 1 %% together (-v)\n", s->n - most);
    return BL_OK;
}

/* The menu only names layers and counts their weights; the recipe that made the plan groups units. */
static bl_status make_menu(worst *s)
{
    bl_menu_options o = bl_menu_options_default();
    const char *name = json_string_value(json_object_get(s->plan, "recipe"));
    bool built_in = false;
    for (size_t i = 0; name && i < bl_recipe_count(); i++) built_in |= !strcmp(name, bl_recipe_name(i));
    if (built_in) {
        bl_recipe recipe;
        BL_TRY(bl_recipe_load(s->cli->ctx, s->cli->arena, name, &recipe));
        o = recipe.menu;
    }
    return bl_menu_make(s->cli->ctx, s->graph, &o, &s->menu);
}

bl_status bl_inspect_worst(bl_cli *cli)
{
    worst s = { .cli = cli };
    const char *model;
    char *run = bl_path_join(cli->arena, cli->args[0], "run.json"), *plan = bl_path_join(cli->arena, cli->args[0], "plan.json"),
         *sens = bl_path_join(cli->arena, cli->args[0], "sens.json");
    bool edited;
    bl_hash hash;
    if (!run || !plan || !sens) return bl_pending(cli->ctx);
    BL_TRY(bl_cli_run_model(cli, run, &model));
    if (!bl_file_exists(sens) && bl_cli_run_keeps_data(cli, run)) return bl_inspect_worst_measured(cli);
    if (!bl_file_exists(sens))
        return bl_fail(cli->ctx, BL_NOINPUT, sens, "bitlathe sense MODEL.onnx --data DATA -o RUNDIR makes it",
                       "the run has no sensitivities");
    bl_status st = bl_record_read(cli->ctx, plan, "plan", 1, &edited, &s.plan, &hash);
    if (st == BL_OK) st = bl_record_read(cli->ctx, sens, "sens", 1, NULL, &s.sens, &hash);
    if (st == BL_OK) st = bl_json_str(cli->ctx, s.sens, "metric", sens, &s.metric);
    const bl_sensitivity *row = st == BL_OK ? bl_sensitivity_find(s.metric) : NULL;
    s.noise = row && row->noise;
    if (st == BL_OK) st = bl_cli_float_model(cli, model, true, &s.graph);
    if (st == BL_OK) st = make_menu(&s);
    if (st == BL_OK) st = gather(&s, sens, plan);
    if (st == BL_OK) st = say(&s);
    json_decref(s.plan);
    json_decref(s.sens);
    bl_menu_free(s.menu);
    bl_graph_free(s.graph);
    return st;
}
