/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Graphs from graphs: the deep copy that drops what leads nowhere, one node by itself, and the same
 * network at another batch size.
 */
#include "graph/graph_private.h"

#include <string.h>

/* ------------------------------------------------------------------ deep copies */

static bl_status copy_bytes(bl_arena *arena, const void *from, size_t n, size_t unit,
                            const void **to)
{
    *to = NULL;
    if (!from) return BL_OK;
    void *copy = bl_alloc(arena, n, unit);
    BL_ALLOC_TRY(bl_arena_ctx(arena), copy);
    if (n > 0) memcpy(copy, from, n * unit);
    *to = copy;
    return BL_OK;
}

static bl_status copy_tensor(bl_arena *arena, const bl_tensor *from, bl_tensor *to)
{
    const void *data;
    *to = *from;
    BL_TRY(copy_bytes(arena, from->data, from->data ? bl_tensor_bytes(from) : 0, 1, &data));
    to->data = (void *)data;
    return BL_OK;
}

static bl_status copy_text(bl_arena *arena, const char *from, const char **to)
{
    *to = bl_strdup(arena, from);
    BL_ALLOC_TRY(bl_arena_ctx(arena), *to);
    return BL_OK;
}

static bl_status copy_attr(bl_arena *arena, const bl_attr *from, bl_attr *to)
{
    const void *copy;
    *to = *from;
    BL_TRY(copy_text(arena, from->name, &to->name));
    BL_TRY(copy_tensor(arena, &from->t, &to->t));
    if (from->s) {
        BL_TRY(copy_bytes(arena, from->s, from->s_len + 1, 1, &copy));
        to->s = copy;
    }
    BL_TRY(copy_bytes(arena, from->floats, from->n, sizeof(float), &copy));
    to->floats = copy;
    BL_TRY(copy_bytes(arena, from->ints, from->n, sizeof(int64_t), &copy));
    to->ints = copy;
    if (from->strings) {
        const char **list = BL_NEW(arena, const char *, from->n);
        BL_ALLOC_TRY(bl_arena_ctx(arena), list);
        for (size_t i = 0; i < from->n; i++) BL_TRY(copy_text(arena, from->strings[i], &list[i]));
        to->strings = list;
    }
    return BL_OK;
}

static bl_status copy_numbers(bl_arena *arena, const int *from, int n, const int *map, int **to)
{
    *to = BL_NEW(arena, int, (size_t)n);
    BL_ALLOC_TRY(bl_arena_ctx(arena), *to);
    for (int i = 0; i < n; i++) (*to)[i] = from[i] < 0 ? -1 : map[from[i]];
    return BL_OK;
}

static bl_status copy_node(bl_arena *arena, const bl_node *from, const int *map, bl_node *to)
{
    int *list;
    *to = *from;
    BL_TRY(copy_text(arena, from->name, &to->name));
    BL_TRY(copy_text(arena, from->domain, &to->domain));
    BL_TRY(copy_numbers(arena, from->in, from->n_in, map, &list));
    to->in = list;
    BL_TRY(copy_numbers(arena, from->out, from->n_out, map, &list));
    to->out = list;
    bl_attr *attr = BL_NEW(arena, bl_attr, (size_t)from->n_attr);
    BL_ALLOC_TRY(bl_arena_ctx(arena), attr);
    to->attr = attr;
    for (int i = 0; i < from->n_attr; i++) BL_TRY(copy_attr(arena, &from->attr[i], &attr[i]));
    return BL_OK;
}

static bl_status copy_floats(bl_arena *arena, int n, const float **list)
{
    const void *copy;
    BL_TRY(copy_bytes(arena, *list, (size_t)n, sizeof(float), &copy));
    *list = copy;
    return BL_OK;
}

