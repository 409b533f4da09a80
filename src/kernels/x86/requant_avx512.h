/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * [Q3] for 16 sums at a time.  t = f(acc) m; the upper bound is taken in binary32, as the
 * conversion to int32 has no large values; then the integer, the zero point and the lower bound.
 * Rounding is monotone and the bounds are integers, so this order gives the rule's codes, for
 * infinities and NaN (the lower bound) too: min(bound, t) hands on a NaN, which converts to
 * INT32_MIN, as everything below does.
 *
 * Four vectors shrink together to 64 bytes.  vpackssdw and vpackuswb work within 128-bit lanes, so
 * the bytes come out in order when vector z holds channels 16 l + 4 z + i in element 4 l + i; two
 * vectors shrink to 32 bytes when it is 8 l + 4 z + i.
 */
#ifndef BL_KERNELS_REQUANT_AVX512_H
#define BL_KERNELS_REQUANT_AVX512_H

#include "kernels/kernels.h"

#include <immintrin.h>
#include <string.h>

typedef struct requant {
    __m512 most;                    /* hi - zero */
    __m512i zero16, lo16, zero32, lo32, lo8, hi8;
} requant;

static inline requant requant_of(const bl_conv_args *a)
{
    requant q;
    q.most = _mm512_set1_ps((float)(a->hi - a->zero_out));
    q.zero32 = _mm512_set1_epi32(a->zero_out);
    q.lo32 = _mm512_set1_epi32(a->lo);
    q.zero16 = _mm512_set1_epi16((short)a->zero_out);
    q.lo16 = _mm512_set1_epi16((short)a->lo);
    q.lo8 = _mm512_set1_epi8((char)a->lo);
    q.hi8 = _mm512_set1_epi8((char)a->hi); /* of outputs of 8 bits */
    return q;
}

/* What the way from sums to 8-bit codes may leave out.  BARE: the zero point is 0, all codes are allowed and no t reaches 2^31, so
 * that what the packs saturate is all there is to do.  FAST: t and the zero point fit 16 bits, and bounds are taken in bytes.
 * SURE: anything; t is bounded in binary32.  Saturating additions are not used: Zen 4 does them where it multiplies. */
enum { REQUANT_BARE, REQUANT_FAST, REQUANT_SURE, REQUANT_KINDS };

/* |acc| <= K max|q - z| max|w| + max|bias|, with slack for roundings. */
static inline int requant_kind(const bl_conv_args *a)
{
    const bl_conv_shape *s = &a->s;
    double reach = (double)s->kernel_h * s->kernel_w * (s->in_c / s->groups) * (1 << s->in_bits) * (1 << s->weight_bits);
    __m512i mult = _mm512_setzero_si512(), bias = mult; /* magnitudes; those of binary32 are ordered as integers */
    for (int32_t c = 0; c < s->out_c; c += 16) {
        __mmask16 mask = s->out_c - c >= 16 ? 0xffff : (__mmask16)((1u << (s->out_c - c)) - 1);
        __m512i m = _mm512_maskz_loadu_epi32(mask, a->mult + c);
        mult = _mm512_max_epu32(mult, _mm512_and_si512(m, _mm512_set1_epi32(0x7fffffff)));
        bias = _mm512_max_epu32(bias, _mm512_abs_epi32(_mm512_maskz_loadu_epi32(mask, a->bias + c)));
    }
    uint32_t bits = _mm512_reduce_max_epu32(mult);
    float most;
    memcpy(&most, &bits, sizeof most);
    reach = (reach + _mm512_reduce_max_epu32(bias)) * most;
    if (bits >= 0x7f000000) return REQUANT_SURE;
    if (reach < 0x7f000000 && a->zero_out == 0 && a->lo == 0 && a->hi == 255) return REQUANT_BARE;
    return reach < 0x7e00 ? REQUANT_FAST : REQUANT_SURE;
}

static inline __m512i requant_round(const requant *q, __m512 acc, const float *mult)
{
    return _mm512_cvtps_epi32(_mm512_min_ps(q->most, _mm512_mul_ps(acc, _mm512_loadu_ps(mult))));
}

static inline __m512i requant_int(const requant *q, __m512i acc, const float *mult)
{
    return requant_round(q, _mm512_cvtepi32_ps(acc), mult);
}

