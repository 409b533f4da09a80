/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Range estimators against brute force, weights on their grids, fake quantization, units and the
 * menu, STATS: bytes for any number of threads, round trip, what is refused.
 */
#include "tiny_graph.h"

/* ------------------------------------------------------------------ range estimators */

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

/* ------------------------------------------------------------------ weights on their grids */

static void ranges_of_codes(void **state)
{
    static const struct { int bits; bool narrow; int lo, hi; } cases[] = {
        { 1, false, -1, 1 }, { 1, true, -1, 1 },   { 2, false, -2, 1 },   { 2, true, -1, 1 },
        { 3, false, -4, 3 }, { 3, true, -3, 3 },   { 4, false, -8, 7 },   { 5, false, -16, 15 },
        { 6, true, -31, 31 }, { 7, false, -64, 63 }, { 7, true, -63, 63 }, { 8, false, -127, 127 },
        { 8, true, -127, 127 } };
    (void)state;
    for (size_t i = 0; i < BL_COUNTOF(cases); i++) {
        int32_t lo, hi;
        bl_weight_code_range(cases[i].bits, cases[i].narrow, &lo, &hi);
        assert_int_equal(lo, cases[i].lo);
        assert_int_equal(hi, cases[i].hi);
    }
}

/* Two layers over the axes 0 (Conv, Gemm transB) and 1 (Gemm, MatMul); channel 1 is all zero, channel 2
 * smaller than the floor of scales. */
static bl_graph *odd_weights(bl_ctx *ctx)
{
    onnx_build *b = ob_new(ctx, 13);
    ob_input(b, "x", "N,3");
    Onnx__TensorProto *w = ob_floats(b, "w", "4,3", NULL), *v = ob_floats(b, "v", "4,5", NULL);
    float *p = (float *)(void *)w->raw_data.data, *q = (float *)(void *)v->raw_data.data;
    for (int k = 0; k < 3; k++) p[3 + k] = 0, p[6 + k] = 1e-12f * p[k];
    for (int k = 0; k < 4; k++) q[5 * k + 1] = 0, q[5 * k + 2] = 1e-12f * q[5 * k];
    ob_int_attr(ob_node(b, "Gemm", "x,w", "h"), b, "transB", 1);
    ob_node(b, "MatMul", "h,v", "y");
    ob_output(b, "y");
    return tiny_prepared(b);
}

static void scales_of_channels(void **state)
{
    bl_ctx *ctx = *state;
    bl_graph *g = odd_weights(ctx);
    bl_arena *a = bl_arena_new(ctx, "test");
    int layers[] = { 0, 1 };
    bl_grid_options o = { .weight_range = "minmax" };
    assert_int_equal(bl_weight_axis(g, 0), 0);
    assert_int_equal(bl_weight_axis(g, 1), 1);
    for (int bits = 1; bits <= 8; bits++)
        for (int per_tensor = 0; per_tensor < 2; per_tensor++) {
            int both[] = { bits, bits };
            bl_weight_grid grids[2];
            o.per_tensor = per_tensor;
            assert_ok(ctx, bl_weight_grids(a, g, layers, both, 2, &o, grids));
            for (int l = 0; l < 2; l++) {
                const bl_tensor *w = &g->values[bl_layer_weight(g, l)].t;
                int axis = l, n = (int)w->dim[axis], rows = (int)w->dim[0], cols = (int)w->dim[1];
                assert_int_equal(grids[l].n_scale, per_tensor ? 1 : n);
                assert_int_equal(grids[l].axis, per_tensor ? -1 : axis);
                for (int c = 0; c < grids[l].n_scale; c++) {
                    double most = 0, sum = 0, count = 0;
                    for (int i = 0; i < rows; i++)
                        for (int j = 0; j < cols; j++) {
                            double x = fabs((double)((const float *)w->data)[i * cols + j]);
                            if (!per_tensor && (axis ? j : i) != c) continue;
                            most = fmax(most, x);
                            sum += x;
                            count++;
                        }
                    double want = bits == 1 ? sum / count : most / ((1 << (bits - 1)) - 1);
                    /* an all-zero channel: any scale is right, and the layer's largest keeps its bias as fine as
                     * theirs; with one bit, which has no zero, the least */
                    double largest = 0;
                    for (int other = 0; other < grids[l].n_scale; other++)
                        if (other != c) largest = fmax(largest, grids[l].scale[other]);
                    want = most > 0 ? fmax(want, 1e-8) : bits == 1 ? 1e-8 : largest;
                    assert_true(fabs((double)grids[l].scale[c] - want) <= 1e-6 * want);
                }
            }
        }
    o.weight_range = "none";
    bl_weight_grid out[2];
    assert_fails(ctx, bl_weight_grids(a, g, layers, (int[]){ 8, 8 }, 2, &o, out), BL_USAGE, "unknown range");
    bl_arena_free(a);
    bl_graph_free(g);
}

