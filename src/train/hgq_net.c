/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory of a HGQ training, everything before its first step, and the parameters that it starts from. */
#include "train/hgq_private.h"

#include <math.h>
#include <string.h>

static bool multiplies(const bl_hgq_layer *l)
{
    return l->kind == BL_FIXED_DENSE || l->kind == BL_FIXED_CONV;
}

static bl_hgq_span take(bl_hgq *h, int64_t n)
{
    bl_hgq_span s = { h->n_params, n };
    h->n_params += n;
    return s;
}

/* ------------------------------------------------------------------ what shares a width */

static int32_t *groups(bl_hgq *h, int64_t n, int64_t channels, bl_hgq_share share, int64_t *n_groups)
{
    int32_t *group = BL_NEW(h->arena, int32_t, (size_t)n);
    *n_groups = share == BL_HGQ_ELEMENT ? n : share == BL_HGQ_CHANNEL ? channels : 1;
    for (int64_t e = 0; group && e < n; e++)
        group[e] = (int32_t)(share == BL_HGQ_ELEMENT ? e : share == BL_HGQ_CHANNEL ? e % channels : 0);
    return group;
}

/* Positions of a convolution that are there at once. */
static double at_once(const bl_hgq *h, const bl_hgq_layer *l)
{
    if (l->kind != BL_FIXED_CONV) return 1;
    return (double)(h->o.parallel && h->o.parallel < l->places ? h->o.parallel : l->places);
}

/* What an activation of layer n is there for, of all its positions; a pool behind it makes one of several. */
static double share_at_once(const bl_hgq *h, int n)
{
    const bl_hgq_layer *l = &h->layer[n], *next = n + 1 < h->n_layers ? l + 1 : NULL;
    bool pooled = next && (next->kind == BL_FIXED_MAX_POOL || next->kind == BL_FIXED_AVERAGE_POOL);
    double share = l->kind == BL_FIXED_CONV ? at_once(h, l) / (double)l->places : 1;
    return pooled ? share / ((double)next->kernel_h * next->kernel_w) : share;
}

/* times: how often a value stands in hardware, in the paper's own count of what shares a width. */
static float *norms(bl_hgq *h, int64_t n, int64_t n_groups, double times)
{
    float *norm = BL_NEW(h->arena, float, (size_t)n_groups);
    for (int64_t g = 0; norm && g < n_groups; g++) norm[g] = h->o.group_norm ? (float)sqrt((double)n_groups / ((double)n * times)) : 1;
    return norm;
}

static bl_status grid_build(bl_hgq *h, bl_hgq_grid *g, int64_t n, int64_t channels, bool relu, double times)
{
    int64_t n_groups;
    size_t size = (size_t)n;
    g->n = n;
    g->relu = relu;
    g->learned = true;
    g->i_learned = h->o.overflow != BL_WRAP;
    g->f_most = 23;
    BL_ALLOC_TRY(h->ctx, g->group = groups(h, n, channels, h->o.uniform_bits ? BL_HGQ_TENSOR : h->o.act_share, &n_groups));
    BL_ALLOC_TRY(h->ctx, g->norm = norms(h, n, n_groups, times));
    BL_ALLOC_TRY(h->ctx, g->sign = BL_NEW(h->arena, uint8_t, size));
    BL_ALLOC_TRY(h->ctx, g->final = BL_NEW(h->arena, bl_fixed_grid, size));
    memset(g->sign, !relu, size);
    g->f = take(h, n_groups);
    g->i = take(h, n_groups);
    float **arrays[] = { &g->scale, &g->step, &g->lo, &g->hi, &g->bits, &g->price, &g->gb, &g->gf, &g->gu, &g->gl, &g->least, &g->most };
    for (size_t a = 0; a < BL_COUNTOF(arrays); a++) BL_ALLOC_TRY(h->ctx, *arrays[a] = BL_NEW(h->arena, float, size));
    g->c = (bl_hgq_columns){ .n = n, .scale = g->scale, .step = g->step, .lo = g->lo, .hi = g->hi };
    return BL_OK;
}

/* ------------------------------------------------------------------ layers */

/* Which element of the input each place and tap meets: whole elements for a convolution, positions for a pool. */
static bl_status gather_build(bl_hgq *h, bl_hgq_layer *l)
{
    int64_t depth = l->kind == BL_FIXED_CONV ? l->in_c : 1, n;
    if (!bl_mul_i64(l->places, l->taps, &n) || n > 16 * (int64_t)BL_FIXED_ELEMENTS_MAX)
        return bl_fail(h->ctx, BL_UNAVAILABLE, l->name, "use smaller windows", "too many products");
    int32_t *at = BL_NEW(h->arena, int32_t, (size_t)n);
    BL_ALLOC_TRY(h->ctx, at);
    l->gather = at;
    for (int32_t row = 0; row < l->out_h; row++)
        for (int32_t col = 0; col < l->out_w; col++)
            for (int32_t i = 0; i < l->kernel_h; i++)
                for (int32_t j = 0; j < l->kernel_w; j++)
                    for (int32_t d = 0; d < depth; d++) {
                        int32_t r = row * l->stride_h - l->pad_top + i, q = col * l->stride_w - l->pad_left + j;
                        bool inside = r >= 0 && r < l->in_h && q >= 0 && q < l->in_w;
                        *at++ = inside ? (int32_t)((r * l->in_w + q) * depth + d) : -1;
                    }
    return BL_OK;
}

