/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The train room's one door: what gradients are good for.  Samples distilled from a network's own
 * BatchNormalization statistics.
 */
#ifndef BL_TRAIN_H
#define BL_TRAIN_H

#include "target/target.h"
#include "train/hgq.h"

/* ------------------------------------------------------------------ distil.c */

typedef struct bl_distil_options {
    int64_t samples;            /* 0: 32, or 16 where a sample has 128 x 128 positions and more */
    int64_t steps;              /* 0: 500, or 200 there */
    double class_weight;        /* of a cross-entropy with a random class for each sample; 0: none */
    bool per_sample;            /* statistics of each sample by itself, as ZeroQ; else of all together */
    int n_reach;                /* channels of the input whose least and greatest numbers are known; 1: of all; 0: none */
    double reach[16][2];        /* where no BatchNormalization tells: Gaussian numbers two deviations of which reach there */
} bl_distil_options;
bl_distil_options bl_distil_options_default(void); /* class_weight 1, statistics of all together */
/* What 0 stands for, by the size of a sample.  options NULL: the default. */
bl_distil_options bl_distil_resolve(const bl_graph *graph, const bl_distil_options *options);

int64_t bl_sample_positions(const bl_graph *graph); /* height times width, and the like */

typedef struct bl_distilled {
    bl_arena *arena;
    bl_tensor x;                /* float32 [samples, ...]: as the network takes them */
    int n_layers;               /* BatchNormalizations that were matched; 0: Gaussian numbers, no steps */
    bool reach;                 /* Gaussian numbers that keep within the options' reach */
    int64_t steps;
    double loss_first, loss_last;
    double offset, scale;       /* of the input, recovered from the first layer or by `reach`; 0 and 1 where not */
} bl_distilled;

/* Samples on which a network's layers have the means and deviations that its BatchNormalizations
 * remember (ZeroQ, arXiv 2001.00281).  graph: as imported, with one float32 input.  Same seed, same
 * bytes, for any number of threads.  Without BatchNormalization: N(0, 1), or within `reach`.  options NULL: the default. */
bl_status bl_distil(bl_ctx *ctx, const bl_graph *graph, const bl_distil_options *options,
                    bl_distilled **out);
void bl_distilled_free(bl_distilled *distilled);

/* ------------------------------------------------------------------ distil_record.c, picture.c */

/* The samples as an array (npy) and the record of how they were made, with a picture. */
bl_status bl_distilled_write(bl_ctx *ctx, const bl_graph *graph, const bl_distil_options *options,
                             const bl_distilled *distilled, const char *npy, const char *record);
/* Were the files made from this graph with these options and the context's seed?  An error where there is no
 * whole record. */
bl_status bl_distilled_fits(bl_ctx *ctx, const bl_graph *graph, const bl_distil_options *options,
                            const char *npy, const char *record, bool *yes);
/* At most 16 samples side by side as base64 of a PNG, in the arena; NULL where they are no pictures. */
bl_status bl_samples_picture(bl_ctx *ctx, bl_arena *arena, const bl_tensor *x, char **out);

/* ------------------------------------------------------------------ rounded.c: sets of rounded weights */

/* A constant as a set has it; NULL: not there. */
const float *bl_rounded_find(const bl_rounded *rounded, int value, int bits);

/* One constant of one layer, to be rounded on q's grid into stored. */
typedef struct bl_round_job {
    int node;
    bl_quantizer q;
    float *stored;
    bool done;                  /* false: this layer cannot */
} bl_round_job;
/* Jobs in the order of their nodes; told (NULL: nobody) after each. */
bl_status bl_round_jobs(bl_ctx *ctx, const bl_graph *graph, bl_data *data, int64_t samples, bl_round_job *jobs, size_t n,
                        bl_status (*told)(void *user, size_t job), void *user);

/* ------------------------------------------------------------------ trainer.c: a network learns */

struct bl_train_epoch;

