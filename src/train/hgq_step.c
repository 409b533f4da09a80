/* SPDX-License-Identifier: BSD-3-Clause */
/* One step of a HGQ training: forward, back, AdamW.  Nothing is allocated here. */
#include "train/hgq_private.h"

#include <math.h>
#include <string.h>

/* ------------------------------------------------------------------ forward */

/* The channels of a position lie together, there and here. */
static void gather_rows(const bl_hgq *h, const bl_hgq_layer *l, const float *x, int64_t rows)
{
    int64_t n = l->places * l->taps, c = l->in_c;
    for (int64_t r = 0; r < rows; r++, x += l->n_in) {
        float *to = l->col + r * n;
        if (c < 4) {
            h->loops->gather(n, l->gather, x, to);
            continue;
        }
        for (int64_t t = 0; t < n; t += c) {
            if (l->gather[t] >= 0) memcpy(to + t, x + l->gather[t], (size_t)c * sizeof(float));
            else memset(to + t, 0, (size_t)c * sizeof(float));
        }
    }
}

static void pool_forward(const bl_hgq *h, bl_hgq_layer *l, const float *x, int64_t rows)
{
    float share = 1.0f / (float)l->taps;
    for (int64_t r = 0; r < rows; r++, x += l->n_in)
        for (int64_t p = 0; p < l->places; p++) {
            int64_t to = r * l->n_out + p * l->out_c;
            if (l->winner) h->loops->pool_max(l->taps, l->out_c, l->gather + p * l->taps, x, l->a + to, l->winner + to);
            else h->loops->pool_mean(l->taps, l->out_c, l->gather + p * l->taps, x, share, l->a + to);
        }
}

/* Up with the probability of how high it lies between two codes, which both are within the limits. */
static void round_at_random(bl_hgq *h, const bl_hgq_grid *g, const float *y, float *a, int64_t rows)
{
    for (int64_t r = 0; r < rows; r++, y += g->n, a += g->n)
        for (int64_t e = 0; e < g->n; e++) {
            float v = fminf(fmaxf(y[e], g->lo[e]), g->hi[e]) * g->scale[e], down = floorf(v);
            a[e] = (down + (bl_rng_unit(&h->dice) < (double)(v - down) ? 1.0f : 0.0f)) * g->step[e];
        }
}

static void quantize(bl_hgq *h, const bl_hgq_grid *g, const float *bias, float *y, float *a, int64_t rows)
{
    bool wraps = h->traced && h->o.overflow == BL_WRAP && g != &h->in;
    h->loops->act(rows, &g->c, bias, y, a);
    if (h->at_random && g != &h->in) {
        round_at_random(h, g, y, a, rows);
        return;
    }
    if ((h->o.round == BL_RND || g == &h->in) && !wraps) return;
    for (int64_t r = 0; r < rows; r++, y += g->n, a += g->n)
        for (int64_t e = 0; e < g->n; e++) {
            float v = fminf(fmaxf(y[e], g->lo[e]), g->hi[e]);
            a[e] = (float)bl_hgq_rounded((double)(v * g->scale[e]), g == &h->in ? BL_RND : h->o.round) * g->step[e];
            bl_fixed_grid to = g->final[e];
            if (wraps) a[e] = to.k + to.i + to.f > 0 ? (float)bl_hgq_wrapped((double)a[e], ldexp(1, to.i), to.k) : 0;
        }
}

static void product_forward(bl_hgq *h, bl_hgq_layer *l, const float *x, int64_t rows)
{
    const float *w = h->quantized ? l->q : h->params + l->w.at;
    if (l->kind == BL_FIXED_CONV) {
        gather_rows(h, l, x, rows);
        x = l->col;
    }
    if (h->exact) {
        bl_hgq_exact_product(h, l, x, rows);
        return;
    }
    bl_product_f32(false, false, l->kind == BL_FIXED_CONV ? rows * l->places : rows, l->out_c, l->taps, x, w, l->y);
    if (h->quantized && l->grid.n) quantize(h, &l->grid, l->bias, l->y, l->a, rows);
    else h->loops->plain(rows, l->n_out, l->bias, l->relu ? 0 : -INFINITY, l->y, l->a);
}

