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

/* Before opset 7 the second operand is laid under the first at an axis; then numpy's rule. */
static void broadcasting(void **state)
{
    static const char *const ops[] = {"Add", "Mul", "Sub"};
    const float wanted[][4] = {{11, 12, 23, 24}, {10, 20, 60, 80}, {-9, -8, -17, -16}};
    for (int i = 0; i < 3; i++)
        expect(*state,
               &(subject){.op = ops[i], .opset = 6, .n = 2,
                          .attr = {INT("broadcast", 1), INT("axis", 0)},
                          .in = {{DIMS(2, 2), F32(1, 2, 3, 4)}, {DIMS(2), F32(10, 20)}}},
               &(bl_tensor){DIMS(2, 2), .type = BL_F32, .data = (void *)wanted[i]});
    EXPECT(state, DIMS(2, 2), F32(11, 22, 13, 24), .op = "Add", .opset = 7, .n = 2,
           .in = {{DIMS(2, 2), F32(1, 2, 3, 4)}, {DIMS(2), F32(10, 20)}});
    EXPECT(state, DIMS(2, 2), F32(1, 4, 9, 16), .op = "Pow", .opset = 6, .n = 2,
           .attr = {INT("broadcast", 1)}, .in = {{DIMS(2, 2), F32(1, 2, 3, 4)}, {DIMS(1), F32(2)}});
    REFUSE(state, BL_UNAVAILABLE, "older than 7", .op = "Greater", .opset = 6, .n = 2,
           .attr = {INT("broadcast", 1), INT("axis", 0)},
           .in = {{DIMS(2, 2), F32(1, 2, 3, 4)}, {DIMS(2), F32(9, 2)}});
    EXPECT(state, DIMS(2, 2), CODES(BL_BOOL, 0, 0, 0, 1), .op = "Greater", .opset = 9, .n = 2,
           .in = {{DIMS(2, 2), F32(1, 2, 3, 4)}, {DIMS(2), F32(9, 2)}});
    REFUSE(state, BL_UNAVAILABLE, "older than 7", .op = "And", .opset = 6, .n = 2,
           .attr = {INT("broadcast", 1), INT("axis", 0)},
           .in = {{DIMS(2, 2), CODES(BL_BOOL, 1, 1, 1, 1)}, {DIMS(2), CODES(BL_BOOL, 1, 0)}});
    EXPECT(state, DIMS(2, 2), CODES(BL_BOOL, 1, 0, 1, 0), .op = "And", .opset = 7, .n = 2,
           .in = {{DIMS(2, 2), CODES(BL_BOOL, 1, 1, 1, 1)}, {DIMS(2), CODES(BL_BOOL, 1, 0)}});
    /* a vector of slopes is one for a channel, then one for the last axis */
    EXPECT(state, DIMS(1, 2, 2), F32(-2, -4, -9, -12), .op = "PRelu", .opset = 6, .n = 2,
           .in = {{DIMS(1, 2, 2), F32(-1, -2, -3, -4)}, {DIMS(2), F32(2, 3)}});
    EXPECT(state, DIMS(1, 2, 2), F32(-2, -6, -6, -12), .op = "PRelu", .opset = 9, .n = 2,
           .in = {{DIMS(1, 2, 2), F32(-1, -2, -3, -4)}, {DIMS(2), F32(2, 3)}});
    EXPECT(state, DIMS(2), F32(3, 5), .op = "Max", .opset = 8, .n = 2,
           .in = {{DIMS(2), F32(1, 5)}, {DIMS(1), F32(3)}});
    EXPECT(state, DIMS(2), F32(2, 4), .op = "Mean", .opset = 8, .n = 2,
           .in = {{DIMS(2), F32(1, 5)}, {DIMS(1), F32(3)}});
    EXPECT(state, DIMS(1, 2), F32(21, 12), .op = "Gemm", .opset = 6, .n = 3,
           .attr = {INT("broadcast", 1)},
           .in = {{DIMS(1, 1), F32(1)}, {DIMS(1, 2), F32(11, 2)}, {DIMS(1), F32(10)}});
    EXPECT(state, DIMS(1, 2), F32(11, 2), .op = "Gemm", .opset = 11, .n = 2,
           .in = {{DIMS(1, 1), F32(1)}, {DIMS(1, 2), F32(11, 2)}});
}

