/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Codebooks from k-means to integers: clusters beside the exact ones, plans and their file, size as promised, the
 * program and its file beside the quantized walk, the tuner, training, and what is refused.
 */
#include "stored_net.h"

/* ------------------------------------------------------------------ k-means */

/* Least squared error of k clusters of sorted numbers: exact, by dynamic programming. */
static double exact_clusters(const double *x, int n, int k)
{
    static double best[9][201];
    for (int m = 0; m <= k; m++)
        for (int i = 0; i <= n; i++) {
            best[m][i] = i ? INFINITY : 0;
            double sum = 0, square = 0;
            for (int j = i; m && j > 0; j--) {
                sum += x[j - 1];
                square += x[j - 1] * x[j - 1];
                best[m][i] = fmin(best[m][i], best[m - 1][j - 1] + square - sum * sum / (i - j + 1));
            }
        }
    return best[k][n];
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void clusters_are_near_the_best(void **state)
{
    enum { N = 200 };
    bl_ctx *ctx = test_ctx(1, 0);
    (void)state;
    for (int bits = 1; bits <= 3; bits++) {
        double worst = 1;
        for (uint64_t seed = 0; seed < 10; seed++) {
            float w[N], scale, real[N];
            double x[N], error = 0;
            int8_t table[8], codes[N];
            bl_rng r = bl_rng_make(seed, "weights", 0);
            bl_tensor t = { .type = BL_F32, .rank = 1, .dim = { N }, .data = w };
            bl_weight_grid g = { .bits = bits, .axis = -1, .n_scale = 1, .scale = &scale, .n_table = 1 << bits, .table = table };
            for (int i = 0; i < N; i++) x[i] = w[i] = (float)bl_rng_normal(&r);
            assert_ok(ctx, bl_codebook_make(ctx, &t, &g));
            bl_grid_codes(&t, &g, codes);
            bl_weight_decode(&t, codes, &scale, 1, -1, real);
            for (int i = 0; i < N; i++) {
                for (int k = 0; k < g.n_table; k++) /* nearest */
                    assert_true(fabsf(w[i] - real[i]) <= fabsf(w[i] - (float)table[k] * scale) + 1e-6f);
                error += pow((double)w[i] - real[i], 2);
            }
            for (int k = 1; k < g.n_table; k++) assert_true(table[k] >= table[k - 1]);
            qsort(x, N, sizeof *x, by_value);
            worst = fmax(worst, error / exact_clusters(x, N, g.n_table));
        }
        if (worst > 1.6) fail_msg("%d bits: %g times the least error", bits, worst);
    }
    test_ctx_free(ctx);
}

/* Channels of any size cost the same: the table is over their root mean squares. */
static void channels_have_their_scales(void **state)
{
    enum { C = 4, N = 300 };
    bl_ctx *ctx = test_ctx(1, 0);
    static float w[C * N], real[C * N];
    static int8_t codes[C * N];
    float scale[C];
    int8_t table[16];
    bl_rng r = bl_rng_make(1, "weights", 0);
    bl_tensor t = { .type = BL_F32, .rank = 2, .dim = { C, N }, .data = w };
    bl_weight_grid g = { .bits = 4, .axis = 0, .n_scale = C, .scale = scale, .n_table = 16, .table = table };
    (void)state;
    for (int c = 0; c < C; c++)
        for (int i = 0; i < N; i++) w[c * N + i] = c == 3 ? 0 : (float)bl_rng_normal(&r) * powf(10, (float)c);
    assert_ok(ctx, bl_codebook_make(ctx, &t, &g));
    bl_grid_codes(&t, &g, codes);
    bl_weight_decode(&t, codes, scale, C, 0, real);
    for (int c = 0; c < 3; c++) {
        double error = 0, energy = 0;
        for (int i = 0; i < N; i++) {
            error += pow((double)w[c * N + i] - real[c * N + i], 2);
            energy += pow((double)w[c * N + i], 2);
        }
        assert_true(error < 0.02 * energy); /* Lloyd and Max: 0.0095 of a Gaussian's */
    }
    assert_true(scale[3] > 0);
    test_ctx_free(ctx);
}

/* ------------------------------------------------------------------ plans */

static void plans_run(void **state)
{
    char dir[] = "/tmp/bl-book-XXXXXX";
    booked q;
    (void)state;
    assert_non_null(mkdtemp(dir));
    open_network(&q, 1, dir);
    for (int bits = 1; bits <= 8; bits++) {
        plan_bits(&q, bits, true, 0);
        double size = 0;
        for (int i = 0; i < q.plan->n_quantizers; i++) {
            const bl_quantizer *k = &q.plan->quantizers[i];
            if (!k->weight) continue;
            assert_int_equal(k->kind, bits < 8 ? BL_Q_CODEBOOK : BL_Q_AFFINE);
            size_t n = (size_t)bl_tensor_count(&q.p->values[k->value].t);
            size += (double)((n * (size_t)bits + 7) / 8) + (bits < 8 ? 1 << bits : 0);
        }
        check_plan(&q, dir, size);
        drop_plan(&q);
    }
    close_network(&q);
}

/* k-means of a linear plan is the plan with codebooks, and its record makes it so again. */
static void tuner_makes_them(void **state)
{
    char dir[] = "/tmp/bl-book-XXXXXX", path[128];
    booked q;
    bl_plan *booked_plan, *linear;
    bl_weights *w, *back;
    (void)state;
    assert_non_null(mkdtemp(dir));
    open_network(&q, 1, dir);
    plan_bits(&q, 3, true, 0);
    booked_plan = q.plan;
    bl_menu_free(q.menu);
    plan_bits(&q, 3, false, 0);
    linear = q.plan;
    assert_false(same_content(q.ctx, booked_plan, linear));
    bl_tune_input in = { .graph = q.p, .plan = linear, .data = q.data, .samples = 8 };
    assert_ok(q.ctx, bl_tune(q.ctx, bl_tuner_find("codebook"), &in, &w));
    assert_true(same_content(q.ctx, booked_plan, linear));
    snprintf(path, sizeof path, "%s/weights.blw", dir);
    assert_ok(q.ctx, bl_weights_write(q.ctx, q.p, w, path));
    assert_ok(q.ctx, bl_weights_read(q.ctx, q.p, path, &back));
    drop_plan(&q);
    plan_bits(&q, 3, false, 0);
    assert_ok(q.ctx, bl_plan_use_weights(q.ctx, q.plan, back));
    assert_true(same_content(q.ctx, booked_plan, q.plan));
    drop_plan(&q);
    plan_bits(&q, 8, false, 0); /* nothing to share at 8 bits */
    bl_weights *none;
    in.plan = q.plan;
    assert_int_equal(bl_tune(q.ctx, bl_tuner_find("codebook"), &in, &none), BL_USAGE);
    drop_plan(&q);
    bl_plan_free(booked_plan);
    bl_weights_free(back);
    bl_weights_free(w);
    close_network(&q);
}

/* ------------------------------------------------------------------ training */

static void training_keeps_the_clusters(void **state)
{
    char dir[] = "/tmp/bl-book-XXXXXX";
    bl_hash hash[2];
    (void)state;
    assert_non_null(mkdtemp(dir));
    for (unsigned threads = 1; threads <= 2; threads++) {
        booked q;
        bl_weights *w;
        bl_trained *t;
        bl_train_options o = bl_train_options_default();
        o.epochs = 6, o.batch = 32, o.micro = 8, o.held_out = 0, o.rate = 0.002, o.optimizer = "adam", o.warmup = 0;
        open_network(&q, threads, dir);
        plan_bits(&q, 2, true, 0);
        assert_ok(q.ctx, bl_train_quantized(q.ctx, q.p, q.plan, q.data, "lsq", &o, &w, &t));
        assert_true(t->epochs[o.epochs - 1].loss < t->epochs[0].loss);
        for (int i = 0; i < q.plan->n_quantizers; i++) { /* four codes, and every weight stands near its own */
            const bl_quantizer *k = &q.plan->quantizers[i];
            if (!k->weight) continue;
            const float *x = bl_weights_find(w, k->value);
            const bl_tensor *shape = &q.p->values[k->value].t;
            int64_t n = bl_tensor_count(shape), inner = n / shape->dim[0];
            assert_int_equal(k->kind, BL_Q_CODEBOOK);
            assert_int_equal(k->axis, 0);
            for (int64_t j = 0; j < n; j++) {
                float code = x[j] / k->scale[j / inner];
                assert_true(fabsf(code - (float)k->table[bl_codebook_index(k->table, k->n_table, code)]) < 0.501f);
            }
        }
        check_program(&q, q.plan, w, dir, 0);
        hash[threads - 1] = w->hash;
        bl_weights_free(w);
        bl_trained_free(t);
        drop_plan(&q);
        close_network(&q);
    }
    assert_string_equal(hash[0].hex, hash[1].hex);
}

/* ------------------------------------------------------------------ what is refused, what is exported */

static void edges(void **state)
{
    char dir[] = "/tmp/bl-book-XXXXXX", path[128];
    booked q;
    bl_plan *back;
    bl_weight_grid grid;
    (void)state;
    assert_non_null(mkdtemp(dir));
    open_network(&q, 1, dir);
    plan_bits(&q, 2, true, 0);
    snprintf(path, sizeof path, "%s/model.onnx", dir);
    assert_ok(q.ctx, bl_export_qdq(q.ctx, q.p, q.plan, NULL, NULL, path));
    bl_export_options halved = { .reduce_range = true };
    assert_int_equal(bl_export_qdq(q.ctx, q.p, q.plan, NULL, &halved, path), BL_UNAVAILABLE);
    static const struct { int at; int8_t to; } wrong[] = { { 0, 100 }, { 3, -128 } };
    for (size_t i = 0; i < BL_COUNTOF(wrong); i++) { /* out of order, out of range */
        bl_quantizer *k = NULL;
        for (int j = 0; j < q.plan->n_quantizers && !k; j++) k = q.plan->quantizers[j].weight ? &q.plan->quantizers[j] : NULL;
        assert_non_null(k);
        int8_t was = k->table[wrong[i].at];
        k->table[wrong[i].at] = wrong[i].to;
        snprintf(path, sizeof path, "%s/plan.json", dir);
        assert_ok(q.ctx, bl_plan_write(q.ctx, q.p, q.plan, path));
        assert_int_equal(bl_plan_read(q.ctx, q.p, path, &back), BL_DATA);
        k->table[wrong[i].at] = was;
    }
    bl_arena *a = bl_arena_new(q.ctx, "grids");
    bl_grid_options both = { .codebook = true, .power_of_two = true };
    int layer = 0, bits = 2;
    while (bl_layer_weight(q.p, layer) < 0) layer++;
    assert_int_equal(bl_weight_grids(a, q.p, &layer, &bits, 1, &both, &grid), BL_USAGE);
    bl_arena_free(a);
    drop_plan(&q);
    close_network(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(clusters_are_near_the_best), cmocka_unit_test(channels_have_their_scales),
                                        cmocka_unit_test(plans_run), cmocka_unit_test(tuner_makes_them),
                                        cmocka_unit_test(training_keeps_the_clusters), cmocka_unit_test(edges) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
