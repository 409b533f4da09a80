/* SPDX-License-Identifier: BSD-3-Clause */
/* 16 x 16 bytes that change rows for columns.  Include after immintrin.h, in files for AVX-512. */
#ifndef BL_TURN_AVX512_H
#define BL_TURN_AVX512_H

enum { TURN = 16 };

static inline __mmask16 turn_first(int64_t n)
{
    return n >= TURN ? (__mmask16)0xffff : (__mmask16)((1u << n) - 1);
}

/* Rows 0 to 15, `step` bytes apart, of which `rows` are there and n bytes each; the others are 0. */
static inline void turn_load(const uint8_t *from, int64_t step, int64_t rows, int64_t n, __m512i t[4])
{
    __mmask16 m = turn_first(n);
    for (int k = 0; k < 4; k++) {
        __m128i r[4];
        for (int64_t l = 0; l < 4; l++)
            r[l] = 4 * l + k < rows ? _mm_maskz_loadu_epi8(m, from + (4 * l + k) * step) : _mm_setzero_si128();
        __m512i x = _mm512_inserti32x4(_mm512_castsi128_si512(r[0]), r[1], 1);
        t[k] = _mm512_inserti32x4(_mm512_inserti32x4(x, r[2], 2), r[3], 3);
    }
}

/* What turn_load gave: t[0] holds rows 0, 4, 8, 12, t[1] 1, 5, 9, 13 and so on.  Becomes lanes of columns in their order:
 * t[0] those of 0 to 3. */
static inline void turn(__m512i t[4])
{
    const __m512i lanes = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    __m512i low01 = _mm512_unpacklo_epi8(t[0], t[1]), high01 = _mm512_unpackhi_epi8(t[0], t[1]);
    __m512i low23 = _mm512_unpacklo_epi8(t[2], t[3]), high23 = _mm512_unpackhi_epi8(t[2], t[3]);
    t[0] = _mm512_permutexvar_epi32(lanes, _mm512_unpacklo_epi16(low01, low23));
    t[1] = _mm512_permutexvar_epi32(lanes, _mm512_unpackhi_epi16(low01, low23));
    t[2] = _mm512_permutexvar_epi32(lanes, _mm512_unpacklo_epi16(high01, high23));
    t[3] = _mm512_permutexvar_epi32(lanes, _mm512_unpackhi_epi16(high01, high23));
}

/* Turned rows, as turn left them: the first `rows` of them, n bytes each, `step` bytes apart. */
static inline void turn_store(const __m512i t[4], uint8_t *to, int64_t step, int64_t rows, int64_t n)
{
    __mmask16 m = turn_first(n);
    _Alignas(64) uint8_t row[TURN][TURN];
    for (int k = 0; k < 4; k++) _mm512_store_si512(row[4 * k], t[k]);
    for (int64_t l = 0; l < rows; l++) _mm_mask_storeu_epi8(to + l * step, m, _mm_load_si128((const __m128i *)row[l]));
}

#endif
