/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Taking parts and putting together, any type: Slice, Split, Concat, Pad (constant, reflect, edge).
 */
#include "ops/ops_private.h"

/* ------------------------------------------------------------------ Slice */

typedef struct slice {
    int64_t start[BL_MAX_RANK], step[BL_MAX_RANK], count[BL_MAX_RANK];
} slice;

/* List `name` as attribute before opset 10, as input i since; *n = -1 when absent. */
static bl_status slice_list(const bl_call *call, const char *name, int i, int64_t *out, int *n)
{
    *n = -1;
    if (call->node->opset < 10)
        return i < 4 ? bl_op_ints_attr(call, name, BL_MAX_RANK, out, n) : BL_OK;
    return bl_op_has(call, i) ? bl_op_ints(call, i, BL_MAX_RANK, out, n) : BL_OK;
}

/* Numpy's meaning of start:end:step in a dimension of d; all arithmetic within +-2^44. */
static int64_t slice_count(int64_t d, int64_t *start, int64_t end, int64_t step)
{
    int64_t lo = step > 0 ? 0 : -1, hi = step > 0 ? d : d - 1;
    int64_t from = *start < 0 ? (*start < -d ? lo : *start + d) : *start;
    int64_t to = end < 0 ? (end < -d ? lo : end + d) : end;

    from = BL_MIN(BL_MAX(from, lo), hi);
    to = BL_MIN(BL_MAX(to, lo), hi);
    *start = from;
    if (step > 0) return to > from ? (to - from - 1) / step + 1 : 0;
    return from > to ? (from - to - 1) / (step == INT64_MIN ? INT64_MAX : -step) + 1 : 0;
}

static bl_status slice_read(const bl_call *call, slice *s)
{
    const bl_tensor *x = call->in[0];
    int64_t start[BL_MAX_RANK], end[BL_MAX_RANK], axes[BL_MAX_RANK], step[BL_MAX_RANK];
    int n, n_end, n_axes, n_step;
    unsigned seen = 0;

    BL_TRY(slice_list(call, "starts", 1, start, &n));
    BL_TRY(slice_list(call, "ends", 2, end, &n_end));
    BL_TRY(slice_list(call, "axes", 3, axes, &n_axes));
    BL_TRY(slice_list(call, "steps", 4, step, &n_step));
    if (n < 0 || n_end != n || (n_axes >= 0 && n_axes != n) || (n_step >= 0 && n_step != n) ||
        n > x->rank)
        return bl_op_fail(call, BL_DATA, "repair the model",
                          "starts, ends, axes and steps do not go together");
    for (int i = 0; i < x->rank; i++) {
        s->start[i] = 0;
        s->step[i] = 1;
        s->count[i] = x->dim[i];
    }
    for (int i = 0; i < n; i++) {
        int axis;
        BL_TRY(bl_op_axis(call, n_axes >= 0 ? axes[i] : i, x->rank, &axis));
        s->start[axis] = start[i];
        s->step[axis] = n_step >= 0 ? step[i] : 1;
        if (s->step[axis] == 0 || seen & (1u << axis))
            return bl_op_fail(call, BL_DATA, "repair the model",
                              "axis %d is given twice or with step 0", axis);
        seen |= 1u << axis;
        s->count[axis] = slice_count(x->dim[axis], &s->start[axis], end[i], s->step[axis]);
    }
    return BL_OK;
}

static bl_status slice_shape(const bl_call *call)
{
    slice s;

    BL_TRY(bl_op_begin(call, "axes:I ends:I starts:I"));
    if (!bl_op_is_list(call->in[0])) BL_TRY(bl_op_type(call, 0, BL_T_MOVABLE));
    BL_TRY(slice_read(call, &s));
    if (bl_op_is_list(call->in[0]) && s.count[0] == 0) return bl_op_list(call, 0, 0);
    return bl_op_out(call, 0, call->in[0]->type, call->in[0]->rank, s.count);
}

static bl_status slice_forward(const bl_call *call)
{
    const bl_tensor *x = call->in[0], *y = &call->out[0];
    size_t size = bl_dtype_bytes(x->type);
    int64_t from[BL_MAX_RANK], to[BL_MAX_RANK], first = 0;
    slice s;

    BL_TRY(slice_read(call, &s));
    if (bl_tensor_count(y) == 0) return BL_OK;
    bl_strides(x->rank, x->dim, from);
    bl_strides(y->rank, y->dim, to);
    for (int i = 0; i < x->rank; i++) {
        first += s.start[i] * from[i];
        /* a step beyond the dimension takes one element, so it never multiplies */
        from[i] = y->dim[i] == 1 ? 0 : from[i] * s.step[i];
    }
    bl_copy_strided(size, y->rank, y->dim, y->data, to,
                    (const char *)x->data + (size_t)first * size, from);
    return BL_OK;
}

