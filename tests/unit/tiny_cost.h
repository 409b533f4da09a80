/* SPDX-License-Identifier: BSD-3-Clause */
/* COST and SENS tables made up from a seed, for the tests of prices and searches. */
#ifndef BL_TEST_TINY_COST_H
#define BL_TEST_TINY_COST_H

#include "tiny_graph.h"

#include "sense/sense.h"
#include "target/target.h"

static inline bl_cost *tiny_counted(tiny *t)
{
    bl_cost *c = NULL;
    assert_ok(t->ctx, bl_measure(t->ctx, t->g, t->menu, "counted", NULL, &c));
    return c;
}

/* A time for every operator shape at every triple of widths: MACs and widths with noise. */
static inline bl_cost *tiny_timed(tiny *t, uint64_t seed)
{
    bl_cost *c = tiny_counted(t);
    bl_rng r = bl_rng_make(seed, "times", 0);
    static const int widths[] = { 1, 2, 3, 4, 5, 6, 7, 8, 16 };
    c->has_latency = true;
    for (int i = 0; i < t->g->n_nodes; i++) {
        int64_t macs = 0;
        if (!bl_node_priced(t->g, i)) continue;
        const char *key = bl_node_key(c->arena, t->g, i);
        assert_ok(t->ctx, bl_graph_macs(t->ctx, t->g, i, &macs));
        if (bl_cost_find(c, key, 8, 8, 8)) continue;
        for (size_t in = 0; in < BL_COUNTOF(widths); in++)
            for (size_t out = 0; out < BL_COUNTOF(widths); out++)
                for (int w = 0; w <= 8; w++) {
                    double ns = 100 + (double)macs * (0.2 + 0.05 * w + 0.03 * widths[in] + 0.02 * widths[out]);
                    ns *= 0.7 + 0.6 * bl_rng_unit(&r);
                    bl_cost_cell cell = { .key = key, .w_bits = w, .a_in = widths[in], .a_out = widths[out], .kernel = "made up",
                                          .q1_ns = ns, .median_ns = ns * 1.1, .p90_ns = ns * 1.3 };
                    assert_ok(t->ctx, bl_cost_add(c, &cell));
                }
        assert_ok(t->ctx, bl_cost_add_group(c, key, 0.1 * bl_rng_unit(&r)));
    }
    return c;
}

/* Objectives that rise, mostly, as bits fall. */
static inline bl_sens *tiny_sens(tiny *t, uint64_t seed)
{
    bl_arena *a = bl_arena_new(t->ctx, "sens");
    bl_sens *s = BL_NEW(a, bl_sens, 1);
    bl_rng r = bl_rng_make(seed, "objectives", 0);
    *s = (bl_sens){ .arena = a, .metric = "sqnr", .weight_range = "mse", .act_range = "mse", .samples = 1, .graph = t->g->hash,
                    .menu = t->menu->hash, .n_units = t->menu->n_units };
    s->cell = BL_NEW(a, bl_sens_cell *, (size_t)t->menu->n_units);
    for (int u = 0; u < t->menu->n_units; u++) {
        if (t->menu->units[u].n_candidates < 2) continue;
        s->cell[u] = BL_NEW(a, bl_sens_cell, (size_t)t->menu->units[u].n_candidates);
        for (int c = 1; c < t->menu->units[u].n_candidates; c++) {
            double bits = t->menu->units[u].candidates[c].w_bits + 2 * t->menu->units[u].candidates[c].a_bits;
            s->cell[u][c].objective = pow(4, -bits / 3) * (0.5 + bl_rng_unit(&r));
        }
    }
    return s;
}

static inline void tiny_candidates(const tiny *t, const int *choice, bl_candidate *out)
{
    for (int u = 0; u < t->menu->n_units; u++) out[u] = t->menu->units[u].candidates[choice[u]];
}

#endif
