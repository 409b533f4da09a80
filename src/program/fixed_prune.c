/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a fixed-point network can lose without any output changing, proven by the intervals of its sums:
 * elements that are constant go into the biases behind them, neurons that nobody reads lose their weights, grids
 * lose the bits above and below what their sums reach.  Nothing here looks at data.
 */
#include "program/fixed.h"

#include <string.h>

typedef struct pruning {
    bl_fixed_net *net;
    bool changed;
} pruning;

static bl_fixed_grid nothing(void)
{
    return (bl_fixed_grid){ 0, 0, 0 };
}

/* Adds code * 2^-code_f times the weight to a bias; false where the sum leaves 62 bits. */
static bool bias_add(bl_fixed_layer *l, int32_t c, int64_t code, int code_f, int32_t weight, int weight_f)
{
    __int128 add = (__int128)code * weight;
    int f = code_f + weight_f, to = l->bias[c] ? BL_MAX(l->bias_f[c], f) : f;
    __int128 limit = (__int128)1 << 62, one = 1;
    if (to - f > 60 || (l->bias[c] && to - l->bias_f[c] > 60)) return false;
    add *= one << (to - f);
    if (l->bias[c]) add += (__int128)l->bias[c] * (one << (to - l->bias_f[c]));
    if (add > limit || add < -limit) return false;
    int64_t v = (int64_t)add;
    bl_fixed_reduce(&v, &to);
    if (to < -BL_FIXED_EXPONENT_MAX || to > BL_FIXED_EXPONENT_MAX) return false;
    l->bias[c] = v;
    l->bias_f[c] = (int8_t)to;
    return true;
}

/* Element e of layer n always has this code.  Only dense readers without anything between can take it. */
static void fold_constant(pruning *p, int n, int64_t e, int64_t code)
{
    bl_fixed_layer *l = &p->net->layers[n], *next = l + 1;
    if (n + 1 >= p->net->n_layers || (code && next->kind != BL_FIXED_DENSE)) return;
    if (code) {
        for (int64_t o = 0; o < next->n_out; o++) {
            int64_t at = o * next->n_in + e;
            int64_t bias = next->bias[o];
            int8_t bias_f = next->bias_f[o];
            if (!next->weight[at]) continue;
            if (!bias_add(next, (int32_t)o, code, l->out[e].f, next->weight[at], next->weight_f[at])) {
                next->bias[o] = bias;
                next->bias_f[o] = bias_f;
                return; /* those that were moved are right as they are; the element stays for the others */
            }
            next->weight[at] = 0;
            next->weight_f[at] = 0;
            p->changed = true;
        }
    }
    l->out[e] = nothing();
    p->changed = true;
}

/* Bits that the sum cannot reach: below its own step, above its own range. */
static void tighten(pruning *p, bl_fixed_layer *l, int64_t e, int64_t lo, int64_t hi)
{
    bl_fixed_grid *g = &l->out[e], before = *g;
    if (l->acc_f[e] < g->f && l->acc_f[e] >= -BL_FIXED_EXPONENT_MAX) {
        /* Rounding has nothing to do there; the top stays where it was, which is one step coarser now. */
        int64_t top = ((int64_t)1 << (g->i + g->f)) - 1;
        bool clipped = hi >= top || (lo < 0 && lo <= -top);
        if (!clipped) g->f = l->acc_f[e];
    }
    lo = bl_fixed_quantize(l->relu && l->acc_lo[e] < 0 ? 0 : l->acc_lo[e], l->acc_f[e], *g, l->round, l->overflow);
    hi = bl_fixed_quantize(l->relu && l->acc_hi[e] < 0 ? 0 : l->acc_hi[e], l->acc_f[e], *g, l->round, l->overflow);
    if (g->k && lo >= 0) g->k = 0;
    int64_t limit = (int64_t)1 << (g->i + g->f);
    while (g->i + g->f > 1 && hi < limit / 2 && lo >= (l->overflow == BL_SAT_SYM ? 1 - limit / 2 : -limit / 2)) {
        g->i--;
        limit /= 2;
    }
    if (memcmp(&before, g, sizeof before) != 0) p->changed = true;
}

