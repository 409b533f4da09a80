/* SPDX-License-Identifier: BSD-3-Clause */
/* Prices: of candidates for the solver (a sum over units), and of whole choices, exactly. */
#include "target/model.h"

#include <stdio.h>
#include <string.h>

static const bl_value *first_output(const bl_graph *g, int node)
{
    const bl_node *n = &g->nodes[node];
    return n->n_out < 1 || n->out[0] < 0 ? NULL : &g->values[n->out[0]];
}

int bl_node_input(const bl_graph *g, int node)
{
    const bl_node *n = &g->nodes[node];
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i] >= 0 && !g->values[n->in[i]].t.data && (i == 0 || g->values[n->in[i]].t.type == BL_F32)) return n->in[i];
    return -1;
}

bool bl_node_priced(const bl_graph *g, int node)
{
    const bl_value *y = first_output(g, node);
    return y && y->t.type == BL_F32 && bl_node_input(g, node) >= 0;
}

static void put(char *buf, size_t cap, size_t *at, const char *format, ...) BL_PRINTF(4, 5);
static void put(char *buf, size_t cap, size_t *at, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (*at < cap) {
        int n = vsnprintf(buf + *at, cap - *at, format, args);
        *at += n > 0 ? (size_t)n : 0;
    }
    va_end(args);
}

static void put_dims(char *buf, size_t cap, size_t *at, const bl_tensor *t)
{
    for (int d = 0; d < t->rank; d++) put(buf, cap, at, "%s%lld", d ? "x" : "", (long long)t->dim[d]);
}

char *bl_node_key(bl_arena *arena, const bl_graph *g, int node)
{
    char buf[2048];
    size_t at = 0;
    const bl_node *n = &g->nodes[node];
    put(buf, sizeof buf, &at, "%s(", n->op->name);
    for (int i = 0; i < n->n_in; i++) {
        if (n->in[i] < 0) continue;
        put(buf, sizeof buf, &at, i ? ", " : "");
        put_dims(buf, sizeof buf, &at, &g->values[n->in[i]].t);
        if (g->values[n->in[i]].t.data && g->values[n->in[i]].t.type == BL_I64 && bl_tensor_count(&g->values[n->in[i]].t) <= 16)
            for (int64_t k = 0; k < bl_tensor_count(&g->values[n->in[i]].t); k++) /* shapes, starts, pads: part of the operator */
                put(buf, sizeof buf, &at, "%c%lld", k ? ',' : '=', (long long)((const int64_t *)g->values[n->in[i]].t.data)[k]);
    }
    put(buf, sizeof buf, &at, ")->");
    if (first_output(g, node)) put_dims(buf, sizeof buf, &at, &first_output(g, node)->t);
    for (int i = 0; i < n->n_attr; i++) {
        const bl_attr *a = &n->attr[i];
        if (a->type == BL_ATTR_INT) put(buf, sizeof buf, &at, " %s=%lld", a->name, (long long)a->i);
        if (a->type == BL_ATTR_FLOAT) put(buf, sizeof buf, &at, " %s=%g", a->name, (double)a->f);
        if (a->type == BL_ATTR_INTS) {
            put(buf, sizeof buf, &at, " %s=", a->name);
            for (size_t k = 0; k < a->n; k++) put(buf, sizeof buf, &at, "%s%lld", k ? "," : "", (long long)a->ints[k]);
        }
    }
    if (bl_node_clamps(n)) put(buf, sizeof buf, &at, " clamp");
    buf[sizeof buf - 1] = 0;
    return bl_strdup(arena, buf);
}

void bl_edge_key(char *buf, size_t cap, bool input, int rank, const int64_t *dim)
{
    size_t at = 0;
    put(buf, cap, &at, input ? "input(" : "output(");
    for (int d = 0; d < rank; d++) put(buf, cap, &at, "%s%lld", d ? "x" : "", (long long)dim[d]);
    put(buf, cap, &at, ")");
    buf[cap - 1] = 0;
}

/* ---- counted prices */

static double layer_bytes(const bl_graph *g, const bl_menu *m, int layer, int w_bits)
{
    return (double)bl_layer_weight_bytes(g, m, layer, w_bits);
}

