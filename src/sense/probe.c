/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs probes.  Each chunk of samples runs once as it is; a probe computes only what lies behind its
 * unit.  Changed weights are made when they are needed, into one buffer a worker: all widths of a large
 * network side by side would be several times the network.
 */
#include "sense/probe.h"
#include "train/train.h"

#include <math.h>
#include <string.h>

#define WORKERS_MAX 256

/* What all probes of a unit share. */
typedef struct unit_marks {
    uint8_t *nodes;             /* run again */
    uint8_t *values;            /* keep their clean content and are only quantized */
    uint8_t *uses;              /* which values the hook writes */
} unit_marks;

typedef struct run {
    bl_ctx *ctx;
    bl_probes *p;
    unit_marks *marks;          /* by unit; nodes NULL: nobody asks */
    bl_grid *grid;              /* by probe: of its unit's values */
    bl_weight_grid *weights;    /* by (probe, layer of its unit) */
    size_t *first;              /* by probe: into weights */
    int *label;                 /* by sample, where a judge asks */
    int metric_value;
    uint8_t *none;              /* uses where only weights change */
    uint8_t *looks;             /* values whose trial is looked at */
    size_t most;                /* weights of the largest layer */
    float *buffer[WORKERS_MAX];
    int8_t *codes[WORKERS_MAX];
    bl_arena *arena[WORKERS_MAX];
} run;

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

static void mark_values(const bl_graph *g, const bl_unit *u, const unit_marks *m)
{
    for (int i = 0; i < u->n_values; i++) {
        int p = g->values[u->values[i]].producer;
        m->uses[u->values[i]] = BL_HOOK_WRITES;
        m->values[u->values[i]] = p < 0 || !m->nodes[p];
    }
}

static bl_status mark_unit(run *r, bl_arena *a, int u)
{
    const bl_graph *g = r->p->in->graph;
    unit_marks *m = &r->marks[u];
    uint8_t *touched;

    if (m->nodes) return BL_OK;
    m->nodes = BL_NEW(a, uint8_t, (size_t)g->n_nodes);
    m->values = BL_NEW(a, uint8_t, (size_t)g->n_values);
    m->uses = BL_NEW(a, uint8_t, (size_t)g->n_values);
    touched = BL_NEW(a, uint8_t, (size_t)g->n_values);
    if (!m->nodes || !m->values || !m->uses || !touched) return bl_pending(r->ctx);
    mark_nodes(g, &r->p->in->menu->units[u], m->nodes, touched);
    mark_values(g, &r->p->in->menu->units[u], m);
    return BL_OK;
}

static bl_grid_options grids_of(const bl_sens *s)
{
    return (bl_grid_options){ .act_range = s->act_range, .weight_range = s->weight_range, .per_tensor = s->per_tensor,
                              .narrow = s->narrow, .power_of_two = s->power_of_two, .codebook = s->codebook, .weight_group = s->weight_group };
}

/* Grids of every layer and width that some probe asks for, side by side. */
static bl_status make_weight_grids(run *r, bl_arena *a)
{
    const bl_graph *g = r->p->in->graph;
    const bl_menu *menu = r->p->in->menu;
    bl_grid_options options = grids_of(r->p->sens);
    size_t most = 0, n = 0;

    for (size_t i = 0; i < r->p->n; i++) most += (size_t)menu->units[r->p->list[i].unit].n_layers;
    int *layers = BL_NEW(a, int, most), *bits = BL_NEW(a, int, most);
    size_t *of = BL_NEW(a, size_t, most);
    bl_weight_grid *grids = BL_NEW(a, bl_weight_grid, most);
    r->weights = BL_NEW(a, bl_weight_grid, most);
    if (!layers || !bits || !of || !grids || !r->weights) return bl_pending(r->ctx);
    for (size_t i = 0, k = 0; i < r->p->n; i++) {
        const bl_probe *q = &r->p->list[i];
        const bl_unit *unit = &menu->units[q->unit];
        r->first[i] = k;
        for (int l = 0; l < unit->n_layers; l++, k++) {
            size_t j = 0;
            of[k] = SIZE_MAX;
            r->most = BL_MAX(r->most, (size_t)bl_tensor_count(&g->values[bl_layer_weight(g, unit->layers[l])].t));
            if (!q->w_bits) continue;
            while (j < n && !(layers[j] == unit->layers[l] && bits[j] == q->w_bits)) j++;
            of[k] = j;
            if (j == n) {
                layers[n] = unit->layers[l];
                bits[n++] = q->w_bits;
            }
        }
    }
    BL_TRY(bl_weight_grids(a, g, layers, bits, n, &options, grids));
    for (size_t k = 0; k < most; k++)
        if (of[k] != SIZE_MAX) r->weights[k] = grids[of[k]];
    return BL_OK;
}

