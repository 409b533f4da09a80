/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pareto-greedy: the list's order, the walks against brute force and the published counts, budgets and
 * floors on small networks.
 */
#include "tiny_search.h"

static const char *const walks[] = { "binary", "binary-interpolation", "interpolation", "reverse", "sequential" };

/* ------------------------------------------------------------------ walks */

typedef struct line {
    const double *value;
    int asked[256], n_asked;
} line;

static bl_status at(void *user, int position, double *out)
{
    line *l = user;
    assert_int_equal(l->asked[position]++, 0); /* once */
    l->n_asked++;
    *out = l->value[position];
    return BL_OK;
}

static int last_of(bl_ctx *ctx, const double *value, int n, double target, const char *walk, int *asked)
{
    line l = { .value = value };
    bl_curve c = { .n = n, .target = target, .value = at, .user = &l };
    int last = -7;
    assert_ok(ctx, bl_curve_last(ctx, &c, walk, &last, asked));
    assert_int_equal(*asked, l.n_asked);
    return last;
}

/* On falling curves, level stretches among them, every walk ends where looking everywhere ends. */
static void walks_find_the_last(void **state)
{
    bl_ctx *ctx = *state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        bl_rng r = bl_rng_make(seed, "curve", 0);
        double value[200], v = 100;
        int n = 1 + (int)bl_rng_below(&r, 200), want = -1, asked, log2n = 0;
        for (int i = 0; i < n; i++) value[i] = v -= bl_rng_below(&r, 3) ? 10 * pow(bl_rng_unit(&r), 1 + (double)(seed % 9)) : 0;
        double target = seed % 10 == 0 ? 101 : seed % 10 == 1 ? -1e9 : value[bl_rng_below(&r, (uint64_t)n)] - (seed % 2 ? 0 : 1e-9);
        for (int i = 0; i < n; i++)
            if (value[i] >= target) want = i;
        while (1 << log2n < n) log2n++;
        for (size_t k = 0; k < BL_COUNTOF(walks); k++) {
            assert_int_equal(last_of(ctx, value, n, target, walks[k], &asked), want);
            assert_true(asked >= 1 && asked <= n);
            if (k == 0) assert_true(asked <= log2n + 2);
        }
    }
    int asked;
    for (size_t k = 0; k < BL_COUNTOF(walks); k++) assert_int_equal(last_of(ctx, NULL, 0, 0, walks[k], &asked), -1);
}

/* Where the curve has a hole, going down ends before it and going up behind it; a NaN meets nothing. */
static void walks_and_holes(void **state)
{
    bl_ctx *ctx = *state;
    static const double hole[] = { 9, 8, 2, 7, 6, 1, 0 }, unknown[] = { 9, NAN, 8, NAN };
    int asked;
    assert_int_equal(last_of(ctx, hole, 7, 5, "sequential", &asked), 1);
    assert_int_equal(asked, 3);
    assert_int_equal(last_of(ctx, hole, 7, 5, "reverse", &asked), 4);
    assert_int_equal(asked, 3);
    assert_int_equal(last_of(ctx, unknown, 4, 5, "sequential", &asked), 0);
    assert_int_equal(last_of(ctx, unknown, 4, 5, "reverse", &asked), 2);
    assert_fails(ctx, bl_curve_check(ctx, "moonwalk"), BL_USAGE, "no such walk");
    assert_ok(ctx, bl_curve_check(ctx, NULL));
}

/* acc(i) = 1 - 0.5 (i/(n-1))^3, target acc(t) - 1e-9. */
static void walks_ask_as_often_as_published(void **state)
{
    bl_ctx *ctx = *state;
    char path[512];
    json_t *all, *cases, *one;
    size_t i;
    assert_ok(ctx, bl_json_read(ctx, test_shared("data/golden/pmp_search_counts.json", path), &all));
    assert_ok(ctx, bl_json_array(ctx, all, "cases", path, 100, &cases));
    assert_true(json_array_size(cases) >= 6);
    json_array_foreach(cases, i, one) {
        int n = (int)json_integer_value(json_object_get(one, "n")), t = (int)json_integer_value(json_object_get(one, "t"));
        double value[256];
        assert_true(n > 1 && n <= 256);
        for (int k = 0; k < n; k++) value[k] = 1 - 0.5 * pow((double)k / (n - 1), 3);
        static const char *const names[] = { "sequential", "binary", "interpolation" };
        for (size_t w = 0; w < BL_COUNTOF(names); w++) {
            const json_t *want = json_object_get(one, names[w]);
            int asked, last = last_of(ctx, value, n, value[t] - 1e-9, names[w], &asked);
            assert_int_equal(last, json_integer_value(json_object_get(want, "index")));
            assert_int_equal(asked, json_integer_value(json_object_get(want, "evals")));
        }
    }
    json_decref(all);
}