static void codes_and_back(void **state)
{
    float w[] = { 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 100, -100, 0, -0.0f, 3.4999f, -1e-30f, NAN };
    bl_tensor t = { .type = BL_F32, .rank = 2, .dim = { 3, 4 }, .data = w };
    float scale[4] = { 1, 2, 0.5f, 1e-8f }, back[12];
    int8_t codes[12];
    (void)state;
    bl_weight_codes(&t, scale, 1, -1, 4, false, codes); /* ties to even */
    static const int8_t w4[] = { 0, 2, 2, 0, -2, 7, -8, 0, 0, 3, 0, -8 };
    assert_memory_equal(codes, w4, sizeof w4);
    bl_weight_codes(&t, scale, 1, -1, 4, true, codes);
    assert_int_equal(codes[6], -7);
    bl_weight_codes(&t, scale, 1, -1, 8, false, codes);
    assert_int_equal(codes[6], -100);
    scale[0] = 0.5f;
    bl_weight_codes(&t, scale, 1, -1, 8, false, codes);
    assert_int_equal(codes[6], -127);
    bl_weight_codes(&t, scale, 1, -1, 1, false, codes); /* a sign; zero counts as plus */
    static const int8_t w1[] = { 1, 1, 1, -1, -1, 1, -1, 1, 1, 1, -1, -1 };
    assert_memory_equal(codes, w1, sizeof w1);
    scale[0] = 1;
    bl_weight_codes(&t, scale, 4, 1, 8, false, codes); /* columns 0..3 */
    static const int8_t by_column[] = { 0, 1, 5, -127, -2, 50, -127, 0, 0, 2, 0, -127 };
    assert_memory_equal(codes, by_column, sizeof by_column);
    bl_weight_decode(&t, codes, scale, 4, 1, back);
    assert_true(back[1] == 2 && back[2] == 2.5f && back[3] == -127 * 1e-8f && back[5] == 100);
    bl_weight_codes(&t, scale, 3, 0, 8, false, codes); /* rows 0..2 */
    static const int8_t by_row[] = { 0, 2, 2, 0, -1, 50, -50, 0, 0, 7, 0, -127 };
    assert_memory_equal(codes, by_row, sizeof by_row);
    bl_weight_decode(&t, codes, scale, 3, 0, back);
    assert_true(back[5] == 100 && back[9] == 3.5f);
}

static void fake_array_is_the_rule(void **state)
{
    static const bl_grid grids[] = { { 0.1f, 128, 0, 255 }, { 1, 0, 0, 255 }, { 0.5f, 3, 0, 15 }, { 2, 1, 0, 1 },
                                     { 1e-8f, 7, 0, 255 }, { 1e-4f, 30000, 0, 65535 }, { 3, 0, -127, 127 } };
    float x[] = { 0, -0.0f, 0.05f, 0.15f, 0.25f, -0.05f, 0.5f, 1.5f, 2.5f, -0.5f, 1e30f, -1e30f, NAN, INFINITY,
                  -INFINITY, 1e-40f, -1e-40f, 3.4028235e38f, 12.65f, 0.249999985f };
    (void)state;
    for (size_t k = 0; k < BL_COUNTOF(grids); k++) {
        float fake[BL_COUNTOF(x)], want[BL_COUNTOF(x)];
        memcpy(fake, x, sizeof x);
        bl_fake_quantize_array(fake, BL_COUNTOF(x), grids[k]);
        for (size_t i = 0; i < BL_COUNTOF(x); i++) want[i] = bl_fake_quantize(x[i], grids[k]);
        assert_memory_equal(fake, want, sizeof want);
    }
}

