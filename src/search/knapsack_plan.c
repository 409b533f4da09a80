/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A first plan: what the relaxation picks when its multipliers are raised until it fits, then moves
 * of one item, of two and, for the best start, of up to four that lower the value and stay within the
 * budgets.  Only an upper bound: the rounds of knapsack.c need no good one, but they end sooner with
 * it, and a search that is stopped has it to show.
 */
#include "search/knapsack_private.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { STARTS = 6, MOVES = 1000, PASSES = 40, LIST = 1 << 18, TOGETHER = 4, TRIES = 300000 };

typedef struct plan {
    uint16_t *x; /* (n) option offsets */
    double v, use[BL_KNAP_K];
} plan;

typedef struct move {
    double dv, rank, dc[BL_KNAP_K];
    int item;
    uint16_t option;
} move;

static bool fits(const bl_knap *t, const double *use)
{
    for (int m = 0; m < t->k; m++)
        if (use[m] > t->room[m]) return false;
    return true;
}

static void plan_count(const bl_knap *t, plan *p)
{
    bl_knap_sum v = {0, 0};
    memset(p->use, 0, sizeof p->use);
    for (int i = 0; i < t->n; i++) {
        size_t o = t->first[i] + p->x[i];
        bl_knap_add(&v, t->v[o]);
        for (int m = 0; m < t->k; m++) p->use[m] += t->c[o * (size_t)t->d + (size_t)m];
    }
    p->v = bl_knap_total(v);
}

/* The relaxation's plan at the least multiple of lambda that fits; false when no multiple does. */
static bool relax(const bl_knap *t, const double *lambda, plan *p)
{
    double at[BL_KNAP_K] = {0}, lo = 1, hi = 0, factor = 1;
    for (int tries = 0; tries < 60 && hi == 0; tries++) {
        for (int m = 0; m < t->k; m++) at[m] = lambda[m] * factor;
        (void)bl_knap_bound(t, 0, at, t->room, p->use, p->x);
        if (fits(t, p->use))
            hi = factor;
        else
            lo = factor;
        factor *= tries < 10 ? 1.03 : 1.7;
    }
    if (hi == 0) return false;
    for (int halving = 0; halving < 12 && hi > 1; halving++) {
        double mid = 0.5 * (lo + hi);
        for (int m = 0; m < t->k; m++) at[m] = lambda[m] * mid;
        (void)bl_knap_bound(t, 0, at, t->room, p->use, p->x);
        if (fits(t, p->use))
            hi = mid;
        else
            lo = mid;
    }
    for (int m = 0; m < t->k; m++) at[m] = lambda[m] * hi;
    (void)bl_knap_bound(t, 0, at, t->room, p->use, p->x);
    plan_count(t, p);
    return true;
}

/* Where multiples of the best multipliers do not fit: raise those of the budgets exceeded. */
static bool relax_weights(const bl_knap *t, plan *p)
{
    double at[BL_KNAP_K];
    double top = 0;
    for (uint32_t o = 0; o < t->first[t->n]; o++) top = fmax(top, t->v[o]);
    for (int m = 0; m < t->k; m++) at[m] = fmax(top, 1e-300) / fmax(t->room[m], 1);
    for (int tries = 0; tries < 300; tries++) {
        (void)bl_knap_bound(t, 0, at, t->room, p->use, p->x);
        if (fits(t, p->use)) {
            plan_count(t, p);
            return true;
        }
        for (int m = 0; m < t->k; m++) {
            double over = (p->use[m] - t->room[m]) / fmax(t->room[m], 1);
            at[m] *= over > 0 ? 1.1 + fmin(over, 1) : 0.97;
        }
    }
    return false;
}

static int rank_order(const void *pa, const void *pb)
{
    const move *a = pa, *b = pb;
    if (a->rank != b->rank) return a->rank < b->rank ? -1 : 1;
    if (a->item != b->item) return a->item < b->item ? -1 : 1;
    return a->option < b->option ? -1 : a->option > b->option;
}

static move move_make(const bl_knap *t, const plan *p, int i, uint16_t o, const double *lambda)
{
    size_t now = t->first[i] + p->x[i], then = t->first[i] + o;
    move mv = {.dv = t->v[then] - t->v[now], .item = i, .option = o};
    mv.rank = mv.dv;
    for (int m = 0; m < t->k; m++) {
        mv.dc[m] = t->c[then * (size_t)t->d + (size_t)m] - t->c[now * (size_t)t->d + (size_t)m];
        mv.rank += lambda[m] * mv.dc[m];
    }
    return mv;
}

static bool move_fits(const bl_knap *t, const plan *p, const double *dc)
{
    for (int m = 0; m < t->k; m++)
        if (p->use[m] + dc[m] > t->room[m]) return false;
    return true;
}

static void move_apply(const bl_knap *t, plan *p, const move *mv)
{
    p->x[mv->item] = mv->option;
    for (int m = 0; m < t->k; m++) p->use[m] += mv->dc[m];
}

/* Moves of one item that lower the value, those first that pay best for their room. */
static bool single_moves(const bl_knap *t, plan *p, const double *lambda, move *list)
{
    size_t n = 0;
    for (int i = 0; i < t->n; i++)
        for (uint32_t o = 0; o < t->first[i + 1] - t->first[i]; o++) {
            move mv = move_make(t, p, i, (uint16_t)o, lambda);
            if (mv.dv < 0 && n < LIST && move_fits(t, p, mv.dc)) list[n++] = mv;
        }
    qsort(list, n, sizeof *list, rank_order);
    bool any = false;
    for (size_t a = 0; a < n; a++) {
        move mv = move_make(t, p, list[a].item, list[a].option, lambda);
        if (mv.dv >= 0 || !move_fits(t, p, mv.dc)) continue;
        move_apply(t, p, &mv);
        any = true;
    }
    return any;
}

