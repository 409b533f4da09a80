/* SPDX-License-Identifier: BSD-3-Clause */
/* Product of two activations by its definition: exact int64 sums, [Q3] once an element. */
#include "kernels/rows.h"

int64_t bl_matmul_k_max(int32_t a_bits, int32_t b_bits)
{
    int64_t a = a_bits <= 8 ? 255 : 65535, b = b_bits <= 8 ? 255 : 65535;
    return INT32_MAX / (a * b);
}

static bool matmul_ref_fits(const bl_matmul_args *a)
{
    return a->rank >= 1 && a->rank <= 4;
}

static size_t matmul_ref_work_bytes(const bl_matmul_args *a)
{
    (void)a;
    return 0;
}

static void matmul_ref_run(const bl_matmul_args *a)
{
    for (int64_t row = a->begin; row < a->end; row++) {
        int64_t batch = row / a->m, at_a = row % a->m * a->a_m, at_b = 0, at_out = row % a->m * a->out_m;
        for (int d = a->rank - 1; d >= 0; d--) {
            int64_t i = batch % a->size[d];
            batch /= a->size[d];
            at_a += i * a->a_stride[d];
            at_b += i * a->b_stride[d];
            at_out += i * a->out_stride[d];
        }
        for (int64_t j = 0; j < a->n; j++) {
            int64_t sum = 0;
            for (int64_t k = 0; k < a->k; k++)
                sum += (int64_t)(bl_code_get(a->a, a->a_bits, at_a + k * a->a_k) - a->zero_a) *
                       (bl_code_get(a->b, a->b_bits, at_b + k * a->b_k + j * a->b_n) - a->zero_b);
            int32_t q = bl_requantize_f32((float)sum, a->mult, a->zero_out, a->lo, a->hi);
            bl_code_put(a->out, a->out_bits, at_out + j * a->out_n, q);
        }
    }
}

const bl_matmul_row bl_k_matmul_ref = {"matmul_ref", BL_ISA_REF, matmul_ref_fits, matmul_ref_work_bytes,
                                       matmul_ref_run};
