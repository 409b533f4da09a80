/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What makes lists of values and nodes a graph: one producer for each value, an order in which
 * every node comes after those that feed it, reader counts, unique names, and the hash of the
 * content.
 */
#include "graph/graph_private.h"

#include <stdio.h>
#include <string.h>

bl_status bl_graph_new(bl_ctx *ctx, bl_graph **out)
{
    bl_arena *arena = bl_arena_new(ctx, "graph");
    BL_ALLOC_TRY(ctx, arena);
    bl_graph *g = BL_NEW(arena, bl_graph, 1);
    if (!g) {
        bl_arena_free(arena);
        return bl_pending(ctx);
    }
    *g = (bl_graph){.arena = arena, .source = "", .name = "", .producer = "", .batch = 1};
    *out = g;
    return BL_OK;
}

void bl_graph_free(bl_graph *graph)
{
    if (!graph) return;
    bl_unmap(&graph->map);
    for (bl_external *e = graph->external; e; e = e->next) bl_unmap(&e->map);
    bl_arena_free(graph->arena); /* the graph itself lies in it */
}

int bl_graph_find_value(const bl_graph *graph, const char *name)
{
    for (int i = 0; i < graph->n_values; i++)
        if (strcmp(graph->values[i].name, name) == 0) return i;
    return -1;
}

const char *bl_node_place(const bl_node *node, char *buf)
{
    snprintf(buf, 256, "node \"%.150s\" (%.60s)", node->name, node->op->name);
    return buf;
}

/* ------------------------------------------------------------------ who gives, who reads */

static bl_status broken(bl_ctx *ctx, const bl_node *node, const char *what, const char *value)
{
    char place[256];
    return bl_fail(ctx, BL_DATA, node ? bl_node_place(node, place) : "graph", "repair the model",
                   "%s \"%.200s\"", what, value);
}

static bl_status note_outputs(bl_ctx *ctx, bl_graph *g)
{
    for (int n = 0; n < g->n_nodes; n++)
        for (int i = 0; i < g->nodes[n].n_out; i++) {
            int v = g->nodes[n].out[i];
            if (v < 0) continue;
            BL_CHECK(ctx, v < g->n_values);
            bl_value *value = &g->values[v];
            if (value->producer >= 0 || value->is_input || value->t.data)
                return broken(ctx, &g->nodes[n], "is not the only one to give", value->name);
            value->producer = n;
        }
    return BL_OK;
}

static bl_status note_inputs(bl_ctx *ctx, bl_graph *g)
{
    for (int n = 0; n < g->n_nodes; n++)
        for (int i = 0; i < g->nodes[n].n_in; i++) {
            int v = g->nodes[n].in[i];
            if (v < 0) continue;
            BL_CHECK(ctx, v < g->n_values);
            bl_value *value = &g->values[v];
            if (value->producer < 0 && !value->is_input && !value->t.data)
                return broken(ctx, &g->nodes[n], "nothing produces its input", value->name);
            value->n_readers++;
        }
    return BL_OK;
}

static bl_status note_ends(bl_ctx *ctx, bl_graph *g)
{
    for (int i = 0; i < g->n_values; i++) {
        bl_value *v = &g->values[i];
        v->producer = -1;
        v->n_readers = 0;
        v->is_input = v->is_output = false;
    }
    for (int i = 0; i < g->n_inputs; i++) {
        bl_value *v = &g->values[g->inputs[i]];
        if (v->is_input || v->t.data)
            return broken(ctx, NULL, "two things give the input", v->name);
        v->is_input = true;
    }
    for (int i = 0; i < g->n_outputs; i++) {
        bl_value *v = &g->values[g->outputs[i]];
        if (v->is_output) return broken(ctx, NULL, "two graph outputs are the value", v->name);
        v->is_output = true;
    }
    return BL_OK;
}

static bl_status check_names(bl_ctx *ctx, const bl_graph *g, bl_arena *scratch)
{
    bl_names names;
    int taken;
    BL_TRY(bl_names_init(&names, scratch, (size_t)g->n_values));
    for (int i = 0; i < g->n_values; i++) {
        BL_TRY(bl_names_add(&names, g->values[i].name, i, &taken));
        if (taken >= 0) return broken(ctx, NULL, "two values are named", g->values[i].name);
    }
    BL_TRY(bl_names_init(&names, scratch, (size_t)g->n_nodes));
    for (int i = 0; i < g->n_nodes; i++) {
        BL_TRY(bl_names_add(&names, g->nodes[i].name, i, &taken));
        if (taken >= 0) return broken(ctx, NULL, "two nodes are named", g->nodes[i].name);
    }
    return BL_OK;
}

