/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Depthwise convolution (one input and one output channel a group) with vpdpbusd: what four taps
 * read of 64 channels is interleaved bytewise (8 unpacks), and each group of four bytes meets the
 * four weights of its channel.  The last taps meet weights of 0.
 *
 * 3x3 and 5x5 kernels group their taps by columns and slide along rows (depthwise_slide.inc, depthwise_halves_avx512.h), 64
 * channels at a time, the last 32 or fewer for two or four rows of outputs side by side.  Other kernels, and fewer than 16 channels: with a column stride
 * of 1 the pixels of a row side by side are one long run, and a block is any 64 elements of it; the weights
 * repeat with a period of lcm(channels, 64).  Otherwise a block is 64 channels of one pixel.
 *
 * 16-bit activations are two byte planes; their sums and those of acc64 shapes are joined in int64.
 *
 * Packed: biases and weights of a block, [block](64 biases, [4 taps][vector][16][4]).
 */
#include "kernels/rows.h"

#if defined(__x86_64__)
#include "kernels/plain/direct.h"
#include "kernels/x86/requant_avx512.h"
#include "kernels/x86/lanes_avx512.h"

enum { DWV_TAPS_MAX = 4096, DWV_SLIDE_C = 16, DWV_SHORTEST = 6, DWV_SHORT_ROW = 14, DWV_LONG_ROW = 28,
       DWV_ROWS = 5 + 3 * 2, DWV_NEAR = 20 << 10 };

typedef struct dwv_plan {
    direct_plan d;
    size_t c, blocks;           /* blocks: of one period */
    bool flat;                  /* blocks run over pixels */
    bool wide, mixed;           /* as in conv_vnni_avx512.c */
    bool slide;                 /* 3x3 or 5x5, taps by columns */
    size_t quads;               /* groups of four taps */
    size_t bias_bytes, block_bytes, mult_bytes, tap_bytes;
} dwv_plan;

/* Taps of a kernel column with those that fill up its quads. */
static size_t dwv_column(const bl_conv_shape *s)
{
    return ((size_t)s->kernel_h + 3) / 4 * 4;
}

static dwv_plan dwv_plan_of(const bl_conv_shape *s)
{
    dwv_plan p = {.d = direct_plan_of(s, 1)};
    p.c = (size_t)s->in_c;
    p.wide = s->acc64 || p.d.planes == 2;
    p.mixed = !p.wide && s->out_bits <= 8;
    p.slide = p.mixed && s->kernel_h == s->kernel_w && (s->kernel_h == 3 || s->kernel_h == 5) &&
              s->dilation_w == 1 && s->stride_w <= 2 && (s->stride_w == 2 || p.c >= DWV_SLIDE_C);
    p.flat = s->stride_w == 1 && p.c % 64 != 0 && !p.slide;
    size_t period = p.c;
    while (p.flat && period % 64) period += p.c;
    p.blocks = (period + 63) / 64;
    p.quads = ((size_t)s->kernel_h * (size_t)s->kernel_w + 3) / 4;
    if (p.slide) p.quads = (size_t)s->kernel_w * dwv_column(s) / 4;
    p.bias_bytes = 64 * (p.wide ? sizeof(int64_t) : sizeof(int32_t));
    p.block_bytes = p.bias_bytes + p.quads * 256;
    p.mult_bytes = p.blocks * 64 * sizeof(float);
    p.tap_bytes = bl_round64(p.quads * 4 * sizeof(size_t));
    return p;
}

