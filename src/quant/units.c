/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Units and the menu: which quantizers must decide together, and what each may choose.
 * Source: PMP (arXiv 2302.05397) quantizer groups, built by union-find over value grids.
 */
#include "quant/quant.h"

#include <stdio.h>
#include <string.h>

bl_menu_options bl_menu_options_default(void)
{
    bl_menu_options o = { .w_bits = { 2, 3, 4, 6, 8 }, .n_w = 5, .a_bits = { 4, 8 }, .n_a = 2,
                          .keep_ends = true };
    return o;
}

char *bl_candidate_name(bl_candidate c, char *buf)
{
    char *p = buf;
    for (int part = 0; part < 2; part++) {
        int bits = part ? c.a_bits : c.w_bits;
        if (bits == 0) continue;
        *p++ = part ? 'A' : 'W';
        if (bits >= 10) *p++ = (char)('0' + bits / 10 % 10);
        *p++ = (char)('0' + bits % 10);
    }
    *p = '\0';
    return buf;
}

/* "W4A8": one number of each; false where it is none. */
static bool parse_candidate(const char *s, size_t n, bl_candidate *out)
{
    int at = 0, w = 0, a = 0;
    char text[8];
    if (n >= sizeof text) return false;
    memcpy(text, s, n);
    text[n] = 0;
    if (sscanf(text, "W%2dA%2d%n", &w, &a, &at) != 2 || (size_t)at != n) return false;
    *out = (bl_candidate){ w, a };
    return w > 0 && a > 0;
}

bool bl_menu_pairs(const char *text, bl_menu_options *o)
{
    bl_menu_options m = *o;
    m.n_pairs = m.n_w = m.n_a = 0;
    for (const char *s = text + strspn(text, " ,"); *s; s += strspn(s, " ,")) {
        size_t n = strcspn(s, " ,");
        bl_candidate c;
        if (!parse_candidate(s, n, &c) || m.n_pairs == 32) return false;
        bool has_w = false, has_a = false;
        for (int i = 0; i < m.n_w; i++) has_w |= m.w_bits[i] == c.w_bits;
        for (int i = 0; i < m.n_a; i++) has_a |= m.a_bits[i] == c.a_bits;
        if ((!has_w && m.n_w == 16) || (!has_a && m.n_a == 16)) return false;
        if (!has_w) m.w_bits[m.n_w++] = c.w_bits;
        if (!has_a) m.a_bits[m.n_a++] = c.a_bits;
        m.pair_w_bits[m.n_pairs] = c.w_bits;
        m.pair_a_bits[m.n_pairs++] = c.a_bits;
        s += n;
    }
    if (m.n_pairs) *o = m;
    return m.n_pairs > 0;
}

int bl_layer_weight(const bl_graph *g, int layer)
{
    const bl_node *n = &g->nodes[layer];
    if (!(n->op->flags & BL_OP_LAYER) || n->n_in < 2) return -1;
    int w = n->in[1], x = n->in[0];
    if (w < 0 || x < 0 || !g->values[w].t.data || g->values[w].t.type != BL_F32) return -1;
    return g->values[x].t.data ? -1 : w;
}

int bl_layer_bias(const bl_graph *g, int layer)
{
    const bl_node *n = &g->nodes[layer];
    if (n->n_in < 3 || n->in[2] < 0) return -1;
    return g->values[n->in[2]].t.data ? n->in[2] : -1;
}

static bool on_grid(const bl_value *v)
{
    return v->t.type == BL_F32 && !v->t.data;
}

static int find_root(int *parent, int v)
{
    while (parent[v] != v) v = parent[v] = parent[parent[v]];
    return v;
}

/* The smaller number stays root, so that a class is named after its first value. */
static void unite(int *parent, int a, int b)
{
    a = find_root(parent, a);
    b = find_root(parent, b);
    if (a == b) return;
    parent[BL_MAX(a, b)] = BL_MIN(a, b);
}

/* Values numbered by first appearance: graph inputs, then outputs in topological order. */
static void order_values(const bl_graph *g, int *rank, int *by_rank, int *n)
{
    *n = 0;
    for (int v = 0; v < g->n_values; v++) rank[v] = -1;
    for (int i = 0; i < g->n_inputs; i++) {
        int v = g->inputs[i];
        if (on_grid(&g->values[v]) && rank[v] < 0) by_rank[rank[v] = (*n)++] = v;
    }
    for (int i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].n_out; k++) {
            int v = g->nodes[i].out[k];
            if (v >= 0 && on_grid(&g->values[v]) && rank[v] < 0) by_rank[rank[v] = (*n)++] = v;
        }
}

/* Operands of Add and Mul for a target that adds codes; a Concat (it joins, but not element by
 * element) with its output, so that nothing is left to rescale. */
