/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pooling: AveragePool, LpPool, MaxPool and their global forms, in float32; MaxPool of 8-bit
 * codes and with the places of its maxima too.  Sums run over the window in row-major order [Q8];
 * the global forms sum their plane in that order too.
 */
#include "ops/ops_private.h"

static bl_status window_shape(const bl_call *call, unsigned types)
{
    int64_t dim[BL_MAX_RANK];
    bl_window w;

    BL_TRY(bl_op_begin(call, "count_include_pad:i p:i storage_order:i " BL_WINDOW_ATTRS));
    BL_TRY(bl_op_type(call, 0, types));
    BL_TRY(bl_op_rank(call, 0, 3, 5));
    BL_TRY(bl_window_read(call, call->in[0], NULL, &w));
    dim[0] = call->in[0]->dim[0];
    dim[1] = call->in[0]->dim[1];
    for (int i = 0; i < w.dims; i++) {
        int64_t extent = (w.kernel[i] - 1) * w.dilation[i] + 1;
        if (w.pad_begin[i] >= extent || w.pad_end[i] >= extent)
            return bl_op_fail(call, BL_DATA, "repair the model",
                              "padding %lld is as wide as the kernel",
                              (long long)BL_MAX(w.pad_begin[i], w.pad_end[i]));
        dim[2 + i] = w.out[i];
    }
    if (call->n_out > 1) BL_TRY(bl_op_out(call, 1, BL_I64, call->in[0]->rank, dim));
    return bl_op_out(call, 0, call->in[0]->type, call->in[0]->rank, dim);
}

static bl_status pool_shape(const bl_call *call)
{
    return window_shape(call, BL_T_F32);
}

static bl_status max_pool_shape(const bl_call *call)
{
    return window_shape(call, BL_T_F32 | BL_BIT(BL_U8) | BL_BIT(BL_I8));
}

static bl_status lp_pool_shape(const bl_call *call)
{
    int64_t p = bl_attr_int(call->node, "p", 2);

    BL_TRY(window_shape(call, BL_T_F32));
    if (p < 1 || p > 64)
        return bl_op_fail(call, BL_DATA, "repair the model", "p is %lld", (long long)p);
    return BL_OK;
}

/* |v|^p, and the root of a sum of them. */
static float lp_term(int64_t p, float v)
{
    return p == 1 ? fabsf(v) : p == 2 ? v * v : (float)pow(fabs((double)v), (double)p);
}

static float lp_root(int64_t p, float sum)
{
    return p == 1 ? sum : p == 2 ? sqrtf(sum) : (float)pow((double)sum, 1.0 / (double)p);
}

/* First tap inside 0..in-1 and one past the last, for a window starting at `start`. */
static void clip_taps(int64_t start, int64_t in, int64_t dilation, int64_t kernel, int64_t *lo,
                      int64_t *hi)
{
    *lo = start < 0 ? (-start + dilation - 1) / dilation : 0;
    *hi = start >= in ? 0 : BL_MIN(kernel, (in - 1 - start) / dilation + 1);
}

/* What becomes of a window.  include: an average's divisor counts taps in the padding, though not
 * those that ceil_mode adds behind it. */
typedef struct pooling {
    enum { MOST, AVERAGE, POWERS } kind;
    bool include;
    int64_t p;
} pooling;

static void pool_plane(const bl_window *w, pooling how, const float *x, float *y)
{
    int64_t o[3], lo[3], hi[3], full[3], start[3];

    for (o[0] = 0; o[0] < w->out[0]; o[0]++)
        for (o[1] = 0; o[1] < w->out[1]; o[1]++)
            for (o[2] = 0; o[2] < w->out[2]; o[2]++) {
                float best = -INFINITY, sum = 0.0f;
                int64_t taps = 1;
                for (int i = 0; i < 3; i++) {
                    int64_t none;
                    start[i] = o[i] * w->stride[i] - w->pad_begin[i];
                    clip_taps(start[i], w->in[i], w->dilation[i], w->kernel[i], &lo[i], &hi[i]);
                    clip_taps(start[i] + w->pad_begin[i],
                              w->in[i] + w->pad_begin[i] + w->pad_end[i], w->dilation[i],
                              w->kernel[i], &none, &full[i]);
                    taps *= how.include ? full[i] : BL_MAX(hi[i] - lo[i], 0);
                }
                for (int64_t a = lo[0]; a < hi[0]; a++)
                    for (int64_t b = lo[1]; b < hi[1]; b++) {
                        int64_t d = start[0] + a * w->dilation[0],
                                h = start[1] + b * w->dilation[1];
                        const float *row = x + (d * w->in[1] + h) * w->in[2];
                        for (int64_t c = lo[2]; c < hi[2]; c++) {
                            float v = row[start[2] + c * w->dilation[2]];
                            sum += how.kind == POWERS ? lp_term(how.p, v) : v;
                            best = v > best || v != v ? v : best;
                        }
                    }
                *y++ = how.kind == MOST      ? best
                       : how.kind == POWERS ? lp_root(how.p, sum)
                       : taps               ? sum / (float)taps
                                            : 0.0f;
            }
}

