/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A network that was exported for a batch of several, for one sample: programs are made for one, and data sets feed
 * one.  Beside the inputs the batch stands in constants: targets of Reshape, Expand and Resize, and rows that an
 * exporter repeated for every sample.  They are written again where it is certain which of their numbers is the
 * batch; else the network is refused, and so where samples of a batch meet each other.
 */
#include "graph/graph_private.h"

#include <string.h>

#define REMEDY "export it with a batch of 1 or a free one"

static bool is_one_of(const bl_node *n, const char *const *ops, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (bl_node_is(n, ops[i])) return true;
    return false;
}

bool bl_graph_is_batched(const bl_graph *graph)
{
    /* Operators whose first dimension counts samples; that of a MatMul or Gemm may be anything. */
    static const char *const ops[] = {"Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "MaxPool", "AveragePool", "LpPool",
                                      "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "BatchNormalization",
                                      "InstanceNormalization", "GroupNormalization"};
    if (graph->batch < 2) return false;
    for (int i = 0; i < graph->n_nodes; i++) {
        const bl_node *n = &graph->nodes[i];
        const bl_tensor *x = n->n_in > 0 && n->in[0] >= 0 ? &graph->values[n->in[0]].t : NULL;
        if (x && !x->data && x->rank > 0 && x->dim[0] == graph->batch && is_one_of(n, ops, BL_COUNTOF(ops))) return true;
    }
    return false;
}

/* ------------------------------------------------------------------ constants that hold the batch */

/* First number of a list of int64 behind input i. */
static bl_status put_first(bl_edit *e, int node, int i, int64_t first)
{
    int v = e->g.nodes[node].in[i], made;
    bl_tensor t = e->g.values[v].t;
    int64_t *list = BL_NEW(e->arena, int64_t, (size_t)bl_tensor_count(&t));
    BL_ALLOC_TRY(e->ctx, list);
    memcpy(list, t.data, bl_tensor_bytes(&t));
    list[0] = first;
    t.data = list;
    BL_TRY(bl_edit_constant(e, e->g.values[v].name, &t, &made));
    bl_edit_input(e, node, i, made);
    return BL_OK;
}

/* A target that begins with a multiple of the batch.  divided: right only where the batch lies outermost in the input. */
static bl_status free_target(bl_edit *e, int node, uint8_t *divided)
{
    bl_node *n = &e->g.nodes[node];
    const bl_tensor *target = bl_edit_input_constant(e, n, 1, BL_I64);
    if (!target || bl_tensor_count(target) < 1 || bl_attr_int(n, "allowzero", 0) != 0) return BL_OK;
    const int64_t *to = target->data;
    if (to[0] < 1 || to[0] % e->g.batch != 0) return BL_OK; /* 0 and -1 are right for every batch */
    bool open = false;
    for (int64_t i = 1; i < bl_tensor_count(target); i++) open |= to[i] == -1;
    *divided = 1;
    return put_first(e, node, 1, open ? to[0] / e->g.batch : -1);
}

/* Expand's shape or Resize's sizes. */
static bl_status free_shape(bl_edit *e, int node, int i)
{
    const bl_node *n = &e->g.nodes[node];
    const bl_tensor *shape = bl_edit_input_constant(e, n, i, BL_I64), *y = &e->g.values[n->out[0]].t;
    bool whole = shape && y->rank > 0 && bl_tensor_count(shape) == y->rank;
    if (!whole || ((const int64_t *)shape->data)[0] != e->g.batch || y->dim[0] != e->g.batch) return BL_OK;
    return put_first(e, node, i, 1);
}

static bool rows_are_one(const bl_tensor *t)
{
    size_t row = bl_tensor_bytes(t) / (size_t)t->dim[0];
    for (int64_t i = 1; i < t->dim[0]; i++)
        if (memcmp(t->data, (const uint8_t *)t->data + (size_t)i * row, row) != 0) return false;
    return true;
}

