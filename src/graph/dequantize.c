/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A quantized network made float again.  QuantizeLinear and DequantizeLinear pairs are taken out of
 * the way of what flows; constant codes become numbers by folding.
 *
 *     x -> Q -> DQ -> y                          x -> y
 *     x -> Q -> MaxPool, Pad, Reshape .. -> DQ   x -> MaxPool, Pad, Reshape .. -> y
 *     grid from 0 on, x may be below 0           x -> Clip(0, greatest) -> y
 *     DQ reads the codes on another grid         x -> Mul -> Add, clamped -> y
 *
 * Exporters, ours among them, leave out a Relu or Clip where Q's saturation is one, so a grid that
 * begins or ends at zero keeps it; where x is never below zero anyway, and at the network's inputs, there
 * is nothing to keep.  Saturation of other grids is rounding's companion and goes with it.
 * In place: every Q and DQ turns into an operator on numbers, and folding removes the Identities.
 */
#include "graph/graph_private.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define LIST_MAX 800        /* of the message that names what stands in the way */

/* What holds the scale and zero point of a Q or DQ. */
typedef struct grid { const bl_tensor *scale, *zero; bl_dtype type; int64_t axis, block; } grid;

typedef struct undoing {
    bl_edit *e;
    int *origin;            /* by value: the Q whose codes it holds, moved or not; -1: it holds none */
    uint8_t *positive;      /* by value: never below zero */
    uint8_t *codes;         /* by node: Q, DQ or another that is not float yet */
} undoing;

/* ------------------------------------------------------------------ grids */

static bool read_grid(const bl_edit *e, const bl_node *n, bl_dtype type, grid *g)
{
    *g = (grid){.scale = bl_edit_input_constant(e, n, 1, BL_F32), .type = type,
                .axis = bl_attr_int(n, "axis", 1), .block = bl_attr_int(n, "block_size", 0)};
    if (n->n_in > 2 && n->in[2] >= 0) {
        g->zero = bl_edit_input_constant(e, n, 2, type);
        if (!g->zero) return false;
    }
    return g->scale != NULL;
}

static double zero_of(const grid *g, int64_t i)
{
    return g->zero ? bl_element_f64(g->zero, i) : 0;
}

static bool same_grid(const grid *a, const grid *b)
{
    int64_t n = bl_tensor_count(a->scale);
    if (n != bl_tensor_count(b->scale) || (n > 1 && (a->axis != b->axis || a->block != b->block))) return false;
    for (int64_t i = 0; i < n; i++)
        if (bl_element_f64(a->scale, i) != bl_element_f64(b->scale, i) || zero_of(a, i) != zero_of(b, i))
            return false;
    return true;
}

/* Least and greatest code. */
static void code_range(bl_dtype type, double *lo, double *hi)
{
    int bits = type == BL_U2 || type == BL_I2   ? 2
               : type == BL_U4 || type == BL_I4 ? 4
               : type == BL_U8 || type == BL_I8 ? 8
                                                : 16;
    bool is_signed = type == BL_I2 || type == BL_I4 || type == BL_I8 || type == BL_I16;
    *lo = is_signed ? -ldexp(1, bits - 1) : 0;
    *hi = *lo + ldexp(1, bits) - 1;
}

/* The numbers between which `codes` lie when they are read on grid g; false: one grid a channel. */
static bool bounds(const grid *g, bl_dtype codes, float *lo, float *hi)
{
    double least, greatest, scale = bl_element_f64(g->scale, 0);
    if (bl_tensor_count(g->scale) != 1) return false;
    code_range(codes, &least, &greatest);
    *lo = (float)((least - zero_of(g, 0)) * scale);
    *hi = (float)((greatest - zero_of(g, 0)) * scale);
    return true;
}

/* ------------------------------------------------------------------ nodes in place */

static bl_status scalar(bl_edit *e, const char *wish, float x, int *value)
{
    float *data = BL_NEW(e->arena, float, 1);
    BL_ALLOC_TRY(e->ctx, data);
    *data = x;
    bl_tensor t = {.type = BL_F32, .data = data};
    return bl_edit_constant(e, wish, &t, value);
}

