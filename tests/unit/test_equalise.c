/* SPDX-License-Identifier: BSD-3-Clause */
/* Cross-layer equalisation and bias absorption: the network stays, its channels get one size. */
#include "prepare_build.h"

/* Prepared and equalised, outputs compared on the same numbers; the prepared one in *was. */
static bl_graph *equalised_by(bl_status (*pass)(bl_ctx *, const bl_graph *, bl_equalised *, bl_graph **), onnx_build *b,
                              bl_equalised *told, bl_graph **was)
{
    bl_ctx *ctx = b->ctx;
    bl_graph *p = ob_prepared(b), *q;
    assert_ok(ctx, pass(ctx, p, told, &q));
    bl_arena *arena = bl_arena_new(ctx, "test");
    bl_tensor *ta = run(ctx, p, arena), *tb = run(ctx, q, arena);
    for (int i = 0; i < p->n_outputs; i++) {
        const bl_tensor *a = &ta[p->outputs[i]], *c = &tb[q->outputs[i]];
        double top = 1e-3, worst = 0;
        for (int64_t k = 0; k < bl_tensor_count(a); k++) {
            top = fmax(top, fabs(((float *)a->data)[k]));
            worst = fmax(worst, fabs((double)((float *)a->data)[k] - ((float *)c->data)[k]));
        }
        if (worst > 5e-5 * top) fail_msg("output %d is off by %g of %g", i, worst, top);
    }
    bl_arena_free(arena);
    *was = p;
    return q;
}

static bl_graph *equalised(onnx_build *b, bl_equalised *told, bl_graph **was)
{
    return equalised_by(bl_equalise, b, told, was);
}

/* Greatest |weight| by output channel (rows), or by input channel; w is (outputs, inputs, taps). */
static double reach(const bl_graph *g, const char *weight, int64_t channel, bool rows)
{
    const bl_tensor *w = &value(g, weight)->t;
    int64_t in = w->dim[1], taps = bl_tensor_count(w) / (w->dim[0] * in);
    double most = 0;
    for (int64_t i = 0; i < bl_tensor_count(w); i++)
        if ((rows ? i / (in * taps) : i / taps % in) == channel) most = fmax(most, fabs((double)((float *)w->data)[i]));
    return most;
}

static void conv(onnx_build *b, const char *x, const char *name, const char *dims, int groups, const char *pads)
{
    char w[32], bias[32], in[100], rows[8];
    snprintf(w, sizeof w, "%s.w", name);
    snprintf(bias, sizeof bias, "%s.b", name);
    snprintf(in, sizeof in, "%s,%s,%s", x, w, bias);
    snprintf(rows, sizeof rows, "%d", atoi(dims));
    float *data = (float *)ob_floats(b, w, dims, NULL)->raw_data.data;
    ob_floats(b, bias, rows, NULL);
    int64_t n = 1, out = atoi(dims);
    for (const char *d = dims; d; d = strchr(d, ',') ? strchr(d, ',') + 1 : NULL) n *= atoi(d);
    for (int64_t i = 0; i < n; i++) data[i] *= powf(10, (float)(i / (n / out) % 5) - 2); /* rows of sizes 0.01 to 100 */
    Onnx__NodeProto *node = ob_node(b, "Conv", in, name);
    ob_int_attr(node, b, "group", groups);
    if (pads) ob_ints_attr(node, b, "pads", pads);
}

static onnx_build *chain(bl_ctx *ctx)
{
    onnx_build *b = ob_new(ctx, 13);
    ob_input(b, "x", "N,3,8,8");
    return b;
}

/* A depthwise triple: all three layers end with one range a channel. */
static void balances_a_triple(void **state)
{
    onnx_build *b = chain(*state);
    bl_equalised told;
    bl_graph *was;
    conv(b, "x", "c1", "6,3,1,1", 1, NULL);
    ob_node(b, "Relu", "c1", "r1");
    conv(b, "r1", "c2", "6,1,3,3", 6, "1,1,1,1");
    ob_node(b, "Relu", "c2", "r2");
    conv(b, "r2", "c3", "4,6,1,1", 1, NULL);
    ob_output(b, "c3");
    bl_graph *q = equalised(b, &told, &was);
    assert_int_equal(told.classes, 2);
    assert_int_equal(told.held, 0);
    assert_true(told.sweeps > 1);
    assert_string_not_equal(q->hash.hex, was->hash.hex);
    for (int64_t c = 0; c < 6; c++) {
        double r1 = reach(q, "c1.w", c, true), r2 = reach(q, "c2.w", c, true), r3 = reach(q, "c3.w", c, false);
        assert_true(fabs(r1 / r2 - 1) < 5e-3 && fabs(r2 / r3 - 1) < 5e-3);
    }
    assert_true(reach(was, "c1.w", 4, true) / reach(was, "c1.w", 0, true) > 100); /* they were far apart */
    bl_graph_free(was);
    bl_graph_free(q);
}

