/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Weights in groups: codes and multiples beside a plain search, the order of groups beside the order of the kernels,
 * plans and their file, size as promised, the program and its file beside the quantized walk, and what is refused.
 */
#include "stored_net.h"

enum { OUT = 5, IN = 6, TAPS = 9, INPUTS = IN * TAPS };

/* Weights whose size depends on where they stand, so that groups have something to win. */
static void fill(float *w, size_t n)
{
    bl_rng r = bl_rng_make(3, "grouped", 0);
    for (size_t i = 0; i < n; i++) w[i] = (float)(bl_rng_normal(&r) * exp(1.5 * sin((double)i * 0.7)));
}

typedef struct made {
    float scale[OUT];
    uint8_t multiple[OUT * INPUTS];
    int8_t codes[OUT * INPUTS];
    bl_weight_grid grid;
} made;

static void make(made *m, const bl_tensor *t, int axis, int bits, int group, bool narrow)
{
    float channel[INPUTS];
    double step[INPUTS];
    m->grid = (bl_weight_grid){ .bits = bits, .axis = axis, .narrow = narrow, .n_scale = OUT, .scale = m->scale, .group = group,
                                .n_multiple = (int)(OUT * bl_group_count(INPUTS, group)), .multiple = m->multiple };
    bl_grouped_make(t, bl_observer_find("mse"), channel, step, &m->grid);
    bl_grouped_codes(t, &m->grid, m->codes);
}

/* A convolution's weight, and the same numbers as a matrix in the order of the kernels' sums. */
static void order_is_that_of_the_sums(void **state)
{
    float conv[OUT * INPUTS], rows[OUT * INPUTS], columns[OUT * INPUTS];
    bl_tensor a = { .type = BL_F32, .rank = 4, .dim = { OUT, IN, 3, 3 }, .data = conv };
    bl_tensor b = { .type = BL_F32, .rank = 2, .dim = { OUT, INPUTS }, .data = rows };
    bl_tensor c = { .type = BL_F32, .rank = 2, .dim = { INPUTS, OUT }, .data = columns };
    (void)state;
    fill(conv, OUT * INPUTS);
    for (int o = 0; o < OUT; o++)
        for (int i = 0; i < IN; i++)
            for (int k = 0; k < TAPS; k++)
                rows[o * INPUTS + k * IN + i] = columns[(k * IN + i) * OUT + o] = conv[(o * IN + i) * TAPS + k];
    for (int bits = 1; bits <= 6; bits++)
        for (int group = 2; group <= 64; group = group * 2 + 1) {
            made x, y, z;
            make(&x, &a, 0, bits, group, false);
            make(&y, &b, 0, bits, group, false);
            make(&z, &c, 1, bits, group, false);
            assert_memory_equal(x.scale, y.scale, sizeof x.scale);
            assert_memory_equal(x.scale, z.scale, sizeof x.scale);
            assert_memory_equal(x.multiple, y.multiple, (size_t)x.grid.n_multiple);
            assert_memory_equal(x.multiple, z.multiple, (size_t)x.grid.n_multiple);
            for (int o = 0; o < OUT; o++)
                for (int i = 0; i < IN; i++)
                    for (int k = 0; k < TAPS; k++) {
                        assert_int_equal(x.codes[(o * IN + i) * TAPS + k], y.codes[o * INPUTS + k * IN + i]);
                        assert_int_equal(x.codes[(o * IN + i) * TAPS + k], z.codes[(k * IN + i) * OUT + o]);
                    }
        }
}

/* Every code is a narrow one times its multiple, the nearest there is, and groups leave less error than one scale. */
static void codes_are_products(void **state)
{
    float w[OUT * INPUTS];
    bl_tensor t = { .type = BL_F32, .rank = 2, .dim = { OUT, INPUTS }, .data = w };
    (void)state;
    fill(w, OUT * INPUTS);
    memset(w + INPUTS, 0, INPUTS * sizeof *w);
    for (int form = 0; form < 12; form++) {
        double error[2] = { 0, 0 };
        int bits = 1 + form / 2;
        bool narrow = form % 2;
        int32_t low, top;
        bl_weight_code_range(bits, narrow, &low, &top);
        for (int wide = 0; wide < 2; wide++) {
            int group = wide ? INPUTS : 8;
            made m;
            make(&m, &t, 0, bits, group, narrow);
            assert_true(!(m.scale[1] > 0)); /* nothing there: whoever makes many grids chooses one */
            for (int i = 0; i < OUT * INPUTS; i++) {
                int o = i / INPUTS, times = m.multiple[o * (int)bl_group_count(INPUTS, group) + i % INPUTS / group];
                double best = INFINITY, d = (double)w[i] - (double)m.scale[o] * m.codes[i];
                if (o == 1) continue;
                assert_true(times >= 1 && times * -low <= 127 && m.codes[i] % times == 0 && m.codes[i] <= top * times &&
                            m.codes[i] >= low * times);
                for (int q = low; q <= top; q++)
                    if (bits > 1 || q) best = fmin(best, fabs((double)w[i] - (double)m.scale[o] * times * q));
                assert_true(fabs(d) <= best + 1e-6 * (double)m.scale[o]);
                error[wide] += d * d;
            }
        }
        assert_true(error[0] < (bits == 1 ? 0.95 : bits < 5 ? 0.8 : 1.0) * error[1]); /* signs win little, wide codes have few multiples */
    }
}

