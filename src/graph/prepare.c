/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From the model as it was exported to what the stages want: constants folded, identities gone,
 * BatchNormalization and activations inside the layers before them.  Here: the working copy that
 * the passes change, and the order of the passes (fold.c, recognise.c, fuse.c).
 */
#include "graph/graph_private.h"

#include <string.h>

/* ------------------------------------------------------------------ the working copy */

/* Numbers of a node in a list of its own, `more` longer. */
static bl_status own_list(bl_arena *arena, const int *from, int n, int more, const int **out)
{
    int *list = BL_NEW(arena, int, (size_t)n + (size_t)more);
    BL_ALLOC_TRY(bl_arena_ctx(arena), list);
    if (n > 0) memcpy(list, from, (size_t)n * sizeof(int));
    for (int i = n; i < n + more; i++) list[i] = -1;
    *out = list;
    return BL_OK;
}

bl_status bl_edit_init(bl_edit *e, bl_ctx *ctx, const bl_graph *from, bl_arena *arena)
{
    int taken;
    *e = (bl_edit){.ctx = ctx, .arena = arena, .g = *from};
    /* A pass adds at most three values for a node: weight and bias, a Reshape's target, bounds. */
    e->max_values = from->n_values + 3 * from->n_nodes;
    e->g.values = BL_NEW(arena, bl_value, (size_t)e->max_values);
    BL_ALLOC_TRY(ctx, e->g.values);
    if (from->n_values > 0)
        memcpy(e->g.values, from->values, (size_t)from->n_values * sizeof(bl_value));
    e->g.nodes = BL_NEW(arena, bl_node, (size_t)from->n_nodes);
    BL_ALLOC_TRY(ctx, e->g.nodes);
    e->dead = BL_NEW(arena, uint8_t, (size_t)from->n_nodes);
    BL_ALLOC_TRY(ctx, e->dead);
    e->g.bn = BL_NEW(arena, bl_bn, (size_t)(from->n_bn + from->n_nodes));
    BL_ALLOC_TRY(ctx, e->g.bn);
    if (from->n_bn > 0) memcpy(e->g.bn, from->bn, (size_t)from->n_bn * sizeof(bl_bn));
    for (int i = 0; i < from->n_nodes; i++) {
        bl_node *n = &e->g.nodes[i];
        *n = from->nodes[i];
        BL_TRY(own_list(arena, n->in, n->n_in, 1, &n->in)); /* 1: a bias that the model lacks */
        BL_TRY(own_list(arena, n->out, n->n_out, 0, &n->out));
    }
    BL_TRY(bl_names_init(&e->names, arena, (size_t)e->max_values));
    for (int i = 0; i < from->n_values; i++)
        BL_TRY(bl_names_add(&e->names, from->values[i].name, i, &taken));
    return BL_OK;
}

bl_status bl_edit_constant(bl_edit *e, const char *wish, const bl_tensor *t, int *value)
{
    BL_CHECK(e->ctx, e->g.n_values < e->max_values);
    const char *name = bl_names_unique(&e->names, wish, e->g.n_values);
    BL_ALLOC_TRY(e->ctx, name);
    e->g.values[e->g.n_values] = (bl_value){.name = name, .t = *t, .producer = -1};
    *value = e->g.n_values++;
    return BL_OK;
}

void bl_edit_input(bl_edit *e, int node, int i, int value)
{
    bl_node *n = &e->g.nodes[node];
    int *list = (int *)n->in; /* own_list made it */
    if (i < n->n_in && list[i] >= 0) e->g.values[list[i]].n_readers--;
    list[i] = value;
    if (value >= 0) e->g.values[value].n_readers++;
    n->n_in = BL_MAX(n->n_in, i + 1);
}

void bl_edit_kill(bl_edit *e, int node)
{
    const bl_node *n = &e->g.nodes[node];
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i] >= 0) e->g.values[n->in[i]].n_readers--;
    e->dead[node] = 1;
}

void bl_edit_absorb(bl_edit *e, int by, int from)
{
    int old = e->g.nodes[by].out[0], value = e->g.nodes[from].out[0];
    bl_edit_kill(e, from);
    bl_node_clamp(&e->g.nodes[by], e->g.nodes[from].lo, e->g.nodes[from].hi);
    ((int *)e->g.nodes[by].out)[0] = value;
    e->g.values[value].producer = by;
    e->g.values[old].producer = -1;
    for (int i = 0; i < e->g.n_bn; i++)
        if (e->g.bn[i].value == old) e->g.bn[i].value = value;
}

void bl_edit_recount(bl_edit *e)
{
    for (int i = 0; i < e->g.n_values; i++) {
        e->g.values[i].producer = -1;
        e->g.values[i].n_readers = 0;
    }
    for (int n = 0; n < e->g.n_nodes; n++) {
        const bl_node *node = &e->g.nodes[n];
        if (e->dead[n]) continue;
        for (int i = 0; i < node->n_in; i++)
            if (node->in[i] >= 0) e->g.values[node->in[i]].n_readers++;
        for (int i = 0; i < node->n_out; i++)
            if (node->out[i] >= 0) e->g.values[node->out[i]].producer = n;
    }
}