/* ------------------------------------------------------------------ order */

/* Least number on top. */
typedef struct heap { int *item, n; } heap;

static void heap_push(heap *h, int x)
{
    int i = h->n++;
    for (; i > 0 && h->item[(i - 1) / 2] > x; i = (i - 1) / 2) h->item[i] = h->item[(i - 1) / 2];
    h->item[i] = x;
}

static int heap_pop(heap *h)
{
    int top = h->item[0], x = h->item[--h->n], i = 0;
    for (;;) {
        int child = 2 * i + 1;
        if (child + 1 < h->n && h->item[child + 1] < h->item[child]) child++;
        if (child >= h->n || h->item[child] >= x) break;
        h->item[i] = h->item[child];
        i = child;
    }
    if (h->n > 0) h->item[i] = x;
    return top;
}

/* For each node the edges to those that read it: to[first[n]..first[n+1]); pending: unfinished
 * producers of each. */
typedef struct edges { int *first, *to, *pending; } edges;

static bl_status find_edges(bl_ctx *ctx, const bl_graph *g, bl_arena *scratch, edges *e)
{
    size_t n = (size_t)g->n_nodes, n_edges = 0;
    e->first = BL_NEW(scratch, int, n + 2);
    BL_ALLOC_TRY(ctx, e->first);
    e->pending = BL_NEW(scratch, int, n);
    BL_ALLOC_TRY(ctx, e->pending);
    for (int pass = 0; pass < 2; pass++) {
        for (int k = 0; k < g->n_nodes; k++)
            for (int i = 0; i < g->nodes[k].n_in; i++) {
                int v = g->nodes[k].in[i], from = v < 0 ? -1 : g->values[v].producer;
                if (from < 0) continue;
                if (pass == 0) {
                    e->first[from + 2]++;
                    e->pending[k]++;
                    n_edges++;
                } else
                    e->to[e->first[from + 1]++] = k;
            }
        if (pass == 1) break;
        for (size_t k = 2; k < n + 2; k++) e->first[k] += e->first[k - 1];
        e->to = BL_NEW(scratch, int, n_edges);
        BL_ALLOC_TRY(ctx, e->to);
    }
    return BL_OK;
}

/* An input of node k that never comes. */
static const char *waits_for(const bl_graph *g, const edges *e, int k)
{
    for (int i = 0; i < g->nodes[k].n_in; i++) {
        const bl_value *v = g->nodes[k].in[i] < 0 ? NULL : &g->values[g->nodes[k].in[i]];
        if (v && v->producer >= 0 && e->pending[v->producer] > 0) return v->name;
    }
    return "";
}

/* Kahn's algorithm; of the nodes that are ready the first of the old order goes first, so a list
 * that is in order stays as it is. */
static bl_status sort_nodes(bl_ctx *ctx, bl_graph *g, bl_arena *scratch)
{
    edges e = {0};
    size_t n = (size_t)g->n_nodes;
    BL_TRY(find_edges(ctx, g, scratch, &e));
    heap ready = {BL_NEW(scratch, int, n), 0};
    BL_ALLOC_TRY(ctx, ready.item);
    bl_node *sorted = BL_NEW(scratch, bl_node, n);
    BL_ALLOC_TRY(ctx, sorted);
    int n_sorted = 0;
    for (int k = 0; k < g->n_nodes; k++)
        if (e.pending[k] == 0) heap_push(&ready, k);
    while (ready.n > 0) {
        int k = heap_pop(&ready);
        sorted[n_sorted++] = g->nodes[k];
        for (int i = e.first[k]; i < e.first[k + 1]; i++)
            if (--e.pending[e.to[i]] == 0) heap_push(&ready, e.to[i]);
    }
    for (int k = 0; k < g->n_nodes && n_sorted < g->n_nodes; k++)
        if (e.pending[k] > 0)
            return broken(ctx, &g->nodes[k],
                          "lies on a cycle of nodes, or behind one: it waits for",
                          waits_for(g, &e, k));
    if (n > 0) memcpy(g->nodes, sorted, n * sizeof(*sorted));
    for (int k = 0; k < g->n_nodes; k++)
        for (int i = 0; i < g->nodes[k].n_out; i++)
            if (g->nodes[k].out[i] >= 0) g->values[g->nodes[k].out[i]].producer = k;
    return BL_OK;
}

