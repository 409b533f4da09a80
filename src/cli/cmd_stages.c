/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The stages one by one: calibrate, sense, measure, search, lower.  Each reads what lies in the folder
 * of -o from the stages before it and writes its own record there.
 */
#include "cli/pipeline.h"
#include "cli/summary.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { KEY_PROBLEM = 0x200, KEY_LP, KEY_SECONDS, KEY_PLAN, KEY_WEIGHTS, KEY_BESIDE, KEY_SHARD, KEY_COST };

typedef struct state {
    bl_cli cli;
    bl_recipe_words words;
    bl_pipeline p;
    bl_shard shard;
    const char *problem, *lp, *plan, *weights, *cost, *beside;
    double seconds;             /* of the solver, for --problem; 0: until proven */
} state;

static error_t parse(int key, char *arg, void *input)
{
    state *s = input;
    switch (key) {
    case KEY_PROBLEM: s->problem = arg; return 0;
    case KEY_LP: s->lp = arg; return 0;
    case KEY_SECONDS:
        if (!bl_parse_f64(arg, &s->seconds) || !(s->seconds > 0)) return bl_cli_bad(&s->cli, "--seconds", arg, "give seconds above zero");
        return 0;
    case KEY_SHARD:
        if (!bl_shard_parse(arg, &s->shard)) return bl_cli_bad(&s->cli, "--shard", arg, "write --shard 1/4");
        return 0;
    case KEY_BESIDE: s->beside = arg; return 0;
    case KEY_PLAN: s->plan = arg; return 0;
    case KEY_WEIGHTS: s->weights = arg; return 0;
    case KEY_COST: s->cost = arg; return 0;
    default: return bl_recipe_parse(&s->cli, &s->words, key, arg);
    }
}

static bl_status sense(state *s);
static bl_status search(state *s);

static int run_stage(const bl_verb *verb, bl_status (*stage)(state *), int argc, char **argv)
{
    state s = { .cli.shares = stage == sense || stage == search };
    int code = bl_cli_open(&s.cli, &s, verb, argc, argv);
    if (code) return code;
    bl_status st = stage(&s);
    if (s.p.seconds) bl_pipeline_close(&s.p);
    return bl_cli_close(&s.cli, st);
}

static bl_status open_dir(state *s, bool data)
{
    if (!s->cli.output) return bl_fail(s->cli.ctx, BL_USAGE, s->cli.program, "give -o RUNDIR", "no folder for the record");
    BL_TRY(bl_pipeline_open(&s->p, &s->cli, &s->words, s->cli.output));
    s->p.shard = s->shard;
    if (s->shard.of && s->cli.ranks > 1) return bl_fail(s->cli.ctx, BL_USAGE, "--shard", "leave it away", "ranks share the pieces out themselves");
    if (data && s->cli.ranks < 2) BL_TRY(bl_pipeline_data(&s->p));
    if (s->cli.ranks < 2) BL_TRY(bl_pipeline_judge(&s->p));
    return bl_pipeline_begin(&s->p);
}

static bl_status say(state *s, const char *file)
{
    char *path = bl_pipeline_path(&s->p, file);
    if (s->cli.json) return bl_cli_json(&s->cli, json_pack("{s:s}", "record", path));
    printf("%s\n", path);
    return BL_OK;
}

/* ---- stages */

static bl_status calibrate(state *s)
{
    BL_TRY(open_dir(s, true));
    BL_TRY(bl_pipeline_stats(&s->p));
    return say(s, "stats.json");
}

/* Do two lists put the same widths of the same units in the same order?  The widest of a unit is no choice to
 * make and stands in neither. */
static bl_status list_tau(state *s, const bl_sens *other, double *tau, size_t *n)
{
    bl_pipeline *p = &s->p;
    size_t most = 1;
    for (int u = 0; u < p->menu->n_units; u++) most += (size_t)p->menu->units[u].n_candidates;
    double *a = BL_NEW(s->cli.arena, double, most), *b = BL_NEW(s->cli.arena, double, most);
    if (!a || !b) return bl_pending(p->ctx);
    *n = 0;
    for (int u = 0; u < p->menu->n_units; u++)
        for (int c = 1; p->sens->cell[u] && other->cell[u] && c < p->menu->units[u].n_candidates; c++) {
            a[*n] = p->sens->cell[u][c].objective;
            b[(*n)++] = other->cell[u][c].objective;
        }
    *tau = bl_kendall_tau_b(a, b, *n);
    return BL_OK;
}

