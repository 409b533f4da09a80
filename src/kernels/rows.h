/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of this room share: the declarations of every row of kernels.def, and small
 * helpers on containers and shapes.  Private to src/kernels.
 */
#ifndef BL_KERNELS_ROWS_H
#define BL_KERNELS_ROWS_H

#include "kernels/kernels.h"

#include <string.h>

/* The row type of each contract, so that a line of kernels.def declares its row. */
typedef bl_conv_row bl_row_conv;
typedef bl_pair_row bl_row_add;
typedef bl_pair_row bl_row_mul;
typedef bl_pool_row bl_row_gap;
typedef bl_pool_row bl_row_avgpool;
typedef bl_pool_row bl_row_maxpool;
typedef bl_move_row bl_row_move;
typedef bl_table_row bl_row_table;
typedef bl_softmax_row bl_row_softmax;
typedef bl_edge_row bl_row_quantize;
typedef bl_edge_row bl_row_dequantize;
typedef bl_matmul_row bl_row_matmul;
typedef bl_layernorm_row bl_row_layernorm;

#define X(contract, symbol, isa, summary) extern const bl_row_##contract bl_k_##symbol;
#include "kernels/kernels.def"
#undef X

/* Packed weights and work buffers come in whole cache lines; their owner aligns them to 64. */
static inline size_t bl_round64(size_t n)
{
    return (n + 63) & ~(size_t)63;
}

/* Container of a code. */
static inline size_t bl_code_bytes(int32_t bits)
{
    return bits > 8 ? 2 : 1;
}

static inline int32_t bl_code_get(const void *codes, int32_t bits, int64_t i)
{
    return bits > 8 ? ((const uint16_t *)codes)[i] : ((const uint8_t *)codes)[i];
}

static inline void bl_code_put(void *codes, int32_t bits, int64_t i, int32_t q)
{
    if (bits > 8)
        ((uint16_t *)codes)[i] = (uint16_t)q;
    else
        ((uint8_t *)codes)[i] = (uint8_t)q;
}

/* Weights that one output of a convolution reads: the K of the matrix product. */
static inline int64_t bl_conv_taps(const bl_conv_shape *s)
{
    return (int64_t)s->kernel_h * s->kernel_w * (s->in_c / s->groups);
}

/* The end of [Q5], [Q6], [Q8]: clamp(rint(t), lo, hi) for any t.  Clamping first gives the same, as
 * rounding is monotone and keeps lo and hi; a NaN gives lo. */
static inline int32_t bl_round_clamp(float t, int32_t lo, int32_t hi)
{
    float least = (float)lo, most = (float)hi;
    t = t > least ? t : least;
    t = t < most ? t : most;
    return (int32_t)bl_rne_f32(t);
}

/* Constants of [Q5] and [Q6]. */
typedef struct bl_add_consts {
    float ra, rb, f;
} bl_add_consts;
static inline bl_add_consts bl_add_consts_of(const bl_pair_args *a)
{
    bl_add_consts c;
    c.ra = a->ga.scale / a->gy.scale;
    c.rb = a->gb.scale / a->gy.scale;
    c.f = (float)a->gy.zero - fmaf(c.ra, (float)a->ga.zero, c.rb * (float)a->gb.zero);
    return c;
}

/* Two codes of 8 bits: t of [Q5] stays far below 2^31. */
static inline bool bl_add_bounded(bl_add_consts c)
{
    return 255 * (fabsf(c.ra) + fabsf(c.rb)) + fabsf(c.f) < 0x1p30f;
}

static inline float bl_mul_ratio(const bl_pair_args *a)
{
    return (a->ga.scale * a->gb.scale) / a->gy.scale;
}

/* r of [Q18]: the row's sums are s1 and s2. */
static inline float bl_layernorm_factor(const bl_layernorm_args *a, int64_t s1, int64_t s2)
{
    return (float)(1.0 / sqrt((double)(a->d * s2 - s1 * s1) + a->floor));
}

/* m of [Q7] for n pixels. */
static inline float bl_gap_mult(const bl_pool_args *a, int64_t n)
{
    return a->gx.scale / (a->gy.scale * (float)n);
}

#endif
