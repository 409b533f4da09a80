/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Between the files of the QDQ exporter: a model under construction.  qdq_build.c holds the ONNX
 * structures, qdq_node.c carries the source's nodes to the file's opset, qdq_forms.c knows faster
 * forms of some of them, qdq_rows.c products with a bias, qdq.c places the quantizers.  Everything lies in one arena; bytes of constants are borrowed until the file is
 * written.
 */
#ifndef BL_QDQ_PRIVATE_H
#define BL_QDQ_PRIVATE_H

#include "emit/emit.h"

#include "onnx.pb-c.h"

typedef struct bl_qdq_list {
    void **item;
    size_t n, capacity;
} bl_qdq_list;

/* Names in use: open addressing, a power of two. */
typedef struct bl_qdq_names {
    const char **taken;
    size_t n, capacity;
} bl_qdq_names;

/* Names of the parts of one quantized tensor. */
typedef struct bl_qdq_parts {
    const char *codes, *scale, *zero;
} bl_qdq_parts;

typedef struct bl_qdq {
    bl_ctx *ctx;
    bl_arena *arena;
    const bl_graph *graph;
    const bl_plan *plan;
    const bl_weights *weights;
    bl_export_options options;
    int opset;                  /* of ONNX's own domain in the file */
    int n_int4;                 /* weights written as INT4 */
    bool free_batch;            /* dimension 0 of inputs and outputs is "N" */
    bl_qdq_list nodes, tensors, inputs, outputs, more_outputs, properties; /* more: codes, behind the network's own */
    bl_qdq_names tensor_names, node_names;
    const char **name;          /* by value: the float tensor that readers take; NULL: not yet */
    bl_qdq_parts *parts;        /* by value: its codes on its grid; codes NULL: none */
    const char **rows;          /* by value: its real numbers as one matrix; NULL: nobody asked */
    int *grows;                 /* by value a biased MatMul gives: the dimension that grows with the batch, -1: none */
    bl_status status;           /* the first failure sticks; every call below then does nothing */
} bl_qdq;

/* ---- qdq_build.c */

/* From the model's arena; NULL once something has failed. */
void *bl_qdq_alloc(bl_qdq *q, size_t count, size_t size);

/* A name that no tensor has: the wanted one, else with _2, _3 ... behind it; NULL on failure. */
const char *bl_qdq_name(bl_qdq *q, const char *format, ...) BL_PRINTF(2, 3);
/* Keeps a name of the source's nodes for that node. */
void bl_qdq_claim_node(bl_qdq *q, const char *name);
/* Names of inputs and outputs (NULL: absent); the node itself is named name, or after its first
 * output where that is NULL.  NULL on failure. */
Onnx__NodeProto *bl_qdq_node(bl_qdq *q, const char *op, const char *name, const char *const *in,
                             size_t n_in, const char *const *out, size_t n_out);
/* An attribute added to a node; f, i, ints as the type says. */
void bl_qdq_attr(bl_qdq *q, Onnx__NodeProto *node, const bl_attr *attr);
void bl_qdq_attr_int(bl_qdq *q, Onnx__NodeProto *node, const char *name, int64_t v);
/* An initializer; data is borrowed. */
void bl_qdq_tensor(bl_qdq *q, const char *name, bl_dtype type, int rank, const int64_t *dim,
                   const void *data);
/* The same for INT4: count codes of -8..7, packed here, two a byte. */
void bl_qdq_tensor_int4(bl_qdq *q, const char *name, int rank, const int64_t *dim, const int8_t *codes);
/* A list of n integers (rank 1), copied; gives its name. */
const char *bl_qdq_ints(bl_qdq *q, const char *name, const int64_t *v, size_t n);
/* A float scalar, copied; gives its name. */
const char *bl_qdq_scalar(bl_qdq *q, const char *name, float v);
/* Graph input or output; t NULL: shape unknown. */
void bl_qdq_port(bl_qdq *q, bl_qdq_list *ports, const char *name, bl_dtype type,
                 const bl_tensor *t);
/* What is in `from`, behind what is in `to`. */
void bl_qdq_join(bl_qdq *q, bl_qdq_list *to, const bl_qdq_list *from);
void bl_qdq_property(bl_qdq *q, const char *key, const char *value);
/* Puts the model together and writes it. */
bl_status bl_qdq_write(bl_qdq *q, const char *path);

/* ---- qdq.c */

/* Grid of an activation or of a constant operand; NULL: not on a grid. */
const bl_quantizer *bl_qdq_act(const bl_qdq *q, int v);
bl_qdq_parts bl_qdq_parts_new(bl_qdq *q, const char *base);
/* Scale and zero point of a grid per tensor as initializers of u8 or u16 codes. */
void bl_qdq_grid(bl_qdq *q, bl_qdq_parts p, float scale, int32_t zero, int bits);
void bl_qdq_quantize(bl_qdq *q, bl_qdq_parts p, const char *x, const char *codes);
/* The name under which readers take value v; n: who asks. */
const char *bl_qdq_read(bl_qdq *q, const bl_node *n, int v);
void bl_qdq_reshape(bl_qdq *q, const char *x, const char *shape, const char *y);
/* axis -1: one scale. */
void bl_qdq_dequantize(bl_qdq *q, bl_qdq_parts p, const char *codes, const char *x, int axis);

/* ---- qdq_forms.c: what ONNX Runtime runs faster, with the same integers */

/* Channels that the input of a first Conv gets more, to a multiple of four; 0: leave it. */
int bl_qdq_more_channels(const bl_qdq *q, int layer);
/* The layer's input with so many channels of zero points behind its own; gives what to read. */
const char *bl_qdq_pad_channels(bl_qdq *q, int layer, int more);
/* A function of one 8-bit value that is a shift of its grid or a rescaling with saturation, said as
 * that.  false: it is neither, say it as it stands. */
bool bl_qdq_rescaling(bl_qdq *q, const bl_node *n);

/* ---- qdq_rows.c: a MatMul with a bias, for which ONNX has no name */

bool bl_qdq_is_biased(const bl_node *n);
/* Which dimension of what these nodes give grows, from the network at another batch. */
void bl_qdq_rows_grow(bl_qdq *q, const bl_graph *other);
/* Value v's codes, read as a matrix with its last dimension as columns: real numbers for a Gemm. */
const char *bl_qdq_rows(bl_qdq *q, int v);
/* The target of a Reshape that makes value v of such a matrix. */
const char *bl_qdq_rows_back(bl_qdq *q, int v);

/* ---- qdq_node.c */

/* The least opset whose operators can say this graph: at least 13 and the source's own. */
int bl_qdq_opset(const bl_graph *graph);
/* A node of the source with inputs and outputs under new names, said at the file's opset. */
void bl_qdq_copy_node(bl_qdq *q, const bl_node *n, const char *const *in, const char *const *out);

#endif
