/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where elements lie.  Kernels over windows want the channels of rank-4 data innermost; matrix products
 * and Softmax want the last dimension there.  A value lies channels-last where a window operator makes or
 * reads it, and so does what hangs on it element by element: tables and pairs then run over memory in its
 * own order.  Everything else is row-major.
 */
#include "program/builder.h"

static bool can(const bl_graph *g, int v)
{
    return v >= 0 && (g->values[v].t.rank == 4 || g->values[v].t.rank == 5) && g->values[v].t.type == BL_F32 &&
           !g->values[v].t.data;
}

/* Operators that do not mind the order, or put whole values side by side. */
static bool follows(const bl_node *n)
{
    return (n->op->flags & (BL_OP_POINTWISE | BL_OP_UNARY | BL_OP_JOINS)) != 0;
}

static bool spread(const bl_pbuilder *b, const bl_node *n)
{
    bool any = false, changed = false;
    for (int k = 0; k < n->n_in; k++) any |= n->in[k] >= 0 && b->spatial[n->in[k]];
    for (int k = 0; k < n->n_out; k++) any |= n->out[k] >= 0 && b->spatial[n->out[k]];
    for (int k = 0; any && k < n->n_in + n->n_out; k++) {
        int v = k < n->n_in ? n->in[k] : n->out[k - n->n_in];
        if (!can(b->g, v) || b->spatial[v]) continue;
        b->spatial[v] = 1;
        changed = true;
    }
    return changed;
}

bl_status bl_plan_layout(bl_pbuilder *b)
{
    const bl_graph *g = b->g;
    b->spatial = BL_NEW(b->arena, uint8_t, (size_t)g->n_values);
    BL_ALLOC_TRY(b->ctx, b->spatial);
    for (int i = 0; i < g->n_nodes; i++) {
        const bl_node *n = &g->nodes[i];
        if (!(n->op->flags & BL_OP_WINDOW)) continue;
        if (can(g, n->in[0])) b->spatial[n->in[0]] = 1;
        if (can(g, n->out[0])) b->spatial[n->out[0]] = 1;
    }
    /* Forwards and backwards until nothing moves: a chain settles in one turn. */
    for (bool changed = true; changed;) {
        changed = false;
        for (int i = 0; i < g->n_nodes; i++)
            if (follows(&g->nodes[i])) changed |= spread(b, &g->nodes[i]);
        for (int i = g->n_nodes - 1; i >= 0; i--)
            if (follows(&g->nodes[i])) changed |= spread(b, &g->nodes[i]);
    }
    return BL_OK;
}