static bl_status layer_bops(bl_ctx *ctx, const bl_graph *g, const bl_menu *m, int layer, bl_candidate c, double *out)
{
    int64_t macs;
    BL_TRY(bl_graph_macs(ctx, g, layer, &macs));
    bool stored = m->codebook || m->weight_group; /* what narrow ones stand for are int8 codes */
    *out = (double)macs * (stored && c.w_bits ? 8 : c.w_bits) * c.a_bits;
    return BL_OK;
}

/* A product of two activations [Q17]: both widths count, and no weights.  Units of its operands; false
 * where the node is none. */
static bool activations_product(const bl_graph *g, const bl_menu *m, int node, int *a, int *b)
{
    const bl_node *n = &g->nodes[node];
    if (!(n->op->flags & BL_OP_LAYER) || n->n_in < 2 || n->in[0] < 0 || n->in[1] < 0) return false;
    *a = m->unit_of_value[n->in[0]];
    *b = m->unit_of_value[n->in[1]];
    return *a >= 0 && *b >= 0;
}

/* In the table at the widest of the other operand, charged to the first. */
static bl_status add_products(bl_ctx *ctx, const bl_graph *g, const bl_menu *m, bl_prices *p)
{
    for (int i = 0; i < g->n_nodes; i++) {
        int a, b;
        int64_t macs;
        if (!activations_product(g, m, i, &a, &b)) continue;
        BL_TRY(bl_graph_macs(ctx, g, i, &macs));
        for (int c = 0; c < m->units[a].n_candidates; c++) {
            int bits = m->units[a].candidates[c].a_bits;
            p->column[BL_M_BOPS][a][c] += (double)macs * bits * (a == b ? bits : m->units[b].candidates[0].a_bits);
        }
    }
    return BL_OK;
}

/* ---- measured prices */

static double tie_of(const bl_cost *cost, const char *key)
{
    for (size_t i = 0; i < cost->n_groups; i++)
        if (!strcmp(cost->groups[i].key, key)) return fmax(0.03, cost->groups[i].aa_spread);
    return 0.03;
}

static int input_unit(const bl_graph *g, const bl_menu *m, int node)
{
    int v = bl_node_input(g, node);
    return v >= 0 ? m->unit_of_value[v] : -1;
}

/* A state that was not measured is as the nearer one. */
static const bl_cost_time *time_at(const bl_cost_cell *x, bl_state state)
{
    while (state > BL_STATE_L2 && !(x->at[state].q1_ns > 0)) state--;
    return &x->at[state];
}

/* A width that does nothing is no width to choose: within the tie the widest cell's time stands. */
static double tied_ns(const bl_cost *cost, const char *key, bl_candidate widest, int widest_out, int w, int a_in,
                      int a_out, bl_state state)
{
    const bl_cost_cell *x = bl_cost_best(cost, key, w, a_in, a_out, state);
    const bl_cost_cell *base = bl_cost_best(cost, key, widest.w_bits, widest.a_bits, widest_out, state);
    if (!x) return NAN;
    if (!strcmp(x->kernel, "none")) return 0;
    const bl_cost_time *t = time_at(x, state), *tb = base ? time_at(base, state) : NULL;
    if (!tb || !(tb->q1_ns > 0)) return fmax(t->q1_ns + cost->overhead_ns, 0);
    double ratio = t->ratio > 0 && tb->ratio > 0 ? t->ratio / tb->ratio : t->q1_ns / tb->q1_ns;
    double ns = fabs(ratio - 1) <= tie_of(cost, key) ? tb->q1_ns : tb->q1_ns * ratio;
    return fmax(ns + cost->overhead_ns, 0);
}

static bl_status no_cell(bl_ctx *ctx, const bl_graph *g, int node, const char *key)
{
    return bl_fail(ctx, BL_DATA, g->nodes[node].name, "measure this network on the target",
                   "the COST record has no cell for %s", key);
}

/* ---- models: layers alone, a product of two activations at the other one's width */

static int other_bits(const bl_graph *g, const bl_menu *m, int node, const bl_candidate *choice)
{
    const bl_node *n = &g->nodes[node];
    int u = n->n_in > 1 && n->in[1] >= 0 ? m->unit_of_value[n->in[1]] : -1;
    return u < 0 ? 8 : choice ? choice[u].a_bits : m->units[u].candidates[0].a_bits;
}

