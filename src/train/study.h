/* SPDX-License-Identifier: BSD-3-Clause */
/* Training on a plan's grids: between quantized.c and the engine.  Private to src/train. */
#ifndef BL_STUDY_H
#define BL_STUDY_H

#include "train/lesson.h"

struct bl_study;
struct bl_site;

/* What a row of quant_trainers.def does; v is a number over its scale, lo and hi are the grid's ends in steps. */
typedef struct bl_quant_rule {
    bool weights;               /* the scales of weights are learned too */
    bool ends;                  /* the learned figure is the upper end, not the scale */
    bool decays;                /* learned figures decay */
    bool relative;              /* a rate is a share of a weight's step, a bias's output's step and a scale */
    int more;                   /* learned figures of a tensor beside its scales */
    double (*slope)(double v, double lo, double hi); /* of the rounded number, in steps, by the figure; NULL: scales stay */
    double (*pass)(double v, double lo, double hi);  /* of the rounded number by the real one; NULL: 1 inside, 0 outside */
    /* Ends of a weight's grid in this step; NULL: the plan's. */
    void (*levels)(const bl_lesson *l, const struct bl_site *site, float *lo, float *hi);
    /* A weight made otherwise than by rounding, from the `more` figures; g times its slopes by them is added. */
    void (*mix)(const bl_lesson *l, const struct bl_site *site, const float *figure, float x, float scale, float *out);
    void (*mix_slopes)(const bl_lesson *l, const struct bl_site *site, const float *figure, float x, float scale, double g,
                       double *more);
    /* Scales that follow the numbers (more is then 1): the scale that n of them want, and with what weight. */
    double (*wanted)(const struct bl_site *site, const float *x, size_t n, double *weight);
} bl_quant_rule;

#define X(symbol, name, help) extern const bl_quant_rule bl_quant_rule_##symbol;
#include "train/quant_trainers.def"
#undef X

double bl_dropbits_pass(double v, double lo, double hi);
void bl_dqa_shares(double done, const float *alpha, double *share); /* of the three widths */
double bl_daq_step(int bits);                                     /* of the best uniform quantizer of a Gaussian, in deviations */
double bl_daq_wanted(const struct bl_site *site, const float *x, size_t n, double *weight);

/* A tensor on its grid. */
struct bl_swing;
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
    float now_lo, now_hi;       /* ends in this step */
    int64_t followed;           /* step at which the scales followed last */
    uint8_t *cluster;           /* of each weight of a codebook, NULL: none; the clusters stay as they are */
    int from;                   /* a weight: the site of its layer's input, -1: none */
    const float *bias;          /* of its layer, NULL: none */
    int64_t n_bias;
    int n_table;
    double *centre;             /* mean code of each cluster */
    struct bl_swing *swing;     /* of each weight, where what goes back and forth is to stay; NULL: it is not */
} bl_site;

typedef struct bl_study {
    const bl_quant_trainer *row;
    const bl_quant_rule *rule;
    const bl_plan *plan;
    const bl_graph *of;         /* the graph of the plan */
    int n, *site_of;            /* by value of the trained graph, -1: none */
    int n_values;               /* sites that are no weights */
    bl_site *site;
    int n_extra;
    size_t *extra;              /* floats of each */
    uint8_t *uses;              /* by value: bl_hook_use */
    int64_t settled;            /* step as of which bl_study_settle looked */
} bl_study;

/* What one worker keeps of a value before it was rounded, and the gradients of the learned figures. */
typedef struct bl_pupil {
    float **raw;                /* by site */
    double **grad;              /* by number of learned figure */
} bl_pupil;

/* Finds the plan's quantizers in l->net, by name.  s: row, plan, of are set. */
bl_status bl_study_open(bl_study *s, bl_lesson *l);
/* First values of what is learned, when the state is there, and its units. */
bl_status bl_study_begin(bl_study *s, bl_lesson *l);
/* Scales and weights from the state: after every step. */
void bl_study_renew(bl_study *s, const bl_lesson *l);
bl_status bl_study_attach(const bl_study *s, bl_walk *walk);
bl_status bl_study_pupil(const bl_study *s, const bl_lesson *l, bl_arena *arena, bl_pupil **out);
/* A value as the walk has computed it goes on its grid; pupil NULL: nothing is kept. */
void bl_study_forward(const bl_study *s, bl_pupil *p, int value, bl_tensor *t);
void bl_study_backward(const bl_study *s, const bl_lesson *l, bl_pupil *p, int value, bl_tensor *grad);
/* The piece's gradients: those of weights from their rounded form to the real one, those of figures. */
void bl_study_finish(const bl_study *s, bl_pupil *p, const bl_lesson *l, float *grads);
/* study_wide.c: share times the sum of LSQ's slopes, in steps, times g is added to *learned; g is kept within the grid's ends (as steps
 * of x / scale), and between bounds of x; sums of b^2 and (a - b)^2 are added; weight (a - b) is added to g. */
void bl_wide_slopes(const float *x, const float *g, int64_t n, float scale, float lo, float hi, double share, double *learned);
void bl_wide_inside(const float *x, float *g, int64_t n, float scale, float lo, float hi);
void bl_wide_between(const float *x, float *g, int64_t n, float lo, float hi);
void bl_wide_squares(const float *a, const float *b, int64_t n, double *signal, double *noise);
void bl_wide_pull(const float *a, const float *b, int64_t n, float weight, float *g);
/* Codebooks (study_codebook.c): every weight becomes the mean of its cluster, the mean a code in steps of its scale. */
bl_status bl_study_cluster(bl_study *s, bl_lesson *l, bl_site *site);
void bl_study_means(const bl_lesson *l, bl_site *site);
void bl_study_table(const bl_site *site, float *codes); /* in order */
/* Weights that keep going back and forth (study_settle.c). */
bl_status bl_study_watch(bl_study *s, bl_lesson *l);
/* After a step, when the scales are new: who swings stays, and its number in the state is the middle of its cell. */
void bl_study_settle(const bl_lesson *l, bl_site *site, int64_t inner);
void bl_study_clear(const bl_study *s, bl_pupil *p);
bool bl_study_decays(const bl_quant_trainer *row); /* the learned figures */

/* finetune.c: a training that words describe, and the tuners that are one. */
typedef struct bl_course {
    bl_train_options o;
    const char *trainer;
    const bl_tuner *start;      /* whose weights come first; NULL: the network's own */
    int64_t steps;              /* in all; 0: o.epochs says it */
} bl_course;
bl_course bl_course_default(void);
bl_status bl_course_words(bl_ctx *ctx, const char *words, bl_course *course);
bl_status bl_course_run(bl_ctx *ctx, const bl_tune_input *in, bl_course *course, bl_weights *out);

#endif
