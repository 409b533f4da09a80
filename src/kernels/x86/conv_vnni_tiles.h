/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tiles of conv_vnni_avx512.c: P positions x Z vectors of 16 channels, four activations broadcast to all
 * channels of a vector.  Every tile is a function with named accumulators, as gcc 12 spills arrays of them.
 * Z = p is one vector whose products take eight activations: lanes of even number hold the first four's, the others the
 * second four's; one vector has the sums of channels of even number, one those of the others, and both are joined at the
 * end.  So a load serves two products, where one for each is more than the processor loads.
 * Z = h is one vector and half of one: the halves of two positions share a vector, so that 24 channels take three
 * quarters of two vectors' time.
 *
 * Each comes with five ends: `bare`, `fast` and `sure` (requant_kind), `plus` with an Add behind it, `keep` for sums
 * that do not go straight to bytes.  Bytes leave four vectors at a time, of two
 * positions where a position has two or three vectors, of four where it has one.
 *
 * While a tile runs it fetches a share of the weights that come next, at the pace at which it reads its own.
 */
#ifndef BL_KERNELS_CONV_VNNI_TILES_H
#define BL_KERNELS_CONV_VNNI_TILES_H

#include "kernels/rows.h"
#include "kernels/x86/pair_avx512.h"
#include "kernels/x86/requant_avx512.h"

/* What the tiles of one channel block share. */
typedef struct vnni_job {
    const uint8_t *in;
    const size_t *run_at;
    size_t run_begin, run_end, run_step; /* runs that this tile reads */
    size_t left, right;         /* bytes of each run that lie outside for the first, the last position */
    const int8_t *w;            /* of run run_begin */
    const int32_t *bias;        /* int64 where the sums are wide */
    const float *mult;
    size_t z, channels;         /* vectors; codes to store at a position */
    uint64_t mask;              /* a bit for each of them, of 64 at most */
    size_t form;                /* Z of the tiles: the vectors, VNNI_HALF, VNNI_PAIRED */
    int kind;                   /* of ends: VNNI_FAST ... */
    bool wide;
    int32_t planes, out_bits;
    void *out;
    size_t pixel;               /* codes from output position to output position */
    size_t spacing, evenly;     /* bytes between positions that follow each other; of how many together, 0: streams do not pay */
    const char *ahead;          /* weights that come next */
    size_t ahead_step, ahead_tile; /* bytes of them in a step of 4 activations, in a tile */
    const bl_conv_add *add;
    requant q;
} vnni_job;

enum { VNNI_HALF = 0, VNNI_PAIRED = 5, VNNI_FORMS };
enum { VNNI_BARE = REQUANT_BARE, VNNI_FAST = REQUANT_FAST, VNNI_SURE = REQUANT_SURE, VNNI_PLUS, VNNI_KEEP, VNNI_KINDS };

/* Sums of n tile rows to codes, where they do not go straight from registers to bytes. */
static void vnni_finish(const vnni_job *j, const __m512i *sums, size_t n, size_t at)
{
    size_t planes = (size_t)j->planes;
    for (size_t i = 0; i < n; i += planes, at += j->pixel)
        for (size_t z = 0; z < j->z; z++) {
            __m512i low = sums[i * j->z + z], high = _mm512_setzero_si512();
            if (planes == 2) high = sums[(i + 1) * j->z + z];
            if (j->wide) {
                requant_store_wide(&j->q, low, high, (const int64_t *)j->bias + z * 16,
                                   j->mult + z * 16, j->out_bits, j->out, at + z * 16,
                                   j->channels - z * 16);
                continue;
            }
            __m512i t = requant_int(&j->q, low, j->mult + z * 16);
            t = _mm512_max_epi32(t, _mm512_sub_epi32(j->q.lo32, j->q.zero32));
            t = _mm512_add_epi32(t, j->q.zero32);
            size_t left = j->channels - z * 16;
            __mmask16 mask = left >= 16 ? 0xffff : (__mmask16)((1u << left) - 1);
            _mm256_mask_storeu_epi16((uint16_t *)j->out + at + z * 16, mask,
                                     _mm512_cvtepi32_epi16(t));
        }
}

static inline int32_t load4(const uint8_t *from)
{
    int32_t four;
    memcpy(&four, from, sizeof four);
    return four;
}

static inline int64_t load8(const uint8_t *from)
{
    int64_t eight;
    memcpy(&eight, from, sizeof eight);
    return eight;
}

/* ---- from sums to bytes; m0 ... the multipliers in the order of the vectors, loaded once for all positions of a tile, as loads
 * are what short K has too many of */

#define REQUANT(kind) ((kind) == VNNI_PLUS ? REQUANT_SURE : (kind))

#define INLINE static inline __attribute__((always_inline))

