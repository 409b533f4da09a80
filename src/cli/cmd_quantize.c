/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bitlathe quantize: the straight way in one command.  Calls the stages in order, skips what is there,
 * compares the chosen plan with the uniform ones, and refuses it where it is worse.
 */
#include "cli/summary.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { KEY_EVAL = 0x200, KEY_EVAL_LIMIT, KEY_METRIC, KEY_FORCE, KEY_NO_BENCH };

typedef struct state {
    bl_cli cli;
    bl_recipe_words words;
    const char *eval, *metric;
    int64_t eval_limit;
    bl_data *eval_data;
    bool force, no_bench;
    bl_pipeline p;
    bl_contender row[8];        /* float, int8, uniform ones, the chosen one last */
    int n_rows, int8_row, chosen_row;
    bl_search_result found;
    const char *refused, *command;
    double quick_db;            /* the chosen plan by the quick tuner; NaN: not asked yet */
    const char *over;           /* refused: what int8, in the plan's place, does not keep; NULL: nothing, or it is not there */
    json_t *notes;
    int folder;                 /* that is locked; -1: none */
} state;

static const struct argp_option options[] = {
    { "eval", KEY_EVAL, "SPEC", 0, "evaluate on this data set (same preprocessing as --data)", 1 },
    { "eval-limit", KEY_EVAL_LIMIT, "N", 0, "its first N samples", 1 },
    { "metric", KEY_METRIC, "NAME", 0, "top1, mse or reconstruction-auc", 1 },
    { "force", KEY_FORCE, NULL, 0, "keep a plan that is worse than uniform, or slower than int8", 1 },
    { "no-bench", KEY_NO_BENCH, NULL, 0, "do not time the whole networks", 1 },
    { 0 }
};

static error_t parse(int key, char *arg, void *input)
{
    state *s = input;
    uint64_t n;
    switch (key) {
    case KEY_EVAL: s->eval = arg; return 0;
    case KEY_METRIC: s->metric = arg; return 0;
    case KEY_FORCE: s->force = true; return 0;
    case KEY_NO_BENCH: s->no_bench = true; return 0;
    case KEY_EVAL_LIMIT:
        if (!bl_parse_u64(arg, &n) || n < 1 || n > INT64_MAX) return bl_cli_bad(&s->cli, "--eval-limit", arg, "give a number of samples");
        s->eval_limit = (int64_t)n;
        return 0;
    default: return bl_recipe_parse(&s->cli, &s->words, key, arg);
    }
}

static bl_status note(state *s, const char *text)
{
    BL_ALLOC_TRY(s->cli.ctx, text);
    json_array_append_new(s->notes, json_string(text));
    bl_note(s->cli.ctx, "%s", text);
    return BL_OK;
}

/* Without a budget, sensitivity against cost: less noise alone is then no reason to prefer another plan. */
static bool weighs(const bl_pipeline *p)
{
    return p->recipe.beta > 0 && !p->n_budgets && !p->n_floors;
}

/* Shares of time or size that differ by less are taken for the same. */
static const double tie = 0.03;

static bool same_choice(const bl_pipeline *p, const int *a, const int *b)
{
    return !memcmp(a, b, (size_t)p->menu->n_units * sizeof *a);
}

/* Noise that buys neither time nor size, as where all widths run alike and their costs differ by the clock's noise alone:
 * int8 then. */
static bl_status prefer_int8(state *s)
{
    bl_pipeline *p = &s->p;
    double total[BL_N_METRIC];
    int *int8;
    if (!weighs(p) || !bl_menu_offers(&p->recipe.menu, 8, 8)) return BL_OK;
    BL_TRY(bl_pipeline_uniform(p, 8, 8, &int8));
    BL_TRY(bl_pipeline_price(p, s->found.choice, total));
    bool faster = !(total[BL_M_LATENCY] >= (1 - tie) * p->int8[BL_M_LATENCY]), smaller = total[BL_M_SIZE] < (1 - tie) * p->int8[BL_M_SIZE];
    if (faster || smaller || same_choice(p, s->found.choice, int8)) return BL_OK;
    BL_TRY(note(s, bl_format(s->cli.arena, "int8 is taken: the plan that weighs best would be %.1f %% faster and %.1f %% smaller",
                             100 * (1 - total[BL_M_LATENCY] / p->int8[BL_M_LATENCY]), 100 * (1 - total[BL_M_SIZE] / p->int8[BL_M_SIZE]))));
    s->found.choice = int8;
    if (s->found.solver) json_object_set_new(s->found.solver, "taken", json_string("int8"));
    return BL_OK;
}

/* ---- contenders */

static bool gives_way(const state *s)
{
    return s->refused && !s->force;
}

