/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Add and Mul rows against their references: random ranks, sizes, broadcasts and gaps, containers,
 * grids; the output computed in parts of its first dimension.
 */
#include "check.h"

#include <stdio.h>
#include <string.h>

typedef struct pair_case {
    bl_pair_args a;
    size_t a_elements, b_elements, out_elements;
    int pattern;
    char text[320];
} pair_case;

/* Strides of a dense tensor of these sizes where `broadcast` dimensions have size 1; gap: elements
 * left between rows.  Returns the elements from the first to the last. */
static size_t set_strides(const int64_t *size, int rank, const bool *broadcast, int64_t gap,
                          int64_t *stride)
{
    int64_t step = 1, last = 0;
    for (int d = rank - 1; d >= 0; d--) {
        stride[d] = broadcast[d] ? 0 : step;
        if (broadcast[d]) continue;
        last += (size[d] - 1) * step;
        step = step * size[d] + (d == rank - 1 ? gap : 0);
    }
    return (size_t)last + 1;
}

static pair_case random_pair(bl_rng *r, uint64_t number, const char *contract)
{
    pair_case c = {.pattern = random_chance(r, 0.1) ? (int)random_between(r, 1, 3) : 0};
    bl_pair_args *a = &c.a;
    bool full[6] = {false}, narrow_a[6] = {false}, narrow_b[6] = {false};
    a->rank = (int)random_between(r, 1, 6);
    for (int d = 0; d < a->rank; d++) {
        int64_t most = a->rank == 1 ? 1500 : a->rank == 2 ? 80 : d == a->rank - 1 ? 40 : 5;
        a->size[d] = random_between(r, 1, most);
        narrow_b[d] = random_chance(r, 0.3);
        narrow_a[d] = !narrow_b[d] && random_chance(r, 0.05);
    }
    int64_t gap = random_chance(r, 0.2) ? random_between(r, 1, 5) : 0;
    c.a_elements = set_strides(a->size, a->rank, narrow_a, gap, a->a_stride);
    c.b_elements = set_strides(a->size, a->rank, narrow_b, 0, a->b_stride);
    c.out_elements = set_strides(a->size, a->rank, full, gap, a->out_stride);
    a->a_bits = random_bits(r);
    a->b_bits = random_chance(r, 0.7) ? a->a_bits : random_bits(r);
    a->out_bits = random_chance(r, 0.7) ? a->a_bits : random_bits(r);
    a->ga = random_grid(r, a->a_bits);
    a->gb = random_grid(r, a->b_bits);
    a->gy = random_grid(r, a->out_bits);
    if (random_chance(r, 0.2)) { /* exact ties at odd zero points [Q5] */
        a->ga.scale = 0.5f;
        a->gb.scale = 0.25f;
        a->gy.scale = 1;
    }
    if (random_chance(r, 0.1)) a->gb.scale = (float)random_log(r, 1e-20, 1e-6);
    snprintf(c.text, sizeof c.text,
             "%s case %llu: rank %d size %lld %lld %lld %lld %lld %lld bits %d %d %d zero %d %d %d "
             "scale %a "
             "%a %a bounds %d %d",
             contract, (unsigned long long)number, a->rank, (long long)a->size[0],
             (long long)a->size[1], (long long)a->size[2], (long long)a->size[3],
             (long long)a->size[4], (long long)a->size[5], a->a_bits, a->b_bits, a->out_bits,
             a->ga.zero, a->gb.zero, a->gy.zero, (double)a->ga.scale, (double)a->gb.scale,
             (double)a->gy.scale, a->gy.lo, a->gy.hi);
    return c;
}

static void run_parts(bl_rng *r, const bl_pair_row *row, bl_pair_args a, void *out)
{
    a.out = out;
    a.outer_end = 0;
    while (a.outer_end < a.size[0]) {
        a.outer_begin = a.outer_end;
        a.outer_end = random_between(r, a.outer_begin, a.size[0]);
        if (random_chance(r, 0.6)) a.outer_end = a.size[0];
        row->run(&a);
    }
}

/*
 * Sums that only a single rounding gets right: 205 * 10475530 * 2^-52 = 2^-21 + 2^-51, so the first
 * one is 10.5 + half a unit of binary32 + 2^-51; rounding to double first loses the 2^-51 and then
 * the tie goes to 10.5 and 10 instead of 11.  The second lies as far below 11.5 - half a unit.
 */
typedef struct fma_case {
    uint8_t a, b;
    float sa, sb;
} fma_case;
static const fma_case fma_cases[] = {
    {205, 21, 10475530 * 0x1p-52f, 0.5f},
    {154, 1, 13944699 * 0x1p-52f, 0x1.6ffffep+3f},
};

static pair_case fma_pair(const fma_case *f, uint64_t number)
{
    pair_case c = {.a_elements = 300, .b_elements = 1, .out_elements = 300};
    c.a = (bl_pair_args){.rank = 1,
                         .size = {300},
                         .a_stride = {1},
                         .out_stride = {1},
                         .a_bits = 8,
                         .b_bits = 8,
                         .out_bits = 8,
                         .ga = {f->sa, 0, 0, 255},
                         .gb = {f->sb, 0, 0, 255},
                         .gy = {1, 0, 0, 255}};
    snprintf(c.text, sizeof c.text, "fma case %llu", (unsigned long long)number);
    return c;
}

static void check_one(check *k, bl_contract contract, uint64_t number, const fma_case *f)
{
    bl_rng r = bl_rng_make(k->seed, bl_contract_name(contract), number);
    pair_case c = f ? fma_pair(f, number) : random_pair(&r, number, bl_contract_name(contract));
    bool at_end = random_chance(&r, 0.5);
    size_t code_a = c.a.a_bits > 8 ? 2 : 1, code_b = c.a.b_bits > 8 ? 2 : 1;
    size_t code_out = c.a.out_bits > 8 ? 2 : 1;
    guard a = guard_new(c.a_elements * code_a, at_end),
          b = guard_new(c.b_elements * code_b, at_end);
    guard wanted = guard_new(c.out_elements * code_out, at_end);
    random_codes(&r, a.data, c.a.a_bits, c.a_elements, c.pattern);
    random_codes(&r, b.data, c.a.b_bits, c.b_elements, c.pattern);
    if (f) {
        memset(a.data, f->a, a.size);
        memset(b.data, f->b, b.size);
    }
    c.a.a = a.data;
    c.a.b = b.data;
    guard_case("reference", c.text);
    run_parts(&r, check_reference(contract)->row, c.a, wanted.data);
    for (size_t i = 0; i < bl_n_kernels; i++) {
        const bl_pair_row *row = bl_kernels[i].row;
        if (!check_wanted(k, i, contract) || !row->fits(&c.a)) continue;
        guard_case(row->name, c.text);
        guard out = guard_new(wanted.size, at_end);
        run_parts(&r, row, c.a, out.data);
        check_compare(k, i, c.text, out.data, wanted.data, out.size, code_out, guard_intact(&out));
        guard_free(&out);
    }
    guard_free(&a);
    guard_free(&b);
    guard_free(&wanted);
}

void check_pair(check *k)
{
    for (uint64_t i = 0; i < BL_COUNTOF(fma_cases); i++) check_one(k, BL_C_ADD, i, &fma_cases[i]);
    for (uint64_t number = 0; number < 50 || check_time_left(k); number++) {
        check_one(k, BL_C_ADD, number, NULL);
        check_one(k, BL_C_MUL, number, NULL);
    }
}
