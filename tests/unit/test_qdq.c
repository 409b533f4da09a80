/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The QDQ exporter, by reading back what it wrote: where quantizers stand, what the initializers
 * hold, what is refused.  That ONNX Runtime computes our integers from it is tests/clients.
 */
#include "support.h"

#include "emit/emit.h"
#include "onnx.pb-c.h"

#include <math.h>

/* ------------------------------------------------------------------ networks by hand */

#define MOST 32

typedef struct net {
    bl_ctx *ctx;
    bl_arena *arena;
    bl_graph g;
    bl_plan p;
    char folder[256], path[300];
} net;

static net *net_new(void)
{
    bl_ctx *ctx = test_ctx(1, 0);
    bl_arena *arena = bl_arena_new(ctx, "test");
    net *t = BL_NEW(arena, net, 1);
    assert_non_null(t);
    t->ctx = ctx;
    t->arena = arena;
    t->g = (bl_graph){ .arena = arena, .source = "/home/someone/net.onnx", .name = "net",
                       .producer = "", .ir_version = 8, .opset = 13, .prepared = true, .batch = 1 };
    t->g.values = BL_NEW(arena, bl_value, MOST);
    t->g.nodes = BL_NEW(arena, bl_node, MOST);
    t->g.inputs = BL_NEW(arena, int, MOST);
    t->g.outputs = BL_NEW(arena, int, MOST);
    t->p = (bl_plan){ .arena = arena, .recipe = "uniform", .seed = 7, .feasible = true };
    t->p.quantizers = BL_NEW(arena, bl_quantizer, MOST);
    t->p.of_value = BL_NEW(arena, int, MOST);
    for (int i = 0; i < MOST; i++) t->p.of_value[i] = -1;
    snprintf(t->path, sizeof t->path, "%.256s/model.qdq.onnx", test_folder(t->folder));
    return t;
}

static void net_free(net *t)
{
    bl_ctx *ctx = t->ctx;
    test_folder_remove(t->folder);
    bl_arena_free(t->arena);
    test_ctx_free(ctx);
}

#define SHAPE(...)                                                                                 \
    (int64_t[]){ __VA_ARGS__ }, (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t))

static int add_value(net *t, const char *name, const int64_t *dim, int rank)
{
    bl_value *v = &t->g.values[t->g.n_values];
    *v = (bl_value){ .name = name, .producer = -1, .t = { .type = BL_F32, .rank = rank } };
    memcpy(v->t.dim, dim, (size_t)rank * sizeof *dim);
    return t->g.n_values++;
}

static int add_input(net *t, const char *name, const int64_t *dim, int rank)
{
    return t->g.inputs[t->g.n_inputs++] = add_value(t, name, dim, rank);
}

/* A constant whose numbers repeat a short pattern around zero. */
static int add_constant(net *t, const char *name, const int64_t *dim, int rank)
{
    int v = add_value(t, name, dim, rank);
    int64_t n = bl_tensor_count(&t->g.values[v].t);
    float *x = BL_NEW(t->arena, float, (size_t)n);
    for (int64_t i = 0; i < n; i++) x[i] = (float)((i * 37 + 11) % 101 - 50) / 60.0f;
    t->g.values[v].t.data = x;
    return v;
}

static bl_node *add_node(net *t, const char *op, const char *name, int out, int n_in, const int *in)
{
    bl_node *n = &t->g.nodes[t->g.n_nodes++];
    int *ports = BL_NEW(t->arena, int, (size_t)n_in + 1);
    memcpy(ports, in, (size_t)n_in * sizeof *in);
    ports[n_in] = out;
    *n = (bl_node){ .op = bl_op_find("", op), .name = name, .domain = "", .opset = t->g.opset,
                    .n_in = n_in, .n_out = 1, .in = ports, .out = ports + n_in, .lo = -INFINITY,
                    .hi = INFINITY };
    assert_non_null(n->op);
    return n;
}
#define IN(...) (int)(sizeof((int[]){ __VA_ARGS__ }) / sizeof(int)), (int[]){ __VA_ARGS__ }

static void set_attrs(net *t, bl_node *n, int n_attr, const bl_attr *attr)
{
    bl_attr *copy = BL_NEW(t->arena, bl_attr, (size_t)n_attr);
    memcpy(copy, attr, (size_t)n_attr * sizeof *attr);
    n->attr = copy;
    n->n_attr = n_attr;
}

