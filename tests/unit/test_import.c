/* SPDX-License-Identifier: BSD-3-Clause */
/* ONNX bytes to GRAPH: what is read, in every storage form.  test_import_refuse.c has the rest. */
#include "import_cases.h"

#include <dirent.h>
#include <math.h>

/* ------------------------------------------------------------------ what is read */

static void reads_a_network(void **state)
{
    onnx_build *b = ob_small_network(*state);
    bl_graph *g;
    b->graph.node[0]->name = ob_text(b, "first");
    b->graph.node[2]->name = ob_text(b, "first");
    assert_ok(*state, ob_import(b, &g));
    ob_free(b); /* the graph borrows nothing from the bytes */
    assert_int_equal(g->n_nodes, 6);
    assert_int_equal(g->opset, 13);
    assert_int_equal(g->ir_version, 8);
    assert_int_equal(g->batch, 1);
    assert_false(g->prepared);
    assert_string_equal(g->producer, "by hand");
    assert_string_equal(g->source, "by_hand.onnx");
    assert_string_equal(g->nodes[0].name, "first");
    assert_string_equal(g->nodes[1].name, "BatchNormalization_1");
    assert_string_equal(g->nodes[2].name, "first_2");
    assert_string_equal(g->nodes[0].op->name, "Conv");
    assert_int_equal(g->nodes[0].n_in, 2);
    assert_int_equal(bl_node_attr(&g->nodes[0], "pads")->n, 4);
    assert_false(bl_node_clamps(&g->nodes[2]));
    assert_shape(g, "x", SHAPE(1, 3, 8, 8));
    assert_shape(g, "conv", SHAPE(1, 4, 8, 8));
    assert_shape(g, "y", SHAPE(1, 5));
    assert_true(value(g, "x")->is_input && value(g, "y")->is_output);
    assert_non_null(value(g, "w")->t.data);
    assert_null(value(g, "conv")->t.data);
    assert_int_equal(value(g, "conv")->producer, 0);
    assert_int_equal(value(g, "conv")->n_readers, 1);
    assert_int_equal(value(g, "gamma")->producer, -1);
    bl_graph_free(g);
}

/* Initializers that are also listed as inputs are constants. */
static void inputs_without_initializers(void **state)
{
    onnx_build *b = ob_small_network(*state);
    bl_graph *g;
    b->model.ir_version = 3;
    ob_input(b, "w", "4,3,3,3");
    ob_input(b, "gamma", "4");
    assert_ok(*state, ob_import(b, &g));
    assert_int_equal(g->n_inputs, 1);
    assert_string_equal(g->values[g->inputs[0]].name, "x");
    bl_graph_free(g);
    ob_free(b);
}

static void sorts_nodes(void **state)
{
    onnx_build *b = ob_small_network(*state);
    bl_graph *g;
    for (size_t i = 0, k = b->graph.n_node - 1; i < k; i++, k--) {
        Onnx__NodeProto *n = b->graph.node[i];
        b->graph.node[i] = b->graph.node[k];
        b->graph.node[k] = n;
    }
    assert_ok(*state, ob_import(b, &g));
    static const char *const order[] = {"Conv", "BatchNormalization", "Relu", "GlobalAveragePool",
                                        "Flatten", "Gemm"};
    for (int i = 0; i < g->n_nodes; i++) {
        assert_string_equal(g->nodes[i].op->name, order[i]);
        assert_int_equal(g->values[g->nodes[i].out[0]].producer, i);
    }
    bl_graph_free(g);
    ob_free(b);
}

/* Nodes that are in order already keep it, even where another order would do. */
static void keeps_a_good_order(void **state)
{
    onnx_build *b = ob_new(*state, 13);
    bl_graph *g;
    ob_input(b, "x", "N,4");
    ob_node(b, "Relu", "x", "a");
    ob_node(b, "Sigmoid", "x", "b");
    ob_node(b, "Tanh", "a", "c");
    ob_node(b, "Add", "b,c", "y");
    ob_output(b, "y");
    assert_ok(*state, ob_import(b, &g));
    assert_string_equal(g->nodes[1].op->name, "Sigmoid");
    assert_string_equal(g->nodes[2].op->name, "Tanh");
    bl_graph_free(g);
    ob_free(b);
}

