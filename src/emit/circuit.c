/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fixed-point network to circuit: every layer's sums as an adder graph, or one for each window of a
 * convolution, quantizers behind them.  Windows that see the same grids share the search for a graph.
 */
#include "emit/circuit.h"

#include <string.h>

/* The sums of one window: out_n of them over the same n_in elements. */
typedef struct block {
    int n_in, n_out;
    bl_circuit_value *in;       /* constant 0 where padded */
    bl_adder_input *ranges;
    int64_t *w;                 /* [n_in][n_out] */
    int32_t *w_f;               /* sum = w . in * 2^-w_f[o] */
    int64_t *bias;              /* with the half step; times 2^bias_exp, before w_f */
    int32_t *bias_exp;
    bool *cut;
} block;

/* A graph that was found before. */
typedef struct known {
    bl_adder_input *ranges;
    int64_t *w, *bias;
    int32_t *bias_exp;
    bl_adder_graph *graph;
    int64_t luts, adders_unshared, luts_unshared;
} known;
enum { KNOWN_MAX = 64 };

typedef struct builder {
    bl_circuit_build b;
    bl_ctx *ctx;
    known known[KNOWN_MAX];
    int n_known;
    bl_circuit_value *values, *next; /* by element of the layer */
    uint64_t shown;             /* rounds of sharing that the progress line has counted */
} builder;

static bl_status block_new(builder *m, int n_in, int n_out, block *k)
{
    bl_arena *a = m->b.arena;
    size_t i = (size_t)n_in, o = (size_t)n_out;
    *k = (block){ n_in, n_out, BL_NEW(a, bl_circuit_value, i), BL_NEW(a, bl_adder_input, i), BL_NEW(a, int64_t, i * o),
                  BL_NEW(a, int32_t, o), BL_NEW(a, int64_t, o), BL_NEW(a, int32_t, o), BL_NEW(a, bool, o) };
    return k->in && k->ranges && k->w && k->w_f && k->bias && k->bias_exp && k->cut ? BL_OK : bl_pending(m->ctx);
}

static bool is_constant(const bl_circuit *c, bl_circuit_value v)
{
    return v.cell < 0 || c->cells[v.cell].lo == c->cells[v.cell].hi;
}

/* ------------------------------------------------------------------ graphs */

static int64_t graph_luts(const bl_adder_graph *g)
{
    int64_t n = 0;
    for (int i = 0; i < g->n_nodes; i++) n += bl_adder_node_luts(g, &g->nodes[i]);
    return n;
}

static bl_status solve(builder *m, const block *k, bl_adder_method method, bool exact_depth, known *out)
{
    bl_adder_options o = { method, m->b.c->options.extra_depth, BL_ADDER_SEARCH, false, exact_depth };
    BL_TRY(bl_adder_solve(m->b.arena, k->w, k->n_in, k->n_out, k->ranges, k->bias, k->bias_exp, &o, &out->graph));
    out->luts = graph_luts(out->graph);
    return BL_OK;
}

/* The cheapest by tables of all ways of choosing sums, beside what digits alone would take. */
static bl_status solve_best(builder *m, const block *k, known *out)
{
    static const bl_adder_method ways[] = { BL_ADDER_ALIGNED, BL_ADDER_OVERLAP, BL_ADDER_COUNT };
    known plain = { 0 }, other = { 0 };
    BL_TRY(solve(m, k, BL_ADDER_NONE, false, &plain));
    *out = plain;
    uint64_t rounds = 2 * BL_COUNTOF(ways);
    for (size_t i = 0; i < rounds && !m->b.c->options.unshared; i++) {
        m->shown = BL_MAX(m->shown, (uint64_t)m->b.layer * rounds + i); /* a layer may have several blocks */
        bl_progress(m->ctx, "sharing sums", m->shown, (uint64_t)m->b.c->n_layers * rounds);
        if (i % 2 && m->b.c->options.extra_depth < 0) continue; /* no limit: the same again */
        BL_TRY(solve(m, k, ways[i / 2], i % 2, &other));
        if (other.luts < out->luts) *out = other;
    }
    out->adders_unshared = plain.graph->adders;
    out->luts_unshared = plain.luts;
    return BL_OK;
}

