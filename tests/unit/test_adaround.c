/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * AdaRound: learned weights lie on the plan's grid beside the float ones, give the layer's outputs back
 * better than nearest rounding, and hang on the seed alone; layers of 8 bits keep their weights and get
 * their biases; the arithmetic of one layer by itself is the walk's.
 */
#include "tiny_tune.h"

#include "train/layer.h"

static void test_better_than_nearest_and_on_the_grid(void **state)
{
    (void)state;
    for (int bits = 2; bits <= 4; bits++) {
        tiny *t = tiny_new_net(1, tiny_residual, 64);
        tiny_plan_widths(t, bits, 8);
        bl_weights *w = tiny_tune(t, "adaround", 64);
        assert_int_equal(tiny_check_codes(t, w, true), 4);
        double learned = tiny_noise(t, t->data, 64, w), nearest = tiny_noise(t, t->data, 64, NULL);
        if (learned > 0.7 * nearest) fail_msg("%d bits: noise to signal %g learned, %g nearest", bits, learned, nearest);
        bl_weights_free(w);
        tiny_free(t);
    }
}

static void test_threads_do_not_matter(void **state)
{
    (void)state;
    tiny_check_threads(tiny_residual, 64, "adaround", 3, 8);
}

/* Inputs of 2 bits shift what a layer gives: a bias that learns too takes more of it back, and only then moves. */
static void test_biases_learn(void **state)
{
    double error[2];
    bl_hash hash[2];
    (void)state;
    for (int learns = 0; learns < 2; learns++)
        for (unsigned threads = 1; threads < 3; threads++) {
            tiny *t = tiny_new_net(threads, tiny_residual, 64);
            tiny_plan_widths(t, 3, 2);
            bl_weights *w = tiny_tune(t, learns ? "adaround-bias" : "adaround", 64);
            int biases = 0, moved = 0;
            for (int i = 0; i < t->g->n_nodes; i++) {
                int b = bl_layer_weight(t->g, i) < 0 ? -1 : bl_layer_bias(t->g, i);
                const float *now = b < 0 ? NULL : bl_weights_find(w, b);
                biases += now != NULL;
                moved += now && memcmp(now, t->g->values[b].t.data, bl_tensor_bytes(&t->g->values[b].t)) != 0;
            }
            assert_int_equal(moved, biases);
            assert_true(learns ? biases >= 2 : biases == 0);
            error[learns] = tiny_noise(t, t->data, 64, w);
            hash[threads - 1] = w->hash;
            bl_weights_free(w);
            tiny_free(t);
            if (threads == 2) assert_string_equal(hash[0].hex, hash[1].hex);
        }
    if (!(error[1] < error[0])) fail_msg("noise to signal %g with biases, %g without", error[1], error[0]);
}

/* At 8 bits: no weight is touched, and biases are those of bias correction but for its passes. */
static void test_eight_bits_correct_biases(void **state)
{
    tiny *t = tiny_new_net(2, tiny_residual, 64);
    (void)state;
    tiny_plan_widths(t, 8, 8);
    bl_weights *w = tiny_tune(t, "adaround", 64), *other = tiny_tune(t, "bias-correction", 64);
    assert_true(w->n_items >= 2);
    for (int i = 0; i < w->n_items; i++) {
        const float *b = bl_weights_find(other, w->items[i].value), *old = t->g->values[w->items[i].value].t.data;
        assert_non_null(b); /* a bias */
        for (int64_t k = 0; k < w->items[i].count; k++) {
            float moved = b[k] - old[k], here = w->items[i].data[k] - old[k];
            assert_true(fabsf(moved - here) <= 0.05f * fabsf(moved) + 1e-4f);
        }
    }
    bl_weights_free(other);
    bl_weights_free(w);
    tiny_free(t);
}

