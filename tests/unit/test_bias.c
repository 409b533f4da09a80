/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bias correction: with the corrected biases the mean output of every layer, over the samples and
 * positions, is that of its float weights on the same quantized inputs.  The means are taken here by the
 * definition, a convolution with all its loops.
 */
#include "tiny_graph.h"

#include <pthread.h>

enum { SAMPLES = 21 }; /* more than a chunk, and a short last one */

/* Mean over samples and positions of (Wq - W) x, by output channel. */
typedef struct shift {
    const bl_graph *g;
    int layer;
    const float *lost;
    double sum[32];
    int64_t count;
} shift;

static void add_gemm(shift *s, const float *x)
{
    const bl_node *n = &s->g->nodes[s->layer];
    const bl_tensor *w = &s->g->values[n->in[1]].t;
    bool transposed = bl_attr_int(n, "transB", 0) != 0;
    int64_t outputs = w->dim[!transposed], inputs = w->dim[transposed];
    for (int64_t o = 0; o < outputs; o++)
        for (int64_t i = 0; i < inputs; i++)
            s->sum[o] += (double)s->lost[transposed ? o * inputs + i : i * outputs + o] * x[i];
    s->count++;
}

static void add_conv(shift *s, const float *x)
{
    const bl_node *n = &s->g->nodes[s->layer];
    const bl_tensor *w = &s->g->values[n->in[1]].t, *in = &s->g->values[n->in[0]].t, *out = &s->g->values[n->out[0]].t;
    int64_t stride[2] = { 1, 1 }, dilation[2] = { 1, 1 }, pad[4] = { 0 }, groups = bl_attr_int(n, "group", 1);
    const bl_attr *a;
    if ((a = bl_node_attr(n, "strides"))) memcpy(stride, a->ints, sizeof stride);
    if ((a = bl_node_attr(n, "dilations"))) memcpy(dilation, a->ints, sizeof dilation);
    if ((a = bl_node_attr(n, "pads"))) memcpy(pad, a->ints, sizeof pad);
    int64_t per_group = w->dim[1], out_per_group = w->dim[0] / groups;
    for (int64_t oy = 0; oy < out->dim[2]; oy++)
        for (int64_t ox = 0; ox < out->dim[3]; ox++, s->count++)
            for (int64_t o = 0; o < w->dim[0]; o++)
                for (int64_t i = 0; i < per_group; i++)
                    for (int64_t ky = 0; ky < w->dim[2]; ky++)
                        for (int64_t kx = 0; kx < w->dim[3]; kx++) {
                            int64_t y = oy * stride[0] - pad[0] + ky * dilation[0], c = o / out_per_group * per_group + i;
                            int64_t z = ox * stride[1] - pad[1] + kx * dilation[1];
                            if (y < 0 || y >= in->dim[2] || z < 0 || z >= in->dim[3]) continue;
                            s->sum[o] += (double)s->lost[((o * per_group + i) * w->dim[2] + ky) * w->dim[3] + kx] *
                                         x[(c * in->dim[2] + y) * in->dim[3] + z];
                        }
}

static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER; /* chunks run side by side */

static bl_status add_chunk(void *user, bl_walk *walk, size_t chunk, int64_t first, int64_t count, unsigned worker)
{
    shift *s = user;
    const bl_tensor *x = bl_walk_value(walk, s->g->nodes[s->layer].in[0]);
    int64_t per = bl_tensor_count(x) / x->dim[0];
    (void)chunk, (void)first, (void)worker;
    pthread_mutex_lock(&one);
    for (int64_t k = 0; k < count; k++) {
        const float *sample = (const float *)x->data + k * per;
        int64_t rows = per / x->dim[x->rank - 1];
        if (!strcmp(s->g->nodes[s->layer].op->name, "Conv")) add_conv(s, sample);
        else
            for (int64_t r = 0; r < rows; r++) add_gemm(s, sample + r * (per / rows));
    }
    pthread_mutex_unlock(&one);
    return BL_OK;
}

/* What rounding took from the weights of a layer. */
static float *lost_of(const tiny *t, int layer)
{
    int v = bl_layer_weight(t->g, layer);
    const bl_tensor *w = &t->g->values[v].t;
    const bl_quantizer *q = &t->plan->quantizers[t->plan->of_value[v]];
    size_t n = (size_t)bl_tensor_count(w);
    int8_t *codes = malloc(n);
    float *lost = malloc(n * sizeof *lost);
    assert_true(codes && lost);
    bl_weight_codes(w, q->scale, q->n_scale, q->axis, q->bits, q->narrow, codes);
    bl_weight_decode(w, codes, q->scale, q->n_scale, q->axis, lost);
    for (size_t i = 0; i < n; i++) lost[i] -= ((const float *)w->data)[i];
    free(codes);
    return lost;
}

