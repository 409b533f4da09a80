/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rows for the product of two activations against the reference: random batches, broadcast batches,
 * transposed operands, containers and zero points; the output computed in parts.
 */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct matmul_case {
    bl_matmul_args a;
    size_t elements[3];
    int pattern;
    char text[320];
} matmul_case;

/* Dense strides of a batch and its matrices, one of the two last dimensions innermost. */
static size_t lay_out(const bl_matmul_args *a, int64_t rows, int64_t cols, bool transposed, bool broadcast,
                      int64_t *stride, int64_t *row, int64_t *col)
{
    int64_t step = rows * cols;
    *row = transposed ? 1 : cols;
    *col = transposed ? rows : 1;
    for (int d = a->rank - 1; d >= 0; d--) {
        stride[d] = broadcast ? 0 : step;
        step *= broadcast ? 1 : a->size[d];
    }
    return (size_t)step;
}

static matmul_case random_matmul(bl_rng *r, uint64_t number)
{
    matmul_case c = {.pattern = random_chance(r, 0.2) ? (int)random_between(r, 1, 3) : 0};
    bl_matmul_args *a = &c.a;
    a->rank = (int)random_between(r, 1, 4);
    for (int d = 0; d < a->rank; d++) a->size[d] = random_between(r, 1, 3);
    a->m = random_between(r, 1, 20);
    a->n = random_between(r, 1, 40);
    a->k = random_chance(r, 0.1) ? random_between(r, 1000, 4000) : random_between(r, 1, 100);
    a->a_bits = random_bits(r);
    a->b_bits = random_chance(r, 0.7) ? a->a_bits : random_bits(r);
    a->out_bits = random_chance(r, 0.7) ? a->a_bits : random_bits(r);
    c.elements[0] = lay_out(a, a->m, a->k, random_chance(r, 0.3), random_chance(r, 0.2), a->a_stride, &a->a_m, &a->a_k);
    c.elements[1] = lay_out(a, a->k, a->n, random_chance(r, 0.5), random_chance(r, 0.2), a->b_stride, &a->b_k, &a->b_n);
    c.elements[2] = lay_out(a, a->m, a->n, random_chance(r, 0.3), false, a->out_stride, &a->out_m, &a->out_n);
    bl_grid ga = random_grid(r, a->a_bits), gb = random_grid(r, a->b_bits), gy = random_grid(r, a->out_bits);
    a->zero_a = ga.zero;
    a->zero_b = gb.zero;
    a->zero_out = gy.zero;
    a->lo = gy.lo;
    a->hi = gy.hi;
    a->mult = (float)random_log(r, 1e-9, 1e-1);
    a->acc64 = a->k > bl_matmul_k_max(a->a_bits, a->b_bits);
    snprintf(c.text, sizeof c.text, "matmul case %llu: batch %lld %lld %lld %lld, %lldx%lldx%lld bits %d %d %d zero %d %d %d",
             (unsigned long long)number, (long long)a->size[0], (long long)a->size[1], (long long)a->size[2],
             (long long)a->size[3], (long long)a->m, (long long)a->k, (long long)a->n, a->a_bits, a->b_bits, a->out_bits,
             a->zero_a, a->zero_b, a->zero_out);
    return c;
}

static void run_parts(bl_rng *r, const bl_matmul_row *row, bl_matmul_args a, void *out)
{
    int64_t all = a.m;
    for (int d = 0; d < a.rank; d++) all *= a.size[d];
    guard work = guard_new(BL_MAX(row->work_bytes(&a), 64), true);
    a.work = work.data;
    a.out = out;
    while (a.end < all) {
        a.begin = a.end;
        a.end = random_chance(r, 0.5) ? all : random_between(r, a.begin, all);
        row->run(&a);
    }
    if (!guard_free(&work)) abort();
}

static void check_one(check *k, uint64_t number)
{
    bl_rng r = bl_rng_make(k->seed, "matmul", number);
    matmul_case c = random_matmul(&r, number);
    bool at_end = random_chance(&r, 0.5);
    size_t code_out = c.a.out_bits > 8 ? 2 : 1;
    guard a = guard_new(c.elements[0] * (c.a.a_bits > 8 ? 2 : 1), at_end);
    guard b = guard_new(c.elements[1] * (c.a.b_bits > 8 ? 2 : 1), at_end);
    guard wanted = guard_new(c.elements[2] * code_out, at_end);
    random_codes(&r, a.data, c.a.a_bits, c.elements[0], c.pattern);
    random_codes(&r, b.data, c.a.b_bits, c.elements[1], c.pattern);
    c.a.a = a.data;
    c.a.b = b.data;
    guard_case("reference", c.text);
    run_parts(&r, check_reference(BL_C_MATMUL)->row, c.a, wanted.data);
    for (size_t i = 0; i < bl_n_kernels; i++) {
        const bl_matmul_row *row = bl_kernels[i].row;
        if (!check_wanted(k, i, BL_C_MATMUL) || !row->fits(&c.a)) continue;
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

void check_matmul(check *k)
{
    for (uint64_t number = 0; number < 50 || check_time_left(k); number++) check_one(k, number);
}
