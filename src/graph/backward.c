/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reverse mode over the float walk.  Nodes between what is wanted and what is seeded are gone through
 * backwards; a value's gradient is the sum of what its readers give, in their order, and lies in the
 * same orders (plain, packed) as the value itself.  Buffers are used again once a value's producer
 * has run.
 */
#include "graph/walk_private.h"

#include <stdio.h>
#include <string.h>

struct bl_back {
    bl_ctx *ctx;
    bl_walk *walk;
    const bl_graph *graph;
    bl_arena *arena, *scratch;
    bl_dnn_back *dnn;           /* NULL: reference only */
    uint8_t *marks;             /* by value: BL_BACK_* */
    uint8_t *active;            /* by value: depends on a wanted value and leads to a seeded one */
    bl_place *grad;             /* by value */
    uint8_t *has;               /* by value: a reader has given something in this run */
    uint8_t *on_dnn;            /* by node */
    const bl_tensor **in, **out_grad; /* arguments of the call under way */
    bl_tensor *in_view, *out_view, *grad_view, *in_grad;
};

/* ------------------------------------------------------------------ planning */

static bool is_f32(const bl_graph *g, int value)
{
    return g->values[value].t.type == BL_F32;
}

/* What depends on a wanted value, and leads to a seeded one. */
static void find_active(bl_back *back)
{
    const bl_graph *g = back->graph;
    uint8_t *down = back->active, *up = back->has; /* has is free until a run */

    for (int v = 0; v < g->n_values; v++) {
        down[v] = (back->marks[v] & BL_BACK_WANTED) && is_f32(g, v);
        up[v] = (back->marks[v] & BL_BACK_SEEDED) != 0;
    }
    for (int n = 0; n < g->n_nodes; n++) {
        const bl_node *node = &g->nodes[n];
        bool any = false;
        for (int i = 0; i < node->n_in; i++) any = any || (node->in[i] >= 0 && down[node->in[i]]);
        for (int i = 0; any && i < node->n_out; i++)
            if (node->out[i] >= 0 && is_f32(g, node->out[i])) down[node->out[i]] = 1;
    }
    for (int n = g->n_nodes - 1; n >= 0; n--) {
        const bl_node *node = &g->nodes[n];
        bool any = false;
        for (int i = 0; i < node->n_out; i++) any = any || (node->out[i] >= 0 && up[node->out[i]]);
        for (int i = 0; any && i < node->n_in; i++)
            if (node->in[i] >= 0) up[node->in[i]] = 1;
    }
    for (int v = 0; v < g->n_values; v++) back->active[v] = down[v] && up[v];
    memset(up, 0, (size_t)g->n_values);
}

static bool node_is_active(const bl_back *back, const bl_node *node)
{
    bool in = false, out = false;

    for (int i = 0; i < node->n_in; i++) in = in || (node->in[i] >= 0 && back->active[node->in[i]]);
    for (int i = 0; i < node->n_out; i++)
        out = out || (node->out[i] >= 0 && back->active[node->out[i]]);
    return in && out;
}

static bl_status plan_nodes(bl_back *back)
{
    const bl_graph *g = back->graph;
    size_t at = 0, missing = 0;
    char list[512] = "";

    for (int n = 0; n < g->n_nodes; n++) {
        const bl_node *node = &g->nodes[n];
        bool taken = false;
        if (!node_is_active(back, node)) continue;
        if (back->dnn) BL_TRY(bl_dnn_back_plan(back->dnn, n, back->active, back->walk->layout, &taken));
        back->on_dnn[n] = taken;
        if (taken || node->op->gradient) continue;
        missing++;
        if (at < sizeof list - 120)
            at += (size_t)snprintf(list + at, sizeof list - at, "%s%s \"%.60s\"", at ? ", " : "",
                                   node->op->name, node->name);
    }
    return missing ? bl_fail(back->ctx, BL_UNAVAILABLE, g->source, "use a method without gradients",
                             "%zu nodes have no gradient: %s", missing, list)
                   : BL_OK;
}

/* A sum of two values of one shape and order hands its gradient on as it is. */
static bool passes(const bl_back *back, int n)
{
    const bl_node *node = &back->graph->nodes[n];
    const bl_value *y = &back->graph->values[node->out[0]];

    if (!(node->op->flags & BL_OP_SUM) || node->in[0] == node->in[1]) return false;
    for (int i = 0; i < 2; i++) {
        const bl_tensor *x = &back->graph->values[node->in[i]].t;
        if (x->data || x->rank != y->t.rank || memcmp(x->dim, y->t.dim, (size_t)x->rank * sizeof *x->dim) != 0 ||
            back->walk->layout[node->in[i]] != back->walk->layout[node->out[0]])
            return false;
    }
    return true;
}

