/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Making a walker: which nodes oneDNN takes, which pointwise ones may stay in its order, and where
 * each buffer lies.  Without keep_all, and in reruns whose caller says what it looks at, a buffer's bytes are used
 * again once its last reader has run (first-fit over one block); graph inputs and outputs stay.
 */
#include "graph/walk_private.h"

#include <string.h>

#define ALIGN 64

size_t bl_walk_buffer_bytes(const bl_walk *walk, int value, bool packed)
{
    bl_tensor view;

    bl_layout_view(&walk->graph->values[value].t, packed ? walk->layout[value] : BL_LAYOUT_PLAIN,
                   NULL, &view);
    return bl_tensor_bytes(&view);
}

/* ------------------------------------------------------------------ pointwise nodes */

static bool is_one_constant(const bl_graph *g, int value)
{
    return value >= 0 && g->values[value].producer < 0 && g->values[value].t.data &&
           g->values[value].t.rank <= 1 && bl_tensor_count(&g->values[value].t) == 1;
}

/* Zeros give a zero: what oneDNN's rounded-up channels hold must stay 0.  Asked of the operator
 * itself, on one element, with constant operands as they are. */
static bl_status keeps_zero(const bl_walk *walk, const bl_node *node, bool *out)
{
    float zero = 0.0f, result = 0.0f;
    bl_tensor one = {.type = BL_F32, .data = &zero}, y = {.type = BL_F32, .data = &result};
    bl_mark mark = bl_arena_mark(walk->scratch);
    const bl_tensor **in = BL_NEW(walk->scratch, const bl_tensor *, (size_t)node->n_in);
    bl_call call = {.ctx = walk->ctx,
                    .node = node,
                    .n_in = node->n_in,
                    .n_out = 1,
                    .in = in,
                    .out = &y,
                    .scratch = walk->scratch};
    bl_status status;

    BL_ALLOC_TRY(walk->ctx, in);
    for (int i = 0; i < node->n_in; i++)
        in[i] = node->in[i] < 0                             ? NULL
                : is_one_constant(walk->graph, node->in[i]) ? &walk->graph->values[node->in[i]].t
                                                            : &one;
    status = node->op->forward(&call);
    bl_arena_reset(walk->scratch, mark);
    *out = result == 0.0f && node->lo <= 0 && node->hi >= 0;
    return status;
}

/* A pointwise node whose flowing inputs have the rank and channels of its output can run in the
 * layout of any of them; the others, and the output, then have that layout too. */
static bl_status plan_pointwise(bl_walk *walk, int n)
{
    const bl_graph *g = walk->graph;
    const bl_node *node = &g->nodes[n];
    const bl_tensor *y = &g->values[node->out[0]].t;
    bl_layout layout = BL_LAYOUT_PLAIN;
    bool zero = true;

    if (!(node->op->flags & BL_OP_POINTWISE) || node->n_out != 1 || y->type != BL_F32 ||
        y->rank < 3)
        return BL_OK;
    for (int i = 0; i < node->n_in; i++) {
        const bl_tensor *x;
        if (node->in[i] < 0 || is_one_constant(g, node->in[i])) continue;
        x = &g->values[node->in[i]].t;
        if (x->data || x->type != BL_F32 || x->rank != y->rank || x->dim[1] != y->dim[1])
            return BL_OK;
        if (walk->layout[node->in[i]] == BL_LAYOUT_PLAIN) continue;
        if (layout != BL_LAYOUT_PLAIN && layout != walk->layout[node->in[i]]) return BL_OK;
        layout = walk->layout[node->in[i]];
    }
    if (layout == BL_LAYOUT_PLAIN) return BL_OK;
    if (bl_layout_rounds(y, layout)) BL_TRY(keeps_zero(walk, node, &zero));
    if (!zero) return BL_OK;
    for (int i = 0; i < node->n_in; i++)
        if (node->in[i] >= 0 && !is_one_constant(g, node->in[i]))
            walk->layout[node->in[i]] = layout;
    walk->layout[node->out[0]] = layout;
    walk->packs[n] = 1;
    return BL_OK;
}

/* A node that works by channel runs in whatever layout its input has. */
static void plan_channels(bl_walk *walk, int n)
{
    const bl_node *node = &walk->graph->nodes[n];
    bl_layout layout = walk->layout[node->in[0]];

    if (!(node->op->flags & BL_OP_CHANNELS) || layout == BL_LAYOUT_PLAIN) return;
    walk->layout[node->out[0]] = layout;
    walk->packs[n] = 1;
}

