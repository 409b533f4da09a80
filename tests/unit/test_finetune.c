/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Training on a plan's grids: slopes of the learned figures against their formulas, every row of
 * quant_trainers.def, the tuner finetune with its words and the float network as its teacher, and that what is left is what the integers compute.
 */
#include <unistd.h>

#include "sense/sense.h"
#include "train/lesson.h"
#include "train_net.h"

static void test_slopes(void **state)
{
    (void)state;
    for (double v = -6; v < 6; v += 0.37) { /* grid -4..3: s round(clamp(x / s)), by s at fixed x */
        double lsq = v < -4 ? -4 : v > 3 ? 3 : rint(v) - v;
        assert_true(fabs(bl_lsq_slope(v, -4, 3) - lsq) < 1e-12);
        assert_true(bl_pact_slope(v, 0, 3) == (v >= 3));
    }
    /* Where rounding is left out of it, PACT's slope is that of 0.5 (|x| - |x - a| + a) by a. */
    for (double x = -1; x < 5; x += 0.23) {
        double a = 3, h = 1e-6, side[2];
        for (int d = 0; d < 2; d++) {
            double at = a + (d ? h : -h);
            side[d] = 0.5 * (fabs(x) - fabs(x - at) + at);
        }
        if (fabs(x - a) > 1e-3 && x > 0) assert_true(fabs((side[1] - side[0]) / (2 * h) - bl_pact_slope(x, 0, a)) < 1e-6);
    }
}

typedef struct planned {
    bl_ctx *ctx;
    bl_graph *g, *p;
    bl_data *data;
    bl_plan *plan;
} planned;

/* The trained network, and a plan of 2-bit weights and 4-bit values for it. */
static void plan_small(planned *q, unsigned threads, const char *dir)
{
    bl_train_options o = small();
    bl_menu *menu;
    bl_stats *stats;
    bl_menu_options mo = { .w_bits = { 2 }, .n_w = 1, .a_bits = { 4 }, .n_a = 1, .keep_ends = true };
    q->ctx = test_ctx(threads, 0);
    taught(q->ctx, &o, dir, &q->data, &q->g, &q->p);
    assert_ok(q->ctx, bl_calibrate(q->ctx, q->p, q->data, NULL, &stats));
    assert_ok(q->ctx, bl_menu_make(q->ctx, q->p, &mo, &menu));
    int *choice = calloc((size_t)menu->n_units, sizeof *choice);
    assert_ok(q->ctx, bl_plan_make(q->ctx, q->p, menu, stats, choice, NULL, "test", &q->plan));
    free(choice);
    bl_menu_free(menu);
    bl_stats_free(stats);
}

static void planned_free(planned *q)
{
    bl_plan_free(q->plan);
    bl_data_free(q->data);
    bl_graph_free(q->p);
    bl_graph_free(q->g);
    test_ctx_free(q->ctx);
}

/* Every row lowers the loss on the grids, the same for any number of threads; what it leaves lowers to a
 * program; only rows that learn scales move them. */
static void test_on_grids(void **state)
{
    char dir[] = "/tmp/bl-train-XXXXXX";
    bl_train_options o = small();
    (void)state;
    assert_non_null(mkdtemp(dir));
    o.random = false;
    o.epochs = 8;
    o.rate = 0.01;
    o.warmup = 0;
    for (size_t k = 0; k < bl_n_quant_trainers; k++) {
        bl_hash hash[2];
        for (unsigned threads = 1; threads <= 2; threads++) {
            planned q;
            bl_weights *w;
            bl_trained *t;
            bl_program *program;
            plan_small(&q, threads, dir);
            float before = 0, after = 0;
            for (int i = 0; i < q.plan->n_quantizers; i++) before += q.plan->quantizers[i].scale[0];
            assert_ok(q.ctx, bl_train_quantized(q.ctx, q.p, q.plan, q.data, bl_quant_trainers[k].name, &o, &w, &t));
            for (int i = 0; i < q.plan->n_quantizers; i++) after += q.plan->quantizers[i].scale[0];
            assert_true((before != after) == (strcmp(bl_quant_trainers[k].name, "ste") != 0));
            assert_true(t->epochs[o.epochs - 1].loss < t->epochs[0].loss);
            assert_string_equal(q.plan->weights.hex, w->hash.hex);
            assert_ok(q.ctx, bl_lower(q.ctx, q.p, q.plan, w, &program));
            hash[threads - 1] = w->hash;
            bl_program_free(program);
            bl_weights_free(w);
            bl_trained_free(t);
            planned_free(&q);
        }
        assert_string_equal(hash[0].hex, hash[1].hex);
    }
}

