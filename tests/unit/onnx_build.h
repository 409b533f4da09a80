/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ONNX models made by hand, as bytes: messages of the generated structs in an arena of their own,
 * then packed.  Tests change the structs in between when they want something odd.
 *
 *     onnx_build *b = ob_new(ctx, 13);
 *     ob_input(b, "x", "N,3,8,8");
 *     ob_floats(b, "w", "4,3,3,3", NULL);          NULL: seeded normal numbers
 *     ob_ints_attr(ob_node(b, "Conv", "x,w", "y"), b, "pads", "1,1,1,1");
 *     ob_output(b, "y");
 *     bytes = ob_pack(b, &size);
 *     ob_free(b);
 */
#ifndef BL_TEST_ONNX_BUILD_H
#define BL_TEST_ONNX_BUILD_H

#include "support.h"

#include "graph/graph.h"
#include "onnx.pb-c.h"

#define OB_MOST 4096 /* of every kind of thing in one model */

typedef struct onnx_build {
    bl_ctx *ctx;
    bl_arena *arena;
    Onnx__ModelProto model;
    Onnx__GraphProto graph;
    Onnx__OperatorSetIdProto opset, *opsets[1];
    uint8_t *bytes;
} onnx_build;

static inline void *ob_alloc(onnx_build *b, size_t n, size_t size)
{
    void *p = bl_alloc(b->arena, n, size);
    assert_non_null(p);
    return p;
}

static inline char *ob_text(onnx_build *b, const char *text)
{
    char *copy = bl_strdup(b->arena, text);
    assert_non_null(copy);
    return copy;
}

static inline onnx_build *ob_new(bl_ctx *ctx, int opset)
{
    bl_arena *arena = bl_arena_new(ctx, "ONNX by hand");
    assert_non_null(arena);
    onnx_build *b = BL_NEW(arena, onnx_build, 1);
    assert_non_null(b);
    b->ctx = ctx;
    b->arena = arena;
    onnx__model_proto__init(&b->model);
    onnx__graph_proto__init(&b->graph);
    onnx__operator_set_id_proto__init(&b->opset);
    b->opset.domain = ob_text(b, "");
    b->opset.has_version = 1;
    b->opset.version = opset;
    b->opsets[0] = &b->opset;
    b->model.has_ir_version = 1;
    b->model.ir_version = 8;
    b->model.producer_name = ob_text(b, "by hand");
    b->model.opset_import = b->opsets;
    b->model.n_opset_import = 1;
    b->model.graph = &b->graph;
    b->graph.name = ob_text(b, "net");
    b->graph.node = ob_alloc(b, OB_MOST, sizeof(void *));
    b->graph.initializer = ob_alloc(b, OB_MOST, sizeof(void *));
    b->graph.input = ob_alloc(b, OB_MOST, sizeof(void *));
    b->graph.output = ob_alloc(b, OB_MOST, sizeof(void *));
    return b;
}

static inline void ob_free(onnx_build *b)
{
    bl_arena_free(b->arena);
}

/* Parts of "a,b,,c": empty parts stay. */
static inline size_t ob_split(onnx_build *b, const char *text, char ***out)
{
    size_t n = 0;
    char **list = ob_alloc(b, strlen(text) + 2, sizeof(char *));
    *out = list;
    if (!*text) return 0;
    for (;;) {
        size_t length = strcspn(text, ",");
        list[n] = bl_strndup(b->arena, text, length);
        assert_non_null(list[n++]);
        if (!text[length]) return n;
        text += length + 1;
    }
}

/* ------------------------------------------------------------------ nodes */

static inline Onnx__NodeProto *ob_node(onnx_build *b, const char *op, const char *inputs,
                                       const char *outputs)
{
    assert_true(b->graph.n_node < OB_MOST);
    Onnx__NodeProto *n = ob_alloc(b, 1, sizeof(*n));
    onnx__node_proto__init(n);
    n->op_type = ob_text(b, op);
    n->n_input = ob_split(b, inputs, &n->input);
    n->n_output = ob_split(b, outputs, &n->output);
    n->attribute = ob_alloc(b, 16, sizeof(void *));
    b->graph.node[b->graph.n_node++] = n;
    return n;
}

static inline Onnx__AttributeProto *ob_attr(Onnx__NodeProto *n, onnx_build *b,
                                            const char *name, int type)
{
    assert_true(n->n_attribute < 16);
    Onnx__AttributeProto *a = ob_alloc(b, 1, sizeof(*a));
    onnx__attribute_proto__init(a);
    a->name = ob_text(b, name);
    a->has_type = 1;
    a->type = type;
    n->attribute[n->n_attribute++] = a;
    return a;
}

