/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Operators on small cases computed by hand, and what their shape facets refuse.  Breadth is
 * test_conformance's; here stand the cases that ONNX's own data leaves out.
 */
#include "op_apply.h"

/* ------------------------------------------------------------------ table, types */

static void test_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < bl_n_ops; i++) {
        assert_ptr_equal(bl_op_find("", bl_ops[i]->name), bl_ops[i]);
        assert_ptr_equal(bl_op_find("ai.onnx", bl_ops[i]->name), bl_ops[i]);
        assert_non_null(bl_ops[i]->shape);
        assert_non_null(bl_ops[i]->forward);
        assert_true(bl_ops[i]->in_max >= bl_ops[i]->in_min && bl_ops[i]->out_max >= 1);
        assert_int_equal((bl_ops[i]->flags & BL_OP_UNARY) != 0, bl_ops[i]->unary != NULL);
        if (bl_ops[i]->flags & BL_OP_LAYER) assert_non_null(bl_ops[i]->macs);
    }
    assert_null(bl_op_find("", "Relu6"));
    assert_null(bl_op_find("com.microsoft", "Conv"));
    assert_int_equal(bl_dtype_bytes(BL_BF16), 2);
    assert_int_equal(bl_dtype_bytes((bl_dtype)14), 0);
    assert_string_equal(bl_dtype_name(BL_F32), "float32");
    assert_string_equal(bl_dtype_name((bl_dtype)99), "unknown type");
}

static void test_shape_text(void **state)
{
    fixture *f = *state;
    bl_tensor t = {DIMS(1, 3, 32, 32)}, scalar = {.rank = 0};
    assert_string_equal(bl_shape_text(f->arena, &t), "1x3x32x32");
    assert_string_equal(bl_shape_text(f->arena, &scalar), "scalar");
}

/* ------------------------------------------------------------------ layers */

static void test_conv(void **state)
{
    /* 3x3 ones over 1..9 with padding 1 above and left only */
    EXPECT(state, DIMS(1, 1, 2, 2), F32(12.5f, 21.5f, 27.5f, 45.5f), .op = "Conv", .opset = 13,
           .n = 3, .attr = {INTS("pads", 1, 1, 0, 0)},
           .in = {{DIMS(1, 1, 3, 3), F32(1, 2, 3, 4, 5, 6, 7, 8, 9)},
                  {DIMS(1, 1, 3, 3), F32(1, 1, 1, 1, 1, 1, 1, 1, 1)},
                  {DIMS(1), F32(0.5f)}});
    /* depthwise, dilation 2, stride 2, one dimension */
    EXPECT(state, DIMS(1, 2, 2), F32(4, 8, 50, 110), .op = "Conv", .opset = 13, .n = 2,
           .attr = {INT("group", 2), INTS("dilations", 2), INTS("strides", 2)},
           .in = {{DIMS(1, 2, 5), F32(1, 2, 3, 4, 5, 10, 20, 30, 40, 50)},
                  {DIMS(2, 1, 2), F32(1, 1, 2, 1)}});
    /* SAME_UPPER puts the odd column behind, SAME_LOWER in front */
    EXPECT(state, DIMS(1, 1, 2), F32(3, 7), .op = "Conv", .opset = 13, .n = 2,
           .attr = {STRING("auto_pad", "SAME_UPPER"), INTS("strides", 2)},
           .in = {{DIMS(1, 1, 4), F32(1, 2, 3, 4)}, {DIMS(1, 1, 2), F32(1, 1)}});
    EXPECT(state, DIMS(1, 1, 2), F32(1, 5), .op = "Conv", .opset = 13, .n = 2,
           .attr = {STRING("auto_pad", "SAME_LOWER"), INTS("strides", 2)},
           .in = {{DIMS(1, 1, 3), F32(1, 2, 3)}, {DIMS(1, 1, 2), F32(1, 1)}});
}

#define CONV_IN                                                                                    \
    {                                                                                              \
        {DIMS(1, 4, 5, 5), .type = BL_F32},                                                        \
        {                                                                                          \
            DIMS(6, 2, 3, 3), .type = BL_F32                                                       \
        }                                                                                          \
    }

