/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Cross-layer equalisation and bias absorption (DFQ, arXiv 1906.04721, sections 4.1.2 and 4.1.3).  A channel
 * that flows from layers to layers through functions with f(k x) = k f(x) alone may be divided by any k > 0
 * where it is made and multiplied by it where it is read: the network stays the same in real numbers, and
 * the channels of weights that share one grid get ranges of one size.
 *
 * DFQ pairs two layers.  Here a CHANNEL CLASS holds every value whose channels must be scaled together
 * (both sides of Relu and pooling, all operands of an Add, the scaled operand of a gate), with all layers that
 * write and read them: one pair in a plain chain, the whole residual stream in a ResNet.  A class
 * with an end that cannot be scaled (network input or output, any other operator) is left alone.
 *
 *   r1_c, r2_c: greatest |weight| by channel c over the layers that write, and that read
 *   s_c = sqrt(r1_c r2_c) / r2_c;   weights and biases that write / s_c,   weights that read * s_c
 *
 * over all classes until no factor moves, which also finds the balance of depthwise triples.  Clip(0, h) stands in
 * the way.  DFQ makes it a Relu; MobileNetV1 does not survive that.  Here h stays: a channel that reaches it, by
 * the mean and deviation of its BatchNormalization, is not scaled, another one only so far that it still does not.
 *
 * Absorption: behind Relu what a channel nearly always exceeds, c = beta - 3 gamma of its BatchNormalization,
 * is a constant: it leaves the bias that writes and enters the biases that read.  Only where the readers do
 * not pad: a padded border holds 0, not c.
 */
#include "graph/equalise.h"

#include <math.h>
#include <string.h>

enum { SWEEPS_MOST = 20 };
#define SETTLED 1e-3        /* a factor within this of 1 is no change */
#define DEVIATIONS 3.0      /* absorbed is what lies below this many of them */
#define REACH 6.0           /* and what flows stays within this many */

int bl_eq_root(bl_eq *p, int v)
{
    while (p->parent[v] != v) v = p->parent[v] = p->parent[p->parent[v]];
    return v;
}

int64_t bl_eq_channels(const bl_eq *p, int v)
{
    const bl_tensor *t = &p->g->values[v].t;
    return t->rank >= 2 && !t->data && t->type == BL_F32 ? t->dim[1] : 0;
}

static void block(bl_eq *p, int v)
{
    if (v >= 0) p->blocked[v] = 1;
}

static void unite(bl_eq *p, int a, int b)
{
    if (bl_eq_channels(p, a) != bl_eq_channels(p, b) || !bl_eq_channels(p, a)) {
        block(p, a);
        block(p, b);
        return;
    }
    p->parent[BL_MAX(bl_eq_root(p, a), bl_eq_root(p, b))] = BL_MIN(bl_eq_root(p, a), bl_eq_root(p, b));
}

/* ------------------------------------------------------------------ layers */

static float *own_constant(const bl_eq *p, const bl_node *n, int i)
{
    if (i >= n->n_in || n->in[i] < 0) return NULL;
    const bl_value *v = &p->g->values[n->in[i]];
    return v->t.data && v->t.type == BL_F32 && v->n_readers == 1 && !v->is_output ? v->t.data : NULL;
}

static bool describe_conv(const bl_node *n, const bl_tensor *w, bl_eq_layer *l)
{
    const bl_attr *pads = bl_node_attr(n, "pads");
    const char *automatic = bl_attr_string(n, "auto_pad", "NOTSET");
    if (w->rank < 3) return false;
    l->groups = bl_attr_int(n, "group", 1);
    l->out = w->dim[0];
    l->in = w->dim[1];
    if (l->groups < 1 || l->out % l->groups || l->in < 1) return false;
    l->taps = bl_tensor_count(w) / (l->out * l->in);
    l->step_out = l->in * l->taps;
    l->step_in = l->taps;
    l->pads = strcmp(automatic, "NOTSET") && strcmp(automatic, "VALID");
    for (size_t i = 0; pads && i < pads->n; i++) l->pads |= pads->ints[i] != 0;
    return true;
}

