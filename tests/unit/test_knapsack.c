/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The allocation solver against enumeration, against the published HAWQ-V3 schemes, on tables like
 * those of networks (times are printed, never judged), against glpsol where it is installed, and
 * with bad input, limits, interrupts and failing memory.  BL_TEST_LONG adds the larger sets.
 */
#include "support.h"

#include "search/knapsack.h"

#include <math.h>
#include <time.h>

/* ------------------------------------------------------------------ problems */

static void tie_add(bl_arena *arena, bl_mckp *p, int n_ties_max, const int *units, int n)
{
    if (!p->ties) p->ties = BL_NEW(arena, bl_mckp_tie, (size_t)n_ties_max);
    bl_mckp_tie *tie = &p->ties[p->n_ties++];
    tie->n = n;
    tie->units = BL_NEW(arena, int, (size_t)n);
    memcpy(tie->units, units, (size_t)n * sizeof *units);
}

/* Up to 8 units of up to 4 options; whole numbers for odd indices, so that plans tie; some with
 * negative numbers, some that no plan satisfies. */
static bl_mckp *random_small(bl_arena *arena, uint64_t index)
{
    bl_rng r = bl_rng_make(7, "knapsack small", index);
    int n = 1 + (int)bl_rng_below(&r, 8), k = (int)(index % 5) ? 1 + (int)bl_rng_below(&r, 3) : 0;
    if (index % 17 == 16) k = 4;
    bool whole = index % 2, negative = bl_rng_below(&r, 4) == 0;
    bl_mckp *p = bl_mckp_new(arena, n, k);
    double low[4] = {0}, high[4] = {0};
    for (int u = 0; u < n; u++) {
        char name[16];
        int options = 1 + (int)bl_rng_below(&r, 4);
        snprintf(name, sizeof name, "unit%d", u);
        assert_int_equal(bl_mckp_unit_new(arena, p, u, name, options), BL_OK);
        for (int o = 0; o < options; o++) {
            /* options of a name are not always at the same place, nor in every unit */
            p->units[u].names[o] = bl_format(arena, "option%d", (o + u) % 4);
            for (int m = -1; m < k; m++) {
                double x = whole ? (double)bl_rng_below(&r, 6) : bl_rng_unit(&r);
                if (negative) x -= whole ? 3 : 0.5;
                *(m < 0 ? &p->units[u].objective[o] : &p->units[u].cost[m][o]) = x;
            }
        }
        for (int m = 0; m < k; m++) {
            double lo = INFINITY, hi = -INFINITY;
            for (int o = 0; o < options; o++) {
                lo = fmin(lo, p->units[u].cost[m][o]);
                hi = fmax(hi, p->units[u].cost[m][o]);
            }
            low[m] += lo;
            high[m] += hi;
        }
    }
    for (int m = 0; m < k; m++) {
        p->budget_names[m] = bl_format(arena, "budget%d", m);
        p->limits[m] = low[m] + (high[m] - low[m]) * (bl_rng_unit(&r) * 0.9 - 0.05);
        if (whole) p->limits[m] = floor(p->limits[m]);
    }
    for (int t = 0; index % 3 == 0 && t < 2; t++) {
        int pair[3] = {(int)bl_rng_below(&r, (uint64_t)n), (int)bl_rng_below(&r, (uint64_t)n),
                       (int)bl_rng_below(&r, (uint64_t)n)};
        tie_add(arena, p, 2, pair, 2 + (int)bl_rng_below(&r, 2));
    }
    return p;
}

/* Layers of 16 options, weights and activations of 2, 4, 6, 8 bits: latency ~ macs w a, bytes,
 * traffic, each with 10 % noise, a sensitivity that falls 4x a bit.  blocks > 0: so many different
 * layers, repeated without noise, as in transformers. */