/* Absent optional inputs: "" inside, nothing at the end. */
static void absent_inputs(void **state)
{
    onnx_build *b = ob_new(*state, 13);
    bl_graph *g;
    float six = 6;
    ob_input(b, "x", "N,4");
    ob_floats(b, "six", "", &six);
    ob_node(b, "Clip", "x,,six", "a");
    ob_node(b, "Clip", "a,,", "y");
    ob_output(b, "y");
    assert_ok(*state, ob_import(b, &g));
    assert_int_equal(g->nodes[0].n_in, 3);
    assert_int_equal(g->nodes[0].in[1], -1);
    assert_int_equal(g->nodes[1].n_in, 1);
    bl_graph_free(g);
    ob_free(b);
}

/* An output that no operator here gives is left out where nobody reads it, refused where somebody
 * does. */
static void unread_outputs(void **state)
{
    onnx_build *b = tiny(*state);
    bl_graph *g;
    ob_node(b, "Relu", "x", "z,extra,more");
    assert_ok(*state, ob_import(b, &g));
    assert_int_equal(g->nodes[1].n_out, 1);
    assert_int_equal(bl_graph_find_value(g, "extra"), -1);
    bl_graph_free(g);
    ob_node(b, "Tanh", "extra", "t");
    refuses(b, BL_UNAVAILABLE, "output 1 of Relu is not supported");
}

static void constant_nodes(void **state)
{
    onnx_build *b = tiny(*state);
    bl_graph *g;
    Onnx__AttributeProto *a =
        ob_attr(ob_node(b, "Constant", "", "tensor"), b, "value", BL_ATTR_TENSOR);
    a->t = ob_tensor(b, "", BL_I64, "2");
    ob_raw(b, a->t, (int64_t[]){7, -8}, 16);
    ob_float_attr(ob_node(b, "Constant", "", "float"), b, "value_float", 1.5f);
    ob_int_attr(ob_node(b, "Constant", "", "int"), b, "value_int", -3);
    ob_ints_attr(ob_node(b, "Constant", "", "ints"), b, "value_ints", "4,5,6");
    a = ob_attr(ob_node(b, "Constant", "", "floats"), b, "value_floats", BL_ATTR_FLOATS);
    a->n_floats = 2;
    a->floats = (float[]){0.5f, -0.25f};
    assert_ok(*state, ob_import(b, &g));
    assert_int_equal(g->n_nodes, 1);
    assert_int_equal(((int64_t *)value(g, "tensor")->t.data)[1], -8);
    assert_int_equal(value(g, "float")->t.rank, 0);
    assert_true(*(float *)value(g, "float")->t.data == 1.5f);
    assert_int_equal(*(int64_t *)value(g, "int")->t.data, -3);
    assert_int_equal(((int64_t *)value(g, "ints")->t.data)[2], 6);
    assert_shape(g, "ints", SHAPE(3));
    assert_true(((float *)value(g, "floats")->t.data)[1] == -0.25f);
    bl_graph_free(g);
    ob_free(b);
}

/* Attributes of format version 1 declare no type. */
static void attributes_without_types(void **state)
{
    onnx_build *b = ob_small_network(*state);
    bl_graph *g;
    b->model.ir_version = 1;
    for (size_t i = 0; i < b->graph.n_node; i++)
        for (size_t k = 0; k < b->graph.node[i]->n_attribute; k++)
            b->graph.node[i]->attribute[k]->has_type = 0;
    assert_ok(*state, ob_import(b, &g));
    assert_int_equal(bl_node_attr(&g->nodes[0], "pads")->type, BL_ATTR_INTS);
    assert_int_equal(bl_attr_int(&g->nodes[5], "transB", 0), 1);
    bl_graph_free(g);
    ob_free(b);
}