static bool describe_gemm(const bl_eq *p, const bl_node *n, const bl_tensor *w, bl_eq_layer *l)
{
    bool rows = bl_attr_int(n, "transB", 0) != 0;
    if (w->rank != 2 || bl_attr_int(n, "transA", 0) || p->g->values[n->in[0]].t.rank != 2) return false;
    if (bl_attr_float(n, "alpha", 1) != 1 || bl_attr_float(n, "beta", 1) != 1) return false;
    l->groups = l->taps = 1;
    l->out = w->dim[rows ? 0 : 1];
    l->in = w->dim[rows ? 1 : 0];
    l->step_out = rows ? l->in : 1;
    l->step_in = rows ? 1 : l->out;
    return true;
}

static void describe(bl_eq *p, int node)
{
    const bl_node *n = &p->g->nodes[node];
    bl_eq_layer *l = &p->layers[node], d = { 0 };
    d.w = n->n_in >= 2 && n->in[0] >= 0 ? own_constant(p, n, 1) : NULL;
    if (!d.w) return;
    const bl_tensor *w = &p->g->values[n->in[1]].t;
    bool gemm = bl_node_is(n, "Gemm");
    if (!gemm && !bl_node_is(n, "Conv")) return;
    if (!(gemm ? describe_gemm(p, n, w, &d) : describe_conv(n, w, &d))) return;
    bool given = n->n_in > 2 && n->in[2] >= 0;
    d.b = given ? own_constant(p, n, 2) : NULL;
    bool bias_fits = !given || (d.b && bl_tensor_count(&p->g->values[n->in[2]].t) == d.out);
    d.writes = bias_fits && bl_eq_channels(p, n->out[0]) == d.out;
    d.reads = bl_eq_channels(p, n->in[0]) == d.in * d.groups;
    *l = d;
}

/* Input channel of (output o, channel i of its group). */
int64_t bl_eq_input(const bl_eq_layer *l, int64_t o, int64_t i)
{
    return o / (l->out / l->groups) * l->in + i;
}

/* ------------------------------------------------------------------ classes */

static bool scales_through(const bl_node *n)
{
    static const char *const names[] = { "Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool",
                                         "GlobalMaxPool" };
    for (size_t i = 0; i < BL_COUNTOF(names); i++)
        if (bl_node_is(n, names[i])) return true;
    return false;
}

/* Flatten or Reshape of one position a channel: channels stay channels. */
static bool keeps_channels(const bl_eq *p, const bl_node *n)
{
    const bl_tensor *x = &p->g->values[n->in[0]].t, *y = &p->g->values[n->out[0]].t;
    if (!bl_node_is(n, "Flatten") && !bl_node_is(n, "Reshape")) return false;
    return x->rank >= 2 && y->rank >= 2 && x->dim[0] == y->dim[0] && x->dim[1] == y->dim[1] &&
           bl_tensor_count(x) == x->dim[0] * x->dim[1] && bl_tensor_count(y) == bl_tensor_count(x);
}

static bool same_shape(const bl_eq *p, int a, int b)
{
    const bl_tensor *x = &p->g->values[a].t, *y = &p->g->values[b].t;
    return x->rank == y->rank && !memcmp(x->dim, y->dim, (size_t)x->rank * sizeof *x->dim);
}

/* A product scales with either operand: the one that has the output's shape, and is made by something else than a
 * gate (a function that bounds its image).  -1: none. */
static int scaled_operand(const bl_eq *p, const bl_node *n)
{
    if (!bl_node_is(n, "Mul") || n->n_in != 2) return -1;
    for (int i = 0; i < 2; i++) {
        int from = n->in[i] >= 0 ? p->g->values[n->in[i]].producer : -1;
        if (from < 0 || !same_shape(p, n->in[i], n->out[0])) continue;
        if (!(p->g->nodes[from].op->flags & BL_OP_UNARY) || scales_through(&p->g->nodes[from])) return i;
    }
    return -1;
}

