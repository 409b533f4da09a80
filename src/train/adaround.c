/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * AdaRound (arXiv 2004.10568) of a whole plan: each weight learns whether it is rounded down or up, layer after
 * layer (layerwise.c), so that the layer's outputs stay what they were in float.  Inputs come from the network as
 * quantized so far.  Layers of 8 bits and more keep nearest rounding and have their biases corrected in the same
 * order (DFQ, arXiv 1906.04721, section 4.2), unless they are told to learn as well.
 */
#include "train/rounding.h"

#include <string.h>

enum { MEAN_PIECE = 4 };

/* What learns beside weights below 8 bits. */
typedef struct form {
    bool biases;                /* of the layers that learn */
    bool eight;                 /* layers of 8 bits as well */
} form;

typedef struct tuning {
    bl_ctx *ctx;
    const bl_tune_input *in;
    const int64_t *index;
    int64_t n;
    bl_layer l;
    bl_layer_samples s;
    const bl_quantizer *q;
    uint64_t done, total;
    form learns;
} tuning;

/* ------------------------------------------------------------------ biases of layers that are not rounded */

typedef struct shift {
    tuning *r;
    double *sums;               /* [piece][groups * k] */
    float *x;                   /* [worker][groups * k] */
} shift;

static bl_status mean_piece(void *arg, size_t piece, unsigned worker)
{
    shift *h = arg;
    const bl_layer *l = &h->r->l;
    int64_t n = l->groups * l->k;
    double *sum = h->sums + (int64_t)piece * n;
    float *x = h->x + (int64_t)worker * n;
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
static bl_status correct_bias(tuning *r, bl_arena *a, const float *canonical, const float *quantized, float *bias)
{
    const bl_layer *l = &r->l;
    int64_t n = l->groups * l->k, per = l->outputs / l->groups;
    size_t pieces = (size_t)((r->s.n + MEAN_PIECE - 1) / MEAN_PIECE);
    shift h = {.r = r, .sums = BL_NEW(a, double, pieces * (size_t)n)};

    h.x = bl_alloc(a, (size_t)bl_threads(r->ctx), (size_t)n * sizeof(float));
    if (!h.sums || !h.x) return bl_pending(r->ctx);
    BL_TRY(bl_parallel_for(r->ctx, pieces, mean_piece, &h));
    for (size_t p = 1; p < pieces; p++)
        for (int64_t i = 0; i < n; i++) h.sums[i] += h.sums[(int64_t)p * n + i];
    for (int64_t o = 0; o < l->outputs; o++) {
        double lost = 0;
        for (int64_t j = 0; j < l->k; j++)
            lost += ((double)quantized[o * l->k + j] - canonical[o * l->k + j]) *
                    h.sums[l->depthwise ? j * l->groups + o : o / per * l->k + j];
        bias[o] = (float)(l->bias_data[o] - lost / (double)(r->s.n * l->positions));
    }
    return BL_OK;
}

/* ------------------------------------------------------------------ all layers */

/* An 8-bit layer's bias. */
static bl_status tune_bias(tuning *r, bl_arena *a, bl_weights *out)
{
    const bl_tensor *w = &r->in->graph->values[r->l.weight].t;
    size_t n = (size_t)bl_tensor_count(w);
    int8_t *codes = bl_alloc(a, n, 1);
    float *real = bl_alloc(a, n, sizeof(float)), *data;
    float *canonical = bl_alloc(a, n, sizeof(float)), *quantized = bl_alloc(a, n, sizeof(float));

    if (!codes || !real || !canonical || !quantized) return bl_pending(r->ctx);
    bl_weight_codes(w, r->q->scale, r->q->n_scale, r->q->axis, r->q->bits, r->q->narrow, codes);
    bl_weight_decode(w, codes, r->q->scale, r->q->n_scale, r->q->axis, real);
    bl_layer_weights(&r->l, w->data, canonical);
    bl_layer_weights(&r->l, real, quantized);
    BL_TRY(bl_weights_replace(r->ctx, r->in->graph, out, r->l.bias, &data));
    return correct_bias(r, a, canonical, quantized, data);
}

static bl_status tune_layer(tuning *r, bl_arena *a, bl_weights *out)
{
    const bl_tune_input *in = r->in;
    bool rounds = bl_round_bits(r->q->bits) || (r->learns.eight && r->q->bits == 8);
    bl_fake *fake = NULL;
    bl_status s;
    float *data, *bias = NULL;

    if (!rounds && r->l.bias < 0) return BL_OK;
    BL_TRY(bl_layer_room(r->ctx, &r->l, r->n, a, &r->s));
    BL_TRY(bl_fake_new(r->ctx, in->graph, in->plan, out, &fake));
    s = bl_layers_capture(r->ctx, in->graph, &r->l, &r->s, 1, in->data, r->index, fake, true, false);
    bl_fake_free(fake);
    BL_TRY(s);
    if (!rounds) return tune_bias(r, a, out);
    BL_TRY(bl_layers_capture(r->ctx, in->graph, &r->l, &r->s, 1, in->data, r->index, NULL, false, true));
    BL_TRY(bl_weights_replace(r->ctx, in->graph, out, r->l.weight, &data));
    if (r->learns.biases && r->l.bias >= 0 && !bl_weights_find(out, r->l.bias)) BL_TRY(bl_weights_replace(r->ctx, in->graph, out, r->l.bias, &bias));
    return bl_layer_round(r->ctx, &r->l, &r->s, in->graph->values[r->l.weight].t.data, r->q, r->done, r->total, a, data, bias);
}

static bl_status tune_all(bl_ctx *ctx, const bl_tune_input *in, form learns, bl_arena *kept, bl_arena *a, bl_weights *out)
{
    int64_t *index, n;
    bl_layer *layers;
    int n_layers;

    BL_TRY(bl_data_pick(in->data, in->samples, kept, &index, &n));
    BL_TRY(bl_layers_rounded(ctx, in->graph, in->plan, kept, &layers, &n_layers));
    for (int k = 0; k < n_layers; k++) {
        tuning r = {.ctx = ctx, .in = in, .index = index, .n = n, .l = layers[k], .learns = learns,
                    .q = &in->plan->quantizers[in->plan->of_value[layers[k].weight]],
                    .done = (uint64_t)k * BL_ROUND_ITERATIONS, .total = (uint64_t)n_layers * BL_ROUND_ITERATIONS};
        bl_mark mark = bl_arena_mark(a);
        bl_status s = tune_layer(&r, a, out);
        bl_arena_reset(a, mark);
        BL_TRY(s);
    }
    bl_progress(ctx, "adaround", (uint64_t)n_layers * BL_ROUND_ITERATIONS, (uint64_t)n_layers * BL_ROUND_ITERATIONS);
    return BL_OK;
}

static bl_status tune(bl_ctx *ctx, const bl_tune_input *in, form learns, bl_weights *out)
{
    bl_arena *kept = bl_arena_new(ctx, "adaround"), *a = bl_arena_new(ctx, "adaround layer");
    if (a) bl_arena_spill(a);
    bl_status s = kept && a ? tune_all(ctx, in, learns, kept, a, out) : bl_pending(ctx);
    bl_arena_free(a);
    bl_arena_free(kept);
    return s;
}

bl_status bl_tune_adaround(bl_ctx *ctx, const bl_tune_input *in, bl_weights *out)
{
    return tune(ctx, in, (form){0}, out);
}

bl_status bl_tune_adaround_bias(bl_ctx *ctx, const bl_tune_input *in, bl_weights *out)
{
    return tune(ctx, in, (form){.biases = true}, out);
}

bl_status bl_tune_adaround_all(bl_ctx *ctx, const bl_tune_input *in, bl_weights *out)
{
    return tune(ctx, in, (form){.biases = true, .eight = true}, out);
}