static bl_mckp *network(bl_arena *arena, uint64_t seed, int n, int k, double share, bool ties,
                        int blocks)
{
    static const int bits[4] = {2, 4, 6, 8};
    bl_rng r = bl_rng_make(seed, "knapsack network",
                           (uint64_t)(n * 100 + k * 10 + ties * 2 + (share > 0.4)));
    bl_mckp *p = bl_mckp_new(arena, n, k);
    double full[4] = {0}, (*shape)[5] = bl_alloc(arena, (size_t)n, sizeof *shape);
    for (int u = 0; u < n; u++) {
        char name[24];
        double *s = shape[blocks ? u % blocks : u], noise = blocks ? 0 : 0.1;
        snprintf(name, sizeof name, "layer%d", u);
        assert_int_equal(bl_mckp_unit_new(arena, p, u, name, 16), BL_OK);
        for (int i = 0; i < 5; i++) {
            static const double size[5] = {1e6, 1e5, 1e4, 1, 1};
            double drawn = size[i] * exp((i < 3 ? 1 : 1.5) * bl_rng_normal(&r));
            if (!blocks || u < blocks) s[i] = drawn;
        }
        for (int o = 0; o < 16; o++) {
            int w = bits[o / 4], a = bits[o % 4];
            double shake = 1 + noise * (2 * bl_rng_unit(&r) - 1);
            double jitter = 1 + noise * (2 * bl_rng_unit(&r) - 1);
            double cost[4] = {s[0] * w * a * jitter, s[1] * w / 8, s[2] * a + 0.3 * s[1] * w,
                              s[0] * (w + a)};
            p->units[u].names[o] = bl_format(arena, "w%da%d", w, a);
            p->units[u].objective[o] = (s[3] * pow(4, 2 - w) + s[4] * pow(4, 2 - a)) * shake;
            for (int m = 0; m < k; m++) p->units[u].cost[m][o] = cost[m];
            for (int m = 0; m < k && o == 15; m++) full[m] += cost[m];
        }
    }
    for (int m = 0; m < k; m++) {
        static const char *const budget[4] = {"latency", "bytes", "traffic", "energy"};
        p->budget_names[m] = budget[m];
        p->limits[m] = full[m] * share * (m == 0 ? 0.75 : 1);
    }
    for (int u = 0; ties && u + 1 < n;) {
        int group[5], size = 2 + (int)bl_rng_below(&r, 4);
        size = BL_MIN(size, n - u);
        if (bl_rng_unit(&r) < 0.5) {
            u++;
            continue;
        }
        for (int i = 0; i < size; i++) group[i] = u++;
        tie_add(arena, p, n, group, size);
    }
    return p;
}

/* ------------------------------------------------------------------ enumeration */

typedef struct brute {
    bool feasible;
    double objective, first; /* and the first budget's cost */
    double excess;           /* least largest excess of all plans */
    int choice[8];
} brute;

static bool tied_well(const bl_mckp *p, const int *choice)
{
    for (int t = 0; t < p->n_ties; t++)
        for (int i = 1; i < p->ties[t].n; i++) {
            int a = p->ties[t].units[0], b = p->ties[t].units[i];
            if (strcmp(p->units[a].names[choice[a]], p->units[b].names[choice[b]]) != 0)
                return false;
        }
    return true;
}

static double cost_of(const bl_mckp *p, const int *choice, int m)
{
    double sum = 0;
    for (int u = 0; u < p->n_units; u++)
        sum += m < 0 ? p->units[u].objective[choice[u]] : p->units[u].cost[m][choice[u]];
    return sum;
}

static double excess_of(const bl_mckp *p, const int *choice)
{
    double most = -INFINITY;
    for (int m = 0; m < p->n_budgets; m++) {
        double scale = p->limits[m] != 0 ? fabs(p->limits[m]) : 1;
        most = fmax(most, (cost_of(p, choice, m) - p->limits[m]) / scale);
    }
    return most;
}

/* The first in the solver's order of plans: they come from wide to narrow in the front units, so
 * the first of equals stays. */
