/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Islands of a foreign file: every number that will be an index, size or address is bounded, then the
 * operator's own check of shapes must give the very outputs that the file says: its float form may rely
 * on both.
 */
#include "program/island.h"

#include <string.h>

typedef struct check {
    bl_ctx *ctx;
    const char *place;
    const bl_program *p;
    uint32_t island;
} check;

static bl_status bad(const check *c, const char *what)
{
    return bl_fail(c->ctx, BL_DATA, c->place, "make the program again from its plan", "island %u: %s", c->island, what);
}

#define NEED(cond, what)                                                                          \
    do {                                                                                          \
        if (!(cond)) return bad(c, what);                                                         \
    } while (0)

static bool blob_ok(const bl_program *p, uint64_t offset, uint64_t bytes)
{
    return offset % 64 == 0 && offset <= p->constants_bytes && bytes <= p->constants_bytes - offset;
}

/* Elements of a shape; -1 where it is none or its bytes overflow. */
static int64_t count(int32_t type, int32_t rank, const int64_t *dim)
{
    int64_t n = 1, bytes = (int64_t)bl_dtype_bytes((bl_dtype)type);
    if (rank < 0 || rank > BL_MAX_RANK || type <= 0 || !bytes) return -1;
    for (int d = 0; d < rank; d++)
        if (dim[d] < 1 || !bl_mul_i64(n, dim[d], &n)) return -1;
    return bl_mul_i64(n, bytes, &bytes) && bytes < (int64_t)1 << 46 ? n : -1;
}

static bl_status check_texts(const check *c, const bl_pattr *a, uint64_t texts)
{
    const char *data = (const char *)c->p->constants + a->data;
    uint64_t ends = 0;
    for (uint64_t i = 0; i < a->bytes; i++) ends += data[i] == 0;
    NEED(a->bytes && data[a->bytes - 1] == 0 && ends >= texts, "a text without an end");
    return BL_OK;
}

static bl_status check_attr(const check *c, const bl_pattr *a)
{
    NEED(a->name < c->p->strings_bytes, "a name outside the file");
    NEED(a->n <= c->p->constants_bytes && blob_ok(c->p, a->data, a->bytes), "an attribute outside the file");
    switch ((bl_attr_type)a->type) {
    case BL_ATTR_FLOAT:
    case BL_ATTR_INT: return BL_OK;
    case BL_ATTR_STRING: NEED(a->bytes == a->n + 1, "an attribute of wrong size"); return check_texts(c, a, 1);
    case BL_ATTR_STRINGS: NEED(a->n == 0 || a->bytes, "an attribute of wrong size"); return a->n ? check_texts(c, a, a->n) : BL_OK;
    case BL_ATTR_FLOATS: NEED(a->bytes == a->n * sizeof(float), "an attribute of wrong size"); return BL_OK;
    case BL_ATTR_INTS: NEED(a->bytes == a->n * sizeof(int64_t), "an attribute of wrong size"); return BL_OK;
    case BL_ATTR_TENSOR: {
        int64_t n = count(a->dtype, a->rank, a->dim);
        NEED(n > 0 && a->bytes == (uint64_t)n * bl_dtype_bytes((bl_dtype)a->dtype), "an attribute of wrong size");
        return BL_OK;
    }
    default: return bad(c, "an attribute of unknown type");
    }
}

static bl_status check_weight(const check *c, const bl_pport *p, int64_t n)
{
    NEED(p->type == BL_F32 && p->bits >= 1 && p->bits <= 8 && n < (int64_t)1 << 40 && p->axis >= -1 && p->axis < p->rank,
         "a weight of impossible shape");
    NEED(p->axis < 0 ? p->n_scale == 1 : p->n_scale == p->dim[p->axis], "scales that do not fit a weight");
    NEED(blob_ok(c->p, p->data, bl_packed_bytes((size_t)n, p->bits)) && blob_ok(c->p, p->scale, 4 * (uint64_t)p->n_scale),
         "constants outside the file");
    return BL_OK;
}

