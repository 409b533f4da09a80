/* SPDX-License-Identifier: BSD-3-Clause */
/* ONNX bytes that are refused, and in which words: broken, hostile or beyond what is supported. */
#include "import_cases.h"

#include <math.h>

static void bad_tensors(void **state)
{
    static const struct {
        int type;
        const char *dims;
        size_t raw, floats, ints;
        int32_t number;
        bl_status code;
        const char *says;
    } cases[] = {
        {BL_F32, "2,2", 12, 0, 0, 0, BL_DATA, "needs 16 bytes, 12 are stored"},
        {BL_F32, "2,2", 20, 0, 0, 0, BL_DATA, "needs 16 bytes, 20 are stored"},
        {BL_F32, "2,2", 0, 3, 0, 0, BL_DATA, "needs 4 numbers, 3 are stored"},
        {BL_F32, "2,2", 0, 0, 0, 0, BL_DATA, "needs 4 numbers, 0 are stored"},
        {BL_F32, "1", 4, 1, 0, 0, BL_DATA, "stored twice"},
        {BL_F32, "-1", 0, 0, 0, 0, BL_DATA, "dimension 0 is negative"},
        {BL_F32, "2,-9223372036854775808", 8, 0, 0, 0, BL_DATA, "dimension 1 is negative"},
        {BL_F32, "4294967296,4294967296", 8, 0, 0, 0, BL_DATA, "overflow"},
        {BL_F32, "9223372036854775807", 8, 0, 0, 0, BL_DATA, "overflow"},
        {BL_F32, "1,1,1,1,1,1,1,1,1", 4, 0, 0, 0, BL_UNAVAILABLE, "has 9 dimensions"},
        {BL_U8, "1", 0, 0, 1, 256, BL_DATA, "element 0 does not fit uint8"},
        {BL_I8, "1", 0, 0, 1, -129, BL_DATA, "does not fit int8"},
        {BL_BOOL, "1", 0, 0, 1, 2, BL_DATA, "does not fit bool"},
        {BL_F16, "1", 0, 0, 1, -1, BL_DATA, "does not fit float16"},
        {8, "1", 0, 0, 0, 0, BL_UNAVAILABLE, "unsupported element type string"},
        {17, "1", 1, 0, 0, 0, BL_UNAVAILABLE, "unsupported element type float8e4m3fn"},
        {23, "2", 1, 0, 0, 0, BL_UNAVAILABLE, "unsupported element type float4e2m1"},
        {BL_I4, "3", 1, 0, 0, 0, BL_DATA, "needs 2 bytes, 1 are stored"},
        {BL_U2, "5", 1, 0, 0, 0, BL_DATA, "needs 2 bytes, 1 are stored"},
        {BL_U4, "2", 0, 0, 1, 256, BL_DATA, "does not fit uint4"},
        {0, "1", 4, 0, 0, 0, BL_UNAVAILABLE, "undefined"},
        {99, "1", 4, 0, 0, 0, BL_DATA, "element type 99"},
        {-7, "1", 4, 0, 0, 0, BL_DATA, "element type -7"},
    };
    static uint8_t zeros[64];
    for (size_t i = 0; i < BL_COUNTOF(cases); i++) {
        onnx_build *b = tiny(*state);
        Onnx__TensorProto *t = ob_constant(b, ob_tensor(b, "odd", cases[i].type, cases[i].dims));
        if (cases[i].raw) ob_raw(b, t, zeros, cases[i].raw);
        t->n_float_data = cases[i].floats;
        t->float_data = ob_alloc(b, 8, sizeof(float));
        t->n_int32_data = cases[i].ints;
        t->int32_data = (int32_t *)&cases[i].number;
        refuses(b, cases[i].code, cases[i].says);
        assert_non_null(strstr(bl_last_error(*state).place, "constant \"odd\""));
    }
    onnx_build *b = tiny(*state);
    ob_raw(b, ob_constant(b, ob_tensor(b, "flags", BL_BOOL, "3")), "\0\1\2", 3);
    refuses(b, BL_DATA, "element 2 is 2");
    b = tiny(*state);
    Onnx__TensorProto *t = ob_floats(b, "parts", "4", NULL);
    t->segment = ob_alloc(b, 1, sizeof(*t->segment));
    onnx__tensor_proto__segment__init(t->segment);
    refuses(b, BL_UNAVAILABLE, "segments");
}