/* What the run's folder must not keep, of this run or of an earlier one. */
static bl_status forget(state *s, const char *name)
{
    char *path = bl_pipeline_path(&s->p, name);
    BL_ALLOC_TRY(s->p.ctx, path);
    if (unlink(path) == 0 || errno == ENOENT) return BL_OK;
    return bl_fail(s->p.ctx, BL_IO, path, "remove it yourself", "what was refused still stands there: %s", strerror(errno));
}

/* A program's hash stands for what it computes; one that never was a file has none yet. */
static bl_status save_program(state *s, bl_contender *c, const char *path)
{
    BL_TRY(bl_program_write(s->cli.ctx, c->program, path));
    bl_program *again;
    BL_TRY(bl_program_open(s->cli.ctx, path, &again)); /* what was written is what is used from here on */
    bl_program_free(c->program);
    c->program = again;
    c->file_bytes = again->map.size;
    return BL_OK;
}

static bl_status lower_contender(state *s, bl_contender *c, const char *plan_path, const char *weights_path,
                                 const char *program_path)
{
    bl_pipeline *p = &s->p;
    BL_TRY(bl_pipeline_plan(p, c->choice, c->recipe, &c->plan));
    if (c - s->row == s->chosen_row) {
        c->plan->feasible = s->found.feasible;
        c->plan->solver = json_incref(s->found.solver);
    }
    BL_TRY(bl_pipeline_tune_by(p, c->tuned, c->plan, weights_path, &c->weights));
    BL_TRY(bl_plan_write(p->ctx, p->graph, c->plan, plan_path));
    BL_TRY(bl_lower(p->ctx, p->graph, c->plan, c->weights, &c->program));
    BL_TRY(bl_cost_prefer(p->ctx, p->cost, p->graph, c->plan, c->program));
    return save_program(s, c, program_path);
}

static char *baseline_path(state *s, const bl_contender *c, const char *ending)
{
    return bl_pipeline_path(&s->p, bl_format(s->cli.arena, "baselines/%s.%s", c->name, ending));
}

/* Is the recipe's tuner slow, so that rivals are screened with a quick one first? */
static bool screens(const state *s)
{
    return bl_pipeline_quick_tune(&s->p) != s->p.recipe.tune;
}

/* keeps: what a slow tuner has left there before stays until it is known whether this row needs it again. */
static bl_status lower_uniform(state *s, bl_contender *c, const char *tuner, bool keeps)
{
    char *weights = baseline_path(s, c, "weights.blw");
    c->tuned = tuner;
    return lower_contender(s, c, baseline_path(s, c, "plan.json"), keeps ? NULL : weights, baseline_path(s, c, "blp"));
}

static bl_status add_uniform(state *s, const char *name, int w_bits, int a_bits)
{
    bl_contender *c = &s->row[s->n_rows];
    *c = (bl_contender){ .name = name, .recipe = "uniform" };
    BL_TRY(bl_pipeline_uniform(&s->p, w_bits, a_bits, &c->choice));
    s->n_rows++;
    return lower_uniform(s, c, bl_pipeline_quick_tune(&s->p), screens(s));
}

/* A row that was screened is made again as the chosen plan is tuned. */
static bl_status tune_in_full(state *s, bl_contender *c)
{
    if (c->tuned == s->p.recipe.tune) return BL_OK;
    bl_program_free(c->program);
    bl_weights_free(c->weights);
    bl_plan_free(c->plan);
    c->program = NULL;
    c->weights = NULL;
    c->plan = NULL;
    return lower_uniform(s, c, s->p.recipe.tune, false);
}

/* Weights of rows that stay as they were screened. */
static bl_status write_screened(state *s)
{
    for (int r = 1; screens(s) && r < s->chosen_row; r++) {
        const bl_contender *c = &s->row[r];
        if (c->weights && c->tuned != s->p.recipe.tune)
            BL_TRY(bl_weights_write(s->p.ctx, s->p.graph, c->weights, baseline_path(s, c, "weights.blw")));
    }
    return BL_OK;
}

static bl_status make_contenders(state *s)
{
    bl_pipeline *p = &s->p;
    const bl_menu_options *m = &p->recipe.menu;
    bool uniform = m->n_w == 1 && m->n_a == 1;
    s->row[s->n_rows++] = (bl_contender){ .name = "float" };
    BL_TRY(bl_make_dir(p->ctx, bl_pipeline_path(p, "baselines")));
    BL_TRY(forget(s, "plan.refused.json")); /* of an earlier call */
    s->chosen_row = -1;
    if (bl_menu_offers(m, 8, 8) && !uniform) {
        s->int8_row = s->n_rows;
        BL_TRY(add_uniform(s, "int8", 8, 8));
    }
    if (bl_menu_offers(m, 4, 8) && !uniform) BL_TRY(add_uniform(s, "W4A8", 4, 8));
    if (bl_menu_offers(m, 4, 4) && !uniform) BL_TRY(add_uniform(s, "W4A4", 4, 4));
    s->chosen_row = s->n_rows;
    char *name = uniform ? bl_format(s->cli.arena, "W%dA%d", m->w_bits[0], m->a_bits[0]) : NULL;
    s->row[s->n_rows++] = (bl_contender){ .name = uniform ? (bl_menu_offers(m, 8, 8) ? "int8" : name) : "mixed",
                                          .recipe = p->recipe.name, .tuned = p->recipe.tune, .choice = s->found.choice };
    if (uniform && bl_menu_offers(m, 8, 8)) s->int8_row = s->chosen_row;
    return lower_contender(s, &s->row[s->chosen_row], bl_pipeline_path(p, "plan.json"),
                           bl_pipeline_path(p, "weights.blw"), bl_pipeline_path(p, "model.blp"));
}

