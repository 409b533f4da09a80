/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Streams of conv_vnni_avx512.c for first layers, whose kernel rows are runs of 4 n + 1 bytes (3x3 and 7x7 over three
 * channels): n steps of four activations a run, and the last bytes of four runs together in a step of their own, from
 * a *side plane* that holds them side by side for each output position.  27 products of 3x3 take 7 steps instead of 9,
 * 147 of 7x7 take 37 instead of 42.
 *
 * As in the other streams one tile becomes bytes while the next one multiplies, here across rows of outputs too; the
 * last tile of a row moves back to end with it, and does some positions again.
 */
#ifndef BL_KERNELS_CONV_VNNI_SIDE_H
#define BL_KERNELS_CONV_VNNI_SIDE_H

#include "kernels/plain/direct.h"
#include "kernels/x86/conv_vnni_tiles.h"

/* Rows of outputs for a stream, and what they read. */
typedef struct side_rows {
    const uint8_t *in, *side;   /* of the first row; the side plane of its first four runs */
    size_t down;                /* bytes from a row's input to the next row's */
    size_t plane;               /* from a side plane to that of the next four runs */
    size_t rows, width;
} side_rows;

/* Positions of the widest tile; bytes between positions (vectors of words then hold the last bytes of 16 in order);
 * bytes behind a slab that are read. */
enum { SIDE_WIDEST = 8, SIDE_ODD = 3, SIDE_EVEN = 6, SIDE_SLACK = 256 };

static inline void side_fill(uint8_t *to, __m512i with, size_t n)
{
    for (; n >= 64; n -= 64, to += 64) _mm512_storeu_si512(to, with);
    if (n) _mm512_mask_storeu_epi8(to, (1ull << n) - 1, with);
}

static inline void side_copy(uint8_t *restrict to, const uint8_t *restrict from, size_t n)
{
    for (; n >= 64; n -= 64, to += 64, from += 64) {
        __m512i codes;
        LOAD_ONCE(codes, (const __m512i_u *)from); /* which gcc does not see to be memcpy */
        _mm512_storeu_si512(to, codes);
    }
    if (!n) return;
    __mmask64 mask = (1ull << n) - 1;
    _mm512_mask_storeu_epi8(to, mask, _mm512_maskz_loadu_epi8(mask, from));
}

/* direct_slab() without calls, which take as long as the rows of an image are short. */
static void side_slab(const bl_conv_args *a, const direct_plan *p, int64_t oy, int64_t rows, uint8_t *slab)
{
    const bl_conv_shape *s = &a->s;
    const __m512i zero = _mm512_set1_epi8((char)a->zero_in);
    int64_t x0 = BL_MIN(BL_MAX(0, (int64_t)s->pad_left), p->span_w); /* first column inside */
    int64_t x1 = BL_MAX(x0, BL_MIN(p->span_w, (int64_t)s->in_w + s->pad_left));
    int64_t iy = oy * s->stride_h - s->pad_top, n = (rows - 1) * s->stride_h + p->reach_h;
    size_t c = (size_t)s->in_c, left = (size_t)x0 * c, inside = (size_t)(x1 - x0) * c, right = (size_t)(p->span_w - x1) * c;
    for (; n > 0; n--, iy++, slab += p->slab_row) {
        if (iy < 0 || iy >= s->in_h) {
            side_fill(slab, zero, p->slab_row);
            continue;
        }
        side_fill(slab, zero, left);
        side_copy(slab + left, (const uint8_t *)a->in + (size_t)(iy * s->in_w + x0 - s->pad_left) * c, inside);
        side_fill(slab + left + inside, zero, right);
    }
}

/* Words that hold the bytes of four runs, of the second and the fourth in their upper halves, to those bytes side by side. */
INLINE __m512i side_meet(__m512i a, __m512i b, __m512i c, __m512i d)
{
    const __m512i bytes = _mm512_set1_epi16(0xff), pairs = _mm512_set1_epi32(0xffff);
    __m512i low = _mm512_ternarylogic_epi32(bytes, a, b, 0xca), high = _mm512_ternarylogic_epi32(bytes, c, d, 0xca);
    return _mm512_ternarylogic_epi32(pairs, low, high, 0xca);
}

