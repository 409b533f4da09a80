/* SPDX-License-Identifier: BSD-3-Clause */
/* Stages over a run directory; see pipeline.h. */
#include "cli/pipeline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_RECIPE = 0x300, KEY_WEIGHT_BITS, KEY_ACT_BITS, KEY_TARGET, KEY_BUDGET, KEY_ACT_RANGE, KEY_WEIGHT_RANGE,
       KEY_TUNE, KEY_PER_TENSOR, KEY_NARROW, KEY_POWER, KEY_NO_ENDS, KEY_CONCAT, KEY_ANCHORED, KEY_MEASURE_SECONDS, KEY_CANDIDATES, KEY_GROUPS,
       KEY_SQNR_EPS, KEY_WALK, KEY_NO_CACHE, KEY_SET, KEY_CODEBOOK, KEY_GROUP };

enum { KEY_FLOOR = 0x380, KEY_MINIMIZE, KEY_FLOOR_DATA, KEY_FLOOR_LIMIT };
enum { OUTPUT_STRETCH = 2 };
enum { RANGE_SAMPLES = 128 }; /* range estimators are told apart on so many */
enum { FLOOR_SAMPLES = 2048 }; /* top-1 on calibration data: a standard error of a third of a point at 2 % flips */

const struct argp_option bl_recipe_options[] = {
    { NULL, 0, NULL, 0, "Choosing bits:", 10 },
    { "recipe", KEY_RECIPE, "NAME|FILE", 0, "see `bitlathe list recipes` (mixed)", 10 },
    { "set", KEY_SET, "KEY=VALUE", 0, "another line of the recipe, such as sensitivity=kl (repeat)", 10 },
    { "weights-bits", KEY_WEIGHT_BITS, "N[,N]", 0, "candidate widths of weights; one: uniform", 10 },
    { "act-bits", KEY_ACT_BITS, "N[,N]", 0, "candidate widths of activations; one: uniform", 10 },
    { "candidates", KEY_CANDIDATES, "WxAy[,..]", 0, "pairs, such as W4A8,W8A8, instead of every width with every other", 10 },
    { "budget", KEY_BUDGET, "METRIC=LIMIT", 0, "size=0.6 (of uniform int8), size=300KiB, latency=2ms, bops=0.5 (repeat)", 10 },
    { "floor", KEY_FLOOR, "METRIC=VALUE", 0, "top1=-1.0 (points below float) or sqnr=30 (dB): the least cost that keeps it (repeat)", 10 },
    { "minimize", KEY_MINIMIZE, "METRIC", 0, "which cost, beside --floor: size, latency, bops or energy (size)", 10 },
    { "floor-data", KEY_FLOOR_DATA, "SPEC", 0, "judge floors on this data set (same preprocessing as --data) instead of --data", 10 },
    { "floor-limit", KEY_FLOOR_LIMIT, "N", 0, "on N of its samples, evenly spaced", 10 },
    { "target", KEY_TARGET, "NAME|FILE", 0, "what prices a width: see `bitlathe list targets`, or a cost.json, or a table FILE.npy[@MHZ]", 10 },
    { "act-range", KEY_ACT_RANGE, "NAME", 0, "range estimator of activations", 10 },
    { "weight-range", KEY_WEIGHT_RANGE, "NAME", 0, "range estimator of weights", 10 },
    { "tune", KEY_TUNE, "NAME[:WORDS]", 0, "what changes weights after the search, with its words: finetune:epochs=3; none: nothing", 10 },
    { "per-tensor", KEY_PER_TENSOR, NULL, 0, "one scale a weight instead of one an output channel", 10 },
    { "narrow", KEY_NARROW, NULL, 0, "restricted symmetric weight grids", 10 },
    { "power-of-two", KEY_POWER, NULL, 0, "scales are powers of two, zero points 0 or the middle: for `export --format verilog`", 10 },
    { "codebook", KEY_CODEBOOK, NULL, 0, "weights below 8 bits are a layer's shared numbers (k-means): for size, with --target counted", 10 },
    { "weight-group", KEY_GROUP, "G", 0, "weights of 1 to 6 bits: a scale for G inputs of an output channel; for size, with --target counted", 10 },
    { "no-keep-ends", KEY_NO_ENDS, NULL, 0, "first and last layer, input and output may be narrow too", 10 },
    { "groups", KEY_GROUPS, "amp|grids", 0, "amp: inputs of Add, Mul, Concat decide together and share a grid", 10 },
    { "sqnr-eps", KEY_SQNR_EPS, "X", 0, "sensitivity sqnr: added to the mean squared noise (1e-12 of the signal)", 10 },
    { "walk", KEY_WALK, "NAME", 0, "pareto-greedy under a floor: binary, interpolation, binary-interpolation, sequential, reverse", 10 },
    { "equal-concat", KEY_CONCAT, NULL, 0, "a Concat and its parts share a grid: runtimes then only copy", 10 },
    { "anchored", KEY_ANCHORED, NULL, 0, "gates: the image of 0 is exactly a code, which runtimes can do by table", 10 },
    { "measure-seconds", KEY_MEASURE_SECONDS, "S", 0, "longest time for one operator shape (0.5)", 10 },
    { "no-cache", KEY_NO_CACHE, NULL, 0, "measure every operator shape anew; else those in $XDG_CACHE_HOME/bitlathe are reused", 10 },
    { 0 }
};

