/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Traces of the Hessian of the cross-entropy, a block for each weight (Hutchinson's estimator as in HAWQ-V2,
 * arXiv 1911.03852): tr H_i is the mean of z_i' (H z)_i over random signs z.  H z is the difference of two
 * gradients, (g(w + e z) - g(w - e z)) / 2, with e = 1e-3 |w_i| / |z_i| in each block.  One z covers all
 * blocks: what they share has mean zero.  Sums are binary64, in the order of chunks.
 *
 * As a rule without differences: by the weights of one layer the logits of a network of Relus are linear in
 * pieces, so H_i is J' (diag p - p p') J, J the slopes of the logits, and its trace the mean of |J' (p - c)|^2 over
 * classes c drawn by p (the Fisher information).  One way back with such seeds, signs drawn for each sample, gives
 * all blocks, never below zero and with far less noise.  For other activations that is the Gauss-Newton part of H.
 */
#include "train/train.h"

#include <math.h>
#include <string.h>

enum { CHUNK = 16, WORKERS_MAX = 256, LEAST = 8, STEADY = 3 };

typedef struct tracer {
    bl_ctx *ctx;
    const bl_graph *graph, *batch; /* as given; a chunk at once */
    bl_data *data;
    const int64_t *index;
    int64_t samples, per, chunks;
    const int *values;
    int n, logits;
    bool differences;
    uint64_t vector;
    uint8_t *marks;
    double *step;               /* by block */
    int8_t **sign;              /* by block */
    float **moved[2];           /* by block: w + e z, w - e z */
    double *dot;                /* [chunk][side][block] */
    bl_walk *walk[WORKERS_MAX];
    bl_back *back[WORKERS_MAX];
} tracer;

static bl_status open_worker(tracer *t, unsigned worker)
{
    bl_walk_options o = {.keep_all = true};

    if (t->back[worker]) return BL_OK;
    BL_TRY(bl_walk_new(t->ctx, t->batch, &o, &t->walk[worker]));
    return bl_back_new(t->ctx, t->walk[worker], t->marks, &t->back[worker]);
}

typedef struct seeding {
    const tracer *t;
    int64_t first, count;
} seeding;

/* p - c or its negative, c drawn by p. */
static void seed_class(const tracer *t, int64_t sample, const float *y, int64_t n, float *grad)
{
    bl_rng r = bl_rng_make(t->ctx->options.seed, "classes", t->vector * (uint64_t)t->samples + (uint64_t)sample);
    double most = y[0], sum = 0, sign = bl_rng_below(&r, 2) ? 1 : -1, left;
    int64_t c = 0;

    for (int64_t i = 1; i < n; i++) most = fmax(most, (double)y[i]);
    for (int64_t i = 0; i < n; i++) sum += exp(y[i] - most);
    left = bl_rng_unit(&r) * sum;
    while (c < n - 1 && (left -= exp(y[c] - most)) >= 0) c++;
    for (int64_t i = 0; i < n; i++) grad[i] += (float)(sign * (exp(y[i] - most) / sum - (i == c)));
}

static bl_status seed_loss(void *user, int value, const bl_tensor *y, bl_tensor *grad)
{
    const seeding *s = user;
    const tracer *t = s->t;
    const bl_train_options o = bl_train_options_default();
    int64_t n = bl_tensor_count(y) / y->dim[0];

    (void)value;
    for (int64_t i = 0; !t->differences && i < s->count; i++)
        seed_class(t, s->first + i, (const float *)y->data + i * n, n, (float *)grad->data + i * n);
    for (int64_t i = 0; t->differences && i < s->count; i++)
        bl_loss_find("cross-entropy")->of(&o, (const float *)y->data + i * n, n, NULL,
                                          bl_data_label(t->data, t->index[s->first + i] / bl_data_windows(t->data)),
                                          1.0 / (double)t->samples, (float *)grad->data + i * n);
    return BL_OK;
}

