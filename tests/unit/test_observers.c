/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Range estimators against brute force, for values and for weights.
 */
#include "tiny_graph.h"

typedef struct histogram {
    bl_value_stats s;
    uint64_t bins[BL_HIST_BINS];
} histogram;

static void fill_histogram(histogram *h, uint64_t seed, double lo, double hi, int n)
{
    bl_rng r = bl_rng_make(seed, "histogram", 0);
    memset(h, 0, sizeof *h);
    h->s = (bl_value_stats){ .lo = lo, .hi = hi, .bins = h->bins };
    for (int i = 0; i < n; i++) {
        double x = lo + (hi - lo) * (0.5 + 0.12 * bl_rng_normal(&r));
        int b = (int)((x - lo) / (hi - lo) * BL_HIST_BINS);
        h->bins[b < 0 ? 0 : b >= BL_HIST_BINS ? BL_HIST_BINS - 1 : b]++;
        h->s.count++;
    }
    h->bins[0]++;
    h->bins[BL_HIST_BINS - 1]++;
    h->s.count += 2;
}

static void assert_range(const char *observer, const histogram *h, int bits, double lo, double hi)
{
    double a = 99, b = -99, little = 1e-9 * (h->s.hi - h->s.lo);
    bl_observer_find(observer)->range(&h->s, bits, &a, &b);
    if (!(fabs(a - lo) <= little && fabs(b - hi) <= little))
        fail_msg("%s %d bits: %.17g %.17g instead of %.17g %.17g", observer, bits, a, b, lo, hi);
}

static const struct { double lo, hi; } spans[] = { { -3, 5 }, { 0, 6 }, { 1, 2 }, { -4, -1 }, { -1e-4, 1e4 } };

static void minmax_takes_all(void **state)
{
    static histogram h;
    (void)state;
    for (size_t i = 0; i < BL_COUNTOF(spans); i++) {
        fill_histogram(&h, i, spans[i].lo, spans[i].hi, 5000);
        assert_range("minmax", &h, 8, fmin(0, spans[i].lo), fmax(0, spans[i].hi));
    }
}

/* The greatest bin edge with at most one value of 10,000 above it, and the same below. */
static void percentile_is_the_smallest_cut(void **state)
{
    static histogram h;
    (void)state;
    for (size_t i = 0; i < BL_COUNTOF(spans); i++) {
        fill_histogram(&h, i, spans[i].lo, spans[i].hi, 60000);
        uint64_t drop = (uint64_t)llround((double)h.s.count / 10000);
        double width = (h.s.hi - h.s.lo) / BL_HIST_BINS, lo = 0, hi = 0;
        for (int b = BL_HIST_BINS; b > 0; b--) {
            uint64_t above = 0;
            for (int k = b; k < BL_HIST_BINS; k++) above += h.bins[k];
            if (above <= drop) hi = h.s.lo + width * b;
        }
        for (int b = 0; b < BL_HIST_BINS; b++) {
            uint64_t below = 0;
            for (int k = 0; k < b; k++) below += h.bins[k];
            if (below <= drop) lo = h.s.lo + width * b;
        }
        assert_range("percentile", &h, 8, h.s.lo < 0 ? fmin(0, lo) : 0, fmax(0, hi));
    }
    memset(&h, 0, sizeof h); /* one value */
    h.s = (bl_value_stats){ .lo = 2, .hi = 2, .count = 7, .bins = h.bins };
    h.bins[0] = 7;
    assert_range("percentile", &h, 8, 0, 2);
}

static double squared_error(const histogram *h, int bits, double lo, double hi)
{
    double levels = pow(2, bits) - 1, scale = (hi - lo) / levels, zero = rint(-lo / scale), sum = 0;
    for (int b = 0; b < BL_HIST_BINS; b++) {
        double x = h->s.lo + (h->s.hi - h->s.lo) * (b + 0.5) / BL_HIST_BINS;
        double q = fmin(fmax(rint(x / scale) + zero, 0), levels), e = x - scale * (q - zero);
        sum += (double)h->bins[b] * e * e;
    }
    return sum;
}

