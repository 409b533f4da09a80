/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The training engine: the batch's own normalisation against finite differences and against its definition,
 * optimizers and losses against their formulas, a network that learns a small set by heart, the
 * same bytes for any number of threads and after a stop, the file that is written read back equal.
 */
#include <unistd.h>

#include "train_net.h"

/* ------------------------------------------------------------------ the batch's own normalisation */

typedef struct pull {
    const float *direction;
} pull;

static bl_status add_pull(void *user, int value, const bl_tensor *x, bl_tensor *grad)
{
    const pull *p = user;
    (void)value;
    for (int64_t i = 0; i < bl_tensor_count(x); i++) ((float *)grad->data)[i] += p->direction[i];
    return BL_OK;
}

static double pulled(bl_ctx *ctx, bl_walk *walk, int out, const float *direction)
{
    double sum = 0;
    assert_ok(ctx, bl_walk_run(walk, NULL, NULL));
    const bl_tensor *y = bl_walk_value(walk, out);
    for (int64_t i = 0; i < bl_tensor_count(y); i++) sum += (double)direction[i] * ((const float *)y->data)[i];
    return sum;
}

static void check_differences(bl_ctx *ctx, bl_graph *training, bool reference)
{
    bl_walk_options wo = { .reference = reference, .keep_all = true };
    uint8_t *marks = calloc((size_t)training->n_values, 1);
    bl_rng r = bl_rng_make(5, "direction", 0);
    float direction[64];
    bl_walk *walk;
    bl_back *back;
    int out = training->outputs[0], judged = 0;
    pull p = { direction };

    for (int v = 0; v < training->n_values; v++)
        if (training->values[v].producer < 0 && training->values[v].t.type == BL_F32) marks[v] = BL_BACK_WANTED;
    marks[out] |= BL_BACK_SEEDED;
    assert_ok(ctx, bl_walk_new(ctx, training, &wo, &walk));
    assert_ok(ctx, bl_back_new(ctx, walk, marks, &back));
    bl_tensor *x = bl_walk_input(walk, 0);
    for (int64_t i = 0; i < bl_tensor_count(x); i++) ((float *)x->data)[i] = (float)bl_rng_normal(&r);
    for (int i = 0; i < 64; i++) direction[i] = (float)bl_rng_normal(&r);
    (void)pulled(ctx, walk, out, direction);
    assert_ok(ctx, bl_back_run(back, add_pull, &p));
    for (int v = 0; v < training->n_values; v++) {
        const bl_value *value = &training->values[v];
        const char *dot = strrchr(value->name, '.');
        if (!(marks[v] & BL_BACK_WANTED) || (dot && (dot[1] == 'm' || dot[1] == 'v'))) continue;
        size_t n = (size_t)bl_tensor_count(&value->t);
        float *grad = malloc(n * sizeof *grad), *own = malloc(n * sizeof *own);
        double scale = 0;
        memcpy(grad, bl_back_grad(back, v)->data, n * sizeof *grad);
        for (size_t i = 0; i < n; i++) scale = fmax(scale, fabs((double)grad[i]));
        memcpy(own, value->is_input ? x->data : value->t.data, n * sizeof *own);
        for (int k = 0; k < 10; k++) {
            size_t i = bl_rng_below(&r, n);
            double slope[2];
            float h = 0.004f, old = own[i];
            for (int s = 0; s < 2; s++, h /= 2) {
                double side[2];
                for (int d = 0; d < 2; d++) {
                    own[i] = old + (d ? h : -h);
                    if (value->is_input) memcpy(x->data, own, n * sizeof *own);
                    else assert_ok(ctx, bl_walk_set_constant(walk, v, own));
                    side[d] = pulled(ctx, walk, out, direction);
                }
                slope[s] = (side[1] - side[0]) / (2 * (double)h);
            }
            own[i] = old;
            if (fabs(slope[0] - slope[1]) > 0.01 * scale + 1e-3) continue; /* at a kink */
            judged++;
            if (fabs(slope[1] - grad[i]) > 0.04 * scale + 3e-3)
                fail_msg("\"%s\"[%zu]: gradient %g, differences %g", value->name, i, (double)grad[i], slope[1]);
        }
        if (value->is_input) memcpy(x->data, own, n * sizeof *own);
        else assert_ok(ctx, bl_walk_set_constant(walk, v, NULL));
        free(grad);
        free(own);
    }
    assert_true(judged > 40);
    bl_back_free(back);
    bl_walk_free(walk);
    free(marks);
}