static bl_status pool_forward(const bl_call *call, pooling how)
{
    const bl_tensor *x = call->in[0];
    int64_t plane, positions;
    bl_window w;

    BL_TRY(bl_window_read(call, x, NULL, &w));
    bl_window_lift(&w, &w);
    plane = w.in[0] * w.in[1] * w.in[2];
    positions = w.out[0] * w.out[1] * w.out[2];
    for (int64_t p = 0; p < x->dim[0] * x->dim[1]; p++)
        pool_plane(&w, how, (const float *)x->data + p * plane,
                   (float *)call->out[0].data + p * positions);
    return BL_OK;
}

static bl_status average_pool_forward(const bl_call *call)
{
    return pool_forward(call, (pooling){.kind = AVERAGE,
                                        .include = bl_attr_int(call->node, "count_include_pad", 0)});
}

static bl_status lp_pool_forward(const bl_call *call)
{
    return pool_forward(call, (pooling){.kind = POWERS, .p = bl_attr_int(call->node, "p", 2)});
}

/* Plane `p` of any type: the first largest element of each window, -1 for a window of padding. */
static int64_t place_of_most(const bl_window *w, const bl_tensor *x, int64_t p, const int64_t *o)
{
    int64_t lo[3], hi[3], start[3], best = -1;
    double most = 0;

    for (int i = 0; i < 3; i++) {
        start[i] = o[i] * w->stride[i] - w->pad_begin[i];
        clip_taps(start[i], w->in[i], w->dilation[i], w->kernel[i], &lo[i], &hi[i]);
    }
    for (int64_t a = lo[0]; a < hi[0]; a++)
        for (int64_t b = lo[1]; b < hi[1]; b++)
            for (int64_t c = lo[2]; c < hi[2]; c++) {
                int64_t d = start[0] + a * w->dilation[0], h = start[1] + b * w->dilation[1];
                int64_t at = ((p * w->in[0] + d) * w->in[1] + h) * w->in[2] + start[2] +
                             c * w->dilation[2];
                double v = bl_element_f64(x, at);
                if (best >= 0 && !(v > most)) continue;
                most = v;
                best = at;
            }
    return best;
}

/* Numbers of elements run through the plane by columns with storage_order 1. */
static int64_t place_number(const bl_window *w, int64_t at, bool columns)
{
    int64_t h = w->in[1], v = w->in[2], row = at / v % h, column = at % v;
    return columns ? at / (h * v) * (h * v) + column * h + row : at;
}

static bl_status max_pool_forward(const bl_call *call)
{
    const bl_tensor *x = call->in[0];
    size_t size = bl_dtype_bytes(x->type);
    char *value = call->out[0].data;
    int64_t *place = call->n_out > 1 ? call->out[1].data : NULL, o[3];
    bool columns = bl_attr_int(call->node, "storage_order", 0) != 0;
    bl_window w;

    if (x->type == BL_F32 && !place) return pool_forward(call, (pooling){.kind = MOST});
    BL_TRY(bl_window_read(call, x, NULL, &w));
    bl_window_lift(&w, &w);
    for (int64_t p = 0; p < x->dim[0] * x->dim[1]; p++)
        for (o[0] = 0; o[0] < w.out[0]; o[0]++)
            for (o[1] = 0; o[1] < w.out[1]; o[1]++)
                for (o[2] = 0; o[2] < w.out[2]; o[2]++, value += size) {
                    int64_t at = place_of_most(&w, x, p, o);
                    const float none = -INFINITY;
                    const void *least = x->type == BL_F32  ? (const void *)&none
                                        : x->type == BL_I8 ? "\x80"
                                                           : "";
                    memcpy(value, at < 0 ? least : (const char *)x->data + (size_t)at * size, size);
                    if (place) *place++ = at < 0 ? -1 : place_number(&w, at, columns);
                }
    return BL_OK;
}

/* The gradient of one plane: a window's share to each of its taps, or all of it to the first tap that
 * holds the maximum. */