static void say_tau(const state *s, json_t *o, const char *name, double tau, size_t n)
{
    if (!s->cli.json) printf("%-4s tau-b %6.3f over %zu candidates\n", name, tau, n);
    json_object_set_new(o, name, json_pack("{s:o, s:I}", "tau_b", bl_json_real(tau), "candidates", (json_int_t)n));
}

/* Does another record rank alike?  Kendall's tau-b of the two lists, of all candidates' metric, and of it by
 * width of weights. */
static bl_status say_beside(state *s)
{
    bl_pipeline *p = &s->p;
    bl_sens *other;
    double tau;
    size_t n;
    BL_TRY(bl_sens_read(p->ctx, p->graph, p->menu, s->beside, &other));
    json_t *o = json_pack("{s:s, s:s, s:s, s:I, s:I}", "record", bl_pipeline_path(p, "sens.json"), "beside", s->beside, "metric",
                          other->metric, "samples", (json_int_t)p->sens->samples, "samples_beside", (json_int_t)other->samples);
    bl_status st = list_tau(s, other, &tau, &n);
    if (st == BL_OK) say_tau(s, o, "list", tau, n);
    for (int bits = 0; st == BL_OK && bits <= 16; bits++) {
        char name[16] = "all";
        bool offered = bits == 0;
        for (int i = 0; i < p->recipe.menu.n_w; i++) offered |= p->recipe.menu.w_bits[i] == bits;
        if (!offered) continue;
        if (bits) snprintf(name, sizeof name, "W%d", bits);
        st = bl_sens_agreement(p->ctx, p->menu, p->sens, other, bits, &tau, &n);
        if (st == BL_OK) say_tau(s, o, name, tau, n);
    }
    bl_sens_free(other);
    if (st == BL_OK && s->cli.json) return bl_cli_json(&s->cli, o);
    json_decref(o);
    return st;
}

static bl_status sense(state *s)
{
    BL_TRY(open_dir(s, true));
    if (!s->p.recipe.sensitivity)
        return bl_fail(s->cli.ctx, BL_USAGE, s->p.recipe.name, "give another --recipe", "this recipe uses no sensitivities");
    BL_TRY(bl_pipeline_stats(&s->p));
    BL_TRY(bl_pipeline_sens(&s->p));
    if (s->cli.rank) return BL_OK;
    if (s->shard.of) return say(s, bl_format(s->cli.arena, "sens.%d-of-%d.json", s->shard.at, s->shard.of));
    return s->beside ? say_beside(s) : say(s, "sens.json");
}

/* What a plan costs on the target, whatever it was found for. */
static bl_status say_price(state *s)
{
    bl_pipeline *p = &s->p;
    bl_plan *plan;
    double total[BL_N_METRIC];
    bl_candidate *c = BL_NEW(s->cli.arena, bl_candidate, (size_t)BL_MAX(p->menu->n_units, 1));
    BL_ALLOC_TRY(p->ctx, c);
    BL_TRY(bl_plan_read(p->ctx, p->graph, s->plan, &plan));
    bl_status st = BL_OK;
    for (int u = 0; u < p->menu->n_units && st == BL_OK; u++) {
        int at = 0;
        while (at < plan->n_units && strcmp(plan->unit_name[at], p->menu->units[u].name)) at++;
        if (at < plan->n_units) c[u] = plan->choice[at];
        else st = bl_fail(p->ctx, BL_DATA, s->plan, "give the recipe that it was made with", "the plan says nothing of unit %s", p->menu->units[u].name);
    }
    if (st == BL_OK) st = bl_price_exact(p->ctx, p->graph, p->menu, p->cost, c, total);
    bl_plan_free(plan);
    BL_TRY(st);
    json_t *kinds = bl_choice_kinds(p->ctx, p->graph, p->menu, p->cost, c);
    if (!kinds) return bl_pending(p->ctx);
    if (s->cli.json) {
        json_t *o = json_pack("{s:s, s:s, s:f, s:f}", "plan", s->plan, "target", p->cost->target, "size_bytes", total[BL_M_SIZE], "bops", total[BL_M_BOPS]);
        if (isfinite(total[BL_M_LATENCY])) json_object_set_new(o, "latency_ms", json_real(total[BL_M_LATENCY] * 1e-6));
        if (isfinite(total[BL_M_ENERGY])) json_object_set_new(o, "energy_mj", json_real(total[BL_M_ENERGY] * 1e-6));
        json_object_set_new(o, "kinds", kinds);
        return bl_cli_json(&s->cli, o);
    }
    printf("%s on %s: %.0f bytes, %.4g BOPs", s->plan, p->cost->target, total[BL_M_SIZE], total[BL_M_BOPS]);
    if (isfinite(total[BL_M_LATENCY])) printf(", %.4f ms", total[BL_M_LATENCY] * 1e-6);
    if (isfinite(total[BL_M_ENERGY])) printf(", %.4f mJ", total[BL_M_ENERGY] * 1e-6);
    printf("\n");
    bl_cli_kinds(kinds, total[BL_M_LATENCY]);
    json_decref(kinds);
    return BL_OK;
}

