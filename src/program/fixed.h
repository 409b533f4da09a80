/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A fixed-point network: a chain of layers in which every element has a power-of-two grid of its own
 * (HGQ, arXiv 2405.00645) and which runs on integers alone.  Part of the program room's door.
 *
 * An element's value is code * 2^-f; a grid (k, i, f) has k sign bits, i bits before the point and f behind
 * it, so codes -k 2^(i+f) .. 2^(i+f) - 1.  A width k + i + f of 0 or less is the constant 0.
 *
 * A layer is: exact sum of products and bias, ReLU, rounding to the element's f, overflow to its k and i.
 * The last layer's grids hold the sums as they are; what comes behind (softmax, argmax) stays outside.
 */
#ifndef BL_FIXED_H
#define BL_FIXED_H

#include "base/base.h"

typedef struct bl_fixed_grid {
    int8_t k, i, f;
} bl_fixed_grid;

typedef enum bl_fixed_kind { BL_FIXED_DENSE, BL_FIXED_CONV, BL_FIXED_MAX_POOL, BL_FIXED_AVERAGE_POOL, BL_FIXED_KINDS } bl_fixed_kind;
/* Down; half up; half to even; to zero; half to zero; half away from zero; half down. */
typedef enum bl_fixed_round {
    BL_TRN, BL_RND, BL_RND_CONV, BL_TRN_ZERO, BL_RND_ZERO, BL_RND_INF, BL_RND_MIN_INF, BL_FIXED_ROUNDS
} bl_fixed_round;
typedef enum bl_fixed_overflow { BL_WRAP, BL_SAT, BL_SAT_SYM, BL_FIXED_OVERFLOWS } bl_fixed_overflow;

enum { BL_FIXED_LAYERS_MAX = 64, BL_FIXED_ELEMENTS_MAX = 1 << 22, BL_FIXED_WIDTH_MAX = 32, BL_FIXED_EXPONENT_MAX = 48 };

typedef struct bl_fixed_layer {
    bl_fixed_kind kind;
    const char *name;
    int32_t in_c, in_h, in_w, out_c, out_h, out_w; /* dense: out_h and out_w are 1; elements in C, H, W order */
    int32_t kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, groups; /* dense: 1, 1, 1, 1, 0, 0, 1 */
    int32_t parallel;           /* conv: positions computed at once, for its price; 0: all of them */
    int64_t n_in, n_out, n_weights;
    int32_t *weight;            /* odd or 0; dense [n_out][n_in], conv [out_c][in_c / groups][kernel_h][kernel_w] */
    int8_t *weight_f;           /* value = weight * 2^-weight_f; 0 where the weight is 0 */
    int64_t *bias;              /* [out_c], odd or 0; pools have neither weights nor biases */
    int8_t *bias_f;
    bool relu;
    bl_fixed_round round;
    bl_fixed_overflow overflow;
    bl_fixed_grid *out;         /* [n_out] */
    /* By bl_fixed_check: the sum of output e is an integer times 2^-acc_f[e], between acc_lo[e] and acc_hi[e],
     * and so is each of its parts, in whatever order they are added, within 63 bits. */
    int8_t *acc_f;
    int64_t *acc_lo, *acc_hi;
    int acc_bits;               /* of the widest sum, sign counted */
} bl_fixed_layer;

typedef struct bl_fixed_net {
    bl_arena *arena;
    bl_hash hash;               /* of the record; empty before it was written or read */
    const char *name;
    int32_t in_c, in_h, in_w;
    int64_t n_in;
    bl_fixed_grid *in;          /* [n_in] */
    bl_fixed_round in_round;
    bl_fixed_overflow in_overflow;
    int n_layers;
    bl_fixed_layer *layers;
    json_t *figures;            /* what was measured when it was made; may be NULL */
} bl_fixed_net;

/* ------------------------------------------------------------------ fixed.c: building, checking */

/* An empty chain of n layers with room for all of input c x h x w. */
bl_status bl_fixed_new(bl_ctx *ctx, const char *name, int n_layers, const int32_t in[3], bl_fixed_net **out);
/* Layer number l, whose kind, sizes and windows are set (in_* follow from the layer before): takes memory for its
 * arrays.  Layers in order. */
bl_status bl_fixed_shape(bl_ctx *ctx, bl_fixed_net *net, int l);
void bl_fixed_free(bl_fixed_net *net);
/* A weight or bias of value v * 2^-f in its one form, odd or 0. */
void bl_fixed_reduce(int64_t *v, int *f);
/* Checks every number and proves that no sum leaves 63 bits; derives acc_*.  BL_DATA. */
bl_status bl_fixed_check(bl_ctx *ctx, const char *place, bl_fixed_net *net);
/* The last layer's grids become those of its sums, without ReLU and rounding; checks. */
bl_status bl_fixed_finish(bl_ctx *ctx, bl_fixed_net *net);
/* Grids of what layer l reads: the input's or those of the layer before. */
const bl_fixed_grid *bl_fixed_reads(const bl_fixed_net *net, int l);
/* Takes away what changes no output: neurons that nobody reads, elements that are constant (folded into the
 * biases behind them), bits that the sums cannot reach.  Then bl_fixed_finish. */
bl_status bl_fixed_prune(bl_ctx *ctx, bl_fixed_net *net);

/* ------------------------------------------------------------------ fixed_run.c: integers alone */

/* Codes of a real input, element by element. */
void bl_fixed_input(const bl_fixed_net *net, const float *x, int64_t *codes);
/* One code from an exact value v * 2^-from. */
int64_t bl_fixed_quantize(int64_t v, int from, bl_fixed_grid to, bl_fixed_round round, bl_fixed_overflow overflow);
/* in: grids of x.  x and y do not overlap. */
void bl_fixed_layer_run(const bl_fixed_layer *layer, const bl_fixed_grid *in, const int64_t *x, int64_t *y);
/* A sample's codes through the whole chain; work: bl_fixed_work(net) numbers. */
size_t bl_fixed_work(const bl_fixed_net *net);
void bl_fixed_run(const bl_fixed_net *net, const int64_t *codes, int64_t *out, int64_t *work);
/* The number of the largest output, the first of equal ones. */
int64_t bl_fixed_argmax(const bl_fixed_net *net, const int64_t *out);

/* Effective bit operations (section 2.4 of the paper's own code, version 1): sum over products of width of the
 * input times span of the weight, a convolution's scaled to `parallel` positions.  ebops2: version 2's, whose
 * widths count no sign and which adds biases and the sums of pools. */
typedef struct bl_fixed_cost {
    double ebops1, ebops2;
    int64_t weights, weights_left; /* all, those that are not 0 */
    int acc_bits;
} bl_fixed_cost;
void bl_fixed_price(const bl_fixed_net *net, bl_fixed_cost *cost);

/* ------------------------------------------------------------------ fixed_file.c */

/* The record "fixed" (fixed.json).  Reading checks all of it. */
bl_status bl_fixed_write(bl_ctx *ctx, bl_fixed_net *net, const char *path);
bl_status bl_fixed_read(bl_ctx *ctx, const char *path, bl_fixed_net **out);
const char *bl_fixed_kind_name(bl_fixed_kind kind);
const char *bl_fixed_round_name(bl_fixed_round round);
const char *bl_fixed_overflow_name(bl_fixed_overflow overflow);
bool bl_fixed_round_find(const char *name, bl_fixed_round *out);
bool bl_fixed_overflow_find(const char *name, bl_fixed_overflow *out);

#endif