/* At a spacing of 6: 16 positions from two vectors that begin 4 bytes before the first one's byte. */
INLINE __m512i side_even(const uint8_t *x, int half)
{
    const __m512i first = _mm512_setr_epi32(0x20002, 0x50005, 0x80008, 0xb000b, 0xe000e, 0x110011, 0x140014, 0x170017, 0x1a001a,
                                            0x1d001d, 0x200020, 0x230023, 0x260026, 0x290029, 0x2c002c, 0x2f002f);
    const __m512i second = _mm512_add_epi16(first, _mm512_set1_epi16(16)); /* 96 bytes on, 64 of them by the address */
    return _mm512_permutex2var_epi16(_mm512_loadu_si512(x + half * 64), half ? second : first,
                                     _mm512_loadu_si512(x + half * 64 + 64));
}

/* At a spacing of 3: of 16 positions; every other one's byte is in the upper half already. */
INLINE __m512i side_odd(const uint8_t *x)
{
    const __m512i words = _mm512_setr_epi32(0, 0x10001, 0x30003, 0x40004, 0x60006, 0x70007, 0x90009, 0xa000a, 0xc000c, 0xd000d,
                                            0xf000f, 0x100010, 0x120012, 0x130013, 0x150015, 0x160016);
    return _mm512_permutexvar_epi16(words, _mm512_loadu_si512(x));
}

INLINE __m512i side_even4(const uint8_t *a, const uint8_t *b, const uint8_t *c, const uint8_t *d, bool four, int half)
{
    __m512i w = side_even(a, half), x = _mm512_slli_epi16(side_even(b, half), 8), y = side_even(c, half);
    return side_meet(w, x, y, four ? _mm512_slli_epi16(side_even(d, half), 8) : y);
}

INLINE __m512i side_odd4(const uint8_t *a, const uint8_t *b, const uint8_t *c, const uint8_t *d, bool four)
{
    const __m512i down = _mm512_set1_epi64(0x0008000800000000), up = _mm512_set1_epi64(0x0000000000080008);
    __m512i w = _mm512_srlv_epi16(side_odd(a), down), x = _mm512_sllv_epi16(side_odd(b), up), y = _mm512_srlv_epi16(side_odd(c), down);
    return side_meet(w, x, y, four ? _mm512_sllv_epi16(side_odd(d), up) : y);
}

/* The bytes at `from` of up to four runs for n positions of a row.  At a spacing of 6 they are best read where from - 4 begins a
 * line.  What stands for a run that is missing does not matter, as its weights are 0. */
INLINE void side_put_as(const uint8_t *from, const size_t *run_at, size_t runs, bool four, size_t spacing, size_t n, uint8_t *to)
{
    const uint8_t *a = from + run_at[0], *b = from + run_at[BL_MIN(1, runs - 1)], *c = from + run_at[BL_MIN(2, runs - 1)],
                  *d = four ? from + run_at[3] : c;
    if (spacing == SIDE_ODD) {
        for (size_t i = 0; i < n; i += 16, to += 64, a += 48, b += 48, c += 48, d += 48)
            _mm512_storeu_si512(to, side_odd4(a, b, c, d, four));
        return;
    }
    a -= 4, b -= 4, c -= 4, d -= 4;
    for (size_t i = 0; i < n; i += 32, to += 128, a += 192, b += 192, c += 192, d += 192) {
        _mm512_storeu_si512(to, side_even4(a, b, c, d, four, 0));
        if (i + 16 < n) _mm512_storeu_si512(to + 64, side_even4(a, b, c, d, four, 1));
    }
}

static void side_put(const uint8_t *from, const size_t *run_at, size_t runs, size_t spacing, size_t n, uint8_t *to)
{
    if (runs > 3) side_put_as(from, run_at, runs, true, spacing, n, to);
    else side_put_as(from, run_at, runs, false, spacing, n, to);
}