/* Place of a tap among the quads: by columns, or row by row. */
static size_t dwv_slot(const dwv_plan *p, const bl_conv_shape *s, size_t y, size_t x)
{
    return p->slide ? x * dwv_column(s) + y : y * (size_t)s->kernel_w + x;
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

/* A row of zero points stands for rows outside: 64 of them for each column, all that a block reads. */
static size_t dwv_zeros(const bl_conv_shape *s)
{
    return bl_round64((size_t)s->in_w * (size_t)s->in_c + 64);
}

static size_t dwv_work_bytes(const bl_conv_shape *s)
{
    dwv_plan p = dwv_plan_of(s);
    return p.mult_bytes + (p.slide ? dwv_zeros(s) : p.tap_bytes + p.d.slab_bytes);
}

/* Rows of outputs that stand side by side in the vectors of a block of n channels; its weights do as often. */
static size_t dwv_fold(size_t n)
{
    return n > 32 ? 1 : n > 16 ? 2 : 4;
}

/* Channels of a sliding block stand in the first lanes of its vectors: repeats them in the others. */
static void dwv_repeat(void *block, size_t bytes, size_t channels)
{
    size_t lanes = 64 / dwv_fold(channels);
    for (size_t i = 0; i < bytes; i += 64)
        for (size_t to = lanes; to < 64; to += lanes) memcpy((char *)block + i + to, (char *)block + i, lanes);
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
    if (p.slide && p.c % 64)
        dwv_repeat((uint8_t *)packed + (p.blocks - 1) * p.block_bytes, p.block_bytes, p.c % 64);
}

static void dwv_mult(const bl_conv_args *a, const dwv_plan *p, size_t begin, size_t end, float *to)
{
    if (p->slide) {
        size_t c = begin * 64, channels = BL_MIN(end * 64, p->c);
        for (; c + 64 <= channels; c += 64) /* dwv_place() of four at a time */
            for (size_t i = 0; i < 16; i++) memcpy(to + c + i % 4 * 16 + i / 4 * 4, a->mult + c + i * 4, 16);
        if (c == channels) return;
        float *last = to + c;
        memset(last, 0, 64 * sizeof *to);
        for (; c < channels; c++) last[dwv_place(c % 64)] = a->mult[c];
        dwv_repeat(last, 64 * sizeof *to, channels % 64);
        return;
    }
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
    size_t out_row;             /* bytes from output row to row */
    int32_t out_bits;
    void *out;
    const uint8_t *zeros;       /* a row of zero points */
    int64_t in_h, in_w, out_w, pad_top, pad_left;
    size_t in_row;
    requant q;
} dwv_job;

/* Without a branch, which would be missed too often. */
static inline const uint8_t *dwv_choose(bool inside, const uint8_t *there, const uint8_t *zeros)
{
    return (const uint8_t *)((uintptr_t)zeros ^ (-(uintptr_t)inside & ((uintptr_t)zeros ^ (uintptr_t)there)));
}

/* One pointer at a time: gcc would read two of them in a vector, which waits for both to be stored. */
static inline const uint8_t *dwv_column_at(const uint8_t *row, int64_t at, size_t pixel)
{
    __asm__("" : "+r"(row));
    return row + (size_t)at * pixel;
}

/* Input row iy, of which `in` is row 0. */
static inline const uint8_t *dwv_row_at(const dwv_job *j, const uint8_t *in, int64_t iy)
{
    const uint8_t *row = dwv_choose((uint64_t)iy < (uint64_t)j->in_h, in + iy * (int64_t)j->in_row, j->zeros);
    __asm__("" : "+r"(row)); /* or gcc computes several in a vector */
    return row;
}

#define DOT_REG(sum, x, w) __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(w))

/* [Q3] of two vectors, as 16-bit integers; see requant_codes64. */
static inline __attribute__((always_inline)) __m512i dwv_round(const requant *q, int kind, __m512i a, __m512i b, __m512 ma, __m512 mb)
{
    __m512 ta = _mm512_mul_ps(_mm512_cvtepi32_ps(a), ma), tb = _mm512_mul_ps(_mm512_cvtepi32_ps(b), mb);
    if (kind == REQUANT_SURE) {
        ta = _mm512_min_ps(q->most, ta);
        tb = _mm512_min_ps(q->most, tb);
    }
    __m512i t = _mm512_packs_epi32(_mm512_cvtps_epi32(ta), _mm512_cvtps_epi32(tb));
    return kind == REQUANT_BARE ? t : _mm512_add_epi16(t, q->zero16);
}

/* The bytes of four. */
static inline __attribute__((always_inline)) __m512i dwv_codes(const requant *q, int kind, __m512i low, __m512i high)
{
    __m512i codes = _mm512_packus_epi16(low, high);
    if (kind != REQUANT_BARE) codes = _mm512_max_epu8(codes, q->lo8);
    return kind == REQUANT_FAST ? _mm512_min_epu8(codes, q->hi8) : codes;
}

#include "kernels/x86/depthwise_halves_avx512.h"

typedef void slide_fn(const dwv_job *j, size_t b, const uint8_t *const *row, uint8_t *out, size_t rows, size_t n);
#define SLIDE_FOLD 1
#include "kernels/x86/depthwise_slide.inc"
#define SLIDE_FOLD 2
#include "kernels/x86/depthwise_slide.inc"
#define SLIDE_FOLD 4
#include "kernels/x86/depthwise_slide.inc"

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

/* Sums as unpacking left them, lanes before vectors. */
static void dwv_finish(const dwv_job *j, __m512i *low, __m512i *high, const void *bias,
                       const float *mult, size_t to, size_t n)
{
    lanes_turn(low);
    lanes_turn(high);
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
        for (; x < (size_t)s->out_w; x++)
            dwv_block(j, b, from + x * step * p->c, to + x * p->c + b * 64, channels);
    }
}

/* Channels of block b of a layer that slides. */
static size_t dwv_channels(const dwv_plan *p, size_t b)
{
    return BL_MIN(p->c - b * 64, (size_t)64);
}

/* Rows that block b takes at a time: side by side where they read the same rows of the input. */
static size_t dwv_side(const dwv_plan *p, const bl_conv_shape *s, size_t b)
{
    return s->dilation_h == 1 && s->stride_h == s->stride_w ? dwv_fold(dwv_channels(p, b)) : 1;
}

