/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One gradient for every operator that copies elements: its own forward facet is run on the numbers
 * of the elements instead of their values, which says where each output element came from; the
 * gradients then go back there.  Slow beside a copy, and right for all of them by construction.
 */
#include "ops/ops_private.h"

/* Elements 1.. of all float inputs, in input order; 0 is what comes from nowhere (Pad). */
static bl_status number_inputs(const bl_call *call, const bl_tensor **in, int64_t *total)
{
    *total = 0;
    for (int i = 0; i < call->n_in; i++) {
        bl_tensor *numbers;
        int64_t n;
        in[i] = call->in[i];
        if (!call->in[i] || call->in[i]->type != BL_F32) continue;
        n = bl_tensor_count(call->in[i]);
        if (n > INT32_MAX - 1 - *total)
            return bl_op_fail(call, BL_UNAVAILABLE, "use a smaller batch",
                              "more than 2^31 elements have no gradient here");
        numbers = BL_NEW(call->scratch, bl_tensor, 1);
        BL_ALLOC_TRY(call->ctx, numbers);
        *numbers = *call->in[i];
        numbers->type = BL_I32;
        numbers->data = bl_alloc(call->scratch, (size_t)n, sizeof(int32_t));
        BL_ALLOC_TRY(call->ctx, numbers->data);
        for (int64_t k = 0; k < n; k++) ((int32_t *)numbers->data)[k] = (int32_t)(*total + k + 1);
        *total += n;
        in[i] = numbers;
    }
    return BL_OK;
}

static bl_status send_back(const bl_call *call, const bl_tensor *numbers, const bl_tensor *grad,
                           bl_tensor *in_grad)
{
    const int32_t *from = numbers->data;
    const float *g = grad->data;
    int64_t n = bl_tensor_count(numbers);

    for (int64_t k = 0; k < n; k++) {
        int64_t at = (int64_t)from[k] - 1;
        for (int i = 0; at >= 0 && i < call->n_in; i++) {
            int64_t has;
            if (!call->in[i] || call->in[i]->type != BL_F32) continue;
            has = bl_tensor_count(call->in[i]);
            if (at < has) {
                if (in_grad[i].data) ((float *)in_grad[i].data)[at] += g[k];
                break;
            }
            at -= has;
        }
    }
    return BL_OK;
}

bl_status bl_move_gradient(const bl_call *call, const bl_tensor *const *out_grad,
                           bl_tensor *in_grad)
{
    const bl_tensor **in = BL_NEW(call->scratch, const bl_tensor *, (size_t)call->n_in);
    bl_tensor *out = BL_NEW(call->scratch, bl_tensor, (size_t)call->n_out);
    bl_call numbered = *call;
    int64_t total;

    BL_ALLOC_TRY(call->ctx, in);
    BL_ALLOC_TRY(call->ctx, out);
    BL_TRY(number_inputs(call, in, &total));
    for (int o = 0; o < call->n_out; o++) {
        out[o] = call->out[o];
        out[o].type = BL_I32;
        out[o].data = bl_alloc(call->scratch, (size_t)bl_tensor_count(&out[o]), sizeof(int32_t));
        BL_ALLOC_TRY(call->ctx, out[o].data);
    }
    numbered.in = in;
    numbered.out = out;
    BL_TRY(call->node->op->forward(&numbered));
    for (int i = 0; i < call->n_in; i++)
        if (in_grad[i].data) memset(in_grad[i].data, 0, bl_tensor_bytes(&in_grad[i]));
    for (int o = 0; o < call->n_out; o++)
        if (out_grad[o]) BL_TRY(send_back(call, &out[o], out_grad[o], in_grad));
    return BL_OK;
}
