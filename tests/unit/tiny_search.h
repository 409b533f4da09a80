/* SPDX-License-Identifier: BSD-3-Clause */
/* A small network with menu, prices and sensitivities, for whoever searches. */
#ifndef BL_TEST_TINY_SEARCH_H
#define BL_TEST_TINY_SEARCH_H

#include "tiny_cost.h"

#include "search/search.h"

typedef struct table {
    tiny *t;
    bl_cost *cost;
    bl_prices *prices;
    bl_sens *sens;
    bl_arena *a;
    bl_search_input in;
    bl_budget budget[4];
} table;

static inline table table_priced(onnx_build *(*net)(bl_ctx *), const bl_menu_options *o, uint64_t seed,
                                 bl_cost *(*price)(tiny *t, uint64_t seed))
{
    table b = { .t = tiny_new_net(1, net, 4) };
    bl_menu_free(b.t->menu);
    assert_ok(b.t->ctx, bl_menu_make(b.t->ctx, b.t->g, o, &b.t->menu));
    b.cost = price(b.t, seed);
    b.sens = tiny_sens(b.t, seed);
    assert_ok(b.t->ctx, bl_prices_make(b.t->ctx, b.t->g, b.t->menu, b.cost, &b.prices));
    b.a = bl_arena_new(b.t->ctx, "search");
    b.in = (bl_search_input){ .graph = b.t->g, .menu = b.t->menu, .stats = b.t->stats, .sens = b.sens, .cost = b.cost,
                              .prices = b.prices };
    return b;
}

static inline bl_cost *table_counted(tiny *t, uint64_t seed)
{
    (void)seed;
    return tiny_counted(t);
}

static inline table table_make(onnx_build *(*net)(bl_ctx *), const bl_menu_options *o, uint64_t seed, bool timed)
{
    return table_priced(net, o, seed, timed ? tiny_timed : table_counted);
}

static inline void table_free(table *b)
{
    bl_arena_free(b->a);
    bl_arena_free(b->sens->arena);
    bl_prices_free(b->prices);
    bl_cost_free(b->cost);
    tiny_free(b->t);
}

#endif