/* What a model says of the whole network at eight bits. */
static bl_status say_model(state *s)
{
    const bl_cost *cost = s->p.cost;
    double ms = s->p.int8[BL_M_LATENCY] * 1e-6, mj = s->p.int8[BL_M_ENERGY] * 1e-6;
    long long batch = json_integer_value(json_object_get(cost->machine, "batch"));
    if (s->cli.json) {
        json_t *o = json_pack("{s:s, s:I, s:O, s:o}", "record", bl_pipeline_path(&s->p, "cost.json"), "cells", (json_int_t)cost->n_cells,
                              "machine", cost->machine, "int8_latency_ms", bl_json_real(ms));
        if (isfinite(mj)) json_object_set_new(o, "int8_energy_mj", bl_json_real(mj));
        return bl_cli_json(&s->cli, o);
    }
    printf("%s, a model: %zu cells; 8 bits everywhere", cost->target, cost->n_cells);
    if (batch) printf(", a batch of %lld", batch);
    printf(": %.3f ms", ms);
    if (isfinite(mj)) printf(", %.3f mJ", mj);
    printf("\n");
    return say(s, "cost.json");
}

/* Where fewer bits bring no time, and why. */
static void say_roofline(state *s, const bl_cost *cost)
{
    json_t *all = bl_cost_roofline(cost), *x;
    size_t i, none = 0, weights = 0;
    json_array_foreach(all, i, x)
    {
        double gain = json_number_value(json_object_get(x, "gain"));
        const char *bound = json_string_value(json_object_get(x, "bound"));
        if (s->cli.verbose)
            printf("bound by %-9s  best W%lldA%lld %5.2fx  %s\n", bound, json_integer_value(json_object_get(x, "w_bits")),
                   json_integer_value(json_object_get(x, "a_bits")), gain, json_string_value(json_object_get(x, "key")));
        none += gain <= 1;
        weights += gain <= 1 && !strcmp(bound, "weights");
    }
    printf("%zu of %zu layer shapes gain no time from fewer bits (size alone): %zu bound by computing, %zu by streaming weights\n",
           none, json_array_size(all), none - weights, weights);
    json_decref(all);
}

static bl_status measure(state *s)
{
    BL_TRY(open_dir(s, false));
    BL_TRY(bl_pipeline_cost(&s->p));
    const bl_cost *cost = s->p.cost;
    if (s->plan) return say_price(s);
    if (cost->model) return say_model(s);
    size_t noisy = 0;
    double aa = 0;
    for (size_t i = 0; i < cost->n_cells; i++) noisy += cost->cells[i].noisy;
    for (size_t i = 0; i < cost->n_groups; i++) aa = fmax(aa, cost->groups[i].aa_spread);
    if (s->cli.json)
        return bl_cli_json(&s->cli, json_pack("{s:s, s:I, s:I, s:f, s:f, s:O?, s:o}", "record", bl_pipeline_path(&s->p, "cost.json"),
                                              "cells", (json_int_t)cost->n_cells, "noisy", (json_int_t)noisy, "aa_spread_most", aa,
                                              "overhead_ns", cost->overhead_ns, "checks", cost->checks, "roofline", bl_cost_roofline(cost)));
    printf("%zu cells, %zu noisy; A/A within %.1f %%; %.0f ns a step beside its cell\n", cost->n_cells, noisy, 100 * aa, cost->overhead_ns);
    json_t *check;
    size_t i;
    json_array_foreach(cost->checks, i, check)
        printf("%-10s predicted %9.4f ms, measured %9.4f ms: %+.1f %%, weights in %s%s\n",
               json_string_value(json_object_get(check, "plan")), json_number_value(json_object_get(check, "predicted_ns")) * 1e-6,
               json_number_value(json_object_get(check, "measured_ns")) * 1e-6,
               json_number_value(json_object_get(check, "error")) * 100, json_string_value(json_object_get(check, "state")),
               i ? "" : " (the overhead is from here)");
    say_roofline(s, cost);
    return say(s, "cost.json");
}