static bl_status copy_bn(const bl_graph *from, const int *map, bl_graph *to)
{
    to->bn = BL_NEW(to->arena, bl_bn, (size_t)from->n_bn);
    BL_ALLOC_TRY(bl_arena_ctx(to->arena), to->bn);
    for (int i = 0; i < from->n_bn; i++) {
        int value = map[from->bn[i].value];
        if (value < 0 || to->values[value].producer < 0) continue; /* its layer is not here */
        bl_bn *b = &to->bn[to->n_bn++];
        *b = from->bn[i];
        b->value = value;
        BL_TRY(copy_text(to->arena, from->bn[i].name, &b->name));
        BL_TRY(copy_floats(to->arena, b->channels, &b->mean));
        BL_TRY(copy_floats(to->arena, b->channels, &b->sigma));
        BL_TRY(copy_floats(to->arena, b->channels, &b->gamma));
        BL_TRY(copy_floats(to->arena, b->channels, &b->beta));
    }
    return BL_OK;
}

/* ------------------------------------------------------------------ what is needed */

/* live[n]: some output needs node n.  Nodes are in topological order, so one pass backwards is
 * enough. needed[v]: an input, an output, or touched by a live node. */
static void find_needed(const bl_graph *g, const uint8_t *dead, uint8_t *live, uint8_t *needed)
{
    for (int i = 0; i < g->n_inputs; i++) needed[g->inputs[i]] = 1;
    for (int i = 0; i < g->n_outputs; i++) needed[g->outputs[i]] = 1;
    for (int n = g->n_nodes - 1; n >= 0; n--) {
        const bl_node *node = &g->nodes[n];
        for (int i = 0; i < node->n_out && !(dead && dead[n]); i++)
            if (node->out[i] >= 0 && needed[node->out[i]]) live[n] = 1;
        if (!live[n]) continue;
        for (int i = 0; i < node->n_in; i++)
            if (node->in[i] >= 0) needed[node->in[i]] = 1;
        for (int i = 0; i < node->n_out; i++)
            if (node->out[i] >= 0) needed[node->out[i]] = 1;
    }
}

static bl_status copy_values(bl_ctx *ctx, const bl_graph *from, const uint8_t *needed, int *map,
                             bl_graph *to)
{
    to->values = BL_NEW(to->arena, bl_value, (size_t)from->n_values);
    BL_ALLOC_TRY(ctx, to->values);
    for (int i = 0; i < from->n_values; i++) {
        map[i] = -1;
        if (!needed[i]) continue;
        map[i] = to->n_values;
        bl_value *v = &to->values[to->n_values++];
        BL_TRY(copy_text(to->arena, from->values[i].name, &v->name));
        BL_TRY(copy_tensor(to->arena, &from->values[i].t, &v->t));
        if ((i & 255) == 0) BL_TRY(bl_check_interrupt(ctx));
    }
    return BL_OK;
}

static bl_status copy_into(bl_ctx *ctx, const bl_graph *from, const uint8_t *dead,
                           bl_arena *scratch, bl_graph *to)
{
    uint8_t *live = BL_NEW(scratch, uint8_t, (size_t)from->n_nodes);
    BL_ALLOC_TRY(ctx, live);
    uint8_t *needed = BL_NEW(scratch, uint8_t, (size_t)from->n_values);
    BL_ALLOC_TRY(ctx, needed);
    int *map = BL_NEW(scratch, int, (size_t)from->n_values);
    BL_ALLOC_TRY(ctx, map);
    find_needed(from, dead, live, needed);
    BL_TRY(copy_text(to->arena, from->source, &to->source));
    BL_TRY(copy_text(to->arena, from->name, &to->name));
    BL_TRY(copy_text(to->arena, from->producer, &to->producer));
    to->ir_version = from->ir_version;
    to->opset = from->opset;
    to->prepared = from->prepared;
    to->quantized = from->quantized;
    to->batch = from->batch;
    BL_TRY(copy_values(ctx, from, needed, map, to));
    to->nodes = BL_NEW(to->arena, bl_node, (size_t)from->n_nodes);
    BL_ALLOC_TRY(ctx, to->nodes);
    for (int i = 0; i < from->n_nodes; i++)
        if (live[i]) BL_TRY(copy_node(to->arena, &from->nodes[i], map, &to->nodes[to->n_nodes++]));
    BL_TRY(copy_numbers(to->arena, from->inputs, from->n_inputs, map, &to->inputs));
    BL_TRY(copy_numbers(to->arena, from->outputs, from->n_outputs, map, &to->outputs));
    to->n_inputs = from->n_inputs;
    to->n_outputs = from->n_outputs;
    BL_TRY(bl_graph_link(ctx, to));
    return copy_bn(from, map, to);
}