static void pool_plane_back(const bl_window *w, bool average, bool include, const float *x,
                            const float *y, const float *g, float *to)
{
    int64_t o[3], lo[3], hi[3], full[3], start[3];

    for (o[0] = 0; o[0] < w->out[0]; o[0]++)
        for (o[1] = 0; o[1] < w->out[1]; o[1]++)
            for (o[2] = 0; o[2] < w->out[2]; o[2]++, y++, g++) {
                int64_t taps = 1;
                bool open = true;
                for (int i = 0; i < 3; i++) {
                    int64_t none;
                    start[i] = o[i] * w->stride[i] - w->pad_begin[i];
                    clip_taps(start[i], w->in[i], w->dilation[i], w->kernel[i], &lo[i], &hi[i]);
                    clip_taps(start[i] + w->pad_begin[i],
                              w->in[i] + w->pad_begin[i] + w->pad_end[i], w->dilation[i],
                              w->kernel[i], &none, &full[i]);
                    taps *= include ? full[i] : BL_MAX(hi[i] - lo[i], 0);
                }
                for (int64_t a = lo[0]; a < hi[0]; a++)
                    for (int64_t b = lo[1]; b < hi[1]; b++)
                        for (int64_t c = lo[2]; c < hi[2] && open; c++) {
                            int64_t d = start[0] + a * w->dilation[0],
                                    h = start[1] + b * w->dilation[1];
                            int64_t at =
                                (d * w->in[1] + h) * w->in[2] + start[2] + c * w->dilation[2];
                            if (average) {
                                to[at] += *g / (float)taps;
                            } else if (x[at] == *y) {
                                to[at] += *g;
                                open = false;
                            }
                        }
            }
}

static bl_status pool_backward(const bl_call *call, const float *g, float *to, bool average)
{
    const bl_tensor *x = call->in[0];
    bool include = bl_attr_int(call->node, "count_include_pad", 0) != 0;
    int64_t plane, positions;
    bl_window w;

    if (!to) return BL_OK;
    BL_TRY(bl_window_read(call, x, NULL, &w));
    bl_window_lift(&w, &w);
    plane = w.in[0] * w.in[1] * w.in[2];
    positions = w.out[0] * w.out[1] * w.out[2];
    memset(to, 0, bl_tensor_bytes(x));
    for (int64_t p = 0; p < x->dim[0] * x->dim[1]; p++)
        pool_plane_back(&w, average, include, (const float *)x->data + p * plane,
                        (const float *)call->out[0].data + p * positions, g + p * positions,
                        to + p * plane);
    return BL_OK;
}

static bl_status average_pool_gradient(const bl_call *call, const bl_tensor *const *out_grad,
                                       bl_tensor *in_grad)
{
    return pool_backward(call, out_grad[0]->data, in_grad[0].data, true);
}

static bl_status max_pool_gradient(const bl_call *call, const bl_tensor *const *out_grad,
                                   bl_tensor *in_grad)
{
    return pool_backward(call, out_grad[0]->data, in_grad[0].data, false);
}

static bl_status global_pool_shape(const bl_call *call)
{
    int64_t dim[BL_MAX_RANK];

    BL_TRY(bl_op_begin(call, ""));
    BL_TRY(bl_op_type(call, 0, BL_T_F32));
    BL_TRY(bl_op_rank(call, 0, 3, BL_MAX_RANK));
    for (int i = 0; i < call->in[0]->rank; i++) dim[i] = i < 2 ? call->in[0]->dim[i] : 1;
    return bl_op_out(call, 0, BL_F32, call->in[0]->rank, dim);
}

static bl_status global_average_pool_forward(const bl_call *call)
{
    const float *x = call->in[0]->data;
    float *y = call->out[0].data;
    int64_t planes = bl_tensor_count(&call->out[0]), n = bl_tensor_count(call->in[0]) / planes;

    for (int64_t p = 0; p < planes; p++, x += n) {
        float sum = 0.0f;
        for (int64_t i = 0; i < n; i++) sum += x[i];
        y[p] = sum / (float)n;
    }
    return BL_OK;
}

static bl_status global_max_pool_forward(const bl_call *call)
{
    const float *x = call->in[0]->data;
    float *y = call->out[0].data;
    int64_t planes = bl_tensor_count(&call->out[0]), n = bl_tensor_count(call->in[0]) / planes;

    for (int64_t p = 0; p < planes; p++, x += n) {
        float best = x[0];
        for (int64_t i = 1; i < n; i++) best = x[i] > best || x[i] != x[i] ? x[i] : best;
        y[p] = best;
    }
    return BL_OK;
}