static bl_status plan_nodes(bl_walk *walk)
{
    const bl_graph *g = walk->graph;

    for (int n = 0; n < g->n_nodes; n++) {
        const bl_node *node = &g->nodes[n];
        bool taken = false;
        if (!node->op->forward)
            return bl_fail(walk->ctx, BL_UNAVAILABLE, node->name,
                           "remove the operator from the model", "%s has no float form",
                           node->op->name);
        if (walk->dnn) BL_TRY(bl_dnn_plan(walk->dnn, n, walk->layout, &taken));
        walk->dnn_takes[n] = taken;
        if (walk->dnn && !taken) BL_TRY(plan_pointwise(walk, n));
        if (walk->dnn && !taken) plan_channels(walk, n);
    }
    return walk->dnn ? bl_dnn_planned(walk->dnn) : BL_OK;
}

/* ------------------------------------------------------------------ memory */

typedef struct block {
    size_t offset, size;
    int last;
} block; /* last: node after which it is free */

typedef struct planner {
    block *live; /* by offset */
    int n_live;
    size_t size;
} planner;

/* First gap that holds `size` among the blocks alive at node `now`. */
static size_t take(planner *p, size_t size, int now, int last)
{
    size_t offset = 0;
    int at = 0, kept = 0;

    for (int i = 0; i < p->n_live; i++)
        if (p->live[i].last >= now) p->live[kept++] = p->live[i];
    p->n_live = kept;
    while (at < p->n_live && p->live[at].offset - offset < size) {
        offset = p->live[at].offset + p->live[at].size;
        at++;
    }
    memmove(p->live + at + 1, p->live + at, (size_t)(p->n_live - at) * sizeof *p->live);
    p->live[at] = (block){offset, size, last};
    p->n_live++;
    p->size = BL_MAX(p->size, offset + size);
    return offset;
}

static size_t rounded(size_t bytes)
{
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

/* Node after which nobody reads the value. */
static int last_use(const bl_graph *g, const int *last_reader, int value, bool keep)
{
    const bl_value *v = &g->values[value];
    return keep || v->is_input || v->is_output ? g->n_nodes : BL_MAX(last_reader[value], v->producer);
}

/* offsets[2 * value] of the plain buffer, [2 * value + 1] of the packed one. */
static void place_value(const bl_walk *walk, planner *p, int value, int now, int last,
                        size_t *offsets)
{
    offsets[2 * value] = take(p, rounded(bl_walk_buffer_bytes(walk, value, false)), now, last);
    if (walk->layout[value] != BL_LAYOUT_PLAIN)
        offsets[2 * value + 1] =
            take(p, rounded(bl_walk_buffer_bytes(walk, value, true)), now, last);
}

/* Gives every value that a run makes its place in one piece of memory.  looks: by value, those that stay; NULL: as `keep`. */
static bl_status place_set(bl_walk *walk, bl_place *set, bool keep, const uint8_t *looks)
{
    const bl_graph *g = walk->graph;
    bl_mark mark = bl_arena_mark(walk->scratch);
    size_t n = (size_t)g->n_values;
    size_t *offsets = BL_NEW(walk->scratch, size_t, 2 * n);
    int *last_reader = BL_NEW(walk->scratch, int, n);
    planner p = {.live = BL_NEW(walk->scratch, block, 2 * n + 1)};
    uint8_t *memory;

    BL_ALLOC_TRY(walk->ctx, offsets);
    BL_ALLOC_TRY(walk->ctx, last_reader);
    BL_ALLOC_TRY(walk->ctx, p.live);
    for (int i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].n_in; k++)
            if (g->nodes[i].in[k] >= 0) last_reader[g->nodes[i].in[k]] = i;
    for (int i = 0; i < g->n_inputs; i++)
        place_value(walk, &p, g->inputs[i], 0, g->n_nodes, offsets);
    for (int i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].n_out; k++) {
            int v = g->nodes[i].out[k];
            if (v >= 0) place_value(walk, &p, v, i, last_use(g, last_reader, v, looks ? looks[v] : keep), offsets);
        }
    memory = bl_alloc(walk->arena, BL_MAX(p.size, ALIGN), 1);
    BL_ALLOC_TRY(walk->ctx, memory);
    for (int v = 0; v < g->n_values; v++) {
        if (g->values[v].producer < 0 && !g->values[v].is_input) continue;
        set[v].t.data = memory + offsets[2 * v];
        if (walk->layout[v] != BL_LAYOUT_PLAIN) set[v].packed = memory + offsets[2 * v + 1];
    }
    bl_arena_reset(walk->scratch, mark);
    return BL_OK;
}

