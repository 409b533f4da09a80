/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * LayerNormalization [Q18] of bytes.  Eight rows at a time: their sums by vpsadbw and vpdpwssd, roots and quotients in one
 * vector, then the codes.
 */
#include "kernels/rows.h"

#if defined(__x86_64__)
#include <immintrin.h>

enum { ROWS = 8, SUM_BLOCK = 1 << 18 }; /* a block's squares stay below 2^31 in each lane */

static bool layernorm_fits(const bl_layernorm_args *a)
{
    return a->d > 0 && a->d <= bl_layernorm_d_max(8) && a->in_bits <= 8 && a->out_bits <= 8;
}

static inline void sum_row(const uint8_t *q, int64_t d, int64_t *s1, int64_t *s2)
{
    const __m512i none = _mm512_setzero_si512();
    __m512i plain = none;
    int64_t squares = 0;
    for (int64_t at = 0; at < d; at += SUM_BLOCK) {
        int64_t end = BL_MIN(d, at + SUM_BLOCK);
        __m512i low = none, high = none;
        for (int64_t i = at; i < end; i += 64) {
            __mmask64 m = end - i < 64 ? ((__mmask64)1 << (end - i)) - 1 : ~(__mmask64)0;
            __m512i x = _mm512_maskz_loadu_epi8(m, q + i);
            __m512i even = _mm512_unpacklo_epi8(x, none), odd = _mm512_unpackhi_epi8(x, none);
            plain = _mm512_add_epi64(plain, _mm512_sad_epu8(x, none));
            low = _mm512_dpwssd_epi32(low, even, even);
            high = _mm512_dpwssd_epi32(high, odd, odd);
        }
        low = _mm512_add_epi32(low, high);
        squares += (uint32_t)_mm512_reduce_add_epi32(_mm512_and_si512(low, _mm512_set1_epi32(0xffff)));
        squares += (int64_t)_mm512_reduce_add_epi32(_mm512_srli_epi32(low, 16)) << 16;
    }
    *s1 = _mm512_reduce_add_epi64(plain);
    *s2 = squares;
}

/* What all values share. */
typedef struct ends {
    __m512 lo, hi;
    __m512i d, zero;
} ends;

static inline void put_row(const bl_layernorm_args *a, const ends *e, const uint8_t *in, int64_t s1, float factor, uint8_t *out)
{
    const __m512i mean = _mm512_set1_epi32((int32_t)s1);
    const __m512 f = _mm512_set1_ps(factor);
    for (int64_t i = 0; i < a->d; i += 16) {
        __mmask16 m = a->d - i < 16 ? (__mmask16)((1u << (a->d - i)) - 1) : (__mmask16)0xffff;
        __m512i q = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(m, in + i));
        __m512 t = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_mullo_epi32(q, e->d), mean)), f);
        t = _mm512_mul_ps(t, _mm512_maskz_loadu_ps(m, a->gain + i));
        t = _mm512_add_ps(t, _mm512_maskz_loadu_ps(m, a->shift + i));
        t = _mm512_min_ps(_mm512_max_ps(t, e->lo), e->hi); /* a NaN becomes lo */
        _mm512_mask_cvtepi32_storeu_epi8(out + i, m, _mm512_add_epi32(_mm512_cvtps_epi32(t), e->zero));
    }
}

/* bl_layernorm_factor of eight rows. */
static inline void factors(const bl_layernorm_args *a, const int64_t *s1, const int64_t *s2, float *factor)
{
    __m512i sum = _mm512_loadu_si512(s1);
    __m512i v = _mm512_sub_epi64(_mm512_mullo_epi64(_mm512_set1_epi64(a->d), _mm512_loadu_si512(s2)), _mm512_mullo_epi64(sum, sum));
    __m512d x = _mm512_sqrt_pd(_mm512_add_pd(_mm512_cvtepi64_pd(v), _mm512_set1_pd(a->floor)));
    _mm256_storeu_ps(factor, _mm512_cvtpd_ps(_mm512_div_pd(_mm512_set1_pd(1), x)));
}

static void layernorm_run(const bl_layernorm_args *a)
{
    int64_t s1[ROWS] = {0}, s2[ROWS] = {0};
    float factor[ROWS];
    const ends e = {.lo = _mm512_set1_ps((float)(a->gy.lo - a->gy.zero)), .hi = _mm512_set1_ps((float)(a->gy.hi - a->gy.zero)),
                    .d = _mm512_set1_epi32((int32_t)a->d), .zero = _mm512_set1_epi32(a->gy.zero)};
    for (int64_t row = 0; row < a->rows; row += ROWS) {
        int64_t n = BL_MIN(a->rows - row, (int64_t)ROWS);
        const uint8_t *in = (const uint8_t *)a->in + row * a->d;
        uint8_t *out = (uint8_t *)a->out + row * a->d;
        for (int64_t r = 0; r < n; r++) sum_row(in + r * a->d, a->d, &s1[r], &s2[r]);
        factors(a, s1, s2, factor);
        for (int64_t r = 0; r < n; r++) put_row(a, &e, in + r * a->d, s1[r], factor[r], out + r * a->d);
    }
}

const bl_layernorm_row bl_k_layernorm_avx512 = {"layernorm_avx512", BL_ISA_AVX512, layernorm_fits, layernorm_run};
#endif
