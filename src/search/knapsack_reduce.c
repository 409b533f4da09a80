/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reduced-cost fixing.  With multipliers lambda a plan that takes option o of item i is worth at
 * least L(lambda) + r_io - min_p r_ip, where r = v + lambda . c; above the target the option goes.
 * Options gone change the dual, so both are repeated until little happens.
 *
 * Values become whole numbers of about 2^-52 of the target.  Each is off by at most a half, so the
 * target is raised by (items / 2 + 1): no plan of real value <= target is lost.
 */
#include "search/knapsack_private.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bl_status copy_below(bl_knap_work *work, const bl_knap *full, double target, bl_knap *out,
                            bool *empty)
{
    size_t d = (size_t)full->d, options = 0, n = (size_t)full->n;
    int exponent = 0;
    if (target > 0) (void)frexp(target, &exponent);
    *out = *full;
    out->shift = BL_KNAP_BITS - exponent;
    out->v_base = (bl_knap_sum){0, 0};
    out->step = out->shift >= 0 && full->step > 0 ? ldexp(full->step, out->shift) : 1;
    for (uint32_t o = 0; o < full->first[n]; o++) options += full->v[o] <= target;
    out->first = BL_NEW(work->arena, uint32_t, n + 1);
    out->item = BL_NEW(work->arena, uint32_t, n);
    out->fixed = BL_NEW(work->arena, uint16_t, (size_t)full->n_full);
    out->v = BL_NEW(work->arena, double, options);
    out->c = BL_NEW(work->arena, double, options *d);
    out->option = BL_NEW(work->arena, uint16_t, options);
    if (!out->first || !out->item || !out->fixed || !out->v || !out->c || !out->option)
        return bl_pending(work->ctx);
    memcpy(out->item, full->item, n * sizeof *out->item);
    memcpy(out->fixed, full->fixed, (size_t)full->n_full * sizeof *out->fixed);
    uint32_t to = 0;
    *empty = false;
    for (size_t i = 0; i < n; i++) {
        out->first[i] = to;
        for (uint32_t o = full->first[i]; o < full->first[i + 1]; o++) {
            if (full->v[o] > target) continue;
            out->v[to] = rint(ldexp(full->v[o], out->shift));
            memcpy(out->c + to * d, full->c + o * d, d * sizeof *out->c);
            out->option[to++] = full->option[o];
        }
        *empty = *empty || to == out->first[i];
    }
    out->first[n] = to;
    return BL_OK;
}

/* Marks (value INFINITY) what these multipliers exclude; returns how many. */
static size_t exclude(bl_knap *t, const double *lambda, double bound, double target)
{
    size_t gone = 0, d = (size_t)t->d;
    double r[BL_MCKP_OPTIONS_MAX];
    for (int i = 0; i < t->n; i++) {
        uint32_t from = t->first[i], count = t->first[i + 1] - from;
        double least = INFINITY;
        for (uint32_t o = 0; o < count; o++) {
            r[o] = t->v[from + o];
            for (int m = 0; m < t->k; m++) r[o] += lambda[m] * t->c[(from + o) * d + (size_t)m];
            least = fmin(least, r[o]);
        }
        for (uint32_t o = 0; o < count; o++) {
            if (isinf(r[o]) || bound + (r[o] - least) - 8 * BL_KNAP_EPS * (r[o] + least) <= target)
                continue;
            t->v[from + o] = INFINITY;
            gone++;
        }
    }
    return gone;
}

/* Excludes by every vector of the pool, whose bounds are taken anew; false when one is above the
 * target. */
static bool exclude_pool(bl_knap *t, const bl_knap_pool *pool, double target, size_t *gone)
{
    double use[BL_KNAP_K];
    for (int p = 0; p < pool->n; p++) {
        double bound = bl_knap_bound(t, 0, pool->lambda[p], t->room, use, NULL);
        if (bound > target) return false;
        *gone += exclude(t, pool->lambda[p], bound, target);
    }
    return true;
}

typedef struct rank {
    uint32_t count, item;
    int at;
} rank;

static int rank_order(const void *pa, const void *pb)
{
    const rank *a = pa, *b = pb;
    if (a->count != b->count) return a->count < b->count ? -1 : 1;
    return a->item < b->item ? -1 : a->item > b->item;
}

/* Items of few options first: labels multiply late. */
static bl_status order(bl_knap_work *work, bl_knap *t)
{
    size_t n = (size_t)t->n, d = (size_t)t->d, options = t->first[t->n];
    rank *ranks = BL_NEW(work->arena, rank, n);
    uint32_t *first = BL_NEW(work->arena, uint32_t, n + 1),
             *item = BL_NEW(work->arena, uint32_t, n);
    double *v = BL_NEW(work->arena, double, options), *c = BL_NEW(work->arena, double, options *d);
    uint16_t *option = BL_NEW(work->arena, uint16_t, options);
    if (!ranks || !first || !item || !v || !c || !option) return bl_pending(work->ctx);
    for (size_t i = 0; i < n; i++)
        ranks[i] = (rank){t->first[i + 1] - t->first[i], t->item[i], (int)i};
    qsort(ranks, n, sizeof *ranks, rank_order);
    for (size_t i = 0; i < n; i++) {
        size_t from = t->first[ranks[i].at], count = ranks[i].count, to = first[i];
        first[i + 1] = (uint32_t)(to + count);
        item[i] = ranks[i].item;
        memcpy(v + to, t->v + from, count * sizeof *v);
        memcpy(c + to * d, t->c + from * d, count * d * sizeof *c);
        memcpy(option + to, t->option + from, count * sizeof *option);
    }
    t->first = first;
    t->item = item;
    t->v = v;
    t->c = c;
    t->option = option;
    return BL_OK;
}

bl_status bl_knap_reduce(bl_knap_work *work, const bl_knap *full, double target, bl_knap_pool *pool,
                         bl_knap *out, double *target_whole, bool *empty)
{
    BL_TRY(copy_below(work, full, target, out, empty));
    if (*empty) return BL_OK;
    double top = floor(ldexp(target, out->shift)) + 0.5 * full->n + 1;
    for (int p = 0; p < pool->n; p++)
        for (int m = 0; m < out->k; m++) pool->lambda[p][m] = ldexp(pool->lambda[p][m], out->shift);
    *empty = true;
    for (bool again = true; again;) {
        if (!bl_knap_settle(out, top)) return BL_OK;
        size_t gone = 0, options = out->first[out->n];
        double left = top - bl_knap_total(out->v_base), lambda[BL_KNAP_K] = {0};
        if (!exclude_pool(out, pool, left, &gone)) return BL_OK;
        if (!bl_knap_settle(out, top)) return BL_OK;
        if (out->n == 0) break;
        BL_TRY(bl_knap_pause(work));
        if (work->stopped) break;
        left = top - bl_knap_total(out->v_base);
        if (pool->n > 0) memcpy(lambda, pool->lambda[0], sizeof lambda);
        pool->n = 0;
        if (bl_knap_dual(out, lambda, pool) > left) return BL_OK;
        again = gone * 50 > options;
    }
    *empty = false;
    *target_whole = top - bl_knap_total(out->v_base);
    return order(work, out);
}
