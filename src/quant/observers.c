/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Range estimators of activations (from a histogram) and of weights (from the numbers themselves).
 * Sources: algorithms of LAPQ/BRECQ (80 shrink steps, norm 2.4), HAWQ (percentile), TensorRT (entropy), ACIQ
 * (arXiv 1810.05723: where a uniform grid of b bits clips a Gaussian with the least squared error).
 */
#include "quant/cumulative.h"

#include <string.h>

static double bin_centre(const bl_value_stats *s, int i)
{
    return s->lo + (s->hi - s->lo) * (i + 0.5) / BL_HIST_BINS;
}

static void include_zero(double *lo, double *hi)
{
    if (*lo > 0) *lo = 0;
    if (*hi < 0) *hi = 0;
}

/* ---- minmax */

static void minmax_range(const bl_value_stats *s, int bits, double *lo, double *hi)
{
    (void)bits;
    *lo = s->lo;
    *hi = s->hi;
    include_zero(lo, hi);
}

static double minmax_clip(const float *w, size_t n, size_t step, int bits, bool narrow)
{
    (void)bits, (void)narrow;
    float m = 0;
    for (size_t i = 0; i < n; i++) m = fmaxf(m, fabsf(w[i * step]));
    return m;
}

/* ---- percentile */

static void percentile_range(const bl_value_stats *s, int bits, double *lo, double *hi)
{
    (void)bits;
    double p = 99.99;
    uint64_t above = (uint64_t)llround((double)s->count * (100 - p) / 100), seen = 0;
    int top = BL_HIST_BINS - 1, bottom = 0;
    while (top > 0 && seen + s->bins[top] <= above) seen += s->bins[top--];
    if (s->lo < 0) {
        seen = 0;
        while (bottom < top && seen + s->bins[bottom] <= above) seen += s->bins[bottom++];
    }
    double width = (s->hi - s->lo) / BL_HIST_BINS;
    *hi = s->lo + width * (top + 1);
    *lo = s->lo + width * bottom;
    include_zero(lo, hi);
}

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* The k-th smallest |w|, k = round(n p / 100) [HAWQ].  n is a slice of one layer's weight; sorted in
 * place on a bounded copy: slices above 2^20 elements keep their greatest value. */
static double percentile_clip(const float *w, size_t n, size_t step, int bits, bool narrow)
{
    size_t k = (size_t)llround((double)n * 0.9999);
    if (k >= n || n > (1u << 20)) return minmax_clip(w, n, step, bits, narrow);
    float *copy = malloc(n * sizeof *copy);
    if (!copy) return minmax_clip(w, n, step, bits, narrow);
    for (size_t i = 0; i < n; i++) copy[i] = fabsf(w[i * step]);
    qsort(copy, n, sizeof *copy, ascending);
    double c = copy[k ? k - 1 : 0];
    free(copy);
    return c;
}

/* ---- mse */

static double range_error(const bl_value_stats *s, int bits, double lo, double hi)
{
    double levels = (double)((1u << bits) - 1), scale = (hi - lo) / levels;
    if (!(scale > 0)) return INFINITY;
    double zero = nearbyint(-lo / scale), error = 0;
    for (int i = 0; i < BL_HIST_BINS; i++) {
        if (!s->bins[i]) continue;
        double x = bin_centre(s, i), q = nearbyint(x / scale) + zero;
        q = q < 0 ? 0 : q > levels ? levels : q;
        double e = x - scale * (q - zero);
        error += e * e * (double)s->bins[i];
    }
    return error;
}

static void mse_range(const bl_value_stats *s, int bits, double *lo, double *hi)
{
    double full_lo, full_hi, best = INFINITY;
    minmax_range(s, bits, &full_lo, &full_hi);
    *lo = full_lo;
    *hi = full_hi;
    for (int i = 0; i < 80; i++) {
        double k = 1 - 0.01 * i, e = range_error(s, bits, k * full_lo, k * full_hi);
        if (e < best) {
            best = e;
            *lo = k * full_lo;
            *hi = k * full_hi;
        }
    }
}

/* A one-sided tail, as hard-swish leaves it, must not drag the other end along: each end in turn, the
 * other one held, twice. */
static void mse_ends_range(const bl_value_stats *s, int bits, double *lo, double *hi)
{
    double full_lo, full_hi;
    mse_range(s, bits, lo, hi);
    minmax_range(s, bits, &full_lo, &full_hi);
    double best = range_error(s, bits, *lo, *hi);
    for (int turn = 0; turn < 4; turn++)
        for (int i = 0; i < 80; i++) {
            double k = 1 - 0.01 * i, a = turn % 2 ? *lo : k * full_lo, b = turn % 2 ? k * full_hi : *hi;
            double e = range_error(s, bits, a, b);
            if (e < best) {
                best = e;
                *lo = a;
                *hi = b;
            }
        }
}

