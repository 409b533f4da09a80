/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Empirical bias correction (DFQ, arXiv 1906.04721, section 4.2): the rounding of a layer's weights
 * shifts its outputs by E[(Wq - W) x^] on average; the bias takes that back.  x^ is the layer's input in
 * the network as it will run, all layers quantized.
 *
 * Since x^ depends on the corrections of earlier layers, all layers are corrected together and the
 * pass is repeated: a fixed point that depth d reaches after d passes and that three come close to,
 * for the price of three walks instead of one a layer.
 *
 * Analytic (section 4.2.1): E[x] by channel is what BatchNormalizations remember, of all that the network was taught
 * with, instead of what few samples show.  Layers whose input no statistics reach (the first one) are corrected
 * empirically beside them.
 */
#include "quant/quant.h"

#include <math.h>
#include <string.h>

enum { PASSES = 3, WORKERS_MAX = 256 };

/* A sum in steps of 2^-60: exact, so that it hangs neither on the order of samples nor on how many a chunk has. */
typedef __int128 exact;
#define STEPS 0x1p60
#define MOST 0x1p50 /* of one addend; as many samples as memory holds stay far from 2^127 */

/* One layer: the mean input under each weight tap, and what the weights lost. */
typedef struct tap_mean {
    int layer, weight, bias, input;
    bl_window win;              /* Conv */
    bool conv;
    int64_t channels, taps;     /* of the input; kernel elements */
    int64_t groups, outputs;
    float *bias_data;           /* corrected */
    const float *bias_from;
    float *lost;                /* Wq - W, in the weight's own order */
    const double *known;        /* mean input by channel and tap from statistics; NULL: samples say it */
} tap_mean;

typedef struct correction {
    bl_ctx *ctx;
    const bl_graph *g;
    tap_mean *layers;
    int n;
    size_t n_sums;
    exact *sums[WORKERS_MAX];   /* [layer: channels x taps]; NULL: that worker has seen nothing */
    bl_arena *arena[WORKERS_MAX];
    size_t *first;              /* by layer: where its sums start */
    const bl_moments *moments;  /* by value; NULL: samples say everything */
} correction;

/* Sum over output positions of the input under one tap; zero outside. */
static double tap_sum(const tap_mean *t, const float *plane, int64_t ky, int64_t kx)
{
    const bl_window *w = &t->win;
    int64_t rows = w->dims == 2 ? w->out[0] : 1, cols = w->out[w->dims - 1], in_w = w->in[w->dims - 1];
    double sum = 0;
    for (int64_t oy = 0; oy < rows; oy++) {
        int64_t y = w->dims == 2 ? oy * w->stride[0] - w->pad_begin[0] + ky * w->dilation[0] : 0;
        if (w->dims == 2 && (y < 0 || y >= w->in[0])) continue;
        const float *row = plane + y * in_w;
        int64_t step = w->stride[w->dims - 1], at = kx * w->dilation[w->dims - 1] - w->pad_begin[w->dims - 1];
        for (int64_t ox = 0; ox < cols; ox++, at += step)
            if (at >= 0 && at < in_w) sum += row[at];
    }
    return sum;
}

static exact steps(double v)
{
    return (exact)(fmin(fmax(v, -MOST), MOST) * STEPS);
}

/* Mean input under each tap of each channel, added to sums, or to means where there are none. */
static void conv_means(const tap_mean *t, const float *x, exact *sums, double *means)
{
    const bl_window *w = &t->win;
    int64_t in_size = w->dims == 2 ? w->in[0] * w->in[1] : w->in[0], kw = w->kernel[w->dims - 1];
    double positions = w->dims == 2 ? (double)(w->out[0] * w->out[1]) : (double)w->out[0];
    for (int64_t c = 0; c < t->channels; c++)
        for (int64_t k = 0; k < t->taps; k++) {
            double v = tap_sum(t, x + c * in_size, k / kw, k % kw) / positions;
            if (sums) sums[c * t->taps + k] += steps(v);
            else means[c * t->taps + k] += v;
        }
}

static bl_status open_worker(correction *c, unsigned worker)
{
    if (c->sums[worker]) return BL_OK;
    BL_ALLOC_TRY(c->ctx, c->arena[worker] = bl_arena_new(c->ctx, "mean inputs"));
    c->sums[worker] = BL_NEW(c->arena[worker], exact, c->n_sums);
    BL_ALLOC_TRY(c->ctx, c->sums[worker]);
    return BL_OK;
}

static bl_status sum_value(void *arg, const bl_look *at, int value, const bl_tensor *x)
{
    correction *c = arg;
    BL_TRY(open_worker(c, at->worker));
    exact *sums = c->sums[at->worker];
    int64_t per = bl_tensor_count(x) / at->batch;
    for (int i = 0; i < c->n; i++) {
        const tap_mean *t = &c->layers[i];
        if (t->known || t->input != value) continue;
        for (int64_t s = 0; s < at->count; s++) {
            const float *data = (const float *)x->data + s * per;
            if (t->conv) {
                conv_means(t, data, sums + c->first[i], NULL);
                continue;
            }
            int64_t rows = per / t->channels; /* a sample's tokens; one without them */
            for (int64_t k = 0; k < rows * t->channels; k++)
                sums[c->first[i] + (size_t)(k % t->channels)] += steps((double)data[k] / (double)rows);
        }
    }
    return BL_OK;
}

