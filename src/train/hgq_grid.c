/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * HGQ's widths: grids from what is learned, and gradients back to it (section 2.1 of the paper's own code).
 *
 * A quantizer gives x^q = rounded(clip(x) 2^f) 2^-f.  Its width's surrogate gradient is d x^q / d f = ln2 (clip(x) -
 * x^q), as the rounding error scales with 2^-f; where x is clipped at 2^i - 2^-f it is ln2 2^-f by f and ln2 2^i by i,
 * and none by x.  The price of an element's bit is the sum of the widths that it is multiplied with.
 */
#include "train/hgq_private.h"

#include <math.h>
#include <string.h>

static const float ln2 = 0.69314718f;

static float bounded(float v, float most)
{
    v = bl_rne_f32(v < -23 ? -23 : v);
    return v > most ? most : v;
}

/* Where a grid lies: at a power of two, but for the baseline whose steps are any numbers (LSQ). */
static float place_of(const bl_hgq *h, float i)
{
    return h->o.uniform_real ? fminf(fmaxf(i, -23), 23) : bounded(i, 23);
}

/* ------------------------------------------------------------------ activations */

void bl_hgq_grid_set(bl_hgq *h, bl_hgq_grid *g)
{
    bool wraps = h->o.overflow == BL_WRAP && g != &h->in, narrow = h->o.overflow == BL_SAT_SYM;
    for (int64_t e = 0; e < g->n; e++) {
        float i = g->tied ? place_of(h, h->params[g->i.at + g->group[e]]) : bounded(h->params[g->i.at + g->group[e]], 23), f = bounded(h->params[g->f.at + g->group[e]], g->f_most);
        float k = g->sign[e];
        if (g->tied) f = (float)g->tied - k - i;
        if (!g->tied && i < -f) i = -f;
        float width = k + i + f;
        g->scale[e] = exp2f(f);
        g->step[e] = exp2f(-f);
        g->hi[e] = wraps ? INFINITY : exp2f(i) - g->step[e];
        g->lo[e] = g->relu ? 0 : wraps ? -INFINITY : k > 0 ? -exp2f(i) + (narrow ? g->step[e] : 0) : 0;
        g->bits[e] = width;
        if (width > 0) continue;
        g->bits[e] = 0;
        if (!wraps) g->lo[e] = g->hi[e] = 0; /* else i has yet to follow what comes */
    }
}

void bl_hgq_grid_back(bl_hgq *h, bl_hgq_grid *g)
{
    float *by_f = h->grads + g->f.at, *by_i = h->grads + g->i.at;
    float gamma = (float)h->o.gamma, beta = (float)h->beta;
    bool narrow = h->o.overflow == BL_SAT_SYM;
    for (int64_t n = 0; n < g->f.n; n++) {
        by_f[n] = g->learned && !g->tied ? gamma : 0;
        by_i[n] = g->learned && g->i_learned && !g->tied ? gamma : 0;
    }
    if (!g->learned) return;
    for (int64_t e = 0; e < g->n; e++) {
        int32_t at = g->group[e];
        float lower = g->sign[e] ? g->gl[e] : 0;
        float f = ln2 * (g->gf[e] + (g->gu[e] - (narrow ? lower : 0)) * g->step[e]);
        float i = ln2 * (g->hi[e] + g->step[e]) * (g->gu[e] - lower);
        float price = g->bits[e] > 0 ? beta * g->price[e] * g->norm[at] : 0;
        if (g->tied) {
            by_i[at] += i - f;
            continue;
        }
        by_f[at] += f + price;
        if (g->i_learned) by_i[at] += i + price;
    }
}

/* ------------------------------------------------------------------ weights */

static bool own_widths(const bl_hgq *h, const bl_hgq_layer *l)
{
    return l->wf.n == l->w.n && h->o.weights == BL_HGQ_SPAN && !h->o.uniform_bits;
}

static bool clips(const bl_hgq *h)
{
    return h->o.weights == BL_HGQ_KBI || h->o.uniform_bits;
}

