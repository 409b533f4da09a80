/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What an operator is: one family a file, all facets beside each other, one row in ops.def each.
 * An operator sees its node and tensors, never the graph.  A facet that it lacks is NULL, and the
 * stage that needs it says so with the operator's name.
 */
#ifndef BL_OP_H
#define BL_OP_H

#include "base/base.h"
#include "base/grid.h"

#define BL_MAX_RANK 8

/* Element types, with ONNX's own numbers. */
typedef enum bl_dtype {
    BL_NONE = 0, BL_F32 = 1, BL_U8 = 2, BL_I8 = 3, BL_U16 = 4, BL_I16 = 5, BL_I32 = 6, BL_I64 = 7,
    BL_STRING = 8, BL_BOOL = 9, BL_F16 = 10, BL_F64 = 11, BL_U32 = 12, BL_U64 = 13, BL_BF16 = 16,
    BL_U4 = 21, BL_I4 = 22, BL_U2 = 25, BL_I2 = 26 /* a byte an element in memory */
} bl_dtype;

size_t bl_dtype_bytes(bl_dtype type);       /* 0 for types without a fixed size */
const char *bl_dtype_name(bl_dtype type);   /* "float32" ... */

/* Row-major, ONNX's own dimension order.  data NULL: only type and shape are known. */
typedef struct bl_tensor {
    bl_dtype type;
    int rank;
    int64_t dim[BL_MAX_RANK];
    void *data;
} bl_tensor;

/* Elements; 1 for a scalar.  Shapes in a graph are checked, so this cannot overflow there. */
int64_t bl_tensor_count(const bl_tensor *t);
size_t bl_tensor_bytes(const bl_tensor *t);
/* Element i of a tensor of numbers or bools as double, and back: rounded towards zero, clamped to what the
 * type holds, a NaN 0. */
double bl_element_f64(const bl_tensor *t, int64_t i);
void bl_element_set(const bl_tensor *t, int64_t i, double x);
char *bl_shape_text(bl_arena *arena, const bl_tensor *t); /* "1x3x32x32" */

typedef enum bl_attr_type {
    BL_ATTR_FLOAT = 1, BL_ATTR_INT = 2, BL_ATTR_STRING = 3, BL_ATTR_TENSOR = 4, BL_ATTR_GRAPH = 5,
    BL_ATTR_FLOATS = 6, BL_ATTR_INTS = 7, BL_ATTR_STRINGS = 8
} bl_attr_type;

typedef struct bl_attr {
    const char *name;
    bl_attr_type type;
    float f;
    int64_t i;
    const char *s;          /* NUL-terminated; s_len bytes before it */
    size_t s_len;
    size_t n;               /* elements of floats, ints or strings */
    const float *floats;
    const int64_t *ints;
    const char *const *strings;
    bl_tensor t;
} bl_attr;

typedef struct bl_op bl_op;

/* A node: one application of an operator.  in and out are value numbers of the graph, -1 where an
 * optional one is absent.  lo, hi: bounds of an activation fused into its output 0 by prepare (Relu: 0, inf;
 * Clip: lo, hi); -inf, +inf when none. */
typedef struct bl_node {
    const bl_op *op;
    const char *name;       /* unique in its graph; made up where the file has none */
    const char *domain;     /* "" for ONNX's own */
    int opset;              /* version of that domain in the model */
    int n_in, n_out, n_attr;
    const int *in, *out;
    const bl_attr *attr;
    float lo, hi;
} bl_node;

const bl_attr *bl_node_attr(const bl_node *node, const char *name); /* NULL when absent */
int64_t bl_attr_int(const bl_node *node, const char *name, int64_t otherwise);
float bl_attr_float(const bl_node *node, const char *name, float otherwise);
const char *bl_attr_string(const bl_node *node, const char *name, const char *otherwise);
bool bl_node_clamps(const bl_node *node); /* has a fused activation */

/* What a facet is called with.  in[i] is NULL where the optional input is absent or not given.
 * scratch: an arena that the caller resets after the call. */
typedef struct bl_call {
    bl_ctx *ctx;
    const bl_node *node;
    int n_in, n_out;
    const bl_tensor *const *in;
    bl_tensor *out;         /* n_out of them */
    bl_arena *scratch;
    int64_t block;          /* CHANNELS: so many channels of a position lie together, rounded up and filled with
                             * zeros: N, C / block, positions, block; 0: ONNX's order */
} bl_call;

/* "node "conv3" (Conv)": the place of an operator's error. */
bl_status bl_op_fail(const bl_call *call, bl_status code, const char *remedy, const char *format, ...)
    BL_PRINTF(4, 5);