static brute enumerate(const bl_mckp *p)
{
    brute best = {.excess = INFINITY};
    int choice[8];
    for (int u = 0; u < p->n_units; u++) choice[u] = p->units[u].n_options - 1;
    for (;;) {
        if (tied_well(p, choice)) {
            double v = cost_of(p, choice, -1), c = p->n_budgets ? cost_of(p, choice, 0) : 0;
            double excess = excess_of(p, choice);
            best.excess = fmin(best.excess, excess);
            if (excess <= 1e-12 &&
                (!best.feasible || v < best.objective || (v == best.objective && c < best.first))) {
                best.feasible = true;
                best.objective = v;
                best.first = c;
                memcpy(best.choice, choice, sizeof choice);
            }
        }
        int u = p->n_units - 1;
        while (u >= 0 && choice[u] == 0) {
            choice[u] = p->units[u].n_options - 1;
            u--;
        }
        if (u < 0) return best;
        choice[u]--;
    }
}

/* What every result must satisfy. */
static void check_result(const bl_mckp *p, const bl_mckp_result *r)
{
    double size = 1e-9;
    for (int u = 0; u < p->n_units; u++)
        size = fmax(size, fabs(p->units[u].objective[r->choice[u]]) * p->n_units);
    assert_true(tied_well(p, r->choice));
    assert_true(fabs(r->objective - cost_of(p, r->choice, -1)) <= 1e-12 * size);
    for (int m = 0; m < p->n_budgets; m++) {
        assert_true(r->multipliers[m] >= 0);
        assert_true(fabs(r->costs[m] - cost_of(p, r->choice, m)) <= 1e-9 * (1 + fabs(r->costs[m])));
        if (r->status != BL_MCKP_INFEASIBLE)
            assert_true(r->costs[m] <=
                        p->limits[m] + 1.001e-12 * fabs(p->limits[m]) + 1e-13 * size);
    }
    if (r->status == BL_MCKP_INFEASIBLE) return;
    assert_true(r->bound <= r->objective);
    if (!(r->root_bound <= r->bound)) fail_msg("root bound %g, bound %g", r->root_bound, r->bound);
    if (r->status == BL_MCKP_OPTIMAL) assert_true(r->objective - r->bound <= 1e-10 * size);
    assert_int_equal(r->binding, -1);
}

static void solve(bl_ctx *ctx, const bl_mckp *p, const bl_mckp_limits *limits, bl_arena *arena,
                  bl_mckp_result *r)
{
    assert_ok(ctx, bl_mckp_solve(ctx, p, limits, arena, r));
    check_result(p, r);
}

static bool common_options(const bl_mckp *p, bl_ctx *ctx)
{
    return bl_mckp_check(ctx, "test", p) == BL_OK;
}

static void brute_force(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 0);
    int feasible = 0, infeasible = 0, apart = 0;
    for (uint64_t index = 0; feasible + infeasible < 400; index++) {
        bl_arena *arena = bl_arena_new(ctx, "test");
        bl_mckp *p = random_small(arena, index);
        bl_mckp_result r, tree;
        bl_mckp_limits branch_only = {.labels = 1};
        if (!common_options(p, ctx)) {
            apart++;
            bl_arena_free(arena);
            continue;
        }
        brute best = enumerate(p);
        solve(ctx, p, NULL, arena, &r);
        solve(ctx, p, &branch_only, arena, &tree);
        assert_int_equal(r.status, best.feasible ? BL_MCKP_OPTIMAL : BL_MCKP_INFEASIBLE);
        assert_int_equal(tree.status, r.status);
        if (best.feasible) {
            feasible++;
            assert_true(fabs(r.objective - best.objective) <= 1e-12);
            assert_true(fabs(tree.objective - best.objective) <= 1e-12);
            if (memcmp(r.choice, best.choice, (size_t)p->n_units * sizeof(int)) != 0)
                fail_msg("problem %d: not the first of equal plans", (int)index);
        } else {
            infeasible++;
            assert_true(fabs(r.excess - excess_of(p, r.choice)) <= 1e-12 * (1 + r.excess));
            assert_true(r.excess <= best.excess + 1e-6 * fabs(best.excess) + 1e-12);
            assert_true(r.excess_bound <= best.excess * (1 + 1e-12) + 1e-12);
            assert_true(r.binding >= 0 && r.binding < p->n_budgets);
        }
        bl_arena_free(arena);
    }
    print_message("400 problems: %d with a plan, %d without (and %d refused)\n", feasible,
                  infeasible, apart);
    assert_true(feasible > 100 && infeasible > 40 && apart > 0);
    test_ctx_free(ctx);
}

