/* SPDX-License-Identifier: BSD-3-Clause */
/* An island at load and at run time [Q11]: see island.h. */
#include "program/island.h"

#include <math.h>
#include <string.h>

/* ---- the node again */

static bl_status open_attr(bl_arena *arena, const bl_program *p, const bl_pattr *from, bl_attr *a)
{
    const uint8_t *data = from->bytes ? p->constants + from->data : NULL; /* there may be no constants at all */
    *a = (bl_attr){ .name = p->strings + from->name, .type = (bl_attr_type)from->type, .f = from->f, .i = from->i,
                    .n = (size_t)from->n };
    switch (a->type) {
    case BL_ATTR_STRING:
        a->s = (const char *)data;
        a->s_len = a->n;
        a->n = 0;
        break;
    case BL_ATTR_FLOATS: a->floats = (const void *)data; break;
    case BL_ATTR_INTS: a->ints = (const void *)data; break;
    case BL_ATTR_STRINGS: {
        const char **list = BL_NEW(arena, const char *, a->n), *text = (const char *)data;
        BL_ALLOC_TRY(bl_arena_ctx(arena), list);
        for (size_t i = 0; i < a->n; i++, text += strlen(text) + 1) list[i] = text;
        a->strings = list;
        break;
    }
    case BL_ATTR_TENSOR:
        a->t = (bl_tensor){ .type = (bl_dtype)from->dtype, .rank = from->rank, .data = (void *)(uintptr_t)data };
        memcpy(a->t.dim, from->dim, sizeof a->t.dim);
        break;
    default: break;
    }
    return BL_OK;
}

static bl_status decode_weight(bl_arena *arena, const bl_program *p, const bl_pport *port, bl_island *is, bl_tensor *t)
{
    size_t n = (size_t)bl_tensor_count(t);
    bl_ctx *ctx = bl_arena_ctx(arena);
    t->data = BL_NEW(arena, float, n);
    BL_ALLOC_TRY(ctx, t->data);
    is->decoded_bytes += n * sizeof(float);
    bl_arena *scratch = bl_arena_new(ctx, "unpacking");
    BL_ALLOC_TRY(ctx, scratch);
    int8_t *codes = BL_NEW(scratch, int8_t, n);
    if (codes) {
        bl_unpack_codes(p->constants + port->data, n, port->bits, codes);
        bl_weight_decode(t, codes, (const float *)(const void *)(p->constants + port->scale), port->n_scale, port->axis, t->data);
    }
    bl_arena_free(scratch);
    return codes ? BL_OK : bl_pending(ctx);
}

static bl_status open_port(bl_arena *arena, const bl_program *p, uint32_t k, bool decode, bl_island *is)
{
    const bl_pport *port = &is->port[k];
    bl_tensor *t = &is->t[k];
    *t = (bl_tensor){ .type = (bl_dtype)port->type, .rank = port->rank };
    memcpy(t->dim, port->dim, sizeof t->dim);
    if (port->type == BL_NONE) return BL_OK;
    if (port->tensor < 0) {
        if (!port->bits) t->data = (void *)(uintptr_t)(p->constants + port->data);
        return port->bits && decode ? decode_weight(arena, p, port, is, t) : BL_OK;
    }
    if (p->tensors[port->tensor].raw) return BL_OK;
    is->buffer_at[k] = is->buffer_bytes;
    is->buffer_bytes += (bl_tensor_bytes(t) + 63) / 64 * 64;
    return BL_OK;
}

bl_status bl_island_open(bl_ctx *ctx, bl_arena *arena, const bl_program *p, uint32_t i, bool decode, bl_island *out)
{
    const bl_pisland *from = &p->islands[i];
    uint32_t n = from->n_in + from->n_out;
    bl_attr *attr = BL_NEW(arena, bl_attr, from->n_attr);
    const bl_tensor **in = BL_NEW(arena, const bl_tensor *, from->n_in);
    int *numbers = BL_NEW(arena, int, n);
    *out = (bl_island){ .port = p->ports + from->first_port, .t = BL_NEW(arena, bl_tensor, n),
                        .buffer_at = BL_NEW(arena, uint64_t, n), .edge = BL_NEW(arena, bl_edge_args, n),
                        .kernel = BL_NEW(arena, const bl_kernel_info *, n) };
    if (!attr || !in || !numbers || !out->t || !out->buffer_at || !out->edge || !out->kernel) return bl_pending(ctx);
    for (uint32_t k = 0; k < from->n_attr; k++) BL_TRY(open_attr(arena, p, &p->attrs[from->first_attr + k], &attr[k]));
    for (uint32_t k = 0; k < n; k++) {
        BL_TRY(open_port(arena, p, k, decode, out));
        numbers[k] = out->port[k].type == BL_NONE ? -1 : (int)k;
        if (k < from->n_in) in[k] = numbers[k] < 0 ? NULL : &out->t[k];
    }
    out->node = (bl_node){ .op = bl_op_find(p->strings + from->domain, p->strings + from->op), .name = p->strings + from->op,
                           .domain = p->strings + from->domain, .opset = from->opset, .n_in = (int)from->n_in,
                           .n_out = (int)from->n_out, .n_attr = (int)from->n_attr, .in = numbers,
                           .out = numbers + from->n_in, .attr = attr, .lo = from->lo, .hi = from->hi };
    out->call = (bl_call){ .ctx = ctx, .n_in = (int)from->n_in, .n_out = (int)from->n_out, .in = in,
                           .out = out->t + from->n_in };
    return BL_OK;
}

