/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Budgets and recipes as people write them, the searches against brute force on small networks, moves
 * under exact prices, and the allocations of the whole way failing in turn.  The solver: test_knapsack.
 */
#include "tiny_search.h"

/* ------------------------------------------------------------------ budgets */

static void budgets_of_every_form(void **state)
{
    static const struct { const char *text; bl_metric metric; double limit, relative; } good[] = {
        { "size=0.6", BL_M_SIZE, 0, 0.6 },         { "size=1", BL_M_SIZE, 0, 1 },
        { "size=10", BL_M_SIZE, 0, 10 },           { "size=1e-3", BL_M_SIZE, 0, 1e-3 },
        { "size=300KiB", BL_M_SIZE, 307200, NAN }, { "size=1.5MB", BL_M_SIZE, 1.5e6, NAN },
        { "size=4096", BL_M_SIZE, 4096, NAN },     { "size=64k", BL_M_SIZE, 65536, NAN },
        { "latency=0.8", BL_M_LATENCY, 0, 0.8 },   { "latency=2ms", BL_M_LATENCY, 2e6, NAN },
        { "latency=1.5us", BL_M_LATENCY, 1500, NAN }, { "latency=700ns", BL_M_LATENCY, 700, NAN },
        { "latency=1s", BL_M_LATENCY, 1e9, NAN },  { "bops=1e9", BL_M_BOPS, 1e9, NAN },
        { "bops=0.5", BL_M_BOPS, 0, 0.5 },         { "energy=1", BL_M_ENERGY, 0, 1 },
        { "energy=2.5mJ", BL_M_ENERGY, 2.5e6, NAN }, { "energy=3uJ", BL_M_ENERGY, 3000, NAN } };
    static const char *const bad[] = {
        "", "=", "size", "size=", "=0.5", "speed=0.5", "memory=0.5", "energy=11", "energy=2ms", "size=0", "size=-0.5", "size=nan",
        "size=inf", "size=x", "size=0.5x", "size=-300KiB", "size=0KiB", "latency=0", "latency=0ms", "latency=-2ms", "latency=11",
        "latency=2 parsecs", "latency=nanms", "latency=infms", "latency=300KiB", "latency=ms", "bops=0", "bops=-1", "bops=1e999",
        "bops=2ms", "bops=5KiB", "Size=0.5", " size=0.5", "size =0.5",
        "averyveryveryveryveryveryverylongname=0.5" };
    bl_ctx *ctx = *state;
    bl_budget b;
    for (size_t i = 0; i < BL_COUNTOF(good); i++) {
        assert_ok(ctx, bl_budget_parse(ctx, good[i].text, &b));
        assert_int_equal(b.metric, good[i].metric);
        if (isnan(good[i].relative)) assert_true(isnan(b.relative) && fabs(b.limit - good[i].limit) < 1e-6 * b.limit);
        else assert_true(b.relative == good[i].relative);
        const double base[BL_N_METRIC] = { 1000, 2000, 3000, 4000, 5000 };
        bl_budget_resolve(&b, base);
        double want = isnan(good[i].relative) ? good[i].limit : good[i].relative * base[good[i].metric];
        assert_true(fabs(b.limit - want) < 1e-9 * want);
    }
    for (size_t i = 0; i < BL_COUNTOF(bad); i++) {
        bl_status s = bl_budget_parse(ctx, bad[i], &b);
        if (s != BL_USAGE) fail_msg("\"%s\" gave %d", bad[i], (int)s);
        assert_true(bl_last_error(ctx).remedy[0] != 0);
    }
}

/* ------------------------------------------------------------------ recipes */

static void recipes_that_are_built_in(void **state)
{
    bl_ctx *ctx = *state;
    bl_arena *a = bl_arena_new(ctx, "recipes");
    bl_recipe r;
    assert_true(bl_recipe_count() >= 2);
    for (size_t i = 0; i < bl_recipe_count(); i++) {
        assert_ok(ctx, bl_recipe_load(ctx, a, bl_recipe_name(i), &r));
        assert_string_equal(r.name, bl_recipe_name(i));
        assert_true(r.about && *r.about && *bl_recipe_text(i));
        if (r.train) assert_true(r.n_settings > 0 && !r.search);
        else assert_non_null(bl_search_find(r.search));
        if (i) assert_true(strcmp(bl_recipe_name(i - 1), bl_recipe_name(i)) < 0);
    }
    assert_ok(ctx, bl_recipe_load(ctx, a, "mixed", &r));
    assert_int_equal(r.menu.n_w, 5);
    assert_int_equal(r.menu.a_bits[0], 4);
    assert_true(r.menu.keep_ends);
    assert_string_equal(r.sensitivity, "sqnr");
    assert_fails(ctx, bl_recipe_load(ctx, a, "apple-pie", &r), BL_USAGE, "unknown recipe");
    assert_fails(ctx, bl_recipe_load(ctx, a, "./apple.recipe", &r), BL_NOINPUT, "apple");
    bl_arena_free(a);
}

