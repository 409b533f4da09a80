/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Resize in float32: nearest, linear and cubic over any dimensions, sizes or scales known
 * beforehand. Each dimension has its taps and weights; an output is the sum over combinations of
 * taps, first dimension slowest, of the product of weights times the input [Q11].  Cropping
 * (tf_crop_and_resize) and antialiasing are refused.
 */
#include "ops/ops_private.h"

enum { TAPS_MAX = 4 };

typedef struct taps {
    int n;       /* of each output position: 1, 2 or 4 */
    int64_t *at; /* position * n + tap: input position */
    float *weight;
} taps;

/* Input of scales or of sizes, -1: none.  Opset 10 has scales second, later ones roi before them.
 */
static int scales_input(const bl_call *call)
{
    int i = call->node->opset < 11 ? 1 : 2;
    return bl_op_has(call, i) && bl_tensor_count(call->in[i]) > 0 ? i : -1;
}

static bl_status resize_read(const bl_call *call, int64_t *dim, float *scale)
{
    const bl_tensor *x = call->in[0];
    int by_scale = scales_input(call), n = -1;

    if (by_scale >= 0) {
        const bl_tensor *t = call->in[by_scale];
        BL_TRY(bl_op_type(call, by_scale, BL_T_F32));
        if (!t->data)
            return bl_op_fail(call, BL_UNAVAILABLE, "bind the dynamic dimensions or fold the model",
                              "the scales must be known before the network runs");
        n = (int)BL_MIN(bl_tensor_count(t), BL_MAX_RANK + 1);
        for (int i = 0; i < n && i < x->rank; i++) {
            scale[i] = ((const float *)t->data)[i];
            if (!(scale[i] > 0 && (float)x->dim[i] * scale[i] < (float)INT32_MAX))
                return bl_op_fail(call, BL_DATA, "repair the model", "scale %g", (double)scale[i]);
            dim[i] = (int64_t)floorf((float)x->dim[i] * scale[i]);
        }
    } else if (bl_op_has(call, 3)) {
        BL_TRY(bl_op_ints(call, 3, BL_MAX_RANK, dim, &n));
        for (int i = 0; i < n && i < x->rank; i++) scale[i] = (float)dim[i] / (float)x->dim[i];
    }
    if (n != x->rank)
        return bl_op_fail(call, BL_DATA, "repair the model",
                          "there is not one scale or size for each of %d dimensions", x->rank);
    return BL_OK;
}

static bool one_of(const char *text, const char *const *list)
{
    for (; *list; list++)
        if (strcmp(text, *list) == 0) return true;
    return false;
}

static const char *coordinates(const bl_call *call)
{
    return bl_attr_string(call->node, "coordinate_transformation_mode",
                          call->node->opset < 11 ? "asymmetric" : "half_pixel");
}

static bl_status resize_shape(const bl_call *call)
{
    static const char *const modes[] = {"nearest", "linear", "cubic", NULL};
    static const char *const places[] = {"half_pixel", "pytorch_half_pixel", "align_corners",
                                         "asymmetric", NULL};
    static const char *const rounds[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil",
                                         NULL};
    const char *mode = bl_attr_string(call->node, "mode", "nearest");
    const char *round = bl_attr_string(call->node, "nearest_mode", "round_prefer_floor");
    int64_t dim[BL_MAX_RANK];
    float scale[BL_MAX_RANK];

    BL_TRY(bl_op_begin(call, "antialias:i coordinate_transformation_mode:s cubic_coeff_a:f "
                             "exclude_outside:i extrapolation_value:f mode:s nearest_mode:s"));
    BL_TRY(bl_op_type(call, 0, BL_T_F32));
    if (!one_of(mode, modes) || !one_of(round, rounds) || !one_of(coordinates(call), places) ||
        bl_attr_int(call->node, "antialias", 0) || bl_node_attr(call->node, "axes") ||
        bl_node_attr(call->node, "keep_aspect_ratio_policy"))
        return bl_op_fail(call, BL_UNAVAILABLE, "export with another interpolation",
                          "mode %s, %s, %s or an attribute is not supported", mode,
                          coordinates(call), round);
    BL_TRY(resize_read(call, dim, scale));
    return bl_op_out(call, 0, BL_F32, call->in[0]->rank, dim);
}

static float place(const char *mode, int64_t i, float scale, int64_t in, int64_t out)
{
    if (strcmp(mode, "asymmetric") == 0) return (float)i / scale;
    if (strcmp(mode, "align_corners") == 0)
        return out > 1 ? (float)i * (float)(in - 1) / (float)(out - 1) : 0.0f;
    if (strcmp(mode, "pytorch_half_pixel") == 0 && out <= 1) return 0.0f;
    return ((float)i + 0.5f) / scale - 0.5f;
}

static int64_t nearest(const char *round, float x)
{
    if (strcmp(round, "floor") == 0) return (int64_t)floorf(x);
    if (strcmp(round, "ceil") == 0) return (int64_t)ceilf(x);
    if (strcmp(round, "round_prefer_ceil") == 0) return (int64_t)floorf(x + 0.5f);
    return (int64_t)ceilf(x - 0.5f);
}

