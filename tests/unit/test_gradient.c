/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reverse mode against central differences of the forward walk, for every operator with a gradient,
 * on the reference and on oneDNN; whole networks on oneDNN against the reference; seeds at inner
 * values; the same bits twice; what has no gradient is named.
 */
#include <math.h>

#include "onnx_build.h"
#include "tiny_graph.h"

/* ------------------------------------------------------------------ one graph, checked */

typedef struct trial {
    bl_ctx *ctx;
    bl_graph *g;
    bl_walk *walk;
    bl_back *back;
    uint8_t *marks;
    float **weights;            /* by value: the random direction of the loss, NULL: not seeded */
} trial;

static bl_status add_direction(void *user, int value, const bl_tensor *x, bl_tensor *grad)
{
    trial *t = user;
    for (int64_t i = 0; i < bl_tensor_count(x); i++)
        ((float *)grad->data)[i] += t->weights[value][i];
    return BL_OK;
}

/* The loss: sum of direction * value over the seeded values. */
static double loss(trial *t)
{
    double sum = 0;
    assert_ok(t->ctx, bl_walk_run(t->walk, NULL, NULL));
    for (int v = 0; v < t->g->n_values; v++) {
        if (!t->weights[v]) continue;
        const bl_tensor *x = bl_walk_value(t->walk, v);
        assert_non_null(x);
        for (int64_t i = 0; i < bl_tensor_count(x); i++)
            sum += (double)t->weights[v][i] * ((const float *)x->data)[i];
    }
    return sum;
}

static void trial_open(trial *t, bl_ctx *ctx, bl_graph *g, bool reference, bool seed_all)
{
    bl_rng r = bl_rng_make(7, "directions", 0);
    *t = (trial){.ctx = ctx, .g = g};
    t->marks = calloc((size_t)g->n_values, 1);
    t->weights = calloc((size_t)g->n_values, sizeof *t->weights);
    for (int v = 0; v < g->n_values; v++) {
        const bl_value *value = &g->values[v];
        bool f32 = value->t.type == BL_F32;
        if (value->producer < 0 && f32) t->marks[v] |= BL_BACK_WANTED;
        if (!f32 || !(value->is_output || (seed_all && value->producer >= 0))) continue;
        t->marks[v] |= BL_BACK_SEEDED;
        size_t n = (size_t)bl_tensor_count(&value->t);
        t->weights[v] = malloc(n * sizeof(float));
        for (size_t i = 0; i < n; i++) t->weights[v][i] = (float)bl_rng_normal(&r);
    }
    bl_walk_options o = {.reference = reference, .keep_all = true};
    assert_ok(ctx, bl_walk_new(ctx, g, &o, &t->walk));
    for (int i = 0; i < g->n_inputs; i++) {
        bl_tensor *x = bl_walk_input(t->walk, i);
        for (int64_t k = 0; x->type == BL_F32 && k < bl_tensor_count(x); k++)
            ((float *)x->data)[k] = (float)bl_rng_normal(&r);
    }
}

static void trial_close(trial *t)
{
    bl_back_free(t->back);
    bl_walk_free(t->walk);
    for (int v = 0; v < t->g->n_values; v++) free(t->weights[v]);
    free(t->weights);
    free(t->marks);
    bl_graph_free(t->g);
}

/* Steps along a coordinate must be small beside the distance to a kink, and large beside the rounding
 * of binary32; a coordinate where two steps disagree stands at a kink and says nothing. */
static void check_value(trial *t, int v, float *x, int64_t n, const char *name)
{
    const bl_tensor *grad = bl_back_grad(t->back, v);
    bl_rng r = bl_rng_make(11, "coordinates", (uint64_t)v);
    double scale = 0;
    int judged = 0;

    assert_non_null(grad);
    float *g = malloc((size_t)n * sizeof *g);
    memcpy(g, grad->data, (size_t)n * sizeof *g);
    for (int64_t i = 0; i < n; i++) scale = fmax(scale, fabs((double)g[i]));
    for (int k = 0; k < 12; k++) {
        int64_t i = (int64_t)bl_rng_below(&r, (uint64_t)n);
        float old = x[i], h = 0.01f;
        double slope[2];
        for (int s = 0; s < 2; s++, h /= 2) {
            double up, down;
            x[i] = old + h;
            double wide = (double)x[i];
            up = loss(t);
            x[i] = old - h;
            wide -= (double)x[i];
            down = loss(t);
            x[i] = old;
            slope[s] = (up - down) / wide;
        }
        if (fabs(slope[0] - slope[1]) > 0.02 * (scale + fabs(slope[1])) + 2e-3) continue;
        judged++;
        if (fabs(slope[1] - g[i]) > 0.03 * (scale + fabs(slope[1])) + 4e-3)
            fail_msg("%s: gradient by \"%s\"[%lld] is %g, differences say %g", name,
                     t->g->values[v].name, (long long)i, (double)g[i], slope[1]);
    }
    assert_true(judged >= 4);
    free(g);
}

