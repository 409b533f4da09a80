/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How an operator says its integer form.  The facet sees its node, the integer tensors around it and
 * a builder; it holds no loops: it names a kernel contract and computes that contract's constants.
 * The steps below are the instructions of PROGRAM, stored as they stand (little endian, fixed
 * sizes), so a field is never moved within a major version.
 *
 * Part of the ops door (op.h); program implements struct bl_lowering.
 */
#ifndef BL_INTEGER_H
#define BL_INTEGER_H

#include "kernels/kernels.h"
#include "ops/op.h"

/* An integer tensor of the program.  dim: ONNX's logical order, batch 1; stride: where the elements
 * lie, in elements (rank 4 and 5 channels-last, else row-major). */
typedef struct bl_ivalue {
    int number;                 /* of the program's tensor */
    int rank;
    int64_t dim[BL_MAX_RANK], stride[BL_MAX_RANK];
    int bits;                   /* 1..8: u8, 9..16: u16 */
    bl_grid grid;
    bl_dtype raw;               /* not codes: plain elements of this type, row-major; BL_NONE: codes */
} bl_ivalue;

/* A layer's constant weight on its grid: one int8 code an element in the model's own order (ONNX
 * dims), scales per slice of `axis` (-1: one scale). */
typedef struct bl_iweight {
    const bl_tensor *t;         /* dims of the constant; its float data */
    const int8_t *codes;
    const float *scale;
    int n_scale, axis, bits;
    const int8_t *table;        /* codebook: the 2^index_bits codes that there are, in order; bits is then 8 */
    int index_bits;             /* 0: none; width of indices, or of codes in groups */
    const uint8_t *multiple;    /* groups: of `group` weights of a channel, in canonical order; codes are products with it */
    int group;                  /* 0: none */
} bl_iweight;

typedef struct bl_step_conv {
    bl_conv_shape s;
    int32_t zero_in, zero_out, lo, hi;
    uint64_t weights, bias, mult; /* offsets into the constants; weights are bit-packed canonical codes */
    uint64_t table;             /* codebook: of 2^index_bits codes; weights are then bit-packed indices */
    int32_t index_bits, group;  /* 0: no codebook; group: weights are codes of index_bits, table a byte for so many of them */
} bl_step_conv;

typedef struct bl_step_pair {
    int32_t rank, pad;
    int64_t size[6], a_stride[6], b_stride[6], out_stride[6];
    bl_grid ga, gb, gy;
} bl_step_pair;

typedef struct bl_step_pool {
    int32_t in_h, in_w, c, out_h, out_w, kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w;
    int32_t pad_top, pad_left, count_include_pad;
    bl_grid gx, gy;
} bl_step_pool;

typedef struct bl_step_move {
    int32_t rank, has_table;
    int64_t size[8], in_stride[8], out_stride[8], in_first, out_first;
    uint64_t table;             /* offset into the constants */
} bl_step_move;

typedef struct bl_step_table {
    int64_t n;
    uint64_t table;
} bl_step_table;

typedef struct bl_step_softmax {
    int64_t rows, d;
    uint64_t table;             /* float[256]: one entry for every code of the container */
    bl_grid gx, gy;
} bl_step_softmax;

typedef struct bl_step_layernorm {
    int64_t rows, d;
    uint64_t gain, shift;       /* float[d] each */
    double floor;
    bl_grid gy;
} bl_step_layernorm;

/* Batched product of two activations: out[m][n] = sum over k of (a - za)(b - zb), [Q3]. */
typedef struct bl_step_matmul {
    int32_t rank, acc64;        /* of the batch */
    int64_t size[4], a_stride[4], b_stride[4], out_stride[4];
    int64_t m, n, k, a_m, a_k, b_k, b_n, out_m, out_n; /* sizes, then strides in elements */
    int32_t zero_a, zero_b, zero_out, lo, hi;
    float mult;
} bl_step_matmul;

/* Kinds of steps beyond the kernel contracts.  An island is an operator that runs in binary32 between
 * codes [Q11]. */
enum { BL_STEP_ISLAND = 64 };
typedef struct bl_step_island {
    uint32_t island;            /* number in the program's list */
} bl_step_island;

