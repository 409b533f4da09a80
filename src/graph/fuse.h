/* SPDX-License-Identifier: BSD-3-Clause */
/* What fuse.c and fuse_scale.c share: layers and the constants beside them. */
#ifndef BL_FUSE_H
#define BL_FUSE_H

#include "graph/graph_private.h"

#include <string.h>

enum { BL_FUSE_WEIGHT = 1, BL_FUSE_BIAS = 2 }; /* inputs of every layer that takes part */

/* n numbers along the last dimension. */
bool bl_fuse_is_vector(const bl_tensor *t, int64_t n);
/* t has one number for each of n channels of a value (N, C, ...) of that rank. */
bool bl_fuse_is_channels(const bl_tensor *t, int64_t n, int out_rank);
/* The weight (K, N) of a MatMul of rank 2 that can become a Gemm; NULL otherwise. */
const bl_tensor *bl_fuse_gemm_weight(const bl_edit *e, const bl_node *n);
void bl_fuse_make_gemm(bl_edit *e, int node);

/* alpha of a Gemm goes into its constant weight, beta into its constant bias. */
bl_status bl_fuse_factors(bl_edit *e, int node);
/* BatchNormalization or constants by channel into the layer that makes the node's input, and into
 * the layer `node` that reads them. */
bl_status bl_fuse_behind(bl_edit *e, int node);
bl_status bl_fuse_before(bl_edit *e, int node);

#endif