/* ------------------------------------------------------------------ units and the menu */

static void assert_unit(const bl_menu *m, const bl_graph *g, const char *name, const char *values, int n_layers, bool end,
                        int n_candidates)
{
    char have[256] = "";
    int u = bl_menu_find(m, name);
    if (u < 0) fail_msg("no unit \"%s\"", name);
    for (int i = 0; i < m->units[u].n_values; i++) {
        strcat(have, i ? "," : "");
        strcat(have, g->values[m->units[u].values[i]].name);
        assert_int_equal(m->unit_of_value[m->units[u].values[i]], u);
    }
    assert_string_equal(have, values);
    assert_int_equal(m->units[u].n_layers, n_layers);
    for (int i = 0; i < n_layers; i++) assert_int_equal(m->unit_of_layer[m->units[u].layers[i]], u);
    if (m->units[u].end != end) fail_msg("unit \"%s\" is %san end", name, end ? "not " : "");
    assert_int_equal(m->units[u].n_candidates, n_candidates);
}

static void units_of_a_residual_network(void **state)
{
    bl_ctx *ctx = *state;
    bl_graph *g = tiny_prepared(tiny_residual(ctx));
    bl_menu *m = NULL, *again = NULL, *equal = NULL;
    assert_ok(ctx, bl_menu_make(ctx, g, NULL, &m));
    assert_int_equal(m->n_units, 7);
    assert_unit(m, g, "x", "x", 1, true, 1);
    assert_unit(m, g, "a", "a,cut,padded", 1, false, 10);
    assert_unit(m, g, "b", "b", 0, false, 2);
    assert_unit(m, g, "sum", "sum", 1, false, 10);
    assert_unit(m, g, "c", "c", 0, false, 2);
    assert_unit(m, g, "pool", "pool,flat", 1, true, 1);
    assert_unit(m, g, "y", "y", 0, true, 1);
    assert_int_equal(bl_menu_find(m, "cut"), -1);
    assert_int_equal(m->unit_of_value[bl_graph_find_value(g, "a.w")], -1);
    assert_ok(ctx, bl_menu_make(ctx, g, NULL, &again));
    assert_string_equal(m->hash.hex, again->hash.hex);
    bl_menu_options o = bl_menu_options_default();
    o.equal_grids = true;
    assert_ok(ctx, bl_menu_make(ctx, g, &o, &equal));
    assert_int_equal(equal->n_units, 6);
    assert_unit(equal, g, "a", "a,b,cut,padded", 1, false, 10);
    assert_string_not_equal(m->hash.hex, equal->hash.hex);
    bl_menu_free(equal);
    o = bl_menu_options_default();
    o.equal_concat = o.anchored = true; /* there is neither a Concat nor a gate */
    assert_ok(ctx, bl_menu_make(ctx, g, &o, &equal));
    assert_string_equal(m->hash.hex, equal->hash.hex);
    bl_menu_free(equal);
    o = bl_menu_options_default();
    o.keep_ends = false;
    assert_ok(ctx, bl_menu_make(ctx, g, &o, &equal));
    assert_unit(equal, g, "x", "x", 1, true, 10);
    assert_unit(equal, g, "y", "y", 0, true, 2);
    bl_menu_free(equal);
    bl_menu_free(again);
    bl_menu_free(m);
    bl_graph_free(g);
}

/* On request a Concat has one grid with its parts, and a gate's image of 0 is a code; a join of other
 * kinds keeps its own. */