/* A stand-alone allocation problem. */
static bl_status solve(state *s)
{
    bl_ctx *ctx = s->cli.ctx;
    json_t *j, *answer;
    bl_mckp *problem;
    bl_mckp_result r;
    BL_TRY(bl_json_read(ctx, s->problem, &j));
    bl_status st = bl_mckp_from_json(ctx, s->problem, j, s->cli.arena, &problem);
    json_decref(j);
    BL_TRY(st);
    if (s->lp) BL_TRY(bl_mckp_write_lp(ctx, problem, s->lp));
    bl_mckp_limits limits = { .seconds = s->seconds };
    BL_TRY(bl_mckp_solve(ctx, problem, &limits, s->cli.arena, &r));
    BL_TRY(bl_mckp_result_json(ctx, problem, &r, &answer));
    json_object_set_new(answer, "seconds", bl_json_real(r.seconds));
    if (s->cli.output) st = bl_json_write(ctx, s->cli.output, answer);
    if (st == BL_OK && (!s->cli.output || s->cli.json)) st = bl_cli_json(&s->cli, json_incref(answer));
    json_decref(answer);
    if (st != BL_OK || r.status != BL_MCKP_INFEASIBLE) return st;
    fprintf(stderr, "bitlathe: %s: no choice keeps every limit; give larger ones\n", s->problem);
    return BL_GOAL;
}

/* What tuning left in the folder, where it was made for this very plan. */
static bl_status name_weights(state *s, bl_plan *plan)
{
    bl_pipeline *p = &s->p;
    const bl_tuner *tuner = p->recipe.tune ? bl_tuner_find(p->recipe.tune) : NULL;
    const char *path = bl_pipeline_path(p, "weights.blw");
    bl_tune_input in = { p->graph, plan, p->data, p->stats->samples, bl_tuner_words(p->recipe.tune), p->rounded };
    bl_weights *w = NULL;
    bl_hash key;
    if (!tuner || !bl_file_exists(path)) return BL_OK;
    BL_TRY(bl_tune_key(p->ctx, tuner, &in, &key));
    bl_status st = BL_OK;
    if (bl_weights_read(p->ctx, p->graph, path, &w) == BL_OK && !strcmp(w->key.hex, key.hex)) st = bl_plan_use_weights(p->ctx, plan, w);
    bl_weights_free(w);
    return st;
}

