/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Add [Q5] and Mul [Q6] by their definition, element by element, with broadcasting.
 */
#include "kernels/rows.h"

static bool pair_ref_fits(const bl_pair_args *a)
{
    return a->rank >= 0 && a->rank <= 6;
}

typedef int32_t pair_fn(const bl_pair_args *a, int32_t qa, int32_t qb);

/* Calls fn for every element of the part of size[0] that is asked for. */
static void for_each(const bl_pair_args *a, pair_fn *fn)
{
    int64_t index[6] = {0};
    if (a->rank > 0) index[0] = a->outer_begin;
    for (int d = 0; d < a->rank; d++)
        if (index[d] >= (d == 0 ? a->outer_end : a->size[d])) return;
    for (;;) {
        int64_t at_a = 0, at_b = 0, at_out = 0;
        for (int d = 0; d < a->rank; d++) {
            at_a += index[d] * a->a_stride[d];
            at_b += index[d] * a->b_stride[d];
            at_out += index[d] * a->out_stride[d];
        }
        int32_t q = fn(a, bl_code_get(a->a, a->a_bits, at_a), bl_code_get(a->b, a->b_bits, at_b));
        bl_code_put(a->out, a->out_bits, at_out, q);
        int d = a->rank - 1;
        for (; d >= 0; d--) {
            if (++index[d] < (d == 0 ? a->outer_end : a->size[d])) break;
            index[d] = d == 0 ? a->outer_begin : 0;
        }
        if (d < 0) return;
    }
}

static int32_t add_one(const bl_pair_args *a, int32_t qa, int32_t qb)
{
    bl_add_consts c = bl_add_consts_of(a);
    float t = fmaf((float)qa, c.ra, fmaf((float)qb, c.rb, c.f));
    return bl_round_clamp(t, a->gy.lo, a->gy.hi);
}

static int32_t mul_one(const bl_pair_args *a, int32_t qa, int32_t qb)
{
    /* Below 2^24 and exact in binary32 for 8-bit codes; for 16-bit ones f(p) rounds once. */
    int64_t p = (int64_t)(qa - a->ga.zero) * (qb - a->gb.zero);
    float t = (float)p * bl_mul_ratio(a);
    t = t + (float)a->gy.zero;
    return bl_round_clamp(t, a->gy.lo, a->gy.hi);
}

static void add_ref_run(const bl_pair_args *a)
{
    for_each(a, add_one);
}

static void mul_ref_run(const bl_pair_args *a)
{
    for_each(a, mul_one);
}

const bl_pair_row bl_k_add_ref = {"add_ref", BL_ISA_REF, pair_ref_fits, add_ref_run};
const bl_pair_row bl_k_mul_ref = {"mul_ref", BL_ISA_REF, pair_ref_fits, mul_ref_run};
