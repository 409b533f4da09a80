/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * PLAN to fixed-point network, where a plan's grids are fixed point already: scales that are powers of two
 * and zero points 0 or the middle (the option power_of_two).  The integers are those of the program
 * that the same plan is lowered to: biases by [Q4], and [Q3] with multipliers that are powers of two
 * rounds half to even and saturates.
 */
#include "program/program.h"

#include <string.h>

typedef struct chain {
    bl_ctx *ctx;
    const bl_graph *g;
    const bl_plan *plan;
    const bl_weights *weights;
    bl_fixed_net *net;
    bl_arena *scratch;
    int value;                  /* that the chain has come to */
    int n_layers;
} chain;

static bl_status refuse(const chain *c, const char *place, const char *format, ...) BL_PRINTF(3, 4);
static bl_status refuse(const chain *c, const char *place, const char *format, ...)
{
    char text[256];
    va_list a;
    va_start(a, format);
    vsnprintf(text, sizeof text, format, a);
    va_end(a);
    return bl_fail(c->ctx, BL_UNAVAILABLE, place, "hardware takes chains of Conv, Gemm, MatMul, pools and Reshape", "%s", text);
}

/* ------------------------------------------------------------------ grids */

/* scale = 2^-*f. */
static bl_status exponent(const chain *c, const char *name, float scale, int *f)
{
    int e;
    if (frexpf(scale, &e) != 0.5f || e - 1 < -BL_FIXED_EXPONENT_MAX || e - 1 > BL_FIXED_EXPONENT_MAX)
        return bl_fail(c->ctx, BL_UNAVAILABLE, name, "quantize with --power-of-two", "a scale of %g, which is no power of two",
                       (double)scale);
    *f = 1 - e;
    return BL_OK;
}

static const bl_quantizer *quantizer_of(const chain *c, int value)
{
    return c->plan->of_value[value] < 0 ? NULL : &c->plan->quantizers[c->plan->of_value[value]];
}

/* Grid of a value, narrowed to what a node's fused activation leaves. */
static bl_status grid_of(const chain *c, int value, const bl_node *node, bl_fixed_grid *out)
{
    const bl_quantizer *q = quantizer_of(c, value);
    const char *name = c->g->values[value].name;
    int f;
    if (!q || q->kind != BL_Q_AFFINE) return refuse(c, name, "no affine grid");
    BL_TRY(exponent(c, name, q->scale[0], &f));
    bl_grid g = bl_affine_grid(q);
    if (node) g = bl_clamped_grid(node, g);
    int32_t lo = g.lo - g.zero, hi = g.hi - g.zero;
    if (hi < 0 || (hi & (hi + 1)) || (lo != 0 && lo != -hi - 1))
        return bl_fail(c->ctx, BL_UNAVAILABLE, name, "quantize with --power-of-two; bounds other than Relu's have no grid",
                       "codes %d to %d, no power of two", lo, hi);
    int bits = hi ? 32 - __builtin_clz((unsigned)hi) : 0;
    *out = (bl_fixed_grid){ lo < 0, (int8_t)(bits - f), (int8_t)f };
    return BL_OK;
}

/* ------------------------------------------------------------------ layers */

/* Weights [out][in...] from codes that stand so, or transposed. */
static bl_status put_weights(chain *c, const bl_node *node, bl_fixed_layer *l, bool transposed)
{
    const bl_quantizer *q = quantizer_of(c, node->in[1]);
    bl_tensor w = c->g->values[node->in[1]].t;
    const float *tuned = bl_weights_find(c->weights, node->in[1]);
    int axis = transposed ? 1 : 0;
    if (!w.data || w.type != BL_F32 || !q || q->kind != BL_Q_AFFINE) return refuse(c, node->name, "its weight has no affine grid");
    if (q->n_scale > 1 && q->axis != axis) return refuse(c, node->name, "scales along axis %d", q->axis);
    if (tuned) w.data = (void *)(uintptr_t)tuned;
    int8_t *codes = BL_NEW(c->scratch, int8_t, (size_t)l->n_weights);
    BL_ALLOC_TRY(c->ctx, codes);
    bl_weight_codes(&w, q->scale, q->n_scale, q->axis, q->bits, q->narrow, codes);
    int64_t each = l->n_weights / l->out_c;
    for (int64_t o = 0; o < l->out_c; o++) {
        int f;
        BL_TRY(exponent(c, c->g->values[node->in[1]].name, q->scale[q->n_scale > 1 ? o : 0], &f));
        for (int64_t i = 0; i < each; i++) {
            int64_t v = codes[transposed ? i * l->out_c + o : o * each + i];
            int own = f;
            bl_fixed_reduce(&v, &own);
            l->weight[o * each + i] = (int32_t)v;
            l->weight_f[o * each + i] = (int8_t)own;
        }
    }
    return BL_OK;
}

