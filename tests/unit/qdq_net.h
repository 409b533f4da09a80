/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * For the tests of the QDQ exporter: small networks by hand with their plans, and reading back what
 * was written.
 */
#ifndef BL_TEST_QDQ_NET_H
#define BL_TEST_QDQ_NET_H

#include "support.h"

#include "emit/emit.h"
#include "onnx.pb-c.h"

#include <math.h>

/* ------------------------------------------------------------------ networks by hand */

#define MOST 32

typedef struct net {
    bl_ctx *ctx;
    bl_arena *arena;
    bl_graph g;
    bl_plan p;
    char folder[256], path[300];
} net;

static inline net *net_new(void)
{
    bl_ctx *ctx = test_ctx(1, 0);
    bl_arena *arena = bl_arena_new(ctx, "test");
    net *t = BL_NEW(arena, net, 1);
    assert_non_null(t);
    t->ctx = ctx;
    t->arena = arena;
    t->g = (bl_graph){ .arena = arena, .source = "/home/someone/net.onnx", .name = "net",
                       .producer = "", .ir_version = 8, .opset = 13, .prepared = true, .batch = 1 };
    t->g.values = BL_NEW(arena, bl_value, MOST);
    t->g.nodes = BL_NEW(arena, bl_node, MOST);
    t->g.inputs = BL_NEW(arena, int, MOST);
    t->g.outputs = BL_NEW(arena, int, MOST);
    t->p = (bl_plan){ .arena = arena, .recipe = "uniform", .seed = 7, .feasible = true };
    t->p.quantizers = BL_NEW(arena, bl_quantizer, MOST);
    t->p.of_value = BL_NEW(arena, int, MOST);
    for (int i = 0; i < MOST; i++) t->p.of_value[i] = -1;
    snprintf(t->path, sizeof t->path, "%.256s/model.qdq.onnx", test_folder(t->folder));
    return t;
}

static inline void net_free(net *t)
{
    bl_ctx *ctx = t->ctx;
    test_folder_remove(t->folder);
    bl_arena_free(t->arena);
    test_ctx_free(ctx);
}

#define SHAPE(...)                                                                                 \
    (int64_t[]){ __VA_ARGS__ }, (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t))

static inline int add_value(net *t, const char *name, const int64_t *dim, int rank)
{
    bl_value *v = &t->g.values[t->g.n_values];
    *v = (bl_value){ .name = name, .producer = -1, .t = { .type = BL_F32, .rank = rank } };
    memcpy(v->t.dim, dim, (size_t)rank * sizeof *dim);
    return t->g.n_values++;
}

static inline int add_input(net *t, const char *name, const int64_t *dim, int rank)
{
    return t->g.inputs[t->g.n_inputs++] = add_value(t, name, dim, rank);
}

/* A constant whose numbers repeat a short pattern around zero. */
static inline int add_constant(net *t, const char *name, const int64_t *dim, int rank)
{
    int v = add_value(t, name, dim, rank);
    int64_t n = bl_tensor_count(&t->g.values[v].t);
    float *x = BL_NEW(t->arena, float, (size_t)n);
    for (int64_t i = 0; i < n; i++) x[i] = (float)((i * 37 + 11) % 101 - 50) / 60.0f;
    t->g.values[v].t.data = x;
    return v;
}

static inline bl_node *add_node(net *t, const char *op, const char *name, int out, int n_in, const int *in)
{
    bl_node *n = &t->g.nodes[t->g.n_nodes++];
    int *ports = BL_NEW(t->arena, int, (size_t)n_in + 1);
    memcpy(ports, in, (size_t)n_in * sizeof *in);
    ports[n_in] = out;
    *n = (bl_node){ .op = bl_op_find("", op), .name = name, .domain = "", .opset = t->g.opset,
                    .n_in = n_in, .n_out = 1, .in = ports, .out = ports + n_in, .lo = -INFINITY,
                    .hi = INFINITY };
    assert_non_null(n->op);
    return n;
}
#define IN(...) (int)(sizeof((int[]){ __VA_ARGS__ }) / sizeof(int)), (int[]){ __VA_ARGS__ }

static inline void set_attrs(net *t, bl_node *n, int n_attr, const bl_attr *attr)
{
    bl_attr *copy = BL_NEW(t->arena, bl_attr, (size_t)n_attr);
    memcpy(copy, attr, (size_t)n_attr * sizeof *attr);
    n->attr = copy;
    n->n_attr = n_attr;
}

static inline bl_quantizer *quantize(net *t, int v, int bits, float scale, int zero)
{
    bl_quantizer *q = &t->p.quantizers[t->p.n_quantizers];
    *q = (bl_quantizer){ .kind = BL_Q_AFFINE, .value = v, .bits = bits, .axis = -1, .n_scale = 1,
                         .zero = zero };
    q->scale = BL_NEW(t->arena, float, 1);
    q->scale[0] = scale;
    t->p.of_value[v] = t->p.n_quantizers++;
    return q;
}

static inline bl_quantizer *quantize_weight(net *t, int v, int bits, int axis, float first)
{
    bl_quantizer *q = quantize(t, v, bits, first, 0);
    q->weight = true;
    q->axis = axis;
    q->n_scale = axis < 0 ? 1 : (int)t->g.values[v].t.dim[axis];
    q->scale = BL_NEW(t->arena, float, (size_t)q->n_scale);
    for (int c = 0; c < q->n_scale; c++) q->scale[c] = first * (1.0f + 0.1f * (float)c);
    return q;
}

