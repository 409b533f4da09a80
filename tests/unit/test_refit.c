/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Weights fitted again to quantized inputs: they lie on the plan's grid, give the network's outputs back better than
 * corrected biases alone where inputs are coarse, keep layers with too few positions, and do not hang on threads.
 */
#include "tiny_graph.h"

#include <math.h>

static void make_plan(tiny *t, int w_bits, int a_bits)
{
    bl_menu_options o = bl_menu_options_default();
    o.keep_ends = false;
    o.n_w = o.n_a = 1;
    o.w_bits[0] = w_bits;
    o.a_bits[0] = a_bits;
    assert_ok(t->ctx, bl_menu_make(t->ctx, t->g, &o, &t->menu));
    assert_ok(t->ctx, bl_plan_make(t->ctx, t->g, t->menu, t->stats, t->choice, NULL, "test", &t->plan));
}

static bl_weights *tune(tiny *t, const char *tuner, int64_t samples)
{
    bl_tune_input in = { .graph = t->g, .plan = t->plan, .data = t->data, .samples = samples };
    bl_weights *w = NULL;
    assert_ok(t->ctx, bl_tune(t->ctx, bl_tuner_find(tuner), &in, &w));
    return w;
}

typedef struct outputs { int value; double error[48]; float *keep; int64_t size; bool second; } outputs; /* by sample: workers meet */

static bl_status compare_chunk(void *user, bl_walk *walk, size_t chunk, int64_t first, int64_t count, unsigned worker)
{
    outputs *o = user;
    const float *y = bl_walk_value(walk, o->value)->data;
    (void)chunk, (void)worker;
    for (int64_t i = 0; i < count * o->size; i++) {
        float *kept = &o->keep[first * o->size + i];
        if (!o->second) *kept = y[i];
        else o->error[first + i / o->size] += ((double)y[i] - *kept) * ((double)y[i] - *kept);
    }
    return BL_OK;
}

/* Squared error of the quantized output on samples that nobody learned from. */
static double output_error(tiny *t, const bl_weights *w)
{
    int v = t->g->outputs[0];
    outputs o = { .value = v, .size = bl_tensor_count(&t->g->values[v].t) };
    tiny other = { .ctx = t->ctx, .g = t->g };
    test_folder(other.folder);
    bl_data *data = tiny_data(&other, 48, 99, false);
    bl_shards s = { .graph = t->g, .data = data, .n = 48, .run = true, .keep_all = true };
    o.keep = malloc(48 * (size_t)o.size * sizeof(float));
    assert_ok(t->ctx, bl_shards_run(t->ctx, &s, compare_chunk, &o));
    o.second = true;
    assert_ok(t->ctx, bl_fake_new(t->ctx, t->g, t->plan, w, &s.fake));
    assert_ok(t->ctx, bl_shards_run(t->ctx, &s, compare_chunk, &o));
    bl_fake_free(s.fake);
    free(o.keep);
    bl_data_free(data);
    test_folder_remove(other.folder);
    double sum = 0;
    for (int i = 0; i < 48; i++) sum += o.error[i];
    return sum;
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

static void better_than_corrected_biases(void **state)
{
    (void)state;
    for (int bits = 3; bits <= 4; bits++) {
        tiny *t = tiny_new_net(2, smooth, 48);
        make_plan(t, 8, bits);
        bl_weights *w = tune(t, "refit", 48), *biases = tune(t, "bias-correction", 48);
        double fitted = output_error(t, w), corrected = output_error(t, biases);
        if (fitted > 0.9 * corrected) fail_msg("A%d: squared error %g fitted, %g with biases alone", bits, fitted, corrected);
        bl_weights_free(biases);
        bl_weights_free(w);
        tiny_free(t);
    }
}

static void on_the_grid(void **state)
{
    tiny *t = tiny_new_net(1, smooth, 48);
    int fitted = 0;
    (void)state;
    make_plan(t, 5, 4);
    bl_weights *w = tune(t, "refit", 48);
    for (int i = 0; i < t->g->n_nodes; i++) {
        int v = bl_layer_weight(t->g, i);
        const float *now = v < 0 ? NULL : bl_weights_find(w, v);
        if (v < 0 || !now) continue;
        const bl_quantizer *q = &t->plan->quantizers[t->plan->of_value[v]];
        int64_t n = bl_tensor_count(&t->g->values[v].t), per = n / BL_MAX(q->n_scale, 1);
        int32_t lo, hi;
        bl_weight_code_range(q->bits, q->narrow, &lo, &hi);
        for (int64_t k = 0; k < n; k++) {
            float code = now[k] / q->scale[q->n_scale > 1 ? k / per : 0];
            assert_float_equal(code, rintf(code), 1e-4);
            assert_true(code > (float)lo - 0.5f && code < (float)hi + 0.5f);
        }
        fitted++;
    }
    assert_true(fitted >= 3);
    bl_weights_free(w);
    tiny_free(t);
}

/* The last layer sees one position a sample: with few samples it keeps its weights and gets its bias. */
static void few_positions_keep_weights(void **state)
{
    tiny *t = tiny_new_net(1, smooth, 48);
    (void)state;
    make_plan(t, 8, 8);
    bl_weights *w = tune(t, "refit", 48);
    int last = tiny_node_of(t->g, "y");
    assert_null(bl_weights_find(w, bl_layer_weight(t->g, last)));
    assert_non_null(bl_weights_find(w, bl_layer_bias(t->g, last)));
    bl_weights_free(w);
    tiny_free(t);
}

static void threads_do_not_matter(void **state)
{
    bl_hash hash[3];
    (void)state;
    for (unsigned k = 0; k < 3; k++) {
        tiny *t = tiny_new_net(1 + k, smooth, 48);
        make_plan(t, 4, 4);
        bl_weights *w = tune(t, "refit", 40);
        hash[k] = w->hash;
        bl_weights_free(w);
        tiny_free(t);
    }
    assert_string_equal(hash[0].hex, hash[1].hex);
    assert_string_equal(hash[0].hex, hash[2].hex);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(better_than_corrected_biases),
        cmocka_unit_test(on_the_grid),
        cmocka_unit_test(few_positions_keep_weights),
        cmocka_unit_test(threads_do_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