static void check_graph(bl_ctx *ctx, bl_graph *g, bool reference, bool seed_all, const char *name)
{
    trial t;
    trial_open(&t, ctx, g, reference, seed_all);
    assert_ok(ctx, bl_back_new(ctx, t.walk, t.marks, &t.back));
    (void)loss(&t);
    assert_ok(ctx, bl_back_run(t.back, add_direction, &t));
    for (int v = 0; v < g->n_values; v++) {
        const bl_value *value = &g->values[v];
        if (!(t.marks[v] & BL_BACK_WANTED) || !bl_back_grad(t.back, v)) continue;
        int64_t n = bl_tensor_count(&value->t);
        if (value->is_input) {
            check_value(&t, v, bl_walk_input(t.walk, 0)->data, n, name);
            continue;
        }
        float *data = malloc((size_t)n * sizeof *data);
        memcpy(data, value->t.data, (size_t)n * sizeof *data);
        /* Replaced anew in each run, so that reordered copies are made again. */
        assert_ok(ctx, bl_walk_set_constant(t.walk, v, data));
        const bl_tensor *grad = bl_back_grad(t.back, v);
        float *before = malloc((size_t)n * sizeof *before);
        memcpy(before, grad->data, (size_t)n * sizeof *before);
        bl_rng r = bl_rng_make(11, "constants", (uint64_t)v);
        for (int k = 0; k < 6; k++) {
            int64_t i = (int64_t)bl_rng_below(&r, (uint64_t)n);
            float old = data[i];
            double up, down;
            data[i] = old + 0.005f;
            assert_ok(ctx, bl_walk_set_constant(t.walk, v, data));
            up = loss(&t);
            data[i] = old - 0.005f;
            assert_ok(ctx, bl_walk_set_constant(t.walk, v, data));
            down = loss(&t);
            data[i] = old;
            double slope = (up - down) / 0.01;
            if (fabs(slope - before[i]) > 0.05 * (fabs(slope) + fabs((double)before[i])) + 0.05)
                fail_msg("%s: gradient by constant \"%s\"[%lld] is %g, differences say %g", name,
                         value->name, (long long)i, (double)before[i], slope);
        }
        assert_ok(ctx, bl_walk_set_constant(t.walk, v, NULL));
        free(before);
        free(data);
    }
    trial_close(&t);
}

/* ------------------------------------------------------------------ operator by operator */

/* Inputs behind x: "f:DIMS" normal floats, "p:DIMS" positive ones, "i:NUMBERS" int64, "b:DIMS" bools, "+:DIMS" floats
 * that an Add behind the operator brings and preparing puts into it, joined by ';'.
 * Attributes: "name=ints" or "name~float" or "name$text". */
typedef struct op_case { const char *op, *x, *more, *attrs; int opset; } op_case;

