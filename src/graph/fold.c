/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * First pass of prepare: what is known before the network runs becomes a constant, nodes that
 * change nothing vanish, and a Reshape that keeps its first dimension says so, which frees it from
 * the batch size that the model was bound to.
 */
#include "graph/graph_private.h"

#include <string.h>

/* Of all folded constants together: far above what shape arithmetic and stored tables need. */
#define FOLD_BYTES_MAX (UINT64_C(256) << 20)

typedef struct folding {
    bl_edit *e;
    bl_tensor *tensors;     /* by value: shapes, and data where known */
    int *alias;             /* by value: what stands for it, itself if nothing does */
    uint64_t bytes;
} folding;

static int resolved(const folding *f, int value)
{
    while (value >= 0 && f->alias[value] != value) value = f->alias[value];
    return value;
}

/* ------------------------------------------------------------------ nodes that change nothing */

/* Dropout when the network only runs: its mask unread, its training input absent or false. */
static bool is_idle_dropout(const folding *f, const bl_node *n)
{
    if (!bl_node_is(n, "Dropout")) return false;
    if (n->n_out > 1 && n->out[1] >= 0) {
        const bl_value *mask = &f->e->g.values[n->out[1]];
        if (mask->n_readers > 0 || mask->is_output) return false;
    }
    if (n->opset < 7) return bl_attr_int(n, "is_test", 0) != 0;
    if (n->n_in < 3 || n->in[2] < 0) return true;
    const bl_tensor *training = &f->tensors[resolved(f, n->in[2])];
    return training->data && training->type == BL_BOOL && bl_tensor_count(training) == 1 &&
           *(const uint8_t *)training->data == 0;
}

static bool changes_nothing(const folding *f, const bl_node *n)
{
    if (n->n_in < 1 || n->in[0] < 0 || n->n_out < 1 || n->out[0] < 0) return false;
    if (bl_node_is(n, "Identity") || is_idle_dropout(f, n)) return true;
    return bl_node_is(n, "Cast") &&
           f->e->g.values[n->in[0]].t.type == f->e->g.values[n->out[0]].t.type;
}

/* y = x: readers of y read x; where y is what the graph gives, x's producer gives it. */
static void bypass(folding *f, int node)
{
    bl_edit *e = f->e;
    const bl_node *n = &e->g.nodes[node];
    int x = resolved(f, n->in[0]), y = n->out[0];
    bl_value *from = &e->g.values[x], *to = &e->g.values[y];
    if (!to->is_output) {
        f->alias[y] = x;
        e->dead[node] = 1;
        return;
    }
    if (from->is_output || from->producer < 0 || e->dead[from->producer]) return;
    bl_node *producer = &e->g.nodes[from->producer];
    for (int i = 0; i < producer->n_out; i++)
        if (producer->out[i] == x) ((int *)producer->out)[i] = y;
    to->producer = from->producer;
    from->producer = -1;
    f->alias[x] = y; /* also for readers of x that came before: all are resolved at the end */
    f->tensors[y] = f->tensors[x];
    e->dead[node] = 1;
}

/* ------------------------------------------------------------------ constants */

static bool gives_output(const folding *f, const bl_node *n)
{
    for (int i = 0; i < n->n_out; i++)
        if (n->out[i] >= 0 && f->e->g.values[n->out[i]].is_output) return true;
    return false;
}

static bl_status fold_node(folding *f, int node, const bl_call *call, bool *done)
{
    bl_edit *e = f->e;
    const bl_node *n = &e->g.nodes[node];
    *done = false;
    /* A constant graph output keeps the node that gives it: executors know no other kind. */
    if (!bl_node_is_known(call) || gives_output(f, n)) return BL_OK;
    BL_TRY(bl_node_evaluate(call, e->arena, FOLD_BYTES_MAX - f->bytes, done));
    if (!*done) return BL_OK;
    for (int i = 0; i < n->n_out; i++) {
        e->g.values[n->out[i]].t = call->out[i];
        e->g.values[n->out[i]].producer = -1;
        f->bytes += bl_tensor_bytes(&call->out[i]);
    }
    e->dead[node] = 1;
    return BL_OK;
}

/* ------------------------------------------------------------------ Reshape and the batch */

