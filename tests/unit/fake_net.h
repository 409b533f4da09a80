/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One network twice: as an integer program and as the fake-quantized walk of the same plan, on the same
 * inputs.  Ranges from the inputs at hand, or given.
 */
#ifndef BL_TEST_FAKE_NET_H
#define BL_TEST_FAKE_NET_H

#include "tiny_graph.h"

typedef struct net {
    bl_ctx *ctx;
    bl_arena *a;
    bl_graph *g;
    bl_menu *menu;
    bl_stats *stats;
    bl_plan *plan;
    bl_program *program;
    bl_exec *exec;
} net;

/* Ranges of the values on the inputs at hand. */
static inline void take_stats(net *t, const float *const *x)
{
    bl_walk_options o = { .keep_all = true };
    bl_walk *walk = NULL;
    bl_value_stats *value = BL_NEW(t->a, bl_value_stats, (size_t)t->g->n_values);
    t->stats = BL_NEW(t->a, bl_stats, 1);
    *t->stats = (bl_stats){ .n_values = t->g->n_values, .value = value };
    assert_ok(t->ctx, bl_walk_new(t->ctx, t->g, &o, &walk));
    for (int i = 0; i < t->g->n_inputs; i++) memcpy(bl_walk_input(walk, i)->data, x[i], bl_tensor_bytes(bl_walk_input(walk, i)));
    assert_ok(t->ctx, bl_walk_run(walk, NULL, NULL));
    for (int v = 0; v < t->g->n_values; v++) {
        if (t->g->values[v].t.data || t->g->values[v].t.type != BL_F32) continue;
        const float *y = bl_walk_value(walk, v)->data;
        value[v].lo = value[v].hi = (double)y[0];
        value[v].count = (uint64_t)bl_tensor_count(&t->g->values[v].t);
        for (uint64_t i = 0; i < value[v].count; i++) {
            value[v].lo = fmin(value[v].lo, (double)y[i]);
            value[v].hi = fmax(value[v].hi, (double)y[i]);
        }
    }
    bl_walk_free(walk);
}

static inline void lower_net(net *t, int a_bits)
{
    bl_menu_options m = { .w_bits = { 8 }, .n_w = 1, .a_bits = { a_bits }, .n_a = 1 };
    bl_grid_options o = { .act_range = "minmax", .weight_range = "minmax" };
    assert_ok(t->ctx, bl_menu_make(t->ctx, t->g, &m, &t->menu));
    int *choice = BL_NEW(t->a, int, (size_t)t->menu->n_units);
    assert_ok(t->ctx, bl_plan_make(t->ctx, t->g, t->menu, t->stats, choice, &o, "test", &t->plan));
    assert_ok(t->ctx, bl_lower(t->ctx, t->g, t->plan, NULL, &t->program));
}

static inline void net_free(net *t)
{
    bl_exec_free(t->exec);
    bl_program_free(t->program);
    bl_plan_free(t->plan);
    bl_menu_free(t->menu);
    bl_graph_free(t->g);
    bl_arena_free(t->a);
}

/* Normal numbers for every input; integers count up. */
static inline const float **samples(net *t, uint64_t seed)
{
    const float **x = BL_NEW(t->a, const float *, (size_t)t->g->n_inputs);
    bl_rng r = bl_rng_make(seed, "samples", 0);
    for (int i = 0; i < t->g->n_inputs; i++) {
        size_t n = (size_t)bl_tensor_count(&t->g->values[t->g->inputs[i]].t);
        float *to = BL_NEW(t->a, float, n);
        for (size_t k = 0; k < n; k++) to[k] = (float)bl_rng_normal(&r);
        x[i] = to;
    }
    return x;
}

static inline void run_program(net *t, const float *const *x)
{
    if (!t->exec) assert_ok(t->ctx, bl_exec_new(t->ctx, t->program, NULL, &t->exec));
    for (int i = 0; i < t->g->n_inputs; i++)
        memcpy(bl_exec_input(t->exec, (uint32_t)i), x[i], (size_t)bl_tensor_count(&t->g->values[t->g->inputs[i]].t) * sizeof(float));
    assert_ok(t->ctx, bl_exec_run(t->exec, NULL, NULL));
}

static inline bl_walk *run_fake(net *t, const float *const *x, bool reference, bl_fake **fake)
{
    bl_walk_options o = { .reference = reference, .keep_all = true };
    bl_walk *walk = NULL;
    assert_ok(t->ctx, bl_fake_new(t->ctx, t->g, t->plan, NULL, fake));
    assert_ok(t->ctx, bl_walk_new(t->ctx, t->g, &o, &walk));
    assert_ok(t->ctx, bl_fake_attach(*fake, walk));
    for (int i = 0; i < t->g->n_inputs; i++) memcpy(bl_walk_input(walk, i)->data, x[i], bl_tensor_bytes(bl_walk_input(walk, i)));
    assert_ok(t->ctx, bl_walk_run(walk, bl_fake_hook, *fake));
    return walk;
}

#endif