static void test_norm_gradient(void **state)
{
    bl_ctx *ctx = test_ctx(1, 0);
    bl_graph *g = normed(ctx), *net, *plain, *training;
    (void)state;
    assert_ok(ctx, bl_prepare_norms(ctx, g, &net));
    assert_ok(ctx, bl_graph_rebatch(ctx, net, 4, &plain));
    assert_ok(ctx, bl_graph_training(ctx, plain, &training));
    assert_int_equal(training->n_values, net->n_values + 4);
    check_differences(ctx, training, true);
    check_differences(ctx, training, false);
    bl_graph_free(training);
    bl_graph_free(plain);
    bl_graph_free(net);
    bl_graph_free(g);
    test_ctx_free(ctx);
}

static void test_norm_figures(void **state)
{
    bl_ctx *ctx = test_ctx(1, 0);
    bl_graph *g = normed(ctx), *net, *plain, *training;
    bl_walk_options wo = { .keep_all = true };
    bl_walk *walk;
    bl_rng r = bl_rng_make(6, "input", 0);
    (void)state;
    assert_ok(ctx, bl_prepare_norms(ctx, g, &net));
    assert_ok(ctx, bl_graph_rebatch(ctx, net, 4, &plain));
    assert_ok(ctx, bl_graph_training(ctx, plain, &training));
    assert_ok(ctx, bl_walk_new(ctx, training, &wo, &walk));
    bl_tensor *x = bl_walk_input(walk, 0);
    for (int64_t i = 0; i < bl_tensor_count(x); i++) ((float *)x->data)[i] = 5 + (float)bl_rng_normal(&r);
    assert_ok(ctx, bl_walk_run(walk, NULL, NULL));
    const bl_tensor *a0 = bl_walk_value(walk, bl_graph_find_value(training, "a0"));
    const float *mean = bl_walk_value(walk, bl_graph_find_value(training, "na.m_batch"))->data;
    const float *var = bl_walk_value(walk, bl_graph_find_value(training, "na.v_batch"))->data;
    for (int c = 0; c < 20; c++) {
        double sum = 0, square = 0;
        for (int k = 0; k < 4 * 36; k++) sum += ((const float *)a0->data)[(k / 36 * 20 + c) * 36 + k % 36];
        sum /= 4 * 36;
        for (int k = 0; k < 4 * 36; k++) {
            double d = ((const float *)a0->data)[(k / 36 * 20 + c) * 36 + k % 36] - sum;
            square += d * d / (4 * 36);
        }
        assert_true(fabs(mean[c] - sum) < 1e-4 * (1 + fabs(sum)));
        assert_true(fabs(var[c] - square) < 1e-3 * square + 1e-5);
    }
    bl_walk_free(walk);
    bl_graph_free(training);
    bl_graph_free(plain);
    bl_graph_free(net);
    bl_graph_free(g);
    test_ctx_free(ctx);
}

/* ------------------------------------------------------------------ Winograd's transform */

