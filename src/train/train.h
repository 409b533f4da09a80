/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The train room's one door: what gradients are good for.  Samples distilled from a network's own
 * BatchNormalization statistics.
 */
#ifndef BL_TRAIN_H
#define BL_TRAIN_H

#include "target/target.h"

/* ------------------------------------------------------------------ distil.c */

typedef struct bl_distil_options {
    int64_t samples;            /* 0: 32, or 16 where a sample has 128 x 128 positions and more */
    int64_t steps;              /* 0: 500, or 200 there */
    double class_weight;        /* of a cross-entropy with a random class for each sample; 0: none */
    bool per_sample;            /* statistics of each sample by itself, as ZeroQ; else of all together */
} bl_distil_options;
bl_distil_options bl_distil_options_default(void); /* class_weight 1, statistics of all together */

typedef struct bl_distilled {
    bl_arena *arena;
    bl_tensor x;                /* float32 [samples, ...]: as the network takes them */
    int n_layers;               /* BatchNormalizations that were matched; 0: Gaussian numbers, no steps */
    int64_t steps;
    double loss_first, loss_last;
    double offset, scale;       /* of the input, recovered from the first layer; 0 and 1 where not */
} bl_distilled;

/* Samples on which a network's layers have the means and deviations that its BatchNormalizations
 * remember (ZeroQ, arXiv 2001.00281).  graph: as imported, with one float32 input.  Same seed, same
 * bytes, for any number of threads.  Without BatchNormalization: N(0, 1).  options NULL: the default. */
bl_status bl_distil(bl_ctx *ctx, const bl_graph *graph, const bl_distil_options *options,
                    bl_distilled **out);
void bl_distilled_free(bl_distilled *distilled);

#endif
