/* SPDX-License-Identifier: BSD-3-Clause */
/* bitlathe tune: a row of tuners.def on a plan that is there; writes WEIGHTS and names them in the plan. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

enum { KEY_TUNER = 0x200, SAMPLES = 256 };

typedef struct state {
    bl_cli cli;
    const char *tuner;
    char *plan_path, *dir;
    const char *model, *run;    /* run: its folder, NULL where model and plan are given */
} state;

static const struct argp_option options[] = {
    { "tune", KEY_TUNER, "NAME[:WORDS]", 0, "row of `bitlathe list tuners` (that of the plan's recipe), such as finetune:epochs=3", 1 },
    { 0 }
};

static error_t parse(int key, char *arg, void *input)
{
    state *s = input;
    if (key != KEY_TUNER) return ARGP_ERR_UNKNOWN;
    s->tuner = arg;
    return 0;
}

static char *folder_of(bl_arena *arena, const char *path)
{
    const char *base = bl_path_base(path);
    return base == path ? bl_strdup(arena, ".") : bl_strndup(arena, path, (size_t)(base - path));
}

/* A folder with its run.json, or a model and a plan. */
static bl_status find_files(state *s)
{
    bl_cli *cli = &s->cli;
    if (cli->n_args == 2) {
        s->model = bl_strdup(cli->arena, cli->args[0]);
        s->plan_path = bl_strdup(cli->arena, cli->args[1]);
    } else {
        char *file = bl_path_join(cli->arena, s->run = cli->args[0], "run.json");
        s->plan_path = bl_path_join(cli->arena, cli->args[0], "plan.json");
        if (!file || !s->plan_path) return bl_pending(cli->ctx);
        BL_TRY(bl_cli_run_model(cli, file, &s->model));
    }
    if (s->model && s->plan_path) s->dir = cli->output ? bl_strdup(cli->arena, cli->output) : folder_of(cli->arena, s->plan_path);
    return s->dir ? BL_OK : bl_pending(cli->ctx);
}

/* The tuner of --tune, else that of the recipe that made the plan. */
static bl_status find_tuner(state *s, const bl_plan *plan, const bl_tuner **out)
{
    bl_ctx *ctx = s->cli.ctx;
    bool built_in = false;
    for (size_t i = 0; plan->recipe && i < bl_recipe_count(); i++) built_in |= !strcmp(plan->recipe, bl_recipe_name(i));
    if (!s->tuner && built_in) {
        bl_recipe recipe;
        BL_TRY(bl_recipe_load(ctx, s->cli.arena, plan->recipe, &recipe));
        s->tuner = recipe.tune;
    }
    if (!s->tuner) return bl_fail(ctx, BL_USAGE, s->plan_path, "give --tune NAME", "the plan's recipe names no tuner");
    BL_TRY(bl_tuner_check(ctx, s->tuner));
    *out = bl_tuner_find(s->tuner);
    return BL_OK;
}

static bl_status write_results(state *s, const bl_graph *g, const bl_data *data, int64_t limit, bl_plan *plan, bl_weights *w, const char *tuner)
{
    bl_ctx *ctx = s->cli.ctx;
    BL_TRY(bl_cli_begin_run(&s->cli, s->dir, s->model, g, data, limit)); /* for `lower` of this folder */
    char *weights = bl_path_join(s->cli.arena, s->dir, "weights.blw"), *to = bl_path_join(s->cli.arena, s->dir, bl_path_base(s->plan_path));
    if (!weights || !to) return bl_pending(ctx);
    BL_TRY(bl_weights_write(ctx, g, w, weights));
    plan->weights = w->hash;
    BL_TRY(bl_plan_write(ctx, g, plan, to));
    if (s->cli.json)
        return bl_cli_json(&s->cli, json_pack("{s:s, s:s, s:s, s:i}", "record", weights, "plan", to, "tuner", tuner, "replaced", w->n_items));
    printf("%s\n%s\n", weights, to);
    return BL_OK;
}

static bl_status tune_plan(state *s, const bl_graph *g, bl_plan *plan)
{
    const bl_tuner *tuner = NULL;
    bl_data *data;
    bl_weights *w = NULL;
    BL_TRY(find_tuner(s, plan, &tuner));
    int64_t *index, limit = s->cli.data.limit;
    if (s->run) BL_TRY(bl_cli_run_data(&s->cli, s->run, g, &data, &limit));
    else BL_TRY(bl_cli_data(&s->cli, g, NULL, &data));
    if (!limit) limit = SAMPLES;
    bl_tune_input in = { .graph = g, .plan = plan, .data = data, .words = bl_tuner_words(s->tuner) };
    bl_status st = bl_data_pick(data, limit, s->cli.arena, &index, &in.samples);
    if (st == BL_OK) st = bl_tune(s->cli.ctx, tuner, &in, &w);
    if (st == BL_OK) st = write_results(s, g, data, limit, plan, w, tuner->name);
    bl_weights_free(w);
    bl_data_free(data);
    return st;
}

static bl_status run(state *s)
{
    bl_graph *g;
    bl_plan *plan = NULL;
    BL_TRY(find_files(s));
    BL_TRY(bl_cli_float_model(&s->cli, s->model, true, &g));
    bl_status st = bl_plan_read(s->cli.ctx, g, s->plan_path, &plan);
    if (st == BL_OK) st = tune_plan(s, g, plan);
    bl_plan_free(plan);
    bl_graph_free(g);
    return st;
}

int bl_cmd_tune(int argc, char **argv)
{
    state s = { 0 };
    const bl_verb verb = { "tune", "RUNDIR | MODEL.onnx PLAN.json", "Changes weights to suit a plan: weights.blw beside it, or in the folder of -o.  A run without --data: on its own samples.",
                           "bitlathe tune run --tune adaround -o rounded", options, parse, true, 1, 2 };
    int code = bl_cli_open(&s.cli, &s, &verb, argc, argv);
    return code ? code : bl_cli_close(&s.cli, run(&s));
}