static bool same(const block *k, const known *n)
{
    size_t i = (size_t)k->n_in, o = (size_t)k->n_out;
    return !memcmp(k->ranges, n->ranges, i * sizeof *k->ranges) && !memcmp(k->w, n->w, i * o * sizeof *k->w)
        && !memcmp(k->bias, n->bias, o * sizeof *k->bias) && !memcmp(k->bias_exp, n->bias_exp, o * sizeof *k->bias_exp);
}

static bl_status find_graph(builder *m, const block *k, const known **out)
{
    for (int i = 0; i < m->n_known; i++)
        if (same(k, &m->known[i])) {
            *out = &m->known[i];
            return BL_OK;
        }
    known *n = &m->known[m->n_known % KNOWN_MAX];
    *n = (known){ 0 };
    if (m->n_known < KNOWN_MAX - 1) m->n_known++;
    BL_TRY(solve_best(m, k, n));
    n->ranges = k->ranges;
    n->w = k->w;
    n->bias = k->bias;
    n->bias_exp = k->bias_exp;
    *out = n;
    return BL_OK;
}

/* The graph's nodes as cells; map[node] is the cell. */
static bl_status place_graph(builder *m, const block *k, const bl_adder_graph *g, int32_t *map)
{
    for (int i = 0; i < g->n_nodes; i++) {
        const bl_adder_node *n = &g->nodes[i];
        if (n->kind == BL_ADDER_INPUT) {
            map[i] = k->in[i].cell;
            continue;
        }
        bl_cell c = { .kind = n->kind == BL_ADDER_SUM ? BL_CELL_SUM : BL_CELL_CONSTANT, .a = -1, .b = -1, .level = n->level,
                      .exp = n->exp, .lo = n->lo, .hi = n->hi, .subtract = n->subtract };
        if (n->kind == BL_ADDER_SUM) {
            c.a = map[n->a];
            c.b = map[n->b];
            c.shift_a = g->nodes[n->a].exp + n->shift_a - n->exp;
            c.shift_b = g->nodes[n->b].exp + n->shift_b - n->exp;
        }
        map[i] = bl_circuit_cell(&m->b, &c);
        if (map[i] < 0) return bl_pending(m->ctx);
    }
    return BL_OK;
}

/* 0 - v, where nothing but negative terms made the sum. */
static bl_status negate(builder *m, bl_circuit_value *v)
{
    const bl_cell *a = &m->b.c->cells[v->cell];
    bl_cell zero = { .kind = BL_CELL_CONSTANT, .a = -1, .b = -1, .exp = a->exp, .level = a->level };
    bl_cell c = { .kind = BL_CELL_SUM, .b = v->cell, .subtract = true, .level = a->level + 1, .exp = a->exp, .lo = -a->hi, .hi = -a->lo };
    c.a = bl_circuit_cell(&m->b, &zero);
    if (c.a < 0) return bl_pending(m->ctx);
    v->cell = bl_circuit_cell(&m->b, &c);
    return v->cell < 0 ? bl_pending(m->ctx) : BL_OK;
}

/* Sums and quantizers of the window; element[o]: number of the output. */
static bl_status place_block(builder *m, const bl_fixed_layer *l, block *k, const int64_t *element)
{
    bl_circuit_layer *figures = &m->b.c->layers[m->b.layer];
    const known *n;
    BL_TRY(find_graph(m, k, &n));
    int32_t *map = BL_NEW(m->b.arena, int32_t, (size_t)n->graph->n_nodes);
    if (!map) return bl_pending(m->ctx);
    BL_TRY(place_graph(m, k, n->graph, map));
    figures->adders += n->graph->adders;
    figures->adder_bits += n->luts;
    figures->adders_unshared += n->adders_unshared;
    figures->bits_unshared += n->luts_unshared;
    for (int o = 0; o < k->n_out; o++) {
        const bl_adder_output *t = &n->graph->outputs[o];
        bl_circuit_value v = { t->node < 0 ? -1 : map[t->node], t->shift - k->w_f[o] };
        /* A node's exponent counts an input's own shift, its cell does not. */
        if (t->node >= 0 && t->node < k->n_in) v.shift += k->in[t->node].shift;
        if (t->negative && v.cell >= 0) BL_TRY(negate(m, &v));
        BL_TRY(bl_circuit_quantize(&m->b, v, k->cut[o], l, element[o], &m->next[element[o]]));
    }
    return BL_OK;
}

/* ------------------------------------------------------------------ windows */

