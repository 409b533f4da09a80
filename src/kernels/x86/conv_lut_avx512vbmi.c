/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Convolution with weights of 1 or 2 bits and activations of few, by table look-up.  For every input
 * pixel and group of activations a table of 64 bytes holds their weighted sum for each of the 64
 * ways that six bits of weights can be; vpermb looks up 64 output channels at once, each with its
 * own six bits.  Six activations meet weights of one bit, three those of two bits.
 *
 * Weights count as u = (w + 1) / 2 or w + 2, so that tables hold no signs; sum(x) of a window, which
 * the offset costs, is made once for all channels.
 *
 * Look-ups are added up in bytes.  With x <= X a table entry is at most 6 X (one bit) or 9 X, so
 * `adds` = 255 / that of them fit; then they go to 16-bit sums of even and odd bytes, which hold
 * K X or 3 K X: fits() asks for at most 65,535.
 *
 * Table of six bits: T[i] = L[i % 8] + H[i / 8]; L and H are made for eight groups at once, which is
 * why group g holds the activations g, g + G, g + 2 G, ... of a pixel, G groups in all.
 *
 * Packed: folded biases of whole blocks, then six bits a byte as [64 channels][tap][group][64].
 */
#include "kernels/rows.h"

#if defined(__x86_64__)
#include "kernels/plain/direct.h"
#include "kernels/x86/requant_avx512.h"

enum { LUT_P = 8 };

typedef struct lut_plan {
    direct_plan d;              /* of an image whose pixels are tables */
    size_t c, groups, taps, blocks;
    int bits;                   /* of a weight */
    unsigned adds;
    size_t sum_bytes, total_bytes, mult_bytes, pixel_bytes;
} lut_plan;

static lut_plan lut_plan_of(const bl_conv_shape *s)
{
    lut_plan p;
    p.c = (size_t)s->in_c;
    p.bits = s->weight_bits;
    size_t each = p.bits == 1 ? 6 : 3;
    p.groups = (p.c + each - 1) / each;
    p.taps = (size_t)s->kernel_h * (size_t)s->kernel_w;
    p.blocks = ((size_t)s->out_c + 63) / 64;
    p.adds = 255u / ((p.bits == 1 ? 6u : 9u) * ((1u << s->in_bits) - 1));
    bl_conv_shape tables = *s;
    tables.in_c = (int32_t)(p.groups * 64);
    p.d = direct_plan_of(&tables, 64);
    p.d.in_place = false;
    p.d.slab_bytes = bl_round64(p.d.slab_plane);
    p.sum_bytes = bl_round64(p.d.slab_plane / (p.groups * 64) * sizeof(int32_t));
    p.total_bytes = p.d.at_bytes;
    p.mult_bytes = p.blocks * 64 * sizeof(float);
    p.pixel_bytes = bl_round64(p.c);
    return p;
}

static bool lut_fits(const bl_conv_shape *s)
{
    bool one = s->weight_bits == 1;
    if (s->groups != 1 || s->acc64 || s->out_bits > 8 || s->in_c > 1 << 20) return false;
    if (one ? s->in_bits > 4 : s->weight_bits != 2 || s->in_bits > 2) return false;
    if (bl_conv_taps(s) * ((1 << s->in_bits) - 1) * (one ? 1 : 3) > 65535) return false;
    /* A table costs as much as 3 to 5 look-ups and must be used often enough, and the sums of a
     * position must be long enough for its end not to weigh (measured). */
    int64_t taps = (int64_t)s->kernel_h * s->kernel_w;
    int64_t uses = taps * s->out_c / ((int64_t)64 * s->stride_h * s->stride_w);
    if (!one && s->out_h * s->out_w == 1) return false; /* conv_fc masks its codes for less */
    return s->in_c >= 12 && taps * s->in_c >= 128 && s->out_c >= 48 &&
           uses >= (one ? 2 : taps == 1 ? 8 : 18);
}

static size_t lut_packed_bytes(const bl_conv_shape *s)
{
    lut_plan p = lut_plan_of(s);
    return p.blocks * 64 * (sizeof(int32_t) + p.taps * p.groups);
}

