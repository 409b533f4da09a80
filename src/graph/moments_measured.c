/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mean and variance by channel of a network that has no BatchNormalization left to remember them: measured on a few
 * samples of noise.  Noise in places of 1, 4, 16 and 64 pixels, most of it common to all channels, has the
 * neighbourhoods of photographs; mean 0 and variance 1 are those of a normalised input.  Always the same numbers, so that
 * whoever prepares the network again gets the same statistics.
 */
#include "graph/graph_private.h"

#include <math.h>
#include <string.h>

enum { SAMPLES = 8, SCALES = 4 };
#define COMMON 0.9          /* share of the variance that channels have in common */

typedef struct sums { double sum, square; } sums;

static void add_noise(bl_rng *r, float *plane, int64_t h, int64_t w, int64_t cell, double weight)
{
    for (int64_t y0 = 0; y0 < h; y0 += cell)
        for (int64_t x0 = 0; x0 < w; x0 += cell) {
            float z = (float)(weight * bl_rng_normal(r));
            for (int64_t y = y0; y < BL_MIN(h, y0 + cell); y++)
                for (int64_t x = x0; x < BL_MIN(w, x0 + cell); x++) plane[y * w + x] += z;
        }
}

static void fill(bl_tensor *t, size_t sample)
{
    float *x = t->data;
    int64_t n = bl_tensor_count(t);
    bl_rng r = bl_rng_make(1, "moments", sample);
    if (t->rank != 4) {
        for (int64_t i = 0; i < n; i++) x[i] = (float)bl_rng_normal(&r);
        return;
    }
    int64_t h = t->dim[2], w = t->dim[3], planes = n / (h * w), cell = 1;
    memset(x, 0, (size_t)n * sizeof *x);
    for (int s = 0; s < SCALES; s++, cell *= 4) {
        add_noise(&r, x, h, w, cell, sqrt(COMMON / SCALES));
        for (int64_t c = planes - 1; c >= 0; c--) {
            if (c && s == SCALES - 1)
                for (int64_t i = 0; i < h * w; i++) x[c * h * w + i] += x[i];
            add_noise(&r, x + c * h * w, h, w, cell, sqrt((1 - COMMON) / SCALES));
        }
    }
}

static void count(const bl_tensor *t, sums *to)
{
    int64_t channels = t->dim[1], places = bl_tensor_count(t) / (t->dim[0] * channels);
    const float *x = t->data;
    for (int64_t s = 0; s < t->dim[0]; s++)
        for (int64_t c = 0; c < channels; c++)
            for (int64_t i = 0; i < places; i++, x++) {
                to[c].sum += *x;
                to[c].square += (double)*x * *x;
            }
}

static bool counts(const bl_graph *g, int v)
{
    const bl_tensor *t = &g->values[v].t;
    return t->type == BL_F32 && !t->data && t->rank >= 2 && t->dim[1] > 0 && bl_tensor_count(t) > 0;
}

static bl_status walk_samples(bl_ctx *ctx, const bl_graph *g, bl_walk *walk, sums **all)
{
    for (size_t s = 0; s < SAMPLES; s++) {
        for (int i = 0; i < g->n_inputs; i++) {
            bl_tensor *x = bl_walk_input(walk, i);
            if (x->type != BL_F32)
                return bl_fail(ctx, BL_UNAVAILABLE, g->source, "leave --equalise-noise out", "noise is made for float32 inputs alone");
            fill(x, s * 16 + (size_t)i);
        }
        BL_TRY(bl_walk_run(walk, NULL, NULL));
        for (int v = 0; v < g->n_values; v++)
            if (all[v]) count(bl_walk_value(walk, v), all[v]);
    }
    return BL_OK;
}

bl_status bl_channel_moments_measured(bl_ctx *ctx, bl_arena *arena, const bl_graph *g, const bl_moments **out)
{
    bl_moments *m = BL_NEW(arena, bl_moments, (size_t)g->n_values);
    sums **all = BL_NEW(arena, sums *, (size_t)g->n_values);
    bl_walk_options o = { .keep_all = true };
    bl_walk *walk;
    if (!m || !all) return bl_pending(ctx);
    for (int v = 0; v < g->n_values; v++)
        if (counts(g, v)) BL_ALLOC_TRY(ctx, all[v] = BL_NEW(arena, sums, (size_t)g->values[v].t.dim[1]));
    BL_TRY(bl_walk_new(ctx, g, &o, &walk));
    bl_status s = walk_samples(ctx, g, walk, all);
    bl_walk_free(walk);
    for (int v = 0; s == BL_OK && v < g->n_values; v++) {
        if (!all[v]) continue;
        const bl_tensor *t = &g->values[v].t;
        int64_t channels = t->dim[1];
        double n = (double)SAMPLES * (double)(bl_tensor_count(t) / channels), *mean = BL_NEW(arena, double, (size_t)channels);
        double *variance = BL_NEW(arena, double, (size_t)channels);
        if (!mean || !variance) return bl_pending(ctx);
        for (int64_t c = 0; c < channels; c++) {
            mean[c] = all[v][c].sum / n;
            variance[c] = fmax(all[v][c].square / n - mean[c] * mean[c], 0);
        }
        m[v] = (bl_moments){ channels, mean, variance };
    }
    *out = m;
    return s;
}
