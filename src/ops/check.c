/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checks that shape facets share.  A node comes from a foreign file: counts, ranks, types, lists of
 * integers and sizes are believed only after they went through here.
 */
#include "ops/ops_private.h"

/* Largest tensor: its bytes fit 2^47, so counts times small factors never overflow int64. */
#define COUNT_MAX ((int64_t)1 << 44)

static bl_attr_type letter_type(char letter)
{
    switch (letter) {
    case 'f': return BL_ATTR_FLOAT;
    case 'i': return BL_ATTR_INT;
    case 's': return BL_ATTR_STRING;
    case 't': return BL_ATTR_TENSOR;
    case 'F': return BL_ATTR_FLOATS;
    case 'I': return BL_ATTR_INTS;
    default: return BL_ATTR_STRINGS;
    }
}

/* Attribute types against "name:letter name:letter ...". */
static bl_status check_attributes(const bl_call *call, const char *attrs)
{
    for (const char *p = attrs; *p;) {
        size_t len = strcspn(p, ":");
        for (int i = 0; i < call->node->n_attr; i++) {
            const bl_attr *a = &call->node->attr[i];
            if (strncmp(a->name, p, len) == 0 && a->name[len] == 0 &&
                a->type != letter_type(p[len + 1]))
                return bl_op_fail(call, BL_DATA, "repair the model",
                                  "attribute \"%s\" has the wrong type", a->name);
        }
        p += len + 2;
        p += *p == ' ';
    }
    return BL_OK;
}

bl_status bl_op_begin(const bl_call *call, const char *attrs)
{
    const bl_op *op = call->node->op;

    if (call->node->opset < op->min_opset)
        return bl_op_fail(call, BL_UNAVAILABLE, "convert the model to a newer opset",
                          "opset %d is older than %d, the oldest that is understood",
                          call->node->opset, op->min_opset);
    if (call->n_in < op->in_min || call->n_in > op->in_max)
        return bl_op_fail(call, BL_DATA, "repair the model", "has %d inputs, takes %d to %d",
                          call->n_in, op->in_min, op->in_max);
    for (int i = 0; i < op->in_min; i++)
        if (!call->in[i])
            return bl_op_fail(call, BL_DATA, "repair the model", "input %d is missing", i);
    if (call->n_out < 1) return bl_op_fail(call, BL_DATA, "repair the model", "has no output");
    for (int i = op->out_max; i < call->n_out; i++)
        if (call->node->out[i] >= 0)
            return bl_op_fail(call, BL_UNAVAILABLE, "remove that output from the model",
                              "output %d is not supported", i);
    return check_attributes(call, attrs);
}

bool bl_op_has(const bl_call *call, int i)
{
    return i < call->n_in && call->in[i];
}

static bl_status check_type(const bl_call *call, int i, unsigned types)
{
    bl_dtype type = call->in[i]->type;

    if ((unsigned)type >= 32 || !(types & BL_BIT(type)))
        return bl_op_fail(call, BL_UNAVAILABLE, "convert the model to float32",
                          "input %d has type %s, which is not supported", i, bl_dtype_name(type));
    return BL_OK;
}

static bl_status check_not_empty(const bl_call *call, int i)
{
    for (int d = 0; d < call->in[i]->rank; d++)
        if (call->in[i]->dim[d] < 1)
            return bl_op_fail(call, BL_UNAVAILABLE, "remove empty tensors from the model",
                              "input %d of shape %s is empty", i,
                              bl_shape_text(call->scratch, call->in[i]));
    return BL_OK;
}

bl_status bl_op_type(const bl_call *call, int i, unsigned types)
{
    BL_TRY(check_type(call, i, types));
    return check_not_empty(call, i);
}

bl_status bl_op_one_type(const bl_call *call, unsigned types)
{
    BL_TRY(bl_op_type(call, 0, types));
    for (int i = 1; i < call->n_in; i++) {
        if (!call->in[i]) continue;
        if (call->in[i]->type != call->in[0]->type)
            return bl_op_fail(call, BL_DATA, "repair the model",
                              "input %d has type %s where input 0 has %s", i,
                              bl_dtype_name(call->in[i]->type), bl_dtype_name(call->in[0]->type));
        BL_TRY(check_not_empty(call, i));
    }
    return BL_OK;
}

bl_status bl_op_rank(const bl_call *call, int i, int least, int most)
{
    int rank = call->in[i]->rank;

    if (rank < least || rank > most)
        return bl_op_fail(call, BL_DATA, "repair the model",
                          "input %d has %d dimensions where %d to %d are meant", i, rank, least,
                          most);
    return BL_OK;
}