static size_t lut_work_bytes(const bl_conv_shape *s)
{
    lut_plan p = lut_plan_of(s);
    return direct_work_bytes(&p.d) + p.sum_bytes + p.total_bytes + p.mult_bytes + p.pixel_bytes;
}

/* requant_store64's order of channels, and the byte of a look-up whose sum comes to that place. */
static size_t lut_place(size_t c)
{
    return c / 4 % 4 * 16 + c / 16 * 4 + c % 4;
}

static size_t lut_byte(size_t c)
{
    size_t z = c / 4 % 4;
    return c / 16 * 16 + z % 2 * 8 + c % 4 * 2 + z / 2;
}

static void lut_pack(const bl_conv_shape *s, const int8_t *codes, int32_t zero_in,
                     const int32_t *bias, void *packed)
{
    lut_plan p = lut_plan_of(s);
    uint8_t *weights = (uint8_t *)packed + p.blocks * 64 * sizeof(int32_t);
    memset(packed, 0, lut_packed_bytes(s));
    for (size_t o = 0; o < (size_t)s->out_c; o++) {
        uint8_t *block = weights + o / 64 * p.taps * p.groups * 64 + lut_byte(o % 64);
        int64_t sum = 0;
        for (size_t t = 0; t < p.taps; t++)
            for (size_t c = 0; c < p.c; c++) {
                int32_t w = codes[(o * p.taps + t) * p.c + c];
                uint32_t u = (uint32_t)(p.bits == 1 ? w > 0 : w + 2);
                block[(t * p.groups + c % p.groups) * 64] |=
                    (uint8_t)(u << c / p.groups * (size_t)p.bits);
                sum += w;
            }
        ((uint32_t *)packed)[o / 64 * 64 + lut_place(o % 64)] =
            (uint32_t)(uint64_t)(bias[o] - zero_in * sum);
    }
}

/* Byte i of the low half eight times in eighth i of a vector; the bits of a byte's place; byte i of
 * each eighth of a vector to the eight places with i / 8, within 128-bit lanes. */
typedef struct lut_maker {
    __m512i spread, bit[3], high;
} lut_maker;

static lut_maker lut_maker_of(void)
{
    lut_maker m;
    uint8_t spread[64], bit[3][64], high[64];
    for (unsigned i = 0; i < 64; i++) {
        spread[i] = high[i] = (uint8_t)(i / 8);
        for (unsigned b = 0; b < 3; b++) bit[b][i] = i >> b & 1 ? 255 : 0;
    }
    m.spread = _mm512_loadu_si512(spread);
    m.high = _mm512_loadu_si512(high);
    for (int b = 0; b < 3; b++) m.bit[b] = _mm512_loadu_si512(bit[b]);
    return m;
}

/* Activation number i of the groups from g on, each eight times. */
static inline __m512i lut_take(const lut_plan *p, __m512i spread, const uint8_t *x, size_t at)
{
    uint64_t eight = 0;
    if (at + 8 <= p->c)
        memcpy(&eight, x + at, 8);
    else if (at < p->c)
        for (size_t i = p->c; i-- > at;) eight = eight << 8 | x[i];
    return _mm512_permutexvar_epi8(spread, _mm512_castsi128_si512(_mm_cvtsi64_si128((int64_t)eight)));
}

/* All tables of one pixel; returns the sum of its activations.  The halves of eight tables go through
 * memory, as a load repeats eight bytes for nothing. */
