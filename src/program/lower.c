/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * PLAN to PROGRAM.  The plan is the only door: solver, agent, training and a file edited by hand all
 * come through here.  Each operator's integer facet names its kernel contract and constants; this
 * file gives it tensors, packs weights and plans memory.
 */
#include "program/builder.h"

#include <stdio.h>
#include <string.h>

/* ---- growing arrays */

bl_status bl_build_grow(bl_pbuilder *b, void **data, size_t *cap, size_t need, size_t size)
{
    if (need <= *cap) return BL_OK;
    size_t to = BL_MAX(need, BL_MAX(64, 2 * *cap));
    void *bigger = bl_alloc(b->arena, to, size);
    BL_ALLOC_TRY(b->ctx, bigger);
    if (*cap) memcpy(bigger, *data, *cap * size);
    *data = bigger;
    *cap = to;
    return BL_OK;
}

bl_status bl_build_string(bl_pbuilder *b, const char *text, uint32_t *offset)
{
    size_t n = strlen(text) + 1, at = b->p->strings_bytes;
    if (at + n > UINT32_MAX) return bl_fail(b->ctx, BL_UNAVAILABLE, b->g->source, "", "names of over 4 GB");
    BL_TRY(bl_build_grow(b, (void **)&b->strings, &b->strings_cap, at + n, 1));
    memcpy(b->strings + at, text, n);
    *offset = (uint32_t)at;
    b->p->strings_bytes += n;
    return BL_OK;
}

static bl_status add_blob(bl_lowering *low, const void *data, size_t bytes, uint64_t *offset)
{
    bl_pbuilder *b = low->user;
    uint64_t sum = bl_checksum(data, bytes);
    for (size_t i = 0; i < b->n_blobs; i++)
        if (b->blobs[i].checksum == sum && b->blobs[i].bytes == bytes &&
            !memcmp(b->constants + b->blobs[i].offset, data, bytes)) {
            *offset = b->blobs[i].offset;
            return BL_OK;
        }
    size_t at = (size_t)(b->p->constants_bytes + 63) / 64 * 64;
    BL_TRY(bl_build_grow(b, (void **)&b->constants, &b->constants_cap, at + bytes, 1));
    BL_TRY(bl_build_grow(b, (void **)&b->blobs, &b->blobs_cap, b->n_blobs + 1, sizeof *b->blobs));
    memcpy(b->constants + at, data, bytes);
    b->blobs[b->n_blobs++] = (bl_blob){ at, bytes, sum };
    b->p->constants_bytes = at + bytes;
    *offset = at;
    return BL_OK;
}

static bl_status pack_weights(bl_lowering *low, const int8_t *codes, size_t n, int bits, uint64_t *offset)
{
    bl_pbuilder *b = low->user;
    size_t bytes = bl_packed_bytes(n, bits);
    uint8_t *packed = BL_NEW(low->scratch, uint8_t, bytes);
    BL_ALLOC_TRY(low->ctx, packed);
    bl_pack_codes(codes, n, bits, packed);
    b->p->weight_bytes += bytes;
    return add_blob(low, packed, bytes, offset);
}

static bl_status pack_book(bl_lowering *low, const int8_t *codes, size_t n, const bl_iweight *w, uint64_t *offset, uint64_t *table)
{
    bl_pbuilder *b = low->user;
    size_t entries = (size_t)1 << w->index_bits;
    int8_t *index = BL_NEW(low->scratch, int8_t, n);
    BL_ALLOC_TRY(low->ctx, index);
    for (size_t i = 0; i < n; i++) /* two's complement, as packing wants it */
        index[i] = (int8_t)(bl_codebook_index(w->table, (int)entries, codes[i]) - (int)(entries / 2));
    for (size_t i = 0; w->index_bits == 1 && i < n; i++) index[i] = index[i] < 0 ? -1 : 1;
    BL_TRY(pack_weights(low, index, n, w->index_bits, offset));
    b->p->weight_bytes += entries;
    return add_blob(low, w->table, entries, table);
}

