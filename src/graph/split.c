/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Channels of one value on several grids, without a grid by channel: the value is cut into several.
 *
 *   Conv -> f -> depthwise      Conv_1 -> f -> depthwise_1 \
 *                          ->   Conv_2 -> f -> depthwise_2 -> Concat -> Gather
 *
 * f is an elementwise function of one input, or missing.  A depthwise layer takes each channel by itself, so what
 * flows into it may be cut anywhere; the same numbers come out, in the same order.  Channels of a small range no longer
 * share the step of those with a great one, which is what costs a MobileNet its 8 bits (DFQ, arXiv 1906.04721, section 3
 * names the trouble; its scaling of channels cannot pass through HardSwish, a cut can).
 */
#include "graph/graph_private.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------------ where */

static bool is_constant(const bl_graph *g, int value)
{
    return value >= 0 && g->values[value].t.data && g->values[value].t.type == BL_F32;
}

/* The node that makes this value for one reader alone; -1. */
static int private_maker(const bl_graph *g, int value)
{
    const bl_value *v = &g->values[value];
    return v->producer >= 0 && !v->is_output && v->n_readers == 1 && g->nodes[v->producer].n_out == 1 ? v->producer : -1;
}

static bool is_layer(const bl_graph *g, int node, int64_t channels)
{
    const bl_node *n = &g->nodes[node];
    if (!bl_node_is(n, "Conv") || n->n_in < 2 || !is_constant(g, n->in[1])) return false;
    if (n->n_in > 2 && n->in[2] >= 0 && !is_constant(g, n->in[2])) return false;
    return g->values[n->in[1]].t.rank == 4 && g->values[n->in[1]].t.dim[0] % channels == 0;
}

static bool find_site(const bl_graph *g, int node, bl_split_site *site)
{
    const bl_node *n = &g->nodes[node];
    if (!bl_node_is(n, "Conv") || n->in[0] < 0 || g->values[n->in[0]].t.rank != 4) return false;
    int64_t channels = g->values[n->in[0]].t.dim[1];
    if (channels < 2 || bl_attr_int(n, "group", 1) != channels || !is_layer(g, node, channels)) return false;
    int maker = private_maker(g, n->in[0]), function = -1;
    if (maker >= 0 && (g->nodes[maker].op->flags & BL_OP_UNARY) && g->nodes[maker].n_in == 1) {
        function = maker;
        maker = private_maker(g, g->nodes[function].in[0]);
    }
    if (maker < 0 || bl_attr_int(&g->nodes[maker], "group", 1) != 1 || !is_layer(g, maker, channels)) return false;
    if (g->values[g->nodes[maker].in[1]].t.dim[0] != channels) return false;
    *site = (bl_split_site){ .layer = maker, .function = function, .depthwise = node, .value = n->in[0], .channels = channels };
    return true;
}

bl_status bl_split_find(bl_ctx *ctx, const bl_graph *g, bl_arena *arena, bl_split_site **sites, int *n)
{
    *n = 0;
    *sites = BL_NEW(arena, bl_split_site, (size_t)BL_MAX(g->n_nodes, 1));
    if (!*sites) return bl_pending(ctx);
    for (int i = 0; i < g->n_nodes; i++)
        if (find_site(g, i, &(*sites)[*n])) ++*n;
    return BL_OK;
}

/* ------------------------------------------------------------------ the cut graph */

typedef struct cutter {
    bl_ctx *ctx;
    bl_arena *a;
    const bl_graph *from;
    bl_graph g;                 /* arrays with room, in the arena */
    int max_values, max_nodes;
    bl_names names;
} cutter;

/* A new value whose name begins as `like`'s; -1 without memory. */
static int add_value(cutter *c, int like, const char *tail, const bl_tensor *t)
{
    char wish[300];
    if (c->g.n_values == c->max_values) return -1;
    snprintf(wish, sizeof wish, "%.250s.%s", c->from->values[like].name, tail);
    char *own = bl_strdup(c->a, wish);
    const char *name = own ? bl_names_unique(&c->names, own, c->g.n_values) : NULL;
    if (!name) return -1;
    c->g.values[c->g.n_values] = (bl_value){ .name = name, .t = *t, .producer = -1 };
    return c->g.n_values++;
}