/* f and limits by weight, where they are not the parameters themselves. */
static void spread_widths(bl_hgq *h, bl_hgq_layer *l)
{
    const float *wf = h->params + l->wf.at, *wi = h->params + l->wi.at;
    for (int64_t j = 0; j < l->w.n; j++) {
        int32_t at = l->w_group[j];
        float b = bounded(wf[at], 23), i = place_of(h, wi[at]);
        l->f_of[j] = clips(h) ? b - i : b;
        if (clips(h)) l->limit[j] = b > 0 ? exp2f(i) - exp2f(i - b) : 0;
    }
}

/* Biases lie two bits below their sum's grid: an eighth of a step at most, whatever that is. */
static void biases_set(bl_hgq *h, bl_hgq_layer *l)
{
    for (int64_t c = 0; c < l->out_c; c++) {
        float f = l->last ? 8 : -23;
        for (int64_t e = c; !l->last && e < l->n_out; e += l->out_c) f = fmaxf(f, log2f(l->grid.scale[e]) + 2);
        f = fminf(f, 20);
        float t = h->params[l->b.at + c] * exp2f(f), down = floorf(t), v = (t - down >= 0.5f ? down + 1 : down) * exp2f(-f);
        for (int64_t e = c; e < l->n_out; e += l->out_c) l->bias[e] = v;
    }
}

/* Steps that are no powers of two, one a layer. */
static void real_weights(bl_hgq *h, bl_hgq_layer *l)
{
    const float *w = h->params + l->w.at;
    float step = exp2f(-l->f_of[0]), limit = l->limit[0];
    for (int64_t j = 0; j < l->w.n; j++) {
        float c = fminf(fmaxf(w[j], -limit), limit);
        l->q[j] = floorf(c / step + 0.5f) * step;
        l->d[j] = c - l->q[j];
    }
}

void bl_hgq_weights_set(bl_hgq *h, bl_hgq_layer *l)
{
    const float *w = h->params + l->w.at, *f = h->params + l->wf.at;
    if (!own_widths(h, l)) {
        spread_widths(h, l);
        f = l->f_of;
    }
    if (h->o.uniform_real) real_weights(h, l);
    else h->loops->weights(l->w.n, w, f, l->limit, l->q, l->d, l->bits);
    if (clips(h))
        for (int64_t j = 0; j < l->w.n; j++) l->bits[j] = fmaxf(bounded(h->params[l->wf.at + l->w_group[j]], 23), 0);
    biases_set(h, l);
}

/* Gradients of widths that are shared, or that clip. */
static void shared_back(bl_hgq *h, bl_hgq_layer *l)
{
    float *gw = h->grads + l->w.at, *by_f = h->grads + l->wf.at, *by_i = h->grads + l->wi.at;
    const float *w = h->params + l->w.at;
    bool kbi = clips(h), uniform = h->o.uniform_bits != 0;
    for (int64_t g = 0; g < l->wf.n; g++) {
        by_f[g] = uniform ? 0 : (float)h->o.gamma;
        by_i[g] = uniform || !kbi ? 0 : (float)h->o.gamma;
    }
    for (int64_t j = 0; j < l->w.n; j++) {
        int32_t at = l->w_group[j];
        float f = ln2 * gw[j] * l->d[j], i = 0, price = 0;
        if (l->bits[j] > 0) price = (float)h->beta * l->tap_bits[j / l->out_c] * l->w_norm[at];
        if (w[j] > l->limit[j] || w[j] < -l->limit[j]) {
            float s = w[j] > 0 ? ln2 * gw[j] : -ln2 * gw[j], step = exp2f(-l->f_of[j]);
            f = s * step;
            i = s * (l->limit[j] + step);
            gw[j] = 0;
        }
        if (!uniform) by_f[at] += f + price;
        if (kbi) by_i[at] += i - f;
    }
}

