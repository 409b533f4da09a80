/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pooling's way back through oneDNN, in each order of elements: against differences of a forward pass in double, and
 * against the operator's own gradient bit for bit in where a maximum's share goes, ties among integers included.
 * What oneDNN has no form for is left to that.
 */
#include <math.h>

#include "graph/onednn_backward.h"
#include "onnx_build.h"

typedef struct pool_case {
    const char *op, *x, *kernel, *strides, *pads;
    bool ceil_mode, counts_padding, dilated, taken;
} pool_case;

static const pool_case cases[] = {
    {"MaxPool", "2,16,6,6", "2,2", "2,2", NULL, false, false, false, true},
    {"MaxPool", "2,16,7,6", "3,3", "2,2", "1,1,1,1", false, false, false, true}, /* windows overlap */
    {"MaxPool", "1,19,5,7", "3,2", "1,2", "1,0,0,1", false, false, false, true}, /* channels fill no block */
    {"MaxPool", "2,8,6,5", "3,3", "2,2", NULL, true, false, false, true},
    {"MaxPool", "1,16,7,7", "2,2", "1,1", NULL, false, false, true, false},
    {"MaxPool", "1,16,9", "3", "2", "1,1", false, false, false, true},
    {"MaxPool", "1,16,4,5,4", "2,2,2", "2,2,2", NULL, false, false, false, true},
    {"AveragePool", "2,16,6,6", "2,2", "2,2", NULL, false, false, false, true},
    {"AveragePool", "2,19,6,6", "3,3", "2,2", "1,1,1,1", false, false, false, true},
    {"AveragePool", "2,16,6,6", "3,3", "1,1", "1,1,1,1", false, true, false, true},
    {"AveragePool", "2,8,5,6", "2,3", "2,2", "1,1,0,1", false, true, false, true},
    {"AveragePool", "1,16,6,5", "3,3", "2,2", NULL, true, false, false, true},
    {"AveragePool", "1,16,6,5", "3,3", "2,2", NULL, true, true, false, false}, /* a divisor of its own at the end */
    {"AveragePool", "1,16,4,5,4", "2,2,2", "1,2,2", NULL, false, false, false, true},
    {"GlobalAveragePool", "2,19,4,5", NULL, NULL, NULL, false, false, false, true},
    {"GlobalMaxPool", "2,16,4,5", NULL, NULL, NULL, false, false, false, true},
};

static bl_graph *case_graph(bl_ctx *ctx, const pool_case *c)
{
    onnx_build *b = ob_new(ctx, 13);
    bl_graph *g = NULL;

    ob_input(b, "x", c->x);
    Onnx__NodeProto *n = ob_node(b, c->op, "x", "y");
    if (c->kernel) ob_ints_attr(n, b, "kernel_shape", c->kernel);
    if (c->strides) ob_ints_attr(n, b, "strides", c->strides);
    if (c->pads) ob_ints_attr(n, b, "pads", c->pads);
    if (c->dilated) ob_ints_attr(n, b, "dilations", "2,2");
    if (c->ceil_mode) ob_int_attr(n, b, "ceil_mode", 1);
    if (c->counts_padding) ob_int_attr(n, b, "count_include_pad", 1);
    ob_output(b, "y");
    assert_ok(ctx, ob_import(b, &g));
    ob_free(b);
    return g;
}

/* ------------------------------------------------------------------ the other two ways */

static bl_status give(void *user, int value, const bl_tensor *x, bl_tensor *grad)
{
    (void)value;
    memcpy(grad->data, user, (size_t)bl_tensor_count(x) * sizeof(float));
    return BL_OK;
}

/* By the operator's own facet. */
static void own_gradient(bl_ctx *ctx, bl_graph *g, const float *x, float *dy, float *dx)
{
    bl_walk_options o = {.reference = true, .keep_all = true};
    uint8_t marks[2] = {0};
    bl_walk *walk;
    bl_back *back;

    assert_int_equal(g->n_values, 2);
    marks[g->nodes[0].in[0]] = BL_BACK_WANTED;
    marks[g->nodes[0].out[0]] = BL_BACK_SEEDED;
    assert_ok(ctx, bl_walk_new(ctx, g, &o, &walk));
    assert_ok(ctx, bl_back_new(ctx, walk, marks, &back));
    memcpy(bl_walk_input(walk, 0)->data, x, bl_tensor_bytes(bl_walk_input(walk, 0)));
    assert_ok(ctx, bl_walk_run(walk, NULL, NULL));
    assert_ok(ctx, bl_back_run(back, give, dy));
    const bl_tensor *grad = bl_back_grad(back, g->nodes[0].in[0]);
    memcpy(dx, grad->data, bl_tensor_bytes(grad));
    bl_back_free(back);
    bl_walk_free(walk);
}

