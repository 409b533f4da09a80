/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sets of rounded weights: on their grids, kept on disk also half made, made anew for other samples; plans stitched
 * from them are the same whether the sets were there or not, and better than nearest rounding; sensitivities see them.
 */
#include "tiny_tune.h"

#include "sense/sense.h"
#include "train/train.h"

static void make_menu(tiny *t)
{
    bl_menu_options o = bl_menu_options_default();
    o.keep_ends = false;
    o.n_w = 3;
    o.w_bits[0] = 2;
    o.w_bits[1] = 4;
    o.w_bits[2] = 8;
    o.n_a = 1;
    o.a_bits[0] = 8;
    assert_ok(t->ctx, bl_menu_make(t->ctx, t->g, &o, &t->menu));
}

static bl_rounded *round_all(tiny *t, const char *folder, int64_t samples)
{
    bl_round_options o = { .samples = samples, .folder = folder };
    bl_rounded *r = NULL;
    assert_ok(t->ctx, bl_round(t->ctx, t->g, t->menu, t->data, &o, &r));
    return r;
}

/* The candidate of each unit that comes next to so many bits. */
static void make_plan(tiny *t, int candidate)
{
    bl_plan_free(t->plan);
    for (int u = 0; u < t->menu->n_units; u++) t->choice[u] = BL_MIN((candidate + u) % 3, t->menu->units[u].n_candidates - 1);
    assert_ok(t->ctx, bl_plan_make(t->ctx, t->g, t->menu, t->stats, t->choice, NULL, "test", &t->plan));
}

static void test_sets_lie_on_grids(void **state)
{
    tiny *t = tiny_new_net(2, tiny_residual, 64);
    (void)state;
    make_menu(t);
    bl_rounded *r = round_all(t, NULL, 64);
    int found = 0;
    for (int i = 0; i < t->g->n_nodes; i++) {
        int v = bl_layer_weight(t->g, i), bits[] = { 2, 4 };
        for (int k = 0; v >= 0 && k < 2; k++) {
            const float *w = bl_rounded_find(r, v, bits[k]);
            bl_weight_grid grid;
            bl_grid_options o = { 0 };
            bl_mark mark = bl_arena_mark(t->stats->arena);
            assert_non_null(w);
            assert_ok(t->ctx, bl_weight_grids(t->stats->arena, t->g, &i, &bits[k], 1, &o, &grid));
            int64_t n = bl_tensor_count(&t->g->values[v].t), per = n / grid.n_scale;
            for (int64_t e = 0; e < n; e++) {
                float code = w[e] / grid.scale[e / per];
                assert_float_equal(code, rintf(code), 1e-4);
                assert_true(code >= (float)-(1 << (bits[k] - 1)) - 0.01f && code <= (float)(1 << (bits[k] - 1)) - 0.99f);
            }
            bl_arena_reset(t->stats->arena, mark);
            found++;
        }
        if (v >= 0) assert_null(bl_rounded_find(r, v, 8));
        if (v >= 0) assert_null(bl_rounded_find(r, v, 3));
    }
    assert_true(found >= 8);
    bl_rounded_free(r);
    tiny_free(t);
}

static void test_stitched_plans(void **state)
{
    tiny *t = tiny_new_net(1, tiny_residual, 64);
    double learned = 0, nearest = 0;
    (void)state;
    make_menu(t);
    bl_rounded *r = round_all(t, NULL, 64);
    for (int c = 0; c < 3; c++) {
        bl_weights *with = NULL, *without = NULL;
        make_plan(t, c);
        bl_tune_input in = { t->g, t->plan, t->data, 64, NULL, r };
        assert_ok(t->ctx, bl_tune(t->ctx, bl_tuner_find("stitched"), &in, &with));
        in.rounded = NULL;
        assert_ok(t->ctx, bl_tune(t->ctx, bl_tuner_find("stitched"), &in, &without));
        assert_string_equal(with->hash.hex, without->hash.hex);
        assert_string_equal(with->key.hex, without->key.hex);
        for (int i = 0; i < t->g->n_nodes; i++) {
            int v = bl_layer_weight(t->g, i);
            if (v < 0) continue;
            int bits = t->plan->quantizers[t->plan->of_value[v]].bits;
            const float *now = bl_weights_find(with, v), *made = bl_rounded_find(r, v, bits);
            assert_int_equal(made != NULL, now != NULL);
            if (now) assert_memory_equal(now, made, bl_tensor_bytes(&t->g->values[v].t));
        }
        learned += tiny_noise(t, t->data, 64, with);
        nearest += tiny_noise(t, t->data, 64, NULL);
        bl_weights_free(with);
        bl_weights_free(without);
    }
    if (learned > 0.8 * nearest) fail_msg("noise to signal %g stitched, %g nearest", learned, nearest);
    bl_rounded_free(r);
    tiny_free(t);
}