/* ------------------------------------------------------------------ the list */

static void list_is_sorted(void **state)
{
    (void)state;
    /* In the order they must end in: by harm, more bits, more BOPs saved, the earlier unit. */
    static const bl_flip want[] = {
        { .unit = 9, .candidate = 1, .objective = 0.1, .bits = 4, .bops_saved = 0 },
        { .unit = 8, .candidate = 2, .objective = 0.2, .bits = 16, .bops_saved = 1 },
        { .unit = 1, .candidate = 2, .objective = 0.2, .bits = 12, .bops_saved = 7 },
        { .unit = 0, .candidate = 2, .objective = 0.2, .bits = 12, .bops_saved = 5 },
        { .unit = 2, .candidate = 1, .objective = 0.2, .bits = 12, .bops_saved = 5 },
        { .unit = 2, .candidate = 3, .objective = 0.2, .bits = 12, .bops_saved = 5 },
        { .unit = 0, .candidate = 1, .objective = 0.3, .bits = 99, .bops_saved = 99 } };
    enum { N = BL_COUNTOF(want) };
    for (uint64_t seed = 0; seed < 50; seed++) {
        bl_flip list[N];
        uint32_t order[N];
        bl_rng r = bl_rng_make(seed, "order", 0);
        for (uint32_t i = 0; i < N; i++) order[i] = i;
        bl_rng_shuffle(&r, order, N);
        for (size_t i = 0; i < N; i++) list[i] = want[order[i]];
        bl_flips_sort(list, N);
        for (size_t i = 0; i < N; i++) assert_true(list[i].unit == want[i].unit && list[i].candidate == want[i].candidate);
    }
}

static table table_new(uint64_t seed)
{
    bl_menu_options o = bl_menu_options_default();
    assert_true(bl_menu_pairs("W2A4 W8A8 W4A8,W2A8 W4A4 W8A4", &o));
    return table_make(tiny_residual, &o, seed, false);
}

static double sum_of(const table *b, bl_metric m, const int *choice)
{
    double sum = 0;
    for (int u = 0; u < b->t->menu->n_units; u++) sum += b->prices->column[m][u][choice[u]];
    return sum;
}

/* Entry by entry harm rises and a unit's work falls; at the end every unit is at its least. */
static void list_falls_in_cost(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 30; seed++) {
        table b = table_new(seed);
        bl_flip *list;
        int n, now[64] = { 0 };
        assert_ok(b.t->ctx, bl_flips_make(b.t->ctx, &b.in, b.a, &list, &n));
        assert_true(n >= 2);
        for (int i = 0; i < n; i++) {
            int u = list[i].unit;
            const double *bops = b.prices->column[BL_M_BOPS][u];
            if (i) assert_true(list[i].objective >= list[i - 1].objective);
            assert_true(list[i].objective == b.sens->cell[u][list[i].candidate].objective);
            assert_true(bops[list[i].candidate] < bops[now[u]]);
            now[u] = list[i].candidate;
        }
        for (int u = 0; u < b.t->menu->n_units; u++)
            for (int c = 0; c < b.t->menu->units[u].n_candidates; c++)
                assert_true(b.prices->column[BL_M_BOPS][u][now[u]] <= b.prices->column[BL_M_BOPS][u][c]);
        table_free(&b);
    }
}

/* A budget on size: widths of activations do not help, so nobody narrows them. */
static void list_leaves_what_costs_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        table b = table_new(seed);
        bl_budget budget[2] = { { .metric = BL_M_SIZE, .limit = 100, .relative = NAN }, { .metric = BL_M_BOPS, .limit = 1e4, .relative = NAN } };
        bl_flip *list;
        int n, both;
        b.in.budgets = budget;
        b.in.n_budgets = 1;
        assert_ok(b.t->ctx, bl_flips_make(b.t->ctx, &b.in, b.a, &list, &n));
        double now[64];
        for (int u = 0; u < b.t->menu->n_units; u++) now[u] = b.prices->column[BL_M_SIZE][u][0];
        for (int i = 0; i < n; i++) {
            double bytes = b.prices->column[BL_M_SIZE][list[i].unit][list[i].candidate];
            assert_true(bytes < now[list[i].unit]);
            now[list[i].unit] = bytes;
        }
        b.in.n_budgets = 2;
        assert_ok(b.t->ctx, bl_flips_make(b.t->ctx, &b.in, b.a, &list, &both));
        assert_true(both >= n);
        budget[1].metric = BL_M_LATENCY;
        assert_fails(b.t->ctx, bl_flips_make(b.t->ctx, &b.in, b.a, &list, &n), BL_UNAVAILABLE, "does not price it");
        table_free(&b);
    }
}

