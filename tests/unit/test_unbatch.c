/* SPDX-License-Identifier: BSD-3-Clause */
/* Networks that were exported for a batch of several, for one sample. */
#include "prepare_build.h"

/* The same numbers sample by sample as all at once. */
static void assert_one_of(bl_ctx *ctx, onnx_build *b, const char *output)
{
    bl_graph *g, *one, *p, *two;
    assert_ok(ctx, ob_import(b, &g));
    assert_true(bl_graph_is_batched(g));
    assert_ok(ctx, bl_unbatch_graph(ctx, g, &one));
    assert_int_equal(one->batch, 1);
    assert_int_equal(g->batch, 4);
    assert_false(bl_graph_is_batched(one));
    bl_arena *arena = bl_arena_new(ctx, "test");
    bl_tensor *all = run(ctx, g, arena);
    const bl_tensor *y = &all[bl_graph_find_value(g, output)], *x = &all[g->inputs[0]];
    int64_t per = bl_tensor_count(y) / 4, in = bl_tensor_count(x) / 4;
    for (int s = 0; s < 4; s++) { /* run() fills inputs by name: one by one by hand */
        bl_walk *w;
        assert_ok(ctx, bl_prepare(ctx, one, &p));
        assert_ok(ctx, bl_walk_new(ctx, p, &(bl_walk_options){.reference = true}, &w));
        memcpy(bl_walk_input(w, 0)->data, (const float *)x->data + s * in, (size_t)in * sizeof(float));
        assert_ok(ctx, bl_walk_run(w, NULL, NULL));
        const float *have = bl_walk_value(w, p->outputs[0])->data, *want = (const float *)y->data + s * per;
        assert_int_equal(bl_tensor_count(bl_walk_value(w, p->outputs[0])), per);
        for (int64_t i = 0; i < per; i++) assert_float_equal(have[i], want[i], 1e-4 * (1 + fabsf(want[i])));
        bl_walk_free(w);
        bl_graph_free(p);
    }
    bl_arena_free(arena);
    assert_ok(ctx, bl_unbatch_graph(ctx, one, &two)); /* nothing left to do */
    assert_string_equal(one->hash.hex, two->hash.hex);
    bl_graph_free(two);
    bl_graph_free(one);
    bl_graph_free(g);
    ob_free(b);
}

static onnx_build *convolution(bl_ctx *ctx)
{
    onnx_build *b = ob_new(ctx, 13);
    ob_input(b, "x", "4,3,6,6");
    ob_floats(b, "w", "8,3,3,3", NULL);
    ob_ints_attr(ob_node(b, "Conv", "x,w", "c"), b, "pads", "1,1,1,1");
    return b;
}

static void plain_network(void **state)
{
    onnx_build *b = ob_small_network(*state);
    b->graph.input[0]->type->tensor_type->shape->dim[0]->has_dim_value = 1;
    b->graph.input[0]->type->tensor_type->shape->dim[0]->dim_value = 4;
    assert_one_of(*state, b, "y");
}

static void batch_in_a_reshape(void **state)
{
    onnx_build *b = convolution(*state);
    ob_int64s(b, "flat", "4,288");
    ob_floats(b, "m", "288,5", NULL);
    ob_node(b, "Reshape", "c,flat", "f");
    ob_node(b, "MatMul", "f,m", "y");
    ob_output(b, "y");
    assert_one_of(*state, b, "y");
}

/* 4 pictures of 2 halves each become 8 rows of windows and 4 again; the first target has a -1 already. */
static void batch_times_windows(void **state)
{
    for (int open = 0; open < 2; open++) {
        onnx_build *b = convolution(*state);
        ob_int64s(b, "cut", open ? "8,-1,18" : "8,8,18");
        ob_int64s(b, "join", "4,8,6,6");
        ob_floats(b, "m", "18,18", NULL);
        ob_node(b, "Reshape", "c,cut", "windows");
        ob_node(b, "MatMul", "windows,m", "turned");
        ob_int_attr(ob_node(b, "Softmax", "turned", "soft"), b, "axis", -1);
        ob_node(b, "Reshape", "soft,join", "y");
        ob_output(b, "y");
        assert_one_of(*state, b, "y");
    }
}