/* ------------------------------------------------------------------ the tuner */

static double loss_of(const planned *q, const bl_plan *plan, const bl_weights *w, int64_t *right)
{
    bl_fake *fake;
    bl_eval_options eo = { .scores = true };
    bl_eval_result r;
    double loss = 0;
    assert_ok(q->ctx, bl_fake_new(q->ctx, q->p, plan, w, &fake));
    assert_ok(q->ctx, bl_eval(q->ctx, &(bl_eval_subject){ .graph = q->p, .fake = fake }, q->data, &eo, &r));
    *right = (int64_t)(r.top1 * (double)r.samples + 0.5);
    for (int64_t i = 0; i < r.samples; i++) {
        bl_train_options o = bl_train_options_default();
        loss += bl_loss_find("cross-entropy")->of(&o, r.scores + 3 * i, 3, NULL, bl_data_label(q->data, i), 0, NULL);
    }
    bl_eval_free(&r);
    bl_fake_free(fake);
    return loss;
}

/* The walk on the learned grids and the integer program give the same scores, a step of the last grid apart. */
static void check_integers(const planned *q, const bl_plan *plan, const bl_weights *w)
{
    bl_program *program;
    bl_fake *fake;
    bl_eval_options eo = { .scores = true };
    bl_eval_result walk, integers;
    int64_t apart = 0;
    float step = plan->quantizers[plan->of_value[q->p->outputs[0]]].scale[0];
    assert_ok(q->ctx, bl_lower(q->ctx, q->p, plan, w, &program));
    assert_ok(q->ctx, bl_fake_new(q->ctx, q->p, plan, w, &fake));
    assert_ok(q->ctx, bl_eval(q->ctx, &(bl_eval_subject){ .graph = q->p, .fake = fake }, q->data, &eo, &walk));
    assert_ok(q->ctx, bl_eval(q->ctx, &(bl_eval_subject){ .program = program }, q->data, &eo, &integers));
    assert_int_equal(walk.n_scores, integers.n_scores);
    for (int64_t i = 0; i < walk.n_scores; i++) {
        double d = fabs((double)walk.scores[i] - integers.scores[i]);
        apart += d > 0.5 * step;
        assert_true(d < 8.5 * step);
    }
    assert_true(apart <= walk.n_scores / 20);
    bl_eval_free(&walk);
    bl_eval_free(&integers);
    bl_fake_free(fake);
    bl_program_free(program);
}

static void test_finetune(void **state)
{
    char dir[] = "/tmp/bl-tune-XXXXXX", path[64];
    planned q, again;
    bl_weights *w, *back;
    bl_hash before, after, key;
    int64_t right[2];
    (void)state;
    assert_non_null(mkdtemp(dir));
    plan_small(&q, 1, dir);
    plan_small(&again, 1, dir);
    const char *name = "finetune:epochs=6,rate=0.002,batch=16,micro=8";
    const bl_tuner *row = bl_tuner_find(name);
    assert_string_equal(row->name, "finetune");
    assert_ok(q.ctx, bl_tuner_check(q.ctx, name));
    bl_tune_input in = { .graph = q.p, .plan = q.plan, .data = q.data, .samples = 64, .words = bl_tuner_words(name) };
    double loss = loss_of(&q, q.plan, NULL, &right[0]);
    assert_ok(q.ctx, bl_tune_key(q.ctx, row, &in, &key));
    assert_ok(q.ctx, bl_plan_content(q.ctx, q.plan, &before));
    assert_ok(q.ctx, bl_tune(q.ctx, row, &in, &w));
    assert_ok(q.ctx, bl_plan_content(q.ctx, q.plan, &after));
    assert_string_equal(w->key.hex, key.hex);
    assert_string_equal(w->plan.hex, before.hex);
    assert_string_not_equal(before.hex, after.hex);
    assert_true(loss_of(&q, q.plan, w, &right[1]) < 0.8 * loss);
    assert_true(right[1] >= right[0]);
    check_integers(&q, q.plan, w);

    /* Kept, and read again for a plan that was just made: the same grids, the same record. */
    snprintf(path, sizeof path, "%s/weights.blw", dir);
    assert_ok(q.ctx, bl_weights_write(q.ctx, q.p, w, path));
    assert_ok(again.ctx, bl_weights_read(again.ctx, again.p, path, &back));
    assert_string_equal(back->hash.hex, w->hash.hex);
    assert_ok(again.ctx, bl_plan_use_weights(again.ctx, again.plan, back));
    assert_string_equal(again.plan->weights.hex, w->hash.hex);
    assert_ok(again.ctx, bl_plan_content(again.ctx, again.plan, &before));
    assert_string_equal(before.hex, after.hex);
    bl_weights_free(back);
    bl_weights_free(w);
    planned_free(&q);
    planned_free(&again);
}