/* E[(Wq - W) x^] of one output. */
static double shift_of(const tap_mean *t, int64_t o, const double *mean, bool transposed)
{
    double shift = 0;
    if (!t->conv) {
        for (int64_t k = 0; k < t->channels; k++)
            shift += (double)t->lost[transposed ? o * t->channels + k : k * t->outputs + o] * mean[k];
        return shift;
    }
    int64_t per_group = t->channels / t->groups, group = o / (t->outputs / t->groups);
    for (int64_t i = 0; i < per_group; i++)
        for (int64_t k = 0; k < t->taps; k++)
            shift += (double)t->lost[(o * per_group + i) * t->taps + k] * mean[(group * per_group + i) * t->taps + k];
    return shift;
}

/* ---- set-up */

static bl_status layer_shape(correction *c, bl_arena *a, tap_mean *t)
{
    const bl_node *n = &c->g->nodes[t->layer];
    const bl_tensor *w = &c->g->values[t->weight].t, *x = &c->g->values[t->input].t;
    t->conv = !strcmp(n->op->name, "Conv");
    if (!t->conv) {
        t->channels = x->dim[x->rank - 1];
        t->taps = t->groups = 1;
        t->outputs = w->dim[bl_weight_axis(c->g, t->layer)];
        return BL_OK;
    }
    const bl_tensor *in[2] = { x, w };
    bl_tensor out = c->g->values[n->out[0]].t;
    bl_call call = { .ctx = c->ctx, .node = n, .n_in = 2, .n_out = 1, .in = in, .out = &out, .scratch = a };
    BL_TRY(bl_window_read(&call, x, w->dim + 2, &t->win));
    t->channels = x->dim[1];
    t->groups = bl_attr_int(n, "group", 1);
    t->outputs = w->dim[0];
    t->taps = 1;
    for (int d = 0; d < t->win.dims; d++) t->taps *= t->win.kernel[d];
    return BL_OK;
}

static bool can_correct(const bl_graph *g, const bl_plan *p, int layer)
{
    const bl_node *n = &g->nodes[layer];
    int w = bl_layer_weight(g, layer), b = bl_layer_bias(g, layer);
    bool conv = !strcmp(n->op->name, "Conv"), gemm = !strcmp(n->op->name, "Gemm"), product = !strcmp(n->op->name, "MatMul");
    if (w < 0 || b < 0 || p->of_value[w] < 0 || !bl_quantizer_has_codes(&p->quantizers[p->of_value[w]])) return false;
    int rank = g->values[n->in[0]].t.rank;
    bool fits = conv ? rank == 3 || rank == 4 : g->values[w].t.rank == 2 && (product || (gemm && rank == 2 && !bl_attr_int(n, "transA", 0)));
    return fits && bl_tensor_count(&g->values[b].t) == g->values[w].t.dim[bl_weight_axis(g, layer)];
}

/* What statistics say about the layer's input, under each tap: padding counts as zero. */
static bl_status know_means(correction *c, bl_arena *a, tap_mean *t)
{
    const bl_moments *x = c->moments ? &c->moments[t->input] : NULL;
    if (!x || x->channels != t->channels || (!t->conv && c->g->values[t->input].t.rank != 2)) return BL_OK; /* theirs are of dimension 1 */
    double *mean = BL_NEW(a, double, (size_t)(t->channels * t->taps));
    int64_t size = t->conv ? (t->win.dims == 2 ? t->win.in[0] * t->win.in[1] : t->win.in[0]) : 1;
    float *ones = BL_NEW(a, float, (size_t)size);
    double *inside = BL_NEW(a, double, (size_t)t->taps);
    if (!mean || !ones || !inside) return bl_pending(c->ctx);
    for (int64_t i = 0; i < size; i++) ones[i] = 1;
    inside[0] = 1;
    if (t->conv) {
        tap_mean one = *t;
        one.channels = 1;
        inside[0] = 0;
        conv_means(&one, ones, NULL, inside);
    }
    for (int64_t i = 0; i < t->channels; i++)
        for (int64_t k = 0; k < t->taps; k++) mean[i * t->taps + k] = x->mean[i] * inside[k];
    t->known = mean;
    return BL_OK;
}

