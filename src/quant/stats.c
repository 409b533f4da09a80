/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * STATS: two passes of the float walk over the calibration samples.  The first finds ranges and
 * moments, the second counts a histogram over the final range, so that bins never move and counts
 * are integers, moments are added up sample by sample: the record does not depend on chunking or threads.
 */
#include "quant/quant.h"

#include <string.h>

#define GREATEST 1e29f /* scales of programs are below 1e30 */

typedef struct pass {
    bl_ctx *ctx;
    const bl_graph *g;
    bl_stats *st;
    struct moments { double lo, hi, sum, square; uint64_t count; } *moments; /* [sample][value] */
    uint64_t **bins;            /* [worker]: [value][BL_HIST_BINS] */
    bl_arena **worker_arena;
} pass;

static bool is_watched(const bl_graph *g, int v)
{
    return g->values[v].t.type == BL_F32 && !g->values[v].t.data;
}

/* Where the samples of a chunk lie in a value: the dimension that the batch changes is cut, wherever it stands; a value that it does not
 * change is one sample. */
typedef struct cut {
    size_t samples;             /* that count: the last chunk is filled up */
    size_t blocks, each;        /* of one sample, and elements of each */
    size_t step, next;          /* from block to block, from sample to sample */
} cut;

static cut cut_of(const bl_graph *g, const bl_look *at, int v, const bl_tensor *t)
{
    const bl_tensor *one = &g->values[v].t;
    size_t outer = 1, inner = 1;
    int axis = 0;
    while (axis < t->rank && at->batch != g->batch && t->dim[axis] == one->dim[axis]) outer *= (size_t)t->dim[axis++];
    if (axis == t->rank || t->dim[axis] % at->batch != 0) return (cut){ 1, 1, (size_t)bl_tensor_count(t), 0, 0 };
    for (int d = axis + 1; d < t->rank; d++) inner *= (size_t)t->dim[d];
    size_t each = (size_t)(t->dim[axis] / at->batch) * inner;
    return (cut){ (size_t)at->count, outer, each, (size_t)t->dim[axis] * inner, each };
}

static bl_status first_pass(void *arg, const bl_look *at, int v, const bl_tensor *t)
{
    pass *p = arg;
    cut c = cut_of(p->g, at, v, t);
    for (size_t k = 0; k < c.samples; k++) {
        struct moments m = { .lo = INFINITY, .hi = -INFINITY, .count = c.blocks * c.each };
        float lo = INFINITY, hi = -INFINITY;
        for (size_t b = 0; b < c.blocks; b++) {
            const float *x = (const float *)t->data + k * c.next + b * c.step;
            for (size_t i = 0; i < c.each; i++) {
                lo = x[i] < lo ? x[i] : lo;
                hi = x[i] > hi ? x[i] : hi;
                m.sum += x[i];
                m.square += (double)x[i] * x[i];
            }
        }
        if (!isfinite(m.sum))
            return bl_fail(p->ctx, BL_DATA, p->g->values[v].name, "check --mean and --std and the network",
                           "NaN or infinity in this value on the calibration data");
        if (hi > GREATEST || lo < -GREATEST)
            return bl_fail(p->ctx, BL_DATA, p->g->values[v].name, "check --mean and --std and the network",
                           "numbers of %.3g in this value on the calibration data: no grid reaches so far", (double)(hi > -lo ? hi : lo));
        m.lo = lo;
        m.hi = hi;
        p->moments[((size_t)at->first + k) * (size_t)p->g->n_values + (size_t)v] = m;
    }
    return BL_OK;
}

static void merge_moments(pass *p, size_t samples)
{
    for (int v = 0; v < p->g->n_values; v++) {
        bl_value_stats *s = &p->st->value[v];
        double sum = 0, square = 0;
        for (size_t c = 0; c < samples; c++) {
            const struct moments *m = &p->moments[c * (size_t)p->g->n_values + (size_t)v];
            if (!m->count) continue;
            if (!s->count || m->lo < s->lo) s->lo = m->lo;
            if (!s->count || m->hi > s->hi) s->hi = m->hi;
            s->count += m->count;
            sum += m->sum;
            square += m->square;
        }
        if (!s->count) continue;
        s->mean = sum / (double)s->count;
        s->mean_square = square / (double)s->count;
    }
}

