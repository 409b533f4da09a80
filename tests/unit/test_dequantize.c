/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Networks with QuantizeLinear and DequantizeLinear: what taking the pairs out leaves, that the result is the
 * network without rounding, and what is refused.
 */
#include "prepare_build.h"
#include "quant/quant.h"

/* ------------------------------------------------------------------ making quantized networks */

static void byte_constant(onnx_build *b, const char *name, int type, int value)
{
    int8_t v = (int8_t)value;
    ob_raw(b, ob_constant(b, ob_tensor(b, name, type, "")), &v, 1);
}

/* Grid "NAME_s", "NAME_z" of uint8. */
static void grid(onnx_build *b, const char *name, float scale, int zero)
{
    char s[64], z[64];
    snprintf(s, sizeof(s), "%s_s", name);
    snprintf(z, sizeof(z), "%s_z", name);
    ob_floats(b, s, "", &scale);
    byte_constant(b, z, BL_U8, zero);
}

static void pair_node(onnx_build *b, const char *op, const char *x, const char *g, const char *y)
{
    char in[128];
    snprintf(in, sizeof(in), "%s,%s_s,%s_z", x, g, g);
    ob_node(b, op, in, y);
}

/* x (1,3,8,8) on a grid, so that the first pair is there to go. */
static onnx_build *quantized_input(bl_ctx *ctx, int zero)
{
    onnx_build *b = ob_new(ctx, 13);
    ob_input(b, "x", "N,3,8,8");
    grid(b, "gx", 0.05f, zero);
    pair_node(b, "QuantizeLinear", "x", "gx", "xq");
    pair_node(b, "DequantizeLinear", "xq", "gx", "xr");
    return b;
}

/* A Conv with int8 weights by channel behind DequantizeLinear: from "xr" to "c". */
static void add_coded_conv(onnx_build *b)
{
    int8_t codes[4 * 3 * 9];
    float scales[4] = {0.01f, 0.02f, 0.03f, 0.015f};
    bl_rng r = bl_rng_make(3, "codes", 0);
    for (size_t i = 0; i < sizeof(codes); i++) codes[i] = (int8_t)((int)bl_rng_below(&r, 255) - 127);
    ob_raw(b, ob_constant(b, ob_tensor(b, "wq", BL_I8, "4,3,3,3")), codes, sizeof(codes));
    ob_floats(b, "ws", "4", scales);
    ob_int_attr(ob_node(b, "DequantizeLinear", "wq,ws", "w"), b, "axis", 0);
    ob_ints_attr(ob_node(b, "Conv", "xr,w", "c"), b, "pads", "1,1,1,1");
}

static bl_graph *imported(onnx_build *b)
{
    bl_graph *g;
    assert_ok(b->ctx, ob_import(b, &g));
    return g;
}

static bl_graph *made_float(onnx_build *b, const char *operators)
{
    bl_graph *g = imported(b), *f = NULL;
    char text[512] = "";
    assert_true(g->quantized);
    assert_ok(b->ctx, bl_dequantize_graph(b->ctx, g, &f));
    assert_false(f->quantized);
    for (int i = 0; i < f->n_nodes; i++) {
        strcat(text, i ? " " : "");
        strcat(text, f->nodes[i].op->name);
    }
    assert_string_equal(text, operators);
    bl_graph_free(g);
    return f;
}

static float scalar_input(const bl_graph *g, const char *op, int i)
{
    for (int n = 0; n < g->n_nodes; n++)
        if (!strcmp(g->nodes[n].op->name, op)) return *(const float *)g->values[g->nodes[n].in[i]].t.data;
    fail_msg("no %s", op);
    return 0;
}

/* ------------------------------------------------------------------ what is left */

static void drops_pairs(void **state)
{
    onnx_build *b = quantized_input(*state, 128);
    add_coded_conv(b);
    grid(b, "gc", 0.1f, 120); /* below zero too: no function hides in it */
    pair_node(b, "QuantizeLinear", "c", "gc", "cq");
    pair_node(b, "DequantizeLinear", "cq", "gc", "y");
    ob_output(b, "y");
    bl_graph *f = made_float(b, "Conv");
    const bl_value *w = &f->values[f->nodes[0].in[1]];
    assert_string_equal(w->name, "w");
    assert_int_equal(w->t.type, BL_F32);
    assert_int_equal(f->nodes[0].in[0], f->inputs[0]);
    assert_string_equal(f->values[f->outputs[0]].name, "y");
    bl_graph_free(f);
    ob_free(b);
}