static bl_status check_port(const check *c, const bl_pport *p, bool written)
{
    if (p->type == BL_NONE) {
        NEED(p->tensor == -1, "an absent input with a tensor");
        return BL_OK;
    }
    int64_t n = count(p->type, p->rank, p->dim);
    NEED(n > 0, "an impossible shape");
    if (p->tensor == -1) {
        NEED(!written, "a constant would be written");
        if (p->bits) return check_weight(c, p, n);
        NEED(blob_ok(c->p, p->data, (uint64_t)n * bl_dtype_bytes((bl_dtype)p->type)), "constants outside the file");
        return BL_OK;
    }
    NEED(p->tensor >= 0 && (uint32_t)p->tensor < c->p->n_tensors, "an unknown tensor");
    const bl_ptensor *t = &c->p->tensors[p->tensor];
    NEED(p->type == (t->raw ? t->raw : BL_F32) && p->rank == t->rank &&
         !memcmp(p->dim, t->dim, (size_t)p->rank * sizeof *p->dim), "a tensor of another shape");
    NEED(!written || !(t->flags & BL_TENSOR_CONSTANT), "a constant would be written");
    return BL_OK;
}

/* An output lies beside the inputs and the other outputs: all are there at one time. */
static bl_status check_apart(const check *c, const bl_pport *port, uint32_t n_in, uint32_t n)
{
    for (uint32_t k = n_in; k < n; k++)
        for (uint32_t i = 0; i < k; i++) {
            if (port[k].tensor < 0 || port[i].tensor < 0) continue;
            const bl_ptensor *y = &c->p->tensors[port[k].tensor], *x = &c->p->tensors[port[i].tensor];
            NEED((x->flags & BL_TENSOR_CONSTANT) || x->offset + x->bytes <= y->offset || y->offset + y->bytes <= x->offset,
                 "its output lies over another tensor");
        }
    return BL_OK;
}

static bool same_shape(const bl_tensor *t, const bl_pport *p)
{
    return (int32_t)t->type == p->type && t->rank == p->rank && !memcmp(t->dim, p->dim, (size_t)t->rank * sizeof *t->dim);
}

static bl_status check_operator(const check *c, bl_arena *arena, const bl_pisland *from)
{
    bl_island is;
    BL_TRY(bl_island_open(c->ctx, arena, c->p, c->island, false, &is));
    NEED(is.node.op->min_opset <= is.node.opset, "an operator of another opset");
    bl_tensor *out = BL_NEW(arena, bl_tensor, from->n_out);
    BL_ALLOC_TRY(c->ctx, out);
    is.call.node = &is.node;
    is.call.out = out;
    is.call.scratch = arena;
    bl_status s = is.node.op->shape(&is.call);
    if (s != BL_OK) return bl_fail_within(c->ctx, "%s: island %u", c->place, c->island);
    for (uint32_t k = 0; k < from->n_out; k++)
        NEED(is.port[from->n_in + k].type == BL_NONE || same_shape(&out[k], &is.port[from->n_in + k]),
             "an output of another shape than its operator gives");
    return BL_OK;
}

static bl_status check_island(const check *c, bl_arena *arena)
{
    const bl_program *p = c->p;
    const bl_pisland *is = &p->islands[c->island];
    uint64_t n = (uint64_t)is->n_in + is->n_out;
    NEED(is->op < p->strings_bytes && is->domain < p->strings_bytes, "a name outside the file");
    NEED(n <= p->n_ports && is->first_port <= p->n_ports - n && is->n_attr <= p->n_attrs &&
         is->first_attr <= p->n_attrs - is->n_attr && is->n_out >= 1 && n < 65536, "a list outside the file");
    NEED(is->lo <= is->hi, "bounds that cross");
    const bl_op *op = bl_op_find(p->strings + is->domain, p->strings + is->op);
    if (!op || !op->forward)
        return bl_fail(c->ctx, BL_UNAVAILABLE, c->place, "use the version that made it", "island %u: unknown operator \"%.60s\"",
                       c->island, p->strings + is->op);
    for (uint32_t k = 0; k < n; k++) BL_TRY(check_port(c, &p->ports[is->first_port + k], k >= is->n_in));
    for (uint32_t k = 0; k < is->n_attr; k++) BL_TRY(check_attr(c, &p->attrs[is->first_attr + k]));
    BL_TRY(check_apart(c, p->ports + is->first_port, is->n_in, (uint32_t)n));
    bl_mark mark = bl_arena_mark(arena);
    bl_status s = check_operator(c, arena, is);
    bl_arena_reset(arena, mark);
    return s;
}

bl_status bl_islands_validate(bl_ctx *ctx, const char *place, const bl_program *p)
{
    if (!p->n_islands) return BL_OK;
    bl_arena *arena = bl_arena_new(ctx, "islands");
    BL_ALLOC_TRY(ctx, arena);
    check c = { .ctx = ctx, .place = place, .p = p };
    bl_status s = BL_OK;
    for (; s == BL_OK && c.island < p->n_islands; c.island++) s = check_island(&c, arena);
    bl_arena_free(arena);
    return s;
}