static bl_status global_average_pool_gradient(const bl_call *call, const bl_tensor *const *out_grad,
                                              bl_tensor *in_grad)
{
    const float *g = out_grad[0]->data;
    float *to = in_grad[0].data;
    int64_t planes = bl_tensor_count(&call->out[0]), n = bl_tensor_count(call->in[0]) / planes;

    for (int64_t p = 0; to && p < planes; p++, to += n)
        for (int64_t i = 0; i < n; i++) to[i] = g[p] / (float)n;
    return BL_OK;
}

static bl_status global_max_pool_gradient(const bl_call *call, const bl_tensor *const *out_grad,
                                          bl_tensor *in_grad)
{
    const float *g = out_grad[0]->data, *y = call->out[0].data, *x = call->in[0]->data;
    float *to = in_grad[0].data;
    int64_t planes = bl_tensor_count(&call->out[0]), n = bl_tensor_count(call->in[0]) / planes;

    for (int64_t p = 0; to && p < planes; p++, to += n, x += n) {
        int64_t i = 0;
        memset(to, 0, (size_t)n * sizeof *to);
        while (i < n && x[i] != y[p]) i++;
        if (i < n) to[i] = g[p];
    }
    return BL_OK;
}

static bl_status global_lp_pool_forward(const bl_call *call)
{
    const float *x = call->in[0]->data;
    float *y = call->out[0].data;
    int64_t planes = bl_tensor_count(&call->out[0]), n = bl_tensor_count(call->in[0]) / planes;
    int64_t power = bl_attr_int(call->node, "p", 2);

    for (int64_t p = 0; p < planes; p++, x += n) {
        float sum = 0.0f;
        for (int64_t i = 0; i < n; i++) sum += lp_term(power, x[i]);
        y[p] = lp_root(power, sum);
    }
    return BL_OK;
}

static bl_status global_lp_pool_shape(const bl_call *call)
{
    int64_t p = bl_attr_int(call->node, "p", 2);

    BL_TRY(global_pool_shape(call));
    BL_TRY(bl_op_begin(call, "p:i"));
    if (p < 1 || p > 64)
        return bl_op_fail(call, BL_DATA, "repair the model", "p is %lld", (long long)p);
    return BL_OK;
}

const bl_op bl_op_lp_pool = {
    .name = "LpPool",
    .min_opset = 2,
    .in_min = 1,
    .in_max = 1,
    .out_max = 1,
    .shape = lp_pool_shape,
    .forward = lp_pool_forward,
};

const bl_op bl_op_global_lp_pool = {
    .name = "GlobalLpPool",
    .min_opset = 2,
    .in_min = 1,
    .in_max = 1,
    .out_max = 1,
    .shape = global_lp_pool_shape,
    .forward = global_lp_pool_forward,
};

const bl_op bl_op_average_pool = {
    .name = "AveragePool",
    .flags = BL_OP_WINDOW,
    .min_opset = 1,
    .in_min = 1,
    .in_max = 1,
    .out_max = 1,
    .shape = pool_shape,
    .forward = average_pool_forward,
    .gradient = average_pool_gradient,
    .integer = bl_pool_integer,
};

const bl_op bl_op_max_pool = {
    .name = "MaxPool",
    .flags = BL_OP_MOVES | BL_OP_WINDOW,
    .min_opset = 1,
    .in_min = 1,
    .in_max = 1,
    .out_max = 2,
    .shape = max_pool_shape,
    .forward = max_pool_forward,
    .gradient = max_pool_gradient,
    .integer = bl_pool_integer,
};

const bl_op bl_op_global_average_pool = {
    .name = "GlobalAveragePool",
    .flags = BL_OP_WINDOW,
    .min_opset = 1,
    .in_min = 1,
    .in_max = 1,
    .out_max = 1,
    .shape = global_pool_shape,
    .forward = global_average_pool_forward,
    .gradient = global_average_pool_gradient,
    .integer = bl_global_pool_integer,
};

const bl_op bl_op_global_max_pool = {
    .name = "GlobalMaxPool",
    .flags = BL_OP_MOVES | BL_OP_WINDOW,
    .min_opset = 1,
    .in_min = 1,
    .in_max = 1,
    .out_max = 1,
    .shape = global_pool_shape,
    .forward = global_max_pool_forward,
    .gradient = global_max_pool_gradient,
    .integer = bl_global_pool_integer,
};