/* ------------------------------------------------------------------ Split */

/* Sizes along the axis: attribute before opset 13, input since; equal parts when absent, the last
 * smaller only since opset 18 with num_outputs. */
static bl_status split_read(const bl_call *call, int *axis, int64_t *part)
{
    const bl_tensor *x = call->in[0];
    int64_t d, sum = 0, each;
    int n = -1;

    BL_TRY(bl_op_axis(call, bl_attr_int(call->node, "axis", 0), x->rank, axis));
    d = x->dim[*axis];
    if (call->node->opset < 13)
        BL_TRY(bl_op_ints_attr(call, "split", call->n_out, part, &n));
    else if (bl_op_has(call, 1))
        BL_TRY(bl_op_ints(call, 1, call->n_out, part, &n));
    if (n < 0) {
        n = call->n_out;
        each = (d + n - 1) / n;
        if (d % n && call->node->opset < 18)
            return bl_op_fail(call, BL_DATA, "repair the model",
                              "%lld does not split into %d parts", (long long)d, n);
        for (int i = 0; i < n; i++) part[i] = BL_MIN(each, d - i * each);
    }
    for (int i = 0; i < n; i++) {
        if (part[i] < 1 || part[i] > d)
            return bl_op_fail(call, BL_DATA, "repair the model", "part %d would have %lld", i,
                              (long long)part[i]);
        sum += part[i];
    }
    if (n != call->n_out || sum != d)
        return bl_op_fail(call, BL_DATA, "repair the model", "the parts do not make up %lld",
                          (long long)d);
    return BL_OK;
}

static bl_status split_parts(const bl_call *call, int *axis, int64_t **part)
{
    *part = bl_alloc(call->scratch, (size_t)call->n_out, sizeof **part);
    BL_ALLOC_TRY(call->ctx, *part);
    return split_read(call, axis, *part);
}

static bl_status split_shape(const bl_call *call)
{
    int64_t *part, dim[BL_MAX_RANK];
    int axis;

    BL_TRY(bl_op_begin(call, "axis:i split:I num_outputs:i"));
    BL_TRY(bl_op_type(call, 0, BL_T_MOVABLE));
    BL_TRY(split_parts(call, &axis, &part));
    memcpy(dim, call->in[0]->dim, sizeof dim);
    for (int i = 0; i < call->n_out; i++) {
        dim[axis] = part[i];
        BL_TRY(bl_op_out(call, i, call->in[0]->type, call->in[0]->rank, dim));
    }
    return BL_OK;
}

static bl_status split_forward(const bl_call *call)
{
    const bl_tensor *x = call->in[0];
    size_t size = bl_dtype_bytes(x->type);
    int64_t *part, from[BL_MAX_RANK], to[BL_MAX_RANK], at = 0;
    int axis;

    BL_TRY(split_parts(call, &axis, &part));
    bl_strides(x->rank, x->dim, from);
    for (int i = 0; i < call->n_out; at += part[i++]) {
        const bl_tensor *y = &call->out[i];
        if (!y->data) continue;
        bl_strides(y->rank, y->dim, to);
        bl_copy_strided(size, y->rank, y->dim, y->data, to,
                        (const char *)x->data + (size_t)(at * from[axis]) * size, from);
    }
    return BL_OK;
}

/* ------------------------------------------------------------------ Concat */

