/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Normalisations in float32: BatchNormalization (inference), InstanceNormalization,
 * GroupNormalization, LayerNormalization, RMSNormalization.  Means and variances of all but the
 * first are sums from left to right in binary32 [Q17].
 */
#include "ops/ops_private.h"

static bl_status check_vectors(const bl_call *call, int first, int64_t channels)
{
    for (int i = first; i < call->n_in; i++)
        if (call->in[i]->rank != 1 || call->in[i]->dim[0] != channels)
            return bl_op_fail(call, BL_DATA, "repair the model",
                              "input %d is not one number for each of %lld channels", i,
                              (long long)channels);
    return BL_OK;
}

/* ------------------------------------------------------------------ BatchNormalization */

static bl_status batch_normalization_shape(const bl_call *call)
{
    BL_TRY(bl_op_begin(call, "epsilon:f momentum:f is_test:i spatial:i training_mode:i"));
    BL_TRY(bl_op_one_type(call, BL_T_F32));
    BL_TRY(bl_op_rank(call, 0, 2, BL_MAX_RANK));
    if (bl_attr_int(call->node, "training_mode", 0) || !bl_attr_int(call->node, "spatial", 1))
        return bl_op_fail(call, BL_UNAVAILABLE, "export the model for inference",
                          "training_mode and spatial=0 are not supported");
    BL_TRY(check_vectors(call, 1, call->in[0]->dim[1]));
    return bl_op_like(call);
}

/* (x - mean) / sqrt(var + epsilon) * scale + shift, as one factor and one addend for a channel. */
static bl_status batch_normalization_forward(const bl_call *call)
{
    const bl_tensor *t = call->in[0];
    const float *scale = call->in[1]->data, *shift = call->in[2]->data;
    const float *mean = call->in[3]->data, *var = call->in[4]->data;
    float epsilon = bl_attr_float(call->node, "epsilon", 1e-5f);
    int64_t channels = t->dim[1], plane = bl_tensor_count(t) / t->dim[0] / channels;
    const float *x = t->data;
    float *y = call->out[0].data;

    for (int64_t p = 0; p < t->dim[0] * channels; p++) {
        int64_t c = p % channels;
        float factor = scale[c] / sqrtf(var[c] + epsilon);
        for (int64_t i = 0; i < plane; i++)
            y[p * plane + i] = (x[p * plane + i] - mean[c]) * factor + shift[c];
    }
    return BL_OK;
}

/* Inference: mean and variance are numbers of their own. */
static bl_status batch_normalization_gradient(const bl_call *call, const bl_tensor *const *out_grad,
                                              bl_tensor *in_grad)
{
    const bl_tensor *t = call->in[0];
    const float *scale = call->in[1]->data, *mean = call->in[3]->data, *var = call->in[4]->data;
    const float *x = t->data, *g = out_grad[0]->data;
    float epsilon = bl_attr_float(call->node, "epsilon", 1e-5f), *to = in_grad[0].data;
    int64_t channels = t->dim[1], plane = bl_tensor_count(t) / t->dim[0] / channels;
    double *sum = bl_alloc(call->scratch, (size_t)channels, 2 * sizeof *sum);

    BL_ALLOC_TRY(call->ctx, sum);
    memset(sum, 0, (size_t)channels * 2 * sizeof *sum);
    for (int64_t p = 0; p < t->dim[0] * channels; p++) {
        int64_t c = p % channels;
        float inverse = 1.0f / sqrtf(var[c] + epsilon);
        for (int64_t i = p * plane; i < (p + 1) * plane; i++) {
            if (to) to[i] = g[i] * (scale[c] * inverse);
            sum[2 * c] += (double)g[i] * ((x[i] - mean[c]) * inverse);
            sum[2 * c + 1] += g[i];
        }
    }
    for (int64_t c = 0; c < channels; c++) {
        double square = (double)var[c] + epsilon, factor = scale[c] / sqrt(square);
        double by[5] = {0, sum[2 * c], sum[2 * c + 1], -factor * sum[2 * c + 1],
                        -0.5 * scale[c] * sum[2 * c] / square};
        for (int k = 1; k < 5; k++)
            if (in_grad[k].data) ((float *)in_grad[k].data)[c] = (float)by[k];
    }
    return BL_OK;
}

/* ------------------------------------------------------------------ over the sample's own values
 */

