/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * LayerNormalization over the innermost axis [Q18]: mean and variance of a row's codes are exact integers,
 * the zero point falls out of both.
 */
#include "kernels/rows.h"

int64_t bl_layernorm_d_max(int32_t in_bits)
{
    return (int64_t)1 << (in_bits > 8 ? 15 : 23);
}

static bool layernorm_ref_fits(const bl_layernorm_args *a)
{
    return a->d > 0 && a->d <= bl_layernorm_d_max(a->in_bits);
}

static void layernorm_ref_run(const bl_layernorm_args *a)
{
    for (int64_t r = 0; r < a->rows; r++) {
        int64_t s1 = 0, s2 = 0;
        for (int64_t i = 0; i < a->d; i++) {
            int64_t q = bl_code_get(a->in, a->in_bits, r * a->d + i);
            s1 += q;
            s2 += q * q;
        }
        float factor = bl_layernorm_factor(a, s1, s2);
        for (int64_t i = 0; i < a->d; i++) {
            int64_t u = a->d * bl_code_get(a->in, a->in_bits, r * a->d + i) - s1;
            float t = (float)u * factor;
            t = t * a->gain[i];
            t = t + a->shift[i];
            int32_t q = bl_round_clamp(t, a->gy.lo - a->gy.zero, a->gy.hi - a->gy.zero) + a->gy.zero;
            bl_code_put(a->out, a->out_bits, r * a->d + i, q);
        }
    }
}

const bl_layernorm_row bl_k_layernorm_ref = {"layernorm_ref", BL_ISA_REF, layernorm_ref_fits,
                                             layernorm_ref_run};
