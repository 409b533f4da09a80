/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lagrangian bounds.  For multipliers lambda >= 0
 *
 *     L(lambda) = sum_i min_o (v_io + lambda . c_io) - lambda . room
 *
 * is a lower bound on every plan within the budgets; it is concave and piecewise linear, and
 * (costs of the minimisers - room) is a slope of it.  One budget: intersections of the two lines
 * that enclose the maximum.  Several: the ellipsoid method with deep cuts, in coordinates where
 * each budget's room is one.
 *
 * Rounding.  Each term is >= 0 and takes at most k + 1 roundings, the sums are compensated, so the
 * error is below 16 * 2^-53 (sum of minima + lambda . room), which is taken off.
 */
#include "search/knapsack_private.h"

#include <math.h>
#include <string.h>

/* One loop for each k, so that the compiler unrolls it. */
static inline __attribute__((always_inline)) double
minima(const bl_knap *t, int from, const double *lambda, double *use, uint16_t *pick, const int k)
{
    bl_knap_sum sum = {0, 0};
    size_t d = (size_t)t->d;
    for (int i = from; i < t->n; i++) {
        double best = INFINITY;
        uint32_t at = t->first[i];
        const double *c = t->c + at * d;
        for (uint32_t o = at; o < t->first[i + 1]; o++, c += d) {
            double r = t->v[o];
            for (int m = 0; m < k; m++) r += lambda[m] * c[m];
            if (r < best) {
                best = r;
                at = o;
            }
        }
        if (best == INFINITY) return INFINITY; /* every option is excluded */
        bl_knap_add(&sum, best);
        for (int m = 0; m < k; m++) use[m] += t->c[at * d + (size_t)m];
        if (pick) pick[i] = (uint16_t)(at - t->first[i]);
    }
    return bl_knap_total(sum);
}

double bl_knap_bound(const bl_knap *t, int from, const double *lambda, const double *room,
                     double *use, uint16_t *pick)
{
    double sum = 0, paid = 0;
    memset(use, 0, BL_KNAP_K * sizeof *use);
    switch (t->k) {
    case 0: sum = minima(t, from, lambda, use, pick, 0); break;
    case 1: sum = minima(t, from, lambda, use, pick, 1); break;
    case 2: sum = minima(t, from, lambda, use, pick, 2); break;
    case 3: sum = minima(t, from, lambda, use, pick, 3); break;
    default: sum = minima(t, from, lambda, use, pick, 4); break;
    }
    if (sum == INFINITY) return sum;
    for (int m = 0; m < t->k; m++) paid += lambda[m] * room[m];
    return sum - paid - 16 * BL_KNAP_EPS * (sum + paid);
}

void bl_knap_pool_put(bl_knap_pool *pool, double bound, const double *lambda, int k)
{
    int at = pool->n;
    while (at > 0 && bound > pool->bound[at - 1]) at--;
    if (at == BL_KNAP_POOL) return;
    if (at > 0 && bound == pool->bound[at - 1]) return; /* most likely the same corner again */
    int last = pool->n < BL_KNAP_POOL ? pool->n++ : BL_KNAP_POOL - 1;
    for (int i = last; i > at; i--) {
        pool->bound[i] = pool->bound[i - 1];
        memcpy(pool->lambda[i], pool->lambda[i - 1], sizeof pool->lambda[i]);
    }
    pool->bound[at] = bound;
    memset(pool->lambda[at], 0, sizeof pool->lambda[at]);
    memcpy(pool->lambda[at], lambda, (size_t)k * sizeof *lambda);
}

/* Of a budget, for coordinates in which rooms are about one; a room may be zero. */
static double room_scale(const bl_knap *t, int m)
{
    return fmax(t->room[m], 1);
}

/* ------------------------------------------------------------------ one budget */

