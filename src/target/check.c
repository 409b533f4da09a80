/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whole networks against the sum of their cells.  Grids are stand-ins: time does not depend on them.  What a
 * step costs beside its cell (its place in a loop, reading the clock) is taken from the widest plan; other plans
 * then say how far a prediction is off.  Measured is the sum of each step's lower quartile in its place in the
 * network: on a busy machine no whole run goes undisturbed, most steps do.  run_ns is the whole runs' quartile.
 */
#include "target/target.h"

#include <string.h>

bl_status bl_stand_in_program(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu, const int *choice, const bl_cost *cost,
                              bl_program **out)
{
    bl_grid_options o = { .act_range = "minmax", .weight_range = "minmax" };
    bl_plan *plan = NULL;
    bl_stats *stats = bl_stand_in_stats(ctx, graph);
    bl_status s = stats ? bl_plan_make(ctx, graph, menu, stats, choice, &o, "trial", &plan) : bl_pending(ctx);
    if (s == BL_OK) s = bl_lower(ctx, graph, plan, NULL, out);
    if (s == BL_OK && cost) s = bl_cost_prefer(ctx, cost, graph, plan, *out);
    bl_plan_free(plan);
    bl_stats_free(stats);
    return s;
}

/* A plan of each kind: the widest everywhere, the narrowest everywhere, and one drawn by lot. */
static void choose(bl_ctx *ctx, const bl_menu *m, int kind, int *choice)
{
    bl_rng r = bl_rng_make(ctx->options.seed, "check", (uint64_t)kind);
    for (int u = 0; u < m->n_units; u++) {
        int n = m->units[u].n_candidates;
        choice[u] = kind == 0 ? 0 : kind == 1 ? (int)bl_rng_below(&r, (uint64_t)n) : n - 1;
    }
}

static bl_status check_all(bl_ctx *ctx, bl_arena *a, const bl_graph *g, const bl_menu *m, bl_cost *cost, double seconds)
{
    enum { KINDS = 3 };
    static const char *const names[KINDS] = { "widest", "drawn", "narrowest" };
    bl_bench_item items[KINDS] = { 0 };
    bl_program *program[KINDS] = { NULL };
    int *choice = BL_NEW(a, int, (size_t)m->n_units);
    bl_candidate *c[KINDS];
    bl_status s = choice ? BL_OK : bl_pending(ctx);
    for (int k = 0; s == BL_OK && k < KINDS; k++) {
        c[k] = BL_NEW(a, bl_candidate, (size_t)m->n_units);
        s = c[k] ? BL_OK : bl_pending(ctx);
        if (s == BL_OK) choose(ctx, m, k, choice);
        for (int u = 0; s == BL_OK && u < m->n_units; u++) c[k][u] = m->units[u].candidates[choice[u]];
        if (s == BL_OK) s = bl_stand_in_program(ctx, g, m, choice, cost, &program[k]);
        items[k].program = program[k];
    }
    if (s == BL_OK) s = bl_bench(ctx, a, items, KINDS, false, seconds);
    for (int k = 0; s == BL_OK && k < KINDS; k++) {
        double total[BL_N_METRIC];
        bl_state state;
        s = bl_price_exact(ctx, g, m, cost, c[k], total);
        if (s == BL_OK) s = bl_price_state(ctx, g, m, cost, c[k], &state);
        double measured = 0, wall = items[k].timing.q1_ms * 1e6;
        for (uint32_t i = 0; s == BL_OK && i < program[k]->n_steps; i++) measured += items[k].step_us[i] * 1e3;
        if (s == BL_OK && k == 0) {
            cost->overhead_ns = (measured - total[BL_M_LATENCY]) / BL_MAX(program[k]->n_steps, 1);
            s = bl_price_exact(ctx, g, m, cost, c[k], total);
        }
        if (s == BL_OK)
            json_array_append_new(cost->checks, json_pack("{s:s, s:f, s:f, s:f, s:f, s:s}", "plan", names[k], "predicted_ns",
                total[BL_M_LATENCY], "measured_ns", measured, "run_ns", wall, "error", total[BL_M_LATENCY] / measured - 1, "state", bl_state_name(state)));
    }
    for (int k = 0; k < KINDS; k++) bl_program_free(program[k]);
    return s;
}

bl_status bl_cost_check(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu, bl_cost *cost, double seconds)
{
    bl_arena *a = bl_arena_new(ctx, "check");
    BL_ALLOC_TRY(ctx, a);
    cost->overhead_ns = 0;
    json_decref(cost->checks);
    cost->checks = json_array();
    bl_status s = check_all(ctx, a, graph, menu, cost, seconds);
    bl_arena_free(a);
    return s;
}
