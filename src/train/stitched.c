/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A plan's weights put together from sets of rounded ones (PMP, arXiv 2302.05397): each layer takes those of its
 * width.  What no set has is rounded the same way here, so the result does not depend on which sets were there.
 * Rounding from float inputs knows nothing of what earlier layers lost: biases are corrected at the end (DFQ, arXiv
 * 1906.04721) where that raises the output's signal to noise on the calibration samples.
 */
#include "train/rounding.h"

#include <math.h>
#include <string.h>

/* ------------------------------------------------------------------ the output's noise */

typedef struct listening {
    int value;
    int64_t size;
    float *clean;
    double *noise;              /* by sample; NULL: the clean run */
} listening;

static bl_status hear(void *user, const bl_look *at, int value, const bl_tensor *t)
{
    listening *h = user;
    const float *y = t->data;
    (void)value;
    for (int64_t s = at->first; s < at->first + at->count; s++, y += h->size) {
        float *clean = h->clean + s * h->size;
        if (!h->noise) memcpy(clean, y, (size_t)h->size * sizeof *y);
        for (int64_t i = 0; h->noise && i < h->size; i++) h->noise[s] += ((double)y[i] - clean[i]) * ((double)y[i] - clean[i]);
    }
    return BL_OK;
}

static bl_status noise_under(bl_ctx *ctx, bl_shards *s, listening *h, const bl_tune_input *in, const bl_weights *w, double *out)
{
    BL_TRY(bl_fake_new(ctx, in->graph, in->plan, w, &s->fake));
    memset(h->noise, 0, (size_t)s->n * sizeof *h->noise);
    bl_status status = bl_shards_run(ctx, s, NULL, h);
    bl_fake_free(s->fake);
    s->fake = NULL;
    *out = 0;
    for (int64_t i = 0; i < s->n; i++) *out += h->noise[i];
    return status;
}

/* Corrects the biases; takes that back where it does not help. */
static bl_status finish_biases(bl_ctx *ctx, const bl_tune_input *in, bl_arena *a, bl_weights *out)
{
    const bl_graph *g = in->graph;
    bl_shards s = {.graph = g, .data = in->data, .look = hear};
    listening h = {.value = g->outputs[0]};
    int64_t *index;
    int stitched = out->n_items;
    double before, after;

    if (g->values[h.value].t.type != BL_F32) return BL_OK;
    int last = g->values[h.value].producer;
    if (last >= 0 && !strcmp(g->nodes[last].op->name, "Softmax")) h.value = g->nodes[last].in[0]; /* it flattens noise */
    BL_TRY(bl_data_pick(in->data, in->samples, a, &index, &s.n));
    s.index = index;
    h.size = bl_tensor_count(&g->values[h.value].t) / g->batch;
    h.clean = bl_alloc(a, (size_t)s.n, (size_t)h.size * sizeof(float));
    double *noise = BL_NEW(a, double, (size_t)s.n);
    uint8_t *looks = BL_NEW(a, uint8_t, (size_t)g->n_values);
    if (!h.clean || !noise || !looks) return bl_pending(ctx);
    looks[h.value] = 1;
    s.looks = looks;
    BL_TRY(bl_shards_run(ctx, &s, NULL, &h));
    h.noise = noise;
    BL_TRY(noise_under(ctx, &s, &h, in, out, &before));
    BL_TRY(bl_tune_bias_correction(ctx, in, out));
    BL_TRY(noise_under(ctx, &s, &h, in, out, &after));
    if (!(after < before)) out->n_items = stitched;
    return BL_OK;
}

/* ------------------------------------------------------------------ weights */

/* Is what a set has on the plan's grid?  A plan may widen scales for a large bias. */
static bool on_grid(const bl_tensor *t, const bl_quantizer *q, const float *made)
{
    int64_t n = bl_tensor_count(t), inner = 1, axis = q->n_scale > 1 ? q->axis : 0;
    for (int d = (int)axis + 1; d < t->rank; d++) inner *= t->dim[d];
    for (int64_t i = 0; i < n; i++) {
        float code = made[i] / q->scale[q->n_scale > 1 ? i / inner % q->n_scale : 0];
        if (fabsf(code - rintf(code)) > 1e-3f) return false;
    }
    return true;
}

static bl_status take_weights(bl_ctx *ctx, const bl_tune_input *in, bl_arena *a, bl_weights *out)
{
    const bl_graph *g = in->graph;
    bl_round_job *jobs = BL_NEW(a, bl_round_job, (size_t)g->n_nodes);
    uint8_t *seen = BL_NEW(a, uint8_t, (size_t)g->n_values);
    size_t n_jobs = 0;

    if (!jobs || !seen) return bl_pending(ctx);
    for (int i = 0; i < g->n_nodes; i++) {
        int v = bl_layer_weight(g, i);
        const bl_quantizer *q = v >= 0 && in->plan->of_value[v] >= 0 ? &in->plan->quantizers[in->plan->of_value[v]] : NULL;
        if (!q || q->kind != BL_Q_AFFINE || !bl_round_bits(q->bits) || seen[v]) continue;
        const bl_tensor *t = &g->values[v].t;
        const float *made = in->rounded ? bl_rounded_find(in->rounded, v, q->bits) : NULL;
        float *data;
        seen[v] = 1;
        BL_TRY(bl_weights_replace(ctx, g, out, v, &data));
        if (made && on_grid(t, q, made)) memcpy(data, made, bl_tensor_bytes(t));
        else jobs[n_jobs++] = (bl_round_job){.node = i, .q = *q, .stored = data}; /* stays where the layer cannot be rounded so */
    }
    return n_jobs ? bl_round_jobs(ctx, g, in->data, in->samples, jobs, n_jobs, NULL, NULL) : BL_OK;
}

bl_status bl_tune_stitched(bl_ctx *ctx, const bl_tune_input *in, bl_weights *out)
{
    bl_arena *a = bl_arena_new(ctx, "stitched weights");
    bl_status s = a ? take_weights(ctx, in, a, out) : bl_pending(ctx);
    if (s == BL_OK) s = finish_biases(ctx, in, a, out);
    bl_arena_free(a);
    return s;
}