/* ---- is it worth having? */

/* A choice's plan by a tuner; NULL: plain. */
static bl_status score_tuned(state *s, const int *choice, const char *tuner, bl_score *score)
{
    bl_pipeline *p = &s->p;
    bl_plan *plan;
    bl_weights *w = NULL;
    BL_TRY(bl_pipeline_plan(p, choice, "uniform", &plan));
    bl_status st = bl_pipeline_tune_by(p, tuner, plan, NULL, &w);
    if (st == BL_OK) st = bl_oracle_score(p->oracle, plan, w, score);
    bl_weights_free(w);
    bl_plan_free(plan);
    return st;
}

/* Tuned only where tuning could make it the better one: a plan that keeps the budgets, within so many decibels of the chosen one.
 * Where the tuner is slow both are tuned quickly first, and like is compared with like; else a plain plan with the chosen one. */
static bl_status score_uniform(state *s, const int *choice, bl_contender *shown, bool rival, bl_score *score)
{
    const double reach = 6;
    bl_pipeline *p = &s->p;
    const char *tuner = p->recipe.tune, *quick = bl_pipeline_quick_tune(p);
    double best = s->row[s->chosen_row].score.sqnr_db;
    bl_score plan;
    if (shown) BL_TRY(bl_oracle_score(p->oracle, shown->plan, shown->weights, score));
    else BL_TRY(score_tuned(s, choice, screens(s) ? quick : NULL, score));
    if (shown ? !screens(s) || !rival : !tuner) return BL_OK;
    if (screens(s) && isnan(s->quick_db)) {
        BL_TRY(score_tuned(s, s->row[s->chosen_row].choice, quick, &plan));
        s->quick_db = plan.sqnr_db;
    }
    if (!(score->sqnr_db > (screens(s) ? s->quick_db : best) - reach)) return BL_OK;
    if (!shown) return score_tuned(s, choice, tuner, score);
    BL_TRY(tune_in_full(s, shown));
    return bl_oracle_score(p->oracle, shown->plan, shown->weights, score);
}

/* Refused plans give way to int8: this one is it. */
static bool chose_int8(const state *s)
{
    return s->int8_row && same_choice(&s->p, s->row[s->int8_row].choice, s->row[s->chosen_row].choice);
}

/* Uniform plans that keep the same budgets: does one have less noise on the calibration samples? */
static bl_status compare_with_uniform(state *s)
{
    bl_pipeline *p = &s->p;
    bl_contender *chosen = &s->row[s->chosen_row];
    BL_TRY(bl_pipeline_oracle(p));
    BL_TRY(bl_oracle_score(p->oracle, chosen->plan, chosen->weights, &chosen->score));
    chosen->scored = true;
    s->quick_db = NAN;
    double best = chosen->score.sqnr_db + 0.05;
    const char *better = NULL;
    for (int w = 0; w < p->recipe.menu.n_w; w++)
        for (int a = 0; a < p->recipe.menu.n_a; a++) {
            int wb = p->recipe.menu.w_bits[w], ab = p->recipe.menu.a_bits[a], *choice;
            double total[BL_N_METRIC];
            bool fits = true;
            bl_score score;
            if (!bl_menu_offers(&p->recipe.menu, wb, ab)) continue;
            BL_TRY(bl_pipeline_uniform(p, wb, ab, &choice));
            BL_TRY(bl_pipeline_price(p, choice, total));
            for (int b = 0; b < p->n_budgets; b++) fits &= total[p->budgets[b].metric] <= p->budgets[b].limit * (1 + 1e-12);
            bl_contender *shown = NULL;
            for (int r = 1; r < s->chosen_row; r++)
                if (same_choice(p, s->row[r].choice, choice)) shown = &s->row[r];
            if (shown && same_choice(p, choice, chosen->choice)) {
                if (chosen->weights && screens(s)) /* it is tuned already */
                    BL_TRY(bl_weights_write(p->ctx, p->graph, chosen->weights, baseline_path(s, shown, "weights.blw")));
                BL_TRY(tune_in_full(s, shown));
                shown->score = chosen->score;
                shown->scored = true;
                continue;
            }
            if ((!fits && !shown) || same_choice(p, choice, chosen->choice)) continue;
            bool rival = fits && s->found.feasible && !p->n_floors && !weighs(p);
            BL_TRY(score_uniform(s, choice, shown, rival, &score));
            if (shown) {
                shown->score = score;
                shown->scored = true;
            }
            if (rival && score.sqnr_db > best) {
                best = score.sqnr_db;
                better = bl_format(s->cli.arena, "uniform W%dA%d keeps the same budgets with %.2f dB instead of %.2f dB",
                                   wb, ab, score.sqnr_db, chosen->score.sqnr_db);
                BL_ALLOC_TRY(p->ctx, better);
            }
        }
    if (better && chose_int8(s)) BL_TRY(note(s, bl_format(s->cli.arena, "the plan is int8: %s", better)));
    else s->refused = better;
    return write_screened(s);
}

