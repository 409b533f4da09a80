/* SPDX-License-Identifier: BSD-3-Clause */
/* A walker's primitives, between onednn.c, onednn_plan.c and onednn_backward.c; private to them. */
#ifndef BL_ONEDNN_PRIVATE_H
#define BL_ONEDNN_PRIVATE_H

#include "graph/onednn.h"

#ifdef BL_HAVE_ONEDNN

/* The OpenMP runtime that oneDNN runs on; the number is the calling thread's own. */
void omp_set_num_threads(int n);
int omp_get_max_threads(void);

/* What every way through oneDNN has. */
typedef struct bl_dnn_base {
    bl_ctx *ctx;
    bl_arena *arena;
    const bl_graph *graph;
    const uint32_t *versions;
    bool training;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    size_t scratch_bytes; /* the most that a primitive wants */
    void *scratch;
} bl_dnn_base;

bl_status bl_dnn_check(const bl_dnn_base *base, dnnl_status_t status, const char *what);
#define DNN_TRY(base, call) BL_TRY(bl_dnn_check((base), (call), #call))

bl_status bl_dnn_open(bl_dnn_base *base); /* engine and stream; bl_dnn_close also after a failure */
void bl_dnn_close(bl_dnn_base *base);
bl_status bl_dnn_scratch(bl_dnn_base *base); /* when all are planned */
bl_status bl_dnn_reorder_new(const bl_dnn_base *base, const dnnl_memory_desc_t *from, const dnnl_memory_desc_t *to,
                             dnnl_primitive_t *out);
bl_status bl_dnn_reorder_run(const bl_dnn_base *base, dnnl_primitive_t reorder, dnnl_memory_t from, dnnl_memory_t to);

/* fused: a node whose bounds the primitive applies, or NULL.  hint: the forward one, on the way back.  *pd NULL: oneDNN
 * has none but its reference. */
bl_status bl_dnn_pd_new(const bl_dnn_base *base, const bl_node *fused, const void *op_desc, dnnl_primitive_desc_t hint,
                        dnnl_primitive_desc_t *pd);
void bl_dnn_pd_drop(dnnl_primitive_desc_t *pd);
bool bl_dnn_is_gemm(dnnl_primitive_desc_t pd);
dnnl_memory_desc_t bl_dnn_query(dnnl_primitive_desc_t pd, int arg);

dnnl_memory_desc_t bl_dnn_describe(int rank, const int64_t *dim, dnnl_format_tag_t tag);
/* Batches of matrices, one after the other, with strides of rows and columns. */
bool bl_dnn_strided(dnnl_memory_desc_t *md, int rank, const dnnl_dims_t dim, int64_t row, int64_t col);

typedef struct bl_dnn_conv {
    dnnl_dims_t stride, dilation, begin, end, weight; /* dilation from 0; weight: groups first where there are some */
    int weight_rank;
    dnnl_memory_desc_t given, bias;                   /* the weight as the graph has it; one number a filter */
} bl_dnn_conv;
bl_status bl_dnn_conv_read(const bl_dnn_base *base, const bl_node *node, bl_dnn_conv *c);

typedef struct bl_dnn_pool { dnnl_dims_t kernel, stride, begin, end; } bl_dnn_pool;
/* global: one window over all.  *fits false: dilated, which has another interface, or windows that ceil_mode lets reach
 * beyond a padding that counts, which would change the divisor. */
bl_status bl_dnn_pool_read(const bl_dnn_base *base, const bl_node *node, bool counts_padding, bool global, bl_dnn_pool *p,
                           bool *fits);

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
    bl_dnn_base base;
    int threads;
    dnn_node *nodes;
};

/* Which of our layouts a description is; false: none. */
bool bl_dnn_layout_of(const bl_tensor *t, const dnnl_memory_desc_t *md, bl_layout *out);

static inline const bl_tensor *bl_dnn_value(const bl_dnn *dnn, int value)
{
    return &dnn->base.graph->values[value].t;
}

#endif
#endif