/* Gives mean and 1 / deviation too where asked for. */
static void normalise(const float *x, float *y, int64_t n, float epsilon, float *mean_out,
                      float *factor_out)
{
    float sum = 0.0f, square = 0.0f, mean, factor;

    for (int64_t i = 0; i < n; i++) sum += x[i];
    mean = sum / (float)n;
    for (int64_t i = 0; i < n; i++) {
        float d = x[i] - mean;
        square += d * d;
    }
    factor = 1.0f / sqrtf(square / (float)n + epsilon);
    for (int64_t i = 0; i < n; i++) y[i] = (x[i] - mean) * factor;
    if (mean_out) *mean_out = mean;
    if (factor_out) *factor_out = factor;
}

/* One normalised row, y = (x - mean) * factor * scale + shift with scale[i * step] (step 0: one for the
 * row): the gradient by x, and what scale and shift get from this row added to theirs. */
static void normalise_back(const float *x, const float *g, const float *scale, int64_t step,
                           int64_t n, float epsilon, float *to, double *d_scale, double *d_shift)
{
    double mean = 0, square = 0, gs = 0, gx = 0, factor;

    for (int64_t i = 0; i < n; i++) mean += x[i];
    mean /= (double)n;
    for (int64_t i = 0; i < n; i++) square += (x[i] - mean) * (x[i] - mean);
    factor = 1.0 / sqrt(square / (double)n + epsilon);
    for (int64_t i = 0; i < n; i++) {
        double u = (x[i] - mean) * factor, v = (double)g[i] * scale[i * step];
        gs += v;
        gx += v * u;
        d_scale[i * step] += g[i] * u;
        d_shift[i * step] += g[i];
    }
    for (int64_t i = 0; to && i < n; i++) {
        double u = (x[i] - mean) * factor, v = (double)g[i] * scale[i * step];
        to[i] = (float)(factor * (v - (gs + u * gx) / (double)n));
    }
}

static bl_status instance_normalization_shape(const bl_call *call)
{
    BL_TRY(bl_op_begin(call, "epsilon:f"));
    BL_TRY(bl_op_one_type(call, BL_T_F32));
    BL_TRY(bl_op_rank(call, 0, 3, BL_MAX_RANK));
    BL_TRY(check_vectors(call, 1, call->in[0]->dim[1]));
    return bl_op_like(call);
}

static bl_status instance_normalization_forward(const bl_call *call)
{
    const bl_tensor *t = call->in[0];
    const float *scale = call->in[1]->data, *shift = call->in[2]->data;
    float epsilon = bl_attr_float(call->node, "epsilon", 1e-5f);
    int64_t channels = t->dim[1], plane = bl_tensor_count(t) / t->dim[0] / channels;

    for (int64_t p = 0; p < t->dim[0] * channels; p++) {
        float *y = (float *)call->out[0].data + p * plane;
        int64_t c = p % channels;
        normalise((const float *)t->data + p * plane, y, plane, epsilon, NULL, NULL);
        for (int64_t i = 0; i < plane; i++) y[i] = y[i] * scale[c] + shift[c];
    }
    return BL_OK;
}

static bl_status instance_normalization_gradient(const bl_call *call,
                                                 const bl_tensor *const *out_grad,
                                                 bl_tensor *in_grad)
{
    const bl_tensor *t = call->in[0];
    float epsilon = bl_attr_float(call->node, "epsilon", 1e-5f);
    int64_t channels = t->dim[1], plane = bl_tensor_count(t) / t->dim[0] / channels;
    double *sum = bl_alloc(call->scratch, (size_t)channels, 2 * sizeof *sum);

    BL_ALLOC_TRY(call->ctx, sum);
    memset(sum, 0, (size_t)channels * 2 * sizeof *sum);
    for (int64_t p = 0; p < t->dim[0] * channels; p++) {
        int64_t c = p % channels;
        normalise_back((const float *)t->data + p * plane,
                       (const float *)out_grad[0]->data + p * plane,
                       (const float *)call->in[1]->data + c, 0, plane, epsilon,
                       in_grad[0].data ? (float *)in_grad[0].data + p * plane : NULL, sum + c,
                       sum + channels + c);
    }
    for (int k = 1; k < 3; k++)
        for (int64_t c = 0; in_grad[k].data && c < channels; c++)
            ((float *)in_grad[k].data)[c] = (float)sum[(k - 1) * channels + c];
    return BL_OK;
}