static inline __attribute__((always_inline)) int32_t
lut_pixel(const lut_plan *p, const lut_maker *m, const uint8_t *x, uint8_t *to, const int bits)
{
    uint64_t half[2][8];
    const __m512i spread = m->spread, b0 = m->bit[0], b1 = m->bit[1], b2 = m->bit[2];
    const __m512i spread_high = m->high;
    const size_t n = p->groups;
    __m512i total = _mm512_setzero_si512();
    for (size_t g = 0; g < n; g += 8) {
        __m512i v0 = lut_take(p, spread, x, g), v1, v2, v3, v4, v5;
        if (bits == 1) {
            v1 = lut_take(p, spread, x, g + n);
            v2 = lut_take(p, spread, x, g + 2 * n);
            v3 = lut_take(p, spread, x, g + 3 * n);
            v4 = lut_take(p, spread, x, g + 4 * n);
            v5 = lut_take(p, spread, x, g + 5 * n);
        } else {
            v2 = lut_take(p, spread, x, g + n);
            v4 = lut_take(p, spread, x, g + 2 * n);
            v1 = _mm512_add_epi8(v0, v0);
            v3 = _mm512_add_epi8(v2, v2);
            v5 = _mm512_add_epi8(v4, v4);
        }
        _mm512_storeu_si512(half[0], _mm512_add_epi8(_mm512_add_epi8(_mm512_and_si512(v0, b0),
                                                                     _mm512_and_si512(v1, b1)),
                                                     _mm512_and_si512(v2, b2)));
        _mm512_storeu_si512(half[1], _mm512_add_epi8(_mm512_add_epi8(_mm512_and_si512(v3, b0),
                                                                     _mm512_and_si512(v4, b1)),
                                                     _mm512_and_si512(v5, b2)));
        size_t some = BL_MIN(n - g, (size_t)8);
        for (size_t i = 0; i < some; i++, to += 64) {
            __m512i low = _mm512_set1_epi64((int64_t)half[0][i]);
            __m512i high = _mm512_set1_epi64((int64_t)half[1][i]);
            _mm512_storeu_si512(to, _mm512_add_epi8(low, _mm512_shuffle_epi8(high, spread_high)));
        }
    }
    for (size_t i = 0; i < p->c; i += 64) {
        __mmask64 mask = p->c - i >= 64 ? ~0ull : (1ull << (p->c - i)) - 1;
        total = _mm512_add_epi64(total, _mm512_sad_epu8(_mm512_maskz_loadu_epi8(mask, x + i),
                                                        _mm512_setzero_si512()));
    }
    return (int32_t)_mm512_reduce_add_epi64(total);
}

/* Tables of the input rows that output rows oy .. oy + rows - 1 read, and sums of their pixels. */
static void lut_slab(const bl_conv_args *a, const lut_plan *p, int64_t oy, int64_t rows,
                     const uint8_t *outside, uint8_t *slab, int32_t *sum)
{
    const bl_conv_shape *s = &a->s;
    lut_maker m = lut_maker_of();
    int64_t iy = oy * s->stride_h - s->pad_top, n = (rows - 1) * s->stride_h + p->d.reach_h;
    for (; n > 0; n--, iy++)
        for (int64_t x = -(int64_t)s->pad_left; x < p->d.span_w - s->pad_left; x++) {
            bool inside = iy >= 0 && iy < s->in_h && x >= 0 && x < s->in_w;
            const uint8_t *pixel = (const uint8_t *)a->in + (iy * s->in_w + x) * s->in_c;
            if (!inside) pixel = outside;
            *sum++ = p->bits == 1 ? lut_pixel(p, &m, pixel, slab, 1) : lut_pixel(p, &m, pixel, slab, 2);
            slab += p->groups * 64;
        }
}

/* sum(x) of every position's window. */
static void lut_totals(const bl_conv_args *a, const lut_plan *p, int64_t rows, const int32_t *sum,
                       int32_t *total)
{
    const bl_conv_shape *s = &a->s;
    for (int64_t y = 0; y < rows; y++)
        for (int64_t x = 0; x < s->out_w; x++) {
            int32_t all = 0;
            for (int64_t ky = 0; ky < s->kernel_h; ky++)
                for (int64_t kx = 0; kx < s->kernel_w; kx++)
                    all += sum[(y * s->stride_h + ky * s->dilation_h) * p->d.span_w +
                               x * s->stride_w + kx * s->dilation_w];
            *total++ = all;
        }
}

typedef struct lut_job {
    const uint8_t *in;
    const size_t *run_at;
    size_t runs, run;           /* bytes of tables in a run */
    unsigned adds;
    int bits;
    const uint8_t *w;
    const int32_t *bias;
    const float *mult;
    uint8_t *out;
    size_t pixel, channels;
    requant q;
} lut_job;

