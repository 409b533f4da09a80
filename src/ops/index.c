/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Shapes and indices: Gather, Shape, Size, ConstantOfShape, Range, ArgMax, ArgMin, Cast.  Most of
 * it is gone once constants are folded.
 */
#include "ops/ops_private.h"

/* ------------------------------------------------------------------ Gather */

static bl_status gather_check(const bl_call *call, int64_t extent)
{
    const bl_tensor *index = call->in[1];

    for (int64_t i = 0; i < bl_tensor_count(index); i++) {
        int64_t at = bl_element_i64(index, i);
        if (at < -extent || at >= extent)
            return bl_op_fail(call, BL_DATA, "repair the model", "index %lld is outside of %lld",
                              (long long)at, (long long)extent);
    }
    return BL_OK;
}

static bl_status gather_shape(const bl_call *call)
{
    const bl_tensor *x = call->in[0], *index = call->in[1];
    int64_t dim[2 * BL_MAX_RANK];
    int axis, rank = 0;

    BL_TRY(bl_op_begin(call, "axis:i"));
    BL_TRY(bl_op_type(call, 0, BL_T_MOVABLE));
    BL_TRY(bl_op_type(call, 1, BL_BIT(BL_I32) | BL_BIT(BL_I64)));
    BL_TRY(bl_op_axis(call, bl_attr_int(call->node, "axis", 0), x->rank, &axis));
    for (int i = 0; i < axis; i++) dim[rank++] = x->dim[i];
    for (int i = 0; i < index->rank; i++) dim[rank++] = index->dim[i];
    for (int i = axis + 1; i < x->rank; i++) dim[rank++] = x->dim[i];
    if (index->data) BL_TRY(gather_check(call, x->dim[axis]));
    return bl_op_out(call, 0, x->type, rank, dim);
}

static bl_status gather_forward(const bl_call *call)
{
    const bl_tensor *x = call->in[0], *index = call->in[1];
    size_t size = bl_dtype_bytes(x->type);
    int64_t outer = 1, inner = 1, n = bl_tensor_count(index);
    char *to = call->out[0].data;
    int axis;

    BL_TRY(bl_op_axis(call, bl_attr_int(call->node, "axis", 0), x->rank, &axis));
    BL_TRY(gather_check(call, x->dim[axis]));
    for (int i = 0; i < x->rank; i++) {
        outer *= i < axis ? x->dim[i] : 1;
        inner *= i > axis ? x->dim[i] : 1;
    }
    size *= (size_t)inner;
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < n; i++, to += size) {
            int64_t at = bl_element_i64(index, i);
            at = at < 0 ? at + x->dim[axis] : at;
            memcpy(to, (const char *)x->data + (size_t)(o * x->dim[axis] + at) * size, size);
        }
    return BL_OK;
}

/* ------------------------------------------------------------------ Shape, Size */

/* Dimensions start..end-1 (opset 15; clamped), all of them before. */
static void shape_range(const bl_call *call, int64_t *start, int64_t *end)
{
    int64_t rank = call->in[0]->rank;

    *start = bl_attr_int(call->node, "start", 0);
    *end = bl_attr_int(call->node, "end", rank);
    *start = BL_MIN(BL_MAX(*start < 0 ? *start + rank : *start, 0), rank);
    *end = BL_MIN(BL_MAX(*end < 0 ? *end + rank : *end, 0), rank);
}

static bl_status shape_shape(const bl_call *call)
{
    int64_t start, end;

    BL_TRY(bl_op_begin(call, "start:i end:i"));
    shape_range(call, &start, &end);
    return bl_op_out(call, 0, BL_I64, 1, (int64_t[]){end - start});
}

static bl_status shape_forward(const bl_call *call)
{
    int64_t start, end, *to = call->out[0].data;

    shape_range(call, &start, &end);
    for (int64_t i = start; i < end; i++) *to++ = call->in[0]->dim[i];
    return BL_OK;
}

static bl_status size_shape(const bl_call *call)
{
    BL_TRY(bl_op_begin(call, ""));
    return bl_op_out(call, 0, BL_I64, 0, NULL);
}

static bl_status size_forward(const bl_call *call)
{
    *(int64_t *)call->out[0].data = bl_tensor_count(call->in[0]);
    return BL_OK;
}

/* ------------------------------------------------------------------ ConstantOfShape, Range */