static bl_quantizer *quantize(net *t, int v, int bits, float scale, int zero)
{
    bl_quantizer *q = &t->p.quantizers[t->p.n_quantizers];
    *q = (bl_quantizer){ .kind = BL_Q_AFFINE, .value = v, .bits = bits, .axis = -1, .n_scale = 1,
                         .zero = zero };
    q->scale = BL_NEW(t->arena, float, 1);
    q->scale[0] = scale;
    t->p.of_value[v] = t->p.n_quantizers++;
    return q;
}

static bl_quantizer *quantize_weight(net *t, int v, int bits, int axis, float first)
{
    bl_quantizer *q = quantize(t, v, bits, first, 0);
    q->weight = true;
    q->axis = axis;
    q->n_scale = axis < 0 ? 1 : (int)t->g.values[v].t.dim[axis];
    q->scale = BL_NEW(t->arena, float, (size_t)q->n_scale);
    for (int c = 0; c < q->n_scale; c++) q->scale[c] = first * (1.0f + 0.1f * (float)c);
    return q;
}

static void finish(net *t, int output)
{
    t->g.outputs[t->g.n_outputs++] = output;
    assert_ok(t->ctx, bl_graph_finish(t->ctx, &t->g));
    t->p.graph = t->g.hash;
    t->p.hash = bl_hash_of("plan", 4);
}

/* ------------------------------------------------------------------ reading back */

static Onnx__ModelProto *export(net *t, const bl_export_options *options)
{
    bl_map map;
    assert_ok(t->ctx, bl_export_qdq(t->ctx, &t->g, &t->p, NULL, options, t->path));
    assert_ok(t->ctx, bl_map_file(t->ctx, t->path, 0, &map));
    Onnx__ModelProto *m = onnx__model_proto__unpack(NULL, map.size, map.data);
    bl_unmap(&map);
    assert_non_null(m);
    return m;
}

/* The node that gives this tensor. */
static const Onnx__NodeProto *giver(const Onnx__ModelProto *m, const char *tensor)
{
    for (size_t i = 0; i < m->graph->n_node; i++)
        for (size_t k = 0; k < m->graph->node[i]->n_output; k++)
            if (!strcmp(m->graph->node[i]->output[k], tensor)) return m->graph->node[i];
    fail_msg("nothing gives \"%s\"", tensor);
    return NULL;
}

static const Onnx__TensorProto *initializer(const Onnx__ModelProto *m, const char *name)
{
    for (size_t i = 0; i < m->graph->n_initializer; i++)
        if (!strcmp(m->graph->initializer[i]->name, name)) return m->graph->initializer[i];
    fail_msg("no initializer \"%s\"", name);
    return NULL;
}

static size_t count_ops(const Onnx__ModelProto *m, const char *op)
{
    size_t n = 0;
    for (size_t i = 0; i < m->graph->n_node; i++) n += !strcmp(m->graph->node[i]->op_type, op);
    return n;
}

static float scalar(const Onnx__ModelProto *m, const char *name)
{
    float v;
    const Onnx__TensorProto *t = initializer(m, name);
    assert_int_equal(t->data_type, BL_F32);
    assert_int_equal(t->raw_data.len, sizeof v);
    memcpy(&v, t->raw_data.data, sizeof v);
    return v;
}

static int64_t attr_int(const Onnx__NodeProto *n, const char *name)
{
    for (size_t i = 0; i < n->n_attribute; i++)
        if (!strcmp(n->attribute[i]->name, name)) {
            assert_int_equal(n->attribute[i]->type, BL_ATTR_INT);
            return n->attribute[i]->i;
        }
    return -1000;
}

/* tensor <- op <- ... : its giver is `op`, whose input 0 comes back. */
static const char *behind(const Onnx__ModelProto *m, const char *tensor, const char *op)
{
    const Onnx__NodeProto *n = giver(m, tensor);
    assert_string_equal(n->op_type, op);
    return n->input[0];
}

static const char *property(const Onnx__ModelProto *m, const char *key)
{
    for (size_t i = 0; i < m->n_metadata_props; i++)
        if (!strcmp(m->metadata_props[i]->key, key)) return m->metadata_props[i]->value;
    fail_msg("no property \"%s\"", key);
    return NULL;
}

