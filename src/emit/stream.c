/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fixed-point network to a stream of windows.  Each window layer becomes a network of one window, whose circuit
 * serves every position.  That is right where a channel has one grid; where a proof made the grid of a position
 * narrower (sums at the border reach less), the channel's widest one gives the same codes, which is checked.
 */
#include "emit/stream.h"

#include <string.h>

typedef struct maker {
    bl_ctx *ctx;
    bl_arena *arena;
    const bl_fixed_net *net;
    const bl_circuit_options *options;
    bl_stream *s;
} maker;

static bool moves(const bl_fixed_layer *l)
{
    return l->kind != BL_FIXED_DENSE;
}

static bl_status refuse(const maker *m, int layer, const char *what)
{
    char place[160];
    const char *name = m->net->layers[layer].name;
    snprintf(place, sizeof place, "%s: layer %d (%.80s)", "stream", layer, name ? name : "");
    return bl_fail(m->ctx, BL_UNAVAILABLE, place, "train with act_share = channel, or export without --stream", "%s", what);
}

/* ------------------------------------------------------------------ one grid a channel */

static bool is_nothing(bl_fixed_grid g)
{
    return bl_grid_width(g) == 0;
}

static void widen(bl_fixed_grid *to, bl_fixed_grid g)
{
    if (is_nothing(g)) return;
    if (is_nothing(*to)) {
        *to = g;
        return;
    }
    to->k = BL_MAX(to->k, g.k);
    to->i = BL_MAX(to->i, g.i);
    to->f = BL_MAX(to->f, g.f);
}

/* Codes of both ends of a sum, and whether the grid holds them without overflow; exact: nothing is rounded. */
typedef struct ends { int64_t lo, hi; bool fits, exact; } ends;

static ends ends_of(const bl_fixed_layer *l, int64_t e, bl_fixed_grid g)
{
    bl_fixed_grid wide = { 1, (int8_t)(61 - BL_MAX(g.f, -40)), g.f };
    int64_t lo = l->relu ? BL_MAX(l->acc_lo[e], 0) : l->acc_lo[e], hi = l->relu ? BL_MAX(l->acc_hi[e], 0) : l->acc_hi[e];
    ends n = { bl_fixed_quantize(lo, l->acc_f[e], wide, l->round, BL_SAT), bl_fixed_quantize(hi, l->acc_f[e], wide, l->round, BL_SAT),
               false, l->acc_f[e] <= g.f };
    int64_t top = ((int64_t)1 << BL_MAX(g.i + g.f, 0)) - 1, least = !g.k ? 0 : l->overflow == BL_SAT_SYM ? -top : -top - 1;
    n.fits = n.lo >= least && n.hi <= top;
    return n;
}

/* Does the channel's grid give what the element's own one does? */
static bool same_codes(const bl_fixed_layer *l, int64_t e, bl_fixed_grid channel)
{
    bl_fixed_grid own = l->out[e];
    if (!memcmp(&own, &channel, sizeof own)) return true;
    ends a = ends_of(l, e, channel);
    if (!a.fits) return false;
    if (is_nothing(own)) return a.lo == 0 && a.hi == 0;
    ends b = ends_of(l, e, own);
    return b.fits && (own.f == channel.f || b.exact);
}

/* A code that was folded into biases is read by nobody. */
static bool unread(const bl_fixed_net *net, int layer, int64_t e)
{
    if (layer + 1 >= net->n_layers) return false;
    const bl_fixed_layer *next = &net->layers[layer + 1];
    if (next->kind != BL_FIXED_DENSE) return false;
    for (int64_t o = 0; o < next->n_out; o++)
        if (next->weight[o * next->n_in + e]) return false;
    return true;
}

static bl_status channel_grids(maker *m, int layer, const bl_fixed_grid **out)
{
    const bl_fixed_layer *l = &m->net->layers[layer];
    int64_t plane = (int64_t)l->out_h * l->out_w;
    bl_fixed_grid *g = BL_NEW(m->arena, bl_fixed_grid, (size_t)l->out_c);
    if (!g) return bl_pending(m->ctx);
    for (int64_t e = 0; e < l->n_out; e++) widen(&g[e / plane], l->out[e]);
    for (int64_t e = 0; e < l->n_out; e++) {
        bool same = layer + 1 == m->net->n_layers ? !memcmp(&l->out[e], &g[e / plane], sizeof *g)
                                                  : same_codes(l, e, g[e / plane]) || unread(m->net, layer, e);
        if (!same) return refuse(m, layer, "a channel has different grids at its positions");
    }
    *out = g;
    return BL_OK;
}

/* Codes come from outside, each in its element's grid: where these differ in range alone, the widest holds them all. */
static bl_status input_grids(maker *m, const bl_fixed_grid **out)
{
    int64_t plane = (int64_t)m->net->in_h * m->net->in_w;
    bl_fixed_grid *g = BL_NEW(m->arena, bl_fixed_grid, (size_t)m->net->in_c);
    if (!g) return bl_pending(m->ctx);
    for (int64_t i = 0; i < m->net->n_in; i++) {
        bl_fixed_grid *to = &g[i / plane];
        if (!is_nothing(m->net->in[i]) && !is_nothing(*to) && m->net->in[i].f != to->f)
            return refuse(m, 0, "a channel of the input has steps of several sizes");
        widen(to, m->net->in[i]);
    }
    *out = g;
    return BL_OK;
}

