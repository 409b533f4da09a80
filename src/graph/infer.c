/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Shapes of everything, by the operators' own shape facets in topological order.
 *
 * A shape may hang on numbers that the network computes from shapes (Shape, Gather, Concat,
 * Reshape). Such small known values are evaluated on the side; they are not put into the graph,
 * which stays as the model has it (folding is prepare's).  Also here: calls of one node for
 * folding, costs and batches.
 */
#include "graph/graph_private.h"

#include <string.h>

/* What is worth knowing for a shape: lists of dims, sometimes index tables. */
#define KNOWN_ELEMENTS_MAX 65536
/* Effort for one node.  Constant inputs are small beside it in any real network. */
#define EVALUATE_MACS_MAX (INT64_C(1) << 28)

bl_status bl_node_call(bl_ctx *ctx, const bl_node *node, const bl_tensor *tensors,
                       bl_arena *scratch, bl_call *call)
{
    const bl_tensor **in = BL_NEW(scratch, const bl_tensor *, (size_t)node->n_in);
    BL_ALLOC_TRY(ctx, in);
    bl_tensor *out = BL_NEW(scratch, bl_tensor, (size_t)node->n_out);
    BL_ALLOC_TRY(ctx, out);
    for (int i = 0; i < node->n_in; i++) in[i] = node->in[i] < 0 ? NULL : &tensors[node->in[i]];
    *call = (bl_call){.ctx = ctx, .node = node, .n_in = node->n_in, .n_out = node->n_out, .in = in,
                      .out = out, .scratch = scratch};
    return BL_OK;
}

bl_status bl_node_shape(const bl_call *call)
{
    if (!call->node->op->shape)
        return bl_op_fail(call, BL_UNAVAILABLE, "export the network without it",
                          "the shape of its output is not known here");
    BL_TRY(call->node->op->shape(call));
    for (int i = 0; i < call->n_out; i++) {
        const bl_tensor *t = &call->out[i];
        int64_t bytes = (int64_t)bl_dtype_bytes(t->type);
        if (call->node->out[i] < 0) continue;
        BL_CHECK(call->ctx, bytes > 0 && t->rank >= 0 && t->rank <= BL_MAX_RANK);
        for (int d = 0; d < t->rank; d++)
            if (t->dim[d] < 0 || !bl_mul_i64(bytes, t->dim[d], &bytes))
                return bl_op_fail(call, BL_DATA, "repair the model", "output %d is too large", i);
    }
    return BL_OK;
}

bool bl_node_is_known(const bl_call *call)
{
    /* These look at dims alone, and dims are static. */
    if (bl_node_is(call->node, "Shape") || bl_node_is(call->node, "Size")) return true;
    for (int i = 0; i < call->n_in; i++)
        if (call->in[i] && !call->in[i]->data) return false;
    return call->n_in > 0;
}

static bl_status allocate_outputs(const bl_call *call, bl_arena *arena)
{
    for (int i = 0; i < call->n_out; i++) {
        call->out[i].data = bl_alloc(arena, bl_tensor_bytes(&call->out[i]), 1);
        BL_ALLOC_TRY(call->ctx, call->out[i].data);
    }
    return BL_OK;
}

bl_status bl_node_evaluate(const bl_call *call, bl_arena *arena, uint64_t limit_bytes, bool *done)
{
    const bl_op *op = call->node->op;
    uint64_t bytes = 0;
    *done = false;
    if (!op->forward || (op->macs && op->macs(call) > EVALUATE_MACS_MAX)) return BL_OK;
    for (int i = 0; i < call->n_out; i++) {
        if (call->node->out[i] < 0) return BL_OK; /* its type is open: nowhere to compute it to */
        bytes += bl_tensor_bytes(&call->out[i]);
        if (bytes > limit_bytes) return BL_OK;
    }
    BL_TRY(allocate_outputs(call, arena));
    uint64_t refusals = bl_refusals(call->ctx);
    bl_status status = op->forward(call);
    if (status == BL_OK)
        *done = true;
    else
        for (int i = 0; i < call->n_out; i++) call->out[i].data = NULL;
    /* Not for this type: it stays a node. */
    return status == BL_UNAVAILABLE && bl_refusals(call->ctx) == refusals ? BL_OK : status;
}

/* ------------------------------------------------------------------ the whole graph */

static bool is_small(const bl_call *call)
{
    for (int i = 0; i < call->n_in; i++)
        if (call->in[i] && call->in[i]->data && bl_tensor_count(call->in[i]) > KNOWN_ELEMENTS_MAX)
            return false;
    for (int i = 0; i < call->n_out; i++)
        if (call->node->out[i] >= 0 && bl_tensor_count(&call->out[i]) > KNOWN_ELEMENTS_MAX)
            return false;
    return !(call->node->op->flags & BL_OP_LAYER);
}

/* One node: shapes into tensors[], data too where the outputs are known and small. */
static bl_status infer_node(bl_ctx *ctx, const bl_node *node, bl_tensor *tensors, bl_arena *keep,
                            bl_arena *scratch)
{
    bl_call call;
    bool done;
    BL_TRY(bl_node_call(ctx, node, tensors, scratch, &call));
    BL_TRY(bl_node_shape(&call));
    if (bl_node_is_known(&call) && is_small(&call))
        BL_TRY(bl_node_evaluate(&call, keep, 16 * KNOWN_ELEMENTS_MAX, &done));
    for (int i = 0; i < node->n_out; i++)
        if (node->out[i] >= 0) tensors[node->out[i]] = call.out[i];
    return BL_OK;
}

/* Constants, what was evaluated, and what comes from these alone but was too large for that. */
static void find_known(const bl_graph *g, const bl_tensor *tensors, uint8_t *known)
{
    for (int i = 0; i < g->n_values; i++) known[i] = tensors[i].data != NULL;
    for (int n = 0; n < g->n_nodes; n++) {
        const bl_node *node = &g->nodes[n];
        bool all = true;
        for (int i = 0; i < node->n_in; i++) all = all && (node->in[i] < 0 || known[node->in[i]]);
        for (int i = 0; i < node->n_out && all; i++)
            if (node->out[i] >= 0) known[node->out[i]] = 1;
    }
}

static bl_status infer_with(bl_ctx *ctx, bl_graph *g, uint8_t *known, bl_arena *keep,
                            bl_arena *scratch)
{
    bl_tensor *tensors = BL_NEW(keep, bl_tensor, (size_t)g->n_values);
    BL_ALLOC_TRY(ctx, tensors);
    for (int i = 0; i < g->n_values; i++) tensors[i] = g->values[i].t;
    for (int i = 0; i < g->n_nodes; i++) {
        bl_mark mark = bl_arena_mark(scratch);
        if ((i & 255) == 0) BL_TRY(bl_check_interrupt(ctx));
        BL_TRY(infer_node(ctx, &g->nodes[i], tensors, keep, scratch));
        bl_arena_reset(scratch, mark);
    }
    if (known) find_known(g, tensors, known);
    for (int i = 0; i < g->n_values; i++) {
        if (g->values[i].producer < 0) continue;
        g->values[i].t = tensors[i];
        g->values[i].t.data = NULL;
    }
    return BL_OK;
}

bl_status bl_graph_shapes(bl_ctx *ctx, bl_graph *graph, uint8_t *known)
{
    bl_arena *keep = bl_arena_new(ctx, "shapes"),
             *scratch = keep ? bl_arena_new(ctx, "shapes") : NULL;
    bl_status status = scratch ? infer_with(ctx, graph, known, keep, scratch) : bl_pending(ctx);
    bl_arena_free(scratch);
    bl_arena_free(keep);
    BL_TRY(status);
    return bl_graph_rehash(ctx, graph);
}

bl_status bl_graph_infer(bl_ctx *ctx, bl_graph *graph)
{
    return bl_graph_shapes(ctx, graph, NULL);
}

bl_status bl_graph_macs(bl_ctx *ctx, const bl_graph *graph, int node, int64_t *macs)
{
    BL_CHECK(ctx, node >= 0 && node < graph->n_nodes);
    const bl_node *n = &graph->nodes[node];
    *macs = 0;
    if (!n->op->macs) return BL_OK;
    bl_arena *scratch = bl_arena_new(ctx, "costs");
    BL_ALLOC_TRY(ctx, scratch);
    const bl_tensor **in = BL_NEW(scratch, const bl_tensor *, (size_t)n->n_in);
    bl_tensor *out = in ? BL_NEW(scratch, bl_tensor, (size_t)n->n_out) : NULL;
    if (out) {
        bl_call call = {.ctx = ctx,
                        .node = n,
                        .n_in = n->n_in,
                        .n_out = n->n_out,
                        .in = in,
                        .out = out,
                        .scratch = scratch};
        for (int i = 0; i < n->n_in; i++) in[i] = n->in[i] < 0 ? NULL : &graph->values[n->in[i]].t;
        for (int i = 0; i < n->n_out; i++)
            if (n->out[i] >= 0) out[i] = graph->values[n->out[i]].t;
        *macs = BL_MAX(n->op->macs(&call), (int64_t)0);
    }
    bl_arena_free(scratch);
    return out ? BL_OK : bl_pending(ctx);
}