/* The best exchange of two items among the MOVES of least reduced cost. */
static bool pair_move(const bl_knap *t, plan *p, const double *lambda, move *list)
{
    size_t n = 0;
    for (int i = 0; i < t->n; i++)
        for (uint32_t o = 0; o < t->first[i + 1] - t->first[i]; o++)
            if (o != p->x[i] && n < LIST) list[n++] = move_make(t, p, i, (uint16_t)o, lambda);
    qsort(list, n, sizeof *list, rank_order);
    n = BL_MIN(n, MOVES);
    double best = 0;
    size_t best_a = 0, best_b = 0;
    for (size_t a = 0; a < n; a++)
        for (size_t b = a + 1; b < n; b++) {
            if (list[a].dv + list[b].dv >= best || list[a].item == list[b].item) continue;
            double dc[BL_KNAP_K];
            for (int m = 0; m < t->k; m++) dc[m] = list[a].dc[m] + list[b].dc[m];
            if (!move_fits(t, p, dc)) continue;
            best = list[a].dv + list[b].dv;
            best_a = a;
            best_b = b;
        }
    if (best == 0) return false;
    move_apply(t, p, &list[best_a]);
    move_apply(t, p, &list[best_b]);
    return true;
}

/* An exchange of several items, deepened move by move. */
typedef struct exchange {
    const bl_knap *t;
    const plan *p;
    const move *list;           /* by rank */
    size_t n, best[TOGETHER], now[TOGETHER];
    int n_best;
    double least, worth;        /* value changed by the best; lambda . room that is free */
    int tries;
} exchange;

/* What fits changes the value by its rank less lambda . cost, hence by rank - worth at least: the list
 * in order of rank ends where that is no longer below the best. */
static void deepen(exchange *e, int depth, size_t from, double rank, double dv, const double *dc)
{
    for (size_t a = from; a < e->n && e->tries > 0; a++) {
        const move *mv = &e->list[a];
        bool taken = false;
        double sum[BL_KNAP_K] = {0};
        if (rank + mv->rank - e->worth >= e->least) return;
        for (int k = 0; k < depth && !taken; k++) taken = e->list[e->now[k]].item == mv->item;
        if (taken) continue;
        e->tries--;
        e->now[depth] = a;
        for (int m = 0; m < e->t->k; m++) sum[m] = dc[m] + mv->dc[m];
        if (dv + mv->dv < e->least && move_fits(e->t, e->p, sum)) {
            e->least = dv + mv->dv;
            e->n_best = depth + 1;
            memcpy(e->best, e->now, sizeof e->best);
        }
        if (depth + 1 < TOGETHER) deepen(e, depth + 1, a + 1, rank + mv->rank, dv + mv->dv, sum);
    }
}

/* The best exchange of up to TOGETHER items, for list as pair_move left it and as far as TRIES lead. */
static bool group_move(const bl_knap *t, plan *p, const double *lambda, const move *list)
{
    exchange e = {.t = t, .p = p, .list = list, .n = BL_MIN(t->first[t->n] - (uint32_t)t->n, MOVES), .tries = TRIES};
    double none[BL_KNAP_K] = {0};
    for (int m = 0; m < t->k; m++) e.worth += lambda[m] * (t->room[m] - p->use[m]);
    deepen(&e, 0, 0, 0, 0, none);
    for (int a = 0; a < e.n_best; a++) move_apply(t, p, &list[e.best[a]]);
    return e.n_best > 0;
}

/* Moves until none helps; groups: exchanges of several items too. */
static bl_status improve(bl_knap_work *work, const bl_knap *t, plan *p, const double *lambda, move *list, bool groups)
{
    bool large = t->first[t->n] > LIST;
    for (int pass = 0; pass < PASSES && !work->stopped; pass++) {
        BL_TRY(bl_knap_pause(work));
        if (single_moves(t, p, lambda, list)) continue;
        if (large || (!pair_move(t, p, lambda, list) && !(groups && group_move(t, p, lambda, list)))) break;
    }
    plan_count(t, p);
    return BL_OK;
}

bl_status bl_knap_plan(bl_knap_work *work, const bl_knap *t, const bl_knap_pool *pool,
                       uint16_t *choice, double *value)
{
    bl_mark mark = bl_arena_mark(work->arena);
    plan p = {.x = BL_NEW(work->arena, uint16_t, (size_t)t->n)};
    move *list = BL_NEW(work->arena, move, BL_MIN(t->first[t->n], LIST));
    if (!p.x || !list) return bl_pending(work->ctx);
    *value = INFINITY;
    for (int s = 0; s <= STARTS && s <= pool->n && !work->stopped; s++) {
        const double *lambda = pool->lambda[s < pool->n ? s : 0];
        bool last = s == STARTS || s == pool->n;
        if (last ? isfinite(*value) || !relax_weights(t, &p) : !relax(t, lambda, &p)) continue;
        BL_TRY(improve(work, t, &p, lambda, list, false));
        if (p.v >= *value) continue;
        *value = p.v;
        memcpy(choice, p.x, (size_t)t->n * sizeof *choice);
    }
    if (isfinite(*value) && pool->n > 0 && !work->stopped) {
        memcpy(p.x, choice, (size_t)t->n * sizeof *choice);
        plan_count(t, &p);
        BL_TRY(improve(work, t, &p, pool->lambda[0], list, true));
        *value = p.v;
        memcpy(choice, p.x, (size_t)t->n * sizeof *choice);
    }
    bl_arena_reset(work->arena, mark);
    return BL_OK;
}