static void recipes_from_files(void **state)
{
    static const struct { const char *text, *what, *place; } bad[] = {
        { "", "unknown search", "" },
        { "search = knapsack\nsensitivity = sqnr\ntaste = sweet\n", "unknown key: \"taste\"", "line 3" },
        { "# a comment\n\nsearch = knapsack\n\nSearch = x", "unknown key: \"Search\"", "line 5" },
        { "search = knapsack", "needs a sensitivity", "" },
        { "search = guessing", "unknown search: \"guessing\"", "" },
        { "search = knapsack\nsensitivity = taste", "unknown sensitivity", "" },
        { "search = uniform\ntune = piano", "unknown tuner", "" },
        { "search uniform", "no `key = value`", "line 1" },
        { "= uniform", "unknown key", "line 1" },
        { "search = uniform\nweight_bits = 2 x", "not a list of widths", "line 2" },
        { "search = uniform\nweight_bits = 0", "not a list of widths", "line 2" },
        { "search = uniform\nweight_bits =", "not a list of widths", "line 2" },
        { "search = uniform\nact_bits = 17", "not a list of widths", "line 2" },
        { "act_bits = 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "not a list of widths", "line 1" },
        { "keep_ends = maybe", "neither yes, no nor small", "line 1" },
        { "calibrate = 0", "not a number of samples", "line 1" },
        { "calibrate = -3", "not a number of samples", "line 1" },
        { "sense = many", "not a number of samples", "line 1" },
        { "sense = 99999999999", "not a number of samples", "line 1" },
        { "search = \xff\xfe", "not a text file", "" } };
    bl_ctx *ctx = *state;
    bl_arena *a = bl_arena_new(ctx, "recipes");
    char folder[256], path[300];
    bl_recipe r;
    snprintf(path, sizeof path, "%.256s/own.recipe", test_folder(folder));
    for (size_t i = 0; i < BL_COUNTOF(bad); i++) {
        assert_ok(ctx, bl_write_file(ctx, path, bad[i].text, strlen(bad[i].text)));
        assert_fails(ctx, bl_recipe_load(ctx, a, path, &r), BL_DATA, bad[i].what);
        if (!strstr(bl_last_error(ctx).place, bad[i].place)) fail_msg("%s: %s", bl_last_error(ctx).place, bad[i].what);
    }
    assert_ok(ctx, bl_write_file(ctx, path, "search = uniform\0x", 18));
    assert_fails(ctx, bl_recipe_load(ctx, a, path, &r), BL_DATA, "not a text file");
    static const char good[] = "# own\r\n about =  mine, all mine  # not this\n\tsearch=uniform\nweight_bits = 4, 8 2\nact_bits=16\n"
                               "keep_ends = no\nequal_grids=yes\nper_tensor = yes\nnarrow=yes\ncalibrate = 7\nsense=9\n"
                               "act_range = minmax\nweight_range=percentile\ntarget = counted\ntune = none\nsearch = uniform";
    assert_ok(ctx, bl_write_file(ctx, path, good, strlen(good)));
    assert_ok(ctx, bl_recipe_load(ctx, a, path, &r));
    assert_string_equal(r.name, "own.recipe");
    assert_string_equal(r.about, "mine, all mine");
    assert_true(r.menu.n_w == 3 && r.menu.w_bits[0] == 4 && r.menu.w_bits[2] == 2 && r.menu.n_a == 1 && r.menu.a_bits[0] == 16);
    assert_true(!r.menu.keep_ends && r.menu.equal_grids && r.grids.per_tensor && r.grids.narrow);
    assert_true(r.calibrate == 7 && r.sense == 9 && !r.sensitivity && !r.tune);
    assert_string_equal(r.grids.act_range, "minmax");
    assert_string_equal(r.grids.weight_range, "percentile");
    assert_string_equal(r.target, "counted");
    test_folder_remove(folder);
    bl_arena_free(a);
}

static void lines_on_top_of_a_recipe(void **state)
{
    static const char *const bad[][2] = {
        { "alpha=-1", "makes sense" },       { "beta=x", "makes sense" },          { "mask_share=1.5", "makes sense" },
        { "masks=0", "number of samples" },  { "masks=5000", "1000 masks" },       { "mask_mode=both", "energy nor ratio" },
        { "data=mine", "distilled nor" },    { "weights_only=y", "yes nor no" },   { "alpha", "no `key = value`" },
        { "search=luck", "unknown search" }, { "distil_steps=-1", "number of" },   { "colour=red", "unknown key" },
        { " ", "no `key = value`" } };
    bl_ctx *ctx = *state;
    bl_arena *a = bl_arena_new(ctx, "recipes");
    bl_recipe r;
    assert_ok(ctx, bl_recipe_load(ctx, a, "ohq", &r));
    assert_true(r.distilled && r.alpha == 0.5 && r.beta == 0.5 && r.masks == 4 && r.mask_share == 0.125);
    for (size_t i = 0; i < BL_COUNTOF(bad); i++) assert_fails(ctx, bl_recipe_set(ctx, a, &r, bad[i][0]), BL_USAGE, bad[i][1]);
    assert_ok(ctx, bl_recipe_load(ctx, a, "mixed", &r));
    assert_true(!r.distilled && r.beta == 0);
    assert_ok(ctx, bl_recipe_set(ctx, a, &r, "data = both"));
    assert_true(r.distilled && r.beside);
    assert_ok(ctx, bl_recipe_set(ctx, a, &r, "data = distilled"));
    assert_true(!r.beside);
    assert_ok(ctx, bl_recipe_set(ctx, a, &r, "sensitivity=kl"));
    assert_ok(ctx, bl_recipe_set(ctx, a, &r, "mask_mode=ratio"));
    assert_true(r.distilled && r.mask_by_width && !strcmp(r.sensitivity, "kl") && !strcmp(r.search, "knapsack"));
    bl_arena_free(a);
}

/* ------------------------------------------------------------------ searches against brute force */

static onnx_build *three_choices(bl_ctx *ctx)
{
    return tiny_dense(ctx, false);
}

static table table_new(uint64_t seed, bool timed)
{
    bl_menu_options o = { .w_bits = { 8, 4, 2 }, .n_w = 3, .a_bits = { 8, 4 }, .n_a = 2 }; /* 6 x 6 x 6 x 2 choices */
    return table_make(three_choices, &o, seed, timed);
}

static bool exact_fits(table *b, const int *choice, double total[BL_N_METRIC])
{
    bl_candidate c[16];
    tiny_candidates(b->t, choice, c);
    assert_ok(b->t->ctx, bl_price_exact(b->t->ctx, b->t->g, b->t->menu, b->cost, c, total));
    for (int k = 0; k < b->in.n_budgets; k++)
        if (total[b->in.budgets[k].metric] > b->in.budgets[k].limit * (1 + 1e-9)) return false;
    return true;
}

/* Least objective of all choices: under the separable prices, and under the exact ones. */
static void brute_force(table *b, double *separable, double *exact)
{
    int choice[16] = { 0 }, n = b->t->menu->n_units, u;
    *separable = *exact = INFINITY;
    do {
        double total[BL_N_METRIC], objective = bl_choice_objective(b->t->menu, b->sens, choice);
        bool fits = true;
        for (int k = 0; k < b->in.n_budgets; k++) {
            double sum = 0;
            for (u = 0; u < n; u++) sum += b->prices->column[b->in.budgets[k].metric][u][choice[u]];
            fits = fits && sum <= b->in.budgets[k].limit * (1 + 1e-12);
        }
        if (fits) *separable = fmin(*separable, objective);
        if (exact_fits(b, choice, total)) *exact = fmin(*exact, objective);
        for (u = 0; u < n && ++choice[u] == b->t->menu->units[u].n_candidates; u++) choice[u] = 0;
    } while (u < n);
}

static void set_budgets(table *b, const double *shares, int n)
{
    double widest[BL_N_METRIC];
    int none[16] = { 0 };
    b->in.n_budgets = 0;
    (void)exact_fits(b, none, widest);
    for (int k = 0; k < n; k++)
        b->budget[k] = (bl_budget){ .metric = (bl_metric)k, .relative = NAN, .limit = shares[k] * widest[k] };
    b->in.budgets = b->budget;
    b->in.n_budgets = n;
}

static void knapsack_is_the_best(void **state)
{
    int hidden = 0, found = 0;
    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        bool timed = seed % 2;
        table b = table_new(seed, timed);
        bl_rng r = bl_rng_make(seed, "budgets", 0);
        for (int trial = 0; trial < 4; trial++) {
            double shares[3], total[BL_N_METRIC], separable, exact;
            for (int k = 0; k < 3; k++) shares[k] = 0.5 + 0.6 * bl_rng_unit(&r);
            set_budgets(&b, shares, timed ? 3 : trial % 3);
            brute_force(&b, &separable, &exact);
            bl_search_result res = { 0 };
            assert_ok(b.t->ctx, bl_search_knapsack(b.t->ctx, &b.in, b.a, &res));
            if (isfinite(separable)) assert_true(res.feasible);
            if (!isfinite(exact)) assert_false(res.feasible);
            hidden += isfinite(exact) && !isfinite(separable); /* plans that the upper bound hides */
            found += res.feasible && !isfinite(separable);
            assert_int_equal(json_is_true(json_object_get(res.solver, "relaxed")), res.feasible && !isfinite(separable));
            if (res.feasible) {
                assert_true(exact_fits(&b, res.choice, total));
                assert_int_equal(res.binding, -1);
                assert_true(res.objective <= separable * (1 + 1e-12) && res.objective >= exact * (1 - 1e-12));
                if (!timed) assert_true(fabs(res.objective - exact) <= 1e-12 * exact);
            } else {
                assert_true(res.binding >= 0 && res.binding < b.in.n_budgets);
            }
            assert_non_null(json_object_get(res.solver, "gap"));
            assert_null(json_object_get(res.solver, "choice"));
            json_decref(res.solver);
        }
        table_free(&b);
    }
    assert_true(hidden >= 20 && found >= hidden - 2); /* prices that are noise hide many */
}