/* Every tensor that is read is given by one thing, names of nodes differ. */
static void check_wires(const Onnx__ModelProto *m)
{
    const Onnx__GraphProto *g = m->graph;
    for (size_t i = 0; i < g->n_node; i++) {
        for (size_t k = 0; k < g->node[i]->n_input; k++) {
            const char *name = g->node[i]->input[k];
            size_t from = !*name;
            for (size_t j = 0; j < g->n_initializer; j++)
                from += !strcmp(g->initializer[j]->name, name);
            for (size_t j = 0; j < g->n_input; j++) from += !strcmp(g->input[j]->name, name);
            for (size_t j = 0; j < i; j++)
                for (size_t o = 0; o < g->node[j]->n_output; o++)
                    from += !strcmp(g->node[j]->output[o], name);
            if (from != 1) fail_msg("%s: %zu things give \"%s\"", g->node[i]->name, from, name);
        }
        for (size_t j = 0; j < i; j++) assert_string_not_equal(g->node[i]->name, g->node[j]->name);
    }
}

/* ------------------------------------------------------------------ one convolution */

enum { X, W, B, Y };

static net *conv_net(int zero_out, int bits_out)
{
    net *t = net_new();
    add_input(t, "x", SHAPE(1, 3, 8, 8));
    add_constant(t, "w", SHAPE(4, 3, 3, 3));
    add_constant(t, "b", SHAPE(4));
    add_value(t, "y", SHAPE(1, 4, 6, 6));
    add_node(t, "Conv", "y", Y, IN(X, W, B)); /* a node named like its output */
    quantize(t, X, 8, 0.02f, 131);
    quantize(t, Y, bits_out, 0.03f, zero_out);
    quantize_weight(t, W, 8, 0, 0.007f);
    return t;
}

static void test_conv(void **state)
{
    (void)state;
    net *t = conv_net(128, 8);
    t->g.nodes[0].lo = -100; /* implied by the grid: -3.84..3.81 */
    finish(t, Y);
    Onnx__ModelProto *m = export(t, NULL);
    check_wires(m);
    assert_int_equal(m->ir_version, 8);
    assert_int_equal(m->opset_import[0]->version, 13);
    assert_string_equal(m->producer_name, "bitlathe");
    assert_int_equal(m->graph->n_node, 7); /* Q, DQ, DQ, DQ, Conv, Q, DQ */
    assert_int_equal(count_ops(m, "Clip"), 0);

    const char *raw = behind(m, behind(m, "y", "DequantizeLinear"), "QuantizeLinear");
    const Onnx__NodeProto *conv = giver(m, raw);
    assert_string_equal(conv->op_type, "Conv");
    assert_string_equal(conv->name, "y");
    assert_string_equal(behind(m, conv->input[0], "DequantizeLinear"), "x_quantized");
    assert_string_equal(behind(m, "x_quantized", "QuantizeLinear"), "x");
    assert_string_equal(behind(m, conv->input[1], "DequantizeLinear"), "w_quantized");
    assert_int_equal(attr_int(giver(m, conv->input[1]), "axis"), 0);
    assert_string_equal(behind(m, conv->input[2], "DequantizeLinear"), "b_quantized");
    assert_true(scalar(m, "y_scale") == 0.03f);
    assert_int_equal(initializer(m, "y_zero_point")->data_type, BL_U8);
    assert_int_equal(initializer(m, "y_zero_point")->raw_data.data[0], 128);

    const Onnx__TensorProto *w = initializer(m, "w_quantized"), *b = initializer(m, "b_quantized");
    const float *sw = t->p.quantizers[2].scale;
    const float *wx = t->g.values[W].t.data, *bx = t->g.values[B].t.data;
    assert_int_equal(w->data_type, BL_I8);
    assert_int_equal(w->raw_data.len, 108);
    for (int i = 0; i < 108; i++) {
        bl_grid g = { .scale = sw[i / 27], .lo = -127, .hi = 127 };
        assert_int_equal((int8_t)w->raw_data.data[i], bl_quantize(wx[i], g));
    }
    const Onnx__TensorProto *bs = initializer(m, "b_scale");
    assert_int_equal(b->data_type, BL_I32);
    assert_int_equal(bs->raw_data.len, 16);
    for (int c = 0; c < 4; c++) {
        int32_t code;
        float scale, s = 0.02f * sw[c];
        memcpy(&code, b->raw_data.data + 4 * c, 4);
        memcpy(&scale, bs->raw_data.data + 4 * c, 4);
        assert_true(scale == s);
        assert_int_equal(code, (int32_t)rintf(bx[c] / s));
    }
    onnx__model_proto__free_unpacked(m, NULL);
    net_free(t);
}