/* Ranges of the inputs; constants are known and become part of the biases. */
static void block_ranges(const builder *m, block *k)
{
    const bl_circuit *c = m->b.c;
    for (int i = 0; i < k->n_in; i++) {
        if (is_constant(c, k->in[i])) continue;
        const bl_cell *a = &c->cells[k->in[i].cell];
        k->ranges[i].lo = a->lo;
        k->ranges[i].hi = a->hi;
        k->ranges[i].exp = a->exp + k->in[i].shift;
        k->ranges[i].level = a->level;
    }
}

/* Column o: weights v[i] * 2^-f[i], and the bias of the element. */
static bl_status block_column(builder *m, const bl_fixed_layer *l, block *k, int o, int64_t element, const int32_t *v,
                              const int8_t *f, int64_t bias, int bias_f)
{
    const bl_circuit *c = m->b.c;
    int acc_f = l->acc_f[element], most = INT32_MIN;
    if (!bl_grid_width(l->out[element])) return BL_OK; /* a constant 0 needs no sum */
    k->bias[o] = bl_circuit_half(l, element, &k->bias_exp[o], &k->cut[o]);
    if (bias) k->bias[o] += bias * ((int64_t)1 << (acc_f - bias_f));
    for (int i = 0; i < k->n_in; i++) {
        if (!v[i] || k->in[i].cell < 0) continue;
        if (!is_constant(c, k->in[i])) {
            most = BL_MAX(most, f[i]);
            continue;
        }
        const bl_cell *a = &c->cells[k->in[i].cell];
        if (a->lo) k->bias[o] += v[i] * a->lo * ((int64_t)1 << (acc_f - f[i] + a->exp + k->in[i].shift));
    }
    if (most == INT32_MIN) most = 0;
    k->w_f[o] = most;
    k->bias_exp[o] += most;
    for (int i = 0; i < k->n_in; i++) {
        if (!v[i] || is_constant(c, k->in[i])) continue;
        int up = most - f[i];
        if (up > 45 || !bl_mul_i64(v[i], (int64_t)1 << up, &k->w[(size_t)i * (size_t)k->n_out + (size_t)o]))
            return bl_fail(m->ctx, BL_UNAVAILABLE, m->b.c->net->name, "give the weights of an output closer exponents",
                           "layer %d: weights more than 2^45 apart", m->b.layer);
    }
    return BL_OK;
}

static bl_status dense(builder *m, const bl_fixed_layer *l)
{
    block k;
    int64_t *element = BL_NEW(m->b.arena, int64_t, (size_t)l->n_out);
    if (!element) return bl_pending(m->ctx);
    BL_TRY(block_new(m, (int)l->n_in, (int)l->n_out, &k));
    memcpy(k.in, m->values, (size_t)l->n_in * sizeof *k.in);
    block_ranges(m, &k);
    for (int64_t e = 0; e < l->n_out; e++) {
        element[e] = e;
        BL_TRY(block_column(m, l, &k, (int)e, e, l->weight + e * l->n_in, l->weight_f + e * l->n_in, l->bias[e], l->bias_f[e]));
    }
    return place_block(m, l, &k, element);
}

/* Elements that a window sees, channel by channel; -1 where it leaves the picture. */
static void window_elements(const bl_fixed_layer *l, int32_t first, int32_t depth, int32_t row, int32_t col, int64_t *at)
{
    for (int32_t d = 0; d < depth; d++)
        for (int32_t i = 0; i < l->kernel_h; i++)
            for (int32_t j = 0; j < l->kernel_w; j++) {
                int32_t r = row * l->stride_h - l->pad_top + i, q = col * l->stride_w - l->pad_left + j;
                bool in = r >= 0 && r < l->in_h && q >= 0 && q < l->in_w;
                *at++ = in ? ((int64_t)(first + d) * l->in_h + r) * l->in_w + q : -1;
            }
}

static bl_status conv_window(builder *m, const bl_fixed_layer *l, int32_t group, int32_t row, int32_t col)
{
    int32_t depth = l->in_c / l->groups, per = l->out_c / l->groups;
    int n_in = depth * l->kernel_h * l->kernel_w;
    int64_t *at = BL_NEW(m->b.arena, int64_t, (size_t)n_in), *element = BL_NEW(m->b.arena, int64_t, (size_t)per);
    block k;
    if (!at || !element) return bl_pending(m->ctx);
    BL_TRY(block_new(m, n_in, per, &k));
    window_elements(l, group * depth, depth, row, col, at);
    for (int i = 0; i < n_in; i++) k.in[i] = at[i] < 0 ? (bl_circuit_value){ -1, 0 } : m->values[at[i]];
    block_ranges(m, &k);
    for (int32_t o = 0; o < per; o++) {
        int64_t c = (int64_t)group * per + o;
        element[o] = (c * l->out_h + row) * l->out_w + col;
        BL_TRY(block_column(m, l, &k, o, element[o], l->weight + c * n_in, l->weight_f + c * n_in, l->bias[c], l->bias_f[c]));
    }
    return place_block(m, l, &k, element);
}

