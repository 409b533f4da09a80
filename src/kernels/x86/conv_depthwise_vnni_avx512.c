/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Depthwise convolution (one input and one output channel a group) with vpdpbusd: what four taps
 * read of 64 channels is interleaved bytewise (8 unpacks), and each group of four bytes meets the
 * four weights of its channel.  The last taps meet weights of 0.
 *
 * With a column stride of 1 the pixels of a row side by side are one long run, and a block is any
 * 64 elements of it; the weights repeat with a period of lcm(channels, 64).  Otherwise a block is
 * 64 channels of one pixel.  3x3 kernels group their taps by columns and take four pixels at once,
 * so that a column is interleaved once for all outputs that read it; it pays unless more than a
 * third of the lanes are idle.
 *
 * 16-bit activations are two byte planes; their sums and those of acc64 shapes are joined in int64.
 *
 * Packed: biases and weights of a block, [block](64 biases, [4 taps][vector][16][4]).
 */
#include "kernels/rows.h"

#if defined(__x86_64__)
#include "kernels/plain/direct.h"
#include "kernels/x86/requant_avx512.h"

enum { DWV_TAPS_MAX = 4096 };

typedef struct dwv_plan {
    direct_plan d;
    size_t c, blocks;           /* blocks: of one period */
    bool flat;                  /* blocks run over pixels */
    bool wide, mixed;           /* as in conv_vnni_avx512.c */
    bool three;                 /* 3x3, taps by columns, four pixels at once */
    size_t quads;               /* groups of four taps */
    size_t bias_bytes, block_bytes, mult_bytes, tap_bytes;
} dwv_plan;

static dwv_plan dwv_plan_of(const bl_conv_shape *s)
{
    dwv_plan p = {.d = direct_plan_of(s, 1)};
    p.c = (size_t)s->in_c;
    p.wide = s->acc64 || p.d.planes == 2;
    p.mixed = !p.wide && s->out_bits <= 8;
    p.three = p.mixed && s->kernel_h == 3 && s->kernel_w == 3 && s->dilation_w == 1 &&
              s->stride_w <= 2;
    bool whole = (p.c + 63) / 64 * 64 <= p.c + p.c / 2;
    p.flat = s->stride_w == 1 && p.c % 64 != 0 && !(p.three && whole);
    size_t period = p.c;
    while (p.flat && period % 64) period += p.c;
    p.blocks = (period + 63) / 64;
    p.quads = ((size_t)s->kernel_h * (size_t)s->kernel_w + 3) / 4;
    p.bias_bytes = 64 * (p.wide ? sizeof(int64_t) : sizeof(int32_t));
    p.block_bytes = p.bias_bytes + p.quads * 256;
    p.mult_bytes = p.blocks * 64 * sizeof(float);
    p.tap_bytes = bl_round64(p.quads * 4 * sizeof(size_t));
    return p;
}

/* Place of a tap among the quads: by columns for 3x3, else row by row. */
static size_t dwv_slot(const dwv_plan *p, const bl_conv_shape *s, size_t y, size_t x)
{
    return p->three ? x * 4 + y : y * (size_t)s->kernel_w + x;
}

static bool dwv_fits(const bl_conv_shape *s)
{
    return s->groups == s->in_c && s->out_c == s->in_c &&
           (int64_t)s->kernel_h * s->kernel_w <= DWV_TAPS_MAX;
}

static size_t dwv_packed_bytes(const bl_conv_shape *s)
{
    dwv_plan p = dwv_plan_of(s);
    return p.blocks * p.block_bytes;
}

static size_t dwv_work_bytes(const bl_conv_shape *s)
{
    dwv_plan p = dwv_plan_of(s);
    return p.mult_bytes + p.tap_bytes + p.d.slab_bytes;
}

/* Where unpacking puts channel c of a block: vector, then element. */
static size_t dwv_place(size_t c)
{
    return c / 4 % 4 * 16 + c / 16 * 4 + c % 4;
}