static void make_plan(tiny *t, int w_bits, int a_bits)
{
    bl_menu_options m = { .w_bits = { w_bits }, .n_w = 1, .a_bits = { a_bits }, .n_a = 1 };
    bl_grid_options o = { .act_range = "minmax", .weight_range = "minmax" };
    assert_ok(t->ctx, bl_menu_make(t->ctx, t->g, &m, &t->menu));
    assert_ok(t->ctx, bl_plan_make(t->ctx, t->g, t->menu, t->stats, t->choice, &o, "test", &t->plan));
}

static bl_weights *tune(tiny *t)
{
    bl_weights *w = NULL;
    bl_tune_input in = { .graph = t->g, .plan = t->plan, .data = t->data, .samples = SAMPLES };
    assert_ok(t->ctx, bl_tune(t->ctx, bl_tuner_find("bias-correction"), &in, &w));
    return w;
}

/* Every item of the record is a layer's bias, moved by exactly the layer's mean shift.  Returns how many
 * moved by more than a hundredth of their size. */
static int check_shifts(tiny *t, const bl_weights *w, int expected)
{
    int moved = 0;
    assert_int_equal(w->n_items, expected);
    for (int i = 0; i < w->n_items; i++) {
        int layer = 0;
        while (layer < t->g->n_nodes && bl_layer_bias(t->g, layer) != w->items[i].value) layer++;
        assert_true(layer < t->g->n_nodes);
        float *lost = lost_of(t, layer);
        const float *before = t->g->values[w->items[i].value].t.data, *after = w->items[i].data;
        shift s = { .g = t->g, .layer = layer, .lost = lost };
        bl_shards run = { .graph = t->g, .data = t->data, .n = SAMPLES, .run = true, .keep_all = true };
        assert_ok(t->ctx, bl_fake_new(t->ctx, t->g, t->plan, w, &run.fake));
        assert_ok(t->ctx, bl_shards_run(t->ctx, &run, add_chunk, &s));
        bl_fake_free(run.fake);
        for (int64_t o = 0; o < w->items[i].count; o++) {
            double left = (double)after[o] - before[o] + s.sum[o] / (double)s.count;
            /* The bias is a float32: rounded once. */
            if (fabs(left) > 0x1p-23 * (fabs((double)before[o]) + fabs((double)after[o])))
                fail_msg("%s channel %d: %g of the shift %g is left", t->g->values[w->items[i].value].name, (int)o, left,
                         s.sum[o] / (double)s.count);
            moved += fabs((double)after[o] - before[o]) > 0.01 * fabs((double)before[o]);
        }
        free(lost);
    }
    return moved;
}

static onnx_build *one_layer(bl_ctx *ctx)
{
    onnx_build *b = ob_new(ctx, 13);
    ob_input(b, "x", "N,6");
    ob_floats(b, "w", "6,5", NULL); /* not transposed */
    ob_floats(b, "b", "5", NULL);
    ob_node(b, "Gemm", "x,w,b", "y");
    ob_output(b, "y");
    return b;
}

static onnx_build *odd_conv(bl_ctx *ctx)
{
    onnx_build *b = ob_new(ctx, 13);
    ob_input(b, "x", "N,4,7,6");
    ob_floats(b, "w", "6,2,3,2", NULL);
    ob_floats(b, "b", "6", NULL);
    Onnx__NodeProto *n = ob_node(b, "Conv", "x,w,b", "y");
    ob_ints_attr(n, b, "pads", "2,0,1,1");
    ob_ints_attr(n, b, "strides", "2,1");
    ob_ints_attr(n, b, "dilations", "1,2");
    ob_int_attr(n, b, "group", 2);
    ob_output(b, "y");
    return b;
}

/* Rows of three dimensions, the middle one of which is as long as a row: what statistics by dimension 1 would fit. */
static onnx_build *tall(bl_ctx *ctx)
{
    onnx_build *b = ob_new(ctx, 13);
    ob_input(b, "x", "N,6,6");
    ob_floats(b, "w", "6,5", NULL);
    ob_floats(b, "b", "5", NULL);
    ob_node(b, "MatMul", "x,w", "m");
    ob_node(b, "Add", "m,b", "y");
    ob_output(b, "y");
    return b;
}

static onnx_build *dense(bl_ctx *ctx)
{
    return tiny_dense(ctx, false);
}

