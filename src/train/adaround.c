/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * AdaRound (arXiv 2004.10568): each weight learns whether it is rounded down or up, layer after layer, so that
 * the layer's outputs stay what they were in float.
 *
 *   W~ = s clamp(floor(W / s) + h(V), lo, hi),  h(V) = clamp(1.2 sigmoid(V) - 0.1, 0, 1)
 *   loss = mean over positions of |act(W x + b) - act(W~ x^ + b)|^2 + lambda sum(1 - |2 h - 1|^beta)
 *
 * x^ comes from the network as quantized so far.  An iteration takes output positions of all samples at
 * random instead of whole samples: products of a few hundred rows, where neighbouring positions
 * would say the same twice.  Layers of 8 bits and more keep nearest rounding and have their biases corrected
 * in the same order (DFQ, arXiv 1906.04721, section 4.2).
 *
 * A fixed number of parts shares an iteration and their sums are added in order: the bits do not depend
 * on the threads.
 */
#include "train/layer.h"

#include <math.h>
#include <string.h>

enum { ITERATIONS = 1000, POSITIONS = 512, PARTS = 4, ROW_PIECE = 8, MEAN_PIECE = 4 };
#define RATE 1e-2
#define LAMBDA 0.01
#define WARM_UP 0.2
#define STRETCH 1.2f            /* zeta - gamma */
#define OFFSET (-0.1f)          /* gamma */

typedef struct rounding {
    bl_ctx *ctx;
    bl_layer l;
    bl_layer_samples s;
    const float *bias;
    const bl_quantizer *q;
    int32_t code_lo, code_hi;
    float *base;                /* floor(W / s), canonical */
    float *v, *m1, *m2;         /* what is learned, Adam's moments */
    float *w;                   /* W~ */
    float *x[PARTS], *y[PARTS], *grad[PARTS]; /* gathered inputs, outputs, gradients by W~ */
    int64_t iteration, per_part;
    double beta;                /* 0: warming up */
} rounding;

static float rectified(float v)
{
    float h = STRETCH / (1.0f + expf(-v)) + OFFSET;
    return h < 0.0f ? 0.0f : h > 1.0f ? 1.0f : h;
}

static float scale_of(const rounding *r, int64_t output)
{
    return r->q->scale[r->q->n_scale > 1 ? output : 0];
}

/* ------------------------------------------------------------------ one iteration */

/* Outputs and gradients by W~ at this part's positions. */
static bl_status part_piece(void *arg, size_t part, unsigned worker)
{
    rounding *r = arg;
    const bl_layer *l = &r->l;
    int64_t per = l->outputs / l->groups, p = r->per_part;
    bl_rng rng = bl_rng_make(r->ctx->options.seed, "adaround", (uint64_t)(r->iteration * PARTS + (int64_t)part) ^ ((uint64_t)l->node << 40));
    float *x = r->x[part], *y = r->y[part], *t = y + p * l->outputs;

    (void)worker;
    for (int64_t i = 0; i < p; i++) {
        int64_t sample = (int64_t)bl_rng_below(&rng, (uint64_t)r->s.n);
        int64_t position = (int64_t)bl_rng_below(&rng, (uint64_t)l->positions);
        bl_layer_gather(l, r->s.x + sample * l->in_size, position, x + i * l->k, p * l->k);
        bl_layer_target(l, r->s.t + sample * l->out_size, position, t + i * l->outputs);
    }
    for (int64_t g = 0; g < l->groups; g++) {
        float *yg = y + g * p * per, *wg = r->w + g * per * l->k;
        bl_product_f32(false, true, p, per, l->k, x + g * p * l->k, wg, yg);
        for (int64_t i = 0; i < p; i++)
            for (int64_t o = 0; o < per; o++) {
                int64_t out = g * per + o;
                float z = yg[i * per + o] + (r->bias ? r->bias[out] : 0.0f);
                bool open = z > l->lo && z < l->hi;
                float a = z < l->lo ? l->lo : z > l->hi ? l->hi : z;
                yg[i * per + o] = open ? 2.0f * (a - t[i * l->outputs + out]) / (float)(p * PARTS) : 0.0f;
            }
        bl_product_f32(true, false, per, l->k, p, yg, x + g * p * l->k, r->grad[part] + g * per * l->k);
    }
    return BL_OK;
}