typedef struct bl_train_options {
    int64_t epochs, batch;      /* batch: samples a step */
    int64_t micro;              /* samples whose statistics BatchNormalization takes; divides batch */
    int64_t held_out;           /* samples that are only looked at; -1: a tenth, at most 5,000 */
    int64_t limit;              /* samples to use at all; 0: all */
    int64_t steps;              /* of an epoch, at most; 0: as many as there are batches */
    const char *optimizer, *schedule, *loss; /* rows of optimizers.def, schedules.def, losses.def */
    double rate, warmup;        /* warmup: epochs of a rising rate */
    double momentum, beta1, beta2, weight_decay, label_smoothing;
    double teacher, heat;       /* on a plan's grids: share of the loss that the float network's answers have (0: none; 1: labels
                                 * are not asked for), softened by heat */
    double features;            /* and weight of the noise beside the signal of all values on grids, their mean */
    double freeze;              /* and share of steps, a running mean, in which a weight may turn back between two codes, at the end; four
                                 * times that at the beginning.  One that does so more often stays; 0: none does */
    bl_weights *start;          /* on a plan's grids: constants to begin with, by a tuner, freed once they are read; NULL: the
                                 * network's own */
    bool plain_momentum;        /* not Nesterov's */
    bool decay_all;             /* biases and scales of normalisations too */
    bool random;                /* weights are drawn anew (He et al., arXiv 1502.01852) */
    bool best;                  /* the epoch that was best on the held-out samples, not the last one */
    bool flip;                  /* left to right, at random */
    int64_t pad;                /* shifts by up to so many positions, at random */
    double zoom;                /* sees a square part of this share of the side and more, enlarged, at random; 0: all of it */
    double mix;                 /* share of samples that are mixed with another one (without labels) */
    const bl_data_options *stored; /* how pixels were prepared: what lies beside a shifted picture is a stored
                                    * 0.  NULL: an input of 0 */
    const char *checkpoint;     /* file for what has been done so far; NULL: none */
    /* After each epoch, the last of an array of all so far; may be NULL. */
    void (*told)(void *user, const struct bl_train_epoch *epoch);
    void *user;
} bl_train_options;
bl_train_options bl_train_options_default(void);

typedef struct bl_train_epoch {
    int64_t epoch;              /* from 1 */
    double loss, rate;          /* means over the epoch's steps; the rate of its last one */
    double held_loss, held_accuracy; /* NaN without held-out samples, accuracy without labels */
} bl_train_epoch;

typedef struct bl_trained {
    bl_arena *arena;
    bl_graph *graph;            /* bl_prepare_norms of what was given, with the new constants */
    int64_t n_epochs, kept;     /* kept: the epoch whose weights these are, 0: the start */
    bl_train_epoch *epochs;
    int64_t samples, held_out, parameters, resumed; /* resumed: epochs that were done before */
} bl_trained;

/* Trains a network as imported, whose first output is compared with the labels (or the input, by the loss).
 * Micro-batches are pieces with a number, their gradients are added in order: the same seed gives the same
 * bytes for any number of threads, and after a stop.  BL_INTERRUPTED: *out holds the best epoch's weights if
 * one was finished, and the context can be used again to write them. */
bl_status bl_train(bl_ctx *ctx, const bl_graph *graph, bl_data *data, const bl_train_options *options,
                   bl_trained **out);
void bl_trained_free(bl_trained *trained);
/* history.json: caller decrefs. */
json_t *bl_trained_history(const bl_trained *trained, const bl_train_options *options);

/* How a stretch of one weight moves. */
typedef struct bl_move {
    const float *unit;          /* what the rate is a share of, by weight (adam, adamw); NULL: 1 */
    size_t n;
    int64_t step;               /* from 1 */
    double rate, decay;
} bl_move;