static bl_status pack_groups(bl_lowering *low, const int8_t *codes, size_t n, size_t k, const bl_iweight *w, uint64_t *offset,
                             uint64_t *multiples)
{
    bl_pbuilder *b = low->user;
    size_t groups = (size_t)bl_group_count((int64_t)k, w->group), bytes = k ? n / k * groups : 0;
    int8_t *narrow = BL_NEW(low->scratch, int8_t, n);
    BL_ALLOC_TRY(low->ctx, narrow);
    for (size_t i = 0; i < n; i++) narrow[i] = (int8_t)(codes[i] / w->multiple[i / k * groups + i % k / (size_t)w->group]);
    BL_TRY(pack_weights(low, narrow, n, w->index_bits, offset));
    b->p->weight_bytes += bytes;
    return add_blob(low, w->multiple, bytes, multiples);
}

static bl_status emit_step(bl_lowering *low, const bl_step *step)
{
    bl_pbuilder *b = low->user;
    BL_TRY(bl_build_grow(b, (void **)&b->steps, &b->steps_cap, b->p->n_steps + 1, sizeof *b->steps));
    b->steps[b->p->n_steps] = *step;
    return bl_build_string(b, low->node->name, &b->steps[b->p->n_steps++].name);
}

/* ---- tensors */

static void lay_out(bl_ivalue *v, bool channels_last)
{
    int order[BL_MAX_RANK], n = 0;
    for (int d = 0; d < v->rank; d++)
        if (!(channels_last && d == 1)) order[n++] = d;
    if (channels_last) order[n++] = 1;
    int64_t stride = 1;
    for (int i = n - 1; i >= 0; i--) {
        v->stride[order[i]] = stride;
        stride *= v->dim[order[i]];
    }
}

static bl_status add_tensor(bl_pbuilder *b, bl_ivalue *v, const char *name, uint32_t flags)
{
    BL_TRY(bl_build_grow(b, (void **)&b->tensors, &b->tensors_cap, b->p->n_tensors + 1, sizeof *b->tensors));
    BL_TRY(bl_build_grow(b, (void **)&b->alias, &b->alias_cap, b->p->n_tensors + 1, sizeof *b->alias));
    bl_ptensor *t = &b->tensors[b->p->n_tensors];
    *t = (bl_ptensor){ .bits = v->bits, .rank = v->rank, .flags = flags, .grid = v->grid, .raw = (int32_t)v->raw,
                       .bytes = (uint64_t)bl_ivalue_count(v) *
                                (v->raw ? bl_dtype_bytes(v->raw) : v->bits <= 8 ? 1 : 2) };
    memcpy(t->dim, v->dim, sizeof t->dim);
    memcpy(t->stride, v->stride, sizeof t->stride);
    b->alias[b->p->n_tensors] = -1;
    v->number = (int)b->p->n_tensors++;
    return bl_build_string(b, name, &t->name);
}

static bl_status quantizer_of(bl_pbuilder *b, int v, const bl_quantizer **out)
{
    const char *name = b->g->values[v].name;
    int q = b->plan->of_value[v];
    if (q < 0)
        return bl_fail(b->ctx, BL_DATA, name, "add a quantizer to the plan or search again",
                       "the plan has no grid for this value");
    if (b->plan->quantizers[q].kind != BL_Q_AFFINE && !bl_quantizer_has_codes(&b->plan->quantizers[q]))
        return bl_fail(b->ctx, BL_UNAVAILABLE, name, "use an affine grid for this value",
                       "only affine grids have an integer form here");
    *out = &b->plan->quantizers[q];
    return BL_OK;
}

/* What is not float32 flows as it is. */
static bl_status make_raw(bl_pbuilder *b, int v)
{
    bl_ivalue *iv = &b->ivalues[v];
    const bl_tensor *t = &b->g->values[v].t;
    *iv = (bl_ivalue){ .rank = t->rank, .raw = t->type, .grid = { .scale = 1 } };
    memcpy(iv->dim, t->dim, sizeof iv->dim);
    lay_out(iv, false);
    BL_TRY(add_tensor(b, iv, b->g->values[v].name, 0));
    b->tensor_of_value[v] = iv->number;
    return BL_OK;
}

