/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Passes over graphs: folding, fusing, other batches, single nodes, JSON.  Every rewriting is
 * checked by running both graphs, operator by operator, on the same seeded numbers.
 */
#include "onnx_build.h"

#include <math.h>

static int setup(void **state)
{
    *state = test_ctx(1, 0);
    return 0;
}

static int teardown(void **state)
{
    test_ctx_free(*state);
    return 0;
}

/* ------------------------------------------------------------------ running a graph */

static void fill_input(bl_tensor *t, const char *name)
{
    bl_rng r = bl_rng_make(7, name, 0);
    int64_t n = bl_tensor_count(t);
    for (int64_t i = 0; i < n; i++) {
        if (t->type == BL_F32) ((float *)t->data)[i] = (float)bl_rng_normal(&r);
        if (t->type == BL_I32) ((int32_t *)t->data)[i] = (int32_t)bl_rng_below(&r, 100);
        if (t->type == BL_I64) ((int64_t *)t->data)[i] = (int64_t)bl_rng_below(&r, 100);
    }
}

/* Every value of a graph, by its operators' plain forms; the arena owns them. */
static bl_tensor *run(bl_ctx *ctx, const bl_graph *g, bl_arena *arena)
{
    bl_tensor *t = BL_NEW(arena, bl_tensor, (size_t)g->n_values);
    for (int i = 0; i < g->n_values; i++) {
        t[i] = g->values[i].t;
        if (!t[i].data) t[i].data = bl_alloc(arena, bl_tensor_bytes(&t[i]), 1);
        assert_non_null(t[i].data);
        if (g->values[i].is_input) fill_input(&t[i], g->values[i].name);
    }
    for (int n = 0; n < g->n_nodes; n++) {
        const bl_node *node = &g->nodes[n];
        const bl_tensor *in[16] = {0};
        bl_tensor out[16];
        assert_true(node->n_in <= 16 && node->n_out <= 16);
        for (int i = 0; i < node->n_in; i++) in[i] = node->in[i] < 0 ? NULL : &t[node->in[i]];
        for (int i = 0; i < node->n_out; i++) out[i] = t[node->out[i]];
        bl_call call = {ctx, node, node->n_in, node->n_out, in, out, arena};
        assert_ok(ctx, node->op->shape(&call));
        for (int i = 0; i < node->n_out; i++) /* what was inferred is what the node says */
            assert_memory_equal(out[i].dim, t[node->out[i]].dim, sizeof(out[i].dim));
        assert_ok(ctx, node->op->forward(&call));
        float *p = out[0].data;
        if (bl_node_clamps(node))
            for (int64_t i = 0; i < bl_tensor_count(&out[0]); i++)
                p[i] = fminf(fmaxf(p[i], node->lo), node->hi);
    }
    return t;
}

/* Both graphs give the same: all outputs, and every value whose name both have and whose producer
 * computes the same thing. */
static void assert_same_results(bl_ctx *ctx, const bl_graph *a, const bl_graph *b)
{
    bl_arena *arena = bl_arena_new(ctx, "test");
    bl_tensor *ta = run(ctx, a, arena), *tb = run(ctx, b, arena);
    assert_int_equal(a->n_outputs, b->n_outputs);
    for (int i = 0; i < b->n_values; i++) {
        int k = bl_graph_find_value(a, b->values[i].name);
        if (k < 0 || b->values[i].producer < 0) continue;
        assert_int_equal(ta[k].type, tb[i].type);
        assert_memory_equal(ta[k].dim, tb[i].dim, sizeof(ta[k].dim));
        if (ta[k].type != BL_F32) continue;
        const float *pa = ta[k].data, *pb = tb[i].data;
        double top = 1e-3, worst = 0;
        for (int64_t j = 0; j < bl_tensor_count(&ta[k]); j++) {
            assert_true(isfinite(pa[j]) && isfinite(pb[j]));
            top = fmax(top, fabs(pa[j]));
            worst = fmax(worst, fabs(pa[j] - pb[j]));
        }
        if (worst > 2e-5 * top)
            fail_msg("value \"%s\" is off by %g of %g", b->values[i].name, worst, top);
    }
    for (int i = 0; i < a->n_outputs; i++)
        assert_string_equal(a->values[a->outputs[i]].name, b->values[b->outputs[i]].name);
    bl_arena_free(arena);
}

/* ------------------------------------------------------------------ preparing what was built */

/* "Conv Relu Add" in order. */
static void assert_nodes(const bl_graph *g, const char *ops)
{
    char text[512];
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < g->n_nodes; i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s", i ? " " : "",
                                 g->nodes[i].op->name);
    assert_string_equal(text, ops);
}

/* Prepares; checks results, nodes, and that the result stands alone. */
static bl_graph *prepared(onnx_build *b, const char *ops)
{
    bl_graph *g, *p;
    bl_ctx *ctx = b->ctx;
    assert_ok(ctx, ob_import(b, &g));
    assert_ok(ctx, bl_prepare(ctx, g, &p));
    assert_true(p->prepared && !g->prepared);
    assert_same_results(ctx, g, p);
    assert_string_not_equal(g->hash.hex, p->hash.hex);
    bl_graph_free(g);
    ob_free(b);
    assert_nodes(p, ops);
    return p;
}

static void prepares_to(onnx_build *b, const char *ops)
{
    bl_graph_free(prepared(b, ops));
}