static void join_node(bl_eq *p, int node)
{
    const bl_node *n = &p->g->nodes[node];
    const bl_eq_layer *l = &p->layers[node];
    int scaled = scaled_operand(p, n);
    bool sum = bl_node_is(n, "Add") || bl_node_is(n, "Sum"), through = n->n_out == 1 && (scales_through(n) || keeps_channels(p, n));
    for (int i = 0; sum && i < n->n_in; i++) sum = n->in[i] >= 0 && !p->g->values[n->in[i]].t.data && same_shape(p, n->in[i], n->out[0]);
    for (int i = 0; i < n->n_in; i++) {
        if (n->in[i] < 0 || p->g->values[n->in[i]].t.data) continue;
        if (l->out && i == 0 && l->reads) continue;
        if (sum || (through && i == 0) || i == scaled) unite(p, n->in[i], n->out[0]);
        else block(p, n->in[i]);
    }
    for (int i = 0; i < n->n_out; i++)
        if (!(l->out && l->writes) && !sum && !through && scaled < 0) block(p, n->out[i]);
    if (n->lo != -INFINITY && n->lo != 0) block(p, n->out[0]);
    if (n->hi != INFINITY && n->lo != 0) block(p, n->out[0]);
}

static void find_classes(bl_eq *p)
{
    bl_graph *g = p->g;
    for (int v = 0; v < g->n_values; v++) {
        p->parent[v] = v;
        if (g->values[v].is_input || g->values[v].is_output || !bl_eq_channels(p, v)) block(p, v);
    }
    for (int n = 0; n < g->n_nodes; n++) describe(p, n);
    for (int n = 0; n < g->n_nodes; n++) join_node(p, n);
    for (int v = 0; v < g->n_values; v++)
        if (p->blocked[v]) p->blocked[bl_eq_root(p, v)] = 1;
}

bool bl_eq_writes(bl_eq *p, int node, int class)
{
    const bl_eq_layer *l = &p->layers[node];
    return l->out && l->writes && bl_eq_root(p, p->g->nodes[node].out[0]) == class;
}

bool bl_eq_reads(bl_eq *p, int node, int class)
{
    const bl_eq_layer *l = &p->layers[node];
    return l->out && l->reads && bl_eq_root(p, p->g->nodes[node].in[0]) == class;
}

/* A class worth a look: open, with layers that write and layers that read. */
bool bl_eq_live(bl_eq *p, int class)
{
    bool writes = false, reads = false;
    if (bl_eq_root(p, class) != class || p->blocked[class]) return false;
    for (int n = 0; n < p->g->n_nodes && !(writes && reads); n++) {
        writes |= bl_eq_writes(p, n, class);
        reads |= bl_eq_reads(p, n, class);
    }
    return writes && reads;
}

static const bl_bn *statistics_of(const bl_eq *p, int value)
{
    for (int i = 0; i < p->g->n_bn; i++)
        if (p->g->bn[i].value == value) return &p->g->bn[i];
    return NULL;
}

/* What upper bounds leave of a class's freedom; a bound without statistics closes the class. */
static void find_limits(bl_eq *p, int class, int64_t channels)
{
    for (int64_t c = 0; c < channels; c++) p->least[c] = 0;
    for (int n = 0; n < p->g->n_nodes; n++) {
        const bl_node *node = &p->g->nodes[n];
        if (node->hi == INFINITY || bl_eq_root(p, node->out[0]) != class) continue;
        const bl_bn *bn = statistics_of(p, node->out[0]);
        for (int64_t c = 0; c < channels; c++) {
            double reach = bn ? bn->beta[c] + REACH * fabs((double)bn->gamma[c]) : INFINITY;
            p->least[c] = fmax(p->least[c], reach > node->hi * (1 + 1e-6) ? INFINITY : reach / node->hi);
        }
    }
}

/* ------------------------------------------------------------------ scaling */