/* ------------------------------------------------------------------ buffers */

typedef struct slot {
    void *data;
    size_t bytes;
    struct slot *next;
} slot;

/* Buffers of values whose producer has run come back here, largest need first fit. */
static bl_status take_buffer(bl_back *back, slot **idle, size_t bytes, void **data, slot **kept)
{
    slot **best = NULL, *s;

    for (slot **at = idle; *at; at = &(*at)->next)
        if ((*at)->bytes >= bytes && (!best || (*at)->bytes < (*best)->bytes)) best = at;
    if (best) {
        s = *best;
        *best = s->next;
    } else {
        s = BL_NEW(back->arena, slot, 1);
        BL_ALLOC_TRY(back->ctx, s);
        s->bytes = bytes;
        s->data = bl_alloc(back->arena, bytes, 1);
        BL_ALLOC_TRY(back->ctx, s->data);
    }
    *data = s->data;
    *kept = s;
    return BL_OK;
}

/* Where node n hands its gradient on, the first input that has none yet takes over the output's buffers. */
static int take_over(bl_back *back, int n, const int *last, slot **kept)
{
    int y = back->graph->nodes[n].out[0];

    if (!node_is_active(back, &back->graph->nodes[n]) || !passes(back, n) || (back->marks[y] & BL_BACK_WANTED) || !kept[2 * y])
        return -1; /* no reader: the output's gradient begins here, too */
    for (int i = 0; i < 2; i++) {
        int v = back->graph->nodes[n].in[i];
        if (!back->active[v] || last[v] != n) continue;
        back->grad[v].t = back->graph->values[v].t;
        back->grad[v].t.data = back->grad[y].t.data;
        back->grad[v].packed = back->grad[y].packed;
        for (int j = 0; j < 2; j++) {
            kept[2 * v + j] = kept[2 * y + j];
            kept[2 * y + j] = NULL;
        }
        return v;
    }
    return -1;
}

/* Every buffer is given at planning time: a gradient lives from its value's last reader down to its
 * producer. */
static bl_status plan_buffers(bl_back *back)
{
    const bl_graph *g = back->graph;
    size_t n = (size_t)g->n_values;
    int *last = BL_NEW(back->scratch, int, n); /* node at which the gradient begins */
    slot **kept = BL_NEW(back->scratch, slot *, 2 * n), *idle = NULL;

    BL_ALLOC_TRY(back->ctx, last);
    BL_ALLOC_TRY(back->ctx, kept);
    memset(kept, 0, 2 * n * sizeof *kept);
    for (int v = 0; v < g->n_values; v++) last[v] = g->values[v].producer;
    for (int i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].n_in; k++)
            if (g->nodes[i].in[k] >= 0 && node_is_active(back, &g->nodes[i]))
                last[g->nodes[i].in[k]] = i;
    for (int i = g->n_nodes - 1; i >= -1; i--) {
        int given = i < 0 ? -1 : take_over(back, i, last, kept);
        for (int v = 0; v < g->n_values; v++) {
            bl_place *p = &back->grad[v];
            if (!back->active[v] || last[v] != i || v == given) continue;
            p->t = g->values[v].t;
            BL_TRY(take_buffer(back, &idle, BL_MAX(bl_walk_buffer_bytes(back->walk, v, false), 1),
                               &p->t.data, &kept[2 * v]));
            if (back->walk->layout[v] != BL_LAYOUT_PLAIN)
                BL_TRY(take_buffer(back, &idle, bl_walk_buffer_bytes(back->walk, v, true),
                                   &p->packed, &kept[2 * v + 1]));
        }
        for (int k = 0; i >= 0 && k < g->nodes[i].n_out; k++) {
            int v = g->nodes[i].out[k];
            if (v < 0 || !back->active[v] || (back->marks[v] & BL_BACK_WANTED)) continue;
            for (int j = 0; j < 2; j++)
                if (kept[2 * v + j]) {
                    kept[2 * v + j]->next = idle;
                    idle = kept[2 * v + j];
                }
        }
    }
    return BL_OK;
}