static const bl_value *value(const bl_graph *g, const char *name)
{
    int i = bl_graph_find_value(g, name);
    if (i < 0) fail_msg("no value \"%s\"", name);
    return &g->values[i];
}

static void add_norm(onnx_build *b, const char *x, const char *y, const char *channels)
{
    char names[5][32], inputs[200];
    static const char *const parts[] = {"gamma", "beta", "mean", "var"};
    for (int i = 0; i < 4; i++) {
        snprintf(names[i], sizeof(names[i]), "%.20s.%s", y, parts[i]);
        if (i == 3)
            ob_positive(b, names[i], channels);
        else
            ob_floats(b, names[i], channels, NULL);
    }
    snprintf(inputs, sizeof(inputs), "%s,%s,%s,%s,%s", x, names[0], names[1], names[2], names[3]);
    ob_float_attr(ob_node(b, "BatchNormalization", inputs, y), b, "epsilon", 1e-3f);
}

static onnx_build *image(bl_ctx *ctx, int opset)
{
    onnx_build *b = ob_new(ctx, opset);
    ob_input(b, "x", "N,4,6,6");
    return b;
}

static onnx_build *rows(bl_ctx *ctx)
{
    onnx_build *b = ob_new(ctx, 13);
    ob_input(b, "x", "3,4");
    return b;
}

/* ------------------------------------------------------------------ BatchNormalization */

static void norm_into_conv(void **state)
{
    for (int bias = 0; bias < 2; bias++)
        for (int groups = 1; groups <= 4; groups *= 2) {
            onnx_build *b = image(*state, 13);
            char dims[16];
            snprintf(dims, sizeof(dims), "8,%d,3,3", 4 / groups);
            ob_floats(b, "w", dims, NULL);
            if (bias) ob_floats(b, "b", "8", NULL);
            Onnx__NodeProto *n = ob_node(b, "Conv", bias ? "x,w,b" : "x,w", "c");
            ob_int_attr(n, b, "group", groups);
            n->name = ob_text(b, "conv1");
            add_norm(b, "c", "n", "8");
            ob_node(b, "Relu", "n", "y");
            ob_output(b, "y");
            bl_graph *p = prepared(b, "Conv");
            assert_string_equal(p->nodes[0].name, "conv1");
            assert_int_equal(p->nodes[0].n_in, 3);
            assert_true(p->nodes[0].lo == 0 && p->nodes[0].hi == INFINITY);
            assert_int_equal(p->n_values, 4); /* x, y, weight, bias: the rest is gone */
            assert_string_equal(p->values[p->nodes[0].in[1]].name, "w");
            assert_string_equal(p->values[p->nodes[0].in[2]].name, bias ? "b" : "conv1_bias");
            bl_graph_free(p);
        }
}

static void keeps_statistics(void **state)
{
    onnx_build *b = ob_small_network(*state);
    const float *gamma = (float *)b->graph.initializer[1]->raw_data.data;
    const float *var = (float *)b->graph.initializer[4]->raw_data.data;
    float gamma2 = gamma[2], sigma2 = (float)sqrt((double)var[2] + (double)1e-5f);
    b->graph.node[1]->name = ob_text(b, "bn");
    bl_graph *p = prepared(b, "Conv GlobalAveragePool Flatten Gemm");
    assert_int_equal(p->n_bn, 1);
    assert_string_equal(p->bn[0].name, "bn");
    assert_int_equal(p->bn[0].channels, 4);
    assert_string_equal(p->values[p->bn[0].value].name, "relu");
    assert_int_equal(p->values[p->bn[0].value].producer, 0);
    assert_true(p->bn[0].gamma[2] == gamma2 && p->bn[0].sigma[2] == sigma2);
    assert_true(isfinite(p->bn[0].mean[3]) && isfinite(p->bn[0].beta[3]));
    bl_graph_free(p);
}

/* k = 2 / sqrt(3.75 + 0.25) = 1 and 3 / sqrt(8.75 + 0.25) = 1; so the weights stay and the bias is
 * beta - mean. */
static void folds_exactly(void **state)
{
    onnx_build *b = ob_new(*state, 13);
    bl_graph *g, *p;
    ob_input(b, "x", "N,1,1,1");
    ob_floats(b, "w", "2,1,1,1", (float[]){4, -8});
    ob_floats(b, "gamma", "2", (float[]){2, 3});
    ob_floats(b, "beta", "2", (float[]){1, 1});
    ob_floats(b, "mean", "2", (float[]){0.5f, -2});
    ob_floats(b, "var", "2", (float[]){3.75f, 8.75f});
    ob_node(b, "Conv", "x,w", "c");
    ob_float_attr(ob_node(b, "BatchNormalization", "c,gamma,beta,mean,var", "y"), b, "epsilon",
                  0.25f);
    ob_output(b, "y");
    assert_ok(*state, ob_import(b, &g));
    assert_ok(*state, bl_prepare(*state, g, &p));
    assert_memory_equal(p->values[p->nodes[0].in[1]].t.data, ((float[]){4, -8}), 8);
    assert_memory_equal(p->values[p->nodes[0].in[2]].t.data, ((float[]){0.5f, 3}), 8);
    assert_memory_equal(p->bn[0].sigma, ((float[]){2, 3}), 8);
    bl_graph_free(p);
    bl_graph_free(g);
    ob_free(b);
}