static float weight_error(const float *w, size_t n, size_t step, float scale, float lo, float hi)
{
    float error = 0;
    for (size_t i = 0; i < n; i++) {
        float t = w[i * step] / scale;
        t = t > lo ? t : lo;
        t = t < hi ? t : hi;
        float e = fabsf(w[i * step] - scale * bl_rne_f32(t));
        if (e > 0) error += powf(e, 2.4f);
    }
    return error;
}

static double mse_clip(const float *w, size_t n, size_t step, int bits, bool narrow)
{
    int32_t lo, hi;
    double full = minmax_clip(w, n, step, bits, narrow), best_clip = full;
    float best = INFINITY;
    bl_weight_code_range(bits, narrow, &lo, &hi);
    for (int i = 0; i < 80 && full > 0; i++) {
        double clip = full * (1 - 0.01 * i);
        float scale = (float)(clip / ((1 << (bits - 1)) - 1));
        if (!(scale > 1e-8f)) break;
        float e = weight_error(w, n, step, scale, (float)lo, (float)hi);
        if (e < best) {
            best = e;
            best_clip = clip;
        }
    }
    return best_clip;
}

static double mse_ends_clip(const float *w, size_t n, size_t step, int bits, bool narrow)
{
    return mse_clip(w, n, step, bits, narrow); /* weights are symmetric: one end */
}

/* ---- entropy */

enum { ENTROPY_STEP = 8, ENTROPY_FIRST = 128 };
#define ENTROPY_SMOOTH 1e-4

/* Zero bins get a little of the others, so that the divergence is finite; then a distribution. */
static void smooth(double *p, int n)
{
    int zeros = 0;
    double sum = 0;
    for (int i = 0; i < n; i++) zeros += p[i] == 0;
    double taken = zeros < n ? ENTROPY_SMOOTH * zeros / (n - zeros) : 0;
    for (int i = 0; i < n; i++) sum += p[i] = p[i] == 0 ? ENTROPY_SMOOTH : fmax(p[i] - taken, ENTROPY_SMOOTH);
    for (int i = 0; i < n; i++) p[i] /= sum;
}

/* KL(P || Q): P the first n bins with all others in the last, Q the same bins seen through `levels` chunks. */
static double divergence(const double *h, int n, int levels, double beyond)
{
    double p[BL_HIST_BINS], q[BL_HIST_BINS], kl = 0;
    memcpy(p, h, (size_t)n * sizeof *p);
    p[n - 1] += beyond;
    for (int c = 0; c < levels; c++) {
        int from = (int)((int64_t)c * n / levels), to = (int)((int64_t)(c + 1) * n / levels), filled = 0;
        double sum = 0;
        for (int i = from; i < to; i++) {
            sum += h[i];
            filled += h[i] > 0;
        }
        for (int i = from; i < to; i++) q[i] = h[i] > 0 ? sum / filled : 0;
    }
    smooth(p, n);
    smooth(q, n);
    for (int i = 0; i < n; i++) kl += p[i] * log(p[i] / q[i]);
    return kl;
}

/* Where |x|, as a histogram over [0, most], is cut with the least divergence. */
static double entropy_cut(const double *h, double most, int levels)
{
    double beyond = 0, best = INFINITY, cut = most;
    for (int n = BL_HIST_BINS; n >= BL_MAX(ENTROPY_FIRST, levels); n -= ENTROPY_STEP) {
        double kl = divergence(h, n, levels, beyond);
        if (kl < best) {
            best = kl;
            cut = fmin(most, (n + 0.5) * most / BL_HIST_BINS);
        }
        for (int i = n - ENTROPY_STEP; i < n; i++) beyond += h[i];
    }
    return cut;
}

static void entropy_range(const bl_value_stats *s, int bits, double *lo, double *hi)
{
    double h[BL_HIST_BINS] = { 0 }, most = fmax(fabs(s->lo), fabs(s->hi));
    minmax_range(s, bits, lo, hi);
    if (bits > 8 || !(most > 0)) return;
    for (int i = 0; i < BL_HIST_BINS; i++) {
        int b = (int)(fabs(bin_centre(s, i)) / most * BL_HIST_BINS);
        h[BL_MIN(b, BL_HIST_BINS - 1)] += (double)s->bins[i];
    }
    double cut = entropy_cut(h, most, BL_MAX(2, s->lo < 0 ? 1 << (bits - 1) : 1 << bits));
    *lo = fmax(*lo, -cut);
    *hi = fmin(*hi, cut);
}

/* Few numbers have no density: slices of less than two a bin keep their greatest value. */
static double entropy_clip(const float *w, size_t n, size_t step, int bits, bool narrow)
{
    double h[BL_HIST_BINS] = { 0 }, most = minmax_clip(w, n, step, bits, narrow);
    if (n < 2 * BL_HIST_BINS || !(most > 0)) return most;
    for (size_t i = 0; i < n; i++) {
        int b = (int)(fabs((double)w[i * step]) / most * BL_HIST_BINS);
        h[BL_MIN(b, BL_HIST_BINS - 1)]++;
    }
    return entropy_cut(h, most, BL_MAX(2, 1 << (bits - 1)));
}

/* ---- gaussian */

