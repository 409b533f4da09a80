/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of the passes share: every rewriting is checked by running both graphs, operator
 * by operator, on the same seeded numbers.
 */
#ifndef BL_TEST_PREPARE_BUILD_H
#define BL_TEST_PREPARE_BUILD_H

#include "onnx_build.h"

#include <math.h>

/* ------------------------------------------------------------------ running a graph */

static inline void fill_input(bl_tensor *t, const char *name)
{
    bl_rng r = bl_rng_make(7, name, 0);
    int64_t n = bl_tensor_count(t);
    for (int64_t i = 0; i < n; i++) {
        if (t->type == BL_F32) ((float *)t->data)[i] = (float)bl_rng_normal(&r);
        if (t->type == BL_I32) ((int32_t *)t->data)[i] = (int32_t)bl_rng_below(&r, 100);
        if (t->type == BL_I64) ((int64_t *)t->data)[i] = (int64_t)bl_rng_below(&r, 100);
    }
}

/* Every value of a graph, by its operators' plain forms; the arena owns them. */
static inline bl_tensor *run(bl_ctx *ctx, const bl_graph *g, bl_arena *arena)
{
    bl_tensor *t = BL_NEW(arena, bl_tensor, (size_t)g->n_values);
    for (int i = 0; i < g->n_values; i++) {
        t[i] = g->values[i].t;
        if (!t[i].data) t[i].data = bl_alloc(arena, bl_tensor_bytes(&t[i]), 1);
        assert_non_null(t[i].data);
        if (g->values[i].is_input) fill_input(&t[i], g->values[i].name);
    }
    for (int n = 0; n < g->n_nodes; n++) {
        const bl_node *node = &g->nodes[n];
        const bl_tensor *in[16] = {0};
        bl_tensor out[16];
        assert_true(node->n_in <= 16 && node->n_out <= 16);
        for (int i = 0; i < node->n_in; i++) in[i] = node->in[i] < 0 ? NULL : &t[node->in[i]];
        for (int i = 0; i < node->n_out; i++) out[i] = t[node->out[i]];
        bl_call call = {ctx, node, node->n_in, node->n_out, in, out, arena, 0};
        assert_ok(ctx, node->op->shape(&call));
        for (int i = 0; i < node->n_out; i++) /* what was inferred is what the node says */
            assert_memory_equal(out[i].dim, t[node->out[i]].dim, sizeof(out[i].dim));
        assert_ok(ctx, node->op->forward(&call));
        float *p = out[0].data;
        if (bl_node_clamps(node))
            for (int64_t i = 0; i < bl_tensor_count(&out[0]); i++)
                p[i] = fminf(fmaxf(p[i], node->lo), node->hi);
    }
    return t;
}

/* Both graphs give the same: all outputs, and every value whose name both have and whose producer
 * computes the same thing. */
static inline void assert_same_results(bl_ctx *ctx, const bl_graph *a, const bl_graph *b)
{
    bl_arena *arena = bl_arena_new(ctx, "test");
    bl_tensor *ta = run(ctx, a, arena), *tb = run(ctx, b, arena);
    assert_int_equal(a->n_outputs, b->n_outputs);
    for (int i = 0; i < b->n_values; i++) {
        int k = bl_graph_find_value(a, b->values[i].name);
        if (k < 0 || b->values[i].producer < 0) continue;
        assert_int_equal(ta[k].type, tb[i].type);
        assert_memory_equal(ta[k].dim, tb[i].dim, sizeof(ta[k].dim));
        if (ta[k].type != BL_F32) continue;
        const float *pa = ta[k].data, *pb = tb[i].data;
        double top = 1e-3, worst = 0;
        for (int64_t j = 0; j < bl_tensor_count(&ta[k]); j++) {
            assert_true(isfinite(pa[j]) && isfinite(pb[j]));
            top = fmax(top, fabs(pa[j]));
            worst = fmax(worst, fabs(pa[j] - pb[j]));
        }
        if (worst > 2e-5 * top)
            fail_msg("value \"%s\" is off by %g of %g", b->values[i].name, worst, top);
    }
    for (int i = 0; i < a->n_outputs; i++)
        assert_string_equal(a->values[a->outputs[i]].name, b->values[b->outputs[i]].name);
    bl_arena_free(arena);
}

/* ------------------------------------------------------------------ preparing what was built */

/* "Conv Relu Add" in order. */
static inline void assert_nodes(const bl_graph *g, const char *ops)
{
    char text[512];
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < g->n_nodes; i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s", i ? " " : "",
                                 g->nodes[i].op->name);
    assert_string_equal(text, ops);
}

/* Prepares; checks results, nodes, and that the result stands alone. */
static inline bl_graph *prepared(onnx_build *b, const char *ops)
{
    bl_graph *g, *p;
    bl_ctx *ctx = b->ctx;
    assert_ok(ctx, ob_import(b, &g));
    assert_ok(ctx, bl_prepare(ctx, g, &p));
    assert_true(p->prepared && !g->prepared);
    assert_same_results(ctx, g, p);
    assert_string_not_equal(g->hash.hex, p->hash.hex);
    bl_graph_free(g);
    ob_free(b);
    assert_nodes(p, ops);
    return p;
}

static inline void prepares_to(onnx_build *b, const char *ops)
{
    bl_graph_free(prepared(b, ops));
}

static inline const bl_value *value(const bl_graph *g, const char *name)
{
    int i = bl_graph_find_value(g, name);
    if (i < 0) fail_msg("no value \"%s\"", name);
    return &g->values[i];
}

static inline void add_norm(onnx_build *b, const char *x, const char *y, const char *channels)
{
    char names[5][32], inputs[200];
    static const char *const parts[] = {"gamma", "beta", "mean", "var"};
    for (int i = 0; i < 4; i++) {
        snprintf(names[i], sizeof(names[i]), "%.20s.%s", y, parts[i]);
        if (i == 3)
            ob_positive(b, names[i], channels);
        else
            ob_floats(b, names[i], channels, NULL);
    }
    snprintf(inputs, sizeof(inputs), "%s,%s,%s,%s,%s", x, names[0], names[1], names[2], names[3]);
    ob_float_attr(ob_node(b, "BatchNormalization", inputs, y), b, "epsilon", 1e-3f);
}

static inline onnx_build *image(bl_ctx *ctx, int opset)
{
    onnx_build *b = ob_new(ctx, opset);
    ob_input(b, "x", "N,4,6,6");
    return b;
}

static inline onnx_build *rows(bl_ctx *ctx)
{
    onnx_build *b = ob_new(ctx, 13);
    ob_input(b, "x", "3,4");
    return b;
}

static inline void add_conv(onnx_build *b, const char *y)
{
    ob_floats(b, "w", "4,4,1,1", NULL);
    ob_node(b, "Conv", "x,w", y);
}

#endif
