/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Normalisations of an element by its surroundings, float32: LRN over neighbouring channels,
 * LpNormalization along an axis, MeanVarianceNormalization over axes.  Those by statistics or
 * whole rows stand in norm.c.  Sums run in binary32 in ascending order [Q17].
 */
#include "ops/ops_private.h"

/* ------------------------------------------------------------------ LRN */

static bl_status lrn_shape(const bl_call *call)
{
    int64_t size;

    BL_TRY(bl_op_begin(call, "alpha:f beta:f bias:f size:i"));
    BL_TRY(bl_op_type(call, 0, BL_T_F32));
    BL_TRY(bl_op_rank(call, 0, 2, BL_MAX_RANK));
    size = bl_attr_int(call->node, "size", 0);
    if (size < 1 || size > INT32_MAX)
        return bl_op_fail(call, BL_DATA, "repair the model", "a window of %lld channels",
                          (long long)size);
    return bl_op_like(call);
}

/* x / (bias + alpha / size * sum of squares)^beta, the sum over channels c - floor((size - 1) / 2)
 * to c + ceil((size - 1) / 2). */
static bl_status lrn_forward(const bl_call *call)
{
    const bl_tensor *t = call->in[0];
    int64_t size = bl_attr_int(call->node, "size", 1), channels = t->dim[1];
    int64_t plane = bl_tensor_count(t) / t->dim[0] / channels;
    float alpha = bl_attr_float(call->node, "alpha", 0.0001f) / (float)size;
    double beta = bl_attr_float(call->node, "beta", 0.75f);
    float bias = bl_attr_float(call->node, "bias", 1.0f);

    for (int64_t n = 0; n < t->dim[0]; n++)
        for (int64_t c = 0; c < channels; c++) {
            const float *x = (const float *)t->data + n * channels * plane;
            float *y = (float *)call->out[0].data + (n * channels + c) * plane;
            int64_t first = BL_MAX(c - (size - 1) / 2, 0), last = BL_MIN(c + size / 2, channels - 1);
            for (int64_t i = 0; i < plane; i++) {
                float sum = 0.0f;
                for (int64_t k = first; k <= last; k++) sum += x[k * plane + i] * x[k * plane + i];
                y[i] = x[c * plane + i] / (float)pow((double)(bias + alpha * sum), beta);
            }
        }
    return BL_OK;
}

/* ------------------------------------------------------------------ LpNormalization */

static bl_status lp_normalization_shape(const bl_call *call)
{
    int64_t p = bl_attr_int(call->node, "p", 2);
    int axis;

    BL_TRY(bl_op_begin(call, "axis:i p:i"));
    BL_TRY(bl_op_type(call, 0, BL_T_F32));
    BL_TRY(bl_op_axis(call, bl_attr_int(call->node, "axis", -1), call->in[0]->rank, &axis));
    if (p != 1 && p != 2)
        return bl_op_fail(call, BL_DATA, "repair the model", "p is %lld, not 1 or 2", (long long)p);
    return bl_op_like(call);
}

static bl_status lp_normalization_forward(const bl_call *call)
{
    const bl_tensor *t = call->in[0];
    bool square = bl_attr_int(call->node, "p", 2) == 2;
    int64_t inner = 1, d, count = bl_tensor_count(t);
    int axis;

    BL_TRY(bl_op_axis(call, bl_attr_int(call->node, "axis", -1), t->rank, &axis));
    for (int i = axis + 1; i < t->rank; i++) inner *= t->dim[i];
    d = t->dim[axis];
    for (int64_t line = 0; line < count / d; line++) {
        int64_t at = line / inner * d * inner + line % inner;
        const float *x = (const float *)t->data + at;
        float *y = (float *)call->out[0].data + at, norm = 0.0f;
        for (int64_t i = 0; i < d; i++) norm += square ? x[i * inner] * x[i * inner]
                                                       : fabsf(x[i * inner]);
        norm = square ? sqrtf(norm) : norm;
        for (int64_t i = 0; i < d; i++) y[i * inner] = norm > 0.0f ? x[i * inner] / norm : 0.0f;
    }
    return BL_OK;
}

/* ------------------------------------------------------------------ MeanVarianceNormalization */

/* Dimensions that are averaged over: by default all but the channels. */
static bl_status variance_axes(const bl_call *call, bool *over)
{
    int64_t raw[BL_MAX_RANK] = {0, 2, 3};
    int n;

    BL_TRY(bl_op_ints_attr(call, "axes", BL_MAX_RANK, raw, &n));
    for (int i = 0; i < BL_MAX_RANK; i++) over[i] = false;
    for (int i = 0; i < (n < 0 ? 3 : n); i++) {
        int axis;
        BL_TRY(bl_op_axis(call, raw[i], call->in[0]->rank, &axis));
        over[axis] = true;
    }
    return BL_OK;
}

static bl_status mean_variance_normalization_shape(const bl_call *call)
{
    bool over[BL_MAX_RANK];

    BL_TRY(bl_op_begin(call, "axes:I"));
    BL_TRY(bl_op_type(call, 0, BL_T_F32));
    BL_TRY(variance_axes(call, over));
    return bl_op_like(call);
}

/* Group of an element: its index in the dimensions that stay. */
static int64_t group_of(const bl_tensor *t, const bool *over, int64_t at)
{
    int64_t group = 0, run = 1;

    for (int d = t->rank - 1; d >= 0; d--) {
        if (!over[d]) {
            group += at % t->dim[d] * run;
            run *= t->dim[d];
        }
        at /= t->dim[d];
    }
    return group;
}

/* (x - mean) / (sqrt(mean((x - mean)^2)) + 1e-9). */
static bl_status mean_variance_normalization_forward(const bl_call *call)
{
    const bl_tensor *t = call->in[0];
    const float *x = t->data;
    float *y = call->out[0].data, *mean, *square;
    int64_t count = bl_tensor_count(t), groups = 1, each;
    bool over[BL_MAX_RANK];

    BL_TRY(variance_axes(call, over));
    for (int i = 0; i < t->rank; i++) groups *= over[i] ? 1 : t->dim[i];
    each = count / groups;
    mean = bl_alloc(call->scratch, (size_t)groups, sizeof *mean);
    BL_ALLOC_TRY(call->ctx, mean);
    square = bl_alloc(call->scratch, (size_t)groups, sizeof *square);
    BL_ALLOC_TRY(call->ctx, square);
    for (int64_t g = 0; g < groups; g++) mean[g] = square[g] = 0.0f;
    for (int64_t i = 0; i < count; i++) mean[group_of(t, over, i)] += x[i];
    for (int64_t g = 0; g < groups; g++) mean[g] /= (float)each;
    for (int64_t i = 0; i < count; i++) {
        int64_t g = group_of(t, over, i);
        y[i] = x[i] - mean[g];
        square[g] += y[i] * y[i];
    }
    for (int64_t g = 0; g < groups; g++) square[g] = sqrtf(square[g] / (float)each) + 1e-9f;
    for (int64_t i = 0; i < count; i++) y[i] /= square[group_of(t, over, i)];
    return BL_OK;
}

#define NORM(title, symbol)                                                                        \
    const bl_op bl_op_##symbol = {                                                                 \
        .name = title,                                                                             \
        .min_opset = 1,                                                                            \
        .in_min = 1,                                                                               \
        .in_max = 1,                                                                               \
        .out_max = 1,                                                                              \
        .shape = symbol##_shape,                                                                   \
        .forward = symbol##_forward,                                                               \
    }

NORM("LRN", lrn);
NORM("LpNormalization", lp_normalization);
NORM("MeanVarianceNormalization", mean_variance_normalization);
