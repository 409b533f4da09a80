/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Operators that give the same elements another shape or order, any type: Reshape, Flatten,
 * Squeeze, Unsqueeze, Identity, Dropout (inference), Transpose, Expand, Tile, DepthToSpace,
 * SpaceToDepth. Those that take or add a part stand in slice.c.
 */
#include "ops/ops_private.h"

static bl_status same_elements(const bl_call *call)
{
    memcpy(call->out[0].data, call->in[0]->data, bl_tensor_bytes(&call->out[0]));
    return BL_OK;
}

static bl_status same_gradient(const bl_call *call, const bl_tensor *const *out_grad,
                               bl_tensor *in_grad)
{
    (void)call;
    if (in_grad[0].data) memcpy(in_grad[0].data, out_grad[0]->data, bl_tensor_bytes(&in_grad[0]));
    return BL_OK;
}

/* ------------------------------------------------------------------ Reshape and relatives */

/* 0 copies the input's dimension unless allowzero; one -1 takes what is left. */
static bl_status reshape_shape(const bl_call *call)
{
    const bl_tensor *x = call->in[0];
    int64_t dim[BL_MAX_RANK], known = 1, count;
    int rank, open = -1;

    BL_TRY(bl_op_begin(call, "allowzero:i shape:I"));
    BL_TRY(bl_op_type(call, 0, BL_T_MOVABLE));
    if (call->node->opset < 5)
        BL_TRY(bl_op_ints_attr(call, "shape", BL_MAX_RANK, dim, &rank));
    else if (bl_op_has(call, 1))
        BL_TRY(bl_op_ints(call, 1, BL_MAX_RANK, dim, &rank));
    else
        rank = -1;
    if (rank < 0) return bl_op_fail(call, BL_DATA, "repair the model", "the new shape is missing");
    count = bl_tensor_count(x);
    for (int i = 0; i < rank; i++) {
        if (dim[i] == 0 && i < x->rank && !bl_attr_int(call->node, "allowzero", 0))
            dim[i] = x->dim[i];
        if (dim[i] == -1 && open < 0)
            open = i;
        else if (dim[i] < 1 || !bl_mul_i64(known, dim[i], &known))
            return bl_op_fail(call, BL_DATA, "repair the model", "new dimension %d is %lld", i,
                              (long long)dim[i]);
    }
    if (open >= 0 && count % known == 0) known *= dim[open] = count / known;
    if (known != count)
        return bl_op_fail(call, BL_DATA,
                          "bind the batch dimension that the model was exported with",
                          "%lld elements of shape %s do not fill the new shape", (long long)count,
                          bl_shape_text(call->scratch, x));
    return bl_op_out(call, 0, x->type, rank, dim);
}

static bl_status flatten_shape(const bl_call *call)
{
    const bl_tensor *x = call->in[0];
    int64_t axis, dim[2] = {1, 1};

    BL_TRY(bl_op_begin(call, "axis:i"));
    BL_TRY(bl_op_type(call, 0, BL_T_MOVABLE));
    axis = bl_attr_int(call->node, "axis", 1);
    if (axis < -x->rank || axis > x->rank)
        return bl_op_fail(call, BL_DATA, "repair the model", "axis %lld does not exist",
                          (long long)axis);
    axis = axis < 0 ? axis + x->rank : axis;
    for (int i = 0; i < x->rank; i++) dim[i >= axis] *= x->dim[i];
    return bl_op_out(call, 0, x->type, 2, dim);
}

