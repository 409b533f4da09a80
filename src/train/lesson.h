/* SPDX-License-Identifier: BSD-3-Clause */
/* A training under way: between trainer.c, which takes a step, and train.c, which takes all of them. */
#ifndef BL_LESSON_H
#define BL_LESSON_H

#include "train/trainer.h"

struct bl_study;
struct bl_pupil;

/* What one piece of work under way needs; made on first use. */
typedef struct bl_worker {
    bl_arena *arena;
    bl_walk *walk, *judge;      /* training and inference */
    bl_walk *teacher;           /* NULL: none */
    float **want;               /* what it said, by value; NULL: not asked for */
    uint8_t *asks;              /* by value: bl_hook_use */
    bl_back *back;
    struct bl_pupil *pupil;     /* NULL: no grids */
    float *sample, *other;      /* as stored, before it is changed; one that is mixed in */
    uint64_t walk_version, judge_version; /* of the weights that they hold */
} bl_worker;

typedef struct bl_lesson {
    bl_ctx *ctx;
    bl_arena *arena;
    bl_train_options o;
    bl_data *data;
    const bl_optimizer *optimizer;
    const bl_schedule *schedule;
    const bl_loss *loss;
    bl_graph *net, *plain, *drill; /* batch 1; a micro-batch; that in training form */
    bl_graph *master, *teacher; /* the float network as it was: batch 1; a micro-batch; NULL: none */
    struct bl_study *study;     /* NULL: in float */
    int logits;                 /* value that the loss is of */
    uint8_t *marks;
    bl_params params;
    bl_augment augment;
    int64_t per, pieces;        /* elements of a sample; micro-batches of a step */
    int64_t places;             /* pieces that are under way at a time, by threads and memory; 0: not known yet */
    float *grads, *figures;     /* [places + 1][learned], of which the first is the sum so far; [pieces][running] */
    double *losses;             /* [pieces] */
    float *moments;
    bl_share *unit;              /* bl_move's, by parameter; NULL: 1 */
    size_t n_moments;
    const uint32_t *batch;      /* samples of the step under way */
    int64_t epoch, step;        /* from 0, from 1 */
    double rate;
    double done;                /* share of the training, 0 to 1 */
    uint64_t version;           /* of the weights */
    bl_worker worker[BL_TRAINERS_MAX]; /* by place */
} bl_lesson;

/* The value whose softmax the loss is of. */
int bl_lesson_logits(const bl_graph *g, bool labels);
/* ctx, arena, o, data and the three rows are set. */
bl_status bl_lesson_open(bl_lesson *l, const bl_graph *graph);
void bl_lesson_leave(bl_lesson *l); /* what work needed; what was learned stays */
void bl_lesson_close(bl_lesson *l);
/* One step on o.batch samples, by number; the mean loss. */
bl_status bl_lesson_step(bl_lesson *l, const uint32_t *batch, double *loss);
/* Mean loss and share of right answers; NaN without samples. */
bl_status bl_lesson_judge(bl_lesson *l, const uint32_t *index, int64_t n, double *loss, double *accuracy);

/* ------------------------------------------------------------------ teacher.c */

/* l->teacher where the options ask for one. */
bl_status bl_teacher_open(bl_lesson *l, const bl_graph *graph);
/* A walk of the float network for one place; nothing without a teacher. */
bl_status bl_teacher_walk(bl_lesson *l, bl_worker *w);
/* The float network's logits for what lies in w->walk's input, until the next call with this worker; NULL: no teacher. */
bl_status bl_teacher_ask(bl_lesson *l, bl_worker *w, const float **says);
/* Adds the loss of one value on its grid beside the teacher's, and its gradient. */
void bl_teacher_features(const bl_lesson *l, const float *want, const bl_tensor *y, double *loss, bl_tensor *grad);
/* One sample's loss beside these logits; grad (NULL: not asked for) gets weight times its gradient added. */
double bl_teacher_loss(const bl_train_options *o, const float *y, int64_t n, const float *says, double weight, float *grad);

#endif
