/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Resize and its forerunner Upsample: nearest (any type), linear and cubic (float32) over any
 * dimensions, sizes or scales known beforehand.  Each dimension has its taps and weights; an output
 * is the sum over combinations of taps, first dimension slowest, of the product of weights times
 * the input [Q11].  Antialiasing (opset 18) widens the kernel by 1 / scale where it shrinks.
 */
#include "ops/ops_private.h"

/* Taps of one dimension: n for each output position. */
typedef struct taps {
    int64_t n;
    int64_t *at; /* position * n + tap: input position */
    float *weight;
    bool *outside; /* position lies beyond the input: extrapolation; NULL: none does */
} taps;

/* Where one dimension comes from. */
typedef struct span {
    int64_t in, out;
    float scale, first, last; /* first, last: region of tf_crop_and_resize, 0..1 */
} span;

static bool is_upsample(const bl_call *call)
{
    return strcmp(call->node->op->name, "Upsample") == 0;
}

/* Input of the scales, -1: none.  Opset 10 and Upsample have them second, later a region of
 * interest stands before them. */
static int scales_input(const bl_call *call)
{
    int i = is_upsample(call) || call->node->opset < 11 ? 1 : 2;
    return bl_op_has(call, i) && bl_tensor_count(call->in[i]) > 0 ? i : -1;
}

static const char *coordinates(const bl_call *call)
{
    bool old = is_upsample(call) || call->node->opset < 11;
    return bl_attr_string(call->node, "coordinate_transformation_mode",
                          old ? "asymmetric" : "half_pixel");
}

/* ------------------------------------------------------------------ sizes and scales */

/* n numbers as float32, from an input or from Upsample's attribute. */
static bl_status read_floats(const bl_call *call, int input, int n_max, float *out, int *n)
{
    const bl_attr *a = input < 0 ? bl_node_attr(call->node, "scales") : NULL;
    const bl_tensor *t = input >= 0 ? call->in[input] : NULL;
    const float *from = a ? a->floats : t ? t->data : NULL;
    int64_t count = a ? (int64_t)BL_MIN(a->n, (size_t)n_max + 1) : t ? bl_tensor_count(t) : 0;

    if (t) BL_TRY(bl_op_type(call, input, BL_T_F32));
    if (t && !t->data)
        return bl_op_fail(call, BL_UNAVAILABLE, "bind the dynamic dimensions or fold the model",
                          "the scales must be known before the network runs");
    if (count > n_max)
        return bl_op_fail(call, BL_DATA, "repair the model", "there are more numbers than axes");
    for (int64_t i = 0; i < count; i++) out[i] = from[i];
    *n = (int)count;
    return BL_OK;
}

/* Sizes of which one scale serves all axes: the smallest or largest, results rounded half up. */
static bl_status keep_ratio(const bl_call *call, const int *axis, int n, const char *policy,
                            span *s)
{
    bool larger = strcmp(policy, "not_smaller") == 0;
    float scale = s[axis[0]].scale;

    if (!larger && strcmp(policy, "not_larger") != 0)
        return bl_op_fail(call, BL_DATA, "repair the model", "policy \"%s\" is unknown", policy);
    for (int i = 1; i < n; i++) {
        float other = s[axis[i]].scale;
        scale = larger ? BL_MAX(scale, other) : BL_MIN(scale, other);
    }
    for (int i = 0; i < n; i++) {
        s[axis[i]].scale = scale;
        s[axis[i]].out = (int64_t)floorf(scale * (float)s[axis[i]].in + 0.5f);
    }
    return BL_OK;
}

static bl_status read_region(const bl_call *call, const int *axis, int n, span *s)
{
    float region[2 * BL_MAX_RANK];
    int count = 0;

    if (strcmp(coordinates(call), "tf_crop_and_resize") != 0) return BL_OK;
    if (bl_op_has(call, 1)) BL_TRY(read_floats(call, 1, 2 * BL_MAX_RANK, region, &count));
    if (count != 2 * n)
        return bl_op_fail(call, BL_DATA, "repair the model", "the region has %d numbers for %d axes",
                          count, n);
    for (int i = 0; i < n; i++) {
        s[axis[i]].first = region[i];
        s[axis[i]].last = region[n + i];
        if (!(fabsf(region[i]) < 1e6f && fabsf(region[n + i]) < 1e6f))
            return bl_op_fail(call, BL_DATA, "repair the model", "the region lies far outside");
    }
    return BL_OK;
}