/* ------------------------------------------------------------------ HAWQ-V3 */

static double real_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

/* Omega = trace |dw|^2 at 4 and 8 bits, one budget, limit as printed in the file. */
static bl_mckp *hawq_problem(bl_arena *arena, const json_t *net, const json_t *one)
{
    const json_t *layers = json_object_get(net, "layers"), *ties = json_object_get(net, "ties");
    const char *kind = json_string_value(json_object_get(one, "constraint"));
    int n = (int)json_array_size(layers), n_ties = (int)json_array_size(ties);
    bl_mckp *p = bl_mckp_new(arena, n, 1);
    p->budget_names[0] = kind;
    p->limits[0] = real_of(one, "limit");
    for (int u = 0; u < n; u++) {
        const json_t *l = json_array_get(layers, (size_t)u);
        const char *name = json_string_value(json_object_get(l, "name"));
        assert_int_equal(bl_mckp_unit_new(arena, p, u, name, 2), BL_OK);
        for (int o = 0; o < 2; o++) {
            p->units[u].names[o] = o ? "8" : "4";
            p->units[u].objective[o] =
                real_of(l, "trace") * real_of(l, o ? "dw2_int8" : "dw2_int4");
            double cost = strcmp(kind, "latency") == 0 ? real_of(l, o ? "lat_int8" : "lat_int4")
                          : strcmp(kind, "bops") == 0  ? real_of(l, "macs_millions") / (o ? 16 : 64)
                                                       : real_of(l, "params") * (o ? 1 : 0.5);
            p->units[u].cost[0][o] = cost;
        }
    }
    for (int t = 0; t < n_ties; t++) {
        const json_t *pair = json_array_get(ties, (size_t)t);
        int units[2] = {(int)json_integer_value(json_array_get(pair, 0)),
                        (int)json_integer_value(json_array_get(pair, 1))};
        tie_add(arena, p, n_ties, units, 2);
    }
    return p;
}

static void hawq(const char *file, const char *key)
{
    char path[512];
    test_shared(file, path);
    bl_ctx *ctx = test_ctx(1, 0);
    json_t *root;
    assert_ok(ctx, bl_json_read(ctx, path, &root));
    const json_t *net = json_object_get(root, key), *cases = json_object_get(net, "cases");
    assert_int_equal(json_array_size(cases), 9);
    for (size_t c = 0; c < json_array_size(cases); c++) {
        const json_t *one = json_array_get(cases, c), *bits = json_object_get(one, "optimal_bits");
        bl_arena *arena = bl_arena_new(ctx, "test");
        bl_mckp *p = hawq_problem(arena, net, one);
        bl_mckp_result r;
        double narrow = 0;
        solve(ctx, p, NULL, arena, &r);
        assert_int_equal(r.status, BL_MCKP_OPTIMAL);
        for (int u = 0; u < p->n_units; u++) {
            narrow += p->units[u].objective[0];
            assert_int_equal(r.choice[u] ? 8 : 4,
                             json_integer_value(json_array_get(bits, (size_t)u)));
        }
        assert_true(fabs(r.costs[0] - real_of(one, "optimal_cost")) <= 1e-9);
        assert_true(fabs(narrow - r.objective - real_of(one, "optimal_gain")) <= 1e-9);
        bl_arena_free(arena);
    }
    json_decref(root);
    test_ctx_free(ctx);
}

static void hawq_resnet18(void **state)
{
    (void)state;
    hawq("data/golden/hawq_resnet18_ilp.json", "resnet18");
}

static void hawq_resnet50(void **state)
{
    (void)state;
    hawq("data/golden/hawq_resnet50_ilp.json", "resnet50");
}