bl_status bl_graph_copy(bl_ctx *ctx, const bl_graph *from, const uint8_t *dead, bl_graph **out)
{
    bl_graph *to;
    bl_arena *scratch = bl_arena_new(ctx, "copying a graph");
    BL_ALLOC_TRY(ctx, scratch);
    bl_status status = bl_graph_new(ctx, &to);
    if (status == BL_OK) {
        status = copy_into(ctx, from, dead, scratch, to);
        if (status != BL_OK)
            bl_graph_free(to);
        else
            *out = to;
    }
    bl_arena_free(scratch);
    return status;
}

/* ------------------------------------------------------------------ one node */

/* A view of the graph whose inputs are what flows into the node and whose outputs are its own. */
static bl_status view_node(bl_ctx *ctx, const bl_graph *graph, int node, bl_arena *scratch,
                           bl_graph *view, uint8_t **dead)
{
    const bl_node *n = &graph->nodes[node];
    *view = *graph;
    view->n_inputs = view->n_outputs = 0;
    view->inputs = BL_NEW(scratch, int, (size_t)n->n_in);
    BL_ALLOC_TRY(ctx, view->inputs);
    view->outputs = BL_NEW(scratch, int, (size_t)n->n_out);
    BL_ALLOC_TRY(ctx, view->outputs);
    *dead = BL_NEW(scratch, uint8_t, (size_t)graph->n_nodes);
    BL_ALLOC_TRY(ctx, *dead);
    memset(*dead, 1, (size_t)graph->n_nodes);
    (*dead)[node] = 0;
    for (int i = 0; i < n->n_in; i++) {
        bool flows = n->in[i] >= 0 && !graph->values[n->in[i]].t.data;
        for (int k = 0; k < view->n_inputs && flows; k++) flows = view->inputs[k] != n->in[i];
        if (flows) view->inputs[view->n_inputs++] = n->in[i];
    }
    for (int i = 0; i < n->n_out; i++)
        if (n->out[i] >= 0) view->outputs[view->n_outputs++] = n->out[i];
    return BL_OK;
}

/* What is left of a view when dead nodes are gone. */
static bl_status copy_view(bl_ctx *ctx, const bl_graph *view, const uint8_t *dead, bl_graph **out)
{
    bl_graph *result = NULL;
    BL_TRY(bl_graph_copy(ctx, view, dead, &result));
    bl_status status = bl_graph_rehash(ctx, result);
    if (status != BL_OK) bl_graph_free(result);
    else *out = result;
    return status;
}

bl_status bl_graph_extract(bl_ctx *ctx, const bl_graph *graph, int node, bl_graph **out)
{
    bl_graph view;
    uint8_t *dead;
    BL_CHECK(ctx, node >= 0 && node < graph->n_nodes);
    bl_arena *scratch = bl_arena_new(ctx, "extracting a node");
    BL_ALLOC_TRY(ctx, scratch);
    bl_status status = view_node(ctx, graph, node, scratch, &view, &dead);
    if (status == BL_OK) status = copy_view(ctx, &view, dead, out);
    bl_arena_free(scratch);
    return status;
}

bl_status bl_graph_between(bl_ctx *ctx, const bl_graph *graph, int first, int last, int in, int out, bl_graph **result)
{
    bl_graph view = *graph;
    BL_CHECK(ctx, first >= 0 && last < graph->n_nodes && graph->values[out].producer >= first);
    bl_arena *scratch = bl_arena_new(ctx, "cutting a graph");
    BL_ALLOC_TRY(ctx, scratch);
    uint8_t *dead = BL_NEW(scratch, uint8_t, (size_t)graph->n_nodes);
    bl_status status = dead ? BL_OK : bl_pending(ctx);
    for (int i = 0; dead && i < graph->n_nodes; i++) dead[i] = i < first || i > last;
    for (int i = first; status == BL_OK && i <= last; i++)
        for (int k = 0; k < graph->nodes[i].n_in; k++) {
            int v = graph->nodes[i].in[k], p = v >= 0 ? graph->values[v].producer : -1;
            bool made = v < 0 || v == in || graph->values[v].t.data || (p >= first && p <= last);
            if (!made && status == BL_OK)
                status = bl_fail(ctx, BL_INTERNAL, graph->values[v].name, "", "flows into a part of the network beside its input");
        }
    view.inputs = &in;
    view.outputs = &out;
    view.n_inputs = view.n_outputs = 1;
    if (status == BL_OK) status = copy_view(ctx, &view, dead, result);
    bl_arena_free(scratch);
    return status;
}