static void test_conv_refuses(void **state)
{
    REFUSE(state, BL_DATA, "do not fit a weight", .op = "Conv", .opset = 13, .n = 2, .in = CONV_IN);
    REFUSE(state, BL_DATA, "group 4", .op = "Conv", .opset = 13, .n = 2, .attr = {INT("group", 4)},
           .in = CONV_IN);
    REFUSE(state, BL_DATA, "group 0", .op = "Conv", .opset = 13, .n = 2, .attr = {INT("group", 0)},
           .in = CONV_IN);
    REFUSE(state, BL_DATA, "strides", .op = "Conv", .opset = 13, .n = 2,
           .attr = {INT("group", 2), INTS("strides", 1, 0)}, .in = CONV_IN);
    REFUSE(state, BL_DATA, "strides", .op = "Conv", .opset = 13, .n = 2,
           .attr = {INT("group", 2), INTS("strides", 1)}, .in = CONV_IN);
    REFUSE(state, BL_DATA, "pads", .op = "Conv", .opset = 13, .n = 2,
           .attr = {INT("group", 2), INTS("pads", -1, 0, 0, 0)}, .in = CONV_IN);
    REFUSE(state, BL_DATA, "padded input", .op = "Conv", .opset = 13, .n = 2,
           .attr = {INT("group", 2), INTS("dilations", 3, 3)}, .in = CONV_IN);
    REFUSE(state, BL_DATA, "kernel_shape", .op = "Conv", .opset = 13, .n = 2,
           .attr = {INT("group", 2), INTS("kernel_shape", 3, 2)}, .in = CONV_IN);
    REFUSE(state, BL_DATA, "auto_pad", .op = "Conv", .opset = 13, .n = 2,
           .attr = {INT("group", 2), STRING("auto_pad", "SAME")}, .in = CONV_IN);
    REFUSE(state, BL_DATA, "wrong type", .op = "Conv", .opset = 13, .n = 2,
           .attr = {FLOAT("group", 2)}, .in = CONV_IN);
    REFUSE(state, BL_DATA, "bias", .op = "Conv", .opset = 13, .n = 3, .attr = {INT("group", 2)},
           .in = {{DIMS(1, 4, 5, 5), .type = BL_F32},
                  {DIMS(6, 2, 3, 3), .type = BL_F32},
                  {DIMS(5), .type = BL_F32}});
    REFUSE(state, BL_DATA, "takes 2 to 3", .op = "Conv", .opset = 13, .n = 1, .in = CONV_IN);
    REFUSE(state, BL_DATA, "input 1 is missing", .op = "Conv", .opset = 13, .n = 2, .in = CONV_IN,
           .absent = 2);
    REFUSE(state, BL_UNAVAILABLE, "uint8", .op = "Conv", .opset = 13, .n = 2,
           .in = {{DIMS(1, 4, 5, 5), .type = BL_U8}, {DIMS(6, 2, 3, 3), .type = BL_U8}});
    REFUSE(state, BL_UNAVAILABLE, "empty", .op = "Conv", .opset = 13, .n = 2,
           .in = {{DIMS(1, 0, 5, 5), .type = BL_F32}, {DIMS(6, 0, 3, 3), .type = BL_F32}});
}

static void test_gemm(void **state)
{
    EXPECT(state, DIMS(2, 2), F32(10, 22, 16, 36), .op = "Gemm", .opset = 13, .n = 3,
           .attr = {INT("transA", 1), INT("transB", 1), FLOAT("alpha", 2), FLOAT("beta", 0.5f)},
           .in = {{DIMS(2, 2), F32(1, 2, 2, 3)},
                  {DIMS(2, 2), F32(1, 2, 3, 4)},
                  {DIMS(2, 1), F32(0, 0)}});
    EXPECT(state, DIMS(1, 2), F32(8, 12), .op = "Gemm", .opset = 13, .n = 3,
           .in = {{DIMS(1, 2), F32(1, 2)}, {DIMS(2, 2), F32(1, 2, 3, 4)}, {DIMS(2), F32(1, 2)}});
    /* a stack of two matrices times a vector */
    EXPECT(state, DIMS(2, 2), F32(3, 7, 11, 15), .op = "MatMul", .opset = 13, .n = 2,
           .in = {{DIMS(2, 2, 2), F32(1, 2, 3, 4, 5, 6, 7, 8)}, {DIMS(2), F32(1, 1)}});
    /* batches 2x1 and 3 broadcast */
    EXPECT(state, DIMS(2, 3, 1, 1), F32(1, 2, 3, 10, 20, 30), .op = "MatMul", .opset = 13, .n = 2,
           .in = {{DIMS(2, 1, 1, 1), F32(1, 10)}, {DIMS(3, 1, 1), F32(1, 2, 3)}});
    REFUSE(state, BL_DATA, "inner sizes", .op = "MatMul", .opset = 13, .n = 2,
           .in = {{DIMS(2, 3), F32(0)}, {DIMS(2, 3), F32(0)}});
    REFUSE(state, BL_DATA, "does not broadcast", .op = "Gemm", .opset = 13, .n = 3,
           .in = {{DIMS(1, 2), F32(1, 2)}, {DIMS(2, 2), F32(0)}, {DIMS(3), F32(0)}});
}

static void test_macs(void **state)
{
    fixture *f = *state;
    bl_tensor x = {DIMS(2, 4, 8, 8), .type = BL_F32}, w = {DIMS(6, 2, 3, 3), .type = BL_F32}, y;
    const bl_tensor *in[] = {&x, &w};
    bl_attr attr[] = {INT("group", 2)};
    bl_node node = {.op = bl_op_find("", "Conv"),
                    .name = "n",
                    .opset = 13,
                    .n_in = 2,
                    .n_out = 1,
                    .in = (int[]){0, 1},
                    .out = (int[]){2},
                    .attr = attr,
                    .n_attr = 1};
    bl_call call = {.ctx = f->ctx,
                    .node = &node,
                    .n_in = 2,
                    .n_out = 1,
                    .in = in,
                    .out = &y,
                    .scratch = f->arena};
    assert_ok(f->ctx, node.op->shape(&call));
    assert_int_equal(node.op->macs(&call), 2 * 6 * 36 * 18);
}

/* ------------------------------------------------------------------ pools, normalisation */