static void dwv_pack(const bl_conv_shape *s, const int8_t *codes, int32_t zero_in,
                     const int32_t *bias, void *packed)
{
    dwv_plan p = dwv_plan_of(s);
    size_t kh = (size_t)s->kernel_h, kw = (size_t)s->kernel_w;
    memset(packed, 0, p.blocks * p.block_bytes);
    for (size_t e = 0; e < p.blocks * 64; e++) {
        if (!p.flat && e >= p.c) break;
        size_t c = e % p.c, place = dwv_place(e % 64);
        uint8_t *block = (uint8_t *)packed + e / 64 * p.block_bytes;
        int8_t *w = (int8_t *)block + p.bias_bytes;
        int64_t sum = 0;
        for (size_t y = 0; y < kh; y++)
            for (size_t x = 0; x < kw; x++) {
                int8_t code = codes[(c * kh + y) * kw + x];
                size_t slot = dwv_slot(&p, s, y, x);
                w[slot / 4 * 256 + place * 4 + slot % 4] = code;
                sum += code;
            }
        int64_t folded = bias[c] - zero_in * sum;
        if (p.wide)
            ((int64_t *)block)[e % 64] = folded; /* joined in natural order */
        else
            ((uint32_t *)block)[place] = (uint32_t)(uint64_t)folded;
    }
}

static void dwv_mult(const bl_conv_args *a, const dwv_plan *p, float *to)
{
    memset(to, 0, p->mult_bytes);
    for (size_t e = 0; e < p->blocks * 64 && (p->flat || e < p->c); e++)
        to[e / 64 * 64 + (p->mixed ? dwv_place(e % 64) : e % 64)] = a->mult[e % p->c];
}

/* What the blocks of one output row share. */
typedef struct dwv_job {
    const dwv_plan *p;
    const uint8_t *packed;
    const float *mult;
    const size_t *tap;          /* offsets of the taps, four for a quad */
    size_t row, plane;          /* bytes from kernel row to row, plane to plane */
    int32_t out_bits;
    void *out;
    requant q;
} dwv_job;

#define DOT(sum, x, w) __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(x), "m"(w))
#define LOAD(from) _mm512_maskz_loadu_epi8(mask, from)

/* Four taps of 64 channels as i0..i3, ready for DOT. */
#define COLUMN(r0, r1, r2, r3)                                                                     \
    __m512i row0 = LOAD(r0), row1 = LOAD(r1), row2 = LOAD(r2), row3 = LOAD(r3);                    \
    __m512i low01 = _mm512_unpacklo_epi8(row0, row1), high01 = _mm512_unpackhi_epi8(row0, row1);   \
    __m512i low23 = _mm512_unpacklo_epi8(row2, row3), high23 = _mm512_unpackhi_epi8(row2, row3);   \
    __m512i i0 = _mm512_unpacklo_epi16(low01, low23), i1 = _mm512_unpackhi_epi16(low01, low23);    \
    __m512i i2 = _mm512_unpacklo_epi16(high01, high23), i3 = _mm512_unpackhi_epi16(high01, high23);

static inline __attribute__((always_inline)) void dwv_sums(const dwv_job *j, const uint8_t *x,
                                                           const __m512i *w, __mmask64 mask,
                                                           __m512i *sums)
{
    __m512i s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
    const size_t *tap = j->tap;
    for (size_t quad = 0; quad < j->p->quads; quad++, tap += 4, w += 4) {
        COLUMN(x + tap[0], x + tap[1], x + tap[2], x + tap[3])
        DOT(s0, i0, w[0]);
        DOT(s1, i1, w[1]);
        DOT(s2, i2, w[2]);
        DOT(s3, i3, w[3]);
    }
    sums[0] = s0;
    sums[1] = s1;
    sums[2] = s2;
    sums[3] = s3;
}

/* Sums as unpacking left them, to natural order: lanes of four vectors transposed. */
static inline void dwv_sort(__m512i *s)
{
    __m512i a = _mm512_shuffle_i32x4(s[0], s[1], 0x44), b = _mm512_shuffle_i32x4(s[2], s[3], 0x44);
    __m512i c = _mm512_shuffle_i32x4(s[0], s[1], 0xee), d = _mm512_shuffle_i32x4(s[2], s[3], 0xee);
    s[0] = _mm512_shuffle_i32x4(a, b, 0x88);
    s[1] = _mm512_shuffle_i32x4(a, b, 0xdd);
    s[2] = _mm512_shuffle_i32x4(c, d, 0x88);
    s[3] = _mm512_shuffle_i32x4(c, d, 0xdd);
}

