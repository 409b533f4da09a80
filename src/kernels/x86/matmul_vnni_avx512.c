/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Product of two activations with vpdpbusd: four codes of a row of a are broadcast to 16 columns of b, of
 * which 128 is taken so that they are signed.  With b' = b - 128 and zb' = zb - 128
 *     sum (a - za)(b - zb) = sum a b' - za sum b' + k za zb' - zb' sum a,
 * a product, a term of the column and a term of the row, all modulo 2^32 [Q4].
 *
 * Work: b of one batch as [16 columns][4 of k][16][4], terms of the columns, four rows of a with their tail.
 */
#include "kernels/rows.h"

#if defined(__x86_64__)
#include "kernels/x86/requant_avx512.h"

enum { MM_ROWS = 4 };

typedef struct mm_job {
    size_t vectors, steps;      /* of 16 columns; of 4 along k */
    const int8_t *b;
    const int32_t *column;
    const uint8_t *row[MM_ROWS];
    int32_t term[MM_ROWS];
    requant q;
    __m512 mult;
} mm_job;

static size_t mm_vectors(const bl_matmul_args *a)
{
    return (size_t)((a->n + 15) / 16);
}

static size_t mm_steps(const bl_matmul_args *a)
{
    return (size_t)((a->k + 3) / 4);
}

static bool mm_fits(const bl_matmul_args *a)
{
    return a->a_bits <= 8 && a->b_bits <= 8 && !a->acc64 && a->n > 0 && a->k > 0 && a->k <= 1 << 16 &&
           a->n <= 1 << 16 && a->b_n < 1 << 24 && a->b_n > -(1 << 24);
}

static size_t mm_work_bytes(const bl_matmul_args *a)
{
    return mm_vectors(a) * (mm_steps(a) * 64 + 64) + bl_round64(MM_ROWS * mm_steps(a) * 4);
}

/* 16 columns of 4 along k, of which `cols` and `deep` exist. */
static void mm_pack_some(const uint8_t *from, int64_t step_k, int64_t step_n, size_t deep, size_t cols, uint8_t *to)
{
    for (size_t i = 0; i < 64; i++) {
        size_t col = i / 4, k = i % 4;
        to[i] = col < cols && k < deep ? from[(int64_t)k * step_k + (int64_t)col * step_n] : 128;
    }
}

static __m512i mm_pack_rows(const uint8_t *from, int64_t step_k, __mmask16 mask)
{
    __m128i r[4];
    for (int i = 0; i < 4; i++) r[i] = _mm_mask_loadu_epi8(_mm_set1_epi8((char)128), mask, from + i * step_k);
    __m128i l01 = _mm_unpacklo_epi8(r[0], r[1]), h01 = _mm_unpackhi_epi8(r[0], r[1]);
    __m128i l23 = _mm_unpacklo_epi8(r[2], r[3]), h23 = _mm_unpackhi_epi8(r[2], r[3]);
    __m512i v = _mm512_castsi128_si512(_mm_unpacklo_epi16(l01, l23));
    v = _mm512_inserti32x4(v, _mm_unpackhi_epi16(l01, l23), 1);
    v = _mm512_inserti32x4(v, _mm_unpacklo_epi16(h01, h23), 2);
    return _mm512_inserti32x4(v, _mm_unpackhi_epi16(h01, h23), 3);
}

/* b of a batch, and for each column -za sum b' + k za zb'.  What is missing is 128, which is 0 in b'. */
static void mm_pack(const bl_matmul_args *a, const uint8_t *b, int8_t *packed, int32_t *column)
{
    const __m512i flip = _mm512_set1_epi8((char)128), ones = _mm512_set1_epi8(1);
    const __m512i order = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    __m512i index = _mm512_mullo_epi32(order, _mm512_set1_epi32((int)a->b_n));
    __m512i all = _mm512_set1_epi32((int32_t)(a->k * a->zero_a * (a->zero_b - 128)));
    for (size_t v = 0; v < mm_vectors(a); v++) {
        size_t cols = (size_t)BL_MIN((int64_t)16, a->n - (int64_t)v * 16);
        __mmask16 mask = (__mmask16)((1u << cols) - 1);
        __m512i sum = _mm512_setzero_si512();
        for (size_t s = 0; s < mm_steps(a); s++, packed += 64) {
            size_t deep = (size_t)BL_MIN((int64_t)4, a->k - (int64_t)s * 4);
            const uint8_t *from = b + (int64_t)v * 16 * a->b_n + (int64_t)s * 4 * a->b_k;
            __m512i codes;
            if (deep == 4 && a->b_n == 1) {
                codes = mm_pack_rows(from, a->b_k, mask);
            } else if (deep == 4 && a->b_k == 1) {
                codes = _mm512_mask_i32gather_epi32(flip, mask, index, from, 1);
            } else {
                uint8_t some[64];
                mm_pack_some(from, a->b_k, a->b_n, deep, cols, some);
                codes = _mm512_loadu_si512(some);
            }
            codes = _mm512_xor_si512(codes, flip);
            _mm512_storeu_si512(packed, codes);
            sum = _mm512_dpbusd_epi32(sum, ones, codes);
        }
        sum = _mm512_mullo_epi32(sum, _mm512_set1_epi32(-a->zero_a));
        _mm512_storeu_si512(column + 16 * v, _mm512_add_epi32(sum, all));
    }
}