static bl_status concat_shape(const bl_call *call)
{
    const bl_tensor *x = call->in[0];
    int64_t dim[BL_MAX_RANK];
    int axis;

    BL_TRY(bl_op_begin(call, "axis:i"));
    for (int i = 0; i < call->n_in; i++)
        if (!call->in[i])
            return bl_op_fail(call, BL_DATA, "repair the model", "input %d is missing", i);
    if (!bl_op_is_list(x)) BL_TRY(bl_op_one_type(call, BL_T_MOVABLE));
    if (call->node->opset >= 4 && !bl_node_attr(call->node, "axis"))
        return bl_op_fail(call, BL_DATA, "repair the model", "attribute \"axis\" is missing");
    BL_TRY(bl_op_axis(call, bl_attr_int(call->node, "axis", 1), x->rank, &axis));
    memcpy(dim, x->dim, sizeof dim);
    for (int i = 1; i < call->n_in; i++) {
        const bl_tensor *t = call->in[i];
        bool fits = t->rank == x->rank && t->type == x->type;
        for (int d = 0; fits && d < x->rank; d++) fits = d == axis || t->dim[d] == x->dim[d];
        if (!fits || !bl_add_i64(dim[axis], t->dim[axis], &dim[axis]))
            return bl_op_fail(call, BL_DATA, "repair the model", "shapes %s and %s do not join",
                              bl_shape_text(call->scratch, x), bl_shape_text(call->scratch, t));
    }
    if (bl_op_is_list(x) && dim[0] == 0) return bl_op_list(call, 0, 0);
    return bl_op_out(call, 0, x->type, x->rank, dim);
}

static bl_status concat_forward(const bl_call *call)
{
    const bl_tensor *y = &call->out[0];
    size_t size = bl_dtype_bytes(y->type);
    int64_t from[BL_MAX_RANK], to[BL_MAX_RANK], at = 0;
    int axis;

    BL_TRY(bl_op_axis(call, bl_attr_int(call->node, "axis", 1), y->rank, &axis));
    bl_strides(y->rank, y->dim, to);
    for (int i = 0; i < call->n_in; i++) {
        const bl_tensor *x = call->in[i];
        if (bl_tensor_count(x) == 0) continue;
        bl_strides(x->rank, x->dim, from);
        bl_copy_strided(size, x->rank, x->dim, (char *)y->data + (size_t)(at * to[axis]) * size, to,
                        x->data, from);
        at += x->dim[axis];
    }
    return BL_OK;
}

/* ------------------------------------------------------------------ Pad */

typedef enum pad_mode { PAD_CONSTANT, PAD_REFLECT, PAD_EDGE } pad_mode;

static bl_status pad_pads(const bl_call *call, int64_t *begin, int64_t *end)
{
    int rank = call->in[0]->rank, n, n_axes = -1, axis[BL_MAX_RANK];
    int64_t pads[2 * BL_MAX_RANK];

    if (call->node->opset < 11) {
        const char *name = bl_node_attr(call->node, "pads") ? "pads" : "paddings"; /* opset 1 */
        BL_TRY(bl_op_ints_attr(call, name, 2 * BL_MAX_RANK, pads, &n));
    } else if (bl_op_has(call, 1)) {
        BL_TRY(bl_op_ints(call, 1, 2 * BL_MAX_RANK, pads, &n));
        BL_TRY(bl_op_axes(call, 18, 3, rank, axis, &n_axes));
    } else {
        n = -1;
    }
    if (n_axes < 0)
        for (n_axes = 0; n_axes < rank; n_axes++) axis[n_axes] = n_axes;
    if (n != 2 * n_axes)
        return bl_op_fail(call, BL_DATA, "repair the model", "%d pads for %d dimensions", n,
                          n_axes);
    for (int i = 0; i < rank; i++) begin[i] = end[i] = 0;
    for (int i = 0; i < n_axes; i++) {
        begin[axis[i]] = pads[i];
        end[axis[i]] = pads[n_axes + i];
    }
    return BL_OK;
}

static bl_status pad_read(const bl_call *call, pad_mode *mode, int64_t *begin, int64_t *end)
{
    const char *name = bl_attr_string(call->node, "mode", "constant");
    const bl_tensor *x = call->in[0];

    if (strcmp(name, "constant") == 0)
        *mode = PAD_CONSTANT;
    else if (strcmp(name, "reflect") == 0)
        *mode = PAD_REFLECT;
    else if (strcmp(name, "edge") == 0)
        *mode = PAD_EDGE;
    else
        return bl_op_fail(call, BL_UNAVAILABLE, "use constant, reflect or edge",
                          "mode \"%s\" is not supported", name);
    BL_TRY(pad_pads(call, begin, end));
    for (int i = 0; i < x->rank; i++) {
        int64_t most = *mode == PAD_REFLECT ? x->dim[i] - 1 : INT32_MAX;
        int64_t least = *mode == PAD_REFLECT ? 0 : -x->dim[i]; /* what is cut cannot be mirrored */
        bool gone = *mode == PAD_EDGE && BL_MIN(begin[i], 0) + BL_MIN(end[i], 0) <= -x->dim[i];
        if (gone || BL_MAX(begin[i], end[i]) > most || BL_MIN(begin[i], end[i]) < least)
            return bl_op_fail(call, BL_DATA, "repair the model",
                              "pads %lld and %lld of dimension %d", (long long)begin[i],
                              (long long)end[i], i);
    }
    return BL_OK;
}

