/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Recipes beside each other: each goes its straight way on each target under each budget, in a folder of its own that a
 * second call goes on from.  What they reach is printed and drawn: accuracy against latency, size and energy.
 */
#include "cli/contest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct contest_round {
    bl_cli *cli;
    const bl_contest *c;
    json_t *points;
    bl_data *eval;
    double float_top1;
    const char *target, *recipe, *budget; /* at hand; budget NULL: none */
} contest_round;

static void figure(json_t *o, const char *key, double v)
{
    if (isfinite(v)) json_object_set_new(o, key, json_real(v));
}

/* ---- one recipe on one target under one budget */

/* Uniform widths: the most bits that keep the budgets; (b, 8) before (b, b). */
static bl_status widest_uniform(bl_pipeline *p, bl_search_result *found)
{
    int most = -1;
    for (int b = 8; b >= 2; b--)
        for (int narrow = 0; narrow < 2; narrow++) {
            int a = narrow ? b : 8, *choice;
            double total[BL_N_METRIC];
            bool fits = true;
            BL_TRY(bl_pipeline_uniform(p, b, a, &choice));
            BL_TRY(bl_pipeline_price(p, choice, total));
            for (int k = 0; k < p->n_budgets; k++) fits &= total[p->budgets[k].metric] <= p->budgets[k].limit * (1 + 1e-12);
            bool last = b == 2 && narrow && most < 0;
            if ((!fits && !last) || b + a <= most) continue;
            most = fits ? b + a : most;
            *found = (bl_search_result){ .choice = choice, .feasible = fits, .binding = -1 };
        }
    return BL_OK;
}

static bl_status score_plan(contest_round *r, bl_pipeline *p, const bl_plan *plan, const bl_weights *w, json_t *point)
{
    bl_program *program;
    bl_eval_result e;
    bl_score score;
    double ebops = NAN;
    if (!r->eval) {
        BL_TRY(bl_pipeline_oracle(p));
        BL_TRY(bl_oracle_score(p->oracle, plan, w, &score));
        figure(point, "sqnr_db", score.sqnr_db);
    }
    BL_TRY(bl_lower(p->ctx, p->graph, plan, w, &program));
    bl_eval_subject subject = { .program = program };
    bl_status s = bl_program_ebops(p->ctx, program, &ebops);
    if (s == BL_OK && r->eval) s = bl_eval(p->ctx, &subject, r->eval, &(bl_eval_options){ .limit = r->c->eval_limit }, &e);
    bl_program_free(program);
    figure(point, "ebops", ebops);
    if (s != BL_OK || !r->eval) return s;
    figure(point, "top1", e.top1);
    bl_eval_free(&e);
    return BL_OK;
}

static bl_status stages(contest_round *r, bl_pipeline *p, bool uniform, json_t *point)
{
    bl_search_result found = { 0 };
    bl_plan *plan = NULL;
    bl_weights *w = NULL;
    uint64_t start = bl_now_ns();
    BL_TRY(bl_pipeline_begin(p));
    BL_TRY(bl_pipeline_data(p));
    BL_TRY(bl_pipeline_stats(p));
    if (bl_recipe_needs_sens(&p->recipe)) BL_TRY(bl_pipeline_sens(p));
    BL_TRY(bl_pipeline_cost(p));
    BL_TRY(uniform ? widest_uniform(p, &found) : bl_pipeline_search(p, &found));
    char *name = bl_format(r->cli->arena, "plan%s%s.json", r->budget ? "-" : "", r->budget ? r->budget : "");
    bl_status s = name ? bl_pipeline_plan(p, found.choice, p->recipe.name, &plan) : bl_pending(p->ctx);
    if (s == BL_OK) {
        plan->feasible = found.feasible;
        plan->solver = json_incref(found.solver);
        s = bl_pipeline_tune(p, plan, NULL, &w);
    }
    double seconds = (double)(bl_now_ns() - start) * 1e-9;
    if (s == BL_OK) s = bl_plan_write(p->ctx, p->graph, plan, bl_pipeline_path(p, name));
    if (s == BL_OK) {
        json_object_set_new(point, "feasible", json_boolean(found.feasible));
        figure(point, "size_bytes", bl_plan_predicted(plan, "size_bytes"));
        figure(point, "bops", bl_plan_predicted(plan, "bops"));
        figure(point, "latency_ms", bl_plan_predicted(plan, "latency_ns") * 1e-6);
        figure(point, "energy_mj", bl_plan_predicted(plan, "energy_nj") * 1e-6);
        figure(point, "seconds", seconds);
        json_object_set_new(point, "kinds", bl_choice_kinds(p->ctx, p->graph, p->menu, p->cost, plan->choice));
        s = score_plan(r, p, plan, w, point);
    }
    json_decref(found.solver);
    bl_weights_free(w);
    bl_plan_free(plan);
    return s;
}

