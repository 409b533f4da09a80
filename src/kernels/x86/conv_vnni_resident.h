/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Streams of conv_vnni_tiles.h for windows of one run, so short that a block's weights stay in registers:
 * 64 channels of 16 inputs, a position at a time; 32 channels of 16, two positions; 16 channels of 16, 24 or
 * 32, four positions.  A product loads an activation for its positions and nothing else.  Sums become bytes two
 * groups of positions behind: their products have ended by then, and what waits for nothing does not fill
 * the processor's queues.
 */
#ifndef BL_KERNELS_CONV_VNNI_RESIDENT_H
#define BL_KERNELS_CONV_VNNI_RESIDENT_H

#include "kernels/x86/conv_vnni_tiles.h"

/* Three groups in turn take each other's registers, else sums are copied twice; and gcc would put all conversions of
 * a group before its products (Zen 5: 1.5 % each where K is 16, nothing where it is more). */
#define IN_TURN_4 _Pragma("GCC unroll 3")
#define IN_TURN_2 IN_TURN_4
#define IN_TURN_1
#if defined(__clang__)
#define IN_ORDER
#else
#define IN_ORDER __attribute__((optimize("no-schedule-insns2")))
#endif

#define FOR_4(M) M(0) M(1) M(2) M(3)
#define FOR_6(M) FOR_4(M) M(4) M(5)
#define FOR_8(M) FOR_6(M) M(6) M(7)

#define SUMS(a) __m512i a##0, a##1, a##2, a##3;
#define HAND(a, b) a##0 = b##0, a##1 = b##1, a##2 = b##2, a##3 = b##3;
#define WEIGHT(s, z, Z) __m512i w##s##z; LOAD_ONCE(w##s##z, (const __m512i_u *)(job->w + ((s) * (Z) + (z)) * 64));
#define ACTIVATIONS(at) _mm512_set1_epi32(load4(at))
#define DOTS(v0, v1, v2, v3, w0, w1, w2, w3) DOT(p0, v0, w0); DOT(p1, v1, w1); DOT(p2, v2, w2); DOT(p3, v3, w3);