static bl_status prepare(run *r, bl_arena *a)
{
    const bl_menu *menu = r->p->in->menu;
    const bl_observer *observer = bl_observer_find(r->p->sens->act_range);

    if (!observer)
        return bl_fail(r->ctx, BL_USAGE, r->p->sens->act_range, "see `bitlathe list observers`", "unknown range estimator");
    r->marks = BL_NEW(a, unit_marks, (size_t)menu->n_units);
    r->grid = BL_NEW(a, bl_grid, r->p->n);
    r->first = BL_NEW(a, size_t, r->p->n);
    r->none = BL_NEW(a, uint8_t, (size_t)r->p->in->graph->n_values);
    r->looks = BL_NEW(a, uint8_t, (size_t)r->p->in->graph->n_values);
    if (!r->marks || !r->grid || !r->first || !r->none || !r->looks) return bl_pending(r->ctx);
    r->looks[r->metric_value] = 1;
    for (size_t i = 0; i < r->p->n; i++) {
        const bl_probe *q = &r->p->list[i];
        BL_TRY(mark_unit(r, a, q->unit));
        if (q->a_bits)
            BL_TRY(bl_act_grid(r->ctx, r->p->in->graph, &menu->units[q->unit], r->p->in->stats, q->a_bits,
                               q->range ? bl_observer_find(q->range) : observer, r->p->sens->power_of_two,
                               &r->grid[i]));
    }
    return make_weight_grids(r, a);
}

/* ------------------------------------------------------------------ one probe */

/* Exactly round(share n) zeros at random places: a shuffle cut short. */
static bl_status mask_weights(const run *r, const bl_tensor *w, int layer, const bl_probe *q, bl_arena *a, float *out)
{
    int64_t n = bl_tensor_count(w), zeros = (int64_t)rint(q->share * (double)n);
    int32_t *order = BL_NEW(a, int32_t, (size_t)n);
    bl_rng rng = bl_rng_make(r->ctx->options.seed, r->p->in->graph->nodes[layer].name, (uint64_t)q->mask);

    BL_ALLOC_TRY(r->ctx, order);
    for (int64_t i = 0; i < n; i++) order[i] = (int32_t)i;
    memcpy(out, w->data, (size_t)n * sizeof *out);
    for (int64_t i = 0; i < zeros; i++) {
        int64_t j = i + (int64_t)bl_rng_below(&rng, (uint64_t)(n - i));
        int32_t t = order[j];
        order[j] = order[i];
        order[i] = t;
        out[t] = 0;
    }
    return BL_OK;
}

static bl_status change_layer(run *r, size_t i, int l, unsigned worker, bl_walk *walk)
{
    const bl_probe *q = &r->p->list[i];
    const bl_graph *g = r->p->in->graph;
    int layer = r->p->in->menu->units[q->unit].layers[l], v = bl_layer_weight(g, layer);
    const bl_tensor *w = &g->values[v].t;

    if (q->w_bits) {
        const bl_weight_grid *grid = &r->weights[r->first[i] + (size_t)l];
        const bl_rounded *sets = r->p->in->options ? r->p->in->options->rounded : NULL;
        const float *made = sets ? bl_rounded_find(sets, v, q->w_bits) : NULL;
        bl_tensor t = *w;
        if (made) t.data = (void *)(uintptr_t)made; /* on the grid already */
        bl_grid_codes(&t, grid, r->codes[worker]);
        bl_weight_decode(w, r->codes[worker], grid->scale, grid->n_scale, grid->axis, r->buffer[worker]);
    } else {
        bl_mark mark = bl_arena_mark(r->arena[worker]);
        bl_status s = mask_weights(r, w, layer, q, r->arena[worker], r->buffer[worker]);
        bl_arena_reset(r->arena[worker], mark);
        BL_TRY(s);
    }
    return bl_walk_set_constant(walk, v, r->buffer[worker]);
}

typedef struct hook_state { const run *r; size_t probe; } hook_state;

static bl_status probe_hook(void *user, int value, bl_tensor *t)
{
    const hook_state *h = user;
    const bl_probe *q = &h->r->p->list[h->probe];
    if (q->a_bits && h->r->p->in->menu->unit_of_value[value] == q->unit)
        bl_fake_quantize_array(t->data, (size_t)bl_tensor_count(t), h->r->grid[h->probe]);
    return BL_OK;
}