static void the_mean_shift_is_gone(void **state)
{
    static onnx_build *(*const nets[])(bl_ctx *) = { one_layer, odd_conv, tall, dense, tiny_residual };
    static const int biases[] = { 1, 1, 1, 2, 2 };
    (void)state;
    for (size_t k = 0; k < BL_COUNTOF(nets); k++)
        for (int bits = 2; bits <= 8; bits += 3) {
            tiny *t = tiny_new_net(2, nets[k], SAMPLES);
            make_plan(t, bits, 8);
            bl_weights *w = tune(t);
            int moved = check_shifts(t, w, biases[k]);
            if (bits == 2) assert_true(moved > 0);
            bl_weights_free(w);
            tiny_free(t);
        }
}

/* Sums of the network's outputs, by channel. */
static bl_status add_outputs(void *user, bl_walk *walk, size_t chunk, int64_t first, int64_t count, unsigned worker)
{
    shift *s = user;
    const bl_tensor *y = bl_walk_value(walk, s->g->outputs[0]);
    (void)chunk, (void)first, (void)worker;
    pthread_mutex_lock(&one);
    for (int64_t k = 0; k < count; k++, s->count++)
        for (int64_t o = 0; o < y->dim[1]; o++) s->sum[o] += ((const float *)y->data)[k * y->dim[1] + o];
    pthread_mutex_unlock(&one);
    return BL_OK;
}

/* Of the plan's grid of a value that is no weight. */
static double step_of(const tiny *t, int value)
{
    return (double)t->plan->quantizers[t->plan->of_value[value]].scale[0];
}

/* The largest distance of a channel's mean output from the float network's, in what the grids of the
 * activations may take: with W the float weights, the corrected layer's mean before its output is rounded
 * is that of W xq + b, so what is left is the mean of W (xq - x), where xq is at most a step from x (half
 * of one, and half where the end of the range was moved onto the grid), and as much of the output.  The
 * sums of five products in float32 are allowed eight roundings. */
static double worst_error(tiny *t, const bl_weights *w, double *without)
{
    const bl_node *n = &t->g->nodes[0];
    const float *weight = t->g->values[n->in[1]].t.data;
    double worst = 0, sx = step_of(t, n->in[0]), sy = step_of(t, n->out[0]);
    shift clean = { .g = t->g }, with = { .g = t->g };
    bl_shards run = { .graph = t->g, .data = t->data, .n = SAMPLES, .run = true, .keep_all = true };
    assert_ok(t->ctx, bl_shards_run(t->ctx, &run, add_outputs, &clean));
    assert_ok(t->ctx, bl_fake_new(t->ctx, t->g, t->plan, w, &run.fake));
    assert_ok(t->ctx, bl_shards_run(t->ctx, &run, add_outputs, &with));
    bl_fake_free(run.fake);
    *without = 0;
    for (int o = 0; o < 5; o++) {
        double bound = sy + 8 * 0x1p-24 * (fabs(with.sum[o]) + fabs(clean.sum[o]));
        for (int i = 0; i < 6; i++) bound += fabs((double)weight[i * 5 + o]) * sx;
        double error = fabs(with.sum[o] - clean.sum[o]) / SAMPLES;
        worst = BL_MAX(worst, error / bound);
        *without = BL_MAX(*without, error);
    }
    return worst;
}

/* Where no output is clipped, since its range is far wider than the float network's. */
static void the_mean_output_comes_back(void **state)
{
    (void)state;
    tiny *t = tiny_new_net(1, one_layer, SAMPLES);
    bl_menu_options m = { .w_bits = { 2 }, .n_w = 1, .a_bits = { 16 }, .n_a = 1 };
    bl_grid_options o = { .act_range = "minmax", .weight_range = "minmax" };
    bl_value_stats *y = &t->stats->value[t->g->outputs[0]];
    y->lo *= 8;
    y->hi *= 8;
    assert_true(y->lo < 0 && y->hi > 0);
    assert_ok(t->ctx, bl_menu_make(t->ctx, t->g, &m, &t->menu));
    assert_ok(t->ctx, bl_plan_make(t->ctx, t->g, t->menu, t->stats, t->choice, &o, "test", &t->plan));
    bl_weights *w = tune(t);
    double before, after, worst_before = worst_error(t, NULL, &before), worst = worst_error(t, w, &after);
    print_message("mean error %g before, %g after: %g and %g of what grids may take\n", before, after, worst_before, worst);
    assert_true(worst_before > 1);
    assert_true(worst <= 1);
    bl_weights_free(w);
    tiny_free(t);
}

