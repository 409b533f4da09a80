/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Forms that ONNX Runtime runs faster: that they stand where they should, say the same numbers, and go
 * away on request.  What ONNX Runtime makes of them is tests/clients.
 */
#include "qdq_net.h"

static const bl_export_options plain = { .plain = true };

/* A first convolution of 3 channels: 16 filters are padded, 8 are not. */
static net *first_conv(int64_t filters, int group)
{
    net *t = net_new();
    add_input(t, "x", SHAPE(1, 3 * group, 8, 8));
    add_constant(t, "w", (int64_t[]){ filters, 3, 3, 3 }, 4);
    add_constant(t, "b", (int64_t[]){ filters }, 1);
    add_value(t, "y", (int64_t[]){ 1, filters, 6, 6 }, 4);
    bl_node *n = add_node(t, "Conv", "conv", Y, IN(X, W, B));
    set_attrs(t, n, 1, &(bl_attr){ .name = "group", .type = BL_ATTR_INT, .i = group });
    quantize(t, X, 8, 0.02f, 131);
    quantize(t, Y, 8, 0.03f, 7);
    quantize_weight(t, W, 8, 0, 0.007f);
    finish(t, Y);
    return t;
}

static void channels_to_four(void **state)
{
    (void)state;
    net *t = first_conv(16, 1);
    Onnx__ModelProto *m = export(t, NULL), *same = export(t, &plain);
    check_wires(m);
    assert_int_equal(count_ops(same, "Pad"), 0);
    const Onnx__NodeProto *conv = giver(m, "y_float");
    const Onnx__NodeProto *pad = giver(m, behind(m, conv->input[0], "DequantizeLinear"));
    assert_string_equal(pad->op_type, "Pad");
    assert_string_equal(pad->input[0], "x_quantized");
    assert_string_equal(pad->input[2], "x_zero_point"); /* a real 0 */
    static const int64_t pads[] = { 0, 0, 0, 0, 0, 1, 0, 0 };
    assert_memory_equal(initializer(m, pad->input[1])->raw_data.data, pads, sizeof pads);
    assert_string_equal(giver(m, conv->input[0])->input[1], "x_scale");
    assert_int_equal(count_ops(m, "DequantizeLinear"), count_ops(same, "DequantizeLinear"));

    const Onnx__TensorProto *w = initializer(m, "w_quantized"), *v = initializer(same, "w_quantized");
    assert_int_equal(w->dims[1], 4);
    assert_int_equal(w->raw_data.len, 16 * 4 * 9);
    for (int o = 0; o < 16; o++) {
        assert_memory_equal(w->raw_data.data + o * 36, v->raw_data.data + o * 27, 27);
        for (int i = 27; i < 36; i++) assert_int_equal(w->raw_data.data[o * 36 + i], 0);
    }
    onnx__model_proto__free_unpacked(m, NULL);
    onnx__model_proto__free_unpacked(same, NULL);
    net_free(t);
}

static void channels_left_alone(void **state)
{
    (void)state;
    for (int k = 0; k < 4; k++) {
        net *t = first_conv(k == 0 ? 8 : 16, k == 1 ? 2 : 1);
        if (k == 2) quantize(t, X, 16, 0.001f, 0); /* wide codes run in float */
        if (k == 3) t->g.values[W].n_readers = 2;  /* another layer wants it as it is */
        Onnx__ModelProto *m = export(t, NULL);
        assert_int_equal(count_ops(m, "Pad"), 0);
        onnx__model_proto__free_unpacked(m, NULL);
        net_free(t);
    }
}

static net *gate(const char *op, float scale_in, int zero_in, float scale_out, int zero_out, float hi)
{
    net *t = net_new();
    int x = add_input(t, "x", SHAPE(1, 20)), y = add_value(t, "y", SHAPE(1, 20));
    bl_node *n = add_node(t, op, "gate", y, IN(x));
    set_attrs(t, n, 1, &(bl_attr){ .name = "alpha", .type = BL_ATTR_FLOAT, .f = 1.0f / 6 });
    n->hi = hi;
    quantize(t, x, 8, scale_in, zero_in);
    quantize(t, y, 8, scale_out, zero_out);
    finish(t, y);
    return t;
}

/* Every code through the form gives the code of the function, computed here from its definition. */
static void assert_same_codes(const net *t, const Onnx__ModelProto *m, const char *op)
{
    const bl_quantizer *kx = &t->p.quantizers[0], *ky = &t->p.quantizers[1];
    const Onnx__NodeProto *dq = giver(m, "y"), *q = giver(m, dq->input[0]);
    bl_grid to = { .scale = scalar(m, q->input[1]), .lo = 0, .hi = 255 };
    to.zero = initializer(m, q->input[2])->raw_data.data[0];
    assert_true(scalar(m, dq->input[1]) == ky->scale[0]);
    for (int i = 0; i < 256; i++) {
        float x = (float)(i - kx->zero) * kx->scale[0], y = x;
        if (!strcmp(op, "HardSigmoid")) y = fminf(1, fmaxf(0, (1.0f / 6) * x + 0.5f));
        if (!strcmp(op, "Relu")) y = fmaxf(0, x);
        int code = (int)fminf(255, fmaxf(0, rintf(y / ky->scale[0]) + (float)ky->zero));
        assert_int_equal(code, bl_quantize(x, to));
    }
}

