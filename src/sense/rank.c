/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Do two lists rank alike?  Kendall's tau-b, (concordant - discordant) / sqrt((n0 - n1)(n0 - n2)) with n1 and
 * n2 pairs tied in one list, in O(n log n): sort by one list, count the exchanges of a merge sort by the
 * other (Knight 1966).  And how far two SENS records agree, width by width.
 */
#include "sense/sense.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct pair { double a, b; } pair;

static int by_both(const void *x, const void *y)
{
    const pair *p = x, *q = y;
    if (p->a != q->a) return p->a < q->a ? -1 : 1;
    return (p->b > q->b) - (p->b < q->b);
}

/* Sorts x by b and counts how many pairs stood the wrong way round. */
static double sort_by_b(pair *x, pair *spare, size_t n)
{
    if (n < 2) return 0;
    size_t half = n / 2, i = 0, j = half, k = 0;
    double swaps = sort_by_b(x, spare, half) + sort_by_b(x + half, spare, n - half);
    while (i < half && j < n) {
        if (x[j].b < x[i].b) {
            swaps += (double)(half - i);
            spare[k++] = x[j++];
        } else {
            spare[k++] = x[i++];
        }
    }
    while (i < half) spare[k++] = x[i++];
    while (j < n) spare[k++] = x[j++];
    memcpy(x, spare, n * sizeof *x);
    return swaps;
}

/* Pairs that are tied: by a, by b, by both (which: 1, 2, 3), in a list sorted so that they stand together. */
static double ties(const pair *x, size_t n, int which)
{
    double sum = 0, run = 1;
    for (size_t i = 1; i <= n; i++) {
        bool same = i < n && (!(which & 1) || x[i].a == x[i - 1].a) && (!(which & 2) || x[i].b == x[i - 1].b);
        if (same) {
            run++;
        } else {
            sum += run * (run - 1) / 2;
            run = 1;
        }
    }
    return sum;
}

bl_status bl_kendall_tau_b(bl_ctx *ctx, const double *a, const double *b, size_t n, double *out)
{
    bl_arena *arena = bl_arena_new(ctx, "ranks");
    pair *x = arena ? BL_NEW(arena, pair, 2 * BL_MAX(n, 1)) : NULL;

    if (!x) {
        bl_arena_free(arena);
        return bl_pending(ctx);
    }
    for (size_t i = 0; i < n; i++) x[i] = (pair){ a[i], b[i] };
    qsort(x, n, sizeof *x, by_both);
    double all = (double)n * ((double)n - 1) / 2, tied_a = ties(x, n, 1), tied_both = ties(x, n, 3);
    double swaps = sort_by_b(x, x + n, n), tied_b = ties(x, n, 2);
    double scale = sqrt((all - tied_a) * (all - tied_b));
    *out = scale > 0 ? (all - tied_a - tied_b + tied_both - 2 * swaps) / scale : NAN;
    bl_arena_free(arena);
    return BL_OK;
}

/* ------------------------------------------------------------------ two records */

/* Objectives or, where the widest candidate's is zero by definition, what was measured of it. */
static double cost_of(const bl_sens *s, int unit, int candidate)
{
    const bl_sensitivity *row = bl_sensitivity_find(s->metric);
    const bl_sens_cell *c = &s->cell[unit][candidate];
    return row && row->noise ? -c->value : c->value;
}

bl_status bl_sens_agreement(bl_ctx *ctx, const bl_menu *menu, const bl_sens *a, const bl_sens *b, int w_bits,
                            double *tau, size_t *n)
{
    bl_arena *arena = bl_arena_new(ctx, "agreement");
    size_t most = 0;
    bl_status s = BL_OK;

    BL_ALLOC_TRY(ctx, arena);
    for (int u = 0; u < menu->n_units; u++) most += (size_t)menu->units[u].n_candidates;
    double *x = BL_NEW(arena, double, most), *y = BL_NEW(arena, double, most);
    *n = 0;
    if (!x || !y) s = bl_pending(ctx);
    for (int u = 0; s == BL_OK && u < menu->n_units; u++)
        for (int c = 0; a->cell[u] && b->cell[u] && c < menu->units[u].n_candidates; c++) {
            if (!menu->units[u].candidates[c].w_bits || (w_bits && menu->units[u].candidates[c].w_bits != w_bits)) continue;
            x[*n] = cost_of(a, u, c);
            y[(*n)++] = cost_of(b, u, c);
        }
    if (s == BL_OK) s = bl_kendall_tau_b(ctx, x, y, *n, tau);
    bl_arena_free(arena);
    return s;
}
