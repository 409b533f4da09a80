/* SPDX-License-Identifier: BSD-3-Clause */
/* Nodes that join a layer: BatchNormalization, biases, activations, constants by channel. */
#include "prepare_build.h"

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
    float sigma2 = sqrtf(var[2]), gamma2 = gamma[2] / sqrtf(var[2] + 1e-5f) * sigma2;
    b->graph.node[1]->name = ob_text(b, "bn");
    bl_graph *p = prepared(b, "Conv GlobalAveragePool Flatten Gemm");
    assert_int_equal(p->n_bn, 1);
    assert_string_equal(p->bn[0].name, "bn");
    assert_int_equal(p->bn[0].channels, 4);
    assert_string_equal(p->values[p->bn[0].value].name, "relu");
    assert_int_equal(p->values[p->bn[0].value].producer, 0);
    assert_float_equal(p->bn[0].gamma[2], gamma2, 1e-6f * fabsf(gamma2));
    assert_true(p->bn[0].sigma[2] == sigma2);
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
    assert_memory_equal(p->bn[0].sigma, ((float[]){sqrtf(3.75f), sqrtf(8.75f)}), 8); /* what was seen, without epsilon */
    assert_memory_equal(p->bn[0].gamma, p->bn[0].sigma, 8);
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

/* alpha and beta go into the constants, which others may read as they were; where a factor's operand flows nothing changes. */
static void factors_into_gemm(void **state)
{
    static const char *const biases[] = {NULL, "5", "1,5", "1", ""};
    for (size_t i = 0; i < BL_COUNTOF(biases); i++)
        for (int k = 0; k < 4; k++) { /* beta 0; weights that another reads */
            onnx_build *b = rows(*state);
            ob_floats(b, "w", "4,5", NULL);
            if (biases[i]) ob_floats(b, "b", biases[i], NULL);
            Onnx__NodeProto *n = ob_node(b, "Gemm", biases[i] ? "x,w,b" : "x,w", "y");
            ob_float_attr(n, b, "alpha", 0.3f);
            ob_float_attr(n, b, "beta", k & 1 ? 0 : -3);
            ob_output(b, "y");
            if (k & 2) ob_node(b, "Gemm", "x,w", "z");
            if (k & 2) ob_output(b, "z");
            bl_graph *p = prepared(b, k & 2 ? "Gemm Gemm" : "Gemm");
            for (int g = 0; g < p->n_nodes; g++) {
                assert_null(bl_node_attr(&p->nodes[g], "alpha"));
                assert_null(bl_node_attr(&p->nodes[g], "beta"));
            }
            assert_int_equal(p->nodes[0].n_in, biases[i] && !(k & 1) ? 3 : 2);
            bl_graph_free(p);
        }
    for (int flows = 0; flows < 2; flows++) { /* the weight, the bias */
        onnx_build *b = rows(*state);
        ob_floats(b, "w", "4,4", NULL);
        ob_node(b, "Tanh", "x", "t");
        Onnx__NodeProto *n = ob_node(b, "Gemm", flows ? "x,w,t" : "x,t", "y");
        ob_int_attr(n, b, "transB", !flows);
        ob_float_attr(n, b, flows ? "beta" : "alpha", 0.5f);
        ob_output(b, "y");
        bl_graph *p = prepared(b, "Tanh Gemm");
        assert_non_null(bl_node_attr(&p->nodes[1], flows ? "beta" : "alpha"));
        bl_graph_free(p);
    }
    onnx_build *b = rows(*state); /* beyond float32: as it is */
    ob_floats(b, "w", "4,1", (float[]){1e38f, 1, 1, 1});
    ob_float_attr(ob_node(b, "Gemm", "x,w", "y"), b, "alpha", 100);
    ob_output(b, "y");
    bl_graph *g = NULL, *p;
    assert_ok(*state, ob_import(b, &g));
    assert_ok(*state, bl_prepare(*state, g, &p));
    assert_non_null(bl_node_attr(&p->nodes[0], "alpha"));
    bl_graph_free(p);
    bl_graph_free(g);
    ob_free(b);
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
        {"3,4", "1", "c,b", "Gemm"}, {"3,4", "3,5", "c,b", "MatMul Add"},
        {"3,4", "2,1,5", "c,b", "MatMul Add"}, {"3,4", "1,1,5", "c,b", "MatMul Add"},
        /* rows of more dimensions: a bias of the product's own */
        {"2,3,4", "5", "c,b", "MatMul"},  {"2,3,4", "5", "b,c", "MatMul"},
        {"N,3,4", "1,5", "c,b", "MatMul"}, {"N,3,4", "1,1,5", "b,c", "MatMul"},
        {"2,2,3,4", "1,1,5", "c,b", "MatMul"}, {"2,3,4", "1,1,1,5", "c,b", "MatMul Add"},
        {"2,3,4", "3,5", "c,b", "MatMul Add"}, {"2,3,4", "3,1", "c,b", "MatMul Add"},
        {"2,3,4", "1", "c,b", "MatMul Add"}, {"4", "5", "c,b", "MatMul Add"},
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

/* Operands of a product of three dimensions, whose sum has every other property that a bias must not have. */
static void matmuls_that_keep_their_add(void **state)
{
    for (int i = 0; i < 6; i++) {
        onnx_build *b = ob_new(*state, 13);
        ob_input(b, "x", "2,3,4");
        ob_floats(b, "w", i == 5 ? "2,4,5" : "4,5", NULL);
        ob_floats(b, "b", "5", NULL);
        if (i == 2) ob_input(b, "flows", "5");
        if (i == 3) ob_input(b, "v", "4,5");
        ob_node(b, "MatMul", i == 3 ? "x,v" : "x,w", "c");
        ob_node(b, "Add", i == 2 ? "c,flows" : "c,b", i == 4 ? "a" : "y");
        if (i == 0) ob_node(b, "Tanh", "c", "z"); /* another reader */
        if (i == 0) ob_output(b, "z");
        if (i == 1) ob_output(b, "c");
        if (i == 4) ob_node(b, "Add", "a,b", "y"); /* the second one: it has a bias already */
        ob_output(b, "y");
        prepares_to(b, i == 0 ? "MatMul Add Tanh" : "MatMul Add");
    }
}

/* The bounds behind the sum, its name, and the constant of one that reads it as it was. */
static void what_a_biased_matmul_keeps(void **state)
{
    onnx_build *b = ob_new(*state, 13);
    ob_input(b, "x", "N,3,4");
    ob_floats(b, "w", "4,5", NULL);
    ob_floats(b, "b", "1,1,5", NULL);
    ob_node(b, "MatMul", "x,w", "c");
    ob_node(b, "Add", "b,c", "d");
    ob_node(b, "Relu", "d", "r");
    ob_node(b, "Max", "r,b", "y");
    ob_output(b, "y");
    bl_graph *p = prepared(b, "MatMul Max"), *r;
    const bl_node *n = &p->nodes[0];
    assert_int_equal(n->n_in, 3);
    assert_int_equal(p->values[n->in[2]].t.rank, 1);
    assert_int_equal(p->values[p->nodes[1].in[1]].t.rank, 3);
    assert_string_equal(p->values[n->out[0]].name, "r");
    assert_true(n->lo == 0 && n->hi == INFINITY);
    assert_ok(*state, bl_graph_rebatch(*state, p, 3, &r));
    assert_int_equal(value(r, "y")->t.dim[0], 3);
    bl_graph_free(r);
    bl_graph_free(p);
}

/* The oneDNN walk adds the bias to the finished sum, as the Add did: the same bits. */
static void biased_walks_agree(void **state)
{
    onnx_build *b = ob_new(*state, 13);
    bl_graph *g, *p;
    ob_input(b, "x", "2,7,24");
    ob_floats(b, "w", "24,40", NULL);
    ob_floats(b, "b", "40", NULL);
    ob_node(b, "MatMul", "x,w", "c");
    ob_node(b, "Add", "c,b", "y");
    ob_output(b, "y");
    assert_ok(*state, ob_import(b, &g));
    assert_ok(*state, bl_prepare(*state, g, &p));
    assert_int_equal(p->n_nodes, 1);
    for (int reference = 0; reference < 2; reference++) {
        bl_walk_options o = {.reference = reference};
        bl_walk *walk[2];
        for (int i = 0; i < 2; i++) {
            assert_ok(*state, bl_walk_new(*state, i ? p : g, &o, &walk[i]));
            fill_input((bl_tensor *)bl_walk_input(walk[i], 0), "x");
            assert_ok(*state, bl_walk_run(walk[i], NULL, NULL));
        }
        const bl_tensor *one = bl_walk_value(walk[0], g->outputs[0]), *two = bl_walk_value(walk[1], p->outputs[0]);
        assert_memory_equal(one->data, two->data, bl_tensor_bytes(one));
        for (int i = 0; i < 2; i++) bl_walk_free(walk[i]);
    }
    bl_graph_free(p);
    bl_graph_free(g);
    ob_free(b);
}

static void conv_and_add(void **state)
{
    static const struct {
        const char *bias, *ops;
    } cases[] = {
        {"1,4,1,1", "Conv"}, {"4,1,1", "Conv"}, {"4,1", "Conv Add"}, {"6", "Conv Add"},
        {"1", "Conv"},       {"1,4,6,6", "Conv Add"},
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
    ob_node(b, "Max", "d,b", "y");
    ob_output(b, "y");
    prepares_to(b, "Conv Max");
    b = image(*state, 13); /* there is a bias already: both become one */
    ob_floats(b, "b", "4", NULL);
    ob_floats(b, "more", "1,4,1,1", NULL);
    ob_floats(b, "w", "4,4,1,1", NULL);
    ob_node(b, "Conv", "x,w,b", "c");
    ob_node(b, "Add", "c,more", "y");
    ob_output(b, "y");
    prepares_to(b, "Conv");
}

/* ------------------------------------------------------------------ constants by channel */

/* Layers of every kind with a constant behind them that joins (or does not). */
static void constants_behind_a_layer(void **state)
{
    static const struct {
        const char *layer, *op, *inputs, *dims, *ops;
    } cases[] = {
        {"Conv", "Mul", "c,k", "1,4,1,1", "Conv"},   {"Conv", "Mul", "k,c", "4,1,1", "Conv"},
        {"Conv", "Div", "c,k", "4,1,1", "Conv"},     {"Conv", "Sub", "c,k", "1,4,1,1", "Conv"},
        {"Conv", "Add", "k,c", "", "Conv"},          {"Conv", "Mul", "c,k", "1", "Conv"},
        {"Conv", "Mul", "c,k", "6", "Conv Mul"},     {"Conv", "Mul", "c,k", "1,4,6,6", "Conv Mul"},
        {"Conv", "Div", "k,c", "4,1,1", "Conv Div"}, {"Conv", "Mul", "c,k", "1,1,1,1,1", "Conv Mul"},
        {"Gemm", "Mul", "c,k", "4", "Gemm"},         {"Gemm", "Sub", "c,k", "1,4", "Gemm"},
        {"MatMul", "Div", "c,k", "4", "Gemm"},       {"MatMul", "Mul", "k,c", "", "Gemm"},
        {"MatMul", "Mul", "c,k", "3,1", "MatMul Mul"}, {"Gemm", "Add", "c,k", "3,4", "Gemm Add"},
    };
    for (size_t i = 0; i < BL_COUNTOF(cases); i++) {
        bool conv = !strcmp(cases[i].layer, "Conv");
        onnx_build *b = conv ? image(*state, 13) : rows(*state);
        ob_floats(b, "w", conv ? "4,4,1,1" : "4,4", NULL);
        ob_positive(b, "k", cases[i].dims);
        ob_node(b, cases[i].layer, "x,w", "c");
        ob_node(b, cases[i].op, cases[i].inputs, "y");
        ob_output(b, "y");
        prepares_to(b, cases[i].ops);
    }
}

static void a_chain_behind_a_layer(void **state)
{
    onnx_build *b = image(*state, 13); /* statistics follow the scale and the shift */
    float half = 0.5f, three = 3;
    ob_floats(b, "half", "", &half);
    ob_floats(b, "three", "", &three);
    add_conv(b, "c");
    add_norm(b, "c", "n", "4");
    ob_node(b, "Mul", "half,n", "m");
    ob_node(b, "Add", "three,m", "a");
    ob_node(b, "Relu", "a", "y");
    ob_output(b, "y");
    const float *gamma = NULL, *beta = NULL, *var = NULL;
    for (size_t i = 0; i < b->graph.n_initializer; i++) {
        if (!strcmp(b->graph.initializer[i]->name, "n.gamma")) gamma = (void *)b->graph.initializer[i]->raw_data.data;
        if (!strcmp(b->graph.initializer[i]->name, "n.beta")) beta = (void *)b->graph.initializer[i]->raw_data.data;
        if (!strcmp(b->graph.initializer[i]->name, "n.var")) var = (void *)b->graph.initializer[i]->raw_data.data;
    }
    float g1 = 0.5f * gamma[1] * sqrtf(var[1] / (var[1] + 1e-3f)), b1 = 0.5f * beta[1] + 3;
    bl_graph *p = prepared(b, "Conv");
    assert_int_equal(p->n_bn, 1);
    assert_string_equal(p->values[p->bn[0].value].name, "y");
    assert_float_equal(p->bn[0].gamma[1], g1, 1e-6f);
    assert_float_equal(p->bn[0].beta[1], b1, 1e-5f);
    assert_true(p->nodes[0].lo == 0);
    bl_graph_free(p);

    b = image(*state, 13); /* what is clipped already cannot be scaled */
    ob_floats(b, "half", "", &half);
    add_conv(b, "c");
    ob_node(b, "Relu", "c", "r");
    ob_node(b, "Mul", "half,r", "y");
    ob_output(b, "y");
    prepares_to(b, "Conv Mul");
}

static void constants_before_a_layer(void **state)
{
    static const struct {
        const char *layer, *op, *dims, *pads, *ops;
    } cases[] = {
        {"Conv", "Mul", "1,4,1,1", "1,1,1,1", "Conv"}, {"Conv", "Add", "1,4,1,1", NULL, "Conv"},
        {"Conv", "Sub", "", NULL, "Conv"},             {"Conv", "Add", "4,1,1", "0,0,0,1", "Add Conv"},
        {"Conv", "Mul", "1,4,6,6", NULL, "Mul Conv"},  {"Conv", "BatchNormalization", "4", NULL, "Conv"},
        {"Conv", "BatchNormalization", "4", "1,1,1,1", "BatchNormalization Conv"},
        {"Gemm", "Mul", "4", NULL, "Gemm"},            {"Gemm", "Add", "1,4", NULL, "Gemm"},
        {"MatMul", "Add", "4", NULL, "Gemm"},          {"MatMul", "Div", "", NULL, "MatMul"},
        {"Gemm", "BatchNormalization", "4", NULL, "Gemm"},
    };
    for (size_t i = 0; i < BL_COUNTOF(cases); i++)
        for (int groups = 1; groups <= 4; groups += 3) {
            bool conv = !strcmp(cases[i].layer, "Conv");
            onnx_build *b = conv ? image(*state, 13) : rows(*state);
            ob_floats(b, "w", !conv ? "4,8" : groups == 4 ? "8,1,3,3" : "8,4,3,3", NULL);
            if (!strcmp(cases[i].op, "BatchNormalization")) {
                add_norm(b, "x", "s", "4");
            } else {
                ob_positive(b, "k", cases[i].dims);
                ob_node(b, cases[i].op, "x,k", "s");
            }
            Onnx__NodeProto *n = ob_node(b, cases[i].layer, "s,w", "y");
            if (conv) ob_int_attr(n, b, "group", groups);
            if (cases[i].pads) ob_ints_attr(n, b, "pads", cases[i].pads);
            ob_output(b, "y");
            prepares_to(b, cases[i].ops);
        }
    onnx_build *b = image(*state, 13); /* another reader keeps it */
    ob_positive(b, "k", "1,4,1,1");
    ob_node(b, "Mul", "x,k", "s");
    ob_floats(b, "w", "4,4,1,1", NULL);
    ob_node(b, "Conv", "s,w", "c");
    ob_node(b, "Add", "c,s", "y");
    ob_output(b, "y");
    prepares_to(b, "Mul Conv Add");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(norm_into_conv, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(keeps_statistics, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(folds_exactly, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(norm_into_gemm, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(factors_into_gemm, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(norm_into_matmul, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(norm_into_conv_transpose, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(norms_after_a_shared_weight, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(norms_that_stay, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(refuses_a_bad_norm, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(clips_of_every_form, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(clamps_in_a_row, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(activations_after_joins, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(activations_that_stay, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(matmul_and_add, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(matmuls_that_keep_their_add, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(what_a_biased_matmul_keeps, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(biased_walks_agree, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(conv_and_add, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(constants_behind_a_layer, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(a_chain_behind_a_layer, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(constants_before_a_layer, test_setup, test_teardown),
    };
    return cmocka_run_group_tests_name("fuse", tests, NULL, NULL);
}