static bl_status time_contenders(state *s)
{
    bl_pipeline *p = &s->p;
    uint64_t start = bl_now_ns();
    bl_bench_item items[10];
    int of[10], n = 0;
    for (int r = 0; r < s->n_rows; r++) {
        items[n] = (bl_bench_item){ .program = s->row[r].program, .graph = s->row[r].program ? NULL : p->graph };
        of[n++] = r;
    }
    if (s->int8_row) items[n++] = (bl_bench_item){ .program = s->row[s->int8_row].program }; /* A/A */
    BL_TRY(bl_bench(p->ctx, s->cli.arena, items, (size_t)n, false, 2.0));
    for (int i = 0; i < s->n_rows; i++) {
        s->row[of[i]].timing = items[i].timing;
        s->row[of[i]].step_us = items[i].step_us;
        s->row[of[i]].timed = true;
    }
    bl_pipeline_time(p, "bench", start);
    const bl_contender *chosen = &s->row[s->chosen_row];
    double predicted = p->cost->model ? NAN : bl_plan_predicted(chosen->plan, "latency_ns") * 1e-6;
    if (isfinite(predicted))
        bl_note(p->ctx, "latency of the plan: predicted %.3f ms, measured %.3f ms (%+.1f %%)", predicted, chosen->timing.q1_ms,
                100 * (predicted / chosen->timing.q1_ms - 1));
    if (!s->int8_row || chose_int8(s) || (p->cost->model && p->cost->has_latency)) return BL_OK; /* of another chip: nothing to compare */
    double int8 = items[s->int8_row].timing.q1_ms, twin = items[n - 1].timing.q1_ms, mixed = s->row[s->chosen_row].timing.q1_ms;
    double near = fmax(tie, fabs(int8 - twin) / fmin(int8, twin));
    bool asked = false;
    for (int b = 0; b < p->n_budgets; b++) asked |= p->budgets[b].metric == BL_M_LATENCY;
    asked |= p->minimize_given && p->minimize == BL_M_LATENCY;
    if (mixed > int8 * (1 + near)) {
        char *text = bl_format(s->cli.arena, "measured %.3f ms against %.3f ms of uniform int8", mixed, int8);
        BL_ALLOC_TRY(p->ctx, text);
        if (!asked || s->refused || !s->found.feasible) return note(s, bl_format(s->cli.arena, "the plan is slower than int8 here: %s", text));
        BL_ALLOC_TRY(p->ctx, s->refused = bl_format(s->cli.arena, "slower than int8: %s", text));
    } else if (mixed > int8 * (1 - near)) {
        return note(s, "narrow widths gain no time with the kernels of this chip: the benefit is size");
    }
    return BL_OK;
}

/* ---- a plan that is refused */

static const char *amount(bl_arena *a, bl_metric m, double v)
{
    if (m == BL_M_LATENCY) return bl_format(a, "%.4g ms", v * 1e-6);
    return bl_format(a, m == BL_M_SIZE || m == BL_M_MEMORY ? "%.0f bytes" : "%.6g", v);
}

static bl_status add_over(state *s, const char *name, const char *takes, const char *limit, const char *side)
{
    if (!takes || !limit) return bl_pending(s->p.ctx);
    s->over = bl_format(s->cli.arena, "%s%s%s=%s, %s the limit of %s", s->over ? s->over : "", s->over ? "; " : "", name, takes, side, limit);
    return s->over ? BL_OK : bl_pending(s->p.ctx);
}