/* Even and odd bytes' sums to four vectors of int32 in requant_store64's order, and to codes. */
static inline void lut_store(const lut_job *j, __m512i even, __m512i odd, int32_t total,
                             uint8_t *out)
{
    __m512i zero = _mm512_setzero_si512();
    __m512i less = _mm512_set1_epi32(j->bits == 1 ? total : 2 * total);
    even = _mm512_sub_epi16(even, _mm512_slli_epi16(odd, 8));
    __m512i s[4] = {_mm512_unpacklo_epi16(even, zero), _mm512_unpackhi_epi16(even, zero),
                    _mm512_unpacklo_epi16(odd, zero), _mm512_unpackhi_epi16(odd, zero)};
    for (int z = 0; z < 4; z++) {
        if (j->bits == 1) s[z] = _mm512_add_epi32(s[z], s[z]);
        s[z] = _mm512_add_epi32(_mm512_sub_epi32(s[z], less),
                                _mm512_loadu_si512(j->bias + 16 * z));
    }
    requant_store64(&j->q, s[0], s[1], s[2], s[3], j->mult, out, j->channels);
}

/* Tiles of P positions by one or two blocks of 64 channels; a second block uses a table again that
 * is in a register.  `even` takes whole words: the odd bytes' share is taken out at the end. */
#define START_1(p)                                                                                 \
    const uint8_t *x##p = j->in + at[p];                                                           \
    __m512i even##p = _mm512_setzero_si512(), odd##p = even##p, sum##p = even##p;
#define START_2(p) START_1(p) __m512i even_##p = even##p, odd_##p = even##p, sum_##p = even##p;
#define LOOK_1(p)                                                                                  \
    __m512i t##p = _mm512_loadu_si512(x##p + k);                                                   \
    sum##p = _mm512_add_epi8(sum##p, _mm512_permutexvar_epi8(w, t##p));
#define LOOK_2(p) LOOK_1(p) sum_##p = _mm512_add_epi8(sum_##p, _mm512_permutexvar_epi8(w_, t##p));
#define FLUSH_1(p)                                                                                 \
    even##p = _mm512_add_epi16(even##p, sum##p);                                                   \
    odd##p = _mm512_add_epi16(odd##p, _mm512_srli_epi16(sum##p, 8));                               \
    sum##p = _mm512_setzero_si512();
#define FLUSH_2(p)                                                                                 \
    FLUSH_1(p)                                                                                     \
    even_##p = _mm512_add_epi16(even_##p, sum_##p);                                                \
    odd_##p = _mm512_add_epi16(odd_##p, _mm512_srli_epi16(sum_##p, 8));                            \
    sum_##p = _mm512_setzero_si512();
#define STORE_1(p) lut_store(j, even##p, odd##p, total[p], out + p * j->pixel);
#define STORE_2(p) STORE_1(p) lut_store(j + 1, even_##p, odd_##p, total[p], out + p * j->pixel + 64);
#define WEIGHTS_1 __m512i w = _mm512_loadu_si512(from);
#define WEIGHTS_2 WEIGHTS_1 __m512i w_ = _mm512_loadu_si512(from + second);
#define DO_1(M) M(0)
#define DO_2(M) DO_1(M) M(1)
#define DO_4(M) DO_2(M) M(2) M(3)
#define DO_8(M) DO_4(M) M(4) M(5) M(6) M(7)
#define TILE(P, Z)                                                                                 \
    static __attribute__((noinline)) void lut_tile_##P##x##Z(const lut_job *j, const size_t *at,   \
                                                             const int32_t *total, uint8_t *out)   \
    {                                                                                              \
        const uint8_t *from = j->w;                                                                \
        const ptrdiff_t second = Z == 2 ? j[1].w - from : 0;                                       \
        unsigned left = j->adds;                                                                   \
        (void)second;                                                                              \
        DO_##P(START_##Z)                                                                          \
        for (size_t r = 0; r < j->runs; r++)                                                       \
            for (size_t k = j->run_at[r], end = k + j->run; k < end;) {                            \
                size_t stop = BL_MIN(end, k + left * 64);                                          \
                left -= (unsigned)(stop - k) / 64;                                                 \
                for (; k < stop; k += 64, from += 64) {                                            \
                    WEIGHTS_##Z DO_##P(LOOK_##Z)                                                   \
                }                                                                                  \
                if (left > 0) continue;                                                            \
                DO_##P(FLUSH_##Z)                                                                  \
                left = j->adds;                                                                    \
            }                                                                                      \
        DO_##P(FLUSH_##Z)                                                                          \
        DO_##P(STORE_##Z)                                                                          \
    }