/* A class token or the like, once a sample: the first row stands for all. */
static bl_status cut_rows(bl_edit *e, int node)
{
    const bl_node *n = &e->g.nodes[node];
    const bl_tensor *y = &e->g.values[n->out[0]].t;
    for (int i = 0; i < n->n_in; i++) {
        bl_tensor t;
        int made;
        if (n->in[i] < 0 || !e->g.values[n->in[i]].t.data) continue;
        t = e->g.values[n->in[i]].t;
        if (t.rank < 2 || t.rank != y->rank || t.dim[0] != e->g.batch || y->dim[0] != e->g.batch || !rows_are_one(&t)) continue;
        t.dim[0] = 1;
        BL_TRY(bl_edit_constant(e, e->g.values[n->in[i]].name, &t, &made));
        bl_edit_input(e, node, i, made);
        return BL_OK; /* one a node: there is room for three new values, and two constants fold */
    }
    return BL_OK;
}

static bl_status free_node(bl_edit *e, int node, uint8_t *divided)
{
    static const char *const by_rows[] = {"Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean", "Pow", "PRelu", "Where", "Concat"};
    const bl_node *n = &e->g.nodes[node];
    if (n->n_out < 1 || n->out[0] < 0) return BL_OK;
    if (bl_node_is(n, "Reshape")) return free_target(e, node, divided);
    if (bl_node_is(n, "Expand")) return free_shape(e, node, 1);
    if (bl_node_is(n, "Resize")) return free_shape(e, node, 3);
    return is_one_of(n, by_rows, BL_COUNTOF(by_rows)) ? cut_rows(e, node) : BL_OK;
}

/* ------------------------------------------------------------------ is it the same network? */

/* The dimension that the batch changes; -1: none. */
static int batch_axis(const bl_graph *was, const bl_graph *is, int value)
{
    const bl_tensor *a = &was->values[value].t, *b = &is->values[value].t;
    for (int d = 0; d < a->rank; d++)
        if (a->dim[d] != b->dim[d]) return d;
    return -1;
}

static bool turns_first(const bl_node *n)
{
    const bl_attr *perm = bl_node_is(n, "Transpose") ? bl_node_attr(n, "perm") : NULL;
    return bl_node_is(n, "Transpose") && !(perm && perm->n > 0 && perm->ints && perm->ints[0] == 0);
}

/* Whether the samples of a node's output lie one behind the other.  They do where the first dimension counts nothing else; where
 * it counts more, if they did in the input and nothing turned them. */
static bool lies_outermost(const bl_graph *was, const bl_graph *is, const bl_node *n, int value, const uint8_t *outer)
{
    const bl_tensor *y = &was->values[value].t;
    if (batch_axis(was, is, value) != 0) return false;
    for (int d = 1; d < y->rank; d++)
        if (y->dim[d] != is->values[value].t.dim[d]) return false;
    if (y->dim[0] == was->batch) return true;
    bool reshapes = bl_node_is(n, "Reshape") || bl_node_is(n, "Flatten");
    for (int i = 0; i < n->n_in && !turns_first(n); i++) {
        const bl_tensor *x = n->in[i] >= 0 ? &was->values[n->in[i]].t : NULL;
        if (x && outer[n->in[i]] && (reshapes || (x->rank > 0 && x->dim[0] == y->dim[0]))) return true;
    }
    return false;
}

/* Operators that look along an axis, or along all from it on. */
static bool mixes_samples(const bl_graph *was, const bl_graph *is, const bl_node *n)
{
    static const char *const along[] = {"Softmax", "LogSoftmax", "Hardmax", "LpNormalization", "TopK"};
    static const char *const from[] = {"LayerNormalization", "RMSNormalization"};
    int axis = n->n_in > 0 && n->in[0] >= 0 ? batch_axis(was, is, n->in[0]) : -1;
    if (axis < 0) return false;
    int rank = was->values[n->in[0]].t.rank;
    bool flat = n->opset < 13 && is_one_of(n, along, 3); /* all dimensions from the axis on were one */
    int64_t at = bl_attr_int(n, "axis", flat ? 1 : -1);
    at += at < 0 ? rank : 0;
    if (is_one_of(n, along, BL_COUNTOF(along)) && !flat) return at == axis;
    if (flat || is_one_of(n, from, BL_COUNTOF(from))) return at <= axis;
    if (bl_node_is(n, "CumSum")) {
        const bl_tensor *t = n->n_in > 1 && n->in[1] >= 0 ? &was->values[n->in[1]].t : NULL;
        int64_t k = t && t->data ? (int64_t)bl_element_f64(t, 0) : axis;
        return k + (k < 0 ? rank : 0) == axis;
    }
    if (bl_node_is(n, "MeanVarianceNormalization")) {
        const bl_attr *axes = bl_node_attr(n, "axes");
        for (size_t i = 0; axes && i < axes->n; i++)
            if (axes->ints[i] + (axes->ints[i] < 0 ? rank : 0) == axis) return true;
        return !axes && axis != 1;
    }
    return bl_node_is(n, "DynamicQuantizeLinear"); /* one range for all */
}

