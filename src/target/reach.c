/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a layer's weights have to do with its time.  Rows that prove how many products fit 16 bits take longer the more
 * their sums reach: the share of K times a channel's largest weight that its weights on one side of zero add up to.
 * Twice the reach took 15 % longer, half of it 5 to 11 % less, at the same shape and widths.
 */
#include "target/probe.h"

#include <string.h>

double bl_weights_reach(const bl_graph *g, int node)
{
    int v = bl_layer_weight(g, node);
    if (v < 0) return 0;
    const bl_tensor *t = &g->values[v].t;
    int axis = bl_weight_axis(g, node);
    int64_t inner = 1, channels = t->dim[axis], all = bl_tensor_count(t);
    for (int d = axis + 1; d < t->rank; d++) inner *= t->dim[d];
    const float *w = t->data;
    double mean = 0;
    for (int64_t c = 0; c < channels; c++) {
        double above = 0, below = 0, most = 0;
        for (int64_t at = c * inner; at < all; at += channels * inner)
            for (int64_t i = at; i < at + inner; i++) {
                most = fmax(most, fabs((double)w[i]));
                *(w[i] > 0 ? &above : &below) += fabs((double)w[i]);
            }
        if (most > 0) mean += fmax(above, below) / (most * (double)(all / channels)) / (double)channels;
    }
    return mean;
}

/* Steps of a fifth: 2 % of the time at most lie within one. */
int bl_reach_class(double reach)
{
    return reach > 0 ? (int)lrint(4 * log2(reach)) : INT32_MIN;
}

bool bl_cells_by_weights(const bl_cost *cost, size_t first_cell)
{
    for (size_t i = first_cell; i < cost->n_cells; i++)
        if (bl_kernel_by_weights(cost->cells[i].kernel)) return true;
    return false;
}