/* Keys' kernel at distances 1+f, f, 1-f, 2-f. */
static void cubic(float f, float a, float *w)
{
    float g = 1.0f - f;

    w[0] = ((a * (f + 1) - 5 * a) * (f + 1) + 8 * a) * (f + 1) - 4 * a;
    w[1] = ((a + 2) * f - (a + 3)) * f * f + 1;
    w[2] = ((a + 2) * g - (a + 3)) * g * g + 1;
    w[3] = ((a * (g + 1) - 5 * a) * (g + 1) + 8 * a) * (g + 1) - 4 * a;
}

static bl_status make_taps(const bl_call *call, int64_t in, int64_t out, float scale, taps *t)
{
    const char *mode = bl_attr_string(call->node, "mode", "nearest");
    const char *round = bl_attr_string(call->node, "nearest_mode",
                                       call->node->opset < 11 ? "floor" : "round_prefer_floor");
    bool drop = bl_attr_int(call->node, "exclude_outside", 0) != 0;
    float a = bl_attr_float(call->node, "cubic_coeff_a", -0.75f);
    bool same = in == out && scale == 1.0f;

    t->n = same || strcmp(mode, "nearest") == 0 ? 1 : strcmp(mode, "linear") == 0 ? 2 : TAPS_MAX;
    t->at = bl_alloc(call->scratch, (size_t)out * (size_t)t->n, sizeof *t->at);
    BL_ALLOC_TRY(call->ctx, t->at);
    t->weight = bl_alloc(call->scratch, (size_t)out * (size_t)t->n, sizeof *t->weight);
    BL_ALLOC_TRY(call->ctx, t->weight);
    for (int64_t i = 0; i < out; i++) {
        float x = same ? (float)i : place(coordinates(call), i, scale, in, out);
        float w[TAPS_MAX] = {1.0f}, sum = 0.0f;
        int64_t first = same ? i : nearest(round, x);
        if (t->n > 1) {
            float f;
            x = t->n == 2 ? BL_MIN(BL_MAX(x, 0.0f), (float)(in - 1)) : x;
            first = (int64_t)floorf(x);
            f = x - (float)first;
            if (t->n == 2) {
                w[0] = 1.0f - f;
                w[1] = f;
            } else {
                cubic(f, a, w);
                first--;
            }
        }
        for (int k = 0; k < t->n; k++) {
            bool outside = first + k < 0 || first + k >= in;
            w[k] = outside && drop && t->n > 1 ? 0.0f : w[k];
            sum += w[k];
            t->at[i * t->n + k] = BL_MIN(BL_MAX(first + k, 0), in - 1);
        }
        for (int k = 0; k < t->n; k++)
            t->weight[i * t->n + k] = drop && t->n > 1 ? w[k] / sum : w[k];
    }
    return BL_OK;
}

/* Sum over the taps of dimensions d.. with the product of weights so far. */
static float sample(const taps *t, const int64_t *index, const int64_t *stride, int d, int rank,
                    const float *x, float weight)
{
    float sum = 0.0f;

    if (d == rank) return weight * *x;
    for (int k = 0; k < t[d].n; k++) {
        int64_t at = index[d] * t[d].n + k;
        float part = sample(t, index, stride, d + 1, rank, x + t[d].at[at] * stride[d],
                            weight * t[d].weight[at]);
        sum = k ? sum + part : part;
    }
    return sum;
}

static bl_status resize_forward(const bl_call *call)
{
    const bl_tensor *x = call->in[0], *y = &call->out[0];
    int64_t dim[BL_MAX_RANK], stride[BL_MAX_RANK], index[BL_MAX_RANK] = {0};
    int64_t n = bl_tensor_count(y);
    float scale[BL_MAX_RANK];
    taps t[BL_MAX_RANK];

    BL_TRY(resize_read(call, dim, scale));
    bl_strides(x->rank, x->dim, stride);
    for (int d = 0; d < x->rank; d++) BL_TRY(make_taps(call, x->dim[d], dim[d], scale[d], &t[d]));
    for (int64_t i = 0; i < n; i++) {
        ((float *)y->data)[i] = sample(t, index, stride, 0, x->rank, x->data, 1.0f);
        for (int d = x->rank - 1; d >= 0 && ++index[d] == dim[d]; d--) index[d] = 0;
    }
    return BL_OK;
}

/* Nearest, where each element is repeated a whole number of times: a copy [Q10]. */
bl_status bl_resize_integer(bl_lowering *low, const bl_node *node)
{
    const bl_ivalue *x = low->in[0], *y = low->out;
    int64_t dim[BL_MAX_RANK], size[2 * BL_MAX_RANK], from[2 * BL_MAX_RANK], to[2 * BL_MAX_RANK];
    float scale[BL_MAX_RANK];
    bl_call call;
    if (!x || strcmp(bl_attr_string(node, "mode", "nearest"), "nearest") != 0)
        return bl_integer_fail(low, "it interpolates");
    BL_TRY(bl_integer_call(low, &call));
    BL_TRY(resize_read(&call, dim, scale));
    for (int d = 0; d < x->rank; d++) {
        int64_t times = y->dim[d] / x->dim[d];
        taps t;
        BL_TRY(make_taps(&call, x->dim[d], y->dim[d], scale[d], &t));
        for (int64_t i = 0; i < y->dim[d]; i++)
            if (times * x->dim[d] != y->dim[d] || t.at[i] != i / times)
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
