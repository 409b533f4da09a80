/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Weights on their grids, fake quantization, units and the menu.
 */
#include "tiny_graph.h"

/* ------------------------------------------------------------------ weights on their grids */

static void ranges_of_codes(void **state)
{
    static const struct { int bits; bool narrow; int lo, hi; } cases[] = {
        { 1, false, -1, 1 }, { 1, true, -1, 1 },   { 2, false, -2, 1 },   { 2, true, -1, 1 },
        { 3, false, -4, 3 }, { 3, true, -3, 3 },   { 4, false, -8, 7 },   { 5, false, -16, 15 },
        { 6, true, -31, 31 }, { 7, false, -64, 63 }, { 7, true, -63, 63 }, { 8, false, -127, 127 },
        { 8, true, -127, 127 } };
    (void)state;
    for (size_t i = 0; i < BL_COUNTOF(cases); i++) {
        int32_t lo, hi;
        bl_weight_code_range(cases[i].bits, cases[i].narrow, &lo, &hi);
        assert_int_equal(lo, cases[i].lo);
        assert_int_equal(hi, cases[i].hi);
    }
}

/* Two layers over the axes 0 (Conv, Gemm transB) and 1 (Gemm, MatMul); channel 1 is all zero, channel 2
 * smaller than the floor of scales. */
static bl_graph *odd_weights(bl_ctx *ctx)
{
    onnx_build *b = ob_new(ctx, 13);
    ob_input(b, "x", "N,3");
    Onnx__TensorProto *w = ob_floats(b, "w", "4,3", NULL), *v = ob_floats(b, "v", "4,5", NULL);
    float *p = (float *)(void *)w->raw_data.data, *q = (float *)(void *)v->raw_data.data;
    for (int k = 0; k < 3; k++) p[3 + k] = 0, p[6 + k] = 1e-12f * p[k];
    for (int k = 0; k < 4; k++) q[5 * k + 1] = 0, q[5 * k + 2] = 1e-12f * q[5 * k];
    ob_int_attr(ob_node(b, "Gemm", "x,w", "h"), b, "transB", 1);
    ob_node(b, "MatMul", "h,v", "y");
    ob_output(b, "y");
    return ob_prepared(b);
}

static void scales_of_channels(void **state)
{
    bl_ctx *ctx = *state;
    bl_graph *g = odd_weights(ctx);
    bl_arena *a = bl_arena_new(ctx, "test");
    int layers[] = { 0, 1 };
    bl_grid_options o = { .weight_range = "minmax" };
    assert_int_equal(bl_weight_axis(g, 0), 0);
    assert_int_equal(bl_weight_axis(g, 1), 1);
    for (int bits = 1; bits <= 8; bits++)
        for (int per_tensor = 0; per_tensor < 2; per_tensor++) {
            int both[] = { bits, bits };
            bl_weight_grid grids[2];
            o.per_tensor = per_tensor;
            assert_ok(ctx, bl_weight_grids(a, g, layers, both, 2, &o, grids));
            for (int l = 0; l < 2; l++) {
                const bl_tensor *w = &g->values[bl_layer_weight(g, l)].t;
                int axis = l, n = (int)w->dim[axis], rows = (int)w->dim[0], cols = (int)w->dim[1];
                assert_int_equal(grids[l].n_scale, per_tensor ? 1 : n);
                assert_int_equal(grids[l].axis, per_tensor ? -1 : axis);
                for (int c = 0; c < grids[l].n_scale; c++) {
                    double most = 0, sum = 0, count = 0;
                    for (int i = 0; i < rows; i++)
                        for (int j = 0; j < cols; j++) {
                            double x = fabs((double)((const float *)w->data)[i * cols + j]);
                            if (!per_tensor && (axis ? j : i) != c) continue;
                            most = fmax(most, x);
                            sum += x;
                            count++;
                        }
                    double want = bits == 1 ? sum / count : most / ((1 << (bits - 1)) - 1);
                    /* an all-zero channel: any scale is right, and the layer's largest keeps its bias as fine as
                     * theirs; with one bit, which has no zero, the least */
                    double largest = 0;
                    for (int other = 0; other < grids[l].n_scale; other++)
                        if (other != c) largest = fmax(largest, grids[l].scale[other]);
                    want = most > 0 ? fmax(want, 1e-8) : bits == 1 ? 1e-8 : largest;
                    assert_true(fabs((double)grids[l].scale[c] - want) <= 1e-6 * want);
                }
            }
        }
    o.weight_range = "none";
    bl_weight_grid out[2];
    assert_fails(ctx, bl_weight_grids(a, g, layers, (int[]){ 8, 8 }, 2, &o, out), BL_USAGE, "unknown range");
    bl_arena_free(a);
    bl_graph_free(g);
}

