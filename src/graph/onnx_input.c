/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What flows into the network: inputs that are no initializers, and a number for each of their free
 * dimensions.  A dimension is free when the file gives it a name, nothing, or a negative number (as
 * some exporters do).
 */
#include "graph/onnx_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct binding {
    const char *name;
    int64_t size;
    bool used;
} binding;

typedef struct bindings {
    binding *item;
    size_t n;
    bl_names index;
} bindings;

typedef Onnx__TensorShapeProto__Dimension dimension;

static binding *find_binding(const bindings *b, const char *name)
{
    int i = bl_names_find(&b->index, name);
    return i < 0 ? NULL : &b->item[i];
}

static bl_status add_binding(bindings *b, binding item, int *taken)
{
    BL_TRY(bl_names_add(&b->index, item.name, (int)b->n, taken));
    if (*taken < 0) b->item[b->n++] = item;
    return BL_OK;
}

static bool is_free(const dimension *d)
{
    return !d->has_dim_value || d->dim_value < 0;
}

static const char *own_name(const dimension *d)
{
    return d->dim_param && *d->dim_param ? d->dim_param : NULL;
}

static bool is_real_input(const bl_onnx *in, const Onnx__ValueInfoProto *v)
{
    return !v->name || bl_names_find(&in->values, v->name) < 0;
}

/* Type and rank; a sentence for everything that is no tensor of known rank. */
static bl_status check_type(bl_onnx *in, const Onnx__ValueInfoProto *v, const char *subject,
                            bl_dtype *type)
{
    const Onnx__TypeProto *t = v->type;
    if (!v->name || !*v->name)
        return bl_onnx_fail(in, BL_DATA, subject, BL_ONNX_DAMAGED, "has no name");
    if (t && !t->tensor_type && (t->sequence_type || t->map_type || t->optional_type ||
                                 t->sparse_tensor_type || t->opaque_type))
        return bl_onnx_fail(in, BL_UNAVAILABLE, subject, "export the network with tensors only",
                            "is not a dense tensor");
    if (!t || !t->tensor_type)
        return bl_onnx_fail(in, BL_DATA, subject, BL_ONNX_DAMAGED, "has no type");
    int32_t code = t->tensor_type->elem_type;
    const char *name = bl_onnx_dtype_name(code);
    if (!name || code == 0)
        return bl_onnx_fail(in, BL_DATA, subject, BL_ONNX_DAMAGED,
                            "has the element type %d, which the format does not know", (int)code);
    if (!bl_onnx_dtype(code, type))
        return bl_onnx_fail(in, BL_UNAVAILABLE, subject, "export the network in float32",
                            "has the unsupported element type %s", name);
    if (bl_onnx_is_half(code)) {
        *type = BL_F32;
        in->widened = true;
    }
    if (!t->tensor_type->shape)
        return bl_onnx_fail(in, BL_UNAVAILABLE, subject, "export the network with input shapes",
                            "its number of dimensions is not known");
    if (t->tensor_type->shape->n_dim > BL_MAX_RANK)
        return bl_onnx_fail(in, BL_UNAVAILABLE, subject, "use fewer dimensions",
                            "has %zu dimensions; at most %d are supported",
                            t->tensor_type->shape->n_dim, BL_MAX_RANK);
    return BL_OK;
}

/* The user's bindings, then 1 for every named first dimension that they leave out. */
static bl_status collect(bl_onnx *in, bindings *b)
{
    const Onnx__GraphProto *g = in->model->graph;
    const bl_import_options *o = in->options;
    size_t n_given = o ? o->n_dims : 0;
    int taken;
    b->item = BL_NEW(in->scratch, binding, n_given + g->n_input);
    BL_ALLOC_TRY(in->ctx, b->item);
    BL_TRY(bl_names_init(&b->index, in->scratch, n_given + g->n_input));
    for (size_t i = 0; i < n_given; i++) {
        const bl_dim_binding *d = &o->dims[i];
        if (d->size < 1 || d->size > INT32_MAX)
            return bl_onnx_fail(in, BL_USAGE, "--dim", "give a size of 1 or more",
                                "%s=%" PRId64 " is no size", d->name, d->size);
        BL_TRY(add_binding(b, (binding){d->name, d->size, false}, &taken));
        if (taken >= 0 && b->item[taken].size != d->size)
            return bl_onnx_fail(in, BL_USAGE, "--dim", "give each name once", "%s is both %" PRId64
                                " and %" PRId64, d->name, b->item[taken].size, d->size);
    }
    for (size_t i = 0; i < g->n_input; i++) {
        const Onnx__ValueInfoProto *v = g->input[i];
        if (!is_real_input(in, v) || !v->type || !v->type->tensor_type ||
            !v->type->tensor_type->shape || v->type->tensor_type->shape->n_dim == 0)
            continue;
        const dimension *d = v->type->tensor_type->shape->dim[0];
        const char *name = own_name(d);
        if (is_free(d) && name) BL_TRY(add_binding(b, (binding){name, 1, true}, &taken));
    }
    return BL_OK;
}

