/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reductions over axes: ReduceSum, ReduceMean, ReduceMax, ReduceMin, ReduceProd, ReduceL1,
 * ReduceL2, ReduceSumSquare, ReduceLogSum, ReduceLogSumExp (float32 only).  float32 sums run in
 * binary32 in row-major order of the input; int32 and int64 wrap.
 */
#include "ops/ops_private.h"

/* ReduceSum took its axes as an input from opset 13 on, the others from 18 on. */
static int axes_since(const bl_call *call)
{
    return strcmp(call->node->op->name, "ReduceSum") == 0 ? 13 : 18;
}

/* Which dimensions go; none given means all, or none with noop_with_empty_axes. */
static bl_status reduce_read(const bl_call *call, bool *gone)
{
    const bl_tensor *x = call->in[0];
    bool noop = bl_attr_int(call->node, "noop_with_empty_axes", 0) != 0;
    int axis[BL_MAX_RANK], n;

    BL_TRY(bl_op_axes(call, axes_since(call), 1, x->rank, axis, &n));
    for (int i = 0; i < x->rank; i++) gone[i] = n <= 0 && !noop;
    for (int i = 0; i < n; i++) gone[axis[i]] = true;
    return BL_OK;
}

static bl_status reduce_shape(const bl_call *call)
{
    const bl_tensor *x = call->in[0];
    int64_t dim[BL_MAX_RANK];
    bool gone[BL_MAX_RANK], keep;
    int rank = 0;

    BL_TRY(bl_op_begin(call, "axes:I keepdims:i noop_with_empty_axes:i"));
    BL_TRY(bl_op_type(call, 0, BL_T_F32 | BL_BIT(BL_I32) | BL_BIT(BL_I64)));
    BL_TRY(reduce_read(call, gone));
    keep = bl_attr_int(call->node, "keepdims", 1) != 0;
    for (int i = 0; i < x->rank; i++)
        if (!gone[i] || keep) dim[rank++] = gone[i] ? 1 : x->dim[i];
    return bl_op_out(call, 0, x->type, rank, dim);
}

static bl_status reduce_float_shape(const bl_call *call)
{
    BL_TRY(reduce_shape(call));
    return bl_op_type(call, 0, BL_T_F32);
}

typedef enum fold { SUM, MEAN, MOST, LEAST, PRODUCT, L1, L2, SQUARES, LOG, LOG_EXP } fold;

static float fold_f32(fold f, float acc, float v)
{
    switch (f) {
    case MOST: return v > acc || v != v ? v : acc;
    case LEAST: return v < acc || v != v ? v : acc;
    case PRODUCT: return acc * v;
    case L1: return acc + fabsf(v);
    case L2:
    case SQUARES: return acc + v * v;
    case LOG_EXP: return acc + (float)exp((double)v);
    default: return acc + v;
    }
}

static int64_t fold_i64(fold f, int64_t acc, int64_t v)
{
    uint64_t a = (uint64_t)acc, b = (uint64_t)v;

    switch (f) {
    case MOST: return BL_MAX(acc, v);
    case LEAST: return BL_MIN(acc, v);
    case PRODUCT: return (int64_t)(a * b);
    case L1: return (int64_t)(a + (v < 0 ? 0 - b : b));
    case L2:
    case SQUARES: return (int64_t)(a + b * b);
    default: return (int64_t)(a + b);
    }
}

/* What is left to do once every element is in: n of them. */
static void finish(fold f, const bl_tensor *y, int64_t n)
{
    int64_t count = bl_tensor_count(y);

    for (int64_t i = 0; i < count && (f == MEAN || f == L2 || f >= LOG); i++) {
        if (f >= LOG) {
            float *v = (float *)y->data + i;
            *v = (float)log((double)*v);
        } else if (y->type == BL_F32) {
            float *v = (float *)y->data + i;
            *v = f == MEAN ? *v / (float)n : sqrtf(*v);
        } else if (y->type == BL_I32) {
            int32_t *v = (int32_t *)y->data + i;
            *v = f == MEAN ? (int32_t)(*v / n) : (int32_t)sqrt((double)*v);
        } else {
            int64_t *v = (int64_t *)y->data + i;
            *v = f == MEAN ? *v / n : (int64_t)sqrt((double)*v);
        }
    }
}

