/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rows of LayerNormalization against the reference: constant rows and rows of extremes first, the longest that there may
 * be, then random shapes, containers, gains, shifts and bounds.
 */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct norm_case {
    bl_layernorm_args a;
    int pattern;                /* of the codes */
    char text[256];
} norm_case;

static norm_case random_norm(bl_rng *r, uint64_t number)
{
    norm_case c = {.pattern = random_chance(r, 0.3) ? (int)random_between(r, 1, 3) : 0};
    bl_layernorm_args *a = &c.a;
    a->rows = random_between(r, 1, 19);
    a->d = random_chance(r, 0.1) ? random_between(r, 300, 3000) : random_between(r, 1, 300);
    a->in_bits = random_bits(r);
    a->out_bits = random_chance(r, 0.6) ? a->in_bits : random_bits(r);
    if (number < 4) { /* every code the greatest, or 0 and the greatest in turn, in the longest row */
        a->in_bits = number % 2 ? 16 : 8;
        c.pattern = number < 2 ? 2 : 3;
        a->d = bl_layernorm_d_max(a->in_bits);
        a->rows = 1;
    }
    a->gy = random_grid(r, a->out_bits);
    a->floor = random_chance(r, 0.2) ? 0 : random_log(r, 1e-8, 1e9);
    snprintf(c.text, sizeof c.text, "layernorm case %llu: %lldx%lld bits %d %d pattern %d zero %d bounds %d %d floor %a",
             (unsigned long long)number, (long long)a->rows, (long long)a->d, a->in_bits, a->out_bits, c.pattern, a->gy.zero,
             a->gy.lo, a->gy.hi, a->floor);
    return c;
}

static void check_one(check *k, uint64_t number)
{
    bl_rng r = bl_rng_make(k->seed, "layernorm", number);
    norm_case c = random_norm(&r, number);
    bool at_end = random_chance(&r, 0.5);
    size_t n = (size_t)(c.a.rows * c.a.d), d = (size_t)c.a.d, code_out = c.a.out_bits > 8 ? 2 : 1;
    guard in = guard_new(n * (c.a.in_bits > 8 ? 2 : 1), at_end), wanted = guard_new(n * code_out, at_end);
    guard gain = guard_new(d * sizeof(float), at_end), shift = guard_new(d * sizeof(float), at_end);
    double size = ldexp(1, c.a.out_bits);
    for (size_t i = 0; i < d; i++) {
        bool none = random_chance(&r, 0.05); /* then exact ties: shifts of halves */
        ((float *)gain.data)[i] = none ? 0 : (float)(bl_rng_normal(&r) * size / 6);
        ((float *)shift.data)[i] = none ? (float)random_between(&r, -20, 20) / 2 : (float)(bl_rng_normal(&r) * size / 4);
    }
    random_codes(&r, in.data, c.a.in_bits, n, c.pattern);
    c.a.in = in.data;
    c.a.gain = (const float *)gain.data;
    c.a.shift = (const float *)shift.data;
    c.a.out = wanted.data;
    guard_case("layernorm_ref", c.text);
    ((const bl_layernorm_row *)check_reference(BL_C_LAYERNORM)->row)->run(&c.a);
    for (size_t i = 0; i < bl_n_kernels; i++) {
        const bl_layernorm_row *row = bl_kernels[i].row;
        if (!check_wanted(k, i, BL_C_LAYERNORM) || !row->fits(&c.a)) continue;
        guard_case(row->name, c.text);
        guard out = guard_new(wanted.size, at_end);
        c.a.out = out.data;
        row->run(&c.a);
        check_compare(k, i, c.text, out.data, wanted.data, out.size, code_out, guard_intact(&out));
        guard_free(&out);
    }
    guard_free(&in);
    guard_free(&wanted);
    guard_free(&gain);
    guard_free(&shift);
}

void check_layernorm(check *k)
{
    for (uint64_t number = 0; number < 400 || check_time_left(k); number++) check_one(k, number);
}
