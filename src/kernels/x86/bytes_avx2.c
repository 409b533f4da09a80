/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tables of bytes and runs through them (bytes.inc) where no instruction looks up more than 16 entries: vpshufb in
 * each of 16 lines of the table by the codes' low four bits, then a tree of blends by the high four.
 */
#include "kernels/rows.h"

#if defined(__x86_64__)
#include "kernels/plain/strided.h"

#include <immintrin.h>
#include <string.h>

enum { LINES = 16 };

typedef struct byte_table {
    __m256i line[LINES];        /* 16 entries, twice */
    uint8_t entry[256];
    bool one;                   /* one line holds it */
} byte_table;

static byte_table bytes_open(const uint8_t *table, int32_t bits)
{
    byte_table t;
    size_t n = (size_t)1 << bits;
    memset(t.entry, 0, sizeof t.entry);
    memcpy(t.entry, table, n < sizeof t.entry ? n : sizeof t.entry);
    t.one = bits <= 4;
    for (int i = 0; i < LINES; i++) t.line[i] = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(t.entry + 16 * i)));
    return t;
}

static inline __m256i bytes_of(const byte_table *t, __m256i codes)
{
    __m256i low = _mm256_and_si256(codes, _mm256_set1_epi8(15)), part[LINES / 2];
    /* A blend looks at the highest bit of each byte: bits 4, 5 and 6 are moved there. */
    __m256i bit4 = _mm256_slli_epi16(codes, 3), bit5 = _mm256_slli_epi16(codes, 2), bit6 = _mm256_slli_epi16(codes, 1);
    for (int i = 0; i < LINES / 2; i++)
        part[i] = _mm256_blendv_epi8(_mm256_shuffle_epi8(t->line[2 * i], low), _mm256_shuffle_epi8(t->line[2 * i + 1], low), bit4);
    for (int i = 0; i < LINES / 4; i++) part[i] = _mm256_blendv_epi8(part[2 * i], part[2 * i + 1], bit5);
    for (int i = 0; i < LINES / 8; i++) part[i] = _mm256_blendv_epi8(part[2 * i], part[2 * i + 1], bit6);
    return _mm256_blendv_epi8(part[0], part[1], codes);
}

static inline void bytes_run(const byte_table *t, const uint8_t *in, uint8_t *out, size_t n)
{
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m256i codes = _mm256_loadu_si256((const __m256i *)(in + i));
        _mm256_storeu_si256((__m256i *)(out + i), t->one ? _mm256_shuffle_epi8(t->line[0], codes) : bytes_of(t, codes));
    }
    for (; i < n; i++) out[i] = t->entry[in[i]];
}

static void copy_run(const uint8_t *in, uint8_t *out, size_t n)
{
    memcpy(out, in, n);
}

#define RUN_MIN 32
#include "kernels/x86/bytes.inc"

const bl_table_row bl_k_table_avx2 = {"table_avx2", BL_ISA_AVX2, table_fits, table_run};
const bl_move_row bl_k_move_avx2 = {"move_avx2", BL_ISA_AVX2, move_fits, move_run};
#endif