/* Lists that were attributes and became inputs, and what an absent one means. */
static void lists_become_inputs(void **state)
{
    EXPECT(state, DIMS(1, 2), F32(1, 2), .op = "Unsqueeze", .opset = 11, .n = 1,
           .attr = {INTS("axes", 0)}, .in = {{DIMS(2), F32(1, 2)}});
    EXPECT(state, DIMS(1, 2), F32(1, 2), .op = "Unsqueeze", .opset = 13, .n = 2,
           .in = {{DIMS(2), F32(1, 2)}, {DIMS(1), I64(0)}});
    EXPECT(state, DIMS(2), F32(1, 2), .op = "Squeeze", .opset = 11, .n = 1,
           .attr = {INTS("axes", 0)}, .in = {{DIMS(1, 2), F32(1, 2)}});
    EXPECT(state, DIMS(2), F32(1, 2), .op = "Squeeze", .opset = 13, .n = 2,
           .in = {{DIMS(1, 2), F32(1, 2)}, {DIMS(1), I64(0)}});
    EXPECT(state, DIMS(2), F32(2, 3), .op = "Slice", .opset = 9, .n = 1,
           .attr = {INTS("starts", 1), INTS("ends", 3)}, .in = {{DIMS(4), F32(1, 2, 3, 4)}});
    EXPECT(state, DIMS(2), F32(4, 2), .op = "Slice", .opset = 10, .n = 5,
           .in = {{DIMS(4), F32(1, 2, 3, 4)}, {DIMS(1), I64(-1)}, {DIMS(1), I64(0)},
                  {DIMS(1), I64(0)}, {DIMS(1), I64(-2)}});
    EXPECT(state, DIMS(1), F32(1), .op = "Split", .opset = 11, .n = 1, .outs = 2,
           .attr = {INTS("split", 1, 2)}, .in = {{DIMS(3), F32(1, 2, 3)}});
    EXPECT(state, DIMS(1), F32(1), .op = "Split", .opset = 13, .n = 2, .outs = 2,
           .in = {{DIMS(3), F32(1, 2, 3)}, {DIMS(2), I64(1, 2)}});
    EXPECT(state, DIMS(1, 2), F32(4, 6), .op = "ReduceSum", .opset = 11, .n = 1,
           .attr = {INTS("axes", 0)}, .in = {{DIMS(2, 2), F32(1, 2, 3, 4)}});
    EXPECT(state, DIMS(1, 2), F32(4, 6), .op = "ReduceSum", .opset = 13, .n = 2,
           .in = {{DIMS(2, 2), F32(1, 2, 3, 4)}, {DIMS(1), I64(0)}});
    EXPECT(state, DIMS(4), F32(9, 1, 2, 9), .op = "Pad", .opset = 11, .n = 3,
           .in = {{DIMS(2), F32(1, 2)}, {DIMS(2), I64(1, 1)}, {F32(9)}});
    EXPECT(state, DIMS(1, 4), F32(0, 1, 2, 0), .op = "Pad", .opset = 18, .n = 4, .absent = 4,
           .in = {{DIMS(1, 2), F32(1, 2)}, {DIMS(2), I64(1, 1)}, {0}, {DIMS(1), I64(-1)}});
    REFUSE(state, BL_UNAVAILABLE, "wrap", .op = "Pad", .opset = 19, .n = 2,
           .attr = {STRING("mode", "wrap")}, .in = {{DIMS(2), F32(1, 2)}, {DIMS(2), I64(1, 1)}});
    EXPECT(state, DIMS(1), F32(5), .op = "TopK", .opset = 10, .n = 2, .outs = 2,
           .in = {{DIMS(3), F32(3, 5, 4)}, {DIMS(1), I64(1)}});
    EXPECT(state, DIMS(2), F32(1, 2), .op = "Dropout", .opset = 6, .n = 1,
           .attr = {INT("is_test", 1)}, .in = {{DIMS(2), F32(1, 2)}});
    EXPECT(state, DIMS(2), F32(1, 2), .op = "Dropout", .opset = 12, .n = 3, .absent = 2,
           .in = {{DIMS(2), F32(1, 2)}, {0}, {CODES(BL_BOOL, 0)}});
    REFUSE(state, BL_UNAVAILABLE, "training_mode", .op = "Dropout", .opset = 12, .n = 3, .absent = 2,
           .in = {{DIMS(2), F32(1, 2)}, {0}, {CODES(BL_BOOL, 1)}});
}

