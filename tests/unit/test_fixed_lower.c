/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Plans with scales of powers of two: such grids lie next to the free ones, the fixed-point network made
 * of them gives the program's integers, the Verilog exporter takes it, and what has no such form is refused
 * by name.
 */
#include "emit/emit.h"
#include "tiny_graph.h"

#include <math.h>

enum { SAMPLES = 24 };

/* conv 3x3 padded, maximum, conv with groups and stride, mean, two products, the second of one row in three dimensions. */
static onnx_build *chain_net(bl_ctx *ctx)
{
    onnx_build *b = ob_new(ctx, 13);
    ob_input(b, "x", "N,2,8,8");
    ob_floats(b, "a.w", "4,2,3,3", NULL);
    ob_floats(b, "a.b", "4", NULL);
    ob_floats(b, "c.w", "6,2,2,2", NULL);
    ob_floats(b, "f.w", "5,6", NULL);
    ob_floats(b, "f.b", "5", NULL);
    ob_floats(b, "g.w", "5,3", NULL);
    ob_ints_attr(ob_node(b, "Conv", "x,a.w,a.b", "a0"), b, "pads", "1,1,1,1");
    ob_node(b, "Relu", "a0", "a");
    Onnx__NodeProto *n = ob_node(b, "MaxPool", "a", "m");
    ob_ints_attr(n, b, "kernel_shape", "2,2");
    ob_ints_attr(n, b, "strides", "2,2");
    n = ob_node(b, "Conv", "m,c.w", "c");
    ob_int_attr(n, b, "group", 2);
    ob_ints_attr(n, b, "strides", "2,2");
    n = ob_node(b, "AveragePool", "c", "p");
    ob_ints_attr(n, b, "kernel_shape", "2,2");
    ob_node(b, "Flatten", "p", "flat");
    ob_int_attr(ob_node(b, "Gemm", "flat,f.w,f.b", "f0"), b, "transB", 1);
    ob_node(b, "Relu", "f0", "f");
    ob_int64s(b, "one", "1");
    ob_floats(b, "g.b", "3", NULL);
    ob_node(b, "Unsqueeze", "f,one", "f1");
    ob_node(b, "MatMul", "f1,g.w", "g0");
    ob_node(b, "Add", "g0,g.b", "y");
    ob_output(b, "y");
    return b;
}

static void make_plan(tiny *t, uint64_t seed, bool power_of_two)
{
    bl_menu_options o = bl_menu_options_default();
    bl_grid_options g = { .power_of_two = power_of_two };
    bl_rng r = bl_rng_make(seed, "widths", 0);
    o.keep_ends = false;
    o.n_w = 7;
    for (int b = 0; b < 7; b++) o.w_bits[b] = b + 2;
    o.n_a = 6;
    for (int b = 0; b < 6; b++) o.a_bits[b] = b + 3;
    bl_menu_free(t->menu);
    bl_plan_free(t->plan);
    assert_ok(t->ctx, bl_menu_make(t->ctx, t->g, &o, &t->menu));
    for (int u = 0; u < t->menu->n_units; u++)
        t->choice[u] = (int)bl_rng_below(&r, (uint64_t)t->menu->units[u].n_candidates);
    assert_ok(t->ctx, bl_plan_make(t->ctx, t->g, t->menu, t->stats, t->choice, &g, "test", &t->plan));
}

static void grids(void **state)
{
    (void)state;
    tiny *t = tiny_new_net(1, chain_net, SAMPLES);
    for (uint64_t seed = 0; seed < 6; seed++) {
        make_plan(t, seed, false);
        bl_plan *free_one = t->plan;
        t->plan = NULL;
        make_plan(t, seed, true);
        assert_int_equal(free_one->n_quantizers, t->plan->n_quantizers);
        for (int i = 0; i < t->plan->n_quantizers; i++) {
            const bl_quantizer *q = &t->plan->quantizers[i], *f = &free_one->quantizers[i];
            for (int c = 0; c < q->n_scale; c++) {
                int e;
                double ratio = (double)q->scale[c] / (double)f->scale[c];
                assert_true(frexpf(q->scale[c], &e) == 0.5f);
                /* Activations: a middle zero point may need twice the scale. */
                assert_true(ratio > 0.4999 && ratio < (q->weight ? 2.0001 : 4.0001));
            }
            if (!q->weight) assert_true(q->zero == 0 || q->zero == 1 << (q->bits - 1));
        }
        bl_plan_free(free_one);
    }
    tiny_free(t);
}

static void assert_same_outputs(tiny *t, const bl_program *p, const bl_fixed_net *net)
{
    const bl_fixed_layer *last = &net->layers[net->n_layers - 1];
    int64_t *in = calloc((size_t)net->n_in, sizeof *in), *out = calloc((size_t)last->n_out, sizeof *out);
    int64_t *work = calloc(bl_fixed_work(net) + 1, sizeof *work);
    bl_rng r = bl_rng_make(3, "inputs", 0);
    bl_exec *e;
    assert_ok(t->ctx, bl_exec_open(t->ctx, p, false, &e));
    for (int run = 0; run < 40; run++) {
        float *x = bl_exec_input(e, 0);
        for (int64_t i = 0; i < net->n_in; i++) x[i] = (float)((run ? 1.5 : 100) * bl_rng_normal(&r));
        bl_fixed_input(net, x, in);
        bl_fixed_run(net, in, out, work);
        assert_ok(t->ctx, bl_exec_run(e, NULL, NULL));
        const float *y = bl_exec_output(e, 0);
        for (int64_t i = 0; i < last->n_out; i++) assert_true((float)ldexp((double)out[i], -last->out[i].f) == y[i]);
    }
    bl_exec_free(e);
    free(in), free(out), free(work);
}

static void integers(void **state)
{
    (void)state;
    tiny *t = tiny_new_net(1, chain_net, SAMPLES);
    for (uint64_t seed = 0; seed < 12; seed++) {
        bl_program *p = NULL;
        bl_fixed_net *net = NULL;
        make_plan(t, seed, true);
        assert_ok(t->ctx, bl_lower(t->ctx, t->g, t->plan, NULL, &p));
        assert_ok(t->ctx, bl_fixed_lower(t->ctx, t->g, t->plan, NULL, &net));
        assert_same_outputs(t, p, net);
        bl_fixed_free(net);
        bl_program_free(p);
    }
    char dir[300];
    snprintf(dir, sizeof dir, "%s/hw", t->folder);
    bl_export_options o = { .pipeline = 3, .samples = t->data };
    assert_ok(t->ctx, bl_export_verilog(t->ctx, t->g, t->plan, NULL, &o, dir));
    snprintf(dir, sizeof dir, "%s/hw/net.v", t->folder);
    assert_int_equal(access(dir, R_OK), 0);
    tiny_free(t);
}

static onnx_build *residual(bl_ctx *ctx)
{
    return tiny_residual(ctx);
}

static void refused(void **state)
{
    (void)state;
    bl_fixed_net *net = NULL;
    tiny *t = tiny_new_net(1, chain_net, SAMPLES);
    make_plan(t, 0, false);
    assert_fails(t->ctx, bl_fixed_lower(t->ctx, t->g, t->plan, NULL, &net), BL_UNAVAILABLE, "no power of two");
    tiny_free(t);
    t = tiny_new_net(1, residual, SAMPLES);
    make_plan(t, 0, true);
    assert_fails(t->ctx, bl_fixed_lower(t->ctx, t->g, t->plan, NULL, &net), BL_UNAVAILABLE, "1 Add");
    assert_null(net);
    tiny_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(grids), cmocka_unit_test(integers), cmocka_unit_test(refused) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
