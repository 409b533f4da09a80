/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the operator families share: checks of foreign nodes, broadcasting, strided copies, the
 * plain product of matrices.  Private to src/ops.
 */
#ifndef BL_OPS_PRIVATE_H
#define BL_OPS_PRIVATE_H

#include "ops/op.h"
#include <math.h>
#include <string.h>

/* Sets of element types. */
#define BL_BIT(type) (1u << (type))
#define BL_T_F32 BL_BIT(BL_F32)
#define BL_T_INTS                                                                                  \
    (BL_BIT(BL_U8) | BL_BIT(BL_I8) | BL_BIT(BL_U16) | BL_BIT(BL_I16) | BL_BIT(BL_I32) |            \
     BL_BIT(BL_I64) | BL_BIT(BL_U32) | BL_BIT(BL_U64))
#define BL_T_NIBBLES (BL_BIT(BL_U4) | BL_BIT(BL_I4) | BL_BIT(BL_U2) | BL_BIT(BL_I2))
#define BL_T_NUMBERS (BL_T_INTS | BL_BIT(BL_F32) | BL_BIT(BL_F64))
#define BL_T_MOVABLE                                                                                \
    (BL_T_NUMBERS | BL_BIT(BL_BOOL) | BL_BIT(BL_F16) | BL_BIT(BL_BF16) | BL_T_NIBBLES)

/* ---------------------------------------------------------------- check.c: for shape facets */

/* First thing in every shape facet: counts of inputs and outputs against the operator's, required
 * inputs present, attributes of the wrong type refused.  attrs: "auto_pad:s group:i pads:I" with
 * f, i, s, t for one and F, I, S for several; attributes that it does not name are ignored. */
bl_status bl_op_begin(const bl_call *call, const char *attrs);
/* Type of input i is one of the set (BL_BIT) and it has elements: an empty tensor is refused. */
bl_status bl_op_type(const bl_call *call, int i, unsigned types);
/* The same for every given input, all of one type. */
bl_status bl_op_one_type(const bl_call *call, unsigned types);
bl_status bl_op_rank(const bl_call *call, int i, int least, int most);
/* Sets output i; refuses a rank above BL_MAX_RANK, dims below 1 and sizes that overflow. */
bl_status bl_op_out(const bl_call *call, int i, bl_dtype type, int rank, const int64_t *dim);
/* A list of whole numbers, as shapes are, may have no element where bl_op_is_list says so: Slice and
 * Concat take and give such. */
bool bl_op_is_list(const bl_tensor *t);
bl_status bl_op_list(const bl_call *call, int i, int64_t n);
/* Output 0 has type and shape of input 0. */
bl_status bl_op_like(const bl_call *call);
/* -rank..rank-1 to 0..rank-1. */
bl_status bl_op_axis(const bl_call *call, int64_t axis, int rank, int *out);
/* Constant input i as a list of at most n_max integers; BL_UNAVAILABLE when it is not known. */
bl_status bl_op_ints(const bl_call *call, int i, int n_max, int64_t *out, int *n);
/* Attribute INTS of at most n_max; *n = -1 when absent. */
bl_status bl_op_ints_attr(const bl_call *call, const char *name, int n_max, int64_t *out, int *n);
/* Axes from attribute "axes" or, since opset `since`, from input `input`; each normalised to rank
 * and given once.  *n = -1 when absent. */
bl_status bl_op_axes(const bl_call *call, int since, int input, int rank, int *axis, int *n);
/* Input i is given. */
bool bl_op_has(const bl_call *call, int i);

/* ---------------------------------------------------------------- broadcast.c */

#define BL_BCAST_MAX 3

/* An iteration space with up to three contiguous inputs broadcast over it; neighbouring dimensions
 * are joined where all strides allow, so the innermost stride of an input is 1 or 0. */
typedef struct bl_bcast {
    int rank, n;
    int64_t dim[BL_MAX_RANK];
    int64_t stride[BL_BCAST_MAX][BL_MAX_RANK]; /* elements */
} bl_bcast;