/* The words that can be changed are the tuner's own. */
static void test_few_samples(void **state)
{
    char dir[] = "/tmp/bl-tune-XXXXXX";
    planned q;
    bl_weights *w = NULL;
    (void)state;
    assert_non_null(mkdtemp(dir));
    plan_small(&q, 1, dir);
    const char *name = "finetune:epochs=1,samples=20,batch=32";
    bl_tune_input in = { .graph = q.p, .plan = q.plan, .data = q.data, .samples = 64, .words = bl_tuner_words(name) };
    assert_fails(q.ctx, bl_tune(q.ctx, bl_tuner_find(name), &in, &w), BL_USAGE, "20 samples are less than one batch of 32");
    assert_non_null(strstr(bl_last_error(q.ctx).remedy, "finetune:batch=8"));
    assert_null(w);
    planned_free(&q);
}

/* What the oracle said of a trained plan is found by the plan before training, in another process too: a search that is
 * started again does not train again. */
static void test_remembered(void **state)
{
    char dir[] = "/tmp/bl-tune-XXXXXX", trials[64];
    const char *name = "finetune:epochs=1,batch=16,micro=8";
    planned q, again;
    bl_weights *w;
    bl_oracle *oracle;
    bl_hash key;
    bl_score said, found;
    bool known;
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(trials, sizeof trials, "%s/trials.jsonl", dir);
    plan_small(&q, 1, dir);
    bl_tune_input in = { .graph = q.p, .plan = q.plan, .data = q.data, .samples = 64, .words = bl_tuner_words(name) };
    assert_ok(q.ctx, bl_tune(q.ctx, bl_tuner_find(name), &in, &w));
    assert_true(w->n_grids > 0); /* the plan has changed */
    assert_ok(q.ctx, bl_oracle_new(q.ctx, q.p, q.data, 32, trials, &oracle));
    assert_ok(q.ctx, bl_oracle_score(oracle, q.plan, w, &said));
    bl_oracle_free(oracle);
    bl_weights_free(w);
    planned_free(&q);

    plan_small(&again, 1, dir);
    bl_tune_input same = { .graph = again.p, .plan = again.plan, .data = again.data, .samples = 64, .words = bl_tuner_words(name) };
    assert_ok(again.ctx, bl_tune_key(again.ctx, bl_tuner_find(name), &same, &key));
    assert_ok(again.ctx, bl_oracle_new(again.ctx, again.p, again.data, 32, trials, &oracle));
    assert_ok(again.ctx, bl_oracle_recall(oracle, again.plan, &key, &found, &known));
    assert_true(known && found.remembered && found.sqnr_db == said.sqnr_db && found.top1 == said.top1);
    same.words = "epochs=2,batch=16,micro=8"; /* another training is another answer */
    assert_ok(again.ctx, bl_tune_key(again.ctx, bl_tuner_find(name), &same, &key));
    assert_ok(again.ctx, bl_oracle_recall(oracle, again.plan, &key, &found, &known));
    assert_false(known);
    assert_ok(again.ctx, bl_oracle_recall(oracle, again.plan, NULL, &found, &known)); /* as is none */
    assert_false(known);
    bl_oracle_free(oracle);
    planned_free(&again);
}

/* The teacher's loss: nothing where the answers are the same, slopes as by differences, and not moved by what is added to
 * all logits. */
