/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Gradients of the arithmetic on two or more tensors: each operand's slope times the gradient over
 * the output's whole shape, then summed over what was broadcast.  The function of (x, y) is smooth
 * but for Max, Min and PRelu, where ties give the whole gradient to the first operand.
 */
#include "ops/ops_private.h"

/* The output's elements with the operand's broadcast over them: at[i] of element i. */
typedef struct walker {
    int rank;
    int64_t dim[BL_MAX_RANK], step[2][BL_MAX_RANK], index[BL_MAX_RANK], at[2];
} walker;

static void walker_start(walker *w, const bl_tensor *out, const bl_tensor *a, const bl_tensor *b)
{
    const bl_tensor *t[2] = {a, b};

    memset(w, 0, sizeof *w);
    w->rank = out->rank;
    memcpy(w->dim, out->dim, sizeof w->dim);
    for (int i = 0; i < 2; i++) {
        int64_t run = 1;
        for (int d = t[i]->rank - 1; d >= 0; d--) {
            w->step[i][out->rank - t[i]->rank + d] = t[i]->dim[d] == 1 ? 0 : run;
            run *= t[i]->dim[d];
        }
    }
}

static inline void walker_next(walker *w)
{
    for (int d = w->rank - 1; d >= 0; d--) {
        w->at[0] += w->step[0][d];
        w->at[1] += w->step[1][d];
        if (++w->index[d] < w->dim[d]) return;
        w->at[0] -= w->step[0][d] * w->dim[d];
        w->at[1] -= w->step[1][d] * w->dim[d];
        w->index[d] = 0;
    }
}

/* d(out)/d(x) and d(out)/d(y). */
typedef void pair_slope(double x, double y, double *dx, double *dy);

static void sub_slope(double x, double y, double *dx, double *dy)
{
    (void)x, (void)y;
    *dx = 1;
    *dy = -1;
}

static void mul_slope(double x, double y, double *dx, double *dy)
{
    *dx = y;
    *dy = x;
}

static void div_slope(double x, double y, double *dx, double *dy)
{
    *dx = 1 / y;
    *dy = -x / (y * y);
}

static void pow_slope(double x, double y, double *dx, double *dy)
{
    *dx = y == 0 ? 0 : y == 2 ? 2 * x : y * pow(x, y - 1);
    *dy = x > 0 ? pow(x, y) * log(x) : 0;
}

static void prelu_slopes(double x, double y, double *dx, double *dy)
{
    *dx = x < 0 ? y : 1;
    *dy = x < 0 ? x : 0;
}

/* Whole-shape gradients of both operands, then their sums. */
static bl_status pair(const bl_call *call, const bl_tensor *a, const bl_tensor *b,
                      const bl_tensor *out, const float *g, pair_slope *slope, float *to_a,
                      float *to_b)
{
    int64_t n = bl_tensor_count(out);
    float *full[2] = {NULL, NULL};
    bool whole[2] = {bl_tensor_count(a) == n, bl_tensor_count(b) == n};
    walker w;

    for (int i = 0; i < 2; i++) {
        float *to = i ? to_b : to_a;
        if (!to) continue;
        full[i] = whole[i] ? to : bl_alloc(call->scratch, (size_t)n, sizeof(float));
        BL_ALLOC_TRY(call->ctx, full[i]);
    }
    walker_start(&w, out, a, b);
    for (int64_t i = 0; i < n; i++, walker_next(&w)) {
        double dx, dy;
        slope(((const float *)a->data)[w.at[0]], ((const float *)b->data)[w.at[1]], &dx, &dy);
        if (full[0]) full[0][i] = (float)(g[i] * dx);
        if (full[1]) full[1][i] = (float)(g[i] * dy);
    }
    if (to_a && !whole[0]) BL_TRY(bl_bcast_sum(call, out, full[0], a, to_a));
    if (to_b && !whole[1]) BL_TRY(bl_bcast_sum(call, out, full[1], b, to_b));
    return BL_OK;
}

static bl_status pair_gradient(const bl_call *call, const bl_tensor *const *out_grad,
                               bl_tensor *in_grad, pair_slope *slope)
{
    int64_t dim[BL_MAX_RANK];
    bl_tensor b;
    int rank;

    BL_TRY(bl_pair_dims(call, &b, &rank, dim));
    return pair(call, call->in[0], &b, &call->out[0], out_grad[0]->data, slope, in_grad[0].data,
                in_grad[1].data);
}