/* Numpy's common shape of n tensors; BL_DATA when they do not fit. */
bl_status bl_bcast_dims(const bl_call *call, int n, const bl_tensor *const *t, int *rank,
                        int64_t *dim);
void bl_bcast_make(bl_bcast *b, int rank, const int64_t *dim, int n, const bl_tensor *const *t);
/* Calls inner for each innermost row: n elements, out contiguous, step of an input 1 or 0. */
typedef void bl_bcast_inner(const void *arg, int64_t n, void *out, const void *const *in,
                            const int64_t *step);
void bl_bcast_run(const bl_bcast *b, size_t out_size, const size_t *in_size, void *out,
                  const void *const *in, bl_bcast_inner *inner, const void *arg);

/* Sum of `full` (shape of out) over the dimensions along which `operand` was broadcast, in double,
 * row-major order; `to` has operand's shape. */
bl_status bl_bcast_sum(const bl_call *call, const bl_tensor *out, const float *full,
                       const bl_tensor *operand, float *to);

/* ---------------------------------------------------------------- move_gradient.c */

/* Gradient of an operator whose outputs copy elements of its float inputs (or, Pad, zeros). */
bl_status bl_move_gradient(const bl_call *call, const bl_tensor *const *out_grad,
                           bl_tensor *in_grad);

/* ---------------------------------------------------------------- activation_gradient.c */

bl_status bl_unary_gradient(const bl_call *call, const bl_tensor *const *out_grad,
                            bl_tensor *in_grad);
bl_status bl_clip_gradient(const bl_call *call, const bl_tensor *const *out_grad,
                           bl_tensor *in_grad);
double bl_slope_abs(const bl_node *node, double x);
double bl_slope_acos(const bl_node *node, double x);
double bl_slope_acosh(const bl_node *node, double x);
double bl_slope_asin(const bl_node *node, double x);
double bl_slope_asinh(const bl_node *node, double x);
double bl_slope_atan(const bl_node *node, double x);
double bl_slope_atanh(const bl_node *node, double x);
double bl_slope_ceil(const bl_node *node, double x);
double bl_slope_celu(const bl_node *node, double x);
double bl_slope_cos(const bl_node *node, double x);
double bl_slope_cosh(const bl_node *node, double x);
double bl_slope_elu(const bl_node *node, double x);
double bl_slope_erf(const bl_node *node, double x);
double bl_slope_exp(const bl_node *node, double x);
double bl_slope_floor(const bl_node *node, double x);
double bl_slope_gelu(const bl_node *node, double x);
double bl_slope_hard_sigmoid(const bl_node *node, double x);
double bl_slope_hard_swish(const bl_node *node, double x);
double bl_slope_leaky_relu(const bl_node *node, double x);
double bl_slope_log(const bl_node *node, double x);
double bl_slope_neg(const bl_node *node, double x);
double bl_slope_reciprocal(const bl_node *node, double x);
double bl_slope_relu(const bl_node *node, double x);
double bl_slope_round(const bl_node *node, double x);
double bl_slope_selu(const bl_node *node, double x);
double bl_slope_shrink(const bl_node *node, double x);
double bl_slope_sigmoid(const bl_node *node, double x);
double bl_slope_sign(const bl_node *node, double x);
double bl_slope_sin(const bl_node *node, double x);
double bl_slope_sinh(const bl_node *node, double x);
double bl_slope_softplus(const bl_node *node, double x);
double bl_slope_softsign(const bl_node *node, double x);
double bl_slope_sqrt(const bl_node *node, double x);
double bl_slope_mish(const bl_node *node, double x);
double bl_slope_swish(const bl_node *node, double x);
double bl_slope_tan(const bl_node *node, double x);
double bl_slope_tanh(const bl_node *node, double x);
double bl_slope_thresholded_relu(const bl_node *node, double x);

/* ---------------------------------------------------------------- elementwise.c, its gradients */