/* ------------------------------------------------------------------ another batch */

static bl_status fixed_batch(bl_ctx *ctx, const bl_graph *g, int value, int64_t batch)
{
    char place[256];
    const bl_value *v = &g->values[value];
    const char *where = v->producer >= 0 ? bl_node_place(&g->nodes[v->producer], place) : "graph";
    return bl_fail(
        ctx, BL_UNAVAILABLE, where, "run it sample by sample",
        "\"%.200s\" does not grow with the batch: the network is fixed to batch %lld, not %lld",
        v->name, (long long)g->batch, (long long)batch);
}

/* Everything that flows must have grown: in dim 0 where that was the batch, else in size. */
static bl_status check_batch(bl_ctx *ctx, const bl_graph *was, const bl_graph *is,
                             const uint8_t *known)
{
    for (int i = 0; i < was->n_values; i++) {
        const bl_tensor *a = &was->values[i].t, *b = &is->values[i].t;
        int64_t grown, needed;
        if (known[i] || was->values[i].producer < 0) continue;
        bool ok = a->rank == b->rank && a->rank > 0;
        if (ok && a->dim[0] == was->batch) ok = b->dim[0] == is->batch;
        ok = ok && bl_mul_i64(bl_tensor_count(b), was->batch, &grown) &&
             bl_mul_i64(bl_tensor_count(a), is->batch, &needed) && grown == needed;
        if (!ok) return fixed_batch(ctx, was, i, is->batch);
    }
    return BL_OK;
}

static bl_status rebatch_into(bl_ctx *ctx, const bl_graph *from, int64_t batch, bl_graph *to)
{
    bl_arena *arena = to->arena;
    *to = *from;
    to->arena = arena;
    to->map = (bl_map){0};
    to->external = NULL;
    to->batch = batch;
    to->values = BL_NEW(arena, bl_value, (size_t)from->n_values);
    BL_ALLOC_TRY(ctx, to->values);
    memcpy(to->values, from->values, (size_t)from->n_values * sizeof(bl_value));
    for (int i = 0; i < to->n_inputs; i++) {
        bl_tensor *t = &to->values[to->inputs[i]].t;
        int64_t bytes = (int64_t)bl_dtype_bytes(t->type);
        if (t->rank == 0 || t->dim[0] != from->batch)
            return fixed_batch(ctx, from, to->inputs[i], batch);
        t->dim[0] = batch;
        for (int d = 0; d < t->rank; d++)
            if (!bl_mul_i64(bytes, t->dim[d], &bytes))
                return fixed_batch(ctx, from, to->inputs[i], batch);
    }
    uint8_t *known = BL_NEW(arena, uint8_t, (size_t)from->n_values);
    BL_ALLOC_TRY(ctx, known);
    bl_status status = bl_graph_shapes(ctx, to, known);
    if (status == BL_DATA) /* shapes that fitted at the old batch do not at this one */
        return bl_fail(ctx, BL_UNAVAILABLE, bl_last_error(ctx).place, "run it sample by sample",
                       "cannot run at batch %lld: %s", (long long)batch, bl_last_error(ctx).what);
    BL_TRY(status);
    return check_batch(ctx, from, to, known);
}

bl_status bl_graph_rebatch(bl_ctx *ctx, const bl_graph *graph, int64_t batch, bl_graph **out)
{
    bl_graph *to;
    if (batch < 1) return bl_fail(ctx, BL_USAGE, "batch", "give 1 or more", "%lld is no batch size",
                                  (long long)batch);
    BL_TRY(bl_graph_new(ctx, &to));
    bl_status status = rebatch_into(ctx, graph, batch, to);
    if (status != BL_OK)
        bl_graph_free(to);
    else
        *out = to;
    return status;
}
