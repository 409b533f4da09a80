/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Depthwise 3x3 and 5x5 convolution as a window that slides along rows of outputs, 16 channels at a time (the last 8
 * or fewer in one vector).  A column of the input is made once, its rows in pairs of 16 bits, and meets the weights
 * of every output that reads it with vpmaddwd, which is exact for any 8-bit codes; an output is complete with its
 * last column.  Borders need no copy of the input: rows and columns outside are read from `zeros`.  The last block
 * of channels ends with the last channel and may repeat some of the block before.
 *
 * Packed: [block](16 folded biases, [kernel column][pair of rows][2 vectors][8][2 words]).
 */
#include "kernels/rows.h"

#if defined(__x86_64__)
#include "kernels/plain/im2col.h"

#include <immintrin.h>

enum { DWS_ZEROS = 64, DWS_MOST = 5, DWS_LONG_ROW = 28 };

typedef struct dws_plan {
    size_t c, blocks, pairs;
    size_t block_bytes, mult_bytes;
} dws_plan;

static dws_plan dws_plan_of(const bl_conv_shape *s)
{
    dws_plan p = {.c = (size_t)s->in_c, .pairs = ((size_t)s->kernel_h + 1) / 2};
    p.blocks = (p.c + 15) / 16;
    p.block_bytes = 64 + (size_t)s->kernel_w * p.pairs * 64;
    p.mult_bytes = p.blocks * 16 * sizeof(float);
    return p;
}

/* Vectors of a block and its first channel. */
static size_t dws_vectors(const dws_plan *p, size_t b)
{
    return p->c - b * 16 > 8 && p->c >= 16 ? 2 : 1;
}

static size_t dws_first(const dws_plan *p, size_t b)
{
    return BL_MIN(b * 16, p->c - dws_vectors(p, b) * 8);
}

static bool dws_fits(const bl_conv_shape *s)
{
    return s->groups == s->in_c && s->out_c == s->in_c && s->in_bits <= 8 && s->out_bits <= 8 &&
           !s->acc64 && s->kernel_h == s->kernel_w && (s->kernel_h == 3 || s->kernel_h == 5) && s->dilation_w == 1 &&
           s->stride_w <= 2 && (s->in_c >= 16 || s->in_c == 8);
}

static size_t dws_packed_bytes(const bl_conv_shape *s)
{
    dws_plan p = dws_plan_of(s);
    return p.blocks * p.block_bytes;
}

static size_t dws_work_bytes(const bl_conv_shape *s)
{
    return dws_plan_of(s).mult_bytes + DWS_ZEROS;
}

static void dws_pack(const bl_conv_shape *s, const int8_t *codes, int32_t zero_in, const int32_t *bias, void *packed)
{
    dws_plan p = dws_plan_of(s);
    size_t k = (size_t)s->kernel_h;
    memset(packed, 0, p.blocks * p.block_bytes);
    for (size_t b = 0; b < p.blocks; b++) {
        uint8_t *block = (uint8_t *)packed + b * p.block_bytes;
        int16_t *w = (int16_t *)(block + 64);
        for (size_t i = 0; i < dws_vectors(&p, b) * 8; i++) {
            size_t c = dws_first(&p, b) + i;
            int64_t sum = 0;
            for (size_t y = 0; y < k; y++)
                for (size_t x = 0; x < k; x++) {
                    int8_t code = codes[(c * k + y) * k + x];
                    w[((x * p.pairs + y / 2) * 2 + i / 8) * 16 + i % 8 * 2 + y % 2] = code;
                    sum += code;
                }
            ((uint32_t *)block)[i] = (uint32_t)(uint64_t)(bias[c] - zero_in * sum);
        }
    }
}

/* What the blocks of one output row share. */
typedef struct dws_job {
    const bl_conv_args *a;
    const uint8_t *block;       /* bias and weights */
    const float *mult;
    const uint8_t *zeros;       /* DWS_ZEROS times the zero point */
    const uint8_t *row[DWS_MOST]; /* where kernel rows read column 0; bytes from column to column */
    int64_t step[DWS_MOST];
    uint8_t *out;
} dws_job;

/* What requantization needs, out of reach of what stores might change. */
typedef struct dws_ends {
    __m256 mult[2], most;
    __m256i zero, lo;
} dws_ends;