/* What lies on disk is taken as it is, the rest is made; a set of other samples is made anew. */
static void test_sets_go_on(void **state)
{
    tiny *t = tiny_new_net(1, tiny_residual, 64);
    char path[300];
    bl_weights *half = NULL;
    (void)state;
    make_menu(t);
    bl_rounded *r = round_all(t, t->folder, 64);
    snprintf(path, sizeof path, "%s/rounded.w4.blw", t->folder);
    assert_ok(t->ctx, bl_weights_read(t->ctx, t->g, path, &half));
    assert_true(half->n_items >= 4);
    int kept = half->items[0].value;
    float *mark = calloc((size_t)half->items[0].count, sizeof *mark); /* as no rounding makes it */
    assert_non_null(mark);
    half->items[0].data = mark;
    half->n_items = 2;
    assert_ok(t->ctx, bl_weights_write(t->ctx, t->g, half, path));
    bl_rounded *again = round_all(t, t->folder, 64), *other;
    for (int i = 0; i < t->g->n_nodes; i++) {
        int v = bl_layer_weight(t->g, i);
        if (v < 0) continue;
        const float *was = bl_rounded_find(r, v, 4), *is = bl_rounded_find(again, v, 4);
        assert_non_null(is);
        assert_memory_equal(is, v == kept ? mark : was, bl_tensor_bytes(&t->g->values[v].t));
    }
    other = round_all(t, t->folder, 32);
    assert_memory_not_equal(bl_rounded_find(other, kept, 4), mark, bl_tensor_bytes(&t->g->values[kept].t));
    bl_rounded_free(other);
    bl_rounded_free(again);
    bl_rounded_free(r);
    bl_weights_free(half);
    free(mark);
    tiny_free(t);
}

static void test_sensitivities_see_them(void **state)
{
    tiny *t = tiny_new_net(1, tiny_residual, 64);
    bl_sens *plain = NULL, *seen = NULL;
    double lost[2] = { 0, 0 };
    (void)state;
    make_menu(t);
    bl_rounded *r = round_all(t, NULL, 64);
    bl_sense_options o = { .samples = 64 };
    bl_sense_input in = { t->g, t->menu, t->stats, t->data, &o };
    assert_ok(t->ctx, bl_sense(t->ctx, &in, &plain));
    o.rounded = r;
    assert_ok(t->ctx, bl_sense(t->ctx, &in, &seen));
    assert_string_not_equal(plain->settings, seen->settings);
    for (int u = 0; u < t->menu->n_units; u++)
        for (int c = 0; seen->cell[u] && c < t->menu->units[u].n_candidates; c++) {
            if (t->menu->units[u].candidates[c].w_bits == 8) assert_true(plain->cell[u][c].value == seen->cell[u][c].value);
            lost[0] += plain->cell[u][c].objective;
            lost[1] += seen->cell[u][c].objective;
        }
    assert_true(lost[1] < 0.9 * lost[0]);
    bl_sens_free(plain);
    bl_sens_free(seen);
    bl_rounded_free(r);
    tiny_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sets_lie_on_grids),
        cmocka_unit_test(test_stitched_plans),
        cmocka_unit_test(test_sets_go_on),
        cmocka_unit_test(test_sensitivities_see_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
