/* SPDX-License-Identifier: BSD-3-Clause */
/* Where HGQ starts: the rows in memory, the input's grid from them, widths from the weights. */
#include "train/hgq_private.h"

#include <math.h>
#include <string.h>

/* ------------------------------------------------------------------ rows */

static bl_status parts(bl_hgq *h, const bl_data *data)
{
    int64_t all = bl_data_samples(data);
    if (h->o.limit && h->o.limit < all) all = h->o.limit;
    h->test = h->o.test;
    h->held = h->o.held_out;
    h->rows = all - h->test - h->held;
    if (!bl_data_labelled(data))
        return bl_fail(h->ctx, BL_USAGE, bl_data_name(data), "give samples with labels", "HGQ learns from labels");
    if (h->rows < 1 || h->held < 1)
        return bl_fail(h->ctx, BL_USAGE, bl_data_name(data), "set held_out and test to less",
                       "%lld rows, %lld held out and %lld to test leave none to learn from or none to choose by", (long long)all,
                       (long long)h->held, (long long)h->test);
    h->classes = h->layer[h->n_layers - 1].out_c;
    if (bl_data_label_max(data) >= h->classes)
        return bl_fail(h->ctx, BL_DATA, bl_data_name(data), "give a network with as many outputs as there are labels",
                       "label %d, but %lld outputs", bl_data_label_max(data), (long long)h->classes);
    return BL_OK;
}

/* By the mean and deviation of each number over the rows that are learned from; as --mean and --std do it. */
static bl_status standardize(bl_hgq *h)
{
    int64_t all = h->rows + h->held + h->test;
    float *mean, *deviation;
    if (h->per > BL_DATA_CHANNELS_MAX || h->per != h->in_c)
        return bl_fail(h->ctx, BL_USAGE, "standard", "give --mean and --std", "rows of %lld numbers are not scaled one by one",
                       (long long)h->per);
    BL_ALLOC_TRY(h->ctx, mean = BL_NEW(h->arena, float, (size_t)h->per));
    BL_ALLOC_TRY(h->ctx, deviation = BL_NEW(h->arena, float, (size_t)h->per));
    for (int64_t e = 0; e < h->per; e++) {
        double sum = 0, square = 0;
        for (int64_t r = 0; r < h->rows; r++) sum += (double)h->x[r * h->per + e];
        sum /= (double)h->rows;
        for (int64_t r = 0; r < h->rows; r++) {
            double d = (double)h->x[r * h->per + e] - sum;
            square += d * d;
        }
        mean[e] = (float)sum;
        deviation[e] = (float)sqrt(square / (double)h->rows);
        if (!(deviation[e] > 0) || !isfinite(deviation[e])) deviation[e] = 1;
        for (int64_t r = 0; r < all; r++) h->x[r * h->per + e] = (h->x[r * h->per + e] - mean[e]) / deviation[e];
    }
    h->facts.mean = mean;
    h->facts.deviation = deviation;
    h->facts.scaled = h->per;
    return BL_OK;
}

bl_status bl_hgq_rows(bl_hgq *h, bl_data *data)
{
    BL_TRY(parts(h, data));
    int64_t all = h->rows + h->held + h->test, places = (int64_t)h->in_h * h->in_w, windows = bl_data_windows(data);
    if (bl_data_sample_size(data) != h->per)
        return bl_fail(h->ctx, BL_DATA, bl_data_name(data), "give rows of the network's size", "rows of %lld numbers, not %lld",
                       (long long)bl_data_sample_size(data), (long long)h->per);
    BL_ALLOC_TRY(h->ctx, h->x = bl_alloc(h->arena, (size_t)all, (size_t)h->per * sizeof(float)));
    BL_ALLOC_TRY(h->ctx, h->labels = BL_NEW(h->arena, int32_t, (size_t)all));
    BL_ALLOC_TRY(h->ctx, h->wanted = bl_alloc(h->arena, (size_t)h->rows, (size_t)h->classes * sizeof(float)));
    BL_ALLOC_TRY(h->ctx, h->batch_wanted = bl_alloc(h->arena, (size_t)h->batch_most, (size_t)h->classes * sizeof(float)));
    BL_ALLOC_TRY(h->ctx, h->order = BL_NEW(h->arena, uint32_t, (size_t)h->rows));
    bl_mark mark = bl_arena_mark(h->arena);
    float *row = BL_NEW(h->arena, float, (size_t)h->per);
    BL_ALLOC_TRY(h->ctx, row);
    for (int64_t r = 0; r < all; r++) {
        BL_TRY(bl_data_read(data, r, 1, row));
        for (int64_t e = 0; e < h->per; e++) h->x[r * h->per + e] = row[e % h->in_c * places + e / h->in_c];
        h->labels[r] = bl_data_label(data, r / windows);
        if (h->labels[r] < 0) return bl_fail(h->ctx, BL_DATA, bl_data_name(data), "label it", "row %lld has no label", (long long)r);
    }
    bl_arena_reset(h->arena, mark);
    if (h->o.standard) BL_TRY(standardize(h));
    bl_hgq_labels_wanted(h);
    return BL_OK;
}

/* ------------------------------------------------------------------ the input's grid */

/* Bits behind the point that the rows have, at most 8. */
static float data_f(const bl_hgq *h)
{
    int64_t n = (h->rows + h->held) * h->per;
    float f = -8;
    for (int64_t j = 0; j < n && f < 8; j++)
        while (f < 8 && h->x[j] * exp2f(f) != floorf(h->x[j] * exp2f(f))) f++;
    return f;
}