/* Shapes that hang on computed numbers: Shape, Gather, Unsqueeze, Concat, Reshape. */
static void infers_through_shape_arithmetic(void **state)
{
    onnx_build *b = ob_new(*state, 11);
    bl_graph *g;
    ob_input(b, "x", "N,3,4,5");
    Onnx__TensorProto *zero = ob_constant(b, ob_tensor(b, "zero", BL_I64, ""));
    ob_raw(b, zero, (int64_t[]){0}, 8);
    ob_int64s(b, "rest", "-1");
    ob_node(b, "Shape", "x", "shape");
    ob_node(b, "Gather", "shape,zero", "batch");
    ob_ints_attr(ob_node(b, "Unsqueeze", "batch", "batch1"), b, "axes", "0");
    ob_int_attr(ob_node(b, "Concat", "batch1,rest", "target"), b, "axis", 0);
    ob_node(b, "Reshape", "x,target", "y");
    ob_output(b, "y");
    assert_ok(*state, ob_import(b, &g));
    assert_shape(g, "y", SHAPE(1, 60));
    assert_int_equal(g->n_nodes, 5); /* faithful: nothing is folded */
    assert_null(value(g, "target")->t.data);
    bl_graph_free(g);
    ob_free(b);
}

/* ------------------------------------------------------------------ storage forms */

/* A constant of a type in its typed list, read next to the same one in raw_data. */
static void typed_lists(void **state)
{
    static const struct {
        int type;
        int32_t numbers[3];
    } narrow[] = {
        {BL_U8, {0, 200, 255}},       {BL_I8, {-128, 0, 127}},     {BL_U16, {0, 40000, 65535}},
        {BL_I16, {-32768, 1, 32767}}, {BL_BOOL, {0, 1, 1}},        {BL_I32, {INT32_MIN, 0, INT32_MAX}},
    };
    onnx_build *b = tiny(*state);
    bl_graph *g;
    for (size_t i = 0; i < BL_COUNTOF(narrow); i++) {
        size_t unit = bl_dtype_bytes((bl_dtype)narrow[i].type);
        char listed[32], raw[32];
        uint8_t bytes[12];
        snprintf(listed, sizeof(listed), "listed%d", narrow[i].type);
        snprintf(raw, sizeof(raw), "raw%d", narrow[i].type);
        Onnx__TensorProto *t = ob_constant(b, ob_tensor(b, listed, narrow[i].type, "3"));
        t->n_int32_data = 3;
        t->int32_data = (int32_t *)narrow[i].numbers;
        for (size_t k = 0; k < 3; k++) memcpy(bytes + k * unit, &narrow[i].numbers[k], unit);
        t = ob_constant(b, ob_tensor(b, raw, narrow[i].type, "3"));
        ob_raw(b, t, bytes, 3 * unit);
    }
    Onnx__TensorProto *t = ob_constant(b, ob_tensor(b, "f32", BL_F32, "2"));
    t->n_float_data = 2;
    t->float_data = (float[]){1.5f, -2};
    t = ob_constant(b, ob_tensor(b, "f64", BL_F64, "2"));
    t->n_double_data = 2;
    t->double_data = (double[]){0.1, -2};
    t = ob_constant(b, ob_tensor(b, "i64", BL_I64, "2"));
    t->n_int64_data = 2;
    t->int64_data = (int64_t[]){INT64_MIN, 5};
    t = ob_constant(b, ob_tensor(b, "u64", BL_U64, "2"));
    t->n_uint64_data = 2;
    t->uint64_data = (uint64_t[]){UINT64_MAX, 5};
    t = ob_constant(b, ob_tensor(b, "u32", BL_U32, "2"));
    t->n_uint64_data = 2;
    t->uint64_data = (uint64_t[]){UINT32_MAX, 5};
    ob_constant(b, ob_tensor(b, "none", BL_F32, "0"));
    assert_ok(*state, ob_import(b, &g));
    for (size_t i = 0; i < BL_COUNTOF(narrow); i++) {
        char listed[32], raw[32];
        snprintf(listed, sizeof(listed), "listed%d", narrow[i].type);
        snprintf(raw, sizeof(raw), "raw%d", narrow[i].type);
        assert_memory_equal(value(g, listed)->t.data, value(g, raw)->t.data,
                            bl_tensor_bytes(&value(g, raw)->t));
    }
    assert_true(((float *)value(g, "f32")->t.data)[0] == 1.5f);
    assert_true(((double *)value(g, "f64")->t.data)[0] == 0.1);
    assert_true(((int64_t *)value(g, "i64")->t.data)[0] == INT64_MIN);
    assert_true(((uint64_t *)value(g, "u64")->t.data)[0] == UINT64_MAX);
    assert_true(((uint32_t *)value(g, "u32")->t.data)[0] == UINT32_MAX);
    assert_int_equal(bl_tensor_count(&value(g, "none")->t), 0);
    bl_graph_free(g);
    ob_free(b);
}