error_t bl_recipe_parse(bl_cli *cli, bl_recipe_words *w, int key, char *arg)
{
    switch (key) {
    case KEY_RECIPE: w->recipe = arg; return 0;
    case KEY_WEIGHT_BITS: w->weight_bits = arg; return 0;
    case KEY_ACT_BITS: w->act_bits = arg; return 0;
    case KEY_CANDIDATES: w->candidates = arg; return 0;
    case KEY_GROUPS: w->groups = arg; return 0;
    case KEY_WALK: w->walk = arg; return 0;
    case KEY_SQNR_EPS:
        if (!bl_parse_f64(arg, &w->sqnr_eps) || !(w->sqnr_eps > 0)) return bl_cli_bad(cli, "--sqnr-eps", arg, "give a number above zero, such as 1e-4");
        return 0;
    case KEY_TARGET: w->target = arg; return 0;
    case KEY_ACT_RANGE: w->act_range = arg; return 0;
    case KEY_WEIGHT_RANGE: w->weight_range = arg; return 0;
    case KEY_SET:
        if (w->n_set == (int)BL_COUNTOF(w->set)) return bl_cli_bad(cli, "--set", arg, "give a recipe file instead");
        w->set[w->n_set++] = arg;
        return 0;
    case KEY_TUNE: w->tune = arg; return 0;
    case KEY_PER_TENSOR: w->per_tensor = true; return 0;
    case KEY_NARROW: w->narrow = true; return 0;
    case KEY_POWER: w->power_of_two = true; return 0;
    case KEY_CODEBOOK: w->codebook = true; return 0;
    case KEY_GROUP: {
        uint64_t n;
        if (!bl_parse_u64(arg, &n) || n < 2 || n > BL_WEIGHT_GROUP_MOST) return bl_cli_bad(cli, "--weight-group", arg, "give a number of inputs from 2 on, such as 32");
        w->weight_group = (int)n;
        return 0;
    }
    case KEY_CONCAT: w->equal_concat = true; return 0;
    case KEY_ANCHORED: w->anchored = true; return 0;
    case KEY_NO_CACHE: w->no_cache = true; return 0;
    case KEY_NO_ENDS: w->no_ends = true; return 0;
    case KEY_BUDGET:
        if (w->n_budgets == BL_MCKP_BUDGETS_MAX) return bl_cli_bad(cli, "--budget", arg, "give at most four budgets");
        w->budget[w->n_budgets++] = arg;
        return 0;
    case KEY_FLOOR:
        if (w->n_floors == BL_N_FLOOR) return bl_cli_bad(cli, "--floor", arg, "give each metric one floor");
        w->floor[w->n_floors++] = arg;
        return 0;
    case KEY_MINIMIZE: w->minimize = arg; return 0;
    case KEY_FLOOR_DATA: w->floor_data = arg; return 0;
    case KEY_FLOOR_LIMIT: {
        uint64_t n;
        if (!bl_parse_u64(arg, &n) || n < 1 || n > INT64_MAX) return bl_cli_bad(cli, "--floor-limit", arg, "give a number of samples");
        w->floor_limit = (int64_t)n;
        return 0;
    }
    case KEY_MEASURE_SECONDS:
        if (!bl_parse_f64(arg, &w->measure_seconds) || !(w->measure_seconds > 0) || w->measure_seconds > 3600)
            return bl_cli_bad(cli, "--measure-seconds", arg, "give seconds, such as 0.5");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

char *bl_pipeline_path(bl_pipeline *p, const char *name)
{
    return bl_path_join(p->cli->arena, p->dir, name);
}

void bl_pipeline_time(bl_pipeline *p, const char *stage, uint64_t start_ns)
{
    bl_trace_span(p->ctx, stage, start_ns);
    bl_return_freed();
    json_object_set_new(p->seconds, stage, bl_json_real((double)(bl_now_ns() - start_ns) * 1e-9));
}

/* ---- opening */

static bl_status set_bits(bl_pipeline *p, const char *option, const char *text, int *bits, int *n)
{
    char *copy = bl_strdup(p->cli->arena, text), *save = NULL;
    BL_ALLOC_TRY(p->ctx, copy);
    *n = p->recipe.menu.n_pairs = 0;
    for (char *t = strtok_r(copy, ",", &save); t; t = strtok_r(NULL, ",", &save)) {
        uint64_t b;
        if (!bl_parse_u64(t, &b) || b < 1 || b > 16 || *n == 16)
            return bl_fail(p->ctx, BL_USAGE, option, "give widths such as 2,4,8", "\"%s\" is no list of widths", text);
        bits[(*n)++] = (int)b;
    }
    return *n ? BL_OK : bl_fail(p->ctx, BL_USAGE, option, "give widths such as 2,4,8", "no width");
}

static bl_status apply_list_words(bl_pipeline *p, const bl_recipe_words *w)
{
    bl_recipe *r = &p->recipe;
    if (w->candidates && !bl_menu_pairs(w->candidates, &r->menu))
        return bl_fail(p->ctx, BL_USAGE, "--candidates", "give pairs such as W4A8,W8A8", "\"%s\" is no list of candidates", w->candidates);
    if (w->groups && strcmp(w->groups, "amp") && strcmp(w->groups, "grids"))
        return bl_fail(p->ctx, BL_USAGE, "--groups", "give amp or grids", "\"%s\" is neither", w->groups);
    if (w->groups) r->menu.equal_grids = !strcmp(w->groups, "amp");
    if (w->sqnr_eps > 0) r->sqnr_eps = w->sqnr_eps;
    if (w->walk) r->walk = w->walk;
    return bl_curve_check(p->ctx, r->walk);
}

static bl_status apply_words(bl_pipeline *p, const bl_recipe_words *w)
{
    bl_recipe *r = &p->recipe;
    bool one_each = w->weight_bits && w->act_bits && !strchr(w->weight_bits, ',') && !strchr(w->act_bits, ',');
    const char *name = w->recipe ? w->recipe : (one_each && !w->n_budgets) ? "uniform" : "mixed";
    BL_TRY(bl_recipe_load(p->ctx, p->cli->arena, name, r));
    if (r->train)
        return bl_fail(p->ctx, BL_USAGE, name, "use `bitlathe train --recipe`", "this recipe's bits are chosen by training");
    for (int i = 0; i < w->n_set; i++) BL_TRY(bl_recipe_set(p->ctx, p->cli->arena, r, w->set[i]));
    if (w->weight_bits) BL_TRY(set_bits(p, "--weights-bits", w->weight_bits, r->menu.w_bits, &r->menu.n_w));
    if (w->act_bits) BL_TRY(set_bits(p, "--act-bits", w->act_bits, r->menu.a_bits, &r->menu.n_a));
    BL_TRY(apply_list_words(p, w));
    if (w->act_bits || w->candidates) r->rescue = 0; /* these and no others */
    if (w->act_range) r->grids.act_range = w->act_range;
    if (w->weight_range) r->grids.weight_range = w->weight_range;
    if (w->per_tensor) r->grids.per_tensor = true;
    if (w->narrow) r->grids.narrow = true;
    if (w->power_of_two) r->grids.power_of_two = true;
    if (w->codebook) r->menu.codebook = r->grids.codebook = true;
    if (w->weight_group) r->menu.weight_group = r->grids.weight_group = w->weight_group;
    if (w->equal_concat) r->menu.equal_concat = true;
    if (w->anchored) r->menu.anchored = true;
    if (w->no_ends) r->menu.keep_ends = r->small_ends = false;
    if (w->tune) r->tune = strcmp(w->tune, "none") ? w->tune : NULL;
    if (r->tune) BL_TRY(bl_tuner_check(p->ctx, r->tune));
    if (r->loop_tune && strcmp(r->loop_tune, "none")) BL_TRY(bl_tuner_check(p->ctx, r->loop_tune));
    p->target = w->target ? w->target : r->target;
    if (!bl_target_find(p->target) && !strpbrk(p->target, "./@") && !bl_file_exists(p->target))
        return bl_fail(p->ctx, BL_USAGE, p->target, "see `bitlathe list targets`, or give a cost.json", "unknown target");
    p->measure_seconds = w->measure_seconds;
    p->no_cache = w->no_cache;
    p->n_budgets = w->n_budgets;
    for (int b = 0; b < w->n_budgets; b++) BL_TRY(bl_budget_parse(p->ctx, w->budget[b], &p->budgets[b]));
    for (int b = 0; b < w->n_budgets; b++)
        for (int c = 0; c < b; c++)
            if (p->budgets[b].metric == p->budgets[c].metric)
                return bl_fail(p->ctx, BL_USAGE, w->budget[b], "give each metric one budget", "a second budget for one metric");
    return BL_OK;
}

static bl_status apply_floors(bl_pipeline *p, const bl_recipe_words *w)
{
    const char *remedy = "give size, bops, latency or energy";
    p->n_floors = w->n_floors;
    p->minimize = BL_M_SIZE;
    p->floor_data = w->floor_data;
    p->floor_limit = w->floor_limit;
    p->minimize_given = w->minimize != NULL;
    for (int i = 0; i < w->n_floors; i++) {
        BL_TRY(bl_floor_parse(p->ctx, w->floor[i], &p->floors[i]));
        for (int k = 0; k < i; k++)
            if (p->floors[k].kind == p->floors[i].kind)
                return bl_fail(p->ctx, BL_USAGE, w->floor[i], "give each metric one floor", "a second floor for one metric");
    }
    if (!w->n_floors && (w->minimize || w->floor_data))
        return bl_fail(p->ctx, BL_USAGE, w->minimize ? "--minimize" : "--floor-data", "give --floor top1=-1.0 or --floor sqnr=30",
                       "without a floor the least cost is that of the narrowest widths");
    if (w->minimize && !bl_metric_parse(w->minimize, &p->minimize))
        return bl_fail(p->ctx, BL_USAGE, w->minimize, remedy, "no cost of that name");
    bool energy = w->minimize && p->minimize == BL_M_ENERGY;
    for (int b = 0; b < p->n_budgets; b++) energy |= p->budgets[b].metric == BL_M_ENERGY;
    const bl_target *row = bl_target_find(p->target);
    if (energy && row && row->source == BL_SOURCE_COUNTED)
        return bl_fail(p->ctx, BL_UNAVAILABLE, "energy", "give a --target that does, such as here or bitfusion",
                       "the target \"%s\" neither measures nor models energy", p->target);
    if (w->n_floors && w->n_budgets == BL_MCKP_BUDGETS_MAX)
        return bl_fail(p->ctx, BL_USAGE, "--budget", "give at most three beside a floor", "too many budgets");
    return BL_OK;
}

/* The recipe's other menu, for budgets that values' widths count for; words that name widths have the last say. */
static bl_status apply_priced(bl_pipeline *p, const bl_recipe_words *w)
{
    bool priced = p->n_floors && p->minimize != BL_M_SIZE;
    for (int b = 0; b < p->n_budgets; b++) priced |= p->budgets[b].metric != BL_M_SIZE;
    if (!priced || !p->recipe.candidates_priced || w->weight_bits || w->act_bits || w->candidates) return BL_OK;
    BL_CHECK(p->ctx, bl_menu_pairs(p->recipe.candidates_priced, &p->recipe.menu));
    return BL_OK;
}

/* Layers at both ends cost little accuracy to keep wide where they are small.  Where they are much of the size that is
 * asked for (a classifier of 1,000 classes is a third of MobileNetV1), what they keep the others must give. */
static bl_status make_menu(bl_pipeline *p)
{
    const double small = 0.25; /* of the size that is asked for */
    bl_menu_options *o = &p->recipe.menu;
    BL_TRY(bl_menu_make(p->ctx, p->graph, o, &p->menu));
    if (!p->recipe.small_ends) return BL_OK;
    double ends = 0, all = 0, asked = INFINITY;
    for (int i = 0; i < p->graph->n_nodes; i++) {
        int u = p->menu->unit_of_layer[i];
        double bytes = u < 0 ? 0 : (double)bl_layer_weight_bytes(p->graph, p->menu, i, 8);
        all += bytes;
        if (u >= 0 && p->menu->units[u].end) ends += bytes;
    }
    for (int b = 0; b < p->n_budgets; b++)
        if (p->budgets[b].metric == BL_M_SIZE) asked = isnan(p->budgets[b].relative) ? p->budgets[b].limit : p->budgets[b].relative * all;
    if (ends <= small * asked) return BL_OK;
    bl_menu_free(p->menu);
    p->menu = NULL;
    o->keep_ends = false;
    p->ends_told = bl_format(p->cli->arena, "at 8 bits the layers at both ends would be %.0f %% of the size asked for: they may be narrower too",
                             100 * ends / asked);
    BL_ALLOC_TRY(p->ctx, p->ends_told);
    return bl_menu_make(p->ctx, p->graph, o, &p->menu);
}

bl_status bl_pipeline_open(bl_pipeline *p, bl_cli *cli, const bl_recipe_words *w, const char *dir)
{
    *p = (bl_pipeline){ .cli = cli, .ctx = cli->ctx, .dir = dir, .seconds = json_object() };
    uint64_t start = bl_now_ns();
    BL_TRY(apply_words(p, w));
    BL_TRY(apply_floors(p, w));
    BL_TRY(apply_priced(p, w));
    if (w->searches && !p->n_budgets && bl_search_find(p->recipe.search)->needs_budget) return bl_search_unbounded(p->ctx);
    BL_TRY(bl_cli_float_model(cli, cli->args[0], true, &p->graph));
    BL_TRY(make_menu(p));
    bl_pipeline_time(p, "import", start);
    return BL_OK;
}

/* Samples that calibrate. */
static int64_t wanted(const bl_pipeline *p)
{
    return p->cli->data.limit ? p->cli->data.limit : p->recipe.calibrate;
}

bl_status bl_pipeline_begin(bl_pipeline *p)
{
    p->begun = true;
    return bl_cli_keep_run(p->cli, p->dir, p->cli->args[0], p->graph, p->data, wanted(p));
}

void bl_pipeline_close(bl_pipeline *p)
{
    bl_grid_book_free(p->book);
    bl_oracle_free(p->oracle);
    bl_oracle_free(p->judge);
    bl_data_free(p->judge_data);
    bl_prices_free(p->prices);
    bl_cost_free(p->cost);
    bl_sens_free(p->sens);
    bl_rounded_free(p->rounded);
    bl_stats_free(p->stats);
    bl_menu_free(p->menu);
    bl_data_free(p->data);
    json_decref(p->samples);
    bl_graph_free(p->graph);
    json_decref(p->seconds);
}

/* ---- stages */

static bool same(bl_hash a, bl_hash b)
{
    return !strcmp(a.hex, b.hex);
}

/* A record that cannot be used is made again; why is only said when asked. */
static void say_again(bl_pipeline *p, const char *file)
{
    if (p->cli->verbose) bl_note(p->ctx, "%s is made again: %s", file, bl_last_error(p->ctx).what);
}

/* Made samples reach half as far as real ones where no BatchNormalization holds them: at the network's output, and
 * there clipping makes the best classes equal. */
static void stretch_outputs(bl_pipeline *p)
{
    for (int i = 0; p->samples && i < p->graph->n_outputs; i++) {
        int u = p->menu->unit_of_value[bl_metric_value(p->graph, i)];
        if (u < 0) continue;
        p->menu->units[u].stretch = OUTPUT_STRETCH;
        for (size_t b = 0; b < BL_COUNTOF(p->menu->units[u].why); b++)
            p->menu->units[u].why[b] = "made samples: twice as wide as they reach";
    }
}

bl_status bl_pipeline_ranges(bl_pipeline *p)
{
    const bl_observer *row = bl_observer_find(p->recipe.grids.act_range ? p->recipe.grids.act_range : "mse");
    char *path = p->dir ? bl_pipeline_path(p, "ranges.json") : NULL, text[128];
    bool fits = false;
    stretch_outputs(p);
    if (!row || !row->measured) return BL_OK; /* unknown ones are refused where they are used */
    snprintf(text, sizeof text, "%s %s %d", p->stats->hash.hex, bl_data_hash(p->data).hex, RANGE_SAMPLES);
    bl_hash key = bl_hash_of(text, strlen(text));
    if (path && bl_file_exists(path)) {
        bl_status s = bl_ranges_read(p->ctx, p->menu, &key, path, &fits);
        if (s != BL_OK) say_again(p, "ranges.json");
        if (fits) return BL_OK;
    }
    uint64_t start = bl_now_ns();
    bl_sense_options o = { .samples = RANGE_SAMPLES, .grids = p->recipe.grids };
    bl_sense_input in = { p->graph, p->menu, p->stats, p->data, &o };
    BL_TRY(bl_ranges_choose(p->ctx, &in, p->menu));
    bl_pipeline_time(p, "ranges", start);
    return path ? bl_ranges_write(p->ctx, p->menu, &key, path) : BL_OK;
}

/* Rank 0 makes a record, the others read it when it is there. */
static bl_status in_turn(bl_pipeline *p, bl_status (*stage)(bl_pipeline *))
{
    if (p->cli->rank) BL_TRY(bl_ranks_wait(p->cli));
    BL_TRY(stage(p));
    return p->cli->rank ? BL_OK : bl_ranks_wait(p->cli);
}

static bl_status calibrate(bl_pipeline *p)
{
    uint64_t start = bl_now_ns();
    int64_t want = wanted(p), n;
    int64_t *index;
    char *path = p->dir ? bl_pipeline_path(p, "stats.json") : NULL;
    BL_TRY(bl_pipeline_data(p));
    BL_TRY(bl_data_pick(p->data, want, p->cli->arena, &index, &n));
    if (path && bl_file_exists(path)) {
        bl_status s = bl_stats_read(p->ctx, p->graph, path, &p->stats);
        if (s == BL_OK && p->stats->samples == n && same(p->stats->data, bl_data_hash(p->data))) return BL_OK;
        if (s != BL_OK) say_again(p, "stats.json");
        bl_stats_free(p->stats);
        p->stats = NULL;
    }
    bl_calibrate_options o = { .samples = want };
    BL_TRY(bl_calibrate(p->ctx, p->graph, p->data, &o, &p->stats));
    if (path) BL_TRY(bl_stats_write(p->ctx, p->graph, p->stats, path));
    bl_pipeline_time(p, "calibrate", start);
    return BL_OK;
}

bl_status bl_pipeline_stats(bl_pipeline *p)
{
    BL_TRY(in_turn(p, bl_pipeline_data));
    BL_TRY(in_turn(p, calibrate));
    return in_turn(p, bl_pipeline_ranges);
}

bl_sense_options bl_pipeline_sense_options(const bl_pipeline *p)
{
    const bl_recipe *r = &p->recipe;
    return (bl_sense_options){ .metric = r->sensitivity, .samples = r->sense, .sqnr_eps = r->sqnr_eps, .grids = r->grids, .masks = r->masks,
                               .mask_share = r->mask_share, .mask_by_width = r->mask_by_width, .weights_only = r->weights_only,
                               .rounded = p->rounded };
}

/* Is what lies at path made from all that the recipe says now?  Then it is p->sens. */
static bool sens_there(bl_pipeline *p, const bl_menu *menu, const char *path, const bl_sense_options *o, const char *settings, int64_t n)
{
    if (!path || !bl_file_exists(path)) return false;
    bl_status s = bl_sens_read(p->ctx, p->graph, menu, path, &p->sens);
    const char *wr = o->grids.weight_range ? o->grids.weight_range : "mse", *ar = o->grids.act_range ? o->grids.act_range : "mse";
    if (s == BL_OK && same(p->sens->stats, p->stats->hash) && p->sens->samples == n && same(p->sens->data, bl_data_hash(p->data)) &&
        !strcmp(p->sens->metric, o->metric) && !strcmp(p->sens->settings, settings) && !strcmp(p->sens->weight_range, wr) && !strcmp(p->sens->act_range, ar) &&
        p->sens->per_tensor == o->grids.per_tensor && p->sens->narrow == o->grids.narrow &&
        p->sens->power_of_two == o->grids.power_of_two && p->sens->codebook == o->grids.codebook &&
        p->sens->weight_group == o->grids.weight_group && p->sens->sqnr_eps == o->sqnr_eps)
        return true;
    if (s != BL_OK) say_again(p, bl_path_base(path));
    bl_sens_free(p->sens);
    p->sens = NULL;
    return false;
}

static char *part_path(bl_pipeline *p, const char *kind, const char *ending, int at, int of)
{
    return bl_format(p->cli->arena, "%s/%s.%d-of-%d.%s", p->dir, kind, at, of, ending);
}

/* The shard's units, into a record of their own. */
static bl_status sense_part(bl_pipeline *p, bl_sense_input *in, bl_shard shard, const char *settings, int64_t n)
{
    bl_menu part;
    char *path = part_path(p, "sens", "json", shard.at, shard.of);
    BL_ALLOC_TRY(p->ctx, path);
    BL_TRY(bl_shard_menu(p->ctx, p->cli->arena, p->menu, shard, &part));
    if (sens_there(p, &part, path, in->options, settings, n)) return BL_OK;
    in->menu = &part;
    BL_TRY(bl_sense(p->ctx, in, &p->sens));
    BL_TRY(bl_sens_write(p->ctx, &part, p->sens, path));
    return bl_shard_mark(p->ctx, path, shard);
}

/* Paths of all ranks' parts. */
static bl_status part_paths(bl_pipeline *p, const char *kind, const char *ending, const char ***out)
{
    const char **paths = BL_NEW(p->cli->arena, const char *, (size_t)p->cli->ranks + 1);
    BL_ALLOC_TRY(p->ctx, paths);
    for (int r = 0; r < p->cli->ranks; r++) BL_ALLOC_TRY(p->ctx, paths[r] = part_path(p, kind, ending, r + 1, p->cli->ranks));
    *out = paths;
    return BL_OK;
}

/* Each rank its part, then all of them the whole. */
static bl_status sense_by_ranks(bl_pipeline *p, bl_sense_input *in, const char *path, const char *settings, int64_t n)
{
    const char **paths;
    BL_TRY(sense_part(p, in, (bl_shard){ p->cli->rank + 1, p->cli->ranks }, settings, n));
    bl_sens_free(p->sens);
    p->sens = NULL;
    BL_TRY(bl_ranks_wait(p->cli));
    if (!p->cli->rank) {
        BL_TRY(part_paths(p, "sens", "json", &paths));
        BL_TRY(bl_shard_merge(p->ctx, p->cli->arena, paths, p->cli->ranks, path, NULL));
    }
    BL_TRY(bl_ranks_wait(p->cli));
    return bl_sens_read(p->ctx, p->graph, p->menu, path, &p->sens);
}

bl_status bl_pipeline_rounded(bl_pipeline *p)
{
    if (!p->recipe.rounding || p->rounded) return BL_OK;
    uint64_t start = bl_now_ns();
    bl_round_options o = { .samples = p->stats->samples, .grids = p->recipe.grids, .folder = p->dir };
    BL_TRY(bl_round(p->ctx, p->graph, p->menu, p->data, &o, &p->rounded));
    bl_pipeline_time(p, "round", start);
    return BL_OK;
}

bl_status bl_pipeline_sens(bl_pipeline *p)
{
    BL_TRY(in_turn(p, bl_pipeline_rounded));
    uint64_t start = bl_now_ns();
    char *path = p->dir ? bl_pipeline_path(p, "sens.json") : NULL;
    bl_sense_options o = bl_pipeline_sense_options(p);
    char *settings = bl_sense_settings(p->cli->arena, &o);
    BL_ALLOC_TRY(p->ctx, settings);
    bl_sense_input in = { p->graph, p->menu, p->stats, p->data, &o };
    int64_t *index, n;
    BL_TRY(bl_data_pick(p->data, o.samples, p->cli->arena, &index, &n));
    if (p->shard.of) return sense_part(p, &in, p->shard, settings, n);
    if (sens_there(p, p->menu, path, &o, settings, n)) return BL_OK;
    if (p->cli->ranks > 1 && path) {
        BL_TRY(sense_by_ranks(p, &in, path, settings, n));
    } else {
        BL_TRY(bl_sense(p->ctx, &in, &p->sens));
        if (path) BL_TRY(bl_sens_write(p->ctx, p->menu, p->sens, path));
    }
    bl_pipeline_time(p, "sense", start);
    return BL_OK;
}

void bl_pipeline_elsewhere(bl_cli *cli, const char *path, const bl_cost *cost)
{
    if (cost->model || !cost->has_latency || bl_cost_is_here(cli->ctx, cost)) return;
    json_t *here = bl_machine_json(cli->ctx);
    char *there = bl_cost_machine_text(cli->arena, cost->machine), *this = bl_cost_machine_text(cli->arena, here);
    json_decref(here);
    if (there && this) bl_note(cli->ctx, "%s was measured on %s, this is %s", path, there, this);
}

/* Of this machine, or only its words for it when the record comes from a file. */
static bool cost_fits(bl_pipeline *p, const bl_cost *c)
{
    return same(c->graph, p->graph->hash) && same(c->menu, p->menu->hash) && !strcmp(c->target, p->target) &&
           bl_cost_is_here(p->ctx, c);
}

/* Of the user, as the XDG rules say; NULL: none. */
static const char *cache_folder(bl_pipeline *p)
{
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (p->no_cache) return NULL;
    if (xdg && *xdg == '/') return bl_path_join(p->cli->arena, xdg, "bitlathe");
    return home && *home == '/' ? bl_path_join(p->cli->arena, home, ".cache/bitlathe") : NULL;
}

static bl_status own_cost(bl_pipeline *p, const char *path)
{
    if (path && bl_file_exists(path) && bl_target_find(p->target)->source != BL_SOURCE_MODEL) {
        bl_status s = bl_cost_read(p->ctx, path, &p->cost);
        if (s == BL_OK && cost_fits(p, p->cost)) return BL_OK;
        if (s != BL_OK) say_again(p, "cost.json");
        bl_cost_free(p->cost);
        p->cost = NULL;
    }
    bl_measure_options o = { .seconds = p->measure_seconds, .cache = cache_folder(p) };
    uint64_t start = bl_now_ns();
    BL_TRY(bl_measure(p->ctx, p->graph, p->menu, p->target, &o, &p->cost));
    bl_pipeline_time(p, "measure", start);
    return path ? bl_cost_write(p->ctx, p->cost, path) : BL_OK;
}

bl_status bl_pipeline_price(bl_pipeline *p, const int *choice, double total[BL_N_METRIC])
{
    bl_candidate *c = BL_NEW(p->cli->arena, bl_candidate, (size_t)p->menu->n_units);
    BL_ALLOC_TRY(p->ctx, c);
    for (int u = 0; u < p->menu->n_units; u++) c[u] = p->menu->units[u].candidates[choice[u]];
    return bl_price_exact(p->ctx, p->graph, p->menu, p->cost, c, total);
}

static bl_status find_cost(bl_pipeline *p)
{
    if (p->cli->rank) { /* what rank 0 has measured, on whichever machine */
        BL_TRY(bl_cost_read(p->ctx, bl_pipeline_path(p, "cost.json"), &p->cost));
    } else if (bl_target_find(p->target)) {
        BL_TRY(own_cost(p, p->dir ? bl_pipeline_path(p, "cost.json") : NULL));
    } else {
        BL_TRY(bl_cost_is_table(p->target) ? bl_cost_read_table(p->ctx, p->graph, p->menu, p->target, &p->cost)
                                           : bl_cost_read(p->ctx, p->target, &p->cost));
        bl_pipeline_elsewhere(p->cli, p->target, p->cost);
        if (p->dir) BL_TRY(bl_cost_write(p->ctx, p->cost, bl_pipeline_path(p, "cost.json")));
    }
    return BL_OK;
}

bl_status bl_pipeline_cost(bl_pipeline *p)
{
    BL_TRY(in_turn(p, find_cost));
    BL_TRY(bl_prices_make(p->ctx, p->graph, p->menu, p->cost, &p->prices));
    BL_TRY(bl_price_int8(p->ctx, p->graph, p->menu, p->cost, p->int8));
    for (int b = 0; b < p->n_budgets; b++) bl_budget_resolve(&p->budgets[b], p->int8);
    return BL_OK;
}

static char *trials_path(bl_pipeline *p)
{
    if (!p->dir) return NULL;
    if (!p->shard.of) return bl_pipeline_path(p, "trials.jsonl");
    return part_path(p, "trials", "jsonl", p->shard.at, p->shard.of);
}

bl_status bl_pipeline_oracle(bl_pipeline *p)
{
    if (p->oracle) return BL_OK;
    return bl_oracle_new(p->ctx, p->graph, p->data, p->recipe.sense, trials_path(p), &p->oracle);
}

/* ---- floors */

static bool wants_labels(const bl_pipeline *p)
{
    bool top1 = false;
    for (int i = 0; i < p->n_floors; i++) top1 |= p->floors[i].kind == BL_FLOOR_TOP1;
    return top1;
}

bl_status bl_pipeline_judge(bl_pipeline *p)
{
    if (p->judge || !p->n_floors) return BL_OK;
    bl_data *data;
    int64_t samples = wants_labels(p) ? FLOOR_SAMPLES : p->recipe.sense;
    if (!p->floor_data && wants_labels(p) && bl_pipeline_distils(p))
        return bl_fail(p->ctx, BL_USAGE, "--floor top1", "give labelled samples with --floor-data", "distilled samples have no labels");
    if (!p->floor_data) BL_TRY(bl_pipeline_data(p));
    data = p->data;
    if (p->floor_data) {
        BL_TRY(bl_cli_judging_data(p->cli, p->floor_data, p->cli->data.limit, p->graph, &p->judge_data));
        data = p->judge_data;
        samples = INT64_MAX;
    }
    if (wants_labels(p) && !bl_data_labelled(data))
        return bl_fail(p->ctx, BL_USAGE, "--floor top1", "give labelled samples with --floor-data",
                       "points of top-1 need labels, and %s has none", bl_data_name(data));
    samples = p->floor_limit ? p->floor_limit : samples;
    BL_TRY(bl_oracle_new(p->ctx, p->graph, data, samples, p->dir ? bl_pipeline_path(p, "trials.jsonl") : NULL, &p->judge));
    return wants_labels(p) ? bl_oracle_labels_check(p->judge) : BL_OK;
}

bl_status bl_pipeline_ask(void *user, const int *choice, bl_score *out)
{
    bl_pipeline *p = user;
    bl_plan *plan;
    bl_weights *w = NULL;
    bool known = false;
    BL_TRY(bl_pipeline_plan(p, choice, p->recipe.name, &plan));
    const bl_tuner *tuner = p->recipe.tune ? bl_tuner_find(p->recipe.tune) : NULL;
    bl_tune_input in = { p->graph, plan, p->data, p->stats->samples, bl_tuner_words(p->recipe.tune), p->rounded };
    bl_hash key;
    bl_status s = tuner ? bl_tune_key(p->ctx, tuner, &in, &key) : BL_OK;
    if (s == BL_OK) s = bl_oracle_recall(p->judge, plan, tuner ? &key : NULL, out, &known);
    if (s == BL_OK && !known) s = bl_pipeline_tune(p, plan, NULL, &w);
    if (s == BL_OK && !known) s = bl_oracle_score(p->judge, plan, w, out);
    bl_weights_free(w);
    bl_plan_free(plan);
    return s;
}

/* Before an answer of the oracle: as the recipe says, else as the plan is delivered where that is quick and the search looks
 * at a few plans that a table found. */
static const char *loop_tune(const bl_pipeline *p)
{
    if (p->recipe.loop_tune) return strcmp(p->recipe.loop_tune, "none") ? p->recipe.loop_tune : NULL;
    if (!p->recipe.tune || bl_search_find(p->recipe.search)->needs_oracle) return NULL;
    return p->recipe.rounding || bl_tuner_find(p->recipe.tune)->quick ? bl_pipeline_quick_tune(p) : NULL;
}

/* The oracle about a choice, as the recipe's loop has it (a bl_judge_fn; user: the pipeline). */
static bl_status ask_oracle(void *user, const int *choice, bl_score *out)
{
    bl_pipeline *p = user;
    bl_plan *plan;
    bl_weights *w = NULL;
    bool known = false;
    bl_hash key;
    BL_TRY(bl_pipeline_data(p));
    BL_TRY(bl_pipeline_oracle(p));
    BL_TRY(bl_pipeline_plan(p, choice, p->recipe.name, &plan));
    const char *name = loop_tune(p);
    const bl_tuner *tuner = name ? bl_tuner_find(name) : NULL;
    bl_tune_input in = { p->graph, plan, p->data, p->stats->samples, name ? bl_tuner_words(name) : NULL, p->rounded };
    bl_status s = tuner ? bl_tune_key(p->ctx, tuner, &in, &key) : BL_OK;
    if (s == BL_OK) s = bl_oracle_recall(p->oracle, plan, tuner ? &key : NULL, out, &known);
    if (s == BL_OK && !known && tuner) s = bl_tune(p->ctx, tuner, &in, &w);
    if (s == BL_OK && !known) s = bl_oracle_score(p->oracle, plan, w, out);
    bl_weights_free(w);
    bl_plan_free(plan);
    return s;
}

json_t *bl_pipeline_floors_json(const bl_pipeline *p, const bl_search_result *found)
{
    json_t *a = json_array();
    for (int i = 0; i < p->n_floors; i++) {
        const bl_floor *f = &p->floors[i];
        json_t *o = json_pack("{s:s, s:f, s:s, s:s, s:I}", "name", bl_floor_name(f->kind), "limit", f->value, "minimize",
                              bl_metric_name(p->minimize), "data", p->floor_data ? p->floor_data : "calibration", "samples",
                              (json_int_t)bl_oracle_samples(p->judge));
        if (found->judged) {
            json_object_set_new(o, "achieved", bl_json_real(bl_floor_measured(f, &found->score)));
            if (f->kind == BL_FLOOR_TOP1) json_object_set_new(o, "standard_error", bl_json_real(100 * found->score.drop_error));
            json_object_set_new(o, "holds", json_boolean(bl_floors_hold(f, 1, &found->score)));
        }
        json_array_append_new(a, o);
    }
    return a;
}

/* What searches of tables found, looked at again with the oracle. */
static bl_status polish(bl_pipeline *p, bl_search_input *in, bl_search_result *out)
{
    json_t *record = NULL;
    if (!p->n_budgets || p->n_floors) {
        bl_note(p->ctx, "polish: it keeps budgets and knows no floors; the plan stays as it was found");
        return BL_OK;
    }
    BL_TRY(bl_pipeline_oracle(p));
    in->oracle = p->oracle;
    BL_TRY(bl_polish_choice(p->ctx, in, p->cli->arena, out->choice, &record));
    out->objective = bl_choice_objective(p->menu, p->sens, out->choice);
    if (!out->solver) out->solver = json_object();
    json_object_set_new(out->solver, "polish", record);
    return BL_OK;
}

bl_status bl_pipeline_search(bl_pipeline *p, bl_search_result *out)
{
    const bl_search_row *row = bl_search_find(p->recipe.search);
    uint64_t start = bl_now_ns();
    if (row->needs_oracle) BL_TRY(bl_pipeline_oracle(p));
    BL_TRY(bl_pipeline_judge(p));
    if (row->needs_labels && !bl_data_labelled(p->data))
        return bl_fail(p->ctx, BL_DATA, bl_data_name(p->data), "give labels", "the search \"%s\" needs labelled samples", row->name);
    bl_search_input in = { .graph = p->graph, .menu = p->menu, .stats = p->stats, .sens = p->sens, .cost = p->cost,
                           .prices = p->prices, .budgets = p->budgets, .n_budgets = p->n_budgets, .oracle = p->oracle,
                           .floors = p->floors, .n_floors = p->n_floors, .minimize = p->minimize, .judge = bl_pipeline_ask,
                           .judge_user = p, .walk = p->recipe.walk, .spend = p->recipe.spend, .alpha = p->recipe.alpha,
                           .beta = p->recipe.beta, .score = ask_oracle, .score_user = p, .episodes = p->recipe.episodes,
                           .polish = p->recipe.polish, .reward = p->recipe.reward, .agent = p->recipe.agent,
                           .shard_at = p->shard.at, .shard_of = p->shard.of };
    BL_TRY(row->run(p->ctx, &in, p->cli->arena, out));
    if (in.polish > 0 && !row->needs_oracle && out->feasible) BL_TRY(polish(p, &in, out));
    if (p->n_floors && out->feasible && !out->judged) { /* a search that knows no floors: does its plan keep them? */
        BL_TRY(bl_pipeline_ask(p, out->choice, &out->score));
        out->judged = true;
        out->feasible = bl_floors_hold(p->floors, p->n_floors, &out->score);
    }
    if (p->n_floors && out->solver) json_object_set_new(out->solver, "floors", bl_pipeline_floors_json(p, out));
    bl_pipeline_time(p, "search", start);
    return BL_OK;
}

bl_status bl_pipeline_ask_by_ranks(bl_pipeline *p)
{
    bl_search_result part = { 0 };
    const char **paths;
    char *whole = bl_pipeline_path(p, "trials.jsonl");
    if (p->cli->ranks < 2 || !bl_search_find(p->recipe.search)->needs_oracle || bl_recipe_needs_sens(&p->recipe)) return BL_OK;
    p->shard = (bl_shard){ p->cli->rank + 1, p->cli->ranks };
    BL_TRY(bl_pipeline_search(p, &part));
    json_decref(part.solver);
    bl_oracle_free(p->oracle);
    p->oracle = NULL;
    p->shard = (bl_shard){ 0 };
    BL_TRY(bl_ranks_wait(p->cli));
    if (p->cli->rank) return BL_OK;
    BL_TRY(part_paths(p, "trials", "jsonl", &paths));
    int n = 0;
    for (int r = 0; r < p->cli->ranks; r++)
        if (bl_file_exists(paths[r])) paths[n++] = paths[r]; /* a part may have had nothing to ask */
    if (bl_file_exists(whole)) paths[n++] = whole;
    return n ? bl_shard_merge_trials(p->ctx, p->cli->arena, paths, n, whole) : BL_OK;
}

bl_status bl_pipeline_infeasible(const bl_pipeline *p, const bl_search_result *found)
{
    for (int i = 0; i < p->n_floors && found->judged; i++)
        if (!bl_floors_hold(&p->floors[i], 1, &found->score)) {
            fprintf(stderr, "bitlathe: %s: no plan keeps the floor %s=%g%s; the nearest one is written and has %.2f, give a lower floor\n",
                    p->dir, bl_floor_name(p->floors[i].kind), p->floors[i].value, p->n_budgets ? " within the budgets" : "",
                    bl_floor_measured(&p->floors[i], &found->score));
            return BL_GOAL;
        }
    const bl_budget *b = &p->budgets[BL_MAX(found->binding, 0)];
    fprintf(stderr, "bitlathe: %s: no plan keeps the budget %s=%g; the nearest one is written, give a larger budget\n", p->dir,
            bl_metric_name(b->metric), isnan(b->relative) ? b->limit : b->relative);
    return BL_GOAL;
}

bl_status bl_pipeline_uniform(bl_pipeline *p, int w_bits, int a_bits, int **choice)
{
    *choice = BL_NEW(p->cli->arena, int, (size_t)p->menu->n_units);
    BL_ALLOC_TRY(p->ctx, *choice);
    for (int u = 0; u < p->menu->n_units; u++) (*choice)[u] = bl_uniform_candidate(&p->menu->units[u], w_bits, a_bits);
    return BL_OK;
}

bl_status bl_pipeline_plan(bl_pipeline *p, const int *choice, const char *recipe, bl_plan **out)
{
    if (!p->book) BL_TRY(bl_grid_book_new(p->ctx, p->graph, p->menu, p->stats, &p->recipe.grids, &p->book));
    bl_search_input in = { .graph = p->graph, .menu = p->menu, .stats = p->stats, .book = p->book, .sens = p->sens, .cost = p->cost };
    return bl_choice_plan(p->ctx, &in, choice, &p->recipe.grids, recipe, out);
}