static void test_pools(void **state)
{
    /* ceil_mode: a third window starts inside the input, and its divisor counts what is there */
    EXPECT(state, DIMS(1, 1, 3), F32(1.5f, 3.5f, 5), .op = "AveragePool", .opset = 13, .n = 1,
           .attr = {INTS("kernel_shape", 2), INTS("strides", 2), INT("ceil_mode", 1)},
           .in = {{DIMS(1, 1, 5), F32(1, 2, 3, 4, 5)}});
    EXPECT(state, DIMS(1, 1, 3), F32(0.5f, 2.5f, 2), .op = "AveragePool", .opset = 13, .n = 1,
           .attr = {INTS("kernel_shape", 2), INTS("strides", 2), INTS("pads", 1, 1),
                    INT("count_include_pad", 1)},
           .in = {{DIMS(1, 1, 4), F32(1, 2, 3, 4)}});
    EXPECT(state, DIMS(1, 1, 2), F32(-1, NAN), .op = "MaxPool", .opset = 13, .n = 1,
           .attr = {INTS("kernel_shape", 2), INTS("pads", 1, 0), INTS("strides", 2)},
           .in = {{DIMS(1, 1, 3), F32(-1, NAN, -3)}});
    EXPECT(state, DIMS(1, 2, 1, 1), F32(2.5f, -2), .op = "GlobalAveragePool", .opset = 13, .n = 1,
           .in = {{DIMS(1, 2, 2, 2), F32(1, 2, 3, 4, -1, -3, -2, -2)}});
    REFUSE(state, BL_DATA, "as wide as the kernel", .op = "MaxPool", .opset = 13, .n = 1,
           .attr = {INTS("kernel_shape", 2), INTS("pads", 2, 2)}, .in = {{DIMS(1, 1, 4), F32(0)}});
    EXPECT(state, DIMS(1, 1, 3), F32(2, 3, 3), .op = "MaxPool", .opset = 13, .n = 1, .outs = 2,
           .attr = {INTS("kernel_shape", 2)}, .in = {{DIMS(1, 1, 4), F32(1, 2, 3, 0)}});
    REFUSE(state, BL_UNAVAILABLE, "output 2", .op = "MaxPool", .opset = 13, .n = 1, .outs = 3,
           .attr = {INTS("kernel_shape", 2)}, .in = {{DIMS(1, 1, 4), F32(0)}});
    REFUSE(state, BL_DATA, "kernel_shape", .op = "MaxPool", .opset = 13, .n = 1,
           .in = {{DIMS(1, 1, 4), F32(0)}});
}

static void test_batch_normalization(void **state)
{
    EXPECT(state, DIMS(1, 2, 1), F32(3, -4), .op = "BatchNormalization", .opset = 13, .n = 5,
           .attr = {FLOAT("epsilon", 0)},
           .in = {{DIMS(1, 2, 1), F32(5, 1)},
                  {DIMS(2), F32(2, 3)},
                  {DIMS(2), F32(1, 2)},
                  {DIMS(2), F32(3, 5)},
                  {DIMS(2), F32(4, 4)}});
    REFUSE(state, BL_DATA, "channels", .op = "BatchNormalization", .opset = 13, .n = 5,
           .in = {{DIMS(1, 2, 1), F32(5, 1)},
                  {DIMS(2), F32(2, 3)},
                  {DIMS(3), F32(1, 2, 0)},
                  {DIMS(2), F32(3, 5)},
                  {DIMS(2), F32(4, 4)}});
    REFUSE(state, BL_UNAVAILABLE, "training_mode", .op = "BatchNormalization", .opset = 14, .n = 5,
           .attr = {INT("training_mode", 1)},
           .in = {{DIMS(1, 1, 1), F32(5)},
                  {DIMS(1), F32(2)},
                  {DIMS(1), F32(1)},
                  {DIMS(1), F32(3)},
                  {DIMS(1), F32(4)}});
}

/* ------------------------------------------------------------------ elementwise */

static void test_broadcast(void **state)
{
    EXPECT(state, DIMS(2, 3), F32(11, 21, 31, 12, 22, 32), .op = "Add", .opset = 13, .n = 2,
           .in = {{DIMS(2, 1), F32(1, 2)}, {DIMS(3), F32(10, 20, 30)}});
    EXPECT(state, DIMS(1, 2, 2), F32(2, 4, 30, 40), .op = "Mul", .opset = 13, .n = 2,
           .in = {{DIMS(1, 2, 2), F32(1, 2, 3, 4)}, {DIMS(1, 2, 1), F32(2, 10)}});
    /* opset 6: axis 0 lays the vector under the rows */
    EXPECT(state, DIMS(2, 2), F32(0, 1, 1, 2), .op = "Sub", .opset = 6, .n = 2,
           .attr = {INT("broadcast", 1), INT("axis", 0)},
           .in = {{DIMS(2, 2), F32(1, 2, 3, 4)}, {DIMS(2), F32(1, 2)}});
    EXPECT(state, DIMS(3), I64(-2, INT64_MIN, 3), .op = "Div", .opset = 13, .n = 2,
           .in = {{DIMS(3), I64(-7, INT64_MIN, 7)}, {DIMS(3), I64(3, -1, 2)}});
    EXPECT(state, DIMS(2), I64(INT64_MIN, -2), .op = "Add", .opset = 13, .n = 2,
           .in = {{DIMS(2), I64(INT64_MAX, -1)}, {DIMS(2), I64(1, -1)}});
    REFUSE(state, BL_DATA, "divided by zero", .op = "Div", .opset = 13, .n = 2,
           .in = {{DIMS(1), I64(1)}, {DIMS(1), I64(0)}});
    REFUSE(state, BL_DATA, "do not broadcast", .op = "Add", .opset = 13, .n = 2,
           .in = {{DIMS(2), F32(1, 2)}, {DIMS(3), F32(1, 2, 3)}});
    REFUSE(state, BL_DATA, "has type int64", .op = "Add", .opset = 13, .n = 2,
           .in = {{DIMS(1), F32(1)}, {DIMS(1), I64(1)}});
}