/* Common shape of two operands, b with trailing 1s where an old opset lays it under a at an axis. */
bl_status bl_pair_dims(const bl_call *call, bl_tensor *b, int *rank, int64_t *dim);
bl_status bl_prelu_slope(const bl_call *call, bl_tensor *slope);
bl_status bl_add_gradient(const bl_call *call, const bl_tensor *const *out_grad,
                          bl_tensor *in_grad);
bl_status bl_sub_gradient(const bl_call *call, const bl_tensor *const *out_grad,
                          bl_tensor *in_grad);
bl_status bl_mul_gradient(const bl_call *call, const bl_tensor *const *out_grad,
                          bl_tensor *in_grad);
bl_status bl_div_gradient(const bl_call *call, const bl_tensor *const *out_grad,
                          bl_tensor *in_grad);
bl_status bl_pow_gradient(const bl_call *call, const bl_tensor *const *out_grad,
                          bl_tensor *in_grad);
bl_status bl_prelu_gradient(const bl_call *call, const bl_tensor *const *out_grad,
                            bl_tensor *in_grad);
bl_status bl_pick_gradient(const bl_call *call, const bl_tensor *const *out_grad,
                           bl_tensor *in_grad);
bl_status bl_sum_gradient(const bl_call *call, const bl_tensor *const *out_grad,
                          bl_tensor *in_grad);
bl_status bl_mean_gradient(const bl_call *call, const bl_tensor *const *out_grad,
                           bl_tensor *in_grad);

/* ---------------------------------------------------------------- norm_training.c */

extern const bl_op bl_op_batch_normalization, bl_op_batch_normalization_training;

/* ---------------------------------------------------------------- copy.c */

/* dst[i . dst_stride] = src[i . src_stride] over all indices; elements of 1, 2, 4 or 8 bytes. */
void bl_copy_strided(size_t size, int rank, const int64_t *dim, void *dst,
                     const int64_t *dst_stride, const void *src, const int64_t *src_stride);
/* Row-major strides. */
void bl_strides(int rank, const int64_t *dim, int64_t *stride);
/* n elements from one value. */
void bl_fill(size_t size, int64_t n, void *dst, const void *value);
/* Any number as int64; the type is one of BL_T_NUMBERS or bool. */
int64_t bl_element_i64(const bl_tensor *t, int64_t i);

/* ---------------------------------------------------------------- product.c */

/*
 * c[i][j] += a[i][0]*b[0][j] + a[i][1]*b[1][j] + ..., one rounding each step, k from low to high:
 * the order of every sum of the reference, whatever the blocking.  a[i][k] at
 * a + i*a_row + k*a_col, b[k][j] at b + k*b_row + j.
 */
void bl_product(int64_t m, int64_t n, int64_t k, const float *a, int64_t a_row, int64_t a_col,
                const float *b, int64_t b_row, float *c, int64_t c_row);

/* ---------------------------------------------------------------- gemm.c, conv.c */

/* A product of stacks of matrices, numpy's rules: batches of (m x k) times (k x n). */
typedef struct bl_stack {
    int64_t batches, m, n, k;
    bl_bcast space;
} bl_stack;

/* Checks the shapes; rank and dim: the result's, at most BL_MAX_RANK of them. */
bl_status bl_stack_read(const bl_call *call, const bl_tensor *first, const bl_tensor *second,
                        bl_stack *s, int *rank, int64_t *dim);
/* First elements of the two matrices of batch i. */
void bl_stack_at(const bl_stack *s, int64_t i, int64_t *at_a, int64_t *at_b);
/* Checks the shapes and attributes of a convolution; dim: the result's, of x's rank. */
bl_status bl_conv_dims(const bl_call *call, const bl_tensor *x, const bl_tensor *wt,
                       const bl_tensor *bias, int64_t *dim);

/* ---------------------------------------------------------------- window.c */

/* The attributes that bl_window_read reads, for bl_op_begin. */
#define BL_WINDOW_ATTRS "auto_pad:s dilations:I kernel_shape:I pads:I strides:I ceil_mode:i"
/* A window made three-dimensional: leading dimensions of extent 1. */
void bl_window_lift(const bl_window *w, bl_window *out);

#endif