static inline void finish(net *t, int output)
{
    t->g.outputs[t->g.n_outputs++] = output;
    assert_ok(t->ctx, bl_graph_finish(t->ctx, &t->g));
    t->p.graph = t->g.hash;
    t->p.hash = bl_hash_of("plan", 4);
}

/* ------------------------------------------------------------------ reading back */

static inline Onnx__ModelProto *export(net *t, const bl_export_options *options)
{
    bl_map map;
    assert_ok(t->ctx, bl_export_qdq(t->ctx, &t->g, &t->p, NULL, options, t->path));
    assert_ok(t->ctx, bl_map_file(t->ctx, t->path, 0, &map));
    Onnx__ModelProto *m = onnx__model_proto__unpack(NULL, map.size, map.data);
    bl_unmap(&map);
    assert_non_null(m);
    return m;
}

/* The node that gives this tensor. */
static inline const Onnx__NodeProto *giver(const Onnx__ModelProto *m, const char *tensor)
{
    for (size_t i = 0; i < m->graph->n_node; i++)
        for (size_t k = 0; k < m->graph->node[i]->n_output; k++)
            if (!strcmp(m->graph->node[i]->output[k], tensor)) return m->graph->node[i];
    fail_msg("nothing gives \"%s\"", tensor);
    return NULL;
}

static inline const Onnx__TensorProto *initializer(const Onnx__ModelProto *m, const char *name)
{
    for (size_t i = 0; i < m->graph->n_initializer; i++)
        if (!strcmp(m->graph->initializer[i]->name, name)) return m->graph->initializer[i];
    fail_msg("no initializer \"%s\"", name);
    return NULL;
}

static inline size_t count_ops(const Onnx__ModelProto *m, const char *op)
{
    size_t n = 0;
    for (size_t i = 0; i < m->graph->n_node; i++) n += !strcmp(m->graph->node[i]->op_type, op);
    return n;
}

static inline float scalar(const Onnx__ModelProto *m, const char *name)
{
    float v;
    const Onnx__TensorProto *t = initializer(m, name);
    assert_int_equal(t->data_type, BL_F32);
    assert_int_equal(t->raw_data.len, sizeof v);
    memcpy(&v, t->raw_data.data, sizeof v);
    return v;
}

static inline int64_t attr_int(const Onnx__NodeProto *n, const char *name)
{
    for (size_t i = 0; i < n->n_attribute; i++)
        if (!strcmp(n->attribute[i]->name, name)) {
            assert_int_equal(n->attribute[i]->type, BL_ATTR_INT);
            return n->attribute[i]->i;
        }
    return -1000;
}

/* tensor <- op <- ... : its giver is `op`, whose input 0 comes back. */
static inline const char *behind(const Onnx__ModelProto *m, const char *tensor, const char *op)
{
    const Onnx__NodeProto *n = giver(m, tensor);
    assert_string_equal(n->op_type, op);
    return n->input[0];
}

static inline const char *property(const Onnx__ModelProto *m, const char *key)
{
    for (size_t i = 0; i < m->n_metadata_props; i++)
        if (!strcmp(m->metadata_props[i]->key, key)) return m->metadata_props[i]->value;
    fail_msg("no property \"%s\"", key);
    return NULL;
}

/* Every tensor that is read is given by one thing, names of nodes differ. */
static inline void check_wires(const Onnx__ModelProto *m)
{
    const Onnx__GraphProto *g = m->graph;
    for (size_t i = 0; i < g->n_node; i++) {
        for (size_t k = 0; k < g->node[i]->n_input; k++) {
            const char *name = g->node[i]->input[k];
            size_t from = !*name;
            for (size_t j = 0; j < g->n_initializer; j++)
                from += !strcmp(g->initializer[j]->name, name);
            for (size_t j = 0; j < g->n_input; j++) from += !strcmp(g->input[j]->name, name);
            for (size_t j = 0; j < i; j++)
                for (size_t o = 0; o < g->node[j]->n_output; o++)
                    from += !strcmp(g->node[j]->output[o], name);
            if (from != 1) fail_msg("%s: %zu things give \"%s\"", g->node[i]->name, from, name);
        }
        for (size_t j = 0; j < i; j++) assert_string_not_equal(g->node[i]->name, g->node[j]->name);
    }
}

/* ------------------------------------------------------------------ one convolution */

enum { X, W, B, Y };

static inline net *conv_net(int zero_out, int bits_out)
{
    net *t = net_new();
    add_input(t, "x", SHAPE(1, 3, 8, 8));
    add_constant(t, "w", SHAPE(4, 3, 3, 3));
    add_constant(t, "b", SHAPE(4));
    add_value(t, "y", SHAPE(1, 4, 6, 6));
    add_node(t, "Conv", "y", Y, IN(X, W, B)); /* a node named like its output */
    quantize(t, X, 8, 0.02f, 131);
    quantize(t, Y, bits_out, 0.03f, zero_out);
    quantize_weight(t, W, 8, 0, 0.007f);
    return t;
}

#endif