/* The walk of a network that learns and the plain reference: values and gradients, 16 and 32 channels. */
static void test_winograd(void **state)
{
    bl_ctx *ctx = test_ctx(1, 0);
    onnx_build *b = ob_new(ctx, 13);
    bl_graph *g = NULL, *p;
    float direction[2 * 32 * 13 * 9];
    bl_rng r = bl_rng_make(5, "direction", 0);
    (void)state;
    ob_input(b, "x", "N,3,13,9");
    ob_floats(b, "a.w", "16,3,3,3", NULL);
    ob_floats(b, "b.w", "32,16,3,3", NULL);
    ob_floats(b, "b.b", "32", NULL);
    ob_ints_attr(ob_node(b, "Conv", "x,a.w", "a"), b, "pads", "1,1,1,1");
    ob_ints_attr(ob_node(b, "Conv", "a,b.w,b.b", "y"), b, "pads", "1,1,1,1");
    ob_output(b, "y");
    assert_ok(ctx, ob_import(b, &g));
    ob_free(b);
    assert_ok(ctx, bl_graph_rebatch(ctx, g, 2, &p));
    uint8_t *marks = calloc((size_t)p->n_values, 1);
    for (int v = 0; v < p->n_values; v++)
        if (p->values[v].producer < 0) marks[v] = BL_BACK_WANTED;
    marks[p->outputs[0]] |= BL_BACK_SEEDED;
    for (size_t i = 0; i < BL_COUNTOF(direction); i++) direction[i] = (float)bl_rng_normal(&r);
    pull q = { direction };
    bl_walk *walk[2];
    bl_back *back[2];
    for (int i = 0; i < 2; i++) {
        bl_walk_options o = { .keep_all = true, .training = !i, .reference = i };
        bl_rng values = bl_rng_make(6, "values", 0);
        assert_ok(ctx, bl_walk_new(ctx, p, &o, &walk[i]));
        assert_ok(ctx, bl_back_new(ctx, walk[i], marks, &back[i]));
        bl_tensor *x = bl_walk_input(walk[i], 0);
        for (int64_t k = 0; k < bl_tensor_count(x); k++) ((float *)x->data)[k] = (float)bl_rng_normal(&values);
        assert_ok(ctx, bl_walk_run(walk[i], NULL, NULL));
        assert_ok(ctx, bl_back_run(back[i], add_pull, &q));
    }
    for (int v = 0; v < p->n_values; v++) {
        bool value = v == p->outputs[0];
        if (!value && !(marks[v] & BL_BACK_WANTED)) continue;
        const bl_tensor *got = value ? bl_walk_value(walk[0], v) : bl_back_grad(back[0], v);
        const bl_tensor *want = value ? bl_walk_value(walk[1], v) : bl_back_grad(back[1], v);
        double scale = 0;
        for (int64_t k = 0; k < bl_tensor_count(want); k++) scale = fmax(scale, fabs((double)((const float *)want->data)[k]));
        for (int64_t k = 0; k < bl_tensor_count(want); k++)
            if (fabs((double)((const float *)got->data)[k] - ((const float *)want->data)[k]) > 1e-4 * scale)
                fail_msg("\"%s\"[%lld]: %g, not %g", p->values[v].name, (long long)k, (double)((const float *)got->data)[k],
                         (double)((const float *)want->data)[k]);
    }
    for (int i = 0; i < 2; i++) {
        bl_back_free(back[i]);
        bl_walk_free(walk[i]);
    }
    free(marks);
    bl_graph_free(p);
    bl_graph_free(g);
    test_ctx_free(ctx);
}

/* ------------------------------------------------------------------ rules */

static void test_optimizers(void **state)
{
    bl_train_options o = bl_train_options_default();
    bl_move m = { .n = 1, .rate = 0.1, .decay = 0.01 };
    double w = 2, v = 0, a = 0, b = 0;
    float wf = 2, vf = 0, af = 0, bf = 0;
    (void)state;
    for (m.step = 1; m.step <= 5; m.step++) { /* sgd, Nesterov */
        float g = (float)cos((double)m.step);
        double grad = g + 0.01 * w;
        v = 0.9 * v + grad;
        w -= 0.1 * (grad + 0.9 * v);
        bl_optimizer_find("sgd")->move(&o, &m, &wf, &g, &vf, NULL);
        assert_true(fabs(w - wf) < 1e-5);
    }
    for (int apart = 0; apart < 2; apart++) {
        w = wf = 2;
        a = af = b = bf = 0;
        for (m.step = 1; m.step <= 5; m.step++) {
            float g = (float)cos((double)m.step);
            double grad = g + (apart ? 0 : 0.01 * w);
            a = 0.9 * a + 0.1 * grad;
            b = 0.999 * b + 0.001 * grad * grad;
            double ma = a / (1 - pow(0.9, (double)m.step)), mb = b / (1 - pow(0.999, (double)m.step));
            w -= 0.1 * ma / (sqrt(mb) + 1e-8) + (apart ? 0.1 * 0.01 * w : 0);
            bl_optimizer_find(apart ? "adamw" : "adam")->move(&o, &m, &wf, &g, &af, &bf);
            assert_true(fabs(w - wf) < 1e-4);
        }
    }
    assert_null(bl_optimizer_find("none"));
}

static void test_losses(void **state)
{
    bl_train_options o = bl_train_options_default();
    float y[4] = { 0.3f, -1, 2, 0.5f }, x[4] = { 0, 1, 1, 0 }, grad[4], moved[4];
    (void)state;
    o.label_smoothing = 0.1;
    for (size_t k = 0; k < bl_n_losses; k++) {
        memset(grad, 0, sizeof grad);
        bl_losses[k].of(&o, y, 4, x, 2, 0.5, grad);
        for (int i = 0; i < 4; i++) {
            double side[2];
            for (int d = 0; d < 2; d++) {
                memcpy(moved, y, sizeof y);
                moved[i] += d ? 0.01f : -0.01f;
                side[d] = bl_losses[k].of(&o, moved, 4, x, 2, 0, NULL);
            }
            assert_true(fabs(0.5 * (side[1] - side[0]) / 0.02 - grad[i]) < 2e-3);
        }
    }
    o.label_smoothing = 0;
    double p = exp(2.0) / (exp(0.3) + exp(-1.0) + exp(2.0) + exp(0.5));
    assert_true(fabs(bl_loss_find("cross-entropy")->of(&o, y, 4, x, 2, 0, NULL) + log(p)) < 1e-6);
}

