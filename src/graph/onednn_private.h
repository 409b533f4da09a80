/* SPDX-License-Identifier: BSD-3-Clause */
/* Between onednn.c and onednn_plan.c: a walker's primitives.  Private to both. */
#ifndef BL_ONEDNN_PRIVATE_H
#define BL_ONEDNN_PRIVATE_H

#include "graph/onednn.h"

#ifdef BL_HAVE_ONEDNN

/* The OpenMP runtime that oneDNN runs on; the number is the calling thread's own. */
void omp_set_num_threads(int n);
int omp_get_max_threads(void);

/* A constant in the order that a primitive wants. */
typedef struct dnn_constant {
    int value;                   /* -1: none */
    uint32_t version;            /* what `wanted` holds; UINT32_MAX: nothing yet */
    dnnl_memory_t given, wanted; /* the same object where the orders agree */
    dnnl_primitive_t reorder;
} dnn_constant;

typedef struct dnn_node {
    dnnl_primitive_t run;
    dnnl_memory_desc_t src_md, dst_md, scratch_md;
    dnnl_memory_t scratch;
    dnn_constant weight, bias;
    bl_layout src_layout, dst_layout; /* orders read and written */
    bool own_src;      /* src and dst below describe them, plain with dimensions joined */
    int threads;       /* made for so many, and runs on them */
    bool weight_flows; /* weight is no constant: an input like the first */
    dnnl_memory_t src, other, dst; /* descriptions of this node's own, handles set for each call */
} dnn_node;

struct bl_dnn {
    bl_ctx *ctx;
    bl_arena *arena;
    const bl_graph *graph;
    const uint32_t *versions;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    int threads;
    bool training;
    dnn_node *nodes;
    size_t scratch_bytes;
    void *scratch;
};

bl_status bl_dnn_check(const bl_dnn *dnn, dnnl_status_t status, const char *what);
#define DNN_TRY(call) BL_TRY(bl_dnn_check(dnn, (call), #call))

dnnl_memory_desc_t bl_dnn_describe(int rank, const int64_t *dim, dnnl_format_tag_t tag);
/* Which of our layouts a description is; false: none. */
bool bl_dnn_layout_of(const bl_tensor *t, const dnnl_memory_desc_t *md, bl_layout *out);

static inline const bl_tensor *bl_dnn_value(const bl_dnn *dnn, int value)
{
    return &dnn->graph->values[value].t;
}

#endif
#endif
