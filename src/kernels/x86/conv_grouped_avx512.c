/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Convolution in groups of 4, 8 or 16 channels, as many out as in: 64 channels of a pixel at a time, whole groups.  A lane of 16
 * bytes holds four groups, two or one, and vpshufd hands dword d of each lane to all of that lane, where four outputs of its
 * group meet it.  With the sums of channels 16 l + 4 z + i in element 4 l + i of vector z, which is how they become bytes,
 * dword d is for vector d in groups of 4, for those of d's half in groups of 8, for all in groups of 16.
 *
 * Beside vpdpbusd, shuffles with constants and loads cost Zen 5 nothing; those by a vector, and what reads 16 bytes into all lanes, do.
 *
 * Up to four outputs of a row share the weights.  Borders need no copy of the input: columns outside are read from 64 zero
 * points, rows outside too, or left out where that is 0.
 *
 * Packed: [block of 64 channels](64 biases, [tap][dword][vectors that it is for][16 outputs][4]).
 */
#include "kernels/rows.h"

#if defined(__x86_64__)
#include "kernels/x86/requant_avx512.h"

enum { GROUPED_LONG_ROW = 28, GROUPED_ZEROS = 64 };

static bool grouped_fits(const bl_conv_shape *s)
{
    int32_t icg = s->in_c / s->groups;
    /* Of fewer channels more products would meet empty lanes than do where each group has vectors of its own. */
    int32_t least = icg == 16 ? 48 : 32;
    return (icg == 4 || icg == 8 || icg == 16) && s->out_c == s->in_c && s->in_c >= least && s->in_bits <= 8 && s->out_bits <= 8 &&
           !s->acc64;
}

static size_t grouped_blocks(const bl_conv_shape *s)
{
    return ((size_t)s->out_c + 63) / 64;
}

/* Bytes of a tap's weights. */
static size_t grouped_tap(const bl_conv_shape *s)
{
    return (size_t)(s->in_c / s->groups) * 64;
}

static size_t grouped_block_bytes(const bl_conv_shape *s)
{
    return 256 + (size_t)s->kernel_h * (size_t)s->kernel_w * grouped_tap(s);
}

static size_t grouped_packed_bytes(const bl_conv_shape *s)
{
    return grouped_blocks(s) * grouped_block_bytes(s);
}

static size_t grouped_work_bytes(const bl_conv_shape *s)
{
    return GROUPED_ZEROS + grouped_blocks(s) * 64 * sizeof(float);
}

/* Place of channel c of a block among its four vectors. */
static size_t grouped_place(size_t c)
{
    return c / 4 % 4 * 16 + c / 16 * 4 + c % 4;
}

static void grouped_pack(const bl_conv_shape *s, const int8_t *codes, int32_t zero_in, const int32_t *bias, void *packed)
{
    const size_t icg = (size_t)(s->in_c / s->groups), k = (size_t)bl_conv_taps(s);
    memset(packed, 0, grouped_packed_bytes(s));
    for (size_t c = 0; c < (size_t)s->out_c; c++) {
        uint8_t *block = (uint8_t *)packed + c / 64 * grouped_block_bytes(s);
        const size_t place = grouped_place(c % 64), fours = icg / 4, z = place / 16;
        int64_t sum = 0;
        for (size_t i = 0; i < k; i++) {
            /* The dword of its lane that holds input channel i % icg of this group, and the vector among those it is for. */
            const size_t dword = z / fours * fours + i % icg / 4, vector = dword * fours + z % fours;
            block[256 + i / icg * grouped_tap(s) + vector * 64 + place % 16 * 4 + i % 4] = (uint8_t)codes[c * k + i];
            sum += codes[c * k + i];
        }
        ((uint32_t *)block)[place] = (uint32_t)(uint64_t)(bias[c] - zero_in * sum);
    }
}

/* Rows of outputs of one block. */
typedef struct grouped_job {
    const uint8_t *row;         /* the window's first row and column in the image, or beside it */
    int64_t begin, end;         /* kernel rows; more may lie outside the image */
    uint64_t in_h, in_w;
    int64_t y, x;               /* place of the window's first row and column */
    int64_t kernel_w, down, right; /* taps of a row; dilations */
    int64_t row_bytes, pixel;   /* from image row to row, pixel to pixel */
    int64_t stride;             /* from output to output, in columns */
    const uint8_t *zeros;
    const int32_t *bias;
    const uint8_t *weights;
    size_t tap_bytes;
    const float *mult;
    __mmask64 mask;
    int kind;
    requant q;
} grouped_job;

#define DOT(sum, x, w) __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(w))
/* gcc would load them again and again, as that costs it no register. */
#define LOAD_ONCE(to, from) __asm__("vmovdqu64 %1, %0" : "=v"(to) : "m"(*(from)))

