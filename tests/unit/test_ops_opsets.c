/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What changed its meaning between opsets, and forms newer than ONNX's data that Debian has (opset
 * 17): codes of 4 bits, blocks of scales, axes of Resize, antialiasing, newer normalisations.
 */
#include "op_apply.h"

#define CODES(kind, ...)                                                                           \
    .type = kind, .data = (int8_t[])                                                               \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }
#define I32(...)                                                                                   \
    .type = BL_I32, .data = (int32_t[])                                                            \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }
#define FLOATS(text, ...)                                                                          \
    {                                                                                              \
        .name = text, .type = BL_ATTR_FLOATS,                                                      \
        .n = sizeof((float[]){__VA_ARGS__}) / sizeof(float), .floats = (float[])                   \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }

/* ------------------------------------------------------------------ codes */

static void four_bits(void **state)
{
    EXPECT(state, DIMS(4), CODES(BL_I4, -8, 7, 2, -2), .op = "QuantizeLinear", .opset = 21, .n = 3,
           .in = {{DIMS(4), F32(-100, 100, 1, -1)}, {F32(0.5f)}, {CODES(BL_I4, 0)}});
    EXPECT(state, DIMS(3), CODES(BL_U4, 0, 15, 9), .op = "QuantizeLinear", .opset = 21, .n = 2,
           .attr = {INT("output_dtype", BL_U4)},
           .in = {{DIMS(3), F32(-1, 100, 9.25f)}, {F32(1)}});
    EXPECT(state, DIMS(3), CODES(BL_I2, -2, 1, 0), .op = "QuantizeLinear", .opset = 25, .n = 2,
           .attr = {INT("output_dtype", BL_I2)}, .in = {{DIMS(3), F32(-9, 9, 0.5f)}, {F32(1)}});
    EXPECT(state, DIMS(2), F32(-4.5f, 3), .op = "DequantizeLinear", .opset = 21, .n = 3,
           .in = {{DIMS(2), CODES(BL_I4, -8, 7)}, {F32(0.5f)}, {CODES(BL_I4, 1)}});
    REFUSE(state, BL_DATA, "output_dtype differs", .op = "QuantizeLinear", .opset = 21, .n = 3,
           .attr = {INT("output_dtype", BL_U4)},
           .in = {{DIMS(1), F32(1)}, {F32(1)}, {CODES(BL_I4, 0)}});
    REFUSE(state, BL_UNAVAILABLE, "precision", .op = "QuantizeLinear", .opset = 23, .n = 2,
           .attr = {INT("precision", BL_F16)}, .in = {{DIMS(1), F32(1)}, {F32(1)}});
    REFUSE(state, BL_UNAVAILABLE, "output_dtype", .op = "DequantizeLinear", .opset = 23, .n = 2,
           .attr = {INT("output_dtype", BL_F16)},
           .in = {{DIMS(1), CODES(BL_I8, 1)}, {F32(1)}});
}

/* Scales for each two neighbours of axis 1; the last block of five is short. */
static void blocks_of_scales(void **state)
{
    EXPECT(state, DIMS(2, 5), F32(1, 2, 30, 40, 500, 2, 4, 60, 80, 1000), .op = "DequantizeLinear",
           .opset = 21, .n = 2, .attr = {INT("axis", 1), INT("block_size", 2)},
           .in = {{DIMS(2, 5), CODES(BL_I8, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5)},
                  {DIMS(2, 3), F32(1, 10, 100, 2, 20, 200)}});
    EXPECT(state, DIMS(4, 2), CODES(BL_U8, 1, 1, 1, 1, 2, 3, 2, 3), .op = "QuantizeLinear",
           .opset = 21, .n = 3, .attr = {INT("axis", 0), INT("block_size", 2)},
           .in = {{DIMS(4, 2), F32(1, 10, 1, 10, 1, 20, 1, 20)},
                  {DIMS(2, 2), F32(1, 10, 1, 10)},
                  {DIMS(2, 2), CODES(BL_U8, 0, 0, 1, 1)}});
    REFUSE(state, BL_DATA, "do not fit", .op = "DequantizeLinear", .opset = 21, .n = 2,
           .attr = {INT("axis", 1), INT("block_size", 2)},
           .in = {{DIMS(1, 5), CODES(BL_I8, 1, 2, 3, 4, 5)}, {DIMS(1, 2), F32(1, 10)}});
    REFUSE(state, BL_DATA, "block_size", .op = "DequantizeLinear", .opset = 21, .n = 2,
           .in = {{DIMS(1, 2), CODES(BL_I8, 1, 2)}, {DIMS(1, 2), F32(1, 10)}});
}