static void dwv_finish(const dwv_job *j, __m512i *low, __m512i *high, const void *bias,
                       const float *mult, size_t to, size_t n)
{
    dwv_sort(low);
    dwv_sort(high);
    for (size_t z = 0; z * 16 < n; z++) {
        size_t left = n - z * 16;
        if (j->p->wide) {
            requant_store_wide(&j->q, low[z], high[z], (const int64_t *)bias + z * 16,
                               mult + z * 16, j->out_bits, j->out, to + z * 16, left);
            continue;
        }
        __m512i t = requant_int(&j->q, low[z], mult + z * 16);
        t = _mm512_max_epi32(t, _mm512_sub_epi32(j->q.lo32, j->q.zero32));
        t = _mm512_add_epi32(t, j->q.zero32);
        __mmask16 mask = left >= 16 ? 0xffff : (__mmask16)((1u << left) - 1);
        _mm256_mask_storeu_epi16((uint16_t *)j->out + to + z * 16, mask,
                                 _mm512_cvtepi32_epi16(t));
    }
}

/* n <= 64 outputs of block b whose first input is x, to place `to` of the output. */
static inline void dwv_block(const dwv_job *j, size_t b, const uint8_t *x, size_t to, size_t n)
{
    const uint8_t *block = j->packed + b * j->p->block_bytes;
    const __m512i *w = (const __m512i *)(block + j->p->bias_bytes), *bias = (const __m512i *)block;
    const float *mult = j->mult + b * 64;
    __mmask64 mask = n >= 64 ? ~0ull : (1ull << n) - 1;
    __m512i sums[4] = {0}, high[4] = {0};
    if (!j->p->wide)
        for (int z = 0; z < 4; z++) sums[z] = bias[z];
    dwv_sums(j, x, w, mask, sums);
    if (j->p->mixed) {
        requant_store64(&j->q, sums[0], sums[1], sums[2], sums[3], mult, (uint8_t *)j->out + to, n);
        return;
    }
    if (j->p->d.planes == 2) dwv_sums(j, x + j->plane, w, mask, high);
    dwv_finish(j, sums, high, bias, mult, to, n);
}