static bl_status one(contest_round *r)
{
    bl_recipe_words words = { .recipe = r->recipe, .target = r->target, .n_set = r->c->n_set };
    bool uniform = !strcmp(r->recipe, "uniform");
    bl_pipeline p;
    memcpy(words.set, r->c->set, sizeof r->c->set);
    if (uniform) words.weight_bits = words.act_bits = "2,3,4,5,6,7,8";
    if (r->budget) words.budget[words.n_budgets++] = r->budget;
    char *folder = bl_format(r->cli->arena, "%s/%s/%s", r->cli->output, bl_path_base(r->target), bl_path_base(r->recipe));
    json_t *point = json_pack("{s:s, s:s}", "series", bl_path_base(r->recipe), "target", bl_path_base(r->target));
    if (r->budget) json_object_set_new(point, "budget", json_string(r->budget));
    bl_status s = folder ? bl_pipeline_open(&p, r->cli, &words, folder) : bl_pending(r->cli->ctx);
    if (s == BL_OK) s = stages(r, &p, uniform, point);
    if (folder && p.seconds) bl_pipeline_close(&p);
    if (s == BL_OK) json_array_append_new(r->points, point);
    else json_decref(point);
    return s;
}

/* ---- lists */

static bl_status each(contest_round *r, const char *list, bl_status (*fn)(contest_round *, const char *))
{
    char *copy = bl_strdup(r->cli->arena, list), *save = NULL;
    BL_ALLOC_TRY(r->cli->ctx, copy);
    for (char *t = strtok_r(copy, ",", &save); t; t = strtok_r(NULL, ",", &save)) BL_TRY(fn(r, t));
    return BL_OK;
}

/* A recipe under every budget of every list. */
static bl_status with_recipe(contest_round *r, const char *name)
{
    r->recipe = name;
    r->budget = NULL;
    if (!r->c->n_budgets) return one(r);
    for (int b = 0; b < r->c->n_budgets; b++) {
        char *copy = bl_strdup(r->cli->arena, r->c->budgets[b]), *eq = copy ? strchr(copy, '=') : NULL, *save = NULL;
        BL_ALLOC_TRY(r->cli->ctx, copy);
        if (!eq) return bl_fail(r->cli->ctx, BL_USAGE, copy, "write latency=0.8,0.6,0.4", "a budget that is none");
        for (char *t = strtok_r(eq + 1, ",", &save); t; t = strtok_r(NULL, ",", &save)) {
            r->budget = bl_format(r->cli->arena, "%.*s=%s", (int)(eq - copy), copy, t);
            BL_ALLOC_TRY(r->cli->ctx, r->budget);
            BL_TRY(one(r));
        }
    }
    return BL_OK;
}

static bl_status with_target(contest_round *r, const char *name)
{
    r->target = name;
    return each(r, r->c->recipes, with_recipe);
}

static bl_status open_eval(contest_round *r)
{
    bl_graph *g;
    bl_eval_result e;
    if (!r->c->eval) return BL_OK;
    BL_TRY(bl_cli_float_model(r->cli, r->cli->args[0], true, &g));
    bl_status s = bl_cli_judging_data(r->cli, r->c->eval, r->c->eval_limit, g, &r->eval);
    if (s == BL_OK && !bl_data_labelled(r->eval))
        s = bl_fail(r->cli->ctx, BL_DATA, r->c->eval, "give labels, or leave --eval away", "accuracy needs labelled samples");
    if (s == BL_OK) {
        s = bl_eval(r->cli->ctx, &(bl_eval_subject){ .graph = g }, r->eval, &(bl_eval_options){ .limit = r->c->eval_limit }, &e);
        if (s == BL_OK) {
            r->float_top1 = e.top1;
            bl_eval_free(&e);
        }
    }
    bl_graph_free(g);
    return s;
}

/* ---- the answer */

static int column_width(const bl_contest_column *c)
{
    return BL_MAX(9, (int)strlen(c->head));
}