static void products_of_codes(void **state)
{
    EXPECT(state, DIMS(1, 1, 2), I32(-3, 6), .op = "ConvInteger", .opset = 10, .n = 4,
           .in = {{DIMS(1, 1, 3), U8(1, 2, 5)},
                  {DIMS(1, 1, 2), CODES(BL_I8, 1, 4)},
                  {U8(3)},
                  {CODES(BL_I8, 1)}});
    /* Bias 10, accumulators 13 and 19, times 0.5 * 1 / 2: 3.25 and 4.75, on zero 100. */
    EXPECT(state, DIMS(1, 1, 2), U8(103, 105), .op = "QLinearConv", .opset = 10, .n = 9,
           .in = {{DIMS(1, 1, 2), U8(1, 3)}, {F32(0.5f)}, {U8(0)},
                  {DIMS(1, 1, 1), CODES(BL_I8, 3)}, {F32(1)}, {CODES(BL_I8, 0)},
                  {F32(2)}, {U8(100)}, {DIMS(1), I32(10)}});
    EXPECT(state, DIMS(2, 2), I32(3, 0, 24, -3), .op = "MatMulInteger", .opset = 10, .n = 4,
           .in = {{DIMS(2, 2), U8(1, 2, 3, 4)},
                  {DIMS(2, 2), CODES(BL_I8, 4, 1, 3, 2)},
                  {DIMS(2), U8(1, 0)},
                  {DIMS(2), CODES(BL_I8, 0, 2)}});
    REFUSE(state, BL_UNAVAILABLE, "one or 2 numbers", .op = "MatMulInteger", .opset = 10, .n = 3,
           .in = {{DIMS(2, 2), U8(1, 2, 3, 4)}, {DIMS(2, 2), CODES(BL_I8, 4, 1, 3, 2)},
                  {DIMS(3), U8(1, 0, 0)}});
    REFUSE(state, BL_DATA, "inner sizes", .op = "MatMulInteger", .opset = 10, .n = 2,
           .in = {{DIMS(2, 2), U8(1, 2, 3, 4)}, {DIMS(1, 2), U8(1, 2)}});
}

/* ------------------------------------------------------------------ Resize, Upsample */

static void resize_forms(void **state)
{
    /* axes: one size for the last dimension alone */
    EXPECT(state, DIMS(2, 4), F32(1, 1, 2, 2, 3, 3, 4, 4), .op = "Resize", .opset = 18, .n = 4,
           .absent = 6, .attr = {INTS("axes", 1)},
           .in = {{DIMS(2, 2), F32(1, 2, 3, 4)}, {0}, {0}, {DIMS(1), I64(4)}});
    /* halving with a hat twice as wide: weights 1 3 3 1 over 8, the border repeated */
    EXPECT(state, DIMS(2), F32(4, 8), .op = "Resize", .opset = 18, .n = 3, .absent = 2,
           .attr = {STRING("mode", "linear"), INT("antialias", 1)},
           .in = {{DIMS(4), F32(0, 8, 8, 8)}, {0}, {DIMS(1), F32(0.5f)}});
    /* not_larger: 4 would be 2.0, 2 would be 1.5: 1.5 for both, 3 x 3 */
    EXPECT(state, DIMS(3, 3), F32(1, 1, 2, 1, 1, 2, 3, 3, 4), .op = "Resize", .opset = 18, .n = 4,
           .absent = 6,
           .attr = {STRING("keep_aspect_ratio_policy", "not_larger"),
                    STRING("coordinate_transformation_mode", "asymmetric"),
                    STRING("nearest_mode", "floor")},
           .in = {{DIMS(2, 2), F32(1, 2, 3, 4)}, {0}, {0}, {DIMS(2), I64(4, 3)}});
    EXPECT(state, DIMS(4), U8(1, 1, 2, 2), .op = "Resize", .opset = 13, .n = 3, .absent = 2,
           .in = {{DIMS(2), U8(1, 2)}, {0}, {DIMS(1), F32(2)}});
    /* half of the region lies outside and takes the value given for that */
    EXPECT(state, DIMS(2), F32(1, -5), .op = "Resize", .opset = 13, .n = 4, .absent = 4,
           .attr = {STRING("mode", "linear"), FLOAT("extrapolation_value", -5),
                    STRING("coordinate_transformation_mode", "tf_crop_and_resize")},
           .in = {{DIMS(3), F32(1, 2, 3)}, {DIMS(2), F32(0, 2)}, {0}, {DIMS(1), I64(2)}});
    REFUSE(state, BL_DATA, "policy", .op = "Resize", .opset = 18, .n = 4, .absent = 6,
           .attr = {STRING("keep_aspect_ratio_policy", "roughly")},
           .in = {{DIMS(2), F32(1, 2)}, {0}, {0}, {DIMS(1), I64(4)}});
    REFUSE(state, BL_UNAVAILABLE, "uint8", .op = "Resize", .opset = 13, .n = 3, .absent = 2,
           .attr = {STRING("mode", "linear")},
           .in = {{DIMS(2), U8(1, 2)}, {0}, {DIMS(1), F32(2)}});
}