/* OHQ's form: each choice's sensitivity and BOPs as shares, both weighed. */
static void sensitivity_against_cost(void **state)
{
    int narrowed = 0, kept = 0;
    (void)state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        bool timed = seed % 2;
        table b = table_new(seed, timed);
        bl_metric cost = timed ? BL_M_LATENCY : BL_M_BOPS;
        double most_noise = 0, int8 = 0, best = INFINITY, found = 0;
        int choice[16] = { 0 }, n = b.t->menu->n_units, u;
        b.in.alpha = seed < 4 ? 0.5 : 0.9;
        b.in.beta = 1 - b.in.alpha;
        assert_true(bl_search_weighs(&b.in));
        assert_int_equal(bl_search_cost(&b.in), cost);
        for (u = 0; u < n; u++) {
            const bl_unit *unit = &b.t->menu->units[u];
            most_noise += b.sens->cell[u] ? b.sens->cell[u][unit->n_candidates - 1].objective : 0;
            int8 += b.prices->column[cost][u][0]; /* 8 and 8 bits are the widest here */
        }
        bl_search_result res = { 0 };
        assert_ok(b.t->ctx, bl_search_knapsack(b.t->ctx, &b.in, b.a, &res));
        do {
            double price = 0, sum;
            for (u = 0; u < n; u++) price += b.prices->column[cost][u][choice[u]];
            sum = b.in.alpha * bl_choice_objective(b.t->menu, b.sens, choice) / most_noise + b.in.beta * price / int8;
            best = fmin(best, sum);
            if (!memcmp(choice, res.choice, (size_t)n * sizeof *choice)) found = sum;
            for (u = 0; u < n && ++choice[u] == b.t->menu->units[u].n_candidates; u++) choice[u] = 0;
        } while (u < n);
        assert_true(fabs(found - best) <= 1e-12 * best);
        for (u = 0; u < n; u++) *(res.choice[u] ? &narrowed : &kept) += 1;
        assert_true(json_real_value(json_object_get(res.solver, "alpha")) == b.in.alpha);
        assert_string_equal(json_string_value(json_object_get(res.solver, "weighed_cost")), timed ? "latency" : "bops");
        json_decref(res.solver);
        const double share[] = { 1 };
        set_budgets(&b, share, 1);
        assert_false(bl_search_weighs(&b.in)); /* under a budget the sensitivity alone */
        table_free(&b);
    }
    assert_true(narrowed > 0 && kept > 0);
}

