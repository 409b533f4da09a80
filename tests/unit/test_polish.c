/* SPDX-License-Identifier: BSD-3-Clause */
/* Plans looked at again: an oracle whose noise is not what the sensitivity table adds up. */
#include <math.h>

#include "search/search.h"
#include "support.h"

enum { UNITS = 20, WIDTHS = 5 };
static const bl_candidate widths[WIDTHS] = { { .w_bits = 8, .a_bits = 8 }, { .w_bits = 6, .a_bits = 8 }, { .w_bits = 4, .a_bits = 8 },
                                             { .w_bits = 3, .a_bits = 8 }, { .w_bits = 2, .a_bits = 8 } };

typedef struct world {
    bl_ctx *ctx;
    bl_arena *a;
    bl_menu menu;
    bl_sens sens;
    bl_prices prices;
    bl_budget budget;
    bl_search_input in;
    double wrong[UNITS];        /* true noise of a unit beside the table's */
    double meet;                /* what neighbouring units add by meeting */
    int asked;
} world;

static double true_noise(const world *w, const int *choice)
{
    double sum = 1e-6, last = 0;
    for (int u = 0; u < UNITS; u++) {
        double mine = w->sens.cell[u][choice[u]].objective * w->wrong[u];
        sum += mine + w->meet * sqrt(mine * last);
        last = mine;
    }
    return sum;
}

static bl_status answer(void *user, const int *choice, bl_score *out)
{
    world *w = user;
    w->asked++;
    *out = (bl_score){ .sqnr_db = -10 * log10(true_noise(w, choice)), .kl = 2 * true_noise(w, choice), .top1 = NAN, .drop = NAN };
    return BL_OK;
}

static double size_of(const world *w, const int *choice)
{
    double sum = 0;
    for (int u = 0; u < UNITS; u++) sum += w->prices.column[BL_M_SIZE][u][choice[u]];
    return sum;
}

/* Units of all sizes, four times the noise for a bit less, the table wrong by up to `wrong` in either direction. */
static world *world_new(uint64_t seed, double wrong, double meet)
{
    bl_ctx *ctx = test_ctx(1, 0);
    bl_arena *a = bl_arena_new(ctx, "world");
    bl_rng r = bl_rng_make(seed, "world", 0);
    world *w = BL_NEW(a, world, 1);
    double all = 0;
    *w = (world){ .ctx = ctx, .a = a, .meet = meet, .menu = { .arena = a, .n_units = UNITS }, .sens = { .arena = a }, .prices = { .arena = a, .n_units = UNITS } };
    w->menu.units = BL_NEW(a, bl_unit, UNITS);
    w->sens.cell = bl_alloc(a, UNITS, sizeof *w->sens.cell);
    w->prices.column[BL_M_SIZE] = BL_NEW(a, double *, UNITS);
    for (int u = 0; u < UNITS; u++) {
        double weights = 100 * exp(4 * bl_rng_unit(&r)), harm = 1e-7 * exp(5 * bl_rng_unit(&r));
        w->wrong[u] = exp(log(wrong) * (2 * bl_rng_unit(&r) - 1));
        w->menu.units[u] = (bl_unit){ .name = bl_format(a, "unit %d", u), .n_candidates = WIDTHS, .candidates = widths };
        w->sens.cell[u] = BL_NEW(a, bl_sens_cell, WIDTHS);
        w->prices.column[BL_M_SIZE][u] = BL_NEW(a, double, WIDTHS);
        for (int c = 0; c < WIDTHS; c++) {
            w->sens.cell[u][c].objective = c ? harm * pow(4, 8 - widths[c].w_bits) : 0;
            w->prices.column[BL_M_SIZE][u][c] = weights * widths[c].w_bits;
        }
        all += 8 * weights;
    }
    w->budget = (bl_budget){ .metric = BL_M_SIZE, .relative = NAN, .limit = 0.5 * all };
    w->in = (bl_search_input){ .menu = &w->menu, .sens = &w->sens, .prices = &w->prices, .budgets = &w->budget, .n_budgets = 1,
                               .score = answer, .score_user = w };
    return w;
}

static void world_free(world *w)
{
    bl_ctx *ctx = w->ctx;
    bl_arena_free(w->a);
    test_ctx_free(ctx);
}

