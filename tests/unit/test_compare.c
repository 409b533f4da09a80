/* SPDX-License-Identifier: BSD-3-Clause */
/* Comparison of two networks: figures of hand-made answers, exact p, KL, outputs that do not fit. */
#include "tiny_graph.h"

#include "sense/sense.h"

enum { N = 6, CLASSES = 3 };

static bl_eval_result answers(const float scores[N * CLASSES], uint16_t predictions[N])
{
    for (int i = 0; i < N; i++) {
        predictions[i] = 0;
        for (int c = 1; c < CLASSES; c++)
            if (scores[i * CLASSES + c] > scores[i * CLASSES + predictions[i]]) predictions[i] = (uint16_t)c;
    }
    return (bl_eval_result){ .samples = N, .n_inputs = N, .n_scores = N * CLASSES, .predictions = predictions,
                             .scores = (float *)(uintptr_t)scores };
}

static void near(double have, double want)
{
    if (!(fabs(have - want) <= 1e-12 * fmax(1, fabs(want)))) fail_msg("%.17g instead of %.17g", have, want);
}

/* A is right everywhere; B once wrong where A is right, and wrong answers elsewhere of both. */
static void figures_of_known_answers(void **state)
{
    (void)state;
    tiny *t = tiny_new_net(1, tiny_residual, 4);
    bl_data *data = tiny_data(t, N, 7, true);
    float a[N * CLASSES], b[N * CLASSES];
    uint16_t pa[N], pb[N];
    /* right, right, right, wrong, wrong, wrong for A; B: right, wrong, wrong, right, wrong the same, wrong another */
    static const int off_a[N] = { 0, 0, 0, 1, 1, 1 }, off_b[N] = { 0, 1, 2, 0, 1, 2 };
    for (int i = 0; i < N; i++) {
        int label = bl_data_label(data, i);
        assert_in_range(label, 0, 2);
        for (int c = 0; c < CLASSES; c++) {
            a[i * CLASSES + c] = c == (label + off_a[i]) % 3 ? 2 : 0;
            b[i * CLASSES + c] = c == (label + off_b[i]) % 3 ? 2 : 0;
        }
    }
    bl_eval_result ra = answers(a, pa), rb = answers(b, pb);
    bl_compare_result r;
    assert_ok(t->ctx, bl_compare(t->ctx, data, &ra, &rb, true, false, &r));
    assert_int_equal(r.flips, 4);
    assert_int_equal(r.only_a, 2);
    assert_int_equal(r.only_b, 1);
    assert_false(r.equal);
    near(r.drop, 1.0 / 6);
    /* differences 0 1 1 -1 0 0: variance (3 - 6/36)/5, of their mean a sixth of that */
    near(r.drop_error, sqrt((3 - 1.0 / 6) / 5 / 6));
    near(r.drop_bound95, r.drop + 1.6448536269514722 * r.drop_error);
    near(r.p, 1);
    near(r.sqnr_db, 10 * log10(6 * 4.0 / (4 * 8)));
    double z = exp(2) + 2; /* KL of two one-hots moved: (p_2 - p_0) * 2 */
    near(r.kl, 4.0 / 6 * 2 * (exp(2) - 1) / z);
    assert_ok(t->ctx, bl_compare(t->ctx, data, &ra, &ra, true, false, &r));
    assert_true(r.equal && isnan(r.sqnr_db) && r.flips == 0 && r.kl == 0 && r.drop == 0 && r.p == 1);
    assert_ok(t->ctx, bl_compare(t->ctx, data, &ra, &rb, false, false, &r));
    assert_true(isnan(r.kl) && isnan(r.drop) && r.flips == 0);
    rb.n_scores--;
    assert_int_equal(bl_compare(t->ctx, data, &ra, &rb, true, false, &r), BL_DATA);
    bl_data_free(data);
    tiny_free(t);
}

/* Probabilities of zero, as a quantized Softmax gives them, have a finite divergence. */
static void probabilities_of_zero(void **state)
{
    (void)state;
    tiny *t = tiny_new_net(1, tiny_residual, 4);
    bl_data *data = tiny_data(t, N, 7, false);
    float a[N * CLASSES], b[N * CLASSES];
    uint16_t pa[N], pb[N];
    for (int i = 0; i < N * CLASSES; i++) {
        a[i] = i % CLASSES == 0 ? 0.75F : i % CLASSES == 1 ? 0.25F : 0;
        b[i] = i % CLASSES == 0 ? 1 : 0;
    }
    bl_eval_result ra = answers(a, pa), rb = answers(b, pb);
    bl_compare_result r;
    assert_ok(t->ctx, bl_compare(t->ctx, data, &ra, &rb, true, true, &r));
    assert_true(r.kl > 2.8 && r.kl < 3.3); /* 0.75 ln 0.75 + 0.25 ln(0.25 / 2^-20) = 3.03 */
    assert_true(isnan(r.drop) && isnan(r.p));
    bl_data_free(data);
    tiny_free(t);
}

static void exact_p(void **state)
{
    (void)state;
    near(bl_mcnemar_exact(0, 0), 1);
    near(bl_mcnemar_exact(0, 1), 1);
    near(bl_mcnemar_exact(5, 0), 2 / 32.0);
    near(bl_mcnemar_exact(1, 8), 2 * (1 + 9) / 512.0);
    near(bl_mcnemar_exact(8, 1), 2 * (1 + 9) / 512.0);
    near(bl_mcnemar_exact(4, 4), 1);
    assert_true(bl_mcnemar_exact(0, 2000) >= 0 && bl_mcnemar_exact(0, 2000) < 1e-300);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_of_known_answers),
        cmocka_unit_test(probabilities_of_zero),
        cmocka_unit_test(exact_p),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