static bl_status constant_of_shape_shape(const bl_call *call)
{
    const bl_attr *value;
    int64_t dim[BL_MAX_RANK];
    int rank;

    BL_TRY(bl_op_begin(call, "value:t"));
    BL_TRY(bl_op_ints(call, 0, BL_MAX_RANK, dim, &rank));
    value = bl_node_attr(call->node, "value");
    if (value &&
        (bl_tensor_count(&value->t) != 1 || !value->t.data || !bl_dtype_bytes(value->t.type)))
        return bl_op_fail(call, BL_DATA, "repair the model", "the value is not one number");
    return bl_op_out(call, 0, value ? value->t.type : BL_F32, rank, dim);
}

static bl_status constant_of_shape_forward(const bl_call *call)
{
    const bl_attr *value = bl_node_attr(call->node, "value");
    const float zero = 0.0f;

    bl_fill(bl_dtype_bytes(call->out[0].type), bl_tensor_count(&call->out[0]), call->out[0].data,
            value ? value->t.data : &zero);
    return BL_OK;
}

/* max(ceil((limit - start) / delta), 0) elements. */
static bl_status range_shape(const bl_call *call)
{
    double n;

    BL_TRY(bl_op_begin(call, ""));
    BL_TRY(bl_op_one_type(call, BL_BIT(BL_F32) | BL_BIT(BL_F64) | BL_BIT(BL_I16) | BL_BIT(BL_I32) |
                                    BL_BIT(BL_I64)));
    for (int i = 0; i < 3; i++) {
        if (bl_tensor_count(call->in[i]) != 1)
            return bl_op_fail(call, BL_DATA, "repair the model", "input %d is not one number", i);
        if (!call->in[i]->data)
            return bl_op_fail(call, BL_UNAVAILABLE, "bind the dynamic dimensions or fold the model",
                              "input %d must be known before the network runs", i);
    }
    n = ceil((bl_element_f64(call->in[1], 0) - bl_element_f64(call->in[0], 0)) /
             bl_element_f64(call->in[2], 0));
    if (!(n >= 1 && n <= (double)INT32_MAX))
        return bl_op_fail(call, BL_DATA, "repair the model", "a range of %g elements", n);
    return bl_op_out(call, 0, call->in[0]->type, 1, (int64_t[]){(int64_t)n});
}

static bl_status range_forward(const bl_call *call)
{
    const bl_tensor *y = &call->out[0];
    size_t size = bl_dtype_bytes(y->type);

    for (int64_t i = 0; i < y->dim[0]; i++) {
        if (y->type == BL_F32) {
            ((float *)y->data)[i] =
                *(const float *)call->in[0]->data + (float)i * *(const float *)call->in[2]->data;
        } else if (y->type == BL_F64) {
            ((double *)y->data)[i] =
                bl_element_f64(call->in[0], 0) + (double)i * bl_element_f64(call->in[2], 0);
        } else {
            uint64_t v = (uint64_t)bl_element_i64(call->in[0], 0) +
                         (uint64_t)i * (uint64_t)bl_element_i64(call->in[2], 0);
            memcpy((char *)y->data + (size_t)i * size, &v, size); /* little endian */
        }
    }
    return BL_OK;
}

/* ------------------------------------------------------------------ Cast */

static bl_status cast_shape(const bl_call *call)
{
    const unsigned known = BL_T_NUMBERS | BL_BIT(BL_BOOL);
    int64_t to;

    BL_TRY(bl_op_begin(call, "to:i"));
    BL_TRY(bl_op_type(call, 0, known));
    to = bl_attr_int(call->node, "to", BL_NONE);
    if (to < 0 || to >= 32 || !(known & BL_BIT(to)))
        return bl_op_fail(call, BL_UNAVAILABLE, "convert the model to float32",
                          "a cast to type %s is not supported",
                          to < 32 && to > 0 ? bl_dtype_name((bl_dtype)to) : "unknown");
    return bl_op_out(call, 0, (bl_dtype)to, call->in[0]->rank, call->in[0]->dim);
}

/* Towards zero; what does not fit int64 saturates there, then the low bits are kept. */
static int64_t whole(double v)
{
    return v != v ? 0 : v >= 0x1p63 ? INT64_MAX : v <= -0x1p63 ? INT64_MIN : (int64_t)v;
}

