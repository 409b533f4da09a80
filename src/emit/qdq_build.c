/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A model under construction: unique names, nodes, initializers, ports, and the finished bytes.
 * Knows ONNX's messages (onnx.proto, by protobuf-c) and nothing of quantization.  A failure sticks
 * in q->status, so that callers may go on and ask once.
 */
#include "emit/qdq_private.h"

#include <stdio.h>
#include <string.h>

/* ONNX's own ceiling: a protobuf message is smaller than 2 GiB. */
#define MODEL_BYTES_MAX ((size_t)INT32_MAX)
#define ONNX_INT4 22 /* TensorProto.INT4, since IR 10 */

void *bl_qdq_alloc(bl_qdq *q, size_t count, size_t size)
{
    if (q->status != BL_OK) return NULL;
    void *p = bl_alloc(q->arena, count, size);
    if (!p) q->status = bl_pending(q->ctx);
    return p;
}

static bool append(bl_qdq *q, bl_qdq_list *list, void *item)
{
    if (list->n == list->capacity) {
        size_t wider = list->capacity ? 2 * list->capacity : 64;
        void **grown = bl_qdq_alloc(q, wider, sizeof *grown);
        if (!grown) return false;
        if (list->n) memcpy(grown, list->item, list->n * sizeof *grown);
        list->item = grown;
        list->capacity = wider;
    }
    list->item[list->n++] = item;
    return true;
}

/* Protobuf structures want writable text; nothing writes it. */
static char *text(const char *s)
{
    return (char *)(uintptr_t)s;
}

static void *bytes_of(const void *p)
{
    return (void *)(uintptr_t)p;
}

/* ------------------------------------------------------------------ names */

/* Place of a name in the table: its own or the free one where it would go. */
static size_t name_slot(const bl_qdq_names *names, const char *name)
{
    size_t mask = names->capacity - 1, i = (size_t)bl_checksum(name, strlen(name)) & mask;
    while (names->taken[i] && strcmp(names->taken[i], name) != 0) i = (i + 1) & mask;
    return i;
}

static bool names_grow(bl_qdq *q, bl_qdq_names *names)
{
    bl_qdq_names old = *names;
    size_t wider = old.capacity ? 2 * old.capacity : 256;
    const char **grown = bl_qdq_alloc(q, wider, sizeof *grown);
    if (!grown) return false;
    names->taken = grown;
    names->capacity = wider;
    for (size_t i = 0; i < old.capacity; i++)
        if (old.taken[i]) grown[name_slot(names, old.taken[i])] = old.taken[i];
    return true;
}

static const char *unique(bl_qdq *q, bl_qdq_names *names, const char *format, va_list ap)
{
    va_list again;
    if (q->status != BL_OK) return NULL;
    if (2 * names->n >= names->capacity && !names_grow(q, names)) return NULL;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, format, again);
    va_end(again);
    size_t room = (size_t)BL_MAX(n, 0) + 24; /* "_" and 20 digits */
    char *name = bl_qdq_alloc(q, room, 1);
    if (!name) return NULL;
    vsnprintf(name, room, format, ap);
    size_t i = name_slot(names, name);
    for (size_t k = 2; names->taken[i]; k++) {
        snprintf(name + n, room - (size_t)n, "_%zu", k);
        i = name_slot(names, name);
    }
    names->taken[i] = name;
    names->n++;
    return name;
}

const char *bl_qdq_name(bl_qdq *q, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    const char *name = unique(q, &q->tensor_names, format, ap);
    va_end(ap);
    return name;
}

static const char *node_name(bl_qdq *q, const char *format, ...) BL_PRINTF(2, 3);
static const char *node_name(bl_qdq *q, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    const char *name = unique(q, &q->node_names, format, ap);
    va_end(ap);
    return name;
}

void bl_qdq_claim_node(bl_qdq *q, const char *name)
{
    (void)node_name(q, "%s", name);
}

/* ------------------------------------------------------------------ nodes */