static void grids_for_runtimes(void **state)
{
    bl_ctx *ctx = *state;
    onnx_build *b = ob_new(ctx, 13);
    ob_input(b, "x", "N,3,4,4");
    ob_floats(b, "w", "3,3,1,1", NULL);
    ob_floats(b, "v", "3,3,1,1", NULL);
    ob_node(b, "Conv", "x,w", "a");
    ob_node(b, "Conv", "x,v", "c");
    ob_node(b, "Sigmoid", "c", "s");
    ob_node(b, "Mul", "a,s", "m");
    ob_int_attr(ob_node(b, "Concat", "m,a", "y"), b, "axis", 1);
    ob_output(b, "y");
    bl_graph *g = tiny_prepared(b);
    bl_menu *m = NULL, *own = NULL;
    bl_menu_options o = bl_menu_options_default();
    assert_ok(ctx, bl_menu_make(ctx, g, NULL, &own));
    o.equal_concat = o.anchored = true;
    assert_ok(ctx, bl_menu_make(ctx, g, &o, &m));
    assert_string_not_equal(m->hash.hex, own->hash.hex);
    assert_int_equal(m->n_units, own->n_units - 2);
    assert_unit(m, g, "a", "a,m,y", 0, true, 1);
    assert_unit(m, g, "s", "s", 0, true, 1);
    assert_true(m->units[bl_menu_find(m, "s")].anchor == 0.5);
    assert_true(own->units[bl_menu_find(own, "s")].anchor == 0);

    bl_value_stats *value = calloc((size_t)g->n_values, sizeof *value);
    assert_non_null(value);
    bl_stats stats = { .n_values = g->n_values, .value = value };
    int s = bl_graph_find_value(g, "s");
    for (int k = 0; k < 40; k++) {
        bl_grid grid, before;
        value[s] = (bl_value_stats){ .lo = 0, .hi = 0.31 + 0.0173 * k, .count = 1 };
        const bl_observer *all = bl_observer_find("minmax");
        assert_ok(ctx, bl_act_grid(ctx, g, &m->units[bl_menu_find(m, "s")], &stats, 8, all, false, &grid));
        assert_ok(ctx, bl_act_grid(ctx, g, &own->units[bl_menu_find(own, "s")], &stats, 8, all, false, &before));
        double code = 0.5 / (double)grid.scale;
        assert_true(fabs(code - rint(code)) < 1e-4);
        assert_true(grid.scale <= before.scale * 1.000001f && grid.scale >= before.scale * (1 - 1 / (float)code));
    }
    free(value);
    bl_menu_free(own);
    bl_menu_free(m);
    bl_graph_free(g);
}

static void candidates_in_order(void **state)
{
    static const char *const names[] = { "W8A8", "W6A8", "W4A8", "W3A8", "W2A8", "W8A4", "W6A4", "W4A4", "W3A4", "W2A4" };
    bl_ctx *ctx = *state;
    bl_graph *g = tiny_prepared(tiny_dense(ctx, false));
    bl_menu *m = NULL;
    char text[16];
    assert_ok(ctx, bl_menu_make(ctx, g, NULL, &m));
    const bl_unit *u = &m->units[bl_menu_find(m, "a")];
    assert_int_equal(u->n_candidates, 10);
    for (int c = 0; c < 10; c++) assert_string_equal(bl_candidate_name(u->candidates[c], text), names[c]);
    bl_menu_free(m);
    bl_menu_options o = { .w_bits = { 4, 8, 4, 8, 1 }, .n_w = 5, .a_bits = { 16, 8, 16 }, .n_a = 3, .keep_ends = true };
    assert_ok(ctx, bl_menu_make(ctx, g, &o, &m));
    u = &m->units[bl_menu_find(m, "a")];
    static const char *const twice[] = { "W8A16", "W4A16", "W1A16", "W8A8", "W4A8", "W1A8" };
    assert_int_equal(u->n_candidates, 6);
    for (int c = 0; c < 6; c++) assert_string_equal(bl_candidate_name(u->candidates[c], text), twice[c]);
    bl_menu_free(m);
    assert_string_equal(bl_candidate_name((bl_candidate){ 0, 16 }, text), "A16");
    static const struct { bl_menu_options o; const char *what; } bad[] = {
        { { .w_bits = { 8 }, .n_w = 0, .a_bits = { 8 }, .n_a = 1 }, "widths" },
        { { .w_bits = { 8 }, .n_w = 1, .a_bits = { 8 }, .n_a = 17 }, "widths" },
        { { .w_bits = { 9 }, .n_w = 1, .a_bits = { 8 }, .n_a = 1 }, "9 bits" },
        { { .w_bits = { 0 }, .n_w = 1, .a_bits = { 8 }, .n_a = 1 }, "0 bits" },
        { { .w_bits = { 8 }, .n_w = 1, .a_bits = { 9 }, .n_a = 1 }, "9 bits" },
        { { .w_bits = { 8 }, .n_w = 1, .a_bits = { -1 }, .n_a = 1 }, "-1 bits" },
        { { .w_bits = { 8 }, .n_w = 1, .a_bits = { 17 }, .n_a = 1 }, "17 bits" } };
    for (size_t i = 0; i < BL_COUNTOF(bad); i++) {
        m = NULL;
        assert_fails(ctx, bl_menu_make(ctx, g, &bad[i].o, &m), BL_USAGE, bad[i].what);
        assert_null(m);
    }
    bl_graph_free(g);
}

