/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Operators that ONNX defines on codes of 8 bits: ConvInteger, MatMulInteger (int32 out) and
 * QLinearConv, QLinearMatMul (codes out).  They run as written; our own integer programs come from
 * the float operators.  Sums of (code - zero) products are int32, which wraps; a code out is
 * requantized by [Q3] with multiplier f( f(sa * sb) / sy ).
 */
#include "ops/ops_private.h"

#define CODES (BL_BIT(BL_U8) | BL_BIT(BL_I8))

/* Where an operator's inputs stand; -1: it has none. */
typedef struct layout {
    int a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero, bias;
} layout;

static const layout integers = {0, -1, 2, 1, -1, 3, -1, -1, -1};
static const layout codes = {0, 1, 2, 3, 4, 5, 6, 7, 8};

/* Input i is absent, one element, or a vector of n. */
static bl_status check_each(const bl_call *call, int i, int64_t n, unsigned types)
{
    if (i < 0 || !bl_op_has(call, i)) return BL_OK;
    BL_TRY(bl_op_type(call, i, types));
    if (bl_tensor_count(call->in[i]) != 1 && bl_tensor_count(call->in[i]) != n)
        return bl_op_fail(call, BL_UNAVAILABLE, "use one scale and zero point for a tensor or row",
                          "input %d of shape %s is not one or %lld numbers", i,
                          bl_shape_text(call->scratch, call->in[i]), (long long)n);
    return BL_OK;
}

/* Types and counts: rows parameters for a, columns for b, one for y. */
static bl_status check_codes(const bl_call *call, const layout *at, int64_t rows, int64_t columns)
{
    BL_TRY(check_each(call, at->a_scale, rows, BL_T_F32));
    BL_TRY(check_each(call, at->a_zero, rows, BL_BIT(call->in[at->a]->type)));
    BL_TRY(check_each(call, at->b_scale, columns, BL_T_F32));
    BL_TRY(check_each(call, at->b_zero, columns, BL_BIT(call->in[at->b]->type)));
    BL_TRY(check_each(call, at->y_scale, 1, BL_T_F32));
    return check_each(call, at->y_zero, 1, CODES);
}

static int32_t zero_of(const bl_call *call, int i, int64_t at)
{
    if (i < 0 || !bl_op_has(call, i)) return 0;
    return (int32_t)bl_element_i64(call->in[i], bl_tensor_count(call->in[i]) == 1 ? 0 : at);
}

static float scale_of(const bl_call *call, int i, int64_t at)
{
    return ((const float *)call->in[i]->data)[bl_tensor_count(call->in[i]) == 1 ? 0 : at];
}

/* (code - zero) of n codes from `from` on. */
static void widen(const bl_tensor *t, int64_t from, int64_t n, int32_t zero, int32_t *to)
{
    if (t->type == BL_U8)
        for (int64_t i = 0; i < n; i++) to[i] = ((const uint8_t *)t->data)[from + i] - zero;
    else
        for (int64_t i = 0; i < n; i++) to[i] = ((const int8_t *)t->data)[from + i] - zero;
}

/* Finished sums into output elements to..to+n-1: as they are, or as codes [Q3]. */
static void store(const bl_call *call, const layout *at, const int32_t *acc, int64_t n,
                  int64_t row, int64_t column, int64_t to)
{
    const bl_tensor *y = &call->out[0];
    int32_t zero, lo = y->type == BL_I8 ? INT8_MIN : 0, hi = lo + UINT8_MAX;
    float m;

    if (y->type == BL_I32) {
        memcpy((int32_t *)y->data + to, acc, (size_t)n * sizeof *acc);
        return;
    }
    zero = zero_of(call, at->y_zero, 0);
    m = scale_of(call, at->a_scale, row) * scale_of(call, at->b_scale, column);
    m /= scale_of(call, at->y_scale, 0);
    for (int64_t i = 0; i < n; i++)
        ((uint8_t *)y->data)[to + i] =
            (uint8_t)bl_requantize_f32((float)acc[i], m, zero, lo, hi);
}

static bl_dtype output_type(const bl_call *call, const layout *at)
{
    return at->y_zero < 0 ? BL_I32 : call->in[at->y_zero]->type;
}

/* ------------------------------------------------------------------ convolutions */

