/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Codebooks: a layer's weights share 2^b numbers (k-means, Deep Compression 1510.00149; HAQ 1811.08886 for size).
 * A table holds int8 codes and every output channel has its scale, so that the integer kernels for 8 bits run what
 * the indices stand for.  k-means is done on all weights of a layer, each over its channel's root mean square:
 * k-means++, then Lloyd's steps on the sorted numbers, each of which finds its clusters by bisection.
 */
#include "quant/quant.h"

#include <stdlib.h>
#include <string.h>

enum { STEPS = 50, CODE_MAX = 127 };

typedef struct cloud {
    size_t n;
    double *x;                  /* weights over their channel's scale, sorted */
    double *sum;                /* running sums, n + 1 */
} cloud;

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* First point at or above x. */
static size_t first_from(const cloud *c, double x)
{
    size_t lo = 0, hi = c->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (c->x[mid] < x) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

/* k-means++: each next centre is a point drawn by its squared distance from the nearest one. */
static void draw_centres(const cloud *c, bl_rng *r, double *near, double *centre, int k)
{
    for (size_t i = 0; i < c->n; i++) near[i] = INFINITY;
    centre[0] = c->x[bl_rng_below(r, c->n)];
    for (int m = 1; m < k; m++) {
        double total = 0, at;
        size_t i = 0;
        for (size_t j = 0; j < c->n; j++) {
            double d = c->x[j] - centre[m - 1];
            near[j] = fmin(near[j], d * d);
            total += near[j];
        }
        at = bl_rng_unit(r) * total;
        while (i + 1 < c->n && (at -= near[i]) >= 0) i++;
        centre[m] = c->x[i];
    }
}

/* Lloyd's steps; an empty cluster keeps its centre. */
static void settle(const cloud *c, double *centre, int k)
{
    for (int step = 0; step < STEPS; step++) {
        bool moved = false;
        size_t from = 0;
        for (int m = 0; m < k; m++) {
            size_t to = m + 1 < k ? first_from(c, (centre[m] + centre[m + 1]) / 2) : c->n;
            if (to > from) {
                double mean = (c->sum[to] - c->sum[from]) / (double)(to - from);
                moved |= mean != centre[m];
                centre[m] = mean;
            }
            from = BL_MAX(from, to);
        }
        if (!moved) break;
    }
}

static bl_status gather(bl_arena *a, const bl_tensor *w, const bl_weight_grid *g, cloud *c)
{
    const float *x = w->data;
    size_t n = (size_t)bl_tensor_count(w), inner = 1;

    c->n = n;
    c->x = BL_NEW(a, double, n);
    c->sum = BL_NEW(a, double, n + 1);
    if (!c->x || !c->sum) return bl_pending(bl_arena_ctx(a));
    for (int d = w->rank - 1; g->n_scale > 1 && d > g->axis; d--) inner *= (size_t)w->dim[d];
    for (size_t i = 0; i < n; i++) c->x[i] = (double)x[i] / g->scale[g->n_scale > 1 ? i / inner % (size_t)g->n_scale : 0];
    qsort(c->x, n, sizeof *c->x, by_value);
    for (size_t i = 0; i < n; i++) c->sum[i + 1] = c->sum[i] + c->x[i];
    return BL_OK;
}

/* Every channel's root mean square, times one factor that leaves all weights within 127 codes. */
static void measure_channels(const bl_tensor *w, bl_weight_grid *g)
{
    const float *x = w->data;
    size_t n = (size_t)bl_tensor_count(w), inner = 1, per = n / (size_t)g->n_scale;
    double most = 0, largest = 0;

    for (int d = w->rank - 1; g->n_scale > 1 && d > g->axis; d--) inner *= (size_t)w->dim[d];
    for (int c = 0; c < g->n_scale; c++) {
        double square = 0, top = 0;
        for (size_t i = 0; i < per; i++) {
            double v = x[g->n_scale > 1 ? (i / inner * (size_t)g->n_scale + (size_t)c) * inner + i % inner : i];
            square += v * v;
            top = fmax(top, fabs(v));
        }
        double rms = sqrt(square / (double)per);
        g->scale[c] = (float)rms;
        largest = fmax(largest, rms);
        if (rms > 0) most = fmax(most, top / rms);
    }
    for (int c = 0; c < g->n_scale; c++) { /* a channel of zeros: any scale will do, see fill_zero_channels of codes.c */
        double rms = g->scale[c] > 0 ? (double)g->scale[c] : largest > 0 ? largest : 1;
        g->scale[c] = (float)fmax(rms * (most > 0 ? most : 1) / CODE_MAX, 1e-8);
    }
}

bl_status bl_codebook_make(bl_ctx *ctx, const bl_tensor *w, bl_weight_grid *g)
{
    bl_arena *a = bl_arena_new(ctx, "codebook");
    int k = 1 << g->bits;
    cloud c = {0};

    BL_ALLOC_TRY(ctx, a);
    measure_channels(w, g);
    double *centre = BL_NEW(a, double, (size_t)k), *near = BL_NEW(a, double, (size_t)bl_tensor_count(w));
    bl_status s = centre && near ? gather(a, w, g, &c) : bl_pending(ctx);
    if (s == BL_OK) {
        bl_rng r = bl_rng_make(0, "codebook", (uint64_t)g->bits); /* the same table for every seed of the search */
        draw_centres(&c, &r, near, centre, k);
        qsort(centre, (size_t)k, sizeof *centre, by_value);
        settle(&c, centre, k);
        for (int m = 0; m < k; m++) g->table[m] = (int8_t)rint(fmin(fmax(centre[m], -CODE_MAX), CODE_MAX));
    }
    bl_arena_free(a);
    return s;
}

int bl_codebook_index(const int8_t *table, int n, float v)
{
    int lo = 0, hi = n - 1; /* the first entry from the middle of which v is not yet reached */
    while (lo < hi) {
        int mid = (lo + hi) / 2;
        if (v > ((float)table[mid] + (float)table[mid + 1]) / 2) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

size_t bl_codebook_bytes(size_t n, int bits)
{
    return bl_codebook_width(bits) ? (n * (size_t)bits + 7) / 8 + ((size_t)1 << bits) : n;
}

bool bl_codebook_width(int bits)
{
    return bits >= 1 && bits <= 7;
}