/* A node's model price; of a measured record its energy, with the output's width chosen or the widest. */
static double node_model(const bl_graph *g, const bl_menu *m, const bl_cost *cost, bl_metric metric, int node, const char *key,
                         bl_candidate in, const bl_candidate *choice)
{
    bool layer = m->unit_of_layer[node] >= 0;
    if (cost->model) return bl_model_node(g, m, cost, metric, node, key, in, layer ? 0 : other_bits(g, m, node, choice));
    int u = input_unit(g, m, node), v = m->unit_of_value[g->nodes[node].out[0]];
    int out = u == v ? in.a_bits : choice ? choice[v].a_bits : m->units[v].candidates[0].a_bits;
    const bl_cost_cell *x = bl_cost_find(cost, key, layer ? in.w_bits : 0, in.a_bits, out);
    return x ? x->energy_nj : NAN;
}

static bl_status add_modelled(bl_ctx *ctx, const bl_graph *g, const bl_menu *m, const bl_cost *cost, bl_metric metric, bl_prices *p)
{
    for (int i = 0; i < g->n_nodes; i++) {
        int u = bl_node_priced(g, i) ? input_unit(g, m, i) : -1;
        if (u < 0) continue;
        char *key = bl_node_key(p->arena, g, i);
        BL_ALLOC_TRY(ctx, key);
        for (int c = 0; c < m->units[u].n_candidates; c++) {
            bl_candidate in = m->units[u].candidates[c];
            double v = node_model(g, m, cost, metric, i, key, in, NULL);
            if (isnan(v)) return no_cell(ctx, g, i, key);
            p->column[metric][u][c] += v;
        }
    }
    return BL_OK;
}

static bl_status total_modelled(bl_ctx *ctx, const bl_graph *g, const bl_menu *m, const bl_cost *cost, bl_metric metric,
                                const bl_candidate *choice, double *total)
{
    bl_arena *a = bl_arena_new(ctx, "key");
    BL_ALLOC_TRY(ctx, a);
    bl_status s = BL_OK;
    *total = 0;
    for (int i = 0; i < g->n_nodes && s == BL_OK; i++) {
        int u = bl_node_priced(g, i) ? input_unit(g, m, i) : -1;
        if (u < 0) continue;
        bl_mark mark = bl_arena_mark(a);
        char *key = bl_node_key(a, g, i);
        double v = key ? node_model(g, m, cost, metric, i, key, choice[u], choice) : 0;
        s = !key ? bl_pending(ctx) : isnan(v) ? no_cell(ctx, g, i, key) : BL_OK;
        *total += v;
        bl_arena_reset(a, mark);
    }
    bl_arena_free(a);
    return s;
}

/* ---- edges of the network, inputs first */

static int edge_value(const bl_graph *g, int edge)
{
    return edge < g->n_inputs ? g->inputs[edge] : g->outputs[edge - g->n_inputs];
}

static int edge_unit(const bl_graph *g, const bl_menu *m, int edge)
{
    return m->unit_of_value[edge_value(g, edge)];
}

/* Records of older versions have none: 0. */
static double edge_ns(const bl_graph *g, const bl_cost *cost, int edge, int bits)
{
    char key[256];
    bool in = edge < g->n_inputs;
    const bl_tensor *t = &g->values[edge_value(g, edge)].t;
    bl_edge_key(key, sizeof key, in, t->rank, t->dim);
    const bl_cost_cell *x = bl_cost_find(cost, key, 0, in ? 0 : bits, in ? bits : 0);
    return x ? fmax(x->q1_ns + cost->overhead_ns, 0) : 0;
}

double bl_price_edges(const bl_graph *g, const bl_menu *m, const bl_cost *cost, int unit, int a_bits)
{
    double sum = 0;
    for (int e = 0; e < g->n_inputs + g->n_outputs; e++)
        if (edge_unit(g, m, e) == unit) sum += edge_ns(g, cost, e, a_bits);
    return sum;
}

/* ---- the table for the solver */