/* [Q4]. */
static bl_status put_bias(chain *c, const bl_node *node, bl_fixed_layer *l)
{
    if (node->n_in < 3 || node->in[2] < 0) return BL_OK;
    const bl_tensor *t = &c->g->values[node->in[2]].t;
    const bl_quantizer *qw = quantizer_of(c, node->in[1]), *qx = quantizer_of(c, node->in[0]);
    const float *tuned = bl_weights_find(c->weights, node->in[2]), *b = tuned ? tuned : t->data;
    int64_t n = bl_tensor_count(t);
    if (!t->data || t->type != BL_F32 || (n != 1 && n != l->out_c)) return refuse(c, node->name, "a bias that is not one constant an output");
    for (int64_t o = 0; o < l->out_c; o++) {
        float s = qx->scale[0] * qw->scale[qw->n_scale > 1 ? o : 0], v = b[n > 1 ? o : 0] / s;
        int f;
        BL_TRY(exponent(c, node->name, s, &f));
        if (!(fabsf(v) <= 1073741824.0f)) return refuse(c, node->name, "the bias of output %d does not fit 31 bits", (int)o);
        l->bias[o] = (int64_t)rintf(v);
        bl_fixed_reduce(&l->bias[o], &f);
        l->bias_f[o] = (int8_t)f;
    }
    return BL_OK;
}

static bl_status put_grids(chain *c, const bl_node *node, bl_fixed_layer *l)
{
    bl_fixed_grid g;
    BL_TRY(grid_of(c, node->out[0], node, &g));
    for (int64_t e = 0; e < l->n_out; e++) l->out[e] = g;
    return BL_OK;
}

static bl_fixed_layer *next_layer(chain *c, const bl_node *node, bl_fixed_kind kind)
{
    bl_fixed_layer *l = &c->net->layers[c->n_layers++];
    const bl_tensor *y = &c->g->values[node->out[0]].t;
    bool picture = y->rank == 4;
    *l = (bl_fixed_layer){ .kind = kind, .kernel_h = 1, .kernel_w = 1, .stride_h = 1, .stride_w = 1, .groups = 1, .round = BL_RND_CONV,
                           .overflow = BL_SAT, .out_c = (int32_t)y->dim[y->rank > 1], .out_h = picture ? (int32_t)y->dim[2] : 1,
                           .out_w = picture ? (int32_t)y->dim[3] : 1, .name = bl_strdup(c->net->arena, node->name) };
    return l;
}

/* What bl_window_read wants: the node and the shape of its input. */
static bl_status window_of(const chain *c, const bl_node *node, const int64_t *kernel, bl_window *w)
{
    const bl_tensor *in[] = { &c->g->values[node->in[0]].t };
    bl_call call = { .ctx = c->ctx, .node = node, .n_in = 1, .in = in, .scratch = c->scratch };
    if (in[0]->rank != 4) return refuse(c, node->name, "a window over %d dimensions", in[0]->rank - 2);
    BL_TRY(bl_window_read(&call, in[0], kernel, w));
    if (w->dilation[0] != 1 || w->dilation[1] != 1) return refuse(c, node->name, "a dilated window");
    return BL_OK;
}

static void set_window(bl_fixed_layer *l, const bl_window *w)
{
    l->kernel_h = (int32_t)w->kernel[0], l->kernel_w = (int32_t)w->kernel[1];
    l->stride_h = (int32_t)w->stride[0], l->stride_w = (int32_t)w->stride[1];
    l->pad_top = (int32_t)w->pad_begin[0], l->pad_left = (int32_t)w->pad_begin[1];
}

