/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hardware models as COST records: each layer's shape at every pair of widths by a closed form, or by a table
 * that somebody published (arrays [layer][w - 1][a - 1], as HAQ's repository holds one).  Layers alone cost
 * something there: an accelerator that fuses what stands between them hides it.
 */
#include "target/model.h"

#include "target/probe.h"

#include <stdlib.h>
#include <string.h>

enum { WIDTHS = 8, WIDE = 16 };

static int64_t attr_int(const bl_node *n, const char *name, int64_t otherwise)
{
    for (int i = 0; i < n->n_attr; i++)
        if (n->attr[i].type == BL_ATTR_INT && !strcmp(n->attr[i].name, name)) return n->attr[i].i;
    return otherwise;
}

/* Elements of a value for one sample. */
static int64_t elements(const bl_graph *g, int value)
{
    return BL_MAX(bl_tensor_count(&g->values[value].t) / BL_MAX(g->batch, 1), 1);
}

bl_status bl_mac_shape_of(bl_ctx *ctx, const bl_graph *g, int node, bl_mac_shape *out, bool *is_layer)
{
    const bl_node *n = &g->nodes[node];
    int weight = bl_layer_weight(g, node);
    bl_mac_shape s = { .groups = 1 };
    int64_t macs = 0;
    *is_layer = (n->op->flags & BL_OP_LAYER) && n->n_in > 1 && n->in[0] >= 0 && n->in[1] >= 0 && n->out[0] >= 0 &&
                bl_node_priced(g, node);
    if (!*is_layer) return BL_OK;
    BL_TRY(bl_graph_macs(ctx, g, node, &macs));
    macs /= BL_MAX(g->batch, 1);
    const bl_tensor *x = &g->values[n->in[0]].t, *w = &g->values[weight >= 0 ? weight : n->in[1]].t, *y = &g->values[n->out[0]].t;
    s.in = elements(g, n->in[0]);
    s.out = elements(g, n->out[0]);
    s.weights = weight >= 0 ? bl_tensor_count(w) : 0;
    s.product = weight < 0;
    if (s.product) {
        s.k = x->dim[x->rank - 1];
        s.n = y->dim[y->rank - 1];
        s.m = y->rank > 1 ? y->dim[y->rank - 2] : 1;
        s.in += elements(g, n->in[1]);
        s.groups = BL_MAX(macs / BL_MAX(s.m * s.n * s.k, 1), 1);
    } else {
        int64_t outputs = w->dim[bl_weight_axis(g, node)];
        s.groups = BL_MAX(attr_int(n, "group", 1), 1);
        bool by_output = bl_weight_axis(g, node) == 0 && w->rank > 2; /* Conv; else a matrix, or ConvTranspose's c_in first */
        s.n = by_output ? outputs / s.groups : outputs;
        if (!by_output && w->rank > 2) s.n = s.weights / w->dim[0];
        s.k = s.weights / BL_MAX(s.groups * s.n, 1);
        s.m = BL_MAX(macs / BL_MAX(s.weights, 1), 1);
        s.depthwise = s.groups > 1 && s.n == 1;
    }
    *out = s;
    return BL_OK;
}

/* ---- cells */

static bl_status add_cell(bl_cost *cost, const char *key, int w, int a, bl_work work, double mhz)
{
    double ns = work.cycles * 1e3 / mhz;
    bl_cost_cell cell = { .key = key, .w_bits = w, .a_in = a, .kernel = "model", .q1_ns = ns, .median_ns = ns, .p90_ns = ns,
                          .energy_nj = work.energy_nj, .computing_ns = work.computing * 1e3 / mhz };
    return bl_cost_add(cost, &cell);
}

bl_status bl_model_fill(bl_ctx *ctx, const bl_graph *g, bl_model_fn *price, const void *accelerator, double mhz, bl_cost *cost)
{
    if (!cost->machine) return bl_fail(ctx, BL_UNAVAILABLE, "target", "", "the system has no memory left");
    for (int i = 0; i < g->n_nodes; i++) {
        bl_mac_shape s;
        bool layer;
        BL_TRY(bl_mac_shape_of(ctx, g, i, &s, &layer));
        char *key = layer ? bl_node_key(cost->arena, g, i) : NULL;
        if (!layer) continue;
        BL_ALLOC_TRY(ctx, key);
        if (bl_cost_find(cost, key, WIDTHS, WIDTHS, 0)) continue;
        for (int w = 1; w <= WIDE; w = w == WIDTHS ? WIDE : w + 1)
            for (int a = 1; a <= WIDE; a = a == WIDTHS ? WIDE : a + 1)
                if (w <= WIDTHS || s.product) BL_TRY(add_cell(cost, key, w, a, price(accelerator, &s, w, a), mhz));
    }
    return BL_OK;
}

double bl_model_node(const bl_graph *g, const bl_menu *m, const bl_cost *cost, bl_metric metric, int node, const char *key,
                     bl_candidate in, int other_bits)
{
    bool product = m->unit_of_layer[node] < 0;
    if (!(g->nodes[node].op->flags & BL_OP_LAYER)) return 0;
    const bl_cost_cell *x = bl_cost_find(cost, key, product ? other_bits : in.w_bits, in.a_bits, 0);
    return !x ? NAN : metric == BL_M_ENERGY ? x->energy_nj : x->q1_ns;
}

/* ---- published tables */

/* "FILE.npy" or "FILE.npy@MHZ": where the name ends; 0: no table. */
static size_t table_name(const char *path, double *mhz)
{
    const char *at = strrchr(path, '@'), *slash = strrchr(path, '/');
    size_t n = strlen(path);
    *mhz = 1e3; /* a cycle is a nanosecond */
    if (at && (!slash || at > slash) && bl_parse_f64(at + 1, mhz)) n = (size_t)(at - path);
    return n > 4 && *mhz > 0 && !strncmp(path + n - 4, ".npy", 4) ? n : 0;
}

bool bl_cost_is_table(const char *path)
{
    double mhz;
    return table_name(path, &mhz) > 0;
}

typedef struct table {
    const char *path;
    bl_tensor t;
    double mhz;
} table;

/* A cell of the table; a shape that stands in it twice has one price. */
static bl_status take_cell(bl_ctx *ctx, const table *t, bl_cost *cost, const char *key, int64_t layer, int w, int a)
{
    double cycles;
    int64_t at = (layer * t->t.dim[1] + w - 1) * t->t.dim[2] + a - 1;
    memcpy(&cycles, (const char *)t->t.data + (size_t)at * sizeof cycles, sizeof cycles);
    if (!(cycles >= 0) || !isfinite(cycles))
        return bl_fail(ctx, BL_DATA, t->path, "give cycles", "layer %lld has %g at W%dA%d", (long long)layer, cycles, w, a);
    const bl_cost_cell *x = bl_cost_find(cost, key, w, a, 0);
    if (!x) return add_cell(cost, key, w, a, (bl_work){ .cycles = cycles }, t->mhz);
    if (fabs(x->q1_ns - cycles * 1e3 / t->mhz) <= 1e-9 * x->q1_ns) return BL_OK;
    return bl_fail(ctx, BL_DATA, t->path, "give one price a shape", "layer %lld has the shape of an earlier one and another price", (long long)layer);
}

static bl_status take_table(bl_ctx *ctx, const bl_graph *g, const table *t, bl_cost *cost)
{
    int64_t layer = 0;
    for (int i = 0; i < g->n_nodes; i++) {
        if (bl_layer_weight(g, i) < 0 || !bl_node_priced(g, i)) continue;
        char *key = bl_node_key(cost->arena, g, i);
        BL_ALLOC_TRY(ctx, key);
        for (int w = 1; w <= t->t.dim[1] && layer < t->t.dim[0]; w++)
            for (int a = 1; a <= t->t.dim[2]; a++) BL_TRY(take_cell(ctx, t, cost, key, layer, w, a));
        layer++;
    }
    if (layer == t->t.dim[0]) return BL_OK;
    return bl_fail(ctx, BL_DATA, t->path, "give the table of this network", "%lld layers, the network has %lld",
                   (long long)t->t.dim[0], (long long)layer);
}

static bl_status read_table(bl_ctx *ctx, const bl_graph *g, const char *name, table *t, bl_cost *cost)
{
    bl_map map;
    BL_TRY(bl_map_file(ctx, name, (uint64_t)64 << 20, &map));
    bl_status s = bl_npy_view(ctx, name, map.data, map.size, &t->t);
    if (s == BL_OK && (t->t.type != BL_F64 || t->t.rank != 3 || t->t.dim[1] > WIDTHS || t->t.dim[2] > WIDE))
        s = bl_fail(ctx, BL_DATA, name, "give float64 [layer][w - 1][a - 1]", "no table of widths");
    cost->machine = json_pack("{s:s, s:s, s:f}", "model", "table", "file", bl_path_base(name), "clock_mhz", t->mhz);
    if (s == BL_OK) s = take_table(ctx, g, t, cost);
    bl_unmap(&map);
    return s;
}

bl_status bl_cost_read_table(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu, const char *path, bl_cost **out)
{
    table t = { .path = path };
    size_t n = table_name(path, &t.mhz);
    bl_cost *c = bl_cost_new(ctx);
    BL_ALLOC_TRY(ctx, c);
    char *name = bl_strndup(c->arena, path, n);
    c->graph = graph->hash;
    c->menu = menu->hash;
    c->target = "table";
    c->has_latency = c->model = true;
    bl_status s = name ? read_table(ctx, graph, name, &t, c) : bl_pending(ctx);
    if (s != BL_OK) bl_cost_free(c);
    else *out = c;
    return s;
}
