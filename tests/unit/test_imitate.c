/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tuner "imitate" and what it brings to training: units that a rate is a share of, a start from a tuner's weights, the
 * teacher's values as targets, parts of pictures enlarged, samples mixed, and biases that keep fitting their grids.
 */
#include "tiny_tune.h"
#include "train/study.h"

static bl_weights *tune_words(tiny *t, const char *name, int64_t samples)
{
    bl_tune_input in = { .graph = t->g, .plan = t->plan, .data = t->data, .samples = samples, .words = bl_tuner_words(name) };
    bl_weights *w = NULL;
    assert_ok(t->ctx, bl_tuner_check(t->ctx, name));
    assert_ok(t->ctx, bl_tune(t->ctx, bl_tuner_find(name), &in, &w));
    return w;
}

/* Mean divergence of the softened answers from the float network's, of n samples. */
static double divergence(tiny *t, int64_t n, const bl_weights *w)
{
    bl_fake *fake;
    bl_eval_options eo = { .scores = true, .limit = n };
    bl_eval_result is, was;
    bl_train_options o = bl_train_options_default();
    double sum = 0;
    assert_ok(t->ctx, bl_fake_new(t->ctx, t->g, t->plan, w, &fake));
    assert_ok(t->ctx, bl_eval(t->ctx, &(bl_eval_subject){ .graph = t->g, .fake = fake }, t->data, &eo, &is));
    assert_ok(t->ctx, bl_eval(t->ctx, &(bl_eval_subject){ .graph = t->g }, t->data, &eo, &was));
    int64_t each = is.n_scores / is.samples;
    for (int64_t i = 0; i < is.samples; i++) sum += bl_teacher_loss(&o, is.scores + i * each, each, was.scores + i * each, 0, NULL);
    bl_eval_free(&is);
    bl_eval_free(&was);
    bl_fake_free(fake);
    return sum / (double)n;
}

/* Nearer to the float network's answers than the tuner that it starts with, without labels. */
static void test_better_than_its_start(void **state)
{
    (void)state;
    for (int bits = 2; bits <= 3; bits++) {
        tiny *t = tiny_new_net(1, tiny_residual, 64);
        tiny_plan_widths(t, bits, 8);
        bl_weights *w = tiny_tune(t, "adaround-bias", 64);
        double before = divergence(t, 64, w), after;
        bl_weights_free(w);
        w = tune_words(t, "imitate:steps=160,batch=16,micro=4,rate=0.02,features=1", 64);
        after = divergence(t, 64, w);
        if (after > 0.7 * before) fail_msg("%d bits: divergence %g, %g at its start", bits, after, before);
        bl_weights_free(w);
        tiny_free(t);
    }
}

static void test_threads_do_not_matter(void **state)
{
    bl_hash hash[2];
    (void)state;
    for (unsigned k = 0; k < 2; k++) {
        tiny *t = tiny_new_net(1 + k, tiny_residual, 32);
        tiny_plan_widths(t, 3, 8);
        bl_weights *w = tune_words(t, "imitate:steps=6,batch=16,micro=4,start=refit,zoom=0.5,mix=0.5,flip=1,freeze=0.01", 32);
        hash[k] = w->hash;
        bl_weights_free(w);
        tiny_free(t);
    }
    assert_string_equal(hash[0].hex, hash[1].hex);
}

/* A ceiling that has no room for as many places as there are threads takes places away, and no bits. */
static void test_memory_takes_places(void **state)
{
    static const char *const name = "imitate:start=none,steps=6,batch=16,micro=4,mix=0.5";
    bl_hash hash[3];
    uint64_t peak[3] = { 0 };
    (void)state;
    for (int k = 0; k < 3; k++) {
        tiny *t = tiny_new_net(k ? 4 : 1, tiny_residual, 32);
        tiny_plan_widths(t, 3, 8);
        if (k == 2) t->ctx->options.memory_bytes = peak[0] + (peak[1] - peak[0]) / 2;
        bl_weights *w = tune_words(t, name, 32);
        hash[k] = w->hash;
        peak[k] = t->ctx->peak_bytes;
        bl_weights_free(w);
        tiny_free(t);
    }
    assert_string_equal(hash[0].hex, hash[1].hex);
    assert_string_equal(hash[0].hex, hash[2].hex);
    assert_true(peak[1] > peak[0] + 3 * 4096 && peak[2] < peak[1]);
}

