/* SPDX-License-Identifier: BSD-3-Clause */
/* Training on a plan's grids: between quantized.c and the engine.  Private to src/train. */
#ifndef BL_STUDY_H
#define BL_STUDY_H

#include "train/lesson.h"

/* A tensor on its grid. */
typedef struct bl_site {
    int value, quantizer;       /* of the graph that is trained; of the plan */
    bool weight;
    int extra;                  /* its learned figures, by number; -1: the scales stay */
    int n_scale, axis, bits;
    bool narrow;
    float lo, hi, unit, scaled; /* steps from zero; learned figure = scale * unit; factor of its gradient */
    float clamp_lo, clamp_hi;   /* of the activation fused into a value's producer */
    bl_grid grid;               /* of a value; the scale is scale[0] */
    float *scale;               /* as of this step */
    float *real;                /* a weight's numbers on the grid */
} bl_site;

typedef struct bl_study {
    const bl_quant_trainer *row;
    const bl_plan *plan;
    const bl_graph *of;         /* the graph of the plan */
    int n, *site_of;            /* by value of the trained graph, -1: none */
    bl_site *site;
    int n_extra;
    size_t *extra;              /* floats of each */
    uint8_t *uses;              /* by value: bl_hook_use */
} bl_study;

/* What one worker keeps of a value before it was rounded, and the gradients of the learned figures. */
typedef struct bl_pupil {
    float **raw;                /* by site */
    double **grad;              /* by number of learned figure */
} bl_pupil;

/* Finds the plan's quantizers in l->net, by name.  s: row, plan, of are set. */
bl_status bl_study_open(bl_study *s, bl_lesson *l);
/* First values of the learned figures, when the state is there. */
void bl_study_begin(const bl_study *s, const bl_lesson *l);
/* Scales and weights from the state: after every step. */
void bl_study_renew(bl_study *s, const bl_lesson *l);
bl_status bl_study_attach(const bl_study *s, bl_walk *walk);
bl_status bl_study_pupil(const bl_study *s, const bl_lesson *l, bl_arena *arena, bl_pupil **out);
/* A value as the walk has computed it goes on its grid; pupil NULL: nothing is kept. */
void bl_study_forward(const bl_study *s, bl_pupil *p, int value, bl_tensor *t);
void bl_study_backward(const bl_study *s, bl_pupil *p, int value, bl_tensor *grad);
/* The piece's gradients: those of weights from their rounded form to the real one, those of figures. */
void bl_study_finish(const bl_study *s, bl_pupil *p, const bl_lesson *l, float *grads);
void bl_study_clear(const bl_study *s, bl_pupil *p);
bool bl_study_decays(const bl_quant_trainer *row); /* the learned figures */

#endif
