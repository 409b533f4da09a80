/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Quantizing without division.  A reciprocal in two parts leaves x / s wrong by 2^-23 of its last place before it is rounded.  The
 * rounded quotient can then only be another where the true one lies that near to the middle of two numbers, and the code only where
 * these are half an integer and its neighbour: what lies there is tried, and a scale that fails divides.
 */
#include "kernels/kernels.h"

#include <math.h>

enum { INVERSE_AROUND = 8 }; /* numbers on either side of a border between codes: its quotient's last place is at most two of theirs */

static float quotient(float x, float inverse, float rest)
{
    return fmaf(x, inverse, x * rest);
}

static bool same_codes(bl_grid g, float inverse, float rest)
{
    for (int32_t q = g.lo; q < g.hi; q++) {
        float x = ((float)(q - g.zero) + 0.5f) * g.scale;
        for (int i = 0; i < INVERSE_AROUND; i++) x = nextafterf(x, -INFINITY);
        for (int i = 0; i <= 2 * INVERSE_AROUND; i++, x = nextafterf(x, INFINITY))
            if (bl_rne_f32(quotient(x, inverse, rest)) != bl_rne_f32(x / g.scale)) return false;
    }
    return true;
}

void bl_edge_inverse(bl_grid g, float *inverse, float *rest)
{
    *inverse = *rest = 0;
    if (!(g.scale > 0x1p-80f && g.scale < 0x1p80f) || g.lo < 0 || g.hi > 255 || g.zero < 0 || g.zero > 255) return;
    float near = 1 / g.scale, left = fmaf(-near, g.scale, 1) / g.scale;
    if (!same_codes(g, near, left)) return;
    *inverse = near;
    *rest = left;
}