static bl_status pad_shape(const bl_call *call)
{
    int64_t begin[BL_MAX_RANK], end[BL_MAX_RANK], dim[BL_MAX_RANK];
    const bl_tensor *x = call->in[0];
    pad_mode mode;

    BL_TRY(bl_op_begin(call, "mode:s pads:I paddings:I value:f"));
    BL_TRY(bl_op_type(call, 0, BL_T_MOVABLE));
    if (bl_op_has(call, 2)) {
        BL_TRY(bl_op_type(call, 2, BL_BIT(x->type)));
        if (bl_tensor_count(call->in[2]) != 1)
            return bl_op_fail(call, BL_DATA, "repair the model",
                              "the padding value is not one number");
    }
    if (call->node->opset < 11 && x->type != BL_F32)
        return bl_op_fail(call, BL_UNAVAILABLE, "convert the model to a newer opset",
                          "padding of %s", bl_dtype_name(x->type));
    BL_TRY(pad_read(call, &mode, begin, end));
    for (int i = 0; i < x->rank; i++) dim[i] = x->dim[i] + begin[i] + end[i];
    return bl_op_out(call, 0, x->type, x->rank, dim);
}

/* Fills the border of dimension d from inside, the dimensions before d not yet padded (their index
 * runs over the input's part), those behind it whole. */
static void pad_mirror(const bl_tensor *x, const bl_tensor *y, const int64_t *begin, int d,
                       pad_mode mode)
{
    size_t size = bl_dtype_bytes(x->type);
    int64_t stride[BL_MAX_RANK], part[BL_MAX_RANK], base = 0;
    int64_t first = BL_MAX(begin[d], 0), last;

    bl_strides(y->rank, y->dim, stride);
    for (int i = 0; i < y->rank; i++) { /* the part that holds data already */
        int64_t lo = BL_MAX(begin[i], 0), hi = BL_MIN(begin[i] + x->dim[i], y->dim[i]);
        part[i] = i > d ? y->dim[i] : i == d ? 1 : hi - lo;
        base += i < d ? lo * stride[i] : 0;
    }
    last = BL_MIN(begin[d] + x->dim[d], y->dim[d]) - 1;
    for (int64_t at = 0; at < y->dim[d]; at++) {
        int64_t from = at < first  ? (mode == PAD_EDGE ? first : 2 * first - at)
                       : at > last ? (mode == PAD_EDGE ? last : 2 * last - at)
                                   : at;
        if (from != at)
            bl_copy_strided(size, y->rank, part,
                            (char *)y->data + (size_t)(base + at * stride[d]) * size, stride,
                            (char *)y->data + (size_t)(base + from * stride[d]) * size, stride);
    }
}

static bl_status pad_forward(const bl_call *call)
{
    const bl_tensor *x = call->in[0], *y = &call->out[0];
    int64_t begin[BL_MAX_RANK], end[BL_MAX_RANK], part[BL_MAX_RANK];
    int64_t from[BL_MAX_RANK], to[BL_MAX_RANK], src = 0, dst = 0;
    size_t size = bl_dtype_bytes(x->type);
    float old = bl_attr_float(call->node, "value", 0.0f);
    uint64_t zero = 0;
    pad_mode mode;
    bool some = true;

    BL_TRY(pad_read(call, &mode, begin, end));
    if (mode == PAD_CONSTANT)
        bl_fill(size, bl_tensor_count(y), y->data,
                bl_op_has(call, 2)       ? call->in[2]->data
                : call->node->opset < 11 ? (const void *)&old
                                         : &zero);
    bl_strides(x->rank, x->dim, from);
    bl_strides(y->rank, y->dim, to);
    for (int i = 0; i < x->rank; i++) { /* a negative pad cuts */
        int64_t cut = BL_MAX(-begin[i], 0);
        part[i] = x->dim[i] - cut - BL_MAX(-end[i], 0);
        some = some && part[i] > 0;
        src += cut * from[i];
        dst += BL_MAX(begin[i], 0) * to[i];
    }
    if (!some) /* everything was cut away: only a constant is left */
        return BL_OK;
    bl_copy_strided(size, x->rank, part, (char *)y->data + (size_t)dst * size, to,
                    (const char *)x->data + (size_t)src * size, from);
    for (int d = x->rank - 1; d >= 0 && mode != PAD_CONSTANT; d--) pad_mirror(x, y, begin, d, mode);
    return BL_OK;
}