typedef struct bl_step_edge {
    int32_t rank, pad;
    int64_t size[8], in_stride[8], out_stride[8];
    bl_grid g;
} bl_step_edge;

typedef struct bl_step {
    uint32_t contract;          /* bl_contract, or BL_STEP_ISLAND: its tensors stand in the list */
    int32_t in[2], out;         /* tensor numbers, -1: none */
    uint32_t name;              /* of the node: offset into the strings */
    uint32_t reserved;
    union {
        bl_step_conv conv;      /* BL_C_CONV */
        bl_step_pair pair;      /* BL_C_ADD, BL_C_MUL */
        bl_step_pool pool;      /* BL_C_GAP, BL_C_AVGPOOL, BL_C_MAXPOOL */
        bl_step_move move;      /* BL_C_MOVE */
        bl_step_table table;    /* BL_C_TABLE */
        bl_step_softmax softmax; /* BL_C_SOFTMAX */
        bl_step_edge edge;      /* BL_C_QUANTIZE, BL_C_DEQUANTIZE */
        bl_step_matmul matmul;  /* BL_C_MATMUL */
        bl_step_layernorm layernorm; /* BL_C_LAYERNORM */
        bl_step_island island;  /* BL_STEP_ISLAND */
        uint64_t space[36];     /* 288 bytes: room for a minor version */
    } u;
} bl_step;

typedef struct bl_lowering {
    bl_ctx *ctx;
    bl_arena *scratch;
    const bl_node *node;
    /* By input and output position of the node; NULL where that one is absent or not of this kind. */
    const bl_ivalue *const *in;      /* activations, and constant operands of JOINS operators */
    const bl_iweight *weight;        /* LAYER: of input 1, when it is constant */
    const bl_tensor *const *constant; /* constants in their own type (bias, shapes, bounds) */
    const bl_ivalue *out;            /* output 0 */
    const bl_ivalue *const *outs;    /* all n_out of them; NULL where nobody reads it */
    int n_out;
    bool *no_form;                   /* set by bl_integer_fail: the operator runs in binary32 instead */
    void *user;                      /* the program builder's */
    bl_status (*emit)(struct bl_lowering *low, const bl_step *step);
    /* Copies bytes into the program's constants; equal blobs share one place. */
    bl_status (*blob)(struct bl_lowering *low, const void *data, size_t bytes, uint64_t *offset);
    /* Bit-packs canonical codes (two's complement, width bits; +-1 as one bit when bits is 1). */
    bl_status (*pack)(struct bl_lowering *low, const int8_t *codes, size_t n, int bits, uint64_t *offset);
    /* Codes out of a codebook: bit-packed indices, and the table. */
    bl_status (*book)(struct bl_lowering *low, const int8_t *codes, size_t n, const bl_iweight *w, uint64_t *offset, uint64_t *table);
    /* Codes in groups, k for each output channel: bit-packed without their multiples, and those. */
    bl_status (*grouped)(struct bl_lowering *low, const int8_t *codes, size_t n, size_t k, const bl_iweight *w, uint64_t *offset,
                         uint64_t *multiples);
    /* A one-element constant tensor with this code, for fills. */
    bl_status (*code)(struct bl_lowering *low, const bl_ivalue *like, int32_t code, int *number);
    /* A row-major tensor for the time of this node, with like's dims, bits and grid. */
    bl_status (*temp)(struct bl_lowering *low, const bl_ivalue *like, bl_ivalue *out);
    /* out shares in's memory: nothing to do at run time. */
    bl_status (*alias)(struct bl_lowering *low, const bl_ivalue *in, const bl_ivalue *out);
} bl_lowering;

/* A step with contract and tensors filled in, the rest zero. */
bl_step bl_step_make(bl_contract contract, const bl_ivalue *a, const bl_ivalue *b, const bl_ivalue *out);
/* This node has no integer form: it becomes a table or an island.  Before the first step is emitted. */
bl_status bl_integer_fail(const bl_lowering *low, const char *format, ...) BL_PRINTF(2, 3);
/* The plan asks for what must not run: refused. */
bl_status bl_integer_refuse(const bl_lowering *low, const char *format, ...) BL_PRINTF(2, 3);
/* A POINTWISE operator of one activation and constants of one element: a table made by its float form
 * [Q11]; else no form. */