/* What Q alone does not cut is cut on the same grid behind it. */
static void test_clip(void **state)
{
    (void)state;
    static const struct { int bits, zero; float lo, hi, least, greatest; } cases[] = {
        { 8, 3, 0, INFINITY, 0.0f, (255 - 3) * 0.03f },          /* Relu, zero point above 0 */
        { 8, 0, 0, 1.5f, 0.0f, 50 * 0.03f },                     /* Clip inside the range */
        { 4, 0, 0, INFINITY, 0.0f, 15 * 0.03f },                 /* narrow */
        { 3, 4, -INFINITY, INFINITY, -4 * 0.03f, 3 * 0.03f },
        { 8, 0, 0, INFINITY, 1, 0 }, { 8, 0, 0, 100, 1, 0 },     /* implied: no Clip */
        { 8, 128, -INFINITY, INFINITY, 1, 0 },
    };
    for (size_t i = 0; i < BL_COUNTOF(cases); i++) {
        net *t = conv_net(cases[i].zero, cases[i].bits);
        t->g.nodes[0].lo = cases[i].lo;
        t->g.nodes[0].hi = cases[i].hi;
        finish(t, Y);
        Onnx__ModelProto *m = export(t, NULL);
        check_wires(m);
        const char *raw = behind(m, behind(m, "y", "DequantizeLinear"), "QuantizeLinear");
        bool clips = cases[i].least < cases[i].greatest;
        assert_int_equal(count_ops(m, "Clip"), clips);
        if (clips) {
            const Onnx__NodeProto *clip = giver(m, raw);
            assert_true(scalar(m, clip->input[1]) == cases[i].least);
            assert_true(scalar(m, clip->input[2]) == cases[i].greatest);
            const Onnx__NodeProto *dq = giver(m, clip->input[0]), *q = giver(m, dq->input[0]);
            assert_string_equal(dq->op_type, "DequantizeLinear");
            assert_string_equal(q->input[1], "y_scale");
            assert_string_equal(q->input[2], "y_zero_point");
            raw = q->input[0];
        }
        assert_string_equal(giver(m, raw)->op_type, "Conv");
        onnx__model_proto__free_unpacked(m, NULL);
        net_free(t);
    }
}

static void test_options(void **state)
{
    (void)state;
    net *t = conv_net(128, 4);
    finish(t, Y);
    const bl_export_options options = { .all_outputs = true, .reduce_range = true };
    Onnx__ModelProto *m = export(t, &options);
    assert_int_equal(m->graph->n_output, 3);
    assert_string_equal(m->graph->output[0]->name, "x_quantized");
    assert_int_equal(m->graph->output[0]->type->tensor_type->elem_type, BL_U8);
    assert_string_equal(m->graph->output[1]->name, "y_quantized");
    assert_string_equal(m->graph->output[2]->name, "y");
    const Onnx__TensorProto *w = initializer(m, "w_quantized"), *s = initializer(m, "w_scale");
    for (size_t i = 0; i < w->raw_data.len; i++) {
        int code = (int8_t)w->raw_data.data[i];
        assert_true(code >= -64 && code <= 63);
    }
    for (int c = 0; c < 4; c++) {
        float scale;
        memcpy(&scale, s->raw_data.data + 4 * c, 4);
        assert_true(scale == 2 * t->p.quantizers[2].scale[c]);
    }
    onnx__model_proto__free_unpacked(m, NULL);
    net_free(t);
}

static void test_metadata(void **state)
{
    (void)state;
    net *t = conv_net(0, 4);
    t->p.quantizers[2].bits = 3;
    finish(t, Y);
    Onnx__ModelProto *m = export(t, NULL);
    assert_string_equal(property(m, "bitlathe.model"), t->g.hash.hex);
    assert_string_equal(property(m, "bitlathe.plan"), t->p.hash.hex);
    assert_string_equal(property(m, "bitlathe.seed"), "7");
    assert_string_equal(property(m, "bitlathe.version"), BL_VERSION_STRING);
    assert_non_null(strstr(property(m, "bitlathe.bits"), "W3A8"));
    assert_string_equal(m->graph->input[0]->type->tensor_type->shape->dim[0]->dim_param, "N");
    assert_int_equal(m->graph->input[0]->type->tensor_type->shape->dim[1]->dim_value, 3);
    assert_string_equal(m->graph->output[0]->type->tensor_type->shape->dim[0]->dim_param, "N");
    onnx__model_proto__free_unpacked(m, NULL);

    bl_map map; /* no path of the source in the file */
    assert_ok(t->ctx, bl_map_file(t->ctx, t->path, 0, &map));
    for (size_t i = 0; i + 7 <= map.size; i++)
        assert_false(!memcmp(map.data + i, "someone", 7));
    bl_unmap(&map);
    net_free(t);
}