/* The first layer is an end also where something stands before it; Softmax's grid is given. */
static void ends_and_given_grids(void **state)
{
    bl_ctx *ctx = *state;
    onnx_build *b = ob_new(ctx, 13);
    ob_input(b, "x", "N,3,4,4");
    for (int i = 0; i < 3; i++) {
        char name[8];
        snprintf(name, sizeof name, "w%d", i);
        ob_floats(b, name, "3,3,1,1", NULL);
    }
    ob_node(b, "Tanh", "x", "scaled");
    ob_node(b, "Conv", "scaled,w0", "a");
    ob_node(b, "Sigmoid", "a", "s");
    ob_node(b, "Conv", "s,w1", "c");
    ob_node(b, "Conv", "c,w2", "d");
    ob_node(b, "Flatten", "d", "flat");
    ob_node(b, "Softmax", "flat", "y");
    ob_output(b, "y");
    bl_graph *g = tiny_prepared(b);
    bl_menu *m = NULL;
    assert_ok(ctx, bl_menu_make(ctx, g, NULL, &m));
    assert_unit(m, g, "x", "x", 0, true, 1);
    assert_unit(m, g, "scaled", "scaled", 1, true, 1);
    assert_unit(m, g, "a", "a", 0, false, 2);
    assert_unit(m, g, "s", "s", 1, false, 10);
    assert_unit(m, g, "c", "c", 1, true, 1);
    assert_unit(m, g, "d", "d,flat", 0, true, 1);
    const bl_unit *u = &m->units[bl_menu_find(m, "y")];
    assert_true(u->fixed_grid);
    bl_grid grid;
    assert_ok(ctx, bl_act_grid(ctx, g, u, NULL, 8, NULL, false, &grid));
    assert_true(grid.scale == 1.0f / 256 && grid.zero == 0 && grid.hi == 255);
    bl_menu_options o = bl_menu_options_default();
    o.keep_ends = false;
    bl_menu_free(m);
    assert_ok(ctx, bl_menu_make(ctx, g, &o, &m));
    assert_int_equal(m->units[bl_menu_find(m, "y")].n_candidates, 1); /* given all the same */
    bl_menu_free(m);
    bl_graph_free(g);
}

/* ------------------------------------------------------------------ STATS */

static char *slurp(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    long n = ftell(f);
    rewind(f);
    char *text = malloc((size_t)n + 1);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, (size_t)n, f), n);
    fclose(f);
    text[n] = 0;
    *size = (size_t)n;
    return text;
}

static void spill(const char *path, const char *text, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    fclose(f);
}