static inline void ob_int_attr(Onnx__NodeProto *n, onnx_build *b, const char *name, int64_t v)
{
    Onnx__AttributeProto *a = ob_attr(n, b, name, BL_ATTR_INT);
    a->has_i = 1;
    a->i = v;
}

static inline void ob_float_attr(Onnx__NodeProto *n, onnx_build *b, const char *name, float v)
{
    Onnx__AttributeProto *a = ob_attr(n, b, name, BL_ATTR_FLOAT);
    a->has_f = 1;
    a->f = v;
}

static inline size_t ob_numbers(onnx_build *b, const char *text, int64_t **out)
{
    char **parts;
    size_t n = ob_split(b, text, &parts);
    *out = ob_alloc(b, n, sizeof(int64_t));
    for (size_t i = 0; i < n; i++) (*out)[i] = strtoll(parts[i], NULL, 10);
    return n;
}

static inline void ob_ints_attr(Onnx__NodeProto *n, onnx_build *b, const char *name,
                                const char *list)
{
    Onnx__AttributeProto *a = ob_attr(n, b, name, BL_ATTR_INTS);
    a->n_ints = ob_numbers(b, list, &a->ints);
}

/* ------------------------------------------------------------------ tensors and values */

/* dims "4,3,3,3"; "" is a scalar. */
static inline Onnx__TensorProto *ob_tensor(onnx_build *b, const char *name, int type,
                                           const char *dims)
{
    Onnx__TensorProto *t = ob_alloc(b, 1, sizeof(*t));
    onnx__tensor_proto__init(t);
    t->name = ob_text(b, name);
    t->has_data_type = 1;
    t->data_type = type;
    t->n_dims = ob_numbers(b, dims, &t->dims);
    return t;
}

static inline void ob_raw(onnx_build *b, Onnx__TensorProto *t, const void *data, size_t n)
{
    t->has_raw_data = 1;
    t->raw_data.len = n;
    t->raw_data.data = ob_alloc(b, n, 1);
    if (n > 0) memcpy(t->raw_data.data, data, n);
}

static inline size_t ob_count(const Onnx__TensorProto *t)
{
    size_t n = 1;
    for (size_t i = 0; i < t->n_dims; i++) n *= (size_t)t->dims[i];
    return n;
}

static inline Onnx__TensorProto *ob_constant(onnx_build *b, Onnx__TensorProto *t)
{
    assert_true(b->graph.n_initializer < OB_MOST);
    b->graph.initializer[b->graph.n_initializer++] = t;
    return t;
}

/* A float32 initializer; data NULL: normal numbers that hang on its name alone. */
static inline Onnx__TensorProto *ob_floats(onnx_build *b, const char *name, const char *dims,
                                           const float *data)
{
    Onnx__TensorProto *t = ob_tensor(b, name, BL_F32, dims);
    size_t n = ob_count(t);
    float *own = ob_alloc(b, n, sizeof(float));
    bl_rng r = bl_rng_make(1, name, 0);
    for (size_t i = 0; i < n; i++) own[i] = data ? data[i] : (float)bl_rng_normal(&r);
    ob_raw(b, t, own, n * sizeof(float));
    return ob_constant(b, t);
}

/* Positive numbers, for variances. */
static inline Onnx__TensorProto *ob_positive(onnx_build *b, const char *name, const char *dims)
{
    Onnx__TensorProto *t = ob_floats(b, name, dims, NULL);
    float *p = (float *)t->raw_data.data;
    for (size_t i = 0; i < ob_count(t); i++) p[i] = 0.25f + p[i] * p[i];
    return t;
}

/* An int64 vector "1,-1". */
static inline Onnx__TensorProto *ob_int64s(onnx_build *b, const char *name, const char *numbers)
{
    int64_t *list;
    char dims[24];
    size_t n = ob_numbers(b, numbers, &list);
    snprintf(dims, sizeof(dims), "%zu", n);
    Onnx__TensorProto *t = ob_tensor(b, name, BL_I64, dims);
    ob_raw(b, t, list, n * sizeof(int64_t));
    return ob_constant(b, t);
}