/* [Q3] of the sums of one position; see requant_avx512.h for the order. */
static inline __attribute__((always_inline)) void dws_put(const dws_ends *e, __m256i s0, __m256i s1, const size_t Z, uint8_t *out)
{
    __m256 f0 = _mm256_mul_ps(_mm256_cvtepi32_ps(s0), e->mult[0]), f1 = f0;
    if (Z == 2) f1 = _mm256_mul_ps(_mm256_cvtepi32_ps(s1), e->mult[1]);
    __m256i t0 = _mm256_cvtps_epi32(_mm256_min_ps(e->most, f0)), t1 = t0;
    if (Z == 2) t1 = _mm256_cvtps_epi32(_mm256_min_ps(e->most, f1));
    __m256i t = _mm256_max_epi16(_mm256_adds_epi16(_mm256_packs_epi32(t0, t1), e->zero), e->lo);
    t = _mm256_packus_epi16(t, t);
    __m128i codes = _mm_unpacklo_epi32(_mm256_castsi256_si128(t), _mm256_extracti128_si256(t, 1));
    if (Z == 2)
        _mm_storeu_si128((__m128i *)out, codes);
    else
        _mm_storel_epi64((__m128i *)out, codes);
}

static inline __m128i dws_eight(const uint8_t *from)
{
    return _mm_loadl_epi64((const __m128i *)from);
}

/* sum plus the products of a pair of rows; weights stay in memory, there are too few registers for them. */
static inline __m256i dws_dot(__m256i sum, __m256i x, const uint8_t *w)
{
    __m256i t;
    __asm__("vpmaddwd %2, %1, %0" : "=x"(t) : "x"(x), "m"(*(const __m256i_u *)w));
    return _mm256_add_epi32(sum, t);
}

/* Rows y and y + 1 of a column (the last one alone) in `z`th 8 channels, as pairs of words. */
#define DWS_PAIR(y, z)                                                                             \
    ((y) + 1 < K ? _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(dws_eight(x[y] + 8 * (z)), dws_eight(x[(y) + 1] + 8 * (z)))) \
                 : _mm256_cvtepu8_epi32(dws_eight(x[y] + 8 * (z))))

/* One row of outputs.  s[i]: sums of the ith output from now; kernel column c - i S of column c goes there. */
static inline __attribute__((always_inline)) void dws_row(const dws_job *j, const size_t K, const size_t S, const size_t Z)
{
    enum { MOST = DWS_MOST };
    const size_t active = (K - 1) / S + 1, pairs = (K + 1) / 2;
    const uint8_t *w = j->block + 64;
    const bl_conv_shape *shape = &j->a->s;
    uint64_t width = (uint64_t)shape->in_w;
    size_t pixel = (size_t)shape->in_c;
    __m256i bias[2] = {_mm256_loadu_si256((const __m256i *)j->block), _mm256_loadu_si256((const __m256i *)(j->block + 32))};
    __m256i s[MOST][2];
#pragma GCC unroll 5
    for (size_t i = 0; i < active; i++) s[i][0] = bias[0], s[i][1] = bias[1];
    int64_t at = -(int64_t)shape->pad_left;
    uint8_t *out = j->out;
    const uint8_t *from[MOST], *zeros = j->zeros;
    int64_t step[MOST];
#pragma GCC unroll 5
    for (size_t y = 0; y < K; y++) {
        step[y] = j->step[y];
        from[y] = j->row[y] + at * step[y];
    }
    const dws_ends ends = {
        .mult = {_mm256_loadu_ps(j->mult), _mm256_loadu_ps(j->mult + 8)},
        .most = _mm256_set1_ps((float)(j->a->hi - j->a->zero_out)),
        .zero = _mm256_set1_epi16((short)j->a->zero_out),
        .lo = _mm256_set1_epi16((short)j->a->lo),
    };
#define DWS_COLUMN(c)                                                                              \
    {                                                                                              \
        bool inside = (uint64_t)at < width;                                                        \
        __asm__("" : "+r"(w)); /* or each weight gets an address of its own, kept in memory */     \
        const uint8_t *x[MOST];                                                                    \
        _Pragma("GCC unroll 5") for (size_t y = 0; y < K; y++) {                   \
            x[y] = inside ? from[y] : zeros;                                                       \
            from[y] += step[y];                                                                    \
        }                                                                                          \
        _Pragma("GCC unroll 3") for (size_t p = 0; p < pairs; p++)                                 \
            _Pragma("GCC unroll 2") for (size_t z = 0; z < Z; z++) {                               \
                __m256i v = DWS_PAIR(2 * p, z);                                                    \
                _Pragma("GCC unroll 5") for (size_t i = 0; i < active; i++)        \
                    if (i * S <= (c) && (c) - i * S < K) s[i][z] = dws_dot(s[i][z], v, w + ((((c) - i * S) * pairs + p) * 2 + z) * 32); \
            }                                                                                      \
        at++;                                                                                      \
    }
#pragma GCC unroll 4
    for (size_t c = 0; c < K - S; c++) DWS_COLUMN(c)
    for (int64_t n = shape->out_w; n > 0; n--, out += pixel) {
#pragma GCC unroll 2
        for (size_t c = K - S; c < K; c++) DWS_COLUMN(c)
        dws_put(&ends, s[0][0], s[0][Z - 1], Z, out);
#pragma GCC unroll 5
        for (size_t i = 0; i + 1 < active; i++) s[i][0] = s[i + 1][0], s[i][1] = s[i + 1][1];
        s[active - 1][0] = bias[0];
        s[active - 1][1] = bias[1];
    }
#undef DWS_COLUMN
}