static void norm_into_gemm(void **state)
{
    static const char *const biases[] = {NULL, "5", "1,5", "1", ""};
    for (size_t i = 0; i < BL_COUNTOF(biases); i++)
        for (int transposed = 0; transposed < 2; transposed++) {
            onnx_build *b = rows(*state);
            ob_floats(b, "w", transposed ? "5,4" : "4,5", NULL);
            if (biases[i]) ob_floats(b, "b", biases[i], NULL);
            Onnx__NodeProto *n = ob_node(b, "Gemm", biases[i] ? "x,w,b" : "x,w", "c");
            ob_int_attr(n, b, "transB", transposed);
            ob_float_attr(n, b, "alpha", 0.5f);
            ob_float_attr(n, b, "beta", -3);
            add_norm(b, "c", "y", "5");
            ob_output(b, "y");
            bl_graph *p = prepared(b, "Gemm");
            assert_null(bl_node_attr(&p->nodes[0], "alpha"));
            assert_null(bl_node_attr(&p->nodes[0], "beta"));
            assert_int_equal(bl_attr_int(&p->nodes[0], "transB", 0), transposed);
            assert_int_equal(p->values[p->nodes[0].in[1]].t.dim[0], transposed ? 5 : 4);
            bl_graph_free(p);
        }
}

static void norm_into_matmul(void **state)
{
    onnx_build *b = rows(*state);
    ob_floats(b, "w", "4,5", NULL);
    ob_node(b, "MatMul", "x,w", "c");
    add_norm(b, "c", "y", "5");
    ob_output(b, "y");
    prepares_to(b, "Gemm");

    b = rows(*state); /* MatMul, Add, BatchNormalization, Relu: one node */
    ob_floats(b, "w", "4,5", NULL);
    ob_floats(b, "b", "5", NULL);
    ob_node(b, "MatMul", "x,w", "c");
    ob_node(b, "Add", "b,c", "d");
    add_norm(b, "d", "n", "5");
    ob_node(b, "Relu", "n", "y");
    ob_output(b, "y");
    bl_graph *p = prepared(b, "Gemm");
    assert_int_equal(p->n_bn, 1);
    bl_graph_free(p);
}

static void norm_into_conv_transpose(void **state)
{
    if (!bl_op_find("", "ConvTranspose")) {
        print_message("skipped: norm_into_conv_transpose: no such operator\n");
        skip();
    }
    for (int groups = 1; groups <= 2; groups++) {
        onnx_build *b = image(*state, 13);
        ob_floats(b, "w", "4,3,2,2", NULL);
        ob_int_attr(ob_node(b, "ConvTranspose", "x,w", "c"), b, "group", groups);
        add_norm(b, "c", "y", groups == 1 ? "3" : "6");
        ob_output(b, "y");
        prepares_to(b, "ConvTranspose");
    }
}

/* Two convolutions with one weight: each gets its own. */
static void norms_after_a_shared_weight(void **state)
{
    onnx_build *b = image(*state, 13);
    ob_floats(b, "w", "4,4,1,1", NULL);
    ob_node(b, "Conv", "x,w", "c");
    add_norm(b, "c", "n", "4");
    ob_node(b, "Conv", "n,w", "d");
    add_norm(b, "d", "m", "4");
    ob_node(b, "Conv", "m,w", "y");
    ob_output(b, "y");
    bl_graph *p = prepared(b, "Conv Conv Conv");
    assert_int_equal(p->n_bn, 2);
    assert_true(p->nodes[0].in[1] != p->nodes[1].in[1] && p->nodes[1].in[1] != p->nodes[2].in[1]);
    assert_string_equal(p->values[p->nodes[0].in[1]].name, "Conv_0_weight");
    bl_graph_free(p);
}

static void norms_that_stay(void **state)
{
    onnx_build *b = image(*state, 13); /* the convolution has another reader */
    ob_floats(b, "w", "4,4,1,1", NULL);
    ob_node(b, "Conv", "x,w", "c");
    add_norm(b, "c", "n", "4");
    ob_node(b, "Add", "c,n", "y");
    ob_output(b, "y");
    prepares_to(b, "Conv BatchNormalization Add");

    b = image(*state, 13); /* or is an output */
    ob_floats(b, "w", "4,4,1,1", NULL);
    ob_node(b, "Conv", "x,w", "c");
    add_norm(b, "c", "y", "4");
    ob_output(b, "y");
    ob_output(b, "c");
    prepares_to(b, "Conv BatchNormalization");

    b = image(*state, 13); /* or an activation lies between; the norm takes the one behind it */
    ob_floats(b, "w", "4,4,1,1", NULL);
    ob_node(b, "Conv", "x,w", "c");
    ob_node(b, "Relu", "c", "r");
    add_norm(b, "r", "n", "4");
    ob_node(b, "Relu", "n", "y");
    ob_output(b, "y");
    bl_graph *p = prepared(b, "Conv BatchNormalization");
    assert_true(p->nodes[1].lo == 0);
    assert_int_equal(p->n_bn, 0);
    bl_graph_free(p);

    b = image(*state, 13); /* the scale flows */
    ob_input(b, "scale", "4");
    ob_floats(b, "w", "4,4,1,1", NULL);
    ob_node(b, "Conv", "x,w", "c");
    add_norm(b, "c", "y", "4");
    b->graph.node[1]->input[1] = ob_text(b, "scale");
    ob_output(b, "y");
    prepares_to(b, "Conv BatchNormalization");
}

