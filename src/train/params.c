/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a network learns: weights and biases of layers, scale and shift of normalisations, vectors that
 * are added or multiplied; and the running means that it keeps beside them.  All of it lies in one piece of
 * memory (the state), so that an optimizer, a checkpoint and the best epoch's copy are loops over floats.
 */
#include "train/trainer.h"

#include <math.h>
#include <string.h>

#define LINE 16 /* floats: a parameter begins on its own cache line */

static bool is_constant(const bl_graph *g, int v)
{
    return v >= 0 && g->values[v].producer < 0 && !g->values[v].is_input && g->values[v].t.data &&
           g->values[v].t.type == BL_F32;
}

/* Input i of the node is learned where it is a constant. */
static bool learns(const bl_graph *g, const bl_node *node, int i)
{
    if (!is_constant(g, node->in[i])) return false;
    if (node->op->flags & BL_OP_LAYER) return i > 0;
    if (node->op->flags & BL_OP_LEARNS) return i == 1 || i == 2;
    return (node->op->flags & BL_OP_JOINS) && bl_tensor_count(&g->values[node->in[i]].t) > 1;
}

static void add_stretches(bl_params *p, int param)
{
    for (size_t at = 0; at < p->param[param].n; at += BL_STRETCH)
        p->stretch[p->n_stretch++] = (bl_stretch){param, at, BL_MIN(BL_STRETCH, p->param[param].n - at)};
}

static size_t place(bl_params *p, size_t n)
{
    size_t at = p->all;
    p->all += (n + LINE - 1) / LINE * LINE;
    return at;
}

static bl_status find_learned(bl_arena *arena, const bl_graph *g, bool decay_all, const bl_figures *more,
                              bl_params *p)
{
    uint8_t *seen = BL_NEW(arena, uint8_t, (size_t)g->n_values);
    size_t stretches = 0;

    BL_ALLOC_TRY(bl_arena_ctx(arena), seen);
    for (int n = 0; n < g->n_nodes; n++)
        for (int i = 0; i < g->nodes[n].n_in; i++) {
            int v = g->nodes[n].in[i];
            if (v < 0 || !learns(g, &g->nodes[n], i) || seen[v]) continue;
            seen[v] = 1;
            const bl_tensor *t = &g->values[v].t;
            size_t count = (size_t)bl_tensor_count(t);
            p->param[p->n++] = (bl_param){v, place(p, count), count, decay_all || t->rank > 1};
            stretches += (count + BL_STRETCH - 1) / BL_STRETCH;
        }
    for (int i = 0; i < more->n; i++) {
        p->param[p->n++] = (bl_param){-1, place(p, more->count[i]), more->count[i], more->decay};
        stretches += (more->count[i] + BL_STRETCH - 1) / BL_STRETCH;
    }
    p->learned = p->all;
    p->stretch = BL_NEW(arena, bl_stretch, stretches);
    BL_ALLOC_TRY(bl_arena_ctx(arena), p->stretch);
    for (int i = 0; i < p->n; i++) add_stretches(p, i);
    return BL_OK;
}

/* An operator in training form gives as outputs 1, 2 .. what its last inputs are running means of. */
static void find_running(const bl_graph *training, bl_params *p)
{
    for (int n = 0; n < training->n_nodes; n++) {
        const bl_node *node = &training->nodes[n];
        for (int i = 1; (node->op->flags & BL_OP_CHANNELS) && i < node->n_out; i++) {
            int v = node->in[node->n_in - node->n_out + i];
            size_t count = (size_t)bl_tensor_count(&training->values[v].t);
            p->running[p->n_running++] = (bl_running){v, node->out[i], place(p, count), count,
                                                      bl_attr_float(node, "momentum", 0.9f)};
        }
    }
}

void bl_params_point(const bl_params *p, bl_graph *graph)
{
    for (int i = 0; i < p->n; i++)
        if (p->param[i].value >= 0) graph->values[p->param[i].value].t.data = p->state + p->param[i].first;
    for (int i = 0; i < p->n_running; i++)
        graph->values[p->running[i].value].t.data = p->state + p->running[i].first;
}

bl_status bl_params_find(bl_arena *arena, bl_graph *graph, const bl_graph *training, bool decay_all,
                         const bl_figures *more, bl_params *out)
{
    bl_ctx *ctx = bl_arena_ctx(arena);
    size_t inputs = 0, outputs = 0;

    *out = (bl_params){0};
    for (int n = 0; n < training->n_nodes; n++) {
        inputs += (size_t)training->nodes[n].n_in;
        outputs += (size_t)training->nodes[n].n_out;
    }
    out->param = BL_NEW(arena, bl_param, inputs + (size_t)more->n);
    BL_ALLOC_TRY(ctx, out->param);
    out->running = BL_NEW(arena, bl_running, outputs);
    BL_ALLOC_TRY(ctx, out->running);
    BL_TRY(find_learned(arena, graph, decay_all, more, out));
    if (out->n == more->n)
        return bl_fail(ctx, BL_DATA, graph->source, "give a network with layers", "it has nothing to learn");
    find_running(training, out);
    out->state = BL_NEW(arena, float, out->all);
    BL_ALLOC_TRY(ctx, out->state);
    for (int i = 0; i < out->n - more->n; i++)
        memcpy(out->state + out->param[i].first, graph->values[out->param[i].value].t.data,
               out->param[i].n * sizeof(float));
    for (int i = 0; i < out->n_running; i++)
        memcpy(out->state + out->running[i].first, graph->values[out->running[i].value].t.data,
               out->running[i].n * sizeof(float));
    bl_params_point(out, graph);
    return BL_OK;
}

/* ------------------------------------------------------------------ random weights */

/* A layer's weight: normal with variance 2 / fan in (1 / fan in for a matrix). */
static void draw_weight(const bl_graph *g, int layer, uint64_t seed, float *w, size_t n)
{
    const bl_tensor *t = &g->values[bl_layer_weight(g, layer)].t;
    double fan = (double)n / (double)t->dim[bl_weight_axis(g, layer)];
    double deviation = sqrt((t->rank > 2 ? 2 : 1) / fan);
    bl_rng r = bl_rng_make(seed, "weights", (uint64_t)layer);
    for (size_t i = 0; i < n; i++) w[i] = (float)(deviation * bl_rng_normal(&r));
}

void bl_params_random(const bl_params *p, const bl_graph *graph, uint64_t seed)
{
    memset(p->state, 0, p->all * sizeof *p->state);
    for (int n = 0; n < graph->n_nodes; n++) {
        const bl_node *node = &graph->nodes[n];
        for (int i = 0; i < p->n; i++) {
            const bl_param *q = &p->param[i];
            if (bl_layer_weight(graph, n) == q->value) draw_weight(graph, n, seed, p->state + q->first, q->n);
            if ((node->op->flags & BL_OP_LEARNS) && node->in[1] == q->value)
                for (size_t k = 0; k < q->n; k++) p->state[q->first + k] = 1;
        }
        for (int i = 0; i < p->n_running; i++) /* a variance: the node's last input */
            if (p->running[i].value == node->in[node->n_in - 1])
                for (size_t k = 0; k < p->running[i].n; k++) p->state[p->running[i].first + k] = 1;
    }
}