/* ------------------------------------------------------------------ networks */

static double solve_timed(bl_ctx *ctx, uint64_t seed, int n, int k, double share, bool ties,
                          int blocks)
{
    bl_arena *arena = bl_arena_new(ctx, "test");
    bl_mckp *p = network(arena, seed, n, k, share, ties, blocks);
    bl_mckp_result r;
    bl_mckp_limits limits = {.nodes = 5000000}; /* an end, not a clock */
    solve(ctx, p, &limits, arena, &r);
    print_message("%3d layers, %d budgets, %.1f, %s%s, seed %d: %.9g, root gap %.3f %%, %d rounds, "
                  "%llu labels, %llu nodes, %.3f s\n",
                  n, k, share, ties ? "tied" : "free", blocks ? ", blocks" : "", (int)seed,
                  r.objective, 100 * (r.objective - r.root_bound) / r.objective, (int)r.rounds,
                  (unsigned long long)r.labels, (unsigned long long)r.nodes, r.seconds);
    assert_int_equal(r.status, BL_MCKP_OPTIMAL);
    double seconds = r.seconds;
    bl_arena_free(arena);
    return seconds;
}

static void networks(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 0);
    bool full = getenv("BL_TEST_LONG") != NULL;
    double most = 0;
    /* short: seeds 1 and 3 with half the budget, seed 2 with less */
    for (int blocks = 0; blocks <= (full ? 6 : 0); blocks += 6)
        for (int k = 1; k <= (full && !blocks ? 4 : 3); k++)
            for (int n = 50; n <= 150; n += 50)
                for (int ties = 0; ties < 2; ties++)
                    for (uint64_t seed = 1; seed <= 3; seed++)
                        for (int half = 0; half < 2; half++)
                            if (full || half == (int)seed % 2)
                                most = fmax(most, solve_timed(ctx, seed, n, k, half ? 0.5 : 0.3,
                                                              ties, blocks));
    if (full)
        for (int k = 1; k <= 3; k++) most = fmax(most, solve_timed(ctx, 1, 300, k, 0.5, true, 0));
    print_message("slowest: %.3f s\n", most);
    test_ctx_free(ctx);
}

/* Objectives that fall as costs rise, so that many labels live and the first plan is seldom the
 * best.  divisor 1: whole multiples of six, a step that the solver uses; 7: the same without. */
static bl_mckp *correlated(bl_arena *arena, uint64_t seed, int k, double divisor)
{
    bl_rng r = bl_rng_make(seed, "knapsack correlated", 0);
    bl_mckp *p = bl_mckp_new(arena, 18, k);
    for (int u = 0; u < p->n_units; u++) {
        assert_int_equal(bl_mckp_unit_new(arena, p, u, "unit", 5), BL_OK);
        for (int o = 0; o < 5; o++) {
            double sum = 0;
            for (int m = 0; m < k; m++)
                sum += p->units[u].cost[m][o] = (double)bl_rng_below(&r, 1000);
            p->units[u].names[o] = bl_format(arena, "%d", o);
            p->units[u].objective[o] =
                6 * floor(300.0 * k - 0.2 * sum + 30 * bl_rng_unit(&r)) / divisor;
        }
    }
    for (int m = 0; m < k; m++) p->limits[m] = 400 * p->n_units;
    return p;
}