/* 64 codes of 8 bits in the order of the vectors' lanes: four of a, four of b, of c, of d, then the next lanes. */
static inline __attribute__((always_inline)) __m512i requant_codes64(const requant *q, int kind, __m512i a, __m512i b,
                                                                     __m512i c, __m512i d, __m512 ma, __m512 mb,
                                                                     __m512 mc, __m512 md)
{
    __m512 ta = _mm512_mul_ps(_mm512_cvtepi32_ps(a), ma), tb = _mm512_mul_ps(_mm512_cvtepi32_ps(b), mb);
    __m512 tc = _mm512_mul_ps(_mm512_cvtepi32_ps(c), mc), td = _mm512_mul_ps(_mm512_cvtepi32_ps(d), md);
    if (kind == REQUANT_SURE) {
        ta = _mm512_min_ps(q->most, ta);
        tb = _mm512_min_ps(q->most, tb);
        tc = _mm512_min_ps(q->most, tc);
        td = _mm512_min_ps(q->most, td);
    }
    __m512i low = _mm512_packs_epi32(_mm512_cvtps_epi32(ta), _mm512_cvtps_epi32(tb));
    __m512i high = _mm512_packs_epi32(_mm512_cvtps_epi32(tc), _mm512_cvtps_epi32(td));
    if (kind == REQUANT_BARE) return _mm512_packus_epi16(low, high);
    low = _mm512_add_epi16(low, q->zero16);
    high = _mm512_add_epi16(high, q->zero16);
    __m512i codes = _mm512_max_epu8(_mm512_packus_epi16(low, high), q->lo8);
    return kind == REQUANT_SURE ? codes : _mm512_min_epu8(codes, q->hi8);
}

/* n of 64, 32, 16 codes of 8 bits from 4, 2, 1 vectors; mult in the order of the vectors. */
static inline void requant_store64(const requant *q, __m512i a, __m512i b, __m512i c, __m512i d,
                                   const float *mult, uint8_t *out, size_t n)
{
    __m512i low = _mm512_packs_epi32(requant_int(q, a, mult), requant_int(q, b, mult + 16));
    __m512i high = _mm512_packs_epi32(requant_int(q, c, mult + 32), requant_int(q, d, mult + 48));
    low = _mm512_add_epi16(low, q->zero16);
    high = _mm512_add_epi16(high, q->zero16);
    __m512i codes = _mm512_max_epu8(_mm512_packus_epi16(low, high), q->lo8);
    if (n >= 64)
        _mm512_storeu_si512(out, codes);
    else
        _mm512_mask_storeu_epi8(out, (1ull << n) - 1, codes);
}

static inline void requant_store32(const requant *q, __m512i a, __m512i b, const float *mult,
                                   uint8_t *out, size_t n)
{
    __m512i pair = _mm512_packs_epi32(requant_int(q, a, mult), requant_int(q, b, mult + 16));
    pair = _mm512_max_epi16(_mm512_add_epi16(pair, q->zero16), q->lo16);
    __m256i codes = _mm512_cvtepi16_epi8(pair);
    if (n >= 32)
        _mm256_storeu_si256((__m256i *)out, codes);
    else
        _mm256_mask_storeu_epi8(out, (1u << n) - 1, codes);
}

static inline __m128i requant_bytes16(const requant *q, __m512i a, const float *mult)
{
    /* Below INT32_MIN + zero the sum would wrap: a saturating 16-bit step is not needed, as lo - zero
     * bounds it from below first. */
    __m512i t = _mm512_max_epi32(requant_int(q, a, mult), _mm512_sub_epi32(q->lo32, q->zero32));
    return _mm512_cvtepi32_epi8(_mm512_add_epi32(t, q->zero32));
}

static inline void requant_store16(const requant *q, __m512i a, const float *mult, uint8_t *out,
                                   size_t n)
{
    __m128i codes = requant_bytes16(q, a, mult);
    if (n >= 16)
        _mm_storeu_si128((__m128i *)out, codes);
    else
        _mm_mask_storeu_epi8(out, (__mmask16)((1u << n) - 1), codes);
}

/* 16 sums in int64 (high 256 + low + bias), natural order, to n codes of either container. */
static inline void requant_store_wide(const requant *q, __m512i low, __m512i high,
                                      const int64_t *bias, const float *mult, int32_t bits,
                                      void *out, size_t at, size_t n)
{
    __m256i half[2];
    for (int i = 0; i < 2; i++) {
        __m512i l = _mm512_cvtepi32_epi64(i ? _mm512_extracti64x4_epi64(low, 1)
                                            : _mm512_castsi512_si256(low));
        __m512i h = _mm512_cvtepi32_epi64(i ? _mm512_extracti64x4_epi64(high, 1)
                                            : _mm512_castsi512_si256(high));
        __m512i acc = _mm512_add_epi64(_mm512_add_epi64(l, _mm512_slli_epi64(h, 8)),
                                       _mm512_loadu_si512(bias + 8 * i));
        half[i] = _mm256_castps_si256(_mm512_cvtepi64_ps(acc));
    }
    __m512 acc = _mm512_castsi512_ps(_mm512_inserti64x4(_mm512_castsi256_si512(half[0]), half[1], 1));
    __m512i t = requant_round(q, acc, mult);
    t = _mm512_max_epi32(t, _mm512_sub_epi32(q->lo32, q->zero32));
    t = _mm512_add_epi32(t, q->zero32);
    __mmask16 mask = n >= 16 ? 0xffff : (__mmask16)((1u << n) - 1);
    if (bits > 8)
        _mm256_mask_storeu_epi16((uint16_t *)out + at, mask, _mm512_cvtepi32_epi16(t));
    else
        _mm_mask_storeu_epi8((uint8_t *)out + at, mask, _mm512_cvtepi32_epi8(t));
}

#endif