/* The node computes `op` of its input 0 and up to two scalars; its output flows as float. */
static bl_status become(bl_edit *e, int node, const char *op, int n_scalars, const float *scalars)
{
    bl_node *n = &e->g.nodes[node];
    const char *name = e->g.values[n->out[0]].name;
    int *in = BL_NEW(e->arena, int, (size_t)n_scalars + 2);
    BL_ALLOC_TRY(e->ctx, in);
    in[0] = n->in[0];
    for (int i = 0; i < n_scalars; i++) BL_TRY(scalar(e, name, scalars[i], &in[i + 1]));
    n->op = bl_op_find("", op);
    n->in = in;
    n->n_in = n_scalars + 1;
    n->n_attr = 0;
    n->opset = 13; /* Clip takes its bounds as inputs */
    e->g.values[n->out[0]].t.type = BL_F32;
    return BL_OK;
}

/* ------------------------------------------------------------------ what is never below zero */

static bool is_one_of(const bl_node *n, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (bl_node_is(n, names[i])) return true;
    return false;
}

static void note_positive(undoing *u, const bl_node *n)
{
    static const char *const own[] = {"Abs", "Exp", "HardSigmoid", "Sigmoid", "Softmax", "Sqrt"};
    static const char *const passes[] = {"Add", "AveragePool", "Concat", "GlobalAveragePool", "Max", "Mul",
                                         "ReduceMean", "Sum"};
    float lo, hi;
    bool moves = (n->op->flags & BL_OP_MOVES) != 0;
    bool yes = is_one_of(n, own, BL_COUNTOF(own)) || (bl_edit_bounds(u->e, n, &lo, &hi) && lo >= 0);
    if (!yes && (moves || is_one_of(n, passes, BL_COUNTOF(passes)))) {
        yes = n->n_in > 0 && n->in[0] >= 0;
        for (int i = 0; i < (moves ? 1 : n->n_in) && yes; i++) yes = n->in[i] >= 0 && u->positive[n->in[i]];
        yes = yes && !bl_node_is(n, "Pad"); /* its own constant may be anything */
    }
    for (int i = 0; i < n->n_out; i++)
        if (n->out[i] >= 0) u->positive[n->out[i]] = yes;
}

/* ------------------------------------------------------------------ Q and DQ */

static bl_status undo_quantize(undoing *u, int node)
{
    bl_edit *e = u->e;
    const bl_node *n = &e->g.nodes[node];
    bl_value *x = &e->g.values[n->in[0]], *y = &e->g.values[n->out[0]];
    grid g;
    float lo, hi;
    if (x->t.type != BL_F32 || y->is_output || !read_grid(e, n, y->t.type, &g)) return BL_OK;
    bool one = bounds(&g, y->t.type, &lo, &hi);
    bool keeps = one && !x->is_input && ((lo >= 0 && !u->positive[n->in[0]]) || hi <= 0);
    u->codes[node] = 0;
    u->origin[n->out[0]] = node;
    u->positive[n->out[0]] = one && lo >= 0;
    return keeps ? become(e, node, "Clip", 2, (float[]){lo, hi}) : become(e, node, "Identity", 0, NULL);
}

/*
 * Codes that Q made on one grid and this node reads on another: y = x * r + t within what the codes
 * can say.  Takes both nodes, so Q has no other reader.
 */
