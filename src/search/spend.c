/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a budget has left is spent: the last flip of a Pareto-greedy walk is often larger than what was missing, and
 * the method (PMP, arXiv 2302.05397) raises nothing again.  Ours, not the paper's: the unit whose raise takes most noise
 * out of the sensitivity table and fits is raised; where none fits, one unit is raised and another lowered, as long
 * as the sum falls.  Prices are the separable ones, under latency an upper bound.
 */
#include "search/search.h"

typedef struct spending {
    const bl_search_input *in;
    int *choice;
    double left[BL_MCKP_BUDGETS_MAX];
} spending;

typedef struct move {
    int u, cu, v, cv;           /* v -1: one unit alone */
    double gain;
} move;

static double noise(const spending *s, int u, int c)
{
    return s->in->sens->cell[u] ? s->in->sens->cell[u][c].objective : 0;
}

static double price(const spending *s, int b, int u, int c)
{
    return s->in->prices->column[s->in->budgets[b].metric][u][c];
}

/* More of budget b than the choice. */
static double dearer(const spending *s, int b, const move *m)
{
    double more = price(s, b, m->u, m->cu) - price(s, b, m->u, s->choice[m->u]);
    return m->v < 0 ? more : more + price(s, b, m->v, m->cv) - price(s, b, m->v, s->choice[m->v]);
}

static bool fits(const spending *s, const move *m)
{
    for (int b = 0; b < s->in->n_budgets; b++)
        if (dearer(s, b, m) > s->left[b] + 1e-12 * s->in->budgets[b].limit) return false;
    return true;
}

static void weigh(const spending *s, move m, move *best)
{
    m.gain = noise(s, m.u, s->choice[m.u]) - noise(s, m.u, m.cu);
    if (m.v >= 0) m.gain += noise(s, m.v, s->choice[m.v]) - noise(s, m.v, m.cv);
    if (m.gain > best->gain * (1 + 1e-12) && fits(s, &m)) *best = m;
}

static void find_raise(const spending *s, move *best)
{
    const bl_menu *menu = s->in->menu;
    for (int u = 0; u < menu->n_units; u++)
        for (int c = 0; c < menu->units[u].n_candidates; c++)
            if (c != s->choice[u]) weigh(s, (move){ .u = u, .cu = c, .v = -1 }, best);
}

static void find_exchange(const spending *s, move *best)
{
    const bl_menu *menu = s->in->menu;
    for (int u = 0; u < menu->n_units; u++)
        for (int c = 0; c < menu->units[u].n_candidates; c++) {
            if (c == s->choice[u] || !(noise(s, u, c) < noise(s, u, s->choice[u]))) continue; /* u is the one that gains */
            for (int v = 0; v < menu->n_units; v++)
                for (int d = 0; v != u && d < menu->units[v].n_candidates; d++)
                    if (d != s->choice[v]) weigh(s, (move){ u, c, v, d, 0 }, best);
        }
}

static void take(spending *s, const move *m)
{
    for (int b = 0; b < s->in->n_budgets; b++) s->left[b] -= dearer(s, b, m);
    s->choice[m->u] = m->cu;
    if (m->v >= 0) s->choice[m->v] = m->cv;
}

bl_status bl_spend_choice(bl_ctx *ctx, const bl_search_input *in, int *choice, int *moves)
{
    enum { MOVES_MOST = 10000 };
    spending s = { .in = in, .choice = choice };
    *moves = 0;
    for (int b = 0; b < in->n_budgets; b++) {
        s.left[b] = in->budgets[b].limit;
        for (int u = 0; u < in->menu->n_units; u++) s.left[b] -= price(&s, b, u, choice[u]);
    }
    for (; *moves < MOVES_MOST; ++*moves) {
        move best = { .gain = 0 };
        BL_TRY(bl_check_interrupt(ctx));
        find_raise(&s, &best);
        if (!(best.gain > 0)) find_exchange(&s, &best);
        if (!(best.gain > 0)) break;
        take(&s, &best);
    }
    return BL_OK;
}