static bl_status resize_read(const bl_call *call, span *s)
{
    const bl_tensor *x = call->in[0];
    const char *policy = bl_attr_string(call->node, "keep_aspect_ratio_policy", "stretch");
    int by_scale = scales_input(call), n_axes, n = -1, axis[BL_MAX_RANK];
    int64_t size[BL_MAX_RANK], raw[BL_MAX_RANK];
    float scale[BL_MAX_RANK];
    bool sizes = by_scale < 0 && !is_upsample(call);

    BL_TRY(bl_op_ints_attr(call, "axes", BL_MAX_RANK, raw, &n_axes));
    for (int i = 0; i < n_axes; i++) BL_TRY(bl_op_axis(call, raw[i], x->rank, &axis[i]));
    if (n_axes < 0)
        for (n_axes = 0; n_axes < x->rank; n_axes++) axis[n_axes] = n_axes;
    for (int i = 0; i < x->rank; i++) s[i] = (span){x->dim[i], x->dim[i], 1.0f, 0.0f, 1.0f};
    if (!sizes)
        BL_TRY(read_floats(call, by_scale, BL_MAX_RANK, scale, &n));
    else if (bl_op_has(call, 3))
        BL_TRY(bl_op_ints(call, 3, BL_MAX_RANK, size, &n));
    if (n != n_axes)
        return bl_op_fail(call, BL_DATA, "repair the model",
                          "there is not one scale or size for each of %d dimensions", n_axes);
    for (int i = 0; i < n; i++) {
        span *d = &s[axis[i]];
        d->scale = sizes ? (float)size[i] / (float)d->in : scale[i];
        if (!(d->scale > 0 && (float)d->in * d->scale < (float)INT32_MAX))
            return bl_op_fail(call, BL_DATA, "repair the model", "scale %g", (double)d->scale);
        d->out = sizes ? size[i] : (int64_t)floorf((float)d->in * d->scale);
    }
    if (sizes && n > 0 && strcmp(policy, "stretch") != 0)
        BL_TRY(keep_ratio(call, axis, n, policy, s));
    return read_region(call, axis, n_axes, s);
}

/* ------------------------------------------------------------------ shape */

static bool one_of(const char *text, const char *const *list)
{
    for (; *list; list++)
        if (strcmp(text, *list) == 0) return true;
    return false;
}

static bl_status resize_shape(const bl_call *call)
{
    static const char *const modes[] = {"nearest", "linear", "cubic", NULL};
    static const char *const places[] = {"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel",
                                         "align_corners", "asymmetric", "tf_crop_and_resize",
                                         "tf_half_pixel_for_nn", NULL};
    static const char *const rounds[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil",
                                         NULL};
    const char *mode = bl_attr_string(call->node, "mode", "nearest");
    const char *round = bl_attr_string(call->node, "nearest_mode", "round_prefer_floor");
    int64_t dim[BL_MAX_RANK];
    span s[BL_MAX_RANK];

    BL_TRY(bl_op_begin(call, "antialias:i axes:I coordinate_transformation_mode:s cubic_coeff_a:f "
                             "exclude_outside:i extrapolation_value:f keep_aspect_ratio_policy:s "
                             "mode:s nearest_mode:s scales:F"));
    BL_TRY(bl_op_type(call, 0, strcmp(mode, "nearest") == 0 ? BL_T_MOVABLE : BL_T_F32));
    if (!one_of(mode, modes) || !one_of(round, rounds) || !one_of(coordinates(call), places))
        return bl_op_fail(call, BL_UNAVAILABLE, "export with another interpolation",
                          "mode %s, %s, %s is not supported", mode, coordinates(call), round);
    BL_TRY(resize_read(call, s));
    for (int i = 0; i < call->in[0]->rank; i++) dim[i] = s[i].out;
    return bl_op_out(call, 0, call->in[0]->type, call->in[0]->rank, dim);
}

/* ------------------------------------------------------------------ taps */

/* The input position that output position i stands for. */
static float place(const char *mode, int64_t i, const span *s)
{
    float in = (float)s->in, out = (float)s->out;

    if (strcmp(mode, "asymmetric") == 0) return (float)i / s->scale;
    if (strcmp(mode, "tf_half_pixel_for_nn") == 0) return ((float)i + 0.5f) / s->scale;
    if (strcmp(mode, "align_corners") == 0)
        return s->out > 1 ? (float)i * (in - 1) / (out - 1) : 0.0f;
    if (strcmp(mode, "tf_crop_and_resize") == 0) {
        if (s->out == 1) return 0.5f * (s->first + s->last) * (in - 1);
        return s->first * (in - 1) + (float)i * (s->last - s->first) * (in - 1) / (out - 1);
    }
    if (strcmp(mode, "pytorch_half_pixel") == 0 && s->out <= 1) return 0.0f;
    if (strcmp(mode, "half_pixel_symmetric") == 0)
        return in / 2 * (1 - out / (s->scale * in)) + ((float)i + 0.5f) / s->scale - 0.5f;
    return ((float)i + 0.5f) / s->scale - 0.5f;
}

