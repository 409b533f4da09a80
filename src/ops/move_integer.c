/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Integer form of the operators that only move codes [Q10]: Reshape and its kin, Transpose, Slice, Pad.
 * Input and output share one grid; the tensors' strides hide whether they lie channels-last.
 */
#include "ops/ops_private.h"

static bl_status need_input(const bl_lowering *low)
{
    return low->in[0] ? BL_OK : bl_integer_fail(low, "its input is constant");
}

/* Elements keep their row-major order: nothing to do, one copy, or two through a row-major tensor. */
bl_status bl_reshape_integer(bl_lowering *low, const bl_node *node)
{
    (void)node;
    BL_TRY(need_input(low));
    const bl_ivalue *x = low->in[0], *y = low->out;
    int64_t stride[BL_MAX_RANK];
    if (bl_ivalue_row_major(x) && bl_ivalue_row_major(y)) return low->alias(low, x, y);
    if (bl_ivalue_row_major(x)) {
        bl_strides(y->rank, y->dim, stride);
        return bl_emit_move(low, x, y, y->rank, y->dim, stride, 0, y->stride, 0);
    }
    bl_strides(x->rank, x->dim, stride);
    if (bl_ivalue_row_major(y)) return bl_emit_move(low, x, y, x->rank, x->dim, x->stride, 0, stride, 0);
    bl_ivalue flat;
    BL_TRY(low->temp(low, x, &flat));
    BL_TRY(bl_emit_move(low, x, &flat, x->rank, x->dim, x->stride, 0, flat.stride, 0));
    bl_strides(y->rank, y->dim, stride);
    return bl_emit_move(low, &flat, y, y->rank, y->dim, stride, 0, y->stride, 0);
}

bl_status bl_transpose_integer(bl_lowering *low, const bl_node *node)
{
    BL_TRY(need_input(low));
    const bl_ivalue *x = low->in[0], *y = low->out;
    const bl_attr *perm = bl_node_attr(node, "perm");
    int64_t stride[BL_MAX_RANK];
    for (int d = 0; d < y->rank; d++) stride[d] = x->stride[perm ? perm->ints[d] : y->rank - 1 - d];
    return bl_emit_move(low, x, y, y->rank, y->dim, stride, 0, y->stride, 0);
}