static void refuses_a_bad_norm(void **state)
{
    for (int i = 0; i < 2; i++) {
        onnx_build *b = ob_small_network(*state);
        bl_graph *g, *p = NULL;
        float *var = (float *)b->graph.initializer[4]->raw_data.data;
        float *gamma = (float *)b->graph.initializer[1]->raw_data.data;
        if (i == 0)
            var[2] = -1;
        else
            gamma[2] = 3e38f;
        b->graph.node[1]->name = ob_text(b, "bn");
        assert_ok(*state, ob_import(b, &g));
        assert_fails(*state, bl_prepare(*state, g, &p), BL_DATA,
                     i == 0 ? "channel 2: its variance is not positive" : "beyond float32");
        assert_non_null(strstr(bl_last_error(*state).place, "\"bn\""));
        assert_null(p);
        bl_graph_free(g);
        ob_free(b);
    }
}

/* ------------------------------------------------------------------ activations */

static void add_conv(onnx_build *b, const char *y)
{
    ob_floats(b, "w", "4,4,1,1", NULL);
    ob_node(b, "Conv", "x,w", y);
}

static void assert_bounds(bl_graph *p, float lo, float hi)
{
    if (p->nodes[0].lo != lo || p->nodes[0].hi != hi)
        fail_msg("bounds %g %g", (double)p->nodes[0].lo, (double)p->nodes[0].hi);
    bl_graph_free(p);
}

static void clips_of_every_form(void **state)
{
    static const struct {
        int opset;
        const char *inputs;
        float min, max; /* attributes; NAN: none */
        float lo, hi;
    } cases[] = {
        {6, "c", 0, 6, 0, 6},
        {6, "c", -1, NAN, -1, INFINITY},
        {6, "c", NAN, 0.5f, -INFINITY, 0.5f},
        {6, "c", -3.4028234663852886e38f, 3.4028234663852886e38f, -INFINITY, INFINITY},
        {10, "c", NAN, NAN, -INFINITY, INFINITY},
        {11, "c,zero,six", NAN, NAN, 0, 6},
        {13, "c,zero", NAN, NAN, 0, INFINITY},
        {13, "c,,six", NAN, NAN, -INFINITY, 6},
        {13, "c", NAN, NAN, -INFINITY, INFINITY},
        {13, "c,six,zero", NAN, NAN, 0, 0},
    };
    for (size_t i = 0; i < BL_COUNTOF(cases); i++) {
        onnx_build *b = image(*state, BL_MAX(cases[i].opset, bl_op_find("", "Conv")->min_opset));
        if (cases[i].opset < bl_op_find("", "Clip")->min_opset) b->opset.version = 7;
        float zero = 0, six = 6;
        add_conv(b, "c");
        ob_floats(b, "zero", "", &zero);
        ob_floats(b, "six", "", &six);
        Onnx__NodeProto *n = ob_node(b, "Clip", cases[i].inputs, "y");
        if (!isnan(cases[i].min)) ob_float_attr(n, b, "min", cases[i].min);
        if (!isnan(cases[i].max)) ob_float_attr(n, b, "max", cases[i].max);
        ob_output(b, "y");
        bl_graph *p = prepared(b, "Conv");
        assert_string_equal(p->values[p->nodes[0].out[0]].name, "y");
        assert_bounds(p, cases[i].lo, cases[i].hi);
    }
}

static void clamps_in_a_row(void **state)
{
    static const struct { float a, b, c, d, lo, hi; } cases[] = {
        {0, INFINITY, -INFINITY, 6, 0, 6}, {0, 6, 1, 9, 1, 6}, {-1, 1, 0, INFINITY, 0, 1},
        {0, 1, 2, 3, 2, 2},                {2, 3, 0, 1, 1, 1},
    };
    for (size_t i = 0; i < BL_COUNTOF(cases); i++) {
        onnx_build *b = image(*state, 13);
        add_conv(b, "c");
        ob_floats(b, "p", "", &cases[i].a);
        ob_floats(b, "q", "", &cases[i].b);
        ob_floats(b, "r", "", &cases[i].c);
        ob_floats(b, "s", "", &cases[i].d);
        ob_node(b, "Clip", "c,p,q", "m");
        ob_node(b, "Clip", "m,r,s", "y");
        ob_output(b, "y");
        assert_bounds(prepared(b, "Conv"), cases[i].lo, cases[i].hi);
    }
}

static void activations_after_joins(void **state)
{
    static const char *const joins[] = {"Add", "Mul", "Sub", "Sum"};
    for (size_t i = 0; i < BL_COUNTOF(joins); i++) {
        onnx_build *b = image(*state, 13);
        ob_input(b, "z", "N,4,6,6");
        ob_node(b, joins[i], "x,z", "c");
        ob_node(b, "Relu", "c", "y");
        ob_output(b, "y");
        prepares_to(b, joins[i]);
    }
}

