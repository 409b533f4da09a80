/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A fixed-point network as cells of hardware: adders from the graphs of adder.h, roundings, clips and
 * maxima, each with its exact interval, depth, the bits that somebody reads, and its pipeline stage.
 * What is written as Verilog, and what is counted before any synthesis.
 */
#ifndef BL_CIRCUIT_H
#define BL_CIRCUIT_H

#include "emit/adder.h"
#include "program/program.h"

typedef enum bl_cell_kind {
    BL_CELL_INPUT, BL_CELL_CONSTANT,
    BL_CELL_SUM,        /* (a << shift_a) +- (b << shift_b) */
    BL_CELL_ROUND,      /* a without its lowest `drop` bits, rounded */
    BL_CELL_CLIP,       /* a << shift_a after ReLU, saturated or its low bits */
    BL_CELL_MAX         /* the greater of a << shift_a and b << shift_b */
} bl_cell_kind;

typedef struct bl_cell {
    bl_cell_kind kind;
    int32_t a, b, shift_a, shift_b; /* operands stand before the cell, shifts are of mantissas */
    bool subtract, relu, saturate;
    bool halved;                    /* ROUND: the half step is in a already; half to even mends ties alone */
    bl_fixed_round round;
    int32_t drop, layer;
    int32_t level, exp;             /* value = mantissa * 2^exp; levels of logic up to it */
    int64_t lo, hi;                 /* of the mantissa */
    int32_t need;                   /* low bits that are read; at most its width; 0: nobody reads it */
    int32_t stage, last;            /* pipeline stage where it is made, last one where it is read */
} bl_cell;

/* What stands between layers: a cell times 2^shift, or the constant 0 (cell -1). */
typedef struct bl_circuit_value { int32_t cell, shift; } bl_circuit_value;

typedef struct bl_circuit_layer {
    int64_t adders, adder_bits, adders_unshared, bits_unshared; /* luts of the sums; without sharing */
    int32_t depth;                  /* levels up to its outputs */
} bl_circuit_layer;

typedef struct bl_circuit_options {
    int pipeline;       /* registers behind every so many levels; 0: none, one combinational block */
    int extra_depth;    /* adder.h; levels that sharing may add to each layer */
    bool unshared;      /* digits alone */
} bl_circuit_options;

typedef struct bl_circuit {
    const bl_fixed_net *net;
    bl_circuit_options options;
    int n_cells;
    bl_cell *cells;
    int64_t n_in, n_out;
    bl_circuit_value *in, *out;     /* a field of the bus an element */
    int n_layers;
    bl_circuit_layer *layers;
    int depth, stages;              /* stages 0: combinational; else cycles from input to output */
    int64_t adders, luts_sum, luts_clip, luts_round, luts_max, flip_flops;
} bl_circuit;

enum { BL_CIRCUIT_CELLS_MAX = 1 << 21 };

/* BL_UNAVAILABLE where unrolling takes more than BL_CIRCUIT_CELLS_MAX cells.  net is borrowed. */
bl_status bl_circuit_make(bl_arena *arena, const bl_fixed_net *net, const bl_circuit_options *options, bl_circuit **out);

int bl_cell_width(const bl_cell *c);   /* of its interval */
bool bl_cell_signed(const bl_cell *c);
int bl_grid_width(bl_fixed_grid g);    /* of a field; 0: none */

/* Output codes for input codes, cell by cell: what the hardware does; values has n_cells places. */
void bl_circuit_run(const bl_circuit *c, const int64_t *in, int64_t *out, int64_t *values);

/* ------------------------------------------------------------------ between the files */

typedef struct bl_circuit_build {
    bl_arena *arena;
    bl_circuit *c;
    int capacity, layer;
} bl_circuit_build;

int bl_circuit_cell(bl_circuit_build *b, const bl_cell *cell); /* -1: pending error */
/* Rounding, ReLU and overflow of one element; v is a sum whose half step may be in it already. */
bl_status bl_circuit_quantize(bl_circuit_build *b, bl_circuit_value v, bool half_added, const bl_fixed_layer *l,
                              int64_t element, bl_circuit_value *out);
/* What a sum may have added so that cutting bits off rounds it: an integer times 2^*exp; 0: nothing. */
int64_t bl_circuit_half(const bl_fixed_layer *l, int64_t element, int32_t *exp, bool *cut);
/* needs, stages, counts. */
void bl_circuit_schedule(bl_circuit *c);

#endif
