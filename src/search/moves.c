/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Moves under exact prices.  The solver's separable latency charges each node at its dearest output
 * width; with real neighbours there may be room for better candidates.  One- and two-unit moves until
 * none improves: less noise within the budgets or, under floors, less cost within noise and budgets.
 */
#include "search/search.h"

#include <string.h>

typedef struct exact {
    const bl_search_input *in;
    int n_nodes;
    int *in_unit, *out_unit;
    double **ns;                /* by node: [candidate of in][candidate of out] */
    double **edges;             /* by unit: [candidate], the network's edges that are in it */
    int *choice;
    bool cheapen;               /* less of in->minimize with noise at most `noise`, not less noise */
    double noise, cost;         /* cost: of the choice, where cheapen */
} exact;

static bl_status make_edges(bl_ctx *ctx, bl_arena *a, exact *e)
{
    const bl_menu *m = e->in->menu;
    e->edges = BL_NEW(a, double *, (size_t)m->n_units);
    BL_ALLOC_TRY(ctx, e->edges);
    for (int u = 0; u < m->n_units; u++) {
        e->edges[u] = BL_NEW(a, double, (size_t)m->units[u].n_candidates);
        BL_ALLOC_TRY(ctx, e->edges[u]);
        for (int c = 0; c < m->units[u].n_candidates; c++)
            e->edges[u][c] = bl_price_edges(e->in->graph, m, e->in->cost, u, m->units[u].candidates[c].a_bits);
    }
    return BL_OK;
}

static bl_status make_table(bl_ctx *ctx, bl_arena *a, exact *e)
{
    const bl_graph *g = e->in->graph;
    const bl_menu *m = e->in->menu;
    bl_candidate *c = BL_NEW(a, bl_candidate, (size_t)m->n_units);
    e->in_unit = BL_NEW(a, int, (size_t)g->n_nodes);
    e->out_unit = BL_NEW(a, int, (size_t)g->n_nodes);
    e->ns = BL_NEW(a, double *, (size_t)g->n_nodes);
    if (!c || !e->in_unit || !e->out_unit || !e->ns) return bl_pending(ctx);
    bl_state state; /* as the solver's: that of the widest choice, which no other exceeds */
    for (int u = 0; u < m->n_units; u++) c[u] = m->units[u].candidates[0];
    BL_TRY(bl_price_state(ctx, g, m, e->in->cost, c, &state));
    BL_TRY(make_edges(ctx, a, e));
    for (int i = 0; i < g->n_nodes; i++) {
        int u = bl_node_priced(g, i) ? m->unit_of_value[bl_node_input(g, i)] : -1;
        if (u < 0) continue;
        int v = m->unit_of_value[g->nodes[i].out[0]], k = e->n_nodes++;
        e->in_unit[k] = u;
        e->out_unit[k] = v;
        e->ns[k] = BL_NEW(a, double, (size_t)(m->units[u].n_candidates * m->units[v].n_candidates));
        BL_ALLOC_TRY(ctx, e->ns[k]);
        for (int x = 0; x < m->units[u].n_candidates; x++)
            for (int y = 0; y < m->units[v].n_candidates; y++) {
                if (u == v && x != y) continue;
                c[u] = m->units[u].candidates[x];
                c[v] = m->units[v].candidates[y];
                e->ns[k][x * m->units[v].n_candidates + y] = bl_price_node(ctx, g, m, e->in->cost, i, c, state);
            }
    }
    return BL_OK;
}

static double total(const exact *e, bl_metric m)
{
    double sum = 0;
    for (int u = 0; m == BL_M_LATENCY && u < e->in->menu->n_units; u++) sum += e->edges[u][e->choice[u]];
    if (m == BL_M_LATENCY)
        for (int k = 0; k < e->n_nodes; k++)
            sum += e->ns[k][e->choice[e->in_unit[k]] * e->in->menu->units[e->out_unit[k]].n_candidates + e->choice[e->out_unit[k]]];
    else
        for (int u = 0; u < e->in->menu->n_units; u++) sum += e->in->prices->column[m][u][e->choice[u]];
    return sum;
}