/* ------------------------------------------------------------------ budgets and floors */

/* The plan of a position, and whether it keeps a budget on BOPs. */
static void stand_at(const table *b, const bl_flip *list, int position, int *choice)
{
    memset(choice, 0, (size_t)b->t->menu->n_units * sizeof *choice);
    for (int i = 0; i <= position; i++) choice[list[i].unit] = list[i].candidate;
}

static void budgets_take_the_first(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 30; seed++) {
        table b = table_new(seed);
        bl_rng r = bl_rng_make(seed, "budget", 0);
        bl_flip *list;
        int n, none[64] = { 0 }, choice[64], k;
        bl_metric metric = seed % 2 ? BL_M_BOPS : BL_M_SIZE;
        bl_budget budget = { .metric = metric, .relative = NAN, .limit = sum_of(&b, metric, none) * (0.05 + bl_rng_unit(&r)) };
        b.in.budgets = &budget;
        b.in.n_budgets = 1;
        assert_ok(b.t->ctx, bl_flips_make(b.t->ctx, &b.in, b.a, &list, &n));
        for (k = -1; k < n; k++) {
            stand_at(&b, list, k, choice);
            if (sum_of(&b, metric, choice) <= budget.limit) break;
        }
        bl_search_result res = { 0 };
        assert_ok(b.t->ctx, bl_search_pareto_greedy(b.t->ctx, &b.in, b.a, &res));
        assert_int_equal(res.feasible, k < n);
        assert_int_equal(res.binding, k < n ? -1 : 0);
        if (k < n) assert_memory_equal(res.choice, choice, (size_t)b.t->menu->n_units * sizeof *choice);
        if (k < n) assert_int_equal(json_integer_value(json_object_get(res.solver, "position")), k);
        assert_false(res.judged);
        assert_int_equal(json_array_size(json_object_get(res.solver, "list")), n);
        json_decref(res.solver);
        table_free(&b);
    }
}

/* What the walk left is spent: budgets kept, no unit left whose raise fits and takes noise away, never below the optimum. */
static void what_is_left_is_spent(void **state)
{
    int spent = 0, feasible = 0;
    (void)state;
    for (uint64_t seed = 0; seed < 40; seed++) {
        table b = table_new(seed);
        const bl_menu *m = b.t->menu;
        bl_rng r = bl_rng_make(seed, "spend", 0);
        int none[64] = { 0 };
        bl_budget budget[2] = { { .metric = BL_M_SIZE, .relative = NAN, .limit = sum_of(&b, BL_M_SIZE, none) * (0.3 + 0.7 * bl_rng_unit(&r)) },
                                { .metric = BL_M_BOPS, .relative = NAN, .limit = sum_of(&b, BL_M_BOPS, none) * (0.3 + 0.7 * bl_rng_unit(&r)) } };
        bl_search_result walk = { 0 }, res = { 0 }, best = { 0 };
        b.in.budgets = budget;
        b.in.n_budgets = 1 + (int)(seed % 2);
        assert_ok(b.t->ctx, bl_search_pareto_greedy(b.t->ctx, &b.in, b.a, &walk));
        assert_null(json_object_get(walk.solver, "spent"));
        b.in.spend = true;
        assert_ok(b.t->ctx, bl_search_pareto_greedy(b.t->ctx, &b.in, b.a, &res));
        assert_ok(b.t->ctx, bl_search_knapsack(b.t->ctx, &b.in, b.a, &best));
        assert_int_equal(walk.feasible, res.feasible);
        if (!res.feasible) assert_memory_equal(walk.choice, res.choice, (size_t)m->n_units * sizeof *res.choice);
        else {
            feasible++;
            const json_t *how = json_object_get(res.solver, "spent");
            spent += json_integer_value(json_object_get(how, "moves")) > 0;
            assert_null(json_object_get(how, "exact")); /* nobody was asked */
            for (int i = 0; i < b.in.n_budgets; i++) assert_true(sum_of(&b, budget[i].metric, res.choice) <= budget[i].limit * (1 + 1e-9));
            assert_true(res.objective <= walk.objective && res.objective <= best.objective * (1 + 1e-9));
            for (int u = 0; u < m->n_units; u++) /* no raise of one unit is left */
                for (int c = 0, old = res.choice[u]; c < m->units[u].n_candidates; c++, res.choice[u] = old) {
                    res.choice[u] = c;
                    bool fits = true;
                    for (int i = 0; i < b.in.n_budgets; i++) fits &= sum_of(&b, budget[i].metric, res.choice) <= budget[i].limit;
                    if (fits) assert_true(bl_choice_objective(m, b.sens, res.choice) >= res.objective * (1 - 1e-9));
                }
        }
        json_decref(walk.solver);
        json_decref(res.solver);
        json_decref(best.solver);
        table_free(&b);
    }
    assert_true(spent > 5 && feasible > 10);
}