static void test_where(void **state)
{
    EXPECT(state, DIMS(2, 2), F32(1, 20, 1, 40), .op = "Where", .opset = 13, .n = 3,
           .in = {{DIMS(2), .type = BL_BOOL, .data = (uint8_t[]){1, 0}},
                  {DIMS(1), F32(1)},
                  {DIMS(2, 2), F32(10, 20, 30, 40)}});
}

static void test_activations(void **state)
{
    const float sixth = 1.0f / 6.0f;
    EXPECT(state, DIMS(3), F32(0, NAN, 2), .op = "Relu", .opset = 13, .n = 1,
           .in = {{DIMS(3), F32(-1, NAN, 2)}});
    EXPECT(state, DIMS(3), F32(-1, 0, 6), .op = "Clip", .opset = 6, .n = 1,
           .attr = {FLOAT("min", -1), FLOAT("max", 6)}, .in = {{DIMS(3), F32(-5, 0, 7)}});
    EXPECT(state, DIMS(3), F32(-5, 0, 6), .op = "Clip", .opset = 13, .n = 3, .absent = 2,
           .in = {{DIMS(3), F32(-5, 0, 7)}, {.rank = 0, F32(0)}, {.rank = 0, F32(6)}});
    EXPECT(state, DIMS(3), F32(0, 1 * (sixth * 1 + 0.5f), 4), .op = "HardSwish", .opset = 14,
           .n = 1, .in = {{DIMS(3), F32(-4, 1, 4)}});
    EXPECT(state, DIMS(2), F32(-0.5f, 2), .op = "LeakyRelu", .opset = 13, .n = 1,
           .attr = {FLOAT("alpha", 0.25f)}, .in = {{DIMS(2), F32(-2, 2)}});
    REFUSE(state, BL_DATA, "not one number", .op = "Clip", .opset = 13, .n = 2,
           .in = {{DIMS(3), F32(-5, 0, 7)}, {DIMS(2), F32(0, 1)}});
}

/* The unary facet is the forward facet, rounded. */
static void test_unary_facets(void **state)
{
    static const float points[] = {-3.7f, -1, -0.3f, 0, 0.4f, 0.9f, 2.6f, 7};
    fixture *f = *state;
    for (size_t i = 0; i < bl_n_ops; i++) {
        const bl_op *op = bl_ops[i];
        bl_tensor x = {DIMS(8), .type = BL_F32, .data = (void *)points}, y = {0};
        const bl_tensor *in[] = {&x};
        bl_node node = {.op = op,
                        .name = "n",
                        .opset = 13,
                        .n_in = 1,
                        .n_out = 1,
                        .in = (int[]){0},
                        .out = (int[]){1},
                        .lo = -INFINITY,
                        .hi = INFINITY};
        bl_call call = {.ctx = f->ctx,
                        .node = &node,
                        .n_in = 1,
                        .n_out = 1,
                        .in = in,
                        .out = &y,
                        .scratch = f->arena};
        if (!op->unary) continue;
        assert_ok(f->ctx, op->shape(&call));
        y.data = bl_alloc(f->arena, 8, sizeof(float));
        assert_ok(f->ctx, op->forward(&call));
        for (int k = 0; k < 8; k++) {
            float a = ((float *)y.data)[k], b = (float)op->unary(&node, points[k]);
            if (!(a == b || (isnan(a) && isnan(b))))
                fail_msg("%s(%g)", op->name, (double)points[k]);
        }
    }
}

static void test_softmax(void **state)
{
    /* one row of four before opset 13, two rows of two since */
    EXPECT(state, DIMS(1, 2, 2), F32(0.25f, 0.25f, 0.25f, 0.25f), .op = "Softmax", .opset = 11,
           .n = 1, .in = {{DIMS(1, 2, 2), F32(3, 3, 3, 3)}});
    EXPECT(state, DIMS(1, 2, 2), F32(0.5f, 0.5f, 0.5f, 0.5f), .op = "Softmax", .opset = 13, .n = 1,
           .in = {{DIMS(1, 2, 2), F32(3, 3, 200, 200)}});
    REFUSE(state, BL_DATA, "axis 3", .op = "Softmax", .opset = 13, .n = 1, .attr = {INT("axis", 3)},
           .in = {{DIMS(1, 2, 2), F32(0)}});
}