/* The rows of a constant that belong to the channels of one class, `per` rows each. */
static int cut_constant(cutter *c, int value, const bl_split_site *s, int class, const char *tail)
{
    const bl_tensor *from = &c->from->values[value].t;
    int64_t per = from->dim[0] / s->channels, size = bl_tensor_count(from) / from->dim[0], rows = 0;
    bl_tensor t = *from;
    float *data = bl_alloc(c->a, (size_t)bl_tensor_count(from), sizeof(float));
    if (!data) return -1;
    for (int64_t ch = 0; ch < s->channels; ch++) {
        if (s->class_of[ch] != class) continue;
        memcpy(data + rows * size, (const float *)from->data + ch * per * size, (size_t)(per * size) * sizeof *data);
        rows += per;
    }
    t.data = data;
    t.dim[0] = rows;
    return add_value(c, value, tail, &t);
}

static const bl_attr *regrouped(cutter *c, const bl_node *n, int64_t groups)
{
    bl_attr *attr = BL_NEW(c->a, bl_attr, (size_t)n->n_attr);
    for (int i = 0; attr && i < n->n_attr; i++) {
        attr[i] = n->attr[i];
        if (!strcmp(attr[i].name, "group")) attr[i].i = groups;
    }
    return attr;
}

/* The node of one class with input 0 `in`; its output, -1 without memory. */
static int add_part(cutter *c, int node, const bl_split_site *s, int class, int in)
{
    const bl_node *from = &c->from->nodes[node];
    bl_node *n = &c->g.nodes[c->g.n_nodes];
    int *ins = BL_NEW(c->a, int, (size_t)from->n_in), *out = BL_NEW(c->a, int, 1);
    char tail[32];
    int64_t channels = 0;
    if (!ins || !out || c->g.n_nodes == c->max_nodes) return -1;
    for (int64_t ch = 0; ch < s->channels; ch++) channels += s->class_of[ch] == class;
    snprintf(tail, sizeof tail, "part%d", class + 1);
    *n = *from;
    ins[0] = in;
    for (int i = 1; i < from->n_in; i++) {
        ins[i] = from->in[i] < 0 ? -1 : cut_constant(c, from->in[i], s, class, tail);
        if (from->in[i] >= 0 && ins[i] < 0) return -1;
    }
    if (node == s->depthwise && !(n->attr = regrouped(c, from, channels))) return -1;
    bl_tensor t = c->from->values[from->out[0]].t;
    t.dim[1] = t.dim[1] / s->channels * channels;
    out[0] = add_value(c, from->out[0], tail, &t);
    if (out[0] < 0) return -1;
    n->name = c->g.values[out[0]].name;
    n->in = ins;
    n->out = out;
    c->g.n_nodes++;
    return out[0];
}

/* A node of ONNX's own with one whole-numbered attribute. */
static bool add_node(cutter *c, const char *op, int like, const char *attr_name, const int *in, int n_in, int out)
{
    bl_attr *attr = BL_NEW(c->a, bl_attr, 1);
    int *outs = BL_NEW(c->a, int, 1);
    if (!attr || !outs || c->g.n_nodes == c->max_nodes) return false;
    attr[0] = (bl_attr){ .name = attr_name, .type = BL_ATTR_INT, .i = 1 };
    outs[0] = out;
    c->g.nodes[c->g.n_nodes++] = (bl_node){ .op = bl_op_find("", op), .name = c->g.values[out].name, .domain = "",
        .opset = c->from->nodes[like].opset, .n_in = n_in, .n_out = 1, .n_attr = 1, .in = in, .out = outs, .attr = attr,
        .lo = -INFINITY, .hi = INFINITY };
    return true;
}

/* Where each output channel of the whole lies behind the Concat. */
static int64_t *places(cutter *c, const bl_split_site *s, int64_t per, bool *in_order)
{
    int64_t *place = bl_alloc(c->a, (size_t)(s->channels * per), sizeof *place), at = 0;
    *in_order = true;
    for (int class = 0; place && class < s->n_classes; class++)
        for (int64_t ch = 0; ch < s->channels; ch++)
            for (int64_t i = 0; s->class_of[ch] == class && i < per; i++, at++) {
                place[ch * per + i] = at;
                *in_order &= ch * per + i == at;
            }
    return place;
}