/* Labels and branch and bound share nothing but the bounds. */
static void two_ways(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 0);
    bl_mckp_limits branch_only = {.labels = 1, .nodes = 3000000};
    uint64_t labels = 0, nodes = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        bl_arena *arena = bl_arena_new(ctx, "test");
        int kind = (int)seed % 3, k = 1 + (int)(seed / 3 % 3);
        bl_mckp *p = kind == 0   ? correlated(arena, seed, k, 1)
                     : kind == 1 ? network(arena, seed, 40, k, 0.3, seed % 2, 0)
                                 : network(arena, seed, 20, k, 0.5, false, 3);
        bl_mckp *q = kind == 0 ? correlated(arena, seed, k, 7) : p;
        double ratio = kind == 0 ? 7 : 1;
        bl_mckp_result r, tree;
        solve(ctx, p, &branch_only, arena, &tree);
        solve(ctx, q, NULL, arena, &r);
        assert_int_equal(r.status, BL_MCKP_OPTIMAL);
        assert_int_equal(tree.status, BL_MCKP_OPTIMAL);
        if (fabs(tree.objective - ratio * r.objective) > 1e-11 * fabs(tree.objective))
            fail_msg("seed %d: %.17g by branching, %.17g by labels", (int)seed, tree.objective,
                     ratio * r.objective);
        labels += r.labels;
        nodes += tree.nodes;
        bl_arena_free(arena);
    }
    print_message("60 problems two ways: %llu labels, %llu nodes\n", (unsigned long long)labels,
                  (unsigned long long)nodes);
    assert_true(labels > 1000 && nodes > 1000);
    test_ctx_free(ctx);
}

/* 100,000 units: nothing may be quadratic. */
static void many_units(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 0);
    bl_arena *arena = bl_arena_new(ctx, "test");
    bl_rng rng = bl_rng_make(3, "knapsack many", 0);
    bl_mckp *p = bl_mckp_new(arena, BL_MCKP_UNITS_MAX, 1);
    bl_mckp_result r;
    for (int u = 0; u < p->n_units; u++) {
        assert_int_equal(bl_mckp_unit_new(arena, p, u, "unit", 3), BL_OK);
        for (int o = 0; o < 3; o++) {
            p->units[u].names[o] = o == 0 ? "narrow" : o == 1 ? "middle" : "wide";
            p->units[u].cost[0][o] = (o + 1) * (1 + bl_rng_unit(&rng));
            p->units[u].objective[o] = (2 - o) * (1 + bl_rng_unit(&rng));
        }
    }
    p->limits[0] = 2.7 * p->n_units;
    solve(ctx, p, NULL, arena, &r);
    print_message("100000 units: %.3f s, gap %.1e\n", r.seconds, r.gap);
    assert_int_equal(r.status, BL_MCKP_OPTIMAL);
    bl_arena_free(arena);
    test_ctx_free(ctx);
}

/* Units alike: the front ones get the wider option, and the result is the same every time. */
static void order_among_equals(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 0), *four = test_ctx(4, 0);
    bl_arena *arena = bl_arena_new(ctx, "test");
    bl_mckp *p = bl_mckp_new(arena, 12, 2);
    bl_mckp_result r, again;
    for (int u = 0; u < 12; u++) {
        assert_int_equal(bl_mckp_unit_new(arena, p, u, "unit", 3), BL_OK);
        for (int o = 0; o < 3; o++) {
            p->units[u].names[o] = o == 0 ? "narrow" : o == 1 ? "middle" : "wide";
            p->units[u].cost[0][o] = o;
            p->units[u].cost[1][o] = 0.1 * o; /* ten tenths are one, whatever the order of adding */
            p->units[u].objective[o] = o == 0 ? 5 : o == 1 ? 1 : 0;
        }
    }
    p->limits[0] = 15;
    p->limits[1] = 1.5;
    for (int pass = 0; pass < 2; pass++) {
        bl_mckp_limits limits = {.labels = pass}; /* labels; then branch and bound */
        solve(ctx, p, &limits, arena, &r);
        assert_ok(four, bl_mckp_solve(four, p, &limits, arena, &again));
        assert_int_equal(r.status, BL_MCKP_OPTIMAL);
        assert_true(r.objective == 9);
        for (int u = 0; u < 12; u++) {
            assert_int_equal(r.choice[u], u < 3 ? 2 : 1);
            assert_int_equal(again.choice[u], r.choice[u]);
        }
        assert_memory_equal(again.multipliers, r.multipliers, sizeof r.multipliers);
        assert_true(again.labels == r.labels && again.nodes == r.nodes && again.bound == r.bound);
    }
    bl_arena_free(arena);
    test_ctx_free(ctx);
    test_ctx_free(four);
}

