/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Traces of the Hessian against the exact ones of a small network, whose loss is computed here in binary64 and
 * differentiated twice by differences; the sensitivity that is made of them against its formula; its bytes for one and
 * two threads.
 */
#include <unistd.h>

#include "sense/sense.h"
#include "tiny_graph.h"
#include "train/train.h"

enum { SAMPLES = 40, LAYERS = 3 };

typedef struct net {
    bl_ctx *ctx;
    bl_graph *g;
    bl_data *data;
    double x[SAMPLES][4];
    int label[SAMPLES];
    int value[LAYERS];
} net;

static void open_net(net *t, unsigned threads, const char *dir)
{
    char path[256], spec[600], csv[2048] = "label\n";
    float x[SAMPLES * 4];
    bl_rng r = bl_rng_make(3, "samples", 0);
    bl_tensor tensor = { .type = BL_F32, .rank = 2, .dim = { SAMPLES, 4 }, .data = x };
    bl_data_options o = { .spec = spec };
    static const char *const names[] = { "a.w", "b.w", "c.w" };
    t->ctx = test_ctx(threads, 0);
    t->g = ob_prepared(tiny_dense(t->ctx, true));
    for (int i = 0; i < SAMPLES; i++) {
        t->label[i] = (int)bl_rng_below(&r, 3);
        for (int k = 0; k < 4; k++) t->x[i][k] = x[i * 4 + k] = (float)bl_rng_normal(&r);
        snprintf(csv + strlen(csv), sizeof csv - strlen(csv), "%d\n", t->label[i]);
    }
    snprintf(path, sizeof path, "%s/x.npy", dir);
    assert_ok(t->ctx, bl_npy_write(t->ctx, path, &tensor));
    snprintf(path, sizeof path, "%s/y.csv", dir);
    assert_ok(t->ctx, bl_write_file(t->ctx, path, csv, strlen(csv)));
    snprintf(spec, sizeof spec, "npy:%s/x.npy,%s/y.csv", dir, dir);
    assert_ok(t->ctx, bl_data_open(t->ctx, &o, &t->g->values[t->g->inputs[0]].t, &t->data));
    for (int l = 0; l < LAYERS; l++) {
        t->value[l] = bl_graph_find_value(t->g, names[l]);
        assert_true(t->value[l] >= 0);
    }
}

static void close_net(net *t)
{
    bl_data_free(t->data);
    bl_graph_free(t->g);
    test_ctx_free(t->ctx);
}

static const float *constant(const net *t, const char *name)
{
    return t->g->values[bl_graph_find_value(t->g, name)].t.data;
}

/* Mean cross-entropy with these weights. */
static double loss(const net *t, double *const w[LAYERS])
{
    static const int in[] = { 4, 5, 6 }, out[] = { 5, 6, 3 };
    const float *bias[] = { constant(t, "a.b"), constant(t, "b.b"), NULL };
    double sum = 0;
    for (int i = 0; i < SAMPLES; i++) {
        double x[6], y[6], total = 0;
        memcpy(x, t->x[i], sizeof t->x[i]);
        for (int l = 0; l < LAYERS; l++) {
            for (int o = 0; o < out[l]; o++) {
                y[o] = bias[l] ? bias[l][o] : 0;
                for (int k = 0; k < in[l]; k++) y[o] += w[l][o * in[l] + k] * x[k];
                if (l < 2) y[o] = fmax(y[o], 0);
            }
            memcpy(x, y, sizeof x);
        }
        for (int o = 0; o < 3; o++) total += exp(x[o]);
        sum += log(total) - x[t->label[i]];
    }
    return sum / SAMPLES;
}

static double exact(const net *t, double *const w[LAYERS], int layer)
{
    double trace = 0, h = 1e-4;
    for (int64_t k = 0; k < bl_tensor_count(&t->g->values[t->value[layer]].t); k++) {
        double old = w[layer][k], side[3];
        for (int s = 0; s < 3; s++) {
            w[layer][k] = old + h * (s - 1);
            side[s] = loss(t, w);
        }
        w[layer][k] = old;
        trace += (side[0] - 2 * side[1] + side[2]) / (h * h);
    }
    return trace;
}

