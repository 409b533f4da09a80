/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which units of a plan lose the accuracy, and what would help: each unit alone on the plan's widths, the
 * noise that it leaves at the output, and for the worst of them the same with one thing changed (weights float,
 * values float, wider, another range).  No sum of parts is assumed but for the shares.
 */
#include "sense/probe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Noise to signal of all samples together. */
static double mean(const bl_probes *p, size_t i)
{
    bl_probe_answer a = bl_probe_sum(p, i, 0, 1);
    return a.signal > 0 ? a.value / a.signal : 0;
}

static double decibels(double nsr)
{
    return -10 * log10(nsr + 1e-12);
}

/* What the plan says of a unit; a_bits 0: not on an affine grid. */
static bl_probe as_planned(const bl_graph *g, const bl_menu *m, const bl_plan *plan, int u)
{
    const bl_unit *unit = &m->units[u];
    bl_probe q = { .unit = u, .layer = -1, .mask = -1 };
    int at = plan->of_value[unit->values[0]];
    if (at < 0 || plan->quantizers[at].kind != BL_Q_AFFINE) return q;
    q.a_bits = plan->quantizers[at].bits;
    const bl_observer *row = bl_observer_find(plan->quantizers[at].range ? plan->quantizers[at].range : "");
    q.range = row ? row->name : NULL;
    for (int l = 0; l < unit->n_layers; l++) {
        int w = plan->of_value[bl_layer_weight(g, unit->layers[l])];
        if (w >= 0 && bl_quantizer_has_codes(&plan->quantizers[w])) q.w_bits = BL_MAX(q.w_bits, plan->quantizers[w].bits);
    }
    return q;
}

/* How the plan's weights are put on grids, read off the first of them. */
static bl_sens settings(const bl_plan *plan)
{
    bl_sens s = { .act_range = "mse", .weight_range = "mse" };
    for (int i = plan->n_quantizers - 1; i >= 0; i--) {
        const bl_quantizer *q = &plan->quantizers[i];
        if (!q->weight || !bl_quantizer_has_codes(q)) continue;
        if (q->range && bl_observer_find(q->range)) s.weight_range = q->range;
        s.codebook |= q->n_table > 0;
        s.weight_group = BL_MAX(s.weight_group, q->group);
        if (q->kind != BL_Q_AFFINE) continue;
        s.per_tensor = q->axis < 0;
        s.narrow = q->narrow;
    }
    return s;
}

static int loudest_first(const void *a, const void *b)
{
    double x = ((const bl_worst *)a)->nsr, y = ((const bl_worst *)b)->nsr;
    int u = ((const bl_worst *)a)->unit, v = ((const bl_worst *)b)->unit;
    return x != y ? (x < y) - (x > y) : (u > v) - (u < v);
}

static bl_status rank(bl_ctx *ctx, bl_probes *p, const bl_plan *plan, bl_arena *a, bl_worst *list, int *n)
{
    const bl_sense_input *in = p->in;
    bl_probe *probes = BL_NEW(a, bl_probe, (size_t)in->menu->n_units);
    double sum = 0;
    BL_ALLOC_TRY(ctx, probes);
    p->list = probes;
    for (int u = 0; u < in->menu->n_units; u++) {
        bl_probe q = as_planned(in->graph, in->menu, plan, u);
        if (q.a_bits) probes[p->n++] = q;
    }
    BL_TRY(bl_probes_run(ctx, p, a));
    for (size_t i = 0; i < p->n; i++) {
        list[i] = (bl_worst){ .unit = probes[i].unit, .w_bits = probes[i].w_bits, .a_bits = probes[i].a_bits, .nsr = mean(p, i) };
        sum += list[i].nsr;
    }
    for (size_t i = 0; i < p->n; i++) {
        list[i].alone_db = decibels(list[i].nsr);
        list[i].share = sum > 0 ? list[i].nsr / sum : 0;
    }
    qsort(list, p->n, sizeof *list, loudest_first);
    *n = (int)p->n;
    return BL_OK;
}

/* ------------------------------------------------------------------ what would help */

enum { CHANGES_MOST = 24 };

typedef struct change {
    bl_probe probe;
    const char *words;          /* NULL: no remedy, one of the two halves */
} change;

