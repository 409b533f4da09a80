/* SPDX-License-Identifier: BSD-3-Clause */
/* Means and variances by channel: what BatchNormalizations remember, against samples that have just those. */
#include "prepare_build.h"

/* Conv + BatchNormalization (+ Clip), then sums, gates, functions and a pool: against a Monte Carlo of the same. */
static void follows_what_flows(void **state)
{
    bl_ctx *ctx = *state;
    onnx_build *b = ob_new(ctx, 13);
    static const float beta[] = { -2, 0, 3, 5 }, gamma[] = { 1, 2, 0.5f, 4 }, zero[4] = { 0 }, one[] = { 1, 1, 1, 1 }, lo = 0, hi = 6;
    float w[16];
    for (int i = 0; i < 16; i++) w[i] = (float)(i % 5) - 1.5f;
    const bl_moments *m;
    ob_input(b, "x", "N,3,8,8");
    ob_floats(b, "w", "4,3,1,1", NULL);
    ob_floats(b, "g", "4", gamma);
    ob_floats(b, "b", "4", beta);
    ob_floats(b, "z", "4", zero);
    ob_floats(b, "o", "4", one);
    ob_floats(b, "lo", "", &lo);
    ob_floats(b, "hi", "", &hi);
    ob_floats(b, "v", "4,4,1,1", w);
    ob_node(b, "Conv", "x,w", "c");
    ob_node(b, "BatchNormalization", "c,g,b,z,o", "n");
    ob_node(b, "Clip", "n,lo,hi", "r");
    ob_node(b, "Conv", "r,v", "d");
    ob_node(b, "Add", "d,r", "sum");
    ob_node(b, "HardSigmoid", "sum", "gate");
    ob_node(b, "Mul", "gate,r", "y");
    ob_node(b, "GlobalAveragePool", "y", "pooled");
    ob_ints_attr(ob_node(b, "MaxPool", "y", "most"), b, "kernel_shape", "2,2");
    ob_output(b, "pooled");
    ob_output(b, "most");
    bl_graph *p = ob_prepared(b);
    bl_arena *a = bl_arena_new(ctx, "test");
    assert_ok(ctx, bl_channel_moments(ctx, a, p, &m));
    double mean[3][4] = { { 0 } }, square[3][4] = { { 0 } };
    enum { DRAWS = 200000 };
    bl_rng rng = bl_rng_make(5, "moments", 0);
    for (int k = 0; k < DRAWS; k++) {
        double r[4], r2[4];
        for (int c = 0; c < 4; c++) {
            r[c] = fmin(fmax(beta[c] + gamma[c] * bl_rng_normal(&rng), 0), 6);
            r2[c] = fmin(fmax(beta[c] + gamma[c] * bl_rng_normal(&rng), 0), 6);
        }
        for (int c = 0; c < 4; c++) {
            double d = 0;
            for (int i = 0; i < 4; i++) d += w[c * 4 + i] * r2[i];
            double v[3] = { r[c], d, d + r[c] };
            for (int j = 0; j < 3; j++) {
                mean[j][c] += v[j] / DRAWS;
                square[j][c] += v[j] * v[j] / DRAWS;
            }
        }
    }
    static const char *const names[] = { "r", "d", "sum" };
    for (int j = 0; j < 3; j++) {
        const bl_moments *x = &m[bl_graph_find_value(p, names[j])];
        assert_int_equal(x->channels, 4);
        for (int c = 0; c < 4; c++) {
            double variance = square[j][c] - mean[j][c] * mean[j][c];
            if (fabs(x->mean[c] - mean[j][c]) > 0.02 * (1 + sqrt(variance))) fail_msg("mean of %s %d: %g, not %g", names[j], c, x->mean[c], mean[j][c]);
            if (fabs(x->variance[c] - variance) > 0.03 * (0.01 + variance)) fail_msg("variance of %s %d: %g, not %g", names[j], c, x->variance[c], variance);
        }
    }
    assert_int_equal(m[bl_graph_find_value(p, "x")].channels, 0);
    assert_int_equal(m[bl_graph_find_value(p, "most")].channels, 0);
    const bl_moments *y = &m[bl_graph_find_value(p, "y")], *pooled = &m[bl_graph_find_value(p, "pooled")];
    assert_memory_equal(y->mean, pooled->mean, 4 * sizeof(double));
    for (int c = 0; c < 4; c++) assert_true(y->mean[c] >= 0 && y->mean[c] <= 6);
    bl_arena_free(a);
    bl_graph_free(p);
}

/* Statistics that are lost: the same numbers each time, and those of the network's values. */
static void measures_what_is_lost(void **state)
{
    bl_ctx *ctx = *state;
    onnx_build *b = ob_new(ctx, 13);
    const bl_moments *m, *again;
    static const float w[] = { 2, -3 }, bias[] = { 1, 0 };
    ob_input(b, "x", "N,1,16,16");
    ob_floats(b, "w", "2,1,1,1", w);
    ob_floats(b, "b", "2", bias);
    ob_node(b, "Conv", "x,w,b", "y");
    ob_output(b, "y");
    bl_graph *p = ob_prepared(b);
    bl_arena *a = bl_arena_new(ctx, "test");
    assert_ok(ctx, bl_channel_moments_measured(ctx, a, p, &m));
    assert_ok(ctx, bl_channel_moments_measured(ctx, a, p, &again));
    const bl_moments *x = &m[bl_graph_find_value(p, "x")], *y = &m[bl_graph_find_value(p, "y")];
    assert_true(x->variance[0] > 0.3 && x->variance[0] < 3);
    for (int c = 0; c < 2; c++) {
        assert_true(fabs(y->mean[c] - (w[c] * x->mean[0] + bias[c])) < 1e-4);
        assert_true(fabs(y->variance[c] / (w[c] * w[c] * x->variance[0]) - 1) < 1e-4);
    }
    assert_memory_equal(y->variance, again[bl_graph_find_value(p, "y")].variance, 2 * sizeof(double));
    bl_arena_free(a);
    bl_graph_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(follows_what_flows, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(measures_what_is_lost, test_setup, test_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