static void test_sixteen_bits(void **state)
{
    (void)state;
    net *t = conv_net(300, 16);
    finish(t, Y);
    Onnx__ModelProto *m = export(t, NULL);
    assert_int_equal(m->opset_import[0]->version, 21);
    assert_int_equal(m->ir_version, 10);
    const Onnx__TensorProto *z = initializer(m, "y_zero_point");
    assert_int_equal(z->data_type, BL_U16);
    assert_int_equal(z->raw_data.data[0] + 256 * z->raw_data.data[1], 300);
    assert_int_equal(initializer(m, "x_zero_point")->data_type, BL_U8);
    assert_int_equal(count_ops(m, "Clip"), 0);
    onnx__model_proto__free_unpacked(m, NULL);
    net_free(t);
}

/* A bit of weight is a sign; weights that tuning replaced are the ones written. */
static void test_weights(void **state)
{
    (void)state;
    net *t = conv_net(0, 8);
    t->p.quantizers[2].bits = 1;
    finish(t, Y);
    float *changed = BL_NEW(t->arena, float, 108), bias[4] = { 1, 2, 3, 4 };
    for (int i = 0; i < 108; i++) changed[i] = i % 3 ? -0.5f : 0.25f;
    bl_weight_item items[] = { { .value = W, .data = changed, .count = 108 },
                               { .value = B, .data = bias, .count = 4 } };
    bl_weights weights = { .arena = t->arena, .n_items = 2, .items = items };
    assert_ok(t->ctx, bl_export_qdq(t->ctx, &t->g, &t->p, &weights, NULL, t->path));
    bl_map map;
    assert_ok(t->ctx, bl_map_file(t->ctx, t->path, 0, &map));
    Onnx__ModelProto *m = onnx__model_proto__unpack(NULL, map.size, map.data);
    bl_unmap(&map);
    const Onnx__TensorProto *w = initializer(m, "w_quantized"), *b = initializer(m, "b_quantized");
    for (int i = 0; i < 108; i++) assert_int_equal((int8_t)w->raw_data.data[i], i % 3 ? -1 : 1);
    int32_t code;
    memcpy(&code, b->raw_data.data + 8, 4);
    assert_int_equal(code, (int32_t)rintf(3 / (0.02f * t->p.quantizers[2].scale[2])));
    onnx__model_proto__free_unpacked(m, NULL);
    net_free(t);
}

/* ------------------------------------------------------------------ other operators */

static void test_add_operands(void **state)
{
    (void)state;
    net *t = net_new();
    int c = add_constant(t, "c", SHAPE(3, 1, 1)), x = add_input(t, "x", SHAPE(1, 3, 4, 4));
    int y = add_value(t, "y", SHAPE(1, 3, 4, 4)), z = add_value(t, "y_scale", SHAPE(1, 3, 4, 4));
    add_node(t, "Add", "add", y, IN(c, x));
    add_node(t, "Mul", "mul", z, IN(y, y));
    quantize(t, x, 8, 0.1f, 7);
    quantize(t, c, 8, 0.01f, 90);
    quantize(t, y, 8, 0.2f, 9);
    quantize(t, z, 8, 0.3f, 0);
    finish(t, z);
    Onnx__ModelProto *m = export(t, NULL);
    check_wires(m);
    const Onnx__NodeProto *add = giver(m, "y_float");
    assert_string_equal(add->input[0], "x_dequantized"); /* the full-size operand first */
    assert_string_equal(add->input[1], "c");
    assert_string_equal(behind(m, "c", "DequantizeLinear"), "c_quantized");
    const Onnx__TensorProto *codes = initializer(m, "c_quantized");
    assert_int_equal(codes->data_type, BL_U8);
    for (int i = 0; i < 3; i++)
        assert_int_equal(codes->raw_data.data[i],
                         bl_quantize(((float *)t->g.values[c].t.data)[i],
                                     (bl_grid){ .scale = 0.01f, .zero = 90, .lo = 0, .hi = 255 }));
    /* The model has a value of that name already. */
    assert_true(scalar(m, giver(m, "y")->input[1]) == 0.2f);
    assert_string_not_equal(giver(m, "y")->input[1], "y_scale");
    assert_string_equal(m->graph->output[0]->name, "y_scale");
    onnx__model_proto__free_unpacked(m, NULL);
    net_free(t);
}

