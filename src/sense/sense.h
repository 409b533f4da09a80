/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sense room's one door: SENS, what each candidate of each unit costs in accuracy, and the oracle,
 * what a whole plan really scores.
 */
#ifndef BL_SENSE_H
#define BL_SENSE_H

#include "program/program.h"

typedef struct bl_sens_cell {
    double value;               /* in the metric's own unit (dB) */
    double standard_error;
    double objective;           /* what searches minimise: >= 0, summed over units; 0 at the baseline */
} bl_sens_cell;

struct bl_sens {
    bl_arena *arena;
    bl_hash hash, graph, stats, menu, data;
    const char *metric;         /* row of sensitivities.def */
    const char *weight_range, *act_range;
    bool per_tensor, narrow, power_of_two, codebook; /* how weights were put on grids */
    int weight_group;           /* 0: none */
    double sqnr_eps;
    const char *settings;       /* bl_sense_settings */
    int64_t samples;
    int n_units;
    bl_sens_cell **cell;        /* [unit][candidate]; [unit] NULL where there is no choice */
};


/* A row of sensitivities.def: fills sens->cell for every unit with a choice. */
typedef struct bl_sensitivity {
    const char *name, *unit, *help;
    bool needs_labels;
    bool noise;                 /* a sum of objectives is noise to signal at the output: an SQNR can be predicted */
    bl_status (*run)(bl_ctx *ctx, const bl_sense_input *in, bl_sens *sens);
} bl_sensitivity;
extern const bl_sensitivity *const bl_sensitivities[];
extern const size_t bl_n_sensitivities;
const bl_sensitivity *bl_sensitivity_find(const char *name);
#define X(symbol, label, unit, labels, noise, text) bl_status bl_sense_##symbol(bl_ctx *ctx, const bl_sense_input *in, bl_sens *sens);
#include "sense/sensitivities.def"
#undef X


/* How the metric "mask" masks, defaults filled in. */
typedef struct bl_mask_options { int masks; double share; bool by_width; } bl_mask_options;
bl_mask_options bl_mask_options_of(const bl_sense_options *options); /* may be NULL */
/* What of the options is not as usual, in words (the arena's); "": nothing. */
char *bl_sense_settings(bl_arena *arena, const bl_sense_options *options);

/* ------------------------------------------------------------------ worst.c */

typedef struct bl_worst {
    int unit, w_bits, a_bits;   /* as planned; w_bits 0: no weights */
    double nsr, alone_db;       /* noise to signal at the output, this unit alone on its grids */
    double share;               /* of the sum over all units */
    double weights_db, values_db; /* its weights alone, its values alone; NaN: none */
    const char *help;           /* "16-bit values": what of all that was tried leaves least noise */
    double helped_db;           /* with it; NaN: nothing gained */
} bl_worst;
/* The `most` units of a plan that alone leave the most noise, loudest first, in the arena. */
bl_status bl_worst_find(bl_ctx *ctx, const bl_sense_input *in, const bl_plan *plan, int most, bl_arena *arena,
                        bl_worst **out, int *n);

/* ------------------------------------------------------------------ ranges.c */

/* Where the options' act_range is a row that stands for others: the best of them for each unit and width, written
 * into the menu's units, where bl_act_grid and bl_plan_make find them.  Any other row: nothing is left chosen. */
bl_status bl_ranges_choose(bl_ctx *ctx, const bl_sense_input *in, bl_menu *menu);
/* ranges.json.  key: of all that the choice depends on besides the menu; fits: it was made from these. */
bl_status bl_ranges_write(bl_ctx *ctx, const bl_menu *menu, const bl_hash *key, const char *path);
bl_status bl_ranges_read(bl_ctx *ctx, bl_menu *menu, const bl_hash *key, const char *path, bool *fits);

/* Where a metric is taken: the graph's outputs, or a closing Softmax's input. */
int bl_metric_value(const bl_graph *graph, int output);

/* ------------------------------------------------------------------ ranks */

/* Kendall's tau-b of two records of one menu over the units with weights: at one width of weights, or 0: all together.  n:
 * how many candidates were ranked. */
bl_status bl_sens_agreement(bl_ctx *ctx, const bl_menu *menu, const bl_sens *a, const bl_sens *b, int w_bits,
                            double *tau, size_t *n);

/* ------------------------------------------------------------------ the oracle */

/* score(plan): the fake-quantized walk against the float walk on the same samples.  Answers are kept
 * by plan content in trials.jsonl, so that a search started again does not ask twice. */
typedef struct bl_oracle bl_oracle;