struct bl_lowering;  /* program/lower.h: what an integer facet builds into */

/* Flags. */
enum {
    BL_OP_LAYER = 1 << 0,   /* multiplies: Conv, Gemm, MatMul.  Input 1 is its weight when constant */
    BL_OP_MOVES = 1 << 1,   /* only moves or compares values of input 0: one grid for input 0 and output */
    BL_OP_UNARY = 1 << 2,   /* elementwise function of input 0 alone: a table in integers [Q9] */
    BL_OP_SHAPES = 1 << 3,  /* works on shapes and indices, gone after constant folding */
    BL_OP_JOINS = 1 << 4,   /* Add, Mul, Concat: inputs of equal standing */
    BL_OP_CODES = 1 << 9,   /* puts values on a grid, takes them off, or multiplies codes: its network is
                             * quantized already */
    BL_OP_WINDOW = 1 << 6,  /* its integer form wants the channels of rank-4 data innermost */
    BL_OP_POINTWISE = 1 << 5, /* an output element depends on the same element of each input, numpy's
                              * broadcasting aside: the order of elements in memory does not matter */
    BL_OP_CHANNELS = 1 << 7,  /* works by channel of input 0 in any order of elements (bl_call's block); its
                              * other inputs and outputs are vectors */
    BL_OP_PICKS = 1 << 10,    /* each output element is one of the inputs': beside constants, one grid for input and output */
    BL_OP_OWN_BIAS = 1 << 12, /* its last input is prepare's, no file's: a vector that is added to the result */
    BL_OP_SUM = 1 << 11,      /* a + b: each input's gradient is the output's, broadcasting aside */
    BL_OP_LEARNS = 1 << 8   /* its constant inputs 1 and 2 are learned in training */
};

struct bl_op {
    const char *name;
    unsigned flags;
    int min_opset;          /* first opset whose meaning this file knows */
    int in_min, in_max, out_max;
    /* Sets type and dims of every output from types, dims and - where constant - data of the
     * inputs.  Must check everything it relies on: counts, ranks, ranges, overflow.  Called before
     * forward with the same shapes, so forward may rely on what this checked. */
    bl_status (*shape)(const bl_call *call);
    /* The plain reference: fills out[].data.  Defined for float32 and for whatever other types the
     * family file says.  The fused activation (node->lo, hi) is applied by the walk, not here. */
    bl_status (*forward)(const bl_call *call);
    /* UNARY: the function in double; rounds to binary32 by the caller [Q9]. */
    double (*unary)(const bl_node *node, double x);
    double (*slope)(const bl_node *node, double x); /* its derivative */
    /* Multiply-accumulates of one application, for cost; NULL counts as 0. */
    int64_t (*macs)(const bl_call *call);
    /* Integer form: emits steps into the program.  NULL: no integer form. */
    bl_status (*integer)(struct bl_lowering *low, const bl_node *node);
    /* Reverse mode, after forward: call->out holds what it computed.  out_grad[i]: the loss's gradient
     * by output i, in its shape, NULL where no loss depends on it; in_grad[i].data is overwritten with
     * the gradient by input i, NULL where nobody asks.  All float32.
     * An operator with one output is never called without its out_grad[0].  The fused activation (lo, hi) is
     * the caller's: it zeroes out_grad where the output lies at a bound.  NULL: none written. */
    bl_status (*gradient)(const bl_call *call, const bl_tensor *const *out_grad, bl_tensor *in_grad);
    /* What stands in its place while a network is trained; NULL: itself.  Its outputs 1, 2 .. are this batch's
     * own figures for the constants that are its last inputs, which are running means of them.  Not in
     * ops.def: no file can name it. */
    const bl_op *training;
};

/* Every row of ops.def. */
const bl_op *bl_op_find(const char *domain, const char *name); /* NULL: unknown */
extern const bl_op *const bl_ops[];
extern const size_t bl_n_ops;

/* Normalised attributes of a 2-D (or 1-D) window operator: Conv, pools.  Shared by all facets. */
typedef struct bl_window {
    int dims;               /* spatial dimensions, 1..3 */
    int64_t kernel[3], stride[3], dilation[3], pad_begin[3], pad_end[3];
    int64_t in[3], out[3];
    bool ceil_mode;
} bl_window;
/* kernel: from the attribute or, when absent, from kernel_shape (Conv: dims of the weight). */
bl_status bl_window_read(const bl_call *call, const bl_tensor *x, const int64_t *kernel_shape,
                         bl_window *out);


#include "ops/integer.h"

#endif