static void unite_operands(const bl_node *n, const bl_menu_options *o, const int *rank, int *parent)
{
    bool concat = o->equal_concat && !(n->op->flags & BL_OP_POINTWISE);
    int first = concat ? rank[n->out[0]] : -1;
    if (!(n->op->flags & BL_OP_JOINS) || !(concat || o->equal_grids)) return;
    for (int k = 0; k < n->n_in; k++) {
        if (n->in[k] < 0 || rank[n->in[k]] < 0) continue;
        if (first < 0) first = rank[n->in[k]];
        else unite(parent, first, rank[n->in[k]]);
    }
}

/* A bound by constants: what flows keeps its grid. */
static void unite_bounded(const bl_graph *g, const bl_node *n, const int *rank, int *parent)
{
    int flows = -1;
    for (int k = 0; k < n->n_in; k++) {
        if (n->in[k] < 0 || g->values[n->in[k]].t.data) continue;
        if (flows >= 0) return;
        flows = rank[n->in[k]];
    }
    if (flows >= 0 && rank[n->out[0]] >= 0) unite(parent, flows, rank[n->out[0]]);
}

static void unite_grids(const bl_graph *g, const bl_menu_options *o, const int *rank, int *parent)
{
    for (int i = 0; i < g->n_nodes; i++) {
        const bl_node *n = &g->nodes[i];
        int first = -1;
        if (n->op->flags & BL_OP_MOVES) {
            if (n->in[0] >= 0) first = rank[n->in[0]];
            for (int k = 0; first >= 0 && k < n->n_out; k++)
                if (n->out[k] >= 0 && rank[n->out[k]] >= 0) unite(parent, first, rank[n->out[k]]);
        } else if (n->op->flags & BL_OP_PICKS) {
            unite_bounded(g, n, rank, parent);
            unite_operands(n, o, rank, parent);
        } else {
            unite_operands(n, o, rank, parent);
        }
    }
}

/* Does a layer with constant weight lie behind this value?  By value number. */
static void mark_leads(const bl_graph *g, uint8_t *leads)
{
    for (int i = g->n_nodes - 1; i >= 0; i--) {
        const bl_node *n = &g->nodes[i];
        bool yes = bl_layer_weight(g, i) >= 0;
        for (int k = 0; k < n->n_out && !yes; k++) yes = n->out[k] >= 0 && leads[n->out[k]];
        for (int k = 0; yes && k < n->n_in; k++)
            if (n->in[k] >= 0) leads[n->in[k]] = 1;
    }
}

static bool is_last_layer(const bl_graph *g, const uint8_t *leads, int layer)
{
    for (int k = 0; k < g->nodes[layer].n_out; k++)
        if (g->nodes[layer].out[k] >= 0 && leads[g->nodes[layer].out[k]]) return false;
    return true;
}

/* Does this value hang on a layer with constant weight?  By value number. */
static void mark_behind(const bl_graph *g, uint8_t *behind)
{
    for (int i = 0; i < g->n_nodes; i++) {
        const bl_node *n = &g->nodes[i];
        bool yes = bl_layer_weight(g, i) >= 0;
        for (int k = 0; k < n->n_in && !yes; k++) yes = n->in[k] >= 0 && behind[n->in[k]];
        for (int k = 0; yes && k < n->n_out; k++)
            if (n->out[k] >= 0) behind[n->out[k]] = 1;
    }
}

static void find_ends(const bl_graph *g, bl_menu *m, const uint8_t *leads, const uint8_t *behind)
{
    for (int u = 0; u < m->n_units; u++) {
        bl_unit *unit = &m->units[u];
        bool any_leads = false;
        for (int i = 0; i < unit->n_values; i++) {
            const bl_value *v = &g->values[unit->values[i]];
            any_leads |= leads[unit->values[i]] != 0;
            unit->end |= v->is_input;
            if (v->producer >= 0 && !strcmp(g->nodes[v->producer].op->name, "Softmax"))
                unit->fixed_grid = true;
        }
        unit->end |= !any_leads;
        for (int i = 0; i < unit->n_layers; i++)
            unit->end |= is_last_layer(g, leads, unit->layers[i]) || !behind[g->nodes[unit->layers[i]].in[0]];
    }
}

/* What a function of one value makes of 0. */
static void find_anchors(const bl_graph *g, bl_menu *m)
{
    for (int u = 0; u < m->n_units; u++)
        for (int i = 0; i < m->units[u].n_values && m->units[u].anchor == 0; i++) {
            int p = g->values[m->units[u].values[i]].producer;
            const bl_node *n = p >= 0 ? &g->nodes[p] : NULL;
            double y = n && n->op->unary && n->n_in == 1 ? n->op->unary(n, 0) : 0;
            if (isfinite(y)) m->units[u].anchor = y;
        }
}