/* Where there is an oracle, the one of the three plans that it likes is taken: here it counts units that are not the walk's,
 * or not the exact plan's, as noise. */
typedef struct liking {
    const int *liked;
    int n, asked;
} liking;

static bl_status like(void *user, const int *choice, bl_score *out)
{
    liking *l = user;
    int other = 0;
    for (int u = 0; u < l->n; u++) other += choice[u] != l->liked[u];
    l->asked++;
    *out = (bl_score){ .sqnr_db = 30 - other };
    return BL_OK;
}

static void the_oracle_says_how(void **state)
{
    int differ = 0;
    (void)state;
    for (uint64_t seed = 0; seed < 40; seed++) {
        table b = table_new(seed);
        bl_rng r = bl_rng_make(seed, "spend", 0);
        int none[64] = { 0 };
        size_t bytes = (size_t)b.t->menu->n_units * sizeof(int);
        bl_budget budget = { .metric = BL_M_SIZE, .relative = NAN, .limit = sum_of(&b, BL_M_SIZE, none) * (0.3 + 0.7 * bl_rng_unit(&r)) };
        bl_search_result walk = { 0 }, exact = { 0 }, res = { 0 };
        b.in.budgets = &budget;
        b.in.n_budgets = 1;
        assert_ok(b.t->ctx, bl_search_pareto_greedy(b.t->ctx, &b.in, b.a, &walk));
        b.in.spend = true;
        assert_ok(b.t->ctx, bl_search_pareto_greedy(b.t->ctx, &b.in, b.a, &exact));
        for (int k = 0; k < 2 && walk.feasible; k++) {
            liking l = { .liked = k ? walk.choice : exact.choice, .n = b.t->menu->n_units };
            b.in.score = like;
            b.in.score_user = &l;
            assert_ok(b.t->ctx, bl_search_pareto_greedy(b.t->ctx, &b.in, b.a, &res));
            assert_memory_equal(res.choice, l.liked, bytes);
            const json_t *how = json_object_get(res.solver, "spent");
            assert_true(json_number_value(json_object_get(how, json_string_value(json_object_get(how, "taken")))) == 30);
            assert_true(l.asked >= 1 && l.asked <= 3);
            differ += l.asked > 1;
            json_decref(res.solver);
        }
        json_decref(walk.solver);
        json_decref(exact.solver);
        table_free(&b);
    }
    assert_true(differ > 5);
}

typedef struct judge {
    table *b;
    double base;
    int asked;
} judge;

static bl_status answer(void *user, const int *choice, bl_score *out)
{
    judge *j = user;
    double noise = j->base + bl_choice_objective(j->b->t->menu, j->b->sens, choice);
    j->asked++;
    *out = (bl_score){ .sqnr_db = -10 * log10(noise), .drop = noise, .top1 = 1 - noise };
    return BL_OK;
}