static bl_status place_base(bl_walk *walk, bool keep_all)
{
    const bl_graph *g = walk->graph;
    for (int v = 0; v < g->n_values; v++) {
        walk->base[v].t = g->values[v].t;
        walk->base[v].has_plain = walk->base[v].t.data != NULL; /* constants */
    }
    return place_set(walk, walk->base, keep_all, NULL);
}

bl_status bl_walk_place_trial(bl_walk *walk)
{
    if (walk->trial[walk->graph->inputs[0]].t.data) return BL_OK;
    return place_set(walk, walk->trial, false, walk->looks);
}

/* ------------------------------------------------------------------ making, freeing */

static bl_status make_tables(bl_walk *walk, bool keep_all)
{
    const bl_graph *g = walk->graph;
    size_t values = (size_t)g->n_values, nodes = (size_t)g->n_nodes, in = 1, out = 1;

    for (int n = 0; n < g->n_nodes; n++) {
        in = BL_MAX(in, (size_t)g->nodes[n].n_in);
        out = BL_MAX(out, (size_t)g->nodes[n].n_out);
    }
#define TABLE(field, type, count)                                                                  \
    do {                                                                                           \
        walk->field = BL_NEW(walk->arena, type, count);                                            \
        BL_ALLOC_TRY(walk->ctx, walk->field);                                                      \
    } while (0)
    TABLE(layout, bl_layout, values);
    TABLE(base, bl_place, values);
    TABLE(versions, uint32_t, values);
    TABLE(dnn_takes, uint8_t, nodes);
    TABLE(packs, uint8_t, nodes);
    TABLE(call_in, const bl_tensor *, in);
    TABLE(call_view, bl_tensor, in);
    TABLE(call_out, bl_tensor, out);
    if (keep_all) {
        TABLE(in_trial, uint8_t, values);
        TABLE(trial, bl_place, values);
        for (int v = 0; v < g->n_values; v++) {
            walk->trial[v].t = g->values[v].t;
            walk->trial[v].t.data = NULL;
        }
    }
#undef TABLE
    return BL_OK;
}

static bl_status build(bl_walk *walk, const bl_walk_options *options)
{
    bool reference = options && options->reference, keep_all = options && options->keep_all;

    BL_TRY(make_tables(walk, keep_all));
    if (!reference)
        BL_TRY(bl_dnn_new(walk->ctx, walk->arena, walk->graph, walk->versions,
                          options ? options->threads : 1, options && options->training, &walk->dnn));
    walk->training = options && options->training;
    walk->looks = options && keep_all ? options->looks : NULL;
    BL_TRY(plan_nodes(walk));
    return place_base(walk, keep_all);
}

bl_status bl_walk_new(bl_ctx *ctx, const bl_graph *graph, const bl_walk_options *options,
                      bl_walk **out)
{
    bl_arena *arena = bl_arena_new(ctx, "walk");
    bl_walk *walk;
    bl_status status;
    int before;

    BL_ALLOC_TRY(ctx, arena);
    walk = BL_NEW(arena, bl_walk, 1);
    if (!walk) {
        bl_arena_free(arena);
        return bl_pending(ctx);
    }
    *walk = (bl_walk){.self = walk, .ctx = ctx, .graph = graph, .arena = arena};
    walk->scratch = bl_arena_new(ctx, "walk scratch");
    if (!walk->scratch) {
        bl_walk_free(walk);
        return bl_pending(ctx);
    }
    before = bl_dnn_enter();
    status = build(walk, options);
    bl_dnn_leave(before);
    if (status != BL_OK) {
        bl_walk_free(walk);
        return status;
    }
    *out = walk;
    return BL_OK;
}

void bl_walk_free(bl_walk *walk)
{
    if (!walk) return;
    bl_dnn_free(walk->dnn, (bl_place *const[]){walk->base, walk->trial}, 2);
    bl_arena_free(walk->scratch);
    bl_arena_free(walk->arena);
}