static void mse_is_the_best_of_80(void **state)
{
    static histogram h;
    static const int widths[] = { 1, 2, 3, 4, 6, 8, 16 };
    (void)state;
    for (size_t i = 0; i < BL_COUNTOF(spans); i++)
        for (size_t k = 0; k < BL_COUNTOF(widths); k++) {
            fill_histogram(&h, i, spans[i].lo, spans[i].hi, 3000);
            double full_lo = fmin(0, spans[i].lo), full_hi = fmax(0, spans[i].hi), least = INFINITY, lo, hi;
            for (int s = 0; s < 80; s++)
                least = fmin(least, squared_error(&h, widths[k], full_lo * (1 - 0.01 * s), full_hi * (1 - 0.01 * s)));
            bl_observer_find("mse")->range(&h.s, widths[k], &lo, &hi);
            assert_true(lo <= 0 && hi >= 0 && lo >= full_lo && hi <= full_hi);
            assert_true(squared_error(&h, widths[k], lo, hi) <= least * (1 + 1e-9));
        }
    memset(&h, 0, sizeof h); /* nothing but zeros */
    h.s = (bl_value_stats){ .count = 3, .bins = h.bins };
    h.bins[0] = 3;
    assert_range("mse", &h, 4, 0, 0);
}

/* Never worse than mse, and no end can be moved alone. */
static void mse_ends_stands_still(void **state)
{
    static histogram h;
    static const int widths[] = { 2, 4, 8 };
    (void)state;
    for (size_t i = 0; i < BL_COUNTOF(spans); i++)
        for (size_t k = 0; k < BL_COUNTOF(widths); k++) {
            fill_histogram(&h, i, spans[i].lo, spans[i].hi, 3000);
            for (int b = 0; b < 40; b++) h.bins[b * 7] += 5; /* a tail on one side */
            double full_lo = fmin(0, spans[i].lo), full_hi = fmax(0, spans[i].hi), lo, hi, a, b;
            bl_observer_find("mse-ends")->range(&h.s, widths[k], &lo, &hi);
            bl_observer_find("mse")->range(&h.s, widths[k], &a, &b);
            double found = squared_error(&h, widths[k], lo, hi);
            assert_true(lo <= 0 && hi >= 0 && lo >= full_lo && hi <= full_hi);
            assert_true(found <= squared_error(&h, widths[k], a, b) * (1 + 1e-9));
            for (int s = 0; s < 80; s++) /* the last end that was moved */
                assert_true(found <= squared_error(&h, widths[k], lo, full_hi * (1 - 0.01 * s)) * (1 + 1e-9));
        }
}

/* KL(P || Q) as the rule has it, by itself: n bins kept of |x|, everything above in the last one of P. */
static double cut_divergence(const double *h, int n, int levels)
{
    static double p[BL_HIST_BINS], q[BL_HIST_BINS];
    double kl = 0, sums[2] = { 0, 0 };
    double *const both[2] = { p, q };
    for (int i = 0; i < n; i++) {
        int c = 0, filled = 0;
        double sum = 0;
        while (!(i >= (int)((long)c * n / levels) && i < (int)((long)(c + 1) * n / levels))) c++;
        for (int k = (int)((long)c * n / levels); k < (int)((long)(c + 1) * n / levels); k++) {
            sum += h[k];
            filled += h[k] > 0;
        }
        p[i] = h[i];
        q[i] = h[i] > 0 ? sum / filled : 0;
    }
    for (int i = n; i < BL_HIST_BINS; i++) p[n - 1] += h[i];
    for (int d = 0; d < 2; d++) {
        int zeros = 0;
        for (int i = 0; i < n; i++) zeros += both[d][i] == 0;
        for (int i = 0; i < n; i++) {
            both[d][i] = both[d][i] == 0 ? 1e-4 : fmax(both[d][i] - 1e-4 * zeros / (n - zeros), 1e-4);
            sums[d] += both[d][i];
        }
    }
    for (int i = 0; i < n; i++) kl += p[i] / sums[0] * log(p[i] / sums[0] / (q[i] / sums[1]));
    return kl;
}

