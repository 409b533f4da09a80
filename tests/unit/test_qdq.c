/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The QDQ exporter, by reading back what it wrote: where quantizers stand, what the initializers
 * hold, what is refused.  That ONNX Runtime computes our integers from it is tests/clients.
 */
#include "qdq_net.h"

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
    assert_string_equal(m->graph->output[0]->name, "y"); /* the network's own first */
    assert_string_equal(m->graph->output[1]->name, "x_quantized");
    assert_int_equal(m->graph->output[1]->type->tensor_type->elem_type, BL_U8);
    assert_string_equal(m->graph->output[2]->name, "y_quantized");
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

/* On request narrow weights take half a byte, low half first; others stay. */
static void test_int4(void **state)
{
    (void)state;
    const bl_export_options half = { .int4 = true };
    for (int bits = 3; bits <= 5; bits++) {
        net *t = conv_net(0, 8);
        t->p.quantizers[2].bits = bits;
        t->p.recipe = "by hand";
        finish(t, Y);
        Onnx__ModelProto *m = export(t, &half), *whole = export(t, NULL);
        check_wires(m);
        bool narrow = bits <= 4;
        assert_int_equal(m->opset_import[0]->version, narrow ? 21 : 13);
        assert_int_equal(m->ir_version, narrow ? 10 : 8);
        assert_string_equal(property(m, "bitlathe.int4"), narrow ? "1" : "0");
        assert_string_equal(property(m, "bitlathe.recipe"), "by hand");
        const Onnx__TensorProto *w = initializer(m, "w_quantized"), *v = initializer(whole, "w_quantized");
        const Onnx__TensorProto *z = initializer(m, "w_zero_point");
        assert_int_equal(w->data_type, narrow ? 22 : BL_I8);
        assert_int_equal(z->data_type, narrow ? 22 : BL_I8);
        assert_int_equal(w->raw_data.len, narrow ? 54 : 108);
        assert_int_equal(z->raw_data.len, narrow ? 2 : 4);
        for (int i = 0; narrow && i < 108; i++) {
            int four = w->raw_data.data[i / 2] >> (i % 2 ? 4 : 0) & 15;
            assert_int_equal(four > 7 ? four - 16 : four, (int8_t)v->raw_data.data[i]);
        }
        onnx__model_proto__free_unpacked(m, NULL);
        onnx__model_proto__free_unpacked(whole, NULL);
        net_free(t);
    }
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

/* x (1, 3, 6), turned to (3, 1, 6) where asked for, by a matrix, and a bias. */
static net *biased_net(bool turned, bool codes)
{
    static const int64_t to[] = { 1, 0, 2 };
    net *t = net_new();
    int x = add_input(t, "x", SHAPE(1, 3, 6)), w = add_constant(t, "w", SHAPE(6, 5)), b = add_constant(t, "b", SHAPE(5));
    int from = turned ? add_value(t, "turned", SHAPE(3, 1, 6)) : x;
    int y = turned ? add_value(t, "y", SHAPE(3, 1, 5)) : add_value(t, "y", SHAPE(1, 3, 5));
    if (turned)
        set_attrs(t, add_node(t, "Transpose", "turn", from, IN(x)), 1,
                  &(bl_attr){ .name = "perm", .type = BL_ATTR_INTS, .n = 3, .ints = to });
    add_node(t, "MatMul", "product", y, IN(from, w, b))->lo = 0;
    if (codes) {
        quantize(t, x, 8, 0.02f, 131);
        if (turned) quantize(t, from, 8, 0.02f, 131);
        quantize(t, y, 8, 0.03f, 0);
        quantize_weight(t, w, 8, 1, 0.01f);
    }
    finish(t, y);
    return t;
}

static int64_t target(const Onnx__ModelProto *m, const Onnx__NodeProto *reshape, int i)
{
    int64_t v;
    const Onnx__TensorProto *t = initializer(m, reshape->input[1]);
    assert_true(t->raw_data.len > 8 * (size_t)i);
    memcpy(&v, t->raw_data.data + 8 * i, 8);
    return v;
}

/* Codes as a matrix, a Gemm with an int32 bias, and its codes in the value's shape, whichever dimension is the batch. */
static void test_biased_matmul(void **state)
{
    (void)state;
    for (int turned = 0; turned < 2; turned++) {
        net *t = biased_net(turned, true);
        Onnx__ModelProto *m = export(t, NULL);
        check_wires(m);
        assert_int_equal(count_ops(m, "MatMul") + count_ops(m, "Add") + count_ops(m, "Clip"), 0);
        const Onnx__NodeProto *back = giver(m, "y_quantized");
        assert_string_equal(back->op_type, "Reshape");
        for (int d = 0; d < 3; d++) assert_int_equal(target(m, back, d), d == turned ? -1 : d == 2 ? 5 : 3);
        const Onnx__NodeProto *gemm = giver(m, behind(m, back->input[0], "QuantizeLinear"));
        assert_string_equal(gemm->op_type, "Gemm");
        assert_string_equal(gemm->name, "product");
        const Onnx__NodeProto *rows = giver(m, behind(m, gemm->input[0], "DequantizeLinear"));
        assert_string_equal(rows->op_type, "Reshape");
        assert_string_equal(rows->input[0], turned ? "turned_quantized" : "x_quantized");
        assert_true(target(m, rows, 0) == -1 && target(m, rows, 1) == 6);
        const Onnx__TensorProto *b = initializer(m, "b_quantized"), *s = initializer(m, "b_scale");
        assert_int_equal(b->data_type, BL_I32);
        const float *sw = t->p.quantizers[turned ? 3 : 2].scale, *bx = t->g.values[2].t.data;
        for (int c = 0; c < 5; c++) {
            int32_t code;
            float scale;
            memcpy(&code, b->raw_data.data + 4 * c, 4);
            memcpy(&scale, s->raw_data.data + 4 * c, 4);
            assert_true(scale == 0.02f * sw[c]);
            assert_int_equal(code, (int32_t)rintf(bx[c] / scale));
        }
        assert_string_equal(m->graph->input[0]->type->tensor_type->shape->dim[0]->dim_param, "N");
        onnx__model_proto__free_unpacked(m, NULL);
        net_free(t);
    }
}

/* In float it is what it was made from, at any place in the network. */
static void test_biased_in_float(void **state)
{
    (void)state;
    net *t = biased_net(true, false);
    bl_map map;
    assert_ok(t->ctx, bl_write_onnx(t->ctx, &t->g, t->path));
    assert_ok(t->ctx, bl_map_file(t->ctx, t->path, 0, &map));
    Onnx__ModelProto *m = onnx__model_proto__unpack(NULL, map.size, map.data);
    bl_unmap(&map);
    check_wires(m);
    assert_int_equal(m->graph->n_node, 4);
    assert_int_equal(count_ops(m, "Gemm") + count_ops(m, "Reshape"), 0);
    const Onnx__NodeProto *add = giver(m, behind(m, "y", "Relu"));
    assert_string_equal(add->op_type, "Add");
    assert_string_equal(add->input[1], "b");
    assert_string_equal(giver(m, add->input[0])->op_type, "MatMul");
    onnx__model_proto__free_unpacked(m, NULL);
    net_free(t);
}

/* Every sample by every sample: a network for one batch alone. */
static void test_biased_matmul_of_pairs(void **state)
{
    static const int64_t to[] = { 1, 0 };
    (void)state;
    net *t = net_new();
    int x = add_input(t, "x", SHAPE(1, 6)), w = add_constant(t, "w", SHAPE(1, 5)), b = add_constant(t, "b", SHAPE(5));
    int turned = add_value(t, "turned", SHAPE(6, 1)), pairs = add_value(t, "pairs", SHAPE(1, 1));
    int axes = add_value(t, "axes", SHAPE(1)), one = add_value(t, "one", SHAPE(1, 1, 1)), y = add_value(t, "y", SHAPE(1, 1, 5));
    t->g.values[axes].t.type = BL_I64;
    t->g.values[axes].t.data = BL_NEW(t->arena, int64_t, 1);
    *(int64_t *)t->g.values[axes].t.data = 2;
    set_attrs(t, add_node(t, "Transpose", "turn", turned, IN(x)), 1,
              &(bl_attr){ .name = "perm", .type = BL_ATTR_INTS, .n = 2, .ints = to });
    add_node(t, "MatMul", "pair", pairs, IN(x, turned));
    add_node(t, "Unsqueeze", "one", one, IN(pairs, axes));
    add_node(t, "MatMul", "product", y, IN(one, w, b));
    for (int i = 0; i < 2; i++) quantize(t, i ? turned : x, 8, 0.02f, 131);
    for (int i = 0; i < 2; i++) quantize(t, i ? one : pairs, 8, 0.05f, 9);
    quantize(t, y, 8, 0.03f, 100);
    quantize_weight(t, w, 8, 1, 0.01f);
    finish(t, y);
    Onnx__ModelProto *m = export(t, NULL);
    check_wires(m);
    assert_int_equal(m->graph->input[0]->type->tensor_type->shape->dim[0]->dim_value, 1);
    const Onnx__NodeProto *back = giver(m, "y_quantized");
    for (int d = 0; d < 3; d++) assert_int_equal(target(m, back, d), d < 2 ? 1 : 5);
    onnx__model_proto__free_unpacked(m, NULL);
    net_free(t);
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
    t->p.quantizers[2].kind = BL_Q_FIXED;
    REFUSES(t, BL_UNAVAILABLE, "fixed-point");

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
        cmocka_unit_test(test_int4),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_add_operands),
        cmocka_unit_test(test_moves),
        cmocka_unit_test(test_gemm),
        cmocka_unit_test(test_biased_matmul),
        cmocka_unit_test(test_biased_in_float),
        cmocka_unit_test(test_biased_matmul_of_pairs),
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
