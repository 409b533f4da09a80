/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which channels share a grid badly.  Every value that could be cut in front of a depthwise layer (graph/split.c) is
 * watched on the calibration samples; its channels are put into classes of similar span.
 *
 * On one grid a channel of span s has the error of the widest one, S: (S / s)^2 times what it could have.  Classes are
 * runs of the channels in order of span, those whose sum of (S_class / s)^2 is least (a shortest path); the fewest
 * that bring its mean below GOOD, where the whole has more than BAD.
 */
#include "quant/quant.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BAD 16.0                /* two bits lost on average */
#define GOOD 4.0                /* one */
#define RATIO_MOST 1e8          /* a channel that hardly moves counts no more than this */

typedef struct watch {
    const bl_split_site *sites;
    int n;
    size_t n_spans;             /* of all sites, one a channel */
    float *lo, *hi;             /* [chunk][channel of site] */
} watch;

static bl_status watch_value(void *arg, const bl_look *at, int value, const bl_tensor *t)
{
    watch *w = arg;
    float *lo = w->lo + at->chunk * w->n_spans, *hi = w->hi + at->chunk * w->n_spans;
    for (int i = 0; i < w->n; i++) {
        int64_t channels = w->sites[i].channels, plane = bl_tensor_count(t) / (at->batch * channels);
        for (int64_t row = 0; w->sites[i].value == value && row < at->count * channels; row++) {
            const float *x = (const float *)t->data + row * plane;
            float *least = lo + row % channels, *greatest = hi + row % channels;
            for (int64_t k = 0; k < plane; k++) {
                *least = x[k] < *least ? x[k] : *least;
                *greatest = x[k] > *greatest ? x[k] : *greatest;
            }
        }
        lo += channels;
        hi += channels;
    }
    return BL_OK;
}

/* ------------------------------------------------------------------ classes */

typedef struct ranked { double span; int64_t channel; } ranked;

static int by_span(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->span != y->span) return x->span < y->span ? -1 : 1;
    return x->channel < y->channel ? -1 : x->channel > y->channel;
}

static double loss(double top, double span)
{
    return span > 0 ? fmin(top / span * (top / span), RATIO_MOST) : 0; /* a channel that is 0 is exact */
}

/* least[k][j]: loss of the first j channels in k classes; from[k][j]: where the last of them begins. */
static void shortest(const ranked *r, int64_t n, int most, double *least, int64_t *from)
{
    for (int64_t j = 0; j <= n; j++) least[j] = j ? INFINITY : 0;
    for (int k = 1; k <= most; k++) {
        double *now = least + k * (n + 1), *before = now - (n + 1);
        for (int64_t j = 0; j <= n; j++) {
            double sum = 0;
            now[j] = INFINITY;
            for (int64_t i = j - 1; i >= 0; i--) {
                sum += loss(r[j - 1].span, r[i].span);
                if (sum >= now[j]) break;
                if (before[i] + sum < now[j]) {
                    now[j] = before[i] + sum;
                    from[k * (n + 1) + j] = i;
                }
            }
        }
    }
}

static bl_status classify(bl_ctx *ctx, bl_arena *a, bl_split_site *s, const float *lo, const float *hi, int most)
{
    int64_t n = s->channels;
    ranked *r = BL_NEW(a, ranked, (size_t)n);
    double *least = bl_alloc(a, (size_t)(most + 1), (size_t)(n + 1) * sizeof *least);
    int64_t *from = bl_alloc(a, (size_t)(most + 1), (size_t)(n + 1) * sizeof *from);
    int *class_of = BL_NEW(a, int, (size_t)n), k = 1;
    if (!r || !least || !from || !class_of) return bl_pending(ctx);
    for (int64_t c = 0; c < n; c++) r[c] = (ranked){ (double)hi[c] - lo[c], c };
    qsort(r, (size_t)n, sizeof *r, by_span);
    shortest(r, n, most, least, from);
    s->loss = least[n + 1 + n] / (double)n;
    if (s->loss > BAD)
        while (k < most && least[k * (n + 1) + n] / (double)n > GOOD) k++;
    s->n_classes = k;
    s->loss_split = least[k * (n + 1) + n] / (double)n;
    for (int64_t j = n; k > 0; k--) {
        int64_t i = from[k * (n + 1) + j];
        for (int64_t c = i; c < j; c++) class_of[r[c].channel] = k - 1;
        j = i;
    }
    s->class_of = class_of;
    return BL_OK;
}