/* Additions need no values, only sums. */
bl_status bl_add_gradient(const bl_call *call, const bl_tensor *const *out_grad, bl_tensor *in_grad)
{
    int64_t dim[BL_MAX_RANK];
    bl_tensor b;
    int rank;

    BL_TRY(bl_pair_dims(call, &b, &rank, dim));
    if (in_grad[0].data)
        BL_TRY(bl_bcast_sum(call, &call->out[0], out_grad[0]->data, call->in[0], in_grad[0].data));
    if (in_grad[1].data)
        BL_TRY(bl_bcast_sum(call, &call->out[0], out_grad[0]->data, &b, in_grad[1].data));
    return BL_OK;
}

bl_status bl_sub_gradient(const bl_call *call, const bl_tensor *const *out_grad, bl_tensor *in_grad)
{
    return pair_gradient(call, out_grad, in_grad, sub_slope);
}

bl_status bl_mul_gradient(const bl_call *call, const bl_tensor *const *out_grad, bl_tensor *in_grad)
{
    return pair_gradient(call, out_grad, in_grad, mul_slope);
}

bl_status bl_div_gradient(const bl_call *call, const bl_tensor *const *out_grad, bl_tensor *in_grad)
{
    return pair_gradient(call, out_grad, in_grad, div_slope);
}

/* The exponent may be of another type; its gradient is taken when it is float32. */
bl_status bl_pow_gradient(const bl_call *call, const bl_tensor *const *out_grad, bl_tensor *in_grad)
{
    int64_t dim[BL_MAX_RANK];
    bl_tensor b;
    int rank;

    BL_TRY(bl_pair_dims(call, &b, &rank, dim));
    if (b.type != BL_F32) {
        int64_t n = bl_tensor_count(&b);
        float *as_float = bl_alloc(call->scratch, (size_t)n, sizeof *as_float);
        BL_ALLOC_TRY(call->ctx, as_float);
        for (int64_t i = 0; i < n; i++) as_float[i] = (float)bl_element_f64(call->in[1], i);
        b.data = as_float;
        b.type = BL_F32;
    }
    return pair(call, call->in[0], &b, &call->out[0], out_grad[0]->data, pow_slope,
                in_grad[0].data, in_grad[1].data);
}

bl_status bl_prelu_gradient(const bl_call *call, const bl_tensor *const *out_grad,
                            bl_tensor *in_grad)
{
    bl_tensor slope;

    BL_TRY(bl_prelu_slope(call, &slope));
    return pair(call, call->in[0], &slope, &call->out[0], out_grad[0]->data, prelu_slopes,
                in_grad[0].data, in_grad[1].data);
}

/* Max, Min of many: element by element the first operand that equals the output has it all. */
bl_status bl_pick_gradient(const bl_call *call, const bl_tensor *const *out_grad,
                           bl_tensor *in_grad)
{
    const bl_tensor *y = &call->out[0];
    int64_t n = bl_tensor_count(y);
    uint8_t *taken = BL_NEW(call->scratch, uint8_t, (size_t)n);
    float *full = bl_alloc(call->scratch, (size_t)n, sizeof *full);

    BL_ALLOC_TRY(call->ctx, taken);
    BL_ALLOC_TRY(call->ctx, full);
    memset(taken, 0, (size_t)n);
    for (int k = 0; k < call->n_in; k++) {
        walker w;
        walker_start(&w, y, call->in[k], call->in[k]);
        for (int64_t i = 0; i < n; i++, walker_next(&w)) {
            bool mine = !taken[i] && ((const float *)call->in[k]->data)[w.at[0]] ==
                                         ((const float *)y->data)[i];
            full[i] = mine ? ((const float *)out_grad[0]->data)[i] : 0.0f;
            taken[i] |= mine;
        }
        if (in_grad[k].data)
            BL_TRY(bl_bcast_sum(call, y, full, call->in[k], in_grad[k].data));
    }
    return BL_OK;
}

bl_status bl_sum_gradient(const bl_call *call, const bl_tensor *const *out_grad, bl_tensor *in_grad)
{
    for (int k = 0; k < call->n_in; k++)
        if (in_grad[k].data)
            BL_TRY(bl_bcast_sum(call, &call->out[0], out_grad[0]->data, call->in[k],
                                in_grad[k].data));
    return BL_OK;
}

bl_status bl_mean_gradient(const bl_call *call, const bl_tensor *const *out_grad,
                           bl_tensor *in_grad)
{
    BL_TRY(bl_sum_gradient(call, out_grad, in_grad));
    for (int k = 0; k < call->n_in; k++)
        for (int64_t i = 0; in_grad[k].data && i < bl_tensor_count(call->in[k]); i++)
            ((float *)in_grad[k].data)[i] /= (float)call->n_in;
    return BL_OK;
}
