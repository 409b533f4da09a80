/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Weights fitted again to quantized inputs: they lie on the plan's grid, give the network's outputs back better than
 * corrected biases alone where inputs or weights are coarse, keep layers with too few positions, and do not hang on threads.
 */
#include "tiny_tune.h"

/* Of the output, on samples that nobody learned from. */
static double noise_elsewhere(tiny *t, const bl_weights *w)
{
    tiny other = { .ctx = t->ctx, .g = t->g };
    test_folder(other.folder);
    bl_data *data = tiny_data(&other, 48, 99, false);
    double noise = tiny_noise(t, data, 48, w);
    bl_data_free(data);
    test_folder_remove(other.folder);
    return noise;
}

/* A smoothed input, so that a pixel's neighbours say much about it, in channels of three sizes on one coarse grid. */
static onnx_build *smooth(bl_ctx *ctx)
{
    onnx_build *b = ob_new(ctx, 13);
    ob_input(b, "x", "N,2,12,12");
    float *blur = ob_alloc(b, 6 * 2 * 25, sizeof(float));
    for (int i = 0; i < 6 * 2 * 25; i++) blur[i] = (0.2f + 0.05f * (float)((i * 7) % 5)) * powf(0.3f, (float)(i / 50 % 3));
    ob_floats(b, "a.w", "6,2,5,5", blur);
    ob_floats(b, "a.b", "6", NULL);
    ob_floats(b, "b.w", "6,1,3,3", NULL);
    ob_floats(b, "b.b", "6", NULL);
    ob_floats(b, "c.w", "5,6,1,1", NULL);
    ob_floats(b, "c.b", "5", NULL);
    ob_floats(b, "f.w", "3,5", NULL);
    ob_floats(b, "f.b", "3", NULL);
    ob_ints_attr(ob_node(b, "Conv", "x,a.w,a.b", "a"), b, "pads", "2,2,2,2");
    Onnx__NodeProto *n = ob_node(b, "Conv", "a,b.w,b.b", "b");
    ob_ints_attr(n, b, "pads", "1,1,1,1");
    ob_int_attr(n, b, "group", 6);
    ob_node(b, "Conv", "b,c.w,c.b", "c");
    ob_node(b, "GlobalAveragePool", "c", "pool");
    ob_node(b, "Flatten", "pool", "flat");
    ob_int_attr(ob_node(b, "Gemm", "flat,f.w,f.b", "y"), b, "transB", 1);
    ob_output(b, "c");
    ob_output(b, "y");
    return b;
}

/* Fitted weights leave at most this share of what corrected biases alone do. */
static void check_share(int w_bits, int a_bits, double most)
{
    tiny *t = tiny_new_net(2, smooth, 48);
    tiny_plan_widths(t, w_bits, a_bits);
    bl_weights *w = tiny_tune(t, "refit", 48), *biases = tiny_tune(t, "bias-correction", 48);
    double fitted = noise_elsewhere(t, w), corrected = noise_elsewhere(t, biases);
    if (fitted > most * corrected) fail_msg("W%dA%d: noise to signal %g fitted, %g with biases alone", w_bits, a_bits, fitted, corrected);
    bl_weights_free(biases);
    bl_weights_free(w);
    tiny_free(t);
}

static void better_where_values_are_coarse(void **state)
{
    (void)state;
    for (int bits = 3; bits <= 4; bits++) check_share(8, bits, 0.9);
}

/* What a narrow weight loses, weights that are rounded later take back; by nearest rounding 0.55 to 0.75 are left. */
static void better_where_weights_are_coarse(void **state)
{
    (void)state;
    for (int bits = 2; bits <= 4; bits++) check_share(bits, 8, 0.53);
}

static void on_the_grid(void **state)
{
    tiny *t = tiny_new_net(1, smooth, 48);
    (void)state;
    tiny_plan_widths(t, 5, 4);
    bl_weights *w = tiny_tune(t, "refit", 48);
    assert_true(tiny_check_codes(t, w, false) >= 3);
    bl_weights_free(w);
    tiny_free(t);
}

/* The last layer sees one position a sample: with few samples it keeps its weights and gets its bias. */
static void few_positions_keep_weights(void **state)
{
    tiny *t = tiny_new_net(1, smooth, 48);
    (void)state;
    tiny_plan_widths(t, 8, 8);
    bl_weights *w = tiny_tune(t, "refit", 14);
    int last = tiny_node_of(t->g, "y");
    assert_null(bl_weights_find(w, bl_layer_weight(t->g, last)));
    assert_non_null(bl_weights_find(w, bl_layer_bias(t->g, last)));
    bl_weights_free(w);
    tiny_free(t);
}

static void threads_do_not_matter(void **state)
{
    (void)state;
    tiny_check_threads(smooth, 48, "refit", 4, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(better_where_values_are_coarse),
        cmocka_unit_test(better_where_weights_are_coarse),
        cmocka_unit_test(on_the_grid),
        cmocka_unit_test(few_positions_keep_weights),
        cmocka_unit_test(threads_do_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