Onnx__NodeProto *bl_qdq_node(bl_qdq *q, const char *op, const char *name, const char *const *in,
                             size_t n_in, const char *const *out, size_t n_out)
{
    Onnx__NodeProto *node = bl_qdq_alloc(q, 1, sizeof *node);
    char **ports = bl_qdq_alloc(q, n_in + n_out, sizeof *ports);
    if (node && !name) name = node_name(q, "%s_%s", out[0], op);
    if (!node || !ports || !name) return NULL;
    onnx__node_proto__init(node);
    for (size_t i = 0; i < n_in; i++) ports[i] = text(in[i] ? in[i] : "");
    for (size_t i = 0; i < n_out; i++) ports[n_in + i] = text(out[i] ? out[i] : "");
    node->op_type = text(op);
    node->name = text(name);
    node->n_input = n_in;
    node->input = ports;
    node->n_output = n_out;
    node->output = ports + n_in;
    return append(q, &q->nodes, node) ? node : NULL;
}

static Onnx__TensorProto *tensor_new(bl_qdq *q, const char *name, bl_dtype type, int rank,
                                     const int64_t *dim, const void *data)
{
    bl_tensor t = { .type = type, .rank = rank };
    Onnx__TensorProto *p = bl_qdq_alloc(q, 1, sizeof *p);
    int64_t *dims = bl_qdq_alloc(q, (size_t)rank, sizeof *dims);
    if (!p || !dims) return NULL;
    if (bl_dtype_bytes(type) == 0) {
        q->status = bl_fail(q->ctx, BL_UNAVAILABLE, name, "",
                            "a constant of type %s cannot be exported", bl_dtype_name(type));
        return NULL;
    }
    if (rank) {
        memcpy(t.dim, dim, (size_t)rank * sizeof *dim);
        memcpy(dims, dim, (size_t)rank * sizeof *dim);
    }
    onnx__tensor_proto__init(p);
    p->name = text(name);
    p->n_dims = (size_t)rank;
    p->dims = dims;
    p->has_data_type = 1;
    p->data_type = (int32_t)type;
    p->has_raw_data = 1;
    p->raw_data.data = bytes_of(data); /* little endian in memory and file alike */
    p->raw_data.len = bl_tensor_bytes(&t);
    return p;
}

static Onnx__AttributeProto *attribute_new(bl_qdq *q, Onnx__NodeProto *node, const char *name,
                                           bl_attr_type type)
{
    Onnx__AttributeProto *a = bl_qdq_alloc(q, 1, sizeof *a);
    Onnx__AttributeProto **all = bl_qdq_alloc(q, node->n_attribute + 1, sizeof *all);
    if (!a || !all) return NULL;
    onnx__attribute_proto__init(a);
    a->name = text(name);
    a->has_type = 1;
    a->type = (int32_t)type;
    if (node->n_attribute) memcpy(all, node->attribute, node->n_attribute * sizeof *all);
    all[node->n_attribute++] = a;
    node->attribute = all;
    return a;
}

void bl_qdq_attr_int(bl_qdq *q, Onnx__NodeProto *node, const char *name, int64_t v)
{
    Onnx__AttributeProto *a = node ? attribute_new(q, node, name, BL_ATTR_INT) : NULL;
    if (!a) return;
    a->has_i = 1;
    a->i = v;
}

static void set_strings(bl_qdq *q, Onnx__AttributeProto *a, const bl_attr *attr)
{
    a->strings = bl_qdq_alloc(q, attr->n, sizeof *a->strings);
    if (!a->strings) return;
    a->n_strings = attr->n;
    for (size_t i = 0; i < attr->n; i++) {
        a->strings[i].data = bytes_of(attr->strings[i]);
        a->strings[i].len = strlen(attr->strings[i]);
    }
}