/* 3x3: three runs of two steps, at either spacing; no loops.  Weights of one vector are few enough to stay in registers.  The old
 * tile becomes bytes behind the fourth step and those after it, when its last products have long ended. */
#define SIDE_LOAD(n) __m512i k##n; LOAD_ONCE(k##n, (const __m512i_u *)(job->w + 64 * n));
#define SIDE_LOAD_1 SIDE_LOAD(0) SIDE_LOAD(1) SIDE_LOAD(2) SIDE_LOAD(3) SIDE_LOAD(4) SIDE_LOAD(5) SIDE_LOAD(6)
#define SIDE_LOAD_2
#define SIDE_LOAD_3
#define SIDE_LOAD_4
#define SIDE_LOAD_h
#define SIDE_STEP_1(P, n) { const __m512i w0 = k##n; DO_##P(MUL_1) NEXT_##P(4) }
#define SIDE_STEP_2(P, n) STEP(P, 2)
#define SIDE_STEP_3(P, n) STEP(P, 3)
#define SIDE_STEP_4(P, n) STEP(P, 4)
#define SIDE_STEP_h(P, n) STEP(P, h)
/* Some steps of a tile from `from`, positions `apart`. */
#define SIDE_RUN(P, from, apart, OF_RUN)                                                           \
    {                                                                                              \
        const uint8_t *x = (from);                                                                 \
        const size_t at = 0, s1 = (apart), s2 = 2 * s1;                                            \
        BASES_##P OF_RUN                                                                           \
        (void)s2;                                                                                  \
    }