static bl_status run_piece(void *arg, size_t piece, unsigned worker)
{
    tracer *t = arg;
    size_t sides = t->differences ? 2 : 1, chunk = piece / sides, side = piece % sides;
    seeding s = {t, (int64_t)chunk * CHUNK, BL_MIN(CHUNK, t->samples - (int64_t)chunk * CHUNK)};

    BL_TRY(open_worker(t, worker));
    bl_walk *walk = t->walk[worker];
    for (int i = 0; t->differences && i < t->n; i++)
        BL_TRY(bl_walk_set_constant(walk, t->values[i], t->moved[side][i]));
    const bl_tensor *x = bl_walk_input(walk, 0);
    for (int64_t i = 0; i < s.count; i++) BL_TRY(bl_data_feed(t->data, t->index[s.first + i], x, i * t->per));
    BL_TRY(bl_walk_run(walk, NULL, NULL));
    BL_TRY(bl_back_run(t->back[worker], seed_loss, &s));
    for (int i = 0; i < t->n; i++) {
        const bl_tensor *g = bl_back_grad(t->back[worker], t->values[i]);
        double sum = 0;
        for (int64_t k = 0; g && k < bl_tensor_count(g); k++) {
            double slope = ((const float *)g->data)[k];
            sum += slope * (t->differences ? t->sign[i][k] : slope);
        }
        t->dot[piece * (size_t)t->n + (size_t)i] = sum;
    }
    return BL_OK;
}

/* Random signs of one vector, and the weights on either side. */
static void move_weights(tracer *t, uint64_t vector)
{
    for (int i = 0; i < t->n; i++) {
        const bl_tensor *w = &t->graph->values[t->values[i]].t;
        bl_rng r = bl_rng_make(t->ctx->options.seed, t->graph->values[t->values[i]].name, vector);
        for (int64_t k = 0; k < bl_tensor_count(w); k++) {
            float e = (float)t->step[i], x = ((const float *)w->data)[k];
            t->sign[i][k] = bl_rng_below(&r, 2) ? 1 : -1;
            t->moved[0][i][k] = x + e * t->sign[i][k];
            t->moved[1][i][k] = x - e * t->sign[i][k];
        }
    }
}

static bl_status open_tracer(tracer *t, bl_arena *a)
{
    size_t n = (size_t)t->n;

    t->marks = BL_NEW(a, uint8_t, (size_t)t->batch->n_values);
    t->step = BL_NEW(a, double, n);
    t->sign = BL_NEW(a, int8_t *, n);
    t->moved[0] = BL_NEW(a, float *, n);
    t->moved[1] = BL_NEW(a, float *, n);
    t->dot = BL_NEW(a, double, n * 2 * (size_t)t->chunks);
    if (!t->marks || !t->step || !t->sign || !t->moved[0] || !t->moved[1] || !t->dot) return bl_pending(t->ctx);
    for (int i = 0; i < t->n; i++) {
        const bl_tensor *w = &t->graph->values[t->values[i]].t;
        size_t count = (size_t)bl_tensor_count(w);
        double square = 0;
        for (size_t k = 0; k < count; k++) square += (double)((const float *)w->data)[k] * ((const float *)w->data)[k];
        t->step[i] = 1e-3 * sqrt(square / (double)count);
        if (!(t->step[i] > 0)) t->step[i] = 1e-6;
        t->marks[t->values[i]] = BL_BACK_WANTED;
        if (!t->differences) continue;
        t->sign[i] = BL_NEW(a, int8_t, count);
        for (int side = 0; side < 2; side++)
            if (!(t->moved[side][i] = BL_NEW(a, float, count))) return bl_pending(t->ctx);
        BL_ALLOC_TRY(t->ctx, t->sign[i]);
    }
    t->marks[t->logits] |= BL_BACK_SEEDED;
    return BL_OK;
}

/* One more vector into sums and squares. */
static bl_status add_vector(tracer *t, int vector, double *sum, double *square)
{
    t->vector = (uint64_t)vector;
    if (t->differences) move_weights(t, t->vector);
    BL_TRY(bl_parallel_for(t->ctx, (size_t)t->chunks * (t->differences ? 2 : 1), run_piece, t));
    for (int i = 0; i < t->n; i++) {
        double d = 0;
        for (int64_t c = 0; t->differences && c < t->chunks; c++)
            d += (t->dot[2 * c * t->n + i] - t->dot[(2 * c + 1) * t->n + i]) / (2 * t->step[i]);
        for (int64_t c = 0; !t->differences && c < t->chunks; c++) d += t->dot[c * t->n + i] / (double)t->samples;
        sum[i] += d;
        square[i] += d * d;
    }
    return BL_OK;
}

