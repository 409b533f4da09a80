/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A HGQ training under way, shared by hgq_*.c.  Values of a sample lie as H, W, C (channels innermost), so that a
 * convolution is one matrix product of gathered rows; fixed-point networks and ONNX have C, H, W.
 */
#ifndef BL_HGQ_PRIVATE_H
#define BL_HGQ_PRIVATE_H

#include "train/hgq.h"
#include "train/hgq_loops.h"

/* Where things lie in the one array of everything that learns. */
typedef struct bl_hgq_span {
    int64_t at, n;
} bl_hgq_span;

/* The quantizer of a tensor of n elements a sample: grids by group. */
typedef struct bl_hgq_grid {
    int64_t n;
    const int32_t *group;       /* of each element */
    const float *norm;          /* of each group: 1 / sqrt(how many share it), or 1 */
    bl_hgq_span f, i;           /* learned; i in the array too where it only follows the data */
    float f_most;               /* what f may reach */
    bool learned, i_learned, relu; /* relu: what is below 0 is 0 and codes have no sign */
    uint8_t *sign;              /* of each element's codes */
    int tied;                   /* > 0: f is this minus i */
    bl_hgq_columns c;
    float *scale, *step, *lo, *hi; /* c's */
    float *bits, *price;        /* width of each element; what one bit of it costs */
    float *gb, *gf, *gu, *gl;   /* sums of the way back */
    float *least, *most;        /* seen in a batch (WRAP), or over the known rows */
    bl_fixed_grid *final;       /* of the fixed-point network: after bl_hgq_trace */
} bl_hgq_grid;

typedef struct bl_hgq_layer {
    bl_fixed_kind kind;
    const char *name;
    int32_t in_c, in_h, in_w, out_c, out_h, out_w, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left;
    bool relu, last;
    int64_t taps, n_in, n_out, places; /* rows of the weight matrix; places: out_h out_w */
    bl_hgq_span w, b, wf, wi;   /* wf: f, or with trained integer bits b; wi: i */
    const int32_t *w_group;     /* of each weight; NULL: its own */
    float *w_norm;              /* of each group */
    float *q, *d, *bits;        /* [taps][out_c]: quantized weight, what rounding took, width */
    float *f_of, *limit;        /* by weight: f, where it clips */
    float *gf;                  /* by weight: gradient of f */
    float *bias;                /* [n_out]: quantized, by element */
    float *tap_bits, *tap_price; /* [taps]: widths of the inputs that a tap meets, summed; sums of rows of bits */
    const int32_t *gather;      /* [places][taps]: element of the input, -1: outside; conv and pools */
    bl_hgq_grid grid;           /* of its output; n = 0: none */
    float *in_bits, *in_price;  /* of what it reads: width of an element, what a bit of it costs */
    float *out_bits, *out_price; /* the grid's, a pool's own; NULL for the last layer */
    float *col, *y, *a;         /* of a batch: gathered rows; sums; outputs */
    int32_t *winner;            /* max pool */
} bl_hgq_layer;

struct bl_hgq {
    bl_ctx *ctx;
    bl_arena *arena;
    bl_hgq_options o;
    const bl_hgq_loops *loops;
    float *zeros, *sums;        /* as many as the widest layer has elements */
    bl_hgq_layer layer[BL_FIXED_LAYERS_MAX];
    int n_layers;
    int32_t in_c, in_h, in_w;
    bl_hgq_grid in;
    bool quantized;             /* else the float network */
    int64_t n_params, n_weights; /* weights come first, then biases, then widths */
    int64_t n_values;           /* weights and biases */
    float *params, *grads, *m, *v;
    float *average;             /* of params; NULL: not asked for */
    int64_t step;               /* AdamW's */
    bool at_random;             /* rounding of activations, now */
    bl_rng dice;
    double beta;
    /* data */
    int64_t rows, held, test, per, classes; /* rows that are learned from */
    float *x;                   /* [rows + held + test][per], H W C */
    int32_t *labels;
    uint32_t *order;
    float *batch, *batch_q, *gathered; /* [batch][per] */
    float *wanted, *batch_wanted; /* [rows][classes] that learn: from the label, or from a teacher too */
    int64_t batch_most;         /* rows that the buffers hold */
    float *gx, *gy;             /* gradients of the way back, widest layer */
    bool exact;                 /* sums of the forward pass in binary64 */
    double *wide_w, *wide_y, *outputs; /* then: weights and sums of a layer; [batch][classes]; NULL: never so far */
    double estimate;            /* EBOPs of the last pricing */
    bl_hgq_facts facts;
    /* front */
    bl_hgq_point *point;
    bl_fixed_net **net;
    size_t n_points, most_points;
    float *kept, *now, *moments; /* parameters of the points; room */
    bl_hash key;                /* of all that the training depends on */
    size_t visited;             /* point whose ranges grids have as `final`, from 1; 0: none */
    bool traced;                /* grids hold the ranges of the fixed-point network, and wrap where it does */
    int64_t epoch, cycle;       /* done */
    double integral;            /* pid */
};

