/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Integer form of the operators that only move codes [Q10]: Reshape and its kin, Transpose, Split, Gather,
 * Tile, Expand, DepthToSpace, SpaceToDepth, Resize to the nearest.
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

/* Each part is a slice. */
bl_status bl_split_integer(bl_lowering *low, const bl_node *node)
{
    BL_TRY(need_input(low));
    const bl_ivalue *x = low->in[0], *part = NULL;
    int64_t axis = bl_attr_int(node, "axis", 0), at = 0;
    if (axis < 0) axis += x->rank;
    for (int i = 0; i < low->n_out; i++) /* an unread part leaves a hole of unknown size */
        if (!low->outs[i]) return bl_integer_fail(low, "a part that nobody reads");
    for (int i = 0; i < low->n_out; i++) {
        part = low->outs[i];
        BL_TRY(bl_emit_move(low, x, part, part->rank, part->dim, x->stride, at * x->stride[axis], part->stride, 0));
        at += part->dim[axis];
    }
    return BL_OK;
}

/* Constant indices: one copy for each run with equal steps. */
bl_status bl_gather_integer(bl_lowering *low, const bl_node *node)
{
    enum { RUNS_MAX = 64 };
    BL_TRY(need_input(low));
    const bl_ivalue *x = low->in[0], *y = low->out;
    const bl_tensor *index = low->constant[1];
    int64_t axis = bl_attr_int(node, "axis", 0), size[2 * BL_MAX_RANK], from[2 * BL_MAX_RANK], to[2 * BL_MAX_RANK];
    if (!index || index->rank > 1) return bl_integer_fail(low, "indices that are not one constant list");
    if (axis < 0) axis += x->rank;
    int64_t n = bl_tensor_count(index), extent = x->dim[axis], first[RUNS_MAX], count[RUNS_MAX], step[RUNS_MAX];
    int runs = 0, rank = x->rank;
    for (int64_t i = 0; i < n;) {
        int64_t a = bl_element_i64(index, i), next = i + 1 < n ? bl_element_i64(index, i + 1) : a;
        a += a < 0 ? extent : 0;
        next += next < 0 ? extent : 0;
        if (runs == RUNS_MAX) return bl_integer_fail(low, "indices without order");
        first[runs] = a;
        step[runs] = next - a;
        count[runs] = 1;
        for (i++; i < n; i++, count[runs]++) {
            int64_t b = bl_element_i64(index, i);
            if (b + (b < 0 ? extent : 0) != a + count[runs] * step[runs]) break;
        }
        runs++;
    }
    for (int r = 0, done = 0; r < runs; done += (int)count[r++]) {
        int at = 0;
        int64_t out_first = 0;
        for (int d = 0; d < rank; d++) {
            bool along = d == axis;
            size[d] = along ? count[r] : x->dim[d];
            from[d] = along ? step[r] * x->stride[d] : x->stride[d];
            to[d] = along && !index->rank ? 0 : y->stride[at];
            if (along) out_first = done * to[d];
            at += along ? index->rank : 1;
        }
        BL_TRY(bl_emit_move(low, x, y, rank, size, from, first[r] * x->stride[axis], to, out_first));
    }
    return BL_OK;
}

/* Dimension d of the output repeats the input's `times` times as a whole. */
bl_status bl_tile_integer(bl_lowering *low, const bl_node *node)
{
    (void)node;
    BL_TRY(need_input(low));
    const bl_ivalue *x = low->in[0], *y = low->out;
    int64_t size[2 * BL_MAX_RANK], from[2 * BL_MAX_RANK], to[2 * BL_MAX_RANK];
    for (int d = 0; d < x->rank; d++) {
        size[2 * d] = y->dim[d] / x->dim[d];
        from[2 * d] = 0;
        to[2 * d] = x->dim[d] * y->stride[d];
        size[2 * d + 1] = x->dim[d];
        from[2 * d + 1] = x->stride[d];
        to[2 * d + 1] = y->stride[d];
    }
    return bl_emit_move(low, x, y, 2 * x->rank, size, from, 0, to, 0);
}

bl_status bl_expand_integer(bl_lowering *low, const bl_node *node)
{
    (void)node;
    BL_TRY(need_input(low));
    const bl_ivalue *x = low->in[0], *y = low->out;
    int64_t from[BL_MAX_RANK] = { 0 };
    int lead = y->rank - x->rank;
    for (int d = 0; d < x->rank; d++) from[lead + d] = x->dim[d] == 1 ? 0 : x->stride[d];
    return bl_emit_move(low, x, y, y->rank, y->dim, from, 0, y->stride, 0);
}

/* (n, c, block row, block column, h, w), deep side against wide side. */
static bl_status depth_integer(bl_lowering *low, const bl_node *node, bool to_space, bool crd)
{
    BL_TRY(need_input(low));
    const bl_ivalue *wide = to_space ? low->out : low->in[0], *deep = to_space ? low->in[0] : low->out;
    int64_t b = bl_attr_int(node, "blocksize", 1), c = wide->dim[1];
    const int64_t *ds = deep->stride, *ws = wide->stride;
    int64_t size[6] = { deep->dim[0], c, b, b, deep->dim[2], deep->dim[3] };
    int64_t at_deep[6] = { ds[0], crd ? b * b * ds[1] : ds[1], crd ? b * ds[1] : b * c * ds[1], crd ? ds[1] : c * ds[1],
                           ds[2], ds[3] };
    int64_t at_wide[6] = { ws[0], ws[1], ws[2], ws[3], b * ws[2], b * ws[3] };
    return bl_emit_move(low, low->in[0], low->out, 6, size, to_space ? at_deep : at_wide, 0, to_space ? at_wide : at_deep, 0);
}

bl_status bl_depth_to_space_integer(bl_lowering *low, const bl_node *node)
{
    return depth_integer(low, node, true, strcmp(bl_attr_string(node, "mode", "DCR"), "CRD") == 0);
}

bl_status bl_space_to_depth_integer(bl_lowering *low, const bl_node *node)
{
    return depth_integer(low, node, false, false);
}