static bl_status lower_conv(chain *c, const bl_node *node)
{
    bl_window w;
    BL_TRY(window_of(c, node, c->g->values[node->in[1]].t.dim + 2, &w));
    bl_fixed_layer *l = next_layer(c, node, BL_FIXED_CONV);
    BL_ALLOC_TRY(c->ctx, l->name);
    set_window(l, &w);
    l->groups = (int32_t)bl_attr_int(node, "group", 1);
    BL_TRY(bl_fixed_shape(c->ctx, c->net, c->n_layers - 1));
    BL_TRY(put_weights(c, node, l, false));
    BL_TRY(put_bias(c, node, l));
    return put_grids(c, node, l);
}

static bl_status lower_dense(chain *c, const bl_node *node)
{
    const bl_tensor *x = &c->g->values[node->in[0]].t, *w = &c->g->values[node->in[1]].t;
    bool transposed = !bl_attr_int(node, "transB", 0);
    if (w->rank != 2 || x->rank < 1 || x->dim[x->rank - 1] != bl_tensor_count(x)) return refuse(c, node->name, "a product of more than one row");
    if (bl_attr_int(node, "transA", 0) || bl_attr_float(node, "alpha", 1) != 1 || bl_attr_float(node, "beta", 1) != 1)
        return refuse(c, node->name, "transA, alpha or beta");
    bl_fixed_layer *l = next_layer(c, node, BL_FIXED_DENSE);
    BL_ALLOC_TRY(c->ctx, l->name);
    l->out_c = (int32_t)w->dim[transposed];
    BL_TRY(bl_fixed_shape(c->ctx, c->net, c->n_layers - 1));
    BL_TRY(put_weights(c, node, l, transposed));
    BL_TRY(put_bias(c, node, l));
    return put_grids(c, node, l);
}

static bl_status lower_pool(chain *c, const bl_node *node)
{
    bool max = (node->op->flags & BL_OP_MOVES) != 0;
    bl_window w;
    BL_TRY(window_of(c, node, NULL, &w));
    if (!max && (w.pad_begin[0] || w.pad_begin[1] || w.pad_end[0] || w.pad_end[1])) return refuse(c, node->name, "a mean with padding");
    if (node->n_out > 1) return refuse(c, node->name, "places of maxima");
    bl_fixed_layer *l = next_layer(c, node, max ? BL_FIXED_MAX_POOL : BL_FIXED_AVERAGE_POOL);
    BL_ALLOC_TRY(c->ctx, l->name);
    set_window(l, &w);
    BL_TRY(bl_fixed_shape(c->ctx, c->net, c->n_layers - 1));
    return put_grids(c, node, l);
}

static bl_status lower_global_pool(chain *c, const bl_node *node)
{
    bool max = (node->op->flags & BL_OP_MOVES) != 0;
    const bl_tensor *x = &c->g->values[node->in[0]].t;
    if (x->rank != 4) return refuse(c, node->name, "a pool over %d dimensions", x->rank - 2);
    bl_fixed_layer *l = next_layer(c, node, max ? BL_FIXED_MAX_POOL : BL_FIXED_AVERAGE_POOL);
    BL_ALLOC_TRY(c->ctx, l->name);
    l->kernel_h = (int32_t)x->dim[2], l->kernel_w = (int32_t)x->dim[3];
    BL_TRY(bl_fixed_shape(c->ctx, c->net, c->n_layers - 1));
    return put_grids(c, node, l);
}

/* Elements keep their order: nothing to make. */
static bl_status lower_view(chain *c, const bl_node *node)
{
    (void)c, (void)node;
    return BL_OK;
}

/* ------------------------------------------------------------------ the chain */

static const struct { const char *op; bl_status (*lower)(chain *c, const bl_node *node); } forms[] = {
    { "AveragePool", lower_pool },    { "Conv", lower_conv },           { "Flatten", lower_view },
    { "Gemm", lower_dense },          { "GlobalAveragePool", lower_global_pool }, { "GlobalMaxPool", lower_global_pool },
    { "Identity", lower_view },       { "MatMul", lower_dense },        { "MaxPool", lower_pool },
    { "Reshape", lower_view },        { "Squeeze", lower_view },        { "Unsqueeze", lower_view },
};

