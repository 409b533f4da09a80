/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The forward pass with sums in binary64.  Weights and activations lie on grids, so sums of up to 53 bits are what they
 * are, in any order; binary32 holds 24 (BL_HGQ_PLAIN_BITS).  For judging points that need more; steps of the training
 * do without.
 */
#include "train/hgq_private.h"

#include <math.h>
#include <string.h>

bl_status bl_hgq_exact_open(bl_hgq *h)
{
    int64_t weights = 0, sums = 0;
    if (h->outputs) return BL_OK;
    for (int n = 0; n < h->n_layers; n++) {
        if (!h->layer[n].q) continue;
        weights = BL_MAX(weights, h->layer[n].w.n);
        sums = BL_MAX(sums, h->layer[n].n_out);
    }
    BL_ALLOC_TRY(h->ctx, h->wide_w = bl_alloc(h->arena, (size_t)weights, sizeof(double)));
    BL_ALLOC_TRY(h->ctx, h->wide_y = bl_alloc(h->arena, (size_t)sums, sizeof(double)));
    BL_ALLOC_TRY(h->ctx, h->outputs = bl_alloc(h->arena, (size_t)h->batch_most, (size_t)h->classes * sizeof(double)));
    return BL_OK;
}

double bl_hgq_rounded(double code, bl_fixed_round round)
{
    double down = floor(code), rest = code - down;
    switch (round) {
    case BL_TRN: return down;
    case BL_RND_CONV: return rint(code);
    case BL_TRN_ZERO: return trunc(code);
    case BL_RND_ZERO: return rest > 0.5 || (rest == 0.5 && code < 0) ? down + 1 : down;
    case BL_RND_INF: return rest > 0.5 || (rest == 0.5 && code >= 0) ? down + 1 : down;
    case BL_RND_MIN_INF: return rest > 0.5 ? down + 1 : down;
    default: return rest >= 0.5 ? down + 1 : down;
    }
}

/* As the integers do where more bits are needed than there are. */
double bl_hgq_wrapped(double v, double top, bool sign)
{
    double low = sign ? -top : 0, period = sign ? 2 * top : top;
    return v - period * floor((v - low) / period);
}

static void quantize(const bl_hgq *h, const bl_hgq_layer *l, double *y, float *a)
{
    const bl_hgq_grid *g = &l->grid;
    bool wraps = h->traced && h->o.overflow == BL_WRAP;
    if (h->o.round == BL_RND && !wraps) {
        h->loops->act_wide(&g->c, l->bias, y, a);
        return;
    }
    for (int64_t e = 0; e < g->n; e++) {
        double v = fmin(fmax(y[e] + (double)l->bias[e], (double)g->lo[e]), (double)g->hi[e]);
        v = bl_hgq_rounded(v * (double)g->scale[e], h->o.round) * (double)g->step[e];
        bl_fixed_grid to = g->final[e];
        if (wraps) v = to.k + to.i + to.f > 0 ? bl_hgq_wrapped(v, ldexp(1, to.i), to.k) : 0;
        a[e] = (float)v;
    }
}

/* x: as bl_product_f32 takes it, [rows * places][taps].  Leaves a; the last layer's sums in h->outputs too. */
void bl_hgq_exact_product(bl_hgq *h, bl_hgq_layer *l, const float *x, int64_t rows)
{
    int64_t places = l->kind == BL_FIXED_CONV ? l->places : 1;
    for (int64_t j = 0; j < l->w.n; j++) h->wide_w[j] = (double)l->q[j];
    for (int64_t r = 0; r < rows; r++, x += places * l->taps) {
        float *a = l->a + r * l->n_out;
        h->loops->product(places, l->out_c, l->taps, x, h->wide_w, h->wide_y);
        if (l->grid.n) {
            quantize(h, l, h->wide_y, a);
            continue;
        }
        for (int64_t e = 0; e < l->n_out; e++) {
            double v = h->wide_y[e] + (double)l->bias[e];
            if (l->relu) v = fmax(v, 0);
            h->outputs[r * l->n_out + e] = v;
            a[e] = (float)v;
        }
    }
}