static bl_status make_ivalue(bl_pbuilder *b, int v)
{
    const bl_quantizer *q;
    if (b->g->values[v].t.type != BL_F32) return make_raw(b, v);
    BL_TRY(quantizer_of(b, v, &q));
    bl_ivalue *iv = &b->ivalues[v];
    const bl_tensor *t = &b->g->values[v].t;
    iv->rank = t->rank;
    iv->bits = q->bits;
    iv->grid = bl_affine_grid(q);
    memcpy(iv->dim, t->dim, sizeof iv->dim);
    lay_out(iv, b->spatial[v] != 0);
    if (!t->data) {
        BL_TRY(add_tensor(b, iv, b->g->values[v].name, 0));
    } else { /* constant operand: codes in the model's order */
        bl_lowering low = { .ctx = b->ctx, .user = b };
        size_t n = (size_t)bl_tensor_count(t);
        uint16_t *wide = BL_NEW(b->arena, uint16_t, n);
        uint8_t *codes = BL_NEW(b->arena, uint8_t, n);
        if (!wide || !codes) return bl_pending(b->ctx);
        for (size_t i = 0; i < n; i++) codes[i] = (uint8_t)(wide[i] = (uint16_t)bl_quantize(((const float *)t->data)[i], iv->grid));
        for (int64_t d = iv->rank - 1, stride = 1; d >= 0; stride *= iv->dim[d--]) iv->stride[d] = stride;
        uint64_t offset;
        BL_TRY(iv->bits <= 8 ? add_blob(&low, codes, n, &offset) : add_blob(&low, wide, 2 * n, &offset));
        BL_TRY(add_tensor(b, iv, b->g->values[v].name, BL_TENSOR_CONSTANT));
        b->tensors[iv->number].offset = offset;
    }
    b->tensor_of_value[v] = iv->number;
    return BL_OK;
}

static bl_status constant_code(bl_lowering *low, const bl_ivalue *like, int32_t code, int *number)
{
    bl_pbuilder *b = low->user;
    uint16_t wide = (uint16_t)code;
    uint8_t narrow = (uint8_t)code;
    uint64_t offset;
    bl_ivalue one = { .rank = 0, .bits = like->bits, .grid = like->grid };
    BL_TRY(like->bits <= 8 ? add_blob(low, &narrow, 1, &offset) : add_blob(low, &wide, 2, &offset));
    BL_TRY(add_tensor(b, &one, "", BL_TENSOR_CONSTANT | BL_TENSOR_INNER));
    b->tensors[one.number].offset = offset;
    *number = one.number;
    return BL_OK;
}

static bl_status temp_tensor(bl_lowering *low, const bl_ivalue *like, bl_ivalue *out)
{
    *out = *like;
    bl_pbuilder *b = low->user;
    for (int64_t d = out->rank - 1, stride = 1; d >= 0; stride *= out->dim[d--]) out->stride[d] = stride;
    return add_tensor(b, out, "", BL_TENSOR_INNER);
}

static bl_status share_memory(bl_lowering *low, const bl_ivalue *in, const bl_ivalue *out)
{
    bl_pbuilder *b = low->user;
    bool same = in->bits == out->bits && !memcmp(&in->grid, &out->grid, sizeof in->grid);
    if (!same || (b->tensors[in->number].flags & BL_TENSOR_CONSTANT)) {
        int64_t n = bl_ivalue_count(in), one = 1;
        return bl_emit_move(low, in, out, 1, &n, &one, 0, &one, 0);
    }
    b->alias[out->number] = in->number;
    return BL_OK;
}

/* ---- nodes */

