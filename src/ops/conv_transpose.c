/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ConvTranspose, one to three spatial dimensions, groups, float32.  Each output is its bias plus
 * products in the order (channel, kernel position).  It has no integer form, and is no LAYER: its
 * weight has input channels first.
 */
#include "ops/ops_private.h"

/* The window of the convolution that this transposes: `in` is our output, `out` our input. */
static bl_status read_attributes(const bl_call *call, bl_window *w)
{
    const bl_tensor *x = call->in[0], *wt = call->in[1];
    const char *auto_pad = bl_attr_string(call->node, "auto_pad", "NOTSET");
    bool upper = strcmp(auto_pad, "SAME_UPPER") == 0, lower = strcmp(auto_pad, "SAME_LOWER") == 0;
    int64_t kernel[3] = {0}, extra[3] = {0}, want[3], pads[6] = {0};
    int n[6], dims = x->rank - 2;

    *w = (bl_window){.dims = dims, .stride = {1, 1, 1}, .dilation = {1, 1, 1}};
    BL_TRY(bl_op_ints_attr(call, "kernel_shape", dims, kernel, &n[0]));
    BL_TRY(bl_op_ints_attr(call, "strides", dims, w->stride, &n[1]));
    BL_TRY(bl_op_ints_attr(call, "dilations", dims, w->dilation, &n[2]));
    BL_TRY(bl_op_ints_attr(call, "output_padding", dims, extra, &n[3]));
    BL_TRY(bl_op_ints_attr(call, "output_shape", dims, want, &n[4]));
    BL_TRY(bl_op_ints_attr(call, "pads", 2 * dims, pads, &n[5]));
    for (int i = 0; i < 6; i++)
        if (n[i] >= 0 && n[i] != (i == 5 ? 2 * dims : dims))
            return bl_op_fail(call, BL_DATA, "repair the model",
                              "an attribute does not have one entry for each dimension");
    for (int i = 0; i < dims; i++) {
        int64_t full;
        bool sane = w->stride[i] >= 1 && w->dilation[i] >= 1 && extra[i] >= 0 && pads[i] >= 0 &&
                    pads[dims + i] >= 0 && BL_MAX(w->stride[i], w->dilation[i]) <= INT32_MAX &&
                    BL_MAX(extra[i], BL_MAX(pads[i], pads[dims + i])) <= INT32_MAX &&
                    x->dim[2 + i] <= INT32_MAX && wt->dim[2 + i] <= INT32_MAX &&
                    (n[4] < 0 || (want[i] >= 1 && want[i] <= INT32_MAX)) &&
                    (n[0] < 0 || kernel[i] == wt->dim[2 + i]);
        if (!sane)
            return bl_op_fail(call, BL_DATA, "repair the model",
                              "attributes of dimension %d are out of range", i);
        w->kernel[i] = wt->dim[2 + i];
        w->out[i] = x->dim[2 + i];
        full = w->stride[i] * (w->out[i] - 1) + extra[i] + (w->kernel[i] - 1) * w->dilation[i] + 1;
        w->in[i] = full - pads[i] - pads[dims + i];
        w->pad_begin[i] = pads[i];
        if (n[4] >= 0 || upper || lower) { /* the output is given, the padding follows */
            int64_t total;
            w->in[i] = n[4] >= 0 ? want[i] : w->out[i] * w->stride[i];
            total = BL_MAX(full - w->in[i], 0);
            w->pad_begin[i] = upper ? total / 2 : total - total / 2;
            if (!upper && !lower) w->pad_begin[i] = total / 2;
        }
    }
    return BL_OK;
}

static bl_status conv_transpose_shape(const bl_call *call)
{
    const bl_tensor *x, *wt;
    int64_t group, filters, dim[BL_MAX_RANK];
    bl_window w;

    BL_TRY(bl_op_begin(call, "auto_pad:s dilations:I group:i kernel_shape:I output_padding:I "
                             "output_shape:I pads:I strides:I"));
    BL_TRY(bl_op_one_type(call, BL_T_F32));
    BL_TRY(bl_op_rank(call, 0, 3, 5));
    x = call->in[0];
    wt = call->in[1];
    BL_TRY(bl_op_rank(call, 1, x->rank, x->rank));
    group = bl_attr_int(call->node, "group", 1);
    if (group < 1 || wt->dim[0] % group || x->dim[1] != wt->dim[0] ||
        !bl_mul_i64(wt->dim[1], group, &filters))
        return bl_op_fail(call, BL_DATA, "repair the model",
                          "%lld input channels in %lld groups do not fit weight %s",
                          (long long)x->dim[1], (long long)group, bl_shape_text(call->scratch, wt));
    if (bl_op_has(call, 2) && (call->in[2]->rank != 1 || call->in[2]->dim[0] != filters))
        return bl_op_fail(call, BL_DATA, "repair the model",
                          "the bias is not one number for each of %lld filters",
                          (long long)filters);
    BL_TRY(read_attributes(call, &w));
    dim[0] = x->dim[0];
    dim[1] = filters;
    for (int i = 0; i < w.dims; i++) dim[2 + i] = w.in[i];
    return bl_op_out(call, 0, BL_F32, x->rank, dim);
}

static int64_t conv_transpose_macs(const bl_call *call)
{
    const bl_tensor *wt = call->in[1];
    return bl_tensor_count(call->in[0]) * (bl_tensor_count(wt) / wt->dim[0]);
}