/* One option a budget cannot hold by itself, numbers far apart, limits met exactly. */
static void extremes(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 0);
    static const double scale[] = {1e-290, 1e-30, 1, 1e30, 1e190};
    for (size_t s = 0; s < BL_COUNTOF(scale); s++)
        for (size_t c = 0; c < BL_COUNTOF(scale); c++) {
            bl_arena *arena = bl_arena_new(ctx, "test");
            bl_mckp *p = bl_mckp_new(arena, 3, 1);
            bl_mckp_result r;
            for (int u = 0; u < 3; u++) {
                assert_int_equal(bl_mckp_unit_new(arena, p, u, "unit", 4), BL_OK);
                for (int o = 0; o < 4; o++) {
                    p->units[u].names[o] = o == 0 ? "0" : o == 1 ? "1" : o == 2 ? "2" : "3";
                    p->units[u].objective[o] = scale[s] * (o == 3 ? 0 : 9 - 2 * o - u);
                    p->units[u].cost[0][o] = o == 3 ? 1e200 : scale[c] * 0.1 * (o + 1);
                }
            }
            p->limits[0] = scale[c] * (0.1 + 0.2 + 0.3); /* 0.6000000000000001 */
            solve(ctx, p, NULL, arena, &r);
            assert_int_equal(r.status, BL_MCKP_OPTIMAL);
            assert_true(fabs(r.objective / scale[s] - 18) <= 1e-9);
            assert_int_equal(r.choice[0] + r.choice[1] + r.choice[2], 3);
            bl_arena_free(arena);
        }
    test_ctx_free(ctx);
}

static void no_plan(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 0);
    bl_arena *arena = bl_arena_new(ctx, "test");
    bl_mckp *p = network(arena, 1, 50, 3, 0.5, true, 0);
    bl_mckp_result r;
    p->limits[1] *= 0.3;
    solve(ctx, p, NULL, arena, &r);
    assert_int_equal(r.status, BL_MCKP_INFEASIBLE);
    assert_int_equal(r.proof, BL_MCKP_ROOT);
    assert_int_equal(r.binding, 1);
    assert_true(r.excess > 0 && r.excess_bound > 0 && r.excess - r.excess_bound <= 1e-6 * r.excess);
    assert_true(isinf(r.bound));
    /* in every unit the narrowest weights, which is all that the bytes can give */
    for (int u = 0; u < p->n_units; u++) assert_int_equal(r.choice[u] / 4, 0);
    bl_arena_free(arena);
    test_ctx_free(ctx);
}

/* ------------------------------------------------------------------ limits */

static void limits_hold(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 0);
    bl_arena *arena = bl_arena_new(ctx, "test");
    bl_mckp *p = network(arena, 3, 100, 2, 0.3, false, 0);
    bl_mckp_result best, r;
    solve(ctx, p, NULL, arena, &best);
    assert_int_equal(best.status, BL_MCKP_OPTIMAL);
    bl_mckp_limits few = {.labels = 1, .nodes = 50}, hurry = {.seconds = 1e-9};
    for (int i = 0; i < 2; i++) {
        solve(ctx, p, i ? &hurry : &few, arena, &r);
        assert_int_equal(r.status, BL_MCKP_FEASIBLE);
        assert_int_equal(r.proof, BL_MCKP_LIMIT);
        assert_true(r.objective >= best.objective && r.bound <= best.objective);
        assert_true(r.gap > 0 && r.gap < 0.2);
    }
    /* the memory ceiling ends the labels, not the search */
    bl_ctx *small = test_ctx(1, 2 << 20);
    bl_arena *own = bl_arena_new(small, "test");
    bl_mckp *q = network(own, 3, 50, 3, 0.5, false, 0);
    solve(small, q, NULL, own, &r);
    assert_int_equal(r.status, BL_MCKP_OPTIMAL);
    bl_arena_free(own);
    test_ctx_free(small);
    bl_interrupt(ctx);
    r.objective = 123;
    assert_int_equal(bl_mckp_solve(ctx, p, NULL, arena, &r), BL_INTERRUPTED);
    assert_true(r.objective == 123);
    bl_arena_free(arena);
    test_ctx_free(ctx);
}