/* 3x3: n channels of 4 outputs side by side, stride 1 or 2; W(k, z): weights of column k. */
#define W(k, z) w[(k) * 4 + z]
#define SUMS(p) __m512i s##p##0 = bias[0], s##p##1 = bias[1], s##p##2 = bias[2], s##p##3 = bias[3];
#define USE(p, k)                                                                                  \
    DOT(s##p##0, i0, W(k, 0));                                                                     \
    DOT(s##p##1, i1, W(k, 1));                                                                     \
    DOT(s##p##2, i2, W(k, 2));                                                                     \
    DOT(s##p##3, i3, W(k, 3));
#define AT(column) COLUMN(x + column * c, r1 + column * c, r2 + column * c, r2 + column * c)
#define STORE(p)                                                                                   \
    requant_store64(&j->q, s##p##0, s##p##1, s##p##2, s##p##3, mult, out + p * c, n);

#define THREE(name, columns)                                                                       \
    static __attribute__((noinline)) void name(const dwv_job *j, size_t b, const uint8_t *x,       \
                                               uint8_t *out, size_t n)                             \
    {                                                                                              \
        const uint8_t *block = j->packed + b * j->p->block_bytes;                                  \
        const __m512i *bias = (const __m512i *)block;                                              \
        const __m512i *w = (const __m512i *)(block + j->p->bias_bytes);                            \
        const float *mult = j->mult + b * 64;                                                      \
        const uint8_t *r1 = x + j->row, *r2 = r1 + j->row;                                         \
        const size_t c = j->p->c;                                                                  \
        const __mmask64 mask = n >= 64 ? ~0ull : (1ull << n) - 1;                                  \
        SUMS(0) SUMS(1) SUMS(2) SUMS(3)                                                            \
        columns                                                                                    \
        STORE(0) STORE(1) STORE(2) STORE(3)                                                        \
    }
/* clang-format off */
THREE(dwv_three_1,
      { AT(0) USE(0, 0) }
      { AT(1) USE(0, 1) USE(1, 0) }
      { AT(2) USE(0, 2) USE(1, 1) USE(2, 0) }
      { AT(3) USE(1, 2) USE(2, 1) USE(3, 0) }
      { AT(4) USE(2, 2) USE(3, 1) }
      { AT(5) USE(3, 2) })
THREE(dwv_three_2,
      { AT(0) USE(0, 0) }
      { AT(1) USE(0, 1) }
      { AT(2) USE(0, 2) USE(1, 0) }
      { AT(3) USE(1, 1) }
      { AT(4) USE(1, 2) USE(2, 0) }
      { AT(5) USE(2, 1) }
      { AT(6) USE(2, 2) USE(3, 0) }
      { AT(7) USE(3, 1) }
      { AT(8) USE(3, 2) })
/* clang-format on */

/* One output row; in: its first input, `to`: its first output. */
static void dwv_row(const dwv_job *j, const bl_conv_shape *s, const uint8_t *in, size_t to)
{
    const dwv_plan *p = j->p;
    size_t n = (size_t)s->out_w * p->c;
    if (p->flat) {
        for (size_t e = 0, b = 0; e < n; e += 64, b = b + 1 == p->blocks ? 0 : b + 1)
            dwv_block(j, b, in + e, to + e, BL_MIN(n - e, (size_t)64));
        return;
    }
    for (size_t b = 0; b < p->blocks; b++) {
        size_t channels = BL_MIN(p->c - b * 64, (size_t)64), x = 0, step = (size_t)s->stride_w;
        const uint8_t *from = in + b * 64;
        for (; p->three && x + 4 <= (size_t)s->out_w; x += 4)
            (step == 1 ? dwv_three_1 : dwv_three_2)(j, b, from + x * step * p->c,
                                                    (uint8_t *)j->out + to + x * p->c + b * 64,
                                                    channels);
        for (; x < (size_t)s->out_w; x++)
            dwv_block(j, b, from + x * step * p->c, to + x * p->c + b * 64, channels);
    }
}

static void dwv_run(const bl_conv_args *a)
{
    const bl_conv_shape *s = &a->s;
    dwv_plan p = dwv_plan_of(s);
    float *mult = a->work;
    size_t *tap = (size_t *)((uint8_t *)a->work + p.mult_bytes);
    uint8_t *slab = (uint8_t *)tap + p.tap_bytes;
    size_t row = p.d.in_place ? (size_t)s->in_w * p.c : p.d.slab_row;
    dwv_job j = {.p = &p, .packed = a->packed, .mult = mult, .row = row * (size_t)s->dilation_h,
                 .tap = tap, .plane = p.d.slab_plane, .out_bits = s->out_bits, .out = a->out,
                 .q = requant_of(a)};
    memset(tap, 0, p.tap_bytes);
    for (size_t y = 0; y < (size_t)s->kernel_h; y++)
        for (size_t x = 0; x < (size_t)s->kernel_w; x++)
            tap[dwv_slot(&p, s, y, x)] = y * j.row + x * (size_t)s->dilation_w * p.c;
    dwv_mult(a, &p, mult);
    for (int64_t oy = a->row_begin; oy < a->row_end; oy += p.d.block_rows) {
        int64_t rows = BL_MIN(p.d.block_rows, a->row_end - oy);
        const uint8_t *in = slab;
        if (p.d.in_place)
            in = (const uint8_t *)a->in +
                 (size_t)((oy * s->stride_h - s->pad_top) * s->in_w - s->pad_left) * p.c;
        else
            direct_slab(a, &p.d, oy, rows, slab);
        for (int64_t y = 0; y < rows; y++)
            dwv_row(&j, s, in + (size_t)(y * s->stride_h) * row,
                    (size_t)((oy + y) * s->out_w) * p.c);
    }
}

const bl_conv_row bl_k_conv_depthwise_vnni_avx512 = {
    "conv_depthwise_vnni_avx512", BL_ISA_AVX512, dwv_fits, dwv_packed_bytes, dwv_pack,
    dwv_work_bytes, dwv_run, NULL,
};
#endif
