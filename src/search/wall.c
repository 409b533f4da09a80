/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The budget wall of HAQ (arXiv 1811.08886 section 3.3; order as in its repository): what the agent asked for is
 * narrowed from the last layer to the first, values before weights, one width at a time, until the budgets
 * hold.  Layers without a choice (the ends, which stay at 8 bits) are passed over.
 */
#include "search/policy.h"

static double layer_cost(const bl_wall *w, int budget, int layer, bl_layer_pick s)
{
    return w->cost[budget][layer][s.w * w->n_a[layer] + s.a];
}

double bl_wall_cost(const bl_wall *w, int budget, const bl_layer_pick *policy)
{
    double sum = 0;
    for (int l = 0; l < w->n; l++) sum += layer_cost(w, budget, l, policy[l]);
    return sum;
}

/* Summed anew each time: a running sum would drift from what is printed. */
bool bl_wall_holds(const bl_wall *w, const bl_layer_pick *policy, int *binding)
{
    double most = 0;
    *binding = -1;
    for (int b = 0; b < w->n_budgets; b++) {
        double over = bl_wall_cost(w, b, policy) - w->limit[b] * (1 + 1e-12);
        if (over <= 0 || over / w->limit[b] <= most) continue;
        most = over / w->limit[b];
        *binding = b;
    }
    return *binding < 0;
}

bool bl_wall_enforce(const bl_wall *w, bl_layer_pick *policy, int *passes, int *binding)
{
    int done = 0;
    bool holds = bl_wall_holds(w, policy, binding), moved = true;
    while (!holds && moved) {
        moved = false;
        done++;
        for (int l = w->n - 1; l >= 0 && !holds; l--) {
            int *give[2] = { &policy[l].a, &policy[l].w };
            for (int k = 0; k < 2 && !holds; k++) {
                if (*give[k] == 0) continue;
                --*give[k];
                moved = true;
                holds = bl_wall_holds(w, policy, binding);
            }
        }
    }
    if (passes) *passes = done;
    return holds;
}