/* Adam on V and the new W~ of some outputs. */
static bl_status row_piece(void *arg, size_t piece, unsigned worker)
{
    rounding *r = arg;
    const bl_layer *l = &r->l;
    int64_t first = (int64_t)piece * ROW_PIECE, last = BL_MIN(first + ROW_PIECE, l->outputs);
    double t = (double)(r->iteration + 1), fix1 = 1 - pow(0.9, t), fix2 = 1 - pow(0.999, t);

    (void)worker;
    for (int64_t o = first; o < last; o++) {
        float s = scale_of(r, o);
        for (int64_t i = o * l->k; i < (o + 1) * l->k; i++) {
            float sig = 1.0f / (1.0f + expf(-r->v[i])), raw = STRETCH * sig + OFFSET;
            float h = raw < 0.0f ? 0.0f : raw > 1.0f ? 1.0f : raw;
            float slope = raw > 0.0f && raw < 1.0f ? STRETCH * sig * (1.0f - sig) : 0.0f;
            float code = r->base[i] + h, sum = 0, g;
            for (int k = 0; k < PARTS; k++) sum += r->grad[k][i];
            g = code > (float)r->code_lo && code < (float)r->code_hi ? sum * s : 0.0f;
            if (r->beta > 0) {
                float u = 2.0f * h - 1.0f, a = fabsf(u);
                g -= (float)(LAMBDA * r->beta * 2.0) * powf(a, (float)r->beta - 1.0f) * (u < 0 ? -1.0f : 1.0f);
            }
            g *= slope;
            r->m1[i] = 0.9f * r->m1[i] + 0.1f * g;
            r->m2[i] = 0.999f * r->m2[i] + 0.001f * g * g;
            r->v[i] -= (float)(RATE * (r->m1[i] / fix1) / (sqrt(r->m2[i] / fix2) + 1e-8));
            code = r->base[i] + rectified(r->v[i]);
            code = code < (float)r->code_lo ? (float)r->code_lo : code;
            r->w[i] = s * (code > (float)r->code_hi ? (float)r->code_hi : code);
        }
    }
    return BL_OK;
}

/* ------------------------------------------------------------------ a layer */

static bl_status open_rounding(rounding *r, bl_arena *a, const float *canonical)
{
    const bl_layer *l = &r->l;
    int64_t n = l->outputs * l->k;

    r->per_part = POSITIONS / PARTS;
    r->base = bl_alloc(a, (size_t)n, sizeof(float));
    r->v = bl_alloc(a, (size_t)n, sizeof(float));
    r->w = bl_alloc(a, (size_t)n, sizeof(float));
    r->m1 = BL_NEW(a, float, (size_t)n);
    r->m2 = BL_NEW(a, float, (size_t)n);
    if (!r->base || !r->v || !r->w || !r->m1 || !r->m2) return bl_pending(r->ctx);
    memset(r->m1, 0, (size_t)n * sizeof(float));
    memset(r->m2, 0, (size_t)n * sizeof(float));
    for (int p = 0; p < PARTS; p++) {
        r->x[p] = bl_alloc(a, (size_t)(r->per_part * l->groups), (size_t)l->k * sizeof(float));
        r->y[p] = bl_alloc(a, (size_t)(2 * r->per_part), (size_t)l->outputs * sizeof(float));
        r->grad[p] = bl_alloc(a, (size_t)n, sizeof(float));
        if (!r->x[p] || !r->y[p] || !r->grad[p]) return bl_pending(r->ctx);
    }
    bl_weight_code_range(r->q->bits, r->q->narrow, &r->code_lo, &r->code_hi);
    for (int64_t i = 0; i < n; i++) {
        float u = canonical[i] / scale_of(r, i / l->k), part;
        r->base[i] = floorf(u);
        part = (u - r->base[i] - OFFSET) / STRETCH;
        part = BL_MIN(BL_MAX(part, 1e-4f), 1.0f - 1e-4f);
        r->v[i] = logf(part / (1.0f - part));
        r->w[i] = canonical[i];
    }
    return BL_OK;
}