/* What only the correction needs is a's. */
static bl_status add_layer(correction *c, const bl_plan *p, int layer, bl_arena *a, bl_weights *out)
{
    tap_mean *t = &c->layers[c->n];
    *t = (tap_mean){ .layer = layer, .weight = bl_layer_weight(c->g, layer), .bias = bl_layer_bias(c->g, layer),
                     .input = c->g->nodes[layer].in[0] };
    const bl_tensor *w = &c->g->values[t->weight].t, *b = &c->g->values[t->bias].t;
    const bl_quantizer *q = &p->quantizers[p->of_value[t->weight]];
    size_t n = (size_t)bl_tensor_count(w);
    t->lost = BL_NEW(a, float, n);
    bl_mark mark = bl_arena_mark(a);
    int8_t *codes = BL_NEW(a, int8_t, n);
    if (!codes || !t->lost) return bl_pending(c->ctx);
    t->bias_from = b->data;
    bl_tensor now = *w;
    const float *changed = bl_weights_find(out, t->weight);
    if (changed) now.data = (void *)(uintptr_t)changed;
    bl_weight_grid grid = bl_quantizer_grid(q);
    bl_grid_codes(&now, &grid, codes);
    bl_weight_decode(w, codes, q->scale, q->n_scale, q->axis, t->lost);
    bl_arena_reset(a, mark);
    for (size_t i = 0; i < n; i++) t->lost[i] -= ((const float *)w->data)[i];
    BL_TRY(layer_shape(c, a, t));
    BL_TRY(know_means(c, a, t));
    BL_TRY(bl_weights_replace(c->ctx, c->g, out, t->bias, &t->bias_data));
    c->first[c->n++] = c->n_sums;
    c->n_sums += (size_t)(t->channels * t->taps);
    return BL_OK;
}

static void correct_all(correction *c, int64_t samples, double *mean)
{
    for (size_t i = 0; i < c->n_sums; i++) {
        exact sum = 0;
        for (int w = 0; w < WORKERS_MAX; w++) sum += c->sums[w] ? c->sums[w][i] : 0;
        mean[i] = (double)sum / STEPS / (double)BL_MAX(samples, 1);
    }
    for (int i = 0; i < c->n; i++) {
        tap_mean *t = &c->layers[i];
        bool transposed = bl_attr_int(&c->g->nodes[t->layer], "transB", 0) != 0;
        for (int64_t o = 0; o < t->outputs; o++)
            t->bias_data[o] = (float)((double)t->bias_from[o] - shift_of(t, o, t->known ? t->known : mean + c->first[i], transposed));
    }
}

static bl_status run_passes(correction *c, const bl_tune_input *in, bl_arena *a, bl_weights *out)
{
    bl_shards s = { .graph = in->graph, .data = in->data, .stage = "correct biases", .look = sum_value };
    uint8_t *looks = BL_NEW(a, uint8_t, (size_t)in->graph->n_values);
    int64_t *index;
    BL_TRY(bl_data_pick(in->data, in->samples, a, &index, &s.n));
    s.index = index;
    double *mean = BL_NEW(a, double, c->n_sums);
    if (!looks || !mean) return bl_pending(c->ctx);
    s.looks = looks;
    bool asks = false;
    for (int i = 0; i < c->n; i++) {
        if (c->layers[i].known) continue;
        looks[c->layers[i].input] = 1;
        asks = true;
    }
    if (!asks) correct_all(c, 0, mean);
    for (int pass = 0; asks && pass < PASSES; pass++) {
        BL_TRY(bl_fake_new(c->ctx, in->graph, in->plan, out, &s.fake));
        for (int w = 0; w < WORKERS_MAX; w++)
            if (c->sums[w]) memset(c->sums[w], 0, c->n_sums * sizeof(exact)); /* of the last pass */
        bl_status st = bl_shards_run(c->ctx, &s, NULL, c);
        bl_fake_free(s.fake);
        BL_TRY(st);
        correct_all(c, s.n, mean);
    }
    return BL_OK;
}

static bl_status correct(bl_ctx *ctx, const bl_tune_input *in, bool analytic, bl_weights *out)
{
    const bl_graph *g = in->graph;
    bl_arena *scratch = bl_arena_new(ctx, "bias correction");
    BL_ALLOC_TRY(ctx, scratch);
    correction c = { .ctx = ctx, .g = g, .layers = BL_NEW(scratch, tap_mean, (size_t)g->n_nodes),
                     .first = BL_NEW(scratch, size_t, (size_t)g->n_nodes) };
    bl_status s = c.layers && c.first ? BL_OK : bl_pending(ctx);
    if (s == BL_OK && analytic) s = bl_channel_moments(ctx, scratch, g, &c.moments);
    for (int i = 0; s == BL_OK && i < g->n_nodes; i++)
        if (can_correct(g, in->plan, i)) s = add_layer(&c, in->plan, i, scratch, out);
    if (s == BL_OK && c.n) s = run_passes(&c, in, scratch, out);
    for (int w = 0; w < WORKERS_MAX; w++) bl_arena_free(c.arena[w]);
    bl_arena_free(scratch);
    return s;
}

bl_status bl_tune_bias_correction(bl_ctx *ctx, const bl_tune_input *in, bl_weights *out)
{
    return correct(ctx, in, false, out);
}

bl_status bl_tune_bias_analytic(bl_ctx *ctx, const bl_tune_input *in, bl_weights *out)
{
    return correct(ctx, in, true, out);
}
