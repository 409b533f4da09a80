/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pareto-greedy flips along a sensitivity list.  Source: PMP (arXiv 2302.05397), phase 2.  All units
 * start at their widest candidate; entry by entry of the list, least harm first, a unit takes the
 * entry's candidate, the last entry of a unit wins.  A budget takes the first position that keeps it and
 * runs nothing (what it has left is spent by spend.c where the recipe says so); a floor takes the last position that the judge still lets pass.
 *
 * Entries that would not lower a unit's cost are passed over, so that cost falls along the list.  Cost is
 * what was asked for: the budgets, or what to minimize above floors; else BOPs, as PMP has it.
 */
#include "search/search.h"

#include <stdlib.h>
#include <string.h>

static int by_harm(const void *a, const void *b)
{
    const bl_flip *x = a, *y = b;
    if (x->objective != y->objective) return x->objective < y->objective ? -1 : 1;
    if (x->bits != y->bits) return y->bits - x->bits;
    if (x->bops_saved != y->bops_saved) return x->bops_saved > y->bops_saved ? -1 : 1;
    return x->unit != y->unit ? x->unit - y->unit : x->candidate - y->candidate;
}

void bl_flips_sort(bl_flip *list, int n)
{
    qsort(list, (size_t)n, sizeof *list, by_harm);
}

static bl_status check_priced(bl_ctx *ctx, const bl_search_input *in)
{
    for (int b = 0; b < in->n_budgets + (in->n_floors > 0); b++) {
        bl_metric metric = b < in->n_budgets ? in->budgets[b].metric : in->minimize;
        if (in->prices->column[metric]) continue;
        return bl_fail(ctx, BL_UNAVAILABLE, bl_metric_name(metric), "give a --target that does (`bitlathe list targets`)",
                       "the target \"%s\" does not price it", in->cost->target);
    }
    return BL_OK;
}

/* Of candidate c of a unit; several budgets: the sum of shares. */
static double cost_of(const bl_search_input *in, int u, int c)
{
    double sum = 0;
    for (int b = 0; b < in->n_budgets; b++) sum += in->prices->column[in->budgets[b].metric][u][c] / in->budgets[b].limit;
    if (in->n_budgets) return sum;
    return in->prices->column[in->n_floors ? in->minimize : BL_M_BOPS][u][c];
}

bl_status bl_flips_make(bl_ctx *ctx, const bl_search_input *in, bl_arena *arena, bl_flip **out, int *n)
{
    const bl_menu *m = in->menu;
    int all = 0, kept = 0;
    BL_TRY(check_priced(ctx, in));
    for (int u = 0; u < m->n_units; u++) all += in->sens->cell[u] ? m->units[u].n_candidates - 1 : 0;
    bl_flip *list = BL_NEW(arena, bl_flip, (size_t)BL_MAX(all, 1));
    int *at = BL_NEW(arena, int, (size_t)BL_MAX(m->n_units, 1));
    if (!list || !at) return bl_pending(ctx);
    for (int u = 0, k = 0; u < m->n_units; u++)
        for (int c = 1; in->sens->cell[u] && c < m->units[u].n_candidates; c++) {
            bl_candidate x = m->units[u].candidates[c];
            list[k++] = (bl_flip){ .unit = u, .candidate = c, .objective = in->sens->cell[u][c].objective,
                                   .bits = x.w_bits + x.a_bits,
                                   .bops_saved = in->prices->column[BL_M_BOPS][u][0] - in->prices->column[BL_M_BOPS][u][c] };
        }
    bl_flips_sort(list, all);
    for (int i = 0; i < all; i++) {
        int u = list[i].unit;
        if (!(cost_of(in, u, list[i].candidate) < cost_of(in, u, at[u]))) continue;
        at[u] = list[i].candidate;
        list[kept++] = list[i];
    }
    *out = list;
    *n = kept;
    return BL_OK;
}

typedef struct walker {
    bl_ctx *ctx;
    const bl_search_input *in;
    bl_arena *arena;
    bl_flip *list;
    int n;
    int *choice;                /* of the position at hand */
    bl_score *score;            /* by position + 1: [0] is the start */
    json_t *trace;
} walker;

/* Entries 0..position applied; -1: the start. */
static void stand_at(walker *w, int position)
{
    memset(w->choice, 0, (size_t)w->in->menu->n_units * sizeof *w->choice);
    for (int i = 0; i <= position; i++) w->choice[w->list[i].unit] = w->list[i].candidate;
}

/* How far the plan at hand exceeds its budgets: the largest share, and of which; 0: they are kept. */
static bl_status exceeds(walker *w, double *most, int *binding)
{
    const bl_search_input *in = w->in;
    *most = 0;
    for (int b = 0; b < in->n_budgets; b++) {
        double sum = 0, total[BL_N_METRIC], limit = in->budgets[b].limit;
        bl_metric metric = in->budgets[b].metric;
        for (int u = 0; u < in->menu->n_units; u++) sum += in->prices->column[metric][u][w->choice[u]];
        if (metric == BL_M_LATENCY && sum > limit) { /* neighbours matter: the sum is an upper bound */
            bl_mark mark = bl_arena_mark(w->arena);
            bl_candidate *c = BL_NEW(w->arena, bl_candidate, (size_t)in->menu->n_units);
            BL_ALLOC_TRY(w->ctx, c);
            for (int u = 0; u < in->menu->n_units; u++) c[u] = in->menu->units[u].candidates[w->choice[u]];
            BL_TRY(bl_price_exact(w->ctx, in->graph, in->menu, in->cost, c, total));
            bl_arena_reset(w->arena, mark);
            sum = total[metric];
        }
        if (sum <= limit * (1 + 1e-12) || (sum - limit) / limit <= *most) continue;
        *most = (sum - limit) / limit;
        *binding = b;
    }
    return BL_OK;
}

