/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Quantize and dequantize rows against their references: NCHW planes to NHWC codes and back, and
 * dense, with NaN, infinities, exact ties and values far outside the grid.
 */
#include "check.h"

#include <stdio.h>
#include <string.h>

typedef struct edge_case {
    bl_edge_args a;
    size_t elements; /* on either side */
    char text[256];
} edge_case;

static float random_real(bl_rng *r, bl_grid g)
{
    static const float special[] = {0.0f, -0.0f, 1e30f, -1e30f, 1e-40f, -1e-40f};
    int kind = (int)random_between(r, 0, 19);
    if (kind == 0) return special[bl_rng_below(r, BL_COUNTOF(special))];
    if (kind == 1) return NAN;
    if (kind == 2) return random_chance(r, 0.5) ? INFINITY : -INFINITY;
    double code = (double)random_between(r, g.lo - 20, g.hi + 20) - g.zero;
    if (kind < 8) return (float)((code + 0.5) * (double)g.scale); /* a tie, or next to one */
    return (float)((code + bl_rng_unit(r)) * (double)g.scale);
}

/* Real numbers in NCHW and codes in NHWC, or both dense in the same order. */
static edge_case random_edge(bl_rng *r, uint64_t number, bool quantize)
{
    edge_case c;
    bl_edge_args *a = &c.a;
    memset(a, 0, sizeof *a);
    a->bits = random_bits(r);
    a->g = random_grid(r, a->bits);
    a->g.lo = 0; /* no fused activation at the edges */
    a->g.hi = (1 << a->bits) - 1;
    if (random_chance(r, 0.7)) bl_edge_inverse(a->g, &a->inverse, &a->rest);
    int64_t real[8], codes[8];
    if (random_chance(r, 0.5)) {
        int64_t h = random_between(r, 1, 30), w = random_between(r, 1, 40),
                ch = random_between(r, 1, 9);
        a->rank = 4;
        a->size[0] = random_between(r, 1, 2);
        a->size[1] = ch;
        a->size[2] = h;
        a->size[3] = w;
        const int64_t planes[4] = {ch * h * w, h * w, w, 1},
                      pixels[4] = {ch * h * w, 1, w * ch, ch};
        memcpy(real, planes, sizeof planes);
        memcpy(codes, pixels, sizeof pixels);
    } else {
        a->rank = (int)random_between(r, 1, 8);
        int64_t step = 1;
        for (int d = a->rank - 1; d >= 0; d--) {
            a->size[d] = random_between(r, 1, a->rank == 1 ? 2000 : a->rank < 4 ? 12 : 3);
            real[d] = codes[d] = step;
            step *= a->size[d];
        }
    }
    c.elements = 1;
    for (int d = 0; d < a->rank; d++) {
        a->in_stride[d] = quantize ? real[d] : codes[d];
        a->out_stride[d] = quantize ? codes[d] : real[d];
        c.elements *= (size_t)a->size[d];
    }
    snprintf(c.text, sizeof c.text, "%s case %llu: rank %d, %zu elements, bits %d zero %d scale %a",
             quantize ? "quantize" : "dequantize", (unsigned long long)number, a->rank, c.elements,
             a->bits, a->g.zero, (double)a->g.scale);
    return c;
}

static void check_one(check *k, bl_contract contract, uint64_t number)
{
    bool quantize = contract == BL_C_QUANTIZE;
    bl_rng r = bl_rng_make(k->seed, bl_contract_name(contract), number);
    edge_case c = random_edge(&r, number, quantize);
    size_t code = c.a.bits > 8 ? 2 : 1;
    size_t in_size = quantize ? sizeof(float) : code, out_size = quantize ? code : sizeof(float);
    bool at_end = random_chance(&r, 0.5);
    guard in = guard_new(c.elements * in_size, at_end),
          wanted = guard_new(c.elements * out_size, at_end);
    if (quantize)
        for (size_t i = 0; i < c.elements; i++) ((float *)in.data)[i] = random_real(&r, c.a.g);
    else
        random_codes(&r, in.data, c.a.bits, c.elements, 0);
    c.a.in = in.data;
    c.a.out = wanted.data;
    guard_case("reference", c.text);
    ((const bl_edge_row *)check_reference(contract)->row)->run(&c.a);
    for (size_t i = 0; i < bl_n_kernels; i++) {
        const bl_edge_row *row = bl_kernels[i].row;
        if (!check_wanted(k, i, contract) || !row->fits(&c.a)) continue;
        guard_case(row->name, c.text);
        guard out = guard_new(wanted.size, at_end);
        c.a.out = out.data;
        row->run(&c.a);
        check_compare(k, i, c.text, out.data, wanted.data, out.size, out_size, guard_intact(&out));
        guard_free(&out);
    }
    guard_free(&in);
    guard_free(&wanted);
}

void check_edge(check *k)
{
    for (uint64_t number = 0; number < 40 || check_time_left(k); number++) {
        check_one(k, BL_C_QUANTIZE, number);
        check_one(k, BL_C_DEQUANTIZE, number);
    }
}