/* Channels in num_groups groups, each normalised over its channels and places.  Scale and shift are
 * one for a group in opset 18, one for a channel since 21. */
static bl_status group_normalization_shape(const bl_call *call)
{
    int64_t groups = bl_attr_int(call->node, "num_groups", 0), channels;

    BL_TRY(bl_op_begin(call, "epsilon:f num_groups:i stash_type:i"));
    BL_TRY(bl_op_one_type(call, BL_T_F32));
    BL_TRY(bl_op_rank(call, 0, 2, BL_MAX_RANK));
    channels = call->in[0]->dim[1];
    if (groups < 1 || groups > channels || channels % groups)
        return bl_op_fail(call, BL_DATA, "repair the model",
                          "%lld groups do not divide %lld channels", (long long)groups,
                          (long long)channels);
    BL_TRY(check_vectors(call, 1, call->node->opset < 21 ? groups : channels));
    return bl_op_like(call);
}

static bl_status group_normalization_forward(const bl_call *call)
{
    const bl_tensor *t = call->in[0];
    const float *scale = call->in[1]->data, *shift = call->in[2]->data;
    float epsilon = bl_attr_float(call->node, "epsilon", 1e-5f);
    int64_t groups = bl_attr_int(call->node, "num_groups", 1), channels = t->dim[1];
    int64_t plane = bl_tensor_count(t) / t->dim[0] / channels, each = channels / groups;

    for (int64_t g = 0; g < t->dim[0] * groups; g++) {
        float *y = (float *)call->out[0].data + g * each * plane;
        normalise((const float *)t->data + g * each * plane, y, each * plane, epsilon, NULL, NULL);
        for (int64_t i = 0; i < each * plane; i++) {
            int64_t c = call->node->opset < 21 ? g % groups : g % groups * each + i / plane;
            y[i] = y[i] * scale[c] + shift[c];
        }
    }
    return BL_OK;
}

/* Rows: the dimensions from axis on, which scale and shift must have as their last. */
static bl_status layer_rows(const bl_call *call, int64_t *n)
{
    const bl_tensor *x = call->in[0];
    int axis;

    BL_TRY(bl_op_axis(call, bl_attr_int(call->node, "axis", -1), x->rank, &axis));
    *n = 1;
    for (int i = axis; i < x->rank; i++) *n *= x->dim[i];
    for (int i = 1; i < call->n_in; i++) {
        const bl_tensor *t = call->in[i];
        bool fits = t && t->rank == x->rank - axis;
        for (int d = 0; fits && d < t->rank; d++) fits = t->dim[d] == x->dim[axis + d];
        if (t && !fits)
            return bl_op_fail(call, BL_UNAVAILABLE, "use scale and bias of the normalised shape",
                              "input %d does not have the shape of the normalised dimensions", i);
    }
    return BL_OK;
}

static bl_status layer_normalization_shape(const bl_call *call)
{
    int64_t n, dim[BL_MAX_RANK];
    int axis;

    BL_TRY(bl_op_begin(call, "axis:i epsilon:f stash_type:i"));
    BL_TRY(bl_op_one_type(call, BL_T_F32));
    BL_TRY(layer_rows(call, &n));
    BL_TRY(bl_op_axis(call, bl_attr_int(call->node, "axis", -1), call->in[0]->rank, &axis));
    for (int i = 0; i < call->in[0]->rank; i++) dim[i] = i < axis ? call->in[0]->dim[i] : 1;
    for (int i = 1; i < call->n_out; i++) /* mean, 1 / deviation */
        BL_TRY(bl_op_out(call, i, BL_F32, call->in[0]->rank, dim));
    return bl_op_like(call);
}

static bl_status layer_normalization_forward(const bl_call *call)
{
    float epsilon = bl_attr_float(call->node, "epsilon", 1e-5f);
    const float *scale = call->in[1]->data;
    const float *shift = bl_op_has(call, 2) ? call->in[2]->data : NULL;
    int64_t n, count = bl_tensor_count(call->in[0]);

    BL_TRY(layer_rows(call, &n));
    for (int64_t at = 0; at < count; at += n) {
        float *y = (float *)call->out[0].data + at, *more[3] = {NULL, NULL, NULL};
        for (int i = 1; i < call->n_out; i++)
            more[i] = call->out[i].data ? (float *)call->out[i].data + at / n : NULL;
        normalise((const float *)call->in[0]->data + at, y, n, epsilon, more[1], more[2]);
        for (int64_t i = 0; i < n; i++) y[i] = shift ? y[i] * scale[i] + shift[i] : y[i] * scale[i];
    }
    return BL_OK;
}