/* int8 is what it is: it may keep neither the budgets nor the floors that were given. */
static bl_status judge_int8(state *s)
{
    bl_pipeline *p = &s->p;
    const bl_contender *int8 = &s->row[s->int8_row];
    bl_arena *a = s->cli.arena;
    bl_score score;
    for (int b = 0; b < p->n_budgets; b++) {
        bl_metric m = p->budgets[b].metric;
        double limit = p->budgets[b].limit, takes = bl_plan_predicted(int8->plan, bl_metric_key(m));
        if (takes > limit * (1 + 1e-12))
            BL_TRY(add_over(s, bl_metric_name(m), amount(a, m, takes), amount(a, m, limit), "above"));
    }
    if (p->n_floors) BL_TRY(bl_pipeline_ask(p, int8->choice, &score));
    for (int f = 0; f < p->n_floors; f++)
        if (!bl_floors_hold(&p->floors[f], 1, &score))
            BL_TRY(add_over(s, bl_floor_name(p->floors[f].kind), bl_format(a, "%.2f", bl_floor_measured(&p->floors[f], &score)),
                            bl_format(a, "%g", p->floors[f].value), "below"));
    return BL_OK;
}

/* The refused plan is put aside, and int8 takes its place; where the menu has no int8, nothing does: what was refused
 * must not look like a result. */
static bl_status refuse(state *s)
{
    bl_pipeline *p = &s->p;
    bl_contender *int8 = s->int8_row ? &s->row[s->int8_row] : NULL;
    char *text = bl_format(s->cli.arena, "the plan is refused: %s", s->refused);
    BL_ALLOC_TRY(p->ctx, text);
    if (s->force) return note(s, text);
    json_array_append_new(s->notes, json_string(text)); /* said at the end, when all is written */
    char *plan = bl_pipeline_path(p, "plan.json"), *aside = bl_pipeline_path(p, "plan.refused.json");
    if (!plan || !aside) return bl_pending(p->ctx);
    BL_TRY(bl_plan_write(p->ctx, p->graph, s->row[s->chosen_row].plan, aside));
    if (!int8) {
        static const char *const results[] = { "plan.json", "weights.blw", "model.blp", "model.qdq.onnx" };
        for (size_t i = 0; i < BL_COUNTOF(results); i++) BL_TRY(forget(s, results[i]));
        return BL_OK;
    }
    bool screened = int8->tuned != p->recipe.tune;
    BL_TRY(tune_in_full(s, int8)); /* it is what the run gives */
    if (screened) BL_TRY(bl_oracle_score(p->oracle, int8->plan, int8->weights, &int8->score));
    BL_TRY(judge_int8(s));
    BL_TRY(bl_plan_write(p->ctx, p->graph, int8->plan, plan));
    if (int8->weights) BL_TRY(bl_weights_write(p->ctx, p->graph, int8->weights, bl_pipeline_path(p, "weights.blw")));
    else BL_TRY(forget(s, "weights.blw"));
    BL_TRY(bl_program_write(p->ctx, int8->program, bl_pipeline_path(p, "model.blp")));
    if (!s->over) return BL_OK;
    text = bl_format(s->cli.arena, "int8, in its place, has %s", s->over);
    BL_ALLOC_TRY(p->ctx, text);
    json_array_append_new(s->notes, json_string(text));
    return BL_OK;
}

/* The one line that goes with the exit code. */
static bl_status say_refused(const state *s)
{
    fprintf(stderr, "bitlathe: %s: the plan is refused: %s; ", s->p.dir, s->refused);
    if (!s->int8_row) fprintf(stderr, "nothing takes its place, add 8 to the widths, take the uniform one, or --force it\n");
    else if (s->over) fprintf(stderr, "int8 takes its place and has %s, give a larger budget or --force the plan\n", s->over);
    else fprintf(stderr, "int8 takes its place, --force keeps the plan\n");
    return BL_GOAL;
}

/* ---- figures */

/* Before any work, so that a wrong word costs none. */
static bl_status open_evaluation(state *s)
{
    if (!s->eval) return BL_OK;
    BL_TRY(bl_cli_judging_data(&s->cli, s->eval, s->eval_limit, s->p.graph, &s->eval_data));
    if (!s->metric && !bl_data_labelled(s->eval_data))
        return bl_fail(s->p.ctx, BL_USAGE, "--eval", "give labels, or --metric mse for a network that reconstructs its input",
                       "%s has no labels: nothing would be measured", s->eval);
    bl_eval_subject subject = { .graph = s->p.graph };
    BL_TRY(bl_eval_check(s->p.ctx, &subject, s->eval_data, &(bl_eval_options){ .limit = s->eval_limit, .metric = s->metric }));
    if (s->p.floor_data && !strcmp(s->p.floor_data, s->eval))
        BL_TRY(note(s, "floors are judged on the evaluation data: its figures are no test of the plan"));
    return BL_OK;
}

static bl_status evaluate(state *s)
{
    bl_pipeline *p = &s->p;
    if (!s->eval) return BL_OK;
    uint64_t start = bl_now_ns();
    bl_eval_options eo = { .limit = s->eval_limit, .metric = s->metric };
    bl_status st = BL_OK;
    for (int r = 0; st == BL_OK && r < s->n_rows; r++) st = bl_contender_eval(p, &s->row[r], s->eval_data, &eo);
    bl_pipeline_time(p, "evaluate", start);
    return st;
}

