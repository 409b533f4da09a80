/* SPDX-License-Identifier: BSD-3-Clause */
/* A choice becomes a plan that says what the two tables predict for it. */
#include "search/search.h"

static bl_status exact_price(bl_ctx *ctx, const bl_search_input *in, const int *choice, double total[BL_N_METRIC])
{
    bl_arena *a = bl_arena_new(ctx, "price");
    BL_ALLOC_TRY(ctx, a);
    bl_candidate *c = BL_NEW(a, bl_candidate, (size_t)in->menu->n_units);
    bl_status s = c ? BL_OK : bl_pending(ctx);
    for (int u = 0; c && u < in->menu->n_units; u++) c[u] = in->menu->units[u].candidates[choice[u]];
    if (s == BL_OK) s = bl_price_exact(ctx, in->graph, in->menu, in->cost, c, total);
    bl_arena_free(a);
    return s;
}

static bl_status add_figures(bl_ctx *ctx, const bl_search_input *in, const int *choice, bl_plan *plan)
{
    double total[BL_N_METRIC], objective = bl_choice_objective(in->menu, in->sens, choice);
    if (in->cost) {
        BL_TRY(exact_price(ctx, in, choice, total));
        for (int m = 0; m < BL_N_METRIC; m++)
            if (!isnan(total[m])) BL_TRY(bl_plan_figure(plan, bl_metric_key((bl_metric)m), total[m]));
        plan->cost = in->cost->hash;
    }
    if (in->sens) plan->sens = in->sens->hash;
    if (isnan(objective)) return BL_OK;
    BL_TRY(bl_plan_figure(plan, "objective", objective));
    return objective > 0 && bl_objective_is_noise(in->sens) ? bl_plan_figure(plan, "sqnr_db", bl_objective_sqnr(objective)) : BL_OK;
}

bl_status bl_choice_plan(bl_ctx *ctx, const bl_search_input *in, const int *choice, const bl_grid_options *grids,
                         const char *recipe, bl_plan **out)
{
    bl_plan *plan;
    BL_TRY(bl_plan_make_by(ctx, in->graph, in->menu, in->stats, choice, grids, recipe, in->book, &plan));
    bl_status s = add_figures(ctx, in, choice, plan);
    if (s != BL_OK) bl_plan_free(plan);
    else *out = plan;
    return s;
}
