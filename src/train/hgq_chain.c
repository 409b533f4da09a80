/* SPDX-License-Identifier: BSD-3-Clause */
/* Which networks HGQ trains: one chain of layers, read from a graph or from a list of sizes. */
#include "train/hgq_private.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ "16-64-32-32-26" */

enum { SIZE_MAX_HERE = 1 << 16 };

/* The next size, or 0. */
static int32_t next_size(const char **text)
{
    char *end;
    long n = strtol(*text, &end, 10);
    if (end == *text || **text < '0' || **text > '9' || n < 1 || n > SIZE_MAX_HERE || (*end && *end != '-')) return 0;
    *text = *end ? end + 1 : end;
    return (int32_t)n;
}

const bl_hgq_network bl_hgq_networks[] = {
#define X(name, sizes, help) { name, sizes, help },
#include "train/hgq_networks.def"
#undef X
};
const size_t bl_n_hgq_networks = BL_COUNTOF(bl_hgq_networks);

const char *bl_hgq_network_sizes(const char *name)
{
    for (size_t i = 0; i < bl_n_hgq_networks; i++)
        if (!strcmp(bl_hgq_networks[i].name, name)) return bl_hgq_networks[i].sizes;
    return name;
}

bool bl_hgq_sizes_input(const char *sizes, bl_tensor *input)
{
    int32_t first = next_size(&sizes);
    *input = (bl_tensor){ .type = BL_F32, .rank = 2, .dim = { 1, first } };
    if (!first || !*sizes) return false;
    while (*sizes)
        if (!next_size(&sizes)) return false;
    return true;
}

static bl_hgq_layer dense_layer(int32_t n)
{
    return (bl_hgq_layer){ .kind = BL_FIXED_DENSE, .out_c = n, .out_h = 1, .out_w = 1, .kernel_h = 1, .kernel_w = 1,
                           .stride_h = 1, .stride_w = 1 };
}

static bl_status too_many(bl_hgq *h)
{
    return bl_fail(h->ctx, BL_UNAVAILABLE, "hgq", "give a shorter network", "more than %d layers", BL_FIXED_LAYERS_MAX);
}

bl_status bl_hgq_chain_sizes(bl_hgq *h, const char *sizes)
{
    bl_tensor in;
    if (!bl_hgq_sizes_input(sizes, &in))
        return bl_fail(h->ctx, BL_USAGE, sizes, "write 16-64-32-32-26, or name an ONNX file", "is no list of sizes");
    h->in_c = next_size(&sizes);
    h->in_h = h->in_w = 1;
    while (*sizes) {
        if (h->n_layers == BL_FIXED_LAYERS_MAX) return too_many(h);
        bl_hgq_layer *l = &h->layer[h->n_layers++];
        *l = dense_layer(next_size(&sizes));
        BL_ALLOC_TRY(h->ctx, l->name = bl_format(h->arena, "dense%d", h->n_layers));
        l->relu = *sizes != 0;
    }
    return BL_OK;
}

/* ------------------------------------------------------------------ a graph */

typedef struct chain {
    bl_hgq *h;
    const bl_graph *g;
    bl_hgq_source *source;
    const bl_node *node;
    int32_t c, height, width;   /* of what flows */
} chain;

static bl_status refuse(const chain *c, const char *what)
{
    char place[256];
    snprintf(place, sizeof place, "node \"%.150s\" (%.60s)", c->node->name, c->node->op->name);
    return bl_fail(c->h->ctx, BL_UNAVAILABLE, place,
                   "HGQ trains chains of Gemm, MatMul, Conv, Relu, MaxPool, AveragePool and Flatten", "%s", what);
}

static const bl_tensor *constant(const chain *c, int input)
{
    int v = input < c->node->n_in ? c->node->in[input] : -1;
    const bl_tensor *t = v >= 0 ? &c->g->values[v].t : NULL;
    return t && t->data && t->type == BL_F32 ? t : NULL;
}

/* A size of the output, from the graph's own shapes. */
static bl_status sizes_of(const chain *c, int32_t out[3])
{
    const bl_tensor *t = &c->g->values[c->node->out[0]].t;
    for (int i = 1; i < t->rank; i++)
        if (t->dim[i] < 1 || t->dim[i] > BL_FIXED_ELEMENTS_MAX) return refuse(c, "has an output of no usable size");
    out[0] = out[1] = out[2] = 1;
    for (int i = 1; i < t->rank && i < 4; i++) out[i - 1] = (int32_t)t->dim[i];
    return t->rank >= 2 && t->rank <= 4 ? BL_OK : refuse(c, "has neither rank 2 nor 4");
}