static void gather_ranges(bl_eq *p, int class, int64_t channels)
{
    memset(p->made, 0, (size_t)channels * sizeof *p->made);
    memset(p->read, 0, (size_t)channels * sizeof *p->read);
    for (int n = 0; n < p->g->n_nodes; n++) {
        const bl_eq_layer *l = &p->layers[n];
        bool writes = bl_eq_writes(p, n, class), reads = bl_eq_reads(p, n, class);
        for (int64_t o = 0; (writes || reads) && o < l->out; o++)
            for (int64_t i = 0; i < l->in; i++)
                for (int64_t k = 0; k < l->taps; k++) {
                    double w = fabs((double)l->w[o * l->step_out + i * l->step_in + k]);
                    int64_t from = bl_eq_input(l, o, i);
                    if (writes && w > p->made[o]) p->made[o] = w;
                    if (reads && w > p->read[from]) p->read[from] = w;
                }
    }
}

static void scale_statistics(bl_eq *p, int class, const double *s)
{
    for (int i = 0; i < p->g->n_bn; i++) {
        const bl_bn *bn = &p->g->bn[i];
        if (bl_eq_root(p, bn->value) != class) continue;
        for (int c = 0; c < bn->channels; c++) { /* bl_graph_copy made them this graph's own */
            ((float *)bn->gamma)[c] = (float)(bn->gamma[c] / s[c]);
            ((float *)bn->beta)[c] = (float)(bn->beta[c] / s[c]);
        }
    }
}

void bl_eq_scale(bl_eq *p, int class, const double *s)
{
    for (int n = 0; n < p->g->n_nodes; n++) {
        const bl_eq_layer *l = &p->layers[n];
        bool writes = bl_eq_writes(p, n, class), reads = bl_eq_reads(p, n, class);
        for (int64_t o = 0; (writes || reads) && o < l->out; o++) {
            for (int64_t i = 0; i < l->in; i++) {
                double f = (reads ? s[bl_eq_input(l, o, i)] : 1) / (writes ? s[o] : 1);
                float *w = l->w + o * l->step_out + i * l->step_in;
                for (int64_t k = 0; k < l->taps; k++) w[k] = (float)(w[k] * f);
            }
            if (writes && l->b) l->b[o] = (float)(l->b[o] / s[o]);
        }
    }
    scale_statistics(p, class, s);
}

/* One class; returns how far its factors are from 1.  A channel that nothing makes or nobody reads stays. */
static double equalise_class(bl_eq *p, int class)
{
    int64_t channels = bl_eq_channels(p, class);
    double *s = p->made, moved = 0;
    gather_ranges(p, class, channels);
    find_limits(p, class, channels);
    for (int64_t c = 0; c < channels; c++) {
        double r1 = p->made[c], r2 = p->read[c];
        s[c] = r1 > 0 && r2 > 0 ? sqrt(r1 / r2) : 1;
        if (!(s[c] > 1e-6 && s[c] < 1e6)) s[c] = 1; /* a dead channel: its factors would leave the floats */
        s[c] = isfinite(p->least[c]) ? fmax(s[c], p->least[c]) : 1;
        moved = fmax(moved, fabs(s[c] - 1));
    }
    bl_eq_scale(p, class, s);
    return moved;
}

static void equalise_all(bl_eq *p)
{
    for (int sweep = 0; sweep < SWEEPS_MOST; sweep++) {
        double moved = 0;
        for (int v = 0; v < p->g->n_values; v++)
            if (bl_eq_live(p, v)) moved = fmax(moved, equalise_class(p, v));
        p->told->sweeps = sweep + 1;
        if (moved < SETTLED) break;
    }
}

/* ------------------------------------------------------------------ absorption */

/* Readers of the value are layers that do not pad, all of them. */
static bool can_absorb(const bl_eq *p, int value)
{
    for (int n = 0; n < p->g->n_nodes; n++)
        for (int i = 0; i < p->g->nodes[n].n_in; i++) {
            if (p->g->nodes[n].in[i] != value) continue;
            const bl_eq_layer *l = &p->layers[n];
            if (i || !l->out || !l->reads || !l->b || l->pads) return false;
        }
    return !p->g->values[value].is_output;
}