/* Does the overflow leave the order of values alone? */
static bool monotone(const bl_fixed_layer *l, int64_t e)
{
    bl_fixed_grid wide = l->out[e], g = wide;
    if (l->overflow != BL_WRAP) return true;
    wide.i = 61;
    wide.k = 1;
    if (wide.f + wide.i < 62) wide.i = (int8_t)(62 - wide.f);
    int64_t lo = l->relu && l->acc_lo[e] < 0 ? 0 : l->acc_lo[e], hi = l->relu && l->acc_hi[e] < 0 ? 0 : l->acc_hi[e];
    return bl_fixed_quantize(lo, l->acc_f[e], wide, l->round, BL_SAT) == bl_fixed_quantize(lo, l->acc_f[e], g, l->round, BL_WRAP) &&
           bl_fixed_quantize(hi, l->acc_f[e], wide, l->round, BL_SAT) == bl_fixed_quantize(hi, l->acc_f[e], g, l->round, BL_WRAP);
}

static void element(pruning *p, int n, int64_t e)
{
    bl_fixed_layer *l = &p->net->layers[n];
    bl_fixed_grid g = l->out[e];
    if (g.k == 0 && g.i == 0 && g.f == 0) return;
    if (g.k + g.i + g.f <= 0) {
        l->out[e] = nothing();
        p->changed = true;
        return;
    }
    if (!monotone(l, e)) return;
    int64_t lo = bl_fixed_quantize(l->relu && l->acc_lo[e] < 0 ? 0 : l->acc_lo[e], l->acc_f[e], g, l->round, l->overflow);
    int64_t hi = bl_fixed_quantize(l->relu && l->acc_hi[e] < 0 ? 0 : l->acc_hi[e], l->acc_f[e], g, l->round, l->overflow);
    if (lo == hi) fold_constant(p, n, e, lo);
    else tighten(p, l, e, lo, hi);
}

/* Weights of dense layers that read a constant 0, and whole rows that nobody reads. */
static void drop_weights(pruning *p, int n)
{
    bl_fixed_layer *l = &p->net->layers[n], *next = n + 1 < p->net->n_layers ? l + 1 : NULL;
    const bl_fixed_grid *in = bl_fixed_reads(p->net, n);
    if (l->kind != BL_FIXED_DENSE) return;
    for (int64_t at = 0; at < l->n_weights; at++)
        if (l->weight[at] && in[at % l->n_in].k + in[at % l->n_in].i + in[at % l->n_in].f <= 0) {
            l->weight[at] = 0;
            l->weight_f[at] = 0;
            p->changed = true;
        }
    for (int64_t e = 0; next && next->kind == BL_FIXED_DENSE && e < l->n_out; e++) {
        bool read = false, there = l->bias[e] || l->out[e].k || l->out[e].i || l->out[e].f;
        for (int64_t o = 0; o < next->n_out && !read; o++) read = next->weight[o * next->n_in + e] != 0;
        for (int64_t i = 0; i < l->n_in && !there; i++) there = l->weight[e * l->n_in + i] != 0;
        if (read || !there) continue;
        memset(l->weight + e * l->n_in, 0, (size_t)l->n_in * sizeof *l->weight);
        memset(l->weight_f + e * l->n_in, 0, (size_t)l->n_in);
        l->bias[e] = 0;
        l->bias_f[e] = 0;
        l->out[e] = nothing();
        p->changed = true;
    }
}

bl_status bl_fixed_prune(bl_ctx *ctx, bl_fixed_net *net)
{
    pruning p = { .net = net, .changed = true };
    BL_TRY(bl_fixed_check(ctx, net->name, net));
    /* Each round takes at least one bit, weight or element away for good. */
    while (p.changed) {
        p.changed = false;
        for (int n = 0; n + 1 < net->n_layers; n++)
            for (int64_t e = 0; e < net->layers[n].n_out; e++) element(&p, n, e);
        for (int n = net->n_layers - 1; n >= 0; n--) drop_weights(&p, n);
        if (p.changed) BL_TRY(bl_fixed_check(ctx, net->name, net));
    }
    return bl_fixed_finish(ctx, net);
}
