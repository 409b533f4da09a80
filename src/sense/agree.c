/* SPDX-License-Identifier: BSD-3-Clause */
/* How far two SENS records rank the candidates alike, width by width: Kendall's tau-b. */
#include "sense/sense.h"

/* Objectives or, where the widest candidate's is zero by definition, what was measured of it. */
static double cost_of(const bl_sens *s, int unit, int candidate)
{
    const bl_sensitivity *row = bl_sensitivity_find(s->metric);
    const bl_sens_cell *c = &s->cell[unit][candidate];
    return row && row->noise ? -c->value : c->value;
}

bl_status bl_sens_agreement(bl_ctx *ctx, const bl_menu *menu, const bl_sens *a, const bl_sens *b, int w_bits,
                            double *tau, size_t *n)
{
    bl_arena *arena = bl_arena_new(ctx, "agreement");
    size_t most = 0;
    bl_status s = BL_OK;

    BL_ALLOC_TRY(ctx, arena);
    for (int u = 0; u < menu->n_units; u++) most += (size_t)menu->units[u].n_candidates;
    double *x = BL_NEW(arena, double, most), *y = BL_NEW(arena, double, most);
    *n = 0;
    if (!x || !y) s = bl_pending(ctx);
    for (int u = 0; s == BL_OK && u < menu->n_units; u++)
        for (int c = 0; a->cell[u] && b->cell[u] && c < menu->units[u].n_candidates; c++) {
            if (!menu->units[u].candidates[c].w_bits || (w_bits && menu->units[u].candidates[c].w_bits != w_bits)) continue;
            x[*n] = cost_of(a, u, c);
            y[(*n)++] = cost_of(b, u, c);
        }
    if (s == BL_OK) *tau = bl_kendall_tau_b(x, y, *n);
    bl_arena_free(arena);
    return s;
}