void bl_qdq_attr(bl_qdq *q, Onnx__NodeProto *node, const bl_attr *attr)
{
    Onnx__AttributeProto *a = node ? attribute_new(q, node, attr->name, attr->type) : NULL;
    if (!a) return;
    switch (attr->type) {
    case BL_ATTR_FLOAT: a->has_f = 1; a->f = attr->f; break;
    case BL_ATTR_INT: a->has_i = 1; a->i = attr->i; break;
    case BL_ATTR_STRING:
        a->has_s = 1;
        a->s.data = bytes_of(attr->s);
        a->s.len = attr->s_len;
        break;
    case BL_ATTR_TENSOR:
        a->t = tensor_new(q, attr->name, attr->t.type, attr->t.rank, attr->t.dim, attr->t.data);
        break;
    case BL_ATTR_FLOATS: a->n_floats = attr->n; a->floats = bytes_of(attr->floats); break;
    case BL_ATTR_INTS: a->n_ints = attr->n; a->ints = bytes_of(attr->ints); break;
    case BL_ATTR_STRINGS: set_strings(q, a, attr); break;
    default:
        q->status = bl_fail(q->ctx, BL_UNAVAILABLE, node->name, "",
                            "attribute \"%s\" holds a subgraph, which cannot be exported",
                            attr->name);
    }
}

/* ------------------------------------------------------------------ initializers and ports */

void bl_qdq_tensor(bl_qdq *q, const char *name, bl_dtype type, int rank, const int64_t *dim,
                   const void *data)
{
    if (!name) return;
    Onnx__TensorProto *t = tensor_new(q, name, type, rank, dim, data);
    if (t) append(q, &q->tensors, t);
}

void bl_qdq_tensor_int4(bl_qdq *q, const char *name, int rank, const int64_t *dim, const int8_t *codes)
{
    bl_tensor shape = { .type = BL_I8, .rank = rank };
    if (rank) memcpy(shape.dim, dim, (size_t)rank * sizeof *dim);
    size_t n = (size_t)bl_tensor_count(&shape), bytes = (n + 1) / 2;
    uint8_t *packed = bl_qdq_alloc(q, bytes, 1); /* zeroed: an odd count ends in an empty half */
    Onnx__TensorProto *t = packed && name ? tensor_new(q, name, BL_I8, rank, dim, packed) : NULL;
    if (!t) return;
    for (size_t i = 0; i < n; i++) /* the first of two in the low half */
        packed[i / 2] |= (uint8_t)((codes[i] & 15) << (i % 2 ? 4 : 0));
    t->data_type = ONNX_INT4;
    t->raw_data.len = bytes;
    append(q, &q->tensors, t);
}

const char *bl_qdq_ints(bl_qdq *q, const char *name, const int64_t *v, size_t n)
{
    int64_t *copy = bl_qdq_alloc(q, n, sizeof *copy), dim = (int64_t)n;
    if (!copy || !name) return NULL;
    if (n) memcpy(copy, v, n * sizeof *v);
    bl_qdq_tensor(q, name, BL_I64, 1, &dim, copy);
    return name;
}

const char *bl_qdq_scalar(bl_qdq *q, const char *name, float v)
{
    float *copy = bl_qdq_alloc(q, 1, sizeof *copy);
    if (!copy || !name) return NULL;
    *copy = v;
    bl_qdq_tensor(q, name, BL_F32, 0, NULL, copy);
    return name;
}

static Onnx__TensorShapeProto *shape_new(bl_qdq *q, const bl_tensor *t)
{
    Onnx__TensorShapeProto *s = bl_qdq_alloc(q, 1, sizeof *s);
    Onnx__TensorShapeProto__Dimension *d = bl_qdq_alloc(q, (size_t)t->rank, sizeof *d);
    Onnx__TensorShapeProto__Dimension **dims = bl_qdq_alloc(q, (size_t)t->rank, sizeof *dims);
    if (!s || !d || !dims) return NULL;
    onnx__tensor_shape_proto__init(s);
    for (int i = 0; i < t->rank; i++) {
        onnx__tensor_shape_proto__dimension__init(&d[i]);
        if (i == 0 && q->free_batch) {
            d[i].dim_param = text("N");
        } else {
            d[i].has_dim_value = 1;
            d[i].dim_value = t->dim[i];
        }
        dims[i] = &d[i];
    }
    s->n_dim = (size_t)t->rank;
    s->dim = dims;
    return s;
}