/* Numbers of 16 bits are read as the float32 that each of them is; what casts to them leaves numbers as they are. */
static void halves_become_float32(void **state)
{
    static const struct {
        int type;
        int32_t code[6];
        float number[6];
    } forms[] = {
        {BL_F16, {0x3C00, 0xFBFF, 0x0001, 0x83FF, 0x8000, 0x0400}, {1, -65504, 0x1p-24f, -1023 * 0x1p-24f, -0.0f, 0x1p-14f}},
        {BL_BF16, {0x3F80, 0xFF7F, 0x0001, 0x8080, 0x8000, 0x4049}, {1, -0x1.fep127f, 0x1p-133f, -0x1p-126f, -0.0f, 3.140625f}},
    };
    for (size_t i = 0; i < BL_COUNTOF(forms); i++) {
        onnx_build *b = ob_new(*state, 13);
        bl_graph *g, *p;
        uint16_t raw[6];
        for (int k = 0; k < 6; k++) raw[k] = (uint16_t)forms[i].code[k];
        b->graph.input[b->graph.n_input++] = ob_value(b, "x", i ? BL_F32 : forms[i].type, "N,6");
        Onnx__TensorProto *t = ob_constant(b, ob_tensor(b, "listed", forms[i].type, "6"));
        t->n_int32_data = 6;
        t->int32_data = (int32_t *)forms[i].code;
        ob_raw(b, ob_constant(b, ob_tensor(b, "raw", forms[i].type, "6")), raw, sizeof(raw));
        ob_int_attr(ob_node(b, "Cast", "x", "half"), b, "to", forms[i].type);
        ob_node(b, "Add", "half,listed", "sum");
        ob_node(b, "Add", "sum,raw", "all");
        ob_int_attr(ob_node(b, "Cast", "all", "y"), b, "to", BL_F32);
        ob_output(b, "y");
        assert_ok(*state, ob_import(b, &g));
        assert_memory_equal(value(g, "listed")->t.data, forms[i].number, sizeof(forms[i].number));
        assert_memory_equal(value(g, "raw")->t.data, forms[i].number, sizeof(forms[i].number));
        for (int v = 0; v < g->n_values; v++) assert_int_equal(g->values[v].t.type, BL_F32);
        assert_ok(*state, bl_prepare(*state, g, &p));
        assert_int_equal(p->n_nodes, 2); /* casts are none */
        bl_graph_free(p);
        bl_graph_free(g);
        raw[3] = forms[i].type == BL_F16 ? 0x7C00 : 0x7F80;
        memcpy(b->graph.initializer[1]->raw_data.data, raw, sizeof(raw));
        assert_fails(*state, ob_import(b, &g), BL_DATA, "element 3 is infinite");
        raw[3]++;
        memcpy(b->graph.initializer[1]->raw_data.data, raw, sizeof(raw));
        assert_fails(*state, ob_import(b, &g), BL_DATA, "element 3 is not a number");
        ob_free(b);
    }
}

/* Codes of 2 and 4 bits, several to a byte, low bits first, the last byte padded. */
static void packed_codes(void **state)
{
    static const struct {
        int type;
        uint8_t bytes[2];
        int8_t codes[3];
    } packed[] = {
        {BL_U4, {0xF1, 0x08}, {1, 15, 8}},
        {BL_I4, {0xF1, 0x08}, {1, -1, -8}},
        {BL_U2, {0x39, 0}, {1, 2, 3}},
        {BL_I2, {0x39, 0}, {1, -2, -1}},
    };
    onnx_build *b = tiny(*state);
    bl_graph *g;
    for (size_t i = 0; i < BL_COUNTOF(packed); i++) {
        size_t n = packed[i].type == BL_U4 || packed[i].type == BL_I4 ? 2 : 1;
        char listed[32], raw[32];
        snprintf(listed, sizeof(listed), "listed%d", packed[i].type);
        snprintf(raw, sizeof(raw), "raw%d", packed[i].type);
        ob_raw(b, ob_constant(b, ob_tensor(b, raw, packed[i].type, "3")), packed[i].bytes, n);
        Onnx__TensorProto *t = ob_constant(b, ob_tensor(b, listed, packed[i].type, "3"));
        t->n_int32_data = n;
        t->int32_data = ob_alloc(b, n, sizeof(int32_t));
        for (size_t k = 0; k < n; k++) t->int32_data[k] = packed[i].bytes[k];
    }
    assert_ok(*state, ob_import(b, &g));
    for (size_t i = 0; i < BL_COUNTOF(packed); i++) {
        char name[32];
        snprintf(name, sizeof(name), "raw%d", packed[i].type);
        assert_memory_equal(value(g, name)->t.data, packed[i].codes, 3);
        snprintf(name, sizeof(name), "listed%d", packed[i].type);
        assert_memory_equal(value(g, name)->t.data, packed[i].codes, 3);
    }
    bl_graph_free(g);
    ob_free(b);
}