/* What is added to the codes of place `out`. */
INLINE const uint8_t *vnni_other(const vnni_job *j, const uint8_t *out)
{
    return (const uint8_t *)j->add->with + (out - (const uint8_t *)j->out);
}

INLINE __m512i vnni_plus(const vnni_job *j, __m512i codes, __m512i other)
{
    const bl_conv_add *k = j->add;
    const __m512 ra = _mm512_set1_ps(k->r_first), rb = _mm512_set1_ps(k->r_second), f = _mm512_set1_ps(k->f);
    __m512i x = k->conv_first ? codes : other, y = k->conv_first ? other : codes;
    __m512 t[4];
    for (int z = 0; z < 4; z++) t[z] = _mm512_fmadd_ps(pair_part(x, z), ra, _mm512_fmadd_ps(pair_part(y, z), rb, f));
    return pair_bytes(t, k->lo, k->hi);
}

INLINE void vnni_put4(const vnni_job *j, int kind, __mmask64 mask, __m512 m0, __m512 m1, __m512 m2, __m512 m3, __m512i a, __m512i b,
                      __m512i c, __m512i d, uint8_t *out)
{
    __m512i codes = requant_codes64(&j->q, REQUANT(kind), a, b, c, d, m0, m1, m2, m3);
    if (kind == VNNI_PLUS) codes = vnni_plus(j, codes, _mm512_maskz_loadu_epi8(mask, vnni_other(j, out)));
    _mm512_mask_storeu_epi8(out, mask, codes); /* as fast as one without a mask, and than a branch */
}

/* Two positions of three vectors; n of them are stored. */
INLINE void vnni_put3(const vnni_job *j, int kind, __mmask64 mask, __m512 m0, __m512 m1, __m512 m2, __m512i a0, __m512i a1,
                      __m512i a2, __m512i b0, __m512i b1, __m512i b2, uint8_t *out, int n)
{
    const __m512i first = _mm512_setr_epi32(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 0, 0, 0, 0);
    const __m512i second = _mm512_setr_epi32(0, 1, 3, 4, 5, 7, 8, 9, 11, 12, 13, 15, 0, 0, 0, 0);
    __m512i codes = requant_codes64(&j->q, REQUANT(kind), a0, a1, a2, b2, m0, m1, m2, m2);
    codes = _mm512_permutexvar_epi32(first, codes);
    if (kind == VNNI_PLUS) codes = vnni_plus(j, codes, _mm512_maskz_loadu_epi8(mask, vnni_other(j, out)));
    _mm512_mask_storeu_epi8(out, mask, codes);
    if (n < 2) return;
    codes = requant_codes64(&j->q, REQUANT(kind), b0, b1, a2, b2, m0, m1, m2, m2);
    codes = _mm512_permutexvar_epi32(second, codes);
    if (kind == VNNI_PLUS) codes = vnni_plus(j, codes, _mm512_maskz_loadu_epi8(mask, vnni_other(j, out + j->pixel)));
    _mm512_mask_storeu_epi8(out + j->pixel, mask, codes);
}

INLINE void vnni_put_halves(const vnni_job *j, int kind, __mmask32 mask, __m512i codes, uint8_t *out, int n)
{
    const bool joined = n > 1 && j->pixel == 32 && j->channels >= 32; /* the positions lie side by side */
    if (kind == VNNI_PLUS) {
        const uint8_t *with = vnni_other(j, out);
        __m512i other;
        if (joined) {
            other = _mm512_loadu_si512(with);
        } else {
            other = _mm512_castsi256_si512(_mm256_maskz_loadu_epi8(mask, with));
            if (n > 1) other = _mm512_inserti64x4(other, _mm256_maskz_loadu_epi8(mask, with + j->pixel), 1);
        }
        codes = vnni_plus(j, codes, other);
    }
    if (joined) {
        _mm512_storeu_si512(out, codes);
        return;
    }
    _mm256_mask_storeu_epi8(out, mask, _mm512_castsi512_si256(codes));
    if (n > 1) _mm256_mask_storeu_epi8(out + j->pixel, mask, _mm512_extracti64x4_epi64(codes, 1));
}

INLINE void vnni_put2(const vnni_job *j, int kind, __mmask64 mask, __m512 m0, __m512 m1, __m512i a0, __m512i a1, __m512i b0,
                      __m512i b1, uint8_t *out, int n)
{
    const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    __m512i codes = requant_codes64(&j->q, REQUANT(kind), a0, a1, b0, b1, m0, m1, m0, m1);
    vnni_put_halves(j, kind, (__mmask32)mask, _mm512_permutexvar_epi64(order, codes), out, n);
}

