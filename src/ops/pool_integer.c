/* SPDX-License-Identifier: BSD-3-Clause */
/* Integer form of the pools: global average [Q7], average [Q8], maximum [Q10]. */
#include "ops/ops_private.h"

static bl_status check_pool(const bl_lowering *low, bool moves)
{
    const bl_ivalue *x = low->in[0], *y = low->out;
    if (!x) return bl_integer_fail(low, "its input is constant");
    if (x->rank != 4) return bl_integer_fail(low, "a pool over %d dimensions", x->rank - 2);
    if (x->dim[0] != 1) return bl_integer_fail(low, "a batch of %lld", (long long)x->dim[0]);
    if (low->n_out != 1) return bl_integer_fail(low, "a pool that gives indices too");
    if (moves && (x->bits != y->bits || x->grid.scale != y->grid.scale || x->grid.zero != y->grid.zero))
        return bl_integer_fail(low, "a maximum needs one grid before and behind it");
    return BL_OK;
}

static void pool_frame(const bl_lowering *low, bl_step_pool *p)
{
    const bl_ivalue *x = low->in[0], *y = low->out;
    p->in_h = (int32_t)x->dim[2];
    p->in_w = (int32_t)x->dim[3];
    p->c = (int32_t)x->dim[1];
    p->out_h = (int32_t)y->dim[2];
    p->out_w = (int32_t)y->dim[3];
    p->gx = x->grid;
    p->gy = bl_clamped_grid(low->node, y->grid);
}

bl_status bl_pool_integer(bl_lowering *low, const bl_node *node)
{
    bool max = (node->op->flags & BL_OP_MOVES) != 0;
    bl_call call;
    bl_window w;
    BL_TRY(check_pool(low, max));
    if (node->n_out > 1) return bl_integer_fail(low, "the places of the maxima are asked for");
    BL_TRY(bl_integer_call(low, &call));
    BL_TRY(bl_window_read(&call, call.in[0], NULL, &w));
    bl_step s = bl_step_make(max ? BL_C_MAXPOOL : BL_C_AVGPOOL, low->in[0], NULL, low->out);
    bl_step_pool *p = &s.u.pool;
    pool_frame(low, p);
    p->kernel_h = (int32_t)w.kernel[0];
    p->kernel_w = (int32_t)w.kernel[1];
    p->stride_h = (int32_t)w.stride[0];
    p->stride_w = (int32_t)w.stride[1];
    p->dilation_h = (int32_t)w.dilation[0];
    p->dilation_w = (int32_t)w.dilation[1];
    p->pad_top = (int32_t)w.pad_begin[0];
    p->pad_left = (int32_t)w.pad_begin[1];
    p->count_include_pad = (int32_t)bl_attr_int(node, "count_include_pad", 0);
    if (p->count_include_pad && w.ceil_mode) return bl_integer_fail(low, "count_include_pad with ceil_mode");
    return low->emit(low, &s);
}

bl_status bl_global_pool_integer(bl_lowering *low, const bl_node *node)
{
    bool max = (node->op->flags & BL_OP_MOVES) != 0;
    BL_TRY(check_pool(low, max));
    bl_step s = bl_step_make(max ? BL_C_MAXPOOL : BL_C_GAP, low->in[0], NULL, low->out);
    bl_step_pool *p = &s.u.pool;
    pool_frame(low, p);
    p->kernel_h = p->in_h;
    p->kernel_w = p->in_w;
    p->stride_h = p->stride_w = p->dilation_h = p->dilation_w = 1;
    return low->emit(low, &s);
}