static void a_plan_says_what_its_metric_can(void **state)
{
    (void)state;
    table b = table_new(1, false);
    int choice[16] = { 1, 1, 1 };
    for (int noise = 0; noise < 2; noise++) {
        bl_plan *plan;
        b.sens->metric = noise ? "sqnr" : "mask";
        assert_int_equal(bl_objective_is_noise(b.sens), noise);
        assert_ok(b.t->ctx, bl_choice_plan(b.t->ctx, &b.in, choice, NULL, "test", &plan));
        assert_true(isfinite(bl_plan_predicted(plan, "objective")));
        assert_int_equal(isfinite(bl_plan_predicted(plan, "sqnr_db")), noise);
        bl_plan_free(plan);
    }
    table_free(&b);
}

static void moves_keep_the_budgets(void **state)
{
    int better = 0;
    (void)state;
    for (uint64_t seed = 100; seed < 130; seed++) {
        table b = table_new(seed, true);
        bl_rng r = bl_rng_make(seed, "budgets", 0);
        for (int trial = 0; trial < 10; trial++) {
            double shares[3], total[BL_N_METRIC];
            int choice[16];
            for (int k = 0; k < 3; k++) shares[k] = 0.55 + 0.5 * bl_rng_unit(&r);
            set_budgets(&b, shares, 3);
            for (int u = 0; u < b.t->menu->n_units; u++)
                choice[u] = (int)bl_rng_below(&r, (uint64_t)b.t->menu->units[u].n_candidates);
            double before = bl_choice_objective(b.t->menu, b.sens, choice);
            bool fitted = exact_fits(&b, choice, total);
            assert_ok(b.t->ctx, bl_improve_choice(b.t->ctx, &b.in, b.a, choice));
            double after = bl_choice_objective(b.t->menu, b.sens, choice);
            for (int u = 0; u < b.t->menu->n_units; u++)
                assert_true(choice[u] >= 0 && choice[u] < b.t->menu->units[u].n_candidates);
            assert_true(after <= before);
            if (fitted) assert_true(exact_fits(&b, choice, total));
            better += after < before;
            for (int u = 0; fitted && u < b.t->menu->n_units; u++) /* no single move is left */
                for (int c = 0, old = choice[u]; c < b.t->menu->units[u].n_candidates; c++) {
                    choice[u] = c;
                    if (bl_choice_objective(b.t->menu, b.sens, choice) < after) assert_false(exact_fits(&b, choice, total));
                    choice[u] = old;
                }
        }
        table_free(&b);
    }
    assert_true(better > 50);
}

