/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of operators and what op.h promises of types, tensors, attributes and errors.  What an
 * operator does stands in its family's file; checks that families share in check.c.
 */
#include "ops/op.h"

#include <stdio.h>
#include <string.h>

#define X(name, symbol) extern const bl_op bl_op_##symbol;
#include "ops/ops.def"
#undef X

const bl_op *const bl_ops[] = {
#define X(name, symbol) &bl_op_##symbol,
#include "ops/ops.def"
#undef X
};
const size_t bl_n_ops = BL_COUNTOF(bl_ops);

const bl_op *bl_op_find(const char *domain, const char *name)
{
    size_t lo = 0, hi = bl_n_ops;

    if (domain && *domain && strcmp(domain, "ai.onnx") != 0) return NULL;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = strcmp(name, bl_ops[mid]->name);
        if (c == 0) return bl_ops[mid];
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

/* ------------------------------------------------------------------ types and tensors */

static const struct {
    const char *name;
    size_t bytes;
} dtypes[] = {
    [BL_NONE] = {"undefined", 0}, [BL_F32] = {"float32", 4}, [BL_U8] = {"uint8", 1},
    [BL_I8] = {"int8", 1},        [BL_U16] = {"uint16", 2},  [BL_I16] = {"int16", 2},
    [BL_I32] = {"int32", 4},      [BL_I64] = {"int64", 8},   [BL_STRING] = {"string", 0},
    [BL_BOOL] = {"bool", 1},      [BL_F16] = {"float16", 2}, [BL_F64] = {"float64", 8},
    [BL_U32] = {"uint32", 4},     [BL_U64] = {"uint64", 8},  [BL_BF16] = {"bfloat16", 2},
    [BL_U4] = {"uint4", 1},       [BL_I4] = {"int4", 1},     [BL_U2] = {"uint2", 1},
    [BL_I2] = {"int2", 1},
};

size_t bl_dtype_bytes(bl_dtype type)
{
    return (size_t)type < BL_COUNTOF(dtypes) ? dtypes[type].bytes : 0;
}

const char *bl_dtype_name(bl_dtype type)
{
    const char *name = (size_t)type < BL_COUNTOF(dtypes) ? dtypes[type].name : NULL;
    return name ? name : "unknown type";
}

int64_t bl_tensor_count(const bl_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++) n *= t->dim[i];
    return n;
}

size_t bl_tensor_bytes(const bl_tensor *t)
{
    return (size_t)bl_tensor_count(t) * bl_dtype_bytes(t->type);
}

char *bl_shape_text(bl_arena *arena, const bl_tensor *t)
{
    char text[BL_MAX_RANK * 21 + 8] = "scalar";
    size_t used = 0;

    for (int i = 0; i < t->rank && i < BL_MAX_RANK; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%lld", i ? "x" : "",
                                 (long long)t->dim[i]);
    return bl_strdup(arena, text);
}

/* ------------------------------------------------------------------ attributes */

const bl_attr *bl_node_attr(const bl_node *node, const char *name)
{
    for (int i = 0; i < node->n_attr; i++)
        if (strcmp(node->attr[i].name, name) == 0) return &node->attr[i];
    return NULL;
}

int64_t bl_attr_int(const bl_node *node, const char *name, int64_t otherwise)
{
    const bl_attr *a = bl_node_attr(node, name);
    return a && a->type == BL_ATTR_INT ? a->i : otherwise;
}

float bl_attr_float(const bl_node *node, const char *name, float otherwise)
{
    const bl_attr *a = bl_node_attr(node, name);
    return a && a->type == BL_ATTR_FLOAT ? a->f : otherwise;
}

const char *bl_attr_string(const bl_node *node, const char *name, const char *otherwise)
{
    const bl_attr *a = bl_node_attr(node, name);
    return a && a->type == BL_ATTR_STRING && a->s ? a->s : otherwise;
}

bool bl_node_clamps(const bl_node *node)
{
    return node->lo > -INFINITY || node->hi < INFINITY;
}

/* ------------------------------------------------------------------ errors */

bl_status bl_op_fail(const bl_call *call, bl_status code, const char *remedy, const char *format,
                     ...)
{
    char place[256], what[512];
    va_list args;

    snprintf(place, sizeof place, "node \"%s\" (%s)", call->node->name ? call->node->name : "",
             call->node->op ? call->node->op->name : "?");
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return bl_fail(call->ctx, code, place, remedy, "%s", what);
}