/* Operators that move codes need no second cut, and no new grid. */
static void test_moves(void **state)
{
    (void)state;
    net *t = net_new();
    int x = add_input(t, "x", SHAPE(1, 3, 4, 4));
    int y = add_value(t, "y", SHAPE(1, 3, 4, 4)), z = add_value(t, "z", SHAPE(1, 48));
    add_node(t, "HardSwish", "act", y, IN(x));
    add_node(t, "Flatten", "flat", z, IN(y));
    quantize(t, x, 8, 0.1f, 7);
    quantize(t, y, 4, 0.2f, 1);
    quantize(t, z, 4, 0.2f, 1);
    finish(t, z);
    Onnx__ModelProto *m = export(t, NULL);
    check_wires(m);
    assert_int_equal(m->opset_import[0]->version, 14); /* HardSwish */
    assert_int_equal(count_ops(m, "Clip"), 1);
    assert_string_equal(giver(m, behind(m, "z_quantized", "QuantizeLinear"))->op_type, "Flatten");
    assert_true(scalar(m, "z_scale") == 0.2f);
    onnx__model_proto__free_unpacked(m, NULL);
    net_free(t);
}

static net *gemm_net(bool transposed, int64_t bias_rows)
{
    net *t = net_new();
    add_input(t, "x", SHAPE(1, 6));
    add_constant(t, "w", (int64_t[]){ transposed ? 5 : 6, transposed ? 6 : 5 }, 2);
    add_constant(t, "b", SHAPE(bias_rows, 5));
    add_value(t, "y", SHAPE(1, 5));
    bl_node *n = add_node(t, "Gemm", "gemm", Y, IN(X, W, B));
    set_attrs(t, n, 1, &(bl_attr){ .name = "transB", .type = BL_ATTR_INT, .i = transposed });
    quantize(t, X, 8, 0.02f, 131);
    quantize(t, Y, 8, 0.03f, 100);
    quantize_weight(t, W, 8, transposed ? 0 : 1, 0.01f);
    return t;
}

static void test_gemm(void **state)
{
    (void)state;
    for (int transposed = 0; transposed < 2; transposed++) {
        net *t = gemm_net(transposed, 1);
        finish(t, Y);
        Onnx__ModelProto *m = export(t, NULL);
        check_wires(m);
        assert_int_equal(attr_int(giver(m, "y_float"), "transB"), transposed);
        assert_int_equal(attr_int(giver(m, "w"), "axis"), transposed ? 0 : 1);
        assert_int_equal(initializer(m, "b_quantized")->n_dims, 1); /* a row is a list */
        assert_int_equal(initializer(m, "b_quantized")->dims[0], 5);
        onnx__model_proto__free_unpacked(m, NULL);
        net_free(t);
    }
}

/* Attributes that became inputs, and Softmax's axis. */
static void test_old_opset(void **state)
{
    (void)state;
    net *t = net_new();
    t->g.opset = 11;
    int x = add_input(t, "x", SHAPE(1, 3, 1, 1)), y = add_value(t, "y", SHAPE(1, 3));
    int z = add_value(t, "z", SHAPE(1, 3));
    bl_node *n = add_node(t, "Squeeze", "squeeze", y, IN(x));
    static const int64_t axes[] = { 2, 3 };
    set_attrs(t, n, 1, &(bl_attr){ .name = "axes", .type = BL_ATTR_INTS, .n = 2, .ints = axes });
    add_node(t, "Softmax", "softmax", z, IN(y));
    quantize(t, x, 8, 0.1f, 7);
    quantize(t, y, 8, 0.1f, 7);
    quantize(t, z, 8, 1.0f / 256, 0);
    finish(t, z);
    Onnx__ModelProto *m = export(t, NULL);
    check_wires(m);
    const Onnx__NodeProto *squeeze = giver(m, "y_float");
    assert_int_equal(squeeze->n_input, 2);
    assert_int_equal(squeeze->n_attribute, 0);
    assert_memory_equal(initializer(m, squeeze->input[1])->raw_data.data, axes, sizeof axes);
    assert_int_equal(attr_int(giver(m, "z_float"), "axis"), 1);
    onnx__model_proto__free_unpacked(m, NULL);
    net_free(t);
}