static void the_same_bytes_for_any_threads(void **state)
{
    bl_hash hash[2], key[2];
    (void)state;
    for (unsigned k = 0; k < 2; k++) {
        tiny *t = tiny_new_net(k ? 4 : 1, tiny_residual, SAMPLES);
        make_plan(t, 3, 8);
        bl_weights *w = tune(t);
        hash[k] = w->hash;
        key[k] = w->key;
        bl_weights_free(w);
        tiny_free(t);
    }
    assert_string_equal(hash[0].hex, hash[1].hex);
    assert_string_equal(key[0].hex, key[1].hex);
}

/* A network without a bias has nothing to correct. */
static onnx_build *no_bias(bl_ctx *ctx)
{
    onnx_build *b = ob_new(ctx, 13);
    ob_input(b, "x", "N,6");
    ob_floats(b, "w", "6,5", NULL);
    ob_node(b, "MatMul", "x,w", "y");
    ob_output(b, "y");
    return b;
}

static void nothing_to_correct(void **state)
{
    (void)state;
    tiny *t = tiny_new_net(1, no_bias, SAMPLES);
    make_plan(t, 4, 8);
    bl_weights *w = tune(t);
    assert_int_equal(w->n_items, 0);
    bl_weights_free(w);
    tiny_free(t);
}

/* Two layers with statistics, then one that has none behind it: a padded 3x3 one. */
static onnx_build *remembering(bl_ctx *ctx)
{
    onnx_build *b = ob_new(ctx, 13);
    ob_input(b, "x", "N,3,6,6");
    ob_floats(b, "w1", "4,3,1,1", NULL);
    ob_floats(b, "g", "4", (float[]){ 1, 0.5f, 2, 0.1f });
    ob_floats(b, "b", "4", (float[]){ 0, 1, -1, 3 });
    ob_floats(b, "m", "4", (float[]){ 0, 0, 0, 0 });
    ob_floats(b, "v", "4", (float[]){ 1, 1, 1, 1 });
    ob_floats(b, "w2", "5,4,3,3", NULL);
    ob_floats(b, "b2", "5", NULL);
    ob_node(b, "Conv", "x,w1", "c");
    ob_node(b, "BatchNormalization", "c,g,b,m,v", "n");
    ob_node(b, "Relu", "n", "r");
    ob_ints_attr(ob_node(b, "Conv", "r,w2,b2", "y"), b, "pads", "1,1,1,1");
    ob_output(b, "y");
    return b;
}

/* The second layer's input has the means that the first remembers; the first one's is what samples show. */
static void statistics_say_the_mean(void **state)
{
    (void)state;
    tiny *t = tiny_new_net(1, remembering, SAMPLES);
    make_plan(t, 4, 8);
    bl_weights *w, *empirical = tune(t);
    bl_arena *a = bl_arena_new(t->ctx, "test");
    const bl_moments *m;
    bl_tune_input in = { .graph = t->g, .plan = t->plan, .data = t->data, .samples = SAMPLES };
    assert_ok(t->ctx, bl_tune(t->ctx, bl_tuner_find("bias-analytic"), &in, &w));
    assert_ok(t->ctx, bl_channel_moments(t->ctx, a, t->g, &m));
    int layer = t->g->n_nodes - 1, b = bl_layer_bias(t->g, layer);
    float *lost = lost_of(t, layer);
    const float *from = t->g->values[b].t.data, *got = bl_weights_find(w, b);
    const bl_moments *x = &m[t->g->nodes[layer].in[0]];
    for (int o = 0; o < 5; o++) {
        double moved = 0;
        for (int i = 0; i < 4; i++)
            for (int k = 0; k < 9; k++) {
                double inside = (k / 3 == 1 ? 6 : 5) * (k % 3 == 1 ? 6 : 5) / 36.0;
                moved += lost[(o * 4 + i) * 9 + k] * x->mean[i] * inside;
            }
        if (fabs(got[o] - (from[o] - moved)) > 1e-5) fail_msg("bias %d: %g, not %g", o, got[o], from[o] - moved);
    }
    free(lost);
    int first = bl_layer_bias(t->g, 0);
    assert_memory_equal(bl_weights_find(w, first), bl_weights_find(empirical, first), 4 * sizeof(float));
    bl_weights_free(w);
    bl_weights_free(empirical);
    bl_arena_free(a);
    tiny_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_mean_shift_is_gone),
        cmocka_unit_test(the_mean_output_comes_back),
        cmocka_unit_test(the_same_bytes_for_any_threads),
        cmocka_unit_test(nothing_to_correct),
        cmocka_unit_test(statistics_say_the_mean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