/* ------------------------------------------------------------------ stages */

/* Zero, or for a maximum the least code there is. */
static int64_t outside(const bl_fixed_layer *l, bl_fixed_grid g, bl_fixed_overflow overflow)
{
    if (l->kind != BL_FIXED_MAX_POOL || !g.k || is_nothing(g)) return 0;
    int64_t top = ((int64_t)1 << (g.i + g.f)) - 1;
    return overflow == BL_SAT_SYM ? -top : -top - 1;
}

static bl_status window_net(maker *m, int layer, bl_stream_stage *t)
{
    const bl_fixed_layer *l = t->layer;
    bl_fixed_net *n;
    int32_t size[3] = { l->in_c, l->kernel_h, l->kernel_w }, each = l->kernel_h * l->kernel_w;
    BL_TRY(bl_fixed_new(m->ctx, m->net->name, 1, size, &t->window));
    n = t->window;
    n->in_round = BL_TRN;
    n->in_overflow = layer ? l[-1].overflow : m->net->in_overflow;
    for (int64_t i = 0; i < n->n_in; i++) n->in[i] = t->in[i / each];
    bl_fixed_layer *w = n->layers;
    *w = (bl_fixed_layer){ .kind = l->kind, .name = l->name, .out_c = l->out_c, .out_h = 1, .out_w = 1, .kernel_h = l->kernel_h,
                           .kernel_w = l->kernel_w, .stride_h = 1, .stride_w = 1, .groups = l->groups, .relu = l->relu,
                           .round = l->round, .overflow = l->overflow };
    BL_TRY(bl_fixed_shape(m->ctx, n, 0));
    if (l->n_weights) {
        memcpy(w->weight, l->weight, (size_t)l->n_weights * sizeof *w->weight);
        memcpy(w->weight_f, l->weight_f, (size_t)l->n_weights);
        memcpy(w->bias, l->bias, (size_t)l->out_c * sizeof *w->bias);
        memcpy(w->bias_f, l->bias_f, (size_t)l->out_c);
    }
    memcpy(w->out, t->out, (size_t)l->out_c * sizeof *w->out);
    return bl_fixed_check(m->ctx, m->net->name, n);
}

static bl_status stage(maker *m, int layer, const bl_fixed_grid *in)
{
    const bl_fixed_layer *l = &m->net->layers[layer];
    bl_stream_stage *t = &m->s->stages[layer];
    t->layer = l;
    t->in = in;
    BL_TRY(channel_grids(m, layer, &t->out));
    t->pad = BL_NEW(m->arena, int64_t, (size_t)l->in_c);
    if (!t->pad) return bl_pending(m->ctx);
    for (int32_t c = 0; c < l->in_c; c++) t->pad[c] = outside(l, in[c], layer ? l[-1].overflow : m->net->in_overflow);
    t->rows = BL_MAX(l->pad_top + l->in_h, (l->out_h - 1) * l->stride_h + l->kernel_h);
    t->cols = BL_MAX(l->pad_left + l->in_w, (l->out_w - 1) * l->stride_w + l->kernel_w);
    m->s->cycles = BL_MAX(m->s->cycles, (int64_t)t->rows * t->cols);
    BL_TRY(window_net(m, layer, t));
    return bl_circuit_make(m->arena, t->window, m->options, &t->graph);
}

/* ------------------------------------------------------------------ what is unrolled behind */

static bl_status rest_layer(maker *m, int number, const bl_fixed_layer *l)
{
    bl_fixed_layer *r = &m->s->rest->layers[number];
    *r = *l;
    BL_TRY(bl_fixed_shape(m->ctx, m->s->rest, number));
    if (l->n_weights) {
        memcpy(r->weight, l->weight, (size_t)l->n_weights * sizeof *r->weight);
        memcpy(r->weight_f, l->weight_f, (size_t)l->n_weights);
        memcpy(r->bias, l->bias, (size_t)l->out_c * sizeof *r->bias);
        memcpy(r->bias_f, l->bias_f, (size_t)l->out_c);
    }
    memcpy(r->out, l->out, (size_t)l->n_out * sizeof *r->out);
    return BL_OK;
}

