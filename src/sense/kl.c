/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sensitivities as KL(softmax f || softmax f') of the class probabilities.
 *
 * mask (OHQ's MQE, algorithms of arXiv 2309.01945 and its first author's prototype): T seeded masks set a share
 * r of one layer's weights to zero; omega = mean KL.  KL is quadratic in a small disturbance, so a width
 * b costs omega ||W - Q_b(W)||^2 / (r ||W||^2).  By width: a mask of 1 - b/8 as it is, the prototype's sweep.
 * Values are quantized themselves: masks mean nothing there.
 * kl: every candidate quantized for real, one walk each.
 * drop: the same walks judged by labels, which is what all the others estimate.
 */
#include "sense/probe.h"

#include <math.h>

bl_mask_options bl_mask_options_of(const bl_sense_options *o)
{
    return (bl_mask_options){ .masks = o && o->masks ? o->masks : 4, .by_width = o && o->mask_by_width,
                              .share = o && o->mask_share > 0 ? o->mask_share : 0.125 };
}

static bool weights_only(const bl_sense_input *in)
{
    return in->options && in->options->weights_only;
}

static bl_status check_classes(bl_ctx *ctx, const bl_graph *g)
{
    const bl_value *y = &g->values[bl_metric_value(g, 0)];
    if (y->t.rank == 2 && y->t.dim[1] > 1) return BL_OK;
    return bl_fail(ctx, BL_UNAVAILABLE, y->name, "use the sensitivity sqnr",
                   "an output that is no row of class scores has no KL divergence");
}

/* Mean over rows, and its standard error from the samples. */
static void mean_kl(const bl_probes *p, size_t i, double *mean, double *error)
{
    double square = 0, rows = (double)p->rows, n = (double)p->samples;
    *mean = bl_probe_sum(p, i, 0, 1).value / (rows * n);
    for (int64_t s = 0; s < p->samples; s++) {
        double d = p->answer[(size_t)s * p->n + i].value / rows - *mean;
        square += d * d;
    }
    *error = p->samples > 1 ? sqrt(square / (n * (n - 1))) : 0;
}

static void set_cell(bl_sens *sens, int u, int c, double value, double error)
{
    sens->cell[u][c] = (bl_sens_cell){ .value = value, .standard_error = error, .objective = c ? fmax(value, 0) : 0 };
}

/* ------------------------------------------------------------------ kl */

/* Samples that the clean network has right, less those of the changed one. */
static double lost_samples(const int *label, const float *clean, const float *changed, int64_t rows, int64_t cols)
{
    double lost = 0;
    for (int64_t r = 0; r < rows; r++, clean += cols, changed += cols) {
        int64_t a = 0, b = 0;
        for (int64_t i = 1; i < cols; i++) {
            if (clean[i] > clean[a]) a = i;
            if (changed[i] > changed[b]) b = i;
        }
        lost += (a == label[r]) - (b == label[r]);
    }
    return lost;
}

static bl_status sense_each(bl_ctx *ctx, const bl_sense_input *in, bl_sens *sens, bl_probe_judge *judge, bl_arena *a)
{
    const bl_menu *m = in->menu;
    size_t n = 0;
    BL_TRY(check_classes(ctx, in->graph));
    for (int u = 0; u < m->n_units; u++) n += m->units[u].n_candidates > 1 ? (size_t)m->units[u].n_candidates : 0;
    bl_probe *list = BL_NEW(a, bl_probe, BL_MAX(n, 1));
    bl_probes p = { .in = in, .sens = sens, .list = list, .measure = bl_probe_kl, .judge = judge };
    BL_ALLOC_TRY(ctx, list);
    for (int u = 0; u < m->n_units; u++)
        for (int c = 0; m->units[u].n_candidates > 1 && c < m->units[u].n_candidates; c++)
            list[p.n++] = (bl_probe){ .unit = u, .layer = -1, .w_bits = m->units[u].candidates[c].w_bits,
                                      .a_bits = weights_only(in) ? 0 : m->units[u].candidates[c].a_bits, .mask = -1 };
    BL_TRY(bl_probes_run(ctx, &p, a));
    sens->samples = p.samples;
    for (int u = 0, i = 0; u < m->n_units; u++)
        for (int c = 0; m->units[u].n_candidates > 1 && c < m->units[u].n_candidates; c++) {
            double mean, error;
            mean_kl(&p, (size_t)i++, &mean, &error);
            set_cell(sens, u, c, mean, error);
        }
    return BL_OK;
}

static bl_status sense_kl(bl_ctx *ctx, const bl_sense_input *in, bl_sens *sens, bl_arena *a)
{
    return sense_each(ctx, in, sens, NULL, a);
}

static bl_status sense_drop(bl_ctx *ctx, const bl_sense_input *in, bl_sens *sens, bl_arena *a)
{
    return sense_each(ctx, in, sens, lost_samples, a);
}

/* ------------------------------------------------------------------ mask */

typedef struct mask_sense {
    bl_ctx *ctx;
    const bl_sense_input *in;
    bl_sens *sens;
    bl_arena *a;
    bl_mask_options o;
    bl_probes p;
    bl_probe *list;
    size_t *first_mask;         /* by unit: its layers' masks, layer by layer, share by share */
    size_t *first_act;          /* by unit: its activation widths, in the order of `act` */
    int act[16], n_act;         /* widths of the menu */
    int weight[16], n_weight;
} mask_sense;

static int find_width(const int *widths, int n, int bits)
{
    int k = 0;
    while (k < n && widths[k] != bits) k++;
    return k;
}

/* Every width of the menu, widest first as it comes. */
static void collect_widths(mask_sense *q)
{
    const bl_menu *m = q->in->menu;
    for (int u = 0; u < m->n_units; u++)
        for (int c = 0; c < m->units[u].n_candidates; c++) {
            const bl_candidate *k = &m->units[u].candidates[c];
            if (find_width(q->act, q->n_act, k->a_bits) == q->n_act && q->n_act < 16 && !weights_only(q->in))
                q->act[q->n_act++] = k->a_bits;
            if (k->w_bits && find_width(q->weight, q->n_weight, k->w_bits) == q->n_weight && q->n_weight < 16)
                q->weight[q->n_weight++] = k->w_bits;
        }
    if (!q->o.by_width) q->n_weight = 1; /* one share stands for all widths */
}

static size_t mask_probe(const mask_sense *q, int u, int layer, int share, int mask)
{
    return q->first_mask[u] + (size_t)((layer * q->n_weight + share) * q->o.masks + mask);
}

static bl_status list_probes(mask_sense *q)
{
    const bl_menu *m = q->in->menu;
    size_t n = 0;
    collect_widths(q);
    for (int u = 0; u < m->n_units; u++)
        if (m->units[u].n_candidates > 1)
            n += (size_t)m->units[u].n_layers * (size_t)(q->o.masks * q->n_weight) + (size_t)q->n_act;
    q->list = BL_NEW(q->a, bl_probe, BL_MAX(n, 1));
    q->first_mask = BL_NEW(q->a, size_t, (size_t)m->n_units);
    q->first_act = BL_NEW(q->a, size_t, (size_t)m->n_units);
    if (!q->list || !q->first_mask || !q->first_act) return bl_pending(q->ctx);
    for (int u = 0; u < m->n_units; u++) {
        if (m->units[u].n_candidates < 2) continue;
        q->first_mask[u] = q->p.n;
        for (int l = 0; l < m->units[u].n_layers; l++)
            for (int k = 0; k < q->n_weight; k++)
                for (int t = 0; t < q->o.masks; t++)
                    q->list[q->p.n++] = (bl_probe){ .unit = u, .layer = l, .mask = t,
                                                    .share = q->o.by_width ? fmax(0, 1 - q->weight[k] / 8.0) : q->o.share };
        q->first_act[u] = q->p.n;
        for (int k = 0; k < q->n_act; k++)
            q->list[q->p.n++] = (bl_probe){ .unit = u, .layer = -1, .a_bits = q->act[k], .mask = -1 };
    }
    q->p.list = q->list;
    return BL_OK;
}

/* Adds what layer l of unit u costs at a width, and the square of its standard error. */
static bl_status add_layer(mask_sense *q, int u, int l, int bits, double *total, double *square)
{
    int share = q->o.by_width ? find_width(q->weight, q->n_weight, bits) : 0;
    double omega = 0, noise = 0, scale = 1, mean, error;
    for (int t = 0; t < q->o.masks; t++) {
        mean_kl(&q->p, mask_probe(q, u, l, share, t), &mean, &error);
        omega += mean / q->o.masks;
        noise += error * error / (q->o.masks * q->o.masks);
    }
    if (!q->o.by_width) {
        BL_TRY(bl_weight_error(q->ctx, q->in, q->sens, q->a, q->in->menu->units[u].layers[l], bits, &scale));
        scale /= q->o.share;
    }
    *total += omega * scale;
    *square += noise * scale * scale;
    return BL_OK;
}

static bl_status fill_unit(mask_sense *q, int u)
{
    const bl_unit *unit = &q->in->menu->units[u];
    for (int c = 0; c < unit->n_candidates; c++) {
        double total = 0, square = 0;
        int a = find_width(q->act, q->n_act, unit->candidates[c].a_bits);
        if (a < q->n_act) {
            double error;
            mean_kl(&q->p, q->first_act[u] + (size_t)a, &total, &error);
            square = error * error;
        }
        for (int l = 0; unit->candidates[c].w_bits && l < unit->n_layers; l++)
            BL_TRY(add_layer(q, u, l, unit->candidates[c].w_bits, &total, &square));
        set_cell(q->sens, u, c, total, sqrt(square));
    }
    return BL_OK;
}

static bl_status sense_mask(bl_ctx *ctx, const bl_sense_input *in, bl_sens *sens, bl_arena *a)
{
    mask_sense q = { .ctx = ctx, .in = in, .sens = sens, .a = a, .o = bl_mask_options_of(in->options),
                     .p = { .in = in, .sens = sens, .measure = bl_probe_kl } };
    BL_TRY(check_classes(ctx, in->graph));
    BL_TRY(list_probes(&q));
    BL_TRY(bl_probes_run(ctx, &q.p, a));
    sens->samples = q.p.samples;
    for (int u = 0; u < in->menu->n_units; u++)
        if (in->menu->units[u].n_candidates > 1) BL_TRY(fill_unit(&q, u));
    return BL_OK;
}

static bl_status in_arena(bl_ctx *ctx, const bl_sense_input *in, bl_sens *sens,
                          bl_status (*run)(bl_ctx *, const bl_sense_input *, bl_sens *, bl_arena *))
{
    bl_arena *a = bl_arena_new(ctx, "kl");
    BL_ALLOC_TRY(ctx, a);
    bl_status s = run(ctx, in, sens, a);
    bl_arena_free(a);
    return s;
}

bl_status bl_sense_kl(bl_ctx *ctx, const bl_sense_input *in, bl_sens *sens)
{
    return in_arena(ctx, in, sens, sense_kl);
}

bl_status bl_sense_mask(bl_ctx *ctx, const bl_sense_input *in, bl_sens *sens)
{
    return in_arena(ctx, in, sens, sense_mask);
}

bl_status bl_sense_drop(bl_ctx *ctx, const bl_sense_input *in, bl_sens *sens)
{
    return in_arena(ctx, in, sens, sense_drop);
}
