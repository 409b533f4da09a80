/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One output position that reads the whole input: fully connected at batch 1.  Every weight is used
 * once, so the time is that of streaming them: codes of 1, 2 and 3..4 bits stay packed, 8, 4 and 2
 * to a byte, and are masked in registers on their way to vpdpbusd; wider ones are bytes.
 *
 * Packed codes are unsigned, u = (w + 1) / 2 for one bit (w is -1 or 1), else w + 2^(bits-1); the
 * offset costs a multiple of sum(x), once for all outputs.  Activations are taken less 128, which
 * folds into the bias.  Rows are padded with codes of 0.
 *
 * Packed: folded biases of whole blocks, then weights as [64 channels][step][vector][16][4], where
 * the bits of a byte belong to activations 4 apart.
 */
#include "kernels/rows.h"

#if defined(__x86_64__)
#include "kernels/x86/requant_avx512.h"
#include "kernels/x86/lanes_avx512.h"

enum { FC_NEAR = 8 << 10, FC_FAR = 16 << 10 }; /* bytes prefetched ahead of the stream, from L3 and from memory */
enum { FC_LARGE = 4 << 20 };    /* weights that come from memory, at least in part */
enum { FC_TAPS_MAX = 1 << 17 }; /* of them products of a shifted code (240) and 128 fit 31 bits */

typedef struct fc_plan {
    size_t k, steps;            /* weights of an output; vectors of 4 activations by 8 / bits */
    size_t blocks;              /* of 64 channels */
    size_t bits;                /* of a stored weight */
    size_t x_bytes;
} fc_plan;

static fc_plan fc_plan_of(const bl_conv_shape *s)
{
    fc_plan p;
    p.k = (size_t)bl_conv_taps(s);
    p.bits = s->weight_bits > 4 ? 8 : s->weight_bits >= 3 ? 4 : (size_t)s->weight_bits;
    size_t step = 32 / p.bits;
    p.steps = (p.k + step - 1) / step;
    p.blocks = ((size_t)s->out_c + 63) / 64;
    p.x_bytes = bl_round64(p.steps * step);
    return p;
}

/* Bytes can be had in narrower blocks elsewhere: no more than an eighth of what is read may be padding. */
static bool fc_fills(const bl_conv_shape *s)
{
    return s->weight_bits <= 4 || (s->out_c + 63) / 64 * 64 * 7 <= s->out_c * 8;
}

static bool fc_fits(const bl_conv_shape *s)
{
    return s->groups == 1 && s->out_h == 1 && s->out_w == 1 && s->kernel_h == s->in_h &&
           s->kernel_w == s->in_w && s->pad_top == 0 && s->pad_left == 0 &&
           (s->kernel_h == 1 || s->dilation_h == 1) && (s->kernel_w == 1 || s->dilation_w == 1) &&
           s->in_bits <= 8 && s->out_bits <= 8 && !s->acc64 &&
           bl_conv_taps(s) <= FC_TAPS_MAX && fc_fills(s);
}

static size_t fc_packed_bytes(const bl_conv_shape *s)
{
    fc_plan p = fc_plan_of(s);
    return p.blocks * (64 * sizeof(int32_t) + p.steps * 256);
}

static size_t fc_work_bytes(const bl_conv_shape *s)
{
    return fc_plan_of(s).x_bytes;
}

/* requant_store64's order. */
static size_t fc_place(size_t c)
{
    return c / 64 * 64 + c / 4 % 4 * 16 + c / 16 % 4 * 4 + c % 4;
}

static void fc_pack(const bl_conv_shape *s, const int8_t *codes, int32_t zero_in,
                    const int32_t *bias, void *packed)
{
    fc_plan p = fc_plan_of(s);
    int offset = 1 << (p.bits - 1);
    uint8_t *weights = (uint8_t *)packed + p.blocks * 64 * sizeof(int32_t);
    memset(packed, 0, fc_packed_bytes(s));
    for (size_t c = 0; c < (size_t)s->out_c; c++) {
        size_t place = fc_place(c);
        uint8_t *block = weights + c / 64 * p.steps * 256 + place % 64 * 4;
        int64_t sum = 0, less = 0;
        for (size_t k = 0; k < p.k; k++) {
            int32_t w = codes[c * p.k + k];
            uint32_t u = (uint32_t)(p.bits == 1 ? w > 0 : w + offset) & (0xffu >> (8 - p.bits));
            size_t quad = k / 4, parts = 8 / p.bits;
            block[quad / parts * 256 + k % 4] |= (uint8_t)(u << quad % parts * p.bits);
            sum += w;
            less += u;
        }
        if (p.bits == 1) less *= 2;
        ((uint32_t *)packed)[place] = (uint32_t)(uint64_t)(bias[c] - zero_in * sum + 128 * less);
    }
}