/* The sum of n codes, which go to `to` too where there is one. */
static int64_t mm_sum(const uint8_t *from, int64_t n, uint8_t *to)
{
    __m512i sum = _mm512_setzero_si512();
    for (int64_t i = 0; i < n; i += 64) {
        __mmask64 some = n - i < 64 ? ((__mmask64)1 << (n - i)) - 1 : ~(__mmask64)0;
        __m512i codes = _mm512_maskz_loadu_epi8(some, from + i);
        if (to) _mm512_mask_storeu_epi8(to + i, some, codes);
        sum = _mm512_add_epi64(sum, _mm512_sad_epu8(codes, _mm512_setzero_si512()));
    }
    return _mm512_reduce_add_epi64(sum);
}

/* A row of a as whole steps, and -zb' times its sum. */
static const uint8_t *mm_row(const bl_matmul_args *a, const uint8_t *from, uint8_t *copy, int32_t *term)
{
    bool gathers = a->a_k != 1, whole = !gathers && a->k % 4 == 0;
    for (int64_t i = 0; gathers && i < a->k; i++) copy[i] = from[i * a->a_k];
    int64_t sum = mm_sum(gathers ? copy : from, a->k, gathers || whole ? NULL : copy);
    *term = (int32_t)(uint32_t)(sum * (128 - a->zero_b));
    if (whole) return from;
    memset(copy + a->k, 0, mm_steps(a) * 4 - (size_t)a->k);
    return copy;
}

#define DOT(sum, x, w) __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(w))

static inline __m512i mm_four(const uint8_t *row, size_t k)
{
    int32_t four;
    memcpy(&four, row + k, sizeof four);
    return _mm512_set1_epi32(four);
}

/* Four rows times one or two vectors of columns; sums[row][vector]. */
static void mm_tile1(const mm_job *j, size_t v, __m512i sums[MM_ROWS][2])
{
    const int8_t *b = j->b + v * j->steps * 64;
    __m512i c = _mm512_loadu_si512(j->column + 16 * v);
    __m512i s0 = c, s1 = c, s2 = c, s3 = c;
    for (size_t k = 0; k < j->steps * 4; k += 4, b += 64) {
        __m512i w = _mm512_loadu_si512(b);
        DOT(s0, mm_four(j->row[0], k), w);
        DOT(s1, mm_four(j->row[1], k), w);
        DOT(s2, mm_four(j->row[2], k), w);
        DOT(s3, mm_four(j->row[3], k), w);
    }
    sums[0][0] = s0;
    sums[1][0] = s1;
    sums[2][0] = s2;
    sums[3][0] = s3;
}

static void mm_tile2(const mm_job *j, size_t v, __m512i sums[MM_ROWS][2])
{
    const int8_t *b = j->b + v * j->steps * 64, *d = b + j->steps * 64;
    __m512i c = _mm512_loadu_si512(j->column + 16 * v), e = _mm512_loadu_si512(j->column + 16 * v + 16);
    __m512i s0 = c, s1 = c, s2 = c, s3 = c, t0 = e, t1 = e, t2 = e, t3 = e;
    for (size_t k = 0; k < j->steps * 4; k += 4, b += 64, d += 64) {
        __m512i w = _mm512_loadu_si512(b), u = _mm512_loadu_si512(d), x;
        x = mm_four(j->row[0], k);
        DOT(s0, x, w);
        DOT(t0, x, u);
        x = mm_four(j->row[1], k);
        DOT(s1, x, w);
        DOT(t1, x, u);
        x = mm_four(j->row[2], k);
        DOT(s2, x, w);
        DOT(t2, x, u);
        x = mm_four(j->row[3], k);
        DOT(s3, x, w);
        DOT(t3, x, u);
    }
    sums[0][0] = s0, sums[1][0] = s1, sums[2][0] = s2, sums[3][0] = s3;
    sums[0][1] = t0, sums[1][1] = t1, sums[2][1] = t2, sums[3][1] = t3;
}

