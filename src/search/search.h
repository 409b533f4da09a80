/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The search room's one door: from two tables (SENS, COST) and an oracle to a choice for every unit.
 * Recipes say which row of which table to use.
 */
#ifndef BL_SEARCH_H
#define BL_SEARCH_H

#include "search/knapsack.h"
#include "sense/sense.h"
#include "target/target.h"

/* ------------------------------------------------------------------ recipes */

/* A recipe: a short text file, `key = value` lines, # comments. */
typedef struct bl_recipe {
    const char *name, *about;
    const char *sensitivity;    /* row of sensitivities.def, NULL: none */
    const char *target, *search, *tune; /* rows; tune NULL: none */
    const char *walk;           /* of pareto-greedy, NULL: binary */
    bool spend;                 /* of pareto-greedy: what the budgets have left after the walk raises units again */
    int64_t calibrate, sense;   /* samples */
    double sqnr_eps;
    double rescue;              /* dB: below it int8 does not pass for a plan that nobody limited; 0: it always does */
    bool small_ends;            /* the menu keeps its ends only while they are a small part of the size that is asked for */
    bl_menu_options menu;
    bl_grid_options grids;
    bool distilled;             /* without --data: samples made from the network */
    bool beside;                /* with --data: the same behind the given ones */
    int64_t distil_samples, distil_steps; /* 0: as many as suit its size */
    double alpha, beta;         /* without a budget: weights of sensitivity and cost, both as shares */
    int masks;
    double mask_share;
    bool mask_by_width, weights_only;
    const char *train;          /* a recipe for `bitlathe train`: the training that chooses the bits; NULL: none */
    int n_settings;             /* its own, "KEY", "VALUE" */
    const char *setting[64][2];
    int64_t episodes;           /* of searches that ask the oracle; 0: as many as suit the search */
    int64_t polish;             /* answers that follow, about neighbours of the best plan (polish.c; ddpg has its own); 0: none */
    const char *reward;         /* what they maximise; NULL: auto */
    const char *agent;          /* of ddpg: code (NULL) or paper */
    const char *candidates_priced; /* pairs that are the menu where values' widths are paid for: any budget but size; NULL */
    const char *rounding;       /* adaround: sensitivities see weights rounded by learning; NULL: to nearest */
    const char *loop_tune;      /* row of tuners.def before each answer of the oracle, "none"; NULL: none where the search
                                   asks by itself, else tune where it is quick */
} bl_recipe;

/* A built-in name, or a path (it holds a '/' or ends in .recipe).  Lives in the arena. */
bl_status bl_recipe_load(bl_ctx *ctx, bl_arena *arena, const char *name, bl_recipe *out);
/* One line of a recipe on top of it, as --set gives it: "KEY=VALUE"; BL_USAGE where it makes no sense. */
bl_status bl_recipe_set(bl_ctx *ctx, bl_arena *arena, bl_recipe *recipe, const char *line);
size_t bl_recipe_count(void);
const char *bl_recipe_name(size_t i);   /* of the built-in ones, sorted */
const char *bl_recipe_text(size_t i);

/* Does its search read SENS? */
bool bl_recipe_needs_sens(const bl_recipe *recipe);

/* ------------------------------------------------------------------ budgets */

typedef struct bl_budget {
    bl_metric metric;
    double limit;               /* absolute, in the metric's unit (bytes, ns) */
    double relative;            /* share of uniform int8 as asked for; NaN when absolute */
} bl_budget;

/* "size=0.6", "size=300KiB", "latency=2ms", "bops=1e9".  Ratios stay relative until
 * bl_budget_resolve knows the baseline. */
bl_status bl_budget_parse(bl_ctx *ctx, const char *text, bl_budget *out);
void bl_budget_resolve(bl_budget *b, const double baseline[BL_N_METRIC]);

/* ------------------------------------------------------------------ floors */

