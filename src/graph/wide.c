/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Loops over whole values, once for each vector width, picked when the program starts: the same bits from all of them.
 * In training they come between oneDNN's convolutions and find their numbers in a near cache.
 */
#include "graph/walk_private.h"

/* Sanitizers start too late for that. */
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define WIDE
#endif

WIDE static void clamp(float *x, int64_t n, float lo, float hi)
{
    for (int64_t i = 0; i < n; i++) { /* a NaN compares false and stays */
        float v = x[i] < lo ? lo : x[i];
        x[i] = v > hi ? hi : v;
    }
}

WIDE static void mask(float *restrict g, const float *restrict y, int64_t n, float lo, float hi)
{
    for (int64_t i = 0; i < n; i++) g[i] = y[i] > lo && y[i] < hi ? g[i] : 0.0f;
}

WIDE static void add(float *restrict to, const float *restrict more, int64_t n)
{
    for (int64_t i = 0; i < n; i++) to[i] += more[i];
}

/* A cloned function is exported whatever its visibility says, so these are not the clones themselves. */
void bl_wide_clamp(float *x, int64_t n, float lo, float hi)
{
    clamp(x, n, lo, hi);
}

void bl_wide_mask(float *restrict g, const float *restrict y, int64_t n, float lo, float hi)
{
    mask(g, y, n, lo, hi);
}

void bl_wide_add(float *restrict to, const float *restrict more, int64_t n)
{
    add(to, more, n);
}