static bl_status lower_node(chain *c, const bl_node *node)
{
    if (node->in[0] != c->value || c->g->values[c->value].n_readers != 1 || (c->g->values[c->value].is_output))
        return refuse(c, node->name, "the network branches here");
    for (size_t i = 0; i < BL_COUNTOF(forms); i++)
        if (!strcmp(forms[i].op, node->op->name)) {
            c->value = node->out[0];
            return forms[i].lower(c, node);
        }
    return refuse(c, node->name, "%s has no form in hardware", node->op->name);
}

static bool has_form(const char *op)
{
    for (size_t i = 0; i < BL_COUNTOF(forms); i++)
        if (!strcmp(forms[i].op, op)) return true;
    return false;
}

/* All operators without a form at once, each with its number. */
static bl_status refuse_all(const chain *c)
{
    const bl_graph *g = c->g;
    char list[192] = "";
    size_t at = 0;
    for (int i = 0; i < g->n_nodes && at < sizeof list - 1; i++) {
        const char *op = g->nodes[i].op->name;
        int n = 0;
        bool first = !has_form(op);
        for (int k = 0; k < i && first; k++) first = strcmp(g->nodes[k].op->name, op) != 0;
        if (!first) continue;
        for (int k = i; k < g->n_nodes; k++) n += !strcmp(g->nodes[k].op->name, op);
        int more = snprintf(list + at, sizeof list - at, "%s%d %s", at ? ", " : "", n, op);
        at += (size_t)BL_MAX(more, 0);
    }
    return at ? refuse(c, g->source, "no form in hardware for: %s", list) : BL_OK;
}

static bl_status set_input(chain *c)
{
    bl_fixed_grid g;
    BL_TRY(grid_of(c, c->value, NULL, &g));
    for (int64_t i = 0; i < c->net->n_in; i++) c->net->in[i] = g;
    c->net->in_round = BL_RND_CONV;
    c->net->in_overflow = BL_SAT;
    return BL_OK;
}

static bl_status lower_all(chain *c)
{
    const bl_graph *g = c->g;
    BL_TRY(set_input(c));
    for (int i = 0; i < g->n_nodes; i++) BL_TRY(lower_node(c, &g->nodes[i]));
    if (!c->n_layers || c->value != g->outputs[0]) return refuse(c, g->source, "no layers, or outputs inside");
    c->net->n_layers = c->n_layers;
    return bl_fixed_check(c->ctx, c->net->name, c->net);
}

bl_status bl_fixed_lower(bl_ctx *ctx, const bl_graph *graph, const bl_plan *plan, const bl_weights *weights, bl_fixed_net **out)
{
    chain c = { .ctx = ctx, .g = graph, .plan = plan, .weights = weights, .value = graph->n_inputs ? graph->inputs[0] : -1 };
    BL_TRY(refuse_all(&c));
    if (graph->n_inputs != 1 || graph->n_outputs != 1 || graph->n_nodes < 1 || graph->n_nodes > BL_FIXED_LAYERS_MAX)
        return refuse(&c, graph->source, "%d inputs, %d outputs, %d nodes", graph->n_inputs, graph->n_outputs, graph->n_nodes);
    const bl_tensor *x = &graph->values[c.value].t;
    int64_t count = bl_tensor_count(x);
    if (x->type != BL_F32 || x->rank < 2 || x->dim[0] != 1 || count > BL_FIXED_ELEMENTS_MAX)
        return refuse(&c, graph->values[c.value].name, "an input that is no single sample");
    int32_t size[3] = { (int32_t)(x->rank == 4 ? x->dim[1] : count), x->rank == 4 ? (int32_t)x->dim[2] : 1,
                        x->rank == 4 ? (int32_t)x->dim[3] : 1 };
    BL_TRY(bl_fixed_new(ctx, bl_path_base(graph->source), graph->n_nodes, size, &c.net));
    c.scratch = bl_arena_new(ctx, "fixed lowering");
    bl_status st = c.scratch ? lower_all(&c) : bl_pending(ctx);
    bl_arena_free(c.scratch);
    if (st != BL_OK) bl_fixed_free(c.net);
    else *out = c.net;
    return st;
}
