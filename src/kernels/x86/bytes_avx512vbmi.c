/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tables of bytes [Q9] [Q11] and copies of runs through them: vpermi2b looks up 64 codes in 128
 * entries, two of them and a blend by the codes' highest bits in 256.
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

static bool table_fits(const bl_table_args *a)
{
    return a->in_bits <= 8 && a->out_bits <= 8;
}

static void table_run(const bl_table_args *a)
{
    byte_table t = bytes_open(a->table, a->in_bits);
    bytes_run(&t, a->in, a->out, (size_t)a->n);
}

/* Contiguous runs on both sides, in whatever order of dimensions. */
static bool move_start(const bl_move_args *a, strided *s)
{
    *s = (strided){.operands = 2};
    for (int d = 0; d < a->rank; d++)
        strided_push(s, a->size[d], (const int64_t[3]){a->in_stride[d], a->out_stride[d]});
    if (!strided_start(s)) return false;
    for (int d = 0; d < s->rank; d++)
        if (s->stride[0][d] == 1 && s->stride[1][d] == 1) {
            strided_innermost(s, d);
            break;
        }
    return true;
}

static bool move_fits(const bl_move_args *a)
{
    strided s;
    if (a->rank < 0 || a->rank > 8 || a->in_bits > 8 || a->out_bits > 8) return false;
    return move_start(a, &s) && strided_step(&s, 0) == 1 && strided_step(&s, 1) == 1;
}

static void copy_run(const uint8_t *in, uint8_t *out, size_t n)
{
    size_t i = 0;
    for (; i + 64 <= n; i += 64) _mm512_storeu_si512(out + i, _mm512_loadu_si512(in + i));
    __mmask64 mask = (1ull << (n - i)) - 1;
    _mm512_mask_storeu_epi8(out + i, mask, _mm512_maskz_loadu_epi8(mask, in + i));
}

static void move_run(const bl_move_args *a)
{
    strided s;
    byte_table t;
    if (!move_start(a, &s)) return;
    size_t n = (size_t)strided_inner(&s);
    if (a->table) t = bytes_open(a->table, a->in_bits);
    do {
        const uint8_t *in = (const uint8_t *)a->in + s.at[0];
        uint8_t *out = (uint8_t *)a->out + s.at[1];
        if (a->table) bytes_run(&t, in, out, n);
        else copy_run(in, out, n);
    } while (strided_next(&s));
}

const bl_table_row bl_k_table_avx512vbmi = {"table_avx512vbmi", BL_ISA_AVX512VBMI, table_fits, table_run};
const bl_move_row bl_k_move_avx512vbmi = {"move_avx512vbmi", BL_ISA_AVX512VBMI, move_fits, move_run};
#endif