static void stats_count_what_flows(void **state)
{
    (void)state;
    tiny *t = tiny_new_net(2, tiny_residual, 21);
    const bl_value_stats *x = &t->stats->value[t->g->inputs[0]];
    double lo = INFINITY, hi = -INFINITY, sum = 0;
    uint64_t bins[BL_HIST_BINS] = { 0 };
    float sample[108];
    assert_int_equal(t->stats->samples, 21);
    for (int pass = 0; pass < 2; pass++)
        for (int64_t s = 0; s < 21; s++) {
            assert_ok(t->ctx, bl_data_read(t->data, s, 1, sample));
            for (int i = 0; i < 108; i++) {
                if (pass) {
                    int b = (int)((sample[i] - (float)lo) * (float)(BL_HIST_BINS / (hi - lo)));
                    bins[BL_MIN(b, BL_HIST_BINS - 1)]++;
                    continue;
                }
                lo = fmin(lo, (double)sample[i]);
                hi = fmax(hi, (double)sample[i]);
                sum += (double)sample[i];
            }
        }
    assert_int_equal(x->count, 21 * 108);
    assert_true(x->lo == lo && x->hi == hi && fabs(x->mean - sum / (21 * 108)) < 1e-12);
    assert_memory_equal(x->bins, bins, sizeof bins);
    for (int v = 0; v < t->g->n_values; v++) {
        const bl_value_stats *s = &t->stats->value[v];
        bool watched = !t->g->values[v].t.data && t->g->values[v].t.type == BL_F32;
        uint64_t total = 0;
        assert_int_equal(s->count, watched ? 21 * bl_tensor_count(&t->g->values[v].t) : 0);
        for (int b = 0; s->count && b < BL_HIST_BINS; b++) total += s->bins[b];
        assert_int_equal(total, s->count);
        if (s->count) assert_true(s->lo <= s->mean && s->mean <= s->hi && s->mean_square >= s->mean * s->mean * 0.999);
    }
    tiny_free(t);
}

static void stats_bytes_for_any_threads(void **state)
{
    char *first = NULL, path[400];
    size_t n = 0;
    (void)state;
    for (unsigned threads = 1; threads <= 3; threads++) {
        size_t size;
        tiny *t = tiny_new_net(threads, tiny_residual, 53);
        snprintf(path, sizeof path, "%s/stats.json", t->folder);
        assert_ok(t->ctx, bl_stats_write(t->ctx, t->g, t->stats, path));
        char *text = slurp(path, &size);
        if (first) {
            assert_int_equal(size, n);
            assert_memory_equal(text, first, n);
            free(text);
        } else {
            first = text;
            n = size;
        }
        tiny_free(t);
    }
    free(first);
}

typedef struct stats_file { tiny *t; char path[400], copy[400]; char *text; size_t size; } stats_file;

static stats_file stats_written(void)
{
    stats_file f = { .t = tiny_new_net(1, tiny_residual, 5) };
    snprintf(f.path, sizeof f.path, "%s/stats.json", f.t->folder);
    snprintf(f.copy, sizeof f.copy, "%s/copy.json", f.t->folder);
    assert_ok(f.t->ctx, bl_stats_write(f.t->ctx, f.t->g, f.t->stats, f.path));
    f.text = slurp(f.path, &f.size);
    return f;
}

static void stats_there_and_back(void **state)
{
    (void)state;
    stats_file f = stats_written();
    bl_stats *back = NULL;
    size_t n;
    assert_ok(f.t->ctx, bl_stats_read(f.t->ctx, f.t->g, f.path, &back));
    assert_string_equal(back->hash.hex, f.t->stats->hash.hex);
    assert_string_equal(back->data.hex, bl_data_hash(f.t->data).hex);
    for (int v = 0; v < f.t->g->n_values; v++)
        if (back->value[v].count)
            assert_memory_equal(back->value[v].bins, f.t->stats->value[v].bins, BL_HIST_BINS * sizeof(uint64_t));
    assert_ok(f.t->ctx, bl_stats_write(f.t->ctx, f.t->g, back, f.copy));
    char *copy = slurp(f.copy, &n);
    assert_int_equal(n, f.size);
    assert_memory_equal(copy, f.text, n);
    free(copy);
    bl_stats_free(back);
    bl_graph *other = tiny_prepared(tiny_dense(f.t->ctx, false));
    back = NULL;
    assert_fails(f.t->ctx, bl_stats_read(f.t->ctx, other, f.path, &back), BL_DATA, "another network");
    assert_null(back);
    bl_graph_free(other);
    free(f.text);
    tiny_free(f.t);
}

