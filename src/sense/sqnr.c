/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SQNR at the network's output with one unit quantized and all else float, for every candidate.
 * Source: PMP (arXiv 2302.05397) phase 1:  10 log10( mean over batches of
 * mean(y^2) / (mean((y - y_q)^2) + 1e-12 mean(y^2)) ).  Each chunk of samples runs once in float; a
 * trial computes only what lies behind its unit.
 */
#include "sense/sense.h"

#include <string.h>

typedef struct trial {
    int unit, candidate;
    bl_grid grid;
    uint8_t *dirty_values;
    const uint8_t *dirty_nodes, *uses; /* of the unit; uses: which values the hook writes */
    size_t first_weight;        /* into weights[], one a layer of the unit */
} trial;

typedef struct sqnr {
    bl_ctx *ctx;
    const bl_sense_input *in;
    bl_sens *sens;
    trial *trials;
    size_t n_trials;
    const float **weights;      /* dequantized, by trial and layer */
    int metric_value;
    double *ratio;              /* [chunk][trial] signal to noise */
    size_t n_chunks;
} sqnr;

/* Nodes that must run again when the unit's values and weights change. */
static void mark_nodes(const bl_graph *g, const bl_unit *u, uint8_t *nodes, uint8_t *touched)
{
    for (int i = 0; i < u->n_values; i++) touched[u->values[i]] = 1;
    for (int i = 0; i < g->n_nodes; i++) {
        const bl_node *n = &g->nodes[i];
        bool dirty = false;
        for (int k = 0; k < n->n_in && !dirty; k++) dirty = n->in[k] >= 0 && touched[n->in[k]];
        nodes[i] = dirty;
        for (int k = 0; dirty && k < n->n_out; k++)
            if (n->out[k] >= 0) touched[n->out[k]] = 1;
    }
}

/* Values that keep their clean content and are only quantized: made by a node that does not run again. */
static void mark_values(const bl_graph *g, const bl_unit *u, const uint8_t *nodes, uint8_t *values, uint8_t *uses)
{
    for (int i = 0; i < u->n_values; i++) {
        uses[u->values[i]] = BL_HOOK_WRITES;
        int p = g->values[u->values[i]].producer;
        values[u->values[i]] = p < 0 || !nodes[p];
    }
}

static bl_status make_trials(sqnr *q, bl_arena *a)
{
    const bl_graph *g = q->in->graph;
    const bl_menu *m = q->in->menu;
    const bl_observer *observer = bl_observer_find(q->sens->act_range);
    if (!observer)
        return bl_fail(q->ctx, BL_USAGE, q->sens->act_range, "see `bitlathe list observers`", "unknown range estimator");
    size_t n = 0, n_weights = 0;
    for (int u = 0; u < m->n_units; u++)
        if (m->units[u].n_candidates > 1) {
            n += (size_t)m->units[u].n_candidates;
            n_weights += (size_t)m->units[u].n_candidates * (size_t)m->units[u].n_layers;
        }
    q->trials = BL_NEW(a, trial, n);
    q->weights = BL_NEW(a, const float *, n_weights);
    if (!q->trials || !q->weights) return bl_pending(q->ctx);
    size_t at_weight = 0;
    for (int u = 0; u < m->n_units; u++) {
        const bl_unit *unit = &m->units[u];
        if (unit->n_candidates < 2) continue;
        uint8_t *nodes = BL_NEW(a, uint8_t, (size_t)g->n_nodes), *touched = BL_NEW(a, uint8_t, (size_t)g->n_values);
        uint8_t *values = BL_NEW(a, uint8_t, (size_t)g->n_values), *uses = BL_NEW(a, uint8_t, (size_t)g->n_values);
        if (!nodes || !touched || !values || !uses) return bl_pending(q->ctx);
        mark_nodes(g, unit, nodes, touched);
        mark_values(g, unit, nodes, values, uses);
        for (int c = 0; c < unit->n_candidates; c++) {
            trial *t = &q->trials[q->n_trials++];
            *t = (trial){ .unit = u, .candidate = c, .dirty_nodes = nodes, .dirty_values = values, .uses = uses,
                          .first_weight = at_weight };
            at_weight += (size_t)unit->n_layers;
            BL_TRY(bl_act_grid(q->ctx, g, unit, q->in->stats, unit->candidates[c].a_bits, observer, &t->grid));
        }
    }
    return BL_OK;
}

