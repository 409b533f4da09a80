/* SPDX-License-Identifier: BSD-3-Clause */
/* The contenders of a run - float, uniform baselines, the chosen plan - and summary.json. */
#ifndef BL_SUMMARY_H
#define BL_SUMMARY_H

#include "cli/pipeline.h"

/* One row of the results table. */
typedef struct bl_contender {
    const char *name;           /* "float", "int8", "W4A4", "mixed" */
    const char *recipe;
    int *choice;                /* NULL: the float network */
    bl_plan *plan;
    bl_weights *weights;        /* what tuning replaced, may be NULL */
    const char *tuned;          /* by which tuner; NULL: by none */
    bl_program *program;
    bl_score score;             /* of the oracle, when asked */
    bool scored;
    bl_timing timing;
    bool timed;
    double *step_us;
    bl_eval_result eval;
    bool evaluated;
    uint64_t file_bytes;
} bl_contender;

void bl_contender_free(bl_contender *c);
/* Row R of summary.json: only what was taken. */
json_t *bl_contender_json(bl_pipeline *p, const bl_contender *c);
/* Layers with their widths and times, for the report. */
json_t *bl_layers_json(bl_pipeline *p, const bl_contender *c);
/* Widths by kind of layer as bl_choice_kinds has them, printed; total_ns: of the whole plan, NaN where not priced. */
void bl_cli_kinds(const json_t *kinds, double total_ns);
json_t *bl_budgets_json(bl_pipeline *p, const bl_contender *c, int binding);
/* Objective against size: the solver's answers to 24 size budgets.  base_noise: noise to signal of the
 * baseline plan (uniform int8), which the objectives leave out; 0 where it was not scored. */
bl_status bl_front_json(bl_pipeline *p, double base_noise, json_t **out);
/* Evaluates with results kept in evaluations.jsonl by what they depend on. */
bl_status bl_contender_eval(bl_pipeline *p, bl_contender *c, bl_data *data, const bl_eval_options *options);

#endif