/* A mean is a sum of weights 2^-n. */
static bl_status average_window(builder *m, const bl_fixed_layer *l, int32_t channel, int32_t row, int32_t col)
{
    int n_in = l->kernel_h * l->kernel_w;
    int64_t *at = BL_NEW(m->b.arena, int64_t, (size_t)n_in), element = ((int64_t)channel * l->out_h + row) * l->out_w + col;
    int32_t *ones = BL_NEW(m->b.arena, int32_t, (size_t)n_in);
    int8_t *f = BL_NEW(m->b.arena, int8_t, (size_t)n_in);
    block k;
    if (!at || !ones || !f) return bl_pending(m->ctx);
    BL_TRY(block_new(m, n_in, 1, &k));
    window_elements(l, channel, 1, row, col, at);
    for (int i = 0; i < n_in; i++) {
        k.in[i] = at[i] < 0 ? (bl_circuit_value){ -1, 0 } : m->values[at[i]];
        ones[i] = 1;
        f[i] = (int8_t)(31 - __builtin_clz((unsigned)n_in));
    }
    block_ranges(m, &k);
    BL_TRY(block_column(m, l, &k, 0, element, ones, f, 0, 0));
    return place_block(m, l, &k, &element);
}

/* The greater of two values; the constant 0 is a number like others here. */
static bl_status greater(builder *m, bl_circuit_value x, bl_circuit_value y, bl_circuit_value *out)
{
    bl_circuit_value v[2] = { x, y };
    for (int i = 0; i < 2; i++) {
        bl_cell zero = { .kind = BL_CELL_CONSTANT, .a = -1, .b = -1 };
        if (v[i].cell < 0) v[i] = (bl_circuit_value){ bl_circuit_cell(&m->b, &zero), 0 };
        if (v[i].cell < 0) return bl_pending(m->ctx);
    }
    const bl_cell *a = &m->b.c->cells[v[0].cell], *b = &m->b.c->cells[v[1].cell];
    int ea = a->exp + v[0].shift, eb = b->exp + v[1].shift, e = BL_MIN(ea, eb);
    bl_cell c = { .kind = BL_CELL_MAX, .a = v[0].cell, .b = v[1].cell, .shift_a = ea - e, .shift_b = eb - e, .exp = e,
                  .level = BL_MAX(a->level, b->level) + 1 };
    int64_t alo = a->lo * ((int64_t)1 << c.shift_a), ahi = a->hi * ((int64_t)1 << c.shift_a);
    int64_t blo = b->lo * ((int64_t)1 << c.shift_b), bhi = b->hi * ((int64_t)1 << c.shift_b);
    c.lo = BL_MAX(alo, blo);
    c.hi = BL_MAX(ahi, bhi);
    *out = alo >= bhi ? v[0] : v[1];
    if (alo >= bhi || blo >= ahi) return BL_OK;
    *out = (bl_circuit_value){ bl_circuit_cell(&m->b, &c), 0 };
    return out->cell < 0 ? bl_pending(m->ctx) : BL_OK;
}

/* A balanced tree: those next to each other meet first. */
static bl_status max_window(builder *m, const bl_fixed_layer *l, int32_t channel, int32_t row, int32_t col)
{
    int n = l->kernel_h * l->kernel_w, left = 0;
    int64_t *at = BL_NEW(m->b.arena, int64_t, (size_t)n), element = ((int64_t)channel * l->out_h + row) * l->out_w + col;
    bl_circuit_value *v = BL_NEW(m->b.arena, bl_circuit_value, (size_t)n);
    if (!at || !v) return bl_pending(m->ctx);
    window_elements(l, channel, 1, row, col, at);
    for (int i = 0; i < n; i++)
        if (at[i] >= 0) v[left++] = m->values[at[i]];
    for (; left > 1; left = (left + 1) / 2)
        for (int i = 0; i < left; i += 2) {
            if (i + 1 == left) v[i / 2] = v[i];
            else BL_TRY(greater(m, v[i], v[i + 1], &v[i / 2]));
        }
    return bl_circuit_quantize(&m->b, v[0], false, l, element, &m->next[element]);
}