bl_status bl_build_weight(bl_pbuilder *b, bl_arena *scratch, int layer, bl_iweight *w)
{
    int v = bl_layer_weight(b->g, layer);
    const bl_quantizer *q;
    BL_TRY(quantizer_of(b, v, &q));
    bl_tensor t = b->g->values[v].t;
    const float *changed = bl_weights_find(b->weights, v);
    if (changed) t.data = (void *)(uintptr_t)changed;
    int8_t *codes = BL_NEW(scratch, int8_t, (size_t)bl_tensor_count(&t));
    bl_tensor *kept = BL_NEW(scratch, bl_tensor, 1);
    if (!codes || !kept) return bl_pending(b->ctx);
    *kept = t;
    bl_weight_grid grid = bl_quantizer_grid(q);
    bl_grid_codes(&t, &grid, codes);
    *w = (bl_iweight){ .t = kept, .codes = codes, .scale = q->scale, .n_scale = q->n_scale, .axis = q->axis,
                       .bits = bl_quantizer_code_bits(q), .table = q->table, .index_bits = q->n_table || q->group ? q->bits : 0,
                       .multiple = q->multiple, .group = q->group };
    return BL_OK;
}

/* How far the program has grown: a facet that finds no integer form leaves nothing behind. */
typedef struct point { uint32_t n_steps, n_tensors; uint64_t strings_bytes, weight_bytes; } point;

static point here(const bl_pbuilder *b)
{
    return (point){ b->p->n_steps, b->p->n_tensors, b->p->strings_bytes, b->p->weight_bytes };
}

static void go_back(bl_pbuilder *b, point to)
{
    b->p->n_steps = to.n_steps;
    b->p->n_tensors = to.n_tensors;
    b->p->strings_bytes = to.strings_bytes;
    b->p->weight_bytes = to.weight_bytes;
}

/* The operator's own integer form, a table, or binary32 between codes: the first that there is. */
static bl_status lower_forms(bl_pbuilder *b, bl_lowering *low, int node)
{
    const bl_node *n = &b->g->nodes[node];
    bl_status (*form[])(bl_lowering *, const bl_node *) = { n->op->integer, bl_pointwise_integer };
    bool real = true, no_form;
    for (int k = 0; k < n->n_out; k++) real &= n->out[k] < 0 || b->g->values[n->out[k]].t.type == BL_F32;
    low->no_form = &no_form;
    for (size_t f = 0; real && f < BL_COUNTOF(form); f++) {
        point start = here(b);
        no_form = false;
        bl_status s = form[f] ? form[f](low, n) : BL_UNAVAILABLE;
        if (s == BL_OK || (form[f] && !no_form)) return s;
        go_back(b, start);
    }
    return bl_lower_island(b, low, node);
}

/* Constant k of the node, and the grid of what flows into it. */
static bl_status lower_input(bl_pbuilder *b, bl_arena *scratch, const bl_node *n, int k, const bl_ivalue **in,
                             const bl_tensor **constant)
{
    int v = n->in[k];
    const bl_tensor *t = &b->g->values[v].t;
    /* an operand that the plan put on a grid, for whichever of its readers */
    int q = b->plan->of_value[v];
    bool operand = t->data && t->type == BL_F32 && !(n->op->flags & BL_OP_LAYER) &&
                   ((q >= 0 && !b->plan->quantizers[q].weight) || ((n->op->flags & BL_OP_JOINS) && n->op->integer));
    if (t->data) {
        bl_tensor *copy = BL_NEW(scratch, bl_tensor, 1);
        BL_ALLOC_TRY(b->ctx, copy);
        *copy = *t;
        const float *changed = bl_weights_find(b->weights, v);
        if (changed) copy->data = (void *)(uintptr_t)changed;
        constant[k] = copy;
    }
    if (t->data && !operand) return BL_OK;
    if (b->tensor_of_value[v] < 0) BL_TRY(make_ivalue(b, v));
    if (t->type == BL_F32) in[k] = &b->ivalues[v];
    return BL_OK;
}

