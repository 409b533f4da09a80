/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The trained network as a fixed-point network: quantized weights and biases as integers, grids as they are, bits
 * before the point cut to what the rows that are known (learned from and looked at) need.  Pruned.
 */
#include "train/hgq_private.h"

#include <math.h>
#include <string.h>

/* A number that lies on a grid, as an integer. */
static void integer_of(float v, int64_t *code, int *f)
{
    int e;
    double m = frexp((double)v, &e); /* 24 bits */
    *code = (int64_t)ldexp(m, 24);
    *f = 24 - e;
    bl_fixed_reduce(code, f);
}

static void weight_put(bl_fixed_layer *to, int64_t at, float v)
{
    int64_t code;
    int f;
    integer_of(v, &code, &f);
    to->weight[at] = (int32_t)code;
    to->weight_f[at] = (int8_t)f;
}

/* Elements lie H, W, C here and C, H, W there. */
static int64_t there(int32_t c, int64_t places, int64_t e)
{
    return e % c * places + e / c;
}

/* Steps that are no powers of two (uniform_real) become the nearest ones: the codes, which have the price, stay. */
static float whole_step(const bl_hgq *h, const bl_hgq_layer *l, float q)
{
    if (!h->o.uniform_real) return q;
    return exp2f(-rintf(l->f_of[0])) * rintf(q * exp2f(l->f_of[0]));
}

static void weights_put(const bl_hgq *h, const bl_hgq_layer *l, bl_fixed_layer *to)
{
    int64_t in_places = (int64_t)l->in_h * l->in_w, window = (int64_t)l->kernel_h * l->kernel_w;
    for (int64_t t = 0; t < l->taps; t++)
        for (int64_t c = 0; c < l->out_c; c++) {
            int64_t at = l->kind == BL_FIXED_CONV ? (c * l->in_c + t % l->in_c) * window + t / l->in_c
                                                  : c * l->taps + there(l->in_c, in_places, t);
            weight_put(to, at, whole_step(h, l, l->q[t * l->out_c + c]));
        }
    for (int64_t c = 0; c < l->out_c; c++) {
        int f;
        integer_of(h->o.uniform_real ? rintf(ldexpf(l->bias[c], 10)) * 0x1p-10f : l->bias[c], &to->bias[c], &f);
        to->bias_f[c] = (int8_t)f;
    }
}

/* wraps: the bits before the point are still to come from the range. */
static bl_fixed_grid grid_of(const bl_hgq_grid *g, int64_t e, bool wraps)
{
    int f = (int)lrintf(log2f(g->scale[e])), k = g->sign[e];
    if (wraps) return (bl_fixed_grid){ (int8_t)k, (int8_t)(1 - f), (int8_t)f };
    if (!(g->bits[e] > 0)) return (bl_fixed_grid){ 0, 0, 0 };
    return (bl_fixed_grid){ (int8_t)k, (int8_t)((int)g->bits[e] - k - f), (int8_t)f };
}

/* Bits before the point that least and most need; what the grid has where nothing is clipped for it. */
static bl_fixed_grid traced(bl_fixed_grid g, double least, double most, bool wraps)
{
    if (g.k + g.i + g.f <= 0) return g;
    if (least >= 0 && most <= 0) return (bl_fixed_grid){ 0, 0, 0 };
    int up = most > 0 ? (int)ceil(log2(most + ldexp(1, -g.f))) : -g.f, down = least < 0 ? (int)ceil(log2(-least)) : -g.f;
    int i = BL_MAX(BL_MAX(up, down), -g.f);
    if (least >= 0) g.k = 0;
    if (wraps || i < g.i) g.i = (int8_t)i;
    return g;
}

/* Positions of a channel that learned one width keep one grid: a window that moves over them needs it. */
static void merge_positions(bl_hgq_grid *g, int64_t channels)
{
    for (int pass = 0; pass < 2; pass++) /* to the first position, and back */
        for (int64_t e = channels; e < g->n; e++) {
            int64_t from = pass ? e % channels : e, to = pass ? e : e % channels;
            if (g->group[from] != g->group[to]) continue;
            g->least[to] = fminf(g->least[to], g->least[from]);
            g->most[to] = fmaxf(g->most[to], g->most[from]);
        }
}

/* Least and greatest of each element over the known rows, through the training's own forward pass. */
void bl_hgq_trace(bl_hgq *h)
{
    bool wraps = h->o.overflow == BL_WRAP;
    h->traced = false;
    h->visited = 0;
    for (int n = -1; n < h->n_layers; n++) {
        bl_hgq_grid *grid = n < 0 ? &h->in : &h->layer[n].grid;
        for (int64_t i = 0; i < grid->n; i++) grid->least[i] = grid->most[i] = 0; /* pools have no grid: n 0, no memory */
    }
    for (int64_t r = 0; r < h->rows + h->held; r += h->batch_most) {
        int64_t rows = BL_MIN(h->batch_most, h->rows + h->held - r);
        bl_hgq_forward(h, h->x + r * h->per, rows);
        h->loops->range(rows, h->in.n, h->batch_q, h->in.least, h->in.most);
        for (int n = 0; n < h->n_layers; n++) {
            bl_hgq_grid *g = &h->layer[n].grid;
            if (g->n) h->loops->range(rows, g->n, h->layer[n].a, g->least, g->most);
        }
    }
    for (int n = -1; n < h->n_layers; n++) {
        bl_hgq_grid *g = n < 0 ? &h->in : &h->layer[n].grid;
        merge_positions(g, n < 0 ? h->in_c : h->layer[n].out_c);
        for (int64_t e = 0; e < g->n; e++)
            g->final[e] = traced(grid_of(g, e, wraps && n >= 0), (double)g->least[e], (double)g->most[e], wraps && n >= 0);
    }
}