typedef enum bl_floor_kind { BL_FLOOR_TOP1, BL_FLOOR_SQNR, BL_N_FLOOR } bl_floor_kind;

/* What accuracy a plan must keep. */
typedef struct bl_floor {
    bl_floor_kind kind;
    double value;               /* points of top-1 beside the float network (<= 0); dB */
} bl_floor;

bl_status bl_floor_parse(bl_ctx *ctx, const char *text, bl_floor *out); /* "top1=-1.0", "sqnr=30" */
const char *bl_floor_name(bl_floor_kind kind);
/* The same figure of a plan. */
double bl_floor_measured(const bl_floor *floor, const bl_score *score);
bool bl_floors_hold(const bl_floor *floors, int n, const bl_score *score);

/* Scores a choice as it would run, tuned, on the samples that the floor is judged on. */
typedef bl_status bl_judge_fn(void *user, const int *choice, bl_score *out);

/* ------------------------------------------------------------------ searches */

typedef struct bl_search_input {
    const bl_graph *graph;
    const bl_menu *menu;
    const bl_stats *stats;
    struct bl_grid_book *book;  /* grids that were found before, NULL: none */
    const bl_sens *sens;        /* NULL: not needed */
    const bl_cost *cost;
    const bl_prices *prices;
    const bl_budget *budgets;   /* resolved */
    int n_budgets;
    bl_oracle *oracle;          /* NULL: not needed */
    double seconds;             /* ceiling of the solver; 0: none */
    double alpha, beta;         /* without budgets and floors: minimise alpha sensitivity + beta cost, each as a
                                   share of its sum at the narrowest widths and at int8 (OHQ); beta 0: the
                                   sensitivity alone */
    /* With floors: the least cost that keeps them (and the budgets, at most three then). */
    const bl_floor *floors;
    int n_floors;
    bl_metric minimize;
    bl_judge_fn *judge;
    void *judge_user;
    /* Searches that ask about whole policies: */
    bl_judge_fn *score;         /* the oracle's answer about a choice */
    void *score_user;
    int shard_at, shard_of;     /* only the answers of this part (from 1) of the episodes that ask without having
                                   learned; 0: the whole search */
    int64_t episodes, polish;   /* 0: as many as suit the search; none */
    const char *reward, *agent; /* as the recipe has them */
    const char *walk;           /* how pareto-greedy looks for a floor (curve.c); NULL: binary */
    bool spend;                 /* pareto-greedy under budgets alone: spend.c after the walk */
} bl_search_input;

typedef struct bl_search_result {
    int *choice;                /* candidate index by unit; in the arena */
    bool feasible;
    int binding;                /* infeasible: the budget that is exceeded most, else -1 */
    double objective;           /* of the choice, from SENS; NaN where none */
    bool judged;                /* the search asked the judge itself: */
    bl_score score;             /* his answer about the choice */
    json_t *solver;             /* for the plan; the caller's */
} bl_search_result;

typedef struct bl_search_row {
    const char *name, *help;
    bool needs_sens, needs_cost, needs_oracle, needs_labels, needs_budget;
    bl_status (*run)(bl_ctx *ctx, const bl_search_input *in, bl_arena *arena, bl_search_result *out);
} bl_search_row;
extern const bl_search_row *const bl_searches[];
extern const size_t bl_n_searches;
const bl_search_row *bl_search_find(const char *name);
/* What is said where a search needs a budget and has none; BL_USAGE. */
bl_status bl_search_unbounded(bl_ctx *ctx);
#define X(symbol, label, sens, cost, oracle, labels, budget, text)                                \
    bl_status bl_search_##symbol(bl_ctx *ctx, const bl_search_input *in, bl_arena *arena, bl_search_result *out);
#include "search/searches.def"
#undef X

/* The knapsack search where there are floors. */
bl_status bl_search_floor(bl_ctx *ctx, const bl_search_input *in, bl_arena *arena, bl_search_result *out);
/* The solver's problem: least noise within the budgets; with floors least cost, the noise at most `noise`. */
bl_status bl_search_problem(bl_ctx *ctx, const bl_search_input *in, double noise, bl_arena *arena, bl_mckp **out);

