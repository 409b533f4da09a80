/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * HGQ (arXiv 2405.00645): a training that learns the width of every weight and activation against a price in
 * effective bit operations, and leaves one front of accuracy against price.  Part of the train room's door.
 */
#ifndef BL_HGQ_H
#define BL_HGQ_H

#include "data/data.h"
#include "graph/graph.h"
#include "program/program.h"

/* What shares a width. */
typedef enum bl_hgq_share { BL_HGQ_ELEMENT, BL_HGQ_CHANNEL, BL_HGQ_TENSOR } bl_hgq_share;
/* How many bits lie before the point of a weight: as many as it needs (span), or trained ones that clip it (kbi). */
typedef enum bl_hgq_weights { BL_HGQ_SPAN, BL_HGQ_KBI } bl_hgq_weights;
typedef enum bl_hgq_ramp { BL_HGQ_CONSTANT, BL_HGQ_LOG, BL_HGQ_PID } bl_hgq_ramp;

typedef struct bl_hgq_point {
    int64_t cycle, epoch;       /* from 1 */
    double beta, loss;          /* loss: mean over the last epoch */
    double held_accuracy;       /* of the rows that are only looked at */
    double test_accuracy;       /* NaN where there are no test rows, or not asked for */
    double estimate;            /* EBOPs as the training counts them */
    bl_fixed_cost cost;         /* exactly */
    int64_t live[BL_FIXED_LAYERS_MAX]; /* elements of each layer that are not constant */
} bl_hgq_point;

typedef struct bl_hgq_options {
    int64_t epochs, batch, cycles; /* cycles: cosines of the rate, whose ends give points of the front */
    int64_t float_epochs, float_batch; /* before, without quantizers, where weights are drawn */
    int64_t held_out, test;     /* last rows before the test rows; last rows of all */
    int64_t limit;              /* rows to use at all; 0: all */
    double rate, rate_end;      /* of each cycle */
    double rate_width;          /* of widths, as a multiple of the rate */
    double float_rate;
    double decay;               /* of weights, AdamW's */
    double cycle_factor;        /* the rate's from cycle to cycle */
    double look;                /* share of a cycle whose epochs may become points */
    bl_hgq_ramp ramp;
    double beta, beta_end;      /* price of an EBOP in loss; log: from beta to beta_end */
    double beta_hold;           /* share of the training before the ramp */
    double beta_ramp;           /* where the ramp begins; 0: beta */
    double target;              /* pid: EBOPs */
    double gamma;               /* price of a bit */
    double weight_bits;         /* significant bits at first */
    double act_i, act_f;        /* bits before and behind the point at first */
    double input_f;             /* most fraction bits of the input; -24: as many as the data have, at most 8 */
    bl_hgq_weights weights;
    bl_hgq_share weight_share, act_share;
    bl_fixed_round round;
    bool stochastic;            /* steps of the training round at random instead; what is looked at rounds as above */
    bl_fixed_overflow overflow; /* of activations.  WRAP: i follows the data, nothing is clipped in training */
    bool input_clip;            /* the input's bits before the point are learned, and it is clipped */
    double average;             /* of parameters from step to step, for looking; 0: none */
    bool group_norm;            /* the price's gradient on a shared width is divided by sqrt of how many share it */
    int64_t uniform_bits;       /* > 0: every width is this one, only where it lies is learned (the baseline) */
    bool uniform_real;          /* its steps are any numbers: no fixed-point network is behind its price */
    int64_t parallel;           /* positions of a convolution computed at once; 0: all */
    int64_t teacher, teacher_epochs; /* width of a teacher's hidden layers; 0: none */
    double teacher_share, teacher_heat, smoothing; /* what is wanted of a row, beside its label */
    bool standard;              /* numbers of a row are scaled by their mean and deviation over the rows learned from */
    bool random;                /* weights are drawn anew */
    const char *checkpoint;     /* file for what has been done so far; NULL: none */
    void (*told)(void *user, const bl_hgq_point *point, const char *stage); /* after each cycle; may be NULL */
    void *user;
} bl_hgq_options;
bl_hgq_options bl_hgq_options_default(void);
/* One setting by its word in a recipe or --set; BL_USAGE. */
bl_status bl_hgq_set(bl_ctx *ctx, bl_hgq_options *o, const char *key, const char *value);
json_t *bl_hgq_settings_json(const bl_hgq_options *o); /* words by their numbers; caller decrefs */
/* Rows of hgq_settings.def, for help. */
typedef struct bl_hgq_setting { const char *key, *help; } bl_hgq_setting;
extern const bl_hgq_setting bl_hgq_settings[];
extern const size_t bl_n_hgq_settings;

typedef struct bl_hgq bl_hgq;

/* A chain of Gemm, MatMul, Conv, Relu, MaxPool, AveragePool, Flatten from a graph, as imported; or, where that is
 * NULL, the dense layers of `sizes`, "16-64-32-32-26", with weights drawn by the seed. */
bl_status bl_hgq_open(bl_ctx *ctx, const bl_graph *graph, const char *sizes, bl_data *data, const bl_hgq_options *options,
                      bl_hgq **out);
/* Rows of hgq_networks.def: names that stand for such lists. */
typedef struct bl_hgq_network { const char *name, *sizes, *help; } bl_hgq_network;
extern const bl_hgq_network bl_hgq_networks[];
extern const size_t bl_n_hgq_networks;
const char *bl_hgq_network_sizes(const char *name); /* name itself where no row is called so */
/* What the network of such sizes takes, for bl_data_open.  false: no such list. */
bool bl_hgq_sizes_input(const char *sizes, bl_tensor *input);
void bl_hgq_close(bl_hgq *h);
/* All of it, from where the checkpoint stands.  BL_INTERRUPTED leaves what cycles have ended. */
bl_status bl_hgq_train(bl_hgq *h);

/* The front, cheapest first. */
size_t bl_hgq_points(const bl_hgq *h);
const bl_hgq_point *bl_hgq_point_at(const bl_hgq *h, size_t which);
const bl_fixed_net *bl_hgq_net_at(const bl_hgq *h, size_t which);

typedef struct bl_hgq_facts {
    double float_held, float_test, teacher_held; /* accuracy without quantizers; NaN where there was none */
    int64_t samples, held_out, test, parameters, steps, float_steps, cycles_done, resumed;
    double seconds, float_seconds; /* of training itself */
    const float *mean, *deviation; /* by which rows were scaled (standard), `scaled` of them; else 0 */
    int64_t scaled;
} bl_hgq_facts;
bl_hgq_facts bl_hgq_facts_of(const bl_hgq *h);

/* The integers of a point beside the training's own forward pass, over all rows of one part. */
typedef struct bl_hgq_agreement {
    int64_t rows, outputs, differ, rows_differ; /* outputs whose value is not the same; rows with one */
    bool wide;                  /* sums of the training's pass were taken in binary64, as binary32 does not hold them */
    int64_t right;              /* rows that the integers answer right */
} bl_hgq_agreement;
typedef enum bl_hgq_part { BL_HGQ_TRAIN, BL_HGQ_HELD, BL_HGQ_TEST } bl_hgq_part;
bl_status bl_hgq_agree(bl_hgq *h, size_t which, bl_hgq_part part, bl_hgq_agreement *out);
/* Accuracy of every point on the test rows: once. */
bl_status bl_hgq_test(bl_hgq *h);

#endif