static void mm_store(const bl_matmul_args *a, const mm_job *j, __m512i sum, int row, size_t v, int64_t at)
{
    size_t cols = (size_t)BL_MIN((int64_t)16, a->n - (int64_t)v * 16);
    int32_t q[16];
    __m512i t = _mm512_add_epi32(sum, _mm512_set1_epi32(j->term[row]));
    t = _mm512_cvtps_epi32(_mm512_min_ps(j->q.most, _mm512_mul_ps(_mm512_cvtepi32_ps(t), j->mult)));
    t = _mm512_add_epi32(_mm512_max_epi32(t, _mm512_sub_epi32(j->q.lo32, j->q.zero32)), j->q.zero32);
    at += (int64_t)v * 16 * a->out_n;
    if (a->out_n == 1 && a->out_bits <= 8) {
        _mm_mask_storeu_epi8((uint8_t *)a->out + at, (__mmask16)((1u << cols) - 1), _mm512_cvtepi32_epi8(t));
        return;
    }
    _mm512_storeu_si512(q, t);
    for (size_t c = 0; c < cols; c++) bl_code_put(a->out, a->out_bits, at + (int64_t)c * a->out_n, q[c]);
}

/* Rows r .. r + n - 1 of a batch; missing rows of the four are the last one again. */
static void mm_rows(const bl_matmul_args *a, mm_job *j, const uint8_t *from, int64_t r, int n, int64_t at_out)
{
    uint8_t *copy = (uint8_t *)a->work + mm_vectors(a) * (mm_steps(a) * 64 + 64);
    __m512i sums[MM_ROWS][2];
    for (int i = 0; i < MM_ROWS; i++) {
        int64_t row = r + BL_MIN(i, n - 1);
        j->row[i] = mm_row(a, from + row * a->a_m, copy + (size_t)i * mm_steps(a) * 4, &j->term[i]);
    }
    for (size_t v = 0; v < j->vectors;) {
        size_t z = BL_MIN((size_t)2, j->vectors - v);
        (z == 2 ? mm_tile2 : mm_tile1)(j, v, sums);
        for (int i = 0; i < n; i++)
            for (size_t k = 0; k < z; k++) mm_store(a, j, sums[i][k], i, v + k, at_out + (r + i) * a->out_m);
        v += z;
    }
}

static void mm_run(const bl_matmul_args *a)
{
    bl_conv_args bounds = {.zero_out = a->zero_out, .lo = a->lo, .hi = a->hi};
    int8_t *packed = a->work;
    int32_t *column = (int32_t *)(packed + mm_vectors(a) * mm_steps(a) * 64);
    mm_job j = {.vectors = mm_vectors(a), .steps = mm_steps(a), .b = packed, .column = column,
                .q = requant_of(&bounds), .mult = _mm512_set1_ps(a->mult)};
    for (int64_t row = a->begin; row < a->end;) {
        int64_t batch = row / a->m, end = BL_MIN(a->end, (batch + 1) * a->m), at_a = 0, at_b = 0, at_out = 0;
        int64_t first = batch * a->m;
        for (int d = a->rank - 1; d >= 0; d--) {
            int64_t i = batch % a->size[d];
            batch /= a->size[d];
            at_a += i * a->a_stride[d];
            at_b += i * a->b_stride[d];
            at_out += i * a->out_stride[d];
        }
        mm_pack(a, (const uint8_t *)a->b + at_b, packed, column);
        for (; row < end; row += MM_ROWS)
            mm_rows(a, &j, (const uint8_t *)a->a + at_a, row - first, (int)BL_MIN((int64_t)MM_ROWS, end - row), at_out);
        row = end;
    }
}

const bl_matmul_row bl_k_matmul_vnni_avx512 = {"matmul_vnni_avx512", BL_ISA_AVX512, mm_fits, mm_work_bytes, mm_run};
#endif
