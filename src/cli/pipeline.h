/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The straight way as stages over a run directory: each stage reads its record when it is there and
 * made from the same inputs, else makes and writes it.  That is what resumes a killed run.
 */
#ifndef BL_PIPELINE_H
#define BL_PIPELINE_H

#include "cli/shard.h"

typedef struct bl_pipeline {
    bl_cli *cli;
    bl_ctx *ctx;
    const char *dir;            /* run directory, NULL: records are not kept */
    bool begun;                 /* it is there, with its run.json */
    bl_recipe recipe;
    const char *target;         /* --target: a row's name or a COST file; NULL: the recipe's */
    double measure_seconds;
    bool no_cache;
    bl_graph *graph;            /* prepared */
    bl_data *data;
    json_t *samples;            /* distilled.json, where samples were made and not given */
    bl_menu *menu;
    bl_stats *stats;
    bl_rounded *rounded;        /* sets of rounded weights, where the recipe wants them */
    bl_sens *sens;
    bl_cost *cost;
    bl_prices *prices;
    bl_oracle *oracle;
    bl_grid_book *book;         /* grids that plans were made of so far */
    bl_budget budgets[BL_MCKP_BUDGETS_MAX];
    int n_budgets;
    bl_floor floors[BL_N_FLOOR];
    int n_floors;
    bl_metric minimize;
    bool minimize_given;
    const char *ends_told;      /* why both ends may be narrow although the recipe would keep them; NULL: they are kept */
    const char *floor_data;     /* --floor-data: what floors are judged on; NULL: the calibration set */
    int64_t floor_limit;
    bl_data *judge_data;        /* opened from floor_data */
    bl_oracle *judge;           /* on those samples */
    bl_shard shard;             /* --shard; of 0: the whole */
    double int8[BL_N_METRIC];   /* exact price of uniform int8 */
    json_t *seconds;            /* by stage */
} bl_pipeline;

/* What the stage verbs share: --recipe and its overrides, --target, budgets. */
extern const struct argp_option bl_recipe_options[];
typedef struct bl_recipe_words {
    const char *recipe, *weight_bits, *act_bits, *target, *act_range, *weight_range, *tune;
    const char *budget[BL_MCKP_BUDGETS_MAX];
    int n_budgets;
    int weight_group;           /* 0: none */
    bool per_tensor, narrow, power_of_two, codebook, no_ends, equal_concat, anchored, no_cache;
    double measure_seconds, sqnr_eps;
    const char *candidates, *groups, *walk;
    const char *floor[BL_N_FLOOR], *minimize, *floor_data;
    int n_floors;
    int64_t floor_limit;
    const char *set[32];        /* lines on top of the recipe */
    int n_set;
    bool searches;              /* the command goes on to the search, which may need a budget */
} bl_recipe_words;
error_t bl_recipe_parse(bl_cli *cli, bl_recipe_words *w, int key, char *arg);

/* Model of args[0], recipe with overrides, menu, budgets.  dir may be NULL; it is not made yet. */
bl_status bl_pipeline_open(bl_pipeline *p, bl_cli *cli, const bl_recipe_words *w, const char *dir);
/* Makes the folder, once all that was given is known to make sense: where the model lies, and what the samples are where
 * they are open, stands in run.json, for verbs that are given the folder alone. */
bl_status bl_pipeline_begin(bl_pipeline *p);
void bl_pipeline_close(bl_pipeline *p);
/* --data; without it, where the recipe says so, samples distilled into the folder, which is made for them. */
bl_status bl_pipeline_data(bl_pipeline *p);
bool bl_pipeline_distils(const bl_pipeline *p);
bl_sense_options bl_pipeline_sense_options(const bl_pipeline *p);
bl_status bl_pipeline_stats(bl_pipeline *p);
/* Part of the statistics: which estimator serves which value, where the recipe leaves that to the network. */
bl_status bl_pipeline_ranges(bl_pipeline *p);
/* Where nothing is asked for and int8 is below the recipe's `rescue`: a menu with 16-bit values and a floor.
 * *told: what was found, in words; NULL: int8 will do. */
bl_status bl_pipeline_rescue(bl_pipeline *p, const char **told);
/* Sets of weights rounded by learning, where the recipe's `rounding` is adaround; each kept in the folder. */
bl_status bl_pipeline_rounded(bl_pipeline *p);
bl_status bl_pipeline_sens(bl_pipeline *p);
bl_status bl_pipeline_cost(bl_pipeline *p);     /* and prices, and the int8 baseline */
/* A note with both identities, where a record was measured on another machine or under another cap. */
void bl_pipeline_elsewhere(bl_cli *cli, const char *path, const bl_cost *cost);
bl_status bl_pipeline_oracle(bl_pipeline *p);
bl_status bl_pipeline_search(bl_pipeline *p, bl_search_result *out);
/* Under mpirun: the answers that no other answer depends on, each rank its part, joined for the search of rank 0. */
bl_status bl_pipeline_ask_by_ranks(bl_pipeline *p);
/* Opens what floors are judged on, so that words that make no sense are refused before any work. */
bl_status bl_pipeline_judge(bl_pipeline *p);
/* Scores a choice for the floors, tuned as it would run (a bl_judge_fn; user: the pipeline). */
bl_status bl_pipeline_ask(void *user, const int *choice, bl_score *out);
/* Name of the samples that floors are judged on, and how many. */
json_t *bl_pipeline_floors_json(const bl_pipeline *p, const bl_search_result *found);
/* Says on stderr which budget or floor cannot be kept; BL_GOAL. */
bl_status bl_pipeline_infeasible(const bl_pipeline *p, const bl_search_result *found);
/* Grids for a choice, predicted figures filled in. */
bl_status bl_pipeline_plan(bl_pipeline *p, const int *choice, const char *recipe, bl_plan **out);
/* Choice of the closest candidates to one (w, a) everywhere. */
bl_status bl_pipeline_uniform(bl_pipeline *p, int w_bits, int a_bits, int **choice);
bl_status bl_pipeline_price(bl_pipeline *p, const int *choice, double total[BL_N_METRIC]);
/* Runs the recipe's tuner for a plan, or reads what it left at path (NULL: not kept); *out NULL without a
 * tuner.  Sets plan->weights. */
bl_status bl_pipeline_tune(bl_pipeline *p, bl_plan *plan, const char *path, bl_weights **out);
/* The same by a tuner of this name, with its words; NULL: none. */
bl_status bl_pipeline_tune_by(bl_pipeline *p, const char *name, bl_plan *plan, const char *path, bl_weights **out);
/* What plans are screened with: the recipe's tuner, or the first quick one where that is slow. */
const char *bl_pipeline_quick_tune(const bl_pipeline *p);
char *bl_pipeline_path(bl_pipeline *p, const char *name);
/* Notes a stage's seconds and the peak of memory so far; freed memory goes back to the system, so that the next stage's peak is its own. */
void bl_pipeline_time(bl_pipeline *p, const char *stage, uint64_t start_ns);

#endif