const float *bl_hgq_forward(bl_hgq *h, const float *x, int64_t rows)
{
    if (h->quantized) {
        quantize(h, &h->in, h->zeros, (float *)memmove(h->batch, x, (size_t)(rows * h->per) * sizeof(float)), h->batch_q, rows);
        x = h->batch_q;
    }
    for (int n = 0; n < h->n_layers; n++) {
        bl_hgq_layer *l = &h->layer[n];
        if (l->q) product_forward(h, l, x, rows);
        else pool_forward(h, l, x, rows);
        x = l->a;
    }
    return x;
}

/* ------------------------------------------------------------------ back */

static void pool_back(const bl_hgq_layer *l, const float *g, float *gx, int64_t rows)
{
    float share = 1.0f / (float)l->taps;
    memset(gx, 0, (size_t)(rows * l->n_in) * sizeof(float));
    for (int64_t r = 0; r < rows; r++, gx += l->n_in, g += l->n_out) {
        for (int64_t e = 0; l->winner && e < l->n_out; e++) gx[l->winner[r * l->n_out + e]] += g[e];
        for (int64_t e = 0; !l->winner && e < l->n_out; e++)
            for (int64_t t = 0; t < l->taps; t++) {
                int32_t at = l->gather[e / l->out_c * l->taps + t];
                if (at >= 0) gx[at * (int64_t)l->out_c + e % l->out_c] += share * g[e];
            }
    }
}

static void scatter_rows(const bl_hgq_layer *l, const float *col, float *gx, int64_t rows)
{
    int64_t n = l->places * l->taps, c = l->in_c;
    memset(gx, 0, (size_t)(rows * l->n_in) * sizeof(float));
    for (int64_t r = 0; r < rows; r++, gx += l->n_in, col += n)
        for (int64_t t = 0; t < n; t += c) {
            if (l->gather[t] < 0) continue;
            float *to = gx + l->gather[t];
            for (int64_t k = 0; k < c; k++) to[k] += col[t + k];
        }
}

static void biases_back(bl_hgq *h, const bl_hgq_layer *l, const float *gb)
{
    float *to = h->grads + l->b.at;
    memset(to, 0, (size_t)l->out_c * sizeof(float));
    for (int64_t e = 0; e < l->n_out; e++) to[e % l->out_c] += gb[e];
}

static void clear_sums(bl_hgq_grid *g)
{
    float *sums[] = { g->gb, g->gf, g->gu, g->gl };
    for (size_t s = 0; s < BL_COUNTOF(sums); s++) memset(sums[s], 0, (size_t)g->n * sizeof(float));
}

/* g: gradient at the layer's output, then at its sums.  x: what it read (gathered).  Leaves gx. */
static void product_back(bl_hgq *h, bl_hgq_layer *l, const float *x, float *g, float *gx, int64_t rows)
{
    bool conv = l->kind == BL_FIXED_CONV;
    int64_t m = conv ? rows * l->places : rows;
    if (h->quantized && l->grid.n) {
        clear_sums(&l->grid);
        h->loops->act_back(rows, &l->grid.c, l->y, l->a, g, l->grid.gb, l->grid.gf, l->grid.gu, l->grid.gl);
        biases_back(h, l, l->grid.gb);
        bl_hgq_grid_back(h, &l->grid);
    } else {
        memset(h->sums, 0, (size_t)l->n_out * sizeof(float));
        h->loops->plain_back(rows, l->n_out, l->y, l->relu ? 0 : -INFINITY, g, h->sums);
        biases_back(h, l, h->sums);
    }
    bl_product_f32(true, false, l->taps, l->out_c, m, conv ? l->col : x, g, h->grads + l->w.at);
    if (h->quantized) bl_hgq_weights_back(h, l);
    if (!gx) return;
    bl_product_f32(false, true, m, l->taps, l->out_c, g, h->quantized ? l->q : h->params + l->w.at, conv ? l->col : gx);
    if (conv) scatter_rows(l, l->col, gx, rows);
}

void bl_hgq_plain_biases(bl_hgq *h)
{
    for (int n = 0; n < h->n_layers; n++)
        for (int64_t e = 0; h->layer[n].q && e < h->layer[n].n_out; e++)
            h->layer[n].bias[e] = h->params[h->layer[n].b.at + e % h->layer[n].out_c];
}

