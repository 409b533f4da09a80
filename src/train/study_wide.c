/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Loops over all values of a network that are run in every step on grids, once for each vector width, picked when the program starts:
 * the same bits from all of them.  Sums go in eight lanes of their own: one after another additions would wait for each other.
 */
#include "train/study.h"

/* Sanitizers start too late for that. */
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define WIDE
#endif

enum { LANES = 8 };

WIDE static void slopes(const float *restrict x, const float *restrict g, int64_t n, float scale, float lo, float hi, double share,
                        double *restrict learned)
{
    double sum[LANES] = {0};
    int64_t k = 0;

    for (; k + LANES <= n; k += LANES)
        for (int i = 0; i < LANES; i++) {
            float v = x[k + i] / scale, inside = bl_rne_f32(v) - v; /* exact, as in binary64 */
            float slope = v < lo ? lo : v > hi ? hi : inside;
            sum[i] += (double)g[k + i] * (double)slope;
        }
    for (; k < n; k++) {
        float v = x[k] / scale, slope = v < lo ? lo : v > hi ? hi : bl_rne_f32(v) - v;
        sum[0] += (double)g[k] * (double)slope;
    }
    for (int i = 0; i < LANES; i++) *learned += sum[i] * share;
}

WIDE static void inside(const float *restrict x, float *restrict g, int64_t n, float scale, float lo, float hi)
{
    for (int64_t k = 0; k < n; k++) {
        float v = x[k] / scale;
        g[k] = v < lo || v > hi ? 0 : g[k];
    }
}

WIDE static void between(const float *restrict x, float *restrict g, int64_t n, float lo, float hi)
{
    for (int64_t k = 0; k < n; k++) g[k] = x[k] > lo && x[k] < hi ? g[k] : 0;
}

WIDE static void squares(const float *restrict a, const float *restrict b, int64_t n, double *restrict signal, double *restrict noise)
{
    double s[LANES] = {0}, e[LANES] = {0};
    int64_t k = 0;

    for (; k + LANES <= n; k += LANES)
        for (int i = 0; i < LANES; i++) {
            double t = b[k + i], d = (double)a[k + i] - t;
            s[i] += t * t;
            e[i] += d * d;
        }
    for (; k < n; k++) {
        s[0] += (double)b[k] * b[k];
        e[0] += ((double)a[k] - b[k]) * ((double)a[k] - b[k]);
    }
    for (int i = 0; i < LANES; i++) {
        *signal += s[i];
        *noise += e[i];
    }
}

WIDE static void pull(const float *restrict a, const float *restrict b, int64_t n, float weight, float *restrict g)
{
    for (int64_t k = 0; k < n; k++) g[k] += weight * (a[k] - b[k]);
}

/* A cloned function is exported whatever its visibility says, so these are not the clones themselves. */
void bl_wide_slopes(const float *x, const float *g, int64_t n, float scale, float lo, float hi, double share, double *learned)
{
    slopes(x, g, n, scale, lo, hi, share, learned);
}

void bl_wide_inside(const float *x, float *g, int64_t n, float scale, float lo, float hi)
{
    inside(x, g, n, scale, lo, hi);
}

void bl_wide_between(const float *x, float *g, int64_t n, float lo, float hi)
{
    between(x, g, n, lo, hi);
}

void bl_wide_squares(const float *a, const float *b, int64_t n, double *signal, double *noise)
{
    squares(a, b, n, signal, noise);
}

void bl_wide_pull(const float *a, const float *b, int64_t n, float weight, float *g)
{
    pull(a, b, n, weight, g);
}