static void test_quantize(void **state)
{
    /* [Q1], the first small vector of docs/arithmetic.md */
    EXPECT(state, DIMS(11), U8(128, 130, 130, 132, 128, 126, 254, 255, 255, 0, 0),
           .op = "QuantizeLinear", .opset = 13, .n = 3,
           .in = {{DIMS(11),
                   F32(.05f, .15f, .25f, .35f, -.05f, -.15f, 12.65f, 12.75f, 1e30f, -1e30f, NAN)},
                  {.rank = 0, F32(0.1f)},
                  {.rank = 0, U8(128)}});
    EXPECT(state, DIMS(2, 2), F32(-1, 1, -0.5f, 0.5f), .op = "DequantizeLinear", .opset = 13,
           .n = 3, .attr = {INT("axis", 0)},
           .in = {{DIMS(2, 2), .type = BL_I8, .data = (int8_t[]){-2, 2, 0, 4}},
                  {DIMS(2), F32(0.5f, 0.25f)},
                  {DIMS(2), .type = BL_I8, .data = (int8_t[]){0, 2}}});
    REFUSE(state, BL_DATA, "2 scales for 3 channels", .op = "DequantizeLinear", .opset = 13, .n = 2,
           .in = {{DIMS(1, 3), .type = BL_I8}, {DIMS(2), F32(1, 1)}});
    REFUSE(state, BL_DATA, "zero point", .op = "DequantizeLinear", .opset = 13, .n = 3,
           .in = {{DIMS(2, 2), .type = BL_I8}, {DIMS(2), F32(1, 1)}, {DIMS(1), .type = BL_I8}});
    REFUSE(state, BL_UNAVAILABLE, "int64", .op = "DequantizeLinear", .opset = 13, .n = 2,
           .in = {{DIMS(1), I64(1)}, {.rank = 0, F32(1)}});
}

static void test_resize(void **state)
{
    EXPECT(state, DIMS(1, 1, 4), F32(1, 1, 2, 2), .op = "Resize", .opset = 13, .n = 3, .absent = 2,
           .in = {{DIMS(1, 1, 2), F32(1, 2)}, {.rank = 0}, {DIMS(3), F32(1, 1, 2)}});
    EXPECT(state, DIMS(1, 1, 4), F32(1, 1.25f, 1.75f, 2), .op = "Resize", .opset = 13, .n = 4,
           .absent = 6, .attr = {STRING("mode", "linear")},
           .in = {{DIMS(1, 1, 2), F32(1, 2)}, {.rank = 0}, {.rank = 0}, {DIMS(3), I64(1, 1, 4)}});
    REFUSE(state, BL_DATA, "scale -1", .op = "Resize", .opset = 13, .n = 3, .absent = 2,
           .in = {{DIMS(1, 1, 2), F32(1, 2)}, {.rank = 0}, {DIMS(3), F32(1, 1, -1)}});
    REFUSE(state, BL_DATA, "3 dimensions", .op = "Resize", .opset = 13, .n = 3, .absent = 2,
           .in = {{DIMS(1, 1, 2), F32(1, 2)}, {.rank = 0}, {DIMS(2), F32(1, 1)}});
    REFUSE(state, BL_DATA, "region", .op = "Resize", .opset = 13, .n = 3, .absent = 2,
           .attr = {STRING("coordinate_transformation_mode", "tf_crop_and_resize")},
           .in = {{DIMS(1, 1, 2), F32(1, 2)}, {.rank = 0}, {DIMS(3), F32(1, 1, 2)}});
    REFUSE(state, BL_UNAVAILABLE, "spiral", .op = "Resize", .opset = 13, .n = 3, .absent = 2,
           .attr = {STRING("coordinate_transformation_mode", "spiral")},
           .in = {{DIMS(1, 1, 2), F32(1, 2)}, {.rank = 0}, {DIMS(3), F32(1, 1, 2)}});
}

static void test_conv_transpose(void **state)
{
    EXPECT(state, DIMS(1, 1, 5), F32(1, 10, 102, 20, 200), .op = "ConvTranspose", .opset = 13,
           .n = 2, .attr = {INTS("strides", 2)},
           .in = {{DIMS(1, 1, 2), F32(1, 2)}, {DIMS(1, 1, 3), F32(1, 10, 100)}});
    REFUSE(state, BL_DATA, "do not fit", .op = "ConvTranspose", .opset = 13, .n = 2,
           .in = {{DIMS(1, 2, 2), F32(0)}, {DIMS(1, 1, 3), F32(0)}});
    REFUSE(state, BL_DATA, "out of range", .op = "ConvTranspose", .opset = 13, .n = 2,
           .attr = {INTS("strides", 0)}, .in = {{DIMS(1, 1, 2), F32(0)}, {DIMS(1, 1, 3), F32(0)}});
    REFUSE(state, BL_DATA, "would be -", .op = "ConvTranspose", .opset = 13, .n = 2,
           .attr = {INTS("pads", 4, 4)}, .in = {{DIMS(1, 1, 2), F32(0)}, {DIMS(1, 1, 3), F32(0)}});
}

/* ------------------------------------------------------------------ moving */

