/* SPDX-License-Identifier: BSD-3-Clause */
/* Layers by themselves; see layer.h. */
#include "train/layer.h"

#include <string.h>

static bl_status describe_conv(bl_ctx *ctx, const bl_graph *g, const bl_node *n, bl_arena *a, bl_layer *l)
{
    const bl_tensor *x = &g->values[l->input].t, *w = &g->values[l->weight].t;
    const bl_tensor *in[2] = {x, w};
    bl_tensor y = g->values[l->output].t;
    bl_call call = {.ctx = ctx, .node = n, .n_in = 2, .n_out = 1, .in = in, .out = &y, .scratch = a};
    bl_window w3;

    BL_TRY(bl_window_read(&call, x, w->dim + 2, &l->win));
    w3 = l->win; /* leading dimensions of extent 1 */
    for (int d = 0; d < 3; d++) {
        int from = d - (3 - l->win.dims);
        w3.kernel[d] = from < 0 ? 1 : l->win.kernel[from];
        w3.stride[d] = from < 0 ? 1 : l->win.stride[from];
        w3.dilation[d] = from < 0 ? 1 : l->win.dilation[from];
        w3.pad_begin[d] = from < 0 ? 0 : l->win.pad_begin[from];
        w3.in[d] = from < 0 ? 1 : l->win.in[from];
        w3.out[d] = from < 0 ? 1 : l->win.out[from];
    }
    l->win = w3;
    l->groups = bl_attr_int(n, "group", 1);
    l->outputs = w->dim[0];
    l->channels = x->dim[1];
    l->taps = w3.kernel[0] * w3.kernel[1] * w3.kernel[2];
    l->k = l->channels / l->groups * l->taps;
    l->depthwise = l->groups > 1 && l->groups == l->channels && l->outputs == l->channels;
    l->positions = w3.out[0] * w3.out[1] * w3.out[2];
    return BL_OK;
}

/* Rows of the input times one matrix. */
static bool describe_product(const bl_graph *g, const bl_node *n, bl_layer *l)
{
    const bl_tensor *x = &g->values[l->input].t, *w = &g->values[l->weight].t;
    bool gemm = !strcmp(n->op->name, "Gemm");

    if (w->rank != 2 || x->rank < 2 || (gemm && bl_attr_int(n, "transA", 0)) ||
        bl_attr_float(n, "alpha", 1.0f) != 1.0f || bl_attr_float(n, "beta", 1.0f) != 1.0f)
        return false;
    l->transposed = !bl_attr_int(n, "transB", 0);
    l->groups = l->taps = 1;
    l->k = l->channels = w->dim[l->transposed ? 0 : 1];
    l->outputs = w->dim[l->transposed ? 1 : 0];
    l->positions = l->in_size / l->k;
    return l->in_size % l->k == 0;
}

bl_status bl_layer_describe(bl_ctx *ctx, const bl_graph *g, int node, bl_arena *arena, bl_layer *out, bool *fits)
{
    const bl_node *n = &g->nodes[node];
    bl_layer l = {.node = node, .weight = bl_layer_weight(g, node), .bias = bl_layer_bias(g, node), .lo = n->lo, .hi = n->hi};

    *fits = false;
    if (l.weight < 0) return BL_OK;
    l.input = n->in[0];
    l.output = n->out[0];
    l.conv = !strcmp(n->op->name, "Conv");
    if (!l.conv && strcmp(n->op->name, "Gemm") && strcmp(n->op->name, "MatMul")) return BL_OK;
    l.in_size = bl_tensor_count(&g->values[l.input].t) / g->batch;
    l.out_size = bl_tensor_count(&g->values[l.output].t) / g->batch;
    if (l.conv) BL_TRY(describe_conv(ctx, g, n, arena, &l));
    else if (!describe_product(g, n, &l)) return BL_OK;
    if (l.bias >= 0) {
        if (bl_tensor_count(&g->values[l.bias].t) != l.outputs) return BL_OK;
        l.bias_data = g->values[l.bias].t.data;
    }
    *fits = l.out_size == l.outputs * l.positions;
    *out = l;
    return BL_OK;
}

bl_status bl_layers_rounded(bl_ctx *ctx, const bl_graph *g, const bl_plan *plan, bl_arena *arena, bl_layer **out, int *n)
{
    bl_layer *layers = BL_NEW(arena, bl_layer, (size_t)g->n_nodes);
    if (!layers) return bl_pending(ctx);
    *out = layers;
    *n = 0;
    for (int i = 0; i < g->n_nodes; i++) {
        bool fits = false;
        int w = bl_layer_weight(g, i), q = w < 0 ? -1 : plan->of_value[w];
        if (q < 0 || plan->quantizers[q].kind != BL_Q_AFFINE || g->values[w].n_readers != 1) continue;
        BL_TRY(bl_layer_describe(ctx, g, i, arena, &layers[*n], &fits));
        *n += fits;
    }
    return BL_OK;
}

/* Where the model keeps weight j (canonical) of an output. */
static int64_t stored_at(const bl_layer *l, int64_t o, int64_t j)
{
    int64_t per = l->k / l->taps;
    if (l->transposed) return j * l->outputs + o;
    return o * l->k + j % per * l->taps + j / per;
}

void bl_layer_weights(const bl_layer *l, const float *stored, float *canonical)
{
    for (int64_t o = 0; o < l->outputs; o++)
        for (int64_t j = 0; j < l->k; j++) canonical[o * l->k + j] = stored[stored_at(l, o, j)];
}