/* The input is walked in its own order; `at` is where its current element goes. */
static bl_status reduce(const bl_call *call, fold f)
{
    const bl_tensor *x = call->in[0], *y = &call->out[0];
    int64_t n = bl_tensor_count(x), count = bl_tensor_count(y);
    int64_t step[BL_MAX_RANK], index[BL_MAX_RANK] = {0}, run = 1, at = 0;
    bool gone[BL_MAX_RANK];
    float real = f == MOST ? -INFINITY : f == LEAST ? INFINITY : f == PRODUCT ? 1.0f : 0.0f;
    int64_t start = f == MOST ? INT64_MIN : f == LEAST ? INT64_MAX : f == PRODUCT;

    BL_TRY(reduce_read(call, gone));
    for (int d = x->rank - 1; d >= 0; d--) {
        step[d] = gone[d] ? 0 : run;
        run *= gone[d] ? 1 : x->dim[d];
    }
    for (int64_t i = 0; i < count; i++) {
        if (y->type == BL_F32)
            ((float *)y->data)[i] = real;
        else if (y->type == BL_I32)
            ((int32_t *)y->data)[i] = (int32_t)BL_MAX(BL_MIN(start, INT32_MAX), INT32_MIN);
        else
            ((int64_t *)y->data)[i] = start;
    }
    for (int64_t i = 0; i < n; i++) {
        if (y->type == BL_F32)
            ((float *)y->data)[at] =
                fold_f32(f, ((float *)y->data)[at], ((const float *)x->data)[i]);
        else if (y->type == BL_I32)
            ((int32_t *)y->data)[at] =
                (int32_t)fold_i64(f, ((int32_t *)y->data)[at], ((const int32_t *)x->data)[i]);
        else
            ((int64_t *)y->data)[at] =
                fold_i64(f, ((int64_t *)y->data)[at], ((const int64_t *)x->data)[i]);
        for (int d = x->rank - 1; d >= 0; d--) {
            at += step[d];
            if (++index[d] < x->dim[d]) break;
            at -= step[d] * x->dim[d];
            index[d] = 0;
        }
    }
    finish(f, y, n / count);
    return BL_OK;
}

/* Slope of the result y by one of its n elements x. */
static double fold_slope(fold f, double x, double y, int64_t n)
{
    switch (f) {
    case MEAN: return 1.0 / (double)n;
    case L1: return x > 0 ? 1 : x < 0 ? -1 : 0;
    case L2: return y > 0 ? x / y : 0;
    case SQUARES: return 2 * x;
    case LOG: return exp(-y);
    case LOG_EXP: return exp(x - y);
    default: return 1;
    }
}

/* Max, Min: the first element that equals the result has the whole gradient. */
static bl_status reduce_gradient(const bl_call *call, const bl_tensor *g, bl_tensor *in_grad,
                                 fold f)
{
    const bl_tensor *x = call->in[0], *y = &call->out[0];
    int64_t n = bl_tensor_count(x), count = bl_tensor_count(y);
    int64_t step[BL_MAX_RANK], index[BL_MAX_RANK] = {0}, run = 1, at = 0;
    bool gone[BL_MAX_RANK];
    uint8_t *taken = BL_NEW(call->scratch, uint8_t, (size_t)count);
    float *to = in_grad[0].data;

    BL_ALLOC_TRY(call->ctx, taken);
    memset(taken, 0, (size_t)count);
    BL_TRY(reduce_read(call, gone));
    if (!to) return BL_OK;
    for (int d = x->rank - 1; d >= 0; d--) {
        step[d] = gone[d] ? 0 : run;
        run *= gone[d] ? 1 : x->dim[d];
    }
    for (int64_t i = 0; i < n; i++) {
        float xi = ((const float *)x->data)[i], yi = ((const float *)y->data)[at];
        bool mine = f != MOST && f != LEAST;
        if (!mine && !taken[at] && xi == yi) {
            mine = true;
            taken[at] = 1;
        }
        to[i] = mine ? (float)(((const float *)g->data)[at] * fold_slope(f, xi, yi, n / count))
                     : 0.0f;
        for (int d = x->rank - 1; d >= 0; d--) {
            at += step[d];
            if (++index[d] < x->dim[d]) break;
            at -= step[d] * x->dim[d];
            index[d] = 0;
        }
    }
    return BL_OK;
}

#define GRADIENT(symbol, f)                                                                        \
    static bl_status symbol##_gradient(const bl_call *call, const bl_tensor *const *out_grad,      \
                                       bl_tensor *in_grad)                                         \
    {                                                                                              \
        return reduce_gradient(call, out_grad[0], in_grad, f);                                     \
    }
GRADIENT(l1, L1)
GRADIENT(l2, L2)
GRADIENT(log_sum, LOG)
GRADIENT(log_sum_exp, LOG_EXP)
GRADIENT(max, MOST)
GRADIENT(mean, MEAN)
GRADIENT(min, LEAST)
GRADIENT(sum, SUM)
GRADIENT(sum_square, SQUARES)