/* Several changed layers at once need a buffer each; the first has the worker's own. */
static bl_status run_probe(run *r, bl_walk *walk, size_t i, unsigned worker)
{
    const bl_probe *q = &r->p->list[i];
    const bl_unit *u = &r->p->in->menu->units[q->unit];
    const bl_graph *g = r->p->in->graph;
    const unit_marks *m = &r->marks[q->unit];
    hook_state h = { r, i };
    bool weights = q->w_bits || q->mask >= 0, values = q->a_bits != 0;
    bl_mark mark = bl_arena_mark(r->arena[worker]);
    float *own = r->buffer[worker];
    bl_status s = BL_OK;

    for (int l = 0; weights && s == BL_OK && l < u->n_layers; l++) {
        if (q->layer >= 0 && l != q->layer) continue;
        if (q->layer < 0 && l > 0) {
            r->buffer[worker] = bl_alloc(r->arena[worker], r->most, sizeof(float));
            if (!r->buffer[worker]) s = bl_pending(r->ctx);
        }
        if (s == BL_OK) s = change_layer(r, i, l, worker, walk);
    }
    r->buffer[worker] = own;
    if (s == BL_OK) {
        bl_walk_hook_uses(walk, values ? m->uses : r->none);
        s = bl_walk_rerun(walk, m->nodes, values ? m->values : NULL, probe_hook, &h);
        bl_walk_hook_uses(walk, NULL);
    }
    for (int l = 0; weights && l < u->n_layers; l++) {
        bl_status back = bl_walk_set_constant(walk, bl_layer_weight(g, u->layers[l]), NULL);
        s = s == BL_OK ? back : s;
    }
    bl_arena_reset(r->arena[worker], mark);
    return s;
}

static bl_status open_worker(run *r, unsigned worker)
{
    if (r->arena[worker]) return BL_OK;
    r->arena[worker] = bl_arena_new(r->ctx, "probe");
    BL_ALLOC_TRY(r->ctx, r->arena[worker]);
    r->buffer[worker] = bl_alloc(r->arena[worker], BL_MAX(r->most, 1), sizeof(float));
    r->codes[worker] = bl_alloc(r->arena[worker], BL_MAX(r->most, 1), 1);
    return r->buffer[worker] && r->codes[worker] ? BL_OK : bl_pending(r->ctx);
}

static bl_status run_chunk(void *arg, bl_walk *walk, size_t chunk, int64_t first, int64_t count, unsigned worker)
{
    run *r = arg;
    const bl_tensor *clean = bl_walk_value(walk, r->metric_value), *x = bl_walk_value(walk, r->p->in->graph->inputs[0]);
    int64_t per, cols;

    (void)chunk;
    BL_TRY(open_worker(r, worker));
    if (!clean || !x) return bl_pending(r->ctx);
    per = bl_tensor_count(clean) / x->dim[0];
    cols = clean->dim[clean->rank - 1];
    for (size_t i = 0; i < r->p->n; i++) {
        BL_TRY(bl_check_interrupt(r->ctx));
        BL_TRY(run_probe(r, walk, i, worker));
        const bl_tensor *changed = bl_walk_trial_value(walk, r->metric_value);
        if (!changed) return bl_pending(r->ctx);
        for (int64_t k = 0; k < count; k++) {
            const float *a = (const float *)clean->data + k * per, *b = (const float *)changed->data + k * per;
            r->p->answer[(size_t)(first + k) * r->p->n + i] =
                r->p->judge ? (bl_probe_answer){ r->p->judge(r->label + first + k, a, b, 1, cols), 0 }
                            : r->p->measure(a, b, r->p->rows, cols);
        }
    }
    return BL_OK;
}

/* Rows of one sample's output. */
static bl_status find_rows(run *r)
{
    const bl_graph *g = r->p->in->graph;
    const bl_tensor *y = &g->values[r->metric_value].t;
    int64_t per = bl_tensor_count(y) / g->batch;
    r->p->rows = y->rank > 0 && y->dim[y->rank - 1] > 0 ? per / y->dim[y->rank - 1] : 0;
    if (r->p->judge && r->p->rows != 1)
        return bl_fail(r->ctx, BL_UNAVAILABLE, g->source, "use the sensitivity sqnr", "labels want one row of scores a sample");
    return BL_OK;
}