static const op_case cases[] = {
    {"Conv", "2,3,6,5", "f:4,3,3,3;f:4", "pads=1,1,1,1", 13},
    {"Conv", "2,4,7,7", "f:6,2,3,3;f:6", "group=@2;strides=2,2;pads=1,0,1,1", 13},
    {"Conv", "1,16,6,6", "f:16,1,3,3;f:16", "group=@16;pads=1,1,1,1", 13},
    {"Conv", "2,16,5,5", "f:32,16,1,1", "", 13},
    {"Conv", "1,3,9,9", "f:2,3,3,3", "dilations=2,2", 13},
    {"Conv", "2,3,9", "f:4,3,3;f:4", "strides=2", 13},
    {"Conv", "1,2,4,5,4", "f:3,2,2,3,2", "", 13},
    {"Gemm", "3,5", "f:5,4;f:4", "", 13},
    {"Gemm", "3,5", "f:4,5;f:4", "transB=@1", 13},
    {"Gemm", "5,3", "f:4,5;f:1,4", "transA=@1;transB=@1;alpha~0.5;beta~2", 13},
    {"MatMul", "2,3,5", "f:5,4", "", 13},
    {"MatMul", "2,3,5", "f:5,4;+:4", "", 13},
    {"MatMul", "2,2,3,5", "f:5,4;+:4", "", 13},
    {"MatMul", "2,3,5", "f:2,5,4", "", 13},
    {"MatMul", "2,2,3,5", "f:2,1,5,4", "", 13},
    {"MatMul", "4,5", "f:5", "", 13},
    {"Add", "2,3,4,4", "f:3,1,1", "", 13},
    {"Add", "4", "f:2,3,4", "", 13},
    {"Sub", "2,3,4", "f:2,1,4", "", 13},
    {"Mul", "2,3,4,4", "f:2,3,1,1", "", 13},
    {"Div", "2,3,4", "p:3,4", "", 13},
    {"Pow", "2,3", "p:2,1", "", 13},
    {"PRelu", "2,3,4", "f:3,1", "", 13},
    {"Max", "2,3,4", "f:3,4;f:2,1,4", "", 13},
    {"Min", "2,3,4", "f:3,4", "", 13},
    {"Sum", "2,3,4", "f:3,4;f:1", "", 13},
    {"Mean", "2,3,4", "f:3,4;f:2,3,4", "", 13},
    {"MaxPool", "2,3,6,6", "", "kernel_shape=3,3;strides=2,2;pads=1,1,1,1", 13},
    {"AveragePool", "2,3,6,6", "", "kernel_shape=3,3;strides=2,2;pads=1,1,1,1", 13},
    {"AveragePool", "2,3,5,5", "", "kernel_shape=2,2;strides=2,2;ceil_mode=@1", 13},
    {"AveragePool", "2,3,6,6", "", "kernel_shape=3,3;pads=1,1,1,1;count_include_pad=@1", 13},
    {"GlobalAveragePool", "2,3,4,5", "", "", 13},
    {"GlobalMaxPool", "2,3,4,5", "", "", 13},
    {"BatchNormalization", "2,3,4,4", "f:3;f:3;f:3;p:3", "", 13},
    {"InstanceNormalization", "2,3,4,4", "f:3;f:3", "", 13},
    {"LayerNormalization", "2,3,8", "f:8;f:8", "", 17},
    {"LayerNormalization", "2,3,8", "f:3,8;f:3,8", "axis=@1", 17},
    {"Softmax", "3,6", "", "", 13},
    {"Softmax", "2,4,3", "", "axis=@1", 13},
    {"Softmax", "2,4,3", "", "axis=@1", 11},
    {"LogSoftmax", "3,6", "", "", 13},
    {"ReduceMean", "2,3,4", "", "axes=1,2", 13},
    {"ReduceSum", "2,3,4", "i:1", "keepdims=@0", 13},
    {"ReduceMax", "2,3,4", "", "axes=2", 13},
    {"ReduceMin", "2,3,4", "", "axes=0,2", 13},
    {"ReduceL1", "2,3,4", "", "axes=1", 13},
    {"ReduceL2", "2,3,4", "", "axes=1", 13},
    {"ReduceSumSquare", "2,3,4", "", "axes=1", 13},
    {"ReduceLogSumExp", "2,3,4", "", "axes=1", 13},
    {"Reshape", "2,3,4", "i:4,6", "", 13},
    {"Flatten", "2,3,4", "", "", 13},
    {"Transpose", "2,3,4", "", "perm=2,0,1", 13},
    {"Squeeze", "2,1,4", "i:1", "", 13},
    {"Unsqueeze", "2,4", "i:1", "", 13},
    {"Expand", "2,1,4", "i:2,3,4", "", 13},
    {"Tile", "2,3", "i:2,2", "", 13},
    {"DepthToSpace", "1,8,2,3", "", "blocksize=@2", 13},
    {"SpaceToDepth", "1,2,4,6", "", "blocksize=@2", 13},
    {"Slice", "4,5", "i:1,0;i:4,5;i:0,1;i:2,2", "", 13},
    {"Concat", "2,3", "f:2,2;f:2,1", "axis=@1", 13},
    {"Pad", "2,3", "i:1,0,0,2;f:", "", 13},
    {"Pad", "2,3", "i:0,1,0,2", "mode$edge", 13},
    {"Pad", "2,4", "i:0,1,0,2", "mode$reflect", 13},
    {"Gather", "4,3", "i:2,0,2", "", 13},
    {"Where", "3,4", "", "", 13},
    {"Clip", "3,4", "s:-0.5;s:0.7", "", 13},
    {"Clip", "3,4", "", "min~-0.5;max~0.7", 6},
};

