/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bitlathe inspect --worst with samples: the units of a run's plan that lose most at the output, weights and
 * values apart, and what helps of all that can be changed there: widths that no record has, other ranges.
 */
#include "cli/cli.h"

#include <math.h>
#include <stdio.h>

enum { WORST_MOST = 10, WORST_SAMPLES = 32 };

static json_t *worst_json(const bl_menu *menu, const bl_worst *list, int n)
{
    json_t *all = json_array();
    for (int i = 0; i < n; i++) {
        const bl_worst *w = &list[i];
        json_t *o = json_pack("{s:s, s:i, s:f, s:f}", "unit", menu->units[w->unit].name, "act_bits", w->a_bits, "sqnr_db", w->alone_db,
                              "share", w->share);
        if (w->w_bits) json_object_set_new(o, "weight_bits", json_integer(w->w_bits));
        if (isfinite(w->weights_db)) json_object_set_new(o, "weights_sqnr_db", bl_json_real(w->weights_db));
        if (isfinite(w->values_db)) json_object_set_new(o, "values_sqnr_db", bl_json_real(w->values_db));
        json_object_set_new(o, "help", json_string(w->help));
        if (isfinite(w->helped_db)) json_object_set_new(o, "helped_sqnr_db", bl_json_real(w->helped_db));
        json_array_append_new(all, o);
    }
    return json_pack("{s:o}", "worst", all);
}

static void print_db(double db)
{
    if (isfinite(db)) printf(" %8.1f", db);
    else printf(" %8s", "-");
}

static bl_status say_worst(bl_cli *cli, const bl_menu *menu, const bl_worst *list, int n)
{
    bool text;
    BL_TRY(bl_cli_answer(cli, worst_json(menu, list, n), &text));
    if (!text) return BL_OK;
    printf("Each unit alone on the plan's widths, measured: signal to noise at the output in dB, share of the sum of noise\n");
    printf("%-32s %-6s %8s %8s %8s %7s  %s\n", "unit", "bits", "alone", "weights", "values", "share", "what would help");
    for (int i = 0; i < n; i++) {
        char bits[16];
        const bl_worst *w = &list[i];
        printf("%-32.32s %-6s", menu->units[w->unit].name, bl_candidate_name((bl_candidate){ w->w_bits, w->a_bits }, bits));
        print_db(w->alone_db);
        print_db(w->weights_db);
        print_db(w->values_db);
        printf(" %6.1f%%  %s", 100 * w->share, w->help);
        if (isfinite(w->helped_db)) printf(": %.1f dB", w->helped_db);
        printf("\n");
    }
    return BL_OK;
}

/* The folder's model, plan and statistics; samples of --data. */
static bl_status worst_of_run(bl_cli *cli, bl_graph *g, const char *dir)
{
    bl_plan *plan = NULL;
    bl_stats *stats = NULL;
    bl_menu *menu = NULL;
    bl_data *data = NULL;
    bl_worst *list;
    int n;
    char *plan_path = bl_path_join(cli->arena, dir, "plan.json"), *stats_path = bl_path_join(cli->arena, dir, "stats.json");
    int64_t limit; /* of the run's calibration: more than is needed here */
    bl_sense_options o = { .samples = cli->data.limit ? cli->data.limit : WORST_SAMPLES };
    bl_status st = plan_path && stats_path ? bl_plan_read(cli->ctx, g, plan_path, &plan) : bl_pending(cli->ctx);
    if (st == BL_OK) st = bl_stats_read(cli->ctx, g, stats_path, &stats);
    if (st == BL_OK) st = bl_menu_make(cli->ctx, g, NULL, &menu);
    if (st == BL_OK) st = bl_cli_run_data(cli, dir, g, &data, &limit);
    bl_sense_input in = { g, menu, stats, data, &o };
    if (st == BL_OK) st = bl_worst_find(cli->ctx, &in, plan, WORST_MOST, cli->arena, &list, &n);
    if (st == BL_OK) st = say_worst(cli, menu, list, n);
    bl_data_free(data);
    bl_menu_free(menu);
    bl_stats_free(stats);
    bl_plan_free(plan);
    return st;
}

bl_status bl_inspect_worst_measured(bl_cli *cli)
{
    const char *dir = cli->args[0], *model;
    bl_graph *g;
    char *run = bl_path_join(cli->arena, dir, "run.json");
    BL_ALLOC_TRY(cli->ctx, run);
    BL_TRY(bl_cli_run_model(cli, run, &model));
    BL_TRY(bl_cli_float_model(cli, model, true, &g));
    bl_status st = worst_of_run(cli, g, dir);
    bl_graph_free(g);
    return st;
}
