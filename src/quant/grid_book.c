/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Grids that were found before: a search makes thousands of plans of one network from a few widths, and looking
 * for the range of a weight takes longer than asking what a plan is worth.  A book belongs to one graph, menu,
 * statistics and set of options.
 */
#include "quant/quant.h"

#include <string.h>

enum { BITS_MAX = 17 };

struct bl_grid_book {
    bl_arena *arena;
    const bl_graph *g;
    const bl_menu *m;
    const bl_stats *stats;
    const bl_grid_options *options;
    const bl_observer *observer;
    bl_grid *act;               /* by unit and bits */
    bool *have_act;
    bl_weight_grid *weight;     /* by node and bits; bits 0: not there yet */
};

bl_status bl_grid_book_new(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu, const bl_stats *stats,
                           const bl_grid_options *options, bl_grid_book **out)
{
    const char *range = options && options->act_range ? options->act_range : "mse";
    const bl_observer *observer = bl_observer_find(range);
    if (!observer) return bl_fail(ctx, BL_USAGE, range, "see `bitlathe list observers`", "unknown range estimator");
    bl_arena *a = bl_arena_new(ctx, "grids");
    BL_ALLOC_TRY(ctx, a);
    bl_grid_book *b = BL_NEW(a, bl_grid_book, 1);
    if (b) {
        *b = (bl_grid_book){ .arena = a, .g = graph, .m = menu, .stats = stats, .options = options, .observer = observer };
        b->act = BL_NEW(a, bl_grid, (size_t)menu->n_units * BITS_MAX);
        b->have_act = BL_NEW(a, bool, (size_t)menu->n_units * BITS_MAX);
        b->weight = BL_NEW(a, bl_weight_grid, (size_t)graph->n_nodes * BITS_MAX);
    }
    if (!b || !b->act || !b->have_act || !b->weight) {
        bl_arena_free(a);
        return bl_pending(ctx);
    }
    *out = b;
    return BL_OK;
}

void bl_grid_book_free(bl_grid_book *book)
{
    if (book) bl_arena_free(book->arena);
}

bl_status bl_grid_book_act(bl_ctx *ctx, bl_grid_book *b, int unit, int bits, bl_grid *out)
{
    BL_CHECK(ctx, bits > 0 && bits < BITS_MAX);
    size_t at = (size_t)unit * BITS_MAX + (size_t)bits;
    if (!b->have_act[at]) BL_TRY(bl_act_grid(ctx, b->g, &b->m->units[unit], b->stats, bits, b->observer,
                                                  b->options && b->options->power_of_two, &b->act[at]));
    b->have_act[at] = true;
    *out = b->act[at];
    return BL_OK;
}

/* As bl_weight_grids; what is not there yet is found side by side. */
bl_status bl_grid_book_weights(bl_ctx *ctx, bl_grid_book *b, bl_arena *arena, const int *layers, const int *bits, size_t n,
                               bl_weight_grid *out)
{
    bl_mark mark = bl_arena_mark(arena);
    int *node = BL_NEW(arena, int, n), *width = BL_NEW(arena, int, n);
    bl_weight_grid *found = BL_NEW(arena, bl_weight_grid, n);
    size_t missing = 0;
    if (!node || !width || !found) return bl_pending(ctx);
    for (size_t i = 0; i < n; i++) {
        BL_CHECK(ctx, bits[i] > 0 && bits[i] < BITS_MAX);
        if (b->weight[(size_t)layers[i] * BITS_MAX + (size_t)bits[i]].bits) continue;
        node[missing] = layers[i];
        width[missing++] = bits[i];
    }
    if (missing) BL_TRY(bl_weight_grids(b->arena, b->g, node, width, missing, b->options, found));
    for (size_t i = 0; i < missing; i++) b->weight[(size_t)node[i] * BITS_MAX + (size_t)width[i]] = found[i];
    bl_arena_reset(arena, mark);
    for (size_t i = 0; i < n; i++) { /* a plan may widen its own */
        out[i] = b->weight[(size_t)layers[i] * BITS_MAX + (size_t)bits[i]];
        float *scale = BL_NEW(arena, float, (size_t)out[i].n_scale);
        BL_ALLOC_TRY(ctx, scale);
        memcpy(scale, out[i].scale, (size_t)out[i].n_scale * sizeof *scale);
        out[i].scale = scale;
    }
    return BL_OK;
}