static void failing_memory(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 0);
    bl_arena *arena = bl_arena_new(ctx, "test");
    for (int k = 2; k <= 4; k += 2) {
        bl_mckp *p = random_small(arena, k == 2 ? 33 : 16);
        if (k == 2) p = network(arena, 1, 50, 2, 0.5, true, 0);
        bl_mckp_result best, r;
        solve(ctx, p, NULL, arena, &best);
        int refused = 0;
        for (long n = 1;; n++) {
            ctx->fail_alloc = n;
            bl_status status = bl_mckp_solve(ctx, p, NULL, arena, &r);
            bool reached = ctx->fail_alloc <= 0;
            ctx->fail_alloc = -1;
            if (status == BL_OK)
                assert_true(r.status == best.status && r.objective == best.objective);
            else
                assert_int_equal(status, BL_UNAVAILABLE);
            refused += status != BL_OK;
            if (!reached) break;
        }
        assert_true(refused > 5);
    }
    bl_arena_free(arena);
    test_ctx_free(ctx);
}

/* ------------------------------------------------------------------ another solver */

/* The objective that glpsol finds, NAN when it ends without a proof. */
static double glpsol(const char *folder, const char *path)
{
    char command[1024], line[256];
    double value = NAN;
    bool proven = false;
    snprintf(command, sizeof command,
             "glpsol --lp '%s' --tmlim 60 -o '%s/out.txt' > '%s/log.txt' 2>&1", path, folder,
             folder);
    assert_int_equal(system(command), 0);
    snprintf(command, sizeof command, "%s/out.txt", folder);
    FILE *file = fopen(command, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        if (strncmp(line, "Status:", 7) == 0) proven = strstr(line, "INTEGER OPTIMAL") != NULL;
        if (strncmp(line, "Objective:", 10) == 0) value = strtod(strchr(line, '=') + 1, NULL);
    }
    fclose(file);
    return proven ? value : NAN;
}

static void against_glpsol(void **state)
{
    (void)state;
    if (system("command -v glpsol > /dev/null 2>&1") != 0) {
        print_message("skipped: against_glpsol: glpsol is not installed\n");
        skip();
    }
    char folder[256], path[320];
    bl_ctx *ctx = test_ctx(1, 0);
    bool full = getenv("BL_TEST_LONG") != NULL;
    snprintf(path, sizeof path, "%s/p.lp", test_folder(folder));
    int compared = 0;
    for (int k = 1; k <= 3; k++)
        for (int n = 50; n <= (full ? 150 : 50); n += 50)
            for (int ties = 0; ties < 2; ties++)
                for (uint64_t seed = 1; seed <= (full ? 3 : 1); seed++) {
                    bl_arena *arena = bl_arena_new(ctx, "test");
                    bl_mckp *p = network(arena, seed, n, k, 0.3, ties, 0);
                    bl_mckp_result r;
                    solve(ctx, p, NULL, arena, &r);
                    assert_ok(ctx, bl_mckp_write_lp(ctx, p, path));
                    double other = glpsol(folder, path);
                    if (!isnan(other)) {
                        assert_true(fabs(other - r.objective) <= 1e-6 * fabs(r.objective));
                        compared++;
                    }
                    bl_arena_free(arena);
                }
    print_message("%d optima equal to glpsol's\n", compared);
    assert_true(compared >= 4);
    test_folder_remove(folder);
    test_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(brute_force),
        cmocka_unit_test(hawq_resnet18),
        cmocka_unit_test(hawq_resnet50),
        cmocka_unit_test(networks),
        cmocka_unit_test(two_ways),
        cmocka_unit_test(many_units),
        cmocka_unit_test(order_among_equals),
        cmocka_unit_test(extremes),
        cmocka_unit_test(no_plan),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(failing_memory),
        cmocka_unit_test(against_glpsol),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