/* 16 and 8 channels of two positions. */
INLINE void vnni_puth(const vnni_job *j, int kind, __mmask64 mask, __m512 m0, __m512 m1, __m512i a0, __m512i b0, __m512i both,
                      uint8_t *out, int n)
{
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 0, 0, 1, 5, 9, 13, 10, 14, 0, 0);
    __m512i codes = requant_codes64(&j->q, REQUANT(kind), a0, b0, both, both, m0, m0, m1, m1);
    vnni_put_halves(j, kind, (__mmask32)mask, _mm512_permutexvar_epi32(order, codes), out, n);
}

INLINE void vnni_put1(const vnni_job *j, int kind, __mmask16 mask, __m512 m, __m512i a, __m512i b, __m512i c, __m512i d, uint8_t *out,
                      int n)
{
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m512i codes = _mm512_permutexvar_epi32(order, requant_codes64(&j->q, REQUANT(kind), a, b, c, d, m, m, m, m));
    const bool joined = n > 3 && j->pixel == 16 && j->channels >= 16;
    if (kind == VNNI_PLUS) {
        const uint8_t *with = vnni_other(j, out);
        __m512i other;
        if (joined) {
            other = _mm512_loadu_si512(with);
        } else {
            other = _mm512_castsi128_si512(_mm_maskz_loadu_epi8(mask, with));
            if (n > 1) other = _mm512_inserti32x4(other, _mm_maskz_loadu_epi8(mask, with + j->pixel), 1);
            if (n > 2) other = _mm512_inserti32x4(other, _mm_maskz_loadu_epi8(mask, with + 2 * j->pixel), 2);
            if (n > 3) other = _mm512_inserti32x4(other, _mm_maskz_loadu_epi8(mask, with + 3 * j->pixel), 3);
        }
        codes = vnni_plus(j, codes, other);
    }
    if (joined) {
        _mm512_storeu_si512(out, codes);
        return;
    }
    _mm_mask_storeu_epi8(out, mask, _mm512_castsi512_si128(codes));
    if (n > 1) _mm_mask_storeu_epi8(out + j->pixel, mask, _mm512_extracti32x4_epi32(codes, 1));
    if (n > 2) _mm_mask_storeu_epi8(out + 2 * j->pixel, mask, _mm512_extracti32x4_epi32(codes, 2));
    if (n > 3) _mm_mask_storeu_epi8(out + 3 * j->pixel, mask, _mm512_extracti32x4_epi32(codes, 3));
}

/* ---- code for one position p of a tile of Z vectors */

/* The intrinsic makes gcc 12 copy accumulators around; this does not. */
#define DOT(sum, x, w) __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(w))

#define X_OF(p) const uint8_t *x##p = j->in + at[p];
#define START_1(p) X_OF(p) __m512i s##p##0 = b0;
#define START_2(p) START_1(p) __m512i s##p##1 = b1;
#define START_3(p) START_2(p) __m512i s##p##2 = b2;
#define START_4(p) START_3(p) __m512i s##p##3 = b3;
#define START_h(p) START_1(p) __m512i s##p##1 __attribute__((unused)) = b1; /* of the first of two */
#define DOT_1(p) __m512i v##p = _mm512_set1_epi32(load4(x##p + k)); DOT(s##p##0, v##p, w0);
#define DOT_2(p) DOT_1(p) DOT(s##p##1, v##p, w1);
#define DOT_3(p) DOT_2(p) DOT(s##p##2, v##p, w2);
#define DOT_4(p) DOT_3(p) DOT(s##p##3, v##p, w3);
#define DOT_h(p) DOT_1(p)
#define DOT_p(p) __m512i v##p = _mm512_set1_epi64(load8(x##p + k)); DOT(s##p##0, v##p, w0); DOT(s##p##1, v##p, w1);
#define START_p(p) START_2(p)
#define JOIN(even, odd)                                                                            \
    _mm512_add_epi32(_mm512_mask_shuffle_epi32(even, 0xaaaa, odd, _MM_SHUFFLE(2, 2, 0, 0)),        \
                     _mm512_mask_shuffle_epi32(odd, 0x5555, even, _MM_SHUFFLE(3, 3, 1, 1)))
#define JOIN_p(p) s##p##0 = JOIN(s##p##0, s##p##1);
/* What a step does behind its positions: two of them meet the half vector, which is there twice, together. */
#define HALVE(a, b) __m512i u##a = _mm512_mask_blend_epi32(0xff00, v##a, v##b); DOT(s##a##1, u##a, w1);
#define HALVES_1 DOT(s01, v0, w1);
#define HALVES_2 HALVE(0, 1)
#define HALVES_4 HALVES_2 HALVE(2, 3)
#define HALVES_8 HALVES_4 HALVE(4, 5) HALVE(6, 7)
#define BEHIND_1(P)
#define BEHIND_2(P)
#define BEHIND_3(P)
#define BEHIND_4(P)
#define BEHIND_h(P) HALVES_##P
#define BEHIND_p(P)