static void codes_and_back(void **state)
{
    float w[] = { 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 100, -100, 0, -0.0f, 3.4999f, -1e-30f, NAN };
    bl_tensor t = { .type = BL_F32, .rank = 2, .dim = { 3, 4 }, .data = w };
    float scale[4] = { 1, 2, 0.5f, 1e-8f }, back[12];
    int8_t codes[12];
    (void)state;
    bl_weight_codes(&t, scale, 1, -1, 4, false, codes); /* ties to even */
    static const int8_t w4[] = { 0, 2, 2, 0, -2, 7, -8, 0, 0, 3, 0, -8 };
    assert_memory_equal(codes, w4, sizeof w4);
    bl_weight_codes(&t, scale, 1, -1, 4, true, codes);
    assert_int_equal(codes[6], -7);
    bl_weight_codes(&t, scale, 1, -1, 8, false, codes);
    assert_int_equal(codes[6], -100);
    scale[0] = 0.5f;
    bl_weight_codes(&t, scale, 1, -1, 8, false, codes);
    assert_int_equal(codes[6], -127);
    bl_weight_codes(&t, scale, 1, -1, 1, false, codes); /* a sign; zero counts as plus */
    static const int8_t w1[] = { 1, 1, 1, -1, -1, 1, -1, 1, 1, 1, -1, -1 };
    assert_memory_equal(codes, w1, sizeof w1);
    scale[0] = 1;
    bl_weight_codes(&t, scale, 4, 1, 8, false, codes); /* columns 0..3 */
    static const int8_t by_column[] = { 0, 1, 5, -127, -2, 50, -127, 0, 0, 2, 0, -127 };
    assert_memory_equal(codes, by_column, sizeof by_column);
    bl_weight_decode(&t, codes, scale, 4, 1, back);
    assert_true(back[1] == 2 && back[2] == 2.5f && back[3] == -127 * 1e-8f && back[5] == 100);
    bl_weight_codes(&t, scale, 3, 0, 8, false, codes); /* rows 0..2 */
    static const int8_t by_row[] = { 0, 2, 2, 0, -1, 50, -50, 0, 0, 7, 0, -127 };
    assert_memory_equal(codes, by_row, sizeof by_row);
    bl_weight_decode(&t, codes, scale, 3, 0, back);
    assert_true(back[5] == 100 && back[9] == 3.5f);
}

static void fake_array_is_the_rule(void **state)
{
    static const bl_grid grids[] = { { 0.1f, 128, 0, 255 }, { 1, 0, 0, 255 }, { 0.5f, 3, 0, 15 }, { 2, 1, 0, 1 },
                                     { 1e-8f, 7, 0, 255 }, { 1e-4f, 30000, 0, 65535 }, { 3, 0, -127, 127 } };
    float x[] = { 0, -0.0f, 0.05f, 0.15f, 0.25f, -0.05f, 0.5f, 1.5f, 2.5f, -0.5f, 1e30f, -1e30f, NAN, INFINITY,
                  -INFINITY, 1e-40f, -1e-40f, 3.4028235e38f, 12.65f, 0.249999985f };
    (void)state;
    for (size_t k = 0; k < BL_COUNTOF(grids); k++) {
        float fake[BL_COUNTOF(x)], want[BL_COUNTOF(x)];
        memcpy(fake, x, sizeof x);
        bl_fake_quantize_array(fake, BL_COUNTOF(x), grids[k]);
        for (size_t i = 0; i < BL_COUNTOF(x); i++) want[i] = bl_fake_quantize(x[i], grids[k]);
        assert_memory_equal(fake, want, sizeof want);
    }
}

/* ------------------------------------------------------------------ units and the menu */