/* Under floors: less exact cost, noise and budgets kept, and no single move left. */
static void moves_cheapen_within_the_noise(void **state)
{
    int cheaper = 0;
    (void)state;
    for (uint64_t seed = 200; seed < 220; seed++) {
        table b = table_new(seed, true);
        bl_rng r = bl_rng_make(seed, "budgets", 0);
        for (int trial = 0; trial < 10; trial++) {
            double shares[3], total[BL_N_METRIC], now[BL_N_METRIC];
            int choice[16];
            for (int k = 0; k < 3; k++) shares[k] = 0.7 + 0.4 * bl_rng_unit(&r);
            set_budgets(&b, shares, 1 + trial % 3);
            b.in.minimize = trial % 2 ? BL_M_LATENCY : BL_M_SIZE;
            for (int u = 0; u < b.t->menu->n_units; u++)
                choice[u] = (int)bl_rng_below(&r, (uint64_t)b.t->menu->units[u].n_candidates);
            double noise = bl_choice_objective(b.t->menu, b.sens, choice) * (1 + bl_rng_unit(&r));
            bool fitted = exact_fits(&b, choice, total), latency = b.in.minimize == BL_M_LATENCY;
            for (int k = 0; k < b.in.n_budgets; k++) latency |= b.in.budgets[k].metric == BL_M_LATENCY;
            assert_ok(b.t->ctx, bl_cheapen_choice(b.t->ctx, &b.in, noise, b.a, choice));
            assert_true(bl_choice_objective(b.t->menu, b.sens, choice) <= noise * (1 + 1e-9));
            if (!fitted || !latency) continue;
            assert_true(exact_fits(&b, choice, now));
            assert_true(now[b.in.minimize] <= total[b.in.minimize] * (1 + 1e-12));
            cheaper += now[b.in.minimize] < total[b.in.minimize] * (1 - 1e-9);
            for (int u = 0; u < b.t->menu->n_units; u++)
                for (int c = 0, old = choice[u]; c < b.t->menu->units[u].n_candidates; c++) {
                    choice[u] = c;
                    bool fits = exact_fits(&b, choice, total) && bl_choice_objective(b.t->menu, b.sens, choice) <= noise;
                    if (fits) assert_true(total[b.in.minimize] >= now[b.in.minimize] * (1 - 1e-9));
                    choice[u] = old;
                }
        }
        table_free(&b);
    }
    assert_true(cheaper > 50);
}

static void infeasible_budgets_name_the_binding_one(void **state)
{
    (void)state;
    table b = table_new(1, true);
    bl_search_result res = { 0 };
    double total[BL_N_METRIC];
    set_budgets(&b, (double[]){ 2, 0.001, 2 }, 3); /* BOPs */
    assert_ok(b.t->ctx, bl_search_knapsack(b.t->ctx, &b.in, b.a, &res));
    assert_false(res.feasible);
    assert_int_equal(res.binding, 1);
    assert_false(exact_fits(&b, res.choice, total));
    double least = 0, have = 0; /* the nearest one: least BOPs */
    for (int u = 0; u < b.t->menu->n_units; u++) {
        double low = INFINITY;
        for (int c = 0; c < b.t->menu->units[u].n_candidates; c++) low = fmin(low, b.prices->column[BL_M_BOPS][u][c]);
        least += low;
        have += b.prices->column[BL_M_BOPS][u][res.choice[u]];
    }
    assert_true(have == least);
    assert_string_equal(json_string_value(json_object_get(res.solver, "status")), "infeasible");
    json_decref(res.solver);
    const char *texts[] = { "size=0.9", "bops=0.0001" };
    bl_search_request q = { .graph = b.t->g, .menu = b.t->menu, .stats = b.t->stats, .sens = b.sens, .cost = b.cost,
                            .budgets = texts, .n_budgets = 2 };
    bl_plan *plan = NULL;
    assert_fails(b.t->ctx, bl_search(b.t->ctx, &q, &plan), BL_GOAL, "bops");
    assert_non_null(plan);
    assert_false(plan->feasible);
    bl_plan_free(plan);
    plan = NULL;
    q.n_budgets = 1;
    assert_ok(b.t->ctx, bl_search(b.t->ctx, &q, &plan));
    assert_true(plan->feasible);
    bl_plan_free(plan);
    table_free(&b);
}