static void input_grid(bl_hgq *h)
{
    bl_hgq_grid *g = &h->in;
    float *i = h->params + g->i.at, *f = h->params + g->f.at;
    g->i_learned = h->o.input_clip;
    g->learned = !h->o.uniform_bits;
    g->f_most = h->o.input_f > -24 ? (float)h->o.input_f : data_f(h);
    memset(g->least, 0, (size_t)g->n * sizeof(float));
    memset(g->most, 0, (size_t)g->n * sizeof(float));
    h->loops->range(h->rows + h->held, g->n, h->x, g->least, g->most);
    for (int64_t n = 0; n < g->i.n; n++) {
        f[n] = g->f_most;
        i[n] = -23;
    }
    for (int64_t e = 0; e < g->n; e++) {
        float *to = &i[g->group[e]];
        g->sign[e] = g->least[e] < 0;
        if (g->most[e] > 0) *to = fmaxf(*to, ceilf(log2f(g->most[e] + exp2f(-bl_rne_f32(g->f_most)))));
        if (g->least[e] < 0) *to = fmaxf(*to, ceilf(log2f(-g->least[e])));
    }
}

/* ------------------------------------------------------------------ widths from values */

static void span_widths(bl_hgq *h, bl_hgq_layer *l)
{
    const float *w = h->params + l->w.at;
    float *f = h->params + l->wf.at;
    for (int64_t g = 0; g < l->wf.n; g++) f[g] = 23;
    for (int64_t j = 0; j < l->w.n; j++)
        if (w[j] != 0) f[l->w_group[j]] = fminf(f[l->w_group[j]], (float)h->o.weight_bits - log2f(fabsf(w[j])));
}

static void kbi_widths(bl_hgq *h, bl_hgq_layer *l)
{
    const float *w = h->params + l->w.at;
    float *b = h->params + l->wf.at, *i = h->params + l->wi.at;
    for (int64_t g = 0; g < l->wf.n; g++) {
        b[g] = (float)h->o.weight_bits;
        i[g] = -23;
    }
    for (int64_t j = 0; j < l->w.n; j++)
        if (w[j] != 0) i[l->w_group[j]] = fmaxf(i[l->w_group[j]], floorf(log2f(fabsf(w[j]))) + 1);
}

/* The place of a grid of so many bits (sign not counted) whose error on these numbers is least. */
static float best_place(const float *x, int64_t n, int bits, bool sign)
{
    float most = 0, best = 0;
    double least = INFINITY;
    for (int64_t j = 0; j < n; j++) most = fmaxf(most, fabsf(x[j]));
    int top = most > 0 ? (int)ceilf(log2f(most)) : 0;
    for (int i = top + 1; i > top - 6; i--) {
        float step = exp2f((float)(i - bits)), hi = exp2f((float)i) - step, lo = sign ? -hi : 0;
        double error = 0;
        for (int64_t j = 0; j < n; j++) {
            float c = fminf(fmaxf(x[j], lo), hi), v = floorf(c / step + 0.5f) * step - x[j];
            error += (double)v * (double)v;
        }
        if (error < least) {
            least = error;
            best = (float)i;
        }
    }
    return best;
}

/* Every width the same: only where it lies is to choose, first by the error on what flows without quantizers. */
static void uniform_widths(bl_hgq *h)
{
    int64_t rows = BL_MIN(h->batch_most, h->rows);
    int bits = (int)h->o.uniform_bits;
    h->quantized = false;
    for (int n = 0; n < h->n_layers; n++)
        for (int64_t e = 0; h->layer[n].q && e < h->layer[n].n_out; e++)
            h->layer[n].bias[e] = h->params[h->layer[n].b.at + e % h->layer[n].out_c];
    bl_hgq_forward(h, h->x, rows);
    h->quantized = true;
    for (int n = 0; n < h->n_layers; n++) {
        bl_hgq_layer *l = &h->layer[n];
        if (!l->q) continue;
        h->params[l->wf.at] = (float)(bits - 1);
        h->params[l->wi.at] = best_place(h->params + l->w.at, l->w.n, bits - 1, true);
        if (!l->grid.n) continue;
        int sign = l->relu ? 0 : 1;
        l->grid.tied = bits;
        h->params[l->grid.i.at] = best_place(l->a, rows * l->n_out, bits - sign, sign);
        h->params[l->grid.f.at] = (float)(bits - sign) - h->params[l->grid.i.at];
    }
}

bl_status bl_hgq_start_widths(bl_hgq *h)
{
    input_grid(h);
    if (h->o.uniform_bits) {
        uniform_widths(h);
        return BL_OK;
    }
    for (int n = 0; n < h->n_layers; n++) {
        bl_hgq_layer *l = &h->layer[n];
        if (l->q && h->o.weights == BL_HGQ_SPAN) span_widths(h, l);
        if (l->q && h->o.weights == BL_HGQ_KBI) kbi_widths(h, l);
        for (int64_t g = 0; g < l->grid.f.n; g++) {
            h->params[l->grid.i.at + g] = h->o.overflow == BL_WRAP ? -23 : (float)h->o.act_i;
            h->params[l->grid.f.at + g] = (float)h->o.act_f;
        }
    }
    return BL_OK;
}