static bl_status undo_rescale(undoing *u, int node, const grid *from, const grid *to, bl_dtype codes)
{
    bl_edit *e = u->e;
    bl_node *n = &e->g.nodes[node];
    int q = u->origin[n->in[0]];
    float lo, hi;
    if (e->g.nodes[q].out[0] != n->in[0] || e->g.values[n->in[0]].n_readers != 1 ||
        bl_tensor_count(from->scale) != 1 || !bounds(to, codes, &lo, &hi))
        return BL_OK;
    double scale = bl_element_f64(to->scale, 0), ratio = scale / bl_element_f64(from->scale, 0);
    if (!isfinite(ratio)) return BL_OK;
    float r = (float)ratio, t = (float)((zero_of(from, 0) - zero_of(to, 0)) * scale);
    BL_TRY(become(e, q, "Mul", 1, &r));
    BL_TRY(become(e, node, "Add", 1, &t));
    n->lo = lo;
    n->hi = hi;
    u->codes[node] = 0;
    u->positive[n->out[0]] = lo >= 0;
    return BL_OK;
}

static bl_status undo_dequantize(undoing *u, const grid *grids, int node)
{
    bl_edit *e = u->e;
    const bl_node *n = &e->g.nodes[node];
    int from = u->origin[n->in[0]];
    grid g;
    if (from < 0 || !read_grid(e, n, grids[from].type, &g)) return BL_OK;
    if (!same_grid(&grids[from], &g)) return undo_rescale(u, node, &grids[from], &g, grids[from].type);
    u->codes[node] = 0;
    u->positive[n->out[0]] = u->positive[n->in[0]];
    return become(e, node, "Identity", 0, NULL);
}

/* The code that Pad puts around codes becomes the number that it stands for; false: not known which. */
static bl_status pad_with_number(undoing *u, int node, const grid *g, bool *done)
{
    bl_edit *e = u->e;
    bl_node *n = &e->g.nodes[node];
    bool given = n->n_in > 2 && n->in[2] >= 0;
    const bl_tensor *code = given ? bl_edit_input_constant(e, n, 2, g->type) : NULL;
    *done = bl_tensor_count(g->scale) == 1 && given == (code != NULL);
    if (!*done) return BL_OK;
    double x = ((code ? bl_element_f64(code, 0) : 0) - zero_of(g, 0)) * bl_element_f64(g->scale, 0);
    int *in = BL_NEW(e->arena, int, (size_t)BL_MAX(n->n_in, 3));
    BL_ALLOC_TRY(e->ctx, in);
    in[1] = -1;
    memcpy(in, n->in, (size_t)n->n_in * sizeof(int));
    BL_TRY(scalar(e, e->g.values[n->out[0]].name, (float)x, &in[2]));
    n->in = in;
    n->n_in = BL_MAX(n->n_in, 3);
    return BL_OK;
}

/* Codes go through unchanged where they are only moved. */
static bl_status follow(undoing *u, const grid *grids, int node)
{
    bl_edit *e = u->e;
    const bl_node *n = &e->g.nodes[node];
    bool any = false;
    for (int i = 0; i < n->n_in; i++) any |= n->in[i] >= 0 && u->origin[n->in[i]] >= 0;
    if (!any) return BL_OK;
    int from = u->origin[n->in[0]];
    bool moves = (n->op->flags & BL_OP_MOVES) && from >= 0;
    for (int i = 1; i < n->n_in; i++) moves &= n->in[i] < 0 || u->origin[n->in[i]] < 0;
    for (int i = 0; i < n->n_out; i++) moves &= n->out[i] < 0 || !e->g.values[n->out[i]].is_output;
    if (moves && bl_node_is(n, "Pad")) BL_TRY(pad_with_number(u, node, &grids[from], &moves));
    u->codes[node] = !moves;
    for (int i = 0; i < n->n_out && moves; i++) /* not the places that MaxPool may give */
        if (n->out[i] >= 0 && e->g.values[n->out[i]].t.type == grids[from].type) u->origin[n->out[i]] = from;
    return BL_OK;
}

/* ------------------------------------------------------------------ what stands in the way */

