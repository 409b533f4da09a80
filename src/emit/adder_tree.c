/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Adder graphs: nodes with their intervals and costs, and balanced sums.
 */
#include "emit/adder.h"

#include <string.h>

#include <math.h>

enum { MANTISSA_BITS_MAX = 62 };

static int bits_of(uint64_t v)
{
    return v ? 64 - __builtin_clzll(v) : 0;
}

int bl_adder_width(int64_t lo, int64_t hi)
{
    int up = hi > 0 ? bits_of((uint64_t)hi) : 0;
    return lo < 0 ? BL_MAX(up, bits_of((uint64_t)(-(lo + 1)))) + 1 : up;
}

static uint64_t magnitude(int64_t v)
{
    return v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
}

static bl_status too_wide(bl_adder_build *b)
{
    return bl_fail(bl_arena_ctx(b->arena), BL_UNAVAILABLE, "adder graph", "fewer bits for weights or values",
                   "a sum needs more than %d bits", MANTISSA_BITS_MAX);
}

int bl_adder_node_add(bl_adder_build *b, const bl_adder_node *node)
{
    if (b->g->n_nodes == b->capacity) {
        int more = b->capacity ? 2 * b->capacity : 256;
        bl_adder_node *n = BL_NEW(b->arena, bl_adder_node, (size_t)more);
        if (!n) return -1;
        if (b->g->n_nodes) memcpy(n, b->g->nodes, (size_t)b->g->n_nodes * sizeof *n);
        b->g->nodes = n;
        b->capacity = more;
    }
    b->g->nodes[b->g->n_nodes] = *node;
    return b->g->n_nodes++;
}

static bool aligned(const bl_adder_node *n, int shift, int64_t *lo, int64_t *hi)
{
    int64_t limit = (int64_t)1 << MANTISSA_BITS_MAX;
    if (shift > MANTISSA_BITS_MAX) return n->lo == 0 && n->hi == 0;
    return bl_mul_i64(n->lo, (int64_t)1 << shift, lo) && bl_mul_i64(n->hi, (int64_t)1 << shift, hi)
        && *lo >= -limit && *hi <= limit;
}

/* da4ml's measure: bits from the coarser step up to the greatest of the operands. */
static int cost_of(int64_t alo, int64_t ahi, int sa, int64_t blo, int64_t bhi, int sb, bool subtract)
{
    uint64_t m = BL_MAX(magnitude(alo), magnitude(ahi + ((int64_t)1 << sa)));
    if (subtract) m = BL_MAX(m, BL_MAX(magnitude(bhi), magnitude(blo + ((int64_t)1 << sb))));
    else m = BL_MAX(m, BL_MAX(magnitude(blo), magnitude(bhi + ((int64_t)1 << sb))));
    int top = m > 1 ? bits_of(m - 1) : 0;
    return BL_MAX((alo < 0 || blo < 0) + top - BL_MAX(sa, sb), 0);
}

int bl_adder_sum(bl_adder_build *b, int x, int shift_x, int y, int shift_y, bool subtract, int32_t *shift)
{
    const bl_adder_node *p = &b->g->nodes[x], *q = &b->g->nodes[y];
    int common = BL_MIN(shift_x, shift_y);
    bl_adder_node n = { .kind = BL_ADDER_SUM, .a = x, .b = y, .shift_a = shift_x - common, .shift_b = shift_y - common,
                        .subtract = subtract, .level = BL_MAX(p->level, q->level) + 1 };
    int ep = p->exp + n.shift_a, eq = q->exp + n.shift_b;
    int64_t plo = 0, phi = 0, qlo = 0, qhi = 0;

    n.exp = BL_MIN(ep, eq);
    if (!aligned(p, ep - n.exp, &plo, &phi) || !aligned(q, eq - n.exp, &qlo, &qhi)) return too_wide(b), -1;
    n.lo = subtract ? plo - qhi : plo + qlo;
    n.hi = subtract ? phi - qlo : phi + qhi;
    if (bl_adder_width(n.lo, n.hi) > MANTISSA_BITS_MAX) return too_wide(b), -1;
    n.cost_bits = b->unit_cost ? 1 : cost_of(plo, phi, ep - n.exp, qlo, qhi, eq - n.exp, subtract);
    *shift = common;
    return bl_adder_node_add(b, &n);
}