static bl_status search(state *s)
{
    if (s->problem) return solve(s);
    if (!s->cli.n_args) return bl_fail(s->cli.ctx, BL_USAGE, s->cli.program, "give MODEL.onnx or --problem FILE", "nothing to search");
    bl_search_result found = { 0 };
    bl_plan *plan = NULL;
    s->words.searches = true;
    BL_TRY(open_dir(s, true));
    const bl_search_row *row = bl_search_find(s->p.recipe.search);
    if (s->shard.of && (!row->needs_oracle || bl_recipe_needs_sens(&s->p.recipe)))
        return bl_fail(s->cli.ctx, BL_USAGE, "--shard", "shard `sense` instead", "the search \"%s\" has no parts", row->name);
    BL_TRY(bl_pipeline_stats(&s->p));
    if (bl_recipe_needs_sens(&s->p.recipe)) BL_TRY(bl_pipeline_sens(&s->p));
    BL_TRY(bl_pipeline_cost(&s->p));
    BL_TRY(bl_pipeline_ask_by_ranks(&s->p));
    if (s->cli.rank) return BL_OK;
    bl_status st = bl_pipeline_search(&s->p, &found);
    if (st == BL_OK && s->shard.of) {
        json_decref(found.solver);
        return say(s, bl_format(s->cli.arena, "trials.%d-of-%d.jsonl", s->shard.at, s->shard.of));
    }
    if (st == BL_OK) st = bl_pipeline_plan(&s->p, found.choice, s->p.recipe.name, &plan);
    if (st == BL_OK) {
        plan->feasible = found.feasible;
        plan->solver = json_incref(found.solver);
        st = name_weights(s, plan);
    }
    if (st == BL_OK) {
        st = bl_plan_write(s->cli.ctx, s->p.graph, plan, bl_pipeline_path(&s->p, "plan.json"));
    }
    if (st == BL_OK) st = say(s, "plan.json");
    bl_plan_free(plan);
    json_decref(found.solver);
    return st == BL_OK && !found.feasible ? bl_pipeline_infeasible(&s->p, &found) : st;
}

/* A file in the folder of another, where it is there. */
static bl_status beside(state *s, const char *path, const char *name, const char **out)
{
    const char *base = bl_path_base(path);
    char *file = bl_format(s->cli.arena, "%.*s%s", (int)(base - path), path, name);
    BL_ALLOC_TRY(s->cli.ctx, file);
    if (bl_file_exists(file)) *out = file;
    return BL_OK;
}

/* The rows of a COST record: the one that was given, else that beside the plan. */
static bl_status prefer(state *s, const bl_graph *g, const bl_plan *plan, bl_program *p)
{
    bl_cost *cost = NULL;
    if (!s->cost) BL_TRY(beside(s, s->plan, "cost.json", &s->cost));
    if (!s->cost) return BL_OK;
    BL_TRY(bl_cost_read(s->cli.ctx, s->cost, &cost));
    bl_pipeline_elsewhere(&s->cli, s->cost, cost);
    bl_status st = bl_cost_prefer(s->cli.ctx, cost, g, plan, p);
    bl_cost_free(cost);
    return st;
}

/* Network, plan and output: of the words, or of a run's folder where they are left out. */
static bl_status lower_words(state *s, const char **model)
{
    bl_cli *cli = &s->cli;
    *model = cli->args[0];
    if (!bl_cli_is_folder(*model)) {
        if (s->plan && cli->output) return BL_OK;
        if (!bl_file_exists(*model)) return bl_fail(cli->ctx, BL_NOINPUT, *model, "give the folder of `bitlathe quantize -o`, or MODEL.onnx", "is not there");
        return bl_fail(cli->ctx, BL_USAGE, cli->program, "give RUNDIR, or MODEL.onnx with --plan plan.json and -o model.blp", "no plan or no output");
    }
    char *run = bl_path_join(cli->arena, *model, "run.json"), *plan = bl_path_join(cli->arena, *model, "plan.json"),
         *program = bl_path_join(cli->arena, *model, "model.blp");
    if (!run || !plan || !program) return bl_pending(cli->ctx);
    if (!s->plan) s->plan = plan;
    if (!cli->output) cli->output = program;
    return bl_cli_run_model(cli, run, model);
}

static bl_status lower(state *s)
{
    bl_ctx *ctx = s->cli.ctx;
    const char *model;
    bool told = s->cli.output; /* where it goes, by who asks */
    bl_graph *g;
    bl_plan *plan = NULL;
    bl_weights *w = NULL;
    bl_program *p = NULL;
    BL_TRY(lower_words(s, &model));
    BL_TRY(bl_cli_float_model(&s->cli, model, true, &g));
    bl_status st = bl_plan_read(ctx, g, s->plan, &plan);
    if (st == BL_OK && plan->edited) bl_note(ctx, "%s was changed by hand since it was made", s->plan);
    if (st == BL_OK) st = bl_cli_plan_weights(&s->cli, g, plan, s->plan, s->weights, &w);
    if (st == BL_OK) st = bl_lower(ctx, g, plan, w, &p);
    if (st == BL_OK) st = prefer(s, g, plan, p);
    if (st == BL_OK) st = bl_program_write(ctx, p, s->cli.output);
    if (st == BL_OK && s->cli.json)
        st = bl_cli_json(&s->cli, json_pack("{s:s, s:I, s:I, s:o}", "program", s->cli.output, "weight_bytes", (json_int_t)p->weight_bytes,
                                            "memory_bytes", (json_int_t)p->memory_bytes, "islands", bl_islands_json(p)));
    else if (st == BL_OK) {
        bl_cli_islands(&s->cli, p);
        if (!told) printf("%s\n", s->cli.output);
    }
    bl_program_free(p);
    bl_weights_free(w);
    bl_plan_free(plan);
    bl_graph_free(g);
    return st;
}