static bl_status refuse(const undoing *u)
{
    const bl_edit *e = u->e;
    char what[LIST_MAX + 200];
    size_t used = (size_t)snprintf(what, sizeof(what), "operators on codes that no pair encloses: ");
    bool cut = false;
    for (int i = 0, shown = 0; i < e->g.n_nodes && !cut; i++) {
        const bl_op *op = e->g.nodes[i].op;
        int count = 0;
        if (!u->codes[i]) continue;
        for (int k = 0; k < i && !count; k++) count = u->codes[k] && e->g.nodes[k].op == op;
        if (count) continue; /* listed at its first node */
        for (int k = i; k < e->g.n_nodes; k++) count += u->codes[k] && e->g.nodes[k].op == op;
        cut = used + 180 > LIST_MAX;
        used += (size_t)snprintf(what + used, sizeof(what) - used, cut ? " and more" : "%s%s x%d (first at node \"%.80s\")",
                                 shown++ ? ", " : "", op->name, count, e->g.nodes[i].name);
    }
    return bl_fail(e->ctx, BL_UNAVAILABLE, e->g.source,
                   "run it as written, or take the network from before it was quantized", "%s", what);
}

/* ------------------------------------------------------------------ the pass */

static bl_status undo_all(undoing *u, grid *grids)
{
    bl_edit *e = u->e;
    int left = 0;
    for (int i = 0; i < e->g.n_values; i++) u->origin[i] = -1;
    for (int i = 0; i < e->g.n_nodes; i++) {
        const bl_node *n = &e->g.nodes[i];
        if (e->dead[i]) continue;
        u->codes[i] = (n->op->flags & BL_OP_CODES) != 0;
        note_positive(u, n);
        if (bl_node_is(n, "QuantizeLinear")) {
            read_grid(e, n, e->g.values[n->out[0]].t.type, &grids[i]);
            BL_TRY(undo_quantize(u, i));
        } else if (bl_node_is(n, "DequantizeLinear")) {
            BL_TRY(undo_dequantize(u, grids, i));
        } else {
            BL_TRY(follow(u, grids, i));
        }
        left += u->codes[i];
    }
    return left ? refuse(u) : BL_OK;
}

static bl_status dequantize(bl_ctx *ctx, const bl_graph *graph, bl_arena *arena, bl_graph **out)
{
    bl_edit e;
    undoing u = {.e = &e};
    BL_TRY(bl_edit_init(&e, ctx, graph, arena));
    BL_TRY(bl_fold(&e));
    bl_edit_recount(&e);
    u.origin = BL_NEW(arena, int, (size_t)e.max_values);
    BL_ALLOC_TRY(ctx, u.origin);
    u.positive = BL_NEW(arena, uint8_t, (size_t)e.max_values);
    BL_ALLOC_TRY(ctx, u.positive);
    u.codes = BL_NEW(arena, uint8_t, (size_t)e.g.n_nodes);
    BL_ALLOC_TRY(ctx, u.codes);
    grid *grids = BL_NEW(arena, grid, (size_t)e.g.n_nodes);
    BL_ALLOC_TRY(ctx, grids);
    BL_TRY(undo_all(&u, grids));
    bl_edit_recount(&e);
    BL_TRY(bl_fold(&e));
    e.g.quantized = false;
    BL_TRY(bl_graph_copy(ctx, &e.g, e.dead, out));
    return bl_graph_infer(ctx, *out);
}

bl_status bl_dequantize_graph(bl_ctx *ctx, const bl_graph *graph, bl_graph **out)
{
    bl_graph *result = NULL;
    bl_arena *arena = bl_arena_new(ctx, "making a graph float");
    BL_ALLOC_TRY(ctx, arena);
    bl_status status = graph->quantized ? dequantize(ctx, graph, arena, &result) : bl_graph_copy(ctx, graph, NULL, &result);
    if (status == BL_OK && !graph->quantized) status = bl_graph_infer(ctx, result);
    bl_arena_free(arena);
    if (status != BL_OK)
        bl_graph_free(result);
    else
        *out = result;
    return status;
}

bl_status bl_graph_wants_float(bl_ctx *ctx, const bl_graph *graph)
{
    if (!graph->quantized) return BL_OK;
    return bl_fail(ctx, BL_USAGE, graph->source && *graph->source ? graph->source : "graph",
                   "add --dequantize to make it float again first", "the network is quantized already");
}