/* Scales are an attribute in opset 7, an input in 9. */
static void upsample(void **state)
{
    EXPECT(state, DIMS(1, 4), F32(1, 1, 2, 2), .op = "Upsample", .opset = 7, .n = 1,
           .attr = {FLOATS("scales", 1, 2)}, .in = {{DIMS(1, 2), F32(1, 2)}});
    EXPECT(state, DIMS(4), F32(1, 1.5f, 2, 2), .op = "Upsample", .opset = 9, .n = 2,
           .attr = {STRING("mode", "linear")}, .in = {{DIMS(2), F32(1, 2)}, {DIMS(1), F32(2)}});
    REFUSE(state, BL_DATA, "one scale", .op = "Upsample", .opset = 7, .n = 1,
           .in = {{DIMS(1, 2), F32(1, 2)}});
    REFUSE(state, BL_UNAVAILABLE, "older than 7", .op = "Upsample", .opset = 6, .n = 1,
           .attr = {FLOATS("scales", 1, 2)}, .in = {{DIMS(1, 2), F32(1, 2)}});
}

/* ------------------------------------------------------------------ picking */

static void top_k(void **state)
{
    EXPECT(state, DIMS(2, 2), F32(4, 3, 9, 7), .op = "TopK", .opset = 11, .n = 2, .outs = 2,
           .in = {{DIMS(2, 4), F32(1, 4, 2, 3, 9, 7, 7, 5)}, {DIMS(1), I64(2)}});
    EXPECT(state, DIMS(1, 2), I64(1, 9), .op = "TopK", .opset = 11, .n = 2, .outs = 2,
           .attr = {INT("axis", 0), INT("largest", 0)},
           .in = {{DIMS(2, 2), I64(1, 10, 2, 9)}, {DIMS(1), I64(1)}});
    EXPECT(state, DIMS(1), F32(5), .op = "TopK", .opset = 1, .n = 1, .outs = 2,
           .attr = {INT("k", 1)}, .in = {{DIMS(3), F32(3, 5, 4)}});
    REFUSE(state, BL_DATA, "best 5 of 3", .op = "TopK", .opset = 11, .n = 2, .outs = 2,
           .in = {{DIMS(3), F32(3, 5, 4)}, {DIMS(1), I64(5)}});
    REFUSE(state, BL_DATA, "outside", .op = "GatherElements", .opset = 13, .n = 2,
           .in = {{DIMS(2), F32(1, 2)}, {DIMS(1), I64(2)}});
    REFUSE(state, BL_DATA, "outside", .op = "GatherND", .opset = 13, .n = 2,
           .in = {{DIMS(2), F32(1, 2)}, {DIMS(1, 1), I64(-3)}});
    REFUSE(state, BL_DATA, "depth", .op = "OneHot", .opset = 11, .n = 3,
           .in = {{DIMS(1), I64(0)}, {I64(-1)}, {DIMS(2), F32(0, 1)}});
}

