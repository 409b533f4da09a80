/* SPDX-License-Identifier: BSD-3-Clause */
/* Integer form of Add [Q5], Mul [Q6] with broadcasting, and Concat [Q9]. */
#include "ops/ops_private.h"

/* Stride of operand v at output dimension d, 0 where it is broadcast (numpy: dims align at the end). */
static int64_t operand_stride(const bl_ivalue *v, const bl_ivalue *out, int d)
{
    int at = d - (out->rank - v->rank);
    return at < 0 || v->dim[at] == 1 ? 0 : v->stride[at];
}

/* Output dimensions, outermost in memory first, neighbours joined where all three stay regular. */
static bl_status pair_loops(bl_lowering *low, const bl_ivalue *a, const bl_ivalue *b, bl_step_pair *p)
{
    const bl_ivalue *y = low->out;
    int order[BL_MAX_RANK], n = 0;
    for (int d = 0; d < y->rank; d++) {
        if (y->dim[d] == 1) continue;
        int at = n++;
        for (; at > 0 && y->stride[d] > y->stride[order[at - 1]]; at--) order[at] = order[at - 1];
        order[at] = d;
    }
    for (int i = 0; i < n; i++) {
        int64_t size = y->dim[order[i]], sy = y->stride[order[i]];
        int64_t sa = operand_stride(a, y, order[i]), sb = operand_stride(b, y, order[i]);
        int k = p->rank - 1;
        if (k >= 0 && p->out_stride[k] == sy * size && p->a_stride[k] == sa * size && p->b_stride[k] == sb * size) {
            p->size[k] *= size;
        } else {
            k = p->rank++;
            if (k >= 6) return bl_integer_fail(low, "broadcasting over more than six dimensions");
            p->size[k] = size;
        }
        p->out_stride[k] = sy;
        p->a_stride[k] = sa;
        p->b_stride[k] = sb;
    }
    if (!p->rank) {
        p->rank = 1;
        p->size[0] = p->out_stride[0] = 1;
    }
    return BL_OK;
}

static bl_status pair(bl_lowering *low, const bl_node *node, bl_contract contract)
{
    if (node->n_in != 2 || !low->in[0] || !low->in[1]) return bl_integer_fail(low, "an operand without a grid");
    const bl_ivalue *a = low->in[0], *b = low->in[1];
    /* [Q5] is not symmetric: the full-size operand stands first, here and in every export. */
    if (bl_ivalue_count(a) < bl_ivalue_count(b)) {
        a = low->in[1];
        b = low->in[0];
    }
    bl_step s = bl_step_make(contract, a, b, low->out);
    s.u.pair.ga = a->grid;
    s.u.pair.gb = b->grid;
    s.u.pair.gy = bl_clamped_grid(node, low->out->grid);
    BL_TRY(pair_loops(low, a, b, &s.u.pair));
    return low->emit(low, &s);
}

bl_status bl_add_integer(bl_lowering *low, const bl_node *node)
{
    return pair(low, node, BL_C_ADD);
}

bl_status bl_mul_integer(bl_lowering *low, const bl_node *node)
{
    return pair(low, node, BL_C_MUL);
}

bl_status bl_concat_integer(bl_lowering *low, const bl_node *node)
{
    const bl_ivalue *y = low->out;
    int64_t axis = bl_attr_int(node, "axis", 1), at = 0;
    if (axis < 0) axis += y->rank;
    for (int i = 0; i < node->n_in; i++) {
        const bl_ivalue *x = low->in[i];
        if (!x) return bl_integer_fail(low, "an operand without a grid");
        BL_TRY(bl_emit_move(low, x, y, x->rank, x->dim, x->stride, 0, y->stride, at * y->stride[axis]));
        at += x->dim[axis];
    }
    return BL_OK;
}