static bl_status squeeze_shape(const bl_call *call)
{
    const bl_tensor *x = call->in[0];
    int axis[BL_MAX_RANK], n, rank = 0;
    int64_t dim[BL_MAX_RANK];
    bool drop[BL_MAX_RANK] = {false};

    BL_TRY(bl_op_begin(call, "axes:I"));
    BL_TRY(bl_op_type(call, 0, BL_T_MOVABLE));
    BL_TRY(bl_op_axes(call, 13, 1, x->rank, axis, &n));
    for (int i = 0; i < n; i++) {
        if (x->dim[axis[i]] != 1)
            return bl_op_fail(call, BL_DATA, "repair the model", "dimension %d is %lld, not 1",
                              axis[i], (long long)x->dim[axis[i]]);
        drop[axis[i]] = true;
    }
    for (int i = 0; i < x->rank; i++)
        if (n < 0 ? x->dim[i] != 1 : !drop[i]) dim[rank++] = x->dim[i];
    return bl_op_out(call, 0, x->type, rank, dim);
}

static bl_status unsqueeze_shape(const bl_call *call)
{
    const bl_tensor *x = call->in[0];
    int axis[BL_MAX_RANK], n, rank, from = 0;
    int64_t raw[BL_MAX_RANK], dim[BL_MAX_RANK];
    bool added[BL_MAX_RANK] = {false};

    BL_TRY(bl_op_begin(call, "axes:I"));
    BL_TRY(bl_op_type(call, 0, BL_T_MOVABLE));
    if (call->node->opset >= 13 && bl_op_has(call, 1)) /* how many there are sets the rank */
        BL_TRY(bl_op_ints(call, 1, BL_MAX_RANK, raw, &n));
    else
        BL_TRY(bl_op_ints_attr(call, "axes", BL_MAX_RANK, raw, &n));
    if (n < 0) return bl_op_fail(call, BL_DATA, "repair the model", "the axes are missing");
    rank = x->rank + n;
    if (rank > BL_MAX_RANK)
        return bl_op_fail(call, BL_UNAVAILABLE, "use fewer dimensions", "%d dimensions", rank);
    BL_TRY(bl_op_axes(call, 13, 1, rank, axis, &n));
    for (int i = 0; i < n; i++) added[axis[i]] = true;
    for (int i = 0; i < rank; i++) dim[i] = added[i] ? 1 : x->dim[from++];
    return bl_op_out(call, 0, x->type, rank, dim);
}

static bl_status identity_shape(const bl_call *call)
{
    BL_TRY(bl_op_begin(call, ""));
    BL_TRY(bl_op_type(call, 0, BL_T_MOVABLE));
    return bl_op_like(call);
}

/* Drops nothing: the ratio does not matter unless training_mode, which then must be known to be
 * false, or the ratio to be 0. */
static bl_status dropout_shape(const bl_call *call)
{
    bool idle = true;

    BL_TRY(bl_op_begin(call, "ratio:f is_test:i seed:i"));
    BL_TRY(bl_op_type(call, 0, BL_BIT(BL_F32) | BL_BIT(BL_F64)));
    if (bl_op_has(call, 2)) {
        BL_TRY(bl_op_type(call, 2, BL_BIT(BL_BOOL)));
        idle = call->in[2]->data && bl_tensor_count(call->in[2]) == 1 &&
               !bl_element_i64(call->in[2], 0);
    }
    if (!idle && bl_op_has(call, 1)) {
        BL_TRY(bl_op_type(call, 1, BL_BIT(BL_F32) | BL_BIT(BL_F64)));
        idle = call->in[1]->data && bl_tensor_count(call->in[1]) == 1 &&
               bl_element_f64(call->in[1], 0) == 0;
    }
    if (!idle)
        return bl_op_fail(call, BL_UNAVAILABLE, "export the model for inference",
                          "training_mode is not known to be false");
    if (call->n_out > 1) /* the mask: float before opset 10 */
        BL_TRY(bl_op_out(call, 1, call->node->opset < 10 ? call->in[0]->type : BL_BOOL,
                         call->in[0]->rank, call->in[0]->dim));
    return bl_op_like(call);
}