/* Large payloads at every alignment come through, and lie in the mapping where they can. */
static void large_payloads(void **state)
{
    bl_ctx *ctx = *state;
    char folder[256], path[300];
    test_folder(folder);
    snprintf(path, sizeof(path), "%s/m.onnx", folder);
    int in_place = 0;
    for (int shift = 0; shift < 4; shift++) {
        onnx_build *b = tiny(ctx);
        bl_graph *g, *same;
        size_t size;
        char name[16];
        snprintf(name, sizeof(name), "net%.*s", shift, "xyz");
        b->graph.name = ob_text(b, name);
        Onnx__TensorProto *t = ob_floats(b, "large", "5000", NULL);
        const uint8_t *bytes = ob_pack(b, &size);
        assert_ok(ctx, bl_write_file(ctx, path, bytes, size));
        assert_ok(ctx, bl_import(ctx, path, NULL, &g));
        assert_memory_equal(value(g, "large")->t.data, t->raw_data.data, 20000);
        const uint8_t *p = value(g, "large")->t.data;
        in_place += p >= g->map.data && p < g->map.data + g->map.size;
        assert_int_equal((uintptr_t)p % 4, 0);
        assert_ok(ctx, bl_import_bytes(ctx, "other", bytes, size, NULL, &same));
        assert_string_equal(g->hash.hex, same->hash.hex);
        bl_graph_free(same);
        bl_graph_free(g);
        ob_free(b);
    }
    assert_int_equal(in_place, 1);
    test_folder_remove(folder);
}

/* ------------------------------------------------------------------ external data */

typedef struct outside { char folder[256], path[300]; float data[64]; } outside;

static onnx_build *with_external(bl_ctx *ctx, const char *location, const char *offset,
                                 const char *length)
{
    onnx_build *b = tiny(ctx);
    const char *pairs[3][2] = {{"location", location}, {"offset", offset}, {"length", length}};
    Onnx__TensorProto *t = ob_constant(b, ob_tensor(b, "far", BL_F32, "4,2"));
    t->has_data_location = 1;
    t->data_location = 1;
    t->external_data = ob_alloc(b, 3, sizeof(void *));
    for (int i = 0; i < 3; i++) {
        if (!pairs[i][1]) continue;
        Onnx__StringStringEntryProto *e = ob_alloc(b, 1, sizeof(*e));
        onnx__string_string_entry_proto__init(e);
        e->key = ob_text(b, pairs[i][0]);
        e->value = ob_text(b, pairs[i][1]);
        t->external_data[t->n_external_data++] = e;
    }
    return b;
}

static bl_status import_at(onnx_build *b, const char *path, bl_graph **g)
{
    size_t size;
    const uint8_t *bytes = ob_pack(b, &size);
    assert_ok(b->ctx, bl_write_file(b->ctx, path, bytes, size));
    *g = NULL;
    return bl_import(b->ctx, path, NULL, g);
}