void bl_layer_store(const bl_layer *l, const float *canonical, float *stored)
{
    for (int64_t o = 0; o < l->outputs; o++)
        for (int64_t j = 0; j < l->k; j++) stored[stored_at(l, o, j)] = canonical[o * l->k + j];
}

/* ------------------------------------------------------------------ samples */

/* planes x places to places x planes, in blocks that stay in the first cache. */
static void turn(const float *from, int64_t planes, int64_t places, float *to)
{
    enum { BLOCK = 16 };
    for (int64_t p = 0; p < places; p += BLOCK)
        for (int64_t c = 0; c < planes; c += BLOCK)
            for (int64_t i = p; i < BL_MIN(p + BLOCK, places); i++)
                for (int64_t j = c; j < BL_MIN(c + BLOCK, planes); j++) to[i * planes + j] = from[j * places + i];
}

void bl_layer_turn_input(const bl_layer *l, const float *from, float *to)
{
    if (l->conv) turn(from, l->channels, l->in_size / l->channels, to);
    else memcpy(to, from, (size_t)l->in_size * sizeof *to);
}

void bl_layer_turn_output(const bl_layer *l, const float *from, float *to)
{
    if (l->conv) turn(from, l->outputs, l->positions, to);
    else memcpy(to, from, (size_t)l->out_size * sizeof *to);
}

bl_status bl_layer_room(bl_ctx *ctx, const bl_layer *l, int64_t n, bl_arena *a, bl_layer_samples *out)
{
    *out = (bl_layer_samples){.n = n};
    out->x = bl_alloc(a, (size_t)n, (size_t)l->in_size * sizeof(float));
    out->t = bl_alloc(a, (size_t)n, (size_t)l->out_size * sizeof(float));
    return out->x && out->t ? BL_OK : bl_pending(ctx);
}

typedef struct capture {
    const bl_layer *layers;
    const bl_layer_samples *room;
    int n;
    bool inputs, targets;
} capture;

static bl_status keep_value(void *user, const bl_look *at, int value, const bl_tensor *t)
{
    const capture *c = user;
    int64_t first = at->first;
    for (int i = 0; i < c->n; i++) {
        const bl_layer *l = &c->layers[i];
        for (int64_t s = 0; s < at->count; s++) {
            if (c->inputs && l->input == value)
                bl_layer_turn_input(l, (const float *)t->data + s * l->in_size, c->room[i].x + (first + s) * l->in_size);
            if (c->targets && l->output == value)
                bl_layer_turn_output(l, (const float *)t->data + s * l->out_size, c->room[i].t + (first + s) * l->out_size);
        }
    }
    return BL_OK;
}

bl_status bl_layers_capture(bl_ctx *ctx, const bl_graph *g, const bl_layer *layers, const bl_layer_samples *room,
                            int n_layers, bl_data *data, const int64_t *index, bl_fake *fake, bool inputs, bool targets)
{
    bl_arena *a = bl_arena_new(ctx, "capture");
    uint8_t *looks = a ? BL_NEW(a, uint8_t, (size_t)g->n_values) : NULL;
    bl_shards s = {.graph = g, .data = data, .index = index, .n = room[0].n, .looks = looks, .look = keep_value, .fake = fake};
    capture c = {layers, room, n_layers, inputs, targets};

    for (int i = 0; looks && i < n_layers; i++) {
        if (inputs) looks[layers[i].input] = 1;
        if (targets) looks[layers[i].output] = 1;
    }
    bl_status status = looks ? bl_shards_run(ctx, &s, NULL, &c) : bl_pending(ctx);
    bl_arena_free(a);
    return status;
}

/* One tap of a position: a stretch of channels, or zeros beside the sample. */
static void gather_tap(const bl_layer *l, const float *from, float *out, int64_t tap, int64_t stride)
{
    int64_t each = l->depthwise ? l->channels : l->channels / l->groups, n = l->depthwise ? 1 : l->groups;

    for (int64_t g = 0; g < n; g++) {
        float *to = out + g * stride + tap * each;
        if (from) memcpy(to, from + g * each, (size_t)each * sizeof *to);
        else memset(to, 0, (size_t)each * sizeof *to);
    }
}

void bl_layer_gather(const bl_layer *l, const float *x, int64_t position, float *out, int64_t stride)
{
    const bl_window *w = &l->win;
    int64_t at[3], tap = 0;

    if (!l->conv) {
        memcpy(out, x + position * l->k, (size_t)l->k * sizeof *out);
        return;
    }
    at[2] = position % w->out[2] * w->stride[2] - w->pad_begin[2];
    at[1] = position / w->out[2] % w->out[1] * w->stride[1] - w->pad_begin[1];
    at[0] = position / w->out[2] / w->out[1] * w->stride[0] - w->pad_begin[0];
    for (int64_t i = 0; i < w->kernel[0]; i++)
        for (int64_t j = 0; j < w->kernel[1]; j++) {
            int64_t d = at[0] + i * w->dilation[0], h = at[1] + j * w->dilation[1];
            bool in = d >= 0 && d < w->in[0] && h >= 0 && h < w->in[1];
            for (int64_t m = 0; m < w->kernel[2]; m++, tap++) {
                int64_t v = at[2] + m * w->dilation[2];
                bool here = in && v >= 0 && v < w->in[2];
                gather_tap(l, here ? x + ((d * w->in[1] + h) * w->in[2] + v) * l->channels : NULL, out, tap, stride);
            }
        }
}