/* Every walk, with a judge whose answers fall: the last position above the floor, or the start, or nothing. */
static void floors_take_the_last(void **state)
{
    int starts = 0, middles = 0, nothings = 0;
    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        table b = table_new(seed);
        bl_rng r = bl_rng_make(seed, "floor", 0);
        judge j = { .b = &b, .base = 1e-3 };
        bl_floor floor = { BL_FLOOR_SQNR, seed % 8 == 7 ? 31 : 29.99 - 40 * pow(bl_rng_unit(&r), 3) };
        bl_flip *list;
        int n, choice[64], k;
        b.in.floors = &floor;
        b.in.n_floors = 1;
        b.in.judge = answer;
        b.in.judge_user = &j;
        b.in.walk = walks[seed % BL_COUNTOF(walks)];
        assert_ok(b.t->ctx, bl_flips_make(b.t->ctx, &b.in, b.a, &list, &n));
        bool falls = true; /* a later entry of a unit may do less harm: then walks may differ */
        double before = -1;
        for (int i = -1; i < n; i++) {
            stand_at(&b, list, i, choice);
            double noise = bl_choice_objective(b.t->menu, b.sens, choice);
            falls &= noise >= before;
            before = noise;
        }
        assert_true(falls); /* the list is sorted by harm, so it never does */
        for (k = n - 1; k >= -1; k--) {
            bl_score s;
            stand_at(&b, list, k, choice);
            assert_ok(b.t->ctx, answer(&j, choice, &s));
            if (s.sqnr_db >= floor.value) break;
        }
        j.asked = 0;
        bl_search_result res = { 0 };
        assert_ok(b.t->ctx, bl_search_pareto_greedy(b.t->ctx, &b.in, b.a, &res));
        assert_true(res.judged);
        assert_int_equal(res.feasible, k >= -1);
        assert_int_equal(json_integer_value(json_object_get(res.solver, "position")), BL_MAX(k, -1));
        assert_int_equal(json_integer_value(json_object_get(res.solver, "judged_plans")), j.asked);
        assert_int_equal(json_array_size(json_object_get(res.solver, "judged")), j.asked);
        if (k >= -1) assert_memory_equal(res.choice, choice, (size_t)b.t->menu->n_units * sizeof *choice);
        starts += k == -1;
        middles += k >= 0;
        nothings += k == -2;
        json_decref(res.solver);
        table_free(&b);
    }
    assert_true(starts > 0 && middles > 20 && nothings > 2);
}

/* A budget that asks for more than the floor allows: the plan in the budget, refused by the floor. */
static void floor_and_budget(void **state)
{
    (void)state;
    table b = table_new(3);
    judge j = { .b = &b, .base = 1e-3 };
    bl_floor floor = { BL_FLOOR_SQNR, 29.9 };
    int none[64] = { 0 };
    bl_budget budget = { .metric = BL_M_SIZE, .relative = NAN, .limit = 0.8 * sum_of(&b, BL_M_SIZE, none) };
    b.in.floors = &floor;
    b.in.n_floors = b.in.n_budgets = 1;
    b.in.budgets = &budget;
    b.in.judge = answer;
    b.in.judge_user = &j;
    bl_search_result res = { 0 };
    assert_ok(b.t->ctx, bl_search_pareto_greedy(b.t->ctx, &b.in, b.a, &res));
    assert_true(!res.feasible && res.judged && res.score.sqnr_db < 29.9);
    assert_true(sum_of(&b, BL_M_SIZE, res.choice) <= budget.limit);
    json_decref(res.solver);
    budget.limit = 1; /* nothing fits: nobody is asked */
    j.asked = 0;
    assert_ok(b.t->ctx, bl_search_pareto_greedy(b.t->ctx, &b.in, b.a, &res));
    assert_true(!res.feasible && !res.judged && res.binding == 0 && j.asked == 0);
    json_decref(res.solver);
    b.in.walk = "moonwalk";
    assert_fails(b.t->ctx, bl_search_pareto_greedy(b.t->ctx, &b.in, b.a, &res), BL_USAGE, "walk");
    table_free(&b);
}

/* ------------------------------------------------------------------ pairs */