/* 64 channels: bias and multipliers are loaded again, as registers are for weights. */
#define WEIGHTS_OF_4(s) WEIGHT(s, 0, 4) WEIGHT(s, 1, 4) WEIGHT(s, 2, 4) WEIGHT(s, 3, 4)
#define ONCE_4
#define BEGIN_4 BIAS_4 p0 = b0, p1 = b1, p2 = b2, p3 = b3;
#define STEP_OF_4(s)                                                                               \
    {                                                                                              \
        const __m512i v = ACTIVATIONS(x + 4 * (s));                                                \
        DOTS(v, v, v, v, w##s##0, w##s##1, w##s##2, w##s##3)                                       \
    }
#define CODES_4(a) { MULTS_4 vnni_put4(j, kind, mask, m0, m1, m2, m3, a##0, a##1, a##2, a##3, out); }

/* 32 channels of two positions. */
#define WEIGHTS_OF_2(s) WEIGHT(s, 0, 2) WEIGHT(s, 1, 2)
#define ONCE_2 BIAS_2 MULTS_2
#define BEGIN_2 p0 = p2 = b0, p1 = p3 = b1;
#define STEP_OF_2(s)                                                                               \
    {                                                                                              \
        const __m512i v = ACTIVATIONS(x + 4 * (s)), u = ACTIVATIONS(x + s1 + 4 * (s));             \
        DOTS(v, v, u, u, w##s##0, w##s##1, w##s##0, w##s##1)                                       \
    }
#define CODES_2(a) vnni_put2(j, kind, mask, m0, m1, a##0, a##1, a##2, a##3, out, 2);

/* 16 channels of four positions. */
#define WEIGHTS_OF_1(s) WEIGHT(s, 0, 1)
#define ONCE_1 BIAS_1 MULTS_1
#define BEGIN_1 p0 = p1 = p2 = p3 = b0;
#define STEP_OF_1(s)                                                                               \
    {                                                                                              \
        const uint8_t *y = x + 4 * (s);                                                            \
        const __m512i v0 = ACTIVATIONS(y), v1 = ACTIVATIONS(y + s1), v2 = ACTIVATIONS(y + 2 * s1), v3 = ACTIVATIONS(y + s3); \
        DOTS(v0, v1, v2, v3, w##s##0, w##s##0, w##s##0, w##s##0)                                   \
    }
#define CODES_1(a) vnni_put1(j, kind, (__mmask16)mask, m0, a##0, a##1, a##2, a##3, out, 4);

/* P positions a group, Z vectors of S steps; groups: one at least. */
#define RESIDENT(E, S, P, Z)                                                                       \
    static __attribute__((noinline)) IN_ORDER void resident_##E##_##S##_##Z(const vnni_job *job, size_t from, size_t groups, size_t to) \
    {                                                                                              \
        const vnni_job *j = job;                                                                   \
        const int kind = KIND_##E;                                                                 \
        const bool wide = false;                                                                   \
        const __m512i zero = _mm512_setzero_si512();                                               \
        const __mmask64 mask = job->mask;                                                          \
        const size_t s1 = job->spacing, s3 = 3 * s1, pixel = job->pixel;                           \
        const uint8_t *x = job->in + from + job->run_at[job->run_begin];                           \
        uint8_t *out = (uint8_t *)job->out + to;                                                   \
        ONCE_##Z FOR_##S(WEIGHTS_OF_##Z) SUMS(p) SUMS(q) SUMS(t)                                   \
        { BEGIN_##Z FOR_##S(STEP_OF_##Z) }                                                         \
        HAND(t, p) HAND(q, p)                                                                      \
        if (groups > 1) {                                                                          \
            x += P * s1;                                                                           \
            BEGIN_##Z FOR_##S(STEP_OF_##Z) HAND(q, p)                                              \
        }                                                                                          \
        IN_TURN_##Z for (size_t i = 2; i < groups; i++, out += P * pixel) {                        \
            AGAIN_any                                                                              \
            x += P * s1;                                                                           \
            BEGIN_##Z FOR_##S(STEP_OF_##Z) CODES_##Z(t) HAND(t, q) HAND(q, p)                      \
        }                                                                                          \
        CODES_##Z(t)                                                                               \
        if (groups > 1) {                                                                          \
            out += P * pixel;                                                                      \
            CODES_##Z(q)                                                                           \
        }                                                                                          \
        (void)s3, (void)wide, (void)zero;                                                          \
    }
#define RESIDENTS(E) \
    RESIDENT(E, 4, 1, 4) RESIDENT(E, 4, 2, 2) RESIDENT(E, 4, 4, 1) RESIDENT(E, 6, 4, 1) RESIDENT(E, 8, 4, 1)
/* clang-format off */
RESIDENTS(bare) RESIDENTS(fast) RESIDENTS(sure) RESIDENTS(plus)
/* clang-format on */

/* By kind; 64 or 32 channels, or 16 of 4, 6, 8 steps. */
#define RESIDENT_ROW(E) {resident_##E##_4_4, resident_##E##_4_2, resident_##E##_4_1, resident_##E##_6_1, resident_##E##_8_1}
static stream_fn *const vnni_residents[][5] = {RESIDENT_ROW(bare), RESIDENT_ROW(fast), RESIDENT_ROW(sure), RESIDENT_ROW(plus)};

/* The stream for what j reads, and how many positions a tile of it has. */
static stream_fn *vnni_stream(const vnni_job *j, size_t *positions)
{
    size_t z = j->form, steps = j->run_step / (z == VNNI_PAIRED ? 8 : 4);
    bool one = j->run_end - j->run_begin == 1;
    if (one && steps == 4 && (z == 4 || z == 2)) {
        *positions = 4 / z;
        return vnni_residents[j->kind][2 - z / 2];
    }
    if (one && z == 1 && steps % 2 == 0 && steps >= 4 && steps <= 8) {
        *positions = 4;
        return vnni_residents[j->kind][steps / 2];
    }
    *positions = vnni_stream_positions[z];
    return vnni_streams[steps == VNNI_FIRST ? STEPS_THREE : one && steps <= VNNI_FEW ? STEPS_FEW : STEPS_ANY][j->kind][z];
}

#endif