/* hgq_chain.c: kinds, sizes and windows of the layers; weights at first (NULL: drawn) */
typedef struct bl_hgq_source {
    const float *w, *b;         /* as in the file; b NULL: none */
    bool by_output;             /* dense: [out][in], else [in][out] */
} bl_hgq_source;
bl_status bl_hgq_chain(bl_hgq *h, const bl_graph *graph, bl_hgq_source *source);
bl_status bl_hgq_chain_sizes(bl_hgq *h, const char *sizes);
/* hgq_net.c: memory for them, and their first parameters */
bl_status bl_hgq_build(bl_hgq *h, const bl_hgq_source *source);
/* hgq_grid.c: grids from parameters, gradients back to them */
void bl_hgq_grids(bl_hgq *h);
void bl_hgq_grid_set(bl_hgq *h, bl_hgq_grid *g);
void bl_hgq_grid_back(bl_hgq *h, bl_hgq_grid *g);
void bl_hgq_weights_set(bl_hgq *h, bl_hgq_layer *l);
void bl_hgq_weights_back(bl_hgq *h, bl_hgq_layer *l);
/* EBOPs as trained, and prices of bits. */
void bl_hgq_price(bl_hgq *h);
/* hgq_step.c */
/* Outputs of the last layer for `rows` rows of x. */
const float *bl_hgq_forward(bl_hgq *h, const float *x, int64_t rows);
/* wanted: [rows][classes].  Gradients of mean cross-entropy + beta EBOPs + gamma bits into h->grads; the mean loss of the task. */
double bl_hgq_gradient(bl_hgq *h, const float *x, const float *wanted, int64_t rows);
void bl_hgq_move(bl_hgq *h, double rate);
void bl_hgq_plain_biases(bl_hgq *h); /* biases without quantizers, for bl_hgq_forward */
/* hgq_exact.c: sums as they are, where binary32 does not hold them */
enum { BL_HGQ_PLAIN_BITS = 24 }; /* that it holds */
bl_status bl_hgq_exact_open(bl_hgq *h);
void bl_hgq_exact_product(bl_hgq *h, bl_hgq_layer *l, const float *x, int64_t rows);
/* Rounding of a code, as fixed-point networks do it, on reals; where i has top = 2^i, wrapping. */
double bl_hgq_rounded(double code, bl_fixed_round round);
double bl_hgq_wrapped(double v, double top, bool sign);
/* hgq_export.c */
bl_status bl_hgq_fixed(bl_hgq *h, bl_fixed_net **out);
/* Ranges over the known rows, and what the grids of the fixed-point network are by them. */
void bl_hgq_trace(bl_hgq *h);
/* The forward pass takes these ranges for its own, until bl_hgq_grids. */
void bl_hgq_apply_trace(bl_hgq *h);
/* hgq_start.c */
bl_status bl_hgq_rows(bl_hgq *h, bl_data *data);
bl_status bl_hgq_start_widths(bl_hgq *h);
/* hgq_front.c */
bl_status bl_hgq_front_open(bl_hgq *h);
bl_status bl_hgq_keep(bl_hgq *h, const bl_hgq_point *p, bl_fixed_net *net); /* takes the network */
/* Points whose sums binary32 does not hold are traced, counted and judged again with exact sums. */
bl_status bl_hgq_settle(bl_hgq *h);
/* Surely no point of the front, by what the training counts. */
bool bl_hgq_beaten(const bl_hgq *h, const bl_hgq_point *p);
bl_status bl_hgq_key(bl_hgq *h, const bl_data *data);
bl_status bl_hgq_save(bl_hgq *h);
bl_status bl_hgq_load(bl_hgq *h);
/* hgq_train.c */
void bl_hgq_count_live(const bl_fixed_net *net, bl_hgq_point *p);
int64_t bl_hgq_part_rows(const bl_hgq *h, bl_hgq_part part, int64_t *first);
double bl_hgq_accuracy(bl_hgq *h, bl_hgq_part part);
bl_status bl_hgq_float_epochs(bl_hgq *h, const char *stage);
/* hgq_teacher.c: what is wanted of each row */
void bl_hgq_labels_wanted(bl_hgq *h);
bl_status bl_hgq_teach(bl_hgq *h);

#endif