/* A weight that turns back again and again stays at its mean code; one that walks on does not, nor one whose turns are rare. */
static void test_swings_stay(void **state)
{
    enum { N = 4, STEPS = 60 };
    bl_ctx *ctx = test_ctx(1, 0);
    bl_arena *arena = bl_arena_new(ctx, "site");
    float x[N] = { 0 }, scale[2] = { 0.5f, 2 };
    int site_of[1] = { 0 };
    bl_value value = { .name = "w", .t = { .type = BL_F32, .rank = 2, .dim = { 2, 2 }, .data = x } };
    bl_graph net = { .values = &value, .n_values = 1 };
    bl_site site = { .value = 0, .weight = true, .bits = 4, .n_scale = 2, .scale = scale, .lo = -8, .hi = 7 };
    bl_study study = { .n = 1, .site = &site, .site_of = site_of };
    bl_lesson l = { .ctx = ctx, .arena = arena, .net = &net, .o = { .freeze = 0.05 } };
    (void)state;
    assert_ok(ctx, bl_study_watch(&study, &l));
    for (int step = 1; step <= STEPS; step++) {
        l.step = step;
        l.done = (double)step / STEPS;
        x[0] = scale[0] * (step % 2 ? 2.6f : 2.4f);          /* 3, 2, 3, 2 */
        x[1] = scale[0] * (-7.4f + 0.2f * (float)step);      /* -7, -6, ... to the grid's end */
        x[2] = scale[1] * (step % 3 ? -1.4f : -1.6f);        /* two thirds at -1 */
        x[3] = scale[1] * (step == 20 ? 5.6f : 5.4f);
        bl_study_settle(&l, &site, 2);
    }
    assert_true(x[0] == 2 * scale[0] || x[0] == 3 * scale[0]);
    assert_float_equal(x[1], scale[0] * (-7.4f + 0.2f * STEPS), 1e-6);
    assert_true(x[2] == -scale[1]);
    assert_float_equal(x[3], 5.4f * scale[1], 1e-6);
    scale[1] = 3; /* who stays moves with its grid */
    x[2] = 0;
    bl_study_settle(&l, &site, 2);
    assert_true(x[2] == -3);
    l.o.freeze = 0.9; /* nobody turns back that often */
    site.swing = NULL;
    assert_ok(ctx, bl_study_watch(&study, &l));
    for (int step = 1; step <= STEPS; step++) {
        x[0] = scale[0] * (step % 2 ? 2.6f : 2.4f);
        bl_study_settle(&l, &site, 2);
    }
    assert_float_equal(x[0], scale[0] * 2.4f, 1e-6);
    bl_arena_free(arena);
    test_ctx_free(ctx);
}

/* A start without steps to speak of: the codes are the first tuner's, the weights between those and the float network's. */
static void test_starts_in_its_cells(void **state)
{
    tiny *t = tiny_new_net(1, tiny_residual, 64);
    int64_t checked = 0, moved = 0;
    (void)state;
    tiny_plan_widths(t, 3, 8);
    bl_weights *first = tiny_tune(t, "adaround-bias", 64), *w = tune_words(t, "imitate:steps=1,rate=1e-12,batch=64,micro=16", 64);
    for (int i = 0; i < first->n_items; i++) {
        int v = first->items[i].value, q = t->plan->of_value[v];
        const float *now = bl_weights_find(w, v), *tuned = first->items[i].data, *was = t->g->values[v].t.data;
        int64_t n = first->items[i].count;
        assert_non_null(now);
        for (int64_t k = 0; k < n; k++, checked++) {
            if (q < 0) assert_true(now[k] == tuned[k]); /* a bias */
            if (q < 0) continue;
            float s = t->plan->quantizers[q].scale[t->plan->quantizers[q].n_scale > 1 ? k / (n / t->plan->quantizers[q].n_scale) : 0];
            assert_float_equal(rintf(now[k] / s), tuned[k] / s, 1e-3);
            assert_true(fabsf(now[k] - tuned[k]) <= 0.5f * fabsf(was[k] - tuned[k]) + 1e-6f);
            moved += now[k] != tuned[k];
        }
    }
    assert_true(checked > 200 && moved > checked / 2);
    bl_weights_free(first);
    bl_weights_free(w);
    tiny_free(t);
}