#define SIDE_TWO(P, Z)                                                                             \
    SIDE_RUN(P, window, spacing, SIDE_STEP_##Z(P, 0) SIDE_STEP_##Z(P, 1))                          \
    SIDE_RUN(P, window + second, spacing, SIDE_STEP_##Z(P, 2) SIDE_STEP_##Z(P, 3) OUT1_##Z)        \
    SIDE_RUN(P, window + third, spacing, SIDE_STEP_##Z(P, 4) OUT2_##Z SIDE_STEP_##Z(P, 5) SIDE_OUT3_##Z) \
    SIDE_RUN(P, last, 4, SIDE_STEP_##Z(P, 6))
#define SIDE_KEEP_odd(Z) SIDE_LOAD_##Z const size_t second = job->run_at[1], third = job->run_at[2];
#define SIDE_TILE_odd(P, Z) SIDE_TWO(P, Z)
#define SIDE_SPACING_odd SIDE_ODD
#define SIDE_KEEP_even(Z) SIDE_KEEP_odd(Z)
#define SIDE_TILE_even(P, Z) SIDE_TWO(P, Z)
#define SIDE_SPACING_even SIDE_EVEN
/* More steps. */
#define SIDE_STEPS(begin, P, Z) for (size_t n = job->run_step / 4 - (begin); n > 0; n--) STEP(P, Z)
#define SIDE_KEEP_any(Z)
#define SIDE_TILE_any(P, Z)                                                                        \
    SIDE_RUN(P, window, spacing, STEP(P, Z) OUT1_##Z STEP(P, Z) OUT2_##Z STEP(P, Z) SIDE_OUT3_##Z  \
             SIDE_STEPS(VNNI_FIRST, P, Z))                                                         \
    for (size_t r = 1; r < job->run_end; r++) SIDE_RUN(P, window + job->run_at[r], spacing, SIDE_STEPS(0, P, Z)) \
    for (size_t r = 0; r < job->run_end; r += 4, last += g->plane) SIDE_RUN(P, last, 4, STEP(P, Z))
#define SIDE_SPACING_any job->spacing
#define SIDE_OUT3_1 /* tiles of 8 positions: in two groups */
#define SIDE_OUT3_2 OUT3_2
#define SIDE_OUT3_3
#define SIDE_OUT3_4 OUT3_4
#define SIDE_OUT3_h OUT3_h
#define SIDE_OLD_1(p) __m512i t##p##0 = zero;
#define SIDE_OLD_2(p) SIDE_OLD_1(p) __m512i t##p##1 = zero;
#define SIDE_OLD_3(p) SIDE_OLD_2(p) __m512i t##p##2 = zero;
#define SIDE_OLD_4(p) SIDE_OLD_3(p) __m512i t##p##3 = zero;
#define SIDE_OLD_h(p) SIDE_OLD_1(p) __m512i t##p##1 __attribute__((unused)) = zero;

/* Before the first tile there is none to become bytes: zeros go where its own will stand. */
#define SIDE_STREAM(STEPS, E, P, Z)                                                                \
    static __attribute__((noinline)) void side_##STEPS##_##E##_##Z(const vnni_job *job, const side_rows *g, size_t to) \
    {                                                                                              \
        const vnni_job *j = job;                                                                   \
        const int kind = KIND_##E;                                                                 \
        const bool wide = false;                                                                   \
        const __m512i zero = _mm512_setzero_si512();                                               \
        const __mmask64 mask = j->mask;                                                            \
        const size_t spacing = SIDE_SPACING_##STEPS;                                               \
        uint8_t *row = (uint8_t *)j->out + to, *out = row;                                         \
        SIDE_KEEP_##STEPS(Z)                                                                       \
        DO_##P(SIDE_OLD_##Z)                                                                       \
        for (size_t y = 0; y < g->rows; y++, row += g->width * j->pixel) {                         \
            const uint8_t *in = g->in + y * g->down, *side = g->side + y * g->width * 4;           \
            for (size_t i = 0, end = 0; end < g->width; i += P) {                                  \
                if (i > g->width - P) i = g->width - P;                                            \
                const uint8_t *window = in + i * spacing, *last = side + i * 4;                    \
                const int8_t *w = job->w;                                                          \
                __asm__("" : "+r"(j)); /* keeps what is read once a tile out of registers */       \
                BIAS_##Z DO_##P(NEW_##Z) MULTS_##Z                                                 \
                SIDE_TILE_##STEPS(P, Z)                                                            \
                DO_##P(MOVE_##Z)                                                                   \
                out = row + i * j->pixel;                                                          \
                end = i + P;                                                                       \
                (void)w;                                                                           \
            }                                                                                      \
        }                                                                                          \
        MULTS_##Z OUT1_##Z OUT2_##Z SIDE_OUT3_##Z                                                  \
        (void)wide;                                                                                \
    }
#define SIDE_STREAMS_OF(STEPS, E)                                                                  \
    SIDE_STREAM(STEPS, E, 8, 1) SIDE_STREAM(STEPS, E, 6, 2) SIDE_STREAM(STEPS, E, 8, h) SIDE_STREAM(STEPS, E, 4, 3) \
    SIDE_STREAM(STEPS, E, 3, 4)
#define SIDE_STREAMS(E) SIDE_STREAMS_OF(odd, E) SIDE_STREAMS_OF(even, E) SIDE_STREAMS_OF(any, E)
/* clang-format off */
SIDE_STREAMS(bare) SIDE_STREAMS(fast) SIDE_STREAMS(sure)
/* clang-format on */

typedef void side_fn(const vnni_job *j, const side_rows *g, size_t to);
#define SIDE_ROW(STEPS, E) \
    {side_##STEPS##_##E##_h, side_##STEPS##_##E##_1, side_##STEPS##_##E##_2, side_##STEPS##_##E##_3, side_##STEPS##_##E##_4}
#define SIDE_ROWS(STEPS) {SIDE_ROW(STEPS, bare), SIDE_ROW(STEPS, fast), SIDE_ROW(STEPS, sure)}
/* By kind; vectors (0: one and a half). */
static side_fn *const side_streams[][3][5] = {SIDE_ROWS(odd), SIDE_ROWS(even), SIDE_ROWS(any)};

static side_fn *side_stream_of(size_t run, size_t spacing, int kind, size_t z)
{
    return side_streams[run / 4 > 2 ? 2 : spacing == SIDE_EVEN][kind][z];
}

#endif
