/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * QuantizeLinear [Q1], DequantizeLinear [Q2] and DynamicQuantizeLinear: one scale for a tensor, for
 * each index of an axis, or for each block of an axis; codes of 2, 4, 8 and 16 bits and, one way,
 * int32.  Codes of 2 and 4 bits take a byte each in memory.
 */
#include "ops/ops_private.h"

#define CODES                                                                                      \
    (BL_BIT(BL_U8) | BL_BIT(BL_I8) | BL_BIT(BL_U16) | BL_BIT(BL_I16) | BL_BIT(BL_U4) |             \
     BL_BIT(BL_I4) | BL_BIT(BL_U2) | BL_BIT(BL_I2))

/* x as outer x extent x inner; scales as outer x channels x inner when blocked (channels = blocks),
 * else as channels alone. */
typedef struct cut {
    int64_t outer, extent, inner, channels, block;
    bool blocked;
} cut;

static bl_status wrong_scales(const bl_call *call)
{
    return bl_op_fail(call, BL_DATA, "repair the model", "scales of shape %s do not fit input %s",
                      bl_shape_text(call->scratch, call->in[1]),
                      bl_shape_text(call->scratch, call->in[0]));
}

/* One scale for each `block` neighbours along the axis; the last block may be short. */
static bl_status cut_blocks(const bl_call *call, int axis, cut *c)
{
    const bl_tensor *x = call->in[0], *scale = call->in[1];

    c->blocked = true;
    c->block = bl_attr_int(call->node, "block_size", 0);
    if (c->block < 1)
        return bl_op_fail(call, BL_DATA, "repair the model",
                          "scales of %d dimensions without a block_size", scale->rank);
    if (scale->rank != x->rank) return wrong_scales(call);
    for (int i = 0; i < x->rank; i++)
        if (scale->dim[i] != (i == axis ? (x->dim[i] - 1) / c->block + 1 : x->dim[i]))
            return wrong_scales(call);
    c->channels = scale->dim[axis];
    return BL_OK;
}

static bl_status cut_read(const bl_call *call, cut *c)
{
    const bl_tensor *x = call->in[0], *scale = call->in[1];
    int axis = 0;

    *c = (cut){1, 1, 1, bl_tensor_count(scale), 1, false};
    if (bl_op_has(call, 2) && bl_tensor_count(call->in[2]) != c->channels)
        return bl_op_fail(call, BL_DATA, "repair the model",
                          "there is not one zero point for a scale");
    if (c->channels == 1 && scale->rank <= 1) {
        c->inner = bl_tensor_count(x);
        return BL_OK;
    }
    BL_TRY(bl_op_axis(call, bl_attr_int(call->node, "axis", 1), x->rank, &axis));
    if (scale->rank > 1)
        BL_TRY(cut_blocks(call, axis, c));
    else if (x->dim[axis] != c->channels)
        return bl_op_fail(call, BL_DATA, "repair the model", "%lld scales for %lld channels",
                          (long long)c->channels, (long long)x->dim[axis]);
    c->extent = x->dim[axis];
    for (int i = 0; i < x->rank; i++) {
        c->outer *= i < axis ? x->dim[i] : 1;
        c->inner *= i > axis ? x->dim[i] : 1;
    }
    return BL_OK;
}

/* Which scale belongs to x[outer o][extent e][inner i]. */
static int64_t scale_of(const cut *c, int64_t o, int64_t e, int64_t i)
{
    return c->blocked ? (o * c->channels + e / c->block) * c->inner + i : e;
}

static void code_range(bl_dtype type, int32_t *lo, int32_t *hi)
{
    int bits = type == BL_U2 || type == BL_I2   ? 2
               : type == BL_U4 || type == BL_I4 ? 4
               : type == BL_U8 || type == BL_I8 ? 8
                                                : 16;
    bool is_signed = type == BL_I2 || type == BL_I4 || type == BL_I8 || type == BL_I16;

    *lo = is_signed ? -(1 << (bits - 1)) : 0;
    *hi = *lo + (1 << bits) - 1;
}

static bl_grid grid_of(const bl_call *call, bl_dtype type, int64_t channel)
{
    bl_grid g = {.scale = ((const float *)call->in[1]->data)[channel]};

    g.zero = bl_op_has(call, 2) ? (int32_t)bl_element_i64(call->in[2], channel) : 0;
    code_range(type, &g.lo, &g.hi);
    return g;
}

/* ------------------------------------------------------------------ QuantizeLinear */

static bl_status quantize_linear_shape(const bl_call *call)
{
    bl_dtype type, asked;
    int64_t precision;
    cut c;

    BL_TRY(bl_op_begin(call, "axis:i block_size:i output_dtype:i precision:i saturate:i"));
    BL_TRY(bl_op_type(call, 0, BL_T_F32 | BL_BIT(BL_I32)));
    BL_TRY(bl_op_type(call, 1, BL_T_F32));
    precision = bl_attr_int(call->node, "precision", BL_NONE);
    if (precision != BL_NONE && precision != BL_F32)
        return bl_op_fail(call, BL_UNAVAILABLE, "quantize in float32",
                          "precision %lld is not supported", (long long)precision);
    asked = type = (bl_dtype)bl_attr_int(call->node, "output_dtype", BL_NONE);
    if (bl_op_has(call, 2)) {
        BL_TRY(bl_op_type(call, 2, CODES));
        type = call->in[2]->type;
        if (asked != BL_NONE && asked != type)
            return bl_op_fail(call, BL_DATA, "repair the model",
                              "output_dtype differs from the zero point's %s", bl_dtype_name(type));
    }
    type = type == BL_NONE ? BL_U8 : type;
    if ((unsigned)type >= 32 || !(CODES & BL_BIT(type)))
        return bl_op_fail(call, BL_UNAVAILABLE, "use 2 to 16 bits", "codes of %s are not supported",
                          bl_dtype_name(type));
    BL_TRY(cut_read(call, &c));
    return bl_op_out(call, 0, type, call->in[0]->rank, call->in[0]->dim);
}