/* The rounding that was learned, as reals on the grid, in the model's order. */
static bl_status close_rounding(rounding *r, bl_arena *a, float *stored)
{
    const bl_layer *l = &r->l;
    for (int64_t i = 0; i < l->outputs * l->k; i++) {
        float code = r->base[i] + (r->v[i] >= 0.0f ? 1.0f : 0.0f);
        code = BL_MIN(BL_MAX(code, (float)r->code_lo), (float)r->code_hi);
        r->w[i] = code * scale_of(r, i / l->k);
    }
    (void)a;
    bl_layer_store(l, r->w, stored);
    return BL_OK;
}

static bl_status learn(rounding *r, uint64_t done, uint64_t total)
{
    size_t rows = (size_t)((r->l.outputs + ROW_PIECE - 1) / ROW_PIECE);

    for (r->iteration = 0; r->iteration < ITERATIONS; r->iteration++) {
        double at = (double)r->iteration / ITERATIONS;
        r->beta = at < WARM_UP ? 0 : 20 - 18 * (at - WARM_UP) / (1 - WARM_UP);
        BL_TRY(bl_check_interrupt(r->ctx));
        BL_TRY(bl_parallel_for(r->ctx, PARTS, part_piece, r));
        BL_TRY(bl_parallel_for(r->ctx, rows, row_piece, r));
        bl_progress(r->ctx, "adaround", done + (uint64_t)r->iteration, total);
    }
    return BL_OK;
}

/* ------------------------------------------------------------------ biases of layers that are not rounded */

typedef struct shift {
    rounding *r;
    const float *lost;          /* Wq - W, canonical */
    double *sums;               /* [piece][groups * k] */
} shift;

static bl_status mean_piece(void *arg, size_t piece, unsigned worker)
{
    shift *h = arg;
    const bl_layer *l = &h->r->l;
    int64_t n = l->groups * l->k;
    double *sum = h->sums + (int64_t)piece * n;
    float *x = h->r->x[0] + (int64_t)worker * n;
    int64_t first = (int64_t)piece * MEAN_PIECE, last = BL_MIN(first + MEAN_PIECE, h->r->s.n);

    memset(sum, 0, (size_t)n * sizeof *sum);
    for (int64_t s = first; s < last; s++)
        for (int64_t p = 0; p < l->positions; p++) {
            bl_layer_gather(l, h->r->s.x + s * l->in_size, p, x, l->k);
            for (int64_t i = 0; i < n; i++) sum[i] += x[i];
        }
    return BL_OK;
}

/* b - E[(Wq - W) x^] into `bias`. */
static bl_status correct_bias(rounding *r, bl_arena *a, const float *canonical, const float *quantized, float *bias)
{
    const bl_layer *l = &r->l;
    int64_t n = l->groups * l->k, per = l->outputs / l->groups;
    size_t pieces = (size_t)((r->s.n + MEAN_PIECE - 1) / MEAN_PIECE);
    shift h = {.r = r, .sums = BL_NEW(a, double, pieces * (size_t)n)};

    r->x[0] = bl_alloc(a, (size_t)bl_threads(r->ctx), (size_t)n * sizeof(float));
    if (!h.sums || !r->x[0]) return bl_pending(r->ctx);
    BL_TRY(bl_parallel_for(r->ctx, pieces, mean_piece, &h));
    for (size_t p = 1; p < pieces; p++)
        for (int64_t i = 0; i < n; i++) h.sums[i] += h.sums[(int64_t)p * n + i];
    for (int64_t o = 0; o < l->outputs; o++) {
        double lost = 0;
        for (int64_t j = 0; j < l->k; j++)
            lost += ((double)quantized[o * l->k + j] - canonical[o * l->k + j]) * h.sums[o / per * l->k + j];
        bias[o] = (float)(r->bias[o] - lost / (double)(r->s.n * l->positions));
    }
    return BL_OK;
}

/* ------------------------------------------------------------------ all layers */

static bl_status add_item(bl_ctx *ctx, const bl_graph *g, int value, bl_weights *out, float **data)
{
    const bl_tensor *t = &g->values[value].t;
    size_t n = (size_t)bl_tensor_count(t);

    *data = bl_alloc(out->arena, n, sizeof(float));
    BL_ALLOC_TRY(ctx, *data);
    memcpy(*data, t->data, n * sizeof(float));
    out->items[out->n_items++] = (bl_weight_item){.value = value, .replaces = bl_hash_of(t->data, n * sizeof(float)),
                                                  .data = *data, .count = (int64_t)n};
    return BL_OK;
}

