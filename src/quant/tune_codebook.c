/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tuner "codebook": a plan's weights of 1 to 7 bits become codebooks of the same widths (k-means of codebook.c).
 * The weights themselves stay: what stands on the new grid is what `codebook = yes` in a recipe would have given.
 */
#include "quant/quant.h"

static bl_status add_layer(bl_ctx *ctx, const bl_graph *g, const bl_quantizer *q, bl_weights *out)
{
    const bl_tensor *w = &g->values[q->value].t;
    bl_weight_grid grid = bl_quantizer_grid(q);
    float *codes = BL_NEW(out->arena, float, (size_t)1 << q->bits);

    grid.n_table = 1 << q->bits;
    grid.scale = BL_NEW(out->arena, float, (size_t)q->n_scale);
    grid.table = BL_NEW(out->arena, int8_t, (size_t)grid.n_table);
    if (!codes || !grid.scale || !grid.table) return bl_pending(ctx);
    BL_TRY(bl_codebook_make(ctx, w, &grid));
    for (int k = 0; k < grid.n_table; k++) codes[k] = grid.table[k];
    out->grids[out->n_grids++] = (bl_grid_item){ .value = q->value, .scale = grid.scale, .count = q->n_scale };
    out->grids[out->n_grids++] = (bl_grid_item){ .value = q->value, .scale = codes, .count = grid.n_table, .table = true };
    return BL_OK;
}

bl_status bl_tune_codebook(bl_ctx *ctx, const bl_tune_input *in, bl_weights *out)
{
    const bl_plan *p = in->plan;

    out->grids = BL_NEW(out->arena, bl_grid_item, 2 * (size_t)p->n_quantizers);
    BL_ALLOC_TRY(ctx, out->grids);
    for (int i = 0; i < p->n_quantizers; i++) {
        const bl_quantizer *q = &p->quantizers[i];
        bool fits = q->weight && q->kind == BL_Q_AFFINE && bl_codebook_width(q->bits);
        if (fits && bl_tensor_count(&in->graph->values[q->value].t) > 0) BL_TRY(add_layer(ctx, in->graph, q, out));
    }
    return out->n_grids ? BL_OK
                        : bl_fail(ctx, BL_USAGE, "codebook", "plan some weights with 1 to 7 bits", "no weight of this plan can be a codebook");
}