static void test_old_resize(void **state)
{
    (void)state;
    net *t = net_new();
    t->g.opset = 10;
    int x = add_input(t, "x", SHAPE(1, 1, 2, 2)), scales = add_constant(t, "scales", SHAPE(4));
    int y = add_value(t, "y", SHAPE(1, 1, 4, 4));
    static const float by[] = { 1, 1, 2, 2 };
    t->g.values[scales].t.data = (void *)(uintptr_t)by;
    add_node(t, "Resize", "resize", y, IN(x, scales));
    quantize(t, x, 8, 0.1f, 7);
    quantize(t, y, 8, 0.1f, 7);
    finish(t, y);
    Onnx__ModelProto *m = export(t, NULL);
    check_wires(m);
    const Onnx__NodeProto *n = giver(m, "y_float");
    assert_int_equal(n->n_input, 3);
    assert_string_equal(n->input[1], "");
    assert_string_equal(n->input[2], "scales");
    assert_int_equal(n->n_attribute, 2);
    assert_memory_equal(n->attribute[0]->s.data, "asymmetric", 10);
    onnx__model_proto__free_unpacked(m, NULL);
    net_free(t);
}

/* A value without a grid stays float, its activation a Clip; a node may have several outputs. */
static void test_float_values(void **state)
{
    (void)state;
    net *t = net_new();
    t->g.opset = 18;
    int x = add_input(t, "x", SHAPE(1, 6)), y = add_value(t, "y", SHAPE(1, 6));
    int a = add_value(t, "a", SHAPE(1, 3)), b = add_value(t, "b", SHAPE(1, 3));
    bl_node *n = add_node(t, "Neg", "neg", y, IN(x));
    n->hi = 2.5f;
    n = add_node(t, "Split", "split", a, IN(y));
    n->opset = 13; /* without sizes: equal parts */
    int *outs = BL_NEW(t->arena, int, 2);
    outs[0] = a;
    outs[1] = b;
    n->out = outs;
    n->n_out = 2;
    set_attrs(t, n, 1, &(bl_attr){ .name = "axis", .type = BL_ATTR_INT, .i = 1 });
    quantize(t, b, 8, 0.1f, 0);
    t->g.outputs[t->g.n_outputs++] = a;
    finish(t, b);
    Onnx__ModelProto *m = export(t, NULL);
    check_wires(m);
    assert_int_equal(m->graph->n_node, 5); /* Neg, Clip, Split, Q, DQ */
    const Onnx__NodeProto *clip = giver(m, "y"), *split = giver(m, "a");
    assert_string_equal(clip->op_type, "Clip");
    assert_string_equal(clip->input[1], "");
    assert_true(scalar(m, clip->input[2]) == 2.5f);
    assert_string_equal(behind(m, clip->input[0], "Neg"), "x");
    assert_int_equal(attr_int(split, "num_outputs"), 2); /* wanted since opset 18 */
    assert_string_equal(behind(m, behind(m, "b", "DequantizeLinear"), "QuantizeLinear"),
                        split->output[1]);
    onnx__model_proto__free_unpacked(m, NULL);
    net_free(t);
}

/* A bias of two layers has two scales, so it is written for each. */
static void test_shared_bias(void **state)
{
    (void)state;
    net *t = conv_net(128, 8);
    int v = add_constant(t, "v", SHAPE(4, 4, 1, 1)), z = add_value(t, "z", SHAPE(1, 4, 6, 6));
    add_node(t, "Conv", "second", z, IN(Y, v, B));
    quantize_weight(t, v, 8, -1, 0.004f);
    quantize(t, z, 8, 0.05f, 10);
    finish(t, z);
    Onnx__ModelProto *m = export(t, NULL);
    check_wires(m);
    const Onnx__NodeProto *one = giver(m, "y_float"), *two = giver(m, "z_float");
    assert_string_not_equal(one->input[2], two->input[2]);
    assert_int_equal(attr_int(giver(m, "v"), "axis"), -1000); /* one scale: no axis */
    const Onnx__NodeProto *dq = giver(m, two->input[2]);
    assert_true(scalar(m, dq->input[1]) == 0.03f * 0.004f);
    int32_t code;
    memcpy(&code, initializer(m, dq->input[0])->raw_data.data, 4);
    assert_int_equal(code, (int32_t)rintf(((float *)t->g.values[B].t.data)[0] / (0.03f * 0.004f)));
    onnx__model_proto__free_unpacked(m, NULL);
    net_free(t);
}

/* ------------------------------------------------------------------ refusals */