static void refuses_numbers_that_are_none(void **state)
{
    for (int i = 0; i < 3; i++) {
        onnx_build *b = ob_small_network(*state);
        float *w = (float *)b->graph.initializer[0]->raw_data.data;
        w[37] = i == 0 ? NAN : i == 1 ? INFINITY : -INFINITY;
        refuses(b, BL_DATA, i == 0 ? "element 37 is not a number" : "element 37 is infinite");
        assert_non_null(strstr(bl_last_error(*state).place, "constant \"w\""));
        assert_string_equal(bl_last_error(*state).remedy, "export the network again");
    }
    onnx_build *b = tiny(*state);
    float bound = -INFINITY;
    bl_graph *g;
    ob_floats(b, "bound", "", &bound);
    assert_ok(*state, ob_import(b, &g)); /* a scalar: the bound of a Max or Clip */
    bl_graph_free(g);
    bound = NAN;
    ob_floats(b, "nan", "", &bound);
    refuses(b, BL_DATA, "not a number");
}

static void refuses_dimensions(void **state)
{
    static const struct {
        const char *dims;
        bl_dim_binding given[2];
        bl_status code;
        const char *says, *remedy;
    } cases[] = {
        {"N,H,W", {{"W", 2}}, BL_UNAVAILABLE, "\"H\"", "--dim H=SIZE"},
        {"N,?,W", {{NULL, 0}}, BL_UNAVAILABLE, "\"x:1\", \"W\"", "--dim x:1=SIZE --dim W=SIZE"},
        {"N,H,H", {{NULL, 0}}, BL_UNAVAILABLE, ": \"H\"", "add --dim H=SIZE"},
        {"N,0", {{NULL, 0}}, BL_UNAVAILABLE, "dimension 1 is zero", ""},
        {"0,4", {{NULL, 0}}, BL_UNAVAILABLE, "dimension 0 is zero", ""},
        {"N,4", {{"N", 0}}, BL_USAGE, "N=0", ""},
        {"N,4", {{"N", -2}}, BL_USAGE, "N=-2", ""},
        {"N,4", {{"N", 1}, {"N", 2}}, BL_USAGE, "both 1 and 2", ""},
        {"2,4", {{"x:0", 3}}, BL_USAGE, "fixed to 2", ""},
        {"N,4611686018427387904,4", {{NULL, 0}}, BL_DATA, "overflow", ""},
        {"1,1,1,1,1,1,1,1,1", {{NULL, 0}}, BL_UNAVAILABLE, "has 9 dimensions", ""},
    };
    for (size_t i = 0; i < BL_COUNTOF(cases); i++) {
        onnx_build *b = unary(*state, cases[i].dims);
        size_t n = cases[i].given[1].name ? 2 : cases[i].given[0].name != NULL;
        bl_graph *g;
        assert_fails(*state, import_dims(b, cases[i].given, n, &g), cases[i].code, cases[i].says);
        if (!strstr(bl_last_error(*state).remedy, cases[i].remedy))
            fail_msg("remedy \"%s\"", bl_last_error(*state).remedy);
        ob_free(b);
    }
}

