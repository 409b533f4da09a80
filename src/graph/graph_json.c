/* SPDX-License-Identifier: BSD-3-Clause */
/* The graph as JSON for `inspect`: what flows, what it costs, how many of which operator. */
#include "graph/graph_private.h"

#include <string.h>

static json_t *shape_json(const bl_tensor *t)
{
    json_t *list = json_array();
    for (int i = 0; i < t->rank && list; i++)
        if (json_array_append_new(list, json_integer(t->dim[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static json_t *ends_json(const bl_graph *g, const int *list, int n)
{
    json_t *all = json_array();
    for (int i = 0; i < n && all; i++) {
        const bl_value *v = &g->values[list[i]];
        json_t *one = json_pack("{s:s, s:s, s:o*}", "name", v->name, "type",
                                bl_dtype_name(v->t.type), "shape", shape_json(&v->t));
        if (json_array_append_new(all, one) != 0) {
            json_decref(all);
            return NULL;
        }
    }
    return all;
}

/* Names of the values; an input that is left out is "". */
static json_t *names_json(const bl_graph *g, const int *list, int n)
{
    json_t *names = json_array();
    for (int i = 0; i < n && names; i++)
        if (json_array_append_new(names, json_string(list[i] < 0 ? "" : g->values[list[i]].name)) !=
            0) {
            json_decref(names);
            return NULL;
        }
    return names;
}

/* Numbers that were learned, not shapes and indices. */
static bool is_weight(const bl_value *v)
{
    switch (v->t.type) {
    case BL_F32:
    case BL_F16:
    case BL_BF16:
    case BL_F64:
    case BL_I8:
    case BL_U8:
        return v->t.data != NULL;
    default:
        return false;
    }
}

static int64_t node_weights(const bl_graph *g, const bl_node *n)
{
    int64_t weights = 0;
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i] >= 0 && is_weight(&g->values[n->in[i]]))
            weights += bl_tensor_count(&g->values[n->in[i]].t);
    return weights;
}

static json_t *node_json(const bl_graph *g, const bl_node *n, int64_t macs)
{
    const bl_tensor none = {0};
    const bl_tensor *t = n->n_out > 0 && n->out[0] >= 0 ? &g->values[n->out[0]].t : &none;
    json_t *node = json_pack("{s:s, s:s, s:o*, s:o*, s:o*, s:I, s:I}", "name", n->name, "op",
                             n->op->name, "inputs", names_json(g, n->in, n->n_in), "outputs",
                             names_json(g, n->out, n->n_out), "shape", shape_json(t), "macs",
                             (json_int_t)macs, "weights", (json_int_t)node_weights(g, n));
    if (node && bl_node_clamps(n)) {
        json_object_set_new(node, "lo", bl_json_real((double)n->lo));
        json_object_set_new(node, "hi", bl_json_real((double)n->hi));
    }
    return node;
}

typedef struct totals { int64_t params, macs, constant_bytes; } totals;

static bl_status nodes_json(bl_ctx *ctx, const bl_graph *g, json_t *nodes, json_t *operators,
                            totals *t)
{
    for (int i = 0; i < g->n_nodes; i++) {
        const char *op = g->nodes[i].op->name;
        json_int_t seen = json_integer_value(json_object_get(operators, op));
        int64_t macs;
        BL_TRY(bl_graph_macs(ctx, g, i, &macs));
        if (__builtin_add_overflow(t->macs, macs, &t->macs)) t->macs = INT64_MAX;
        json_object_set_new(operators, op, json_integer(seen + 1));
        if (json_array_append_new(nodes, node_json(g, &g->nodes[i], macs)) != 0)
            return bl_fail(ctx, BL_UNAVAILABLE, "graph", "", "the system has no memory left");
    }
    for (int i = 0; i < g->n_values; i++) {
        if (!g->values[i].t.data) continue;
        if (is_weight(&g->values[i])) t->params += bl_tensor_count(&g->values[i].t);
        t->constant_bytes += (int64_t)bl_tensor_bytes(&g->values[i].t);
    }
    return BL_OK;
}

json_t *bl_graph_json(bl_ctx *ctx, const bl_graph *graph)
{
    totals t = {0};
    json_t *nodes = json_array(), *operators = json_object(), *all = NULL;
    bl_status status = nodes && operators ? nodes_json(ctx, graph, nodes, operators, &t)
                                          : bl_fail(ctx, BL_UNAVAILABLE, "graph", "",
                                                    "the system has no memory left");
    if (status == BL_OK)
        all = json_pack("{s:s, s:s, s:i, s:i, s:I, s:o*, s:o*, s:O, s:{s:i, s:I, s:I, s:I}, s:O}",
                        "name", graph->name, "producer", graph->producer, "opset", graph->opset,
                        "ir_version", graph->ir_version, "batch", (json_int_t)graph->batch,
                        "inputs", ends_json(graph, graph->inputs, graph->n_inputs), "outputs",
                        ends_json(graph, graph->outputs, graph->n_outputs), "nodes", nodes,
                        "totals", "nodes", graph->n_nodes, "params", (json_int_t)t.params, "macs",
                        (json_int_t)t.macs, "constant_bytes", (json_int_t)t.constant_bytes,
                        "operators", operators);
    if (status == BL_OK && !all)
        bl_fail(ctx, BL_UNAVAILABLE, "graph", "", "it cannot be written as JSON");
    json_decref(nodes);
    json_decref(operators);
    return all;
}
