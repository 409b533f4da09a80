/* SPDX-License-Identifier: BSD-3-Clause */
/* Kendall's tau-b: known values, ties, and what a permutation does to it. */
#include <math.h>

#include "support.h"

static void check(const double *a, const double *b, size_t n, double want)
{
    double got = bl_kendall_tau_b(a, b, n);
    if (!(fabs(got - want) < 1e-12)) fail_msg("%.17g instead of %.17g", got, want);
}

static void test_known_values(void **state)
{
    (void)state;
    static const double up[] = { 1, 2, 3, 4, 5 }, down[] = { 9, 7, 3, 1, -4 };
    check(up, up, 5, 1);
    check(up, down, 5, -1);
    /* One neighbour swap of n(n-1)/2 pairs. */
    static const double swapped[] = { 1, 2, 4, 3, 5 };
    check(up, swapped, 5, 1 - 2.0 / 10);
    /* scipy.stats.kendalltau([12, 2, 1, 12, 2], [1, 4, 7, 1, 0]) */
    static const double x[] = { 12, 2, 1, 12, 2 }, y[] = { 1, 4, 7, 1, 0 };
    check(x, y, 5, -0.47140452079103173);
}

static void test_ties_and_nothing(void **state)
{
    (void)state;
    static const double flat[] = { 3, 3, 3 }, up[] = { 1, 2, 3 }, hole[] = { 1, NAN, 3 }, ties[] = { 1, 1, 2 };
    assert_true(isnan(bl_kendall_tau_b(flat, up, 3)));
    assert_true(isnan(bl_kendall_tau_b(up, hole, 3)));
    assert_true(isnan(bl_kendall_tau_b(hole, up, 3)));
    assert_true(isnan(bl_kendall_tau_b(up, up, 1)));
    assert_true(isnan(bl_kendall_tau_b(up, up, 0)));
    check(ties, ties, 3, 1);
    check(ties, up, 3, 2 / sqrt(2.0 * 3.0));
}

/* The order of the things does not matter, nor do values beyond their order; turned round it changes sign. */
static void test_invariance(void **state)
{
    (void)state;
    enum { N = 40 };
    for (uint64_t seed = 0; seed < 20; seed++) {
        bl_rng r = bl_rng_make(seed, "tau", 0);
        double a[N], b[N], pa[N], pb[N], minus[N], cube[N];
        uint32_t order[N];
        for (uint32_t i = 0; i < N; i++) {
            a[i] = (double)bl_rng_below(&r, 12);
            b[i] = a[i] + 8 * bl_rng_unit(&r);
            order[i] = i;
        }
        bl_rng_shuffle(&r, order, N);
        for (size_t i = 0; i < N; i++) {
            pa[i] = a[order[i]];
            pb[i] = b[order[i]];
            minus[i] = -b[i];
            cube[i] = b[i] * b[i] * b[i];
        }
        double tau = bl_kendall_tau_b(a, b, N);
        assert_true(tau > 0 && tau < 1);
        check(pa, pb, N, tau);
        check(b, a, N, tau);
        check(a, cube, N, tau);
        check(a, minus, N, -tau);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_values),
        cmocka_unit_test(test_ties_and_nothing),
        cmocka_unit_test(test_invariance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