static bl_status dropout_forward(const bl_call *call)
{
    const bl_tensor *mask = call->n_out > 1 ? &call->out[1] : NULL;
    const float one_f32 = 1.0f;
    const double one_f64 = 1.0;
    const uint8_t truth = 1;

    if (call->out[0].data) BL_TRY(same_elements(call));
    if (mask && mask->data)
        bl_fill(bl_dtype_bytes(mask->type), bl_tensor_count(mask), mask->data,
                mask->type == BL_BOOL  ? (const void *)&truth
                : mask->type == BL_F32 ? (const void *)&one_f32
                                       : (const void *)&one_f64);
    return BL_OK;
}

/* ------------------------------------------------------------------ Transpose */

static bl_status transpose_read(const bl_call *call, int64_t *perm)
{
    int rank = call->in[0]->rank, n;
    unsigned seen = 0;

    BL_TRY(bl_op_ints_attr(call, "perm", BL_MAX_RANK, perm, &n));
    for (int i = 0; n < 0 && i < rank; i++) perm[i] = rank - 1 - i;
    for (int i = 0; i < BL_MAX(n, 0); i++) {
        if (n != rank || perm[i] < 0 || perm[i] >= rank || seen & (1u << perm[i]))
            return bl_op_fail(call, BL_DATA, "repair the model",
                              "\"perm\" is not a permutation of %d dimensions", rank);
        seen |= 1u << perm[i];
    }
    if (n >= 0 && n != rank)
        return bl_op_fail(call, BL_DATA, "repair the model",
                          "\"perm\" is not a permutation of %d dimensions", rank);
    return BL_OK;
}

static bl_status transpose_shape(const bl_call *call)
{
    int64_t perm[BL_MAX_RANK], dim[BL_MAX_RANK];

    BL_TRY(bl_op_begin(call, "perm:I"));
    BL_TRY(bl_op_type(call, 0, BL_T_MOVABLE));
    BL_TRY(transpose_read(call, perm));
    for (int i = 0; i < call->in[0]->rank; i++) dim[i] = call->in[0]->dim[perm[i]];
    return bl_op_out(call, 0, call->in[0]->type, call->in[0]->rank, dim);
}

static bl_status transpose_forward(const bl_call *call)
{
    const bl_tensor *x = call->in[0], *y = &call->out[0];
    int64_t perm[BL_MAX_RANK], plain[BL_MAX_RANK], from[BL_MAX_RANK], to[BL_MAX_RANK];

    BL_TRY(transpose_read(call, perm));
    bl_strides(x->rank, x->dim, plain);
    bl_strides(y->rank, y->dim, to);
    for (int i = 0; i < x->rank; i++) from[i] = plain[perm[i]];
    bl_copy_strided(bl_dtype_bytes(x->type), y->rank, y->dim, y->data, to, x->data, from);
    return BL_OK;
}

/* ------------------------------------------------------------------ Expand, Tile */

static bl_status expand_shape(const bl_call *call)
{
    bl_tensor want = {.type = BL_I64};
    int64_t dim[BL_MAX_RANK];
    int rank;

    BL_TRY(bl_op_begin(call, ""));
    BL_TRY(bl_op_type(call, 0, BL_T_MOVABLE));
    BL_TRY(bl_op_ints(call, 1, BL_MAX_RANK, want.dim, &want.rank));
    BL_TRY(bl_bcast_dims(call, 2, (const bl_tensor *[]){call->in[0], &want}, &rank, dim));
    return bl_op_out(call, 0, call->in[0]->type, rank, dim);
}

static bl_status expand_forward(const bl_call *call)
{
    const bl_tensor *x = call->in[0], *y = &call->out[0];
    int64_t plain[BL_MAX_RANK], from[BL_MAX_RANK] = {0}, to[BL_MAX_RANK];
    int lead = y->rank - x->rank;

    bl_strides(x->rank, x->dim, plain);
    bl_strides(y->rank, y->dim, to);
    for (int i = 0; i < x->rank; i++) from[lead + i] = x->dim[i] == 1 ? 0 : plain[i];
    bl_copy_strided(bl_dtype_bytes(x->type), y->rank, y->dim, y->data, to, x->data, from);
    return BL_OK;
}