static bool fits(const exact *e)
{
    for (int b = 0; b < e->in->n_budgets; b++)
        if (total(e, e->in->budgets[b].metric) > e->in->budgets[b].limit * (1 + 1e-12)) return false;
    return !e->cheapen || bl_choice_objective(e->in->menu, e->in->sens, e->choice) <= e->noise * (1 + 1e-12);
}

/* Of the choice after a move: strictly less, so that moves end. */
static bool cheaper(exact *e)
{
    double cost = total(e, e->in->minimize);
    if (!(cost < e->cost - 1e-12 * fabs(e->cost))) return false;
    e->cost = cost;
    return true;
}

static double objective(const exact *e, int u, int c)
{
    return e->in->sens->cell[u] ? e->in->sens->cell[u][c].objective : 0;
}

/* Units u (and v, if not -1) at other candidates: kept if better and within the budgets. */
static bool try_move(exact *e, int u, int cu, int v, int cv)
{
    int old_u = e->choice[u], old_v = v < 0 ? 0 : e->choice[v];
    double gain = objective(e, u, old_u) - objective(e, u, cu);
    if (v >= 0) gain += objective(e, v, old_v) - objective(e, v, cv);
    if (!e->cheapen && !(gain > 0)) return false;
    e->choice[u] = cu;
    if (v >= 0) e->choice[v] = cv;
    if (fits(e) && (!e->cheapen || cheaper(e))) return true;
    e->choice[u] = old_u;
    if (v >= 0) e->choice[v] = old_v;
    return false;
}

static bool sweep(exact *e, bool pairs)
{
    const bl_menu *m = e->in->menu;
    bool moved = false;
    for (int u = 0; u < m->n_units; u++)
        for (int c = 0; c < m->units[u].n_candidates; c++) {
            if (c == e->choice[u]) continue;
            if (!pairs) {
                moved |= try_move(e, u, c, -1, 0);
                continue;
            }
            for (int v = u + 1; v < m->n_units; v++)
                for (int d = 0; d < m->units[v].n_candidates; d++)
                    if (d != e->choice[v] && c != e->choice[u]) moved |= try_move(e, u, c, v, d);
        }
    return moved;
}

/* Budgets and cost but latency are exact in the solver already. */
static bool worth_it(const bl_search_input *in, bool cheapen)
{
    bool latency = cheapen && in->minimize == BL_M_LATENCY;
    for (int b = 0; b < in->n_budgets; b++) latency |= in->budgets[b].metric == BL_M_LATENCY;
    return latency && in->cost->has_latency && !in->cost->model; /* a model's prices have no neighbours */
}

static bl_status move_all(bl_ctx *ctx, bl_arena *arena, exact *e)
{
    enum { PAIRS_MOST = 1500 }; /* pairs of a very large menu are not worth their time */
    size_t options = 0;
    for (int u = 0; u < e->in->menu->n_units; u++) options += (size_t)e->in->menu->units[u].n_candidates;
    BL_TRY(make_table(ctx, arena, e));
    if (e->cheapen) e->cost = total(e, e->in->minimize);
    for (int round = 0; round < 100; round++) {
        BL_TRY(bl_check_interrupt(ctx));
        if (sweep(e, false)) continue;
        if (options > PAIRS_MOST || !sweep(e, true)) break;
    }
    return BL_OK;
}

bl_status bl_improve_choice(bl_ctx *ctx, const bl_search_input *in, bl_arena *arena, int *choice)
{
    exact e = { .in = in, .choice = choice };
    return worth_it(in, false) ? move_all(ctx, arena, &e) : BL_OK;
}

bl_status bl_cheapen_choice(bl_ctx *ctx, const bl_search_input *in, double noise, bl_arena *arena, int *choice)
{
    exact e = { .in = in, .choice = choice, .cheapen = true, .noise = noise };
    return worth_it(in, true) ? move_all(ctx, arena, &e) : BL_OK;
}

/* ---- what the solver's upper bound hides */

typedef struct relaxing {
    bl_ctx *ctx;
    bl_arena *arena;
    exact e;                    /* e.choice: the plan at hand */
    bl_mckp *problem;
    bl_mckp_result *best_result, at;
    int latency;                /* its budget */
    double limit, best;         /* that was asked for; objective of the best plan, infinite: none yet */
    int *best_choice;
} relaxing;