static void external_data(void **state)
{
    bl_ctx *ctx = *state;
    outside o;
    char name[320], link[320];
    bl_graph *g;
    test_folder(o.folder);
    for (int i = 0; i < 64; i++) o.data[i] = (float)i;
    snprintf(name, sizeof(name), "%s/model", o.folder);
    assert_ok(ctx, bl_make_dir(ctx, name));
    snprintf(o.path, sizeof(o.path), "%.250s/model/m.onnx", o.folder);
    snprintf(name, sizeof(name), "%s/model/w.data", o.folder);
    assert_ok(ctx, bl_write_file(ctx, name, o.data, sizeof(o.data)));
    snprintf(name, sizeof(name), "%s/secret", o.folder);
    assert_ok(ctx, bl_write_file(ctx, name, o.data, sizeof(o.data)));
    snprintf(link, sizeof(link), "%s/model/leads_out", o.folder);
    assert_int_equal(symlink("../secret", link), 0);
    snprintf(link, sizeof(link), "%s/model/stays_in", o.folder);
    assert_int_equal(symlink("w.data", link), 0);

    static const struct {
        const char *location, *offset, *length;
        int first; /* number that comes first; -1: refused */
        bl_status code;
        const char *says;
    } cases[] = {
        {"w.data", "16", "32", 4, BL_OK, NULL},
        {"w.data", NULL, NULL, 0, BL_OK, NULL},
        {"./w.data", "224", "32", 56, BL_OK, NULL},
        {"stays_in", "0", NULL, 0, BL_OK, NULL},
        {"w.data", "228", "32", -1, BL_DATA, "pass the end"},
        {"w.data", "300", NULL, -1, BL_DATA, "pass the end"},
        {"w.data", "18446744073709551615", "32", -1, BL_DATA, "pass the end"},
        {"w.data", "0", "28", -1, BL_DATA, "needs 32 bytes, 28 are stored"},
        {"w.data", "x", NULL, -1, BL_DATA, "no number"},
        {"w.data", "-4", NULL, -1, BL_DATA, "no number"},
        {NULL, "0", NULL, -1, BL_DATA, "no data file is named"},
        {"", "0", NULL, -1, BL_DATA, "outside"},
        {"../secret", "0", NULL, -1, BL_DATA, "outside"},
        {"a/../../secret", "0", NULL, -1, BL_DATA, "outside"},
        {"..\\secret", "0", NULL, -1, BL_DATA, "outside"},
        {"/etc/hostname", "0", NULL, -1, BL_DATA, "outside"},
        {"leads_out", "0", NULL, -1, BL_DATA, "links to outside"},
        {"missing.data", "0", NULL, -1, BL_NOINPUT, "missing"},
    };
    for (size_t i = 0; i < BL_COUNTOF(cases); i++) {
        onnx_build *b = with_external(ctx, cases[i].location, cases[i].offset, cases[i].length);
        if (cases[i].code != BL_OK)
            assert_fails(ctx, import_at(b, o.path, &g), cases[i].code, cases[i].says);
        else {
            assert_ok(ctx, import_at(b, o.path, &g));
            assert_true(*(float *)value(g, "far")->t.data == (float)cases[i].first);
            bl_graph_free(g);
        }
        ob_free(b);
    }
    onnx_build *b = with_external(ctx, "w.data", "2", NULL); /* not aligned: copied */
    float *p;
    assert_ok(ctx, import_at(b, o.path, &g));
    p = value(g, "far")->t.data;
    assert_int_equal((uintptr_t)p % 4, 0);
    assert_memory_equal(p, (char *)o.data + 2, 32);
    bl_graph_free(g);
    ob_free(b);
    /* from memory there is no folder */
    refuses(with_external(ctx, "w.data", "0", NULL), BL_UNAVAILABLE, "another file");
    test_folder_remove(o.folder);
}

static void binds_dimensions(void **state)
{
    static const struct {
        const char *dims;
        bl_dim_binding given;
        int64_t batch, second;
    } cases[] = {
        {"N,4", {NULL, 0}, 1, 4},   {"?,4", {NULL, 0}, 1, 4},     {"-1,4", {NULL, 0}, 1, 4},
        {"N,4", {"N", 3}, 3, 4},    {"?,4", {"x:0", 3}, 3, 4},    {"2,4", {NULL, 0}, 2, 4},
        {"N,H", {"H", 9}, 1, 9},    {"N,?", {"x:1", 9}, 1, 9},    {"N,-1", {"x:1", 9}, 1, 9},
        {"N,N", {NULL, 0}, 1, 1},   {"N,N", {"N", 5}, 5, 5},      {"N,4", {"other", 5}, 1, 4},
        {"2,4", {"x:0", 2}, 2, 4},
    };
    for (size_t i = 0; i < BL_COUNTOF(cases); i++) {
        onnx_build *b = unary(*state, cases[i].dims);
        bl_graph *g;
        assert_ok(*state, import_dims(b, &cases[i].given, cases[i].given.name != NULL, &g));
        assert_shape(g, "y", SHAPE(cases[i].batch, cases[i].second));
        assert_int_equal(g->batch, cases[i].batch);
        bl_graph_free(g);
        ob_free(b);
    }
}