/* The best multiplier of budget m with the others at zero; lambda is overwritten. */
static double line_dual(const bl_knap *t, int m, double *lambda, bl_knap_pool *pool)
{
    double use[BL_KNAP_K], best_at = 0;
    memset(lambda, 0, BL_KNAP_K * sizeof *lambda);
    double best = bl_knap_bound(t, 0, lambda, t->room, use, NULL);
    if (pool) bl_knap_pool_put(pool, best, lambda, t->k);
    double lo = 0, lo_value = best, lo_slope = use[m] - t->room[m];
    if (lo_slope <= 0) return best;
    double top = 0; /* largest value: with this much a whole room, the first guess */
    for (uint32_t o = 0; o < t->first[t->n]; o++) top = fmax(top, t->v[o]);
    double hi = fmax(top, 1e-300) / room_scale(t, m), hi_value = 0, hi_slope = 0;
    for (int tries = 0; tries < 2000; tries++, hi *= 4) {
        lambda[m] = hi;
        hi_value = bl_knap_bound(t, 0, lambda, t->room, use, NULL);
        hi_slope = use[m] - t->room[m];
        if (pool) bl_knap_pool_put(pool, hi_value, lambda, t->k);
        if (hi_value > best) best = hi_value, best_at = hi;
        if (hi_slope <= 0 || !isfinite(hi * 4)) break;
        lo = hi, lo_value = hi_value, lo_slope = hi_slope;
    }
    for (int step = 0; step < 200 && hi_slope < 0; step++) {
        /* the lines meet inside (lo, hi); every fourth step halves, against slow corners */
        double cross =
            (hi_value - hi_slope * hi - lo_value + lo_slope * lo) / (lo_slope - hi_slope);
        double at = step % 4 == 3 ? 0.5 * (lo + hi) : cross;
        if (!(at > lo && at < hi)) break;
        lambda[m] = at;
        double value = bl_knap_bound(t, 0, lambda, t->room, use, NULL), slope = use[m] - t->room[m];
        if (pool) bl_knap_pool_put(pool, value, lambda, t->k);
        if (value > best) best = value, best_at = at;
        double meet = lo_value + lo_slope * (at - lo), blur = fabs(meet) + at * t->room[m];
        if (slope == 0 || (step % 4 != 3 && value >= meet - 1e-13 * blur)) break;
        if (slope > 0)
            lo = at, lo_value = value, lo_slope = slope;
        else
            hi = at, hi_value = value, hi_slope = slope;
    }
    lambda[m] = best_at;
    return best;
}

/* ------------------------------------------------------------------ several budgets */

typedef struct ellipsoid {
    int k;
    double x[BL_KNAP_K];            /* centre, multiplier times room */
    double p[BL_KNAP_K][BL_KNAP_K]; /* {y: (y - x)' p^-1 (y - x) <= 1} */
} ellipsoid;

/* Keeps {y: g . (y - x) >= beyond}, g a direction of improvement; false when nothing is left. */
static bool cut(ellipsoid *e, const double *g, double beyond)
{
    double pg[BL_KNAP_K], gpg = 0, k = e->k;
    for (int i = 0; i < e->k; i++) {
        pg[i] = 0;
        for (int j = 0; j < e->k; j++) pg[i] += e->p[i][j] * g[j];
        gpg += g[i] * pg[i];
    }
    if (!(gpg > 0)) return false;
    double root = sqrt(gpg), depth = beyond / root;
    if (!(depth < 1)) return false;
    if (depth < -1 / k) return true; /* the cut lies outside: nothing to learn */
    double step = (1 + k * depth) / (k + 1), shrink = 2 * step / (1 + depth);
    double grow = k * k / (k * k - 1) * (1 - depth * depth);
    for (int i = 0; i < e->k; i++) e->x[i] += step * pg[i] / root;
    for (int i = 0; i < e->k; i++)
        for (int j = 0; j < e->k; j++)
            e->p[i][j] = grow * (e->p[i][j] - shrink * pg[i] * pg[j] / gpg);
    return true;
}

