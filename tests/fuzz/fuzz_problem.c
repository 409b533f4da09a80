/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Allocation problems: text that opens with '{' as JSON; other bytes as a table of small numbers,
 * which makes a valid problem of any of them.  What the solver says is held against the table, and
 * where plans are few, against all of them.
 */
#include "fuzz.h"
#include "search/knapsack.h"

enum { UNITS = 5, OPTIONS = 4 }; /* at most 1024 plans: every table is held against all of its own */

#ifdef __clang__ /* nothing to learn for the fuzzer */
#define UNWATCHED __attribute__((no_sanitize("coverage")))
#else
#define UNWATCHED
#endif

static double sum_of(const bl_mckp *p, const int *choice, int m)
{
    double sum = 0;
    for (int u = 0; u < p->n_units; u++) sum += m < 0 ? p->units[u].objective[choice[u]] : p->units[u].cost[m][choice[u]];
    return sum;
}

static bool within(const bl_mckp *p, const int *choice, double slack)
{
    for (int m = 0; m < p->n_budgets; m++)
        if (!(sum_of(p, choice, m) <= p->limits[m] + slack * fabs(p->limits[m]) + slack)) return false;
    return true;
}

/* The least objective among the plans that share their first u options and fit. */
UNWATCHED static void each_plan(const bl_mckp *p, int u, double objective, const double *cost, double *best)
{
    double sum[BL_MCKP_BUDGETS_MAX] = { 0 };
    if (u == p->n_units) {
        for (int m = 0; m < p->n_budgets; m++)
            if (cost[m] > p->limits[m]) return;
        *best = BL_MIN(*best, objective);
        return;
    }
    for (int o = 0; o < p->units[u].n_options; o++) {
        for (int m = 0; m < p->n_budgets; m++) sum[m] = cost[m] + p->units[u].cost[m][o];
        each_plan(p, u + 1, objective + p->units[u].objective[o], sum, best);
    }
}

/* Whole numbers only: sums are exact, so is the comparison. */
static void compare_with_all(const bl_mckp *p, const bl_mckp_result *r)
{
    const double none[BL_MCKP_BUDGETS_MAX] = { 0 };
    double best = INFINITY;
    each_plan(p, 0, 0, none, &best);
    if (isinf(best) ? r->status == BL_MCKP_FEASIBLE || r->status == BL_MCKP_OPTIMAL
                    : r->status == BL_MCKP_INFEASIBLE && r->proof != BL_MCKP_LIMIT)
        abort();
    if (r->status == BL_MCKP_OPTIMAL && r->objective != best) abort();
    if (r->status != BL_MCKP_INFEASIBLE && r->bound > best + 1e-9 * fabs(best)) abort();
}

static void solve(bl_ctx *ctx, bl_arena *a, const bl_mckp *p, bool whole)
{
    const bl_mckp_limits limits = { .labels = 200, .nodes = 50 };
    bl_mckp_result r;
    json_t *j = NULL;
    if (!fuzz_ok(ctx, bl_mckp_solve(ctx, p, &limits, a, &r))) return;
    for (int u = 0; u < p->n_units; u++)
        if (r.choice[u] < 0 || r.choice[u] >= p->units[u].n_options) abort();
    if (r.status != BL_MCKP_INFEASIBLE && !within(p, r.choice, 1e-9)) abort();
    if (whole) compare_with_all(p, &r);
    if (bl_mckp_result_json(ctx, p, &r, &j) != BL_OK) abort();
    json_decref(j);
}

static double least(const double *x, int n)
{
    double low = INFINITY;
    for (int i = 0; i < n; i++) low = BL_MIN(low, x[i]);
    return low;
}

static bl_status from_table(bl_arena *a, const uint8_t *bytes, size_t size, bl_mckp **out)
{
    size_t at = 2;
    int units = 1 + bytes[0] % UNITS, budgets = bytes[1] % 4;
    bool reachable = bytes[1] & 0x1c; /* each budget by itself: proofs that no plan is within take long */
    bl_mckp *p = bl_mckp_new(a, units, budgets);
    if (!p) return BL_UNAVAILABLE;
#define NEXT (at < size ? (int8_t)bytes[at++] : (int8_t)(at++ * 37))
    for (int m = 0; m < budgets; m++) {
        p->budget_names[m] = bl_format(a, "b%d", m);
        p->limits[m] = reachable ? fabs(2.0 * NEXT) : 2 * NEXT;
    }
    for (int u = 0; u < units; u++) {
        int n = 1 + (uint8_t)NEXT % OPTIONS;
        bl_status s = bl_mckp_unit_new(a, p, u, bl_format(a, "u%d", u), n);
        if (s != BL_OK) return s;
        for (int o = 0; o < n; o++) {
            p->units[u].names[o] = bl_format(a, "o%d", o);
            p->units[u].objective[o] = NEXT;
            for (int m = 0; m < budgets; m++) p->units[u].cost[m][o] = NEXT;
        }
        for (int m = 0; m < budgets && reachable; m++) p->limits[m] += least(p->units[u].cost[m], n);
    }
#undef NEXT
    *out = p;
    return BL_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    bl_ctx *ctx = fuzz_ctx();
    bl_arena *a = bl_arena_new(ctx, "fuzz");
    bl_mckp *p;
    json_t *j;
    if (!a || size < 2) {
        /* nothing */
    } else if (bytes[0] == '{') {
        if (fuzz_ok(ctx, bl_json_parse(ctx, "fuzz", (const char *)bytes, size, &j))) {
            if (fuzz_ok(ctx, bl_mckp_from_json(ctx, "fuzz", j, a, &p))) solve(ctx, a, p, false);
            json_decref(j);
        }
    } else if (from_table(a, bytes, size, &p) == BL_OK)
        solve(ctx, a, p, true);
    bl_arena_free(a);
    fuzz_ctx_free(ctx);
    return 0;
}
