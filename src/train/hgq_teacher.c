/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is wanted of each row: its label, smoothed, and what a wider float network says that was trained on the same
 * rows first (Hinton et al., arXiv 1503.02531).  The teacher speaks once; a step costs nothing more.
 */
#include "train/hgq_private.h"

#include <math.h>
#include <string.h>

void bl_hgq_labels_wanted(bl_hgq *h)
{
    float rest = (float)(h->o.smoothing / (double)h->classes);
    for (int64_t r = 0; r < h->rows; r++) {
        float *to = h->wanted + r * h->classes;
        for (int64_t c = 0; c < h->classes; c++) to[c] = rest;
        to[h->labels[r]] += 1 - (float)h->o.smoothing;
    }
}

static void mix(const bl_hgq *h, const float *y, float *to)
{
    double top = -INFINITY, sum = 0, share = h->o.teacher_share;
    for (int64_t c = 0; c < h->classes; c++) top = fmax(top, (double)y[c]);
    for (int64_t c = 0; c < h->classes; c++) sum += exp(((double)y[c] - top) / h->o.teacher_heat);
    for (int64_t c = 0; c < h->classes; c++) {
        double says = exp(((double)y[c] - top) / h->o.teacher_heat) / sum;
        to[c] = (float)((1 - share) * (double)to[c] + share * says);
    }
}

/* Dense layers of one width, as many as the network has, on the same rows. */
static bl_status teacher_open(bl_hgq *h, bl_hgq *t)
{
    char sizes[1024];
    size_t n = (size_t)snprintf(sizes, sizeof sizes, "%lld", (long long)h->per);
    for (int l = 0; l + 1 < h->n_layers; l++)
        if (h->layer[l].q && n < sizeof sizes - 32) n += (size_t)snprintf(sizes + n, sizeof sizes - n, "-%lld", (long long)h->o.teacher);
    snprintf(sizes + n, sizeof sizes - n, "-%lld", (long long)h->classes);
    bl_hgq_source none[BL_FIXED_LAYERS_MAX] = { { 0 } };
    *t = (bl_hgq){ .ctx = h->ctx, .o = h->o, .loops = h->loops, .batch_most = h->batch_most, .rows = h->rows, .held = h->held,
                   .classes = h->classes, .x = h->x, .labels = h->labels, .order = h->order, .wanted = h->wanted,
                   .batch_wanted = h->batch_wanted, .gathered = h->gathered };
    t->o.float_epochs = h->o.teacher_epochs;
    t->o.random = true;
    BL_ALLOC_TRY(h->ctx, t->arena = bl_arena_new(h->ctx, "hgq teacher"));
    BL_TRY(bl_hgq_chain_sizes(t, sizes));
    return bl_hgq_build(t, none);
}

bl_status bl_hgq_teach(bl_hgq *h)
{
    bl_hgq t;
    bl_status s = teacher_open(h, &t);
    if (s == BL_OK) s = bl_hgq_float_epochs(&t, "teacher");
    for (int64_t r = 0; r < h->rows && s == BL_OK; r += h->batch_most) {
        int64_t rows = BL_MIN(h->batch_most, h->rows - r);
        const float *y = bl_hgq_forward(&t, h->x + r * h->per, rows);
        for (int64_t k = 0; k < rows; k++) mix(h, y + k * h->classes, h->wanted + (r + k) * h->classes);
    }
    h->facts.teacher_held = t.facts.float_held;
    bl_arena_free(t.arena);
    return s;
}