int bl_edit_feeder(const bl_edit *e, int node, int i)
{
    const bl_node *n = &e->g.nodes[node];
    if (i >= n->n_in || n->in[i] < 0) return -1;
    const bl_value *v = &e->g.values[n->in[i]];
    if (v->producer < 0 || v->n_readers != 1 || v->is_output) return -1;
    return e->g.nodes[v->producer].n_out == 1 ? v->producer : -1;
}

bool bl_node_is(const bl_node *node, const char *op)
{
    return strcmp(node->op->name, op) == 0 && !*node->domain;
}

const bl_tensor *bl_edit_input_constant(const bl_edit *e, const bl_node *node, int i, bl_dtype type)
{
    if (i >= node->n_in || node->in[i] < 0) return NULL;
    const bl_tensor *t = &e->g.values[node->in[i]].t;
    return t->data && t->type == type ? t : NULL;
}

/* ------------------------------------------------------------------ the passes */

static bl_status prepare_with(bl_ctx *ctx, const bl_graph *graph, bool open, bool norms, bl_arena *arena,
                              bl_graph **out)
{
    bl_edit e;
    BL_TRY(bl_edit_init(&e, ctx, graph, arena));
    e.open = open;
    e.norms = norms;
    BL_TRY(bl_fold(&e));
    bl_edit_recount(&e);
    BL_TRY(bl_recognise(&e));
    BL_TRY(bl_fuse(&e));
    e.g.prepared = !norms;
    BL_TRY(bl_graph_copy(ctx, &e.g, e.dead, out));
    return bl_graph_infer(ctx, *out);
}

static bl_status prepare(bl_ctx *ctx, const bl_graph *graph, bool open, bool norms, bl_graph **out)
{
    bl_graph *result = NULL;
    bl_arena *arena = bl_arena_new(ctx, "preparing a graph");
    BL_ALLOC_TRY(ctx, arena);
    bl_status status = prepare_with(ctx, graph, open, norms, arena, &result);
    bl_arena_free(arena);
    if (status != BL_OK)
        bl_graph_free(result);
    else
        *out = result;
    return status;
}

bl_status bl_prepare(bl_ctx *ctx, const bl_graph *graph, bl_graph **out)
{
    return prepare(ctx, graph, false, false, out);
}

bl_status bl_prepare_open(bl_ctx *ctx, const bl_graph *graph, bl_graph **out)
{
    return prepare(ctx, graph, true, false, out);
}

bl_status bl_prepare_norms(bl_ctx *ctx, const bl_graph *graph, bl_graph **out)
{
    return prepare(ctx, graph, false, true, out);
}

/* ------------------------------------------------------------------ the form that is trained */

/* Node n in its training form: new values for the batch's own figures, as many as it has running ones. */
static bl_status train_node(bl_ctx *ctx, bl_graph *g, bl_names *names, int n)
{
    bl_node *node = &g->nodes[n];
    const bl_op *op = node->op->training;
    int *out = BL_NEW(g->arena, int, (size_t)op->out_max);

    BL_ALLOC_TRY(ctx, out);
    out[0] = node->out[0];
    for (int i = 1; i < op->out_max; i++) {
        const bl_value *running = &g->values[node->in[node->n_in - op->out_max + i]];
        const char *wish = bl_format(g->arena, "%s_batch", running->name), *name;
        BL_ALLOC_TRY(ctx, wish);
        name = bl_names_unique(names, wish, g->n_values);
        BL_ALLOC_TRY(ctx, name);
        out[i] = g->n_values;
        g->values[g->n_values++] = (bl_value){.name = name, .producer = -1};
    }
    node->op = op;
    node->out = out;
    node->n_out = op->out_max;
    return BL_OK;
}

static bl_status train_all(bl_ctx *ctx, const bl_graph *from, bl_graph *to)
{
    bl_arena *arena = to->arena;
    bl_names names;
    size_t more = 0;
    int taken;

    for (int n = 0; n < from->n_nodes; n++)
        if (from->nodes[n].op->training) more += (size_t)from->nodes[n].op->training->out_max;
    *to = *from;
    to->arena = arena;
    to->map = (bl_map){0};
    to->external = NULL;
    to->values = BL_NEW(arena, bl_value, (size_t)from->n_values + more);
    BL_ALLOC_TRY(ctx, to->values);
    memcpy(to->values, from->values, (size_t)from->n_values * sizeof(bl_value));
    to->nodes = BL_NEW(arena, bl_node, (size_t)from->n_nodes);
    BL_ALLOC_TRY(ctx, to->nodes);
    memcpy(to->nodes, from->nodes, (size_t)from->n_nodes * sizeof(bl_node));
    BL_TRY(bl_names_init(&names, arena, (size_t)from->n_values + more));
    for (int v = 0; v < from->n_values; v++) BL_TRY(bl_names_add(&names, from->values[v].name, v, &taken));
    for (int n = 0; n < to->n_nodes; n++)
        if (to->nodes[n].op->training) BL_TRY(train_node(ctx, to, &names, n));
    BL_TRY(bl_graph_link(ctx, to));
    return bl_graph_infer(ctx, to);
}

bl_status bl_graph_training(bl_ctx *ctx, const bl_graph *graph, bl_graph **out)
{
    bl_graph *to;

    BL_TRY(bl_graph_new(ctx, &to));
    bl_status status = train_all(ctx, graph, to);
    if (status != BL_OK)
        bl_graph_free(to);
    else
        *out = to;
    return status;
}