static void test_schedules(void **state)
{
    (void)state;
    for (size_t i = 0; i < bl_n_schedules; i++) {
        double before = bl_schedules[i].factor(0);
        assert_true(fabs(before - 1) < 1e-12);
        for (int k = 1; k <= 20; k++) {
            double now = bl_schedules[i].factor(k / 20.0);
            assert_true(now <= before + 1e-12 && now >= 0);
            before = now;
        }
    }
    assert_true(fabs(bl_schedule_find("cosine")->factor(0.5) - 0.5) < 1e-12);
    assert_true(fabs(bl_schedule_find("step")->factor(0.6) - 0.1) < 1e-12);
}

/* ------------------------------------------------------------------ whole trainings */

static void check_same(const bl_trained *a, const bl_trained *b)
{
    assert_string_equal(a->graph->hash.hex, b->graph->hash.hex);
    assert_int_equal(a->n_epochs, b->n_epochs);
    for (int64_t i = 0; i < a->n_epochs; i++) assert_true(a->epochs[i].loss == b->epochs[i].loss);
}

static bl_trained *trained(unsigned threads, const bl_train_options *o, const char *dir)
{
    bl_ctx *ctx = test_ctx(threads, 0);
    bl_graph *g = normed(ctx);
    bl_data *data = samples(ctx, g, dir);
    bl_trained *t;
    assert_ok(ctx, bl_train(ctx, g, data, o, &t));
    bl_data_free(data);
    bl_graph_free(g);
    return t; /* the context outlives it: freed by the caller's check_free */
}

static void check_free(bl_trained *t)
{
    bl_ctx *ctx = bl_arena_ctx(t->arena);
    bl_trained_free(t);
    test_ctx_free(ctx);
}

static void test_learns_by_heart(void **state)
{
    char dir[] = "/tmp/bl-train-XXXXXX";
    bl_train_options o = small();
    (void)state;
    assert_non_null(mkdtemp(dir));
    for (size_t k = 0; k < bl_n_optimizers; k++) {
        o.optimizer = bl_optimizers[k].name;
        o.epochs = 20;
        o.rate = bl_optimizers[k].moments > 1 ? 0.01 : 0.05;
        bl_trained *t = trained(2, &o, dir);
        assert_true(t->epochs[0].loss > 0.3);
        if (!(t->epochs[o.epochs - 1].loss < 0.05))
            fail_msg("%s ends at a loss of %g", o.optimizer, t->epochs[o.epochs - 1].loss);
        check_free(t);
    }
}

static void stop(void *user, const bl_train_epoch *e)
{
    if (e->epoch == 2) bl_interrupt(user);
}

static void test_threads_and_resume(void **state)
{
    char dir[] = "/tmp/bl-train-XXXXXX", part[64], copy[64];
    bl_train_options o = small();
    (void)state;
    assert_non_null(mkdtemp(dir));
    o.held_out = 20;
    o.batch = 24;
    o.pad = 1;
    o.flip = true;
    bl_trained *one = trained(1, &o, dir), *two = trained(2, &o, dir);
    check_same(one, two);
    assert_true(one->epochs[5].held_accuracy > 0.5);

    /* Stopped after two epochs, by an interrupt out of the report; then gone on with. */
    snprintf(part, sizeof part, "%s/part", dir);
    snprintf(copy, sizeof copy, "%s/other", dir);
    o.checkpoint = part;
    bl_ctx *ctx = test_ctx(1, 0);
    bl_graph *g = normed(ctx);
    bl_data *data = samples(ctx, g, dir);
    bl_trained *t = NULL;
    o.told = stop;
    o.user = ctx;
    assert_int_equal(bl_train(ctx, g, data, &o, &t), BL_INTERRUPTED);
    assert_non_null(t);
    assert_int_equal(t->n_epochs, 2);
    assert_true(t->kept >= 1);
    bl_trained_free(t);
    o.told = NULL;
    assert_ok(ctx, bl_train(ctx, g, data, &o, &t));
    assert_int_equal(t->resumed, 2);
    check_same(one, t);
    bl_trained_free(t);
    o.rate = 0.04; /* another training does not go on from it */
    assert_int_equal(bl_train(ctx, g, data, &o, &t), BL_DATA);
    bl_data_free(data);
    bl_graph_free(g);
    test_ctx_free(ctx);
    check_free(one);
    check_free(two);
}