static bl_status conv_codes_shape(const bl_call *call, const layout *at)
{
    int64_t dim[BL_MAX_RANK];
    int bias = at->bias >= 0 && bl_op_has(call, at->bias) ? at->bias : -1;

    BL_TRY(bl_op_begin(call, "group:i " BL_WINDOW_ATTRS));
    BL_TRY(bl_op_type(call, at->a, CODES));
    BL_TRY(bl_op_type(call, at->b, CODES));
    if (bias >= 0) BL_TRY(bl_op_type(call, bias, BL_BIT(BL_I32)));
    BL_TRY(bl_conv_dims(call, call->in[at->a], call->in[at->b], bias >= 0 ? call->in[bias] : NULL,
                        dim));
    BL_TRY(check_codes(call, at, 1, dim[1]));
    return bl_op_out(call, 0, output_type(call, at), call->in[at->a]->rank, dim);
}

/* One plane of outputs += weights of one input plane: taps outside contribute nothing. */
static void add_plane(const bl_window *w, const int32_t *x, const int32_t *weight, int32_t *acc)
{
    int64_t k[3], o[3];

    for (k[0] = 0; k[0] < w->kernel[0]; k[0]++)
        for (k[1] = 0; k[1] < w->kernel[1]; k[1]++)
            for (k[2] = 0; k[2] < w->kernel[2]; k[2]++, weight++) {
                int64_t off = k[2] * w->dilation[2] - w->pad_begin[2], step = w->stride[2];
                int64_t first = off < 0 ? (step - 1 - off) / step : 0;
                int64_t last = off < w->in[2] ? BL_MIN((w->in[2] - 1 - off) / step, w->out[2] - 1)
                                              : -1;
                uint32_t factor = (uint32_t)*weight;
                for (o[0] = 0; o[0] < w->out[0]; o[0]++)
                    for (o[1] = 0; o[1] < w->out[1]; o[1]++) {
                        int64_t d = o[0] * w->stride[0] + k[0] * w->dilation[0] - w->pad_begin[0];
                        int64_t h = o[1] * w->stride[1] + k[1] * w->dilation[1] - w->pad_begin[1];
                        const int32_t *row = x + (d * w->in[1] + h) * w->in[2] + off;
                        int32_t *to = acc + (o[0] * w->out[1] + o[1]) * w->out[2];
                        if (d < 0 || d >= w->in[0] || h < 0 || h >= w->in[1]) continue;
                        for (int64_t i = first; i <= last; i++)
                            to[i] = (int32_t)((uint32_t)to[i] + factor * (uint32_t)row[i * step]);
                    }
            }
}

static bl_status conv_codes_forward(const bl_call *call, const layout *at)
{
    const bl_tensor *x = call->in[at->a], *wt = call->in[at->b];
    const int32_t *bias = at->bias >= 0 && bl_op_has(call, at->bias) ? call->in[at->bias]->data
                                                                     : NULL;
    int64_t group = bl_attr_int(call->node, "group", 1), channels = wt->dim[1];
    int64_t filters = wt->dim[0], taps = bl_tensor_count(wt) / filters, plane, positions;
    int32_t *wide, *weight, *acc;
    bl_window w;

    BL_TRY(bl_window_read(call, x, wt->dim + 2, &w));
    bl_window_lift(&w, &w);
    plane = w.in[0] * w.in[1] * w.in[2];
    positions = w.out[0] * w.out[1] * w.out[2];
    wide = bl_alloc(call->scratch, (size_t)(x->dim[1] * plane), sizeof *wide);
    BL_ALLOC_TRY(call->ctx, wide);
    weight = bl_alloc(call->scratch, (size_t)taps, sizeof *weight);
    BL_ALLOC_TRY(call->ctx, weight);
    acc = bl_alloc(call->scratch, (size_t)positions, sizeof *acc);
    BL_ALLOC_TRY(call->ctx, acc);
    for (int64_t n = 0; n < x->dim[0]; n++) {
        widen(x, n * x->dim[1] * plane, x->dim[1] * plane, zero_of(call, at->a_zero, 0), wide);
        for (int64_t m = 0; m < filters; m++) {
            const int32_t *from = wide + m / (filters / group) * channels * plane;
            widen(wt, m * taps, taps, zero_of(call, at->b_zero, m), weight);
            for (int64_t p = 0; p < positions; p++) acc[p] = bias ? bias[m] : 0;
            for (int64_t c = 0; c < channels; c++)
                add_plane(&w, from + c * plane, weight + c * (taps / channels), acc);
            store(call, at, acc, positions, 0, m, (n * filters + m) * positions);
        }
    }
    return BL_OK;
}

static int64_t conv_codes_macs(const bl_call *call, const layout *at)
{
    const bl_tensor *wt = call->in[at->b];
    return bl_tensor_count(&call->out[0]) * (bl_tensor_count(wt) / wt->dim[0]);
}