/* Adam's first step is the rate for every weight, whatever its gradient: here in steps of its own grid, for biases in steps of
 * their output's. */
static void test_units(void **state)
{
    tiny *t = tiny_new_net(1, tiny_residual, 64);
    int64_t weights = 0, whole = 0;
    (void)state;
    tiny_plan_widths(t, 4, 8);
    bl_weights *w = tune_words(t, "finetune:start=none,trainer=relative,teacher=1,steps=1,batch=64,micro=16,rate=0.25,warmup=0", 64);
    for (int i = 0; i < w->n_items; i++) {
        int v = w->items[i].value, q = t->plan->of_value[v];
        const float *was = t->g->values[v].t.data;
        int64_t n = w->items[i].count;
        for (int64_t k = 0; q >= 0 && k < n; k++, weights++) {
            const bl_quantizer *z = &t->plan->quantizers[q];
            float moved = fabsf(w->items[i].data[k] - was[k]), full;
            for (int g = 0; g < w->n_grids; g++) /* the plan has the scales that were learned: within a tenth of the rate */
                if (w->grids[g].value == v) assert_true(w->grids[g].count == z->n_scale);
            full = 0.25f * z->scale[z->n_scale > 1 ? k / (n / z->n_scale) : 0];
            assert_true(moved < 1.04f * full);
            whole += moved > 0.9f * full;
        }
    }
    assert_true(weights > 200 && whole > weights * 8 / 10);
    bl_weights_free(w);
    tiny_free(t);
}

/* ------------------------------------------------------------------ a bias on its grid */

/* A channel whose weights are next to nothing has next to no step, in which its bias fills the 31 bits that it has. */
static onnx_build *silent_channel(bl_ctx *ctx)
{
    onnx_build *b = tiny_dense(ctx, false);
    for (size_t i = 0; i < b->graph.n_initializer; i++) {
        float *x = (float *)(void *)b->graph.initializer[i]->raw_data.data;
        if (!strcmp(b->graph.initializer[i]->name, "b.w"))
            for (int k = 0; k < 5; k++) x[k] *= 1e-12f;
        if (!strcmp(b->graph.initializer[i]->name, "b.b")) x[0] = 2;
    }
    return b;
}

static void test_biases_keep_fitting(void **state)
{
    static const char *const names[] = { "finetune:teacher=1,steps=40,batch=16,micro=16,rate=0.02",
                                         "imitate:start=none,steps=40,batch=16,micro=16,rate=0.1" };
    (void)state;
    for (size_t k = 0; k < BL_COUNTOF(names); k++) {
        tiny *t = tiny_new_net(1, silent_channel, 64);
        bl_program *program;
        tiny_plan_widths(t, 4, 8);
        bl_weights *w = tune_words(t, names[k], 64);
        assert_ok(t->ctx, bl_lower(t->ctx, t->g, t->plan, w, &program));
        bl_program_free(program);
        bl_weights_free(w);
        tiny_free(t);
    }
}

/* ------------------------------------------------------------------ targets and samples */

/* The gradient by a value is that by differences; the teacher's own values cost nothing. */
static void test_features(void **state)
{
    bl_ctx *ctx = test_ctx(1, 0);
    bl_graph *g = ob_prepared(tiny_dense(ctx, false));
    bl_walk_options wo = { .keep_all = true };
    bl_walk *walk;
    int site_of[64] = { 0 }, v = g->outputs[0];
    bl_study study = { .site_of = site_of, .n_values = 4 };
    bl_lesson l = { .ctx = ctx, .study = &study, .o = { .features = 3, .micro = 1, .batch = 2 } };
    (void)state;
    assert_true(g->n_values <= 64);
    assert_ok(ctx, bl_walk_new(ctx, g, &wo, &walk));
    float *x = bl_walk_input(walk, 0)->data;
    for (int i = 0; i < 4; i++) x[i] = 0.5f * (float)(i + 1);
    assert_ok(ctx, bl_walk_run(walk, NULL, NULL));
    const bl_tensor *says = bl_walk_value(walk, v);
    int64_t n = bl_tensor_count(says);
    float now[16], grad[16] = { 0 }, none[16] = { 0 };
    bl_tensor y = *says, d = *says;
    double loss = 0, side[2];
    assert_true(n <= 16);
    y.data = now;
    d.data = grad;
    memcpy(now, says->data, (size_t)n * sizeof *now);
    bl_teacher_features(&l, says->data, &y, &loss, &d);
    assert_true(loss == 0 && !memcmp(grad, none, sizeof grad));
    for (int64_t i = 0; i < n; i++) now[i] += 0.1f * (float)(i + 1);
    bl_teacher_features(&l, says->data, &y, &loss, &d);
    assert_true(loss > 0);
    for (int64_t i = 0; i < n; i++) {
        float at = now[i], unused[16] = { 0 };
        d.data = unused;
        for (int s = 0; s < 2; s++) {
            now[i] = at + (s ? 1e-2f : -1e-2f);
            side[s] = 0;
            bl_teacher_features(&l, says->data, &y, &side[s], &d);
        }
        now[i] = at;
        assert_true(fabs((side[1] - side[0]) / 2e-2 / (double)l.o.batch - grad[i]) < 1e-3 * (1 + fabs(grad[i])));
    }
    bl_walk_free(walk);
    bl_graph_free(g);
    test_ctx_free(ctx);
}