/* Size of one dimension; 0 and its name in `unknown` where nothing says it. */
static bl_status bind(bl_onnx *in, const bindings *b, const Onnx__ValueInfoProto *v, size_t axis,
                      const char *subject, int64_t *size, const char **unknown)
{
    const dimension *d = v->type->tensor_type->shape->dim[axis];
    char *place = bl_format(in->scratch, "%s:%zu", v->name, axis);
    BL_ALLOC_TRY(in->ctx, place);
    binding *by_place = find_binding(b, place);
    binding *by_name = own_name(d) ? find_binding(b, own_name(d)) : NULL;
    if (by_place) by_place->used = true;
    if (by_name) by_name->used = true;
    if (!is_free(d)) {
        *size = d->dim_value;
        if (d->dim_value == 0)
            return bl_onnx_fail(in, BL_UNAVAILABLE, subject, "export the network with a real shape",
                                "dimension %zu is zero", axis);
        if (by_place && by_place->size != d->dim_value)
            return bl_onnx_fail(in, BL_USAGE, subject, "leave out that --dim",
                                "dimension %zu is fixed to %" PRId64, axis, d->dim_value);
    } else if (by_place || by_name)
        *size = by_place ? by_place->size : by_name->size;
    else if (axis == 0)
        *size = 1;
    else {
        *size = 0;
        *unknown = own_name(d) ? own_name(d) : place;
    }
    return BL_OK;
}

/* The unknown dimensions in one message, as far as it has room. */
static bl_status fail_unknown(const bl_onnx *in, const char *const *names, size_t n)
{
    char list[300] = "", remedy[400];
    size_t used_list = 0, used = (size_t)snprintf(remedy, sizeof(remedy), "add");
    for (size_t i = 0; i < BL_MIN(n, (size_t)64); i++) {
        bool seen = false;
        for (size_t k = 0; k < i; k++) seen = seen || strcmp(names[k], names[i]) == 0;
        size_t length = strlen(names[i]);
        if (seen || used_list + length + 8 > sizeof(list) || used + length + 16 > sizeof(remedy))
            continue;
        used_list += (size_t)snprintf(list + used_list, sizeof(list) - used_list, "%s\"%s\"",
                                      used_list ? ", " : "", names[i]);
        used += (size_t)snprintf(remedy + used, sizeof(remedy) - used, " --dim %s=SIZE", names[i]);
    }
    return bl_fail(in->ctx, BL_UNAVAILABLE, in->place, remedy,
                   "inputs have dimensions of unknown size: %s", list);
}

static bl_status add_input(bl_onnx *in, const bindings *b, const Onnx__ValueInfoProto *v,
                           const char **unknown, size_t *n_unknown)
{
    bl_tensor t = {0};
    int64_t count = 1, bytes;
    char *subject = bl_format(in->scratch, "input \"%.100s\"", v->name ? v->name : "");
    BL_ALLOC_TRY(in->ctx, subject);
    BL_TRY(check_type(in, v, subject, &t.type));
    t.rank = (int)v->type->tensor_type->shape->n_dim;
    for (int i = 0; i < t.rank; i++) {
        const char *name = NULL;
        BL_TRY(bind(in, b, v, (size_t)i, subject, &t.dim[i], &name));
        if (name) unknown[(*n_unknown)++] = name;
        if (!bl_mul_i64(count, t.dim[i], &count) || !bl_mul_i64(count, 16, &bytes))
            return bl_onnx_fail(in, BL_DATA, subject, BL_ONNX_DAMAGED, "its dimensions overflow");
    }
    bl_graph *g = in->graph;
    BL_TRY(bl_onnx_value(in, subject, v->name, &t, &g->inputs[g->n_inputs]));
    g->values[g->inputs[g->n_inputs++]].is_input = true;
    return BL_OK;
}

bl_status bl_onnx_inputs(bl_onnx *in)
{
    const Onnx__GraphProto *g = in->model->graph;
    bindings b = {0};
    size_t n_unknown = 0, rank_sum = 1;
    for (size_t i = 0; i < g->n_input; i++) rank_sum += BL_MAX_RANK;
    const char **unknown = BL_NEW(in->scratch, const char *, rank_sum);
    BL_ALLOC_TRY(in->ctx, unknown);
    in->graph->inputs = BL_NEW(in->graph->arena, int, g->n_input);
    BL_ALLOC_TRY(in->ctx, in->graph->inputs);
    BL_TRY(collect(in, &b));
    /* An input listed twice is found by bl_onnx_value: only initializers have names by now. */
    size_t n_constants = (size_t)in->graph->n_values;
    for (size_t i = 0; i < g->n_input; i++) {
        const Onnx__ValueInfoProto *v = g->input[i];
        int known = v->name ? bl_names_find(&in->values, v->name) : -1;
        if (known >= 0 && (size_t)known < n_constants) continue;
        BL_TRY(add_input(in, &b, v, unknown, &n_unknown));
    }
    if (n_unknown > 0) return fail_unknown(in, unknown, n_unknown);
    for (size_t i = 0; i < b.n; i++)
        if (!b.item[i].used)
            bl_note(in->ctx, "%s: no input has a dimension named \"%s\"; --dim %s is not used",
                    in->place, b.item[i].name, b.item[i].name);
    const bl_value *first = in->graph->n_inputs ? &in->graph->values[in->graph->inputs[0]] : NULL;
    in->graph->batch = first && first->t.rank > 0 ? first->t.dim[0] : 1;
    return BL_OK;
}
