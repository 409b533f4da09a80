/* SPDX-License-Identifier: BSD-3-Clause */
/* Integer form of Add [Q5], Mul [Q6] with broadcasting, and Concat [Q9]. */
#include "ops/ops_private.h"

#include <stdio.h>

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

/* With a constant of one element [Q5] and [Q6] are functions of one code: a table that the reference makes. */
static bool is_table(const bl_lowering *low, const bl_ivalue *a, const bl_ivalue *b, const bl_tensor *constant)
{
    if (!constant || constant->type != BL_F32 || bl_ivalue_count(b) != 1 || a->bits > 8 || a->rank != low->out->rank) return false;
    for (int d = 0; d < a->rank; d++)
        if (a->dim[d] != low->out->dim[d]) return false;
    return true;
}

static bl_status through_table(bl_lowering *low, const bl_step *s, const bl_ivalue *a, const bl_ivalue *b, const bl_tensor *constant)
{
    char name[32];
    uint8_t codes[256];
    uint16_t table[256], wide;
    uint64_t offset;
    int32_t code = bl_quantize(*(const float *)constant->data, b->grid);
    bl_pair_args args = { .a = codes, .b = &wide, .out = table, .a_bits = 8, .b_bits = 16, .out_bits = low->out->bits, .rank = 1,
                          .size = { 256 }, .a_stride = { 1 }, .out_stride = { 1 }, .ga = s->u.pair.ga, .gb = s->u.pair.gb,
                          .gy = s->u.pair.gy, .outer_end = 256 };
    wide = (uint16_t)code;
    for (int i = 0; i < 256; i++) codes[i] = (uint8_t)i;
    snprintf(name, sizeof name, "%s_ref", bl_contract_name((bl_contract)s->contract));
    const bl_kernel_info *row = bl_kernel_choose((bl_contract)s->contract, &args, BL_ISA_REF, name);
    BL_CHECK(low->ctx, row);
    ((const bl_pair_row *)row->row)->run(&args);
    BL_TRY(low->blob(low, table, low->out->bits > 8 ? sizeof table : sizeof table / 2, &offset));
    return bl_emit_table(low, a, offset);
}

static bl_status pair(bl_lowering *low, const bl_node *node, bl_contract contract)
{
    if (node->n_in != 2 || !low->in[0] || !low->in[1]) return bl_integer_fail(low, "an operand without a grid");
    const bl_ivalue *a = low->in[0], *b = low->in[1];
    const bl_tensor *constant = low->constant[1];
    /* [Q5] is not symmetric: the full-size operand stands first, here and in every export. */
    if (bl_ivalue_count(a) < bl_ivalue_count(b)) {
        a = low->in[1];
        b = low->in[0];
        constant = low->constant[0];
    }
    bl_step s = bl_step_make(contract, a, b, low->out);
    s.u.pair.ga = a->grid;
    s.u.pair.gb = b->grid;
    s.u.pair.gy = bl_clamped_grid(node, low->out->grid);
    if (is_table(low, a, b, constant)) return through_table(low, &s, a, b, constant);
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