static bl_status changes_of(const bl_probes *p, const bl_plan *plan, const bl_worst *w, bl_arena *a, change *c, int *n)
{
    static const int wider[] = { 3, 4, 6, 8, 16 };
    const bl_unit *unit = &p->in->menu->units[w->unit];
    bl_probe q = as_planned(p->in->graph, p->in->menu, plan, w->unit), x;
    *n = 0;
    x = q, x.a_bits = 0;
    if (q.w_bits) c[(*n)++] = (change){ x, NULL };
    x = q, x.w_bits = 0;
    c[(*n)++] = (change){ x, NULL };
    for (size_t k = 0; k < BL_COUNTOF(wider) && !unit->fixed_grid; k++) {
        if (wider[k] > q.a_bits && wider[k] >= 4 && (wider[k] != 16 || q.a_bits == 8)) {
            x = q, x.a_bits = wider[k];
            c[(*n)++] = (change){ x, bl_format(a, "%d-bit values", wider[k]) };
        }
        if (q.w_bits && wider[k] > q.w_bits && wider[k] <= 8) {
            x = q, x.w_bits = wider[k];
            c[(*n)++] = (change){ x, bl_format(a, "%d-bit weights", wider[k]) };
        }
    }
    for (size_t o = 0; o < bl_n_observers && !unit->fixed_grid && *n < CHANGES_MOST; o++) {
        const bl_observer *row = bl_observers[o];
        if (row->measured || (q.range && !strcmp(q.range, row->name))) continue;
        x = q, x.range = row->name;
        c[(*n)++] = (change){ x, bl_format(a, "range %s", row->name) };
    }
    return BL_OK;
}

#define GAIN_DB 1.0         /* less is no help */

/* The change that leaves least noise. */
static bl_status advise(bl_ctx *ctx, bl_probes *p, const bl_plan *plan, bl_arena *a, bl_arena *keep, bl_worst *w)
{
    change c[CHANGES_MOST];
    bl_probe list[CHANGES_MOST];
    bl_probes q = { .in = p->in, .sens = p->sens, .measure = p->measure, .list = list };
    double best = w->nsr;
    int n, found = -1;
    BL_TRY(changes_of(p, plan, w, a, c, &n));
    for (int i = 0; i < n; i++) list[i] = c[i].probe;
    q.n = (size_t)n;
    BL_TRY(bl_probes_run(ctx, &q, a));
    w->weights_db = w->values_db = NAN;
    for (int i = 0; i < n; i++) {
        double nsr = mean(&q, (size_t)i);
        if (!c[i].words && !c[i].probe.a_bits) w->weights_db = decibels(nsr);
        else if (!c[i].words) w->values_db = decibels(nsr);
        else if (nsr < best) {
            best = nsr;
            found = i;
        }
    }
    if (found >= 0 && decibels(best) >= w->alone_db + GAIN_DB) {
        w->help = bl_strdup(keep, c[found].words);
        w->helped_db = decibels(best);
    } else {
        w->help = bl_strdup(keep, isfinite(w->weights_db) && w->weights_db < w->values_db ? "--tune adaround" : "nothing that was tried");
        w->helped_db = NAN;
    }
    return w->help ? BL_OK : bl_pending(ctx);
}

bl_status bl_worst_find(bl_ctx *ctx, const bl_sense_input *in, const bl_plan *plan, int most, bl_arena *arena, bl_worst **out,
                        int *n)
{
    bl_sens how = settings(plan);
    bl_probes p = { .in = in, .sens = &how, .measure = bl_probe_noise };
    bl_arena *a = bl_arena_new(ctx, "worst units");
    BL_ALLOC_TRY(ctx, a);
    bl_worst *list = BL_NEW(arena, bl_worst, (size_t)in->menu->n_units);
    bl_status s = list ? rank(ctx, &p, plan, a, list, n) : bl_pending(ctx);
    if (s == BL_OK) *n = BL_MIN(*n, most);
    for (int i = 0; s == BL_OK && i < *n; i++) s = advise(ctx, &p, plan, a, arena, &list[i]);
    bl_arena_free(a);
    *out = list;
    return s;
}
