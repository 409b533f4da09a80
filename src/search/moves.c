/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Moves under exact prices.  The solver's separable latency charges each node at its dearest output
 * width; with real neighbours there may be room for better candidates.  One- and two-unit moves, best
 * first, until none improves.
 */
#include "search/search.h"

#include <string.h>

typedef struct exact {
    const bl_search_input *in;
    int n_nodes;
    int *in_unit, *out_unit;
    double **ns;                /* by node: [candidate of in][candidate of out] */
    int *choice;
} exact;

static bl_status make_table(bl_ctx *ctx, bl_arena *a, exact *e)
{
    const bl_graph *g = e->in->graph;
    const bl_menu *m = e->in->menu;
    bl_candidate *c = BL_NEW(a, bl_candidate, (size_t)m->n_units);
    e->in_unit = BL_NEW(a, int, (size_t)g->n_nodes);
    e->out_unit = BL_NEW(a, int, (size_t)g->n_nodes);
    e->ns = BL_NEW(a, double *, (size_t)g->n_nodes);
    if (!c || !e->in_unit || !e->out_unit || !e->ns) return bl_pending(ctx);
    for (int i = 0; i < g->n_nodes; i++) {
        int u = bl_node_priced(g, i) ? m->unit_of_value[g->nodes[i].in[0]] : -1;
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
                e->ns[k][x * m->units[v].n_candidates + y] = bl_price_node(ctx, g, m, e->in->cost, i, c);
            }
    }
    return BL_OK;
}

static bool fits(const exact *e)
{
    for (int b = 0; b < e->in->n_budgets; b++) {
        bl_metric m = e->in->budgets[b].metric;
        double sum = 0;
        if (m == BL_M_LATENCY)
            for (int k = 0; k < e->n_nodes; k++)
                sum += e->ns[k][e->choice[e->in_unit[k]] * e->in->menu->units[e->out_unit[k]].n_candidates +
                                e->choice[e->out_unit[k]]];
        else
            for (int u = 0; u < e->in->menu->n_units; u++) sum += e->in->prices->column[m][u][e->choice[u]];
        if (sum > e->in->budgets[b].limit * (1 + 1e-12)) return false;
    }
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
    if (!(gain > 0)) return false;
    e->choice[u] = cu;
    if (v >= 0) e->choice[v] = cv;
    if (fits(e)) return true;
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

bl_status bl_improve_choice(bl_ctx *ctx, const bl_search_input *in, bl_arena *arena, int *choice)
{
    exact e = { .in = in, .choice = choice };
    bool latency = false;
    size_t options = 0;
    for (int b = 0; b < in->n_budgets; b++) latency |= in->budgets[b].metric == BL_M_LATENCY;
    if (!latency || !in->cost->has_latency) return BL_OK; /* the other prices are exact already */
    for (int u = 0; u < in->menu->n_units; u++) options += (size_t)in->menu->units[u].n_candidates;
    BL_TRY(make_table(ctx, arena, &e));
    for (int round = 0; round < 100; round++) {
        BL_TRY(bl_check_interrupt(ctx));
        if (sweep(&e, false)) continue;
        if (options > 1500 || !sweep(&e, true)) break; /* pairs of a very large menu are not worth their time */
    }
    return BL_OK;
}