static void einsum(void **state)
{
    EXPECT(state, DIMS(2), F32(1, 4), .op = "Einsum", .opset = 12, .n = 1,
           .attr = {STRING("equation", "ii->i")}, .in = {{DIMS(2, 2), F32(1, 2, 3, 4)}});
    EXPECT(state, DIMS(1, 2, 2), F32(1, 3, 2, 4), .op = "Einsum", .opset = 12, .n = 1,
           .attr = {STRING("equation", "...ij -> ...ji")}, .in = {{DIMS(1, 2, 2), F32(1, 2, 3, 4)}});
    EXPECT(state, DIMS(2, 1), F32(11, 25), .op = "Einsum", .opset = 12, .n = 2,
           .attr = {STRING("equation", "ik,kj")},
           .in = {{DIMS(2, 2), F32(1, 2, 3, 4)}, {DIMS(2, 1), F32(3, 4)}});
    REFUSE(state, BL_DATA, "equation", .op = "Einsum", .opset = 12, .n = 1,
           .attr = {STRING("equation", "ij->k")}, .in = {{DIMS(2, 2), F32(1, 2, 3, 4)}});
    REFUSE(state, BL_DATA, "equation", .op = "Einsum", .opset = 12, .n = 1,
           .attr = {STRING("equation", "ij,jk->ik")}, .in = {{DIMS(2, 2), F32(1, 2, 3, 4)}});
    REFUSE(state, BL_DATA, "is 3 where 2", .op = "Einsum", .opset = 12, .n = 2,
           .attr = {STRING("equation", "i,i->")}, .in = {{DIMS(2), F32(1, 2)}, {DIMS(3), F32(1, 2, 3)}});
}

/* ------------------------------------------------------------------ meanings that changed */

static void softmax_before_13(void **state)
{
    const float x[] = {0, 0, 0, 0};
    EXPECT(state, DIMS(1, 2, 2), F32(0.25f, 0.25f, 0.25f, 0.25f), .op = "Softmax", .opset = 12,
           .n = 1, .in = {{DIMS(1, 2, 2), .type = BL_F32, .data = (void *)x}});
    EXPECT(state, DIMS(1, 2, 2), F32(0.5f, 0.5f, 0.5f, 0.5f), .op = "Softmax", .opset = 13, .n = 1,
           .in = {{DIMS(1, 2, 2), .type = BL_F32, .data = (void *)x}});
    EXPECT(state, DIMS(1, 2, 2), F32(1, 0, 0, 0), .op = "Hardmax", .opset = 11, .n = 1,
           .in = {{DIMS(1, 2, 2), .type = BL_F32, .data = (void *)x}});
}

/* One scale a group in 18, one a channel in 21. */
static void group_normalization(void **state)
{
    EXPECT(state, DIMS(1, 2, 2), F32(-2, -2, 2, 2), .op = "GroupNormalization", .opset = 18, .n = 3,
           .attr = {INT("num_groups", 1), FLOAT("epsilon", 0)},
           .in = {{DIMS(1, 2, 2), F32(1, 1, 3, 3)}, {DIMS(1), F32(2)}, {DIMS(1), F32(0)}});
    EXPECT(state, DIMS(1, 2, 2), F32(-2, -2, 10, 10), .op = "GroupNormalization", .opset = 21,
           .n = 3, .attr = {INT("num_groups", 1), FLOAT("epsilon", 0)},
           .in = {{DIMS(1, 2, 2), F32(1, 1, 3, 3)}, {DIMS(2), F32(2, 3)}, {DIMS(2), F32(0, 7)}});
    REFUSE(state, BL_DATA, "do not divide", .op = "GroupNormalization", .opset = 21, .n = 3,
           .attr = {INT("num_groups", 2)},
           .in = {{DIMS(1, 3), F32(1, 1, 3)}, {DIMS(3), F32(2)}, {DIMS(3), F32(0)}});
    EXPECT(state, DIMS(1, 2), F32(2, -3), .op = "RMSNormalization", .opset = 23, .n = 2,
           .attr = {FLOAT("epsilon", 0)}, .in = {{DIMS(1, 2), F32(4, -4)}, {DIMS(2), F32(2, 3)}});
    REFUSE(state, BL_UNAVAILABLE, "older than 23", .op = "RMSNormalization", .opset = 22, .n = 2,
           .in = {{DIMS(1, 2), F32(3, 4)}, {DIMS(2), F32(1, 1)}});
}