static void test_reshape(void **state)
{
    EXPECT(state, DIMS(2, 3), F32(1, 2, 3, 4, 5, 6), .op = "Reshape", .opset = 13, .n = 2,
           .in = {{DIMS(2, 1, 3), F32(1, 2, 3, 4, 5, 6)}, {DIMS(2), I64(0, -1)}});
    REFUSE(state, BL_DATA, "do not fill", .op = "Reshape", .opset = 13, .n = 2,
           .in = {{DIMS(2, 3), F32(0)}, {DIMS(2), I64(4, -1)}});
    REFUSE(state, BL_DATA, "new dimension 1", .op = "Reshape", .opset = 13, .n = 2,
           .in = {{DIMS(2, 3), F32(0)}, {DIMS(2), I64(-1, -1)}});
    REFUSE(state, BL_DATA, "new dimension", .op = "Reshape", .opset = 13, .n = 2,
           .in = {{DIMS(2, 3), F32(0)}, {DIMS(3), I64(INT64_MAX, INT64_MAX, 4)}});
    REFUSE(state, BL_UNAVAILABLE, "must be known", .op = "Reshape", .opset = 13, .n = 2,
           .in = {{DIMS(2, 3), F32(0)}, {DIMS(2), .type = BL_I64}});
    REFUSE(state, BL_DATA, "at most 8", .op = "Reshape", .opset = 13, .n = 2,
           .in = {{DIMS(2, 3), F32(0)}, {DIMS(9), I64(6, 1, 1, 1, 1, 1, 1, 1, 1)}});
}

static void test_transpose(void **state)
{
    EXPECT(state, DIMS(3, 1, 2), F32(1, 4, 2, 5, 3, 6), .op = "Transpose", .opset = 13, .n = 1,
           .attr = {INTS("perm", 2, 1, 0)}, .in = {{DIMS(2, 1, 3), F32(1, 2, 3, 4, 5, 6)}});
    EXPECT(state, DIMS(3, 2), F32(1, 4, 2, 5, 3, 6), .op = "Transpose", .opset = 13, .n = 1,
           .in = {{DIMS(2, 3), F32(1, 2, 3, 4, 5, 6)}});
    REFUSE(state, BL_DATA, "permutation", .op = "Transpose", .opset = 13, .n = 1,
           .attr = {INTS("perm", 1, 1)}, .in = {{DIMS(2, 3), F32(0)}});
    REFUSE(state, BL_DATA, "permutation", .op = "Transpose", .opset = 13, .n = 1,
           .attr = {INTS("perm", 0)}, .in = {{DIMS(2, 3), F32(0)}});
}

static void test_slice(void **state)
{
    /* every second row backwards, then columns 1.. with an end far out */
    EXPECT(state, DIMS(2, 2), F32(8, 9, 2, 3), .op = "Slice", .opset = 13, .n = 5,
           .in = {{DIMS(3, 3), F32(1, 2, 3, 4, 5, 6, 7, 8, 9)},
                  {DIMS(2), I64(-1, 1)},
                  {DIMS(2), I64(INT64_MIN, INT64_MAX)},
                  {DIMS(2), I64(0, -1)},
                  {DIMS(2), I64(-2, 1)}});
    EXPECT(state, DIMS(1, 1), F32(4), .op = "Slice", .opset = 9, .n = 1,
           .attr = {INTS("starts", 1), INTS("ends", 2)}, .in = {{DIMS(3, 1), F32(1, 4, 7)}});
    EXPECT(state, DIMS(1), F32(2), .op = "Slice", .opset = 13, .n = 5,
           .in = {{DIMS(3), F32(1, 2, 3)},
                  {DIMS(1), I64(1)},
                  {DIMS(1), I64(INT64_MIN)},
                  {DIMS(1), I64(0)},
                  {DIMS(1), I64(INT64_MIN)}});
    REFUSE(state, BL_UNAVAILABLE, "would be 0", .op = "Slice", .opset = 13, .n = 3,
           .in = {{DIMS(3), F32(0)}, {DIMS(1), I64(2)}, {DIMS(1), I64(2)}});
    REFUSE(state, BL_DATA, "step 0", .op = "Slice", .opset = 13, .n = 5,
           .in = {{DIMS(3), F32(0)},
                  {DIMS(1), I64(0)},
                  {DIMS(1), I64(2)},
                  {DIMS(1), I64(0)},
                  {DIMS(1), I64(0)}});
    REFUSE(state, BL_DATA, "go together", .op = "Slice", .opset = 13, .n = 3,
           .in = {{DIMS(3), F32(0)}, {DIMS(1), I64(0)}, {DIMS(2), I64(2, 2)}});
    REFUSE(state, BL_DATA, "axis 1", .op = "Slice", .opset = 13, .n = 4,
           .in = {{DIMS(3), F32(0)}, {DIMS(1), I64(0)}, {DIMS(1), I64(2)}, {DIMS(1), I64(1)}});
}