/* An Add ties three layers to one factor; a gate lets the gated value through and stays itself. */
static void crosses_sums_gates_and_pools(void **state)
{
    onnx_build *b = chain(*state);
    bl_equalised told;
    bl_graph *was;
    conv(b, "x", "c1", "5,3,3,3", 1, "1,1,1,1");
    ob_node(b, "Relu", "c1", "r1");
    conv(b, "r1", "c2", "5,5,3,3", 1, "1,1,1,1");
    ob_node(b, "Add", "r1,c2", "sum");
    ob_node(b, "GlobalAveragePool", "sum", "squeezed");
    conv(b, "squeezed", "c3", "5,5,1,1", 1, NULL);
    ob_node(b, "Sigmoid", "c3", "gate");
    ob_node(b, "Mul", "gate,sum", "gated");
    conv(b, "gated", "c4", "4,5,1,1", 1, NULL);
    ob_output(b, "c4");
    bl_graph *q = equalised(b, &told, &was);
    assert_int_equal(told.classes, 1);
    for (int64_t c = 0; c < 5; c++) {
        double made = fmax(reach(q, "c1.w", c, true), reach(q, "c2.w", c, true));
        double read = fmax(reach(q, "c2.w", c, false), fmax(reach(q, "c3.w", c, false), reach(q, "c4.w", c, false)));
        assert_true(fabs(made / read - 1) < 5e-3);
    }
    /* what makes the gate keeps its outputs */
    assert_memory_equal(value(q, "c3.b")->t.data, value(was, "c3.b")->t.data, 5 * sizeof(float));
    bl_graph_free(was);
    bl_graph_free(q);
}

/* Inputs, outputs and functions that do not scale keep their channels. */
static void stops_where_scaling_would_show(void **state)
{
    onnx_build *b = chain(*state);
    bl_equalised told;
    bl_graph *was;
    conv(b, "x", "c1", "5,3,1,1", 1, NULL);
    ob_node(b, "HardSwish", "c1", "h1");
    conv(b, "h1", "c2", "5,5,1,1", 1, NULL);
    ob_node(b, "Relu", "c2", "r2"); /* is an output too */
    conv(b, "r2", "c3", "5,5,1,1", 1, NULL);
    ob_output(b, "r2");
    ob_output(b, "c3");
    b->opset.version = 14;
    bl_graph *q = equalised(b, &told, &was);
    assert_int_equal(told.classes, 0);
    for (int i = 0; i < q->n_values; i++)
        if (q->values[i].t.data)
            assert_memory_equal(q->values[i].t.data, value(was, q->values[i].name)->t.data, bl_tensor_bytes(&q->values[i].t));
    bl_graph_free(was);
    bl_graph_free(q);
}

/* Channels 0 and 1 of a BatchNormalization before Clip(0, 6): one reaches 6 and stays, the other is far below. */
static void keeps_upper_bounds(void **state)
{
    onnx_build *b = chain(*state);
    bl_equalised told;
    bl_graph *was;
    ob_floats(b, "w", "2,3,1,1", (float[]){ 1, 2, 3, 100, 200, 300 });
    ob_node(b, "Conv", "x,w", "c1");
    ob_floats(b, "gamma", "2", (float[]){ 2, 0.1f });
    ob_floats(b, "beta", "2", (float[]){ 1, 0.1f });
    ob_floats(b, "mean", "2", (float[]){ 0, 0 });
    ob_floats(b, "var", "2", (float[]){ 14, 140000 });
    ob_node(b, "BatchNormalization", "c1,gamma,beta,mean,var", "n1");
    ob_floats(b, "zero", "", (float[]){ 0 });
    ob_floats(b, "six", "", (float[]){ 6 });
    ob_node(b, "Clip", "n1,zero,six", "r1");
    conv(b, "r1", "c2", "4,2,1,1", 1, NULL);
    ob_output(b, "c2");
    bl_graph *q = equalised(b, &told, &was);
    assert_int_equal(told.classes, 1);
    assert_int_equal(told.held, 1);
    assert_true(reach(q, "w", 0, true) == reach(was, "w", 0, true));
    assert_true(reach(q, "w", 1, true) != reach(was, "w", 1, true));
    assert_true(q->bn[0].beta[1] + 6 * q->bn[0].gamma[1] < 6.001f); /* its image still lies below the bound */
    assert_float_equal(q->bn[0].gamma[0], 2, 2e-6f);
    assert_true(q->nodes[0].hi == 6);
    bl_graph_free(was);
    bl_graph_free(q);
}