/* Sum of dy * y in double, from ONNX's definition and by nothing that the program has but the window's geometry. */
static double loss(bl_ctx *ctx, const bl_graph *g, const double *x, const float *dy)
{
    const bl_node *node = &g->nodes[0];
    const bl_tensor *t = &g->values[node->in[0]].t;
    bl_call call = {.ctx = ctx, .node = node};
    bool global = !strncmp(node->op->name, "Global", 6), most = strstr(node->op->name, "Max") != NULL;
    bool counts = bl_attr_int(node, "count_include_pad", 0) != 0;
    bl_window w = {.dims = t->rank - 2}, l;
    double sum = 0;

    if (global)
        for (int i = 0; i < w.dims; i++) {
            w.in[i] = w.kernel[i] = t->dim[2 + i];
            w.stride[i] = w.dilation[i] = w.out[i] = 1;
        }
    else
        assert_ok(ctx, bl_window_read(&call, t, NULL, &w));
    l = w;
    for (int i = 2; i >= 0; i--) { /* three dimensions, the first of them 1 */
        int k = i - (3 - w.dims);
        l.in[i] = k < 0 ? 1 : w.in[k];
        l.out[i] = k < 0 ? 1 : w.out[k];
        l.kernel[i] = k < 0 ? 1 : w.kernel[k];
        l.stride[i] = k < 0 ? 1 : w.stride[k];
        l.dilation[i] = k < 0 ? 1 : w.dilation[k];
        l.pad_begin[i] = k < 0 ? 0 : w.pad_begin[k];
        l.pad_end[i] = k < 0 ? 0 : w.pad_end[k];
    }
    for (int64_t p = 0; p < t->dim[0] * t->dim[1]; p++, x += l.in[0] * l.in[1] * l.in[2])
        for (int64_t o = 0; o < l.out[0] * l.out[1] * l.out[2]; o++) {
            int64_t at[3] = {o / l.out[2] / l.out[1], o / l.out[2] % l.out[1], o % l.out[2]}, k[3], d[3];
            double best = -INFINITY, all = 0, taps = 0;
            for (k[0] = 0; k[0] < l.kernel[0]; k[0]++)
                for (k[1] = 0; k[1] < l.kernel[1]; k[1]++)
                    for (k[2] = 0; k[2] < l.kernel[2]; k[2]++) {
                        bool inside = true, padded = true;
                        for (int i = 0; i < 3; i++) {
                            d[i] = at[i] * l.stride[i] - l.pad_begin[i] + k[i] * l.dilation[i];
                            inside = inside && d[i] >= 0 && d[i] < l.in[i];
                            padded = padded && d[i] < l.in[i] + l.pad_end[i];
                        }
                        taps += counts ? padded : inside;
                        if (!inside) continue;
                        double v = x[(d[0] * l.in[1] + d[1]) * l.in[2] + d[2]];
                        all += v;
                        best = fmax(best, v);
                    }
            sum += *dy++ * (most ? best : all / taps);
        }
    return sum;
}

/* ------------------------------------------------------------------ oneDNN's */

/* In one order, twice.  False: left to the operator. */
static bool onednn_gradient(bl_ctx *ctx, const bl_graph *g, bl_layout order, const float *x, const float *dy, float *dx)
{
    const bl_node *node = &g->nodes[0];
    const bl_tensor *tx = &g->values[node->in[0]].t, *ty = &g->values[node->out[0]].t;
    bl_arena *arena = bl_arena_new(ctx, "test");
    bl_layout layouts[2] = {order, order};
    uint32_t versions[2] = {0};
    uint8_t active[2] = {1, 1};
    bl_tensor view;
    bl_dnn_back *back = NULL;
    bool taken = false;
    int before = bl_dnn_enter();

    bool packed = order != BL_LAYOUT_PLAIN;
    bl_layout_view(tx, order, NULL, &view);
    size_t bytes = (size_t)bl_tensor_count(&view) * sizeof(float);
    float *px = malloc(bytes), *pdx[2] = {malloc(bytes), malloc(bytes)};
    bl_layout_view(ty, order, NULL, &view);
    float *pdy = malloc((size_t)bl_tensor_count(&view) * sizeof(float));
    if (packed) bl_layout_pack(tx, order, x, px);
    else memcpy(px, x, bytes);
    if (packed) bl_layout_pack(ty, order, dy, pdy);
    else memcpy(pdy, dy, bl_tensor_bytes(ty));
    bl_place in = {.t = *tx, .packed = px, .has_plain = !packed, .has_packed = packed};
    in.t.data = px;
    assert_ok(ctx, bl_dnn_back_new(ctx, arena, g, versions, true, &back));
    if (back) assert_ok(ctx, bl_dnn_back_plan(back, 0, active, layouts, &taken));
    if (taken) {
        assert_ok(ctx, bl_dnn_back_planned(back));
        assert_true(bl_dnn_back_orders(back, 0).in_packed == packed && bl_dnn_back_orders(back, 0).out_packed == packed);
        for (int twice = 0; twice < 2; twice++) {
            memset(pdx[twice], 0x55, bytes);
            assert_ok(ctx, bl_dnn_back_run(back, 0, (const bl_place *[]){&in}, pdy, (void *[]){pdx[twice]}));
        }
        assert_memory_equal(pdx[0], pdx[1], bytes);
        if (packed) bl_layout_unpack(tx, order, pdx[0], dx);
        else memcpy(dx, pdx[0], bytes);
    }
    bl_dnn_back_free(back);
    bl_dnn_leave(before);
    bl_arena_free(arena);
    free(px);
    free(pdy);
    free(pdx[0]);
    free(pdx[1]);
    return taken;
}

