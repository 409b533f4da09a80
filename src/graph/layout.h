/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Orders of a float32 value's elements in memory besides ONNX's own, which convolutions run best
 * in. Private to src/graph.
 */
#ifndef BL_LAYOUT_H
#define BL_LAYOUT_H

#include "graph/graph.h"

/* Order of the elements of a value (N, C, spatial...) in its packed buffer. */
typedef enum bl_layout {
    BL_LAYOUT_PLAIN,  /* row-major as ONNX says: no packed buffer */
    BL_LAYOUT_LAST,   /* N, spatial, C */
    BL_LAYOUT_BLOCK8, /* N, C/8, spatial, 8: channels rounded up, what is added is zero */
    BL_LAYOUT_BLOCK16
} bl_layout;

/* The packed order as a row-major tensor of its own, sharing the elements at `data`. */
void bl_layout_view(const bl_tensor *t, bl_layout layout, void *data, bl_tensor *view);
/* bl_call's block for a tensor in this order. */
int64_t bl_layout_block(const bl_tensor *t, bl_layout layout);
bool bl_layout_rounds(const bl_tensor *t, bl_layout layout); /* has added channels */

/* One order from the other; t is the plain tensor's type and shape, rank >= 2. */
void bl_layout_pack(const bl_tensor *t, bl_layout layout, const float *plain, float *packed);
void bl_layout_unpack(const bl_tensor *t, bl_layout layout, const float *packed, float *plain);

#endif