static bl_status add_latency(bl_ctx *ctx, const bl_graph *g, const bl_menu *m, const bl_cost *cost, bl_prices *p)
{
    bl_state state;
    bl_candidate *all = BL_NEW(p->arena, bl_candidate, (size_t)m->n_units);
    BL_ALLOC_TRY(ctx, all);
    for (int u = 0; u < m->n_units; u++) all[u] = m->units[u].candidates[0]; /* the solver's sum cannot know more */
    BL_TRY(bl_price_state(ctx, g, m, cost, all, &state));
    for (int u = 0; u < m->n_units; u++)
        for (int c = 0; c < m->units[u].n_candidates; c++)
            p->column[BL_M_LATENCY][u][c] += bl_price_edges(g, m, cost, u, m->units[u].candidates[c].a_bits);
    for (int i = 0; i < g->n_nodes; i++) {
        int u = bl_node_priced(g, i) ? input_unit(g, m, i) : -1;
        if (u < 0) continue;
        int v = m->unit_of_value[g->nodes[i].out[0]];
        bool layer = m->unit_of_layer[i] >= 0;
        const bl_unit *in = &m->units[u], *out = &m->units[v];
        char *key = bl_node_key(p->arena, g, i);
        BL_ALLOC_TRY(ctx, key);
        bl_candidate widest = { layer ? in->candidates[0].w_bits : 0, in->candidates[0].a_bits };
        for (int c = 0; c < in->n_candidates; c++) {
            int w = layer ? in->candidates[c].w_bits : 0, a = in->candidates[c].a_bits;
            double dearest = 0;
            for (int o = 0; o < out->n_candidates; o++) {
                int a_out = u == v ? a : out->candidates[o].a_bits;
                double ns = tied_ns(cost, key, widest, u == v ? widest.a_bits : out->candidates[0].a_bits, w, a, a_out, state);
                if (isnan(ns)) return no_cell(ctx, g, i, key);
                dearest = fmax(dearest, ns);
            }
            p->column[BL_M_LATENCY][u][c] += dearest;
        }
    }
    return BL_OK;
}

static bl_status fill_prices(bl_ctx *ctx, const bl_graph *g, const bl_menu *m, const bl_cost *cost, bl_prices *p)
{
    if ((m->codebook || m->weight_group) && (cost->has_latency || cost->has_energy))
        return bl_fail(ctx, BL_UNAVAILABLE, m->codebook ? "codebooks" : "weights in groups", "use --target counted",
                       "this target prices one grid a channel; these save bytes alone");
    for (int k = 0; k < BL_N_METRIC; k++) {
        if ((k == BL_M_LATENCY && !cost->has_latency) || (k == BL_M_ENERGY && !cost->has_energy) || k == BL_M_MEMORY) continue;
        p->column[k] = BL_NEW(p->arena, double *, (size_t)m->n_units);
        BL_ALLOC_TRY(ctx, p->column[k]);
        for (int u = 0; u < m->n_units; u++) {
            p->column[k][u] = BL_NEW(p->arena, double, (size_t)m->units[u].n_candidates);
            BL_ALLOC_TRY(ctx, p->column[k][u]);
        }
    }
    for (int u = 0; u < m->n_units; u++)
        for (int l = 0; l < m->units[u].n_layers; l++)
            for (int c = 0; c < m->units[u].n_candidates; c++) {
                double bops;
                BL_TRY(layer_bops(ctx, g, m, m->units[u].layers[l], m->units[u].candidates[c], &bops));
                p->column[BL_M_BOPS][u][c] += bops;
                p->column[BL_M_SIZE][u][c] += layer_bytes(g, m, m->units[u].layers[l], m->units[u].candidates[c].w_bits);
            }
    BL_TRY(add_products(ctx, g, m, p));
    if (cost->has_energy) BL_TRY(add_modelled(ctx, g, m, cost, BL_M_ENERGY, p));
    if (cost->model) return add_modelled(ctx, g, m, cost, BL_M_LATENCY, p);
    return cost->has_latency ? add_latency(ctx, g, m, cost, p) : BL_OK;
}

bl_status bl_prices_make(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu, const bl_cost *cost, bl_prices **out)
{
    bl_arena *a = bl_arena_new(ctx, "prices");
    BL_ALLOC_TRY(ctx, a);
    bl_prices *p = BL_NEW(a, bl_prices, 1);
    bl_status s = p ? BL_OK : bl_pending(ctx);
    if (p) {
        p->arena = a;
        p->n_units = menu->n_units;
        s = fill_prices(ctx, graph, menu, cost, p);
    }
    if (s != BL_OK) bl_arena_free(a);
    else *out = p;
    return s;
}

