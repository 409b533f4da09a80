/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Conv, one to three spatial dimensions, groups, in float32.  The reference gathers the inputs of a
 * few output positions into columns and multiplies; each output is its bias plus products in the
 * order (channel, kernel position), padding contributing products with 0.
 */
#include "ops/ops_private.h"

static bl_status conv_window(const bl_call *call, bl_window *w)
{
    return bl_window_read(call, call->in[0], call->in[1]->dim + 2, w);
}

bl_status bl_conv_dims(const bl_call *call, const bl_tensor *x, const bl_tensor *wt,
                       const bl_tensor *bias, int64_t *dim)
{
    int64_t group = bl_attr_int(call->node, "group", 1);
    bl_window w;

    if (x->rank < 3 || x->rank > 5 || wt->rank != x->rank)
        return bl_op_fail(call, x->rank == wt->rank ? BL_UNAVAILABLE : BL_DATA,
                          "use 1 to 3 spatial dimensions",
                          "an input of %d dimensions and a weight of %d", x->rank, wt->rank);
    if (group < 1 || group > wt->dim[0] || wt->dim[0] % group)
        return bl_op_fail(call, BL_DATA, "repair the model",
                          "group %lld does not divide %lld filters", (long long)group,
                          (long long)wt->dim[0]);
    if (x->dim[1] % group || x->dim[1] / group != wt->dim[1])
        return bl_op_fail(call, BL_DATA, "repair the model",
                          "%lld input channels in %lld groups do not fit a weight of %lld channels",
                          (long long)x->dim[1], (long long)group, (long long)wt->dim[1]);
    if (bias && (bias->rank != 1 || bias->dim[0] != wt->dim[0]))
        return bl_op_fail(call, BL_DATA, "repair the model",
                          "the bias is not one number for each of "
                          "%lld filters",
                          (long long)wt->dim[0]);
    BL_TRY(bl_window_read(call, x, wt->dim + 2, &w));
    dim[0] = x->dim[0];
    dim[1] = wt->dim[0];
    for (int i = 0; i < w.dims; i++) dim[2 + i] = w.out[i];
    return BL_OK;
}

static bl_status conv_shape(const bl_call *call)
{
    int64_t dim[BL_MAX_RANK];

    BL_TRY(bl_op_begin(call, "group:i " BL_WINDOW_ATTRS));
    BL_TRY(bl_op_one_type(call, BL_T_F32));
    BL_TRY(bl_conv_dims(call, call->in[0], call->in[1], bl_op_has(call, 2) ? call->in[2] : NULL,
                        dim));
    return bl_op_out(call, 0, BL_F32, call->in[0]->rank, dim);
}

static int64_t conv_macs(const bl_call *call)
{
    const bl_tensor *wt = call->in[1];
    return bl_tensor_count(&call->out[0]) * (bl_tensor_count(wt) / wt->dim[0]);
}

/* Columns of output positions first..first+n-1 (row-major over the three output dimensions):
 * col[((c * kd + i) * kh + j) * kw + l][position]. */
static void gather_columns(const bl_window *w, int64_t channels, const float *x, int64_t first,
                           int64_t n, float *col, int64_t col_row)
{
    int64_t plane = w->in[0] * w->in[1] * w->in[2];

    for (int64_t done = 0; done < n;) { /* one run of positions in the same output row at a time */
        int64_t at = first + done, ow = at % w->out[2];
        int64_t oh = at / w->out[2] % w->out[1], od = at / w->out[2] / w->out[1];
        int64_t run = BL_MIN(n - done, w->out[2] - ow);
        float *to = col + done;

        for (int64_t c = 0; c < channels; c++)
            for (int64_t i = 0; i < w->kernel[0]; i++)
                for (int64_t j = 0; j < w->kernel[1]; j++)
                    for (int64_t l = 0; l < w->kernel[2]; l++, to += col_row) {
                        int64_t d = od * w->stride[0] - w->pad_begin[0] + i * w->dilation[0];
                        int64_t h = oh * w->stride[1] - w->pad_begin[1] + j * w->dilation[1];
                        int64_t v = ow * w->stride[2] - w->pad_begin[2] + l * w->dilation[2];
                        bool inside = d >= 0 && d < w->in[0] && h >= 0 && h < w->in[1];
                        const float *row =
                            inside ? x + c * plane + (d * w->in[1] + h) * w->in[2] : NULL;
                        for (int64_t p = 0; p < run; p++, v += w->stride[2])
                            to[p] = inside && v >= 0 && v < w->in[2] ? row[v] : 0.0f;
                    }
        done += run;
    }
}