static bl_status weights_build(bl_hgq *h, bl_hgq_layer *l)
{
    size_t n = (size_t)(l->taps * l->out_c);
    float **arrays[] = { &l->q, &l->d, &l->bits, &l->f_of, &l->limit, &l->gf };
    for (size_t a = 0; a < BL_COUNTOF(arrays); a++) BL_ALLOC_TRY(h->ctx, *arrays[a] = BL_NEW(h->arena, float, n));
    for (size_t j = 0; j < n; j++) l->limit[j] = INFINITY;
    BL_ALLOC_TRY(h->ctx, l->bias = BL_NEW(h->arena, float, (size_t)l->n_out));
    BL_ALLOC_TRY(h->ctx, l->tap_bits = BL_NEW(h->arena, float, (size_t)l->taps));
    BL_ALLOC_TRY(h->ctx, l->tap_price = BL_NEW(h->arena, float, (size_t)l->taps));
    return BL_OK;
}

static bl_status layer_build(bl_hgq *h, int n)
{
    bl_hgq_layer *l = &h->layer[n], *before = n ? l - 1 : NULL;
    l->last = n == h->n_layers - 1;
    l->in_c = before ? before->out_c : h->in_c;
    l->in_h = before ? before->out_h : h->in_h;
    l->in_w = before ? before->out_w : h->in_w;
    l->n_in = (int64_t)l->in_c * l->in_h * l->in_w;
    l->places = (int64_t)l->out_h * l->out_w;
    l->n_out = l->places * l->out_c;
    l->taps = l->kind == BL_FIXED_DENSE ? l->n_in : (int64_t)l->kernel_h * l->kernel_w * (multiplies(l) ? l->in_c : 1);
    if (l->n_out > BL_FIXED_ELEMENTS_MAX || l->n_in > BL_FIXED_ELEMENTS_MAX || l->taps > BL_FIXED_ELEMENTS_MAX ||
        (multiplies(l) && l->taps * l->out_c > 4 * (int64_t)BL_FIXED_ELEMENTS_MAX))
        return bl_fail(h->ctx, BL_UNAVAILABLE, l->name, "train a smaller network", "is too large");
    if (multiplies(l)) BL_TRY(weights_build(h, l));
    if (l->kind != BL_FIXED_DENSE) BL_TRY(gather_build(h, l));
    return BL_OK;
}

static bl_status spans(bl_hgq *h)
{
    int64_t n_groups;
    for (int n = 0; n < h->n_layers; n++)
        if (multiplies(&h->layer[n])) h->layer[n].w = take(h, h->layer[n].taps * h->layer[n].out_c);
    h->n_weights = h->n_params;
    for (int n = 0; n < h->n_layers; n++)
        if (multiplies(&h->layer[n])) h->layer[n].b = take(h, h->layer[n].out_c);
    h->n_values = h->n_params;
    for (int n = 0; n < h->n_layers; n++) {
        bl_hgq_layer *l = &h->layer[n];
        if (!multiplies(l)) continue;
        bl_hgq_share share = h->o.uniform_bits ? BL_HGQ_TENSOR : h->o.weight_share;
        BL_ALLOC_TRY(h->ctx, l->w_group = groups(h, l->w.n, l->out_c, share, &n_groups));
        BL_ALLOC_TRY(h->ctx, l->w_norm = norms(h, l->w.n, n_groups, at_once(h, l)));
        l->wf = take(h, n_groups);
        l->wi = take(h, n_groups);
    }
    return BL_OK;
}

/* Grids, and the widths that layers read and leave. */
static bl_status flow_build(bl_hgq *h)
{
    BL_TRY(grid_build(h, &h->in, h->per, h->in_c, false, 1));
    float *bits = h->in.bits, *price = h->in.price;
    for (int n = 0; n < h->n_layers; n++) {
        bl_hgq_layer *l = &h->layer[n];
        l->in_bits = bits;
        l->in_price = price;
        if (l->last) break;
        if (multiplies(l)) {
            BL_TRY(grid_build(h, &l->grid, l->n_out, l->out_c, l->relu, share_at_once(h, n)));
            l->out_bits = l->grid.bits;
            l->out_price = l->grid.price;
        } else {
            BL_ALLOC_TRY(h->ctx, l->out_bits = BL_NEW(h->arena, float, (size_t)l->n_out));
            BL_ALLOC_TRY(h->ctx, l->out_price = BL_NEW(h->arena, float, (size_t)l->n_out));
        }
        bits = l->out_bits;
        price = l->out_price;
    }
    return BL_OK;
}

