/* SPDX-License-Identifier: BSD-3-Clause */
/* The way back's door to oneDNN: Conv, Gemm, MatMul, pooling.  Private to src/graph; built without oneDNN it
 * takes nothing. */
#ifndef BL_ONEDNN_BACKWARD_H
#define BL_ONEDNN_BACKWARD_H

#include "graph/onednn.h"

typedef struct bl_dnn_back bl_dnn_back;

/* Which orders of its first input and of its output a node's way back reads and writes. */
typedef struct bl_dnn_orders { bool in_packed, out_packed; } bl_dnn_orders;

#ifdef BL_HAVE_ONEDNN

/* versions[value] counts replacements of a constant.  All memory that sizes decide is arena's.  training: as
 * in bl_walk_options. */
bl_status bl_dnn_back_new(bl_ctx *ctx, bl_arena *arena, const bl_graph *graph,
                          const uint32_t *versions, bool training, bl_dnn_back **out);
void bl_dnn_back_free(bl_dnn_back *back);
/* active: by value, whose gradient is asked for.  *taken: bl_dnn_back_run gives all of them. */
bl_status bl_dnn_back_plan(bl_dnn_back *back, int node, const uint8_t *active,
                           const bl_layout *layouts, bool *taken);
bl_status bl_dnn_back_planned(bl_dnn_back *back); /* after the last of them */
bl_dnn_orders bl_dnn_back_orders(const bl_dnn_back *back, int node);
/* in: where the inputs lie, NULL where absent; dy: gradient by the output; to[i]: where that by input i
 * is written, NULL where not active. */
bl_status bl_dnn_back_run(bl_dnn_back *back, int node, const bl_place *const *in, const float *dy,
                          void *const *to);

#else

static inline bl_status bl_dnn_back_new(bl_ctx *ctx, bl_arena *arena, const bl_graph *graph,
                                        const uint32_t *versions, bool training, bl_dnn_back **out)
{
    (void)ctx, (void)arena, (void)graph, (void)versions, (void)training;
    *out = NULL;
    return BL_OK;
}
static inline void bl_dnn_back_free(bl_dnn_back *back)
{
    (void)back;
}
static inline bl_status bl_dnn_back_plan(bl_dnn_back *back, int node, const uint8_t *active,
                                         const bl_layout *layouts, bool *taken)
{
    (void)back, (void)node, (void)active, (void)layouts;
    *taken = false;
    return BL_OK;
}
static inline bl_status bl_dnn_back_planned(bl_dnn_back *back)
{
    (void)back;
    return BL_OK;
}
static inline bl_dnn_orders bl_dnn_back_orders(const bl_dnn_back *back, int node)
{
    (void)back, (void)node;
    return (bl_dnn_orders){false, false};
}
static inline bl_status bl_dnn_back_run(bl_dnn_back *back, int node, const bl_place *const *in,
                                        const float *dy, void *const *to)
{
    (void)back, (void)node, (void)in, (void)dy, (void)to;
    return BL_OK;
}

#endif
#endif