/* What model.blp holds: int8 where the chosen plan was refused.  Where int8 is not there either, what would have been. */
static const bl_contender *used_contender(const state *s)
{
    return &s->row[gives_way(s) && s->int8_row ? s->int8_row : s->chosen_row];
}

static bl_status make_summary(state *s, json_t **out)
{
    bl_pipeline *p = &s->p;
    const bl_contender *chosen = &s->row[s->chosen_row];
    json_t *front = NULL, *uniform = json_array(), *o = json_object();
    const bl_contender *int8 = s->int8_row ? &s->row[s->int8_row] : NULL;
    double base_noise = int8 && int8->scored ? pow(10, -int8->score.sqnr_db / 10) : 0;
    if (bl_search_find(p->recipe.search)->needs_sens) BL_TRY(bl_front_json(p, base_noise, &front));
    json_object_set_new(o, "model", json_string(bl_path_base(s->cli.args[0])));
    json_object_set_new(o, "recipe", json_string(p->recipe.name));
    json_object_set_new(o, "target", json_string(p->cost->target));
    json_object_set_new(o, "seed", json_integer((json_int_t)p->ctx->options.seed));
    json_object_set_new(o, "feasible", json_boolean(s->found.feasible));
    if (s->refused) json_object_set_new(o, "refused", json_string(s->refused));
    if (gives_way(s)) json_object_set_new(o, "in_place", json_string(s->int8_row ? "int8" : "nothing"));
    json_object_set(o, "notes", s->notes);
    json_object_set_new(o, "float", bl_contender_json(p, &s->row[0]));
    if (s->int8_row) json_object_set_new(o, "int8", bl_contender_json(p, &s->row[s->int8_row]));
    if (s->chosen_row != s->int8_row) json_object_set_new(o, "mixed", bl_contender_json(p, chosen));
    for (int r = 1; r < s->n_rows; r++)
        if (r != s->chosen_row && r != s->int8_row) json_array_append_new(uniform, bl_contender_json(p, &s->row[r]));
    json_object_set_new(o, "uniform", uniform);
    if (p->n_floors) json_object_set_new(o, "floors", bl_pipeline_floors_json(p, &s->found));
    json_object_set_new(o, "budgets", bl_budgets_json(p, used_contender(s), s->found.binding));
    if (front) json_object_set_new(o, "front", front);
    json_object_set_new(o, "layers", bl_layers_json(p, used_contender(s)));
    json_object_set_new(o, "kinds", bl_choice_kinds(p->ctx, p->graph, p->menu, p->cost, used_contender(s)->plan->choice));
    json_object_set_new(o, "islands", bl_islands_json(used_contender(s)->program));
    json_object_set(o, "seconds", p->seconds);
    json_object_set_new(o, "peak_rss_bytes", json_integer((json_int_t)bl_peak_rss_bytes()));
    json_t *samples = json_pack("{s:I}", "calibration", (json_int_t)p->stats->samples);
    if (p->samples) json_object_set(samples, "source", json_object_get(p->samples, "method"));
    if (p->sens) json_object_set_new(samples, "sense", json_integer(p->sens->samples));
    if (s->row[0].evaluated) json_object_set_new(samples, "evaluation", json_integer(s->row[0].eval.samples));
    json_object_set_new(o, "samples", samples);
    json_t *machine = json_deep_copy(p->cost->machine);
    json_object_set_new(machine, "threads", json_integer(bl_threads(p->ctx)));
    json_object_set_new(o, "machine", machine);
    json_object_set_new(o, "hashes", json_pack("{s:s, s:s, s:s}", "graph", p->graph->hash.hex, "plan", chosen->plan->hash.hex,
                                               "cost", p->cost->hash.hex));
    if (s->found.solver) json_object_set(o, "solver", s->found.solver);
    json_object_set_new(o, "tool", json_string(BL_VERSION_STRING));
    json_object_set_new(o, "command", json_string(s->command));
    *out = o;
    return BL_OK;
}

static bl_status write_report(state *s, const json_t *summary)
{
    bl_pipeline *p = &s->p;
    json_t *plan = NULL, *sens = NULL, *cost = NULL, *graph = bl_graph_json(p->ctx, p->graph);
    bl_status st = bl_json_read(p->ctx, bl_pipeline_path(p, gives_way(s) && !s->int8_row ? "plan.refused.json" : "plan.json"), &plan);
    if (st == BL_OK && p->sens) st = bl_json_read(p->ctx, bl_pipeline_path(p, "sens.json"), &sens);
    if (st == BL_OK) st = bl_json_read(p->ctx, bl_pipeline_path(p, "cost.json"), &cost);
    bl_report_input in = { .samples = p->samples, .summary = summary, .plan = plan, .sens = sens, .cost = cost, .graph = graph };
    if (st == BL_OK && graph) st = bl_json_write(p->ctx, bl_pipeline_path(p, "graph.json"), graph);
    if (st == BL_OK) st = bl_report_write(p->ctx, &in, bl_pipeline_path(p, "report.html"));
    json_decref(plan);
    json_decref(sens);
    json_decref(cost);
    json_decref(graph);
    return st;
}