/* A part of a ramp is a ramp, less steep; all of it is itself, or its mirror. */
static void test_zoom(void **state)
{
    enum { SIDE = 9 };
    float from[2 * SIDE * SIDE], to[2 * SIDE * SIDE];
    int mirrored = 0, parts = 0;
    (void)state;
    for (int c = 0; c < 2; c++)
        for (int i = 0; i < SIDE * SIDE; i++) from[c * SIDE * SIDE + i] = (float)(c ? i / SIDE : i % SIDE);
    for (uint64_t draw = 0; draw < 40; draw++) {
        bl_augment a = { .channels = 2, .height = SIDE, .width = SIDE, .zoom = draw % 2 ? 0.4 : 1, .flip = true };
        bl_rng r = bl_rng_make(7, "zoom", draw);
        assert_true(bl_augment_does(&a));
        bl_augment_sample(&a, &r, from, to);
        float across = to[SIDE / 2 * SIDE + 5] - to[SIDE / 2 * SIDE + 4], down = to[SIDE * SIDE + 5 * SIDE] - to[SIDE * SIDE + 4 * SIDE];
        mirrored += across < 0;
        assert_float_equal(fabsf(across), down, 1e-5);
        assert_true(down > 0.39f && down < 1.0001f);
        parts += down < 0.95f;
        for (int i = 0; i < 2 * SIDE * SIDE; i++) assert_true(to[i] > -1e-5f && to[i] < SIDE - 1 + 1e-5f);
        for (int i = 0; draw % 2 == 0 && i < SIDE * SIDE; i++)
            assert_float_equal(to[i], across < 0 ? SIDE - 1 - i % SIDE : i % SIDE, 1e-5);
    }
    assert_true(mirrored > 5 && mirrored < 35 && parts > 10);
}

static void test_words(void **state)
{
    bl_ctx *ctx = test_ctx(1, 0);
    (void)state;
    assert_ok(ctx, bl_tuner_check(ctx, "imitate:start=none,zoom=0.5,mix=0.5,features=0,flip=1,heat=1,freeze=0.03"));
    assert_ok(ctx, bl_tuner_check(ctx, "finetune:start=refit,teacher=1,trainer=relative,steps=10"));
    assert_int_equal(bl_tuner_check(ctx, "imitate:start=nobody"), BL_USAGE);
    assert_int_equal(bl_tuner_check(ctx, "imitate:start=imitate"), BL_USAGE);
    assert_int_equal(bl_tuner_check(ctx, "imitate:zoom=1.5"), BL_USAGE);
    assert_int_equal(bl_tuner_check(ctx, "imitate:mix=-1"), BL_USAGE);
    assert_int_equal(bl_tuner_check(ctx, "imitate:freeze=2"), BL_USAGE);
    assert_int_equal(bl_tuner_check(ctx, "imitate:nothing=1"), BL_USAGE);
    test_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_better_than_its_start), cmocka_unit_test(test_threads_do_not_matter),
        cmocka_unit_test(test_starts_in_its_cells),   cmocka_unit_test(test_units),
        cmocka_unit_test(test_biases_keep_fitting),   cmocka_unit_test(test_features),
        cmocka_unit_test(test_zoom),                  cmocka_unit_test(test_words),
        cmocka_unit_test(test_memory_takes_places),   cmocka_unit_test(test_swings_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
