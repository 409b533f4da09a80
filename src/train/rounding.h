/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A constant whose elements learn whether they are rounded down or up (AdaRound, arXiv 2004.10568):
 *
 *   W~ = s clamp(floor(W / s) + h(V), lo, hi),  h(V) = clamp(1.2 sigmoid(V) - 0.1, 0, 1)
 *
 * with lambda sum(1 - |2 h - 1|^beta) pushing h to 0 or 1.  Private to src/train.
 */
#ifndef BL_ROUNDING_H
#define BL_ROUNDING_H

#include "train/layer.h"

#define BL_ROUNDING_ROWS 8      /* outputs of one piece of an update */

typedef struct bl_rounding {
    const bl_layer *layer;
    const float *scale;         /* one, or one an output */
    int n_scale;
    float code_lo, code_hi;
    float *base;                /* floor(W / s), canonical */
    float *v, *m1, *m2;         /* what is learned, Adam's moments */
    float *w;                   /* W~ */
} bl_rounding;

/* One step of Adam: gradients by W~ are the sum of `parts` arrays, in their order. */
typedef struct bl_rounding_step {
    int64_t number;             /* from 1 */
    double rate, lambda, beta;  /* beta 0: nothing pushes yet */
    float *const *grad;
    int parts;
} bl_rounding_step;

/* Starts at the real weights.  scale is borrowed. */
bl_status bl_rounding_open(bl_ctx *ctx, const bl_layer *layer, const float *canonical, const bl_quantizer *q,
                           bl_arena *arena, bl_rounding *out);
/* beta at a share of all iterations: 0 for a fifth, then from 20 down to 2. */
double bl_rounding_beta(double done);
int64_t bl_rounding_pieces(const bl_rounding *r);
void bl_rounding_move(const bl_rounding *r, const bl_rounding_step *step, int64_t piece);
/* What was learned, as reals on the grid, in the model's order. */
void bl_rounding_close(const bl_rounding *r, float *stored);

/* ------------------------------------------------------------------ layerwise.c */

enum { BL_ROUND_ITERATIONS = 1000 };

/* The rounding of one layer's weights from its samples, on the plan's grid: 2 to 8 bits.  stored: as many floats as the
 * constant has, in the model's order.  done, total: of the progress that is shown.  bias: learns too, from where it
 * stands; NULL: the layer's stays. */
bl_status bl_layer_round(bl_ctx *ctx, const bl_layer *layer, const bl_layer_samples *samples, const float *constant,
                         const bl_quantizer *q, uint64_t done, uint64_t total, bl_arena *arena, float *stored, float *bias);
static inline bool bl_round_bits(int bits)
{
    return bits > 1 && bits < 8;
}

#endif