static bl_status make_tables(bl_back *back, const uint8_t *marks)
{
    const bl_graph *g = back->graph;
    size_t values = (size_t)g->n_values, nodes = (size_t)g->n_nodes, in = 1, out = 1;

    for (int n = 0; n < g->n_nodes; n++) {
        in = BL_MAX(in, (size_t)g->nodes[n].n_in);
        out = BL_MAX(out, (size_t)g->nodes[n].n_out);
    }
#define TABLE(field, type, count)                                                                  \
    do {                                                                                           \
        back->field = BL_NEW(back->arena, type, count);                                            \
        BL_ALLOC_TRY(back->ctx, back->field);                                                      \
    } while (0)
    TABLE(marks, uint8_t, values);
    TABLE(active, uint8_t, values);
    TABLE(has, uint8_t, values);
    TABLE(grad, bl_place, values);
    TABLE(on_dnn, uint8_t, nodes);
    TABLE(in, const bl_tensor *, in);
    TABLE(in_view, bl_tensor, in);
    TABLE(in_grad, bl_tensor, in);
    TABLE(out_grad, const bl_tensor *, out);
    TABLE(out_view, bl_tensor, out);
    TABLE(grad_view, bl_tensor, out);
#undef TABLE
    memcpy(back->marks, marks, values);
    return BL_OK;
}

static bl_status build(bl_back *back, const uint8_t *marks)
{
    BL_CHECK(back->ctx, back->walk->in_trial); /* keep_all */
    BL_TRY(make_tables(back, marks));
    find_active(back);
    if (back->walk->dnn)
        BL_TRY(bl_dnn_back_new(back->ctx, back->arena, back->graph, back->walk->versions, back->walk->training, &back->dnn));
    BL_TRY(plan_nodes(back));
    if (back->dnn) BL_TRY(bl_dnn_back_planned(back->dnn));
    return plan_buffers(back);
}

bl_status bl_back_new(bl_ctx *ctx, bl_walk *walk, const uint8_t *marks, bl_back **out)
{
    bl_arena *arena = bl_arena_new(ctx, "gradients");
    bl_back *back;
    bl_status status;
    int before;

    BL_ALLOC_TRY(ctx, arena);
    back = BL_NEW(arena, bl_back, 1);
    if (!back) {
        bl_arena_free(arena);
        return bl_pending(ctx);
    }
    *back = (bl_back){.ctx = ctx, .walk = walk, .graph = walk->graph, .arena = arena};
    back->scratch = bl_arena_new(ctx, "gradient scratch");
    if (!back->scratch) {
        bl_arena_free(arena);
        return bl_pending(ctx);
    }
    before = bl_dnn_enter();
    status = build(back, marks);
    bl_dnn_leave(before);
    if (status != BL_OK) {
        bl_back_free(back);
        return status;
    }
    *out = back;
    return BL_OK;
}

void bl_back_free(bl_back *back)
{
    if (!back) return;
    bl_dnn_back_free(back->dnn);
    bl_arena_free(back->scratch);
    bl_arena_free(back->arena);
}

/* ------------------------------------------------------------------ running */

static void open_grad(bl_place *p, bool packed)
{
    p->has_plain = !packed;
    p->has_packed = packed;
}

/* The fused activation passes nothing where the output lies at a bound.  In the order at hand. */
static void mask(const bl_node *node, const bl_tensor *y, bl_tensor *g)
{
    bl_wide_mask(g->data, y->data, bl_tensor_count(y), node->lo, node->hi);
}

/* A node's own facet can work on the packed orders of all that it touches. */
static bool all_packed(const bl_back *back, int n)
{
    const bl_node *node = &back->graph->nodes[n];
    const bl_walk *walk = back->walk;

    if (!walk->packs[n] || !walk->base[node->out[0]].has_packed ||
        !back->grad[node->out[0]].has_packed)
        return false;
    for (int i = 0; i < node->n_in; i++)
        if (node->in[i] >= 0 && walk->layout[node->in[i]] != BL_LAYOUT_PLAIN &&
            !walk->base[node->in[i]].has_packed)
            return false;
    return true;
}