/* A dimension that is first somewhere is 1 elsewhere too, whatever the order of the inputs. */
static void batch_in_second_place(void **state)
{
    onnx_build *b = ob_new(*state, 13);
    bl_graph *g;
    ob_input(b, "state", "2,N,4");
    ob_input(b, "x", "N,4");
    ob_node(b, "Add", "state,x", "y");
    ob_output(b, "y");
    assert_ok(*state, ob_import(b, &g));
    assert_shape(g, "y", SHAPE(2, 1, 4));
    assert_int_equal(g->batch, 2);
    bl_graph_free(g);
    ob_free(b);
}

/* ------------------------------------------------------------------ single tensors */

static void tensors_from_files(void **state)
{
    bl_ctx *ctx = *state;
    onnx_build *b = ob_new(ctx, 13);
    /* copied by the parser, and left in place */
    static const char *const dims[] = {"3,2", "600,2"};
    bl_tensor t;
    for (size_t i = 0; i < BL_COUNTOF(dims); i++) {
        Onnx__TensorProto *from = ob_floats(b, i ? "large" : "small", dims[i], NULL);
        size_t size = onnx__tensor_proto__get_packed_size(from);
        uint8_t *bytes = ob_alloc(b, size, 1);
        onnx__tensor_proto__pack(from, bytes);
        assert_ok(ctx, bl_tensor_from_pb(ctx, "in0.pb", bytes, size, b->arena, &t));
        assert_int_equal(t.rank, 2);
        assert_int_equal(t.dim[1], 2);
        assert_memory_equal(t.data, from->raw_data.data, from->raw_data.len);
        for (size_t n = 0; n < BL_MIN(size, (size_t)64); n++)
            if (bl_tensor_from_pb(ctx, "in0.pb", bytes, n, b->arena, &t) == BL_OK)
                fail_msg("%zu of %zu bytes are a tensor", n, size);
        from->has_data_location = 1;
        from->data_location = 1;
        from->has_raw_data = 0;
        size = onnx__tensor_proto__pack(from, bytes);
        assert_fails(ctx, bl_tensor_from_pb(ctx, "in0.pb", bytes, size, b->arena, &t), BL_DATA,
                     "no data file");
    }
    assert_fails(ctx, bl_tensor_from_pb(ctx, "in0.pb", "", 0, b->arena, &t), BL_DATA, "empty");
    assert_fails(ctx, bl_tensor_from_pb(ctx, "in0.pb", "<html>", 6, b->arena, &t), BL_DATA,
                 "byte 0");
    ob_free(b);
}

/* ------------------------------------------------------------------ hash */

static bl_hash hash_after(bl_ctx *ctx, int change)
{
    onnx_build *b = ob_small_network(ctx);
    bl_graph *g;
    size_t size;
    switch (change) {
    case 1: b->graph.initializer[0]->raw_data.data[5] ^= 1; break;
    case 2: b->graph.node[0]->name = ob_text(b, "renamed"); break;
    case 3: b->graph.node[0]->attribute[0]->ints[0] = 0; break;
    case 4: b->opset.version = 14; break;
    case 5: b->graph.output[0] = ob_value(b, "flat", BL_F32, "?"); break;
    case 6: b->graph.node[2]->op_type = ob_text(b, "Sigmoid"); break;
    case 7: b->model.doc_string = ob_text(b, "says nothing"); break;
    case 8: b->graph.input[0]->type->tensor_type->shape->dim[2]->dim_value = 9; break;
    default: break;
    }
    const uint8_t *bytes = ob_pack(b, &size);
    assert_ok(ctx, bl_import_bytes(ctx, change == 9 ? "elsewhere" : "here", bytes, size, NULL, &g));
    bl_hash h = g->hash;
    bl_graph_free(g);
    ob_free(b);
    return h;
}