#define DO_1(M, ...) M(0, __VA_ARGS__)
#define DO_2(M, ...) DO_1(M, __VA_ARGS__) M(1, __VA_ARGS__)
#define DO_4(M, ...) DO_2(M, __VA_ARGS__) M(2, __VA_ARGS__) M(3, __VA_ARGS__)

#define SUMS(p, unused) __m512i s##p##0 = b0, s##p##1 = b1, s##p##2 = b2, s##p##3 = b3;
/* Of position p, in the row of the kernel that is read, the column that is read next. */
#define WALKER(p, unused) const uint8_t *at##p = row + p * j->stride * pixel;
#define READ(p, unused)                                                                            \
    __m512i x##p = _mm512_maskz_loadu_epi8(mask, near || (uint64_t)(x + p * j->stride) < j->in_w ? at##p : zeros); \
    at##p += right;
#define SPREAD(p, d) __m512i v##p = _mm512_shuffle_epi32(x##p, (_MM_PERM_ENUM)(d * 0x55));
#define TIMES(p, z) DOT(s##p##z, v##p, w);
#define VECTOR(P, at, z)                                                                           \
    {                                                                                              \
        __m512i w;                                                                                 \
        LOAD_ONCE(w, (const __m512i_u *)(weights + (at) * 64));                                    \
        DO_##P(TIMES, z)                                                                           \
    }
/* What dword d is for, in groups of 4, 8 and 16 channels. */
#define FOR_4_0(P) VECTOR(P, 0, 0)
#define FOR_4_1(P) VECTOR(P, 1, 1)
#define FOR_4_2(P) VECTOR(P, 2, 2)
#define FOR_4_3(P) VECTOR(P, 3, 3)
#define FOR_8_0(P) VECTOR(P, 0, 0) VECTOR(P, 1, 1)
#define FOR_8_1(P) VECTOR(P, 2, 0) VECTOR(P, 3, 1)
#define FOR_8_2(P) VECTOR(P, 4, 2) VECTOR(P, 5, 3)
#define FOR_8_3(P) VECTOR(P, 6, 2) VECTOR(P, 7, 3)
#define ALL(P, d) VECTOR(P, d * 4, 0) VECTOR(P, d * 4 + 1, 1) VECTOR(P, d * 4 + 2, 2) VECTOR(P, d * 4 + 3, 3)
#define FOR_16_0(P) ALL(P, 0)
#define FOR_16_1(P) ALL(P, 1)
#define FOR_16_2(P) ALL(P, 2)
#define FOR_16_3(P) ALL(P, 3)
#define DWORD(n, P, d) { DO_##P(SPREAD, d) FOR_##n##_##d(P) }

