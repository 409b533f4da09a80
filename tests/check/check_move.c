/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Move, table and softmax rows against their references: random ranks and sizes, the input in any
 * order of dimensions, reversed or repeated, the output dense or with gaps (a part of a Concat),
 * with and without a table.
 */
#include "check.h"

#include <float.h>
#include <stdio.h>
#include <string.h>

typedef struct extent {
    int64_t least, most;
} extent; /* of element numbers that a tensor touches */

/* Strides that visit dimensions in a random order of nesting, each element once. */
static extent random_strides(bl_rng *r, const int64_t *size, int rank, bool any_order,
                             int64_t *stride)
{
    uint32_t order[8];
    int64_t step = 1;
    extent e = {0, 0};
    for (int d = 0; d < rank; d++) order[d] = (uint32_t)(rank - 1 - d); /* innermost first */
    if (any_order && random_chance(r, 0.6)) bl_rng_shuffle(r, order, (size_t)rank);
    for (int i = 0; i < rank; i++) {
        uint32_t d = order[i];
        stride[d] = step;
        step *= size[d];
        if (random_chance(r, 0.2)) step += random_between(r, 1, 7);
    }
    return e;
}

static extent extent_of(const int64_t *size, const int64_t *stride, int rank)
{
    extent e = {0, 0};
    for (int d = 0; d < rank; d++) {
        int64_t reach = (size[d] - 1) * stride[d];
        if (reach < 0)
            e.least += reach;
        else
            e.most += reach;
    }
    return e;
}

/* Rows of bytes that become columns. */
static void make_turned(bl_rng *r, bl_move_args *a)
{
    int64_t planes = random_between(r, 1, 4), rows = random_between(r, 1, 70), columns = random_between(r, 1, 70);
    int64_t step = columns + (random_chance(r, 0.3) ? random_between(r, 1, 9) : 0);
    int64_t apart = rows + (random_chance(r, 0.3) ? random_between(r, 1, 9) : 0);
    *a = (bl_move_args){.rank = 3, .size = {planes, rows, columns}, .in_stride = {rows * step, step, 1},
                        .out_stride = {columns * apart, 1, apart}, .in_bits = 8, .out_bits = 8};
}

static void check_move_case(check *k, uint64_t number)
{
    char text[256];
    bl_rng r = bl_rng_make(k->seed, "move", number);
    bl_move_args a = {.rank = (int)random_between(&r, 1, 8)};
    for (int d = 0; d < a.rank; d++)
        a.size[d] = random_between(&r, 1, a.rank == 1 ? 1000 : a.rank < 4 ? 30 : 4);
    a.in_bits = random_bits(&r);
    a.out_bits = random_chance(&r, 0.6) ? a.in_bits : random_bits(&r);
    bool with_table = random_chance(&r, 0.5);
    random_strides(&r, a.size, a.rank, true, a.in_stride);
    random_strides(&r, a.size, a.rank, random_chance(&r, 0.3), a.out_stride);
    for (int d = 0; d < a.rank; d++) {
        if (random_chance(&r, 0.1)) a.in_stride[d] = -a.in_stride[d];
        if (random_chance(&r, 0.05)) a.in_stride[d] = 0;
    }
    if (random_chance(&r, 0.2)) {
        make_turned(&r, &a);
        with_table = false;
    }
    extent in_reach = extent_of(a.size, a.in_stride, a.rank);
    extent out_reach = extent_of(a.size, a.out_stride, a.rank);
    size_t n_in = (size_t)(in_reach.most - in_reach.least) + 1, n_out = (size_t)out_reach.most + 1;
    size_t code_in = a.in_bits > 8 ? 2 : 1, code_out = a.out_bits > 8 ? 2 : 1;
    bool at_end = random_chance(&r, 0.5);
    guard in = guard_new(n_in * code_in, at_end), wanted = guard_new(n_out * code_out, at_end);
    guard table = guard_new(((size_t)1 << a.in_bits) * code_out, at_end);
    /* Without a table codes must fit the output's container. */
    random_codes(&r, in.data, a.in_bits, n_in, 0);
    if (!with_table && a.in_bits > 8 && a.out_bits <= 8)
        for (size_t i = 0; i < n_in; i++) ((uint16_t *)in.data)[i] &= 255;
    random_codes(&r, table.data, a.out_bits, (size_t)1 << a.in_bits, 0);
    a.in = in.data + (size_t)-in_reach.least * code_in;
    if (with_table) a.table = table.data;
    snprintf(text, sizeof text,
             "move case %llu: rank %d bits %d %d table %d inner %lld strides %lld %lld",
             (unsigned long long)number, a.rank, a.in_bits, a.out_bits, with_table,
             (long long)a.size[a.rank - 1], (long long)a.in_stride[a.rank - 1],
             (long long)a.out_stride[a.rank - 1]);
    guard_case("move_ref", text);
    a.out = wanted.data;
    ((const bl_move_row *)check_reference(BL_C_MOVE)->row)->run(&a);
    for (size_t i = 0; i < bl_n_kernels; i++) {
        const bl_move_row *row = bl_kernels[i].row;
        if (!check_wanted(k, i, BL_C_MOVE) || !row->fits(&a)) continue;
        guard_case(row->name, text);
        guard out = guard_new(wanted.size, at_end);
        a.out = out.data;
        row->run(&a);
        check_compare(k, i, text, out.data, wanted.data, out.size, code_out, guard_intact(&out));
        guard_free(&out);
    }
    guard_free(&in);
    guard_free(&wanted);
    guard_free(&table);
}