static void prepare(bl_hgq *h)
{
    if (h->quantized) {
        bl_hgq_grids(h);
        bl_hgq_price(h);
        return;
    }
    bl_hgq_plain_biases(h);
}

double bl_hgq_gradient(bl_hgq *h, const float *x, const float *wanted, int64_t rows)
{
    bl_hgq_layer *last = &h->layer[h->n_layers - 1];
    bool input_learns = h->quantized && h->in.learned;
    prepare(h);
    h->at_random = h->quantized && h->o.stochastic;
    if (h->at_random) h->dice = bl_rng_make(h->ctx->options.seed, "hgq rounding", (uint64_t)h->step);
    bl_hgq_forward(h, x, rows);
    h->at_random = false;
    double loss = h->loops->softmax(rows, last->n_out, last->a, wanted, 1.0f / (float)rows, h->sums);
    const float *given = h->quantized ? h->batch_q : x;
    float *g = last->a, *room[2] = { h->gx, h->gy };
    for (int n = h->n_layers - 1; n >= 0; n--) {
        bl_hgq_layer *l = &h->layer[n];
        float *to = n || input_learns ? room[n & 1] : NULL;
        if (l->q) product_back(h, l, n ? l[-1].a : given, g, to, rows);
        else if (to) pool_back(l, g, to, rows);
        g = to;
    }
    if (h->quantized) {
        clear_sums(&h->in);
        if (input_learns)
            h->loops->act_back(rows, &h->in.c, h->batch, h->batch_q, g, h->in.gb, h->in.gf, h->in.gu, h->in.gl);
        bl_hgq_grid_back(h, &h->in);
    }
    return loss / (double)rows;
}

/* Without clipping in training the bits before the point follow what the batch needed, down slowly. */
static void follow_range(bl_hgq *h, bl_hgq_layer *l, int64_t rows)
{
    bl_hgq_grid *g = &l->grid;
    float *i = h->params + g->i.at;
    memset(g->least, 0, (size_t)g->n * sizeof(float));
    memset(g->most, 0, (size_t)g->n * sizeof(float));
    h->loops->range(rows, g->n, l->a, g->least, g->most);
    for (int64_t n = 0; n < g->i.n; n++) i[n] = fmaxf(i[n] - 0.01f, -23);
    for (int64_t e = 0; e < g->n; e++) {
        float up = ceilf(log2f(g->most[e] + g->step[e])), down = g->least[e] < 0 ? ceilf(log2f(-g->least[e])) : -23;
        if (g->most[e] > 0 || g->least[e] < 0) i[g->group[e]] = fmaxf(i[g->group[e]], g->most[e] > 0 ? fmaxf(up, down) : down);
    }
}

void bl_hgq_move(bl_hgq *h, double rate)
{
    int64_t n = ++h->step, widths = h->n_params - h->n_values;
    double first = 1 - pow(0.9, (double)n), second = 1 - pow(0.999, (double)n);
    float c = (float)(1 / sqrt(second)), r = (float)(rate / first);
    float *p = h->params, *g = h->grads, *m = h->m, *v = h->v;
    h->loops->adamw(h->n_weights, p, g, m, v, r, (float)(rate * h->o.decay), c);
    h->loops->adamw(h->n_values - h->n_weights, p + h->n_weights, g + h->n_weights, m + h->n_weights, v + h->n_weights, r, 0, c);
    if (!h->quantized) return;
    h->loops->adamw(widths, p + h->n_values, g + h->n_values, m + h->n_values, v + h->n_values, r * (float)h->o.rate_width, 0, c);
    for (int64_t j = h->n_values; j < h->n_params; j++) p[j] = p[j] > 23 ? 23 : p[j] < -23 ? -23 : p[j];
    for (int64_t j = 0; j < h->in.f.n; j++)
        if (p[h->in.f.at + j] > h->in.f_most) p[h->in.f.at + j] = h->in.f_most;
    for (int l = 0; l < h->n_layers && h->o.overflow == BL_WRAP; l++)
        if (h->layer[l].grid.n) follow_range(h, &h->layer[l], h->o.batch);
    if (h->average) h->loops->follow(h->n_params, h->average, p, (float)(1 - h->o.average));
}