static const char *const unary_ops[] = {
    "Abs", "Asinh", "Atan", "Celu", "Cos", "Cosh", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid",
    "HardSwish", "LeakyRelu", "Neg", "Relu", "Selu", "Shrink", "Sigmoid", "Sin", "Sinh", "Softplus",
    "Softsign", "Tan", "Tanh", "ThresholdedRelu", "Ceil", "Floor", "Round", "Sign",
};
/* Functions of positive numbers, behind an Exp. */
static const char *const positive_ops[] = {"Log", "Reciprocal", "Sqrt"};
/* Of numbers in (-1, 1), behind a Tanh. */
static const char *const inner_ops[] = {"Acos", "Asin", "Atanh"};

static void attributes(onnx_build *b, Onnx__NodeProto *n, const char *text)
{
    char copy[256], *save = NULL;
    snprintf(copy, sizeof copy, "%s", text);
    for (char *one = strtok_r(copy, ";", &save); one; one = strtok_r(NULL, ";", &save)) {
        char *at = strpbrk(one, "=~$"), kind = *at;
        *at++ = 0;
        if (kind == '=' && *at == '@') ob_int_attr(n, b, one, atoi(at + 1));
        else if (kind == '=') ob_ints_attr(n, b, one, at);
        else if (kind == '~') ob_float_attr(n, b, one, (float)atof(at));
        else {
            Onnx__AttributeProto *a = ob_attr(n, b, one, 3);
            a->has_s = 1;
            a->s.data = (uint8_t *)ob_text(b, at);
            a->s.len = strlen(at);
        }
    }
}

static bl_graph *case_graph(bl_ctx *ctx, const op_case *c)
{
    onnx_build *b = ob_new(ctx, c->opset);
    char inputs[256] = "x", copy[256], *save = NULL, name[16];
    int k = 0;
    bl_graph *g = NULL, *p = NULL;
    bool added = strchr(c->more, '+') != NULL;

    ob_input(b, "x", c->x);
    if (!strcmp(c->op, "Where")) { /* X and Y around a constant condition */
        Onnx__TensorProto *t = ob_constant(b, ob_tensor(b, "truth", 9, c->x));
        uint8_t bits[64];
        for (size_t i = 0; i < ob_count(t); i++) bits[i] = i % 3 == 0;
        ob_raw(b, t, bits, ob_count(t));
        ob_floats(b, "other", "4", NULL);
        snprintf(inputs, sizeof inputs, "truth,x,other");
    }
    snprintf(copy, sizeof copy, "%s", c->more);
    for (char *one = strtok_r(copy, ";", &save); one; one = strtok_r(NULL, ";", &save), k++) {
        snprintf(name, sizeof name, "c%d", k);
        if (one[0] == 'i') ob_int64s(b, name, one + 2);
        else if (one[0] == 'p') ob_positive(b, name, one + 2);
        else if (one[0] == 's') {
            float v = (float)atof(one + 2);
            ob_floats(b, name, "", &v);
        } else ob_floats(b, one[0] == '+' ? "more" : name, one + 2, NULL);
        if (one[0] != '+') snprintf(inputs + strlen(inputs), sizeof inputs - strlen(inputs), ",%s", name);
    }
    attributes(b, ob_node(b, c->op, inputs, added ? "m" : "y"), c->attrs);
    if (added) ob_node(b, "Add", "more,m", "y");
    ob_output(b, "y");
    assert_ok(ctx, ob_import(b, &g));
    ob_free(b);
    if (!added) return g;
    assert_ok(ctx, bl_prepare(ctx, g, &p));
    assert_int_equal(p->n_nodes, 1);
    bl_graph_free(g);
    return p;
}