/* New attributes that change what is computed. */
static void new_attributes(void **state)
{
    EXPECT(state, DIMS(3), I64(1, 2, 3), .op = "Shape", .opset = 13, .n = 1,
           .in = {{DIMS(1, 2, 3), F32(1, 2, 3, 4, 5, 6)}});
    EXPECT(state, DIMS(1), I64(2), .op = "Shape", .opset = 15, .n = 1,
           .attr = {INT("start", 1), INT("end", -1)}, .in = {{DIMS(1, 2, 3), F32(1, 2, 3, 4, 5, 6)}});
    EXPECT(state, DIMS(2, 1), F32(1, 2), .op = "Reshape", .opset = 13, .n = 2,
           .in = {{DIMS(2), F32(1, 2)}, {DIMS(2), I64(0, 1)}});
    REFUSE(state, BL_DATA, "", .op = "Reshape", .opset = 14, .n = 2, .attr = {INT("allowzero", 1)},
           .in = {{DIMS(2), F32(1, 2)}, {DIMS(2), I64(0, 1)}});
    EXPECT(state, DIMS(1), I64(0), .op = "ArgMax", .opset = 11, .n = 1,
           .in = {{DIMS(3), F32(2, 1, 2)}});
    EXPECT(state, DIMS(1), I64(2), .op = "ArgMax", .opset = 12, .n = 1,
           .attr = {INT("select_last_index", 1)}, .in = {{DIMS(3), F32(2, 1, 2)}});
    EXPECT(state, DIMS(1, 1, 2, 2), F32(1, 2, 3, 4), .op = "DepthToSpace", .opset = 6, .n = 1,
           .attr = {INT("blocksize", 2)}, .in = {{DIMS(1, 4, 1, 1), F32(1, 2, 3, 4)}});
    EXPECT(state, DIMS(1, 2, 2, 2), F32(1, 2, 3, 4, 5, 6, 7, 8), .op = "DepthToSpace", .opset = 11,
           .n = 1, .attr = {INT("blocksize", 2), STRING("mode", "CRD")},
           .in = {{DIMS(1, 8, 1, 1), F32(1, 2, 3, 4, 5, 6, 7, 8)}});
    EXPECT(state, DIMS(1, 2, 2, 2), F32(1, 3, 5, 7, 2, 4, 6, 8), .op = "DepthToSpace", .opset = 13,
           .n = 1, .attr = {INT("blocksize", 2)},
           .in = {{DIMS(1, 8, 1, 1), F32(1, 2, 3, 4, 5, 6, 7, 8)}});
    EXPECT(state, DIMS(1, 1, 1), F32(2), .op = "MaxPool", .opset = 8, .n = 1,
           .attr = {INTS("kernel_shape", 2), INTS("strides", 2)},
           .in = {{DIMS(1, 1, 3), F32(1, 2, 5)}});
    EXPECT(state, DIMS(1, 1, 2), F32(2, 5), .op = "MaxPool", .opset = 10, .n = 1,
           .attr = {INTS("kernel_shape", 2), INTS("strides", 2), INT("ceil_mode", 1)},
           .in = {{DIMS(1, 1, 3), F32(1, 2, 5)}});
    EXPECT(state, DIMS(1, 1, 2), F32(1.5f, 5), .op = "AveragePool", .opset = 10, .n = 1,
           .attr = {INTS("kernel_shape", 2), INTS("strides", 2), INT("ceil_mode", 1)},
           .in = {{DIMS(1, 1, 3), F32(1, 2, 5)}});
    EXPECT(state, DIMS(1, 1, 1), F32(3), .op = "AveragePool", .opset = 19, .n = 1,
           .attr = {INTS("kernel_shape", 2), INTS("dilations", 2)},
           .in = {{DIMS(1, 1, 3), F32(1, 2, 5)}});
    EXPECT(state, DIMS(1, 1, 2), F32(0.5f, 1.5f), .op = "AveragePool", .opset = 7, .n = 1,
           .attr = {INTS("kernel_shape", 2), INTS("pads", 1, 0), INT("count_include_pad", 1)},
           .in = {{DIMS(1, 1, 2), F32(1, 2)}});
    EXPECT(state, DIMS(1, 1), F32(3), .op = "BatchNormalization", .opset = 7, .n = 5,
           .attr = {FLOAT("epsilon", 0)},
           .in = {{DIMS(1, 1), F32(2)}, {DIMS(1), F32(2)}, {DIMS(1), F32(1)}, {DIMS(1), F32(1)},
                  {DIMS(1), F32(1)}});
    REFUSE(state, BL_UNAVAILABLE, "spatial", .op = "BatchNormalization", .opset = 7, .n = 5,
           .attr = {INT("spatial", 0)},
           .in = {{DIMS(1, 1), F32(2)}, {DIMS(1), F32(2)}, {DIMS(1), F32(1)}, {DIMS(1), F32(1)},
                  {DIMS(1), F32(1)}});
    REFUSE(state, BL_UNAVAILABLE, "training_mode", .op = "BatchNormalization", .opset = 14, .n = 5,
           .attr = {INT("training_mode", 1)},
           .in = {{DIMS(1, 1), F32(2)}, {DIMS(1), F32(2)}, {DIMS(1), F32(1)}, {DIMS(1), F32(1)},
                  {DIMS(1), F32(1)}});
    EXPECT(state, DIMS(2), I64(1, -2), .op = "Cast", .opset = 19, .n = 1,
           .attr = {INT("to", BL_I64), INT("saturate", 1)}, .in = {{DIMS(2), F32(1.5f, -2.5f)}});
    REFUSE(state, BL_UNAVAILABLE, "cast to type", .op = "Cast", .opset = 19, .n = 1,
           .attr = {INT("to", 17)}, .in = {{DIMS(1), F32(1)}});
    /* codes by channel: axis 1 unless it is given */
    EXPECT(state, DIMS(1, 2), U8(4, 2), .op = "QuantizeLinear", .opset = 13, .n = 3,
           .in = {{DIMS(1, 2), F32(4, 4)}, {DIMS(2), F32(1, 2)}, {DIMS(2), U8(0, 0)}});
    EXPECT(state, DIMS(1, 2), U8(9, 9), .op = "QuantizeLinear", .opset = 10, .n = 3,
           .in = {{DIMS(1, 2), F32(4, 4)}, {F32(1)}, {U8(5)}});
    /* where pixels lie: their corners in opset 10, their middles since */
    EXPECT(state, DIMS(4), F32(1, 1.5f, 2, 2), .op = "Resize", .opset = 10, .n = 2,
           .attr = {STRING("mode", "linear")}, .in = {{DIMS(2), F32(1, 2)}, {DIMS(1), F32(2)}});
    EXPECT(state, DIMS(4), F32(1, 1.25f, 1.75f, 2), .op = "Resize", .opset = 11, .n = 3,
           .attr = {STRING("mode", "linear")},
           .in = {{DIMS(2), F32(1, 2)}, {DIMS(0), F32(0)}, {DIMS(1), F32(2)}});
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(four_bits),          TEST(blocks_of_scales), TEST(products_of_codes),
        TEST(resize_forms),       TEST(upsample),         TEST(top_k),
        TEST(einsum),             TEST(softmax_before_13), TEST(group_normalization),
        TEST(axes_of_reductions), TEST(whole_numbers),
        TEST(broadcasting),       TEST(lists_become_inputs), TEST(new_attributes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