static void test_traces(void **state)
{
    char dir[] = "/tmp/bl-hessian-XXXXXX";
    net t;
    double trace[LAYERS], error[LAYERS], again[LAYERS], *w[LAYERS];
    int64_t *index, n;
    int used;
    bl_trace_options o = { .vectors = 2000 };
    (void)state;
    assert_non_null(mkdtemp(dir));
    open_net(&t, 1, dir);
    bl_arena *a = bl_arena_new(t.ctx, "test");
    assert_ok(t.ctx, bl_data_pick(t.data, SAMPLES, a, &index, &n));
    assert_int_equal(n, SAMPLES);
    for (int l = 0; l < LAYERS; l++) {
        const bl_tensor *x = &t.g->values[t.value[l]].t;
        w[l] = malloc((size_t)bl_tensor_count(x) * sizeof(double));
        for (int64_t k = 0; k < bl_tensor_count(x); k++) w[l][k] = ((const float *)x->data)[k];
    }
    for (int form = 0; form < 2; form++) { /* products by differences, and the Gauss-Newton form: Relus */
        o.differences = !form;
        assert_ok(t.ctx, bl_hessian_traces(t.ctx, t.g, t.data, index, n, t.value, LAYERS, &o, trace, error, &used));
        assert_int_equal(used, 2000);
        for (int l = 0; l < LAYERS; l++) {
            double want = exact(&t, w, l);
            if (fabs(trace[l] - want) > 4 * error[l] + 0.01 * fabs(want))
                fail_msg("form %d, layer %d: trace %g (error %g), not %g", form, l, trace[l], error[l], want);
            assert_true(error[l] < 0.2 * want);
        }
    }
    const bl_trace_options few = { .vectors = 200, .tolerance = 0.05 };
    assert_ok(t.ctx, bl_hessian_traces(t.ctx, t.g, t.data, index, n, t.value, LAYERS, &few, again, error, &used));
    assert_true(used < 200);
    bl_arena_free(a);
    close_net(&t);
    open_net(&t, 2, dir); /* two threads, the same numbers */
    a = bl_arena_new(t.ctx, "test");
    assert_ok(t.ctx, bl_data_pick(t.data, SAMPLES, a, &index, &n));
    assert_ok(t.ctx, bl_hessian_traces(t.ctx, t.g, t.data, index, n, t.value, LAYERS, &few, trace, error, &used));
    assert_memory_equal(trace, again, sizeof trace);
    bl_arena_free(a);
    close_net(&t);
    for (int l = 0; l < LAYERS; l++) free(w[l]);
}

/* Omega falls with the width, is zero at the baseline, and keeps the ratio of the squared errors. */
static void test_sensitivity(void **state)
{
    char dir[] = "/tmp/bl-hessian-XXXXXX";
    net t;
    bl_menu *menu;
    bl_stats *stats;
    bl_sens *sens;
    bl_menu_options mo = { .w_bits = { 8, 4, 2 }, .n_w = 3, .a_bits = { 8 }, .n_a = 1 };
    bl_sense_options so = { .metric = "hessian", .samples = SAMPLES };
    int choices = 0;
    (void)state;
    assert_non_null(mkdtemp(dir));
    open_net(&t, 2, dir);
    assert_ok(t.ctx, bl_calibrate(t.ctx, t.g, t.data, NULL, &stats));
    assert_ok(t.ctx, bl_menu_make(t.ctx, t.g, &mo, &menu));
    bl_sense_input in = { t.g, menu, stats, t.data, &so };
    assert_ok(t.ctx, bl_sense(t.ctx, &in, &sens));
    for (int u = 0; u < menu->n_units; u++) {
        const bl_unit *unit = &menu->units[u];
        if (unit->n_candidates < 2) continue;
        choices++;
        assert_true(sens->cell[u][0].objective == 0);
        for (int c = 1; c < unit->n_candidates; c++) {
            assert_true(sens->cell[u][c].objective >= 0);
            if (sens->cell[u][c].value > 0) assert_true(sens->cell[u][c].value > sens->cell[u][c - 1].value);
        }
    }
    assert_true(choices > 0);
    bl_sens_free(sens);
    bl_menu_free(menu);
    bl_stats_free(stats);
    close_net(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_traces), cmocka_unit_test(test_sensitivity) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