static void print_points(const json_t *answer)
{
    const json_t *points = json_object_get(answer, "points");
    json_t *point;
    size_t i;
    const char *last = "";
    bool known[BL_CONTEST_COLUMNS] = { false }; /* a column of nothing but dashes is left out */
    json_array_foreach(points, i, point)
        for (size_t c = 0; c < BL_CONTEST_COLUMNS; c++) known[c] |= json_is_number(json_object_get(point, bl_contest_columns[c].key));
    json_array_foreach(points, i, point) {
        const char *target = json_string_value(json_object_get(point, "target")), *budget = json_string_value(json_object_get(point, "budget"));
        if (strcmp(target, last)) {
            printf("%s\n  %-16s %-18s", target, "", "budget");
            for (size_t c = 0; c < BL_CONTEST_COLUMNS; c++)
                if (known[c]) printf(" %*s", column_width(&bl_contest_columns[c]), bl_contest_columns[c].head);
            printf("\n");
        }
        last = target;
        printf("  %-16s %-18s", json_string_value(json_object_get(point, "series")), budget ? budget : "-");
        for (size_t c = 0; c < BL_CONTEST_COLUMNS; c++) {
            const bl_contest_column *k = &bl_contest_columns[c];
            const json_t *v = json_object_get(point, k->key);
            if (json_is_number(v)) printf(" %*.*f", column_width(k), k->decimals, k->scale * json_number_value(v));
            else if (known[c]) printf(" %*s", column_width(k), "-");
        }
        printf("%s\n", json_is_false(json_object_get(point, "feasible")) ? "  not within the budget" : "");
    }
}

/* Bits by kind of layer, a plan a line. */
static void print_kinds(const json_t *answer)
{
    json_t *point, *kind;
    size_t i, k;
    const char *last = "";
    json_array_foreach(json_object_get(answer, "points"), i, point) {
        const char *target = json_string_value(json_object_get(point, "target")), *budget = json_string_value(json_object_get(point, "budget"));
        if (!json_array_size(json_object_get(point, "kinds"))) continue;
        if (strcmp(target, last)) printf("%s: mean bits by kind of layer (weights/values, of so many layers so many bound by computing)\n", target);
        last = target;
        printf("  %-16s %-18s", json_string_value(json_object_get(point, "series")), budget ? budget : "-");
        json_array_foreach(json_object_get(point, "kinds"), k, kind) {
            const json_t *w = json_object_get(kind, "w_bits");
            long long computing = json_integer_value(json_object_get(kind, "computing")), moving = json_integer_value(json_object_get(kind, "moving"));
            printf("  %s ", json_string_value(json_object_get(kind, "kind")));
            if (w) printf("%.1f/", json_number_value(w));
            printf("%.1f", json_number_value(json_object_get(kind, "a_bits")));
            if (computing + moving) printf(" (%lld of %lld)", computing, computing + moving);
        }
        printf("\n");
    }
}

static bl_status answer(bl_cli *cli, json_t *o)
{
    bl_status s = BL_OK;
    char *page = NULL;
    if (cli->output) {
        page = bl_path_join(cli->arena, cli->output, "compare.html");
        s = page ? bl_make_dir(cli->ctx, cli->output) : bl_pending(cli->ctx);
        if (s == BL_OK) s = bl_json_write(cli->ctx, bl_path_join(cli->arena, cli->output, "compare.json"), o);
        if (s == BL_OK) s = bl_contest_page(cli->ctx, o, page);
    }
    if (s == BL_OK && cli->json) s = bl_cli_json(cli, json_incref(o));
    else if (s == BL_OK) {
        print_points(o);
        print_kinds(o);
        if (page) printf("picture: %s\n", page);
    }
    json_decref(o);
    return s;
}

/* ---- finished runs */

bool bl_contest_is_run(bl_cli *cli, const char *path)
{
    char *summary = bl_path_join(cli->arena, path, "summary.json"), *front = bl_path_join(cli->arena, path, "front.json");
    return (summary && bl_file_exists(summary)) || (front && bl_file_exists(front));
}

