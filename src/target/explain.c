/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a plan does with which layers, as HAQ (arXiv 1811.08886, figures 4 and 5) explains its policies: widths by kind
 * of layer, and which side of the target's roofline each layer is on.
 */
#include "target/target.h"

#include <string.h>

static bool is_layer(const bl_graph *g, int node)
{
    const bl_node *n = &g->nodes[node];
    return (n->op->flags & BL_OP_LAYER) && n->n_in > 1 && n->in[1] >= 0 && bl_node_priced(g, node);
}

/* The first or last layer with weights. */
static int end_layer(const bl_graph *g, bool last)
{
    for (int k = 0; k < g->n_nodes; k++) {
        int i = last ? g->n_nodes - 1 - k : k;
        if (is_layer(g, i) && bl_layer_weight(g, i) >= 0) return i;
    }
    return -1;
}

const char *bl_layer_kind(bl_ctx *ctx, const bl_graph *g, int node)
{
    bl_mac_shape s;
    bool layer;
    if (!is_layer(g, node) || bl_mac_shape_of(ctx, g, node, &s, &layer) != BL_OK || !layer) return NULL;
    if (s.product) return "product";
    if (node == end_layer(g, false)) return "first";
    if (node == end_layer(g, true)) return "last";
    if (s.depthwise) return "depthwise";
    const bl_tensor *w = &g->values[bl_layer_weight(g, node)].t;
    if (w->rank < 3) return "fully connected";
    for (int d = 2; d < w->rank; d++)
        if (w->dim[d] != 1) return "convolution";
    return "pointwise";
}

const char *bl_layer_side(bl_ctx *ctx, const bl_graph *g, const bl_menu *m, const bl_cost *cost, int node,
                          const bl_candidate *choice, bl_state state)
{
    const bl_node *n = &g->nodes[node];
    int u = is_layer(g, node) ? m->unit_of_value[n->in[0]] : -1, v = u >= 0 ? m->unit_of_value[n->out[0]] : -1;
    int other = m->unit_of_layer[node] < 0 && n->n_in > 1 ? m->unit_of_value[n->in[1]] : -1;
    bl_arena *a = u >= 0 ? bl_arena_new(ctx, "key") : NULL;
    char *key = a ? bl_node_key(a, g, node) : NULL;
    const char *side = NULL;
    if (key) {
        int w_bits = m->unit_of_layer[node] >= 0 ? choice[m->unit_of_layer[node]].w_bits : cost->model && other >= 0 ? choice[other].a_bits : 0;
        const bl_cost_cell *x = bl_cost_find(cost, key, w_bits, choice[u].a_bits, cost->model || v < 0 ? 0 : choice[v].a_bits);
        side = x ? bl_cost_side(cost, x, state) : NULL;
    }
    bl_arena_free(a);
    return side;
}

/* The entry of a kind, made where it is not there yet; borrowed. */
static json_t *entry_of(json_t *kinds, const char *kind)
{
    json_t *o;
    size_t i;
    json_array_foreach(kinds, i, o)
        if (!strcmp(json_string_value(json_object_get(o, "kind")), kind)) return o;
    o = json_pack("{s:s, s:i, s:f, s:f, s:f, s:i, s:i}", "kind", kind, "layers", 0, "w_bits", 0.0, "a_bits", 0.0, "ns", 0.0, "computing", 0, "moving", 0);
    return json_array_append_new(kinds, o) ? NULL : o;
}

static void add(json_t *o, const char *key, double v)
{
    const json_t *was = json_object_get(o, key);
    if (json_is_integer(was)) json_object_set_new(o, key, json_integer(json_integer_value(was) + (json_int_t)v));
    else json_object_set_new(o, key, json_real(json_number_value(was) + v));
}

/* Sums become means; a kind without weights has no width of them, a target that prices no time no ns. */
static void finish(json_t *o, bool weighted, bool timed)
{
    double n = (double)json_integer_value(json_object_get(o, "layers"));
    json_object_set_new(o, "w_bits", json_real(json_number_value(json_object_get(o, "w_bits")) / n));
    json_object_set_new(o, "a_bits", json_real(json_number_value(json_object_get(o, "a_bits")) / n));
    if (!weighted) json_object_del(o, "w_bits");
    if (!timed) json_object_del(o, "ns");
}

json_t *bl_choice_kinds(bl_ctx *ctx, const bl_graph *g, const bl_menu *m, const bl_cost *cost, const bl_candidate *choice)
{
    json_t *kinds = json_array(), *o;
    bl_state state = BL_STATE_L2;
    size_t k;
    if (kinds && !cost->model && cost->has_latency && bl_price_state(ctx, g, m, cost, choice, &state) != BL_OK) state = BL_STATE_L2;
    for (int i = 0; kinds && i < g->n_nodes; i++) {
        const char *kind = bl_layer_kind(ctx, g, i), *side = kind ? bl_layer_side(ctx, g, m, cost, i, choice, state) : NULL;
        int u = kind ? m->unit_of_value[g->nodes[i].in[0]] : -1, w = kind ? m->unit_of_layer[i] : -1;
        o = u >= 0 ? entry_of(kinds, kind) : NULL;
        if (!o) continue;
        double ns = cost->has_latency ? bl_price_node(ctx, g, m, cost, i, choice, state) : NAN;
        add(o, "layers", 1);
        add(o, "w_bits", w >= 0 ? choice[w].w_bits : 0);
        add(o, "a_bits", choice[u].a_bits);
        if (isfinite(ns)) add(o, "ns", ns);
        if (side) add(o, side, 1);
    }
    json_array_foreach(kinds, k, o) finish(o, strcmp(json_string_value(json_object_get(o, "kind")), "product") != 0, cost->has_latency);
    if (!kinds) (void)bl_fail(ctx, BL_UNAVAILABLE, g->source, "", "the system has no memory left");
    return kinds;
}