static double slack(const relaxing *r)
{
    return r->at.costs[r->latency] - total(&r->e, BL_M_LATENCY);
}

/* The plan at hand, where it keeps the budgets exactly and is better. */
static bool keep_fitting(relaxing *r)
{
    const bl_menu *m = r->e.in->menu;
    for (int u = 0; u < m->n_units; u++) r->e.choice[u] = m->units[u].n_candidates - 1 - r->at.choice[u];
    if (!fits(&r->e)) return false;
    double objective = bl_choice_objective(m, r->e.in->sens, r->e.choice);
    if (objective < r->best) {
        r->best = objective;
        *r->best_result = r->at;
        memcpy(r->best_choice, r->e.choice, (size_t)m->n_units * sizeof *r->best_choice);
    }
    return true;
}

/* By how much the plan at hand exceeds the budgets, as shares of them. */
static double excess(const exact *e)
{
    double sum = 0;
    for (int b = 0; b < e->in->n_budgets; b++) sum += fmax(0, total(e, e->in->budgets[b].metric) / e->in->budgets[b].limit - 1);
    return sum;
}

/* Single moves that take most off the excess, while any does; less noise is the moves' business afterwards. */
static void descend(exact *e)
{
    const bl_menu *m = e->in->menu;
    double least = excess(e), now;
    for (int at = 0; at >= 0;) {
        int to = at = -1;
        for (int u = 0; u < m->n_units; u++)
            for (int c = 0, old = e->choice[u]; c < m->units[u].n_candidates; c++, e->choice[u] = old) {
                e->choice[u] = c;
                if (!((now = excess(e)) < least)) continue;
                least = now;
                at = u;
                to = c;
            }
        if (at >= 0) e->choice[at] = to;
    }
}

/* Solved again with a higher limit, up to what plans turn out to cost less than the table says. */
static bl_status raise_limit(relaxing *r)
{
    enum { ROUNDS = 8 };
    const double close = 1e-4;
    const bl_mckp_limits limits = { .nodes = 20000 };
    double lo = 0, hi = INFINITY, raise = fmax(slack(r), r->at.costs[r->latency] - r->limit);
    int refused = 0;
    for (int i = 0; i < ROUNDS && refused < 2 && hi - lo > close * r->limit; i++) {
        r->problem->limits[r->latency] = r->limit + raise;
        BL_TRY(bl_mckp_solve(r->ctx, r->problem, &limits, r->arena, &r->at));
        bool fit = keep_fitting(r);
        if (fit) lo = raise;
        else if (r->at.status != BL_MCKP_INFEASIBLE) hi = raise;
        refused += r->at.status == BL_MCKP_INFEASIBLE;
        raise = isfinite(hi) ? (lo + hi) / 2 : fmax(slack(r), 1.5 * raise);
    }
    return BL_OK;
}

bl_status bl_relax_choice(bl_ctx *ctx, const bl_search_input *in, bl_mckp *problem, bl_arena *arena, bl_mckp_result *result, int *choice, bool *found)
{
    size_t n = (size_t)in->menu->n_units;
    relaxing r = { .ctx = ctx, .arena = arena, .problem = problem, .best_result = result, .at = *result, .latency = -1, .best = INFINITY, .best_choice = choice,
                   .e = { .in = in, .choice = BL_NEW(arena, int, n) } };
    *found = false;
    BL_ALLOC_TRY(ctx, r.e.choice);
    for (int b = 0; b < in->n_budgets; b++)
        if (in->budgets[b].metric == BL_M_LATENCY) r.latency = b;
    if (r.latency < 0 || !worth_it(in, false)) return BL_OK;
    BL_TRY(make_table(ctx, arena, &r.e));
    r.limit = problem->limits[r.latency];
    keep_fitting(&r); /* the nearest plan, with the least excess by the table */
    BL_TRY(raise_limit(&r));
    problem->limits[r.latency] = r.limit;
    *found = isfinite(r.best);
    if (*found) return BL_OK;
    memcpy(r.e.choice, choice, n * sizeof *choice);
    descend(&r.e);
    *found = fits(&r.e);
    if (*found) memcpy(choice, r.e.choice, n * sizeof *choice);
    return BL_OK;
}