static void test_teacher_loss(void **state)
{
    const float says[4] = { 2.5f, -1, 0.25f, 4 };
    (void)state;
    for (double heat = 0.5; heat < 5; heat *= 2) {
        bl_train_options o = bl_train_options_default();
        float y[4] = { 1, 0.5f, -2, 3 }, grad[4] = { 0 }, moved[4], none[4] = { 0 };
        o.heat = heat;
        double loss = bl_teacher_loss(&o, y, 4, says, 0.5, grad);
        assert_true(loss > 0);
        for (int i = 0; i < 4; i++) {
            float at = y[i];
            y[i] = at + 1e-2f;
            double more = bl_teacher_loss(&o, y, 4, says, 1, NULL);
            y[i] = at - 1e-2f;
            double slope = (more - bl_teacher_loss(&o, y, 4, says, 1, NULL)) / 2e-2;
            y[i] = at;
            assert_true(fabs(0.5 * slope - grad[i]) < 1e-3);
        }
        for (int i = 0; i < 4; i++) moved[i] = says[i] + 100;
        assert_true(fabs(bl_teacher_loss(&o, moved, 4, says, 1, none)) < 1e-4);
        for (int i = 0; i < 4; i++) assert_true(fabs(none[i]) < 1e-5);
    }
}

/* Taught by the float network alone: as good without labels, and the same bits as with them. */
static void test_teacher(void **state)
{
    char dir[] = "/tmp/bl-train-XXXXXX", spec[64];
    const char *name = "finetune:epochs=6,rate=0.002,batch=16,micro=8,teacher=1";
    bl_weights *w[2];
    planned q, again[2];
    bl_data *bare;
    int64_t right;
    (void)state;
    assert_non_null(mkdtemp(dir));
    plan_small(&q, 2, dir);
    snprintf(spec, sizeof spec, "npy:%s/x.npy", dir);
    bl_data_options o = { .spec = spec };
    assert_ok(q.ctx, bl_data_open(q.ctx, &o, &q.p->values[q.p->inputs[0]].t, &bare));
    double loss = loss_of(&q, q.plan, NULL, &right);
    bl_tune_input in = { .graph = q.p, .plan = q.plan, .data = bare, .samples = 64, .words = "epochs=1" };
    assert_int_equal(bl_tune(q.ctx, bl_tuner_find(name), &in, &w[0]), BL_DATA); /* no labels, no teacher */
    for (int labels = 0; labels < 2; labels++) {
        plan_small(&again[labels], 1, dir);
        bl_tune_input one = { .graph = again[labels].p, .plan = again[labels].plan, .data = labels ? again[1].data : bare,
                              .samples = 64, .words = bl_tuner_words(name) };
        assert_ok(again[labels].ctx, bl_tune(again[labels].ctx, bl_tuner_find(name), &one, &w[labels]));
        assert_true(loss_of(&again[labels], again[labels].plan, w[labels], &right) < 0.8 * loss);
    }
    assert_int_equal(w[0]->n_items, w[1]->n_items);
    for (int i = 0; i < w[0]->n_items; i++)
        assert_memory_equal(w[0]->items[i].data, w[1]->items[i].data, (size_t)w[0]->items[i].count * sizeof(float));
    for (int labels = 0; labels < 2; labels++) {
        bl_weights_free(w[labels]);
        planned_free(&again[labels]);
    }
    bl_data_free(bare);
    planned_free(&q);
}

static void test_words(void **state)
{
    bl_ctx *ctx = test_ctx(1, 0);
    (void)state;
    static const char *const good[] = { "finetune", "finetune:epochs=3", "finetune:rate=1e-3,trainer=pact,flip=1,pad=2", "finetune:teacher=0.5,heat=4", "adaround" };
    static const char *const bad[] = { "fine", "finetune:epochs", "finetune:epochs=0", "finetune:rate=x", "finetune:flip=2",
                                       "finetune:trainer=none", "finetune:optimizer=none", "finetune:speed=3", "finetune:teacher=2", "finetune:heat=0", "adaround:epochs=3" };
    for (size_t i = 0; i < BL_COUNTOF(good); i++) assert_ok(ctx, bl_tuner_check(ctx, good[i]));
    for (size_t i = 0; i < BL_COUNTOF(bad); i++) assert_int_equal(bl_tuner_check(ctx, bad[i]), BL_USAGE);
    assert_null(bl_tuner_words("finetune"));
    assert_string_equal(bl_tuner_words("finetune:a=b"), "a=b");
    test_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_slopes), cmocka_unit_test(test_on_grids),
                                        cmocka_unit_test(test_finetune), cmocka_unit_test(test_few_samples), cmocka_unit_test(test_remembered), cmocka_unit_test(test_teacher_loss),
                                        cmocka_unit_test(test_teacher), cmocka_unit_test(test_words) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