/* Every layer at every width of its unit, dequantized once. */
static bl_status make_weights(sqnr *q, bl_arena *a)
{
    const bl_graph *g = q->in->graph;
    const bl_menu *m = q->in->menu;
    size_t n = 0, most = 0;
    for (size_t i = 0; i < q->n_trials; i++) most += (size_t)m->units[q->trials[i].unit].n_layers;
    int *layers = BL_NEW(a, int, most), *bits = BL_NEW(a, int, most);
    bl_weight_grid *grids = BL_NEW(a, bl_weight_grid, most);
    size_t *of = BL_NEW(a, size_t, most); /* grid of each (trial, layer): one for each width */
    if (!layers || !bits || !grids || !of) return bl_pending(q->ctx);
    for (size_t i = 0, k = 0; i < q->n_trials; i++) {
        const bl_unit *unit = &m->units[q->trials[i].unit];
        for (int l = 0; l < unit->n_layers; l++, k++) {
            int w = unit->candidates[q->trials[i].candidate].w_bits;
            size_t j = 0;
            while (j < n && !(layers[j] == unit->layers[l] && bits[j] == w)) j++;
            of[k] = j;
            if (j == n) {
                layers[n] = unit->layers[l];
                bits[n++] = w;
            }
        }
    }
    BL_TRY(bl_weight_grids(a, g, layers, bits, n, q->in->options ? &q->in->options->grids : NULL, grids));
    const float **real = BL_NEW(a, const float *, n);
    BL_ALLOC_TRY(q->ctx, real);
    for (size_t j = 0; j < n; j++) {
        const bl_tensor *w = &g->values[bl_layer_weight(g, layers[j])].t;
        size_t count = (size_t)bl_tensor_count(w);
        int8_t *codes = BL_NEW(a, int8_t, count);
        float *x = BL_NEW(a, float, count);
        if (!codes || !x) return bl_pending(q->ctx);
        bl_weight_codes(w, grids[j].scale, grids[j].n_scale, grids[j].axis, bits[j], grids[j].narrow, codes);
        bl_weight_decode(w, codes, grids[j].scale, grids[j].n_scale, grids[j].axis, x);
        real[j] = x;
    }
    for (size_t k = 0; k < most; k++) q->weights[k] = real[of[k]];
    return BL_OK;
}

typedef struct hook_state { const sqnr *q; const trial *t; } hook_state;

static bl_status trial_hook(void *user, int value, bl_tensor *t)
{
    const hook_state *h = user;
    if (h->q->in->menu->unit_of_value[value] == h->t->unit)
        bl_fake_quantize_array(t->data, (size_t)bl_tensor_count(t), h->t->grid);
    return BL_OK;
}

static double signal_to_noise(const float *clean, const float *noisy, size_t n)
{
    double signal = 0, noise = 0;
    for (size_t i = 0; i < n; i++) {
        double e = (double)clean[i] - noisy[i];
        signal += (double)clean[i] * clean[i];
        noise += e * e;
    }
    return signal / (noise + 1e-12 * signal + 1e-300);
}