static int64_t nearest(const char *round, float x)
{
    if (strcmp(round, "floor") == 0) return (int64_t)floorf(x);
    if (strcmp(round, "ceil") == 0) return (int64_t)ceilf(x);
    if (strcmp(round, "round_prefer_ceil") == 0) return (int64_t)floorf(x + 0.5f);
    return (int64_t)ceilf(x - 0.5f);
}

/* Weight at distance d: a hat, or Keys' kernel. */
static float kernel(bool is_cubic, float a, float d)
{
    d = fabsf(d);
    if (!is_cubic) return BL_MAX(1.0f - d, 0.0f);
    if (d <= 1.0f) return ((a + 2) * d - (a + 3)) * d * d + 1;
    return d < 2.0f ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0.0f;
}

static bl_status alloc_taps(const bl_call *call, int64_t out, bool crops, taps *t)
{
    t->at = bl_alloc(call->scratch, (size_t)out * (size_t)t->n, sizeof *t->at);
    BL_ALLOC_TRY(call->ctx, t->at);
    t->weight = bl_alloc(call->scratch, (size_t)out * (size_t)t->n, sizeof *t->weight);
    BL_ALLOC_TRY(call->ctx, t->weight);
    t->outside = crops ? bl_alloc(call->scratch, (size_t)out, sizeof *t->outside) : NULL;
    if (crops) BL_ALLOC_TRY(call->ctx, t->outside);
    return BL_OK;
}

/* Weights of the taps from `first` on around x; normalised where outer ones may be missing. */
static void weigh(const span *s, const taps *t, int64_t i, int64_t first, float x, float shrink,
                  bool is_cubic, float a, bool drop)
{
    float *w = t->weight + i * t->n, sum = 0.0f;

    for (int64_t k = 0; k < t->n; k++) {
        bool outside = first + k < 0 || first + k >= s->in;
        w[k] = outside && drop ? 0.0f : kernel(is_cubic, a, ((float)(first + k) - x) * shrink);
        sum += w[k];
        t->at[i * t->n + k] = BL_MIN(BL_MAX(first + k, 0), s->in - 1);
    }
    if (drop || shrink < 1.0f)
        for (int64_t k = 0; k < t->n; k++) w[k] /= sum;
}

static bl_status make_taps(const bl_call *call, const span *s, taps *t)
{
    const char *mode = bl_attr_string(call->node, "mode", "nearest"), *where = coordinates(call);
    bool old = is_upsample(call) || call->node->opset < 11;
    const char *round = bl_attr_string(call->node, "nearest_mode",
                                       old ? "floor" : "round_prefer_floor");
    bool crops = strcmp(where, "tf_crop_and_resize") == 0, is_cubic = strcmp(mode, "cubic") == 0;
    bool same = s->in == s->out && s->scale == 1.0f && !crops;
    bool single = same || strcmp(mode, "nearest") == 0;
    bool drop = bl_attr_int(call->node, "exclude_outside", 0) != 0;
    float a = bl_attr_float(call->node, "cubic_coeff_a", -0.75f);
    float shrink = bl_attr_int(call->node, "antialias", 0) ? BL_MIN(s->scale, 1.0f) : 1.0f;
    int64_t before = (int64_t)floorf((is_cubic ? -2.0f : -1.0f) / shrink) + 1;

    t->n = single ? 1 : 2 - 2 * before;
    BL_TRY(alloc_taps(call, s->out, crops, t));
    for (int64_t i = 0; i < s->out; i++) {
        float x = same ? (float)i : place(where, i, s);
        if (crops) t->outside[i] = !(x >= 0.0f && x <= (float)(s->in - 1));
        if (single) {
            int64_t at = same ? i : nearest(round, x);
            t->at[i] = BL_MIN(BL_MAX(at, 0), s->in - 1);
            t->weight[i] = 1.0f;
            continue;
        }
        if (!is_cubic && shrink == 1.0f) x = BL_MIN(BL_MAX(x, 0.0f), (float)(s->in - 1));
        weigh(s, t, i, (int64_t)floorf(x) + before, x, shrink, is_cubic, a, drop);
    }
    return BL_OK;
}

/* ------------------------------------------------------------------ forward */

/* Sum over the taps of dimensions d.. with the product of weights so far. */
static float sample(const taps *t, const int64_t *index, const int64_t *stride, int d, int rank,
                    const float *x, float weight)
{
    float sum = 0.0f;

    if (d == rank) return weight * *x;
    for (int64_t k = 0; k < t[d].n; k++) {
        int64_t at = index[d] * t[d].n + k;
        float part = sample(t, index, stride, d + 1, rank, x + t[d].at[at] * stride[d],
                            weight * t[d].weight[at]);
        sum = k ? sum + part : part;
    }
    return sum;
}

