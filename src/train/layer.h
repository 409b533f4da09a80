/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One layer by itself: its inputs and wanted outputs over the calibration samples, and its arithmetic at
 * chosen output positions.  What layer-wise reconstruction works on.  Private to src/train.
 */
#ifndef BL_LAYER_H
#define BL_LAYER_H

#include "train/train.h"

/* A Conv, or a product by a constant (Gemm, MatMul): at every position each of `outputs` numbers is a sum of k
 * products.  Weights here are canonical: [output][k], k over (tap, channel of the group), so that one tap of a
 * sample whose channels lie side by side is one stretch. */
typedef struct bl_layer {
    int node, weight, bias, input, output; /* bias -1: none */
    bool conv;
    bool transposed;            /* stored as k x outputs */
    bool depthwise;             /* one channel in and one out of every group */
    bl_window win;              /* conv, lifted to three dimensions */
    int64_t groups, outputs, k, channels, taps; /* channels: of the whole input */
    int64_t positions;          /* of one sample */
    int64_t in_size, out_size;  /* floats of one sample */
    float lo, hi;               /* the fused activation */
    const float *bias_data;     /* NULL: none */
} bl_layer;

/* False where the node is no such layer. */
bl_status bl_layer_describe(bl_ctx *ctx, const bl_graph *graph, int node, bl_arena *arena, bl_layer *out, bool *fits);
/* All layers whose weight the plan rounds and nobody else reads (a shared constant has no one input), in order, in `arena`. */
bl_status bl_layers_rounded(bl_ctx *ctx, const bl_graph *graph, const bl_plan *plan, bl_arena *arena, bl_layer **out, int *n);
/* The constant in canonical order, and back. */
void bl_layer_weights(const bl_layer *layer, const float *stored, float *canonical);
void bl_layer_store(const bl_layer *layer, const float *canonical, float *stored);

/* What the layer reads and what it should give, sample after sample, position after position, channels side by
 * side. */
typedef struct bl_layer_samples {
    int64_t n;
    float *x, *t;
} bl_layer_samples;

/* Room for n samples of a layer. */
bl_status bl_layer_room(bl_ctx *ctx, const bl_layer *layer, int64_t n, bl_arena *arena, bl_layer_samples *out);
/* One sample of the walk's values turned so. */
void bl_layer_turn_input(const bl_layer *layer, const float *from, float *to);
void bl_layer_turn_output(const bl_layer *layer, const float *from, float *to);

/* Fills what there is room for, of several layers in one walk: inputs from the network under the plan and weights
 * so far (fake; NULL: in float) where `inputs`, wanted outputs from the float network where `targets`. */
bl_status bl_layers_capture(bl_ctx *ctx, const bl_graph *graph, const bl_layer *layers, const bl_layer_samples *room,
                            int n_layers, bl_data *data, const int64_t *index, bl_fake *fake, bool inputs, bool targets);
/* The inputs of one position: groups x k numbers, group g at out + g * stride; depthwise: [tap][channel]. */
void bl_layer_gather(const bl_layer *layer, const float *x, int64_t position, float *out, int64_t stride);

#endif