static bl_status print_summary(state *s, json_t *summary)
{
    if (s->cli.json) return bl_cli_json(&s->cli, json_incref(summary));
    bool color = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
    char *table = bl_table_text(s->cli.arena, summary, color, 100);
    if (!table) return bl_pending(s->cli.ctx);
    bl_cli_islands(&s->cli, used_contender(s)->program);
    printf("%s\nreport: %s\n", table, bl_pipeline_path(&s->p, "report.html"));
    return BL_OK;
}

static bl_status finish(state *s)
{
    bl_pipeline *p = &s->p;
    json_t *summary = NULL;
    uint64_t start = bl_now_ns();
    const bl_contender *used = used_contender(s);
    if (!gives_way(s) || s->int8_row)
        BL_TRY(bl_export_qdq(p->ctx, p->graph, used->plan, used->weights, NULL, bl_pipeline_path(p, "model.qdq.onnx")));
    bl_pipeline_time(p, "export", start);
    bl_status st = make_summary(s, &summary);
    if (st == BL_OK) st = bl_json_write(p->ctx, bl_pipeline_path(p, "summary.json"), summary);
    if (st == BL_OK) st = write_report(s, summary);
    if (st == BL_OK) st = print_summary(s, summary);
    json_decref(summary);
    return st;
}

static bl_status note_floors(state *s)
{
    const bl_score *score = &s->found.score;
    for (int i = 0; i < s->p.n_floors && s->found.judged; i++) {
        const bl_floor *f = &s->p.floors[i];
        const char *error = f->kind == BL_FLOOR_TOP1 ? bl_format(s->cli.arena, " (standard error %.2f)", 100 * score->drop_error) : "";
        BL_ALLOC_TRY(s->cli.ctx, error);
        BL_TRY(note(s, bl_format(s->cli.arena, "floor %s=%g: the plan has %.2f%s on %lld samples of %s", bl_floor_name(f->kind), f->value,
                          bl_floor_measured(f, score), error, (long long)bl_oracle_samples(s->p.judge),
                          s->p.floor_data ? s->p.floor_data : "the calibration data")));
    }
    return BL_OK;
}

static bl_status note_samples(state *s)
{
    const json_t *r = s->p.samples;
    if (!r) return BL_OK;
    long long n = json_integer_value(json_object_get(r, "samples")), layers = json_integer_value(json_object_get(r, "layers"));
    if (layers)
        return note(s, bl_format(s->cli.arena, "%s --data: %lld samples distilled from the statistics of %lld BatchNormalizations in %lld steps",
                                 s->cli.has_data ? "beside" : "no", n, layers, (long long)json_integer_value(json_object_get(r, "steps"))));
    if (json_object_get(r, "reach"))
        return note(s, bl_format(s->cli.arena, "%s --data, and the model keeps no BatchNormalization: %lld samples of Gaussian numbers within what "
                          "--mean and --std make of pixels", s->cli.has_data ? "beside" : "no", n));
    return note(s, bl_format(s->cli.arena, "%s --data, and the model keeps no BatchNormalization: %lld samples of Gaussian numbers, "
                      "their ranges may be far from real ones (--mean and --std of its pictures would say what its inputs reach)", s->cli.has_data ? "beside" : "no", n));
}

/* What a command that says nothing means: without samples OHQ's way, which makes its own, and NET.run for NET.onnx. */
static bl_status fill_in(state *s)
{
    const char *name = bl_path_base(s->cli.args[0]);
    size_t n = strlen(name);
    if (!s->cli.has_data && !s->words.recipe) s->words.recipe = "ohq";
    if (s->cli.output) return BL_OK;
    if (n > 5 && !strcmp(name + n - 5, ".onnx")) n -= 5;
    s->cli.output = bl_format(s->cli.arena, "%.*s.run", (int)BL_MIN(n, (size_t)200), name);
    return s->cli.output ? BL_OK : bl_pending(s->cli.ctx);
}