/* A grid from zero on is a Relu unless what it holds is never below zero. */
static void keeps_saturation(void **state)
{
    static const struct { const char *before, *left; } cases[] = {
        {NULL, "Conv Clip"}, {"Relu", "Conv Relu"}, {"Sigmoid", "Conv Sigmoid"}, {"Tanh", "Conv Tanh Clip"},
    };
    for (size_t i = 0; i < BL_COUNTOF(cases); i++) {
        onnx_build *b = quantized_input(*state, 0);
        add_coded_conv(b);
        if (cases[i].before) ob_node(b, cases[i].before, "c", "a");
        grid(b, "ga", 0.02f, 0);
        pair_node(b, "QuantizeLinear", cases[i].before ? "a" : "c", "ga", "aq");
        pair_node(b, "DequantizeLinear", "aq", "ga", "y");
        ob_output(b, "y");
        bl_graph *f = made_float(b, cases[i].left);
        if (!cases[i].before) {
            assert_float_equal(scalar_input(f, "Clip", 1), 0, 0);
            assert_float_equal(scalar_input(f, "Clip", 2), 255 * 0.02f, 1e-6);
        }
        bl_graph_free(f);
        ob_free(b);
    }
}

/* Codes that are moved stand for numbers that are moved; two readers of the codes. */
static void follows_moved_codes(void **state)
{
    onnx_build *b = quantized_input(*state, 128);
    Onnx__NodeProto *pool = ob_node(b, "MaxPool", "xq", "mq");
    ob_ints_attr(pool, b, "kernel_shape", "2,2");
    ob_ints_attr(pool, b, "strides", "2,2");
    ob_ints_attr(ob_node(b, "Transpose", "mq", "tq"), b, "perm", "0,2,3,1");
    pair_node(b, "DequantizeLinear", "tq", "gx", "y");
    pair_node(b, "DequantizeLinear", "mq", "gx", "z");
    ob_node(b, "Tanh", "xr", "v");
    ob_output(b, "y");
    ob_output(b, "z");
    ob_output(b, "v");
    bl_graph *f = made_float(b, "MaxPool Transpose Tanh");
    assert_int_equal(f->values[f->outputs[0]].t.type, BL_F32);
    bl_graph_free(f);
    ob_free(b);
}

/* Pad puts codes around codes: 0 where it is not told which. */
static void pads_with_numbers(void **state)
{
    for (int given = 0; given < 2; given++) {
        onnx_build *b = quantized_input(*state, 128);
        ob_int64s(b, "pads", "0,0,1,1,0,0,1,1");
        byte_constant(b, "code", BL_U8, 148);
        ob_node(b, "Pad", given ? "xq,pads,code" : "xq,pads", "pq");
        pair_node(b, "DequantizeLinear", "pq", "gx", "y");
        ob_output(b, "y");
        bl_graph *f = made_float(b, "Pad");
        assert_float_equal(scalar_input(f, "Pad", 2), given ? 20 * 0.05f : -128 * 0.05f, 1e-6);
        bl_graph_free(f);
        ob_free(b);
    }
}

/* Codes read on another grid are scaled, shifted and cut, and the result stays within a step of what the
 * quantized network gives. */