static int widest_first(const void *a, const void *b)
{
    const bl_candidate *x = a, *y = b;
    return x->a_bits != y->a_bits ? y->a_bits - x->a_bits : y->w_bits - x->w_bits;
}

bool bl_menu_offers(const bl_menu_options *o, int w_bits, int a_bits)
{
    bool has_w = false, has_a = false, pair = false;
    for (int i = 0; i < o->n_pairs; i++) pair |= o->pair_w_bits[i] == w_bits && o->pair_a_bits[i] == a_bits;
    for (int i = 0; i < o->n_w; i++) has_w |= o->w_bits[i] == w_bits;
    for (int i = 0; i < o->n_a; i++) has_a |= o->a_bits[i] == a_bits;
    return o->n_pairs ? pair : has_w && has_a;
}

/* What the options offer to a unit with weights, in any order. */
static int offered(const bl_menu_options *o, bl_candidate *c)
{
    int n = 0;
    for (int i = 0; i < o->n_pairs; i++) c[n++] = (bl_candidate){ o->pair_w_bits[i], o->pair_a_bits[i] };
    for (int a = 0; !o->n_pairs && a < o->n_a; a++)
        for (int w = 0; w < o->n_w; w++) c[n++] = (bl_candidate){ o->w_bits[w], o->a_bits[a] };
    return n;
}

static bl_status make_candidates(bl_ctx *ctx, bl_menu *m, const bl_menu_options *o)
{
    for (int u = 0; u < m->n_units; u++) {
        bl_unit *unit = &m->units[u];
        bool kept = (unit->end && o->keep_ends) || unit->fixed_grid;
        bl_candidate *c = BL_NEW(m->arena, bl_candidate, (size_t)(o->n_pairs ? o->n_pairs : o->n_w * o->n_a));
        BL_ALLOC_TRY(ctx, c);
        int n = offered(o, c);
        if (kept) c[0] = (bl_candidate){ 8, 8 };
        if (kept) n = 1;
        for (int i = 0; !unit->n_layers && i < n; i++) c[i].w_bits = 0;
        qsort(c, (size_t)n, sizeof *c, widest_first);
        int kept_n = 0; /* the same width asked for twice is one candidate */
        for (int i = 0; i < n; i++)
            if (i == 0 || widest_first(&c[i], &c[i - 1])) c[kept_n++] = c[i];
        unit->candidates = c;
        unit->n_candidates = kept_n;
    }
    return BL_OK;
}

static bl_status check_options(bl_ctx *ctx, const bl_menu_options *o)
{
    const int *w = o->n_pairs ? o->pair_w_bits : o->w_bits, *a = o->n_pairs ? o->pair_a_bits : o->a_bits;
    int n_w = o->n_pairs ? o->n_pairs : o->n_w, n_a = o->n_pairs ? o->n_pairs : o->n_a, most = o->n_pairs ? 32 : 16;
    if (n_w < 1 || n_a < 1 || n_w > most || n_a > most)
        return bl_fail(ctx, BL_USAGE, "widths", "give 1 to 16 widths, or 1 to 32 pairs", "no or too many candidate widths");
    for (int i = 0; i < n_w; i++)
        if (w[i] < 1 || w[i] > 8)
            return bl_fail(ctx, BL_USAGE, "weight widths", "weights have 1 to 8 bits", "%d bits asked for", w[i]);
    for (int i = 0; i < n_a; i++)
        if (a[i] < 1 || (a[i] > 8 && a[i] != 16))
            return bl_fail(ctx, BL_USAGE, "activation widths", "activations have 1 to 8 or 16 bits", "%d bits asked for", a[i]);
    return BL_OK;
}

static bl_status hash_menu(bl_ctx *ctx, const bl_graph *g, bl_menu *m)
{
    bl_hasher *h = bl_hasher_new(m->arena);
    BL_ALLOC_TRY(ctx, h);
    bl_hash_text(h, g->hash.hex);
    if (m->codebook) bl_hash_text(h, "codebook");
    if (m->weight_group) bl_hash_text(h, bl_format(m->arena, "groups of %d", m->weight_group));
    for (int u = 0; u < m->n_units; u++) {
        bl_hash_text(h, m->units[u].name);
        if (m->units[u].anchor != 0) bl_hash_text(h, "anchored"); /* on what, the network says */
        for (int i = 0; i < m->units[u].n_candidates; i++) {
            bl_hash_i64(h, m->units[u].candidates[i].w_bits);
            bl_hash_i64(h, m->units[u].candidates[i].a_bits);
        }
    }
    m->hash = bl_hash_end(h);
    return BL_OK;
}