/* y += one input plane times one kernel. */
static void scatter(const bl_window *w, const float *x, const float *kernel, float *y)
{
    for (int64_t i = 0; i < w->kernel[0]; i++)
        for (int64_t j = 0; j < w->kernel[1]; j++)
            for (int64_t l = 0; l < w->kernel[2]; l++, kernel++)
                for (int64_t d = 0; d < w->out[0]; d++)
                    for (int64_t h = 0; h < w->out[1]; h++) {
                        int64_t yd = d * w->stride[0] - w->pad_begin[0] + i * w->dilation[0];
                        int64_t yh = h * w->stride[1] - w->pad_begin[1] + j * w->dilation[1];
                        int64_t yw = l * w->dilation[2] - w->pad_begin[2];
                        const float *row = x + (d * w->out[1] + h) * w->out[2];
                        float *to;
                        if (yd < 0 || yd >= w->in[0] || yh < 0 || yh >= w->in[1]) continue;
                        to = y + (yd * w->in[1] + yh) * w->in[2];
                        for (int64_t v = 0; v < w->out[2]; v++, yw += w->stride[2])
                            if (yw >= 0 && yw < w->in[2]) to[yw] += row[v] * *kernel;
                    }
}

/* Kernels that do not overlap: an output has one tap, so that all inputs of a tap are one sum over planes. */
static bool is_apart(const bl_window *w)
{
    bool apart = true;
    for (int i = 0; i < 3; i++) apart &= w->kernel[i] == 1 || (w->dilation[i] == 1 && w->kernel[i] <= w->stride[i]);
    return apart;
}

/* Where position `at` of tap k lands in dimension i; -1: beyond. */
static int64_t landing(const bl_window *w, int i, int64_t at, int64_t k)
{
    int64_t to = at * w->stride[i] - w->pad_begin[i] + k * w->dilation[i];
    return to >= 0 && to < w->in[i] ? to : -1;
}

static void spread(const bl_window *w, const float *plane, int64_t tap, float *y)
{
    int64_t l = tap % w->kernel[2], j = tap / w->kernel[2] % w->kernel[1], i = tap / w->kernel[2] / w->kernel[1];
    for (int64_t d = 0; d < w->out[0]; d++)
        for (int64_t h = 0; h < w->out[1]; h++, plane += w->out[2]) {
            int64_t yd = landing(w, 0, d, i), yh = landing(w, 1, h, j);
            if (yd < 0 || yh < 0) continue;
            for (int64_t v = 0; v < w->out[2]; v++) {
                int64_t yw = landing(w, 2, v, l);
                if (yw >= 0) y[(yd * w->in[1] + yh) * w->in[2] + yw] = plane[v];
            }
        }
}

/* One output plane, tap after tap; the order of an output's sum is scatter's. */
static void gather_apart(const bl_window *w, const float *x, const float *kernel, int64_t step, int64_t channels, float bias, float *sum, float *y)
{
    int64_t taps = w->kernel[0] * w->kernel[1] * w->kernel[2], in_plane = w->out[0] * w->out[1] * w->out[2];
    for (int64_t k = 0; k < taps; k++) {
        for (int64_t p = 0; p < in_plane; p++) sum[p] = bias;
        for (int64_t c = 0; c < channels; c++) {
            const float *from = x + c * in_plane;
            float by = kernel[c * step + k];
            for (int64_t p = 0; p < in_plane; p++) sum[p] += from[p] * by;
        }
        spread(w, sum, k, y);
    }
}

static bl_status conv_transpose_forward(const bl_call *call)
{
    const bl_tensor *x = call->in[0], *wt = call->in[1];
    const float *bias = bl_op_has(call, 2) ? call->in[2]->data : NULL;
    int64_t group = bl_attr_int(call->node, "group", 1), channels = wt->dim[0] / group;
    int64_t filters = wt->dim[1], taps = bl_tensor_count(wt) / wt->dim[0] / filters;
    int64_t in_plane = bl_tensor_count(x) / x->dim[0] / x->dim[1], out_plane;
    bl_window w;

    BL_TRY(read_attributes(call, &w));
    bl_window_lift(&w, &w);
    out_plane = w.in[0] * w.in[1] * w.in[2];
    float *sum = NULL;
    if (is_apart(&w)) BL_ALLOC_TRY(call->ctx, sum = bl_alloc(call->scratch, (size_t)in_plane, sizeof *sum));
    for (int64_t n = 0; n < x->dim[0]; n++)
        for (int64_t m = 0; m < group * filters; m++) {
            int64_t g = m / filters;
            float *y = (float *)call->out[0].data + (n * group * filters + m) * out_plane;
            for (int64_t i = 0; i < out_plane; i++) y[i] = bias ? bias[m] : 0.0f;
            const float *planes = (const float *)x->data + (n * x->dim[1] + g * channels) * in_plane;
            const float *kernels = (const float *)wt->data + (g * channels * filters + m % filters) * taps;
            if (sum) {
                gather_apart(&w, planes, kernels, filters * taps, channels, bias ? bias[m] : 0.0f, sum, y);
                continue;
            }
            for (int64_t c = 0; c < channels; c++) scatter(&w, planes + c * in_plane, kernels + c * filters * taps, y);
        }
    return BL_OK;
}

const bl_op bl_op_conv_transpose = {
    .name = "ConvTranspose",
    .min_opset = 1,
    .in_min = 2,
    .in_max = 3,
    .out_max = 1,
    .shape = conv_transpose_shape,
    .forward = conv_transpose_forward,
    .macs = conv_transpose_macs,
};