/* One image and group: y[filter][position]. */
static void conv_group(const bl_window *w, int64_t channels, int64_t filters, const float *x,
                       const float *weight, const float *bias, float *y, float *col, int64_t tile)
{
    int64_t taps = channels * w->kernel[0] * w->kernel[1] * w->kernel[2];
    int64_t positions = w->out[0] * w->out[1] * w->out[2];

    for (int64_t first = 0; first < positions; first += tile) {
        int64_t n = BL_MIN(tile, positions - first);
        gather_columns(w, channels, x, first, n, col, tile);
        for (int64_t m = 0; m < filters; m++)
            for (int64_t p = 0; p < n; p++) y[m * positions + first + p] = bias ? bias[m] : 0.0f;
        bl_product(filters, n, taps, weight, taps, 1, col, tile, y + first, positions);
    }
}

static bl_status conv_forward(const bl_call *call)
{
    const bl_tensor *x = call->in[0], *wt = call->in[1];
    const float *bias = bl_op_has(call, 2) ? call->in[2]->data : NULL;
    int64_t group = bl_attr_int(call->node, "group", 1), channels = wt->dim[1];
    int64_t filters = wt->dim[0] / group, taps = bl_tensor_count(wt) / wt->dim[0];
    int64_t plane, positions, tile;
    bl_window w;
    float *col;

    BL_TRY(conv_window(call, &w));
    bl_window_lift(&w, &w);
    plane = w.in[0] * w.in[1] * w.in[2];
    positions = w.out[0] * w.out[1] * w.out[2];
    tile = BL_MAX(BL_MIN(32768 / taps / 8, 32), 1) * 8; /* columns of some 128 KiB, for the cache */
    tile = BL_MIN(tile, positions);
    col = bl_alloc(call->scratch, (size_t)taps, (size_t)tile * sizeof *col);
    BL_ALLOC_TRY(call->ctx, col);
    for (int64_t n = 0; n < x->dim[0]; n++)
        for (int64_t g = 0; g < group; g++)
            conv_group(
                &w, channels, filters, (const float *)x->data + (n * group + g) * channels * plane,
                (const float *)wt->data + g * filters * taps, bias ? bias + g * filters : NULL,
                (float *)call->out[0].data + (n * group + g) * filters * positions, col, tile);
    return BL_OK;
}

/* The way back of gather_columns: columns of positions first..first+n-1 added to where they came from. */
static void scatter_columns(const bl_window *w, int64_t channels, const float *col, int64_t col_row,
                            int64_t first, int64_t n, float *x)
{
    int64_t plane = w->in[0] * w->in[1] * w->in[2];

    for (int64_t p = 0; p < n; p++) {
        int64_t at = first + p, ow = at % w->out[2];
        int64_t oh = at / w->out[2] % w->out[1], od = at / w->out[2] / w->out[1];
        const float *from = col + p;
        for (int64_t c = 0; c < channels; c++)
            for (int64_t i = 0; i < w->kernel[0]; i++)
                for (int64_t j = 0; j < w->kernel[1]; j++)
                    for (int64_t l = 0; l < w->kernel[2]; l++, from += col_row) {
                        int64_t d = od * w->stride[0] - w->pad_begin[0] + i * w->dilation[0];
                        int64_t h = oh * w->stride[1] - w->pad_begin[1] + j * w->dilation[1];
                        int64_t v = ow * w->stride[2] - w->pad_begin[2] + l * w->dilation[2];
                        if (d >= 0 && d < w->in[0] && h >= 0 && h < w->in[1] && v >= 0 &&
                            v < w->in[2])
                            x[c * plane + (d * w->in[1] + h) * w->in[2] + v] += *from;
                    }
    }
}