void bl_hgq_weights_back(bl_hgq *h, bl_hgq_layer *l)
{
    if (!own_widths(h, l)) {
        shared_back(h, l);
        return;
    }
    h->loops->width_back(l->taps, l->out_c, h->grads + l->w.at, l->d, l->bits, l->tap_bits, (float)h->beta * l->w_norm[0],
                         (float)h->o.gamma, h->grads + l->wf.at);
}

/* ------------------------------------------------------------------ price */

/* How much of a convolution is there at once. */
static double share_of(const bl_hgq *h, const bl_hgq_layer *l)
{
    return l->kind == BL_FIXED_CONV && h->o.parallel && h->o.parallel < l->places ? (double)h->o.parallel / (double)l->places : 1;
}

/* A pooled element is as wide as those of its window on average; a mean has more bits behind the point. */
static void pool_bits(bl_hgq_layer *l, bool back)
{
    for (int64_t e = 0; e < l->n_out; e++) {
        const int32_t *at = l->gather + e / l->out_c * l->taps;
        float sum = 0, n = 0;
        for (int64_t t = 0; t < l->taps; t++) n += at[t] >= 0;
        for (int64_t t = 0; t < l->taps; t++) {
            if (at[t] < 0) continue;
            if (back) l->in_price[at[t] * (int64_t)l->in_c + e % l->out_c] += l->out_price[e] / n;
            else sum += l->in_bits[at[t] * (int64_t)l->in_c + e % l->out_c];
        }
        if (!back) l->out_bits[e] = sum / n + (l->kind == BL_FIXED_AVERAGE_POOL && sum > 0 ? log2f((float)l->taps) : 0);
    }
}

static double layer_price(bl_hgq *h, bl_hgq_layer *l)
{
    float share = (float)share_of(h, l);
    double sum = 0;
    if (l->kind == BL_FIXED_CONV) {
        memset(l->tap_bits, 0, (size_t)l->taps * sizeof(float));
        for (int64_t p = 0; p < l->places; p++)
            for (int64_t t = 0; t < l->taps; t++)
                if (l->gather[p * l->taps + t] >= 0) l->tap_bits[t] += share * l->in_bits[l->gather[p * l->taps + t]];
    } else {
        memcpy(l->tap_bits, l->in_bits, (size_t)l->taps * sizeof(float));
    }
    h->loops->row_sums(l->taps, l->out_c, l->bits, l->tap_price);
    for (int64_t t = 0; t < l->taps; t++) sum += (double)l->tap_bits[t] * l->tap_price[t];
    if (l->kind == BL_FIXED_DENSE) {
        memcpy(l->in_price, l->tap_price, (size_t)l->taps * sizeof(float));
        return sum;
    }
    memset(l->in_price, 0, (size_t)l->n_in * sizeof(float));
    for (int64_t p = 0; p < l->places; p++)
        for (int64_t t = 0; t < l->taps; t++)
            if (l->gather[p * l->taps + t] >= 0) l->in_price[l->gather[p * l->taps + t]] += share * l->tap_price[t];
    return sum;
}

void bl_hgq_price(bl_hgq *h)
{
    h->estimate = 0;
    for (int n = 0; n < h->n_layers; n++)
        if (!h->layer[n].q) pool_bits(&h->layer[n], false);
    for (int n = h->n_layers - 1; n >= 0; n--) {
        bl_hgq_layer *l = &h->layer[n];
        if (l->q) {
            h->estimate += layer_price(h, l);
            continue;
        }
        memset(l->in_price, 0, (size_t)l->n_in * sizeof(float));
        pool_bits(l, true);
    }
}

void bl_hgq_grids(bl_hgq *h)
{
    bl_hgq_grid_set(h, &h->in);
    for (int n = 0; n < h->n_layers; n++) {
        bl_hgq_layer *l = &h->layer[n];
        if (l->grid.n) bl_hgq_grid_set(h, &l->grid);
        if (l->q) bl_hgq_weights_set(h, l);
    }
}