int bl_adder_node_luts(const bl_adder_graph *g, const bl_adder_node *n)
{
    if (n->kind != BL_ADDER_SUM) return 0;
    const bl_adder_node *a = &g->nodes[n->a], *b = &g->nodes[n->b];
    int low_a = a->exp + n->shift_a - n->exp, low_b = b->exp + n->shift_b - n->exp;
    int width = bl_adder_width(n->lo, n->hi);
    const bl_adder_node *fine = low_a ? b : a;
    int low = low_a + low_b;
    /* What is taken away has to be negated from its lowest bit on. */
    if (n->subtract && low_a) return width;
    /* The finer number ends below the coarser one: wires. */
    if (!n->subtract && fine->lo >= 0 && bl_adder_width(fine->lo, fine->hi) <= low) return 0;
    return BL_MAX(width - low, 0);
}

/* ------------------------------------------------------------------ balanced sums */

static double scaled(int64_t v, int e)
{
    return ldexp((double)v, e);
}

/* da4ml's order: what is ready first, what is added before what is taken away, small before large. */
static bool before(const bl_adder_graph *g, const bl_adder_term *x, const bl_adder_term *y)
{
    const bl_adder_node *p = &g->nodes[x->node], *q = &g->nodes[y->node];
    if (p->level != q->level) return p->level < q->level;
    if (x->negative != y->negative) return y->negative;
    double mp = fmax(fabs(scaled(p->hi + 1, p->exp)), fabs(scaled(p->lo, p->exp)));
    double mq = fmax(fabs(scaled(q->hi + 1, q->exp)), fabs(scaled(q->lo, q->exp)));
    if (ldexp(mp, x->shift) != ldexp(mq, y->shift)) return ldexp(mp, x->shift) < ldexp(mq, y->shift);
    if (scaled(p->lo, p->exp) != scaled(q->lo, q->exp)) return scaled(p->lo, p->exp) < scaled(q->lo, q->exp);
    if (scaled(p->hi, p->exp) != scaled(q->hi, q->exp)) return scaled(p->hi, p->exp) < scaled(q->hi, q->exp);
    if (p->exp != q->exp) return p->exp < q->exp;
    if (x->node != y->node) return x->node < y->node;
    return x->shift < y->shift;
}

static bl_adder_term take_least(const bl_adder_graph *g, bl_adder_term *terms, int *n)
{
    int best = 0;
    for (int i = 1; i < *n; i++)
        if (before(g, &terms[i], &terms[best])) best = i;
    bl_adder_term t = terms[best];
    terms[best] = terms[--*n];
    return t;
}

bl_status bl_adder_reduce(bl_adder_build *b, bl_adder_term *terms, int n, bl_adder_output *out)
{
    while (n > 1) {
        bl_adder_term x = take_least(b->g, terms, &n), y = take_least(b->g, terms, &n), sum = { 0 };
        sum.negative = x.negative && y.negative;
        if (x.negative && !y.negative) sum.node = bl_adder_sum(b, y.node, y.shift, x.node, x.shift, true, &sum.shift);
        else sum.node = bl_adder_sum(b, x.node, x.shift, y.node, y.shift, x.negative != y.negative, &sum.shift);
        if (sum.node < 0) return bl_pending(bl_arena_ctx(b->arena));
        terms[n++] = sum;
    }
    *out = n ? (bl_adder_output){ terms[0].node, terms[0].shift, terms[0].negative } : (bl_adder_output){ -1, 0, false };
    return BL_OK;
}