/* ------------------------------------------------------------------ floors */

typedef struct judge {
    table *b;
    double base, bend;          /* noise of the baseline; measured noise: base + predicted^bend */
    int asked;
} judge;

static bl_status ask(void *user, const int *choice, bl_score *out)
{
    judge *j = user;
    double noise = j->base + pow(bl_choice_objective(j->b->t->menu, j->b->sens, choice), j->bend);
    j->asked++;
    *out = (bl_score){ .sqnr_db = -10 * log10(noise), .drop = noise, .drop_error = 0, .top1 = 1 - noise };
    return BL_OK;
}

/* Least price of all choices within the budgets and with at most so much measured noise. */
static double cheapest(table *b, judge *j, double noise)
{
    int choice[16] = { 0 }, n = b->t->menu->n_units, u;
    double least = INFINITY;
    do {
        double total[BL_N_METRIC];
        bl_score score;
        bool fits = exact_fits(b, choice, total) && ask(j, choice, &score) == BL_OK && score.drop <= noise;
        if (fits) least = fmin(least, total[b->in.minimize]);
        for (u = 0; u < n && ++choice[u] == b->t->menu->units[u].n_candidates; u++) choice[u] = 0;
    } while (u < n);
    return least;
}

/* A judge whose answers rise with the prediction, however it bends: the cheapest plan above the floor is
 * found, up to how close the bisection comes. */
static void floors_at_least_cost(void **state)
{
    (void)state;
    int held = 0, missed = 0;
    for (uint64_t seed = 0; seed < 24; seed++) {
        table b = table_new(seed, false);
        bl_rng r = bl_rng_make(seed, "floors", 0);
        double share = 0.4 + 0.5 * bl_rng_unit(&r), total[BL_N_METRIC];
        set_budgets(&b, &share, seed % 2);
        judge j = { .b = &b, .base = 1e-4, .bend = seed % 3 == 0 ? 1 : seed % 3 == 1 ? 1.7 : 0.6 };
        double noise = j.base + pow(10, -0.3 - 4 * bl_rng_unit(&r));
        bl_floor floors[2] = { { BL_FLOOR_SQNR, -10 * log10(noise) }, { BL_FLOOR_TOP1, -100 * noise } };
        b.in.floors = &floors[seed / 2 % 2];
        b.in.n_floors = seed % 5 == 4 && seed / 2 % 2 == 0 ? 2 : 1;
        b.in.minimize = seed % 4 == 3 ? BL_M_BOPS : BL_M_SIZE;
        b.in.judge = ask;
        b.in.judge_user = &j;
        bl_search_result res = { 0 };
        assert_ok(b.t->ctx, bl_search_knapsack(b.t->ctx, &b.in, b.a, &res));
        assert_true(res.judged && j.asked <= 40);
        double best = cheapest(&b, &j, noise * (1 + 1e-9)), nearly = cheapest(&b, &j, j.base + (noise - j.base) * 0.985);
        assert_int_equal(res.feasible, isfinite(best));
        assert_int_equal(res.feasible, bl_floors_hold(b.in.floors, b.in.n_floors, &res.score));
        assert_true(exact_fits(&b, res.choice, total));
        if (res.feasible && !(total[b.in.minimize] >= best && total[b.in.minimize] <= nearly))
            fail_msg("seed %d: cost %g, cheapest %g, a little above the floor %g", (int)seed, total[b.in.minimize], best, nearly);
        assert_non_null(json_object_get(res.solver, "judged"));
        held += res.feasible;
        missed += !res.feasible;
        json_decref(res.solver);
        table_free(&b);
    }
    assert_true(held > 10 && missed > 0);
}