static void stats_damaged(void **state)
{
    (void)state;
    stats_file f = stats_written();
    bl_ctx *ctx = f.t->ctx;
    bl_stats *back = NULL;
    bl_rng r = bl_rng_make(1, "damage", 0);
    for (int i = 0; i < 200; i++) { /* cut off, or one byte another */
        size_t at = (size_t)bl_rng_below(&r, f.size - 2), n = i % 2 ? f.size : at;
        char old = f.text[at];
        f.text[at] = i % 2 ? (char)bl_rng_u64(&r) : old;
        spill(f.copy, f.text, n);
        bool same = n == f.size && f.text[at] == old;
        f.text[at] = old;
        bl_status s = bl_stats_read(ctx, f.t->g, f.copy, &back);
        if (s != BL_OK) assert_int_equal(s, BL_DATA);
        if (s != BL_OK) continue;
        if (!same) assert_string_equal(back->hash.hex, f.t->stats->hash.hex); /* white space */
        bl_stats_free(back);
    }
    free(f.text);
    tiny_free(f.t);
}

/* Nonsense with a right hash. */
static void stats_of_nonsense(void **state)
{
    (void)state;
    stats_file f = stats_written();
    bl_ctx *ctx = f.t->ctx;
    static const struct { const char *key; const char *json; const char *what; } cases[] = {
        { "lo", "1e9", "lo > hi" },         { "lo", "null", "lo" },       { "hi", "\"7\"", "hi" },
        { "count", "0", "count" },          { "count", "-4", "count" },   { "histogram", "[1,-1]", "histogram entry 1" },
        { "histogram", "[1.5]", "histogram" }, { "histogram", "7", "histogram" }, { "name", "\"nobody\"", "nobody" },
        { "mean", "\"\"", "mean" } };
    for (size_t i = 0; i < BL_COUNTOF(cases); i++) {
        json_t *r = NULL;
        bl_hash hash;
        bl_stats *back = NULL;
        assert_ok(ctx, bl_json_read(ctx, f.path, &r));
        json_object_set_new(json_array_get(json_object_get(r, "values"), 2), cases[i].key,
                            json_loads(cases[i].json, JSON_DECODE_ANY, NULL));
        assert_ok(ctx, bl_record_write(ctx, r, f.copy, &hash));
        json_decref(r);
        assert_fails(ctx, bl_stats_read(ctx, f.t->g, f.copy, &back), BL_DATA, cases[i].what);
        assert_null(back);
    }
    free(f.text);
    tiny_free(f.t);
}

static int setup(void **state)
{
    *state = test_ctx(2, 0);
    return 0;
}

static int teardown(void **state)
{
    test_ctx_free(*state);
    return 0;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(minmax_takes_all),
        cmocka_unit_test(percentile_is_the_smallest_cut),
        cmocka_unit_test(mse_is_the_best_of_80),
        cmocka_unit_test(mse_ends_stands_still),
        cmocka_unit_test(entropy_cuts_where_least_is_lost), cmocka_unit_test(cumulative_cuts_as_haq_does),
        cmocka_unit_test(gaussian_suits_gaussians),
        cmocka_unit_test(daq_takes_the_step_of_a_gaussian),
        cmocka_unit_test(weight_clips),
        cmocka_unit_test(ranges_of_codes),
        cmocka_unit_test(scales_of_channels),
        cmocka_unit_test(codes_and_back),
        cmocka_unit_test(fake_array_is_the_rule),
        cmocka_unit_test(units_of_a_residual_network),
        cmocka_unit_test(grids_for_runtimes),
        cmocka_unit_test(candidates_in_order),
        cmocka_unit_test(ends_and_given_grids),
        cmocka_unit_test(stats_count_what_flows),
        cmocka_unit_test(stats_bytes_for_any_threads),
        cmocka_unit_test(stats_there_and_back),
        cmocka_unit_test(stats_damaged),
        cmocka_unit_test(stats_of_nonsense),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