#define PUT(p, unused)                                                                             \
    _mm512_mask_storeu_epi8(out + p * j->pixel, mask,                                              \
                            requant_codes64(&j->q, j->kind, s##p##0, s##p##1, s##p##2, s##p##3, m0, m1, m2, m3));

/* P outputs that follow each other, in groups of n.  is_near: no column lies outside. */
#define TILE_OF(n, P, name, is_near)                                                               \
    static __attribute__((noinline)) void grouped_##name##_##n##_##P(const grouped_job *j, uint8_t *out) \
    {                                                                                              \
        const bool near = is_near;                                                                 \
        const __mmask64 mask = j->mask;                                                            \
        const __m512i b0 = _mm512_loadu_si512(j->bias), b1 = _mm512_loadu_si512(j->bias + 16);     \
        const __m512i b2 = _mm512_loadu_si512(j->bias + 32), b3 = _mm512_loadu_si512(j->bias + 48); \
        const uint8_t *zeros = j->zeros;                                                           \
        DO_##P(SUMS, )                                                                             \
        for (int64_t ky = j->begin; ky < j->end; ky++) {                                           \
            const bool inside = (uint64_t)(j->y + ky * j->down) < j->in_h;                         \
            const uint8_t *weights = j->weights + (size_t)(ky * j->kernel_w) * j->tap_bytes;       \
            const uint8_t *row = inside ? j->row + ky * j->down * j->row_bytes : zeros;            \
            const int64_t pixel = inside ? j->pixel : 0, right = j->right * pixel;                 \
            int64_t x = j->x;                                                                      \
            (void)x;                                                                               \
            DO_##P(WALKER, )                                                                       \
            for (int64_t kx = 0; kx < j->kernel_w; kx++, x += j->right, weights += n * 64) {       \
                DO_##P(READ, )                                                                     \
                DWORD(n, P, 0) DWORD(n, P, 1) DWORD(n, P, 2) DWORD(n, P, 3)                        \
            }                                                                                      \
        }                                                                                          \
        const __m512 m0 = _mm512_loadu_ps(j->mult), m1 = _mm512_loadu_ps(j->mult + 16);            \
        const __m512 m2 = _mm512_loadu_ps(j->mult + 32), m3 = _mm512_loadu_ps(j->mult + 48);       \
        DO_##P(PUT, )                                                                              \
    }
#define TILES_OF(n, name, is_near)                                                                 \
    TILE_OF(n, 1, name, is_near) TILE_OF(n, 2, name, is_near) TILE_OF(n, 4, name, is_near)
/* clang-format off */
TILES_OF(4, far, false) TILES_OF(8, far, false) TILES_OF(16, far, false)
TILES_OF(4, near, true) TILES_OF(8, near, true) TILES_OF(16, near, true)
/* clang-format on */

typedef void grouped_fn(const grouped_job *j, uint8_t *out);
/* By the logarithm of the group's channels to 4, then that of positions. */
#define TILES_ROW(name, n) {grouped_##name##_##n##_1, grouped_##name##_##n##_2, grouped_##name##_##n##_4}
static grouped_fn *const grouped_tiles[2][3][3] = {
    {TILES_ROW(far, 4), TILES_ROW(far, 8), TILES_ROW(far, 16)},
    {TILES_ROW(near, 4), TILES_ROW(near, 8), TILES_ROW(near, 16)},
};

/* Output row oy of block b. */
static void grouped_row(const bl_conv_args *a, grouped_job *j, size_t b, int64_t oy)
{
    const bl_conv_shape *s = &a->s;
    const int64_t d = s->dilation_h, reach = (int64_t)(s->kernel_w - 1) * s->dilation_w;
    const size_t icg = (size_t)(s->in_c / s->groups), which = icg / 8;
    uint8_t *out = (uint8_t *)a->out + (size_t)(oy * s->out_w * s->out_c) + b * 64;
    j->y = oy * s->stride_h - s->pad_top;
    j->begin = 0;
    j->end = s->kernel_h;
    if (a->zero_in == 0) { /* sums do not change by what lies outside */
        j->begin = BL_MIN(BL_MAX((-j->y + d - 1) / d, 0), s->kernel_h);
        j->end = BL_MAX(BL_MIN((s->in_h - j->y + d - 1) / d, s->kernel_h), j->begin);
    }
    for (int64_t x = 0; x < s->out_w;) {
        const int64_t left = s->out_w - x, p = left >= 4 ? 4 : left >= 2 ? 2 : 1;
        j->x = x * s->stride_w - s->pad_left;
        j->row = (const uint8_t *)a->in + (j->y * s->in_w + j->x) * s->in_c + (int64_t)b * 64;
        const bool near = j->x >= 0 && j->x + (p - 1) * s->stride_w + reach < s->in_w;
        grouped_tiles[near][which][p / 2](j, out);
        out += p * s->out_c;
        x += p;
    }
}

/* Long rows one after the other, so that they stay near while all channels pass; of short ones, all of a block. */
static void grouped_run(const bl_conv_args *a)
{
    const bl_conv_shape *s = &a->s;
    uint8_t *zeros = a->work;
    float *mult = (float *)(zeros + GROUPED_ZEROS);
    const size_t blocks = grouped_blocks(s), end = a->part_end ? (size_t)a->part_end : blocks;
    grouped_job j = {.in_h = (uint64_t)s->in_h, .in_w = (uint64_t)s->in_w, .kernel_w = s->kernel_w, .down = s->dilation_h,
                     .right = s->dilation_w, .row_bytes = (int64_t)s->in_w * s->in_c, .pixel = s->in_c, .stride = s->stride_w,
                     .zeros = zeros, .tap_bytes = grouped_tap(s), .kind = requant_kind(a), .q = requant_of(a)};
    memset(zeros, a->zero_in, GROUPED_ZEROS);
    memset(mult, 0, blocks * 64 * sizeof(float));
    for (size_t c = 0; c < (size_t)s->out_c; c += 4) memcpy(mult + c / 64 * 64 + grouped_place(c % 64), a->mult + c, 16);
    const int64_t rows = s->out_w > GROUPED_LONG_ROW ? 1 : BL_MAX(a->row_end - a->row_begin, 1);
    for (int64_t y = a->row_begin; y < a->row_end; y += rows)
        for (size_t b = (size_t)a->part_begin; b < end; b++) {
            const size_t channels = BL_MIN((size_t)s->out_c - b * 64, (size_t)64);
            const uint8_t *block = (const uint8_t *)a->packed + b * grouped_block_bytes(s);
            j.mask = ~0ull >> (64 - channels);
            j.bias = (const int32_t *)block;
            j.weights = block + 256;
            j.mult = mult + b * 64;
            for (int64_t oy = y; oy < y + rows; oy++) grouped_row(a, &j, b, oy);
        }
}

const bl_conv_row bl_k_conv_grouped_avx512 = {
    "conv_grouped_avx512", BL_ISA_AVX512, grouped_fits, grouped_packed_bytes, grouped_pack, grouped_work_bytes,
    grouped_run, grouped_blocks, NULL, false,
};
#endif
