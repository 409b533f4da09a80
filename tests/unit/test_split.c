/* SPDX-License-Identifier: BSD-3-Clause */
/* Channels in classes of similar range: the cut network gives the same numbers, and only what gains by it is cut. */
#include "prepare_build.h"
#include "tiny_graph.h"

/* Rows of a weight whose sizes go up by `step` from one output channel to the next, modulo 5. */
static void layer(onnx_build *b, const char *in, const char *name, const char *dims, int groups, const char *pads, float step)
{
    char w[32], bias[32], all[100], rows[8];
    snprintf(w, sizeof w, "%s.w", name);
    snprintf(bias, sizeof bias, "%s.b", name);
    snprintf(all, sizeof all, "%s,%s,%s", in, w, bias);
    snprintf(rows, sizeof rows, "%d", atoi(dims));
    Onnx__TensorProto *weight = ob_floats(b, w, dims, NULL), *shift = ob_floats(b, bias, rows, NULL);
    int64_t n = (int64_t)ob_count(weight), out = atoi(dims);
    for (int64_t i = 0; i < n; i++) ((float *)(void *)weight->raw_data.data)[i] *= powf(step, (float)(i / (n / out) % 5));
    for (int64_t i = 0; i < out; i++) ((float *)(void *)shift->raw_data.data)[i] *= powf(step, (float)(i % 5));
    Onnx__NodeProto *node = ob_node(b, "Conv", all, name);
    ob_int_attr(node, b, "group", groups);
    if (pads) ob_ints_attr(node, b, "pads", pads);
}

/* Two places to cut: behind a HardSwish, and with a Relu in the layer and two outputs a channel. */
static onnx_build *mobile(bl_ctx *ctx, float step, const char *second)
{
    onnx_build *b = ob_new(ctx, 14);
    ob_input(b, "x", "N,3,8,8");
    layer(b, "x", "c1", "10,3,3,3", 1, "1,1,1,1", step);
    ob_node(b, "HardSwish", "c1", "h1");
    layer(b, "h1", "d1", "10,1,3,3", 10, "1,1,1,1", 1);
    ob_node(b, "Relu", "d1", "r1");
    layer(b, "r1", "c2", "7,10,1,1", 1, NULL, step);
    ob_node(b, second, "c2", "r2");
    layer(b, "r2", "d2", "14,1,3,3", 7, NULL, 1);
    layer(b, "d2", "c3", "4,14,1,1", 1, NULL, 1);
    ob_node(b, "GlobalAveragePool", "c3", "y");
    ob_output(b, "y");
    return b;
}

static onnx_build *steep(bl_ctx *ctx) { return mobile(ctx, 8, "Relu"); }
static onnx_build *level(bl_ctx *ctx) { return mobile(ctx, 1, "Tanh"); }

static void expect_same(tiny *t, const bl_graph *q)
{
    bl_arena *arena = bl_arena_new(t->ctx, "test");
    bl_tensor *a = run(t->ctx, t->g, arena), *b = run(t->ctx, q, arena);
    const bl_tensor *ya = &a[t->g->outputs[0]], *yb = &b[q->outputs[0]];
    assert_int_equal(bl_tensor_count(ya), bl_tensor_count(yb));
    for (int64_t i = 0; i < bl_tensor_count(ya); i++)
        assert_float_equal(((float *)ya->data)[i], ((float *)yb->data)[i], 1e-5f * fabsf(((float *)ya->data)[i]) + 1e-6f);
    bl_arena_free(arena);
}

static int count(const bl_graph *g, const char *op)
{
    int n = 0;
    for (int i = 0; i < g->n_nodes; i++) n += !strcmp(g->nodes[i].op->name, op);
    return n;
}