bl_status bl_probes_run(bl_ctx *ctx, bl_probes *p, bl_arena *arena)
{
    const bl_sense_input *in = p->in;
    bl_arena *work = bl_arena_new(ctx, "probes");
    int64_t *index, want = in->options && in->options->samples ? in->options->samples : 128;
    run r = { .ctx = ctx, .p = p, .metric_value = bl_metric_value(in->graph, 0) };
    bl_status s = BL_OK;

    BL_ALLOC_TRY(ctx, work);
    s = bl_data_pick(in->data, want, work, &index, &p->samples);
    if (s == BL_OK && p->n) s = prepare(&r, work);
    if (s == BL_OK && p->judge) {
        r.label = BL_NEW(work, int, (size_t)p->samples);
        if (!r.label) s = bl_pending(ctx);
        const bl_tensor *y = &in->graph->values[r.metric_value].t;
        for (int64_t i = 0; s == BL_OK && i < p->samples; i++) {
            int64_t sample = index[i] / bl_data_windows(in->data);
            s = bl_labels_check(ctx, in->data, sample, 1, y->dim[BL_MAX(y->rank, 1) - 1]);
            r.label[i] = bl_data_label(in->data, sample);
        }
    }
    if (s == BL_OK && p->n) {
        s = find_rows(&r);
        p->answer = s == BL_OK ? BL_NEW(arena, bl_probe_answer, (size_t)p->samples * p->n) : NULL;
        if (s == BL_OK && !p->answer) s = bl_pending(ctx);
    }
    if (s == BL_OK && p->n) {
        bl_shards shards = { .graph = in->graph, .data = in->data, .index = index, .n = p->samples, .keep_all = true, .looks = r.looks,
                             .run = true, .stage = "sense" };
        s = bl_shards_run(ctx, &shards, run_chunk, &r);
    }
    for (unsigned w = 0; w < WORKERS_MAX; w++) bl_arena_free(r.arena[w]);
    bl_arena_free(work);
    return s;
}

/* ------------------------------------------------------------------ figures */

bl_status bl_weight_error(bl_ctx *ctx, const bl_sense_input *in, const bl_sens *sens, bl_arena *arena, int layer,
                          int bits, double *out)
{
    const bl_tensor *w = &in->graph->values[bl_layer_weight(in->graph, layer)].t;
    bl_grid_options options = grids_of(sens);
    bl_mark mark = bl_arena_mark(arena);
    int64_t n = bl_tensor_count(w);
    int8_t *codes = bl_alloc(arena, (size_t)n, 1);
    float *real = bl_alloc(arena, (size_t)n, sizeof *real);
    double error = 0, energy = 0;
    bl_weight_grid grid;

    if (!codes || !real) return bl_pending(ctx);
    BL_TRY(bl_weight_grids(arena, in->graph, &layer, &bits, 1, &options, &grid));
    bl_grid_codes(w, &grid, codes);
    bl_weight_decode(w, codes, grid.scale, grid.n_scale, grid.axis, real);
    for (int64_t i = 0; i < n; i++) {
        double x = ((const float *)w->data)[i], e = x - real[i];
        error += e * e;
        energy += x * x;
    }
    *out = energy > 0 ? error / energy : 0;
    bl_arena_reset(arena, mark);
    return BL_OK;
}

bl_probe_answer bl_probe_sum(const bl_probes *probes, size_t i, int64_t first, int64_t step)
{
    bl_probe_answer sum = { 0 };
    for (int64_t s = first; s < probes->samples; s += step) {
        sum.value += probes->answer[(size_t)s * probes->n + i].value;
        sum.signal += probes->answer[(size_t)s * probes->n + i].signal;
    }
    return sum;
}

bl_probe_answer bl_probe_noise(const float *clean, const float *changed, int64_t rows, int64_t cols)
{
    bl_probe_answer a = { 0 };
    for (int64_t i = 0; i < rows * cols; i++) {
        double e = (double)clean[i] - changed[i];
        a.signal += (double)clean[i] * clean[i];
        a.value += e * e;
    }
    return a;
}

bl_probe_answer bl_probe_kl(const float *clean, const float *changed, int64_t rows, int64_t cols)
{
    double total = 0;

    for (int64_t r = 0; r < rows; r++, clean += cols, changed += cols) {
        double a = clean[0], b = changed[0], sum_a = 0, sum_b = 0, kl = 0;
        for (int64_t i = 1; i < cols; i++) {
            a = fmax(a, (double)clean[i]);
            b = fmax(b, (double)changed[i]);
        }
        for (int64_t i = 0; i < cols; i++) {
            sum_a += exp(clean[i] - a);
            sum_b += exp(changed[i] - b);
        }
        for (int64_t i = 0; i < cols; i++) {
            double p = exp(clean[i] - a) / sum_a;
            kl += p * ((clean[i] - a - log(sum_a)) - (changed[i] - b - log(sum_b)));
        }
        total += fmax(kl, 0);
    }
    return (bl_probe_answer){ total, 0 };
}
