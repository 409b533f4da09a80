/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * QuantizeLinear [Q1] and DequantizeLinear [Q2], per tensor or per axis, for 8 and 16 bits and, one
 * way, int32.  Blocked scales are refused.
 */
#include "ops/ops_private.h"

#define CODES (BL_BIT(BL_U8) | BL_BIT(BL_I8) | BL_BIT(BL_U16) | BL_BIT(BL_I16))

/* outer x channels x inner: one scale for each channel (one channel: per tensor). */
typedef struct cut {
    int64_t outer, channels, inner;
} cut;

static bl_status cut_read(const bl_call *call, cut *c)
{
    const bl_tensor *x = call->in[0], *scale = call->in[1];
    int axis = 0;

    *c = (cut){1, bl_tensor_count(scale), 1};
    if (bl_attr_int(call->node, "block_size", 0) || scale->rank > 1)
        return bl_op_fail(call, BL_UNAVAILABLE, "use one scale for a tensor or a channel",
                          "blocked scales are not supported");
    if (bl_op_has(call, 2) && bl_tensor_count(call->in[2]) != c->channels)
        return bl_op_fail(call, BL_DATA, "repair the model",
                          "there is not one zero point for a scale");
    if (c->channels == 1) {
        c->inner = bl_tensor_count(x);
        return BL_OK;
    }
    BL_TRY(bl_op_axis(call, bl_attr_int(call->node, "axis", 1), x->rank, &axis));
    if (x->dim[axis] != c->channels)
        return bl_op_fail(call, BL_DATA, "repair the model", "%lld scales for %lld channels",
                          (long long)c->channels, (long long)x->dim[axis]);
    for (int i = 0; i < x->rank; i++) {
        c->outer *= i < axis ? x->dim[i] : 1;
        c->inner *= i > axis ? x->dim[i] : 1;
    }
    return BL_OK;
}

static bl_grid grid_of(const bl_call *call, bl_dtype type, int64_t channel)
{
    bl_grid g = {.scale = ((const float *)call->in[1]->data)[channel]};

    g.zero = bl_op_has(call, 2) ? (int32_t)bl_element_i64(call->in[2], channel) : 0;
    g.lo = type == BL_I8 ? INT8_MIN : type == BL_I16 ? INT16_MIN : 0;
    g.hi = type == BL_I8    ? INT8_MAX
           : type == BL_U8  ? UINT8_MAX
           : type == BL_I16 ? INT16_MAX
                            : UINT16_MAX;
    return g;
}

static bl_status quantize_linear_shape(const bl_call *call)
{
    bl_dtype type;
    cut c;

    BL_TRY(bl_op_begin(call, "axis:i block_size:i output_dtype:i saturate:i"));
    BL_TRY(bl_op_type(call, 0, BL_T_F32));
    BL_TRY(bl_op_type(call, 1, BL_T_F32));
    type = (bl_dtype)bl_attr_int(call->node, "output_dtype", BL_NONE);
    if (bl_op_has(call, 2)) {
        BL_TRY(bl_op_type(call, 2, CODES));
        type = call->in[2]->type;
    }
    type = type == BL_NONE ? BL_U8 : type;
    if ((unsigned)type >= 32 || !(CODES & BL_BIT(type)))
        return bl_op_fail(call, BL_UNAVAILABLE, "use 8 or 16 bits", "codes of %s are not supported",
                          bl_dtype_name(type));
    BL_TRY(cut_read(call, &c));
    return bl_op_out(call, 0, type, call->in[0]->rank, call->in[0]->dim);
}

static bl_status quantize_linear_forward(const bl_call *call)
{
    const float *x = call->in[0]->data;
    char *to = call->out[0].data;
    size_t size = bl_dtype_bytes(call->out[0].type);
    cut c;

    BL_TRY(cut_read(call, &c));
    for (int64_t i = 0; i < c.outer * c.channels; i++) {
        bl_grid g = grid_of(call, call->out[0].type, i % c.channels);
        for (int64_t k = 0; k < c.inner; k++, to += size) {
            int32_t q = bl_quantize(*x++, g);
            memcpy(to, &q, size); /* little endian */
        }
    }
    return BL_OK;
}

static bl_status dequantize_linear_shape(const bl_call *call)
{
    cut c;

    BL_TRY(bl_op_begin(call, "axis:i block_size:i"));
    BL_TRY(bl_op_type(call, 0, CODES | BL_BIT(BL_I32)));
    BL_TRY(bl_op_type(call, 1, BL_T_F32));
    if (bl_op_has(call, 2)) BL_TRY(bl_op_type(call, 2, BL_BIT(call->in[0]->type)));
    BL_TRY(cut_read(call, &c));
    return bl_op_out(call, 0, BL_F32, call->in[0]->rank, call->in[0]->dim);
}

static bl_status dequantize_linear_forward(const bl_call *call)
{
    const bl_tensor *x = call->in[0];
    float *y = call->out[0].data;
    int64_t at = 0;
    cut c;

    BL_TRY(cut_read(call, &c));
    for (int64_t i = 0; i < c.outer * c.channels; i++) {
        bl_grid g = grid_of(call, x->type, i % c.channels);
        for (int64_t k = 0; k < c.inner; k++, at++) { /* int32 minus int32 may need 33 bits */
            int64_t q = bl_element_i64(x, at) - g.zero;
            y[at] = (float)q * g.scale;
        }
    }
    return BL_OK;
}

const bl_op bl_op_quantize_linear = {
    .name = "QuantizeLinear",
    .min_opset = 10,
    .in_min = 2,
    .in_max = 3,
    .out_max = 1,
    .shape = quantize_linear_shape,
    .forward = quantize_linear_forward,
};

const bl_op bl_op_dequantize_linear = {
    .name = "DequantizeLinear",
    .min_opset = 10,
    .in_min = 2,
    .in_max = 3,
    .out_max = 1,
    .shape = dequantize_linear_shape,
    .forward = dequantize_linear_forward,
};