static bl_status second_pass(void *arg, const bl_look *at, int v, const bl_tensor *t)
{
    pass *p = arg;
    unsigned worker = at->worker;
    if (!p->bins[worker]) {
        p->worker_arena[worker] = bl_arena_new(p->ctx, "histograms");
        BL_ALLOC_TRY(p->ctx, p->worker_arena[worker]);
        p->bins[worker] = BL_NEW(p->worker_arena[worker], uint64_t, (size_t)p->g->n_values * BL_HIST_BINS);
        BL_ALLOC_TRY(p->ctx, p->bins[worker]);
    }
    const bl_value_stats *s = &p->st->value[v];
    cut c = cut_of(p->g, at, v, t);
    uint64_t *bins = p->bins[worker] + (size_t)v * BL_HIST_BINS;
    float lo = (float)s->lo, k = s->hi > s->lo ? (float)(BL_HIST_BINS / (s->hi - s->lo)) : 0;
    for (size_t n = 0; n < c.samples * c.blocks; n++) {
        const float *x = (const float *)t->data + n / c.blocks * c.next + n % c.blocks * c.step;
        for (size_t i = 0; i < c.each; i++) {
            int b = (int)((x[i] - lo) * k);
            bins[b < 0 ? 0 : b >= BL_HIST_BINS ? BL_HIST_BINS - 1 : b]++;
        }
    }
    return BL_OK;
}

static bl_stats *stats_new(bl_ctx *ctx, const bl_graph *g)
{
    bl_arena *a = bl_arena_new(ctx, "stats");
    if (!a) return NULL;
    bl_stats *st = BL_NEW(a, bl_stats, 1);
    bl_value_stats *value = st ? BL_NEW(a, bl_value_stats, (size_t)g->n_values) : NULL;
    if (!value) {
        bl_arena_free(a);
        return NULL;
    }
    *st = (bl_stats){ .arena = a, .graph = g->hash, .n_values = g->n_values, .value = value };
    return st;
}

static bl_status gather_bins(pass *p, unsigned workers)
{
    for (int v = 0; v < p->g->n_values; v++) {
        bl_value_stats *s = &p->st->value[v];
        if (!s->count) continue;
        s->bins = BL_NEW(p->st->arena, uint64_t, BL_HIST_BINS);
        BL_ALLOC_TRY(p->ctx, s->bins);
        for (unsigned w = 0; w < workers; w++)
            for (int b = 0; p->bins[w] && b < BL_HIST_BINS; b++)
                s->bins[b] += p->bins[w][(size_t)v * BL_HIST_BINS + (size_t)b];
    }
    return BL_OK;
}

static bl_status calibrate(pass *p, bl_data *data, int64_t samples, bl_arena *scratch)
{
    int64_t *index, n;
    bl_shards s = { .graph = p->g, .data = data, .stage = "calibrate", .look = first_pass };
    uint8_t *looks = BL_NEW(scratch, uint8_t, (size_t)p->g->n_values);
    unsigned workers = bl_threads(p->ctx);
    BL_TRY(bl_data_pick(data, samples, scratch, &index, &n));
    s.index = index;
    s.n = n;
    p->st->samples = n;
    p->moments = bl_alloc(scratch, (size_t)n * (size_t)p->g->n_values, sizeof *p->moments);
    p->bins = BL_NEW(scratch, uint64_t *, workers);
    p->worker_arena = BL_NEW(scratch, bl_arena *, workers);
    if (!looks || !p->moments || !p->bins || !p->worker_arena) return bl_pending(p->ctx);
    for (int v = 0; v < p->g->n_values; v++) looks[v] = is_watched(p->g, v);
    s.looks = looks;
    BL_TRY(bl_shards_run(p->ctx, &s, NULL, p));
    merge_moments(p, (size_t)n);
    s.stage = "histograms";
    s.look = second_pass;
    bl_status status = bl_shards_run(p->ctx, &s, NULL, p);
    if (status == BL_OK) status = gather_bins(p, workers);
    for (unsigned w = 0; w < workers; w++) bl_arena_free(p->worker_arena[w]);
    return status;
}

bl_status bl_calibrate(bl_ctx *ctx, const bl_graph *graph, bl_data *data, const bl_calibrate_options *options,
                       bl_stats **out)
{
    int64_t samples = options && options->samples ? options->samples : 256;
    BL_CHECK(ctx, graph->prepared);
    BL_TRY(bl_graph_wants_float(ctx, graph));
    bl_arena *scratch = bl_arena_new(ctx, "calibrate");
    BL_ALLOC_TRY(ctx, scratch);
    pass p = { .ctx = ctx, .g = graph, .st = stats_new(ctx, graph) };
    bl_status s = p.st ? calibrate(&p, data, samples, scratch) : bl_pending(ctx);
    bl_arena_free(scratch);
    if (s != BL_OK) {
        bl_stats_free(p.st);
        return s;
    }
    p.st->data = bl_data_hash(data);
    *out = p.st;
    return BL_OK;
}

void bl_stats_free(bl_stats *stats)
{
    if (stats) bl_arena_free(stats->arena);
}

/* ---- stats.json */