/* Every output is one input: copies, row by row. */
static void pick(const taps *t, const int64_t *stride, const bl_tensor *x, bl_tensor *y)
{
    size_t size = bl_dtype_bytes(x->type);
    int last = x->rank - 1;
    int64_t index[BL_MAX_RANK] = {0}, n = bl_tensor_count(y), row = y->dim[last];
    char *to = y->data;

    for (int64_t i = 0; i < n; i += row) {
        int64_t at = 0;
        for (int d = 0; d < last; d++) at += t[d].at[index[d]] * stride[d];
        const char *from = (const char *)x->data + (size_t)at * size;
        if (size == sizeof(float))
            for (int64_t k = 0; k < row; k++, to += size) memcpy(to, from + (size_t)t[last].at[k] * sizeof(float), sizeof(float));
        else
            for (int64_t k = 0; k < row; k++, to += size) memcpy(to, from + (size_t)t[last].at[k] * size, size);
        for (int d = last - 1; d >= 0 && ++index[d] == y->dim[d]; d--) index[d] = 0;
    }
}

static bl_status resize_forward(const bl_call *call)
{
    const bl_tensor *x = call->in[0];
    bl_tensor *y = &call->out[0];
    int64_t stride[BL_MAX_RANK], index[BL_MAX_RANK] = {0}, n = bl_tensor_count(y);
    float beyond = bl_attr_float(call->node, "extrapolation_value", 0.0f);
    bool single = x->rank > 0 && n > 0;
    span s[BL_MAX_RANK];
    taps t[BL_MAX_RANK];

    BL_TRY(resize_read(call, s));
    bl_strides(x->rank, x->dim, stride);
    for (int d = 0; d < x->rank; d++) {
        BL_TRY(make_taps(call, &s[d], &t[d]));
        single &= t[d].n == 1 && (!t[d].outside || x->type != BL_F32);
    }
    if (single) {
        pick(t, stride, x, y);
        return BL_OK;
    }
    for (int64_t i = 0; i < n; i++) {
        bool outside = false;
        for (int d = 0; d < x->rank; d++)
            outside = outside || (t[d].outside && t[d].outside[index[d]]);
        ((float *)y->data)[i] = outside ? beyond : sample(t, index, stride, 0, x->rank, x->data, 1.0f);
        for (int d = x->rank - 1; d >= 0 && ++index[d] == s[d].out; d--) index[d] = 0;
    }
    return BL_OK;
}

/* Nearest, where each element is repeated a whole number of times: a copy [Q10]. */
bl_status bl_resize_integer(bl_lowering *low, const bl_node *node)
{
    const bl_ivalue *x = low->in[0], *y = low->out;
    int64_t size[2 * BL_MAX_RANK], from[2 * BL_MAX_RANK], to[2 * BL_MAX_RANK];
    span s[BL_MAX_RANK];
    bl_call call;
    if (!x || strcmp(bl_attr_string(node, "mode", "nearest"), "nearest") != 0)
        return bl_integer_fail(low, "it interpolates");
    BL_TRY(bl_integer_call(low, &call));
    BL_TRY(resize_read(&call, s));
    for (int d = 0; d < x->rank; d++) {
        int64_t times = y->dim[d] / x->dim[d];
        taps t;
        BL_TRY(make_taps(&call, &s[d], &t));
        for (int64_t i = 0; i < y->dim[d]; i++)
            if (times * x->dim[d] != y->dim[d] || t.outside || t.at[i] != i / times)
                return bl_integer_fail(low, "its elements are not repeated evenly");
        size[2 * d] = x->dim[d];
        from[2 * d] = x->stride[d];
        to[2 * d] = times * y->stride[d];
        size[2 * d + 1] = times;
        from[2 * d + 1] = 0;
        to[2 * d + 1] = y->stride[d];
    }
    return bl_emit_move(low, x, y, 2 * x->rank, size, from, 0, to, 0);
}

const bl_op bl_op_resize = {
    .name = "Resize",
    .min_opset = 10,
    .in_min = 1,
    .in_max = 4,
    .out_max = 1,
    .shape = resize_shape,
    .forward = resize_forward,
    .integer = bl_resize_integer,
};

/* Asymmetric coordinates, the lower neighbour; scales are an attribute before opset 9. */
const bl_op bl_op_upsample = {
    .name = "Upsample",
    .min_opset = 7,
    .in_min = 1,
    .in_max = 2,
    .out_max = 1,
    .shape = resize_shape,
    .forward = resize_forward,
    .integer = bl_resize_integer,
};
