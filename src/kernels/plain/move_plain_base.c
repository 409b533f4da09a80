/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Strided copy and tables [Q9] [Q10] with the innermost loop as long as the strides allow: memcpy
 * where both sides are contiguous, typed loops elsewhere.  One row for every instruction set:
 * table look-ups are loads, and memcpy chooses for itself.
 */
#include "kernels/plain/codes.h"
#include "kernels/plain/strided.h"

static bool move_fits(const bl_move_args *a)
{
    return a->rank >= 0 && a->rank <= 8;
}

#define RUN(in_type, out_type, value)                                                              \
    do {                                                                                           \
        const in_type *restrict from = (const in_type *)a->in + s->at[0];                          \
        out_type *restrict to = (out_type *)a->out + s->at[1];                                     \
        for (int64_t i = 0; i < n; i++) to[i * step_out] = (out_type)(value);                      \
    } while (0)
#define CODE from[i * step_in]

/* One run of the innermost dimension. */
static void move_inner(const bl_move_args *a, const strided *s)
{
    int64_t n = strided_inner(s), step_in = strided_step(s, 0), step_out = strided_step(s, 1);
    const uint8_t *restrict narrow = a->table;
    const uint16_t *restrict wide = a->table;
    bool in_wide = a->in_bits > 8, out_wide = a->out_bits > 8;
    if (!a->table && in_wide == out_wide && step_in == 1 && step_out == 1) {
        int64_t size = (int64_t)bl_code_bytes(a->in_bits); /* signed: at[] may be negative */
        memcpy((uint8_t *)a->out + s->at[1] * size, (const uint8_t *)a->in + s->at[0] * size,
               (size_t)(n * size));
    } else if (!a->table) {
        if (in_wide && out_wide) RUN(uint16_t, uint16_t, CODE);
        if (in_wide && !out_wide) RUN(uint16_t, uint8_t, CODE);
        if (!in_wide && out_wide) RUN(uint8_t, uint16_t, CODE);
        if (!in_wide && !out_wide) RUN(uint8_t, uint8_t, CODE);
    } else {
        if (in_wide && out_wide) RUN(uint16_t, uint16_t, wide[CODE]);
        if (in_wide && !out_wide) RUN(uint16_t, uint8_t, narrow[CODE]);
        if (!in_wide && out_wide) RUN(uint8_t, uint16_t, wide[CODE]);
        if (!in_wide && !out_wide) RUN(uint8_t, uint8_t, narrow[CODE]);
    }
}

static void move_run(const bl_move_args *a)
{
    strided s = {.operands = 2};
    for (int d = 0; d < a->rank; d++)
        strided_push(&s, a->size[d], (const int64_t[3]){a->in_stride[d], a->out_stride[d]});
    if (!strided_start(&s)) return;
    for (int d = 0; d < s.rank; d++)
        if (s.stride[1][d] == 1) {
            strided_innermost(&s, d);
            break;
        }
    do move_inner(a, &s);
    while (strided_next(&s));
}

static bool table_fits(const bl_table_args *a)
{
    (void)a;
    return true;
}

static void table_run(const bl_table_args *a)
{
    strided s = {.operands = 2, .rank = 1, .size = {a->n}, .stride = {{1}, {1}}};
    bl_move_args m = {.in = a->in,
                      .out = a->out,
                      .in_bits = a->in_bits,
                      .out_bits = a->out_bits,
                      .table = a->table};
    if (strided_start(&s)) move_inner(&m, &s);
}

const bl_move_row bl_k_move_base = {"move_base", BL_ISA_REF, move_fits, move_run};
const bl_table_row bl_k_table_base = {"table_base", BL_ISA_REF, table_fits, table_run};