/* How far the means moved with the last vector, as a share of all of them. */
static double change(const tracer *t, const double *sum, const double *before, int vectors)
{
    double moved = 0, all = 0;
    for (int i = 0; i < t->n; i++) {
        moved += fabs(sum[i] / vectors - before[i] / (vectors - 1));
        all += fabs(sum[i] / vectors);
    }
    return all > 0 ? moved / all : 0;
}

static bl_status run_vectors(tracer *t, const bl_trace_options *o, bl_arena *a, double *trace, double *error, int *used)
{
    double *sum = BL_NEW(a, double, (size_t)t->n), *square = BL_NEW(a, double, (size_t)t->n);
    double *before = BL_NEW(a, double, (size_t)t->n);
    int v = 0, steady = 0;

    if (!sum || !square || !before) return bl_pending(t->ctx);
    while (v < o->vectors && steady < STEADY) {
        memcpy(before, sum, (size_t)t->n * sizeof *sum);
        BL_TRY(add_vector(t, v++, sum, square));
        steady = v > LEAST && change(t, sum, before, v) < o->tolerance ? steady + 1 : 0;
        bl_progress(t->ctx, "hessian", (uint64_t)v, (uint64_t)o->vectors);
    }
    for (int i = 0; i < t->n; i++) {
        trace[i] = sum[i] / v;
        error[i] = v > 1 ? sqrt(fmax(square[i] / v - trace[i] * trace[i], 0) / (v - 1)) : 0;
    }
    *used = v;
    return BL_OK;
}

bl_status bl_hessian_traces(bl_ctx *ctx, const bl_graph *graph, bl_data *data, const int64_t *index, int64_t samples,
                            const int *values, int n, const bl_trace_options *options, double *trace, double *error,
                            int *used)
{
    const bl_trace_options usual = {.vectors = 200, .tolerance = 1e-3};
    int y = graph->outputs[0], p = graph->values[y].producer;
    bool softmax = p >= 0 && !strcmp(graph->nodes[p].op->name, "Softmax");
    bl_arena *arena;
    bl_graph *batch;
    tracer *t;

    if (!bl_data_labelled(data))
        return bl_fail(ctx, BL_DATA, bl_data_name(data), "give labels", "the loss needs labelled samples");
    BL_TRY(bl_graph_rebatch(ctx, graph, CHUNK, &batch));
    arena = bl_arena_new(ctx, "hessian");
    t = arena ? BL_NEW(arena, tracer, 1) : NULL;
    bl_status status = t ? BL_OK : bl_pending(ctx);
    if (t) {
        *t = (tracer){.ctx = ctx, .graph = graph, .batch = batch, .data = data, .index = index, .samples = samples,
                      .per = bl_data_sample_size(data), .chunks = (samples + CHUNK - 1) / CHUNK, .values = values, .n = n, .differences = (options ? options : &usual)->differences,
                      .logits = softmax ? graph->nodes[p].in[0] : y};
        int64_t classes = bl_tensor_count(&batch->values[t->logits].t) / CHUNK;
        if (bl_data_label_max(data) >= classes)
            status = bl_fail(ctx, BL_DATA, bl_data_name(data), "give the network's own labels",
                             "label %d, but the network has %lld outputs", bl_data_label_max(data), (long long)classes);
        if (status == BL_OK) status = open_tracer(t, arena);
        if (status == BL_OK) status = run_vectors(t, options ? options : &usual, arena, trace, error, used);
        for (int i = 0; i < WORKERS_MAX; i++) {
            bl_back_free(t->back[i]);
            bl_walk_free(t->walk[i]);
        }
    }
    bl_arena_free(arena);
    bl_graph_free(batch);
    return status;
}