static void assert_unit(const bl_menu *m, const bl_graph *g, const char *name, const char *values, int n_layers, bool end,
                        int n_candidates)
{
    char have[256] = "";
    int u = bl_menu_find(m, name);
    if (u < 0) fail_msg("no unit \"%s\"", name);
    for (int i = 0; i < m->units[u].n_values; i++) {
        strcat(have, i ? "," : "");
        strcat(have, g->values[m->units[u].values[i]].name);
        assert_int_equal(m->unit_of_value[m->units[u].values[i]], u);
    }
    assert_string_equal(have, values);
    assert_int_equal(m->units[u].n_layers, n_layers);
    for (int i = 0; i < n_layers; i++) assert_int_equal(m->unit_of_layer[m->units[u].layers[i]], u);
    if (m->units[u].end != end) fail_msg("unit \"%s\" is %san end", name, end ? "not " : "");
    assert_int_equal(m->units[u].n_candidates, n_candidates);
}

static void units_of_a_residual_network(void **state)
{
    bl_ctx *ctx = *state;
    bl_graph *g = ob_prepared(tiny_residual(ctx));
    bl_menu *m = NULL, *again = NULL, *equal = NULL;
    assert_ok(ctx, bl_menu_make(ctx, g, NULL, &m));
    assert_int_equal(m->n_units, 7);
    assert_unit(m, g, "x", "x", 1, true, 1);
    assert_unit(m, g, "a", "a,cut,padded", 1, false, 10);
    assert_unit(m, g, "b", "b", 0, false, 2);
    assert_unit(m, g, "sum", "sum", 1, false, 10);
    assert_unit(m, g, "c", "c", 0, false, 2);
    assert_unit(m, g, "pool", "pool,flat", 1, true, 1);
    assert_unit(m, g, "y", "y", 0, true, 1);
    assert_int_equal(bl_menu_find(m, "cut"), -1);
    assert_int_equal(m->unit_of_value[bl_graph_find_value(g, "a.w")], -1);
    assert_ok(ctx, bl_menu_make(ctx, g, NULL, &again));
    assert_string_equal(m->hash.hex, again->hash.hex);
    bl_menu_options o = bl_menu_options_default();
    o.equal_grids = true;
    assert_ok(ctx, bl_menu_make(ctx, g, &o, &equal));
    assert_int_equal(equal->n_units, 6);
    assert_unit(equal, g, "a", "a,b,cut,padded", 1, false, 10);
    assert_string_not_equal(m->hash.hex, equal->hash.hex);
    bl_menu_free(equal);
    o = bl_menu_options_default();
    o.equal_concat = o.anchored = true; /* there is neither a Concat nor a gate */
    assert_ok(ctx, bl_menu_make(ctx, g, &o, &equal));
    assert_string_equal(m->hash.hex, equal->hash.hex);
    bl_menu_free(equal);
    o = bl_menu_options_default();
    o.keep_ends = false;
    assert_ok(ctx, bl_menu_make(ctx, g, &o, &equal));
    assert_unit(equal, g, "x", "x", 1, true, 10);
    assert_unit(equal, g, "y", "y", 0, true, 2);
    bl_menu_free(equal);
    bl_menu_free(again);
    bl_menu_free(m);
    bl_graph_free(g);
}

/* On request a Concat has one grid with its parts, and a gate's image of 0 is a code; a join of other
 * kinds keeps its own. */
static void grids_for_runtimes(void **state)
{
    bl_ctx *ctx = *state;
    onnx_build *b = ob_new(ctx, 13);
    ob_input(b, "x", "N,3,4,4");
    ob_floats(b, "w", "3,3,1,1", NULL);
    ob_floats(b, "v", "3,3,1,1", NULL);
    ob_node(b, "Conv", "x,w", "a");
    ob_node(b, "Conv", "x,v", "c");
    ob_node(b, "Sigmoid", "c", "s");
    ob_node(b, "Mul", "a,s", "m");
    ob_int_attr(ob_node(b, "Concat", "m,a", "y"), b, "axis", 1);
    ob_output(b, "y");
    bl_graph *g = ob_prepared(b);
    bl_menu *m = NULL, *own = NULL;
    bl_menu_options o = bl_menu_options_default();
    assert_ok(ctx, bl_menu_make(ctx, g, NULL, &own));
    o.equal_concat = o.anchored = true;
    assert_ok(ctx, bl_menu_make(ctx, g, &o, &m));
    assert_string_not_equal(m->hash.hex, own->hash.hex);
    assert_int_equal(m->n_units, own->n_units - 2);
    assert_unit(m, g, "a", "a,m,y", 0, true, 1);
    assert_unit(m, g, "s", "s", 0, true, 1);
    assert_true(m->units[bl_menu_find(m, "s")].anchor == 0.5);
    assert_true(own->units[bl_menu_find(own, "s")].anchor == 0);

    bl_value_stats *value = calloc((size_t)g->n_values, sizeof *value);
    assert_non_null(value);
    bl_stats stats = { .n_values = g->n_values, .value = value };
    int s = bl_graph_find_value(g, "s");
    for (int k = 0; k < 40; k++) {
        bl_grid grid, before;
        value[s] = (bl_value_stats){ .lo = 0, .hi = 0.31 + 0.0173 * k, .count = 1 };
        const bl_observer *all = bl_observer_find("minmax");
        assert_ok(ctx, bl_act_grid(ctx, g, &m->units[bl_menu_find(m, "s")], &stats, 8, all, false, &grid));
        assert_ok(ctx, bl_act_grid(ctx, g, &own->units[bl_menu_find(own, "s")], &stats, 8, all, false, &before));
        double code = 0.5 / (double)grid.scale;
        assert_true(fabs(code - rint(code)) < 1e-4);
        assert_true(grid.scale <= before.scale * 1.000001f && grid.scale >= before.scale * (1 - 1 / (float)code));
    }
    free(value);
    bl_menu_free(own);
    bl_menu_free(m);
    bl_graph_free(g);
}

