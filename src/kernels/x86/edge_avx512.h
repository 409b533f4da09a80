/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Quantize [Q1] three planes of real numbers to the bytes of pixels, 64 pixels at a time.  Packing shrinks within 128-bit
 * lanes, so dwords are put in order behind it; then lane l of `part[j]` is what bytes 48 l + 16 j and on of the pixels are.
 */
#ifndef BL_KERNELS_EDGE_AVX512_H
#define BL_KERNELS_EDGE_AVX512_H

#include "kernels/rows.h"

#include <immintrin.h>
#include <math.h>

enum { EDGE_PIXELS = 64, EDGE_FETCH = 1024 /* numbers of a plane: pictures come from the third level, or memory */ };

typedef struct edge_consts {
    __m512 scale, inverse, rest, most; /* most: just above what becomes the upper bound */
    __m512i zero, lo, hi;       /* words; bytes */
} edge_consts;

/* As in requant_avx512.h: large numbers are bounded first, a NaN and all that is below the integers becomes the lowest of them. */
static inline __attribute__((always_inline)) __m512i edge_round(const edge_consts *k, const float *from, bool divide)
{
    __m512 x = _mm512_min_ps(k->most, _mm512_loadu_ps(from));
    return _mm512_cvtps_epi32(divide ? _mm512_div_ps(x, k->scale) : _mm512_fmadd_ps(x, k->inverse, _mm512_mul_ps(x, k->rest)));
}

static inline __attribute__((always_inline)) __m512i edge_codes(const edge_consts *k, const float *from, bool divide)
{
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m512i low = _mm512_packs_epi32(edge_round(k, from, divide), edge_round(k, from + 16, divide));
    __m512i high = _mm512_packs_epi32(edge_round(k, from + 32, divide), edge_round(k, from + 48, divide));
    __m512i codes = _mm512_packus_epi16(_mm512_add_epi16(low, k->zero), _mm512_add_epi16(high, k->zero));
    return _mm512_permutexvar_epi32(order, _mm512_min_epu8(_mm512_max_epu8(codes, k->lo), k->hi));
}

/* Where the bytes of plane c stand in 16 bytes of part j: byte i is of plane (16 j + i) % 3 and pixel (16 j + i) / 3. */
#define EDGE_AT(j, c, i) ((16 * (j) + (i)) % 3 == (c) ? (16 * (j) + (i)) / 3 : -1)
#define EDGE_FOUR(j, c, i) EDGE_AT(j, c, i), EDGE_AT(j, c, i + 1), EDGE_AT(j, c, i + 2), EDGE_AT(j, c, i + 3)
#define EDGE_PART(j, c) {EDGE_FOUR(j, c, 0), EDGE_FOUR(j, c, 4), EDGE_FOUR(j, c, 8), EDGE_FOUR(j, c, 12)}
#define EDGE_PARTS(j) {EDGE_PART(j, 0), EDGE_PART(j, 1), EDGE_PART(j, 2)}
static const int8_t edge_at[3][3][16] = {EDGE_PARTS(0), EDGE_PARTS(1), EDGE_PARTS(2)};

static inline __m512i edge_spread(__m512i codes, int j, int c)
{
    return _mm512_shuffle_epi8(codes, _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)edge_at[j][c])));
}

static inline __attribute__((always_inline)) size_t edge_three_blocks(const float *from, int64_t plane, size_t n, const edge_consts *k,
                                                                      uint8_t *to, bool divide)
{
    const __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 0, 0, 2, 3), first_c = _mm512_setr_epi64(0, 1, 2, 3, 8, 9, 6, 7);
    const __m512i second = _mm512_setr_epi64(2, 3, 10, 11, 0, 0, 4, 5), second_c = _mm512_setr_epi64(0, 1, 2, 3, 12, 13, 6, 7);
    const __m512i third = _mm512_setr_epi64(4, 5, 14, 15, 0, 0, 6, 7), third_c = _mm512_setr_epi64(0, 1, 2, 3, 14, 15, 6, 7);
    size_t i = 0;
    for (; i + EDGE_PIXELS <= n; i += EDGE_PIXELS, from += EDGE_PIXELS, to += 3 * EDGE_PIXELS) {
#pragma GCC unroll 3
        for (int c = 0; c < 3; c++)
            for (int at = 0; at < EDGE_PIXELS; at += 16) _mm_prefetch(from + c * plane + EDGE_FETCH + at, _MM_HINT_T0);
        __m512i a = edge_codes(k, from, divide), b = edge_codes(k, from + plane, divide), c = edge_codes(k, from + 2 * plane, divide), part[3];
#pragma GCC unroll 3
        for (int j = 0; j < 3; j++)
            part[j] = _mm512_or_si512(_mm512_or_si512(edge_spread(a, j, 0), edge_spread(b, j, 1)), edge_spread(c, j, 2));
        __m512i x = _mm512_permutex2var_epi64(part[0], first, part[1]); /* parts 0 1 . 0 of lanes 0 0 . 1 */
        _mm512_storeu_si512(to, _mm512_permutex2var_epi64(x, first_c, part[2]));
        x = _mm512_permutex2var_epi64(part[1], second, part[2]);        /* parts 1 2 . 1 of lanes 1 1 . 2 */
        _mm512_storeu_si512(to + 64, _mm512_permutex2var_epi64(x, second_c, part[0]));
        x = _mm512_permutex2var_epi64(part[2], third, part[0]);         /* parts 2 0 . 2 of lanes 2 3 . 3 */
        _mm512_storeu_si512(to + 128, _mm512_permutex2var_epi64(x, third_c, part[1]));
    }
    return i;
}

/* The first n of the planes' numbers, as many as are whole blocks; `plane`: from plane to plane.  Returns how many. */
static inline size_t edge_three_direct(const bl_edge_args *a, const float *from, int64_t plane, size_t n, uint8_t *to)
{
    const bl_grid g = a->g;
    float most = (float)(g.hi - g.zero + 1) * g.scale;
    if (!(most < INFINITY)) return 0;
    edge_consts k = {_mm512_set1_ps(g.scale), _mm512_set1_ps(a->inverse), _mm512_set1_ps(a->rest), _mm512_set1_ps(most),
                     _mm512_set1_epi16((short)g.zero), _mm512_set1_epi8((char)g.lo), _mm512_set1_epi8((char)g.hi)};
    return a->inverse == 0 ? edge_three_blocks(from, plane, n, &k, to, true) : edge_three_blocks(from, plane, n, &k, to, false);
}

#endif