/* clang-format off */
TILE(8, 1) TILE(4, 1) TILE(2, 1) TILE(1, 1)
TILE(4, 2) TILE(2, 2) TILE(1, 2)
/* clang-format on */

typedef void lut_tile_fn(const lut_job *j, const size_t *at, const int32_t *total, uint8_t *out);
static lut_tile_fn *const lut_tiles[2][LUT_P + 1] = {
    {NULL, lut_tile_1x1, lut_tile_2x1, NULL, lut_tile_4x1, NULL, NULL, NULL, lut_tile_8x1},
    {NULL, lut_tile_1x2, lut_tile_2x2, NULL, lut_tile_4x2},
};

/* z jobs side by side. */
static void lut_block(const lut_job *j, size_t z, const direct_block *b, const int32_t *total,
                      uint8_t *out)
{
    size_t p = LUT_P;
    for (size_t i = 0; i < b->positions; i += p) {
        while (p > b->positions - i || !lut_tiles[z - 1][p]) p--;
        lut_tiles[z - 1][p](j, b->at + i, total + i, out + i * j->pixel);
    }
}

static void lut_run(const bl_conv_args *a)
{
    const bl_conv_shape *s = &a->s;
    lut_plan p = lut_plan_of(s);
    uint8_t *work = a->work;
    int32_t *sum = (int32_t *)(work + direct_work_bytes(&p.d));
    int32_t *total = sum + p.sum_bytes / sizeof *sum;
    float *mult = (float *)(total + p.total_bytes / sizeof *total);
    uint8_t *outside = (uint8_t *)mult + p.mult_bytes;
    const uint8_t *weights = (const uint8_t *)a->packed + p.blocks * 64 * sizeof(int32_t);
    lut_job j[2] = {{.runs = p.d.runs, .run = p.d.run, .adds = p.adds, .bits = p.bits,
                     .pixel = (size_t)s->out_c, .q = requant_of(a)}};

    memset(outside, a->zero_in, p.c);
    memset(mult, 0, p.mult_bytes);
    for (size_t c = 0; c < (size_t)s->out_c; c++)
        mult[c / 64 * 64 + lut_place(c % 64)] = a->mult[c];
    for (int64_t oy = a->row_begin; oy < a->row_end; oy += p.d.block_rows) {
        int64_t rows = BL_MIN(p.d.block_rows, a->row_end - oy);
        lut_slab(a, &p, oy, rows, outside, work, sum);
        lut_totals(a, &p, rows, sum, total);
        direct_block d = direct_offsets(s, &p.d, rows, p.d.slab_row, p.groups * 64, work);
        j[0].in = work;
        j[0].run_at = d.run_at;
        j[1] = j[0];
        for (size_t b = 0, z; b < p.blocks; b += z) {
            z = BL_MIN(p.blocks - b, (size_t)2);
            for (size_t i = 0; i < z; i++) {
                j[i].w = weights + (b + i) * p.taps * p.groups * 64;
                j[i].bias = (const int32_t *)a->packed + (b + i) * 64;
                j[i].mult = mult + (b + i) * 64;
                j[i].channels = BL_MIN((size_t)s->out_c - (b + i) * 64, (size_t)64);
            }
            lut_block(j, z, &d, total,
                      (uint8_t *)a->out + (size_t)(oy * s->out_w) * j[0].pixel + b * 64);
        }
    }
}

const bl_conv_row bl_k_conv_lut_avx512vbmi = {
    "conv_lut_avx512vbmi", BL_ISA_AVX512VBMI, lut_fits, lut_packed_bytes, lut_pack, lut_work_bytes,
    lut_run, NULL, NULL, false,
};
#endif