/* Classes become units, numbered by their first value; members and layers in graph order. */
static bl_status fill_units(bl_ctx *ctx, const bl_graph *g, bl_menu *m, const int *by_rank, int n,
                            int *parent)
{
    int *unit_of_root = BL_NEW(m->arena, int, (size_t)n);
    BL_ALLOC_TRY(ctx, unit_of_root);
    for (int r = 0; r < n; r++)
        if (find_root(parent, r) == r) unit_of_root[r] = m->n_units++;
    m->units = BL_NEW(m->arena, bl_unit, (size_t)m->n_units);
    BL_ALLOC_TRY(ctx, m->units);
    for (int r = 0; r < n; r++) {
        int u = unit_of_root[find_root(parent, r)];
        m->unit_of_value[by_rank[r]] = u;
        m->units[u].n_values++;
        if (parent[r] == r) m->units[u].name = bl_strdup(m->arena, g->values[by_rank[r]].name);
    }
    for (int i = 0; i < g->n_nodes; i++)
        if (bl_layer_weight(g, i) >= 0) {
            int u = m->unit_of_value[g->nodes[i].in[0]];
            if (u < 0) continue;
            m->unit_of_layer[i] = u;
            m->units[u].n_layers++;
        }
    for (int u = 0; u < m->n_units; u++) {
        bl_unit *unit = &m->units[u];
        int *values = BL_NEW(m->arena, int, (size_t)unit->n_values);
        int *layers = BL_NEW(m->arena, int, (size_t)unit->n_layers);
        if (!values || !layers || !unit->name) return bl_pending(ctx);
        unit->values = values;
        unit->layers = layers;
        unit->n_values = unit->n_layers = 0;
    }
    for (int r = 0; r < n; r++) {
        bl_unit *unit = &m->units[m->unit_of_value[by_rank[r]]];
        ((int *)unit->values)[unit->n_values++] = by_rank[r];
    }
    for (int i = 0; i < g->n_nodes; i++)
        if (m->unit_of_layer[i] >= 0) {
            bl_unit *unit = &m->units[m->unit_of_layer[i]];
            ((int *)unit->layers)[unit->n_layers++] = i;
        }
    return BL_OK;
}

static bl_status menu_build(bl_ctx *ctx, const bl_graph *g, const bl_menu_options *o, bl_menu *m)
{
    bl_arena *a = m->arena;
    int n = 0, *rank = BL_NEW(a, int, (size_t)g->n_values), *by_rank = BL_NEW(a, int, (size_t)g->n_values);
    int *parent = BL_NEW(a, int, (size_t)g->n_values);
    uint8_t *leads = BL_NEW(a, uint8_t, (size_t)g->n_values), *behind = BL_NEW(a, uint8_t, (size_t)g->n_values);
    m->unit_of_value = BL_NEW(a, int, (size_t)g->n_values);
    m->unit_of_layer = BL_NEW(a, int, (size_t)g->n_nodes);
    if (!rank || !by_rank || !parent || !leads || !behind || !m->unit_of_value || !m->unit_of_layer) return bl_pending(ctx);
    for (int v = 0; v < g->n_values; v++) m->unit_of_value[v] = -1;
    for (int i = 0; i < g->n_nodes; i++) m->unit_of_layer[i] = -1;
    order_values(g, rank, by_rank, &n);
    for (int r = 0; r < n; r++) parent[r] = r;
    unite_grids(g, o, rank, parent);
    BL_TRY(fill_units(ctx, g, m, by_rank, n, parent));
    mark_leads(g, leads);
    mark_behind(g, behind);
    find_ends(g, m, leads, behind);
    if (o->anchored) find_anchors(g, m);
    m->codebook = o->codebook;
    m->weight_group = o->weight_group;
    BL_TRY(make_candidates(ctx, m, o));
    return hash_menu(ctx, g, m);
}

bl_status bl_menu_make(bl_ctx *ctx, const bl_graph *graph, const bl_menu_options *options, bl_menu **out)
{
    bl_menu_options defaults = bl_menu_options_default();
    const bl_menu_options *o = options ? options : &defaults;
    BL_CHECK(ctx, graph->prepared);
    BL_TRY(bl_graph_wants_float(ctx, graph));
    BL_TRY(check_options(ctx, o));
    bl_arena *arena = bl_arena_new(ctx, "menu");
    BL_ALLOC_TRY(ctx, arena);
    bl_menu *m = BL_NEW(arena, bl_menu, 1);
    bl_status s = m ? BL_OK : bl_pending(ctx);
    if (m) {
        m->arena = arena;
        s = menu_build(ctx, graph, o, m);
    }
    if (s != BL_OK) bl_arena_free(arena);
    else *out = m;
    return s;
}

void bl_menu_free(bl_menu *menu)
{
    if (menu) bl_arena_free(menu->arena);
}

int bl_menu_find(const bl_menu *menu, const char *unit)
{
    for (int u = 0; u < menu->n_units; u++)
        if (!strcmp(menu->units[u].name, unit)) return u;
    return -1;
}