#define REFUSES(t, code, text)                                                                     \
    do {                                                                                           \
        bl_ctx *ctx_ = (t)->ctx;                                                                   \
        bl_status got_ = bl_export_qdq(ctx_, &(t)->g, &(t)->p, NULL, NULL, (t)->path);             \
        assert_fails(ctx_, got_, code, text);                                                      \
        assert_false(bl_file_exists((t)->path));                                                   \
        net_free(t);                                                                               \
    } while (0)

static void test_refusals(void **state)
{
    (void)state;
    net *t = conv_net(0, 8);
    finish(t, Y);
    t->p.quantizers[2].kind = BL_Q_CODEBOOK;
    REFUSES(t, BL_UNAVAILABLE, "codebook");

    t = conv_net(0, 8);
    finish(t, Y);
    t->p.quantizers[2].group = 16;
    REFUSES(t, BL_UNAVAILABLE, "w");

    t = conv_net(0, 8);
    finish(t, Y);
    t->p.quantizers[2].axis = 1; /* three slices, four scales */
    REFUSES(t, BL_UNAVAILABLE, "do not fit");

    t = conv_net(0, 8);
    finish(t, Y);
    t->p.graph = bl_hash_of("another", 7);
    REFUSES(t, BL_DATA, "another network");

    t = gemm_net(true, 1);
    bl_attr both[] = { t->g.nodes[0].attr[0],
                       { .name = "alpha", .type = BL_ATTR_FLOAT, .f = 0.5f } };
    set_attrs(t, &t->g.nodes[0], 2, both);
    finish(t, Y);
    REFUSES(t, BL_UNAVAILABLE, "alpha");

    t = gemm_net(true, 2);
    finish(t, Y);
    REFUSES(t, BL_UNAVAILABLE, "gemm");

    t = net_new();
    add_input(t, "x", SHAPE(1, 10));
    add_value(t, "y", SHAPE(1, 10));
    add_node(t, "Softmax", "softmax", 1, IN(0));
    quantize(t, 0, 8, 0.1f, 7);
    quantize(t, 1, 8, 1.0f / 255, 0);
    finish(t, 1);
    REFUSES(t, BL_UNAVAILABLE, "Softmax");

    t = net_new();
    t->g.opset = 11;
    add_input(t, "x", SHAPE(1, 10, 4));
    add_value(t, "y", SHAPE(1, 10, 4));
    add_node(t, "Softmax", "softmax", 1, IN(0)); /* over 40 numbers */
    quantize(t, 0, 8, 0.1f, 7);
    quantize(t, 1, 8, 1.0f / 256, 0);
    finish(t, 1);
    REFUSES(t, BL_UNAVAILABLE, "several axes");
}

static void test_bad_path(void **state)
{
    (void)state;
    net *t = conv_net(0, 8);
    finish(t, Y);
    char path[320];
    snprintf(path, sizeof path, "%.256s/none/model.onnx", t->folder);
    assert_fails(t->ctx, bl_export_qdq(t->ctx, &t->g, &t->p, NULL, NULL, path), BL_CANTCREATE,
                 "none");
    net_free(t);
}

/* Every allocation in turn fails: an error, no leak, no file. */
static void test_out_of_memory(void **state)
{
    (void)state;
    net *t = gemm_net(true, 1);
    finish(t, Y);
    bl_status s = BL_UNAVAILABLE;
    int n = 1;
    for (; s != BL_OK && n < 10000; n++) {
        t->ctx->fail_alloc = n;
        s = bl_export_qdq(t->ctx, &t->g, &t->p, NULL, NULL, t->path);
        if (s != BL_OK) assert_false(bl_file_exists(t->path));
    }
    t->ctx->fail_alloc = -1;
    assert_int_equal(s, BL_OK);
    assert_true(n > 20);
    net_free(t);
}

static void test_table(void **state)
{
    (void)state;
    assert_ptr_equal(bl_exporter_find("qdq")->fn, bl_export_qdq);
    assert_null(bl_exporter_find("nothing"));
    for (size_t i = 0; i < bl_n_exporters; i++) assert_true(strlen(bl_exporters[i].help) > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conv),
        cmocka_unit_test(test_clip),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_sixteen_bits),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_add_operands),
        cmocka_unit_test(test_moves),
        cmocka_unit_test(test_gemm),
        cmocka_unit_test(test_old_opset),
        cmocka_unit_test(test_old_resize),
        cmocka_unit_test(test_float_values),
        cmocka_unit_test(test_shared_bias),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_bad_path),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