static bl_status check(bl_ctx *ctx, const bl_graph *was, const bl_graph *is, const uint8_t *divided, bl_arena *arena)
{
    char place[256];
    uint8_t *outer = BL_NEW(arena, uint8_t, (size_t)was->n_values);
    BL_ALLOC_TRY(ctx, outer);
    for (int i = 0; i < was->n_inputs; i++) outer[was->inputs[i]] = 1;
    for (int i = 0; i < was->n_nodes; i++) {
        const bl_node *n = &was->nodes[i];
        if (divided[i] && !outer[n->in[0]])
            return bl_fail(ctx, BL_UNAVAILABLE, bl_node_place(n, place), REMEDY, "which number of its target is the batch is not certain");
        if (mixes_samples(was, is, n))
            return bl_fail(ctx, BL_UNAVAILABLE, bl_node_place(n, place), REMEDY, "it mixes the samples of a batch");
        for (int k = 0; k < n->n_out; k++)
            if (n->out[k] >= 0) outer[n->out[k]] = lies_outermost(was, is, n, n->out[k], outer);
    }
    return BL_OK;
}

/* ------------------------------------------------------------------ the pass */

static bl_status copy_whole(bl_ctx *ctx, const bl_graph *from, const uint8_t *dead, bl_graph **out)
{
    bl_graph *to;
    BL_TRY(bl_graph_copy(ctx, from, dead, &to));
    bl_status status = bl_graph_rehash(ctx, to);
    if (status != BL_OK) bl_graph_free(to);
    else *out = to;
    return status;
}

/* Folding first: what is computed from shapes becomes targets, and those of one sample behind the other become free. */
static bl_status fold(bl_ctx *ctx, const bl_graph *graph, bl_arena *arena, bl_graph **out)
{
    bl_edit e;
    BL_TRY(bl_edit_init(&e, ctx, graph, arena));
    BL_TRY(bl_fold(&e));
    bl_edit_recount(&e);
    return copy_whole(ctx, &e.g, e.dead, out);
}

static bl_status unbatch(bl_ctx *ctx, const bl_graph *folded, bl_arena *arena, bl_graph **out)
{
    bl_edit e;
    bl_graph *one = NULL;
    uint8_t *divided = BL_NEW(arena, uint8_t, (size_t)folded->n_nodes);
    BL_ALLOC_TRY(ctx, divided);
    BL_TRY(bl_edit_init(&e, ctx, folded, arena));
    for (int i = 0; i < e.g.n_nodes; i++) BL_TRY(free_node(&e, i, &divided[i]));
    BL_TRY(bl_graph_rebatch(ctx, &e.g, 1, &one));
    bl_status status = check(ctx, &e.g, one, divided, arena);
    if (status == BL_OK) status = copy_whole(ctx, one, NULL, out);
    bl_graph_free(one);
    return status;
}

bl_status bl_unbatch_graph(bl_ctx *ctx, const bl_graph *graph, bl_graph **out)
{
    bl_graph *folded = NULL;
    if (graph->batch == 1) return copy_whole(ctx, graph, NULL, out);
    bl_arena *arena = bl_arena_new(ctx, "taking a batch apart");
    BL_ALLOC_TRY(ctx, arena);
    bl_status status = fold(ctx, graph, arena, &folded);
    if (status == BL_OK) status = unbatch(ctx, folded, arena, out);
    bl_graph_free(folded);
    bl_arena_free(arena);
    return status;
}
