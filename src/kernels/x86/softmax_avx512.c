/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Softmax [Q12] of bytes, sixteen rows side by side, a lane each.  The sum of a row runs from left to right, so rows are
 * all that can be added up at once; lanes then share every other step too.  The table lies in sixteen vectors, an entry
 * costs eight permutations of two of them and seven choices, less than a gather.
 *
 * Blocks of columns are turned on their way in and out, 16 x 16 bytes at a time.
 */
#include "kernels/rows.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "kernels/x86/turn_avx512.h"

enum { ROWS = TURN, COLUMNS = 128, TABLE = 16 /* vectors */ };

typedef struct turned {
    _Alignas(64) uint8_t code[COLUMNS][ROWS];
    _Alignas(64) float e[COLUMNS][ROWS];
} turned;

/* With one column f(T * k) may be infinite; the quotient below would be no number then. */
static bool softmax_fits(const bl_softmax_args *a)
{
    return a->d > 1 && a->in_bits <= 8 && a->out_bits <= 8;
}

/* n columns of `rows` rows, d bytes apart; rows that are missing are rows of zeros. */
static void turn_in(const uint8_t *in, int64_t d, int64_t rows, int64_t n, turned *x)
{
    for (int64_t c = 0; c < n; c += TURN) {
        __m512i t[4];
        turn_load(in + c, d, rows, n - c, t);
        turn(t);
        for (int k = 0; k < 4; k++) _mm512_store_si512(x->code[c + 4 * k], t[k]);
    }
}

static void turn_out(const turned *x, int64_t d, int64_t rows, int64_t n, uint8_t *out)
{
    for (int64_t c = 0; c < n; c += TURN) {
        __m512i t[4];
        turn_load(x->code[c], TURN, TURN, TURN, t);
        turn(t);
        turn_store(t, out + c, d, rows, n - c);
    }
}

static __m128i greatest(const turned *x, int64_t n, __m128i most)
{
    for (int64_t c = 0; c < n; c++) most = _mm_max_epu8(most, _mm_load_si128((const __m128i *)x->code[c]));
    return most;
}

/* Entries of the table, and the sums with them.  Inlined always: gcc 12 leaves a call out whose result nobody reads, and what
 * it stores with it. */
static inline __attribute__((always_inline)) __m512 exps(turned *x, int64_t n, const __m512 table[TABLE], __m512i above, __m512 sum)
{
    for (int64_t c = 0; c < n; c++) {
        __m512i i = _mm512_add_epi32(_mm512_cvtepu8_epi32(_mm_load_si128((const __m128i *)x->code[c])), above);
        __mmask16 b5 = _mm512_test_epi32_mask(i, _mm512_set1_epi32(32)), b6 = _mm512_test_epi32_mask(i, _mm512_set1_epi32(64));
        __mmask16 b7 = _mm512_test_epi32_mask(i, _mm512_set1_epi32(128));
        __m512 of[8];
        for (int k = 0; k < 8; k++) of[k] = _mm512_permutex2var_ps(table[2 * k], i, table[2 * k + 1]);
        for (int k = 0; k < 4; k++) of[k] = _mm512_mask_blend_ps(b5, of[2 * k], of[2 * k + 1]);
        for (int k = 0; k < 2; k++) of[k] = _mm512_mask_blend_ps(b6, of[2 * k], of[2 * k + 1]);
        of[0] = _mm512_mask_blend_ps(b7, of[0], of[1]);
        sum = _mm512_add_ps(sum, of[0]);
        _mm512_store_ps(x->e[c], of[0]);
    }
    return sum;
}

/* The quotient as division gives it: a reciprocal that is rounded right, and twice what is left over (Markstein). */
static void codes(turned *x, int64_t n, bl_grid g, __m512 sum)
{
    const __m512 k = _mm512_set1_ps(floorf(1.0f / g.scale)), most = _mm512_set1_ps((float)(g.hi - g.zero));
    const __m512 r = _mm512_div_ps(_mm512_set1_ps(1), sum);
    const __m512i zero = _mm512_set1_epi32(g.zero);
    for (int64_t c = 0; c < n; c++) {
        __m512 t = _mm512_mul_ps(_mm512_load_ps(x->e[c]), k), q = _mm512_mul_ps(t, r);
        q = _mm512_fmadd_ps(_mm512_fnmadd_ps(q, sum, t), r, q);
        q = _mm512_fmadd_ps(_mm512_fnmadd_ps(q, sum, t), r, q);
        q = _mm512_min_ps(q, most);
        _mm_store_si128((__m128i *)x->code[c], _mm512_cvtepi32_epi8(_mm512_add_epi32(_mm512_cvtps_epi32(q), zero)));
    }
}

static void softmax_run(const bl_softmax_args *a)
{
    __m512 table[TABLE];
    turned x;
    int64_t d = a->d, entries = (int64_t)1 << a->in_bits;
    bool whole = d <= COLUMNS;
    for (int64_t k = 0; k < TABLE; k++) {
        int64_t at = BL_MIN(16 * k, entries), n = BL_MIN(entries - at, 16);
        table[k] = _mm512_maskz_loadu_ps(turn_first(n), a->table + at);
    }
    for (int64_t row = 0; row < a->rows; row += ROWS) {
        const uint8_t *in = (const uint8_t *)a->in + row * d;
        uint8_t *out = (uint8_t *)a->out + row * d;
        int64_t rows = BL_MIN(a->rows - row, (int64_t)ROWS);
        __m128i most = _mm_setzero_si128();
        __m512 sum = _mm512_setzero_ps();
        for (int64_t c = 0; c < d; c += COLUMNS) {
            int64_t n = BL_MIN(d - c, (int64_t)COLUMNS);
            turn_in(in + c, d, rows, n, &x);
            most = greatest(&x, n, most);
        }
        __m512i above = _mm512_sub_epi32(_mm512_set1_epi32((int32_t)entries - 1), _mm512_cvtepu8_epi32(most));
        for (int64_t c = 0; c < d; c += COLUMNS) {
            int64_t n = BL_MIN(d - c, (int64_t)COLUMNS);
            if (!whole) turn_in(in + c, d, rows, n, &x);
            sum = exps(&x, n, table, above, sum);
        }
        for (int64_t c = 0; c < d; c += COLUMNS) {
            int64_t n = BL_MIN(d - c, (int64_t)COLUMNS);
            if (!whole) {
                turn_in(in + c, d, rows, n, &x);
                exps(&x, n, table, above, sum);
            }
            codes(&x, n, a->gy, sum);
            turn_out(&x, d, rows, n, out + c);
        }
    }
}

const bl_softmax_row bl_k_softmax_avx512 = {"softmax_avx512", BL_ISA_AVX512, softmax_fits, softmax_run};
#endif