void bl_prices_free(bl_prices *prices)
{
    if (prices) bl_arena_free(prices->arena);
}

/* ---- exact */

/* Most bytes of activations alive at once, each from its node to its last reader; what moves nothing
 * (a Reshape in place) may still need less in the program. */
static double peak_memory(const bl_graph *g, const bl_menu *m, const bl_candidate *choice)
{
    double alive = 0, peak = 0;
    for (int i = -1; i < g->n_nodes; i++) {
        for (int v = 0; v < g->n_values; v++) { /* born here, or dead after it */
            int unit = m->unit_of_value[v];
            if (unit < 0) continue;
            if (g->values[v].producer == i)
                alive += (double)bl_tensor_count(&g->values[v].t) / (double)g->batch * (choice[unit].a_bits <= 8 ? 1 : 2);
        }
        peak = fmax(peak, alive);
        for (int v = 0; v < g->n_values; v++) {
            int unit = m->unit_of_value[v], last = g->values[v].is_output ? g->n_nodes : g->values[v].producer;
            if (unit < 0 || g->values[v].producer > i) continue;
            for (int k = i; k < g->n_nodes && last < g->n_nodes; k++)
                for (int j = 0; k >= 0 && j < g->nodes[k].n_in; j++)
                    if (g->nodes[k].in[j] == v) last = k;
            if (last == i) alive -= (double)bl_tensor_count(&g->values[v].t) / (double)g->batch * (choice[unit].a_bits <= 8 ? 1 : 2);
        }
    }
    return peak;
}

double bl_price_node(bl_ctx *ctx, const bl_graph *g, const bl_menu *m, const bl_cost *cost, int node,
                     const bl_candidate *choice, bl_state state)
{
    int u = bl_node_priced(g, node) ? input_unit(g, m, node) : -1;
    if (u < 0 || !cost->has_latency) return NAN;
    int v = m->unit_of_value[g->nodes[node].out[0]];
    bl_arena *a = bl_arena_new(ctx, "key");
    char *key = a ? bl_node_key(a, g, node) : NULL;
    double ns = NAN;
    if (key) {
        bool layer = m->unit_of_layer[node] >= 0;
        bl_candidate widest = { layer ? m->units[u].candidates[0].w_bits : 0, m->units[u].candidates[0].a_bits };
        ns = cost->model ? bl_model_node(g, m, cost, BL_M_LATENCY, node, key, choice[u], other_bits(g, m, node, choice))
                         : tied_ns(cost, key, widest, u == v ? widest.a_bits : m->units[v].candidates[0].a_bits,
                     layer ? choice[u].w_bits : 0, choice[u].a_bits, choice[v].a_bits, state);
    }
    bl_arena_free(a);
    return ns;
}

bl_status bl_price_state(bl_ctx *ctx, const bl_graph *g, const bl_menu *m, const bl_cost *cost,
                         const bl_candidate *choice, bl_state *out)
{
    double l2 = json_number_value(json_object_get(cost->machine, "l2_bytes"));
    double l3 = json_number_value(json_object_get(cost->machine, "l3_bytes")), weights = 0;
    bl_arena *a = bl_arena_new(ctx, "state");
    BL_ALLOC_TRY(ctx, a);
    for (int u = 0; u < m->n_units; u++)
        for (int l = 0; l < m->units[u].n_layers; l++) {
            int node = m->units[u].layers[l], v = m->unit_of_value[g->nodes[node].out[0]];
            bl_mark mark = bl_arena_mark(a);
            char *key = bl_node_key(a, g, node);
            const bl_cost_cell *x = key && v >= 0 ? bl_cost_find(cost, key, choice[u].w_bits, choice[u].a_bits, choice[v].a_bits) : NULL;
            weights += x && x->packed_bytes ? (double)x->packed_bytes : layer_bytes(g, m, node, choice[u].w_bits);
            bl_arena_reset(a, mark);
        }
    bl_arena_free(a);
    double all = weights + peak_memory(g, m, choice);
    *out = l2 <= 0 || all <= l2 ? BL_STATE_L2 : l3 <= 0 || weights <= l3 ? BL_STATE_L3 : BL_STATE_DRAM;
    return BL_OK;
}