/* A channel of mean 10 and deviation 1 gives 7 to the next bias, unless that layer pads. */
static void absorbs_what_is_constant(void **state)
{
    for (int pads = 0; pads < 2; pads++) {
        onnx_build *b = chain(*state);
        bl_equalised told;
        bl_graph *was;
        ob_floats(b, "w", "2,3,1,1", (float[]){ 0.1f, 0.1f, 0.1f, 0.1f, 0.1f, 0.1f });
        ob_node(b, "Conv", "x,w", "c1");
        ob_floats(b, "gamma", "2", (float[]){ 1, 1 });
        ob_floats(b, "beta", "2", (float[]){ 10, 2 });
        ob_floats(b, "mean", "2", (float[]){ 0, 0 });
        ob_floats(b, "var", "2", (float[]){ 1000, 1000 }); /* beside which epsilon is nothing */
        ob_node(b, "BatchNormalization", "c1,gamma,beta,mean,var", "n1");
        ob_node(b, "Relu", "n1", "r1");
        conv(b, "r1", "c2", "2,2,3,3", 1, pads ? "1,1,1,1" : "0,0,0,0");
        ob_output(b, "c2");
        bl_graph *q = equalised(b, &told, &was);
        assert_int_equal(told.absorbed, pads ? 0 : 1);
        double left = q->bn[0].beta[0] / q->bn[0].gamma[0]; /* in deviations, whatever the channel's factor */
        assert_true(fabs(left - (pads ? 10 : 3)) < 1e-4);
        assert_true(fabs(q->bn[0].beta[1] / q->bn[0].gamma[1] - 2) < 1e-4);
        bl_graph_free(was);
        bl_graph_free(q);
    }
}

/* A weight that two layers read cannot follow one of them. */
static void leaves_shared_weights(void **state)
{
    onnx_build *b = chain(*state);
    bl_equalised told;
    bl_graph *was;
    conv(b, "x", "c1", "5,3,1,1", 1, NULL);
    ob_node(b, "Relu", "c1", "r1");
    ob_floats(b, "w", "5,5,1,1", NULL);
    ob_node(b, "Conv", "r1,w", "c2");
    ob_node(b, "Conv", "c2,w", "c3");
    ob_output(b, "c3");
    bl_graph *q = equalised(b, &told, &was);
    assert_int_equal(told.classes, 0);
    bl_graph_free(was);
    bl_graph_free(q);
}

static void norm_and_clip(onnx_build *b, const char *x, const char *stem, const float *gamma, const float *beta, const char *to)
{
    char name[5][16], in[100], inner[16];
    static const char part[] = "gbmv";
    for (int i = 0; i < 4; i++) snprintf(name[i], sizeof name[i], "%s.%c", stem, part[i]);
    ob_floats(b, name[0], "4", gamma);
    ob_floats(b, name[1], "4", beta);
    ob_floats(b, name[2], "4", (float[]){ 0, 0, 0, 0 });
    ob_floats(b, name[3], "4", (float[]){ 1, 1, 1, 1 });
    snprintf(in, sizeof in, "%s,%s,%s,%s,%s", x, name[0], name[1], name[2], name[3]);
    snprintf(inner, sizeof inner, "%s.n", stem);
    ob_node(b, "BatchNormalization", in, inner);
    snprintf(in, sizeof in, "%s,zero,six", inner);
    ob_node(b, "Clip", in, to);
}