static void entropy_cuts_where_least_is_lost(void **state)
{
    static histogram h;
    (void)state;
    for (int tail = 0; tail < 2; tail++) {
        double abs_bins[BL_HIST_BINS], least = INFINITY, lo, hi;
        fill_histogram(&h, 5, 0, 8, 20000); /* around 4, deviation 0.96 */
        if (!tail) memset(h.bins + 1200, 0, (BL_HIST_BINS - 1200) * sizeof *h.bins); /* nothing there: any cut above is the same */
        for (int i = 0; i < BL_HIST_BINS; i++) abs_bins[i] = (double)h.bins[i];
        for (int n = BL_HIST_BINS; n >= 128; n -= 8) least = fmin(least, cut_divergence(abs_bins, n, 16));
        bl_observer_find("entropy")->range(&h.s, 4, &lo, &hi);
        int n = (int)lround(hi / 8 * BL_HIST_BINS - 0.5);
        if (hi == 8) n = BL_HIST_BINS;
        assert_true(lo == 0 && hi > 0 && n % 8 == 0);
        assert_true(cut_divergence(abs_bins, n, 16) <= least * (1 + 1e-6) + 1e-12);
    }
    fill_histogram(&h, 6, -1e4, 1e4, 5000); /* sixteen bits have codes for all */
    assert_range("entropy", &h, 16, -1e4, 1e4);
}

/* On numbers that are Gaussian no other cut of both ends has a percent less squared error. */
static void gaussian_suits_gaussians(void **state)
{
    static histogram h;
    (void)state;
    for (int bits = 2; bits <= 8; bits++) {
        double lo, hi, least = INFINITY, mean = 0, square = 0;
        fill_histogram(&h, 9, -6, 6, 400000);
        for (int i = 0; i < BL_HIST_BINS; i++) {
            double x = -6 + 12 * (i + 0.5) / BL_HIST_BINS;
            mean += x * (double)h.bins[i] / (double)h.s.count;
            square += x * x * (double)h.bins[i] / (double)h.s.count;
        }
        h.s.mean = mean;
        h.s.mean_square = square;
        bl_observer_find("gaussian")->range(&h.s, bits, &lo, &hi);
        for (double c = 0.5; c < 6; c += 0.02) least = fmin(least, squared_error(&h, bits, -c, c));
        double found = squared_error(&h, bits, lo, hi);
        if (!(found <= least * 1.08)) fail_msg("%d bits: %g instead of %g", bits, found, least);
    }
    assert_range("gaussian", &h, 16, -6, 6);
}

/* Against HAQ's formula in numpy (histogram of sqrt rule, cumsum, interp twice) on the cubes of a shuffled ramp. */
static void cumulative_cuts_as_haq_does(void **state)
{
    static const double want[] = { 1.309145446618398, 1.75292356411616, 1.930434811115265 };
    enum { N = 2000 };
    static histogram h;
    float w[N];
    double lo, hi;
    (void)state;
    for (int i = 0; i < N; i++) {
        double v = (i * 7919 % N + 0.5) / N * 2 - 1;
        w[i] = (float)(v * v * v * 2);
    }
    for (int bits = 2; bits <= 4; bits++)
        assert_true(fabs(bl_observer_find("cumulative")->clip(w, N, 1, bits, true) - want[bits - 2]) < 1e-6);
    double most = bl_observer_find("minmax")->clip(w, N, 1, 5, true);
    assert_true(bl_observer_find("cumulative")->clip(w, N, 1, 5, true) == most); /* five bits keep all */
    most = bl_observer_find("minmax")->clip(w, 3, 1, 4, true);
    assert_true(bl_observer_find("cumulative")->clip(w, 3, 1, 4, true) == most); /* three numbers: as they are */
    fill_histogram(&h, 5, 0, 8, 20000);
    bl_observer_find("cumulative")->range(&h.s, 8, &lo, &hi);
    assert_true(lo == 0 && hi == 6); /* values end at 6 */
    bl_observer_find("cumulative")->range(&h.s, 3, &lo, &hi);
    assert_true(lo == 0 && hi > 3 && hi <= 6);
}

