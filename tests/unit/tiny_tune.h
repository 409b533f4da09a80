/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of tuners share: a plan of one width, the tuning, and what holds of every tuner's weights. */
#ifndef BL_TEST_TINY_TUNE_H
#define BL_TEST_TINY_TUNE_H

#include "tiny_graph.h"

#include "sense/sense.h"
#include "train/train.h"

/* Every unit at these widths, ends too. */
static inline void tiny_plan_widths(tiny *t, int w_bits, int a_bits)
{
    bl_menu_options o = bl_menu_options_default();
    o.keep_ends = false;
    o.n_w = o.n_a = 1;
    o.w_bits[0] = w_bits;
    o.a_bits[0] = a_bits;
    assert_ok(t->ctx, bl_menu_make(t->ctx, t->g, &o, &t->menu));
    assert_ok(t->ctx, bl_plan_make(t->ctx, t->g, t->menu, t->stats, t->choice, NULL, "test", &t->plan));
}

static inline bl_weights *tiny_tune(tiny *t, const char *tuner, int64_t samples)
{
    bl_tune_input in = { .graph = t->g, .plan = t->plan, .data = t->data, .samples = samples };
    bl_weights *w = NULL;
    assert_ok(t->ctx, bl_tune(t->ctx, bl_tuner_find(tuner), &in, &w));
    return w;
}

/* Noise beside signal at the output of the plan with these weights (NULL: to nearest), on n samples of data. */
static inline double tiny_noise(tiny *t, bl_data *data, int64_t n, const bl_weights *w)
{
    bl_oracle *o = NULL;
    bl_score score;
    assert_ok(t->ctx, bl_oracle_new(t->ctx, t->g, data, n, NULL, &o));
    assert_ok(t->ctx, bl_oracle_score(o, t->plan, w, &score));
    bl_oracle_free(o);
    return pow(10, -score.sqnr_db / 10);
}

/* Weights that were replaced are codes times scales; `beside`: each a neighbour of where the float weight lies.  How many
 * layers there are. */
static inline int tiny_check_codes(const tiny *t, const bl_weights *w, bool beside)
{
    int found = 0;
    for (int i = 0; i < t->g->n_nodes; i++) {
        int v = bl_layer_weight(t->g, i);
        const float *now = v < 0 ? NULL : bl_weights_find(w, v);
        if (!now) continue;
        const bl_tensor *old = &t->g->values[v].t;
        const bl_quantizer *q = &t->plan->quantizers[t->plan->of_value[v]];
        int64_t n = bl_tensor_count(old), per = n / BL_MAX(q->n_scale, 1);
        int32_t lo, hi;
        bl_weight_code_range(q->bits, q->narrow, &lo, &hi);
        for (int64_t k = 0; k < n; k++) {
            float s = q->scale[q->n_scale > 1 ? k / per : 0], u = ((const float *)old->data)[k] / s, c = now[k] / s;
            assert_float_equal(c, rintf(c), 1e-4);
            assert_true(c > (float)lo - 0.5f && c < (float)hi + 0.5f);
            if (beside && u > (float)lo && u < (float)hi) assert_true(fabsf(c - u) < 1.0001f);
        }
        found++;
    }
    return found;
}

/* The same weights for one thread and for more. */
static inline void tiny_check_threads(onnx_build *(*net)(bl_ctx *), int64_t samples, const char *tuner, int w_bits, int a_bits)
{
    bl_hash hash[3];
    for (unsigned k = 0; k < BL_COUNTOF(hash); k++) {
        tiny *t = tiny_new_net(1 + k, net, samples);
        tiny_plan_widths(t, w_bits, a_bits);
        bl_weights *w = tiny_tune(t, tuner, samples);
        hash[k] = w->hash;
        bl_weights_free(w);
        tiny_free(t);
    }
    assert_string_equal(hash[0].hex, hash[1].hex);
    assert_string_equal(hash[0].hex, hash[2].hex);
}

#endif