/* ------------------------------------------------------------------ integer forms [Q10] */

bl_status bl_slice_integer(bl_lowering *low, const bl_node *node)
{
    bl_call call;
    int64_t from[BL_MAX_RANK], first = 0;
    slice s;

    (void)node;
    if (!low->in[0]) return bl_integer_fail(low, "its input is constant");
    BL_TRY(bl_integer_call(low, &call));
    BL_TRY(slice_read(&call, &s));
    for (int i = 0; i < low->out->rank; i++) {
        first += s.start[i] * low->in[0]->stride[i];
        from[i] = s.count[i] == 1 ? 0 : low->in[0]->stride[i] * s.step[i];
    }
    return bl_emit_move(low, low->in[0], low->out, low->out->rank, low->out->dim, from, first,
                        low->out->stride, 0);
}

/* The border is filled first, as a whole, with one code; then the input lies on top. */
bl_status bl_pad_integer(bl_lowering *low, const bl_node *node)
{
    const bl_ivalue *x = low->in[0], *y = low->out;
    int64_t begin[BL_MAX_RANK], end[BL_MAX_RANK], part[BL_MAX_RANK], none[BL_MAX_RANK] = {0};
    int64_t src = 0, dst = 0;
    pad_mode mode;
    bl_call call;
    bl_ivalue one;

    if (!x) return bl_integer_fail(low, "its input is constant");
    BL_TRY(bl_integer_call(low, &call));
    BL_TRY(pad_read(&call, &mode, begin, end));
    if (mode != PAD_CONSTANT) return bl_integer_fail(low, "padding by reflection or repetition");
    float value = node->opset < 11      ? bl_attr_float(node, "value", 0.0f)
                  : bl_op_has(&call, 2) ? *(const float *)call.in[2]->data
                                        : 0.0f;
    one = *y;
    one.rank = 0;
    BL_TRY(low->code(low, y, bl_quantize(value, y->grid), &one.number));
    BL_TRY(bl_emit_move(low, &one, y, y->rank, y->dim, none, 0, y->stride, 0));
    for (int i = 0; i < x->rank; i++) {
        int64_t cut = BL_MAX(-begin[i], 0);
        part[i] = x->dim[i] - cut - BL_MAX(-end[i], 0);
        if (part[i] < 1) return BL_OK;
        src += cut * x->stride[i];
        dst += BL_MAX(begin[i], 0) * y->stride[i];
    }
    return bl_emit_move(low, x, y, x->rank, part, x->stride, src, y->stride, dst);
}

/* ------------------------------------------------------------------ rows */

#define PARTS_MAX 4096

const bl_op bl_op_slice = {
    .name = "Slice",
    .flags = BL_OP_MOVES,
    .min_opset = 1,
    .in_min = 1,
    .in_max = 5,
    .out_max = 1,
    .shape = slice_shape,
    .forward = slice_forward,
    .gradient = bl_move_gradient,
    .integer = bl_slice_integer,
};

const bl_op bl_op_split = {
    .name = "Split",
    .flags = BL_OP_MOVES,
    .min_opset = 2,
    .in_min = 1,
    .in_max = 2,
    .out_max = PARTS_MAX,
    .shape = split_shape,
    .forward = split_forward,
    .integer = bl_split_integer,
    .gradient = bl_move_gradient,
};

const bl_op bl_op_concat = {
    .name = "Concat",
    .flags = BL_OP_JOINS,
    .min_opset = 1,
    .in_min = 1,
    .in_max = PARTS_MAX,
    .out_max = 1,
    .shape = concat_shape,
    .forward = concat_forward,
    .gradient = bl_move_gradient,
    .integer = bl_concat_integer,
};

const bl_op bl_op_pad = {
    .name = "Pad",
    .flags = BL_OP_MOVES,
    .min_opset = 1,
    .in_min = 1,
    .in_max = 4,
    .out_max = 1,
    .shape = pad_shape,
    .forward = pad_forward,
    .gradient = bl_move_gradient,
    .integer = bl_pad_integer,
};