/* The first position within the budgets; none: the one that exceeds them least, *binding is set. */
static bl_status first_within(walker *w, int *position, int *binding)
{
    double least = INFINITY;
    *binding = -1;
    for (int k = -1; k < w->n && least > 0; k++) {
        double most;
        int which = -1;
        stand_at(w, k);
        BL_TRY(exceeds(w, &most, &which));
        if (!(most < least)) continue;
        least = most;
        *position = k;
        *binding = which;
    }
    return BL_OK;
}

/* ---- floors */

/* How far above the floors: the least margin, in points or dB. */
static bl_status margin(void *user, int position, double *out)
{
    walker *w = user;
    bl_score *s = &w->score[position + 1];
    stand_at(w, position);
    BL_TRY(w->in->judge(w->in->judge_user, w->choice, s));
    json_t *o = json_pack("{s:i}", "position", position);
    *out = INFINITY;
    for (int i = 0; i < w->in->n_floors; i++) {
        double have = bl_floor_measured(&w->in->floors[i], s);
        json_object_set_new(o, bl_floor_name(w->in->floors[i].kind), bl_json_real(have));
        *out = isnan(have) ? NAN : fmin(*out, have - w->in->floors[i].value);
    }
    json_object_set_new(o, "holds", json_boolean(bl_floors_hold(w->in->floors, w->in->n_floors, s)));
    json_array_append_new(w->trace, o);
    return BL_OK;
}

static bl_status last_above(walker *w, int within, bl_search_result *out, int *position, int *asked)
{
    bl_curve curve = { .n = w->n, .target = -1e-9, .value = margin, .user = w }; /* as bl_floors_hold */
    double have;
    BL_TRY(bl_curve_last(w->ctx, &curve, w->in->walk, position, asked));
    bool judged = *position >= 0;
    if (*position < within) { /* the budgets ask for more than the floors allow */
        *position = within;
        judged = false;
    }
    if (!judged) {
        BL_TRY(margin(w, *position, &have));
        ++*asked;
    }
    out->score = w->score[*position + 1];
    out->judged = true;
    out->feasible = bl_floors_hold(w->in->floors, w->in->n_floors, &out->score);
    return BL_OK;
}

/* ---- the row */

static json_t *list_json(const walker *w)
{
    json_t *a = json_array();
    for (int i = 0; i < w->n; i++) {
        const bl_unit *u = &w->in->menu->units[w->list[i].unit];
        char name[16];
        json_t *o = json_pack("{s:s, s:s}", "unit", u->name, "candidate", bl_candidate_name(u->candidates[w->list[i].candidate], name));
        json_object_set_new(o, "objective", bl_json_real(w->list[i].objective));
        json_object_set_new(o, "bops_saved", bl_json_real(w->list[i].bops_saved));
        json_array_append_new(a, o);
    }
    return a;
}

static bl_status search(walker *w, bl_search_result *out)
{
    int position = -1, asked = 0;
    json_t *spent = NULL;
    BL_TRY(first_within(w, &position, &out->binding));
    out->feasible = out->binding < 0;
    if (w->in->n_floors && out->feasible) BL_TRY(last_above(w, position, out, &position, &asked));
    stand_at(w, position);
    bool spends = w->in->spend && w->in->n_budgets && !w->in->n_floors && out->feasible;
    if (spends) BL_TRY(bl_spend_choice(w->ctx, w->in, w->arena, w->choice, &spent));
    out->choice = w->choice;
    out->objective = bl_choice_objective(w->in->menu, w->in->sens, w->choice);
    out->solver = json_pack("{s:s, s:i, s:i, s:i}", "method", "pareto-greedy", "position", position, "entries", w->n, "judged_plans", asked);
    if (spends) json_object_set_new(out->solver, "spent", spent);
    if (w->in->n_floors) {
        json_object_set_new(out->solver, "walk", json_string(w->in->walk ? w->in->walk : "binary"));
        json_object_set(out->solver, "judged", w->trace);
    }
    json_object_set_new(out->solver, "list", list_json(w));
    return BL_OK;
}

bl_status bl_search_pareto_greedy(bl_ctx *ctx, const bl_search_input *in, bl_arena *arena, bl_search_result *out)
{
    walker w = { .ctx = ctx, .in = in, .arena = arena };
    bl_search_result r = { .objective = NAN };
    BL_TRY(bl_curve_check(ctx, in->walk));
    BL_TRY(bl_flips_make(ctx, in, arena, &w.list, &w.n));
    w.choice = BL_NEW(arena, int, (size_t)BL_MAX(in->menu->n_units, 1));
    w.score = BL_NEW(arena, bl_score, (size_t)w.n + 1);
    if (!w.choice || !w.score) return bl_pending(ctx);
    w.trace = json_array();
    bl_status s = search(&w, &r);
    json_decref(w.trace);
    if (s == BL_OK) *out = r;
    return s;
}