static void pairs_are_menus(void **state)
{
    bl_ctx *ctx = *state;
    bl_menu_options o = bl_menu_options_default(), before;
    static const char *const bad[] = { "", " ,", "W4", "A8", "W4A", "A8W4", "W4A8x", "w4a8", "W-4A8", "W4A8;W8A8", "W0A8", "W4A8 W4A888" };
    for (size_t i = 0; i < BL_COUNTOF(bad); i++) {
        before = o;
        if (bl_menu_pairs(bad[i], &o)) fail_msg("\"%s\" is a list", bad[i]);
        assert_memory_equal(&o, &before, sizeof o);
    }
    assert_true(bl_menu_offers(&o, 4, 4) && bl_menu_offers(&o, 2, 8) && !bl_menu_offers(&o, 5, 8));
    assert_true(bl_menu_pairs("W4A8 W8A8,W8A16", &o));
    assert_true(bl_menu_offers(&o, 4, 8) && bl_menu_offers(&o, 8, 16) && !bl_menu_offers(&o, 4, 16) && !bl_menu_offers(&o, 2, 8));
    bl_graph *g = ob_prepared(tiny_residual(ctx));
    bl_menu *m;
    assert_ok(ctx, bl_menu_make(ctx, g, &o, &m));
    char name[16];
    const bl_unit *a = &m->units[bl_menu_find(m, "a")], *c = &m->units[bl_menu_find(m, "c")];
    assert_int_equal(a->n_candidates, 3); /* by (A, W), falling */
    assert_string_equal(bl_candidate_name(a->candidates[0], name), "W8A16");
    assert_string_equal(bl_candidate_name(a->candidates[1], name), "W8A8");
    assert_string_equal(bl_candidate_name(a->candidates[2], name), "W4A8");
    assert_int_equal(c->n_candidates, 2); /* no weights: A alone */
    assert_string_equal(bl_candidate_name(c->candidates[0], name), "A16");
    assert_int_equal(m->units[0].n_candidates, 1); /* an end */
    bl_menu_free(m);
    o.pair_w_bits[0] = 9;
    assert_fails(ctx, bl_menu_make(ctx, g, &o, &m), BL_USAGE, "9 bits");
    bl_graph_free(g);
}

/* AMP's groups: inputs of Add, Mul and Concat decide together, their outputs by themselves; what only moves
 * data belongs to its source; a network input goes with the weights that read it. */
static void groups_of_amp(void **state)
{
    bl_ctx *ctx = *state;
    onnx_build *b = ob_new(ctx, 13);
    ob_input(b, "x", "N,3,4,4");
    ob_floats(b, "w", "3,3,1,1", NULL);
    ob_floats(b, "v", "3,3,1,1", NULL);
    ob_floats(b, "z", "3,3,1,1", NULL);
    ob_floats(b, "q", "2,6,1,1", NULL);
    ob_node(b, "Conv", "x,w", "a");
    ob_node(b, "Conv", "x,v", "c");
    Onnx__NodeProto *pool = ob_node(b, "MaxPool", "a", "p");
    ob_ints_attr(pool, b, "kernel_shape", "1,1");
    ob_node(b, "Add", "p,c", "s");
    ob_node(b, "Conv", "s,z", "d");
    ob_node(b, "Sigmoid", "d", "e");
    ob_node(b, "Mul", "s,e", "m");
    ob_int_attr(ob_node(b, "Concat", "m,d", "k"), b, "axis", 1);
    ob_node(b, "Conv", "k,q", "y");
    ob_output(b, "y");
    bl_graph *g = ob_prepared(b);
    bl_menu_options o = bl_menu_options_default();
    bl_menu *m;
    o.equal_grids = true;
    assert_ok(ctx, bl_menu_make(ctx, g, &o, &m));
    static const struct { const char *value, *with; int layers; } want[] = {
        { "x", "x", 2 }, { "a", "a", 0 }, { "p", "a", 0 }, { "c", "a", 0 }, { "s", "s", 1 }, { "e", "s", 1 },
        { "d", "d", 0 }, { "m", "d", 0 }, { "k", "k", 1 }, { "y", "y", 0 } };
    for (size_t i = 0; i < BL_COUNTOF(want); i++) {
        int v = bl_graph_find_value(g, want[i].value);
        if (v < 0) continue; /* a pool of 1x1 may be folded away */
        int u = m->unit_of_value[v];
        assert_int_equal(u, m->unit_of_value[bl_graph_find_value(g, want[i].with)]);
        assert_int_equal(m->units[u].n_layers, want[i].layers);
    }
    assert_int_equal(m->n_units, 6);
    bl_menu_free(m);
    bl_graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(walks_find_the_last),
        cmocka_unit_test(walks_and_holes),
        cmocka_unit_test(walks_ask_as_often_as_published),
        cmocka_unit_test(list_is_sorted),
        cmocka_unit_test(list_falls_in_cost),
        cmocka_unit_test(list_leaves_what_costs_nothing),
        cmocka_unit_test(budgets_take_the_first),
        cmocka_unit_test(what_is_left_is_spent),
        cmocka_unit_test(the_oracle_says_how),
        cmocka_unit_test(floors_take_the_last),
        cmocka_unit_test(floor_and_budget),
        cmocka_unit_test(pairs_are_menus),
        cmocka_unit_test(groups_of_amp),
    };
    return cmocka_run_group_tests(tests, test_setup, test_teardown);
}