static void rescales(void **state)
{
    bl_ctx *ctx = *state;
    onnx_build *b = quantized_input(ctx, 128);
    grid(b, "g1", 1 / 60.0f, 128);
    grid(b, "g2", 1 / 255.0f, 0);
    ob_node(b, "Tanh", "xr", "t");
    ob_floats(b, "three", "", (float[]){3});
    ob_node(b, "Mul", "t,three", "c"); /* beyond both ends of g1 */
    pair_node(b, "QuantizeLinear", "c", "g1", "cq");
    pair_node(b, "DequantizeLinear", "cq", "g2", "y");
    ob_output(b, "y");
    bl_graph *q = imported(b), *f = NULL;
    assert_ok(ctx, bl_dequantize_graph(ctx, q, &f));
    bl_arena *arena = bl_arena_new(ctx, "test");
    const float *a = run(ctx, q, arena)[q->outputs[0]].data, *c = run(ctx, f, arena)[f->outputs[0]].data;
    float least = 1, most = 0;
    for (int i = 0; i < 3 * 64; i++) {
        /* half a step of both grids, the second seen through the slope 60/255 */
        assert_float_equal(a[i], c[i], (0.5f + 3 * 0.025f * 60) / 255.0f + 1e-5f);
        least = fminf(least, c[i]);
        most = fmaxf(most, c[i]);
    }
    assert_true(least == 0.0f && fabsf(most - 1.0f) < 1e-6f);
    bl_arena_free(arena);
    bl_graph_free(q);
    bl_graph_free(f);
    ob_free(b);
}

/* ------------------------------------------------------------------ what is refused */

static void refuses(onnx_build *b, const char *op, const char *second)
{
    bl_graph *g = imported(b), *f = NULL;
    assert_int_equal(bl_dequantize_graph(b->ctx, g, &f), BL_UNAVAILABLE);
    assert_null(f);
    assert_non_null(strstr(bl_last_error(b->ctx).what, op));
    if (second) assert_non_null(strstr(bl_last_error(b->ctx).what, second));
    bl_graph_free(g);
    ob_free(b);
}

static void lists_what_stays(void **state)
{
    onnx_build *b = quantized_input(*state, 128); /* codes leave the network */
    ob_output(b, "xq");
    refuses(b, "QuantizeLinear x1", NULL);

    b = quantized_input(*state, 128); /* products of codes */
    byte_constant(b, "zero", BL_U8, 0);
    uint8_t w[12] = {1, 2, 3};
    ob_raw(b, ob_constant(b, ob_tensor(b, "wq", BL_U8, "4,3,1,1")), w, sizeof(w));
    ob_node(b, "ConvInteger", "xq,wq", "i");
    ob_int_attr(ob_node(b, "Cast", "i", "y"), b, "to", BL_F32);
    pair_node(b, "QuantizeLinear", "y", "gx", "yq");
    grid(b, "gy", 1, 3);
    ob_node(b, "QLinearConv", "yq,gx_s,gx_z,wqq,gx_s,gx_z,gy_s,gy_z", "zq");
    ob_raw(b, ob_constant(b, ob_tensor(b, "wqq", BL_U8, "2,4,1,1")), (uint8_t[8]){1, 2}, 8);
    pair_node(b, "DequantizeLinear", "zq", "gy", "z");
    ob_output(b, "z");
    refuses(b, "ConvInteger x1", "QLinearConv x1");

    b = quantized_input(*state, 128); /* codes that are compared */
    ob_node(b, "Greater", "xq,gx_z", "y");
    ob_output(b, "y");
    refuses(b, "Greater x1", NULL);
}

static void stages_want_float(void **state)
{
    bl_ctx *ctx = *state;
    onnx_build *b = quantized_input(ctx, 128);
    add_coded_conv(b);
    ob_output(b, "c");
    bl_graph *g = imported(b), *p = NULL, *f = NULL;
    bl_menu *menu = NULL;
    assert_ok(ctx, bl_prepare(ctx, g, &p));
    assert_int_equal(bl_menu_make(ctx, p, NULL, &menu), BL_USAGE);
    assert_non_null(strstr(bl_last_error(ctx).remedy, "--dequantize"));
    bl_graph_free(p);
    assert_ok(ctx, bl_dequantize_graph(ctx, g, &f));
    assert_ok(ctx, bl_prepare(ctx, f, &p));
    assert_ok(ctx, bl_menu_make(ctx, p, NULL, &menu));
    bl_menu_free(menu);
    bl_graph_free(p);
    bl_graph_free(g);
    g = f; /* float already: the same network */
    assert_ok(ctx, bl_dequantize_graph(ctx, g, &f));
    assert_string_equal(f->hash.hex, g->hash.hex);
    bl_graph_free(f);
    bl_graph_free(g);
    ob_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(drops_pairs, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(keeps_saturation, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(follows_moved_codes, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(pads_with_numbers, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(rescales, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(lists_what_stays, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(stages_want_float, test_setup, test_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