/* ---- codes and floats */

static bl_status bind_port(bl_island *is, const bl_program *p, bl_isa cap, uint32_t k, void *codes, uint8_t *buffer)
{
    const bl_pport *port = &is->port[k];
    const bl_ptensor *x = &p->tensors[port->tensor];
    bool written = k >= (uint32_t)is->node.n_in;
    bl_edge_args *a = &is->edge[k];
    if (x->raw) {
        is->t[k].data = codes;
        return BL_OK;
    }
    is->t[k].data = buffer + is->buffer_at[k];
    *a = (bl_edge_args){ .in = written ? is->t[k].data : codes, .out = written ? codes : is->t[k].data, .bits = x->bits,
                         .rank = BL_MAX(x->rank, 1), .g = x->grid };
    a->size[0] = 1;
    for (int64_t d = x->rank - 1, row = 1; d >= 0; row *= x->dim[d--]) {
        a->size[d] = x->dim[d];
        (written ? a->out_stride : a->in_stride)[d] = x->stride[d];
        (written ? a->in_stride : a->out_stride)[d] = row;
    }
    is->kernel[k] = bl_kernel_choose(written ? BL_C_QUANTIZE : BL_C_DEQUANTIZE, a, cap, NULL);
    BL_CHECK(is->call.ctx, is->kernel[k]);
    return BL_OK;
}

bl_status bl_island_bind(bl_island *is, const bl_program *p, bl_isa cap, void *(*codes)(void *, int32_t), void *user,
                         uint8_t *buffer)
{
    is->call.node = &is->node;
    for (uint32_t k = 0; k < (uint32_t)(is->node.n_in + is->node.n_out); k++)
        if (is->port[k].tensor >= 0) BL_TRY(bind_port(is, p, cap, k, codes(user, is->port[k].tensor), buffer));
    return BL_OK;
}

static void clamp(const bl_node *node, const bl_tensor *t)
{
    float *x = t->data, lo = node->lo, hi = node->hi;
    int64_t n = bl_tensor_count(t);
    for (int64_t i = 0; i < n; i++) { /* a NaN compares false and stays */
        float v = x[i] < lo ? lo : x[i];
        x[i] = v > hi ? hi : v;
    }
}

bl_status bl_island_run(bl_island *is, bl_arena *scratch)
{
    uint32_t n_in = (uint32_t)is->node.n_in, n = n_in + (uint32_t)is->node.n_out;
    for (uint32_t k = 0; k < n_in; k++)
        if (is->kernel[k]) ((const bl_edge_row *)is->kernel[k]->row)->run(&is->edge[k]);
    bl_mark mark = bl_arena_mark(scratch);
    is->call.scratch = scratch;
    bl_status s = is->node.op->forward(&is->call);
    bl_arena_reset(scratch, mark);
    if (s != BL_OK) return s;
    for (uint32_t k = n_in; k < n; k++) {
        if (!is->kernel[k]) continue;
        if (bl_node_clamps(&is->node)) clamp(&is->node, &is->t[k]);
        ((const bl_edge_row *)is->kernel[k]->row)->run(&is->edge[k]);
    }
    return BL_OK;
}

/* ---- a program's islands and steps */

const char *bl_step_kind(const bl_step *step)
{
    return step->contract == BL_STEP_ISLAND ? "island" : bl_contract_name((bl_contract)step->contract);
}

uint32_t bl_step_tensors(const bl_program *p, const bl_step *s, bool written, int32_t *out, uint32_t n_max)
{
    uint32_t n = 0;
    if (s->contract == BL_STEP_ISLAND) {
        const bl_pisland *is = &p->islands[s->u.island.island];
        const bl_pport *port = p->ports + is->first_port + (written ? is->n_in : 0);
        for (uint32_t k = 0; k < (written ? is->n_out : is->n_in); k++) {
            if (port[k].tensor < 0) continue;
            if (n < n_max) out[n] = port[k].tensor;
            n++;
        }
        return n;
    }
    int32_t at[2] = { written ? s->out : s->in[0], written ? -1 : s->in[1] };
    if (s->contract == (written ? BL_C_DEQUANTIZE : BL_C_QUANTIZE)) at[0] = -1;
    for (int k = 0; k < 2; k++) {
        if (at[k] < 0) continue;
        if (n < n_max) out[n] = at[k];
        n++;
    }
    return n;
}

bool bl_step_writes(const bl_program *p, const bl_step *s, int32_t tensor)
{
    if (s->contract != BL_STEP_ISLAND) return s->contract != BL_C_DEQUANTIZE && s->out == tensor;
    const bl_pisland *is = &p->islands[s->u.island.island];
    for (uint32_t k = is->n_in; k < is->n_in + is->n_out; k++)
        if (p->ports[is->first_port + k].tensor == tensor) return true;
    return false;
}

bl_dtype bl_edge_type(const bl_program *p, uint32_t edge)
{
    int32_t raw = p->tensors[p->edges[edge].tensor].raw;
    return raw ? (bl_dtype)raw : BL_F32;
}

json_t *bl_islands_json(const bl_program *p)
{
    json_t *a = json_array();
    for (uint32_t i = 0; i < p->n_steps; i++)
        if (p->steps[i].contract == BL_STEP_ISLAND)
            json_array_append_new(a, json_pack("{s:s, s:s}", "node", p->strings + p->steps[i].name, "op",
                                               p->strings + p->islands[p->steps[i].u.island.island].op));
    return a;
}