/* Axes: an attribute, then an input (ReduceSum 13, the others 18); none is all, or nothing. */
static void axes_of_reductions(void **state)
{
    EXPECT(state, DIMS(1, 1), F32(10), .op = "ReduceSum", .opset = 13, .n = 1,
           .in = {{DIMS(2, 2), F32(1, 2, 3, 4)}});
    EXPECT(state, DIMS(2, 2), F32(1, 2, 3, 4), .op = "ReduceSum", .opset = 13, .n = 1,
           .attr = {INT("noop_with_empty_axes", 1)}, .in = {{DIMS(2, 2), F32(1, 2, 3, 4)}});
    EXPECT(state, DIMS(1, 2), F32(2, 3), .op = "ReduceMean", .opset = 18, .n = 2,
           .in = {{DIMS(2, 2), F32(1, 2, 3, 4)}, {DIMS(1), I64(0)}});
    EXPECT(state, DIMS(1, 2), F32(2, 3), .op = "ReduceMean", .opset = 17, .n = 1,
           .attr = {INTS("axes", 0)}, .in = {{DIMS(2, 2), F32(1, 2, 3, 4)}});
    EXPECT(state, DIMS(2), F32(2, 9), .op = "Clip", .opset = 6, .n = 1,
           .attr = {FLOAT("min", 2), FLOAT("max", 9)}, .in = {{DIMS(2), F32(1, 10)}});
    EXPECT(state, DIMS(2), F32(2, 9), .op = "Clip", .opset = 11, .n = 3,
           .in = {{DIMS(2), F32(1, 10)}, {F32(2)}, {F32(9)}});
    EXPECT(state, DIMS(4), F32(9, 1, 2, 9), .op = "Pad", .opset = 2, .n = 1,
           .attr = {INTS("pads", 1, 1), FLOAT("value", 9)}, .in = {{DIMS(2), F32(1, 2)}});
    EXPECT(state, DIMS(2), F32(1, 2), .op = "Split", .opset = 18, .n = 1, .outs = 2,
           .attr = {INT("num_outputs", 2)}, .in = {{DIMS(3), F32(1, 2, 3)}});
    REFUSE(state, BL_DATA, "does not split", .op = "Split", .opset = 13, .n = 1, .outs = 2,
           .in = {{DIMS(3), F32(1, 2, 3)}});
}

/* Whole powers are exact and wrap; a whole number to a real power is cut. */
static void whole_numbers(void **state)
{
    EXPECT(state, DIMS(2), I64(4052555153018976267, 1), .op = "Pow", .opset = 15, .n = 2,
           .in = {{DIMS(2), I64(3, 7)}, {DIMS(2), I64(39, 0)}});
    EXPECT(state, DIMS(2), I32(1, 8), .op = "Pow", .opset = 15, .n = 2,
           .in = {{DIMS(2), I32(2, 4)}, {DIMS(2), F32(0.5f, 1.5f)}});
    EXPECT(state, DIMS(2), F32(8, 0.25f), .op = "Pow", .opset = 15, .n = 2,
           .in = {{DIMS(2), F32(2, 2)}, {DIMS(2), I64(3, -2)}});
    EXPECT(state, DIMS(2), I64(2, -2), .op = "Mod", .opset = 13, .n = 2,
           .in = {{DIMS(2), I64(-4, 4)}, {DIMS(2), I64(3, -3)}});
    EXPECT(state, DIMS(2), I64(-1, 1), .op = "Mod", .opset = 13, .n = 2, .attr = {INT("fmod", 1)},
           .in = {{DIMS(2), I64(-4, 4)}, {DIMS(2), I64(3, -3)}});
    REFUSE(state, BL_DATA, "divided by zero", .op = "Mod", .opset = 13, .n = 2,
           .in = {{DIMS(1), I64(4)}, {DIMS(1), I64(0)}});
    REFUSE(state, BL_DATA, "fmod", .op = "Mod", .opset = 13, .n = 2,
           .in = {{DIMS(1), F32(4)}, {DIMS(1), F32(3)}});
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(four_bits),          TEST(blocks_of_scales), TEST(products_of_codes),
        TEST(resize_forms),       TEST(upsample),         TEST(top_k),
        TEST(einsum),             TEST(softmax_before_13), TEST(group_normalization),
        TEST(axes_of_reductions), TEST(whole_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