/* Clipping level of 2^bits steps over both sides, in deviations; 9 serves one side of 8. */
static double gaussian_level(int bits)
{
    static const double level[] = { 0, 1.24, 1.71, 2.15, 2.55, 2.93, 3.28, 3.61, 3.92, 4.2 };
    return bits < (int)BL_COUNTOF(level) ? level[bits] : INFINITY;
}

/* Values of one sign are half of a Gaussian around 0. */
static void gaussian_range(const bl_value_stats *s, int bits, double *lo, double *hi)
{
    double mean = s->mean, deviation = sqrt(fmax(s->mean_square - mean * mean, 0)), k = gaussian_level(bits);
    minmax_range(s, bits, lo, hi);
    if (*lo == 0 || *hi == 0) {
        mean = 0;
        deviation = sqrt(s->mean_square);
        k = gaussian_level(bits + 1);
    }
    if (!isfinite(k) || !(deviation > 0)) return;
    *lo = fmax(*lo, fmin(mean - k * deviation, 0));
    *hi = fmin(*hi, fmax(mean + k * deviation, 0));
}

static double gaussian_clip(const float *w, size_t n, size_t step, int bits, bool narrow)
{
    double square = 0, most = minmax_clip(w, n, step, bits, narrow);
    for (size_t i = 0; i < n; i++) square += (double)w[i * step] * w[i * step];
    double clip = gaussian_level(bits) * sqrt(square / (double)BL_MAX(n, 1));
    return clip > 0 ? fmin(clip, most) : most;
}

/* ---- cumulative: cumulative.c */

static void cumulative_range(const bl_value_stats *s, int bits, double *lo, double *hi)
{
    bl_cumulative_range(s, bits, lo, hi);
}

static double cumulative_clip(const float *w, size_t n, size_t step, int bits, bool narrow)
{
    return bl_cumulative_clip(w, n, step, bits, narrow);
}

/* ---- daq: DAQ (arXiv 2012.11230) with its grids fixed after calibration */

/* Step with the least squared error for a Gaussian of deviation 1. */
static double daq_step(int bits)
{
    static const double step[] = { 0, 1.596, 0.996, 0.586, 0.335, 0.188, 0.104, 0.057, 0.031 };
    return bits < (int)BL_COUNTOF(step) ? step[bits] : INFINITY;
}

/* Around the mean; behind Relu the deviation is that of the positive values, and the grid begins at 0. */
static void daq_range(const bl_value_stats *s, int bits, double *lo, double *hi)
{
    double step = daq_step(bits), half = (1 << (bits - 1)) - 0.5, count = 1, sum = 0, square = 0;
    minmax_range(s, bits, lo, hi);
    if (!isfinite(step)) return;
    if (s->lo < 0) {
        double deviation = sqrt(fmax(s->mean_square - s->mean * s->mean, 0));
        if (!(deviation > 0)) return;
        *lo = fmax(*lo, fmin(s->mean - half * step * deviation, 0));
        *hi = fmin(*hi, fmax(s->mean + half * step * deviation, 0));
        return;
    }
    for (int i = 1; i < BL_HIST_BINS; i++) { /* the first bin has the zeros */
        double x = bin_centre(s, i), n = (double)s->bins[i];
        count += n;
        sum += n * x;
        square += n * x * x;
    }
    double deviation = sqrt(fmax(square / count - sum / count * (sum / count), 0));
    if (deviation > 0) *hi = fmin(*hi, 2 * half * step * deviation);
}

static double daq_clip(const float *w, size_t n, size_t step, int bits, bool narrow)
{
    double square = 0, most = minmax_clip(w, n, step, bits, narrow);
    for (size_t i = 0; i < n; i++) square += (double)w[i * step] * w[i * step];
    double clip = BL_MAX((1 << (bits - 1)) - 1, 1) * daq_step(bits) * sqrt(square / (double)BL_MAX(n, 1));
    return clip > 0 ? fmin(clip, most) : most;
}

/* ---- auto: what stands in where nobody has measured (bl_ranges_choose) */

static void automatic_range(const bl_value_stats *s, int bits, double *lo, double *hi)
{
    mse_ends_range(s, bits, lo, hi);
}

static double automatic_clip(const float *w, size_t n, size_t step, int bits, bool narrow)
{
    return mse_clip(w, n, step, bits, narrow);
}

#define X(symbol, label, by_output, text)                                                         \
    static const bl_observer observer_##symbol = { .name = label, .help = text, .measured = by_output, \
                                                   .fallback = by_output ? mse_ends_range : NULL, \
                                                   .range = symbol##_range, .clip = symbol##_clip };
#include "quant/observers.def"
#undef X

const bl_observer *const bl_observers[] = {
#define X(symbol, label, by_output, text) &observer_##symbol,
#include "quant/observers.def"
#undef X
};
const size_t bl_n_observers = BL_COUNTOF(bl_observers);

const bl_observer *bl_observer_find(const char *name)
{
    for (size_t i = 0; i < bl_n_observers; i++)
        if (!strcmp(bl_observers[i]->name, name)) return bl_observers[i];
    return NULL;
}