static bl_status cut(cutter *c, const bl_split_site *s)
{
    const bl_node *depthwise = &c->from->nodes[s->depthwise];
    int whole = depthwise->out[0], input = c->from->nodes[s->layer].in[0];
    int *parts = BL_NEW(c->a, int, (size_t)s->n_classes), *gather = BL_NEW(c->a, int, 2);
    bl_tensor t = c->from->values[whole].t, index = { .type = BL_I64, .rank = 1, .dim = { t.dim[1] } };
    bool in_order;
    if (!parts || !gather) return bl_pending(c->ctx);
    for (int class = 0; class < s->n_classes; class++) {
        int v = add_part(c, s->layer, s, class, input);
        if (v >= 0 && s->function >= 0) v = add_part(c, s->function, s, class, v);
        parts[class] = v < 0 ? -1 : add_part(c, s->depthwise, s, class, v);
        if (parts[class] < 0) return bl_pending(c->ctx);
    }
    index.data = places(c, s, t.dim[1] / s->channels, &in_order);
    if (!index.data) return bl_pending(c->ctx);
    int joined = in_order ? whole : add_value(c, whole, "parts", &t);
    if (joined < 0 || !add_node(c, "Concat", s->depthwise, "axis", parts, s->n_classes, joined)) return bl_pending(c->ctx);
    if (in_order) return BL_OK;
    gather[0] = joined;
    gather[1] = add_value(c, whole, "order", &index);
    return gather[1] >= 0 && add_node(c, "Gather", s->depthwise, "axis", gather, 2, whole) ? BL_OK : bl_pending(c->ctx);
}

static bl_status cut_all(cutter *c, const bl_split_site *sites, int n)
{
    const bl_graph *from = c->from;
    int *site_of = BL_NEW(c->a, int, (size_t)from->n_nodes); /* by node: 1 + site where it is cut, -1 where it goes */
    int more_nodes = 0;
    if (!site_of) return bl_pending(c->ctx);
    for (int i = 0; i < n; i++) {
        if (sites[i].n_classes < 2) continue;
        more_nodes += 3 * sites[i].n_classes + 2;
        site_of[sites[i].layer] = -1;
        if (sites[i].function >= 0) site_of[sites[i].function] = -1;
        site_of[sites[i].depthwise] = i + 1;
    }
    c->g = *from;
    c->max_nodes = from->n_nodes + more_nodes;
    c->max_values = from->n_values + 3 * more_nodes;
    c->g.n_nodes = 0;
    c->g.values = BL_NEW(c->a, bl_value, (size_t)c->max_values);
    c->g.nodes = BL_NEW(c->a, bl_node, (size_t)c->max_nodes);
    if (!c->g.values || !c->g.nodes) return bl_pending(c->ctx);
    memcpy(c->g.values, from->values, (size_t)from->n_values * sizeof *from->values);
    BL_TRY(bl_names_init(&c->names, c->a, (size_t)c->max_values));
    for (int v = 0; v < from->n_values; v++) {
        int taken;
        BL_TRY(bl_names_add(&c->names, from->values[v].name, v, &taken));
    }
    for (int i = 0; i < from->n_nodes; i++) {
        if (site_of[i] > 0) BL_TRY(cut(c, &sites[site_of[i] - 1]));
        else if (site_of[i] == 0) c->g.nodes[c->g.n_nodes++] = from->nodes[i];
    }
    return BL_OK;
}

bl_status bl_graph_split(bl_ctx *ctx, const bl_graph *from, const bl_split_site *sites, int n, bl_graph **out)
{
    BL_CHECK(ctx, from->prepared);
    bl_arena *a = bl_arena_new(ctx, "splitting channels");
    BL_ALLOC_TRY(ctx, a);
    cutter c = { .ctx = ctx, .a = a, .from = from };
    bl_graph *made = NULL;
    bl_status s = cut_all(&c, sites, n);
    if (s == BL_OK) s = bl_graph_copy(ctx, &c.g, NULL, &made);
    if (s == BL_OK) s = bl_graph_infer(ctx, made);
    bl_arena_free(a);
    if (s != BL_OK) bl_graph_free(made);
    else *out = made;
    return s;
}