static bl_graph *unary_graph(bl_ctx *ctx, const char *before, const char *op, const char *attrs)
{
    onnx_build *b = ob_new(ctx, 20);
    bl_graph *g = NULL;
    ob_input(b, "x", "2,3,4");
    if (before) ob_node(b, before, "x", "t");
    attributes(b, ob_node(b, op, before ? "t" : "x", "y"), attrs);
    ob_output(b, "y");
    assert_ok(ctx, ob_import(b, &g));
    ob_free(b);
    return g;
}

static void test_operators(void **state)
{
    bl_ctx *ctx = test_ctx(1, 0);
    (void)state;
    for (size_t i = 0; i < BL_COUNTOF(cases); i++)
        for (int reference = 0; reference < 2; reference++)
            check_graph(ctx, case_graph(ctx, &cases[i]), reference, false, cases[i].op);
    test_ctx_free(ctx);
}

static void test_functions(void **state)
{
    bl_ctx *ctx = test_ctx(1, 0);
    (void)state;
    for (size_t i = 0; i < BL_COUNTOF(unary_ops); i++)
        check_graph(ctx, unary_graph(ctx, NULL, unary_ops[i], ""), true, false, unary_ops[i]);
    for (size_t i = 0; i < BL_COUNTOF(positive_ops); i++)
        check_graph(ctx, unary_graph(ctx, "Exp", positive_ops[i], ""), true, false, positive_ops[i]);
    for (size_t i = 0; i < BL_COUNTOF(inner_ops); i++)
        check_graph(ctx, unary_graph(ctx, "Tanh", inner_ops[i], ""), true, false, inner_ops[i]);
    check_graph(ctx, unary_graph(ctx, "Cosh", "Acosh", ""), true, false, "Acosh");
    check_graph(ctx, unary_graph(ctx, NULL, "Gelu", "approximate$tanh"), true, false, "Gelu tanh");
    test_ctx_free(ctx);
}

/* ------------------------------------------------------------------ networks */

/* Blocks of channels between convolutions, pooled in every way, the last two of one window. */
static bl_graph *pooled(bl_ctx *ctx)
{
    onnx_build *b = ob_new(ctx, 13);
    Onnx__NodeProto *n;
    ob_input(b, "x", "2,3,12,12");
    ob_floats(b, "a.w", "16,3,3,3", NULL);
    ob_floats(b, "b.w", "16,16,1,1", NULL);
    ob_ints_attr(ob_node(b, "Conv", "x,a.w", "a0"), b, "pads", "1,1,1,1");
    ob_node(b, "Relu", "a0", "a");
    n = ob_node(b, "MaxPool", "a", "most");
    ob_ints_attr(n, b, "kernel_shape", "3,3");
    ob_ints_attr(n, b, "strides", "2,2");
    ob_ints_attr(n, b, "pads", "1,1,1,1");
    ob_node(b, "Conv", "most,b.w", "b");
    n = ob_node(b, "AveragePool", "b", "mean");
    ob_ints_attr(n, b, "kernel_shape", "2,2");
    ob_ints_attr(n, b, "strides", "2,2");
    ob_node(b, "GlobalMaxPool", "mean", "c");
    ob_node(b, "GlobalAveragePool", "mean", "d");
    ob_node(b, "Add", "c,d", "y");
    ob_output(b, "y");
    return ob_prepared(b);
}

static void test_networks(void **state)
{
    bl_ctx *ctx = test_ctx(1, 0);
    (void)state;
    for (int reference = 0; reference < 2; reference++) {
        check_graph(ctx, ob_prepared(tiny_residual(ctx)), reference, false, "residual");
        check_graph(ctx, ob_prepared(tiny_residual(ctx)), reference, true, "residual, all seeded");
        check_graph(ctx, ob_prepared(tiny_dense(ctx, true)), reference, false, "dense");
        check_graph(ctx, pooled(ctx), reference, false, "pooled");
    }
    test_ctx_free(ctx);
}