/* One run of cuts from the centre with the given half axes; the best point stays in `best`. */
static double ellipsoid_run(const bl_knap *t, ellipsoid *e, double *lambda, double best,
                            bl_knap_pool *pool)
{
    int k = t->k, limit = 60 * k * (k + 1);
    for (int step = 0; step < limit; step++) {
        double g[BL_KNAP_K] = {0}, at[BL_KNAP_K] = {0}, use[BL_KNAP_K], beyond = 0;
        int below = -1;
        for (int m = 0; m < k; m++)
            if (e->x[m] < 0 && (below < 0 || e->x[m] < e->x[below])) below = m;
        double gap = 0;
        if (below >= 0) {
            g[below] = 1;
            beyond = -e->x[below];
        } else {
            for (int m = 0; m < k; m++) at[m] = e->x[m] / room_scale(t, m);
            double value = bl_knap_bound(t, 0, at, t->room, use, NULL);
            if (pool) bl_knap_pool_put(pool, value, at, k);
            if (value > best) {
                best = value;
                memcpy(lambda, at, sizeof at);
            }
            for (int m = 0; m < k; m++) g[m] = (use[m] - t->room[m]) / room_scale(t, m);
            beyond = best - value;
            for (int i = 0; i < k; i++)
                for (int j = 0; j < k; j++) gap += g[i] * e->p[i][j] * g[j];
            /* inside the ellipsoid nothing is above value + sqrt(gap) */
            if (value + sqrt(fmax(gap, 0)) <= best + 1e-9 * fabs(best)) break;
        }
        if (!cut(e, g, beyond)) break;
    }
    return best;
}

double bl_knap_dual(const bl_knap *t, double *lambda, bl_knap_pool *pool)
{
    double use[BL_KNAP_K], best, axis = 0, alone[BL_KNAP_K] = {0};
    if (t->k <= 1) {
        double own[BL_KNAP_K] = {0};
        best =
            t->k == 1 ? line_dual(t, 0, own, pool) : bl_knap_bound(t, 0, own, t->room, use, NULL);
        memcpy(lambda, own, sizeof own);
        return best;
    }
    best = bl_knap_bound(t, 0, lambda, t->room, use, NULL);
    if (pool) bl_knap_pool_put(pool, best, lambda, t->k);
    for (int m = 0; m < t->k; m++) {
        double one[BL_KNAP_K], value = line_dual(t, m, one, pool);
        alone[m] = one[m] * room_scale(t, m);
        axis = fmax(axis, alone[m]);
        if (value > best) {
            best = value;
            memcpy(lambda, one, sizeof one);
        }
    }
    ellipsoid e = {.k = t->k};
    for (int m = 0; m < t->k; m++) {
        double width = alone[m] > 0 ? alone[m] : axis;
        e.x[m] = 0.5 * width;
        e.p[m][m] = 0.25 * width * width * t->k;
    }
    for (int run = 0; run < 6; run++) { /* again around the best point while that still helps */
        double before = best, width = 0;
        best = ellipsoid_run(t, &e, lambda, best, pool);
        if (run > 0 && best <= before + 1e-7 * fabs(before)) break;
        memset(e.p, 0, sizeof e.p);
        for (int m = 0; m < t->k; m++) width = fmax(width, lambda[m] * room_scale(t, m));
        for (int m = 0; m < t->k; m++) {
            e.x[m] = lambda[m] * room_scale(t, m);
            double half = 0.5 * fmax(e.x[m], 0.1 * width);
            e.p[m][m] = half * half * t->k;
        }
    }
    return best;
}

double bl_knap_climb(const bl_knap *t, int from, const double *room, double target, int steps,
                     double *lambda)
{
    double at[BL_KNAP_K], use[BL_KNAP_K], best = -INFINITY, stride = 1;
    memcpy(at, lambda, sizeof at);
    for (int step = 0; step <= steps; step++) {
        double value = bl_knap_bound(t, from, at, room, use, NULL), length = 0, g[BL_KNAP_K];
        if (value > best) {
            best = value;
            memcpy(lambda, at, sizeof at);
            if (best > target) break;
        } else {
            stride *= 0.7;
        }
        for (int m = 0; m < t->k; m++) {
            g[m] = (use[m] - room[m]) / room_scale(t, m);
            if (at[m] == 0 && g[m] < 0) g[m] = 0;
            length += g[m] * g[m];
        }
        if (!(length > 0)) break; /* a plan within the budgets: nothing above value */
        for (int m = 0; m < t->k; m++)
            at[m] = fmax(0, at[m] + stride * (target - value) / length * g[m] / room_scale(t, m));
    }
    return best;
}