/* Two calls in one folder would mix their plans, weights and programs.  The lock dies with the process. */
static bl_status hold_folder(state *s)
{
    if (s->cli.ranks > 1 || s->folder >= 0) return BL_OK; /* ranks share it */
    s->folder = open(s->p.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->folder < 0 || flock(s->folder, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return BL_OK;
    return bl_fail(s->p.ctx, BL_CANTCREATE, s->p.dir, "wait for it, or give another -o", "another bitlathe quantize works in this folder");
}

/* Narrow depthwise layers lose most of what a network knows, by nearest rounding and by rounding that few samples taught: docs/rounding.md,
 * where 6 bits wanted no help. */
static bl_status advise_tuner(state *s)
{
    enum { NARROW = 6 };
    bl_pipeline *p = &s->p;
    static const char *const helps[] = { "refit", "imitate", "finetune" };
    const char *tuner = p->recipe.tune;
    const bl_candidate *choice = used_contender(s)->plan->choice;
    int narrow = 0;
    for (size_t i = 0; tuner && i < BL_COUNTOF(helps); i++)
        if (bl_tuner_find(tuner) == bl_tuner_find(helps[i])) return BL_OK;
    for (int i = 0; i < p->graph->n_nodes; i++) {
        const char *kind = bl_layer_kind(p->ctx, p->graph, i);
        int unit = kind && !strcmp(kind, "depthwise") ? p->menu->unit_of_layer[i] : -1;
        narrow += unit >= 0 && choice[unit].w_bits < NARROW;
    }
    if (!narrow) return BL_OK;
    return note(s, bl_format(s->cli.arena, "%d depthwise layer%s below %d bits: --tune refit, which fits weights and their rounding to the samples, takes a minute and may lose less",
                             narrow, narrow > 1 ? "s have weights" : " has weights", NARROW));
}

static bl_status stages(state *s)
{
    bl_pipeline *p = &s->p;
    BL_TRY(fill_in(s));
    s->words.searches = true;
    BL_TRY(bl_pipeline_open(p, &s->cli, &s->words, s->cli.output));
    if (!bl_pipeline_distils(p) && !p->recipe.beside) BL_TRY(bl_pipeline_data(p));
    BL_TRY(open_evaluation(s));
    BL_TRY(bl_try_lowering(p->ctx, p->graph, p->menu));
    BL_TRY(bl_pipeline_judge(p));
    BL_TRY(hold_folder(s)); /* one that is there, before anything is written into it */
    BL_TRY(bl_pipeline_begin(p));
    BL_TRY(hold_folder(s));
    BL_TRY(bl_pipeline_data(p));
    BL_TRY(note_samples(s));
    if (p->ends_told) BL_TRY(note(s, p->ends_told));
    BL_TRY(bl_pipeline_stats(p));
    const char *rescue;
    BL_TRY(bl_pipeline_rescue(p, &rescue));
    if (rescue) BL_TRY(note(s, rescue));
    if (rescue) BL_TRY(bl_try_lowering(p->ctx, p->graph, p->menu));
    if (bl_recipe_needs_sens(&p->recipe)) BL_TRY(bl_pipeline_sens(p));
    BL_TRY(bl_pipeline_cost(p));
    BL_TRY(bl_pipeline_search(p, &s->found));
    BL_TRY(prefer_int8(s));
    BL_TRY(note_floors(s));
    BL_TRY(make_contenders(s));
    BL_TRY(compare_with_uniform(s));
    if (!s->no_bench) BL_TRY(time_contenders(s));
    if (s->refused) BL_TRY(refuse(s));
    BL_TRY(advise_tuner(s));
    BL_TRY(evaluate(s));
    BL_TRY(finish(s));
    if (!s->found.feasible) return bl_pipeline_infeasible(p, &s->found);
    return gives_way(s) ? say_refused(s) : BL_OK;
}

/* As it was typed, for the reproducibility box. */
static const char *join_words(bl_cli *cli, int argc, char **argv)
{
    const char *text = argv[0];
    for (int i = 1; text && i < argc; i++) text = bl_format(cli->arena, "%s %s", text, argv[i]);
    return text;
}

int bl_cmd_quantize(int argc, char **argv)
{
    state s = { .folder = -1 };
    struct argp_option all[64];
    size_t n = 0;
    for (const struct argp_option *o = options; o->name || o->doc; o++) all[n++] = *o;
    for (const struct argp_option *o = bl_recipe_options; o->name || o->doc; o++) all[n++] = *o;
    all[n] = (struct argp_option){ 0 };
    const bl_verb verb = { "quantize", "MODEL.onnx", "Chooses bits under budgets and makes the network run: every stage in order.  Without --data as OHQ does, without -o into MODEL.run.",
                           "bitlathe quantize net.onnx --data npy:train.npy --budget size=0.6 --eval npy:test.npy,test.csv -o run",
                           all, parse, true, 1, 1 };
    int code = bl_cli_open(&s.cli, &s, &verb, argc, argv);
    if (code) return code;
    s.notes = json_array();
    s.command = join_words(&s.cli, argc, argv);
    bl_status st = s.command ? stages(&s) : bl_pending(s.cli.ctx);
    for (int r = 0; r < s.n_rows; r++) bl_contender_free(&s.row[r]);
    json_decref(s.found.solver);
    json_decref(s.notes);
    bl_data_free(s.eval_data);
    bl_pipeline_close(&s.p);
    if (s.folder >= 0) close(s.folder);
    return bl_cli_close(&s.cli, st);
}