/* Gradients by inputs and constants of a network; the caller frees. */
static float *all_gradients(bl_ctx *ctx, bl_graph *g, bool reference, int64_t *n)
{
    trial t;
    float *all = NULL;
    *n = 0;
    trial_open(&t, ctx, g, reference, false);
    assert_ok(ctx, bl_back_new(ctx, t.walk, t.marks, &t.back));
    for (int twice = 0; twice < 2; twice++) {
        (void)loss(&t);
        assert_ok(ctx, bl_back_run(t.back, add_direction, &t));
        int64_t at = 0;
        for (int v = 0; v < g->n_values; v++) {
            if (!(t.marks[v] & BL_BACK_WANTED)) continue;
            const bl_tensor *grad = bl_back_grad(t.back, v);
            if (!grad) continue;
            int64_t count = bl_tensor_count(grad);
            if (!twice) {
                *n += count;
                all = realloc(all, (size_t)*n * sizeof *all);
                memcpy(all + at, grad->data, (size_t)count * sizeof *all);
            } else { /* the same bits twice */
                assert_memory_equal(all + at, grad->data, (size_t)count * sizeof *all);
            }
            at += count;
        }
    }
    trial_close(&t);
    return all;
}

static bl_graph *file_graph(bl_ctx *ctx, const char *path)
{
    bl_graph *g = NULL, *p = NULL;
    assert_ok(ctx, bl_import(ctx, path, NULL, &g));
    assert_ok(ctx, bl_prepare(ctx, g, &p));
    bl_graph_free(g);
    return p;
}

static void test_onednn_equals_reference(void **state)
{
    static const char *const paths[] = {"models/resnet8_fmnist.onnx", "models/mobilenetv3s_fmnist.onnx"};
    bl_ctx *ctx = test_ctx(1, 0);
    (void)state;
    for (size_t k = 0; k < BL_COUNTOF(paths); k++) {
        int64_t n[2];
        float *a = all_gradients(ctx, file_graph(ctx, paths[k]), true, &n[0]);
        float *b = all_gradients(ctx, file_graph(ctx, paths[k]), false, &n[1]);
        double dot = 0, aa = 0, bb = 0;
        assert_int_equal(n[0], n[1]);
        for (int64_t i = 0; i < n[0]; i++) {
            dot += (double)a[i] * b[i];
            aa += (double)a[i] * a[i];
            bb += (double)b[i] * b[i];
        }
        assert_true(dot / sqrt(aa * bb) > 1 - 1e-6);
        free(a);
        free(b);
    }
    test_ctx_free(ctx);
}

/* Every constant of every shared network gets one. */
static void test_shared_networks_go_back(void **state)
{
    static const char *const names[] = {
        "mlperf_tiny_ad", "mlperf_tiny_kws", "mlperf_tiny_resnet8_cifar10", "mlperf_tiny_vww", "mobilenet_v1_0.25_224", "mobilenet_v1_0.75_224",
        "mobilenet_v2_1.0_224_dequant", "mobilenet_v3_small_dequant", "mobilenetv3s_cifar10", "mobilenetv3s_cifar10_op17", "resnet20_cifar10",
        "resnet56_cifar10", "squeezenet1_1", "vit_tiny_fmnist", "vit_tiny_fmnist_op17",
    };
    bl_ctx *ctx = test_ctx(1, 0);
    (void)state;
    for (size_t k = 0; k < BL_COUNTOF(names); k++) {
        char file[128], path[512];
        trial t;
        snprintf(file, sizeof file, "models/%s.onnx", names[k]);
        test_shared(file, path);
        trial_open(&t, ctx, file_graph(ctx, path), false, false);
        assert_ok(ctx, bl_back_new(ctx, t.walk, t.marks, &t.back));
        trial_close(&t);
    }
    test_ctx_free(ctx);
}

static void test_missing_gradient_is_named(void **state)
{
    bl_ctx *ctx = test_ctx(1, 0);
    onnx_build *b = ob_new(ctx, 13);
    bl_graph *g = NULL;
    trial t;
    (void)state;
    ob_input(b, "x", "2,3");
    ob_int_attr(ob_node(b, "ReduceProd", "x", "y"), b, "keepdims", 0);
    ob_output(b, "y");
    assert_ok(ctx, ob_import(b, &g));
    ob_free(b);
    trial_open(&t, ctx, g, true, false);
    assert_fails(ctx, bl_back_new(ctx, t.walk, t.marks, &t.back), BL_UNAVAILABLE, "ReduceProd");
    trial_close(&t);
    test_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_operators),
        cmocka_unit_test(test_functions),
        cmocka_unit_test(test_networks),
        cmocka_unit_test(test_onednn_equals_reference),
        cmocka_unit_test(test_shared_networks_go_back),
        cmocka_unit_test(test_missing_gradient_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
