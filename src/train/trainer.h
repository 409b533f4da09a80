/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the training engine share.  Private to src/train. */
#ifndef BL_TRAINER_H
#define BL_TRAINER_H

#include "train/train.h"

#define BL_TRAINERS_MAX 256 /* threads */

#define X(symbol, name, moments, help)                                                                        \
    void bl_move_##symbol(const bl_train_options *o, const bl_move *m, float *w, const float *g, float *first, \
                          float *second);
#include "train/optimizers.def"
#undef X
#define X(symbol, name, labels, help)                                                                         \
    double bl_loss_##symbol(const bl_train_options *o, const float *y, int64_t n, const float *x, int label,   \
                            double weight, float *grad);
#include "train/losses.def"
#undef X

/* The rate of a step, from 0. */
double bl_train_rate(const bl_train_options *o, const bl_schedule *s, int64_t step, int64_t per_epoch);

/* A constant that is learned; its numbers begin at `first` of the state. */
typedef struct bl_param {
    int value;                  /* -1: none, a figure of a grid */
    size_t first, n;
    bool decays;
} bl_param;

/* A running mean: of what value `batch` of the training graph gives. */
typedef struct bl_running {
    int value, batch;
    size_t first, n;            /* first: of the state */
    float momentum;
} bl_running;

/* What the rate of a parameter's number k is a share of: of[k / inner % n]; of NULL: 1. */
typedef struct bl_share { const float *of; int n; int64_t inner; } bl_share;

/* A stretch of one parameter: what one piece of an update works on. */
enum { BL_STRETCH = 8192 };
typedef struct bl_stretch { int param; size_t from, n; } bl_stretch;

typedef struct bl_params {
    int n, n_running, n_stretch;
    bl_param *param;
    bl_running *running;
    bl_stretch *stretch;
    size_t learned, all;        /* floats of the state: the parameters, then the running means */
    float *state;               /* the graph's constants point into it */
} bl_params;

/* Figures that are no constants: the last parameters. */
typedef struct bl_figures { int n; const size_t *count; bool decay; } bl_figures;

/* Finds what is learned and moves it into one piece of memory.  graph: bl_prepare_norms'; training:
 * bl_graph_training of it, for the numbers of the batch's figures. */
bl_status bl_params_find(bl_arena *arena, bl_graph *graph, const bl_graph *training, bool decay_all,
                         const bl_figures *more, bl_params *out);
/* Points a graph's constants into the state. */
void bl_params_point(const bl_params *p, bl_graph *graph);
/* Draws all parameters anew, He's way. */
void bl_params_random(const bl_params *p, const bl_graph *graph, uint64_t seed);

/* augment.c: a sample of shape (C, H, W) flipped and shifted; black: what comes in beside it, by channel. */
typedef struct bl_augment {
    int64_t channels, height, width, pad;
    double zoom;
    bool flip;
    float black[BL_DATA_CHANNELS_MAX];
} bl_augment;
bl_status bl_augment_make(bl_ctx *ctx, const bl_train_options *o, const bl_tensor *input, bl_augment *out);
bool bl_augment_does(const bl_augment *a);
/* stream: of the sample and epoch. */
void bl_augment_sample(const bl_augment *a, bl_rng *stream, const float *from, float *to);

/* checkpoint.c */
typedef struct bl_train_state {
    bl_hash key;                /* of all that the result depends on */
    int64_t done, best;         /* epochs; the best of them, 0: none yet */
    bl_train_epoch *epochs;     /* room for all */
    size_t n_state, n_moments;
    float *state, *moments, *best_state;
} bl_train_state;
bl_status bl_checkpoint_write(bl_ctx *ctx, const char *path, const bl_train_state *s);
/* BL_DATA when it is of another training.  A file that is not there leaves everything as it is. */
bl_status bl_checkpoint_read(bl_ctx *ctx, const char *path, int64_t epochs, bl_train_state *s);

#endif