static void cuts_and_stays_the_same(void **state)
{
    (void)state;
    for (int classes = 2; classes <= 5; classes++) {
        tiny *t = tiny_new_net(1 + classes % 2, steep, 24);
        bl_graph *q;
        bl_split told;
        assert_ok(t->ctx, bl_split_channels(t->ctx, t->g, t->data, 0, classes, &told, &q));
        assert_int_equal(told.sites, 2);
        assert_int_equal(told.cut, 2);
        assert_true(told.parts >= 4 && told.parts <= 2 * classes);
        assert_int_equal(count(q, "Concat"), 2);
        assert_int_equal(count(q, "Conv"), 1 + 2 * told.parts); /* c3, and a pair for each part */
        expect_same(t, q);
        bl_graph_free(q);
        tiny_free(t);
    }
}

/* The parts hold what the classes are for: channels of one size each. */
static void classes_are_of_one_size(void **state)
{
    tiny *t = tiny_new_net(2, steep, 24);
    bl_graph *q;
    (void)state;
    assert_ok(t->ctx, bl_split_channels(t->ctx, t->g, t->data, 0, 5, NULL, &q));
    int parts = 0;
    for (int v = 0; v < q->n_values; v++) {
        if (strncmp(q->values[v].name, "c1.w.part", 9)) continue;
        const bl_tensor *w = &q->values[v].t;
        double least = INFINITY, most = 0;
        for (int64_t o = 0; o < w->dim[0]; o++) {
            double size = 0;
            for (int64_t i = 0; i < 27; i++) size = fmax(size, fabs((double)((float *)w->data)[o * 27 + i]));
            least = fmin(least, size);
            most = fmax(most, size);
        }
        assert_true(most < 16 * least); /* rows go up by 8: at most two neighbours share a part */
        parts++;
    }
    assert_true(parts >= 3);
    bl_graph_free(q);
    tiny_free(t);
}

/* Channels of one size stay together. */
static void leaves_what_is_good(void **state)
{
    tiny *t = tiny_new_net(1, level, 24);
    bl_graph *q;
    bl_split told;
    (void)state;
    assert_ok(t->ctx, bl_split_channels(t->ctx, t->g, t->data, 0, 4, &told, &q));
    assert_int_equal(told.sites, 2);
    assert_int_equal(told.cut, 0);
    assert_string_equal(q->hash.hex, t->g->hash.hex);
    bl_graph_free(q);
    tiny_free(t);
}

/* Not where somebody else reads the value, where it is an output, or behind what is no Conv. */
static onnx_build *closed(bl_ctx *ctx)
{
    onnx_build *b = ob_new(ctx, 14);
    ob_input(b, "x", "N,5,8,8");
    layer(b, "x", "d0", "5,1,3,3", 5, "1,1,1,1", 8);
    layer(b, "d0", "d1", "5,1,3,3", 5, "1,1,1,1", 8);
    layer(b, "d1", "c1", "5,5,1,1", 1, NULL, 8);
    layer(b, "c1", "d2", "5,1,3,3", 5, "1,1,1,1", 8);
    ob_node(b, "Add", "c1,d2", "sum");
    layer(b, "sum", "c2", "5,5,1,1", 1, NULL, 8);
    ob_node(b, "HardSwish", "c2", "h2");
    layer(b, "h2", "d3", "5,1,3,3", 5, NULL, 8);
    ob_output(b, "d3");
    ob_output(b, "h2");
    return b;
}

static void refuses_what_others_see(void **state)
{
    tiny *t = tiny_new_net(1, closed, 8);
    bl_graph *q;
    bl_split told;
    (void)state;
    assert_ok(t->ctx, bl_split_channels(t->ctx, t->g, t->data, 0, 4, &told, &q));
    assert_int_equal(told.sites, 0);
    assert_string_equal(q->hash.hex, t->g->hash.hex);
    bl_graph_free(q);
    assert_int_equal(bl_split_channels(t->ctx, t->g, t->data, 0, 1, &told, &q), BL_USAGE);
    tiny_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_and_stays_the_same),
        cmocka_unit_test(classes_are_of_one_size),
        cmocka_unit_test(leaves_what_is_good),
        cmocka_unit_test(refuses_what_others_see),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