/* With one scale a weight 8 bits are coarse for narrow channels: weights that learn leave less error, on the same codes. */
static void test_eight_bits_may_learn(void **state)
{
    tiny *t = tiny_new_net(2, tiny_residual, 64);
    bl_grid_options per_tensor = { .act_range = "minmax", .weight_range = "minmax", .per_tensor = true };
    (void)state;
    tiny_plan_widths(t, 8, 16);
    bl_plan_free(t->plan);
    assert_ok(t->ctx, bl_plan_make(t->ctx, t->g, t->menu, t->stats, t->choice, &per_tensor, "test", &t->plan));
    bl_weights *w = tiny_tune(t, "adaround-all", 64), *plain = tiny_tune(t, "adaround", 64);
    assert_int_equal(tiny_check_codes(t, w, false), 4);
    double learned = tiny_noise(t, t->data, 64, w), corrected = tiny_noise(t, t->data, 64, plain);
    if (learned > 0.7 * corrected) fail_msg("noise to signal %g learned, %g with corrected biases", learned, corrected);
    bl_weights_free(w);
    bl_weights_free(plain);
    tiny_free(t);
}

/* Gathered inputs times canonical weights give what the walk gives, position by position. */
static bl_status check_layer(void *user, bl_walk *walk, size_t chunk, int64_t first, int64_t count, unsigned worker)
{
    const bl_layer *l = user;
    const float *x = bl_walk_value(walk, l->input)->data, *y = bl_walk_value(walk, l->output)->data;
    (void)chunk, (void)first, (void)worker;
    int64_t n = l->outputs * l->k, per = l->outputs / l->groups;
    float *w = malloc((size_t)n * sizeof *w), *in = malloc((size_t)(l->groups * l->k) * sizeof *in);
    float *xs = malloc((size_t)l->in_size * sizeof *xs), *ys = malloc((size_t)l->out_size * sizeof *ys);
    bl_layer_weights(l, bl_walk_value(walk, l->weight)->data, w);
    for (int64_t s = 0; s < count; s++) {
        bl_layer_turn_input(l, x + s * l->in_size, xs);
        bl_layer_turn_output(l, y + s * l->out_size, ys);
        for (int64_t p = 0; p < l->positions; p++) {
            const float *want = ys + p * l->outputs;
            bl_layer_gather(l, xs, p, in, l->k);
            for (int64_t o = 0; o < l->outputs; o++) {
                double sum = l->bias_data ? l->bias_data[o] : 0;
                for (int64_t j = 0; j < l->k; j++) sum += (double)w[o * l->k + j] * in[l->depthwise ? j * l->groups + o : o / per * l->k + j];
                sum = fmin(fmax(sum, l->lo), l->hi);
                if (fabs(sum - want[o]) > 1e-4 * (1 + fabs(sum))) return BL_INTERNAL;
            }
        }
    }
    free(ys);
    free(xs);
    free(in);
    free(w);
    return BL_OK;
}

static void test_layers_by_themselves(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 12; seed++) {
        bl_ctx *ctx = test_ctx(1, 0);
        tiny t = { .ctx = ctx };
        bl_arena *a = bl_arena_new(ctx, "test");
        int checked = 0;
        test_folder(t.folder);
        t.g = ob_prepared(tiny_random(ctx, seed));
        t.data = tiny_data(&t, 3, seed, false);
        for (int i = 0; i < t.g->n_nodes; i++) {
            bl_layer l;
            bool fits;
            assert_ok(ctx, bl_layer_describe(ctx, t.g, i, a, &l, &fits));
            if (!fits) continue;
            bl_shards s = { .graph = t.g, .data = t.data, .n = 3, .run = true, .keep_all = true };
            assert_int_equal(bl_shards_run(ctx, &s, check_layer, &l), BL_OK);
            checked++;
        }
        assert_true(checked > 0);
        bl_arena_free(a);
        bl_data_free(t.data);
        bl_graph_free(t.g);
        test_folder_remove(t.folder);
        test_ctx_free(ctx);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_better_than_nearest_and_on_the_grid),
        cmocka_unit_test(test_threads_do_not_matter),
        cmocka_unit_test(test_biases_learn),
        cmocka_unit_test(test_eight_bits_may_learn),
        cmocka_unit_test(test_eight_bits_correct_biases),
        cmocka_unit_test(test_layers_by_themselves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