static double number(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

/* A row of a summary as a point; measured latency where the run was timed, else the predicted one. */
static void add_row(json_t *points, const char *series, const char *target, const json_t *row, const json_t *summary)
{
    const json_t *total = json_object_get(summary, "seconds"), *v;
    const char *stage;
    double ms = number(json_object_get(row, "latency_ms"), "median"), seconds = 0;
    if (!json_is_object(row)) return;
    json_object_foreach((json_t *)total, stage, v) seconds += json_number_value(v);
    json_t *o = json_pack("{s:s, s:s, s:s}", "series", series, "target", target, "budget", json_string_value(json_object_get(row, "name")));
    figure(o, "top1", number(row, "top1"));
    figure(o, "sqnr_db", number(row, "sqnr_db"));
    figure(o, "size_bytes", number(row, "size_bytes"));
    figure(o, "bops", number(row, "bops"));
    figure(o, "ebops", number(row, "ebops"));
    figure(o, "latency_ms", isfinite(ms) ? ms : number(row, "predicted_latency_ms"));
    figure(o, "energy_mj", number(row, "predicted_energy_mj"));
    figure(o, "seconds", seconds);
    json_array_append_new(points, o);
}

static char *without_slashes(bl_cli *cli, const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    return bl_strndup(cli->arena, path, n);
}

/* A run's folder by its last part, or by its whole path where another run is called the same: one name is one line. */
static char *series_of(bl_cli *cli, const char *path)
{
    char *own = without_slashes(cli, path);
    for (int i = 0; own && i < cli->n_args; i++) {
        char *other = without_slashes(cli, cli->args[i]);
        if (!other) return NULL;
        if (strcmp(own, other) && !strcmp(bl_path_base(own), bl_path_base(other))) return own;
    }
    return own ? bl_strdup(cli->arena, bl_path_base(own)) : NULL;
}

/* The front of a training of every width: a point each, whose cost is EBOPs alone. */
static bl_status add_front(bl_cli *cli, const char *path, json_t *points)
{
    json_t *front, *p;
    size_t i;
    char *file = bl_path_join(cli->arena, path, "front.json"), *series = series_of(cli, path);
    if (!file || !series) return bl_pending(cli->ctx);
    BL_TRY(bl_json_read(cli->ctx, file, &front));
    json_array_foreach(json_object_get(front, "points"), i, p) {
        double test = number(p, "test_top1");
        json_t *o = json_pack("{s:s, s:s, s:s}", "series", series, "target", "fixed point", "budget", "-");
        figure(o, "top1", isfinite(test) ? test : number(p, "held_out_top1"));
        figure(o, "ebops", number(p, "ebops1"));
        json_array_append_new(points, o);
    }
    json_decref(front);
    return BL_OK;
}

static bl_status add_run(bl_cli *cli, const char *path, json_t *points, const char **model)
{
    char *summary = bl_path_join(cli->arena, path, "summary.json");
    char *series = series_of(cli, path);
    if (!summary || !series) return bl_pending(cli->ctx);
    if (!bl_file_exists(summary)) return add_front(cli, path, points);
    json_t *s, *row;
    size_t i;
    BL_TRY(bl_json_read(cli->ctx, summary, &s));
    const char *target = json_string_value(json_object_get(s, "target")), *name = json_string_value(json_object_get(s, "model"));
    if (*model && name && strcmp(*model, name)) bl_note(cli->ctx, "%s is a run of %s, other points are of %s", path, name, *model);
    if (!*model) *model = name ? bl_strdup(cli->arena, name) : NULL;
    if (!target) target = "unknown target";
    add_row(points, series, target, json_object_get(s, "mixed"), s);
    add_row(points, "uniform", target, json_object_get(s, "int8"), s);
    json_array_foreach(json_object_get(s, "uniform"), i, row) add_row(points, "uniform", target, row, s);
    json_decref(s);
    return BL_OK;
}

bl_status bl_contest_of_runs(bl_cli *cli)
{
    json_t *points = json_array();
    const char *model = NULL;
    bl_status s = BL_OK;
    for (int i = 0; i < cli->n_args && s == BL_OK; i++) s = add_run(cli, cli->args[i], points, &model);
    if (s != BL_OK) {
        json_decref(points);
        return s;
    }
    return answer(cli, json_pack("{s:s, s:o}", "model", model ? model : "", "points", points));
}

/* ---- recipes, and finished runs beside them */

bl_status bl_contest_run(bl_cli *cli, const bl_contest *contest)
{
    contest_round r = { .cli = cli, .c = contest, .float_top1 = NAN };
    const char *model = cli->args[0];
    for (int i = 1; i < cli->n_args; i++)
        if (!bl_contest_is_run(cli, cli->args[i]))
            return bl_fail(cli->ctx, BL_USAGE, cli->args[i], "give one MODEL.onnx, and folders of finished runs of it", "recipes are compared on one model");
    if (!cli->output) return bl_fail(cli->ctx, BL_USAGE, cli->program, "give -o FOLDER", "no folder for the recipes' records");
    bl_status s = open_eval(&r);
    r.points = json_array();
    if (s == BL_OK) s = each(&r, contest->targets ? contest->targets : "here", with_target);
    for (int i = 1; i < cli->n_args && s == BL_OK; i++) s = add_run(cli, cli->args[i], r.points, &model);
    bl_data_free(r.eval);
    if (s != BL_OK) {
        json_decref(r.points);
        return s;
    }
    json_t *o = json_pack("{s:s, s:o}", "model", bl_path_base(model), "points", r.points);
    figure(o, "float_top1", r.float_top1);
    return answer(cli, o);
}