static int32_t pair(const bl_attr *a, size_t which, int32_t otherwise)
{
    return a && which < a->n && a->ints[which] >= 0 && a->ints[which] <= BL_FIXED_ELEMENTS_MAX ? (int32_t)a->ints[which] : otherwise;
}

static bl_status window(chain *c, bl_hgq_layer *l)
{
    const bl_attr *kernel = bl_node_attr(c->node, "kernel_shape"), *stride = bl_node_attr(c->node, "strides");
    const bl_attr *pads = bl_node_attr(c->node, "pads"), *dilation = bl_node_attr(c->node, "dilations");
    const char *automatic = bl_attr_string(c->node, "auto_pad", "NOTSET");
    int32_t size[3];
    BL_TRY(sizes_of(c, size));
    if (c->g->values[c->node->out[0]].t.rank != 4) return refuse(c, "has not rank 4");
    if (strcmp(automatic, "NOTSET") && strcmp(automatic, "VALID")) return refuse(c, "pads by a rule (auto_pad)");
    for (size_t i = 0; dilation && i < dilation->n; i++)
        if (dilation->ints[i] != 1) return refuse(c, "is dilated");
    l->kernel_h = pair(kernel, 0, 1), l->kernel_w = pair(kernel, 1, 1);
    l->stride_h = pair(stride, 0, 1), l->stride_w = pair(stride, 1, 1);
    l->pad_top = pair(pads, 0, 0), l->pad_left = pair(pads, 1, 0);
    l->out_c = size[0], l->out_h = size[1], l->out_w = size[2];
    return BL_OK;
}

static bl_status convolution(chain *c, bl_hgq_layer *l)
{
    const bl_tensor *w = constant(c, 1);
    l->kind = BL_FIXED_CONV;
    if (!w || w->rank != 4) return refuse(c, "has no constant weights of rank 4");
    if (bl_attr_int(c->node, "group", 1) != 1) return refuse(c, "has groups");
    BL_TRY(window(c, l));
    if (w->dim[0] != l->out_c || w->dim[1] != c->c) return refuse(c, "has weights of another shape");
    l->kernel_h = (int32_t)w->dim[2], l->kernel_w = (int32_t)w->dim[3];
    c->source[c->h->n_layers].w = w->data;
    return BL_OK;
}

static bl_status dense(chain *c, bl_hgq_layer *l)
{
    const bl_tensor *w = constant(c, 1);
    bool gemm = !strcmp(c->node->op->name, "Gemm"), turned = gemm && bl_attr_int(c->node, "transB", 0);
    int64_t in = (int64_t)c->c * c->height * c->width;
    if (!w || w->rank != 2) return refuse(c, "has no constant weights of rank 2");
    if (gemm && (bl_attr_float(c->node, "alpha", 1) != 1 || bl_attr_float(c->node, "beta", 1) != 1 || bl_attr_int(c->node, "transA", 0)))
        return refuse(c, "has factors, or turns its input");
    if (w->dim[turned ? 1 : 0] != in || w->dim[turned ? 0 : 1] > SIZE_MAX_HERE || c->g->values[c->node->out[0]].t.rank != 2)
        return refuse(c, "has weights of another shape");
    *l = dense_layer((int32_t)w->dim[turned ? 0 : 1]);
    c->source[c->h->n_layers] = (bl_hgq_source){ .w = w->data, .by_output = turned };
    return BL_OK;
}

static bl_status pool(chain *c, bl_hgq_layer *l)
{
    const char *op = c->node->op->name;
    l->kind = strcmp(op, "MaxPool") ? BL_FIXED_AVERAGE_POOL : BL_FIXED_MAX_POOL;
    BL_TRY(window(c, l));
    if (!strcmp(op, "GlobalAveragePool")) l->kernel_h = c->height, l->kernel_w = c->width;
    int32_t n = l->kernel_h * l->kernel_w;
    if (l->kind == BL_FIXED_AVERAGE_POOL && ((n & (n - 1)) || l->pad_top || l->pad_left ||
                                             (l->out_h - 1) * l->stride_h + l->kernel_h > c->height ||
                                             (l->out_w - 1) * l->stride_w + l->kernel_w > c->width))
        return refuse(c, "averages a number of elements that is no power of two, or pads");
    return BL_OK;
}