/* allowzero means that a 0 is a dimension of no elements: gone, as there are none. */
static bl_status drop_allowzero(bl_edit *e, bl_node *n)
{
    bl_attr *kept = BL_NEW(e->arena, bl_attr, (size_t)n->n_attr);
    BL_ALLOC_TRY(e->ctx, kept);
    int n_kept = 0;
    for (int i = 0; i < n->n_attr; i++)
        if (strcmp(n->attr[i].name, "allowzero") != 0) kept[n_kept++] = n->attr[i];
    n->attr = kept;
    n->n_attr = n_kept;
    return BL_OK;
}

/* A target (1, -1) or (1, 64, 7, 7) for an input (1, ...): 0 in the first place means "as the
 * input" and is right for every batch.  A folded shape computation leaves such targets behind. */
static bl_status free_reshape(folding *f, int node)
{
    bl_edit *e = f->e;
    bl_node *n = &e->g.nodes[node];
    if (!bl_node_is(n, "Reshape") || n->opset < 5) return BL_OK;
    const bl_tensor *target = bl_edit_input_constant(e, n, 1, BL_I64);
    const bl_tensor *x = &f->tensors[n->in[0]];
    int64_t count = target ? bl_tensor_count(target) : 0;
    if (count < 1 || x->data || x->rank < 1) return BL_OK;
    const int64_t *from = target->data;
    if (from[0] != e->g.batch || x->dim[0] != e->g.batch) return BL_OK;
    if (bl_attr_int(n, "allowzero", 0) != 0) {
        for (int64_t i = 0; i < count; i++)
            if (from[i] == 0) return BL_OK;
        BL_TRY(drop_allowzero(e, n));
    }
    bl_tensor t = *target;
    int64_t *to = BL_NEW(e->arena, int64_t, (size_t)count);
    BL_ALLOC_TRY(e->ctx, to);
    memcpy(to, from, bl_tensor_bytes(target));
    to[0] = 0;
    t.data = to;
    int value;
    BL_TRY(bl_edit_constant(e, e->g.values[n->in[1]].name, &t, &value));
    ((int *)n->in)[1] = value;
    return BL_OK;
}

/* ------------------------------------------------------------------ the pass */

static bl_status visit(folding *f, int node, bl_arena *scratch)
{
    bl_edit *e = f->e;
    const bl_node *n = &e->g.nodes[node];
    bl_call call;
    bool done;
    if (e->dead[node]) return BL_OK;
    for (int i = 0; i < n->n_in; i++) ((int *)n->in)[i] = resolved(f, n->in[i]);
    if (changes_nothing(f, n)) bypass(f, node);
    if (e->dead[node]) return BL_OK;
    BL_TRY(bl_node_call(e->ctx, n, f->tensors, scratch, &call));
    BL_TRY(bl_node_shape(&call));
    BL_TRY(fold_node(f, node, &call, &done));
    for (int i = 0; i < n->n_out; i++)
        if (n->out[i] >= 0) f->tensors[n->out[i]] = call.out[i];
    return done ? BL_OK : free_reshape(f, node);
}

static bl_status fold_with(folding *f, bl_arena *scratch)
{
    bl_edit *e = f->e;
    int n_values = e->g.n_values;
    f->tensors = BL_NEW(e->arena, bl_tensor, (size_t)n_values);
    BL_ALLOC_TRY(e->ctx, f->tensors);
    f->alias = BL_NEW(e->arena, int, (size_t)e->max_values);
    BL_ALLOC_TRY(e->ctx, f->alias);
    for (int i = 0; i < n_values; i++) f->tensors[i] = e->g.values[i].t;
    for (int i = 0; i < e->max_values; i++) f->alias[i] = i;
    for (int i = 0; i < e->g.n_nodes; i++) {
        bl_mark mark = bl_arena_mark(scratch);
        if ((i & 63) == 0) BL_TRY(bl_check_interrupt(e->ctx));
        BL_TRY(visit(f, i, scratch));
        bl_arena_reset(scratch, mark);
    }
    for (int n = 0; n < e->g.n_nodes; n++)
        for (int i = 0; i < e->g.nodes[n].n_in; i++)
            ((int *)e->g.nodes[n].in)[i] = resolved(f, e->g.nodes[n].in[i]);
    return BL_OK;
}

bl_status bl_fold(bl_edit *e)
{
    folding f = {.e = e};
    bl_arena *scratch = bl_arena_new(e->ctx, "folding constants");
    BL_ALLOC_TRY(e->ctx, scratch);
    bl_status status = fold_with(&f, scratch);
    bl_arena_free(scratch);
    return status;
}