static bl_status lower_node(bl_pbuilder *b, bl_arena *scratch, int i)
{
    const bl_node *n = &b->g->nodes[i];
    const bl_ivalue **in = BL_NEW(scratch, const bl_ivalue *, (size_t)n->n_in);
    const bl_ivalue **outs = BL_NEW(scratch, const bl_ivalue *, (size_t)n->n_out);
    const bl_tensor **constant = BL_NEW(scratch, const bl_tensor *, (size_t)n->n_in);
    if (!in || !outs || !constant) return bl_pending(b->ctx);
    bl_iweight weight;
    bl_lowering low = { .ctx = b->ctx, .scratch = scratch, .node = n, .in = in, .constant = constant, .user = b,
                        .outs = outs, .n_out = n->n_out, .emit = emit_step, .blob = add_blob, .pack = pack_weights, .book = pack_book, .grouped = pack_groups,
                        .code = constant_code, .temp = temp_tensor, .alias = share_memory };
    for (int k = 0; k < n->n_in; k++)
        if (n->in[k] >= 0) BL_TRY(lower_input(b, scratch, n, k, in, constant));
    if (bl_layer_weight(b->g, i) >= 0) {
        BL_TRY(bl_build_weight(b, scratch, i, &weight));
        low.weight = &weight;
    }
    for (int k = 0; k < n->n_out; k++) {
        if (n->out[k] < 0) continue;
        BL_TRY(make_ivalue(b, n->out[k]));
        outs[k] = &b->ivalues[n->out[k]];
    }
    low.out = outs[0];
    return lower_forms(b, &low, i);
}

/* All nodes that have no form at all in one message. */
static bl_status check_operators(bl_pbuilder *b)
{
    char list[700];
    size_t at = 0, missing = 0;
    for (int i = 0; i < b->g->n_nodes; i++) {
        const bl_node *n = &b->g->nodes[i];
        const char *why = bl_island_refuses(b->g, n);
        if (!why) continue;
        missing++;
        if (at < sizeof list - 160)
            at += (size_t)snprintf(list + at, sizeof list - at, "%s%s \"%.60s\" (%s)", at ? ", " : "", n->op->name, n->name, why);
    }
    return missing ? bl_fail(b->ctx, BL_UNAVAILABLE, b->g->source, "keep these operators out of the integer part",
                             "%zu nodes have no integer form: %s%s", missing, list, at >= sizeof list - 160 ? ", ..." : "")
                   : BL_OK;
}

static bl_status lower_edge(bl_pbuilder *b, int v, bool is_output, bl_pedge *edge)
{
    const bl_tensor *t = &b->g->values[v].t;
    if (!bl_dtype_bytes(t->type) || t->type == BL_F16 || t->type == BL_BF16 || t->data)
        return bl_fail(b->ctx, BL_UNAVAILABLE, b->g->values[v].name, t->data ? "export the network without it" : "give it float32 data",
                       "network inputs and outputs %s have no integer form",
                       t->data ? "that are constant" : bl_format(b->arena, "of type %s", bl_dtype_name(t->type)));
    if (!is_output) BL_TRY(make_ivalue(b, v));
    const bl_ivalue *iv = &b->ivalues[v];
    bl_step s;
    memset(&s, 0, sizeof s);
    int number = (int)(edge - b->p->edges);
    s.contract = is_output ? BL_C_DEQUANTIZE : BL_C_QUANTIZE;
    s.in[0] = is_output ? iv->number : number;
    s.in[1] = -1;
    s.out = is_output ? number : iv->number;
    bl_step_edge *e = &s.u.edge;
    e->rank = BL_MAX(iv->rank, 1);
    e->size[0] = 1;
    for (int64_t d = iv->rank - 1, row = 1; d >= 0; row *= iv->dim[d--]) {
        e->size[d] = iv->dim[d];
        (is_output ? e->out_stride : e->in_stride)[d] = row;
        (is_output ? e->in_stride : e->out_stride)[d] = iv->stride[d];
    }
    e->g = iv->grid;
    *edge = (bl_pedge){ .rank = iv->rank, .is_output = is_output, .tensor = (uint32_t)iv->number };
    memcpy(edge->dim, iv->dim, sizeof edge->dim);
    BL_TRY(bl_build_string(b, b->g->values[v].name, &edge->name));
    bl_node node = { .name = b->g->values[v].name };
    bl_lowering low = { .ctx = b->ctx, .node = &node, .user = b };
    return emit_step(&low, &s);
}