static bl_status link_with(bl_ctx *ctx, bl_graph *g, bl_arena *scratch)
{
    BL_TRY(note_ends(ctx, g));
    BL_TRY(note_outputs(ctx, g));
    BL_TRY(note_inputs(ctx, g));
    for (int i = 0; i < g->n_outputs; i++) {
        const bl_value *v = &g->values[g->outputs[i]];
        if (v->producer < 0 && !v->is_input && !v->t.data)
            return broken(ctx, NULL, "nothing produces the graph output", v->name);
    }
    BL_TRY(check_names(ctx, g, scratch));
    return sort_nodes(ctx, g, scratch);
}

bl_status bl_graph_link(bl_ctx *ctx, bl_graph *graph)
{
    bl_arena *scratch = bl_arena_new(ctx, "linking a graph");
    BL_ALLOC_TRY(ctx, scratch);
    bl_status status = link_with(ctx, graph, scratch);
    bl_arena_free(scratch);
    return status;
}

bl_status bl_graph_finish(bl_ctx *ctx, bl_graph *graph)
{
    BL_TRY(bl_graph_link(ctx, graph));
    return bl_graph_rehash(ctx, graph);
}

/* ------------------------------------------------------------------ hash */

static void hash_tensor(bl_hasher *h, const bl_tensor *t)
{
    bl_hash_i64(h, t->type);
    bl_hash_i64(h, t->rank);
    for (int i = 0; i < t->rank; i++) bl_hash_i64(h, t->dim[i]);
    bl_hash_i64(h, t->data != NULL);
    if (t->data) bl_hash_bytes(h, t->data, bl_tensor_bytes(t));
}

static void hash_attr(bl_hasher *h, const bl_attr *a)
{
    bl_hash_text(h, a->name);
    bl_hash_i64(h, a->type);
    bl_hash_f64(h, a->f);
    bl_hash_i64(h, a->i);
    bl_hash_i64(h, (int64_t)a->s_len);
    bl_hash_bytes(h, a->s, a->s_len);
    bl_hash_i64(h, (int64_t)a->n);
    for (size_t i = 0; i < a->n; i++) {
        if (a->floats) bl_hash_f64(h, a->floats[i]);
        if (a->ints) bl_hash_i64(h, a->ints[i]);
        if (a->strings) bl_hash_text(h, a->strings[i]);
    }
    hash_tensor(h, &a->t);
}

static void hash_numbers(bl_hasher *h, const int *list, int n)
{
    bl_hash_i64(h, n);
    for (int i = 0; i < n; i++) bl_hash_i64(h, list[i]);
}

static void hash_node(bl_hasher *h, const bl_node *n)
{
    bl_hash_text(h, n->op->name);
    bl_hash_text(h, n->domain);
    bl_hash_text(h, n->name);
    bl_hash_i64(h, n->opset);
    hash_numbers(h, n->in, n->n_in);
    hash_numbers(h, n->out, n->n_out);
    bl_hash_i64(h, n->n_attr);
    for (int i = 0; i < n->n_attr; i++) hash_attr(h, &n->attr[i]);
    bl_hash_f64(h, n->lo);
    bl_hash_f64(h, n->hi);
}

bl_status bl_graph_rehash(bl_ctx *ctx, bl_graph *graph)
{
    bl_arena *scratch = bl_arena_new(ctx, "hashing a graph");
    BL_ALLOC_TRY(ctx, scratch);
    bl_hasher *h = bl_hasher_new(scratch);
    if (h) {
        bl_hash_text(h, "graph 1");
        bl_hash_i64(h, graph->prepared);
        bl_hash_i64(h, graph->n_values);
        for (int i = 0; i < graph->n_values; i++) {
            bl_hash_text(h, graph->values[i].name);
            hash_tensor(h, &graph->values[i].t);
        }
        bl_hash_i64(h, graph->n_nodes);
        for (int i = 0; i < graph->n_nodes; i++) hash_node(h, &graph->nodes[i]);
        hash_numbers(h, graph->inputs, graph->n_inputs);
        hash_numbers(h, graph->outputs, graph->n_outputs);
        graph->hash = bl_hash_end(h);
    }
    bl_arena_free(scratch);
    return h ? BL_OK : bl_pending(ctx);
}
