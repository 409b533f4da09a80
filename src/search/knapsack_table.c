/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table the solver works on: merged items with costs in whole numbers, without options that
 * cannot fit and without dominated ones, only with the budgets that can bind.
 *
 * Rounding.  A budget's room is r = limit + 1e-12 |limit| - sum of least costs.  One whole number
 * is a power of two near 2^-52 r, so a plan's cost is wrong by at most n/2 * 2^-52 r, well under
 * the tolerance already in r, and every sum within the room is exact.
 *
 * Dominance.  Option p beats o when p comes first in the order (value, first budget's cost, larger
 * index) and costs no more in any budget that can bind: exchanging o for p keeps a plan within the
 * budgets and never moves it back in the order by which plans are chosen.
 */
#include "search/knapsack_private.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One pass over the items; *target and the rooms shrink by what is shifted out. */
static bool settle_pass(bl_knap *t, double *target, bool *changed)
{
    uint32_t to = 0, begin = 0;
    int items = 0;
    size_t d = (size_t)t->d;
    for (int i = 0; i < t->n; i++) {
        uint32_t from = begin, end = t->first[i + 1], start = to;
        begin = end;
        double low[BL_KNAP_K] = {INFINITY, INFINITY, INFINITY, INFINITY}, least = INFINITY;
        for (uint32_t o = from; o < end; o++) {
            bool fits = t->v[o] <= *target;
            for (int m = 0; m < t->k; m++) fits = fits && t->c[o * d + (size_t)m] <= t->room[m];
            if (!fits) continue;
            least = fmin(least, t->v[o]);
            for (size_t m = 0; m < d; m++) low[m] = fmin(low[m], t->c[o * d + m]);
            memmove(t->c + to * d, t->c + o * d, d * sizeof *t->c);
            t->v[to] = t->v[o];
            t->option[to++] = t->option[o];
        }
        if (to == start) return false;
        *changed = *changed || to - start < end - from;
        for (uint32_t o = start; o < to; o++) {
            t->v[o] -= least;
            for (size_t m = 0; m < d; m++) t->c[o * d + m] -= low[m];
        }
        bl_knap_add(&t->v_base, least);
        *target -= least;
        *changed = *changed || least > 0;
        for (int m = 0; m < t->k; m++) {
            t->room[m] -= low[m];
            *changed = *changed || low[m] > 0;
        }
        if (to - start == 1) { /* only one way is left: v and c are zero now */
            t->fixed[t->item[i]] = t->option[start];
            to = start;
            continue;
        }
        t->item[items] = t->item[i];
        t->first[items++] = start;
    }
    t->n = items;
    t->first[items] = to;
    return true;
}

bool bl_knap_settle(bl_knap *t, double target)
{
    target -= bl_knap_total(t->v_base);
    for (bool changed = true; changed;) {
        changed = false;
        if (!settle_pass(t, &target, &changed) || target < 0) return false;
        for (int m = 0; m < t->k; m++)
            if (t->room[m] < 0) return false;
    }
    return true;
}

/* A row of one item while its options are put in order. */
typedef struct row {
    double v, tie;
    uint32_t at; /* option in the table */
    uint16_t option;
} row;

static int row_order(const void *pa, const void *pb)
{
    const row *a = pa, *b = pb;
    if (a->v != b->v) return a->v < b->v ? -1 : 1;
    if (a->tie != b->tie) return a->tie < b->tie ? -1 : 1;
    return a->option > b->option ? -1 : a->option < b->option;
}

/* Costs of budget m in whole numbers into column `col` of c (stride d); false when the least costs
 * are over the limit. */
static bool column_fill(const bl_knap_merged *g, int m, bl_knap *t, int col)
{
    bl_knap_sum least = {0, 0}, spread = {0, 0};
    for (int i = 0; i < g->n; i++) {
        double lo = INFINITY, hi = -INFINITY;
        for (uint32_t o = g->first[i]; o < g->first[i + 1]; o++) {
            lo = fmin(lo, g->cost[m][o]);
            hi = fmax(hi, g->cost[m][o]);
        }
        bl_knap_add(&least, lo);
        bl_knap_add(&spread, hi - lo);
    }
    double limit = g->limit[m];
    double room = limit + 1e-12 * fabs(limit) - bl_knap_total(least);
    if (room < 0) return false;
    double cap = fmin(room, bl_knap_total(spread));
    int exponent = 0;
    if (cap > 0) (void)frexp(cap, &exponent);
    int shift = BL_KNAP_BITS - exponent;
    t->grain[col] = ldexp(1.0, -shift);
    /* a spread inside the room never binds; rounding may lift it by half a whole number an item */
    t->room[col] = room >= bl_knap_total(spread) ? INFINITY : floor(ldexp(room, shift));
    for (int i = 0; i < g->n; i++) {
        double lo = INFINITY;
        for (uint32_t o = g->first[i]; o < g->first[i + 1]; o++) lo = fmin(lo, g->cost[m][o]);
        for (uint32_t o = g->first[i]; o < g->first[i + 1]; o++)
            t->c[(size_t)o * (size_t)t->d + (size_t)col] = rint(ldexp(g->cost[m][o] - lo, shift));
    }
    return true;
}