void bl_qdq_port(bl_qdq *q, bl_qdq_list *ports, const char *name, bl_dtype type, const bl_tensor *t)
{
    Onnx__ValueInfoProto *v = bl_qdq_alloc(q, 1, sizeof *v);
    Onnx__TypeProto *tp = bl_qdq_alloc(q, 1, sizeof *tp);
    Onnx__TypeProto__Tensor *tt = bl_qdq_alloc(q, 1, sizeof *tt);
    if (!v || !tp || !tt || !name) return;
    onnx__value_info_proto__init(v);
    onnx__type_proto__init(tp);
    onnx__type_proto__tensor__init(tt);
    tt->has_elem_type = 1;
    tt->elem_type = (int32_t)type;
    if (t) tt->shape = shape_new(q, t);
    tp->tensor_type = tt;
    v->name = text(name);
    v->type = tp;
    append(q, ports, v);
}

void bl_qdq_join(bl_qdq *q, bl_qdq_list *to, const bl_qdq_list *from)
{
    for (size_t i = 0; i < from->n; i++) append(q, to, from->item[i]);
}

void bl_qdq_property(bl_qdq *q, const char *key, const char *value)
{
    Onnx__StringStringEntryProto *e = bl_qdq_alloc(q, 1, sizeof *e);
    if (!e || !value) return;
    onnx__string_string_entry_proto__init(e);
    e->key = text(key);
    e->value = text(value);
    append(q, &q->properties, e);
}

/* ------------------------------------------------------------------ the file */

bl_status bl_qdq_write(bl_qdq *q, const char *path)
{
    Onnx__GraphProto graph = ONNX__GRAPH_PROTO__INIT;
    Onnx__ModelProto model = ONNX__MODEL_PROTO__INIT;
    Onnx__OperatorSetIdProto opset = ONNX__OPERATOR_SET_ID_PROTO__INIT, *opsets[] = { &opset };

    if (q->status != BL_OK) return q->status;
    graph.name = text(q->graph->name && *q->graph->name ? q->graph->name : "network");
    graph.n_node = q->nodes.n;
    graph.node = (Onnx__NodeProto **)q->nodes.item;
    graph.n_initializer = q->tensors.n;
    graph.initializer = (Onnx__TensorProto **)q->tensors.item;
    graph.n_input = q->inputs.n;
    graph.input = (Onnx__ValueInfoProto **)q->inputs.item;
    graph.n_output = q->outputs.n;
    graph.output = (Onnx__ValueInfoProto **)q->outputs.item;
    opset.domain = text("");
    opset.has_version = 1;
    opset.version = q->opset;
    model.has_ir_version = 1;
    model.ir_version = q->opset >= 21 ? 10 : q->opset >= 19 ? 9 : 8; /* as ONNX released them */
    model.producer_name = text("bitlathe");
    model.producer_version = text(BL_VERSION_STRING);
    model.graph = &graph;
    model.n_opset_import = 1;
    model.opset_import = opsets;
    model.n_metadata_props = q->properties.n;
    model.metadata_props = (Onnx__StringStringEntryProto **)q->properties.item;

    size_t size = onnx__model_proto__get_packed_size(&model);
    if (size > MODEL_BYTES_MAX)
        return bl_fail(q->ctx, BL_UNAVAILABLE, path, "",
                       "the model needs %zu bytes, an ONNX file holds %zu", size, MODEL_BYTES_MAX);
    uint8_t *bytes = bl_qdq_alloc(q, size, 1);
    if (!bytes) return q->status;
    onnx__model_proto__pack(&model, bytes);
    return bl_write_file(q->ctx, path, bytes, size);
}