static bl_status buffers_build(bl_hgq *h)
{
    int64_t widest = h->per, rows = h->batch_most;
    for (int n = 0; n < h->n_layers; n++) {
        bl_hgq_layer *l = &h->layer[n];
        size_t out = (size_t)l->n_out, col = l->kind == BL_FIXED_CONV ? (size_t)(l->places * l->taps) : 0;
        widest = BL_MAX(widest, BL_MAX(l->n_out, (int64_t)col));
        BL_ALLOC_TRY(h->ctx, l->y = bl_alloc(h->arena, (size_t)rows, out * sizeof(float)));
        BL_ALLOC_TRY(h->ctx, l->a = bl_alloc(h->arena, (size_t)rows, out * sizeof(float)));
        if (col) BL_ALLOC_TRY(h->ctx, l->col = bl_alloc(h->arena, (size_t)rows, col * sizeof(float)));
        if (l->kind == BL_FIXED_MAX_POOL) BL_ALLOC_TRY(h->ctx, l->winner = bl_alloc(h->arena, (size_t)rows, out * sizeof(int32_t)));
    }
    BL_ALLOC_TRY(h->ctx, h->gx = bl_alloc(h->arena, (size_t)rows, (size_t)widest * sizeof(float)));
    BL_ALLOC_TRY(h->ctx, h->gy = bl_alloc(h->arena, (size_t)rows, (size_t)widest * sizeof(float)));
    BL_ALLOC_TRY(h->ctx, h->zeros = BL_NEW(h->arena, float, (size_t)widest));
    BL_ALLOC_TRY(h->ctx, h->sums = BL_NEW(h->arena, float, (size_t)widest + 16));
    BL_ALLOC_TRY(h->ctx, h->batch = bl_alloc(h->arena, (size_t)rows, (size_t)h->per * sizeof(float)));
    BL_ALLOC_TRY(h->ctx, h->batch_q = bl_alloc(h->arena, (size_t)rows, (size_t)h->per * sizeof(float)));
    float **arrays[] = { &h->params, &h->grads, &h->m, &h->v };
    for (size_t a = 0; a < BL_COUNTOF(arrays); a++) BL_ALLOC_TRY(h->ctx, *arrays[a] = BL_NEW(h->arena, float, (size_t)h->n_params));
    return BL_OK;
}

/* ------------------------------------------------------------------ values at first */

/* He et al., arXiv 1502.01852. */
static void draw(bl_hgq *h, const bl_hgq_layer *l, int n)
{
    bl_rng r = bl_rng_make(h->ctx->options.seed, "hgq weights", (uint64_t)n);
    double deviation = sqrt(2.0 / (double)l->taps);
    for (int64_t j = 0; j < l->w.n; j++) h->params[l->w.at + j] = (float)(deviation * bl_rng_normal(&r));
}

/* Number in the file of the weight of a tap and an output. */
static int64_t stored_at(const bl_hgq_layer *l, const bl_hgq_source *s, int64_t tap, int64_t out)
{
    int64_t c = tap % l->in_c, place = tap / l->in_c;
    if (l->kind == BL_FIXED_CONV) return (out * l->in_c + c) * l->kernel_h * l->kernel_w + place;
    int64_t in = c * ((int64_t)l->in_h * l->in_w) + place;
    return s->by_output ? out * l->taps + in : in * l->out_c + out;
}

static void load(bl_hgq *h, const bl_hgq_layer *l, const bl_hgq_source *s)
{
    for (int64_t tap = 0; tap < l->taps; tap++)
        for (int64_t c = 0; c < l->out_c; c++) h->params[l->w.at + tap * l->out_c + c] = s->w[stored_at(l, s, tap, c)];
    for (int64_t c = 0; s->b && c < l->out_c; c++) h->params[l->b.at + c] = s->b[c];
}

bl_status bl_hgq_build(bl_hgq *h, const bl_hgq_source *source)
{
    int64_t n_in = (int64_t)h->in_c * h->in_h * h->in_w;
    h->per = n_in;
    for (int n = 0; n < h->n_layers; n++) BL_TRY(layer_build(h, n));
    BL_TRY(spans(h));
    BL_TRY(flow_build(h));
    BL_TRY(buffers_build(h));
    for (int n = 0; n < h->n_layers; n++) {
        const bl_hgq_layer *l = &h->layer[n];
        if (!multiplies(l)) continue;
        if (source[n].w && !h->o.random) load(h, l, &source[n]);
        else draw(h, l, n);
    }
    h->facts.parameters = h->n_values;
    return BL_OK;
}