static void absorb(bl_eq *p, const bl_bn *bn)
{
    int node = p->g->values[bn->value].producer;
    const bl_eq_layer *from = &p->layers[node];
    if (!from->out || !from->writes || !from->b || p->g->nodes[node].lo != 0) return;
    if (!can_absorb(p, bn->value)) return;
    for (int64_t c = 0; c < from->out; c++) {
        double shift = bn->beta[c] - DEVIATIONS * fabs((double)bn->gamma[c]);
        if (!(shift > 0) || bn->beta[c] + REACH * fabs((double)bn->gamma[c]) > p->g->nodes[node].hi * (1 + 1e-6)) continue;
        for (int n = 0; n < p->g->n_nodes; n++) {
            const bl_eq_layer *l = &p->layers[n];
            if (!l->out || p->g->nodes[n].in[0] != bn->value) continue;
            for (int64_t o = 0; o < l->out; o++) {
                int64_t i = c - bl_eq_input(l, o, 0);
                double sum = 0;
                if (i < 0 || i >= l->in) continue;
                for (int64_t k = 0; k < l->taps; k++) sum += l->w[o * l->step_out + i * l->step_in + k];
                l->b[o] = (float)(l->b[o] + shift * sum);
            }
        }
        from->b[c] = (float)(from->b[c] - shift);
        ((float *)bn->beta)[c] = (float)(bn->beta[c] - shift);
        p->told->absorbed++;
    }
}

/* ------------------------------------------------------------------ the pass */

static bl_status equalise(bl_eq *p, bool noise)
{
    bl_graph *g = p->g;
    size_t most = 1;
    p->parent = BL_NEW(p->arena, int, (size_t)g->n_values);
    p->blocked = BL_NEW(p->arena, uint8_t, (size_t)g->n_values);
    p->layers = BL_NEW(p->arena, bl_eq_layer, (size_t)g->n_nodes);
    if (!p->parent || !p->blocked || !p->layers) return bl_pending(p->ctx);
    find_classes(p);
    for (int v = 0; v < g->n_values; v++) most = BL_MAX(most, (size_t)bl_eq_channels(p, v));
    p->made = BL_NEW(p->arena, double, most);
    p->read = BL_NEW(p->arena, double, most);
    p->least = BL_NEW(p->arena, double, most);
    if (!p->made || !p->read || !p->least) return bl_pending(p->ctx);
    for (int v = 0; v < g->n_values; v++)
        if (bl_eq_live(p, v)) {
            p->told->classes++;
            find_limits(p, v, bl_eq_channels(p, v));
            for (int64_t c = 0; c < bl_eq_channels(p, v); c++) p->told->held += isinf(p->least[c]);
        }
    equalise_all(p);
    if (noise) BL_TRY(bl_eq_noise(p));
    for (int i = 0; i < g->n_bn && !noise; i++) absorb(p, &g->bn[i]);
    return bl_graph_rehash(p->ctx, g);
}

static bl_status run(bl_ctx *ctx, const bl_graph *graph, bool noise, bl_equalised *told, bl_graph **out)
{
    bl_equalised mine = { 0 };
    bl_graph *g;
    BL_CHECK(ctx, graph->prepared);
    BL_TRY(bl_graph_wants_float(ctx, graph));
    bl_arena *arena = bl_arena_new(ctx, "equalising a graph");
    BL_ALLOC_TRY(ctx, arena);
    bl_status s = bl_graph_copy(ctx, graph, NULL, &g);
    if (s == BL_OK) {
        bl_eq p = { .ctx = ctx, .arena = arena, .g = g, .told = &mine };
        s = equalise(&p, noise);
        if (s != BL_OK) bl_graph_free(g);
    }
    bl_arena_free(arena);
    if (s != BL_OK) return s;
    if (told) *told = mine;
    *out = g;
    return BL_OK;
}

bl_status bl_equalise(bl_ctx *ctx, const bl_graph *graph, bl_equalised *told, bl_graph **out)
{
    return run(ctx, graph, false, told, out);
}

bl_status bl_equalise_tensors(bl_ctx *ctx, const bl_graph *graph, bl_equalised *told, bl_graph **out)
{
    return run(ctx, graph, true, told, out);
}