/* Scales are powers of two for every width and side; one bit has no code above its middle one. */
static void grids_of_powers_of_two(void **state)
{
    bl_ctx *ctx = *state;
    static const struct { double lo, hi; } ranges[] = { { 0, 0.7 }, { -0.7, 0 }, { -0.3, 0.7 }, { -0.7, 0.3 }, { 0, 0 }, { -3e30, 3e30 } };
    bl_graph *g = ob_prepared(tiny_dense(ctx, false));
    bl_menu *m = NULL;
    assert_ok(ctx, bl_menu_make(ctx, g, NULL, &m));
    const bl_unit *u = &m->units[bl_menu_find(m, "a")];
    bl_value_stats *value = calloc((size_t)g->n_values, sizeof *value);
    assert_non_null(value);
    bl_stats stats = { .n_values = g->n_values, .value = value };
    static const int widths[] = { 1, 2, 3, 4, 8, 16 };
    for (size_t i = 0; i < BL_COUNTOF(ranges); i++)
        for (size_t k = 0; k < BL_COUNTOF(widths); k++) {
            int part, bits = widths[k];
            double lo = ranges[i].lo, hi = ranges[i].hi;
            bl_grid grid;
            for (int v = 0; v < g->n_values; v++) value[v] = (bl_value_stats){ .lo = lo, .hi = hi, .count = 1 };
            assert_ok(ctx, bl_act_grid(ctx, g, u, &stats, bits, bl_observer_find("minmax"), true, &grid));
            assert_true(frexpf(grid.scale, &part) == 0.5f);
            assert_true(grid.zero == 0 || grid.zero == 1 << (bits - 1));
            if (bits > 1) assert_int_equal(grid.zero != 0, lo < 0);
            else if (hi > -lo) assert_true(bl_quantize((float)hi, grid) == 1 && grid.zero == 0);
            else if (hi < -lo) assert_true(bl_quantize((float)lo, grid) == 0 && grid.zero == 1);
        }
    free(value);
    bl_menu_free(m);
    bl_graph_free(g);
}