static bl_status quantize_linear_forward(const bl_call *call)
{
    const bl_tensor *x = call->in[0];
    char *to = call->out[0].data;
    size_t size = bl_dtype_bytes(call->out[0].type);
    int64_t at = 0;
    bl_grid g = {0};
    cut c;

    BL_TRY(cut_read(call, &c));
    for (int64_t o = 0; o < c.outer; o++)
        for (int64_t e = 0; e < c.extent; e++)
            for (int64_t i = 0; i < c.inner; i++, at++, to += size) {
                float v = x->type == BL_F32 ? ((const float *)x->data)[at]
                                            : (float)((const int32_t *)x->data)[at];
                int32_t q;
                if (i == 0 || c.blocked)
                    g = grid_of(call, call->out[0].type, scale_of(&c, o, e, i));
                q = bl_quantize(v, g);
                memcpy(to, &q, size); /* little endian */
            }
    return BL_OK;
}

/* ------------------------------------------------------------------ DequantizeLinear */

static bl_status dequantize_linear_shape(const bl_call *call)
{
    int64_t asked;
    cut c;

    BL_TRY(bl_op_begin(call, "axis:i block_size:i output_dtype:i"));
    BL_TRY(bl_op_type(call, 0, CODES | BL_BIT(BL_I32)));
    BL_TRY(bl_op_type(call, 1, BL_T_F32));
    if (bl_op_has(call, 2)) BL_TRY(bl_op_type(call, 2, BL_BIT(call->in[0]->type)));
    asked = bl_attr_int(call->node, "output_dtype", BL_F32);
    if (asked != BL_NONE && asked != BL_F32)
        return bl_op_fail(call, BL_UNAVAILABLE, "dequantize to float32",
                          "output_dtype %lld is not supported", (long long)asked);
    BL_TRY(cut_read(call, &c));
    return bl_op_out(call, 0, BL_F32, call->in[0]->rank, call->in[0]->dim);
}

static bl_status dequantize_linear_forward(const bl_call *call)
{
    const bl_tensor *x = call->in[0];
    float *y = call->out[0].data;
    int64_t at = 0;
    bl_grid g = {0};
    cut c;

    BL_TRY(cut_read(call, &c));
    for (int64_t o = 0; o < c.outer; o++)
        for (int64_t e = 0; e < c.extent; e++)
            for (int64_t i = 0; i < c.inner; i++, at++) {
                if (i == 0 || c.blocked) g = grid_of(call, x->type, scale_of(&c, o, e, i));
                /* int32 minus int32 may need 33 bits */
                y[at] = (float)(bl_element_i64(x, at) - g.zero) * g.scale;
            }
    return BL_OK;
}

/* ------------------------------------------------------------------ DynamicQuantizeLinear */

static bl_status dynamic_quantize_linear_shape(const bl_call *call)
{
    BL_TRY(bl_op_begin(call, ""));
    BL_TRY(bl_op_type(call, 0, BL_T_F32));
    if (call->n_out > 1) BL_TRY(bl_op_out(call, 1, BL_F32, 0, NULL));
    if (call->n_out > 2) BL_TRY(bl_op_out(call, 2, BL_U8, 0, NULL));
    return bl_op_out(call, 0, BL_U8, call->in[0]->rank, call->in[0]->dim);
}

/* uint8 over the tensor's own range, zero included: scale (max - min) / 255, zero point
 * round(-min / scale), both in binary32. */
static bl_status dynamic_quantize_linear_forward(const bl_call *call)
{
    const float *x = call->in[0]->data;
    int64_t n = bl_tensor_count(call->in[0]);
    uint8_t *y = call->out[0].data;
    bl_grid g = {.lo = 0, .hi = UINT8_MAX};
    float least = 0.0f, most = 0.0f, zero;

    for (int64_t i = 0; i < n; i++) {
        least = x[i] < least ? x[i] : least;
        most = x[i] > most ? x[i] : most;
    }
    g.scale = (most - least) / 255.0f;
    zero = g.scale > 0 ? nearbyintf(-least / g.scale) : 0.0f;
    g.zero = (int32_t)BL_MIN(BL_MAX(zero, 0.0f), 255.0f);
    g.scale = g.scale > 0 ? g.scale : 1.0f; /* all zeros: any scale gives the codes */
    for (int64_t i = 0; i < n && y; i++) y[i] = (uint8_t)bl_quantize(x[i], g);
    if (call->n_out > 1 && call->out[1].data)
        *(float *)call->out[1].data = (most - least) / 255.0f;
    if (call->n_out > 2 && call->out[2].data) *(uint8_t *)call->out[2].data = (uint8_t)g.zero;
    return BL_OK;
}

#define QUANTIZE(title, symbol, since, inputs_min, inputs_max, outputs)                            \
    const bl_op bl_op_##symbol = {                                                                 \
        .name = title,                                                                             \
        .flags = BL_OP_CODES,                                                                      \
        .min_opset = since,                                                                        \
        .in_min = inputs_min,                                                                      \
        .in_max = inputs_max,                                                                      \
        .out_max = outputs,                                                                        \
        .shape = symbol##_shape,                                                                   \
        .forward = symbol##_forward,                                                               \
    }

QUANTIZE("DequantizeLinear", dequantize_linear, 10, 2, 3, 1);
QUANTIZE("DynamicQuantizeLinear", dynamic_quantize_linear, 11, 1, 1, 3);
QUANTIZE("QuantizeLinear", quantize_linear, 10, 2, 3, 1);