/* One image and group: its part of the gradients by x and by the weight (sums in double). */
static void conv_group_back(const bl_window *w, int64_t channels, int64_t filters, const float *x,
                            const float *weight, const float *dy, float *dx, double *dw, float *col,
                            int64_t tile)
{
    int64_t taps = channels * w->kernel[0] * w->kernel[1] * w->kernel[2];
    int64_t positions = w->out[0] * w->out[1] * w->out[2];

    for (int64_t first = 0; first < positions; first += tile) {
        int64_t n = BL_MIN(tile, positions - first);
        if (dw) {
            gather_columns(w, channels, x, first, n, col, tile);
            for (int64_t m = 0; m < filters; m++)
                for (int64_t t = 0; t < taps; t++)
                    for (int64_t p = 0; p < n; p++)
                        dw[m * taps + t] += (double)dy[m * positions + first + p] * col[t * tile + p];
        }
        if (dx) {
            memset(col, 0, (size_t)(taps * tile) * sizeof *col);
            bl_product(taps, n, filters, weight, 1, taps, dy + first, positions, col, tile);
            scatter_columns(w, channels, col, tile, first, n, dx);
        }
    }
}

static bl_status conv_gradient(const bl_call *call, const bl_tensor *const *out_grad,
                               bl_tensor *in_grad)
{
    const bl_tensor *x = call->in[0], *wt = call->in[1];
    int64_t group = bl_attr_int(call->node, "group", 1), channels = wt->dim[1];
    int64_t filters = wt->dim[0] / group, taps = bl_tensor_count(wt) / wt->dim[0];
    int64_t plane, positions, tile = 32;
    const float *dy = out_grad[0]->data;
    double *dw = NULL;
    bl_window w;
    float *col;

    BL_TRY(conv_window(call, &w));
    bl_window_lift(&w, &w);
    plane = w.in[0] * w.in[1] * w.in[2];
    positions = w.out[0] * w.out[1] * w.out[2];
    col = bl_alloc(call->scratch, (size_t)taps, (size_t)tile * sizeof *col);
    BL_ALLOC_TRY(call->ctx, col);
    if (in_grad[0].data) memset(in_grad[0].data, 0, bl_tensor_bytes(x));
    if (in_grad[1].data) {
        dw = bl_alloc(call->scratch, (size_t)bl_tensor_count(wt), sizeof *dw);
        BL_ALLOC_TRY(call->ctx, dw);
        memset(dw, 0, (size_t)bl_tensor_count(wt) * sizeof *dw);
    }
    for (int64_t n = 0; n < x->dim[0]; n++)
        for (int64_t g = 0; g < group; g++)
            conv_group_back(
                &w, channels, filters, (const float *)x->data + (n * group + g) * channels * plane,
                (const float *)wt->data + g * filters * taps,
                dy + (n * group + g) * filters * positions,
                in_grad[0].data ? (float *)in_grad[0].data + (n * group + g) * channels * plane
                                : NULL,
                dw ? dw + g * filters * taps : NULL, col, tile);
    for (int64_t i = 0; dw && i < bl_tensor_count(wt); i++)
        ((float *)in_grad[1].data)[i] = (float)dw[i];
    for (int64_t m = 0; call->n_in > 2 && in_grad[2].data && m < wt->dim[0]; m++) {
        double sum = 0;
        for (int64_t n = 0; n < x->dim[0]; n++)
            for (int64_t p = 0; p < positions; p++) sum += dy[(n * wt->dim[0] + m) * positions + p];
        ((float *)in_grad[2].data)[m] = (float)sum;
    }
    return BL_OK;
}

const bl_op bl_op_conv = {
    .name = "Conv",
    .flags = BL_OP_LAYER | BL_OP_WINDOW,
    .min_opset = 1,
    .in_min = 2,
    .in_max = 3,
    .out_max = 1,
    .shape = conv_shape,
    .forward = conv_forward,
    .gradient = conv_gradient,
    .integer = bl_conv_integer,
    .macs = conv_macs,
};