static void gate_by_table(void **state)
{
    (void)state;
    static const struct { const char *op; float scale_in; int zero_in; float scale_out; int zero_out; float hi;
                          bool tabled; } cases[] = {
        { "HardSigmoid", 0.05f, 100, 1.0f / 256, 0, INFINITY, true },
        { "HardSigmoid", 0.011f, 131, 0.5f / 172, 0, INFINITY, true },
        { "HardSigmoid", 0.05f, 100, 0.5f / 128, 0, INFINITY, true },
        { "HardSigmoid", 0.05f, 100, 1.0f / 255, 0, INFINITY, false }, /* 0.5 is no code */
        { "HardSigmoid", 0.05f, 100, 1.0f / 200, 0, INFINITY, false }, /* 1 is no end of the codes */
        { "HardSigmoid", 0.05f, 100, 1.0f / 256, 0, 0.7f, false },     /* cut inside of them */
        { "Relu", 0.05f, 100, 0.03f, 0, INFINITY, true },
        { "Relu", 0.05f, 100, 0.03f, 5, INFINITY, false },
        { "Sigmoid", 0.05f, 100, 1.0f / 256, 0, INFINITY, false },
        { "Neg", 0.05f, 100, 0.05f, 128, INFINITY, false },
    };
    for (size_t i = 0; i < BL_COUNTOF(cases); i++) {
        net *t = gate(cases[i].op, cases[i].scale_in, cases[i].zero_in, cases[i].scale_out,
                      cases[i].zero_out, cases[i].hi);
        Onnx__ModelProto *m = export(t, NULL), *same = export(t, &plain);
        check_wires(m);
        assert_int_equal(count_ops(same, cases[i].op), 1);
        if (count_ops(m, "LeakyRelu") != cases[i].tabled) fail_msg("case %zu", i);
        assert_int_equal(count_ops(m, cases[i].op), !cases[i].tabled);
        if (cases[i].tabled) assert_same_codes(t, m, cases[i].op);
        onnx__model_proto__free_unpacked(m, NULL);
        onnx__model_proto__free_unpacked(same, NULL);
        net_free(t);
    }
}

/* A gate whose input's grid ends where it saturates only has another name for its codes. */
static void gate_by_name(void **state)
{
    (void)state;
    net *t = gate("HardSigmoid", 6.0f / 256, 128, 1.0f / 256, 0, INFINITY);
    Onnx__ModelProto *m = export(t, NULL), *all = export(t, &(bl_export_options){ .all_outputs = true });
    check_wires(m);
    check_wires(all);
    assert_int_equal(m->graph->n_node, 2); /* Q, DQ */
    assert_string_equal(behind(m, "y", "DequantizeLinear"), "x_quantized");
    assert_true(scalar(m, giver(m, "y")->input[1]) == 1.0f / 256);
    assert_string_equal(behind(all, "y_quantized", "Identity"), "x_quantized");
    assert_int_equal(all->graph->n_output, 3);
    assert_string_equal(all->graph->output[0]->name, "y"); /* what a reader takes for the answer */
    onnx__model_proto__free_unpacked(m, NULL);
    onnx__model_proto__free_unpacked(all, NULL);
    net_free(t);
}

/* No Swish in the file, which stays at the model's opset: x Sigmoid(alpha x) under the node's name. */
static void swish_by_sigmoid(void **state)
{
    (void)state;
    for (int form = 0; form < 4; form++) {
        net *t = gate("Swish", 0.05f, 100, 0.04f, 7, INFINITY);
        t->g.nodes[0].n_attr = 0; /* alpha: 1 */
        if (form % 2)
            set_attrs(t, &t->g.nodes[0], 1,
                      &(bl_attr){ .name = "alpha", .type = BL_ATTR_FLOAT, .f = 1.5f });
        Onnx__ModelProto *m = export(t, form < 2 ? NULL : &plain);
        check_wires(m);
        assert_int_equal(m->opset_import[0]->version, 13);
        assert_int_equal(count_ops(m, "Swish"), 0);
        assert_int_equal(count_ops(m, "Sigmoid"), 1);
        assert_int_equal(count_ops(m, "Mul"), 1 + form % 2);
        const Onnx__NodeProto *mul = giver(m, giver(m, giver(m, "y")->input[0])->input[0]);
        assert_string_equal(mul->op_type, "Mul");
        assert_string_equal(mul->input[0], "x_dequantized");
        const char *inner = behind(m, mul->input[1], "Sigmoid");
        if (form % 2) {
            assert_string_equal(behind(m, inner, "Mul"), "x_dequantized");
            assert_true(scalar(m, giver(m, inner)->input[1]) == 1.5f);
        } else {
            assert_string_equal(inner, "x_dequantized");
        }
        onnx__model_proto__free_unpacked(m, NULL);
        net_free(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(channels_to_four),
        cmocka_unit_test(channels_left_alone),
        cmocka_unit_test(gate_by_table),
        cmocka_unit_test(gate_by_name),
        cmocka_unit_test(swish_by_sigmoid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