/* ---- verbs */

int bl_cmd_calibrate(int argc, char **argv)
{
    const bl_verb verb = { "calibrate", "MODEL.onnx", "Ranges and histograms of every value on unlabelled samples.",
                           "bitlathe calibrate net.onnx --data npy:train.npy --limit 256 -o run", bl_recipe_options, parse, true, 1, 1 };
    return run_stage(&verb, calibrate, argc, argv);
}

int bl_cmd_sense(int argc, char **argv)
{
    struct argp_option all[64] = { { "beside", KEY_BESIDE, "SENS.json", 0, "another record: Kendall's tau of the two lists and of the layers by width", 1 } };
    size_t n = 1;
    all[n++] = (struct argp_option){ "shard", KEY_SHARD, "I/N", 0, "only the I-th of N parts, for `bitlathe merge`", 1 };
    for (const struct argp_option *o = bl_recipe_options; o->name || o->doc; o++) all[n++] = *o;
    const bl_verb verb = { "sense", "MODEL.onnx", "What each width of each unit costs in accuracy.",
                           "bitlathe sense net.onnx --data npy:train.npy -o run", all, parse, true, 1, 1 };
    return run_stage(&verb, sense, argc, argv);
}

int bl_cmd_measure(int argc, char **argv)
{
    struct argp_option all[64] = { { "plan", KEY_PLAN, "FILE", 0, "say what this plan costs on the target", 1 } };
    size_t n = 1;
    for (const struct argp_option *o = bl_recipe_options; o->name || o->doc; o++) all[n++] = *o;
    const bl_verb verb = { "measure", "MODEL.onnx", "What each operator costs on the target at each width; here: with the kernels that will run.",
                           "bitlathe measure net.onnx -o run", all, parse, false, 1, 1 };
    return run_stage(&verb, measure, argc, argv);
}

int bl_cmd_search(int argc, char **argv)
{
    struct argp_option all[64] = { { "problem", KEY_PROBLEM, "FILE", 0, "a stand-alone allocation problem (JSON)", 1 },
                                   { "write-lp", KEY_LP, "FILE", 0, "the problem as CPLEX LP text", 1 },
                                   { "seconds", KEY_SECONDS, "S", 0, "end the proof of a --problem after S seconds; bound and gap hold", 1 } };
    size_t n = 3;
    all[n++] = (struct argp_option){ "shard", KEY_SHARD, "I/N", 0, "ddpg, random: only the oracle's answers of the I-th of N parts", 1 };
    for (const struct argp_option *o = bl_recipe_options; o->name || o->doc; o++) all[n++] = *o;
    const bl_verb verb = { "search", "[MODEL.onnx]", "Chooses bits; or solves a stand-alone problem exactly.",
                           "bitlathe search --problem problem.json --json", all, parse, true, 0, 1 };
    return run_stage(&verb, search, argc, argv);
}

int bl_cmd_lower(int argc, char **argv)
{
    static const struct argp_option own[] = { { "plan", KEY_PLAN, "FILE", 0, "plan.json, found or edited by hand", 1 },
                                              { "weights", KEY_WEIGHTS, "FILE", 0, "weights.blw that tuning made", 1 },
                                              { "cost", KEY_COST, "FILE", 0, "cost.json whose fastest kernels are used (the one beside the plan)", 1 }, { 0 } };
    const bl_verb verb = { "lower", "RUNDIR | MODEL.onnx", "A plan becomes an integer program; a run's plan its model.blp, where nothing else is said.",
                           "bitlathe lower net.onnx --plan run/plan.json -o model.blp", own, parse, false, 1, 1 };
    return run_stage(&verb, lower, argc, argv);
}