static bl_status tile_shape(const bl_call *call)
{
    const bl_tensor *x = call->in[0];
    int64_t repeat[BL_MAX_RANK], dim[BL_MAX_RANK];
    int n;

    BL_TRY(bl_op_begin(call, ""));
    BL_TRY(bl_op_type(call, 0, BL_T_MOVABLE));
    BL_TRY(bl_op_ints(call, 1, BL_MAX_RANK, repeat, &n));
    if (n != x->rank)
        return bl_op_fail(call, BL_DATA, "repair the model", "%d repeats for %d dimensions", n,
                          x->rank);
    for (int i = 0; i < n; i++)
        if (repeat[i] < 1 || !bl_mul_i64(x->dim[i], repeat[i], &dim[i]))
            return bl_op_fail(call, BL_DATA, "repair the model", "repeat %lld",
                              (long long)repeat[i]);
    return bl_op_out(call, 0, x->type, n, dim);
}

/* Innermost dimension first: each pass repeats what the previous ones built, in place. */
static bl_status tile_forward(const bl_call *call)
{
    const bl_tensor *x = call->in[0], *y = &call->out[0];
    size_t size = bl_dtype_bytes(x->type);
    int64_t to[BL_MAX_RANK], from[BL_MAX_RANK];

    bl_strides(y->rank, y->dim, to);
    bl_strides(x->rank, x->dim, from);
    bl_copy_strided(size, x->rank, x->dim, y->data, to, x->data, from);
    for (int d = x->rank - 1; d >= 0; d--) {
        int64_t part[BL_MAX_RANK];
        for (int i = 0; i < x->rank; i++) part[i] = i <= d ? x->dim[i] : y->dim[i];
        for (int64_t r = x->dim[d]; r < y->dim[d]; r += x->dim[d])
            bl_copy_strided(size, x->rank, part, (char *)y->data + (size_t)(r * to[d]) * size, to,
                            y->data, to);
    }
    return BL_OK;
}

/* ------------------------------------------------------------------ DepthToSpace, SpaceToDepth */

static bl_status depth_shape(const bl_call *call, bool to_space)
{
    const bl_tensor *x = call->in[0];
    int64_t b, dim[4];

    BL_TRY(bl_op_begin(call, "blocksize:i mode:s"));
    BL_TRY(bl_op_type(call, 0, BL_T_MOVABLE));
    BL_TRY(bl_op_rank(call, 0, 4, 4));
    b = bl_attr_int(call->node, "blocksize", 0);
    if (b < 1 || b > INT32_MAX || (to_space ? x->dim[1] % (b * b) : x->dim[2] % b || x->dim[3] % b))
        return bl_op_fail(call, BL_DATA, "repair the model", "blocksize %lld does not divide %s",
                          (long long)b, bl_shape_text(call->scratch, x));
    dim[0] = x->dim[0];
    if (to_space) {
        dim[1] = x->dim[1] / (b * b);
        dim[2] = x->dim[2] * b;
        dim[3] = x->dim[3] * b;
    } else {
        dim[2] = x->dim[2] / b;
        dim[3] = x->dim[3] / b;
        if (!bl_mul_i64(x->dim[1], b * b, &dim[1]))
            return bl_op_fail(call, BL_DATA, "repair the model", "blocksize is too large");
    }
    return bl_op_out(call, 0, x->type, 4, dim);
}

static bl_status depth_to_space_shape(const bl_call *call)
{
    const char *mode = bl_attr_string(call->node, "mode", "DCR");

    BL_TRY(depth_shape(call, true));
    if (strcmp(mode, "DCR") != 0 && strcmp(mode, "CRD") != 0)
        return bl_op_fail(call, BL_DATA, "repair the model", "mode \"%s\" is unknown", mode);
    return BL_OK;
}

