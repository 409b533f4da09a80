/* SPDX-License-Identifier: BSD-3-Clause */
/* Lanes of 16 bytes of four vectors as a matrix that changes rows for columns: natural order to requant_store64's, and
 * back.  Include after immintrin.h, in files for AVX-512. */
#ifndef BL_LANES_AVX512_H
#define BL_LANES_AVX512_H

static inline __attribute__((always_inline)) void lanes_turn(__m512i v[4])
{
    __m512i a = _mm512_shuffle_i32x4(v[0], v[1], 0x44), b = _mm512_shuffle_i32x4(v[2], v[3], 0x44);
    __m512i c = _mm512_shuffle_i32x4(v[0], v[1], 0xee), d = _mm512_shuffle_i32x4(v[2], v[3], 0xee);
    v[0] = _mm512_shuffle_i32x4(a, b, 0x88);
    v[1] = _mm512_shuffle_i32x4(a, b, 0xdd);
    v[2] = _mm512_shuffle_i32x4(c, d, 0x88);
    v[3] = _mm512_shuffle_i32x4(c, d, 0xdd);
}

#endif
