/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside the allocation solver.  Tie groups are merged into items; the problem becomes a table of
 * items and options, shifted so that each item's least value and least costs are zero:
 *
 *     min v_base + sum_i v(x_i)   subject to   sum_i c_m(x_i) <= room_m
 *
 * Costs are whole numbers, sums of them below 2^53, so that adding costs is exact in doubles.
 * Values are real in the full table; a round against a target works on a reduced table whose
 * values are whole numbers too (bl_knap_reduce).
 *
 * The way of a solve: knapsack_merge.c (items), knapsack_table.c (whole numbers, dominated
 * options), knapsack_dual.c (multipliers), knapsack_plan.c (a first plan), then rounds of
 * knapsack_reduce.c (options that no plan below the target can take), knapsack_labels.c and
 * knapsack_branch.c; all led by knapsack.c.  knapsack_near.c answers when there is no plan.
 */
#ifndef BL_KNAPSACK_PRIVATE_H
#define BL_KNAPSACK_PRIVATE_H

#include "search/knapsack.h"

#define BL_KNAP_K BL_MCKP_BUDGETS_MAX
#define BL_KNAP_BITS 52                    /* whole numbers stay below 2^52 */
#define BL_KNAP_EPS 1.1102230246251565e-16 /* 2^-53: the relative error of one rounding */

/* A sum whose error does not grow with the number of terms (Neumaier's compensated sum). */
typedef struct bl_knap_sum { double s, e; } bl_knap_sum;
static inline void bl_knap_add(bl_knap_sum *a, double x)
{
    double t = a->s + x;
    a->e += (a->s >= 0 ? a->s : -a->s) >= (x >= 0 ? x : -x) ? (a->s - t) + x : (x - t) + a->s;
    a->s = t;
}
static inline double bl_knap_total(bl_knap_sum a) { return a.s + a.e; }

/* The problem with tie groups merged; real numbers, nothing shifted. */
typedef struct bl_knap_merged {
    int n, n_budgets;
    uint32_t *first;            /* (n + 1) where an item's options begin */
    double *v;                  /* (options) */
    double *cost[BL_KNAP_K];    /* (options) each */
    double limit[BL_KNAP_K];
    uint32_t *member_first;     /* (n + 1) */
    int *member;                /* (n_units) units of an item, ascending; items by their first */
    size_t *pick_first;         /* (n + 1) into pick; empty for an item of one unit */
    uint16_t *pick;             /* (members, options) an item's option in each member's own list */
} bl_knap_merged;

/* A table.  d = k, or k + 1 when the first budget cannot bind but still breaks ties. */
typedef struct bl_knap {
    int n, n_full;              /* items here, each with two options at least; merged items */
    int k, d;                   /* budgets that can bind; cost columns */
    int tie;                    /* column of the first budget, -1 where it never differs */
    int shift;                  /* values here: real ones times 2^shift, whole; full table: 0 */
    uint32_t *first;            /* (n + 1) */
    double *v;                  /* (options) */
    double *c;                  /* (options, d) */
    uint16_t *option;           /* (options) its index in the merged item */
    uint32_t *item;             /* (n) its merged item */
    uint16_t *fixed;            /* (n_full) option of the merged items that are no longer here */
    double room[BL_KNAP_K];
    bl_knap_sum v_base;         /* value of fixed items and shifts */
    double step;                /* values of plans differ by multiples of it; 0 in the full table:
                                   unknown */
    int live[BL_KNAP_K];        /* the problem's budget of each of the k columns */
    double grain[BL_KNAP_K];    /* the cost that a whole number of a column stands for */
} bl_knap;

/* What the search has spent and may spend. */
typedef struct bl_knap_work {
    bl_ctx *ctx;
    bl_arena *arena;            /* scratch */
    uint64_t deadline_ns;       /* 0: none */
    uint64_t label_limit;       /* in one round, then branch and bound alone; 0: see knapsack.c */
    uint64_t node_limit;        /* in all; 0: none */
    uint64_t labels, nodes, rounds;
    bool stopped;               /* a limit was met */
} bl_knap_work;

/* Multiplier vectors with the bounds they gave, best first. */
enum { BL_KNAP_POOL = 24 };
typedef struct bl_knap_pool {
    int n;
    double bound[BL_KNAP_POOL];
    double lambda[BL_KNAP_POOL][BL_KNAP_K];
} bl_knap_pool;