static void refuses_inputs(void **state)
{
    onnx_build *b = tiny(*state);
    b->graph.input[0]->type->tensor_type->shape = NULL;
    refuses(b, BL_UNAVAILABLE, "number of dimensions is not known");
    b = tiny(*state);
    b->graph.input[0]->type = NULL;
    refuses(b, BL_DATA, "has no type");
    b = tiny(*state);
    b->graph.input[0]->type->tensor_type->elem_type = 8;
    refuses(b, BL_UNAVAILABLE, "unsupported element type string");
    b = tiny(*state);
    b->graph.input[0]->type->tensor_type->elem_type = 77;
    refuses(b, BL_DATA, "element type 77");
    b = tiny(*state);
    Onnx__TypeProto__Sequence *s = ob_alloc(b, 1, sizeof(*s));
    onnx__type_proto__sequence__init(s);
    s->elem_type = b->graph.input[0]->type;
    b->graph.input[0]->type = ob_alloc(b, 1, sizeof(Onnx__TypeProto));
    onnx__type_proto__init(b->graph.input[0]->type);
    b->graph.input[0]->type->sequence_type = s;
    refuses(b, BL_UNAVAILABLE, "not a dense tensor");
    b = tiny(*state);
    ob_input(b, "x", "N,4");
    refuses(b, BL_DATA, "already gives the value \"x\"");
    b = tiny(*state);
    b->graph.input[0]->name = NULL;
    refuses(b, BL_DATA, "no name");
}

/* ------------------------------------------------------------------ broken graphs */

static void refuses_broken_models(void **state)
{
    onnx_build *b = tiny(*state);
    b->model.graph = NULL;
    refuses(b, BL_DATA, "no graph");
    b = tiny(*state);
    b->model.n_opset_import = 0;
    refuses(b, BL_DATA, "operator sets");
    b = tiny(*state);
    b->opset.version = 0;
    refuses(b, BL_DATA, "version 0");
    b = tiny(*state);
    b->model.has_ir_version = 0;
    refuses(b, BL_DATA, "version of the format");
    b = tiny(*state);
    b->graph.n_output = 0;
    refuses(b, BL_DATA, "no output");
    b = tiny(*state);
    ob_output(b, "nowhere");
    refuses(b, BL_DATA, "nothing produces the graph output \"nowhere\"");
    b = tiny(*state);
    ob_output(b, "y");
    refuses(b, BL_DATA, "two graph outputs");
    b = tiny(*state);
    b->graph.n_sparse_initializer = 1;
    b->graph.sparse_initializer = ob_alloc(b, 1, sizeof(void *));
    b->graph.sparse_initializer[0] = ob_alloc(b, 1, sizeof(Onnx__SparseTensorProto));
    onnx__sparse_tensor_proto__init(b->graph.sparse_initializer[0]);
    refuses(b, BL_UNAVAILABLE, "sparse");
}

static void refuses_broken_nodes(void **state)
{
    onnx_build *b = tiny(*state);
    ob_node(b, "Sigmoid", "x", "y");
    refuses(b, BL_DATA, "already gives the value \"y\"");
    b = tiny(*state);
    ob_node(b, "Sigmoid", "y", "x");
    refuses(b, BL_DATA, "already gives the value \"x\"");
    b = tiny(*state);
    ob_node(b, "Sigmoid", "ghost", "z");
    refuses(b, BL_DATA, "nothing produces its input \"ghost\"");
    b = tiny(*state);
    ob_node(b, "Add", "y,q", "p");
    ob_node(b, "Relu", "p", "q");
    refuses(b, BL_DATA, "cycle");
    b = tiny(*state);
    ob_node(b, "Relu", "z", "z");
    refuses(b, BL_DATA, "cycle");
    b = tiny(*state);
    ob_node(b, "Relu", "", "z");
    refuses(b, BL_DATA, "has 0 inputs; Relu takes 1 to 1");
    b = tiny(*state); /* a bias of its own is what preparing gives a MatMul, no file */
    ob_floats(b, "matrix", "6,5", NULL);
    ob_floats(b, "bias", "5", NULL);
    ob_node(b, "MatMul", "x,matrix,bias", "z");
    refuses(b, BL_DATA, "has 3 inputs; MatMul takes 2 to 2");
    b = tiny(*state);
    ob_node(b, "Add", ",x", "z");
    refuses(b, BL_DATA, "input 0 is left out");
    b = tiny(*state);
    ob_node(b, "Relu", "x", "");
    refuses(b, BL_DATA, "has no output");
    b = tiny(*state);
    ob_floats(b, "y", "4", NULL);
    refuses(b, BL_DATA, "already gives the value \"y\"");
    b = tiny(*state);
    ob_floats(b, "", "4", NULL);
    refuses(b, BL_DATA, "has no name");
    b = tiny(*state);
    Onnx__NodeProto *n = ob_node(b, "LeakyRelu", "x", "z");
    ob_float_attr(n, b, "alpha", 0.1f);
    ob_float_attr(n, b, "alpha", 0.2f);
    refuses(b, BL_DATA, "attribute \"alpha\" twice");
    b = tiny(*state);
    Onnx__AttributeProto *a = ob_attr(ob_node(b, "LeakyRelu", "x", "z"), b, "alpha", BL_ATTR_FLOAT);
    a->has_i = 1;
    refuses(b, BL_DATA, "attribute \"alpha\" does not hold what its type says");
    b = tiny(*state);
    ob_attr(ob_node(b, "Constant", "", "z"), b, "value", BL_ATTR_TENSOR);
    refuses(b, BL_DATA, "lacks its tensor");
    b = tiny(*state);
    ob_node(b, "Constant", "", "z");
    refuses(b, BL_DATA, "Constant without a value");
    b = ob_small_network(*state);
    b->graph.initializer[5]->dims[1] = 3; /* fc.w (5,4) becomes (5,3) */
    b->graph.initializer[5]->raw_data.len = 60;
    refuses(b, BL_DATA, "Gemm");
}

