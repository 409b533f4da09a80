/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Strided copy of codes, optionally through a table [Q9] [Q10], and the contiguous table, by
 * their definition.
 */
#include "kernels/ref/strided_ref.h"

static bool move_ref_fits(const bl_move_args *a)
{
    return a->rank >= 0 && a->rank <= 8;
}

static void move_ref_run(const bl_move_args *a)
{
    walk_ref w;
    if (!walk_ref_start(&w, a->rank, a->size, a->in_stride, a->out_stride)) return;
    do {
        int32_t q = bl_code_get(a->in, a->in_bits, w.at_in);
        if (a->table) q = bl_code_get(a->table, a->out_bits, q);
        bl_code_put(a->out, a->out_bits, w.at_out, q);
    } while (walk_ref_next(&w));
}

static bool table_ref_fits(const bl_table_args *a)
{
    (void)a;
    return true;
}

static void table_ref_run(const bl_table_args *a)
{
    for (int64_t i = 0; i < a->n; i++)
        bl_code_put(a->out, a->out_bits, i,
                    bl_code_get(a->table, a->out_bits, bl_code_get(a->in, a->in_bits, i)));
}

const bl_move_row bl_k_move_ref = {"move_ref", BL_ISA_REF, move_ref_fits, move_ref_run};
const bl_table_row bl_k_table_ref = {"table_ref", BL_ISA_REF, table_ref_fits, table_ref_run};
