/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The estimator "cumulative": HAQ's clipping (arXiv 1811.08886, as its code has it).  The cumulative distribution P of
 * |x| over numpy's square-root bins is cut after i of them, drawn through 2^(b-1) equidistant points and back, and the
 * cut is taken where the Jeffreys divergence sum (P - q) log2(P / q) is least.  From 5 bits on nothing is cut; values
 * are cut at 6 at most, for the ReLU6 networks that it was made for.
 */
#include "quant/cumulative.h"

#include <string.h>

enum { CUT_BELOW_BITS = 5 };
#define MOST_OF_VALUES 6.0
#define LEAST_SHARE 1e-12

/* y at n equidistant places of a line through m equidistant points. */
static void redraw(const double *y, int m, double *out, int n)
{
    for (int i = 0; i < n; i++) {
        double at = n > 1 ? (double)i * (m - 1) / (n - 1) : 0;
        int k = BL_MIN((int)at, m - 2);
        out[i] = m > 1 ? y[k] + (y[k + 1] - y[k]) * (at - k) : y[0];
    }
}

double bl_cumulative_cut(const double *counts, int bins, double most, int bits)
{
    double P[BL_HIST_BINS], p[BL_HIST_BINS], few[BL_HIST_BINS], q[BL_HIST_BINS], sum = 0, total = 0, best = INFINITY, cut = most;
    int levels = 1 << (bits - 1);

    if (levels + 1 > bins) return most;
    for (int i = 0; i < bins; i++) total += counts[i];
    for (int i = 0; i < bins; i++) P[i] = (sum += counts[i]) / total;
    for (int i = levels + 1; i <= bins; i++) {
        double d = 0;
        memcpy(p, P, (size_t)i * sizeof *p);
        p[i - 1] = 1;
        redraw(p, i, few, levels);
        redraw(few, levels, q, i);
        for (int j = 0; j < bins; j++) {
            double to = j < i ? fmax(q[j], LEAST_SHARE) : 1;
            if (P[j] > 0) d += (P[j] - to) * log2(P[j] / to);
        }
        if (d < best) {
            best = d;
            cut = (i + 0.5) * most / bins;
        }
    }
    return fmin(cut, most);
}

/* numpy's "sqrt": bins of the width range / sqrt(n), over [0, most]. */
int bl_cumulative_bins(double least, double most, double n)
{
    double bins = most > least ? ceil(most / ((most - least) / sqrt(n))) : 1;
    return (int)fmax(1, fmin(bins, BL_HIST_BINS));
}

void bl_cumulative_range(const bl_value_stats *s, int bits, double *lo, double *hi)
{
    double counts[BL_HIST_BINS] = {0}, most = fmax(fabs(s->lo), fabs(s->hi)), width = (s->hi - s->lo) / BL_HIST_BINS;
    double cut = fmin(most, MOST_OF_VALUES);

    if (bits < CUT_BELOW_BITS && most > 0) {
        double least = s->lo > 0 ? s->lo : s->hi < 0 ? -s->hi : 0;
        int bins = bl_cumulative_bins(least, most, (double)s->count);
        for (int i = 0; i < BL_HIST_BINS; i++) {
            int b = (int)(fabs(s->lo + width * (i + 0.5)) / most * bins);
            counts[BL_MIN(b, bins - 1)] += (double)s->bins[i];
        }
        cut = fmin(cut, bl_cumulative_cut(counts, bins, most, bits));
    }
    *lo = fmax(fmin(s->lo, 0), -cut);
    *hi = fmin(fmax(s->hi, 0), cut);
}

double bl_cumulative_clip(const float *w, size_t n, size_t step, int bits, bool narrow)
{
    double counts[BL_HIST_BINS] = {0}, most = 0, least = INFINITY;

    (void)narrow;
    for (size_t i = 0; i < n; i++) {
        most = fmax(most, fabs((double)w[i * step]));
        least = fmin(least, fabs((double)w[i * step]));
    }
    if (bits >= CUT_BELOW_BITS || !(most > 0)) return most;
    int bins = bl_cumulative_bins(least, most, (double)n);
    for (size_t i = 0; i < n; i++) counts[BL_MIN((int)(fabs((double)w[i * step]) / most * bins), bins - 1)]++;
    return bl_cumulative_cut(counts, bins, most, bits);
}