static void floors_of_every_form(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 0);
    bl_floor f;
    assert_ok(ctx, bl_floor_parse(ctx, "top1=-1.5", &f));
    assert_true(f.kind == BL_FLOOR_TOP1 && f.value == -1.5);
    assert_ok(ctx, bl_floor_parse(ctx, "sqnr=30", &f));
    assert_true(f.kind == BL_FLOOR_SQNR && f.value == 30);
    static const char *const bad[] = { "top1", "top1=", "top1=1", "top1=-101", "sqnr=nan", "auc=1", "=3", "" };
    for (size_t i = 0; i < BL_COUNTOF(bad); i++) assert_fails(ctx, bl_floor_parse(ctx, bad[i], &f), BL_USAGE, "");
    bl_score s = { .drop = NAN, .sqnr_db = 30 };
    assert_true(bl_floors_hold(&f, 1, &s));
    f.kind = BL_FLOOR_TOP1; /* no labels, no promise */
    assert_false(bl_floors_hold(&f, 1, &s));
    test_ctx_free(ctx);
}

/* A budget that nothing fits, and a cost that nobody priced. */
static void floors_beside_what_cannot_be(void **state)
{
    (void)state;
    table b = table_new(5, false);
    judge j = { .b = &b, .base = 1e-4, .bend = 1 };
    bl_floor floor = { BL_FLOOR_SQNR, 10 };
    bl_search_result res = { 0 };
    set_budgets(&b, (double[]){ 0.01 }, 1);
    b.in.floors = &floor;
    b.in.n_floors = 1;
    b.in.judge = ask;
    b.in.judge_user = &j;
    assert_ok(b.t->ctx, bl_search_knapsack(b.t->ctx, &b.in, b.a, &res));
    assert_true(!res.feasible && !res.judged && res.binding == 0 && j.asked == 0);
    json_decref(res.solver);
    b.in.n_budgets = 0;
    b.in.minimize = BL_M_LATENCY;
    assert_fails(b.t->ctx, bl_search_knapsack(b.t->ctx, &b.in, b.a, &res), BL_UNAVAILABLE, "does not price it");
    table_free(&b);
}

static void uniform_takes_the_widest(void **state)
{
    (void)state;
    table b = table_new(3, true);
    bl_search_result res = { 0 };
    assert_ok(b.t->ctx, bl_search_uniform(b.t->ctx, &b.in, b.a, &res));
    assert_true(res.feasible && res.binding == -1 && res.objective == 0);
    for (int u = 0; u < b.t->menu->n_units; u++) assert_int_equal(res.choice[u], 0);
    set_budgets(&b, (double[]){ 0.9, 0.2, 0.5 }, 3);
    assert_ok(b.t->ctx, bl_search_uniform(b.t->ctx, &b.in, b.a, &res));
    assert_false(res.feasible);
    assert_int_equal(res.binding, 1); /* exceeded most, not last */
    set_budgets(&b, (double[]){ 1, 1, 1 }, 3);
    assert_ok(b.t->ctx, bl_search_uniform(b.t->ctx, &b.in, b.a, &res));
    assert_true(res.feasible);
    table_free(&b);
    b = table_new(3, false); /* a target without a clock cannot keep a latency budget */
    b.budget[0] = (bl_budget){ .metric = BL_M_LATENCY, .limit = 1e12, .relative = NAN };
    b.in.budgets = b.budget;
    b.in.n_budgets = 1;
    assert_fails(b.t->ctx, bl_search_uniform(b.t->ctx, &b.in, b.a, &res), BL_USAGE, "does not price it");
    assert_fails(b.t->ctx, bl_search_knapsack(b.t->ctx, &b.in, b.a, &res), BL_USAGE, "does not price it");
    table_free(&b);
}

static void requests_that_lack_something(void **state)
{
    (void)state;
    table b = table_new(4, false);
    const char *many[] = { "size=0.9", "size=0.9", "bops=0.9", "size=0.9", "bops=0.95" };
    bl_search_request q = { .graph = b.t->g, .menu = b.t->menu, .stats = b.t->stats, .sens = b.sens, .cost = b.cost,
                            .budgets = many, .n_budgets = 5 };
    bl_plan *plan = NULL;
    assert_fails(b.t->ctx, bl_search(b.t->ctx, &q, &plan), BL_USAGE, "too many budgets");
    q.n_budgets = 4; /* the same budget twice is no harm */
    assert_ok(b.t->ctx, bl_search(b.t->ctx, &q, &plan));
    bl_plan_free(plan);
    plan = NULL;
    q.search = "magic";
    assert_fails(b.t->ctx, bl_search(b.t->ctx, &q, &plan), BL_USAGE, "unknown search");
    q.search = NULL;
    q.sens = NULL;
    assert_fails(b.t->ctx, bl_search(b.t->ctx, &q, &plan), BL_USAGE, "missing");
    q.sens = b.sens;
    many[1] = "size=0";
    assert_fails(b.t->ctx, bl_search(b.t->ctx, &q, &plan), BL_USAGE, "zero or less");
    many[1] = "latency=2ms";
    assert_fails(b.t->ctx, bl_search(b.t->ctx, &q, &plan), BL_USAGE, "does not price it");
    assert_null(plan);
    assert_true(isnan(bl_choice_objective(b.t->menu, NULL, b.t->choice)));
    assert_true(isinf(bl_objective_sqnr(0)) && fabs(bl_objective_sqnr(0.01) - 20) < 1e-12);
    table_free(&b);
}