static bl_status rest(maker *m)
{
    const bl_fixed_net *net = m->net;
    int n = m->s->n_stages;
    if (n == net->n_layers) return BL_OK;
    const bl_stream_stage *t = &m->s->stages[n - 1];
    const bl_fixed_layer *last = t->layer;
    int32_t size[3] = { last->out_c, last->out_h, last->out_w };
    for (int l = n; l < net->n_layers; l++)
        if (moves(&net->layers[l])) return refuse(m, l, "a window behind a dense layer");
    BL_TRY(bl_fixed_new(m->ctx, net->name, net->n_layers - n, size, &m->s->rest));
    m->s->rest->in_overflow = last->overflow;
    for (int64_t e = 0; e < last->n_out; e++) m->s->rest->in[e] = t->out[e / ((int64_t)last->out_h * last->out_w)];
    for (int l = n; l < net->n_layers; l++) BL_TRY(rest_layer(m, l - n, &net->layers[l]));
    BL_TRY(bl_fixed_check(m->ctx, net->name, m->s->rest));
    return bl_circuit_make(m->arena, m->s->rest, m->options, &m->s->tail);
}

bl_status bl_stream_make(bl_arena *arena, const bl_fixed_net *net, const bl_circuit_options *options, bl_stream **out)
{
    maker m = { .ctx = bl_arena_ctx(arena), .arena = arena, .net = net, .options = options, .s = BL_NEW(arena, bl_stream, 1) };
    const bl_fixed_grid *in = NULL;
    if (!m.s) return bl_pending(m.ctx);
    *out = m.s; /* freed by the caller in any case */
    m.s->net = net;
    while (m.s->n_stages < net->n_layers && moves(&net->layers[m.s->n_stages])) m.s->n_stages++;
    if (!m.s->n_stages)
        return bl_fail(m.ctx, BL_UNAVAILABLE, net->name, "export without --stream", "a stream begins with a convolution or a pool");
    m.s->stages = BL_NEW(arena, bl_stream_stage, (size_t)m.s->n_stages);
    if (!m.s->stages) return bl_pending(m.ctx);
    BL_TRY(input_grids(&m, &in));
    for (int l = 0; l < m.s->n_stages; l++) {
        BL_TRY(bl_check_interrupt(m.ctx));
        BL_TRY(stage(&m, l, in));
        in = m.s->stages[l].out;
    }
    const bl_fixed_layer *last = m.s->stages[m.s->n_stages - 1].layer;
    m.s->positions = (int64_t)last->out_h * last->out_w;
    return rest(&m);
}

void bl_stream_free(bl_stream *s)
{
    if (!s) return;
    for (int l = 0; s->stages && l < s->n_stages; l++) bl_fixed_free(s->stages[l].window);
    bl_fixed_free(s->rest);
}

/* ------------------------------------------------------------------ running */

static int64_t widest(const bl_stream *s)
{
    int64_t n = s->net->n_in;
    for (int l = 0; l < s->net->n_layers; l++) n = BL_MAX(n, s->net->layers[l].n_out);
    return n;
}

static void most_cells(const bl_circuit *c, int64_t *cells, int64_t *in)
{
    if (!c) return;
    *cells = BL_MAX(*cells, c->n_cells);
    *in = BL_MAX(*in, c->n_in);
}

size_t bl_stream_work(const bl_stream *s)
{
    int64_t cells = 0, in = 0;
    for (int l = 0; l < s->n_stages; l++) most_cells(s->stages[l].graph, &cells, &in);
    most_cells(s->tail, &cells, &in);
    return (size_t)(3 * widest(s) + cells + in);
}

static void stage_run(const bl_stream_stage *t, const int64_t *x, int64_t *y, int64_t *window, int64_t *one, int64_t *values)
{
    const bl_fixed_layer *l = t->layer;
    for (int32_t row = 0; row < l->out_h; row++)
        for (int32_t col = 0; col < l->out_w; col++) {
            int64_t *at = window;
            for (int32_t c = 0; c < l->in_c; c++)
                for (int32_t i = 0; i < l->kernel_h; i++)
                    for (int32_t j = 0; j < l->kernel_w; j++) {
                        int32_t r = row * l->stride_h - l->pad_top + i, q = col * l->stride_w - l->pad_left + j;
                        bool in = r >= 0 && r < l->in_h && q >= 0 && q < l->in_w;
                        *at++ = in ? x[((int64_t)c * l->in_h + r) * l->in_w + q] : t->pad[c];
                    }
            bl_circuit_run(t->graph, window, one, values);
            for (int32_t c = 0; c < l->out_c; c++) y[((int64_t)c * l->out_h + row) * l->out_w + col] = one[c];
        }
}

void bl_stream_run(const bl_stream *s, const int64_t *in, int64_t *out, int64_t *work)
{
    int64_t n = widest(s), cells = 0, most = 0;
    for (int l = 0; l < s->n_stages; l++) most_cells(s->stages[l].graph, &cells, &most);
    most_cells(s->tail, &cells, &most);
    int64_t *x = work, *y = work + n, *one = work + 2 * n, *window = work + 3 * n, *values = window + most;
    memcpy(x, in, (size_t)s->net->n_in * sizeof *x);
    for (int l = 0; l < s->n_stages; l++) {
        stage_run(&s->stages[l], x, y, window, one, values);
        int64_t *swap = x;
        x = y;
        y = swap;
    }
    if (s->tail) bl_circuit_run(s->tail, x, out, values);
    else memcpy(out, x, (size_t)s->stages[s->n_stages - 1].layer->n_out * sizeof *out);
}