static bl_status lower_all(bl_pbuilder *b)
{
    const bl_graph *g = b->g;
    size_t nv = (size_t)g->n_values;
    b->tensor_of_value = BL_NEW(b->arena, int, nv);
    b->ivalues = BL_NEW(b->arena, bl_ivalue, nv);
    bl_pedge *edges = BL_NEW(b->arena, bl_pedge, (size_t)(g->n_inputs + g->n_outputs));
    if (!b->tensor_of_value || !b->ivalues || !edges) return bl_pending(b->ctx);
    bl_arena *scratch = bl_arena_new(b->ctx, "lowering");
    BL_ALLOC_TRY(b->ctx, scratch);
    for (size_t v = 0; v < nv; v++) b->tensor_of_value[v] = -1;
    b->p->edges = edges;
    b->p->n_inputs = (uint32_t)g->n_inputs;
    b->p->n_outputs = (uint32_t)g->n_outputs;
    bl_status s = check_operators(b);
    if (s == BL_OK) s = bl_plan_layout(b);
    for (int i = 0; s == BL_OK && i < g->n_inputs; i++) s = lower_edge(b, g->inputs[i], false, &edges[i]);
    for (int i = 0; s == BL_OK && i < g->n_nodes; i++) {
        bl_mark mark = bl_arena_mark(scratch);
        s = lower_node(b, scratch, i);
        bl_arena_reset(scratch, mark);
    }
    for (int i = 0; s == BL_OK && i < g->n_outputs; i++)
        s = lower_edge(b, g->outputs[i], true, &edges[g->n_inputs + i]);
    bl_arena_free(scratch);
    return s;
}

static bl_status finish(bl_pbuilder *b)
{
    bl_program *p = b->p;
    json_t *meta = json_pack("{s:s, s:s, s:s, s:s, s:I}", "model", b->g->name ? b->g->name : "", "source",
                             bl_path_base(b->g->source ? b->g->source : ""), "recipe", b->plan->recipe, "tool",
                             BL_VERSION_STRING, "seed", (json_int_t)b->plan->seed);
    if (!meta) return bl_fail(b->ctx, BL_DATA, b->g->source, "rename it", "its name is not UTF-8 text");
    p->meta = bl_json_text(b->arena, meta, false);
    json_decref(meta);
    BL_ALLOC_TRY(b->ctx, p->meta);
    p->meta_bytes = strlen(p->meta) + 1;
    BL_TRY(bl_plan_memory(b));
    for (uint32_t t = 0; t < p->n_tensors; t++) b->tensors[t].alias = b->alias[t];
    p->graph = b->g->hash;
    p->plan = b->plan->hash;
    p->steps = b->steps;
    p->tensors = b->tensors;
    p->strings = b->strings;
    p->constants = b->constants;
    p->islands = b->islands;
    p->ports = b->ports;
    p->attrs = b->attrs;
    return bl_program_validate(b->ctx, b->g->source ? b->g->source : "program", p);
}

bl_status bl_lower(bl_ctx *ctx, const bl_graph *graph, const bl_plan *plan, const bl_weights *weights,
                   bl_program **out)
{
    bl_arena *a = bl_arena_new(ctx, "program");
    BL_ALLOC_TRY(ctx, a);
    bl_pbuilder b = { .ctx = ctx, .arena = a, .g = graph, .plan = plan, .weights = weights };
    b.p = BL_NEW(a, bl_program, 1);
    bl_status s = b.p ? BL_OK : bl_pending(ctx);
    if (s == BL_OK) {
        b.p->arena = a;
        s = lower_all(&b);
    }
    if (s == BL_OK) s = finish(&b);
    if (s != BL_OK) bl_arena_free(a);
    else *out = b.p;
    return s;
}

void bl_program_free(bl_program *program)
{
    if (!program) return;
    bl_unmap(&program->map);
    bl_arena_free(program->arena);
}
