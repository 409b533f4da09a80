/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SQNR at the network's output with one unit quantized and all else float, for every candidate.
 * Source: PMP (arXiv 2302.05397) phase 1:  10 log10( mean(y^2) / (mean((y - y_q)^2) + eps) ), eps 1e-12 mean(y^2) unless given
 * (PMP's code: 1e-4).  PMP takes that ratio batch by batch and the mean of the ratios; here energies are added up over all samples first, as
 * the oracle does: a mean of ratios hangs on the batch's size, and on the samples that have least noise.
 */
#include "sense/probe.h"

#include <math.h>

#define NO_ANSWER 1e-12 /* signal to noise of an output that is no number */

/* Signal to noise of all samples together in dB, its standard error, and the noise-to-signal that searches add up. */
static bl_status fill_cell(bl_ctx *ctx, const bl_probes *p, size_t i, bl_sens_cell *cell)
{
    const bl_graph *g = p->in->graph;
    int64_t numbers = bl_tensor_count(&g->values[bl_metric_value(g, 0)].t) / g->batch * p->samples;
    bl_probe_answer all = bl_probe_sum(p, i, 0, 1);
    double eps = p->sens->sqnr_eps > 0 ? p->sens->sqnr_eps * (double)numbers : 1e-12 * all.signal, noise = all.value + eps + 1e-300;
    double ratio = isfinite(all.value) ? all.signal / noise : NO_ANSWER; /* such as a divisor whose grid has it zero */
    double square = 0, n = (double)p->samples;
    if (!(ratio > 0))
        return bl_fail(ctx, BL_DATA, g->values[bl_metric_value(g, 0)].name, "give other samples",
                       "the network's output is zero on all samples: no ratio to noise");
    for (int64_t s = 0; isfinite(all.value) && s < p->samples; s++) { /* of a ratio of sums, to first order */
        const bl_probe_answer *a = &p->answer[(size_t)s * p->n + i];
        double d = a->signal / all.signal - (a->value + eps / n) / noise;
        square += d * d;
    }
    cell->value = 10 * log10(ratio);
    cell->standard_error = n > 1 ? 10 / log(10) * sqrt(square * n / (n - 1)) : 0;
    cell->objective = 1 / ratio;
    return BL_OK;
}

static bl_status sense(bl_ctx *ctx, const bl_sense_input *in, bl_sens *sens, bl_arena *a)
{
    const bl_menu *m = in->menu;
    size_t n = 0;
    for (int u = 0; u < m->n_units; u++) n += m->units[u].n_candidates > 1 ? (size_t)m->units[u].n_candidates : 0;
    bl_probe *list = BL_NEW(a, bl_probe, BL_MAX(n, 1));
    bl_probes p = { .in = in, .sens = sens, .list = list, .measure = bl_probe_noise };
    BL_ALLOC_TRY(ctx, list);
    for (int u = 0; u < m->n_units; u++)
        for (int c = 0; m->units[u].n_candidates > 1 && c < m->units[u].n_candidates; c++)
            list[p.n++] = (bl_probe){ .unit = u, .layer = -1, .w_bits = m->units[u].candidates[c].w_bits,
                                      .a_bits = m->units[u].candidates[c].a_bits, .mask = -1 };
    BL_TRY(bl_probes_run(ctx, &p, a));
    sens->samples = p.samples;
    for (int u = 0, i = 0; u < m->n_units; u++)
        for (int c = 0; m->units[u].n_candidates > 1 && c < m->units[u].n_candidates; c++) {
            BL_TRY(fill_cell(ctx, &p, (size_t)i++, &sens->cell[u][c]));
            if (c == 0) sens->cell[u][c].objective = 0;
        }
    return BL_OK;
}

bl_status bl_sense_sqnr(bl_ctx *ctx, const bl_sense_input *in, bl_sens *sens)
{
    bl_arena *a = bl_arena_new(ctx, "sqnr");
    BL_ALLOC_TRY(ctx, a);
    bl_status s = sense(ctx, in, sens, a);
    bl_arena_free(a);
    return s;
}
