/* SPDX-License-Identifier: BSD-3-Clause */
/* The rows of quant_trainers.def beyond LSQ and PACT, each against its formula. */
#include "support.h"
#include "train/study.h"

/* Expected level of the logistic's probabilities; the outermost levels have the tails. */
static double expected(double v, int lo, int hi, double spread)
{
    double mean = 0, below = 0;
    for (int i = lo; i <= hi; i++) {
        double upto = i < hi ? 1 / (1 + exp(-(i + 0.5 - v) / spread)) : 1;
        mean += i * (upto - below);
        below = upto;
    }
    return mean;
}

static void dropbits_is_the_slope_of_the_expected_level(void **state)
{
    const double h = 1e-5;
    (void)state;
    for (double v = -7; v < 6; v += 0.0731) {
        double slope = (expected(v + h, -4, 3, 0.15) - expected(v - h, -4, 3, 0.15)) / (2 * h);
        assert_true(fabs(slope - bl_dropbits_pass(v, -4, 3)) < 0.01);
    }
    assert_true(bl_dropbits_pass(0.5, -4, 3) > 3 * bl_dropbits_pass(0, -4, 3)); /* pulled between levels, resting on one */
    assert_true(bl_dropbits_pass(9, -4, 3) < 1e-6);
}

static void dropbits_drops_whole_bits(void **state)
{
    bl_ctx *ctx = test_ctx(1, 0);
    bl_lesson l = { .ctx = ctx, .done = 0.5 };
    bl_site site = { .value = 3, .bits = 4, .lo = -8, .hi = 7 };
    int dropped = 0;
    (void)state;
    for (l.step = 1; l.step <= 1000; l.step++) {
        float lo, hi;
        bl_quant_rule_dropbits.levels(&l, &site, &lo, &hi);
        assert_true((lo == -8 && hi == 7) || (lo == -4 && hi == 3));
        dropped += hi == 3;
    }
    assert_true(dropped > 60 && dropped < 140);
    l.done = 1; /* what is kept has every level */
    for (l.step = 1; l.step <= 100; l.step++) {
        float lo, hi;
        bl_quant_rule_dropbits.levels(&l, &site, &lo, &hi);
        assert_true(lo == -8 && hi == 7);
    }
    test_ctx_free(ctx);
}

static void attention_ends_with_one_width(void **state)
{
    float alpha[3] = { 0.2f, 0, -0.1f }, last = 0;
    double share[3];
    (void)state;
    bl_dqa_shares(0, alpha, share);
    for (int j = 0; j < 3; j++) assert_true(fabs(share[j] - 1.0 / 3) < 0.01);
    for (double done = 0; done <= 1; done += 0.05) {
        bl_dqa_shares(done, alpha, share);
        assert_true(fabs(share[0] + share[1] + share[2] - 1) < 1e-12 && share[0] >= last);
        last = (float)share[0];
    }
    assert_true(share[0] == 1 && share[1] == 0);
}

/* The mixture at even shares is the mean of the three widths; its slope by alpha is that of the formula. */
static void attention_mixes(void **state)
{
    bl_ctx *ctx = test_ctx(1, 0);
    bl_value value = { .t = { .type = BL_F32, .rank = 1, .dim = { 1000000 } } };
    bl_graph net = { .values = &value, .n_values = 1 };
    bl_site site = { .value = 0, .bits = 2, .lo = -2, .hi = 1, .weight = true };
    bl_lesson l = { .ctx = ctx, .net = &net, .pieces = 1, .done = 0.6 };
    float alpha[3] = { 0.1f, 0.3f, -0.2f };
    (void)state;
    for (float x = -2.5f; x < 1.5f; x += 0.17f) {
        double more[3] = { 0 };
        bl_quant_rule_dqa.mix_slopes(&l, &site, alpha, x, 1, 1, more);
        for (int j = 0; j < 3; j++) {
            float side[2], h = 0.02f, moved[3];
            for (int d = 0; d < 2; d++) {
                memcpy(moved, alpha, sizeof moved);
                moved[j] += d ? h : -h;
                bl_quant_rule_dqa.mix(&l, &site, moved, x, 1, &side[d]);
            }
            assert_true(fabs((side[1] - side[0]) / (2.0 * (double)h) - more[j]) < 2e-3);
        }
    }
    l.done = 1;
    float out;
    bl_quant_rule_dqa.mix(&l, &site, alpha, 0.6f, 1, &out);
    assert_true(out == 1); /* two bits: -2, -1, 0, 1 */
    test_ctx_free(ctx);
}

static void daq_follows_the_deviation(void **state)
{
    enum { N = 20000 };
    static float x[N], above[N];
    bl_rng r = bl_rng_make(1, "daq", 0);
    bl_site weight = { .weight = true, .bits = 4, .lo = -8, .hi = 7 }, values = { .bits = 4, .lo = 0, .hi = 15 };
    double n, want;
    (void)state;
    for (int i = 0; i < N; i++) {
        x[i] = (float)bl_rng_normal(&r) * 3;
        above[i] = fmaxf(x[i], 0);
    }
    want = bl_daq_wanted(&weight, x, N, &n);
    assert_true(fabs(want - 3 * 0.335) < 0.02 && n == N);
    want = bl_daq_wanted(&values, above, N, &n); /* half of a Gaussian: deviation 0.603 of the whole */
    assert_true(fabs(want - 3 * 0.603 * 0.335) < 0.02 && n > 0.45 * N && n < 0.55 * N);
    memset(above, 0, sizeof above);
    bl_daq_wanted(&values, above, N, &n);
    assert_true(n == 0);
    for (int bits = 2; bits <= 8; bits++) { /* of steps nearby none has less error on a Gaussian */
        double error[3] = { 0 };
        for (int k = 0; k < 3; k++) {
            double step = bl_daq_step(bits) * (0.8 + 0.2 * k), top = (1 << (bits - 1)) - 0.5;
            for (int i = 0; i < N; i++) {
                double v = x[i] / 3.0, q = (floor(v / step) + 0.5);
                q = fmin(fmax(q, -top), top) * step;
                error[k] += (v - q) * (v - q);
            }
        }
        assert_true(error[1] < error[0] && error[1] < error[2]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dropbits_is_the_slope_of_the_expected_level), cmocka_unit_test(dropbits_drops_whole_bits),
        cmocka_unit_test(attention_ends_with_one_width), cmocka_unit_test(attention_mixes),
        cmocka_unit_test(daq_follows_the_deviation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