/* The optional outputs, mean and deviation, pass nothing back. */
static bl_status layer_normalization_gradient(const bl_call *call,
                                              const bl_tensor *const *out_grad, bl_tensor *in_grad)
{
    float epsilon = bl_attr_float(call->node, "epsilon", 1e-5f);
    int64_t n, count = bl_tensor_count(call->in[0]);
    double *sum;

    if (!out_grad[0])
        return bl_op_fail(call, BL_UNAVAILABLE, "use its first output", "its mean has no gradient");
    BL_TRY(layer_rows(call, &n));
    sum = bl_alloc(call->scratch, (size_t)n, 2 * sizeof *sum);
    BL_ALLOC_TRY(call->ctx, sum);
    memset(sum, 0, (size_t)n * 2 * sizeof *sum);
    for (int64_t at = 0; at < count; at += n)
        normalise_back((const float *)call->in[0]->data + at,
                       (const float *)out_grad[0]->data + at, call->in[1]->data, 1, n, epsilon,
                       in_grad[0].data ? (float *)in_grad[0].data + at : NULL, sum, sum + n);
    for (int k = 1; k < call->n_in; k++)
        for (int64_t i = 0; in_grad[k].data && i < n; i++)
            ((float *)in_grad[k].data)[i] = (float)sum[(k - 1) * n + i];
    return BL_OK;
}

static bl_status rms_normalization_shape(const bl_call *call)
{
    int64_t n;

    BL_TRY(bl_op_begin(call, "axis:i epsilon:f stash_type:i"));
    BL_TRY(bl_op_one_type(call, BL_T_F32));
    BL_TRY(layer_rows(call, &n));
    return bl_op_like(call);
}

/* x / sqrt(mean(x^2) + epsilon) * scale. */
static bl_status rms_normalization_forward(const bl_call *call)
{
    float epsilon = bl_attr_float(call->node, "epsilon", 1e-5f);
    const float *scale = call->in[1]->data;
    int64_t n, count = bl_tensor_count(call->in[0]);

    BL_TRY(layer_rows(call, &n));
    for (int64_t at = 0; at < count; at += n) {
        const float *x = (const float *)call->in[0]->data + at;
        float *y = (float *)call->out[0].data + at, square = 0.0f, factor;
        for (int64_t i = 0; i < n; i++) square += x[i] * x[i];
        factor = 1.0f / sqrtf(square / (float)n + epsilon);
        for (int64_t i = 0; i < n; i++) y[i] = x[i] * factor * scale[i];
    }
    return BL_OK;
}

const bl_op bl_op_batch_normalization = {
    .name = "BatchNormalization",
    .flags = BL_OP_LEARNS,
    .min_opset = 1,
    .in_min = 5,
    .in_max = 5,
    .out_max = 1,
    .shape = batch_normalization_shape,
    .forward = batch_normalization_forward,
    .gradient = batch_normalization_gradient,
    .training = &bl_op_batch_normalization_training,
};

const bl_op bl_op_group_normalization = {
    .name = "GroupNormalization",
    .min_opset = 18,
    .in_min = 3,
    .in_max = 3,
    .out_max = 1,
    .shape = group_normalization_shape,
    .forward = group_normalization_forward,
};

const bl_op bl_op_instance_normalization = {
    .name = "InstanceNormalization",
    .flags = BL_OP_LEARNS,
    .min_opset = 1,
    .in_min = 3,
    .in_max = 3,
    .out_max = 1,
    .shape = instance_normalization_shape,
    .forward = instance_normalization_forward,
    .gradient = instance_normalization_gradient,
};

const bl_op bl_op_layer_normalization = {
    .name = "LayerNormalization",
    .flags = BL_OP_LEARNS,
    .min_opset = 1,
    .in_min = 2,
    .in_max = 3,
    .out_max = 3,
    .shape = layer_normalization_shape,
    .forward = layer_normalization_forward,
    .gradient = layer_normalization_gradient,
    .integer = bl_layer_norm_integer,
};

const bl_op bl_op_rms_normalization = {
    .name = "RMSNormalization",
    .min_opset = 23,
    .in_min = 2,
    .in_max = 2,
    .out_max = 1,
    .shape = rms_normalization_shape,
    .forward = rms_normalization_forward,
};