static bl_status windows(builder *m, const bl_fixed_layer *l)
{
    int32_t each = l->kind == BL_FIXED_CONV ? l->groups : l->out_c;
    for (int32_t c = 0; c < each; c++)
        for (int32_t row = 0; row < l->out_h; row++) {
            BL_TRY(bl_check_interrupt(m->ctx));
            for (int32_t col = 0; col < l->out_w; col++) {
                if (l->kind == BL_FIXED_CONV) BL_TRY(conv_window(m, l, c, row, col));
                else if (l->kind == BL_FIXED_MAX_POOL) BL_TRY(max_window(m, l, c, row, col));
                else BL_TRY(average_window(m, l, c, row, col));
            }
        }
    return BL_OK;
}

/* ------------------------------------------------------------------ the chain */

static bl_status inputs(builder *m, const bl_fixed_net *net)
{
    bl_circuit *c = m->b.c;
    m->b.layer = -1;
    for (int64_t i = 0; i < net->n_in; i++) {
        bl_fixed_grid g = net->in[i];
        c->in[i] = (bl_circuit_value){ -1, 0 };
        if (!bl_grid_width(g)) continue;
        int64_t top = ((int64_t)1 << (g.i + g.f)) - 1;
        bl_cell n = { .kind = BL_CELL_INPUT, .a = -1, .b = -1, .exp = -g.f, .hi = top,
                      .lo = !g.k ? 0 : net->in_overflow == BL_SAT_SYM ? -top : -top - 1 };
        c->in[i].cell = bl_circuit_cell(&m->b, &n);
        if (c->in[i].cell < 0) return bl_pending(m->ctx);
    }
    return BL_OK;
}

static bl_status chain(builder *m, const bl_fixed_net *net, int64_t widest)
{
    bl_circuit *c = m->b.c;
    memcpy(m->values, c->in, (size_t)net->n_in * sizeof *m->values);
    for (int n = 0; n < net->n_layers; n++) {
        const bl_fixed_layer *l = &net->layers[n];
        m->b.layer = n;
        m->n_known = 0;
        for (int64_t e = 0; e < widest; e++) m->next[e] = (bl_circuit_value){ -1, 0 };
        BL_TRY(l->kind == BL_FIXED_DENSE ? dense(m, l) : windows(m, l));
        bl_circuit_value *swap = m->values;
        m->values = m->next;
        m->next = swap;
        for (int64_t e = 0; e < l->n_out; e++)
            if (m->values[e].cell >= 0) c->layers[n].depth = BL_MAX(c->layers[n].depth, c->cells[m->values[e].cell].level);
    }
    memcpy(c->out, m->values, (size_t)c->n_out * sizeof *c->out);
    return BL_OK;
}

bl_status bl_circuit_make(bl_arena *arena, const bl_fixed_net *net, const bl_circuit_options *options, bl_circuit **out)
{
    builder m = { .ctx = bl_arena_ctx(arena), .b = { .arena = arena, .c = BL_NEW(arena, bl_circuit, 1) } };
    const bl_fixed_layer *last = &net->layers[net->n_layers - 1];
    int64_t widest = net->n_in;
    if (!m.b.c) return bl_pending(m.ctx);
    for (int n = 0; n < net->n_layers; n++) widest = BL_MAX(widest, net->layers[n].n_out);
    *m.b.c = (bl_circuit){ .net = net, .options = *options, .n_in = net->n_in, .n_out = last->n_out, .n_layers = net->n_layers,
                           .in = BL_NEW(arena, bl_circuit_value, (size_t)net->n_in),
                           .out = BL_NEW(arena, bl_circuit_value, (size_t)last->n_out),
                           .layers = BL_NEW(arena, bl_circuit_layer, (size_t)net->n_layers) };
    m.values = BL_NEW(arena, bl_circuit_value, (size_t)widest);
    m.next = BL_NEW(arena, bl_circuit_value, (size_t)widest);
    if (!m.b.c->in || !m.b.c->out || !m.b.c->layers || !m.values || !m.next) return bl_pending(m.ctx);
    BL_TRY(inputs(&m, net));
    BL_TRY(chain(&m, net, widest));
    bl_circuit_schedule(m.b.c);
    *out = m.b.c;
    return BL_OK;
}