/* The gradients by the outputs as the node wants them, masked. */
static bl_status open_outputs(bl_back *back, int n, bool packed)
{
    const bl_node *node = &back->graph->nodes[n];
    bl_walk *walk = back->walk;

    for (int i = 0; i < node->n_out; i++) {
        int v = node->out[i];
        bl_layout layout;
        bl_place *y, *g;
        back->out_grad[i] = NULL;
        memset(&back->out_view[i], 0, sizeof back->out_view[i]);
        if (v < 0) continue;
        layout = packed ? walk->layout[v] : BL_LAYOUT_PLAIN;
        y = &walk->base[v];
        g = &back->grad[v];
        BL_TRY(bl_walk_need(walk, v, y, layout != BL_LAYOUT_PLAIN));
        bl_layout_view(&y->t, layout, layout != BL_LAYOUT_PLAIN ? y->packed : y->t.data, &back->out_view[i]);
        if (!back->active[v] || !back->has[v]) continue;
        BL_TRY(bl_walk_need(walk, v, g, layout != BL_LAYOUT_PLAIN));
        bl_layout_view(&g->t, layout, layout != BL_LAYOUT_PLAIN ? g->packed : g->t.data, &back->grad_view[i]);
        if (i == 0 && bl_node_clamps(node) && !(back->marks[v] & BL_BACK_MASKED)) {
            mask(node, &back->out_view[i], &back->grad_view[i]);
            open_grad(g, layout != BL_LAYOUT_PLAIN);
        }
        back->out_grad[i] = &back->grad_view[i];
    }
    return BL_OK;
}

/* Where input i's gradient is written: its own buffer if it is the first, else one to add from. */
static bl_status open_input(bl_back *back, int value, bool packed, bool first, void **data)
{
    bl_place *g = &back->grad[value];

    if (first) {
        *data = packed ? g->packed : g->t.data;
        return BL_OK;
    }
    *data = bl_alloc(back->scratch, bl_walk_buffer_bytes(back->walk, value, packed), 1);
    BL_ALLOC_TRY(back->ctx, *data);
    return BL_OK;
}

static bl_status close_input(bl_back *back, int value, bool packed, bool first, const float *data)
{
    bl_place *g = &back->grad[value];
    size_t n;
    float *to;

    if (first) {
        open_grad(g, packed);
        back->has[value] = 1;
        return BL_OK;
    }
    BL_TRY(bl_walk_need(back->walk, value, g, packed));
    n = bl_walk_buffer_bytes(back->walk, value, packed) / sizeof(float);
    to = packed ? g->packed : g->t.data;
    bl_wide_add(to, data, (int64_t)n);
    open_grad(g, packed);
    return BL_OK;
}

static bl_status run_own(bl_back *back, int n)
{
    const bl_node *node = &back->graph->nodes[n];
    bl_walk *walk = back->walk;
    bool packed = all_packed(back, n);
    bl_call call = {.ctx = back->ctx, .node = node, .n_in = node->n_in, .n_out = node->n_out,
                    .in = back->in, .out = back->out_view, .scratch = back->scratch};

    if (packed && (node->op->flags & BL_OP_CHANNELS))
        call.block = bl_layout_block(&walk->base[node->in[0]].t, walk->layout[node->in[0]]);
    BL_TRY(open_outputs(back, n, packed));
    for (int i = 0; i < node->n_in; i++) {
        int v = node->in[i];
        bool in_order, first;
        back->in[i] = NULL;
        memset(&back->in_grad[i], 0, sizeof back->in_grad[i]);
        if (v < 0) continue;
        in_order = packed && walk->layout[v] != BL_LAYOUT_PLAIN;
        BL_TRY(bl_walk_need(walk, v, &walk->base[v], in_order));
        bl_layout_view(&walk->base[v].t, in_order ? walk->layout[v] : BL_LAYOUT_PLAIN,
                       in_order ? walk->base[v].packed : walk->base[v].t.data, &back->in_view[i]);
        back->in[i] = &back->in_view[i];
        if (!back->active[v]) continue;
        first = !back->has[v];
        for (int k = 0; k < i; k++) first = first && node->in[k] != v;
        back->in_grad[i] = back->in_view[i];
        BL_TRY(open_input(back, v, in_order, first, &back->in_grad[i].data));
    }
    BL_TRY(node->op->gradient(&call, back->out_grad, back->in_grad));
    for (int i = 0; i < node->n_in; i++) {
        int v = node->in[i];
        if (v < 0 || !back->active[v]) continue;
        BL_TRY(close_input(back, v, packed && walk->layout[v] != BL_LAYOUT_PLAIN, !back->has[v],
                           back->in_grad[i].data));
    }
    return BL_OK;
}