static void activations_that_stay(void **state)
{
    onnx_build *b = image(*state, 13); /* two readers */
    add_conv(b, "c");
    ob_node(b, "Relu", "c", "r");
    ob_node(b, "Mul", "c,r", "y");
    ob_output(b, "y");
    prepares_to(b, "Conv Relu Mul");

    b = image(*state, 13); /* the producer is an output */
    add_conv(b, "c");
    ob_node(b, "Relu", "c", "y");
    ob_output(b, "y");
    ob_output(b, "c");
    prepares_to(b, "Conv Relu");

    b = image(*state, 13); /* producers that move or join only, and the input */
    ob_node(b, "Relu", "x", "r");
    ob_ints_attr(ob_node(b, "MaxPool", "r", "m"), b, "kernel_shape", "1,1");
    ob_node(b, "Relu", "m", "s");
    ob_int_attr(ob_node(b, "Concat", "s,x", "k"), b, "axis", 1);
    ob_node(b, "Relu", "k", "y");
    ob_output(b, "y");
    prepares_to(b, "Relu MaxPool Relu Concat Relu");

    b = image(*state, 13); /* a bound that flows */
    ob_input(b, "low", "");
    add_conv(b, "c");
    ob_node(b, "Clip", "c,low", "y");
    ob_output(b, "y");
    prepares_to(b, "Conv Clip");
}

/* ------------------------------------------------------------------ biases */

static void matmul_and_add(void **state)
{
    static const struct {
        const char *x, *bias, *add, *ops;
    } cases[] = {
        {"3,4", "5", "c,b", "Gemm"},      {"3,4", "1,5", "b,c", "Gemm"},
        {"3,4", "1", "c,b", "MatMul Add"}, {"3,4", "3,5", "c,b", "MatMul Add"},
        {"2,3,4", "5", "c,b", "MatMul Add"}, {"3,4", "2,1,5", "c,b", "MatMul Add"},
    };
    for (size_t i = 0; i < BL_COUNTOF(cases); i++) {
        onnx_build *b = ob_new(*state, 13);
        ob_input(b, "x", cases[i].x);
        ob_floats(b, "w", "4,5", NULL);
        ob_floats(b, "b", cases[i].bias, NULL);
        ob_node(b, "MatMul", "x,w", "c");
        ob_node(b, "Add", cases[i].add, "y");
        ob_output(b, "y");
        prepares_to(b, cases[i].ops);
    }
}

static void conv_and_add(void **state)
{
    static const struct {
        const char *bias, *ops;
    } cases[] = {
        {"1,4,1,1", "Conv"}, {"4,1,1", "Conv"}, {"4,1", "Conv Add"}, {"6", "Conv Add"},
        {"1", "Conv Add"},   {"1,4,6,6", "Conv Add"},
    };
    for (size_t i = 0; i < BL_COUNTOF(cases); i++) {
        onnx_build *b = image(*state, 13);
        if (strcmp(cases[i].bias, "4,1") == 0) /* height, not channels */
            b->graph.input[0]->type->tensor_type->shape->dim[2]->dim_value = 4;
        ob_floats(b, "b", cases[i].bias, NULL);
        add_conv(b, "c");
        ob_node(b, "Add", "c,b", "y");
        ob_output(b, "y");
        prepares_to(b, cases[i].ops);
    }
    /* the constant has another reader and stays as it is for it */
    onnx_build *b = image(*state, 13);
    ob_floats(b, "b", "1,4,1,1", NULL);
    add_conv(b, "c");
    ob_node(b, "Add", "c,b", "d");
    ob_node(b, "Mul", "d,b", "y");
    ob_output(b, "y");
    prepares_to(b, "Conv Mul");
    b = image(*state, 13); /* there is a bias already */
    ob_floats(b, "b", "4", NULL);
    ob_floats(b, "more", "1,4,1,1", NULL);
    ob_floats(b, "w", "4,4,1,1", NULL);
    ob_node(b, "Conv", "x,w,b", "c");
    ob_node(b, "Add", "c,more", "y");
    ob_output(b, "y");
    prepares_to(b, "Conv Add");
}

/* ------------------------------------------------------------------ nodes that change nothing */

static void removes_identities(void **state)
{
    onnx_build *b = image(*state, 13); /* in the middle, in a row, before other readers */
    ob_node(b, "Identity", "x", "i");
    ob_node(b, "Dropout", "i", "j,mask");
    ob_int_attr(ob_node(b, "Cast", "j", "k"), b, "to", BL_F32);
    ob_node(b, "Sigmoid", "k", "s");
    ob_node(b, "Add", "i,s", "y");
    ob_output(b, "y");
    prepares_to(b, "Sigmoid Add");

    b = image(*state, 13); /* at the end: the name of the output stays */
    ob_node(b, "Sigmoid", "x", "s");
    ob_node(b, "Tanh", "s", "t");
    ob_node(b, "Identity", "s", "y");
    ob_output(b, "y");
    ob_output(b, "t");
    prepares_to(b, "Sigmoid Tanh");

    b = image(*state, 13); /* between two outputs, and from input to output: it must stay */
    ob_node(b, "Sigmoid", "x", "s");
    ob_node(b, "Identity", "s", "y");
    ob_node(b, "Identity", "x", "z");
    ob_output(b, "s");
    ob_output(b, "y");
    ob_output(b, "z");
    prepares_to(b, "Sigmoid Identity Identity");

    b = image(*state, 13); /* the activation sees through it */
    add_conv(b, "c");
    ob_node(b, "Identity", "c", "d");
    ob_node(b, "Relu", "d", "y");
    ob_output(b, "y");
    prepares_to(b, "Conv");
}

