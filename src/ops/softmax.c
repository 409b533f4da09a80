/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Softmax, LogSoftmax and Hardmax in float32.  Before opset 13 the input is a matrix cut at `axis` (default
 * 1) and a row is normalised; since 13 the one axis `axis` (default -1) is.  exp in double rounded
 * once, sums in binary32 from left to right.
 */
#include "ops/ops_private.h"

/* outer x d x inner: elements of one distribution lie `inner` apart. */
static bl_status softmax_read(const bl_call *call, int64_t *outer, int64_t *d, int64_t *inner)
{
    const bl_tensor *x = call->in[0];
    bool flat = call->node->opset < 13;
    int64_t given = bl_attr_int(call->node, "axis", flat ? 1 : -1);
    int axis;

    if (flat && given == x->rank) /* allowed there: rows of one element */
        axis = x->rank;
    else
        BL_TRY(bl_op_axis(call, given, x->rank, &axis));
    *outer = *d = *inner = 1;
    for (int i = 0; i < x->rank; i++) {
        if (i < axis)
            *outer *= x->dim[i];
        else if (i == axis || flat)
            *d *= x->dim[i];
        else
            *inner *= x->dim[i];
    }
    return BL_OK;
}

static bl_status softmax_shape(const bl_call *call)
{
    int64_t outer, d, inner;

    BL_TRY(bl_op_begin(call, "axis:i"));
    BL_TRY(bl_op_type(call, 0, BL_T_F32));
    BL_TRY(softmax_read(call, &outer, &d, &inner));
    return bl_op_like(call);
}

static void normalise(const float *x, float *y, int64_t d, int64_t step, bool logarithm)
{
    float most = x[0], sum = 0.0f;

    for (int64_t i = 1; i < d; i++) most = x[i * step] > most ? x[i * step] : most;
    for (int64_t i = 0; i < d; i++) {
        float e = (float)exp((double)(x[i * step] - most));
        y[i * step] = e;
        sum += e;
    }
    if (logarithm) {
        float off = (float)log((double)sum);
        for (int64_t i = 0; i < d; i++) y[i * step] = x[i * step] - most - off;
    } else {
        for (int64_t i = 0; i < d; i++) y[i * step] /= sum;
    }
}

static bl_status forward(const bl_call *call, bool logarithm)
{
    const float *x = call->in[0]->data;
    float *y = call->out[0].data;
    int64_t outer, d, inner;

    BL_TRY(softmax_read(call, &outer, &d, &inner));
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < inner; i++)
            normalise(x + o * d * inner + i, y + o * d * inner + i, d, inner, logarithm);
    return BL_OK;
}

static bl_status softmax_forward(const bl_call *call)
{
    return forward(call, false);
}

static bl_status log_softmax_forward(const bl_call *call)
{
    return forward(call, true);
}

/* y and the gradient by it: Softmax y (g - sum g y), LogSoftmax g - exp(y) sum g. */
static bl_status backward(const bl_call *call, const float *g, float *to, bool logarithm)
{
    const float *y = call->out[0].data;
    int64_t outer, d, inner;

    BL_TRY(softmax_read(call, &outer, &d, &inner));
    for (int64_t r = 0; to && r < outer * inner; r++) {
        int64_t base = r / inner * d * inner + r % inner;
        double sum = 0;
        for (int64_t i = 0; i < d; i++)
            sum += logarithm ? (double)g[base + i * inner]
                             : (double)g[base + i * inner] * y[base + i * inner];
        for (int64_t i = 0; i < d; i++) {
            int64_t at = base + i * inner;
            to[at] = (float)(logarithm ? g[at] - exp((double)y[at]) * sum : y[at] * (g[at] - sum));
        }
    }
    return BL_OK;
}

static bl_status softmax_gradient(const bl_call *call, const bl_tensor *const *out_grad,
                                  bl_tensor *in_grad)
{
    return backward(call, out_grad[0]->data, in_grad[0].data, false);
}

static bl_status log_softmax_gradient(const bl_call *call, const bl_tensor *const *out_grad,
                                      bl_tensor *in_grad)
{
    return backward(call, out_grad[0]->data, in_grad[0].data, true);
}

/* 1 at the first of the largest, 0 elsewhere. */
static bl_status hardmax_forward(const bl_call *call)
{
    int64_t outer, d, inner;

    BL_TRY(softmax_read(call, &outer, &d, &inner));
    memset(call->out[0].data, 0, bl_tensor_bytes(&call->out[0]));
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < inner; i++) {
            const float *x = (const float *)call->in[0]->data + o * d * inner + i;
            int64_t best = 0;
            for (int64_t k = 1; k < d; k++)
                if (x[k * inner] > x[best * inner]) best = k;
            ((float *)call->out[0].data)[(o * d + best) * inner + i] = 1.0f;
        }
    return BL_OK;
}

const bl_op bl_op_hardmax = {
    .name = "Hardmax",
    .min_opset = 1,
    .in_min = 1,
    .in_max = 1,
    .out_max = 1,
    .shape = softmax_shape,
    .forward = hardmax_forward,
};

const bl_op bl_op_softmax = {
    .name = "Softmax",
    .min_opset = 1,
    .in_min = 1,
    .in_max = 1,
    .out_max = 1,
    .shape = softmax_shape,
    .forward = softmax_forward,
    .gradient = softmax_gradient,
    .integer = bl_softmax_integer,
};

const bl_op bl_op_log_softmax = {
    .name = "LogSoftmax",
    .min_opset = 1,
    .in_min = 1,
    .in_max = 1,
    .out_max = 1,
    .shape = softmax_shape,
    .forward = log_softmax_forward,
    .gradient = log_softmax_gradient,
};