/* An entry of PMP's list: a unit takes a candidate. */
typedef struct bl_flip {
    int unit, candidate;
    double objective;           /* harm: the list's order */
    int bits;                   /* W + A */
    double bops_saved;          /* beside the widest candidate */
} bl_flip;
/* Least harm first; ties: more bits, more BOPs saved, the earlier unit. */
void bl_flips_sort(bl_flip *list, int n);
/* The list without entries that would not lower their unit's cost where they stand; in the arena.  Cost: of
 * the budgets, of what to minimize above floors, else BOPs. */
bl_status bl_flips_make(bl_ctx *ctx, const bl_search_input *in, bl_arena *arena, bl_flip **out, int *n);

/* A curve over positions 0..n-1 that falls, mostly. */
typedef struct bl_curve {
    int n;
    double target;
    bl_status (*value)(void *user, int position, double *out); /* each position is asked at most once */
    void *user;
} bl_curve;
bl_status bl_curve_check(bl_ctx *ctx, const char *walk); /* BL_USAGE: no walk of that name; NULL: binary */
/* The last position with value >= target (-1: none), and how many were asked.  Where the curve falls, every
 * walk finds the same; else "sequential" ends before the first miss, "reverse" at the last hit. */
bl_status bl_curve_last(bl_ctx *ctx, const bl_curve *curve, const char *walk, int *last, int *asked);

/* Does the search weigh sensitivity against cost?  Which cost: latency where it is priced, else BOPs. */
bool bl_search_weighs(const bl_search_input *in);
bl_metric bl_search_cost(const bl_search_input *in);

/* Sum of SENS objectives of a choice; NaN without SENS. */
double bl_choice_objective(const bl_menu *menu, const bl_sens *sens, const int *choice);
/* Is a sum of these objectives noise to signal?  Then bl_objective_sqnr is the output SQNR that it predicts. */
bool bl_objective_is_noise(const bl_sens *sens);
double bl_objective_sqnr(double objective);
/* Grids for a choice, with the figures that SENS and COST (NULL: none of its figures) predict for it. */
bl_status bl_choice_plan(bl_ctx *ctx, const bl_search_input *in, const int *choice, const bl_grid_options *grids,
                         const char *recipe, bl_plan **out);
/* Spends what the budgets leave by the sensitivity table (spend.c); in->score, where there is one, chooses between what was
 * found.  choice is improved in place; *record: how, the caller's. */
bl_status bl_spend_choice(bl_ctx *ctx, const bl_search_input *in, bl_arena *arena, int *choice, json_t **record);
/* Asks in->score about the plan with one unit a step cheaper or dearer and takes the steps that together are better,
 * within the budgets; at most in->polish answers.  choice is improved in place; *record: what was asked, the caller's. */
bl_status bl_polish_choice(bl_ctx *ctx, const bl_search_input *in, bl_arena *arena, int *choice, json_t **record);
/* One- and two-unit moves under exact prices, budgets kept; separable prices are upper bounds, so there
 * may be room left.  choice is improved in place. */
bl_status bl_improve_choice(bl_ctx *ctx, const bl_search_input *in, bl_arena *arena, int *choice);
/* Where the solver found no plan: one may keep the budgets under exact prices all the same.  *found: choice and result are such
 * a plan's, the solver's answer to a higher limit of the latency.  The problem is left as it was. */
bl_status bl_relax_choice(bl_ctx *ctx, const bl_search_input *in, bl_mckp *problem, bl_arena *arena, bl_mckp_result *result, int *choice, bool *found);
/* The same for less of in->minimize, with at most so much predicted noise. */
bl_status bl_cheapen_choice(bl_ctx *ctx, const bl_search_input *in, double noise, bl_arena *arena, int *choice);

#endif
