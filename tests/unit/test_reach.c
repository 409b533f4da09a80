/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How far a layer's weights reach, and what hangs on it: cells of rows that look at the weights are recalled for weights
 * like those that they were measured with, cells of other rows for any.
 */
#include "tiny_cost.h"

#include "target/probe.h"

#include <dirent.h>

/* Weights of the three layers below, one after another. */
enum { CHANNELS = 32, COUNT = CHANNELS * CHANNELS };
typedef enum kind { NORMAL, NORMAL_AGAIN, SIGNS, ONE_SIDE } kind;
static kind now;

static onnx_build *layers(bl_ctx *ctx)
{
    onnx_build *b = ob_new(ctx, 13);
    bl_rng r = bl_rng_make(now == NORMAL_AGAIN ? 2 : 1, "weights", 0);
    float *w = malloc(COUNT * sizeof *w);
    assert_non_null(w);
    ob_input(b, "x", "N,32,6,6");
    for (int i = 0; i < 3; i++) {
        char name[8], in[16], out[8];
        for (int k = 0; k < COUNT; k++) {
            w[k] = (float)bl_rng_normal(&r);
            if (now == SIGNS) w[k] = w[k] > 0 ? 1 : -1;
            if (now == ONE_SIDE) w[k] = 1;
        }
        snprintf(name, sizeof name, "w%d", i);
        if (i) snprintf(in, sizeof in, "v%d,w%d", i - 1, i);
        else snprintf(in, sizeof in, "x,w0");
        snprintf(out, sizeof out, "v%d", i);
        ob_floats(b, name, "32,32,1,1", w);
        ob_node(b, "Conv", in, out);
    }
    free(w);
    ob_output(b, "v2");
    return b;
}

static double reach_of(bl_ctx *ctx, const char *op, const char *dims, int trans_b, const float *w)
{
    onnx_build *b = ob_new(ctx, 13);
    ob_input(b, "x", "N,2");
    ob_floats(b, "w", dims, w);
    Onnx__NodeProto *n = ob_node(b, op, "x,w", "y");
    if (trans_b) ob_int_attr(n, b, "transB", 1);
    ob_output(b, "y");
    bl_graph *g = ob_prepared(b);
    double reach = bl_weights_reach(g, 0);
    bl_graph_free(g);
    return reach;
}

static void reach_by_hand(void **state)
{
    /* channels (1, -1) and (4, 2): of 2 * 1 and 2 * 4 one side has 1 and 6; as columns (1, 4) and (-1, 2): 5 of 8 and 2 of 4 */
    static const float w[] = { 1, -1, 4, 2 };
    assert_true(reach_of(*state, "Gemm", "2,2", 1, w) == (0.5 + 0.75) / 2);
    assert_true(reach_of(*state, "Gemm", "2,2", 0, w) == (0.625 + 0.5) / 2);
    assert_true(reach_of(*state, "MatMul", "2,2", 0, w) == (0.625 + 0.5) / 2);
    assert_int_equal(bl_reach_class(1), 0);
    assert_int_equal(bl_reach_class(0.5), -4);
    assert_int_equal(bl_reach_class(0.51), -4);
    assert_int_not_equal(bl_reach_class(0), bl_reach_class(1e-9));
}

static void rows_that_look_at_weights(void **state)
{
    size_t n = 0;
    (void)state;
    for (size_t i = 0; i < bl_n_kernels; i++) n += bl_kernel_by_weights(bl_kernels[i].name);
#if defined(__x86_64__)
    assert_int_equal(n, 1);
    assert_true(bl_kernel_by_weights("conv_sums_avx2"));
#else
    assert_int_equal(n, 0);
#endif
    assert_false(bl_kernel_by_weights("table_ref") || bl_kernel_by_weights("nonsense"));
}

/* Times of the convolution's cells, all three quantiles; how many numbers there are. */
static size_t measured(const char *isa, const char *folder, kind k, double *times)
{
    bl_menu_options o = { .w_bits = { 7 }, .n_w = 1, .a_bits = { 7 }, .n_a = 1 };
    bl_measure_options m = { .seconds = 0.02, .cache = folder };
    bl_cost *cost = NULL;
    size_t n = 0;
    now = k;
    tiny *t = tiny_new_net(1, layers, 4);
    t->ctx->options.isa = isa;
    assert_ok(t->ctx, bl_menu_make(t->ctx, t->g, &o, &t->menu));
    assert_ok(t->ctx, bl_measure(t->ctx, t->g, t->menu, "here", &m, &cost));
    for (size_t i = 0; i < cost->n_cells && n < 32; i++) {
        const bl_cost_time *x = &cost->cells[i].at[BL_STATE_L2];
        if (strncmp(cost->cells[i].key, "Conv", 4)) continue;
        times[n++] = x->q1_ns;
        times[n++] = x->median_ns;
        times[n++] = x->p90_ns;
    }
    assert_true(n >= 3);
    bl_cost_free(cost);
    t->ctx->options.isa = NULL;
    tiny_free(t);
    return n;
}

static bool same(const char *isa, const char *folder, kind k, const double *times, size_t n)
{
    double again[32];
    return measured(isa, folder, k, again) == n && !memcmp(again, times, n * sizeof *times);
}

static int files_in(const char *folder)
{
    DIR *d = opendir(folder);
    int n = 0;
    for (struct dirent *e; d && (e = readdir(d));) n += strstr(e->d_name, ".json") != NULL;
    if (d) closedir(d);
    return n;
}

/* Noisy cells are not kept, so a busy machine may want several turns. */
static void cells_for_these_weights(void **state)
{
    static const struct { const char *isa; bool by_weights; } caps[] = { { "avx2", true }, { "ref", false } };
    (void)state;
    for (size_t c = 0; c < BL_COUNTOF(caps); c++) {
        char folder[256];
        double times[32];
        size_t n = 0;
        bl_isa isa;
        if (!bl_isa_parse(caps[c].isa, &isa) || !bl_isa_here(isa)) {
            print_message("skipped: cells_for_these_weights: no %s\n", caps[c].isa);
            continue;
        }
        test_folder(folder);
        for (int turn = 0; turn < 30 && !files_in(folder); turn++) n = measured(caps[c].isa, folder, NORMAL, times);
        if (files_in(folder)) {
            assert_true(same(caps[c].isa, folder, NORMAL, times, n));
            assert_true(same(caps[c].isa, folder, NORMAL_AGAIN, times, n)); /* others by the same lot */
            assert_int_equal(same(caps[c].isa, folder, SIGNS, times, n), !caps[c].by_weights);
            assert_int_equal(same(caps[c].isa, folder, ONE_SIDE, times, n), !caps[c].by_weights);
        } else {
            print_message("skipped: cells_for_these_weights: no calm moment for %s\n", caps[c].isa);
        }
        test_folder_remove(folder);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reach_by_hand, test_setup, test_teardown),
        cmocka_unit_test(rows_that_look_at_weights),
        cmocka_unit_test(cells_for_these_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