/* A maximum is not differentiable where two are equal: there the own facet alone says where the share goes. */
static void check_differences(bl_ctx *ctx, const bl_graph *g, const float *x, const float *dy, const float *dx)
{
    int64_t n = bl_tensor_count(&g->values[g->nodes[0].in[0]].t);
    double *wide = malloc((size_t)n * sizeof *wide);

    for (int64_t i = 0; i < n; i++) wide[i] = x[i];
    for (int64_t i = 0; i < n; i += 1 + n / 200) {
        const double h = 1e-6;
        double up, down;
        wide[i] = x[i] + h;
        up = loss(ctx, g, wide, dy);
        wide[i] = x[i] - h;
        down = loss(ctx, g, wide, dy);
        wide[i] = x[i];
        assert_true(fabs((up - down) / (2 * h) - dx[i]) < 2e-6 * (1 + fabs((double)dx[i])));
    }
    free(wide);
}

static void check_case(bl_ctx *ctx, const pool_case *c, bool ties)
{
    bl_graph *g = case_graph(ctx, c);
    int64_t nx = bl_tensor_count(&g->values[g->nodes[0].in[0]].t), ny = bl_tensor_count(&g->values[g->nodes[0].out[0]].t);
    float *x = malloc((size_t)nx * sizeof *x), *dy = malloc((size_t)ny * sizeof *dy);
    float *own = malloc((size_t)nx * sizeof *own), *dx = malloc((size_t)nx * sizeof *dx);
    bl_rng r = bl_rng_make(3, c->op, ties);

    for (int64_t i = 0; i < nx; i++) x[i] = ties ? (float)bl_rng_below(&r, 3) - 1.0f : (float)bl_rng_normal(&r);
    for (int64_t i = 0; i < ny; i++) dy[i] = (float)bl_rng_normal(&r);
    own_gradient(ctx, g, x, dy, own);
    if (!ties) check_differences(ctx, g, x, dy, own);
    for (bl_layout order = BL_LAYOUT_PLAIN; order <= BL_LAYOUT_BLOCK16; order++) {
        bool taken = onednn_gradient(ctx, g, order, x, dy, dx);
        if (taken && !c->taken) fail_msg("%s %s in order %d: not meant for oneDNN", c->op, c->x, (int)order);
        if (!taken && c->taken && order == BL_LAYOUT_BLOCK16)
            print_message("skipped: %s %s: oneDNN has no row here\n", c->op, c->x);
        if (!taken) continue;
        for (int64_t i = 0; i < nx; i++) /* sums of the same shares, one after the other */
            if (fabs((double)dx[i] - own[i]) > 1e-6 * (1 + fabs((double)own[i])) || (own[i] == 0) != (dx[i] == 0))
                fail_msg("%s %s in order %d: %g at %lld, the operator's own is %g", c->op, c->x, (int)order, (double)dx[i],
                         (long long)i, (double)own[i]);
        if (!ties) check_differences(ctx, g, x, dy, dx);
    }
    free(x);
    free(dy);
    free(own);
    free(dx);
    bl_graph_free(g);
}

static void test_pooling(void **state)
{
    bl_ctx *ctx = test_ctx(1, 0);

    (void)state;
    for (size_t i = 0; i < BL_COUNTOF(cases); i++)
        for (int ties = 0; ties < 2; ties++) check_case(ctx, &cases[i], ties != 0);
    test_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pooling)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