/* Keeps the columns that can bind, and the first budget's where its cost still differs. */
static void columns_choose(bl_knap *t, int n_budgets)
{
    int from[BL_KNAP_K], columns = 0, old = t->d;
    bool differs = false;
    t->k = 0;
    for (int m = 0; m < n_budgets; m++) {
        double most = 0;
        for (int i = 0; i < t->n; i++) {
            double hi = 0;
            for (uint32_t o = t->first[i]; o < t->first[i + 1]; o++)
                hi = fmax(hi, t->c[(size_t)o * (size_t)old + (size_t)m]);
            most += hi; /* rounded only where far above any room: INFINITY or below 2^52 */
        }
        if (m == 0) differs = most > 0;
        if (most <= t->room[m]) continue;
        from[columns] = m;
        t->live[columns] = m;
        t->room[columns] = t->room[m];
        t->grain[columns++] = t->grain[m];
    }
    t->k = t->d = columns;
    t->tie = -1;
    if (columns > 0 && from[0] == 0) {
        t->tie = 0;
    } else if (differs) {
        t->tie = columns;
        from[columns] = 0;
        t->d = columns + 1;
    }
    for (size_t o = 0; o < t->first[t->n]; o++) {
        double keep[BL_KNAP_K];
        for (int m = 0; m < t->d; m++) keep[m] = t->c[o * (size_t)old + (size_t)from[m]];
        memcpy(t->c + o * (size_t)t->d, keep, (size_t)t->d * sizeof *keep);
    }
}

/* Options of an item in order, without dominated ones; rows and c_old are scratch for one item. */
static uint32_t item_thin(bl_knap *t, uint32_t from, uint32_t end, uint32_t to, row *rows,
                          double *c_old)
{
    size_t d = (size_t)t->d, n = end - from;
    memcpy(c_old, t->c + from * d, n * d * sizeof *c_old);
    for (size_t o = 0; o < n; o++)
        rows[o] = (row){t->v[from + o], t->tie < 0 ? 0 : c_old[o * d + (size_t)t->tie], (uint32_t)o,
                        t->option[from + o]};
    qsort(rows, n, sizeof *rows, row_order);
    uint32_t begin = to;
    for (size_t r = 0; r < n; r++) {
        const double *c = c_old + rows[r].at * d;
        bool beaten = false;
        for (uint32_t p = begin; p < to && !beaten; p++) {
            beaten = true;
            for (int m = 0; m < t->k && beaten; m++) beaten = t->c[p * d + (size_t)m] <= c[m];
        }
        if (beaten) continue;
        memcpy(t->c + to * d, c, d * sizeof *c);
        t->v[to] = rows[r].v;
        t->option[to++] = rows[r].option;
    }
    return to;
}

static bl_status thin(bl_ctx *ctx, bl_knap *t, bl_arena *arena)
{
    bl_mark mark = bl_arena_mark(arena);
    row *rows = BL_NEW(arena, row, BL_MCKP_OPTIONS_MAX);
    double *c_old = BL_NEW(arena, double, BL_MCKP_OPTIONS_MAX *BL_KNAP_K);
    if (!rows || !c_old) return bl_pending(ctx);
    uint32_t to = 0, begin = 0;
    for (int i = 0; i < t->n; i++) {
        uint32_t from = begin, end = t->first[i + 1];
        begin = end;
        t->first[i] = to;
        to = item_thin(t, from, end, to, rows, c_old);
    }
    t->first[t->n] = to;
    bl_arena_reset(arena, mark);
    return BL_OK;
}

/* The greatest common divisor of values that are all whole, else 0: a plan better than another is
 * better by that much at least. */
static double value_step(const bl_knap *t)
{
    uint64_t divisor = 0;
    for (uint32_t o = 0; o < t->first[t->n]; o++) {
        double v = t->v[o];
        if (v != floor(v) || v >= ldexp(1.0, BL_KNAP_BITS)) return 0;
        for (uint64_t a = (uint64_t)v, rest; a; a = rest) {
            rest = divisor % a;
            divisor = a;
        }
    }
    return (double)divisor;
}

bl_status bl_knap_table(bl_ctx *ctx, const bl_knap_merged *g, bl_arena *arena, bl_knap *t,
                        bool *empty)
{
    size_t n = (size_t)g->n, options = g->first[n];
    *t = (bl_knap){.n = g->n, .n_full = g->n, .k = g->n_budgets, .d = g->n_budgets};
    t->first = BL_NEW(arena, uint32_t, n + 1);
    t->item = BL_NEW(arena, uint32_t, n);
    t->fixed = BL_NEW(arena, uint16_t, n);
    t->v = BL_NEW(arena, double, options);
    t->option = BL_NEW(arena, uint16_t, options);
    t->c = BL_NEW(arena, double, options *(size_t)t->d);
    if (!t->first || !t->item || !t->fixed || !t->v || !t->option || !t->c) return bl_pending(ctx);
    memcpy(t->first, g->first, (n + 1) * sizeof *t->first);
    memcpy(t->v, g->v, options * sizeof *t->v);
    for (size_t i = 0; i < n; i++) {
        t->item[i] = (uint32_t)i;
        for (uint32_t o = g->first[i]; o < g->first[i + 1]; o++)
            t->option[o] = (uint16_t)(o - g->first[i]);
    }
    *empty = true;
    for (int m = 0; m < g->n_budgets; m++)
        if (!column_fill(g, m, t, m)) return BL_OK;
    if (!bl_knap_settle(t, INFINITY)) return BL_OK;
    *empty = false;
    columns_choose(t, g->n_budgets);
    BL_TRY(thin(ctx, t, arena));
    BL_CHECK(ctx, bl_knap_settle(t, INFINITY)); /* the best option of each item is always there */
    t->step = value_step(t);
    return BL_OK;
}
