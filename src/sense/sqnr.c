/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SQNR at the network's output with one unit quantized and all else float, for every candidate.
 * Source: PMP (arXiv 2302.05397) phase 1:  10 log10( mean over batches of
 * mean(y^2) / (mean((y - y_q)^2) + eps) ), eps 1e-12 mean(y^2) unless given (PMP's code: 1e-4).
 */
#include "sense/probe.h"

#include <math.h>

#define NO_ANSWER 1e-12 /* signal to noise of an output that is no number */

static double signal_to_noise(const bl_probes *p, const float *clean, const float *noisy, int64_t rows, int64_t cols)
{
    double signal = 0, noise = 0;
    for (int64_t i = 0; i < rows * cols; i++) {
        double e = (double)clean[i] - noisy[i];
        signal += (double)clean[i] * clean[i];
        noise += e * e;
    }
    if (!isfinite(noise)) return NO_ANSWER; /* such as a divisor whose grid has it zero */
    double eps = p->sens->sqnr_eps > 0 ? p->sens->sqnr_eps * (double)(rows * cols) : 1e-12 * signal;
    return signal / (noise + eps + 1e-300);
}

/* Mean over chunks in dB, its standard error, and the noise-to-signal that searches add up. */
static bl_status fill_cell(bl_ctx *ctx, const bl_probes *p, size_t i, bl_sens_cell *cell)
{
    double sum = 0, db = 0, db2 = 0, n = (double)p->n_chunks;
    for (size_t c = 0; c < p->n_chunks; c++) {
        double r = p->answer[c * p->n + i], d = 10 * log10(r);
        sum += r;
        db += d;
        db2 += d * d;
    }
    double mean = sum / n, var = db2 / n - db / n * (db / n);
    if (!(mean > 0))
        return bl_fail(ctx, BL_DATA, p->in->graph->values[bl_metric_value(p->in->graph, 0)].name, "give other samples",
                       "the network's output is zero on all samples: no ratio to noise");
    cell->value = 10 * log10(mean);
    cell->standard_error = p->n_chunks > 1 ? sqrt(fmax(0, var) / (n - 1)) : 0;
    cell->objective = 1 / mean;
    return BL_OK;
}

static bl_status sense(bl_ctx *ctx, const bl_sense_input *in, bl_sens *sens, bl_arena *a)
{
    const bl_menu *m = in->menu;
    size_t n = 0;
    for (int u = 0; u < m->n_units; u++) n += m->units[u].n_candidates > 1 ? (size_t)m->units[u].n_candidates : 0;
    bl_probe *list = BL_NEW(a, bl_probe, BL_MAX(n, 1));
    bl_probes p = { .in = in, .sens = sens, .list = list, .measure = signal_to_noise };
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