/* ------------------------------------------------------------------ each allocation failing in turn */

static bl_status whole_way(tiny *t, const char *path)
{
    bl_stats *stats = NULL, *back = NULL;
    bl_menu *menu = NULL;
    bl_sens *sens = NULL;
    bl_cost *cost = NULL;
    bl_plan *plan = NULL;
    bl_oracle *oracle = NULL;
    bl_score score;
    const char *budgets[] = { "size=0.8", "bops=0.8" };
    bl_status s = bl_calibrate(t->ctx, t->g, t->data, NULL, &stats);
    if (s == BL_OK) s = bl_stats_write(t->ctx, t->g, stats, path);
    if (s == BL_OK) s = bl_stats_read(t->ctx, t->g, path, &back);
    bl_menu_options m = { .w_bits = { 8, 2 }, .n_w = 2, .a_bits = { 8 }, .n_a = 1, .keep_ends = true };
    if (s == BL_OK) s = bl_menu_make(t->ctx, t->g, &m, &menu);
    bl_sense_input in = { .graph = t->g, .menu = menu, .stats = back, .data = t->data };
    if (s == BL_OK) s = bl_sense(t->ctx, &in, &sens);
    if (s == BL_OK) s = bl_measure(t->ctx, t->g, menu, "counted", NULL, &cost);
    bl_search_request q = { .graph = t->g, .menu = menu, .stats = back, .sens = sens, .cost = cost, .budgets = budgets,
                            .n_budgets = 2 };
    if (s == BL_OK) s = bl_search(t->ctx, &q, &plan);
    if (s == BL_OK) s = bl_oracle_new(t->ctx, t->g, t->data, 2, NULL, &oracle);
    if (s == BL_OK) s = bl_oracle_score(oracle, plan, NULL, &score);
    bl_oracle_free(oracle);
    bl_plan_free(plan);
    bl_cost_free(cost);
    bl_sens_free(sens);
    bl_menu_free(menu);
    bl_stats_free(back);
    bl_stats_free(stats);
    return s;
}

static void every_allocation_fails_in_turn(void **state)
{
    char path[400];
    uint64_t before, now;
    long n = 1, smaller = 0;
    (void)state;
    tiny *t = tiny_new_net(1, three_choices, 2);
    snprintf(path, sizeof path, "%s/stats.json", t->folder);
    assert_ok(t->ctx, whole_way(t, path));
    bl_memory_use(t->ctx, &before, NULL);
    for (;; n++) {
        t->ctx->fail_alloc = n;
        bl_status s = whole_way(t, path);
        bool failed = t->ctx->fail_alloc <= 0;
        t->ctx->fail_alloc = -1;
        bl_memory_use(t->ctx, &now, NULL);
        if (now != before) fail_msg("allocation %ld failed and %lld bytes leaked", n, (long long)(now - before));
        if (!failed) break;
        smaller += s == BL_OK; /* no memory for a batched graph: samples run one by one */
        if (s != BL_UNAVAILABLE && s != BL_OK)
            fail_msg("allocation %ld: %d: %s: %s", n, (int)s, bl_last_error(t->ctx).place, bl_last_error(t->ctx).what);
    }
    print_message("%ld allocations failed in turn, %ld of them with smaller batches instead\n", n - 1, smaller);
    assert_true(n > 200 && smaller < n / 2);
    tiny_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(budgets_of_every_form),
        cmocka_unit_test(recipes_that_are_built_in),
        cmocka_unit_test(recipes_from_files),
        cmocka_unit_test(knapsack_is_the_best),
        cmocka_unit_test(sensitivity_against_cost),
        cmocka_unit_test(a_plan_says_what_its_metric_can),
        cmocka_unit_test(lines_on_top_of_a_recipe),
        cmocka_unit_test(moves_keep_the_budgets),
        cmocka_unit_test(moves_cheapen_within_the_noise),
        cmocka_unit_test(infeasible_budgets_name_the_binding_one),
        cmocka_unit_test(floors_at_least_cost),
        cmocka_unit_test(floors_of_every_form),
        cmocka_unit_test(floors_beside_what_cannot_be),
        cmocka_unit_test(uniform_takes_the_widest),
        cmocka_unit_test(requests_that_lack_something),
        cmocka_unit_test(every_allocation_fails_in_turn),
    };
    return cmocka_run_group_tests(tests, test_setup, test_teardown);
}