static json_t *bins_json(const uint64_t *bins)
{
    json_t *a = json_array();
    int last = BL_HIST_BINS;
    while (last > 0 && !bins[last - 1]) last--;
    for (int b = 0; b < last; b++) json_array_append_new(a, json_integer((json_int_t)bins[b]));
    return a;
}

bl_status bl_stats_write(bl_ctx *ctx, const bl_graph *graph, bl_stats *stats, const char *path)
{
    json_t *r = bl_record_new(ctx, "stats", 1, 0), *values = json_array();
    json_object_set_new(r, "made_from", json_pack("{s:s, s:s}", "graph", stats->graph.hex, "data", stats->data.hex));
    json_object_set_new(r, "samples", json_integer(stats->samples));
    json_object_set_new(r, "bins", json_integer(BL_HIST_BINS));
    for (int v = 0; v < stats->n_values; v++) {
        const bl_value_stats *s = &stats->value[v];
        if (!s->count) continue;
        json_array_append_new(values, json_pack("{s:s, s:f, s:f, s:f, s:f, s:I, s:o}", "name",
            graph->values[v].name, "lo", s->lo, "hi", s->hi, "mean", s->mean, "mean_square", s->mean_square,
            "count", (json_int_t)s->count, "histogram", bins_json(s->bins)));
    }
    json_object_set_new(r, "values", values);
    bl_status st = bl_record_write(ctx, r, path, &stats->hash);
    json_decref(r);
    return st;
}

static bl_status read_value(bl_ctx *ctx, const bl_graph *g, const json_t *item, const char *path, bl_stats *st)
{
    const char *name;
    json_t *bins;
    int64_t count;
    BL_TRY(bl_json_str(ctx, item, "name", path, &name));
    int v = bl_graph_find_value(g, name);
    if (v < 0)
        return bl_fail(ctx, BL_DATA, path, "give the statistics of this network",
                       "value \"%s\" is not in the network", name);
    bl_value_stats *s = &st->value[v];
    BL_TRY(bl_json_f64(ctx, item, "lo", path, &s->lo));
    BL_TRY(bl_json_f64(ctx, item, "hi", path, &s->hi));
    BL_TRY(bl_json_f64(ctx, item, "mean", path, &s->mean));
    BL_TRY(bl_json_f64(ctx, item, "mean_square", path, &s->mean_square));
    BL_TRY(bl_json_i64(ctx, item, "count", path, 1, INT64_MAX, &count));
    BL_TRY(bl_json_array(ctx, item, "histogram", path, BL_HIST_BINS, &bins));
    s->count = (uint64_t)count;
    s->bins = BL_NEW(st->arena, uint64_t, BL_HIST_BINS);
    BL_ALLOC_TRY(ctx, s->bins);
    for (size_t b = 0; b < json_array_size(bins); b++) {
        const json_t *x = json_array_get(bins, b);
        if (!json_is_integer(x) || json_integer_value(x) < 0)
            return bl_fail(ctx, BL_DATA, path, "calibrate again", "value \"%s\": histogram entry %zu", name, b);
        s->bins[b] = (uint64_t)json_integer_value(x);
    }
    return s->lo <= s->hi ? BL_OK : bl_fail(ctx, BL_DATA, path, "calibrate again", "value \"%s\": lo > hi", name);
}

static bl_status read_stats(bl_ctx *ctx, const bl_graph *g, const json_t *r, const char *path, bl_stats *st)
{
    json_t *from, *values;
    const char *graph, *data;
    BL_TRY(bl_json_object(ctx, r, "made_from", path, &from));
    BL_TRY(bl_json_str(ctx, from, "graph", path, &graph));
    BL_TRY(bl_json_str(ctx, from, "data", path, &data));
    if (strcmp(graph, g->hash.hex))
        return bl_fail(ctx, BL_DATA, path, "calibrate this network", "the record of another network");
    snprintf(st->data.hex, sizeof st->data.hex, "%s", data);
    BL_TRY(bl_json_i64(ctx, r, "samples", path, 1, INT64_MAX, &st->samples));
    BL_TRY(bl_json_array(ctx, r, "values", path, (size_t)g->n_values, &values));
    for (size_t i = 0; i < json_array_size(values); i++)
        BL_TRY(read_value(ctx, g, json_array_get(values, i), path, st));
    return BL_OK;
}

bl_status bl_stats_read(bl_ctx *ctx, const bl_graph *graph, const char *path, bl_stats **out)
{
    json_t *r;
    bl_hash hash;
    BL_TRY(bl_record_read(ctx, path, "stats", 1, NULL, &r, &hash));
    bl_stats *st = stats_new(ctx, graph);
    bl_status s = st ? read_stats(ctx, graph, r, path, st) : bl_pending(ctx);
    json_decref(r);
    if (s != BL_OK) {
        bl_stats_free(st);
        return s;
    }
    st->hash = hash;
    *out = st;
    return BL_OK;
}