static bl_status run_pass(bl_back *back, int n)
{
    const bl_node *node = &back->graph->nodes[n];
    bool packed = all_packed(back, n);

    BL_TRY(open_outputs(back, n, packed));
    const float *dy = back->grad_view[0].data;
    for (int i = 0; i < 2; i++) {
        int v = node->in[i];
        bool in_order = packed && back->walk->layout[v] != BL_LAYOUT_PLAIN;
        bl_place *g = &back->grad[v];
        size_t bytes = bl_walk_buffer_bytes(back->walk, v, in_order);
        if (!back->active[v]) continue;
        if (back->has[v]) BL_TRY(bl_walk_need(back->walk, v, g, in_order));
        float *to = in_order ? g->packed : g->t.data;
        if (back->has[v]) bl_wide_add(to, dy, (int64_t)(bytes / sizeof(float)));
        else if (to != dy) memcpy(to, dy, bytes);
        open_grad(g, in_order);
        back->has[v] = 1;
    }
    return BL_OK;
}

static bl_status run_dnn(bl_back *back, int n)
{
    const bl_node *node = &back->graph->nodes[n];
    bl_walk *walk = back->walk;
    bl_dnn_orders orders = bl_dnn_back_orders(back->dnn, n);
    const bl_place *in[3] = {NULL, NULL, NULL};
    void *to[3] = {NULL, NULL, NULL};

    BL_TRY(open_outputs(back, n, orders.out_packed));
    for (int i = 0; i < node->n_in && i < 3; i++) {
        int v = node->in[i];
        if (v < 0) continue;
        if (i == 0 || !walk->graph->values[v].t.data)
            BL_TRY(bl_walk_need(walk, v, &walk->base[v], i == 0 && orders.in_packed));
        in[i] = &walk->base[v];
        if (back->active[v])
            BL_TRY(open_input(back, v, i == 0 && orders.in_packed,
                              !back->has[v] && (i == 0 || node->in[0] != v), &to[i]));
    }
    BL_TRY(bl_dnn_back_run(back->dnn, n, in, back->grad_view[0].data, to));
    for (int i = 0; i < node->n_in && i < 3; i++)
        if (to[i])
            BL_TRY(close_input(back, node->in[i], i == 0 && orders.in_packed,
                               !back->has[node->in[i]], to[i]));
    return BL_OK;
}

/* Lets the caller add to the gradients of a seeded value that is now complete. */
static bl_status seed(bl_back *back, int v, bl_back_hook *hook, void *user)
{
    bl_place *g = &back->grad[v], *x = &back->walk->base[v];

    if (!(back->marks[v] & BL_BACK_SEEDED) || !back->active[v]) return BL_OK;
    if (!back->has[v]) {
        memset(g->t.data, 0, bl_walk_buffer_bytes(back->walk, v, false));
        open_grad(g, false);
        back->has[v] = 1;
    }
    BL_TRY(bl_walk_need(back->walk, v, g, false));
    BL_TRY(bl_walk_need(back->walk, v, x, false));
    open_grad(g, false);
    return hook(user, v, &x->t, &g->t);
}

static bl_status run_all(bl_back *back, bl_back_hook *hook, void *user)
{
    const bl_graph *g = back->graph;

    memset(back->has, 0, (size_t)g->n_values);
    for (int n = g->n_nodes - 1; n >= 0; n--) {
        const bl_node *node = &g->nodes[n];
        bl_mark mark = bl_arena_mark(back->scratch);
        bool some = false;
        bl_status status;
        BL_TRY(bl_check_interrupt(back->ctx));
        for (int i = 0; i < node->n_out; i++) {
            if (node->out[i] < 0) continue;
            BL_TRY(seed(back, node->out[i], hook, user));
            some = some || (back->active[node->out[i]] && back->has[node->out[i]]);
        }
        if (!some || !node_is_active(back, node)) continue;
        status = back->on_dnn[n] ? run_dnn(back, n) : passes(back, n) ? run_pass(back, n) : run_own(back, n);
        bl_arena_reset(back->scratch, mark);
        if (status != BL_OK) return status;
    }
    for (int v = 0; v < g->n_values; v++)
        if (g->values[v].producer < 0) BL_TRY(seed(back, v, hook, user));
    return BL_OK;
}

bl_status bl_back_run(bl_back *back, bl_back_hook *hook, void *user)
{
    int before;
    bl_status status;

    BL_CHECK(back->ctx, back->walk->ran);
    before = bl_dnn_enter();
    status = run_all(back, hook, user);
    bl_dnn_leave(before);
    return status;
}

const bl_tensor *bl_back_grad(bl_back *back, int value)
{
    bl_place *g = &back->grad[value];

    if (!back->has[value] || bl_walk_need(back->walk, value, g, false) != BL_OK) return NULL;
    return &g->t;
}