typedef struct bl_optimizer {
    const char *name, *help;
    int moments;
    void (*move)(const bl_train_options *o, const bl_move *m, float *w, const float *g, float *first, float *second);
} bl_optimizer;
typedef struct bl_schedule {
    const char *name, *help;
    double (*factor)(double t); /* of the rate; t from 0 to 1 */
} bl_schedule;
typedef struct bl_loss {
    const char *name, *help;
    bool labels;
    /* Of one sample with n outputs y; grad (NULL: not asked for) gets weight times its gradient added. */
    double (*of)(const bl_train_options *o, const float *y, int64_t n, const float *x, int label, double weight,
                 float *grad);
} bl_loss;
extern const bl_optimizer bl_optimizers[];
extern const bl_schedule bl_schedules[];
extern const bl_loss bl_losses[];
extern const size_t bl_n_optimizers, bl_n_schedules, bl_n_losses;
const bl_optimizer *bl_optimizer_find(const char *name); /* NULL: unknown; likewise below */
const bl_schedule *bl_schedule_find(const char *name);
const bl_loss *bl_loss_find(const char *name);

/* ------------------------------------------------------------------ architectures.c */

typedef struct bl_architecture {
    const char *name, *help;
    int64_t shape[3];           /* of a picture as a rule: channels, height, width */
    enum {
#define X(symbol, name, channels, height, width, help) BL_ARCH_##symbol,
#include "train/architectures.def"
#undef X
    } kind;
} bl_architecture;
extern const bl_architecture bl_architectures[];
extern const size_t bl_n_architectures;
const bl_architecture *bl_architecture_find(const char *name); /* NULL: unknown */
/* The network without weights: to be trained with `random`.  shape NULL: the row's own. */
bl_status bl_architecture_make(bl_ctx *ctx, const bl_architecture *row, const int64_t shape[3], int64_t classes,
                               bl_graph **out);

/* ------------------------------------------------------------------ hessian.c */

typedef struct bl_trace_options {
    int vectors;                /* at most */
    double tolerance;           /* fewer where the means move by no more than this share */
    bool differences;           /* Hessian-vector products by differences of gradients; else the Gauss-Newton form, which
                                 * is the same for networks of Relus and has less noise */
} bl_trace_options;
/* Traces of the Hessian of the mean cross-entropy on the samples, a block for each constant in values[n], with their
 * standard errors.  graph: prepared.  options NULL: 200 vectors, 1e-3. */
bl_status bl_hessian_traces(bl_ctx *ctx, const bl_graph *graph, bl_data *data, const int64_t *index, int64_t samples,
                            const int *values, int n, const bl_trace_options *options, double *trace, double *error,
                            int *used);

/* ------------------------------------------------------------------ quantized.c: on a plan's grids */

typedef enum bl_quant_trainer_kind {
#define X(symbol, name, help) BL_QT_##symbol,
#include "train/quant_trainers.def"
#undef X
} bl_quant_trainer_kind;
typedef struct bl_quant_trainer {
    const char *name, *help;
    bl_quant_trainer_kind kind;
} bl_quant_trainer;
extern const bl_quant_trainer bl_quant_trainers[];
extern const size_t bl_n_quant_trainers;
const bl_quant_trainer *bl_quant_trainer_find(const char *name); /* NULL: unknown */
/* Slope by the learned figure of one element v = x / scale, lo and hi in steps. */
double bl_lsq_slope(double v, double lo, double hi);
double bl_pact_slope(double v, double lo, double hi);

/* Trains the network that a plan was made for (graph: prepared) on the plan's grids.  The weights and learned
 * scales go to *out; the plan takes the scales and names the weights by hash.  *trained is as bl_train's;
 * BL_INTERRUPTED as there. */
bl_status bl_train_quantized(bl_ctx *ctx, const bl_graph *graph, bl_plan *plan, bl_data *data, const char *trainer,
                             const bl_train_options *options, bl_weights **out, bl_trained **trained);
/* The same into a record that is there (items and grids); the plan stays as it is. */
bl_status bl_train_grids(bl_ctx *ctx, const bl_graph *graph, const bl_plan *plan, bl_data *data, const char *trainer,
                         const bl_train_options *options, bl_weights *out, bl_trained **trained);

#endif
