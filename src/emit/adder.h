/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Constant matrix-vector products as graphs of shifted additions (distributed arithmetic, da4ml,
 * arXiv 2507.04535): y = x^T W with W known, each entry as signed digits, common sums made once.
 *
 * Numbers are exact: a node holds an integer mantissa times 2^exp, in an interval that is known; no
 * multiplier, no rounding, no overflow.  What a hardware description needs of each adder is here:
 * operands, shifts, sign, interval and depth.
 */
#ifndef BL_ADDER_H
#define BL_ADDER_H

#include "base/base.h"

/* How common two-term sums are chosen.  NONE shares nothing: digits and balanced sums.  COUNT: the
 * most frequent (da4ml's mc).  OVERLAP: count times the bits that the two numbers have in common, as they
 * are (wmc).  ALIGNED: the same bits where the sum has them, after the shift. */
typedef enum bl_adder_method { BL_ADDER_NONE, BL_ADDER_COUNT, BL_ADDER_OVERLAP, BL_ADDER_ALIGNED } bl_adder_method;

enum { BL_ADDER_SEARCH = -2, BL_ADDER_WHOLE = -1, BL_ADDER_FREE = -1 };

typedef struct bl_adder_options {
    bl_adder_method method;
    int extra_depth;   /* levels more than balanced sums alone need; BL_ADDER_FREE: no limit */
    int decompose;     /* depth of the tree of columns; BL_ADDER_WHOLE: columns as they are;
                          BL_ADDER_SEARCH: every depth, the cheapest */
    bool unit_cost;    /* an adder costs 1, not its bits */
    bool exact_depth;  /* with a limit: sums are shared wherever each output still keeps it, not by likeness of depth */
} bl_adder_options;

/* A number that flows in: mantissa lo..hi times 2^exp, there after `level` levels of adders. */
typedef struct bl_adder_input {
    int64_t lo, hi;
    int32_t exp, level;
} bl_adder_input;

typedef enum bl_adder_kind { BL_ADDER_INPUT, BL_ADDER_CONSTANT, BL_ADDER_SUM } bl_adder_kind;

/* SUM: (a << shift_a) +- (b << shift_b), the lesser shift 0.  Operands stand before the node. */
typedef struct bl_adder_node {
    bl_adder_kind kind;
    int32_t a, b;
    int32_t shift_a, shift_b;
    bool subtract;
    int32_t level, exp;
    int64_t lo, hi;    /* of the mantissa; exact once the graph is finished */
    int32_t cost_bits; /* bits that overlap or carry (the search's measure), 1 with unit_cost */
} bl_adder_node;

/* +-node << shift; node -1: always 0. */
typedef struct bl_adder_output {
    int32_t node, shift;
    bool negative;
} bl_adder_output;

typedef struct bl_adder_graph {
    int n_in, n_out, n_nodes;     /* the first n_in nodes are the inputs */
    bl_adder_node *nodes;
    bl_adder_output *outputs;
    int adders, depth;            /* sums; levels of the deepest output */
    int64_t cost;                 /* sum of cost_bits */
    int stage_adders[2];          /* of the two factors that W was split in */
} bl_adder_graph;

/* W[n_in][n_out], row by row; |w| < 2^46.  bias (may be NULL): n_out integers that are added, times
 * 2^bias_exp[o].  The graph lies in the arena; it is verified (bl_adder_verify) before it is given. */
bl_status bl_adder_solve(bl_arena *arena, const int64_t *w, int n_in, int n_out,
                         const bl_adder_input *inputs, const int64_t *bias, const int32_t *bias_exp,
                         const bl_adder_options *options, bl_adder_graph **out);

/* Additions are linear, so W is proven by the columns of the identity; on the way each node's exact
 * interval is found and must lie in the one that was tracked.  BL_INTERNAL where anything differs. */
bl_status bl_adder_verify(bl_arena *arena, bl_adder_graph *g, const int64_t *w,
                          const bl_adder_input *inputs, const int64_t *bias, const int32_t *bias_exp);

/* Mantissas of all nodes for given input mantissas; values has n_nodes places. */
void bl_adder_evaluate(const bl_adder_graph *g, const int64_t *in, int64_t *values);

/* Bits of a number in lo..hi: two's complement with the sign where lo < 0. */
int bl_adder_width(int64_t lo, int64_t hi);

/* Look-up tables that the sum takes: its bits but for the low ones that go through unchanged. */
int bl_adder_node_luts(const bl_adder_graph *g, const bl_adder_node *n);

/* Signed digits of v, none adjacent: masks of the places of +1 and of -1. */
void bl_csd(int64_t v, uint64_t *plus, uint64_t *minus);
int bl_csd_count(int64_t v);

/* ------------------------------------------------------------------ between the files */

typedef struct bl_adder_build {
    bl_arena *arena;
    bl_adder_graph *g;
    int capacity;
    bool unit_cost;
} bl_adder_build;

/* A number as +-node << shift. */
typedef struct bl_adder_term { int32_t node, shift; bool negative; } bl_adder_term;

/* -1 and a pending error without memory or beyond 62 bits. */
int bl_adder_node_add(bl_adder_build *b, const bl_adder_node *node);
/* (x << shift_x) +- (y << shift_y); the node stands for the sum divided by 2^*shift. */
int bl_adder_sum(bl_adder_build *b, int x, int shift_x, int y, int shift_y, bool subtract, int32_t *shift);
/* Sum of the terms by a tree that takes the two least (depth, sign, size) first; uses up the list. */
bl_status bl_adder_reduce(bl_adder_build *b, bl_adder_term *terms, int n, bl_adder_output *out);

/* One factor: outputs[o] = sum over i of w[i][o] * terms_in[i] (+ bias where given).  by_depth: numbers far
 * apart in depth are not added.  limit: levels that no output may need; BL_ADDER_ANY_DEPTH: none. */
enum { BL_ADDER_ANY_DEPTH = 1000000000 };
bl_status bl_adder_share(bl_adder_build *b, bl_adder_method method, bool by_depth, int limit, const int64_t *w, int n_in, int n_out,
                         const bl_adder_term *terms_in, const int64_t *bias, const int32_t *bias_exp,
                         bl_adder_output *outputs);
/* W = first x second through a tree of columns no deeper than dc allows; first is n_in x *n_mid,
 * second *n_mid x n_out, both in the arena. */
bl_status bl_adder_decompose(bl_arena *arena, const int64_t *w, int n_in, int n_out, int dc,
                             int64_t **first, int64_t **second, int *n_mid);
/* Divides columns, then rows, by their powers of two, in place. */
void bl_adder_normalise(int64_t *w, int n_in, int n_out, int32_t *row_shift, int32_t *column_shift);

#endif
