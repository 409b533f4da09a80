/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sensitivity "hessian" (HAWQ-V2, arXiv 1911.03852; HAWQ-V3, 2011.10680): Omega = tr(H) / n ||W - Q_b(W)||^2 for the
 * weights of each layer, H the Hessian of the loss by them (train/hessian.c, Gauss-Newton form).  Values cost nothing here: use it with one width of values.
 */
#include "sense/probe.h"
#include "train/train.h"

#include <math.h>

typedef struct layers {
    int n, *layer, *value;      /* layers of units with a choice, and their weights */
    double *trace, *error, *energy; /* energy: of the weights, over their number */
} layers;

static bl_status list_layers(bl_ctx *ctx, const bl_sense_input *in, bl_arena *a, layers *l)
{
    const bl_graph *g = in->graph;
    const bl_menu *m = in->menu;
    size_t most = (size_t)g->n_nodes;

    *l = (layers){.layer = BL_NEW(a, int, most), .value = BL_NEW(a, int, most), .trace = BL_NEW(a, double, most),
                  .error = BL_NEW(a, double, most), .energy = BL_NEW(a, double, most)};
    if (!l->layer || !l->value || !l->trace || !l->error || !l->energy) return bl_pending(ctx);
    for (int u = 0; u < m->n_units; u++)
        for (int k = 0; m->units[u].n_candidates > 1 && k < m->units[u].n_layers; k++) {
            const bl_tensor *w = &g->values[bl_layer_weight(g, m->units[u].layers[k])].t;
            int64_t n = bl_tensor_count(w);
            for (int64_t i = 0; i < n; i++) l->energy[l->n] += (double)((const float *)w->data)[i] * ((const float *)w->data)[i];
            l->energy[l->n] /= (double)n;
            l->layer[l->n] = m->units[u].layers[k];
            l->value[l->n++] = bl_layer_weight(g, m->units[u].layers[k]);
        }
    return BL_OK;
}

static bl_status fill_unit(bl_ctx *ctx, const bl_sense_input *in, const layers *l, int u, bl_arena *a, bl_sens *sens)
{
    const bl_unit *unit = &in->menu->units[u];

    for (int c = 0; c < unit->n_candidates; c++) {
        double omega = 0, square = 0;
        for (int k = 0; unit->candidates[c].w_bits && k < unit->n_layers; k++) {
            double share;
            int i = 0;
            while (l->layer[i] != unit->layers[k]) i++;
            BL_TRY(bl_weight_error(ctx, in, sens, a, unit->layers[k], unit->candidates[c].w_bits, &share));
            omega += fmax(l->trace[i], 0) * share * l->energy[i];
            square += pow(l->error[i] * share * l->energy[i], 2);
        }
        sens->cell[u][c] = (bl_sens_cell){.value = omega, .standard_error = sqrt(square), .objective = c ? omega : 0};
    }
    return BL_OK;
}

static bl_status measure(bl_ctx *ctx, const bl_sense_input *in, bl_arena *a, bl_sens *sens)
{
    int64_t *index, n;
    layers l;
    int used;

    BL_TRY(bl_data_pick(in->data, in->options && in->options->samples ? in->options->samples : 128, a, &index, &n));
    BL_TRY(list_layers(ctx, in, a, &l));
    if (l.n) BL_TRY(bl_hessian_traces(ctx, in->graph, in->data, index, n, l.value, l.n, NULL, l.trace, l.error, &used));
    sens->samples = n;
    for (int u = 0; u < in->menu->n_units; u++)
        if (in->menu->units[u].n_candidates > 1) BL_TRY(fill_unit(ctx, in, &l, u, a, sens));
    return BL_OK;
}

bl_status bl_sense_hessian(bl_ctx *ctx, const bl_sense_input *in, bl_sens *sens)
{
    bl_arena *a = bl_arena_new(ctx, "hessian");

    BL_ALLOC_TRY(ctx, a);
    bl_status status = measure(ctx, in, a, sens);
    bl_arena_free(a);
    return status;
}