static void hash_is_of_the_content(void **state)
{
    bl_hash h = hash_after(*state, 0);
    assert_int_equal(strlen(h.hex), 32);
    assert_string_equal(h.hex, hash_after(*state, 0).hex);
    assert_string_equal(h.hex, hash_after(*state, 7).hex);
    assert_string_equal(h.hex, hash_after(*state, 9).hex);
    static const int changes[] = {1, 2, 3, 4, 5, 6, 8};
    for (size_t i = 0; i < BL_COUNTOF(changes); i++)
        assert_string_not_equal(h.hex, hash_after(*state, changes[i]).hex);
}

/* ------------------------------------------------------------------ real files */

static void import_shared(bl_ctx *ctx, const char *folder, const char *name, int *read,
                          int *refused)
{
    static const bl_dim_binding dims[] = {{"x:2", 64}, {"x:3", 192}};
    const bl_import_options options = {dims, 2};
    char path[800];
    bl_graph *g, *p;
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    bl_status status = bl_import(ctx, path, &options, &g);
    if (status == BL_UNAVAILABLE) {
        print_message("refused: %s: %s\n", name, bl_last_error(ctx).what);
        assert_non_null(strstr(bl_last_error(ctx).what, "unsupported operators: "));
        ++*refused;
        return;
    }
    assert_ok(ctx, status);
    assert_ok(ctx, bl_prepare(ctx, g, &p));
    print_message("read: %s: %d nodes, prepared %d\n", name, g->n_nodes, p->n_nodes);
    for (int i = 0; i < p->n_outputs; i++)
        assert_string_equal(p->values[p->outputs[i]].name, g->values[g->outputs[i]].name);
    ++*read;
    bl_graph_free(p);
    bl_graph_free(g);
}

static void shared_models(void **state)
{
    static const char *const folders[] = {"models", "models/wild"};
    int read = 0, refused = 0;
    for (size_t i = 0; i < BL_COUNTOF(folders); i++) {
        char path[512];
        struct dirent **list;
        test_shared(folders[i], path);
        int n = scandir(path, &list, NULL, alphasort);
        assert_true(n >= 0);
        for (int k = 0; k < n; k++) {
            size_t length = strlen(list[k]->d_name);
            if (length > 5 && strcmp(list[k]->d_name + length - 5, ".onnx") == 0)
                import_shared(*state, path, list[k]->d_name, &read, &refused);
            free(list[k]);
        }
        free(list);
    }
    print_message("%d read, %d refused\n", read, refused);
    assert_true(read > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reads_a_network, setup, teardown),
        cmocka_unit_test_setup_teardown(inputs_without_initializers, setup, teardown),
        cmocka_unit_test_setup_teardown(sorts_nodes, setup, teardown),
        cmocka_unit_test_setup_teardown(keeps_a_good_order, setup, teardown),
        cmocka_unit_test_setup_teardown(absent_inputs, setup, teardown),
        cmocka_unit_test_setup_teardown(unread_outputs, setup, teardown),
        cmocka_unit_test_setup_teardown(constant_nodes, setup, teardown),
        cmocka_unit_test_setup_teardown(attributes_without_types, setup, teardown),
        cmocka_unit_test_setup_teardown(infers_through_shape_arithmetic, setup, teardown),
        cmocka_unit_test_setup_teardown(typed_lists, setup, teardown),
        cmocka_unit_test_setup_teardown(halves_become_float32, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(packed_codes, setup, teardown),
        cmocka_unit_test_setup_teardown(large_payloads, setup, teardown),
        cmocka_unit_test_setup_teardown(external_data, setup, teardown),
        cmocka_unit_test_setup_teardown(binds_dimensions, setup, teardown),
        cmocka_unit_test_setup_teardown(batch_in_second_place, setup, teardown),
        cmocka_unit_test_setup_teardown(tensors_from_files, setup, teardown),
        cmocka_unit_test_setup_teardown(hash_is_of_the_content, setup, teardown),
        cmocka_unit_test_setup_teardown(shared_models, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