static void removes_what_leads_nowhere(void **state)
{
    onnx_build *b = image(*state, 13);
    add_conv(b, "c");
    ob_floats(b, "unused", "1000", NULL);
    ob_node(b, "Sigmoid", "c", "lost");
    ob_node(b, "Tanh", "lost", "lost2");
    ob_node(b, "Relu", "c", "y");
    ob_output(b, "y");
    bl_graph *p = prepared(b, "Conv Relu");
    assert_int_equal(bl_graph_find_value(p, "unused"), -1);
    assert_int_equal(bl_graph_find_value(p, "lost"), -1);
    bl_graph_free(p);
}

/* ------------------------------------------------------------------ constants */

static void folds_constants(void **state)
{
    onnx_build *b = image(*state, 13);
    ob_floats(b, "p", "4,1,1", NULL);
    ob_floats(b, "q", "4,1,1", NULL);
    ob_node(b, "Add", "p,q", "r");
    ob_node(b, "Sigmoid", "r", "s");
    ob_node(b, "Mul", "x,s", "y");
    ob_output(b, "y");
    bl_graph *p = prepared(b, "Mul");
    assert_non_null(value(p, "s")->t.data);
    assert_int_equal(bl_graph_find_value(p, "p"), -1);
    bl_graph_free(p);

    b = image(*state, 13); /* a constant output keeps its node */
    ob_floats(b, "p", "4", NULL);
    ob_node(b, "Sigmoid", "p", "y");
    ob_node(b, "Relu", "x", "z");
    ob_output(b, "y");
    ob_output(b, "z");
    prepares_to(b, "Sigmoid Relu");
}

static onnx_build *flattening(bl_ctx *ctx, int computed)
{
    onnx_build *b = ob_new(ctx, 13);
    ob_input(b, "x", "N,3,4,4");
    ob_floats(b, "w", "48,5", NULL);
    if (computed) {
        Onnx__TensorProto *zero = ob_constant(b, ob_tensor(b, "zero", BL_I64, ""));
        ob_raw(b, zero, (int64_t[]){0}, 8);
        ob_int64s(b, "axes", "0");
        ob_int64s(b, "rest", "-1");
        ob_node(b, "Shape", "x", "shape");
        ob_node(b, "Gather", "shape,zero", "batch");
        ob_node(b, "Unsqueeze", "batch,axes", "batch1");
        ob_int_attr(ob_node(b, "Concat", "batch1,rest", "target"), b, "axis", 0);
    } else
        ob_int64s(b, "target", "1,48");
    ob_node(b, "Relu", "x", "r");
    ob_node(b, "Reshape", "r,target", "flat");
    ob_node(b, "MatMul", "flat,w", "y");
    ob_output(b, "y");
    return b;
}

/* Shape arithmetic folds away and the Reshape still follows the batch; so does a hard-coded one. */
static void frees_the_batch(void **state)
{
    for (int computed = 0; computed < 2; computed++) {
        bl_graph *p = prepared(flattening(*state, computed), "Relu Reshape MatMul"), *r, *back;
        assert_ok(*state, bl_graph_rebatch(*state, p, 6, &r));
        assert_int_equal(r->batch, 6);
        assert_int_equal(r->n_values, p->n_values);
        assert_int_equal(value(r, "flat")->t.dim[0], 6);
        assert_int_equal(value(r, "y")->t.dim[0], 6);
        assert_int_equal(value(p, "y")->t.dim[0], 1);
        assert_string_not_equal(p->hash.hex, r->hash.hex);
        assert_ok(*state, bl_graph_rebatch(*state, r, 1, &back));
        assert_string_equal(p->hash.hex, back->hash.hex);
        bl_graph_free(back);
        bl_graph_free(r);
        bl_graph_free(p);
    }
}

static void allowzero_is_dropped(void **state)
{
    onnx_build *b = flattening(*state, 0);
    b->opset.version = 14;
    ob_int_attr(b->graph.node[1], b, "allowzero", 1);
    bl_graph *p = prepared(b, "Relu Reshape MatMul"), *r;
    assert_ok(*state, bl_graph_rebatch(*state, p, 3, &r));
    bl_graph_free(r);
    bl_graph_free(p);
}

/* ------------------------------------------------------------------ other batches */

/* Sample i of a batch is what the network says to sample i alone. */
static void batches_agree_with_samples(void **state)
{
    bl_ctx *ctx = *state;
    bl_graph *p = prepared(ob_small_network(ctx), "Conv GlobalAveragePool Flatten Gemm"), *r;
    assert_ok(ctx, bl_graph_rebatch(ctx, p, 4, &r));
    bl_arena *arena = bl_arena_new(ctx, "test");
    bl_tensor *one = run(ctx, p, arena), *four = run(ctx, r, arena);
    /* both inputs come from one stream: the first sample is the same */
    assert_memory_equal(one[p->outputs[0]].data, four[r->outputs[0]].data, 5 * sizeof(float));
    bl_arena_free(arena);
    bl_graph_free(r);
    bl_graph_free(p);
}