static bl_status cast_forward(const bl_call *call)
{
    const bl_tensor *x = call->in[0], *y = &call->out[0];
    bool from_real = x->type == BL_F32 || x->type == BL_F64;
    size_t size = bl_dtype_bytes(y->type);
    int64_t n = bl_tensor_count(x);

    for (int64_t i = 0; i < n; i++) {
        if (y->type == BL_F32 && !from_real && x->type != BL_U64) {
            ((float *)y->data)[i] = (float)bl_element_i64(x, i); /* one rounding */
        } else if (y->type == BL_F32) {
            ((float *)y->data)[i] = (float)bl_element_f64(x, i);
        } else if (y->type == BL_F64) {
            ((double *)y->data)[i] = bl_element_f64(x, i);
        } else {
            int64_t v = from_real ? whole(bl_element_f64(x, i)) : bl_element_i64(x, i);
            if (y->type == BL_BOOL) v = from_real ? bl_element_f64(x, i) != 0 : v != 0;
            memcpy((char *)y->data + (size_t)i * size, &v, size); /* little endian */
        }
    }
    return BL_OK;
}

/* ------------------------------------------------------------------ ArgMax, ArgMin */

static bl_status arg_shape(const bl_call *call)
{
    const bl_tensor *x = call->in[0];
    int64_t dim[BL_MAX_RANK];
    int axis, rank = 0;
    bool keep;

    BL_TRY(bl_op_begin(call, "axis:i keepdims:i select_last_index:i"));
    BL_TRY(bl_op_type(call, 0, BL_T_NUMBERS));
    BL_TRY(bl_op_rank(call, 0, 1, BL_MAX_RANK));
    BL_TRY(bl_op_axis(call, bl_attr_int(call->node, "axis", 0), x->rank, &axis));
    keep = bl_attr_int(call->node, "keepdims", 1) != 0;
    for (int i = 0; i < x->rank; i++)
        if (i != axis || keep) dim[rank++] = i == axis ? 1 : x->dim[i];
    return bl_op_out(call, 0, BL_I64, rank, dim);
}

static bl_status arg_forward(const bl_call *call, bool most)
{
    const bl_tensor *x = call->in[0];
    bool last = bl_attr_int(call->node, "select_last_index", 0) != 0;
    bool real = x->type == BL_F32 || x->type == BL_F64;
    int64_t outer = 1, inner = 1, *to = call->out[0].data;
    int axis;

    BL_TRY(bl_op_axis(call, bl_attr_int(call->node, "axis", 0), x->rank, &axis));
    for (int i = 0; i < x->rank; i++) {
        outer *= i < axis ? x->dim[i] : 1;
        inner *= i > axis ? x->dim[i] : 1;
    }
    for (int64_t o = 0; o < outer; o++)
        for (int64_t in = 0; in < inner; in++) {
            int64_t base = o * x->dim[axis] * inner + in, best = 0;
            for (int64_t i = 1; i < x->dim[axis]; i++) {
                int64_t a = base + i * inner, b = base + best * inner;
                double d = real ? bl_element_f64(x, a) - bl_element_f64(x, b) : 0;
                int sign = real ? (d > 0) - (d < 0)
                                : (bl_element_i64(x, a) > bl_element_i64(x, b)) -
                                      (bl_element_i64(x, a) < bl_element_i64(x, b));
                if ((most ? sign : -sign) > 0 || (sign == 0 && last)) best = i;
            }
            *to++ = best;
        }
    return BL_OK;
}

static bl_status arg_max_forward(const bl_call *call)
{
    return arg_forward(call, true);
}

static bl_status arg_min_forward(const bl_call *call)
{
    return arg_forward(call, false);
}

/* ------------------------------------------------------------------ rows */

#define INDEX(title, symbol, bits, inputs, shapes, form, backward)                                 \
    const bl_op bl_op_##symbol = {                                                                 \
        .name = title,                                                                             \
        .flags = bits,                                                                             \
        .min_opset = 1,                                                                            \
        .in_min = inputs,                                                                          \
        .in_max = inputs,                                                                          \
        .out_max = 1,                                                                              \
        .shape = shapes,                                                                           \
        .forward = symbol##_forward,                                                               \
        .integer = form,                                                                           \
        .gradient = backward,                                                                      \
    }

INDEX("ArgMax", arg_max, 0, 1, arg_shape, NULL, NULL);
INDEX("ArgMin", arg_min, 0, 1, arg_shape, NULL, NULL);
INDEX("Cast", cast, 0, 1, cast_shape, NULL, NULL);
INDEX("ConstantOfShape", constant_of_shape, BL_OP_SHAPES, 1, constant_of_shape_shape, NULL, NULL);
INDEX("Gather", gather, BL_OP_MOVES, 2, gather_shape, bl_gather_integer, bl_move_gradient);
INDEX("Range", range, BL_OP_SHAPES, 3, range_shape, NULL, NULL);
INDEX("Shape", shape, BL_OP_SHAPES, 1, shape_shape, NULL, NULL);
INDEX("Size", size, BL_OP_SHAPES, 1, size_shape, NULL, NULL);