static void check_table_case(check *k, uint64_t number)
{
    char text[128];
    bl_rng r = bl_rng_make(k->seed, "table", number);
    bl_table_args a = {.n = random_between(&r, 0, 700)};
    a.in_bits = random_bits(&r);
    a.out_bits = random_chance(&r, 0.6) ? a.in_bits : random_bits(&r);
    size_t n = (size_t)a.n, code_in = a.in_bits > 8 ? 2 : 1, code_out = a.out_bits > 8 ? 2 : 1;
    bool at_end = random_chance(&r, 0.5);
    guard in = guard_new(n * code_in, at_end), wanted = guard_new(n * code_out, at_end);
    guard table = guard_new(((size_t)1 << a.in_bits) * code_out, at_end);
    random_codes(&r, in.data, a.in_bits, n, 0);
    random_codes(&r, table.data, a.out_bits, (size_t)1 << a.in_bits, 0);
    a.in = in.data;
    a.table = table.data;
    a.out = wanted.data;
    snprintf(text, sizeof text, "table case %llu: n %zu bits %d %d", (unsigned long long)number, n,
             a.in_bits, a.out_bits);
    guard_case("table_ref", text);
    ((const bl_table_row *)check_reference(BL_C_TABLE)->row)->run(&a);
    for (size_t i = 0; i < bl_n_kernels; i++) {
        const bl_table_row *row = bl_kernels[i].row;
        if (!check_wanted(k, i, BL_C_TABLE) || !row->fits(&a)) continue;
        guard_case(row->name, text);
        guard out = guard_new(wanted.size, at_end);
        a.out = out.data;
        row->run(&a);
        check_compare(k, i, text, out.data, wanted.data, out.size, code_out, guard_intact(&out));
        guard_free(&out);
    }
    guard_free(&in);
    guard_free(&wanted);
    guard_free(&table);
}

/* Any row beyond the reference; the table's entries need only be positive floats here. */
static void check_softmax_case(check *k, uint64_t number)
{
    char text[128];
    bl_rng r = bl_rng_make(k->seed, "softmax", number);
    bl_softmax_args a = {.rows = random_between(&r, 1, 19), .d = random_between(&r, 1, 200)};
    a.in_bits = random_bits(&r);
    a.out_bits = 8;
    a.gy = (bl_grid){.scale = 1.0f / 256, .zero = 0, .lo = 0, .hi = 255};
    size_t n = (size_t)(a.rows * a.d), code_in = a.in_bits > 8 ? 2 : 1,
           entries = (size_t)1 << a.in_bits;
    bool at_end = random_chance(&r, 0.5);
    guard in = guard_new(n * code_in, at_end), wanted = guard_new(n, at_end);
    guard table = guard_new(entries * sizeof(float), at_end);
    double step = random_log(&r, 1e-4, 1), most = random_chance(&r, 0.5) ? FLT_MAX / (double)a.d * exp(-5) : 1; /* [Q12]'s own: the former */
    for (size_t i = 0; i < entries; i++)
        ((float *)table.data)[i] = (float)(most * exp(((double)i - (double)entries + 1) * step));
    random_codes(&r, in.data, a.in_bits, n, 0);
    a.in = in.data;
    a.table = (const float *)table.data;
    a.out = wanted.data;
    snprintf(text, sizeof text, "softmax case %llu: %lldx%lld bits %d", (unsigned long long)number,
             (long long)a.rows, (long long)a.d, a.in_bits);
    guard_case("softmax_ref", text);
    ((const bl_softmax_row *)check_reference(BL_C_SOFTMAX)->row)->run(&a);
    for (size_t i = 0; i < bl_n_kernels; i++) {
        const bl_softmax_row *row = bl_kernels[i].row;
        if (!check_wanted(k, i, BL_C_SOFTMAX) || !row->fits(&a)) continue;
        guard_case(row->name, text);
        guard out = guard_new(wanted.size, at_end);
        a.out = out.data;
        row->run(&a);
        check_compare(k, i, text, out.data, wanted.data, out.size, 1, guard_intact(&out));
        guard_free(&out);
    }
    guard_free(&in);
    guard_free(&wanted);
    guard_free(&table);
}

void check_move(check *k)
{
    for (uint64_t number = 0; number < 40 || check_time_left(k); number++) {
        check_move_case(k, number);
        check_table_case(k, number);
        check_softmax_case(k, number);
    }
}
