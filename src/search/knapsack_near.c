/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * When no plan is within the budgets: the plan whose largest relative excess
 *
 *     e(x) = max_m (cost_m(x) - limit_m) / scale_m,   scale_m = |limit_m|, or 1 where that is 0
 *
 * is least.  One budget: the least costs.  Several: for weights w >= 0 of sum one, the sum over
 * items of min_o w . cost/scale, less w . limit/scale, is a lower bound on e, and its minimisers
 * are plans; weights that grow with the excess close most of the gap.  The rest is halved: "is
 * there a plan with e <= t" is the allocation problem with the first budget's cost as objective
 * and the others' limits raised by t.
 */
#include "search/knapsack_private.h"

#include <math.h>
#include <string.h>

enum { WEIGHINGS = 400, HALVINGS = 40, LABELS = 100000, NODES = 20000 };

typedef struct near {
    const bl_knap_merged *g;
    double scale[BL_KNAP_K], low, high;
    uint16_t *best, *trial;
} near;

static void adopt_if_nearer(near *s, const uint16_t *choice)
{
    const bl_knap_merged *g = s->g;
    double most = -INFINITY;
    for (int m = 0; m < g->n_budgets; m++) {
        bl_knap_sum c = {0, 0};
        for (int i = 0; i < g->n; i++) bl_knap_add(&c, g->cost[m][g->first[i] + choice[i]]);
        most = fmax(most, (bl_knap_total(c) - g->limit[m]) / s->scale[m]);
    }
    if (most >= s->high) return;
    s->high = most;
    memcpy(s->best, choice, (size_t)g->n * sizeof *choice);
}

/* Minimisers of the weighted cost, the lower objective first among equals, then the larger index;
 * returns the bound. */
static double weigh(near *s, const double *w)
{
    const bl_knap_merged *g = s->g;
    bl_knap_sum sum = {0, 0};
    for (int i = 0; i < g->n; i++) {
        double least = INFINITY;
        for (uint32_t o = g->first[i]; o < g->first[i + 1]; o++) {
            double r = 0;
            for (int m = 0; m < g->n_budgets; m++) r += w[m] * (g->cost[m][o] / s->scale[m]);
            uint32_t at = g->first[i] + s->trial[i];
            if (r > least || (r == least && g->v[o] > g->v[at])) continue;
            least = r;
            s->trial[i] = (uint16_t)(o - g->first[i]);
        }
        bl_knap_add(&sum, least);
    }
    for (int m = 0; m < g->n_budgets; m++) bl_knap_add(&sum, -w[m] * (g->limit[m] / s->scale[m]));
    return bl_knap_total(sum);
}

static bl_status weighings(bl_knap_work *work, near *s)
{
    const bl_knap_merged *g = s->g;
    double w[BL_KNAP_K], mean = 1.0 / g->n_budgets;
    for (int m = 0; m < g->n_budgets; m++) w[m] = mean;
    int count = g->n_budgets == 1 ? 1 : WEIGHINGS;
    for (int step = 0; step < count; step++) {
        double over[BL_KNAP_K], sum = 0, most = 0;
        s->low = fmax(s->low, weigh(s, w));
        adopt_if_nearer(s, s->trial);
        for (int m = 0; m < g->n_budgets; m++) {
            bl_knap_sum c = {0, 0};
            for (int i = 0; i < g->n; i++) bl_knap_add(&c, g->cost[m][g->first[i] + s->trial[i]]);
            over[m] = (bl_knap_total(c) - g->limit[m]) / s->scale[m];
            most = fmax(most, fabs(over[m]));
        }
        for (int m = 0; m < g->n_budgets; m++)
            sum += w[m] *= exp(over[m] / fmax(most, 1e-300) / sqrt(step + 4.0));
        for (int m = 0; m < g->n_budgets; m++) w[m] /= sum;
        if (step % 16 == 0) BL_TRY(bl_knap_pause(work));
    }
    return BL_OK;
}

/* One question "is there a plan with e <= t"; *settled: it was answered. */
static bl_status ask(bl_knap_work *work, near *s, double t, bool *settled)
{
    const bl_knap_merged *g = s->g;
    bl_knap_merged part = *g;
    part.v = g->cost[0];
    part.n_budgets = g->n_budgets - 1;
    for (int m = 0; m < part.n_budgets; m++) {
        part.cost[m] = g->cost[m + 1];
        part.limit[m] = g->limit[m + 1] + t * s->scale[m + 1];
    }
    bl_knap_answer answer;
    bl_mark mark = bl_arena_mark(work->arena);
    BL_TRY(bl_knap_solve(work, &part, work->arena, &answer));
    if (answer.status != BL_MCKP_INFEASIBLE) adopt_if_nearer(s, answer.choice);
    *settled = s->high <= t || answer.proof != BL_MCKP_LIMIT;
    if (*settled && s->high > t) s->low = t;
    bl_arena_reset(work->arena, mark);
    return BL_OK;
}

bl_status bl_knap_near(bl_knap_work *work, const bl_knap_merged *g, uint16_t *choice,
                       double *excess, double *excess_bound)
{
    near s = {.g = g, .low = -INFINITY, .high = INFINITY, .best = choice};
    BL_ALLOC_TRY(work->ctx, s.trial = BL_NEW(work->arena, uint16_t, (size_t)g->n));
    for (int m = 0; m < g->n_budgets; m++) s.scale[m] = g->limit[m] != 0 ? fabs(g->limit[m]) : 1;
    BL_TRY(weighings(work, &s));
    if (g->n_budgets == 1) s.low = s.high;
    bl_knap_work own = {.ctx = work->ctx,
                        .arena = work->arena,
                        .deadline_ns = work->deadline_ns,
                        .label_limit = work->label_limit ? BL_MIN(work->label_limit, LABELS) : LABELS,
                        .node_limit = work->node_limit ? BL_MIN(work->node_limit, NODES) : NODES,
                        .stopped = work->stopped};
    bool settled = true;
    for (int halving = 0; halving < HALVINGS && settled && !own.stopped; halving++) {
        if (s.high - s.low <= 1e-6 * fabs(s.high)) break;
        BL_TRY(ask(&own, &s, 0.5 * (s.low + s.high), &settled));
    }
    work->labels += own.labels;
    work->nodes += own.nodes;
    *excess = s.high;
    *excess_bound = fmin(s.low, s.high);
    return BL_OK;
}