/* ------------------------------------------------------------------ products of matrices */

static bl_status matmul_codes_shape(const bl_call *call, const layout *at)
{
    int64_t dim[BL_MAX_RANK];
    bl_stack s;
    int rank;

    BL_TRY(bl_op_begin(call, ""));
    BL_TRY(bl_op_type(call, at->a, CODES));
    BL_TRY(bl_op_type(call, at->b, CODES));
    BL_TRY(bl_stack_read(call, call->in[at->a], call->in[at->b], &s, &rank, dim));
    BL_TRY(check_codes(call, at, s.m, s.n));
    return bl_op_out(call, 0, output_type(call, at), rank, dim);
}

/* One row of outputs, from a widened row of a and codes of b. */
static void multiply_row(const bl_call *call, const layout *at, const bl_stack *s, const int32_t *a,
                         int64_t from_b, int32_t *b, int32_t *acc)
{
    memset(acc, 0, (size_t)s->n * sizeof *acc);
    for (int64_t k = 0; k < s->k; k++) {
        widen(call->in[at->b], from_b + k * s->n, s->n, 0, b);
        for (int64_t j = 0; j < s->n; j++)
            acc[j] = (int32_t)((uint32_t)acc[j] +
                               (uint32_t)a[k] * (uint32_t)(b[j] - zero_of(call, at->b_zero, j)));
    }
}

static bl_status matmul_codes_forward(const bl_call *call, const layout *at)
{
    const bl_tensor *a = call->in[at->a];
    int64_t dim[BL_MAX_RANK], at_a, at_b;
    int32_t *row, *b, *acc;
    bl_stack s;
    int rank;

    BL_TRY(bl_stack_read(call, a, call->in[at->b], &s, &rank, dim));
    row = bl_alloc(call->scratch, (size_t)s.k, sizeof *row);
    BL_ALLOC_TRY(call->ctx, row);
    b = bl_alloc(call->scratch, (size_t)s.n, sizeof *b);
    BL_ALLOC_TRY(call->ctx, b);
    acc = bl_alloc(call->scratch, (size_t)s.n, sizeof *acc);
    BL_ALLOC_TRY(call->ctx, acc);
    for (int64_t i = 0; i < s.batches; i++) {
        bl_stack_at(&s, i, &at_a, &at_b);
        for (int64_t m = 0; m < s.m; m++) {
            int64_t to = (i * s.m + m) * s.n;
            widen(a, at_a + m * s.k, s.k, zero_of(call, at->a_zero, m), row);
            multiply_row(call, at, &s, row, at_b, b, acc);
            if (at->b_scale < 0 || bl_tensor_count(call->in[at->b_scale]) == 1)
                store(call, at, acc, s.n, m, 0, to);
            else
                for (int64_t j = 0; j < s.n; j++) store(call, at, acc + j, 1, m, j, to + j);
        }
    }
    return BL_OK;
}

static int64_t matmul_codes_macs(const bl_call *call, const layout *at)
{
    return bl_tensor_count(&call->out[0]) * call->in[at->a]->dim[call->in[at->a]->rank - 1];
}

/* ------------------------------------------------------------------ rows */

#define CODED(title, symbol, family, where, inputs_min, inputs_max)                                \
    static bl_status symbol##_shape(const bl_call *call)                                           \
    {                                                                                              \
        return family##_shape(call, &where);                                                       \
    }                                                                                              \
    static bl_status symbol##_forward(const bl_call *call)                                         \
    {                                                                                              \
        return family##_forward(call, &where);                                                     \
    }                                                                                              \
    static int64_t symbol##_macs(const bl_call *call)                                              \
    {                                                                                              \
        return family##_macs(call, &where);                                                        \
    }                                                                                              \
    const bl_op bl_op_##symbol = {                                                                 \
        .name = title,                                                                             \
        .flags = BL_OP_CODES,                                                                      \
        .min_opset = 10,                                                                           \
        .in_min = inputs_min,                                                                      \
        .in_max = inputs_max,                                                                      \
        .out_max = 1,                                                                              \
        .shape = symbol##_shape,                                                                   \
        .forward = symbol##_forward,                                                               \
        .macs = symbol##_macs,                                                                     \
    }

CODED("ConvInteger", conv_integer, conv_codes, integers, 2, 4);
CODED("MatMulInteger", mat_mul_integer, matmul_codes, integers, 2, 4);
CODED("QLinearConv", qlinear_conv, conv_codes, codes, 8, 9);
CODED("QLinearMatMul", qlinear_mat_mul, matmul_codes, codes, 8, 8);