static bl_status space_to_depth_shape(const bl_call *call)
{
    return depth_shape(call, false);
}

/* Both as a copy over (n, c, block row, block column, h, w), deep side against wide side. */
static bl_status depth_forward(const bl_call *call, bool to_space, bool crd)
{
    const bl_tensor *x = call->in[0], *y = &call->out[0];
    const bl_tensor *wide = to_space ? y : x, *deep = to_space ? x : y;
    int64_t b = bl_attr_int(call->node, "blocksize", 0);
    int64_t c = wide->dim[1], h = deep->dim[2], w = deep->dim[3], plane = h * w;
    int64_t dim[6] = {deep->dim[0], c, b, b, h, w};
    int64_t at_deep[6] = {deep->dim[1] * plane, plane, b * c * plane, c * plane, w, 1};
    int64_t at_wide[6] = {c * plane * b * b, plane * b * b, w * b, 1, w * b * b, b};

    if (crd) {
        at_deep[1] = b * b * plane;
        at_deep[2] = b * plane;
        at_deep[3] = plane;
    }
    bl_copy_strided(bl_dtype_bytes(x->type), 6, dim, y->data, to_space ? at_wide : at_deep, x->data,
                    to_space ? at_deep : at_wide);
    return BL_OK;
}

static bl_status depth_to_space_forward(const bl_call *call)
{
    return depth_forward(call, true, strcmp(bl_attr_string(call->node, "mode", "DCR"), "CRD") == 0);
}

static bl_status space_to_depth_forward(const bl_call *call)
{
    return depth_forward(call, false, false);
}

/* ------------------------------------------------------------------ rows */

#define MOVE(title, symbol, inputs_min, inputs_max, runs, integer_form, backward)                  \
    const bl_op bl_op_##symbol = {                                                                 \
        .name = title,                                                                             \
        .flags = BL_OP_MOVES,                                                                      \
        .min_opset = 1,                                                                            \
        .in_min = inputs_min,                                                                      \
        .in_max = inputs_max,                                                                      \
        .out_max = 1,                                                                              \
        .shape = symbol##_shape,                                                                   \
        .forward = runs,                                                                           \
        .integer = integer_form,                                                                   \
        .gradient = backward,                                                                      \
    }

MOVE("DepthToSpace", depth_to_space, 1, 1, depth_to_space_forward, bl_depth_to_space_integer, bl_move_gradient);
MOVE("Expand", expand, 2, 2, expand_forward, bl_expand_integer, bl_move_gradient);
MOVE("Flatten", flatten, 1, 1, same_elements, bl_reshape_integer, same_gradient);
MOVE("Identity", identity, 1, 1, same_elements, bl_reshape_integer, same_gradient);
MOVE("Reshape", reshape, 1, 2, same_elements, bl_reshape_integer, same_gradient);
MOVE("SpaceToDepth", space_to_depth, 1, 1, space_to_depth_forward, bl_space_to_depth_integer, bl_move_gradient);
MOVE("Squeeze", squeeze, 1, 2, same_elements, bl_reshape_integer, same_gradient);
MOVE("Tile", tile, 2, 2, tile_forward, bl_tile_integer, bl_move_gradient);
MOVE("Transpose", transpose, 1, 1, transpose_forward, bl_transpose_integer, bl_move_gradient);
MOVE("Unsqueeze", unsqueeze, 1, 2, same_elements, bl_reshape_integer, same_gradient);

const bl_op bl_op_dropout = {
    .name = "Dropout",
    .flags = BL_OP_MOVES,
    .min_opset = 1,
    .in_min = 1,
    .in_max = 3,
    .out_max = 2,
    .shape = dropout_shape,
    .forward = dropout_forward,
    .integer = bl_reshape_integer,
    .gradient = same_gradient,
};