bl_status bl_price_exact(bl_ctx *ctx, const bl_graph *g, const bl_menu *m, const bl_cost *cost,
                         const bl_candidate *choice, double total[BL_N_METRIC])
{
    for (int k = 0; k < BL_N_METRIC; k++) total[k] = 0;
    for (int u = 0; u < m->n_units; u++)
        for (int l = 0; l < m->units[u].n_layers; l++) {
            double bops;
            BL_TRY(layer_bops(ctx, g, m, m->units[u].layers[l], choice[u], &bops));
            total[BL_M_BOPS] += bops;
            total[BL_M_SIZE] += layer_bytes(g, m, m->units[u].layers[l], choice[u].w_bits);
        }
    for (int i = 0; i < g->n_nodes; i++) {
        int a, b;
        int64_t macs;
        if (!activations_product(g, m, i, &a, &b)) continue;
        BL_TRY(bl_graph_macs(ctx, g, i, &macs));
        total[BL_M_BOPS] += (double)macs * choice[a].a_bits * choice[b].a_bits;
    }
    total[BL_M_MEMORY] = peak_memory(g, m, choice);
    total[BL_M_ENERGY] = NAN;
    if (cost && cost->has_energy) BL_TRY(total_modelled(ctx, g, m, cost, BL_M_ENERGY, choice, &total[BL_M_ENERGY]));
    if (cost && cost->model) return total_modelled(ctx, g, m, cost, BL_M_LATENCY, choice, &total[BL_M_LATENCY]);
    if (!cost || !cost->has_latency) {
        total[BL_M_LATENCY] = NAN;
        return BL_OK;
    }
    bl_state state;
    BL_TRY(bl_price_state(ctx, g, m, cost, choice, &state));
    for (int u = 0; u < m->n_units; u++) total[BL_M_LATENCY] += bl_price_edges(g, m, cost, u, choice[u].a_bits);
    for (int i = 0; i < g->n_nodes; i++) {
        if (!bl_node_priced(g, i) || input_unit(g, m, i) < 0) continue;
        double ns = bl_price_node(ctx, g, m, cost, i, choice, state);
        if (isnan(ns)) return no_cell(ctx, g, i, g->nodes[i].op->name);
        total[BL_M_LATENCY] += ns;
    }
    return BL_OK;
}

int bl_uniform_candidate(const bl_unit *unit, int w_bits, int a_bits)
{
    int best = 0;
    for (int c = 0; c < unit->n_candidates; c++) { /* widest first: the first that fits is the closest */
        const bl_candidate *k = &unit->candidates[c];
        if (k->w_bits <= w_bits && k->a_bits <= a_bits) return c;
        best = c;
    }
    return unit->n_candidates == 1 ? 0 : best;
}

bl_status bl_price_int8(bl_ctx *ctx, const bl_graph *g, const bl_menu *m, const bl_cost *cost, double total[BL_N_METRIC])
{
    bl_cost counted = { .target = "counted" };
    double priced[BL_N_METRIC];
    bl_arena *a = bl_arena_new(ctx, "int8");
    bl_candidate *c = a ? BL_NEW(a, bl_candidate, (size_t)m->n_units) : NULL;
    bl_status s = c ? BL_OK : bl_pending(ctx);
    for (int u = 0; c && u < m->n_units; u++) c[u] = (bl_candidate){ m->units[u].n_layers ? 8 : 0, 8 };
    if (s == BL_OK) s = bl_price_exact(ctx, g, m, &counted, c, total);
    for (int u = 0; c && u < m->n_units; u++)
        c[u] = m->units[u].candidates[bl_uniform_candidate(&m->units[u], 8, 8)];
    if (s == BL_OK) s = bl_price_exact(ctx, g, m, cost, c, priced);
    if (s == BL_OK) total[BL_M_LATENCY] = priced[BL_M_LATENCY];
    if (s == BL_OK) total[BL_M_ENERGY] = priced[BL_M_ENERGY];
    bl_arena_free(a);
    return s;
}
