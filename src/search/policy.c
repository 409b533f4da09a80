/* SPDX-License-Identifier: BSD-3-Clause */
/* The layers of a menu as searches over whole policies see them: widths in rising order, prices by budget. */
#include "search/policy.h"

#include <stdlib.h>

enum { WIDTHS_MAX = 32 };

static int add_width(int *list, int n, int bits)
{
    int at = 0;
    while (at < n && list[at] < bits) at++;
    if (at < n && list[at] == bits) return n;
    for (int i = n; i > at; i--) list[i] = list[i - 1];
    list[at] = bits;
    return n + 1;
}

static int find_candidate(const bl_unit *u, int w, int a)
{
    for (int c = 0; c < u->n_candidates; c++)
        if (u->candidates[c].w_bits == w && u->candidates[c].a_bits == a) return c;
    return -1;
}

/* Weights and values are chosen one after the other: every width must go with every other. */
static bl_status take_unit(bl_ctx *ctx, bl_arena *arena, bl_policy *p, int l, int *n_w, int *n_a)
{
    const bl_unit *u = &p->in->menu->units[p->unit[l]];
    p->w_bits[l] = BL_NEW(arena, int, WIDTHS_MAX + 1);
    p->a_bits[l] = BL_NEW(arena, int, WIDTHS_MAX + 1);
    if (!p->w_bits[l] || !p->a_bits[l]) return bl_pending(ctx);
    for (int c = 0; c < u->n_candidates && n_w[l] < WIDTHS_MAX && n_a[l] < WIDTHS_MAX; c++) {
        n_w[l] = add_width(p->w_bits[l], n_w[l], u->candidates[c].w_bits);
        n_a[l] = add_width(p->a_bits[l], n_a[l], u->candidates[c].a_bits);
    }
    p->candidate[l] = BL_NEW(arena, int, (size_t)(n_w[l] * n_a[l]));
    BL_ALLOC_TRY(ctx, p->candidate[l]);
    for (int w = 0; w < n_w[l]; w++)
        for (int a = 0; a < n_a[l]; a++) {
            int c = find_candidate(u, p->w_bits[l][w], p->a_bits[l][a]);
            if (c < 0)
                return bl_fail(ctx, BL_USAGE, u->name, "give --weights-bits and --act-bits instead of --candidates",
                               "this search chooses weights and values one after the other, and W%dA%d is not on the menu",
                               p->w_bits[l][w], p->a_bits[l][a]);
            p->candidate[l][w * n_a[l] + a] = c;
        }
    p->w_most = BL_MAX(p->w_most, p->w_bits[l][n_w[l] - 1]);
    p->a_most = BL_MAX(p->a_most, p->a_bits[l][n_a[l] - 1]);
    return BL_OK;
}

static bl_status price(bl_ctx *ctx, bl_arena *arena, bl_policy *p)
{
    const bl_search_input *in = p->in;
    p->wall.n_budgets = in->n_budgets;
    for (int b = 0; b < in->n_budgets; b++) {
        double **column = in->prices->column[in->budgets[b].metric];
        double **cost = BL_NEW(arena, double *, (size_t)p->n);
        BL_ALLOC_TRY(ctx, cost);
        if (!column)
            return bl_fail(ctx, BL_USAGE, bl_metric_name(in->budgets[b].metric), "give a --target that does (`bitlathe list targets`)",
                           "the target \"%s\" does not price it", in->cost ? in->cost->target : "none");
        double rest = 0;        /* of units that hold no layer, at their widest */
        for (int u = 0; u < in->menu->n_units; u++)
            if (!in->menu->units[u].n_layers) rest += column[u][0];
        for (int l = 0; l < p->n; l++) {
            int n = p->wall.n_w[l] * p->wall.n_a[l];
            cost[l] = BL_NEW(arena, double, (size_t)n);
            BL_ALLOC_TRY(ctx, cost[l]);
            for (int i = 0; i < n; i++) cost[l][i] = column[p->unit[l]][p->candidate[l][i]];
        }
        p->wall.cost[b] = (const double *const *)cost;
        p->wall.limit[b] = in->budgets[b].limit - rest;
    }
    return BL_OK;
}

/* Units in the order of their first layers. */
static void order_units(const bl_graph *g, const bl_menu *m, bl_policy *p)
{
    for (int i = 0; i < g->n_nodes; i++) {
        int u = m->unit_of_layer[i];
        bool seen = u < 0;
        for (int l = 0; l < p->n && !seen; l++) seen = p->unit[l] == u;
        if (!seen) p->unit[p->n++] = u;
    }
}

bl_status bl_policy_make(bl_ctx *ctx, const bl_search_input *in, bl_arena *arena, bl_policy *out)
{
    size_t n = (size_t)BL_MAX(in->menu->n_units, 1);
    bl_policy p = { .in = in, .unit = BL_NEW(arena, int, n), .w_bits = BL_NEW(arena, int *, n), .a_bits = BL_NEW(arena, int *, n),
                    .candidate = BL_NEW(arena, int *, n) };
    int *n_w = BL_NEW(arena, int, n), *n_a = BL_NEW(arena, int, n);
    if (!p.unit || !p.w_bits || !p.a_bits || !p.candidate || !n_w || !n_a) return bl_pending(ctx);
    order_units(in->graph, in->menu, &p);
    if (!p.n) return bl_fail(ctx, BL_USAGE, in->graph->source, "", "no layer of this network has a width to choose");
    for (int l = 0; l < p.n; l++) BL_TRY(take_unit(ctx, arena, &p, l, n_w, n_a));
    p.wall.n = p.n;
    p.wall.n_w = n_w;
    p.wall.n_a = n_a;
    BL_TRY(price(ctx, arena, &p));
    *out = p;
    return BL_OK;
}

void bl_policy_choice(const bl_policy *p, const bl_layer_pick *steps, int *choice)
{
    for (int u = 0; u < p->in->menu->n_units; u++) choice[u] = 0;
    for (int l = 0; l < p->n; l++) choice[p->unit[l]] = p->candidate[l][steps[l].w * p->wall.n_a[l] + steps[l].a];
}
