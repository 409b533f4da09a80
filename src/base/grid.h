/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The one definition of scale and rounding.  Rules [Q1], [Q2], [Q3] of docs/arithmetic.md; every
 * place that turns a real number into a code or back goes through here.  Compile with
 * -ffp-contract=off and never with -ffast-math: each written operation rounds once to binary32.
 */
#ifndef BL_GRID_H
#define BL_GRID_H

#include <math.h>
#include <stdint.h>

#ifdef __FAST_MATH__
#error "bitlathe's rounding rules do not hold under -ffast-math"
#endif

/* Codes lo..hi stand for scale * (code - zero). */
typedef struct bl_grid {
    float scale;
    int32_t zero, lo, hi;
} bl_grid;

/* Nearest integer, ties to even, for |t| < 2^22: adding 1.5 * 2^23 leaves no fraction bits.  Plain
 * additions, so compilers vectorize it where rintf() would be a call. */
static inline float bl_rne_f32(float t)
{
    const float magic = 12582912.0f;
    return (t + magic) - magic;
}

/* [Q1]: f(x / s), clamp, round half to even, then the zero point.  NaN gives lo. */
static inline int32_t bl_quantize(float x, bl_grid g)
{
    float t = x / g.scale;
    float lo = (float)(g.lo - g.zero), hi = (float)(g.hi - g.zero);
    t = t > lo ? t : lo; /* a NaN compares false: lo */
    t = t < hi ? t : hi;
    return (int32_t)bl_rne_f32(t) + g.zero;
}

/* [Q2]: f( f(q - z) * s ). */
static inline float bl_dequantize(int32_t q, bl_grid g)
{
    return (float)(q - g.zero) * g.scale;
}

/* Fake quantization: [Q2] of [Q1]. */
static inline float bl_fake_quantize(float x, bl_grid g)
{
    return bl_dequantize(bl_quantize(x, g), g);
}

/* [Q3]: one output code from an exact accumulator; m = f( f(sx*sw) / sy ); lo and hi already hold
 * the fused activation's bounds. */
static inline int32_t bl_requantize_f32(float acc, float m, int32_t zero, int32_t lo, int32_t hi)
{
    float t = acc * m;
    float tlo = (float)(lo - zero), thi = (float)(hi - zero);
    t = t > tlo ? t : tlo;
    t = t < thi ? t : thi;
    return (int32_t)bl_rne_f32(t) + zero;
}

#endif
