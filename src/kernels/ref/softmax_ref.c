/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Softmax over the innermost axis [Q12].  The exponentials are a table that the caller made; the
 * sum runs from left to right in binary32.
 */
#include "kernels/rows.h"

static bool softmax_ref_fits(const bl_softmax_args *a)
{
    return a->d > 0;
}

static void softmax_ref_run(const bl_softmax_args *a)
{
    int32_t top = (1 << a->in_bits) - 1; /* last entry of the table: the row's maximum */
    float k = floorf(1.0f / a->gy.scale);
    for (int64_t r = 0; r < a->rows; r++) {
        int32_t most = 0;
        for (int64_t i = 0; i < a->d; i++)
            most = BL_MAX(most, bl_code_get(a->in, a->in_bits, r * a->d + i));
        float sum = 0;
        for (int64_t i = 0; i < a->d; i++)
            sum = sum + a->table[bl_code_get(a->in, a->in_bits, r * a->d + i) + top - most];
        for (int64_t i = 0; i < a->d; i++) {
            float t = a->table[bl_code_get(a->in, a->in_bits, r * a->d + i) + top - most] * k;
            t = t / sum;
            int32_t q = bl_round_clamp(t, 0, a->gy.hi - a->gy.zero) + a->gy.zero;
            bl_code_put(a->out, a->out_bits, r * a->d + i, q);
        }
    }
}

const bl_softmax_row bl_k_softmax_ref = {"softmax_ref", BL_ISA_REF, softmax_ref_fits,
                                         softmax_ref_run};