typedef struct bl_score {
    double sqnr_db;             /* at the output, over all samples */
    double top1;                /* NaN when unlabelled */
    double drop, drop_error;    /* below the float network's top-1, and its paired standard error; NaN */
    double agreement;           /* share of samples with the float network's argmax */
    double kl;                  /* mean KL(float||quantized) of the outputs' softmax, in nats */
    double cross_entropy;       /* mean, of the quantized network; NaN when unlabelled */
    double seconds;
    bool remembered;            /* from trials.jsonl */
} bl_score;

/* trials: path of trials.jsonl or NULL.  Everything is borrowed. */
bl_status bl_oracle_new(bl_ctx *ctx, const bl_graph *graph, bl_data *data, int64_t samples, const char *trials,
                        bl_oracle **out);
void bl_oracle_free(bl_oracle *oracle);
bl_status bl_oracle_score(bl_oracle *oracle, const bl_plan *plan, const bl_weights *weights, bl_score *out);
/* The answer from trials.jsonl for a plan with the weights that a tuner would make under this key
 * (NULL: no tuner), without making them; false: not known. */
bl_status bl_oracle_recall(bl_oracle *oracle, const bl_plan *plan, const bl_hash *tune_key, bl_score *out, bool *known);
int64_t bl_oracle_samples(const bl_oracle *oracle);
/* BL_DATA where a label is no class of the network: for those who go by top1, drop or cross_entropy. */
bl_status bl_oracle_labels_check(const bl_oracle *oracle);

/* ------------------------------------------------------------------ evaluation */

typedef struct bl_eval_options {
    int64_t first, limit;       /* samples before windows, from this one on; limit 0: all */
    const char *metric;         /* NULL: top1 where labelled; "mse", "reconstruction-auc" */
    bool reference;             /* float networks: plain reference operators */
    bool scores;                /* keep the first output of every input */
    bool outputs_only;          /* outputs are no scores of classes: labels are left alone */
} bl_eval_options;

typedef struct bl_eval_result {
    int64_t samples;            /* before windows */
    double top1, top5;          /* NaN: not taken */
    double mse, auc;            /* NaN: not taken */
    double seconds;
    uint16_t *predictions;      /* argmax by network input, the first of equals; in arena */
    float *scores;              /* n_scores floats, NULL unless asked for: the first output of every
                                   network input; with reconstruction-auc one score a sample */
    int64_t n_inputs, n_scores;
    bl_arena *arena;
} bl_eval_result;

/* BL_DATA where one of `samples` samples (windows not counted) from `first` on has no label among the classes. */
bl_status bl_labels_check(bl_ctx *ctx, const bl_data *data, int64_t first, int64_t samples, int64_t classes);

/* A float network (graph prepared or not), a float network under a plan (fake), or a program: give
 * one of them.  Samples run side by side; counts and sums in sample order. */
typedef struct bl_eval_subject {
    const bl_graph *graph;
    bl_fake *fake;
    const bl_program *program;
} bl_eval_subject;
bl_status bl_eval(bl_ctx *ctx, const bl_eval_subject *subject, bl_data *data, const bl_eval_options *options,
                  bl_eval_result *out);
/* What bl_eval would refuse before it looks at a sample, for those who evaluate last. */
bl_status bl_eval_check(bl_ctx *ctx, const bl_eval_subject *subject, bl_data *data, const bl_eval_options *options);
void bl_eval_free(bl_eval_result *result);

/* ------------------------------------------------------------------ comparison */

/* Two networks on the same samples; a figure that was not taken is NaN. */
typedef struct bl_compare_result {
    int64_t samples;            /* network inputs */
    double drop;                /* top-1 of A less that of B, a fraction */
    double drop_error;          /* its standard error, paired */
    double drop_bound95;        /* with 95 % confidence the drop is below it */
    int64_t flips;              /* another argmax */
    int64_t only_a, only_b;     /* right in A alone, in B alone: McNemar's two counts */
    double p;                   /* of the exact two-sided test that both are equally likely */
    double kl;                  /* mean KL(A||B) of the class probabilities, in nats */
    double sqnr_db;             /* of B's outputs against A's */
    bool equal;                 /* not one output differs */
} bl_compare_result;
/* Both results must hold scores.  classes: outputs are scores of classes; probabilities: after a
 * Softmax already. */
bl_status bl_compare(bl_ctx *ctx, bl_data *data, const bl_eval_result *a, const bl_eval_result *b, bool classes,
                     bool probabilities, bl_compare_result *out);
/* Two-sided exact p that a fair coin falls so unevenly. */
double bl_mcnemar_exact(int64_t only_a, int64_t only_b);

#endif