static void test_pad(void **state)
{
    EXPECT(state, DIMS(1, 4), F32(9, 1, 2, 9), .op = "Pad", .opset = 13, .n = 3,
           .in = {{DIMS(1, 2), F32(1, 2)}, {DIMS(4), I64(0, 1, 0, 1)}, {.rank = 0, F32(9)}});
    EXPECT(state, DIMS(2, 5), F32(3, 2, 1, 2, 3, 6, 5, 4, 5, 6), .op = "Pad", .opset = 13, .n = 2,
           .attr = {STRING("mode", "reflect")},
           .in = {{DIMS(2, 3), F32(1, 2, 3, 4, 5, 6)}, {DIMS(4), I64(0, 2, 0, 0)}});
    EXPECT(state, DIMS(3, 3), F32(1, 2, 2, 3, 4, 4, 3, 4, 4), .op = "Pad", .opset = 13, .n = 2,
           .attr = {STRING("mode", "edge")},
           .in = {{DIMS(2, 2), F32(1, 2, 3, 4)}, {DIMS(4), I64(0, 0, 1, 1)}});
    /* a negative pad cuts */
    EXPECT(state, DIMS(2), F32(2, 0), .op = "Pad", .opset = 10, .n = 1,
           .attr = {INTS("pads", -1, 1)}, .in = {{DIMS(2), F32(1, 2)}});
    REFUSE(state, BL_DATA, "pads 2", .op = "Pad", .opset = 13, .n = 2,
           .attr = {STRING("mode", "reflect")}, .in = {{DIMS(2), F32(1, 2)}, {DIMS(2), I64(2, 0)}});
    REFUSE(state, BL_DATA, "pads", .op = "Pad", .opset = 13, .n = 2,
           .attr = {STRING("mode", "edge")}, .in = {{DIMS(2), F32(1, 2)}, {DIMS(2), I64(-2, 3)}});
    REFUSE(state, BL_DATA, "3 pads", .op = "Pad", .opset = 13, .n = 2,
           .in = {{DIMS(2), F32(1, 2)}, {DIMS(3), I64(0, 0, 0)}});
    REFUSE(state, BL_UNAVAILABLE, "wrap", .op = "Pad", .opset = 19, .n = 2,
           .attr = {STRING("mode", "wrap")}, .in = {{DIMS(2), F32(1, 2)}, {DIMS(2), I64(1, 1)}});
}

static void test_concat_split(void **state)
{
    bl_tensor out[8] = {0};
    fixture *f = *state;
    EXPECT(state, DIMS(2, 3), F32(1, 2, 5, 3, 4, 6), .op = "Concat", .opset = 13, .n = 2,
           .attr = {INT("axis", -1)},
           .in = {{DIMS(2, 2), F32(1, 2, 3, 4)}, {DIMS(2, 1), F32(5, 6)}});
    REFUSE(state, BL_DATA, "do not join", .op = "Concat", .opset = 13, .n = 2,
           .attr = {INT("axis", 0)}, .in = {{DIMS(2, 2), F32(0)}, {DIMS(2, 1), F32(0)}});
    assert_ok(f->ctx,
              apply(f,
                    &(subject){.op = "Split",
                               .opset = 13,
                               .n = 2,
                               .outs = 2,
                               .attr = {INT("axis", 1)},
                               .in = {{DIMS(2, 3), F32(1, 2, 3, 4, 5, 6)}, {DIMS(2), I64(1, 2)}}},
                    out));
    assert_memory_equal(out[0].data, ((float[]){1, 4}), 8);
    assert_memory_equal(out[1].data, ((float[]){2, 3, 5, 6}), 16);
    REFUSE(state, BL_DATA, "make up", .op = "Split", .opset = 13, .n = 2, .outs = 2,
           .in = {{DIMS(4), F32(0)}, {DIMS(2), I64(1, 2)}});
    REFUSE(state, BL_DATA, "into 3 parts", .op = "Split", .opset = 13, .n = 1, .outs = 3,
           .in = {{DIMS(4), F32(0)}});
}

static void test_shape_chain(void **state)
{
    EXPECT(state, DIMS(2), I64(3, 4), .op = "Shape", .opset = 15, .n = 1,
           .attr = {INT("start", 1), INT("end", 100)}, .in = {{DIMS(2, 3, 4), .type = BL_F32}});
    EXPECT(state, DIMS(2), I64(3, 1), .op = "Gather", .opset = 13, .n = 2,
           .in = {{DIMS(3), I64(1, 2, 3)}, {DIMS(2), I64(-1, 0)}});
    EXPECT(state, DIMS(2, 1, 2), F32(2, 1, 4, 3), .op = "Gather", .opset = 13, .n = 2,
           .attr = {INT("axis", 1)},
           .in = {{DIMS(2, 2), F32(1, 2, 3, 4)}, {DIMS(1, 2), I64(1, 0)}});
    REFUSE(state, BL_DATA, "outside of 3", .op = "Gather", .opset = 13, .n = 2,
           .in = {{DIMS(3), I64(1, 2, 3)}, {DIMS(1), I64(3)}});
    EXPECT(state, DIMS(1, 2, 1), F32(1, 2), .op = "Unsqueeze", .opset = 13, .n = 2,
           .in = {{DIMS(2), F32(1, 2)}, {DIMS(2), I64(0, -1)}});
    REFUSE(state, BL_DATA, "given twice", .op = "Unsqueeze", .opset = 13, .n = 2,
           .in = {{DIMS(2), F32(1, 2)}, {DIMS(2), I64(0, -3)}});
    REFUSE(state, BL_DATA, "not 1", .op = "Squeeze", .opset = 11, .n = 1, .attr = {INTS("axes", 1)},
           .in = {{DIMS(1, 2), F32(1, 2)}});
    EXPECT(state, DIMS(3), I64(5, 3, 1), .op = "Range", .opset = 13, .n = 3,
           .in = {{.rank = 0, I64(5)}, {.rank = 0, I64(0)}, {.rank = 0, I64(-2)}});
    REFUSE(state, BL_DATA, "range", .op = "Range", .opset = 13, .n = 3,
           .in = {{.rank = 0, I64(5)}, {.rank = 0, I64(0)}, {.rank = 0, I64(0)}});
    EXPECT(state, DIMS(4), I64(-2, 0, INT64_MAX, 0), .op = "Cast", .opset = 13, .n = 1,
           .attr = {INT("to", BL_I64)}, .in = {{DIMS(4), F32(-2.9f, 0.5f, INFINITY, NAN)}});
    EXPECT(state, DIMS(1), F32(16777216), .op = "Cast", .opset = 13, .n = 1,
           .attr = {INT("to", BL_F32)}, .in = {{DIMS(1), I64(16777217)}});
    REFUSE(state, BL_UNAVAILABLE, "string", .op = "Cast", .opset = 13, .n = 1,
           .attr = {INT("to", BL_STRING)}, .in = {{DIMS(1), F32(1)}});
    EXPECT(state, DIMS(2, 2), I64(7, 7, 7, 7), .op = "ConstantOfShape", .opset = 13, .n = 1,
           .attr = {{.name = "value", .type = BL_ATTR_TENSOR, .t = {DIMS(1), I64(7)}}},
           .in = {{DIMS(2), I64(2, 2)}});
    REFUSE(state, BL_DATA, "too large", .op = "ConstantOfShape", .opset = 13, .n = 1,
           .in = {{DIMS(3), I64(1 << 30, 1 << 30, 1 << 30)}});
}