/* Conv, depthwise, Conv with BatchNormalization and Clip(0, 6); what reaches the second is of mean beta and deviation gamma. */
static onnx_build *bounded_chain(bl_ctx *ctx, const float *gamma, const float *beta, const float *dw)
{
    onnx_build *b = chain(ctx);
    ob_floats(b, "zero", "", (float[]){ 0 });
    ob_floats(b, "six", "", (float[]){ 6 });
    ob_floats(b, "w1", "4,3,1,1", (float[]){ 1, .5f, 0, .2f, .1f, .4f, 0, .3f, -1, .5f, .5f, .5f });
    ob_floats(b, "w2", "4,1,1,1", dw);
    ob_floats(b, "w3", "5,4,1,1", NULL);
    ob_node(b, "Conv", "x,w1", "c1");
    norm_and_clip(b, "c1", "n1", gamma, beta, "r1");
    ob_int_attr(ob_node(b, "Conv", "r1,w2", "c2"), b, "group", 4);
    norm_and_clip(b, "c2", "n2", (float[]){ 1, 1, 1, 1 }, (float[]){ 1, 1, 1, 1 }, "r2");
    ob_node(b, "Conv", "r2,w3", "y");
    ob_output(b, "y");
    return b;
}

static const float some_dw[] = { 1, 80, 0.5f, 200 };

/* One scale a weight: channels that reach 6 are scaled as well, each keeps its bound; what is dead is left out. */
static void bounds_by_channel(void **state)
{
    bl_equalised told;
    bl_graph *was;
    onnx_build *b = bounded_chain(*state, (float[]){ 3, 0.01f, 2, 0.001f }, (float[]){ 2, 0.02f, 4, -3 }, some_dw);
    bl_graph *q = equalised_by(bl_equalise_tensors, b, &told, &was);
    int bounds = 0;
    for (int n = 0; n < q->n_nodes; n++) {
        const bl_node *node = &q->nodes[n];
        if (strcmp(node->op->name, "Min")) continue;
        const bl_tensor *t = &q->values[node->in[1]].t;
        assert_true(t->rank == 4 && t->dim[1] == 4 && bl_tensor_count(t) == 4);
        const float *h = t->data;
        assert_true(h[0] != h[1]);
        assert_int_equal(q->values[q->bn[bounds].value].producer, q->values[node->in[0]].producer);
        bounds++;
    }
    assert_int_equal(bounds, 2);
    assert_int_equal(told.bounded, 2);
    assert_int_equal(told.dead, 1);
    if (!(told.noise_last < 0.95 * told.noise_first)) fail_msg("noise %g, then %g", told.noise_first, told.noise_last);
    assert_true(reach(q, "w2", 3, true) == 0);
    bl_graph_free(was);
    bl_graph_free(q);
}

/* What a dead channel's deviation is makes no difference: nothing of it arrives. */
static void dead_channels_have_no_signal(void **state)
{
    static const float gamma[][4] = { { 3, 0.01f, 2, 0.001f }, { 3, 0.01f, 2, 10000 } };
    static const float beta[][4] = { { 2, 0.02f, 4, -3 }, { 2, 0.02f, 4, -100000 } };
    bl_equalised told[2];
    for (int i = 0; i < 2; i++) {
        bl_graph *was, *q = equalised_by(bl_equalise_tensors, bounded_chain(*state, gamma[i], beta[i], some_dw), &told[i], &was);
        assert_int_equal(told[i].dead, 1);
        bl_graph_free(was);
        bl_graph_free(q);
    }
    if (fabs(told[1].noise_last / told[0].noise_last - 1) > 0.01) fail_msg("noise %g, or %g", told[0].noise_last, told[1].noise_last);
}

/* Without statistics they are measured, and the network stays what it is. */
static void measures_for_least_noise(void **state)
{
    onnx_build *b = chain(*state);
    bl_equalised told;
    bl_graph *was;
    conv(b, "x", "c1", "6,3,1,1", 1, NULL);
    ob_node(b, "Relu", "c1", "r1");
    conv(b, "r1", "c2", "6,1,3,3", 6, "1,1,1,1");
    ob_node(b, "Relu", "c2", "r2");
    conv(b, "r2", "c3", "4,6,1,1", 1, NULL);
    ob_output(b, "c3");
    bl_graph *q = equalised_by(bl_equalise_tensors, b, &told, &was);
    assert_int_equal(told.bounded, 0);
    assert_true(told.noise_last < told.noise_first);
    bl_graph_free(was);
    bl_graph_free(q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(balances_a_triple, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(crosses_sums_gates_and_pools, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(stops_where_scaling_would_show, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(keeps_upper_bounds, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(absorbs_what_is_constant, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(leaves_shared_weights, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(bounds_by_channel, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(dead_channels_have_no_signal, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(measures_for_least_noise, test_setup, test_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
