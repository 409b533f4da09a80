/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a budget has left is spent: the last flip of a Pareto-greedy walk is often larger than what was missing, and
 * the method (PMP, arXiv 2302.05397) raises nothing again.  Ours, not the paper's: the unit whose raise takes most noise
 * out of the sensitivity table and fits is raised; where none fits, one unit is raised and another lowered, as long
 * as the sum falls.  Beside it stands the exact solver's plan of the same table, which may lower many small layers for
 * a large one.  A table only predicts: where there is an oracle, it says which of the three plans is taken.  Prices are
 * the separable ones, under latency an upper bound.
 */
#include "search/search.h"

#include <string.h>

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

static bl_status raise_units(bl_ctx *ctx, const bl_search_input *in, int *choice, int *moves)
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

/* Stays as it is where the solver finds nothing within the budgets. */
static bl_status solve(bl_ctx *ctx, const bl_search_input *in, bl_arena *arena, int *choice)
{
    bl_mckp_limits limits = { .nodes = 200000 };
    bl_mckp *p;
    bl_mckp_result r;
    BL_TRY(bl_search_problem(ctx, in, INFINITY, arena, &p));
    BL_TRY(bl_mckp_solve(ctx, p, &limits, arena, &r));
    if (r.status == BL_MCKP_INFEASIBLE) return BL_OK;
    for (int u = 0; u < in->menu->n_units; u++) choice[u] = in->menu->units[u].n_candidates - 1 - r.choice[u];
    return BL_OK;
}

bl_status bl_spend_choice(bl_ctx *ctx, const bl_search_input *in, bl_arena *arena, int *choice, json_t **record)
{
    enum { WALK, RAISED, EXACT, PLANS };
    static const char *const name[PLANS] = { "walk", "raised", "exact" };
    size_t bytes = (size_t)in->menu->n_units * sizeof *choice;
    double worth[PLANS];        /* dB by the oracle, or less noise by the table */
    int *plan[PLANS], moves, best = RAISED;
    for (int i = 0; i < PLANS; i++) {
        plan[i] = BL_NEW(arena, int, (size_t)BL_MAX(in->menu->n_units, 1));
        BL_ALLOC_TRY(ctx, plan[i]);
        memcpy(plan[i], choice, bytes);
    }
    BL_TRY(raise_units(ctx, in, plan[RAISED], &moves));
    BL_TRY(solve(ctx, in, arena, plan[EXACT]));
    *record = json_pack("{s:i}", "moves", moves);
    for (int i = 0; i < PLANS; i++) {
        int same = 0;
        while (memcmp(plan[same], plan[i], bytes)) same++;
        bl_score score = { .sqnr_db = -bl_choice_objective(in->menu, in->sens, plan[i]) };
        bl_status s = in->score && same == i ? in->score(in->score_user, plan[i], &score) : BL_OK;
        if (s != BL_OK) {
            json_decref(*record);
            return s;
        }
        worth[i] = same < i ? worth[same] : score.sqnr_db;
        if (in->score) json_object_set_new(*record, name[i], bl_json_real(worth[i]));
    }
    for (int i = 0; i < PLANS; i++)
        if (worth[i] > worth[best]) best = i;
    memcpy(choice, plan[best], bytes);
    json_object_set_new(*record, "taken", json_string(name[best]));
    return BL_OK;
}