void bl_hgq_apply_trace(bl_hgq *h)
{
    bool narrow = h->o.overflow == BL_SAT_SYM;
    h->traced = true;
    for (int n = -1; n < h->n_layers; n++) {
        bl_hgq_grid *g = n < 0 ? &h->in : &h->layer[n].grid;
        for (int64_t e = 0; e < g->n && (n < 0 || h->o.overflow != BL_WRAP); e++) {
            bl_fixed_grid to = g->final[e];
            bool there_is = to.k + to.i + to.f > 0;
            g->hi[e] = there_is ? exp2f(to.i) - g->step[e] : 0;
            g->lo[e] = there_is && to.k ? (narrow ? -g->hi[e] : -exp2f(to.i)) : 0;
        }
    }
}

static void grids_put(const bl_hgq_grid *g, bl_fixed_grid *to, int32_t c)
{
    for (int64_t e = 0; e < g->n; e++) to[there(c, g->n / c, e)] = g->final[e];
}

/* A pooled element holds every value of its window. */
static void pool_grids(const bl_hgq_layer *l, const bl_fixed_grid *in, bl_fixed_grid *out)
{
    int64_t in_places = (int64_t)l->in_h * l->in_w;
    int more = l->kind == BL_FIXED_AVERAGE_POOL ? (int)lrint(log2((double)l->taps)) : 0;
    for (int64_t e = 0; e < l->n_out; e++) {
        bl_fixed_grid g = { 0, 0, 0 };
        bool any = false;
        for (int64_t t = 0; t < l->taps; t++) {
            int32_t at = l->gather[e / l->out_c * l->taps + t];
            bl_fixed_grid u = at < 0 ? g : in[e % l->out_c * in_places + at];
            if (at < 0 || u.k + u.i + u.f <= 0) continue;
            g = any ? (bl_fixed_grid){ BL_MAX(g.k, u.k), BL_MAX(g.i, u.i), BL_MAX(g.f, u.f) } : u;
            any = true;
        }
        if (any) g.f = (int8_t)(g.f + more);
        out[there(l->out_c, l->places, e)] = g;
    }
}

static void layer_put(const bl_hgq *h, const bl_hgq_layer *l, bl_fixed_layer *to, const bl_fixed_grid *in)
{
    to->relu = l->relu;
    to->round = l->q ? h->o.round : BL_TRN;
    to->overflow = l->q ? h->o.overflow : BL_SAT;
    if (!l->q) {
        pool_grids(l, in, to->out);
        return;
    }
    weights_put(h, l, to);
    if (l->grid.n) grids_put(&l->grid, to->out, l->out_c);
}

bl_status bl_hgq_fixed(bl_hgq *h, bl_fixed_net **out)
{
    bl_ctx *ctx = h->ctx;
    bl_status s = BL_OK;
    *out = NULL;
    bl_hgq_grids(h);
    bl_hgq_trace(h);
    BL_TRY(bl_fixed_new(ctx, "hgq", h->n_layers, (int32_t[]){ h->in_c, h->in_h, h->in_w }, out));
    bl_fixed_net *net = *out;
    net->in_round = BL_RND;
    net->in_overflow = h->o.overflow == BL_WRAP ? BL_SAT : h->o.overflow;
    grids_put(&h->in, net->in, h->in_c);
    for (int n = 0; n < h->n_layers && s == BL_OK; n++) {
        const bl_hgq_layer *l = &h->layer[n];
        bl_fixed_layer *to = &net->layers[n];
        *to = (bl_fixed_layer){ .kind = l->kind, .out_c = l->out_c, .out_h = l->out_h, .out_w = l->out_w, .kernel_h = l->kernel_h,
                                .kernel_w = l->kernel_w, .stride_h = l->stride_h, .stride_w = l->stride_w,
                                .pad_top = l->pad_top, .pad_left = l->pad_left, .groups = 1,
                                .parallel = l->kind == BL_FIXED_CONV ? (int32_t)BL_MIN(h->o.parallel, l->places) : 0 };
        s = bl_fixed_shape(ctx, net, n);
        if (s == BL_OK) to->name = bl_strdup(net->arena, l->name);
        if (s == BL_OK && !to->name) s = bl_pending(ctx);
        if (s == BL_OK) layer_put(h, l, to, bl_fixed_reads(net, n));
    }
    if (s == BL_OK) s = bl_fixed_prune(ctx, net);
    if (s == BL_OK) return BL_OK;
    bl_fixed_free(net);
    *out = NULL;
    return s;
}