/* A class token, once a sample; a constant of the batch that is added; sizes; a shape that is computed. */
static void batch_in_other_constants(void **state)
{
    onnx_build *b = convolution(*state);
    float token[4 * 8], shift[4 * 8];
    for (int i = 0; i < 32; i++) token[i] = (float)(i % 8), shift[i] = (float)(i % 8) / 3;
    ob_floats(b, "token", "4,8,1", token);
    ob_floats(b, "shift", "4,8,1", shift);
    ob_int64s(b, "sizes", "4,8,12,12");
    ob_int64s(b, "rest", "8,-1");
    ob_int64s(b, "first", "0");
    ob_node(b, "Shape", "x", "shape");
    ob_int_attr(ob_node(b, "Gather", "shape,first", "n"), b, "axis", 0);
    ob_int_attr(ob_node(b, "Concat", "n,rest", "target"), b, "axis", 0);
    ob_node(b, "Resize", "c,,,sizes", "big");
    ob_node(b, "Reshape", "big,target", "rows");
    ob_int_attr(ob_node(b, "Concat", "token,rows", "tokens"), b, "axis", 2);
    ob_node(b, "Add", "tokens,shift", "y");
    ob_output(b, "y");
    assert_one_of(*state, b, "y");
}

/* Each ends in a sentence that names the node. */
static void refusals(void **state)
{
    bl_ctx *ctx = *state;
    for (int kind = 0; kind < 5; kind++) {
        onnx_build *b = convolution(ctx);
        bl_graph *g, *one = NULL;
        const char *says = "it mixes the samples of a batch";
        if (kind == 0) ob_node(b, "MeanVarianceNormalization", "c", "y");
        if (kind == 1) ob_int_attr(ob_node(b, "Softmax", "c", "y"), b, "axis", 0);
        if (kind == 2) { /* samples in the middle: 8 x 4 rows, of which a target says 8 again */
            ob_int64s(b, "rows", "32,36");
            ob_int64s(b, "back", "8,4,36");
            ob_ints_attr(ob_node(b, "Transpose", "c", "t"), b, "perm", "1,0,2,3");
            ob_node(b, "Reshape", "t,rows", "r");
            ob_node(b, "Reshape", "r,back", "y");
            says = "not certain";
        }
        if (kind == 3) { /* another number for each sample */
            ob_floats(b, "own", "4,1,1,1", NULL);
            ob_node(b, "Add", "c,own", "y");
            says = "does not grow with the batch";
        }
        if (kind == 4) {
            ob_ints_attr(ob_node(b, "ReduceMean", "c", "y"), b, "axes", "0");
            says = "does not grow with the batch";
        }
        ob_output(b, "y");
        assert_ok(ctx, ob_import(b, &g));
        assert_fails(ctx, bl_unbatch_graph(ctx, g, &one), BL_UNAVAILABLE, says);
        assert_null(one);
        bl_graph_free(g);
        ob_free(b);
    }
}

/* Rows of a matrix may be anything. */
static void rows_are_no_batch(void **state)
{
    onnx_build *b = ob_new(*state, 13);
    bl_graph *g;
    ob_input(b, "x", "4,6");
    ob_floats(b, "m", "6,5", NULL);
    ob_node(b, "MatMul", "x,m", "y");
    ob_output(b, "y");
    assert_ok(*state, ob_import(b, &g));
    assert_int_equal(g->batch, 4);
    assert_false(bl_graph_is_batched(g));
    bl_graph_free(g);
    ob_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(plain_network, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(batch_in_a_reshape, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(batch_times_windows, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(batch_in_other_constants, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(refusals, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(rows_are_no_batch, test_setup, test_teardown),
    };
    return cmocka_run_group_tests_name("unbatch", tests, NULL, NULL);
}