static void lists_unsupported_operators(void **state)
{
    onnx_build *b = tiny(*state);
    ob_node(b, "Nonsense", "x", "a")->name = ob_text(b, "odd one");
    ob_node(b, "Nonsense", "x", "b");
    ob_node(b, "Relu", "x", "c")->domain = ob_text(b, "com.acme");
    Onnx__NodeProto *branch = ob_node(b, "If", "x", "d");
    Onnx__GraphProto *inner = ob_alloc(b, 1, sizeof(*inner));
    onnx__graph_proto__init(inner);
    Onnx__NodeProto *hidden = ob_node(b, "Hidden", "", "e");
    b->graph.n_node--;
    inner->n_node = 1;
    inner->node = ob_alloc(b, 1, sizeof(void *));
    inner->node[0] = hidden;
    ob_attr(branch, b, "then_branch", BL_ATTR_GRAPH)->g = inner;
    bl_graph *g;
    assert_fails(*state, ob_import(b, &g), BL_UNAVAILABLE, "unsupported operators: ");
    const char *what = bl_last_error(*state).what;
    static const char *const items[] = {"Nonsense x2 (first at node \"odd one\")",
                                        "com.acme.Relu x1 (first at node \"Relu_3\")",
                                        "If with a subgraph x1", "Hidden x1"};
    for (size_t i = 0; i < BL_COUNTOF(items); i++)
        if (!strstr(what, items[i])) fail_msg("\"%s\" does not say \"%s\"", what, items[i]);
    ob_free(b);
}

static void cuts_long_lists(void **state)
{
    onnx_build *b = tiny(*state);
    for (int i = 0; i < 200; i++) {
        char op[32];
        snprintf(op, sizeof(op), "Strange%d", i);
        ob_node(b, op, "x", "a");
    }
    bl_graph *g;
    assert_fails(*state, ob_import(b, &g), BL_UNAVAILABLE, "Strange0 x1");
    const char *what = bl_last_error(*state).what, *more = strstr(what, " and ");
    int shown = 0, rest = 0;
    assert_non_null(more);
    assert_int_equal(sscanf(more, " and %d more", &rest), 1);
    for (const char *p = what; (p = strstr(p, " x1 (")) != NULL; p++) shown++;
    assert_int_equal(shown + rest, 200);
    assert_in_range(strlen(what), 800, 950);
    ob_free(b);
}

