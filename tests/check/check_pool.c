/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pool rows against their references: random windows, windows wholly in the padding among them,
 * containers, grids, ranges of rows.
 */
#include "check.h"

#include <stdio.h>

static bl_pool_args random_pool(bl_rng *r)
{
    bl_pool_args a = {0};
    a.bits_in = random_bits(r);
    a.bits_out = random_chance(r, 0.7) ? a.bits_in : random_bits(r);
    a.in_h = (int32_t)random_between(r, 1, 12);
    a.in_w = (int32_t)random_between(r, 1, 12);
    a.c = (int32_t)random_between(r, 1, random_chance(r, 0.2) ? 300 : 40);
    a.out_h = (int32_t)random_between(r, 1, 6);
    a.out_w = (int32_t)random_between(r, 1, 6);
    a.kernel_h = (int32_t)random_between(r, 1, 5);
    a.kernel_w = (int32_t)random_between(r, 1, 5);
    a.stride_h = (int32_t)random_between(r, 1, 3);
    a.stride_w = (int32_t)random_between(r, 1, 3);
    a.dilation_h = (int32_t)random_between(r, 1, random_chance(r, 0.8) ? 1 : 3);
    a.dilation_w = (int32_t)random_between(r, 1, random_chance(r, 0.8) ? 1 : 3);
    a.pad_top = (int32_t)random_between(r, 0, a.kernel_h);
    a.pad_left = (int32_t)random_between(r, 0, a.kernel_w);
    a.count_include_pad = random_chance(r, 0.5);
    a.gx = random_grid(r, a.bits_in);
    a.gy = random_grid(r, a.bits_out);
    return a;
}

/* The maximum is moved, so that its codes must fit the output's bounds; bits are equal then. */
static void same_grid(bl_pool_args *a)
{
    a->bits_in = a->bits_out = BL_MIN(a->bits_in, a->bits_out);
    a->gx.zero = BL_MIN(a->gx.zero, (1 << a->bits_in) - 1);
    a->gy.hi = BL_MIN(a->gy.hi, (1 << a->bits_out) - 1);
    a->gy.lo = BL_MIN(a->gy.lo, a->gy.hi);
}

static void run_parts(bl_rng *r, const bl_pool_row *row, bl_pool_args a, void *out)
{
    a.out = out;
    a.row_end = 0;
    while (a.row_end < a.out_h) {
        a.row_begin = a.row_end;
        a.row_end = (int32_t)random_between(r, a.row_begin, a.out_h);
        if (random_chance(r, 0.5)) a.row_end = a.out_h;
        row->run(&a);
    }
}

static void check_one(check *k, bl_contract contract, uint64_t number)
{
    char text[320];
    bl_rng r = bl_rng_make(k->seed, bl_contract_name(contract), number);
    bl_pool_args a = random_pool(&r);
    if (contract == BL_C_GAP) a.out_h = a.out_w = 1;
    if (contract == BL_C_MAXPOOL) same_grid(&a);
    snprintf(text, sizeof text,
             "%s case %llu: in %dx%dx%d out %dx%d kernel %dx%d stride %dx%d dilation %dx%d pad "
             "%d,%d include %d "
             "bits %d %d zero %d %d scale %a %a bounds %d %d",
             bl_contract_name(contract), (unsigned long long)number, a.in_h, a.in_w, a.c, a.out_h,
             a.out_w, a.kernel_h, a.kernel_w, a.stride_h, a.stride_w, a.dilation_h, a.dilation_w,
             a.pad_top, a.pad_left, a.count_include_pad, a.bits_in, a.bits_out, a.gx.zero,
             a.gy.zero, (double)a.gx.scale, (double)a.gy.scale, a.gy.lo, a.gy.hi);
    bool at_end = random_chance(&r, 0.5);
    size_t n_in = (size_t)a.in_h * (size_t)a.in_w * (size_t)a.c;
    size_t n_out = (size_t)a.out_h * (size_t)a.out_w * (size_t)a.c;
    size_t code_in = a.bits_in > 8 ? 2 : 1, code_out = a.bits_out > 8 ? 2 : 1;
    guard in = guard_new(n_in * code_in, at_end), wanted = guard_new(n_out * code_out, at_end);
    random_codes(&r, in.data, a.bits_in, n_in,
                 random_chance(&r, 0.1) ? (int)random_between(&r, 1, 3) : 0);
    a.in = in.data;
    guard_case("reference", text);
    run_parts(&r, check_reference(contract)->row, a, wanted.data);
    for (size_t i = 0; i < bl_n_kernels; i++) {
        const bl_pool_row *row = bl_kernels[i].row;
        if (!check_wanted(k, i, contract) || !row->fits(&a)) continue;
        guard_case(row->name, text);
        guard out = guard_new(wanted.size, at_end);
        run_parts(&r, row, a, out.data);
        check_compare(k, i, text, out.data, wanted.data, out.size, code_out, guard_intact(&out));
        guard_free(&out);
    }
    guard_free(&in);
    guard_free(&wanted);
}

void check_pool(check *k)
{
    for (uint64_t number = 0; number < 30 || check_time_left(k); number++) {
        check_one(k, BL_C_GAP, number);
        check_one(k, BL_C_AVGPOOL, number);
        check_one(k, BL_C_MAXPOOL, number);
    }
}
