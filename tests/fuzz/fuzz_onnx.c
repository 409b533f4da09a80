/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any bytes as an ONNX file: read, prepared, at another batch, as JSON, walked in float and lowered to
 * integers where it is small; and as a single tensor.  Nothing is written and nothing but the bytes is
 * read.
 */
#include "fuzz.h"

#define SMALL 20000 /* elements and multiplications of what is computed */

static bool is_small(bl_ctx *ctx, const bl_graph *g)
{
    double n = 0;
    for (int v = 0; v < g->n_values; v++) n += (double)bl_tensor_count(&g->values[v].t);
    for (int i = 0; i < g->n_nodes; i++) {
        int64_t macs;
        if (bl_graph_macs(ctx, g, i, &macs) != BL_OK) return false;
        n += (double)macs;
    }
    return n < SMALL;
}

static void walk(bl_ctx *ctx, const bl_graph *g)
{
    const bl_walk_options o = { .reference = true };
    bl_walk *w;
    if (!fuzz_ok(ctx, bl_walk_new(ctx, g, &o, &w))) return;
    for (int i = 0; i < g->n_inputs; i++) {
        bl_tensor *x = bl_walk_input(w, i);
        memset(x->data, 0, bl_tensor_bytes(x));
    }
    fuzz_ok(ctx, bl_walk_run(w, NULL, NULL));
    bl_walk_free(w);
}

static void lower(bl_ctx *ctx, const bl_graph *g)
{
    bl_menu *m;
    bl_plan *plan;
    bl_program *program;
    bl_exec *e;
    bl_arena *a = bl_arena_new(ctx, "fuzz");
    const bl_grid_options o = { .act_range = "minmax", .weight_range = "minmax" };
    if (!a || !fuzz_ok(ctx, bl_menu_make(ctx, g, NULL, &m))) {
        bl_arena_free(a);
        return;
    }
    int *choice = BL_NEW(a, int, (size_t)m->n_units);
    bl_value_stats *value = BL_NEW(a, bl_value_stats, (size_t)g->n_values);
    if (choice && value) {
        for (int v = 0; v < g->n_values; v++) value[v] = (bl_value_stats){ .lo = -3, .hi = 4, .count = 1 };
        const bl_stats stats = { .n_values = g->n_values, .value = value };
        if (fuzz_ok(ctx, bl_plan_make(ctx, g, m, &stats, choice, &o, "fuzz", &plan))) {
            if (fuzz_ok(ctx, bl_lower(ctx, g, plan, NULL, &program))) {
                if (bl_program_validate(ctx, "fuzz", program) != BL_OK) abort(); /* what we made ourselves */
                if (fuzz_ok(ctx, bl_exec_new(ctx, program, NULL, &e))) {
                    if (bl_exec_run(e, NULL, NULL) != BL_OK) abort();
                    bl_exec_free(e);
                }
                bl_program_free(program);
            }
            bl_plan_free(plan);
        }
    }
    bl_menu_free(m);
    bl_arena_free(a);
}

static void use(bl_ctx *ctx, const bl_graph *graph)
{
    bl_graph *prepared, *batch, *node;
    json_decref(bl_graph_json(ctx, graph));
    if (!fuzz_ok(ctx, bl_prepare(ctx, graph, &prepared))) return;
    if (fuzz_ok(ctx, bl_graph_rebatch(ctx, prepared, 3, &batch))) bl_graph_free(batch);
    for (int i = 0; i < BL_MIN(prepared->n_nodes, 4); i++)
        if (fuzz_ok(ctx, bl_graph_extract(ctx, prepared, i, &node))) bl_graph_free(node);
    if (is_small(ctx, prepared)) {
        walk(ctx, prepared);
        lower(ctx, prepared);
    }
    bl_graph_free(prepared);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bl_ctx *ctx = fuzz_ctx();
    bl_graph *graph;
    if (fuzz_ok(ctx, bl_import_bytes(ctx, "fuzz", data, size, NULL, &graph))) {
        use(ctx, graph);
        bl_graph_free(graph);
    }
    bl_arena *arena = bl_arena_new(ctx, "fuzz");
    bl_tensor t;
    if (arena) bl_tensor_from_pb(ctx, "fuzz", data, size, arena, &t);
    bl_arena_free(arena);
    fuzz_ctx_free(ctx);
    return 0;
}