static bl_status run_trial(const sqnr *q, bl_walk *walk, const trial *t, size_t n, double *ratio)
{
    const bl_graph *g = q->in->graph;
    const bl_unit *u = &q->in->menu->units[t->unit];
    hook_state h = { q, t };
    for (int l = 0; l < u->n_layers; l++)
        BL_TRY(bl_walk_set_constant(walk, bl_layer_weight(g, u->layers[l]), q->weights[t->first_weight + (size_t)l]));
    bl_walk_hook_uses(walk, t->uses);
    bl_status s = bl_walk_rerun(walk, t->dirty_nodes, t->dirty_values, trial_hook, &h);
    bl_walk_hook_uses(walk, NULL);
    for (int l = 0; l < u->n_layers; l++) BL_TRY(bl_walk_set_constant(walk, bl_layer_weight(g, u->layers[l]), NULL));
    BL_TRY(s);
    *ratio = signal_to_noise(bl_walk_value(walk, q->metric_value)->data,
                             bl_walk_trial_value(walk, q->metric_value)->data, n);
    return BL_OK;
}

static bl_status run_chunk(void *arg, bl_walk *walk, size_t chunk, int64_t first, int64_t count, unsigned worker)
{
    sqnr *q = arg;
    (void)first, (void)worker;
    const bl_tensor *y = bl_walk_value(walk, q->metric_value), *x = bl_walk_value(walk, q->in->graph->inputs[0]);
    size_t n = (size_t)(bl_tensor_count(y) / x->dim[0] * count);
    for (size_t i = 0; i < q->n_trials; i++) {
        BL_TRY(bl_check_interrupt(q->ctx));
        BL_TRY(run_trial(q, walk, &q->trials[i], n, &q->ratio[chunk * q->n_trials + i]));
    }
    return BL_OK;
}

static bl_status fill_cells(sqnr *q, size_t chunks)
{
    for (size_t i = 0; i < q->n_trials; i++) {
        double sum = 0, db = 0, db2 = 0;
        for (size_t c = 0; c < chunks; c++) {
            double r = q->ratio[c * q->n_trials + i], d = 10 * log10(r);
            sum += r;
            db += d;
            db2 += d * d;
        }
        double mean = sum / (double)chunks, var = db2 / (double)chunks - db / (double)chunks * (db / (double)chunks);
        bl_sens_cell *cell = &q->sens->cell[q->trials[i].unit][q->trials[i].candidate];
        if (!(mean > 0))
            return bl_fail(q->ctx, BL_DATA, q->in->graph->values[q->metric_value].name, "give other samples",
                           "the network's output is zero on all samples: no ratio to noise");
        cell->value = 10 * log10(mean);
        cell->standard_error = chunks > 1 ? sqrt(fmax(0, var) / (double)(chunks - 1)) : 0;
        cell->objective = q->trials[i].candidate == 0 ? 0 : 1 / mean;
    }
    return BL_OK;
}

static bl_status run_all(sqnr *q, bl_arena *a, int64_t samples)
{
    int64_t *index, n;
    BL_TRY(make_trials(q, a));
    BL_TRY(make_weights(q, a));
    if (!q->n_trials) return BL_OK;
    BL_TRY(bl_data_pick(q->in->data, samples, a, &index, &n));
    q->sens->samples = n;
    q->ratio = BL_NEW(a, double, (size_t)n * q->n_trials);
    BL_ALLOC_TRY(q->ctx, q->ratio);
    for (size_t i = 0; i < (size_t)n * q->n_trials; i++) q->ratio[i] = -1;
    bl_shards s = { .graph = q->in->graph, .data = q->in->data, .index = index, .n = n, .keep_all = true, .run = true,
                    .stage = "sense" };
    BL_TRY(bl_shards_run(q->ctx, &s, run_chunk, q));
    size_t chunks = 0;
    while (chunks < (size_t)n && q->ratio[chunks * q->n_trials] >= 0) chunks++;
    return fill_cells(q, chunks);
}

bl_status bl_sense_sqnr(bl_ctx *ctx, const bl_sense_input *in, bl_sens *sens)
{
    bl_arena *a = bl_arena_new(ctx, "sqnr");
    BL_ALLOC_TRY(ctx, a);
    sqnr q = { .ctx = ctx, .in = in, .sens = sens, .metric_value = bl_metric_value(in->graph, 0) };
    bl_status s = run_all(&q, a, in->options && in->options->samples ? in->options->samples : 128);
    bl_arena_free(a);
    return s;
}