/* Two bits: the grid of DAQ around the mean of what is signed, from 0 where nothing is below it. */
static void daq_takes_the_step_of_a_gaussian(void **state)
{
    static histogram h;
    (void)state;
    fill_histogram(&h, 9, -6, 6, 400000);
    h.s.mean = 0.5;
    h.s.mean_square = 1.25; /* deviation 1 */
    assert_range("daq", &h, 2, 0.5 - 1.5 * 0.996, 0.5 + 1.5 * 0.996);
    assert_range("daq", &h, 16, -6, 6);
    memset(h.bins, 0, sizeof h.bins);
    h.s.lo = 0;
    h.bins[0] = 1000000; /* zeros do not count */
    h.bins[512] = h.bins[1024] = 50000;
    double lo, hi, a = 6 * 512.5 / BL_HIST_BINS, b = 6 * 1024.5 / BL_HIST_BINS;
    bl_observer_find("daq")->range(&h.s, 4, &lo, &hi);
    assert_true(lo == 0 && fabs(hi / (15 * 0.335 * (b - a) / 2) - 1) < 1e-3);
    float w[64];
    for (int i = 0; i < 64; i++) w[i] = i % 2 ? 1.0f : -1.0f;
    w[0] = 8;
    double deviation = sqrt((63 + 64) / 64.0);
    assert_true(fabs(bl_observer_find("daq")->clip(w, 64, 1, 4, false) / (7 * 0.335 * deviation) - 1) < 1e-6);
    assert_true(bl_observer_find("daq")->clip(w, 64, 1, 8, false) <= 8);
}

static void weight_clips(void **state)
{
    float w[6000];
    bl_rng r = bl_rng_make(3, "weights", 0);
    (void)state;
    for (int i = 0; i < 6000; i++) w[i] = (float)bl_rng_normal(&r);
    w[17] = -9;
    w[99] = 8;
    assert_true(bl_observer_find("minmax")->clip(w, 6000, 1, 4, false) == 9);
    assert_true(bl_observer_find("minmax")->clip(w + 1, 3000, 2, 4, false) == 9); /* every second: 17 is odd */
    assert_true(bl_observer_find("minmax")->clip(w, 3000, 2, 4, false) < 8);
    assert_true(bl_observer_find("percentile")->clip(w, 6000, 1, 4, false) == 8); /* the 5,999th of 6,000 */
    assert_true(bl_observer_find("percentile")->clip(w, 4000, 1, 4, false) == 9);
    for (int bits = 2; bits <= 8; bits++)
        for (int narrow = 0; narrow < 2; narrow++) {
            int32_t lo, hi;
            double best = INFINITY, found = INFINITY, clip = bl_observer_find("mse")->clip(w, 500, 1, bits, narrow);
            bl_weight_code_range(bits, narrow, &lo, &hi);
            for (int s = 0; s <= 80; s++) { /* the last one is what was found */
                double c = s == 80 ? clip : 9 * (1 - 0.01 * s), scale = (double)(float)(c / hi), sum = 0;
                for (int i = 0; i < 500; i++) {
                    double q = fmin(fmax(rint(w[i] / scale), lo), hi);
                    sum += pow(fabs(w[i] - scale * q), 2.4);
                }
                if (s == 80) found = sum;
                else best = fmin(best, sum);
            }
            assert_true(clip <= 9 && found <= best * 1.0001);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(minmax_takes_all),
        cmocka_unit_test(percentile_is_the_smallest_cut),
        cmocka_unit_test(mse_is_the_best_of_80),
        cmocka_unit_test(mse_ends_stands_still),
        cmocka_unit_test(entropy_cuts_where_least_is_lost),
        cmocka_unit_test(gaussian_suits_gaussians),
        cmocka_unit_test(cumulative_cuts_as_haq_does),
        cmocka_unit_test(daq_takes_the_step_of_a_gaussian),
        cmocka_unit_test(weight_clips),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