static void refuses_fixed_batches(void **state)
{
    bl_ctx *ctx = *state;
    onnx_build *b = ob_new(ctx, 13); /* the batch flows into the second dimension and back wrong */
    bl_graph *g, *r = NULL;
    ob_input(b, "x", "N,4");
    ob_int64s(b, "target", "2,2");
    ob_node(b, "Reshape", "x,target", "y");
    ob_output(b, "y");
    assert_ok(ctx, ob_import(b, &g));
    assert_fails(ctx, bl_graph_rebatch(ctx, g, 3, &r), BL_UNAVAILABLE, "batch 3");
    assert_null(r);
    assert_fails(ctx, bl_graph_rebatch(ctx, g, 0, &r), BL_USAGE, "no batch size");
    assert_fails(ctx, bl_graph_rebatch(ctx, g, INT64_MAX / 2, &r), BL_UNAVAILABLE, "");
    bl_graph_free(g);
    ob_free(b);

    b = ob_new(ctx, 13); /* a sum over the batch */
    ob_input(b, "x", "N,4");
    ob_int64s(b, "axes", "0");
    ob_node(b, "ReduceSum", "x,axes", "y");
    ob_output(b, "y");
    assert_ok(ctx, ob_import(b, &g));
    assert_fails(ctx, bl_graph_rebatch(ctx, g, 3, &r), BL_UNAVAILABLE, "\"y\" does not grow");
    bl_graph_free(g);
    ob_free(b);

    b = ob_new(ctx, 13); /* an input without the batch in front */
    ob_input(b, "x", "N,4");
    ob_input(b, "state", "2,4");
    ob_node(b, "Add", "x,state", "y");
    ob_output(b, "y");
    assert_ok(ctx, ob_import(b, &g));
    assert_fails(ctx, bl_graph_rebatch(ctx, g, 2, &r), BL_UNAVAILABLE, "\"state\" does not grow");
    bl_graph_free(g);
    ob_free(b);
}

/* The batch may move to another dimension: (N,6) -> (N,3,2) -> (3,N,2). */
static void batch_in_another_dimension(void **state)
{
    bl_ctx *ctx = *state;
    onnx_build *b = ob_new(ctx, 13);
    bl_graph *g, *r;
    ob_input(b, "x", "N,6");
    ob_int64s(b, "target", "-1,3,2");
    ob_node(b, "Reshape", "x,target", "v");
    ob_ints_attr(ob_node(b, "Transpose", "v", "t"), b, "perm", "1,0,2");
    ob_output(b, "t");
    assert_ok(ctx, ob_import(b, &g));
    assert_ok(ctx, bl_graph_rebatch(ctx, g, 5, &r));
    assert_int_equal(value(r, "t")->t.dim[1], 5);
    bl_graph_free(r);
    bl_graph_free(g);
    ob_free(b);
}

/* ------------------------------------------------------------------ single nodes, costs, JSON */

static void extracts_nodes(void **state)
{
    bl_ctx *ctx = *state;
    bl_graph *p = prepared(ob_small_network(ctx), "Conv GlobalAveragePool Flatten Gemm"), *one[4];
    bl_arena *arena = bl_arena_new(ctx, "test");
    for (int i = 0; i < 4; i++) assert_ok(ctx, bl_graph_extract(ctx, p, i, &one[i]));
    int64_t macs, alone;
    assert_ok(ctx, bl_graph_macs(ctx, p, 0, &macs));
    assert_ok(ctx, bl_graph_macs(ctx, one[0], 0, &alone));
    assert_int_equal(macs, 4 * 8 * 8 * 3 * 9);
    assert_int_equal(alone, macs);
    bl_graph_free(p);
    assert_nodes(one[0], "Conv");
    assert_true(one[0]->prepared && one[0]->nodes[0].lo == 0);
    assert_int_equal(one[0]->n_inputs, 1);
    assert_string_equal(one[0]->values[one[0]->inputs[0]].name, "x");
    assert_int_equal(one[0]->n_bn, 1);
    assert_int_equal(one[1]->n_bn, 0);
    assert_string_equal(one[3]->values[one[3]->inputs[0]].name, "flat");
    for (int i = 0; i < 4; i++) {
        run(ctx, one[i], arena); /* stands alone */
        bl_graph_free(one[i]);
    }
    bl_arena_free(arena);

    onnx_build *b = ob_new(ctx, 13); /* a value read twice is one input */
    bl_graph *g;
    ob_input(b, "x", "N,4");
    ob_node(b, "Sigmoid", "x", "s");
    ob_node(b, "Mul", "s,s", "y");
    ob_output(b, "y");
    assert_ok(ctx, ob_import(b, &g));
    assert_ok(ctx, bl_graph_extract(ctx, g, 1, &one[0]));
    assert_int_equal(one[0]->n_inputs, 1);
    assert_int_equal(one[0]->values[one[0]->inputs[0]].n_readers, 2);
    bl_graph_free(one[0]);
    bl_graph_free(g);
    ob_free(b);
}

