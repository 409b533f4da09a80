/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Moves of bytes that turn one dimension into another: neighbours in the input come to lie apart in the output and the
 * other way round (the keys of an attention, NCHW and NHWC).  Blocks of 16 x 16 in registers (turn_avx512.h).
 */
#include "kernels/rows.h"

#if defined(__x86_64__)
#include "kernels/plain/strided.h"

#include <immintrin.h>

#include "kernels/x86/turn_avx512.h"

enum { TURN_MIN = 8 }; /* of either dimension; shorter ones leave most of a block empty */

/* The last dimension but one is what the output has side by side, the last one what the input has. */
static bool turned(const bl_move_args *a, strided *s)
{
    int in = -1, out = -1;
    *s = (strided){.operands = 2};
    for (int d = 0; d < a->rank; d++)
        strided_push(s, a->size[d], (const int64_t[3]){a->in_stride[d], a->out_stride[d]});
    if (!strided_start(s)) return false;
    for (int d = 0; d < s->rank; d++) {
        if (s->stride[0][d] == 1) in = d;
        if (s->stride[1][d] == 1) out = d;
    }
    if (in < 0 || out < 0 || in == out || s->size[in] < TURN_MIN || s->size[out] < TURN_MIN) return false;
    strided_innermost(s, out);
    strided_innermost(s, in > out ? in - 1 : in);
    return true;
}

static bool turn_fits(const bl_move_args *a)
{
    strided s;
    return a->rank >= 0 && a->rank <= 8 && a->in_bits <= 8 && a->out_bits <= 8 && !a->table && turned(a, &s);
}

static void turn_run(const bl_move_args *a)
{
    strided s;
    if (!turned(a, &s)) return;
    int64_t columns = strided_inner(&s), apart = strided_step(&s, 1);
    s.rank--; /* the counter leaves out the last dimension */
    int64_t rows = strided_inner(&s), step = strided_step(&s, 0);
    do
        for (int64_t r = 0; r < rows; r += TURN)
            for (int64_t c = 0; c < columns; c += TURN) {
                __m512i t[4];
                turn_load((const uint8_t *)a->in + s.at[0] + r * step + c, step, rows - r, columns - c, t);
                turn(t);
                turn_store(t, (uint8_t *)a->out + s.at[1] + c * apart + r, apart, BL_MIN(columns - c, (int64_t)TURN), rows - r);
            }
    while (strided_next(&s));
}

const bl_move_row bl_k_move_turn_avx512 = {"move_turn_avx512", BL_ISA_AVX512, turn_fits, turn_run};
#endif