/* Bytes without sign by bytes with one: the codes, as they stay where a mask leaves them, by activations less 128. */
#define DOT(sum, u, x) __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(u), "v"(x))

/* Four activations with one code of every byte of w0..w3.  The sums are 2^shift times what they stand for; shifting the
 * codes instead would cost an operation for each. */
#define PART(j, s, shift)                                                                          \
    {                                                                                              \
        int32_t four;                                                                              \
        memcpy(&four, x + 4 * j, 4);                                                               \
        __m512i v = _mm512_set1_epi32(four), mask = _mm512_set1_epi8((char)(LOW << shift));        \
        __m512i u0 = _mm512_and_si512(w0, mask), u1 = _mm512_and_si512(w1, mask);                  \
        __m512i u2 = _mm512_and_si512(w2, mask), u3 = _mm512_and_si512(w3, mask);                  \
        DOT(s##0, u0, v);                                                                          \
        DOT(s##1, u1, v);                                                                          \
        DOT(s##2, u2, v);                                                                          \
        DOT(s##3, u3, v);                                                                          \
    }
#define HALVES                                                                                     \
    w0 = _mm512_srli_epi16(w0, 4);                                                                 \
    w1 = _mm512_srli_epi16(w1, 4);                                                                 \
    w2 = _mm512_srli_epi16(w2, 4);                                                                 \
    w3 = _mm512_srli_epi16(w3, 4);

/* What the core looks ahead by itself is a dozen steps, too few for L3: every line is asked for, far ahead. */
#define FETCH                                                                                      \
    _mm_prefetch(w + ahead, _MM_HINT_T0);                                                          \
    _mm_prefetch(w + ahead + 64, _MM_HINT_T0);                                                     \
    _mm_prefetch(w + ahead + 128, _MM_HINT_T0);                                                    \
    _mm_prefetch(w + ahead + 192, _MM_HINT_T0);

/* What stays the same over all blocks of 64 channels. */
typedef struct fc_job {
    const uint8_t *x;           /* activations less 128 */
    size_t steps, left;         /* of a block; channels still to come */
    size_t ahead;               /* bytes */
    __m512i less;               /* of every sum */
    requant q;
} fc_job;

/* n of 64 codes. */
static inline __attribute__((always_inline)) void fc_put(const requant *q, __m512i s0, __m512i s1, __m512i s2, __m512i s3,
                                                         const float *mult, uint8_t *out, size_t n)
{
    const __mmask64 mask = n >= 64 ? ~0ull : (1ull << n) - 1;
    __m512i m[4];
    for (int z = 0; z < 4; z++) m[z] = _mm512_maskz_loadu_epi32((__mmask16)(mask >> 16 * z), mult + 16 * z);
    lanes_turn(m);
    _mm512_mask_storeu_epi8(out, mask, requant_codes64(q, REQUANT_SURE, s0, s1, s2, s3, _mm512_castsi512_ps(m[0]), _mm512_castsi512_ps(m[1]),
                                                       _mm512_castsi512_ps(m[2]), _mm512_castsi512_ps(m[3])));
}

#define SUMS(s) s##0 = zero, s##1 = zero, s##2 = zero, s##3 = zero
#define BIAS(s)                                                                                    \
    s##0 = _mm512_sub_epi32(_mm512_loadu_si512(bias), less),                                       \
    s##1 = _mm512_sub_epi32(_mm512_loadu_si512(bias + 16), less),                                  \
    s##2 = _mm512_sub_epi32(_mm512_loadu_si512(bias + 32), less),                                  \
    s##3 = _mm512_sub_epi32(_mm512_loadu_si512(bias + 48), less)
#define ADD(to, s, how, shift)                                                                     \
    to##0 = _mm512_add_epi32(to##0, how(s##0, shift));                                             \
    to##1 = _mm512_add_epi32(to##1, how(s##1, shift));                                             \
    to##2 = _mm512_add_epi32(to##2, how(s##2, shift));                                             \
    to##3 = _mm512_add_epi32(to##3, how(s##3, shift));
#define RIGHT _mm512_srai_epi32
#define LEFT _mm512_slli_epi32

/* Blocks of 64 channels.  They follow each other without a call, so that the processor reads the next one's weights while the
 * last one's sums become codes. */
#define BLOCKS(bits, sums, parts, adds, to)                                                        \
    static __attribute__((noinline)) void fc_blocks_##bits(const fc_job *j, const uint8_t *w,      \
                                                           const int32_t *bias, const float *mult, \
                                                           uint8_t *out, size_t blocks)            \
    {                                                                                              \
        enum { LOW = (1 << bits) - 1 };                                                            \
        const __m512i zero = _mm512_setzero_si512();                                               \
        const size_t ahead = j->ahead;                                                             \
        size_t left = j->left;                                                                     \
        for (; blocks > 0; blocks--, bias += 64, mult += 64, out += 64, left -= 64) {              \
            const uint8_t *x = j->x;                                                               \
            const __m512i less = j->less;                                                          \
            __m512i sums;                                                                          \
            (void)zero;                                                                            \
            for (size_t steps = j->steps; steps > 0; steps--, x += 32 / bits, w += 256) {          \
                __m512i w0 = _mm512_loadu_si512(w), w1 = _mm512_loadu_si512(w + 64);               \
                __m512i w2 = _mm512_loadu_si512(w + 128), w3 = _mm512_loadu_si512(w + 192);        \
                FETCH                                                                              \
                parts                                                                              \
            }                                                                                      \
            adds                                                                                   \
            fc_put(&j->q, to##0, to##1, to##2, to##3, mult, out, left);                            \
        }                                                                                          \
    }
#define COMMA ,
/* clang-format off */
BLOCKS(8, BIAS(a), PART(0, a, 0), , a)
BLOCKS(4, BIAS(a) COMMA SUMS(b), PART(0, a, 0) PART(1, b, 4), ADD(a, b, RIGHT, 4), a)
BLOCKS(2, BIAS(a) COMMA SUMS(b) COMMA SUMS(c) COMMA SUMS(d),
       PART(0, a, 0) PART(1, b, 2) PART(2, c, 4) PART(3, d, 6),
       ADD(a, b, RIGHT, 2) ADD(a, c, RIGHT, 4) ADD(a, d, RIGHT, 6), a)
/* Twice the products, as one bit stands for -1 or 1. */
BLOCKS(1, BIAS(b) COMMA SUMS(a) COMMA SUMS(c) COMMA SUMS(d),
       PART(0, a, 0) PART(1, b, 1) PART(2, c, 2) PART(3, d, 3)
       HALVES PART(4, a, 0) PART(5, b, 1) PART(6, c, 2) PART(7, d, 3),
       ADD(b, a, LEFT, 1) ADD(b, c, RIGHT, 1) ADD(b, d, RIGHT, 2), b)
/* clang-format on */

/* Activations less 128, with 128 behind the last; gives the sum of them as they were. */
static int32_t fc_input(uint8_t *x, const uint8_t *in, size_t k, size_t bytes)
{
    __m512i sum = _mm512_setzero_si512(), ones = _mm512_set1_epi8(1);
    for (size_t i = 0; i < bytes; i += 64) {
        __mmask64 mask = i + 64 <= k ? ~0ull : i < k ? (1ull << (k - i)) - 1 : 0;
        __m512i codes = _mm512_maskz_loadu_epi8(mask, in + i);
        DOT(sum, codes, ones);
        _mm512_storeu_si512(x + i, _mm512_xor_si512(codes, _mm512_set1_epi8((char)0x80)));
    }
    return _mm512_reduce_add_epi32(sum);
}

static void fc_run(const bl_conv_args *a)
{
    if (a->row_begin >= a->row_end) return;
    const bl_conv_shape *s = &a->s;
    fc_plan p = fc_plan_of(s);
    size_t begin = (size_t)a->part_begin, end = a->part_end ? (size_t)a->part_end : p.blocks;
    const int32_t *bias = a->packed;
    const uint8_t *w = (const uint8_t *)(bias + p.blocks * 64) + begin * p.steps * 256;
    int32_t sum = fc_input(a->work, a->in, p.k, p.x_bytes);
    fc_job j = {.x = a->work, .steps = p.steps, .left = (size_t)s->out_c - begin * 64, .q = requant_of(a)};
    j.ahead = p.blocks * p.steps * 256 < FC_LARGE ? FC_NEAR : FC_FAR;
    /* Modulo 2^32, as everything here: sum x w = 2 sum x u - sum x, or sum x u - 2^(bits-1) sum x. */
    j.less = _mm512_set1_epi32((int32_t)((uint32_t)sum << (p.bits - 1)));
    (p.bits == 8 ? fc_blocks_8 : p.bits == 4 ? fc_blocks_4 : p.bits == 2 ? fc_blocks_2 : fc_blocks_1)(
        &j, w, bias + begin * 64, a->mult + begin * 64, (uint8_t *)a->out + begin * 64, end - begin);
}

static size_t fc_parts(const bl_conv_shape *s)
{
    return fc_plan_of(s).blocks;
}

const bl_conv_row bl_k_conv_fc_avx512 = {
    "conv_fc_avx512", BL_ISA_AVX512, fc_fits, fc_packed_bytes, fc_pack, fc_work_bytes, fc_run, fc_parts, NULL, false,
};
#endif