static void graph_as_json(void **state)
{
    bl_ctx *ctx = *state;
    bl_graph *p = prepared(ob_small_network(ctx), "Conv GlobalAveragePool Flatten Gemm");
    json_t *j = bl_graph_json(ctx, p);
    assert_non_null(j);
    static const char *const keys[] = {"name", "producer", "opset", "ir_version", "batch",
                                       "inputs", "outputs", "nodes", "totals", "operators"};
    for (size_t i = 0; i < BL_COUNTOF(keys); i++) assert_non_null(json_object_get(j, keys[i]));
    json_t *node = json_array_get(json_object_get(j, "nodes"), 0);
    assert_string_equal(json_string_value(json_object_get(node, "op")), "Conv");
    assert_string_equal(json_string_value(json_array_get(json_object_get(node, "inputs"), 0)), "x");
    assert_string_equal(json_string_value(json_array_get(json_object_get(node, "outputs"), 0)),
                        "relu");
    assert_int_equal(json_integer_value(json_object_get(node, "macs")), 4 * 8 * 8 * 3 * 9);
    assert_int_equal(json_integer_value(json_object_get(node, "weights")), 4 * 27 + 4);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(node, "shape"), 2)), 8);
    json_t *totals = json_object_get(j, "totals");
    assert_int_equal(json_integer_value(json_object_get(totals, "nodes")), 4);
    assert_int_equal(json_integer_value(json_object_get(totals, "params")), 4 * 27 + 4 + 25);
    assert_int_equal(json_integer_value(json_object_get(totals, "constant_bytes")), 4 * 137);
    assert_int_equal(json_integer_value(json_object_get(totals, "macs")), 6912 + 20);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(j, "operators"), "Gemm")),
                     1);
    json_decref(j);
    bl_graph_free(p);
}

static void preparing_twice_changes_nothing(void **state)
{
    bl_ctx *ctx = *state;
    bl_graph *p = prepared(ob_small_network(ctx), "Conv GlobalAveragePool Flatten Gemm"), *q;
    assert_ok(ctx, bl_prepare(ctx, p, &q));
    assert_string_equal(p->hash.hex, q->hash.hex);
    assert_int_equal(q->n_bn, 1);
    assert_string_equal(q->values[q->bn[0].value].name, "relu");
    bl_graph_free(p);
    bl_graph_free(q);
}

/* ------------------------------------------------------------------ real networks */

static void shared_models_stay_the_same(void **state)
{
    static const struct {
        const char *name;
        int norms;
    } models[] = {
        {"mlperf_tiny_ad", 9}, {"mlperf_tiny_kws", 9}, {"mlperf_tiny_resnet8_cifar10", 7},
        {"mobilenetv3s_cifar10", 26}, {"resnet20_cifar10", 19}, {"vit_tiny_fmnist_op17", 0},
    };
    char folder[512], path[640];
    test_shared("models", folder);
    for (size_t i = 0; i < BL_COUNTOF(models); i++) {
        bl_graph *g, *p, *r;
        snprintf(path, sizeof(path), "%s/%s.onnx", folder, models[i].name);
        assert_ok(*state, bl_import(*state, path, NULL, &g));
        assert_ok(*state, bl_prepare(*state, g, &p));
        assert_int_equal(p->n_bn, models[i].norms);
        assert_same_results(*state, g, p);
        bl_graph_free(g);
        assert_ok(*state, bl_graph_rebatch(*state, p, 3, &r));
        assert_int_equal(r->values[r->outputs[0]].t.dim[0], 3);
        bl_graph_free(r);
        bl_graph_free(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(norm_into_conv, setup, teardown),
        cmocka_unit_test_setup_teardown(keeps_statistics, setup, teardown),
        cmocka_unit_test_setup_teardown(folds_exactly, setup, teardown),
        cmocka_unit_test_setup_teardown(norm_into_gemm, setup, teardown),
        cmocka_unit_test_setup_teardown(norm_into_matmul, setup, teardown),
        cmocka_unit_test_setup_teardown(norm_into_conv_transpose, setup, teardown),
        cmocka_unit_test_setup_teardown(norms_after_a_shared_weight, setup, teardown),
        cmocka_unit_test_setup_teardown(norms_that_stay, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_a_bad_norm, setup, teardown),
        cmocka_unit_test_setup_teardown(clips_of_every_form, setup, teardown),
        cmocka_unit_test_setup_teardown(clamps_in_a_row, setup, teardown),
        cmocka_unit_test_setup_teardown(activations_after_joins, setup, teardown),
        cmocka_unit_test_setup_teardown(activations_that_stay, setup, teardown),
        cmocka_unit_test_setup_teardown(matmul_and_add, setup, teardown),
        cmocka_unit_test_setup_teardown(conv_and_add, setup, teardown),
        cmocka_unit_test_setup_teardown(removes_identities, setup, teardown),
        cmocka_unit_test_setup_teardown(removes_what_leads_nowhere, setup, teardown),
        cmocka_unit_test_setup_teardown(folds_constants, setup, teardown),
        cmocka_unit_test_setup_teardown(frees_the_batch, setup, teardown),
        cmocka_unit_test_setup_teardown(allowzero_is_dropped, setup, teardown),
        cmocka_unit_test_setup_teardown(batches_agree_with_samples, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_fixed_batches, setup, teardown),
        cmocka_unit_test_setup_teardown(batch_in_another_dimension, setup, teardown),
        cmocka_unit_test_setup_teardown(extracts_nodes, setup, teardown),
        cmocka_unit_test_setup_teardown(graph_as_json, setup, teardown),
        cmocka_unit_test_setup_teardown(preparing_twice_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(shared_models_stay_the_same, setup, teardown),
    };
    return cmocka_run_group_tests_name("prepare", tests, NULL, NULL);
}