static void names_versions(void **state)
{
    onnx_build *b = tiny(*state);
    b->opset.version = 1;
    bl_graph *g;
    bl_status status = ob_import(b, &g);
    if (bl_op_find("", "Relu")->min_opset <= 1) {
        assert_ok(*state, status);
        bl_graph_free(g);
    } else {
        assert_int_equal(status, BL_UNAVAILABLE);
        assert_non_null(strstr(bl_last_error(*state).what, "Relu of opset 1 (understood from"));
    }
    ob_free(b);
}

/* Text from a file never reaches the terminal as it is. */
static void prints_names_safely(void **state)
{
    onnx_build *b = tiny(*state);
    ob_node(b, "Relu", "evil\x1b[31m\nname", "z");
    refuses(b, BL_DATA, "evil?[31m?name");
    b = tiny(*state);
    ob_node(b, "Relu", "caf\xC3\xA9", "z");
    refuses(b, BL_DATA, "caf\xC3\xA9");
}

/* ------------------------------------------------------------------ what is no ONNX file */

static void refuses_other_files(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
        const char *says;
    } cases[] = {
        {"", 0, "empty"},
        {"<!DOCTYPE html>\n<html><body>Sign in</body></html>", 49,
         "this is text (\"<!DOCTYPE html>\")"},
        {"version https://git-lfs.github.com/spec/v1\noid sha256:12\n", 57, "git-lfs"},
        {"PK\x03\x04\x14\x00\x00\x00", 8, "ZIP archive"},
        {"\x1c\x00\x00\x00TFL3\x14\x00", 10, "TensorFlow Lite"},
        {"\x89HDF\r\n\x1a\n", 8, "HDF5"},
        {"\x93NUMPY\x01\x00", 8, "NumPy"},
        {"\xff\xff\xff\xff", 4, "byte 0"},
    };
    bl_graph *g;
    for (size_t i = 0; i < BL_COUNTOF(cases); i++)
        assert_fails(*state,
                     bl_import_bytes(*state, "odd.bin", cases[i].bytes, cases[i].n, NULL, &g),
                     BL_DATA, cases[i].says);
    assert_fails(*state, bl_import(*state, "/nowhere/at/all.onnx", NULL, &g), BL_NOINPUT,
                 "all.onnx");
    char folder[256];
    test_folder(folder);
    assert_fails(*state, bl_import(*state, folder, NULL, &g), BL_NOINPUT, "");
    test_folder_remove(folder);
}

static void every_prefix_is_refused(void **state)
{
    onnx_build *b = ob_small_network(*state);
    size_t size;
    const uint8_t *bytes = ob_pack(b, &size);
    for (size_t n = 0; n < size; n++) {
        bl_graph *g;
        uint8_t *exact = malloc(n ? n : 1);
        memcpy(exact, bytes, n);
        bl_status status = bl_import_bytes(*state, "cut.onnx", exact, n, NULL, &g);
        free(exact);
        if (status != BL_DATA) fail_msg("%zu of %zu bytes gave %d", n, size, (int)status);
        assert_non_null(strstr(bl_last_error(*state).place, "cut.onnx"));
    }
    ob_free(b);
}

/* 20,000 small mutations: bytes changed, runs removed, repeated.  Anything may come out, in
 * order. */