static bl_status bias(chain *c, bl_hgq_layer *l)
{
    const bl_tensor *b = constant(c, 2);
    if (c->node->n_in < 3 || c->node->in[2] < 0) return BL_OK;
    if (!b || bl_tensor_count(b) != l->out_c) return refuse(c, "has a bias that is not constant, one for each output");
    c->source[c->h->n_layers].b = b->data;
    return BL_OK;
}

static bl_status activation(const chain *c, bl_hgq_layer *l)
{
    if (c->node->lo == 0 && isinf(c->node->hi)) l->relu = true;
    else if (bl_node_clamps(c->node)) return refuse(c, "is followed by an activation that is not Relu");
    return BL_OK;
}

static bl_status add_node(chain *c)
{
    bl_hgq *h = c->h;
    const char *op = c->node->op->name;
    bl_hgq_layer *l = &h->layer[h->n_layers];
    int32_t size[3];
    if (!strcmp(op, "Softmax") || !strcmp(op, "LogSoftmax") || !strcmp(op, "Identity") || !strcmp(op, "Dropout")) return BL_OK;
    if (!strcmp(op, "Flatten") || !strcmp(op, "Reshape")) {
        const bl_tensor *t = &c->g->values[c->node->out[0]].t;
        return t->rank == 2 && t->dim[0] == 1 ? BL_OK : refuse(c, "does more than flatten");
    }
    if (!strcmp(op, "Relu")) {
        if (!h->n_layers || l[-1].kind == BL_FIXED_MAX_POOL || l[-1].kind == BL_FIXED_AVERAGE_POOL)
            return refuse(c, "follows no layer");
        l[-1].relu = true;
        return BL_OK;
    }
    if (h->n_layers == BL_FIXED_LAYERS_MAX) return too_many(h);
    *l = (bl_hgq_layer){ .name = c->node->name };
    if (!strcmp(op, "Conv")) BL_TRY(convolution(c, l));
    else if (!strcmp(op, "Gemm") || !strcmp(op, "MatMul")) BL_TRY(dense(c, l));
    else if (!strcmp(op, "MaxPool") || !strcmp(op, "AveragePool") || !strcmp(op, "GlobalAveragePool")) BL_TRY(pool(c, l));
    else return refuse(c, "is no operator of such a chain");
    BL_ALLOC_TRY(h->ctx, l->name = bl_strdup(h->arena, c->node->name));
    if (l->kind == BL_FIXED_DENSE || l->kind == BL_FIXED_CONV) BL_TRY(bias(c, l));
    BL_TRY(activation(c, l));
    BL_TRY(sizes_of(c, size));
    c->c = l->out_c, c->height = l->out_h, c->width = l->out_w;
    h->n_layers++;
    return BL_OK;
}

bl_status bl_hgq_chain(bl_hgq *h, const bl_graph *graph, bl_hgq_source *source)
{
    chain c = { .h = h, .g = graph, .source = source };
    if (graph->n_inputs != 1 || graph->n_outputs < 1)
        return bl_fail(h->ctx, BL_UNAVAILABLE, graph->source, "give a network with one input", "has %d inputs", graph->n_inputs);
    const bl_tensor *in = &graph->values[graph->inputs[0]].t;
    if (in->rank != 2 && in->rank != 4)
        return bl_fail(h->ctx, BL_UNAVAILABLE, graph->source, "give one of rank 2 or 4", "its input has rank %d", in->rank);
    h->in_c = c.c = (int32_t)in->dim[1];
    h->in_h = c.height = in->rank == 4 ? (int32_t)in->dim[2] : 1;
    h->in_w = c.width = in->rank == 4 ? (int32_t)in->dim[3] : 1;
    int flows = graph->inputs[0];
    for (int n = 0; n < graph->n_nodes; n++) {
        c.node = &graph->nodes[n];
        if (c.node->n_in < 1 || c.node->in[0] != flows) return refuse(&c, "does not follow the node before it");
        BL_TRY(add_node(&c));
        flows = c.node->out[0];
    }
    const bl_hgq_layer *last = h->n_layers ? &h->layer[h->n_layers - 1] : NULL;
    if (!last || last->kind != BL_FIXED_DENSE || last->relu)
        return bl_fail(h->ctx, BL_UNAVAILABLE, graph->source, "end it with a Gemm or MatMul that gives the classes' scores",
                       "does not end with a dense layer without activation");
    return BL_OK;
}