/* What a round against a target found. */
typedef enum bl_knap_end {
    BL_KNAP_EMPTY, /* no plan has a value <= target */
    BL_KNAP_FOUND, /* the best plan, in choice */
    BL_KNAP_LIMIT  /* stopped; choice holds a plan if its value says so */
} bl_knap_end;

/* Interrupt and clock; sets work->stopped. */
bl_status bl_knap_pause(bl_knap_work *work);

bl_status bl_knap_merge(bl_ctx *ctx, const char *place, const bl_mckp *problem, bl_arena *arena,
                        bl_knap_merged *out);
/* Unit choices of item choices. */
void bl_knap_spread(const bl_knap_merged *merged, const uint16_t *items, int *units);

/* The full table; *empty when the least costs alone are over a limit or no option is left. */
bl_status bl_knap_table(bl_ctx *ctx, const bl_knap_merged *merged, bl_arena *arena, bl_knap *out,
                        bool *empty);
/* Shifts least values and costs of each item to zero, drops options whose value is above `target`
 * or whose cost is above the room, moves items with one option into fixed.  False when nothing is
 * left to choose from: no plan has a value <= target. */
bool bl_knap_settle(bl_knap *t, double target);

/* Lagrangian bound of the items from..n-1 with `room` left, rounded down: sum of
 * min(v + lambda . c) - lambda . room.  use (k): costs of the minimisers; pick (n), may be NULL:
 * their options, counted from the item's first. */
double bl_knap_bound(const bl_knap *t, int from, const double *lambda, const double *room,
                     double *use, uint16_t *pick);
/* Multipliers of the best bound, from lambda on; bounds met go into the pool (may be NULL). */
double bl_knap_dual(const bl_knap *t, double *lambda, bl_knap_pool *pool);
/* At most `steps` Polyak steps from lambda towards a bound above target; the best lambda stays. */
double bl_knap_climb(const bl_knap *t, int from, const double *room, double target, int steps,
                     double *lambda);
void bl_knap_pool_put(bl_knap_pool *pool, double bound, const double *lambda, int k);

/* A plan by relaxation, repair and moves.  choice (n): option offsets; *value: without v_base,
 * INFINITY when none was found. */
bl_status bl_knap_plan(bl_knap_work *work, const bl_knap *t, const bl_knap_pool *pool,
                       uint16_t *choice, double *value);

/* A copy of the full table for a round: values in whole numbers, items of few options first, and
 * without the options that no plan of value <= target (real, v_base aside) can take.  pool: of the
 * full table on entry, of the copy on exit.  *target_whole: in the copy's unit, its v_base aside.
 * *empty: there is no such plan.  The copy lives in work->arena. */
bl_status bl_knap_reduce(bl_knap_work *work, const bl_knap *full, double target,
                         bl_knap_pool *pool, bl_knap *out, double *target_whole, bool *empty);

/* Both look for the best plan of a reduced table with value <= target; full_choice (n_full).
 * Labels end with BL_KNAP_LIMIT and no plan when more than label_limit would be kept or memory is
 * short; branch and bound after node_limit nodes (0: none) with the best plan met, if any, and
 * with a bound on all plans. */
bl_status bl_knap_labels(bl_knap_work *work, const bl_knap *t, double target,
                         const bl_knap_pool *pool, uint64_t label_limit, bl_knap_end *end,
                         uint16_t *full_choice);
bl_status bl_knap_branch(bl_knap_work *work, const bl_knap *t, double target,
                         const bl_knap_pool *pool, uint64_t node_limit, bl_knap_end *end,
                         uint16_t *full_choice, double *bound);

/* The core: from a merged problem to the best plan.  See knapsack.c. */
typedef struct bl_knap_answer {
    bl_mckp_status status;
    bl_mckp_proof proof;
    uint16_t *choice;           /* (n) option of each merged item */
    double value, bound;        /* real, unshifted; value INFINITY when no plan is known */
    double lambda[BL_KNAP_K];   /* per budget of the merged problem */
} bl_knap_answer;
bl_status bl_knap_solve(bl_knap_work *work, const bl_knap_merged *merged, bl_arena *arena,
                        bl_knap_answer *answer);

/* The plan whose largest relative excess over the limits is least. */
bl_status bl_knap_near(bl_knap_work *work, const bl_knap_merged *merged, uint16_t *choice,
                       double *excess, double *excess_bound);

#endif