static void random_damage(void **state)
{
    bl_ctx *ctx = test_ctx(1, 64 << 20); /* a mutated dimension may ask for much */
    onnx_build *b = ob_small_network(*state);
    size_t size;
    const uint8_t *bytes = ob_pack(b, &size);
    bl_rng r = bl_rng_make(1, "damage", 0);
    int taken = 0;
    for (int i = 0; i < 20000; i++) {
        size_t n = size, changes = 1 + bl_rng_below(&r, 4);
        uint8_t *copy = malloc(size + 64);
        memcpy(copy, bytes, size);
        for (size_t k = 0; k < changes; k++) {
            size_t at = bl_rng_below(&r, n), length = 1 + bl_rng_below(&r, 16);
            uint64_t kind = bl_rng_below(&r, 10);
            length = BL_MIN(length, n - at);
            if (kind == 0 && n > 64) {
                memmove(copy + at, copy + at + length, n - at - length);
                n -= length;
            } else if (kind == 1 && n + length <= size + 64) {
                memmove(copy + at + length, copy + at, n - at);
                n += length;
            } else
                copy[at] = (uint8_t)bl_rng_u64(&r);
        }
        bl_graph *g = NULL, *p = NULL;
        bl_status status = bl_import_bytes(ctx, "damaged.onnx", copy, n, NULL, &g);
        free(copy);
        bl_error e = bl_last_error(ctx);
        if (status == BL_OK) {
            taken++;
            status = bl_prepare(ctx, g, &p);
            if (status == BL_OK) bl_graph_free(p);
            bl_graph_free(g);
        } else
            assert_true(e.code == status && *e.place && *e.what && !strchr(e.what, '\n'));
        assert_true(status == BL_OK || status == BL_DATA || status == BL_UNAVAILABLE);
    }
    assert_in_range(taken, 100, 19000); /* neither all luck nor all refused */
    ob_free(b);
    test_ctx_free(ctx);
}

static void refuses_a_million_empty_nodes(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 32 << 20);
    size_t n = 2000000;
    uint8_t *bytes = malloc(n + 8);
    bytes[0] = 0x08; /* ir_version 8 */
    bytes[1] = 0x08;
    bytes[2] = 0x3A; /* graph: 2,000,000 bytes of empty nodes */
    bytes[3] = 0x80;
    bytes[4] = 0x89;
    bytes[5] = 0x7A;
    for (size_t i = 0; i < n; i += 2) {
        bytes[6 + i] = 0x0A;
        bytes[7 + i] = 0;
    }
    bl_graph *g;
    uint64_t peak;
    assert_fails(ctx, bl_import_bytes(ctx, "many.onnx", bytes, n + 6, NULL, &g), BL_UNAVAILABLE,
                 "reading it needs");
    assert_non_null(strstr(bl_last_error(ctx).remedy, "--memory"));
    bl_memory_use(ctx, NULL, &peak);
    assert_true(peak < 1 << 20); /* refused before anything was taken */
    free(bytes);
    test_ctx_free(ctx);
}

/* Whichever allocation fails, the call ends in a sentence and gives back all it had. */
static void every_allocation_may_fail(void **state)
{
    onnx_build *b = ob_small_network(*state);
    size_t size;
    const uint8_t *bytes = ob_pack(b, &size);
    bl_ctx *ctx = test_ctx(1, 0);
    long n = 1;
    for (;; n++) {
        bl_graph *g = NULL, *p = NULL;
        ctx->fail_alloc = n;
        bl_status status = bl_import_bytes(ctx, "net.onnx", bytes, size, NULL, &g);
        if (status == BL_OK) status = bl_prepare(ctx, g, &p);
        long left = ctx->fail_alloc;
        ctx->fail_alloc = -1;
        bl_graph_free(p);
        bl_graph_free(g);
        uint64_t now;
        bl_memory_use(ctx, &now, NULL);
        assert_int_equal(now, 0);
        if (status == BL_OK) {
            assert_true(left > 0);
            break;
        }
        assert_int_equal(status, BL_UNAVAILABLE);
        assert_true(left <= 0); /* it was that allocation, nothing else */
        assert_true(*bl_last_error(ctx).what);
    }
    assert_true(n > 200);
    test_ctx_free(ctx);
    ob_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(bad_tensors, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_numbers_that_are_none, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_dimensions, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_inputs, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_broken_models, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_broken_nodes, setup, teardown),
        cmocka_unit_test_setup_teardown(lists_unsupported_operators, setup, teardown),
        cmocka_unit_test_setup_teardown(cuts_long_lists, setup, teardown),
        cmocka_unit_test_setup_teardown(names_versions, setup, teardown),
        cmocka_unit_test_setup_teardown(prints_names_safely, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_other_files, setup, teardown),
        cmocka_unit_test_setup_teardown(every_prefix_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(random_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_a_million_empty_nodes, setup, teardown),
        cmocka_unit_test_setup_teardown(every_allocation_may_fail, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
