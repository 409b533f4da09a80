/* SPDX-License-Identifier: BSD-3-Clause */
/* Folding, other batches, single nodes, JSON, and what the passes make of real networks. */
#include "prepare_build.h"

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
        {"vit_tiny_fmnist", 0},
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
        cmocka_unit_test_setup_teardown(removes_identities, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(removes_what_leads_nowhere, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(folds_constants, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(frees_the_batch, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(allowzero_is_dropped, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(batches_agree_with_samples, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(refuses_fixed_batches, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(batch_in_another_dimension, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(extracts_nodes, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(graph_as_json, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(preparing_twice_changes_nothing, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(shared_models_stay_the_same, test_setup, test_teardown),
    };
    return cmocka_run_group_tests_name("prepare", tests, NULL, NULL);
}