static void test_expand_tile(void **state)
{
    EXPECT(state, DIMS(2, 2, 2), F32(1, 1, 2, 2, 1, 1, 2, 2), .op = "Expand", .opset = 13, .n = 2,
           .in = {{DIMS(2, 1), F32(1, 2)}, {DIMS(3), I64(2, 1, 2)}});
    EXPECT(state, DIMS(4, 4), F32(1, 2, 1, 2, 3, 4, 3, 4, 1, 2, 1, 2, 3, 4, 3, 4), .op = "Tile",
           .opset = 13, .n = 2, .in = {{DIMS(2, 2), F32(1, 2, 3, 4)}, {DIMS(2), I64(2, 2)}});
    REFUSE(state, BL_DATA, "repeat", .op = "Tile", .opset = 13, .n = 2,
           .in = {{DIMS(2), F32(1, 2)}, {DIMS(1), I64(INT64_MAX)}});
}

static void test_reduce(void **state)
{
    EXPECT(state, DIMS(2, 1), F32(2, 5), .op = "ReduceMean", .opset = 13, .n = 1,
           .attr = {INTS("axes", -1)}, .in = {{DIMS(2, 3), F32(1, 2, 3, 4, 5, 6)}});
    EXPECT(state, DIMS(3), F32(5, 7, 9), .op = "ReduceSum", .opset = 13, .n = 2,
           .attr = {INT("keepdims", 0)},
           .in = {{DIMS(2, 3), F32(1, 2, 3, 4, 5, 6)}, {DIMS(1), I64(0)}});
    EXPECT(state, .rank = 0, F32(6), .op = "ReduceMax", .opset = 13, .n = 1,
           .attr = {INT("keepdims", 0)}, .in = {{DIMS(2, 3), F32(1, 2, 3, 4, 5, 6)}});
    EXPECT(state, DIMS(1), I64(2), .op = "ArgMax", .opset = 13, .n = 1,
           .attr = {INT("keepdims", 0), INT("axis", 1)}, .in = {{DIMS(1, 3), F32(1, 2, 3)}});
    REFUSE(state, BL_DATA, "axis 2", .op = "ReduceMean", .opset = 13, .n = 1,
           .attr = {INTS("axes", 2)}, .in = {{DIMS(2, 3), F32(0)}});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_table, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shape_text, setup, teardown),
        cmocka_unit_test_setup_teardown(test_conv, setup, teardown),
        cmocka_unit_test_setup_teardown(test_conv_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gemm, setup, teardown),
        cmocka_unit_test_setup_teardown(test_macs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pools, setup, teardown),
        cmocka_unit_test_setup_teardown(test_batch_normalization, setup, teardown),
        cmocka_unit_test_setup_teardown(test_broadcast, setup, teardown),
        cmocka_unit_test_setup_teardown(test_where, setup, teardown),
        cmocka_unit_test_setup_teardown(test_activations, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unary_facets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_softmax, setup, teardown),
        cmocka_unit_test_setup_teardown(test_quantize, setup, teardown),
        cmocka_unit_test_setup_teardown(test_resize, setup, teardown),
        cmocka_unit_test_setup_teardown(test_conv_transpose, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reshape, setup, teardown),
        cmocka_unit_test_setup_teardown(test_transpose, setup, teardown),
        cmocka_unit_test_setup_teardown(test_slice, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pad, setup, teardown),
        cmocka_unit_test_setup_teardown(test_concat_split, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shape_chain, setup, teardown),
        cmocka_unit_test_setup_teardown(test_expand_tile, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reduce, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