/*
 * A mean [Q7] or maximum over dimensions that lie side by side in memory, everything before them being
 * one: a global pool whose pixels are what goes and whose channels are what stays.
 */
static bl_status reduce_integer(bl_lowering *low, bl_contract contract)
{
    const bl_ivalue *x = low->in[0], *y = low->out;
    int64_t size[BL_MAX_RANK], pixels = 1, channels = 1, least_gone = INT64_MAX, run = 1;
    bool gone[BL_MAX_RANK];
    bl_call call;
    if (!x) return bl_integer_fail(low, "its input is constant");
    BL_TRY(bl_integer_call(low, &call));
    BL_TRY(reduce_read(&call, gone));
    for (int d = 0; d < x->rank; d++) {
        size[d] = x->dim[d];
        *(gone[d] ? &pixels : &channels) *= size[d];
        if (gone[d] && size[d] > 1) least_gone = BL_MIN(least_gone, x->stride[d]);
    }
    /* what stays fills the lowest strides, row-major, so that its codes need no new order */
    for (int d = x->rank - 1; d >= 0; d--) {
        if (gone[d] || size[d] == 1) continue;
        if (x->stride[d] != run || x->stride[d] >= least_gone) return bl_integer_fail(low, "over inner dimensions");
        run *= size[d];
    }
    if (!bl_ivalue_row_major(y)) return bl_integer_fail(low, "an output in another order");
    if (pixels >= 1 << 24 || channels > INT32_MAX) return bl_integer_fail(low, "%lld elements", (long long)pixels);
    if (contract == BL_C_MAXPOOL && (x->bits != y->bits || memcmp(&x->grid, &y->grid, sizeof x->grid)))
        return bl_integer_fail(low, "a maximum needs one grid before and behind it");
    bl_step s = bl_step_make(contract, x, NULL, y);
    bl_step_pool *p = &s.u.pool;
    *p = (bl_step_pool){ .in_h = (int32_t)pixels, .in_w = 1, .c = (int32_t)channels, .out_h = 1, .out_w = 1,
                         .kernel_h = (int32_t)pixels, .kernel_w = 1, .stride_h = 1, .stride_w = 1, .dilation_h = 1,
                         .dilation_w = 1, .gx = x->grid, .gy = bl_clamped_grid(low->node, y->grid) };
    return low->emit(low, &s);
}

bl_status bl_reduce_mean_integer(bl_lowering *low, const bl_node *node)
{
    (void)node;
    return reduce_integer(low, BL_C_GAP);
}

bl_status bl_reduce_max_integer(bl_lowering *low, const bl_node *node)
{
    (void)node;
    return reduce_integer(low, BL_C_MAXPOOL);
}

#define REDUCE(title, symbol, bits, f, checks, form, backward)                                     \
    static bl_status symbol##_forward(const bl_call *call)                                         \
    {                                                                                              \
        return reduce(call, f);                                                                    \
    }                                                                                              \
    const bl_op bl_op_##symbol = {                                                                 \
        .name = title,                                                                             \
        .flags = bits,                                                                             \
        .min_opset = 1,                                                                            \
        .in_min = 1,                                                                               \
        .in_max = 2,                                                                               \
        .out_max = 1,                                                                              \
        .shape = checks,                                                                           \
        .forward = symbol##_forward,                                                               \
        .integer = form,                                                                           \
        .gradient = backward,                                                                      \
    }

REDUCE("ReduceL1", reduce_l1, 0, L1, reduce_shape, NULL, l1_gradient);
REDUCE("ReduceL2", reduce_l2, 0, L2, reduce_shape, NULL, l2_gradient);
REDUCE("ReduceLogSum", reduce_log_sum, 0, LOG, reduce_float_shape, NULL, log_sum_gradient);
REDUCE("ReduceLogSumExp", reduce_log_sum_exp, 0, LOG_EXP, reduce_float_shape, NULL, log_sum_exp_gradient);
REDUCE("ReduceMax", reduce_max, BL_OP_MOVES, MOST, reduce_shape, bl_reduce_max_integer, max_gradient);
REDUCE("ReduceMean", reduce_mean, 0, MEAN, reduce_shape, bl_reduce_mean_integer, mean_gradient);
REDUCE("ReduceMin", reduce_min, BL_OP_MOVES, LEAST, reduce_shape, NULL, min_gradient);
REDUCE("ReduceProd", reduce_prod, 0, PRODUCT, reduce_shape, NULL, NULL);
REDUCE("ReduceSum", reduce_sum, 0, SUM, reduce_shape, NULL, sum_gradient);
REDUCE("ReduceSumSquare", reduce_sum_square, 0, SQUARES, reduce_shape, NULL, sum_square_gradient);