static bl_status watch_all(bl_ctx *ctx, const bl_graph *g, bl_data *data, int64_t samples, bl_arena *a, watch *w, size_t *chunks)
{
    bl_shards s = { .graph = g, .data = data, .stage = "watch channels", .look = watch_value };
    uint8_t *looks = BL_NEW(a, uint8_t, (size_t)g->n_values);
    int64_t *index;
    BL_TRY(bl_data_pick(data, samples, a, &index, &s.n));
    s.index = index;
    *chunks = (size_t)s.n;
    for (int i = 0; i < w->n; i++) w->n_spans += (size_t)w->sites[i].channels;
    w->lo = bl_alloc(a, (size_t)s.n, w->n_spans * sizeof(float));
    w->hi = bl_alloc(a, (size_t)s.n, w->n_spans * sizeof(float));
    if (!looks || !w->lo || !w->hi) return bl_pending(ctx);
    for (int i = 0; i < w->n; i++) looks[w->sites[i].value] = 1;
    s.looks = looks;
    memset(w->lo, 0, (size_t)s.n * w->n_spans * sizeof(float));
    memset(w->hi, 0, (size_t)s.n * w->n_spans * sizeof(float));
    BL_TRY(bl_shards_run(ctx, &s, NULL, w));
    for (size_t c = 1; c < *chunks; c++)
        for (size_t i = 0; i < w->n_spans; i++) {
            w->lo[i] = fminf(w->lo[i], w->lo[c * w->n_spans + i]);
            w->hi[i] = fmaxf(w->hi[i], w->hi[c * w->n_spans + i]);
        }
    return BL_OK;
}

static bl_status split(bl_ctx *ctx, const bl_graph *g, bl_data *data, int64_t samples, int classes, bl_arena *a,
                       bl_split *told, bl_graph **out)
{
    bl_split_site *sites;
    watch w = { 0 };
    size_t chunks, at = 0;
    BL_TRY(bl_split_find(ctx, g, a, &sites, &w.n));
    w.sites = sites;
    told->sites = w.n;
    if (w.n) BL_TRY(watch_all(ctx, g, data, samples, a, &w, &chunks));
    for (int i = 0; i < w.n; at += (size_t)sites[i++].channels) {
        BL_TRY(classify(ctx, a, &sites[i], w.lo + at, w.hi + at, classes));
        told->cut += sites[i].n_classes > 1;
        told->parts += sites[i].n_classes > 1 ? sites[i].n_classes : 0;
    }
    return bl_graph_split(ctx, g, sites, w.n, out);
}

bl_status bl_split_channels(bl_ctx *ctx, const bl_graph *graph, bl_data *data, int64_t samples, int classes, bl_split *told,
                            bl_graph **out)
{
    bl_split mine = { 0 };
    if (classes < 2 || classes > BL_SPLIT_MOST)
        return bl_fail(ctx, BL_USAGE, "split channels", "give 2 to 16", "%d is no number of classes", classes);
    BL_TRY(bl_graph_wants_float(ctx, graph));
    bl_arena *a = bl_arena_new(ctx, "splitting channels");
    BL_ALLOC_TRY(ctx, a);
    bl_status s = split(ctx, graph, data, samples ? samples : 256, classes, a, &mine, out);
    bl_arena_free(a);
    if (s == BL_OK && told) *told = mine;
    return s;
}