/* The best by the table, or by the truth. */
static void exact(world *w, bool truth, int *choice)
{
    bl_mckp *p;
    bl_mckp_result r;
    assert_ok(w->ctx, bl_search_problem(w->ctx, &w->in, INFINITY, w->a, &p));
    for (int u = 0; truth && u < UNITS; u++)
        for (int k = 0; k < WIDTHS; k++) p->units[u].objective[k] *= w->wrong[u];
    assert_ok(w->ctx, bl_mckp_solve(w->ctx, p, NULL, w->a, &r));
    assert_int_equal(r.status, BL_MCKP_OPTIMAL);
    for (int u = 0; u < UNITS; u++) choice[u] = WIDTHS - 1 - r.choice[u];
}

/* Never worse, within the budget and the limit of answers, better nearly always, the same again. */
static void better_than_the_table(void **state)
{
    int better = 0;
    (void)state;
    for (uint64_t seed = 0; seed < 30; seed++) {
        world *w = world_new(seed, 8, seed % 2 ? 0.5 : 0);
        int found[UNITS], choice[UNITS], again[UNITS];
        json_t *record, *other;
        exact(w, false, found);
        memcpy(choice, found, sizeof choice);
        memcpy(again, found, sizeof again);
        w->in.polish = 150;
        assert_ok(w->ctx, bl_polish_choice(w->ctx, &w->in, w->a, choice, &record));
        assert_int_equal(json_integer_value(json_object_get(record, "answers")), w->asked);
        assert_true(w->asked <= 150);
        assert_ok(w->ctx, bl_polish_choice(w->ctx, &w->in, w->a, again, &other));
        assert_true(json_equal(record, other));
        assert_memory_equal(choice, again, sizeof choice);
        assert_true(size_of(w, choice) <= w->budget.limit * (1 + 1e-12));
        double before = true_noise(w, found), after = true_noise(w, choice);
        assert_true(after <= before);
        assert_true(fabs(json_number_value(json_object_get(record, "reward_before")) + log10(before)) < 1e-9);
        assert_true(fabs(json_number_value(json_object_get(record, "reward_after")) + log10(after)) < 1e-9);
        assert_true((json_integer_value(json_object_get(record, "moves")) > 0) == (after < before));
        better += after < 0.95 * before;
        json_decref(record);
        json_decref(other);
        world_free(w);
    }
    print_message("better by a twentieth and more in %d of 30\n", better);
    assert_true(better > 20);
}

/* Where noises add up, however wrong the table, the end is close to the truth's own optimum; a table that is right is left. */
static void close_to_the_truth(void **state)
{
    (void)state;
    for (uint64_t seed = 50; seed < 70; seed++)
        for (int right = 0; right < 2; right++) {
            world *w = world_new(seed, right ? 1 : 8, 0);
            int best[UNITS], found[UNITS], choice[UNITS];
            json_t *record;
            exact(w, true, best);
            exact(w, false, found);
            memcpy(choice, found, sizeof choice);
            w->in.polish = 5000;
            assert_ok(w->ctx, bl_polish_choice(w->ctx, &w->in, w->a, choice, &record));
            assert_true(true_noise(w, choice) >= true_noise(w, best) * (1 - 1e-9) && true_noise(w, choice) <= 1.05 * true_noise(w, best));
            if (right) assert_memory_equal(choice, found, sizeof choice);
            json_decref(record);
            world_free(w);
        }
}

/* A limit that allows no step leaves the plan; points of accuracy do not add up and are refused. */
static void limits(void **state)
{
    world *w = world_new(3, 8, 0);
    int found[UNITS], choice[UNITS];
    json_t *record = NULL;
    (void)state;
    exact(w, false, found);
    memcpy(choice, found, sizeof choice);
    w->in.polish = 1;
    assert_ok(w->ctx, bl_polish_choice(w->ctx, &w->in, w->a, choice, &record));
    assert_memory_equal(choice, found, sizeof choice);
    assert_int_equal(json_integer_value(json_object_get(record, "answers")), 1);
    json_decref(record);
    w->in.polish = 100;
    w->in.reward = "kl";
    assert_ok(w->ctx, bl_polish_choice(w->ctx, &w->in, w->a, choice, &record));
    assert_string_equal(json_string_value(json_object_get(record, "reward")), "kl");
    assert_true(true_noise(w, choice) < true_noise(w, found));
    json_decref(record);
    w->in.reward = "accuracy";
    assert_int_equal(bl_polish_choice(w->ctx, &w->in, w->a, choice, &record), BL_USAGE);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(better_than_the_table),
        cmocka_unit_test(close_to_the_truth),
        cmocka_unit_test(limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