/* Block b of output rows oy and on, `side` at a time, `rows` of them wanted. */
static void dwv_slide(const dwv_job *j, const bl_conv_args *a, size_t b, int64_t oy, size_t side, size_t rows, int kind)
{
    slide_fn *const(*fn)[REQUANT_KINDS][4] = side == 1 ? slide_1_rows : side == 2 ? slide_2_rows : slide_4_rows;
    const bl_conv_shape *s = &a->s;
    size_t n = dwv_channels(j->p, b);
    const uint8_t *row[DWV_ROWS];
    const uint8_t *in = (const uint8_t *)a->in + b * 64;
    int64_t most = s->kernel_h + (int64_t)(side - 1) * s->stride_h, iy = oy * s->stride_h - s->pad_top;
    for (int64_t y = 0; y < most; y++, iy += s->dilation_h) row[y] = dwv_row_at(j, in, iy);
    fn[n * side == 64][kind][(s->kernel_h == 5) * 2 + (s->stride_w == 2)](
        j, b, row, (uint8_t *)a->out + (size_t)oy * j->out_row + b * 64, rows, n);
}

/* How the lanes of a block of n channels are laid out for depthwise_halves_avx512.h; HALVES_LAYOUTS: it is not for it.  It reads
 * everything twice, which does not pay in long rows, nor in rows of medium length if reads cross lines of the cache. */
static int dwv_halves(const dwv_plan *p, const bl_conv_shape *s, size_t n)
{
    if (s->kernel_h != 3 || s->stride_h != 1 || s->stride_w != 1 || s->dilation_h != 1 || s->pad_left != 1 || s->out_w != s->in_w ||
        s->out_w < DWV_SHORTEST)
        return HALVES_LAYOUTS;
    if (p->c == 32 && s->out_w % 2 == 0) return HALVES_NEXT;
    if (n <= 32 || s->out_w > (p->c % 64 ? DWV_SHORT_ROW : DWV_LONG_ROW)) return HALVES_LAYOUTS;
    return n == 64 ? HALVES_WHOLE : HALVES_PART;
}

/* Long rows one after the other, so that they stay near while all channels pass; of short ones, as many of a block of
 * channels as stay near. */
static void dwv_slides(dwv_job *j, const bl_conv_args *a, size_t begin, size_t end, uint8_t *zeros)
{
    const bl_conv_shape *s = &a->s;
    int kind = requant_kind(a);
    for (int64_t x = 0; x < s->in_w; x++) memset(zeros + (size_t)x * j->p->c, a->zero_in, 64);
    j->zeros = zeros;
    j->in_h = s->in_h;
    j->in_w = s->in_w;
    j->out_w = s->out_w;
    j->in_row = (size_t)s->in_w * j->p->c;
    j->out_row = (size_t)s->out_w * j->p->c;
    j->pad_top = s->pad_top;
    j->pad_left = s->pad_left;
    int64_t rows = s->out_w > DWV_LONG_ROW ? (int64_t)dwv_side(j->p, s, end - 1) : a->row_end - a->row_begin;
    if (dwv_halves(j->p, s, dwv_channels(j->p, 0)) != HALVES_LAYOUTS) {
        int64_t near = DWV_NEAR / (s->in_w * BL_MIN(s->in_c, 64)) - (s->kernel_h - 1); /* both walks find them there */
        rows = BL_MAX(near, (int64_t)dwv_side(j->p, s, end - 1));
    }
    for (int64_t y = a->row_begin; y < a->row_end; y += rows)
        for (size_t b = begin; b < end; b++) {
            int64_t side = (int64_t)dwv_side(j->p, s, b), last = BL_MIN(y + rows, a->row_end);
            int layout = dwv_halves(j->p, s, dwv_channels(j->p, b));
            if (layout != HALVES_LAYOUTS) {
                halves_rows[kind][layout](j, b, (const uint8_t *)a->in + b * 64, y, last,
                                          (uint8_t *)a->out + (size_t)y * j->out_row + b * 64);
                continue;
            }
            for (int64_t oy = y; oy < last; oy += side)
                dwv_slide(j, a, b, oy, (size_t)side, (size_t)BL_MIN(side, last - oy), kind);
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
    size_t begin = (size_t)a->part_begin, end = a->part_end ? (size_t)a->part_end : p.blocks;
    dwv_mult(a, &p, begin, end, mult);
    if (p.slide) {
        dwv_slides(&j, a, begin, end, (uint8_t *)tap);
        return;
    }
    memset(tap, 0, p.tap_bytes);
    for (size_t y = 0; y < (size_t)s->kernel_h; y++)
        for (size_t x = 0; x < (size_t)s->kernel_w; x++)
            tap[dwv_slot(&p, s, y, x)] = y * j.row + x * (size_t)s->dilation_w * p.c;
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

/* Blocks that slide over all rows of theirs can be cut between blocks. */
static size_t dwv_parts(const bl_conv_shape *s)
{
    dwv_plan p = dwv_plan_of(s);
    return p.slide && s->out_w <= DWV_LONG_ROW ? p.blocks : 1;
}

const bl_conv_row bl_k_conv_depthwise_vnni_avx512 = {
    "conv_depthwise_vnni_avx512", BL_ISA_AVX512, dwv_fits, dwv_packed_bytes, dwv_pack,
    dwv_work_bytes, dwv_run, dwv_parts, NULL, false,
};
#endif