bl_status bl_pointwise_integer(bl_lowering *low, const bl_node *node);
/* Output grid narrowed to the node's fused activation: monotone rounding makes
 * Q(clamp(x, lo, hi)) = clamp(Q(x), Q(lo), Q(hi)). */
bl_grid bl_clamped_grid(const bl_node *node, bl_grid g);
/* The node's call with shapes of its activations and its constants, for the helpers that shape facets
 * use; lives in low->scratch. */
bl_status bl_integer_call(const bl_lowering *low, bl_call *call);
/* A copy over `rank` dims, through a rescale table where the two grids differ [Q9]; offsets and strides
 * in elements of the containers. */
bl_status bl_emit_move(bl_lowering *low, const bl_ivalue *in, const bl_ivalue *out, int rank,
                       const int64_t *size, const int64_t *in_stride, int64_t in_first,
                       const int64_t *out_stride, int64_t out_first);
/* Every element through the table to the node's output; in a copy where the two lie in different orders. */
bl_status bl_emit_table(bl_lowering *low, const bl_ivalue *x, uint64_t table);
/* Contracts over rows of the last dimensions: the value itself where it is row-major, else a tensor beside it, and the
 * copies between. */
bl_status bl_rows_in(bl_lowering *low, const bl_ivalue *x, bl_ivalue *from);
bl_status bl_rows_out(bl_lowering *low, const bl_ivalue *y, bl_ivalue *to);
bl_status bl_rows_done(bl_lowering *low, const bl_ivalue *to, const bl_ivalue *y);
/* Do the elements lie in row-major order of the logical dims? */
bool bl_ivalue_row_major(const bl_ivalue *v);
int64_t bl_ivalue_count(const bl_ivalue *v);

bl_status bl_conv_integer(bl_lowering *low, const bl_node *node);
bl_status bl_gemm_integer(bl_lowering *low, const bl_node *node);
bl_status bl_matmul_integer(bl_lowering *low, const bl_node *node);
bl_status bl_add_integer(bl_lowering *low, const bl_node *node);
bl_status bl_mul_integer(bl_lowering *low, const bl_node *node);
bl_status bl_pool_integer(bl_lowering *low, const bl_node *node);   /* Average-, MaxPool */
bl_status bl_global_pool_integer(bl_lowering *low, const bl_node *node);
bl_status bl_unary_integer(bl_lowering *low, const bl_node *node);  /* every UNARY operator [Q9] */
bl_status bl_clip_integer(bl_lowering *low, const bl_node *node);   /* bounds that are inputs */
bl_status bl_softmax_integer(bl_lowering *low, const bl_node *node);
bl_status bl_layer_norm_integer(bl_lowering *low, const bl_node *node);
bl_status bl_concat_integer(bl_lowering *low, const bl_node *node);
bl_status bl_reshape_integer(bl_lowering *low, const bl_node *node); /* Reshape, Flatten, Squeeze, ... */
bl_status bl_transpose_integer(bl_lowering *low, const bl_node *node);
bl_status bl_slice_integer(bl_lowering *low, const bl_node *node);
bl_status bl_pad_integer(bl_lowering *low, const bl_node *node);
bl_status bl_split_integer(bl_lowering *low, const bl_node *node);
bl_status bl_gather_integer(bl_lowering *low, const bl_node *node);
bl_status bl_tile_integer(bl_lowering *low, const bl_node *node);
bl_status bl_expand_integer(bl_lowering *low, const bl_node *node);
bl_status bl_resize_integer(bl_lowering *low, const bl_node *node);
bl_status bl_depth_to_space_integer(bl_lowering *low, const bl_node *node);
bl_status bl_space_to_depth_integer(bl_lowering *low, const bl_node *node);
bl_status bl_reduce_mean_integer(bl_lowering *low, const bl_node *node);
bl_status bl_reduce_max_integer(bl_lowering *low, const bl_node *node);

#endif