static void plans_run(void **state)
{
    static const int groups[] = { 2, 5, 16, 1 << 20 };
    char dir[] = "/tmp/bl-group-XXXXXX";
    booked q;
    (void)state;
    assert_non_null(mkdtemp(dir));
    open_network(&q, 1, dir);
    for (int bits = 1; bits <= 8; bits++) {
        int group = groups[bits % (int)BL_COUNTOF(groups)];
        plan_bits(&q, bits, false, group);
        double size = 0;
        for (int i = 0; i < q.plan->n_quantizers; i++) {
            const bl_quantizer *k = &q.plan->quantizers[i];
            if (!k->weight) continue;
            assert_int_equal(k->kind, bits <= 6 ? BL_Q_GROUPED : BL_Q_AFFINE);
            int64_t n = bl_tensor_count(&q.p->values[k->value].t);
            size += (double)((n * bits + 7) / 8 + (bits <= 6 ? k->n_scale * ((n / k->n_scale + group - 1) / group) : 0));
        }
        check_plan(&q, dir, size);
        for (int i = 0; bits <= 6 && i < q.plan->n_quantizers; i++) { /* the hash sees multiples */
            if (!q.plan->quantizers[i].weight) continue;
            bl_hash was, is;
            assert_ok(q.ctx, bl_plan_content(q.ctx, q.plan, &was));
            q.plan->quantizers[i].multiple[0] ^= 3;
            assert_ok(q.ctx, bl_plan_content(q.ctx, q.plan, &is));
            assert_string_not_equal(was.hex, is.hex);
            break;
        }
        drop_plan(&q);
    }
    close_network(&q);
}

/* The empirical correction knows all forms of codes: outputs' means come back, which rounding moved. */
static void biases_are_corrected(void **state)
{
    char dir[] = "/tmp/bl-group-XXXXXX";
    booked q;
    (void)state;
    assert_non_null(mkdtemp(dir));
    open_network(&q, 1, dir);
    for (int form = 0; form < 3; form++) {
        bl_weights *w;
        int corrected = 0;
        plan_bits(&q, 2, form == 1, form == 2 ? 8 : 0);
        bl_tune_input in = { .graph = q.p, .plan = q.plan, .data = q.data, .samples = 16 };
        assert_ok(q.ctx, bl_tune(q.ctx, bl_tuner_find("bias-correction"), &in, &w));
        for (int i = 0; i < q.p->n_nodes; i++) {
            int b = bl_layer_weight(q.p, i) >= 0 ? bl_layer_bias(q.p, i) : -1;
            if (b < 0) continue;
            const float *now = bl_weights_find(w, b);
            assert_non_null(now);
            corrected += !!memcmp(now, q.p->values[b].t.data, bl_tensor_bytes(&q.p->values[b].t));
        }
        assert_true(corrected > 0);
        bl_weights_free(w);
        drop_plan(&q);
    }
    close_network(&q);
}

static void edges(void **state)
{
    char dir[] = "/tmp/bl-group-XXXXXX", path[128];
    booked q;
    bl_weight_grid grid;
    bl_trained *t;
    bl_weights *w;
    bl_train_options o = bl_train_options_default();
    (void)state;
    assert_non_null(mkdtemp(dir));
    open_network(&q, 1, dir);
    plan_bits(&q, 3, false, 4);
    snprintf(path, sizeof path, "%s/model.onnx", dir);
    bl_export_options halved = { .reduce_range = true }, four = { .int4 = true };
    assert_ok(q.ctx, bl_export_qdq(q.ctx, q.p, q.plan, NULL, NULL, path));
    assert_ok(q.ctx, bl_export_qdq(q.ctx, q.p, q.plan, NULL, &four, path)); /* the codes need eight all the same */
    assert_int_equal(bl_export_qdq(q.ctx, q.p, q.plan, NULL, &halved, path), BL_UNAVAILABLE);
    assert_int_equal(bl_train_quantized(q.ctx, q.p, q.plan, q.data, "lsq", &o, &w, &t), BL_UNAVAILABLE);
    bl_arena *a = bl_arena_new(q.ctx, "grids");
    bl_grid_options both[] = { { .weight_group = 4, .power_of_two = true }, { .weight_group = 4, .per_tensor = true },
                               { .weight_group = 4, .codebook = true } };
    int layer = 0, bits = 2;
    while (bl_layer_weight(q.p, layer) < 0) layer++;
    for (size_t i = 0; i < BL_COUNTOF(both); i++)
        assert_int_equal(bl_weight_grids(a, q.p, &layer, &bits, 1, &both[i], &grid), BL_USAGE);
    bl_arena_free(a);
    drop_plan(&q);
    close_network(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(order_is_that_of_the_sums), cmocka_unit_test(codes_are_products),
                                        cmocka_unit_test(plans_run), cmocka_unit_test(biases_are_corrected), cmocka_unit_test(edges) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
