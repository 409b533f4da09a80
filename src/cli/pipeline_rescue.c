/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Networks that eight bits cannot hold.  Where nothing was asked for but a good plan, uniform int8 is the answer,
 * and for a few networks a bad one: MobileNetV3 small keeps 3 dB of its output.  A recipe's `rescue` is the least
 * SQNR of int8 that passes; below it the values may have 16 bits, and the search keeps that SQNR at the fewest
 * operations.  Weights stay at 8 bits, so the size does not change.
 */
#include "cli/pipeline.h"

#include <math.h>

/* Output SQNR of one candidate everywhere, tuned as it would run; untuned where that suffices. */
static bl_status score_uniform(bl_pipeline *p, int a_bits, double enough, double *sqnr_db)
{
    bl_plan *plan;
    bl_weights *w = NULL;
    bl_score score;
    int *choice;
    BL_TRY(bl_pipeline_uniform(p, 8, a_bits, &choice));
    BL_TRY(bl_plan_make(p->ctx, p->graph, p->menu, p->stats, choice, &p->recipe.grids, p->recipe.name, &plan));
    bl_status s = bl_oracle_score(p->oracle, plan, NULL, &score);
    if (s == BL_OK && score.sqnr_db < enough) {
        s = bl_pipeline_tune(p, plan, NULL, &w);
        if (s == BL_OK && w) s = bl_oracle_score(p->oracle, plan, w, &score);
    }
    bl_weights_free(w);
    bl_plan_free(plan);
    *sqnr_db = s == BL_OK ? score.sqnr_db : NAN;
    return s;
}

static bl_status widen(bl_pipeline *p)
{
    bl_menu_options *o = &p->recipe.menu;
    bl_menu *menu;
    o->n_pairs = 0;
    o->w_bits[0] = 8, o->n_w = 1;
    o->a_bits[0] = 16, o->a_bits[1] = 8, o->n_a = 2;
    o->keep_ends = false;
    BL_TRY(bl_menu_make(p->ctx, p->graph, o, &menu));
    bl_menu_free(p->menu);
    p->menu = menu;
    return bl_pipeline_ranges(p);
}

bl_status bl_pipeline_rescue(bl_pipeline *p, const char **told)
{
    double floor = p->recipe.rescue, int8, wide;
    bl_menu_options before = p->recipe.menu;
    *told = NULL;
    if (!(floor > 0) || p->n_floors || p->n_budgets) return BL_OK;
    uint64_t start = bl_now_ns();
    BL_TRY(bl_pipeline_oracle(p));
    BL_TRY(score_uniform(p, 8, floor, &int8));
    if (int8 >= floor) return BL_OK;
    BL_TRY(widen(p));
    BL_TRY(score_uniform(p, 16, floor, &wide));
    if (wide < floor) { /* the weights are at fault, or the network is */
        bl_menu_free(p->menu);
        p->menu = NULL;
        p->recipe.menu = before;
        BL_TRY(bl_menu_make(p->ctx, p->graph, &p->recipe.menu, &p->menu));
        BL_TRY(bl_pipeline_ranges(p));
        *told = bl_format(p->cli->arena, "int8 keeps only %.1f dB at the output, and 16-bit values %.1f: `bitlathe inspect --worst` says where", int8, wide);
    } else {
        p->floors[p->n_floors++] = (bl_floor){ .kind = BL_FLOOR_SQNR, .value = floor };
        p->minimize = BL_M_BOPS;
        BL_TRY(bl_pipeline_judge(p));
        *told = bl_format(p->cli->arena, "int8 keeps only %.1f dB at the output: values may have 16 bits, and the plan must keep %g dB", int8, floor);
    }
    bl_pipeline_time(p, "rescue", start);
    return *told ? BL_OK : bl_pending(p->ctx);
}
