/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The allocation solver: one option for each unit, the least sum of objectives, and for each of up
 * to four budgets a sum of costs within its limit (a multiple-choice knapsack).  Exact, anytime,
 * with a bound that anyone can check.  Knows nothing of networks: search builds the table.
 *
 * Rules.  A plan is within a budget when its cost <= limit + 1e-12 |limit|.  Tied units take the
 * option of the same name.  Among plans of equal objective the one of least cost in the first
 * budget wins, among those the one that gives the earliest unit the option of larger index, where
 * plans differ (menus rise in width, so front units get the wider option).  That order is exact
 * whenever labels end the search, which is the rule; where they were too many the plan is one of
 * the best, and the same one every time.
 *
 * Costs and objectives are compared as whole numbers of 2^-52 of what the budget (or the target)
 * leaves, so sums have no order of addition; totals reported are added again from the table.
 */
#ifndef BL_KNAPSACK_H
#define BL_KNAPSACK_H

#include "base/base.h"

enum {
    BL_MCKP_BUDGETS_MAX = 4,
    BL_MCKP_UNITS_MAX = 100000,
    BL_MCKP_OPTIONS_MAX = 1024
};
#define BL_MCKP_NUMBER_MAX 1e200 /* largest magnitude of an objective, cost or limit */

typedef struct bl_mckp_unit {
    const char *name;
    int n_options;
    const char **names;                 /* (n_options), distinct in a unit */
    double *objective;                  /* (n_options) */
    double *cost[BL_MCKP_BUDGETS_MAX];  /* cost[m] (n_options), m < n_budgets */
} bl_mckp_unit;

typedef struct bl_mckp_tie {
    int n;
    int *units; /* (n) which take the option of the same name */
} bl_mckp_tie;

typedef struct bl_mckp {
    int n_units, n_budgets, n_ties;
    const char *budget_names[BL_MCKP_BUDGETS_MAX];
    double limits[BL_MCKP_BUDGETS_MAX];
    bl_mckp_unit *units; /* (n_units) */
    bl_mckp_tie *ties;   /* (n_ties); ties that share a unit are one */
} bl_mckp;

typedef enum bl_mckp_status {
    BL_MCKP_OPTIMAL,    /* the choice is proven best */
    BL_MCKP_FEASIBLE,   /* within the budgets, at most `gap` from the best */
    BL_MCKP_INFEASIBLE  /* no plan is within the budgets (proof LIMIT: none was found in time); the
                           choice is the nearest one known */
} bl_mckp_status;

typedef enum bl_mckp_proof {
    BL_MCKP_ROOT,   /* the multipliers alone prove it */
    BL_MCKP_SEARCH, /* labels or branch and bound went through all that the multipliers left */
    BL_MCKP_LIMIT   /* a limit of time or work ended the search; bound and gap hold all the same */
} bl_mckp_proof;

typedef struct bl_mckp_limits {
    double seconds;        /* 0: none.  A result that the clock ended says BL_MCKP_LIMIT */
    uint64_t labels;       /* 0: labels and branch and bound by turns, at most 4 million labels a
                              round; else at most so many, then branch and bound alone */
    uint64_t nodes;        /* of branch and bound, in all; 0: no limit */
} bl_mckp_limits;

typedef struct bl_mckp_result {
    bl_mckp_status status;
    bl_mckp_proof proof;
    int *choice;                             /* (n_units) option of each unit */
    double objective;                        /* of the choice, added from the table */
    double bound;                            /* no plan within the budgets is below it */
    double gap;                              /* (objective - bound) / |objective|; 0 where equal */
    double costs[BL_MCKP_BUDGETS_MAX];       /* of the choice, added from the table */
    double multipliers[BL_MCKP_BUDGETS_MAX]; /* >= 0, objective per cost */
    double root_bound;      /* sum over tie groups of min(objective + multipliers . cost), less
                               multipliers . limits: what the multipliers prove by themselves */
    int binding;            /* infeasible: the budget that the choice exceeds most; else -1 */
    double excess;          /* infeasible: by how much of |limit| (of 1 where the limit is 0) */
    double excess_bound;    /* infeasible: no plan's largest excess is below it; equal to it for one
                               budget, for more within a millionth unless a limit was met */
    uint64_t labels, nodes, rounds;
    double seconds;
} bl_mckp_result;

/* A problem with room for its units: the caller fills names, limits and each unit through
 * bl_mckp_unit_new.  NULL on failure, with the error pending in the arena's context. */
bl_mckp *bl_mckp_new(bl_arena *arena, int n_units, int n_budgets) BL_NODISCARD;
/* Arrays of unit u for n_options options, zeroed; the name is copied. */
bl_status bl_mckp_unit_new(bl_arena *arena, bl_mckp *problem, int u, const char *name,
                           int n_options);

/* Counts, finite numbers of bounded size, distinct option names, tie members, and that tied units
 * share an option: BL_DATA with `place` and the unit's name.  bl_mckp_solve asks it first. */
bl_status bl_mckp_check(bl_ctx *ctx, const char *place, const bl_mckp *problem);

/* limits may be NULL.  The choice is allocated in `arena`.  Infeasible is a result, not a failure;
 * BL_INTERRUPTED leaves the result untouched. */
bl_status bl_mckp_solve(bl_ctx *ctx, const bl_mckp *problem, const bl_mckp_limits *limits,
                        bl_arena *arena, bl_mckp_result *result);

/* The problem as CPLEX LP text, for any solver: variable x{unit}_{option}. */
bl_status bl_mckp_write_lp(bl_ctx *ctx, const bl_mckp *problem, const char *path);

/* The stand-alone problem of `bitlathe search --problem` and its answer. */
bl_status bl_mckp_from_json(bl_ctx *ctx, const char *place, const json_t *root, bl_arena *arena,
                            bl_mckp **out);
/* *out is the caller's (json_decref). */
bl_status bl_mckp_result_json(bl_ctx *ctx, const bl_mckp *problem, const bl_mckp_result *result,
                              json_t **out);

#endif