static void candidates_in_order(void **state)
{
    static const char *const names[] = { "W8A8", "W6A8", "W4A8", "W3A8", "W2A8", "W8A4", "W6A4", "W4A4", "W3A4", "W2A4" };
    bl_ctx *ctx = *state;
    bl_graph *g = ob_prepared(tiny_dense(ctx, false));
    bl_menu *m = NULL;
    char text[16];
    assert_ok(ctx, bl_menu_make(ctx, g, NULL, &m));
    const bl_unit *u = &m->units[bl_menu_find(m, "a")];
    assert_int_equal(u->n_candidates, 10);
    for (int c = 0; c < 10; c++) assert_string_equal(bl_candidate_name(u->candidates[c], text), names[c]);
    bl_menu_free(m);
    bl_menu_options o = { .w_bits = { 4, 8, 4, 8, 1 }, .n_w = 5, .a_bits = { 16, 8, 16 }, .n_a = 3, .keep_ends = true };
    assert_ok(ctx, bl_menu_make(ctx, g, &o, &m));
    u = &m->units[bl_menu_find(m, "a")];
    static const char *const twice[] = { "W8A16", "W4A16", "W1A16", "W8A8", "W4A8", "W1A8" };
    assert_int_equal(u->n_candidates, 6);
    for (int c = 0; c < 6; c++) assert_string_equal(bl_candidate_name(u->candidates[c], text), twice[c]);
    bl_menu_free(m);
    assert_string_equal(bl_candidate_name((bl_candidate){ 0, 16 }, text), "A16");
    static const struct { bl_menu_options o; const char *what; } bad[] = {
        { { .w_bits = { 8 }, .n_w = 0, .a_bits = { 8 }, .n_a = 1 }, "widths" },
        { { .w_bits = { 8 }, .n_w = 1, .a_bits = { 8 }, .n_a = 17 }, "widths" },
        { { .w_bits = { 9 }, .n_w = 1, .a_bits = { 8 }, .n_a = 1 }, "9 bits" },
        { { .w_bits = { 0 }, .n_w = 1, .a_bits = { 8 }, .n_a = 1 }, "0 bits" },
        { { .w_bits = { 8 }, .n_w = 1, .a_bits = { 9 }, .n_a = 1 }, "9 bits" },
        { { .w_bits = { 8 }, .n_w = 1, .a_bits = { -1 }, .n_a = 1 }, "-1 bits" },
        { { .w_bits = { 8 }, .n_w = 1, .a_bits = { 17 }, .n_a = 1 }, "17 bits" } };
    for (size_t i = 0; i < BL_COUNTOF(bad); i++) {
        m = NULL;
        assert_fails(ctx, bl_menu_make(ctx, g, &bad[i].o, &m), BL_USAGE, bad[i].what);
        assert_null(m);
    }
    bl_graph_free(g);
}

/* The first layer is an end also where something stands before it; Softmax's grid is given. */
static void ends_and_given_grids(void **state)
{
    bl_ctx *ctx = *state;
    onnx_build *b = ob_new(ctx, 13);
    ob_input(b, "x", "N,3,4,4");
    for (int i = 0; i < 3; i++) {
        char name[8];
        snprintf(name, sizeof name, "w%d", i);
        ob_floats(b, name, "3,3,1,1", NULL);
    }
    ob_node(b, "Tanh", "x", "scaled");
    ob_node(b, "Conv", "scaled,w0", "a");
    ob_node(b, "Sigmoid", "a", "s");
    ob_node(b, "Conv", "s,w1", "c");
    ob_node(b, "Conv", "c,w2", "d");
    ob_node(b, "Flatten", "d", "flat");
    ob_node(b, "Softmax", "flat", "y");
    ob_output(b, "y");
    bl_graph *g = ob_prepared(b);
    bl_menu *m = NULL;
    assert_ok(ctx, bl_menu_make(ctx, g, NULL, &m));
    assert_unit(m, g, "x", "x", 0, true, 1);
    assert_unit(m, g, "scaled", "scaled", 1, true, 1);
    assert_unit(m, g, "a", "a", 0, false, 2);
    assert_unit(m, g, "s", "s", 1, false, 10);
    assert_unit(m, g, "c", "c", 1, true, 1);
    assert_unit(m, g, "d", "d,flat", 0, true, 1);
    const bl_unit *u = &m->units[bl_menu_find(m, "y")];
    assert_true(u->fixed_grid);
    bl_grid grid;
    assert_ok(ctx, bl_act_grid(ctx, g, u, NULL, 8, NULL, false, &grid));
    assert_true(grid.scale == 1.0f / 256 && grid.zero == 0 && grid.hi == 255);
    bl_menu_options o = bl_menu_options_default();
    o.keep_ends = false;
    bl_menu_free(m);
    assert_ok(ctx, bl_menu_make(ctx, g, &o, &m));
    assert_int_equal(m->units[bl_menu_find(m, "y")].n_candidates, 1); /* given all the same */
    bl_menu_free(m);
    bl_graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_of_codes),
        cmocka_unit_test(scales_of_channels),
        cmocka_unit_test(codes_and_back),
        cmocka_unit_test(fake_array_is_the_rule),
        cmocka_unit_test(units_of_a_residual_network),
        cmocka_unit_test(grids_for_runtimes),
        cmocka_unit_test(grids_of_powers_of_two),
        cmocka_unit_test(candidates_in_order),
        cmocka_unit_test(ends_and_given_grids),
    };
    return cmocka_run_group_tests(tests, test_setup_two, test_teardown);
}
