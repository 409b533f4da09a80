/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Private to search: what searches that ask an oracle about whole policies share.  Layers with their widths in
 * rising order, the budget wall, and the figure that they maximise.
 */
#ifndef BL_SEARCH_POLICY_H
#define BL_SEARCH_POLICY_H

#include "search/search.h"

/* ------------------------------------------------------------------ wall.c */

/* A layer's choice: indices into its widths, narrowest first. */
typedef struct bl_layer_pick { int w, a; } bl_layer_pick;

typedef struct bl_wall {
    int n, n_budgets;           /* layers; budgets */
    const int *n_w, *n_a;       /* widths of each layer; 1: none to choose */
    const double *const *cost[BL_MCKP_BUDGETS_MAX]; /* by budget and layer: [w * n_a + a] */
    double limit[BL_MCKP_BUDGETS_MAX];
} bl_wall;

/* HAQ's budget wall: while a budget is exceeded, layers from the last to the first give up one width of
 * their values, then one of their weights; passes are repeated.  False where even the narrowest exceeds one:
 * `binding` is the budget that is exceeded most.  passes (may be NULL): how often the layers were gone through. */
bool bl_wall_enforce(const bl_wall *wall, bl_layer_pick *policy, int *passes, int *binding);
/* Are the budgets kept?  binding: the one that is exceeded most, -1: none. */
bool bl_wall_holds(const bl_wall *wall, const bl_layer_pick *policy, int *binding);
double bl_wall_cost(const bl_wall *wall, int budget, const bl_layer_pick *policy);

/* ------------------------------------------------------------------ policy.c */

/* The units of a menu that hold layers, each with a rectangle of widths. */
typedef struct bl_policy {
    const bl_search_input *in;
    int n;
    int *unit;                  /* of the menu, by layer */
    int **w_bits, **a_bits;     /* by layer, rising */
    int **candidate;            /* of the unit: [w * n_a + a] */
    int w_most, a_most;         /* widest of all layers */
    bl_wall wall;
} bl_policy;

bl_status bl_policy_make(bl_ctx *ctx, const bl_search_input *in, bl_arena *arena, bl_policy *out);
/* Candidate by unit; units without layers take their widest. */
void bl_policy_choice(const bl_policy *p, const bl_layer_pick *steps, int *choice);

/* ------------------------------------------------------------------ reward.c */

typedef enum bl_reward_kind { BL_REWARD_AUTO, BL_REWARD_ACCURACY, BL_REWARD_CROSS_ENTROPY, BL_REWARD_KL, BL_REWARD_SQNR,
                              BL_REWARD_TABLE, BL_N_REWARD } bl_reward_kind;
const char *bl_reward_name(bl_reward_kind kind);
bool bl_reward_parse(const char *name, bl_reward_kind *out);

typedef struct bl_reward {
    const bl_search_input *in;
    bl_reward_kind kind;
    double base;                /* of the float network, what the reward is taken beside */
    const char *why;            /* where the kind was chosen here; in the arena */
    int64_t asked, remembered;  /* answers of the oracle so far */
} bl_reward;

/* Asks once about the widest plan where the kind depends on the network. */
bl_status bl_reward_open(bl_ctx *ctx, const bl_search_input *in, bl_arena *arena, bl_reward *out);
/* Of a choice; larger is better.  score: what it was made from, NaN where it was not taken. */
bl_status bl_reward_ask(bl_reward *r, const int *choice, double *reward, bl_score *score);

#endif