/* S: s or t, which sums. */
#define MULT(z) __m512 m##z = _mm512_loadu_ps(j->mult + z * 16);
#define MULTS_1 MULT(0)
#define MULTS_2 MULTS_1 MULT(1)
#define MULTS_3 MULTS_2 MULT(2)
#define MULTS_4 MULTS_3 MULT(3)
#define MULTS_h MULTS_2
#define MULTS_p MULTS_1
#define PUT_AS_1(S, a, b, c, d, n) \
    vnni_put1(j, kind, (__mmask16)mask, m0, S##a##0, S##b##0, S##c##0, S##d##0, out + a * j->pixel, n);
#define PUT_AS_2(S, a, b, n) vnni_put2(j, kind, mask, m0, m1, S##a##0, S##a##1, S##b##0, S##b##1, out + a * j->pixel, n);
#define PUT_AS_h(S, a, b, n) vnni_puth(j, kind, mask, m0, m1, S##a##0, S##b##0, S##a##1, out + a * j->pixel, n);
#define PUT_AS_3(S, a, b, n) \
    vnni_put3(j, kind, mask, m0, m1, m2, S##a##0, S##a##1, S##a##2, S##b##0, S##b##1, S##b##2, out + a * j->pixel, n);
#define PUT_AS_4(S, p) vnni_put4(j, kind, mask, m0, m1, m2, m3, S##p##0, S##p##1, S##p##2, S##p##3, out + p * j->pixel);
#define PUT_1(a, b, c, d, n) PUT_AS_1(s, a, b, c, d, n)
#define PUT_2(a, b, n) PUT_AS_2(s, a, b, n)
#define PUT_h(a, b, n) PUT_AS_h(s, a, b, n)
#define PUT_3(a, b, n) PUT_AS_3(s, a, b, n)
#define PUT_4(p) PUT_AS_4(s, p)

/* Positions in groups of 1, 2 and 4; the last of an incomplete group stands for those that are missing. */
#define PAIRS_1(M) M(0, 0, 1)
#define PAIRS_2(M) M(0, 1, 2)
#define PAIRS_4(M) PAIRS_2(M) M(2, 3, 2)
#define PAIRS_7(M) PAIRS_4(M) M(4, 5, 2) M(6, 6, 1)
#define PAIRS_8(M) PAIRS_4(M) M(4, 5, 2) M(6, 7, 2)
#define FOURS_1(M) M(0, 0, 0, 0, 1)
#define FOURS_2(M) M(0, 1, 1, 1, 2)
#define FOURS_4(M) M(0, 1, 2, 3, 4)
#define FOURS_7(M) FOURS_4(M) M(4, 5, 6, 6, 3)
#define FOURS_8(M) FOURS_4(M) M(4, 5, 6, 7, 4)
#define GROUPS_1(P) FOURS_##P(PUT_1)
#define GROUPS_2(P) PAIRS_##P(PUT_2)
#define GROUPS_h(P) PAIRS_##P(PUT_h)
#define GROUPS_p(P) DO_##P(JOIN_p) FOURS_##P(PUT_1)
#define GROUPS_3(P) PAIRS_##P(PUT_3)
#define GROUPS_4(P) DO_##P(PUT_4)

#define KEEP_1(p) sums[p] = s##p##0;
#define KEEP_2(p) sums[p * 2] = s##p##0; sums[p * 2 + 1] = s##p##1;
#define KEEP_3(p) sums[p * 3] = s##p##0; sums[p * 3 + 1] = s##p##1; sums[p * 3 + 2] = s##p##2;
#define KEEP_4(p) sums[p * 4] = s##p##0; sums[p * 4 + 1] = s##p##1; sums[p * 4 + 2] = s##p##2; \
    sums[p * 4 + 3] = s##p##3;

/* ---- what stands once in a tile */

#define BIAS_1 __m512i b0 = wide ? zero : _mm512_loadu_si512(j->bias);
#define BIAS_2 BIAS_1 __m512i b1 = wide ? zero : _mm512_loadu_si512(j->bias + 16);
#define BIAS_3 BIAS_2 __m512i b2 = wide ? zero : _mm512_loadu_si512(j->bias + 32);
#define BIAS_4 BIAS_3 __m512i b3 = wide ? zero : _mm512_loadu_si512(j->bias + 48);
#define BIAS_h BIAS_2
#define BIAS_p                                                                                     \
    __m512i b1 = _mm512_loadu_si512(j->bias), b0 = _mm512_maskz_mov_epi32(0x5555, b1);             \
    b1 = _mm512_maskz_shuffle_epi32(0x5555, b1, _MM_SHUFFLE(3, 3, 1, 1));
/* gcc would load them again and again, as that costs it no register. */
#define LOAD_ONCE(to, from) __asm__("vmovdqu64 %1, %0" : "=v"(to) : "m"(*(from)))
#define WEIGHTS_1 __m512i w0; LOAD_ONCE(w0, (const __m512i_u *)w);
#define WEIGHTS_2 WEIGHTS_1 __m512i w1; LOAD_ONCE(w1, (const __m512i_u *)(w + 64));
#define WEIGHTS_3 WEIGHTS_2 __m512i w2; LOAD_ONCE(w2, (const __m512i_u *)(w + 128));
#define WEIGHTS_4 WEIGHTS_3 __m512i w3; LOAD_ONCE(w3, (const __m512i_u *)(w + 192));
#define WEIGHTS_h WEIGHTS_2
#define WEIGHTS_p WEIGHTS_2
#define BYTES_1 64
#define BYTES_2 128
#define BYTES_3 192
#define BYTES_4 256
#define BYTES_h 128
#define BYTES_p 128
/* Activations of a step. */
#define TAKES_1 4
#define TAKES_2 4
#define TAKES_3 4
#define TAKES_4 4
#define TAKES_h 4
#define TAKES_p 8

#define DO_1(M) M(0)
#define DO_2(M) DO_1(M) M(1)
#define DO_4(M) DO_2(M) M(2) M(3)
#define DO_5(M) DO_4(M) M(4)
#define DO_6(M) DO_5(M) M(5)
#define DO_7(M) DO_6(M) M(6)
#define DO_8(M) DO_7(M) M(7)
#define DO_TAIL_7(M) M(1) M(2) M(3) M(4) M(5) M(6)
#define DO_HEAD_7(M) DO_6(M)
#define DO_TAIL_8(M) DO_TAIL_7(M) M(7)
#define DO_HEAD_8(M) DO_7(M)

#define STEPS(until, Z, DO, behind)                                                                \
    for (; k < until; k += TAKES_##Z, w += BYTES_##Z, ahead += ahead_step) {                       \
        _mm_prefetch(ahead, _MM_HINT_T1);                                                          \
        WEIGHTS_##Z DO(DOT_##Z) behind                                                             \
    }
/* All of a run; or its ends without the first and the last position, which lie outside there. */
#define WHOLE(P, Z) STEPS(end, Z, DO_##P, BEHIND_##Z(P))
#define EDGED(P, Z)                                                                                \
    size_t left = k + j->left, right = end - j->right;                                             \
    STEPS(left, Z, DO_TAIL_##P, ) STEPS(right, Z, DO_##P, ) STEPS(end, Z, DO_HEAD_##P, )

#define WIDE_bare false
#define WIDE_fast false
#define WIDE_sure false
#define WIDE_plus false
#define WIDE_keep true
#define END_AS(is_kind, P, Z)                                                                      \
    const int kind = is_kind;                                                                      \
    const __mmask64 mask = j->mask;                                                                \
    uint8_t *out = (uint8_t *)j->out + to;                                                         \
    MULTS_##Z GROUPS_##Z(P)
#define END_bare(P, Z) END_AS(VNNI_BARE, P, Z)
#define END_fast(P, Z) END_AS(VNNI_FAST, P, Z)
#define END_sure(P, Z) END_AS(VNNI_SURE, P, Z)
#define END_plus(P, Z) END_AS(VNNI_PLUS, P, Z)
#define END_keep(P, Z) __m512i sums[P * Z]; DO_##P(KEEP_##Z) vnni_finish(j, sums, P, to);

/* Positions at[0..P-1]; the first one's codes go to place `to` of the output. */
#define TILE_AS(name, E, P, Z, LOOP)                                                               \
    static __attribute__((noinline)) void name(const vnni_job *j, const size_t *restrict at,       \
                                               size_t to)                                          \
    {                                                                                              \
        const __m512i zero = _mm512_setzero_si512();                                               \
        const bool wide = WIDE_##E && j->wide;                                                     \
        const int8_t *w = j->w;                                                                    \
        const char *ahead = j->ahead;                                                              \
        const size_t ahead_step = j->ahead_step;                                                   \
        (void)wide, (void)zero;                                                                    \
        BIAS_##Z DO_##P(START_##Z)                                                                 \
        for (size_t r = j->run_begin; r < j->run_end; r++) {                                       \
            size_t k = j->run_at[r], end = k + j->run_step;                                        \
            LOOP                                                                                   \
        }                                                                                          \
        END_##E(P, Z)                                                                              \
    }
#define TILE(E, P, Z) TILE_AS(tile_##E##_##P##x##Z, E, P, Z, WHOLE(P, Z))
#define EDGE(E, P, Z) TILE_AS(edge_##E##_##P##x##Z, E, P, Z, EDGED(P, Z))
#define TILES(E, Z) TILE(E, 8, Z) TILE(E, 4, Z) TILE(E, 2, Z) TILE(E, 1, Z)
#define EDGES(E, Z) EDGE(E, 7, Z) EDGE(E, 8, Z)
#define ALL(E)                                                                                     \
    TILES(E, 1) TILES(E, 2) TILES(E, 3) EDGES(E, 1) EDGES(E, 2) EDGES(E, 3)                        \
    TILE(E, 6, 4) TILE(E, 5, 4) TILE(E, 4, 4) TILE(E, 2, 4) TILE(E, 1, 4)
/* clang-format off */
ALL(bare) TILES(bare, h) TILES(bare, p) EDGES(bare, p)
ALL(fast) TILES(fast, h) TILES(fast, p) EDGES(fast, p)
ALL(sure) TILES(sure, h) TILES(sure, p) EDGES(sure, p)
ALL(plus) TILES(plus, h) TILES(plus, p) EDGES(plus, p)
ALL(keep)
/* clang-format on */

/*
 * Streams of tiles whose positions lie `spacing` bytes apart, of twelve sums each: while one tile multiplies, the
 * one before it becomes bytes, a group of vectors behind each of the first three steps.  The processor's own
 * reordering does not reach that far: its queues fill with products first.  For short K; a run has three steps
 * at least.
 */
#define A_0 x0
#define A_1 (x0 + s1)
#define A_2 (x0 + s2)
#define A_3 x3
#define A_4 (x3 + s1)
#define A_5 (x3 + s2)
#define A_6 x6
#define A_7 (x6 + s1)
#define A_8 (x6 + s2)
#define A_9 x9
#define A_10 (x9 + s1)
#define A_11 (x9 + s2)
#define BASES_3 const uint8_t *x0 = x + at;
#define BASES_4 BASES_3 const uint8_t *x3 = x0 + s2 + s1;
#define BASES_6 BASES_4
#define BASES_8 BASES_4 const uint8_t *x6 = x3 + s2 + s1;
#define BASES_12 BASES_8 const uint8_t *x9 = x6 + s2 + s1;
#define NEXT_3(n) x0 += n;
#define NEXT_4(n) x0 += n; x3 += n;
#define NEXT_6(n) NEXT_4(n)
#define NEXT_8(n) NEXT_4(n) x6 += n;
#define NEXT_12(n) NEXT_8(n) x9 += n;
#define NEW_1(p) __m512i s##p##0 = b0;
#define NEW_2(p) NEW_1(p) __m512i s##p##1 = b1;
#define NEW_3(p) NEW_2(p) __m512i s##p##2 = b2;
#define NEW_4(p) NEW_3(p) __m512i s##p##3 = b3;
#define NEW_p(p) NEW_2(p)
#define NEW_h(p) NEW_1(p) __m512i s##p##1 __attribute__((unused)) = b1;
#define OLD_1(p) __m512i t##p##0;
#define OLD_2(p) OLD_1(p) __m512i t##p##1;
#define OLD_3(p) OLD_2(p) __m512i t##p##2;
#define OLD_4(p) OLD_3(p) __m512i t##p##3;
#define OLD_p(p) OLD_1(p)
#define OLD_h(p) OLD_1(p) __m512i t##p##1 __attribute__((unused));
#define MOVE_1(p) t##p##0 = s##p##0;
#define MOVE_2(p) MOVE_1(p) t##p##1 = s##p##1;
#define MOVE_3(p) MOVE_2(p) t##p##2 = s##p##2;
#define MOVE_4(p) MOVE_3(p) t##p##3 = s##p##3;
#define MOVE_h(p) MOVE_2(p)
#define MOVE_p(p) t##p##0 = JOIN(s##p##0, s##p##1);
#define MUL_1(p) __m512i v##p = _mm512_set1_epi32(load4(A_##p)); DOT(s##p##0, v##p, w0);
#define MUL_2(p) MUL_1(p) DOT(s##p##1, v##p, w1);
#define MUL_3(p) MUL_2(p) DOT(s##p##2, v##p, w2);
#define MUL_4(p) MUL_3(p) DOT(s##p##3, v##p, w3);
#define MUL_h(p) MUL_1(p)
#define MUL_p(p) __m512i v##p = _mm512_set1_epi64(load8(A_##p)); DOT(s##p##0, v##p, w0); DOT(s##p##1, v##p, w1);
#define DO_3(M) DO_2(M) M(2)
#define DO_12(M) DO_8(M) M(8) M(9) M(10) M(11)
#define STEP(P, Z)                                                                                 \
    {                                                                                              \
        WEIGHTS_##Z DO_##P(MUL_##Z) BEHIND_##Z(P) NEXT_##P(TAKES_##Z) w += BYTES_##Z;                         \
    }
#define STEP_AHEAD(P, Z)                                                                           \
    {                                                                                              \
        _mm_prefetch(ahead, _MM_HINT_T1);                                                          \
        ahead += ahead_step;                                                                       \
        STEP(P, Z)                                                                                 \
    }
#define OUT1_1 PUT_AS_1(t, 0, 1, 2, 3, 4)
#define OUT2_1 PUT_AS_1(t, 4, 5, 6, 7, 4)
#define OUT3_1 PUT_AS_1(t, 8, 9, 10, 11, 4)
#define OUT1_p PUT_AS_1(t, 0, 1, 2, 3, 4)
#define OUT2_p PUT_AS_1(t, 4, 5, 6, 7, 4)
#define OUT3_p
#define OUT1_2 PUT_AS_2(t, 0, 1, 2)
#define OUT2_2 PUT_AS_2(t, 2, 3, 2)
#define OUT3_2 PUT_AS_2(t, 4, 5, 2)
#define OUT1_h PUT_AS_h(t, 0, 1, 2)
#define OUT2_h PUT_AS_h(t, 2, 3, 2)
#define OUT3_h PUT_AS_h(t, 4, 5, 2) PUT_AS_h(t, 6, 7, 2)
#define OUT1_3 PUT_AS_3(t, 0, 1, 2)
#define OUT2_3 PUT_AS_3(t, 2, 3, 2)
#define OUT3_3
#define OUT1_4 PUT_AS_4(t, 0)
#define OUT2_4 PUT_AS_4(t, 1)
#define OUT3_4 PUT_AS_4(t, 2)

/* The first three steps of a tile with what is written between them; then the others.  The first run stands
 * apart, as the old sums would else live through all of them, and fetches nothing: it has loads enough.  three: runs
 * that have no more steps, as those of 3x3 over three channels, are no loops.  few: one run of few steps leaves registers
 * for what a tile reads of the job. */
enum { VNNI_FIRST = 3, VNNI_FEW = 8 };
#define TILE_IN_STREAM(STEPS, P, Z, ONE, TWO, THREE)                                               \
    const int8_t *w = job->w;                                                                      \
    size_t r = job->run_begin;                                                                     \
    AGAIN_##STEPS                                                                                  \
    BIAS_##Z DO_##P(NEW_##Z)                                                                       \
    {                                                                                              \
        const size_t at = job->run_at[r];                                                          \
        BASES_##P                                                                                  \
        STEP(P, Z) ONE STEP(P, Z) TWO STEP(P, Z) THREE                                             \
        MORE_##STEPS(P, Z)                                                                         \
    }                                                                                              \
    RUNS_##STEPS(P, Z)                                                                             \
    DO_##P(MOVE_##Z)
#define STEPS_FROM(begin, P, Z) for (size_t n = job->run_step / TAKES_##Z - (begin); n > 0; n--) STEP_AHEAD(P, Z)
#define RUNS(P, Z, OF_RUN)                                                                         \
    while (++r < job->run_end) {                                                                   \
        const size_t at = job->run_at[r];                                                          \
        BASES_##P                                                                                  \
        OF_RUN                                                                                     \
    }
#define AGAIN_any __asm__("" : "+r"(j)); /* keeps what is read once a tile out of registers */
#define MORE_any(P, Z) STEPS_FROM(VNNI_FIRST, P, Z)
#define RUNS_any(P, Z) RUNS(P, Z, STEPS_FROM(0, P, Z))
#define AGAIN_three AGAIN_any
#define MORE_three(P, Z)
#define RUNS_three(P, Z) RUNS(P, Z, STEP(P, Z) STEP(P, Z) STEP(P, Z))
#define AGAIN_few
#define MORE_few(P, Z) STEPS_FROM(VNNI_FIRST, P, Z)
#define RUNS_few(P, Z)

#define STREAM(STEPS, E, P, Z)                                                                     \
    static __attribute__((noinline)) void stream_##STEPS##_##E##_##Z(const vnni_job *job, size_t from, size_t tiles, size_t to) \
    {                                                                                              \
        const vnni_job *j = job;                                                                   \
        const int kind = KIND_##E;                                                                 \
        const bool wide = false;                                                                   \
        const __m512i zero = _mm512_setzero_si512();                                               \
        const __mmask64 mask = j->mask;                                                            \
        const size_t s1 = j->spacing, s2 = 2 * s1;                                                 \
        const uint8_t *x = j->in + from;                                                           \
        const char *ahead = j->ahead;                                                              \
        const size_t ahead_step = j->ahead_step;                                                   \
        uint8_t *out = (uint8_t *)j->out + to;                                                     \
        DO_##P(OLD_##Z)                                                                            \
        { TILE_IN_STREAM(STEPS, P, Z, , , ) }                                                      \
        for (size_t i = 1; i < tiles; i++, out += P * j->pixel) {                                  \
            x += P * s1;                                                                           \
            TILE_IN_STREAM(STEPS, P, Z, MULTS_##Z OUT1_##Z, OUT2_##Z, OUT3_##Z)                    \
        }                                                                                          \
        MULTS_##Z OUT1_##Z OUT2_##Z OUT3_##Z                                                       \
        (void)zero, (void)wide, (void)ahead, (void)ahead_step;                                     \
    }
#define KIND_bare VNNI_BARE
#define KIND_fast VNNI_FAST
#define KIND_sure VNNI_SURE
#define KIND_plus VNNI_PLUS
#define STREAMS_OF(STEPS, E) \
    STREAM(STEPS, E, 12, 1) STREAM(STEPS, E, 6, 2) STREAM(STEPS, E, 8, h) STREAM(STEPS, E, 4, 3) STREAM(STEPS, E, 3, 4) STREAM(STEPS, E, 8, p)
#define STREAMS(E) STREAMS_OF(any, E) STREAMS_OF(three, E) STREAMS_OF(few, E)
/* clang-format off */
STREAMS(bare) STREAMS(fast) STREAMS(sure) STREAMS(plus)
/* clang-format on */

typedef void stream_fn(const vnni_job *j, size_t from, size_t tiles, size_t to);
/* By form. */
static const size_t vnni_stream_positions[VNNI_FORMS] = {8, 12, 6, 4, 3, 8};
#define STREAM_ROW(STEPS, E) \
    {stream_##STEPS##_##E##_h, stream_##STEPS##_##E##_1, stream_##STEPS##_##E##_2, stream_##STEPS##_##E##_3, stream_##STEPS##_##E##_4, \
     stream_##STEPS##_##E##_p}
#define STREAM_ROWS(STEPS) {STREAM_ROW(STEPS, bare), STREAM_ROW(STEPS, fast), STREAM_ROW(STEPS, sure), STREAM_ROW(STEPS, plus)}
enum { STEPS_ANY, STEPS_THREE, STEPS_FEW };
static stream_fn *const vnni_streams[][4][VNNI_FORMS] = {STREAM_ROWS(any), STREAM_ROWS(three), STREAM_ROWS(few)};

typedef void tile_fn(const vnni_job *j, const size_t *at, size_t to);
enum { VNNI_Z = 4, VNNI_P = 8 };

/* By kind; form; positions. */
#define ROW(E, Z) {NULL, tile_##E##_1x##Z, tile_##E##_2x##Z, NULL, tile_##E##_4x##Z, NULL, NULL, NULL, tile_##E##_8x##Z}
#define ROW_4(E) {NULL, tile_##E##_1x4, tile_##E##_2x4, NULL, tile_##E##_4x4, tile_##E##_5x4, tile_##E##_6x4}
static tile_fn *const vnni_tiles[VNNI_KINDS][VNNI_FORMS][VNNI_P + 1] = {
    {ROW(bare, h), ROW(bare, 1), ROW(bare, 2), ROW(bare, 3), ROW_4(bare), ROW(bare, p)},
    {ROW(fast, h), ROW(fast, 1), ROW(fast, 2), ROW(fast, 3), ROW_4(fast), ROW(fast, p)},
    {ROW(sure, h), ROW(sure, 1), ROW(sure, 2), ROW(sure, 3), ROW_4(sure), ROW(sure, p)},
    {ROW(plus, h), ROW(plus, 1), ROW(plus, 2), ROW(plus, 3), ROW_4(plus), ROW(plus, p)},
    {{NULL}, ROW(keep, 1), ROW(keep, 2), ROW(keep, 3), ROW_4(keep)},
};

#define EDGE_ROW(E, Z) {edge_##E##_7x##Z, edge_##E##_8x##Z}
static tile_fn *const vnni_edge_tiles[VNNI_KINDS][VNNI_FORMS][2] = {
    {{NULL}, EDGE_ROW(bare, 1), EDGE_ROW(bare, 2), EDGE_ROW(bare, 3), {NULL}, EDGE_ROW(bare, p)},
    {{NULL}, EDGE_ROW(fast, 1), EDGE_ROW(fast, 2), EDGE_ROW(fast, 3), {NULL}, EDGE_ROW(fast, p)},
    {{NULL}, EDGE_ROW(sure, 1), EDGE_ROW(sure, 2), EDGE_ROW(sure, 3), {NULL}, EDGE_ROW(sure, p)},
    {{NULL}, EDGE_ROW(plus, 1), EDGE_ROW(plus, 2), EDGE_ROW(plus, 3), {NULL}, EDGE_ROW(plus, p)},
    {{NULL}, EDGE_ROW(keep, 1), EDGE_ROW(keep, 2), EDGE_ROW(keep, 3)},
};

#endif
