/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Add [Q5] and Mul [Q6] of bytes side by side, 64 at a time.  Unpacking widens within 128-bit lanes
 * and packing shrinks within them, so codes come out in order.  Rounding and bounds as in
 * requant_avx512.h: where t may reach 2^31 the upper one in binary32, else both in bytes.
 */
#ifndef BL_KERNELS_PAIR_AVX512_H
#define BL_KERNELS_PAIR_AVX512_H

#include "kernels/rows.h"

#include <immintrin.h>

/* Part z of 64 codes in binary32. */
static inline __attribute__((always_inline)) __m512 pair_part(__m512i codes, const int z)
{
    __m512i zero = _mm512_setzero_si512();
    __m512i words = z < 2 ? _mm512_unpacklo_epi8(codes, zero) : _mm512_unpackhi_epi8(codes, zero);
    return _mm512_cvtepi32_ps(z % 2 ? _mm512_unpackhi_epi16(words, zero)
                                    : _mm512_unpacklo_epi16(words, zero));
}

/* t below 2^31, or bounded by `hi` before: what the packs saturate and bytes' bounds are all there is to do. */
static inline __attribute__((always_inline)) __m512i pair_bytes(const __m512 *t, int32_t lo, int32_t hi)
{
    __m512i codes = _mm512_packus_epi16(_mm512_packs_epi32(_mm512_cvtps_epi32(t[0]), _mm512_cvtps_epi32(t[1])),
                                        _mm512_packs_epi32(_mm512_cvtps_epi32(t[2]), _mm512_cvtps_epi32(t[3])));
    return _mm512_min_epu8(_mm512_max_epu8(codes, _mm512_set1_epi8((char)lo)), _mm512_set1_epi8((char)hi));
}

static inline __m512i pair_pack(__m512 *t, const bl_pair_args *a)
{
    const __m512 most = _mm512_set1_ps((float)a->gy.hi);
    for (int z = 0; z < 4; z++) t[z] = _mm512_min_ps(most, t[z]);
    return pair_bytes(t, a->gy.lo, a->gy.hi);
}

/* n codes of [Q5]. */
static inline __attribute__((always_inline)) void pair_add_codes(const bl_pair_args *a, const uint8_t *qa, const uint8_t *qb,
                                                                 uint8_t *out, size_t n, bool bounded)
{
    bl_add_consts k = bl_add_consts_of(a);
    const __m512 ra = _mm512_set1_ps(k.ra), rb = _mm512_set1_ps(k.rb), f = _mm512_set1_ps(k.f);
    for (size_t i = 0; i < n; i += 64) {
        __mmask64 mask = n - i >= 64 ? ~0ull : (1ull << (n - i)) - 1;
        __m512i x = _mm512_maskz_loadu_epi8(mask, qa + i), y = _mm512_maskz_loadu_epi8(mask, qb + i);
        __m512 t[4];
        for (int z = 0; z < 4; z++)
            t[z] = _mm512_fmadd_ps(pair_part(x, z), ra, _mm512_fmadd_ps(pair_part(y, z), rb, f));
        _mm512_mask_storeu_epi8(out + i, mask, bounded ? pair_bytes(t, a->gy.lo, a->gy.hi) : pair_pack(t, a));
    }
}

static inline void pair_add_direct(const bl_pair_args *a, const uint8_t *qa, const uint8_t *qb, uint8_t *out, size_t n)
{
    if (bl_add_bounded(bl_add_consts_of(a))) pair_add_codes(a, qa, qb, out, n, true);
    else pair_add_codes(a, qa, qb, out, n, false);
}

static inline void pair_mul_direct(const bl_pair_args *a, const uint8_t *qa, const uint8_t *qb,
                            uint8_t *out, size_t n)
{
    const __m512 ratio = _mm512_set1_ps(bl_mul_ratio(a)), zero = _mm512_set1_ps((float)a->gy.zero);
    const __m512 za = _mm512_set1_ps((float)a->ga.zero), zb = _mm512_set1_ps((float)a->gb.zero);
    for (size_t i = 0; i < n; i += 64) {
        __mmask64 mask = n - i >= 64 ? ~0ull : (1ull << (n - i)) - 1;
        __m512i x = _mm512_maskz_loadu_epi8(mask, qa + i), y = _mm512_maskz_loadu_epi8(mask, qb + i);
        __m512 t[4];
        for (int z = 0; z < 4; z++) {
            /* |product| < 2^16: exact */
            t[z] = _mm512_mul_ps(_mm512_sub_ps(pair_part(x, z), za),
                                 _mm512_sub_ps(pair_part(y, z), zb));
            t[z] = _mm512_add_ps(_mm512_mul_ps(t[z], ratio), zero);
        }
        _mm512_mask_storeu_epi8(out + i, mask, pair_pack(t, a));
    }
}

#endif