/* Written, read back: with the normalisations as they are, bit for bit; folded, close. */
static void test_written_reads_back(void **state)
{
    char dir[] = "/tmp/bl-train-XXXXXX", path[64];
    bl_train_options o = small();
    (void)state;
    assert_non_null(mkdtemp(dir));
    bl_trained *t = trained(1, &o, dir);
    bl_ctx *ctx = bl_arena_ctx(t->arena);
    bl_graph *kept, *folded, *again, *norms;
    snprintf(path, sizeof path, "%s/net.onnx", dir);
    assert_ok(ctx, bl_write_onnx(ctx, t->graph, path));
    assert_ok(ctx, bl_import(ctx, path, NULL, &kept));
    assert_ok(ctx, bl_prepare_norms(ctx, kept, &norms));
    assert_int_equal(norms->n_nodes, t->graph->n_nodes);
    for (int v = 0; v < t->graph->n_values; v++) {
        const bl_value *a = &t->graph->values[v];
        int at = bl_graph_find_value(norms, a->name);
        if (a->producer >= 0 && strcmp(a->name, "a1") == 0) continue;
        if (at < 0) fail_msg("\"%s\" is gone", a->name);
        if (a->t.data) assert_memory_equal(a->t.data, norms->values[at].t.data, bl_tensor_bytes(&a->t));
    }
    assert_ok(ctx, bl_prepare(ctx, t->graph, &folded));
    assert_ok(ctx, bl_write_onnx(ctx, folded, path));
    assert_ok(ctx, bl_import(ctx, path, NULL, &again));
    bl_walk *walk[2];
    const bl_graph *g[2] = { kept, again };
    bl_rng r = bl_rng_make(9, "input", 0);
    for (int i = 0; i < 2; i++) {
        assert_ok(ctx, bl_walk_new(ctx, g[i], NULL, &walk[i]));
        float *x = bl_walk_input(walk[i], 0)->data;
        for (int k = 0; k < 108; k++) x[k] = i ? ((const float *)bl_walk_input(walk[0], 0)->data)[k] : (float)bl_rng_normal(&r);
        assert_ok(ctx, bl_walk_run(walk[i], NULL, NULL));
    }
    for (int k = 0; k < 3; k++) {
        double a = ((const float *)bl_walk_value(walk[0], kept->outputs[0])->data)[k];
        double b = ((const float *)bl_walk_value(walk[1], again->outputs[0])->data)[k];
        assert_true(fabs(a - b) < 1e-4 * (1 + fabs(a)));
    }
    for (int i = 0; i < again->n_nodes; i++) assert_string_not_equal(again->nodes[i].op->name, "BatchNormalization");
    for (int i = 0; i < 2; i++) bl_walk_free(walk[i]);
    bl_graph_free(kept);
    bl_graph_free(again);
    bl_graph_free(folded);
    bl_graph_free(norms);
    check_free(t);
}

static void test_refusals(void **state)
{
    char dir[] = "/tmp/bl-train-XXXXXX";
    bl_ctx *ctx = test_ctx(1, 0);
    bl_graph *g = normed(ctx);
    bl_trained *t = NULL;
    bl_train_options o;
    (void)state;
    assert_non_null(mkdtemp(dir));
    bl_data *data = samples(ctx, g, dir);
    static const struct { const char *optimizer, *loss; int64_t batch, micro, held; } bad[] = {
        { "none", "cross-entropy", 32, 8, 0 }, { "sgd", "none", 32, 8, 0 }, { "sgd", "cross-entropy", 32, 7, 0 },
        { "sgd", "cross-entropy", 32, 8, 96 },
    };
    for (size_t i = 0; i < BL_COUNTOF(bad); i++) {
        o = small();
        o.optimizer = bad[i].optimizer;
        o.loss = bad[i].loss;
        o.batch = bad[i].batch;
        o.micro = bad[i].micro;
        o.held_out = bad[i].held;
        assert_int_equal(bl_train(ctx, g, data, &o, &t), BL_USAGE);
        assert_null(t);
    }
    o = small();
    o.loss = "mse"; /* three outputs, 108 inputs */
    assert_int_equal(bl_train(ctx, g, data, &o, &t), BL_DATA);
    bl_data_free(data);
    bl_graph_free(g);
    test_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_norm_gradient), cmocka_unit_test(test_norm_figures),
        cmocka_unit_test(test_winograd),
        cmocka_unit_test(test_optimizers),    cmocka_unit_test(test_losses),
        cmocka_unit_test(test_schedules),     cmocka_unit_test(test_learns_by_heart),
        cmocka_unit_test(test_threads_and_resume), cmocka_unit_test(test_written_reads_back),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