bl_status bl_op_list(const bl_call *call, int i, int64_t n)
{
    call->out[i] = (bl_tensor){.type = call->in[0]->type, .rank = 1, .dim = {n}};
    return BL_OK;
}

bool bl_op_is_list(const bl_tensor *t)
{
    return t->rank == 1 && (t->type == BL_I64 || t->type == BL_I32);
}

bl_status bl_op_out(const bl_call *call, int i, bl_dtype type, int rank, const int64_t *dim)
{
    int64_t count = 1;

    if (rank < 0 || rank > BL_MAX_RANK)
        return bl_op_fail(call, BL_UNAVAILABLE, "use fewer dimensions",
                          "output %d would have %d dimensions, at most %d are supported", i, rank,
                          BL_MAX_RANK);
    for (int d = 0; d < rank; d++) {
        if (dim[d] < 1)
            return bl_op_fail(call, dim[d] ? BL_DATA : BL_UNAVAILABLE,
                              "check shapes and attributes",
                              "dimension %d of output %d would be %lld", d, i, (long long)dim[d]);
        if (!bl_mul_i64(count, dim[d], &count) || count > COUNT_MAX)
            return bl_op_fail(call, BL_DATA, "check shapes and attributes",
                              "output %d would be too large", i);
    }
    call->out[i].type = type;
    call->out[i].rank = rank;
    for (int d = 0; d < BL_MAX_RANK; d++) call->out[i].dim[d] = d < rank ? dim[d] : 0;
    return BL_OK;
}

bl_status bl_op_like(const bl_call *call)
{
    return bl_op_out(call, 0, call->in[0]->type, call->in[0]->rank, call->in[0]->dim);
}

bl_status bl_op_axis(const bl_call *call, int64_t axis, int rank, int *out)
{
    if (axis < -rank || axis >= rank)
        return bl_op_fail(call, BL_DATA, "repair the model",
                          "axis %lld does not exist in %d dimensions", (long long)axis, rank);
    *out = (int)(axis < 0 ? axis + rank : axis);
    return BL_OK;
}

bl_status bl_op_ints(const bl_call *call, int i, int n_max, int64_t *out, int *n)
{
    const bl_tensor *t = call->in[i];
    int64_t count;

    BL_TRY(check_type(call, i, BL_BIT(BL_I64) | BL_BIT(BL_I32)));
    BL_TRY(bl_op_rank(call, i, 0, 1));
    if (!t->data && bl_tensor_count(t) > 0)
        return bl_op_fail(call, BL_UNAVAILABLE, "bind the dynamic dimensions or fold the model",
                          "input %d must be known before the network runs", i);
    count = bl_tensor_count(t);
    if (count > n_max)
        return bl_op_fail(call, BL_DATA, "repair the model",
                          "input %d has %lld entries where at most %d are meant", i,
                          (long long)count, n_max);
    for (int64_t k = 0; k < count; k++) out[k] = bl_element_i64(t, k);
    *n = (int)count;
    return BL_OK;
}

bl_status bl_op_ints_attr(const bl_call *call, const char *name, int n_max, int64_t *out, int *n)
{
    const bl_attr *a = bl_node_attr(call->node, name);

    *n = -1;
    if (!a) return BL_OK;
    if (a->type != BL_ATTR_INTS || a->n > (size_t)n_max)
        return bl_op_fail(call, BL_DATA, "repair the model",
                          "attribute \"%s\" is not a list of at most %d integers", name, n_max);
    for (size_t i = 0; i < a->n; i++) out[i] = a->ints[i];
    *n = (int)a->n;
    return BL_OK;
}

bl_status bl_op_axes(const bl_call *call, int since, int input, int rank, int *axis, int *n)
{
    int64_t raw[BL_MAX_RANK];
    unsigned seen = 0;

    *n = -1;
    if (call->node->opset < since)
        BL_TRY(bl_op_ints_attr(call, "axes", BL_MAX_RANK, raw, n));
    else if (bl_op_has(call, input))
        BL_TRY(bl_op_ints(call, input, BL_MAX_RANK, raw, n));
    for (int i = 0; i < *n; i++) {
        BL_TRY(bl_op_axis(call, raw[i], rank, &axis[i]));
        if (seen & (1u << axis[i]))
            return bl_op_fail(call, BL_DATA, "repair the model", "axis %d is given twice", axis[i]);
        seen |= 1u << axis[i];
    }
    return BL_OK;
}