typedef void dws_fn(const dws_job *j);
#define DWS_ROW(K, S, Z)                                                                           \
    static __attribute__((noinline)) void dws_##K##_##S##_##Z(const dws_job *j)                    \
    {                                                                                              \
        dws_row(j, K, S, Z);                                                                       \
    }
/* clang-format off */
DWS_ROW(3, 1, 1) DWS_ROW(3, 1, 2) DWS_ROW(3, 2, 1) DWS_ROW(3, 2, 2)
DWS_ROW(5, 1, 1) DWS_ROW(5, 1, 2) DWS_ROW(5, 2, 1) DWS_ROW(5, 2, 2)
static dws_fn *const dws_rows[2][2][2] = { /* five rows, stride 2, two vectors */
    {{dws_3_1_1, dws_3_1_2}, {dws_3_2_1, dws_3_2_2}}, {{dws_5_1_1, dws_5_1_2}, {dws_5_2_1, dws_5_2_2}},
};
/* clang-format on */

/* Block b of output row oy. */
static void dws_block(dws_job *j, const dws_plan *p, size_t b, int64_t oy)
{
    const bl_conv_args *a = j->a;
    const bl_conv_shape *s = &a->s;
    size_t first = dws_first(p, b);
    for (int64_t y = 0; y < s->kernel_h; y++) {
        int64_t iy = oy * s->stride_h - s->pad_top + y * s->dilation_h;
        bool inside = iy >= 0 && iy < s->in_h;
        j->row[y] = inside ? (const uint8_t *)a->in + (size_t)(iy * s->in_w) * p->c + first : j->zeros;
        j->step[y] = inside ? s->in_c : 0;
    }
    j->out = (uint8_t *)a->out + (size_t)(oy * s->out_w) * p->c + first;
    dws_rows[s->kernel_h == 5][s->stride_w == 2][dws_vectors(p, b) == 2](j);
}

/* Long rows one after the other, so that they stay near while all channels pass; of short ones, all of a block of
 * channels. */
static void dws_run(const bl_conv_args *a)
{
    dws_plan p = dws_plan_of(&a->s);
    float *mult = a->work;
    uint8_t *zeros = (uint8_t *)a->work + p.mult_bytes;
    dws_job j = {.a = a, .zeros = zeros};
    memset(zeros, a->zero_in, DWS_ZEROS);
    memset(mult, 0, p.mult_bytes);
    for (size_t b = 0; b < p.blocks; b++)
        memcpy(mult + b * 16, a->mult + dws_first(&p, b), dws_vectors(&p, b) * 8 * sizeof *mult);
    int64_t rows = a->s.out_w > DWS_LONG_ROW ? 1 : a->row_end - a->row_begin;
    for (int64_t y = a->row_begin; y < a->row_end; y += rows)
        for (size_t b = 0; b < p.blocks; b++) {
            j.block = (const uint8_t *)a->packed + b * p.block_bytes;
            j.mult = mult + b * 16;
            for (int64_t oy = y; oy < y + rows; oy++) dws_block(&j, &p, b, oy);
        }
}

const bl_conv_row bl_k_conv_depthwise_slide_avx2 = {
    "conv_depthwise_slide_avx2", BL_ISA_AVX2, dws_fits, dws_packed_bytes, dws_pack, dws_work_bytes, dws_run, NULL, NULL, false,
};
#endif