static inline Onnx__ValueInfoProto *ob_value(onnx_build *b, const char *name, int type,
                                             const char *dims)
{
    Onnx__ValueInfoProto *v = ob_alloc(b, 1, sizeof(*v));
    Onnx__TypeProto *outer = ob_alloc(b, 1, sizeof(*outer));
    Onnx__TypeProto__Tensor *tensor = ob_alloc(b, 1, sizeof(*tensor));
    Onnx__TensorShapeProto *shape = ob_alloc(b, 1, sizeof(*shape));
    char **parts;
    onnx__value_info_proto__init(v);
    onnx__type_proto__init(outer);
    onnx__type_proto__tensor__init(tensor);
    onnx__tensor_shape_proto__init(shape);
    v->name = ob_text(b, name);
    v->type = outer;
    outer->tensor_type = tensor;
    tensor->has_elem_type = 1;
    tensor->elem_type = type;
    tensor->shape = shape;
    shape->n_dim = ob_split(b, dims, &parts);
    shape->dim = ob_alloc(b, shape->n_dim, sizeof(void *));
    for (size_t i = 0; i < shape->n_dim; i++) {
        Onnx__TensorShapeProto__Dimension *d = shape->dim[i] = ob_alloc(b, 1, sizeof(*d));
        onnx__tensor_shape_proto__dimension__init(d);
        d->has_dim_value = (*parts[i] >= '0' && *parts[i] <= '9') || *parts[i] == '-';
        if (d->has_dim_value)
            d->dim_value = strtoll(parts[i], NULL, 10);
        else if (*parts[i] && *parts[i] != '?')
            d->dim_param = parts[i];
    }
    return v;
}

/* float32; a dimension is a number, a name, or ? for one without a name. */
static inline Onnx__ValueInfoProto *ob_input(onnx_build *b, const char *name, const char *dims)
{
    assert_true(b->graph.n_input < OB_MOST);
    return b->graph.input[b->graph.n_input++] = ob_value(b, name, BL_F32, dims);
}

static inline void ob_output(onnx_build *b, const char *name)
{
    assert_true(b->graph.n_output < OB_MOST);
    b->graph.output[b->graph.n_output++] = ob_value(b, name, BL_F32, "?");
}

/* Lives until ob_free. */
static inline const uint8_t *ob_pack(onnx_build *b, size_t *size)
{
    size_t n = onnx__model_proto__get_packed_size(&b->model);
    b->bytes = ob_alloc(b, n, 1);
    *size = onnx__model_proto__pack(&b->model, b->bytes);
    assert_int_equal(*size, n);
    return b->bytes;
}

static inline bl_status ob_import(onnx_build *b, bl_graph **out)
{
    size_t size;
    const uint8_t *bytes = ob_pack(b, &size);
    *out = NULL;
    return bl_import_bytes(b->ctx, "by_hand.onnx", bytes, size, NULL, out);
}

/* Imports, prepares, frees the builder. */
static inline bl_graph *ob_prepared(onnx_build *b)
{
    bl_ctx *ctx = b->ctx;
    bl_graph *g = NULL, *p = NULL;
    assert_ok(ctx, ob_import(b, &g));
    assert_ok(ctx, bl_prepare(ctx, g, &p));
    bl_graph_free(g);
    ob_free(b);
    return p;
}

/* ------------------------------------------------------------------ whole small networks */

/* x (N,3,8,8), Conv 3x3, BatchNormalization, Relu, GlobalAveragePool, Flatten, Gemm, y (N,5) */
static inline onnx_build *ob_small_network(bl_ctx *ctx)
{
    onnx_build *b = ob_new(ctx, 13);
    ob_input(b, "x", "N,3,8,8");
    ob_floats(b, "w", "4,3,3,3", NULL);
    ob_floats(b, "gamma", "4", NULL);
    ob_floats(b, "beta", "4", NULL);
    ob_floats(b, "mean", "4", NULL);
    ob_positive(b, "var", "4");
    ob_floats(b, "fc.w", "5,4", NULL);
    ob_floats(b, "fc.b", "5", NULL);
    ob_ints_attr(ob_node(b, "Conv", "x,w", "conv"), b, "pads", "1,1,1,1");
    ob_node(b, "BatchNormalization", "conv,gamma,beta,mean,var", "norm");
    ob_node(b, "Relu", "norm", "relu");
    ob_node(b, "GlobalAveragePool", "relu", "pool");
    ob_node(b, "Flatten", "pool", "flat");
    ob_int_attr(ob_node(b, "Gemm", "flat,fc.w,fc.b", "y"), b, "transB", 1);
    ob_output(b, "y");
    return b;
}

#endif
