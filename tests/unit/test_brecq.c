/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * BRECQ: weights of a block lie on the plan's grid beside the float ones, the network's output comes nearer to the
 * float one than by nearest rounding, and the result hangs on the seed alone; parts of a network cut out of it give
 * what the whole gives.
 */
#include "tiny_graph.h"

#include "sense/sense.h"
#include "train/train.h"

static void make_plan(tiny *t, int w_bits)
{
    bl_menu_options o = bl_menu_options_default();
    o.keep_ends = false;
    o.n_w = o.n_a = 1;
    o.w_bits[0] = w_bits;
    o.a_bits[0] = 8;
    assert_ok(t->ctx, bl_menu_make(t->ctx, t->g, &o, &t->menu));
    assert_ok(t->ctx, bl_plan_make(t->ctx, t->g, t->menu, t->stats, t->choice, NULL, "test", &t->plan));
}

static bl_weights *tune(tiny *t)
{
    bl_tune_input in = { .graph = t->g, .plan = t->plan, .data = t->data, .samples = 64 };
    bl_weights *w = NULL;
    assert_ok(t->ctx, bl_tune(t->ctx, bl_tuner_find("brecq"), &in, &w));
    return w;
}

static double output_noise(tiny *t, const bl_weights *w)
{
    bl_oracle *o = NULL;
    bl_score score;
    assert_ok(t->ctx, bl_oracle_new(t->ctx, t->g, t->data, 64, NULL, &o));
    assert_ok(t->ctx, bl_oracle_score(o, t->plan, w, &score));
    bl_oracle_free(o);
    return pow(10, -score.sqnr_db / 10);
}

static void test_better_than_nearest_and_on_the_grid(void **state)
{
    (void)state;
    for (int bits = 2; bits <= 4; bits += 2) {
        tiny *t = tiny_new_net(2, tiny_residual, 64);
        make_plan(t, bits);
        bl_weights *w = tune(t);
        for (int i = 0; i < t->g->n_nodes; i++) {
            int v = bl_layer_weight(t->g, i);
            if (v < 0) continue;
            const bl_tensor *old = &t->g->values[v].t;
            const float *now = bl_weights_find(w, v);
            const bl_quantizer *q = &t->plan->quantizers[t->plan->of_value[v]];
            int64_t n = bl_tensor_count(old), per = n / q->n_scale;
            int32_t lo, hi;
            assert_non_null(now);
            bl_weight_code_range(q->bits, q->narrow, &lo, &hi);
            for (int64_t k = 0; k < n; k++) {
                float s = q->scale[k / per], u = ((const float *)old->data)[k] / s, c = now[k] / s;
                assert_float_equal(c, rintf(c), 1e-4);
                if (u > (float)lo && u < (float)hi) assert_true(fabsf(c - u) < 1.0001f);
            }
        }
        double learned = output_noise(t, w), nearest = output_noise(t, NULL);
        if (learned > 0.7 * nearest) fail_msg("%d bits: noise to signal %g learned, %g nearest", bits, learned, nearest);
        bl_weights_free(w);
        tiny_free(t);
    }
}

static void test_threads_do_not_matter(void **state)
{
    bl_hash hash[2];
    (void)state;
    for (unsigned k = 0; k < 2; k++) {
        tiny *t = tiny_new_net(1 + k, tiny_residual, 64);
        make_plan(t, 3);
        bl_weights *w = tune(t);
        hash[k] = w->hash;
        bl_weights_free(w);
        tiny_free(t);
    }
    assert_string_equal(hash[0].hex, hash[1].hex);
}

/* The part behind the first layer, fed with what the first layer gives. */
static void test_parts_of_a_network(void **state)
{
    tiny *t = tiny_new_net(1, tiny_residual, 4);
    bl_graph *part = NULL, *none = NULL;
    bl_walk *whole = NULL, *walk = NULL;
    bl_walk_options o = { .keep_all = true };
    int a = t->g->nodes[0].out[0], last = t->g->n_nodes - 1, b = t->g->nodes[1].out[0];
    (void)state;
    assert_ok(t->ctx, bl_graph_between(t->ctx, t->g, 1, last, a, t->g->outputs[0], &part));
    assert_int_equal(part->n_nodes, t->g->n_nodes - 1);
    assert_ok(t->ctx, bl_walk_new(t->ctx, t->g, &o, &whole));
    assert_ok(t->ctx, bl_walk_new(t->ctx, part, &o, &walk));
    bl_tensor *x = bl_walk_input(whole, 0);
    assert_ok(t->ctx, bl_data_read(t->data, 0, 1, x->data));
    assert_ok(t->ctx, bl_walk_run(whole, NULL, NULL));
    memcpy(bl_walk_input(walk, 0)->data, bl_walk_value(whole, a)->data, bl_tensor_bytes(bl_walk_input(walk, 0)));
    assert_ok(t->ctx, bl_walk_run(walk, NULL, NULL));
    const bl_tensor *want = bl_walk_value(whole, t->g->outputs[0]), *is = bl_walk_value(walk, part->outputs[0]);
    assert_memory_equal(is->data, want->data, bl_tensor_bytes(want));
    /* What flows past the cut is refused. */
    assert_int_equal(bl_graph_between(t->ctx, t->g, 2, last, b, t->g->outputs[0], &none), BL_INTERNAL);
    bl_walk_free(walk);
    bl_walk_free(whole);
    bl_graph_free(part);
    tiny_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_better_than_nearest_and_on_the_grid),
        cmocka_unit_test(test_threads_do_not_matter),
        cmocka_unit_test(test_parts_of_a_network),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