static bl_status tune_layer(rounding *r, const bl_tune_input *in, const int64_t *index, int64_t n, uint64_t done,
                            uint64_t total, bl_arena *a, bl_weights *out)
{
    const bl_graph *g = in->graph;
    const bl_tensor *w = &g->values[r->l.weight].t;
    bool rounds = r->q->bits > 1 && r->q->bits < 8;
    float *canonical = bl_alloc(a, (size_t)bl_tensor_count(w), sizeof(float)), *data;
    bl_fake *fake = NULL;
    bl_status s;

    if (!rounds && r->l.bias < 0) return BL_OK;
    BL_ALLOC_TRY(r->ctx, canonical);
    BL_TRY(bl_fake_new(r->ctx, g, in->plan, out, &fake));
    s = bl_layer_capture(r->ctx, g, &r->l, in->data, index, n, fake, a, &r->s);
    bl_fake_free(fake);
    BL_TRY(s);
    r->bias = r->l.bias_data;
    bl_layer_weights(&r->l, w->data, canonical);
    if (rounds) {
        BL_TRY(open_rounding(r, a, canonical));
        BL_TRY(learn(r, done, total));
        BL_TRY(add_item(r->ctx, g, r->l.weight, out, &data));
        return close_rounding(r, a, data);
    }
    int8_t *codes = bl_alloc(a, (size_t)bl_tensor_count(w), 1);
    float *real = bl_alloc(a, (size_t)bl_tensor_count(w), sizeof(float));
    float *quantized = bl_alloc(a, (size_t)bl_tensor_count(w), sizeof(float));
    if (!codes || !real || !quantized) return bl_pending(r->ctx);
    bl_weight_codes(w, r->q->scale, r->q->n_scale, r->q->axis, r->q->bits, r->q->narrow, codes);
    bl_weight_decode(w, codes, r->q->scale, r->q->n_scale, r->q->axis, real);
    bl_layer_weights(&r->l, real, quantized);
    BL_TRY(add_item(r->ctx, g, r->l.bias, out, &data));
    return correct_bias(r, a, canonical, quantized, data);
}

static bl_status tune_all(bl_ctx *ctx, const bl_tune_input *in, bl_arena *kept, bl_arena *a, bl_weights *out)
{
    const bl_graph *g = in->graph;
    int64_t *index, n;
    int n_layers = 0;
    bl_layer *layers = BL_NEW(kept, bl_layer, (size_t)g->n_nodes);

    out->items = BL_NEW(out->arena, bl_weight_item, 2 * (size_t)g->n_nodes);
    if (!layers || !out->items) return bl_pending(ctx);
    BL_TRY(bl_data_pick(in->data, in->samples, kept, &index, &n));
    for (int i = 0; i < g->n_nodes; i++) {
        bool fits = false;
        int w = bl_layer_weight(g, i);
        if (w < 0 || in->plan->of_value[w] < 0 || in->plan->quantizers[in->plan->of_value[w]].kind != BL_Q_AFFINE) continue;
        BL_TRY(bl_layer_describe(ctx, g, i, kept, &layers[n_layers], &fits));
        n_layers += fits;
    }
    for (int k = 0; k < n_layers; k++) {
        rounding r = {.ctx = ctx, .l = layers[k], .q = &in->plan->quantizers[in->plan->of_value[layers[k].weight]]};
        bl_mark mark = bl_arena_mark(a);
        bl_status s = tune_layer(&r, in, index, n, (uint64_t)k * ITERATIONS, (uint64_t)n_layers * ITERATIONS, a, out);
        bl_arena_reset(a, mark);
        BL_TRY(s);
    }
    bl_progress(ctx, "adaround", (uint64_t)n_layers * ITERATIONS, (uint64_t)n_layers * ITERATIONS);
    return BL_OK;
}

bl_status bl_tune_adaround(bl_ctx *ctx, const bl_tune_input *in, bl_weights *out)
{
    bl_arena *kept = bl_arena_new(ctx, "adaround"), *a = bl_arena_new(ctx, "adaround layer");
    bl_status s = kept && a ? tune_all(ctx, in, kept, a, out) : bl_pending(ctx);
    bl_arena_free(a);
    bl_arena_free(kept);
    return s;
}
