/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tables of bytes and runs through them (bytes.inc): vpermi2b looks up 64 codes in 128 entries, two of them and a
 * blend by the codes' highest bits in 256.
 */
#include "kernels/rows.h"

#if defined(__x86_64__)
#include "kernels/plain/strided.h"

#include <immintrin.h>

typedef struct byte_table {
    __m512i part[4];
} byte_table;

static byte_table bytes_open(const uint8_t *table, int32_t bits)
{
    byte_table t;
    for (int i = 0; i < 4; i++) {
        int left = (1 << bits) - 64 * i;
        __mmask64 mask = left >= 64 ? ~0ull : left > 0 ? (1ull << left) - 1 : 0;
        t.part[i] = _mm512_maskz_loadu_epi8(mask, table + 64 * (left > 0 ? i : 0));
    }
    return t;
}

static inline __m512i bytes_of(const byte_table *t, __m512i codes)
{
    __m512i low = _mm512_permutex2var_epi8(t->part[0], codes, t->part[1]);
    __m512i high = _mm512_permutex2var_epi8(t->part[2], codes, t->part[3]);
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(codes), low, high);
}

static inline void bytes_run(const byte_table *t, const uint8_t *in, uint8_t *out, size_t n)
{
    size_t i = 0;
    for (; i + 64 <= n; i += 64) _mm512_storeu_si512(out + i, bytes_of(t, _mm512_loadu_si512(in + i)));
    if (i == n) return;
    __mmask64 mask = (1ull << (n - i)) - 1;
    _mm512_mask_storeu_epi8(out + i, mask, bytes_of(t, _mm512_maskz_loadu_epi8(mask, in + i)));
}

static void copy_run(const uint8_t *in, uint8_t *out, size_t n)
{
    size_t i = 0;
    for (; i + 64 <= n; i += 64) _mm512_storeu_si512(out + i, _mm512_loadu_si512(in + i));
    __mmask64 mask = (1ull << (n - i)) - 1;
    _mm512_mask_storeu_epi8(out + i, mask, _mm512_maskz_loadu_epi8(mask, in + i));
}

#define RUN_MIN 0
#include "kernels/x86/bytes.inc"

const bl_table_row bl_k_table_avx512vbmi = {"table_avx512vbmi", BL_ISA_AVX512VBMI, table_fits, table_run};
const bl_move_row bl_k_move_avx512vbmi = {"move_avx512vbmi", BL_ISA_AVX512VBMI, move_fits, move_run};
#endif
